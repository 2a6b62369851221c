"""Methods that only compare values: Nelder-Mead and CMA-ES, through libraries.

Nelder, J. A. and Mead, R. (1965): A simplex method for function minimization. Comput. J., 7,
308-313; with the adaptive coefficients of Gao, F. and Han, L. (2012): Implementing the Nelder-Mead
simplex algorithm with adaptive parameters. Comput. Optim. Appl., 51, 259-277.
Hansen, N. (2016): The CMA evolution strategy: a tutorial. arXiv:1604.00772.
"""

from typing import Any

import cma
import jax
import numpy as np
from scipy.optimize import Bounds
from scipy.optimize import minimize as scipy_minimize

from jcm_calibrate.optimisers.evaluator import Evaluator
from jcm_calibrate.optimisers.fit import Outcome
from jcm_calibrate.optimisers.stopping import Tolerances

Box = tuple[np.ndarray, np.ndarray]


def nelder_mead(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    steps: int,
    tolerances: Tolerances,
    bounds: Box | None = None,
    spread: float = 0.5,
    **options: Any,
) -> Outcome:
    """Minimise by Nelder and Mead's simplex; a value that is not finite counts as infinite.

    Parameters
    ----------
    spread
        Length of the edges of the first simplex from the start.
    options
        Options of SciPy's method.
    """
    if not spread > 0:
        raise ValueError(f"the spread must be positive; got {spread}")
    edges = spread * np.eye(start.size)
    if bounds is not None:
        edges = np.where(start + edges > bounds[1], -edges, edges)
    simplex = np.concatenate([start[None], start + edges])

    def value(z: np.ndarray) -> float:
        result = evaluator.value(np.asarray(z, evaluator.dtype).astype(float))
        return result if np.isfinite(result) else np.inf

    result = scipy_minimize(
        value, start, method="Nelder-Mead", bounds=None if bounds is None else Bounds(*bounds),  # pyright: ignore
        options={"initial_simplex": simplex, "adaptive": start.size > 4, "maxiter": steps,
                 "maxfev": np.inf, "xatol": 1e-6, "fatol": tolerances.relative} | options)
    return Outcome(bool(result.success), str(result.message))


def cma_es(
    evaluator: Evaluator,
    start: np.ndarray,
    *,
    key: jax.Array | None,
    steps: int,
    tolerances: Tolerances,
    bounds: Box | None = None,
    members: int | None = None,
    spread: float = 0.5,
    **options: Any,
) -> Outcome:
    """Minimise by CMA-ES; a member that is not finite ranks behind all others.

    Parameters
    ----------
    members
        Members of a generation; without, 4 + 3 ln n.
    spread
        Standard deviation of the first generation around the start.
    options
        Options of `cma.CMAEvolutionStrategy`.
    """
    if key is None:
        raise ValueError("CMA-ES draws numbers: give key=jax.random.key(seed)")
    if (members is not None and members < 4) or not spread > 0:
        raise ValueError(
            f"CMA-ES needs 4 members and a positive spread; got {members} and {spread}")
    random = np.random.RandomState(np.asarray(jax.random.key_data(key)).ravel())
    settings = {
        "randn": random.randn, "seed": np.nan, "verbose": -9, "maxiter": steps,
        "tolfun": tolerances.relative, "bounds": None if bounds is None else [*bounds]}  # fmt: skip
    if members is not None:
        settings["popsize"] = members
    strategy = cma.CMAEvolutionStrategy(start, spread, settings | options)
    while not strategy.stop():
        asked = strategy.ask()
        ensemble = np.asarray(asked, evaluator.dtype).astype(float)
        values = evaluator.members(ensemble, residuals=False).astype(float)
        finite = values[np.isfinite(values)]
        worst = finite.max() + abs(finite.max()) + 1.0 if finite.size else np.finfo(float).max
        strategy.tell(asked, np.where(np.isfinite(values), values, worst).tolist())
    stopped = dict(strategy.stop() or {})
    reasons = ", ".join(f"{name} = {limit}" for name, limit in stopped.items())
    return Outcome("maxiter" not in stopped, f"CMA-ES stopped: {reasons}")
