"""Evaluations of a function of a vector: compiled once, counted, logged, replayed.

All methods of `minimise` ask an `Evaluator` for values, gradients and Jacobians, from plain Python;
it is the one place that knows what they cost and where they are written.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jcm_calibrate.jacobian import values_and_columns
from jcm_calibrate.optimisers.evaluation_log import EvaluationLog, decode, encode

#: Cost of a value and gradient, and of a value and one tangent, in forward evaluations of the model
#: (`studies/derivative_cost`).
GRADIENT_COST, TANGENT_COST = 3.6, 1.9
#: Relative difference of the first value, computed anew, from the log that is resumed. Rounding in
#: single precision over a day's run stays below; another problem does not.
REPRODUCED = 1e-3

_traces = 0


class BudgetUsed(Exception):
    """The next evaluation would cost more than what is left."""


class NotFinite(ValueError):
    """The objective, or its gradient, at the start is not finite."""


class Evaluator:
    """Evaluates one function for one fit.

    Parameters
    ----------
    function
        From a vector (n,) to a number or a vector of residuals r; the objective is then |r|^2 / 2.
    log
        Where evaluations are written and, if it holds some, taken from.
    prior
        Whether |z|^2 / 2 is added to the objective (z to the residuals).
    budget
        Largest total cost, in forward evaluations.
    batch
        Members, or tangents, computed at once.
    evaluate
        The caller's own evaluation of an ensemble, (members, n) -> (members, datum) or (members,).
    progress
        Called with the record of every new evaluation.
    """

    def __init__(
        self,
        function: Callable,
        dtype: Any,
        *,
        log: EvaluationLog | None = None,
        prior: bool = False,
        budget: float | None = None,
        gradient_cost: float = GRADIENT_COST,
        tangent_cost: float = TANGENT_COST,
        batch: int = 8,
        evaluate: Callable | None = None,
        progress: Callable[[Mapping[str, Any]], None] | None = None,
    ):
        self.function, self.dtype, self.log, self.prior = function, dtype, log, prior
        self.budget = np.inf if budget is None else budget
        self.gradient_cost, self.tangent_cost = gradient_cost, tangent_cost
        self.batch, self.evaluate, self.progress = batch, evaluate, progress
        self.cost = 0.0
        self.rows: list[dict[str, Any]] = []
        self.best: np.ndarray | None = None
        self.lowest = np.inf
        self._chunk: int | None = None
        self._first: Callable = function
        self._checked = log is None or len(log) == 0
        self._traces = _traces

    @property
    def compilations(self) -> int:
        """How often a function was traced and compiled since this evaluator was made."""
        return _traces - self._traces

    def value(self, z: np.ndarray) -> float:
        """Return the objective."""
        result = self._one("value", z, 1.0, lambda: {"value": _value(*self._arguments(z))})
        return float(result["value"])

    def value_and_gradient(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective and its gradient (n,)."""
        def compute():
            value, gradient = _value_and_gradient(*self._arguments(z))
            return {"value": value, "gradient": gradient}

        result = self._one("value_and_gradient", z, self.gradient_cost, compute)
        return float(result["value"]), result["gradient"]

    def residuals(self, z: np.ndarray) -> np.ndarray:
        """Return the residuals (datum,)."""
        result = self._one(
            "residuals", z, 1.0, lambda: {"residuals": _residuals(*self._arguments(z))})
        return result["residuals"]

    def jacobian(self, z: np.ndarray, *, reduced: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals and Jacobian (datum, n) by forward mode.

        `batch` tangents share a forward run, so a batch of k costs 1 + k (tangent_cost - 1).
        Reduced ones, see `reduce_rows`, need little room in the log.
        """
        chunks = -(-z.size // self.batch)

        def compute():
            residuals, jacobian = _jacobian(*self._arguments(z), self.batch)
            if reduced:
                residuals, jacobian = reduce_rows(np.asarray(residuals), np.asarray(jacobian))
            return {"residuals": residuals, "jacobian": jacobian}

        cost = chunks + z.size * (self.tangent_cost - 1)
        result = self._one("jacobian", z, cost, compute)
        return result["residuals"], result["jacobian"]

    def members(self, ensemble: np.ndarray, *, residuals: bool = True) -> np.ndarray:
        """Return the residuals (members, datum), or objectives (members,), of an ensemble."""
        name = "residuals" if residuals else "value"
        self._afford(float(len(ensemble)))
        first = len(self.rows)
        logged = [self._logged(first + i, "member", z) for i, z in enumerate(ensemble)]
        results = [record["result"] for record in logged if record is not None]
        missing = len(ensemble) - len(results)
        if missing:
            self._check_log()
            begin = time.perf_counter()
            computed = np.asarray(self._ensemble(ensemble, residuals))
            seconds = (time.perf_counter() - begin) / len(ensemble)
            results = [decode(text) for text in results]
            results += [{name: np.asarray(row)} for row in computed[len(results):]]
        else:
            seconds, results = 0.0, [decode(text) for text in results]
        rows = [self._row("member", z, result, 1.0, seconds, i)
                for i, (z, result) in enumerate(zip(ensemble, results, strict=True))]  # fmt: skip
        for row, record in zip(rows, logged, strict=True):
            if record is not None:
                row["seconds"] = record["seconds"]
        self._keep(rows, results, missing)
        return np.stack([result[name] for result in results])

    def _ensemble(self, ensemble: np.ndarray, residuals: bool) -> Any:
        if self.evaluate is None:
            return self._in_chunks(ensemble, residuals)
        given = np.asarray(self.evaluate(ensemble))
        if given.shape[0] != len(ensemble) or given.ndim not in (1, 2):
            raise ValueError(
                f"evaluate returns one row of residuals, or one number, per member; expected "
                f"({len(ensemble)}, ...), got {given.shape}")
        if given.ndim == 1 and residuals:
            raise ValueError(
                "evaluate returned one number per member, but this method needs residuals")
        if given.ndim == 2:
            given = np.concatenate([given, ensemble], axis=1) if self.prior else given
            return given if residuals else 0.5 * (given**2).sum(axis=1)
        return given + 0.5 * (ensemble**2).sum(axis=1) * self.prior

    def _in_chunks(self, ensemble: np.ndarray, residuals: bool) -> np.ndarray:
        """Evaluate in chunks of one size, the last filled up, so that one program serves all."""
        if self._chunk is None:
            self._chunk = -(-len(ensemble) // -(-len(ensemble) // self.batch))
        chunks = -(-len(ensemble) // self._chunk)
        filled = np.concatenate([ensemble, np.broadcast_to(
            ensemble[-1], (chunks * self._chunk - len(ensemble), ensemble.shape[1]))])
        results = [
            np.asarray(_members(
                self.function, jnp.asarray(part, self.dtype), self.prior, residuals))
            for part in np.split(filled, chunks)]
        return np.concatenate(results)[: len(ensemble)]

    def _arguments(self, z: np.ndarray) -> tuple[Any, Any, bool]:
        return self.function, jnp.asarray(z, self.dtype), self.prior

    def _one(
        self, kind: str, z: np.ndarray, cost: float, compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, np.ndarray]:
        """Take a result from the log, or compute and write it."""
        self._afford(cost)
        if not self.rows:
            self._first = self.function
        record = self._logged(len(self.rows), kind, z)
        if record is not None:
            result, seconds = decode(record["result"]), record["seconds"]
        else:
            self._check_log()
            begin = time.perf_counter()
            result = {name: np.asarray(array) for name, array in compute().items()}
            seconds = time.perf_counter() - begin
        row = self._row(kind, z, result, cost, seconds)
        self._keep([row], [result], int(record is None))
        if row["evaluation"] == 0:
            _refuse_nonfinite(row, result)
        return result

    def _afford(self, cost: float) -> None:
        if self.cost + cost > self.budget * (1 + 1e-12):
            raise BudgetUsed

    def _logged(self, number: int, kind: str, z: np.ndarray) -> dict[str, Any] | None:
        if self.log is None or number >= len(self.log):
            return None
        record = self.log.records[number]
        if record["kind"] != kind or not np.array_equal(np.asarray(record["iterate"]), z):
            raise ValueError(
                f"evaluation {number} of {self.log.path} is a {record['kind']} at "
                f"{record['iterate']}, but this fit asks for a {kind} at {z.tolist()}; the log "
                "belongs to another experiment: start a new log")
        return record

    def _check_log(self) -> None:
        """Compute the first logged value anew before anything is added to a log."""
        if self._checked or self.log is None:
            return
        self._checked = True
        record = self.log.records[0]
        if self.evaluate is not None or record["value"] is None:
            return
        _, z, prior = self._arguments(np.asarray(record["iterate"]))
        now = float(_value(self._first, z, prior))
        if not abs(now - record["value"]) <= REPRODUCED * max(abs(record["value"]), 1e-30):
            raise ValueError(
                f"the function is not the one of {self.log.path}: its first value was "
                f"{record['value']:.8g} and is now {now:.8g}; resume with the same model and "
                "data, or start a new log")

    def _row(
        self, kind: str, z: np.ndarray, result: Mapping[str, np.ndarray], cost: float,
        seconds: float, ahead: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        gradient = result.get("gradient")
        with np.errstate(over="ignore", invalid="ignore"):  # a step may have gone far
            if "value" in result:
                value = float(result["value"])
            else:
                value = 0.5 * float(np.sum(np.asarray(result["residuals"], float) ** 2))
            if "jacobian" in result:
                gradient = result["jacobian"].T @ result["residuals"]
            norm = np.nan if gradient is None else float(np.linalg.norm(gradient))
        return {
            "evaluation": len(self.rows) + ahead, "kind": kind, "iterate": np.asarray(z, float),
            "value": value, "gradient_norm": norm, "cost": self.cost + cost * (1 + ahead),
            "seconds": seconds}  # fmt: skip

    def _keep(self, rows: list[dict], results: list, new: int) -> None:
        """Write new rows to the log, remember all."""
        fresh = rows[len(rows) - new:]
        if self.log is not None and fresh:
            self.log.append([
                row | {"iterate": row["iterate"].tolist(), "value": _number(row["value"]),
                       "gradient_norm": _number(row["gradient_norm"]), "result": encode(result)}
                for row, result in zip(fresh, results[len(rows) - new:], strict=True)])  # fmt: skip
        for row in rows:
            self.rows.append(row)
            self.cost = row["cost"]
            if np.isfinite(row["value"]) and row["value"] < self.lowest:
                self.best, self.lowest = row["iterate"], row["value"]
            if self.progress is not None:
                self.progress(row)


def _refuse_nonfinite(row: Mapping[str, Any], result: Mapping[str, np.ndarray]) -> None:
    """Refuse a start from which no method can go anywhere."""
    start = row["iterate"].tolist()
    if not np.isfinite(row["value"]):
        raise NotFinite(
            f"the value at the start {start} is not finite; start elsewhere, shorten the window, "
            "or check the observations for missing values")
    gradient = result.get("gradient")
    if gradient is not None and not np.isfinite(gradient).all():
        raise NotFinite(
            f"the gradient at the start {start} is not finite, {gradient.tolist()}, though the "
            "value is; shorten the window, or use a model with smooth switches")


def rounding(value: float, evaluator: Evaluator) -> float:
    """Return the difference of values that means nothing in the precision of a function."""
    return 4 * float(jnp.finfo(evaluator.dtype).eps) * abs(value)


def reduce_rows(r: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return n + 1 rows with the same |r|, J'r and J'J as many: the triangle of a QR factorisation.

    Not finite columns of J become zero: nothing is known along them.
    """
    r, j = r.astype(float), np.where(np.isfinite(j).all(axis=0), j, 0.0).astype(float)
    if len(r) <= j.shape[1] + 1 or not np.isfinite(r).all():
        return r, j
    triangle = np.asarray(np.linalg.qr(np.concatenate([j, r[:, None]], axis=1), mode="r"))
    return triangle[:, -1], triangle[:, :-1]


def _number(value: float) -> float | None:
    """Return a number as JSON knows it."""
    return value if np.isfinite(value) else None


def objective(function: Callable, z: Any, prior: bool) -> Any:
    """Return a number: the function itself, or half the squared norm of its residuals."""
    result = _checked(function(z))
    value = result if result.ndim == 0 else 0.5 * jnp.sum(result**2)
    return value + 0.5 * jnp.sum(z**2) if prior else value


def residual_vector(function: Callable, z: Any, prior: bool) -> Any:
    """Return the residuals, with z below them if the prior counts."""
    result = _checked(function(z))
    if result.ndim == 0:
        raise ValueError(
            "this method needs residuals: a function of a vector that returns a vector r, with the "
            "objective |r|^2 / 2; this one returns a number. Use a gradient or a "
            "derivative-free method")
    return jnp.concatenate([result, z]) if prior else result


def _checked(result: Any) -> Any:
    result = jnp.asarray(result)
    if result.ndim > 1 or not jnp.issubdtype(result.dtype, jnp.floating):
        raise ValueError(
            "the function to minimise returns one real number or a vector of residuals; got "
            f"shape {result.shape} of {result.dtype}")
    return result


def _count() -> None:
    global _traces
    _traces += 1


@eqx.filter_jit
def _value(function, z, prior):
    _count()
    return objective(function, z, prior)


@eqx.filter_jit
def _value_and_gradient(function, z, prior):
    _count()
    return jax.value_and_grad(lambda x: objective(function, x, prior))(z)


@eqx.filter_jit
def _residuals(function, z, prior):
    _count()
    return residual_vector(function, z, prior)


@eqx.filter_jit
def _jacobian(function, z, prior, batch):
    _count()
    return values_and_columns(lambda x: residual_vector(function, x, prior), z, batch)


@eqx.filter_jit
def _members(function, ensemble, prior, residuals):
    _count()
    kind = residual_vector if residuals else objective
    return jax.vmap(lambda z: kind(function, z, prior))(ensemble)
