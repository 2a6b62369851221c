"""`jcm-sensitivity map`: computes, writes and draws a sensitivity map.

Without a file it maps the sensitivity of precipitation over the tropical Pacific to the sea surface
temperature of the world.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

from jcm.output import write_dataset
from jcm.parameters import extract, insert
from jcm_sensitivity.adjoint import CompiledSensitivity, compile_sensitivity
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console, status
from jcm_sensitivity.experiment import MapExperiment, default_experiment, read_experiment
from jcm_sensitivity.maps import integral, note_on_switches, to_map
from jcm_sensitivity.plot import plot_map
from jcm_sensitivity.regions import Region
from jcm_sensitivity.units import displayed, input_units

#: Half the difference of the two runs of `--check`, in units of the input.
CHECK_STEP = 0.5

def map_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML; default: precipitation over the tropical Pacific on the "
            "last of 5 days, T31L8, with respect to sea surface temperature.",
            metavar="[EXPERIMENT.toml]", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for sensitivity_map.nc and sensitivity_map.png.")
    ] = Path(),
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth", help="Smooth the switches of the physics, so that the gradient includes "
            "what they do when they flip; in a file: [model] smooth = true."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare with two more runs: input changed by -0.5 and +0.5 (K for "
            "temperature) inside the region of the target."),
    ] = False,
) -> None:
    """Map the sensitivity of a mean over a region to fields such as sea surface temperature."""
    with errors_in_one_line():
        if smooth and experiment is not None:
            raise ValueError("--smooth is for the default experiment; in a file, set smooth = true "
                             "in [model]")
        _map(experiment, output, smooth, check, new_console())


def _map(path: Path | None, output: Path, smooth: bool, check: bool, console: Console) -> None:
    begin = time.perf_counter()
    with status(console, "Building the model and its initial state"):
        setup = default_experiment(smooth=smooth) if path is None else read_experiment(path)
    inputs, names, region = setup.inputs, setup.wrt, setup.target.region
    console.print(f"Target: {setup.target.description}\nRun:    {setup.description}")
    output.mkdir(parents=True, exist_ok=True)
    prepared = time.perf_counter()
    with status(console, "Compiling run and adjoint, about a minute"):
        gradient = compile_sensitivity(setup.run, setup.target, inputs, wrt=names)
    with status(console, f"Running {setup.run.days:g} days and their adjoint"):
        start = time.perf_counter()
        result = gradient(inputs)
        seconds = time.perf_counter() - start
    dataset = to_map(setup.run.model, result, inputs=inputs)
    write_dataset(dataset, output / "sensitivity_map.nc")
    written = [str(output / "sensitivity_map.nc")]
    for field in _flat_maps(dataset):
        several = len(_flat_maps(dataset)) > 1
        name = f"{field.name}.png" if several else "sensitivity_map.png"
        plot_map(field, output / name, region=region, title=_title(dataset, setup))
        written.append(str(output / name))
    _report(console, dataset, region)
    if note := note_on_switches(setup.run.model):
        console.print(f"Note: {note}", soft_wrap=True)
    console.print(
        f"Wall time: preparing {prepared - begin:.1f} s, compiling "
        f"{gradient.compile_seconds:.1f} s, run and adjoint {seconds:.1f} s, "
        f"all {time.perf_counter() - begin:.1f} s\nWritten: {', '.join(written)}",
        soft_wrap=True)  # fmt: skip
    if check:
        _check(console, gradient, setup, dataset)


def _flat_maps(dataset: xr.Dataset) -> list[xr.DataArray]:
    return [field for field in dataset.data_vars.values() if field.dims == ("lat", "lon")]


def _title(dataset: xr.Dataset, setup: MapExperiment) -> str:
    target = dataset["target"]
    words = str(target.attrs["long_name"])
    return (f"{words[0].upper()}{words[1:]}: {float(target):.3g} {target.attrs['units']}\n"
            f"{setup.description}")  # fmt: skip


def _report(console: Console, dataset: xr.Dataset, region: Region) -> None:
    """Print the target, and for each map its strongest cell and its integrals."""
    target = dataset["target"]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("value of the target", f"{float(target):.6g}", str(target.attrs["units"]))
    for field in _flat_maps(dataset):
        cell = np.unravel_index(int(np.abs(field.values).argmax()), field.shape)
        units, everywhere = str(field.attrs["units"]), integral(field)
        where = f"{float(field.lat[cell[0]]):.1f} N, {float(field.lon[cell[1]]):.1f} E"
        table.add_row(str(field.attrs["long_name"]))
        table.add_row(f"  strongest cell ({where})", f"{field.values[cell]:.4g}", units)
        table.add_row(
            "  integral: response to +1 everywhere", f"{float(everywhere):.4g}",
            str(everywhere.attrs["units"]))
        table.add_row(
            f"  integral over {region.name}: to +1 there only",
            f"{float(integral(field, region=region)):.4g}", str(everywhere.attrs["units"]))
    for name, number in dataset.data_vars.items():
        if number.dims == () and name != "target":
            table.add_row(str(number.attrs["long_name"]), f"{float(number):.4g}",
                          str(number.attrs["units"]))  # fmt: skip
    console.print(table)


def _check(
    console: Console, gradient: CompiledSensitivity, setup: MapExperiment, dataset: xr.Dataset
) -> None:
    """Print the map's answer beside a central difference, for a change inside the region."""
    region = setup.target.region
    inside = region.fraction(setup.run.model.grid)
    factor, units = displayed(setup.target.units)
    for field in _flat_maps(dataset):
        name = str(field.attrs["input"])
        value = extract(setup.inputs, [name])[name]
        of = input_units(setup.inputs, name)
        with status(console, f"Two runs with {name} changed by -{CHECK_STEP} and +{CHECK_STEP}"):
            low, high = (
                float(gradient(insert(setup.inputs, {name: value + sign * CHECK_STEP * inside}))
                      .value) * factor
                for sign in (-1, 1)
            )  # fmt: skip
        slope = (high - low) / (2 * CHECK_STEP)
        linear = float(integral(field, region=region))
        console.print(
            f"Check in {region.name}, {name} +-{CHECK_STEP} {of}:\n"
            f"  central difference {slope:.5g}, adjoint {linear:.5g} "
            f"{integral(field).attrs['units']} (ratio {linear / slope if slope else np.nan:.3f}; "
            f"target {low:.5g} and {high:.5g} {units})",
            soft_wrap=True)  # fmt: skip
