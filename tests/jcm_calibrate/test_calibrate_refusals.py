"""Mistakes in calibrations: one line that says what to do, and nothing lost."""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from calibration_command import (
    LONGWAVE,
    PACKAGED,
    RAIN,
    WINDOW,
    built,
    invoke,
    refused,
    written,
)

from jcm_calibrate import minimise
from jcm_calibrate.experiment import read_calibration, start_vector
from jcm_calibrate.observations.errors import full
from jcm_calibrate.problem import Problem

__all__ = ["built"]
pytestmark = pytest.mark.usefixtures("built")


#: Changed tables of an experiment with packaged observations -> what the error says.
BAD_TABLES = {
    "unknown parameter": (
        {"calibration": 'parameters = ["parameters.convection.relaxation_tim"]'},
        ("relaxation_tim", "did you mean parameters.convection.relaxation_time")),
    "no parameters": ({"calibration": "seed = 1"}, ("needs parameters = [...]",)),
    "parameter named twice": (
        {"calibration": f'parameters = ["{WINDOW}", "parameters.longwave"]'}, ("named twice",)),
    "unknown key": (
        {"calibration__windows": "day = 1.0"},
        ("[calibration.windows] has no key 'day'", "did you mean", "days")),
    "unknown table": (
        {"calibration__sampling": "draws = 4"}, ("no key 'sampling'", "did you mean sample")),
    "text for a number": (
        {"calibration__windows": 'days = "long"'}, ("days: expected a number, got 'long'",)),
    "prior outside bounds": (
        {f'calibration__priors__"{WINDOW}"': 'distribution = "Normal"\nloc = 3.0\nscale = 0.1'},
        ("100 % of the prior of", "bounds 0.1 to 0.8")),
    "unknown distribution": (
        {f'calibration__priors__"{WINDOW}"': 'distribution = "Norml"\nloc = 0.3\nscale = 0.1'},
        (f"[calibration.priors.{WINDOW}]", "did you mean", "Normal")),
    "prior of a parameter not estimated": (
        {'calibration__priors__"parameters.convection.total_entrainment"':
            'distribution = "Normal"\nloc = 0.3\nscale = 0.1'},
        ("there is a prior for parameters.convection.total_entrainment", "no such parameter")),
    "unknown method": (
        {"calibration__fit": 'method = "gaus_newton"'}, ("did you mean gauss_newton",)),
    "too few draws": ({"calibration__sample": "draws = 2"}, ("[calibration.sample] draws",)),
    "window no multiple of the step": (
        {"calibration__windows": "states = 1\ndays = 0.05"}, ("multiple", "0.05")),
    "no such day": (
        {"calibration__windows": 'starts = ["2000-02-31"]'},
        ("[calibration.windows.starts]", "02-31")),
    "length of the run in another table": (
        {"run": "days = 5.0"}, ("[run] has no meaning", "[calibration.windows]")),
    "date in another table": (
        {"forcing": 'start = "2000-07-01"'}, ("[forcing] start has no meaning", "starts = [...]")),
    "no observations": (
        {"calibration__observations__temperature": None},
        ("needs a table [calibration.observations.NAME]",)),
    "observations from nowhere": (
        {"calibration__observations__temperature": 'chosen = ["Jan"]'}, ("needs from =",)),
    "unknown packaged observation": (
        {"calibration__observations__rainfall": 'from = "packaged"'},
        ("[calibration.observations.rainfall] there is no packaged observation 'rainfall'",
         "available: temperature")),
    "unknown key of a block": (
        {"calibration__observations__temperature": 'from = "packaged"\nregion = ["sahel"]'},
        ("[calibration.observations.temperature] has no key 'region'", "did you mean regions")),
    "period that data lack": (
        {"calibration__observations__sea_level_pressure":
            'from = "packaged"\nchosen = ["Jan"]'}, ("seasons, not for months",)),
    "two blocks of one name": (
        {"calibration__observations__other":
            'from = "packaged"\nnames = "temperature"\nchosen = ["Jul"]'},
        ("two blocks are called 'temperature'",)),
    "unknown grid": ({"model": 'grid = "T20L8"'}, ("T20",)),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_mistake_in_the_experiment_is_told_in_one_line(tmp_path, case):
    tables, messages = BAD_TABLES[case]
    path = written(tmp_path, PACKAGED, **tables)
    refused(invoke("fit", path, "--output", tmp_path / "out"), *messages)
    assert not (tmp_path / "out").exists()


#: Changed tables of the twin -> what the error says, before the model is run.
BAD_TWINS = {
    "twin without truth": ({"calibration__truth": None}, ("needs [calibration.truth]",)),
    "truth of a parameter not estimated": (
        {"calibration__truth": '"parameters.convection.total_entrainment" = 0.4'},
        ("[calibration.truth] parameters.convection.total_entrainment is not among",)),
    "truth of an unknown parameter": (
        {"calibration__truth": '"parameters.convection.entrain" = 0.4'}, ("did you mean",)),
    "truth outside bounds": (
        {"calibration__truth": f'"{WINDOW}" = 0.9'},
        ("[calibration.truth] outside the bounds", "0.1 to 0.8")),
    "twin without error": (
        {"calibration__observations__rain": f'from = "twin"\nvariable = "{RAIN}"'},
        ("[calibration.observations.rain] needs error = ...",)),
    "unknown variable": (
        {"calibration__observations__rain": 'from = "twin"\nvariable = "rain"\nerror = 1.0'},
        ("[calibration.observations.rain]", "'rain'")),
    "unknown operator": (
        {"calibration__observations__rain":
            f'from = "twin"\nvariable = "{RAIN}"\noperator = "zonal"\nerror = 1.0'},
        ("unknown operator 'zonal'; did you mean zonal_mean",)),
    "unknown region": (
        {"calibration__observations__rain": f'from = "twin"\nvariable = "{RAIN}"\nerror = 1.0\n'
            'operator = "regional_mean"\nregions = ["sahell"]'}, ("did you mean sahel",)),
    "error of zero": (
        {"calibration__observations__rain": f'from = "twin"\nvariable = "{RAIN}"\nerror = 0.0'},
        ("the covariance is singular", "give a floor or leave these data out")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TWINS)
def test_a_mistake_in_a_twin_is_found_before_the_model_runs(tmp_path, case):
    tables, messages = BAD_TWINS[case]
    path = written(tmp_path, **tables)
    refused(invoke("identify", path, "--output", tmp_path / "out"), *messages)


def rain_file(folder: Path, values=3.0, months=12, **attributes) -> None:
    """Write a monthly climatology of two variables on a coarse grid."""
    lat, lon = np.arange(-85.0, 90.0, 10.0), np.arange(0.0, 360.0, 10.0)
    time = np.array([f"2001-{m + 1:02d}-15" for m in range(months)], "datetime64[ns]")
    shape, dims = (months, len(lat), len(lon)), ("time", "lat", "lon")
    xr.Dataset(
        {"pr": (dims, np.full(shape, values), {"units": "mm day-1"} | attributes),
         "rlut": (dims, np.full(shape, 240.0), {"units": "W m-2", "positive": "down"})},
        {"time": time, "lat": ("lat", lat, {"units": "degrees_north"}),
         "lon": ("lon", lon, {"units": "degrees_east"})}).to_netcdf(folder / "rain.nc")


BLOCK = f'from = "rain.nc"\nvariable = "{RAIN}"\noperator = "zonal_mean"\nerror = 1e-5\n'
#: File, and lines of the block besides -> what the error says.
BAD_FILES = {
    "units that disagree": ({"units": "K"}, "", ("units disagree", "'K'", "'kg m-2 s-1'")),
    "numbers that are not what the units say": (
        {"units": "kg m-2 s-1"}, "", ("look like mm day-1",)),
    "no units": ({"units": ""}, "", ("has no units", "units={'pr':")),
    "period beyond the run": (
        {}, 'periods = "seasons"\nchosen = ["JJA"]', ("the window ends before the data",)),
    "window beyond the data": (
        {}, 'window = ["2001-01", "2009-12"]', ("beyond the data", "2001-01 to 2001-12")),
    "all masked": ({"values": np.nan}, "", ("nothing is left",)),
    "no such variable in the file": (
        {}, 'from_file = "precip"', ("has no variable 'precip'", "it has: pr, rlut")),
    "no such level": ({}, "pressure = 500", ("[calibration.observations.rain]",)),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_mistake_in_a_file_is_told_in_one_line(tmp_path, case):
    file, lines, messages = BAD_FILES[case]
    rain_file(tmp_path, **file)
    path = written(tmp_path, PACKAGED, calibration__observations__rain=BLOCK + lines)
    refused(invoke("fit", path, "--output", tmp_path / "out"), *messages)


def test_months_missing_in_a_file_are_named(tmp_path):
    rain_file(tmp_path, months=3)
    path = written(
        tmp_path, PACKAGED, calibration__windows='starts = ["2000-06-01"]\nstates = 1\ndays = 92.0',
        calibration__observations__rain=BLOCK + 'periods = "seasons"\nchosen = ["JJA"]')
    refused(invoke("ensemble", path, "--output", tmp_path / "out"),
            "months are missing", "Jun, Jul, Aug")  # fmt: skip


def test_signs_that_disagree_are_refused(tmp_path):
    rain_file(tmp_path)
    path = written(tmp_path, PACKAGED, calibration__observations__longwave=(
        f'from = "rain.nc"\nvariable = "{LONGWAVE}"\nerror = 1.0'))  # fmt: skip
    refused(invoke("fit", path, "--output", tmp_path / "out"),
            "sign conventions disagree", "positive={'rlut': 'down'}")  # fmt: skip


def test_a_missing_file_of_observations_is_named(tmp_path):
    path = written(tmp_path, PACKAGED, calibration__observations__rain=BLOCK)
    refused(invoke("fit", path, "--output", tmp_path / "out"), "rain.nc")


@pytest.mark.parametrize("command", ["identify", "fit", "sample", "ensemble", "report"])
def test_a_missing_experiment_is_named(tmp_path, command):
    refused(invoke(command, tmp_path / "none.toml"), "none.toml")


def test_a_report_without_results_says_which_command_makes_them(tmp_path):
    path = written(tmp_path)
    refused(invoke("report", path, "--output", tmp_path / "out"), "jcm-calibrate fit")
    (tmp_path / "out").mkdir()
    refused(invoke("report", path, "--output", tmp_path / "out"), "nothing to report")


def test_workers_and_a_scheduler_exclude_each_other(tmp_path):
    result = invoke("ensemble", written(tmp_path), "--workers", 2, "--scheduler", "tcp://n:1")
    refused(result, "not both")


def test_no_toml_is_told_with_its_line(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text("[calibration\n")
    refused(invoke("fit", path), "experiment.toml", "line 1")


def test_a_table_given_twice_is_refused(tmp_path):
    path = written(tmp_path, PACKAGED)
    path.write_text(path.read_text() + "[calibration.observations.temperature]\n")
    refused(invoke("fit", path), "experiment.toml", "twice")


def test_a_start_outside_bounds_names_value_and_bounds(tmp_path):
    path = written(tmp_path, PACKAGED, calibration__fit=f'start = {{"{WINDOW}" = 2.0}}')
    with pytest.raises(ValueError, match=r"\[calibration.fit.start\] outside the bounds .* 0.1"):
        start_vector(read_calibration(path))


@pytest.fixture(scope="module")
def problem(built, tmp_path_factory):
    """A problem that is not compiled."""
    return read_calibration(written(tmp_path_factory.mktemp("problem"), PACKAGED)).problem


def test_a_run_that_fails_at_the_start_is_refused_with_advice(problem):
    broken = Problem(
        problem.space, problem.observations,
        lambda inputs: {"near_surface_air_temperature": jnp.full((1, 64, 32), jnp.nan)},
        problem.inputs)  # fmt: skip
    with pytest.raises(ValueError, match=r"the value at the start .* is not finite; start else"):
        minimise(broken.residuals, problem.space.extract(problem.inputs), prior=True)


def test_a_singular_covariance_of_errors_is_refused_with_advice(problem):
    size = problem.observations.size
    with pytest.raises(ValueError, match=r"covariance is singular.*Add independent"):
        problem.observations.with_errors(full(np.ones((size, size))))


def test_windows_without_the_observed_variable_are_refused(problem):
    run = lambda inputs: {RAIN: jnp.zeros((1, 64, 32))}  # noqa: E731
    with pytest.raises(ValueError, match="near_surface_air_temperature"):
        other = Problem(problem.space, problem.observations, run, problem.inputs)
        eqx.filter_eval_shape(other.residuals, jnp.zeros(2))
