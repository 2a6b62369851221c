"""The gradient of targets with respect to named inputs of a run, in one backward sweep.

Reverse mode computes the derivatives with respect to all inputs at the cost of a few runs, however
many inputs there are. What is differentiated is the program itself, step by step: the adjoint of
the discrete model. The states that it needs in reverse order are kept in memory, or repeated; see
`jcm.checkpoints` and `memory`.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.parameters import descriptions, insert
from jcm.physics import Fields
from jcm.physics.speedy import SpeedyPhysics
from jcm.simulate import Inputs
from jcm_sensitivity.changes import (
    bound_targets,
    changed,
    members_of_groups,
    named_values,
    not_finite_inputs,
    units_of,
)
from jcm_sensitivity.combinations import Target
from jcm_sensitivity.default_horizons import default_horizon
from jcm_sensitivity.horizon import warn_beyond
from jcm_sensitivity.memory import states_within
from jcm_sensitivity.runs import Experiment, ReverseRun, in_reverse, model_experiment
from jcm_sensitivity.units import per

__all__ = [
    "CompiledSensitivity", "Experiment", "Sensitivity", "compile_sensitivity", "model_experiment",
    "scaled", "sensitivity",
]  # fmt: skip

#: Shortest lead at which windows were measured [days]; nothing is said of shorter runs.
SHORTEST_MEASURED = 1.0
Function = Callable[[Inputs], Fields]
Scalar = Callable[[Fields], Float[Array, ""]]


class Sensitivity(eqx.Module):
    """Value of a target and its gradient."""

    #: Value of the target, in `target_units`.
    value: Float[Array, ""]
    #: Derivative of the target with respect to each number of the named inputs; by day, the
    #: days of the run come first, but not for the initial state.
    gradient: dict[str, Array]
    #: Units of the derivatives and of the inputs, by name.
    units: dict[str, str] = eqx.field(static=True)
    input_units: dict[str, str] = eqx.field(static=True)
    target_units: str = eqx.field(static=True)
    #: The target in words.
    target: str = eqx.field(static=True)
    #: Whether derivatives are those to a change on one day of the run.
    by_day: bool = eqx.field(static=True, default=False)
    #: What is known of the time for which such a derivative is usable, by name of attribute.
    notes: tuple[tuple[str, str], ...] = eqx.field(static=True, default=())


@overload
def sensitivity(
    experiment: Function, target: Target | Scalar, inputs: Inputs, *, wrt: Sequence[str],
    by_day: bool = False, memory: str | int | None = None,
) -> Sensitivity: ...  # fmt: skip
@overload
def sensitivity(
    experiment: Function, target: Sequence[Target | Scalar], inputs: Inputs, *,
    wrt: Sequence[str], by_day: bool = False, memory: str | int | None = None,
) -> list[Sensitivity]: ...  # fmt: skip
def sensitivity(experiment, target, inputs, *, wrt, by_day=False, memory=None):
    """Return the value of a target and its gradient with respect to named inputs.

    The program is compiled once for an experiment, a target and names; the numbers of the inputs
    are its arguments. All other inputs are held: with a derivative with respect to the sea surface
    temperature the initial state stays as it is.

    Parameters
    ----------
    experiment
        Function from inputs to fields: `model_experiment(...)`, or any function of JAX. Give the
        same function again where the program shall be used again.
    target
        Made by `mean`, `index` or `custom`, or any function from fields to one number, with an
        attribute `units` if it has units. An unbound target needs an experiment made by
        `model_experiment`. For a list of targets, which share one run, a list is returned.
    inputs
        Where the derivative is taken.
    wrt
        Dotted names of inputs, e.g. `["forcing.sea_surface_temperature"]`; of groups of
        parameters, e.g. `parameters.convection` or `parameters`; or of the initial state on the
        grid, see `jcm_sensitivity.STATE_UNITS`.
    by_day
        Derivatives to a change on each single day of the run, counted from its start: with a
        leading axis of days, over which they sum to the derivative to a lasting change.
    memory
        Largest memory of this process, e.g. `"2GiB"`, or a number of bytes: fewer states of the
        run are then kept, and the others computed again. Default: all are kept.

    Raises
    ------
    KeyError
        If a name is unknown; the message suggests the nearest ones.
    ValueError
        If an input is a group of several, the target does not fit the run, or the memory is too
        small.
    TypeError
        If an input is an integer.
    FloatingPointError
        If the target or a derivative is not finite.

    Warns
    -----
    UserWarning
        If all derivatives with respect to an input are 0.
    HorizonWarning
        If the run is longer than the time for which a derivative of such a target is known to
        tell the response to a finite change.
    """
    several, run, targets, values = _prepared(
        experiment, target, inputs, wrt, by_day, memory)
    numbers, gradients = _values_and_gradients(values, run, targets, inputs, by_day)
    results = _checked(run, targets, inputs, numbers, gradients, by_day)
    return results if several else results[0]


class CompiledSensitivity:
    """A compiled sensitivity, for other inputs of the same shapes; see `compile_sensitivity`."""

    def __init__(self, several, run, targets, values, inputs, by_day):
        self.target = targets if several else targets[0]
        self._several, self._run, self._targets, self._by_day = several, run, targets, by_day
        self._names = list(values)
        begin = time.perf_counter()
        self._program = _values_and_gradients.lower(
            values, run, targets, inputs, by_day).compile()
        #: Time that compilation took [s].
        self.compile_seconds = time.perf_counter() - begin

    def __call__(self, inputs: Inputs) -> Any:
        """Return value and gradient; raises and warns as `sensitivity`."""
        model = getattr(self._run, "model", None)
        values = _by_day(named_values(model, inputs, self._names), self._run, self._by_day)
        numbers, gradients = self._program(
            values, self._run, self._targets, inputs, self._by_day)
        results = _checked(
            self._run, self._targets, inputs, numbers, gradients, self._by_day)
        return results if self._several else results[0]


def compile_sensitivity(
    experiment: Function, target: Any, inputs: Inputs, *, wrt: Sequence[str],
    by_day: bool = False, memory: str | int | None = None,
) -> CompiledSensitivity:  # fmt: skip
    """Compile what `sensitivity` runs, with the same arguments, and return it as a function."""
    several, run, targets, values = _prepared(experiment, target, inputs, wrt, by_day, memory)
    return CompiledSensitivity(several, run, targets, values, inputs, by_day)


def scaled(result: Sensitivity, inputs: Inputs) -> dict[str, Array]:
    """Return derivatives with respect to parameters times the width of their plausible range.

    What a parameter can do within its range, to first order, in the units of the target: numbers
    that can be compared between parameters.

    Raises
    ------
    ValueError
        If an input is no parameter.
    """
    known = descriptions(inputs.parameters, "parameters.")
    other = [name for name in result.gradient if name not in known]
    if other:
        raise ValueError(f"{other[0]!r} is no parameter and has no range; leave it out")
    return {name: x * (known[name].bounds[1] - known[name].bounds[0])
            for name, x in result.gradient.items()}  # fmt: skip


@eqx.filter_jit
def _values_and_gradients(
    values: dict[str, Array], run: Function, targets: tuple[Scalar, ...], inputs: Inputs,
    by_day: bool,
) -> tuple[Array, dict[str, Array]]:  # fmt: skip
    """Return each target, and its gradient; targets come first."""
    def numbers(values: dict[str, Array]) -> Array:
        fields = _fields(run, inputs, values, by_day)
        return jnp.stack([target(fields) for target in targets])

    result, transpose = jax.vjp(numbers, values)
    if len(targets) == 1:
        gradient = transpose(jnp.ones_like(result))[0]
        return result, jax.tree.map(lambda x: x[None], gradient)
    return result, jax.vmap(transpose)(jnp.eye(len(targets), dtype=result.dtype))[0]


def _fields(run: Function, inputs: Inputs, values: dict[str, Array], by_day: bool) -> Fields:
    model = getattr(run, "model", None)
    if not by_day:
        return run(changed(model, inputs, values))
    initial = {name: x for name, x in values.items() if name.startswith("state.")}
    lasting = {name: x for name, x in values.items() if name not in initial}

    def of_day(values: dict[str, Array]) -> tuple[Any, Any]:
        other = insert(inputs, values)
        return other.parameters, other.forcing

    assert isinstance(run, ReverseRun)
    return run(changed(model, inputs, initial), jax.vmap(of_day)(lasting))


def _by_day(values: dict[str, Array], run: Any, by_day: bool) -> dict[str, Array]:
    """Repeat what acts during the run for each of its days."""
    if not by_day:
        return values
    days = math.ceil(int(run.schedule.steps) / run.model.steps_per_day)
    return {name: x if name.startswith("state.") else jnp.broadcast_to(x, (days, *x.shape))
            for name, x in values.items()}  # fmt: skip


def _prepared(
    experiment: Function, target: Any, inputs: Inputs, wrt: Sequence[str], by_day: bool,
    memory: str | int | None,
) -> tuple[bool, Function, tuple[Scalar, ...], dict[str, Array]]:  # fmt: skip
    """Return whether targets are several, the run, bound targets, named values; all checked."""
    several = isinstance(target, Sequence)
    model = getattr(experiment, "model", None)
    values = named_values(model, inputs, members_of_groups(inputs, wrt))
    run, targets = bound_targets(experiment, target if several else [target], inputs)
    states = None
    if memory is not None and isinstance(run, Experiment):
        states = states_within(run, inputs, memory)
    run = in_reverse(run, states)
    if not isinstance(run, ReverseRun) and (by_day or memory is not None):
        raise ValueError(
            "derivatives by day and limits of memory need a run of the model: make the "
            "experiment with model_experiment(...)")
    if by_day and all(name.startswith("state.") for name in values):
        raise ValueError(
            "the initial state acts on the first day only; derivatives by day need an input that "
            f"lasts, such as 'forcing.sea_surface_temperature', in wrt; got {', '.join(values)}")
    return several, run, targets, _by_day(values, run, by_day)


def _checked(
    run: Any, targets: Sequence[Any], inputs: Inputs, numbers: Array, gradients: dict[str, Array],
    by_day: bool,
) -> list[Sensitivity]:  # fmt: skip
    """Return the results with their units, or raise if one is not finite."""
    known = {name: units_of(inputs, name) for name in gradients}
    results = []
    for k, target in enumerate(targets):
        units, words = getattr(target, "units", "1"), getattr(target, "description", "target")
        gradient = {name: x[k] for name, x in gradients.items()}
        _refuse_not_finite(numbers[k], gradient, units, words, inputs)
        results.append(Sensitivity(
            numbers[k], gradient, {name: per(units, unit) for name, unit in known.items()},
            known, units, words, by_day, _notes(run, target)))  # fmt: skip
    return results


def _notes(run: Any, target: Any) -> tuple[tuple[str, str], ...]:
    """Return, and warn of, the window in which such a derivative has been found usable."""
    if not isinstance(run, ReverseRun) or not hasattr(target, "variables"):
        return ()
    days = int(run.schedule.steps) / run.model.steps_per_day
    physics = run.model.physics
    # The windows were measured with this physics only.
    if days < SHORTEST_MEASURED or not isinstance(physics, SpeedyPhysics):
        return ()
    window = default_horizon(target.variables, smooth=physics.smooth)
    return tuple(warn_beyond(window, days, what=target.description, stacklevel=5).items())


def _refuse_not_finite(
    value: Array, gradient: dict[str, Array], units: str, words: str, inputs: Inputs
) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the target ({words}) is {float(value)}: the run is unstable. Shorten the time step "
            f"or start from another state{not_finite_inputs(inputs)}")
    for name, derivative in gradient.items():
        bad = int(np.size(derivative) - np.isfinite(derivative).sum())
        if bad:
            raise FloatingPointError(
                f"{bad} of {np.size(derivative)} derivatives with respect to {name} are not "
                f"finite, though the target is {float(value):g} {units}. Shorten the run, or make "
                "the model with smooth switches: build_model(..., smooth=True)")
        if not np.any(derivative):
            warnings.warn(
                f"the target ({words}) does not depend on {name}: all derivatives are 0. "
                "Choose another input, or a longer run", stacklevel=4)
