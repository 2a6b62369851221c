"""Readers of observations against fields of known means in the layouts of real files."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jcm_calibrate.observations.readers import load_observations
from jcm_calibrate.observations.units import conversion

REFERENCE = Path(__file__).parents[1] / "reference"
CLIMATOLOGY, HOURLY, LEVELS = (
    REFERENCE / f"era5_sample_{name}.nc" for name in ("climatology", "hourly", "levels"))
RAIN, HEAT = "precipitation_flux", "toa_outgoing_longwave_flux"
WARMTH = {"variable": "near_surface_air_temperature", "error": 1.0}
BANDS = [(-90, -30), (-30, 30), (30, 90)]


def area_mean(values, latitude):
    weight = np.cos(np.deg2rad(latitude))[:, None] * np.ones(values.shape[-1])
    return np.sum(values * weight) / np.sum(weight)


def gpcp(years=1, value=2.5):
    """Return monthly precipitation as GPCP writes it: 2.5 degrees, mm/day, south to north."""
    latitude, longitude = np.arange(-88.75, 90, 2.5), np.arange(1.25, 360, 2.5)
    time = np.datetime64("2001-01", "M") + np.arange(12 * years)
    month = np.arange(12 * years) % 12 + 1.0
    field = value + 0.1 * month[:, None, None] * np.ones((1, len(latitude), len(longitude)))
    return xr.Dataset(
        {"precip": (("time", "lat", "lon"), field, {"units": "mm/day", "source": "made up"})},
        {"time": time.astype("datetime64[ns]"), "lat": latitude, "lon": longitude})


def ceres(positive="up", name="toa_lw_all_mon", falling=True, turned=True):
    """Return a flux as CERES writes it: 1 degree, here also north to south and from -180."""
    latitude, longitude = np.arange(-89.5, 90), np.arange(0.5, 360)
    field = 240 + 30 * np.cos(np.deg2rad(2 * latitude))[:, None] + np.zeros(len(longitude))
    field[:, longitude > 180] += 10
    data = xr.Dataset(
        {name: (("time", "lat", "lon"), field[None], {"units": "W m-2", "positive": positive})},
        {"time": [np.datetime64("2001-01-15", "ns")], "lat": latitude, "lon": longitude})
    if turned:
        data = data.assign_coords(lon=(data["lon"] + 180) % 360 - 180).sortby("lon")
    return data.isel(lat=slice(None, None, -1)) if falling else data


def loaded(source, model, given, **options):
    return load_observations(source, model, {"x": given}, **options)


def test_numbers_in_celsius_called_kelvin_are_refused_with_the_cure(small_model):
    with pytest.raises(ValueError, match=r"'K'.*-62.*look like degC.*units=\{'t2m': 'degC'\}"):
        loaded(CLIMATOLOGY, small_model, WARMTH)


def test_monthly_era5_has_the_mean_of_its_numbers(small_model):
    found = loaded(
        CLIMATOLOGY, small_model, {**WARMTH, "periods": "months", "chosen": [1, 7]},
        units={"t2m": "degC"}, start="2001-01-01", count=365)
    with xr.open_dataset(CLIMATOLOGY) as data:
        expected = [area_mean(data["t2m"][k].values, data["latitude"].values) + 273.15
                    for k in (0, 1)]  # fmt: skip
    np.testing.assert_allclose(found.values, expected, atol=0.1)


def test_hourly_era5_has_the_mean_of_its_numbers(small_model):
    found = loaded(HOURLY, small_model, {"variable": RAIN, "error": 1e-5}, units={"tp": "m h-1"})
    with xr.open_dataset(HOURLY) as data:
        mean = np.mean([area_mean(x, data["latitude"].values) for x in data["tp"].values])
    # 1 m in an hour is 1000 kg m-2 in 3600 s.
    assert float(found.values[0]) == pytest.approx(mean * 1000 / 3600, rel=0.01)


def test_era5_on_pressures_has_the_level_that_is_asked(small_model):
    found = loaded(
        LEVELS, small_model, {"variable": "air_temperature", "pressure": [500, 850], "error": 1.0},
        select={"number": 0})
    with xr.open_dataset(LEVELS) as data:
        means = [np.mean([area_mean(x, data["latitude"].values) for x in
                          data["t"].isel(number=0).sel(isobaricInhPa=p).values])
                 for p in (500, 850)]  # fmt: skip
    np.testing.assert_allclose(found.values, means, atol=0.15)


def test_geopotential_becomes_a_height(small_model):
    given = {"variable": "geopotential_height", "pressure": 500, "error": 10.0}
    found = loaded(LEVELS, small_model, given, select={"number": 0})
    assert 5300 < float(found.values[0]) < 5800


def test_gpcp_in_millimetres_becomes_a_mass_flux(small_model):
    given = {"variable": RAIN, "error": 1e-5, "periods": "months", "chosen": [3]}
    found = loaded(gpcp(), small_model, given, start="2001-01-01", count=365)
    assert float(found.values[0]) == pytest.approx(2.8 / 86400, rel=1e-10)


def test_seasons_weigh_months_with_their_lengths(small_model):
    given = {"variable": RAIN, "error": 1e-5, "periods": "seasons", "chosen": ["DJF"]}
    found = loaded(gpcp(), small_model, given, start="2001-01-01", count=365)
    expected = 2.5 + 0.1 * (12 * 31 + 1 * 31 + 2 * 28) / 90
    assert float(found.values[0]) == pytest.approx(expected / 86400, rel=1e-10)


@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_order_of_latitude_and_longitude_does_not_matter(small_model, falling, turned):
    boxes = [[-30, 30, 20, 160], [-30, 30, 200, 340], [50, 70, 20, 160]]
    given = {"variable": HEAT, "error": 1.0, "operator": "regional_mean", "regions": boxes}
    east, west, north = np.asarray(
        loaded(ceres(falling=falling, turned=turned), small_model, given).values)
    # The mean of cos(2 latitude) over a band is 1 - 2/3 (s1^2 + s1 s2 + s2^2), s the sines.
    assert east == pytest.approx(240 + 30 * (1 - 2 / 3 * 0.25), abs=0.3)
    assert west - east == pytest.approx(10, abs=0.01)
    low, high = np.sin(np.deg2rad([50, 70]))
    expected = 240 + 30 * (1 - 2 / 3 * (low**2 + low * high + high**2))
    assert north == pytest.approx(expected, abs=0.5)


def test_a_repeated_column_counts_once(small_model):
    data = ceres(falling=False, turned=False)
    first = data.isel(lon=[0]).assign_coords(lon=[360.5])
    given = {"variable": HEAT, "error": 1.0}
    found = [float(loaded(x, small_model, given).values[0])
             for x in (data, xr.concat([data, first], "lon"))]  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_fill_values_without_attribute_are_missing(small_model):
    data = ceres(falling=False, turned=False)
    data["toa_lw_all_mon"][:, 80:100, 180:] = 1e34
    given = {"variable": HEAT, "error": 1.0, "operator": "regional_mean",
             "regions": [[-5, 5, 0, 360]]}  # fmt: skip
    found = loaded(data, small_model, given)
    # Only the half without the 10 W m-2 is left.
    assert float(found.values[0]) == pytest.approx(270, abs=0.5)


def test_a_zarr_store_gives_the_same_numbers(small_model, tmp_path):
    gpcp().to_zarr(tmp_path / "gpcp.zarr", consolidated=False)
    given = {"variable": RAIN, "error": 1e-5, "operator": "zonal_mean", "bands": BANDS}
    stored, direct = (loaded(x, small_model, given).values
                      for x in (tmp_path / "gpcp.zarr", gpcp()))  # fmt: skip
    np.testing.assert_allclose(stored, direct, rtol=1e-12)


def test_spread_of_years_is_their_standard_deviation(small_model):
    data = gpcp(years=4)
    data["precip"] = data["precip"] + np.repeat([0.0, 1.0, 2.0, 3.0], 12)[:, None, None]
    data["precip"].attrs["units"] = "mm/day"
    found = loaded(data, small_model, {"variable": RAIN, "error": "interannual"})
    expected = np.std([0, 1, 2, 3], ddof=1) / 86400
    assert float(found.standard_deviation[0]) == pytest.approx(expected, rel=1e-9)


def test_a_window_leaves_the_years_inside(small_model):
    data = gpcp(years=2)
    data["precip"][12:] += 1.0
    options = {"window": ("2002-01", "2002-12")}
    found, first = (loaded(data, small_model, {"variable": RAIN, "error": 1e-5}, **each)
                    for each in (options, {"window": ("2001-01", "2001-12")}))  # fmt: skip
    assert float(found.values[0] - first.values[0]) == pytest.approx(1 / 86400, rel=1e-9)


def test_a_flux_that_counts_the_other_way_is_turned_round_when_told(small_model):
    data = ceres(positive="down")
    data["toa_lw_all_mon"].values *= -1
    given = {"variable": HEAT, "error": 1.0}
    found = loaded(data, small_model, given, positive={"toa_lw_all_mon": "down"})
    assert 230 < float(found.values[0]) < 270
    assert "positive down" in found.describe()


def test_signs_that_disagree_are_refused(small_model):
    with pytest.raises(ValueError, match=r"counts down.*counts outgoing longwave radiation up"):
        loaded(ceres(positive="down"), small_model, {"variable": HEAT, "error": 1.0})


def test_numbers_of_the_wrong_sign_are_refused(small_model):
    data = ceres()
    data["toa_lw_all_mon"].values *= -1
    with pytest.raises(ValueError, match="opposite direction: pass positive"):
        loaded(data, small_model, {"variable": HEAT, "error": 1.0})


@pytest.mark.parametrize(("source", "given", "options", "message"), [
    (CLIMATOLOGY, {"variable": RAIN, "error": 1.0}, {},
     r"'m', the model has 'kg m-2 s-1'; an amount without a time"),
    (CLIMATOLOGY, {"variable": RAIN, "error": 1.0}, {"units": {"tp": "m day-1"}},
     "look like mm month-1"),
    (CLIMATOLOGY, {**WARMTH, "periods": "months"},
     {"units": {"t2m": "degC"}, "start": "2001-01-01", "count": 365}, "months are missing: Feb"),
    (HOURLY, WARMTH, {"window": ("2026-03", "2030-01")}, "beyond the data.*2026-03 to 2026-03"),
    (HOURLY, WARMTH, {"units": {"t2": "K"}}, "no variable 't2'"),
    (HOURLY, {"variable": HEAT, "error": 1.0}, {}, "no variable known to be"),
    (HOURLY, {**WARMTH, "from_file": "t2n"}, {}, "did you mean t2m"),
    (HOURLY, {**WARMTH, "from_file": "msl"}, {}, "units disagree: 'msl'.*'Pa', the model has 'K'"),
    (HOURLY, {"variable": WARMTH["variable"]}, {}, "give the standard deviation"),
    (HOURLY, {**WARMTH, "error": "interannual"}, {}, "needs 3 years"),
    (HOURLY, {**WARMTH, "statistic": "variance"}, {}, "compute variances"),
    (LEVELS, {"variable": "air_temperature", "pressure": 850, "error": 1.0}, {},
     "Select one level or member"),
    (LEVELS, {"variable": "air_temperature", "pressure": 700, "error": 1.0},
     {"select": {"number": 0}}, "no level 700 hPa; it has: 850, 500"),
    (LEVELS, {"variable": "air_temperature", "level": 3, "error": 1.0},
     {"select": {"number": 0}}, "on pressure levels"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_reason(
    small_model, source, given, options, message
):
    with pytest.raises(ValueError, match=message):
        loaded(source, small_model, given, **options)


def test_data_that_are_missing_everywhere_are_refused(small_model):
    data = gpcp()
    data["precip"][0] = np.nan
    with pytest.raises(ValueError, match="missing"):
        loaded(data, small_model, {"variable": RAIN, "error": 1e-5})


def test_a_file_that_does_not_exist_is_named(small_model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.nc"):
        loaded(tmp_path / "absent.nc", small_model, WARMTH)


@pytest.mark.parametrize(("written", "model", "factor"), [
    ("m s**-1", "m s-1", 1), ("mm/day", "kg m-2 s-1", 1 / 86400), ("W/m2", "W m-2", 1),
    ("hPa", "Pa", 100), ("%", "1", 0.01), ("g kg**-1", "kg kg-1", 1e-3), ("N m-2", "Pa", 1),
    ("J m**-2 h-1", "W m-2", 1 / 3600), ("m**2 s**-2", "m", 1 / 9.81),
])  # fmt: skip
def test_units_are_read_as_files_write_them(written, model, factor):
    assert conversion(written, model, "x")[0] == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("written", [None, "", "furlong", "K"])
def test_units_that_do_not_fit_name_both(written):
    with pytest.raises(ValueError, match="furlong" if written == "furlong" else "'W m-2'"):
        conversion(written, "W m-2", "x")
