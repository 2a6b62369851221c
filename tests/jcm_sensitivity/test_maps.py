"""Maps per unit area do not depend on the grid."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from synthetic import SST, cheap_inputs, mirror

import jcm
from jcm.output import write_dataset
from jcm_sensitivity import GLOBE, Sensitivity, integral, mean, region, sensitivity, to_map
from jcm_sensitivity.maps import note_on_switches
from jcm_sensitivity.units import per

GRIDS = ["T21", "T31", "T42"]


def sst_map(grid, which=GLOBE):
    model = jcm.build_model(f"{grid}L8")
    target = mean("surface_temperature", region=which)
    inputs = cheap_inputs(model)
    result = sensitivity(mirror(model, days=1), target, inputs, wrt=[SST])
    return to_map(model, result, inputs=inputs)


@pytest.mark.parametrize("grid", GRIDS)
def test_map_of_the_global_mean_of_the_input_is_one_over_the_area_of_the_globe(grid):
    field = sst_map(grid)["sensitivity_to_sea_surface_temperature"]
    np.testing.assert_allclose(field, 1e12 / GLOBE.area, rtol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_integral_is_the_response_to_a_uniform_change(grid):
    field = sst_map(grid, region("nino34"))["sensitivity_to_sea_surface_temperature"]
    np.testing.assert_allclose(integral(field), 1.0, rtol=1e-12)
    # The target is the mean over the same box: nothing is felt from outside, up to cut cells.
    assert 0.7 < integral(field, region=region("nino34")) <= 1.0 + 1e-12


def test_map_of_a_change_in_all_months_is_the_sum_over_months():
    dataset = sst_map("T21")
    monthly = dataset["sensitivity_to_sea_surface_temperature_by_month"]
    assert monthly.dims == ("month", "lat", "lon")
    np.testing.assert_allclose(
        monthly.sum("month"), dataset["sensitivity_to_sea_surface_temperature"])


def test_precipitation_is_in_mm_per_day():
    model = jcm.build_model("T21L8")
    result = sensitivity(
        mirror(model), mean("precipitation_flux"), cheap_inputs(model), wrt=[SST])
    field = to_map(model, result)["sensitivity_to_sea_surface_temperature"]
    assert field.attrs["units"] == "mm day-1 K-1 (1e6 km2)-1"
    assert integral(field).attrs["units"] == "mm day-1 K-1"
    np.testing.assert_allclose(integral(field), 1e-6 * 86400)
    np.testing.assert_allclose(to_map(model, result)["target"], float(result.value) * 86400)


def test_map_of_a_model_with_exact_switches_says_what_it_leaves_out():
    assert "Exact switches" in sst_map("T21").attrs["comment"]
    assert note_on_switches(jcm.build_model("T21L8", smooth=True)) == ""


def test_scalars_have_a_place_beside_the_maps():
    model = jcm.build_model("T21L8")
    name = "parameters.convection.relaxation_time"
    result = Sensitivity(
        jnp.array(2.0), {name: jnp.array(3.0)}, {name: "K s-1"}, {name: "s"}, "K", "target")
    number = to_map(model, result)["sensitivity_to_convection_relaxation_time"]
    assert (float(number), number.attrs["units"]) == (3.0, "K s-1")


def test_spectra_are_refused():
    model = jcm.build_model("T21L8")
    name = "state.current.temperature"
    result = Sensitivity(
        jnp.array(2.0), {name: jnp.zeros((22, 2, 8, 23))}, {name: "1"}, {name: "K"}, "K", "target")
    with pytest.raises(ValueError, match="no map on the grid of T21L8"):
        to_map(model, result)


def test_integral_refuses_what_is_no_density():
    with pytest.raises(ValueError, match="expected a map of to_map"):
        integral(xr.DataArray(np.zeros((32, 64)), dims=("lat", "lon"), name="x"))


def test_written_map_is_read_back_with_its_units(tmp_path):
    dataset = sst_map("T21")
    write_dataset(dataset, tmp_path / "map.nc")
    with xr.open_dataset(tmp_path / "map.nc") as read:
        field = read["sensitivity_to_sea_surface_temperature"]
        assert field.attrs["units"] == "K K-1 (1e6 km2)-1".replace("K K-1 ", "")
        assert read.attrs["Conventions"] == "CF-1.11"
        np.testing.assert_allclose(integral(field), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("units", "denominator", "expected"),
    [
        ("mm day-1", "K", "mm day-1 K-1"),
        ("W m-2", "W m-2", "1"),
        ("K", "1", "K"),
        ("1", "s", "s-1"),
        ("K", "(kg kg-1)-1", "K"),
        ("kg m-2 s-1", "kg m-2", "s-1"),
        ("mm day-1", "mm-0.5 day0.5", "mm1.5 day-1.5"),
    ],
)
def test_units_of_quotients(units, denominator, expected):
    assert per(units, denominator) == expected


def test_units_that_are_no_product_are_refused():
    with pytest.raises(ValueError, match="expected units such as"):
        per("mm/day", "K")
