"""Saturation humidity, relative humidity and the floor of humidity that the physics sees.

Tetens' formula with coefficients of water above the triple point and of ice below, as in
Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY.

Tetens, O. (1930): Ueber einige meteorologische Begriffe. Z. Geophys., 6, 297-309.
Murray, F. W. (1967): On the computation of saturation vapor pressure. J. Appl. Meteorol., 6,
203-204.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.physics.smooth import HumidityWidths, positive, select

#: Saturation vapour pressure at the triple point over the reference pressure [1].
TRIPLE_POINT_PRESSURE = 6.108e-3
#: Triple-point temperature [K].
TRIPLE_POINT = 273.16
#: Tetens coefficients over water [1] and [K].
WATER_COEFFICIENT, WATER_OFFSET = 17.269, 35.86
#: Tetens coefficients over ice [1] and [K].
ICE_COEFFICIENT, ICE_OFFSET = 21.875, 7.66
#: Gas constant of dry air over that of vapour [1].
GAS_CONSTANT_RATIO = 0.622

#: Temperature below which saturation no longer changes [K]: keeps clear of the formula's poles.
LOWEST_TEMPERATURE = 100.0
#: Smallest share of the pressure that is left to dry air [1]: keeps clear of boiling.
SMALLEST_DRY_SHARE = 0.05


def saturation_specific_humidity(
    temperature: Float[Array, "*grid"],
    pressure: Float[Array, "*#grid"],
    *,
    widths: HumidityWidths,
) -> Float[Array, "*grid"]:
    """Return the specific humidity at saturation [kg kg-1].

    q_s = 0.622 e / (p - 0.378 e) with ln(e / e_0) = a (T - T_0) / (T - b).

    Parameters
    ----------
    temperature
        Air temperature [K].
    pressure
        Pressure over the reference pressure [1].
    """
    vapour = _saturation_pressure(temperature, widths)
    dry = pressure - (1 - GAS_CONSTANT_RATIO) * vapour
    return GAS_CONSTANT_RATIO * vapour / jnp.maximum(dry, SMALLEST_DRY_SHARE * pressure)


def _saturation_pressure(
    temperature: Float[Array, "*grid"], widths: HumidityWidths
) -> Float[Array, "*grid"]:
    above = temperature - TRIPLE_POINT
    safe = jnp.maximum(temperature, LOWEST_TEMPERATURE)
    water = WATER_COEFFICIENT * (safe - TRIPLE_POINT) / (safe - WATER_OFFSET)
    ice = ICE_COEFFICIENT * (safe - TRIPLE_POINT) / (safe - ICE_OFFSET)
    logarithm = select(above, water, ice, widths.phase, inclusive=True)
    return TRIPLE_POINT_PRESSURE * jnp.exp(logarithm)


def relative_humidity(
    humidity: Float[Array, "*grid"], saturation_humidity: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """Return specific over saturation humidity [1], which may exceed 1.

    Parameters
    ----------
    humidity, saturation_humidity
        Specific humidity and its value at saturation [kg kg-1].
    """
    return humidity / saturation_humidity


def humidity_floor(
    humidity: Float[Array, "*grid"], widths: HumidityWidths
) -> Float[Array, "*grid"]:
    """Return the humidity that the physics sees: never negative [kg kg-1].

    Parameters
    ----------
    humidity
        Specific humidity of the dynamics, which spectral truncation can make negative [kg kg-1].
    """
    return positive(humidity, widths.floor)
