"""Targets: means by hand, periods, levels, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import cheap_inputs

import jcm
from jcm_sensitivity import GLOBE, between, box, custom, grid_mask, last, mean, region

MODEL = jcm.build_model("T21L8")
INPUTS = cheap_inputs(MODEL)
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


def levels_field(profile):
    """Outputs of a variable that depends on the level only."""
    profile = np.asarray(profile, float)
    return np.broadcast_to(profile[None, :, None, None], (1, len(profile), *GRID.shape))


def test_mean_over_levels_is_weighted_with_the_thickness_of_the_layers():
    target = mean("air_temperature", levels=[5, 7]).bind(MODEL)
    value = target({"air_temperature": levels_field(np.arange(8))})
    # Layers 5 and 7 of SPEEDY reach from sigma 0.60 to 0.77 and from 0.90 to 1.
    np.testing.assert_allclose(value, (5 * 0.17 + 7 * 0.10) / 0.27)


def test_column_mean_of_sigma_is_one_half():
    target = mean("air_temperature", levels="column").bind(MODEL)
    value = target({"air_temperature": levels_field(MODEL.levels.centre)})
    np.testing.assert_allclose(value, 0.5)


def test_levels_may_be_counted_from_the_ground():
    field = {"air_temperature": levels_field(np.arange(8))}
    above, below = (mean("air_temperature", levels=levels).bind(MODEL)(field)
                    for levels in ([7, 6], [-1, -2]))  # fmt: skip
    np.testing.assert_allclose(below, above)


def test_mass_weighting_counts_columns_with_their_surface_pressure():
    north = np.broadcast_to(GRID.sin_latitude > 0, (1, *GRID.shape))
    fields = {"air_temperature": np.where(north, 300.0, 200.0)[:, None] + np.zeros((1, 8, 1, 1)),
              "surface_air_pressure": np.where(north, 1e5, 5e4)}  # fmt: skip
    target = mean("air_temperature", levels="column", weighting="mass")
    assert target.variables == ("air_temperature", "surface_air_pressure")
    np.testing.assert_allclose(target.bind(MODEL)(fields), (300 * 2 + 200) / 3)


@pytest.mark.parametrize("pressure", [850, 500, 300.0])
def test_a_field_linear_in_the_logarithm_of_pressure_is_met_exactly(pressure):
    surface = 9e4 + 2e4 * np.random.default_rng(0).random((1, *GRID.shape))
    sigma = MODEL.levels.centre[None, :, None, None]
    fields = {"air_temperature": np.log(sigma * surface[:, None] / 100),
              "surface_air_pressure": surface}  # fmt: skip
    target = mean("air_temperature", pressure=pressure).bind(MODEL)
    np.testing.assert_allclose(target(fields), np.log(pressure), rtol=1e-12)


def test_below_the_ground_the_lowest_layer_holds():
    fields = {"air_temperature": levels_field(np.arange(8)),
              "surface_air_pressure": np.full((1, *GRID.shape), 6e4)}  # fmt: skip
    np.testing.assert_allclose(mean("air_temperature", pressure=850).bind(MODEL)(fields), 7.0)


def test_derivative_with_respect_to_surface_pressure_is_that_of_the_profile():
    # T = a sigma: at a fixed pressure, dT/d(ln p_s) = -dT/d(ln sigma) of the line between layers.
    profile, log = MODEL.levels.centre * 100, np.log(MODEL.levels.centre)
    slope = (profile[5] - profile[4]) / (log[5] - log[4])
    target = mean("air_temperature", pressure=600).bind(MODEL)

    def value(log_pressure):
        pressure = jnp.exp(log_pressure) * jnp.ones((1, *GRID.shape))
        return target({"air_temperature": levels_field(profile), "surface_air_pressure": pressure})

    assert MODEL.levels.centre[4] < 0.6 < MODEL.levels.centre[5]
    np.testing.assert_allclose(jax.grad(value)(np.log(1e5)), -slope, rtol=1e-12)


def test_land_and_sea_make_up_the_globe():
    land = INPUTS.forcing.land_fraction
    field = {"surface_temperature": np.asarray(land)[None] * 100.0}
    weight = np.asarray(land) * GRID.cell_area
    over_land, over_sea, everywhere = (
        float(mean("surface_temperature", mask=mask).bind(MODEL, inputs=INPUTS)(field))
        for mask in ("land", "sea", None))
    part = weight.sum() / GLOBE.area
    assert 0.25 < part < 0.35
    np.testing.assert_allclose(part * over_land + (1 - part) * over_sea, everywhere, rtol=1e-12)
    np.testing.assert_allclose(over_land, 100 * (weight * land).sum() / weight.sum(), rtol=1e-12)


def test_mask_may_be_an_array_or_part_of_the_region():
    inside = np.zeros(GRID.shape)
    inside[10, 20] = 1.0
    field = np.random.default_rng(1).random((1, *GRID.shape))
    fields = {"surface_temperature": field}
    for target in (mean("surface_temperature", mask=inside),
                   mean("surface_temperature", region=GLOBE & grid_mask(inside, name="a cell"))):
        np.testing.assert_allclose(target.bind(MODEL)(fields), field[0, 10, 20])


def test_region_may_be_a_name():
    by_name = mean("surface_temperature", region="sahel")
    assert by_name == mean("surface_temperature", region=region("sahel"))


def test_targets_that_are_the_same_are_equal_and_share_a_hash():
    mask = np.ones(GRID.shape)
    first, second = (mean("air_temperature", level=3, mask=mask.copy()) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert first != mean("air_temperature", level=3, mask=np.tri(*GRID.shape))


def test_description_names_mask_and_levels():
    assert str(mean("air_temperature", levels=[5, 6], region="sahel", mask="land")) == (
        "mean of air temperature over the levels 5, 6, sahel (10N-20N, 20W-35E), land only, "
        "the whole run [K]")
    assert "at 850 hPa" in str(mean("air_temperature", pressure=850))
    assert "over the whole column" in str(mean("air_temperature", levels="column"))


def test_whole_numbers_are_averaged_as_real_numbers():
    counts = {"precipitation_flux": np.broadcast_to(np.array([1, 2])[:, None, None],
                                                    (2, *GRID.shape))}  # fmt: skip
    np.testing.assert_allclose(mean("precipitation_flux").bind(MODEL, every=1.0)(counts), 1.5)


def test_single_precision_is_kept_at_a_pressure_and_over_mass():
    fields = {"air_temperature": levels_field(np.arange(8)).astype(np.float32),
              "surface_air_pressure": np.full((1, *GRID.shape), 1e5, np.float32)}  # fmt: skip
    for target in (mean("air_temperature", pressure=500),
                   mean("air_temperature", levels="column", weighting="mass")):
        assert target.bind(MODEL)(fields).dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": [0, 8]}, r"levels 0 \(top\) to 7"),
        ({"levels": [7, -1]}, "twice"),
        ({"pressure": 1200}, "reaches from 25 hPa"),
        ({"pressure": 10.0}, "reaches from 25 hPa"),
        ({"level": 3, "mask": "land"}, "inputs=inputs"),
        ({"level": 3, "mask": np.ones((96, 48))}, r"has shape \(96, 48\)"),
        ({"level": 3, "region": box(-50, -40, -130, -110), "mask": "land"}, "region is empty"),
    ],
)
def test_what_the_model_does_not_have_is_refused(arguments, message):
    inputs = INPUTS if "region" in arguments else None
    with pytest.raises(ValueError, match=message):
        mean("air_temperature", **arguments).bind(MODEL, inputs=inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 3, "pressure": 500}, "give one of level, levels and pressure"),
        ({"levels": []}, "list of levels is empty"),
        ({"levels": "all"}, "list of numbers or 'column'"),
        ({"pressure": -5}, "positive number of hPa"),
        ({"level": 3, "mask": "ocean"}, "unknown mask 'ocean'; available: land, sea"),
        ({"level": 3, "mask": np.zeros(GRID.shape)}, "is empty"),
        ({"level": 3, "mask": np.full(GRID.shape, 2.0)}, "from 0 to 1"),
        ({"level": 3, "mask": np.full(GRID.shape, np.nan)}, "from 0 to 1"),
        ({"level": 3, "mask": np.ones(5)}, "shape"),
        ({"level": 3, "region": "sahell"}, "did you mean sahel"),
        ({"level": 3, "weighting": "height"}, "'sigma' or 'mass'"),
    ],
)
def test_means_without_meaning_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mean("air_temperature", **arguments)


def test_function_of_the_fields_is_a_target_with_units():
    def range_of_temperature(fields):
        return fields["surface_temperature"].max() - fields["surface_temperature"].min()

    target = custom(range_of_temperature, variables=["surface_temperature"], units="K")
    assert str(target) == "range_of_temperature [K]"
    assert target.variables == ("surface_temperature",) and target.region is None
    np.testing.assert_allclose(target.bind(MODEL)(fields("surface_temperature", [1, 5])), 4.0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda fields: fields["surface_temperature"], "single real number"),
        (lambda fields: 3, "single real number"),
        (lambda fields: 1j, "single real number"),
    ],
)
def test_function_that_does_not_return_a_number_is_refused(function, message):
    target = custom(function, variables=["surface_temperature"], units="K").bind(MODEL)
    with pytest.raises(ValueError, match=message):
        target(fields("surface_temperature", [1.0]))


def test_function_of_a_missing_variable_names_the_nearest():
    target = custom(lambda fields: 0.0, variables="surface_temperatur", units="K").bind(MODEL)
    with pytest.raises(ValueError, match="did you mean surface_temperature"):
        target(fields("surface_temperature", [1.0]))


@pytest.mark.parametrize(("units", "variables", "message"), [
    ("mm/day", ["snow"], "expected units"), ("K", [], "name the variables")])  # fmt: skip
def test_function_without_units_or_variables_is_refused(units, variables, message):
    with pytest.raises(ValueError, match=message):
        custom(lambda fields: 0.0, variables=variables, units=units)
