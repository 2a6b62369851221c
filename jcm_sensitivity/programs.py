"""The compiled programs that a gradient is checked with."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr
from jax.interpreters.partial_eval import dce_jaxpr

from jcm_sensitivity.branches import Decision, UnknownLoopLength, decision_table, record, replay

#: What JAX raises where a mode of differentiation is not defined for a function.
UNDEFINED = (TypeError, ValueError, NotImplementedError)


@dataclasses.dataclass(frozen=True)
class Point:
    """How to take a pytree apart into floating-point arrays, and put it together."""

    structure: Any
    #: Leaves that are held; None in place of those that are differentiated.
    held: tuple[Any, ...]
    #: Which leaves are differentiated, and their names.
    floats: tuple[bool, ...]
    names: tuple[str, ...]

    def split(self, tree: Any, *, what: str = "point") -> list[Array]:
        """Return the floating-point arrays of a pytree of this structure.

        Raises
        ------
        ValueError
            If the structure is another one, or a leaf is missing.
        """
        try:
            leaves = self.structure.flatten_up_to(tree)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"the {what} must have the structure of the point, {self.structure}: {error}"
            ) from None
        chosen = [x for x, use in zip(leaves, self.floats, strict=True) if use]
        if any(x is None for x in chosen):
            missing = self.names[[x is None for x in chosen].index(True)]
            raise ValueError(f"the {what} has no value for {missing}; give an array of zeros")
        return [jnp.asarray(x) for x in chosen]

    def join(self, arrays: list[Array]) -> Any:
        """Return the pytree with these floating-point arrays."""
        rest = iter(arrays)
        leaves = [next(rest) if use else x for x, use in zip(self.held, self.floats, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


@dataclasses.dataclass(frozen=True)
class Programs:
    """A function of floating-point arrays to one number, compiled in all ways that a check needs.

    Where a mode of differentiation is not defined for the function, its program returns None.
    """

    point: Point
    #: From arrays to the value and the decisions.
    recorded: Callable[[list[Array]], tuple[Array, tuple[Array, ...]]]
    #: From decisions and arrays to the value; None if the branches cannot be recorded.
    replayed: Callable[[tuple[Array, ...], list[Array]], Array] | None
    forward: Callable[[list[Array], list[Array]], float | None]
    gradient: Callable[[list[Array]], list[Array] | None]
    curvature: Callable[[list[Array], list[Array]], float | None]
    table: tuple[Decision, ...]
    #: Which arrays some output depends on, by structure.
    reads: tuple[bool, ...]
    #: Shape and type of the value.
    output: Any


def compile_check(
    function: Callable[[Any], Any], point: Any, *, key: Array | None = None,
    curvature: bool = True,
) -> Programs:  # fmt: skip
    """Return the programs that `examine` needs; they compile when they run for the first time.

    Parameters, errors: those of `check_gradient`. `key` draws the weights of array-valued outputs.
    """
    anatomy = anatomy_of(point)
    x = anatomy.split(point)
    key = jax.random.key(0) if key is None else key
    scalar = _contracted(function, anatomy, x, key)
    reads = arrays_read(jax.make_jaxpr(scalar)(x))
    try:
        table = decision_table(scalar)(x)
        recorded, replayed = jax.jit(record(scalar)), jax.jit(replay(scalar))
    except UnknownLoopLength:
        table, replayed = (), None
        recorded = jax.jit(lambda x: (scalar(x), ()))

    def slope(x: list[Array], v: list[Array]) -> Array:
        return jax.jvp(scalar, (x,), (v,))[1]

    def second(x: list[Array], v: list[Array]) -> Array:
        return jax.jvp(lambda x: slope(x, v), (x,), (v,))[1]

    forward = _where_defined(slope)
    twice = _where_defined(second) if curvature else lambda x, v: None
    return Programs(
        anatomy, recorded, replayed, lambda x, v: _number(forward(x, v)),
        _where_defined(jax.grad(scalar)), lambda x, v: _number(twice(x, v)), table, reads,
        jax.eval_shape(scalar, x))


def arrays_read(closed: ClosedJaxpr) -> tuple[bool, ...]:
    """Return which arguments of a traced function some output depends on, by structure."""
    return tuple(dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))[1])


def moved(x: Any, v: Any, h: float) -> Any:
    """Return x + h v for pytrees of arrays, in the types of x."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(h, a.dtype) * b, x, v)


def anatomy_of(point: Any) -> Point:
    """Return which leaves of a pytree are differentiated.

    Raises
    ------
    TypeError, ValueError
        If there is none, or one is complex, or not finite.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(point)
    for path, x in paths:
        name = jax.tree_util.keystr(path) or "point"
        if _is_array(x) and jnp.issubdtype(jnp.result_type(x), jnp.complexfloating):
            raise TypeError(
                f"{name} of the point is complex; give its real and imaginary part as two arrays")
        if floating(x) and not np.all(np.isfinite(np.asarray(x, float))):
            raise ValueError(
                f"{name} of the point holds NaN or infinity; a derivative needs a finite point")
    floats = tuple(floating(x) for _, x in paths)
    if not any(floats):
        kinds = ", ".join(sorted({str(getattr(x, "dtype", type(x).__name__)) for _, x in paths}))
        raise TypeError(
            f"the point holds no floating-point numbers to differentiate, only {kinds or 'nothing'}"
            "; convert what shall vary to floats")
    names = tuple(
        jax.tree_util.keystr(path) or "point"
        for (path, _), use in zip(paths, floats, strict=True) if use)
    held = tuple(None if use else x for (_, x), use in zip(paths, floats, strict=True))
    return Point(structure, held, floats, names)


def floating(x: Any) -> bool:
    """Tell whether a leaf is a real floating-point number or array."""
    return _is_array(x) and jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _is_array(x: Any) -> bool:
    return isinstance(x, Array | np.ndarray | np.generic | float | complex)


def _contracted(
    function: Callable[[Any], Any], anatomy: Point, x: list[Array], key: Array
) -> Callable[[list[Array]], Array]:
    """Return the function of arrays to one number; several outputs are weighted at random."""

    def outputs(x: list[Array]) -> list[Array]:
        return [jnp.asarray(y) for y in jax.tree.leaves(function(anatomy.join(x)))
                if floating(y) or _is_abstract_float(y)]  # fmt: skip

    shapes = jax.eval_shape(outputs, x)
    if not shapes or not any(np.prod(y.shape) for y in shapes):
        raise TypeError(
            "the function returns no floating-point numbers; there is nothing to differentiate")
    if len(shapes) == 1 and shapes[0].shape == ():
        return lambda x: outputs(x)[0]
    keys = jax.random.split(key, len(shapes))
    values = jax.jit(outputs)(x)
    weights = [
        np.asarray(jax.random.normal(k, y.shape, y.dtype) / _root_mean_square(y))
        for k, y in zip(keys, values, strict=True)]
    return lambda x: jnp.sum(jnp.stack([
        jnp.sum(w * y) for w, y in zip(weights, outputs(x), strict=True)]))


def _is_abstract_float(x: Any) -> bool:
    return isinstance(x, Array) and jnp.issubdtype(x.dtype, jnp.floating)


def _root_mean_square(y: Array) -> float:
    size = float(jnp.sqrt(jnp.mean(jnp.square(y)))) if y.size else 0.0
    return size if size > 0 and np.isfinite(size) else 1.0


def _where_defined(derivative: Callable) -> Callable:
    """Compile a derivative; it returns None where JAX does not define it for the function."""
    compiled = jax.jit(derivative)

    def run(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except UNDEFINED:
            return None

    return run


def _number(x: Array | None) -> float | None:
    return None if x is None else float(x)
