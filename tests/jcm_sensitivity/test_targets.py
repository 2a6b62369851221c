"""Targets: means by hand, periods, levels, and what they refuse."""

import numpy as np
import pytest

import jcm
from jcm_sensitivity import GLOBE, between, box, last, mean, region

MODEL = jcm.build_model("T21L8")
GRID = MODEL.grid


def fields(variable, values):
    """Outputs of a variable that is uniform in space."""
    values = np.asarray(values, float)
    return {variable: np.broadcast_to(values[:, None, None], (len(values), *GRID.shape))}


def test_global_mean_of_the_squared_sine_of_latitude_is_one_third():
    square = np.broadcast_to(GRID.sin_latitude**2, (1, *GRID.shape))
    value = mean("precipitation_flux").bind(MODEL)({"precipitation_flux": square})
    np.testing.assert_allclose(value, 1 / 3, rtol=1e-12)


def test_mean_of_a_constant_is_the_constant_in_every_region():
    for name in ("tropical_pacific", "sahel", "arctic", "globe"):
        target = mean("surface_temperature", region=region(name)).bind(MODEL)
        np.testing.assert_allclose(target(fields("surface_temperature", [280.0])), 280.0)


def test_mean_over_a_box_across_the_date_line_takes_both_sides():
    east_of = np.where(GRID.longitude > 180, 1.0, 0.0)
    field = np.broadcast_to(east_of[:, None], (1, *GRID.shape))
    half = 360 / GRID.nlon / 2  # the cell at 180 degrees counts as west
    target = mean("surface_temperature", region=box(-5, 5, 170, -170)).bind(MODEL)
    np.testing.assert_allclose(target({"surface_temperature": field}), (10 - half) / 20)


@pytest.mark.parametrize(
    ("days", "expected"),
    [(last(1), 5.0), (last(2), 4.5), (between(0, 2), 1.5), (between(2, 3), 3.0), (None, 3.0)],
)
def test_period_takes_the_right_days(days, expected):
    target = mean("precipitation_flux", **({"days": days} if days else {})).bind(MODEL, every=1.0)
    np.testing.assert_allclose(target(fields("precipitation_flux", [1, 2, 3, 4, 5])), expected)


def test_period_counts_outputs_shorter_than_a_day():
    target = mean("precipitation_flux", days=last(1)).bind(MODEL, every=0.25)
    np.testing.assert_allclose(target(fields("precipitation_flux", range(8))), 5.5)


def test_snapshots_belong_to_the_time_at_which_they_are_taken():
    target = mean("surface_temperature", days=last(1.5)).bind(MODEL, every=1.0, average=False)
    np.testing.assert_allclose(target(fields("surface_temperature", [1, 2, 3])), 2.5)


def test_level_selects_from_the_top():
    values = np.broadcast_to(np.arange(8.0)[None, :, None, None], (1, 8, *GRID.shape))
    for level, expected in ((0, 0.0), (7, 7.0), (-1, 7.0)):
        target = mean("air_temperature", level=level).bind(MODEL)
        np.testing.assert_allclose(target({"air_temperature": values}), expected)


def test_result_has_the_precision_of_the_fields():
    values = {"surface_temperature": np.ones((1, *GRID.shape), np.float32)}
    assert mean("surface_temperature").bind(MODEL)(values).dtype == np.float32


def test_target_prints_its_unit():
    text = str(mean("precipitation_flux", region=region("sahel"), days=last(10)))
    assert text == ("mean of precipitation, sahel (10N-20N, 20W-35E), the last 10 days "
                    "[kg m-2 s-1]")  # fmt: skip


def test_unknown_variable_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean precipitation_flux"):
        mean("precipitation_fluxx")


def test_variable_with_levels_needs_a_level():
    with pytest.raises(ValueError, match="choose one"):
        mean("air_temperature")


def test_variable_without_levels_refuses_one():
    with pytest.raises(ValueError, match="has no levels"):
        mean("precipitation_flux", level=3)


def test_level_below_the_surface_is_refused():
    with pytest.raises(ValueError, match=r"levels 0 \(top\) to 7"):
        mean("air_temperature", level=8).bind(MODEL)


@pytest.mark.parametrize("days", [last(6), between(4, 6)])
def test_period_outside_the_run_is_refused(days):
    target = mean("precipitation_flux", days=days).bind(MODEL, every=1.0)
    with pytest.raises(ValueError, match="the run has 5 days"):
        target(fields("precipitation_flux", range(5)))


def test_period_that_cuts_a_mean_in_two_is_refused():
    target = mean("precipitation_flux", days=last(1)).bind(MODEL, every=5.0)
    with pytest.raises(ValueError, match="choose a smaller interval"):
        target(fields("precipitation_flux", [1.0]))


def test_period_without_a_snapshot_is_refused():
    target = mean("precipitation_flux", days=between(0.2, 0.8)).bind(
        MODEL, every=1.0, average=False)  # fmt: skip
    with pytest.raises(ValueError, match="no output"):
        target(fields("precipitation_flux", [1.0, 2.0]))


@pytest.mark.parametrize("make", [lambda: last(0), lambda: last(-1), lambda: between(3, 3),
                                  lambda: between(-1, 2), lambda: last(float("nan"))])  # fmt: skip
def test_empty_period_is_refused(make):
    with pytest.raises(ValueError, match="period"):
        make()


def test_variable_that_was_not_observed_is_named():
    with pytest.raises(ValueError, match="no variable 'precipitation_flux'; it has: snow"):
        mean("precipitation_flux").bind(MODEL)({"snow": np.zeros((1, *GRID.shape))})


def test_field_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="bound to a grid"):
        mean("precipitation_flux", region=GLOBE).bind(MODEL)(
            {"precipitation_flux": np.zeros((1, 96, 48))})  # fmt: skip
