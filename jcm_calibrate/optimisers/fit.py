"""What a minimisation returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Fit:
    """The result of `minimise`.

    The unit of cost is one forward evaluation of the function.
    """

    #: The vector found: the iterate of lowest value; for Kalman methods the ensemble mean (n,).
    best: np.ndarray
    #: The objective there.
    value: float
    #: One record per evaluation: evaluation, kind, iterate (n,), value, gradient_norm (NaN where
    #: none was computed), cost (cumulated) and seconds (of this evaluation).
    history: np.ndarray
    #: The name of the method.
    method: str
    #: Whether a stopping rule of the method was met, rather than steps or budget used up.
    converged: bool
    #: Why it stopped.
    message: str
    #: The approximate posterior covariance, where the method gives one (n, n).
    covariance: np.ndarray | None
    #: Cost of all evaluations, in forward evaluations.
    cost: float
    #: How often the function was compiled by this call.
    compilations: int
    #: The final ensemble of a Kalman method (members, n).
    ensemble: np.ndarray | None = None

    def __str__(self) -> str:
        """Return the outcome on one line."""
        found = "converged" if self.converged else "not converged"
        return (f"{self.method}: value {self.value:.6g} at cost {self.cost:.1f} after "
                f"{len(self.history)} evaluations, {found}: {self.message}")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a method hands to `minimise`: why it stopped, and what the evaluations do not tell."""

    converged: bool
    message: str
    best: np.ndarray | None = None
    value: float | None = None
    covariance: np.ndarray | None = None
    ensemble: np.ndarray | None = None


def history_table(rows: list[dict[str, Any]], size: int) -> np.ndarray:
    """Return records of evaluations as a structured array."""
    kind = np.dtype([
        ("evaluation", int), ("kind", "U24"), ("iterate", float, (size,)), ("value", float),
        ("gradient_norm", float), ("cost", float), ("seconds", float)])  # fmt: skip
    return np.array([tuple(row[name] for name in kind.names or ()) for row in rows], dtype=kind)
