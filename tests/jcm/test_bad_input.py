"""What users get wrong, through the command itself: one message with advice, and no litter.

The checks themselves have tests of their own; here each must reach the user.
"""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import command_line
import numpy as np
import pytest
import xarray as xr
from command_line import jcm
from typer.testing import Result

from jcm.restart import restart_files

EXPERIMENT = command_line.EXPERIMENT + "chunk = 0.5\n"


def write(folder: Path, text: str = EXPERIMENT) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def assert_refused(result: Result, message: str) -> None:
    """One line with what is wrong and what to do, and status 1."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.output


# Experiments and options


class Bad(NamedTuple):
    """A text of the experiment, what takes its place, further options, and the message."""

    old: str
    new: str
    options: tuple[str, ...]
    message: str


MODEL, FREE_TIME = "[model]", "[parameters.relaxation]\nfree_time"
BAD = {
    "no TOML": Bad("days = 1", "days 1", (), r"not valid TOML: .*line 10"),
    "unknown table": Bad("[state]", "[stat]", (), r"unknown table \[stat\], did you mean 'state'"),
    "unknown key": Bad("days", "dayz", (), r"unknown key 'dayz' in \[run\], did you mean 'days'"),
    "unknown grid": Bad("", "", ("--grid", "T32L5"), r"unknown grid 'T32'; available: T21"),
    "unknown preset": Bad("", "", ("--preset", "f90"), r"unknown preset 'f90'; available: speedy"),
    "unknown physics": Bad(
        "held_suarez", "held", (), r"unknown physics 'held'; available: speedy, held_suarez"),
    "unknown dynamics": Bad(
        MODEL, MODEL + '\ndynamics = "euler"', (), r"unknown dynamics 'euler'; available: speedy"),
    "value of an option": Bad(
        MODEL, MODEL + '\nsea = "ice"', (), r"expected 'prescribed' or 'slab', got 'ice'"),
    "time step": Bad(
        MODEL, MODEL + "\ntime_step = 1000", (), r"must divide a day.*got 1000 s, try 2400 s"),
    "unknown scheme": Bad(
        MODEL, f"[parameters.relax]\nfree_time = 1\n{MODEL}", (),
        r"unknown scheme \[parameters.relax\], did you mean 'relaxation'"),
    "unknown parameter": Bad(
        MODEL, f"{FREE_TIME[:-1]} = 1\n{MODEL}", (),
        r"unknown key 'free_tim' .*did you mean 'free_time'"),
    "parameter out of bounds": Bad(
        MODEL, f"{FREE_TIME} = 1\n{MODEL}", (),
        r"free_time = 1 is outside its bounds 864000 to .* s.*allow_out_of_bounds"),
    "parameter that is no number": Bad(
        MODEL, f"{FREE_TIME} = '1 day'\n{MODEL}", (), r"expected a number, got '1 day'"),
    "parameter not finite": Bad(
        MODEL, f"{FREE_TIME} = nan\n{MODEL}", (), r"free_time = nan is not finite.*Choose finite"),
    "negative days": Bad("", "", ("--days", "-3"), r"\[run\] days: expected a number greater than"),
    "endless run": Bad("", "", ("--days", "inf"), r"\[run\] days: expected a finite number"),
    "part of a step": Bad(
        "", "", ("--days", "0.26"), r"days must be a positive multiple of the time step of 2400 s"),
    "days and every": Bad(
        "", "", ("--every", "0.75"), r"days must be a multiple of every; got 1.0 and 0.75"),
    "every week": Bad(
        "", "", ("--every", "week"), r"\[run\] every: expected a number of days .* or 'month'"),
    "chunk of months": Bad("", "", ("--every", "month"), r"a chunk is a month; leave chunk out"),
    "chunk": Bad("chunk = 0.5", "chunk = 0.3", (), r"chunk must be a positive multiple"),
    "unknown variable": Bad(
        "", "", ("--variables", "air_temprature"), r"did you mean 'air_temperature'\?; available"),
    "variable of another physics": Bad(
        "", "", ("--variables", "precipitation_flux"),
        r"unknown variable 'precipitation_flux'; available: air_temperature"),
    "pressure in pascal": Bad(
        "", "", ("--pressure-levels", "85000"), r"pressures in hPa between .* got \[85000.0\]"),
    "pressure in words": Bad(
        "", "", ("--pressure-levels", "500,high"), r"expected a number, got 'high'"),
    "unknown format": Bad(
        "", "", ("--format", "grib"), r"\[run\] format: expected 'netcdf' or 'zarr', got 'grib'"),
    "no such day": Bad("", "", ("--start", "2001-02-29"), r"'2001-02-29' is not a date of"),
    "form of a date": Bad("", "", ("--start", "1.1.2001"), r"a date is written YYYY-MM-DD"),
    "no packaged state": Bad(
        'kind = "rest"', "", (), r"no spun-up state .* for T21L5, .* start from state='rest'"),
    "no file of a state": Bad(
        'kind = "rest"', 'kind = "my.nc"', (), r"no initial state '.*my.nc'.*or give a file"),
    "key without effect": Bad(
        "[state]", "sea_surface_temperature = 300.0\n[state]", (), r"only with kind = 'uniform'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_experiments_and_options_are_refused_and_leave_nothing(case, tmp_path):
    bad = BAD[case]
    path = write(tmp_path, EXPERIMENT.replace(bad.old, bad.new, 1))
    result = jcm("run", path, "--output", tmp_path / "out", "--quiet", *bad.options)
    assert_refused(result, bad.message)
    assert not (tmp_path / "out").exists()


def test_a_missing_experiment_is_refused(tmp_path):
    assert_refused(jcm("run", tmp_path / "x.toml"), r"no experiment file .*x.toml.*TOML file")


# Forcing files


def sea() -> xr.DataArray:
    """Sea surface temperature everywhere, month by month."""
    lat = np.arange(-87.5, 90, 5)
    warm = 300 - 25 * np.sin(np.deg2rad(lat)) ** 2
    return xr.DataArray(
        np.broadcast_to(warm[None, :, None], (12, 36, 72)).copy(), name="tos",
        dims=("time", "lat", "lon"),
        coords={
            "time": np.arange(1, 13), "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", np.arange(2.5, 360, 5), {"units": "degrees_east"})},
        attrs={"units": "K", "standard_name": "sea_surface_temperature"})  # fmt: skip


BAD_SEA = {
    "no file": (None, r"no file .*sea.nc.*netCDF"),
    "wrong units": (lambda x: x.assign_attrs(units="m"), r"units 'm'; expected .*Set the attr"),
    "no units": (lambda x: x.assign_attrs(units=""), r"has units ''; expected .*Set the attr"),
    "celsius": (lambda x: (x - 273.15).assign_attrs(x.attrs), r"set units to degC"),
    "not a number": (
        lambda x: x.where((x.lon < 150) | (x.lon > 250)),
        r"missing in \d+ cells with at least 10% sea.*Extend the"),
    "sea and land exchanged": (
        lambda x: x.where((x.lon > 10) & (x.lon < 40) & (abs(x.lat) < 20)),
        r"missing in \d+ cells with at least 10% sea.*Extend the"),
    "eleven months": (lambda x: x[:11], r"11 records; expected 12"),
    "no longitudes": (lambda x: x.isel(lon=0, drop=True), r"no longitude coordinate; expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SEA)
def test_bad_forcing_files_are_refused_and_leave_nothing(case, tmp_path):
    change, message = BAD_SEA[case]
    if change is not None:
        change(sea()).to_netcdf(tmp_path / "sea.nc")
    path = write(tmp_path, EXPERIMENT.replace('"aquaplanet"', '"files"\npaths = {tos = "sea.nc"}'))
    result = jcm("run", path, "--output", tmp_path / "out", "--quiet")
    assert_refused(result, message)
    assert not (tmp_path / "out").exists()


# Output directories


def test_a_file_is_no_output_directory(tmp_path):
    (tmp_path / "out").write_text("")
    result = jcm("run", write(tmp_path), "--output", tmp_path / "out")
    assert_refused(result, r"is a file; expected a new or empty directory")


def test_a_directory_with_other_files_is_refused(tmp_path):
    result = jcm("run", write(tmp_path), "--output", tmp_path)
    assert_refused(result, r"is not empty \(it has 'experiment.toml'\); give another one")


# Runs that fail on the way


def test_too_long_a_time_step_tells_day_and_wind(tmp_path):
    path = write(tmp_path, EXPERIMENT.replace(MODEL, MODEL + "\ntime_step = 7200"))
    result = jcm("run", path, "--days", 20, "--output", tmp_path / "out", "--quiet")
    assert_refused(
        result, r"non-finite by day [\d.]+ of the run \(2000-01-0\d\); the strongest wind .* was "
        r"[1-9]\d* m s-1. Shorten the time step \(now 7200 s\)")  # fmt: skip
    assert not list(tmp_path.rglob("*.part"))
    with xr.open_dataset(tmp_path / "out" / "fields.nc") as fields:
        assert all(np.isfinite(x).all() for x in fields.values() if "lat" in x.dims)
    assert_refused(jcm("resume", tmp_path / "out"), r"cannot go on: .*change the experiment")


def test_a_full_disk_names_the_command_that_goes_on(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jcm.run_directory.write_dataset", full)
        result = jcm("run", write(tmp_path), "--output", tmp_path / "out", "--quiet")
    assert_refused(result, rf"could not write outputs 1 to 2 .*No space left.*Make room.*"
                   rf"`jcm resume {tmp_path}/out`")  # fmt: skip
    assert not list((tmp_path / "out").rglob("*.nc")) and not list(tmp_path.rglob("*.part"))
    assert jcm("resume", tmp_path / "out", "--quiet").exit_code == 0


def test_an_interrupted_write_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    def interrupted(dataset, path, **keywords):
        Path(path).write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xarray.Dataset.to_netcdf", interrupted)
        result = jcm("run", write(tmp_path), "--output", tmp_path / "out", "--quiet")
    assert result.exit_code == 130
    assert result.stderr == f"interrupted; go on with `jcm resume {tmp_path}/out`\n"
    assert not list((tmp_path / "out").rglob("*.nc")) and not list(tmp_path.rglob("*.part"))
    assert jcm("resume", tmp_path / "out", "--quiet").exit_code == 0


def test_an_interruption_before_anything_is_written_says_so(tmp_path, monkeypatch):
    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("jcm.build.build", interrupted)
    result = jcm("run", write(tmp_path), "--output", tmp_path / "out", "--quiet")
    assert (result.exit_code, result.stderr) == (130, "interrupted, nothing was written\n")


# Runs that cannot be resumed


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> dict[str, bytes]:
    """The files of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    result = jcm("run", write(folder), "--output", folder / "out", "--quiet")
    assert result.exit_code == 0, result.stderr
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


@pytest.fixture
def finished(template, tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    for name, data in template.items():
        (tmp_path / "out" / name).write_bytes(data)
    return tmp_path / "out"


def change_record(folder: Path, change) -> None:
    record = json.loads((folder / "experiment.json").read_text())
    change(record)
    (folder / "experiment.json").write_text(json.dumps(record))


def cut_restarts(folder: Path) -> None:
    for path in restart_files(folder):
        path.write_bytes(path.read_bytes()[:1000])


def change_restarts(folder: Path, **changes) -> None:
    for path in restart_files(folder):
        with np.load(path) as archive:
            arrays = dict(archive)
        header = json.loads(arrays["header"].tobytes())
        header["identity"] |= changes
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(path, **arrays)


BAD_RUN = {
    "no run": (
        lambda out: (out / "experiment.json").unlink(), (),
        r"no run to resume in .*give the directory that `jcm run` has written into"),
    "damaged record": (
        lambda out: (out / "experiment.json").write_text("{"), (),
        r"experiment.json is damaged .*start the run anew in another directory"),
    "record of another version": (
        lambda out: change_record(out, lambda x: x.update(format=99)), (),
        r"is of format 99.*use the version of the package that started the run"),
    "damaged restart files": (
        cut_restarts, ("--days", "2"), r"is damaged.*start the run anew in another directory"),
    "restart file of another grid": (
        lambda out: change_restarts(out, grid="T31L5"), ("--days", "2"),
        r"its grid is T31L5, here it is T21L5; resume with the model"),
    "restart file of another version": (
        lambda out: change_restarts(out, version="0.0.1"), ("--days", "2"),
        r"its version of the package is 0.0.1, .*install that version, or start a new run"),
    "restart file of another precision": (
        lambda out: change_restarts(out, precision="float32"), ("--days", "2"),
        r"its precision is float32, .*set JAX_ENABLE_X64"),
    "changed parameters": (
        lambda out: change_record(out, lambda x: x["experiment"]["tables"].update(
            parameters={"relaxation": {"free_time": 3e6}})), ("--days", "2"),
        r"its hash of the parameters is .*resume with the model and the inputs of that run"),
    "shorter": (lambda out: None, ("--days", "0.5"), r"has 1 days already.*ask for more days"),
    "fields gone": (
        lambda out: (out / "fields.nc").unlink(), ("--days", "2"), r"are gone.*put them back"),
    "negative days": (lambda out: None, ("--days", "-2"), r"days must be a positive .*got -2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_RUN)
def test_runs_that_cannot_be_resumed_are_left_as_they_are(case, finished):
    spoil, options, message = BAD_RUN[case]
    spoil(finished)
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert_refused(jcm("resume", finished, "--quiet", *options), message)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_a_directory_in_which_another_process_runs_is_refused(finished):
    descriptor = os.open(finished, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert_refused(jcm("resume", finished, "--days", 2), r"another process is running.*wait")
    finally:
        os.close(descriptor)


def test_a_directory_with_a_run_is_not_run_into(finished, tmp_path):
    result = jcm("run", write(tmp_path), "--output", finished)
    assert_refused(result, rf"it has a run; go on with `jcm resume {finished}`, or give another")
