"""Switches with a chosen derivative: exact by default, smooth with a width.

Every hard switch, staircase and kink of the physics goes through a function of this file.
With the width `None` (a model built without `smooth=True`) or 0 the result is the exact one,
bit for bit, and its derivative that of the branch taken. With a width w > 0 the step becomes a
logistic function of x/w and the ramp its integral, the softplus; both tend to the exact form as
w -> 0. The widths are parameters (`parameters.smooth...`), so a calibration can anneal them
without compiling again. Values that are not a number stay so: a fault must be seen.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcm.parameters import parameter

#: A width: a scalar, an array that broadcasts (a width that scales with another quantity), or None
#: where the model is built without smooth switches.
Width = Float[Array, "..."] | None

def width(
    suggested: float | int, units: str, bounds: tuple[float | int, float | int], switch: str
) -> Any:
    """Declare the width of a switch: 0, that is exact, with a suggestion of what is smooth."""
    return parameter(
        0.0, units, bounds, f"width of the switch: {switch}; smooth with {suggested:g}",
        "chosen here", suggested=suggested)


def _choose(width: Width, exact: Callable[[], Array], smooth: Callable[[Array], Array]) -> Array:
    """Exact for no width or width 0, else smooth; the unused form never sees a zero width."""
    if width is None:
        return exact()
    on = width > 0
    return jnp.where(on, smooth(jnp.where(on, width, 1)), exact())


def step(
    x: Float[Array, "..."], width: Width = None, *, inclusive: bool = False
) -> Float[Array, "..."]:
    """Return 1 where x > 0 (with `inclusive`, x >= 0), else 0."""
    exact = (x >= 0) if inclusive else (x > 0)
    return _choose(width, lambda: exact.astype(x.dtype), lambda w: jax.nn.sigmoid(x / w))


def indicator(condition: Bool[Array, "..."], like: Array) -> Float[Array, "..."]:
    """Return 1 where the condition holds, else 0, in the dtype of `like`."""
    return condition.astype(like.dtype)


def positive(x: Float[Array, "..."], width: Width = None) -> Float[Array, "..."]:
    """Return max(x, 0), with derivative 0 at and below 0."""
    return _choose(width, lambda: jnp.where(x <= 0, 0, x), lambda w: w * jax.nn.softplus(x / w))


def maximum(a: Array, b: Array, width: Width = None) -> Array:
    """Return the larger of a and b."""
    return _choose(
        width,
        lambda: jnp.where((a > b) | jnp.isnan(a), a, b),
        lambda w: b + w * jax.nn.softplus((a - b) / w),
    )


def minimum(a: Array, b: Array, width: Width = None) -> Array:
    """Return the smaller of a and b."""
    return _choose(
        width,
        lambda: jnp.where((a < b) | jnp.isnan(a), a, b),
        lambda w: b - w * jax.nn.softplus((b - a) / w),
    )


def clip(x: Array, low: Array | float, high: Array | float, width: Width = None) -> Array:
    """Return x limited to the interval from low to high."""
    low, high = jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype)
    return minimum(maximum(x, low, width), high, width)


def select(
    x: Array, above: Array, below: Array, width: Width = None, *, inclusive: bool = False
) -> Array:
    """Return `above` where x > 0 (with `inclusive`, x >= 0), else `below`.

    Both values must be finite everywhere: they are blended when a width is given.
    """
    exact = (x >= 0) if inclusive else (x > 0)
    return _choose(
        width,
        lambda: jnp.where(exact, above, below),
        lambda w: below + jax.nn.sigmoid(x / w) * (above - below),
    )


def root(x: Array, width: Width = None) -> Array:
    """Return sqrt(max(x, 0)), with derivative 0 (not infinite) at and below 0.

    The smooth form is sqrt(max(x, 0) + w) - sqrt(w).
    """
    safe = jnp.where(x <= 0, 1, x)
    return _choose(
        width,
        lambda: jnp.where(x <= 0, 0, jnp.sqrt(safe)),
        lambda w: jnp.where(x <= 0, 0, jnp.sqrt(safe + w) - jnp.sqrt(w)),
    )


def absolute(x: Array, width: Width = None) -> Array:
    """Return |x|, with derivative 0 at 0."""
    # Not jnp.abs, whose derivative at 0 is 1.
    return _choose(width, lambda: jnp.sign(x) * x, lambda w: jnp.sqrt(x**2 + w**2))


def largest(x: Float[Array, "..."], width: Width = None) -> Float[Array, "..."]:
    """Return weights along the first axis that pick the largest entry, the first one of equals.

    The exact weights are 0 and 1, without derivative; the smooth form is the softmax of x / w.
    """
    return _choose(
        width,
        lambda: jax.nn.one_hot(jnp.argmax(x, axis=0), x.shape[0], axis=0, dtype=x.dtype),
        lambda w: jax.nn.softmax(x / w, axis=0),
    )


def scaled(width: Width, factor: Array) -> Width:
    """Return a width times a factor, None staying None."""
    return None if width is None else width * factor


def nearest(x: Array, width: Width = None) -> Array:
    """Return the nearest integer, halves away from zero, for x >= 0; with a width, x itself."""
    return _choose(width, lambda: jnp.floor(x + 0.5), lambda w: x)


class HumidityWidths(eqx.Module):
    """Widths of the switches of the column set-up."""

    floor: Width = width(
        1e-6, "kg kg-1", (0, 1e-5), "floor of humidity at 0")
    phase: Width = width(
        1, "K", (0, 3), "liquid to ice in the saturation pressure")


class ConvectionWidths(eqx.Module):
    """Widths of the switches of deep convection."""

    pressure_ramp: Width = width(
        0.01, "1", (0, 0.05), "threshold and limit of the surface pressure ramp")
    energy: Width = width(
        200, "J kg-1", (0, 1000), "minima and maxima of moist static energy")
    humidity: Width = width(
        1e-4, "kg kg-1", (0, 1e-3), "minima and maxima of humidity")
    ratio: Width = width(
        0.1, "1", (0, 0.5), "cap on the closure ratio")
    top: Width = width(
        500, "J kg-1", (0, 2000), "saturation test that selects the top layer")
    activation: Width = width(
        500, "J kg-1", (0, 2000), "moist static energy test of activation")
    activation_humidity: Width = width(
        0.02, "1", (0, 0.1), "relative humidity test of activation")
    secondary_flux: Width = width(
        1e-4, "kg kg-1", (0, 1e-3), "onset of the secondary moisture flux")
    precipitation: Width = width(
        1e-6, "kg m-2 s-1", (0, 1e-5), "floor of precipitation")


class CondensationWidths(eqx.Module):
    """Widths of the switches of large-scale condensation."""

    deficit: Width = width(
        0.02, "1", (0, 0.1), "onset, relative to saturation humidity")
    heating_cap: Width = width(
        1e-9, "kg kg-1 s-1", (0, 1e-8), "limit of heating")


class CloudWidths(eqx.Module):
    """Widths of the switches of the cloud diagnosis."""

    precipitation_root: Width = width(
        0.01, "mm day-1", (0, 0.1), "square root of precipitation at 0")
    precipitation_cap: Width = width(
        0.1, "mm day-1", (0, 1), "limit of precipitation")
    cover: Width = width(
        0.02, "1", (0, 0.1), "limits of cloud cover")
    layer: Width = width(
        0.02, "1", (0, 0.1), "maximum of relative humidity over layers")
    humidity: Width = width(
        2e-5, "kg kg-1", (0, 1e-4), "minimum humidity of cloud")
    onset: Width = width(
        0.01, "1", (0, 0.05), "onset of cloud at the relative humidity threshold")
    stratiform: Width = width(
        0.02, "1", (0, 0.1), "limits of stratiform cover and its stability")


class RadiationWidths(eqx.Module):
    """Widths of the switches of solar forcing, shortwave and longwave radiation."""

    ozone_season: Width = width(
        0.02, "1", (0, 0.1), "boreal winter switch of seasonal ozone")
    polar_night: Width = width(
        0.5, "W m-2", (0, 2), "onset of polar-night cooling")
    cloud_absorption: Width = width(
        0.005, "1", (0, 0.02), "ceiling of cloud absorptivity")
    absorptivity: Width = width(
        0.05, "1", (0, 0.2), "larger of vapour and cloud absorptivity")
    emission_gradient: Width = width(
        0.2, "K", (0, 1), "temperature gradient within a layer at 0")
    band_temperature: Width = width(
        1, "K", (0, 5),
        "band look-up at whole kelvins (any width: at the true temperature) and its limits")


class SurfaceWidths(eqx.Module):
    """Widths of the switches of surface fluxes, land, sea and sea ice."""

    lapse: Width = width(
        0.2, "K", (0, 1), "inversion switch of the extrapolated temperature")
    stability: Width = width(
        0.2, "K", (0, 1), "kinks of the stability function")
    evaporation: Width = width(
        5e-5, "kg kg-1", (0, 5e-4), "onset of evaporation over land")
    orography: Width = width(
        10, "m2 s-2", (0, 100), "floor of the surface geopotential in the drag")
    cover: Width = width(
        0.02, "1", (0, 0.1), "limits of snow cover and soil water availability")
    freezing: Width = width(
        0.3, "K", (0, 1), "split of sea temperature at freezing")
    ice_anomaly: Width = width(
        0.1, "K", (0, 0.5), "modulus in the damping of ice temperature")
    ice_sheet: Width = width(
        0.02, "1", (0, 0.1), "albedo threshold of ice sheets")
    melting: Width = width(
        0.3, "K", (0, 1), "cap of ice temperature at melting")


class DiffusionWidths(eqx.Module):
    """Widths of the switches of vertical diffusion and shallow convection."""

    instability: Width = width(
        500, "J kg-1", (0, 1000), "moist instability switch of shallow convection")
    humidity_gradient: Width = width(
        0.02, "1", (0, 0.05), "onset of the shallow moisture flux")
    critical_gradient: Width = width(
        0.01, "1", (0, 0.05), "critical relative humidity gradient")
    lapse: Width = width(
        100, "J kg-1", (0, 300), "onset of dry adjustment")
    diffusion_top: Width = width(
        0.02, "1", (0, 0.05), "top interface of moisture diffusion, in sigma")


class StochasticWidths(eqx.Module):
    """Widths of the switches of the stochastic perturbation."""

    clip: Width = width(
        0.05, "1", (0, 0.2), "limits of the pattern")


class Widths(eqx.Module):
    """All widths; 0 means exact."""

    humidity: HumidityWidths = eqx.field(default_factory=HumidityWidths)
    convection: ConvectionWidths = eqx.field(default_factory=ConvectionWidths)
    condensation: CondensationWidths = eqx.field(default_factory=CondensationWidths)
    clouds: CloudWidths = eqx.field(default_factory=CloudWidths)
    radiation: RadiationWidths = eqx.field(default_factory=RadiationWidths)
    surface: SurfaceWidths = eqx.field(default_factory=SurfaceWidths)
    vertical_diffusion: DiffusionWidths = eqx.field(default_factory=DiffusionWidths)
    stochastic: StochasticWidths = eqx.field(default_factory=StochasticWidths)


def suggested_widths(widths: eqx.Module) -> Any:
    """Return the same widths at their suggested values."""
    values = {}
    for field in dataclasses.fields(widths):
        child = getattr(widths, field.name)
        values[field.name] = (
            field.metadata["suggested"] if "suggested" in field.metadata
            else suggested_widths(child))
    return type(widths)(**values)


def exact_widths() -> Widths:
    """Return widths that are all None: the smooth forms are not compiled at all."""
    return jax.tree.map(lambda _: None, Widths())
