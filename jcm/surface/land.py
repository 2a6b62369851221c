"""Temperature of the soil: a slab that follows its monthly climatology.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY. Snow and soil water are prescribed.
"""

from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float

from jcm.constants import DAY
from jcm.parameters import parameter
from jcm.physics.smooth import SurfaceWidths, select, step
from jcm.surface.slab import Damping, damping_factor, slab_step

MOLTENI = "value: Molteni (2003) and code of SPEEDY; bounds: chosen here"

Scalar = Float[Array, ""]

#: Heat capacity of ice [J m-3 K-1].
ICE_HEAT_CAPACITY = 1.93e6

#: Whether a temperature is that of a slab or its climatology.
Coupling = Literal["slab", "climatology"]


class LandParameters(eqx.Module):
    """Depth, heat capacity and damping of the soil."""

    soil_depth: Scalar = parameter(1.0, "m", (0.1, 3.0), "depth of the soil", MOLTENI)
    soil_heat_capacity: Scalar = parameter(
        2.5e6, "J m-3 K-1", (1e6, 4e6), "heat capacity of soil", MOLTENI)
    ice_sheet_depth: Scalar = parameter(
        5.0, "m", (1.0, 20.0), "depth of the ice that exchanges heat, on ice sheets", MOLTENI)
    ice_sheet_albedo: Scalar = parameter(
        0.4, "1", (0.3, 0.6), "bare albedo from which land is an ice sheet", MOLTENI)
    dissipation_time: Scalar = parameter(
        40 * DAY, "s", (5 * DAY, 2000 * DAY), "time in which anomalies decay", MOLTENI)
    minimum_land_fraction: Scalar = parameter(
        1 / 3, "1", (0.0, 1.0), "smallest share of land that has anomalies", MOLTENI)


def land_heat_capacity(
    bare_albedo: Float[Array, "*grid"], *, parameters: LandParameters, widths: SurfaceWidths
) -> Float[Array, "*grid"]:
    """Return the heat capacity of soil, or of ice sheets where bare land is bright [J m-2 K-1]."""
    return select(
        bare_albedo - parameters.ice_sheet_albedo,
        parameters.ice_sheet_depth * ICE_HEAT_CAPACITY,
        parameters.soil_depth * parameters.soil_heat_capacity,
        widths.ice_sheet,
        inclusive=True,
    )


def land_surface_temperature(
    previous: Float[Array, "*grid"],
    climatology: Float[Array, "*grid"],
    net_heat_flux: Float[Array, "*grid"],
    land_fraction: Float[Array, "*grid"],
    bare_albedo: Float[Array, "*grid"],
    time_step: float | Float[Array, ""],
    *,
    parameters: LandParameters,
    widths: SurfaceWidths,
    coupling: Coupling,
    damping: Damping,
) -> Float[Array, "*grid"]:
    """Return the temperature of the soil at the new time [K].

    Parameters
    ----------
    previous
        Temperature at the old time [K].
    climatology
        Climatological temperature at the new time [K].
    net_heat_flux
        Heat flux into the soil during the step [W m-2].
    land_fraction, bare_albedo
        Share of land, and albedo of land without snow [1].
    time_step
        Time since the old time [s].
    parameters, widths
        Depth, heat capacity and damping; widths of the switches.
    coupling, damping
        "slab" or "climatology"; whether damping counts "per_step" or "per_day".
    """
    if coupling == "climatology":
        return climatology
    if coupling != "slab":
        raise ValueError(f"coupling must be 'slab' or 'climatology', not {coupling!r}")
    active = step(land_fraction - parameters.minimum_land_fraction, inclusive=True)
    factor = damping_factor(active, parameters.dissipation_time, time_step, damping=damping)
    capacity = land_heat_capacity(bare_albedo, parameters=parameters, widths=widths)
    return slab_step(previous, climatology, net_heat_flux, capacity, factor, time_step)
