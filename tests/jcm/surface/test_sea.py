"""Tests of the split of the sea climatology, sea ice and the mixed layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcm.constants import DAY, EARTH
from jcm.physics.smooth import SurfaceWidths, exact_widths
from jcm.surface.albedo import AlbedoParameters
from jcm.surface.sea import (
    SeaClimatology,
    SeaParameters,
    SeaState,
    advance_sea,
    ice_heat_capacity,
    initial_sea,
    mixed_layer_heat_capacity,
    sea_surface_temperature,
    split_climatology,
)

EXACT = exact_widths().surface
SMOOTH = SurfaceWidths(cover=0.02, freezing=0.3, ice_anomaly=0.1, melting=0.3)
FREEZING = 271.4


def split(temperature, ice, widths=EXACT):
    return split_climatology(
        jnp.asarray(temperature), jnp.asarray(ice), parameters=SeaParameters(), widths=widths
    )


def test_warm_water_has_at_most_half_ice():
    result = split([281.4, 281.4, 281.4], [0.0, 0.2, 0.8])
    np.testing.assert_array_equal(result.ice_fraction, [0, 0.2, 0.5])
    np.testing.assert_array_equal(result.ice_temperature, FREEZING)
    np.testing.assert_allclose(
        result.water_temperature, [281.4, FREEZING + 10 / 0.8, FREEZING + 20], rtol=1e-15
    )


def test_cold_water_has_at_least_half_ice():
    result = split([261.4, 261.4, FREEZING], [0.1, 0.8, 0.0])
    np.testing.assert_array_equal(result.ice_fraction, [0.5, 0.8, 0.5])
    np.testing.assert_allclose(
        result.ice_temperature, [FREEZING - 20, FREEZING - 12.5, FREEZING], rtol=1e-15
    )
    np.testing.assert_array_equal(result.water_temperature, FREEZING)


@settings(max_examples=50, deadline=None)
@given(st.floats(230, 310), st.floats(0, 1))
def test_the_split_adds_up_to_the_temperature_that_was_given(temperature, ice):
    result = split([temperature], [ice])
    mean = (1 - result.ice_fraction) * result.water_temperature
    mean = mean + result.ice_fraction * result.ice_temperature
    np.testing.assert_allclose(mean, temperature, rtol=1e-14)


def test_water_without_ice_keeps_its_temperature_to_the_bit():
    temperature = jnp.linspace(271.5, 305, 101)
    np.testing.assert_array_equal(
        split(temperature, jnp.zeros(101)).water_temperature, temperature
    )


def test_zero_widths_change_no_bit_of_the_split():
    temperature, ice = jnp.linspace(260, 280, 21), jnp.linspace(0, 1, 21)
    exact, zero = split(temperature, ice), split(temperature, ice, SurfaceWidths())
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(zero), strict=True):
        np.testing.assert_array_equal(a, b)


def test_smooth_split_is_finite_and_adds_up_near_freezing():
    temperature = jnp.linspace(268, 275, 71)
    result = split(temperature, jnp.full(71, 0.3), SMOOTH)
    mean = (1 - result.ice_fraction) * result.water_temperature
    mean = mean + result.ice_fraction * result.ice_temperature
    np.testing.assert_allclose(mean, temperature, rtol=0, atol=5e-3)


def test_smooth_split_has_the_derivatives_of_central_differences():
    temperature, ice = jnp.array([271.0, 271.4, 271.6, 272.5]), jnp.array([0.3, 0.6, 0.48, 0.0])

    def parts(h):
        return jax.tree.leaves(split(temperature + h, ice + 0.1 * h, SMOOTH))

    assert_smooth(parts)


def assert_smooth(parts, step=1e-4):
    """Compare the derivative at 0 with central differences, extrapolated to order 4."""
    _, slopes = jax.jvp(parts, (jnp.asarray(0.0),), (jnp.asarray(1.0),))

    def central(h):
        return [(a - b) / (2 * h) for a, b in zip(parts(h), parts(-h), strict=True)]

    for slope, fine, coarse in zip(slopes, central(step / 2), central(step), strict=True):
        expected = (4 * fine - coarse) / 3
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-6 * np.abs(slope).max())


@pytest.mark.parametrize("temperature", [230.0, FREEZING, 271.5, 310.0])
@pytest.mark.parametrize("ice", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_derivatives_of_the_split_are_finite(temperature, ice, widths):
    def total(t, i):
        parts = split_climatology(t, i, parameters=SeaParameters(), widths=widths)
        return sum(jnp.sum(x) for x in jax.tree.leaves(parts))

    slopes = jax.grad(total, (0, 1))(jnp.asarray([temperature]), jnp.asarray([ice]))
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize(("sine", "layer", "ice"), [
    (0.9988201592792827, 250790425.812, 4820448.5014),
    (0.03238189105258689, 167331458.317, 2897023.7727),
])
def test_heat_capacities_are_those_of_the_reference_code(sine, layer, ice):
    cosine = jnp.sqrt(1 - jnp.asarray(sine) ** 2)
    capacity = mixed_layer_heat_capacity(cosine, SeaParameters())
    np.testing.assert_allclose(capacity, layer, rtol=1e-11)
    np.testing.assert_allclose(ice_heat_capacity(cosine, SeaParameters()), ice, rtol=1e-10)


#: Ice; open water; less than a third of sea.
STATE = SeaState(
    jnp.array([262.0, FREEZING, 268.0]), jnp.array([0.9, 0.0, 0.6]),
    jnp.array([272.0, 300.0, 272.5]),
)  # fmt: skip
CLIMATOLOGY = SeaClimatology(
    jnp.array([FREEZING, 299.0, FREEZING]), jnp.array([260.0, FREEZING, 267.0]),
    jnp.array([0.8, 0.0, 0.6]),
)  # fmt: skip
NET, SENSIBLE = jnp.array([-30.0, 150.0, 10.0]), jnp.array([5.0, 10.0, -2.0])
EVAPORATION, SHORTWAVE = jnp.array([2e-6, 5e-5, 1e-6]), jnp.array([100.0, 250.0, 0.0])
SEA, COSINE = jnp.array([1.0, 1.0, 0.3]), jnp.array([0.2, 1.0, 0.5])


def advance(
    state=STATE, climatology=CLIMATOLOGY, net=NET, parameters=None, widths=EXACT, **options
):
    options = {
        "sea_heat_flux": "added", "sea": "prescribed", "ice": "slab", "damping": "per_step",
        "melting_cap": False, "time_step": 2400.0,
    } | options  # fmt: skip
    return advance_sea(
        state, climatology, net, SENSIBLE, EVAPORATION, SHORTWAVE, SEA, COSINE,
        jnp.asarray(0.98), options.pop("time_step"),
        parameters=parameters or SeaParameters(), albedo=AlbedoParameters(), constants=EARTH,
        widths=widths, **options,
    )  # fmt: skip


def ice_flux():
    """Flux into the ice of the first column, by hand [W m-2]."""
    turbulent = 5.0 + 2.501e6 * 2e-6
    emitted = 0.98 * 5.67e-8 * (FREEZING**4 - 262.0**4)
    return -30.0 + 0.1 * ((0.07 - 0.60) * 100 + emitted + turbulent)


def test_an_ice_step_agrees_with_one_by_hand():
    capacity = 1.93e6 * (2.5 - 0.2**2)
    factor = 30 / 31 * 20 / (20 + 2)
    heating = ice_flux() + 1.0 * (FREEZING - 262)
    expected = 260 + factor * (2 + 2400 / capacity * heating)
    np.testing.assert_allclose(advance().ice_temperature[0], expected, rtol=1e-15)


def test_ice_follows_the_climatology_where_there_is_little_sea():
    assert advance().ice_temperature[2] == CLIMATOLOGY.ice_temperature[2]


def test_ice_fraction_is_that_of_the_climatology():
    np.testing.assert_array_equal(advance().ice_fraction, CLIMATOLOGY.ice_fraction)


def test_climatological_ice_ignores_the_fluxes():
    np.testing.assert_array_equal(
        advance(ice="climatology").ice_temperature, CLIMATOLOGY.ice_temperature
    )


def test_prescribed_sea_needs_no_mixed_layer():
    np.testing.assert_array_equal(
        advance().mixed_layer_temperature, CLIMATOLOGY.water_temperature
    )


def test_a_mixed_layer_step_agrees_with_one_by_hand():
    layer = advance(sea="slab", sea_heat_flux="subtracted").mixed_layer_temperature
    ocean = 299 + 90 / 91 * (1 + 2400 / (4.18e6 * 40) * 150)
    heating = -30.0 - 0.8 * (ice_flux() + 1.0 * (FREEZING - 262))
    capacity = 4.18e6 * (60 - 20 * 0.2**3)
    frozen = FREEZING + 90 / 91 * (272 - FREEZING + 2400 / capacity * heating)
    np.testing.assert_allclose(layer, [frozen, ocean, FREEZING], rtol=1e-15)


def test_the_mixed_layer_gets_the_flux_of_the_right_sign():
    turbulent = SENSIBLE + 2.501e6 * EVAPORATION
    added = advance(net=NET + turbulent, sea="slab", sea_heat_flux="added")
    subtracted = advance(net=NET - turbulent, sea="slab", sea_heat_flux="subtracted")
    np.testing.assert_allclose(
        added.mixed_layer_temperature, subtracted.mixed_layer_temperature, rtol=1e-14
    )


def test_damping_per_day_follows_the_clock():
    slow = advance(damping="per_day", time_step=DAY)
    np.testing.assert_allclose(
        slow.ice_temperature, advance(time_step=DAY).ice_temperature, rtol=1e-14
    )
    factor = 90 * DAY / (90 * DAY + 2400)
    layer = advance(sea="slab", sea_heat_flux="subtracted", damping="per_day")
    expected = 299 + factor * (1 + 2400 / (4.18e6 * 40) * 150)
    np.testing.assert_allclose(layer.mixed_layer_temperature[1], expected, rtol=1e-15)


def test_capped_ice_does_not_get_warmer_than_melting():
    state = SeaState(jnp.full(3, 290.0), STATE.ice_fraction, STATE.mixed_layer_temperature)
    climatology = SeaClimatology(*[jnp.full(3, FREEZING)] * 2, CLIMATOLOGY.ice_fraction)
    assert advance(state, climatology).ice_temperature[0] > 275
    assert advance(state, climatology, melting_cap=True).ice_temperature[0] == 273.15


def test_unknown_options_are_refused():
    # A TypeError of the run-time type checker, a ValueError without it.
    with pytest.raises((ValueError, TypeError), match="prescribed"):
        advance(sea="deep")


def test_the_atmosphere_sees_water_and_ice_by_their_shares():
    anomaly = jnp.array([1.0, 0.5, 0.0])
    seen = sea_surface_temperature(STATE, CLIMATOLOGY, anomaly, sea="prescribed")
    np.testing.assert_allclose(
        seen, [0.1 * (FREEZING + 1) + 0.9 * 262, 299.5, 0.4 * FREEZING + 0.6 * 268], rtol=1e-15
    )


def test_the_mixed_layer_is_seen_without_observed_anomalies():
    seen = sea_surface_temperature(STATE, CLIMATOLOGY, jnp.full(3, 9.0), sea="slab")
    assert seen[1] == 300


def test_a_run_starts_from_the_climatology():
    state = initial_sea(CLIMATOLOGY)
    seen = sea_surface_temperature(state, CLIMATOLOGY, jnp.zeros(3), sea="slab")
    again = sea_surface_temperature(state, CLIMATOLOGY, jnp.zeros(3), sea="prescribed")
    np.testing.assert_array_equal(seen, again)


def test_zero_widths_change_no_bit_of_a_step():
    exact, zero = advance(melting_cap=True), advance(melting_cap=True, widths=SurfaceWidths())
    np.testing.assert_array_equal(exact.ice_temperature, zero.ice_temperature)


def test_single_precision_stays_single():
    def single(tree):
        return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)

    result = advance_sea(
        *single((STATE, CLIMATOLOGY, NET, SENSIBLE, EVAPORATION, SHORTWAVE, SEA, COSINE,
                 jnp.asarray(0.98))), 2400.0,
        parameters=single(SeaParameters()), albedo=single(AlbedoParameters()), constants=EARTH,
        widths=EXACT, sea_heat_flux="added", sea="slab", ice="slab", damping="per_step",
        melting_cap=True,
    )  # fmt: skip
    assert {x.dtype for x in jax.tree.leaves(result)} == {jnp.dtype("float32")}


def test_a_smooth_step_has_the_derivatives_of_central_differences():
    def parts(h):
        state = jax.tree.map(lambda x: x * (1 + 1e-2 * h), STATE)
        climatology = jax.tree.map(lambda x: x * (1 - 0.5e-2 * h), CLIMATOLOGY)
        parameters = jax.tree.map(lambda x: x * (1 + 1e-2 * h), SeaParameters())
        result = advance(
            state, climatology, NET * (1 + h), parameters, SMOOTH, sea="slab", melting_cap=True
        )
        return jax.tree.leaves(result)

    assert_smooth(parts)


def test_derivatives_are_finite_where_ice_is_at_its_climatology():
    def total(temperature):
        state = SeaState(temperature, STATE.ice_fraction, STATE.mixed_layer_temperature)
        return jnp.sum(advance(state).ice_temperature)

    assert np.all(np.isfinite(jax.grad(total)(CLIMATOLOGY.ice_temperature)))
