"""Periods of observations: which outputs of a run they are means over.

An output stands for the time since the one before it. Its weight in a month or a season is the
number of its days that lie inside, so seasons weigh their months with the lengths of these.
"""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.calendar import parse_date

Kind = Literal["each", "mean", "months", "seasons"]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Seasons and their months, 1 to 12; ANN is the whole year.
SEASONS = {
    "DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11),
    "ANN": tuple(range(1, 13)),
}  # fmt: skip
#: A month counts as covered by a run from this share of its days on.
COVERED = 0.9
_EPOCH = np.datetime64("1970-01-01", "D")


class Periods(eqx.Module):
    """How outputs become periods; made by `make_periods`."""

    #: Weight of each output in each period, rows of sum 1; None for `each` and `mean`.
    weights: Float[Array, "period output"] | None
    labels: tuple[str, ...] = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)

    def count(self, outputs: int) -> int:
        """Return the number of periods of a run with so many outputs."""
        return {"each": outputs, "mean": 1}.get(self.kind, len(self.labels))

    def label(self, period: int) -> str:
        """Return what a period is called."""
        return f"output {period + 1}" if self.kind == "each" else self.labels[period]

    def mean(self, x: Float[Array, "output *rest"]) -> Float[Array, "period *rest"]:
        """Return the mean over the outputs of each period.

        Raises
        ------
        ValueError
            If the number of outputs is not the one the weights were made for.
        """
        if self.kind == "each":
            return x
        if self.kind == "mean":
            return jnp.mean(x, axis=0, keepdims=True)
        assert self.weights is not None
        if self.weights.shape[1] != x.shape[0]:
            raise ValueError(
                f"the observations belong to a run with {self.weights.shape[1]} outputs, got "
                f"{x.shape[0]}; make them for this run or run as many days as they need")
        return jnp.tensordot(self.weights.astype(x.dtype), x, axes=1)


def make_periods(
    kind: str,
    *,
    chosen: Sequence[str | int] | None = None,
    start: str | Sequence[str] | None = None,
    every: float = 1.0,
    count: int | None = None,
) -> Periods:
    """Return how the outputs of a run become periods.

    Parameters
    ----------
    kind
        `each` output, the `mean` over all of them, calendar `months`, or `seasons`.
    chosen
        Months (1 to 12) or seasons (DJF, MAM, JJA, SON, ANN) wanted; default all that exist,
        without ANN.
    start
        First day of the run, or of each window, YYYY-MM-DD; for months and seasons.
    every, count
        Days between outputs, and number of outputs of one window; for months and seasons.

    Raises
    ------
    ValueError
        If the kind is unknown, a name is no month or season, or the run does not cover one.
    """
    if kind in ("each", "mean"):
        return Periods(None, ("all",), kind)
    if kind not in ("months", "seasons"):
        raise ValueError(
            f"periods are 'each', 'mean', 'months' or 'seasons'; got {kind!r}")
    if start is None or count is None:
        raise ValueError(
            f"periods={kind!r} needs the start date of the run and the number of its outputs: "
            "start='2000-01-01', every=1.0, count=366")
    labels, months = zip(*_months_of(kind, chosen), strict=True)
    starts = [start] if isinstance(start, str) else list(start)
    days = _days_in_months(starts, every, count)
    _check_covered(labels, months, days, starts, every * count)
    weights = np.stack([days[[month - 1 for month in wanted]].sum(axis=0) for wanted in months])
    weights /= weights.sum(axis=1, keepdims=True)
    return Periods(jnp.asarray(weights, jnp.result_type(float)), labels, kind)


def _months_of(kind: str, chosen: Sequence[str | int] | None) -> list[tuple[str, tuple]]:
    """Return label and months of each period wanted."""
    if kind == "seasons":
        wanted = list(SEASONS)[:4] if chosen is None else list(chosen)
        for name in wanted:
            if name not in SEASONS:
                raise ValueError(f"unknown season {name!r}; available: {', '.join(SEASONS)}")
        return [(str(name), SEASONS[str(name)]) for name in wanted]
    wanted = list(range(1, 13)) if chosen is None else list(chosen)
    numbers = [MONTHS.index(m) + 1 if m in MONTHS else m for m in wanted]
    for number in numbers:
        if number not in range(1, 13):
            raise ValueError(f"months are 1 to 12 or {', '.join(MONTHS)}; got {number!r}")
    return [(MONTHS[int(number) - 1], (int(number),)) for number in numbers]


def _days_in_months(starts: list[str], every: float, count: int) -> np.ndarray:
    """Return how many days of each output lie in each calendar month; (12, outputs)."""
    parts = []
    for start in starts:
        edges = parse_date(start) + np.arange(count + 1) * every
        first, last = ((_EPOCH + int(np.floor(x))).astype("datetime64[M]")
                       for x in (edges[0], edges[-1]))  # fmt: skip
        bounds = np.arange(first, last + 2)
        begins = (bounds.astype("datetime64[D]") - _EPOCH).astype(float)
        overlap = (np.minimum(edges[None, 1:], begins[1:, None])
                   - np.maximum(edges[None, :-1], begins[:-1, None]))  # fmt: skip
        table = np.zeros((12, count))
        np.add.at(table, bounds[:-1].astype(int) % 12, np.maximum(overlap, 0))
        parts.append(table)
    return np.concatenate(parts, axis=1)


def _check_covered(
    labels: Sequence[str], months: Sequence[tuple], days: np.ndarray, starts: list[str],
    length: float,
) -> None:
    """Refuse periods of which the run covers no whole month."""
    total = days.sum(axis=1)
    for label, wanted in zip(labels, months, strict=True):
        absent = [MONTHS[m - 1] for m in wanted if total[m - 1] < COVERED * 28]
        if absent:
            raise ValueError(
                f"the window ends before the data: the observations of {label} need "
                f"{', '.join(absent)}, but the run covers {length:g} days from "
                f"{', '.join(starts[:3])}; run longer, start elsewhere, or choose other periods")
