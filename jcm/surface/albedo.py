"""Albedo of land with snow and of sea with ice.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.parameters import parameter
from jcm.physics.smooth import SurfaceWidths, minimum

MOLTENI = "value: Molteni (2003) and code of SPEEDY; bounds: chosen here"

Scalar = Float[Array, ""]


class AlbedoParameters(eqx.Module):
    """Albedo of sea, ice and snow."""

    sea: Scalar = parameter(0.07, "1", (0.05, 0.1), "albedo of open sea", MOLTENI)
    ice: Scalar = parameter(0.60, "1", (0.4, 0.8), "albedo of sea ice", MOLTENI)
    snow: Scalar = parameter(0.60, "1", (0.4, 0.85), "albedo of full snow cover", MOLTENI)
    snow_depth: Scalar = parameter(
        60.0, "kg m-2", (10.0, 150.0), "snow, as water, that covers the ground fully", MOLTENI)


class SurfaceAlbedo(eqx.Module):
    """Snow cover and the albedo of land, of sea and of both together [1]."""

    snow_cover: Float[Array, "*grid"]
    land: Float[Array, "*grid"]
    sea: Float[Array, "*grid"]
    mean: Float[Array, "*grid"]


def surface_albedo(
    bare_albedo: Float[Array, "*grid"],
    snow: Float[Array, "*grid"],
    sea_ice_fraction: Float[Array, "*grid"],
    land_fraction: Float[Array, "*grid"],
    *,
    parameters: AlbedoParameters,
    widths: SurfaceWidths,
) -> SurfaceAlbedo:
    """Return snow cover and albedo.

    Parameters
    ----------
    bare_albedo
        Albedo of land without snow [1].
    snow
        Snow on land, as water [kg m-2].
    sea_ice_fraction, land_fraction
        Share of ice in the sea, and of land in the grid box [1].
    parameters, widths
        Albedo of sea, ice and snow, snow of full cover; widths of the switches.
    """
    depth = snow / parameters.snow_depth
    cover = minimum(depth, jnp.ones_like(depth), widths.cover)
    land = bare_albedo + cover * (parameters.snow - bare_albedo)
    sea = parameters.sea + sea_ice_fraction * (parameters.ice - parameters.sea)
    return SurfaceAlbedo(cover, land, sea, sea + land_fraction * (land - sea))
