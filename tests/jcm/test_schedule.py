"""The division of a run into outputs and chunks."""

import numpy as np
import pytest

import jcm
from jcm.calendar import parse_date
from jcm.schedule import Settings, make_plan
from jcm.variables import VARIABLES

MODEL = jcm.build_model("T21L5", physics="held_suarez")
SETTINGS = Settings(
    days=30.0, every=1.0, average=True, observe=None, chunk=None, format="netcdf",
    pressure_levels=None, attributes={}, variables={}, first_step=0, first_day=0.0)  # fmt: skip


def month_lengths(start: str, days: float, model: jcm.Model = MODEL, steps: int = 0) -> list:
    first = parse_date(start) + steps / model.steps_per_day
    plan = make_plan(model, SETTINGS._replace(
        days=days, every="month", first_step=steps, first_day=first))  # fmt: skip
    assert plan.per_chunk == 1
    return (np.diff(plan.edges) / model.steps_per_day).tolist()


@pytest.mark.parametrize(
    ("start", "february"), [("2000-01-01", 29), ("2001-01-01", 28), ("1900-01-01", 28),
                            ("1996-01-01", 29)])
@pytest.mark.parametrize("year", ["true", "original"])
def test_months_are_those_of_the_gregorian_calendar_whatever_the_phases(start, february, year):
    model = jcm.build_model("T21L5", physics="held_suarez", year=year)
    assert month_lengths(start, 31 + february + 31, model) == [31, february, 31]


def test_a_year_has_twelve_months():
    assert month_lengths("2001-01-01", 365) == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert len(month_lengths("2000-01-01", 3653)) == 120


def test_the_first_and_the_last_month_may_be_cut():
    assert month_lengths("2000-01-20", 50) == [12, 29, 9]
    assert month_lengths("2000-01-20", 5) == [5]
    assert month_lengths("2000-01-20", 12) == [12]


def test_a_run_that_begins_within_a_day_ends_its_month_at_midnight():
    steps = MODEL.steps_per_day // 2
    assert month_lengths("2000-01-30", 3, steps=steps) == [1.5, 1.5]


@pytest.mark.parametrize(("every", "chunk"), [(1, 10), (5, 2), (0.25, 40), (20, 1), (3, 3)])
def test_a_chunk_is_about_ten_days(every, chunk):
    plan = make_plan(MODEL, SETTINGS._replace(days=60.0, every=every))
    assert plan.per_chunk == chunk


def test_chunks_do_not_depend_on_the_length_of_the_run():
    plans = [make_plan(MODEL, SETTINGS._replace(days=days)) for days in (1.0, 30.0, 367.0)]
    assert {plan.per_chunk for plan in plans} == {10}


def test_chunks_of_large_grids_are_shorter():
    large = jcm.build_model("T170L8", physics="held_suarez")
    assert make_plan(large, SETTINGS).per_chunk < 10


def test_pressure_levels_and_messages_need_more_than_the_variables_written():
    settings = SETTINGS._replace(observe=("air_temperature",), pressure_levels=(500.0,))
    assert settings.observed == (
        "air_temperature", "surface_air_pressure", "eastward_wind", "northward_wind")
    assert set(settings.table) == set(VARIABLES)


BAD = {
    "week": ({"every": "week"}, r"every is a number of days or 'month'; got 'week'"),
    "chunk of months": ({"every": "month", "chunk": 10.0}, r"a chunk is a month; leave chunk out"),
    "uneven": ({"every": 7.0}, r"days must be a multiple of every; got 30.0 and 7.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_divisions_are_refused(case):
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        make_plan(MODEL, SETTINGS._replace(**changes))
