"""Computes, writes and draws the first-order change of all fields by one change of the inputs."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from jcm.initial import default_inputs
from jcm.model import build_model
from jcm.output import to_dataset, write_dataset
from jcm.simulate import Inputs
from jcm.variables import VARIABLES
from jcm_sensitivity.arguments import SEA_SURFACE_TEMPERATURE, change_of
from jcm_sensitivity.change_files import change_dataset
from jcm_sensitivity.changes import change_within, units_of
from jcm_sensitivity.commands.shared import status
from jcm_sensitivity.consistency import NEEDED, WATER, consistency
from jcm_sensitivity.experiment import built_run, describe_run, load_with_switches
from jcm_sensitivity.figures_consistency import plot_consistency
from jcm_sensitivity.maps import note_on_switches
from jcm_sensitivity.plot import plot_map
from jcm_sensitivity.regions import REGIONS, Region
from jcm_sensitivity.runs import Experiment, model_experiment
from jcm_sensitivity.tangent import Response, response
from jcm_sensitivity.units import displayed

#: Variables that are drawn, and the sigma next to which those with levels are.
DRAWN = {
    "precipitation_flux": None, "surface_air_pressure": None, "air_temperature": 0.85,
    "geopotential_height": 0.25, "eastward_wind": 0.25}  # fmt: skip


class ResponseExperiment(NamedTuple):
    """Run, inputs and change of a response."""

    run: Experiment
    inputs: Inputs
    #: Change by name of input, in its units, and where; None: everywhere.
    change: dict[str, float]
    region: Region | None

    @property
    def description(self) -> str:
        """The change, model and dates in words."""
        parts = [f"{name} {size:+g} {units_of(self.inputs, name)}"
                 for name, size in self.change.items()]  # fmt: skip
        where = "everywhere" if self.region is None else f"in {self.region.description}"
        return f"{', '.join(parts)} {where}; {describe_run(self.run, self.inputs)}"

    def arrays(self) -> dict[str, Any]:
        """Return the changes as `response` takes them."""
        if self.region is None:
            return dict(self.change)
        return {name: size * change_within(self.run.model, self.inputs, name, self.region)
                for name, size in self.change.items()}  # fmt: skip


def default_response(*, smooth: bool = True) -> ResponseExperiment:
    """Return the default: sea surface temperature +1 K in Nino 3.4, 5 days, T31L8."""
    model = build_model("T31L8", smooth=smooth)
    return ResponseExperiment(
        model_experiment(model, days=5, every=1), default_inputs(model),
        {SEA_SURFACE_TEMPERATURE: 1.0}, REGIONS["nino34"])


def read_response(path: str | Path, *, smooth: bool | None = None) -> ResponseExperiment:
    """Return the experiment of a TOML file; `smooth` as in `load_with_switches`.

    Tables of the model as in `jcm.config.load_experiment`; `[response]` with `change`, a table of
    names and numbers, and `region`, default everywhere. Variables of `[run]` are observed beside
    those that the consistency needs.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a key or a value is not valid.
    """
    experiment = load_with_switches(path, smooth)
    change, where = change_of(experiment)
    named = experiment.run.variables
    run, inputs = built_run(
        experiment, named and list(dict.fromkeys([*named, *NEEDED, *WATER])), "a response")
    return ResponseExperiment(run, inputs, change, where)


def show_response(
    path: Path | None, output: Path, smooth: bool | None, console: Console
) -> None:
    """Compute, write, draw and print a response."""
    begin = time.perf_counter()
    with status(console, "Building the model and its initial state"):
        setup = (default_response(smooth=smooth is not False) if path is None
                 else read_response(path, smooth=smooth))
        changes = setup.arrays()
    console.print(f"Change: {setup.description}", soft_wrap=True)
    output.mkdir(parents=True, exist_ok=True)
    with status(console, f"Compiling and running {setup.run.days:g} days and their derivative"):
        result = response(setup.run, setup.inputs, changes)
    dataset = response_dataset(setup, result)
    write_dataset(dataset, output / "response.nc")
    found = consistency(setup.run.model, setup.inputs, result)
    write_dataset(found, output / "consistency.nc")
    written = ["response.nc", "consistency.nc"]
    for field in _drawn(dataset):
        name = f"{field.name}.png"
        plot_map(field, output / name, region=setup.region,
                 title=f"{_capital(str(field.attrs['long_name']))}, mean of the last output\n"
                 f"{setup.description}")  # fmt: skip
        written.append(name)
    plot_consistency(found, output / "consistency.png", title=setup.description)
    console.print(_table(dataset, found))
    if note := note_on_switches(setup.run.model):
        console.print(f"Note: {note}", soft_wrap=True)
    console.print(
        f"Wall time: {time.perf_counter() - begin:.1f} s\nWritten in {output}: "
        f"{', '.join([*written, 'consistency.png'])}", soft_wrap=True)  # fmt: skip


def response_dataset(setup: ResponseExperiment, result: Response) -> xr.Dataset:
    """Return fields and their change, as files have them: time, level, latitude, longitude.

    A change bears the name of its variable and `_change`.
    """
    model, run = setup.run.model, setup.run
    options: dict[str, Any] = {
        "every": run.every, "inputs": setup.inputs, "average": run.average}
    dataset = to_dataset(model, result.fields, **options, attributes={
        "title": "Response of a run to a small change of its inputs, to first order",
        "change": setup.description})  # fmt: skip
    changes = change_dataset(model, result.change, **options)
    return dataset.merge(
        changes[[f"{name}_change" for name in result.change]], compat="override", join="exact",
        combine_attrs="override")  # fmt: skip


def _drawn(dataset: xr.Dataset) -> list[xr.DataArray]:
    """Return maps of the last output in the units in which people read them."""
    maps = []
    for name, sigma in DRAWN.items():
        if f"{name}_change" not in dataset:
            continue
        field = dataset[f"{name}_change"].isel(time=-1)
        words = str(field.attrs["long_name"])
        if sigma is not None:
            field = field.sel(level=sigma, method="nearest")
            words += f" at sigma = {float(field.level):.3g}"
        factor, units = displayed(VARIABLES[name].units)
        shown = factor * field
        shown.attrs = {"long_name": words, "units": units}
        maps.append(shown.rename(field.name))
    return maps


def _table(dataset: xr.Dataset, found: xr.Dataset) -> Table:
    """Return what a person wants to know first: strongest changes, and the consistency."""
    table = Table(show_header=False, box=None, pad_edge=False)
    row = lambda words, value, units: table.add_row(f"  {words}", f"{value:.4g}", units)  # noqa: E731
    table.add_row("last output, strongest change")
    for field in _drawn(dataset):
        cell = np.unravel_index(int(np.abs(field.values).argmax()), field.shape)
        where = f"{float(field.lat[cell[0]]):.1f} N, {float(field.lon[cell[1]]):.1f} E"
        words = str(field.attrs["long_name"]).removeprefix("change of ")
        row(words, field.values[cell], f"{field.attrs['units']} ({where})")
    last = found.isel(day=-1)
    table.add_row("wind and geostrophic wind change, extratropics")
    for name in ("adjustment", "fraction", "correlation"):
        row(name, float(last[f"extratropical_geostrophic_{name}"]), "1")
    size = float(np.sqrt((last["height_change_at_pressure"] ** 2).mean()))
    residual = float(np.sqrt((last["hypsometric_residual"] ** 2).mean()))
    table.add_row("hydrostatics")
    row("residual over change of height", residual / size if size else np.nan, "1")
    table.add_row("energy of the change")
    for term in ("kinetic", "thermal", "surface"):
        row(term, float(last[f"{term}_energy"].sum()), "J kg-1")
    if "water_gain" in found:
        budget = found.isel(between=-1)
        table.add_row("water, mean over the globe")
        for name, words in (("water_gain", "evaporation less precipitation"),
                            ("water_storage", "storage"), ("water_residual", "residual")):
            row(words, float(budget[name]), str(budget[name].attrs["units"]))
    return table


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
