"""Stochastic perturbation: the statistics of the pattern, and what it does to tendencies.

Samples are of a thousand degrees of freedom and more: tolerances of a few per cent are several
standard errors, and the seeds are fixed.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm.constants import EARTH
from jcm.grid import make_grid
from jcm.physics.smooth import exact_widths, suggested_widths
from jcm.physics.stochastic import (
    StochasticParameters,
    first_pattern,
    memory,
    next_pattern,
    noise,
    perturb,
)
from jcm.state import Tendency
from jcm.transform import Transform

GRID = make_grid("T30")
TRANSFORM = Transform(GRID, EARTH.radius)
WEIGHT = GRID.quadrature_weight / GRID.quadrature_weight.sum() / GRID.nlon
#: 36 steps a day.
STEP = 2400.0
LEVELS = 64
WIDTHS = exact_widths().stochastic
KEY = jax.random.key(0)


def on_grid(pattern):
    """(level, lon, lat)"""
    return np.moveaxis(np.asarray(TRANSFORM.synthesis(pattern)), 1, 0)


def deviation(fields):
    """Area-weighted standard deviation about 0 over all levels."""
    return math.sqrt(np.mean(np.sum(np.square(fields) * WEIGHT, axis=(1, 2))))


def correlation(a, b):
    """Area-weighted correlation about 0 over all levels."""
    product = np.mean(np.sum(a * b * WEIGHT, axis=(1, 2)))
    return product / deviation(a) / deviation(b)


def draw(key=KEY, levels=LEVELS, **changes):
    return first_pattern(key, levels, TRANSFORM, StochasticParameters(**changes), STEP)


def tendency(levels, value=1.0):
    x = jnp.full((levels, *GRID.shape), value)
    return Tendency(x, 2 * x, 3 * x, 4 * x)


def perturbed(pattern, parameters=None, widths=WIDTHS):
    parameters = parameters or StochasticParameters()
    return perturb(tendency(pattern.shape[2]), pattern, TRANSFORM, parameters, widths)


def test_memory_is_that_of_six_hours():
    np.testing.assert_allclose(memory(StochasticParameters(), STEP), 0.894839317, rtol=1e-9)


def test_noise_has_the_published_amplitude_at_t30_with_36_steps_a_day():
    found = noise(KEY, LEVELS, TRANSFORM, StochasticParameters(), STEP)
    gaussian = np.asarray(jax.random.normal(KEY, found.shape, found.dtype))
    sigma = np.asarray(found) / gaussian
    np.testing.assert_allclose(sigma[0, 0, :, 0], 5.94270585e-3, rtol=1e-8)
    ratio = (5e5 / EARTH.radius) ** 2
    np.testing.assert_allclose(
        sigma[3, 1, :, 4], 5.94270585e-3 * math.exp(-0.25 * ratio * 7 * 8), rtol=1e-8)


def test_noise_reaches_one_degree_beyond_the_truncation_and_no_further():
    found = np.asarray(noise(KEY, 1, TRANSFORM, StochasticParameters(), STEP))[:, :, 0]
    degree = np.broadcast_to(TRANSFORM.degree[:, :, 0], found.shape)
    assert np.all(found[degree <= 31] != 0)
    assert not np.any(found[degree > 31])


def test_standard_deviation_is_0_23():
    assert deviation(on_grid(draw())) == pytest.approx(0.232, rel=0.02)


def test_standard_deviation_is_that_of_the_first_pattern_ever_after():
    pattern, parameters = draw(), StochasticParameters()
    for key in jax.random.split(jax.random.key(1), 30):
        pattern = next_pattern(pattern, key, TRANSFORM, parameters, STEP)
    assert deviation(on_grid(pattern)) == pytest.approx(0.232, rel=0.02)


def test_standard_deviation_is_proportional_to_the_nominal_one():
    np.testing.assert_allclose(draw(standard_deviation=0.66), 2 * draw(), rtol=1e-12)


def test_standard_deviation_does_not_depend_on_the_correlation_length():
    assert deviation(on_grid(draw(correlation_length=1e6))) == pytest.approx(0.232, rel=0.04)


@pytest.mark.parametrize("steps", [1, 9, 18])
def test_autocorrelation_decays_within_six_hours(steps):
    first, parameters = draw(), StochasticParameters()
    pattern = first
    for key in jax.random.split(jax.random.key(2), steps):
        pattern = next_pattern(pattern, key, TRANSFORM, parameters, STEP)
    expected = math.exp(-steps * STEP / 21600)
    assert correlation(on_grid(first), on_grid(pattern)) == pytest.approx(expected, abs=0.03)


def test_levels_are_independent():
    fields = on_grid(draw())
    assert abs(correlation(fields[:-1], fields[1:])) < 0.03


def test_correlation_decays_over_the_correlation_length():
    fields = on_grid(draw(levels=200, correlation_length=1e6))
    equator = fields[:, :, 23:25]
    shifted = np.roll(equator, 3, axis=1)
    distance = 3 * np.deg2rad(360 / GRID.nlon) * EARTH.radius
    expected = math.exp(-0.5 * (distance / 1e6) ** 2)
    found = np.mean(equator * shifted) / np.mean(equator**2)
    assert found == pytest.approx(expected, abs=0.03)


def test_the_same_key_gives_the_same_pattern_and_another_key_another():
    np.testing.assert_array_equal(draw(jax.random.key(5)), draw(jax.random.key(5)))
    assert abs(correlation(*(on_grid(draw(jax.random.key(k))) for k in (5, 6)))) < 0.03


def test_all_tendencies_are_multiplied_by_the_same_factor():
    found = perturbed(draw(levels=3))
    for k, x in enumerate(jax.tree.leaves(found), start=1):
        np.testing.assert_allclose(x, k * found.eastward_wind, rtol=1e-14)


def test_the_factor_is_1_plus_the_pattern():
    pattern = draw(levels=3)
    fields = on_grid(pattern)
    inside = np.abs(fields) < 1
    found = np.asarray(perturbed(pattern).eastward_wind)
    np.testing.assert_allclose(found[inside], 1 + fields[inside], rtol=1e-13)


def test_the_pattern_is_clipped_to_1_on_either_side():
    found = np.asarray(perturbed(draw(standard_deviation=3.0)).eastward_wind)
    assert found.min() == 0.0
    assert found.max() == 2.0


def test_the_smooth_clip_stays_between_the_limits():
    widths = suggested_widths(jcm.physics.smooth.Widths()).stochastic
    found = np.asarray(perturbed(draw(standard_deviation=3.0), widths=widths).eastward_wind)
    assert 0 <= found.min() < 0.01
    assert 1.99 < found.max() <= 2


def test_amplitude_scales_the_perturbation():
    pattern = draw(levels=3)
    whole = np.asarray(perturbed(pattern).eastward_wind) - 1
    half = perturbed(pattern, StochasticParameters(amplitude=0.5)).eastward_wind - 1
    np.testing.assert_allclose(half, whole / 2, atol=1e-15)


@pytest.mark.parametrize("change", [{"standard_deviation": 0.0}, {"amplitude": 0.0}])
def test_without_deviation_or_amplitude_tendencies_keep_every_bit(change):
    parameters = StochasticParameters(**change)
    pattern = first_pattern(KEY, 2, TRANSFORM, parameters, STEP)
    found = perturbed(pattern, parameters)
    for x, expected in zip(
        jax.tree.leaves(found), jax.tree.leaves(tendency(2)), strict=True):
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(StochasticParameters)])
def test_derivatives_by_the_parameters_are_those_of_differences(name):
    def total(value):
        parameters = StochasticParameters(**{name: value})
        pattern = first_pattern(KEY, 1, TRANSFORM, parameters, STEP)
        pattern = next_pattern(pattern, jax.random.key(1), TRANSFORM, parameters, STEP)
        weight = jnp.cos(jnp.arange(GRID.nlat))
        return jnp.sum(weight * perturbed(pattern, parameters).temperature)

    value = float(getattr(StochasticParameters(), name))
    h = 1e-5 * value
    difference = (total(value + h) - total(value - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(total)(value), difference, rtol=1e-6)


@pytest.fixture(scope="module")
def model():
    return jcm.build_model("T21L8", stochastic_perturbation="on")


def run(model, inputs):
    return jcm.simulate(model, inputs, days=2 * model.time_step / 86400, observe=())[0]


def leaves(state):
    return jax.tree.leaves((state.previous, state.current))


def test_a_seed_makes_a_run_reproducible_and_another_changes_it(model):
    first, again, other = (
        run(model, jcm.default_inputs(model, seed=seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(again), strict=True))
    assert not np.array_equal(first.current.temperature, other.current.temperature)


def test_a_run_without_deviation_is_the_run_without_perturbation(model, small_model, small_inputs):
    inputs = jcm.default_inputs(model)
    parameters = jcm.insert(inputs.parameters, {"stochastic.standard_deviation": 0.0})
    without = run(model, jcm.default_inputs(model, parameters=parameters))
    assert not np.any(without.pattern)
    for a, b in zip(leaves(without), leaves(run(small_model, small_inputs)), strict=True):
        # The programs are compiled apart.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_a_model_without_perturbation_has_no_pattern(small_inputs):
    assert small_inputs.state.pattern is None
    assert small_inputs.state.key is None
