"""Losses against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jcm.constants import EARTH
from jcm.grid import make_grid
from jcm.transform import Transform
from jcm.vertical import speedy_levels
from jcm_calibrate import losses

GRID = make_grid("T21")
X = jnp.array([1.0, 2.0, 4.0, 8.0])
Y = jnp.array([1.5, 1.0, 4.0, 5.0])


@pytest.fixture(scope="module")
def transform():
    return Transform(GRID, EARTH.radius)


def harmonic(order: int, amplitude: float = 1.0, turned: float = 0.0):
    """cos(m lon) cos^m(lat), which is of total wavenumber l = m only."""
    angle = np.deg2rad(GRID.longitude)[:, None] * order + turned
    return jnp.asarray(amplitude * np.cos(angle) * GRID.cos_latitude**order)


def test_area_weights_sum_to_1_and_a_band_has_its_area():
    weights = losses.area_weights(GRID)
    assert weights.shape == GRID.shape
    np.testing.assert_allclose(weights.sum(), 1)
    # The mean of sin^2(latitude) over the globe is 1 / 3.
    np.testing.assert_allclose((weights * GRID.sin_latitude**2).sum(), 1 / 3)


def test_mass_weights_are_area_times_thickness():
    levels = speedy_levels(8)
    weights = losses.mass_weights(GRID, levels)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), [
        0.05, 0.09, 0.12, 0.16, 0.18, 0.17, 0.13, 0.10])


def test_gaussian_log_likelihood_of_independent_errors():
    expected = stats.norm.logpdf(Y, X, [1.0, 2.0, 0.5, 3.0]).sum()
    error = jnp.array([1.0, 2.0, 0.5, 3.0])
    np.testing.assert_allclose(losses.gaussian_log_likelihood(X, Y, error), expected)
    np.testing.assert_allclose(losses.negative_log_likelihood(X, Y, error), -expected)


def test_gaussian_log_likelihood_of_correlated_errors():
    covariance = 0.5 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    expected = stats.multivariate_normal.logpdf(Y, X, covariance)
    found = losses.gaussian_log_likelihood(X, Y, jnp.asarray(covariance), covariance=True)
    np.testing.assert_allclose(found, expected)


def test_mean_squared_error_by_hand():
    np.testing.assert_allclose(losses.mean_squared_error(X, Y), (0.25 + 1 + 0 + 9) / 4)


def test_weights_need_no_normalisation():
    weights = jnp.array([2.0, 0.0, 0.0, 6.0])
    np.testing.assert_allclose(
        losses.mean_squared_error(X, Y, weights), (2 * 0.25 + 6 * 9) / 8)


def test_a_masked_value_may_be_missing_in_value_and_gradient():
    observed, weights = Y.at[1].set(jnp.nan), jnp.array([1.0, 0.0, 1.0, 1.0])
    for loss in (losses.mean_squared_error, losses.huber, losses.bias, losses.correlation):
        value, slope = jax.value_and_grad(loss)(X, observed, weights)
        assert jnp.isfinite(value), loss.__name__
        assert jnp.isfinite(slope).all() and slope[1] == 0, loss.__name__


def test_huber_is_a_parabola_inside_and_a_line_outside():
    found = losses.huber(jnp.array([0.5, 3.0]), jnp.zeros(2), delta=2.0)
    np.testing.assert_allclose(found, (0.5**2 / 2 + 2 * (3 - 1)) / 2)


def test_the_slope_of_huber_is_delta_at_an_outlier():
    np.testing.assert_allclose(jax.grad(losses.huber)(jnp.array([50.0]), 0.0, delta=2.0), 2.0)


def test_bias_has_the_sign_of_predicted_minus_observed():
    np.testing.assert_allclose(losses.bias(X, Y), (-0.5 + 1 + 0 + 3) / 4)
    np.testing.assert_allclose(losses.squared_bias(X, Y), 0.875**2)


def test_correlation_is_that_of_pearson():
    np.testing.assert_allclose(losses.correlation(X, Y), stats.pearsonr(X, Y).statistic)


def test_weighted_correlation_counts_a_value_with_weight_2_twice():
    twice = [0, 1, 1, 2, 3]
    index = jnp.array(twice)
    np.testing.assert_allclose(
        losses.correlation(X, Y, jnp.array([1.0, 2.0, 1.0, 1.0])),
        stats.pearsonr(X[index], Y[index]).statistic)


def test_uncentred_correlation_is_the_cosine_of_the_angle():
    expected = (X @ Y) / (jnp.linalg.norm(X) * jnp.linalg.norm(Y))
    np.testing.assert_allclose(losses.correlation(X, Y, centred=False), expected)


def test_pattern_error_ignores_mean_and_amplitude():
    np.testing.assert_allclose(losses.pattern_error(3 * X + 7, X), 0, atol=1e-14)
    np.testing.assert_allclose(losses.pattern_error(-X, X), 2)


def test_power_of_a_single_harmonic_is_its_mean_square_at_its_wavenumber(transform):
    # The mean of cos^2(lon) cos^2(lat) over the globe is 1/2 * 2/3.
    power = losses.power_spectrum(harmonic(1, 3.0), transform)
    np.testing.assert_allclose(power, np.eye(22)[1] * 9 / 3, atol=1e-13)


def test_power_of_a_zonal_harmonic(transform):
    field = jnp.broadcast_to(jnp.asarray(GRID.sin_latitude), GRID.shape)
    np.testing.assert_allclose(
        losses.power_spectrum(field, transform), np.eye(22)[1] / 3, atol=1e-13)


def test_the_sum_of_the_spectrum_is_the_mean_square_of_the_field(transform):
    field = jnp.stack([1 + harmonic(2) + harmonic(5), harmonic(7)])
    expected = (losses.area_weights(GRID) * field**2).sum(axis=(1, 2))
    np.testing.assert_allclose(losses.power_spectrum(field, transform).sum(axis=-1), expected)


def test_spectral_error_of_a_harmonic_with_twice_the_amplitude(transform):
    rest = harmonic(3)
    found = losses.spectral_error(
        rest + harmonic(1, 2.0), rest + harmonic(1), transform, floor=1e-14)
    # 1 of 21 wavenumbers has 4 times the power.
    np.testing.assert_allclose(found, np.log(4) ** 2 / 21, rtol=1e-9)


def test_spectral_error_ignores_the_phase(transform):
    found = losses.spectral_error(harmonic(4, turned=0.7), harmonic(4), transform)
    np.testing.assert_allclose(found, 0, atol=1e-16)


def test_fair_crps_of_two_members_by_hand():
    # E|X - y| = (1 + 3) / 2, all different pairs are 2 apart.
    ensemble = jnp.array([[1.0], [3.0]])
    np.testing.assert_allclose(losses.crps(ensemble, jnp.zeros(1)), 2 - 2 / 2)
    np.testing.assert_allclose(losses.crps(ensemble, jnp.zeros(1), fair=False), 2 - 1 / 2)


def test_crps_equals_the_sum_over_all_pairs():
    ensemble = jax.random.normal(jax.random.key(0), (7, 5))
    pairs = jnp.abs(ensemble[:, None] - ensemble).sum(axis=(0, 1))
    expected = (jnp.abs(ensemble - 0.3).mean(axis=0) - pairs / (2 * 7 * 6)).mean()
    np.testing.assert_allclose(losses.crps(ensemble, 0.3), expected)


def test_crps_of_one_member_is_the_absolute_error():
    np.testing.assert_allclose(losses.crps(X[None], Y, fair=False), jnp.abs(X - Y).mean())


def test_crps_of_a_standard_gaussian_at_its_mean():
    # Gneiting et al. (2005): (sqrt(2) - 1) / sqrt(pi).
    np.testing.assert_allclose(
        losses.crps_gaussian(0.0, 1.0, 0.0), (np.sqrt(2) - 1) / np.sqrt(np.pi))


def test_crps_of_an_ensemble_of_quantiles_is_that_of_the_gaussian():
    quantiles = stats.norm.ppf((np.arange(4000) + 0.5) / 4000, 1.0, 2.0)
    found = losses.crps(jnp.asarray(quantiles)[:, None], jnp.array([0.2]), fair=False)
    np.testing.assert_allclose(found, losses.crps_gaussian(1.0, 2.0, 0.2), rtol=1e-3)


def test_the_fair_crps_of_few_members_has_the_expectation_of_many():
    ensembles = jax.random.normal(jax.random.key(1), (3, 200_000))
    expected = float(losses.crps_gaussian(0.0, 1.0, 0.5))
    # Standard error about 0.001.
    np.testing.assert_allclose(losses.crps(ensembles, 0.5), expected, atol=0.004)
    assert losses.crps(ensembles, 0.5, fair=False) > expected + 0.1


def test_a_gaussian_without_spread_scores_the_absolute_error():
    np.testing.assert_allclose(losses.crps_gaussian(X, jnp.zeros(4), Y), jnp.abs(X - Y).mean())


def test_energy_score_of_a_single_value_is_the_crps():
    ensemble = jax.random.normal(jax.random.key(2), (9, 1))
    for fair in (True, False):
        np.testing.assert_allclose(
            losses.energy_score(ensemble, jnp.array([0.4]), fair=fair),
            losses.crps(ensemble, jnp.array([0.4]), fair=fair))


def test_energy_score_of_two_points_by_hand():
    ensemble = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(losses.energy_score(ensemble, jnp.zeros(2)), 2.5 - 5 / 2)
    np.testing.assert_allclose(losses.energy_score(ensemble, jnp.zeros(2), fair=False), 2.5 - 5 / 4)


def test_energy_score_of_a_gaussian_in_three_dimensions():
    # ||X|| has mean sqrt(8 / pi), ||X - X'|| sqrt(2) times that.
    ensemble = jax.random.normal(jax.random.key(3), (3000, 3))
    expected = np.sqrt(8 / np.pi) * (1 - 1 / np.sqrt(2))
    np.testing.assert_allclose(losses.energy_score(ensemble, jnp.zeros(3)), expected, rtol=0.03)


def test_weights_of_the_energy_score_are_those_of_the_squares():
    found = losses.energy_score(
        jnp.array([[1.0, 1.0]]), jnp.zeros(2), jnp.array([9.0, 16.0]), fair=False)
    np.testing.assert_allclose(found, 5)


def test_performance_index_leaves_out_cells_without_variance():
    variance = jnp.array([0.25, jnp.nan, 0.0, 9.0])
    found = losses.performance_index(X, Y, variance, jnp.array([1.0, 1.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, (0.25 / 0.25 + 3 * 9 / 9) / 4)


def test_negative_log_prior_is_that_of_standard_normals():
    z = jnp.array([0.5, -2.0, 1.0])
    np.testing.assert_allclose(losses.negative_log_prior(z), -stats.norm.logpdf(z).sum())


def test_a_combination_is_the_weighted_sum_of_its_terms():
    loss = losses.combined({"mse": (losses.mean_squared_error, 2.0), "bias": (losses.bias, 0.5)})
    np.testing.assert_allclose(loss(X, Y), 2 * 2.5625 + 0.5 * 0.875)
    assert set(loss.terms(X, Y)) == {"mse", "bias"}


def test_other_weights_need_no_other_compilation():
    count = 0

    def counting(x, y):
        nonlocal count
        count += 1
        return losses.mean_squared_error(x, y)

    run = jax.jit(lambda weights, x: losses.Combined(weights, ("a",), (counting,))(x, Y))
    assert run(jnp.array([1.0]), X) * 3 == pytest.approx(run(jnp.array([3.0]), X))
    assert count == 1


def test_the_minimum_of_loss_and_prior_is_the_posterior_mean():
    # One observation 3 with error 1 of z with prior N(0, 1): posterior mean 1.5.
    def loss(predicted, observed):
        return losses.negative_log_likelihood(predicted, observed, 1.0)

    objective = losses.Objective(lambda z: z, jnp.array([3.0]), loss)
    np.testing.assert_allclose(jax.grad(objective)(jnp.array([1.5])), 0, atol=1e-14)


def perfect(name, transform):
    """Loss of a prediction that is perfect or has no variance, as a function of the prediction."""
    constant = jnp.ones(GRID.shape)
    return {
        "mse": (losses.mean_squared_error, X, X), "huber": (losses.huber, X, X),
        "bias": (losses.squared_bias, X, X),
        "correlation": (losses.pattern_error, X, X),
        "correlation, no variance": (losses.pattern_error, jnp.ones(4), X),
        "correlation, neither": (losses.pattern_error, jnp.ones(4), jnp.ones(4)),
        "spectral": (lambda p, o: losses.spectral_error(p, o, transform),
                     harmonic(2), harmonic(2)),
        "spectral, no variance": (lambda p, o: losses.spectral_error(p, o, transform),
                                  constant, harmonic(2)),
        "spectral, neither": (lambda p, o: losses.spectral_error(p, o, transform),
                              constant, constant),
        "crps": (losses.crps, jnp.stack([X, X, X]), X),
        "energy": (losses.energy_score, jnp.stack([X, X, X]), X),
        "index": (losses.performance_index, X, X),
        "gaussian": (lambda p, o: losses.negative_log_likelihood(p, o, 1.0), X, X),
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", [
    "mse", "huber", "bias", "correlation", "correlation, no variance", "correlation, neither",
    "spectral", "spectral, no variance", "spectral, neither", "crps", "energy", "gaussian"])
def test_gradients_are_finite_at_a_perfect_fit_and_without_variance(name, transform):
    loss, predicted, observed = perfect(name, transform)
    value, slope = jax.value_and_grad(loss)(predicted, observed)
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


def test_gradients_of_the_index_are_finite_without_variance():
    slope = jax.grad(losses.performance_index)(X, X, jnp.array([1.0, 0.0, jnp.nan, 1.0]))
    np.testing.assert_array_equal(slope, 0)


def test_the_gaussian_score_has_finite_slopes_without_spread():
    slopes = jax.grad(losses.crps_gaussian, argnums=(0, 1))(X, jnp.zeros(4), X)
    assert all(jnp.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("loss", [losses.crps, losses.energy_score])
def test_a_fair_score_of_one_member_says_what_to_do(loss):
    with pytest.raises(ValueError, match=r"at least 2 members.*fair=False"):
        loss(X[None], Y)


def test_a_negative_weight_of_a_loss_is_refused():
    with pytest.raises(ValueError, match="'mse' is -1"):
        losses.combined({"mse": (losses.mean_squared_error, -1.0)})
    with pytest.raises(ValueError, match="no losses"):
        losses.combined({})
