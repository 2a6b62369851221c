"""The command line: what it writes, says and refuses."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from synthetic import SST, cheap_inputs, mirror, stippled
from typer.main import get_command
from typer.testing import CliRunner

import jcm
from jcm_sensitivity import cli, last, mean, region
from jcm_sensitivity.experiment import (
    MapExperiment,
    default_experiment,
    load_with_switches,
    read_experiment,
    target_from_table,
)
from jcm_sensitivity.work import map as map_module
from jcm_sensitivity.work import shared

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "map.toml"


@pytest.fixture
def quick(monkeypatch):
    """The default experiment with a run that costs nothing."""
    model = jcm.build_model("T21L8")
    target = mean("precipitation_flux", region=region("tropical_pacific"), days=last(1))
    setup = MapExperiment(mirror(model), cheap_inputs(model), target, (SST,))
    monkeypatch.setattr(shared, "default_experiment", lambda smooth=True: setup)
    return setup


@pytest.fixture
def pictures(monkeypatch):
    """The figures that are drawn, in their order."""
    found = []
    write = FigureCanvasAgg.print_png

    def print_png(canvas, *arguments, **options):
        found.append(canvas.figure)
        return write(canvas, *arguments, **options)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", print_png)
    return found


def test_map_of_a_single_state_has_no_stippling(quick, tmp_path, pictures):
    assert invoke("map", "--output", tmp_path).exit_code == 0
    [figure] = pictures
    assert stippled(figure) == 0


def test_map_of_members_is_stippled_exactly_where_its_file_says(
    quick, tmp_path, pictures, monkeypatch
):
    monkeypatch.setattr(map_module, "initial_states", lambda model, inputs, members, days: [
        inputs for _ in range(members)])
    result = invoke("map", "--members", 2, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "sensitivity_map.nc") as dataset:
        marked = dataset["sensitivity_to_sea_surface_temperature_significant"].values
    [figure] = pictures
    assert stippled(figure) == np.count_nonzero(marked)
    assert 0 < np.count_nonzero(marked) < marked.size


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(x) for x in arguments])


def written_toml(folder, **tables):
    """A small experiment with changed tables."""
    content = {
        "model": 'grid = "T21L8"',
        "run": "days = 1.0",
        "target": 'variable = "precipitation_flux"',
    } | tables
    path = folder / "experiment.toml"
    path.write_text("".join(f"[{table}]\n{lines}\n" for table, lines in content.items()))
    return path


def test_map_writes_a_file_and_a_picture(quick, tmp_path):
    result = invoke("map", "--output", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "sensitivity_map.nc", "sensitivity_map.png"]  # fmt: skip
    with xr.open_dataset(tmp_path / "new" / "sensitivity_map.nc") as dataset:
        field = dataset["sensitivity_to_sea_surface_temperature"]
        assert field.attrs["units"] == "mm day-1 K-1 (1e6 km2)-1"
        assert dataset.attrs["start_date"] == "2000-01-01"


def test_map_goes_to_the_current_folder(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("map").exit_code == 0
    assert (tmp_path / "sensitivity_map.png").exists()


def test_map_says_what_it_found(quick, tmp_path):
    output = invoke("map", "--output", tmp_path).output
    for words in ("value of the target", "strongest cell", "response to +1 everywhere", "0.0864",
                  "compiling", "mm day-1 K-1", "tropical_pacific (5S-5N, 160E-150W)"):  # fmt: skip
        assert words in output, output


def test_map_is_checked_against_two_runs_unless_told_otherwise(quick, tmp_path):
    assert "central difference" not in invoke("map", "--no-check", "--output", tmp_path).output
    output = invoke("map", "--output", tmp_path).output
    numbers = re.search(r"central difference (\S+), adjoint (\S+) mm day-1 K-1", output)
    # Precipitation is linear in the input here.
    np.testing.assert_allclose(float(numbers[1]), float(numbers[2]), rtol=1e-4)


def test_map_is_a_subcommand():
    assert "map" in invoke("--help").output
    assert invoke("--output", "x").exit_code == 2


def test_default_is_the_tropical_pacific_on_the_last_of_five_days(monkeypatch):
    monkeypatch.setattr("jcm_sensitivity.experiment.default_inputs", cheap_inputs)
    setup = default_experiment()
    assert setup.run.model.name == "T31L8" and setup.run.model.physics.smooth
    assert (setup.run.days, setup.run.every) == (5, 1)
    assert (setup.target.days, setup.target.region) == (last(1), region("tropical_pacific"))
    assert setup.wrt == (SST,)


def test_experiment_is_read_from_a_file(tmp_path):
    path = written_toml(
        tmp_path, run="days = 2.0\nevery = 0.5",
        target='variable = "air_temperature"\nlevel = 7\nregion = [-5.0, 5.0, 160.0, -150.0]\n'
        "days = { last = 1 }",
        sensitivity='wrt = ["parameters.convection.relaxation_time"]')  # fmt: skip
    setup = read_experiment(path)
    assert (setup.run.days, setup.run.every) == (2.0, 0.5)
    assert setup.target.level == 7 and setup.target.days == last(1)
    assert setup.target.region.area == region("tropical_pacific").area
    assert setup.wrt == ("parameters.convection.relaxation_time",)
    assert setup.run.observe == ("air_temperature",)


@pytest.mark.parametrize(
    ("line", "flag", "smooth"),
    [("", None, True), ("smooth = false", None, False), ("smooth = true", None, True),
     ("smooth = false", True, True), ("smooth = true", False, False), ("", False, False)])
def test_switches_are_those_of_the_flag_else_of_the_file_else_smooth(tmp_path, line, flag, smooth):
    path = written_toml(tmp_path, model=f'grid = "T21L8"\n{line}')
    assert load_with_switches(path, flag).model.smooth is smooth


def test_every_command_takes_the_same_switches():
    commands = get_command(cli.app).commands
    options = [
        [(x.help, x.default, x.opts, x.secondary_opts) for x in command.params
         if x.name == "smooth"] for command in commands.values()]
    assert len(options) >= 5
    assert options[0][0][2:] == (["--smooth"], ["--exact"])
    assert all(x == options[0] for x in options)


def test_documented_example_is_valid(monkeypatch):
    def build(experiment):
        model = jcm.build_model(experiment.model.grid)
        table = experiment.run
        return model, cheap_inputs(model), {
            "days": table.days, "every": table.every, "average": table.average}  # fmt: skip

    monkeypatch.setattr("jcm_sensitivity.experiment.build", build)
    setup = read_experiment(EXAMPLE)
    assert setup.target.region == region("sahel")
    assert setup.wrt == (SST,)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "needs a variable"),
        ({"variable": "rain"}, "unknown variable 'rain'"),
        ({"variable": "precipitation_flux", "area": "sahel"}, "no key 'area'"),
        ({"variable": "precipitation_flux", "region": "nowhere"}, "unknown region"),
        ({"variable": "precipitation_flux", "region": [5, -5, 0, 10]}, "south must be below"),
        ({"variable": "precipitation_flux", "days": {"first": 1}}, "days is"),
        ({"variable": "precipitation_flux", "days": 3}, "days is"),
        ({"variable": "air_temperature", "level": "surface"}, "number of a level"),
    ],
)
def test_bad_target_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        target_from_table(table)


@pytest.mark.parametrize(
    ("table", "lines", "message"),
    [
        ("sensitivity", 'with_respect_to = ["x"]', "no key 'with_respect_to'"),
        ("sensitivity", "wrt = []", "wrt is a list"),
        ("sensitivity", f'wrt = "{SST}"', "wrt is a list"),
        ("target", 'variable = "rain"', "unknown variable 'rain'"),
        ("modell", 'grid = "T21L8"', "unknown table [modell]"),
    ],
)
def test_mistakes_in_a_file_are_reported_without_traceback(tmp_path, table, lines, message):
    result = invoke("map", written_toml(tmp_path, **{table: lines}), "--output", tmp_path)
    assert result.exit_code == 1
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "sensitivity_map.nc").exists()


def test_missing_file_is_reported(tmp_path):
    result = invoke("map", tmp_path / "none.toml")
    assert result.exit_code == 1 and "none.toml" in result.output


def test_unknown_input_is_reported_with_a_suggestion(quick, tmp_path, monkeypatch):
    wrong = quick._replace(wrt=("forcing.sea_surface_temperatur",))
    monkeypatch.setattr(shared, "default_experiment", lambda smooth=True: wrong)
    result = invoke("map", "--output", tmp_path)
    assert result.exit_code == 1
    assert "did you mean forcing.sea_surface_temperature" in result.output
