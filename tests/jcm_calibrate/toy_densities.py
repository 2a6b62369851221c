"""Problems whose posterior is known: linear with Gaussian errors, Lorenz-96, a bent ridge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

#: Grows whenever Python calls the density of a linear problem: compiled programs do not.
CALLS = []


class Linear(eqx.Module):
    """Data `values` = `matrix` z + errors of variance 1; prior of z standard normal."""

    matrix: jax.Array
    values: jax.Array

    def residuals(self, z):
        return self.matrix @ z - self.values

    def residuals_with_prior(self, z):
        return jnp.concatenate([self.residuals(z), z])

    def __call__(self, z):
        CALLS.append(1)
        return -0.5 * jnp.sum(self.residuals_with_prior(z) ** 2)

    @property
    def covariance(self):
        """Posterior covariance, from the normal equations."""
        matrix = np.asarray(self.matrix)
        return np.linalg.inv(matrix.T @ matrix + np.eye(matrix.shape[1]))

    @property
    def mean(self):
        """Posterior mean, from the normal equations."""
        return self.covariance @ np.asarray(self.matrix).T @ np.asarray(self.values)


def linear(data=8, parameters=3, seed=0):
    """Return a linear problem with some data."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(data, parameters))
    truth = rng.normal(size=parameters)
    return Linear(jnp.asarray(matrix), jnp.asarray(matrix @ truth + rng.normal(size=data)))


class Ridge(eqx.Module):
    """x ~ N(0, 1), y ~ N(bend x^2, 1); no density where x is above the wall."""

    bend: jax.Array
    wall: jax.Array

    def __call__(self, z):
        value = -0.5 * (z[0] ** 2 + (z[1] - self.bend * z[0] ** 2) ** 2)
        return jnp.where(z[0] < self.wall, value, jnp.nan)


class Lorenz96(eqx.Module):
    """Initial state and forcing of Lorenz-96 from noisy observations over a short window.

    z holds the deviations of the state and of the forcing from a first guess, in units of their
    prior widths.
    """

    guess: jax.Array
    values: jax.Array
    error: float = 0.5
    width: float = 0.7
    step: float = 0.05

    def predict(self, z):
        state, forcing = self.guess + self.width * z[:-1], 8.0 + z[-1]

        def tendency(x):
            return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + forcing

        def advance(x, _):
            a = tendency(x)
            b = tendency(x + self.step / 2 * a)
            c = tendency(x + self.step / 2 * b)
            d = tendency(x + self.step * c)
            x = x + self.step / 6 * (a + 2 * b + 2 * c + d)
            return x, x

        return jax.lax.scan(advance, state, length=4)[1][1::2].ravel()

    def residuals_with_prior(self, z):
        return jnp.concatenate([(self.predict(z) - self.values) / self.error, z])

    def __call__(self, z):
        return -0.5 * jnp.sum(self.residuals_with_prior(z) ** 2)
