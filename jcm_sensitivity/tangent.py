"""Derivatives forward in time: the response of all fields, and second derivatives.

Forward mode follows one change of the inputs through the run and gives the first-order change of
every field; reverse mode, see `adjoint`, gives the derivative of one number with respect to every
input. The second derivative along one direction takes both, forward over reverse. What is
differentiated is the program, so forward and reverse agree to rounding.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jcm.physics import Fields
from jcm.simulate import Inputs, check_widths
from jcm.variables import VARIABLES
from jcm_sensitivity.changes import (
    bound_targets,
    changed,
    named_values,
    not_finite_inputs,
    units_of,
)
from jcm_sensitivity.runs import Experiment
from jcm_sensitivity.units import per

Function = Callable[[Any], Fields]


class Response(eqx.Module):
    """Fields of a run and their first-order change; made by `response`."""

    #: Fields of the unchanged run.
    fields: dict[str, Array]
    #: Their change to first order.
    change: dict[str, Array]
    #: Change of each named input.
    input_change: dict[str, Array]
    #: Units of the fields and of their changes, and of the inputs.
    units: dict[str, str] = eqx.field(static=True)
    input_units: dict[str, str] = eqx.field(static=True)
    #: Days between outputs and whether outputs are means over them; None for other functions.
    every: float | None = eqx.field(static=True)
    average: bool | None = eqx.field(static=True)


def response(
    experiment: Function, inputs: Inputs, change: Mapping[str, ArrayLike]
) -> Response:
    """Return the fields of a run and their first-order change by one change of the inputs.

    The derivative of the run along the change, exact for an infinitely small one: the response to
    half of the change is half of it. Costs about two runs. Compiled once for an experiment and
    names; the numbers are arguments.

    Parameters
    ----------
    experiment
        Function from inputs to fields: `model_experiment(...)`, or any function of JAX.
    inputs
        Where the derivative is taken.
    change
        Change by name of input, in the units of the input. A number changes all values alike; an
        array has the shape of the input or broadcasts to it, e.g. a mask (lon, lat) for all
        months. Names are those of leaves, or of `STATE_UNITS` for the initial state on the grid.

    Raises
    ------
    KeyError
        If a name is unknown; the message suggests the nearest ones.
    ValueError
        If a change has a wrong shape or is not finite, or a name stands for a group.
    TypeError
        If an input is an integer.
    FloatingPointError
        If a field or its change is not finite.

    Warns
    -----
    UserWarning
        If the change is 0.
    """
    if not isinstance(change, Mapping) or not change:
        raise ValueError(
            "expected the change as a mapping, e.g. {'forcing.sea_surface_temperature': 1.0}; "
            f"got {change!r}")
    values = checked_values(experiment, inputs, list(change))
    changes = broadcast_changes(values, change)
    if not any(np.any(x) for x in changes.values()):
        warnings.warn(
            f"the change of {', '.join(changes)} is 0 everywhere, so the response is 0; give a "
            "change such as 1.0", stacklevel=2)
    fields, tangent = _pushed(values, changes, experiment, inputs)
    for name, field in fields.items():
        refuse_nonfinite(
            field, f"the field {name}", "the run is unstable. Shorten the time step or start from "
            f"another state{'' if np.isfinite(field).all() else not_finite_inputs(inputs)}")
        refuse_nonfinite(
            tangent[name], f"the response of {name}", "shorten the run, or make the model with "
            "smooth switches: build_model(..., smooth=True)")
    units = {name: VARIABLES[name].units if name in VARIABLES else "1" for name in fields}
    run = experiment if isinstance(experiment, Experiment) else None
    return Response(
        fields, tangent, changes, units, {name: units_of(inputs, name) for name in changes},
        run and run.every, run and run.average)  # fmt: skip


class Curvature(eqx.Module):
    """Value, gradient, and second derivative along a direction; of `hessian_vector_product`."""

    #: Value of the target, in `target_units`.
    value: Float[Array, ""]
    #: Derivatives with respect to the inputs, and their first-order change along the direction.
    gradient: dict[str, Array]
    product: dict[str, Array]
    #: Units of the derivatives; they hold for the products as well.
    units: dict[str, str] = eqx.field(static=True)
    target_units: str = eqx.field(static=True)


def hessian_vector_product(
    experiment: Function,
    target: Any,
    inputs: Inputs,
    *,
    wrt: Sequence[str],
    direction: Mapping[str, ArrayLike],
) -> Curvature:
    """Return the gradient of a target and how it changes along a direction, to first order.

    The second derivatives themselves are never formed: forward mode along the direction through
    the gradient of reverse mode, at the cost of about two gradients.

    Parameters
    ----------
    experiment, target, inputs, wrt
        As in `sensitivity`.
    direction
        Change by name of input, for some or all names of `wrt`, as the change of `response`.

    Raises
    ------
    KeyError, ValueError, TypeError, FloatingPointError
        As `sensitivity` and `response`.
    """
    values = checked_values(experiment, inputs, wrt)
    unknown = [name for name in direction if name not in values]
    if unknown or not direction:
        raise ValueError(
            f"the direction changes inputs of wrt ({', '.join(values)}); got "
            f"{', '.join(unknown) or 'nothing'}")
    changes = broadcast_changes(values, {name: 0.0 for name in values} | dict(direction))
    experiment, (function,) = bound_targets(experiment, [target], inputs)
    value, gradient, product = _forward_over_reverse(values, changes, experiment, function, inputs)
    for name in values:
        for part, words in ((gradient, "the gradient"), (product, "the Hessian-vector product")):
            refuse_nonfinite(
                part[name], f"{words} with respect to {name}", "shorten the run, or make the model "
                "with smooth switches: build_model(..., smooth=True)")
    units = getattr(function, "units", "1")
    return Curvature(
        value, gradient, product,
        {name: per(units, units_of(inputs, name)) for name in values}, units)  # fmt: skip


def broadcast_changes(
    values: Mapping[str, Array], changes: Mapping[str, ArrayLike]
) -> dict[str, Array]:
    """Return changes of named inputs in the shapes and types of the inputs.

    Raises
    ------
    ValueError
        If a change does not fit the shape of its input, or is not finite.
    """
    result = {}
    for name, value in values.items():
        try:
            result[name] = jnp.broadcast_to(jnp.asarray(changes[name], value.dtype), value.shape)
        except (TypeError, ValueError):
            raise ValueError(
                f"the change of {name} has shape {np.shape(changes[name])}; expected a number, or "
                f"an array that broadcasts to {value.shape}, e.g. one mask (lon, lat)") from None
        if not np.isfinite(result[name]).all():
            raise ValueError(f"the change of {name} has values that are not finite")
    return result


# ---- programs -----------------------------------------------------------------------------------


def as_function(experiment: Function, inputs: Inputs) -> Callable[[dict[str, Array]], Fields]:
    """Return the fields as a function of the values of named inputs."""
    model = getattr(experiment, "model", None)
    return lambda values: experiment(changed(model, inputs, values))


@eqx.filter_jit
def _pushed(
    values: dict[str, Array], changes: dict[str, Array], experiment: Function, inputs: Inputs
) -> tuple[Fields, Fields]:
    return jax.jvp(as_function(experiment, inputs), (values,), (changes,))


@eqx.filter_jit
def _forward_over_reverse(
    values: dict[str, Array],
    changes: dict[str, Array],
    experiment: Function,
    target: Callable,
    inputs: Inputs,
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    gradient = jax.value_and_grad(lambda v: target(as_function(experiment, inputs)(v)))
    (value, slope), (_, product) = jax.jvp(gradient, (values,), (changes,))
    return value, slope, product


# ---- what comes in and goes out -----------------------------------------------------------------


def checked_values(experiment: Function, inputs: Inputs, names: Sequence[str]) -> dict[str, Array]:
    """Return the values of named inputs of a run that can be differentiated; see `named_values`."""
    if isinstance(experiment, Experiment):
        check_widths(experiment.model, inputs.parameters)
    return named_values(getattr(experiment, "model", None), inputs, names)


def refuse_nonfinite(values: Array, what: str, advice: str) -> None:
    """Raise FloatingPointError if values are not finite."""
    bad = int(np.size(values) - np.isfinite(values).sum())
    if bad:
        raise FloatingPointError(
            f"{bad} of {np.size(values)} values of {what} are not finite: {advice}")
