"""Prior distributions of single parameters, as maps of a standard normal variable.

A prior is a distribution of numpyro. Methods of calibration see a variable z with a standard normal
prior; `from_normal` maps it to the parameter so that the parameter has the prior asked for:
x = T(loc + scale z) for a (transformed) normal distribution, x = F^-1(Phi(z)) for another one with
an inverse distribution function F^-1 (inverse transform; Devroye, L. (1986): Non-Uniform Random
Variate Generation, chapter 2).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float
from numpyro.distributions.transforms import AffineTransform, SigmoidTransform

from jcm_sensitivity.hints import hint

#: Part of a prior that may lie outside the bounds of its parameter.
MASS_OUTSIDE = 0.01
#: Where a prior is tried out: a standard normal variable is hardly ever farther away.
FARTHEST = 8.0
#: What to use for a distribution that cannot be mapped.
ADVICE = (
    "use Normal, LogNormal, Uniform, LogUniform, TruncatedNormal, or "
    "TransformedDistribution(Normal(...), transforms)"
)


def logit_normal(
    reference: float, bounds: tuple[float, float], spread: float = 1.0
) -> dist.Distribution:
    """Return the prior between two bounds with a given median.

    x = a + (b - a) / (1 + exp(-(l + s z))) with bounds a and b, spread s and l such that z = 0 is
    the reference (Aitchison, J. and Shen, S. M. (1980): Logistic-normal distributions: some
    properties and uses. Biometrika, 67, 261-272).

    Parameters
    ----------
    reference, bounds
        Median, and the two ends, in the units of the parameter.
    spread
        Standard deviation s of the logit [1]. With 1 and the median in the middle, 90 % lie
        between 0.16 and 0.84 of the distance between the bounds.

    Raises
    ------
    ValueError
        If the reference is not between the bounds, or the spread is not positive.
    """
    low, high = (float(bound) for bound in bounds)
    reference = float(reference)
    if not low < reference < high:
        raise ValueError(
            f"expected a median between the bounds {low:g} and {high:g}, got {reference:g}; "
            f"give a prior of your own ({ADVICE})")
    if not (np.isfinite(spread) and spread > 0):
        raise ValueError(f"the spread of a prior must be positive and finite, got {spread}")
    loc = float(np.log(reference - low) - np.log(high - reference))
    return dist.TransformedDistribution(
        dist.Normal(loc, spread), [SigmoidTransform(), AffineTransform(low, high - low)])


def prior_from_table(table: Mapping[str, Any]) -> dist.Distribution:
    """Return the distribution that a table of a configuration file describes.

    `{distribution = "LogNormal", loc = 9.0, scale = 0.3}` is `LogNormal(loc=9.0, scale=0.3)` of
    numpyro.

    Raises
    ------
    ValueError
        If the name is unknown or the numbers do not fit.
    """
    numbers = dict(table)
    name = str(numbers.pop("distribution", ""))
    kind = getattr(dist, name, None) if name else None
    # `TruncatedNormal` is a function that returns a distribution; constraints are neither.
    if not name[:1].isupper() or not callable(kind):
        known = [x for x in dir(dist) if x[:1].isupper()]
        raise ValueError(
            f"expected distribution = the name of a distribution of numpyro, got {name!r}; "
            f"{hint(name, known)}{ADVICE}")
    try:
        made = kind(**numbers, validate_args=True)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"{name} cannot be made from {numbers}: {problem}") from problem
    if not isinstance(made, dist.Distribution):
        raise ValueError(f"{name} is no distribution; {ADVICE}")
    return made


def from_normal(prior: dist.Distribution, z: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the parameter at a standard normal variable z [units of the parameter].

    Exact for normal distributions and transforms of them. Others go through the distribution
    function, which in the upper tail ends where 1 cannot be told from the next number: beyond
    z = 5.2 in float32 and 8.1 in float64 the parameter stays constant.
    """
    if isinstance(prior, dist.Normal):
        return jnp.asarray(prior.loc) + jnp.asarray(prior.scale) * z
    if isinstance(prior, dist.TransformedDistribution):
        x = from_normal(prior.base_dist, z)
        for transform in prior.transforms:
            x = jnp.asarray(transform(x))
        return x
    probability = ndtr(z)
    limits = jnp.finfo(probability.dtype)
    return jnp.asarray(prior.icdf(jnp.clip(probability, limits.tiny, 1 - limits.epsneg)))


def to_normal(prior: dist.Distribution, x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the standard normal variable at which the parameter is x; the inverse of the above.

    Not finite where x is at the end of the support or outside.
    """
    if isinstance(prior, dist.Normal):
        return (x - jnp.asarray(prior.loc)) / jnp.asarray(prior.scale)
    if isinstance(prior, dist.TransformedDistribution):
        for transform in reversed(prior.transforms):
            x = jnp.asarray(transform.inv(x))
        return to_normal(prior.base_dist, x)
    return ndtri(prior.cdf(x))


def checked(prior: Any, name: str, units: str = "1") -> dist.Distribution:
    """Return the prior with arrays of the working precision, after trying it out.

    Raises
    ------
    TypeError
        If it is no distribution of numpyro.
    ValueError
        If it is not of one number, or cannot be mapped to a standard normal variable and back.
    """
    if not isinstance(prior, dist.Distribution):
        raise TypeError(
            f"the prior of {name} must be a distribution of numpyro, got {prior!r}; {ADVICE}")
    if prior.batch_shape or prior.event_shape:
        raise ValueError(
            f"the prior of {name} must be of one number, got {describe(prior)} of shape "
            f"{prior.batch_shape + prior.event_shape}")
    if _is_discrete(prior):
        raise ValueError(f"the prior of {name} is discrete ({describe(prior)}); {ADVICE}")
    # Python numbers would be compiled in; arrays are arguments of the compiled program.
    prior = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), prior)
    # Steps that do not meet 0, where some inverse functions have a corner.
    z = jnp.linspace(-FARTHEST, FARTHEST, 100)
    try:
        x, slope = jax.jvp(lambda at: from_normal(prior, at), (z,), (jnp.ones_like(z),))
        back = to_normal(prior, x[30:70])
    except (NotImplementedError, ImportError, TypeError) as problem:
        raise ValueError(
            f"the prior of {name}, {describe(prior)}, has no inverse distribution function that "
            f"can be differentiated, so it cannot be mapped to a standard normal variable; {ADVICE}"
        ) from problem
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(slope))):
        raise ValueError(
            f"the prior of {name}, {describe(prior)}, gives values or slopes that are not finite "
            f"between z = -{FARTHEST:g} and {FARTHEST:g} of its standard normal variable; "
            f"choose a narrower one [{units}], or {ADVICE}")
    if not np.allclose(back, z[30:70], rtol=1e-2, atol=1e-2):
        raise ValueError(
            f"the prior of {name}, {describe(prior)}, cannot be mapped to a standard normal "
            f"variable and back in the working precision; {ADVICE}")
    return prior


def _is_discrete(prior: dist.Distribution) -> bool:
    return bool(getattr(prior.support, "is_discrete", False))


def mass_outside(prior: dist.Distribution, bounds: tuple[float, float]) -> float:
    """Return the part of a prior that lies outside bounds, to 1e-4 [1]."""
    middles = (np.arange(10_000) + 0.5) / 10_000
    x = np.asarray(from_normal(prior, ndtri(jnp.asarray(middles))))
    slack = 1e-6 * np.abs(x)
    return float(np.mean((x < bounds[0] - slack) | (x > bounds[1] + slack)))


def describe(prior: dist.Distribution) -> str:
    """Return name and numbers of a distribution, e.g. `LogNormal(loc=9, scale=0.3)`."""
    names = [name for name in prior.arg_constraints if hasattr(prior, name)]
    if isinstance(prior, dist.TransformedDistribution) and not names:
        parts = "".join(f", {type(t).__name__}" for t in prior.transforms)
        return f"transformed {describe(prior.base_dist)}{parts}"
    numbers = ", ".join(f"{name}={_number(getattr(prior, name))}" for name in names)
    return f"{type(prior).__name__}({numbers})"


def _number(value: Any) -> str:
    array = np.asarray(value)
    return f"{float(array):g}" if array.shape == () else f"array of shape {array.shape}"
