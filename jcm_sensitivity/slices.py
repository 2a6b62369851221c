"""Slices: a variable on one level, over several, or at a pressure, as the mean over a period.

Layers are weighted with their mass. In sigma coordinates that is the thickness in sigma times the
surface pressure; the mass-weighted mean of one column needs the thickness only.
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.variables import VARIABLES
from jcm_sensitivity.hints import hint
from jcm_sensitivity.periods import ALL, Days

SURFACE_PRESSURE = "surface_air_pressure"
#: Pascals in a hectopascal.
HECTO = 100.0


@dataclass(frozen=True)
class Slice:
    """A variable, where in the vertical, and when; made by `make_slice`."""

    variable: str
    days: Days
    #: One level from the top, or all that are averaged, or `column`, or a pressure [hPa].
    level: int | None = None
    levels: tuple[int, ...] | Literal["column"] | None = None
    pressure: float | None = None

    @property
    def units(self) -> str:
        """Units of the variable."""
        return VARIABLES[self.variable].units

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it needs."""
        return (self.variable,) if self.pressure is None else (self.variable, SURFACE_PRESSURE)

    @property
    def description(self) -> str:
        """Variable and levels in words."""
        name = VARIABLES[self.variable].long_name
        if self.level is not None:
            return f"{name} at level {self.level}"
        if self.pressure is not None:
            return f"{name} at {self.pressure:g} hPa"
        if self.levels == "column":
            return f"{name} over the whole column"
        if self.levels is not None:
            return f"{name} over the levels {', '.join(map(str, self.levels))}"
        return name

    def bind(self, model: Model, *, every: float, average: bool) -> "BoundSlice":
        """Return the slice as a function of the fields of a run.

        Raises
        ------
        ValueError
            If the model has no such level, or the pressure is outside its atmosphere.
        """
        count = model.levels.count
        chosen = range(count) if self.levels == "column" else self.levels
        for level in (*(chosen or ()), *(() if self.level is None else (self.level,))):
            if not -count <= level < count:
                raise ValueError(
                    f"{model.name} has the levels 0 (top) to {count - 1} (surface); got {level}")
        if self.pressure is not None:
            _check_pressure(self.pressure, model)
        numbers = None if chosen is None else tuple(level % count for level in chosen)
        if numbers is not None and len(set(numbers)) < len(numbers):
            raise ValueError(
                f"the levels {', '.join(map(str, chosen or ()))} name one of the {count} levels of "
                f"{model.name} twice; name each once")
        return BoundSlice(
            self, numbers, tuple(model.levels.thickness.tolist()),
            tuple(np.log(model.levels.centre).tolist()), model.grid.shape,
            # The mean over all outputs is the same whatever lies between them: one program
            # serves runs of many lengths.
            1.0 if self.days == ALL else every, average)


def _check_pressure(pressure: float, model: Model) -> None:
    """Refuse a pressure that is not between the top layer and the sea surface."""
    bottom = model.constants.reference_pressure / HECTO
    top = float(model.levels.centre[0]) * bottom
    if not top <= pressure <= bottom:
        raise ValueError(
            f"the atmosphere of {model.name} reaches from {top:g} hPa, the middle of its highest "
            f"layer, to {bottom:g} hPa; got a pressure of {pressure:g} hPa")


def make_slice(
    variable: str,
    days: Days,
    *,
    level: int | None = None,
    levels: Iterable[int] | str | None = None,
    pressure: float | int | None = None,
) -> Slice:
    """Return a slice; arguments as those of `jcm_sensitivity.mean`.

    Raises
    ------
    ValueError
        If there is no such variable, or it has levels and not exactly one of `level`, `levels`
        and `pressure` is given, or it has none and one is given.
    """
    if variable not in VARIABLES:
        raise ValueError(
            f"unknown variable {variable!r}; {hint(variable, VARIABLES)}available: "
            f"{', '.join(sorted(VARIABLES))}")
    asked = {"level": level, "levels": levels, "pressure": pressure}
    given = [f"{name}={value}" for name, value in asked.items() if value is not None]
    if VARIABLES[variable].dims == "2d" and given:
        raise ValueError(f"{variable} has no levels; got {' and '.join(given)}")
    if VARIABLES[variable].dims == "3d" and not given:
        raise ValueError(
            f"{variable} has levels; choose one, e.g. level=0 (top), or several, e.g. "
            "levels=[5, 6, 7], or all, levels='column', or a pressure in hPa, pressure=850")
    if len(given) > 1:
        raise ValueError(f"give one of level, levels and pressure; got {' and '.join(given)}")
    if pressure is not None and not 0 < pressure < np.inf:
        raise ValueError(f"a pressure is a positive number of hPa; got {pressure}")
    if isinstance(levels, str):
        if levels != "column":
            raise ValueError(f"levels is a list of numbers or 'column'; got {levels!r}")
        chosen: tuple[int, ...] | Literal["column"] | None = "column"
    else:
        chosen = None if levels is None else tuple(operator.index(number) for number in levels)
    if chosen == ():
        raise ValueError("the list of levels is empty; name at least one, 0 is the top")
    return Slice(variable, days, level, chosen, None if pressure is None else float(pressure))


class BoundSlice(eqx.Module):
    """A slice of runs with one grid and one interval of output."""

    slice: Slice = eqx.field(static=True)
    #: Numbers of the layers that are averaged, from the top; None: no average.
    numbers: tuple[int, ...] | None = eqx.field(static=True)
    #: Thickness of all layers in sigma, and logarithm of sigma at their centres.
    thickness: tuple[float, ...] = eqx.field(static=True)
    log_sigma: tuple[float, ...] = eqx.field(static=True)
    shape: tuple[int, int] = eqx.field(static=True)
    every: float = eqx.field(static=True)
    average: bool = eqx.field(static=True)

    def __call__(
        self, fields: Mapping[str, Array | np.ndarray], *, by_mass: bool = False
    ) -> Float[Array, "lon lat"]:
        """Return the mean over the period; of the field times surface pressure with `by_mass`.

        Raises
        ------
        ValueError
            If the fields lack a variable or the period, or have another grid.
        """
        field = self._field(fields, self.slice.variable, VARIABLES[self.slice.variable].dims)
        if self.slice.level is not None:
            field = field[:, self.slice.level]
        elif self.numbers is not None:
            weight = np.asarray(self.thickness)[list(self.numbers)]
            weight = jnp.asarray(weight / weight.sum(), field.dtype)
            field = jnp.sum(field[:, np.asarray(self.numbers)] * weight[:, None, None], axis=1)
        elif self.slice.pressure is not None:
            surface = self._field(fields, SURFACE_PRESSURE)
            field = at_pressure(
                field, surface, np.asarray(self.log_sigma), self.slice.pressure * HECTO)
        return self._time_mean(field * self._field(fields, SURFACE_PRESSURE) if by_mass else field)

    def mass(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, "lon lat"]:
        """Return the mean surface pressure of the period, to which the mass is proportional."""
        return self._time_mean(self._field(fields, SURFACE_PRESSURE))

    def _time_mean(self, field: Float[Array, "outputs lon lat"]) -> Float[Array, "lon lat"]:
        times = self.slice.days.weights(len(field), self.every, self.average)
        return jnp.sum(field * jnp.asarray(times, field.dtype)[:, None, None], axis=0)

    def _field(
        self, fields: Mapping[str, Array | np.ndarray], name: str, dims: str = "2d"
    ) -> Array:
        """Return a field of the run, checked."""
        if name not in fields:
            raise ValueError(
                f"the run has no variable {name!r}; it has: {', '.join(sorted(fields))}")
        field = jnp.asarray(fields[name])
        inner = (len(self.thickness), *self.shape) if dims == "3d" else self.shape
        if field.shape[1:] != inner:
            raise ValueError(
                f"{name} has shape {field.shape}, but the target is bound to a grid of "
                f"{inner} ({'level, ' if dims == '3d' else ''}longitude, latitude), with outputs "
                "first")
        return field.astype(jnp.result_type(field, float))


def at_pressure(
    field: Float[Array, "outputs level lon lat"],
    surface_pressure: Float[Array, "outputs lon lat"],
    log_sigma: Float[np.ndarray, "level"],
    pressure: float,
) -> Float[Array, "outputs lon lat"]:
    """Return a field at a pressure [Pa], linear in the logarithm of pressure between layers.

    Beyond the centres of the highest and the lowest layer, and below the ground, the value of that
    layer holds. So the result is continuous in the surface pressure, which a mask of what lies
    below the ground is not.
    """
    wanted = jnp.log(pressure / surface_pressure)[:, None]
    low = jnp.asarray(log_sigma[:-1], field.dtype)[:, None, None]
    spacing = jnp.asarray(np.diff(log_sigma), field.dtype)[:, None, None]
    part = jnp.clip((wanted - low) / spacing, 0, 1)
    return field[:, 0] + jnp.sum(part * jnp.diff(field, axis=1), axis=1)
