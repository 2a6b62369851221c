"""Error models against dense linear algebra and known variances."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm_calibrate.observations import errors

RANDOM = np.random.default_rng(0)
OWN, PATTERNS = RANDOM.uniform(0.5, 2, 7), RANDOM.normal(size=(7, 3))
DENSE = np.diag(OWN**2) + PATTERNS @ PATTERNS.T


def whitening(model):
    return np.asarray(jax.jacobian(model.whiten)(jnp.zeros(model.size)))


@pytest.fixture(scope="module")
def model():
    return errors.low_rank(OWN, PATTERNS)


def test_low_rank_whitening_makes_the_covariance_the_identity(model):
    matrix = whitening(model)
    np.testing.assert_allclose(matrix @ DENSE @ matrix.T, np.eye(7), atol=1e-12)


def test_low_rank_determinant_is_that_of_the_dense_matrix(model):
    assert float(model.log_determinant) == pytest.approx(np.linalg.slogdet(DENSE)[1], rel=1e-12)


def test_low_rank_standard_deviation_is_the_root_of_the_diagonal(model):
    np.testing.assert_allclose(model.standard_deviation, np.sqrt(np.diag(DENSE)), rtol=1e-12)


def test_errors_of_some_data_have_that_part_of_the_covariance(model):
    rows = np.array([5, 1, 2])
    matrix = whitening(model.take(rows))
    np.testing.assert_allclose(matrix @ DENSE[np.ix_(rows, rows)] @ matrix.T, np.eye(3), atol=1e-12)


def test_full_covariance_is_kept_to_rounding():
    scale = np.array([1e-5, 1.0, 300.0, 1e4])
    root = RANDOM.normal(size=(4, 4))
    covariance = np.outer(scale, scale) * (root @ root.T + 0.1 * np.eye(4))
    found = errors.full(covariance)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
    matrix = whitening(found)
    np.testing.assert_allclose(matrix @ covariance @ matrix.T, np.eye(4), atol=1e-9)


def test_variances_of_a_sum_add(model):
    other = errors.diagonal(np.full(7, 3.0))
    np.testing.assert_allclose((model + other).covariance, DENSE + 9 * np.eye(7), rtol=1e-12)


def test_inflation_multiplies_the_covariance_with_its_square(model):
    np.testing.assert_allclose(model.inflated(2).covariance, 4 * DENSE, rtol=1e-12)


def test_a_floor_raises_small_deviations_only():
    found = errors.diagonal([0.1, 2.0], floor=0.5)
    np.testing.assert_allclose(found.standard_deviation, [0.5, 2.0])


def test_random_errors_have_the_covariance(model):
    draws = np.asarray(jax.vmap(model.draw)(jax.random.split(jax.random.key(1), 40_000)))
    assert np.abs(np.cov(draws.T) - DENSE).max() < 5 * DENSE.max() * np.sqrt(2 / 40_000)


def test_whitening_has_a_derivative_with_respect_to_its_patterns():
    def squared(amplitude):
        model = errors.ErrorModel(jnp.asarray(OWN), amplitude * jnp.asarray(PATTERNS))
        return jnp.sum(model.whiten(jnp.arange(7.0)) ** 2) + model.log_determinant

    slope, step = float(jax.grad(squared)(1.0)), 1e-5
    numeric = float(squared(1 + step) - squared(1 - step)) / (2 * step)
    assert slope == pytest.approx(numeric, rel=1e-7)


def test_control_gives_the_variance_of_its_members():
    controls = RANDOM.normal(size=(9, 20)) * np.geomspace(1e-5, 1e4, 20)
    found = errors.from_control(SimpleNamespace(size=20, labels=[]), controls)
    np.testing.assert_allclose(found.standard_deviation, controls.std(axis=0, ddof=1), rtol=1e-10)


def test_control_finds_the_correlation_of_two_data_that_vary_together():
    together = RANDOM.normal(size=4000)
    controls = np.stack([together + 0.6 * RANDOM.normal(size=4000) for _ in range(2)], axis=1)
    found = errors.from_control(SimpleNamespace(size=2, labels=[]), controls, rank=1)
    covariance = np.asarray(found.covariance)
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    # 1 / 1.36 is the correlation; one pattern with what it leaves as independent error has the
    # mean of 1 and that as the variance of the pattern, half of it shared by construction.
    assert correlation == pytest.approx((1 + 1 / 1.36) / 2, abs=0.02)


@pytest.mark.parametrize(("build", "message"), [
    (lambda: errors.diagonal([1.0, 0.0], labels=["a", "rain"]), r"singular.*datum 1 \(rain\)"),
    (lambda: errors.diagonal([1.0, np.nan]), "singular"),
    (lambda: errors.full(np.ones((3, 3))), "singular: the smallest eigenvalue"),
    (lambda: errors.full([[1.0, 0.5], [0.1, 1.0]]), "symmetric"),
    (lambda: errors.low_rank(np.ones(3), np.ones((2, 1))), "with 3 data"),
    (lambda: errors.diagonal(np.ones(3)) + errors.diagonal(np.ones(2)), "3 and of 2 data"),
    (lambda: errors.diagonal(np.ones(3)).inflated(0), "positive factor"),
])  # fmt: skip
def test_a_covariance_that_is_none_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(("controls", "message"), [
    (np.ones((5, 3)), "do not vary"),
    (np.ones((2, 3)), "3 members"),
    (np.ones((5, 2)), "with 3 data"),
    (np.full((5, 3), np.nan), "not finite"),
])  # fmt: skip
def test_controls_that_tell_nothing_are_refused(controls, message):
    with pytest.raises(ValueError, match=message):
        errors.from_control(SimpleNamespace(size=3, labels=["a", "b", "c"]), controls)
