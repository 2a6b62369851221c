"""Gauss-Newton with damping, from the Jacobian of the residuals.

Levenberg, K. (1944): A method for the solution of certain non-linear problems in least squares.
Q. Appl. Math., 2, 164-168.
Marquardt, D. W. (1963): An algorithm for least-squares estimation of nonlinear parameters. J. Soc.
Indust. Appl. Math., 11, 431-441.
Nielsen, H. B. (1999): Damping parameter in Marquardt's method. Report IMM-REP-1999-05, Technical
University of Denmark.
"""

from typing import Literal

import numpy as np

from jcm_calibrate.optimisers.evaluator import Evaluator, reduce_rows, rounding
from jcm_calibrate.optimisers.fit import Outcome
from jcm_calibrate.optimisers.stopping import Tolerances, Watch

#: Damping at first, relative to J'J, and where it is given up.
DAMPING, LARGEST_DAMPING = 1e-3, 1e12
#: Trials of one step.
TRIALS = 20

JacobianMode = Literal["forward_mode", "finite_difference"]
Bounds = tuple[np.ndarray, np.ndarray]


def gauss_newton(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    steps: int,
    tolerances: Tolerances,
    bounds: Bounds | None = None,
    jacobian: str = "forward_mode",
    difference_step: float = 0.1,
    damping: float = DAMPING,
    scaling: str = "jacobian",
) -> Outcome:
    """Minimise |r|^2 / 2 by damped Gauss-Newton steps.

    Each step solves (J'J + damping D) d = -J'r. A trial that is not lower, or not finite, raises
    the damping; components at a bound whose step leads outside are held. The covariance (J'J)^-1 of
    the last Jacobian is returned.

    Parameters
    ----------
    jacobian
        `"forward_mode"`: derivatives of the model. `"finite_difference"`: central differences of
        half-width `difference_step`, for windows so long that derivatives follow the weather.
    scaling
        `"jacobian"`: D is the diagonal of J'J (Marquardt), so that a component that hardly counts
        at z, such as one beyond a switch, is not held there. `"prior"`: D is the largest eigenvalue
        of J'J for all components, which have one scale, that of the prior.
    """
    mode = _mode(jacobian, difference_step)
    if scaling not in ("jacobian", "prior"):
        raise ValueError(f"scaling is 'jacobian' or 'prior'; got {scaling!r}")
    z, watch = start, Watch(tolerances)
    r, j = _derivatives(evaluator, z, mode, difference_step)
    factor, raising = damping, 2.0
    for _ in range(steps):
        value, gradient = 0.5 * float(r @ r), j.T @ r
        free = _free(z, gradient, bounds)
        reason = watch.reason(value, float(np.linalg.norm(gradient[free])))
        if reason:
            return _outcome(True, reason, j)
        scale = _scale(j, scaling)
        # Neither damped nor clipped: what is left to gain at the very most.
        whole = _trial(z, r, j, free, DAMPING * np.finfo(float).eps * scale, None, evaluator)
        left = value - 0.5 * float(np.sum((r + j @ (whole - z)) ** 2))
        if left <= rounding(value, evaluator):
            return _outcome(True, "what a step could still gain is below rounding", j)
        for _ in range(TRIALS):
            trial = _trial(z, r, j, free, factor * scale, bounds, evaluator)
            trial_value = evaluator.value(trial)
            predicted = value - 0.5 * float(np.sum((r + j @ (trial - z)) ** 2))
            if trial_value < value and predicted > 0:
                break
            factor, raising = factor * raising, 2 * raising
            if factor > LARGEST_DAMPING or np.array_equal(trial, z):
                return _outcome(False, "no step lowers the value; rounding is reached, or the "
                                "Jacobian is not that of the residuals", j)  # fmt: skip
        else:
            return _outcome(False, f"none of {TRIALS} damped steps lowers the value", j)
        gain = (value - trial_value) / predicted
        factor, raising = factor * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0  # Nielsen (1999)
        z = trial
        r, j = _derivatives(evaluator, z, mode, difference_step)
    return _outcome(False, f"{steps} steps were done", j)


def _mode(jacobian: str, difference_step: float) -> JacobianMode:
    if jacobian == "forward_mode" or jacobian == "finite_difference":
        if difference_step > 0:
            return jacobian
        raise ValueError(f"difference_step must be positive; got {difference_step}")
    raise ValueError(
        f"jacobian is 'forward_mode' or 'finite_difference'; got {jacobian!r}")


def _derivatives(
    evaluator: Evaluator, z: np.ndarray, mode: JacobianMode, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals and Jacobian; a column that is not finite is one that is not moved along."""
    if mode == "forward_mode":
        return evaluator.jacobian(z, reduced=True)
    eye = step * np.eye(z.size)
    ensemble = np.asarray(np.concatenate([z[None], z + eye, z - eye]), evaluator.dtype)
    r, *sides = np.asarray(evaluator.members(ensemble.astype(float)), float)
    columns = []
    for i in range(z.size):
        above, below = sides[i], sides[z.size + i]
        # One side is enough where the other ended beyond a wall.
        ends = [(x, s) for x, s in ((above, 1.0), (r, 0.0), (below, -1.0)) if np.isfinite(x).all()]
        (last, to), (first, since) = ends[0], ends[-1]
        columns.append((last - first) / (step * (to - since)) if to > since else 0 * r)
    return reduce_rows(r, np.stack(columns, axis=1))


def _scale(j: np.ndarray, scaling: str) -> np.ndarray:
    """Return D, the diagonal that the damping multiplies."""
    squares = j.T @ j
    if scaling == "jacobian":
        return np.diagonal(squares)
    return np.full(j.shape[1], np.linalg.eigvalsh(squares)[-1])


def _free(z: np.ndarray, gradient: np.ndarray, bounds: Bounds | None) -> np.ndarray:
    """Return which components are not held at a bound."""
    if bounds is None:
        return np.ones(z.size, bool)
    return ~((z <= bounds[0]) & (gradient > 0) | (z >= bounds[1]) & (gradient < 0))


def _trial(
    z: np.ndarray, r: np.ndarray, j: np.ndarray, free: np.ndarray,
    damping: np.ndarray, bounds: Bounds | None, evaluator: Evaluator,
) -> np.ndarray:  # fmt: skip
    step = np.zeros(z.size)
    a = j[:, free]
    below = np.diag(np.sqrt(damping[free]))
    # As a least-squares problem: J'J would square the condition number.
    step[free] = np.linalg.lstsq(
        np.concatenate([a, below]), np.concatenate([-r, np.zeros(a.shape[1])]), rcond=None)[0]
    trial = z + step if bounds is None else np.clip(z + step, *bounds)
    return np.asarray(trial, evaluator.dtype).astype(float)


def _outcome(converged: bool, message: str, j: np.ndarray) -> Outcome:
    hessian = j.T @ j
    regular = np.linalg.cond(hessian) < 1e14
    return Outcome(converged, message, covariance=np.linalg.inv(hessian) if regular else None)
