"""Fields as parameters: patterns with coefficients around a reference field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm_calibrate.parameters.fields import LatitudeField, RegionalField
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_sensitivity import REGIONS

ALBEDO, SEA = "forcing.bare_albedo", "forcing.sea_surface_temperature"


@pytest.fixture(scope="module")
def sine(small_model):
    return np.sin(np.deg2rad(small_model.grid.latitude))


def test_zero_leaves_the_field_as_it_is(small_inputs):
    space = ParameterSpace.of(small_inputs, LatitudeField(ALBEDO, order=3))
    field = space.insert(small_inputs, jnp.zeros(4)).forcing.bare_albedo
    np.testing.assert_allclose(field, small_inputs.forcing.bare_albedo, rtol=1e-14)


def test_correction_of_a_share_adds_legendre_polynomials_to_its_logit(small_inputs, sine):
    space = ParameterSpace.of(small_inputs, LatitudeField(ALBEDO, order=2, width=[0.1, 0.2, 0.3]))
    field = space.insert(small_inputs, jnp.array([1.0, -2.0, 0.5])).forcing.bare_albedo
    logit = lambda x: np.log(x / (1 - x))  # noqa: E731
    change = logit(np.asarray(field)) - logit(np.asarray(small_inputs.forcing.bare_albedo))
    expected = 0.1 - 0.4 * sine + 0.15 * (1.5 * sine**2 - 0.5)
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=1e-12)


def test_share_stays_between_0_and_1_however_large_the_coefficients(small_inputs):
    space = ParameterSpace.of(small_inputs, LatitudeField(ALBEDO, order=1, width=1.0))
    for z in ([8.0, 8.0], [-8.0, -8.0]):
        field = space.insert(small_inputs, jnp.array(z)).forcing.bare_albedo
        assert jnp.all((field >= 0) & (field <= 1))


def test_slopes_of_a_share_are_finite_where_it_is_0_or_1(small_inputs):
    space = ParameterSpace.of(small_inputs, LatitudeField("forcing.land_fraction", order=1))
    slope = jax.jacfwd(lambda z: space.insert(small_inputs, z).forcing.land_fraction)(jnp.ones(2))
    assert jnp.all(jnp.isfinite(slope))


def test_correction_of_a_temperature_adds_kelvin_to_every_month(small_inputs, sine):
    space = ParameterSpace.of(small_inputs, LatitudeField(SEA, order=1, width=2.0))
    field = space.insert(small_inputs, jnp.array([1.0, 0.5])).forcing.sea_surface_temperature
    change = np.asarray(field - small_inputs.forcing.sea_surface_temperature)
    np.testing.assert_allclose(change, np.broadcast_to(2 + sine, change.shape), atol=1e-11)
    assert space.units == ("K", "K")


@pytest.mark.parametrize("name", [ALBEDO, SEA, "forcing.land_fraction"])
def test_coefficients_are_recovered_from_the_field(small_inputs, name):
    space = ParameterSpace.of(small_inputs, LatitudeField(name, order=3))
    z = jnp.array([0.3, -1.0, 2.0, 0.7])
    np.testing.assert_allclose(space.extract(space.insert(small_inputs, z)), z, atol=1e-9)


def test_correction_of_a_region_changes_the_region_by_its_coefficient(small_model, small_inputs):
    region = REGIONS["nino34"]
    part = region.fraction(small_model.grid)
    assert part.max() > 0.9
    space = ParameterSpace.of(small_inputs, RegionalField(SEA, small_model.grid, [region], 2.0))
    field = space.insert(small_inputs, jnp.array([1.5])).forcing.sea_surface_temperature
    change = np.asarray(field - small_inputs.forcing.sea_surface_temperature)
    np.testing.assert_allclose(change, np.broadcast_to(3 * part, change.shape), atol=1e-11)


def test_labels_name_the_pattern(small_model, small_inputs):
    regions = [REGIONS["sahel"]]
    space = ParameterSpace.of(
        small_inputs,
        [LatitudeField(ALBEDO, order=1), RegionalField(SEA, small_model.grid, regions)])
    assert space.labels == (f"{ALBEDO}[P0]", f"{ALBEDO}[P1]", f"{SEA}[sahel]")


def test_field_of_an_unknown_name_gets_a_suggestion(small_inputs):
    with pytest.raises(KeyError, match=r"did you mean forcing\.bare_albedo"):
        ParameterSpace.of(small_inputs, LatitudeField("forcing.bare_albdo"))


@pytest.mark.parametrize("name", ["parameters.convection", "parameters.albedo.sea"])
def test_field_of_something_without_latitude_is_refused(small_inputs, name):
    with pytest.raises(ValueError, match=r"expected a field with axes \(..., lon, lat\)"):
        ParameterSpace.of(small_inputs, LatitudeField(name))


@pytest.mark.parametrize("width", [0.0, -1.0, [0.1, 0.2], float("nan")])
def test_width_that_does_not_fit_is_refused(small_inputs, width):
    with pytest.raises(ValueError, match="one positive number, or one for each of P0, P1, P2"):
        ParameterSpace.of(small_inputs, LatitudeField(ALBEDO, width=width))


def test_temperature_as_a_share_is_refused(small_inputs):
    with pytest.raises(ValueError, match="a share must lie between 0 and 1; set share=False"):
        ParameterSpace.of(small_inputs, LatitudeField(SEA, share=True))


def test_negative_order_is_refused():
    with pytest.raises(ValueError, match="must be 0 or a whole number above, got -1"):
        LatitudeField(ALBEDO, order=-1)


def test_regions_on_another_grid_are_refused(small_inputs):
    other = jcm.build_model("T31L8").grid
    with pytest.raises(ValueError, match="give the grid of the model"):
        ParameterSpace.of(small_inputs, RegionalField(ALBEDO, other, [REGIONS["sahel"]]))


def test_field_without_regions_is_refused(small_model):
    with pytest.raises(ValueError, match="expected at least one region"):
        RegionalField(ALBEDO, small_model.grid, [])
