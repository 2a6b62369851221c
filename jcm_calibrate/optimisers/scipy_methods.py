"""Gradient methods of SciPy: L-BFGS-B, Levenberg-Marquardt and all of `scipy.optimize.minimize`.

SciPy asks for one evaluation at a time, so that each can be logged and replayed, and a trial that
is not finite can be turned back; for whole searches in one program see `jaxopt_methods`.

Byrd, R. H., Lu, P., Nocedal, J. and Zhu, C. (1995): A limited memory algorithm for bound
constrained optimization. SIAM J. Sci. Comput., 16, 1190-1208.
Branch, M. A., Coleman, T. F. and Li, Y. (1999): A subspace, interior, and conjugate gradient method
for large-scale bound-constrained minimization problems. SIAM J. Sci. Comput., 21, 1-23.
"""

from typing import Any

import numpy as np
from scipy.optimize import Bounds, least_squares
from scipy.optimize import minimize as scipy_minimize

from jcm_calibrate.optimisers.evaluator import Evaluator
from jcm_calibrate.optimisers.fit import Outcome
from jcm_calibrate.optimisers.stopping import Tolerances

#: Methods of `scipy.optimize.minimize` that need a value and a gradient, and those with bounds.
SCIPY_GRADIENT = ("L-BFGS-B", "BFGS", "CG", "SLSQP")
SCIPY_BOUNDED = ("L-BFGS-B", "SLSQP")

Box = tuple[np.ndarray, np.ndarray]


def scipy_gradient(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    scipy_method: str,
    steps: int,
    tolerances: Tolerances,
    bounds: Box | None = None,
    **options: Any,
) -> Outcome:
    """Minimise by a method of `scipy.optimize.minimize` that follows the gradient.

    A value that is not finite is given to SciPy as one above all values so far, rising along the
    step, so that its line search turns back.
    """
    highest, before = -np.inf, start

    def value_and_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal highest, before
        z = np.asarray(z, evaluator.dtype).astype(float)
        value, gradient = evaluator.value_and_gradient(z)
        gradient = gradient.astype(float)
        if np.isfinite(value) and np.isfinite(gradient).all():
            highest, before = max(highest, value), z
            return value, gradient
        rise = 1.0 + abs(highest)
        away = (z - before) / max(np.sum((z - before) ** 2), 1e-300)
        return highest + rise, rise * away

    result = scipy_minimize(
        value_and_gradient, start, jac=True, method=scipy_method,
        bounds=None if bounds is None else Bounds(*bounds),  # pyright: ignore
        options=_tolerances(scipy_method, tolerances) | {"maxiter": steps} | options)
    return Outcome(bool(result.success), str(result.message))


def levenberg_marquardt(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    steps: int,
    tolerances: Tolerances,
    bounds: Box | None = None,
    **options: Any,
) -> Outcome:
    """Minimise |r|^2 / 2 by the trust region of `scipy.optimize.least_squares`.

    Without bounds its steps are those of Levenberg and Marquardt. A trial that is not finite
    shrinks the region.
    """
    def residuals(z: np.ndarray) -> np.ndarray:
        return evaluator.residuals(np.asarray(z, evaluator.dtype).astype(float)).astype(float)

    def jacobian(z: np.ndarray) -> np.ndarray:
        j = evaluator.jacobian(np.asarray(z, evaluator.dtype).astype(float), reduced=False)[1]
        return np.where(np.isfinite(j).all(axis=0), j, 0.0).astype(float)

    box = (-np.inf, np.inf) if bounds is None else bounds
    result = least_squares(
        residuals, start, jac=jacobian, method="trf", bounds=box,  # pyright: ignore
        ftol=max(tolerances.relative, 1e-15), gtol=max(tolerances.gradient, 1e-15),
        xtol=1e-12, max_nfev=steps, **options)
    hessian = result.jac.T @ result.jac
    regular = np.linalg.cond(hessian) < 1e14
    return Outcome(result.status > 0, str(result.message),
                   covariance=np.linalg.inv(hessian) if regular else None)  # fmt: skip


def _tolerances(scipy_method: str, tolerances: Tolerances) -> dict[str, Any]:
    gradient, value = {"gtol": tolerances.gradient}, {"ftol": tolerances.relative}
    return {"L-BFGS-B": gradient | value, "SLSQP": value}.get(scipy_method, gradient)
