"""Deep convection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from columns import (
    CONVECTION_TOP,
    CONVECTIVE_PRECIPITATION,
    GRAM,
    HUMIDITY,
    LEVELS,
    PRESSURE,
    SATURATION_HUMIDITY,
    STATIC_ENERGY,
    assert_finite,
    assert_reproduces,
    hard_columns,
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
from jcm.physics.convection import ConvectionParameters, convection
from jcm.physics.layers import top_layer
from jcm.physics.smooth import ConvectionWidths
from jcm.vertical import speedy_levels

EXACT = without(ConvectionWidths())
SMOOTH = suggested(ConvectionWidths())
HAND = (PRESSURE, STATIC_ENERGY, HUMIDITY, SATURATION_HUMIDITY)

ENERGY_CONVERGENCE = table("""0 0 1065.516902 479.1155910804 440.4900916402 426.8698827652 \
220.4638587831 48.57101305478
0 0 0 0 0 0 0 0
0 0 0 256.3977648053 541.359036798 368.9316313749 170.7649954312 47.58120174792
0 0 0 0 0 0 0 0
0 0 0 0 0 0 0 0
0 0 11.23085979635 139.8225566406 144.4132558548 145.5228650527 64.69199073541 8.648382762778""")

MOISTURE_CONVERGENCE = GRAM * table("""0 0 0.004146022569185 -0.08067445145101 \
-0.1726618691286 -0.2384886276705 -0.2652708634033 -0.319032353788
0 0 0 0 0 0 0 0
0 0 0 0.02962323459908 -0.08659897726351 -0.2013237303824 -0.1899648611626 -0.1055280009194
0 0 0 0 0 0 0 0
0 0 0 0 0 0 0 0
0 0 0.004852642854028 -0.01683687361621 -0.03112822959147 -0.05168370359522 \
-0.05961567150696 -0.05123786899945""")


def run(arrays, parameters=None, widths=EXACT, levels=LEVELS):
    parameters = ConvectionParameters() if parameters is None else parameters
    return convection(
        *arrays, levels=levels, parameters=parameters, constants=EARTH, widths=widths
    )  # fmt: skip


compiled = jax.jit(run)


@pytest.fixture(scope="module")
def public_code():
    return run(tuple(reference(name) for name in ("ps", "se", "q", "qsat")))


def test_top_layers_of_columns_by_hand():
    np.testing.assert_array_equal(top_layer(run(HAND).top_weight), CONVECTION_TOP)


def test_mass_flux_of_columns_by_hand():
    expected = [0.04048678908329, 0, 0.03801523728413, 0, 0, 0.00929274169455]
    np.testing.assert_allclose(run(HAND).base_mass_flux, expected, rtol=1e-9)


def test_precipitation_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).precipitation, CONVECTIVE_PRECIPITATION, rtol=1e-9)


def test_energy_convergence_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).energy_convergence, ENERGY_CONVERGENCE, rtol=1e-9)


def test_moisture_convergence_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).moisture_convergence, MOISTURE_CONVERGENCE, rtol=1e-9)


def test_top_layers_reproduce_the_public_code(public_code):
    assert_reproduces(top_layer(public_code.top_weight), "cnv_itop")


def test_mass_flux_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.base_mass_flux, "cbmf")


def test_precipitation_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.precipitation, "precnv")


def test_energy_convergence_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.energy_convergence, "cnv_dfse")


def test_moisture_convergence_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.moisture_convergence, "cnv_dfqa")


@settings(deadline=None)
@given(perturbed_columns())
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_precipitation_is_all_the_vapour_that_the_column_loses(widths, arrays):
    result = compiled(arrays, widths=widths)
    exchanged = jnp.sum(jnp.abs(result.moisture_convergence))
    loss = -jnp.sum(result.moisture_convergence)
    assert jnp.abs(loss - result.precipitation) <= 1e-13 * exchanged


@settings(deadline=None)
@given(perturbed_columns())
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_latent_heat_of_precipitation_is_all_the_energy_that_the_column_gains(widths, arrays):
    result = compiled(arrays, widths=widths)
    exchanged = jnp.sum(jnp.abs(result.energy_convergence))
    gain = jnp.sum(result.energy_convergence)
    assert jnp.abs(gain - EARTH.latent_heat * result.precipitation) <= 1e-12 * exchanged


@settings(deadline=None)
@given(perturbed_columns())
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_top_weights_sum_to_1_and_lie_in_layers_3_to_5(widths, arrays):
    result = compiled(arrays, widths=widths)
    weights = result.top_weight
    np.testing.assert_allclose(jnp.sum(weights), 1, rtol=1e-14)
    assert jnp.all(weights >= 0)
    assert jnp.all(weights[jnp.array([0, 1, 5, 6, 7])] == 0)
    np.testing.assert_allclose(result.active, 1 - weights[-1], atol=1e-15)


@settings(deadline=None)
@given(perturbed_columns())
def test_precipitation_and_mass_flux_are_never_negative(arrays):
    result = compiled(arrays)
    assert result.precipitation >= 0
    assert result.base_mass_flux >= 0


@settings(deadline=None)
@given(perturbed_columns())
def test_inactive_columns_have_no_fluxes(arrays):
    result = compiled(arrays)
    inactive = result.active == 0
    for flux in (result.base_mass_flux, result.energy_convergence, result.moisture_convergence):
        assert jnp.all(~inactive | (flux == 0))


def test_no_convection_at_or_below_the_minimum_pressure():
    pressure = jnp.array(0.8)
    column = (pressure, *(x[:, 0] for x in HAND[1:]))
    assert run(column).active == 0
    just_above = (jnp.nextafter(pressure, 1.0), *column[1:])
    assert run(just_above).active == 1


def test_subsidence_at_cloud_base_is_never_moister_than_the_lowest_layer():
    pressure, energy, humidity, saturation = (x[..., 0] for x in HAND)
    moister = humidity.at[6].set(0.02)
    interpolated = humidity[6] + LEVELS.weight[6] * (humidity[7] - humidity[6])
    expected = (saturation[7] - interpolated) / (saturation[7] - humidity[7])
    fluxes = [run((pressure, energy, q, saturation)).base_mass_flux for q in (moister, humidity)]
    np.testing.assert_allclose(fluxes[0] / fluxes[1], expected, rtol=1e-13)


def test_five_layers_never_convect():
    arrays = (PRESSURE, *(x[3:] for x in HAND[1:]))
    result = run(arrays, levels=speedy_levels(5))
    np.testing.assert_array_equal(result.top_weight, jnp.zeros((6, 6)).at[-1].set(1))
    np.testing.assert_array_equal(result.energy_convergence, 0)


def test_seven_layers_close_the_vapour_budget():
    arrays = (PRESSURE, *(x[1:] for x in HAND[1:]))
    result = run(arrays, levels=speedy_levels(7))
    assert result.precipitation[0] > 0
    loss = -jnp.sum(result.moisture_convergence, axis=0)
    np.testing.assert_allclose(loss, result.precipitation, atol=1e-17)


@pytest.mark.parametrize("widths", [ConvectionWidths(), SMOOTH], ids=["zero", "smooth"])
def test_derivatives_are_finite_in_hard_columns(widths):
    assert_finite(lambda a: run(*a), (hard_columns(), ConvectionParameters(), widths))


def test_smooth_form_has_the_derivative_of_central_differences():
    assert_smooth(lambda a: run(*a), (HAND, ConvectionParameters(), SMOOTH))


def test_exact_form_has_the_derivative_of_central_differences_away_from_switches():
    assert_smooth(lambda a: _fluxes(run(*a)), (HAND, ConvectionParameters()))


def _fluxes(result):
    return result.base_mass_flux, result.energy_convergence, result.moisture_convergence


@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_forward_and_reverse_derivatives_agree(widths):
    assert_adjoint(lambda a: run(*a, widths=widths), (HAND, ConvectionParameters()))


def test_narrow_smooth_form_tends_to_the_exact_one():
    narrow = jax.tree.map(lambda width: 1e-3 * width, SMOOTH)
    result, exact = run(HAND, widths=narrow), run(HAND)
    np.testing.assert_allclose(result.precipitation, exact.precipitation, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(result.top_weight, exact.top_weight, atol=1e-6)


def test_width_zero_is_exact():
    assert_bitwise_equal(run(HAND, widths=ConvectionWidths()), run(HAND))


@pytest.mark.parametrize("widths", [EXACT, single_precision(SMOOTH)], ids=["exact", "smooth"])
def test_float32_stays_float32(widths):
    result = run(single_precision(HAND), single_precision(ConvectionParameters()), widths)
    assert_single_precision(result)
