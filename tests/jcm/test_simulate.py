import importlib
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm.calendar import parse_date
from jcm.simulate import compile_window, state_fields
from jcm.state import Columns

# The package gives the name of this module to its function.
SIMULATE = importlib.import_module("jcm.simulate")
STEP = 1 / 36
OBSERVED = ("air_temperature", "precipitation_flux", "toa_outgoing_longwave_flux")


class Counted:
    """A jitted run that counts how often it is traced, that is, compiled."""

    def __init__(self, model):
        self.traces = 0

        def run(inputs):
            self.traces += 1
            state, fields = jcm.simulate(model, inputs, days=STEP, observe=OBSERVED)
            return state, sum(jnp.mean(jnp.square(x)) for x in fields.values())

        self._run = eqx.filter_jit(run)

    def __call__(self, inputs):
        state, value = self._run(inputs)
        return state, float(value)


@pytest.fixture(scope="module")
def counted(small_model):
    return Counted(small_model)


def test_many_parameter_sets_states_and_dates_need_one_compilation(counted, small_inputs):
    rng = np.random.default_rng(0)
    described = jcm.descriptions(small_inputs.parameters, "parameters.")
    names = [n for n in described if not n.startswith("parameters.smooth.")]
    values = set()
    for _ in range(20):
        bounds = {n: described[n].bounds for n in names}
        draw = {n: rng.uniform(0.6 * low + 0.4 * high, 0.4 * low + 0.6 * high)
                for n, (low, high) in bounds.items()}  # fmt: skip
        values.add(counted(jcm.insert(small_inputs, draw))[1])
    assert len(values) == 20, "some parameter sets gave the same result"
    state = small_inputs.state
    for _ in range(3):
        inputs = eqx.tree_at(lambda i: i.state, small_inputs, state)
        state, value = counted(inputs)
        values.add(value)
    for month in range(1, 13):
        date = {"forcing.start_day": parse_date(f"1995-{month:02d}-15")}
        values.add(counted(jcm.insert(small_inputs, date))[1])
    assert len(values) >= 34
    assert counted.traces == 1


def test_two_runs_of_half_the_length_are_one_run(counted, small_model, small_inputs):
    whole, _ = jcm.simulate(small_model, small_inputs, days=6 * STEP, observe=())
    state = small_inputs.state
    for _ in range(2):
        inputs = eqx.tree_at(lambda i: i.state, small_inputs, state)
        state, _ = jcm.simulate(small_model, inputs, days=3 * STEP, observe=())
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-25)


def test_every_length_and_window_uses_one_program(monkeypatch, small_model, small_inputs):
    traces, pieces = [], SIMULATE._pieces
    monkeypatch.setattr(
        SIMULATE, "_pieces", lambda *given: traces.append(given) or pieces(*given))
    for steps, every in (1, 1), (2, 1), (3, 3), (4, 2), (5, 5):
        # No other test observes this variable alone, so its program is not there yet.
        _, fields = jcm.simulate(
            small_model, small_inputs, days=steps * STEP, every=every * STEP,
            observe=("near_surface_eastward_wind",))  # fmt: skip
        assert len(fields["near_surface_eastward_wind"]) == steps // every
    assert len(traces) == 1


@pytest.mark.parametrize("average", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_inside_a_transformation_is_the_run_outside(average, small_model, small_inputs):
    def run(inputs):
        return jcm.simulate(
            small_model, inputs, days=4 * STEP, every=2 * STEP, average=average,
            observe=OBSERVED)  # fmt: skip

    for a, b in zip(
        jax.tree.leaves(run(small_inputs)),
        jax.tree.leaves(eqx.filter_jit(run)(small_inputs)), strict=True,
    ):  # fmt: skip
        # Shapes and types too: the outside has a host loop, the inside a scan.
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


#: Physics of which the gradient is compiled in seconds, and the full one.
GRADIENTS = {
    "held_suarez": ("eastward_wind", "parameters.relaxation.surface_time",
                    "forcing.surface_geopotential"),
    "speedy": ("precipitation_flux", "parameters.convection.relaxation_time",
               "forcing.sea_surface_temperature"),
}  # fmt: skip


@pytest.mark.parametrize("physics", [
    "held_suarez", pytest.param("speedy", marks=pytest.mark.slow)])
@pytest.mark.parametrize("average", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_gradients_are_the_same_however_many_states_are_kept(average, physics):
    variable, *names = GRADIENTS[physics]
    model = jcm.build_model("T21L8", physics=physics)
    inputs = jcm.default_inputs(model, state="rest" if physics == "held_suarez" else None)

    def score(values, checkpoint):
        state, fields = jcm.simulate(
            model, jcm.insert(inputs, values), days=4 / 36, every=2 / 36,
            average=average, observe=[variable, "air_temperature"],
            checkpoint=checkpoint)  # fmt: skip
        later = jnp.sum(fields[variable][1] - fields[variable][0])
        return later + jnp.mean(fields["air_temperature"] ** 2) + jnp.sum(
            state.current.vorticity**2)

    values = jcm.extract(inputs, names)
    expected = jax.jit(jax.grad(partial(score, checkpoint="step")))(values)
    found = jax.jit(jax.grad(partial(score, checkpoint=2)))(values)
    for name in names:
        size = jnp.max(jnp.abs(expected[name]))
        assert jnp.max(jnp.abs(found[name] - expected[name])) < 1e-12 * size


def test_a_compiled_window_is_a_run_of_one_output(small_model, small_inputs):
    program = compile_window(small_model, small_inputs, observe=OBSERVED)
    for steps in (1, 3):
        state, fields = program(small_model, small_inputs, steps)
        expected = jcm.simulate(small_model, small_inputs, days=steps * STEP, observe=OBSERVED)
        assert int(state.step) == int(small_inputs.state.step) + steps
        for name in OBSERVED:
            np.testing.assert_array_equal(fields[name], expected[1][name][0])


def test_humidity_below_zero_counts_as_zero_in_output(small_model):
    humidity = jnp.array([[-1e-4, 0.0, 2e-3]])
    zero = jnp.zeros_like(humidity)
    columns = Columns(zero, zero, zero, humidity, zero, zero[0])
    output = state_fields(small_model, columns)["specific_humidity"]
    np.testing.assert_array_equal(output, [[0, 0, 2e-3]])


def test_ripples_of_humidity_are_in_the_state_but_not_in_output(small_model, small_inputs):
    state, fields = jcm.simulate(
        small_model, small_inputs, days=STEP, observe=("specific_humidity",))
    raw = small_model.transform.synthesis(state.previous.specific_humidity)
    assert float(raw.min()) < 0
    assert float(fields["specific_humidity"].min()) == 0


def test_the_mean_of_output_means_is_the_mean_of_the_run(small_model, small_inputs):
    options = {"days": 6 * STEP, "observe": ("air_temperature",)}
    _, whole = jcm.simulate(small_model, small_inputs, **options)
    _, parts = jcm.simulate(small_model, small_inputs, every=2 * STEP, **options)
    np.testing.assert_allclose(
        np.mean(parts["air_temperature"], axis=0), whole["air_temperature"][0], rtol=1e-13)


def test_fields_without_averaging_are_those_of_the_last_state(small_model, small_inputs):
    state, fields = jcm.simulate(small_model, small_inputs, days=2 * STEP, average=False)
    ground = small_model.coupler.ground(
        small_inputs.forcing, small_model.transform, small_inputs.parameters,
        small_model.physics.widths(small_inputs.parameters))
    expected = state_fields(small_model, small_model.columns(state.previous, ground))
    for name, x in expected.items():
        np.testing.assert_allclose(fields[name][0], x, rtol=1e-12, atol=1e-12)


def test_the_global_mean_of_log_pressure_is_conserved(small_model, small_inputs):
    state, _ = jcm.simulate(small_model, small_inputs, days=3 * STEP, observe=())
    mean = lambda s: s.current.log_surface_pressure[0, 0, 0, 0]  # noqa: E731
    np.testing.assert_allclose(mean(state), mean(small_inputs.state), rtol=1e-13)


def test_float32_inputs_give_float32_results_in_float64_sessions(small_model):
    inputs = jcm.default_inputs(small_model, dtype=jnp.float32)
    shapes = jax.eval_shape(
        lambda i: jcm.simulate(small_model, i, days=STEP), eqx.filter(inputs, eqx.is_array))
    for leaf in jax.tree.leaves(shapes):
        assert leaf.dtype in (jnp.float32, jnp.int32), leaf


@pytest.mark.parametrize("days", [-1, 0, 1e-3, 1.01, float("nan")])
def test_lengths_that_are_no_whole_steps_are_refused(days, small_model, small_inputs):
    with pytest.raises(ValueError, match="positive multiple of the time step of 2400 s"):
        jcm.simulate(small_model, small_inputs, days=days)


def test_outputs_must_divide_the_run(small_model, small_inputs):
    with pytest.raises(ValueError, match="days must be a multiple of every"):
        jcm.simulate(small_model, small_inputs, days=1, every=0.75)


def test_an_unknown_variable_is_refused_with_the_known_ones(small_model, small_inputs):
    with pytest.raises(ValueError, match=r"unknown variable 'rain'; available: .*precipitation"):
        jcm.simulate(small_model, small_inputs, days=STEP, observe=("rain",))


def test_widths_in_a_model_of_exact_switches_are_refused(small_model, small_inputs):
    inputs = jcm.insert(small_inputs, {"parameters.smooth.humidity.floor": 1e-6})
    with pytest.raises(ValueError, match=r"build_model\(\.\.\., smooth=True\)"):
        jcm.simulate(small_model, inputs, days=STEP)


def test_sixteen_layers_heat_like_eight(small_model, small_inputs):
    # Physics sees averages over SPEEDY's layers: a column that is constant within them is the same.
    half = np.array(small_model.levels.half)
    split = np.sort(np.concatenate([half, (half[1:] + half[:-1]) / 2]))
    model = jcm.build_model("T21", half_levels=tuple(split))
    ground = small_model.coupler.ground(
        small_inputs.forcing, small_model.transform, small_inputs.parameters,
        small_model.physics.widths(small_inputs.parameters))
    state = small_inputs.state
    columns = small_model.columns(state.previous, ground)
    around = small_model.coupler.surroundings(state.surface, state.daily, ground, state.step)
    held = small_model.physics.nothing_held(columns.temperature)
    arguments = (around, held, jnp.asarray(True), small_inputs.parameters)
    heated = eqx.filter_jit(lambda physics, columns: physics.tendencies(columns, *arguments)[0])
    coarse = heated(small_model.physics, columns)
    twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0) if x.ndim == 3 else x, columns)
    fine = heated(model.physics, twice)
    for a, b in zip(jax.tree.leaves(coarse), jax.tree.leaves(fine), strict=True):
        np.testing.assert_allclose(np.repeat(a, 2, axis=0), b, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("options", [
    {"sea": "slab", "co2_trend": "on"},
    pytest.param({"stochastic_perturbation": "on"}, marks=pytest.mark.slow),
    pytest.param({"land": "climatology"}, marks=pytest.mark.slow),
    pytest.param({"co2_trend": "on"}, marks=pytest.mark.slow),
    pytest.param({"preset": "speedy_f90"}, marks=pytest.mark.slow)])
def test_every_option_changes_the_run_and_keeps_it_finite(options, small_model, small_inputs):
    model = jcm.build_model("T21L8", **options)
    _, reference = jcm.simulate(small_model, small_inputs, days=1, observe=OBSERVED)
    _, fields = jcm.simulate(model, jcm.default_inputs(model), days=1, observe=OBSERVED)
    assert all(np.all(np.isfinite(x)) for x in fields.values())
    assert any(np.any(fields[n] != reference[n]) for n in OBSERVED)


def test_an_aquaplanet_runs(small_model):
    forcing = jcm.aquaplanet_forcing(small_model.grid, gravity=9.81, start="2000-01-01")
    inputs = jcm.default_inputs(small_model, forcing=forcing, state="rest")
    _, fields = jcm.simulate(small_model, inputs, days=1, observe=OBSERVED)
    assert all(np.all(np.isfinite(x)) for x in fields.values())
    rain = np.asarray(fields["precipitation_flux"])[0]
    np.testing.assert_allclose(rain - rain[:1], 0, atol=1e-9 * rain.max())


def test_held_suarez_relaxes_to_its_equilibrium():
    model = jcm.build_model("T21L8", physics="held_suarez")
    forcing = jcm.uniform_forcing(model.grid, gravity=9.81, start="2000-01-01")
    inputs = jcm.default_inputs(model, forcing=forcing, state="rest")
    _, fields = jcm.simulate(model, inputs, days=2, every=1)
    away = np.abs(fields["air_temperature"] - fields["equilibrium_temperature"])[:, -1]
    assert np.mean(away[1]) < np.mean(away[0])
