"""The sampler draws from densities that are known, and goes on where it was stopped."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_densities import CALLS, Ridge, linear

from jcm_calibrate.uncertainty.nuts import sample_nuts
from jcm_calibrate.uncertainty.posterior import Posterior

PROBLEM = linear()
KEY = jax.random.key(1)
RIDGE = Ridge(jnp.array(1.0), jnp.array(jnp.inf))


def draw(problem=PROBLEM, **options):
    """Sample a linear problem from its mode, whitened by its covariance."""
    options = {"key": KEY, "warmup": 100, "draws": 500} | options
    return sample_nuts(problem, problem.mean, covariance=problem.covariance, **options)


@pytest.fixture(scope="module")
def posterior():
    return draw()


def test_draws_have_the_mean_of_a_linear_problem(posterior):
    error = posterior.standard_deviation / np.sqrt(posterior.ess_bulk)
    assert np.all(np.abs(posterior.mean - PROBLEM.mean) < 4 * error)


def test_draws_have_the_covariance_of_a_linear_problem(posterior):
    # About 1500 effective draws: standard error of a variance 4 %.
    relative = np.linalg.solve(PROBLEM.covariance, posterior.covariance)
    np.testing.assert_allclose(np.linalg.eigvals(relative), 1.0, atol=0.15)


def test_log_density_is_that_of_the_draws(posterior):
    expected = jax.vmap(PROBLEM)(jnp.asarray(posterior.draws[2]))
    np.testing.assert_allclose(posterior.log_density[2], expected, rtol=1e-10)


def test_whitened_chains_mix_without_divergences(posterior):
    assert posterior.problems() == []
    assert posterior.divergences == 0
    assert np.all(posterior.rhat < 1.01)


def test_the_same_key_gives_the_same_draws(posterior):
    np.testing.assert_array_equal(draw().draws, posterior.draws)


def test_another_key_gives_other_draws(posterior):
    assert not np.array_equal(draw(key=jax.random.key(2)).draws, posterior.draws)


def test_chains_one_after_the_other_draw_the_same_as_all_at_once(posterior):
    """The first draws: later ones differ, as rounding grows along a chain."""
    found = draw(chain_method="sequential")
    np.testing.assert_allclose(found.draws[:, :3], posterior.draws[:, :3], rtol=1e-3, atol=1e-4)


def test_other_data_need_no_other_program(posterior):
    before = len(CALLS)
    draw(eqx.tree_at(lambda p: p.values, PROBLEM, PROBLEM.values + 1))
    assert len(CALLS) == before


class Killed(BaseException):
    """What takes the place of the end of a process."""


def kill_at(transitions):
    """Return a callback that ends the run once there are so many transitions."""

    def progress(done, total):
        if done >= transitions:
            raise Killed

    return progress


@pytest.fixture
def interrupted(tmp_path):
    store = tmp_path / "chains.npz"
    with pytest.raises(Killed):
        draw(store=store, progress=kill_at(150))
    return store


def test_an_interrupted_run_goes_on_to_the_same_draws(interrupted, posterior):
    done = []
    found = draw(store=interrupted, resume=True, progress=lambda now, total: done.append(now))
    assert min(done) > 150
    np.testing.assert_array_equal(found.draws, posterior.draws)
    np.testing.assert_array_equal(found.energy, posterior.energy)


def test_a_finished_run_is_only_read(interrupted):
    first = draw(store=interrupted, resume=True)
    calls = []
    again = draw(store=interrupted, resume=True, progress=lambda *n: calls.append(n))
    assert calls == []
    np.testing.assert_array_equal(first.draws, again.draws)


def test_more_draws_may_be_asked_for_later(tmp_path, posterior):
    store = tmp_path / "chains.npz"
    draw(store=store, draws=60)
    longer = draw(store=store, draws=500, resume=True)
    np.testing.assert_array_equal(longer.draws, posterior.draws)


def test_a_run_of_other_data_is_not_gone_on_with(interrupted):
    other = eqx.tree_at(lambda p: p.values, PROBLEM, PROBLEM.values.at[0].add(0.1))
    with pytest.raises(ValueError, match=r"holds another run: .*(start|log density) differs"):
        draw(other, store=interrupted, resume=True)


def test_a_run_of_another_density_around_the_same_start_is_not_gone_on_with(interrupted):
    sharper = lambda z: 1.01 * PROBLEM(z)  # noqa: E731
    with pytest.raises(ValueError, match="the log density differs"):
        sample_nuts(sharper, PROBLEM.mean, covariance=PROBLEM.covariance, key=KEY, warmup=100,
                    draws=500, store=interrupted, resume=True)  # fmt: skip


@pytest.mark.parametrize(("options", "words"), [
    ({"warmup": 50}, "warmup was 100, is now 50"), ({"chains": 2}, "chains was 4, is now 2"),
    ({"key": jax.random.key(7)}, "first positions differ")])  # fmt: skip
def test_a_run_with_other_settings_is_not_gone_on_with(interrupted, options, words):
    with pytest.raises(ValueError, match=words):
        draw(store=interrupted, resume=True, **options)


def test_a_store_is_not_written_over(interrupted):
    with pytest.raises(FileExistsError, match="pass resume=True"):
        draw(store=interrupted)


def test_a_damaged_store_is_refused(interrupted):
    content = interrupted.read_bytes()
    interrupted.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"):
        draw(store=interrupted, resume=True)


def test_resume_without_a_store_is_refused():
    with pytest.raises(ValueError, match="pass store="):
        draw(resume=True)


@pytest.fixture(scope="module")
def ridge():
    return sample_nuts(RIDGE, jnp.zeros(2), key=KEY, warmup=300, draws=1000)


def test_a_bent_ridge_has_its_mean_and_variance(ridge):
    """E y = E x^2 = 1 and var y = 1 + var x^2 = 3."""
    error = ridge.standard_deviation / np.sqrt(ridge.ess_bulk)
    assert np.all(np.abs(ridge.mean - [0.0, 1.0]) < 4 * error)
    np.testing.assert_allclose(ridge.standard_deviation**2, [1.0, 3.0], rtol=0.2)


@pytest.fixture(scope="module")
def walled():
    """The same density, not a number where x > 0."""
    return sample_nuts(
        eqx.tree_at(lambda r: r.wall, RIDGE, jnp.array(0.0)), jnp.array([-1.0, 1.0]),
        key=jax.random.key(3), warmup=300, draws=1000)


def test_no_draw_lies_where_the_density_is_not_a_number(walled):
    assert walled.draws[..., 0].max() < 0
    assert np.isfinite(walled.draws).all()


def test_steps_into_what_is_not_a_number_are_counted_as_divergences(walled):
    assert walled.divergences > 40
    assert any("transitions diverged" in words for words in walled.problems())


def test_a_start_where_the_density_is_not_a_number_is_refused():
    nowhere = eqx.tree_at(lambda r: r.wall, RIDGE, jnp.array(-50.0))
    with pytest.raises(FloatingPointError, match="chain 0: log density nan"):
        sample_nuts(nowhere, jnp.zeros(2), key=KEY)


def test_residuals_instead_of_a_density_are_refused():
    with pytest.raises(ValueError, match=r"must be one number; the function returned shape \(2,\)"):
        sample_nuts(lambda z: z, jnp.zeros(2), key=KEY)


@pytest.mark.parametrize(("covariance", "words"), [
    (np.eye(2), r"has shape \(3, 3\); got \(2, 2\)"),
    (np.diag([1.0, 1.0, -1.0]), "not positive definite"),
    (np.ones((3, 3)), "not positive definite"),
    (np.diag([1.0, 1.0, np.nan]), "finite and symmetric"),
    (np.tril(np.ones((3, 3))), "finite and symmetric")])  # fmt: skip
def test_what_is_no_covariance_is_refused(covariance, words):
    with pytest.raises(ValueError, match=words):
        sample_nuts(PROBLEM, PROBLEM.mean, key=KEY, covariance=covariance)


@pytest.mark.parametrize(("options", "words"), [
    ({"draws": 0}, "draws is at least 4"), ({"warmup": 0}, "warmup is at least 1"),
    ({"chains": 0}, "chains is at least 1"), ({"target_accept": 1.0}, "between 0 and 1"),
    ({"max_tree_depth": 0}, "max_tree_depth is at least 1"),
    ({"chain_method": "vectorised"}, "available: vectorized, sequential")])  # fmt: skip
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        draw(**options)


def made_up(draws):
    """Return a posterior of given draws whose statistics are all well."""
    shape = draws.shape[:2]
    energy = np.random.default_rng(5).normal(size=shape)
    return Posterior(
        draws, energy, np.zeros(shape, bool), np.full(shape, 3), np.full(shape, 0.9), energy,
        np.ones(shape[0]), 0, 1.0)


def test_chains_around_different_means_are_not_trusted():
    draws = np.random.default_rng(0).normal(size=(4, 500, 1)) + np.arange(4.0)[:, None, None]
    assert any("R-hat" in words for words in made_up(draws).problems())


def test_draws_that_hardly_move_are_not_trusted():
    steps = np.random.default_rng(0).normal(size=(4, 500, 1))
    assert any("effective sample size" in w for w in made_up(steps.cumsum(axis=1)).problems())


def test_one_chain_alone_is_not_trusted():
    draws = np.random.default_rng(0).normal(size=(1, 500, 1))
    assert any("one chain" in words for words in made_up(draws).problems())


def test_independent_draws_are_trusted():
    draws = np.random.default_rng(0).normal(size=(4, 500, 2))
    assert made_up(draws).problems() == []


def test_the_interval_holds_its_share_of_the_draws():
    draws = np.random.default_rng(0).normal(size=(4, 5000, 1))
    np.testing.assert_allclose(made_up(draws).interval(0.9)[:, 0], [-1.645, 1.645], atol=0.04)


def test_the_table_bears_the_labels(posterior):
    assert list(posterior.summary(("a", "b", "c")).index) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="3 components need 3 labels"):
        posterior.summary(("a",))
