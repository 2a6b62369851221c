"""What the data can say about the parameters, before anything is estimated.

z has a standard normal prior and J is the Jacobian of the whitened residuals, so an eigenvalue of
J'J is the variance of the prior over that of the data along its eigenvector: where it is above 1,
the data say more than the prior. Where it is far below, an estimate would be the prior again.

Hill, M. C. and Tiedeman, C. R. (2007): Effective Groundwater Model Calibration. Wiley, chapter 4
(composite scaled sensitivities, correlation of parameters).
Rodgers, C. D. (2000): Inverse Methods for Atmospheric Sounding. World Scientific, section 2.4
(whitened Jacobian, degrees of freedom for signal).
Raue, A. et al. (2009): Structural and practical identifiability analysis of partially observed
dynamical models by exploiting the profile likelihood. Bioinformatics, 25, 1923-1929.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.stats import chi2

from jcm_calibrate.jacobian import Residuals, as_vector, residuals_and_jacobian
from jcm_calibrate.uncertainty.posterior import check_labels

#: Parameters correlated more strongly than this are not estimated apart (Hill and Tiedeman, 2007).
CORRELATED = 0.95
#: Components of a direction that are named.
NAMED = 0.25


class Identifiability(eqx.Module):
    """Information that linearised data hold about parameters of standard normal prior."""

    #: Derivatives of the whitened residuals, per prior standard deviation of each parameter.
    jacobian: Float[np.ndarray, "datum parameter"]
    #: Names of the parameters.
    labels: tuple[str, ...] = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.jacobian.shape[1]

    @property
    def eigenvalues(self) -> Float[np.ndarray, " direction"]:
        """Eigenvalues of J'J, the largest first: variance of the prior over that of the data."""
        singular = np.linalg.svd(self.jacobian, compute_uv=False)
        return np.pad(singular**2, (0, self.size - singular.size))

    @property
    def directions(self) -> Float[np.ndarray, "direction parameter"]:
        """Unit vectors that belong to the eigenvalues; the largest component is positive."""
        vectors = np.linalg.svd(self.jacobian, full_matrices=True)[2]
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
        return vectors * np.sign(largest)

    @property
    def direction_width(self) -> Float[np.ndarray, " direction"]:
        """Posterior over prior width along each direction."""
        return 1 / np.sqrt(1 + self.eigenvalues)

    @property
    def composite_sensitivity(self) -> Float[np.ndarray, " parameter"]:
        """Root mean square over the data of the whitened derivatives.

        The composite scaled sensitivity, scaled by the prior width of the parameter where Hill
        and Tiedeman (2007) scale by its value, which has no meaning for z.
        """
        return np.sqrt(np.mean(self.jacobian**2, axis=0))

    @property
    def covariance(self) -> Float[np.ndarray, "parameter parameter"]:
        """Posterior covariance, prior included."""
        return np.linalg.inv(self.jacobian.T @ self.jacobian + np.eye(self.size))

    @property
    def width(self) -> Float[np.ndarray, " parameter"]:
        """Posterior over prior width of each parameter."""
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def correlation(self) -> Float[np.ndarray, "parameter parameter"]:
        """Posterior correlation of the parameters."""
        return self.covariance / (self.width[:, None] * self.width)

    @property
    def identified(self) -> Bool[np.ndarray, " parameter"]:
        """Whether the data say more about a parameter than the prior: variance below half."""
        return self.width**2 < 0.5

    @property
    def count(self) -> int:
        """Number of directions about which the data say more than the prior."""
        return int(np.sum(self.eigenvalues > 1))

    @property
    def degrees_of_freedom(self) -> float:
        """Degrees of freedom for signal: how many parameters the data are worth."""
        return float(np.sum(self.eigenvalues / (1 + self.eigenvalues)))

    def unidentified(self) -> list[dict[str, Any]]:
        """Return the directions that the prior decides: what they consist of, and their width.

        The width is in units of the prior width along the direction; a value is not given, for
        the data hold none.
        """
        return [
            {"direction": self.named(i), "eigenvalue": float(self.eigenvalues[i]),
             "prior_width": 1.0, "posterior_width": float(self.direction_width[i])}
            for i in range(self.count, self.size)]

    def correlated(self, least: float = CORRELATED) -> list[tuple[str, str, float]]:
        """Return the pairs of parameters that are correlated at least this strongly."""
        rows, columns = np.triu_indices(self.size, 1)
        return [(self.labels[i], self.labels[j], float(self.correlation[i, j]))
                for i, j in zip(rows, columns, strict=True)
                if abs(self.correlation[i, j]) >= least]  # fmt: skip

    def named(self, direction: int) -> dict[str, float]:
        """Return the main components of a direction, by parameter."""
        vector = self.directions[direction]
        return {self.labels[i]: float(vector[i]) for i in np.argsort(-np.abs(vector))
                if abs(vector[i]) >= NAMED}  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the Jacobian, ready for JSON."""
        return {
            "labels": list(self.labels), "data": self.jacobian.shape[0],
            "eigenvalues": self.eigenvalues.tolist(),
            "directions": self.directions.tolist(),
            "direction_posterior_over_prior_width": self.direction_width.tolist(),
            "composite_scaled_sensitivity": self.composite_sensitivity.tolist(),
            "posterior_over_prior_width": self.width.tolist(),
            "correlation": self.correlation.tolist(),
            "identified": self.identified.tolist(),
            "directions_better_known_than_before": self.count,
            "degrees_of_freedom_for_signal": self.degrees_of_freedom,
            "unidentified_directions": self.unidentified(),
            "correlated": [list(pair) for pair in self.correlated()]}

    def describe(self) -> str:
        """Return the tables that a person reads."""
        parameters = pd.DataFrame({
            "composite sensitivity": self.composite_sensitivity,
            "posterior/prior width": self.width,
            "decided by": np.where(self.identified, "data", "prior")}, index=list(self.labels))
        directions = pd.DataFrame({
            "eigenvalue": [f"{x:.3g}" for x in self.eigenvalues],
            "posterior/prior width": self.direction_width,
            "decided by": np.where(self.eigenvalues > 1, "data", "prior"),
            "main components": [
                " ".join(f"{x:+.2f} {name}" for name, x in self.named(i).items())
                for i in range(self.size)]})
        show: dict[str, Any] = {"float_format": "{:.3g}".format}
        lines = [
            f"{self.jacobian.shape[0]} data, {self.size} parameters, {self.count} directions "
            f"better known than before, {self.degrees_of_freedom:.1f} degrees of freedom for "
            "signal",
            "", parameters.to_string(**show), "",
            directions.to_string(index=False, justify="left", **show)]
        lines += [f"{a} and {b} are not told apart (correlation {r:.3f})"
                  for a, b, r in self.correlated()]  # fmt: skip
        return "\n".join(lines)


class Profile(eqx.Module):
    """Least value of an objective over all other parameters, for given values of one."""

    #: Values of the one parameter, rising.
    grid: Float[np.ndarray, " point"]
    #: Half the sum of squares at the optimum.
    value: Float[np.ndarray, " point"]
    #: Where the optimum is.
    optimum: Float[np.ndarray, "point parameter"]
    #: Whether the optimisation came to its end.
    converged: Bool[np.ndarray, " point"]

    def interval(self, probability: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval by the likelihood ratio; infinite where it stays open.

        An end is open if the profile does not rise far enough within the grid: then the data do
        not bound the parameter there.
        """
        threshold = chi2.ppf(probability, 1) / 2
        excess = self.value - self.value.min() - threshold
        best = int(self.value.argmin())
        return (_crossing(self.grid[best::-1], excess[best::-1], -np.inf),
                _crossing(self.grid[best:], excess[best:], np.inf))  # fmt: skip


def identify(
    residuals: Residuals, z: ArrayLike, *, labels: Sequence[str] | None = None,
    batch: int = 1,
) -> Identifiability:  # fmt: skip
    """Return what data say about parameters, linearised at z.

    Parameters
    ----------
    residuals
        JAX function from z, of standard normal prior, to whitened residuals of the data alone,
        e.g. `problem.residuals`.
    z
        Where, (parameter,); the start is good, the mode better.
    labels
        Names of the parameters, e.g. `space.labels`.
    batch
        How many columns of the Jacobian are computed at once.

    Raises
    ------
    ValueError
        If z or the residuals are no vectors, or the labels do not fit.
    FloatingPointError
        If a residual or a derivative is not finite.
    """
    z = as_vector(z, "z")
    names = check_labels(labels, z.size)
    _, jacobian = residuals_and_jacobian(residuals, z, batch=batch)
    return Identifiability(np.asarray(jacobian, np.float64), names)


def profile_likelihood(
    residuals: Residuals, index: int, grid: ArrayLike, start: ArrayLike, *, evaluations: int = 30,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:  # fmt: skip
    """Return the profile of half the sum of squares along one parameter.

    At each point of the grid all other parameters are optimised again, by the trust-region
    method of SciPy with the Jacobian in forward mode, from the optimum of the nearest point.

    Parameters
    ----------
    residuals
        JAX function from z to residuals: those of the data for the profile likelihood (Raue et
        al., 2009), with z appended for the profile of the posterior.
    index
        Number of the parameter.
    grid
        Its values.
    start
        z to start from, best the mode.
    evaluations
        Most evaluations of the residuals for one point of the grid.
    progress
        Called with the number of points done, and of all.

    Raises
    ------
    ValueError
        If there is no such parameter, or the grid has fewer than 3 values.
    FloatingPointError
        If residuals or derivatives are not finite.
    """
    start = as_vector(start, "start")
    if not 0 <= index < start.size:
        raise ValueError(f"index is a number from 0 to {start.size - 1}; got {index}")
    points = np.unique(np.asarray(as_vector(grid, "grid"), np.float64))
    if points.size < 3:
        raise ValueError(f"a profile needs at least 3 values of the parameter; got {points.size}")
    free = np.arange(start.size) != index
    value, optimum = np.zeros(points.size), np.zeros((points.size, start.size))
    converged, done = np.zeros(points.size, bool), []
    for count, i in enumerate(np.argsort(np.abs(points - float(start[index])))):
        near = min(done, key=lambda j: abs(points[j] - points[i])) if done else None
        z = np.array(start if near is None else optimum[near], np.float64)
        z[index] = points[i]
        z[free], value[i], converged[i] = _optimum(residuals, z, free, start.dtype, evaluations)
        optimum[i] = z
        done.append(i)
        if progress is not None:
            progress(count + 1, points.size)
    return Profile(points, value, optimum, converged)


def _optimum(
    residuals: Residuals, z: np.ndarray, free: np.ndarray, dtype: Any, evaluations: int
) -> tuple[np.ndarray, float, bool]:
    """Return the best free components, half the sum of squares there, and whether it ended."""

    def derivatives(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        full = z.copy()
        full[free] = x
        values, jacobian = residuals_and_jacobian(residuals, jnp.asarray(full, dtype))
        return np.asarray(values, np.float64), np.asarray(jacobian, np.float64)[:, free]

    if not free.any():
        values, _ = derivatives(z[free])
        return z[free], 0.5 * float(values @ values), True
    fit = least_squares(
        lambda x: _values(residuals, z, free, x, dtype), z[free],
        jac=lambda x: derivatives(x)[1], max_nfev=evaluations)  # type: ignore[arg-type]
    return fit.x, float(fit.cost), bool(fit.success)


def _values(
    residuals: Residuals, z: np.ndarray, free: np.ndarray, x: np.ndarray, dtype: Any
) -> np.ndarray:
    full = z.copy()
    full[free] = x
    return np.asarray(_compiled(residuals, jnp.asarray(full, dtype)), np.float64)


@eqx.filter_jit
def _compiled(residuals: Residuals, z: Array) -> Array:
    return residuals(z)


def _crossing(grid: np.ndarray, excess: np.ndarray, otherwise: float) -> float:
    """Return where a profile first rises above 0, interpolated."""
    above = np.flatnonzero(excess > 0)
    if not above.size:
        return otherwise
    j = above[0]
    share = -excess[j - 1] / (excess[j] - excess[j - 1])
    return float(grid[j - 1] + share * (grid[j] - grid[j - 1]))
