"""Laplace approximation: the Gaussian that touches the posterior density at its mode.

With residuals r(z) such that the log posterior density is -|r(z)|^2 / 2 + constant, and J their
Jacobian at the mode, the covariance is (J' J)^-1. That is the Gauss-Newton form of the Hessian:
the second derivatives of r are left out. They are weighted by r itself, so the form is exact for
linear problems and good where the fit is.

Tarantola, A. (2005): Inverse Problem Theory and Methods for Model Parameter Estimation. SIAM,
section 3.4.4.
MacKay, D. J. C. (2003): Information Theory, Inference, and Learning Algorithms. Cambridge
University Press, chapter 27.
"""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike

from jcm_calibrate.jacobian import Residuals, as_vector, residuals_and_jacobian

#: How far from the mode, in posterior standard deviations, a point may be without a warning.
NEAR = 0.5


class Gaussian(eqx.Module):
    """A multivariate normal distribution."""

    #: Mean, and covariance.
    mean: Float[Array, " parameter"]
    covariance: Float[Array, "parameter parameter"]

    @property
    def size(self) -> int:
        """Number of components."""
        return self.mean.shape[0]

    @property
    def standard_deviation(self) -> Float[Array, " parameter"]:
        """Standard deviation of each component."""
        return jnp.sqrt(jnp.diagonal(self.covariance))

    @property
    def correlation(self) -> Float[Array, "parameter parameter"]:
        """Correlation of the components."""
        width = self.standard_deviation
        return self.covariance / (width[:, None] * width)

    def draw(self, key: Key[Array, ""], size: int) -> Float[Array, "draw parameter"]:
        """Return independent draws."""
        noise = jax.random.normal(key, (size, self.size), self.mean.dtype)
        return self.mean + noise @ jnp.linalg.cholesky(self.covariance).T

    def log_density(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log density."""
        factor = jnp.linalg.cholesky(self.covariance)
        u = jax.scipy.linalg.solve_triangular(factor, z - self.mean, lower=True)
        log_volume = jnp.sum(jnp.log(jnp.diagonal(factor))) + self.size / 2 * jnp.log(2 * jnp.pi)
        return -0.5 * u @ u - log_volume


def laplace(residuals: Residuals, mode: ArrayLike, *, batch: int = 1) -> Gaussian:
    """Return the Laplace approximation of a posterior density at its mode.

    Parameters
    ----------
    residuals
        JAX function from z to whitened residuals, those of the prior among them
        (`Problem.residuals_with_prior`: for a standard normal prior, z itself appended).
    mode
        The most probable z, (parameter,).
    batch
        How many columns of the Jacobian are computed at once; memory grows with it.

    Raises
    ------
    ValueError
        If the mode is not a vector, or the residuals are not one.
    FloatingPointError
        If a residual or a derivative is not finite.
    numpy.linalg.LinAlgError
        If the residuals do not determine all components; then the prior is missing.

    Warns
    -----
    UserWarning
        If the point is not the mode: a Gauss-Newton step from it would be longer than half a
        posterior standard deviation.
    """
    values, jacobian = residuals_and_jacobian(residuals, as_vector(mode, "mode"), batch=batch)
    precision = jacobian.T @ jacobian
    eigenvalues = np.linalg.eigvalsh(np.asarray(precision, np.float64))
    if eigenvalues[0] <= np.finfo(jacobian.dtype).eps * eigenvalues[-1]:
        raise np.linalg.LinAlgError(
            "the residuals do not determine all components of z, so the posterior has no "
            "covariance; append the residuals of the prior (Problem.residuals_with_prior)")
    covariance = jnp.linalg.inv(precision)
    slope = jacobian.T @ values
    distance = float(jnp.sqrt(slope @ covariance @ slope))
    if distance > NEAR:
        warnings.warn(
            f"this point is {distance:.2g} posterior standard deviations from the mode by the "
            "Gauss-Newton step; minimise further before the Laplace approximation",
            stacklevel=2)
    return Gaussian(as_vector(mode, "mode"), 0.5 * (covariance + covariance.T))
