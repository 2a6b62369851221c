"""Temperature of the sea and of its ice, as the atmosphere sees them.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY. The climatology of surface temperature
and ice cover is split into open water and ice; ice is a slab that follows its share; the sea
is prescribed, or a mixed layer that follows the climatology of open water.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.constants import DAY, Constants
from jcm.parameters import parameter
from jcm.physics.smooth import SurfaceWidths, absolute, maximum, minimum, positive, select, step
from jcm.surface.albedo import AlbedoParameters
from jcm.surface.land import ICE_HEAT_CAPACITY, Coupling
from jcm.surface.slab import Damping, damping_factor, slab_step

MOLTENI = "value: Molteni (2003) and code of SPEEDY; bounds: chosen here"

Scalar = Float[Array, ""]

#: Heat capacity of sea water [J m-3 K-1].
WATER_HEAT_CAPACITY = 4.18e6

#: Share of ice at which frozen and unfrozen sea meet [1].
HALF = 0.5
#: Smallest share of ice or of open water by which the split divides [1]: where it matters, the
#: exact split divides by at least half.
SMALLEST_DIVISOR = 0.05

#: Whether the temperature of open water is the climatology with anomalies, or a mixed layer.
SeaCoupling = Literal["prescribed", "slab"]


class SeaParameters(eqx.Module):
    """Freezing and melting, depths and damping of mixed layer and sea ice."""

    freezing_temperature: Scalar = parameter(
        271.4, "K", (271.2, 271.5), "freezing point of sea water", MOLTENI)
    melting_temperature: Scalar = parameter(
        273.15, "K", (272.15, 274.15), "limit of ice temperature, where it is capped",
        "value: melting point of ice; bounds: chosen here")
    polar_mixed_layer_depth: Scalar = parameter(
        60.0, "m", (20.0, 200.0), "depth of the mixed layer at the poles", MOLTENI)
    tropical_mixed_layer_depth: Scalar = parameter(
        40.0, "m", (20.0, 200.0), "depth of the mixed layer at the equator", MOLTENI)
    polar_ice_depth: Scalar = parameter(
        2.5, "m", (0.5, 4.0), "depth of sea ice at the poles", MOLTENI)
    tropical_ice_depth: Scalar = parameter(
        1.5, "m", (0.5, 4.0), "depth of sea ice, extrapolated to the equator", MOLTENI)
    sea_dissipation_time: Scalar = parameter(
        90 * DAY, "s", (10 * DAY, 500 * DAY), "time in which mixed-layer anomalies decay", MOLTENI)
    ice_dissipation_time: Scalar = parameter(
        30 * DAY, "s", (5 * DAY, 200 * DAY), "time in which small ice anomalies decay", MOLTENI)
    ice_damping_anomaly: Scalar = parameter(
        20.0, "K", (5.0, 100.0), "ice anomaly at which damping has doubled", MOLTENI)
    ice_conductance: Scalar = parameter(
        1.0, "W m-2 K-1", (0.0, 10.0), "heat conductance from sea to ice surface", MOLTENI)
    minimum_sea_fraction: Scalar = parameter(
        1 / 3, "1", (0.0, 1.0), "smallest share of sea that has anomalies", MOLTENI)


class SeaClimatology(eqx.Module):
    """Climatology at a date, split into open water and ice."""

    #: Temperature of open water [K].
    water_temperature: Float[Array, "*grid"]
    #: Temperature of the ice surface [K].
    ice_temperature: Float[Array, "*grid"]
    #: Share of ice [1].
    ice_fraction: Float[Array, "*grid"]


class SeaState(eqx.Module):
    """What the sea remembers from step to step."""

    #: Temperature of the ice surface [K].
    ice_temperature: Float[Array, "*grid"]
    #: Share of ice [1].
    ice_fraction: Float[Array, "*grid"]
    #: Temperature of the mixed layer [K]; climatology where the sea is prescribed.
    mixed_layer_temperature: Float[Array, "*grid"]


def split_climatology(
    temperature: Float[Array, "*grid"],
    ice_fraction: Float[Array, "*grid"],
    *,
    parameters: SeaParameters,
    widths: SurfaceWidths,
) -> SeaClimatology:
    """Split a surface temperature into those of open water and of ice.

    Water above freezing has at most half ice, at freezing temperature; colder water at least
    half, with open water at freezing temperature. Weighted with their shares, both temperatures
    add up to the one that was given.

    Parameters
    ----------
    temperature
        Climatological temperature of water and ice together [K].
    ice_fraction
        Climatological share of ice [1].
    parameters, widths
        Freezing temperature; widths of the switches.
    """
    excess = temperature - parameters.freezing_temperature
    half = jnp.full_like(ice_fraction, HALF)
    ice = select(
        excess,
        minimum(ice_fraction, half, widths.cover),
        maximum(ice_fraction, half, widths.cover),
        widths.freezing,
    )
    warm, cold = positive(excess, widths.freezing), positive(-excess, widths.freezing)
    least = jnp.full_like(ice, SMALLEST_DIVISOR)
    share, open_share = (maximum(x, least, widths.cover) for x in (ice, 1 - ice))
    # T_f + warm / (1 - ice), but so that water without ice keeps its temperature to the bit.
    unfrozen = maximum(temperature, parameters.freezing_temperature, widths.freezing)
    return SeaClimatology(
        unfrozen + warm * ice / open_share, parameters.freezing_temperature - cold / share, ice
    )


def initial_sea(climatology: SeaClimatology) -> SeaState:
    """Return ice and mixed layer at their climatology."""
    return SeaState(
        climatology.ice_temperature, climatology.ice_fraction, climatology.water_temperature
    )


def advance_sea(
    state: SeaState,
    climatology: SeaClimatology,
    net_heat_flux: Float[Array, "*grid"],
    sensible_heat_flux: Float[Array, "*grid"],
    evaporation: Float[Array, "*grid"],
    downward_shortwave: Float[Array, "*grid"],
    sea_fraction: Float[Array, "*grid"],
    cosine_latitude: Float[Array, "*#grid"],
    emissivity: Scalar,
    time_step: float | Scalar,
    *,
    parameters: SeaParameters,
    albedo: AlbedoParameters,
    constants: Constants,
    widths: SurfaceWidths,
    sea_heat_flux: Literal["added", "subtracted"],
    sea: SeaCoupling,
    ice: Coupling,
    damping: Damping,
    melting_cap: bool,
) -> SeaState:
    """Return ice and mixed layer at the new time.

    Parameters
    ----------
    state
        Ice and mixed layer at the old time, as the atmosphere saw them.
    climatology
        Climatology at the new time.
    net_heat_flux, sensible_heat_flux, downward_shortwave
        Net flux into the sea, sensible heat upward and shortwave downward [W m-2].
    evaporation
        Evaporation from the sea [kg m-2 s-1].
    sea_fraction, cosine_latitude, emissivity
        Share of sea, cosine of latitude, longwave emissivity of the surface [1].
    time_step
        Time since the old time [s].
    parameters, albedo, constants, widths
        Coefficients, and widths of the switches.
    sea_heat_flux
        Whether sensible and latent heat are "added" to or "subtracted" from `net_heat_flux`.
        The ice takes the flux as it comes; the mixed layer always that with the right sign.
    sea, ice
        "prescribed" or "slab"; "climatology" or "slab".
    damping
        Whether damping counts "per_step" or "per_day".
    melting_cap
        Whether the ice does not get warmer than the melting temperature.
    """
    _check_options(sea_heat_flux, sea, ice)
    p = parameters
    active = step(sea_fraction - p.minimum_sea_fraction, inclusive=True)
    turbulent = sensible_heat_flux + constants.latent_heat * evaporation
    difference = _ice_minus_mean(
        state, turbulent, downward_shortwave, emissivity, p, albedo, constants
    )
    ice_temperature, water_temperature = climatology.ice_temperature, climatology.water_temperature
    if ice == "slab":
        ice_temperature = _ice_step(
            state.ice_temperature, ice_temperature, net_heat_flux + difference,
            ice_heat_capacity(cosine_latitude, p),
            damping_factor(active, p.ice_dissipation_time, time_step, damping=damping),
            time_step, p, widths,
        )  # fmt: skip
        if melting_cap:
            ice_temperature = minimum(ice_temperature, p.melting_temperature, widths.melting)
    if sea == "slab":
        flux = net_heat_flux - 2 * turbulent if sea_heat_flux == "added" else net_heat_flux
        from_below = p.ice_conductance * (p.freezing_temperature - state.ice_temperature)
        water_temperature = slab_step(
            state.mixed_layer_temperature, water_temperature,
            flux - climatology.ice_fraction * (flux + difference + from_below),
            mixed_layer_heat_capacity(cosine_latitude, p),
            damping_factor(active, p.sea_dissipation_time, time_step, damping=damping),
            time_step,
        )  # fmt: skip
    return SeaState(ice_temperature, climatology.ice_fraction, water_temperature)


def sea_surface_temperature(
    state: SeaState,
    climatology: SeaClimatology,
    anomaly: Float[Array, "*grid"],
    *,
    sea: SeaCoupling,
) -> Float[Array, "*grid"]:
    """Return the temperature of water and ice together, as the atmosphere sees it [K].

    Parameters
    ----------
    state, climatology
        Ice and mixed layer, and climatology, of the same time.
    anomaly
        Observed anomaly that is added to prescribed temperature of open water [K].
    sea
        "prescribed" or "slab".
    """
    if sea == "slab":
        water = state.mixed_layer_temperature
    else:
        water = climatology.water_temperature + anomaly
    return water + state.ice_fraction * (state.ice_temperature - water)


def mixed_layer_heat_capacity(
    cosine_latitude: Float[Array, "*grid"], parameters: SeaParameters
) -> Float[Array, "*grid"]:
    """Return the heat capacity of the mixed layer [J m-2 K-1]."""
    polar, tropical = parameters.polar_mixed_layer_depth, parameters.tropical_mixed_layer_depth
    return WATER_HEAT_CAPACITY * (polar + (tropical - polar) * cosine_latitude**3)


def ice_heat_capacity(
    cosine_latitude: Float[Array, "*grid"], parameters: SeaParameters
) -> Float[Array, "*grid"]:
    """Return the heat capacity of sea ice [J m-2 K-1]."""
    polar, tropical = parameters.polar_ice_depth, parameters.tropical_ice_depth
    return ICE_HEAT_CAPACITY * (polar + (tropical - polar) * cosine_latitude**2)


def _check_options(sea_heat_flux: str, sea: str, ice: str) -> None:
    for name, value, known in (
        ("sea_heat_flux", sea_heat_flux, ("added", "subtracted")),
        ("sea", sea, ("prescribed", "slab")),
        ("ice", ice, ("slab", "climatology")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _ice_minus_mean(
    state: SeaState, turbulent: Array, shortwave: Array, emissivity: Array,
    p: SeaParameters, albedo: AlbedoParameters, constants: Constants,
) -> Array:  # fmt: skip
    """Return how much more heat the ice takes than water and ice together [W m-2].

    It reflects more, radiates at its own temperature, and has no turbulent exchange.
    """
    emitted = p.freezing_temperature**4 - state.ice_temperature**4
    emitted = emissivity * constants.stefan_boltzmann * emitted
    ice_minus_water = (albedo.sea - albedo.ice) * shortwave + emitted + turbulent
    return ice_minus_water * (1 - state.ice_fraction)


def _ice_step(
    previous: Array, climatology: Array, heat_flux: Array, capacity: Array, factor: Array,
    time_step: float | Array, p: SeaParameters, widths: SurfaceWidths,
) -> Array:  # fmt: skip
    """Slab step with damping that grows with the anomaly, and heat conducted from the sea."""
    anomaly = absolute(previous - climatology, widths.ice_anomaly)
    factor = factor * p.ice_damping_anomaly / (p.ice_damping_anomaly + anomaly)
    from_below = p.ice_conductance * (p.freezing_temperature - previous)
    return slab_step(previous, climatology, heat_flux + from_below, capacity, factor, time_step)
