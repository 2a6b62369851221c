"""The command `response`: what it writes, says and refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
import typer
import xarray as xr
from synthetic import SST, cheap_inputs
from typer.testing import CliRunner

import jcm
from jcm_sensitivity import REGIONS
from jcm_sensitivity.commands.response import response_command
from jcm_sensitivity.consistency import NEEDED, WATER
from jcm_sensitivity.runs import Experiment
from jcm_sensitivity.tangent import response
from jcm_sensitivity.work import response as command

MODEL = jcm.build_model("T21L8")


class Warming(Experiment):
    """A run that costs nothing: air over warmer water is warmer and rains more."""

    def __call__(self, inputs):
        warm = inputs.forcing.sea_surface_temperature[0] - 280.0
        still = jnp.zeros((2, 8, *self.model.grid.shape))
        layers = still + jnp.linspace(0.1, 1.0, 8)[:, None, None] * warm
        zero = jnp.zeros(self.model.grid.shape)
        height = self.model.geopotential(layers[0], zero) / self.model.constants.gravity
        return {
            "eastward_wind": still, "northward_wind": still, "air_temperature": 250.0 + layers,
            "geopotential_height": still + height, "specific_humidity": still + 1e-3,
            "surface_air_pressure": jnp.full((2, *zero.shape), 1e5),
            "precipitation_flux": jnp.stack([1e-6 * warm, 2e-6 * warm]),
            "water_evapotranspiration_flux": jnp.stack([zero, zero])}  # fmt: skip


@pytest.fixture(scope="module")
def setup():
    run = Warming(MODEL, 2.0, 1.0, True, None, "step")
    return command.ResponseExperiment(run, cheap_inputs(MODEL), {SST: 1.5}, REGIONS["nino34"])


@pytest.fixture(scope="module")
def written(setup, tmp_path_factory):
    """Folder and output of the command with that run."""
    folder = tmp_path_factory.mktemp("response") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "default_response", lambda smooth=True: setup)
        result = invoke("--output", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def invoke(*arguments):
    app = typer.Typer()
    app.command()(response_command)
    return CliRunner().invoke(app, [str(x) for x in arguments])


def toml(folder, **tables):
    content = {
        "model": 'grid = "T21L8"', "run": "days = 1.0",
        "response": f'change = {{ "{SST}" = 1.0 }}'} | tables  # fmt: skip
    path = folder / "experiment.toml"
    path.write_text("".join(f"[{table}]\n{lines}\n" for table, lines in content.items()))
    return path


def test_files_and_pictures_are_written(written):
    names = {path.name for path in written[0].iterdir()}
    assert names >= {"response.nc", "consistency.nc", "consistency.png"}
    assert "precipitation_flux_change.png" in names
    assert not [name for name in names if "part" in name]


def test_change_in_the_file_is_that_of_the_region(written, setup):
    with xr.open_dataset(written[0] / "response.nc") as dataset:
        rain = dataset["precipitation_flux_change"]
        assert rain.dims == ("time", "lat", "lon")
        inside = REGIONS["nino34"].fraction(MODEL.grid)
        np.testing.assert_allclose(rain[-1], 2e-6 * 1.5 * inside.T, atol=1e-15)
        assert rain.attrs["long_name"] == "change of precipitation"
        assert rain.attrs["units"] == "kg m-2 s-1"
        assert "standard_name" not in rain.attrs
        warmer = dataset["air_temperature_change"]
        assert warmer.attrs["units_metadata"] == "temperature: difference"
        np.testing.assert_allclose(
            dataset["air_temperature"][0, -1],
            250 + setup.inputs.forcing.sea_surface_temperature[0].T - 280)
        assert dataset.attrs["start_date"] == "2000-01-01"
        assert "+1.5 K in nino34" in dataset.attrs["change"]


def test_the_strongest_change_and_the_consistency_are_printed(written):
    text = " ".join(written[1].split())
    # 3e-6 kg m-2 s-1 are 0.2592 mm day-1, where a cell lies inside.
    inside = REGIONS["nino34"].fraction(MODEL.grid)
    assert f"precipitation {0.2592 * inside.max():.4g} mm day-1" in text
    assert "geostrophic" in text and "hydrostatics residual over change of height" in text
    assert "J kg-1" in text and "evaporation less precipitation" in text


def test_file_is_read_with_quoted_and_dotted_names(tmp_path):
    found = command.read_response(toml(tmp_path, response="[response.change]\n"
        "forcing.sea_surface_temperature = 0.5\n\"state.air_temperature\" = 1"))  # fmt: skip
    assert found.change == {SST: 0.5, "state.air_temperature": 1.0}
    assert found.region is None and found.run.observe is None
    assert found.run.days == 1.0


def test_variables_of_the_run_are_observed_beside_what_the_consistency_needs(tmp_path):
    path = toml(tmp_path, run='days = 1.0\nvariables = ["toa_outgoing_longwave_flux"]')
    assert set(command.read_response(path).run.observe) == {
        "toa_outgoing_longwave_flux", *NEEDED, *WATER}


def test_change_everywhere_is_a_number(setup):
    whole = setup._replace(region=None)
    assert whole.arrays() == {SST: 1.5}
    found = response(whole.run, whole.inputs, whole.arrays())
    np.testing.assert_allclose(found.change["precipitation_flux"][0], 1.5e-6)


@pytest.mark.parametrize(("tables", "words"), [
    ({"response": ""}, "needs a change"),
    ({"response": "change = 1.0"}, "is a table of names and numbers"),
    ({"response": 'change = { "forcing.sea_surface_temperature" = "warm" }'}, "expected a number"),
    ({"response": "changes = 1"}, "has no key 'changes'"),
    ({"response": f'region = "nino"\nchange = {{ "{SST}" = 1.0 }}'}, "unknown region"),
    ({"response": 'change = { "forcing.sea_surface" = 1.0 }'}, "no input is called"),
    ({"response": 'change = { "parameters.convection.relaxation_time" = 1.0 }\n'
      'region = "nino34"'}, "no field on the grid"),
    ({"run": 'days = 1.0\nevery = "month"'}, "give a number of days"),
    ({"respons": "x = 1"}, "did you mean 'response'"),
])  # fmt: skip
def test_bad_experiments_are_one_red_line(tables, words, tmp_path):
    result = invoke(toml(tmp_path, **tables), "--output", tmp_path)
    assert result.exit_code == 1
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
