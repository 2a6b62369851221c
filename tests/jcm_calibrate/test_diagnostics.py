"""What tells whether chains have mixed, against ArviZ 0.23.4 and independent draws."""

import numpy as np

from jcm_calibrate.uncertainty import diagnostics

DRAWS = np.random.default_rng(0).normal(size=(4, 100, 3))


def test_rhat_and_sample_sizes_are_those_of_arviz_0_23():
    """Expected: `arviz.rhat`, `arviz.ess` and `method="tail"` of the same draws."""
    found = [f(DRAWS) for f in (diagnostics.rhat, diagnostics.ess_bulk, diagnostics.ess_tail)]
    np.testing.assert_allclose(found, [
        [1.0206491, 0.99685279, 1.0133209], [390.43424672, 430.56422938, 334.17905109],
        [303.91739754, 372.35350667, 339.86012767]], rtol=1e-7)


def test_chains_in_different_places_have_a_large_rhat():
    apart = DRAWS + 3 * np.arange(4)[:, None, None]
    assert np.all(diagnostics.rhat(apart) > 1.5)


def test_shortest_interval_leaves_out_the_long_tail():
    """Nine tenths of a Gamma(1) that starts at 0 lie below ln 10."""
    draws = np.random.default_rng(1).exponential(size=(4, 50_000))
    np.testing.assert_allclose(
        diagnostics.shortest_interval(draws, 0.9), [0, np.log(10)], atol=0.03)  # 200 000 draws
