"""Physics: what changes the columns besides the dynamics.

A physics is an object with the five methods of `Physics`. It sees columns on the grid, level
first, and returns their tendencies; what it keeps between calls is part of the state of the run.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree

from jcm.state import Columns, Tendency

#: Output variable -> array on the grid, names from `jcm.variables`.
Fields = dict[str, Array]


class Surroundings(eqx.Module):
    """What surrounds the columns at one time; (lon, lat) unless said otherwise."""

    #: Geopotential of the model's orography [m2 s-2].
    surface_geopotential: Float[Array, "*grid"]
    #: Fraction of land [1].
    land_fraction: Float[Array, "*grid"]
    #: Factor by which orography increases the drag over land [1].
    orographic_drag: Float[Array, "*grid"]
    #: Temperature of soil, and of the sea with its ice [K].
    land_temperature: Float[Array, "*grid"]
    sea_temperature: Float[Array, "*grid"]
    #: Availability of soil water for evaporation [1].
    soil_water: Float[Array, "*grid"]
    #: Fraction of land under snow, albedo of land, of sea and of the cell [1].
    snow_cover: Float[Array, "*grid"]
    land_albedo: Float[Array, "*grid"]
    sea_albedo: Float[Array, "*grid"]
    albedo: Float[Array, "*grid"]
    #: Sine and cosine of latitude; (lat,).
    sin_latitude: Float[Array, "*#grid"]
    cos_latitude: Float[Array, "*#grid"]
    #: Fraction of the year [1] and the year.
    year_fraction: Float[Array, ""]
    year: Float[Array, ""]


class SurfaceHeat(eqx.Module):
    """Heat that the slab models of the surface receive [W m-2]."""

    #: Net heat flux into land and into sea.
    land: Float[Array, "*grid"]
    sea: Float[Array, "*grid"]
    #: Sensible heat flux from the sea, upward, and evaporation from it [kg m-2 s-1].
    sea_sensible: Float[Array, "*grid"]
    sea_evaporation: Float[Array, "*grid"]
    #: Shortwave radiation reaching the surface.
    downward_shortwave: Float[Array, "*grid"]


class Physics(eqx.Module):
    """Interface of a physics package."""

    @abc.abstractmethod
    def default_parameters(self) -> Any:
        """Return the tunable numbers of this physics, of the dynamics and of the surface."""

    @abc.abstractmethod
    def schemes(self) -> list[str]:
        """Return one line per scheme, in the order in which they are called."""

    @abc.abstractmethod
    def widths(self, parameters: Any) -> Any:
        """Return the widths of smooth switches."""

    @abc.abstractmethod
    def nothing_held(self, like: Float[Array, "level *grid"]) -> PyTree:
        """Return what is kept between calls, before the first one."""

    @abc.abstractmethod
    def tendencies(
        self,
        columns: Columns,
        around: Surroundings,
        held: PyTree,
        radiation_due: Bool[Array, ""],
        parameters: Any,
    ) -> tuple[Tendency, PyTree, SurfaceHeat, Fields]:
        """Return tendencies, what is kept, the heat into the surface, and diagnostics."""
