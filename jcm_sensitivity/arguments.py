"""Arguments of the commands and tables of files that are checked before JAX is imported.

A mistake is answered at once; what needs a model to be judged is left to the functions that use it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jcm.config import dotted_numbers
from jcm.tables import Experiment
from jcm_sensitivity.hints import hint
from jcm_sensitivity.names import INDEX_NAMES
from jcm_sensitivity.regions import Region, box, region

SEA_SURFACE_TEMPERATURE = "forcing.sea_surface_temperature"
#: Names of horizons: number and unit.
HOURS = {"h": 1.0, "d": 24.0}
MEMORY_UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parts(text: str) -> list[str]:
    """Return the parts of a list that is separated by commas."""
    return [x.strip() for x in text.split(",") if x.strip()]


def positive_numbers(option: str, text: str) -> list[float]:
    """Return the numbers of an option, in its order.

    Raises
    ------
    ValueError
        If one is no positive number.
    """
    try:
        numbers = [float(x) for x in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(math.isfinite(x) and x > 0 for x in numbers):
        raise ValueError(
            f"{option} is a list of positive numbers separated by commas, e.g. 1,2,5; got {text!r}")
    return numbers


def check_positive(**options: float) -> None:
    """Refuse options that are not positive and finite.

    Raises
    ------
    ValueError
        If there is one; the message names it.
    """
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise ValueError(f"--{name} is positive; got {value:g}")


def check_states(states: int, spacing: float) -> None:
    """Refuse a number of initial states, or of days between them, that cannot be.

    Raises
    ------
    ValueError
        If one is not positive.
    """
    if states < 1:
        raise ValueError(f"--states is a positive number of initial states; got {states}")
    check_positive(spacing=spacing)


def parse_horizon(name: str) -> tuple[float, str]:
    """Return number and unit of a horizon: `1step`, `3step`, `6h`, `1d`, `5d`.

    Raises
    ------
    ValueError
        If the name has no meaning.
    """
    number, unit = name.rstrip("abcdefghijklmnopqrstuvwxyz"), name.lstrip("0123456789.")
    try:
        length = float(number)
    except ValueError:
        length = math.nan
    if not length > 0 or unit not in {"step", *HOURS}:
        raise ValueError(f"a horizon is such as 1step, 6h, 1d or 5d; got {name!r}")
    return length, unit


def parse_memory(memory: str | int) -> int:
    """Return a number of bytes from a text such as `2GiB`, `500 MB`, or a number of bytes.

    Raises
    ------
    ValueError
        If it has no meaning or is not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kKMG]i?B|B)\s*", str(memory))
    if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    if match is None or match[2] not in MEMORY_UNITS or float(match[1]) <= 0:
        raise ValueError(
            f"expected a limit of memory such as '2GiB', '500MB' or a number of bytes; "
            f"got {memory!r}")
    return int(float(match[1]) * MEMORY_UNITS[match[2]])


def check_target_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a target that is neither known nor an index.

    Raises
    ------
    ValueError
        If there is one; the message lists those there are.
    """
    everything = list(dict.fromkeys([*known, *INDEX_NAMES]))
    for name in names:
        if name not in everything:
            raise ValueError(
                f"unknown target {name!r}; {hint(name, everything)}available: "
                f"{', '.join(everything)}")


def parse_region(option: str, text: str) -> Region:
    """Return the region of a name or of four edges.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if "," not in text:
        return region(text)
    try:
        south, north, west, east = (float(x) for x in text.split(","))
    except ValueError:
        raise ValueError(
            f"{option} is the name of a region or SOUTH,NORTH,WEST,EAST in degrees, e.g. "
            f"-21,21,120,-80; got {text!r}") from None
    return box(south, north, west, east, name=option.removeprefix("--"))


def refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    """Raise ValueError if a table of a file has a key that is not known."""
    unknown = [key for key in table if key not in known]
    if unknown:
        raise ValueError(f"[{name}] has no key {unknown[0]!r}; known: {', '.join(known)}")


def check_every(experiment: Experiment, purpose: str) -> None:
    """Refuse outputs by calendar month, which have no meaning for a derivative.

    Raises
    ------
    ValueError
        If the interval of output is no number of days.
    """
    if isinstance(experiment.run.every, str):
        raise ValueError(
            f"[run] every = {experiment.run.every!r} has no meaning for {purpose}; give a "
            "number of days")


def wrt_of(experiment: Experiment) -> tuple[str, ...]:
    """Return the names of inputs in `[sensitivity]`, default sea surface temperature.

    Raises
    ------
    ValueError
        If a key is unknown, or `wrt` is no list of names.
    """
    refuse_unknown(experiment.sensitivity, ("wrt",), "sensitivity")
    wrt = experiment.sensitivity.get("wrt", [SEA_SURFACE_TEMPERATURE])
    if not isinstance(wrt, list) or not wrt or not all(isinstance(name, str) for name in wrt):
        raise ValueError(
            f"[sensitivity] wrt is a list of names, e.g. ['{SEA_SURFACE_TEMPERATURE}']; "
            f"got {wrt!r}")
    return tuple(wrt)


def change_of(experiment: Experiment) -> tuple[dict[str, float], Region | None]:
    """Return the change by name of input in `[response]`, and where; None: everywhere.

    Raises
    ------
    ValueError
        If a key is unknown, there is no change, or it is no table of numbers.
    """
    table = experiment.response
    refuse_unknown(table, ("change", "region"), "response")
    sizes = table.get("change", {})
    if not isinstance(sizes, Mapping):
        raise ValueError(
            f"[response] change is a table of names and numbers, e.g. {{ "
            f"\"{SEA_SURFACE_TEMPERATURE}\" = 1.0 }}; got {sizes!r}")
    # TOML makes tables of names with dots and no quotes.
    change = dict(dotted_numbers(sizes, of="response.change"))
    if not change:
        raise ValueError(
            f"[response] needs a change, e.g. change = {{ \"{SEA_SURFACE_TEMPERATURE}\" = 1.0 }}")
    return change, region(table["region"]) if "region" in table else None
