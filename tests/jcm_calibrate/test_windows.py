"""Runs over windows from many states, and the problem of estimating parameters from them."""

import dataclasses
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm_calibrate.observations.vector import synthetic
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.problem import Problem, log_posterior, make_problem
from jcm_calibrate.windows import Windows, make_windows
from jcm_sensitivity import HorizonWarning, initial_states

STEP = 1 / 36
RAIN, LONGWAVE = "precipitation_flux", "toa_outgoing_longwave_flux"
NAMES = ("parameters.longwave.window_absorptivity", "parameters.convection.relaxation_time")


@pytest.fixture(scope="module")
def members(small_model, small_inputs):
    """Two states a day apart."""
    return initial_states(small_model, small_inputs, 2, 1.0)


@pytest.fixture(scope="module")
def windows(small_model, members):
    """Two outputs, of one and of the next step, from each state."""
    return make_windows(
        small_model, members, days=2 * STEP, every=STEP, observe=(RAIN, LONGWAVE))


@pytest.fixture(scope="module")
def fields(windows, small_inputs):
    return eqx.filter_jit(windows)(small_inputs)


@pytest.fixture(scope="module")
def problem(small_model, small_inputs, windows, fields):
    space = ParameterSpace.of(small_inputs, NAMES)
    blocks = {
        name: {"variable": name, "operator": "zonal_mean", "error": error, "periods": "each"}
        for name, error in ((RAIN, 1e-5), (LONGWAVE, 2.0))}
    observations = synthetic(small_model, fields, blocks, inputs=small_inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HorizonWarning)
        return make_problem(space, observations, windows, small_inputs)


def test_each_window_is_the_run_from_its_state_and_date(small_model, members, fields):
    for number, member in enumerate(members):
        _, own = jcm.simulate(
            small_model, member, days=2 * STEP, every=STEP, observe=(RAIN, LONGWAVE))
        for name, x in own.items():
            np.testing.assert_allclose(
                fields[name][2 * number:2 * number + 2], x, rtol=1e-9, atol=1e-16)


def test_parameters_come_from_the_inputs_of_the_call(windows, small_inputs, fields):
    changed = jcm.insert(small_inputs, {NAMES[0]: 0.5})
    run = eqx.filter_jit(windows)
    assert float(jnp.abs(run(changed)[LONGWAVE] - fields[LONGWAVE]).max()) > 5.0


@pytest.mark.slow
def test_two_windows_can_be_run_at_once(windows, small_inputs, fields):
    at_once = eqx.filter_jit(dataclasses.replace(windows, batch_size=2))(small_inputs)
    np.testing.assert_allclose(at_once[LONGWAVE], fields[LONGWAVE], rtol=1e-10)


@pytest.mark.slow
def test_spin_up_moves_the_start_and_is_not_differentiated(small_model, members, small_inputs):
    # Radiation is held over three steps, surface fluxes are not.
    flux, name = "surface_upward_latent_heat_flux", (
        "parameters.surface_fluxes.sea_exchange_coefficient")
    given = {"days": STEP, "observe": (flux,)}
    spun = make_windows(small_model, members[:1], spin_up_days=STEP, **given)
    state, _ = jcm.simulate(small_model, members[0], days=STEP, observe=())
    from_there = make_windows(small_model, [members[0].with_state(state)], **given)

    @eqx.filter_jit
    def tangent(windows, value):
        run = lambda v: windows(jcm.insert(small_inputs, {name: v}))[flux]  # noqa: E731
        return jax.jvp(run, (value,), (jnp.ones_like(value),))

    value = jcm.extract(small_inputs, [name])[name]
    found, expected = tangent(spun, value), tangent(from_there, value)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=1e-6)
    assert float(jnp.abs(expected[1]).max()) > 1


def test_residuals_are_zero_at_the_truth_and_prior_is_appended(problem, small_inputs):
    z = problem.space.extract(small_inputs)
    residuals = eqx.filter_jit(problem)(z)
    assert residuals.shape == (4 * 32 * 2 + 2,)
    np.testing.assert_allclose(residuals[:-2], 0, atol=1e-9)
    np.testing.assert_array_equal(residuals[-2:], z)


def test_log_posterior_is_gaussian_likelihood_plus_prior(problem, windows, small_inputs):
    z = jnp.array([0.3, -0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HorizonWarning)
        density = log_posterior(windows, small_inputs, problem.space, problem.observations)
    difference = np.asarray(
        eqx.filter_jit(problem.predict)(z) - problem.observations.values, float)
    error = np.repeat([1e-5, 2.0], 4 * 32)
    expected = np.sum(-0.5 * (difference / error) ** 2 - np.log(error * np.sqrt(2 * np.pi)))
    expected += -0.5 * 0.34 - np.log(2 * np.pi)
    np.testing.assert_allclose(eqx.filter_jit(density)(z), expected, rtol=1e-10)


@pytest.mark.slow
def test_gradient_of_the_posterior_agrees_with_finite_differences(problem):
    # The window absorptivity acts through the longwave fluxes alone, without any switch.
    run = eqx.filter_jit(lambda z: jax.value_and_grad(problem.log_posterior)(z))
    z, h = jnp.array([0.3, -0.5]), jnp.array([1e-4, 0.0])
    slope = (run(z + h)[0] - run(z - h)[0]) / 2e-4
    np.testing.assert_allclose(run(z)[1][0], slope, rtol=1e-6)


@pytest.mark.slow
def test_gauss_newton_finds_the_parameters_of_a_twin(problem, small_inputs):
    fit = minimise(problem.residuals, jnp.array([0.8, 0.3]), method="gauss_newton", steps=8)
    found = problem.space.to_parameters(jnp.asarray(fit.best))
    truth = jnp.stack(list(jcm.extract(small_inputs, NAMES).values()))
    np.testing.assert_allclose(found[0], truth[0], rtol=1e-6)


def test_part_of_the_windows_is_their_part_of_the_residuals(problem):
    z = jnp.array([0.3, -0.5])
    whole = eqx.filter_jit(problem.residuals)(z).reshape(2, 4, 32)
    part = eqx.filter_jit(problem.take([1]).residuals)(z).reshape(2, 2, 32)
    np.testing.assert_allclose(part, whole[:, 2:], rtol=1e-6, atol=1e-9)


def test_every_pass_of_mini_batches_has_every_window_once(problem):
    batch = problem.mini_batches(1, seed=3)
    first = [int(batch(i).run.start_days[0]) for i in range(2)]
    assert sorted(first) == np.asarray(problem.run.start_days).tolist()
    assert first == [int(problem.mini_batches(1, seed=3)(i).run.start_days[0]) for i in range(2)]


def test_windows_beyond_the_horizon_of_gradients_are_warned_of(problem, windows, small_inputs):
    with pytest.warns(HorizonWarning, match="smooth=True"):
        make_problem(problem.space, problem.observations, windows, small_inputs)


def test_methods_without_gradients_are_not_warned(problem, windows, small_inputs):
    made = make_problem(
        problem.space, problem.observations, windows, small_inputs, gradients=False)
    assert isinstance(made, Problem)


@pytest.mark.parametrize("index", [[], [2], [-1], np.array([0.5])])
def test_windows_that_do_not_exist_are_refused(windows, index):
    with pytest.raises(ValueError, match="numbers of windows from 0 to 1"):
        windows.take(index)


def test_observations_of_another_number_of_windows_are_refused(problem, windows, small_inputs):
    with pytest.raises(ValueError, match=r"number of outputs|data"):
        make_problem(problem.space, problem.observations, windows.take([0]), small_inputs,
                     gradients=False)  # fmt: skip


@pytest.mark.parametrize(("change", "words"), [
    ({"days": 0.001}, "multiple of the time step"), ({"batch_size": 0}, "positive"),
    ({"kept_states": 0}, "positive"), ({"spin_up_days": -1.0}, "multiple of the time step")])
def test_impossible_windows_are_refused(small_model, small_inputs, change, words):
    with pytest.raises(ValueError, match=words):
        make_windows(small_model, [small_inputs], **{"days": STEP, **change})


def test_windows_need_a_state(small_model):
    with pytest.raises(ValueError, match="at least one initial state"):
        make_windows(small_model, [], days=STEP)


@pytest.mark.parametrize("size", [0, 3])
def test_batches_divide_the_windows(problem, size):
    with pytest.raises(ValueError, match="divide the number of windows"):
        problem.mini_batches(size)


def test_only_windows_can_be_divided(problem):
    other = eqx.tree_at(lambda p: p.run, problem, lambda inputs: {}, is_leaf=lambda x: x is None)
    with pytest.raises(TypeError, match="only runs of Windows"):
        other.take([0])


def test_days_of_an_evaluation_are_counted(windows):
    assert isinstance(windows, Windows)
    np.testing.assert_allclose(windows.model_days, 4 * STEP)
