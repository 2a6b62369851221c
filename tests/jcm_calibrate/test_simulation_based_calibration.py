"""Ranks of the truth are uniform for samplers that are right, and not for those that are wrong."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from toy_densities import Linear, Lorenz96, linear

from jcm_calibrate.jacobian import residuals_and_jacobian
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.uncertainty.laplace import Gaussian, laplace
from jcm_calibrate.uncertainty.nuts import sample_nuts
from jcm_calibrate.uncertainty.simulation_based_calibration import (
    Ranks,
    simulation_based_calibration,
)

KEY = jax.random.key(0)
SIZE = 8
MATRIX = linear(data=10, parameters=SIZE).matrix
GUESS = jnp.array([2.7, 5.2, -0.4, 1.3, 7.1, 0.9])


def standard_normal(size, key):
    return jax.random.normal(key, (size,))


def linear_data(key, z):
    return Linear(MATRIX, MATRIX @ z + jax.random.normal(key, (MATRIX.shape[0],)))


@jax.jit
def lorenz_data(key, z):
    problem = Lorenz96(GUESS, jnp.zeros(12))
    return Lorenz96(GUESS, problem.predict(z) + problem.error * jax.random.normal(key, (12,)))


def log_density(z, problem):
    return problem(z)


def mode(problem, size, steps):
    """Return the mode by Gauss-Newton steps."""
    z = jnp.zeros(size)
    for _ in range(steps):
        r, j = residuals_and_jacobian(problem.residuals_with_prior, z, batch=size)
        z = z - jnp.linalg.solve(j.T @ j, j.T @ r)
    return z


def draw_laplace(key, problem, inflate=1.0, draws=99):
    found = laplace(problem.residuals_with_prior, mode(problem, SIZE, 1), batch=SIZE)
    return found.mean + np.sqrt(inflate) * (found.draw(key, draws) - found.mean)


def draw_nuts(key, problem, size=SIZE, steps=1, thin=4):
    """Return every fourth draw of four chains."""
    around = laplace(problem.residuals_with_prior, mode(problem, size, steps), batch=size)
    posterior = sample_nuts(
        problem, around.mean, key=key, covariance=around.covariance, warmup=50, draws=100)
    return posterior.draws[:, ::thin].reshape(-1, size)


def check(sampler, replications, size=SIZE, simulate=linear_data, key=KEY):
    return simulation_based_calibration(
        partial(standard_normal, size), simulate, sampler, key=key, replications=replications,
        quantities=log_density)


def test_laplace_is_calibrated_on_a_linear_problem():
    assert check(draw_laplace, 400).p_value > 0.01


@pytest.mark.parametrize("inflate", [1.2, 1 / 1.2])
def test_an_error_of_20_percent_in_the_variance_is_detected(inflate):
    assert check(partial(draw_laplace, inflate=inflate), 400).p_value < 1e-3


def test_draws_around_a_wrong_mean_are_detected():
    """Half a posterior standard deviation in one parameter."""

    def shifted(key, problem):
        width = np.sqrt(problem.covariance[0, 0])
        return draw_laplace(key, problem).at[:, 0].add(0.5 * width)

    assert check(shifted, 200).bias[0] < 1e-3


@pytest.fixture(scope="module")
def kept_nuts():
    """NUTS that remembers what it drew for each key."""
    drawn = {}

    def sampler(key, problem):
        name = jax.random.key_data(key).tobytes()
        if name not in drawn:
            drawn[name] = draw_nuts(key, problem)
        return drawn[name]

    return sampler


@pytest.mark.slow
def test_nuts_is_calibrated_on_a_linear_problem(kept_nuts):
    assert check(kept_nuts, 120).p_value > 0.01


@pytest.mark.slow
def test_an_error_of_20_percent_in_the_variance_of_nuts_is_detected(kept_nuts):
    def too_narrow(key, problem):
        return problem.mean + (kept_nuts(key, problem) - problem.mean) / np.sqrt(1.2)

    assert check(too_narrow, 120).p_value < 1e-3


@pytest.mark.parametrize(("method", "members"), [
    # Perturbed observations need a large ensemble before their own noise is small.
    pytest.param("eki", 400, marks=pytest.mark.slow), ("etki", 20), ("uki", None)])  # fmt: skip
def test_kalman_methods_are_calibrated_on_a_linear_problem(method, members):
    options = {} if members is None else {"members": members, "batch": members}

    def sampler(key, problem):
        ensemble, ours = jax.random.split(key)
        fit = minimise(problem.residuals, jnp.zeros(SIZE), method=method, prior=True,
                       key=ensemble, **options)  # fmt: skip
        return Gaussian(jnp.asarray(fit.best), jnp.asarray(fit.covariance)).draw(ours, 99)

    assert check(sampler, 60).p_value > 0.01


@pytest.mark.slow
def test_nuts_is_calibrated_on_lorenz_96():
    sampler = partial(draw_nuts, size=7, steps=6)
    assert check(sampler, 200, size=7, simulate=lorenz_data).p_value > 0.01


@pytest.mark.slow
def test_a_wrong_error_variance_is_detected_on_lorenz_96():
    """The sampler believes in observations 20 % more precise than they are."""

    def sampler(key, problem):
        trusting = Lorenz96(problem.guess, problem.values, error=problem.error / np.sqrt(1.2))
        return draw_nuts(key, trusting, size=7, steps=6)

    assert check(sampler, 400, size=7, simulate=lorenz_data).p_value < 1e-2


def uniform(replications, draws=99, quantities=1, seed=0):
    ranks = np.random.default_rng(seed).integers(0, draws + 1, (replications, quantities))
    return Ranks(ranks, draws, tuple(f"q{i}" for i in range(quantities)))


def test_the_band_holds_uniform_ranks_with_its_probability():
    many = uniform(100, quantities=400)
    share = np.mean(many.outside(0.9) == 0)
    # Of 400: standard error 1.5 %.
    assert share == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("test", ["bias", "dispersion", "chi_square", "kolmogorov_smirnov"])
def test_p_values_of_uniform_ranks_are_uniform(test):
    p = getattr(uniform(200, quantities=600), test)
    for level in (0.05, 0.5):
        # Four standard errors of a share of 600.
        error = 4 * np.sqrt(level * (1 - level) / 600)
        assert np.mean(p < level) == pytest.approx(level, abs=error)


def test_spread_is_the_variance_of_the_truth_over_that_of_the_draws():
    rng = np.random.default_rng(0)
    truth, draws = rng.normal(size=(4000, 1)), np.sqrt(1.5) * rng.normal(size=(4000, 99, 1))
    found = Ranks((draws < truth[:, None]).sum(axis=1), 99, ("x",))
    # Standard error of a variance of 4000: 2.2 %.
    assert found.spread[0] == pytest.approx(1 / 1.5, abs=0.06)


def test_ranks_count_the_draws_below_the_truth():
    found = simulation_based_calibration(
        lambda key: jnp.array([0.25]), lambda key, z: None,
        lambda key, data: jnp.linspace(0.05, 0.95, 10)[:, None], key=KEY, replications=20)
    assert np.all(found.ranks == 3)


def test_all_replications_at_once_give_the_same_ranks():
    conjugate = lambda key, y: y / 2 + norm.ppf(0.75) * jax.random.normal(key, (9, 1))  # noqa: E731
    run = partial(
        simulation_based_calibration, partial(standard_normal, 1),
        lambda key, z: z + jax.random.normal(key, (1,)), conjugate, key=KEY, replications=30)
    np.testing.assert_array_equal(run(vectorized=True).ranks, run().ranks)


def test_the_table_gives_a_verdict():
    wrong = Ranks(np.zeros((50, 1), int), 99, ("x",))
    assert "the sampler is wrong" in wrong.describe()
    assert "uniform, as far as" in uniform(200).describe()


@pytest.mark.parametrize(("sampler", "options", "error", "words"), [
    (lambda key, y: jnp.zeros((9, 2)), {}, ValueError, r"must return \(draw, 1\)"),
    (lambda key, y: jnp.full((9, 1), jnp.nan), {}, FloatingPointError, "20 of 20 replications"),
    (lambda key, y: jnp.zeros((9, 1)), {"replications": 5}, ValueError, "at least 20"),
    (lambda key, y: jnp.zeros((9, 1)), {"labels": ("a", "b")}, ValueError, "got 2 labels"),
])  # fmt: skip
def test_what_cannot_be_ranked_is_refused(sampler, options, error, words):
    with pytest.raises(error, match=words):
        simulation_based_calibration(
            partial(standard_normal, 1), lambda key, z: z, sampler,
            **({"key": KEY, "replications": 20} | options))
