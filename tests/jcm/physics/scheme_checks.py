"""Checks that every scheme has to pass, and the reference columns in the shape of a scheme."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

REFERENCE = Path(__file__).parents[2] / "reference" / "columns.nc"


def reference(*names):
    """Return variables of the reference columns with the sample as last axis."""
    with xr.open_dataset(REFERENCE) as data:
        values = [jnp.asarray(np.moveaxis(data[name].values, 0, -1), float) for name in names]
    return values[0] if len(names) == 1 else values


def assert_close_to_maximum(actual, expected, tolerance=1e-10):
    """Compare with a tolerance relative to the largest number of the field."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_bitwise_equal(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def single_precision(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def assert_single_precision(tree):
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}


def _random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=np.shape(x))), tree)


def _weights(outputs, seed):
    """Random numbers that give every field of the result a share of order 1."""
    random = _random_like(outputs, seed)
    return jax.tree.map(lambda r, x: r / (1e-30 + jnp.abs(x).max()), random, outputs)


def _inner(first, second):
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), first, second)
    return sum(jax.tree.leaves(products))


def assert_smooth(function, arguments, seed=0, step=1e-5, tolerance=1e-6):
    """Compare derivatives with central differences, along a random relative perturbation."""
    direction = jax.tree.map(lambda x, r: x * r, arguments, _random_like(arguments, seed))
    outputs, derivative = jax.jit(lambda a, d: jax.jvp(function, (a,), (d,)))(arguments, direction)
    weights = _weights(outputs, seed + 1)

    @jax.jit
    def moved(h):
        return function(jax.tree.map(lambda x, d: x + h * d, arguments, direction))

    def central(h):
        return jax.tree.map(lambda a, b: (a - b) / (2 * h), moved(h), moved(-h))

    # Richardson extrapolation leaves an error of order step ** 4.
    difference = jax.tree.map(lambda a, b: (4 * a - b) / 3, central(step / 2), central(step))
    for w, expected, got in zip(
        *map(jax.tree.leaves, (weights, difference, derivative)), strict=True
    ):
        expected, got = w * expected, w * got
        np.testing.assert_allclose(
            jnp.sum(got), jnp.sum(expected), rtol=0, atol=tolerance * jnp.sum(jnp.abs(expected))
        )


def assert_adjoint(function, arguments, seed=0):
    """Check <J v, w> = <v, J' w>, and that both modes are finite."""
    direction = jax.tree.map(lambda x, r: x * r, arguments, _random_like(arguments, seed))
    outputs, forward = jax.jit(lambda a, d: jax.jvp(function, (a,), (d,)))(arguments, direction)
    weights = _weights(outputs, seed + 1)
    backward = jax.jit(lambda a, w: jax.vjp(function, a)[1](w)[0])(arguments, weights)
    for leaf in jax.tree.leaves((outputs, forward, backward)):
        assert np.all(np.isfinite(leaf))
    size = _inner(jax.tree.map(jnp.abs, forward), jax.tree.map(jnp.abs, weights))
    np.testing.assert_allclose(
        _inner(forward, weights), _inner(direction, backward), rtol=0, atol=1e-11 * size
    )
