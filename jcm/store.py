"""Values that are computed once and stored.

The compiler of XLA for CPUs joins element-wise operations into loops without limit. Where an
expression has several readers, is sliced, padded or transposed, such a loop computes it again for
each of them; in reverse mode, where everything is a sum of such contributions, most of the time
goes there. `jax.lax.optimization_barrier` does not help, because it is removed before operations
are joined. What a loop with an unknown number of iterations takes in is always stored, and so
these identities are written as a loop that never runs. Other platforms get nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Tree = TypeVar("Tree")


def store(tree: Tree) -> Tree:
    """Return the same arrays, computed before anything that uses them; in reverse also."""
    return _apply(_store, tree)


def store_in_reverse(tree: Tree) -> Tree:
    """Return the same arrays; derivatives of either mode are stored before they are used."""
    return _apply(_store_in_reverse, tree)


def _apply(primitive: Primitive, tree: Tree) -> Tree:
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, primitive.bind(*leaves))


def _identity(*arrays: Any) -> list[Any]:
    return list(arrays)


def _loop_that_never_runs(*arrays: Array) -> list[Array]:
    # Nobody can know this in advance. If it happens, the loop runs once and changes nothing.
    infinite = arrays[0].ravel()[0] == jnp.inf
    return jax.lax.while_loop(
        lambda carry: carry[0],
        lambda carry: (~carry[0], [jnp.where(carry[0], x, -x) for x in carry[1]]),
        (infinite, list(arrays)))[1]  # fmt: skip


def _of_nonzero(primitive: Primitive, tangents: list) -> list:
    """Apply the primitive to those tangents or cotangents that are not known to be zero."""
    known = [isinstance(x, ad.Zero) for x in tangents]
    others = [x for x, zero in zip(tangents, known, strict=True) if not zero]
    results = iter(primitive.bind(*others) if others else ())
    return [x if zero else next(results) for x, zero in zip(tangents, known, strict=True)]


def _primitive(name: str, on_cpu: Callable[..., list[Any]]) -> Primitive:
    """Make an identity with its derivatives; the transpose stores in any case."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(_identity)
    primitive.def_abstract_eval(_identity)
    mlir.register_lowering(primitive, mlir.lower_fun(_identity, multiple_results=True))
    mlir.register_lowering(
        primitive, mlir.lower_fun(on_cpu, multiple_results=True), platform="cpu")
    ad.primitive_jvps[primitive] = lambda primals, tangents: (
        primitive.bind(*primals), _of_nonzero(_store, list(tangents)))
    ad.primitive_transposes[primitive] = lambda cotangents, *_: _of_nonzero(_store, cotangents)
    batching.primitive_batchers[primitive] = lambda arrays, axes: (primitive.bind(*arrays), axes)
    return primitive


_store = _primitive("store", _loop_that_never_runs)
_store_in_reverse = _primitive("store_in_reverse", _identity)
