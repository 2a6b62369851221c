"""Datasets and files: order, coordinates, provenance, and what is refused."""

import re
import shutil
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest
import xarray as xr

import jcm
from jcm.files import replacing
from jcm.initial import state_at_rest
from jcm.output import to_dataset, write_dataset
from jcm.provenance import array_hash, git_state, parameter_hash
from jcm.variables import VARIABLES, Variable

MODEL = jcm.build_model("T21L5", physics="held_suarez")
NLON, NLAT, LEVELS, TIMES = 64, 32, 5, 3


@pytest.fixture(scope="module")
def start() -> jcm.Inputs:
    """Inputs of which only dates, parameters and forcing are needed: nothing here integrates."""
    forcing = jcm.aquaplanet_forcing(
        MODEL.grid, start="2001-07-01", gravity=MODEL.constants.gravity)
    parameters = jcm.reference_parameters(MODEL)
    shapes = eqx.filter_eval_shape(lambda: state_at_rest(MODEL, parameters, forcing))
    state = eqx.tree_at(lambda x: x.step, shapes, np.int32(0))
    return jcm.Inputs(parameters, forcing, state)


def fields() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "surface_air_pressure": draw.normal(1e5, 1e3, (TIMES, NLON, NLAT)).astype(np.float32),
        "air_temperature": draw.normal(250, 10, (TIMES, LEVELS, NLON, NLAT)).astype(np.float32),
    }


@pytest.fixture
def dataset(start) -> xr.Dataset:
    return to_dataset(MODEL, fields(), inputs=start, every=0.5)


def test_files_are_ordered_time_level_lat_lon(dataset):
    assert dataset["air_temperature"].dims == ("time", "level", "lat", "lon")
    assert dataset["surface_air_pressure"].dims == ("time", "lat", "lon")
    expected = fields()["air_temperature"][2, 4, 7, 11]
    assert dataset["air_temperature"].values[2, 4, 11, 7] == expected


def test_levels_run_from_the_top_and_latitudes_from_the_south(dataset):
    assert np.all(np.diff(dataset["level"]) > 0)
    assert np.all(np.diff(dataset["lat"]) > 0)
    assert dataset["lon"].values[0] == 0


def test_cells_between_the_bounds_have_the_area_of_the_gaussian_weights(dataset):
    sine = np.sin(np.deg2rad(dataset["lat_bnds"].values))
    np.testing.assert_allclose(
        np.diff(sine, axis=1)[:, 0], MODEL.grid.quadrature_weight, rtol=1e-12)


@pytest.mark.parametrize("axis", ["lat", "lon", "level"])
def test_bounds_enclose_their_coordinate_without_gaps(dataset, axis):
    bounds, centre = dataset[dataset[axis].attrs["bounds"]].values, dataset[axis].values
    assert np.all(bounds[:, 0] < centre) and np.all(centre < bounds[:, 1])
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])


def test_means_are_dated_in_the_middle_of_their_bounds(dataset):
    assert str(dataset["time"].values[0])[:19] == "2001-07-01T06:00:00"
    assert [str(x)[:13] for x in dataset["time_bnds"].values[-1]] == [
        "2001-07-02T00", "2001-07-02T12"]  # fmt: skip
    assert dataset["air_temperature"].attrs["cell_methods"] == "time: mean"


def test_points_are_dated_at_their_time_and_have_no_bounds(start):
    dataset = to_dataset(MODEL, fields(), inputs=start, every=0.5, average=False)
    assert str(dataset["time"].values[0])[:19] == "2001-07-01T12:00:00"
    assert "time_bnds" not in dataset
    assert dataset["air_temperature"].attrs["cell_methods"] == "time: point"


def test_a_run_that_goes_on_continues_its_dates(start):
    later = eqx.tree_at(lambda x: x.state.step, start, np.int32(2 * MODEL.steps_per_day))
    dataset = to_dataset(MODEL, fields(), inputs=later, every=1, average=False)
    assert str(dataset["time"].values[0])[:10] == "2001-07-04"


def test_the_level_names_the_terms_of_its_formula(dataset):
    terms = dataset["level"].attrs["formula_terms"]
    assert terms.startswith("sigma: level ps: surface_air_pressure")
    assert all(name in dataset.variables for name in re.findall(r": (\w+)", terms))
    assert dataset["ptop"].item() == 0


def test_without_surface_pressure_the_level_has_no_formula(start):
    chosen = {"air_temperature": fields()["air_temperature"]}
    dataset = to_dataset(MODEL, chosen, inputs=start, every=1)
    assert "formula_terms" not in dataset["level"].attrs


def test_variables_without_a_cf_name_have_no_standard_name(start):
    target = {"equilibrium_temperature": fields()["air_temperature"]}
    dataset = to_dataset(MODEL, target, inputs=start, every=1)
    assert "standard_name" not in dataset["equilibrium_temperature"].attrs
    assert dataset["equilibrium_temperature"].attrs["units"] == "K"


def test_provenance_tells_model_options_parameters_and_anomalies(dataset, start):
    attributes = dataset.attrs
    assert attributes["Conventions"] == "CF-1.11"
    assert "sea=prescribed" in attributes["options"]
    assert attributes["parameters_sha256"] == parameter_hash(start.parameters)
    assert attributes["notes"] == "sea surface temperature anomalies: none given"


def test_attributes_do_not_depend_on_the_clock(dataset, start):
    again = to_dataset(MODEL, fields(), inputs=start, every=0.5)
    assert str(again.attrs) == str(dataset.attrs)


def test_a_checkout_tells_commit_and_changes(monkeypatch):
    # The package under test may be installed elsewhere; here it is that of the checkout.
    root = Path(__file__).parents[2]
    monkeypatch.setattr("jcm.provenance.__file__", str(root / "jcm" / "provenance.py"))
    git_state.cache_clear()
    found = git_state()
    if (root / ".git").exists() and shutil.which("git"):
        assert re.fullmatch("[0-9a-f]{40}", found["git_commit"])
        assert found["git_changes"] in ("none", "uncommitted changes")
    else:
        assert found == {}
    git_state.cache_clear()


def test_without_git_there_is_nothing_to_tell(monkeypatch):
    git_state.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert git_state() == {}
    git_state.cache_clear()


def test_the_hash_of_arrays_changes_with_shape_type_and_value(start):
    ones = start.forcing.land_fraction * 0 + 1
    make = lambda x: eqx.tree_at(lambda f: f.land_fraction, start.forcing, x)  # noqa: E731
    hashes = {array_hash(make(x)) for x in (
        ones, ones.T, ones.astype(np.float32), ones.at[0, 0].set(0.5))}  # fmt: skip
    assert len(hashes) == 4
    assert array_hash(make(ones)) == array_hash(make(np.array(ones)))


def test_outputs_may_have_lengths_of_their_own(start):
    dataset = to_dataset(MODEL, fields(), inputs=start, every=[1.0, 2.0, 0.5])
    assert [str(x)[:13] for x in dataset["time_bnds"].values[:, 1]] == [
        "2001-07-02T00", "2001-07-04T00", "2001-07-04T12"]  # fmt: skip
    with pytest.raises(ValueError, match="2 lengths for 3 outputs"):
        to_dataset(MODEL, fields(), inputs=start, every=[1.0, 2.0])


def test_the_hash_changes_with_the_last_digit_of_a_parameter():
    parameters = jcm.reference_parameters(MODEL)
    changed = jcm.insert(parameters, {"relaxation.free_time": np.nextafter(40 * 86400.0, 0)})
    assert parameter_hash(parameters) == parameter_hash(jcm.reference_parameters(MODEL))
    assert parameter_hash(parameters) != parameter_hash(changed)


def test_a_file_gives_back_the_dataset(dataset, tmp_path):
    path = write_dataset(dataset, tmp_path / "fields.nc")
    with xr.open_dataset(path) as read:
        assert read.equals(dataset)
        assert read["time"].encoding["units"] == "days since 1970-01-01"
        assert read["time"].encoding["calendar"] == "proleptic_gregorian"
        assert read["air_temperature"].encoding["zlib"]
    assert [x.name for x in tmp_path.iterdir()] == ["fields.nc"]


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert [(x.name, x.read_text()) for x in tmp_path.iterdir()] == [("a", "old")]


def test_further_variables_can_be_described(start):
    table = VARIABLES | {"ozone": Variable("", "ozone", "1")}
    pressure = fields()["surface_air_pressure"]
    dataset = to_dataset(MODEL, {"ozone": pressure}, inputs=start, every=1, variables=table)
    assert dataset["ozone"].attrs["long_name"] == "ozone"


def test_unknown_fields_are_refused_with_a_way_out(start):
    with pytest.raises(ValueError, match=r"no metadata for the fields ozone; pass variables="):
        to_dataset(MODEL, {"ozone": fields()["surface_air_pressure"]}, inputs=start, every=1)


def test_fields_of_another_shape_are_refused(start):
    wrong = {"air_temperature": fields()["surface_air_pressure"]}
    with pytest.raises(ValueError, match=r"shape \(3, 64, 32\); expected \(3, 5, 64, 32\)"):
        to_dataset(MODEL, wrong, inputs=start, every=1)


def test_fields_without_dates_are_refused():
    with pytest.raises(ValueError, match=r"expected inputs .* or start='YYYY-MM-DD'; got neither"):
        to_dataset(MODEL, fields(), every=1)


def test_no_fields_are_refused(start):
    with pytest.raises(ValueError, match="no fields to write"):
        to_dataset(MODEL, {}, inputs=start, every=1)


def test_a_missing_folder_is_refused(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        write_dataset(dataset, tmp_path / "nowhere" / "fields.nc")
