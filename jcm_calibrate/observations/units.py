"""Units of observed data: conversion to those of the model, and what numbers look like.

Files write units in many ways: `m s**-1`, `mm/day`, `W m^-2`, `K`. They are read as products of
powers of the units in `UNITS`. A depth of water counts as its mass, 1 mm as 1 kg m-2, where the
model has a mass.
"""

import re
from typing import NamedTuple

import numpy as np

from jcm.constants import DAYS_PER_YEAR, EARTH

DAY = 86400.0
MONTH = DAYS_PER_YEAR / 12 * DAY
#: Density of water [kg m-3].
WATER = 1000.0
#: Powers of kg, m, s, K.
_PURE, _KG, _M, _S, _K = (0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)
_PASCAL, _JOULE, _WATT, _NEWTON = (1, -1, -2, 0), (1, 2, -2, 0), (1, 2, -3, 0), (1, 1, -2, 0)

#: Unit -> (factor to SI, powers of kg, m, s, K).
UNITS: dict[str, tuple[float, tuple[int, int, int, int]]] = {
    "kg": (1.0, _KG), "g": (1e-3, _KG),
    "m": (1.0, _M), "metre": (1.0, _M), "meter": (1.0, _M), "metres": (1.0, _M),
    "mm": (1e-3, _M), "cm": (1e-2, _M), "km": (1e3, _M),
    "gpm": (1.0, _M), "dam": (10.0, _M),
    "s": (1.0, _S), "sec": (1.0, _S), "second": (1.0, _S), "min": (60.0, _S),
    "h": (3600.0, _S), "hr": (3600.0, _S), "hour": (3600.0, _S),
    "d": (DAY, _S), "day": (DAY, _S), "days": (DAY, _S), "month": (MONTH, _S),
    "year": (12 * MONTH, _S),
    "K": (1.0, _K), "kelvin": (1.0, _K), "Kelvin": (1.0, _K), "degK": (1.0, _K),
    "Pa": (1.0, _PASCAL), "hPa": (100.0, _PASCAL), "mb": (100.0, _PASCAL),
    "mbar": (100.0, _PASCAL), "millibars": (100.0, _PASCAL), "kPa": (1e3, _PASCAL),
    "J": (1.0, _JOULE), "W": (1.0, _WATT), "Watt": (1.0, _WATT), "Watts": (1.0, _WATT),
    "N": (1.0, _NEWTON),
    "1": (1.0, _PURE), "frac": (1.0, _PURE), "fraction": (1.0, _PURE), "%": (0.01, _PURE),
    "percent": (0.01, _PURE),
}  # fmt: skip
_CELSIUS = {
    "degC", "deg_C", "degrees_C", "degree_C", "degrees_Celsius", "degree_Celsius", "celsius",
    "Celsius", "C", "°C", "degrees_celsius"}  # fmt: skip
_TOKEN = re.compile(r"([A-Za-z_%°]+)(-?\d+)?|(\d+(?:\.\d+)?(?:e-?\d+)?)(?:-(\d+))?", re.ASCII)


class Plausible(NamedTuple):
    """What numbers of a variable may be, in the units of the model."""

    low: float
    high: float
    #: Units in which people write it.
    candidates: tuple[str, ...]
    #: Range of the mean over the globe, where the extremes tell too little.
    mean: tuple[float, float] = (-np.inf, np.inf)


_TEMPERATURE = ("K", "degC")
_FLUX = ("W m-2", "J m-2 h-1", "J m-2 day-1")
_WATER = ("kg m-2 s-1", "mm day-1", "mm h-1", "mm month-1", "m h-1", "m day-1", "m month-1")
_WIND = ("m s-1", "km h-1")
#: Plausible numbers of observed variables; bounds chosen here, wide of every climate of today.
PLAUSIBLE: dict[str, Plausible] = {
    "air_temperature": Plausible(150, 340, _TEMPERATURE),
    "near_surface_air_temperature": Plausible(170, 340, _TEMPERATURE),
    "surface_temperature": Plausible(170, 350, _TEMPERATURE),
    "sea_surface_temperature": Plausible(180, 320, _TEMPERATURE),
    "land_surface_temperature": Plausible(170, 350, _TEMPERATURE),
    "precipitation_flux": Plausible(-1e-7, 2e-2, _WATER, (5 / DAY * 0.02, 20 / DAY)),
    "water_evapotranspiration_flux": Plausible(-1e-4, 1e-3, _WATER, (0.0, 20 / DAY)),
    "specific_humidity": Plausible(-1e-4, 0.05, ("kg kg-1", "g kg-1")),
    "cloud_area_fraction": Plausible(-1e-3, 1.001, ("1", "%")),
    "eastward_wind": Plausible(-150, 200, _WIND),
    "northward_wind": Plausible(-150, 150, _WIND),
    "near_surface_eastward_wind": Plausible(-80, 80, _WIND),
    "near_surface_northward_wind": Plausible(-80, 80, _WIND),
    "surface_air_pressure": Plausible(4e4, 1.1e5, ("Pa", "hPa")),
    "sea_level_pressure": Plausible(8.5e4, 1.1e5, ("Pa", "hPa")),
    "geopotential_height": Plausible(-1e3, 6e4, ("m", "m2 s-2")),
    "toa_incoming_shortwave_flux": Plausible(-1, 1400, _FLUX, (20, 600)),
    "toa_net_downward_shortwave_flux": Plausible(-1, 1300, _FLUX, (10, 500)),
    "toa_outgoing_longwave_flux": Plausible(50, 450, _FLUX),
    "toa_net_downward_radiative_flux": Plausible(-400, 1000, _FLUX),
    "surface_upward_latent_heat_flux": Plausible(-300, 1200, _FLUX, (0, 400)),
    "surface_upward_sensible_heat_flux": Plausible(-500, 1000, _FLUX),
    "surface_net_downward_shortwave_flux": Plausible(-1, 1300, _FLUX, (0, 600)),
    "surface_net_downward_longwave_flux": Plausible(-400, 200, _FLUX, (-250, 20)),
    "surface_downward_eastward_stress": Plausible(-5, 5, ("Pa",)),
    "surface_downward_northward_stress": Plausible(-5, 5, ("Pa",)),
}


def _parsed(units: str) -> tuple[float, np.ndarray]:
    """Return the factor to SI and the powers of kg, m, s, K.

    Raises
    ------
    ValueError
        If a unit is unknown.
    """
    text = units.strip().replace("**", "").replace("^", "").replace("·", " ").replace("*", " ")
    factor, powers, sign = 1.0, np.zeros(4), 1
    for piece in re.split(r"(/)|[\s.](?!\d)", text):
        if not piece:
            continue
        if piece == "/":
            sign = -1
            continue
        match = _TOKEN.fullmatch(piece)
        if match and match[3]:
            factor *= float(match[3]) ** sign
        elif match and match[1] in UNITS:
            power = sign * int(match[2] or 1)
            scale, own = UNITS[match[1]]
            factor, powers = factor * scale**power, powers + power * np.array(own)
        else:
            raise ValueError(f"unknown unit {piece!r} in {units!r}; known: {', '.join(UNITS)}")
        sign = 1
    return factor, powers


def conversion(
    units: str | None, model_units: str, label: str, name: str = "name"
) -> tuple[float, float]:
    """Return factor and offset from units of a file to units of the model.

    Parameters
    ----------
    units, model_units
        As written in the file, and in the model.
    label, name
        What messages call the data, and the name of the variable in the file.

    Raises
    ------
    ValueError
        If there are no units, they are unknown, or they measure something else; the message names
        both.
    """
    if units is None or not units.strip():
        raise ValueError(
            f"{label} has no units; the model has {model_units!r}. Say what they are: "
            f"units={{{name!r}: '...'}}")
    units = units.strip()
    if model_units == "K" and units in _CELSIUS:
        return 1.0, 273.15
    other, own = _parsed(units), _parsed(model_units)
    powers = other[1] - own[1]
    if not powers.any():
        return other[0] / own[0], 0.0
    if np.array_equal(powers, [-1, 3, 0, 0]):
        return other[0] / own[0] * WATER, 0.0
    if model_units == "m" and np.array_equal(powers, [0, 1, -2, 0]):
        return other[0] / EARTH.gravity, 0.0
    advice = f"observe another variable, or pass units={{{name!r}: '...'}} if the file is wrong"
    if np.array_equal(powers, [-1, 3, 1, 0]) or np.array_equal(powers, [0, 0, 1, 0]):
        advice = ("an amount without a time: say over which time it was summed, e.g. "
                  f"units={{{name!r}: '{units} h-1'}}, '{units} day-1' or '{units} month-1'")
    raise ValueError(
        f"units disagree: {label} has {units!r}, the model has {model_units!r}; {advice}")


def check_plausible(variable: str, values: np.ndarray, units: str, model_units: str, label: str,
                    sign: float = 1.0, whole: bool = True, name: str = "name") -> None:  # fmt: skip
    """Refuse numbers that cannot be what their units say.

    Parameters
    ----------
    variable
        Name of the variable of the model.
    values
        In the units and with the sign of the model.
    units
        Units that the values were converted from.
    model_units, label
        Units of the model, and what messages call the data.
    sign
        Sign they were multiplied with.
    whole
        Whether they cover the globe, so that their mean says something.
    name
        Name of the variable in the file.

    Raises
    ------
    ValueError
        If they cannot; the message says in which units, or with which sign, they could.
    """
    facts = PLAUSIBLE.get(variable)
    if facts is None:
        return
    if not whole:
        facts = facts._replace(mean=(-np.inf, np.inf))
    if _fits(values, facts):
        return
    factor, offset = conversion(units, model_units, label)
    raw = sign * (values - offset) / factor
    looks = []
    for candidate in facts.candidates:
        scale, shift = conversion(candidate, model_units, label)
        if _fits(sign * (raw * scale + shift), facts):
            looks.append(candidate)
    if looks:
        likely = (f"the numbers look like {' or '.join(looks)}: pass "
                  f"units={{{name!r}: {looks[0]!r}}} if they are")
    elif _fits(-values, facts):
        likely = ("the numbers look as if they counted in the opposite direction: pass "
                  f"positive={{{name!r}: 'up'}} or 'down', the direction of the file")
    else:
        likely = "correct the numbers, or mark missing ones with NaN or _FillValue"
    raise ValueError(
        f"{label} says its units are {units!r}, but its numbers run from {np.nanmin(raw):.4g} to "
        f"{np.nanmax(raw):.4g}, mean {np.nanmean(raw):.4g}; {variable} in {model_units!r} lies "
        f"between {facts.low:g} and {facts.high:g}, and these would be {np.nanmin(values):.4g} to "
        f"{np.nanmax(values):.4g}. {likely[0].upper()}{likely[1:]}")


def _fits(values: np.ndarray, facts: Plausible) -> bool:
    mean = np.nanmean(values)
    extremes = np.nanmin(values) >= facts.low and np.nanmax(values) <= facts.high
    return bool(extremes and facts.mean[0] <= mean <= facts.mean[1])
