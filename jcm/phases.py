"""The date of a day, and the phases of year and month, in the proleptic Gregorian calendar.

A date is a number of days since 1970-01-01. Everything works on traced integers, so another start
date compiles nothing again. The conversion is that of H. Hinnant (2013), chrono-compatible
low-level date algorithms: years are counted from 1 March, which makes the leap day the last of its
year. The phases follow Molteni, F. (2003), Clim. Dyn., 20, 175-191, and the public code of SPEEDY;
they are constant within each day.
"""

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jcm.calendar import DAYS_BEFORE, DAYS_IN_MONTH

#: Days in 400, 100 and 4 years, and from 0000-03-01 to 1970-01-01.
DAYS_400, DAYS_100, DAYS_4 = 146097, 36524, 1460
MARCH_0000 = 719468


class Date(eqx.Module):
    """Year, month (1 to 12) and day of the month (from 1)."""

    year: Int[Array, "*shape"]
    month: Int[Array, "*shape"]
    day: Int[Array, "*shape"]


class YearPhase(eqx.Module):
    """Where in the year and in the month a day is."""

    #: Month, 0 to 11.
    month: Int[Array, "*shape"]
    #: Share of the month that has passed at noon [1].
    month_fraction: Float[Array, "*shape"]
    #: Share of the year that has passed at noon [1].
    year_fraction: Float[Array, "*shape"]
    year: Int[Array, "*shape"]
    #: Day of the month, from 1.
    day: Int[Array, "*shape"]


def date_of(days: Int[Array, "*shape"]) -> Date:
    """Return the date of a number of days since 1970-01-01."""
    days = jnp.asarray(days) + MARCH_0000
    era = days // DAYS_400
    day_of_era = days - era * DAYS_400
    year_of_era = (
        day_of_era
        - day_of_era // DAYS_4
        + day_of_era // DAYS_100
        - day_of_era // (DAYS_400 - 1)
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    # Months from March have 31, 30, 31, 30, 31 days, 153 in five of them.
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = jnp.where(month_from_march < 10, month_from_march + 3, month_from_march - 9)
    year = year_of_era + era * 400 + (month <= 2)
    return Date(year, month, day)


def is_leap_year(year: Int[Array, "*shape"]) -> Array:
    """Return whether the year has a 29 February."""
    return (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))


def month_number(
    year: Int[Array, "*shape"] | int, month: Int[Array, "*shape"] | int
) -> Int[Array, "*shape"] | int:
    """Return the number of months since January of year 0; `month` is 0 to 11."""
    return 12 * year + month


def year_phase(
    days: Int[Array, "*shape"], *, original: bool, dtype: DTypeLike = float
) -> YearPhase:
    """Return the phase of the year and of the month at noon of a day.

    Parameters
    ----------
    days
        Days since 1970-01-01.
    original
        With True, as the public code of SPEEDY: February has 28 days and the year 365 in the
        fractions, so that on 29 February the fraction of the month is 28.5/28 and the fraction
        of the year that of 1 March. With False, the true lengths of month and year.
    dtype
        Type of the fractions.
    """
    date = date_of(days)
    month = date.month - 1
    before = jnp.asarray(DAYS_BEFORE)[month]
    in_month = jnp.asarray(DAYS_IN_MONTH)[month]
    in_year = jnp.full_like(before, 365)
    if not original:
        leap = is_leap_year(date.year)
        before = before + (leap & (month > 1))
        in_month = in_month + (leap & (month == 1))
        in_year = in_year + leap
    day = date.day.astype(dtype) - 0.5
    return YearPhase(
        month=month,
        month_fraction=day / in_month.astype(dtype),
        year_fraction=(before.astype(dtype) + day) / in_year.astype(dtype),
        year=date.year,
        day=date.day,
    )
