"""Nelder-Mead and CMA-ES through libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm_calibrate.optimisers.minimise import minimise

KEY = jax.random.key(5)


def rosenbrock(z):
    return 100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2


@pytest.mark.parametrize("method", ["nelder_mead", "cma_es"])
def test_rosenbrock_is_minimised(method):
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), method=method, steps=500, key=KEY)
    np.testing.assert_allclose(fit.best, 1, atol=1e-3)
    assert fit.converged
    assert fit.cost == len(fit.history)


@pytest.mark.parametrize("method", ["nelder_mead", "cma_es"])
def test_30_percent_failed_values_still_converge(method):
    def fails(z):
        bad = jnp.mod(1e4 * jnp.sum(z), 1.0) < 0.3
        return jnp.where(bad, jnp.nan, jnp.sum((z - 0.5) ** 2))

    fit = minimise(fails, jnp.array([0.15, -1.10995]), method=method, steps=300, key=KEY)
    assert 0.15 < np.isnan(fit.history["value"]).mean() < 0.5
    np.testing.assert_allclose(fit.best, 0.5, atol=0.02)


def test_a_generation_that_failed_whole_is_survived():
    def walled(z):
        return jnp.where(z[0] < 1, jnp.nan, jnp.sum(z**2))

    fit = minimise(walled, jnp.array([1.0, 5.0]), method="cma_es", steps=100, key=KEY, spread=0.1)
    assert fit.value < 1.3


def test_cma_es_with_the_same_key_gives_the_same_numbers():
    np.random.seed(1)
    first = minimise(rosenbrock, jnp.zeros(2), method="cma_es", steps=20, key=KEY)
    np.random.seed(2)
    second = minimise(rosenbrock, jnp.zeros(2), method="cma_es", steps=20, key=KEY)
    other = minimise(rosenbrock, jnp.zeros(2), method="cma_es", steps=20, key=jax.random.key(6))
    np.testing.assert_array_equal(first.history["iterate"], second.history["iterate"])
    assert not np.array_equal(first.best, other.best)


def test_cma_es_leaves_the_global_random_numbers_alone():
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    minimise(rosenbrock, jnp.zeros(2), method="cma_es", steps=3, key=KEY)
    assert np.random.random() == expected


def test_residuals_are_taken_as_half_their_square():
    fit = minimise(lambda z: jnp.stack([3 * z[0], 4 * z[0]]), jnp.ones(1), method="nelder_mead",
                   steps=1)  # fmt: skip
    assert fit.history["value"][0] == 12.5


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="positive spread"):
        minimise(rosenbrock, jnp.zeros(2), method="cma_es", key=KEY, spread=0.0)
    with pytest.raises(ValueError, match="spread must be positive"):
        minimise(rosenbrock, jnp.zeros(2), method="nelder_mead", spread=-1.0)
