"""What is known of each boundary field: name, units, valid range, where it is needed.

`FORCING_UNITS` is the only place for these facts. The checks here are the door through which every
boundary field enters the model, whatever it was made from.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

#: A cell needs land fields from this land fraction on, sea fields from this sea fraction on.
#: Molteni (2003) and code of SPEEDY.
MASK_THRESHOLD = 0.1
#: Rounding allowed outside a valid range, as a part of its width; it is clipped.
RANGE_TOLERANCE = 1e-5


class ForcingField(NamedTuple):
    """What is known of a boundary field."""

    #: CF standard name, empty where CF has none.
    standard_name: str
    #: Units inside the model.
    units: str
    #: Valid range.
    valid_range: tuple[float, float]
    #: Where a value is needed: land, sea or all.
    needed_over: str
    #: Value where none is needed and none is given.
    default: float
    #: Whether there is one field per month.
    monthly: bool
    #: Names by which files call it.
    file_names: tuple[str, ...]


#: Boundary fields by dotted name in `Forcing`.
FORCING_UNITS: dict[str, ForcingField] = {
    "surface_geopotential": ForcingField(
        "geopotential", "m2 s-2", (-1e4, 9e4), "all", 0.0, False, ("orog",)
    ),
    "land_fraction": ForcingField(
        "land_area_fraction", "1", (0, 1), "all", 0.0, False, ("sftlf", "lsm")
    ),
    "bare_albedo": ForcingField("surface_albedo", "1", (0, 1), "land", 0.07, False, ("alb",)),
    "sea_surface_temperature": ForcingField(
        "sea_surface_temperature", "K", (170, 330), "sea", 273.0, True, ("ts_sea", "tos", "sst")
    ),
    "sea_ice_fraction": ForcingField(
        "sea_ice_area_fraction", "1", (0, 1), "sea", 0.0, True, ("siconc", "icec")
    ),
    "soil_temperature": ForcingField(
        "soil_temperature", "K", (170, 350), "land", 273.0, True, ("tsl", "stl")
    ),
    "snow_depth": ForcingField(
        "surface_snow_amount", "kg m-2", (0, 20000), "land", 0.0, True, ("snw", "snowd")
    ),
    "soil_water_availability": ForcingField("", "1", (0, 1), "land", 0.0, True, ("soilwet",)),
    "soil_layers.upper": ForcingField(
        "volume_fraction_of_condensed_water_in_soil",
        "m3 m-3", (0, 1), "land", 0.0, True, ("swl1",),
    ),
    "soil_layers.lower": ForcingField(
        "volume_fraction_of_condensed_water_in_soil",
        "m3 m-3", (0, 1), "land", 0.0, True, ("swl2",),
    ),
    "soil_layers.high_vegetation": ForcingField(
        "vegetation_area_fraction", "1", (0, 1), "land", 0.0, False, ("vegh",)
    ),
    "soil_layers.low_vegetation": ForcingField(
        "vegetation_area_fraction", "1", (0, 1), "land", 0.0, False, ("vegl",)
    ),
    "sea_surface_temperature_anomaly": ForcingField(
        "surface_temperature_anomaly", "K", (-50, 50), "sea", 0.0, True, ("ssta",)
    ),
}  # fmt: skip

_KELVIN: tuple[str, ...] = ("K", "kelvin", "Kelvin", "degK", "deg_K", "degrees_kelvin")
_CELSIUS: tuple[str, ...] = (
    "degC", "deg_C", "degrees_C", "degree_C", "degree_Celsius", "degrees_Celsius",
    "degree_celsius", "degrees_celsius", "celsius", "Celsius", "C", "°C",
)  # fmt: skip
_PURE = {"1": 1.0, "%": 0.01, "percent": 0.01}
#: Units in the model -> units in a file -> (factor, offset).
CONVERSIONS: dict[str, dict[str, tuple[float, float]]] = {
    "K": {unit: (1.0, 0.0) for unit in _KELVIN} | {unit: (1.0, 273.15) for unit in _CELSIUS},
    "1": {name: (factor, 0.0) for name, factor in _PURE.items()},
    "m3 m-3": {name: (factor, 0.0) for name, factor in _PURE.items()}
    | dict.fromkeys(("m3 m-3", "m**3 m**-3", "m^3 m^-3", "m3/m3"), (1.0, 0.0)),
    "kg m-2": dict.fromkeys(("kg m-2", "kg m**-2", "kg m^-2", "kg/m2", "mm"), (1.0, 0.0)),
    "m2 s-2": dict.fromkeys(("m2 s-2", "m**2 s**-2", "m^2 s^-2", "m2/s2"), (1.0, 0.0)),
}


def to_model_units(
    name: str, values: np.ndarray, units: str | None, label: str, gravity: float
) -> np.ndarray:
    """Return values in the model's units.

    Parameters
    ----------
    name
        Name of the field in `FORCING_UNITS`.
    values, units
        Numbers and their units in the file.
    label
        What messages call the field.
    gravity
        Turns an orography in m into geopotential [m s-2].

    Raises
    ------
    ValueError
        If the units are missing or unknown; the message says what was expected.
    """
    accepted = dict(CONVERSIONS[FORCING_UNITS[name].units])
    if name == "surface_geopotential":
        accepted |= dict.fromkeys(("m", "metre", "metres", "meter", "meters"), (gravity, 0.0))
    if name == "sea_surface_temperature_anomaly":  # a difference: degC and K are the same
        accepted = {unit: (1.0, 0.0) for unit in accepted}
    if units is None or units.strip() not in accepted:
        found = "no units" if units is None else f"units {units!r}"
        raise ValueError(
            f"{label} ({name}) has {found}; expected one of {', '.join(accepted)}. Set the "
            f"attribute, or pass units={{{name!r}: ...}} if you know them"
        )
    factor, offset = accepted[units.strip()]
    return values * factor + offset


def check_range(
    name: str, values: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, label: str = ""
) -> np.ndarray:
    """Return values with rounding clipped to the valid range; NaN passes.

    Raises
    ------
    ValueError
        If a value is out of range; the message gives count, place, value and a likely cause.
    """
    low, high = FORCING_UNITS[name].valid_range
    slack = RANGE_TOLERANCE * (high - low)
    bad = (values < low - slack) | (values > high + slack)
    if bad.any():
        first = values[tuple(np.argwhere(bad)[0])]
        raise ValueError(
            f"{label or name}: {bad.sum()} of {bad.size} values are outside {low:g}..{high:g} "
            f"{FORCING_UNITS[name].units}, the first is {first:.6g} at "
            f"{place(bad, latitude, longitude)}. {_likely_cause(name, values)}"
        )
    return np.clip(values, low, high)


def _likely_cause(name: str, values: np.ndarray) -> str:
    low, high = np.nanmin(values), np.nanmax(values)
    units = FORCING_UNITS[name].units
    if units == "K" and -100 < low and high < 100:
        return "The numbers look like degrees Celsius: set units to degC"
    if units in ("1", "m3 m-3") and 0 <= low and 1 < high <= 100.1:
        return "The numbers look like per cent: set units to %"
    return "Correct the values, or mark missing ones with _FillValue or NaN"


def needed(name: str, land_fraction: np.ndarray) -> np.ndarray:
    """Return the fraction of each cell in which a field is needed."""
    over = {"land": land_fraction, "sea": 1 - land_fraction, "all": np.ones_like(land_fraction)}
    return over[FORCING_UNITS[name].needed_over]


def check_complete(
    name: str,
    values: np.ndarray,
    land_fraction: np.ndarray,
    latitude: np.ndarray,
    longitude: np.ndarray,
    label: str = "",
) -> np.ndarray:
    """Return values with the default where the field is not needed and missing.

    Raises
    ------
    ValueError
        If a value is missing where it is needed; the message gives count and first place.
    """
    missing = np.isnan(values)
    gaps = missing & (needed(name, land_fraction) >= MASK_THRESHOLD)
    if gaps.any():
        cells = int(gaps.reshape(-1, *land_fraction.shape).any(axis=0).sum())
        over = FORCING_UNITS[name].needed_over
        surface = "" if over == "all" else f" with at least {MASK_THRESHOLD:.0%} {over}"
        raise ValueError(
            f"{label or name} is missing in {cells} cells{surface}, the first at "
            f"{place(gaps, latitude, longitude)}; expected a value in every such cell. Extend the "
            "field, or give the land fraction (land_fraction) that belongs to it"
        )
    return np.where(missing, FORCING_UNITS[name].default, values)


def place(bad: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> str:
    """Return in words where the first True of (..., latitude, longitude) is."""
    *record, row, column = np.argwhere(bad)[0]
    month = f", record {record[0] + 1}" if record else ""
    north = latitude[row]
    return f"{abs(north):.1f}{'N' if north >= 0 else 'S'} {longitude[column]:.1f}E{month}"


def field_name(name: str, known: Mapping[str, Any] = FORCING_UNITS) -> str:
    """Return the forcing field that a user calls by its own name or by a file's name.

    Raises
    ------
    ValueError
        If there is no such field; the message lists all.
    """
    for field, facts in FORCING_UNITS.items():
        if name == field or name in facts.file_names:
            return field
    listed = ", ".join(f"{f} ({'/'.join(FORCING_UNITS[f].file_names)})" for f in known)
    raise ValueError(f"unknown boundary field {name!r}; available: {listed}")
