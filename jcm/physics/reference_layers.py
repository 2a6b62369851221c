"""SPEEDY's physics on any levels: columns are averaged to its eight layers and back.

Mass-weighted means of the state go in, and every layer of the model receives the tendency of the
reference layers that it overlaps, in proportion to the overlap. Column energy and water are
conserved, and on SPEEDY's own layers the averaging is the identity.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jcm.physics import Fields, Physics, SurfaceHeat, Surroundings
from jcm.state import Columns
from jcm.vertical import Levels, speedy_levels


def overlap(levels: Levels, reference: Levels) -> np.ndarray:
    """Return the thickness in sigma that layers have in common; shape (reference, level)."""
    half, other = np.array(levels.half), np.array(reference.half)[:, None]
    shared = np.minimum(half[1:], other[1:]) - np.maximum(half[:-1], other[:-1])
    return np.maximum(shared, 0)


class ReferenceLayers(Physics):
    """A physics of SPEEDY's eight layers, applied to a model with other levels."""

    inner: Physics
    levels: Levels

    @property
    def smooth(self) -> bool:
        """Whether smooth forms of switches are compiled."""
        return getattr(self.inner, "smooth", False)

    def default_parameters(self) -> Any:
        """Return those of the inner physics."""
        return self.inner.default_parameters()

    def schemes(self) -> list[str]:
        """Return those of the inner physics."""
        return self.inner.schemes()

    def widths(self, parameters: Any) -> Any:
        """Return those of the inner physics."""
        return self.inner.widths(parameters)

    def nothing_held(self, like: Float[Array, "level *grid"]) -> PyTree:
        """Return what the inner physics holds, on its own layers."""
        return self.inner.nothing_held(jnp.zeros((8, *like.shape[1:]), like.dtype))

    def tendencies(
        self, columns: Columns, around: Surroundings, held: PyTree, radiation_due: Bool[Array, ""],
        parameters: Any,
    ) -> tuple[Any, PyTree, SurfaceHeat, Fields]:  # fmt: skip
        """Average the columns, call the inner physics, spread its tendencies."""
        reference = speedy_levels()
        shared = overlap(self.levels, reference)
        gather = shared / reference.thickness[:, None]
        spread = (shared / self.levels.thickness).T
        layered = lambda m: lambda x: jnp.einsum(  # noqa: E731
            "kh,h...->k...", jnp.asarray(m, x.dtype), x)
        mean = Columns(
            *(layered(gather)(getattr(columns, name)) for name in (
                "eastward_wind", "northward_wind", "temperature", "specific_humidity",
                "geopotential")),
            surface_pressure=columns.surface_pressure,
        )  # fmt: skip
        tendency, held, heat, fields = self.inner.tendencies(
            mean, around, held, radiation_due, parameters)
        fields = {
            name: layered(spread)(x) if x.ndim > columns.surface_pressure.ndim else x
            for name, x in fields.items()}  # fmt: skip
        return jax.tree.map(layered(spread), tendency), held, heat, fields
