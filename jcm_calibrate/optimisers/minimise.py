"""One call for all ways to minimise a function of a vector.

The function returns a number, or residuals r; the objective is then |r|^2 / 2. Gradient methods,
Gauss-Newton, Kalman inversion and derivative-free methods see the same function, count cost in the
same unit, write the same log and return the same `Fit`.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import ArrayLike

from jcm.provenance import package_version
from jcm.results import identify
from jcm_calibrate.names import METHODS
from jcm_calibrate.optimisers.derivative_free import cma_es, nelder_mead
from jcm_calibrate.optimisers.evaluation_log import EvaluationLog
from jcm_calibrate.optimisers.evaluator import (
    GRADIENT_COST,
    TANGENT_COST,
    BudgetUsed,
    Evaluator,
    NotFinite,
)
from jcm_calibrate.optimisers.fit import Fit, Outcome, history_table
from jcm_calibrate.optimisers.gauss_newton import gauss_newton
from jcm_calibrate.optimisers.gradient_methods import descend, lbfgs, named_transformation
from jcm_calibrate.optimisers.jaxopt_methods import jaxopt_search
from jcm_calibrate.optimisers.kalman import ensemble_inversion, unscented_inversion
from jcm_calibrate.optimisers.scipy_methods import (
    SCIPY_BOUNDED,
    SCIPY_GRADIENT,
    levenberg_marquardt,
    scipy_gradient,
)
from jcm_calibrate.optimisers.stopping import Tolerances

#: Optimisers of optax that need only a learning rate.
OPTAX = ("adam", "adamw", "sgd", "rmsprop", "nadam", "adabelief", "lion")
#: The other methods by name.
OWN: dict[str, Callable] = {
    "lbfgs": lbfgs,
    "lbfgsb": partial(scipy_gradient, scipy_method="L-BFGS-B"),
    **{f"scipy_{name.lower()}": partial(scipy_gradient, scipy_method=name)
       for name in SCIPY_GRADIENT if name != "L-BFGS-B"},
    "gauss_newton": gauss_newton,
    "levenberg_marquardt": levenberg_marquardt,
    "jaxopt_lbfgs": partial(jaxopt_search, solver="LBFGS"),
    "jaxopt_lbfgsb": partial(jaxopt_search, solver="LBFGSB"),
    "jaxopt_levenberg_marquardt": partial(jaxopt_search, solver="LevenbergMarquardt"),
    "eki": partial(ensemble_inversion, transform=False),
    "etki": partial(ensemble_inversion, transform=True),
    "uki": unscented_inversion,
    "nelder_mead": nelder_mead,
    "cma_es": cma_es,
}  # fmt: skip
#: Methods that keep within bounds.
BOUNDED = ("lbfgsb", *(f"scipy_{name.lower()}" for name in SCIPY_BOUNDED if name != "L-BFGS-B"),
           "gauss_newton", "levenberg_marquardt", "jaxopt_lbfgsb", "nelder_mead",
           "cma_es")  # fmt: skip


def minimise(
    function: Callable,
    start: ArrayLike | Sequence,
    *,
    method: str | optax.GradientTransformation = "lbfgs",
    steps: int = 100,
    learning_rate: float | Callable = 0.05,
    bounds: tuple[ArrayLike | Sequence, ArrayLike | Sequence] | None = None,
    prior: bool = False,
    gradient_tolerance: float = 1e-6,
    relative_tolerance: float = 1e-8,
    patience: int = 3,
    key: jax.Array | None = None,
    budget: float | None = None,
    gradient_cost: float = GRADIENT_COST,
    tangent_cost: float = TANGENT_COST,
    batch: int = 8,
    evaluate: Callable | None = None,
    log: str | Path | None = None,
    resume: bool = False,
    experiment: str | Mapping[str, str] = "",
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    **options: Any,
) -> Fit:
    """Minimise a function of a vector.

    Parameters
    ----------
    function
        A JAX function of a vector (n,) that returns a number, or a vector of residuals r: then the
        objective is |r|^2 / 2. If it is an Equinox module or a method of one, its arrays are
        arguments of the compiled program, so another problem of the same structure is not compiled
        again.
    start
        Where to begin (n,).
    method
        One of `METHODS`: optimisers of optax and SciPy, `lbfgs`, `gauss_newton`,
        `levenberg_marquardt`, those of jaxopt (`jaxopt_...`), the Kalman inversions `eki`, `etki`
        and `uki`, `nelder_mead`, `cma_es`; or an optimiser of optax.
    steps
        Iterations at most; generations of ensemble methods.
    learning_rate
        Of optimisers of optax given by name; a number or a schedule of optax.
    bounds
        Lower and upper bounds, numbers or vectors, for methods in `BOUNDED`.
    prior
        Add the standard normal prior of z: |z|^2 / 2 to the objective, z to the residuals.
    gradient_tolerance, relative_tolerance, patience
        Stop when the gradient norm is below the first, or when the value changed by less than the
        second of itself in `patience` iterations.
    key
        Random key of methods that draw numbers.
    budget
        Stop before the cost exceeds so many forward evaluations.
    gradient_cost, tangent_cost
        What a value and gradient, and a value and one tangent, count in forward evaluations.
    batch
        Members, or tangents, computed at once; fewer need less memory.
    evaluate
        Your own evaluation of an ensemble: (members, n) -> (members, datum) or (members,), NaN for
        members that failed.
    log
        A file to which every evaluation is written. With `resume` the evaluations it holds are
        taken from it: a fit that was killed ends where it would have ended.
    experiment
        Anything that must not change between a log and its resumption: a text, or texts by name.
    progress
        Called with the record of every evaluation.
    options
        Further options of the method, e.g. `members` and `spread` of ensembles, `memory_size` of
        `lbfgs`, `jacobian` of `gauss_newton`; `batches` of the optimisers of optax, a function from
        the number of a step to the function of its mini-batch.

    Raises
    ------
    ValueError
        If the method is unknown or has no bounds, the start is no vector, not finite or outside
        the bounds, the value there is not finite, residuals are needed and not given, or the log
        is damaged or belongs to another experiment.
    TypeError
        If the method has no such option.
    FileExistsError
        If there is a log and `resume` is False.
    RuntimeError
        If another process writes to the log.
    """
    dtype = jnp.result_type(float) if not isinstance(start, jax.Array) else start.dtype
    point = _start(start, dtype)
    name = method if isinstance(method, str) else "optax"
    run = _runner(method, learning_rate, dict(options))
    box = _bounds(bounds, point, name)
    if not isinstance(steps, int) or steps < 1 or batch < 1:
        raise ValueError(f"steps and batch must be whole numbers from 1; got {steps} and {batch}")
    if budget is not None and not budget > 0:
        raise ValueError(f"the budget must be positive, in forward evaluations; got {budget}")
    tolerances = Tolerances(gradient_tolerance, relative_tolerance, patience)
    written = None
    if log is not None:
        written = EvaluationLog(log, identify(
            version=package_version(), method=method, start=point, function=function,
            evaluate=evaluate, key=key, bounds=box, prior=prior, learning_rate=learning_rate,
            gradient_cost=gradient_cost, tangent_cost=tangent_cost, options=options) | (
                {"experiment": experiment} if isinstance(experiment, str) else dict(experiment)),
            resume=resume)  # fmt: skip
    evaluator = Evaluator(
        function, dtype, log=written, prior=prior, budget=budget, gradient_cost=gradient_cost,
        tangent_cost=tangent_cost, batch=batch, evaluate=evaluate, progress=progress)
    try:
        outcome = run(
            evaluator, point, bounds=box, key=key, steps=steps, tolerances=tolerances)
    except BudgetUsed:
        outcome = Outcome(False, f"the budget of {budget:g} forward evaluations is used up")
    finally:
        if written is not None:
            written.close()
    return _fit(name, evaluator, outcome, point)


def multi_start(function: Callable, starts: ArrayLike | Sequence, **arguments: Any) -> list[Fit]:
    """Minimise from several starts (starts, n); return the fits, the best first.

    Takes the arguments of `minimise`; a `log` gets the number of the start before its ending. A
    start whose value is not finite is left out.

    Raises
    ------
    ValueError
        If no start has a finite value, and as `minimise`.
    """
    points = jnp.atleast_2d(jnp.asarray(starts))
    log = arguments.pop("log", None)
    fits, errors = [], []
    for number, start in enumerate(points):
        own = None if log is None else Path(log).with_suffix(f".{number}{Path(log).suffix}")
        try:
            fits.append(minimise(function, start, log=own, **arguments))
        except NotFinite as error:
            errors.append(str(error))
    if not fits:
        raise ValueError(f"none of {len(points)} starts has a finite value: {errors[0]}")
    return sorted(fits, key=lambda fit: fit.value)


def _start(start: ArrayLike | Sequence, dtype: Any) -> np.ndarray:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"the start is a vector of real numbers; got {dtype}")
    point = np.asarray(np.asarray(start, dtype), float)
    if point.ndim != 1 or point.size == 0 or not np.isfinite(point).all():
        raise ValueError(
            f"the start is a vector (n,) of finite numbers; got shape {point.shape}: {point}")
    return point


def _bounds(
    bounds: tuple[ArrayLike | Sequence, ArrayLike | Sequence] | None, start: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray] | None:
    if bounds is None:
        return None
    if name not in BOUNDED:
        raise ValueError(
            f"{name} has no bounds; leave them out, or take one of {', '.join(BOUNDED)}")
    lower, upper = (np.broadcast_to(np.asarray(b, float), start.shape) for b in bounds)
    outside = np.flatnonzero((start < lower) | (start > upper) | (lower >= upper))
    if outside.size:
        i = int(outside[0])
        raise ValueError(
            f"component {i} of the start must lie within its bounds: {lower[i]:g} <= {start[i]:g} "
            f"<= {upper[i]:g} does not hold")
    return lower, upper


def _runner(method: Any, learning_rate: float | Callable, options: dict[str, Any]) -> Callable:
    """Return the method as a function of evaluator, start, bounds, key, steps and tolerances."""
    if not isinstance(method, str):
        if not hasattr(method, "init") or not hasattr(method, "update"):
            raise ValueError(f"method is a name or an optimiser of optax; got {method!r}")
        return _without(("bounds", "key"), partial(descend, transformation=method, **options))
    if method in OPTAX:
        own = {name: options.pop(name) for name in ("batches",) if name in options}
        chosen = named_transformation(method, learning_rate, tuple(sorted(options.items())))
        return _without(("bounds", "key"), partial(descend, transformation=chosen, **own))
    if method not in OWN:
        close = get_close_matches(method, METHODS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown method {method!r}; {hint}available: {', '.join(METHODS)}")
    chosen = OWN[method]
    known = set(signature(chosen).parameters) - {
        "evaluator", "start", "steps", "tolerances", "bounds", "key", "options"}
    known -= set(chosen.keywords if isinstance(chosen, partial) else ())
    free = "options" in signature(chosen).parameters
    unknown = [name for name in options if name not in known]
    if unknown and not free:
        raise TypeError(
            f"{method} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    unused = [name for name in ("bounds", "key") if name not in signature(chosen).parameters]
    return _without(unused, partial(chosen, **options))


def _without(unused: Sequence[str], method: Callable) -> Callable:
    """Return a method that is not given some arguments."""
    return lambda *arguments, **options: method(*arguments, **{
        name: value for name, value in options.items() if name not in unused})  # fmt: skip


def _fit(name: str, evaluator: Evaluator, outcome: Outcome, start: np.ndarray) -> Fit:
    if evaluator.best is None:
        raise NotFinite(
            f"no value is finite around the start {start.tolist()}, or the budget is smaller than "
            "one evaluation; start elsewhere, or shorten the window")
    best = evaluator.best if outcome.best is None else outcome.best
    value = evaluator.lowest if outcome.value is None else outcome.value
    return Fit(
        best=best, value=float(value), history=history_table(evaluator.rows, start.size),
        method=name, converged=outcome.converged, message=outcome.message,
        covariance=outcome.covariance, cost=evaluator.cost, compilations=evaluator.compilations,
        ensemble=outcome.ensemble)
