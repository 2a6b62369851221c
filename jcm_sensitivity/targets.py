"""Targets: single numbers made from the fields of a run, whose derivatives are sought.

A mean is taken over a region, a period and, for fields with levels, one or several of them. It is
described without a model, `mean("precipitation_flux", region="sahel", days=last(1))`, and bound to
the grid and the output times of a run before it is used; `sensitivity` binds it by itself.
`jcm_sensitivity.indices` has ready indices, `custom` makes a target of any function of the fields.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.simulate import Inputs
from jcm_sensitivity.combinations import BoundTarget, Target
from jcm_sensitivity.hints import hint
from jcm_sensitivity.masks import Mask, Masked, Where, find_mask, masked
from jcm_sensitivity.periods import ALL, Days
from jcm_sensitivity.regions import GLOBE, Region
from jcm_sensitivity.regions import region as find_region
from jcm_sensitivity.slices import SURFACE_PRESSURE, BoundSlice, Slice, make_slice
from jcm_sensitivity.units import per


@dataclass(frozen=True)
class Mean(Target):
    """Mean of a variable over a region and a period; made by `mean`."""

    slice: Slice
    where: Masked
    #: How columns with unequal surface pressure count: `sigma` or `mass`; see `mean`.
    weighting: str = "sigma"
    words: str = ""

    @property
    def variable(self) -> str:
        """Name of the variable."""
        return self.slice.variable

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of all the output variables it needs."""
        extra = (SURFACE_PRESSURE,) if self.weighting == "mass" else ()
        return tuple(dict.fromkeys((*self.slice.variables, *extra)))

    @property
    def region(self) -> Region:
        """The box, without masks."""
        return self.where.region

    @property
    def regions(self) -> tuple[Region, ...]:
        """The box, without masks."""
        return (self.region,)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """The masks, all of which hold."""
        return self.where.masks

    @property
    def days(self) -> Days:
        """The period."""
        return self.slice.days

    @property
    def level(self) -> int | None:
        """The level, if it is one."""
        return self.slice.level

    @property
    def units(self) -> str:
        """Units of the variable."""
        return self.slice.units

    @property
    def _making(self) -> str:
        kind = "mass-weighted mean" if self.weighting == "mass" else "mean"
        return (f"{kind} of {self.slice.description}, {self.where.description}, "
                f"{self.days.description}")

    def bind(
        self, model: Model, *, every: float | int = 1.0, average: bool = True,
        inputs: Inputs | None = None,
    ) -> "BoundMean":  # fmt: skip
        """Return the mean as a function of the fields of a run; see `Target.bind`."""
        bound = self.slice.bind(model, every=float(every), average=average)
        cells = self.where.fraction(model.grid, inputs) * model.grid.cell_area
        return BoundMean(
            self.units, self.description, self.variables, bound, cells / cells.sum(),
            self.weighting == "mass")  # fmt: skip


class BoundMean(BoundTarget):
    """A mean over runs with one grid and one interval of output."""

    slice: BoundSlice
    #: Weight of each cell, sum 1; (lon, lat).
    cells: Float[np.ndarray, "lon lat"]
    by_mass: bool = eqx.field(static=True)

    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the mean; see `BoundTarget`."""
        total = self._sum(self.slice(fields, by_mass=self.by_mass))
        return total / self._sum(self.slice.mass(fields)) if self.by_mass else total

    def _sum(self, field: Float[Array, "lon lat"]) -> Float[Array, ""]:
        # Row by row: a sum of all cells at once is less precise in float32.
        return jnp.sum(jnp.sum(field * jnp.asarray(self.cells, field.dtype), axis=0))


def mean(
    variable: str,
    *,
    region: str | Where = GLOBE,
    mask: str | Where | np.ndarray | None = None,
    days: Days = ALL,
    level: int | None = None,
    levels: Iterable[int] | str | None = None,
    pressure: float | int | None = None,
    weighting: str = "sigma",
) -> Mean:
    """Return the mean of an output variable, weighted with area, time and mass of layers.

    Parameters
    ----------
    variable
        Name of an output variable, e.g. `precipitation_flux`. One that stands for the sea or the
        land only, such as `sea_surface_temperature`, has filler elsewhere: give it that mask.
    region
        Where: the name of a region, a box, or `region & mask`; see `jcm_sensitivity.regions`.
        Cells at the edge of a box count with their part inside.
    mask
        What of the region counts: `land`, `sea`, or an array (lon, lat) with the part of each
        cell. Land and sea are those of the inputs, by `forcing.land_fraction`.
    days
        When: `ALL`, `last(days)` or `between(begin, end)`.
    level
        Level of a variable with levels, 0 is the top.
    levels
        Several levels, e.g. `[5, 6, 7]` or `range(2, 5)`, or `"column"` for all: the mean weighted
        with the mass of the layers.
    pressure
        Pressure in hPa instead of a level. Linear in the logarithm of pressure between the centres
        of the layers; beyond the highest and the lowest centre, and below the ground, the value of
        that layer. The surface pressure is the one of the same output.
    weighting
        `sigma`: a column counts with its area, and its layers with their thickness in sigma.
        `mass`: a column counts with its area times its surface pressure, so that the mean is one
        over the mass of the region. Of outputs that are means over time, the product of the means
        is taken.

    Raises
    ------
    ValueError
        If a name is unknown, or the level is missing or not wanted.
    """
    if weighting not in ("sigma", "mass"):
        raise ValueError(f"weighting is 'sigma' or 'mass'; got {weighting!r}")
    where = masked(find_region(region) if isinstance(region, str) else region)
    if mask is not None:
        where = where & find_mask(mask)
    chosen = make_slice(variable, days, level=level, levels=levels, pressure=pressure)
    return Mean(chosen, where, weighting)


@dataclass(frozen=True)
class Custom(Target):
    """A target made by a function of the fields; see `custom`."""

    function: Callable[[Mapping[str, Any]], Any]
    names: tuple[str, ...]
    unit: str
    words: str

    @property
    def units(self) -> str:
        """Units, as given."""
        return self.unit

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables, as given."""
        return self.names

    @property
    def regions(self) -> tuple[Region, ...]:
        """None is known."""
        return ()

    @property
    def _making(self) -> str:
        return getattr(self.function, "__name__", "target")

    def bind(
        self, model: Model, *, every: float | int = 1.0, average: bool = True,
        inputs: Inputs | None = None,
    ) -> "BoundCustom":  # fmt: skip
        """Return the function, with its units and words; see `Target.bind`."""
        return BoundCustom(self.units, self.description, self.variables, self.function)


class BoundCustom(BoundTarget):
    """A function of the fields with its units."""

    function: Callable[[Mapping[str, Any]], Any] = eqx.field(static=True)

    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the number.

        Raises
        ------
        ValueError
            If a variable is missing, or the function returns anything but one real number.
        """
        for name in self.variables:
            if name not in fields:
                raise ValueError(
                    f"the run has no variable {name!r}; {hint(name, fields)}it has: "
                    f"{', '.join(sorted(fields))}")
        value = jnp.asarray(self.function(fields))
        if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f"a target is a single real number; the function of {self.description!r} returned "
                f"an array of shape {value.shape} and type {value.dtype}")
        return value


def custom(
    function: Callable[[Mapping[str, Any]], Any],
    *,
    variables: Iterable[str],
    units: str,
    description: str = "",
) -> Custom:
    """Return a target from any differentiable function of the fields of a run.

    Parameters
    ----------
    function
        From a dictionary of fields, each (outputs, level, lon, lat) or (outputs, lon, lat), to one
        real number. Give the same function again where a compiled program shall be used again.
    variables
        Names of the output variables that it reads.
    units
        Units of the number as CF writes them, e.g. `K` or `kg m-2 s-1`; `1` for none.
    description
        What it is, in words; default the name of the function.

    Raises
    ------
    ValueError
        If the units cannot be read, or no variable is named.
    """
    names = (variables,) if isinstance(variables, str) else tuple(variables)
    if not names:
        raise ValueError(
            "name the variables that the function reads, e.g. variables=['precipitation_flux']")
    per(units, "1")
    return Custom(function, names, units, description)
