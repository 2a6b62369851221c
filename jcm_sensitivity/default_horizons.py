"""Usable windows measured once for each type of variable: what a sensitivity is warned by.

The table `horizons.json` is made by `jcm-sensitivity horizon --write-default`, see
`measure_horizons`. It says for how long the derivative of a mean over the tropical Pacific on the
last day of a run, with respect to the sea surface temperature there, tells the response to runs
that are 0.5 K warmer and cooler. Other targets, regions, inputs and sizes have other windows;
measure yours with `horizon`.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jcm.files import write_text
from jcm.variables import VARIABLES


def variable_type(name: str) -> str | None:
    """Return the type of an output variable, a row of the table; None if it has none."""
    known = VARIABLES.get(name)
    units = known.units if known else ""
    by_name = {
        "precipitation": "precipitation", "convect": "precipitation", "cloud_base": "precipitation",
        "humidity": "humidity", "surface_air_pressure": "pressure", "geopotential": "pressure",
        "stress": "wind", "evapotranspiration": "heat_flux", "heat_flux": "heat_flux",
        "cloud": "radiation"}  # fmt: skip
    for part, kind in by_name.items():
        if part in name:
            return kind
    return {"K": "temperature", "m s-1": "wind", "W m-2": "radiation"}.get(units)


def default_horizon(variables: Sequence[str], *, smooth: bool) -> float | None:
    """Return the measured window of the variables of a target [days], the shortest of several.

    Parameters
    ----------
    variables
        Names of output variables.
    smooth
        Whether the switches of the physics are smooth.

    Returns
    -------
    days
        None if the window of a variable has not been measured, or is longer than the runs were.
    """
    table = default_table().get("smooth" if smooth else "exact", {})
    rows = [table.get(variable_type(name)) for name in variables]
    known = [row["days"] for row in rows if row is not None and not row["at_least"]]
    return float(min(known)) if known else None


@cache
def default_table() -> dict[str, Any]:
    """Return the table of measured windows: conditions, and rows for exact and smooth switches."""
    path = Path(str(files("jcm_sensitivity"))) / "horizons.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_default_table(table: dict[str, Any], path: str | Path | None = None) -> Path:
    """Write the table, by default into the package, and return its path."""
    if path is None:
        path = Path(str(files("jcm_sensitivity"))) / "horizons.json"
    write_text(Path(path), json.dumps(table, indent=2) + "\n")
    default_table.cache_clear()
    return Path(path)
