"""Computes, writes and draws a sensitivity map."""

import time
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jcm.output import write_dataset
from jcm.parameters import extract, insert
from jcm_sensitivity.adjoint import CompiledSensitivity, compile_sensitivity
from jcm_sensitivity.animation import animate
from jcm_sensitivity.commands.shared import status
from jcm_sensitivity.ensembles import ensemble_map, ensemble_sensitivity, initial_states
from jcm_sensitivity.experiment import MapExperiment
from jcm_sensitivity.maps import integral, note_on_switches, to_map
from jcm_sensitivity.plot import plot_map
from jcm_sensitivity.regions import GLOBE, Region
from jcm_sensitivity.units import displayed, input_units
from jcm_sensitivity.work.shared import begin

#: Half the difference of the two runs of `--check`, in units of the input.
CHECK_STEP = 0.5
#: Days between the initial states of an ensemble.
SPACING = 5.0


def map_sensitivity(
    path: Path | None, output: Path, smooth: bool | None, by_day: bool, memory: str | None,
    check: bool, console: Console,
) -> None:  # fmt: skip
    """Map the sensitivity of one run."""
    start = time.perf_counter()
    setup = begin(path, smooth, output, console)
    inputs, names = setup.inputs, setup.wrt
    prepared = time.perf_counter()
    with status(console, "Compiling run and adjoint, about a minute"):
        gradient = compile_sensitivity(
            setup.run, setup.target, inputs, wrt=names, by_day=by_day, memory=memory)
    with status(console, f"Running {setup.run.days:g} days and their adjoint"):
        compiled = time.perf_counter()
        result = gradient(inputs)
        seconds = time.perf_counter() - compiled
    dataset = to_map(setup.run.model, result, inputs=inputs)
    written = _write(dataset, _flat_maps(dataset), output, setup)
    for field in _days(dataset):
        path = output / _name(field, _days(dataset), "gif")
        with status(console, "Drawing the animation"):
            animate(field, path, region=setup.target.region)
        written.append(str(path))
    _report(console, dataset, setup.target.region)
    for note in (note_on_switches(setup.run.model), dataset.attrs.get("horizon_warning")):
        if note:
            console.print(f"Note: {note}", soft_wrap=True)
    console.print(
        f"Wall time: preparing {prepared - start:.1f} s, compiling "
        f"{gradient.compile_seconds:.1f} s, run and adjoint {seconds:.1f} s, "
        f"all {time.perf_counter() - start:.1f} s\nWritten: {', '.join(written)}",
        soft_wrap=True)  # fmt: skip
    if check:
        _check(console, gradient, setup, dataset)


def map_ensemble(
    path: Path | None, output: Path, smooth: bool | None, members: int, console: Console
) -> None:
    """Map the mean over initial states, in batches that are kept until all are done."""
    setup = begin(path, smooth, output, console)
    model = setup.run.model
    with status(console, f"Running {(members - 1) * SPACING:g} days to the initial states"):
        states = initial_states(model, setup.inputs, members, SPACING)
    with Progress(console=console) as bar:
        task = bar.add_task("Gradients", total=members)
        result = ensemble_sensitivity(
            setup.run, setup.target, states, wrt=setup.wrt, batch=1, store=output / "members",
            progress=lambda done, of: bar.update(task, completed=done, total=of))
    dataset = ensemble_map(model, result, inputs=setup.inputs)
    means = [field for field in _flat_maps(dataset) if str(field.name).endswith("_mean")]
    written = _write(dataset, means, output, setup)
    for field in means:
        marked = _significant(dataset, field)
        assert marked is not None
        everywhere = integral(field)
        console.print(
            f"{field.attrs['long_name']}: integral {float(everywhere):.4g} "
            f"{everywhere.attrs['units']}; {int(marked.sum())} of {marked.size} cells significant",
            soft_wrap=True)
    console.print(f"Written: {', '.join(written)}", soft_wrap=True)


def _write(
    dataset: xr.Dataset, maps: list[xr.DataArray], output: Path, setup: MapExperiment
) -> list[str]:
    """Write the file and a picture of each map, and return their names."""
    write_dataset(dataset, output / "sensitivity_map.nc")
    written = [str(output / "sensitivity_map.nc")]
    for field in maps:
        path = output / _name(field, maps, "png")
        plot_map(field, path, region=setup.target.region, title=_title(dataset, setup),
                 significant=_significant(dataset, field))  # fmt: skip
        written.append(str(path))
    return written


def _significant(dataset: xr.Dataset, mean: xr.DataArray) -> xr.DataArray | None:
    """Return the mask of significant cells that belongs to a mean over members, if it is one."""
    name = str(mean.name)
    return dataset[f"{name[:-5]}_significant"] if name.endswith("_mean") else None


def _name(field: xr.DataArray, among: list[xr.DataArray], ending: str) -> str:
    return f"{field.name if len(among) > 1 else 'sensitivity_map'}.{ending}"


def _days(dataset: xr.Dataset) -> list[xr.DataArray]:
    return [x for x in dataset.data_vars.values() if x.dims == ("day", "lat", "lon")]


def _flat_maps(dataset: xr.Dataset) -> list[xr.DataArray]:
    return [field for field in dataset.data_vars.values() if field.dims == ("lat", "lon")]


def _title(dataset: xr.Dataset, setup: MapExperiment) -> str:
    target = dataset["target" if "target" in dataset else "target_mean"]
    words = str(target.attrs["long_name"])
    return (f"{words[0].upper()}{words[1:]}: {float(target):.3g} {target.attrs['units']}\n"
            f"{setup.description}")  # fmt: skip


def _report(console: Console, dataset: xr.Dataset, region: Region | None) -> None:
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
        if region is None:
            continue
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
    region = setup.target.region or GLOBE
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
