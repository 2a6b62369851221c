"""Priors as maps of a standard normal variable."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpyro.distributions import transforms

from jcm_calibrate.parameters.priors import (
    checked,
    describe,
    from_normal,
    logit_normal,
    mass_outside,
    prior_from_table,
    to_normal,
)

Z = jnp.linspace(-4, 4, 41)
PRIORS = {
    "Normal": (dist.Normal(3.0, 2.0), scipy.stats.norm(3, 2)),
    "LogNormal": (dist.LogNormal(1.0, 0.5), scipy.stats.lognorm(0.5, scale=np.e)),
    "Uniform": (dist.Uniform(-1.0, 3.0), scipy.stats.uniform(-1, 4)),
    "LogUniform": (dist.LogUniform(1.0, 10.0), scipy.stats.loguniform(1, 10)),
    "TruncatedNormal": (
        dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0), scipy.stats.truncnorm(-1, 2)),
    "HalfNormal": (dist.HalfNormal(2.0), scipy.stats.halfnorm(scale=2)),
    "Exponential": (dist.Exponential(0.5), scipy.stats.expon(scale=2)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_parameter_has_the_quantiles_of_its_prior(name):
    prior, exact = PRIORS[name]
    x = from_normal(checked(prior, "x"), Z)
    np.testing.assert_allclose(x, exact.ppf(scipy.stats.norm.cdf(Z)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PRIORS)
def test_standard_normal_variable_is_recovered(name):
    prior = checked(PRIORS[name][0], "x")
    # A distribution function near 1 has a spacing of 1e-16, which is 1e-12 of z at z = 4.
    np.testing.assert_allclose(to_normal(prior, from_normal(prior, Z)), Z, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PRIORS)
def test_slopes_are_finite_as_far_out_as_8(name):
    prior = checked(PRIORS[name][0], "x")
    slopes = jax.vmap(jax.grad(lambda z: from_normal(prior, z)))(jnp.linspace(-8, 8, 101))
    assert jnp.all(jnp.isfinite(slopes))


@settings(deadline=None, max_examples=50)
@given(st.floats(0.02, 0.98), st.floats(0.1, 3.0), st.floats(-5, 5))
def test_logit_normal_is_the_logistic_function_between_the_bounds(share, spread, z):
    low, high = -3.0, 7.0
    reference = low + share * (high - low)
    x = from_normal(logit_normal(reference, (low, high), spread), jnp.asarray(z))
    logit = np.log(share / (1 - share)) + spread * z
    np.testing.assert_allclose(x, low + 10 / (1 + np.exp(-logit)), rtol=1e-12, atol=1e-12)


def test_logit_normal_has_the_reference_as_median():
    x = from_normal(logit_normal(21600.0, (7200.0, 86400.0)), jnp.asarray(0.0))
    np.testing.assert_allclose(x, 21600.0, rtol=1e-14)


def test_logit_normal_in_single_precision_has_finite_slopes_as_far_out_as_8():
    prior = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), logit_normal(0.9, (0.75, 0.98)))
    z = jnp.linspace(-8, 8, 65, dtype=jnp.float32)
    x, slope = jax.jvp(lambda z: from_normal(prior, z), (z,), (jnp.ones_like(z),))
    assert x.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(slope) & (slope > 0))


def test_decreasing_transform_keeps_the_prior():
    falling = dist.TransformedDistribution(
        dist.Normal(1.0, 2.0), [transforms.AffineTransform(0.0, -1.0)])
    x = from_normal(checked(falling, "x"), Z)
    np.testing.assert_allclose(np.sort(x), scipy.stats.norm(-1, 2).ppf(scipy.stats.norm.cdf(Z)))


@pytest.mark.parametrize("reference", [0.0, 1.0, -0.5, float("nan")])
def test_median_at_or_outside_a_bound_is_refused(reference):
    with pytest.raises(ValueError, match="between the bounds 0 and 1, got"):
        logit_normal(reference, (0.0, 1.0))


def test_spread_of_zero_is_refused():
    with pytest.raises(ValueError, match="spread of a prior must be positive"):
        logit_normal(0.5, (0.0, 1.0), 0.0)


def test_number_as_prior_is_refused():
    with pytest.raises(TypeError, match=r"the prior of speed must be a distribution.*got 3\.0"):
        checked(3.0, "speed")


def test_prior_of_several_numbers_is_refused():
    with pytest.raises(ValueError, match=r"the prior of speed must be of one number.*\(3,\)"):
        checked(dist.Normal(jnp.zeros(3), 1.0), "speed")


def test_discrete_prior_is_refused():
    with pytest.raises(ValueError, match="the prior of speed is discrete"):
        checked(dist.Poisson(3.0), "speed")


@pytest.mark.parametrize(
    "prior", [dist.VonMises(0.0, 1.0),
              dist.MixtureGeneral(dist.Categorical(jnp.ones(2) / 2),
                                  [dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)])])
def test_prior_without_inverse_distribution_function_names_what_to_use(prior):
    with pytest.raises(ValueError, match=r"no inverse distribution function.*use Normal, Log"):
        checked(prior, "speed")


def test_prior_that_overflows_is_refused():
    with pytest.raises(ValueError, match="not finite between z = -8 and 8"):
        checked(dist.LogNormal(0.0, 200.0), "speed")


def test_mass_outside_is_that_of_the_normal_tails():
    outside = mass_outside(checked(dist.Normal(0.0, 1.0), "x"), (-1.0, 2.0))
    exact = scipy.stats.norm.cdf(-1) + scipy.stats.norm.sf(2)
    np.testing.assert_allclose(outside, exact, atol=2e-4)


def test_prior_from_a_table_is_the_one_named():
    prior = prior_from_table({"distribution": "LogNormal", "loc": 9.0, "scale": 0.3})
    assert describe(prior) == "LogNormal(loc=9, scale=0.3)"


def test_misspelt_distribution_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"got 'LogNorml'; did you mean LogNormal"):
        prior_from_table({"distribution": "LogNorml", "loc": 9.0, "scale": 0.3})


@pytest.mark.parametrize("numbers", [{"mean": 9.0}, {"loc": 9.0, "scale": -1.0}])
def test_numbers_that_do_not_fit_a_distribution_are_refused(numbers):
    with pytest.raises(ValueError, match="LogNormal cannot be made from"):
        prior_from_table({"distribution": "LogNormal", **numbers})
