"""Single parameters as parts of a parameter space: what a name stands for, and their priors."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from jcm.parameters import Described, descriptions, get, insert
from jcm_calibrate.parameters.priors import (
    ADVICE,
    MASS_OUTSIDE,
    checked,
    describe,
    from_normal,
    logit_normal,
    mass_outside,
    to_normal,
)


class PriorForm:
    """A prior without its numbers: in their places stands which of them belongs there.

    NumPyro orders the numbers of a distribution by a set of their names, differently in every
    process. This form is sent to other processes, and the order of arguments is part of a compiled
    program that is kept, so neither may depend on that order.
    """

    def __init__(self, numbered: dist.Distribution):
        self.numbered = numbered

    def filled(self, numbers: tuple[Any, ...]) -> dist.Distribution:
        """Return the prior with these numbers."""
        return jax.tree.map(lambda place: numbers[place], self.numbered)

    def __eq__(self, other: object) -> bool:
        """Tell whether the same numbers would make the same prior."""
        return isinstance(other, PriorForm) and (
            jax.tree.flatten(self.numbered) == jax.tree.flatten(other.numbered))

    def __hash__(self) -> int:
        """Return a hash of the family of the distribution."""
        return hash(type(self.numbered).__name__)


class Scalar(eqx.Module):
    """One parameter with its prior; part of a `ParameterSpace`."""

    name: str = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    bounds: tuple[tuple[float, float], ...] = eqx.field(static=True)
    sources: tuple[str, ...] = eqx.field(static=True)
    #: Numbers of the prior, sorted by their names, and the form they belong into.
    numbers: tuple[Float[Array, ""], ...]
    form: PriorForm = eqx.field(static=True)

    @property
    def prior(self) -> dist.Distribution:
        """The prior."""
        return self.form.filled(self.numbers)

    @property
    def labels(self) -> tuple[str, ...]:
        """The name."""
        return (self.name,)

    def from_normal(self, z: Float[Array, "*batch 1"]) -> Float[Array, "*batch 1"]:
        """Return the parameter at standard normal variables."""
        return from_normal(self.prior, z)

    def to_normal(self, x: Float[Array, "*batch 1"]) -> Float[Array, "*batch 1"]:
        """Return the standard normal variables at values of the parameter."""
        return to_normal(self.prior, x)

    def insert(self, inputs: Any, x: Float[Array, " 1"]) -> Any:
        """Return inputs with this value of the parameter."""
        return insert(inputs, {self.name: x[0]})

    def extract(self, inputs: Any) -> Float[Array, " 1"]:
        """Return the parameter of the inputs."""
        return jnp.reshape(get(inputs, self.name), (1,))


def expand(
    inputs: Any, name: str, known: Mapping[str, Described] | None = None
) -> list[str]:
    """Return the parameters that a name, a group or a pattern with * stands for.

    Raises
    ------
    KeyError
        If the name is unknown, or nothing fits the pattern.
    ValueError
        If it is an input without description, such as a field.
    """
    known = descriptions(inputs.parameters, "parameters.") if known is None else known
    if name in known:
        return [name]
    if any(letter in name for letter in "*?["):
        members = [other for other in known if fnmatchcase(other, name)]
        if not members:
            raise KeyError(
                f"no parameter fits the pattern {name!r}; `jcm describe` lists all names")
        return members
    value = get(inputs, name)
    members = [other for other in known if other.startswith(f"{name}.")]
    if members:
        return members
    if eqx.is_array(value) and value.ndim >= 2:
        raise ValueError(
            f"{name} is a field of shape {value.shape}; calibrate a few patterns of it with "
            f"LatitudeField({name!r}) or RegionalField")
    raise ValueError(
        f"{name} is no tunable parameter: it has neither units nor bounds; `jcm describe` lists "
        "those that have")


def sourced(inputs: Any, text: str = "") -> list[str]:
    """Return the names of the parameters whose value has a source that contains the text.

    Without a text: all whose value comes from a publication or a code, so not `chosen here`.
    """
    return [name for name, described in descriptions(inputs.parameters, "parameters.").items()
            if text.lower() in described.source.lower()
            and not described.source.removeprefix("value:").strip().startswith("chosen here")]


def inside(inputs: Any, name: str, described: Described) -> bool:
    """Return whether the value of a parameter is between its bounds, not at one."""
    low, high = described.bounds
    return low < float(get(inputs, name)) < high


def scalar(
    inputs: Any,
    name: str,
    described: Described,
    prior: dist.Distribution | None,
    spread: float,
    allow_outside_bounds: bool,
) -> Scalar:
    """Return one parameter with its prior, after checking both; arguments as `ParameterSpace.of`.

    Raises
    ------
    ValueError
        If the value is at a bound and there is no prior, or the prior lies outside the bounds or
        cannot be mapped.
    """
    low, high = described.bounds
    if prior is None:
        value = float(get(inputs, name))
        if not low < value < high:
            where = "at a bound" if value in (low, high) else "outside the bounds"
            raise ValueError(
                f"{name} = {value:g} {described.units} is {where} ({low:g} to {high:g}), where no "
                f"default prior has its median; give one, priors={{{name!r}: ...}} ({ADVICE}), or "
                "inputs with a value inside")
        prior = logit_normal(value, (low, high), spread)
    prior = checked(prior, name, described.units)
    outside = 0.0 if allow_outside_bounds else mass_outside(prior, (low, high))
    if outside > MASS_OUTSIDE:
        raise ValueError(
            f"{100 * outside:.3g} % of the prior of {name}, {describe(prior)}, lies outside its "
            f"bounds {low:g} to {high:g} {described.units} (at most {100 * MASS_OUTSIDE:g} % may); "
            "choose a prior inside, or allow_outside_bounds=True")
    leaves, structure = jax.tree.flatten(prior)
    order = _sorted_by_name(jax.tree.unflatten(structure, range(len(leaves))))
    places = {leaf: place for place, leaf in enumerate(order)}
    form = PriorForm(jax.tree.unflatten(structure, [places[i] for i in range(len(leaves))]))
    return Scalar(name, (described.units,), ((float(low), float(high)),), (described.source,),
                  tuple(leaves[i] for i in order), form)  # fmt: skip


def _sorted_by_name(prior: Any) -> list[int]:
    """Return the leaves of a prior, the numbers of each distribution sorted by their names."""
    if not isinstance(prior, dist.Distribution):
        return jax.tree.leaves(prior)
    names = sorted(type(prior).gather_pytree_data_fields())
    return [leaf for name in names for leaf in _sorted_by_name(prior.__dict__.get(name))]
