"""What every target has, and sums, differences, multiples and ratios of targets.

A target is a single number made from the fields of a run. It knows its units and what it is in
words, and is bound to the grid and the output times of a run before it is used.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.simulate import Inputs
from jcm_sensitivity.regions import Region
from jcm_sensitivity.units import per, same_units


class BoundTarget(eqx.Module):
    """A target of runs with one grid and one interval of output: a function of their fields."""

    #: Units, what it is in words, and the names of the variables it needs.
    units: str = eqx.field(static=True)
    description: str = eqx.field(static=True)
    variables: tuple[str, ...] = eqx.field(static=True)

    @abc.abstractmethod
    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the target.

        Raises
        ------
        ValueError
            If the fields lack a variable or the period, or have another grid.
        """


class Target(abc.ABC):
    """A number made from the fields of a run: a mean, an index, or a combination of these.

    `a + b`, `a - b`, `2 * a`, `a / 2`, `a / b` and `-a` are targets.
    """

    #: What a person calls it; empty: the description says how it is made.
    words: str
    # Lets a number of numpy leave the multiplication to the target.
    __array_ufunc__ = None

    @property
    @abc.abstractmethod
    def units(self) -> str:
        """Units as CF writes them."""

    @property
    @abc.abstractmethod
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables it needs."""

    @property
    @abc.abstractmethod
    def regions(self) -> tuple[Region, ...]:
        """The boxes over which it is a mean, each once."""

    @property
    @abc.abstractmethod
    def _making(self) -> str:
        """How it is made, in words."""

    @abc.abstractmethod
    def bind(
        self, model: Model, *, every: float | int = 1.0, average: bool = True,
        inputs: Inputs | None = None,
    ) -> BoundTarget:  # fmt: skip
        """Return the target as a function of the fields of a run.

        Parameters
        ----------
        model
            Tells the grid and the levels.
        every, average
            Days between outputs, and whether outputs are means, as in `jcm.simulate`.
        inputs
            Tells where land is; needed by masks of land and sea only. The mask is fixed: the
            derivative with respect to the land fraction does not move it.

        Raises
        ------
        ValueError
            If the model lacks a level, a pressure is outside its atmosphere, the region is empty
            or a mask needs inputs.
        """

    @property
    def description(self) -> str:
        """What it is, in words."""
        return self.words or self._making

    @property
    def region(self) -> Region | None:
        """The box over which it is a mean; None if it has none or several."""
        return self.regions[0] if len(self.regions) == 1 else None

    def named(self, words: str) -> "Target":
        """Return the same target with another description."""
        return dataclasses.replace(self, words=words)  # type: ignore[type-var]

    def __str__(self) -> str:
        """Return description and units."""
        return f"{self.description} [{self.units}]"

    def __add__(self, other: Any) -> "Sum":
        """Return the sum."""
        return _sum(self, other, 1.0)

    def __sub__(self, other: Any) -> "Sum":
        """Return the difference."""
        return _sum(self, other, -1.0)

    def __mul__(self, factor: Any) -> "Sum":
        """Return a multiple."""
        return _multiple(self, factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Sum":
        """Return the negative."""
        return _multiple(self, -1.0)

    def __truediv__(self, other: Any) -> "Target":
        """Return the ratio to another target, or a part of this one."""
        if isinstance(other, Target):
            return Ratio(self, other)
        if isinstance(other, Real) and other == 0:
            raise ValueError("a target divided by 0 has no meaning")
        return _multiple(self, 1 / other if isinstance(other, Real) else other)


@dataclasses.dataclass(frozen=True)
class Sum(Target):
    """Sum of multiples of targets with the same units."""

    terms: tuple[tuple[float, Target], ...]
    words: str = ""

    @property
    def units(self) -> str:
        """Units of all terms."""
        return self.terms[0][1].units

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables of all terms."""
        return _once(name for _, target in self.terms for name in target.variables)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The boxes of all terms."""
        return _once(region for _, target in self.terms for region in target.regions)

    @property
    def _making(self) -> str:
        words = ""
        for factor, target in self.terms:
            sign = "minus " if factor < 0 else "plus " if words else ""
            size = "" if abs(factor) == 1 else f"{abs(factor):g} times "
            words += f" {sign}{size}({target.description})"
        return words.strip()

    def bind(
        self, model: Model, *, every: float | int = 1.0, average: bool = True,
        inputs: Inputs | None = None,
    ) -> "BoundSum":  # fmt: skip
        """Return the sum as a function of the fields of a run; see `Target.bind`."""
        bound = tuple(target.bind(model, every=every, average=average, inputs=inputs)
                      for _, target in self.terms)  # fmt: skip
        factors = tuple(factor for factor, _ in self.terms)
        return BoundSum(self.units, self.description, self.variables, bound, factors)


class BoundSum(BoundTarget):
    """Sum of multiples of bound targets."""

    terms: tuple[BoundTarget, ...]
    factors: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the sum."""
        first, *rest = [
            factor * term(fields) for factor, term in zip(self.factors, self.terms, strict=True)]
        return sum(rest, start=first)


@dataclasses.dataclass(frozen=True)
class Ratio(Target):
    """One target over another. Where the denominator is 0, neither it nor its slope is finite."""

    numerator: Target
    denominator: Target
    words: str = ""

    @property
    def units(self) -> str:
        """Units of the numerator over those of the denominator."""
        return per(self.numerator.units, self.denominator.units)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables of both."""
        return _once((*self.numerator.variables, *self.denominator.variables))

    @property
    def regions(self) -> tuple[Region, ...]:
        """The boxes of both."""
        return _once((*self.numerator.regions, *self.denominator.regions))

    @property
    def _making(self) -> str:
        return f"({self.numerator.description}) divided by ({self.denominator.description})"

    def bind(
        self, model: Model, *, every: float | int = 1.0, average: bool = True,
        inputs: Inputs | None = None,
    ) -> "BoundRatio":  # fmt: skip
        """Return the ratio as a function of the fields of a run; see `Target.bind`."""
        upper, lower = (target.bind(model, every=every, average=average, inputs=inputs)
                        for target in (self.numerator, self.denominator))  # fmt: skip
        return BoundRatio(self.units, self.description, self.variables, upper, lower)


class BoundRatio(BoundTarget):
    """One bound target over another."""

    numerator: BoundTarget
    denominator: BoundTarget

    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the ratio."""
        return self.numerator(fields) / self.denominator(fields)


def _once(values: Any) -> tuple:
    """Return the values in their order, each once."""
    return tuple(dict.fromkeys(values))


def _terms(target: Target) -> tuple[tuple[float, Target], ...]:
    """Return the terms of a sum, unless a person named it as a whole."""
    return target.terms if isinstance(target, Sum) and not target.words else ((1.0, target),)


def _sum(first: Target, second: Any, sign: float) -> Sum:
    if not isinstance(second, Target):
        raise TypeError(
            f"a target is added to or subtracted from another target; got {second!r} beside "
            f"{str(first)!r}. For anything else write custom(function, ...)")
    if not same_units(first.units, second.units):
        raise ValueError(
            f"the units do not match: {first.units!r} of {first.description} and "
            f"{second.units!r} of {second.description}; a ratio of the two is possible")
    return Sum(_terms(first) + tuple((sign * factor, target) for factor, target in _terms(second)))


def _multiple(target: Target, factor: Any) -> Sum:
    if not isinstance(factor, Real) or isinstance(factor, bool):
        raise TypeError(
            f"a target is multiplied by or divided by a number; got {factor!r}. For a product of "
            "targets write custom(function, ...)")
    if not math.isfinite(factor):
        raise ValueError(f"a target is multiplied by a finite number; got {factor}")
    return Sum(tuple((float(factor) * own, term) for own, term in _terms(target)))
