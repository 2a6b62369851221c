"""The observation vector: its parts, its likelihood, its batches and what it says of itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jcm_calibrate.observations import errors
from jcm_calibrate.observations.operators import make_operator
from jcm_calibrate.observations.periods import make_periods
from jcm_calibrate.observations.vector import Facts, Observations, observation, synthetic

RAIN, HEAT = "precipitation_flux", "toa_outgoing_longwave_flux"
BANDS = [(-90, -30), (-30, 30), (30, 90)]
SPECIFICATION = {
    "rain": dict(variable=RAIN, operator="zonal_mean", bands=BANDS, error=0.5, periods="each"),
    "heat": dict(variable=HEAT, error=2.0, periods="each"),
}


@pytest.fixture(scope="module")
def fields(small_model):
    random, shape = np.random.default_rng(0), (4, *small_model.grid.shape)
    return {RAIN: jnp.asarray(random.normal(size=shape)),
            HEAT: jnp.asarray(240 + random.normal(size=shape))}  # fmt: skip


@pytest.fixture(scope="module")
def observed(small_model, fields):
    return synthetic(small_model, fields, SPECIFICATION)


def test_the_vector_holds_the_blocks_in_order(observed):
    assert observed.size == 4 * 3 + 4
    assert observed.labels[0].startswith("rain, 90S-30S, output 1")
    assert observed.labels[-1] == "heat, globe, output 4"
    assert observed.variables == (RAIN, HEAT)


def test_the_likelihood_is_that_of_scipy(observed, fields):
    moved = {name: x + 0.3 for name, x in fields.items()}
    difference = observed.predict(moved) - observed.values
    found = -0.5 * jnp.sum(observed.whiten(difference) ** 2) - observed.log_normalisation
    expected = multivariate_normal.logpdf(np.full(16, 0.3), cov=np.diag([0.25] * 12 + [4.0] * 4))
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_noise_of_a_twin_has_the_standard_deviation_that_was_asked(small_model, fields):
    many = {RAIN: jnp.tile(fields[RAIN], (250, 1, 1))}
    specification = {"rain": SPECIFICATION["rain"]}
    noisy = synthetic(small_model, many, specification, key=jax.random.key(3))
    noise = np.asarray(noisy.values - noisy.predict(many))
    # 3000 numbers: the standard deviation is known to 1.3 %.
    assert noise.std() == pytest.approx(0.5, rel=0.05)


def test_the_same_key_gives_the_same_noise(small_model, fields):
    first, second = (synthetic(small_model, fields, SPECIFICATION, key=jax.random.key(3)).values
                     for _ in range(2))  # fmt: skip
    np.testing.assert_array_equal(first, second)


def test_a_batch_is_the_vector_of_its_outputs(observed, fields):
    part = observed.take(np.array([2, 0]))
    chosen = {name: x[np.array([2, 0])] for name, x in fields.items()}
    np.testing.assert_allclose(part.values, part.predict(chosen), rtol=1e-12)


def test_all_batches_share_one_program(observed):
    traced = []

    @eqx.filter_jit
    def total(observations, outputs):
        traced.append(1)
        return observations.take(outputs).values.sum()

    first, second = (total(observed, jnp.array(x)) for x in ([0, 1], [2, 3]))
    assert len(traced) == 1
    assert float(first + second) == pytest.approx(float(observed.values.sum()))


def test_new_values_need_no_new_program(observed, fields):
    traced = []

    @eqx.filter_jit
    def residuals(observations, fields):
        traced.append(1)
        return observations.whiten(observations.predict(fields) - observations.values)

    residuals(observed, fields)
    moved = residuals(observed.with_values(observed.values - 1.0), fields)
    assert len(traced) == 1
    np.testing.assert_allclose(moved, [2.0] * 12 + [0.5] * 4, atol=1e-9)


def test_selected_blocks_keep_their_errors(observed):
    model = errors.low_rank(np.arange(1.0, 17), np.ones((16, 1)))
    part = observed.with_errors(model).select(["heat"])
    np.testing.assert_allclose(part.standard_deviation, np.sqrt(np.arange(13.0, 17) ** 2 + 1))


def test_missing_values_are_left_out(small_model, fields):
    operator = make_operator(small_model, RAIN, "zonal_mean", bands=BANDS)
    values = np.array(operator(fields, make_periods("each")))
    values[1, 2] = values[3, 0] = np.nan
    block = observation("rain", operator, values, 1.0, periods=make_periods("each"))
    np.testing.assert_allclose(block.predict(fields), values[np.isfinite(values)], rtol=1e-12)
    assert block.labels[5] == "rain, 90S-30S, output 3"


def test_months_compare_the_days_of_each_month(small_model):
    count = 59
    days = jnp.asarray(np.arange(count, dtype=float))[:, None, None] * jnp.ones(
        small_model.grid.shape)
    found = synthetic(
        small_model, {RAIN: days},
        {"rain": dict(variable=RAIN, error=1.0, periods="months", chosen=[1, 2])},
        start="2001-01-01")
    np.testing.assert_allclose(found.values, [15.0, 31 + 13.5])


def test_description_names_everything_that_makes_the_vector(small_model):
    operator = make_operator(small_model, HEAT, "regional_mean", regions="tropics")
    facts = Facts("CERES EBAF", "2000-2024", "free", "W/m2, positive down", "spread of years")
    block = observation("heat", operator, [[250.0]], 3.0, facts=facts)
    text = Observations([block]).describe()
    for part in ("heat", "tropics (20S-20N)", "mean over the run", "1, from 250", "W m-2",
                 "positive up", "W/m2, positive down", "3 (spread of years)", "CERES EBAF",
                 "2000-2024", "free"):
        assert part in text


def test_gradient_of_the_misfit_reaches_the_fields(observed, fields):
    def misfit(fields):
        return 0.5 * jnp.sum(observed.whiten(observed.predict(fields) - observed.values) ** 2)

    moved = {name: x + 0.1 for name, x in fields.items()}
    slope = jax.grad(misfit)(moved)
    # Raising the whole field by e raises every datum by e: d/de = sum of residual / variance.
    assert float(slope[RAIN].sum()) == pytest.approx(12 * 0.1 / 0.25, rel=1e-9)
    assert float(slope[HEAT].sum()) == pytest.approx(4 * 0.1 / 4.0, rel=1e-9)


def test_a_run_of_another_length_is_refused(observed, fields):
    with pytest.raises(ValueError, match="another number of outputs"):
        observed.predict({name: x[:3] for name, x in fields.items()})


def test_a_run_without_the_variable_is_refused(observed, fields):
    with pytest.raises(ValueError, match="let it observe 'toa_outgoing_longwave_flux'"):
        observed.predict({RAIN: fields[RAIN]})


def test_a_block_without_data_is_refused(small_model):
    operator = make_operator(small_model, RAIN)
    with pytest.raises(ValueError, match="all 1 are missing or masked"):
        observation("rain", operator, [[np.nan]], 1.0)


def test_an_error_of_zero_is_refused(small_model):
    with pytest.raises(ValueError, match=r"covariance is singular.*rain, globe"):
        observation("rain", make_operator(small_model, RAIN), [[1.0]], 0.0)


def test_batches_of_means_are_refused(small_model, fields):
    found = synthetic(small_model, fields, {"rain": dict(variable=RAIN, error=1.0)})
    with pytest.raises(ValueError, match="periods='each'"):
        found.take([0])


def test_an_unknown_block_is_refused_with_a_suggestion(observed):
    with pytest.raises(ValueError, match="did you mean rain"):
        observed.select(["rian"])


def test_two_blocks_with_one_name_are_refused(observed):
    with pytest.raises(ValueError, match="two blocks are called 'rain'"):
        Observations([observed.blocks[0], observed.blocks[0]])


def test_an_error_model_of_other_data_is_refused(observed):
    with pytest.raises(ValueError, match="has 3 data, the observations have 16"):
        observed.with_errors(errors.diagonal(np.ones(3)))
