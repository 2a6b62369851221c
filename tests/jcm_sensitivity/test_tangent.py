"""Forward mode, Jacobians and second derivatives against finite differences and each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import SST, cheap_inputs, mirror

import jcm
from jcm.simulate import Inputs
from jcm_sensitivity import last, mean, model_experiment
from jcm_sensitivity.initial_state import STATE_UNITS
from jcm_sensitivity.jacobian import cheaper_mode, jacobian
from jcm_sensitivity.tangent import hessian_vector_product, response

MODEL = jcm.build_model("T21L8")
INPUTS = cheap_inputs(MODEL)
RELAXATION = "parameters.convection.relaxation_time"
STEP = 1 / 36


class Numbers(eqx.Module):
    """Parameters of a small function that stands for a run."""

    gain: jax.Array
    offset: jax.Array
    field: jax.Array
    count: jax.Array


NUMBERS = Numbers(jnp.array(0.7), jnp.array(-1.2), jnp.linspace(-1.0, 1.0, 6), jnp.array(3))
POINT = Inputs(NUMBERS, INPUTS.forcing, INPUTS.state)
GAIN, OFFSET, FIELD = "parameters.gain", "parameters.offset", "parameters.field"


def toy(inputs):
    a, b, x = inputs.parameters.gain, inputs.parameters.offset, inputs.parameters.field
    return {"wave": jnp.sin(a * x) + b * x**2, "energy": jnp.exp(a * b) * jnp.sum(x**2)[None]}


def total(fields):
    return jnp.sum(fields["wave"] ** 3) + fields["energy"][0]


def changed_by(inputs, changes, factor):
    values = jcm.extract(inputs, list(changes))
    return jcm.insert(inputs, {k: values[k] + factor * np.asarray(x) for k, x in changes.items()})


def test_response_is_the_central_difference():
    changes = {GAIN: 0.3, FIELD: np.arange(6.0)}
    found = response(toy, POINT, changes)
    high, low = (toy(changed_by(POINT, changes, sign * 1e-5)) for sign in (1, -1))
    for name, change in found.change.items():
        np.testing.assert_allclose(change, (high[name] - low[name]) / 2e-5, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.fields["wave"], toy(POINT)["wave"], rtol=1e-15)


def response_and_slopes(model, inputs, changes):
    """The response of one step, and central differences of the same, over the largest change."""
    run = model_experiment(model, days=STEP, average=False, observe=[
        "air_temperature", "eastward_wind", "northward_wind", "surface_air_pressure"])
    found = response(run, inputs, changes)
    program, size = eqx.filter_jit(run), 1e-4
    high, low = (program(changed_inputs(model, inputs, {
        k: sign * size * x for k, x in found.input_change.items()})) for sign in (1, -1))
    for name, change in found.change.items():
        scale = float(jnp.abs(change).max())
        assert scale > 0
        yield change / scale, (high[name] - low[name]) / (2 * size * scale)
    assert found.units["air_temperature"] == "K"
    assert found.input_units["state.surface_air_pressure"] == "Pa"
    assert found.every == STEP and found.average is False


def change_of_the_state(model):
    rows = np.exp(-((model.grid.latitude / 20) ** 2))
    level = np.linspace(1, 2, 8)[:, None, None]
    amplitude = {"state.specific_humidity": 1e-4, "state.surface_air_pressure": 50.0}
    return {name: amplitude.get(name, 1.0) * (1.0 if "pressure" in name else level) * rows
            for name in STATE_UNITS}, rows  # fmt: skip


def test_response_of_the_dynamics_to_the_initial_state_is_the_central_difference():
    model = jcm.build_model("T21L8", physics="held_suarez")
    inputs = jcm.default_inputs(model)
    for change, slope in response_and_slopes(model, inputs, change_of_the_state(model)[0]):
        np.testing.assert_allclose(change, slope, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_response_of_the_whole_model_to_everything_is_the_central_difference():
    model = jcm.build_model("T21L8", smooth=True)
    inputs = jcm.default_inputs(model)
    changes, rows = change_of_the_state(model)
    changes |= {SST: rows, RELAXATION: 600.0}
    for change, slope in response_and_slopes(model, inputs, changes):
        np.testing.assert_allclose(change, slope, rtol=0, atol=2e-6)


def changed_inputs(model, inputs, changes):
    from jcm_sensitivity.initial_state import add_increments

    leaves = {k: x for k, x in changes.items() if k not in STATE_UNITS}
    values = jcm.extract(inputs, list(leaves))
    inputs = jcm.insert(inputs, {k: values[k] + x for k, x in leaves.items()})
    return add_increments(model, inputs, {k: changes[k] for k in STATE_UNITS})


def test_a_mask_changes_all_months_and_a_number_everything():
    mask = np.zeros(MODEL.grid.shape)
    mask[3, 4] = 2.0
    found = response(mirror(MODEL), INPUTS, {SST: mask})
    assert found.input_change[SST].shape == (12, *MODEL.grid.shape)
    np.testing.assert_allclose(found.change["surface_temperature"][0], mask)
    everywhere = response(mirror(MODEL), INPUTS, {SST: 1})
    np.testing.assert_allclose(everywhere.change["surface_temperature"], 1.0)


def test_other_numbers_compile_nothing_again():
    traces = []

    def counting(inputs):
        traces.append(1)
        return toy(inputs)

    response(counting, POINT, {GAIN: 1.0})
    first = len(traces)
    moved = eqx.tree_at(lambda p: p.parameters.offset, POINT, jnp.array(0.4))
    assert float(response(counting, moved, {GAIN: 2.0}).change["energy"][0]) != 0
    assert len(traces) == first


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"parameters.count": 1}, TypeError, "depends on it in jumps"),
    ({"parameters.gian": 1.0}, KeyError, "gain"),
    ({GAIN: np.nan}, ValueError, "not finite"),
    ({FIELD: np.ones(5)}, ValueError, r"shape \(5,\); expected a number"),
    ({}, ValueError, "expected the change as a mapping"),
    ({"state.air_temperature": 1.0}, ValueError, "model_experiment"),
])  # fmt: skip
def test_bad_changes_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        response(toy, POINT, change)


def test_no_change_is_a_warning():
    with pytest.warns(UserWarning, match="is 0 everywhere"):
        response(toy, POINT, {GAIN: 0.0, FIELD: np.zeros(6)})


def test_response_that_is_not_finite_is_an_error():
    root = lambda inputs: {"root": jnp.sqrt(inputs.parameters.gain)[None]}  # noqa: E731
    zero = eqx.tree_at(lambda p: p.parameters.gain, POINT, jnp.array(0.0))
    with pytest.raises(FloatingPointError, match="response of root"):
        response(root, zero, {GAIN: 1.0})


TARGETS = {
    "energy": lambda f: f["energy"][0],
    "wave": lambda f: jnp.sum(f["wave"]),
    "product": lambda f: f["wave"][0] * f["energy"][0],
}


def test_jacobian_is_the_analytic_one():
    table = jacobian(toy, TARGETS, POINT, wrt=[GAIN, OFFSET])
    a, b, x = 0.7, -1.2, np.linspace(-1.0, 1.0, 6)
    energy = np.exp(a * b) * np.sum(x**2)
    np.testing.assert_allclose(table.sel(target="energy"), [b * energy, a * energy], rtol=1e-12)
    wave = [np.sum(x * np.cos(a * x)), np.sum(x**2)]
    # The first is a sum of six numbers up to 0.8 that cancel.
    np.testing.assert_allclose(table.sel(target="wave"), wave, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(table["value"].sel(target="energy"), energy, rtol=1e-12)


def test_forward_and_reverse_jacobians_agree_in_batches_of_any_size():
    forward, reverse = (jacobian(toy, TARGETS, POINT, wrt=[GAIN, OFFSET], mode=mode, batch=n)
                        for mode, n in (("forward", 1), ("reverse", 2)))  # fmt: skip
    np.testing.assert_allclose(forward, reverse, rtol=1e-13)
    assert (forward.attrs["mode"], reverse.attrs["mode"]) == ("forward", "reverse")


def test_the_mode_with_fewer_sweeps_is_taken():
    assert cheaper_mode(outputs=1, inputs=2) == "forward"
    assert cheaper_mode(outputs=1, inputs=3) == "reverse"
    assert cheaper_mode(outputs=20, inputs=50) == "forward"


def test_jacobian_has_units_and_is_scaled_with_bounds():
    class Run(type(mirror(MODEL))):
        def __call__(self, inputs):
            rain = super().__call__(inputs)["precipitation_flux"]
            return {"precipitation_flux": rain * inputs.parameters.convection.relaxation_time}

    run = Run(MODEL, 5.0, 1.0, True, None, "step")
    rain = mean("precipitation_flux", days=last(1))
    plain = jacobian(run, [rain], INPUTS, wrt=[RELAXATION])
    assert plain["units"].item() == "kg m-2 s-2"  # kg m-2 s-1 per s
    assert plain["target"].item() == rain.description
    low, high = jcm.descriptions(INPUTS.parameters, "parameters.")[RELAXATION].bounds
    scaled = jacobian(run, [rain], INPUTS, wrt=[RELAXATION], scaled="bounds")
    np.testing.assert_allclose(scaled, plain * (high - low))
    assert scaled["units"].item() == "kg m-2 s-1"
    given = jacobian(run, [rain], INPUTS, wrt=[RELAXATION], scaled={RELAXATION: 10.0})
    np.testing.assert_allclose(given, 10 * plain)


def test_bad_jacobians_are_refused():
    with pytest.raises(ValueError, match=r"field has shape \(6,\)"):
        jacobian(toy, TARGETS, POINT, wrt=[FIELD])
    with pytest.raises(ValueError, match="batch at least 1"):
        jacobian(toy, TARGETS, POINT, wrt=[GAIN], batch=0)
    with pytest.raises(ValueError, match="there are no targets"):
        jacobian(toy, [], POINT, wrt=[GAIN])
    with pytest.raises(ValueError, match="gain has no bounds"):
        jacobian(toy, TARGETS, POINT, wrt=[GAIN], scaled="bounds")


def test_hessian_vector_product_is_the_central_difference_of_the_gradient():
    direction = {GAIN: 0.5, FIELD: np.arange(6.0) - 2}
    found = hessian_vector_product(
        toy, total, POINT, wrt=[GAIN, OFFSET, FIELD], direction=direction)
    names = [GAIN, OFFSET, FIELD]
    gradient = jax.grad(lambda v: total(toy(jcm.insert(POINT, v))))
    high, low = (gradient(jcm.extract(changed_by(POINT, direction, sign * 1e-5), names))
                 for sign in (1, -1))  # fmt: skip
    for name in names:
        slope = (high[name] - low[name]) / 2e-5
        np.testing.assert_allclose(found.product[name], slope, rtol=1e-8, atol=1e-8)


def test_hessian_is_symmetric():
    names = [GAIN, OFFSET, FIELD]
    rng = np.random.default_rng(0)
    one, two = ({GAIN: rng.normal(), OFFSET: rng.normal(), FIELD: rng.normal(size=6)}
                for _ in range(2))  # fmt: skip
    across = []
    for direction, other in ((one, two), (two, one)):
        product = hessian_vector_product(toy, total, POINT, wrt=names, direction=direction).product
        across.append(sum(float(np.sum(product[k] * other[k])) for k in names))
    np.testing.assert_allclose(across[0], across[1], rtol=1e-12)


def test_direction_of_an_unknown_input_is_refused():
    with pytest.raises(ValueError, match="the direction changes inputs of wrt"):
        hessian_vector_product(toy, total, POINT, wrt=[GAIN], direction={OFFSET: 1.0})
