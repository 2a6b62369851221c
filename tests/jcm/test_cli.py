"""The command line: what it prints, what it writes, and its exit status."""

import json
import shutil
from pathlib import Path

import pytest
import xarray as xr
from command_line import EXPERIMENT, jcm

from jcm.options import DESCRIPTIONS


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("experiment") / "experiment.toml"
    path.write_text(EXPERIMENT)
    return str(path)


@pytest.fixture(scope="module")
def done(experiment, tmp_path_factory):
    """A run of half a day; result and directory."""
    folder = tmp_path_factory.mktemp("cli") / "out"
    result = jcm("run", experiment, "--days", "0.5", "--start", "1999-03-01",
                 "--output", str(folder))  # fmt: skip
    return result, folder


def test_run_writes_fields_and_prints_path_and_speed(done):
    result, folder = done
    assert result.exit_code == 0, result.stderr
    assert f"{folder / 'fields.nc'}: 0.5 days of T21L5" in result.stdout
    assert "simulated years per day" in result.stdout


def test_options_of_the_command_line_take_the_place_of_the_file(done):
    with xr.open_dataset(done[1] / "fields.nc") as fields:
        assert fields.sizes["time"] == 2
        assert str(fields["time_bnds"].values[0, 0])[:10] == "1999-03-01"
        assert fields.attrs["forcing"] == "aquaplanet"


def test_run_refuses_a_directory_in_use_with_status_1(done, experiment):
    result = jcm("run", experiment, "--output", str(done[1]))
    assert result.exit_code == 1
    assert "error: the output directory" in result.stderr and "is not empty" in result.stderr


def test_resume_lengthens_a_run_with_nothing_but_its_directory(done, tmp_path):
    folder = shutil.copytree(done[1], tmp_path / "run")
    result = jcm("resume", str(folder), "--days", "1", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert f"{folder / 'fields.nc'}: 1 days of T21L5" in result.stdout
    with xr.open_dataset(folder / "fields.nc") as fields:
        assert fields.sizes["time"] == 4


def test_the_record_of_a_run_finds_files_from_any_folder(experiment, done):
    record = json.loads((done[1] / "experiment.json").read_text())["experiment"]
    assert record["folder"] == str(Path(experiment).parent)
    assert record["changes"]["forcing"] == {"kind": "aquaplanet", "start": "1999-03-01"}


def test_options_of_output_reach_the_files(experiment, tmp_path):
    result = jcm("run", experiment, "--days", "0.5", "--every", "0.25", "--instantaneous",
                 "--variables", "air_temperature,geopotential_height", "--pressure-levels",
                 "500,200", "--format", "zarr", "--output", str(tmp_path / "out"),
                 "--quiet")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    with xr.open_zarr(tmp_path / "out" / "fields.zarr") as fields:
        assert fields["geopotential_height"].dims == ("time", "plev", "lat", "lon")
        assert fields["geopotential_height"].attrs["cell_methods"] == "time: point"
        assert 5000 < float(fields["geopotential_height"].sel(plev=5e4).mean()) < 6000
        assert not {"surface_air_pressure", "eastward_wind"} & set(fields)


def test_describe_as_json_has_options_parameters_and_schemes():
    result = jcm("describe", "--json", "--grid", "T21L5", "--preset", "speedy_f90")
    content = json.loads(result.stdout)
    assert (content["model"], content["preset"]) == ("T21L5", "speedy_f90")
    assert content["levels"]["half_levels"] == [0, 0.15, 0.35, 0.65, 0.9, 1]
    options = {option["name"]: option for option in content["options"]}
    drag = "parameters.surface_fluxes.orographic_drag_amplitude"
    assert set(options) == {*DESCRIPTIONS, drag}
    assert options[drag]["presets"] == {"speedy": "1", "speedy_f90": "5.097e-05"}
    assert options["year"]["presets"] == {"speedy": "true", "speedy_f90": "original"}
    assert (options["year"]["value"], options["year"]["presets_differ"]) == ("original", True)
    assert not options["land"]["presets_differ"]
    assert content["schemes"][0].startswith("convection: ")
    parameters = {parameter["name"]: parameter for parameter in content["parameters"]}
    time = parameters["parameters.convection.relaxation_time"]
    assert (time["value"], time["units"], time["bounds"]) == (21600, "s", [7200, 86400])
    assert "Molteni (2003)" in time["source"]


def test_describe_shows_the_same_to_people():
    described = json.loads(jcm("describe", "--json").stdout)
    text = jcm("describe").stdout
    for option in described["options"]:
        mark = "*" if option["presets_differ"] else " "
        assert f" {option['name'].removeprefix('parameters.')}{mark}" in text
    for parameter in described["parameters"]:
        assert parameter["name"].removeprefix("parameters.") in text


def test_describe_reads_an_experiment(experiment):
    content = json.loads(jcm("describe", experiment, "--json").stdout)
    assert content["physics"] == "HeldSuarez"


def test_data_speedy_fetches_with_the_function_for_it(monkeypatch):
    monkeypatch.setattr(
        "jcm.speedy_data.fetch_speedy_data", lambda progress: progress("SPEEDY's data are here"))
    result = jcm("data", "speedy")
    assert (result.exit_code, result.stdout) == (0, "SPEEDY's data are here\n")


def test_data_speedy_without_connection_has_status_1(monkeypatch):
    def fail(progress):
        raise RuntimeError("pip could not download. Are you online?")

    monkeypatch.setattr("jcm.speedy_data.fetch_speedy_data", fail)
    result = jcm("data", "speedy")
    assert (result.exit_code, result.stderr) == (
        1, "error: pip could not download. Are you online?\n")  # fmt: skip


ERRORS = {
    "missing file": (("describe", "nowhere.toml"), "no experiment file 'nowhere.toml'"),
    "unknown grid": (("describe", "--grid", "T32"), "unknown grid 'T32'; available: T21"),
    "unknown preset": (("describe", "--preset", "x"), "unknown preset 'x'; available: speedy"),
    "negative days": (("run", "--days", "-3"), "expected a number greater than 0, got -3"),
    "no such date": (("run", "--start", "2001-02-30"), "'2001-02-30' is not a date"),
    "no state": (("run", "--grid", "T21L5"), "no spun-up state is packaged for T21L5"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_message_with_status_1(case, tmp_path):
    arguments, message = ERRORS[case]
    if arguments[0] == "run":
        arguments = (*arguments, "--output", str(tmp_path))
    result = jcm(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("run", "--dayz", "3"), ("run", "--days", "x"), ("fly",)])
def test_wrong_usage_has_status_2(arguments):
    result = jcm(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
