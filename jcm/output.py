"""Fields as xarray datasets and netCDF files, with coordinates, units and provenance.

Eaton, B. and others: NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11. Files are
in the order time, level (from the top), latitude (from the south), longitude; the model's own order
ends here.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from jax.typing import ArrayLike

from jcm.calendar import format_date, parse_date
from jcm.model import Model
from jcm.parameters import get, leaf_names
from jcm.simulate import Inputs
from jcm.surface.coupler import has_no_anomalies
from jcm.variables import VARIABLES, Variable

DISTRIBUTION = "jcm-toolkit"
REFERENCES = (
    "Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical "
    "parametrizations. I: Model climatology and variability in multi-decadal experiments. "
    "Clim. Dyn., 20, 175-191"
)
TIME_ENCODING = {
    "units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "float64"}
EPOCH = np.datetime64("1970-01-01", "ms")
MILLISECONDS_PER_DAY = 86_400_000
#: Level of compression by zlib; higher ones are slower and hardly smaller.
COMPRESSION = 4


def to_dataset(
    model: Model,
    fields: Mapping[str, ArrayLike],
    *,
    every: float,
    inputs: Inputs | None = None,
    start: str | float | None = None,
    average: bool = True,
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
        Days between outputs, and whether they are means; the arguments of `simulate`.
    inputs
        The inputs from which the run started: give the start date and what is said of parameters
        and forcing.
    start
        Beginning of the first output, YYYY-MM-DD or days since 1970-01-01; default that of
        `inputs`.
    attributes
        Further global attributes.
    variables
        Names, units and meaning of the fields; a physics with fields of its own adds them:
        `VARIABLES | {"ozone": Variable(...)}`.

    Raises
    ------
    ValueError
        If a field is unknown or has another shape, or neither inputs nor start are given.
    """
    count = _check_fields(model, fields, variables)
    times = _times(_start_day(model, inputs, start), every, average, count)
    ordered = [name for name in variables if name in fields]
    data = {
        name: _data_array(np.asarray(fields[name]), variables[name], average) for name in ordered
    }
    dataset = xr.Dataset(
        data | _bounds(model, "surface_air_pressure" in fields),
        coords=times.coords | _coordinates(model, "surface_air_pressure" in fields),
        attrs=provenance(model, inputs) | dict(attributes or {}),
    )
    return dataset.assign(times.data_vars) if average else dataset


def write_dataset(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a dataset as compressed netCDF4; whoever looks finds all of it or nothing.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name} into")
    compressed = {"zlib": True, "complevel": COMPRESSION, "shuffle": True}
    encoding: dict[str, dict[str, Any]] = {}
    for name, data in dataset.variables.items():
        compress = compressed if {"lat", "lon"} <= set(data.dims) else {}
        dates = TIME_ENCODING if np.issubdtype(data.dtype, np.datetime64) else {}
        encoding[str(name)] = {"_FillValue": None} | compress | dates
    unlimited = ["time"] if "time" in dataset.dims else []
    with replacing(path) as temporary:
        dataset.to_netcdf(
            temporary, format="NETCDF4", engine="netcdf4", encoding=encoding,
            unlimited_dims=unlimited)  # fmt: skip
    return path


def concatenate(parts: Sequence[Path], path: Path) -> Path:
    """Join files along time into one, a part at a time in memory; the parts are removed."""
    if len(parts) == 1:
        os.replace(parts[0], path)
        return path
    with replacing(path) as temporary, netCDF4.Dataset(temporary, "w") as target:
        for index, part in enumerate(parts):
            with netCDF4.Dataset(part) as source:
                source.set_auto_maskandscale(False)
                if index == 0:
                    _copy_structure(source, target)
                _append(source, target)
    for part in parts:
        part.unlink()
    return path


def _copy_structure(source: netCDF4.Dataset, target: netCDF4.Dataset) -> None:
    target.setncatts({name: source.getncattr(name) for name in source.ncattrs()})
    for name, dimension in source.dimensions.items():
        target.createDimension(name, None if dimension.isunlimited() else len(dimension))
    for name, old in source.variables.items():
        filters, chunks = old.filters() or {}, old.chunking()
        new = target.createVariable(
            name, old.dtype, old.dimensions, zlib=filters.get("zlib", False),
            complevel=COMPRESSION, shuffle=filters.get("shuffle", False),
            chunksizes=None if chunks == "contiguous" else chunks)  # fmt: skip
        new.setncatts({key: old.getncattr(key) for key in old.ncattrs()})
    target.set_auto_maskandscale(False)


def _append(source: netCDF4.Dataset, target: netCDF4.Dataset) -> None:
    count = len(target.dimensions["time"])
    for name, old in source.variables.items():
        if "time" in old.dimensions:
            target[name][count : count + len(source.dimensions["time"])] = old[:]
        elif count == 0:
            target[name][...] = old[...]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside a file; it takes the place of the file if all went well."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def provenance(model: Model, inputs: Inputs | None = None) -> dict[str, Any]:
    """Return global attributes that say what made the data."""
    physics = type(getattr(model.physics, "inner", model.physics)).__name__
    dynamics = type(model.dynamics).__name__
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": f"Simulation with {DISTRIBUTION} at {model.name}",
        "source": f"{DISTRIBUTION} {package_version()} (jcm), {model.name}, "
        f"physics {physics}, dynamics {dynamics}",
        "history": f"{now}: written by {DISTRIBUTION} {package_version()}",
        "references": REFERENCES,
        "grid": model.name,
        "half_levels": np.array(model.levels.half),
        "time_step": model.time_step,
        "preset": model.preset,
        "options": ", ".join(f"{k}={v}" for k, v in model.options._asdict().items()),
    }
    if inputs is None:
        return facts
    return facts | {
        "start_date": format_date(int(inputs.forcing.start_day)),
        "parameters_sha256": parameter_hash(inputs.parameters),
        "notes": anomaly_note(inputs),
    }


def package_version() -> str:
    """Return the version of the installed package; `not installed` for a bare source folder."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def parameter_hash(parameters: Any) -> str:
    """Return the SHA-256 of names and values of all parameters; equal only for equal values."""
    lines = []
    for name in sorted(leaf_names(parameters)):
        values = np.asarray(get(parameters, name), dtype=float).ravel()
        lines.append(f"{name}={','.join(value.hex() for value in values.tolist())}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def anomaly_note(inputs: Inputs) -> str:
    """Say which anomalies of sea surface temperature a run has."""
    subject, forcing = "sea surface temperature anomalies", inputs.forcing
    if forcing.sea_surface_temperature_anomaly is None:
        return f"{subject}: none given"
    if has_no_anomalies(forcing):
        return f"{subject}: all zero"
    year, month = divmod(int(forcing.anomaly_first_month), 12)
    count = len(forcing.sea_surface_temperature_anomaly)
    return f"{subject}: {count} months from {year:04d}-{month + 1:02d}"


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


def _times(start: float, every: float, average: bool, count: int) -> xr.Dataset:
    """Return times, the middle of means, and their bounds."""
    edges = start + every * np.arange(count + 1)
    days = (edges[1:] + edges[:-1]) / 2 if average else edges[1:]
    dates = lambda x: EPOCH + np.rint(x * MILLISECONDS_PER_DAY).astype("timedelta64[ms]")  # noqa: E731
    attributes = {
        "standard_name": "time", "long_name": "time", "axis": "T",
        "units_metadata": "leap_seconds: none"}  # fmt: skip
    pairs = dates(np.stack([edges[:-1], edges[1:]], axis=1))
    bounds = xr.Variable(("time", "bounds"), pairs, encoding=TIME_ENCODING)
    if average:
        attributes["bounds"] = "time_bnds"
    time = xr.Variable(("time",), dates(days), attributes, TIME_ENCODING)
    return xr.Dataset({"time_bnds": bounds}, {"time": time})


def _coordinates(model: Model, with_pressure: bool) -> dict[str, xr.Variable]:
    grid, levels = model.grid, model.levels
    level = {
        "standard_name": "atmosphere_sigma_coordinate",
        "long_name": "pressure over surface pressure at the centre of the layer",
        "units": "1",
        "positive": "down",
        "axis": "Z",
        "bounds": "level_bnds",
    }
    if with_pressure:
        level["computed_standard_name"] = "air_pressure"
        level["formula_terms"] = "sigma: level ps: surface_air_pressure ptop: ptop"
    degrees = lambda kind, unit, axis, bounds: {  # noqa: E731
        "standard_name": kind, "long_name": kind, "units": unit, "axis": axis, "bounds": bounds}
    return {
        "level": xr.Variable(("level",), levels.centre, level),
        "lat": xr.Variable(
            ("lat",), grid.latitude, degrees("latitude", "degrees_north", "Y", "lat_bnds")),
        "lon": xr.Variable(
            ("lon",), grid.longitude, degrees("longitude", "degrees_east", "X", "lon_bnds")),
    }  # fmt: skip


def _bounds(model: Model, with_pressure: bool) -> dict[str, xr.Variable]:
    """Return edges of cells and layers, and the pressure at the top of the model."""
    grid, pairs = model.grid, lambda edges: np.stack([edges[:-1], edges[1:]], axis=1)
    # Edges between which the area of a zone is its Gaussian weight.
    sine = np.clip(np.append(-1.0, np.cumsum(grid.quadrature_weight) - 1), -1, 1)
    sine[-1] = 1.0
    longitude = (np.arange(grid.nlon + 1) - 0.5) * (360 / grid.nlon)
    terms = {"formula_terms": "sigma: level_bnds ps: surface_air_pressure ptop: ptop"}
    bounds = {
        "level_bnds": xr.Variable(
            ("level", "bounds"), pairs(np.array(model.levels.half)),
            terms if with_pressure else {}),
        "lat_bnds": xr.Variable(("lat", "bounds"), pairs(np.rad2deg(np.arcsin(sine)))),
        "lon_bnds": xr.Variable(("lon", "bounds"), pairs(longitude)),
    }
    if with_pressure:
        top = {
            "standard_name": "air_pressure_at_top_of_atmosphere_model",
            "long_name": "pressure at the top of the model",
            "units": "Pa",
        }
        bounds["ptop"] = xr.Variable((), 0.0, top)
    return bounds
