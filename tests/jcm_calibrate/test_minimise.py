"""One call, many methods: known minima, walls, bounds, cost, compilation and bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jcm_calibrate.optimisers.minimise import BOUNDED, METHODS, minimise, multi_start

KEY = jax.random.key(3)
#: Methods that approach a minimum to many digits in few steps.
SHARP = ["lbfgs", "lbfgsb", "scipy_bfgs", "gauss_newton", "levenberg_marquardt"]
#: Methods of optax that settle in a smooth valley.
FIRST_ORDER = ["adam", "adamw", "rmsprop", "nadam", "adabelief"]


class Least(eqx.Module):
    """A linear least-squares problem with a count of its traces."""

    matrix: jax.Array
    data: jax.Array
    traces: list = eqx.field(static=True)

    def __call__(self, z):
        self.traces.append(1)
        return self.matrix @ z - self.data


@pytest.fixture(scope="module")
def system():
    random = np.random.default_rng(0)
    matrix, data = random.standard_normal((12, 4)), random.standard_normal(12)
    return matrix, data, np.linalg.lstsq(matrix, data, rcond=None)[0]


def rosenbrock(z):
    return jnp.stack([10 * (z[1] - z[0] ** 2), 1 - z[0]])


def lorenz_96(z):
    """Residuals of means and variances over two time units, away from the true forcing of 8."""
    def tendency(x, forcing):
        return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - z[1] * x + forcing

    def step(x, _):
        a = tendency(x, z[0])
        b = tendency(x + 0.01 * a, z[0])
        x = x + 0.005 * (a + b)
        return x, x

    start = 3 + jnp.sin(jnp.arange(12.0))
    return jax.lax.scan(step, start, None, length=50)[1][9::10].ravel()


@pytest.mark.parametrize("method", [*SHARP, "uki", "nelder_mead", "cma_es"])
def test_linear_least_squares_is_solved(method, system):
    matrix, data, expected = system
    fit = minimise(lambda z: jnp.asarray(matrix) @ z - data, jnp.ones(4), method=method, steps=500,
                   key=KEY)  # fmt: skip
    np.testing.assert_allclose(fit.best, expected, atol=1e-2 if method == "uki" else 2e-4)


@pytest.mark.parametrize("method", SHARP)
def test_rosenbrock_valley_is_followed_to_its_end(method):
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), method=method, relative_tolerance=1e-12)
    np.testing.assert_allclose(fit.best, [1, 1], atol=1e-4)
    assert fit.converged


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_first_order_optimisers_settle_in_a_valley(method):
    fit = minimise(lambda z: jnp.sum((z - 2.0) ** 2), jnp.zeros(2), method=method, steps=400)
    np.testing.assert_allclose(fit.best, 2, atol=2e-2)


def test_an_optimiser_of_optax_is_taken_as_method():
    fit = minimise(lambda z: jnp.sum((z - 2.0) ** 2), jnp.zeros(2), method=optax.sgd(0.25))
    np.testing.assert_allclose(fit.best, 2, atol=1e-6)


@pytest.mark.parametrize("method", ["lbfgs", "gauss_newton", "levenberg_marquardt", "uki"])
def test_parameters_of_lorenz_96_are_recovered(method):
    truth = lorenz_96(jnp.array([8.0, 1.0]))
    fit = minimise(lambda z: 10 * (lorenz_96(z) - truth), jnp.array([7.5, 1.1]), method=method,
                   spread=0.2) if method == "uki" else minimise(
        lambda z: 10 * (lorenz_96(z) - truth), jnp.array([7.5, 1.1]), method=method)  # fmt: skip
    np.testing.assert_allclose(fit.best, [8, 1], rtol=1e-2 if method == "uki" else 1e-4)


@pytest.mark.parametrize("method", BOUNDED)
def test_bounded_methods_stop_at_the_bound(method):
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), method=method, steps=300, key=KEY,
                   bounds=(-2, np.array([0.8, 2.0])), relative_tolerance=1e-12)  # fmt: skip
    np.testing.assert_allclose(fit.best, [0.8, 0.64], atol=2e-4)  # where 1 - z0 is 0.2
    assert fit.history["iterate"][:, 0].max() <= 0.8


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m not in ("lion", "eki", "etki", "uki", "cma_es")])
def test_a_wall_of_nan_beyond_the_minimum_is_no_obstacle(method):
    def walled(z):
        r = jnp.concatenate([z - 0.4, 0.3 * z**2])
        return jnp.where(z[0] > 0.5, jnp.nan, 1.0) * r

    fit = minimise(walled, jnp.array([-3.0, 2.0]), method=method, learning_rate=0.2, steps=300)
    np.testing.assert_allclose(fit.best, 0.389373, atol=1e-3)  # z - 0.4 + 0.18 z^3 = 0


def test_a_line_search_that_meets_the_wall_turns_back():
    fit = minimise(lambda z: -z[0] - 0.01 * jnp.log(0.5 - z[0]), jnp.array([-3.0]))
    assert np.isnan(fit.history["value"]).any()
    np.testing.assert_allclose(fit.best, 0.49, atol=1e-4)  # 0.01 / (0.5 - z) = 1


def test_mini_batches_lead_to_the_minimum_of_the_whole(system):
    matrix, data, expected = system
    traces = []
    whole = Least(jnp.asarray(matrix), jnp.asarray(data), traces)

    def batch(number):
        rows = np.random.default_rng(number).permutation(12)[:6]
        return Least(whole.matrix[rows], whole.data[rows], traces)

    fit = minimise(whole, jnp.asarray(expected) + 0.5, method="adam", steps=600, batches=batch,
                   learning_rate=optax.exponential_decay(0.1, 100, 0.3))  # fmt: skip
    np.testing.assert_allclose(fit.best, expected, atol=0.1)
    np.testing.assert_allclose(fit.value, 0.5 * np.sum((matrix @ fit.best - data) ** 2))
    assert len(traces) == 2  # gradients of a batch, the value of the whole


def test_200_iterations_are_1_compilation(system):
    matrix, data, _ = system
    problem = Least(jnp.asarray(matrix), jnp.asarray(data), [])
    fit = minimise(problem, jnp.ones(4), method="adam", steps=200, relative_tolerance=0.0)
    assert len(fit.history) == 200
    assert fit.compilations == 1
    assert len(problem.traces) == 1


def test_another_problem_of_the_same_structure_is_not_compiled_again(system):
    matrix, data, _ = system
    traces = []
    for scale in (1.0, 2.0, 3.0):
        problem = Least(scale * jnp.asarray(matrix), jnp.asarray(data), traces)
        fit = minimise(problem, jnp.ones(4), method="lbfgs")
        expected = np.linalg.lstsq(scale * matrix, data, rcond=None)[0]
        np.testing.assert_allclose(fit.best, expected, atol=1e-5)
    assert len(traces) == 1


def test_a_multistart_compiles_once(system):
    matrix, data, _ = system
    problem = Least(jnp.asarray(matrix), jnp.asarray(data), [])
    fits = multi_start(problem, jax.random.normal(KEY, (5, 4)), method="lbfgs")
    assert sum(fit.compilations for fit in fits) == 1


def test_multi_start_finds_the_lower_of_two_minima():
    fits = multi_start(
        lambda z: jnp.sum((z**2 - 1) ** 2 + 0.3 * z), [[1.2], [-1.2], [0.9]], method="lbfgs")
    assert fits[0].best[0] < 0 < fits[1].best[0]
    assert [f.value for f in fits] == sorted(f.value for f in fits)


def test_multi_start_leaves_out_starts_that_are_not_finite():
    fits = multi_start(lambda z: jnp.sum(jnp.log(z) ** 2), [[-1.0], [2.0]])
    assert len(fits) == 1
    with pytest.raises(ValueError, match="none of 2 starts"):
        multi_start(lambda z: jnp.sum(jnp.log(z) ** 2), [[-1.0], [-2.0]])


@pytest.mark.parametrize("jacobian", ["forward_mode", "finite_difference"])
def test_gauss_newton_gives_the_covariance_of_a_linear_problem(jacobian, system):
    matrix, data, _ = system
    fit = minimise(lambda z: jnp.asarray(matrix) @ z - data, jnp.ones(4), method="gauss_newton",
                   jacobian=jacobian, prior=True)  # fmt: skip
    expected = np.linalg.inv(matrix.T @ matrix + np.eye(4))
    np.testing.assert_allclose(fit.best, expected @ matrix.T @ data, atol=1e-6)
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-6)


def beyond_a_switch(z):
    """Residuals in which the first component counts only below 0.5."""
    below = jnp.minimum(z[0] - 0.5, 0)
    return 1e4 * jnp.array([
        below + 1.0, z[1] ** 3 / 3 + z[1] - 2 + 0.1 * below, jnp.sin(z[1]) + below + 0.2])


def test_gauss_newton_leaves_a_plateau_beyond_a_switch():
    start = jnp.array([1.2, 3.0], jnp.float32)
    fit, held = (
        minimise(beyond_a_switch, start, method="gauss_newton", steps=25, prior=True, scaling=s)
        for s in ("jacobian", "prior"))
    np.testing.assert_allclose(fit.best, [-0.585, 1.325], atol=1e-3)
    assert held.best[0] > 1 and held.value > 100 * fit.value


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="'jacobian' or 'prior'; got 'none'"):
        minimise(beyond_a_switch, jnp.ones(2), method="gauss_newton", scaling="none")


def test_tangents_in_batches_give_the_same_jacobian(system):
    matrix, data, _ = system
    fits = [minimise(lambda z: jnp.tanh(jnp.asarray(matrix) @ z) - data, jnp.ones(4), batch=batch,
                     method="gauss_newton", steps=3) for batch in (1, 3, 8)]  # fmt: skip
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.best, fits[0].best, rtol=1e-10)
    # One forward run per batch of tangents, 0.9 per tangent beside it.
    assert [fit.history["cost"][0] for fit in fits] == pytest.approx([7.6, 5.6, 4.6])


def test_a_gradient_counts_at_its_cost():
    fit = minimise(lambda z: jnp.sum(z**4), jnp.ones(2), method="adam", steps=5, gradient_cost=3.0)
    np.testing.assert_allclose(fit.history["cost"], [3, 6, 9, 12, 15])


@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith("jaxopt")])
def test_the_budget_is_not_exceeded(method):
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), method=method, key=KEY, budget=30.0,
                   learning_rate=1e-3)  # fmt: skip
    assert 10 < fit.cost <= 30
    assert np.isfinite(fit.value)


def test_the_best_is_the_lowest_of_the_history():
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), method="adam", learning_rate=0.5, steps=30)
    row = fit.history[np.argmin(fit.history["value"])]
    assert fit.value == row["value"]
    np.testing.assert_array_equal(fit.best, row["iterate"])


def test_progress_sees_every_evaluation():
    seen = []
    fit = minimise(rosenbrock, jnp.array([-1.2, 1.0]), steps=10, progress=seen.append)
    assert [row["evaluation"] for row in seen] == list(range(len(fit.history)))


def test_a_gradient_of_wrong_sign_is_told():
    @jax.custom_jvp
    def wrong(z):
        return jnp.sum(z**2)

    wrong.defjvp(lambda z, t: (wrong(z[0]), -jnp.sum(2 * z[0] * t[0])))
    fit = minimise(wrong, jnp.ones(2))
    assert not fit.converged
    assert "gradient is not that of the value" in fit.message


def test_single_precision_stays_single():
    fit = minimise(lambda z: jnp.sum((z - 1) ** 2), jnp.ones(2, jnp.float32) * 3)
    assert np.array_equal(fit.best, fit.best.astype(np.float32))
    np.testing.assert_allclose(fit.best, 1, atol=1e-5)


def refused(match, error=ValueError, function=rosenbrock, start=(0.0, 0.0), **arguments):
    with pytest.raises(error, match=match):
        minimise(function, jnp.asarray(start), **arguments)


def test_a_nan_at_the_start_is_refused():
    refused("value at the start.*not finite", function=lambda z: jnp.log(z[0]), start=(-1.0,))


def test_a_nan_gradient_at_the_start_is_refused():
    refused("gradient at the start", function=lambda z: jnp.sum(jnp.sqrt(z)))


def test_bad_arguments_are_refused():
    refused("did you mean 'lbfgs'", method="lbfg")
    refused("has no option stepsize; it has memory_size", TypeError, stepsize=1)
    refused("adam has no bounds", method="adam", bounds=(-1, 1))
    refused("component 1 of the start", method="lbfgsb", start=(0.0, 3.0), bounds=(-1, 1))
    refused("vector .* of finite numbers", start=(jnp.nan,))
    refused("vector .* of finite numbers", start=((0.0,),))
    refused("real numbers", start=(1, 2))
    refused("needs residuals", function=jnp.sum, method="gauss_newton")
    refused("one real number or a vector", function=jnp.diag)
    refused("give key", method="eki")
    refused("give key", method="cma_es")
    refused("whole numbers from 1", steps=0)
    refused("budget must be positive", budget=-1)
    refused("forward_mode", method="gauss_newton", jacobian="adjoint")
    refused("more members than", method="eki", key=KEY, members=2)
    refused("smaller than one evaluation", budget=0.5)
