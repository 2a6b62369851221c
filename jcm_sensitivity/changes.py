"""Named inputs of a run taken out and put back, and targets bound to the run: shared pieces.

A name is the dotted name of an input, or that of a gridded part of the initial state, for which
the value is an increment of 0; see `initial_state`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jcm.model import Model
from jcm.parameters import descriptions, extract, insert, leaf_names
from jcm.physics import Fields
from jcm.simulate import Inputs, check_widths
from jcm_sensitivity.initial_state import STATE_UNITS, add_increments, zero_increments
from jcm_sensitivity.masks import Where, masked
from jcm_sensitivity.runs import Experiment
from jcm_sensitivity.units import input_units

Scalar = Callable[[Fields], Any]


def named_values(
    model: Model | None, inputs: Inputs, names: Sequence[str]
) -> dict[str, Array]:
    """Return the values of named inputs; increments of 0 for the gridded initial state.

    Raises
    ------
    KeyError
        If a name is unknown.
    ValueError
        If there are no names, or one stands for a group.
    TypeError
        If an input is an integer, which has no derivative.
    """
    if isinstance(names, str) or not names:
        raise ValueError(
            "wrt is a list of names of inputs, e.g. ['forcing.sea_surface_temperature']; "
            f"got {names!r}")
    names = list(dict.fromkeys(names))
    gridded = [name for name in names if name in STATE_UNITS]
    if gridded and model is None:
        raise ValueError(
            f"{gridded[0]!r} is a field on the grid of a model: make the experiment with "
            "model_experiment(...)")
    values = extract(inputs, [name for name in names if name not in STATE_UNITS])
    for name, leaf in values.items():
        if not eqx.is_array(leaf):
            raise ValueError(f"{name!r} is a group, not a single array; name one of its leaves")
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"{name!r} has type {leaf.dtype}: the run depends on it in jumps and has no "
                "derivative with respect to it")
    if gridded and model is not None:
        values |= zero_increments(model, inputs, gridded)
    return {name: values[name] for name in names}


def changed(model: Model | None, inputs: Inputs, values: Mapping[str, Array]) -> Inputs:
    """Return the inputs with named values, or with increments of the gridded initial state."""
    plain = {name: value for name, value in values.items() if name not in STATE_UNITS}
    gridded = {name: value for name, value in values.items() if name in STATE_UNITS}
    inputs = insert(inputs, plain)
    return add_increments(model, inputs, gridded) if gridded and model is not None else inputs


def not_finite_inputs(inputs: Any) -> str:
    """Say which inputs hold NaN or infinity, for the message on a run that failed; or nothing."""
    bad = [name for name, x in zip(leaf_names(inputs), jax.tree.leaves(inputs), strict=True)
           if jnp.issubdtype(jnp.result_type(x), jnp.inexact) and not np.isfinite(x).all()]
    shown = f"{', '.join(bad[:3])}{' and others' if len(bad) > 3 else ''}"
    return f". Not finite among the inputs: {shown}; mend these first" if bad else ""


def units_of(inputs: Inputs, name: str) -> str:
    """Return the units of a named input, or of an increment of the gridded initial state."""
    return STATE_UNITS[name] if name in STATE_UNITS else input_units(inputs, name)


def bound_targets(
    experiment: Any, targets: Sequence[Any], inputs: Inputs
) -> tuple[Any, tuple[Scalar, ...]]:
    """Return the run, which observes what all the targets need, and the targets as functions.

    Raises
    ------
    ValueError
        If there is no target, one has to be bound and the experiment is no run of a model, or
        widths are given to a model of exact switches.
    """
    if not targets:
        raise ValueError("expected at least one target; got none")
    if not isinstance(experiment, Experiment):
        if any(hasattr(target, "bind") for target in targets):
            raise ValueError(
                "the target does not know the grid of this experiment: make the experiment with "
                "model_experiment(...), or bind the target with target.bind(model, every=...)")
        return experiment, tuple(targets)
    check_widths(experiment.model, inputs.parameters)
    bound = tuple(
        target.bind(experiment.model, every=experiment.every, average=experiment.average,
                    inputs=inputs) if hasattr(target, "bind") else target
        for target in targets)  # fmt: skip
    names = target_variables(targets)
    if experiment.observe is None and names is not None:
        experiment = dataclasses.replace(experiment, observe=names)
    return experiment, bound


def members_of_groups(inputs: Inputs, names: Sequence[str]) -> Sequence[str]:
    """Return the names with groups of parameters replaced by all numbers of the group.

    Widths of smooth switches belong to `parameters.smooth` alone.
    """
    if isinstance(names, str):
        return names  # refused by `named_values`
    known = descriptions(inputs.parameters, "parameters.")
    result: list[str] = []
    for name in names:
        group = name.removesuffix(".*")
        members = [x for x in known if x.startswith(f"{group}.") and (
            group.startswith("parameters.smooth") or not x.startswith("parameters.smooth."))]
        result += members or [name]
    return result


def target_variables(targets: Sequence[Any]) -> tuple[str, ...] | None:
    """Return the variables that targets need; None if one does not say."""
    names: dict[str, None] = {}
    for target in targets:
        known = getattr(target, "variables", None)
        if known is None:
            return None
        names |= dict.fromkeys(known)
    return tuple(names)


def change_within(model: Model, inputs: Inputs, name: str, region: Where) -> Array:
    """Return a change of a field by one unit inside a region, at all levels and months.

    Cells at the edge of the region change by their part inside.

    Raises
    ------
    ValueError
        If the input is no field on the grid of the model.
    """
    value = named_values(model, inputs, [name])[name]
    if np.shape(value)[-2:] != model.grid.shape:
        raise ValueError(
            f"{name} has shape {np.shape(value)}, which is no field on the grid of {model.name} "
            f"{model.grid.shape}; give its change as an array")
    inside = masked(region).fraction(model.grid, inputs)
    return jnp.broadcast_to(jnp.asarray(inside, value.dtype), value.shape)
