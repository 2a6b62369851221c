"""Tests of shortwave radiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from radiation_columns import SHORTWAVE_ABSORPTION, SHORTWAVE_FLUXES, radiation_columns
from scheme_checks import (
    assert_adjoint,
    assert_bitwise_equal,
    assert_close_to_maximum,
    assert_single_precision,
    assert_smooth,
    reference,
    single_precision,
)

from jcm.constants import EARTH
from jcm.physics.insolation import Insolation
from jcm.physics.shortwave import ShortwaveParameters, shortwave
from jcm.physics.smooth import RadiationWidths, exact_widths
from jcm.vertical import speedy_levels

EXACT = exact_widths().radiation
SMOOTH = RadiationWidths(cloud_absorption=0.005)


def radiate(arguments, parameters=None, widths=EXACT, levels=None):
    return shortwave(
        *arguments, levels=levels or speedy_levels(),
        parameters=parameters or ShortwaveParameters(), constants=EARTH, widths=widths,
    )  # fmt: skip


radiate_compiled = jax.jit(lambda arguments: radiate(arguments))


def columns():
    c = radiation_columns()
    return (c.surface_pressure, c.humidity, c.cover, c.stratiform_cover, c.top_weight,
            c.cloud_base_humidity, c.insolation, c.albedo)  # fmt: skip


def reference_columns():
    pressure, humidity, cover, stratiform, top, base, albedo = reference(
        "ps", "q", "cloudc", "clstr", "icltop", "qcloud", "albsfc")  # fmt: skip
    sun = Insolation(*reference("fsol", "ozupp", "ozone", "zenit", "stratz"))
    top_weight = jax.nn.one_hot(top.astype(int) - 1, 9, axis=0, dtype=float)
    return pressure, humidity / 1000, cover, stratiform, top_weight, base / 1000, sun, albedo


def smooth_columns():
    """Return columns with a cloud top spread over the layers and cloud base near the ceiling."""
    arguments = list(columns())
    rng = np.random.default_rng(3)
    weights = rng.uniform(size=arguments[4].shape)
    weights[0] = 0
    arguments[4] = jnp.asarray(weights / weights.sum(axis=0))
    return tuple(arguments)


def test_fluxes_of_six_columns():
    result = radiate(columns())
    fluxes = jnp.stack([result.surface_downward, result.surface_net, result.toa_net])
    np.testing.assert_allclose(fluxes, SHORTWAVE_FLUXES, rtol=1e-11)


def test_absorption_in_six_columns():
    np.testing.assert_allclose(radiate(columns()).absorption, SHORTWAVE_ABSORPTION, rtol=1e-11)


@pytest.mark.parametrize(
    ("field", "name"),
    [("absorption", "rsw_dfabs"), ("surface_downward", "ssrd"), ("surface_net", "ssr"),
     ("toa_net", "tsr")],
)  # fmt: skip
def test_reference_columns(field, name):
    assert_close_to_maximum(getattr(radiate(reference_columns()), field), reference(name))


@given(
    arrays(float, (8, 2), elements=st.floats(0, 0.03)),
    st.floats(0.5, 1.1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(2, 9),
    st.floats(0, 500),
    st.floats(0, 1),
)
@settings(max_examples=50, deadline=None)
def test_energy_is_conserved_except_for_a_cloud_top_in_the_second_layer(
    humidity, pressure, cover, stratiform, top, irradiance, albedo
):
    ones = jnp.ones(2)
    top_weight = jnp.zeros((9, 2)).at[top - 1].set(1.0)
    sun = Insolation(
        irradiance * ones, 0.02 * irradiance * ones, 0.03 * irradiance * ones, 1.3 * ones, 0 * ones
    )
    result = radiate_compiled(
        (pressure * ones, jnp.asarray(humidity), cover * ones, stratiform * ones, top_weight,
         jnp.asarray(humidity[6]), sun, albedo * ones)
    )  # fmt: skip
    gained = jnp.sum(result.absorption, axis=0) + result.surface_net - result.toa_net
    np.testing.assert_allclose(gained, 0.43 * cover * (top == 2), rtol=0, atol=1e-10)


def test_no_light_at_all_without_sun_and_cloud_top_in_the_second_layer():
    arguments = list(columns())
    arguments[4] = jnp.roll(arguments[4], 1, axis=0).at[0].set(0)
    arguments[6] = Insolation(*(jnp.zeros(6) for _ in range(3)), jnp.full(6, 2.8), jnp.full(6, 6.0))
    for leaf in jax.tree.leaves(radiate(arguments)):
        np.testing.assert_array_equal(leaf, 0)


def test_cloud_top_in_the_lowest_layer_reflects_as_stratiform_cloud():
    arguments = list(columns())
    arguments[4] = jax.nn.one_hot(jnp.full(6, 7), 9, axis=0, dtype=float)
    lowest = radiate(arguments)
    arguments[4] = jax.nn.one_hot(jnp.full(6, 8), 9, axis=0, dtype=float)
    assert_bitwise_equal(lowest, radiate(arguments))


def test_a_distribution_over_cloud_tops_keeps_energy_conserved():
    arguments = smooth_columns()
    result = radiate(arguments)
    gained = jnp.sum(result.absorption, axis=0) + result.surface_net - result.toa_net
    expected = 0.43 * arguments[2] * arguments[4][1]
    np.testing.assert_allclose(gained, expected, rtol=0, atol=1e-10)


def test_gradients_agree_with_central_differences():
    arguments = (smooth_columns(), ShortwaveParameters())
    assert_smooth(lambda a: radiate(*a, SMOOTH), arguments)


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_forward_and_reverse_mode_agree(widths):
    assert_adjoint(lambda a: radiate(*a, widths), (columns(), ShortwaveParameters()))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_gradients_are_finite_in_dry_columns_of_the_polar_night(widths):
    arguments = list(columns())
    arguments[0] = jnp.linspace(0.5, 1.1, 6)
    arguments[1], arguments[5] = jnp.zeros((8, 6)), jnp.zeros(6)
    arguments[6] = Insolation(*(jnp.zeros(6) for _ in range(3)), jnp.full(6, 2.8), jnp.full(6, 6.0))
    assert_adjoint(lambda a: radiate(*a, widths), (tuple(arguments), ShortwaveParameters()))


def test_zero_widths_are_exact():
    arguments = reference_columns()
    assert_bitwise_equal(radiate(arguments), radiate(arguments, widths=RadiationWidths()))


def test_single_precision_is_kept():
    arguments = single_precision((reference_columns(), ShortwaveParameters()))
    assert_single_precision(radiate(*arguments))


def test_forcing_by_latitude_broadcasts_over_longitude():
    arguments = columns()
    grid = tuple(jnp.stack([x, x], axis=-2) for x in arguments[:6])
    result = radiate((*grid, *arguments[6:]))
    single = radiate(arguments)
    np.testing.assert_array_equal(result.absorption[:, 1], single.absorption)
    assert result.toa_net.shape == (2, 6)


@pytest.mark.parametrize("count", [5, 7])
def test_energy_is_conserved_on_other_levels(count):
    arguments = list(columns())
    arguments[1] = arguments[1][-count:]
    arguments[4] = jax.nn.one_hot(jnp.arange(6) % 3 + 2, count + 1, axis=0, dtype=float)
    result = radiate(arguments, levels=speedy_levels(count))
    gained = jnp.sum(result.absorption, axis=0) + result.surface_net - result.toa_net
    np.testing.assert_allclose(gained, 0, rtol=0, atol=1e-10)
