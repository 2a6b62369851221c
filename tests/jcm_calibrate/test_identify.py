"""What data can say about parameters, on linear problems where all is known."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2
from toy_densities import linear

from jcm_calibrate.uncertainty.identify import identify, profile_likelihood

PROBLEM = linear()
#: The first parameter is seen well, of the other two only the sum, and that badly.
MATRIX = jnp.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
WEAK = identify(lambda z: MATRIX @ z - 1, jnp.zeros(3), labels=("a", "b", "c"))


def test_eigenvalues_are_the_squared_singular_values():
    np.testing.assert_allclose(WEAK.eigenvalues, [9.0, 0.5, 0.0], atol=1e-14)


def test_the_direction_that_no_datum_sees_keeps_its_prior_width():
    np.testing.assert_allclose(WEAK.direction_width, [1 / np.sqrt(10), 1 / np.sqrt(1.5), 1.0])


def test_unidentified_directions_are_reported_with_their_prior_width_and_without_a_value():
    second, third = WEAK.unidentified()
    np.testing.assert_allclose(list(third["direction"].values()), [np.sqrt(0.5), -np.sqrt(0.5)],
                               rtol=1e-6)  # fmt: skip
    assert third["prior_width"] == 1.0
    assert third["posterior_width"] == pytest.approx(1.0)
    assert set(second) == {"direction", "eigenvalue", "prior_width", "posterior_width"}


def test_widths_are_those_of_the_posterior():
    found = identify(PROBLEM.residuals, jnp.zeros(3))
    np.testing.assert_allclose(found.width, np.sqrt(np.diagonal(PROBLEM.covariance)), rtol=1e-12)


def test_only_parameters_that_data_decide_are_called_identified():
    assert WEAK.identified.tolist() == [True, False, False]
    assert WEAK.count == 1


def test_degrees_of_freedom_count_the_data_that_inform():
    assert WEAK.degrees_of_freedom == pytest.approx(9 / 10 + 0.5 / 1.5)


def test_composite_sensitivity_is_the_root_mean_square_over_the_data():
    np.testing.assert_allclose(WEAK.composite_sensitivity, np.sqrt([9 / 2, 0.125, 0.125]))


def test_parameters_seen_only_in_their_sum_are_called_correlated():
    strong = identify(lambda z: 100 * jnp.sum(z, keepdims=True), jnp.zeros(2), labels=("a", "b"))
    (pair,) = strong.correlated()
    assert pair[:2] == ("a", "b")
    assert pair[2] == pytest.approx(-1, abs=1e-3)


def test_tables_name_what_decides_each_parameter():
    lines = WEAK.describe().splitlines()
    assert next(line for line in lines if line.startswith("a ")).endswith("data")
    assert next(line for line in lines if line.startswith("b ")).endswith("prior")


def test_everything_said_can_be_written_as_json():
    again = json.loads(json.dumps(WEAK.to_dict()))
    assert again["identified"] == [True, False, False]


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 components need 3 labels; got 2"):
        identify(PROBLEM.residuals, jnp.zeros(3), labels=("a", "b"))


GRID = np.asarray(PROBLEM.mean[0] + np.linspace(-1.5, 1.5, 13))


@pytest.fixture(scope="module")
def profile():
    return profile_likelihood(PROBLEM.residuals_with_prior, 0, GRID, jnp.asarray(PROBLEM.mean))


def test_profile_of_a_linear_problem_is_the_parabola_of_its_posterior_width(profile):
    expected = 0.5 * (GRID - PROBLEM.mean[0]) ** 2 / PROBLEM.covariance[0, 0]
    np.testing.assert_allclose(profile.value - profile.value.min(), expected, atol=1e-9)


def test_interval_of_the_profile_is_that_of_the_likelihood_ratio(profile):
    half = np.sqrt(chi2.ppf(0.95, 1) * PROBLEM.covariance[0, 0])
    expected = PROBLEM.mean[0] - half, PROBLEM.mean[0] + half
    # Linear interpolation of a parabola between points 0.25 apart.
    np.testing.assert_allclose(profile.interval(0.95), expected, atol=0.05)


def test_profile_finds_the_other_parameters_of_a_nonlinear_problem_again():
    """r = (x y - 2, y - x^2): for each x the best y is (2 x + x^2) / (1 + x^2)."""
    residuals = lambda z: jnp.array([z[0] * z[1] - 2, z[1] - z[0] ** 2])  # noqa: E731
    x = np.linspace(0.5, 2.0, 4)
    found = profile_likelihood(residuals, 0, x, jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(found.optimum[:, 1], (2 * x + x**2) / (1 + x**2), rtol=1e-5)


def test_a_parameter_that_data_do_not_bound_has_an_open_interval():
    flat = profile_likelihood(lambda z: z[1:], 0, np.linspace(-3, 3, 5), jnp.zeros(2))
    assert flat.interval() == (-np.inf, np.inf)


@pytest.mark.parametrize(("index", "grid", "words"), [
    (3, GRID, "index is a number from 0 to 2"), (0, GRID[:2], "at least 3 values")])  # fmt: skip
def test_profiles_of_nothing_are_refused(index, grid, words):
    with pytest.raises(ValueError, match=words):
        profile_likelihood(PROBLEM.residuals, index, grid, jnp.zeros(3))
