"""What a run carries from step to step."""

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree


class Prognostics(eqx.Module):
    """The atmosphere at one time: spectra, see `jcm.transform`."""

    #: Relative vorticity [s-1].
    vorticity: Float[Array, "m 2 level n"]
    #: Divergence of the horizontal wind [s-1].
    divergence: Float[Array, "m 2 level n"]
    #: Absolute temperature [K].
    temperature: Float[Array, "m 2 level n"]
    #: Specific humidity [kg kg-1]; spectral ripples may make it negative.
    specific_humidity: Float[Array, "m 2 level n"]
    #: ln(surface pressure / 1e5 Pa) [1].
    log_surface_pressure: Float[Array, "m 2 1 n"]


class Columns(eqx.Module):
    """The atmosphere on the grid, as the physics sees it; level first, the top is index 0."""

    #: Eastward and northward wind [m s-1].
    eastward_wind: Float[Array, "level *grid"]
    northward_wind: Float[Array, "level *grid"]
    #: Air temperature [K].
    temperature: Float[Array, "level *grid"]
    #: Specific humidity [kg kg-1], not floored.
    specific_humidity: Float[Array, "level *grid"]
    #: Geopotential [m2 s-2].
    geopotential: Float[Array, "level *grid"]
    #: Surface pressure / 1e5 Pa [1].
    surface_pressure: Float[Array, "*grid"]


class Tendency(eqx.Module):
    """Rates of change of the grid fields by the physics."""

    #: Eastward and northward wind [m s-2].
    eastward_wind: Float[Array, "level *grid"]
    northward_wind: Float[Array, "level *grid"]
    #: Air temperature [K s-1].
    temperature: Float[Array, "level *grid"]
    #: Specific humidity [s-1].
    specific_humidity: Float[Array, "level *grid"]


class SurfaceState(eqx.Module):
    """Slab temperatures and what the surface hands to the atmosphere; all (lon, lat)."""

    #: Temperature of the soil slab [K].
    land_temperature: Float[Array, "lon lat"]
    #: Temperature of the sea ice slab [K].
    ice_temperature: Float[Array, "lon lat"]
    #: Temperature of the ocean mixed layer [K].
    mixed_layer_temperature: Float[Array, "lon lat"]
    #: Temperature of the sea surface, water and ice together [K].
    sea_temperature: Float[Array, "lon lat"]
    #: Fraction of the sea surface under ice [1].
    ice_fraction: Float[Array, "lon lat"]
    #: Sea surface temperature anomalies of three months [K]; None where the forcing has none.
    anomaly_window: Float[Array, "3 lon lat"] | None


class DailyFields(eqx.Module):
    """Fields that are made anew once a day."""

    #: Fraction of land under snow [1].
    snow_cover: Float[Array, "lon lat"]
    #: Albedo of land, of sea, and of the whole cell [1].
    land_albedo: Float[Array, "lon lat"]
    sea_albedo: Float[Array, "lon lat"]
    albedo: Float[Array, "lon lat"]
    #: Correction by which humidity diffuses along surfaces of height [kg kg-1], a spectrum.
    humidity_correction: Float[Array, "m 2 1 n"]


class State(eqx.Module):
    """Everything that a run carries; the numbers of `inputs.state`."""

    #: The older, filtered time level of the leapfrog scheme; equal to `current` in others.
    previous: Prognostics
    #: The newest time level.
    current: Prognostics
    surface: SurfaceState
    daily: DailyFields
    #: What the physics keeps between its calls, e.g. radiation held between shortwave steps.
    held: PyTree
    #: Stochastic pattern, one spectrum per level, and the key of its next draw; None if off.
    pattern: Float[Array, "m 2 level n"] | None
    key: PRNGKeyArray | None
    #: Number of steps taken since the start date; -2 and -1 are the two start-up steps.
    step: Int[Array, ""]
