"""Units of gradients, and the units in which people read them.

Units are products of powers as CF writes them, e.g. `kg m-2 s-1`.
"""

import re

from jcm.forcing_fields import FORCING_UNITS
from jcm.parameters import descriptions
from jcm.simulate import Inputs
from jcm.states import UNITS as SPECTRUM_UNITS

#: Units inside the model -> (factor, units in which people read them). 1 kg m-2 of water is 1 mm.
DISPLAYED = {"kg m-2 s-1": (86400.0, "mm day-1")}
_POWER = re.compile(r"([A-Za-z_]+)(-?\d+(?:\.\d+)?)?")


def _powers(units: str) -> dict[str, float]:
    """Return the power of each unit; `(kg kg-1)-1` has a bracket with a power."""
    powers: dict[str, float] = {}
    for inner, outer, single in re.findall(r"\(([^)]*)\)(-?\d+)?|(\S+)", units):
        if inner:
            for name, power in _powers(inner).items():
                powers[name] = powers.get(name, 0) + power * float(outer or 1)
            continue
        match = _POWER.fullmatch(single)
        if match:
            powers[match[1]] = powers.get(match[1], 0) + float(match[2] or 1)
        elif single != "1":
            raise ValueError(f"expected units such as 'kg m-2 s-1', got {units!r}")
    return powers


def per(units: str, denominator: str) -> str:
    """Return units divided by other units: `per("mm day-1", "K")` is `mm day-1 K-1`.

    Raises
    ------
    ValueError
        If the units are not products of powers.
    """
    powers = _powers(units)
    for name, power in _powers(denominator).items():
        powers[name] = powers.get(name, 0) - power
    parts = [f"{name}{'' if p == 1 else f'{p:g}'}" for name, p in powers.items() if p]
    return " ".join(parts) or "1"


def same_units(first: str, second: str) -> bool:
    """Return whether units are the same, in whatever order: `W m-2` and `m-2 W`.

    Raises
    ------
    ValueError
        If the units are not products of powers.
    """
    return per(first, second) == "1"


def displayed(units: str) -> tuple[float, str]:
    """Return the factor to, and the name of, the units in which people read a quantity."""
    return DISPLAYED.get(units, (1.0, units))


def input_units(inputs: Inputs, name: str) -> str:
    """Return the units of an input; `1` where nothing is known of it.

    Parameters
    ----------
    inputs, name
        The inputs and the dotted name of a leaf, e.g. `forcing.sea_surface_temperature`.
    """
    group, _, rest = name.partition(".")
    if group == "parameters":
        known = descriptions(inputs.parameters, "parameters.")
        return known[name].units if name in known else "1"
    if group == "forcing":
        return FORCING_UNITS[rest].units if rest in FORCING_UNITS else "1"
    last = rest.rsplit(".", 1)[-1]
    if last in SPECTRUM_UNITS:
        return SPECTRUM_UNITS[last]
    return "K" if last.endswith("temperature") or last == "anomaly_window" else "1"
