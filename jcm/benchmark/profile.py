"""Where the time of a step goes: its pieces, each timed alone on the arrays it meets in a run.

One step is taken without compilation while every piece notes its arguments. Each piece is then
compiled alone and repeated in a loop in which every pass depends on the one before, so that
nothing moves out of the loop. Alone, a piece writes results that the compiler would pass on
without writing in a whole step; so the pieces may take longer than the step, and the remainder
may be negative.
"""

import contextlib
import dataclasses
import inspect
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp

import jcm
from jcm.simulate import advance

#: Passes of a loop, and loops of which the median counts.
PASSES, LOOPS = 50, 5
#: Days of the run that gives the time of a whole step, and its repeats.
DAYS, REPEATS = 2, 5
#: So small that added to a field it changes no number, and the compiler cannot know that.
TINY = 1e-30
#: Methods of the model that are pieces of a step, by attribute; absent ones are left out.
PIECES = {
    "": ("columns",),
    "coupler": ("surroundings", "daily", "advance"),
    "physics": ("tendencies",),
    "dynamics": (
        "advance", "grid_fields", "grid_tendency", "spectral_tendency", "linear_terms",
        "implicit_correction", "diffused"),
    "transform": ("synthesis", "analysis"),
}  # fmt: skip
#: Functions called by name in the module of the dynamics.
DYNAMICS_FUNCTIONS = ("leapfrog", "add_physics")
#: Schemes are the functions that the module of the physics takes from modules beside it.
SCHEMES, NO_SCHEMES = "jcm.physics.", ("jcm.physics.smooth",)


class Call(NamedTuple):
    """One call of a piece."""

    #: Names of the pieces around it, and its own.
    path: tuple[str, ...]
    #: The function, an object whose method it is (or None), and the arguments.
    function: Callable
    owner: Any
    arguments: tuple[tuple, dict]


def profile(model: Any, inputs: Any) -> dict[str, Any]:
    """Return the time of a step and of its pieces [ms]."""
    state = inputs.state
    jax.block_until_ready(jcm.simulate(model, inputs, days=1, observe=())[0])
    step = statistics.median(_run_seconds(model, inputs) for _ in range(REPEATS))
    step *= 1e3 / (DAYS * model.steps_per_day)

    # A step that begins a day, one with shortwave radiation, and one without; their shares.
    daily, shortwave = 1 / model.steps_per_day, 1 / model.steps_per_shortwave
    kinds = [(0, daily), (model.steps_per_shortwave, shortwave - daily)]
    if model.steps_per_shortwave > 1:
        kinds.append((1, 1 - shortwave))
    known: dict[tuple, float] = {}
    totals: dict[tuple[str, ...], dict[str, float]] = {}
    for number, share in kinds:
        calls = recorded_calls(model, inputs, eqx.tree_at(
            lambda s: s.step, state, jnp.asarray(number, state.step.dtype)))  # fmt: skip
        for call in calls:
            key = _signature(call)
            if key not in known:
                known[key] = milliseconds(call)
            total = totals.setdefault(call.path, {"calls": 0.0, "ms": 0.0})
            total["calls"] += share
            total["ms"] += share * known[key]
    parts = [
        {
            "name": path[-1],
            "path": "/".join(path),
            "part_of": "/".join(path[:-1]) or "step",
            "calls_per_step": total["calls"],
            "ms_per_call": total["ms"] / total["calls"],
            "ms_per_step": total["ms"],
        }
        for path, total in sorted(totals.items(), key=lambda item: _order(item[0], list(totals)))
    ]
    explained = sum(part["ms_per_step"] for part in parts if part["part_of"] == "step")
    return {
        "step_ms": step,
        "explained_ms": explained,
        "remainder_ms": step - explained,
        "parts": parts,
        "method": f"each piece compiled alone, median of {LOOPS} loops of {PASSES} passes; "
        "pieces write their results, which a whole step does not always do",
    }


def recorded_calls(model: Any, inputs: Any, state: Any) -> list[Call]:
    """Take one step without compilation and return the calls of its pieces, in order."""
    dtype = state.current.vorticity.dtype
    model = jax.tree.map(
        lambda x: jnp.asarray(x, dtype) if eqx.is_inexact_array_like(x) else x, model)
    calls: list[Call] = []
    stack: list[str] = []
    widths = model.physics.widths(inputs.parameters)
    ground = model.coupler.ground(inputs.forcing, model.transform, inputs.parameters, widths)
    with contextlib.ExitStack() as patches, jax.disable_jit():
        for patch in _patches(model, calls, stack):
            patches.enter_context(patch)
        fields = _scheme_fields(model.physics)
        recorded = {
            name: _recorder(name, function, calls, stack, method=False)
            for name, function in fields.items()
        }
        if recorded:
            model = dataclasses.replace(
                model, physics=dataclasses.replace(model.physics, **recorded))
        advance(model, ground, inputs.parameters, state)
    # A copy: the recorders stay in the physics that was recorded.
    return list(calls)


def milliseconds(call: Call) -> float:
    """Return the time of one call, compiled [ms]."""
    fixed, fixed_rest = eqx.partition(call.owner, _is_array)
    moving, rest = eqx.partition(call.arguments, _is_array)
    first = () if call.owner is None else (0,)

    def once(fixed, moving, tiny):
        # Fields of the run change from pass to pass; tables of the model do not.
        moved = jax.tree.map(
            lambda x: x + tiny.astype(x.dtype) if _is_field(x) else x, moving)
        arguments, keywords = eqx.combine(moved, rest)
        owner = tuple(eqx.combine(fixed, fixed_rest) for _ in first)
        result = call.function(*owner, *arguments, **keywords)
        return eqx.filter(result, _is_array)

    def loop(fixed, moving):
        tiny = jnp.zeros((), jnp.float32)
        shapes = jax.eval_shape(once, fixed, moving, tiny)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def body(_, carry):
            tiny, _ = carry
            result = once(fixed, moving, tiny)
            firsts = [x.ravel()[0].astype(jnp.float32) for x in jax.tree.leaves(result)]
            return TINY * sum(firsts, jnp.zeros((), jnp.float32)), result

        return jax.lax.fori_loop(0, PASSES, body, (tiny, nothing))

    run = jax.jit(loop).lower(fixed, moving).compile()
    jax.block_until_ready(run(fixed, moving))
    seconds = []
    for _ in range(LOOPS):
        begin = time.perf_counter()
        jax.block_until_ready(run(fixed, moving))
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds) * 1e3 / PASSES


def _patches(model: Any, calls: list[Call], stack: list[str]) -> Iterator[Any]:
    """Yield what makes pieces note their calls while it lasts."""
    for attribute, names in PIECES.items():
        owner = type(getattr(model, attribute) if attribute else model)
        for name in names:
            if hasattr(owner, name):
                label = attribute if name in ("advance", "tendencies") else name
                yield mock.patch.object(
                    owner, name, _recorder(label, getattr(owner, name), calls, stack, method=True))
    dynamics = sys.modules[type(model.dynamics).__module__]
    physics = sys.modules[type(model.physics).__module__]
    functions = [(dynamics, name) for name in DYNAMICS_FUNCTIONS if hasattr(dynamics, name)]
    functions += [
        (physics, name) for name, function in vars(physics).items()
        if inspect.isfunction(function) and function.__module__.startswith(SCHEMES)
        and function.__module__ not in (physics.__name__, *NO_SCHEMES)
    ]  # fmt: skip
    for module, name in functions:
        yield mock.patch.object(
            module, name, _recorder(name, getattr(module, name), calls, stack, method=False))


def _scheme_fields(physics: Any) -> dict[str, Callable]:
    """Return the schemes that a physics holds as fields."""
    found = {field.name: getattr(physics, field.name) for field in dataclasses.fields(physics)}
    return {name: value for name, value in found.items() if inspect.isfunction(value)}


def _recorder(
    label: str, function: Callable, calls: list[Call], stack: list[str], *, method: bool
) -> Callable:
    """Return the function, which notes its calls as pieces of what is on the stack."""

    def recorder(*arguments, **keywords):
        # Pieces of pieces of physics are too small to be timed alone.
        if len(stack) >= 2 and label not in PIECES["transform"]:
            return function(*arguments, **keywords)
        path = (*stack, label)
        owner, given = (arguments[0], arguments[1:]) if method else (None, arguments)
        calls.append(Call(path, function, owner, (given, keywords)))
        stack.append(label)
        try:
            return function(*arguments, **keywords)
        finally:
            stack.pop()

    return recorder


def _run_seconds(model: Any, inputs: Any) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(jcm.simulate(model, inputs, days=DAYS, observe=())[0])
    return time.perf_counter() - begin


def _signature(call: Call) -> tuple:
    """Return what decides how long a call takes: shapes, and the values of flags."""
    leaves = [x for x in jax.tree.leaves(call.arguments) if _is_array(x)]
    flags = tuple(bool(x) for x in leaves if x.dtype == bool and x.ndim == 0)
    return (call.path[-1], tuple((x.shape, str(x.dtype)) for x in leaves), flags)


def _order(path: tuple[str, ...], paths: list[tuple[str, ...]]) -> tuple[int, ...]:
    """Sort pieces behind the piece that they are part of, else in the order of the step."""
    return tuple(paths.index(path[: depth + 1]) for depth in range(len(path)))


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array)


def _is_field(x: Any) -> bool:
    return x.ndim >= 2 and jnp.issubdtype(x.dtype, jnp.inexact)
