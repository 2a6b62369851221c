"""What is observed: variables of the model on levels, at pressures, their sums and differences.

A quantity turns the fields of a run into (output, part, lon, lat), where the parts are levels or
pressures, and says where each value is above the ground.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import EARTH
from jcm.model import Model
from jcm.pressure_levels import to_pressure_levels
from jcm.variables import VARIABLES
from jcm.vertical import Levels
from jcm_sensitivity.hints import hint
from jcm_sensitivity.units import same_units

Fields = Mapping[str, Any]
Sign = Literal["up", "down", ""]

SURFACE_PRESSURE = "surface_air_pressure"
#: Pascals in a hectopascal.
HECTO = 100.0
#: Lapse rate of the standard atmosphere, ISO 2533 (1975) [K m-1].
LAPSE_RATE = 6.5e-3
_OPPOSITE: dict[Sign, Sign] = {"up": "down", "down": "up", "": ""}


class Quantity(eqx.Module):
    """Interface of what is observed."""

    #: Names of the output variables it needs.
    variables: eqx.AbstractVar[tuple[str, ...]]
    units: eqx.AbstractVar[str]
    #: Direction in which it counts as positive, empty where there is none.
    positive: eqx.AbstractVar[Sign]
    description: eqx.AbstractVar[str]
    #: Names of its parts: levels or pressures, one empty name where there is a single part.
    parts: eqx.AbstractVar[tuple[str, ...]]

    def __call__(
        self, fields: Fields
    ) -> tuple[Float[Array, "output part lon lat"], Array | None]:
        """Return values, finite everywhere, and where they are above ground (None: everywhere)."""
        raise NotImplementedError


class Variable(Quantity):
    """One variable: a field at the surface, chosen levels, or a mass-weighted mean of levels."""

    variables: tuple[str, ...] = eqx.field(static=True)
    units: str = eqx.field(static=True)
    positive: Sign = eqx.field(static=True)
    description: str = eqx.field(static=True)
    parts: tuple[str, ...] = eqx.field(static=True)
    #: Weight of each level in each part; None for a field without levels.
    weights: tuple[tuple[float, ...], ...] | None = eqx.field(static=True)

    def __call__(self, fields: Fields) -> tuple[Array, None]:
        """Return the values; see `Quantity`."""
        field = field_of(fields, self.variables[0])
        if self.weights is None:
            return field[:, None], None
        weights = np.asarray(self.weights)
        if field.ndim != 4 or field.shape[1] != weights.shape[1]:
            raise ValueError(
                f"{self.variables[0]} has shape {field.shape}; expected (output, level, lon, lat) "
                f"with {weights.shape[1]} levels")
        if np.all((weights == 1).sum(axis=1) == 1) and weights.sum() == len(weights):
            return field[:, weights.argmax(axis=1)], None
        return jnp.einsum("pk,okxy->opxy", jnp.asarray(weights, field.dtype), field), None


class OnPressure(Quantity):
    """A variable at pressures, linear in the logarithm of pressure between the layers.

    Where the pressure is below the ground nothing is observed. Such cells have the value of the
    lowest layer, used only where a place lies below the ground altogether.
    """

    variables: tuple[str, ...] = eqx.field(static=True)
    units: str = eqx.field(static=True)
    positive: Sign = eqx.field(static=True)
    description: str = eqx.field(static=True)
    parts: tuple[str, ...] = eqx.field(static=True)
    levels: Levels
    #: Pressures [Pa].
    pressure: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, fields: Fields) -> tuple[Array, Array]:
        """Return the values; see `Quantity`."""
        field = field_of(fields, self.variables[0])
        ground = field_of(fields, SURFACE_PRESSURE)
        pressure = np.asarray(self.pressure)
        found = to_pressure_levels(field, ground, self.levels, pressure)
        known = jnp.isfinite(found)
        below = jnp.asarray(pressure, field.dtype)[:, None, None] > ground[:, None]
        beyond = jnp.where(below, field[:, -1:], field[:, :1])
        return jnp.where(known, found, beyond), known.astype(field.dtype)


class SeaLevelPressure(Quantity):
    """Pressure reduced to sea level from the centre of the lowest layer.

    p (1 + gamma z / T)^(g / (R gamma)): p, T and the height z at the centre of the lowest layer,
    gamma the lapse rate of the standard atmosphere, through the air and the ground below. Over
    high ground it is as arbitrary as any such reduction.
    """

    levels: Levels
    variables: tuple[str, ...] = eqx.field(
        static=True, default=(SURFACE_PRESSURE, "air_temperature", "geopotential_height"))
    units: str = eqx.field(static=True, default="Pa")
    positive: Sign = eqx.field(static=True, default="")
    description: str = eqx.field(static=True, default="air pressure at sea level")
    parts: tuple[str, ...] = eqx.field(static=True, default=("",))

    def __call__(self, fields: Fields) -> tuple[Array, None]:
        """Return the values; see `Quantity`."""
        ground, temperature, height = (field_of(fields, name) for name in self.variables)
        pressure = ground * float(self.levels.centre[-1])
        exponent = EARTH.gravity / (EARTH.gas_constant * LAPSE_RATE)
        warming = LAPSE_RATE * height[:, -1] / temperature[:, -1]
        return (pressure * (1 + warming) ** exponent)[:, None], None


class Combination(Quantity):
    """A weighted sum of quantities with the same units."""

    variables: tuple[str, ...] = eqx.field(static=True)
    units: str = eqx.field(static=True)
    positive: Sign = eqx.field(static=True)
    description: str = eqx.field(static=True)
    parts: tuple[str, ...] = eqx.field(static=True)
    terms: tuple[Quantity, ...]
    factors: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, fields: Fields) -> tuple[Array, Array | None]:
        """Return the values; see `Quantity`."""
        found = [term(fields) for term in self.terms]
        masks = [known for _, known in found if known is not None]
        total = sum(k * values for k, (values, _) in zip(self.factors, found, strict=True))
        return jnp.asarray(total), jnp.prod(jnp.stack(masks), axis=0) if masks else None


def _signs(terms: Sequence[Quantity], factors: Sequence[float]) -> list[Sign]:
    return [t.positive if k > 0 else _OPPOSITE[t.positive]
            for t, k in zip(terms, factors, strict=True)]  # fmt: skip


def field_of(fields: Fields, name: str) -> Array:
    """Return a field of a run.

    Raises
    ------
    ValueError
        If the run has no such variable.
    """
    if name not in fields:
        raise ValueError(
            f"the run has no variable {name!r}; let it observe {name!r}. It has: "
            f"{', '.join(sorted(fields))}")
    return jnp.asarray(fields[name])


def quantity(
    model: Model,
    variable: str | Mapping[str, float] | Quantity,
    *,
    level: int | Sequence[int] | str | None = None,
    levels: Sequence[int] | str | None = None,
    pressure: float | int | Sequence[float] | None = None,
) -> Quantity:
    """Return what is observed.

    Parameters
    ----------
    model
        Model of the run.
    variable
        Name of an output variable, or `sea_level_pressure`, or name -> factor of a sum, e.g.
        `{"toa_net_downward_shortwave_flux": 1, "toa_outgoing_longwave_flux": -1}`.
    level
        One level from the top or several, each observed by itself, or `all`.
    levels
        Levels of which the mass-weighted mean is observed, or `column`.
    pressure
        Pressures, each observed by itself [hPa].

    Raises
    ------
    ValueError
        If a name, level or pressure does not exist, or units or signs of a sum disagree.
    """
    if isinstance(variable, Quantity):
        return variable
    where = {"level": level, "levels": levels, "pressure": pressure}
    if isinstance(variable, Mapping):
        terms = [quantity(model, name, **where) for name in variable]
        return _combined(terms, [float(k) for k in variable.values()])
    given = [f"{name}={value}" for name, value in where.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"give one of level, levels and pressure; got {' and '.join(given)}")
    if variable == "sea_level_pressure":
        return SeaLevelPressure(levels=model.levels)
    if variable not in VARIABLES:
        known = [*VARIABLES, "sea_level_pressure"]
        raise ValueError(
            f"unknown variable {variable!r}; {hint(variable, known)}available: "
            f"{', '.join(sorted(known))}")
    facts = VARIABLES[variable]
    if facts.dims == "2d":
        if given:
            raise ValueError(f"{variable} has no levels; got {given[0]}")
        return Variable((variable,), facts.units, facts.positive, facts.long_name, ("",), None)
    if not given:
        raise ValueError(
            f"{variable} has levels; choose level=... (0 is the top), levels='column' or "
            "pressure=... in hPa")
    if pressure is not None:
        return _on_pressure(model, variable, np.atleast_1d(np.asarray(pressure, float)))
    weights, parts = _layer_weights(model, level, levels)
    return Variable(
        (variable,), facts.units, facts.positive, f"{facts.long_name}, {_joined(parts)}",
        parts if len(parts) > 1 else ("",), weights)


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]} ({len(parts)})"


def _layer_weights(model: Model, level: Any, levels: Any) -> tuple[tuple, tuple[str, ...]]:
    """Return the weight of each layer in each part, and the names of the parts."""
    count, thickness = model.levels.count, np.asarray(model.levels.thickness)
    several = level if levels is None else levels
    if isinstance(several, str):
        if several != ("all" if levels is None else "column"):
            raise ValueError(f"level is a number, a list or 'all', levels a list or 'column'; "
                             f"got {several!r}")
        chosen = list(range(count))
    else:
        chosen = [int(x) for x in np.atleast_1d(np.asarray(several))]
    for number in chosen:
        if not -count <= number < count:
            raise ValueError(
                f"{model.name} has the levels 0 (top) to {count - 1} (surface); got {number}")
    rows = np.eye(count)[[number % count for number in chosen]]
    if levels is None:
        return tuple(map(tuple, rows.tolist())), tuple(f"level {n % count}" for n in chosen)
    weight = np.minimum(rows.sum(axis=0), 1) * thickness
    name = ("whole column" if isinstance(levels, str)
            else f"mass-weighted mean of levels {', '.join(str(n % count) for n in chosen)}")
    return (tuple((weight / weight.sum()).tolist()),), (name,)


def _on_pressure(model: Model, variable: str, pressure: np.ndarray) -> OnPressure:
    bottom = model.constants.reference_pressure / HECTO
    top = float(model.levels.centre[0]) * bottom
    bad = pressure[~((pressure >= top) & (pressure <= bottom))]
    if bad.size or not pressure.size:
        raise ValueError(
            f"the atmosphere of {model.name} reaches from {top:g} hPa, the middle of its highest "
            f"layer, to {bottom:g} hPa; got a pressure of {', '.join(f'{x:g}' for x in bad)} hPa")
    facts, parts = VARIABLES[variable], tuple(f"{x:g} hPa" for x in pressure)
    return OnPressure(
        (variable, SURFACE_PRESSURE), facts.units, facts.positive,
        f"{facts.long_name}, {_joined(parts)}", parts if len(parts) > 1 else ("",), model.levels,
        tuple(float(x) * HECTO for x in pressure))


def _combined(terms: Sequence[Quantity], factors: Sequence[float]) -> Combination:
    if not terms:
        raise ValueError("a sum of variables needs one at least")
    for term in terms[1:]:
        if not same_units(term.units, terms[0].units):
            raise ValueError(
                f"a sum needs one unit: {terms[0].description} has {terms[0].units!r}, "
                f"{term.description} has {term.units!r}")
        if len(term.parts) != len(terms[0].parts):
            raise ValueError(
                f"a sum needs the same levels: {terms[0].description}; {term.description}")
    signs: list[Sign] = [sign for sign in _signs(terms, factors) if sign]
    if len(set(signs)) > 1:
        named = "; ".join(f"{k:+g} x {t.description} (positive {t.positive or 'without sign'})"
                          for t, k in zip(terms, factors, strict=True))
        raise ValueError(
            f"the terms of a sum count in opposite directions: {named}; give the upward flux the "
            "factor -1 for a net downward flux")
    sign: Sign = signs[0] if signs else ""
    words = " ".join(
        f"{'-' if k < 0 else '+'} {'' if abs(k) == 1 else f'{abs(k):g} x '}{term.description}"
        for k, term in zip(factors, terms, strict=True)).removeprefix("+ ")
    return Combination(
        tuple(dict.fromkeys(name for term in terms for name in term.variables)), terms[0].units,
        sign, words, terms[0].parts, tuple(terms), tuple(factors))
