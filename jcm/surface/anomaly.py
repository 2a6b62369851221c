"""Observed anomalies of sea surface temperature at a date.

Records are monthly means; a month without record has no anomaly. The calendar rule joins the
months of the date by straight lines. The original rule is that of the public code of SPEEDY,
with its window of three months that is renewed at every step of the first day of a month, always
from records of the year in which the run began.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jcm.phases import YearPhase, month_number
from jcm.surface.boundary import linear_interpolation

#: Index of the current month in a window of last, current and next month.
CURRENT = 1


def record_of_month(
    records: Float[Array, "record *grid"], first: Int[Array, ""] | int, month: Int[Array, ""] | int
) -> Float[Array, "*grid"]:
    """Return the record of a month, zero where there is none.

    Parameters
    ----------
    records
        Consecutive monthly means [K].
    first, month
        Month of the first record, and the month sought, both as `jcm.phases.month_number`.
    """
    count = len(records)
    if count == 0:
        return jnp.zeros(records.shape[1:], records.dtype)
    index = jnp.asarray(month - first)
    record = jnp.take(records, jnp.clip(index, 0, count - 1), axis=0, mode="clip")
    return jnp.where((index >= 0) & (index < count), record, 0)


def anomaly_window(
    records: Float[Array, "record *grid"], first: Int[Array, ""] | int, month: Int[Array, ""] | int
) -> Float[Array, "3 *grid"]:
    """Return the records of the month before, of the month, and of the month after.

    Parameters
    ----------
    records
        Consecutive monthly means [K].
    first, month
        Month of the first record, and the current month, both as `jcm.phases.month_number`.
    """
    return jnp.stack([record_of_month(records, first, month + k) for k in (-1, 0, 1)])


def anomaly_from_window(
    window: Float[Array, "3 *grid"], month_fraction: Float[Array, ""]
) -> Float[Array, "*grid"]:
    """Return the anomaly at a date from the window around its month [K].

    Parameters
    ----------
    window
        Anomalies of the month before, of the month, and of the month after [K].
    month_fraction
        Share of the month that has passed [1].
    """
    return linear_interpolation(window, jnp.asarray(CURRENT), month_fraction)


def anomaly_of_date(
    records: Float[Array, "record *grid"], first: Int[Array, ""] | int, phase: YearPhase
) -> Float[Array, "*grid"]:
    """Return the anomaly at a date from the records around it [K].

    Parameters
    ----------
    records
        Consecutive monthly means [K].
    first
        Month of the first record as `jcm.phases.month_number`.
    phase
        Date as `jcm.phases.year_phase`.
    """
    window = anomaly_window(records, first, month_number(phase.year, phase.month))
    return anomaly_from_window(window, phase.month_fraction)


def original_anomaly_window(
    window: Float[Array, "3 *grid"],
    records: Float[Array, "record *grid"],
    first: Int[Array, ""] | int,
    start_year: Int[Array, ""] | int,
    phase: YearPhase,
) -> Float[Array, "3 *grid"]:
    """Return the window of the public code of SPEEDY after one call.

    On the first day of a month, every call shifts the window by one month and appends the
    current month of the start year. From the third call of that day on all three are equal, and
    the anomaly is constant within the month; the anomalies of the start year come again each year.

    Parameters
    ----------
    window
        Window before the call; at the start of a run `anomaly_window` of the first month [K].
    records
        Consecutive monthly means [K].
    first
        Month of the first record as `jcm.phases.month_number`.
    start_year
        Year in which the run began.
    phase
        Date of the call as `jcm.phases.year_phase`.
    """
    appended = record_of_month(records, first, month_number(start_year, phase.month))
    shifted = jnp.concatenate([window[1:], appended[None]])
    return jnp.where(phase.day == 1, shifted, window)
