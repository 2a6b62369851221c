"""Clouds: cover and top from relative humidity and precipitation, and stratiform cloud.

One cloud fills the column from its top to its base; stratiform cloud lies at the top of the
boundary layer, where the air is stable and the first kind leaves room.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.constants import DAY, Constants
from jcm.parameters import parameter
from jcm.physics.layers import topmost
from jcm.physics.smooth import (
    CloudWidths,
    clip,
    largest,
    maximum,
    minimum,
    positive,
    root,
    step,
)
from jcm.vertical import Levels

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"


class CloudParameters(eqx.Module):
    """Tunable numbers of the cloud diagnosis."""

    clear_humidity: Float[Array, ""] = parameter(
        0.3, "1", (0.1, 0.6), "relative humidity of zero cover", MOLTENI)  # fmt: skip
    overcast_humidity: Float[Array, ""] = parameter(
        1.0, "1", (0.8, 1.1), "relative humidity of full cover", MOLTENI)  # fmt: skip
    minimum_humidity: Float[Array, ""] = parameter(
        2e-4, "kg kg-1", (5e-5, 1e-3), "specific humidity below which a layer has no cloud",
        MOLTENI)  # fmt: skip
    precipitation_weight: Float[Array, ""] = parameter(
        0.2, "mm-0.5 day0.5", (0.0, 0.4), "cover per square root of precipitation in mm day-1",
        MOLTENI)  # fmt: skip
    maximum_precipitation: Float[Array, ""] = parameter(
        10.0, "mm day-1", (2.0, 30.0), "precipitation beyond which cover grows no more",
        MOLTENI)  # fmt: skip
    maximum_stratiform_cover: Float[Array, ""] = parameter(
        0.6, "1", (0.3, 1.0), "largest stratiform cover over sea", MOLTENI)  # fmt: skip
    minimum_land_stratiform_cover: Float[Array, ""] = parameter(
        0.15, "1", (0.0, 0.4), "least stratiform cover over land in saturated air",
        MOLTENI)  # fmt: skip
    stratiform_reduction: Float[Array, ""] = parameter(
        1.2, "1", (0.5, 2.0), "stratiform cover lost per cover by other cloud",
        MOLTENI)  # fmt: skip
    clear_stability: Float[Array, ""] = parameter(
        0.25, "1", (0.1, 0.35), "static stability of zero stratiform cover", MOLTENI)  # fmt: skip
    overcast_stability: Float[Array, ""] = parameter(
        0.4, "1", (0.3, 0.6), "static stability of full stratiform cover", MOLTENI)  # fmt: skip


class Clouds(eqx.Module):
    """Clouds of a column."""

    #: Cover by all but stratiform cloud [1].
    cover: Float[Array, "*grid"]
    #: Cover by stratiform cloud [1].
    stratiform_cover: Float[Array, "*grid"]
    #: Weight of each layer to be the top of cloud, and last of no cloud [1].
    top_weight: Float[Array, "choice *grid"]
    #: Specific humidity at cloud base [kg kg-1].
    base_humidity: Float[Array, "*grid"]


def clouds(
    humidity: Float[Array, "level *grid"],
    relative_humidity: Float[Array, "level *grid"],
    precipitation: Float[Array, "*grid"],
    precipitation_top_weight: Float[Array, "choice *grid"],
    static_stability: Float[Array, "*grid"],
    land_fraction: Float[Array, "*#grid"],
    *,
    levels: Levels,
    parameters: CloudParameters,
    constants: Constants,
    widths: CloudWidths,
) -> Clouds:
    """Return cover, top and humidity of clouds.

    Parameters
    ----------
    humidity
        Specific humidity, not negative [kg kg-1].
    relative_humidity
        Specific over saturation humidity [1].
    precipitation
        Convective and large-scale precipitation [kg m-2 s-1].
    precipitation_top_weight
        Weights of the layers to be the top of precipitation, and last of no precipitation [1].
    static_stability
        Difference of dry static energy over that of geopotential, two lowest layers [1].
    land_fraction
        Fraction of land [1].
    """
    p = parameters
    excess, top_weight = _humidity_excess(humidity, relative_humidity, p, widths)
    share = excess / (p.overcast_humidity - p.clear_humidity)
    share = minimum(jnp.ones_like(share), share, widths.cover)
    rain = minimum(p.maximum_precipitation, DAY * precipitation, widths.precipitation_cap)
    cover = p.precipitation_weight * root(rain, widths.precipitation_root) + share**2
    cover = minimum(jnp.ones_like(cover), cover, widths.cover)
    return Clouds(
        cover=cover,
        stratiform_cover=_stratiform_cover(
            cover, static_stability, relative_humidity[-1], land_fraction, p, widths
        ),
        top_weight=topmost(top_weight, precipitation_top_weight),
        base_humidity=humidity[-2],
    )


def _humidity_excess(
    humidity: Array,
    relative_humidity: Array,
    parameters: CloudParameters,
    widths: CloudWidths,
) -> tuple[Array, Array]:
    """Largest relative humidity above that of zero cover, and the weights of its layer.

    Layers 3 to K - 2 count where they are humid enough, layer K - 1 always; of equals the lowest
    candidate, K - 1, wins, then the highest.
    """
    humid = step(humidity[2:-2] - parameters.minimum_humidity, widths.humidity)
    candidates = jnp.concatenate([relative_humidity[-2:-1], humid * relative_humidity[2:-2]])
    chosen = largest(candidates, widths.layer)
    over = jnp.sum(chosen * candidates, axis=0) - parameters.clear_humidity
    cloudy = step(over, widths.onset)
    zero = jnp.zeros_like(candidates[:1])
    layers = [zero, zero, cloudy * chosen[1:], cloudy * chosen[:1], zero, 1 - cloudy[None]]
    return positive(over, widths.onset), jnp.concatenate(layers)


def _stratiform_cover(
    cover: Array,
    static_stability: Array,
    lowest_relative_humidity: Array,
    land_fraction: Array,
    parameters: CloudParameters,
    widths: CloudWidths,
) -> Array:
    """Cover at the top of the boundary layer, weighted by land and sea."""
    p, width = parameters, widths.stratiform
    stability = (static_stability - p.clear_stability) / (p.overcast_stability - p.clear_stability)
    room = positive(p.maximum_stratiform_cover - p.stratiform_reduction * cover, width)
    sea = clip(stability, 0.0, 1.0, width) * room
    land = maximum(sea, p.minimum_land_stratiform_cover, width) * lowest_relative_humidity
    return sea + land_fraction * (land - sea)
