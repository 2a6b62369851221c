"""Weights of a chosen layer."""

import itertools

import jax.numpy as jnp
import numpy as np

from jcm.physics.layers import first_passing, top_layer, topmost


def test_the_first_passing_test_is_chosen():
    passing = jnp.array([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    expected = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(first_passing(passing), expected)


def test_uncertain_tests_share_the_weight():
    np.testing.assert_allclose(first_passing(jnp.array([0.25, 0.5])), [0.25, 0.375, 0.375])


def test_topmost_is_the_distribution_of_the_minimum():
    first, second = jnp.array([0.1, 0.2, 0.3, 0.4]), jnp.array([0.5, 0.0, 0.25, 0.25])
    expected = np.zeros(4)
    for i, j in itertools.product(range(4), repeat=2):
        expected[min(i, j)] += first[i] * second[j]
    np.testing.assert_allclose(topmost(first, second), expected)


def test_layers_count_from_1_at_the_top():
    np.testing.assert_array_equal(top_layer(jnp.eye(4)), [1, 2, 3, 4])
