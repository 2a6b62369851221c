"""The statistics of the climatology study, on samples and fields with known answers."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from jcm.grid import make_grid
from jcm.options import PRESETS

STUDY = Path(__file__).parents[1] / "studies" / "climatology"


def load_study() -> SimpleNamespace:
    """Import the files of the study, whose names other studies may have as well."""
    names = [path.stem for path in STUDY.glob("*.py")]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(STUDY))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(STUDY))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


study = load_study()
GRID = make_grid("T30")
LAYERS, YEARS = 8, 10


def shape_of(name: str) -> tuple[int, ...]:
    return (LAYERS,) * (name in study.climate.LAYERED) + (GRID.nlat, GRID.nlon)


def sample(rng: np.random.Generator, years: int, mean: float = 10.0) -> xr.Dataset:
    """Return a climatology whose years are independent draws, the same in all months."""
    variables, dims = {}, ("lat", "lon")
    for name in study.climate.FIELDS:
        annual = mean + rng.standard_normal((years, *shape_of(name)))
        over = ("level", *dims) if annual.ndim == 4 else dims
        variables[name] = (("month", *over), np.repeat(annual.mean(axis=0)[None], 12, axis=0))
        variables[name + "_year"] = (("year", *over), annual)
    variables["area_weight"] = ("lat", GRID.quadrature_weight / 2)
    variables["dsigma"] = ("level", np.full(LAYERS, 1 / LAYERS))
    coordinates = {
        "lat": GRID.latitude, "lon": GRID.longitude, "level": (np.arange(LAYERS) + 0.5) / LAYERS}
    return xr.Dataset(variables, coordinates)


def as_reference(halves: list[xr.Dataset]) -> xr.Dataset:
    """Return two halves of equal length as the file of a reference has them."""
    reference = (halves[0] + halves[1]) / 2
    for name in study.climate.FIELDS:
        reference[name + "_hd"] = (halves[0][name] - halves[1][name]) / 2
    land = np.zeros((GRID.nlat, GRID.nlon))
    land[:, :20] = 1.0
    reference["fmask_l"] = (("lat", "lon"), land)
    return reference.assign_attrs(sample=f"{YEARS} model years from independent integrations")


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(1)
    return as_reference([sample(rng, YEARS // 2) for _ in range(2)])


@pytest.fixture(scope="module")
def model_like_reference():
    return sample(np.random.default_rng(2), 4)


@pytest.fixture(scope="module")
def comparison(model_like_reference, reference):
    return study.compare.compare(model_like_reference, reference)


def harmonic(wavenumber: int) -> np.ndarray:
    """Return cos^l(lat) cos(l lon), (lat, lon), of total wavenumber l."""
    return GRID.cos_latitude[:, None] ** wavenumber * np.cos(
        wavenumber * np.deg2rad(GRID.longitude))


def area_mean(field: np.ndarray) -> float:
    return float(np.sum(field.mean(axis=-1) * GRID.quadrature_weight) / 2)


# Differences and their noise.


def test_noise_of_five_years_beside_ten_is_that_of_the_formula_by_hand():
    # sqrt((1/5 + 1/10) / (2/5))
    assert study.compare.noise_factor(5, 10) == pytest.approx(np.sqrt(0.75))


def test_constant_difference_has_its_size_in_all_statistics():
    found = study.compare.statistics(np.full((12, 3, 4, 6), -2.0), np.ones((3, 4)))
    assert list(found.values()) == pytest.approx([2.0, 2.0, 2.0])


def test_wave_along_latitude_circles_is_seen_on_the_grid_only():
    wave = np.broadcast_to(np.sin(2 * np.pi * np.arange(8) / 8), (12, 4, 8))
    found = study.compare.statistics(wave, np.ones(4))
    assert found == pytest.approx(
        {"annual zonal": 0.0, "annual grid": np.sqrt(0.5), "monthly zonal": 0.0}, abs=1e-12)


def test_annual_cycle_without_mean_is_seen_in_months_only():
    cycle = np.cos(2 * np.pi * np.arange(12) / 12)[:, None, None] * np.ones((12, 4, 8))
    found = study.compare.statistics(cycle, np.ones(4))
    assert found["annual grid"] == pytest.approx(0, abs=1e-12)
    assert found["monthly zonal"] == pytest.approx(np.sqrt(0.5))


def test_latitudes_beyond_the_limit_have_no_weight(reference):
    weight = study.compare.weights(reference, reference["ps"].values, 75.0)
    np.testing.assert_array_equal(weight > 0, np.abs(GRID.latitude) <= 75)


def test_another_sample_of_the_same_climate_passes_in_every_judged_field(comparison):
    assert all(line["passes"] for line in comparison["judged"].values())
    # Random numbers of 96 columns and 48 rows: layered fields know their noise to a few percent.
    assert comparison["rmse"]["u"]["annual grid"]["ratio"] == pytest.approx(1, abs=0.02)


def test_noise_from_the_years_of_the_model_agrees_with_that_of_the_halves(comparison):
    line = comparison["rmse"]["t"]["annual zonal"]
    assert line["noise_from_years"] == pytest.approx(line["noise"], rel=0.2)


def test_another_climate_fails(model_like_reference, reference):
    warmer = model_like_reference.assign(t=model_like_reference["t"] + 0.2)
    found = study.compare.compare(warmer, reference)
    assert not found["judged"]["t"]["passes"]
    assert not found["passes"]


def test_reference_on_another_grid_is_refused(model_like_reference, reference):
    with pytest.raises(ValueError, match="--grid T30L8"):
        study.compare.check_grid(model_like_reference, reference.isel(lat=slice(None, -1)))


def test_file_that_is_no_reference_is_refused(reference):
    assert study.compare.kind_of(reference, "x.nc") == "climatology"
    with pytest.raises(ValueError, match=r"x\.nc is no reference"):
        study.compare.kind_of(reference[["u", "t"]], "x.nc")


def test_reference_without_its_number_of_years_is_refused(reference):
    with pytest.raises(ValueError, match="model years"):
        study.compare.sample_size(reference.assign_attrs(sample="long"))


# Budgets and spectra.


def test_budgets_by_hand():
    found = study.compare.budget({
        "tsr": 240.0, "olr": 235.0, "ssr": 170.0, "slr": 60.0, "shf": 20.0, "evap": 2.592,
        "prec": 3.0})  # fmt: skip
    # 2.592 mm day-1 are 3e-5 kg m-2 s-1, that is 75.03 W m-2.
    assert found == pytest.approx({
        "net at the top": 5.0, "latent heat flux": 75.03, "net at the surface": 14.97,
        "residual": -9.97, "precipitation minus evaporation": 0.408})  # fmt: skip


def test_power_of_a_harmonic_is_its_mean_square_at_its_wavenumber():
    field = harmonic(7)
    expected = np.where(np.arange(31) == 7, area_mean(field**2), 0.0)
    np.testing.assert_allclose(study.compare.spectral_power(field), expected, atol=1e-12)


def test_kinetic_energy_of_solid_rotation_is_at_wavenumber_1():
    wind = np.broadcast_to(30 * GRID.cos_latitude[:, None], (1, GRID.nlat, GRID.nlon))
    found = study.compare.kinetic_energy(wind, np.zeros_like(wind))
    # The mean of cos^2(latitude) over the globe is 2/3.
    np.testing.assert_allclose(found, np.where(np.arange(31) == 1, 300.0, 0.0), atol=1e-9)


def test_short_ripples_in_precipitation_fail(model_like_reference, reference):
    # As strong as all short waves of the reference together.
    ripple = harmonic(25)
    land = reference["fmask_l"].values
    power = study.compare.spectral_power(study.compare.sea_precipitation(reference, land))
    ripple *= 2 * np.sqrt(power[21:].sum() / area_mean(ripple**2))
    rippled = reference.assign(prec=reference["prec"] + xr.DataArray(ripple, dims=("lat", "lon")))
    assert study.compare.ringing(reference, reference)["passes"]
    assert not study.compare.ringing(rippled, reference)["passes"]


def test_reports_and_csv_hold_every_field(comparison, tmp_path):
    summary = {"name": "x", "years": 4, "reference": "x.nc"} | comparison
    json.dumps(summary)
    text = study.tables.reference_report(summary)
    study.tables.write_csv(summary, tmp_path / "rmse.csv")
    assert all(f"| {name} |" in text for name in study.climate.FIELDS)
    lines = (tmp_path / "rmse.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * len(study.climate.FIELDS)


# Monthly files.


@pytest.fixture(scope="module")
def monthly_files(tmp_path_factory):
    """Two years of files whose fields hold month + 100 year in our units."""
    folder = tmp_path_factory.mktemp("monthly")
    paths = []
    for index in range(24):
        value = index % 12 + 100.0 * (index // 12)
        variables: dict = {"level_bnds": (("level", "bounds"), [[0.0, 0.4], [0.4, 1.0]])}
        for name, field in study.climate.FIELDS.items():
            sizes = {"time": 1, "level": 2, "lat": 2, "lon": 4}
            if name not in study.climate.LAYERED:
                del sizes["level"]
            variables[field.variable] = (tuple(sizes), np.full(tuple(sizes.values()), value))
        coordinates = {"level": [0.2, 0.7], "lat": [-35.0, 35.0], "lon": np.arange(4) * 90.0}
        paths.append(folder / f"{index}.nc")
        xr.Dataset(variables, coordinates).to_netcdf(paths[-1])
    return paths


def test_climatology_is_the_mean_over_years_in_the_units_and_signs_of_the_reference(
    monthly_files,
):
    found = study.climate.climatology(monthly_files)
    months = np.arange(12) + 50.0
    np.testing.assert_allclose(found["t"][:, 0, 0, 0], months)
    np.testing.assert_allclose(found["q"][:, 1, 0, 0], 1000 * months)
    np.testing.assert_allclose(found["prec"][:, 0, 0], 86400 * months)
    np.testing.assert_allclose(found["ps"][:, 0, 0], 0.01 * months)
    np.testing.assert_allclose(found["slr"][:, 0, 0], -months)
    np.testing.assert_allclose(found["ustr"][:, 0, 0], -months)
    np.testing.assert_allclose(found["t_year"][:, 0, 0, 0], [5.5, 105.5])


def test_weights_of_the_climatology_are_those_of_area_and_mass(monthly_files):
    found = study.climate.climatology(monthly_files)
    np.testing.assert_allclose(found["area_weight"], [0.5, 0.5])
    np.testing.assert_allclose(found["dsigma"], [0.4, 0.6])


def test_part_of_a_year_is_refused(monthly_files):
    with pytest.raises(ValueError, match="whole years"):
        study.climate.climatology(monthly_files[:13])


# Configurations and runs.


def test_months_have_the_lengths_of_the_calendar():
    months = dict(study.simulation.labels(study.simulation.Configuration(), 36))
    assert (months["1982-02"], months["1984-02"]) == (28, 29)
    assert sum(months.values()) == 365 + 365 + 366


def test_folders_of_different_configurations_differ():
    plain = study.simulation.Configuration()
    changes = [
        {"preset": "speedy"}, {"dynamics": "dinosaur"}, {"grid": "T31L8"}, {"forcing": "packaged"},
        {"options": {"year": "true"}}, {"parameters": {"a.b": 1.0}}, {"time_step": 1800.0},
        {"orography": "a.nc"}, {"perturb": 1e-3, "seed": 1}, {"perturb": 1e-3, "seed": 2},
        {"float64": True}]  # fmt: skip
    names = {dataclasses.replace(plain, **change).name for change in changes}
    assert len(names | {plain.name}) == len(changes) + 1


def spectrum_file(path, truncation: int) -> Path:
    """Write a surface geopotential with a mean of 200 and one wave, as the reference has it."""
    values = np.zeros((truncation + 1, truncation + 2, 2))
    values[0, 0, 0], values[3, 2, 1] = 200.0, 50.0
    xr.Dataset({"phis_spec": (("m", "n", "ri"), values)}).to_netcdf(path)
    return path


def test_orography_of_a_file_is_that_of_its_spectrum(tmp_path):
    path = spectrum_file(tmp_path / "reference.nc", 21)
    configuration = study.simulation.Configuration(
        preset="speedy", grid="T21L8", forcing="packaged", float64=True, orography=str(path))
    model, inputs = study.simulation.build(configuration)
    spectrum = model.transform.analysis(inputs.forcing.surface_geopotential[:, None])
    with xr.open_dataset(path) as expected:
        np.testing.assert_allclose(
            np.moveaxis(np.asarray(spectrum[:, :, 0]), 1, 2), expected["phis_spec"], atol=1e-10)
    assert configuration.facts()["orography"] == "reference.nc"


def test_orography_of_another_truncation_is_refused(tmp_path):
    path = spectrum_file(tmp_path / "reference.nc", 31)
    configuration = study.simulation.Configuration(
        preset="speedy", grid="T21L8", forcing="packaged", orography=str(path))
    with pytest.raises(ValueError, match=r"expected phis_spec with shape \(22, 23, 2\)"):
        study.simulation.build(configuration)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """Return a configuration of short months, and a folder where two of them were run at once."""
    configuration = study.simulation.Configuration(
        preset="speedy", grid="T21L8", forcing="packaged", month_length=1, float64=True)
    folder = tmp_path_factory.mktemp("whole")
    study.simulation.integrate(configuration, folder, 2)
    return configuration, folder


def test_run_that_was_stopped_goes_on_as_if_it_had_not(short_run, tmp_path):
    configuration, whole = short_run
    study.simulation.integrate(configuration, tmp_path, 1)
    last = study.simulation.integrate(configuration, tmp_path, 2)[-1]
    with xr.open_dataset(last) as found, xr.open_dataset(
        whole / "monthly" / last.name) as expected:  # fmt: skip
        xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())


def test_months_that_are_there_are_not_computed_again(short_run, monkeypatch):
    configuration, folder = short_run
    monkeypatch.setattr(study.simulation, "_month", None)
    assert [path.stem for path in study.simulation.integrate(configuration, folder, 2)] == [
        "1982-01", "1982-02"]  # fmt: skip


def test_folder_of_another_configuration_is_refused(short_run):
    configuration, folder = short_run
    other = dataclasses.replace(configuration, options={"year": "original"})
    with pytest.raises(ValueError, match="year"):
        study.simulation.integrate(other, folder, 2)


def test_what_an_older_folder_does_not_name_is_no_difference(short_run):
    configuration, folder = short_run
    noted = json.loads((folder / "configuration.json").read_text())
    del noted["configuration"]["orography"]
    (folder / "configuration.json").write_text(json.dumps(noted))
    assert len(study.simulation.integrate(configuration, folder, 2)) == 2


# Observations.


def test_sea_level_pressure_of_the_standard_atmosphere():
    # ICAO standard atmosphere at 1000 m: 898.75 hPa, 281.65 K. Its gas constant is 287.05 and its
    # gravity 9.807, here 286.86 and 9.81: 0.1 % of the exponent, 12 Pa.
    found = study.observations.sea_level_pressure(
        np.array(89875.0), np.array(281.65), np.array(1000.0))
    assert found == pytest.approx(101325, abs=15)


def test_section_has_no_values_where_the_circle_is_mostly_below_the_ground(
    model_like_reference,
):
    pressure = np.full((12, GRID.nlat, GRID.nlon), 1000.0)
    pressure[:, 10, :50] = 600.0
    pressure[:, 11, :40] = 600.0
    climate = model_like_reference.assign(ps=(("month", "lat", "lon"), pressure))
    zonal, enough = study.observations.zonal_mean(climate, "u", np.array([80000.0]))
    assert not enough[0, 10]
    assert enough[0, 11]
    assert np.all(enough.sum() == GRID.nlat - 1)
    assert np.isfinite(zonal).all()


# Attribution.


@pytest.fixture(scope="module")
def changes():
    return study.attribution.changes("T21L8")


def test_each_difference_between_the_presets_is_changed_alone(changes):
    base, target = PRESETS["speedy_f90"]._asdict(), PRESETS["speedy"]._asdict()
    single = [c.options for c in changes.values() if c.options]
    assert sorted(map(str, single)) == sorted(
        str({name: target[name]}) for name in base if base[name] != target[name])
    assert [c.parameters for c in changes.values() if c.parameters] == [
        {"surface_fluxes.orographic_drag_amplitude": 1.0}]


def test_base_comes_first_and_presets_and_dynamics_are_changed_as_well(changes):
    assert next(iter(changes.values())) == study.simulation.Configuration(grid="T21L8")
    assert {"speedy", "dinosaur"} <= {c.preset for c in changes.values()} | {
        c.dynamics for c in changes.values() if c.dynamics != "speedy"}


def test_effect_is_the_difference_beside_the_noise_of_the_years(model_like_reference):
    base = model_like_reference
    other = base.assign({name: base[name] + 3.0 for name in ("t", "t_year")})
    found = study.attribution.effect(base, other)
    assert found["fields"]["u"]["rmse"] == 0
    assert found["fields"]["t"]["rmse"] == pytest.approx(3.0)
    assert found["means"]["temperature"]["change"] == pytest.approx(3.0)
    # Years of 96 independent columns, four in each run.
    assert found["fields"]["t"]["noise"] == pytest.approx(np.sqrt(2 / 4 / 96), rel=0.1)


def test_one_year_has_no_noise(model_like_reference):
    one = model_like_reference.isel(year=slice(1))
    found = study.attribution.effect(one, one)
    assert found["fields"]["t"] == {"rmse": 0.0, "noise": None, "ratio": None}
    table = {"years": 1, "changes": {"x": found, "y": {"failed": "it blew up"}}}
    assert "it blew up" in study.attribution.report(table)


@pytest.mark.parametrize(("row", "folder"), [
    ("`speedy_f90`, 10 years", "speedy_f90_T30L8"),
    ("with the orography of the reference, 10 years",
     "speedy_f90_T30L8_orography-of-the-reference"),
    ("with diffusion on the top layer, 16 years", "speedy_f90_T30L8_stratospheric_diffusion-top"),
    ("`speedy` (default), 5 years", "speedy_T30L8"),
    ("Dinosaur's dynamics, 5 years", "speedy_f90_T30L8_dinosaur"),
])  # fmt: skip
def test_the_readme_quotes_the_committed_ratios(row, folder):
    summary = json.loads((STUDY / "results" / folder / "summary.json").read_text())
    lines = (STUDY / "README.md").read_text().splitlines()
    quoted = next(line for line in lines if line.startswith(f"| {row} |")).split("|")[2:-1]
    ratios = [summary["judged"][name]["ratio"] for name in ("u", "t", "q", "prec", "olr", "ps")]
    assert [float(x.strip(" *")) for x in quoted] == pytest.approx(ratios, abs=0.0051)
    assert [("**" in x) for x in quoted] == [ratio > study.compare.ALLOWED for ratio in ratios]
    assert f"{summary['years']} years" in row
