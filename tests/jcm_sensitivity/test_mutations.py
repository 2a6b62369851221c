"""Faults planted on purpose in every input of every scheme are found and classified.

By default one fault in every input, the kinds in turn; all faults in all inputs are slow.
`python tests/jcm_sensitivity/mutations.py` prints the table.
"""

import functools
from collections import Counter

import column_schemes
import jax
import jax.numpy as jnp
import mutations
import numpy as np
import pytest

import jcm
from jcm_sensitivity.check import check_gradient, compile_check, examine
from jcm_sensitivity.initial_state import STATE_UNITS, add_increments, zero_increments

NAMES = [scheme.name for scheme in column_schemes.schemes()]
#: The scheme that is compiled longest is slow.
MOST = [pytest.param(x, marks=[pytest.mark.slow] if x == "surface fluxes" else []) for x in NAMES]
KINDS = tuple(mutations.FOUND)
#: Verdicts that say nothing against a gradient.
HARMLESS = {"pass", "kink", "jump", "dead", "noise floor"}


@functools.cache
def laboratory(name):
    return mutations.laboratory(column_schemes.scheme(name))


@functools.cache
def control(name, variable):
    return laboratory(name).check(variable)


def alive(name):
    """Inputs on which the result of a scheme depends smoothly at these columns."""
    return [x for x in laboratory(name).scheme.inputs if control(name, x).verdict != "dead"]


def survivors(name, kinds_of):
    """Faults that are not found, with the verdict they got; `kinds_of` chooses faults."""
    found = {}
    for number, variable in enumerate(alive(name)):
        for kind in kinds_of(number):
            check = laboratory(name).check(variable, kind)
            if check.verdict != mutations.FOUND[kind] or not mutations.names_fault(check, kind):
                found[variable, kind] = f"{check.verdict}: {check.explanation}"
    return found


@pytest.mark.parametrize("name", MOST)
def test_no_gradient_of_a_scheme_without_faults_is_wrong(name):
    verdicts = {x: control(name, x).verdict for x in laboratory(name).scheme.inputs}
    assert {x: v for x, v in verdicts.items() if v not in HARMLESS} == {}


def test_nearly_all_gradients_of_schemes_without_faults_pass_or_are_dead():
    count = Counter(
        control(name, x).verdict for name in NAMES if name != "surface fluxes"
        for x in laboratory(name).scheme.inputs)
    assert count["pass"] > 0.6 * count.total()
    assert count["pass"] + count["dead"] >= 0.98 * count.total()


@pytest.mark.parametrize("name", MOST)
def test_a_fault_in_each_input_is_found(name):
    first = NAMES.index(name)
    assert survivors(name, lambda k: [KINDS[(first + k) % len(KINDS)]]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_fault_in_each_input_is_found(name):
    assert survivors(name, lambda _: KINDS) == {}


def survivors_of_uses(name):
    lab, users = mutations.laboratory_of_uses(column_schemes.scheme(name))
    checks = {
        (x, k): check for x in dict.fromkeys(users) if control(name, x).verdict != "dead"
        for k, check in lab.check_uses(x, users).items()}
    assert any(checks.values()), "no fault has an effect"
    return {
        key: f"{check.verdict}: {check.explanation}" for key, check in checks.items()
        if check is not None and check.verdict != "wrong"}


def test_a_gradient_stopped_in_one_use_of_an_input_is_found():
    assert survivors_of_uses("albedo") == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [x for x in NAMES if x != "albedo"])
def test_a_gradient_stopped_in_one_use_of_any_input_is_found(name):
    assert survivors_of_uses(name) == {}


def test_the_scheme_with_faults_of_no_strength_is_the_scheme():
    lab = laboratory("condensation")
    x = jnp.concatenate([jnp.ravel(a) for a in lab.scheme.inputs.values()])
    np.testing.assert_array_equal(mutations.faulty(x, mutations.no_fault(x)), x)


def test_columns_hold_both_sides_of_the_main_switches():
    c = column_schemes.columns()
    for some in (c["cnv_itop"] < 9, c["precls"] > 0, c["cloudc"] > 0, c["fmask"] > 0):
        assert 0.04 < np.mean(some) < 0.96


def test_a_stop_gradient_of_jax_in_a_scheme_is_found():
    scheme = column_schemes.scheme("relative humidity")

    def stopped(x):
        return scheme.function({
            "humidity": jax.lax.stop_gradient(x), "saturation_humidity": c["qsat"]})

    c = column_schemes.columns()
    assert check_gradient(stopped, c["q"], curvature=False).verdict == "wrong"


def lorenz_96(x, steps):
    """Runge-Kutta steps of 0.05 with F = 8."""

    def rate(x):
        return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8

    def step(x, _):
        a = rate(x)
        b = rate(x + 0.025 * a)
        c = rate(x + 0.025 * b)
        d = rate(x + 0.05 * c)
        return x + 0.05 / 6 * (a + 2 * b + 2 * c + d), None

    return jax.lax.scan(step, x, None, length=steps)[0][0]


START = lorenz_96(8 + jnp.sin(jnp.arange(40.0) ** 2), 200) + jnp.cos(jnp.arange(40.0))


@pytest.mark.parametrize("steps, verdict", [(20, "pass"), (1000, "chaotic")])
def test_lorenz_96_is_chaotic_beyond_its_horizon(steps, verdict):
    check = check_gradient(lambda x: lorenz_96(x, steps), START, curvature=False)
    assert check.verdict == verdict


@pytest.mark.parametrize("steps, verdict", [(5, "pass"), (200, "chaotic")])
def test_the_logistic_map_is_chaotic_beyond_its_horizon(steps, verdict):
    def iterated(x):
        return jax.lax.fori_loop(0, steps, lambda _, y: 3.9 * y * (1 - y), x)

    assert check_gradient(iterated, jnp.array(0.3), curvature=False).verdict == verdict


#: Inputs of the whole model: parameters, forcing, and the state on the grid.
MODEL_INPUTS = (
    "parameters.convection.relaxation_time", "parameters.longwave.co2_absorptivity",
    "parameters.surface_fluxes.sea_exchange_coefficient", "parameters.diffusion.temperature_time",
    "state.air_temperature", "state.eastward_wind", "state.specific_humidity",
    "state.surface_air_pressure")  # fmt: skip


@pytest.fixture(scope="module")
def model_steps(small_model, small_inputs):
    """Three steps of the model with a scaled derivative in front of some inputs, and the point."""
    state = [name for name in MODEL_INPUTS if name.startswith("state")]
    values = jcm.extract(small_inputs, [x for x in MODEL_INPUTS if x not in state])
    values |= zero_increments(small_model, small_inputs, state)
    point = {"x": values, "factor": {name: jnp.array(1.0) for name in values}}

    def function(point):
        x = {name: mutations.scaled_derivative(v, point["factor"][name])
             for name, v in point["x"].items()}
        changed = jcm.insert(small_inputs, {k: v for k, v in x.items() if k not in state})
        changed = add_increments(small_model, changed, {name: x[name] for name in state})
        # The fields of a step are those it starts from, so it takes more than one.
        _, fields = jcm.simulate(
            small_model, changed, days=3 / 36, every=3 / 36, average=True,
            observe=("air_temperature", "specific_humidity", "eastward_wind"))
        return fields

    return compile_check(function, point, curvature=False), point


@pytest.mark.slow
@pytest.mark.parametrize("factor, verdicts", [
    (1.0, {"pass", "kink", "jump"}), (0.0, {"wrong"}), (0.9, {"wrong"})])
@pytest.mark.parametrize("name", MODEL_INPUTS)
def test_a_fault_in_an_input_of_the_model_is_found_after_three_steps(
    model_steps, name, factor, verdicts
):
    programs, point = model_steps
    x = point["x"][name]
    sizes = {"K": 1.0, "m s-1": 1.0, "kg kg-1": 1e-5, "Pa": 100.0}
    size = sizes[STATE_UNITS[name]] if name in STATE_UNITS else jnp.abs(x)
    direction = jax.tree.map(jnp.zeros_like, point)
    direction["x"][name] = size * jax.random.normal(jax.random.key(1), x.shape)
    changed = {**point, "factor": {**point["factor"], name: jnp.array(factor)}}
    check = examine(programs, changed, direction, steps=(1e-2, 1e-3, 1e-4, 1e-5, 1e-6))
    assert check.verdict in verdicts, check.report()
