"""Horizontal diffusion along quasi-horizontal surfaces, and the drag on the uppermost layer.

Backward-implicit powers of the Laplacian, applied to the tendency as SPEEDY does (Molteni 2003;
public code of SPEEDY). Scales are normalised by l (l + 1) at the truncation, so the time scales
are those of the shortest waves that a grid resolves.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import DAY, HOUR, Constants
from jcm.dynamics.vertical_operators import stratospheric_layers, uppermost_layers
from jcm.parameters import parameter
from jcm.state import Prognostics
from jcm.transform import FlatSpectrum, Spectrum, Transform
from jcm.vertical import Levels

SPEEDY = "value: public code of SPEEDY; bounds: chosen here"


class DiffusionParameters(eqx.Module):
    """Time scales of diffusion and drag, and the profile along which diffusion acts."""

    temperature_time: Float[Array, ""] = parameter(
        2.4 * HOUR, "s", (0.6 * HOUR, 24 * HOUR),
        "del^8 damping time of vorticity and temperature at the truncation", SPEEDY)
    divergence_time: Float[Array, ""] = parameter(
        2.4 * HOUR, "s", (0.6 * HOUR, 24 * HOUR),
        "del^8 damping time of divergence and humidity at the truncation", SPEEDY)
    stratospheric_time: Float[Array, ""] = parameter(
        12 * HOUR, "s", (3 * HOUR, 5 * DAY),
        "del^2 damping time of vorticity, divergence and temperature at the truncation", SPEEDY)
    drag_time: Float[Array, ""] = parameter(
        30 * DAY, "s", (5 * DAY, 200 * DAY), "damping time of the zonal-mean wind in the top layer",
        SPEEDY)
    lapse_rate: Float[Array, ""] = parameter(
        6e-3, "K m-1", (4e-3, 9.8e-3), "lapse rate of the orographic corrections", SPEEDY)
    pressure_scale_height: Float[Array, ""] = parameter(
        7500.0, "m", (6000.0, 9000.0), "scale height of pressure in the humidity correction",
        SPEEDY)
    humidity_scale_height: Float[Array, ""] = parameter(
        2500.0, "m", (1500.0, 4000.0), "scale height of humidity in the humidity correction",
        SPEEDY)
    relative_humidity: Float[Array, ""] = parameter(
        0.7, "1", (0.4, 1.0), "reference relative humidity of the humidity correction", SPEEDY)


def damp(tendency: Spectrum, field: Spectrum, rate: Array, dt: Array) -> Spectrum:
    """Return the tendency with backward-implicit damping of the field added.

    (x_t - K x) / (1 + K dt): stepping with it divides x + dt x_t by 1 + K dt.
    """
    return (tendency - rate * field) / (1 + rate * dt)


def damping_rates(
    transform: Transform, parameters: DiffusionParameters, like: Array
) -> tuple[Array, Array, Array]:
    """Return the rates of del^8 (temperature, divergence) and del^2 damping [s-1]; (m, 1, 1, n)."""
    t = transform.truncation
    scale = jnp.asarray(transform.degree * (transform.degree + 1) / (t * (t + 1)), like.dtype)
    fourth = jnp.square(jnp.square(scale))
    return (
        fourth / parameters.temperature_time,
        fourth / parameters.divergence_time,
        scale / parameters.stratospheric_time,
    )


def stratospheric_mask(levels: Levels, layers: str) -> np.ndarray:
    """Return 1 for the layers on which del^2 diffusion acts, `"all"` or `"top"`; shape (K,)."""
    top = np.arange(levels.count) < uppermost_layers(levels)
    return np.where(top | (layers == "all"), 1.0, 0.0)


def temperature_profile(
    levels: Levels, constants: Constants, parameters: DiffusionParameters
) -> Float[Array, " level"]:
    """Return the vertical profile of the temperature correction [1]: 0 in the uppermost layer."""
    log_sigma = jnp.asarray(np.log(levels.centre), parameters.lapse_rate.dtype)
    exponent = parameters.lapse_rate * (constants.gas_constant / constants.gravity)
    below = np.arange(levels.count) >= uppermost_layers(levels)
    return jnp.where(below, jnp.exp(exponent * log_sigma), 0)


def humidity_profile(levels: Levels, parameters: DiffusionParameters) -> Float[Array, " level"]:
    """Return the vertical profile of the humidity correction [1]: 0 in the stratosphere."""
    log_sigma = jnp.asarray(np.log(levels.centre), parameters.lapse_rate.dtype)
    exponent = parameters.pressure_scale_height / parameters.humidity_scale_height
    below = np.arange(levels.count) >= stratospheric_layers(levels)
    return jnp.where(below, jnp.exp(exponent * log_sigma), 0)


def diffused(
    tendency: Prognostics,
    previous: Prognostics,
    temperature_correction: FlatSpectrum,
    humidity_correction: FlatSpectrum,
    dt: Array,
    parameters: DiffusionParameters,
    *,
    transform: Transform,
    levels: Levels,
    constants: Constants,
    stratospheric_diffusion: str,
) -> Prognostics:
    """Return the tendency with diffusion and drag added, and nothing beyond the truncation.

    Stepping from `previous` over `dt` with the result damps the new state implicitly. Temperature
    and humidity diffuse as deviations from a profile over orography: along levels of height.
    """
    fast, fast_divergence, slow = damping_rates(transform, parameters, tendency.vorticity)
    mask = stratospheric_mask(levels, stratospheric_diffusion)
    slow = slow * jnp.asarray(mask, slow.dtype)[:, None]
    profile = temperature_profile(levels, constants, parameters)
    level_temperature = previous.temperature + temperature_correction * profile[:, None]
    profile = humidity_profile(levels, parameters)
    level_humidity = previous.specific_humidity + humidity_correction * profile[:, None]

    vorticity = damp(tendency.vorticity, previous.vorticity, fast, dt)
    divergence = damp(tendency.divergence, previous.divergence, fast_divergence, dt)
    temperature = damp(tendency.temperature, level_temperature, fast, dt)
    top = uppermost_layers(levels)
    drag = lambda x: -x[0, :, :top] / parameters.drag_time  # noqa: E731
    vorticity = vorticity.at[0, :, :top].add(drag(previous.vorticity))
    divergence = divergence.at[0, :, :top].add(drag(previous.divergence))
    final = Prognostics(
        vorticity=damp(vorticity, previous.vorticity, slow, dt),
        divergence=damp(divergence, previous.divergence, slow, dt),
        temperature=damp(temperature, level_temperature, slow, dt),
        specific_humidity=damp(tendency.specific_humidity, level_humidity, fast_divergence, dt),
        log_surface_pressure=tendency.log_surface_pressure,
    )
    return jax.tree.map(transform.truncated, final)
