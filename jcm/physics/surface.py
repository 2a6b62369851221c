"""Surface fluxes of momentum, heat and moisture over land and sea.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; with the changes of the public code of SPEEDY.

Bulk formulas with air extrapolated from the two lowest layers, exchange coefficients that
depend on stability, and, over land, one linearised step of the skin temperature towards the
balance of energy. Both kinds of surface are computed at every point and weighted with the
land fraction. Fluxes of heat, moisture and longwave radiation are positive upward, the stress
acts on the atmosphere, the net heat flux goes into the surface.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.constants import Constants
from jcm.parameters import parameter
from jcm.physics.humidity import saturation_specific_humidity
from jcm.physics.smooth import HumidityWidths, SurfaceWidths, clip, positive, root, step
from jcm.store import store_in_reverse
from jcm.vertical import NEAR_SURFACE_SIGMA, Levels

MOLTENI = "value: Molteni (2003) and code of SPEEDY; bounds: chosen here"

#: How sensible and latent heat enter the net heat flux into the sea.
SeaHeatFlux = Literal["added", "subtracted"]

Scalar = Float[Array, ""]


class SurfaceFluxParameters(eqx.Module):
    """Coefficients of the bulk formulas and of the skin temperature over land."""

    wind_ratio: Scalar = parameter(
        0.95, "1", (0.6, 1.0), "wind speed at the surface over that of the lowest layer", MOLTENI)
    temperature_extrapolation: Scalar = parameter(
        1.0, "1", (0.0, 1.0),
        "near-surface temperature: 1 extrapolates the lapse rate, 0 keeps potential temperature",
        MOLTENI)
    humidity_extrapolation: Scalar = parameter(
        0.0, "1", (0.0, 1.0),
        "near-surface humidity: 1 keeps relative, 0 keeps specific humidity", MOLTENI)
    land_drag_coefficient: Scalar = parameter(
        2.4e-3, "1", (1e-3, 5e-3), "drag coefficient of momentum over land", MOLTENI)
    sea_drag_coefficient: Scalar = parameter(
        1.0e-3, "1", (0.5e-3, 2.5e-3), "drag coefficient of momentum over sea", MOLTENI)
    land_exchange_coefficient: Scalar = parameter(
        1.2e-3, "1", (0.5e-3, 3e-3), "exchange coefficient of heat and moisture over land", MOLTENI)
    sea_exchange_coefficient: Scalar = parameter(
        0.9e-3, "1", (0.5e-3, 2e-3), "exchange coefficient of heat and moisture over sea", MOLTENI)
    gustiness: Scalar = parameter(
        5.0, "m s-1", (1.0, 8.0), "wind speed of gusts, added in squares", MOLTENI)
    daily_cycle_coefficient: Scalar = parameter(
        1e-2, "K m2 W-1", (0.0, 0.03),
        "rise of the first-guess skin temperature per absorbed shortwave flux", MOLTENI)
    stability_range: Scalar = parameter(
        3.0, "K", (1.0, 10.0), "temperature difference at which stability saturates", MOLTENI)
    stability_amplitude: Scalar = parameter(
        0.67, "1", (0.0, 0.95), "largest fractional change of exchange by stability", MOLTENI)
    stable_asymmetry: Scalar = parameter(
        0.5, "1", (0.25, 1.0), "slope of the stability correction in stable air", MOLTENI)
    orography_height_scale: Scalar = parameter(
        2000.0, "m", (500.0, 4000.0), "height over which orographic drag saturates", MOLTENI)
    orographic_drag_amplitude: Scalar = parameter(
        1.0, "1", (0.0, 2.0), "fractional increase of drag over high orography",
        "value: intended in SPEEDY, whose public code divides it by g times the height scale; "
        "bounds: chosen here")
    soil_conductance: Scalar = parameter(
        7.0, "W m-2 K-1", (2.0, 20.0), "heat conductance from skin to soil, bare ground", MOLTENI)
    snow_conductance: Scalar = parameter(
        7.0, "W m-2 K-1", (1.0, 20.0), "heat conductance from skin to soil, full snow cover",
        MOLTENI)
    near_surface_sigma: Scalar = parameter(
        NEAR_SURFACE_SIGMA, "1", (0.97, 1.0), "sigma of the air next to the surface", MOLTENI)
    sea_level_temperature: Scalar = parameter(
        288.0, "K", (270.0, 300.0), "temperature of the hydrostatic reduction to sea level",
        MOLTENI)
    humidity_slope_increment: Scalar = parameter(
        1.0, "K", (1e-3, 1.0), "increment of the slope of saturation humidity", MOLTENI)


class SurfaceExchange(eqx.Module):
    """What one kind of surface, or their mean, exchanges with the air; all of shape (*grid)."""

    #: Stress on the atmosphere [N m-2].
    eastward_stress: Float[Array, "*grid"]
    northward_stress: Float[Array, "*grid"]
    #: Sensible heat flux, upward [W m-2].
    sensible_heat_flux: Float[Array, "*grid"]
    #: Evaporation, upward [kg m-2 s-1].
    evaporation: Float[Array, "*grid"]
    #: Emitted longwave flux without the reflected part, upward [W m-2].
    emitted_longwave: Float[Array, "*grid"]
    #: Net heat flux into the surface [W m-2].
    net_heat_flux: Float[Array, "*grid"]
    #: Temperature of soil or sea [K].
    surface_temperature: Float[Array, "*grid"]
    #: Temperature that radiates [K]; that of the sea over sea.
    skin_temperature: Float[Array, "*grid"]


class SurfaceFluxes(eqx.Module):
    """Fluxes over land, over sea and weighted with the land fraction, and near-surface air."""

    land: SurfaceExchange
    sea: SurfaceExchange
    mean: SurfaceExchange
    #: Air temperature next to the surface [K].
    air_temperature: Float[Array, "*grid"]
    #: Wind next to the surface [m s-1].
    eastward_wind: Float[Array, "*grid"]
    northward_wind: Float[Array, "*grid"]


def orographic_drag_factor(
    surface_geopotential: Float[Array, "*grid"],
    *,
    parameters: SurfaceFluxParameters,
    constants: Constants,
    widths: SurfaceWidths,
) -> Float[Array, "*grid"]:
    """Return the factor by which orography increases the drag over land [1].

    1 + A [1 - exp(-max(phi_s, 0) / (g H))].

    Parameters
    ----------
    surface_geopotential
        Geopotential of the model's orography phi_s [m2 s-2].
    parameters, constants, widths
        `orographic_drag_amplitude` A and `orography_height_scale` H; g; widths of the switches.
    """
    depth = constants.gravity * parameters.orography_height_scale
    height = positive(surface_geopotential, widths.orography) / depth
    return 1 - parameters.orographic_drag_amplitude * jnp.expm1(-height)


def surface_fluxes(
    surface_pressure: Float[Array, "*grid"],
    eastward_wind: Float[Array, "level *grid"],
    northward_wind: Float[Array, "level *grid"],
    temperature: Float[Array, "level *grid"],
    specific_humidity: Float[Array, "level *grid"],
    relative_humidity: Float[Array, "level *grid"],
    geopotential: Float[Array, "level *grid"],
    surface_geopotential: Float[Array, "*grid"],
    land_fraction: Float[Array, "*grid"],
    sea_surface_temperature: Float[Array, "*grid"],
    land_surface_temperature: Float[Array, "*grid"],
    soil_water_availability: Float[Array, "*grid"],
    snow_cover: Float[Array, "*grid"],
    land_albedo: Float[Array, "*grid"],
    sea_albedo: Float[Array, "*grid"],
    downward_shortwave: Float[Array, "*grid"],
    downward_longwave: Float[Array, "*grid"],
    orographic_drag: Float[Array, "*grid"],
    cosine_latitude: Float[Array, "*#grid"],
    emissivity: Scalar,
    *,
    levels: Levels,
    parameters: SurfaceFluxParameters,
    constants: Constants,
    widths: SurfaceWidths,
    humidity_widths: HumidityWidths,
    sea_heat_flux: SeaHeatFlux,
    skin_energy_balance: bool,
) -> SurfaceFluxes:
    """Return the fluxes between surface and atmosphere.

    Of whole columns only the lowest layer is used, of temperature the two lowest.

    Parameters
    ----------
    surface_pressure
        Surface pressure over the reference pressure [1].
    eastward_wind, northward_wind, temperature, geopotential
        State of the air [m s-1, K, m2 s-2].
    specific_humidity, relative_humidity
        Specific humidity, not negative [kg kg-1], and relative humidity [1].
    surface_geopotential
        Geopotential of the model's orography [m2 s-2].
    land_fraction, snow_cover
        Share of land in the grid box, and of snow on land [1].
    sea_surface_temperature, land_surface_temperature
        Temperature of sea including sea ice, and of soil [K].
    soil_water_availability
        Share of potential evaporation that the soil sustains [1].
    land_albedo, sea_albedo
        Albedo with snow and with sea ice [1].
    downward_shortwave, downward_longwave
        Radiation reaching the surface; longwave already times emissivity [W m-2].
    orographic_drag
        Factor from `orographic_drag_factor` [1].
    cosine_latitude
        Cosine of latitude [1].
    emissivity
        Longwave emissivity of the surface [1].
    levels, parameters, constants, widths, humidity_widths
        Structure, coefficients, and widths of the switches.
    sea_heat_flux
        Whether sensible and latent heat are "added" to the net heat flux into the sea, a
        slip in the public code of SPEEDY, or "subtracted", as energy conservation requires.
    skin_energy_balance
        Whether the skin temperature of land is corrected towards the balance of energy.
    """
    if sea_heat_flux not in ("added", "subtracted"):
        raise ValueError(f"sea_heat_flux must be 'added' or 'subtracted', not {sea_heat_flux!r}")
    p = parameters

    def saturation(t: Array) -> Array:
        return saturation_specific_humidity(t, surface_pressure, widths=humidity_widths)

    u, v, lowest, above, potential, humidity, relative = store_in_reverse((
        eastward_wind[-1], northward_wind[-1], temperature[-1], temperature[-2],
        geopotential[-1], specific_humidity[-1], relative_humidity[-1]))  # fmt: skip
    air_land, air_sea = _near_surface_air(
        lowest, above, potential, surface_geopotential, humidity, relative, saturation, levels, p,
        constants, widths)  # fmt: skip
    air_temperature = air_sea.temperature + land_fraction * (
        air_land.temperature - air_sea.temperature
    )
    near_wind = (p.wind_ratio * u, p.wind_ratio * v)
    density = constants.reference_pressure * surface_pressure
    density = density / (constants.gas_constant * air_temperature)
    mass_flux = density * root(near_wind[0] ** 2 + near_wind[1] ** 2 + p.gustiness**2)

    absorbed = downward_shortwave * (1 - land_albedo)
    warming = p.daily_cycle_coefficient * root(cosine_latitude) * absorbed * surface_pressure
    land = _first_guess_land(
        land_surface_temperature + warming, air_land, mass_flux, soil_water_availability,
        saturation, emissivity, p, constants, widths,
    )  # fmt: skip
    balance = absorbed + downward_longwave - _losses(land, constants)
    if skin_energy_balance:
        conductance = p.soil_conductance + snow_cover * (p.snow_conductance - p.soil_conductance)
        land = _balanced_land(land, balance, conductance, land_surface_temperature, constants)
        balance = conductance * (land.temperature - land_surface_temperature)

    sea = _sea(sea_surface_temperature, air_sea, mass_flux, saturation, emissivity, p, constants,
               widths)  # fmt: skip
    sign = 1 if sea_heat_flux == "added" else -1
    turbulent = sea.sensible_heat_flux + constants.latent_heat * sea.evaporation
    sea_balance = downward_shortwave * (1 - sea_albedo) + downward_longwave - sea.longwave
    sea_balance = sea_balance + sign * turbulent

    # Stability enters the stress over sea, but not over land.
    stress_land = -p.land_drag_coefficient * mass_flux * orographic_drag
    stress_sea = -p.sea_drag_coefficient * sea.mass_flux
    over_land = SurfaceExchange(
        stress_land * u, stress_land * v,
        land.sensible_heat_flux, land.evaporation, land.longwave, balance,
        land_surface_temperature, land.temperature,
    )  # fmt: skip
    over_sea = SurfaceExchange(
        stress_sea * u, stress_sea * v,
        sea.sensible_heat_flux, sea.evaporation, sea.longwave, sea_balance,
        sea_surface_temperature, sea_surface_temperature,
    )  # fmt: skip
    mean = jax.tree.map(lambda a, b: b + land_fraction * (a - b), over_land, over_sea)
    return SurfaceFluxes(over_land, over_sea, mean, air_temperature, *near_wind)


class _Air(eqx.Module):
    """Air next to one kind of surface."""

    #: From the lapse rate, drives sensible heat [K]; from dry descent, sets stability [K].
    temperature: Array
    adiabatic_temperature: Array
    #: Specific humidity [kg kg-1].
    humidity: Array


class _Bulk(eqx.Module):
    """Bulk fluxes of a surface, and over land their slopes in its temperature (over sea 0)."""

    temperature: Array
    #: Density times wind speed times stability factor [kg m-2 s-1].
    mass_flux: Array
    sensible_heat_flux: Array
    evaporation: Array
    longwave: Array
    sensible_slope: Array
    evaporation_slope: Array
    longwave_slope: Array


def _near_surface_air(
    lowest: Array, above: Array, geopotential: Array, surface_geopotential: Array,
    specific_humidity: Array, relative_humidity: Array, saturation: Callable[[Array], Array],
    levels: Levels, p: SurfaceFluxParameters, constants: Constants, widths: SurfaceWidths,
) -> tuple[_Air, _Air]:  # fmt: skip
    """Extrapolate the lowest layer to the orography (land) and to sea level (sea)."""
    log_lowest, log_above = (math.log(float(levels.centre[k])) for k in (-1, -2))
    weight = (jnp.log(p.near_surface_sigma) - log_lowest) / (log_lowest - log_above)
    increment = weight * positive(lowest - above, widths.lapse)
    to_sea_level = surface_geopotential / (
        constants.gas_constant * p.sea_level_temperature * log_lowest
    )
    adiabatic_sea = lowest + geopotential / constants.heat_capacity
    adiabatic_land = adiabatic_sea - surface_geopotential / constants.heat_capacity

    # Where temperature does not fall with height, the air has that of the lowest layer.
    w_t, w_q = p.temperature_extrapolation, p.humidity_extrapolation
    adiabatic_share = (1 - w_t) * step(lowest - above, widths.lapse)

    def air(increment: Array, adiabatic: Array) -> _Air:
        temperature = lowest + w_t * increment + adiabatic_share * (adiabatic - lowest)
        humid = relative_humidity * saturation(temperature)
        return _Air(temperature, adiabatic, w_q * humid + (1 - w_q) * specific_humidity)

    return air(increment, adiabatic_land), air(increment * (1 - to_sea_level), adiabatic_sea)


def _stability_factor(excess: Array, p: SurfaceFluxParameters, widths: SurfaceWidths) -> Array:
    """Return the change of exchange by stability; `excess` is surface minus air temperature."""
    slope = p.stable_asymmetry
    effective = slope * excess + (1 - slope) * positive(excess, widths.stability)
    limited = clip(effective, -p.stability_range, p.stability_range, widths.stability)
    return 1 + limited * p.stability_amplitude / p.stability_range


def _first_guess_land(
    skin: Array, air: _Air, mass_flux: Array, availability: Array,
    saturation: Callable[[Array], Array], emissivity: Array,
    p: SurfaceFluxParameters, constants: Constants, widths: SurfaceWidths,
) -> _Bulk:  # fmt: skip
    """Fluxes over land at the first-guess skin temperature; evaporation is not negative."""
    mass_flux = mass_flux * _stability_factor(skin - air.adiabatic_temperature, p, widths)
    exchange = p.land_exchange_coefficient * mass_flux
    saturated = saturation(skin)
    deficit = availability * saturated - air.humidity
    increment = p.humidity_slope_increment
    slope = availability * (saturation(skin + increment) - saturated) / increment
    black = emissivity * constants.stefan_boltzmann * skin**3
    return _Bulk(
        temperature=skin,
        mass_flux=mass_flux,
        sensible_heat_flux=exchange * constants.heat_capacity * (skin - air.temperature),
        evaporation=exchange * positive(deficit, widths.evaporation),
        longwave=black * skin,
        sensible_slope=exchange * constants.heat_capacity,
        evaporation_slope=exchange * slope * step(deficit, widths.evaporation),
        longwave_slope=4 * black,
    )


def _losses(bulk: _Bulk, constants: Constants) -> Array:
    """Return the energy that the surface gives to the air [W m-2]."""
    return bulk.longwave + bulk.sensible_heat_flux + constants.latent_heat * bulk.evaporation


def _balanced_land(
    land: _Bulk, balance: Array, conductance: Array, soil_temperature: Array, constants: Constants
) -> _Bulk:
    """Move the skin temperature by one Newton step towards the balance of energy.

    Stability is not computed again, so the fluxes change linearly and the balance of the
    result is exact. Evaporation may become slightly negative, as in the public code of SPEEDY.
    """
    surplus = balance - conductance * (land.temperature - soil_temperature)
    response = conductance + land.longwave_slope + land.sensible_slope
    change = surplus / (response + constants.latent_heat * land.evaporation_slope)
    return dataclasses.replace(
        land,
        temperature=land.temperature + change,
        sensible_heat_flux=land.sensible_heat_flux + land.sensible_slope * change,
        evaporation=land.evaporation + land.evaporation_slope * change,
        longwave=land.longwave + land.longwave_slope * change,
    )


def _sea(
    temperature: Array, air: _Air, mass_flux: Array, saturation: Callable[[Array], Array],
    emissivity: Array, p: SurfaceFluxParameters, constants: Constants, widths: SurfaceWidths,
) -> _Bulk:  # fmt: skip
    """Fluxes over sea; evaporation is negative where dew forms."""
    mass_flux = mass_flux * _stability_factor(temperature - air.adiabatic_temperature, p, widths)
    exchange = p.sea_exchange_coefficient * mass_flux
    nothing = jnp.zeros_like(temperature)
    return _Bulk(
        temperature=temperature,
        mass_flux=mass_flux,
        sensible_heat_flux=exchange * constants.heat_capacity * (temperature - air.temperature),
        evaporation=exchange * (saturation(temperature) - air.humidity),
        longwave=emissivity * constants.stefan_boltzmann * temperature**4,
        sensible_slope=nothing,
        evaporation_slope=nothing,
        longwave_slope=nothing,
    )
