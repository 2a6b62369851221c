"""Masks, soil water availability, and monthly fields at a date.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jcm.parameters import parameter
from jcm.physics.smooth import SurfaceWidths, indicator, minimum, positive

MOLTENI = "value: Molteni (2003) and code of SPEEDY; bounds: chosen here"

Scalar = Float[Array, ""]

#: Temperature where a field has no meaning: of soil over sea, of sea over land [K].
UNDEFINED_TEMPERATURE = 273.0
#: Snow, soil water, sea ice and temperature anomaly where they have no meaning.
UNDEFINED_AMOUNT = 0.0
#: Depth of the second soil layer over that of the first, 210 mm and 70 mm [1].
DEPTH_RATIO = 3.0


class BoundaryParameters(eqx.Module):
    """Threshold of the masks and hydraulic limits of soil."""

    mask_threshold: Scalar = parameter(
        0.1, "1", (0.0, 0.5), "smallest share of land or of sea that counts", MOLTENI)
    field_capacity: Scalar = parameter(
        0.30, "m3 m-3", (0.2, 0.5), "soil water at field capacity", MOLTENI)
    wilting_point: Scalar = parameter(
        0.17, "m3 m-3", (0.05, 0.25), "soil water at the wilting point", MOLTENI)
    low_vegetation_weight: Scalar = parameter(
        0.8, "1", (0.0, 1.0), "share of low vegetation whose roots reach the second soil layer",
        MOLTENI)


class Masks(NamedTuple):
    """Shares of land and sea, and where each of them needs data; 1 or 0 for the latter."""

    land_fraction: Array
    sea_fraction: Array
    land: Array
    sea: Array


def masks(land_fraction: Float[Array, "*grid"], *, parameters: BoundaryParameters) -> Masks:
    """Return the masks that follow from the share of land in each grid box [1].

    Shares below the threshold become 0, shares above 1 minus the threshold become 1.
    """
    threshold = parameters.mask_threshold

    def limited(share: Array) -> tuple[Array, Array]:
        present = share >= threshold
        rounded = jnp.where(share > 1 - threshold, 1, share)
        return jnp.where(present, rounded, 0), indicator(present, share)

    land_share, land = limited(land_fraction)
    sea_share, sea = limited(1 - land_fraction)
    return Masks(land_share, sea_share, land, sea)


def on_mask(
    field: Float[Array, "*month_grid"], mask: Float[Array, "*#month_grid"], default: float
) -> Float[Array, "*month_grid"]:
    """Return the field where the mask is above 0, elsewhere a default that does no harm."""
    return jnp.where(mask > 0, field, default)


def soil_water_availability(
    upper: Float[Array, "*month_grid"],
    lower: Float[Array, "*month_grid"],
    high_vegetation: Float[Array, "*#month_grid"],
    low_vegetation: Float[Array, "*#month_grid"],
    *,
    parameters: BoundaryParameters,
    widths: SurfaceWidths,
) -> Float[Array, "*month_grid"]:
    """Return the share of potential evaporation that the soil sustains [1].

    min(1, [w_1 + v max(0, n w_2 - n w_wp)] / [w_fc + n (w_fc - w_wp)]) with the vegetation
    cover v = max(0, v_high + c v_low) and the ratio n of the depths of the layers.

    Parameters
    ----------
    upper, lower
        Water content of the first and second soil layer, w_1 and w_2 [m3 m-3].
    high_vegetation, low_vegetation
        Cover of high and of low vegetation [1].
    parameters, widths
        Hydraulic limits w_fc and w_wp, weight c; widths of the switches.
    """
    p = parameters
    cover = high_vegetation + p.low_vegetation_weight * low_vegetation
    # Not `positive`: bare ground lies on the limit, and its slope is that of growing vegetation.
    cover = jnp.where(cover >= 0, cover, 0)
    reachable = positive(DEPTH_RATIO * lower - DEPTH_RATIO * p.wilting_point, widths.cover)
    capacity = p.field_capacity + DEPTH_RATIO * (p.field_capacity - p.wilting_point)
    ratio = (upper + cover * reachable) / capacity
    return minimum(ratio, jnp.ones_like(ratio), widths.cover)


def linear_interpolation(
    series: Float[Array, "month *grid"], month: Int[Array, ""], month_fraction: Scalar
) -> Float[Array, "*grid"]:
    """Return monthly means, placed at mid-month and joined by straight lines, at a date.

    Parameters
    ----------
    series
        One field per month; the last is followed by the first.
    month, month_fraction
        Index of the month, and the share of it that has passed [1].
    """
    other = jnp.where(month_fraction <= 0.5, month - 1, month + 1)
    pair = jnp.take(series, jnp.stack([month, other]) % len(series), axis=0, mode="clip")
    return pair[0] + jnp.abs(month_fraction - 0.5).astype(series.dtype) * (pair[1] - pair[0])


def mean_conserving_weights(month_fraction: Scalar) -> Float[Array, "5"]:
    """Return the weights of five months that conserve monthly means [1].

    The weights of the month before last, ..., of the month after next add up to 1 at any time.
    Their averages over the month are 0, 0, 1, 0, 0.
    """
    c = 1 / 12
    to_start, to_end = c * month_fraction, c * (1 - month_fraction)
    bend = month_fraction * (1 - month_fraction) / 4
    return jnp.stack([
        bend - to_end,
        8 * to_end - 6 * bend - c,
        7 * c + 10 * bend,
        8 * to_start - 6 * bend - c,
        bend - to_start,
    ])  # fmt: skip


def mean_conserving_interpolation(
    series: Float[Array, "month *grid"], month: Int[Array, ""], month_fraction: Scalar
) -> Float[Array, "*grid"]:
    """Return a field at a date such that its monthly means are those of the series.

    It may lie outside the range of the five months that enter.

    Parameters
    ----------
    series
        One field per month; the last is followed by the first.
    month, month_fraction
        Index of the month, and the share of it that has passed [1].
    """
    months = (month + jnp.arange(-2, 3)) % len(series)
    weights = mean_conserving_weights(month_fraction).astype(series.dtype)
    weights = weights.reshape(-1, *[1] * (series.ndim - 1))
    return jnp.sum(weights * jnp.take(series, months, axis=0, mode="clip"), axis=0)
