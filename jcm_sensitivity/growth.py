"""Growth of small perturbations with lead time: leading exponent, tangent and adjoint norms.

For any differentiable step of a state. A random perturbation is carried along by the tangent
linear step and rescaled to length 1 after each step; the sum of the logarithms of its growth is
the logarithm of its norm, and its mean rate tends to the leading Lyapunov exponent:

Benettin, G., Galgani, L., Giorgilli, A. and Strelcyn, J.-M. (1980): Lyapunov characteristic
exponents for smooth dynamical systems and for Hamiltonian systems; a method for computing all of
them. Meccanica, 15, 9-30.

The adjoint does the same backwards along the stored trajectory. Its norm grows at the same rate,
for the exponents of a matrix product and of its transpose are the same.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

#: Draws of the bootstrap over initial states.
DRAWS = 2000

Step = Callable[[Any], Any]


class Growth(eqx.Module):
    """Growth of perturbations from several initial states."""

    #: Lead after each step, in units of `interval`; (step,).
    lead: Float[np.ndarray, " step"]
    #: Logarithm of the norm of a perturbation that begins with norm 1; (state, step).
    log_norm: Float[np.ndarray, "state step"]
    #: Steps at the beginning that the exponent leaves out.
    discard: int = eqx.field(static=True)

    @property
    def rates(self) -> Float[np.ndarray, " state"]:
        """Mean rate of growth from each initial state, per unit of time."""
        start = self.log_norm[:, self.discard - 1] if self.discard else 0.0
        begin = self.lead[self.discard - 1] if self.discard else 0.0
        return (self.log_norm[:, -1] - start) / (self.lead[-1] - begin)

    @property
    def exponent(self) -> float:
        """Leading exponent, per unit of time: the mean of the rates."""
        return float(self.rates.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the exponent from the spread between initial states."""
        rates = self.rates
        return float(rates.std(ddof=1) / np.sqrt(rates.size)) if rates.size > 1 else np.nan

    @property
    def doubling_time(self) -> float:
        """Time in which a small error doubles; infinite if it does not grow."""
        return float(np.log(2) / self.exponent) if self.exponent > 0 else np.inf


def tangent_growth(
    step: Step, states: Any, *, steps: int, interval: float = 1.0, discard: int = 0,
    seed: int = 0, scale: Any = None, one_at_a_time: bool = False,
) -> Growth:  # fmt: skip
    """Return the growth of random perturbations under the tangent linear step.

    Parameters
    ----------
    step
        Function from a state to the state one `interval` later; a state is any tree of arrays.
        Integers and random keys in it are carried along but not perturbed.
    states
        Initial states; each array with a leading axis of states.
    steps
        Number of steps.
    interval
        Time of a step, in the unit in which leads and exponents are wanted.
    discard
        Steps left out of the exponent while the perturbation turns into the fastest direction.
    seed
        Of the random directions.
    scale
        Tree like one state: the norm is that of the perturbation over this, element by element
        (e.g. the typical size of each variable); default 1 everywhere. The exponent does not
        depend on it, growth over short leads does.
    one_at_a_time
        Initial states one after another instead of side by side: less memory.

    Raises
    ------
    ValueError
        If the lengths have no meaning.
    FloatingPointError
        If a perturbation or the trajectory becomes infinite, or the perturbation vanishes.
    """
    return _growth(_tangent, step, states, steps, interval, discard, seed, scale, one_at_a_time)


def adjoint_growth(
    step: Step, states: Any, *, steps: int, interval: float = 1.0, discard: int = 0,
    seed: int = 0, scale: Any = None, one_at_a_time: bool = False,
) -> Growth:  # fmt: skip
    """Return the growth of random gradients under the adjoint step, backwards from the end.

    Arguments and errors as for `tangent_growth`. The lead counts back from the end of the
    trajectory, which is stored. The norm of a gradient is that of its product with `scale`.
    """
    return _growth(_adjoint, step, states, steps, interval, discard, seed, scale, one_at_a_time)


def _growth(
    kind: Callable, step: Step, states: Any, steps: int, interval: float, discard: int, seed: int,
    scale: Any, one_at_a_time: bool,
) -> Growth:  # fmt: skip
    if steps < 1 or not 0 <= discard < steps:
        raise ValueError(
            f"expected at least one step, and fewer to discard; got steps={steps}, "
            f"discard={discard}")
    if not interval > 0:
        raise ValueError(f"the interval of a step is positive; got {interval}")
    count = len(jax.tree.leaves(states)[0])
    rates = kind(step, states, steps, scale, jax.random.split(jax.random.key(seed), count),
                 one_at_a_time)  # fmt: skip
    log_norm = np.cumsum(np.asarray(rates, float), axis=1)
    if not np.isfinite(log_norm).all():
        raise FloatingPointError(
            "a perturbation became infinite or vanished: the trajectory is unstable, or the step "
            "does not depend on its state")
    return Growth(interval * np.arange(1, steps + 1), log_norm, discard)


def _split(state: Any) -> tuple[Any, Any]:
    """Return the real numbers of a state, which have tangents, and the rest."""
    return eqx.partition(state, eqx.is_inexact_array)


def _random(key: Array, real: Any, factor: Array) -> tuple[Array, Callable]:
    """Return a random direction of norm 1 in scaled form, and how to unravel it."""
    flat, unravel = ravel_pytree(real)
    draw = jax.random.normal(key, flat.shape, flat.dtype)
    # Where the scale is 0 nothing can be perturbed.
    draw = jnp.where(factor == 0, 0, draw)
    return draw / jnp.linalg.norm(draw), unravel


def _factors(scale: Any, real: Any) -> tuple[Array, Array]:
    """Return the scale of each number, and its inverse, 0 where nothing can be perturbed."""
    like = real if scale is None else _split(scale)[0]
    factor = ravel_pytree(like)[0]
    factor = jnp.ones_like(factor) if scale is None else factor
    return factor, jnp.where(factor == 0, 0, 1 / jnp.where(factor == 0, 1, factor))


def _of_each(one: Callable, states: Any, keys: Array, one_at_a_time: bool) -> Array:
    every = jax.lax.map if one_at_a_time else lambda f, x: jax.vmap(f)(x)
    return every(one, (states, keys))


@eqx.filter_jit
def _tangent(
    step: Step, states: Any, steps: int, scale: Any, keys: Array, one_at_a_time: bool
) -> Array:
    def one(arguments: tuple[Any, Array]) -> Array:
        state, key = arguments
        real, rest = _split(state)
        factor, inverse = _factors(scale, real)
        direction, unravel = _random(key, real, factor)

        def advance(carry, _):
            real, rest, direction = carry

            def forward(real):
                return _split(step(eqx.combine(real, rest)))

            real, change, rest = jax.jvp(
                forward, (real,), (unravel(direction * factor),), has_aux=True)
            change = ravel_pytree(change)[0] * inverse
            norm = jnp.linalg.norm(change)
            return (real, rest, change / norm), jnp.log(norm)

        return jax.lax.scan(advance, (real, rest, direction), length=steps)[1]

    return _of_each(one, states, keys, one_at_a_time)


@eqx.filter_jit
def _adjoint(
    step: Step, states: Any, steps: int, scale: Any, keys: Array, one_at_a_time: bool
) -> Array:
    def one(arguments: tuple[Any, Array]) -> Array:
        state, key = arguments
        _, trajectory = jax.lax.scan(lambda x, _: (step(x), x), state, length=steps)
        real, _ = _split(state)
        factor, inverse = _factors(scale, real)
        direction, unravel = _random(key, real, factor)

        def backward(direction, state):
            real, rest = _split(state)
            _, pull, _ = jax.vjp(
                lambda real: _split(step(eqx.combine(real, rest))), real, has_aux=True)
            change = ravel_pytree(pull(unravel(direction * inverse))[0])[0] * factor
            norm = jnp.linalg.norm(change)
            return change / norm, jnp.log(norm)

        # The last step comes first.
        return jax.lax.scan(backward, direction, trajectory, reverse=True)[1][::-1]

    return _of_each(one, states, keys, one_at_a_time)
