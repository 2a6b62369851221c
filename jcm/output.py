"""Fields as xarray datasets and netCDF files, with coordinates, units and provenance.

Eaton, B. and others: NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11. Files are
in the order time, level (from the top), latitude (from the south), longitude; the model's own order
ends here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import ArrayLike

from jcm.arguments import check_pressure_levels
from jcm.calendar import parse_date
from jcm.files import replacing
from jcm.model import Model
from jcm.pressure_levels import to_pressure_levels
from jcm.provenance import provenance
from jcm.simulate import Inputs
from jcm.variables import VARIABLES, Variable

TIME_ENCODING = {
    "units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "float64"}
EPOCH = np.datetime64("1970-01-01", "ms")
MILLISECONDS_PER_DAY = 86_400_000
#: Level of compression by zlib; higher ones are slower and hardly smaller.
COMPRESSION = 4
PRESSURE = "surface_air_pressure"
#: Pressure levels in files are given in this unit [Pa].
HECTOPASCAL = 100.0


def to_dataset(
    model: Model,
    fields: Mapping[str, ArrayLike],
    *,
    every: float | Sequence[float],
    inputs: Inputs | None = None,
    start: str | float | None = None,
    average: bool = True,
    pressure_levels: Sequence[float] | None = None,
    attributes: Mapping[str, Any] | None = None,
    variables: Mapping[str, Variable] = VARIABLES,
) -> xr.Dataset:
    """Return the fields of `simulate` as a dataset that follows CF-1.11.

    Parameters
    ----------
    model, fields
        The model, and what `simulate` has returned: name -> (time, level, lon, lat) or
        (time, lon, lat).
    every, average
        Days between outputs, or the length of each, and whether they are means; the arguments of
        `simulate`.
    inputs
        The inputs from which the run started: give the start date and what is said of parameters
        and forcing.
    start
        Beginning of the first output, YYYY-MM-DD or days since 1970-01-01; default that of
        `inputs`.
    pressure_levels
        Levels of constant pressure [hPa] on which all fields on levels are given instead of the
        layers of the model; this needs the surface air pressure. See `to_pressure_levels`.
    attributes
        Further global attributes.
    variables
        Names, units and meaning of the fields; a physics with fields of its own adds them:
        `VARIABLES | {"ozone": Variable(...)}`.

    Raises
    ------
    ValueError
        If a field is unknown or has another shape, neither inputs nor start are given, or
        pressure levels are not possible.
    """
    count = _check_fields(model, fields, variables)
    times = _times(_start_day(model, inputs, start), every, average, count)
    ordered = [name for name in variables if name in fields]
    data = {
        name: _data_array(np.asarray(fields[name]), variables[name], average) for name in ordered
    }
    vertical = _layers(model, PRESSURE in fields)
    if pressure_levels is not None:
        pascal = HECTOPASCAL * np.array(check_pressure_levels(pressure_levels))
        data = _on_pressure_levels(model, data, pascal, average)
        vertical = _pressure_coordinate(pascal)
    dataset = xr.Dataset(
        data | _horizontal_bounds(model), coords=times.coords | _horizontal(model),
        attrs=provenance(model, inputs) | dict(attributes or {}))  # fmt: skip
    dataset = dataset.merge(vertical)
    return dataset.assign(times.data_vars) if average else dataset


def write_dataset(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a dataset as compressed netCDF4; whoever looks finds all of it or nothing.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    compressed = {"zlib": True, "complevel": COMPRESSION, "shuffle": True}
    encoding: dict[str, dict[str, Any]] = {}
    for name, data in dataset.variables.items():
        compress = compressed if {"lat", "lon"} <= set(data.dims) else {}
        dates = TIME_ENCODING if np.issubdtype(data.dtype, np.datetime64) else {}
        encoding[str(name)] = fill_value(data) | compress | dates
    unlimited = ["time"] if "time" in dataset.dims else []
    with replacing(path) as temporary:
        dataset.to_netcdf(
            temporary, format="NETCDF4", engine="netcdf4", encoding=encoding,
            unlimited_dims=unlimited)  # fmt: skip
    return path


def fill_value(data: xr.Variable) -> dict[str, Any]:
    """Return how missing values are encoded: only fields on pressure levels have any."""
    missing = {"plev", "lat", "lon"} <= set(data.dims)
    return {"_FillValue": data.dtype.type(np.nan) if missing else None}


def first_day(model: Model, inputs: Inputs) -> float:
    """Return the time at which a run with these inputs starts, in days since 1970-01-01."""
    return int(inputs.forcing.start_day) + max(int(inputs.state.step), 0) / model.steps_per_day


def _start_day(model: Model, inputs: Inputs | None, start: str | float | None) -> float:
    if start is not None:
        return parse_date(start) if isinstance(start, str) else float(start)
    if inputs is None:
        raise ValueError(
            "the dates are unknown: expected inputs (those from which the run started) or "
            "start='YYYY-MM-DD'; got neither"
        )
    return first_day(model, inputs)


def _check_fields(
    model: Model, fields: Mapping[str, Any], variables: Mapping[str, Variable]
) -> int:
    """Return the number of outputs."""
    if not fields:
        raise ValueError("there are no fields to write; expected the fields of `simulate`")
    unknown = [name for name in fields if name not in variables]
    if unknown:
        raise ValueError(
            f"no metadata for the fields {', '.join(unknown)}; pass "
            "variables=VARIABLES | {name: Variable(...)} from jcm.variables"
        )
    count = len(next(iter(fields.values())))
    for name, values in fields.items():
        layers = (model.levels.count,) if variables[name].dims == "3d" else ()
        expected = (count, *layers, *model.grid.shape)
        if np.shape(values) != expected:
            raise ValueError(
                f"{name} has shape {np.shape(values)}; expected {expected}, that is (time, "
                f"{'level, ' if layers else ''}lon, lat) of {model.name}"
            )
    return count


def _data_array(values: np.ndarray, variable: Variable, average: bool) -> xr.Variable:
    dims = ("time", "level", "lat", "lon") if variable.dims == "3d" else ("time", "lat", "lon")
    method = f"time: {'mean' if average else 'point'} {variable.cell_method}".strip()
    attributes = {
        "standard_name": variable.standard_name,
        "long_name": variable.long_name,
        "units": variable.units,
        "units_metadata": "temperature: on_scale" if variable.units == "K" else "",
        "cell_methods": method,
        "positive": variable.positive,
    }
    return xr.Variable(
        dims, np.swapaxes(values, -1, -2), {k: v for k, v in attributes.items() if v})


def _on_pressure_levels(
    model: Model, data: Mapping[str, xr.Variable], pascal: np.ndarray, average: bool
) -> dict[str, xr.Variable]:
    """Return the data with those on layers interpolated."""
    if PRESSURE not in data:
        raise ValueError(
            f"pressure levels need {PRESSURE!r} among the fields; got {', '.join(data)}")
    what = "means over time with the mean surface pressure" if average else "values at that time"
    note = (
        f"interpolated linearly in the logarithm of pressure from the layers of the model, {what}; "
        "missing below the ground and above the centre of the top layer")
    interpolate = jax.jit(
        lambda field, surface: to_pressure_levels(field, surface, model.levels, pascal))
    surface = jnp.asarray(data[PRESSURE].values)
    return {
        name: x if "level" not in x.dims else xr.Variable(
            ("time", "plev", "lat", "lon"), np.asarray(interpolate(jnp.asarray(x.values), surface)),
            x.attrs | {"comment": note})
        for name, x in data.items()}  # fmt: skip


def _times(
    start: float, every: float | Sequence[float], average: bool, count: int
) -> xr.Dataset:
    """Return times, the middle of means, and their bounds."""
    if isinstance(every, Sequence):
        if len(every) != count:
            raise ValueError(f"every gives {len(every)} lengths for {count} outputs")
        edges = start + np.cumsum([0.0, *every])
    else:
        edges = start + every * np.arange(count + 1)
    days = (edges[1:] + edges[:-1]) / 2 if average else edges[1:]
    dates = lambda x: EPOCH + np.rint(x * MILLISECONDS_PER_DAY).astype("timedelta64[ms]")  # noqa: E731
    attributes = {
        "standard_name": "time", "long_name": "time", "axis": "T",
        "units_metadata": "leap_seconds: none"}  # fmt: skip
    pairs = dates(_pairs(edges))
    bounds = xr.Variable(("time", "bounds"), pairs, encoding=TIME_ENCODING)
    if average:
        attributes["bounds"] = "time_bnds"
    time = xr.Variable(("time",), dates(days), attributes, TIME_ENCODING)
    return xr.Dataset({"time_bnds": bounds}, {"time": time})


def _horizontal(model: Model) -> dict[str, xr.Variable]:
    attributes = lambda kind, unit, axis, bounds: {  # noqa: E731
        "standard_name": kind, "long_name": kind, "units": unit, "axis": axis, "bounds": bounds}
    return {
        "lat": xr.Variable(
            ("lat",), model.grid.latitude,
            attributes("latitude", "degrees_north", "Y", "lat_bnds")),
        "lon": xr.Variable(
            ("lon",), model.grid.longitude,
            attributes("longitude", "degrees_east", "X", "lon_bnds")),
    }  # fmt: skip


def _horizontal_bounds(model: Model) -> dict[str, xr.Variable]:
    """Return the edges of cells."""
    grid = model.grid
    # Edges between which the area of a zone is its Gaussian weight.
    sine = np.clip(np.append(-1.0, np.cumsum(grid.quadrature_weight) - 1), -1, 1)
    sine[-1] = 1.0
    longitude = (np.arange(grid.nlon + 1) - 0.5) * (360 / grid.nlon)
    return {
        "lat_bnds": xr.Variable(("lat", "bounds"), _pairs(np.rad2deg(np.arcsin(sine)))),
        "lon_bnds": xr.Variable(("lon", "bounds"), _pairs(longitude)),
    }


def _layers(model: Model, with_pressure: bool) -> xr.Dataset:
    """Return centres and edges of the layers, and with pressure what its formula needs."""
    level = {
        "standard_name": "atmosphere_sigma_coordinate",
        "long_name": "pressure over surface pressure at the centre of the layer",
        "units": "1",
        "positive": "down",
        "axis": "Z",
        "bounds": "level_bnds",
    }
    edges = _pairs(np.array(model.levels.half))
    if not with_pressure:
        return xr.Dataset(
            {"level_bnds": (("level", "bounds"), edges)},
            {"level": ("level", model.levels.centre, level)})  # fmt: skip
    level["computed_standard_name"] = "air_pressure"
    level["formula_terms"] = f"sigma: level ps: {PRESSURE} ptop: ptop"
    terms = {"formula_terms": f"sigma: level_bnds ps: {PRESSURE} ptop: ptop"}
    top = {
        "standard_name": "air_pressure_at_top_of_atmosphere_model",
        "long_name": "pressure at the top of the model",
        "units": "Pa",
    }
    return xr.Dataset(
        {"level_bnds": (("level", "bounds"), edges, terms), "ptop": ((), 0.0, top)},
        {"level": ("level", model.levels.centre, level)})  # fmt: skip


def _pressure_coordinate(pascal: np.ndarray) -> xr.Dataset:
    attributes = {
        "standard_name": "air_pressure", "long_name": "pressure", "units": "Pa",
        "positive": "down", "axis": "Z"}  # fmt: skip
    return xr.Dataset(coords={"plev": ("plev", pascal, attributes)})


def _pairs(edges: np.ndarray) -> np.ndarray:
    return np.stack([edges[:-1], edges[1:]], axis=1)
