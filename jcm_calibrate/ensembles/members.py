"""Members of an ensemble: what differs between them, and what all of them share.

Only what differs has an axis of members. With parameters drawn from a `ParameterSpace` these are
the vectors z alone; parameters are inserted inside the compiled program, so that the forcing and
the initial state exist once, however many members there are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jcm.parameters import descriptions
from jcm_sensitivity.ensembles import Members as DifferentInputs

#: Units of inputs of a run that have one number for each member.
UNITS = {"forcing.start_day": "days since 1970-01-01"}


@dataclass(frozen=True)
class Column:
    """One number of every member, for the dataset."""

    values: np.ndarray
    units: str = ""
    long_name: str = ""


@dataclass(frozen=True)
class Members:
    """Inputs of the members of an ensemble; made by `members_of` or `as_members`."""

    #: Pytree of arrays with a leading axis of members.
    varying: Any
    #: Pytree of everything else.
    shared: Any
    #: From the shared part and the part of one member to its input.
    combine: Callable[[Any, Any], Any]
    #: Numbers that tell the members apart, by name.
    columns: dict[str, Column] = field(default_factory=dict)
    #: Names of the components, if `varying` is a matrix (member, component).
    components: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of members."""
        return len(jax.tree.leaves(self.varying)[0])

    def take(self, indices: Any) -> Any:
        """Return the varying part of some members, by their numbers, as NumPy arrays."""
        return jax.tree.map(lambda x: _host(x)[indices], self.varying)

    def member(self, index: int) -> Any:
        """Return the input of one member."""
        return self.combine(self.shared, jax.tree.map(lambda x: x[index], self.varying))


def members_of(space: Any, inputs: Any, z: Any) -> Members:
    """Return members that differ in the parameters of a space.

    Parameters
    ----------
    space
        `ParameterSpace`; draws of its prior are `space.draw(key, size)`.
    inputs
        Everything else.
    z
        Vectors of the space (member, parameter), of standard normal prior.

    Raises
    ------
    ValueError
        If z has another shape, no members, or numbers that are not finite.
    """
    matrix = jnp.asarray(z, dtype=jnp.result_type(float))
    if matrix.ndim != 2 or matrix.shape[1] != space.size or not len(matrix):
        raise ValueError(
            f"expected vectors z of shape (member, {space.size}), one column for each of "
            f"{', '.join(space.labels)}; got {matrix.shape}")
    _check_finite(matrix, "z")
    values = np.asarray(jax.vmap(space.to_parameters)(matrix))
    known = descriptions(getattr(inputs, "parameters", None), "parameters.")
    columns = {
        label: Column(values[:, k], unit, known[label].description if label in known else "")
        for k, (label, unit) in enumerate(zip(space.labels, space.units, strict=True))}
    return Members(matrix, (space, inputs), _insert, columns, tuple(space.labels))


def as_members(members: Any) -> Members:
    """Return `Members` of what a user has given.

    Parameters
    ----------
    members
        `Members`; what `jcm_sensitivity.ensembles.stack_members` returns, e.g. for initial states;
        an array (member, component), or any pytree of arrays with a leading axis of members.

    Raises
    ------
    ValueError
        If leaves have no leading axis, or axes of different lengths, or there are no members.
    """
    if isinstance(members, Members):
        return members
    if isinstance(members, DifferentInputs):
        if not jax.tree.leaves(members.varying):
            raise ValueError("the members do not differ; one run would do")
        return Members(members.varying, members.shared, _fill, _scalars(members.varying))
    tree = jax.tree.map(jnp.asarray, members)
    leaves = jax.tree.leaves(tree)
    lengths = {x.shape[0] if x.ndim else None for x in leaves}
    if len(lengths) != 1 or lengths & {None, 0}:
        raise ValueError(
            "expected arrays with a leading axis of members, of one length for all and at least "
            f"1; got shapes {', '.join(str(x.shape) for x in leaves[:5]) or 'of nothing'}. Use "
            "members_of(space, inputs, z) where only parameters differ")
    vector = isinstance(tree, jax.Array) and tree.ndim == 2
    names = tuple(f"component_{k}" for k in range(tree.shape[1])) if vector else ()
    return Members(tree, None, _alone, _scalars(tree), names)


def _scalars(tree: Any) -> dict[str, Column]:
    """Return those leaves that are one number for each member."""
    columns = {}
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if x.ndim == 1 and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            name = jax.tree_util.keystr(path, simple=True, separator=".") or "input"
            columns[name] = Column(np.asarray(x), UNITS.get(name, ""))
    return columns


def _host(array: Any) -> Any:
    """Return an array on the host; keys of random numbers exist on devices only."""
    return array if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else np.asarray(array)


def _check_finite(matrix: jax.Array, name: str) -> None:
    bad = ~np.isfinite(np.asarray(matrix)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} of member {int(np.argmax(bad))} is not finite ({int(bad.sum())} such "
            "members); leave these members out")


def _insert(shared: tuple[Any, Any], z: Any) -> Any:
    space, inputs = shared
    return space.insert(inputs, z)


def _fill(shared: Any, varying: Any) -> Any:
    return eqx.combine(varying, shared)


def _alone(shared: None, varying: Any) -> Any:
    return varying
