"""`jcm-sensitivity patches`: runs with warmer and cooler patches of sea against one adjoint map.

Without a file: precipitation over the tropical Pacific, patches over the Pacific.
"""

import time
from pathlib import Path
from typing import Annotated

import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

from jcm.output import write_dataset
from jcm_sensitivity.commands.shared import (
    Switches,
    errors_in_one_line,
    new_console,
    positive_numbers,
    read_setup,
    status,
)
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.experiment import MapExperiment
from jcm_sensitivity.maps import note_on_switches
from jcm_sensitivity.patch_agreement import agrees
from jcm_sensitivity.patches import (
    PACIFIC,
    SEA_SURFACE_TEMPERATURE,
    Patches,
    compare_with_patches,
    patch_layout,
)
from jcm_sensitivity.patches_plot import plot_patch_maps, plot_responses
from jcm_sensitivity.regions import Region, box, region


def patches_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML, as for `map`; default: precipitation over the tropical "
            "Pacific on the last of 5 days, T31L8, with respect to sea surface temperature.",
            metavar="[EXPERIMENT.toml]", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for patches.nc, patches.png and patch_maps.png.")
    ] = Path(),
    centres: Annotated[
        str | None,
        typer.Option(
            help="Where the centres of the patches lie: the name of a region, or "
            "SOUTH,NORTH,WEST,EAST in degrees. Default: the tropical Pacific, "
            "-21,21,120,-80.", show_default=False),
    ] = None,
    half_widths: Annotated[
        str, typer.Option(help="Half-widths of a patch in latitude and longitude [degrees].")
    ] = "10,40",
    amplitudes: Annotated[
        str, typer.Option(help="Heights of the patches in kelvin, separated by commas.")
    ] = "0.1,1",
    states: Annotated[
        int, typer.Option(help="Number of initial states, along a run.")
    ] = 2,
    spacing: Annotated[
        float, typer.Option(help="Days between the initial states.")
    ] = 5.0,
    smooth: Switches = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps each patch that is done, so that a command that was "
            "interrupted goes on there. Default: patch_runs in the output folder.",
            show_default=False),
    ] = None,
) -> None:
    """Test a sensitivity map with runs in which patches of the sea are warmer or cooler.

    The map of `map` says by how much the target changes when the sea warms a little somewhere.
    This command does it: for each of many patches of sea it runs the model with the patch warmer
    and cooler (the Green's function protocol of Bloch-Johnson and others, 2024, in small), and
    compares what it finds with what the map predicts: the correlation over the patches, the slope
    (1 if the size is right too), how far the response is not linear, and what each way costs.
    """
    with errors_in_one_line():
        where = PACIFIC if centres is None else _region(centres)
        widths = positive_numbers("--half-widths", half_widths)
        heights = positive_numbers("--amplitudes", amplitudes)
        if len(widths) != 2:
            raise ValueError(
                f"--half-widths is two numbers of degrees, e.g. 10,40; got {half_widths!r}")
        console = new_console()
        setup = read_setup(experiment, smooth, console)
        if SEA_SURFACE_TEMPERATURE not in setup.wrt:
            raise ValueError(
                f"patches are of the sea surface: put {SEA_SURFACE_TEMPERATURE!r} into wrt of "
                f"[sensitivity], which has {', '.join(setup.wrt)}")
        patches = patch_layout(
            setup.run.model, setup.inputs, region=where, half_widths=(widths[0], widths[1]))
        _patches(setup, patches, heights, states, spacing, output,
                 output / "patch_runs" if store is None else store, console)


def _patches(
    setup: MapExperiment, patches: Patches, amplitudes: list[float], states: int, spacing: float,
    output: Path, store: Path, console: Console,
) -> None:  # fmt: skip
    begin, model = time.perf_counter(), setup.run.model
    output.mkdir(parents=True, exist_ok=True)
    console.print(
        f"Target: {setup.target.description}\nRun:    {setup.description}\nPatches: "
        f"{patches.count}, each warm and cool, {', '.join(f'{x:g}' for x in amplitudes)} K, from "
        f"{states} initial states: {states * patches.count * (2 * len(amplitudes) + 1)} runs",
        soft_wrap=True)  # fmt: skip
    with status(console, f"Running {(states - 1) * spacing:g} days to {states} initial states"):
        members = initial_states(model, setup.inputs, states, spacing)
    with status(console, "Compiling run and adjoint, then the patches"):
        dataset = compare_with_patches(
            setup.run, setup.target, members, patches, amplitudes=amplitudes, store=store,
            progress=lambda done, count: console.print(f"  patch {done} of {count}"))
    write_dataset(dataset, output / "patches.nc")
    written = [
        output / "patches.nc", plot_responses(dataset, output / "patches.png"),
        plot_patch_maps(dataset, output / "patch_maps.png", region=setup.target.region)]
    console.print(_patch_table(dataset))
    console.print(_agreement_table(dataset))
    console.print(
        f"Cost: adjoint {float(dataset['adjoint_seconds']):.2f} s for the whole map; "
        f"{int(dataset['forward_runs'])} runs of {float(dataset['forward_seconds']):.2f} s for "
        f"patches of one amplitude, {float(dataset['cost_ratio']):.1f} times as long",
        soft_wrap=True)  # fmt: skip
    if note := note_on_switches(model):
        console.print(f"Note: {note}", soft_wrap=True)
    console.print(
        f"Wall time: {time.perf_counter() - begin:.1f} s\n"
        f"Written: {', '.join(map(str, written))}", soft_wrap=True)  # fmt: skip


def _patch_table(dataset: xr.Dataset) -> Table:
    """Return responses by patch, means over the initial states."""
    part = dataset.isel(target=0).mean("state")
    units = str(dataset["target_units"].values[0])
    table = Table(title=f"Response by patch, mean over initial states [{units} K-1]; in brackets "
                  f"R+ + R- - 2 R0 [{units}]", title_justify="left")  # fmt: skip
    table.add_column("centre")
    table.add_column("adjoint", justify="right")
    for amplitude in part["amplitude"].values:
        table.add_column(f"patch of {amplitude:g} K", justify="right")
    for k in range(part.sizes["patch"]):
        one = part.isel(patch=k)
        found = zip(one["linear_response"].values, one["nonlinearity"].values, strict=True)
        table.add_row(
            f"{float(one.patch_latitude):g} N, {float(one.patch_longitude):g} E",
            f"{float(one['predicted_response']):.4g}",
            *(f"{linear:.4g} ({rest:.2g})" for linear, rest in found))
    return table


def _agreement_table(dataset: xr.Dataset) -> Table:
    part = dataset.isel(target=0)
    table = Table(title="Agreement over patches, mean over initial states", title_justify="left")
    for heading in ("amplitude [K]", "correlation", "slope", "slope, total least squares",
                    "part that is not linear", "agrees"):  # fmt: skip
        table.add_column(heading, justify="right")
    for amplitude in part["amplitude"].values:
        one = part.sel(amplitude=amplitude)
        correlation, slope = float(one["correlation"]), float(one["slope"])
        table.add_row(
            f"{amplitude:g}", f"{correlation:.4f}", f"{slope:.4f}",
            f"{float(one['slope_total_least_squares']):.4f}",
            f"{float(one['nonlinear_part']):.3f}", "yes" if agrees(correlation, slope) else "no")
    return table


def _region(text: str) -> Region:
    if "," not in text:
        return region(text)
    numbers = text.split(",")
    try:
        south, north, west, east = (float(x) for x in numbers)
    except ValueError:
        raise ValueError(
            "--centres is the name of a region or SOUTH,NORTH,WEST,EAST in degrees, e.g. "
            f"-21,21,120,-80; got {text!r}") from None
    return box(south, north, west, east, name="centres")
