"""Tests of the surface fluxes."""

import functools

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
from surface_columns import (
    EASTWARD_STRESS,
    EMITTED_LONGWAVE,
    EVAPORATION,
    INPUTS,
    NET_HEAT,
    NORTHWARD_STRESS,
    SENSIBLE_HEAT,
    TEMPERATURES,
)

from jcm.constants import EARTH
from jcm.parameters import get, insert, leaf_names
from jcm.physics.smooth import HumidityWidths, SurfaceWidths, exact_widths
from jcm.physics.surface import SurfaceFluxParameters, orographic_drag_factor, surface_fluxes
from jcm.vertical import speedy_levels

EXACT = exact_widths()
SMOOTH = SurfaceWidths(lapse=0.2, stability=0.2, evaporation=5e-5, orography=10.0)
SMOOTH_HUMIDITY = HumidityWidths(phase=1.0)
PARAMETERS = SurfaceFluxParameters()
#: Amplitude of orographic drag in the public code of SPEEDY, by a slip.
WEAK_DRAG = insert(PARAMETERS, {"orographic_drag_amplitude": 1 / (EARTH.gravity * 2000)})


def hand_columns():
    """Positional arguments of the hand columns; only the two lowest layers matter."""
    p, u, v, above, t, q, rh, phi, phi_s, land, sea_t, *rest = jnp.asarray(INPUTS)
    sw, lw, land_albedo, sea_albedo, snow, soil_t, soil = rest

    def lowest(x, other=0.0):
        return jnp.stack([*[jnp.full_like(x, other)] * 6, jnp.full_like(x, other), x])

    drag = orographic_drag_factor(
        phi_s, parameters=WEAK_DRAG, constants=EARTH, widths=EXACT.surface
    )
    temperature = lowest(t, 250.0).at[-2].set(above)
    return (
        p, lowest(u), lowest(v), temperature, lowest(q / 1000), lowest(rh), lowest(phi, 1e4),
        phi_s, land, sea_t, soil_t, soil, snow, land_albedo, sea_albedo, sw, lw, drag,
        jnp.asarray(0.64), jnp.asarray(0.98),
    )  # fmt: skip


def reference_columns():
    names = (
        "ps u v t q rh phi phis0 fmask sst_am stl_am soilw_am snowc alb_l alb_s ssrd slrd forog "
        "cos_lat"
    )
    values = reference(*names.split())
    values[4] = values[4] / 1000
    return (*values, jnp.asarray(0.98))


def fluxes(
    arguments, parameters=PARAMETERS, widths=EXACT.surface, humidity_widths=EXACT.humidity,
    sea_heat_flux="added", skin_energy_balance=True,
):  # fmt: skip
    return surface_fluxes(
        *arguments, levels=speedy_levels(), parameters=parameters, constants=EARTH,
        widths=widths, humidity_widths=humidity_widths, sea_heat_flux=sea_heat_flux,
        skin_energy_balance=skin_energy_balance,
    )  # fmt: skip


@functools.cache
def hand_result():
    return fluxes(hand_columns())


@functools.cache
def reference_result():
    return fluxes(reference_columns())


def kinds(result, name):
    return [getattr(kind, name) for kind in (result.land, result.sea, result.mean)]


@pytest.mark.parametrize(("name", "expected"), [
    ("eastward_stress", EASTWARD_STRESS),
    ("northward_stress", NORTHWARD_STRESS),
    ("sensible_heat_flux", SENSIBLE_HEAT),
    ("evaporation", EVAPORATION / 1000),
    ("emitted_longwave", EMITTED_LONGWAVE),
    ("net_heat_flux", NET_HEAT),
])  # fmt: skip
def test_hand_columns_have_the_fluxes_of_the_reference_code(name, expected):
    result = kinds(hand_result(), name)[: len(expected)]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14 * np.abs(expected).max())


def test_hand_columns_have_the_temperatures_of_the_reference_code():
    result = hand_result()
    mean = result.mean
    result = [mean.surface_temperature, mean.skin_temperature, result.air_temperature]
    np.testing.assert_allclose(result, TEMPERATURES, rtol=1e-14)


def test_other_extrapolation_gives_the_fluxes_of_the_reference_code():
    changes = {"temperature_extrapolation": 0.75, "humidity_extrapolation": 0.5}
    result = fluxes(hand_columns(), insert(PARAMETERS, changes))
    land, sea = result.land, result.sea
    first = [x[0] for x in (
        land.sensible_heat_flux, sea.sensible_heat_flux, land.evaporation, sea.evaporation,
        land.emitted_longwave, land.net_heat_flux, sea.net_heat_flux,
        result.mean.skin_temperature, land.eastward_stress,
    )]  # fmt: skip
    np.testing.assert_allclose(first, [
        9.222726583632829e+01, -5.213768970871227e+01, 6.090534607372534e-05,
        -1.348344292960862e-05, 4.428799436718490e+02, 2.656851996143570e+01,
        3.818948806073305e+02, 298.7955028516337, -7.639981168771086e-02,
    ], rtol=1e-12)  # fmt: skip


def test_air_temperature_mixes_lapse_rate_and_dry_descent():
    result = fluxes(hand_columns(), insert(PARAMETERS, {"temperature_extrapolation": 0.75}))
    # First column, land only: 0.75 of extrapolation by the weight of sigma 0.99, 0.25 of descent.
    weight = np.log(0.99 / 0.95) / np.log(0.95 / 0.835)
    expected = 292 + 0.75 * weight * 7 + 0.25 * (420 - 3000) / 1004
    np.testing.assert_allclose(result.air_temperature[0], expected, rtol=1e-14)


def test_relative_humidity_extrapolation_changes_only_moisture_in_an_inversion():
    changes = {"temperature_extrapolation": 0.75, "humidity_extrapolation": 0.5}
    result = fluxes(hand_columns(), insert(PARAMETERS, changes))
    np.testing.assert_allclose(
        [result.sea.evaporation[1], result.mean.evaporation[1]],
        [4.236461064661033e-05, 2.541876638796620e-05], rtol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(result.sea.net_heat_flux[1], 7.726788592291157e01, rtol=1e-12)
    np.testing.assert_allclose(result.mean.sensible_heat_flux[1], SENSIBLE_HEAT[2, 1], rtol=1e-12)


@pytest.mark.parametrize(("name", "variable", "factor"), [
    ("eastward_stress", "ustr", 1.0),
    ("northward_stress", "vstr", 1.0),
    ("sensible_heat_flux", "shf", 1.0),
    ("evaporation", "evap", 1e-3),
    ("emitted_longwave", "slru", 1.0),
    ("net_heat_flux", "hfluxn", 1.0),
])  # fmt: skip
def test_fluxes_reproduce_the_reference_columns(name, variable, factor):
    expected = factor * reference(variable)
    result = kinds(reference_result(), name)[: len(expected)]
    for ours, theirs in zip(result, expected, strict=True):
        assert_close_to_maximum(ours, theirs, 1e-12)


def test_diagnostics_reproduce_the_reference_columns():
    result = reference_result()
    ours = (
        result.mean.surface_temperature, result.mean.skin_temperature, result.air_temperature,
        result.eastward_wind, result.northward_wind,
    )  # fmt: skip
    for x, name in zip(ours, ("tsfc", "tskin", "t0", "u0", "v0"), strict=True):
        assert_close_to_maximum(x, reference(name), 1e-13)


def test_weak_orographic_drag_reproduces_the_reference_columns():
    drag = orographic_drag_factor(
        reference("phis0"), parameters=WEAK_DRAG, constants=EARTH, widths=EXACT.surface
    )
    assert_close_to_maximum(drag - 1, reference("forog") - 1, 1e-9)


def test_orographic_drag_doubles_far_above_its_height_scale():
    drag = orographic_drag_factor(
        jnp.array([-100.0, 0.0, 2000 * 9.81, 1e7]),
        parameters=PARAMETERS, constants=EARTH, widths=EXACT.surface,
    )  # fmt: skip
    np.testing.assert_allclose(drag, [1, 1, 2 - np.exp(-1), 2], rtol=1e-14)


def land_budget(result, arguments):
    """Energy that the surface receives and loses, less the net heat flux [W m-2]."""
    albedo, shortwave, longwave = arguments[13], arguments[15], arguments[16]
    land = result.land
    losses = land.emitted_longwave + land.sensible_heat_flux + 2.501e6 * land.evaporation
    return shortwave * (1 - albedo) + longwave - losses - land.net_heat_flux


@pytest.mark.parametrize("balance", [True, False])
def test_energy_of_land_is_balanced_to_rounding(balance):
    arguments = reference_columns()
    residual = land_budget(fluxes(arguments, skin_energy_balance=balance), arguments)
    np.testing.assert_allclose(residual, 0, atol=2e-12)


def test_without_energy_balance_the_skin_keeps_its_first_guess():
    arguments = hand_columns()
    skin = fluxes(arguments, skin_energy_balance=False).land.skin_temperature
    shortwave, albedo, soil = arguments[15], arguments[13], arguments[10]
    np.testing.assert_allclose(
        skin, soil + 0.01 * 0.8 * shortwave * (1 - albedo) * arguments[0], rtol=1e-15
    )


def test_subtracted_turbulent_fluxes_close_the_energy_of_the_sea():
    arguments = hand_columns()
    sea = fluxes(arguments, sea_heat_flux="subtracted").sea
    received = arguments[15] * (1 - arguments[14]) + arguments[16]
    given = sea.emitted_longwave + sea.sensible_heat_flux + 2.501e6 * sea.evaporation
    np.testing.assert_allclose(sea.net_heat_flux, received - given, atol=1e-12)


def test_unknown_sign_of_the_sea_heat_flux_is_refused():
    # A TypeError of the run-time type checker, a ValueError without it.
    with pytest.raises((ValueError, TypeError), match="subtracted"):
        fluxes(hand_columns(), sea_heat_flux="reversed")


def test_near_surface_sigma_sets_the_extrapolation():
    arguments = hand_columns()
    changed = insert(PARAMETERS, {"near_surface_sigma": 0.95})
    air = fluxes(arguments, changed).air_temperature
    # At the centre of the lowest layer the air is that of the layer.
    np.testing.assert_allclose(air, arguments[3][-1], rtol=1e-14)


def test_humidity_slope_is_per_kelvin_for_any_increment():
    small = insert(PARAMETERS, {"humidity_slope_increment": 1e-3})
    evaporation = [fluxes(hand_columns(), p).land.evaporation[0] for p in (PARAMETERS, small)]
    np.testing.assert_allclose(*evaporation, rtol=0.02)


def test_zero_widths_change_no_bit():
    arguments = reference_columns()
    zero = fluxes(arguments, widths=SurfaceWidths(), humidity_widths=HumidityWidths())
    assert_bitwise_equal(zero, reference_result())


def test_single_precision_stays_single():
    arguments, parameters = single_precision((hand_columns(), PARAMETERS))
    result = fluxes(arguments, parameters)
    assert_single_precision(result)
    np.testing.assert_allclose(
        result.mean.sensible_heat_flux, SENSIBLE_HEAT[2], rtol=1e-3, atol=1e-2
    )


def test_a_grid_gives_the_fluxes_of_its_columns():
    grid = [x.reshape(*x.shape[:-1], 2, 3) if x.ndim else x for x in hand_columns()]
    grid[18] = jnp.full(3, 0.64)  # cosine of latitude, along the last axis
    result = fluxes(tuple(grid)).mean.sensible_heat_flux
    assert_close_to_maximum(result.ravel(), SENSIBLE_HEAT[2], 1e-14)


def smooth_fluxes(arguments, parameters):
    return fluxes(arguments, parameters, SMOOTH, SMOOTH_HUMIDITY, "subtracted")


def between_bounds(**changes):
    """Parameters away from limits where a share is 0 or 1."""
    changes = {"temperature_extrapolation": 0.8, "humidity_extrapolation": 0.3} | changes
    return insert(PARAMETERS, changes)


@pytest.mark.parametrize("seed", range(2))
def test_smooth_fluxes_have_the_derivatives_of_central_differences(seed):
    arguments = (reference_columns(), between_bounds())
    assert_smooth(lambda a: smooth_fluxes(*a), arguments, seed=seed, step=2e-5)


def test_orographic_drag_is_smooth_at_sea_level():
    def drag(arguments):
        return orographic_drag_factor(
            arguments[0], parameters=arguments[1], constants=EARTH, widths=SMOOTH
        )

    assert_smooth(drag, (jnp.array([-50.0, -5.0, 3.0, 40.0, 3e4]), PARAMETERS))


def edge_columns():
    """No wind, no humidity, no radiation, isothermal, thin and thick air."""
    p, u, v, t, q, rh, phi, *rest = hand_columns()
    p = jnp.array([0.5, 0.6, 0.8, 1.0, 1.05, 1.1])
    dark = [jnp.zeros_like(p)] * 2
    return (p, 0 * u, 0 * v, jnp.full_like(t, 270.0), 0 * q, 0 * rh, phi, *rest[:8], *dark,
            *rest[10:])  # fmt: skip


def with_edge_columns():
    """Reference columns followed by those at the edges."""
    *columns, emissivity = reference_columns()
    *edges, _ = edge_columns()
    edges[18] = jnp.full(6, edges[18])
    joined = [jnp.concatenate(pair, axis=-1) for pair in zip(columns, edges, strict=True)]
    return (*joined, emissivity)


@pytest.mark.parametrize("function", [fluxes, smooth_fluxes])
def test_derivatives_of_both_modes_are_finite_and_agree(function):
    assert_adjoint(lambda a: function(*a), (with_edge_columns(), PARAMETERS))


def test_derivatives_are_finite_without_wind_and_gusts():
    parameters = insert(PARAMETERS, {"gustiness": 0.0})
    assert_adjoint(lambda a: fluxes(*a), (edge_columns(), parameters))


def test_every_parameter_matters():
    parameters = between_bounds(soil_conductance=6.0)

    @jax.jit
    @jax.grad
    def gradient(p):
        arguments = list(reference_columns())
        arguments[17] = orographic_drag_factor(
            arguments[7], parameters=p, constants=EARTH, widths=EXACT.surface
        )
        result = fluxes(tuple(arguments), p)
        return sum(jnp.sum(x) for x in jax.tree.leaves(result))

    slopes = gradient(parameters)
    assert not [name for name in leaf_names(slopes) if float(get(slopes, name)) == 0]


@settings(max_examples=25, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(250, 310), st.floats(0, 1))
def test_stress_opposes_the_wind_and_land_flux_is_between(u, v, surface, land):
    arguments = list(hand_columns())
    arguments[1], arguments[2] = jnp.full((8, 6), u), jnp.full((8, 6), v)
    arguments[8], arguments[9] = jnp.full(6, land), jnp.full(6, surface)
    result = fluxes(tuple(arguments))
    assert np.all(result.mean.eastward_stress * u + result.mean.northward_stress * v <= 0)
    low = np.minimum(result.land.sensible_heat_flux, result.sea.sensible_heat_flux)
    high = np.maximum(result.land.sensible_heat_flux, result.sea.sensible_heat_flux)
    assert np.all((low - 1e-9 <= result.mean.sensible_heat_flux)
                  & (result.mean.sensible_heat_flux <= high + 1e-9))  # fmt: skip
