"""Targets from tables of a TOML file.

A table names a variable, an index, or a combination of two other tables:

    [target]
    variable = "precipitation_flux"
    region = "sahel"
    mask = "land"
    days = { last = 1 }

    [target]
    index = "itcz_latitude"

    [target]
    difference = [
        { variable = "surface_temperature", region = "arctic" },
        { variable = "surface_temperature", region = "tropics" },
    ]
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jcm_sensitivity.combinations import Target
from jcm_sensitivity.hints import hint
from jcm_sensitivity.indices import index
from jcm_sensitivity.periods import ALL, Days, between, last
from jcm_sensitivity.regions import region
from jcm_sensitivity.targets import mean

#: Keys of a mean.
MEAN_KEYS = (
    "variable", "region", "mask", "days", "level", "levels", "pressure", "weighting", "name")
#: Combinations of two targets.
COMBINATIONS: dict[str, Callable[[Target, Target], Target]] = {
    "difference": lambda a, b: a - b,
    "sum": lambda a, b: a + b,
    "ratio": lambda a, b: a / b,
}
KINDS = ("variable", "index", *COMBINATIONS)


def target_from_table(table: Mapping[str, Any]) -> Target:
    """Return a target from a table such as `[target]` of an experiment.

    Parameters
    ----------
    table
        Either `variable`, with `region`, a name or [south, north, west, east] in degrees, default
        the globe; `mask`, land or sea; `days`, `{ last = 1 }` or `{ between = [3, 5] }`, default
        the whole run; one of `level`, `levels` and `pressure` [hPa]; `weighting`. Or `index`, with
        the arguments of that index. Or `difference`, `sum` or `ratio`, a list of two such tables.
        In each, `name` replaces the description.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or a value has no meaning.
    """
    kinds = [kind for kind in KINDS if kind in table]
    if not kinds:
        raise ValueError(
            "[target] needs a variable, e.g. variable = 'precipitation_flux', or an index, e.g. "
            f"index = 'itcz_latitude', or {', '.join(COMBINATIONS)} of two tables; "
            f"got {_listed(table)}")
    if len(kinds) > 1:
        raise ValueError(f"[target] has {' and '.join(kinds)}; give one of them")
    kind = kinds[0]
    if kind in COMBINATIONS:
        target = _combination(kind, table)
    else:
        target = _mean(table) if kind == "variable" else _index(table)
    name = table.get("name")
    if name is not None and not isinstance(name, str):
        raise ValueError(f"[target] name is text that describes the target; got {name!r}")
    return target.named(name) if name else target


def _mean(table: Mapping[str, Any]) -> Target:
    _refuse_unknown(table, MEAN_KEYS)
    mask = table.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise ValueError(f"[target] mask is 'land' or 'sea'; got {mask!r}")
    return mean(
        _text(table, "variable"), region=region(table.get("region", "globe")), mask=mask,
        days=_days(table.get("days", {})), level=_level(table), levels=_levels(table),
        pressure=_pressure(table), weighting=table.get("weighting", "sigma"))  # fmt: skip


def _index(table: Mapping[str, Any]) -> Target:
    arguments = {key: value for key, value in table.items() if key not in ("index", "name")}
    readers = {
        "region": lambda: region(arguments["region"]), "days": lambda: _days(arguments["days"]),
        "level": lambda: _level(table), "pressure": lambda: _pressure(table),
        "power": lambda: _number(table, "power"),
    }  # fmt: skip
    return index(_text(table, "index"), **{
        key: readers[key]() if key in readers else value for key, value in arguments.items()})


def _combination(kind: str, table: Mapping[str, Any]) -> Target:
    _refuse_unknown(table, (kind, "name"))
    match table[kind]:
        case [{**first}, {**second}]:
            return COMBINATIONS[kind](target_from_table(first), target_from_table(second))
    raise ValueError(
        f"[target] {kind} is a list of two tables, e.g. {kind} = [{{ variable = ... }}, "
        f"{{ variable = ... }}]; got {table[kind]!r}")


def _days(table: Any) -> Days:
    match table:
        case {"last": int() | float() as days, **rest} if not rest:
            return last(days)
        case {"between": [int() | float() as begin, int() | float() as end], **rest} if not rest:
            return between(begin, end)
        case {**rest} if not rest:
            return ALL
    raise ValueError(
        f"[target] days is {{ last = 1 }} or {{ between = [3, 5] }} or absent; got {table!r}")


def _level(table: Mapping[str, Any]) -> int | None:
    level = table.get("level")
    if level is not None and not _whole(level):
        raise ValueError(f"[target] level is the number of a level, 0 at the top; got {level!r}")
    return level


def _levels(table: Mapping[str, Any]) -> list[int] | str | None:
    levels = table.get("levels")
    if levels is None or levels == "column":
        return levels
    if isinstance(levels, list) and all(_whole(level) for level in levels):
        return levels
    raise ValueError(
        "[target] levels is a list of numbers of levels, 0 at the top, or 'column'; "
        f"got {levels!r}")


def _pressure(table: Mapping[str, Any]) -> float | int | None:
    return None if "pressure" not in table else _number(table, "pressure")


def _number(table: Mapping[str, Any], key: str) -> float | int:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"[target] {key} is a number; got {value!r}")
    return value


def _text(table: Mapping[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise ValueError(f"[target] {key} is a name; got {table[key]!r}")
    return table[key]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(table: Iterable[str]) -> str:
    return ", ".join(table) or "nothing"


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(
                f"[target] has no key {key!r}; {hint(key, known)}known: {', '.join(known)}")
