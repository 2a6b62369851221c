"""Tests of the daily-mean solar forcing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheme_checks import (
    assert_adjoint,
    assert_bitwise_equal,
    assert_close_to_maximum,
    assert_single_precision,
    assert_smooth,
    reference,
    single_precision,
)

from jcm.physics.insolation import SolarParameters, insolation
from jcm.physics.smooth import RadiationWidths, exact_widths

EXACT = exact_widths().radiation
SMOOTH = RadiationWidths(ozone_season=0.02, polar_night=0.5)
FIRST_OF_JULY = jnp.array(181.5 / 365)

#: sin(latitude), irradiance, upper and lower ozone, zenith factor, polar-night cooling on 1 July.
JULY = np.array([
    (-0.9988201592793, 0, 0, 0, 2.818012403528, 6),
    (-0.8766185526038, 18.48072600088, 0.3353424596342, 0.5834535553269, 1.814552413245, 0),
    (-0.5231887664686, 205.2955017629, 2.419183589738, 1.623875069526, 1.178390938411, 0),
    (-0.03238189105259, 378.4566644543, 3.817918365255, 0.3140808543931, 1.008812560022, 0),
    (0.03238189105259, 395.2879026127, 3.971369640535, 0.3267045155186, 1.004677758739, 0),
    (0.5231887664686, 477.2349853439, 4.772893156488, 3.203800752952, 1.000113843927, 0),
    (0.8766185526038, 474.1235298433, 4.955775820857, 8.622424447046, 1.045249920942, 0),
    (0.9988201592793, 519.1599203058, 6.833506060404, 15.27224434365, 1.316262252367, 0),
]).T  # fmt: skip


def forcing(year_fraction, sin_latitude, parameters=None, widths=EXACT):
    return insolation(
        year_fraction, sin_latitude, parameters=parameters or SolarParameters(), widths=widths
    )


forcing_compiled = jax.jit(lambda day, sin_latitude: forcing(day, sin_latitude))


def test_fields_of_the_first_of_july_are_those_of_the_reference_code():
    result = forcing(FIRST_OF_JULY, jnp.asarray(JULY[0]))
    actual = [result.irradiance, result.ozone_upper, result.ozone_lower, result.zenith_factor,
              result.polar_night_cooling]  # fmt: skip
    for got, expected in zip(actual, JULY[1:], strict=True):
        # The sine of latitude is printed with 13 digits; near the pole its cosine loses three.
        assert_close_to_maximum(got, expected, 1e-11)


@pytest.mark.parametrize(
    ("field", "name"),
    [("irradiance", "fsol"), ("ozone_upper", "ozupp"), ("ozone_lower", "ozone"),
     ("zenith_factor", "zenit"), ("polar_night_cooling", "stratz")],
)  # fmt: skip
def test_reference_columns(field, name):
    expected, year_fraction, sin_latitude = reference(name, "tyear", "sin_lat")
    assert_close_to_maximum(getattr(forcing(year_fraction, sin_latitude), field), expected)


@given(st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_global_mean_irradiance_depends_on_the_distance_of_the_sun_only(year_fraction):
    nodes, weights = np.polynomial.legendre.leggauss(400)
    result = forcing_compiled(jnp.array(year_fraction), jnp.asarray(nodes)).irradiance
    # Spencer (1971): the mean of the series is 1.00011, its amplitude 3.5 %.
    angle = 2 * np.pi * year_fraction
    distance_factor = (1.000110 + 0.034221 * np.cos(angle) + 0.001280 * np.sin(angle)
                       + 0.000719 * np.cos(2 * angle) + 0.000077 * np.sin(2 * angle))  # fmt: skip
    # The quadrature meets the edge of the polar night, where irradiance is not smooth.
    np.testing.assert_allclose(np.sum(weights * result) / 2, 342 * distance_factor, rtol=1e-5)


@given(st.floats(0, 1), st.floats(-0.9999, 0.9999))
@settings(max_examples=50, deadline=None)
def test_irradiance_is_never_negative(year_fraction, sin_latitude):
    result = forcing_compiled(jnp.array(year_fraction), jnp.array(sin_latitude))
    assert result.irradiance >= -1e-12 and result.ozone_lower >= -1e-12


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_gradients_are_finite_from_pole_to_pole(widths):
    sin_latitude = jnp.linspace(-1, 1, 401)

    def total(parameters, day, sin_latitude):
        result = forcing(day, sin_latitude, parameters, widths)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(result))

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    for day in (0.0, 0.22, 0.47, 0.97):
        for leaf in jax.tree.leaves(gradient(SolarParameters(), jnp.array(day), sin_latitude)):
            assert np.all(np.isfinite(leaf))


def test_gradients_are_finite_under_the_overhead_sun():
    day = jnp.linspace(0, 1, 200)
    declination = -jnp.radians(23.45) * jnp.cos(2 * jnp.pi * (day + 10 / 365))

    def total(parameters):
        return jnp.sum(forcing(day, jnp.sin(declination), parameters).zenith_factor)

    # Rounding puts 1 - cos(zenith angle) below 0 in some columns, whose power would be undefined.
    np.testing.assert_allclose(total(SolarParameters(zenith_exponent=1.5)), 200, rtol=1e-12)
    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(SolarParameters(zenith_exponent=1.5))):
        assert np.all(np.isfinite(leaf))


def test_gradients_are_finite_exactly_at_the_edge_of_the_polar_night():
    day = jnp.array(0.97)
    edge = jnp.sort(jnp.abs(jnp.asarray(np.linspace(0.91, 0.93, 20001))))
    dark = forcing(day, edge).irradiance
    assert dark[0] > 0 and dark[-1] == 0
    slope = jax.vmap(jax.grad(lambda s: forcing(day, s).irradiance))(edge)
    assert np.all(np.isfinite(slope)) and np.max(np.abs(slope)) < 1500


def test_gradients_agree_with_central_differences():
    # Sines of latitude with day and night, polar day, and irradiance near the threshold.
    sin_latitude = jnp.array([-0.98, -0.9, -0.7, -0.1, 0.3, 0.8, 0.86, 0.90])
    arguments = (jnp.array([0.95]), sin_latitude, SolarParameters())
    assert_smooth(lambda a: forcing(*a, SMOOTH), arguments)


def test_forward_and_reverse_mode_agree():
    sin_latitude = jnp.linspace(-0.999, 0.999, 48)
    assert_adjoint(lambda a: forcing(*a), (jnp.array([0.95]), sin_latitude, SolarParameters()))


def test_zero_widths_are_exact():
    arguments = reference("tyear", "sin_lat")
    assert_bitwise_equal(forcing(*arguments), forcing(*arguments, widths=RadiationWidths()))


def test_single_precision_is_kept():
    arguments = single_precision(reference("tyear", "sin_lat"))
    assert_single_precision(forcing(*arguments, single_precision(SolarParameters())))
