"""Methods of jaxopt: the whole search is one compiled program.

A thin layer, since that library is no longer maintained. Inside the program single evaluations can
be neither logged nor replayed: the log gets the first and the last, and a search that was killed
begins anew. Where that matters use `lbfgs`, `lbfgsb`, `gauss_newton` or `levenberg_marquardt`.

Blondel, M. et al. (2022): Efficient and modular implicit differentiation. NeurIPS, 35, 5230-5242.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jcm_calibrate.optimisers.evaluator import Evaluator, objective, residual_vector
from jcm_calibrate.optimisers.fit import Outcome
from jcm_calibrate.optimisers.stopping import Tolerances


def jaxopt_search(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    solver: str,
    steps: int,
    tolerances: Tolerances,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    **options: Any,
) -> Outcome:
    """Minimise by `jaxopt.LBFGS`, `jaxopt.LBFGSB` or `jaxopt.LevenbergMarquardt`.

    What the search evaluates counts in the cost with what jaxopt says of it.

    Raises
    ------
    ValueError
        If there is a budget, which could not stop the compiled search.
    """
    if np.isfinite(evaluator.budget):
        raise ValueError(
            f"jaxopt's {solver} is one compiled program that no budget can stop; limit it by "
            "steps, or take lbfgs, lbfgsb, gauss_newton or levenberg_marquardt")
    evaluator.value(start)
    best, used, iterations, error = _search(
        evaluator.function, jnp.asarray(start, evaluator.dtype), bounds, evaluator.prior, solver,
        steps, tolerances.gradient, tuple(sorted(options.items())))
    if solver == "LevenbergMarquardt":
        evaluator.cost += float(iterations) * (1 + start.size * (evaluator.tangent_cost - 1))
    else:
        evaluator.cost += float(used) * evaluator.gradient_cost
    found = np.asarray(best, float)
    if not np.isfinite(found).all():
        return Outcome(False, f"jaxopt's {solver} left the finite numbers; take a method that cuts "
                       "such steps, e.g. lbfgs or gauss_newton")  # fmt: skip
    evaluator.value(found)
    converged = float(error) <= tolerances.gradient
    return Outcome(converged, f"{int(iterations)} iterations, gradient norm {float(error):.2g}")


@eqx.filter_jit
def _search(
    function: Any, start: Any, bounds: Any, prior: bool, solver: str, steps: int, tolerance: float,
    options: tuple[tuple[str, Any], ...],
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    # Imported here: jaxopt announces at its import that it is no longer maintained.
    import jaxopt

    given = dict(options)
    if solver == "LevenbergMarquardt":
        residuals = partial(_swapped, residual_vector, function, prior)
        made = jaxopt.LevenbergMarquardt(residuals, maxiter=steps, tol=tolerance, **given)
        point, state = made.run(start)
        return point, state.iter_num, state.iter_num, jnp.linalg.norm(state.gradient)
    scalar = partial(_swapped, objective, function, prior)
    made = getattr(jaxopt, solver)(scalar, maxiter=steps, tol=tolerance, **given)
    if solver == "LBFGSB":
        wide = jnp.full_like(start, jnp.inf)
        box = (-wide, wide) if bounds is None else tuple(
            jnp.asarray(side, start.dtype) for side in bounds)
        point, state = made.run(start, bounds=box)
    else:
        point, state = made.run(start)
    return point, state.num_grad_eval, state.iter_num, state.error


def _swapped(kind: Any, function: Any, prior: bool, z: Any) -> Any:
    return kind(function, z, prior)
