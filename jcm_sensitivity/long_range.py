"""What can be said of the response of long means, beyond the horizon: three answers side by side.

The derivative of a long mean along one run grows without limit in a chaotic flow and says nothing
of the climate. None of these three is right without conditions:

- `windowed`: the mean of gradients over many windows short enough for gradients to mean something.
  Too short a window misses what builds up slowly; in too long ones few members with enormous
  gradients decide the mean. Lea, D. J., Allen, M. R. and Haine, T. W. N. (2000): Sensitivity
  analysis of the climate of a chaotic system. Tellus A, 52, 523-532, found a length with an error
  of about 10 % in Lorenz's system of 1963. Eyink, G. L., Haine, T. W. N. and Lea, D. J. (2004):
  Ruelle's linear response formula, ensemble adjoint schemes and Levy flights. Nonlinearity, 17,
  1867-1889, show that such means converge very slowly.
- `nudged`: the gradient along the whole run with its tangent damped, see `nudging`; it misses
  what builds up in more than the relaxation time.
- `finite_difference`: two long runs with the change up and down. True for a change of that size
  along that direction, within its error bar; no map, and two runs for every direction.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from jcm.model import Model
from jcm.provenance import provenance
from jcm.simulate import Inputs, whole_steps
from jcm_sensitivity.changes import changed, named_values, target_variables, units_of
from jcm_sensitivity.ensembles import (
    EnsembleSensitivity,
    ensemble_map,
    ensemble_sensitivity,
    initial_states,
)
from jcm_sensitivity.model_horizon import Direction, unit_change
from jcm_sensitivity.nudging import damped_step, nudged_model
from jcm_sensitivity.runs import Experiment, model_experiment
from jcm_sensitivity.units import displayed

METHODS = ("windowed", "nudged", "finite_difference")
#: Called with words about what is done, the number done, and of all.
Progress = Callable[[str, int, int], None]


class LongRangeAnswer(NamedTuple):
    """Response of a long mean to a change, by one method."""

    #: Estimate from each independent piece: initial state or block of the run.
    pieces: np.ndarray
    #: Steps or days integrated forwards, and backwards by the adjoint.
    forward: float
    backward: float

    @property
    def value(self) -> float:
        """Mean over the pieces."""
        return float(self.pieces.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, for independent pieces."""
        return float(self.pieces.std(ddof=1) / np.sqrt(self.pieces.size))


def long_range_flow(
    step: Callable[[Array, Array], Array], observable: Callable[[Array, Array], Array],
    states: Array, parameter: Array, *, steps: int, window: int, relaxation: float, change: Any,
    settle: int = 0,
) -> dict[str, LongRangeAnswer]:  # fmt: skip
    """Return the response of the long mean of an observable of any flow, by three methods.

    Parameters
    ----------
    step
        Function from state and parameter to the next state.
    observable
        Function from state and parameter to one number.
    states
        At least two independent initial states, leading axis.
    parameter
        Where the derivative is taken; a number or an array.
    steps
        Length of the run from each state.
    window
        Steps of a window of the ensemble adjoint; divides `steps`.
    relaxation
        Relaxation time of the nudged adjoint [steps].
    change
        Change of the parameter, in which direction the response is taken and by which the finite
        runs differ, up and down.
    settle
        Steps at the beginning of each run or window that the mean leaves out.

    Returns
    -------
    answers
        By method, see `METHODS`: response to `change`.

    Raises
    ------
    ValueError
        If the lengths do not fit together or there are fewer than two states.
    FloatingPointError
        If a result is not finite.
    """
    if steps % window or not 0 <= settle < window:
        raise ValueError(
            f"window divides steps, and settle is shorter than window; got steps={steps}, "
            f"window={window}, settle={settle}")
    count = len(jax.tree.leaves(states)[0])
    if count < 2 or not relaxation > 1:
        raise ValueError(
            f"expected at least two states and a relaxation of more than one step; got {count} "
            f"and {relaxation}")
    change = jnp.asarray(change, jnp.result_type(parameter))

    def long_mean(parameter: Array, state: Array, step: Callable, length: int) -> tuple:
        def one(carry, i):
            state, total = carry
            state = step(state, parameter)
            return (state, total + jnp.where(i >= settle, observable(state, parameter), 0.0)), None

        (state, total), _ = jax.lax.scan(one, (state, 0.0), jnp.arange(length))
        return total / (length - settle), state

    def slope(state: Array, step: Callable, length: int) -> tuple[Array, Array]:
        gradient, state = jax.grad(long_mean, has_aux=True)(parameter, state, step, length)
        return jnp.vdot(gradient, change), state

    def windowed(state: Array) -> Array:
        def next_window(state: Array, _: None) -> tuple[Array, Array]:
            gradient, state = slope(state, step, window)
            return state, gradient

        _, slopes = jax.lax.scan(next_window, state, length=steps // window)
        return jnp.mean(slopes)

    def nudged(state: Array) -> Array:
        return slope(state, damped_step(step, 1 / relaxation), steps)[0]

    def finite(state: Array) -> Array:
        up, down = (long_mean(parameter + sign * change, state, step, steps)[0]
                    for sign in (1, -1))  # fmt: skip
        return (up - down) / 2

    total = float(count * steps)
    answers = {}
    for name, method, costs in zip(
            METHODS, (windowed, nudged, finite),
            ((total, total), (total, total), (2 * total, 0.0)), strict=True):
        pieces = np.asarray(jax.jit(jax.vmap(method))(states))
        _refuse_not_finite(name, pieces)
        answers[name] = LongRangeAnswer(pieces, *costs)
    return answers


def _refuse_not_finite(name: str, pieces: np.ndarray) -> None:
    if not np.isfinite(pieces).all():
        advice = {
            "windowed": "take a shorter window", "nudged": "take a shorter relaxation time",
            "finite_difference": "take a smaller change"}[name]  # fmt: skip
        raise FloatingPointError(f"the {name} answer is not finite; {advice}")


def long_range(
    model: Model, inputs: Inputs, target: Any, wrt: Sequence[str], days: float, *,
    window_days: float = 5.0, relaxation_days: float = 2.0, blocks: int = 4,
    direction: Direction = None, amplitude: float = 1.0, batch: int | None = 1,
    progress: Progress | None = None,
) -> xr.Dataset:  # fmt: skip
    """Return the response of a long mean of the model by three methods, with errors and costs.

    Parameters
    ----------
    model, inputs
        Structure, and where the long run starts.
    target
        Target without a period, e.g. `mean("precipitation_flux", region=...)`: it is taken over
        each window and each block. With `last(n)` it leaves out the beginning of each.
    wrt
        Names of fields and parameters of the run.
    days
        Length of the long run; whole blocks of whole windows.
    window_days
        Length of the windows of the ensemble adjoint; not beyond the usable window, see `horizon`.
    relaxation_days
        Relaxation time of the nudged adjoint; shorter than the time in which errors grow e-fold.
    blocks
        Parts of the long run whose answers are compared for the standard errors.
    direction
        Change of amplitude 1, as in `horizon`.
    amplitude
        Size of the change of the finite runs, up and down, as a multiple of the direction.
    batch
        Windows or blocks that one program computes at once.
    progress
        Called with what is done, the number of pieces done, and of all.

    Returns
    -------
    xr.Dataset
        `response` (input, method, block): change of the target for the change of amplitude 1,
        `response_mean`, `response_standard_error`, and the cost `forward_days`, `backward_days`;
        for fields on the grid also maps of `windowed` and `nudged` gradients, see `ensemble_map`.

    Raises
    ------
    ValueError
        If the lengths do not fit together.
    FloatingPointError
        If a run or a derivative is not finite; a nudged adjoint that overflows needs a shorter
        relaxation time.
    """
    lengths = _lengths(model, days, window_days, blocks)
    names = list(named_values(model, inputs, wrt))
    changes = {name: unit_change(model, inputs, name, direction) for name in names}
    tell = progress or (lambda words, done, count: None)
    windows = initial_states(model, inputs, lengths.windows, window_days)
    observe = target_variables([target])
    run = model_experiment(
        model, days=window_days, every=lengths.every, observe=observe)
    windowed = ensemble_sensitivity(
        run, target, windows, wrt=names, batch=batch,
        progress=lambda i, n: tell("windowed", i, n))
    windowed = _block_means(windowed, blocks)
    block = model_experiment(
        nudged_model(model, relaxation_days), days=days / blocks, every=lengths.every,
        observe=observe, checkpoint="window")
    nudged = ensemble_sensitivity(
        block, target, windows[:: lengths.windows // blocks], wrt=names, batch=batch,
        progress=lambda i, n: tell("nudged", i, n))
    response = np.zeros((len(names), len(METHODS), blocks))
    for i, name in enumerate(names):
        for j, ensemble in enumerate((windowed, nudged)):
            slopes = np.asarray(ensemble.gradient[name]) * np.asarray(changes[name])
            response[i, j] = slopes.reshape(blocks, -1).sum(axis=1)
        tell("finite_difference", i, len(names))
        finite = _finite_difference(block, model, target, inputs, name, changes[name] * amplitude)
        response[i, 2] = finite(days, blocks) / amplitude
        tell("finite_difference", i + 1, len(names))
    costs = np.array([[days, days], [days, days], [2.0 * days * len(names), 0.0]])
    summary = _summary(response, costs, inputs, names, target)
    maps = [_maps(model, ensemble, method, inputs)
            for ensemble, method in ((windowed, "windowed"), (nudged, "nudged"))]  # fmt: skip
    result = xr.merge(
        [summary, *maps], compat="no_conflicts", join="exact", combine_attrs="override")
    return result.assign_attrs(provenance(model, inputs) | {
        "title": "Response of a long mean by three methods", "days": days,
        "window_days": window_days, "relaxation_days": relaxation_days, "amplitude": amplitude})


class _Lengths(NamedTuple):
    windows: int
    every: float


def _lengths(model: Model, days: float, window_days: float, blocks: int) -> _Lengths:
    """Return the number of windows, and days between outputs: a day where windows allow it."""
    total, window = (whole_steps(model, name, x)
                     for name, x in (("days", days), ("window_days", window_days)))  # fmt: skip
    if blocks < 2 or total % blocks or (total // blocks) % window:
        raise ValueError(
            f"days are at least two blocks of whole windows; got {days:g} days, {blocks} blocks "
            f"and windows of {window_days:g} days")
    day = model.steps_per_day
    return _Lengths(total // window, 1.0 if window % day == 0 else window / day)


def _block_means(ensemble: EnsembleSensitivity, blocks: int) -> EnsembleSensitivity:
    """Return the means over the windows of each block as members."""
    def means(x: Any) -> np.ndarray:
        x = np.asarray(x)
        return x.reshape(blocks, -1, *x.shape[1:]).mean(axis=1)

    return eqx.tree_at(
        lambda e: (e.value, e.gradient), ensemble,
        (means(ensemble.value), {name: means(x) for name, x in ensemble.gradient.items()}))


def _finite_difference(
    block: Experiment, model: Model, target: Any, inputs: Inputs, name: str, change: Array
) -> Callable[[float, int], np.ndarray]:
    """Return half the difference of two long runs, block by block, as function of days, blocks."""
    here = named_values(model, inputs, [name])[name]

    def long_run(sign: int, days: float, blocks: int) -> np.ndarray:
        run = model_experiment(model, days=days, every=block.every, observe=block.observe)
        bound = target
        if hasattr(target, "bind"):
            bound = target.bind(model, every=block.every, average=True, inputs=inputs)
        fields = run(changed(model, inputs, {name: here + sign * change}))
        count = round(days / block.every) // blocks
        parts = [{key: x[i * count:(i + 1) * count] for key, x in fields.items()}
                 for i in range(blocks)]  # fmt: skip
        return np.array([float(bound(part)) for part in parts])

    def difference(days: float, blocks: int) -> np.ndarray:
        pieces = (long_run(1, days, blocks) - long_run(-1, days, blocks)) / 2
        _refuse_not_finite("finite_difference", pieces)
        return pieces

    return difference


def _summary(
    response: np.ndarray, costs: np.ndarray, inputs: Inputs, names: list[str], target: Any
) -> xr.Dataset:
    factor, units = displayed(getattr(target, "units", "1"))
    values = response * factor
    words = getattr(target, "description", "target")
    error = values.std(axis=2, ddof=1) / np.sqrt(values.shape[2])
    return xr.Dataset(
        {
            "response": (("input", "method", "block"), values, {
                "long_name": f"response of the {words} to the change of amplitude 1",
                "units": units}),
            "response_mean": (("input", "method"), values.mean(axis=2), {"units": units}),
            "response_standard_error": (("input", "method"), error, {"units": units}),
            "forward_days": (("method",), costs[:, 0], {
                "long_name": "days integrated forwards", "units": "days"}),
            "backward_days": (("method",), costs[:, 1], {
                "long_name": "days integrated backwards by the adjoint", "units": "days"}),
        },
        coords={"input": names, "method": list(METHODS),
                "input_units": ("input", [units_of(inputs, name) for name in names])},
    )  # fmt: skip


def _maps(
    model: Model, ensemble: EnsembleSensitivity, method: str, inputs: Inputs
) -> xr.Dataset:
    """Return the maps of one method, its name at the end of theirs."""
    maps = ensemble_map(model, ensemble, inputs=inputs)
    return maps.rename({name: f"{name}_{method}" for name in maps.data_vars})
