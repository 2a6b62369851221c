"""InferenceData holds what was drawn, in physical units, and what was observed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jcm
from jcm_calibrate.observations.operators import make_operator
from jcm_calibrate.observations.vector import Observations, observation
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.problem import Problem
from jcm_calibrate.uncertainty.inference_data import write_inference_data
from jcm_calibrate.uncertainty.posterior import Posterior

KEY = jax.random.key(0)


class Warm(eqx.Module):
    """Stands for the model: the air is everywhere as warm as z adds up to."""

    space: ParameterSpace
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, inputs):
        return {"surface_air_pressure": jnp.full(self.shape, jnp.sum(self.space.extract(inputs)))}


@pytest.fixture(scope="module")
def problem(small_model, small_inputs):
    known = jcm.descriptions(small_inputs.parameters, "parameters.")
    names = [name for name in known if name.startswith("parameters.convection")]
    space = ParameterSpace.of(small_inputs, names[:2])
    operator = make_operator(small_model, "surface_air_pressure", "zonal_mean")
    places = len(operator.labels)
    data = Observations([observation("pressure", operator, np.ones((1, places)), 0.5)])
    grid = small_model.grid
    return Problem(space, data, Warm(space, (1, *grid.shape)), small_inputs)


@pytest.fixture(scope="module")
def posterior():
    rng = np.random.default_rng(0)
    draws, other = rng.normal(size=(2, 50, 2)), rng.normal(size=(2, 50))
    return Posterior(draws, other, other > 2, np.full((2, 50), 3), np.full((2, 50), 0.9), other,
                     np.ones(2), 0, 1.0)  # fmt: skip


@pytest.fixture(scope="module")
def data(posterior, problem):
    return posterior.to_inference_data(problem=problem, key=KEY, predictions=40)


def test_all_groups_are_there(data):
    assert set(data.children) == {
        "posterior", "sample_stats", "prior", "observed_data", "posterior_predictive"}


def test_parameters_are_those_that_z_stands_for(data, problem, posterior):
    expected = problem.space.to_parameters(jnp.asarray(posterior.draws))
    for i, name in enumerate(problem.space.labels):
        np.testing.assert_allclose(data.posterior[name], expected[..., i])
        assert data.posterior[name].attrs["units"] == problem.space.units[i]


def test_predictions_of_the_model_are_those_of_the_draws(data, problem, posterior):
    """The made-up model returns the sum of z, without errors."""
    first = data.posterior_predictive.model.values[0, 0, 0]
    np.testing.assert_allclose(first, posterior.flat[0].sum(), rtol=1e-6, atol=1e-9)


def test_what_would_be_observed_has_the_errors_of_the_observations(data):
    group = data.posterior_predictive
    assert float((group.observations - group.model).std()) == pytest.approx(0.5, rel=0.1)


def test_a_file_holds_all_of_it(data, tmp_path):
    path = write_inference_data(data, tmp_path / "posterior.nc")
    with xr.open_datatree(path) as opened:
        again = opened.load()
    np.testing.assert_array_equal(again.posterior.z, data.posterior.z)
    np.testing.assert_array_equal(again.sample_stats.diverging, data.sample_stats.diverging)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]


def test_a_space_of_other_size_is_refused(problem):
    draws = np.zeros((2, 10, 3))
    one = np.zeros((2, 10))
    other = Posterior(draws, one, one > 0, one.astype(int), one, one, np.ones(2), 0, 1.0)
    with pytest.raises(ValueError, match="the space has 2 parameters, the draws have 3"):
        other.to_inference_data(space=problem.space)


def test_more_predictions_than_draws_are_refused(posterior, problem):
    with pytest.raises(ValueError, match="from 0 to that of the draws, 100"):
        posterior.to_inference_data(problem=problem, key=KEY, predictions=101)
