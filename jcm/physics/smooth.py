"""Switches with a chosen derivative: exact by default, smooth with a width.

Every hard switch, staircase and kink of the physics goes through a function of this file.
With the width `None` (a model built without `smooth=True`) or 0 the result is the exact one,
bit for bit, and its derivative that of the branch taken. With a width w > 0 the step becomes a
logistic function of x/w and the ramp its integral, the softplus; both tend to the exact form as
w -> 0. The widths are parameters (`parameters.smooth...`), so a calibration can anneal them
without compiling again.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcm.parameters import parameter

#: A width: a scalar, an array that broadcasts (a width that scales with another quantity), or None
#: where the model is built without smooth switches.
Width = Float[Array, "..."] | None

HERE = "chosen here; suggested width in the description"


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
    return _choose(width, lambda: jnp.where(x > 0, x, 0), lambda w: w * jax.nn.softplus(x / w))


def maximum(a: Array, b: Array, width: Width = None) -> Array:
    """Return the larger of a and b."""
    return _choose(
        width, lambda: jnp.where(a > b, a, b), lambda w: b + w * jax.nn.softplus((a - b) / w)
    )


def minimum(a: Array, b: Array, width: Width = None) -> Array:
    """Return the smaller of a and b."""
    return _choose(
        width, lambda: jnp.where(a < b, a, b), lambda w: b - w * jax.nn.softplus((b - a) / w)
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
    safe = jnp.where(x > 0, x, 1)
    return _choose(
        width,
        lambda: jnp.where(x > 0, jnp.sqrt(safe), 0),
        lambda w: jnp.where(x > 0, jnp.sqrt(safe + w) - jnp.sqrt(w), 0),
    )


def absolute(x: Array, width: Width = None) -> Array:
    """Return |x|, with derivative 0 at 0."""
    return _choose(width, lambda: jnp.abs(x), lambda w: jnp.sqrt(x**2 + w**2))


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

    floor: Width = parameter(
        0.0, "kg kg-1", (0, 1e-5), "floor of humidity at 0; suggested 1e-6", HERE)
    phase: Width = parameter(
        0.0, "K", (0, 3), "liquid to ice in the saturation pressure; suggested 1", HERE)


class ConvectionWidths(eqx.Module):
    """Widths of the switches of deep convection."""

    pressure_ramp: Width = parameter(
        0.0, "1", (0, 0.05), "threshold and limit of the surface pressure ramp; suggested 0.01",
        HERE)
    energy: Width = parameter(
        0.0, "J kg-1", (0, 1000), "minima and maxima of moist static energy; suggested 200", HERE)
    humidity: Width = parameter(
        0.0, "kg kg-1", (0, 1e-3), "minima and maxima of humidity; suggested 1e-4", HERE)
    ratio: Width = parameter(
        0.0, "1", (0, 0.5), "cap on the closure ratio; suggested 0.1", HERE)
    top: Width = parameter(
        0.0, "J kg-1", (0, 2000), "saturation test that selects the top layer; suggested 500", HERE)
    activation: Width = parameter(
        0.0, "J kg-1", (0, 2000), "moist static energy test of activation; suggested 500", HERE)
    activation_humidity: Width = parameter(
        0.0, "1", (0, 0.1), "relative humidity test of activation; suggested 0.02", HERE)
    secondary_flux: Width = parameter(
        0.0, "kg kg-1", (0, 1e-3), "onset of the secondary moisture flux; suggested 1e-4", HERE)
    precipitation: Width = parameter(
        0.0, "kg m-2 s-1", (0, 1e-5), "floor of precipitation; suggested 1e-6", HERE)


class CondensationWidths(eqx.Module):
    """Widths of the switches of large-scale condensation."""

    deficit: Width = parameter(
        0.0, "1", (0, 0.1), "onset, relative to saturation humidity; suggested 0.02", HERE)
    heating_cap: Width = parameter(
        0.0, "kg kg-1 s-1", (0, 1e-8), "limit of heating; suggested 1e-9", HERE)


class CloudWidths(eqx.Module):
    """Widths of the switches of the cloud diagnosis."""

    precipitation_root: Width = parameter(
        0.0, "mm day-1", (0, 0.1), "square root of precipitation at 0; suggested 0.01", HERE)
    precipitation_cap: Width = parameter(
        0.0, "mm day-1", (0, 1), "limit of precipitation; suggested 0.1", HERE)
    cover: Width = parameter(
        0.0, "1", (0, 0.1), "limits of cloud cover; suggested 0.02", HERE)
    layer: Width = parameter(
        0.0, "1", (0, 0.1), "maximum of relative humidity over layers; suggested 0.02", HERE)
    humidity: Width = parameter(
        0.0, "kg kg-1", (0, 1e-4), "minimum humidity of cloud; suggested 2e-5", HERE)
    onset: Width = parameter(
        0.0, "1", (0, 0.05), "onset of cloud at the relative humidity threshold; suggested 0.01",
        HERE)
    stratiform: Width = parameter(
        0.0, "1", (0, 0.1), "limits of stratiform cover and its stability; suggested 0.02", HERE)


class RadiationWidths(eqx.Module):
    """Widths of the switches of solar forcing, shortwave and longwave radiation."""

    ozone_season: Width = parameter(
        0.0, "1", (0, 0.1), "boreal winter switch of seasonal ozone; suggested 0.02", HERE)
    polar_night: Width = parameter(
        0.0, "W m-2", (0, 2), "onset of polar-night cooling; suggested 0.5", HERE)
    cloud_absorption: Width = parameter(
        0.0, "1", (0, 0.02), "ceiling of cloud absorptivity; suggested 0.005", HERE)
    absorptivity: Width = parameter(
        0.0, "1", (0, 0.2), "larger of vapour and cloud absorptivity; suggested 0.05", HERE)
    emission_gradient: Width = parameter(
        0.0, "K", (0, 1), "temperature gradient within a layer at 0; suggested 0.2", HERE)
    band_temperature: Width = parameter(
        0.0, "K", (0, 5), "band look-up at whole kelvins (any width: at the true temperature) "
        "and its limits; suggested 1", HERE)


class SurfaceWidths(eqx.Module):
    """Widths of the switches of surface fluxes, land, sea and sea ice."""

    lapse: Width = parameter(
        0.0, "K", (0, 1), "inversion switch of the extrapolated temperature; suggested 0.2", HERE)
    stability: Width = parameter(
        0.0, "K", (0, 1), "kinks of the stability function; suggested 0.2", HERE)
    evaporation: Width = parameter(
        0.0, "kg kg-1", (0, 5e-4), "onset of evaporation over land; suggested 5e-5", HERE)
    orography: Width = parameter(
        0.0, "m2 s-2", (0, 100), "floor of the surface geopotential in the drag; suggested 10",
        HERE)
    cover: Width = parameter(
        0.0, "1", (0, 0.1), "limits of snow cover and soil water availability; suggested 0.02",
        HERE)
    freezing: Width = parameter(
        0.0, "K", (0, 1), "split of sea temperature at freezing; suggested 0.3", HERE)
    ice_anomaly: Width = parameter(
        0.0, "K", (0, 0.5), "modulus in the damping of ice temperature; suggested 0.1", HERE)
    ice_sheet: Width = parameter(
        0.0, "1", (0, 0.1), "albedo threshold of ice sheets; suggested 0.02", HERE)
    melting: Width = parameter(
        0.0, "K", (0, 1), "cap of ice temperature at melting; suggested 0.3", HERE)


class DiffusionWidths(eqx.Module):
    """Widths of the switches of vertical diffusion and shallow convection."""

    instability: Width = parameter(
        0.0, "J kg-1", (0, 1000), "moist instability switch of shallow convection; suggested 500",
        HERE)
    humidity_gradient: Width = parameter(
        0.0, "1", (0, 0.05), "onset of the shallow moisture flux; suggested 0.02", HERE)
    critical_gradient: Width = parameter(
        0.0, "1", (0, 0.05), "critical relative humidity gradient; suggested 0.01", HERE)
    lapse: Width = parameter(
        0.0, "J kg-1", (0, 300), "onset of dry adjustment; suggested 100", HERE)
    diffusion_top: Width = parameter(
        0.0, "1", (0, 0.05), "top interface of moisture diffusion, in sigma; suggested 0.02", HERE)


class StochasticWidths(eqx.Module):
    """Widths of the switches of the stochastic perturbation."""

    clip: Width = parameter(0.0, "1", (0, 0.2), "limits of the pattern; suggested 0.05", HERE)


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


def exact_widths() -> Widths:
    """Return widths that are all None: the smooth forms are not compiled at all."""
    return jax.tree.map(lambda _: None, Widths())
