"""Switches: exact without a width and with width 0, smooth and close to exact with one."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcm.physics import smooth
from jcm.physics.smooth import Widths, exact_widths, suggested_widths

#: A helper as a function of one number and a width, with the switch at 0.
HELPERS = {
    "step": smooth.step,
    "step inclusive": lambda x, w: smooth.step(x, w, inclusive=True),
    "positive": smooth.positive,
    "maximum": lambda x, w: smooth.maximum(x, jnp.zeros_like(x), w),
    "minimum": lambda x, w: smooth.minimum(x, jnp.zeros_like(x), w),
    "clip": lambda x, w: smooth.clip(x, 0.0, 5.0, w),
    "select": lambda x, w: smooth.select(x, jnp.full_like(x, 3), jnp.full_like(x, -1), w),
    "select inclusive": lambda x, w: smooth.select(
        x, jnp.full_like(x, 3), jnp.full_like(x, -1), w, inclusive=True),
    "root": smooth.root,
    "absolute": smooth.absolute,
    "largest": lambda x, w: smooth.largest(jnp.stack([x, jnp.zeros_like(x)]), w)[0],
    "nearest": lambda x, w: smooth.nearest(x, w),
}  # fmt: skip

#: What they do exactly.
EXACT = {
    "step": lambda x: np.where(x > 0, 1, 0),
    "step inclusive": lambda x: np.where(x >= 0, 1, 0),
    "positive": lambda x: np.maximum(x, 0),
    "maximum": lambda x: np.maximum(x, 0),
    "minimum": lambda x: np.minimum(x, 0),
    "clip": lambda x: np.clip(x, 0, 5),
    "select": lambda x: np.where(x > 0, 3, -1),
    "select inclusive": lambda x: np.where(x >= 0, 3, -1),
    "root": lambda x: np.sqrt(np.maximum(x, 0)),
    "absolute": np.abs,
    "largest": lambda x: np.where(x >= 0, 1, 0),
    "nearest": lambda x: np.floor(x + x.dtype.type(0.5)),
}  # fmt: skip

#: Largest difference from the exact result, as a function of x and width.
JUMP = lambda x, w: math.exp(-abs(x) / w)  # noqa: E731
RAMP = lambda x, w: math.log(2) * w  # noqa: E731
BOUND = {
    "step": JUMP,
    "step inclusive": JUMP,
    "positive": RAMP,
    "maximum": RAMP,
    "minimum": RAMP,
    "clip": lambda x, w: 2 * RAMP(x, w),
    "select": lambda x, w: 4 * JUMP(x, w),
    "select inclusive": lambda x, w: 4 * JUMP(x, w),
    "root": lambda x, w: math.sqrt(w),
    "absolute": lambda x, w: w,
    "largest": JUMP,
    # Smooth means unrounded, whatever the width.
    "nearest": lambda x, w: 0.5,
}  # fmt: skip

every_helper = pytest.mark.parametrize("name", HELPERS)
numbers = st.floats(-20, 20, allow_nan=False, allow_subnormal=False)
widths = st.floats(1e-3, 10)
few = settings(max_examples=60, deadline=None)


def values(dtype):
    return np.array(
        [-20, -5, -1, -0.5, -1e-3, -1e-12, 0, 1e-12, 1e-3, 0.5, 1, 1.5, 2.5, 5, 7, 20], dtype)


def bits(x):
    return np.asarray(x).tobytes()


@every_helper
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_a_width_a_helper_is_exact_to_the_bit(name, dtype):
    x = values(dtype)
    found = HELPERS[name](jnp.asarray(x), None)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, EXACT[name](x).astype(dtype))


@every_helper
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_width_0_gives_the_bits_of_no_width(name, dtype):
    x = jnp.asarray(values(dtype))
    exact = HELPERS[name](x, None)
    zero = jnp.zeros((), dtype)
    assert bits(HELPERS[name](x, zero)) == bits(exact)
    assert bits(jax.jit(HELPERS[name])(x, zero)) == bits(exact)


@every_helper
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_width_keeps_the_precision(name, dtype):
    found = HELPERS[name](jnp.asarray(values(dtype)), jnp.asarray(0.1, dtype))
    assert found.dtype == dtype


@every_helper
def test_one_program_serves_all_widths(name):
    traces = []

    @jax.jit
    def helper(x, w):
        traces.append(1)
        return HELPERS[name](x, w)

    x = jnp.asarray(values(float))
    for w in (0.0, 0.1, 1.0):
        helper(x, jnp.asarray(w))
    assert len(traces) == 1


@every_helper
@few
@given(x=numbers.filter(lambda x: abs(x) > 1e-9), w=widths)
def test_a_smooth_helper_is_within_its_width_of_the_exact_one(name, x, w):
    array = np.asarray(x)
    found = float(HELPERS[name](jnp.asarray(x), jnp.asarray(w)))
    assert abs(found - EXACT[name](array)) <= BOUND[name](x, w) + 1e-12


@pytest.mark.parametrize("name", [n for n in HELPERS if n != "nearest"])
@pytest.mark.parametrize("x", [-3.0, -0.25, 0.25, 3.0])
def test_a_smooth_helper_becomes_exact_as_the_width_vanishes(name, x):
    exact = EXACT[name](np.asarray(x))
    w = jnp.asarray([1.0, 1e-2, 1e-4, 1e-6, 1e-8])
    error = np.abs(jax.vmap(lambda w: HELPERS[name](jnp.asarray(x), w))(w) - exact)
    assert np.all(np.diff(error) <= 0)
    assert error[-1] < 2e-4 if name == "root" else error[-1] < 1e-7


@every_helper
@pytest.mark.parametrize("w", [None, 0.0, 0.1])
def test_the_derivative_at_the_switch_is_finite_in_both_modes(name, w):
    w = None if w is None else jnp.asarray(w)
    for x in (-1e-300, 0.0, 1e-300, 1e-12):
        helper = lambda x: HELPERS[name](x, w)  # noqa: E731
        forward = jax.jvp(helper, (x,), (1.0,))[1]
        reverse = jax.grad(helper)(x)
        assert np.isfinite(forward) and np.isfinite(reverse)
        np.testing.assert_allclose(forward, reverse, rtol=1e-13)


@every_helper
def test_the_derivative_by_the_width_is_finite(name):
    x, w = jnp.meshgrid(
        jnp.asarray([-30.0, -1.0, 0.0, 1e-3, 1.0, 30.0]), jnp.asarray([0.0, 1e-6, 0.1, 10.0]))
    slopes = jax.grad(lambda w: jnp.sum(HELPERS[name](x, w)))(w)
    assert np.all(np.isfinite(slopes))


@every_helper
@pytest.mark.parametrize("w", [None, 0.0])
def test_the_exact_derivative_at_the_switch_is_0(name, w):
    # Also of the minimum of x and a constant: the constant is taken where both are equal.
    w = None if w is None else jnp.asarray(w)
    assert float(jax.grad(lambda x: HELPERS[name](x, w))(0.0)) == 0.0


@every_helper
def test_a_smooth_derivative_is_the_limit_of_differences(name):
    # The smooth root has a kink at 0, the least value that it is ever given.
    x = jnp.asarray([-1.0, -0.05, 0.0, 0.02, 0.3, 2.0, 5.0])
    x = x[x != 0] if name == "root" else x
    w, h = jnp.asarray(0.2), 1e-5
    difference = (HELPERS[name](x + h, w) - HELPERS[name](x - h, w)) / (2 * h)
    slope = jax.grad(lambda x: jnp.sum(HELPERS[name](x, w)))(x)
    np.testing.assert_allclose(slope, difference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in HELPERS if n not in ("absolute", "minimum")])
@few
@given(x=st.lists(numbers, min_size=2, max_size=8), w=st.none() | st.just(0.0) | widths)
def test_a_helper_never_decreases(name, x, w):
    w = None if w is None else jnp.asarray(w)
    found = HELPERS[name](jnp.asarray(sorted(x)), w)
    assert np.all(np.diff(found) >= -1e-12)


@few
@given(x=st.lists(numbers, min_size=2, max_size=8), w=st.none() | st.just(0.0) | widths)
def test_the_minimum_never_decreases(x, w):
    w = None if w is None else jnp.asarray(w)
    found = smooth.minimum(jnp.asarray(sorted(x)), jnp.zeros(len(x)), w)
    assert np.all(np.diff(found) >= -1e-12)


@few
@given(x=st.lists(st.floats(0, 20), min_size=2, max_size=8), w=st.none() | st.just(0.0) | widths)
def test_the_absolute_value_is_even_and_grows_from_0(x, w):
    w = None if w is None else jnp.asarray(w)
    x = jnp.asarray(sorted(x))
    found = smooth.absolute(x, w)
    assert np.all(np.diff(found) >= -1e-12)
    np.testing.assert_array_equal(smooth.absolute(-x, w), found)


@few
@given(a=numbers, b=numbers, w=widths)
def test_smooth_maximum_and_minimum_enclose_both_and_add_up(a, b, w):
    a, b, w = (jnp.asarray(x) for x in (a, b, w))
    high, low = smooth.maximum(a, b, w), smooth.minimum(a, b, w)
    assert high >= np.maximum(a, b) - 1e-12
    assert low <= np.minimum(a, b) + 1e-12
    np.testing.assert_allclose(high + low, a + b, atol=1e-12)
    np.testing.assert_allclose(smooth.maximum(b, a, w), high, atol=1e-12)


@few
@given(x=st.lists(numbers, min_size=1, max_size=6), w=st.none() | st.just(0.0) | widths)
def test_weights_of_the_largest_entry_add_up_to_1_and_prefer_it(x, w):
    x = jnp.asarray(x)
    weights = np.asarray(smooth.largest(x, None if w is None else jnp.asarray(w)))
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    assert weights[int(np.argmax(x))] == weights.max()


def test_the_first_of_equal_entries_is_the_largest():
    x = jnp.asarray([[1.0, 2.0], [1.0, 3.0], [0.0, 3.0]])
    np.testing.assert_array_equal(smooth.largest(x, None), [[1, 0], [0, 1], [0, 0]])


def test_halves_are_rounded_away_from_zero():
    np.testing.assert_array_equal(
        smooth.nearest(jnp.asarray([0.49, 0.5, 1.5, 2.5, 199.5]), None), [0, 1, 2, 3, 200])


def test_a_width_that_varies_from_point_to_point_is_exact_where_it_is_0():
    x, w = jnp.asarray([-1.0, -1.0]), jnp.asarray([0.0, 1.0])
    found = smooth.positive(x, w)
    assert float(found[0]) == 0.0
    np.testing.assert_allclose(found[1], math.log1p(math.exp(-1)))


def test_scaling_keeps_no_width():
    assert smooth.scaled(None, jnp.asarray(2.0)) is None
    assert float(smooth.scaled(jnp.asarray(3.0), jnp.asarray(2.0))) == 6.0


@every_helper
def test_far_from_the_switch_values_and_derivatives_stay_finite_in_float32(name):
    x, w = jnp.meshgrid(*(jnp.asarray(v, jnp.float32) for v in ([-1e6, 1e6], [1e-12, 1.0])))
    assert np.all(np.isfinite(HELPERS[name](x, w)))
    slopes = jax.grad(lambda x: jnp.sum(HELPERS[name](x, w)))(x)
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize(
    "name", ["positive", "maximum", "minimum", "clip", "root", "absolute", "nearest"])
@pytest.mark.parametrize("w", [None, 0.0, 0.1])
def test_what_is_not_a_number_stays_so(name, w):
    found = HELPERS[name](jnp.asarray(np.nan), None if w is None else jnp.asarray(w))
    assert np.isnan(found)


def test_exact_widths_are_all_none():
    assert jax.tree.leaves(exact_widths()) == []


def test_default_widths_are_all_0():
    assert all(float(w) == 0 for w in jax.tree.leaves(Widths()))


def test_suggested_widths_are_above_0_and_within_their_bounds():
    suggested = suggested_widths(Widths())
    assert jax.tree.structure(suggested) == jax.tree.structure(Widths())
    for group in dataclasses.fields(suggested):
        scheme = getattr(suggested, group.name)
        for field in dataclasses.fields(scheme):
            low, high = field.metadata["described"].bounds
            value = float(getattr(scheme, field.name))
            assert 0 < value <= high, f"{group.name}.{field.name}"
            assert low == 0
