"""Saturation and relative humidity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from columns import (
    LEVELS,
    PRESSURE,
    RAW_HUMIDITY,
    SATURATION_HUMIDITY,
    TEMPERATURE,
    assert_finite,
    assert_reproduces,
    reference,
    suggested,
    without,
)
from hypothesis import given
from hypothesis import strategies as st
from scheme_checks import (
    assert_adjoint,
    assert_bitwise_equal,
    assert_single_precision,
    assert_smooth,
    single_precision,
)

from jcm.physics.humidity import (
    humidity_floor,
    relative_humidity,
    saturation_specific_humidity,
)
from jcm.physics.smooth import HumidityWidths
from jcm.vertical import along_levels

EXACT = without(HumidityWidths())
SMOOTH = suggested(HumidityWidths())


def saturation(temperature, pressure, widths=EXACT):
    return saturation_specific_humidity(temperature, pressure, widths=widths)


def column_pressure(pressure, temperature):
    return along_levels(LEVELS.centre, temperature) * pressure


def test_saturation_of_columns_by_hand():
    result = saturation(TEMPERATURE, column_pressure(PRESSURE, TEMPERATURE))
    np.testing.assert_allclose(result, SATURATION_HUMIDITY, rtol=1e-12)


def test_saturation_at_the_triple_point():
    expected = 0.622 * 6.108e-3 / (0.9 - 0.378 * 6.108e-3)
    np.testing.assert_allclose(saturation(jnp.array(273.16), jnp.array(0.9)), expected)


def test_saturation_reproduces_the_public_code():
    temperature = reference("t")
    result = saturation(temperature, column_pressure(reference("ps"), temperature))
    assert_reproduces(result, "qsat")


def test_relative_humidity_reproduces_the_public_code():
    assert_reproduces(relative_humidity(reference("q"), reference("qsat")), "rh")


def test_the_floor_reproduces_the_public_code():
    assert_reproduces(humidity_floor(reference("q_raw"), EXACT), "q")


@given(st.floats(180, 320), st.floats(0.01, 5), st.floats(0.2, 1.1))
def test_saturation_increases_with_temperature(temperature, warming, pressure):
    cold, warm = jnp.array(temperature), jnp.array(temperature + warming)
    assert saturation(warm, jnp.array(pressure)) > saturation(cold, jnp.array(pressure))


@pytest.mark.parametrize("temperature", [0.0, 7.66, 35.86, 100.0, 273.16, 320.0, 400.0, 1000.0])
@pytest.mark.parametrize("widths", [EXACT, HumidityWidths(), SMOOTH])
def test_saturation_is_positive_and_differentiable_at_any_temperature(temperature, widths):
    thin_air = jnp.array(0.025)
    assert saturation(jnp.array(temperature), thin_air, widths) > 0
    assert_finite(lambda t: saturation(t, thin_air, widths), jnp.array(temperature))


def test_the_derivative_of_the_floor_is_zero_at_zero():
    assert jax.grad(lambda q: humidity_floor(q, EXACT))(0.0) == 0


def test_smooth_saturation_has_the_derivative_of_central_differences():
    temperature = jnp.linspace(268, 278, 21)
    assert_smooth(lambda a: saturation(*a), (temperature, jnp.array(0.9), SMOOTH))


def test_smooth_floor_has_the_derivative_of_central_differences():
    assert_smooth(lambda a: humidity_floor(*a), (RAW_HUMIDITY, SMOOTH))


def test_smooth_saturation_tends_to_the_exact_one():
    narrow = jax.tree.map(lambda width: 1e-3 * width, SMOOTH)
    pressure = column_pressure(PRESSURE, TEMPERATURE)
    result = saturation(TEMPERATURE, pressure, narrow)
    np.testing.assert_allclose(result, saturation(TEMPERATURE, pressure), rtol=1e-10)


def test_forward_and_reverse_derivatives_agree():
    pressure = column_pressure(PRESSURE, TEMPERATURE)
    assert_adjoint(lambda a: saturation(*a), (TEMPERATURE, pressure))


def test_width_zero_is_exact():
    temperature, pressure = jnp.linspace(200, 310, 50), jnp.array(0.8)
    zero = HumidityWidths()
    assert_bitwise_equal(saturation(temperature, pressure, zero), saturation(temperature, pressure))
    assert_bitwise_equal(humidity_floor(RAW_HUMIDITY, zero), humidity_floor(RAW_HUMIDITY, EXACT))


@pytest.mark.parametrize("widths", [EXACT, single_precision(SMOOTH)])
def test_float32_stays_float32(widths):
    temperature, pressure, humidity = single_precision((TEMPERATURE, PRESSURE, RAW_HUMIDITY))
    assert_single_precision(saturation(temperature, pressure, widths))
    assert_single_precision(humidity_floor(humidity, widths))
