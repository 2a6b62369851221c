"""Longwave radiation in four bands and a black band.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; numbers as in the public code of SPEEDY.

The bands are the window, carbon dioxide, and weak and strong absorption by water vapour; each
holds a fraction of black-body emission that is a quadratic of temperature. The black band is
exchanged between the surface and the lowest layer, and emitted to space by the stratosphere.
Transmissivities follow from humidity and clouds of the last shortwave step; the downward flux is
computed before the surface fluxes, the upward flux after them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import Constants
from jcm.parameters import parameter
from jcm.physics import smooth
from jcm.physics.smooth import RadiationWidths
from jcm.store import store_in_reverse
from jcm.vertical import Levels, along_levels, on_levels

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"


def _with_window(*bands: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """Return value and place of the extremum, and curvature: first of the window, 1 - the rest."""
    value, centre, curvature = (np.array(x) for x in bands)
    c = -np.sum(curvature)
    t = -np.sum(curvature * centre) / c
    v = 1 - np.sum(value + curvature * centre**2) - c * t**2
    return tuple(np.append(x, y) for x, y in ((v, value), (t, centre), (c, curvature)))


#: Range of temperature of the band fractions, constant outside [K].
BAND_RANGE = (200.0, 320.0)
#: Fractions in the bands of carbon dioxide, weak and strong water vapour: value [1] and
#: temperature [K] of the extremum, curvature [K-2]. The window has the rest.
BAND_EXTREMUM = (0.148, 0.356, 0.314)
BAND_TEMPERATURE = (247.0, 282.0, 315.0)
BAND_CURVATURE = (-3.0e-6, -5.2e-6, 1.0e-5)
#: The same for all four bands, the window first.
_BAND_POLYNOMIALS = _with_window(BAND_EXTREMUM, BAND_TEMPERATURE, BAND_CURVATURE)
#: Year in which the absorptivity of carbon dioxide is that of the parameter.
REFERENCE_YEAR = 1950


class LongwaveParameters(eqx.Module):
    """Absorptivities, per 1e5 Pa of vertical path, and emission."""

    window_absorptivity: Float[Array, ""] = parameter(
        0.3, "1", (0.1, 0.8), "absorptivity of air in the window", MOLTENI)
    co2_absorptivity: Float[Array, ""] = parameter(
        6.0, "1", (4, 10), "absorptivity of air in the band of carbon dioxide", MOLTENI)
    co2_absorptivity_growth: Float[Array, ""] = parameter(
        0.005, "yr-1", (0.002, 0.006),
        "relative growth of the absorptivity of carbon dioxide, where the trend is on", MOLTENI)
    weak_vapour_absorptivity: Float[Array, ""] = parameter(
        700.0, "(kg kg-1)-1", (300, 1500), "weak band: absorptivity per specific humidity", MOLTENI)
    strong_vapour_absorptivity: Float[Array, ""] = parameter(
        50e3, "(kg kg-1)-1", (20e3, 100e3), "strong band: absorptivity per specific humidity",
        MOLTENI)
    thick_cloud_absorptivity: Float[Array, ""] = parameter(
        12.0, "1", (5, 30), "window absorptivity of full cover, from the cloud top down", MOLTENI)
    thin_cloud_absorptivity: Float[Array, ""] = parameter(
        0.6, "1", (0, 2), "least absorptivity of full cover in window and vapour bands", MOLTENI)
    black_band_fraction: Float[Array, ""] = parameter(
        0.05, "1", (0.02, 0.15), "fraction of emission in the black band", MOLTENI)
    surface_emissivity: Float[Array, ""] = parameter(
        0.98, "1", (0.9, 1), "longwave emissivity of the surface", MOLTENI)
    anisotropy_factor: Float[Array, ""] = parameter(
        1.0, "1", (0, 1.5), "strength of the temperature gradient within a layer", MOLTENI)


class LongwaveOptics(eqx.Module):
    """What longwave radiation keeps from the last shortwave step."""

    #: Transmissivity of each layer in each band [1].
    transmissivity: Float[Array, "level band *grid"]
    #: Cooling of the top layer in the polar night [W m-2].
    polar_night_cooling: Float[Array, "*grid"]
    #: Emission of the two top layers in the black band, over black-body emission and sigma [1].
    stratospheric_emission: Float[Array, "*grid"]


class LongwaveDown(eqx.Module):
    """Downward radiation, and what the upward pass takes from it."""

    #: Flux absorbed by the surface [W m-2].
    surface_downward: Float[Array, "*grid"]
    #: Net flux into each layer by the downward pass [W m-2].
    absorption: Float[Array, "level *grid"]
    #: Downward flux at the surface in each band [W m-2].
    band_flux: Float[Array, "band *grid"]
    #: Black-body emission of each layer [W m-2].
    emission: Float[Array, "level *grid"]
    #: Difference of emission between the centre and the bottom of a layer [W m-2].
    emission_gradient: Float[Array, "level *grid"]


class LongwaveUp(eqx.Module):
    """Both passes together."""

    #: Net flux into each layer [W m-2].
    absorption: Float[Array, "level *grid"]
    #: Net upward flux at the surface [W m-2].
    surface_net: Float[Array, "*grid"]
    #: Outgoing flux at the top of the atmosphere [W m-2].
    toa_outgoing: Float[Array, "*grid"]
    #: The part of it that comes through the bands, without the stratosphere's black band [W m-2].
    band_flux: Float[Array, "band *grid"]


def co2_absorptivity(
    parameters: LongwaveParameters,
    year: Float[Array, ""] | int | float,
    year_fraction: Float[Array, ""] | float,
    trend: bool,
) -> Float[Array, ""]:
    """Return the absorptivity of carbon dioxide [1], growing from 1950 on with `trend`."""
    if not trend:
        return parameters.co2_absorptivity
    age = (year - REFERENCE_YEAR) + year_fraction
    return parameters.co2_absorptivity * jnp.exp(parameters.co2_absorptivity_growth * age)


def longwave_optics(
    surface_pressure: Float[Array, "*grid"],
    humidity: Float[Array, "level *grid"],
    cover: Float[Array, "*grid"],
    top_weight: Float[Array, "choice *grid"],
    polar_night_cooling: Float[Array, "*#grid"],
    co2_absorptivity: Float[Array, "*#grid"],
    *,
    levels: Levels,
    parameters: LongwaveParameters,
    constants: Constants,
    widths: RadiationWidths,
) -> LongwaveOptics:
    """Return transmissivities and the terms of the stratosphere.

    Water vapour absorbs below the top layer. Clouds act between the two top layers and the
    lowest: as thin cloud everywhere, in the window as thick cloud from the cloud top down.

    Parameters
    ----------
    surface_pressure
        Surface pressure over reference pressure [1].
    humidity
        Specific humidity [kg kg-1], not negative.
    cover
        Total cloud cover [1].
    top_weight
        Distribution of the cloud top over the layers, last entry: no cloud [1].
    polar_night_cooling
        Cooling of the top layer per unit of surface pressure [W m-2].
    co2_absorptivity
        Absorptivity of air in the band of carbon dioxide [1].
    """
    p = parameters
    edges = [(2, 1)] + [(0, 0)] * cover.ndim
    thin = p.thin_cloud_absorptivity * cover
    below_top = jnp.cumsum(top_weight, axis=0)[2:-2]
    thick = p.thick_cloud_absorptivity * cover
    window = p.window_absorptivity + jnp.pad(below_top * thick + (1 - below_top) * thin, edges)
    co2 = jnp.broadcast_to(co2_absorptivity, humidity.shape)

    def vapour(per_humidity: Array) -> Array:
        clear = per_humidity * humidity
        cloudy = smooth.maximum(clear[2:-1], thin, widths.absorptivity)
        return jnp.concatenate([jnp.zeros_like(clear[:1]), clear[1:2], cloudy, clear[-1:]])

    absorptivity = jnp.stack(
        [window, co2, vapour(p.weak_vapour_absorptivity), vapour(p.strong_vapour_absorptivity)],
        axis=1)  # fmt: skip
    mass = on_levels(levels.thickness, surface_pressure)[:, None]
    stratosphere = float(levels.half[2])
    return LongwaveOptics(
        transmissivity=jnp.exp(-mass * absorptivity),
        polar_night_cooling=polar_night_cooling * surface_pressure,
        stratospheric_emission=surface_pressure * (p.black_band_fraction / stratosphere),
    )


def longwave_down(
    temperature: Float[Array, "level *grid"],
    optics: LongwaveOptics,
    *,
    levels: Levels,
    parameters: LongwaveParameters,
    constants: Constants,
    widths: RadiationWidths,
) -> LongwaveDown:
    """Return the downward flux at the surface and its effect on the layers.

    Parameters
    ----------
    temperature
        Air temperature [K].
    optics
        Transmissivities of the last shortwave step.
    """
    p = parameters
    emission, gradient = _emission(temperature, levels, p, constants, widths)
    nothing = jnp.zeros_like(optics.transmissivity[0])
    flux, absorption = _pass(nothing, temperature, optics, emission, gradient, p, widths)
    black = p.black_band_fraction * p.surface_emissivity * emission[-1]
    absorption = jnp.concatenate([absorption[:-1], (absorption[-1] - black)[None]])
    return LongwaveDown(
        surface_downward=p.surface_emissivity * jnp.sum(flux, axis=0) + black,
        absorption=absorption,
        band_flux=flux,
        emission=emission,
        emission_gradient=gradient,
    )


def longwave_up(
    temperature: Float[Array, "level *grid"],
    surface_temperature: Float[Array, "*grid"],
    surface_emission: Float[Array, "*grid"],
    optics: LongwaveOptics,
    down: LongwaveDown,
    *,
    levels: Levels,
    parameters: LongwaveParameters,
    constants: Constants,
    widths: RadiationWidths,
) -> LongwaveUp:
    """Return the outgoing flux and the net flux into the layers of both passes.

    Parameters
    ----------
    temperature
        Air temperature [K].
    surface_temperature
        Temperature that splits the emission of the surface into bands [K]; SPEEDY takes that of
        soil and sea, although it emits with the skin temperature.
    surface_emission
        Upward flux emitted by the surface [W m-2].
    optics
        Transmissivities of the last shortwave step.
    down
        Downward pass with the same temperature.
    """
    p = parameters
    emitted = band_fractions(surface_temperature, p.black_band_fraction, widths) * surface_emission
    flux = emitted + (1 - p.surface_emissivity) * down.band_flux
    flux, absorption = _pass(
        flux, temperature, optics, down.emission, -down.emission_gradient, p, widths, upward=True)
    black = [
        float(thickness) * optics.stratospheric_emission * down.emission[k]
        for k, thickness in enumerate(levels.thickness[:2])
    ]
    black[0] = black[0] + optics.polar_night_cooling
    lowest = absorption[-1] + p.black_band_fraction * surface_emission
    absorption = jnp.concatenate(
        [absorption[:2] - jnp.stack(black), absorption[2:-1], lowest[None]])
    return LongwaveUp(
        absorption=down.absorption + absorption,
        surface_net=surface_emission - down.surface_downward,
        toa_outgoing=black[0] + black[1] + jnp.sum(flux, axis=0),
        band_flux=flux,
    )


def _pass(
    flux: Array, temperature: Array, optics: LongwaveOptics, emission: Array, gradient: Array,
    p: LongwaveParameters, widths: RadiationWidths, *, upward: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Return the flux that leaves the column, and what each layer takes from all bands.

    A loop of the compiled program: written out, each layer of the reverse mode would repeat those
    before it. For the reverse it keeps the flux alone, and computes sources again.
    """

    def through(entering: Array, layer: tuple[Array, ...]) -> tuple[Array, Array]:
        transmissivity, temperature, emission, gradient = layer
        absorptivity = 1 - transmissivity
        fractions = band_fractions(temperature, p.black_band_fraction, widths)
        source = absorptivity * (fractions * (emission + absorptivity * gradient))
        leaving = transmissivity * entering + source
        return leaving, jnp.sum(entering - leaving, axis=0)

    layers = (optics.transmissivity, temperature, emission, gradient)
    return jax.lax.scan(
        jax.checkpoint(through, prevent_cse=False), flux, layers, reverse=upward)


def band_fractions(
    temperature: Float[Array, "*shape"],
    black_band_fraction: Float[Array, ""],
    widths: RadiationWidths,
) -> Float[Array, "4 *shape"]:
    """Return the fraction of black-body emission in each band [1].

    The sum over the bands is 1 - `black_band_fraction`. SPEEDY tabulates the fractions at whole
    kelvins; here the polynomials are evaluated at the nearest one.

    Parameters
    ----------
    temperature
        Temperature of the emitter [K].
    black_band_fraction
        Fraction outside the four bands [1].
    """
    width = widths.band_temperature
    limited = smooth.nearest(smooth.clip(temperature, *BAND_RANGE, width), width)
    value, centre, curvature = (
        jnp.asarray(x, temperature.dtype).reshape(-1, *[1] * temperature.ndim)
        for x in _BAND_POLYNOMIALS)
    return (1 - black_band_fraction) * (value + curvature * (limited - centre) ** 2)


def _emission(
    temperature: Array,
    levels: Levels,
    p: LongwaveParameters,
    constants: Constants,
    widths: RadiationWidths,
) -> tuple[Array, Array]:
    """Return black-body emission of the layers and its difference between centre and edge.

    The two top layers emit with a mean temperature and no gradient; elsewhere a temperature that
    falls with height lets a thick layer emit more downward than upward.
    """
    sigma = constants.stefan_boltzmann
    weight = along_levels(levels.weight[:-1], temperature)
    half = store_in_reverse(temperature[:-1] + weight * (temperature[1:] - temperature[:-1]))
    first = 0.75 * temperature[0] + 0.25 * half[0]
    second = 0.5 * temperature[1] + 0.25 * (half[0] + half[1])
    mean = jnp.concatenate([jnp.stack([first, second]), temperature[2:]])

    lower = jnp.concatenate([half[2:], temperature[-1:]])
    decrease = smooth.positive(lower - half[1:], widths.emission_gradient)
    # In the lowest layer the difference already runs from the top of the layer to its centre.
    part = along_levels(np.append(np.full(levels.count - 3, 0.5), 1.0), temperature)
    gradient = 4 * sigma * temperature[2:] ** 3 * (p.anisotropy_factor * part * decrease)
    return sigma * mean**4, jnp.pad(gradient, [(2, 0)] + [(0, 0)] * (temperature.ndim - 1))
