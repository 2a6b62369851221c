"""Leading singular vectors of a linear map that is known only by what it does to a vector.

The eigenvectors of A = M'M by the implicitly restarted Lanczos method of ARPACK (Lehoucq, R. B.,
Sorensen, D. C. and Yang, C. (1998): ARPACK Users' Guide. SIAM), with M' the transpose that reverse
mode gives. If x and y = M x are counted in coordinates in which the norms are Euclidean, the
singular values are the largest factors by which a change can grow.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

#: Returns M x and M'M x.
Product = Callable[[np.ndarray], tuple[Array | np.ndarray, Array | np.ndarray]]
#: Called after each application of the operator with the number of applications.
Progress = Callable[[int], None]


class SingularVectors(NamedTuple):
    """Leading singular values in decreasing order, and their vectors."""

    #: Singular values: growth of the norm.
    value: np.ndarray
    #: Right singular vectors, of norm 1; (value, size).
    initial: np.ndarray
    #: Their images M x, of norm `value`; (value, size of the image).
    final: np.ndarray
    #: |A x - value^2 x| / value^2.
    residual: np.ndarray
    #: Number of applications of A.
    applications: int


def tangent_product(function: Callable[[Array], Array], point: Array) -> Product:
    """Return M x and M'M x for the derivative M of a function of a vector at a point.

    Compiled once: forward mode along x, then reverse mode along the result.
    """

    @jax.jit
    def product(x: Array) -> tuple[Array, Array]:
        y = jax.jvp(function, (point,), (x,))[1]
        return y, jax.vjp(function, point)[1](y)[0]

    return lambda x: product(jax.numpy.asarray(x, point.dtype))


def singular_vectors(
    product: Product,
    size: int,
    *,
    count: int = 5,
    tolerance: float = 1e-4,
    restarts: int = 20,
    progress: Progress | None = None,
    seed: int = 0,
) -> SingularVectors:
    """Return the leading singular vectors of a linear map M.

    Parameters
    ----------
    product
        Returns M x and M'M x of a vector x; see `tangent_product`.
    size
        Length of x.
    count
        Number of vectors.
    tolerance
        Largest relative error of the squared singular values.
    restarts
        Largest number of restarts of the Lanczos method; each takes about `count` applications.
    progress
        Called with the number of applications after each one.
    seed
        Of the vector to start with.

    Raises
    ------
    ValueError
        If so many vectors do not exist.
    FloatingPointError
        If the map gives a value that is not finite.
    RuntimeError
        If the method has not converged after all restarts.
    """
    if not 1 <= count < size:
        raise ValueError(f"expected a count from 1 to {size - 1}, got {count}")
    calls = 0

    def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal calls
        y, z = (np.asarray(part, float) for part in product(x.ravel()))
        if not (np.isfinite(y).all() and np.isfinite(z).all()):
            raise FloatingPointError(
                "the tangent or adjoint propagator is not finite; shorten the run")
        calls += 1
        if progress is not None:
            progress(calls)
        return y, z

    start = np.random.default_rng(seed).normal(size=size)
    operator = LinearOperator((size, size), matvec=lambda x: both(x)[1], dtype=np.dtype(float))  # pyright: ignore[reportCallIssue]
    try:
        squares, vectors = eigsh(
            operator, k=count, which="LA", tol=tolerance, v0=start, maxiter=restarts,  # pyright: ignore[reportArgumentType]
            ncv=min(size, max(2 * count + 1, 12)))
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"{len(error.eigenvalues)} of {count} singular vectors have converged after {calls} "
            "applications; allow more restarts or a larger tolerance") from error
    order = np.argsort(squares)[::-1]
    squares, initial = np.maximum(squares[order], 0), vectors[:, order].T
    images = [both(x) for x in initial]
    residual = [np.linalg.norm(z - square * x) / square if square else np.inf
                for (_, z), square, x in zip(images, squares, initial, strict=True)]  # fmt: skip
    return SingularVectors(
        np.sqrt(squares), initial, np.stack([y for y, _ in images]), np.array(residual), calls)
