"""Dates in the proleptic Gregorian calendar as text, and the lengths of months.

A date is a number of days since 1970-01-01; `jcm.phases` has what a run needs of it.
"""

import datetime
import re

EPOCH = datetime.date(1970, 1, 1)
#: Days before the month, and in it, of a year without leap day.
DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_date(text: str) -> int:
    """Return the days since 1970-01-01 of a date written as YYYY-MM-DD.

    Raises
    ------
    ValueError
        If the text has another form or the calendar no such day.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, flags=re.ASCII):
        raise ValueError(f"a date is written YYYY-MM-DD, for example 1982-01-31; got {text!r}")
    try:
        return (datetime.date.fromisoformat(text) - EPOCH).days
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date of the Gregorian calendar: {error}") from error


def format_date(days: int) -> str:
    """Return the date of a number of days since 1970-01-01 as YYYY-MM-DD.

    Raises
    ------
    ValueError
        If the date is outside the years 1 to 9999.
    """
    try:
        return (EPOCH + datetime.timedelta(days=int(days))).isoformat()
    except OverflowError as error:
        raise ValueError(f"{days} days since 1970-01-01 is outside years 1 to 9999") from error
