"""Experiments: what a file may say, what is built from it, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jcm.build import build, build_structure
from jcm.calendar import parse_date
from jcm.config import Experiment, load_experiment
from jcm.parameters import get
from jcm.variables import VARIABLES

TOML = """
[model]
grid = "T21L5"
physics = "held_suarez"
sea = "slab"

[parameters.relaxation]
free_time = 3.0e6

[forcing]
kind = "aquaplanet"
start = 2001-07-01

[state]
kind = "rest"

[run]
days = 2
every = 0.5
variables = ["air_temperature"]

[target]
variable = "precipitation_flux"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def test_an_empty_experiment_is_30_days_of_t31l8():
    experiment = load_experiment({})
    assert experiment.model.grid == "T31L8"
    assert (experiment.run.days, experiment.run.every) == (30.0, 1.0)
    assert experiment.forcing.kind == "packaged"
    assert experiment.state.kind == "spun-up"


def test_a_file_is_built_as_it_says(tmp_path):
    model, inputs, options = build(load_experiment(write(tmp_path, TOML)))
    assert (model.name, model.options.sea) == ("T21L5", "slab")
    assert inputs.parameters.relaxation.free_time == 3e6
    assert inputs.forcing.start_day == parse_date("2001-07-01")
    assert np.all(inputs.forcing.land_fraction == 0)
    assert (options["days"], options["every"], options["observe"]) == (2, 0.5, ["air_temperature"])


def test_tables_of_other_packages_are_kept(tmp_path):
    experiment = load_experiment(write(tmp_path, TOML))
    assert experiment.target == {"variable": "precipitation_flux"}
    assert experiment.sensitivity == {}


def test_changes_take_the_place_of_the_file(tmp_path):
    changed = load_experiment(write(tmp_path, TOML), {"run": {"days": 3.0}, "model": {}})
    assert (changed.run.days, changed.run.every) == (3.0, 0.5)


def test_a_date_may_be_written_as_text():
    assert load_experiment({"forcing": {"start": "1990-02-28"}}).forcing.start == "1990-02-28"


def test_half_levels_replace_those_of_speedy():
    table = {"grid": "T21", "physics": "held_suarez", "half_levels": [0, 0.3, 0.6, 1.0]}
    model, _ = build_structure(load_experiment({"model": table}))
    assert model.levels.half == (0.0, 0.3, 0.6, 1.0)


def test_nested_parameters_are_found_by_their_dotted_name():
    content = {
        "model": {"grid": "T21L8", "smooth": True},
        "parameters": {"smooth": {"convection": {"energy": 1.0}}},
    }
    _, parameters = build_structure(load_experiment(content))
    assert get(parameters, "smooth.convection.energy") == 1.0


def test_parameters_outside_their_bounds_are_accepted_when_asked_for():
    content = {
        "model": {"grid": "T21L8"},
        "parameters": {"convection": {"relaxation_time": 3600.0}},
        "run": {"allow_out_of_bounds": True},
    }
    _, parameters = build_structure(load_experiment(content))
    assert parameters.convection.relaxation_time == 3600.0


def test_the_preset_decides_the_reference_values():
    model, _ = build_structure(load_experiment({"model": {"preset": "speedy_f90"}}))
    assert model.options.slab_damping == "per_step"


@pytest.mark.parametrize("preset", ["speedy", "speedy_f90"])
def test_reference_values_are_inside_their_bounds(preset):
    build_structure(load_experiment({"model": {"preset": preset}}))


def test_uniform_sea_has_the_temperature_given():
    content = {
        "model": {"grid": "T21L5", "physics": "held_suarez"},
        "forcing": {"kind": "uniform", "sea_surface_temperature": 290.0},
        "state": {"kind": "rest"},
    }
    _, inputs, _ = build(load_experiment(content))
    np.testing.assert_array_equal(inputs.forcing.sea_surface_temperature, 290.0)


@pytest.fixture(scope="module")
def anomalies(tmp_path_factory) -> Path:
    """A folder with an experiment and a file of anomalies beside it."""
    folder = tmp_path_factory.mktemp("anomalies")
    months = np.array(["1999-12", "2000-01", "2000-02"], "datetime64[M]").astype("datetime64[ns]")
    values = np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None, None], (3, 36, 72))
    data = xr.Dataset(
        {"tosa": (("time", "lat", "lon"), values, {"units": "K"})},
        coords={
            "time": months,
            "lat": ("lat", np.arange(-87.5, 90, 5), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(2.5, 360, 5), {"units": "degrees_east"}),
        },
    )
    data.to_netcdf(folder / "anomaly.nc")
    write(folder, TOML.replace('kind = "aquaplanet"', 'kind = "packaged"\nanomaly = "anomaly.nc"'))
    return folder


def test_anomalies_are_added_to_the_packaged_climatology(anomalies):
    _, inputs, _ = build(load_experiment(anomalies / "experiment.toml"))
    assert inputs.forcing.anomaly_first_month == 12 * 1999 + 11
    sea = np.asarray(inputs.forcing.land_fraction) < 0.5
    found = np.asarray(inputs.forcing.sea_surface_temperature_anomaly)[:, sea]
    np.testing.assert_allclose(found, np.array([1.0, 2.0, 3.0])[:, None] + 0 * found, rtol=1e-12)


BAD = {
    "unknown key": ({"run": {"dayz": 3}}, r"unknown key 'dayz' in \[run\], did you mean 'days'"),
    "unknown option": ({"model": {"see": "slab"}}, r"unknown key 'see' in \[model\].*'sea'"),
    "unknown table": ({"modle": {}}, r"unknown table \[modle\], did you mean 'model'"),
    "negative days": ({"run": {"days": -1}}, r"\[run\] days: .* greater than 0, got -1"),
    "endless run": ({"run": {"days": math.inf}}, r"\[run\] days: expected a finite number"),
    "text for number": ({"run": {"days": "3"}}, r"\[run\] days: expected a number, got '3'"),
    "true for number": ({"run": {"days": True}}, r"\[run\] days: expected a number, got True"),
    "number for text": ({"model": {"grid": 31}}, r"\[model\] grid: expected a text, got 31"),
    "value of option": ({"model": {"sea": "ice"}}, r"\[model\] sea: .*'prescribed' or 'slab'"),
    "number for table": ({"run": 3}, r"\[run\]: expected a table, got 3"),
    "no such day": ({"forcing": {"start": "2001-02-30"}}, r"\[forcing\] start: '2001-02-30' is no"),
    "no date": ({"forcing": {"start": "now"}}, r"\[forcing\] start: .* YYYY-MM-DD.*got 'now'"),
    "kind of forcing": ({"forcing": {"kind": "file"}}, r"\[forcing\] kind: .*'files', got 'file'"),
    "files without path": ({"forcing": {"kind": "files"}}, r"needs either path .*got neither"),
    "two kinds of paths": (
        {"forcing": {"kind": "files", "path": "a", "paths": {"tos": "b"}}}, r"got both"),
    "key without effect": (
        {"forcing": {"sea_surface_temperature": 300.0}}, r"only with kind = 'uniform'; got kind"),
    "unknown variable": (
        {"run": {"variables": ["precipitation"]}},
        r"'precipitation' in \[run\].*precipitation_flux"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_experiments_are_refused_with_advice(case):
    content, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        load_experiment(content)


BAD_STRUCTURE = {
    "unknown parameter": (
        {"parameters": {"convection": {"relaxation_tim": 3}}},
        r"'relaxation_tim' in \[parameters.convection\], did you mean 'relaxation_time'"),
    "unknown scheme": (
        {"parameters": {"convektion": {"relaxation_time": 3}}},
        r"unknown scheme \[parameters.convektion\], did you mean 'convection'"),
    "parameter without scheme": (
        {"parameters": {"relaxation_time": 3}}, r"expected a table per scheme"),
    "out of bounds": (
        {"parameters": {"convection": {"relaxation_time": 3}}},
        r"relaxation_time = 3 is outside its bounds 7200 to 86400 s.*allow_out_of_bounds"),
    "not finite": (
        {"parameters": {"convection": {"relaxation_time": math.nan}},
         "run": {"allow_out_of_bounds": True}}, r"relaxation_time = nan is not finite"),
    "text for parameter": (
        {"parameters": {"convection": {"relaxation_time": "6 h"}}},
        r"convection.relaxation_time: expected a number, got '6 h'"),
    "unknown grid": ({"model": {"grid": "T32L8"}}, r"unknown grid 'T32'; available: T21"),
    "unknown preset": ({"model": {"preset": "x"}}, r"unknown preset 'x'; available: speedy"),
    "time step": ({"model": {"time_step": 1000}}, r"must divide a day.*got 1000 s, try 2400 s"),
    "half levels": ({"model": {"half_levels": [0, 0.5]}}, r"must increase from 0 .*to 1"),
    "widths in an exact model": (
        {"parameters": {"smooth": {"convection": {"energy": 1.0}}}}, r"smooth=True"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STRUCTURE)
def test_bad_models_and_parameters_are_refused_with_advice(case):
    content, message = BAD_STRUCTURE[case]
    with pytest.raises(ValueError, match=message):
        build_structure(load_experiment(content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no experiment file .*nowhere.toml"):
        load_experiment(tmp_path / "nowhere.toml")


def test_broken_toml_is_refused_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"experiment.toml is not valid TOML: .*line 2"):
        load_experiment(write(tmp_path, "[run]\ndays 3\n"))


def test_a_missing_forcing_file_is_looked_for_beside_the_experiment(tmp_path):
    text = TOML.replace('kind = "aquaplanet"', 'kind = "files"\npath = "mine.nc"')
    with pytest.raises(FileNotFoundError, match=f"{tmp_path.name}/mine.nc"):
        build(load_experiment(write(tmp_path, text)))


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ValueError, match=r"\[run\] days.*; \[run\] every"):
        load_experiment({"run": {"days": -1, "every": "x"}})


def test_every_variable_may_be_asked_for():
    experiment = load_experiment({"run": {"variables": list(VARIABLES)}})
    assert isinstance(experiment, Experiment)
