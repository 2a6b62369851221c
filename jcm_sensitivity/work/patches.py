"""Compares runs with warmer and cooler patches of sea with one adjoint map."""

import time
from pathlib import Path

import xarray as xr
from rich.console import Console
from rich.table import Table

from jcm.output import write_dataset
from jcm_sensitivity.commands.shared import status
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.maps import note_on_switches
from jcm_sensitivity.patch_agreement import agrees
from jcm_sensitivity.patches import (
    PACIFIC,
    compare_with_patches,
    patch_layout,
)
from jcm_sensitivity.patches_plot import plot_patch_maps, plot_responses
from jcm_sensitivity.regions import Region
from jcm_sensitivity.work.shared import read_setup


def compare_patches(
    path: Path | None, output: Path, smooth: bool | None, where: Region | None,
    half_widths: tuple[float, float], amplitudes: list[float], states: int, spacing: float,
    store: Path, console: Console,
) -> None:  # fmt: skip
    """Run the patches; `where` their centres lie, None: over the tropical Pacific."""
    setup = read_setup(path, smooth, console)
    patches = patch_layout(
        setup.run.model, setup.inputs, region=PACIFIC if where is None else where,
        half_widths=half_widths)  # fmt: skip
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
