"""Kalman inversion: the ensemble estimates the derivative, no gradient is needed.

The residuals are white (noise of unit variance) and the prior of z, if it counts, is N(0, I).

- `eki`: perturbed observations. Iglesias, M., Law, K. and Stuart, A. (2013): Ensemble Kalman
  methods for inverse problems. Inverse Problems, 29, 045001.
- `etki`: a deterministic transform. Bishop, C. H., Etherton, B. J. and Majumdar, S. J. (2001):
  Adaptive sampling with the ensemble transform Kalman filter. Mon. Weather Rev., 129, 420-436;
  symmetric root: Hunt, B. R., Kostelich, E. J. and Szunyogh, I. (2007): Efficient data assimilation
  for spatiotemporal chaos. Physica D, 230, 112-126.
- `uki`: 2 n + 1 sigma points, to the posterior as a fixed point. Huang, D. Z., Schneider, T. and
  Stuart, A. M. (2022): Iterated Kalman methodology for inverse problems. J. Comput. Phys., 463,
  111262.

Steps of `eki` and `etki` are tempered by the data misfit controller: Iglesias, M. and Yang, Y.
(2021): Adaptive regularisation for ensemble Kalman inversion. Inverse Problems, 37, 025008.

With the prior, the ensemble starts from it and the data are assimilated in steps that sum to one
(pseudo-time 1): for linear functions and Gaussian noise it then samples the posterior. Without, the
ensemble starts around the start and shrinks onto a minimum. Given residuals that contain z itself,
this is the Tikhonov form, which goes to the mode: Chada, N. K., Stuart, A. M. and Tong, X. T.
(2020): Tikhonov regularization within ensemble Kalman inversion. SIAM J. Numer. Anal., 58,
1263-1294.
"""

import jax
import numpy as np

from jcm_calibrate.optimisers.evaluator import BudgetUsed, Evaluator
from jcm_calibrate.optimisers.fit import Outcome
from jcm_calibrate.optimisers.stopping import Tolerances, Watch

#: Largest step of pseudo-time, where the ensemble has collapsed.
LARGEST_STEP = 1e8
#: Movement of the mean, in posterior standard deviations, and relative change of the variances
#: below which the unscented iteration has arrived.
ARRIVED = 1e-2


def ensemble_inversion(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    key: jax.Array | None,
    steps: int,
    tolerances: Tolerances,
    transform: bool,
    members: int | None = None,
    spread: float = 1.0,
) -> Outcome:
    """Minimise, or sample the posterior of, white residuals with an ensemble.

    Members whose residuals are not finite are left out of the update and drawn anew from the
    Gaussian of the updated others.

    Parameters
    ----------
    transform
        Deterministic transform rather than perturbed observations.
    members
        Size of the ensemble; more than n. Without, 4 n and at least 10.
    spread
        Standard deviation around the start; only without prior, which has its own.
    """
    if key is None:
        raise ValueError("Kalman inversion draws numbers: give key=jax.random.key(seed)")
    size = start.size
    members = max(10, 4 * size) if members is None else members
    if members <= size or not spread > 0:
        raise ValueError(
            f"the ensemble needs more members than there are components, {size}, and a positive "
            f"spread; got {members} members and spread {spread}")
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    centre, width = (np.zeros(size), 1.0) if evaluator.prior else (start, spread)
    ensemble = centre + width * _standard_draws(random, members, size)
    pseudo_time, watch = 0.0, Watch(tolerances)
    try:
        for _ in range(steps):
            ensemble = _rounded(ensemble, evaluator)
            # The mean is run as well: without it the lowest value known would be a member's.
            both = np.concatenate([ensemble, _rounded(ensemble.mean(axis=0)[None], evaluator)])
            residuals = evaluator.members(both)[:-1].astype(float)
            valid = np.asarray(np.isfinite(residuals).all(axis=1))
            if valid.sum() < 3:
                return _summary(evaluator, ensemble, False, f"only {valid.sum()} of {members} "
                                "members are finite; narrow the prior or shorten the window")
            r = residuals[:, :-size] if evaluator.prior else residuals
            step = _step(r[valid])
            if evaluator.prior:
                step = min(step, 1 - pseudo_time)
            ensemble = _updated(ensemble, r, valid, step, transform, random)
            pseudo_time += step
            if evaluator.prior and pseudo_time >= 1 - 1e-12:
                return _summary(evaluator, ensemble, True, "all data are assimilated")
            reason = watch.reason(float(np.mean(0.5 * np.sum(residuals[valid] ** 2, axis=1))))
            if reason and not evaluator.prior:
                return _summary(evaluator, ensemble, True, reason)
    except BudgetUsed:
        return _summary(evaluator, ensemble, False, "the budget is used up", pseudo_time)
    return _summary(evaluator, ensemble, False, f"{steps} steps were done", pseudo_time)


def unscented_inversion(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    steps: int,
    tolerances: Tolerances,
    spread: float = 1.0,
) -> Outcome:
    """Find mean and covariance of the posterior as a fixed point of unscented Kalman updates.

    Each step widens the covariance to twice itself and assimilates residuals of variance 2, prior
    included (Huang et al., 2022, section 4); for linear functions this halves the distance of the
    inverse covariance from that of the posterior. It begins at the start with the given spread. A
    sigma point that fails is continued linearly from its mirror image and the mean; for a mean that
    fails the middle of a pair of sigma points stands in, and without a pair it is drawn halfway to
    the mean before.
    """
    if not spread > 0:
        raise ValueError(f"the spread must be positive; got {spread}")
    size = start.size
    mean, covariance, before = start, spread**2 * np.eye(size), start
    scale = min(2.0, np.sqrt(size))
    message, converged = f"{steps} steps were done", False
    try:
        for _ in range(steps):
            wide = 2 * covariance
            arms = scale * np.linalg.cholesky(wide).T
            points = _rounded(np.concatenate([mean[None], mean + arms, mean - arms]), evaluator)
            r = evaluator.members(points).astype(float)
            r[0] = _centre(r, size)
            if not np.isfinite(r[0]).all():
                if np.array_equal(mean, before):
                    message = "the mean and the sigma points around it failed"
                    break
                mean = _rounded(0.5 * (mean + before), evaluator)
                covariance = 0.25 * covariance
                continue
            deviations = _deviations(r, size)
            anomalies = deviations / (np.sqrt(2.0) * scale)
            gram = anomalies @ anomalies.T
            inner = np.linalg.inv(gram + 2 * np.eye(2 * size))
            directions = np.concatenate([arms, -arms]) / (np.sqrt(2.0) * scale)
            gain = directions.T @ inner @ anomalies
            before, mean = mean, _rounded(mean - gain @ r[0], evaluator)
            last, covariance = covariance, wide - directions.T @ inner @ gram @ directions
            covariance = 0.5 * (covariance + covariance.T)
            moved = np.sqrt((mean - before) ** 2 / np.diag(covariance)).max()
            changed = np.abs(np.diag(covariance) / np.diag(last) - 1).max()
            if max(moved, changed) < ARRIVED:
                message, converged = "mean and covariance are at the fixed point", True
                break
    except BudgetUsed:
        message = "the budget is used up"
    return _with_value(evaluator, Outcome(
        converged, message, best=mean, covariance=covariance), fallback=True)


def _centre(r: np.ndarray, size: int) -> np.ndarray:
    """Return the residuals of the mean; if it failed, those of the middles of finite pairs."""
    middles = 0.5 * (r[1:size + 1] + r[size + 1:])
    pairs = np.isfinite(middles).all(axis=1)
    return r[0] if np.isfinite(r[0]).all() or not pairs.any() else middles[pairs].mean(axis=0)


def _deviations(r: np.ndarray, size: int) -> np.ndarray:
    """Return deviations of the sigma points' residuals from the mean's, failed ones continued."""
    above, below = r[1:size + 1] - r[0], r[size + 1:] - r[0]
    up, down = np.isfinite(above).all(axis=1), np.isfinite(below).all(axis=1)
    neither = ~(up | down)
    above[neither], below[neither] = 0.0, 0.0
    mirrored = np.where((~up & down)[:, None], -below, above)
    below = np.where((up & ~down)[:, None], -above, below)
    return np.concatenate([mirrored, below])


def _standard_draws(random: np.random.Generator, members: int, size: int) -> np.ndarray:
    """Return draws (members, size) whose sample mean is 0 and sample covariance I, exactly.

    A small ensemble then starts from the prior, not from its sampling error.
    """
    draws = random.standard_normal((members, size))
    draws -= draws.mean(axis=0)
    covariance = draws.T @ draws / (members - 1)
    return np.linalg.solve(np.linalg.cholesky(covariance), draws.T).T


def _step(r: np.ndarray) -> float:
    """Return the step of pseudo-time by the data misfit controller (Iglesias and Yang, 2021)."""
    misfit = 0.5 * np.sum(r**2, axis=1)
    mean, variance = misfit.mean(), misfit.var(ddof=1)
    half = r.shape[1] / 2
    tiny = 1 / LARGEST_STEP
    return min(LARGEST_STEP, max(half / max(mean, tiny), np.sqrt(half / max(variance, tiny**2))))


def _updated(
    ensemble: np.ndarray, r: np.ndarray, valid: np.ndarray, step: float, transform: bool,
    random: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return the ensemble after one Kalman update with noise of variance 1 / step."""
    z, r = ensemble[valid], r[valid]
    count = len(z)
    root = np.sqrt(count - 1)
    theta = (z - z.mean(axis=0)) / root
    a = (r - r.mean(axis=0)) / root
    # In the space of the ensemble: there are fewer members than data.
    values, vectors = np.linalg.eigh(a @ a.T)
    values = np.maximum(values, 0.0)
    inner = (vectors / (values + 1 / step)) @ vectors.T
    if transform:
        mean = z.mean(axis=0) - theta.T @ inner @ (a @ r.mean(axis=0))
        symmetric = (vectors / np.sqrt(1 + step * values)) @ vectors.T
        moved = mean + root * symmetric @ theta
    else:
        noise = random.standard_normal(r.shape) / np.sqrt(step)
        noise -= noise.mean(axis=0)
        moved = z + (noise - r) @ a.T @ inner @ theta
    result = ensemble.copy()
    result[valid] = moved
    failed = int((~valid).sum())
    if failed:
        result[~valid] = random.multivariate_normal(
            moved.mean(axis=0), np.cov(moved.T).reshape(2 * [z.shape[1]]), failed, method="svd")
    return result


def _summary(
    evaluator: Evaluator, ensemble: np.ndarray, converged: bool, message: str,
    pseudo_time: float | None = None,
) -> Outcome:  # fmt: skip
    if evaluator.prior and pseudo_time is not None:
        message += f"; {pseudo_time:.0%} of the data are assimilated, so this is no posterior"
    covariance = np.cov(ensemble.T).reshape(2 * [ensemble.shape[1]])
    outcome = Outcome(
        converged, message, best=_rounded(ensemble.mean(axis=0), evaluator),
        covariance=covariance, ensemble=ensemble)
    return _with_value(evaluator, outcome, fallback=not evaluator.prior)


def _with_value(evaluator: Evaluator, outcome: Outcome, *, fallback: bool) -> Outcome:
    """Evaluate the mean; without prior, or budget, the lowest iterate known may be the best."""
    assert outcome.best is not None
    try:
        value = evaluator.members(outcome.best[None])[0].astype(float)
        value = 0.5 * float(np.sum(value**2))
    except BudgetUsed:
        value = np.nan
    known = np.isfinite(value)
    if not known or (fallback and not evaluator.prior and evaluator.lowest < value):
        return Outcome(outcome.converged, outcome.message, covariance=outcome.covariance,
                       ensemble=outcome.ensemble)  # fmt: skip
    return Outcome(outcome.converged, outcome.message, best=outcome.best, value=value,
                   covariance=outcome.covariance, ensemble=outcome.ensemble)  # fmt: skip


def _rounded(z: np.ndarray, evaluator: Evaluator) -> np.ndarray:
    """Return iterates as the function will see them, in its precision."""
    return np.asarray(z, evaluator.dtype).astype(float)
