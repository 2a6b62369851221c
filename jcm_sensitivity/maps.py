"""Gradients as maps that do not depend on the grid.

The derivative with respect to the value of a cell grows with the size of the cell. Divided by its
area it becomes the Riesz representer of the gradient in the inner product of the sphere,
<a, b> = integral of a b over area: a density g such that a small change x of the input changes the
target by the integral of g x. The integral of g itself is the response to a change by 1 everywhere.
In the same way derivatives with respect to fields with levels are divided by the mass of the cell,
and derivatives by day are a density in time.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from jcm.forcing_fields import FORCING_UNITS
from jcm.grid import Grid
from jcm.model import Model
from jcm.provenance import provenance
from jcm.simulate import Inputs
from jcm_sensitivity.adjoint import Sensitivity
from jcm_sensitivity.initial_state import STATE_UNITS
from jcm_sensitivity.regions import GLOBE, Region
from jcm_sensitivity.units import displayed, per

#: Area to which the density refers [m2], and how units name it.
UNIT_AREA, UNIT_AREA_NAME = 1e12, "(1e6 km2)"
#: The same for mass [kg]: 1e6 km2 of air, 98 hPa thick.
UNIT_MASS, UNIT_MASS_NAME = 1e15, "(1e15 kg)"


def to_map(
    model: Model, sensitivity: Sensitivity, *, inputs: Inputs | None = None
) -> xr.Dataset:
    """Return gradients as maps per unit area.

    A monthly input gives two maps: `sensitivity_to_NAME`, to a change that is the same in all
    months (the sum over months), and `sensitivity_to_NAME_by_month`. The initial state gives maps
    with levels, per mass at the reference pressure. Derivatives by day give in addition
    `sensitivity_to_NAME_by_day`, to a change on one day of the run, per day. Parameters come as
    single numbers. Precipitation is in mm day-1.

    Parameters
    ----------
    model
        Tells the grid.
    sensitivity
        Result of `jcm_sensitivity.sensitivity`.
    inputs
        Where the derivative was taken: gives the start date and what is said of parameters.

    Returns
    -------
    xr.Dataset
        Maps in units such as `mm day-1 K-1 (1e6 km2)-1`, by day
        `mm day-1 K-1 (1e6 km2)-1 day-1`, the area of cells, the mass of layers, and the value of
        the target.

    Raises
    ------
    ValueError
        If an input is neither on the grid of the model nor a single number.
    """
    factor, units = displayed(sensitivity.target_units)
    variables: dict[Hashable, Any] = {
        "target": ((), float(sensitivity.value) * factor,
                   {"long_name": sensitivity.target, "units": units})}  # fmt: skip
    for name, gradient in sensitivity.gradient.items():
        values = np.asarray(np.asarray(gradient, float) * factor)
        kind = per(units, sensitivity.input_units[name])
        if not sensitivity.by_day or name.startswith("state."):
            variables |= _whole(model, sensitivity, name, values, kind)
            continue
        variables |= _whole(
            model, sensitivity, name, np.asarray(values.sum(axis=0)), kind)
        variables |= _each_day(model, sensitivity, name, values, kind)
    dims = {dim for field in variables.values() for dim in field[0]} | {"lat", "lon"}
    return xr.Dataset(
        variables,
        coords={name: coordinate for name, coordinate in _coordinates(model, variables).items()
                if dims.issuperset(coordinate[0])},
        attrs=provenance(model, inputs) | {
            "title": f"Sensitivity of the {sensitivity.target}",
            "comment": "Density per area: the integral of a map times a small change of the input "
            f"is the change of the target. {note_on_switches(model)}".strip(),
        } | dict(sensitivity.notes),
    )


def note_on_switches(model: Model) -> str:
    """Say what the derivative leaves out in a model with exact switches, else nothing."""
    if getattr(model.physics, "smooth", True):
        return ""
    return (
        "Exact switches: this is the derivative between switches; what a finite change gains or "
        "loses by switching, such as the onset of convection, is not in it. Smooth switches "
        "(--smooth, or build_model(..., smooth=True)) include it if their widths are wide enough; "
        "the check against two runs tells.")


def _whole(
    model: Model, result: Sensitivity, name: str, values: np.ndarray, kind: str
) -> dict[Hashable, Any]:
    """Return number or maps of one input, for a change that lasts the whole run."""
    title = f"sensitivity_to_{_short(name)}"
    if values.ndim == 0:
        return {title: ((), values, _attributes(result, name, kind))}
    density, units = _density(model, name, values, kind)
    attributes = _attributes(result, name, units) | {"cell_measures": "area: cell_area"}
    if values.ndim == 2:
        return {title: (("lat", "lon"), density, attributes)}
    if name in STATE_UNITS:
        return {title: (("level", "lat", "lon"), density, attributes)}
    part = "month" if len(density) == 12 else "record"
    words = attributes["long_name"]
    return {
        title: (("lat", "lon"), density.sum(axis=0), attributes | {
            "long_name": f"{words}, the same change in every {part}"}),
        f"{title}_by_{part}": ((part, "lat", "lon"), density, attributes | {
            "long_name": f"{words}, change in one {part}"}),
    }  # fmt: skip


def _each_day(
    model: Model, result: Sensitivity, name: str, values: np.ndarray, kind: str
) -> dict[Hashable, Any]:
    """Return numbers or maps of one input by day of the run; months are summed up."""
    title = f"sensitivity_to_{_short(name)}_by_day"
    attributes = _attributes(result, name, f"{kind} day-1".removeprefix("1 "))
    attributes["long_name"] += ", change on one day of the run"
    if values.ndim == 1:
        return {title: (("day",), values, attributes)}
    if values.ndim == 4:
        values = values.sum(axis=1)
    density, units = _density(model, name, values, kind)
    return {title: (("day", "lat", "lon"), density, attributes | {
        "units": f"{units} day-1", "cell_measures": "area: cell_area"})}


def _density(
    model: Model, name: str, values: np.ndarray, kind: str
) -> tuple[np.ndarray, str]:
    """Return derivatives per area, or per mass for fields with levels, latitude first."""
    grid = model.grid
    if values.shape[-2:] != grid.shape or values.ndim > 3:
        raise ValueError(
            f"{name} has shape {values.shape}, which is no map on the grid of {model.name} "
            f"{grid.shape}; spectra and other inputs have no map per area")
    density = np.swapaxes(values / (grid.cell_area / UNIT_AREA), -1, -2)
    if name in STATE_UNITS and values.ndim == 3:
        mass = layer_mass(model) * UNIT_AREA / UNIT_MASS
        return density / mass[:, None, None], f"{kind} {UNIT_MASS_NAME}-1".removeprefix("1 ")
    return density, f"{kind} {UNIT_AREA_NAME}-1".removeprefix("1 ")


def layer_mass(model: Model) -> np.ndarray:
    """Return the mass of each layer per area at the reference pressure [kg m-2]."""
    constants = model.constants
    return np.asarray(model.levels.thickness) * constants.reference_pressure / constants.gravity


def _attributes(result: Sensitivity, name: str, units: str) -> dict[str, str]:
    known = FORCING_UNITS.get(name.removeprefix("forcing."))
    words = (known.standard_name if known else "") or _short(name)
    return {
        "long_name": f"sensitivity to {words.replace('_', ' ')}",
        "units": units,
        "input": name,
        "target": result.target,
    }


def _short(name: str) -> str:
    """Return the name of a variable: without the group, dots as underscores."""
    return name.split(".", 1)[-1].replace(".", "_")


def horizontal_coordinates(grid: Grid) -> dict[Hashable, Any]:
    """Return latitude and longitude as coordinates of a dataset."""
    return {
        "lat": (("lat",), grid.latitude, {
            "standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "lon": (("lon",), grid.longitude, {
            "standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
    }  # fmt: skip


def _coordinates(model: Model, variables: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    grid, levels = model.grid, model.levels
    area = np.repeat(grid.cell_area[:, None], grid.nlon, axis=1)
    days = next((len(field[1]) for field in variables.values() if field[0][:1] == ("day",)), 0)
    return horizontal_coordinates(grid) | {
        "cell_area": (("lat", "lon"), area, {
            "standard_name": "cell_area", "long_name": "area of the cell", "units": "m2"}),
        "level": (("level",), np.asarray(levels.centre), {
            "standard_name": "atmosphere_sigma_coordinate", "units": "1", "positive": "down"}),
        "layer_mass": (("level",), layer_mass(model), {
            "long_name": "mass of the layer per area at the reference pressure",
            "units": "kg m-2"}),
        "day": (("day",), np.arange(1, days + 1), {
            "long_name": "day of the run on which the input changes", "units": "1"}),
        "days_before_end": (("day",), np.arange(days, 0, -1), {
            "long_name": "days from the beginning of the change to the end of the run",
            "units": "day"}),
    }  # fmt: skip


def integral(field: xr.DataArray, *, region: Region = GLOBE) -> xr.DataArray:
    """Return the integral of a map over a region: the response to a change by 1 there.

    Fields with levels are integrated over all of them. Days stay: their sum is the response.

    Parameters
    ----------
    field
        A map of `to_map`, with the coordinate `cell_area`; further dimensions stay.
    region
        Where; cells at its edge count with their part inside.

    Raises
    ------
    ValueError
        If the field is no such map.
    """
    units = str(field.attrs.get("units", ""))
    kind = next((x for x in (UNIT_AREA_NAME, UNIT_MASS_NAME) if f"{x}-1" in units), None)
    if "cell_area" not in field.coords or kind is None:
        raise ValueError(
            f"expected a map of to_map, per {UNIT_AREA_NAME} and with its cell_area; "
            f"{field.name} has units {units!r} and coordinates {', '.join(map(str, field.coords))}")
    grid = Grid("", 0, field.sizes["lon"], field.sizes["lat"])
    inside = xr.DataArray(region.fraction(grid), dims=("lon", "lat"))
    measure = field["cell_area"] / UNIT_AREA
    over = ["lat", "lon"]
    if kind == UNIT_MASS_NAME:
        measure, over = field["cell_area"] * field["layer_mass"] / UNIT_MASS, ["level", *over]
    total = (field * measure * inside).sum(over)
    total.attrs = {"units": " ".join(units.replace(f"{kind}-1", "").split()) or "1"}
    return total.rename(f"integral_of_{field.name}")
