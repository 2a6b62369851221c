"""Space of parameters: standard normal variables and what they stand for."""

import ast
import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import jcm
from jcm.parameters import descriptions
from jcm_calibrate.parameters.fields import LatitudeField
from jcm_calibrate.parameters.prior_check import check_prior
from jcm_calibrate.parameters.scalars import sourced
from jcm_calibrate.parameters.space import ParameterSpace

TIME = "parameters.convection.relaxation_time"
DRAG = "parameters.surface_fluxes.sea_drag_coefficient"
CLOUD = "parameters.shortwave.cloud_albedo"


@pytest.fixture(scope="module")
def space(small_inputs):
    return ParameterSpace.of(small_inputs, [TIME, DRAG, CLOUD], {DRAG: dist.LogNormal(-6.9, 0.1)})


@pytest.fixture(scope="module")
def wide(small_inputs):
    """Every kind of part."""
    return ParameterSpace.of(
        small_inputs, ["parameters.convection", LatitudeField("forcing.bare_albedo"), DRAG],
        {DRAG: dist.Uniform(0.0005, 0.0025)})


def test_parameters_follow_the_formulas_of_their_priors(space):
    z = np.array([0.7, -1.2, 0.0])
    share = (21600 - 7200) / (86400 - 7200)
    time = 7200 + 79200 / (1 + np.exp(-(np.log(share / (1 - share)) + 0.7)))
    expected = [time, np.exp(-6.9 - 0.12), 0.43]
    np.testing.assert_allclose(space.to_parameters(jnp.asarray(z)), expected, rtol=1e-12)


def test_draws_of_parameters_have_the_distribution_of_their_prior(space):
    x = space.to_parameters(space.draw(jax.random.key(1), 2000))
    test = scipy.stats.kstest(np.asarray(x[:, 1]), scipy.stats.lognorm(0.1, scale=np.exp(-6.9)).cdf)
    assert test.pvalue > 0.01


def test_log_prior_is_the_standard_normal_density(space):
    z = np.array([0.3, -1.0, 2.0])
    np.testing.assert_allclose(space.log_prior(jnp.asarray(z)), scipy.stats.norm.logpdf(z).sum())


def test_draws_differ_by_key_and_are_repeatable(space):
    draw = lambda seed: np.asarray(space.draw(jax.random.key(seed), 5))  # noqa: E731
    assert draw(0).shape == (5, 3)
    np.testing.assert_array_equal(draw(0), draw(0))
    assert not np.any(draw(0) == draw(1))


def test_round_trip_over_the_parameters_is_exact_to_rounding(wide):
    z = jnp.asarray(np.random.default_rng(0).normal(size=(50, wide.size)))
    np.testing.assert_allclose(wide.from_parameters(wide.to_parameters(z)), z, atol=1e-12)


def test_round_trip_over_the_inputs_is_exact_to_rounding(wide, small_inputs):
    z = jnp.asarray(np.random.default_rng(1).normal(size=wide.size))
    np.testing.assert_allclose(wide.extract(wide.insert(small_inputs, z)), z, atol=1e-10)


def test_reference_is_at_zero_and_comes_back_exactly(small_inputs):
    space = ParameterSpace.of(small_inputs, ["parameters.convection", "parameters.clouds"])
    np.testing.assert_allclose(space.extract(small_inputs), np.zeros(space.size), atol=1e-13)
    back = space.insert(small_inputs, jnp.zeros(space.size))
    for name in space.labels:
        np.testing.assert_allclose(
            jcm.extract(back, [name])[name], jcm.extract(small_inputs, [name])[name], rtol=1e-14)


def test_round_trip_in_single_precision_is_exact_to_rounding(small_inputs):
    narrow = jax.tree.map(
        lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, small_inputs)
    space = ParameterSpace.of(narrow, ["parameters.convection", "parameters.clouds"])
    space = jax.tree.map(lambda x: x.astype(jnp.float32), space)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(20, space.size)), jnp.float32)
    x = space.to_parameters(z)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(space.to_parameters(space.from_parameters(x)), x, rtol=1e-6)
    again = space.extract(space.insert(narrow, z[0]))
    # Rounding of a parameter [6e-8 of it] over the width of its prior, at least 0.01 of it.
    np.testing.assert_allclose(again, z[0], atol=1e-4)


def test_only_the_chosen_parameters_change(space, small_inputs):
    changed = space.insert(small_inputs, jnp.ones(3))
    differing = [name for name in descriptions(small_inputs.parameters, "parameters.")
                 if jcm.extract(changed, [name])[name] != jcm.extract(small_inputs, [name])[name]]
    assert set(differing) == {TIME, DRAG, CLOUD}
    assert bool(eqx.tree_equal(changed.forcing, small_inputs.forcing))


@pytest.mark.parametrize("distance", [-8.0, 8.0])
def test_slopes_are_finite_and_positive_8_widths_away(space, distance):
    slope = space.slope(jnp.full(3, distance))
    assert jnp.all(jnp.isfinite(slope) & (slope > 0))


def test_slope_is_the_derivative_of_each_parameter(wide):
    z = jnp.asarray(np.random.default_rng(2).normal(size=wide.size))
    full = jax.jacrev(wide.to_parameters)(z)
    np.testing.assert_allclose(full, np.diag(wide.slope(z)), rtol=1e-12)


def test_other_priors_and_values_need_no_new_program(small_inputs):
    compiled = []

    @eqx.filter_jit
    def convection(space, inputs, z):
        compiled.append(1)
        return space.insert(inputs, z).parameters.convection

    names = [TIME, DRAG]
    for loc in (-6.9, -7.0):
        other = ParameterSpace.of(small_inputs, names, {DRAG: dist.LogNormal(loc, 0.1)}, spread=0.5)
        convection(other, small_inputs, jnp.full(2, loc))
    assert len(compiled) == 1


def test_batches_of_parameters_can_be_mapped(space, small_inputs):
    z = space.draw(jax.random.key(0), 3)
    albedo = jax.vmap(lambda z: space.insert(small_inputs, z).parameters.shortwave.cloud_albedo)(z)
    np.testing.assert_allclose(albedo, space.to_parameters(z)[:, 2])


def test_group_stands_for_its_parameters_in_order(small_inputs):
    space = ParameterSpace.of(small_inputs, "parameters.convection")
    fields = [f.name for f in dataclasses.fields(small_inputs.parameters.convection)]
    assert space.labels == tuple(f"parameters.convection.{name}" for name in fields)


def test_pattern_stands_for_every_name_that_fits(small_inputs):
    space = ParameterSpace.of(small_inputs, "parameters.*.relaxation_time")
    assert space.labels == (TIME, "parameters.condensation.relaxation_time")


def test_parameters_with_a_source_leave_out_those_chosen_here(small_inputs):
    names = sourced(small_inputs)
    assert TIME in names
    assert not [name for name in names if name.startswith("parameters.smooth")]


def test_sources_can_be_searched(small_inputs):
    names = sourced(small_inputs, "melting point")
    assert names == ["parameters.sea.melting_temperature"]


def test_units_and_bounds_are_those_of_the_descriptions(space, small_inputs):
    known = descriptions(small_inputs.parameters, "parameters.")
    assert space.units == tuple(known[name].units for name in space.labels)
    np.testing.assert_array_equal(space.bounds, [known[name].bounds for name in space.labels])


def test_quantiles_rise_when_the_transform_falls(small_inputs):
    falling = dist.TransformedDistribution(
        dist.Normal(-0.45, 0.01), [dist.transforms.AffineTransform(0.0, -1.0)])
    space = ParameterSpace.of(small_inputs, CLOUD, {CLOUD: falling})
    exact = scipy.stats.norm(0.45, 0.01).ppf([0.05, 0.5, 0.95])
    np.testing.assert_allclose(np.ravel(space.quantiles([0.05, 0.5, 0.95])), exact, rtol=1e-9)


def test_description_prints_the_quantiles_of_the_prior(space):
    row = next(line for line in space.describe().splitlines() if line.startswith(DRAG))
    low, high = scipy.stats.lognorm(0.1, scale=np.exp(-6.9)).ppf([0.05, 0.95])
    assert f"{low:.4g}" in row and f"{high:.4g}" in row
    assert "0.0005 to 0.0025" in row and "Molteni" in row


def test_unknown_parameter_gets_a_suggestion(small_inputs):
    with pytest.raises(KeyError, match="did you mean parameters"):
        ParameterSpace.of(small_inputs, "parameters.convection.relaxation_tim")


def test_pattern_that_fits_nothing_is_refused(small_inputs):
    with pytest.raises(KeyError, match=r"no parameter fits the pattern 'parameters\.\*\.height'"):
        ParameterSpace.of(small_inputs, "parameters.*.height")


def test_field_by_name_alone_is_referred_to_its_patterns(small_inputs):
    with pytest.raises(ValueError, match=r"LatitudeField\('forcing.bare_albedo'\)"):
        ParameterSpace.of(small_inputs, "forcing.bare_albedo")


@pytest.mark.parametrize("name", ["forcing.start_day", "state.current"])
def test_input_without_bounds_is_refused(small_inputs, name):
    with pytest.raises(ValueError, match="is no tunable parameter"):
        ParameterSpace.of(small_inputs, name)


def test_parameter_named_twice_is_refused(small_inputs):
    with pytest.raises(ValueError, match=f"named twice: {TIME}"):
        ParameterSpace.of(small_inputs, [TIME, "parameters.convection"])


def test_empty_space_is_refused(small_inputs):
    with pytest.raises(ValueError, match="at least one parameter"):
        ParameterSpace.of(small_inputs, [])


def test_prior_of_a_parameter_that_is_not_calibrated_is_refused(small_inputs):
    with pytest.raises(KeyError, match=f"there is a prior for {DRAG}, but no such parameter"):
        ParameterSpace.of(small_inputs, TIME, {DRAG: dist.LogNormal(-6.9, 0.1)})


def test_prior_outside_the_bounds_is_refused(small_inputs):
    expected = r"50 % of the prior of .*cloud_albedo, Normal.*0\.3 to 0\.6"
    with pytest.raises(ValueError, match=expected):
        ParameterSpace.of(small_inputs, CLOUD, {CLOUD: dist.Normal(0.6, 0.02)})


def test_prior_outside_the_bounds_is_accepted_on_request(small_inputs):
    space = ParameterSpace.of(
        small_inputs, CLOUD, {CLOUD: dist.Normal(0.9, 0.02)}, allow_outside_bounds=True)
    np.testing.assert_allclose(space.from_parameters(jnp.array([0.94])), [2.0])


@pytest.mark.parametrize("value", [0.2, 0.3, 0.61, float("nan")])
def test_start_at_or_outside_a_bound_is_refused(small_inputs, value):
    space = ParameterSpace.of(small_inputs, CLOUD)
    with pytest.raises(ValueError, match=rf"cloud_albedo = {value:g} 1 \(bounds 0.3 to 0.6\)"):
        space.from_parameters(jnp.array([value]))


def test_inputs_outside_the_bounds_are_refused(space, small_inputs):
    wrong = jcm.insert(small_inputs, {TIME: 100.0})
    with pytest.raises(ValueError, match=r"relaxation_time = 100 s \(bounds 7200 to 86400\)"):
        space.extract(wrong)


def test_parameter_at_its_bound_needs_a_prior(small_inputs):
    name = "parameters.surface_fluxes.humidity_extrapolation"
    with pytest.raises(ValueError, match=r"= 0 1 is at a bound \(0 to 1\).*give one"):
        ParameterSpace.of(small_inputs, name)


def test_parameter_at_its_bound_can_have_a_uniform_prior(small_inputs):
    name = "parameters.surface_fluxes.humidity_extrapolation"
    space = ParameterSpace.of(small_inputs, name, {name: dist.Uniform(0.0, 1.0)})
    np.testing.assert_allclose(space.to_parameters(jnp.array([0.0])), [0.5])


def test_members_of_a_group_at_a_bound_are_left_out_with_a_warning(small_inputs):
    with pytest.warns(UserWarning, match="3 parameters of groups are left out"):
        space = ParameterSpace.of(small_inputs, "parameters.surface_fluxes")
    assert "parameters.surface_fluxes.humidity_extrapolation" in space.left_out
    assert "left out, at a bound: parameters.surface_fluxes" in space.describe()


def test_group_with_nothing_inside_its_bounds_is_refused(small_inputs):
    with pytest.raises(ValueError, match="are at a bound and need a prior"):
        ParameterSpace.of(small_inputs, "parameters.smooth.convection")


def test_vector_of_another_length_is_refused(space):
    with pytest.raises(ValueError, match=r"expected 3 components .* got shape \(4,\)"):
        space.to_parameters(jnp.zeros(4))


def test_prior_check_lists_the_draws_that_fail(space, small_inputs):
    def run(inputs):
        albedo = inputs.parameters.shortwave.cloud_albedo
        return {"albedo": albedo, "root": jnp.sqrt(albedo - 0.43)}

    check = check_prior(run, small_inputs, space, key=jax.random.key(0), size=10)
    expected = np.flatnonzero(check.z[:, 2] < 0)
    assert len(expected)
    np.testing.assert_array_equal(check.failed, expected)
    assert f"{10 - len(expected)} of 10 draws of the prior gave finite" in check.describe()
    assert f"draw {expected[0]} failed" in check.describe()


def test_prior_check_gives_the_range_of_each_output(space, small_inputs):
    check = check_prior(
        lambda inputs: inputs.parameters.convection.relaxation_time * jnp.array([1.0, 3.0]),
        small_inputs, space, key=jax.random.key(3), size=4)
    np.testing.assert_allclose(check.means["output"], 2 * check.parameters[:, 0])


def test_prior_check_of_no_draw_is_refused(space, small_inputs):
    with pytest.raises(ValueError, match="at least one draw"):
        check_prior(lambda inputs: 0.0, small_inputs, space, key=jax.random.key(3), size=0)


IN_ANOTHER_PROCESS = """
import pickle, sys
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
space = pickle.load(open(sys.argv[1], "rb"))
print([float(x) for x in space.to_parameters(jnp.full(space.size, 0.7))])
print([float(x) for x in jax.tree.leaves(space)])
"""


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_space_is_the_same_in_every_process(seed, small_inputs, tmp_path):
    # NumPyro orders the numbers of a distribution by a set, so by the seed of Python's hashes.
    priors = {"parameters.convection.relaxation_time": dist.LogNormal(10.0, 0.1),
              "parameters.shortwave.cloud_albedo": dist.Uniform(0.35, 0.55)}
    space = ParameterSpace.of(
        small_inputs, [*priors, "parameters.longwave.window_absorptivity"], priors)
    path = tmp_path / "space.pickle"
    path.write_bytes(pickle.dumps(space))
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(path)], capture_output=True, text=True,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == 0, done.stderr
    values, leaves = (ast.literal_eval(line) for line in done.stdout.splitlines())
    np.testing.assert_allclose(
        values, space.to_parameters(jnp.full(space.size, 0.7)), rtol=1e-14)
    np.testing.assert_array_equal(leaves, jax.tree.leaves(space))
