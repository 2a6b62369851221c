"""Shortwave radiation in two bands, visible and near infrared.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; numbers as in the public code of SPEEDY.

The visible band (95 % of the flux) is absorbed by ozone, dry air, aerosol, water vapour and
clouds, and reflected by the cloud top, by stratiform cloud at the top of the lowest layer and by
the surface. Reflected flux is absorbed on its way up, but not reflected again. The near-infrared
band is absorbed by water vapour and by the surface, and never reflected.

Kept as in SPEEDY: a cloud top in the lowest layer gives way to stratiform cloud, and a cloud top
in the second layer adds its reflectivity, a pure number, to the upward flux in W m-2.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import Constants
from jcm.parameters import parameter
from jcm.physics import smooth
from jcm.physics.insolation import Insolation
from jcm.physics.smooth import RadiationWidths
from jcm.store import store_in_reverse
from jcm.vertical import Levels, along_levels, on_levels

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"


class ShortwaveParameters(eqx.Module):
    """Absorptivities, per 1e5 Pa of vertical path, and reflectivities."""

    near_infrared_fraction: Float[Array, ""] = parameter(
        0.05, "1", (0.03, 0.15), "fraction of irradiance in the near-infrared band", MOLTENI)
    dry_air_absorptivity: Float[Array, ""] = parameter(
        0.033, "1", (0.01, 0.06), "visible absorptivity of dry air", MOLTENI)
    aerosol_absorptivity: Float[Array, ""] = parameter(
        0.033, "1", (0, 0.1), "visible absorptivity of aerosol, times sigma squared", MOLTENI)
    visible_vapour_absorptivity: Float[Array, ""] = parameter(
        22.0, "(kg kg-1)-1", (10, 40), "visible absorptivity per specific humidity", MOLTENI)
    near_infrared_vapour_absorptivity: Float[Array, ""] = parameter(
        15e3, "(kg kg-1)-1", (5e3, 30e3), "near-infrared absorptivity per specific humidity",
        MOLTENI)
    cloud_absorptivity: Float[Array, ""] = parameter(
        15.0, "(kg kg-1)-1", (0, 50),
        "visible absorptivity of full cloud cover per humidity at cloud base", MOLTENI)
    maximum_cloud_absorptivity: Float[Array, ""] = parameter(
        0.15, "1", (0, 0.5), "ceiling of the visible absorptivity of full cloud cover", MOLTENI)
    cloud_albedo: Float[Array, ""] = parameter(
        0.43, "1", (0.3, 0.6), "visible reflectivity of full cloud cover", MOLTENI)
    stratiform_cloud_albedo: Float[Array, ""] = parameter(
        0.50, "1", (0.3, 0.7), "visible reflectivity of full stratiform cover", MOLTENI)


class Shortwave(eqx.Module):
    """Fluxes of shortwave radiation."""

    #: Net flux into each layer [W m-2].
    absorption: Float[Array, "level *grid"]
    #: Downward flux at the surface [W m-2].
    surface_downward: Float[Array, "*grid"]
    #: Net downward flux at the surface [W m-2].
    surface_net: Float[Array, "*grid"]
    #: Net downward flux at the top of the atmosphere [W m-2].
    toa_net: Float[Array, "*grid"]


def shortwave(
    surface_pressure: Float[Array, "*grid"],
    humidity: Float[Array, "level *grid"],
    cover: Float[Array, "*grid"],
    stratiform_cover: Float[Array, "*grid"],
    top_weight: Float[Array, "choice *grid"],
    cloud_base_humidity: Float[Array, "*grid"],
    insolation: Insolation,
    albedo: Float[Array, "*#grid"],
    *,
    levels: Levels,
    parameters: ShortwaveParameters,
    constants: Constants,
    widths: RadiationWidths,
) -> Shortwave:
    """Return absorption in the layers and the fluxes at surface and top.

    Parameters
    ----------
    surface_pressure
        Surface pressure over reference pressure [1].
    humidity
        Specific humidity [kg kg-1], not negative.
    cover, stratiform_cover
        Total and stratiform cloud cover [1].
    top_weight
        Distribution of the cloud top over the layers, last entry: no cloud [1].
    cloud_base_humidity
        Specific humidity that stands for cloud water [kg kg-1].
    insolation
        Solar forcing of the day.
    albedo
        Surface albedo [1].
    """
    p, forcing, last = parameters, insolation, levels.count - 1
    visible_depth, infrared_depth = _optical_depths(
        humidity, cover, top_weight, cloud_base_humidity, levels, p, widths
    )
    slanted_pressure = on_levels(
        np.ones(levels.count), surface_pressure * forcing.zenith_factor)
    visible_transmissivity = jnp.exp(-slanted_pressure * visible_depth)
    infrared_transmissivity = jnp.exp(-slanted_pressure * infrared_depth)
    reflectivity = p.cloud_albedo * cover * top_weight
    stratiform_reflectivity = p.stratiform_cloud_albedo * stratiform_cover
    ozone = (forcing.ozone_upper, forcing.ozone_lower)

    visible = (1 - p.near_infrared_fraction) * forcing.irradiance
    infrared = p.near_infrared_fraction * forcing.irradiance
    absorption, reflected = [], []
    # Unpacked once: in reverse their changes are packed once, not summed layer by layer.
    reflectivity, visible_transmissivity, infrared_transmissivity = store_in_reverse(
        [jnp.unstack(x) for x in (reflectivity, visible_transmissivity, infrared_transmissivity)])
    for k in range(levels.count):
        # A pure number as a flux for a cloud top in the second layer, as in SPEEDY.
        up = reflectivity[k] if k == 1 else jnp.zeros_like(cover)
        absorbed = ozone[k] * surface_pressure if k < 2 else 0.0
        if k >= 2:
            up = (reflectivity[k] if k < last else stratiform_reflectivity) * visible
            visible = visible - up
        visible_below = visible_transmissivity[k] * (visible - absorbed)
        infrared_below = infrared_transmissivity[k] * infrared
        absorption.append(visible - visible_below + (infrared - infrared_below))
        reflected.append(up)
        visible, infrared = visible_below, infrared_below

    surface_downward = visible + infrared
    visible = albedo * visible
    surface_net = surface_downward - visible
    for k in reversed(range(levels.count)):
        above = visible_transmissivity[k] * visible
        absorption[k] = absorption[k] + (visible - above)
        visible = above + reflected[k]
    return Shortwave(
        absorption=jnp.stack(absorption),
        surface_downward=surface_downward,
        surface_net=surface_net,
        toa_net=forcing.irradiance - visible,
    )


def _optical_depths(
    humidity: Array,
    cover: Array,
    top_weight: Array,
    cloud_base_humidity: Array,
    levels: Levels,
    p: ShortwaveParameters,
    widths: RadiationWidths,
) -> tuple[Array, Array]:
    """Return visible and near-infrared optical depths of the layers at reference pressure.

    Water vapour and aerosol absorb below the top layer, clouds from their top to the layer above
    the lowest.
    """
    cloud = cover * smooth.minimum(
        p.cloud_absorptivity * cloud_base_humidity,
        p.maximum_cloud_absorptivity,
        widths.cloud_absorption,
    )
    cloud_fraction_above = jnp.cumsum(top_weight[1:-2], axis=0)
    clouds = jnp.pad(cloud * cloud_fraction_above, [(1, 1)] + [(0, 0)] * cover.ndim)
    thickness = along_levels(levels.thickness, humidity)
    below_top = along_levels(np.arange(levels.count) > 0, humidity)
    aerosol = p.aerosol_absorptivity * along_levels(levels.centre**2, humidity) * below_top
    vapour = below_top * humidity
    visible = p.dry_air_absorptivity + aerosol + p.visible_vapour_absorptivity * vapour + clouds
    return thickness * visible, thickness * (p.near_infrared_vapour_absorptivity * vapour)
