"""Check the gradient of any function of JAX, and say what it is worth.

`check_gradient(function, point)` compares automatic differentiation with finite differences along
random or given directions, with the branches of the function free and frozen, and forward with
reverse mode, and returns a verdict with its reason; see `jcm_sensitivity.verdict` for the
verdicts and their rules. To check many directions of one function, compile once:

    programs = compile_check(function, point)
    check = examine(programs, point, direction)

A step h means the point plus h times the direction. Random directions are scaled by the size of
each array of the point, so that steps are relative.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jcm_sensitivity.branches import Decision, Flip, census
from jcm_sensitivity.programs import Point, Programs, compile_check, floating, moved
from jcm_sensitivity.report import direction_as_dict, direction_as_text
from jcm_sensitivity.taylor import (
    Line,
    Remainders,
    default_steps,
    forward_against_reverse,
    remainders,
    rounding,
)
from jcm_sensitivity.verdict import SEVERITY, Evidence, Verdict, classify, weigh

__all__ = ["DirectionCheck", "GradientCheck", "check_gradient", "compile_check", "examine"]

#: At most so many places are replayed to find the switch or limiter that is responsible.
SUSPECTS = 50


@dataclasses.dataclass(frozen=True)
class DirectionCheck:
    """The verdict along one direction, with its evidence."""

    verdict: Verdict
    explanation: str
    evidence: Evidence
    line: Line
    remainders: Remainders
    #: Switches that flip at each step, on either side, by step.
    flips: dict[float, list[Flip]]

    @property
    def passed(self) -> bool:
        """The gradient is not shown to be wrong."""
        return self.verdict not in {"wrong", "not finite"}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, texts and lists, for JSON."""
        return direction_as_dict(self)

    def report(self) -> str:
        """Return a table of the ladder as text."""
        return direction_as_text(self)


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The verdict on a gradient: the worst of its directions."""

    verdict: Verdict
    explanation: str
    value: float
    directions: tuple[DirectionCheck, ...]
    #: Arrays of the point on which no output depends, and whose whole gradient is 0.
    unread: tuple[str, ...]
    without_gradient: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """The gradient is not shown to be wrong; see `explanation` for what it is worth."""
        return self.verdict not in {"wrong", "not finite"}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, texts and lists, for JSON."""
        return {
            "verdict": self.verdict, "explanation": self.explanation, "passed": self.passed,
            "value": self.value if np.isfinite(self.value) else None,
            "unread": list(self.unread), "without_gradient": list(self.without_gradient),
            "directions": [direction.to_dict() for direction in self.directions]}  # fmt: skip

    def report(self) -> str:
        """Return verdict, reason and tables as text."""
        lines = [f"{self.verdict}: {self.explanation}"]
        if self.unread:
            lines.append(f"not read by the function: {', '.join(self.unread)}")
        zero = [name for name in self.without_gradient if name not in self.unread]
        if zero:
            lines.append(f"read, but with gradient 0: {', '.join(zero)}")
        return "\n\n".join(["\n".join(lines), *(x.report() for x in self.directions)])


def check_gradient(
    function: Callable[[Any], Any],
    point: Any,
    *,
    direction: Any = None,
    directions: int = 1,
    key: Array | None = None,
    steps: Sequence[float] | None = None,
    tolerance: float = 1e-5,
    scale: Any = None,
    curvature: bool = True,
) -> GradientCheck:
    """Check the gradient of a function at a point.

    Parameters
    ----------
    function
        From a pytree to a number or to any pytree of arrays. Floating-point outputs are
        contracted with random weights, each array over its root mean square at the point.
    point
        Floating-point arrays are differentiated, everything else is held.
    direction
        Perturbation like the point (leaves that are held may be None); default: random ones.
    directions
        How many random directions.
    key
        Key of the random numbers; default the same at each call.
    steps
        Ladder of multiples of the direction; default half-decades from 0.1 to 1e-8, in float32
        to 1e-4.
    tolerance
        Largest relative difference between gradient and finite difference that passes.
    scale
        Size of a perturbation: a number or a pytree like the point; default 1 for a given
        direction, and the root mean square of each array (1 where it is 0) for random ones.
    curvature
        Also compute the second derivative along the direction, for the remainder R2.

    Returns
    -------
    GradientCheck
        Verdict, reason, numbers; `report()` and `to_dict()`.

    Raises
    ------
    TypeError
        If the point holds no floating-point numbers, or complex ones, or no output is
        floating-point.
    ValueError
        If the point is not finite, the direction does not fit or is 0, or the steps are no
        ladder.
    """
    key = jax.random.key(0) if key is None else key
    if directions < 1:
        raise ValueError(f"directions must be at least 1; got {directions}")
    first, *others = jax.random.split(key, directions + 1)
    programs = compile_check(function, point, key=first, curvature=curvature)
    checks = []
    for number in others if direction is None else others[:1]:
        along = (_random_direction(point, number, scale) if direction is None
                 else _scaled(direction, point, scale))  # fmt: skip
        checks.append(examine(programs, point, along, steps=steps, tolerance=tolerance))
    worst = min(checks, key=lambda check: SEVERITY.index(check.verdict))
    gradient = programs.gradient(programs.point.split(point))
    names = programs.point.names
    zero = tuple(
        name for name, x in zip(names, gradient or (), strict=False) if not np.any(np.asarray(x)))
    unread = tuple(name for name, read in zip(names, programs.reads, strict=True) if not read)
    return GradientCheck(
        worst.verdict, worst.explanation, worst.evidence.value, tuple(checks), unread, zero)


def examine(
    programs: Programs, point: Any, direction: Any, *, steps: Sequence[float] | None = None,
    tolerance: float = 1e-5,
) -> DirectionCheck:  # fmt: skip
    """Check a compiled function along one direction; arguments as those of `check_gradient`.

    `point` may be another point of the same shapes as that of `compile_check`.
    """
    x = programs.point.split(point)
    v = _direction(programs.point, direction, x)
    epsilon = max(float(jnp.finfo(a.dtype).eps) for a in [*x, programs.output])
    ladder = _ladder(steps, epsilon)
    walk = _walk(programs, x, v, ladder, epsilon)
    reads = any(read and np.any(np.asarray(a)) for read, a in zip(programs.reads, v, strict=True))
    evidence = weigh(
        walk.line, tolerance=tolerance, adjoint_mismatch=walk.mismatch,
        adjoint_tolerance=max(1e-10, 1e3 * epsilon), reads=reads)
    if classify(evidence)[0] in {"jump", "kink", "dead"} and programs.replayed is not None:
        evidence = _explained(programs, x, v, evidence, walk.decisions)
    verdict, explanation = classify(evidence)
    return DirectionCheck(
        verdict, explanation, evidence, walk.line, remainders(walk.line), walk.flips)


@dataclasses.dataclass(frozen=True)
class _Walk:
    """Values and derivatives along a line, and the switches that flip at each step."""

    line: Line
    flips: dict[float, list[Flip]]
    #: Decisions at the point.
    decisions: tuple
    mismatch: float | None


def _walk(
    programs: Programs, x: list[Array], v: list[Array], ladder: np.ndarray, epsilon: float
) -> _Walk:
    """Compute values and derivatives along the line; decisions are compared and forgotten."""
    value, base = programs.recorded(x)
    replayed = programs.replayed
    here = jax.device_get(base)

    def frozen(h: float) -> float:
        there = moved(x, v, h)
        return float(programs.recorded(there)[0] if replayed is None else replayed(base, there))

    free, counts, flips = [], [], {}
    for h in ladder:
        sides = [jax.device_get(programs.recorded(moved(x, v, s * h))) for s in (1, -1)]
        found = [census(here, decisions, programs.table) for _, decisions in sides]
        free.append([float(result) for result, _ in sides])
        counts.append([sum(flip.count for flip in side) for side in found])
        flips[float(h)] = found[0] + found[1]
    free, counts = np.array(free), np.array(counts)
    stays = free if replayed is None else np.array([(frozen(h), frozen(-h)) for h in ladder])
    noise = max(float(rounding(float(value), frozen, epsilon)), epsilon * abs(float(value)) / 2)
    slope, slope_error, mismatch = _slopes(programs, x, v, epsilon)
    line = Line(
        ladder, float(value), free[:, 0], free[:, 1], stays[:, 0], stays[:, 1],
        counts[:, 0], counts[:, 1], noise, epsilon, slope, slope_error, programs.curvature(x, v))
    return _Walk(line, flips, base, mismatch)


def _slopes(
    programs: Programs, x: list[Array], v: list[Array], epsilon: float
) -> tuple[float, float, float | None]:
    """Return the derivative along v, its rounding, and the mismatch of forward and reverse."""
    forward, gradient = programs.forward(x, v), programs.gradient(x)
    if gradient is None:
        if forward is None:
            raise TypeError(
                "the function is not differentiable by JAX, neither in forward nor in reverse "
                "mode; call jax.grad of it to see why")
        return forward, 10 * epsilon * abs(forward), None
    terms = np.concatenate([
        np.ravel(np.asarray(g, float) * np.asarray(a, float))
        for g, a in zip(gradient, v, strict=True)])  # fmt: skip
    if forward is None:
        return float(terms.sum()), 10 * epsilon * float(np.abs(terms).sum()), None
    return forward, *forward_against_reverse(forward, terms, epsilon)


def _explained(
    programs: Programs, x: list[Array], v: list[Array], e: Evidence, base: tuple
) -> Evidence:
    """Add the switch or the limiter that is responsible, found by replaying."""
    if e.flip_step is not None and classify(e)[0] == "dead":
        return dataclasses.replace(e, switch=_first_switch(programs, x, v, e.flip_step, base))
    if e.flip_step is not None:
        name, persistence = _switch(programs, x, v, e.flip_step, base)
        return dataclasses.replace(e, switch=name, flip_persistence=persistence)
    if e.slope == 0 and e.reads and e.flat and not e.moves:
        return dataclasses.replace(e, limiter=_limiter(programs, x, v, base, e.largest_step))
    return e


def _switch(
    programs: Programs, x: list[Array], v: list[Array], h: float, base: tuple
) -> tuple[str, float | None]:
    """Return which flip changes f most at a step, and the share of its effect left at no step.

    The decisions of one place of the source are exchanged at a time. On both sides of a corner
    that is crossed the effect has opposite signs; that of a jump stays.
    """
    replayed = programs.replayed
    assert replayed is not None
    effects: dict[int, tuple[float, float | None]] = {}
    for sign in (1, -1):
        there = moved(x, v, sign * h)
        side = programs.recorded(there)[1]
        differ = [
            (np.sum(np.asarray(a) != np.asarray(b)), k)
            for k, (a, b) in enumerate(zip(base, side, strict=True)) if not np.array_equal(a, b)]
        for _, k in sorted(differ, reverse=True)[:SUSPECTS]:
            mixed = (*base[:k], side[k], *base[k + 1 :])
            effect, origin = (
                float(replayed(mixed, y)) - float(replayed(base, y)) for y in (there, x))
            if abs(effect) > effects.get(k, (0.0, None))[0]:
                effects[k] = abs(effect), origin / effect if np.isfinite(origin) else None
    if not effects:
        return "", None
    k = max(effects, key=lambda k: effects[k][0])
    return _words(programs.table[k]), effects[k][1]


def _first_switch(
    programs: Programs, x: list[Array], v: list[Array], h: float, base: tuple
) -> str:
    """Return the flip that comes first in a run: an input that moves f otherwise not starts it."""
    first = []
    for sign in (1, -1):
        side = programs.recorded(moved(x, v, sign * h))[1]
        for k, (a, b, decision) in enumerate(zip(base, side, programs.table, strict=True)):
            flips = census((a,), (b,), (decision,))
            first += [(flip.step[:1], k) for flip in flips]
    return _words(programs.table[min(first)[1]]) if first else ""


def _limiter(
    programs: Programs, x: list[Array], v: list[Array], base: tuple, h: float
) -> str:
    """Return the decision on whose other branch f depends on the input, or nothing."""
    assert programs.replayed is not None
    for k, decision in enumerate(programs.table):
        if decision.packed:
            other = ~jnp.asarray(base[k])
        elif decision.kind == "clamp":
            other = jnp.ones_like(base[k])
        else:
            continue
        mixed = (*base[:k], other, *base[k + 1 :])
        # On the other branch a large step may lead where f is not defined.
        steps = (0, h, -h, 1e-3 * h, -1e-3 * h)
        values = [float(programs.replayed(mixed, moved(x, v, s))) for s in steps]
        if len({value for value in values if np.isfinite(value)}) > 1:
            return _words(decision)
    return ""


def _words(decision: Decision) -> str:
    return f"{decision.name} ({decision.where})"


def _ladder(steps: Sequence[float] | None, epsilon: float) -> np.ndarray:
    if steps is None:
        return default_steps(epsilon)
    ladder = np.unique(np.asarray(steps, float))[::-1]
    if ladder.ndim != 1 or len(ladder) < 3 or not np.all(ladder > 0):
        raise ValueError(
            f"steps must be at least three different positive numbers, e.g. (1e-2, 1e-3, 1e-4); "
            f"got {list(np.ravel(np.asarray(steps)))}")
    return ladder


def _direction(point: Point, direction: Any, x: list[Array]) -> list[Array]:
    v = point.split(direction, what="direction")
    for name, a, b in zip(point.names, x, v, strict=True):
        if a.shape != b.shape:
            raise ValueError(
                f"the direction must have the shapes of the point; {name} has {a.shape} in the "
                f"point and {b.shape} in the direction")
    if not all(np.all(np.isfinite(b)) for b in v):
        raise ValueError("the direction must be finite; it holds NaN or infinity")
    if not any(np.any(np.asarray(b)) for b in v):
        raise ValueError("the direction is 0 everywhere; give one that changes the point")
    return [b.astype(a.dtype) for a, b in zip(x, v, strict=True)]


def _random_direction(point: Any, key: Array, scale: Any) -> Any:
    leaves, structure = jax.tree.flatten(point)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        _size(x) * jax.random.normal(k, np.shape(x), jnp.result_type(x)) if floating(x) else None
        for x, k in zip(leaves, keys, strict=True)]
    if scale is not None:
        drawn = [
            None if d is None else d / _size(x) for x, d in zip(leaves, drawn, strict=True)]
    return _scaled(jax.tree.unflatten(structure, drawn), point, scale)


def _size(x: Any) -> float:
    """Return the root mean square of an array, or 1 if it is 0 or empty."""
    size = float(np.sqrt(np.mean(np.square(np.asarray(x, float))))) if np.size(x) else 0.0
    return size if size > 0 and np.isfinite(size) else 1.0


def _scaled(direction: Any, point: Any, scale: Any) -> Any:
    if scale is None:
        return direction
    leaves, structure = jax.tree.flatten(point)
    try:
        along = structure.flatten_up_to(direction)
        sizes = [scale] * len(leaves) if np.ndim(scale) == 0 and not isinstance(
            scale, dict | list | tuple) else structure.flatten_up_to(scale)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"direction and scale must have the structure of the point, {structure}: {error}"
        ) from None
    return jax.tree.unflatten(structure, [
        jnp.asarray(d) * s if floating(x) and d is not None else d
        for x, d, s in zip(leaves, along, sizes, strict=True)])
