"""Runs on the host: chunks, files, the log, and how they end when something is wrong."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jcm
from jcm.calendar import parse_date
from jcm.checks import check_inputs, check_parameters
from jcm.integration import UnstableRun
from jcm.provenance import parameter_hash
from jcm.run import run
from jcm.simulate import compile_window

#: A physics that compiles in seconds.
MODEL = jcm.build_model("T21L5", physics="held_suarez")
STEP = 1 / MODEL.steps_per_day


@pytest.fixture(scope="module")
def inputs() -> jcm.Inputs:
    forcing = jcm.packaged_forcing(MODEL.grid, start="2001-07-01", gravity=MODEL.constants.gravity)
    return jcm.default_inputs(MODEL, state="rest", forcing=forcing)


@pytest.fixture(scope="module")
def chunked(inputs, tmp_path_factory) -> Path:
    """Five outputs of three steps each, in chunks of two."""
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    return run(MODEL, inputs, folder, days=15 * STEP, every=3 * STEP, chunk=6 * STEP,
               attributes={"purpose": "test"}, progress=False)  # fmt: skip


def test_chunks_give_the_fields_of_one_simulation(chunked, inputs):
    _, fields = jcm.simulate(MODEL, inputs, days=15 * STEP, every=3 * STEP)
    with xr.open_dataset(chunked) as written:
        for name, values in fields.items():
            np.testing.assert_allclose(
                written[name].values, np.swapaxes(values, -1, -2), rtol=1e-9, atol=1e-12,
                err_msg=name)  # fmt: skip


def test_dates_run_on_across_chunks(chunked):
    with xr.open_dataset(chunked) as written:
        assert written.sizes["time"] == 5
        assert str(written["time_bnds"].values[0, 0])[:16] == "2001-07-01T00:00"
        assert str(written["time_bnds"].values[-1, 1])[:16] == "2001-07-01T10:00"
        np.testing.assert_array_equal(
            written["time_bnds"].values[1:, 0], written["time_bnds"].values[:-1, 1])


def test_fields_log_record_and_restart_files_remain(chunked):
    assert sorted(path.name for path in chunked.parent.iterdir()) == [
        "experiment.json", "fields.nc", "restart_00000004.npz", "restart_00000005.npz", "run.json"]


def test_the_log_tells_speed_and_compilation_apart(chunked, inputs):
    log = json.loads((chunked.parent / "run.json").read_text())
    assert log["status"] == "completed"
    assert (log["model"], log["start"]) == ("T21L5", "2001-07-01")
    assert log["options"] == MODEL.options._asdict()
    assert log["parameters_sha256"] == parameter_hash(inputs.parameters)
    assert log["days"] == pytest.approx(15 * STEP)
    assert log["compile_seconds"] > 0
    speed = log["days"] / 365.2425 / (log["integrate_seconds"] / 86400)
    assert log["simulated_years_per_day"] == pytest.approx(speed, rel=0.05)


def test_one_program_serves_all_chunks_and_lengths_of_months(inputs, tmp_path, monkeypatch):
    compiled = []

    def compile_and_count(*arguments, **keywords):
        compiled.append(compile_window(*arguments, **keywords))
        return compiled[-1]

    monkeypatch.setattr("jcm.integration.compile_window", compile_and_count)
    late = jcm.insert(inputs, {"forcing.start_day": parse_date("2001-07-31")})
    path = run(MODEL, late, tmp_path, days=3, every="month", observe=["air_temperature"],
               progress=False)  # fmt: skip
    with xr.open_dataset(path) as written:
        assert [str(x)[:10] for x in written["time_bnds"].values.ravel()] == [
            "2001-07-31", "2001-08-01", "2001-08-01", "2001-08-03"]  # fmt: skip
        assert str(written["time"].values[1])[:10] == "2001-08-02"
    assert len(compiled) == 1


def test_monthly_means_are_means_over_the_month(inputs, tmp_path):
    late = jcm.insert(inputs, {"forcing.start_day": parse_date("2001-07-30")})
    chosen = {"observe": ["air_temperature"], "progress": False}
    monthly = run(MODEL, late, tmp_path / "monthly", days=3, every="month", **chosen)
    daily = run(MODEL, late, tmp_path / "daily", days=3, every=1, **chosen)
    with xr.open_dataset(monthly) as found, xr.open_dataset(daily) as days:
        np.testing.assert_allclose(
            found["air_temperature"][0], days["air_temperature"][:2].mean("time"), rtol=1e-12)


def test_a_store_and_pressure_levels_are_written_as_asked_for(inputs, tmp_path):
    path = run(MODEL, inputs, tmp_path, days=4 * STEP, every=STEP, chunk=2 * STEP, average=False,
               observe=["air_temperature"], pressure_levels=[500, 850], format="zarr",
               progress=False)  # fmt: skip
    assert path.name == "fields.zarr"
    with xr.open_zarr(path) as written:
        assert written["air_temperature"].dims == ("time", "plev", "lat", "lon")
        assert written["plev"].values.tolist() == [50000.0, 85000.0]
        assert written["air_temperature"].attrs["cell_methods"] == "time: point"
        assert "surface_air_pressure" not in written
        assert 240 < float(written["air_temperature"][:, 0].mean()) < 280


def test_attributes_reach_the_file(chunked):
    with xr.open_dataset(chunked) as written:
        assert written.attrs["purpose"] == "test"


def test_only_the_variables_asked_for_are_written(inputs, tmp_path):
    path = run(MODEL, inputs, tmp_path, days=3 * STEP, every=3 * STEP,
               observe=["air_temperature"], progress=False)  # fmt: skip
    with xr.open_dataset(path) as written:
        fields = {name for name, data in written.items() if {"lat", "lon"} <= set(data.dims)}
    assert fields == {"air_temperature"}


@pytest.fixture(scope="module")
def unstable(inputs, tmp_path_factory) -> tuple[UnstableRun, Path]:
    """A run whose friction makes the wind grow, more than a hundredfold a step."""
    folder = tmp_path_factory.mktemp("unstable")
    wild = jcm.insert(inputs, {"parameters.relaxation.friction_time": -10.0})
    with pytest.raises(UnstableRun) as error:
        run(MODEL, wild, folder, days=200 * STEP, every=5 * STEP, chunk=20 * STEP,
            allow_out_of_bounds=True, progress=False)  # fmt: skip
    return error.value, folder


def test_an_unstable_run_tells_day_wind_and_advice(unstable):
    error, _ = unstable
    assert 5 * STEP < error.day < 200 * STEP
    assert error.wind > 0
    message = str(error)
    assert f"by day {error.day:g} of the run (2001-07-0" in message
    assert "strongest wind one output earlier was" in message
    assert "Shorten the time step (now 2400 s)" in message


def test_an_unstable_run_keeps_its_finite_outputs(unstable):
    error, folder = unstable
    with xr.open_dataset(folder / "fields.nc") as written:
        assert written.sizes["time"] == round(error.day / (5 * STEP)) - 1
        assert all(np.isfinite(data).all() for name, data in written.items() if "lat" in data.dims)
        winds = np.hypot(written["eastward_wind"], written["northward_wind"])
        assert winds[-1].max() == pytest.approx(error.wind)
    log = json.loads((folder / "run.json").read_text())
    assert log["status"] == "unstable" and "non-finite" in log["message"]
    assert not (folder / "parts").exists()


BAD_LENGTHS = {
    "negative": ({"days": -1.0}, r"days must be a positive finite number; got -1"),
    "endless": ({"days": math.inf}, r"days must be a positive finite number; got inf"),
    "undefined": ({"days": math.nan}, r"days must be a positive finite number; got nan"),
    "half a step": ({"days": STEP / 2}, r"days must be a positive multiple of the time step"),
    "uneven": ({"days": 5 * STEP, "every": 2 * STEP}, r"days must be a multiple of every"),
    "uneven chunk": (
        {"days": 4 * STEP, "every": 2 * STEP, "chunk": 3 * STEP}, r"chunk must be a multiple"),
    "unknown variable": (
        {"days": 1, "observe": ["rain"]}, r"unknown variable 'rain'; available: eastward_wind"),
    "unknown format": ({"days": 1, "format": "grib"}, r"unknown format 'grib'; available: netcdf"),
    "no variable": ({"days": 1, "observe": []}, r"no variables to write"),
    "variable of another physics": (
        {"days": STEP, "every": STEP, "observe": ["precipitation_flux"]},
        r"unknown variable 'precipitation_flux'; available: air_temperature"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LENGTHS)
def test_bad_lengths_and_variables_are_refused(case, inputs, tmp_path):
    arguments, message = BAD_LENGTHS[case]
    with pytest.raises(ValueError, match=message):
        run(MODEL, inputs, tmp_path / "out", progress=False, **arguments)
    assert not list(tmp_path.glob("out/*"))


def test_parameters_outside_their_bounds_are_refused(inputs):
    wrong = jcm.insert(inputs.parameters, {"relaxation.free_time": 1.0})
    message = r"parameters.relaxation.free_time = 1 is outside its bounds 864000 to .* s"
    with pytest.raises(ValueError, match=message):
        check_parameters(wrong)
    check_parameters(wrong, allow_out_of_bounds=True)


def test_undefined_parameters_are_refused_even_out_of_bounds(inputs):
    wrong = jcm.insert(inputs.parameters, {"relaxation.free_time": math.nan})
    with pytest.raises(ValueError, match=r"free_time = nan is not finite"):
        check_parameters(wrong, allow_out_of_bounds=True)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("forcing.sea_surface_temperature", "check the files"),
     ("state.current.temperature", "start from state='rest'")],
)  # fmt: skip
def test_undefined_forcing_and_states_are_refused(inputs, name, advice):
    values = np.array(jcm.extract(inputs, [name])[name])
    values.flat[:3] = math.nan
    with pytest.raises(ValueError, match=f"{name} has 3 values that are not finite; {advice}"):
        check_inputs(MODEL, jcm.insert(inputs, {name: values}))


def test_inputs_of_another_grid_are_refused(inputs):
    other = jcm.build_model("T21L8", physics="held_suarez")
    message = r"T21L8 has .* \(64, 32, 8\), but the state \(64, 32, 5\)"
    with pytest.raises(ValueError, match=message):
        check_inputs(other, inputs)


def test_a_directory_in_use_is_refused(inputs, tmp_path):
    (tmp_path / "fields.nc").write_text("precious")
    with pytest.raises(FileExistsError, match=r"is not empty \(it has 'fields.nc'\)"):
        run(MODEL, inputs, tmp_path, days=1)
    assert (tmp_path / "fields.nc").read_text() == "precious"


def test_a_file_is_no_directory(inputs, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(FileExistsError, match=r"is a file; expected a new or empty directory"):
        run(MODEL, inputs, tmp_path / "out", days=1)
