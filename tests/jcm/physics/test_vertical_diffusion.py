"""Tests of shallow convection and vertical diffusion."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
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
from jcm.physics.smooth import DiffusionWidths, exact_widths
from jcm.physics.vertical_diffusion import VerticalDiffusionParameters, vertical_diffusion
from jcm.vertical import speedy_levels

EXACT = exact_widths().vertical_diffusion
SMOOTH = DiffusionWidths(
    instability=500.0, humidity_gradient=0.02, critical_gradient=0.01, lapse=100.0,
    diffusion_top=0.02,
)  # fmt: skip

# Five columns: shallow under deep convection; shallow without; stable with moisture diffusion;
# steep lapse rates; a superadiabatic layer over stable ones.
_GEOPOTENTIAL = np.array([250000, 150000, 105000, 72000, 46000, 26500, 13000, 4200.0])
_TEMPERATURE = np.array([
    (216, 217, 222, 240, 262, 275, 284, 292),
    (216, 217, 222, 240, 262, 275, 284, 292),
    (216, 217, 222, 240, 258, 270, 279, 282),
    (205, 214, 222, 230, 250, 265, 280, 300),
    (216, 217, 222, 262, 262, 272, 270, 268),
]).T  # fmt: skip
_RELATIVE_HUMIDITY = np.array([
    (0.05, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9),
    (0.05, 0.1, 0.3, 0.4, 0.2, 0.6, 0.9, 0.8),
    (0.05, 0.1, 0.3, 0.4, 0.2, 0.25, 0.3, 0.9),
    (0.05, 0.1, 0.3, 0.4, 0.2, 0.25, 0.3, 0.3),
    (0.05, 0.1, 0.3, 0.4, 0.5, 0.5, 0.5, 0.55),
]).T  # fmt: skip
_SATURATION_HUMIDITY = np.array([
    (0.02, 0.03, 0.1, 0.9, 4, 8, 10.5, 15),
    (0.02, 0.03, 0.1, 0.9, 4, 8, 10.5, 15),
    (0.02, 0.03, 0.1, 0.9, 3, 6, 8, 9),
    (0.02, 0.03, 0.1, 0.9, 3, 6, 8, 9),
    (0.02, 0.03, 0.1, 0.9, 4, 6, 5, 4.5),
]).T  # fmt: skip
_ACTIVE = np.array([1, 0, 0, 0, 1.0])

_C = -9.233793886848336e-05
#: Temperature [K s-1] and humidity [g kg-1 s-1] tendencies by the public code of SPEEDY.
WARMING = np.array([
    (0, 0, 0, 0, 0, 0, 1.250754342553811e-04, -1.625980645319955e-04),
    (0, 0, 0, 0, 0, 0, 1.114547035031762e-04, -1.448911145541291e-04),
    (0, 0, 0, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, 1.118212335841818e-04, 5.283906386921861e-04, -8.770039273929511e-04),
    (0, 0, 5.694172896889808e-04, _C, _C, _C, _C, _C),
]).T  # fmt: skip
MOISTENING = np.array([
    (0, 0, 0, 0, 2.186213991769547e-06, 3.626543209876542e-06, 4.564933523266858e-05,
     -6.944444444444447e-05),
    (0, 0, 0, 0, 8.744855967078189e-06, 8.564814814814816e-06, -2.330840455840456e-05, 0),
    (0, 0, 0, 0, 0, 0, 5.448717948717949e-05, -7.083333333333335e-05),
    (0, 0, 0, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, 0, 0, 0),
]).T  # fmt: skip


def columns():
    geopotential = jnp.asarray(np.broadcast_to(_GEOPOTENTIAL[:, None], (8, 5)))
    relative, saturation = jnp.asarray(_RELATIVE_HUMIDITY), jnp.asarray(_SATURATION_HUMIDITY) / 1000
    energy = 1004 * jnp.asarray(_TEMPERATURE, float) + geopotential
    return energy, relative, relative * saturation, saturation, geopotential, jnp.asarray(_ACTIVE)


def reference_columns():
    energy, relative, humidity, saturation, geopotential, layers = reference(
        "se", "rh", "q", "qsat", "phi", "icnv")  # fmt: skip
    active = (layers > 0).astype(float)
    return energy, relative, humidity / 1000, saturation / 1000, geopotential, active


def mix(arguments, parameters=None, widths=EXACT, levels=None):
    return vertical_diffusion(
        *arguments, levels=levels or speedy_levels(),
        parameters=parameters or VerticalDiffusionParameters(), constants=EARTH, widths=widths,
    )  # fmt: skip


mix_compiled = eqx.filter_jit(mix)


def test_warming_of_five_columns():
    assert_close_to_maximum(mix(columns()).temperature_tendency, WARMING, 1e-13)


def test_moistening_of_five_columns():
    assert_close_to_maximum(1000 * mix(columns()).humidity_tendency, MOISTENING, 1e-13)


def test_reference_columns():
    result = mix(reference_columns())
    assert_close_to_maximum(result.temperature_tendency, reference("tt_vdi"))
    assert_close_to_maximum(1000 * result.humidity_tendency, reference("qt_vdi"))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
@pytest.mark.parametrize("count", [5, 7, 8])
@given(
    temperature=arrays(float, (8, 2), elements=st.floats(180, 320)),
    relative=arrays(float, (8, 2), elements=st.floats(0, 1.5)),
    active=st.floats(0, 1),
)
@settings(max_examples=20, deadline=None)
def test_heat_and_water_are_conserved(widths, count, temperature, relative, active):
    geopotential = jnp.asarray(_GEOPOTENTIAL[-count:, None] * np.ones(2))
    temperature, relative = jnp.asarray(temperature[-count:]), jnp.asarray(relative[-count:])
    saturation = jnp.asarray(_SATURATION_HUMIDITY[-count:, :2]) / 1000
    arguments = (1004 * temperature + geopotential, relative, relative * saturation, saturation,
                 geopotential, active * jnp.ones(2))  # fmt: skip
    levels = speedy_levels(count)
    result = mix_compiled(arguments, None, widths, levels)
    thickness = levels.thickness[:, None]
    # Tendencies reach 1e-2 K s-1 and 1e-6 s-1.
    np.testing.assert_allclose(np.sum(thickness * result.temperature_tendency, 0), 0, atol=1e-16)
    np.testing.assert_allclose(np.sum(thickness * result.humidity_tendency, 0), 0, atol=1e-20)


@given(
    temperature=arrays(float, (8, 2), elements=st.floats(180, 320)),
    relative=arrays(float, (8, 2), elements=st.floats(0, 1.5)),
)
@settings(max_examples=20, deadline=None)
def test_moisture_only_moves_upward(temperature, relative):
    geopotential = jnp.asarray(_GEOPOTENTIAL[:, None] * np.ones(2))
    saturation = jnp.asarray(_SATURATION_HUMIDITY[:, :2]) / 1000
    energy = 1004 * jnp.asarray(temperature) + geopotential
    relative = jnp.asarray(relative)
    arguments = (energy, relative, relative * saturation, saturation, geopotential, jnp.ones(2))
    result = mix_compiled(arguments)
    thickness = speedy_levels().thickness[:, None]
    gained_above = np.cumsum(thickness * result.humidity_tendency, axis=0)
    assert np.all(gained_above >= -1e-20)


def test_shallow_convection_starts_at_neutral_stability():
    # Equal moist static energies of the two layers: convection, whose moisture flux uses the
    # saturation humidity of the lower layer, not diffusion with that of the upper one.
    energy, relative, humidity, saturation, geopotential, active = columns()
    energy = energy.at[-1, 2].set(0.0).at[-2, 2].set(0.0)
    humidity = humidity.at[-1, 2].set(saturation[-2, 2])
    arguments = (energy, relative, humidity, saturation, geopotential, active)
    dried = mix(arguments).humidity_tendency[-1, 2]
    np.testing.assert_allclose(dried, -0.6 * 9e-3 / 21600, rtol=1e-13)


def test_stable_columns_of_uniform_relative_humidity_stay_as_they_are():
    geopotential = jnp.asarray(_GEOPOTENTIAL[:, None])
    saturation = jnp.asarray(_SATURATION_HUMIDITY[:, :1]) / 1000
    arguments = (1004 * 250 + geopotential, jnp.full((8, 1), 0.5), 0.5 * saturation, saturation,
                 geopotential, jnp.zeros(1))  # fmt: skip
    for leaf in jax.tree.leaves(mix(arguments)):
        np.testing.assert_array_equal(leaf, 0)


def test_the_top_of_moisture_diffusion_has_a_gradient_only_with_a_width():
    def gradient(widths):
        def moistened(p):
            return mix(columns(), p, widths).humidity_tendency[4, 0]

        return jax.grad(moistened)(VerticalDiffusionParameters()).moisture_diffusion_top

    assert gradient(EXACT) == 0 and gradient(SMOOTH) < 0


def test_gradients_agree_with_central_differences():
    arguments = (columns(), VerticalDiffusionParameters())
    assert_smooth(lambda a: mix(*a, SMOOTH), arguments)


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_forward_and_reverse_mode_agree(widths):
    assert_adjoint(lambda a: mix(*a, widths), (columns(), VerticalDiffusionParameters()))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH])
def test_gradients_are_finite_in_dry_isothermal_columns(widths):
    _, _, _, saturation, geopotential, _ = columns()
    zero = jnp.zeros((8, 5))
    arguments = (1004 * 260 + geopotential, zero, zero, saturation, geopotential, jnp.zeros(5))
    assert_adjoint(lambda a: mix(*a, widths), (arguments, VerticalDiffusionParameters()))


def test_zero_widths_are_exact():
    arguments = reference_columns()
    assert_bitwise_equal(mix(arguments), mix(arguments, widths=DiffusionWidths()))


def test_single_precision_is_kept():
    arguments = single_precision((reference_columns(), VerticalDiffusionParameters()))
    assert_single_precision(mix(*arguments))
