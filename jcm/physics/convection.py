"""Deep convection: a bulk mass-flux scheme.

An updraught rises from the lowest layer, entrains air in the lower half of the troposphere and
ends in one top layer, where it detrains and rains out what saturated air cannot hold. Subsidence
of equal mass compensates it. A secondary exchange moistens dry layers between.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY; a simplified form of
Tiedtke, M. (1993): Representation of clouds in large-scale models. Mon. Weather Rev., 121,
3040-3061.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import HOUR, Constants
from jcm.parameters import parameter
from jcm.physics.layers import first_passing
from jcm.physics.smooth import (
    ConvectionWidths,
    maximum,
    minimum,
    positive,
    scaled,
    step,
)
from jcm.store import store_in_reverse
from jcm.vertical import Levels, along_levels, combine_levels, on_levels

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"

#: The ramp of the mass flux reaches 1 at this inverse share of the way from the minimum pressure
#: to the reference pressure: half-way.
RAMP_SHARPNESS = 2.0


class ConvectionParameters(eqx.Module):
    """Tunable numbers of deep convection."""

    minimum_pressure: Float[Array, ""] = parameter(
        0.8, "1", (0.6, 0.9), "surface pressure over reference pressure below which no "
        "convection occurs", MOLTENI)  # fmt: skip
    relaxation_time: Float[Array, ""] = parameter(
        6 * HOUR, "s", (2 * HOUR, 24 * HOUR), "relaxation time of humidity in the lowest layer",
        MOLTENI)  # fmt: skip
    boundary_layer_humidity_threshold: Float[Array, ""] = parameter(
        0.9, "1", (0.75, 0.98), "relative humidity threshold of the two lowest layers",
        MOLTENI)  # fmt: skip
    secondary_humidity_threshold: Float[Array, ""] = parameter(
        0.7, "1", (0.5, 0.95), "relative humidity up to which the secondary flux moistens",
        MOLTENI)  # fmt: skip
    total_entrainment: Float[Array, ""] = parameter(
        0.5, "1", (0.1, 1.5), "mass entrained by the whole updraught over cloud-base mass flux",
        MOLTENI)  # fmt: skip
    secondary_mass_flux_ratio: Float[Array, ""] = parameter(
        0.8, "1", (0.0, 1.5), "secondary over cloud-base mass flux", MOLTENI)  # fmt: skip
    maximum_closure_ratio: Float[Array, ""] = parameter(
        5.0, "1", (2.0, 10.0), "limit of the humidity excess over the humidity difference "
        "of updraught and subsidence at cloud base", MOLTENI)  # fmt: skip
    boundary_layer_humidity_excess: Float[Array, ""] = parameter(
        1.01, "1", (1.005, 1.05), "humidity of the updraught over that of the lowest layer; "
        "above 1, else the closure can divide by 0", MOLTENI)  # fmt: skip
    entrainment_top: Float[Array, ""] = parameter(
        0.5, "1", (0.3, 0.7), "sigma above which nothing is entrained", MOLTENI)  # fmt: skip


class Convection(eqx.Module):
    """Fluxes of deep convection; zero in columns without it."""

    #: Mass flux of the updraught at cloud base [kg m-2 s-1].
    base_mass_flux: Float[Array, "*grid"]
    #: Convective precipitation [kg m-2 s-1].
    precipitation: Float[Array, "*grid"]
    #: Net flux of dry static energy into each layer [W m-2].
    energy_convergence: Float[Array, "level *grid"]
    #: Net flux of vapour into each layer [kg m-2 s-1].
    moisture_convergence: Float[Array, "level *grid"]
    #: Weight of each layer to be the top of convection, and last of no convection [1].
    top_weight: Float[Array, "choice *grid"]
    #: Weight of the column to convect [1].
    active: Float[Array, "*grid"]


class _Updraught(NamedTuple):
    """Fluxes per unit of cloud-base mass flux at the lower interfaces of layers 3 to K - 1."""

    #: Mass flux [1].
    mass: Array
    #: Upward flux of vapour in the updraught alone [kg kg-1].
    vapour: Array
    #: Upward flux of dry static energy, updraught less subsidence [J kg-1].
    net_energy: Array
    #: Upward flux of vapour, updraught less subsidence [kg kg-1].
    net_vapour: Array


def convection(
    surface_pressure: Float[Array, "*grid"],
    static_energy: Float[Array, "level *grid"],
    humidity: Float[Array, "level *grid"],
    saturation_humidity: Float[Array, "level *grid"],
    *,
    levels: Levels,
    parameters: ConvectionParameters,
    constants: Constants,
    widths: ConvectionWidths,
) -> Convection:
    """Return mass flux, precipitation and flux convergences of deep convection.

    The top is the highest layer between 3 and K - 3 into which saturated air of the lowest
    layer would rise; with fewer than 6 layers there is none, and no convection.

    Parameters
    ----------
    surface_pressure
        Surface pressure over reference pressure [1].
    static_energy
        Dry static energy c_p T + geopotential [J kg-1].
    humidity, saturation_humidity
        Specific humidity, not negative, and its value at saturation [kg kg-1].
    """
    if levels.count < 6:
        return _no_convection(humidity)
    saturation_energy = static_energy + constants.latent_heat * saturation_humidity
    moist_energy = store_in_reverse(static_energy[-2:] + constants.latent_heat * humidity[-2:])
    threshold = _at_bottom(saturation_energy, levels, 2, levels.count - 3)
    top = _top(moist_energy, saturation_energy, threshold, widths)
    base = _base_humidity(humidity, saturation_humidity, levels, parameters, widths)
    closure, active = _closure(
        moist_energy, threshold, humidity, saturation_humidity, base, parameters, constants, widths
    )
    above_minimum = surface_pressure - parameters.minimum_pressure
    active = active * step(above_minimum, widths.pressure_ramp)
    scale = (
        constants.reference_pressure * float(levels.thickness[-1])
        / (constants.gravity * parameters.relaxation_time)
    )  # fmt: skip
    mass_flux = scale * _pressure_ramp(surface_pressure, parameters, widths) * closure

    updraught = _updraught(surface_pressure, static_energy, humidity, base, levels, parameters)
    saturated = _at_bottom(saturation_humidity, levels, 2, levels.count - 3)
    excess = updraught.vapour[:-2] - updraught.mass[:-2] * saturated
    rain = top[:-1] * positive(excess, scaled(widths.precipitation, 1 / scale))
    crossed = _share_crossed(top)
    moved = _flux_convergence(levels.count)
    formed = np.eye(levels.count)[:, 2 : 2 + len(rain)]
    dryness = parameters.secondary_humidity_threshold * saturation_humidity - humidity
    secondary = crossed[:-1] * parameters.secondary_mass_flux_ratio * positive(
        dryness[3:-1], widths.secondary_flux
    )  # fmt: skip
    energy = combine_levels(
        np.hstack([moved, constants.latent_heat * formed]),
        jnp.concatenate([crossed * updraught.net_energy, rain]))
    vapour = combine_levels(
        np.hstack([moved, -formed, _exchange_convergence(levels.count, len(secondary))]),
        jnp.concatenate([crossed * updraught.net_vapour, rain, secondary]))

    in_layers = on_levels(np.ones(levels.count), mass_flux)
    converting = active * crossed[-1]
    weights = _on_layers(active * top[:-1], 2, levels.count)
    return Convection(
        base_mass_flux=mass_flux * crossed[-1],
        precipitation=mass_flux * jnp.sum(rain, axis=0),
        energy_convergence=in_layers * energy,
        moisture_convergence=in_layers * vapour,
        top_weight=jnp.concatenate([weights, 1 - converting[None]]),
        active=converting,
    )


def _no_convection(humidity: Float[Array, "level *grid"]) -> Convection:
    column, zero = jnp.zeros_like(humidity), jnp.zeros_like(humidity[0])
    weights = jnp.concatenate([column, jnp.ones_like(zero)[None]])
    return Convection(zero, zero, column, column, weights, zero)


def _at_bottom(x: Array, levels: Levels, first: int, end: int) -> Array:
    """Values at the lower interfaces of the layers first to end - 1."""
    weight = along_levels(levels.weight[first:end], x)
    return store_in_reverse(x[first:end] + weight * (x[first + 1 : end + 1] - x[first:end]))


def _on_layers(x: Array, first: int, count: int) -> Array:
    """Extend by zeros to all layers, x starting at layer `first`."""
    return jnp.pad(x, [(first, count - first - len(x)), *[(0, 0)] * (x.ndim - 1)])


def _top(
    moist_energy: Array, saturation_energy: Array, threshold: Array, widths: ConvectionWidths
) -> Array:
    """Weights of the candidate layers, and of none, to be the highest that saturated air reaches.

    A candidate that fails does not stop the search: the highest that passes is taken.
    """
    energy = maximum(moist_energy[-1], saturation_energy[-1], widths.energy)
    return first_passing(step(energy - threshold, widths.top))


def _base_humidity(
    humidity: Array,
    saturation_humidity: Array,
    levels: Levels,
    parameters: ConvectionParameters,
    widths: ConvectionWidths,
) -> tuple[Array, Array]:
    """Humidity of the updraught and of the subsidence at cloud base."""
    lowest = humidity[-1]
    updraught = maximum(
        parameters.boundary_layer_humidity_excess * lowest,
        saturation_humidity[-1],
        widths.humidity,
    )
    interpolated = _at_bottom(humidity, levels, levels.count - 2, levels.count - 1)[0]
    return updraught, minimum(interpolated, lowest, widths.humidity)


def _closure(
    moist_energy: Array,
    threshold: Array,
    humidity: Array,
    saturation_humidity: Array,
    base: tuple[Array, Array],
    parameters: ConvectionParameters,
    constants: Constants,
    widths: ConvectionWidths,
) -> tuple[Array, Array]:
    """Humidity excess over the contrast at cloud base, and whether the column is unstable.

    Convection sets in where the drier of the two lowest layers is unstable, or where both are
    moist. The excess is zero, not undefined, elsewhere: its derivative must stay finite.
    """
    unstable_energy = minimum(moist_energy[-1], moist_energy[-2], widths.energy)
    unstable = first_passing(step(unstable_energy - threshold, widths.activation))
    over = humidity[-2:] - parameters.boundary_layer_humidity_threshold * saturation_humidity[-2:]
    moist = step(over, scaled(widths.activation_humidity, saturation_humidity[-2:]))
    both_moist = moist[0] * moist[1]

    by_energy = (moist_energy[-1] - threshold) / constants.latent_heat
    contrast = base[0] - base[1]

    def ratio(excess: Array) -> Array:
        excess = positive(excess, widths.humidity)
        return minimum(parameters.maximum_closure_ratio, excess / contrast, widths.ratio)

    by_instability = unstable[:-1] * ratio(maximum(over[-1], by_energy, widths.humidity))
    by_moisture = unstable[-1] * both_moist
    closure = jnp.sum(by_instability, axis=0) + by_moisture * ratio(over[-1])
    return closure, 1 - unstable[-1] * (1 - both_moist)


def _pressure_ramp(
    surface_pressure: Array, parameters: ConvectionParameters, widths: ConvectionWidths
) -> Array:
    """Surface pressure times a ramp from 0 at the minimum pressure to 1 half-way to 1."""
    width = widths.pressure_ramp
    slope = RAMP_SHARPNESS / (1 - parameters.minimum_pressure)
    ramp = positive(surface_pressure - parameters.minimum_pressure, width) * slope
    return surface_pressure * minimum(jnp.ones_like(ramp), ramp, width)


def _entrainment(levels: Levels, parameters: ConvectionParameters) -> Array:
    """Mass entrained by layers 2 to K - 1 over cloud-base mass flux."""
    sigma = jnp.asarray(levels.centre[1:-1], dtype=parameters.entrainment_top.dtype)
    profile = positive(sigma - parameters.entrainment_top) ** 2
    return parameters.total_entrainment * profile / jnp.sum(profile)


def _updraught(
    surface_pressure: Array,
    static_energy: Array,
    humidity: Array,
    base: tuple[Array, Array],
    levels: Levels,
    parameters: ConvectionParameters,
) -> _Updraught:
    """Fluxes of an updraught that entrains in every layer below the highest candidate.

    The public code multiplies the entrained mass by the surface pressure, which the cloud-base
    mass flux already contains. Energy counts from that of the lowest layer: only differences
    matter, and they are smaller.
    """
    entrainment = _entrainment(levels, parameters)
    energy = static_energy - static_energy[-1]
    fluxes = [(jnp.ones_like(humidity[-1]), jnp.zeros_like(humidity[-1]), base[0])]
    for k in range(levels.count - 2, 2, -1):
        more = surface_pressure * entrainment[k - 1]
        below_mass, below_energy, below_vapour = fluxes[-1]
        fluxes.append(
            (
                below_mass + more,
                below_energy + more * energy[k],
                below_vapour + more * humidity[k],
            )
        )
    mass, upward_energy, vapour = (jnp.stack(flux[::-1]) for flux in zip(*fluxes, strict=True))
    end = levels.count - 1
    subsiding = jnp.concatenate([_at_bottom(humidity, levels, 2, end - 1), base[1][None]])
    return _Updraught(
        mass=mass,
        vapour=vapour,
        net_energy=upward_energy - mass * _at_bottom(energy, levels, 2, end),
        net_vapour=vapour - mass * subsiding,
    )


def _share_crossed(top: Array) -> Array:
    """Weight of the tops at or above each layer from 3 to K - 1: updraughts through its bottom."""
    crossed = [top[0]]
    for weight in top[1:-1]:
        crossed.append(crossed[-1] + weight)
    return jnp.stack([*crossed, crossed[-1], crossed[-1]])


def _flux_convergence(count: int) -> np.ndarray:
    """Return the matrix from upward fluxes below layers 3 to K - 1 to the gain of all layers."""
    return np.diff(np.eye(count + 1)[:, 3:count], axis=0)


def _exchange_convergence(count: int, fluxes: int) -> np.ndarray:
    """Return the matrix from fluxes out of the updraught into layers 4, ... to their gain."""
    gain = np.eye(count)[:, 3 : 3 + fluxes]
    gain[3 + fluxes] = -1
    return gain
