"""Small chaotic systems with known exponents, stepped by the classical Runge-Kutta scheme."""

import jax
import jax.numpy as jnp


def runge_kutta(tendency, dt):
    """Return the step of a scheme of fourth order."""

    def step(x, *arguments):
        a = tendency(x, *arguments)
        b = tendency(x + dt / 2 * a, *arguments)
        c = tendency(x + dt / 2 * b, *arguments)
        d = tendency(x + dt * c, *arguments)
        return x + dt / 6 * (a + 2 * b + 2 * c + d)

    return step


def lorenz63(x, rho=28.0):
    """Lorenz (1963) with sigma = 10 and beta = 8/3."""
    return jnp.stack([
        10 * (x[1] - x[0]), x[0] * (rho - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])


def lorenz96(x, forcing=8.0):
    """Lorenz (1996)."""
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + forcing


def states_on_attractor(step, count, size, steps=4000, seed=0):
    """Return states after a long run from random ones."""
    start = 1 + jax.random.normal(jax.random.key(seed), (count, size))
    run = lambda x: jax.lax.scan(lambda x, _: (step(x), None), x, length=steps)[0]  # noqa: E731
    return jax.jit(jax.vmap(run))(start)
