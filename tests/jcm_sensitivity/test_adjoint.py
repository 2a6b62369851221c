"""Gradients of runs against finite differences, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import SST, cheap_inputs, mirror

import jcm
from jcm_sensitivity import box, compile_sensitivity, last, mean, model_experiment, sensitivity

RELAXATION = "parameters.convection.relaxation_time"
MODEL = jcm.build_model("T21L8")
INPUTS = cheap_inputs(MODEL)
RAIN = mean("precipitation_flux", days=last(1))


@pytest.fixture(scope="module")
def run():
    """Temperature of the lowest layer over the tropics after 6 steps, and its gradient."""
    inputs = jcm.default_inputs(MODEL, state="spun-up")
    steps = 6 / MODEL.steps_per_day
    target = mean("air_temperature", region=box(-20, 20, 0, 360), level=-1)
    experiment = model_experiment(MODEL, days=steps)
    return compile_sensitivity(experiment, target, inputs, wrt=[SST, RELAXATION]), inputs


def central_difference(run, name, direction, step):
    gradient, inputs = run
    value = jcm.extract(inputs, [name])[name]
    high, low = (gradient(jcm.insert(inputs, {name: value + sign * step * direction})).value
                 for sign in (1, -1))  # fmt: skip
    return float(high - low) / (2 * step)


def test_gradient_with_respect_to_sea_surface_temperature_is_that_of_finite_differences(run):
    gradient, inputs = run
    result = gradient(inputs)
    rows = np.exp(-((MODEL.grid.latitude / 15) ** 2))
    direction = np.broadcast_to(rows, (12, *MODEL.grid.shape))
    slope = central_difference(run, SST, direction, 1e-4)
    assert slope > 1e-4  # K K-1: warm water warms the air above it
    np.testing.assert_allclose(float(jnp.sum(result.gradient[SST] * direction)), slope, rtol=1e-6)


def test_gradient_with_respect_to_a_parameter_is_that_of_finite_differences(run):
    gradient, inputs = run
    step = 1e-4 * inputs.parameters.convection.relaxation_time
    slope = central_difference(run, RELAXATION, 1.0, float(step))
    assert slope < 0  # slower convection heats less
    np.testing.assert_allclose(float(gradient(inputs).gradient[RELAXATION]), slope, rtol=1e-6)


def test_gradient_has_units_and_precision_of_the_input(run):
    gradient, inputs = run
    result = gradient(inputs)
    assert result.units == {SST: "1", RELAXATION: "K s-1"}
    assert result.gradient[SST].shape == (12, *MODEL.grid.shape)
    assert result.gradient[SST].dtype == inputs.forcing.sea_surface_temperature.dtype


def test_unstable_run_is_an_error(run):
    gradient, inputs = run
    broken = jnp.full_like(inputs.state.current.temperature, jnp.nan)
    with pytest.raises(FloatingPointError, match="the run is unstable"):
        gradient(jcm.insert(inputs, {"state.current.temperature": broken}))


def test_numbers_of_the_inputs_are_arguments_of_one_program():
    traces = []

    @eqx.filter_jit
    def count(x):
        traces.append(1)
        return x

    experiment = lambda inputs: {"precipitation_flux": count(  # noqa: E731
        inputs.forcing.sea_surface_temperature**2)}
    target = mean("precipitation_flux").bind(MODEL)
    first = sensitivity(experiment, target, INPUTS, wrt=[SST])
    warmer = jcm.insert(INPUTS, {SST: INPUTS.forcing.sea_surface_temperature + 1})
    second = sensitivity(experiment, target, warmer, wrt=[SST])
    assert len(traces) == 1
    assert second.value > first.value
    ratio = second.gradient[SST] / first.gradient[SST]
    expected = warmer.forcing.sea_surface_temperature / INPUTS.forcing.sea_surface_temperature
    np.testing.assert_allclose(ratio, expected, rtol=1e-12)


def test_compiled_and_plain_sensitivity_agree():
    experiment = mirror(MODEL)
    compiled = compile_sensitivity(experiment, RAIN, INPUTS, wrt=[SST])
    assert compiled.compile_seconds > 0
    plain = sensitivity(experiment, RAIN, INPUTS, wrt=[SST])
    np.testing.assert_array_equal(compiled(INPUTS).gradient[SST], plain.gradient[SST])


def test_experiment_observes_only_what_the_target_needs():
    seen = []

    class Watched(type(mirror(MODEL))):
        def __call__(self, inputs):
            seen.append(self.observe)
            return super().__call__(inputs)

    sensitivity(Watched(MODEL, 5.0, 1.0, True, None, "step"), RAIN, INPUTS, wrt=[SST])
    assert seen[-1] == ("precipitation_flux",)


def test_single_precision_stays_single():
    inputs = cheap_inputs(MODEL, np.float32)
    result = sensitivity(mirror(MODEL), RAIN, inputs, wrt=[SST])
    assert result.gradient[SST].dtype == jnp.float32


def test_unknown_input_suggests_the_nearest():
    with pytest.raises(KeyError, match=r"did you mean forcing\.sea_surface_temperature"):
        sensitivity(mirror(MODEL), RAIN, INPUTS, wrt=["forcing.sea_surface_temperatur"])


def test_integer_input_is_refused():
    with pytest.raises(TypeError, match=r"forcing.start_day.*no derivative"):
        sensitivity(mirror(MODEL), RAIN, INPUTS, wrt=["forcing.start_day"])


def test_group_of_fields_is_refused():
    with pytest.raises(ValueError, match="group"):
        sensitivity(mirror(MODEL), RAIN, INPUTS, wrt=["forcing"])


@pytest.mark.filterwarnings("ignore:.*does not depend on:UserWarning")
def test_group_of_parameters_stands_for_its_numbers():
    result = sensitivity(mirror(MODEL), RAIN, INPUTS, wrt=["parameters.convection", SST])
    assert "parameters.convection.relaxation_time" in result.gradient
    assert sum(name.startswith("parameters.") for name in result.gradient) == 9


@pytest.mark.parametrize("wrt", [[], SST])
def test_names_must_be_a_list(wrt):
    with pytest.raises(ValueError, match="wrt is a list"):
        sensitivity(mirror(MODEL), RAIN, INPUTS, wrt=wrt)


def test_target_that_knows_no_grid_is_refused():
    with pytest.raises(ValueError, match="does not know the grid"):
        sensitivity(lambda inputs: {}, RAIN, INPUTS, wrt=[SST])


def test_input_without_influence_is_reported():
    with pytest.warns(UserWarning, match=f"does not depend on {RELAXATION}"):
        sensitivity(mirror(MODEL), RAIN, INPUTS, wrt=[RELAXATION])


def test_gradient_that_is_not_finite_is_an_error():
    # sqrt at 0: a finite value with an infinite slope.
    experiment = lambda inputs: {"precipitation_flux": jnp.sqrt(  # noqa: E731
        0 * inputs.forcing.sea_surface_temperature)}
    target = mean("precipitation_flux").bind(MODEL)
    with pytest.raises(FloatingPointError, match="are not finite"):
        sensitivity(experiment, target, INPUTS, wrt=[SST])


def test_widths_of_switches_that_the_model_does_not_compile_are_refused():
    experiment = model_experiment(MODEL, days=1)
    wide = jax.tree.map(lambda x: x + 1, INPUTS.parameters.smooth)
    inputs = eqx.tree_at(lambda i: i.parameters.smooth, INPUTS, wide)
    with pytest.raises(ValueError, match="smooth=True"):
        sensitivity(experiment, RAIN, inputs, wrt=[SST])
