"""Growth of perturbations and the lead up to which a gradient tells a finite response."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chaos import lorenz63, lorenz96, runge_kutta, states_on_attractor

from jcm_sensitivity.growth import adjoint_growth, tangent_growth
from jcm_sensitivity.horizon import (
    HorizonWarning,
    ResponseRatio,
    response_ratio,
    usable_window,
    warn_beyond,
)

#: Leading exponents: Sprott, J. C. (2003): Chaos and Time-Series Analysis; Lorenz, E. N. and
#: Emanuel, K. A. (1998), J. Atmos. Sci., 55, 399-414: doubling in 0.42 units of time.
LORENZ63, LORENZ96 = 0.906, 1.67
STEP63, STEP96 = runge_kutta(lorenz63, 0.01), runge_kutta(lorenz96, 0.025)


@pytest.fixture(scope="module")
def states63():
    return states_on_attractor(STEP63, 32, 3)


@pytest.fixture(scope="module")
def growth63(states63):
    return tangent_growth(STEP63, states63, steps=20000, interval=0.01, discard=500)


def test_leading_exponent_of_lorenz_63(growth63):
    np.testing.assert_allclose(growth63.exponent, LORENZ63, rtol=0.05)


def test_error_bar_covers_the_exponent_of_lorenz_63(growth63):
    assert 0 < growth63.standard_error < 0.05 * LORENZ63
    assert abs(growth63.exponent - LORENZ63) < 4 * growth63.standard_error


def test_adjoint_grows_as_the_tangent_in_lorenz_63(states63):
    growth = adjoint_growth(STEP63, states63, steps=10000, interval=0.01, discard=500)
    np.testing.assert_allclose(growth.exponent, LORENZ63, rtol=0.05)


def test_leading_exponent_of_lorenz_96():
    states = states_on_attractor(STEP96, 16, 40, steps=1000)
    growth = tangent_growth(STEP96, states, steps=4000, interval=0.025, discard=400)
    np.testing.assert_allclose(growth.exponent, LORENZ96, rtol=0.05)
    np.testing.assert_allclose(growth.doubling_time, np.log(2) / growth.exponent)


MATRIX = jnp.array([[0.9, 3.0], [0.0, 0.5]])


@pytest.mark.parametrize("kind", [tangent_growth, adjoint_growth])
def test_decay_in_a_linear_system_is_that_of_its_largest_eigenvalue(kind):
    growth = kind(lambda x: MATRIX @ x, jnp.ones((3, 2)), steps=400, interval=2.0, discard=100)
    np.testing.assert_allclose(growth.rates, np.log(0.9) / 2, rtol=1e-10)
    assert growth.doubling_time == np.inf


def test_norm_of_one_step_is_that_of_the_matrix_in_the_scaled_variables():
    states, scale = jnp.ones((1, 2)), jnp.array([1.0, 10.0])
    scaled = jnp.diag(1 / scale) @ MATRIX @ jnp.diag(scale)
    key = jax.random.split(jax.random.key(0), 1)[0]
    draw = jax.random.normal(key, (2,))
    expected = np.linalg.norm(scaled @ draw) / np.linalg.norm(draw)
    growth = tangent_growth(lambda x: MATRIX @ x, states, steps=1, scale=scale)
    np.testing.assert_allclose(np.exp(growth.log_norm), expected, rtol=1e-12)


def test_integers_of_a_state_are_carried_along():
    step = lambda s: {"x": s["x"] * (s["n"] + 1.0), "n": s["n"] + 1}  # noqa: E731
    states = {"x": jnp.ones((2, 1)), "n": jnp.zeros(2, int)}
    for kind in (tangent_growth, adjoint_growth):
        growth = kind(step, states, steps=3, one_at_a_time=True)
        np.testing.assert_allclose(growth.log_norm[:, -1], np.log(6.0), rtol=1e-12)


def test_perturbation_that_vanishes_is_reported():
    with pytest.raises(FloatingPointError, match="vanished"):
        tangent_growth(lambda x: 0 * x, jnp.ones((1, 2)), steps=2)


@pytest.mark.parametrize(
    "lengths", [{"steps": 0}, {"steps": 3, "discard": 3}, {"steps": 3, "interval": 0.0}])
def test_lengths_without_meaning_are_refused(lengths):
    with pytest.raises(ValueError, match=r"steps|interval"):
        tangent_growth(lambda x: x, jnp.ones((1, 2)), **lengths)


def test_ratio_of_a_cubic_is_known_at_each_amplitude_and_lead():
    leads = jnp.array([1.0, 2.0])
    ratios = response_ratio(
        lambda x: x**3 * leads, [jnp.array(1.0), jnp.array(2.0)], jnp.array(1.0),
        lead=[1.0, 2.0], amplitudes=[0.5, 0.1])  # fmt: skip
    a, x = np.array([0.1, 0.5])[None, :, None], np.array([1.0, 2.0])[:, None, None]
    expected = np.broadcast_to(3 * x**2 / (3 * x**2 + a**2), (2, 2, 2))
    np.testing.assert_allclose(ratios.ratio, expected, rtol=1e-10)


def test_one_sided_response_includes_the_curvature():
    ratios = response_ratio(
        lambda x: x[None] ** 2, [jnp.array(1.0)], jnp.array(1.0), lead=[1.0], amplitudes=[0.5],
        two_sided=False)  # fmt: skip
    np.testing.assert_allclose(ratios.ratio, 2 / 2.5)


def test_where_nothing_responds_the_gradient_is_right():
    ratios = response_ratio(
        lambda x: 0 * x[None], [jnp.array(1.0)], jnp.array(1.0), lead=[1.0], amplitudes=[0.5])
    assert ratios.ratio.item() == 1.0


def synthetic(error):
    """Ratios of one amplitude from errors (state, lead)."""
    linear = np.asarray(error, float) + 1
    leads = np.arange(1.0, linear.shape[1] + 1)
    return ResponseRatio(leads, np.array([1.0]), linear, np.ones_like(linear)[:, None])


def test_window_ends_before_the_first_lead_outside_the_tolerance():
    window = usable_window(synthetic([[0.0, 0.1, 0.5, 0.0]] * 5), tolerance=0.25)
    assert (window.lead, window.low, window.high, window.at_least) == (2.0, 2.0, 2.0, False)
    assert "usable up to lead 2" in str(window)


def test_window_of_errors_of_both_signs_is_not_hidden_by_their_median():
    assert usable_window(synthetic([[3.0], [-3.0], [0.0]])).lead == 0


def test_window_that_reaches_the_last_lead_says_so():
    window = usable_window(synthetic(np.zeros((4, 3))))
    assert window.at_least and window.lead == 3 and "at least" in str(window)


def test_states_that_differ_widen_the_interval():
    errors = np.where(np.arange(6) < np.arange(1, 10)[:, None], 0.0, 1.0)
    window = usable_window(synthetic(errors))
    assert window.lead == 5
    assert window.low < window.lead <= window.high


def test_window_of_lorenz_63_is_longer_for_smaller_changes(states63):
    def later(x):
        return jax.lax.scan(lambda x, _: (STEP63(x),) * 2, x, length=1500)[1][49::50, 2]

    leads = 0.5 * np.arange(1, 31)
    ratios = response_ratio(
        later, list(states63), jnp.array([1.0, 0.0, 0.0]), lead=leads,
        amplitudes=[1e-6, 1e-3, 1.0])  # fmt: skip
    windows = [usable_window(ratios, amplitude=a) for a in ratios.amplitude]
    assert windows[0].lead > windows[1].lead > windows[2].lead
    # A change becomes large after the logarithm of its size over the exponent.
    gain = (windows[0].lead - windows[1].lead) * LORENZ63 / np.log(1e3)
    assert 0.6 < gain < 1.6, gain


@pytest.mark.parametrize("amplitudes", [[], [0.0], [-1.0], [np.nan]])
def test_amplitudes_that_are_not_positive_are_refused(amplitudes):
    with pytest.raises(ValueError, match="positive sizes"):
        response_ratio(
            lambda x: x[None], [jnp.array(1.0)], jnp.array(1.0), lead=[1.0],
            amplitudes=amplitudes)  # fmt: skip


def test_unknown_amplitude_is_refused():
    with pytest.raises(ValueError, match="no runs with amplitude 7"):
        usable_window(synthetic(np.zeros((4, 3))), amplitude=7)


def test_run_beyond_the_window_warns_and_is_marked():
    with pytest.warns(HorizonWarning, match="beyond the usable window of 5 days"):
        attributes = warn_beyond(5.0, 10.0, what="precipitation")
    assert attributes["usable_window_days"] == "5" and "10 days" in attributes["horizon_warning"]


def test_target_without_any_window_is_told_of_smooth_switches():
    with pytest.warns(HorizonWarning, match="smooth=True"):
        warn_beyond(0.0, 1.0)


@pytest.mark.parametrize("days", [5.0, 1.0])
def test_run_inside_the_window_does_not_warn(days):
    assert "horizon_warning" not in warn_beyond(5.0, days)


def test_unknown_window_says_nothing():
    assert warn_beyond(None, 10.0) == {}
