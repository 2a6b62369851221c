"""Gridded increments of the initial atmosphere against the fields that they must make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm_sensitivity.initial_state import (
    STATE_UNITS,
    add_increments,
    increments_of,
    zero_increments,
)

MODEL = jcm.build_model("T21L8")
WIND = ["state.eastward_wind", "state.northward_wind"]
SCALARS = {"state.air_temperature": "temperature", "state.specific_humidity": "specific_humidity"}
PRESSURE = "state.surface_air_pressure"


@pytest.fixture(scope="module")
def inputs():
    return jcm.default_inputs(MODEL)


@pytest.fixture(scope="module")
def columns(inputs):
    """Both time levels on the grid, as a function of the inputs."""
    widths = MODEL.physics.widths(inputs.parameters)
    ground = MODEL.coupler.ground(inputs.forcing, MODEL.transform, inputs.parameters, widths)
    both = jax.jit(lambda state: [
        MODEL.columns(level, ground) for level in (state.previous, state.current)])
    return lambda inputs: both(inputs.state)


def smooth_field():
    """Degrees up to 2, so that no truncation touches it; another factor in each layer."""
    longitude, sine = np.deg2rad(MODEL.grid.longitude)[:, None], MODEL.grid.sin_latitude
    flat = 0.3 + sine**2 + np.sqrt(1 - sine**2) * sine * np.cos(longitude)
    return np.arange(1, 9)[:, None, None] * flat


@pytest.mark.parametrize("name", SCALARS)
def test_scalar_increment_changes_that_field_by_itself_at_both_time_levels(name, inputs, columns):
    scale = 1e-3 if "humidity" in name else 1.0
    added = scale * smooth_field()
    changed = columns(add_increments(MODEL, inputs, {name: added}))
    for new, old in zip(changed, columns(inputs), strict=True):
        difference = getattr(new, SCALARS[name]) - getattr(old, SCALARS[name])
        np.testing.assert_allclose(difference, added, rtol=0, atol=1e-10 * scale)
        np.testing.assert_array_equal(new.eastward_wind, old.eastward_wind)
        np.testing.assert_array_equal(new.surface_pressure, old.surface_pressure)


def test_wind_increment_changes_both_components_by_itself(inputs, columns):
    # Solid rotation about a tilted axis and the gradient of a harmonic of degree 2.
    longitude, sine = np.deg2rad(MODEL.grid.longitude)[:, None], MODEL.grid.sin_latitude
    cosine = np.sqrt(1 - sine**2)
    layers = np.arange(1, 9)[:, None, None]
    u = layers * (3 * cosine - sine * np.cos(longitude) - sine * np.sin(longitude))
    v = layers * (np.sin(longitude) + (1 - 2 * cosine**2) * -np.cos(longitude))
    changed = columns(add_increments(MODEL, inputs, dict(zip(WIND, (u, v), strict=True))))
    for new, old in zip(changed, columns(inputs), strict=True):
        np.testing.assert_allclose(new.eastward_wind - old.eastward_wind, u, rtol=0, atol=1e-10)
        np.testing.assert_allclose(new.northward_wind - old.northward_wind, v, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(new.temperature, old.temperature)


def test_pressure_increment_changes_its_logarithm_exactly(inputs, columns):
    old = columns(inputs)[0].surface_pressure
    added = 100.0 * smooth_field()[3]
    new = columns(add_increments(MODEL, inputs, {PRESSURE: added}))[0].surface_pressure
    wanted = np.log1p(added / (1e5 * np.asarray(old)))
    # What the truncation removes, which is little: orography is in the pressure.
    spectrum = MODEL.transform.truncated(MODEL.transform.analysis(jnp.asarray(wanted)[:, None]))
    wanted = MODEL.transform.synthesis(spectrum)[:, 0]
    np.testing.assert_allclose(np.log(new) - np.log(old), wanted, rtol=0, atol=1e-13)
    np.testing.assert_allclose(1e5 * (new - old), added, rtol=0, atol=40)


def test_increments_beyond_the_truncation_change_nothing(inputs):
    longitude = np.deg2rad(MODEL.grid.longitude)[:, None]
    added = np.broadcast_to(np.cos(25 * longitude), (8, *MODEL.grid.shape))
    changed = add_increments(MODEL, inputs, {"state.air_temperature": added})
    difference = changed.state.current.temperature - inputs.state.current.temperature
    np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_change_is_linear_in_all_increments_but_pressure(inputs):
    names = [*WIND, *SCALARS]
    rng = np.random.default_rng(1)
    added = {name: rng.normal(size=(8, *MODEL.grid.shape)) for name in names}
    once = add_increments(MODEL, inputs, added).state.current
    thrice = add_increments(MODEL, inputs, {k: 3 * x for k, x in added.items()}).state.current
    for old, one, three in zip(*map(
            jax.tree.leaves, (inputs.state.current, once, thrice)), strict=True):
        np.testing.assert_allclose(three - old, 3 * (one - old), rtol=0, atol=1e-11)


def test_increments_of_a_change_are_those_that_made_it(inputs):
    added = {name: smooth_field() for name in SCALARS} | {PRESSURE: 1e-4 * smooth_field()[0]}
    new, old = (x.state.current for x in (add_increments(MODEL, inputs, added), inputs))
    found = increments_of(MODEL, inputs, jax.tree.map(jnp.subtract, new, old))
    assert list(found) == list(STATE_UNITS)
    for name in SCALARS:
        np.testing.assert_allclose(found[name], added[name], rtol=0, atol=1e-10)
    # Smoothness of pressure over orography, see above.
    np.testing.assert_allclose(found[PRESSURE], added[PRESSURE], rtol=0, atol=4e-5)
    np.testing.assert_allclose(found[WIND[0]], 0, atol=1e-12)


def test_gradient_at_zero_is_that_of_finite_differences(inputs):
    names = list(STATE_UNITS)
    weights = [jnp.asarray(np.random.default_rng(2).normal(size=x.shape))
               for x in jax.tree.leaves(inputs.state.current)]  # fmt: skip

    @jax.jit
    def value(increments):
        leaves = jax.tree.leaves(add_increments(MODEL, inputs, increments).state.current)
        return sum(jnp.sum(w * x) for w, x in zip(weights, leaves, strict=True))

    zero = zero_increments(MODEL, inputs, names)
    gradient = jax.grad(value)(zero)
    rng = np.random.default_rng(3)
    for name in names:
        direction = jnp.asarray(rng.normal(size=zero[name].shape))
        step = 10.0 if name == PRESSURE else 1.0
        high, low = (value(zero | {name: sign * step * direction}) for sign in (1, -1))
        slope = float(jnp.sum(gradient[name] * direction))
        np.testing.assert_allclose(float(high - low) / (2 * step), slope, rtol=1e-6)


def test_bad_increments_are_refused(inputs):
    with pytest.raises(KeyError, match=r"available: state\.eastward_wind"):
        add_increments(MODEL, inputs, {"state.wind": 1.0})
    with pytest.raises(ValueError, match=r"shape \(\); expected \(8, 64, 32\)"):
        add_increments(MODEL, inputs, {"state.air_temperature": 1.0})
    with pytest.raises(ValueError, match="not finite"):
        add_increments(MODEL, inputs, {PRESSURE: np.full(MODEL.grid.shape, np.nan)})
    with pytest.raises(ValueError, match="no positive pressure"):
        add_increments(MODEL, inputs, {PRESSURE: np.full(MODEL.grid.shape, -2e5)})
