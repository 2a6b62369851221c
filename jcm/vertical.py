"""Sigma levels and the numbers that follow from them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from dinosaur.sigma_coordinates import SigmaCoordinates
from jaxtyping import Array, Float

from jcm.grid import SPEEDY_HALF_LEVELS, check_layers

#: Sigma that SPEEDY regards as the air next to the surface.
NEAR_SURFACE_SIGMA = 0.99


class Levels(eqx.Module):
    """Layers of the model in sigma = pressure / surface pressure; index 0 is the top.

    All attributes are tuples of floats: levels are structure, and fold into the program.
    """

    #: Interfaces from 0 (top) to 1 (surface); one more than layers.
    half: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, half):
        half = tuple(float(value) for value in half)
        if len(half) < 3 or half[0] != 0 or half[-1] != 1 or not np.all(np.diff(half) > 0):
            raise ValueError(
                "sigma half levels must increase from 0 (top) to 1 (surface) with at least two "
                f"layers; got {half}"
            )
        self.half = half

    @property
    def coordinates(self) -> SigmaCoordinates:
        """The same levels as Dinosaur's coordinate object."""
        return SigmaCoordinates(np.array(self.half))

    @property
    def count(self) -> int:
        """Number of layers K."""
        return len(self.half) - 1

    @property
    def centre(self) -> np.ndarray:
        """Sigma at the layer centres: the mean of the interfaces; shape (K,)."""
        return self.coordinates.centers

    @property
    def thickness(self) -> np.ndarray:
        """Thickness of the layers in sigma; shape (K,)."""
        return self.coordinates.layer_thickness

    @property
    def weight(self) -> np.ndarray:
        """Weights of interpolation to the lower interfaces, linear in ln(sigma); shape (K,).

        x at the bottom of layer k is x[k] + weight[k] (x[k+1] - x[k]). The last entry
        extrapolates to the air next to the surface:
        x[-1] + weight[-1] (x[-1] - x[-2]).
        """
        log = np.log(self.centre)
        inner = (np.log(self.half[1:-1]) - log[:-1]) / np.diff(log)
        surface = (np.log(NEAR_SURFACE_SIGMA) - log[-1]) / (log[-1] - log[-2])
        return np.append(inner, surface)


def along_levels(values: np.ndarray, like: Array) -> Float[Array, "level *ones"]:
    """Return one number per layer, of the dtype of `like` and along its first axis."""
    return jnp.asarray(values, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def combine_levels(matrix: np.ndarray, x: Float[Array, "row *grid"]) -> Array:
    """Multiply each column by a matrix.

    For sums over layers and interfaces. A product of matrices is also where the compiler stores
    its operands: written as shifted sums, they would be evaluated again in every layer.
    """
    return jnp.tensordot(jnp.asarray(matrix, x.dtype), x, axes=1)


def on_levels(factor: np.ndarray, x: Float[Array, "*grid"]) -> Float[Array, "level *grid"]:
    """Return the field times one number per layer.

    A product of matrices, because its reverse is one: a sum over layers is slow.
    """
    return combine_levels(factor[:, None], x[None])


def speedy_levels(count: int = 8) -> Levels:
    """Return SPEEDY's own 5, 7 or 8 layers.

    Raises
    ------
    ValueError
        If SPEEDY has no table for this number of layers.
    """
    return Levels(SPEEDY_HALF_LEVELS[check_layers(count)])
