"""Gradients by day, of several targets, with respect to the initial state, within a memory."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jcm
import jcm_sensitivity as js
from jcm_sensitivity.memory import parse_memory, state_bytes, states_within

#: A field that acts all the time, a parameter, and parts of the initial state.
OROGRAPHY = "forcing.surface_geopotential"
TIME = "parameters.relaxation.surface_time"
TEMPERATURE = "state.air_temperature"
WRT = (OROGRAPHY, TIME, TEMPERATURE, "state.surface_air_pressure")
#: Two days, the second of half the length.
DAYS = 1.5
TARGETS = (
    js.mean("air_temperature", region="northern_extratropics", level=7),
    js.mean("eastward_wind", level=6, days=js.last(1 / 36)),
)


@pytest.fixture(scope="module")
def dry_model():
    """A model that compiles in seconds."""
    return jcm.build_model("T21L8", physics="held_suarez")


@pytest.fixture(scope="module")
def dry_inputs(dry_model):
    return jcm.default_inputs(dry_model, state="rest")


@pytest.fixture(scope="module")
def run(dry_model):
    return js.model_experiment(dry_model, days=DAYS, every=1 / 36)


@pytest.fixture(scope="module")
def whole(run, dry_inputs):
    return js.sensitivity(run, TARGETS, dry_inputs, wrt=WRT)


@pytest.fixture(scope="module")
def by_day(run, dry_inputs):
    return js.sensitivity(run, TARGETS[0], dry_inputs, wrt=WRT, by_day=True)


def test_each_of_several_targets_has_its_value(whole, run, dry_inputs):
    fields = run(dry_inputs)
    for result, target in zip(whole, TARGETS, strict=True):
        bound = target.bind(run.model, every=run.every)
        np.testing.assert_allclose(result.value, bound(fields), rtol=1e-10)


def test_derivatives_by_day_sum_to_the_whole(by_day, whole):
    for name in (OROGRAPHY, TIME):
        total = np.sum(by_day.gradient[name], axis=0)
        size = np.abs(whole[0].gradient[name]).max()
        assert by_day.gradient[name].shape[0] == 2
        assert np.abs(by_day.gradient[name][1]).max() > 1e-2 * size
        np.testing.assert_allclose(total, whole[0].gradient[name], atol=1e-10 * size, rtol=0)


def test_the_initial_state_has_no_days(by_day, whole):
    name = TEMPERATURE
    size = np.abs(whole[0].gradient[name]).max()
    np.testing.assert_allclose(
        by_day.gradient[name], whole[0].gradient[name], atol=1e-10 * size, rtol=0)


def test_derivative_by_day_is_that_of_a_change_on_that_day(by_day, dry_model, dry_inputs):
    # Two runs, one after the other; the parameter changes in the second only.
    def score(value):
        state, first = jcm.simulate(dry_model, dry_inputs, days=1, observe=["air_temperature"])
        later = jcm.insert(dry_inputs.with_state(state), {TIME: value})
        second = jcm.simulate(dry_model, later, days=0.5, observe=["air_temperature"])[1]
        mean = (2 * first["air_temperature"] + second["air_temperature"]) / 3
        return TARGETS[0].bind(dry_model, every=DAYS)({"air_temperature": mean})

    value = jcm.extract(dry_inputs, [TIME])[TIME]
    slope = (score(value + 200) - score(value - 200)) / 400
    np.testing.assert_allclose(by_day.gradient[TIME][1], slope, rtol=1e-5)


def test_one_program_serves_runs_of_several_lengths(dry_model, dry_inputs):
    traces = []

    def target(fields):
        traces.append(1)
        return jnp.mean(fields["air_temperature"][0, 7])

    values = {
        js.sensitivity(
            js.model_experiment(dry_model, days=steps / 36, observe=["air_temperature"]), target,
            dry_inputs, wrt=[TIME]).gradient[TIME].item()
        for steps in (9, 10, 12)}  # fmt: skip
    assert len(values) == 3
    assert len(traces) == 1


def test_a_mean_over_the_run_is_bound_alike_for_all_lengths(dry_model):
    assert TARGETS[0].bind(dry_model, every=1) == TARGETS[0].bind(dry_model, every=2)


def test_maps_by_day_integrate_to_the_whole_map(by_day, dry_model):
    maps = js.to_map(dry_model, by_day)
    each = maps["sensitivity_to_surface_geopotential_by_day"]
    assert each.dims == ("day", "lat", "lon")
    assert each.attrs["units"] == "K m-2 s2 (1e6 km2)-1 day-1"
    whole = maps["sensitivity_to_surface_geopotential"]
    size = float(np.abs(whole).max())
    np.testing.assert_allclose(each.sum("day"), whole, rtol=0, atol=1e-10 * size)


def test_maps_of_the_initial_state_are_per_mass(whole, dry_model):
    field = js.to_map(dry_model, whole[0])["sensitivity_to_air_temperature"]
    assert field.attrs["units"] == "(1e15 kg)-1"
    # The integral over mass is the response to 1 K everywhere: the sum of all derivatives.
    total = np.sum(whole[0].gradient[TEMPERATURE])
    np.testing.assert_allclose(js.integral(field), total, rtol=1e-9)


def test_scaled_derivatives_are_those_over_the_range(whole, by_day, dry_inputs):
    only = dataclasses.replace(whole[0], gradient={TIME: whole[0].gradient[TIME]})
    low, high = jcm.descriptions(dry_inputs.parameters, "parameters.")[TIME].bounds
    assert js.scaled(only, dry_inputs)[TIME] == only.gradient[TIME] * (high - low)
    with pytest.raises(ValueError, match="is no parameter"):
        js.scaled(whole[0], dry_inputs)


# ---- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "bytes_"), [
    ("2GiB", 2 * 2**30), ("500 MB", 500_000_000), ("1.5GB", 1_500_000_000), (1024, 1024)])
def test_limits_of_memory_are_read(text, bytes_):
    assert parse_memory(text) == bytes_


@pytest.mark.parametrize("text", ["2 gigs", "", "-1GB", "0GiB", 0, -5])
def test_a_limit_without_meaning_is_refused(text):
    with pytest.raises(ValueError, match="limit of memory such as '2GiB'"):
        parse_memory(text)


def test_a_small_limit_is_refused_with_what_is_needed(run, dry_inputs):
    with pytest.raises(ValueError, match=r"is too small: at least \d+ MiB are needed"):
        js.sensitivity(run, TARGETS[0], dry_inputs, wrt=[OROGRAPHY], memory="100MiB")


def test_more_memory_keeps_more_states(run, dry_inputs):
    from jcm_sensitivity import memory

    used, size = memory._in_use(), state_bytes(dry_inputs)
    few = states_within(run, dry_inputs, int(used + 45 * size))
    many = states_within(run, dry_inputs, int(used + 60 * size))
    assert 8 <= few < many < states_within(run, dry_inputs, "1000GiB") == 54


def test_days_and_memory_need_a_run_of_the_model(dry_inputs):
    with pytest.raises(ValueError, match="need a run of the model"):
        js.sensitivity(
            lambda inputs: {"x": inputs.forcing.surface_geopotential},
            lambda fields: jnp.mean(fields["x"]), dry_inputs, wrt=[OROGRAPHY], by_day=True)


def test_the_initial_state_alone_has_no_derivative_by_day(run, dry_inputs):
    with pytest.raises(ValueError, match="the initial state acts on the first day only"):
        js.sensitivity(
            run, TARGETS[0], dry_inputs, wrt=["state.air_temperature"], by_day=True)
