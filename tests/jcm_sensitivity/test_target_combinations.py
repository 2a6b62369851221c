"""Sums, multiples and ratios of targets: values, units, words, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import SST, cheap_inputs, mirror

import jcm
from jcm_sensitivity import custom, last, mean, region, sensitivity
from jcm_sensitivity.units import same_units

MODEL = jcm.build_model("T21L8")
INPUTS = cheap_inputs(MODEL)
GRID = MODEL.grid
ARCTIC = mean("surface_temperature", region="arctic")
TROPICS = mean("surface_temperature", region="tropics")
RAIN = mean("precipitation_flux", region="tropics", days=last(1))
#: 250 K north of 45N, 300 K elsewhere, with the same rain everywhere.
FIELDS = {
    "surface_temperature": np.broadcast_to(
        np.where(GRID.latitude > 45, 250.0, 300.0), (1, *GRID.shape)),
    "precipitation_flux": np.full((1, *GRID.shape), 3e-5),
}  # fmt: skip


@pytest.mark.parametrize(
    ("target", "expected", "units"),
    [
        (TROPICS - ARCTIC, 50.0, "K"),
        (TROPICS + ARCTIC, 550.0, "K"),
        (2 * ARCTIC, 500.0, "K"),
        (ARCTIC * np.float64(2), 500.0, "K"),
        (np.float32(0.5) * ARCTIC, 125.0, "K"),
        (ARCTIC / 2, 125.0, "K"),
        (-ARCTIC, -250.0, "K"),
        (0.5 * (TROPICS - ARCTIC) + TROPICS, 325.0, "K"),
        (TROPICS / ARCTIC, 1.2, "1"),
        (RAIN / TROPICS, 1e-7, "kg m-2 s-1 K-1"),
        ((TROPICS - ARCTIC) / RAIN, 50 / 3e-5, "K kg-1 m2 s"),
        ((RAIN / TROPICS) / (RAIN / ARCTIC), 250 / 300, "1"),
    ],
)
def test_value_and_units_of_combinations(target, expected, units):
    bound = target.bind(MODEL)
    np.testing.assert_allclose(bound(FIELDS), expected, rtol=1e-12)
    assert target.units == bound.units == units


def test_difference_of_the_same_is_zero():
    np.testing.assert_array_equal((TROPICS - TROPICS).bind(MODEL)(FIELDS), 0.0)


def test_difference_of_a_difference_keeps_its_signs():
    target = TROPICS - (TROPICS - ARCTIC)
    np.testing.assert_allclose(target.bind(MODEL)(FIELDS), 250.0)
    assert len(target.terms) == 3


def test_units_are_worked_out_and_their_order_does_not_matter():
    assert same_units("W m-2", "m-2 W") and not same_units("W m-2", "W")
    heat = custom(lambda fields: 1.0, variables=["surface_temperature"], units="m-2 W")
    assert (mean("toa_outgoing_longwave_flux") - heat).units == "W m-2"


def test_difference_of_unequal_units_is_refused_and_names_both():
    with pytest.raises(ValueError, match=r"'K' of mean of temperature.*'kg m-2 s-1' of mean of"):
        TROPICS - RAIN


def test_combinations_say_what_they_are():
    assert str(2 * TROPICS - ARCTIC) == (
        "2 times (mean of temperature of the skin, tropics (20S-20N), the whole run) minus (mean "
        "of temperature of the skin, arctic (60N-90N), the whole run) [K]")
    assert str(-ARCTIC).startswith("minus (mean of temperature")
    assert " divided by (" in str(RAIN / TROPICS)


def test_name_replaces_the_description():
    target = (ARCTIC / TROPICS).named("Arctic amplification")
    assert str(target) == "Arctic amplification [1]"
    assert target.bind(MODEL).description == "Arctic amplification"
    assert "(Arctic amplification)" in str(3 * target)


def test_variables_and_regions_are_named_once():
    target = (TROPICS - ARCTIC) / RAIN
    assert target.variables == ("surface_temperature", "precipitation_flux")
    assert target.regions == (region("tropics"), region("arctic")) and target.region is None
    assert (RAIN / TROPICS).region == region("tropics")


def test_combinations_are_hashable_and_equal_by_content():
    assert hash(TROPICS - ARCTIC) == hash(TROPICS - ARCTIC)
    assert TROPICS - ARCTIC == TROPICS - ARCTIC != ARCTIC - TROPICS


def test_gradient_of_a_ratio_is_that_of_the_quotient_rule():
    target = (RAIN / TROPICS).bind(MODEL)
    gradient = jax.grad(target)({key: jnp.asarray(value) for key, value in FIELDS.items()})
    rain, temperature = (x.bind(MODEL) for x in (RAIN, TROPICS))
    slope = jax.grad(temperature)(FIELDS)["surface_temperature"]
    np.testing.assert_allclose(
        gradient["surface_temperature"], -rain(FIELDS) / temperature(FIELDS) ** 2 * slope)


def gradient_of(target):
    """Gradient with respect to sea surface temperature, to which rain is proportional."""
    run = lambda inputs: mirror(MODEL)(inputs)  # noqa: E731
    bound = target.bind(MODEL, inputs=INPUTS)
    return sensitivity(run, bound, INPUTS, wrt=[SST]).gradient[SST]


def test_sensitivity_of_a_difference_is_the_difference_of_sensitivities():
    north, south = (mean("precipitation_flux", region=name) for name in ("arctic", "tropics"))
    parts = [gradient_of(target) for target in (north - south, north, south)]
    np.testing.assert_allclose(parts[0], parts[1] - parts[2], atol=1e-20)


def test_mean_over_land_depends_on_land_only():
    gradient = gradient_of(mean("precipitation_flux", mask="land"))[0]
    land = np.asarray(INPUTS.forcing.land_fraction)
    assert not np.any(gradient[land == 0]) and np.all(gradient[land > 0] > 0)


@pytest.mark.parametrize("combine", [
    lambda: TROPICS - 273.15, lambda: TROPICS + "K", lambda: TROPICS * ARCTIC,
    lambda: TROPICS * True, lambda: TROPICS / "K"])  # fmt: skip
def test_what_cannot_be_combined_is_refused(combine):
    with pytest.raises(TypeError, match="a target is"):
        combine()


@pytest.mark.parametrize("combine", [lambda: TROPICS * float("inf"), lambda: TROPICS / 0])
def test_multiples_without_meaning_are_refused(combine):
    with pytest.raises(ValueError, match="a target"):
        combine()


def test_land_in_a_combination_needs_inputs():
    with pytest.raises(ValueError, match="inputs=inputs"):
        (mean("surface_temperature", mask="land") - TROPICS).bind(MODEL)
