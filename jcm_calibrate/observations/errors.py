"""Error models: the covariance of the difference between predicted and observed values.

Every model here is independent errors plus a few patterns, C = diag(s^2) + F F^T. Diagonal errors
have no patterns, a full covariance has as many as it needs. With A = diag(1/s) F and the Cholesky
factor L of I + A^T A, the matrix

    W = (I - A (I + L)^-T L^-1 A^T) diag(1/s)

whitens, W C W^T = I, at the cost of a small factorisation; it is the square root of Andrews
(1968) turned round. The logarithm of the determinant follows from the matrix determinant lemma.

References
----------
Andrews, A. (1968): A square root formulation of the Kalman covariance equations. AIAA J., 6,
1165-1166.
Woodbury, M. A. (1950): Inverting modified matrices. Memorandum Report 42, Princeton University.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

#: Share of the variance of a control that is kept as independent error of each datum.
INDEPENDENT_SHARE = 0.1
#: A correlation matrix with a smaller eigenvalue counts as singular.
SMALLEST_EIGENVALUE = 1e-10


class ErrorModel(eqx.Module):
    """Gaussian errors: independent ones and patterns that several data share."""

    #: Standard deviation of the independent errors [units of the data].
    independent: Float[Array, "datum"]
    #: Patterns of unit variance times their amplitude [units of the data].
    patterns: Float[Array, "datum pattern"]
    #: What they are, in words.
    description: str = eqx.field(static=True, default="given")

    @property
    def size(self) -> int:
        """Number of data."""
        return self.independent.shape[0]

    @property
    def standard_deviation(self) -> Float[Array, "datum"]:
        """Standard deviation of the whole error of each datum [units of the data]."""
        return jnp.sqrt(self.independent**2 + jnp.sum(self.patterns**2, axis=1))

    @property
    def covariance(self) -> Float[Array, "datum datum"]:
        """The whole matrix; for tests and small problems."""
        return jnp.diag(self.independent**2) + self.patterns @ self.patterns.T

    @property
    def log_determinant(self) -> Float[Array, ""]:
        """Logarithm of the determinant of the covariance."""
        _, lower = self._factor()
        return 2 * (jnp.sum(jnp.log(self.independent)) + jnp.sum(jnp.log(jnp.diag(lower))))

    def _factor(self) -> tuple[Array, Array]:
        """Return A and the Cholesky factor of I + A^T A."""
        scaled = self.patterns / self.independent[:, None]
        count = scaled.shape[1]
        return scaled, jnp.linalg.cholesky(jnp.eye(count, dtype=scaled.dtype) + scaled.T @ scaled)

    def whiten(self, difference: Float[Array, "datum"]) -> Float[Array, "datum"]:
        """Return W times a difference: independent with unit variance if the model holds."""
        scaled = difference / self.independent
        if not self.patterns.shape[1]:
            return scaled
        patterns, lower = self._factor()
        inner = solve_triangular(lower, patterns.T @ scaled, lower=True)
        one = jnp.eye(len(lower), dtype=lower.dtype)
        return scaled - patterns @ solve_triangular(lower + one, inner, lower=True, trans=1)

    def draw(self, key: Array) -> Float[Array, "datum"]:
        """Return a random error from a `jax.random.key`."""
        own, shared = jax.random.split(key)
        dtype, (size, count) = self.independent.dtype, self.patterns.shape
        return (self.independent * jax.random.normal(own, (size,), dtype)
                + self.patterns @ jax.random.normal(shared, (count,), dtype))

    def take(self, rows: Any) -> "ErrorModel":
        """Return the errors of some data, by their numbers."""
        return ErrorModel(self.independent[rows], self.patterns[rows], self.description)

    def inflated(self, factor: float | int) -> "ErrorModel":
        """Return the model with all standard deviations times a factor.

        Raises
        ------
        ValueError
            If the factor is not positive.
        """
        if not 0 < factor < np.inf:
            raise ValueError(f"errors are inflated by a positive factor; got {factor}")
        return ErrorModel(
            self.independent * factor, self.patterns * factor,
            f"{self.description}, times {factor:g}")

    def __add__(self, other: "ErrorModel") -> "ErrorModel":
        """Return the model of the sum of two independent errors: covariances add.

        Raises
        ------
        ValueError
            If the two have different numbers of data.
        """
        if self.size != other.size:
            raise ValueError(
                f"errors of {self.size} and of {other.size} data cannot be added; both belong to "
                "the same data")
        return ErrorModel(
            jnp.sqrt(self.independent**2 + other.independent**2),
            jnp.concatenate([self.patterns, other.patterns], axis=1),
            f"{self.description} + {other.description}")


def diagonal(
    standard_deviation: Any,
    *,
    floor: Any = 0.0,
    description: str = "given",
    labels: Sequence[str] = (),
) -> ErrorModel:
    """Return independent errors.

    Parameters
    ----------
    standard_deviation
        (datum,), e.g. that of single years [units of the data].
    floor
        Smallest value allowed, one for all or one for each; smaller ones are raised to it.
    description
        What they are, in words.
    labels
        What messages call the data.

    Raises
    ------
    ValueError
        If a standard deviation is not a positive number.
    """
    array = np.maximum(np.asarray(standard_deviation, float), np.asarray(floor, float))
    if array.ndim != 1:
        raise ValueError(f"standard deviations have the shape (datum,); got {array.shape}")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        raise ValueError(
            f"the covariance is singular: {bad.sum()} of {array.size} standard deviations are not "
            f"positive numbers, the first is {array[bad][0]:g} of {_first(bad, labels)}; give a "
            "floor or leave these data out")
    dtype = jnp.result_type(float)
    return ErrorModel(
        jnp.asarray(array, dtype), jnp.zeros((array.size, 0), dtype), description)


def low_rank(
    independent: Any, patterns: Any, *, description: str = "low rank + diagonal",
    labels: Sequence[str] = (),
) -> ErrorModel:
    """Return independent errors and patterns that several data share.

    Parameters
    ----------
    independent
        Standard deviation of the independent errors, (datum,) [units of the data].
    patterns
        Patterns times their standard deviation, (datum, pattern) [units of the data].
    description, labels
        As for `diagonal`.

    Raises
    ------
    ValueError
        If shapes disagree, a number is not finite or an independent error is not positive.
    """
    own = diagonal(independent, description=description, labels=labels)
    shared = np.asarray(patterns, float)
    if shared.ndim != 2 or shared.shape[0] != own.size:
        raise ValueError(
            f"patterns have the shape (datum, pattern) with {own.size} data; got {shared.shape}")
    if not np.isfinite(shared).all():
        raise ValueError("a pattern of the errors holds numbers that are not finite")
    return ErrorModel(own.independent, jnp.asarray(shared, own.independent.dtype), description)


def full(covariance: Any, *, description: str = "full covariance") -> ErrorModel:
    """Return the model of a covariance matrix.

    The smallest eigenvalue of the correlation matrix becomes the independent part.

    Raises
    ------
    ValueError
        If the matrix is no symmetric positive definite matrix.
    """
    matrix = np.asarray(covariance, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a covariance has the shape (datum, datum); got {matrix.shape}")
    scale = np.sqrt(np.abs(np.diag(matrix)))
    symmetric = np.allclose(matrix, matrix.T, rtol=1e-8, atol=1e-8 * scale.max(initial=0.0) ** 2)
    if not (np.isfinite(matrix).all() and symmetric and np.all(np.diag(matrix) > 0)):
        raise ValueError(
            "a covariance is symmetric with finite numbers and positive variances; this one is not")
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] < SMALLEST_EIGENVALUE:
        raise ValueError(
            f"the covariance is singular: the smallest eigenvalue of its correlation matrix is "
            f"{values[0]:.1e} of {len(values)}, below {SMALLEST_EIGENVALUE:g}. Add independent "
            "errors (model + diagonal(...)), use low_rank(...), or leave out data that repeat "
            "others")
    patterns = scale[:, None] * vectors[:, 1:] * np.sqrt(values[1:] - values[0])
    return low_rank(scale * np.sqrt(values[0]), patterns, description=description)


def from_control(
    observations: Any, controls: Any, *, rank: int | None = None,
    independent_share: float = INDEPENDENT_SHARE,
) -> ErrorModel:
    """Return the errors that the model's own internal variability makes.

    The leading patterns of the differences of members from their mean, each datum divided by its
    standard deviation. What they leave is independent error, and never less than a share of the
    variance, which stands for the patterns that a finite number of members cannot show.

    Parameters
    ----------
    observations
        Observations that the controls belong to; they give size and labels.
    controls
        `observations.predict` of members or blocks of a control run, (member, datum).
    rank
        Number of patterns; default a third of the members (chosen here), 0 for independent errors.
    independent_share
        Least share of the variance that is independent, between 0 and 1.

    Raises
    ------
    ValueError
        If there are less than 3 members, shapes disagree, or a datum does not vary.
    """
    array = np.asarray(controls, float)
    if array.ndim != 2 or array.shape[1] != observations.size:
        raise ValueError(
            f"controls have the shape (member, datum) with {observations.size} data; "
            f"got {array.shape}")
    members = len(array)
    if members < 3:
        raise ValueError(f"internal variability needs 3 members of a control at least; {members}")
    if not np.isfinite(array).all():
        raise ValueError("the controls hold numbers that are not finite; leave such members out")
    if not 0 < independent_share <= 1:
        raise ValueError(f"independent_share is above 0 and at most 1; got {independent_share}")
    rank = members // 3 if rank is None else rank
    if not 0 <= rank < members:
        raise ValueError(f"{members} members have at most {members - 1} patterns; got rank {rank}")
    spread = array.std(axis=0, ddof=1)
    still = spread <= 1e-12 * np.abs(array).max(axis=0)
    if still.any():
        raise ValueError(
            f"the covariance is singular: {still.sum()} of {still.size} data do not vary among "
            f"the controls, the first is {_first(still, observations.labels)}; leave them out or "
            "add the errors of the observations")
    scaled = (array - array.mean(axis=0)) / spread / np.sqrt(members - 1)
    _, values, vectors = np.linalg.svd(scaled, full_matrices=False)
    patterns = (vectors[:rank] * values[:rank, None]).T
    explained = np.sum(patterns**2, axis=1)
    own = np.maximum(1 - explained, independent_share)
    # Where the share is raised, the patterns shrink: the variance of each datum stays that of
    # the controls.
    patterns *= np.sqrt((1 - own) / np.where(explained > 0, explained, 1))[:, None]
    return low_rank(
        spread * np.sqrt(own), spread[:, None] * patterns, labels=observations.labels,
        description=f"internal variability of {members} members, {rank} patterns")


def _first(bad: np.ndarray, labels: Sequence[str]) -> str:
    number = int(np.argmax(bad))
    return f"datum {number} ({labels[number]})" if labels else f"datum {number}"
