"""Recorded and replayed branches: the same function at the point, smooth beside it."""

import inspect
import sysconfig

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm_sensitivity import decisions
from jcm_sensitivity.branches import UnknownLoopLength, census, decision_table, record, replay

POINT = jnp.array([0.21, -0.7, 1.34, 0.48])
ALONG = jnp.array([1.0, -2.0, 0.5, 3.0])
#: All of these make a decision of every kind flip within half a step of ALONG.
STEP = 0.5

FUNCTIONS = {
    "relu": jax.nn.relu,
    "softplus": lambda x: jax.nn.softplus(3 * x),
    "logaddexp": lambda x: jnp.logaddexp(x, x**2),
    "where": lambda x: jnp.where(x > 0.3, x**2, jnp.sin(x)),
    "clip": lambda x: jnp.clip(x**2, 0.1, 1.0),
    "clamp": lambda x: jax.lax.clamp(x.dtype.type(0.1), x**2, x.dtype.type(1.0)),
    "abs": jnp.abs,
    "sign": lambda x: jnp.sign(x) * x**2,
    "sort": jnp.sort,
    "argsort": lambda x: x[jnp.argsort(x)] * x,
    "max": lambda x: jnp.max(x) * x,
    "min": lambda x: jnp.min(x) * x,
    "largest of two axes": lambda x: jnp.max(x.reshape(2, 2, 1) * x, axis=(0, 2)),
    "argmax": lambda x: x[jnp.argmax(x)] * x,
    "round": lambda x: x * jnp.round(2 * x),
    "floor": lambda x: x * jnp.floor(2 * x),
    "ceil": lambda x: x * jnp.ceil(2 * x),
    "to integer": lambda x: jnp.arange(-9.0, 9.0)[(4 * x).astype(int)] * x,
    "remainder": lambda x: (x % 0.3) ** 2,
    "cummax": lambda x: jax.lax.cummax(x) * x,
    "cummin from behind": lambda x: jax.lax.cummin(x, reverse=True) * x,
    "top_k": lambda x: jax.lax.top_k(x, 2)[0] ** 2,
    "median": lambda x: jnp.median(x) * x,
    "softmax": jax.nn.softmax,
    "interp": lambda x: jnp.interp(x, jnp.array([-2.0, 0.0, 0.3, 1.0]), jnp.arange(4.0) ** 2),
    "is_finite": lambda x: jnp.where(jnp.isfinite(x), x**2, 0),
    "scan": lambda x: jax.lax.scan(
        lambda c, a: (jnp.maximum(c, a * x) * 0.9, jnp.minimum(c, 0.3)), x,
        jnp.arange(3, dtype=x.dtype)),
    "reversed scan": lambda x: jax.lax.scan(
        lambda c, a: (jnp.where(c > a, c, a * x), c), 2 * x, x, reverse=True),
    "fori_loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: jnp.maximum(y, i * x) * 0.8, x),
    "cond": lambda x: jax.lax.cond(
        x[0] > 0.3, lambda: jnp.where(x > 0.5, x, x**2), lambda: jnp.abs(x) * jnp.max(x)),
    "cond on an integer": lambda x: jax.lax.cond(
        jnp.argmax(x) == 2, lambda: jnp.maximum(x, 0.4), lambda: x**2),
    "checkpoint": jax.checkpoint(lambda x: jnp.maximum(x, 0.4) ** 2),
    "vmap of cond": jax.vmap(lambda x: jax.lax.cond(x > 0.3, jnp.sin, jnp.abs, x)),
    "scan in scan": lambda x: jax.lax.scan(
        lambda c, _: jax.lax.scan(lambda d, a: (jnp.abs(d - a), d > a), c, x[:2]), x, None, 2)[0],
}


def floats(tree):
    leaves = [jnp.ravel(y) for y in jax.tree.leaves(tree)]
    return jnp.concatenate([y for y in leaves if jnp.issubdtype(y.dtype, jnp.floating)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_replay_at_the_point_returns_the_outputs(name):
    function = FUNCTIONS[name]
    outputs, decisions = record(function)(POINT)
    expected = function(POINT)
    again = replay(function)(decisions, POINT)
    assert jax.tree.structure(again) == jax.tree.structure(expected)
    np.testing.assert_array_equal(floats(outputs), floats(expected))
    np.testing.assert_allclose(floats(again), floats(expected), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivative_is_the_difference_of_the_replayed_function_across_flips(name):
    function = FUNCTIONS[name]
    _, decisions = record(function)(POINT)
    frozen = jax.jit(lambda x: floats(replay(function)(decisions, x)))
    _, slope = jax.jvp(lambda x: floats(function(x)), (POINT,), (ALONG,))

    def difference(h):
        return (frozen(POINT + h * ALONG) - frozen(POINT - h * ALONG)) / (2 * h)

    # Extrapolated to order 6: the replayed functions are smooth, mostly polynomials.
    coarse, middle, fine = difference(0.08), difference(0.04), difference(0.02)
    better = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    np.testing.assert_allclose((16 * better[1] - better[0]) / 15, slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"softmax", "is_finite"}))
def test_a_large_step_flips_decisions(name):
    function = FUNCTIONS[name]
    (_, first), table = record(function)(POINT), decision_table(function)(POINT)
    others = [record(function)(POINT + h * ALONG)[1] for h in (-STEP, STEP)]
    assert any(census(first, other, table) for other in others)


def test_replay_far_away_stays_on_the_branch():
    _, decisions = record(FUNCTIONS["where"])(POINT)
    far = jnp.array([5.0, 5.0, -5.0, -5.0])
    expected = jnp.array([jnp.sin(5.0), jnp.sin(5.0), 25.0, 25.0])
    np.testing.assert_allclose(replay(FUNCTIONS["where"])(decisions, far), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_decisions_are_booleans_and_integers_and_replay_keeps_the_type(dtype):
    def everything(x):
        return [floats(function(x)) for function in FUNCTIONS.values()]

    outputs, decisions = jax.jit(record(everything))(POINT.astype(dtype))
    assert all(jnp.issubdtype(d.dtype, jnp.integer) or d.dtype == bool for d in decisions)
    again = jax.jit(replay(everything))(decisions, POINT.astype(dtype))
    expected = jax.eval_shape(everything, POINT.astype(dtype))
    assert [y.dtype for y in again] == [y.dtype for y in expected]
    np.testing.assert_allclose(
        floats(again), floats(outputs), rtol=20 * jnp.finfo(dtype).eps, atol=1e-6)


def test_recorded_and_replayed_functions_map_over_points():
    function = FUNCTIONS["scan"]
    points = jnp.stack([POINT, -POINT])
    outputs, decisions = jax.vmap(record(function))(points)
    again = jax.vmap(replay(function))(decisions, points)
    np.testing.assert_allclose(floats(again), floats(outputs))
    np.testing.assert_allclose(outputs[0][1], function(-POINT)[0])


def test_integers_are_decided_as_usual():
    def function(x, n):
        return jnp.where(jnp.arange(4) < n, x, 0) + jnp.maximum(n, 2)

    _, decisions = record(function)(POINT, 3)
    assert decisions == ()
    np.testing.assert_allclose(replay(function)((), POINT, 1), function(POINT, 1))


def test_decisions_about_constants_are_not_recorded():
    table = decision_table(lambda x: jnp.where(jnp.linspace(0, 1, 4) > 0.5, x, 0))(POINT)
    assert table == ()


def test_a_while_loop_with_decisions_is_refused():
    def function(x):
        return jax.lax.while_loop(lambda y: jnp.sum(y) < 9, lambda y: 2 * y, x)

    with pytest.raises(UnknownLoopLength, match=r"test_branches\.py.*lax\.scan"):
        record(function)(POINT)


def test_decisions_of_another_function_are_refused():
    with pytest.raises(ValueError, match="expected the 1 arrays of decisions"):
        replay(jnp.abs)((), POINT)


def test_table_names_function_expression_kind_and_loops():
    def scheme(x):
        return jax.lax.scan(lambda c, _: (jnp.maximum(c, 0.4), None), x, length=3)[0]

    (decision,) = decision_table(scheme)(POINT)
    assert decision.source.text == "jnp.maximum(c, 0.4)"
    assert decision.source.function.endswith("scheme.lambda")
    assert (decision.kind, decision.shape, decision.loops) == ("max", (4,), (3,))


def test_a_helper_of_jax_is_named_after_its_caller():
    (decision,) = decision_table(lambda x: jax.nn.relu(x - 7))(POINT)
    assert decision.source.text == "jax.nn.relu(x - 7)"


def test_census_counts_columns_by_layer_and_names_the_first_step():
    def run(x):
        def step(c, _):
            c = c + 1
            return c, jnp.where(c > 2.5, c, 0)
        return jax.lax.scan(step, x, length=4)[1]

    field = jnp.zeros((3, 4, 5))
    moved = field.at[1, 2, 3].set(1.0).at[1, 0, 0].set(0.6).at[2, 0, 0].set(-1.0)
    table = decision_table(run)(field)
    flips = census(record(run)(field)[1], record(run)(moved)[1], table)
    assert [(f.layer, f.count, f.step) for f in flips] == [(1, 2, (1,)), (2, 1, (2,))]
    assert "2 x" in str(flips[0]) and "c > 2.5" in str(flips[0])


@pytest.fixture(scope="module")
def model_step(small_model, small_inputs):
    """Three steps of the model as a function of two inputs, with what is needed to replay them."""
    names = ("parameters.convection.relaxation_time", "forcing.sea_surface_temperature")
    point = jcm.extract(small_inputs, names)

    def step(values):
        return jcm.simulate(
            small_model, jcm.insert(small_inputs, values), days=3 / 36,
            observe=("air_temperature", "convective_precipitation_flux"))[1]

    outputs, decisions = eqx.filter_jit(record(step))(point)
    return step, point, outputs, decisions, eqx.filter_jit(replay(step))


def test_replay_of_the_model_returns_its_outputs(model_step):
    step, point, outputs, decisions, frozen = model_step
    expected, again = step(point), frozen(decisions, point)
    for name, field in expected.items():
        scale = float(jnp.abs(field).max())
        np.testing.assert_allclose(outputs[name], field, rtol=0, atol=1e-13 * scale)
        np.testing.assert_allclose(again[name], field, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("name", [
    pytest.param("parameters.convection.relaxation_time", marks=pytest.mark.slow),
    "forcing.sea_surface_temperature"])
def test_derivative_of_the_model_is_the_difference_with_its_branches_replayed(model_step, name):
    step, point, _, decisions, frozen = model_step
    noise = np.random.default_rng(0).standard_normal(point[name].shape)
    along = {k: jnp.zeros_like(x) for k, x in point.items()}
    along[name] = point[name] if point[name].ndim == 0 else jnp.asarray(noise)
    _, slope = jax.jit(lambda v: jax.jvp(step, (point,), (v,)))(along)

    def central(h):
        plus, minus = (
            frozen(decisions, jax.tree.map(lambda x, v, s=s: x + s * h * v, point, along))
            for s in (1, -1))
        return (floats(plus) - floats(minus)) / (2 * h)

    # Extrapolated, so that the step may be long enough for rounding not to matter.
    difference = (4 * central(1.5e-3) - central(3e-3)) / 3
    error = jnp.linalg.norm(difference - floats(slope)) / jnp.linalg.norm(floats(slope))
    assert error < 1e-6


def test_switches_of_the_model_are_named_by_scheme(model_step):
    step, point, *_ = model_step
    names = {decision.name for decision in decision_table(step)(point)}
    assert "jcm.physics.convection._top: step(energy - threshold, widths.top)" in names
    assert not any(".smooth." in name.split(":")[0] for name in names)


@pytest.mark.parametrize("file, foreign", [
    (inspect.getsourcefile(jax.numpy.linalg), True),
    (inspect.getsourcefile(inspect), True),
    (f"{sysconfig.get_path('stdlib')}/site-packages/jcm/model.py", False),
    ("/home/user/scheme.py", False),
])
def test_packages_below_the_standard_library_are_not_pythons_own(file, foreign):
    assert decisions._is_foreign(file) is foreign
