"""SPEEDY: simplified parametrisations for an intermediate-complexity atmosphere.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; in the form of the public code of SPEEDY.

All schemes see the same columns; their tendencies are summed. Schemes do not call each other:
what one needs of another is passed here, in plain sight.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcm.constants import Constants
from jcm.dynamics.diffusion import DiffusionParameters
from jcm.dynamics.leapfrog import FilterParameters
from jcm.options import Options
from jcm.physics import Fields, Physics, SurfaceHeat, Surroundings
from jcm.physics.clouds import CloudParameters, Clouds, clouds
from jcm.physics.condensation import CondensationParameters, condensation
from jcm.physics.convection import ConvectionParameters, convection
from jcm.physics.humidity import humidity_floor, saturation_specific_humidity
from jcm.physics.insolation import SolarParameters, insolation
from jcm.physics.longwave import (
    LongwaveOptics,
    LongwaveParameters,
    co2_absorptivity,
    longwave_down,
    longwave_optics,
    longwave_up,
)
from jcm.physics.shortwave import Shortwave, ShortwaveParameters, shortwave
from jcm.physics.smooth import Widths, exact_widths
from jcm.physics.stochastic import StochasticParameters
from jcm.physics.surface import SurfaceFluxes, SurfaceFluxParameters, surface_fluxes
from jcm.physics.vertical_diffusion import VerticalDiffusionParameters, vertical_diffusion
from jcm.state import Columns, Tendency
from jcm.store import store_in_reverse
from jcm.surface.albedo import AlbedoParameters
from jcm.surface.boundary import BoundaryParameters
from jcm.surface.land import LandParameters
from jcm.surface.sea import SeaParameters
from jcm.vertical import Levels, on_levels


class SpeedyParameters(eqx.Module):
    """Tunable numbers of SPEEDY, by scheme."""

    convection: Any = eqx.field(default_factory=ConvectionParameters)
    condensation: Any = eqx.field(default_factory=CondensationParameters)
    clouds: Any = eqx.field(default_factory=CloudParameters)
    solar: Any = eqx.field(default_factory=SolarParameters)
    shortwave: Any = eqx.field(default_factory=ShortwaveParameters)
    longwave: Any = eqx.field(default_factory=LongwaveParameters)
    surface_fluxes: Any = eqx.field(default_factory=SurfaceFluxParameters)
    vertical_diffusion: Any = eqx.field(default_factory=VerticalDiffusionParameters)
    stochastic: StochasticParameters = eqx.field(default_factory=StochasticParameters)
    albedo: AlbedoParameters = eqx.field(default_factory=AlbedoParameters)
    boundary: BoundaryParameters = eqx.field(default_factory=BoundaryParameters)
    land: LandParameters = eqx.field(default_factory=LandParameters)
    sea: SeaParameters = eqx.field(default_factory=SeaParameters)
    diffusion: DiffusionParameters = eqx.field(default_factory=DiffusionParameters)
    filter: FilterParameters = eqx.field(default_factory=FilterParameters)
    smooth: Widths = eqx.field(default_factory=Widths)


class HeldRadiation(eqx.Module):
    """What shortwave steps leave to the steps between them."""

    #: Heating rate [K s-1].
    heating: Float[Array, "level *grid"]
    #: Downward at the surface, net at surface and top of the atmosphere, incoming [W m-2].
    surface_downward: Float[Array, "*grid"]
    surface_net: Float[Array, "*grid"]
    toa_net: Float[Array, "*grid"]
    toa_incoming: Float[Array, "*grid"]
    optics: LongwaveOptics
    #: Cover by clouds, and by stratiform clouds at the top of the boundary layer [1].
    cloud_cover: Float[Array, "*grid"]
    stratiform_cover: Float[Array, "*grid"]


class SpeedyPhysics(Physics):
    """SPEEDY with replaceable schemes.

    A scheme is replaced by any function with the same arguments and result; its parameters may be
    any `equinox.Module`, put in the place of the original ones with `equinox.tree_at`.
    """

    levels: Levels
    constants: Constants = eqx.field(static=True)
    options: Options = eqx.field(static=True)
    #: Whether the smooth forms of switches are compiled; without, their widths must be 0.
    smooth: bool = eqx.field(static=True)
    convection: Callable = eqx.field(static=True, default=convection)
    condensation: Callable = eqx.field(static=True, default=condensation)
    clouds: Callable = eqx.field(static=True, default=clouds)
    shortwave: Callable = eqx.field(static=True, default=shortwave)
    surface_fluxes: Callable = eqx.field(static=True, default=surface_fluxes)
    vertical_diffusion: Callable = eqx.field(static=True, default=vertical_diffusion)

    def default_parameters(self) -> SpeedyParameters:
        """Return the reference values."""
        return SpeedyParameters()

    def schemes(self) -> list[str]:
        """Return one line per scheme, in the order in which they are called."""
        schemes = (self.convection, self.condensation, self.clouds, self.shortwave,
                   longwave_optics, longwave_down, self.surface_fluxes, longwave_up,
                   self.vertical_diffusion)  # fmt: skip
        return [_line(f) for f in schemes]

    def widths(self, parameters: SpeedyParameters) -> Widths:
        """Return the widths of the switches, all None in a model without smooth forms."""
        return parameters.smooth if self.smooth else exact_widths()

    def nothing_held(self, like: Float[Array, "level *grid"]) -> HeldRadiation:
        """Return radiation held before the first shortwave step: zeros that are never used."""
        flat = jnp.zeros_like(like[0])
        bands = jnp.zeros((len(like), 4, *flat.shape), like.dtype)
        optics = LongwaveOptics(bands, flat, flat)
        return HeldRadiation(jnp.zeros_like(like), flat, flat, flat, flat, optics, flat, flat)

    def tendencies(
        self,
        columns: Columns,
        around: Surroundings,
        held: HeldRadiation,
        radiation_due: Bool[Array, ""],
        parameters: SpeedyParameters,
    ) -> tuple[Tendency, HeldRadiation, SurfaceHeat, Fields]:
        """Return tendencies, held radiation, the heat into the surface, and diagnostics."""
        p, widths = parameters, self.widths(parameters)
        common = {"levels": self.levels, "constants": self.constants}
        pressure, temperature = columns.surface_pressure, columns.temperature
        q = humidity_floor(columns.specific_humidity, widths.humidity)
        energy = self.constants.heat_capacity * temperature + columns.geopotential
        saturation = saturation_specific_humidity(
            store_in_reverse(temperature), on_levels(self.levels.centre, pressure),
            widths=widths.humidity)
        relative = q / saturation
        # Flux convergence -> tendency [m2 kg-1], and the same for energy -> temperature.
        layer_mass = self.levels.thickness * (
            self.constants.reference_pressure / self.constants.gravity)
        mass = store_in_reverse(on_levels(1 / layer_mass, 1 / pressure))
        heat = mass / self.constants.heat_capacity

        deep = self.convection(
            pressure, *store_in_reverse((energy, q, saturation)),
            parameters=p.convection, widths=widths.convection, **common)
        large_scale = self.condensation(
            pressure, *store_in_reverse((q, saturation)), deep.top_weight,
            cap=self.options.condensation_cap, parameters=p.condensation,
            widths=widths.condensation, **common)
        rain = deep.precipitation + large_scale.precipitation

        def radiate() -> HeldRadiation:
            stability = (energy[-2] - energy[-1]) / (
                columns.geopotential[-2] - columns.geopotential[-1])
            cloud = self.clouds(
                q, relative, rain, large_scale.top_weight, stability, around.land_fraction,
                parameters=p.clouds, widths=widths.clouds, **common)
            return self._held_radiation(pressure, q, cloud, heat, around, p, widths)

        held = jax.lax.cond(radiation_due, radiate, lambda: held)
        down = longwave_down(
            temperature, held.optics, parameters=p.longwave, widths=widths.radiation, **common)
        surface = self.surface_fluxes(
            pressure, columns.eastward_wind, columns.northward_wind, temperature, q, relative,
            columns.geopotential, around.surface_geopotential, around.land_fraction,
            around.sea_temperature, around.land_temperature, around.soil_water,
            around.snow_cover, around.land_albedo, around.sea_albedo, held.surface_downward,
            down.surface_downward, around.orographic_drag, around.cos_latitude,
            p.longwave.surface_emissivity, parameters=p.surface_fluxes, widths=widths.surface,
            humidity_widths=widths.humidity, sea_heat_flux=self.options.sea_heat_flux,
            skin_energy_balance=self.options.skin_energy_balance == "on", **common)
        up = longwave_up(
            temperature, surface.mean.surface_temperature, surface.mean.emitted_longwave,
            held.optics, down, parameters=p.longwave, widths=widths.radiation, **common)
        mixing = self.vertical_diffusion(
            *store_in_reverse((energy, relative, q, saturation, columns.geopotential)), deep.active,
            parameters=p.vertical_diffusion, widths=widths.vertical_diffusion, **common)

        # A concatenation, because a product with a mask would compute the flux in every layer.
        at_surface = lambda flux, factor: jnp.concatenate(  # noqa: E731
            [jnp.zeros_like(q[:-1]), store_in_reverse(flux * factor[-1])[None]])
        tendency = Tendency(
            eastward_wind=at_surface(surface.mean.eastward_stress, mass),
            northward_wind=at_surface(surface.mean.northward_stress, mass),
            temperature=(
                deep.energy_convergence * heat + large_scale.temperature_tendency
                + held.heating + up.absorption * heat + mixing.temperature_tendency
                + at_surface(surface.mean.sensible_heat_flux, heat)),
            specific_humidity=(
                deep.moisture_convergence * mass + large_scale.humidity_tendency
                + mixing.humidity_tendency + at_surface(surface.mean.evaporation, mass)),
        )  # fmt: skip
        fields = {
            "convective_precipitation_flux": deep.precipitation,
            "large_scale_precipitation_flux": large_scale.precipitation,
            "precipitation_flux": rain,
            "cloud_base_mass_flux": deep.base_mass_flux,
            "deep_convection_frequency": deep.active,
            "relative_humidity": relative,
            "toa_outgoing_longwave_flux": up.toa_outgoing,
            "surface_net_downward_longwave_flux": -up.surface_net,
            "surface_downwelling_longwave_flux_absorbed": down.surface_downward,
            "toa_net_downward_radiative_flux": held.toa_net - up.toa_outgoing,
            "surface_net_downward_heat_flux": (
                held.surface_net - up.surface_net - surface.mean.sensible_heat_flux
                - self.constants.latent_heat * surface.mean.evaporation),
        }
        heat_into_surface = SurfaceHeat(
            land=surface.land.net_heat_flux,
            sea=surface.sea.net_heat_flux,
            sea_sensible=surface.sea.sensible_heat_flux,
            sea_evaporation=surface.sea.evaporation,
            downward_shortwave=held.surface_downward,
        )
        return tendency, held, heat_into_surface, (
            fields | _held_fields(held) | _surface_fields(surface, around, self.constants))

    def _held_radiation(
        self, pressure: Array, q: Array, cloud: Clouds, heat: Array, around: Surroundings,
        p: SpeedyParameters, widths: Widths,
    ) -> HeldRadiation:  # fmt: skip
        """Shortwave radiation, and the optical properties that longwave radiation uses."""
        common = {"levels": self.levels, "constants": self.constants, "widths": widths.radiation}
        sun = insolation(
            around.year_fraction, around.sin_latitude,
            parameters=p.solar, widths=widths.radiation)
        sunlight: Shortwave = self.shortwave(
            pressure, q, cloud.cover, cloud.stratiform_cover, cloud.top_weight,
            cloud.base_humidity, sun, around.albedo, parameters=p.shortwave, **common)
        co2 = co2_absorptivity(
            p.longwave, around.year, around.year_fraction, self.options.co2_trend == "on")
        optics = longwave_optics(
            pressure, q, cloud.cover, cloud.top_weight, sun.polar_night_cooling, co2,
            parameters=p.longwave, **common)
        incoming = jnp.broadcast_to(sun.irradiance, pressure.shape)
        return HeldRadiation(
            heating=sunlight.absorption * heat,
            surface_downward=sunlight.surface_downward,
            surface_net=sunlight.surface_net,
            toa_net=sunlight.toa_net,
            toa_incoming=incoming,
            optics=optics,
            cloud_cover=cloud.cover,
            stratiform_cover=cloud.stratiform_cover,
        )


def _held_fields(held: HeldRadiation) -> Fields:
    return {
        "cloud_area_fraction": held.cloud_cover,
        "stratiform_cloud_area_fraction": held.stratiform_cover,
        "toa_incoming_shortwave_flux": held.toa_incoming,
        "toa_net_downward_shortwave_flux": held.toa_net,
        "surface_downwelling_shortwave_flux_in_air": held.surface_downward,
        "surface_net_downward_shortwave_flux": held.surface_net,
    }


def _surface_fields(
    surface: SurfaceFluxes, around: Surroundings, constants: Constants
) -> Fields:
    mean = surface.mean
    return {
        "surface_upward_sensible_heat_flux": mean.sensible_heat_flux,
        "surface_upward_latent_heat_flux": constants.latent_heat * mean.evaporation,
        "water_evapotranspiration_flux": mean.evaporation,
        "surface_downward_eastward_stress": -mean.eastward_stress,
        "surface_downward_northward_stress": -mean.northward_stress,
        "surface_temperature": mean.skin_temperature,
        "near_surface_air_temperature": surface.air_temperature,
        "near_surface_eastward_wind": surface.eastward_wind,
        "near_surface_northward_wind": surface.northward_wind,
        "land_surface_temperature": around.land_temperature,
        "sea_surface_temperature": around.sea_temperature,
        "surface_albedo": around.albedo,
    }


def _line(scheme: Any) -> str:
    """Return name and first words of a scheme: a function, a partial one, or a callable object."""
    known = scheme.func if isinstance(scheme, functools.partial) else scheme
    name = getattr(known, "__name__", type(known).__name__)
    words = (inspect.getdoc(known) or "").strip().splitlines()
    return f"{name}: {words[0] if words else 'no description'}"
