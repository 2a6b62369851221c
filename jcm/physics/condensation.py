"""Large-scale condensation: relaxation of humidity towards a threshold below saturation.

Whatever exceeds the threshold condenses within a few hours, warms the layer and falls out at once;
nothing evaporates on the way.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcm.constants import HOUR, Constants
from jcm.parameters import parameter
from jcm.physics.layers import first_passing, topmost
from jcm.physics.smooth import CondensationWidths, maximum, minimum, positive, scaled, step
from jcm.vertical import Levels, along_levels, combine_levels, on_levels

MOLTENI = "value: Molteni (2003) and public code of SPEEDY; bounds: chosen here"

#: What the limit applies to: heating alone, as in the public code, or condensation itself.
Cap = Literal["heating", "heating_and_drying"]


class CondensationParameters(eqx.Module):
    """Tunable numbers of large-scale condensation."""

    relaxation_time: Float[Array, ""] = parameter(
        4 * HOUR, "s", (1 * HOUR, 12 * HOUR), "relaxation time of humidity above the threshold",
        MOLTENI)  # fmt: skip
    surface_humidity_threshold: Float[Array, ""] = parameter(
        0.9, "1", (0.8, 1.0), "relative humidity threshold at sigma = 1", MOLTENI)  # fmt: skip
    humidity_threshold_range: Float[Array, ""] = parameter(
        0.1, "1", (0.0, 0.3), "decrease of the relative humidity threshold from sigma = 1 to 0",
        MOLTENI)  # fmt: skip
    boundary_layer_humidity_threshold: Float[Array, ""] = parameter(
        0.95, "1", (0.85, 1.0), "least relative humidity threshold of the lowest layer",
        MOLTENI)  # fmt: skip
    maximum_humidity_excess: Float[Array, ""] = parameter(
        0.01, "kg kg-1", (0.002, 0.02), "humidity excess at sigma = 1 and the reference pressure "
        "beyond which heating grows no more", MOLTENI)  # fmt: skip


class Condensation(eqx.Module):
    """Tendencies and precipitation of large-scale condensation."""

    #: Tendency of specific humidity [kg kg-1 s-1].
    humidity_tendency: Float[Array, "level *grid"]
    #: Tendency of temperature [K s-1].
    temperature_tendency: Float[Array, "level *grid"]
    #: Large-scale precipitation [kg m-2 s-1].
    precipitation: Float[Array, "*grid"]
    #: Weight of each layer to be the top of precipitation of both kinds, and last of none [1].
    top_weight: Float[Array, "choice *grid"]


def condensation(
    surface_pressure: Float[Array, "*grid"],
    humidity: Float[Array, "level *grid"],
    saturation_humidity: Float[Array, "level *grid"],
    convective_top_weight: Float[Array, "choice *grid"],
    *,
    levels: Levels,
    parameters: CondensationParameters,
    constants: Constants,
    widths: CondensationWidths,
    cap: Cap = "heating",
) -> Condensation:
    """Return tendencies and precipitation of large-scale condensation; none in the top layer.

    Parameters
    ----------
    surface_pressure
        Surface pressure over reference pressure [1].
    humidity, saturation_humidity
        Specific humidity, not negative, and its value at saturation [kg kg-1].
    convective_top_weight
        Weights of the layers to be the top of convection, and last of no convection [1].
    cap
        `heating` limits the heating but not the drying, as the public code does, and so loses
        energy where the limit acts; `heating_and_drying` limits condensation itself.
    """
    wet, saturated = humidity[1:], saturation_humidity[1:]
    excess = wet - _humidity_threshold(saturated, levels, parameters, widths) * saturated
    onset = scaled(widths.deficit, saturated)
    rate = positive(excess, onset) / parameters.relaxation_time
    limit = _limit(surface_pressure, levels)
    largest = parameters.maximum_humidity_excess * limit / parameters.relaxation_time
    limited = minimum(largest, rate, scaled(widths.heating_cap, limit))
    drying = limited if cap == "heating_and_drying" else rate

    layer_mass = constants.reference_pressure / constants.gravity * levels.thickness[1:]
    fallen = combine_levels(layer_mass[None], drying)[0]
    above = jnp.zeros_like(humidity[:1])
    own_top = jnp.concatenate([above, first_passing(step(excess, onset))])
    return Condensation(
        humidity_tendency=jnp.concatenate([above, -drying]),
        temperature_tendency=jnp.concatenate(
            [above, constants.latent_heat / constants.heat_capacity * limited]
        ),
        precipitation=surface_pressure * fallen,
        top_weight=topmost(own_top, convective_top_weight),
    )


def _humidity_threshold(
    like: Array, levels: Levels, parameters: CondensationParameters, widths: CondensationWidths
) -> Array:
    """Relative humidity threshold of layers 2 to K, shaped to broadcast."""
    depth = along_levels(levels.centre[1:] ** 2 - 1, like)
    threshold = parameters.surface_humidity_threshold + parameters.humidity_threshold_range * depth
    lowest = maximum(threshold[-1:], parameters.boundary_layer_humidity_threshold, widths.deficit)
    return jnp.concatenate([threshold[:-1], lowest])


def _limit(surface_pressure: Array, levels: Levels) -> Array:
    """Pressure over reference pressure squared, to which the limit of heating is proportional."""
    return on_levels(levels.centre[1:], surface_pressure) ** 2
