"""Shallow convection, vertical diffusion of moisture and adjustment of steep lapse rates.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; numbers as in the public code of SPEEDY.

Three processes move heat and moisture upward, never momentum: shallow convection between the two
lowest layers (or, where these are stable, diffusion of moisture between them), diffusion of
moisture in the lower troposphere where relative humidity falls off fast with height, and damping
of lapse rates close to or above the dry-adiabatic one. Fluxes are scaled so that a tendency is
their derivative by sigma; surface pressure does not enter.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import DAY, HOUR, Constants
from jcm.parameters import parameter
from jcm.physics import smooth
from jcm.physics.smooth import DiffusionWidths
from jcm.store import store_in_reverse
from jcm.vertical import Levels, along_levels, combine_levels

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"


class VerticalDiffusionParameters(eqx.Module):
    """Time scales and thresholds."""

    shallow_convection_time: Float[Array, ""] = parameter(
        6 * HOUR, "s", (1 * HOUR, 24 * HOUR), "relaxation time of shallow convection", MOLTENI)
    moisture_diffusion_time: Float[Array, ""] = parameter(
        24 * HOUR, "s", (6 * HOUR, 4 * DAY), "time scale of moisture diffusion", MOLTENI)
    dry_adjustment_time: Float[Array, ""] = parameter(
        6 * HOUR, "s", (1 * HOUR, 24 * HOUR), "damping time of steep lapse rates", MOLTENI)
    deep_convection_factor: Float[Array, ""] = parameter(
        0.5, "1", (0, 1), "factor of shallow convection under deep convection", MOLTENI)
    critical_humidity_gradient: Float[Array, ""] = parameter(
        0.5, "1", (0, 2), "gradient of relative humidity by sigma that starts diffusion", MOLTENI)
    minimum_static_energy_gradient: Float[Array, ""] = parameter(
        0.1, "1", (0, 0.4), "least gradient of dry static energy by geopotential", MOLTENI)
    moisture_diffusion_top: Float[Array, ""] = parameter(
        0.5, "1", (0.2, 0.8), "sigma above which moisture does not diffuse", MOLTENI)


class VerticalDiffusion(eqx.Module):
    """Tendencies of vertical diffusion and shallow convection."""

    #: Tendency of temperature [K s-1].
    temperature_tendency: Float[Array, "level *grid"]
    #: Tendency of specific humidity [kg kg-1 s-1].
    humidity_tendency: Float[Array, "level *grid"]


def vertical_diffusion(
    static_energy: Float[Array, "level *grid"],
    relative_humidity: Float[Array, "level *grid"],
    humidity: Float[Array, "level *grid"],
    saturation_humidity: Float[Array, "level *grid"],
    geopotential: Float[Array, "level *grid"],
    convection_active: Float[Array, "*grid"],
    *,
    levels: Levels,
    parameters: VerticalDiffusionParameters,
    constants: Constants,
    widths: DiffusionWidths,
) -> VerticalDiffusion:
    """Return the tendencies of temperature and humidity.

    Parameters
    ----------
    static_energy
        Dry static energy [J kg-1].
    relative_humidity
        Relative humidity [1].
    humidity, saturation_humidity
        Specific humidity and its value at saturation [kg kg-1].
    geopotential
        Geopotential [m2 s-2].
    convection_active
        Activity of deep convection, 0 or 1 (between them in its smooth form) [1].
    """
    p = parameters
    heat, moisture = _lowest_fluxes(
        static_energy, relative_humidity, humidity, saturation_humidity, convection_active,
        levels, p, constants, widths,
    )  # fmt: skip
    diffused = _moisture_fluxes(relative_humidity, saturation_humidity, levels, p, widths)
    adjusted = _adjustment_fluxes(static_energy, geopotential, levels, p, constants, widths)

    warming = combine_levels(
        _heat_convergence(levels), jnp.concatenate([adjusted[:-1], adjusted[-1:] + heat]))
    # No moisture passes the two uppermost interfaces.
    moistening = combine_levels(
        _moisture_convergence(levels)[:, 2:], jnp.concatenate([diffused, moisture[None]]))
    return VerticalDiffusion(temperature_tendency=warming, humidity_tendency=moistening)


def _heat_convergence(levels: Levels) -> np.ndarray:
    """Return the matrix from upward heat fluxes through the inner interfaces to warming.

    A layer gains what passes its lower interface. That heat leaves all of the column below
    evenly; below the last interface that is one layer.
    """
    gain = np.eye(levels.count)[:, :-1] / levels.thickness[:, None]
    return gain - np.tri(levels.count, levels.count - 1, -1) / (1 - np.array(levels.half[1:-1]))


def _moisture_convergence(levels: Levels) -> np.ndarray:
    """Return the matrix from upward fluxes through the inner interfaces to moistening."""
    return np.diff(np.eye(levels.count + 1)[:, 1:-1], axis=0) / levels.thickness[:, None]


def _moisture_rate(levels: Levels, p: VerticalDiffusionParameters) -> Array:
    """Return the rate of moisture diffusion: mean thickness of the inner layers over time [s-1]."""
    return (levels.half[-2] - levels.half[1]) / (levels.count - 2) / p.moisture_diffusion_time


def _lowest_fluxes(
    static_energy: Array,
    relative_humidity: Array,
    humidity: Array,
    saturation_humidity: Array,
    convection_active: Array,
    levels: Levels,
    p: VerticalDiffusionParameters,
    constants: Constants,
    widths: DiffusionWidths,
) -> tuple[Array, Array]:
    """Return upward fluxes of heat [K s-1] and moisture [s-1] between the two lowest layers."""
    instability, step_up, saturated, saturated_above = store_in_reverse((
        (static_energy[-1] - static_energy[-2])
        + constants.latent_heat * (humidity[-1] - saturation_humidity[-2]),
        relative_humidity[-1] - relative_humidity[-2],
        saturation_humidity[-1],
        saturation_humidity[-2],
    ))  # fmt: skip
    critical = p.critical_humidity_gradient * float(levels.centre[-1] - levels.centre[-2])

    reduction = 1 - (1 - p.deep_convection_factor) * convection_active
    rate = reduction * (float(levels.thickness[-1]) / p.shallow_convection_time)
    heat = rate / constants.heat_capacity * smooth.positive(instability, widths.instability)

    convected = rate * saturated * smooth.positive(step_up, widths.humidity_gradient)
    diffused = (
        _moisture_rate(levels, p) * levels.half[-2] * saturated_above * step_up
    ) * smooth.step(step_up - critical, widths.critical_gradient)
    moisture = smooth.select(instability, convected, diffused, widths.instability, inclusive=True)
    return heat, moisture


def _moisture_fluxes(
    relative_humidity: Array,
    saturation_humidity: Array,
    levels: Levels,
    p: VerticalDiffusionParameters,
    widths: DiffusionWidths,
) -> Array:
    """Return upward moisture fluxes [s-1] through the interfaces below layers 3 to K - 2."""
    inner = slice(2, -2)
    interface = along_levels(np.array(levels.half[3:-2]), relative_humidity)
    spacing = along_levels((levels.centre[1:] - levels.centre[:-1])[2:-1], relative_humidity)
    step_up = relative_humidity[3:-1] - relative_humidity[inner]
    flux = _moisture_rate(levels, p) * interface * saturation_humidity[inner] * step_up
    deep = smooth.step(interface - p.moisture_diffusion_top, widths.diffusion_top)
    steep = smooth.step(
        step_up - p.critical_humidity_gradient * spacing, widths.critical_gradient, inclusive=True
    )
    return deep * steep * flux


def _adjustment_fluxes(
    static_energy: Array,
    geopotential: Array,
    levels: Levels,
    p: VerticalDiffusionParameters,
    constants: Constants,
    widths: DiffusionWidths,
) -> Array:
    """Return upward heat fluxes [K s-1] that damp steep lapse rates, for all inner interfaces."""
    stable = p.minimum_static_energy_gradient * (geopotential[:-1] - geopotential[1:])
    deficit = smooth.positive(static_energy[1:] + stable - static_energy[:-1], widths.lapse)
    mean_thickness = (levels.half[-2] - levels.half[1]) / (levels.count - 2)
    return mean_thickness / p.dry_adjustment_time / constants.heat_capacity * deficit
