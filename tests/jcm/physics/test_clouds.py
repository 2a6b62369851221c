"""Cloud diagnosis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from columns import (
    CLOUD_COVER,
    CLOUD_TOP,
    CONVECTIVE_PRECIPITATION,
    HUMIDITY,
    LAND_FRACTION,
    LARGE_SCALE_PRECIPITATION,
    LEVELS,
    PRECIPITATION_TOP,
    SATURATION_HUMIDITY,
    STATIC_STABILITY,
    STRATIFORM_COVER,
    assert_finite,
    assert_reproduces,
    one_hot,
    perturbed_columns,
    reference,
    suggested,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scheme_checks import (
    assert_adjoint,
    assert_bitwise_equal,
    assert_single_precision,
    assert_smooth,
    single_precision,
)

from jcm.constants import EARTH
from jcm.physics.clouds import CloudParameters, clouds
from jcm.physics.layers import top_layer
from jcm.physics.smooth import CloudWidths

EXACT = without(CloudWidths())
SMOOTH = suggested(CloudWidths())
HAND = (
    HUMIDITY,
    HUMIDITY / SATURATION_HUMIDITY,
    CONVECTIVE_PRECIPITATION + LARGE_SCALE_PRECIPITATION,
    one_hot(PRECIPITATION_TOP),
    STATIC_STABILITY,
    LAND_FRACTION,
)


def run(arrays, parameters=None, widths=EXACT):
    parameters = CloudParameters() if parameters is None else parameters
    return clouds(*arrays, levels=LEVELS, parameters=parameters, constants=EARTH, widths=widths)


compiled = jax.jit(run)


@pytest.fixture(scope="module")
def public_code():
    return run(
        (
            reference("q"),
            reference("rh"),
            reference("precnv") + reference("precls"),
            one_hot(reference("lsc_itop").astype(int)),
            reference("gse"),
            reference("fmask"),
        )
    )


def column(relative_humidity, humidity=0.005, precipitation=0.0, top=9, stability=0.0, land=0.0):
    """A column with relative humidities given by layer number, 0.1 elsewhere."""
    profile = jnp.full(8, 0.1)
    for layer, value in relative_humidity.items():
        profile = profile.at[layer - 1].set(value)
    return (
        jnp.full(8, humidity), profile, jnp.array(precipitation), one_hot(jnp.array(top)),
        jnp.array(stability), jnp.array(land),
    )  # fmt: skip


def test_cover_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).cover, CLOUD_COVER, rtol=1e-9)


def test_stratiform_cover_of_columns_by_hand():
    np.testing.assert_allclose(run(HAND).stratiform_cover, STRATIFORM_COVER, rtol=1e-9)


def test_top_layers_of_columns_by_hand():
    np.testing.assert_array_equal(top_layer(run(HAND).top_weight), CLOUD_TOP)


def test_cover_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.cover, "cloudc")


def test_stratiform_cover_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.stratiform_cover, "clstr")


def test_top_layers_reproduce_the_public_code(public_code):
    assert_reproduces(top_layer(public_code.top_weight), "icltop")


def test_base_humidity_reproduces_the_public_code(public_code):
    assert_reproduces(public_code.base_humidity, "qcloud")


def test_cover_is_the_square_of_the_scaled_humidity_excess():
    np.testing.assert_allclose(run(column({5: 0.65})).cover, 0.25)


def test_cover_grows_with_the_root_of_precipitation_in_mm_per_day():
    np.testing.assert_allclose(run(column({}, precipitation=4 / 86400)).cover, 0.4)


def test_cover_by_precipitation_has_a_limit():
    np.testing.assert_allclose(run(column({}, precipitation=99 / 86400)).cover, 0.2 * 10**0.5)


def test_dry_air_without_precipitation_is_clear():
    result = run(column({}))
    assert result.cover == 0
    assert top_layer(result.top_weight) == 9


def test_of_equally_humid_layers_the_lowest_candidate_is_the_top():
    assert top_layer(run(column({4: 0.6, 5: 0.6, 7: 0.6})).top_weight) == 7
    assert top_layer(run(column({4: 0.6, 5: 0.6})).top_weight) == 4


def test_only_the_layer_above_the_lowest_forms_cloud_of_little_vapour():
    for layer, top in ((3, 9), (6, 9), (7, 7)):
        assert top_layer(run(column({layer: 0.9}, humidity=2e-4)).top_weight) == top


def test_layers_1_and_2_and_the_lowest_never_form_cloud():
    for layer in (1, 2, 8):
        assert top_layer(run(column({layer: 0.9})).top_weight) == 9


def test_the_top_is_the_higher_of_cloud_and_precipitation():
    assert top_layer(run(column({5: 0.6}, top=3)).top_weight) == 3
    assert top_layer(run(column({5: 0.6}, top=8)).top_weight) == 5


def test_stratiform_cover_over_sea_grows_with_stability():
    covers = [run(column({}, stability=g)).stratiform_cover for g in (0.2, 0.325, 0.5)]
    np.testing.assert_allclose(covers, [0, 0.3, 0.6])


def test_stratiform_cover_gives_way_to_other_cloud():
    np.testing.assert_allclose(run(column({5: 0.65}, stability=1.0)).stratiform_cover, 0.3)


def test_stratiform_cover_over_land_has_a_minimum_in_proportion_to_relative_humidity():
    np.testing.assert_allclose(run(column({8: 0.8}, land=1.0)).stratiform_cover, 0.12)


@settings(deadline=None)
@given(perturbed_columns(), st.floats(0, 1e-3, allow_subnormal=False), st.integers(2, 9))
@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_top_weights_sum_to_1_and_never_lie_below_precipitation(widths, arrays, rain, top):
    _, _, humidity, saturation = arrays
    weights = compiled(
        (
            humidity, humidity / saturation, jnp.array(rain), one_hot(jnp.array(top)),
            jnp.array(0.3), jnp.array(0.5),
        ),
        widths=widths,
    ).top_weight  # fmt: skip
    np.testing.assert_allclose(jnp.sum(weights), 1, rtol=1e-14)
    assert jnp.all(weights >= 0)
    assert jnp.all(weights[top:] == 0)


@settings(deadline=None)
@given(perturbed_columns(), st.floats(0, 1e-3, allow_subnormal=False))
def test_cover_lies_between_0_and_1(arrays, rain):
    _, _, humidity, saturation = arrays
    result = compiled(
        (
            humidity, humidity / saturation, jnp.array(rain), one_hot(jnp.array(9)),
            jnp.array(0.3), jnp.array(0.0),
        )
    )  # fmt: skip
    assert 0 <= result.cover <= 1
    assert 0 <= result.stratiform_cover <= 0.6


def test_dry_layers_do_not_become_the_smooth_top():
    narrow = jax.tree.map(lambda width: 0.1 * width, SMOOTH)
    humidity = jnp.full(8, 1e-5).at[6].set(5e-3)
    arrays = (humidity, *column({3: 1.0, 7: 0.5})[1:])
    np.testing.assert_allclose(run(arrays, widths=narrow).top_weight[6], 1, atol=1e-6)


@pytest.mark.parametrize("widths", [CloudWidths(), SMOOTH], ids=["zero", "smooth"])
def test_derivatives_are_finite_without_vapour_and_precipitation(widths):
    arrays = column({}, humidity=0.0)
    dry = (arrays[0], 0 * arrays[1], *arrays[2:])
    assert_finite(lambda a: run(*a), (dry, CloudParameters(), widths))


def test_the_derivative_to_precipitation_is_zero_without_precipitation():
    def cover(rain):
        humidity, relative, _, *others = column({5: 0.6})
        return run((humidity, relative, rain, *others)).cover

    assert jax.grad(cover)(0.0) == 0


def test_smooth_form_has_the_derivative_of_central_differences():
    assert_smooth(lambda a: run(*a), (HAND, CloudParameters(), SMOOTH))


@pytest.mark.parametrize("widths", [EXACT, SMOOTH], ids=["exact", "smooth"])
def test_forward_and_reverse_derivatives_agree(widths):
    assert_adjoint(lambda a: run(*a, widths=widths), (HAND, CloudParameters()))


def test_narrow_smooth_form_tends_to_the_exact_one():
    narrow = jax.tree.map(lambda width: 1e-4 * width, SMOOTH)
    result, exact = run(HAND, widths=narrow), run(HAND)
    # The smooth root of precipitation differs by the root of its width.
    np.testing.assert_allclose(result.cover, exact.cover, atol=3e-4)
    np.testing.assert_allclose(result.top_weight, exact.top_weight, atol=1e-6)


def test_width_zero_is_exact():
    assert_bitwise_equal(run(HAND, widths=CloudWidths()), run(HAND))


@pytest.mark.parametrize("widths", [EXACT, single_precision(SMOOTH)], ids=["exact", "smooth"])
def test_float32_stays_float32(widths):
    parameters = single_precision(CloudParameters())
    assert_single_precision(run(single_precision(HAND), parameters, widths))
