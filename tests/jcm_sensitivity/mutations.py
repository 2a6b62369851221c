"""Faults planted in the inputs of the schemes, and what the check of a gradient finds.

    python tests/jcm_sensitivity/mutations.py [SCHEME...]

Every array that a scheme takes, and each of its parameters, passes through a fault before the
scheme sees it, or before one of the operations that use it. The strengths of all faults are
numbers of the point, so that one compiled program per scheme serves all of them: with the
strengths of `no_fault` the scheme is itself, bit for bit.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Literal

# A checkout that is not installed is found as well.
sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2]))

from column_schemes import Scheme, scheme, schemes

from jcm_sensitivity.check import DirectionCheck, compile_check, examine
from jcm_sensitivity.programs import Programs

#: Steps of the checks; a direction of size 1 is the spread of an input over the columns.
STEPS = tuple(10.0 ** -np.arange(1.5, 7.6))
#: Far beyond any number of a scheme, but squares of it are finite.
FAR = 1e100


class Fault(eqx.Module):
    """Strengths of the faults, for every number that goes into a scheme."""

    #: The derivative is multiplied by it: 0 stops the gradient, -1 is a wrong sign.
    factor: Array
    #: Limits of a clip.
    low: Array
    high: Array
    #: Height of a jump and change of slope of a corner, where the number crosses the threshold.
    jump: Array
    corner: Array
    threshold: Array


@jax.custom_jvp
def scaled_derivative(x: Array, factor: Array) -> Array:
    """Return x, with a derivative that is `factor` instead of 1."""
    return x


@scaled_derivative.defjvp
def _scaled_derivative_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return primals[0], primals[1] * tangents[0]


def faulty(x: Array, fault: Fault) -> Array:
    """Return numbers after their faults."""
    above = x > fault.threshold
    x = x + jnp.where(above, fault.jump + fault.corner * (x - fault.threshold), 0)
    return scaled_derivative(jnp.clip(x, fault.low, fault.high), fault.factor)


def no_fault(x: Array) -> Fault:
    """Return strengths with which numbers stay as they are."""
    zero, far = jnp.zeros_like(x), jnp.full_like(x, FAR)
    return Fault(zero + 1, -far, far, zero, zero, far)


def planted(x: Array, along: Array, fault: str | None) -> Fault:
    """Return strengths of a fault in those numbers that a direction moves, and none elsewhere."""
    none, moves = no_fault(x), along != 0
    if fault is None:
        return none
    factor = {"stopped gradient": 0.0, "wrong sign": -1.0, "dropped term": 0.9}.get(fault, 1.0)
    limit = x - 0.02 * jnp.abs(along)
    there = Fault(
        factor=jnp.full_like(x, factor), threshold=x,
        # Both limits are the same: nothing gets through.
        low=limit, high=limit,
        jump=jnp.full_like(x, 1e-5 * jnp.max(jnp.abs(along))), corner=jnp.full_like(x, 0.3))
    parts = {
        "dead clip": ("low", "high"), "jump": ("jump", "threshold"),
        "corner": ("corner", "threshold")}.get(fault, ("factor",))  # fmt: skip
    # Limits do nothing to a number that does not move and is equal to them.
    moves = moves | (fault == "dead clip")
    return Fault(**{
        f.name: jnp.where(moves & (f.name in parts), getattr(there, f.name), getattr(none, f.name))
        for f in dataclasses.fields(Fault)})


#: Kinds of faults, and the verdict by which each is found.
FOUND = {
    "stopped gradient": "wrong", "wrong sign": "wrong", "dropped term": "wrong",
    "dead clip": "dead", "jump": "jump", "corner": "kink"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """A scheme whose inputs may have faults, compiled."""

    scheme: Scheme
    programs: Programs

    def check(self, name: str, fault: str | None = None) -> DirectionCheck:
        """Check the gradient along a direction in which one input moves, with a fault or none."""
        x, along = _vector(self.scheme.inputs), self.along(name)
        return self.examine({"x": x, "fault": _stacked(planted(x, along, fault))}, along)

    def along(self, name: str) -> Array:
        """Return a direction in which one input moves."""
        return _vector({
            key: direction_of(x, key) if key == name else jnp.zeros_like(x)
            for key, x in self.scheme.inputs.items()})  # fmt: skip

    def check_uses(self, name: str, users: list[str]) -> dict[int, DirectionCheck | None]:
        """Check with a stopped gradient in each use of an input, by number of the use.

        None stands for a fault that changes no derivative along the direction: the use is a
        comparison, or has no effect at these columns.
        """
        x, along, ones = _vector(self.scheme.inputs), self.along(name), jnp.ones(len(users))
        points = {
            k: {"x": x, "fault": ones.at[k].set(0.0)}
            for k, user in enumerate(users) if user == name}  # fmt: skip
        direction = {"x": along, "fault": 0 * ones}
        split, forward = self.programs.point.split, self.programs.forward
        right = forward(split({"x": x, "fault": ones}), split(direction))
        slopes = {k: forward(split(point), split(direction)) for k, point in points.items()}
        return {
            k: self.examine(point, along) if abs(slopes[k] - right) > 2e-5 * abs(right) else None
            for k, point in points.items()}  # fmt: skip

    def examine(self, point: dict[str, Any], along: Array) -> DirectionCheck:
        """Check a point along a direction of the inputs."""
        direction = {**jax.tree.map(jnp.zeros_like, point), "x": along}
        return examine(self.programs, point, direction, steps=STEPS)


def names_fault(check: DirectionCheck, fault: str) -> bool:
    """Tell whether the explanation names the clip or the threshold that was planted."""
    culprit = {"dead clip": "jnp.clip(x, fault.low, fault.high)", "jump": "x > fault.threshold",
               "corner": "x > fault.threshold"}.get(fault, "")  # fmt: skip
    return culprit in check.explanation


def laboratory(scheme: Scheme) -> Laboratory:
    """Compile a scheme with faults in front of all its inputs, which are one vector."""
    leaves, structure = jax.tree.flatten(scheme.arguments)
    ends = np.cumsum([a.size for a in leaves])[:-1]

    def function(point: dict[str, Any]) -> Any:
        parts = jnp.split(faulty(point["x"], Fault(*point["fault"])), ends)
        shaped = [part.reshape(a.shape) for part, a in zip(parts, leaves, strict=True)]
        return scheme.function(jax.tree.unflatten(structure, shaped))

    x = _vector(scheme.inputs)
    point = {"x": x, "fault": _stacked(no_fault(x))}
    return Laboratory(scheme, compile_check(function, point, curvature=False))


def _stacked(fault: Fault) -> Array:
    """Return all strengths as one array: few arrays make small programs start fast."""
    return jnp.stack(jax.tree.leaves(fault))


def laboratory_of_uses(scheme: Scheme) -> tuple[Laboratory, list[str]]:
    """Compile a scheme with a scaled derivative in front of every use of its inputs.

    The strength of a fault is one factor for each operation that takes an input; the second
    result names the input of each.
    """
    names, leaves = list(scheme.inputs), jax.tree.leaves(scheme.arguments)
    structure = jax.tree.structure(scheme.arguments)
    closed = jax.make_jaxpr(lambda x: scheme.function(jax.tree.unflatten(structure, x)))(leaves)
    inputs = dict(zip(closed.jaxpr.invars, names, strict=True))
    users = [
        inputs[v] for equation in closed.jaxpr.eqns for v in equation.invars
        if not isinstance(v, Literal) and v in inputs]

    def function(point: dict[str, Any]) -> Any:
        factors = iter(point["fault"])
        ends = np.cumsum([a.size for a in leaves])[:-1]
        parts = jnp.split(point["x"], ends)
        values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        for v, part, a in zip(closed.jaxpr.invars, parts, leaves, strict=True):
            values[v] = part.reshape(a.shape)

        def read(v: Any) -> Any:
            if isinstance(v, Literal):
                return v.val
            return scaled_derivative(values[v], next(factors)) if v in inputs else values[v]

        for equation in closed.jaxpr.eqns:
            operands = [read(v) for v in equation.invars]
            parameters = equation.primitive.get_bind_params(equation.params)
            results = equation.primitive.bind(*operands, **parameters)
            several = equation.primitive.multiple_results
            values.update(zip(equation.outvars, results if several else [results], strict=True))
        return [v.val if isinstance(v, Literal) else values[v] for v in closed.jaxpr.outvars]

    point = {"x": _vector(scheme.inputs), "fault": jnp.ones(len(users))}
    return Laboratory(scheme, compile_check(function, point, curvature=False)), users


def _vector(inputs: dict[str, Array]) -> Array:
    return jnp.concatenate([jnp.ravel(x) for x in inputs.values()])


def direction_of(x: Array, name: str) -> Array:
    """Return random numbers of the size of the spread over columns, or of a number if smaller.

    Numbers that are 0 stay: there many inputs end (no rain, no ice), and functions have corners.
    """
    if x.ndim == 0:
        return jnp.where(x == 0, 1, jnp.abs(x))
    seed = int.from_bytes(name.encode(), "little") % 2**32
    spread = jnp.std(x, axis=-1, keepdims=True)
    return jnp.minimum(spread, jnp.abs(x)) * jax.random.normal(jax.random.key(seed), x.shape)


def main() -> int:
    """Print verdicts by scheme, input and fault."""
    jax.config.update("jax_enable_x64", True)
    wanted = sys.argv[1:] or [x.name for x in schemes()]
    alive = 0
    print(f"{'scheme':24} {'input':44} {'none':12} " + " ".join(f"{f:16}" for f in FOUND))
    for name in wanted:
        lab = laboratory(scheme(name))
        for variable in lab.scheme.inputs:
            control = lab.check(variable)
            row = f"{name:24} {variable:44} {control.verdict:12} "
            if control.verdict != "dead":
                for fault, found in FOUND.items():
                    verdict = lab.check(variable, fault).verdict
                    alive += verdict != found
                    row += f"{verdict + (' !' if verdict != found else ''):16} "
            print(row, flush=True)
    print(f"{alive} faults were not found")
    return alive > 0


if __name__ == "__main__":
    sys.exit(main())
