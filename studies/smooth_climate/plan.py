"""What `study.toml` says, and the models and widths that it names."""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jcm
from jcm.model import Model
from jcm.parameters import leaf_names
from jcm.physics.smooth import Widths, suggested_widths
from jcm.simulate import Inputs, compile_window
from jcm.state import State
from jcm_sensitivity.regions import Region, box, region

HERE = Path(__file__).parent
#: The setting without smooth switches, the one that the study started from, and the one with the
#: widths that the model suggests.
EXACT, FIRST, SUGGESTED = "exact", "scale_1", "suggested"


class Target(NamedTuple):
    """The mean of a variable over a region, and the box of sea that is warmed."""

    name: str
    variable: str
    start: str
    region: Region
    sea: Region


class Plan(NamedTuple):
    """The study."""

    grid: str
    start: str
    spin_up_days: float
    season_days: tuple[float, ...]
    seasons: tuple[str, ...]
    years: int
    screening_days: float
    ratio_starts: tuple[str, ...]
    states: int
    scan_states: int
    adjoint_states: int
    climates: tuple[str, ...]
    gradients: tuple[str, ...]
    spacing_days: float
    days: int
    leads: tuple[int, ...]
    step: float
    accepted: tuple[float, float]
    targets: tuple[Target, ...]
    #: Widths by dotted name below `parameters.smooth`, by name of the setting.
    widths: Mapping[str, Mapping[str, float]]


def read_plan(**changes: Any) -> Plan:
    """Return the plan of `study.toml`, with some entries changed."""
    table = tomllib.loads((HERE / "study.toml").read_text())
    targets = tuple(
        Target(t["name"], t["variable"], t["start"], _region(t["region"]), _region(t["sea"]))
        for t in table.pop("target"))
    wide = {f"{group}.{name}": float(x)
            for group, values in table.pop("wide").items() for name, x in values.items()}
    widths = {name: _setting(wide, **entry) for name, entry in table.pop("setting").items()}
    lists = {name: tuple(x) if isinstance(x, list) else x for name, x in table.items()}
    return Plan(**lists, targets=targets, widths=widths)._replace(**changes)


def _region(which: Any) -> Region:
    return region(which) if isinstance(which, str) else box(*which)


def _setting(
    wide: Mapping[str, float], factor: float = 1.0, only: tuple[str, ...] = ("",),
    factors: Mapping[str, float] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return the first widths times a factor, all others 0; names begin with one of `only`.

    `factors` are further factors for names that begin so; the longest beginning counts.
    """
    def further(name: str) -> float:
        found = [key for key in factors or {} if name.startswith(key)]
        return factors[max(found, key=len)] if factors and found else 1.0

    return {name: x * factor * further(name) if name.startswith(tuple(only)) else 0.0
            for name, x in wide.items()}  # fmt: skip


@lru_cache
def build(grid: str, smooth: bool) -> Model:
    """Return the model."""
    return jcm.build_model(grid, smooth=smooth)


@lru_cache
def compiled(grid: str, smooth: bool) -> Any:
    """Return the program that integrates and means all variables; the study has no other runs."""
    model = build(grid, smooth)
    return compile_window(model, jcm.default_inputs(model))


def means(plan: Plan, smooth: bool, inputs: Inputs, days: float) -> tuple[State, dict[str, Any]]:
    """Return the state after some days, and the means of all variables over them."""
    model = build(plan.grid, smooth)
    state, fields = compiled(plan.grid, smooth)(
        model, inputs, round(days * model.steps_per_day))
    return state, {name: np.asarray(x) for name, x in fields.items()}


def widths_of(plan: Plan, setting: str) -> dict[str, float]:
    """Return the widths of a setting by their names among the inputs of a run."""
    if setting == SUGGESTED:
        suggested = suggested_widths(Widths())
        chosen = {name: float(x) for name, x in zip(
            leaf_names(suggested), _leaves(suggested), strict=True)}
    elif setting == EXACT:
        chosen = dict.fromkeys(leaf_names(Widths()), 0.0)
    else:
        chosen = plan.widths[setting]
    return {f"parameters.smooth.{name}": x for name, x in chosen.items()}


def _leaves(tree: Any) -> list[Any]:
    return [jcm.parameters.get(tree, name) for name in leaf_names(tree)]
