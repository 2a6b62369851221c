"""Targets: single numbers made from the fields of a run, whose derivatives are sought.

A target is a mean over a region, a period and, for fields with levels, one level. It is described
without a model, `mean("precipitation_flux", region=region("sahel"), days=last(1))`, and bound to
the grid and the output times of a run before it is used; `sensitivity` binds it by itself.
"""

import difflib
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.variables import VARIABLES
from jcm_sensitivity.regions import GLOBE, Region

#: Periods end at outputs; difference that counts as rounding [days].
SAME_TIME = 1e-6


class Days(NamedTuple):
    """A part of a run; made by `last` or `between`, or `ALL`."""

    #: Beginning and end in days since the start of the run; from its end if negative or None.
    begin: float
    end: float | None

    @property
    def description(self) -> str:
        """The period in words."""
        if self == ALL:
            return "the whole run"
        if self.end is None:
            return "the last day" if self.begin == -1 else f"the last {-self.begin:g} days"
        return f"days {self.begin:g} to {self.end:g}"

    def limits(self, length: float) -> tuple[float, float]:
        """Return beginning and end in a run of this length [days].

        Raises
        ------
        ValueError
            If the run is too short.
        """
        begin = length + self.begin if self.begin < 0 else self.begin
        end = length if self.end is None else self.end
        if begin < -SAME_TIME or end > length + SAME_TIME:
            raise ValueError(
                f"the target is a mean over {self.description}, but the run has {length:g} days; "
                "make the run longer or the period shorter")
        return begin, end


#: The whole run.
ALL = Days(0.0, None)


def last(days: float | int) -> Days:
    """Return the last days of a run.

    Raises
    ------
    ValueError
        If the number is not positive.
    """
    if not 0 < days < np.inf:
        raise ValueError(f"the length of a period must be positive; got {days} days")
    return Days(-float(days), None)


def between(begin: float | int, end: float | int) -> Days:
    """Return the period between two times in days since the start of a run.

    Raises
    ------
    ValueError
        If it is empty or begins before the run.
    """
    if not 0 <= begin < end < np.inf:
        raise ValueError(
            f"a period begins at 0 or later and ends after it begins; got {begin} to {end} days")
    return Days(float(begin), float(end))


class BoundTarget(eqx.Module):
    """A target of runs with one grid and one interval of output: a function of their fields."""

    target: "Target" = eqx.field(static=True)
    #: Weight of each cell, sum 1; (lon, lat).
    cells: Float[np.ndarray, "lon lat"]
    #: Days between outputs, and whether outputs are means over them.
    every: float = eqx.field(static=True)
    average: bool = eqx.field(static=True)

    @property
    def variable(self) -> str:
        """Name of the variable."""
        return self.target.variable

    @property
    def units(self) -> str:
        """Units of the variable."""
        return self.target.units

    @property
    def description(self) -> str:
        """Variable, region and period in words."""
        return self.target.description

    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the target.

        Raises
        ------
        ValueError
            If the fields lack the variable or the period, or have another grid.
        """
        if self.variable not in fields:
            raise ValueError(
                f"the run has no variable {self.variable!r}; it has: {', '.join(sorted(fields))}")
        field = jnp.asarray(fields[self.variable])
        if field.shape[-2:] != self.cells.shape or field.ndim not in (3, 4):
            raise ValueError(
                f"{self.variable} has shape {field.shape}, but the target is bound to a grid of "
                f"{self.cells.shape} cells (longitude, latitude) with outputs first")
        if field.ndim == 4:
            field = field[:, self.target.level]
        times = jnp.asarray(self._times(len(field)), field.dtype)
        # Row by row: a sum of all cells at once is less precise in float32.
        rows = jnp.sum(field * jnp.asarray(self.cells, field.dtype), axis=1)
        return jnp.sum(times * jnp.sum(rows, axis=1))

    def _times(self, count: int) -> np.ndarray:
        """Return the weight of each output, sum 1."""
        begin, end = self.target.days.limits(count * self.every)
        edges = np.arange(count + 1) * self.every
        if self.average and any(np.abs(edges - x).min() > SAME_TIME for x in (begin, end)):
            raise ValueError(
                f"{self.target.days.description} ({begin:g} to {end:g}) cut a mean of "
                f"{self.every:g} days in two; choose a smaller interval of output, `every`")
        inside = (edges[1:] > begin + SAME_TIME) & (edges[1:] <= end + SAME_TIME)
        if not inside.any():
            raise ValueError(
                f"no output lies in {self.target.days.description} ({begin:g} to {end:g}); "
                f"outputs come every {self.every:g} days")
        return inside / inside.sum()


class Target(NamedTuple):
    """Mean of a variable over a region and a period; made by `mean`."""

    variable: str
    region: Region
    days: Days
    level: int | None

    @property
    def units(self) -> str:
        """Units of the variable."""
        return VARIABLES[self.variable].units

    @property
    def description(self) -> str:
        """Variable, region and period in words."""
        level = "" if self.level is None else f" at level {self.level}"
        name = VARIABLES[self.variable].long_name
        return f"mean of {name}{level}, {self.region.description}, {self.days.description}"

    def __str__(self) -> str:
        """Return description and units."""
        return f"{self.description} [{self.units}]"

    def bind(self, model: Model, *, every: float | int = 1.0, average: bool = True) -> BoundTarget:
        """Return the target as a function of the fields of a run.

        Parameters
        ----------
        model
            Tells the grid.
        every, average
            Days between outputs, and whether outputs are means, as in `jcm.simulate`.

        Raises
        ------
        ValueError
            If the level does not exist.
        """
        count = model.levels.count
        if self.level is not None and not -count <= self.level < count:
            raise ValueError(
                f"{model.name} has the levels 0 (top) to {count - 1} (surface); got {self.level}")
        cells = self.region.fraction(model.grid) * model.grid.cell_area
        return BoundTarget(self, cells / cells.sum(), float(every), average)


def mean(
    variable: str, *, region: Region = GLOBE, days: Days = ALL, level: int | None = None
) -> Target:
    """Return the mean of an output variable, weighted with area and time.

    Parameters
    ----------
    variable
        Name of an output variable, e.g. `precipitation_flux`.
    region
        Where; see `jcm_sensitivity.regions`. Cells at its edge count with their part inside.
    days
        When: `ALL`, `last(days)` or `between(begin, end)`.
    level
        Level of a variable with levels, 0 is the top.

    Raises
    ------
    ValueError
        If there is no such variable, or the level is missing or not wanted.
    """
    if variable not in VARIABLES:
        close = difflib.get_close_matches(variable, VARIABLES, n=3)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise ValueError(
            f"unknown variable {variable!r}; {hint}available: {', '.join(sorted(VARIABLES))}")
    if VARIABLES[variable].dims == "3d" and level is None:
        raise ValueError(f"{variable} has levels; choose one, e.g. level=0 (top)")
    if VARIABLES[variable].dims == "2d" and level is not None:
        raise ValueError(f"{variable} has no levels; got level={level}")
    return Target(variable, region, days, level)
