"""Integration in time as a pure function: `simulate(model, inputs)`.

Nothing here touches a file or a clock; `jit`, `grad`, `vmap` apply. Numbers of `inputs`, the start
date included, are arguments of the compiled program: changing them compiles nothing again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from jcm.checkpoints import Loop, Schedule, schedule, sweep
from jcm.forcing import Forcing
from jcm.model import Model
from jcm.physics import Fields
from jcm.physics.humidity import humidity_floor
from jcm.physics.smooth import exact_widths
from jcm.physics.stochastic import next_pattern, perturb
from jcm.state import Columns, State
from jcm.structure import count_steps, steps_of_outputs
from jcm.surface.coupler import Ground

Checkpoint = Literal["step", "window", "none"] | int


class Inputs(eqx.Module):
    """Everything a run depends on besides the structure of its model; all of it may change."""

    #: Tunable numbers, by scheme.
    parameters: Any
    #: Boundary conditions and the start date.
    forcing: Forcing
    #: Initial state.
    state: State

    def with_state(self, state: State) -> "Inputs":
        """Return the same parameters and forcing with another state, to go on from there."""
        return Inputs(self.parameters, self.forcing, state)


def simulate(
    model: Model,
    inputs: Inputs,
    *,
    days: float,
    every: float | None = None,
    average: bool = True,
    observe: Sequence[str] | None = None,
    checkpoint: Checkpoint = "step",
) -> tuple[State, Fields]:
    """Integrate and return the last state and the observed fields.

    Parameters
    ----------
    model, inputs
        Structure, and everything else.
    days
        Length of the run.
    every
        Days between outputs; default: one output at the end, or the mean of the whole run.
    average
        True: means over all steps since the last output. False: fields at the time of output,
        and fluxes of the step that leads there.
    observe
        Names of the variables wanted, see `jcm.variables`; default all. Fewer are cheaper,
        above all in reverse mode.
    checkpoint
        What reverse mode recomputes: each `step` (default; keeps one state a step), also each
        output `window` (for long runs), or `none`. A number is the largest number of states that
        are kept; the schedule of `jcm.checkpoints` then repeats what is missing. Forward mode
        does not work with a number.

    Returns
    -------
    state, fields
        The state after the last step, and the fields with a leading axis of outputs, then
        (level, lon, lat) or (lon, lat).

    Raises
    ------
    ValueError
        If the lengths are not positive multiples of the time step, or a variable is unknown.
    """
    steps, windows = output_windows(model, days, days if every is None else every)
    check_widths(model, inputs.parameters)
    names = None if observe is None else tuple(observe)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((model, inputs))):
        # Reverse mode needs to know the number of steps.
        if not isinstance(checkpoint, str):
            plan = schedule(steps * windows, min(steps * windows, checkpoint))
            return swept(model, inputs, plan, np.int32(steps), windows, average, names)
        return _scan(model, inputs, steps, windows, average, names, checkpoint)
    # One program for every length: the number of steps is its argument.
    outputs = []
    for _ in range(windows):
        state, fields = _window(model, inputs, np.int32(steps), average, names)
        inputs = inputs.with_state(state)
        outputs.append(fields)
    return inputs.state, jax.tree.map(lambda *x: jnp.stack(x), *outputs)


def output_windows(model: Model, days: float, every: float) -> tuple[int, int]:
    """Return the steps between two outputs of a run, and the number of outputs.

    Raises
    ------
    ValueError
        If the lengths are not positive multiples of the time step, or of each other.
    """
    total, steps = steps_of_outputs(model.time_step, days, every)
    return steps, total // steps


def whole_steps(model: Model, name: str, days: float) -> int:
    """Return how many steps make this many days.

    Raises
    ------
    ValueError
        If they are not a positive whole number.
    """
    return count_steps(model.time_step, name, days)


def check_widths(model: Model, parameters: Any) -> None:
    """Refuse widths of smooth switches in a model that does not compile smooth forms.

    Raises
    ------
    ValueError
        If any width is known and not 0.
    """
    if getattr(model.physics, "smooth", True) or not hasattr(parameters, "smooth"):
        return
    leaves = jax.tree.leaves(parameters.smooth)
    if any(not isinstance(x, Tracer) and bool(np.any(np.asarray(x) != 0)) for x in leaves):
        raise ValueError(
            "parameters.smooth holds widths above 0, but this model compiles exact switches "
            "only; make it with build_model(..., smooth=True)"
        )


def compile_window(
    model: Model, inputs: Inputs, *, average: bool = True, observe: Sequence[str] | None = None
) -> Callable[[Model, Inputs, int], tuple[State, Fields]]:
    """Compile and return the program that integrates between two outputs.

    It takes a model and inputs like these and any number of steps, and returns the state and the
    fields of one output, as `simulate` does with a leading axis.
    """
    check_widths(model, inputs.parameters)
    names = None if observe is None else tuple(observe)
    compiled = _window.lower(model, inputs, np.int32(1), average, names).compile()
    return lambda model, inputs, steps: compiled(model, inputs, np.int32(steps), average, names)


#: GPUs would otherwise round the factors of products of matrices to ten bits.
PRECISION = "highest"


@eqx.filter_jit
@jax.default_matmul_precision(PRECISION)
def _window(
    model: Model, inputs: Inputs, steps: Array | np.int32, average: bool,
    observe: tuple[str, ...] | None,
) -> tuple[State, Fields]:  # fmt: skip
    """Integrate any number of steps, and return one output."""
    step, nothing, finish = _pieces(model, inputs, average, observe)
    return finish(steps, jax.lax.fori_loop(
        0, steps, lambda _, carry: step(carry), (inputs.state, nothing)))


@eqx.filter_jit
@jax.default_matmul_precision(PRECISION)
def _scan(
    model: Model, inputs: Inputs, steps: int, windows: int, average: bool,
    observe: tuple[str, ...] | None, checkpoint: Checkpoint,
) -> tuple[State, Fields]:  # fmt: skip
    """Integrate a known number of steps and outputs; this can be transposed."""
    step, nothing, finish = _pieces(model, inputs, average, observe, checkpoint != "none")

    def window(state, _):
        return finish(steps, jax.lax.scan(
            lambda carry, _: (step(carry), None), (state, nothing), length=steps)[0])

    if checkpoint == "window":
        window = jax.checkpoint(window, prevent_cse=False)
    if windows == 1:
        # A loop around the loop would copy everything that is kept for reverse mode.
        state, fields = window(inputs.state, None)
        return state, jax.tree.map(lambda x: x[None], fields)
    return jax.lax.scan(window, inputs.state, length=windows)


@eqx.filter_jit
@jax.default_matmul_precision(PRECISION)
def swept(
    model: Model, inputs: Inputs, schedule: Schedule, steps: Array | np.int32, windows: int,
    average: bool, observe: tuple[str, ...] | None, daily: tuple[Any, Forcing] | None = None,
) -> tuple[State, Fields]:  # fmt: skip
    """Integrate, in reverse mode with a schedule of states that are kept.

    Parameters
    ----------
    model, inputs
        As in `simulate`.
    schedule, steps, windows
        Schedule of the whole run, steps of a window, number of windows.
    average, observe
        As in `simulate`.
    daily
        Parameters and forcing with a leading axis of days, instead of those of `inputs`; the
        derivative with respect to them tells the effect of each day.
    """
    model = _in_precision_of(model, inputs)
    widths = model.physics.widths(inputs.parameters)
    with_ground = lambda parameters, forcing: (  # noqa: E731
        parameters, model.coupler.ground(forcing, model.transform, parameters, widths))
    constants = (with_ground(inputs.parameters, inputs.forcing) if daily is None
                 else jax.vmap(with_ground)(*daily))

    loop = _Steps(model, steps, average, observe, daily is not None)
    one = constants if daily is None else jax.tree.map(lambda x: x[0], constants)
    shapes = jax.eval_shape(lambda *x: loop.step(*x)[1], one, inputs.state, 0)
    outputs = jax.tree.map(lambda x: jnp.zeros((windows, *x.shape), x.dtype), shapes)
    return sweep(loop, constants, inputs.state, outputs, schedule)


class _Steps(Loop):
    """The steps of a run, for a sweep; constants are parameters and ground."""

    model: Model
    #: Steps of a window.
    steps: Array | np.int32
    average: bool = eqx.field(static=True)
    observe: tuple[str, ...] | None = eqx.field(static=True)
    #: Whether each day has its own constants.
    daily: bool = eqx.field(static=True)

    def step(self, constants, state, k):
        """Return the next state, and the share of its step in the fields of the window."""
        parameters, ground = constants
        state, fields = advance(self.model, ground, parameters, state)
        fields = chosen(fields, self.observe)
        if self.average:
            return state, jax.tree.map(lambda x: x / self.steps, fields)
        return state, jax.lax.cond(
            (k + 1) % self.steps == 0,
            lambda: _at_the_end(self.model, ground, state, fields),
            lambda: jax.tree.map(jnp.zeros_like, fields))  # fmt: skip

    def window(self, k):
        """Return the number of the output."""
        return k // self.steps

    def period(self, k):
        """Return the day, where days differ."""
        return k // self.model.steps_per_day if self.daily else None


def _in_precision_of(model: Model, inputs: Inputs) -> Model:
    """Give the tables the working precision here, once, not in every step."""
    dtype = inputs.state.current.vorticity.dtype
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, model)


def _at_the_end(model: Model, ground: Ground, state: State, fields: Fields) -> Fields:
    """Return the fields of a step, those of the atmosphere at its end."""
    now = state_fields(model, model.columns(state.previous, ground))
    return fields | chosen(now, tuple(set(fields) & set(now)))


def _pieces(
    model: Model, inputs: Inputs, average: bool, observe: tuple[str, ...] | None,
    checkpoint: bool = False,
) -> tuple[Callable, Fields, Callable]:  # fmt: skip
    """Return a step of state and fields, the fields before the first, and what ends a window."""
    parameters = inputs.parameters
    model = _in_precision_of(model, inputs)
    widths = model.physics.widths(parameters)
    ground = model.coupler.ground(inputs.forcing, model.transform, parameters, widths)

    def one_step(state: State) -> tuple[State, Fields]:
        state, fields = advance(model, ground, parameters, state)
        return state, chosen(fields, observe)

    shapes = jax.eval_shape(lambda state: one_step(state)[1], inputs.state)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    if checkpoint:
        one_step = jax.checkpoint(one_step, prevent_cse=False)

    def accumulate(carry):
        state, sums = carry
        state, fields = one_step(state)
        return state, jax.tree.map(jnp.add, sums, fields) if average else fields

    def finish(steps, carry):
        state, fields = carry
        if average:
            return state, jax.tree.map(lambda x: x / steps, fields)
        return state, _at_the_end(model, ground, state, fields)

    return accumulate, nothing, finish


def advance(
    model: Model, ground: Ground, parameters: Any, state: State
) -> tuple[State, Fields]:
    """Return the state one step later, and the fields that the physics saw and made."""
    step, coupler, transform = state.step, model.coupler, model.transform
    widths = model.physics.widths(parameters)
    starting = step < 0
    daily = jax.lax.cond(
        ~starting & (step % model.steps_per_day == 0),
        lambda: coupler.daily(state.surface, ground, step, transform, parameters, widths),
        lambda: state.daily,
    )
    columns = model.columns(state.previous, ground)
    around = coupler.surroundings(state.surface, daily, ground, step)
    tendency, held, heat, fields = model.physics.tendencies(
        columns, around, state.held,
        starting | (step % model.steps_per_shortwave == 0), parameters)  # fmt: skip
    pattern, key = state.pattern, state.key
    if pattern is not None and key is not None:
        tendency = perturb(
            tendency, pattern, transform, parameters.stochastic, widths.stochastic)
        key, draw = jax.random.split(key)
        pattern = next_pattern(
            pattern, draw, transform, parameters.stochastic, model.time_step)
    previous, current = model.dynamics.advance(
        state.previous, state.current, tendency, ground.geopotential_spectrum,
        ground.temperature_correction, daily.humidity_correction, step, parameters)  # fmt: skip
    surface = coupler.advance(state.surface, heat, ground, step, parameters, widths)
    surface = jax.tree.map(
        lambda old, new: jnp.where(starting, old, new), state.surface, surface)
    fields = state_fields(model, columns) | {
        "sea_ice_area_fraction": state.surface.ice_fraction} | fields
    return State(
        previous, current, surface, daily, held, pattern, key, step + 1), fields


def state_fields(model: Model, columns: Columns) -> Fields:
    """Return the atmosphere as output variables.

    Humidity below zero, a ripple of the spectra, counts as zero, as it does for the physics.
    """
    return {
        "eastward_wind": columns.eastward_wind,
        "northward_wind": columns.northward_wind,
        "air_temperature": columns.temperature,
        "specific_humidity": humidity_floor(columns.specific_humidity, exact_widths().humidity),
        "geopotential_height": columns.geopotential / model.constants.gravity,
        "surface_air_pressure": columns.surface_pressure * model.constants.reference_pressure,
    }


def chosen(fields: Fields, names: tuple[str, ...] | None) -> Fields:
    """Return the fields with these names, or all.

    Raises
    ------
    ValueError
        If one is unknown.
    """
    if names is None:
        return fields
    unknown = [name for name in names if name not in fields]
    if unknown:
        raise ValueError(
            f"unknown variable {unknown[0]!r}; available: {', '.join(sorted(fields))}")
    return {name: fields[name] for name in names}
