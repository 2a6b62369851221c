"""Daily-mean solar irradiance, ozone absorption and the zenith-angle factor.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; numbers as in the public code of SPEEDY.
Spencer, J. W. (1971): Fourier series representation of the position of the sun. Search, 2, 172.

There is no diurnal cycle: all fields are daily means and depend on date and latitude only. The
irradiance uses the declination of Spencer (1971); the zenith factor and the phase of ozone use
a simpler one, a cosine with its minimum at the winter solstice. Both are kept as in SPEEDY.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.parameters import parameter
from jcm.physics import smooth
from jcm.physics.smooth import RadiationWidths

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"

#: Obliquity of the ecliptic in the zenith factor [rad].
OBLIQUITY = math.radians(23.45)
#: Time from the winter solstice to the end of the year [yr].
SOLSTICE_OFFSET = 10 / 365
#: Declination of the sun [rad]: constant, then (cosine, sine) of 1, 2, 3 times the day angle.
DECLINATION = (0.006918, (-0.399912, 0.070257), (-0.006758, 0.000907), (-0.002697, 0.001480))
#: Squared ratio of mean and actual distance of the sun [1], as a series like the declination.
DISTANCE_FACTOR = (1.000110, (0.034221, 0.001280), (0.000719, 0.000077))


class SolarParameters(eqx.Module):
    """Strength of the sun, its absorption by ozone and the cooling of the polar night."""

    mean_irradiance: Float[Array, ""] = parameter(
        342.0, "W m-2", (338, 345), "solar constant over 4: irradiance averaged over the globe",
        MOLTENI)
    ozone_absorption: Float[Array, ""] = parameter(
        0.020, "1", (0.01, 0.03), "fraction of irradiance that ozone absorbs", MOLTENI)
    upper_ozone_share: Float[Array, ""] = parameter(
        0.5, "1", (0.3, 0.7), "share of ozone absorption in the upper stratosphere", MOLTENI)
    lower_ozone_share: Float[Array, ""] = parameter(
        0.4, "1", (0.2, 0.6), "share of ozone absorption in the lower stratosphere", MOLTENI)
    seasonal_ozone_amplitude: Float[Array, ""] = parameter(
        1.0, "1", (0, 1.5), "seasonal amplitude of lower ozone, relative to its mean", MOLTENI)
    meridional_ozone_amplitude: Float[Array, ""] = parameter(
        1.8, "1", (0, 2.0), "amplitude of lower ozone with the second Legendre polynomial", MOLTENI)
    zenith_amplitude: Float[Array, ""] = parameter(
        1.0, "1", (0, 2), "growth of optical depth from the subsolar latitude to the horizon",
        MOLTENI)
    zenith_exponent: Float[Array, ""] = parameter(
        2.0, "1", (1, 3), "exponent of the growth of optical depth with zenith angle", MOLTENI)
    polar_night_threshold: Float[Array, ""] = parameter(
        6.0, "W m-2", (0, 12), "irradiance below which the upper stratosphere cools", MOLTENI)


class Insolation(eqx.Module):
    """Solar forcing of one day."""

    #: Downward solar flux at the top of the atmosphere [W m-2].
    irradiance: Float[Array, "*grid"]
    #: Flux absorbed by ozone in the top layer, per unit of surface pressure [W m-2].
    ozone_upper: Float[Array, "*grid"]
    #: Flux absorbed by ozone in the second layer, per unit of surface pressure [W m-2].
    ozone_lower: Float[Array, "*grid"]
    #: Ratio of slanted to vertical optical depth [1].
    zenith_factor: Float[Array, "*grid"]
    #: Cooling of the top layer in the polar night, per unit of surface pressure [W m-2].
    polar_night_cooling: Float[Array, "*grid"]


def insolation(
    year_fraction: Float[Array, "*#grid"],
    sin_latitude: Float[Array, "*#grid"],
    *,
    parameters: SolarParameters,
    widths: RadiationWidths,
) -> Insolation:
    """Return the daily-mean solar forcing.

    Parameters
    ----------
    year_fraction
        Time since the start of the year, at mid-day [yr], between 0 and 1.
    sin_latitude
        Sine of latitude [1].
    """
    sin_latitude = jnp.asarray(sin_latitude)
    angle = 2 * math.pi * jnp.asarray(year_fraction, sin_latitude.dtype)
    # The floor only matters at the pole itself, which no Gaussian grid contains.
    cos_latitude = jnp.sqrt(jnp.maximum(1 - sin_latitude**2, jnp.finfo(angle.dtype).tiny))

    irradiance = parameters.mean_irradiance * _daily_mean(angle, sin_latitude, cos_latitude)

    cos_season = jnp.cos(angle + 2 * math.pi * SOLSTICE_OFFSET)  # 1 at the winter solstice
    winter = parameters.seasonal_ozone_amplitude * smooth.positive(cos_season, widths.ozone_season)
    legendre = 1.5 * sin_latitude**2 - 0.5
    pattern = 1 + winter * sin_latitude + parameters.meridional_ozone_amplitude * legendre

    declination = -OBLIQUITY * cos_season
    cos_zenith = cos_latitude * jnp.cos(declination) + sin_latitude * jnp.sin(declination)
    slant = _power(1 - cos_zenith, parameters.zenith_exponent)
    zenith_factor = 1 + parameters.zenith_amplitude * slant

    ozone = irradiance * parameters.ozone_absorption * zenith_factor
    deficit = parameters.polar_night_threshold - irradiance
    return Insolation(
        irradiance=irradiance,
        ozone_upper=parameters.upper_ozone_share * ozone,
        ozone_lower=parameters.lower_ozone_share * pattern * ozone,
        zenith_factor=zenith_factor,
        polar_night_cooling=smooth.positive(deficit, widths.polar_night),
    )


def _daily_mean(angle: Array, sin_latitude: Array, cos_latitude: Array) -> Array:
    """Return daily-mean irradiance over the mean irradiance of the globe [1]."""
    declination = _fourier(DECLINATION, angle)
    sin_declination, cos_declination = jnp.sin(declination), jnp.cos(declination)
    cos_sunset = -(sin_declination / cos_declination) * sin_latitude / cos_latitude
    # Clipped to polar night (hour angle 0) and polar day (pi). There the slope of arccos is
    # infinite, but the irradiance below does not depend on the hour angle to first order: cut
    # off from differentiation, it leaves exact and finite derivatives by date and latitude.
    sunset = jax.lax.stop_gradient(jnp.arccos(jnp.clip(cos_sunset, -1, 1)))
    elevation = (
        sunset * sin_latitude * sin_declination
        + jnp.sin(sunset) * cos_latitude * cos_declination
    )  # fmt: skip
    return 4 / math.pi * _fourier(DISTANCE_FACTOR, angle) * elevation


def _fourier(series: tuple, angle: Array) -> Array:
    mean, *pairs = series
    waves = (a * jnp.cos(n * angle) + b * jnp.sin(n * angle) for n, (a, b) in enumerate(pairs, 1))
    return mean + sum(waves)


def _power(base: Array, exponent: Array) -> Array:
    """Return base ** exponent, 0 with derivative 0 where base is not above 0."""
    above = base > 0
    return jnp.where(above, jnp.where(above, base, 1) ** exponent, 0)
