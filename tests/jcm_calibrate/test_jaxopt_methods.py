"""The thin layer over jaxopt."""

import jax.numpy as jnp
import numpy as np
import pytest

from jcm_calibrate.optimisers.minimise import minimise

MATRIX = jnp.array([[2.0, 0.5], [0.3, 1.0], [1.0, -1.0]])
DATA = jnp.array([1.0, -2.0, 0.5])
ANSWER = np.linalg.lstsq(np.asarray(MATRIX), np.asarray(DATA), rcond=None)[0]


def residuals(z):
    return MATRIX @ z - DATA


def rosenbrock(z):
    return 100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2


@pytest.mark.parametrize("method", [
    "jaxopt_lbfgs", "jaxopt_lbfgsb", "jaxopt_levenberg_marquardt"])
def test_least_squares_are_solved(method):
    fit = minimise(residuals, jnp.zeros(2), method=method, steps=50)
    np.testing.assert_allclose(fit.best, ANSWER, atol=1e-5)
    np.testing.assert_allclose(
        fit.value, 0.5 * np.sum((np.asarray(MATRIX) @ ANSWER - np.asarray(DATA)) ** 2), rtol=1e-8)
    assert fit.cost > 2


@pytest.mark.parametrize("method", ["jaxopt_lbfgs", "jaxopt_lbfgsb"])
def test_rosenbrock_is_minimised(method):
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), method=method, steps=200)
    np.testing.assert_allclose(fit.best, 1.0, atol=1e-4)


def test_bounds_are_kept():
    fit = minimise(rosenbrock, jnp.array([-1.2, 0.2]), method="jaxopt_lbfgsb", steps=200,
                   bounds=(-2.0, 0.5))  # fmt: skip
    np.testing.assert_allclose(fit.best, [0.5, 0.25], atol=1e-4)


def test_prior_counts():
    fit = minimise(residuals, jnp.zeros(2), method="jaxopt_lbfgs", prior=True, steps=50)
    matrix, data = np.asarray(MATRIX), np.asarray(DATA)
    expected = np.linalg.solve(matrix.T @ matrix + np.eye(2), matrix.T @ data)
    np.testing.assert_allclose(fit.best, expected, atol=1e-5)


def test_a_budget_is_refused():
    with pytest.raises(ValueError, match="no budget can stop"):
        minimise(residuals, jnp.zeros(2), method="jaxopt_lbfgs", budget=30.0)


def test_a_finished_search_is_taken_from_its_log(tmp_path):
    given = {"method": "jaxopt_lbfgs", "steps": 50, "log": tmp_path / "log.jsonl"}
    first = minimise(residuals, jnp.zeros(2), **given)
    again = minimise(residuals, jnp.zeros(2), resume=True, **given)
    np.testing.assert_array_equal(again.history["iterate"], first.history["iterate"])
    assert again.value == first.value
