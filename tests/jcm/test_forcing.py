"""Boundary conditions: what is packaged, what users bring, and what is refused."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jcm import speedy_data
from jcm.calendar import parse_date
from jcm.data import data_path
from jcm.forcing import (
    Forcing,
    aquaplanet_forcing,
    packaged_forcing,
    read_forcing,
    speedy_forcing,
    uniform_forcing,
)
from jcm.forcing_fields import FORCING_UNITS
from jcm.forcing_files import complete_fields, packaged_fields
from jcm.grid import make_grid
from jcm.parameters import leaf_names

GRID = make_grid("T21")
GRAVITY = 9.81
FIELDS = {"surface_geopotential": "orog", "land_fraction": "sftlf", "bare_albedo": "alb",
          "sea_surface_temperature": "tos", "sea_ice_fraction": "siconc",
          "soil_temperature": "tsl", "snow_depth": "snw",
          "soil_water_availability": "soilwet"}  # fmt: skip


def coarse_grid(nlat: int = 24) -> SimpleNamespace:
    """A Gaussian grid for which there is no packaged file."""
    nodes, weights = np.polynomial.legendre.leggauss(nlat)
    return SimpleNamespace(
        name="coarse",
        nlat=nlat,
        nlon=2 * nlat,
        latitude=np.rad2deg(np.arcsin(nodes)),
        longitude=np.arange(2 * nlat) * 180 / nlat,
        cell_area=weights,
    )


def globe(step: float = 5.0) -> xr.Dataset:
    """A planet with one square continent: every field, land and sea only where they exist."""
    lat, lon = np.arange(-90 + step / 2, 90, step), np.arange(0, 360, step)
    land = ((np.abs(lat) < 40)[:, None] & ((lon > 60) & (lon < 180))).astype(float)
    months = np.cos(2 * np.pi * np.arange(12) / 12)[:, None, None]
    warm = 300 - 0.5 * np.abs(lat)[:, None] + 2 * months
    on_land, on_sea = np.where(land, 1, np.nan), np.where(land, np.nan, 1)
    monthly, single = ("time", "lat", "lon"), ("lat", "lon")
    data = {
        "orog": (single, 500 * land, {"units": "m", "standard_name": "surface_altitude"}),
        "sftlf": (single, land, {"units": "1", "standard_name": "land_area_fraction"}),
        "alb": (single, 0.07 + 0.2 * land, {"units": "1", "standard_name": "surface_albedo"}),
        "tos": (monthly, warm * on_sea, {"units": "K", "standard_name": "sea_surface_temperature"}),
        "siconc": (monthly, 0.5 * (warm < 265) * on_sea,
                   {"units": "1", "standard_name": "sea_ice_area_fraction"}),
        "tsl": (monthly, (warm - 5) * on_land, {"units": "K", "standard_name": "soil_temperature"}),
        "snw": (monthly, (10 + 10 * months) * on_land,
                {"units": "kg m-2", "standard_name": "surface_snow_amount"}),
        "soilwet": (monthly, 0.5 + 0 * warm * on_land, {"units": "1"}),
    }  # fmt: skip
    coords = {
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
        "time": ("time", np.arange(1, 13)),
    }
    return xr.Dataset(data, coords=coords)


def read(dataset, grid=GRID, **options) -> Forcing:
    options.setdefault("notes", [])
    return read_forcing(dataset, grid, start="2000-01-01", gravity=GRAVITY, **options)


def assert_same(a: Forcing, b: Forcing, rtol: float = 1e-12) -> None:
    for name in leaf_names(a):
        x, y = (np.asarray(getattr(f, name)) for f in (a, b))
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol, err_msg=name)


# --- packaged ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["T21", "T30", "T31", "T42", "T63"])
def test_packaged_fields_are_finite_in_range_and_of_the_shape_of_the_grid(name):
    grid = make_grid(name)
    forcing = packaged_forcing(grid, gravity=GRAVITY)
    for field in FIELDS:
        values = np.asarray(getattr(forcing, field))
        assert values.shape[-2:] == grid.shape
        low, high = FORCING_UNITS[field].valid_range
        assert np.all((values >= low) & (values <= high)), field


def test_packaged_orography_is_that_of_the_file_times_gravity():
    forcing = packaged_forcing(make_grid("T31"), gravity=10.0)
    with xr.open_dataset(data_path("boundary_T31.nc")) as file:
        expected = 10.0 * file["orog"].values.astype(float).T
    np.testing.assert_allclose(forcing.surface_geopotential, expected, rtol=1e-12)


def test_packaged_sea_temperature_is_that_of_the_ice_where_it_freezes():
    forcing = packaged_forcing(GRID, gravity=GRAVITY)
    with xr.open_dataset(data_path("boundary_T21.nc")) as file:
        expected = file["ts_sea"].values.astype(float)
    sea = np.asarray(forcing.sea_surface_temperature)
    np.testing.assert_allclose(sea, expected.swapaxes(1, 2), rtol=1e-12)
    assert sea.min() < 250


def test_soil_is_273_k_where_there_is_no_land():
    forcing = packaged_forcing(GRID, gravity=GRAVITY)
    ocean = np.asarray(forcing.land_fraction) == 0
    assert np.all(np.asarray(forcing.soil_temperature)[:, ocean] == 273)


def test_packaged_data_need_no_filling():
    for name in ("T21", "T31", "T42", "T63"):
        grid, notes = make_grid(name), []
        complete_fields(packaged_fields(grid, GRAVITY), grid, {}, notes)
        assert notes == []


def test_t30_and_t31_have_the_same_fields():
    assert_same(*(packaged_forcing(make_grid(name), gravity=GRAVITY) for name in ("T30", "T31")))


def test_a_coarser_grid_keeps_the_global_means_of_the_finer_file():
    grid, fine = coarse_grid(), make_grid("T21")
    coarse, whole = (packaged_forcing(g, gravity=GRAVITY) for g in (grid, fine))
    for field, tolerance in (("land_fraction", 0.003), ("surface_geopotential", 20.0)):
        means = [
            np.average(np.asarray(getattr(f, field)).mean(0), weights=g.cell_area)
            for f, g in ((coarse, grid), (whole, fine))
        ]
        # xarray-regrid takes the middle between Gaussian nodes as the edge of a cell
        assert means[0] == pytest.approx(means[1], abs=tolerance), field


def test_a_grid_finer_than_t63_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"T85 \(256 x 128\).*T63.*read_forcing"):
        packaged_forcing(make_grid("T85"), gravity=GRAVITY)


def test_dates_are_integers_and_start_on_the_day_given():
    forcing = packaged_forcing(GRID, start="1982-01-01", gravity=GRAVITY)
    assert forcing.start_day.dtype == forcing.anomaly_first_month.dtype == jnp.int32
    assert int(forcing.start_day) == parse_date("1982-01-01") == 4383


def test_fields_have_the_type_asked_for():
    forcing = packaged_forcing(GRID, gravity=GRAVITY, dtype=jnp.float32)
    assert {getattr(forcing, field).dtype for field in FIELDS} == {jnp.dtype("float32")}


def test_every_field_of_forcing_is_described():
    forcing = packaged_forcing(GRID, gravity=GRAVITY)
    described = set(FORCING_UNITS) | {"anomaly_first_month", "start_day"}
    assert set(leaf_names(forcing)) <= described


def test_soil_water_is_given_exactly_once():
    forcing = packaged_forcing(GRID, gravity=GRAVITY)
    with pytest.raises(ValueError, match=r"either soil_water_availability or soil_layers.*none"):
        dataclasses.replace(forcing, soil_water_availability=None)


# --- idealised --------------------------------------------------------------------------------


def test_aquaplanet_is_27_degrees_warm_at_the_equator_and_0_beyond_60():
    forcing = aquaplanet_forcing(make_grid("T63"), gravity=GRAVITY)
    latitude = make_grid("T63").latitude
    celsius = np.asarray(forcing.sea_surface_temperature)[0, 0] - 273.15
    at_30 = np.interp(30, latitude, celsius)
    assert celsius.max() == pytest.approx(27, abs=0.02)
    assert at_30 == pytest.approx(13.5, abs=0.02)  # sin^2(45 degrees) = 1/2
    assert np.all(celsius[np.abs(latitude) > 60] == 0)


@pytest.mark.parametrize("make", [aquaplanet_forcing, uniform_forcing])
def test_water_planets_have_no_land_no_mountains_and_no_ice(make):
    forcing = make(GRID, gravity=GRAVITY)
    for field in ("land_fraction", "surface_geopotential", "sea_ice_fraction", "snow_depth"):
        assert not np.any(np.asarray(getattr(forcing, field))), field


def test_uniform_sea_has_the_temperature_given():
    forcing = uniform_forcing(GRID, 290.0, gravity=GRAVITY)
    assert np.all(np.asarray(forcing.sea_surface_temperature) == 290)


def test_uniform_sea_of_27_kelvin_is_refused():
    with pytest.raises(ValueError, match=r"outside 170..330 K.*Celsius"):
        uniform_forcing(GRID, 27.0, gravity=GRAVITY)


# --- files of users ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["T21", "T31", "T42"])
def test_files_are_moved_to_the_grid_within_their_range(name):
    forcing = read(globe(), make_grid(name))
    assert forcing.sea_surface_temperature.shape == (12, *make_grid(name).shape)
    land = np.asarray(forcing.land_fraction)
    assert land.min() == 0 and land.max() == pytest.approx(1)
    geopotential = np.asarray(forcing.surface_geopotential)
    np.testing.assert_allclose(geopotential, 500 * GRAVITY * land, atol=1e-9)


def test_missing_sea_does_not_dilute_the_sea_at_the_coast():
    forcing = read(globe())
    coast = (np.asarray(forcing.land_fraction) > 0.1) & (np.asarray(forcing.land_fraction) < 0.9)
    temperature = np.asarray(forcing.sea_surface_temperature)[:, coast]
    assert coast.any()
    assert temperature.min() > 270


def test_zeros_over_land_do_not_dilute_sea_ice_at_the_coast():
    dataset = globe()
    ice = xr.where(dataset["sftlf"] > 0, 0.0, 0.8 + 0 * dataset["siconc"].fillna(0))
    dataset["siconc"] = ice.assign_attrs(dataset["siconc"].attrs)
    forcing = read(dataset)
    sea = np.asarray(forcing.land_fraction) < 0.9
    np.testing.assert_allclose(np.asarray(forcing.sea_ice_fraction)[:, sea], 0.8)


def test_a_constant_field_stays_constant():
    dataset = globe()
    dataset["tos"] = (0 * dataset["tos"] + 290).assign_attrs(dataset["tos"].attrs)
    forcing = read(dataset, make_grid("T31"))
    sea = np.asarray(forcing.land_fraction) < 0.9
    np.testing.assert_allclose(np.asarray(forcing.sea_surface_temperature)[:, sea], 290)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.isel(lat=slice(None, None, -1)),
        lambda d: d.assign_coords(lon=(d.lon + 180) % 360 - 180).sortby("lon"),
        lambda d: xr.concat([d, d.isel(lon=[0]).assign_coords(lon=[360.0])], "lon",
                            data_vars="all", coords="minimal", compat="override", join="outer"),
        lambda d: d.rename(lat="latitude", lon="longitude", time="month"),
        lambda d: d.transpose("lon", "time", "lat"),
        lambda d: d.isel(time=np.roll(np.arange(12), 5)),
        lambda d: d.expand_dims(number=1),
        lambda d: d.assign_coords(time=xr.date_range("1999-01-15", periods=12, freq="31D")),
        lambda d: d.fillna(1e34),
    ],
    ids=["north first", "from -180", "wrap column", "names", "dimension order", "from August",
         "scalar member", "dates", "fill value without attribute"],
)  # fmt: skip
def test_order_and_names_of_coordinates_do_not_matter(change):
    assert_same(read(change(globe())), read(globe()), rtol=1e-7)


def test_celsius_and_per_cent_are_converted():
    dataset = globe()
    dataset["tos"] = (dataset["tos"] - 273.15).assign_attrs(
        dataset["tos"].attrs | {"units": "degC"}
    )
    dataset["sftlf"] = (100 * dataset["sftlf"]).assign_attrs(units="%")
    assert_same(read(dataset), read(globe()), rtol=1e-9)


def test_netcdf_zarr_and_one_file_per_field_give_the_same(tmp_path):
    dataset = globe()
    dataset.to_netcdf(tmp_path / "all.nc")
    dataset.to_zarr(tmp_path / "all.zarr", zarr_format=3, consolidated=False)
    apart = {name: tmp_path / f"{name}.nc" for name in FIELDS.values()}
    for name, path in apart.items():
        dataset[[name]].to_netcdf(path)
    expected = read(dataset)
    for paths in (tmp_path / "all.nc", str(tmp_path / "all.zarr"), apart):
        assert_same(read(paths), expected)


def test_the_packaged_file_read_as_a_users_file_gives_the_packaged_forcing():
    notes = []
    forcing = read(data_path("boundary_T21.nc"), notes=notes)
    assert_same(forcing, packaged_forcing(GRID, gravity=GRAVITY))
    assert notes == []


def test_a_variable_can_be_named_and_given_units():
    dataset = globe().rename(tos="x")
    dataset["x"].attrs.clear()
    forcing = read(dataset, names={"tos": "x"}, units={"sea_surface_temperature": "K"})
    assert_same(forcing, read(globe()))


def test_fields_that_no_file_has_come_from_the_package_with_a_note():
    notes = []
    forcing = read(data_only("soil_temperature", "tsl"), notes=notes)
    packaged = packaged_forcing(GRID, gravity=GRAVITY)
    np.testing.assert_array_equal(forcing.land_fraction, packaged.land_fraction)
    assert any("packaged climatology" in note and "land_fraction" in note for note in notes)


def data_only(field: str, variable: str) -> xr.Dataset:
    """A file with one field, the packaged one on its own grid."""
    with xr.open_dataset(data_path("boundary_T21.nc")) as file:
        return file[[variable]].rename({variable: field}).load()


def test_notes_are_logged_if_nobody_takes_them(caplog):
    read(data_only("soil_temperature", "tsl"), notes=None)
    assert "packaged climatology" in caplog.text


def test_packaged_soil_does_not_reach_land_that_the_package_does_not_know():
    with pytest.raises(ValueError, match=r"soil_temperature is missing in \d+ cells .* land"):
        read(globe()[["sftlf"]])


def test_coastal_gaps_are_filled_and_counted():
    dataset = globe(2.5)
    hole = (np.abs(dataset["lat"]) < 8) & (dataset["lon"] > 174) & (dataset["lon"] < 184)
    dataset["tos"] = dataset["tos"].where(~hole)
    notes = []
    read(dataset, make_grid("T42"), notes=notes)
    assert any("cells at the coast filled" in note for note in notes)


def test_soil_layers_take_the_place_of_soil_water_availability():
    dataset = globe().drop_vars("soilwet")
    dataset["swl1"] = (0.3 + 0 * dataset["tsl"]).assign_attrs(units="m3 m-3")
    dataset["swl2"] = (0.2 + 0 * dataset["tsl"]).assign_attrs(units="m3 m-3")
    dataset["vegh"] = (0.5 * dataset["sftlf"]).assign_attrs(units="1")
    dataset["vegl"] = (0.5 * dataset["sftlf"]).assign_attrs(units="1")
    forcing = read(dataset)
    assert forcing.soil_water_availability is None
    assert float(forcing.soil_layers.lower.max()) == pytest.approx(0.2)


def anomalies(months: int = 30) -> xr.Dataset:
    time = xr.date_range("1981-11-01", periods=months, freq="MS")
    dataset = globe()
    values = (0 * dataset["tos"].isel(time=0, drop=True)).expand_dims(time=time)
    values = values + xr.DataArray(np.arange(months) / 10, dims="time")
    return values.fillna(0).assign_attrs(units="degC").to_dataset(name="ssta")


def test_anomalies_are_differences_and_know_their_first_month(tmp_path):
    anomalies().to_netcdf(tmp_path / "ssta.nc")
    forcing = read(globe(), anomaly=tmp_path / "ssta.nc")
    assert int(forcing.anomaly_first_month) == 12 * 1981 + 10
    first_longitude = np.asarray(forcing.sea_surface_temperature_anomaly)[:, 0, 0]
    np.testing.assert_allclose(first_longitude, np.arange(30) / 10, atol=1e-12)


# --- what is refused --------------------------------------------------------------------------


def with_values(name, change) -> xr.Dataset:
    dataset = globe()
    dataset[name] = change(dataset[name]).assign_attrs(dataset[name].attrs)
    return dataset


def with_units(name, units) -> xr.Dataset:
    dataset = globe()
    if units is None:
        del dataset[name].attrs["units"]
    else:
        dataset[name].attrs["units"] = units
    return dataset


def curvilinear() -> xr.Dataset:
    lat, lon = np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij")
    data = (("y", "x"), lat, {"units": "m", "standard_name": "surface_altitude"})
    coords = {
        "lat": (("y", "x"), lat, {"standard_name": "latitude"}),
        "lon": (("y", "x"), lon, {"standard_name": "longitude"}),
    }
    return xr.Dataset({"orog": data}, coords=coords)


REFUSED = {
    "empty dataset": (lambda: xr.Dataset(), r"holds no variables"),
    "no known variable": (
        lambda: globe()[["soilwet"]].rename(soilwet="w"),
        r"no known boundary field; it has: w; .*names=",
    ),
    "latitude with two dimensions": (curvilinear, r"two dimensions .*rectilinear.*Regrid"),
    "no longitude": (
        lambda: globe().rename(lon="x").drop_vars("x"), r"no longitude coordinate"
    ),
    "shuffled latitudes": (
        lambda: globe().isel(lat=[0, 2, 1, *range(3, 36)]), r"latitudes are not in order"
    ),
    "latitude beyond the pole": (
        lambda: globe().assign_coords(lat=("lat", np.linspace(-100, 100, 36))),
        r"leave -90..90",
    ),
    "eleven months": (lambda: globe().isel(time=slice(11)), r"11 records; expected 12"),
    "a month twice": (
        lambda: globe().assign_coords(time=xr.date_range("2000-01-01", periods=12, freq="YS")),
        r"months are \[1, 1, .*each of 1..12",
    ),
    "no month dimension": (lambda: globe().isel(time=0), r"has 1 record; expected 12"),
    "monthly orography": (
        lambda: with_values("orog", lambda x: x.expand_dims(time=np.arange(12))),
        r"has 12 records; expected a single one",
    ),
    "levels": (
        lambda: with_values("tsl", lambda x: x.expand_dims(depth=3)), r"at most one more"
    ),
    "no units": (lambda: with_units("tos", None), r"has no units; expected one of K.*degC"),
    "wrong units": (lambda: with_units("tos", "m"), r"has units 'm'; expected one of K.*degC"),
    "celsius labelled kelvin": (
        lambda: with_values("tos", lambda x: x - 273.15),
        r"outside 170..330 K.*look like degrees Celsius: set units to degC",
    ),
    "per cent labelled fraction": (
        lambda: with_values("sftlf", lambda x: 100 * x), r"look like per cent: set units to %"
    ),
    "negative snow": (
        lambda: with_values("snw", lambda x: x - 15), r"outside 0..20000 kg m-2, the first is -"
    ),
    "hole in the open sea": (
        lambda: with_values("tos", lambda x: x.where((x.lon < 300) | (x.lon > 320))),
        r"missing in \d+ cells with at least 10% sea, the first at 85.8S 303.8E, record 1",
    ),
    "sea where the mask has land": (
        lambda: with_values("tsl", lambda x: x.where(x.lon < 100)),
        r"missing in \d+ cells with at least 10% land.*land fraction",
    ),
    "missing land fraction": (
        lambda: with_values("sftlf", lambda x: x.where(x.lon < 300)), r"missing in \d+ cells"
    ),
    "part of the globe": (
        lambda: globe().sel(lon=slice(0, 200)), r"is missing in \d+ cells"
    ),
    "two candidates": (
        lambda: globe().rename(tos="a").assign(b=globe()["tos"]), r"several variables.*a, b"
    ),
    "soil water twice": (
        lambda: globe().assign(swl1=(0 * globe()["tsl"]).assign_attrs(units="1")),
        r"soil water is given twice",
    ),
    "half of the soil layers": (
        lambda: globe().drop_vars("soilwet").assign(
            swl1=(0 * globe()["tsl"]).assign_attrs(units="1")
        ),
        r"soil layers are incomplete: expected all of .*soil_layers.lower",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_advice(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        read(make())


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere.nc.*netCDF"):
        read(tmp_path / "nowhere.nc")


def test_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r"unknown boundary field 'ozone'; available: .*orog"):
        read({"ozone": globe()})


def test_unknown_variable_is_refused():
    with pytest.raises(ValueError, match=r"no variable 'nope'; it has: orog"):
        read(globe(), names={"orog": "nope"})


def test_too_fine_a_grid_without_all_fields_is_refused():
    with pytest.raises(ValueError, match=r"files lack .*snow_depth.*no packaged .* T85"):
        read(globe().drop_vars("snw"), make_grid("T85"))


def test_anomalies_with_a_missing_month_are_refused():
    with pytest.raises(ValueError, match=r"records 3 and 4 are not of successive months"):
        read(globe(), anomaly=anomalies().drop_isel(time=3))


def test_anomalies_without_dates_are_refused_with_a_way_out():
    dataset = anomalies().assign_coords(time=np.arange(30))
    with pytest.raises(ValueError, match=r"no dates that can be read.*anomaly_start"):
        read(globe(), anomaly=dataset)
    forcing = read(globe(), anomaly=dataset, anomaly_start="1979-01")
    assert int(forcing.anomaly_first_month) == 12 * 1979


@pytest.mark.parametrize("start", ["1.1.2000", "2001-02-29"])
def test_a_date_that_does_not_exist_is_refused(start):
    with pytest.raises(ValueError, match=r"date"):
        packaged_forcing(GRID, start=start, gravity=GRAVITY)


# --- SPEEDY -----------------------------------------------------------------------------------


@pytest.fixture
def speedy_files(tmp_path, monkeypatch):
    """Files of the form of SPEEDY's: north first, 9.97e36 where missing."""
    monkeypatch.setenv("JCM_CACHE", str(tmp_path))
    folder, fill = tmp_path / "speedy", np.float32(9.96921e36)
    folder.mkdir()
    lat = np.round(make_grid("T30").latitude[::-1], 3)
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}),
              "lon": ("lon", np.arange(96) * 3.75, {"units": "degrees_east"})}  # fmt: skip
    land = np.zeros((48, 96))
    land[:24] = 1  # the north is land
    land[24] = 0.05
    orog = np.broadcast_to(lat[:, None], land.shape)

    def save(name, single=(), **monthly):
        data = {k: (("lat", "lon"), np.float32(v)) for k, v in dict(single).items()}
        data |= {k: (("time", "lat", "lon"), np.float32(v)) for k, v in monthly.items()}
        path = folder / name
        xr.Dataset(data, coords=coords).to_netcdf(path)
        known[name] = (known[name][0], speedy_data._sha256(path.read_bytes()))

    known = dict(speedy_data.MEMBERS)
    year = np.ones((12, 1, 1))
    on_land, on_sea = np.where(land > 0.1, 1.0, fill), np.where(land < 0.9, 1.0, fill)
    save("surface.nc", {"orog": orog, "lsm": land, "alb": 0.1 + 0 * land, "vegh": land,
                        "vegl": land})  # fmt: skip
    save("land.nc", stl=year * np.where(on_land == 1, 280, fill))
    save("snow.nc", snowd=year * np.where(on_land == 1, 5, fill))
    save("soil.nc", swl1=0.2 * year * on_land, swl2=0.2 * year * on_land)
    save("sea_surface_temperature.nc", sst=year * np.where(on_sea == 1, 290, fill))
    save("sea_ice.nc", icec=0.1 * year * on_sea)
    save("sea_surface_temperature_anomaly.nc", ssta=np.ones((420, 1, 1)) * (0 * land + 0.5))
    monkeypatch.setattr(speedy_data, "MEMBERS", known)
    return save, year, fill


def test_speedy_fields_are_turned_south_to_north(speedy_files):
    forcing = speedy_forcing(make_grid("T30"), gravity=GRAVITY)
    expected = GRAVITY * np.broadcast_to(make_grid("T30").latitude, (96, 48))
    # files give latitudes to 0.001 degrees, here the height as well
    np.testing.assert_allclose(forcing.surface_geopotential, expected, atol=0.01)


def test_speedy_fill_values_become_defaults_where_nothing_is_needed(speedy_files):
    forcing = speedy_forcing(make_grid("T30"), gravity=GRAVITY)
    assert set(np.unique(forcing.soil_temperature)) == {273.0, 280.0}
    assert set(np.unique(forcing.sea_surface_temperature)) == {273.0, 290.0}
    assert set(np.unique(forcing.snow_depth)) == {0.0, 5.0}


def test_speedy_has_420_anomalies_from_january_1979_and_soil_layers(speedy_files):
    forcing = speedy_forcing(make_grid("T30"), gravity=GRAVITY)
    assert forcing.sea_surface_temperature_anomaly.shape == (420, 96, 48)
    assert int(forcing.anomaly_first_month) == 12 * 1979
    assert forcing.soil_water_availability is None and forcing.soil_layers is not None


def test_speedy_data_missing_where_needed_are_refused(speedy_files):
    save, year, fill = speedy_files
    save("land.nc", stl=year * np.full((48, 96), fill))
    with pytest.raises(ValueError, match=r"'stl' of land.nc .* missing in 2304 cells .* land"):
        speedy_forcing(make_grid("T30"), gravity=GRAVITY)


def test_speedy_data_are_refused_on_another_grid():
    with pytest.raises(ValueError, match=r"96 x 48 points, grid T42 128 x 64"):
        speedy_forcing(make_grid("T42"), gravity=GRAVITY)


def test_speedy_data_not_fetched_yet_say_how(tmp_path, monkeypatch):
    monkeypatch.setenv("JCM_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"jcm data speedy"):
        speedy_forcing(make_grid("T30"), gravity=GRAVITY)
