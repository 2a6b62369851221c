"""Tunable numbers: how a scheme declares one, and how anyone finds and changes it by name.

A parameter is a scalar leaf of an `equinox.Module` that carries its unit, plausible bounds,
meaning and source. Names are dotted paths from the root of the tree that is given, for example
`parameters.convection.relaxation_time` from the inputs of a run.
"""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


class Described(NamedTuple):
    """What is known of a parameter besides its value."""

    default: float
    units: str
    bounds: tuple[float, float]
    description: str
    source: str


def parameter(
    default: float,
    units: str,
    bounds: tuple[float | int, float | int],
    description: str,
    source: str,
    **metadata: Any,
) -> Any:
    """Declare a tunable scalar of an `equinox.Module`.

    Parameters
    ----------
    default
        Reference value, in SI units unless `units` says otherwise.
    units
        Units as CF writes them; `1` for a pure number.
    bounds
        Plausible range: used by priors and checks, never enforced inside the model.
    description
        One phrase that says what the number means.
    source
        Publication or code that the value comes from; `chosen here` if it was.
    metadata
        Further facts, kept with the field.
    """
    described = Described(default, units, bounds, description, source)
    return eqx.field(
        default_factory=lambda: jnp.asarray(default, dtype=float),
        converter=_as_array,
        metadata={"described": described, **metadata},
    )


def _as_array(value: Any) -> Any:
    """Turn Python numbers into arrays: a leaf that is no array would be compiled in."""
    plain = isinstance(value, int | float | np.number | np.ndarray)
    return jnp.asarray(value, dtype=float) if plain else value


def descriptions(tree: Any, prefix: str = "") -> dict[str, Described]:
    """Return unit, bounds, meaning and source of every tunable scalar, by dotted name."""
    return {name: field.metadata["described"] for name, field in _described_fields(tree, prefix)}


def _described_fields(tree: Any, prefix: str) -> Iterator[tuple[str, dataclasses.Field]]:
    if not dataclasses.is_dataclass(tree):
        return
    for field in dataclasses.fields(tree):
        name = f"{prefix}{field.name}"
        if "described" in field.metadata:
            yield name, field
        else:
            yield from _described_fields(getattr(tree, field.name), f"{name}.")


def leaf_names(tree: Any) -> list[str]:
    """Return the dotted names of all array leaves, in the order of the tree."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [".".join(str(getattr(key, "name", getattr(key, "idx", key))) for key in path)
            for path, _ in paths]  # fmt: skip


def get(tree: Any, name: str) -> Any:
    """Return the leaf or subtree with this dotted name.

    Raises
    ------
    KeyError
        If there is no such name; the message suggests the nearest ones.
    """
    node = tree
    for part in name.split("."):
        if not hasattr(node, part) or getattr(node, part) is None:
            raise KeyError(_unknown(tree, name))
        node = getattr(node, part)
    return node


def _unknown(tree: Any, name: str) -> str:
    known = leaf_names(tree)
    last = name.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close += [k for k in known if k.rsplit(".", 1)[-1] == last and k not in close]
    by_last = difflib.get_close_matches(last, [k.rsplit(".", 1)[-1] for k in known], n=3)
    close += [k for k in known if k.rsplit(".", 1)[-1] in by_last and k not in close]
    hint = f"did you mean {', '.join(close[:4])}?" if close else "`jcm describe` lists all names."
    return f"no input is called {name!r}; {hint}"


def extract(tree: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the named leaves, e.g. `["forcing.sea_surface_temperature"]`.

    Raises
    ------
    KeyError
        If a name is unknown; the message suggests the nearest ones.
    """
    return {name: get(tree, name) for name in names}


def insert(tree: T, values: Mapping[str, Any]) -> T:
    """Return the tree with the named leaves replaced.

    A value takes the dtype of the leaf that it replaces and must have its shape.

    Raises
    ------
    KeyError
        If a name is unknown; the message suggests the nearest ones.
    ValueError
        If a value has another shape than the leaf, or a name stands for a whole subtree.
    """
    for name, value in values.items():
        old = get(tree, name)
        if not eqx.is_array(old):
            raise ValueError(f"{name!r} is a group, not a single array; name one of its leaves")
        new = jnp.asarray(value, dtype=old.dtype)
        if new.shape != old.shape:
            raise ValueError(f"{name!r} has shape {old.shape}, but the new value {new.shape}")
        tree = eqx.tree_at(lambda t, name=name: get(t, name), tree, new)
    return tree
