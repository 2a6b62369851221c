"""The Laplace approximation is exact for linear problems."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from toy_densities import linear

from jcm_calibrate.jacobian import residuals_and_jacobian
from jcm_calibrate.uncertainty.laplace import Gaussian, laplace

PROBLEM = linear()
GAUSSIAN = Gaussian(jnp.array([1.0, -2.0]), jnp.array([[2.0, 0.6], [0.6, 0.5]]))


def test_covariance_of_a_linear_problem_is_that_of_the_normal_equations():
    found = laplace(PROBLEM.residuals_with_prior, jnp.asarray(PROBLEM.mean))
    np.testing.assert_allclose(found.covariance, PROBLEM.covariance, rtol=1e-12, atol=1e-13)


def test_curvature_of_a_squared_residual_is_that_of_gauss_and_newton():
    """For r = z^2 - 4 with prior residual z, J'J + 1 = (2 z)^2 + 1."""
    residuals = lambda z: jnp.concatenate([z**2 - 4, z])  # noqa: E731
    mode = jnp.array([np.sqrt(3.5)])  # of (z^2 - 4)^2 + z^2
    np.testing.assert_allclose(laplace(residuals, mode).covariance, [[1 / 15]], rtol=1e-12)


def test_all_columns_at_once_are_the_same_as_one_after_the_other():
    one, many = (residuals_and_jacobian(jnp.sin, jnp.arange(5.0), batch=b)[1] for b in (1, 5))
    np.testing.assert_array_equal(one, many)


def test_jacobian_is_the_matrix_of_a_linear_problem():
    _, jacobian = residuals_and_jacobian(PROBLEM.residuals, jnp.zeros(3))
    np.testing.assert_allclose(jacobian, PROBLEM.matrix, rtol=1e-14)


def test_log_density_is_that_of_scipy():
    z = np.array([0.3, -1.1])
    expected = multivariate_normal(GAUSSIAN.mean, GAUSSIAN.covariance).logpdf(z)
    np.testing.assert_allclose(GAUSSIAN.log_density(jnp.asarray(z)), expected, rtol=1e-12)


def test_draws_have_the_covariance():
    draws = GAUSSIAN.draw(jax.random.key(0), 40_000)
    # Standard error of a variance s from n draws: s sqrt(2 / n), here 0.7 %.
    np.testing.assert_allclose(np.cov(draws, rowvar=False), GAUSSIAN.covariance, rtol=0.03)


def test_correlation_and_width_follow_from_the_covariance():
    np.testing.assert_allclose(GAUSSIAN.standard_deviation, np.sqrt([2.0, 0.5]))
    np.testing.assert_allclose(GAUSSIAN.correlation[0, 1], 0.6, rtol=1e-12)


def test_a_point_that_is_not_the_mode_is_warned_of():
    with pytest.warns(UserWarning, match="standard deviations from the mode"):
        laplace(PROBLEM.residuals_with_prior, jnp.asarray(PROBLEM.mean) + 3)


def test_the_mode_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        laplace(PROBLEM.residuals_with_prior, jnp.asarray(PROBLEM.mean))


def test_residuals_without_prior_that_leave_a_component_open_are_refused():
    with pytest.raises(np.linalg.LinAlgError, match="append the residuals of the prior"):
        laplace(lambda z: z[:1] + z[1:], jnp.zeros(2))


@pytest.mark.parametrize(("residuals", "error", "words"), [
    (lambda z: z / 0.0, FloatingPointError, "3 of 3 residuals are not finite"),
    (jnp.sqrt, FloatingPointError, "derivatives with respect to components"),
    (jnp.sum, ValueError, "must be a vector"),
])  # fmt: skip
def test_residuals_that_are_no_residuals_are_refused(residuals, error, words):
    with pytest.raises(error, match=words):
        laplace(residuals, jnp.zeros(3))


@pytest.mark.parametrize("mode", [jnp.zeros((2, 2)), jnp.zeros(0), jnp.array([jnp.nan])])
def test_a_mode_that_is_no_point_is_refused(mode):
    with pytest.raises(ValueError, match="mode must be"):
        laplace(jnp.sin, mode)
