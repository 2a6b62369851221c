"""The Jacobian of residuals with respect to parameters, column by column, in forward mode.

A tangent costs about one more run of the model; a gradient of each residual would cost thousands.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

Residuals = Callable[[Float[Array, " parameter"]], Float[Array, " row"]]


def residuals_and_jacobian(
    residuals: Residuals, z: ArrayLike, *, batch: int = 1
) -> tuple[Float[Array, " row"], Float[Array, "row parameter"]]:
    """Return residuals and their Jacobian, in forward mode, some columns at a time.

    Parameters
    ----------
    residuals
        JAX function from a vector to a vector. If it is an `equinox.Module`, its arrays are
        arguments of the compiled program, which serves all modules of the same structure.
    z
        Where, (parameter,).
    batch
        How many columns are computed at once.

    Raises
    ------
    ValueError
        If z or the residuals are not vectors.
    FloatingPointError
        If a residual or a derivative is not finite.
    """
    z = as_vector(z, "z")
    values, jacobian = _compiled(residuals, z, batch)
    if not bool(jnp.all(jnp.isfinite(values))):
        rows = np.flatnonzero(~np.isfinite(values))
        raise FloatingPointError(
            f"{rows.size} of {values.size} residuals are not finite, the first is number "
            f"{rows[0]}; look for a run that failed or data that are missing at this z")
    if not bool(jnp.all(jnp.isfinite(jacobian))):
        columns = np.flatnonzero(~np.isfinite(jacobian).all(axis=0))
        raise FloatingPointError(
            f"derivatives with respect to components {columns.tolist()} of z are not finite; "
            "shorten the window or leave these parameters out")
    return values, jacobian


def as_vector(values: ArrayLike, name: str) -> Float[Array, " parameter"]:
    """Return a vector of real numbers.

    Raises
    ------
    ValueError
        If it is not a vector, is empty or is not finite.
    """
    vector = jnp.asarray(values)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be a vector, one number per parameter; got shape "
                         f"{vector.shape}")  # fmt: skip
    if not jnp.issubdtype(vector.dtype, jnp.floating):
        vector = vector.astype(jnp.result_type(float))
    if not bool(jnp.all(jnp.isfinite(vector))):
        raise ValueError(f"{name} must be finite; got {np.asarray(vector)}")
    return vector


def values_and_columns(
    residuals: Residuals, z: Float[Array, " parameter"], batch: int
) -> tuple[Float[Array, " row"], Float[Array, "row parameter"]]:
    """Return residuals and Jacobian inside a compiled program.

    The unit tangents are followed in equal chunks of at most `batch`, filled up with zeros; each
    chunk is vectorised and shares one run.
    """
    chunks = -(-z.size // batch)
    width = -(-z.size // chunks)
    tangents = jnp.eye(chunks * width, z.size, dtype=z.dtype).reshape(chunks, width, z.size)
    push = lambda tangent: jax.jvp(residuals, (z,), (tangent,))  # noqa: E731
    # The values come with every chunk: asking for them apart would run the model once more.
    values, columns = jax.lax.map(jax.vmap(push), tangents)
    if values.ndim != 3:
        raise ValueError(
            f"the residuals must be a vector; the function returned shape {values.shape[2:]}")
    return values[0, 0], columns.reshape(chunks * width, -1)[: z.size].T


_compiled = eqx.filter_jit(values_and_columns)
