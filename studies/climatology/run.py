"""The climate of a configuration beside the reference code, or beside observations.

    python studies/climatology/run.py --years 5 --preset speedy_f90 --reference FILE

FILE is a climatology of the public code of SPEEDY, or the packaged observations (default). A run
that was stopped goes on where it was; more years are added to what is there. Writes, into --output,
monthly means and `climatology.nc` (not committed), `summary.json`, `summary.md`, `rmse.csv` and
figures.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import figures
import observations
import xarray as xr
from climate import climatology
from compare import check_grid, compare, kind_of
from simulation import Configuration, integrate
from tables import reference_report, write_csv

from jcm.data import data_path
from jcm.files import write_text
from jcm.grid import parse_resolution
from jcm.output import write_dataset
from jcm.vertical import speedy_levels

HERE = Path(__file__).parent
#: What a reference was made with, where options do not say otherwise.
DEFAULTS = {
    "climatology": {"grid": "T30L8", "forcing": "speedy", "preset": "speedy_f90"},
    "observations": {"grid": "T31L8", "forcing": "packaged", "preset": "speedy"},
}


def pairs(items: list[str], flag: str) -> dict[str, str]:
    """Return NAME=VALUE as a dictionary.

    Raises
    ------
    SystemExit
        If one has no `=`.
    """
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise SystemExit(f"{flag} expects NAME=VALUE; got {item!r}")
        found[name] = value
    return found


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--years", type=int, default=5, help="years in the means")
    add("--spinup", type=int, default=1, help="years before them")
    add("--reference", type=Path, default=data_path("observations_T31.nc"),
        help="climatology of the reference code, or observations; default: the packaged ones")
    add("--preset", help="default: speedy_f90, with observations speedy")
    add("--dynamics", default="speedy", help="speedy, dinosaur or dinosaur_rk")
    add("--grid", help="default: T30L8, with observations T31L8")
    add("--forcing", choices=["speedy", "packaged"],
        help="default: SPEEDY's own files (`jcm data speedy`), with observations the packaged ones")
    add("--option", action="append", default=[], metavar="NAME=VALUE",
        help="option of the model other than the preset has; may be repeated")
    add("--parameter", action="append", default=[], metavar="NAME=VALUE",
        help="e.g. surface_fluxes.orographic_drag_amplitude=1; may be repeated")
    add("--orography", metavar="FILE",
        help="netCDF with the spectrum phis_spec of the reference's surface geopotential")
    add("--time-step", type=float, help="seconds")
    add("--perturb", type=float, default=0.0, help="white noise in initial temperature [K]")
    add("--seed", type=int, default=0, help="seed of the noise")
    add("--start-year", type=int, default=1982)
    add("--float64", action="store_true", help="double precision")
    add("--output", type=Path, help="folder; default: results/ and the name of the configuration")
    add("--no-figures", action="store_true")
    add("--smoke", action="store_true", help="one year with months of one day, no files kept")
    return parser.parse_args(words)


def configuration_of(arguments: argparse.Namespace, kind: str) -> Configuration:
    """Return what the arguments ask for; the kind of reference gives defaults."""
    given = {key: value for key in DEFAULTS[kind] if (value := getattr(arguments, key)) is not None}
    return Configuration(
        **(DEFAULTS[kind] | given),
        dynamics=arguments.dynamics,
        options=pairs(arguments.option, "--option"),
        parameters={k: float(v) for k, v in pairs(arguments.parameter, "--parameter").items()},
        time_step=arguments.time_step,
        orography=arguments.orography,
        perturb=arguments.perturb,
        seed=arguments.seed,
        float64=arguments.float64,
        start_year=arguments.start_year,
        month_length=1 if arguments.smoke else None,
    )


def simulate_climate(
    configuration: Configuration, directory: Path, years: int, spinup: int
) -> xr.Dataset:
    """Return the climatology of the years after the spin-up; integrate what is missing.

    Raises
    ------
    ValueError
        If there is no year.
    """
    if years < 1 or spinup < 0:
        raise ValueError(f"expected at least 1 year and no negative spin-up; got {years}, {spinup}")
    paths = integrate(configuration, directory, 12 * (years + spinup))
    climate = climatology(paths[12 * spinup :])
    with xr.open_dataset(directory / "boundaries.nc") as boundaries:
        climate = climate.assign(
            {name: (("lat", "lon"), boundaries[name].values) for name in boundaries.data_vars})
    write_dataset(climate, directory / "climatology.nc")
    return climate


def study(arguments: argparse.Namespace, directory: Path | None = None) -> dict[str, Any]:
    """Run, compare, write."""
    with xr.open_dataset(arguments.reference) as reference:
        reference = reference.load()
    kind = kind_of(reference, arguments.reference)
    configuration = configuration_of(arguments, kind)
    grid, layers = parse_resolution(configuration.grid)
    coordinates = {
        "level": speedy_levels(layers).centre, "lat": grid.latitude, "lon": grid.longitude}
    check_grid(xr.Dataset(coords=coordinates), reference)
    folder: Path = directory or arguments.output or HERE / "results" / configuration.name
    years, spinup = (1, 0) if arguments.smoke else (arguments.years, arguments.spinup)
    climate = simulate_climate(configuration, folder, years, spinup)
    summary: dict[str, Any] = {
        "name": configuration.name, "years": years, "spinup": spinup,
        "reference": arguments.reference.name, "configuration": configuration.facts(),
    }  # fmt: skip
    if kind == "climatology":
        summary |= compare(climate, reference)
        report = reference_report(summary)
        write_csv(summary, folder / "rmse.csv")
    else:
        summary |= observations.compare(climate, reference, arguments.reference)
        report = observations.report(summary)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", report)
    if not arguments.no_figures:
        figures.draw(climate, reference, kind, folder)
    print(report)
    return summary


def main() -> None:
    """Run the study; the short form in a folder that is removed."""
    arguments = parse()
    try:
        if arguments.smoke:
            with tempfile.TemporaryDirectory() as folder:
                study(arguments, Path(folder))
        else:
            study(arguments)
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
