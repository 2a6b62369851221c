"""Observation operators against fields whose means, fluxes and values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm_calibrate.observations.operators import make_operator
from jcm_calibrate.observations.periods import make_periods
from jcm_sensitivity.regions import box

RUN = make_periods("mean")
EACH = make_periods("each")
WIND, TEMPERATURE, RAIN = "eastward_wind", "air_temperature", "precipitation_flux"
NORTH = "northward_wind"


@pytest.fixture(scope="module")
def grid():
    import jcm

    return jcm.build_model("T21L8").grid


def flat(values, outputs=2):
    """Return outputs of a map; every output holds the same."""
    return jnp.asarray(np.broadcast_to(values, (outputs, *values.shape)))


def on_levels(values, outputs=2, levels=8):
    return jnp.asarray(np.broadcast_to(values, (outputs, levels, *values.shape)))


def radians(grid):
    return np.meshgrid(np.deg2rad(grid.longitude), np.deg2rad(grid.latitude), indexing="ij")


def test_global_mean_of_squared_sine_of_latitude_is_one_third(small_model, grid):
    _, latitude = radians(grid)
    operator = make_operator(small_model, RAIN)
    assert operator({RAIN: flat(np.sin(latitude) ** 2)}, RUN) == pytest.approx(1 / 3, rel=1e-12)


def test_zonal_mean_leaves_the_latitude_and_removes_waves(small_model, grid):
    longitude, latitude = radians(grid)
    field = np.sin(latitude) + np.cos(3 * longitude)
    found = make_operator(small_model, RAIN, "zonal_mean")({RAIN: flat(field)}, RUN)
    np.testing.assert_allclose(found[0], np.sin(np.deg2rad(grid.latitude)), atol=1e-12)


def test_mean_of_sine_of_latitude_over_a_band_is_that_of_its_edges(small_model, grid):
    _, latitude = radians(grid)
    operator = make_operator(small_model, RAIN, "zonal_mean", bands=[(0, 90), (-90, 0)])
    found = operator({RAIN: flat(np.sin(latitude))}, RUN)
    np.testing.assert_allclose(found[0], [0.5, -0.5], atol=2e-3)


def test_region_counts_the_area_of_its_cells_only(small_model, grid):
    region = box(-30, 30, 0, 90, name="quarter")
    inside = region.fraction(grid)
    operator = make_operator(small_model, RAIN, "regional_mean", regions=[region])
    found = operator({RAIN: flat(np.where(inside > 0, 3.0, 100.0))}, RUN)
    assert found[0, 0] == pytest.approx(3.0, rel=1e-12)


def test_land_and_sea_make_up_the_globe(small_model, small_inputs):
    field = np.random.default_rng(0).normal(size=small_model.grid.shape)
    land = np.asarray(small_inputs.forcing.land_fraction, float)
    share = np.sum(land * small_model.grid.cell_area) / np.sum(
        np.ones_like(land) * small_model.grid.cell_area)
    found = make_operator(
        small_model, RAIN, "regional_mean", regions=["land", "sea", "globe"], inputs=small_inputs)(
        {RAIN: flat(field)}, RUN)[0]
    assert share * found[0] + (1 - share) * found[1] == pytest.approx(float(found[2]), rel=1e-9)


def test_grid_holds_the_cells_of_the_mask_in_the_order_of_their_labels(small_model, grid):
    mask = np.zeros(grid.shape)
    mask[3, 5] = mask[10, 2] = 1
    operator = make_operator(small_model, RAIN, "grid", mask=mask)
    field = np.arange(grid.nlon * grid.nlat, dtype=float).reshape(grid.shape)
    found = operator({RAIN: flat(field)}, RUN)
    np.testing.assert_array_equal(found[0], [field[3, 5], field[10, 2]])
    assert len(operator.labels) == 2 and operator.labels[0].endswith(f"{grid.longitude[3]:.4g}E")


def test_stations_are_exact_for_a_plane_and_wrap_at_greenwich(small_model, grid):
    latitude = np.broadcast_to(grid.latitude, grid.shape)
    operator = make_operator(
        small_model, RAIN, "stations", stations={"a": (10.0, 20.0), "b": (-33.3, 181.0)})
    np.testing.assert_allclose(operator({RAIN: flat(latitude)}, RUN)[0], [10.0, -33.3], rtol=1e-12)
    spike = np.zeros(grid.shape)
    spike[0] = 1
    wrap = make_operator(
        small_model, RAIN, "stations", stations={"west": (0.0, -360 / grid.nlon / 4)})
    assert wrap({RAIN: flat(spike)}, RUN)[0, 0] == pytest.approx(0.75, rel=1e-12)


def test_column_mean_is_weighted_with_the_mass_of_the_layers(small_model, grid):
    sigma = small_model.levels.centre
    field = jnp.asarray(np.broadcast_to(sigma[:, None, None], (2, 8, *grid.shape)))
    found = make_operator(small_model, TEMPERATURE, levels="column")({TEMPERATURE: field}, RUN)
    # The mean of sigma over mass is 1/2: layer centres are the means of their edges.
    assert found[0, 0] == pytest.approx(0.5, rel=1e-12)


def test_levels_are_counted_from_the_top(small_model, grid):
    field = jnp.asarray(np.broadcast_to(np.arange(8.0)[:, None, None], (2, 8, *grid.shape)))
    found = make_operator(small_model, TEMPERATURE, level=[0, -1])({TEMPERATURE: field}, RUN)
    np.testing.assert_allclose(found[0], [0, 7])


def test_pressure_is_interpolated_linearly_in_its_logarithm(small_model, grid):
    ground = np.full(grid.shape, 1e5)
    profile = np.log(small_model.levels.centre * 1e5)
    fields = {TEMPERATURE: on_levels(np.zeros(grid.shape)) + profile[:, None, None],
              "surface_air_pressure": flat(ground)}
    found = make_operator(small_model, TEMPERATURE, pressure=[850, 300])(fields, RUN)
    np.testing.assert_allclose(found[0], np.log([85000.0, 30000.0]), rtol=1e-12)


def test_below_the_ground_nothing_counts(small_model, grid):
    ground = np.full(grid.shape, 1e5)
    ground[: grid.nlon // 4] = 6e4
    values = np.where(ground < 7e4, 500.0, 280.0)
    fields = {TEMPERATURE: on_levels(values), "surface_air_pressure": flat(ground)}
    found = make_operator(small_model, TEMPERATURE, "zonal_mean", pressure=850)(fields, RUN)
    np.testing.assert_allclose(found, 280.0, rtol=1e-12)


def test_a_row_that_lies_below_the_ground_has_a_number_and_a_derivative(small_model, grid):
    ground = np.full(grid.shape, 6e4)
    operator = make_operator(small_model, TEMPERATURE, "zonal_mean", pressure=850)

    def total(temperature):
        return operator({TEMPERATURE: temperature, "surface_air_pressure": flat(ground)}, RUN).sum()

    value, slope = jax.value_and_grad(total)(on_levels(np.full(grid.shape, 250.0)))
    assert value == pytest.approx(250.0 * grid.nlat)
    assert np.isfinite(slope).all()


def test_sea_level_pressure_of_the_standard_atmosphere_is_that_at_its_bottom(small_model, grid):
    # T = T0 - gamma z, p = p0 (T / T0)^(g / R gamma), on ground 1000 m high.
    gamma, gravity, gas, bottom, warm = 6.5e-3, 9.81, 2 / 7 * 1004.0, 101325.0, 288.15
    exponent = gravity / (gas * gamma)
    ground = bottom * (1 - gamma * 1000.0 / warm) ** exponent
    lowest = ground * small_model.levels.centre[-1]
    temperature = warm * (lowest / bottom) ** (1 / exponent)
    height = (warm - temperature) / gamma
    fields = {"surface_air_pressure": flat(np.full(grid.shape, ground)),
              "air_temperature": on_levels(np.full(grid.shape, temperature)),
              "geopotential_height": on_levels(np.full(grid.shape, height))}
    found = make_operator(small_model, "sea_level_pressure")(fields, RUN)
    assert found[0, 0] == pytest.approx(bottom, rel=1e-10)


def test_a_sum_takes_its_factors_and_its_sign(small_model, grid):
    sun, heat = "toa_net_downward_shortwave_flux", "toa_outgoing_longwave_flux"
    operator = make_operator(small_model, {sun: 1, heat: -1})
    fields = {sun: flat(np.full(grid.shape, 240.0)), heat: flat(np.full(grid.shape, 235.0))}
    assert operator(fields, RUN)[0, 0] == pytest.approx(5.0)
    assert operator.positive == "down"


def test_variance_of_a_sine_in_time_is_half_its_squared_amplitude(small_model, grid):
    phase = 2 * np.pi * np.arange(12) / 12
    field = jnp.asarray(280 + 3 * np.sin(phase)[:, None, None] * np.ones(grid.shape))
    operator = make_operator(small_model, RAIN, statistic="variance")
    assert operator({RAIN: field}, RUN)[0, 0] == pytest.approx(4.5, rel=1e-10)
    assert operator.units == "kg2 m-4 s-2"


def test_zonal_eddies_of_two_waves_in_phase_are_half_their_amplitudes(small_model, grid):
    longitude, _ = radians(grid)
    fields = {NORTH: on_levels(5 + 2 * np.cos(4 * longitude)),
              TEMPERATURE: on_levels(280 + 3 * np.cos(4 * longitude))}
    operator = make_operator(
        small_model, NORTH, "zonal_mean", level=3, second=TEMPERATURE, statistic="zonal_eddies")
    np.testing.assert_allclose(operator(fields, RUN), 3.0, rtol=1e-12)
    assert operator.units == "m s-1 K"


def test_stationary_and_transient_eddies_split_a_standing_and_a_travelling_wave(small_model, grid):
    longitude, _ = radians(grid)
    phase = 2 * np.pi * np.arange(8) / 8
    standing, travelling = (
        2 * np.cos(longitude)[None], 4 * np.cos(3 * longitude[None] - phase[:, None, None]))
    field = jnp.asarray((standing + travelling)[:, None] * np.ones((1, 8, 1, 1)))
    fields = {NORTH: field, TEMPERATURE: 280 + field}

    def eddies(statistic):
        return make_operator(
            small_model, NORTH, "zonal_mean", level=3, second=TEMPERATURE,
            statistic=statistic)(fields, RUN)

    np.testing.assert_allclose(eddies("stationary_eddies"), 2.0, rtol=1e-10)
    np.testing.assert_allclose(eddies("transient_eddies"), 8.0, rtol=1e-10)
    np.testing.assert_allclose(eddies("zonal_eddies"), 10.0, rtol=1e-10)


def test_each_output_is_observed_by_itself(small_model, grid):
    field = jnp.asarray(np.arange(3.0)[:, None, None] * np.ones(grid.shape))
    found = make_operator(small_model, RAIN)({RAIN: field}, EACH)
    np.testing.assert_allclose(found[:, 0], [0, 1, 2])


def test_seasons_weigh_outputs_with_their_days_inside():
    periods = make_periods("seasons", start="2001-01-01", every=1.0, count=365)
    january = np.r_[np.ones(31), np.zeros(334)]
    assert periods.mean(jnp.asarray(january))[0] == pytest.approx(31 / 90)


def test_an_output_across_two_months_counts_in_both():
    periods = make_periods("months", chosen=[1, 2], start="2001-01-01", every=2.0, count=30)
    # The output of 31 January and 1 February is number 15.
    assert periods.weights[0, 15] == pytest.approx(1 / 31)
    assert periods.weights[1, 15] == pytest.approx(1 / 28)


def test_windows_of_two_years_share_their_months():
    periods = make_periods(
        "months", chosen=["Jan"], start=["2001-01-01", "2002-01-01"], every=1.0, count=31)
    np.testing.assert_allclose(periods.weights, np.full((1, 62), 1 / 62))


@pytest.mark.parametrize("given", [
    dict(variable=TEMPERATURE, operator="zonal_mean", pressure=[925, 500]),
    dict(variable=NORTH, operator="zonal_mean", pressure=850, second=TEMPERATURE,
         statistic="zonal_eddies"),
    dict(variable=NORTH, operator="regional_mean", regions="tropics", level=4,
         second=TEMPERATURE, statistic="transient_eddies"),
    dict(variable=TEMPERATURE, operator="stations", stations={"a": (52.5, 13.4)}, level=7,
         statistic="variance"),
    dict(variable="sea_level_pressure", operator="grid"),
], ids=["pressure", "zonal", "transient", "variance", "sea level"])  # fmt: skip
def test_derivatives_agree_with_finite_differences(small_model, given):
    random, shape = np.random.default_rng(1), small_model.grid.shape
    fields = {
        TEMPERATURE: jnp.asarray(270 + random.normal(size=(3, 8, *shape))),
        NORTH: jnp.asarray(random.normal(size=(3, 8, *shape))),
        "geopotential_height": jnp.asarray(500 + random.normal(size=(3, 8, *shape))),
        "surface_air_pressure": jnp.asarray(9.9e4 + 100 * random.normal(size=(3, *shape))),
    }
    operator = make_operator(small_model, **given)
    fields = {name: fields[name] for name in operator.variables}
    along = {name: jnp.asarray(random.normal(size=x.shape)) for name, x in fields.items()}
    weight = jnp.asarray(random.normal(size=operator(fields, RUN).shape))

    @jax.jit
    def total(step):
        moved = {name: x + step * along[name] for name, x in fields.items()}
        return jnp.sum(weight * operator(moved, RUN))

    slope = float(jax.grad(total)(0.0))
    step = 1e-4
    assert slope == pytest.approx(float(total(step) - total(-step)) / (2 * step), rel=1e-6)


@pytest.mark.parametrize(("given", "message"), [
    (dict(variable="air_temprature", level=0), "did you mean air_temperature"),
    (dict(variable=TEMPERATURE), "has levels; choose"),
    (dict(variable=TEMPERATURE, level=9), "levels 0 .top. to 7"),
    (dict(variable=TEMPERATURE, pressure=1), "reaches from 25 hPa"),
    (dict(variable=RAIN, level=1), "has no levels"),
    (dict(variable=RAIN, operator="zonal"), "did you mean zonal_mean"),
    (dict(variable=RAIN, operator="regional_mean", regions="tropic"), "did you mean"),
    (dict(variable=RAIN, operator="zonal_mean", regions="tropics"), "has no meaning"),
    (dict(variable=RAIN, mask="land"), "where land is"),
    (dict(variable=RAIN, operator="stations", stations={"a": (95.0, 0.0)}), "expected latitude"),
    (dict(variable=RAIN, statistic="varience"), "did you mean variance"),
    (dict(variable={"toa_outgoing_longwave_flux": 1, "toa_net_downward_shortwave_flux": 1}),
     "opposite directions"),
    (dict(variable={RAIN: 1, "toa_outgoing_longwave_flux": 1}), "'kg m-2 s-1'.*'W m-2'"),
])  # fmt: skip
def test_a_wrong_request_is_refused_with_the_reason(small_model, given, message):
    with pytest.raises(ValueError, match=message):
        make_operator(small_model, **given)


def test_a_mask_that_leaves_nothing_is_refused(small_model, grid):
    mask = np.zeros(grid.shape)
    mask[0, 0] = 1
    with pytest.raises(ValueError, match="the region is empty"):
        make_operator(small_model, RAIN, "regional_mean", regions="arctic", mask=mask)


def test_fields_of_another_grid_are_refused(small_model):
    with pytest.raises(ValueError, match="make them for this model"):
        make_operator(small_model, RAIN)({RAIN: jnp.zeros((2, 96, 48))}, RUN)


def test_a_season_that_the_run_does_not_cover_is_refused():
    with pytest.raises(ValueError, match=r"window ends before the data.*Mar"):
        make_periods("seasons", chosen=["MAM"], start="2001-01-01", every=1.0, count=59)
