"""Gradients by day, of several targets, with respect to the initial state, within a memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
import jcm_sensitivity as js
from jcm_sensitivity.memory import parse_memory, state_bytes, states_within
from jcm_sensitivity.runs import in_reverse

SST = "forcing.sea_surface_temperature"
TIME = "parameters.convection.relaxation_time"
WRT = (SST, TIME, "state.air_temperature", "state.surface.land_temperature")
#: Two days, the second of two steps only.
DAYS = 38 / 36
TARGETS = (
    js.mean("precipitation_flux", region="tropics"),
    js.mean("air_temperature", level=7, days=js.last(1 / 36)),
)


@pytest.fixture(scope="module")
def run(small_model):
    return js.model_experiment(small_model, days=DAYS, every=1 / 36)


@pytest.fixture(scope="module")
def whole(run, small_inputs):
    return js.sensitivity(run, TARGETS, small_inputs, wrt=WRT)


@pytest.fixture(scope="module")
def by_day(run, small_inputs):
    return js.sensitivity(run, TARGETS[0], small_inputs, wrt=WRT, by_day=True)


def test_each_of_several_targets_has_its_value(whole, run, small_inputs):
    fields = run(small_inputs)
    for result, target in zip(whole, TARGETS, strict=True):
        bound = target.bind(run.model, every=run.every)
        np.testing.assert_allclose(result.value, bound(fields), rtol=1e-10)


def test_derivatives_by_day_sum_to_the_whole(by_day, whole):
    for name in (SST, TIME):
        total = np.sum(by_day.gradient[name], axis=0)
        size = np.abs(whole[0].gradient[name]).max()
        assert by_day.gradient[name].shape[0] == 2
        assert np.abs(by_day.gradient[name][1]).max() > 1e-4 * size
        np.testing.assert_allclose(total, whole[0].gradient[name], atol=1e-10 * size, rtol=0)


def test_the_initial_state_has_no_days(by_day, whole):
    name = "state.air_temperature"
    size = np.abs(whole[0].gradient[name]).max()
    np.testing.assert_allclose(
        by_day.gradient[name], whole[0].gradient[name], atol=1e-10 * size, rtol=0)


def test_derivative_by_day_is_that_of_a_change_on_that_day(by_day, small_model, small_inputs):
    # Two runs, one after the other; the parameter changes in the second only.
    def rain(value):
        state, first = jcm.simulate(
            small_model, small_inputs, days=1, observe=["precipitation_flux"])
        later = jcm.insert(small_inputs.with_state(state), {TIME: value})
        second = jcm.simulate(
            small_model, later, days=2 / 36, observe=["precipitation_flux"])[1]
        mean = (36 * first["precipitation_flux"] + 2 * second["precipitation_flux"]) / 38
        return TARGETS[0].bind(small_model, every=DAYS)({"precipitation_flux": mean})

    value = jcm.extract(small_inputs, [TIME])[TIME]
    step = 1e-3
    slope = (rain(value + step) - rain(value - step)) / (2 * step)
    np.testing.assert_allclose(by_day.gradient[TIME][1], slope, rtol=1e-5)


def test_maps_by_day_integrate_to_the_whole_map(by_day, small_model):
    maps = js.to_map(small_model, by_day)
    each = maps["sensitivity_to_sea_surface_temperature_by_day"]
    assert each.dims == ("day", "lat", "lon")
    assert each.attrs["units"] == "mm day-1 K-1 (1e6 km2)-1 day-1"
    total = js.integral(maps["sensitivity_to_sea_surface_temperature"])
    np.testing.assert_allclose(js.integral(each).sum(), total, rtol=1e-10)


def test_maps_of_the_initial_state_are_per_mass(whole, small_model):
    field = js.to_map(small_model, whole[0])["sensitivity_to_air_temperature"]
    assert field.attrs["units"] == "mm day-1 K-1 (1e15 kg)-1"
    # The integral over mass is the response to 1 K everywhere: the sum of all derivatives.
    total = 86400 * np.sum(whole[0].gradient["state.air_temperature"])
    np.testing.assert_allclose(js.integral(field), total, rtol=1e-9)


def test_scaled_derivatives_are_those_over_the_range(whole, small_inputs):
    only = js.sensitivity(
        js.model_experiment(jcm.build_model("T21L8"), days=1 / 36), TARGETS[0], small_inputs,
        wrt=[TIME])  # fmt: skip
    low, high = jcm.descriptions(small_inputs.parameters, "parameters.")[TIME].bounds
    assert js.scaled(only, small_inputs)[TIME] == only.gradient[TIME] * (high - low)
    with pytest.raises(ValueError, match="is no parameter"):
        js.scaled(whole[0], small_inputs)


# ---- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "bytes_"), [
    ("2GiB", 2 * 2**30), ("500 MB", 500_000_000), ("1.5GB", 1_500_000_000), (1024, 1024)])
def test_limits_of_memory_are_read(text, bytes_):
    assert parse_memory(text) == bytes_


@pytest.mark.parametrize("text", ["2 gigs", "", "-1GB", "0GiB", 0, -5])
def test_a_limit_without_meaning_is_refused(text):
    with pytest.raises(ValueError, match="limit of memory such as '2GiB'"):
        parse_memory(text)


def test_a_small_limit_is_refused_with_what_is_needed(run, small_inputs):
    with pytest.raises(ValueError, match=r"is too small: at least \d+ MiB are needed"):
        js.sensitivity(run, TARGETS[0], small_inputs, wrt=[SST], memory="100MiB")


def test_more_memory_keeps_more_states(run, small_inputs):
    from jcm_sensitivity import memory

    used, size = memory._in_use(), state_bytes(small_inputs)
    few = states_within(run, small_inputs, int(used + 45 * size))
    many = states_within(run, small_inputs, int(used + 60 * size))
    assert 8 <= few < many < states_within(run, small_inputs, "1000GiB") == 38


def test_the_gradient_is_the_same_within_any_memory(run, small_inputs):
    first = js.model_experiment(run.model, days=10 / 36, observe=["precipitation_flux"])

    def gradient(states):
        reverse = in_reverse(first, states)
        return jax.jit(jax.grad(lambda x: jnp.sum(
            reverse(jcm.insert(small_inputs, {SST: x}))["precipitation_flux"] ** 2)))(
                small_inputs.forcing.sea_surface_temperature)

    expected, found = gradient(None), gradient(3)
    assert jnp.max(jnp.abs(expected - found)) < 1e-12 * jnp.max(jnp.abs(expected))


def test_days_and_memory_need_a_run_of_the_model(small_inputs):
    with pytest.raises(ValueError, match="need a run of the model"):
        js.sensitivity(
            lambda inputs: {"x": inputs.forcing.sea_surface_temperature},
            lambda fields: jnp.mean(fields["x"]), small_inputs, wrt=[SST], by_day=True)


def test_the_initial_state_alone_has_no_derivative_by_day(run, small_inputs):
    with pytest.raises(ValueError, match="the initial state acts on the first day only"):
        js.sensitivity(
            run, TARGETS[0], small_inputs, wrt=["state.air_temperature"], by_day=True)
