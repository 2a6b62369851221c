"""Boundary fields from files to arrays on the model grid, complete and checked.

Everything here works on NumPy arrays in the order of files, (month, latitude, longitude), by the
dotted names of `FORCING_UNITS`; `jcm.forcing` makes the input of a run from them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jcm.calendar import parse_date
from jcm.data import data_path
from jcm.forcing_fields import (
    FORCING_UNITS,
    MASK_THRESHOLD,
    check_complete,
    check_range,
    field_name,
    needed,
    to_model_units,
)
from jcm.gridded import (
    LatLonField,
    fill_coastal_gaps,
    in_calendar_order,
    month_numbers,
    open_source,
    read_field,
    regrid,
    same_nodes,
)

Source = str | Path | xr.Dataset

#: Packaged files, coarse to fine.
PACKAGED = ("boundary_T21.nc", "boundary_T31.nc", "boundary_T42.nc", "boundary_T63.nc")
SOIL_LAYERS = tuple(name for name in FORCING_UNITS if name.startswith("soil_layers."))
ANOMALY = "sea_surface_temperature_anomaly"


def packaged_fields(grid: Any, gravity: float) -> dict[str, np.ndarray]:
    """Return the packaged climatology on the model grid, NaN where it has no value.

    Raises
    ------
    ValueError
        If the grid is finer than the finest packaged one.
    """
    dataset, label = open_source(_packaged_file(grid))
    found = {}
    for field, facts in FORCING_UNITS.items():
        if facts.file_names[0] in dataset:
            found[field] = _read(field, dataset, facts.file_names[0], label, gravity, None)
    return _moved(found, grid)


def _packaged_file(grid: Any) -> Path:
    for name in PACKAGED:
        path = data_path(name)
        with xr.open_dataset(path) as file:
            latitude, longitude = file["lat"].values, file["lon"].values
        same = same_nodes(latitude, longitude, grid.latitude, grid.longitude)
        if same or (grid.nlat < len(latitude) and grid.nlon <= len(longitude)):
            return path
    raise ValueError(
        f"there are no packaged boundary data for {grid.name} ({grid.nlon} x {grid.nlat}); the "
        "finest are T63 (192 x 96). Give your own files for all fields: read_forcing(...)"
    )


def read_fields(
    paths: Source | Mapping[str, Source],
    grid: Any,
    gravity: float,
    names: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
    notes: list[str],
) -> dict[str, np.ndarray]:
    """Return all boundary fields; those that no file has come from the package.

    Arguments are those of `jcm.forcing.read_forcing`.
    """
    names, units = _by_field(names), _by_field(units)
    found = {
        field: _read(field, dataset, variable, label, gravity, units.get(field))
        for field, (dataset, variable, label) in _locate(paths, names).items()
        if field != ANOMALY
    }
    for field, source in found.items():
        if len(source.latitude) < grid.nlat / 1.5:
            notes.append(
                f"{source.label}: {len(source.latitude)} latitudes are coarse for the model's "
                f"{grid.nlat}; the {field} will have steps"
            )
    packaged = _packaged_instead(found, grid, gravity, notes)
    labels = {field: source.label for field, source in found.items()}
    return complete_fields(_moved(found, grid) | packaged, grid, labels, notes)


def read_anomaly(
    anomaly: Source,
    grid: Any,
    land_fraction: np.ndarray,
    names: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
    first_month: str | None,
    notes: list[str],
) -> tuple[np.ndarray, int]:
    """Return anomalies of sea surface temperature and 12 year + month - 1 of the first.

    Arguments are those of `jcm.forcing.read_forcing`.
    """
    names, units = _by_field(names), _by_field(units)
    source = read_field(*_locate({ANOMALY: anomaly}, names)[ANOMALY])
    if source.records is None:
        raise ValueError(f"{source.label} has no time dimension; expected one record per month")
    first = _first_month(source, first_month)
    source = _in_units(ANOMALY, source, 1.0, units.get(ANOMALY))
    fields = {"land_fraction": land_fraction, ANOMALY: regrid(source, grid)}
    return complete_fields(fields, grid, {ANOMALY: source.label}, notes)[ANOMALY], first


def _first_month(source: LatLonField, first_month: str | None) -> int:
    assert source.records is not None
    if first_month is not None:
        day = np.datetime64(parse_date(f"{first_month}-01"), "D")
        return int(day.astype("datetime64[M]").astype(int)) + 12 * 1970
    numbers = month_numbers(source.records)
    if numbers is None:
        raise ValueError(
            f"the time axis of {source.label} holds no dates that can be read; pass the first "
            "month: anomaly_start='1979-01'"
        )
    jumps = np.flatnonzero(np.diff(numbers) != 1)
    if len(jumps):
        raise ValueError(
            f"{source.label}: records {jumps[0] + 1} and {jumps[0] + 2} are not of successive "
            "months; expected one record for every month"
        )
    return int(numbers[0])


def complete_fields(
    fields: Mapping[str, np.ndarray], grid: Any, labels: Mapping[str, str], notes: list[str]
) -> dict[str, np.ndarray]:
    """Return fields with gaps at the coast filled and defaults where no value is needed.

    Parameters
    ----------
    fields
        Fields on the model grid, NaN where unknown; one of them is the land fraction.
    grid
        The model grid.
    labels
        What messages call a field, where that is not its name.
    notes
        Gets a line for every field with filled gaps.

    Raises
    ------
    ValueError
        If a value is missing where it is needed or out of range.
    """
    where = (grid.latitude, grid.longitude)
    everywhere = np.ones((grid.nlat, grid.nlon))
    label = labels.get("land_fraction", "land_fraction")
    land = check_complete("land_fraction", fields["land_fraction"], everywhere, *where, label)
    land = check_range("land_fraction", land, *where, label)
    done = {}
    for name, values in fields.items():
        label = labels.get(name, name)
        values, count = fill_coastal_gaps(values, needed(name, land), MASK_THRESHOLD)
        if count:
            notes.append(f"{label}: {count} cells at the coast filled from the cells beside them")
        values = check_complete(name, values, land, *where, label)
        done[name] = check_range(name, values, *where, label)
    return done


def _by_field(given: Mapping[str, str] | None) -> dict[str, str]:
    return {field_name(name): value for name, value in (given or {}).items()}


def _locate(
    paths: Source | Mapping[str, Source], names: dict[str, str]
) -> dict[str, tuple[xr.Dataset, str, str]]:
    """Find the variable of each field: dataset, variable, name of the file."""
    located = {}
    if isinstance(paths, Mapping) and not isinstance(paths, xr.Dataset):
        if not paths:
            raise ValueError("no files given; expected a path or a mapping of field to path")
        for name, source in paths.items():
            field = field_name(name)
            dataset, label = open_source(source)
            own = name if name in dataset and name != field else None
            variable = names.get(field) or own or _recognise(field, dataset, label)
            if variable is None and len(dataset.data_vars) == 1:
                variable = str(next(iter(dataset.data_vars)))
            if variable is None:
                raise ValueError(
                    f"{label} has no variable that is known as {field}; it has: "
                    f"{', '.join(map(str, dataset.data_vars))}. Pass names={{{field!r}: ...}}"
                )
            located[field] = (dataset, variable, label)
        return located
    dataset, label = open_source(paths)
    for field in FORCING_UNITS:
        if field == "sea_surface_temperature_anomaly":
            continue
        variable = names.get(field) or _recognise(field, dataset, label)
        if variable is not None:
            located[field] = (dataset, variable, label)
    if not located:
        known = ", ".join("/".join(facts.file_names) for facts in FORCING_UNITS.values())
        raise ValueError(
            f"{label} has no known boundary field; it has: "
            f"{', '.join(map(str, dataset.data_vars))}; expected CF standard names or {known}. "
            "Pass names={field: variable}"
        )
    return located


def _recognise(field: str, dataset: xr.Dataset, label: str) -> str | None:
    facts = FORCING_UNITS[field]
    if facts.file_names[0] == "ts_sea" and "ts_sea" in dataset:
        return "ts_sea"
    accepted = {facts.standard_name} - {""}
    if field == "surface_geopotential":
        accepted |= {"surface_altitude"}
    if field in SOIL_LAYERS:  # one standard name for both layers tells nothing
        accepted = set()
    standard = [
        str(name)
        for name, data in dataset.data_vars.items()
        if data.attrs.get("standard_name") in accepted
    ]
    if len(standard) > 1:
        named = [name for name in facts.file_names if name in standard]
        if not named:
            raise ValueError(
                f"{label} has several variables for {field}: {', '.join(standard)}. Say which: "
                f"names={{{field!r}: ...}}"
            )
        standard = named
    named = [name for name in (*facts.file_names, field) if name in dataset.data_vars]
    return (standard + named or [None])[0]


def _read(
    field: str,
    dataset: xr.Dataset,
    variable: str,
    label: str,
    gravity: float,
    units: str | None,
) -> LatLonField:
    """Return a field in the model's units, checked, on its own grid."""
    source = read_field(dataset, variable, label)
    if FORCING_UNITS[field].monthly:
        source = in_calendar_order(source)
    elif source.records is not None:
        raise ValueError(
            f"{source.label} ({field}) has {len(source.records)} records; expected a single one"
        )
    return _in_units(field, source, gravity, units)


def _in_units(field: str, source: LatLonField, gravity: float, units: str | None) -> LatLonField:
    values = to_model_units(field, source.values, units or source.units, source.label, gravity)
    label = f"{source.label} ({field})"
    values = check_range(field, values, source.latitude, source.longitude, label)
    return source._replace(values=values, label=label)


def _packaged_instead(
    found: Mapping[str, LatLonField], grid: Any, gravity: float, notes: list[str]
) -> dict[str, np.ndarray]:
    """Return the packaged fields in place of those that no file has."""
    layers = [name for name in SOIL_LAYERS if name in found]
    if layers and "soil_water_availability" in found:
        raise ValueError(
            f"soil water is given twice, as soil_water_availability and as {', '.join(layers)}; "
            "give one of the two"
        )
    if layers and len(layers) < len(SOIL_LAYERS):
        raise ValueError(
            f"soil layers are incomplete: expected all of {', '.join(SOIL_LAYERS)}, got "
            f"{', '.join(layers)}"
        )
    unwanted = (*SOIL_LAYERS, ANOMALY) + (("soil_water_availability",) if layers else ())
    absent = [name for name in FORCING_UNITS if name not in found and name not in unwanted]
    if not absent:
        return {}
    listed = ", ".join(f"{name} ({'/'.join(FORCING_UNITS[name].file_names)})" for name in absent)
    try:
        packaged = packaged_fields(grid, gravity)
    except ValueError as error:
        raise ValueError(f"the files lack {listed}, and {error}") from error
    notes.append(f"from the packaged climatology, because no file has them: {listed}")
    return {name: packaged[name] for name in absent}


def _moved(found: Mapping[str, LatLonField], grid: Any) -> dict[str, np.ndarray]:
    """Regrid, counting each source cell with its land or sea fraction where that is known."""
    fields, mask = {}, found.get("land_fraction")
    for name, source in found.items():
        weight = None
        if mask is not None and same_nodes(
            mask.latitude, mask.longitude, source.latitude, source.longitude
        ):
            weight = needed(name, mask.values)
        fields[name] = regrid(source, grid, weight)
    return fields
