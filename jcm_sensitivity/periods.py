"""Periods of a run over which targets are means: all of it, its last days, or between two times."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

#: Periods end at outputs; difference that counts as rounding [days].
SAME_TIME = 1e-6


class Days(NamedTuple):
    """A part of a run; made by `last` or `between`, or `ALL`."""

    #: Beginning and end in days since the start of the run; from its end if negative or None.
    begin: float
    end: float | None

    @property
    def description(self) -> str:
        """The period in words."""
        if self == ALL:
            return "the whole run"
        if self.end is None:
            return "the last day" if self.begin == -1 else f"the last {-self.begin:g} days"
        return f"days {self.begin:g} to {self.end:g}"

    def limits(self, length: float) -> tuple[float, float]:
        """Return beginning and end in a run of this length [days].

        Raises
        ------
        ValueError
            If the run is too short.
        """
        begin = length + self.begin if self.begin < 0 else self.begin
        end = length if self.end is None else self.end
        if begin < -SAME_TIME or end > length + SAME_TIME:
            raise ValueError(
                f"the target is a mean over {self.description}, but the run has {length:g} days; "
                "make the run longer or the period shorter")
        return begin, end

    def weights(self, count: int, every: float, average: bool) -> Float[np.ndarray, "outputs"]:
        """Return the weight of each output of a run, sum 1.

        Parameters
        ----------
        count, every, average
            Number of outputs, days between them, and whether they are means over that time.

        Raises
        ------
        ValueError
            If the period is outside the run, cuts a mean in two or holds no output.
        """
        begin, end = self.limits(count * every)
        edges = np.arange(count + 1) * every
        if average and any(np.abs(edges - x).min() > SAME_TIME for x in (begin, end)):
            raise ValueError(
                f"{self.description} ({begin:g} to {end:g}) cut a mean of {every:g} days in two; "
                "choose a smaller interval of output, `every`")
        inside = (edges[1:] > begin + SAME_TIME) & (edges[1:] <= end + SAME_TIME)
        if not inside.any():
            raise ValueError(
                f"no output lies in {self.description} ({begin:g} to {end:g}); outputs come every "
                f"{every:g} days")
        return inside / inside.sum()


#: The whole run.
ALL = Days(0.0, None)


def last(days: float | int) -> Days:
    """Return the last days of a run.

    Raises
    ------
    ValueError
        If the number is not positive.
    """
    if not 0 < days < np.inf:
        raise ValueError(f"the length of a period must be positive; got {days} days")
    return Days(-float(days), None)


def between(begin: float | int, end: float | int) -> Days:
    """Return the period between two times in days since the start of a run.

    Raises
    ------
    ValueError
        If it is empty or begins before the run.
    """
    if not 0 <= begin < end < np.inf:
        raise ValueError(
            f"a period begins at 0 or later and ends after it begins; got {begin} to {end} days")
    return Days(float(begin), float(end))
