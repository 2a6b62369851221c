"""Packaged observations against the numbers of their files and of the literature."""

import json

import numpy as np
import pytest
import xarray as xr

from jcm.data import data_path
from jcm_calibrate.observations.packaged import (
    GROUPS,
    attribution,
    packaged_names,
    packaged_observations,
)

DAY = 86400.0


@pytest.fixture(scope="module")
def everything(small_model):
    return packaged_observations(small_model, packaged_names())


def block(observations, name):
    return observations.blocks[observations.names.index(name)]


def test_global_means_of_era5_are_those_of_the_literature(small_model):
    found = packaged_observations(small_model, "surface", operator="global_mean")
    temperature, rain = np.asarray(found.values)
    assert temperature == pytest.approx(273.15 + 14.56, abs=0.05)
    assert rain * DAY == pytest.approx(2.947, abs=0.01)


def test_maps_are_the_numbers_of_the_file(small_model):
    found = packaged_observations(
        small_model, "temperature", operator="grid", chosen=["Jul"])
    with xr.open_dataset(data_path("observations_T21.nc")) as data:
        expected = data["tas"].sel(month=7).values.T.ravel()
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def test_sections_are_the_rows_of_the_file_above_the_ground(small_model):
    found = packaged_observations(
        small_model, "eastward_wind", pressure=[200, 850], chosen=["DJF"])
    with xr.open_dataset(data_path("observations_seasonal_T21.nc")) as data:
        expected = data["ua"].sel(season="DJF", plev=20000).values
        spread = data["ua_std"].sel(season="DJF", plev=20000).values
    np.testing.assert_allclose(found.values[:32], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found.standard_deviation[:32], np.maximum(spread, 1.0), rtol=1e-6)
    # Antarctica lies above 850 hPa.
    assert not any("850 hPa, 85.8S" in label for label in found.labels)


def test_outgoing_longwave_is_turned_to_count_upward(small_model, everything):
    numbers = json.loads(data_path("regional_means.json").read_text())["variables"]["rlnt"]
    expected = -numbers["values"]["ALL"]["Tropical"]["mean"]
    found = block(everything, "outgoing_longwave")
    assert float(found.values[1]) == pytest.approx(expected)
    assert "positive down" in found.facts.converted_from


def test_evaporation_is_a_positive_upward_mass_flux(everything):
    tropics = float(block(everything, "evaporation").values[1])
    assert tropics * DAY == pytest.approx(4.001, rel=1e-9)


def test_error_of_a_flux_is_spread_and_structure_together(small_model):
    found = packaged_observations(small_model, "outgoing_longwave", bands=["globe"])
    assert float(found.standard_deviation[0]) == pytest.approx(np.hypot(0.407, 3.0))


def test_seasons_follow_the_run(small_model):
    found = packaged_observations(
        small_model, ["sea_level_pressure", "absorbed_sunlight"], periods="seasons",
        start="2001-01-01", count=365, operator="global_mean")
    assert found.size == 4 + 4 * 3
    assert [label.split(", ")[-1] for label in found.labels[:4]] == ["DJF", "MAM", "JJA", "SON"]


def test_stress_is_observed_where_it_is_known_only(everything):
    # Over the rows of Antarctica there is no sea.
    assert not any("85.8S" in label for label in block(everything, "eastward_stress").labels)


def test_another_grid_has_the_same_global_mean():
    import jcm

    fine = packaged_observations(
        jcm.build_model("T42L8"), "precipitation", operator="global_mean")
    assert float(fine.values[0]) * DAY == pytest.approx(2.947, abs=0.02)
    assert "moved from T31 to T42" in fine.describe()


@pytest.mark.slow
def test_the_model_can_be_compared_with_all_of_them(small_model, small_inputs, everything):
    import jcm

    _, fields = jcm.simulate(
        small_model, small_inputs, days=1, every=1.0, average=True, observe=everything.variables)
    difference = np.asarray(everything.whiten(everything.predict(fields) - everything.values))
    assert np.isfinite(difference).all()
    # One January day is far from the annual mean, yet not by orders of magnitude.
    assert np.sqrt(np.mean(difference**2)) < 30


def test_groups_are_their_members(small_model):
    assert packaged_observations(small_model, "circulation").names == GROUPS["circulation"]


def test_attribution_names_every_provider(everything):
    text = attribution(everything)
    for provider in ("Copernicus", "Hersbach", "NOAA PSL", "CERES EBAF", "Wild (2020)"):
        assert provider in text


def test_every_block_states_source_and_licence(everything):
    assert all(each.facts.source and each.facts.licence for each in everything.blocks)


@pytest.mark.parametrize(("names", "options", "message"), [
    ("temprature", {}, "did you mean temperature"),
    ("swcf", {}, "no clear-sky radiation"),
    ("eastward_wind", {"chosen": ["Jan"]}, "known for seasons"),
    ("outgoing_longwave", {"chosen": ["Jan"]}, "not for Jan"),
    ("latent_heat_flux", {"chosen": ["DJF"]}, "known for the year"),
    ("outgoing_longwave", {"bands": ["middle"]}, "unknown band"),
    ("eastward_wind", {"pressure": [333]}, "no level 333 hPa"),
    ("temperature", {"chosen": ["DJF", "JJA"]}, "one month or season"),
    ("temperature", {"periods": "each"}, "climatologies"),
    ("temperature", {"periods": "seasons", "start": "2001-01-01", "count": 60}, "window ends"),
])  # fmt: skip
def test_what_is_not_packaged_is_refused_with_the_reason(small_model, names, options, message):
    with pytest.raises(ValueError, match=message):
        packaged_observations(small_model, names, **options)
