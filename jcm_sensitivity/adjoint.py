"""The gradient of a target with respect to named inputs of a run, in one backward sweep.

Reverse mode computes the derivatives with respect to all inputs at the cost of a few runs, however
many inputs there are. What is differentiated is the program itself, step by step: the adjoint of
the discrete model.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.parameters import extract, insert
from jcm.physics import Fields
from jcm.simulate import Checkpoint, Inputs, check_widths, simulate
from jcm_sensitivity.targets import BoundTarget, Target
from jcm_sensitivity.units import input_units, per


class Experiment(eqx.Module):
    """A run of a model as a function of its inputs; made by `model_experiment`."""

    model: Model
    days: float = eqx.field(static=True)
    every: float = eqx.field(static=True)
    average: bool = eqx.field(static=True)
    observe: tuple[str, ...] | None = eqx.field(static=True)
    checkpoint: Checkpoint = eqx.field(static=True)

    def __call__(self, inputs: Inputs) -> Fields:
        """Return the fields of the run."""
        return simulate(
            self.model, inputs, days=self.days, every=self.every, average=self.average,
            observe=self.observe, checkpoint=self.checkpoint)[1]  # fmt: skip


def model_experiment(
    model: Model,
    *,
    days: float | int,
    every: float | int | None = None,
    average: bool = True,
    observe: Sequence[str] | None = None,
    checkpoint: Checkpoint = "step",
) -> Experiment:
    """Return runs of a model as a function from inputs to fields; arguments of `jcm.simulate`."""
    names = None if observe is None else tuple(observe)
    return Experiment(
        model, float(days), float(days if every is None else every), average, names, checkpoint)


class Sensitivity(eqx.Module):
    """Value of a target and its gradient."""

    #: Value of the target, in `target_units`.
    value: Float[Array, ""]
    #: Derivative of the target with respect to each number of the named inputs.
    gradient: dict[str, Array]
    #: Units of the derivatives and of the inputs, by name.
    units: dict[str, str] = eqx.field(static=True)
    input_units: dict[str, str] = eqx.field(static=True)
    target_units: str = eqx.field(static=True)
    #: The target in words.
    target: str = eqx.field(static=True)


Function = Callable[[Inputs], Fields]
Scalar = Callable[[Fields], Float[Array, ""]]


def sensitivity(
    experiment: Function, target: Target | Scalar, inputs: Inputs, *, wrt: Sequence[str]
) -> Sensitivity:
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
        Made by `mean`, or any function from fields to one number, with an attribute `units` if it
        has units. An unbound mean needs an experiment made by `model_experiment`.
    inputs
        Where the derivative is taken.
    wrt
        Dotted names of inputs, e.g. `["forcing.sea_surface_temperature"]`.

    Raises
    ------
    KeyError
        If a name is unknown; the message suggests the nearest ones.
    ValueError
        If an input is a group of several, or the target does not fit the run.
    TypeError
        If an input is an integer.
    FloatingPointError
        If the target or a derivative is not finite.

    Warns
    -----
    UserWarning
        If all derivatives with respect to an input are 0.
    """
    experiment, bound, values = _prepared(experiment, target, inputs, wrt)
    value, gradient = _value_and_gradient(values, experiment, bound, inputs)
    return _checked(bound, inputs, value, gradient)


class CompiledSensitivity:
    """A compiled sensitivity, for other inputs of the same shapes; see `compile_sensitivity`."""

    def __init__(self, experiment: Function, target: Scalar, values: dict, inputs: Inputs):
        self.target, self._experiment, self._names = target, experiment, list(values)
        begin = time.perf_counter()
        self._program = _value_and_gradient.lower(values, experiment, target, inputs).compile()
        #: Time that compilation took [s].
        self.compile_seconds = time.perf_counter() - begin

    def __call__(self, inputs: Inputs) -> Sensitivity:
        """Return value and gradient; raises and warns as `sensitivity`."""
        values = extract(inputs, self._names)
        value, gradient = self._program(values, self._experiment, self.target, inputs)
        return _checked(self.target, inputs, value, gradient)


def compile_sensitivity(
    experiment: Function, target: Target | Scalar, inputs: Inputs, *, wrt: Sequence[str]
) -> CompiledSensitivity:
    """Compile what `sensitivity` runs, with the same arguments, and return it as a function."""
    return CompiledSensitivity(*_prepared(experiment, target, inputs, wrt), inputs)


@eqx.filter_jit
def _value_and_gradient(
    values: dict[str, Array], experiment: Function, target: Scalar, inputs: Inputs
) -> tuple[Array, dict[str, Array]]:
    def value(values: dict[str, Array]) -> Array:
        return target(experiment(insert(inputs, values)))

    return jax.value_and_grad(value)(values)


def _prepared(
    experiment: Function, target: Target | Scalar, inputs: Inputs, wrt: Sequence[str]
) -> tuple[Function, Scalar, dict[str, Array]]:
    """Return experiment, bound target and the values of the named inputs, all checked."""
    if isinstance(wrt, str) or not wrt:
        raise ValueError(
            "wrt is a list of names of inputs, e.g. ['forcing.sea_surface_temperature']; "
            f"got {wrt!r}")
    values = extract(inputs, list(dict.fromkeys(wrt)))
    for name, leaf in values.items():
        if not eqx.is_array(leaf):
            raise ValueError(f"{name!r} is a group, not a single array; name one of its leaves")
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"{name!r} has type {leaf.dtype}: the run depends on it in jumps and has no "
                "derivative with respect to it")
    if isinstance(experiment, Experiment):
        check_widths(experiment.model, inputs.parameters)
        if isinstance(target, Target):
            target = target.bind(
                experiment.model, every=experiment.every, average=experiment.average)
        if isinstance(target, BoundTarget) and experiment.observe is None:
            experiment = dataclasses.replace(experiment, observe=(target.variable,))
    elif isinstance(target, Target):
        raise ValueError(
            "the target does not know the grid of this experiment: make the experiment with "
            "model_experiment(...), or bind the target with target.bind(model, every=...)")
    return experiment, target, values


def _checked(
    target: Any, inputs: Inputs, value: Array, gradient: dict[str, Array]
) -> Sensitivity:
    """Return the result with its units, or raise if it is not finite."""
    units, words = getattr(target, "units", "1"), getattr(target, "description", "target")
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the target ({words}) is {float(value)}: the run is unstable. Shorten the time step "
            "or start from another state")
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
                "Choose another input, or a longer run", stacklevel=3)
    known = {name: input_units(inputs, name) for name in gradient}
    return Sensitivity(
        value, gradient, {name: per(units, unit) for name, unit in known.items()}, known,
        units, words)  # fmt: skip
