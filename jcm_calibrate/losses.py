"""Losses: pure functions of (predicted, observed, ...) that compile and have gradients everywhere.

Values come in any shape; `weights` broadcast to it and need no normalisation, because every mean
divides by their sum. Where a weight is 0 the value may be missing (NaN) on either side. Scores of
ensembles have the members along the first axis.

No gradient is NaN: where a distance or a variance is 0, square roots have the slope 0.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import multivariate_normal, norm
from jaxtyping import Array, Float

from jcm.grid import Grid
from jcm.transform import Transform
from jcm.vertical import Levels

#: Numbers from JAX or NumPy.
Values = Float[Array, "..."] | Float[np.ndarray, "..."] | float
#: Log spectra are compared down to this part of the total observed power.
POWER_FLOOR = 1e-6


def area_weights(grid: Grid) -> Float[np.ndarray, "lon lat"]:
    """Return the part of the globe in each cell [1], sum 1."""
    return np.broadcast_to(grid.quadrature_weight / (2 * grid.nlon), grid.shape)


def mass_weights(grid: Grid, levels: Levels) -> Float[np.ndarray, "level lon lat"]:
    """Return the part of the mass of the atmosphere in each cell [1], sum 1.

    For the same surface pressure everywhere: area times thickness in sigma.
    """
    return levels.thickness[:, None, None] * area_weights(grid)


def gaussian_log_likelihood(
    predicted: Values, observed: Values, error: Values, *, covariance: bool = False
) -> Float[Array, ""]:
    """Return the logarithm of the Gaussian density of the observations.

    Parameters
    ----------
    predicted, observed
        Values in the same units.
    error
        Standard deviation of predicted - observed, one number or one per value; with
        `covariance=True` the matrix of covariances of all values.
    """
    if covariance:
        return jnp.asarray(multivariate_normal.logpdf(observed, jnp.asarray(predicted), error))
    return norm.logpdf(observed, jnp.asarray(predicted), error).sum()


def negative_log_likelihood(
    predicted: Values, observed: Values, error: Values, *, covariance: bool = False
) -> Float[Array, ""]:
    """Return minus `gaussian_log_likelihood`: a loss."""
    return -gaussian_log_likelihood(predicted, observed, error, covariance=covariance)


def mean_squared_error(
    predicted: Values, observed: Values, weights: Values | None = None
) -> Float[Array, ""]:
    """Return the weighted mean of the squared differences [units squared]."""
    difference, weights = _difference(predicted, observed, weights)
    return _mean(difference**2, weights)


def huber(
    predicted: Values, observed: Values, weights: Values | None = None, *, delta: Values = 1.0
) -> Float[Array, ""]:
    """Return the weighted mean of Huber's loss: d^2 / 2 up to |d| = delta, linear beyond.

    Huber, P. J. (1964): Robust estimation of a location parameter. Ann. Math. Stat., 35, 73-101.

    Parameters
    ----------
    predicted, observed, weights
        Values and their weights.
    delta
        Difference beyond which an observation is an outlier [units of the values].
    """
    difference, weights = _difference(predicted, observed, weights)
    # optax takes a number only; scaled, delta may differ from value to value.
    delta = jnp.asarray(delta, difference.dtype)
    return _mean(delta**2 * optax.losses.huber_loss(difference / delta), weights)


def bias(predicted: Values, observed: Values, weights: Values | None = None) -> Float[Array, ""]:
    """Return the weighted mean of predicted - observed; a number with a sign, no loss by itself."""
    return _mean(*_difference(predicted, observed, weights))


def squared_bias(
    predicted: Values, observed: Values, weights: Values | None = None
) -> Float[Array, ""]:
    """Return the square of `bias`: a loss that sees nothing but the mean."""
    return bias(predicted, observed, weights) ** 2


def correlation(
    predicted: Values, observed: Values, weights: Values | None = None, *, centred: bool = True
) -> Float[Array, ""]:
    """Return the pattern correlation, -1 to 1; 0 if one of the two has no variance.

    Parameters
    ----------
    predicted, observed, weights
        Values and their weights.
    centred
        Whether the weighted means are subtracted first.
    """
    _, weights = _difference(predicted, observed, weights)
    x, y = (jnp.where(weights > 0, value, 0.0) for value in (predicted, observed))
    if centred:
        x, y = x - _mean(x, weights), y - _mean(y, weights)
    product = _mean(x**2, weights) * _mean(y**2, weights)
    positive = product > 0
    return jnp.where(
        positive, _mean(x * y, weights) / jnp.sqrt(jnp.where(positive, product, 1.0)), 0.0)


def pattern_error(
    predicted: Values, observed: Values, weights: Values | None = None, *, centred: bool = True
) -> Float[Array, ""]:
    """Return 1 - `correlation`: a loss that sees the pattern but not its mean and amplitude."""
    return 1 - correlation(predicted, observed, weights, centred=centred)


def power_spectrum(
    field: Float[Array, "*shape lon lat"] | Float[np.ndarray, "*shape lon lat"],
    transform: Transform,
) -> Float[Array, "*shape degree"]:
    """Return the power of fields by total wavenumber l = 0 ... T [units squared].

    The sum over l is the mean over the globe of the square of the field (truncated at T). With
    x_ml the coefficients of `jcm.transform`, the power is x_0l^2 / 2 + sum_{m > 0} |x_ml|^2.
    """
    field = jnp.asarray(field)
    *shape, nlon, nlat = field.shape
    stacked = jnp.moveaxis(field.reshape(-1, nlon, nlat), 0, 1)
    squares = (transform.analysis(stacked) ** 2).sum(axis=1)
    factor = np.where(np.arange(transform.truncation + 1) == 0, 0.5, 1.0)
    # Rows of one total wavenumber lie on diagonals of (m, n): gather them by l = m + n.
    members = transform.degree[:, 0, 0] == np.arange(transform.truncation + 1)[:, None, None]
    table = jnp.asarray(members * factor[:, None], field.dtype)
    power = jnp.einsum("mfn,lmn->fl", squares, table)
    return power.reshape(*shape, transform.truncation + 1)


def spectral_error(
    predicted: Float[Array, "*shape lon lat"] | Float[np.ndarray, "*shape lon lat"],
    observed: Float[Array, "*shape lon lat"] | Float[np.ndarray, "*shape lon lat"],
    transform: Transform,
    weights: Values | None = None,
    *,
    floor: float = POWER_FLOOR,
) -> Float[Array, ""]:
    """Return the mean square of the difference of ln(power) by total wavenumber, l >= 1.

    Phases do not count: a field and the same field turned about the axis are equal. What a weather
    forecast cannot have right after two weeks, its variance at each scale, it can still be held to.

    Parameters
    ----------
    predicted, observed
        Fields on the grid of the transform, all of it: a mask has no spectrum.
    transform
        `model.transform`, or `Transform(grid, radius)`.
    weights
        Weight of each wavenumber 1 ... T; default all the same.
    floor
        Power below this part of the total observed one counts as equal, l = 0 left out.
    """
    p, o = (power_spectrum(field, transform)[..., 1:] for field in (predicted, observed))
    least = floor * o.sum(axis=-1, keepdims=True) + jnp.finfo(o.dtype).tiny
    difference, weights = _difference(jnp.log(p + least), jnp.log(o + least), weights)
    return _mean(difference**2, weights)


def crps(
    ensemble: Float[Array, "member *shape"] | Float[np.ndarray, "member *shape"],
    observed: Values,
    weights: Values | None = None,
    *,
    fair: bool = True,
) -> Float[Array, ""]:
    """Return the weighted mean of the continuous ranked probability score of an ensemble.

    E|X - y| - E|X - X'| / 2. The fair estimator leaves out pairs of a member with itself, so that
    its expectation does not depend on the number of members: Ferro, C. A. T. (2014): Fair scores
    for ensemble forecasts. Q. J. R. Meteorol. Soc., 140, 1917-1923, eq. 7.

    Parameters
    ----------
    ensemble
        Predictions of the members along the first axis.
    observed, weights
        Observations, of the shape of one member, and their weights.
    fair
        Whether pairs of a member with itself are left out; needs two members.

    Raises
    ------
    ValueError
        If there are too few members.
    """
    count = _members(ensemble, fair)
    difference, weights = _difference(ensemble, observed, weights)
    # sum_{i,j} |x_i - x_j| / 2 = sum_i (2 i - m - 1) x_(i), with x_(i) in increasing order.
    rank = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * (difference.ndim - 1))
    spread = (rank * jnp.sort(difference, axis=0)).sum(axis=0) / (count * (count - fair))
    return _mean(jnp.abs(difference).mean(axis=0) - spread, weights[0])


def crps_gaussian(
    mean: Values, standard_deviation: Values, observed: Values, weights: Values | None = None
) -> Float[Array, ""]:
    """Return the weighted mean of the continuous ranked probability score of Gaussians.

    Gneiting, T. and others (2005): Calibrated probabilistic forecasting using ensemble model output
    statistics and minimum CRPS estimation. Mon. Weather Rev., 133, 1098-1118, eq. 5. A standard
    deviation of 0 gives |mean - observed|.
    """
    difference, weights = _difference(observed, mean, weights)
    spread = jnp.asarray(standard_deviation, difference.dtype)
    positive = spread > 0
    s = jnp.where(positive, spread, 1.0)
    z = difference / s
    score = s * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    return _mean(jnp.where(positive, score, jnp.abs(difference)), weights)


def energy_score(
    ensemble: Float[Array, "member *shape"] | Float[np.ndarray, "member *shape"],
    observed: Values,
    weights: Values | None = None,
    *,
    fair: bool = True,
) -> Float[Array, ""]:
    """Return the energy score: the continuous ranked probability score of a vector as a whole.

    E||X - y|| - E||X - X'|| / 2 with the norm ||d||^2 = sum of weights d^2: Gneiting, T. and
    Raftery, A. E. (2007): Strictly proper scoring rules, prediction, and estimation. J. Am. Stat.
    Assoc., 102, 359-378, eq. 22. Give 1 / variance as weights where units differ.

    Parameters
    ----------
    ensemble, observed, fair
        As for `crps`.
    weights
        Weights of the squares, not normalised; default 1.

    Raises
    ------
    ValueError
        If there are too few members.
    """
    count = _members(ensemble, fair)
    difference, weights = _difference(ensemble, observed, weights)
    scaled = (difference * jnp.sqrt(weights)).reshape(count, -1)
    # Row by row, because all pairs at once may not fit into memory.
    pairs = jax.lax.map(lambda row: _norm(scaled - row).sum(), scaled).sum()
    return _norm(scaled).mean() - pairs / (2 * count * (count - fair))


def performance_index(
    predicted: Values, observed: Values, variance: Values, weights: Values | None = None
) -> Float[Array, ""]:
    """Return the mean squared difference over the interannual variance [1].

    Reichler, T. and Kim, J. (2008): How well do coupled models simulate today's climate? Bull. Am.
    Meteorol. Soc., 89, 303-311, eq. 1. Cells whose variance is 0 or missing do not count.

    Parameters
    ----------
    predicted, observed
        Climatological means, of the model and observed.
    variance
        Variance of the observed means of single years [units squared].
    weights
        Areas or masses of the cells.
    """
    variance = jnp.asarray(variance)
    known = variance > 0
    weights = jnp.where(known, jnp.ones_like(variance) if weights is None else weights, 0.0)
    difference, weights = _difference(predicted, observed, weights)
    return _mean(difference**2 / jnp.where(known, variance, 1.0), weights)


def negative_log_prior(z: Float[Array, "parameter"]) -> Float[Array, ""]:
    """Return minus the log density of a standard normal prior, the prior of a parameter space."""
    return 0.5 * (z @ z + z.size * math.log(2 * math.pi))


class Combined(eqx.Module):
    """A weighted sum of losses; called as one of them. Made by `combined`.

    The weights are an array: other weights need no other compilation.
    """

    weights: Float[Array, "term"]
    names: tuple[str, ...] = eqx.field(static=True)
    losses: tuple[Callable[..., Any], ...] = eqx.field(static=True)

    def __call__(self, *arguments: Any) -> Float[Array, ""]:
        """Return the sum of weight times loss; every loss gets all arguments."""
        return sum(self.terms(*arguments).values(), start=jnp.zeros(()))

    def terms(self, *arguments: Any) -> dict[str, Float[Array, ""]]:
        """Return weight times loss by name."""
        return {
            name: weight * loss(*arguments)
            for name, loss, weight in zip(self.names, self.losses, self.weights, strict=True)}


def combined(terms: Mapping[str, tuple[Callable[..., Any], float]]) -> Combined:
    """Return a weighted sum of losses.

    Parameters
    ----------
    terms
        Name -> (loss, weight). All losses get the same arguments; for one that takes others, write
        `lambda predicted, observed: huber(predicted["tas"], observed["tas"], delta=2.0)`.

    Raises
    ------
    ValueError
        If there is no term, or a weight is negative or not finite.
    """
    if not terms:
        raise ValueError("no losses to combine; give {name: (loss, weight)}")
    for name, (_, weight) in terms.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"the weight of the loss {name!r} is {weight}; weights are finite and not negative "
                "(0 leaves a loss out)")
    losses, weights = zip(*terms.values(), strict=True)
    return Combined(jnp.asarray(weights, float), tuple(terms), losses)


class Objective(eqx.Module):
    """Loss and prior as one function of the vector of parameters, for `minimise`."""

    #: z -> predicted.
    predict: Callable[..., Any]
    #: What the loss gets after the prediction.
    observed: Any
    loss: Callable[..., Any]
    #: Factor of the negative log prior, 0: none.
    prior_weight: Float[Array, ""] | float = 1.0

    def __call__(self, z: Float[Array, "parameter"]) -> Float[Array, ""]:
        """Return loss(predict(z), observed) + prior_weight * negative_log_prior(z)."""
        return (self.loss(self.predict(z), self.observed)
                + self.prior_weight * negative_log_prior(z))  # fmt: skip


def _difference(
    predicted: Any, observed: Any, weights: Any
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return predicted - observed, 0 where the weight is, and the weights in the same shape."""
    difference = jnp.asarray(predicted) - jnp.asarray(observed)
    if weights is None:
        return difference, jnp.ones_like(difference)
    weights = jnp.broadcast_to(jnp.asarray(weights, difference.dtype), difference.shape)
    return jnp.where(weights > 0, difference, 0.0), weights


def _mean(values: Array, weights: Array) -> Float[Array, ""]:
    return (values * weights).sum() / weights.sum()


def _norm(vectors: Float[Array, "vector component"]) -> Float[Array, "vector"]:
    """Return Euclidean norms, with slope 0 at 0 instead of NaN."""
    squares = (vectors**2).sum(axis=-1)
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)


def _members(ensemble: Any, fair: bool) -> int:
    count = len(ensemble)
    if count < 1 + fair:
        raise ValueError(
            f"the {'fair ' if fair else ''}score needs at least {1 + fair} members along the first "
            f"axis, got {count}" + ("; fair=False takes one" if count == 1 else ""))
    return count
