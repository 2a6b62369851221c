"""Gradients of several runs in one program, and what is significant in them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import SST, mirror

import jcm
from jcm_sensitivity import ensembles, integral, mean
from jcm_sensitivity.ensembles import (
    EnsembleSensitivity,
    ensemble_map,
    ensemble_sensitivity,
    initial_states,
    significant,
    stack_members,
)

FACTORS = (1.0, 2.0, 4.0, 5.0, 8.0)


def run(inputs):
    """The squared sea surface temperature of January, times the temperature of the land."""
    land = inputs.state.surface.land_temperature[0, 0]
    return {"rain": land * inputs.forcing.sea_surface_temperature[0] ** 2}


def target(fields):
    return jnp.sum(fields["rain"])


target.units, target.description = "kg m-2 s-1", "rain of a test"


@pytest.fixture
def members(small_inputs):
    """Inputs whose land is 1, 2, 4, 5 and 8 K warm."""
    land = small_inputs.state.surface.land_temperature
    return [
        eqx.tree_at(lambda x: x.state.surface.land_temperature, small_inputs,
                    jnp.full_like(land, factor))
        for factor in FACTORS]  # fmt: skip


def expected(inputs, factor):
    gradient = np.zeros(inputs.forcing.sea_surface_temperature.shape)
    gradient[0] = 2 * factor * inputs.forcing.sea_surface_temperature[0]
    return gradient


@pytest.mark.parametrize("batch", [None, 1, 2, 9])
def test_each_member_has_its_own_gradient(members, small_inputs, batch):
    result = ensemble_sensitivity(run, target, members, wrt=[SST], batch=batch)
    assert result.count == len(FACTORS)
    for i, factor in enumerate(FACTORS):
        np.testing.assert_allclose(
            result.gradient[SST][i], expected(small_inputs, factor), rtol=1e-12)
    assert result.units[SST] == "kg m-2 s-1 K-1"


def test_only_what_differs_between_members_is_stacked(members):
    stacked = stack_members(members)
    assert stacked.count == len(FACTORS)
    assert stacked.varying.state.surface.land_temperature.shape[0] == len(FACTORS)
    assert stacked.varying.forcing.sea_surface_temperature is None
    assert stacked.shared.state.surface.land_temperature is None
    one = stacked.member(2).state.surface.land_temperature
    np.testing.assert_array_equal(one, FACTORS[2])


def test_members_that_do_not_differ_are_allowed(small_inputs):
    result = ensemble_sensitivity(run, target, [small_inputs] * 2, wrt=[SST])
    np.testing.assert_array_equal(result.gradient[SST][0], result.gradient[SST][1])


def test_mean_and_standard_error_are_those_of_the_members(members, small_inputs):
    result = ensemble_sensitivity(run, target, members, wrt=[SST])
    np.testing.assert_allclose(
        result.mean()[SST], expected(small_inputs, np.mean(FACTORS)), rtol=1e-12)
    np.testing.assert_allclose(
        result.standard_error()[SST],
        expected(small_inputs, np.std(FACTORS, ddof=1) / np.sqrt(len(FACTORS))), rtol=1e-12)


def test_interrupted_computation_goes_on_where_it_was(members, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    def stop(done, count):
        if done == 4:
            raise Interrupted

    arguments = {"wrt": [SST], "batch": 2, "store": tmp_path}
    with pytest.raises(Interrupted):
        ensemble_sensitivity(run, target, members, progress=stop, **arguments)
    computed, original = [], ensembles._values_and_gradients

    def counted(*args):
        computed.append(args[-1])
        return original(*args)

    monkeypatch.setattr(ensembles, "_values_and_gradients", counted)
    resumed = ensemble_sensitivity(run, target, members, **arguments)
    assert len(computed) == 1
    monkeypatch.undo()
    whole = ensemble_sensitivity(run, target, members, wrt=[SST])
    np.testing.assert_array_equal(resumed.gradient[SST], whole.gradient[SST])


def test_batches_of_another_computation_are_refused(members, tmp_path):
    ensemble_sensitivity(run, target, members[:2], wrt=[SST], store=tmp_path)
    with pytest.raises(ValueError, match=r"another experiment \(other members\)"):
        ensemble_sensitivity(run, target, members[3:], wrt=[SST], store=tmp_path)


def test_progress_counts_members(members):
    seen = []
    ensemble_sensitivity(
        run, target, members, wrt=[SST], batch=2, progress=lambda *x: seen.append(x))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_member_with_an_unstable_run_is_named(members):
    bad = eqx.tree_at(
        lambda x: x.state.surface.land_temperature, members[1],
        jnp.full_like(members[1].state.surface.land_temperature, jnp.nan))
    with pytest.raises(FloatingPointError, match="member 1"):
        ensemble_sensitivity(run, target, [members[0], bad], wrt=[SST])


def test_members_of_different_shape_are_refused(members):
    other = eqx.tree_at(
        lambda x: x.state.surface.land_temperature, members[1], jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="different shapes"):
        stack_members([members[0], other])


def test_empty_ensemble_and_batch_are_refused(members):
    with pytest.raises(ValueError, match="at least one run"):
        stack_members([])
    with pytest.raises(ValueError, match="positive number of members"):
        ensemble_sensitivity(run, target, members, wrt=[SST], batch=0)


def test_unknown_input_has_suggestions(members):
    with pytest.raises(KeyError, match="sea_surface_temperature"):
        ensemble_sensitivity(run, target, members, wrt=[SST[:-1]])


def test_of_pure_noise_almost_nothing_is_significant():
    noise = np.random.default_rng(0).normal(size=(200, 12, 500))
    found = [
        significant(x.mean(0), x.std(0, ddof=1) / np.sqrt(12), 12, level=0.1).any() for x in noise]
    # A map of noise has any significant cell with probability 0.1; standard deviation 0.02.
    assert np.mean(found) < 0.17


def test_false_discoveries_are_as_rare_as_their_level():
    noise = np.random.default_rng(1).normal(size=(100, 12, 500))
    noise[..., :100] += 1.5
    marked = np.array([
        significant(x.mean(0), x.std(0, ddof=1) / np.sqrt(12), 12, level=0.1) for x in noise])
    false = marked[:, 100:].sum() / marked.sum()
    assert marked[:, :100].mean() > 0.9 and 0.05 < false < 0.11


def test_two_sided_test_against_a_known_value():
    # Student's t at 5% with 10 degrees of freedom is 2.228; one cell has no false discoveries.
    for score, expected in ((2.22, False), (-2.24, True)):
        assert significant(np.array([score]), np.ones(1), 11, level=0.05) == expected


def test_cells_without_influence_are_never_significant_and_not_counted():
    mean_ = np.array([0.0] * 1000 + [3.0])
    error = np.array([0.0] * 1000 + [1.0])
    np.testing.assert_array_equal(significant(mean_, error, 20, level=0.05), mean_ != 0)


def test_significance_of_one_member_is_refused():
    with pytest.raises(ValueError, match="at least two members"):
        significant(np.ones(1), np.ones(1), 1)


def test_maps_tell_mean_spread_and_signal_to_noise(small_model, small_inputs):
    bound = mean("precipitation_flux").bind(small_model, inputs=small_inputs)
    single = ensemble_sensitivity(mirror(small_model), bound, [small_inputs], wrt=[SST])
    factors = np.array([1.0, 2.0, 3.0])
    ensemble = EnsembleSensitivity(
        factors, {SST: factors[:, None, None, None] * single.gradient[SST]}, single.units,
        single.input_units, single.target_units, "rain")  # fmt: skip
    maps = ensemble_map(small_model, ensemble, inputs=small_inputs)
    name = "sensitivity_to_sea_surface_temperature"
    # 1e-6 kg m-2 s-1 per kelvin everywhere is 0.0864 mm day-1.
    np.testing.assert_allclose(integral(maps[f"{name}_mean"]), 2 * 0.0864, rtol=1e-6)
    np.testing.assert_allclose(integral(maps[f"{name}_spread"]), 0.0864, rtol=1e-6)
    np.testing.assert_allclose(maps[f"{name}_signal_to_noise"], 2.0)
    assert maps[f"{name}_mean"].attrs["units"].startswith("mm day-1 K-1")
    assert set(np.unique(maps[f"{name}_significant"])) <= {0, 1}


def test_states_along_a_run_continue_it_from_their_own_date(small_model, small_inputs):
    first, second = initial_states(small_model, small_inputs, 2, 1.0)
    assert first is small_inputs
    assert int(second.forcing.start_day) == int(first.forcing.start_day) + 1
    assert int(second.state.step) == 0
    step = 1 / small_model.steps_per_day
    on = lambda inputs, days: jcm.simulate(  # noqa: E731
        small_model, inputs, days=days, observe=())[0]
    later, whole = on(second, step), on(first, 1 + step)
    for one, other in ((later.current, whole.current), (later.surface, whole.surface)):
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("count", "spacing"), [(0, 1.0), (2, 0.0), (2, 0.01)])
def test_states_without_count_or_spacing_are_refused(small_model, small_inputs, count, spacing):
    with pytest.raises(ValueError, match=r"count|spacing_days"):
        initial_states(small_model, small_inputs, count, spacing)
