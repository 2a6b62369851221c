"""Gradients with known virtues and planted faults, and the verdicts they have to get."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm_sensitivity.check import check_gradient, compile_check, examine
from jcm_sensitivity.taylor import best_difference
from jcm_sensitivity.verdict import Evidence, classify

POINT = jnp.array([0.4, 0.9, 1.3])
HALF = jnp.array(0.5)
ONES = jnp.ones(3)
FEW = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4, 1e-5)
stopped = jax.lax.stop_gradient


@jax.custom_jvp
def sine_of_wrong_sign(x):
    return jnp.sin(x)


sine_of_wrong_sign.defjvp(lambda x, v: (jnp.sin(x[0]), -jnp.cos(x[0]) * v[0]))


@jax.custom_vjp
def sine_in_reverse(x):
    return jnp.sin(x)


sine_in_reverse.defvjp(lambda x: (jnp.sin(x), x), lambda x, w: (jnp.cos(x) * w,))


@jax.custom_vjp
def sine_wrong_in_reverse(x):
    return jnp.sin(x)


sine_wrong_in_reverse.defvjp(lambda x: (jnp.sin(x), x), lambda x, w: (-jnp.cos(x) * w,))


def logistic_map(times):
    return lambda x: jax.lax.scan(lambda y, _: (3.9 * y * (1 - y), None), x, length=times)[0]


def lorenz_96(x):
    def rate(x):
        return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8

    def step(x, _):
        return x + 0.01 * rate(x + 0.005 * rate(x)), None

    return jnp.sum(jax.lax.scan(step, x, length=5)[0] ** 2)


# Name: function, point, direction, verdict, a word of the explanation.
CASES = {
    "a linear function": (lambda x: 3 * x[0] - x[1], POINT, ONES, "pass", "agrees"),
    "a stationary point": (lambda x: (x - 0.5) ** 2 + 1, HALF, 1.0, "pass", "agrees"),
    "a fast oscillation": (lambda x: jnp.sin(1e5 * x), HALF, 1.0, "pass", "agrees"),
    "a switch beside the point": (lambda x: x**2 + (x > 0.53), HALF, 1.0, "pass", "step 3e-02 on"),
    "an index": (lambda x: x[0] * jnp.arange(3.0)[jnp.argmax(x)], POINT, ONES, "pass", "agrees"),
    "integers are held": (lambda p: p[0] ** 2 * p[1], (1.5, 3), (1.0, None), "pass", "agrees"),
    "a while loop": (
        lambda x: jax.lax.while_loop(lambda y: y < 9, lambda y: 1.5 * y, x), HALF, 1.0, "pass",
        "agrees"),
    "a rule in reverse only": (
        lambda x: jnp.sum(sine_in_reverse(x)), POINT, ONES, "pass", "agrees"),
    "a stopped term": (
        lambda x: jnp.sum(x**3) + stopped(x[0] ** 2), POINT, ONES, "wrong", "stop_gradient"),
    "a small stopped term": (
        lambda x: jnp.sum(x**2 + 1e-3 * stopped(x) * x), POINT, ONES, "wrong", "AD"),
    "a wrong sign": (lambda x: jnp.sum(sine_of_wrong_sign(x)), POINT, ONES, "wrong", "2.0e+00"),
    "a wrong sign of a small term": (
        lambda x: jnp.sum(1e-3 * sine_of_wrong_sign(x) + x**2), POINT, ONES, "wrong", "AD"),
    "a wrong rule in reverse": (
        lambda x: jnp.sum(sine_wrong_in_reverse(x)), POINT, ONES, "wrong", "AD"),
    "a wholly stopped input": (lambda x: jnp.sum(stopped(x) ** 2), POINT, ONES, "wrong", "AD 0"),
    "a straight-through estimate": (
        lambda x: jnp.sum(x + stopped(jnp.round(x) - x)), POINT, ONES, "wrong", "AD 3"),
    "a clip": (lambda x: jnp.sum(jnp.clip(x, 2, 3) ** 2), POINT, ONES, "dead", "jnp.clip(x, 2, 3)"),
    "a cap": (lambda x: jnp.where(x[0] > 0.1, 0.1, x[0]), POINT, ONES, "dead", "x[0] > 0.1"),
    "a constant": (lambda x: 0 * x + 1, HALF, 1.0, "dead", "flat"),
    "an input that is not read": (
        lambda p: p["a"] ** 2, {"a": 1.0, "b": 2.0}, {"a": 0.0, "b": 1.0}, "dead", "not read"),
    "a threshold": (
        lambda p: jnp.where(p[0] > p[1], p[0] ** 2, 0), (1.0, 0.95), (0.0, 1.0), "dead",
        "acts only through the switch test_check_gradient.lambda: p[0] > p[1]"),
    "a jump": (lambda x: x**2 + (x > 0.5), HALF, 1.0, "jump", "x > 0.5"),
    "a jump and nothing else": (lambda x: 1.0 * (x > 0.5), HALF, 1.0, "jump", "x > 0.5"),
    "a field of many small jumps": (
        lambda x: jnp.mean(jnp.round(x * 1e4) * 1e-4 + 0.1 * x), jnp.linspace(1e-5, 1, 50000),
        jnp.ones(50000), "jump", "jnp.round(x * 1e4)"),
    "a corner of abs": (lambda x: jnp.abs(x - 0.5) + x, HALF, 1.0, "kink", "jnp.abs(x - 0.5)"),
    "a corner of where": (
        lambda x: jnp.where(x > 0.5, x - 0.5, 0) + x, HALF, 1.0, "kink", "slopes 2 and 1"),
    "a corner of maximum": (lambda x: jnp.maximum(x, 0.5), HALF, 1.0, "kink", "jnp.maximum"),
    "a corner of relu": (lambda x: jax.nn.relu(x - 0.5), HALF, 1.0, "kink", "slopes 1 and 0"),
    "a slope below rounding": (lambda x: 1 + 1e-12 * x**2, HALF, 1.0, "noise floor", "rounding"),
    "a chaotic map": (logistic_map(100), jnp.array(0.3), 1.0, "chaotic", "horizon"),
    "a map at the edge of chaos": (logistic_map(45), jnp.array(0.3), 1.0, "chaotic", "horizon"),
    "a chaotic map, far": (logistic_map(400), jnp.array(0.3), 1.0, "chaotic", "horizon"),
    "a function that is not finite": (lambda x: jnp.log(-x), HALF, 1.0, "not finite", "nan"),
    "an infinite slope": (jnp.sqrt, jnp.array(0.0), 1.0, "not finite", "inf"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_of(name):
    function, point, direction, verdict, word = CASES[name]
    check = check_gradient(function, point, direction=direction, curvature=False)
    assert check.verdict == verdict, check.report()
    assert word in check.explanation
    assert check.passed == (verdict not in {"wrong", "not finite"})


@pytest.mark.parametrize("function", [
    lambda x: jnp.sum(x**4 - 2 * x), lambda x: jnp.sum(jnp.exp(x)),
    lambda x: jnp.sum(jnp.maximum(x, 0.5) ** 4)])  # fmt: skip
def test_taylor_orders_of_smooth_functions_are_1_2_3_and_differences_exact(function):
    check = check_gradient(function, POINT, direction=ONES)
    (along,) = check.directions
    for orders in (along.remainders.orders, along.remainders.frozen_orders):
        np.testing.assert_allclose(orders, (1, 2, 3), atol=0.1)
    exact = float(jnp.sum(jax.grad(function)(POINT)))
    assert abs(along.evidence.difference / exact - 1) < 1e-8
    assert abs(along.evidence.difference - exact) <= max(
        along.evidence.difference_error, 1e-14 * abs(exact))


def test_a_wrong_gradient_spoils_the_second_order():
    check = check_gradient(lambda x: jnp.sum(x**3) + stopped(x[0] ** 2), POINT, direction=ONES)
    assert check.directions[0].remainders.orders[1] == pytest.approx(1, abs=0.1)


def test_float32_is_verified_to_its_rounding_and_not_beyond():
    point = POINT.astype(jnp.float32)
    coarse = check_gradient(lambda x: jnp.sum(jnp.exp(x)), point, tolerance=1e-3)
    fine = check_gradient(lambda x: jnp.sum(jnp.exp(x)), point, tolerance=1e-9)
    fault = check_gradient(
        lambda x: jnp.sum(x**3) + 0.1 * stopped(jnp.sum(x**2)), point, tolerance=1e-3)
    assert (coarse.verdict, fine.verdict, fault.verdict) == ("pass", "noise floor", "wrong")


def test_forward_and_reverse_of_opposite_sign_are_wrong():
    programs = compile_check(lambda x: jnp.sum(x**2), POINT)
    broken = dataclasses.replace(programs, gradient=lambda x: [-g for g in programs.gradient(x)])
    check = examine(broken, POINT, ONES, steps=FEW)
    assert check.verdict == "wrong" and "forward and reverse" in check.explanation


def test_several_outputs_are_contracted_and_a_fault_in_one_is_found():
    def outputs(x, fault):
        second = sine_of_wrong_sign(x) if fault else jnp.sin(x)
        return jnp.cos(x), {"sine": second, "index": jnp.argmax(x)}

    assert check_gradient(lambda x: outputs(x, False), POINT).verdict == "pass"
    assert check_gradient(lambda x: outputs(x, True), POINT).verdict == "wrong"


def test_foreign_functions_pass():
    network = eqx.nn.MLP(3, 2, 8, 2, activation=jax.nn.relu, key=jax.random.key(1))
    check = check_gradient(lambda net: net(POINT.astype(jnp.float32)), network, tolerance=1e-2)
    assert check.verdict == "pass", check.report()
    start = 8 + jnp.sin(jnp.arange(12.0))
    assert check_gradient(lorenz_96, start, steps=FEW, curvature=False).verdict == "pass"


def test_the_worst_of_several_directions_counts_and_inputs_without_effect_are_listed():
    def function(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(jnp.clip(p["b"], 5, 6))

    point = {"a": POINT, "b": POINT, "c": POINT, "n": 3}
    check = check_gradient(function, point, directions=2, steps=FEW)
    assert check.verdict == "pass" and len(check.directions) == 2
    assert check.unread == ("['c']",)
    assert set(check.without_gradient) == {"['b']", "['c']"}


def test_one_compilation_serves_many_directions():
    programs = compile_check(lambda p: p["a"] ** 3 * jnp.exp(p["b"]), {"a": 1.2, "b": 0.3})
    verdicts = [
        examine(programs, {"a": 1.2, "b": 0.3}, {"a": a, "b": 1 - a}, steps=FEW).evidence.slope
        for a in (0.0, 1.0)]
    value = 1.2**3 * np.exp(0.3)
    np.testing.assert_allclose(verdicts, [value, 3 * value / 1.2])


def test_census_is_part_of_the_report_and_json():
    check = check_gradient(lambda x: jnp.sum(jnp.where(x > 0.41, x**2, x)), POINT, direction=ONES)
    assert "x > 0.41" in check.report()
    numbers = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    flips = numbers["directions"][0]["flips"]
    assert [flip["count"] for flip in flips if flip["ladder_step"] == 0.1] == [1]
    assert "x > 0.41" in flips[0]["name"]


def test_the_error_of_a_difference_covers_what_smaller_steps_disagree():
    steps = np.array([1e-1, 1e-2, 1e-3, 1e-4])
    jumps = best_difference(steps, np.array([1.0, 1.0, 1.0, 5.0]), 0.0)
    assert jumps.error >= 4


def evidence(**changes):
    numbers = {
        "value": 1.0, "slope": 2.0, "slope_error": 0.0, "adjoint_mismatch": 0.0,
        "difference": 2.0, "difference_error": 1e-9, "step": 1e-4, "frozen": 2.0,
        "frozen_error": 1e-9, "one_sided": (2.0, 2.0), "frozen_secant": 2.0, "secant": 2.0,
        "noise": 1e-16, "epsilon": 2e-16, "flat": False, "moves": True, "flip_slope": 0.0,
        "flip_order": None, "flip_step": None, "largest_step": 0.1}  # fmt: skip
    return Evidence(**(numbers | changes))


@pytest.mark.parametrize(("changes", "verdict"), [
    ({}, "pass"),
    ({"slope": float("nan")}, "not finite"),
    ({"adjoint_mismatch": 1e-3}, "wrong"),
    ({"slope": 2.1}, "wrong"),
    ({"slope": 2.1, "frozen_error": 0.1}, "noise floor"),
    ({"slope": 1e9, "frozen_error": 10.0, "noise": 0.1}, "chaotic"),
    ({"difference": 9.0, "flip_slope": 7.0, "flip_order": 0.0}, "jump"),
    ({"difference": 9.0, "flip_slope": 7.0, "flip_order": 1.0}, "kink"),
    ({"difference": 9.0, "flip_slope": 7.0, "flip_order": 1.0, "flip_persistence": 1.0}, "jump"),
    ({"slope": 1.0, "frozen": 2.0, "one_sided": (2.0, 0.0), "flip_slope": 2.0, "flip_order": 1.0},
     "kink"),
    ({"slope": 3.0, "frozen": 2.0, "one_sided": (2.0, 0.0), "flip_slope": 2.0, "flip_order": 1.0},
     "wrong"),
    ({"slope": 0.0, "frozen": 0.0, "difference": 0.0, "flat": True, "moves": False}, "dead"),
    ({"slope": 0.0, "reads": False}, "dead"),
    ({"slope": 0.0, "frozen": 2.0}, "wrong"),
])  # fmt: skip
def test_classification_of(changes, verdict):
    assert classify(evidence(**changes))[0] == verdict


@pytest.mark.parametrize(("point", "options", "error", "message"), [
    ((1, 2), {}, TypeError, "no floating-point numbers"),
    (jnp.array([1.0, jnp.nan]), {}, ValueError, "NaN"),
    (jnp.array([1j]), {}, TypeError, "complex"),
    (POINT, {"direction": (1.0, 2.0)}, ValueError, "shapes"),
    ((POINT, 1.0), {"direction": POINT}, ValueError, "structure of the point"),
    ((POINT, 1.0), {"direction": (POINT, None)}, ValueError, "no value for"),
    (POINT, {"direction": 0 * POINT}, ValueError, "0 everywhere"),
    (POINT, {"steps": (1e-3, 1e-4)}, ValueError, "at least three"),
    (POINT, {"directions": 0}, ValueError, "directions"),
])  # fmt: skip
def test_bad_input_is_refused(point, options, error, message):
    with pytest.raises(error, match=message):
        check_gradient(lambda p: jnp.sum(jnp.abs(jax.tree.leaves(p)[0])), point, **options)


def test_a_function_without_floating_outputs_is_refused():
    with pytest.raises(TypeError, match="nothing to differentiate"):
        check_gradient(lambda x: jnp.argmax(x), POINT)
