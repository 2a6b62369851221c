"""Observation operators: from the fields of a run to what was observed.

Each is a quantity (variable and level), places (where in the horizontal) and a statistic: the mean
over the outputs of a period, a variance in time, or a flux by eddies. All are pure functions of the
fields and differentiable; the weights are areas and masses.

Eddies after Peixoto, J. P. and Oort, A. H. (1992): Physics of Climate, chapter 4: a bar is the mean
over a period, a prime the departure from it, brackets are the zonal mean, a star the departure from
that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.model import Model
from jcm_calibrate.observations.periods import Periods
from jcm_calibrate.observations.places import Places, cells, latitude_rows, regions, stations
from jcm_calibrate.observations.quantities import Fields, Quantity, quantity
from jcm_sensitivity.hints import hint
from jcm_sensitivity.units import per

OPERATORS = ("global_mean", "regional_mean", "zonal_mean", "grid", "stations")
#: Statistics and what they are.
STATISTICS = {
    "mean": "mean",
    "transient_eddies": "covariance in time, bar(x'y')",
    "stationary_eddies": "covariance of the means along latitude, [bar(x)* bar(y)*]",
    "zonal_eddies": "covariance along latitude, bar([x*y*]): all eddies, stationary and transient",
    "variance": "variance in time, bar(x'x')",
}


class Operator(eqx.Module):
    """A quantity at places, as one statistic over each period; made by `make_operator`."""

    first: Quantity
    #: Second factor of a covariance; None for a mean.
    second: Quantity | None
    places: Places
    statistic: str = eqx.field(static=True)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables it needs."""
        second = () if self.second is None else self.second.variables
        return tuple(dict.fromkeys((*self.first.variables, *second)))

    @property
    def units(self) -> str:
        """Units of the result."""
        if self.second is None:
            return self.first.units
        return per(self.first.units, per("1", self.second.units))

    @property
    def positive(self) -> str:
        """Direction in which the result counts as positive, empty where there is none."""
        return self.first.positive if self.second is None else ""

    @property
    def description(self) -> str:
        """What is observed and where, in words."""
        what = self.first.description
        if self.second is not None:
            other = "" if self.second == self.first else f" and {self.second.description}"
            what = f"{STATISTICS[self.statistic]}, of {what}{other}"
        return f"{what}; {self.places.description}"

    @property
    def labels(self) -> tuple[str, ...]:
        """What each number of one period is called: part, place."""
        return tuple(
            f"{part}, {place}" if part else place
            for part in self.first.parts for place in self.places.labels)

    def __call__(self, fields: Fields, periods: Periods) -> Float[Array, "period number"]:
        """Return the numbers of each period.

        Parameters
        ----------
        fields
            What `jcm.simulate` returned.
        periods
            Which outputs belong to which period.

        Raises
        ------
        ValueError
            If a field is missing or has another shape.
        """
        values, known = self._checked(self.first, fields)
        if self.second is None:
            found = self._mean(values, known, periods)
        else:
            other, seen = self._checked(self.second, fields)
            known = known if seen is None else seen if known is None else known * seen
            found = self._covariance(values, other, known, periods)
        return found.reshape(found.shape[0], -1)

    def _checked(self, of: Quantity, fields: Fields) -> tuple[Array, Array | None]:
        values, known = of(fields)
        expected = (len(of.parts), *self.places.shape)
        if values.shape[1:] != expected:
            raise ValueError(
                f"{of.description}: the fields have the shape {values.shape[1:]} of (part, lon, "
                f"lat), the observations belong to {expected}; make them for this model")
        return values, known

    def _mean(self, values: Array, known: Array | None, periods: Periods) -> Array:
        """Return means over places and periods of what is above the ground."""
        if known is None:
            return periods.mean(self.places(values))
        total = periods.mean(self.places(values * known))
        share = periods.mean(self.places(known))
        return jnp.where(
            share > 0, total / jnp.where(share > 0, share, 1), periods.mean(self.places(values)))

    def _covariance(self, x: Array, y: Array, known: Array | None, periods: Periods) -> Array:
        if self.statistic == "zonal_eddies":
            product = _departure(x, known) * _departure(y, known)
            return self._mean(product, known, periods)
        if self.statistic == "stationary_eddies":
            mask = None if known is None else periods.mean(known)
            product = _departure(periods.mean(x), mask) * _departure(periods.mean(y), mask)
            return self._mean(product, mask, Periods(None, (), "each"))
        # A covariance does not change with a shift; without the shift, single precision loses it.
        x, y = (z - jax.lax.stop_gradient(z.mean(axis=0)) for z in (x, y))
        mask = None if known is None else periods.mean(known)
        product = periods.mean(x * y) - periods.mean(x) * periods.mean(y)
        return self._mean(product, mask, Periods(None, (), "each"))


def _departure(x: Array, known: Array | None) -> Array:
    """Return the departure from the zonal mean over what is above the ground."""
    if known is None:
        return x - x.mean(axis=-2, keepdims=True)
    share = known.sum(axis=-2, keepdims=True)
    return x - (x * known).sum(axis=-2, keepdims=True) / jnp.where(share > 0, share, 1)


def make_operator(
    model: Model,
    variable: str | Mapping[str, float] | Quantity,
    operator: str = "global_mean",
    *,
    level: int | Sequence[int] | str | None = None,
    levels: Sequence[int] | str | None = None,
    pressure: float | int | Sequence[float] | None = None,
    regions: Any = None,
    bands: Sequence[Sequence[float]] | None = None,
    stations: Mapping[str, Sequence[float]] | None = None,
    mask: Any = None,
    statistic: str = "mean",
    second: str | Mapping[str, float] | Quantity | None = None,
    inputs: Any = None,
) -> Operator:
    """Return an observation operator.

    Parameters
    ----------
    model
        Model of the run; it gives grid and levels.
    variable, level, levels, pressure
        What is observed, see `jcm_calibrate.observations.quantities.quantity`.
    operator
        `global_mean`, `regional_mean` (with `regions`), `zonal_mean` (of rows, or of `bands`),
        `grid` (every cell) or `stations`.
    regions
        Name, box, mask or four edges of a region, or a list of such.
    bands
        Bands (south, north) in degrees.
    stations
        Name -> (latitude, longitude).
    mask
        `land`, `sea` or an array (lon, lat) of the part of each cell that counts.
    statistic
        `mean`, `variance`, `transient_eddies`, `stationary_eddies` or `zonal_eddies`.
    second
        Second factor of the eddies, default the variable itself, e.g. `air_temperature` beside
        `northward_wind`.
    inputs
        Inputs that tell where land is; for the masks `land` and `sea`.

    Raises
    ------
    ValueError
        If a name is unknown, an argument is missing or has no meaning here, or a region is empty.
    """
    if operator not in OPERATORS:
        raise ValueError(
            f"unknown operator {operator!r}; {hint(operator, OPERATORS)}available: "
            f"{', '.join(OPERATORS)}")
    if statistic not in STATISTICS:
        raise ValueError(
            f"unknown statistic {statistic!r}; {hint(statistic, STATISTICS)}available: "
            f"{', '.join(STATISTICS)}")
    if second is not None and not statistic.endswith("_eddies"):
        raise ValueError(f"a second variable has no meaning for the statistic {statistic!r}")
    where = {"level": level, "levels": levels, "pressure": pressure}
    first = quantity(model, variable, **where)
    places = _places(model, operator, regions, bands, stations, mask, inputs)
    if statistic == "mean":
        return Operator(first, None, places, statistic)
    other = first if second is None else quantity(model, second, **where)
    if statistic in ("zonal_eddies", "stationary_eddies") and operator in ("grid", "stations"):
        raise ValueError(f"{statistic} are means along latitude; choose zonal_mean or "
                         f"global_mean, got {operator}")
    return Operator(first, other, places, statistic)


def _places(
    model: Model, operator: str, chosen: Any, bands: Any, points: Any, mask: Any, inputs: Any
) -> Places:
    """Return the places, with an argument refused where it has no meaning."""
    belongs = {"regions": "regional_mean", "bands": "zonal_mean", "stations": "stations"}
    given = {"regions": chosen, "bands": bands, "stations": points}
    for name, value in given.items():
        if value is not None and belongs[name] != operator:
            raise ValueError(f"{name} has no meaning for {operator}; it belongs to "
                             f"{belongs[name]}")
    if operator == "grid":
        return cells(model.grid, mask=mask, inputs=inputs)
    if operator == "zonal_mean":
        return latitude_rows(model.grid, bands=bands, mask=mask, inputs=inputs)
    if operator == "stations":
        if mask is not None:
            raise ValueError("a mask has no meaning for stations; leave out the stations instead")
        return stations(model.grid, points or {})
    if operator == "regional_mean" and chosen is None:
        raise ValueError("regional_mean needs regions=..., names, boxes or masks")
    return regions(model.grid, chosen, mask=mask, inputs=inputs)
