"""Tests of observed anomalies at a date."""

import jax.numpy as jnp
import numpy as np
import pytest

from jcm.calendar import parse_date
from jcm.phases import month_number, year_phase
from jcm.surface.anomaly import (
    anomaly_from_window,
    anomaly_of_date,
    anomaly_window,
    original_anomaly_window,
    record_of_month,
)

#: Records from January 1979 to December 1984, the value naming year and month: 1982.05 is May 1982.
FIRST = int(month_number(1979, 0))
RECORDS = jnp.asarray([[y + (m + 1) / 100] for y in range(1979, 1985) for m in range(12)])
#: Weight of the neighbouring month on the first day of January.
WEIGHT = 0.5 - 0.5 / 31


def phase(text, original=True):
    return year_phase(jnp.asarray(parse_date(text)), original=original)


def calls(start, dates, start_year=1982):
    """Anomalies of a run that begins at `start`: at the start, and after a call on each date."""
    first = phase(start)
    window = anomaly_window(RECORDS, FIRST, month_number(first.year, first.month))
    values = [anomaly_from_window(window, first.month_fraction)[0]]
    for date in dates:
        window = original_anomaly_window(window, RECORDS, FIRST, start_year, phase(date))
        values.append(anomaly_from_window(window, phase(date).month_fraction)[0])
    return values


def mixed(month, other, weight=WEIGHT):
    return month + weight * (other - month)


def test_a_run_from_the_first_of_a_month_mixes_three_months_and_then_stays():
    december, january, february = 1981.12, 1982.01, 1982.02
    expected = [
        mixed(january, december), mixed(january, january), mixed(january, february),
        january, january,
    ]  # fmt: skip
    # The first call moves the window to (January, February, January).
    expected[1], expected[2] = mixed(february, january), mixed(january, february)
    np.testing.assert_allclose(calls("1982-01-01", ["1982-01-01"] * 4), expected, rtol=1e-15)


def test_a_run_from_mid_month_settles_at_the_second_call_of_the_next_month():
    weight = 0.5 - 0.5 / 28
    expected = [
        mixed(1982.01, 1982.02, 19.5 / 31 - 0.5), mixed(1982.02, 1982.01, weight), 1982.02, 1982.02,
    ]  # fmt: skip
    np.testing.assert_allclose(calls("1982-01-20", ["1982-02-01"] * 3), expected, rtol=1e-15)


def test_in_steady_running_a_new_month_takes_three_calls():
    dates = ["1982-01-01"] * 35 + ["1982-01-15"] + ["1982-02-01"] * 3
    settled = calls("1982-01-01", dates)[-4:]
    weight = 0.5 - 0.5 / 28
    # On the first call of February the window is (January, January, February).
    expected = [1982.01, 1982.01, mixed(1982.02, 1982.01, weight), 1982.02]
    np.testing.assert_allclose(settled, expected, rtol=1e-15)


def test_the_start_year_comes_again():
    dates = ["1982-12-01"] * 3 + ["1983-01-01"] * 3
    assert calls("1982-12-01", dates)[-1] == 1982.01


def test_the_window_keeps_still_after_the_first_day():
    window = jnp.array([[1.0], [2.0], [3.0]])
    after = original_anomaly_window(window, RECORDS, FIRST, 1982, phase("1982-05-02"))
    np.testing.assert_array_equal(after, window)


@pytest.mark.parametrize(("date", "expected"), [
    ("1982-07-16", 1982.07),
    ("1982-07-01", 1982.07 + (0.5 - 0.5 / 31) * (1982.06 - 1982.07)),
    ("1983-01-01", 1983.01 + (0.5 - 0.5 / 31) * (1982.12 - 1983.01)),
    ("1983-12-31", 1983.12 + (30.5 / 31 - 0.5) * (1984.01 - 1983.12)),
])  # fmt: skip
def test_the_calendar_joins_the_months_of_the_date(date, expected):
    anomaly = anomaly_of_date(RECORDS, FIRST, phase(date, original=False))
    np.testing.assert_allclose(anomaly, [expected], rtol=1e-15)


@pytest.mark.parametrize("month", [FIRST - 1, FIRST + 72])
def test_a_month_without_record_has_no_anomaly(month):
    assert record_of_month(RECORDS, FIRST, month)[0] == 0


def test_no_records_mean_no_anomaly():
    anomaly = anomaly_of_date(jnp.zeros((0, 4, 3)), FIRST, phase("1982-07-16"))
    np.testing.assert_array_equal(anomaly, np.zeros((4, 3)))
