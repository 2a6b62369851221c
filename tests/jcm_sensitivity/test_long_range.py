"""Three answers for the response of long means, on flows whose answer is known."""

import importlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chaos import lorenz63, runge_kutta, states_on_attractor
from synthetic import SST, Mirror

from jcm.dynamics import Dynamics
from jcm.state import Tendency
from jcm_sensitivity import mean
from jcm_sensitivity.long_range import METHODS, LongRangeAnswer, long_range, long_range_flow
from jcm_sensitivity.nudging import NudgedDynamics, damped, nudged_model

DT = 0.01
STEP63 = runge_kutta(lorenz63, DT)


@pytest.fixture(scope="module")
def answers63():
    """d<z>/d(rho) of Lorenz's system; windows of 0.5, relaxation in 0.5, 64 runs of length 100."""
    return long_range_flow(
        STEP63, lambda x, _: x[2], states_on_attractor(STEP63, 64, 3), jnp.array(28.0),
        steps=10000, window=50, relaxation=50.0, change=1.0)  # fmt: skip


def test_finite_differences_of_lorenz_63_give_the_known_response(answers63):
    # 1.01 +- 0.04: Wang, Q. (2013), J. Comput. Phys., 235, 1-13.
    np.testing.assert_allclose(answers63["finite_difference"].value, 1.01, atol=0.05)
    assert answers63["finite_difference"].standard_error < 0.02


def test_ensemble_adjoint_of_short_windows_is_low_by_a_fifth_in_lorenz_63(answers63):
    # Within the O(10 %) to 20 % of Lea et al. (2000); the error bar is far smaller than the bias.
    assert 0.75 < answers63["windowed"].value < 0.95
    assert answers63["windowed"].standard_error < 0.02


def test_nudged_adjoint_is_finite_and_biased_low_in_lorenz_63(answers63):
    assert 0.6 < answers63["nudged"].value < 0.9
    assert answers63["nudged"].standard_error < 0.05


def test_plain_adjoint_of_a_long_run_of_lorenz_63_means_nothing():
    answer = long_range_flow(
        STEP63, lambda x, _: x[2], states_on_attractor(STEP63, 4, 3), jnp.array(28.0),
        steps=3000, window=3000, relaxation=50.0, change=1.0)["windowed"]  # fmt: skip
    assert np.abs(answer.pieces).max() > 1e6


def linear_answers(relaxation, rate=0.5, **options):
    """The steady response of dx/dt = -rate x + p is 1/rate."""
    step = runge_kutta(lambda x, p: -rate * x + p, DT)
    lengths = {"steps": 10000, "window": 5000, "settle": 4000} | options
    return long_range_flow(
        step, lambda x, _: jnp.sum(x), jnp.array([[1.0], [2.0]]), jnp.array(1.0),
        relaxation=relaxation, change=1.0, **lengths)  # fmt: skip


def test_three_answers_agree_where_perturbations_decay():
    for name, answer in linear_answers(relaxation=1e7).items():
        np.testing.assert_allclose(answer.value, 2.0, rtol=1e-4, err_msg=name)


def test_nudged_adjoint_misses_what_is_slower_than_the_relaxation():
    # A mode with the rate 0.5, damped in one unit of time, answers 1 / (0.5 + 1).
    answers = linear_answers(relaxation=1.0 / DT)
    np.testing.assert_allclose(answers["nudged"].value, 1 / 1.5, rtol=0.01)
    np.testing.assert_allclose(answers["finite_difference"].value, 2.0, rtol=1e-5)


def test_short_windows_miss_what_builds_up_slowly():
    # Mean over a window of length T of (1 - exp(-k t)) / k.
    length, rate = 0.5, 0.5
    expected = 1 / rate - (1 - np.exp(-rate * length)) / (rate**2 * length)
    answers = linear_answers(relaxation=1e7, window=50, settle=0)
    np.testing.assert_allclose(answers["windowed"].value, expected, rtol=0.02)


def test_response_to_a_change_of_several_parameters_is_their_sum():
    answers = long_range_flow(
        runge_kutta(lambda x, p: -x + p[0] + p[1], DT), lambda x, p: jnp.sum(x),
        jnp.ones((2, 1)), jnp.ones(2), steps=2000, window=2000, relaxation=1e7,
        change=[1.0, 2.0], settle=1500)  # fmt: skip
    for answer in answers.values():
        np.testing.assert_allclose(answer.value, 3.0, rtol=1e-4)


def test_costs_count_steps_forwards_and_backwards():
    answers = linear_answers(relaxation=1e7)
    assert {name: (x.forward, x.backward) for name, x in answers.items()} == {
        "windowed": (2e4, 2e4), "nudged": (2e4, 2e4), "finite_difference": (4e4, 0.0)}


def test_standard_error_is_that_of_independent_pieces():
    answer = LongRangeAnswer(np.array([1.0, 2.0, 3.0]), 1.0, 1.0)
    np.testing.assert_allclose((answer.value, answer.standard_error), (2.0, 1 / np.sqrt(3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"window": 3000}, "window divides"), ({"settle": 5000}, "settle is shorter"),
     ({"relaxation": 1.0}, "more than one step")])  # fmt: skip
def test_lengths_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        linear_answers(**({"relaxation": 1e7} | options))


def test_damping_changes_the_derivative_and_not_the_state():
    x = jnp.array([0.1, 1e9, -3.3])
    value, slope = jax.jvp(lambda x: damped({"x": x, "n": 3}, 0.25)["x"], (x,), (jnp.ones(3),))
    np.testing.assert_array_equal(value, x)
    np.testing.assert_allclose(slope, 0.75, rtol=1e-15)


def others(model, inputs):
    """Arguments of a step of the dynamics after the two time levels: no physics, no orography."""
    still = jnp.zeros((model.levels.count, *model.grid.shape))
    flat = jnp.zeros_like(inputs.state.current.log_surface_pressure)
    return (Tendency(still, still, still, still), flat, flat, flat, inputs.state.step,
            inputs.parameters)  # fmt: skip


class Doubling(Dynamics):
    """Multiplies the newest level by 2, takes it as the older one too."""

    transform: None = None

    def advance(self, previous, current, *_):
        return current, jax.tree.map(lambda x: 2 * x, current)


def test_both_time_levels_of_a_nudged_dynamics_are_damped(small_model, small_inputs):
    state = small_inputs.state.current
    advance = NudgedDynamics(Doubling(), 0.1).advance
    rest = others(small_model, small_inputs)
    values, slopes = jax.jvp(jax.jit(lambda x: advance(x, x, *rest)), (state,), (state,))
    np.testing.assert_array_equal(values[1].temperature, 2 * state.temperature)
    np.testing.assert_allclose(slopes[0].temperature, 0.9 * state.temperature, rtol=1e-14)
    np.testing.assert_allclose(slopes[1].temperature, 1.8 * state.temperature, rtol=1e-14)


def test_step_of_a_nudged_model_is_that_of_the_model(small_model, small_inputs):
    state, rest = small_inputs.state, others(small_model, small_inputs)
    step = eqx.filter_jit(lambda dynamics: dynamics.advance(state.previous, state.current, *rest))
    one, other = step(small_model.dynamics), step(nudged_model(small_model, 1.0).dynamics)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        # Two programs: the compiler may order sums in another way.
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-14 * np.abs(x).max())


@pytest.mark.parametrize("days", [0.0, -1.0, 0.01])
def test_relaxation_within_a_step_is_refused(small_model, days):
    with pytest.raises(ValueError, match="longer than the time step"):
        nudged_model(small_model, days)


@pytest.fixture
def quick(monkeypatch):
    """Runs that cost nothing: precipitation is 1e-6 times the sea surface temperature."""
    def experiment(model, *, days, every, observe=None, checkpoint="step", **_):
        return Mirror(model, float(days), float(every), True, observe, checkpoint)

    # The package's name for this module is its function.
    module = importlib.import_module("jcm_sensitivity.long_range")
    monkeypatch.setattr(module, "model_experiment", experiment)
    monkeypatch.setattr(module, "initial_states", lambda _, inputs, count, days: [inputs] * count)


def test_three_answers_of_a_model_agree_where_it_is_linear(quick, small_model, small_inputs):
    seen = []
    result = long_range(
        small_model, small_inputs, mean("precipitation_flux", region="nino34"), [SST], 12,
        window_days=3, blocks=2, amplitude=0.5, progress=lambda *x: seen.append(x))  # fmt: skip
    # All months count in `direction`, only January in this run.
    np.testing.assert_allclose(result["response"], 0.0864, rtol=1e-6)
    assert result["response"].dims == ("input", "method", "block")
    assert list(result["method"].values) == list(METHODS)
    assert result["response"].attrs["units"] == "mm day-1"
    np.testing.assert_array_equal(result["forward_days"], [12, 12, 24])
    assert {words for words, _, _ in seen} == set(METHODS)
    for method in ("windowed", "nudged"):
        assert f"sensitivity_to_sea_surface_temperature_mean_{method}" in result


@pytest.mark.parametrize(("days", "blocks"), [(10, 1), (10, 3), (12, 4)])
def test_blocks_of_whole_windows_are_needed(small_model, small_inputs, days, blocks):
    with pytest.raises(ValueError, match="whole windows"):
        long_range(small_model, small_inputs, mean("precipitation_flux"), [SST], days,
                   window_days=5, blocks=blocks)  # fmt: skip
