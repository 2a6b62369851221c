"""Methods that follow the gradient: any optimiser of optax, and L-BFGS with a line search.

Values that are not finite are failed steps, which are cut; they never reach an optimiser's memory.

Nocedal, J. and Wright, S. J. (2006): Numerical Optimization, 2nd ed., Springer.
Lewis, A. S. and Overton, M. L. (2013): Nonsmooth optimization via quasi-Newton methods.
Math. Program., 141, 135-163.
"""

from collections.abc import Callable
from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax

from jcm_calibrate.optimisers.evaluator import Evaluator, rounding
from jcm_calibrate.optimisers.fit import Outcome
from jcm_calibrate.optimisers.stopping import Tolerances, Watch

#: Constants of the weak Wolfe conditions, Nocedal and Wright (2006), section 3.1.
DECREASE, CURVATURE = 1e-4, 0.9
#: Trials of one line search, and cuts of one failed step.
TRIALS = 20


def descend(
    evaluator: Evaluator,
    start: np.ndarray,
    transformation: optax.GradientTransformation,
    *,
    steps: int,
    tolerances: Tolerances,
    batches: Callable[[int], Callable] | None = None,
) -> Outcome:
    """Follow an optimiser of optax without line search, e.g. Adam.

    A step to a value that is not finite is halved until it is, and the optimiser begins anew there:
    what it remembers led over the wall.

    Parameters
    ----------
    batches
        From the number of a step to the function of its mini-batch, e.g. `Problem.mini_batches`.
        Their values cannot be compared: all steps are done, the last iterate is taken, and its
        value is that of the whole function.
    """
    whole = evaluator.function
    state = transformation.init(jnp.asarray(start, evaluator.dtype))
    z, before, watch = start, start, Watch(tolerances)
    cuts = 0
    for number in range(steps):
        if batches is not None:
            evaluator.function = batches(number)
        value, gradient = evaluator.value_and_gradient(z)
        if not _finite(value, gradient):
            cuts += 1
            if cuts > TRIALS:
                return Outcome(False, "no finite value was found along the step")
            z = _rounded(0.5 * (before + z), evaluator)
            state = transformation.init(jnp.asarray(z, evaluator.dtype))
            continue
        cuts = 0
        reason = watch.reason(value, float(np.linalg.norm(gradient)))
        if reason and batches is None:
            return Outcome(True, reason)
        updates, state = _update(
            transformation, jnp.asarray(gradient), state, jnp.asarray(z, evaluator.dtype))
        before, z = z, _rounded(z + np.asarray(updates, float), evaluator)
    if batches is not None:
        evaluator.function = whole
        return Outcome(False, f"{steps} mini-batches were done", z, evaluator.value(z))
    return Outcome(False, f"{steps} steps were done")


def lbfgs(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    steps: int,
    tolerances: Tolerances,
    memory_size: int = 10,
) -> Outcome:
    """Minimise by L-BFGS: the direction of optax, a line search for the weak Wolfe conditions."""
    direction = _lbfgs_direction(memory_size)
    state = direction.init(jnp.asarray(start, evaluator.dtype))
    z, watch, restarted = start, Watch(tolerances), True
    value, gradient = evaluator.value_and_gradient(z)
    for _ in range(steps):
        reason = watch.reason(value, float(np.linalg.norm(gradient)))
        if reason:
            return Outcome(True, reason)
        ascent, state = _update(
            direction, jnp.asarray(gradient), state, jnp.asarray(z, evaluator.dtype))
        step = -np.asarray(ascent, float)
        if 0 < -gradient @ step <= rounding(value, evaluator):
            return Outcome(True, "what a step could still gain is below rounding")
        found = None
        if step @ gradient < 0:
            found = wolfe_search(evaluator, z, value, gradient, step)
        if found is None and restarted:
            return Outcome(False, "the line search found no lower value along the gradient; the "
                           "gradient is not that of the value, or rounding is reached")  # fmt: skip
        restarted = found is None
        if found is None:
            state = direction.init(jnp.asarray(z, evaluator.dtype))
            continue
        z, value, gradient = found
    return Outcome(False, f"{steps} steps were done")


def wolfe_search(
    evaluator: Evaluator, z: np.ndarray, value: float, gradient: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """Return the next iterate, its value and gradient; None if nothing lower is found.

    Bisection for the weak Wolfe conditions (Lewis and Overton, 2013, algorithm 2.6); the first cut
    goes to the minimum of the parabola through the values. What is not finite fails as a value
    that is too high does, so a step over a wall is cut.
    """
    slope = float(gradient @ step)
    low, high, t = 0.0, np.inf, 1.0
    best = None
    for _ in range(TRIALS):
        trial = _rounded(z + t * step, evaluator)
        if np.array_equal(trial, z):
            break
        trial_value, trial_gradient = evaluator.value_and_gradient(trial)
        if not _finite(trial_value, trial_gradient):
            high, t = t, 0.5 * (low + t)
        elif trial_value > value + DECREASE * t * slope:
            parabola = -0.5 * slope * t**2 / (trial_value - value - t * slope)
            inside = low + np.array([0.1, 0.5]) * (t - low)
            high, t = t, float(np.clip(parabola, *inside))
        else:
            if best is None or trial_value <= best[1]:
                best = trial, trial_value, trial_gradient
            if trial_gradient @ step >= CURVATURE * slope:
                return trial, trial_value, trial_gradient
            low, t = t, 2 * t if np.isinf(high) else 0.5 * (t + high)
    return best


@lru_cache(maxsize=64)
def named_transformation(
    method: str, learning_rate: float | Callable, options: tuple[tuple[str, object], ...] = ()
) -> optax.GradientTransformation:
    """Return an optimiser of optax by name; the same object for the same arguments.

    The same object means that its compiled update is found again.
    """
    return getattr(optax, method)(learning_rate, **dict(options))


@lru_cache(maxsize=8)
def _lbfgs_direction(memory_size: int) -> optax.GradientTransformation:
    return optax.scale_by_lbfgs(memory_size=memory_size)


@eqx.filter_jit
def _update(transformation, gradient, state, z):
    return transformation.update(gradient, state, z)


def _finite(value: float, gradient: np.ndarray) -> bool:
    return bool(np.isfinite(value) and np.all(np.isfinite(gradient)))


def _rounded(z: np.ndarray, evaluator: Evaluator) -> np.ndarray:
    """Return an iterate as the function will see it, in its precision."""
    return np.asarray(np.asarray(z, evaluator.dtype), float)
