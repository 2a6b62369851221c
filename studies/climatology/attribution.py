"""What each difference between the presets, and the dynamics of Dinosaur, do to the climate.

    python studies/climatology/attribution.py --years 5

Runs the preset `speedy_f90`, and it again with one option at a time as the preset `speedy` has it,
with all of them, and with other dynamics; goes on where it was stopped. Writes `attribution.csv`,
`attribution.json` and `attribution.md` into results/attribution. Folders are those of `run.py`.
"""

import argparse
import csv
import dataclasses
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from climate import BY_YEAR, FIELDS
from compare import JUDGED, rms, weights
from run import HERE, simulate_climate
from simulation import Configuration
from tables import markdown

import jcm
from jcm.files import replacing, write_text
from jcm.options import PRESET_PARAMETERS, PRESETS
from jcm.parameters import get

BASE = "speedy_f90"
#: Global means whose change is told, as sums of fields, with units.
MEANS = {
    "net at the top": ({"tsr": 1, "olr": -1}, "W m-2"),
    "precipitation": ({"prec": 1}, "mm day-1"),
    "temperature": ({"t": 1}, "K"),
    "near-surface temperature": ({"t0": 1}, "K"),
}


def changes(grid: str = "T30L8") -> dict[str, Configuration]:
    """Return the configurations by name of what changes; the base comes first."""
    found = {BASE: Configuration(grid=grid)}
    target = PRESETS["speedy"]._asdict()
    for name, value in PRESETS[BASE]._asdict().items():
        if value != target[name]:
            found[f"{name}: {target[name]}"] = Configuration(
                grid=grid, options={name: target[name]})
    reference = jcm.reference_parameters(jcm.build_model(grid, preset="speedy"))
    for path in PRESET_PARAMETERS[BASE]:
        value = float(get(reference, path.removeprefix("parameters.")))
        found[f"{path.split('.')[-1]}: {value:g}"] = Configuration(
            grid=grid, parameters={path.removeprefix("parameters."): value})
    found["all of these: speedy"] = Configuration(grid=grid, preset="speedy")
    found["dynamics: dinosaur"] = Configuration(grid=grid, dynamics="dinosaur")
    return found


def effect(base: xr.Dataset, other: xr.Dataset) -> dict[str, Any]:
    """Return differences of annual zonal means beside noise, and of global means.

    Noise and standard errors come from the spread of the years of both runs; None with one year.
    """
    fields, means = {}, {}
    for name, latitude in JUDGED.items():
        weight = weights(base, base[name].values, latitude)
        difference = other[name].values.mean(axis=(0, -1)) - base[name].values.mean(axis=(0, -1))
        noise = _together(
            [rms(_spread(x[name + BY_YEAR].values.mean(axis=-1)), weight) for x in (base, other)],
            base, other)
        found = rms(difference, weight)
        fields[name] = {"rmse": found, "noise": noise, "ratio": found / noise if noise else None}
    for label, (terms, units) in MEANS.items():
        years = [np.sum([k * _global_by_year(x, name) for name, k in terms.items()], axis=0)
                 for x in (base, other)]  # fmt: skip
        error = _together([float(_spread(y)) for y in years], base, other)
        means[label] = {
            "units": units, "base": float(np.mean(years[0])), "other": float(np.mean(years[1])),
            "change": float(np.mean(years[1]) - np.mean(years[0])), "standard_error": error}
    return {"fields": fields, "means": means}


def _spread(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation over years; undefined with one."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def _together(spreads: list[float], base: xr.Dataset, other: xr.Dataset) -> float | None:
    """Return the expected difference of two means of years with these spreads."""
    variance = sum(s**2 / x.sizes["year"] for s, x in zip(spreads, (base, other), strict=True))
    return float(np.sqrt(variance)) if np.isfinite(variance) else None


def _global_by_year(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Return the global mean of each year."""
    values = dataset[name + BY_YEAR].values
    weight = weights(dataset, values)
    zonal = values.mean(axis=-1)
    return np.sum(zonal * weight, axis=tuple(range(1, zonal.ndim))) / np.sum(weight)


def report(table: dict[str, Any]) -> str:
    """Return the table as markdown."""
    rows = []
    for change, found in table["changes"].items():
        if "failed" in found:
            rows.append([change, found["failed"]] + [""] * (len(JUDGED) + len(MEANS) - 1))
            continue
        cells = [_with(line["rmse"], line["ratio"], "({:.1f})")
                 for line in found["fields"].values()]  # fmt: skip
        cells += [_with(line["change"], line["standard_error"], "± {:.2g}")
                  for line in found["means"].values()]  # fmt: skip
        rows.append([change, *cells])
    head = ["change", *(f"{name}, {FIELDS[name].units}" for name in JUDGED),
            *(f"{label}, {units}" for label, (_, units) in MEANS.items())]  # fmt: skip
    return (
        f"# Differences from `{BASE}`, {table['years']} years each\n\n"
        "Root-mean-square difference of annual zonal means (in brackets: over the noise of these "
        "numbers of years), and change of global means with its standard error. Noise is that of "
        "the spread of the years. Surface pressure between 75S and 75N.\n\n" + markdown(head, rows))


def _with(value: float, extra: float | None, form: str) -> str:
    return f"{value:.3g}" + ("" if extra is None else " " + form.format(extra))


def write(table: dict[str, Any], directory: Path) -> None:
    """Write the table as JSON, CSV and markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "attribution.json", json.dumps(table, indent=1) + "\n")
    write_text(directory / "attribution.md", report(table))
    path = directory / "attribution.csv"
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["change", "quantity", "units", "difference", "noise"])
        for change, found in table["changes"].items():
            writer.writerows([change, *line] for line in _lines(found))


def _lines(found: dict[str, Any]) -> Iterable[list[Any]]:
    for name, line in found.get("fields", {}).items():
        yield [f"{name} annual zonal rmse", FIELDS[name].units, line["rmse"], line["noise"]]
    for label, line in found.get("means", {}).items():
        yield [f"{label} global mean", line["units"], line["change"], line["standard_error"]]


def main() -> None:
    """Run what is missing, then write the table after each configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--spinup", type=int, default=1)
    parser.add_argument("--grid", default="T30L8")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="changes that contain a word")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--smoke", action="store_true", help="the base and one change, few days")
    arguments = parser.parse_args()
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            attribute(arguments, Path(folder))
    else:
        attribute(arguments, arguments.results)


def attribute(arguments: argparse.Namespace, results: Path) -> None:
    """Run what is missing of each configuration, and compare it with the base."""
    years, spinup = (1, 0) if arguments.smoke else (arguments.years, arguments.spinup)
    table: dict[str, Any] = {"base": BASE, "years": years, "spinup": spinup, "changes": {}}
    base = None
    for change, configuration in selected(arguments).items():
        try:
            climate = simulate_climate(
                configuration, results / configuration.name, years, spinup)
        except FloatingPointError as error:
            if base is None:
                raise SystemExit(f"the base has failed: {error}") from None
            table["changes"][change] = {"failed": str(error)}
            continue
        finally:
            jax.clear_caches()
        if base is None:
            base = climate
            continue
        table["changes"][change] = effect(base, climate)
        write(table, results / "attribution")
        print(report(table), flush=True)


def selected(arguments: argparse.Namespace) -> dict[str, Configuration]:
    """Return the base and the changes that are asked for."""
    every = changes(arguments.grid)
    words = ["sea_heat_flux"] if arguments.smoke else arguments.only
    length = 1 if arguments.smoke else None
    chosen = {
        name: dataclasses.replace(configuration, month_length=length)
        for name, configuration in every.items()
        if name == BASE or words is None or any(word in name for word in words)
    }
    if words is not None and len(chosen) == 1:
        raise SystemExit(f"no change contains {' or '.join(words)}; there are: {', '.join(every)}")
    return chosen


if __name__ == "__main__":
    main()
