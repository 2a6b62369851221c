import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.vertical import combine_levels

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(5, 8))


@pytest.mark.parametrize("grid", [(), (7,), (4, 6)])
def test_every_column_is_multiplied_by_the_matrix(grid):
    x = RNG.normal(size=(8, *grid))
    result = np.asarray(combine_levels(MATRIX, jnp.asarray(x)))
    assert result.shape == (5, *grid)
    for point in np.ndindex(*grid):
        np.testing.assert_allclose(result[:, *point], MATRIX @ x[:, *point], rtol=1e-13)


def test_the_reverse_of_a_product_is_the_product_with_the_transpose():
    x, y = RNG.normal(size=(8, 3)), RNG.normal(size=(5, 3))
    _, reverse = jax.vjp(lambda x: combine_levels(MATRIX, x), jnp.asarray(x))
    np.testing.assert_allclose(reverse(jnp.asarray(y))[0], MATRIX.T @ y, rtol=1e-13)


def test_a_float64_matrix_leaves_float32_fields_in_float32():
    assert combine_levels(MATRIX, jnp.ones((8, 3), jnp.float32)).dtype == jnp.float32
