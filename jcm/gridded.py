"""Fields on rectilinear latitude-longitude grids: read, put in order, move to the model grid.

Files may run north to south or south to north, from -180 or from 0 degrees, may repeat the first
longitude at the end and may start the year with any month. Moving to another grid is conservative
(xarray-regrid) and ignores missing values.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.coders import CFDatetimeCoder

#: Larger absolute values are fill values without an attribute that says so.
LARGEST_VALUE = 1e30
#: Grids whose nodes differ by less than this are the same [degrees].
SAME_NODES = 0.1
#: How often a gap at the coast may be filled from the cells next to it.
FILLING_PASSES = 2
_AXES = {
    "latitude": (("lat", "latitude"), ("degrees_north", "degree_north", "degrees_N")),
    "longitude": (("lon", "longitude"), ("degrees_east", "degree_east", "degrees_E")),
}


class LatLonField(NamedTuple):
    """A variable on a rectilinear grid, south to north and from 0 to 360 degrees east."""

    #: What messages call it: variable and file.
    label: str
    #: Numbers, NaN where missing; (latitude, longitude) or (record, latitude, longitude).
    values: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    #: The attribute `units`, None if there is none.
    units: str | None
    #: Coordinate of the records, None for a single field.
    records: xr.DataArray | None


def open_source(source: str | Path | xr.Dataset) -> tuple[xr.Dataset, str]:
    """Open a netCDF file or a Zarr store; return the dataset and what to call it in messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no variables.
    """
    if isinstance(source, xr.Dataset):
        dataset, label = source, "the given dataset"
    else:
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(
                f"no file {str(path)!r}: give the path of a netCDF file or of a Zarr store"
            )
        label = path.name
        if path.is_dir():
            dataset = xr.open_zarr(path, decode_times=False, consolidated=False, chunks=None)
        else:
            dataset = xr.open_dataset(path, decode_times=False)
    if not dataset.data_vars:
        raise ValueError(f"{label} holds no variables; expected fields on a lat-lon grid")
    return dataset, label


def read_field(dataset: xr.Dataset, variable: str, source: str) -> LatLonField:
    """Return a variable in the order of the model, with missing values as NaN.

    Raises
    ------
    ValueError
        If the variable does not exist or is not on a rectilinear latitude-longitude grid.
    """
    if variable not in dataset.data_vars:
        present = ", ".join(map(str, dataset.data_vars))
        raise ValueError(f"{source} has no variable {variable!r}; it has: {present}")
    label, data = f"{variable!r} of {source}", dataset[variable]
    lat, lon = _axis(data, "latitude", label), _axis(data, "longitude", label)
    others = [dim for dim in data.dims if dim not in (lat, lon) and data.sizes[dim] > 1]
    if len(others) > 1:
        raise ValueError(
            f"{label} has dimensions {data.dims}; expected latitude, longitude and at most one "
            "more (the months). Select one level or member first"
        )
    data = data.squeeze([d for d in data.dims if d not in (lat, lon, *others)], drop=True)
    values = np.asarray(data.transpose(*others, lat, lon).values, dtype=float)
    values = np.where(np.abs(values) > LARGEST_VALUE, np.nan, values)
    latitude, rows = _ordered_latitude(data[lat].values, label)
    longitude, columns = _ordered_longitude(data[lon].values, label)
    return LatLonField(
        label=label,
        values=values[..., rows, :][..., columns],
        latitude=latitude,
        longitude=longitude,
        units=data.attrs.get("units"),
        records=_coordinate(data, others[0]) if others else None,
    )


def _axis(data: xr.DataArray, kind: str, label: str) -> str:
    names, units = _AXES[kind]
    for name, coordinate in data.coords.items():
        described = coordinate.attrs.get("standard_name") == kind
        measured = coordinate.attrs.get("units") in units
        if not (described or measured or str(name).lower() in names):
            continue
        if coordinate.ndim == 1 and coordinate.dims[0] in data.dims:
            return str(coordinate.dims[0])
        if coordinate.ndim == 2:
            raise ValueError(
                f"{label}: {kind} {name!r} has two dimensions {coordinate.dims}; expected a "
                "rectilinear grid with one-dimensional latitude and longitude. Regrid the file "
                "first, for example with CDO: remapcon,r360x180"
            )
    raise ValueError(
        f"{label} has no {kind} coordinate; expected a one-dimensional coordinate with units "
        f"{units[0]} among its dimensions {data.dims}"
    )


def _coordinate(data: xr.DataArray, dim: Any) -> xr.DataArray:
    return data[dim] if dim in data.coords else xr.DataArray(np.arange(data.sizes[dim]), dims=dim)


def _ordered_latitude(latitude: np.ndarray, label: str) -> tuple[np.ndarray, slice]:
    latitude = np.asarray(latitude, dtype=float)
    step = np.diff(latitude)
    if len(latitude) < 2 or not (np.all(step > 0) or np.all(step < 0)):
        raise ValueError(
            f"{label}: latitudes are not in order, {_few(latitude)}; expected them to rise or "
            "to fall throughout"
        )
    if np.abs(latitude).max() > 90.001:
        raise ValueError(f"{label}: latitudes {_few(latitude)} leave -90..90 degrees")
    return (latitude, slice(None)) if step[0] > 0 else (latitude[::-1], slice(None, None, -1))


def _ordered_longitude(longitude: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray]:
    wrapped = np.mod(np.round(np.asarray(longitude, dtype=float), 6), 360)
    ordered, columns = np.unique(wrapped, return_index=True)
    if not np.all(np.isfinite(wrapped)) or len(ordered) < max(2, len(wrapped) - 1):
        raise ValueError(
            f"{label}: longitudes {_few(wrapped)} repeat; expected each once, apart from a "
            "first column repeated at the end"
        )
    return ordered, columns


def _few(x: np.ndarray) -> str:
    return f"{x[0]:g}, {x[1]:g} ... {x[-1]:g}" if len(x) > 2 else str(x.tolist())


def in_calendar_order(field: LatLonField) -> LatLonField:
    """Return a monthly field with January first.

    Without readable dates or month numbers the records count as January to December.

    Raises
    ------
    ValueError
        If there are not exactly twelve records, one of each month.
    """
    if field.records is None or len(field.records) != 12:
        found = 1 if field.records is None else len(field.records)
        raise ValueError(
            f"{field.label} has {found} {'record' if found == 1 else 'records'}; expected 12, a "
            "climatology of monthly means. Average the years month by month first"
        )
    numbers = month_numbers(field.records)
    if numbers is None:
        values = np.asarray(field.records.values)
        numeric = np.issubdtype(values.dtype, np.number)
        counted = numeric and np.ptp(values) == 11 and values.min() in (0, 1)
        numbers = values - values.min() if counted else np.arange(12)
    months = np.asarray(numbers) % 12
    if sorted(months) != list(range(12)):
        raise ValueError(
            f"{field.label}: the months are {[int(m) + 1 for m in months]}; expected each of 1..12 "
            "once"
        )
    order = np.argsort(months)
    return field._replace(values=field.values[order], records=field.records[order])


def month_numbers(records: xr.DataArray) -> np.ndarray | None:
    """Return 12 year + month - 1 of each record, None if the coordinate is no readable date."""
    if np.issubdtype(records.dtype, np.number) and "since" in records.attrs.get("units", ""):
        coder = CFDatetimeCoder(use_cftime=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files count from a year 0 that never was
            try:
                coordinate = xr.Dataset(coords={"t": ("t", records.values, dict(records.attrs))})
                records = xr.decode_cf(coordinate, decode_times=coder)["t"]
            except (ValueError, OverflowError):
                return None
    if not (np.issubdtype(records.dtype, np.datetime64) or records.dtype == object):
        return None
    return np.asarray(12 * records.dt.year + records.dt.month - 1)


def same_nodes(
    latitude: np.ndarray, longitude: np.ndarray, other_lat: np.ndarray, other_lon: np.ndarray
) -> bool:
    """Return whether two grids have the same nodes."""
    if (len(latitude), len(longitude)) != (len(other_lat), len(other_lon)):
        return False
    return bool(
        np.abs(latitude - other_lat).max() < SAME_NODES
        and np.abs(longitude - other_lon).max() < SAME_NODES
    )


def regrid(field: LatLonField, grid: Any, weight: np.ndarray | None = None) -> np.ndarray:
    """Return the field on the model grid; (..., latitude, longitude), NaN where unknown.

    Parameters
    ----------
    field
        Source.
    grid
        Target: an object with `latitude` and `longitude` in degrees.
    weight
        How much each source cell counts besides its area, for example its land fraction;
        (latitude, longitude), default 1. Missing values never count.
    """
    if same_nodes(field.latitude, field.longitude, grid.latitude, grid.longitude):
        return field.values
    valid = np.isfinite(field.values)
    weight = valid * (1.0 if weight is None else np.nan_to_num(weight))
    weighted = np.where(valid, field.values, 0.0) * weight
    total, count = _conservative(np.stack([weighted, weight]), field, grid)
    known = count > 1e-6
    return np.where(known, total / np.where(known, count, 1.0), np.nan)


def _conservative(values: np.ndarray, field: LatLonField, grid: Any) -> np.ndarray:
    dims = ("record", "lat", "lon")
    source = xr.DataArray(
        values.reshape(-1, *values.shape[-2:]),
        dims=dims,
        coords={"lat": field.latitude, "lon": field.longitude},
    )
    target = xr.Dataset(coords={"lat": grid.latitude, "lon": grid.longitude})
    # Registers the accessor; imported here, for it takes a second and loads flox and dask.
    import xarray_regrid  # noqa: F401

    moved = source.regrid.conservative(target, latitude_coord="lat", time_dim=None, skipna=False)
    moved = moved.transpose(*dims).values
    return np.nan_to_num(moved.reshape(*values.shape[:-2], *moved.shape[-2:]))


def fill_coastal_gaps(
    values: np.ndarray, fraction: np.ndarray, threshold: float
) -> tuple[np.ndarray, int]:
    """Fill gaps at the coast with the mean of the known cells around them.

    Parameters
    ----------
    values
        Field on the model grid, NaN where missing; (..., latitude, longitude).
    fraction
        Part of each cell in which the field is needed; (latitude, longitude).
    threshold
        A cell needs the field from this fraction on.

    Returns
    -------
    tuple
        The field and the number of cells that were filled in at least one record.
    """
    # a cell is at the coast if it, or one of the eight around it, has the other surface too
    coastal = (_neighbours(1 - fraction) >= threshold).any(axis=0) | (1 - fraction >= threshold)
    allowed, filled = coastal & (fraction >= threshold), values
    if not np.any(np.isnan(values) & allowed):
        return values, 0
    for _ in range(FILLING_PASSES):
        around = _neighbours(filled)
        known = np.isfinite(around)
        count = known.sum(axis=0)
        mean = np.where(known, around, 0.0).sum(axis=0) / np.maximum(count, 1)
        filled = np.where(np.isnan(filled) & allowed & (count > 0), mean, filled)
    changed = np.isnan(values) & np.isfinite(filled)
    return filled, int(changed.reshape(-1, *fraction.shape).any(axis=0).sum())


def _neighbours(x: np.ndarray) -> np.ndarray:
    """Return the eight cells around each cell, stacked first; NaN beyond the poles."""
    beyond = np.full_like(x[..., :1, :], np.nan)
    x = np.concatenate([beyond, x, beyond], axis=-2)
    rows = {-1: x[..., :-2, :], 0: x[..., 1:-1, :], 1: x[..., 2:, :]}
    return np.stack([np.roll(rows[j], i, -1) for j in rows for i in (-1, 0, 1) if (i, j) != (0, 0)])
