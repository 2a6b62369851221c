"""Ready indices of the climate, each a target with units.

All are smooth functions of the fields: a position is a centroid, not the place of a maximum, which
jumps from one row of the grid to the next. Where a field vanishes in the whole band, the centroid
is the middle of the band and has no derivative.

References
----------
Adam, O., Bischoff, T. and Schneider, T. (2016): Seasonal and interannual variations of the energy
flux equator and ITCZ. Part I: Zonally averaged ITCZ position. J. Clim., 29, 3219-3230.
Ceppi, P., Zappa, G., Shepherd, T. G. and Gregory, J. M. (2018): Fast and slow components of the
extratropical atmospheric circulation response to CO2 forcing. J. Clim., 31, 1091-1105.
Trenberth, K. E. (1997): The definition of El Nino. Bull. Am. Meteorol. Soc., 78, 2771-2777.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.simulate import Inputs
from jcm_sensitivity.combinations import BoundTarget, Target
from jcm_sensitivity.hints import hint
from jcm_sensitivity.masks import LAND, SEA
from jcm_sensitivity.periods import ALL, Days
from jcm_sensitivity.regions import GLOBE, REGIONS, Region, box
from jcm_sensitivity.regions import region as find_region
from jcm_sensitivity.slices import BoundSlice, Slice, make_slice
from jcm_sensitivity.targets import Mean, mean

#: Spacing of the latitudes on which centroids are summed [degrees], as Adam et al. (2016).
SPACING = 0.1

#: Bands in which a jet is sought.
JETS = {"north": REGIONS["northern_jet"], "south": REGIONS["southern_jet"]}


@dataclass(frozen=True)
class PowerMean(Target):
    """Mean over latitude, weighted with a power of a zonal mean; of latitude or of the field.

    The weight is (c x)^n, where x is the positive part of the mean over time and longitude, c the
    cosine of latitude or 1, and n the power.
    """

    title: str
    slice: Slice
    box: Region
    power: float | int
    #: Whether the weight holds the cosine of latitude.
    cosine: bool
    #: What is averaged: the latitude, or the field itself.
    of: Literal["latitude", "field"]
    words: str = ""

    @property
    def units(self) -> str:
        """Degrees north, or the units of the variable."""
        return "degrees_north" if self.of == "latitude" else self.slice.units

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables it needs."""
        return self.slice.variables

    @property
    def regions(self) -> tuple[Region, ...]:
        """The box in which it looks."""
        return (self.box,)

    @property
    def _making(self) -> str:
        return (f"{self.title} (power {self.power:g} of {self.slice.description}), "
                f"{self.box.description}, {self.slice.days.description}")

    def bind(
        self, model: Model, *, every: float | int = 1.0, average: bool = True,
        inputs: Inputs | None = None,
    ) -> "BoundPowerMean":  # fmt: skip
        """Return it as a function of the fields of a run; see `Target.bind`."""
        grid, region = model.grid, self.box
        count = max(1, round((region.north - region.south) / SPACING))
        latitude = region.south + (np.arange(count) + 0.5) * (region.north - region.south) / count
        rows = np.stack(
            [np.interp(latitude, grid.latitude, row) for row in np.eye(grid.nlat)], axis=1)
        columns = region.columns(grid)
        return BoundPowerMean(
            self.units, self.description, self.variables,
            self.slice.bind(model, every=float(every), average=average),
            columns / columns.sum(), rows, latitude, self.power, self.cosine, self.of)  # fmt: skip


class BoundPowerMean(BoundTarget):
    """A power-weighted mean over latitude of runs with one grid and one interval of output."""

    slice: BoundSlice
    #: Weight of each longitude, sum 1.
    columns: Float[np.ndarray, "lon"]
    #: Linear interpolation from the rows of the grid to evenly spaced latitudes [degrees].
    rows: Float[np.ndarray, "fine lat"]
    latitude: Float[np.ndarray, "fine"]
    power: float | int = eqx.field(static=True)
    cosine: bool = eqx.field(static=True)
    of: str = eqx.field(static=True)

    def __call__(self, fields: Mapping[str, Array | np.ndarray]) -> Float[Array, ""]:
        """Return the mean; see `BoundTarget`."""
        field = self.slice(fields)
        columns, rows, latitude = (
            jnp.asarray(x, field.dtype) for x in (self.columns, self.rows, self.latitude))
        zonal = jnp.sum(columns[:, None] * field, axis=0)
        profile = jnp.maximum(jnp.sum(rows * zonal, axis=1), 0)
        factor = jnp.cos(jnp.deg2rad(latitude)) if self.cosine else 1.0
        # The scale cancels, in the derivative too; without it a power of 1e-5 underflows.
        largest = jax.lax.stop_gradient(jnp.max(profile))
        scale = jnp.where(largest > 0, largest, 1)
        weight = (factor * profile / scale) ** self.power
        total = jnp.sum(weight)
        total = jnp.where(total > 0, total, 1)
        if self.of == "field":
            return jnp.sum(weight * profile) / total
        middle = jnp.mean(latitude)
        return middle + jnp.sum(weight * (latitude - middle)) / total


def _power_mean(
    title: str, slice: Slice, where: Region, power: float | int, *, cosine: bool = False,
    of: Literal["latitude", "field"] = "latitude",
) -> PowerMean:  # fmt: skip
    if not 1 <= power < np.inf:
        raise ValueError(f"the power of the weight of a centroid is at least 1; got {power}")
    return PowerMean(title, slice, where, power, cosine, of)


def itcz_latitude(
    *, region: str | Region = "itcz_band", power: float | int = 10, days: Days = ALL
) -> PowerMean:
    """Return the latitude of the intertropical convergence zone [degrees_north].

    The integral of phi (cos(phi) P)^n over that of (cos(phi) P)^n between 20S and 20N, where P is
    the mean precipitation over time and longitude and n = 10: Adam, Bischoff and Schneider (2016).

    Parameters
    ----------
    region
        Another band, or a sector such as `box(-20, 20, 160, -100)`.
    power
        n. 1 is the centroid of precipitation; the larger, the closer to the maximum.
    days
        When.

    Raises
    ------
    ValueError
        If the power is below 1 or the region is unknown.
    """
    slice = make_slice("precipitation_flux", days)
    return _power_mean("ITCZ latitude", slice, find_region(region), power, cosine=True)


def jet_latitude(
    *,
    hemisphere: str = "north",
    region: str | Region | None = None,
    power: float | int = 2,
    level: int | None = None,
    pressure: float | int | None = None,
    days: Days = ALL,
) -> PowerMean:
    """Return the latitude of the midlatitude jet [degrees_north].

    The integral of phi u^n over that of u^n between 30 and 60 degrees, where u is the eastward wind
    at 850 hPa averaged over time and longitude and n = 2: Ceppi et al. (2018). Easterlies count as
    0 (chosen here).

    Parameters
    ----------
    hemisphere
        `north` or `south`.
    region
        Another band or sector, e.g. `north_atlantic`, instead of a hemisphere.
    power
        n. The larger, the closer to the maximum.
    level, pressure
        Level from the top, or pressure [hPa], where the wind is taken; default 850 hPa.
    days
        When.

    Raises
    ------
    ValueError
        If the power is below 1 or a name is unknown.
    """
    slice, where = _jet(hemisphere, region, level, pressure, days)
    return _power_mean("jet latitude", slice, where, power)


def jet_speed(
    *,
    hemisphere: str = "north",
    region: str | Region | None = None,
    power: float | int = 10,
    level: int | None = None,
    pressure: float | int | None = None,
    days: Days = ALL,
) -> PowerMean:
    """Return the strength of the midlatitude jet [m s-1].

    The integral of u^(n + 1) over that of u^n between 30 and 60 degrees, with u as in
    `jet_latitude` and n = 10: the mean wind weighted towards its maximum, which it never exceeds.
    Chosen here as a smooth measure of the wind at the jet. Arguments as those of `jet_latitude`.

    Raises
    ------
    ValueError
        If the power is below 1 or a name is unknown.
    """
    slice, where = _jet(hemisphere, region, level, pressure, days)
    return _power_mean("jet speed", slice, where, power, of="field")


def _jet(
    hemisphere: str, region: str | Region | None, level: int | None,
    pressure: float | int | None, days: Days,
) -> tuple[Slice, Region]:  # fmt: skip
    if hemisphere not in JETS:
        raise ValueError(f"hemisphere is 'north' or 'south'; got {hemisphere!r}")
    if level is None and pressure is None:
        pressure = 850
    slice = make_slice("eastward_wind", days, level=level, pressure=pressure)
    where = JETS[hemisphere] if region is None else find_region(region)
    return slice, where


def global_mean_temperature(*, days: Days = ALL) -> Mean:
    """Return the global mean of the air temperature near the surface [K]."""
    return mean("near_surface_air_temperature", days=days)


def global_mean_precipitation(*, days: Days = ALL) -> Mean:
    """Return the global mean of precipitation [kg m-2 s-1]."""
    return mean("precipitation_flux", days=days)


def toa_net_flux(*, region: str | Region = GLOBE, days: Days = ALL) -> Mean:
    """Return sunlight absorbed less longwave radiation sent out [W m-2], downward positive.

    At the top of the atmosphere, over the globe or a region.
    """
    return mean("toa_net_downward_radiative_flux", region=region, days=days)


def nino34_index(*, variable: str = "sea_surface_temperature", days: Days = ALL) -> Mean:
    """Return the mean over 5S-5N, 170W-120W of the sea surface temperature [K].

    The region of Trenberth (1997); the temperature itself, not its anomaly: the two have the same
    derivatives. Where the sea is prescribed, it depends on the boundary condition only; with
    `variable="near_surface_air_temperature"` it is the air above.
    """
    return mean(variable, region=REGIONS["nino34"], days=days)


def land_sea_contrast(*, region: str | Region = GLOBE, days: Days = ALL) -> Target:
    """Return the near-surface air temperature over land less that over sea [K]; chosen here.

    Land and sea are those of the inputs, so it is bound with `inputs`.
    """
    over = [mean("near_surface_air_temperature", region=region, mask=surface, days=days)
            for surface in (LAND, SEA)]  # fmt: skip
    where = over[0].region.description
    return (over[0] - over[1]).named(
        f"land-sea contrast of air temperature near the surface, {where}, {days.description}")


def meridional_temperature_gradient(
    *,
    hemisphere: str = "north",
    level: int | None = None,
    pressure: float | int | None = None,
    days: Days = ALL,
) -> Target:
    """Return the temperature within 30 degrees of the equator less that beyond [K]; chosen here.

    The two halves of a hemisphere have equal areas. Near the surface, or at a level from the top or
    at a pressure [hPa].

    Raises
    ------
    ValueError
        If the hemisphere is neither `north` nor `south`.
    """
    if hemisphere not in JETS:
        raise ValueError(f"hemisphere is 'north' or 'south'; got {hemisphere!r}")
    free = level is not None or pressure is not None
    variable = "air_temperature" if free else "near_surface_air_temperature"
    edges = ((0, 30), (30, 90)) if hemisphere == "north" else ((-30, 0), (-90, -30))
    low, high = (
        mean(variable, region=box(*edge, 0, 360), level=level, pressure=pressure, days=days)
        for edge in edges)
    return (low - high).named(
        f"{low.slice.description}, within 30 degrees of the equator less beyond, {hemisphere}ern "
        f"hemisphere, {days.description}")


#: Functions that make an index, by name.
INDICES: dict[str, Callable[..., Target]] = {
    function.__name__: function
    for function in (
        itcz_latitude, jet_latitude, jet_speed, global_mean_precipitation, toa_net_flux,
        nino34_index, global_mean_temperature, land_sea_contrast, meridional_temperature_gradient)
}  # fmt: skip


def index(name: str, **arguments: Any) -> Target:
    """Return a ready index from its name; arguments as those of the function of that name.

    Raises
    ------
    ValueError
        If there is no such index, or it has no such argument.
    """
    if name not in INDICES:
        raise ValueError(
            f"unknown index {name!r}; {hint(name, INDICES)}available: {', '.join(INDICES)}")
    known: Iterable[str] = inspect.signature(INDICES[name]).parameters
    for argument in arguments:
        if argument not in known:
            raise ValueError(
                f"the index {name} has no {argument!r}; {hint(argument, known)}known: "
                f"{', '.join(known)}")
    return INDICES[name](**arguments)
