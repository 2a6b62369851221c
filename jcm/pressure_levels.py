"""Fields on surfaces of constant pressure, interpolated linearly in the logarithm of pressure.

Between the centres of two layers a field is linear in ln p, which is exact for an isothermal
height and good for temperature and wind. From the centre of the lowest layer to the ground the
line through the two lowest layers goes on; below the ground and above the centre of the top layer
there is no value.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jcm.vertical import Levels


def to_pressure_levels(
    field: Float[Array, "*outputs level lon lat"],
    surface_pressure: Float[Array, "*outputs lon lat"],
    levels: Levels,
    pressure: Float[Array, "plev"] | Float[np.ndarray, "plev"],
) -> Float[Array, "*outputs plev lon lat"]:
    """Return a field on levels of constant pressure; pure and differentiable.

    Parameters
    ----------
    field
        Values at the centres of the layers of the model, from the top; any unit.
    surface_pressure
        Pressure at the ground [Pa].
    levels
        The layers, `model.levels`.
    pressure
        Pressure of the levels wanted, in any order [Pa].

    Returns
    -------
    values
        NaN below the ground and above the centre of the top layer.
    """
    centre = jnp.asarray(np.log(levels.centre), field.dtype)
    # Sigma = p / p_s, so in each column ln p and ln sigma differ by a constant.
    wanted = jnp.log(jnp.asarray(pressure, field.dtype))[:, None, None] - jnp.log(
        surface_pressure)[..., None, :, :]  # fmt: skip
    lower = jnp.clip(jnp.searchsorted(centre, wanted), 1, levels.count - 1)
    above = jnp.take_along_axis(field, lower - 1, axis=-3)
    below = jnp.take_along_axis(field, lower, axis=-3)
    weight = (wanted - centre[lower - 1]) / (centre[lower] - centre[lower - 1])
    inside = (wanted >= centre[0]) & (wanted <= 0)
    return jnp.where(inside, above + weight * (below - above), jnp.nan)
