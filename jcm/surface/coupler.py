"""From boundary conditions to what the atmosphere meets at each step.

`Ground` holds what follows once from forcing and parameters: masks, filtered orography, monthly
fields with harmless values where a mask is empty. The slabs advance after every step; albedo and
the humidity correction of the diffusion follow once a day, counted from the start of the run.
Everything is differentiable with respect to forcing and parameters; only dates are integers.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import Constants
from jcm.forcing import Forcing
from jcm.grid import Grid
from jcm.options import Options
from jcm.phases import YearPhase, date_of, month_number, year_phase
from jcm.physics import SurfaceHeat, Surroundings
from jcm.physics.humidity import saturation_specific_humidity
from jcm.physics.smooth import Widths
from jcm.physics.surface import orographic_drag_factor
from jcm.state import DailyFields, SurfaceState
from jcm.surface.albedo import surface_albedo
from jcm.surface.anomaly import (
    anomaly_from_window,
    anomaly_of_date,
    anomaly_window,
    original_anomaly_window,
)
from jcm.surface.boundary import (
    UNDEFINED_AMOUNT,
    UNDEFINED_TEMPERATURE,
    linear_interpolation,
    masks,
    mean_conserving_interpolation,
    on_mask,
    soil_water_availability,
)
from jcm.surface.land import land_surface_temperature
from jcm.surface.sea import (
    SeaClimatology,
    SeaState,
    advance_sea,
    initial_sea,
    sea_surface_temperature,
    split_climatology,
)
from jcm.transform import Spectrum, Transform


class Ground(eqx.Module):
    """What follows once from forcing and parameters; (lon, lat), monthly fields (12, lon, lat)."""

    #: Geopotential of the orography that the model resolves [m2 s-2], on the grid and its spectrum.
    surface_geopotential: Float[Array, "lon lat"]
    geopotential_spectrum: Spectrum
    #: What diffusion adds to temperature, times a vertical profile [K], a spectrum.
    temperature_correction: Spectrum
    #: Shares of land and sea [1], and the factor of drag over orography [1].
    land_fraction: Float[Array, "lon lat"]
    sea_fraction: Float[Array, "lon lat"]
    orographic_drag: Float[Array, "lon lat"]
    #: Albedo of land without snow [1].
    bare_albedo: Float[Array, "lon lat"]
    #: Monthly temperature of soil [K], snow [kg m-2], availability of soil water [1].
    soil_temperature: Float[Array, "12 lon lat"]
    snow_depth: Float[Array, "12 lon lat"]
    soil_water: Float[Array, "12 lon lat"]
    #: Monthly temperature of the sea with its ice [K], fraction of ice [1].
    sea_temperature: Float[Array, "12 lon lat"]
    sea_ice_fraction: Float[Array, "12 lon lat"]
    #: Anomalies of sea surface temperature by month [K], or None; month of the first.
    anomaly: Float[Array, "record lon lat"] | None
    anomaly_first_month: Array
    start_day: Array


class Coupler(eqx.Module):
    """Structure of the coupling between atmosphere and surface."""

    grid: Grid = eqx.field(static=True)
    constants: Constants = eqx.field(static=True)
    options: Options = eqx.field(static=True)
    time_step: float = eqx.field(static=True)
    steps_per_day: int = eqx.field(static=True)

    def ground(
        self, forcing: Forcing, transform: Transform, parameters: Any, widths: Widths
    ) -> Ground:
        """Derive what does not change during a run."""
        p, dtype = parameters, forcing.land_fraction.dtype
        spectrum = transform.truncated(
            transform.analysis(forcing.surface_geopotential[:, None]))
        geopotential = transform.synthesis(spectrum)[:, 0]
        mask = masks(forcing.land_fraction, parameters=p.boundary)
        water = forcing.soil_water_availability
        if forcing.soil_layers is not None:
            soil = forcing.soil_layers
            water = soil_water_availability(
                soil.upper, soil.lower, soil.high_vegetation, soil.low_vegetation,
                parameters=p.boundary, widths=widths.surface)  # fmt: skip
        assert water is not None, "a forcing has either the availability of soil water or layers"
        anomaly = forcing.sea_surface_temperature_anomaly
        if anomaly is not None:
            anomaly = on_mask(anomaly, mask.sea, UNDEFINED_AMOUNT)
        return Ground(
            surface_geopotential=geopotential,
            geopotential_spectrum=spectrum,
            temperature_correction=spectrum
            * (p.diffusion.lapse_rate / self.constants.gravity).astype(dtype),
            land_fraction=mask.land_fraction,
            sea_fraction=mask.sea_fraction,
            orographic_drag=orographic_drag_factor(
                geopotential, parameters=p.surface_fluxes, constants=self.constants,
                widths=widths.surface),
            bare_albedo=forcing.bare_albedo,
            soil_temperature=on_mask(forcing.soil_temperature, mask.land, UNDEFINED_TEMPERATURE),
            snow_depth=on_mask(forcing.snow_depth, mask.land, UNDEFINED_AMOUNT),
            soil_water=on_mask(water, mask.land, UNDEFINED_AMOUNT),
            sea_temperature=on_mask(
                forcing.sea_surface_temperature, mask.sea, UNDEFINED_TEMPERATURE),
            sea_ice_fraction=on_mask(forcing.sea_ice_fraction, mask.sea, UNDEFINED_AMOUNT),
            anomaly=anomaly,
            anomaly_first_month=forcing.anomaly_first_month,
            start_day=forcing.start_day,
        )  # fmt: skip

    def phase(self, ground: Ground, step: Array) -> YearPhase:
        """Return the date at the beginning of a step; start-up steps are at the start date."""
        day = ground.start_day + jnp.maximum(step, 0) // self.steps_per_day
        return year_phase(
            day, original=self.options.year == "original", dtype=ground.land_fraction.dtype)

    def surface_at_start(
        self, ground: Ground, parameters: Any, widths: Widths
    ) -> SurfaceState:
        """Return slabs at their climatology of the start date."""
        phase = self.phase(ground, jnp.zeros_like(ground.start_day))
        climatology = self._sea_climatology(ground, phase, parameters, widths)
        window = None
        if ground.anomaly is not None:
            window = anomaly_window(
                ground.anomaly, ground.anomaly_first_month, month_number(phase.year, phase.month))
        state = initial_sea(climatology)
        return self._handed(
            mean_conserving_interpolation(
                ground.soil_temperature, phase.month, phase.month_fraction),
            state, climatology, window, self._anomaly(ground, phase, window))  # fmt: skip

    def advance(
        self,
        surface: SurfaceState,
        heat: SurfaceHeat,
        ground: Ground,
        step: Array,
        parameters: Any,
        widths: Widths,
    ) -> SurfaceState:
        """Return the surface after a step, at the date to which the step leads."""
        p, o = parameters, self.options
        phase = self.phase(ground, step + 1)
        land = land_surface_temperature(
            surface.land_temperature,
            mean_conserving_interpolation(
                ground.soil_temperature, phase.month, phase.month_fraction),
            heat.land, ground.land_fraction, ground.bare_albedo, self.time_step,
            parameters=p.land, widths=widths.surface, coupling=o.land, damping=o.slab_damping,
        )  # fmt: skip
        climatology = self._sea_climatology(ground, phase, p, widths)
        window = surface.anomaly_window
        if window is not None and ground.anomaly is not None and (
            o.anomaly_schedule == "start_year"
        ):
            window = original_anomaly_window(
                window, ground.anomaly, ground.anomaly_first_month,
                date_of(ground.start_day).year, phase)  # fmt: skip
        sea = advance_sea(
            SeaState(
                surface.ice_temperature, surface.ice_fraction, surface.mixed_layer_temperature),
            climatology, heat.sea, heat.sea_sensible, heat.sea_evaporation, heat.downward_shortwave,
            ground.sea_fraction,
            jnp.asarray(self.grid.cos_latitude, ground.land_fraction.dtype),
            p.longwave.surface_emissivity, self.time_step,
            parameters=p.sea, albedo=p.albedo, constants=self.constants, widths=widths.surface,
            sea_heat_flux=o.sea_heat_flux, sea=o.sea, ice=o.sea_ice, damping=o.slab_damping,
            melting_cap=o.ice_melting_cap == "on",
        )  # fmt: skip
        return self._handed(land, sea, climatology, window, self._anomaly(ground, phase, window))

    def daily(
        self,
        surface: SurfaceState,
        ground: Ground,
        step: Array,
        transform: Transform,
        parameters: Any,
        widths: Widths,
    ) -> DailyFields:
        """Return albedo and humidity correction from the present surface."""
        phase = self.phase(ground, step)
        snow = linear_interpolation(ground.snow_depth, phase.month, phase.month_fraction)
        albedo = surface_albedo(
            ground.bare_albedo, snow, surface.ice_fraction, ground.land_fraction,
            parameters=parameters.albedo, widths=widths.surface)  # fmt: skip
        correction = self._humidity_correction(surface, ground, parameters, widths)
        return DailyFields(
            albedo.snow_cover, albedo.land, albedo.sea, albedo.mean,
            transform.analysis(correction[:, None]))  # fmt: skip

    def surroundings(
        self, surface: SurfaceState, daily: DailyFields, ground: Ground, step: Array
    ) -> Surroundings:
        """Return what the columns meet at the beginning of a step."""
        phase = self.phase(ground, step)
        dtype = ground.land_fraction.dtype
        return Surroundings(
            surface_geopotential=ground.surface_geopotential,
            land_fraction=ground.land_fraction,
            orographic_drag=ground.orographic_drag,
            land_temperature=surface.land_temperature,
            sea_temperature=surface.sea_temperature,
            soil_water=linear_interpolation(
                ground.soil_water, phase.month, phase.month_fraction),
            snow_cover=daily.snow_cover,
            land_albedo=daily.land_albedo,
            sea_albedo=daily.sea_albedo,
            albedo=daily.albedo,
            sin_latitude=jnp.asarray(self.grid.sin_latitude, dtype),
            cos_latitude=jnp.asarray(self.grid.cos_latitude, dtype),
            year_fraction=phase.year_fraction,
            year=phase.year.astype(dtype),
        )

    def _sea_climatology(
        self, ground: Ground, phase: YearPhase, parameters: Any, widths: Widths
    ) -> SeaClimatology:
        when = phase.month, phase.month_fraction
        return split_climatology(
            mean_conserving_interpolation(ground.sea_temperature, *when),
            linear_interpolation(ground.sea_ice_fraction, *when),
            parameters=parameters.sea, widths=widths.surface)  # fmt: skip

    def _anomaly(self, ground: Ground, phase: YearPhase, window: Array | None) -> Array:
        """Return the anomaly of sea surface temperature at a date, 0 where none is given."""
        if ground.anomaly is None:
            return jnp.zeros_like(ground.land_fraction)
        if self.options.anomaly_schedule == "start_year" and window is not None:
            return anomaly_from_window(window, phase.month_fraction)
        return anomaly_of_date(ground.anomaly, ground.anomaly_first_month, phase)

    def _handed(
        self, land: Array, sea: SeaState, climatology: SeaClimatology, window: Array | None,
        anomaly: Array,
    ) -> SurfaceState:  # fmt: skip
        temperature = sea_surface_temperature(sea, climatology, anomaly, sea=self.options.sea)
        return SurfaceState(
            land, sea.ice_temperature, sea.mixed_layer_temperature, temperature,
            sea.ice_fraction, window)  # fmt: skip

    def _humidity_correction(
        self, surface: SurfaceState, ground: Ground, parameters: Any, widths: Widths
    ) -> Float[Array, "lon lat"]:
        """Return reference humidity at sea level less that at the surface [kg kg-1]."""
        p, c = parameters.diffusion, self.constants
        lapse = p.lapse_rate / c.gravity
        at_surface = (
            ground.land_fraction * surface.land_temperature
            + ground.sea_fraction * surface.sea_temperature
        )
        at_sea_level = at_surface + lapse * ground.surface_geopotential
        pressure = jnp.exp(jnp.log(at_surface / at_sea_level) / (c.gas_constant * lapse))
        saturation = lambda t, pressure: saturation_specific_humidity(  # noqa: E731
            t, pressure, widths=widths.humidity)
        return p.relative_humidity * (
            saturation(at_sea_level, jnp.ones_like(pressure)) - saturation(at_surface, pressure))


def has_no_anomalies(forcing: Forcing) -> bool:
    """Tell whether sea surface temperature is that of the climatology alone."""
    return forcing.sea_surface_temperature_anomaly is None or not np.any(
        np.asarray(forcing.sea_surface_temperature_anomaly))
