"""Gradients as maps that do not depend on the grid.

The derivative with respect to the value of a cell grows with the size of the cell. Divided by its
area it becomes the Riesz representer of the gradient in the inner product of the sphere,
<a, b> = integral of a b over area: a density g such that a small change x of the input changes the
target by the integral of g x. The integral of g itself is the response to a change by 1 everywhere.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from jcm.forcing_fields import FORCING_UNITS
from jcm.grid import Grid
from jcm.model import Model
from jcm.provenance import provenance
from jcm.simulate import Inputs
from jcm_sensitivity.adjoint import Sensitivity
from jcm_sensitivity.regions import GLOBE, Region
from jcm_sensitivity.units import displayed, per

#: Area to which the density refers [m2], and how units name it.
UNIT_AREA, UNIT_AREA_NAME = 1e12, "(1e6 km2)"


def to_map(
    model: Model, sensitivity: Sensitivity, *, inputs: Inputs | None = None
) -> xr.Dataset:
    """Return gradients as maps per unit area.

    A monthly input gives two maps: `sensitivity_to_NAME`, to a change that is the same in all
    months (the sum over months), and `sensitivity_to_NAME_by_month`. Parameters come as single
    numbers. Precipitation is in mm day-1.

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
        Maps in units such as `mm day-1 K-1 (1e6 km2)-1`, the area of cells, and the value of the
        target.

    Raises
    ------
    ValueError
        If an input is neither on the grid of the model nor a single number.
    """
    grid = model.grid
    factor, units = displayed(sensitivity.target_units)
    variables: dict[Hashable, Any] = {
        "target": ((), float(sensitivity.value) * factor,
                   {"long_name": sensitivity.target, "units": units})}  # fmt: skip
    for name, gradient in sensitivity.gradient.items():
        values = np.asarray(gradient, float) * factor
        of = sensitivity.input_units[name]
        if values.ndim == 0:
            variables[f"sensitivity_to_{_short(name)}"] = (
                (), values, _attributes(sensitivity, name, per(units, of)))
        elif values.shape[-2:] == grid.shape and values.ndim <= 3:
            variables |= _maps(sensitivity, name, values, grid, per(units, of))
        else:
            raise ValueError(
                f"{name} has shape {values.shape}, which is no map on the grid of {model.name} "
                f"{grid.shape}; spectra and other inputs have no map per area")
    return xr.Dataset(
        variables,
        coords=_coordinates(grid),
        attrs=provenance(model, inputs) | {
            "title": f"Sensitivity of the {sensitivity.target}",
            "comment": "Density per area: the integral of a map times a small change of the input "
            f"is the change of the target. {note_on_switches(model)}".strip(),
        },
    )


def note_on_switches(model: Model) -> str:
    """Say what the derivative leaves out in a model with exact switches, else nothing."""
    if getattr(model.physics, "smooth", True):
        return ""
    return (
        "Exact switches: this is the derivative between switches; what a finite change gains or "
        "loses by switching, such as the onset of convection, is not in it. A model built with "
        "smooth = true includes it if its widths are wide enough; `--check` tells.")


def _maps(
    result: Sensitivity, name: str, values: np.ndarray, grid: Grid, units: str
) -> dict[Hashable, Any]:
    """Return the maps of one input, latitude first."""
    density = np.swapaxes(values / (grid.cell_area / UNIT_AREA), -1, -2)
    units = f"{units} {UNIT_AREA_NAME}-1".removeprefix("1 ")
    attributes = _attributes(result, name, units) | {"cell_measures": "area: cell_area"}
    title = f"sensitivity_to_{_short(name)}"
    if values.ndim == 2:
        return {title: (("lat", "lon"), density, attributes)}
    part = "month" if len(density) == 12 else "record"
    words = attributes["long_name"]
    return {
        title: (("lat", "lon"), density.sum(axis=0), attributes | {
            "long_name": f"{words}, the same change in every {part}"}),
        f"{title}_by_{part}": ((part, "lat", "lon"), density, attributes | {
            "long_name": f"{words}, change in one {part}"}),
    }  # fmt: skip


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


def _coordinates(grid: Grid) -> dict[Hashable, Any]:
    area = np.repeat(grid.cell_area[:, None], grid.nlon, axis=1)
    return {
        "lat": ("lat", grid.latitude, {
            "standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "lon": ("lon", grid.longitude, {
            "standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
        "cell_area": (("lat", "lon"), area, {
            "standard_name": "cell_area", "long_name": "area of the cell", "units": "m2"}),
    }  # fmt: skip


def integral(field: xr.DataArray, *, region: Region = GLOBE) -> xr.DataArray:
    """Return the integral of a map over a region: the response to a change by 1 there.

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
    per_area = f"{UNIT_AREA_NAME}-1"
    units = str(field.attrs.get("units", ""))
    if "cell_area" not in field.coords or not units.endswith(per_area):
        raise ValueError(
            f"expected a map of to_map, per {UNIT_AREA_NAME} and with its cell_area; "
            f"{field.name} has units {units!r} and coordinates {', '.join(map(str, field.coords))}")
    grid = Grid("", 0, field.sizes["lon"], field.sizes["lat"])
    inside = xr.DataArray(region.fraction(grid), dims=("lon", "lat"))
    total = (field * field["cell_area"] / UNIT_AREA * inside).sum(("lat", "lon"))
    total.attrs = {"units": units.removesuffix(per_area).strip() or "1"}
    return total.rename(f"integral_of_{field.name}")
