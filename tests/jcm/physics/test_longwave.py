"""Tests of longwave radiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from radiation_columns import (
    LONGWAVE_ABSORPTION,
    LONGWAVE_FLUXES,
    TRANSMISSIVITY_A,
    radiation_columns,
)
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
from jcm.physics.longwave import (
    LongwaveDown,
    LongwaveOptics,
    LongwaveParameters,
    band_fractions,
    co2_absorptivity,
    longwave_down,
    longwave_optics,
    longwave_up,
)
from jcm.physics.smooth import RadiationWidths, exact_widths
from jcm.vertical import speedy_levels

EXACT = exact_widths().radiation
SMOOTH = RadiationWidths(absorptivity=0.05, emission_gradient=0.2, band_temperature=1.0)

#: Temperature [K] and fractions of the four bands.
BANDS = np.array([
    (150, 0.08677471, 0.13430435, 0.30498344, 0.4239375),
    (200, 0.08677471, 0.13430435, 0.30498344, 0.4239375),
    (231, 0.11944654, 0.1398704, 0.32535106, 0.365332),
    (250, 0.13784671, 0.14057435, 0.33314144, 0.3384375),
    (273, 0.15846874, 0.1386734, 0.33779986, 0.315058),
    (300, 0.18036871, 0.13259435, 0.33659944, 0.3004375),
    (320, 0.19498351, 0.12541235, 0.33106664, 0.2985375),
    (350, 0.19498351, 0.12541235, 0.33106664, 0.2985375),
]).T  # fmt: skip


def settings_of(parameters=None, widths=EXACT, levels=None):
    return {
        "levels": levels or speedy_levels(), "parameters": parameters or LongwaveParameters(),
        "constants": EARTH, "widths": widths,
    }  # fmt: skip


def optics(arguments, parameters=None, widths=EXACT, levels=None):
    p = parameters or LongwaveParameters()
    return longwave_optics(*arguments, p.co2_absorptivity, **settings_of(p, widths, levels))


def radiate(arguments, parameters=None, widths=EXACT, levels=None):
    """Return optics and both passes."""
    (temperature, surface_temperature, surface_emission), air = arguments
    shared = settings_of(parameters, widths, levels)
    layers = optics(air, parameters, widths, levels)
    down = longwave_down(temperature, layers, **shared)
    up = longwave_up(temperature, surface_temperature, surface_emission, layers, down, **shared)
    return layers, down, up


@eqx.filter_jit
def radiate_compiled(arguments, widths):
    return radiate(arguments, widths=widths)


def columns():
    c = radiation_columns()
    return (
        (c.temperature, c.surface_temperature, c.surface_emission),
        (c.surface_pressure, c.humidity, c.cover, c.top_weight, c.insolation.polar_night_cooling),
    )


def smooth_columns():
    (temperature, *surface), (pressure, humidity, cover, top_weight, cooling) = columns()
    weights = np.random.default_rng(3).uniform(size=top_weight.shape)
    weights[0] = 0
    weights = jnp.asarray(weights / weights.sum(axis=0))
    # Column D at its limits: one inversion close to isothermal, temperatures near 200 and 320 K.
    temperature = temperature.at[0, 3].set(200.3).at[5:, 3].set(jnp.array([318.9, 320.2, 320.3]))
    return (temperature, *surface), (pressure, humidity, cover, weights, cooling)


def reference_air():
    pressure, humidity, cover, top, cooling = reference("ps", "q", "cloudc", "icltop", "stratz")
    top_weight = jax.nn.one_hot(top.astype(int) - 1, 9, axis=0, dtype=float)
    return pressure, humidity / 1000, cover, top_weight, cooling


def reference_optics():
    transmissivity, (cooling, emission) = reference("tau2_lw", "stratc")
    return LongwaveOptics(jnp.moveaxis(transmissivity, 0, 1), cooling, emission)


def test_band_fractions_of_eight_temperatures():
    fractions = band_fractions(jnp.asarray(BANDS[0]), jnp.array(0.05), EXACT)
    np.testing.assert_allclose(fractions, BANDS[1:], rtol=0, atol=1e-14)


def test_band_fractions_are_those_of_the_nearest_kelvin_and_half_rounds_up():
    fractions = band_fractions(jnp.array([281.5, 200.5, 281.4]), jnp.array(0.05), EXACT)
    whole = band_fractions(jnp.array([282.0, 201.0, 281.0]), jnp.array(0.05), EXACT)
    np.testing.assert_array_equal(fractions, whole)


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
@given(temperature=st.floats(100, 400), black=st.floats(0.02, 0.15))
@settings(max_examples=30, deadline=None)
def test_band_fractions_sum_to_all_but_the_black_band(widths, temperature, black):
    fractions = band_fractions(jnp.array(temperature), jnp.array(black), widths)
    np.testing.assert_allclose(jnp.sum(fractions), 1 - black, rtol=1e-14)


def test_smooth_band_fractions_agree_with_the_exact_ones_at_whole_kelvins():
    temperature = jnp.arange(215.0, 306.0)
    exact = band_fractions(temperature, jnp.array(0.05), EXACT)
    smooth = band_fractions(temperature, jnp.array(0.05), SMOOTH)
    np.testing.assert_allclose(smooth, exact, rtol=0, atol=1e-8)


def test_transmissivity_of_the_convective_column():
    transmissivity = optics(columns()[1]).transmissivity[..., 0]
    np.testing.assert_allclose(transmissivity.T, TRANSMISSIVITY_A, rtol=1e-11)


def test_fluxes_of_six_columns():
    _, down, up = radiate(columns())
    fluxes = jnp.stack([down.surface_downward, up.surface_net, up.toa_outgoing])
    np.testing.assert_allclose(fluxes, LONGWAVE_FLUXES, rtol=1e-11)


def test_absorption_in_six_columns():
    np.testing.assert_allclose(radiate(columns())[2].absorption, LONGWAVE_ABSORPTION, rtol=1e-11)


def test_optics_of_the_reference_columns():
    result, expected = optics(reference_air()), reference_optics()
    for got, field in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        assert_close_to_maximum(got, field)


def test_downward_pass_of_the_reference_columns():
    result = longwave_down(reference("t"), reference_optics(), **settings_of())
    assert_close_to_maximum(result.surface_downward, reference("slrd"))
    assert_close_to_maximum(result.absorption, reference("rlwd_dfabs"))
    assert_close_to_maximum(result.band_flux, reference("rlwd_flux"))
    for got, field in zip(
        (result.emission, result.emission_gradient), reference("st4a"), strict=True
    ):
        assert_close_to_maximum(got, field)


def test_upward_pass_of_the_reference_columns():
    down = LongwaveDown(*reference("slrd", "rlwd_dfabs", "rlwd_flux"), *reference("st4a"))
    result = longwave_up(
        reference("t"), reference("tsfc"), reference("slru")[2], reference_optics(), down,
        **settings_of(),
    )  # fmt: skip
    assert_close_to_maximum(result.surface_net, reference("slr"))
    assert_close_to_maximum(result.toa_outgoing, reference("olr"))
    assert_close_to_maximum(result.absorption, reference("rlw_dfabs"))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
@given(
    temperature=arrays(float, (8, 2), elements=st.floats(170, 330)),
    humidity=arrays(float, (8, 2), elements=st.floats(0, 0.03)),
    pressure=st.floats(0.5, 1.1),
    cover=st.floats(0, 1),
    top=st.integers(2, 9),
    surface=st.floats(100, 600),
)
@settings(max_examples=30, deadline=None)
def test_energy_is_conserved(widths, temperature, humidity, pressure, cover, top, surface):
    ones = jnp.ones(2)
    top_weight = jnp.zeros((9, 2)).at[top - 1].set(1.0)
    air = (pressure * ones, jnp.asarray(humidity), cover * ones, top_weight, 3.0 * ones)
    _, down, up = radiate_compiled(
        ((jnp.asarray(temperature), 290 * ones, surface * ones), air), widths
    )
    lost = surface - down.surface_downward - up.toa_outgoing
    np.testing.assert_allclose(jnp.sum(up.absorption, axis=0), lost, rtol=0, atol=1e-9)


def test_transparent_air_lets_the_surface_emission_pass_except_for_the_black_band():
    temperature, emission = jnp.full((8, 1), 250.0), jnp.array([400.0])
    clear = LongwaveOptics(jnp.ones((8, 4, 1)), jnp.zeros(1), jnp.zeros(1))
    down = longwave_down(temperature, clear, **settings_of())
    up = longwave_up(temperature, jnp.array([290.0]), emission, clear, down, **settings_of())
    np.testing.assert_allclose(up.toa_outgoing, 0.95 * emission, rtol=1e-14)


def test_co2_absorptivity_is_constant_without_trend():
    p = LongwaveParameters()
    assert co2_absorptivity(p, 2020, 0.5, trend=False) is p.co2_absorptivity


def test_co2_absorptivity_grows_by_half_a_percent_per_year_from_1950():
    grown = co2_absorptivity(LongwaveParameters(), 1990, 0.5, trend=True)
    np.testing.assert_allclose(grown, 6 * np.exp(0.005 * 40.5), rtol=1e-14)


def test_gradients_agree_with_central_differences():
    arguments = (smooth_columns(), LongwaveParameters())
    assert_smooth(lambda a: radiate(*a, SMOOTH), arguments)


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_forward_and_reverse_mode_agree(widths):
    assert_adjoint(lambda a: radiate(*a, widths), (columns(), LongwaveParameters()))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_gradients_are_finite_in_dry_isothermal_columns(widths):
    (_, *surface), (_, humidity, cover, top_weight, cooling) = columns()
    air = (jnp.linspace(0.5, 1.1, 6), 0 * humidity, 0 * cover, top_weight, cooling)
    arguments = (((jnp.full((8, 6), 260.0), *surface), air), LongwaveParameters())
    assert_adjoint(lambda a: radiate(*a, widths), arguments)


def test_gradients_are_finite_in_single_precision_where_transmissivity_underflows():
    arguments = list(columns())
    arguments[1] = (*arguments[1][:1], arguments[1][1] * 3, *arguments[1][2:])
    arguments = single_precision((tuple(arguments), LongwaveParameters()))
    assert optics(arguments[0][1], arguments[1]).transmissivity.min() < 1e-37
    gradients = jax.jit(jax.grad(lambda a: jnp.sum(radiate(*a)[2].absorption ** 2)))(arguments)
    for leaf in jax.tree.leaves(gradients):
        assert np.all(np.isfinite(leaf))


def test_zero_widths_are_exact():
    arguments = (reference("t"), reference("tsfc"), reference("slru")[2]), reference_air()
    assert_bitwise_equal(radiate(arguments), radiate(arguments, widths=RadiationWidths()))


def test_single_precision_is_kept():
    arguments = single_precision((columns(), LongwaveParameters()))
    assert_single_precision(radiate(*arguments))
    assert_single_precision(co2_absorptivity(arguments[1], 1990, 0.5, trend=True))


@pytest.mark.parametrize("count", [5, 7])
def test_energy_is_conserved_on_other_levels(count):
    (temperature, *surface), (pressure, humidity, cover, _, cooling) = columns()
    top_weight = jax.nn.one_hot(jnp.arange(6) % 4 + 1, count + 1, axis=0, dtype=float)
    air = (pressure, humidity[-count:], cover, top_weight, cooling)
    arguments = ((temperature[-count:], *surface), air)
    _, down, up = radiate(arguments, levels=speedy_levels(count))
    lost = surface[1] - down.surface_downward - up.toa_outgoing
    np.testing.assert_allclose(jnp.sum(up.absorption, axis=0), lost, rtol=0, atol=1e-10)
