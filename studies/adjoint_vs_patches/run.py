"""Does one adjoint map tell what runs with warmer and cooler patches of sea find?

    python studies/adjoint_vs_patches/run.py [PART ...] [--smoke]

Parts are `exact` and `smooth`, the two kinds of switches, and `frozen`; default all. Goes on where
it was stopped: `results/` keeps every patch that is done. Writes `summary.json`, `summary.md` and
`figures/` of all parts that have been run.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import xarray as xr

matplotlib.use("Agg")
import figures

import jcm
from jcm.constants import DAY
from jcm.files import write_text
from jcm.output import write_dataset
from jcm.parameters import insert
from jcm.provenance import package_version
from jcm.results import claim, identify
from jcm_sensitivity import branches, mean
from jcm_sensitivity.changes import bound_targets
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.patch_agreement import agreement, agrees, unexplained
from jcm_sensitivity.patches import (
    SEA_SURFACE_TEMPERATURE,
    Patches,
    compare_with_patches,
    patch_layout,
)
from jcm_sensitivity.periods import between, last
from jcm_sensitivity.regions import REGIONS, box
from jcm_sensitivity.runs import model_experiment

HERE = Path(__file__).parent
REGION = "tropical_pacific"
VARIABLES = ("precipitation_flux", "surface_upward_latent_heat_flux",
             "near_surface_air_temperature")  # fmt: skip
PARTS = ("exact", "smooth", "frozen")


class Setup(NamedTuple):
    """What is run."""

    grid: str = "T21L8"
    #: Ends of the days over which targets are means.
    leads: tuple[float, ...] = (1, 3, 5)
    every: float = 1
    states: int = 4
    spacing_days: float = 5
    #: Centres of the patches.
    centres: Any = box(-21, 21, 120, -130, name="centres")
    #: Amplitudes [K] by kind of switches; exact ones go down to where none flips.
    amplitudes: Mapping[str, tuple[float, ...]] = {
        "exact": (1e-6, 1e-4, 0.01, 0.5, 2.0), "smooth": (0.5, 2.0)}  # fmt: skip
    #: Amplitudes of the runs whose branches are frozen.
    frozen: tuple[float, ...] = (1e-3, 0.01, 0.5, 2.0)


def smoke_setup() -> Setup:
    """Return one step, one state, four patches, one amplitude."""
    step = 1 / jcm.build_model("T21L8").steps_per_day
    return Setup(
        leads=(step,), every=step, states=1, centres=box(-1, 1, 140, -100, name="centres"),
        amplitudes={"exact": (0.01,)})  # fmt: skip


def targets(setup: Setup) -> list:
    """Return each variable over the region, on the last day before each lead."""
    return [mean(name, region=REGION, days=between(lead - setup.every, lead))
            for name in VARIABLES for lead in setup.leads]  # fmt: skip


def compare(setup: Setup, kind: str, folder: Path) -> xr.Dataset:
    """Run adjoint and patches with one kind of switches, or what is missing of it."""
    path = folder / f"{kind}.nc"
    if path.is_file():
        return xr.load_dataset(path)
    model = jcm.build_model(setup.grid, smooth=kind == "smooth")
    inputs = jcm.default_inputs(model)
    patches = patch_layout(model, inputs, region=setup.centres)
    members = initial_states(model, inputs, setup.states, setup.spacing_days)
    experiment = model_experiment(model, days=max(setup.leads), every=setup.every)
    shown = began = time.monotonic()

    def progress(done: int, count: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 30 or done == count:
            shown = time.monotonic()
            print(f"{kind} switches: patch {done} of {count}, {shown - began:.0f} s", flush=True)

    found = compare_with_patches(
        experiment, targets(setup), members, patches, amplitudes=setup.amplitudes[kind],
        store=folder / kind, progress=progress)  # fmt: skip
    found = found.assign_coords(
        variable=("target", [name for name in VARIABLES for _ in setup.leads]),
        lead=("target", [float(lead) for _ in VARIABLES for lead in setup.leads], {
            "units": "days"}))  # fmt: skip
    write_dataset(found, path)
    return found


def frozen_branches(setup: Setup, predicted: np.ndarray, folder: Path) -> dict[str, Any]:
    """Run patches with the branches of the unchanged run, over the shortest lead.

    Precipitation, exact switches, from the packaged state. Returns slopes and correlations by
    amplitude with branches frozen and free, and which decisions the warmest patches flip.

    Parameters
    ----------
    predicted
        What the adjoint predicts for each patch [mm day-1 K-1].
    """
    path = folder / "frozen.json"
    if path.is_file():
        return json.loads(path.read_text())
    model = jcm.build_model(setup.grid)
    inputs = jcm.default_inputs(model)
    patches = patch_layout(model, inputs, region=setup.centres)
    experiment = model_experiment(model, days=setup.leads[0], every=setup.every)
    target = mean(VARIABLES[0], region=REGION, days=last(setup.every))
    run, (bound,) = bound_targets(experiment, [target], inputs)
    before = inputs.forcing.sea_surface_temperature

    def number(sea: jax.Array) -> jax.Array:
        return DAY * bound(run(insert(inputs, {SEA_SURFACE_TEMPERATURE: sea})))

    record, replay = jax.jit(branches.record(number)), jax.jit(branches.replay(number))
    table = branches.decision_table(number)(before)
    _, base = record(before)
    free, frozen, flips = (np.zeros((len(setup.frozen), patches.count)) for _ in range(3))
    names: Counter[str] = Counter()
    for k, field in enumerate(patches.field):
        for a, size in enumerate(setup.frozen):
            warm, cool = (before + sign * size * jnp.asarray(field) for sign in (1, -1))
            (up, decisions), (down, _) = record(warm), record(cool)
            free[a, k] = (up - down) / (2 * size)
            frozen[a, k] = (replay(base, warm) - replay(base, cool)) / (2 * size)
            found = branches.census(base, decisions, table)
            flips[a, k] = sum(flip.count for flip in found)
            if size == max(setup.frozen):
                names.update({flip.name: 0 for flip in found})
                for flip in found:
                    names[flip.name] += flip.count
        print(f"frozen branches: patch {k + 1} of {patches.count}", flush=True)
    result = {"target": bound.description, "rows": _frozen_rows(
        setup, patches, model.grid.cell_area, predicted, free, frozen, flips),
        "decisions_that_flip": dict(names.most_common(12))}  # fmt: skip
    write_text(path, json.dumps(result, indent=1) + "\n")
    return result


def _frozen_rows(
    setup: Setup, patches: Patches, cell_area: np.ndarray, predicted: np.ndarray,
    free: np.ndarray, frozen: np.ndarray, flips: np.ndarray,
) -> list[dict[str, float]]:  # fmt: skip
    area = np.einsum("pij,j->p", patches.field, cell_area)
    rows = []
    for a, size in enumerate(setup.frozen):
        row = {"amplitude_K": size, "flips_per_run": float(flips[a].mean())}
        for name, found in (("free", free[a]), ("frozen", frozen[a])):
            numbers = agreement(predicted, found, area)
            row |= {f"{name}_slope": float(numbers.slope),
                    f"{name}_correlation": float(numbers.correlation),
                    f"{name}_largest_error": float(
                        np.abs(found - predicted).max() / np.abs(predicted).max())}  # fmt: skip
        rows.append(row)
    return rows


def summarise(kind: str, found: xr.Dataset) -> dict[str, Any]:
    """Return agreement by target and amplitude, and costs."""
    rows, rests = [], unexplained(found)
    for t in range(found.sizes["target"]):
        for amplitude in found["amplitude"].values:
            one = found.isel(target=t).sel(amplitude=amplitude)
            correlation, slope = float(one["correlation"]), float(one["slope"])
            slopes = one["slope_by_state"].values
            rest = rests.isel(target=t).sel(amplitude=amplitude)
            rows.append({
                "switches": kind, "variable": str(one["variable"].values),
                "lead_days": float(one["lead"]), "amplitude_K": float(amplitude),
                "correlation": round(correlation, 4), "slope": round(slope, 4),
                "slope_total_least_squares": round(float(one["slope_total_least_squares"]), 4),
                "slope_of_states_low": round(float(slopes.min()), 4),
                "slope_of_states_high": round(float(slopes.max()), 4),
                "nonlinear_part": round(float(one["nonlinear_part"]), 4),
                "runs_as_predicted": round(float(rest["predicted_share"]), 3),
                "rest": float(f"{float(rest['rest']):.3g}"),
                "rest_units": str(one["target_units"].values),
                "agrees": agrees(correlation, slope),
            })  # fmt: skip
    return {"rows": rows, "patches": found.sizes["patch"], "states": found.sizes["state"]} | {
        name: round(float(found[name]), 3)
        for name in ("adjoint_seconds", "forward_seconds", "forward_runs", "cost_ratio")}


def tables(summary: dict[str, Any]) -> str:
    """Return all results as Markdown."""
    lines = ["<!-- written by run.py -->", ""]
    heads = ("switches", "target", "day", "amplitude [K]", "correlation", "slope",
             "slopes of single states", "runs as predicted", "rest", "agrees")  # fmt: skip
    lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for kind in ("exact", "smooth"):
        for row in summary[kind]["rows"] if kind in summary else ():
            lines.append(
                f"| {kind} | {row['variable'].replace('_', ' ')} | {row['lead_days']:g} | "
                f"{row['amplitude_K']:g} | {row['correlation']:.3f} | {row['slope']:.3f} | "
                f"{row['slope_of_states_low']:.2f} to {row['slope_of_states_high']:.2f} | "
                f"{row['runs_as_predicted']:.0%} | {row['rest']:.2g} {row['rest_units']} | "
                f"{'yes' if row['agrees'] else 'no'} |")
    if not summary["frozen"]["rows"]:
        return "\n".join(lines) + "\n"
    lines += ["", "Branches frozen to those of the unchanged run, precipitation on the first day, "
              "packaged state:", "",
              "| amplitude [K] | decisions that flip | slope, free | correlation, free "
              "| slope, frozen | correlation, frozen |", f"|{' --- |' * 6}"]
    lines += [
        f"| {row['amplitude_K']:g} | {row['flips_per_run']:.0f} | {row['free_slope']:.3f} | "
        f"{row['free_correlation']:.3f} | {row['frozen_slope']:.4f} | "
        f"{row['frozen_correlation']:.4f} |" for row in summary["frozen"]["rows"]]
    return "\n".join(lines) + "\n"


def report(found: Mapping[str, xr.Dataset], frozen: dict[str, Any], folder: Path) -> None:
    """Write summary, tables and figures of the parts that there are."""
    summary: dict[str, Any] = {kind: summarise(kind, dataset) for kind, dataset in found.items()}
    summary["frozen"] = frozen
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", tables(summary))
    print(tables(summary))
    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    for path in figures.draw(found, frozen, pictures, REGIONS[REGION]):
        print(path)


def run_parts(setup: Setup, parts: Sequence[str], results: Path, folder: Path) -> None:
    """Run what is missing of some parts, and report on all that there are."""
    claim(results, identify(version=package_version(), **setup._asdict()))
    found = {}
    for kind in setup.amplitudes:
        if kind in parts or (results / f"{kind}.nc").is_file():
            found[kind] = compare(setup, kind, results)
    frozen: dict[str, Any] = {"rows": []}
    if "exact" in found and ("frozen" in parts or (results / "frozen.json").is_file()):
        first = found["exact"]["predicted_response"].values[0, 0]
        frozen = frozen_branches(setup, first, results)
    report(found, frozen, folder)


def main() -> None:
    """Run what is missing, write tables and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}")
    parser.add_argument("--smoke", action="store_true", help="one step, four patches, no files")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; available: {', '.join(PARTS)}")
    jax.config.update("jax_enable_x64", True)
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as place:
            run_parts(smoke_setup(), ("exact",), Path(place), Path(place))
        return
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    run_parts(Setup(), arguments.parts or PARTS, results, HERE)


if __name__ == "__main__":
    main()
