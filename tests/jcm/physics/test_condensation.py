"""Large-scale condensation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from columns import (
    CONVECTION_TOP,
    GRAM,
    HUMIDITY,
    LARGE_SCALE_PRECIPITATION,
    LEVELS,
    PRECIPITATION_TOP,
    PRESSURE,
    SATURATION_HUMIDITY,
    assert_finite,
    assert_reproduces,
    hard_columns,
    one_hot,
    perturbed_columns,
    reference,
    suggested,
    table,
    without,
)
from hypothesis import given, settings
from scheme_checks import (
    assert_adjoint,
    assert_bitwise_equal,
    assert_single_precision,
    assert_smooth,
    single_precision,
)

from jcm.constants import EARTH
from jcm.physics.condensation import CondensationParameters, condensation
from jcm.physics.layers import top_layer
from jcm.physics.smooth import CondensationWidths
from jcm.vertical import along_levels

EXACT = without(CondensationWidths())
SMOOTH = suggested(CondensationWidths())
HAND = (PRESSURE, HUMIDITY, SATURATION_HUMIDITY, one_hot(CONVECTION_TOP))
CAPS = ("heating", "heating_and_drying")

HUMIDITY_TENDENCY = GRAM * table("""0 0 0 -2.032208155723e-07 0 0 0 0
0 0 0 0 0 0 0 0
0 0 0 0 0 0 -2.510380819068e-05 0
0 -1.498114052917e-08 0 0 0 0 0 0
0 0 0 0 0 0 0 -3.957634729271e-06
0 0 0 0 0 0 -3.810075546746e-05 0""")

TEMPERATURE_TENDENCY = table("""0 0 0 5.062303383927e-07 0 0 0 0
0 0 0 0 0 0 0 0
0 0 0 0 0 0 6.253448633954e-05 0
0 3.731855823053e-08 0 0 0 0 0 0
0 0 0 0 0 0 0 9.858610017835e-06
0 0 0 0 0 0 9.4910348032e-05 0""")


def run(arrays, parameters=None, widths=EXACT, cap="heating"):
    parameters = CondensationParameters() if parameters is None else parameters
    return condensation(
        *arrays, levels=LEVELS, parameters=parameters, constants=EARTH, widths=widths, cap=cap
    )  # fmt: skip


compiled = jax.jit(run, static_argnames="cap")


@pytest.fixture(scope="module")
def public_code():
    top = one_hot(reference("cnv_itop").astype(int))
    return run((reference("ps"), reference("q"), reference("qsat"), top))


def column_mass(pressure, like):
    """Mass of the layers [kg m-2]."""
    thickness = along_levels(LEVELS.thickness, like)
    return pressure * thickness * EARTH.reference_pressure / EARTH.gravity


def soaked(excess):
    """A warm column at saturation, with this much more vapour in the layer above the lowest."""
    pressure, saturation = PRESSURE[0], SATURATION_HUMIDITY[:, 0]
    humidity = (0.5 * saturation).at[6].set(saturation[6] + excess)
    return pressure, humidity, saturation, one_hot(jnp.array(9))


def heating_and_condensation(result, pressure):
    """Energy gained and vapour lost by the column [W m-2], the second as latent heat."""
    mass = column_mass(pressure, result.temperature_tendency)
    heating = EARTH.heat_capacity * jnp.sum(mass * result.temperature_tendency)
    return heating, EARTH.latent_heat * -jnp.sum(mass * result.humidity_tendency)


def test_humidity_tendency_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).humidity_tendency, HUMIDITY_TENDENCY, rtol=1e-8)


def test_temperature_tendency_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).temperature_tendency, TEMPERATURE_TENDENCY, rtol=1e-8)


def test_precipitation_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).precipitation, LARGE_SCALE_PRECIPITATION, rtol=1e-8)


def test_top_layers_of_columns_by_hand():
    np.testing.assert_array_equal(top_layer(run(HAND).top_weight), PRECIPITATION_TOP)


def test_humidity_tendency_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.humidity_tendency, "qt_lsc")


def test_temperature_tendency_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.temperature_tendency, "tt_lsc")


def test_precipitation_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.precipitation, "precls")


def test_top_layers_reproduce_the_public_code(public_code):
    assert_reproduces(top_layer(public_code.top_weight), "lsc_itop")


@settings(deadline=None)
@given(perturbed_columns())
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_precipitation_is_all_the_vapour_that_the_column_loses(widths, arrays):
    pressure, _, humidity, saturation = arrays
    result = compiled((pressure, humidity, saturation, one_hot(jnp.array(9))), widths=widths)
    loss = -jnp.sum(column_mass(pressure, humidity) * result.humidity_tendency)
    np.testing.assert_allclose(result.precipitation, loss, rtol=1e-13)


@settings(deadline=None)
@given(perturbed_columns())
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_energy_is_conserved_where_the_limit_applies_to_drying_too(widths, arrays):
    pressure, _, humidity, saturation = arrays
    column = (pressure, 2 * humidity, saturation, one_hot(jnp.array(9)))
    result = compiled(column, widths=widths, cap="heating_and_drying")
    np.testing.assert_allclose(*heating_and_condensation(result, pressure), rtol=1e-13)


@settings(deadline=None)
@given(perturbed_columns())
@pytest.mark.parametrize("cap", CAPS)
def test_condensation_only_dries_and_heats(cap, arrays):
    pressure, _, humidity, saturation = arrays
    for widths in (EXACT, SMOOTH):
        column = (pressure, humidity, saturation, one_hot(jnp.array(9)))
        result = compiled(column, widths=widths, cap=cap)
        assert jnp.all(result.humidity_tendency <= 0)
        assert jnp.all(result.temperature_tendency >= 0)


def test_the_limit_on_heating_alone_loses_energy():
    heating, latent = heating_and_condensation(run(soaked(0.03)), PRESSURE[0])
    assert heating < 0.5 * latent


def test_both_limits_heat_alike():
    results = [run(soaked(0.03), cap=cap) for cap in CAPS]
    np.testing.assert_array_equal(*(result.temperature_tendency for result in results))


def test_both_limits_agree_where_they_do_not_act():
    results = [run(soaked(0.001), cap=cap) for cap in CAPS]
    assert results[0].precipitation > 0
    np.testing.assert_array_equal(*(result.precipitation for result in results))


def test_the_limit_on_heating_grows_with_pressure_squared():
    expected = EARTH.latent_heat / EARTH.heat_capacity * 0.01 * (0.835 * PRESSURE[0]) ** 2 / 14400
    np.testing.assert_allclose(run(soaked(0.03)).temperature_tendency[6], expected, rtol=1e-13)


def test_the_top_layer_never_condenses():
    pressure, humidity, saturation, top = soaked(0.0)
    result = run((pressure, humidity.at[0].set(10 * saturation[0]), saturation, top))
    assert result.humidity_tendency[0] == 0
    assert result.top_weight[0] == 0


def test_convection_above_the_condensing_layer_stays_the_top():
    pressure, humidity, saturation, _ = soaked(0.01)
    result = run((pressure, humidity, saturation, one_hot(jnp.array(4))))
    assert top_layer(result.top_weight) == 4


@pytest.mark.parametrize("widths", [CondensationWidths(), SMOOTH], ids=["zero", "smooth"])
@pytest.mark.parametrize("cap", CAPS)
def test_derivatives_are_finite_in_hard_columns(cap, widths):
    pressure, _, humidity, saturation = hard_columns()
    arrays = (pressure, humidity, saturation, one_hot(jnp.full(24, 9)))
    assert_finite(lambda a: run(*a, cap=cap), (arrays, CondensationParameters(), widths))


@pytest.mark.parametrize("cap", CAPS)
def test_smooth_form_has_the_derivative_of_central_differences(cap):
    arrays = jax.tree.map(lambda x, y: jnp.append(x, y[..., None], -1), HAND, soaked(0.013))
    assert_smooth(lambda a: run(*a, cap=cap), (arrays, CondensationParameters(), SMOOTH))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_forward_and_reverse_derivatives_agree(widths):
    assert_adjoint(lambda a: run(*a, widths=widths), (HAND, CondensationParameters()))


def test_narrow_smooth_form_tends_to_the_exact_one():
    narrow = jax.tree.map(lambda width: 1e-5 * width, SMOOTH)
    result, exact = run(HAND, widths=narrow), run(HAND)
    np.testing.assert_allclose(result.humidity_tendency, exact.humidity_tendency, rtol=1e-6)
    np.testing.assert_allclose(result.top_weight, exact.top_weight, atol=1e-6)


def test_width_zero_is_exact():
    assert_bitwise_equal(run(HAND, widths=CondensationWidths()), run(HAND))


@pytest.mark.parametrize("widths", [EXACT, single_precision(SMOOTH)], ids=["exact", "smooth"])
def test_float32_stays_float32(widths):
    parameters = single_precision(CondensationParameters())
    assert_single_precision(run(single_precision(HAND), parameters, widths))
