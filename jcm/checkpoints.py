"""A loop in time whose reverse mode keeps a given number of states and recomputes the others.

Reverse mode needs the states of a run in reverse order. Where not all fit into memory, some are
kept and the run is repeated from them. Which to keep and when is the binomial schedule of
Griewank, A. and Walther, A. (2000): Algorithm 799: revolve. ACM Trans. Math. Softw., 26, 19-45;
no other takes fewer repeated steps. With s states, a run of (s + 1)(s + 2) / 2 steps repeats each
at most once. The schedule is an argument of the compiled program, not a part of it: one program
serves all lengths of run that fit its tables.
"""

import abc
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree


class Schedule(eqx.Module):
    """What is kept and repeated; made by `schedule`.

    Slot number `slots` takes states that need not be kept: at the end of the run, the one before
    the last step.
    """

    #: Number of states that are kept.
    slots: int = eqx.field(static=True)
    #: Number of steps of the run.
    steps: np.int32 | Array
    #: Slot of the state before each step, in the run itself.
    first: Int[np.ndarray | Array, " steps"]
    #: For each step, as reverse mode comes to it: slot and step from which to start again, and
    #: how many steps have been repeated before.
    slot: Int[np.ndarray | Array, " steps"]
    start: Int[np.ndarray | Array, " steps"]
    repeated: Int[np.ndarray | Array, " steps"]
    #: Slot of the state before each repeated step.
    again: Int[np.ndarray | Array, " repeats"]


def schedule(steps: int, slots: int) -> Schedule:
    """Return the binomial schedule of a run.

    Parameters
    ----------
    steps
        Length of the run.
    slots
        Number of states that are kept, the initial one included.

    Raises
    ------
    ValueError
        If either is not positive.
    """
    if steps < 1 or slots < 1:
        raise ValueError(
            f"a schedule needs at least one step and one state; got {steps} and {slots}")
    tables = _Tables([slots] * steps, [], [0] * steps, [0] * steps, [0] * steps)
    tables.first[0] = 0
    _plan(tables, steps, slots)
    # Neighbouring lengths get tables of the same size, and so share a program.
    long, repeats = _round_up(steps), _round_up(len(tables.again))
    integers = lambda values, size: np.pad(  # noqa: E731
        np.asarray(values, np.int32), (0, size - len(values)))
    return Schedule(
        _round_up(steps) if slots >= steps else slots, np.int32(steps),
        integers(tables.first, long), integers(tables.slot, long), integers(tables.start, long),
        integers(tables.repeated, long), integers(tables.again, repeats))  # fmt: skip


def _round_up(count: int) -> int:
    """Return the next of 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    if count < 3:
        return count
    power = 2 ** (math.ceil(math.log2(count)) - 1)
    return 3 * power // 2 if count <= 3 * power // 2 else 2 * power


class _Tables(NamedTuple):
    first: list[int]
    again: list[int]
    slot: list[int]
    start: list[int]
    repeated: list[int]


def _plan(tables: _Tables, steps: int, slots: int) -> None:
    """Fill the tables from the last step to the first, as reverse mode goes."""
    free = list(range(slots))[::-1]
    kept = [(0, free.pop())]
    # The state before the step that is reversed next is at hand, and need not be kept.
    for step in (k for k in _splits(0, steps, len(free)) if k < steps - 1):
        kept.append((step, free.pop()))
        tables.first[step] = kept[-1][1]
    tables.slot[steps - 1], tables.start[steps - 1] = tables.first[steps - 1], steps - 1
    for step in range(steps - 2, -1, -1):
        while kept[-1][0] > step:
            free.append(kept.pop()[1])
        start, slot = kept[-1]
        tables.slot[step], tables.start[step] = slot, start
        tables.repeated[step] = len(tables.again)
        for other in (k for k in _splits(start, step + 1, len(free)) if k < step):
            kept.append((other, free.pop()))
        new = dict(kept)
        tables.again.extend(
            new[k] if k in new and start < k < step else slots for k in range(start + 1, step + 1))


def _splits(begin: int, end: int, free: int) -> list[int]:
    """Return the steps whose states are kept on the way from one step to another."""
    chosen = []
    while end - begin > 1 and free > 0:
        begin += _split(end - begin, free + 1)
        free -= 1
        chosen.append(begin)
    return chosen


def _split(length: int, slots: int) -> int:
    """Return after how many steps the next state is kept; slots count that at the beginning."""
    reach = lambda slots, repeats: math.comb(slots + repeats, slots) if repeats >= 0 else 0  # noqa: E731
    repeats = next(r for r in range(1, length + 1) if reach(slots, r) >= length)
    return min(reach(slots, repeats - 1), length - reach(slots - 1, repeats - 1))


class Loop(eqx.Module):
    """What a sweep repeats; arrays that it holds are not differentiated."""

    @abc.abstractmethod
    def step(self, constants: Any, state: Any, k: Array) -> tuple[Any, Any]:
        """Return the state after step k, and what the step adds to the outputs."""

    @abc.abstractmethod
    def window(self, k: Array) -> Array:
        """Return the index of the output to which step k adds."""

    @abc.abstractmethod
    def period(self, k: Array) -> Array | None:
        """Return the index of the constants of step k; None if all steps have the same."""


def sweep(
    loop: Loop, constants: PyTree, state: PyTree, outputs: PyTree, schedule: Schedule
) -> tuple[PyTree, PyTree]:
    """Return the last state and the outputs of a loop; reverse mode follows the schedule.

    It has no forward mode.

    Parameters
    ----------
    loop
        The step.
    constants, state
        What each step reads, and what it carries. If the loop has periods, constants have a
        leading axis of periods, and so has the derivative with respect to them.
    outputs
        Zeros, with windows first, to which the contributions of steps are added.
    schedule
        Made by `schedule` for this number of steps.
    """
    return _sweep((constants, state), loop, outputs, schedule)


def _constants(loop: Loop, constants: PyTree, k: Array) -> PyTree:
    index = loop.period(k)
    return constants if index is None else jax.tree.map(lambda x: x[index], constants)


def _add_to_constants(loop: Loop, total: PyTree, k: Array, more: PyTree) -> PyTree:
    index = loop.period(k)
    return jax.tree.map(jnp.add, total, more) if index is None else _add(total, index, more)


def _add(total: PyTree, index: Array, more: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: x.at[index].add(y), total, more)


def _put(kept: PyTree, slot: Array | np.ndarray, state: PyTree) -> PyTree:
    return jax.tree.map(lambda all, x: all.at[slot].set(x), kept, state)


@eqx.filter_custom_vjp
def _sweep(differentiated, loop, outputs, schedule):
    constants, state = differentiated

    def one(k, carry):
        state, outputs = carry
        state, contribution = loop.step(_constants(loop, constants, k), state, k)
        return state, _add(outputs, loop.window(k), contribution)

    return jax.lax.fori_loop(0, schedule.steps, one, (state, outputs))


@_sweep.def_fwd
def _forward(perturbed, differentiated, loop, outputs, schedule):
    constants, state = differentiated
    first = jnp.asarray(schedule.first)
    kept = jax.tree.map(lambda x: jnp.zeros((schedule.slots + 1, *x.shape), x.dtype), state)

    def one(k, carry):
        state, outputs, kept = carry
        kept = _put(kept, first[k], state)
        state, contribution = loop.step(_constants(loop, constants, k), state, k)
        return state, _add(outputs, loop.window(k), contribution), kept

    state, outputs, kept = jax.lax.fori_loop(0, schedule.steps, one, (state, outputs, kept))
    return (state, outputs), kept


@_sweep.def_bwd
def _backward(kept, cotangents, perturbed, differentiated, loop, outputs, schedule):
    constants, state = differentiated
    varied, held = eqx.partition(constants, perturbed[0])
    of_state = _complete(eqx.filter(state, eqx.is_inexact_array), cotangents[0])
    of_outputs = _complete(outputs, cotangents[1])
    tables = jax.tree.map(jnp.asarray, schedule)

    def one(index, carry):
        of_state, of_varied, kept = carry
        k = tables.steps - 1 - index
        state, kept = _state_before(k, kept, constants, loop, tables)
        floats, others = eqx.partition(state, eqx.is_inexact_array)
        held_now = _constants(loop, held, k)

        def differentiable(varied, floats):
            after, contribution = loop.step(
                eqx.combine(varied, held_now), eqx.combine(floats, others), k)
            return eqx.filter(after, eqx.is_inexact_array), contribution

        _, transpose = jax.vjp(differentiable, _constants(loop, varied, k), floats)
        window = loop.window(k)
        more, of_state = transpose((of_state, jax.tree.map(lambda x: x[window], of_outputs)))
        return of_state, _add_to_constants(loop, of_varied, k, more), kept

    of_state, of_varied, _ = jax.lax.fori_loop(
        0, tables.steps, one, (of_state, jax.tree.map(jnp.zeros_like, varied), kept))
    return of_varied, of_state


def _state_before(
    k: Array, kept: PyTree, constants: PyTree, loop: Loop, tables: Schedule
) -> tuple[PyTree, PyTree]:
    """Return the state before a step, repeating the run from where it was kept last."""
    state = jax.tree.map(lambda x: x[tables.slot[k]], kept)
    if not len(tables.again):
        return state, kept

    def repeat(i, carry):
        state, kept = carry
        state, _ = loop.step(_constants(loop, constants, i), state, i)
        return state, _put(kept, tables.again[tables.repeated[k] + i - tables.start[k]], state)

    return jax.lax.fori_loop(tables.start[k], k, repeat, (state, kept))


def _complete(like: PyTree, cotangents: PyTree) -> PyTree:
    """Put zeros for the cotangents that are known to be zero."""
    return jax.tree.map(
        lambda x, ct: None if x is None else jnp.zeros_like(x) if ct is None else ct,
        like, cotangents, is_leaf=lambda x: x is None)
