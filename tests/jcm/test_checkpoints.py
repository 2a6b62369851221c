"""The binomial schedule and the loop whose reverse mode follows it."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.checkpoints import Loop, schedule, sweep


def follow(plan) -> int:
    """Run a schedule with states that are their own numbers; return how many were repeated."""
    kept, repeats = {}, 0
    for k in range(int(plan.steps)):
        kept[int(plan.first[k])] = k
    for k in reversed(range(int(plan.steps))):
        state = kept[int(plan.slot[k])]
        assert state == plan.start[k]
        while state < k:
            state, repeats = state + 1, repeats + 1
            kept[int(plan.again[plan.repeated[k] + state - plan.start[k] - 1])] = state
        assert state == k
    return repeats


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 8, 40])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 13, 36, 40])
def test_every_state_is_at_hand_when_reverse_mode_needs_it(steps, slots):
    follow(schedule(steps, slots))


@pytest.mark.parametrize("slots", [2, 3, 4, 6])
@pytest.mark.parametrize("steps", [2, 5, 12, 20, 36])
def test_no_schedule_repeats_fewer_steps(steps, slots):
    # The first run to the last step is no repetition, so each step but the last is run once.
    best = _revolve(steps, slots) - (steps - 1)
    assert follow(schedule(steps, slots)) == best


@functools.cache
def _revolve(length: int, slots: int) -> int:
    """Forward steps of the best schedule, t(l, c) of Griewank and Walther (2000), by search."""
    if length == 1:
        return 0
    if slots == 1:
        return length * (length - 1) // 2
    return min(m + _revolve(length - m, slots - 1) + _revolve(m, slots) for m in range(1, length))


def test_all_states_kept_means_none_repeated():
    assert len(schedule(36, 36).again) == 0


def test_lengths_share_the_shape_of_their_tables():
    a, b = schedule(35, 20), schedule(47, 20)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert a.first.shape == b.first.shape


@pytest.mark.parametrize("arguments", [(0, 3), (3, 0)])
def test_a_run_without_steps_or_states_is_refused(arguments):
    with pytest.raises(ValueError, match="at least one step and one state"):
        schedule(*arguments)


class Pendulum(Loop):
    """A damped pendulum with windows of two steps and, if `daily`, parameters for each three."""

    daily: bool = eqx.field(static=True)

    def step(self, constants, state, k):
        """Advance, and output the angle."""
        angle, speed = state
        speed = speed - 0.3 * (jnp.sin(angle) + constants["damping"] * speed)
        return (angle + 0.3 * speed, speed), {"angle": angle * constants["scale"]}

    def window(self, k):
        """Two steps."""
        return k // 2

    def period(self, k):
        """Three steps."""
        return k // 3 if self.daily else None


STEPS = 12
START = (jnp.asarray(1.0), jnp.asarray(0.1))
CONSTANTS = {"damping": jnp.asarray(0.2), "scale": jnp.asarray(2.0)}


def score(constants, state, plan, daily=False):
    (angle, _), out = sweep(
        Pendulum(daily), constants, state, {"angle": jnp.zeros(STEPS // 2)}, plan)
    return jnp.sum(out["angle"] ** 2) + angle**3


def written_out(constants, state):
    angles = []
    for k in range(STEPS):
        state, out = Pendulum(False).step(constants, state, k)
        angles.append(out["angle"])
    return jnp.sum(jnp.sum(jnp.stack(angles).reshape(-1, 2), 1) ** 2) + state[0] ** 3


@pytest.mark.parametrize("slots", [1, 3, 12])
def test_gradient_is_that_of_the_loop_written_out(slots):
    value, gradient = jax.jit(jax.value_and_grad(score, argnums=(0, 1)))(
        CONSTANTS, START, schedule(STEPS, slots))
    right, expected = jax.value_and_grad(written_out, argnums=(0, 1))(CONSTANTS, START)
    np.testing.assert_allclose(value, right, rtol=1e-13)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_derivatives_by_period_sum_to_the_whole():
    many = jax.tree.map(lambda x: jnp.full(STEPS // 3, x), CONSTANTS)
    plan = schedule(STEPS, 4)
    by_period = jax.grad(score)(many, START, plan, daily=True)
    whole = jax.grad(score)(CONSTANTS, START, plan)
    assert np.ptp(by_period["damping"]) > 0.1
    for name, x in whole.items():
        np.testing.assert_allclose(jnp.sum(by_period[name]), x, rtol=1e-12)


def test_gradients_of_members_at_once_are_those_of_each():
    plan, members = schedule(STEPS, 4), jnp.asarray([0.5, 1.0, 1.5])
    gradient = jax.grad(lambda x: score(CONSTANTS, (x, START[1]), plan))
    np.testing.assert_allclose(
        jax.vmap(gradient)(members), [gradient(x) for x in members], rtol=1e-12)


def test_one_program_serves_several_lengths():
    gradient = jax.jit(jax.grad(score))
    for steps in (11, 12):
        gradient(CONSTANTS, START, jax.tree.map(jnp.asarray, schedule(steps, 5)))
    assert gradient._cache_size() == 1
