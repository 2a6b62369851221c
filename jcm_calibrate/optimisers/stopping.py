"""When a minimisation has arrived."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerances:
    """Stopping rules of iterative methods.

    A fit has converged when the gradient norm falls below `gradient`, or when the value has changed
    by less than `relative` times itself in each of `patience` successive iterations.
    """

    gradient: float = 1e-6
    relative: float = 1e-8
    patience: int = 3


class Watch:
    """Follows an iteration and says when a rule is met."""

    def __init__(self, tolerances: Tolerances):
        self.tolerances = tolerances
        self._last = np.inf
        self._idle = 0

    def reason(self, value: float, gradient_norm: float = np.inf) -> str | None:
        """Return which rule is met after one more iteration, None if none is."""
        rules = self.tolerances
        if gradient_norm <= rules.gradient:
            return f"the gradient norm {gradient_norm:.2g} is below {rules.gradient:.2g}"
        small = abs(self._last - value) <= rules.relative * abs(value)
        self._idle = self._idle + 1 if small else 0
        self._last = value
        if self._idle >= rules.patience:
            return (f"the value changed by less than {rules.relative:.2g} of itself in "
                    f"{rules.patience} iterations")  # fmt: skip
        return None
