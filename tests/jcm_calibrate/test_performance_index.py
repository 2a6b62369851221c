"""The performance index of runs made from the observations, whose index is known."""

import numpy as np
import pytest
import xarray as xr

from jcm.constants import EARTH
from jcm.vertical import speedy_levels
from jcm_calibrate.climatology import on_pressure_levels, season_days, seasonal_means
from jcm_calibrate.performance_index import (
    REGIONS,
    SUGGESTED,
    VARIABLES,
    as_text,
    cmip6,
    observations,
    performance_index,
    sea_level_pressure,
    surface_height,
)

#: Middle of an output in each season.
DATES = np.array(["2001-01-15", "2001-04-15", "2001-07-15", "2001-10-15"], "datetime64[ns]")


def a_year(offset: float = 0.0, names=("tauu", "pr", "ta")) -> xr.Dataset:
    """A run of four outputs, which is the observations + offset standard deviations."""
    seen = observations()
    run = xr.Dataset(coords={"time": DATES})
    for name in names:
        values = (seen[name] + offset * seen[name + "_std"]).isel(season=slice(4))
        values = values.rename(season="time").assign_coords(time=DATES)
        if "plev" in values.dims:
            values = values.expand_dims(lon=seen.lon).fillna(0)
        run[VARIABLES[name].model] = values.assign_attrs(units=seen[name].attrs["units"])
    return run


def test_the_index_of_the_observations_is_0():
    table = performance_index(a_year())
    np.testing.assert_allclose(
        table["index"].sel(season=["DJF", "MAM", "JJA", "SON"]).sel(region="Global"), 0, atol=1e-8)


def test_the_index_of_1_standard_deviation_is_1_in_all_seasons_and_regions():
    index = performance_index(a_year(1.0))["index"].sel(season=["DJF", "MAM", "JJA", "SON"])
    np.testing.assert_allclose(index, 1, rtol=1e-4)


def test_the_index_grows_with_the_square_of_the_difference():
    index = performance_index(a_year(-3.0, ("tauu",)))["index"].sel(season="JJA")
    np.testing.assert_allclose(index, 9, rtol=1e-4)


def test_a_difference_in_one_hemisphere_counts_with_its_area():
    run = a_year(names=("psl",)).pipe(lambda x: x.assign(
        air_pressure_at_mean_sea_level=x["air_pressure_at_mean_sea_level"]))
    seen = observations()
    name = "air_pressure_at_mean_sea_level"
    north = seen["psl_std"].isel(season=slice(4)).where(seen.lat > 0, 0).values
    run[name] = run[name].copy(data=run[name].values + 2 * north)
    index = performance_index(run)["index"].sel(season="MAM")
    np.testing.assert_allclose(index.sel(region="Global").item(), 2, rtol=1e-4)
    np.testing.assert_allclose(index.sel(region="North Midlat").item(), 4, rtol=1e-4)
    np.testing.assert_allclose(index.sel(region="South Midlat").item(), 0, atol=1e-6)


def test_the_cmip6_numbers_stand_beside():
    table = performance_index(a_year(names=("ta",)))
    found = table["cmip6"].sel(variable="ta", season="ANN")
    assert found.sel(region="Global").item() == 38.075
    assert found.sel(region="Tropical").item() == 32.122


def test_the_ratio_to_cmip6_is_given_only_where_the_scale_is_the_same():
    table = performance_index(a_year(1.0))
    assert table.scale.sel(variable="pr").item() == SUGGESTED
    assert table["ratio"].sel(variable="pr").isnull().all()
    expected = 1 / cmip6()["ta"]["JJA"]["Equatorial"]
    found = table["ratio"].sel(variable="ta", season="JJA", region="Equatorial")
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_table_says_what_differs_from_cmip6():
    text = as_text(performance_index(a_year(1.0)))
    assert "1 degree" in text and "T31" in text
    assert "pr *" in text and "not comparable" in text


def test_every_region_of_the_cmip6_numbers_is_known():
    known = {region for seasons in cmip6().values() for x in seasons.values() for region in x}
    assert known == set(REGIONS)


def test_a_run_on_another_grid_has_an_index():
    from jcm.grid import make_grid

    grid = make_grid("T21")
    run = a_year(1.0, ("psl",)).interp(
        lat=grid.latitude, lon=grid.longitude, kwargs={"fill_value": "extrapolate"})
    index = performance_index(run)["index"].sel(season="DJF", region="Global")
    # Smoothed by two interpolations, so near 1 only.
    assert 0.5 < index.item() < 2


def test_missing_seasons_are_missing_in_the_table():
    table = performance_index(a_year(1.0, ("tauu",)).isel(time=[0, 2]))
    index = table["index"].sel(variable="tauu", region="Global")
    assert index.sel(season=["MAM", "SON", "ANN"]).isnull().all()
    np.testing.assert_allclose(index.sel(season=["DJF", "JJA"]), 1, rtol=1e-4)
    np.testing.assert_array_equal(table["days"], [1, 0, 1, 0, 2])


def test_outputs_count_by_their_length():
    edges = np.array(["2001-01-01", "2001-01-02", "2001-01-05"], "datetime64[ns]")
    run = xr.Dataset(
        {"x": ("time", [1.0, 5.0]), "time_bnds": (("time", "bounds"), np.stack(
            [edges[:-1], edges[1:]], 1))},
        {"time": edges[:-1] + (edges[1:] - edges[:-1]) / 2})  # fmt: skip
    assert seasonal_means(run)["x"].sel(season="DJF").item() == (1 * 1 + 3 * 5) / 4
    np.testing.assert_array_equal(season_days(run), [4, 0, 0, 0, 4])


def test_the_year_is_the_mean_of_the_seasons():
    run = xr.Dataset({"x": ("time", [1.0, 2.0, 3.0, 6.0])}, {"time": DATES})
    assert seasonal_means(run)["x"].sel(season="ANN").item() == 3


def on_layers(surface: float = 1e5) -> xr.Dataset:
    """A run of one output on 8 layers with temperature 200 + 10 ln(p / 1 Pa)."""
    levels = speedy_levels(8)
    half = np.array(levels.half)
    profile = 200 + 10 * np.log(levels.centre * surface)
    shape = (1, 8, 2, 3)
    return xr.Dataset(
        {"air_temperature": (("time", "level", "lat", "lon"),
                             np.broadcast_to(profile[:, None, None], shape), {"units": "K"}),
         "surface_air_pressure": (("time", "lat", "lon"), np.full((1, 2, 3), surface)),
         "level_bnds": (("level", "bounds"), np.stack([half[:-1], half[1:]], 1))},
        {"time": DATES[:1], "level": levels.centre})  # fmt: skip


def test_layers_go_to_pressure_levels_linearly_in_log_pressure():
    moved = on_pressure_levels(on_layers(), [85000.0, 50000.0, 1000.0])["air_temperature"]
    # 10 hPa lies above the centre of the top layer, 25 hPa.
    np.testing.assert_array_equal(moved.plev, [85000, 50000])
    np.testing.assert_allclose(moved.values[0, :, 0, 0], 200 + 10 * np.log([85000, 50000]))


def test_levels_below_the_ground_are_missing():
    moved = on_pressure_levels(on_layers(7e4), [85000.0, 50000.0])["air_temperature"]
    assert moved.sel(plev=85000).isnull().all() and moved.sel(plev=50000).notnull().all()


def test_sea_level_pressure_of_a_standard_atmosphere():
    # T = 288.15 K - 6.5 K km-1 z: the pressure at 2 km follows from hydrostatic balance.
    height, lapse = 2000.0, 0.0065
    ratio = (288.15 - lapse * height) / 288.15
    surface = 101325 * ratio ** (EARTH.gravity / (EARTH.gas_constant * lapse))
    found = sea_level_pressure(
        xr.DataArray(surface), xr.DataArray(288.15 - lapse * height), xr.DataArray(height))
    np.testing.assert_allclose(found, 101325)


def test_the_surface_height_has_only_what_the_truncation_keeps(small_model):
    grid = small_model.grid
    kept = 9.81 * 100 * np.cos(3 * np.deg2rad(grid.longitude))[:, None] * grid.cos_latitude**3
    beyond = 9.81 * np.cos(25 * np.deg2rad(grid.longitude))[:, None] * grid.cos_latitude**25
    height = surface_height(small_model, kept + beyond)
    np.testing.assert_allclose(height.values.T, kept / 9.81, atol=1e-9)


def test_pressure_at_the_sea_is_not_changed():
    found = sea_level_pressure(xr.DataArray(1e5), xr.DataArray(280.0), xr.DataArray(0.0))
    assert found.item() == 1e5


def test_a_run_without_any_of_the_variables_says_which():
    with pytest.raises(ValueError, match="eastward_wind"):
        performance_index(xr.Dataset({"x": ("time", np.zeros(4))}, {"time": DATES}))


def test_other_units_are_refused_with_both_units():
    run = a_year(names=("pr",))
    run["precipitation_flux"].attrs["units"] = "mm/day"
    with pytest.raises(ValueError, match=r"'mm/day'.*'kg m-2 s-1'"):
        performance_index(run)


def test_layers_without_surface_pressure_are_refused():
    with pytest.raises(ValueError, match="surface_air_pressure"):
        performance_index(on_layers().drop_vars("surface_air_pressure"))


def test_pressure_levels_that_were_not_observed_are_refused():
    with pytest.raises(ValueError, match="none of the levels 123 hPa"):
        on_pressure_levels(
            xr.Dataset({"x": ("plev", [1.0])}, {"plev": ("plev", [12300.0], {"units": "Pa"})}),
            [85000.0])


def test_a_run_without_outputs_is_refused():
    with pytest.raises(ValueError, match="no outputs"):
        seasonal_means(xr.Dataset({"x": 1.0}))
