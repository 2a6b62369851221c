"""Stochastically perturbed physics tendencies.

Palmer, T. N. et al. (2009): Stochastic parametrization and model uncertainty. ECMWF Tech. Memo.
598; in the form of the public code of SPEEDY: one first-order autoregressive process per
spherical harmonic and level, which multiplies the sum of all tendencies. Levels are independent,
and the realised standard deviation is close to the nominal one over sqrt(2).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jcm.constants import HOUR
from jcm.parameters import parameter
from jcm.physics.smooth import StochasticWidths, clip
from jcm.state import Tendency
from jcm.transform import Spectrum, Transform

SPEEDY = "value: public code of SPEEDY; bounds: chosen here"
NOISE_LIMIT = 10.0


class StochasticParameters(eqx.Module):
    """Scales of the pattern."""

    decorrelation_time: Float[Array, ""] = parameter(
        6 * HOUR, "s", (3 * HOUR, 72 * HOUR), "decorrelation time of the pattern", SPEEDY)
    correlation_length: Float[Array, ""] = parameter(
        5e5, "m", (2e5, 2e6), "horizontal correlation length of the pattern", SPEEDY)
    standard_deviation: Float[Array, ""] = parameter(
        0.33, "1", (0.0, 0.6), "nominal standard deviation of the pattern", SPEEDY)
    amplitude: Float[Array, ""] = parameter(
        1.0, "1", (0.0, 1.0), "factor of the pattern at every level", SPEEDY)


def memory(parameters: StochasticParameters, time_step: float) -> Float[Array, ""]:
    """Return the factor by which the pattern is multiplied in one step."""
    return jnp.exp(-time_step / parameters.decorrelation_time)


def noise(
    key: PRNGKeyArray, levels: int, transform: Transform, parameters: StochasticParameters,
    time_step: float,
) -> Spectrum:  # fmt: skip
    """Return one draw of the noise that drives the pattern, for every level."""
    phi, t = memory(parameters, time_step), transform.truncation
    ratio = jnp.square(parameters.correlation_length / transform.radius)
    dtype = ratio.dtype
    degree = jnp.arange(1, t + 1, dtype=dtype)
    variance = jnp.sum((2 * degree + 1) * jnp.exp(-0.5 * ratio * degree * (degree + 1)))
    scale = parameters.standard_deviation * jnp.sqrt((1 - phi**2) / (2 * variance))
    l = jnp.asarray(transform.degree, dtype)  # noqa: E741
    inside = np.asarray(transform.degree <= t + 1)
    sigma = jnp.where(inside, scale * jnp.exp(-0.25 * ratio * l * (l + 1)), 0)
    draw = jax.random.normal(key, (t + 1, 2, levels, t + 2), dtype)
    return sigma * jnp.clip(draw, -NOISE_LIMIT, NOISE_LIMIT)


def first_pattern(
    key: PRNGKeyArray, levels: int, transform: Transform, parameters: StochasticParameters,
    time_step: float,
) -> Spectrum:  # fmt: skip
    """Return a draw from the stationary distribution of the pattern."""
    phi = memory(parameters, time_step)
    return noise(key, levels, transform, parameters, time_step) / jnp.sqrt(1 - phi**2)


def next_pattern(
    pattern: Spectrum, key: PRNGKeyArray, transform: Transform,
    parameters: StochasticParameters, time_step: float,
) -> Spectrum:  # fmt: skip
    """Return the pattern one step later."""
    new = noise(key, pattern.shape[2], transform, parameters, time_step)
    return memory(parameters, time_step) * pattern + new.astype(pattern.dtype)


def perturb(
    tendency: Tendency, pattern: Spectrum, transform: Transform,
    parameters: StochasticParameters, widths: StochasticWidths,
) -> Tendency:  # fmt: skip
    """Multiply all tendencies by 1 + the pattern, limited to [-1, 1]."""
    on_grid = jnp.moveaxis(transform.synthesis(pattern), 1, 0)
    factor = 1 + parameters.amplitude * clip(on_grid, -1.0, 1.0, widths.clip)
    return jax.tree.map(lambda x: x * factor, tendency)
