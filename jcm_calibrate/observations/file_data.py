"""A variable of a file on the grid of the model, in its units and with its sign.

Files name, order and scale things in many ways; what is put in order here is listed in
`jcm.gridded` (latitudes, longitudes, fill values, Zarr without metadata) and in
`jcm_calibrate.observations.units`.
Nothing is guessed: units, signs and levels that disagree are errors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jcm.gridded import month_numbers, open_source, read_field, regrid
from jcm.model import Model
from jcm_calibrate.observations.periods import SEASONS
from jcm_calibrate.observations.quantities import HECTO, OnPressure, Quantity
from jcm_calibrate.observations.units import check_plausible, conversion
from jcm_calibrate.observations.vector import Facts
from jcm_sensitivity.hints import hint

Source = str | Path | xr.Dataset

#: Variable of the model -> names in files of ERA5, GPCP, CERES and CMIP, first found is taken.
FILE_NAMES: dict[str, tuple[str, ...]] = {
    "near_surface_air_temperature": ("t2m", "2t", "tas"),
    "near_surface_eastward_wind": ("u10", "10u", "uas"),
    "near_surface_northward_wind": ("v10", "10v", "vas"),
    "precipitation_flux": ("tp", "pr", "precip", "mtpr"),
    "water_evapotranspiration_flux": ("evspsbl",),
    "air_temperature": ("t", "ta"),
    "eastward_wind": ("u", "ua"),
    "northward_wind": ("v", "va"),
    "specific_humidity": ("q", "hus"),
    "geopotential_height": ("z", "zg"),
    "sea_level_pressure": ("msl", "psl", "slp"),
    "surface_air_pressure": ("sp", "ps"),
    "sea_surface_temperature": ("sst", "tos"),
    "cloud_area_fraction": ("tcc", "clt", "cldarea_total_daynight_mon"),
    "toa_incoming_shortwave_flux": ("solar_mon", "rsdt", "tisr"),
    "toa_outgoing_longwave_flux": ("toa_lw_all_mon", "rlut"),
    "toa_net_downward_radiative_flux": ("toa_net_all_mon", "rtmt"),
    "surface_downward_eastward_stress": ("tauu", "ewss", "iews"),
    "surface_downward_northward_stress": ("tauv", "nsss", "inss"),
}
_TIMES = ("time", "valid_time", "month", "time_index", "season", "date")
_PRESSURES = ("plev", "isobaricInhPa", "pressure_level", "level", "lev", "isobaricInPa")
#: Pressures closer than this are the same [hPa].
SAME_PRESSURE = 0.5


class Data(NamedTuple):
    """A variable of a file on the grid of the model, in its units and with its sign."""

    #: (record, part, lon, lat), NaN where missing.
    values: np.ndarray
    #: 12 year + month - 1 of each record; month - 1 in a climatology; None without dates.
    months: np.ndarray | None
    #: Names of the seasons, if the records are seasons.
    seasons: tuple[str, ...] | None
    label: str
    facts: Facts


class Reader(NamedTuple):
    """A file and what is known besides; made by `open_reader`."""

    dataset: xr.Dataset
    label: str
    units: dict[str, str]
    positive: dict[str, str]
    select: dict[str, Any]


def open_reader(
    source: Source, units: Mapping[str, str] | None = None,
    positive: Mapping[str, str] | None = None, select: Mapping[str, Any] | None = None,
) -> Reader:  # fmt: skip
    """Open a file; arguments as those of `jcm_calibrate.load_observations`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If units or a direction are given for a variable that it has not.
    """
    dataset, label = open_source(source)
    for name in (*(units or {}), *(positive or {})):
        if name not in dataset.data_vars:
            raise ValueError(
                f"{label} has no variable {name!r} for which to set units or direction; it has: "
                f"{', '.join(map(str, dataset.data_vars))}")
    return Reader(dataset, label, dict(units or {}), dict(positive or {}), dict(select or {}))


def read_data(
    reader: Reader, model: Model, wanted: Quantity, variable: Any, from_file: str | None
) -> Data:
    """Return a variable of a file on the grid of the model, converted and checked."""
    name = _file_name(reader, variable, from_file)
    array = reader.dataset[name]
    for dim, number in reader.select.items():
        array = array.isel({dim: number}) if dim in array.dims else array
    array = array.squeeze([d for d in array.dims if array.sizes[d] == 1 and d not in _TIMES],
                          drop=True)  # fmt: skip
    label = f"{name!r} of {reader.label}"
    pieces = _levels(array, wanted, label)
    fields = [read_field(piece.to_dataset(name=name), name, reader.label) for piece in pieces]
    declared = reader.units.get(name, fields[0].units)
    factor, offset = conversion(declared, wanted.units, label, name)
    sign = _sign(reader, name, array, wanted, label)
    converted = sign * (np.stack([field.values for field in fields]) * factor + offset)
    if not np.isfinite(converted).any():
        raise ValueError(
            f"all numbers of {label} are missing; nothing is left to compare. Choose another file "
            "or variable")
    whole = np.ptp(fields[0].latitude) > 120
    if isinstance(variable, str):
        check_plausible(
            variable, converted, str(declared), wanted.units, label, sign, whole=bool(whole),
            name=name)
    moved = np.stack([
        regrid(field._replace(values=part), model.grid)
        for field, part in zip(fields, converted, strict=True)])
    if moved.ndim == 3:
        moved = moved[:, None]
    months, seasons = _dates(_records(array) if fields[0].records is None else fields[0].records)
    years = () if months is None or months.max() < 12 else (months // 12).tolist()
    attributes = {**reader.dataset.attrs, **array.attrs}
    text = [] if declared == wanted.units else [str(declared)]
    text += [f"positive {'up' if wanted.positive == 'down' else 'down'}"] if sign < 0 else []
    facts = Facts(
        f"{attributes.get('source') or attributes.get('title') or reader.label} ({name})",
        str(attributes.get("climatology_period", f"{min(years)}-{max(years)}" if years else "")),
        str(attributes.get("license") or attributes.get("licence") or "not stated in the file"),
        ", ".join(text))
    return Data(np.moveaxis(moved, (0, 1), (1, 0)).swapaxes(-1, -2), months, seasons, label, facts)


def _file_name(reader: Reader, variable: Any, from_file: str | None) -> str:
    present = [str(x) for x in reader.dataset.data_vars]
    if from_file is not None:
        if from_file not in present:
            raise ValueError(
                f"{reader.label} has no variable {from_file!r}; {hint(from_file, present)}it has: "
                f"{', '.join(present)}")
        return from_file
    usual = (variable, *FILE_NAMES.get(variable, ())) if isinstance(variable, str) else ()
    found = [name for name in usual if name in present]
    if not found:
        raise ValueError(
            f"{reader.label} has no variable known to be {variable}; it has: "
            f"{', '.join(present)}. Name it: from_file='...'")
    return found[0]


def _sign(
    reader: Reader, name: str, array: xr.DataArray, wanted: Quantity, label: str
) -> float:
    """Return 1, or -1 if the user says that the data count in the other direction."""
    given, written = reader.positive.get(name), array.attrs.get("positive", "")
    if given is not None and given not in ("up", "down"):
        raise ValueError(f"positive of {name!r} is 'up' or 'down'; got {given!r}")
    if not wanted.positive:
        if given is not None:
            raise ValueError(f"{wanted.description} has no direction; leave positive out")
        return 1.0
    if given is None and written in ("up", "down") and written != wanted.positive:
        raise ValueError(
            f"the sign conventions disagree: {label} counts {written} as positive, the model "
            f"counts {wanted.description} {wanted.positive}; pass positive={{{name!r}: "
            f"{written!r}}} to turn it round")
    return 1.0 if given in (None, wanted.positive) else -1.0


def _levels(array: xr.DataArray, wanted: Quantity, label: str) -> list[xr.DataArray]:
    """Return one array for each part of what is observed."""
    dims = [d for d in array.dims if d in _PRESSURES]
    if not dims:
        if len(wanted.parts) > 1 or (isinstance(wanted, OnPressure) and not _single(array)):
            raise ValueError(f"{label} has no levels; expected {wanted.description}")
        return [array]
    if not isinstance(wanted, OnPressure):
        raise ValueError(
            f"{label} is on pressure levels, asked is {wanted.description}; observe pressure=... "
            "in hPa")
    dim = dims[0]
    axis = array[dim]
    unit = axis.attrs.get("units", "hPa" if float(axis.max()) < 2000 else "Pa")
    there = axis.values * conversion(unit, "Pa", f"the levels of {label}")[0] / HECTO
    pieces = []
    for pressure in np.array(wanted.pressure) / HECTO:
        near = int(np.argmin(np.abs(there - pressure)))
        if abs(there[near] - pressure) > SAME_PRESSURE:
            raise ValueError(
                f"{label} has no level {pressure:g} hPa; it has: "
                f"{', '.join(f'{x:g}' for x in there)} hPa")
        pieces.append(array.isel({dim: near}, drop=True))
    return pieces


def _single(array: xr.DataArray) -> bool:
    return any(name in array.coords for name in _PRESSURES)


def _records(array: xr.DataArray) -> xr.DataArray | None:
    """Return the coordinate of a single record."""
    found = [array[name] for name in _TIMES if name in array.coords and array[name].size == 1]
    if not found:
        return None
    return found[0] if found[0].ndim else found[0].expand_dims("record")


def _dates(records: xr.DataArray | None) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Return months of records, or names of seasons."""
    if records is None:
        return None, None
    values = records.values
    if values.dtype.kind in "UO" and all(str(x) in SEASONS for x in values):
        return None, tuple(str(x) for x in values)
    months = month_numbers(records)
    if months is None and values.dtype.kind in "iuf" and values.min() >= 1 and values.max() <= 12:
        months = values.astype(int) - 1
    return months, None


def in_window(data: Data, window: tuple[str, str] | None) -> Data:
    """Return the records inside a window."""
    if window is None:
        return data
    if data.months is None or data.months.max() < 12:
        raise ValueError(f"{data.label} has no years; leave the window out")
    first, last = (np.datetime64(text, "M").astype(int) + 1970 * 12 for text in window)
    name = lambda n: f"{n // 12:04d}-{n % 12 + 1:02d}"  # noqa: E731
    if first < data.months.min() or last > data.months.max() or first > last:
        raise ValueError(
            f"the window {window[0]} to {window[1]} is beyond the data: {data.label} runs from "
            f"{name(data.months.min())} to {name(data.months.max())}; choose a window inside")
    inside = (data.months >= first) & (data.months <= last)
    years = f"{window[0]} to {window[1]}"
    return data._replace(
        values=data.values[inside], months=data.months[inside],
        facts=data.facts._replace(years=years))
