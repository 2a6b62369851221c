"""Tests of dates and phases."""

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcm.calendar import DAYS_BEFORE, DAYS_IN_MONTH, format_date, parse_date
from jcm.phases import date_of, is_leap_year, month_number, year_phase


def phase(text, original=True, dtype=float):
    return year_phase(jnp.asarray(parse_date(text)), original=original, dtype=dtype)


def test_dates_agree_with_the_standard_library_for_400_years():
    days = np.arange(-70 * 366, 330 * 366)
    date = jax.jit(date_of)(jnp.asarray(days))
    dates = [datetime.date(1970, 1, 1) + datetime.timedelta(int(day)) for day in days]
    np.testing.assert_array_equal(date.year, [d.year for d in dates])
    np.testing.assert_array_equal(date.month, [d.month for d in dates])
    np.testing.assert_array_equal(date.day, [d.day for d in dates])


def test_dates_work_in_32_bit_integers_far_from_the_epoch():
    date = date_of(jnp.asarray([-719162, 2932896], dtype=jnp.int32))
    assert date.year.tolist() == [1, 9999]
    assert date.month.tolist() == [1, 12]
    assert date.day.tolist() == [1, 31]
    assert date.day.dtype == jnp.int32


@settings(max_examples=50, deadline=None)
@given(st.dates())
def test_text_of_a_date_survives_reading_and_writing(date):
    assert format_date(parse_date(date.isoformat())) == date.isoformat()


def test_the_epoch_is_day_0():
    assert parse_date("1970-01-01") == 0


@pytest.mark.parametrize("text", ["1982-1-1", "19820101", "1982-01-01T00", "yesterday", ""])
def test_other_forms_of_dates_are_refused(text):
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        parse_date(text)


@pytest.mark.parametrize("text", ["1982-02-29", "1982-13-01", "0000-01-01", "1982-04-31"])
def test_days_that_do_not_exist_are_refused(text):
    with pytest.raises(ValueError, match="not a date"):
        parse_date(text)


def test_a_day_beyond_year_9999_has_no_text():
    with pytest.raises(ValueError, match="years 1 to 9999"):
        format_date(10_000_000)


def test_centuries_are_leap_years_only_every_400_years():
    years = jnp.array([1900, 1982, 1984, 2000, 2100])
    assert is_leap_year(years).tolist() == [False, False, True, True, False]


def test_days_before_a_month_are_those_of_the_months_before():
    np.testing.assert_array_equal(np.cumsum((0, *DAYS_IN_MONTH[:-1])), DAYS_BEFORE)


@pytest.mark.parametrize(("text", "month", "month_fraction", "year_fraction"), [
    ("1982-01-01", 0, 0.0161290322580645, 0.0013698630136986),
    ("1982-01-16", 0, 0.5, 0.0424657534246575),
    ("1984-02-28", 1, 0.9821428571428571, 0.1602739726027397),
    ("1984-02-29", 1, 1.0178571428571428, 0.1630136986301370),
    ("1984-03-01", 2, 0.5 / 31, 0.1630136986301370),
    ("1982-12-31", 11, 0.9838709677419355, 0.9986301369863013),
])  # fmt: skip
def test_original_phases_are_those_of_the_reference_code(
    text, month, month_fraction, year_fraction
):
    result = phase(text)
    assert result.month == month
    np.testing.assert_allclose(result.month_fraction, month_fraction, rtol=1e-13)
    np.testing.assert_allclose(result.year_fraction, year_fraction, rtol=1e-12)


def test_true_phases_count_the_leap_day():
    result = phase("1984-02-29", original=False)
    np.testing.assert_allclose(result.month_fraction, 28.5 / 29, rtol=1e-15)
    np.testing.assert_allclose(result.year_fraction, 59.5 / 366, rtol=1e-15)


@pytest.mark.parametrize("year", [1983, 1984])
def test_true_phase_advances_evenly_through_the_year(year):
    start, end = parse_date(f"{year}-01-01"), parse_date(f"{year + 1}-01-01")
    fraction = year_phase(jnp.arange(start, end), original=False).year_fraction
    days = end - start
    np.testing.assert_allclose(fraction, (np.arange(days) + 0.5) / days, rtol=1e-14)


def test_phases_agree_outside_leap_years():
    days = jnp.arange(parse_date("1983-01-01"), parse_date("1984-01-01"))
    original, true = (year_phase(days, original=flag) for flag in (True, False))
    for a, b in zip(jax.tree.leaves(original), jax.tree.leaves(true), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fractions_have_the_type_that_is_asked_for():
    result = phase("1982-07-14", dtype=jnp.float32)
    assert result.month_fraction.dtype == result.year_fraction.dtype == jnp.float32


def test_phase_is_compiled_once_for_all_dates():
    traced = []

    @jax.jit
    def fraction(days):
        traced.append(days)
        return year_phase(days, original=False).year_fraction

    fraction(jnp.asarray(0)), fraction(jnp.asarray(12345))
    assert len(traced) == 1


def test_month_numbers_run_on_across_years():
    december, january = month_number(jnp.asarray(1981), 11), month_number(jnp.asarray(1982), 0)
    assert january - december == 1
