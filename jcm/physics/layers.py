"""The choice of one layer out of a column, carried as weights over layers.

Convection and cloud end in a top layer. The choice is an array of shape (K + 1, *grid): entry k is
the weight of layer k, the last entry that of no layer at all, and the weights of a column sum
to 1. Exact switches give ones and zeros, smooth ones a probability distribution, and the same
sums of weight times value serve both.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def first_passing(passing: Float[Array, "test *grid"]) -> Float[Array, "choice *grid"]:
    """Return the weight of each test to be the first that passes, and last that none does.

    Parameters
    ----------
    passing
        Probability that each test passes, 0 or 1 for exact switches [1]. They count as independent.
    """
    weights = []
    remaining = jnp.ones_like(passing[0])
    for probability in passing:
        weights.append(remaining * probability)
        remaining = remaining * (1 - probability)
    return jnp.stack([*weights, remaining])


def topmost(
    first: Float[Array, "choice *grid"], second: Float[Array, "choice *grid"]
) -> Float[Array, "choice *grid"]:
    """Return the weights of the higher of two independently chosen layers.

    Parameters
    ----------
    first, second
        Weights of the layers, top first, and of no layer at all [1].
    """
    below_first, below_second = _weight_below(first), _weight_below(second)
    return first * (second + below_second) + below_first * second


def _weight_below(weights: Float[Array, "choice *grid"]) -> Float[Array, "choice *grid"]:
    total = [jnp.zeros_like(weights[0])]
    for weight in weights[:0:-1]:
        total.append(total[-1] + weight)
    return jnp.stack(total[::-1])


def top_layer(weights: Float[Array, "choice *grid"]) -> Int[Array, "*grid"]:
    """Return the number of the layer with the largest weight, 1 at the top, K + 1 for none."""
    return jnp.argmax(weights, axis=0) + 1
