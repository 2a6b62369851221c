"""Tests of masks, soil water and interpolation in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcm.physics.smooth import SurfaceWidths, exact_widths
from jcm.surface.boundary import (
    BoundaryParameters,
    linear_interpolation,
    masks,
    mean_conserving_interpolation,
    mean_conserving_weights,
    on_mask,
    soil_water_availability,
)

EXACT = exact_widths().surface
PARAMETERS = BoundaryParameters()


def availability(upper, lower, high, low, parameters=PARAMETERS, widths=EXACT):
    fields = (jnp.asarray([x]) for x in (upper, lower, high, low))
    return soil_water_availability(*fields, parameters=parameters, widths=widths)[0]


def test_small_shares_of_land_and_sea_are_dropped():
    result = masks(jnp.array([0.0, 0.09, 0.1, 0.5, 0.9, 0.91, 1.0]), parameters=PARAMETERS)
    np.testing.assert_array_equal(result.land_fraction, [0, 0, 0.1, 0.5, 0.9, 1, 1])
    np.testing.assert_array_equal(result.land, [0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(result.sea, [1, 1, 1, 1, 0, 0, 0])
    assert result.sea_fraction[3] == 0.5


@settings(deadline=None)
@given(st.floats(0, 1))
def test_land_and_sea_fill_the_grid_box(share):
    # Within one rounding of the threshold, 1 - (1 - share) can fall on the other side.
    if min(abs(share - 0.1), abs(share - 0.9)) > 1e-12:
        result = masks(jnp.array([share]), parameters=PARAMETERS)
        np.testing.assert_allclose(result.land_fraction + result.sea_fraction, 1, rtol=1e-15)


def test_masked_values_become_the_default_and_pass_no_derivative():
    field, mask = jnp.array([280.0, jnp.nan]), jnp.array([0.3, 0.0])
    np.testing.assert_array_equal(on_mask(field, mask, 273.0), [280, 273])
    slope = jax.grad(lambda x: on_mask(x, mask, 273.0).sum())(field)
    np.testing.assert_array_equal(slope, [1, 0])


def test_soil_water_of_bare_ground_is_the_upper_layer_over_capacity():
    np.testing.assert_allclose(availability(0.2, 0.4, 0.0, 0.0), 0.2 / 0.69, rtol=1e-15)


def test_roots_reach_water_above_the_wilting_point():
    expected = (0.1 + (0.3 + 0.8 * 0.5) * 3 * (0.25 - 0.17)) / 0.69
    np.testing.assert_allclose(availability(0.1, 0.25, 0.3, 0.5), expected, rtol=1e-14)
    assert availability(0.1, 0.16, 0.3, 0.5) == availability(0.1, 0.1, 0.3, 0.5)


def test_soil_water_availability_is_at_most_1():
    assert availability(0.4, 0.4, 1.0, 0.0) == 1


def test_soil_water_availability_has_the_derivatives_of_central_differences():
    point = jnp.array([0.2, 0.25, 0.4, 0.3, 0.31, 0.18])
    widths = SurfaceWidths(cover=0.02)

    def value(x):
        parameters = BoundaryParameters(field_capacity=x[4], wilting_point=x[5])
        return availability(*x[:4], parameters=parameters, widths=widths)

    assert_central_differences(value, point)


def assert_central_differences(value, point, step=1e-5):
    slope = jax.grad(value)(point)
    for k, unit in enumerate(jnp.eye(len(point))):
        difference = (value(point + step * unit) - value(point - step * unit)) / (2 * step)
        np.testing.assert_allclose(slope[k], difference, rtol=1e-6)


def test_zero_widths_change_no_bit_of_soil_water_availability():
    point = (0.2, 0.25, 0.4, 0.3)
    assert availability(*point) == availability(*point, widths=SurfaceWidths())


@pytest.mark.parametrize(("fraction", "weights"), [
    (0.5 / 31, (-0.0780220256677, 0.5487773152966, 0.6230055497745, -0.0963839750260,
                0.0026231356226)),
    (0.5, (0.0208333333333, -0.125, 1.2083333333333, -0.125, 0.0208333333333)),
    (27.5 / 28, (0.0028964710884, -0.0977359693878, 0.6271789965986, 0.5451211734694,
                 -0.0774606717687)),
    (28.5 / 28, (-0.0030559098639, -0.0679740646259, 0.5378932823129, 0.6225021258503,
                 -0.0893654336735)),
    (30.5 / 31, (0.0026231356226, -0.0963839750260, 0.6230055497745, 0.5487773152966,
                 -0.0780220256677)),
])  # fmt: skip
def test_mean_conserving_weights_are_those_of_the_reference_code(fraction, weights):
    np.testing.assert_allclose(
        mean_conserving_weights(jnp.asarray(fraction)), weights, rtol=0, atol=6e-14
    )


def test_mean_conserving_weights_average_to_the_current_month():
    # Gauss-Legendre with three points is exact for these polynomials of degree 2.
    nodes, quadrature = np.polynomial.legendre.leggauss(3)
    weights = jax.vmap(mean_conserving_weights)(jnp.asarray((nodes + 1) / 2))
    np.testing.assert_allclose(quadrature / 2 @ np.asarray(weights), [0, 0, 1, 0, 0], atol=1e-15)


@pytest.mark.parametrize("interpolation", [linear_interpolation, mean_conserving_interpolation])
@pytest.mark.parametrize("month", [0, 6, 11])
def test_interpolation_is_continuous_from_month_to_month(interpolation, month):
    series = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)))
    end = interpolation(series, jnp.asarray(month), jnp.asarray(1.0))
    start = interpolation(series, jnp.asarray((month + 1) % 12), jnp.asarray(0.0))
    np.testing.assert_allclose(end, start, rtol=0, atol=1e-14)


def test_linear_interpolation_joins_the_middles_of_months():
    series = jnp.arange(12.0)
    january = [
        linear_interpolation(series, jnp.asarray(0), jnp.asarray(t)) for t in (0.25, 0.5, 0.75)
    ]
    np.testing.assert_allclose(january, [0.25 * 11, 0, 0.25], rtol=1e-15)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 11), st.floats(0, 1.02), st.floats(200, 320))
def test_interpolation_keeps_a_constant(month, fraction, value):
    series = jnp.full((12, 1), value)
    for interpolation in (linear_interpolation, mean_conserving_interpolation):
        result = interpolation(series, jnp.asarray(month), jnp.asarray(fraction))
        np.testing.assert_allclose(result, value, rtol=1e-14)


@pytest.mark.parametrize("interpolation", [linear_interpolation, mean_conserving_interpolation])
def test_interpolation_keeps_the_type_of_the_series(interpolation):
    series = jnp.ones((12, 2), jnp.float32)
    assert interpolation(series, jnp.asarray(3), jnp.asarray(0.3)).dtype == jnp.float32
