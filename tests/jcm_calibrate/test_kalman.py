"""Kalman inversion against analytic posteriors, with and without failed members."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm_calibrate.optimisers.minimise import minimise

KEY = jax.random.key(1)
SIZE, DATA = 5, 40


@pytest.fixture(scope="module")
def linear():
    """A linear problem with white noise, its posterior mean and covariance."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((DATA, SIZE))
    data = matrix @ random.standard_normal(SIZE) + random.standard_normal(DATA)
    covariance = np.linalg.inv(matrix.T @ matrix + np.eye(SIZE))
    return jnp.asarray(matrix), jnp.asarray(data), covariance @ matrix.T @ data, covariance


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(("method", "options"), [
    ("eki", {"members": 200}), ("etki", {"members": 12}), ("uki", {})])  # fmt: skip
def test_posterior_mean_of_a_linear_gaussian_problem_within_1_percent(method, options, linear):
    matrix, data, mean, covariance = linear
    fit = minimise(lambda z: matrix @ z - data, jnp.zeros(SIZE), method=method, prior=True, key=KEY,
                   **options)  # fmt: skip
    assert fit.converged
    assert distance(fit.best, mean) < 0.01
    # An ensemble of 200 that is perturbed knows variances to sqrt(2 / 200) = 10 percent each.
    assert distance(fit.covariance, covariance) < (0.3 if method == "eki" else 0.02)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_perturbed_observations_reach_the_mean_for_other_seeds(seed, linear):
    matrix, data, mean, _ = linear
    fit = minimise(lambda z: matrix @ z - data, jnp.zeros(SIZE), method="eki", prior=True,
                   key=jax.random.key(seed), members=200)  # fmt: skip
    assert distance(fit.best, mean) < 0.01


def test_small_ensemble_of_the_transform_is_exact_for_a_linear_problem(linear):
    matrix, data, mean, covariance = linear
    fit = minimise(lambda z: matrix @ z - data, jnp.zeros(SIZE), method="etki", prior=True, key=KEY,
                   members=SIZE + 1)  # fmt: skip
    np.testing.assert_allclose(fit.best, mean, rtol=1e-10)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.cov(fit.ensemble.T), covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["eki", "etki"])
def test_residuals_that_contain_the_prior_lead_to_the_mode(method, linear):
    matrix, data, mean, _ = linear
    fit = minimise(lambda z: jnp.concatenate([matrix @ z - data, z]), 2 * jnp.ones(SIZE), key=KEY,
                   method=method, members=30)  # fmt: skip
    assert fit.converged
    assert distance(fit.best, mean) < 1e-3


@pytest.mark.parametrize(("method", "within"), [("eki", 0.2), ("etki", 0.2), ("uki", 0.02)])
def test_30_percent_failed_members_still_converge(method, within, linear):
    matrix, data, mean, covariance = linear

    def fails(z):
        # As good as random, so that it strikes whatever the ensemble has become.
        bad = jnp.mod(1e4 * z @ jnp.arange(1.0, SIZE + 1), 1.0) < 0.3
        return jnp.where(bad, jnp.nan, matrix @ z - data)

    fit = minimise(fails, 0.1 * jnp.ones(SIZE), method=method, prior=True, key=KEY,
                   **({} if method == "uki" else {"members": 100}))  # fmt: skip
    failed = np.isnan(fit.history["value"]).mean()
    assert 0.2 < failed < 0.4
    assert fit.converged
    # The mean is as good as it must be beside its posterior standard deviations.
    assert np.max(np.abs(fit.best - mean) / np.sqrt(np.diag(covariance))) < 3 * within
    assert distance(fit.covariance, covariance) < 0.5


def test_unscented_points_beyond_a_wall_are_continued_from_their_mirror_images(linear):
    matrix, data, mean, covariance = linear
    wall = mean[0] + np.sqrt(covariance[0, 0])

    def walled(z):
        return jnp.where(z[0] > wall, jnp.nan, matrix @ z - data)

    fit = minimise(walled, jnp.zeros(SIZE) - 1, method="uki", prior=True)
    assert np.isnan(fit.history["value"]).any()
    assert distance(fit.best, mean) < 0.01
    assert distance(fit.covariance, covariance) < 0.02


def test_all_members_failed_is_told():
    with pytest.raises(ValueError, match="no value is finite"):
        minimise(lambda z: z * jnp.nan, jnp.zeros(2), method="eki", key=KEY)


def test_too_few_valid_members_are_told():
    def fails(z):
        return jnp.where(jnp.abs(z[0]) > 0.05, jnp.nan, z - 1)

    fit = minimise(fails, jnp.zeros(2), method="etki", key=KEY, members=10)
    assert not fit.converged
    assert "members are finite" in fit.message


def test_own_evaluation_of_the_ensemble_gives_the_same(linear):
    matrix, data, _, _ = linear
    function = lambda z: matrix @ z - data  # noqa: E731
    calls = []

    def evaluate(ensemble):
        calls.append(ensemble.shape)
        return ensemble @ np.asarray(matrix).T - np.asarray(data)

    usual = minimise(function, jnp.zeros(SIZE), method="eki", prior=True, key=KEY)
    own = minimise(function, jnp.zeros(SIZE), method="eki", prior=True, key=KEY, evaluate=evaluate)
    np.testing.assert_allclose(own.best, usual.best, rtol=1e-10)
    assert calls[0] == (21, SIZE)  # 20 members and their mean
    assert own.compilations == 0


def test_own_evaluation_of_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected \(11, ...\), got \(3, 2\)"):
        minimise(lambda z: z, jnp.zeros(2), method="eki", key=KEY,
                 evaluate=lambda ensemble: np.zeros((3, 2)))  # fmt: skip
    with pytest.raises(ValueError, match="needs residuals"):
        minimise(lambda z: z, jnp.zeros(2), method="eki", key=KEY,
                 evaluate=lambda ensemble: np.zeros(len(ensemble)))  # fmt: skip


def test_same_key_same_numbers_and_batches_change_nothing(linear):
    matrix, data, _, _ = linear
    function = lambda z: jnp.tanh(matrix @ z) - data  # noqa: E731
    first, second, other = (
        minimise(function, jnp.zeros(SIZE), method="eki", prior=True, key=key, batch=batch)
        for key, batch in ((KEY, 4), (KEY, 4), (jax.random.key(9), 4)))
    np.testing.assert_array_equal(first.best, second.best)
    assert not np.allclose(first.best, other.best)


def test_a_budget_that_ends_early_is_told(linear):
    matrix, data, _, _ = linear
    fit = minimise(lambda z: matrix @ z - data, jnp.zeros(SIZE), method="etki", prior=True, key=KEY,
                   members=12, budget=15)  # fmt: skip
    assert not fit.converged
    assert "so this is no posterior" in fit.message


def test_ensembles_of_any_size_are_1_compilation(linear):
    matrix, data, _, _ = linear
    fit = minimise(lambda z: matrix @ z - 2 * data, jnp.zeros(SIZE), method="etki", prior=True,
                   key=KEY, members=13)  # fmt: skip
    assert fit.compilations == 1
