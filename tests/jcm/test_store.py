"""Stored values are the same values, in every transformation; only the program differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.store import store, store_in_reverse

X = jnp.array([0.3, 1.1, 2.0])


def plain(x):
    return jnp.sum(jnp.sin(x * x) * x[0])


def storing(how):
    def function(x):
        square, first = how((x * x, x[0]))
        return jnp.sum(jnp.sin(square) * first)

    return function


TRANSFORMATIONS = {
    "value": lambda f: f(X),
    "compiled": lambda f: jax.jit(f)(X),
    "gradient": lambda f: jax.grad(f)(X),
    "compiled gradient": lambda f: jax.jit(jax.grad(f))(X),
    "tangent": lambda f: jax.jvp(f, (X,), (jnp.ones_like(X),)),
    "tangent of gradient": lambda f: jax.jvp(jax.grad(f), (X,), (jnp.ones_like(X),)),
    "gradient of gradient": lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2))(X),
    "ensemble": lambda f: jax.vmap(f)(jnp.stack([X, 2 * X])),
    "ensemble of gradients": lambda f: jax.jit(jax.vmap(jax.grad(f)))(jnp.stack([X, 2 * X])),
    "recomputed": lambda f: jax.grad(jax.checkpoint(f))(X),
}


@pytest.mark.parametrize("how", [store, store_in_reverse])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_values_and_derivatives_are_those_without_storing(how, transformation):
    got, expected = (TRANSFORMATIONS[transformation](f) for f in (storing(how), plain))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("value", [jnp.inf, -jnp.inf, jnp.nan])
def test_values_that_are_not_finite_pass_unchanged(value):
    x = jnp.array([value, 1.0, -2.0])
    np.testing.assert_array_equal(jax.jit(store)(x), x)
    _, pull = jax.vjp(store_in_reverse, X)
    np.testing.assert_array_equal(jax.jit(pull)(x)[0], x)


@pytest.mark.parametrize(("how", "expected"), [(store, (1, 1)), (store_in_reverse, (0, 1))])
def test_loops_are_in_the_program_where_values_are_stored(how, expected):
    def loops(function):
        text = jax.jit(function).trace(X).lower(lowering_platforms=("cpu",)).as_text()
        return text.count("stablehlo.while")

    assert (loops(lambda x: how(x * x)), loops(lambda ct: jax.vjp(how, X)[1](ct))) == expected


def test_other_platforms_get_no_loop():
    def both(x):
        return jax.value_and_grad(storing(store))(x)

    text = jax.jit(both).trace(X).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in text


def test_integers_beside_a_differentiated_array_are_no_obstacle():
    def function(x):
        a, _ = store_in_reverse((x, jnp.arange(3)))
        return jnp.sum(a**2)

    np.testing.assert_allclose(jax.grad(function)(X), 2 * X)
