"""`jcm-sensitivity horizon`: what it writes, says and refuses; the table of measured windows."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest
import typer
import xarray as xr
from synthetic import SST, cheap_inputs
from typer.testing import CliRunner

import jcm
from jcm.variables import VARIABLES
from jcm_sensitivity import Experiment, default_horizons, last, mean, model_horizon, region
from jcm_sensitivity.commands import horizon as command
from jcm_sensitivity.default_horizons import (
    default_horizon,
    variable_type,
    write_default_table,
)
from jcm_sensitivity.experiment import MapExperiment
from jcm_sensitivity.model_horizon import horizon
from jcm_sensitivity.work import horizon as work
from jcm_sensitivity.work import shared

#: Sea surface temperature from which the target is counted [K].
BASE = 290.0


class Cubic(Experiment):
    """Precipitation on day t is 1e-6 (x + t x^3 / 1000), x = sea surface temperature - 290 K."""

    def __call__(self, inputs):
        x = inputs.forcing.sea_surface_temperature[0] - BASE
        days = self.every * np.arange(1, round(self.days / self.every) + 1)
        return {"precipitation_flux": jnp.stack([1e-6 * (x + t / 1000 * x**3) for t in days])}


def cubic(model, *, days, every, average=True, observe=None, checkpoint="step"):
    return Cubic(model, float(days), float(every), average, observe, checkpoint)


@pytest.fixture
def setup(monkeypatch):
    """An experiment whose runs cost nothing, at a uniform sea surface temperature of 300 K."""
    monkeypatch.setattr(model_horizon, "model_experiment", cubic)
    monkeypatch.setattr(
        work, "initial_states", lambda _, inputs, count, spacing: [inputs] * count)
    model = jcm.build_model("T21L8")
    inputs = cheap_inputs(model)
    forcing = dataclasses.replace(
        inputs.forcing, sea_surface_temperature=jnp.full((12, 64, 32), 300.0))
    inputs = dataclasses.replace(inputs, forcing=forcing)
    target = mean("precipitation_flux", region=region("tropical_pacific"), days=last(1))
    return MapExperiment(cubic(model, days=5, every=1), inputs, target, (SST,))


@pytest.fixture
def invoke(setup, monkeypatch):
    monkeypatch.setattr(shared, "default_experiment", lambda smooth=True: setup)
    app = typer.Typer()
    app.command()(command.horizon_command)
    return lambda *arguments: CliRunner().invoke(app, [str(x) for x in arguments])


def ratio(lead, amplitude, x=10.0):
    """Derivative over central difference of x + t x^3 / 1000."""
    slope = 1 + lead / 1000 * 3 * x**2
    return slope / (slope + lead / 1000 * amplitude**2)


def test_ratio_is_that_of_the_run_at_each_lead_and_amplitude(setup):
    dataset = horizon(
        setup.run.model, [setup.inputs] * 2, setup.target, wrt=[SST], leads=[1, 2, 5],
        amplitudes=[1.0, 20.0])  # fmt: skip
    np.testing.assert_array_equal(dataset["lead"], [1, 2, 5])
    expected = ratio(np.array([1, 2, 5]), np.array([[1.0], [20.0]]))
    for state in (0, 1):
        np.testing.assert_allclose(dataset["ratio"][0, state, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(
        dataset["linear_response"][0, 0, 0], 0.0864 * (1 + 0.3 * np.array([1, 2, 5])), rtol=1e-9)
    assert dataset["target_units"].values.tolist() == ["mm day-1"]


def test_window_ends_where_the_finite_response_departs(setup):
    leads = np.arange(1.0, 9.0)
    dataset = horizon(
        setup.run.model, [setup.inputs] * 3, setup.target, wrt=[SST], leads=list(leads),
        amplitudes=[20.0], tolerance=0.4)  # fmt: skip
    inside = leads[np.abs(ratio(leads, 20.0) - 1) <= 0.4]
    assert 1 < inside.size < leads.size
    assert float(dataset["usable_window_days"].squeeze()) == inside.max()


def test_several_targets_share_the_runs(setup):
    targets = [setup.target, mean("precipitation_flux", days=last(2))]
    dataset = horizon(
        setup.run.model, [setup.inputs], targets, wrt=[SST], leads=[2, 4], amplitudes=[1.0])
    mean_of_two_days = 1 + 0.3 * np.array([1.5, 3.5])
    np.testing.assert_allclose(
        dataset["linear_response"][0, 0, 1], 0.0864 * mean_of_two_days, rtol=1e-9)


def test_norm_of_the_gradient_is_the_largest_response_to_a_unit_change(setup):
    everywhere = mean("precipitation_flux", days=last(1))
    dataset = horizon(
        setup.run.model, [setup.inputs], everywhere, wrt=[SST], leads=[1, 2], amplitudes=[1.0],
        gradient_leads=[2])  # fmt: skip
    # The same response everywhere is strongest to the same change everywhere, here in one month.
    np.testing.assert_allclose(dataset["gradient_norm"].squeeze(), 0.0864 * 1.6, rtol=1e-6)


def test_one_sided_runs_include_the_curvature(setup):
    dataset = horizon(
        setup.run.model, [setup.inputs], setup.target, wrt=[SST], leads=[1], amplitudes=[2.0],
        two_sided=False)  # fmt: skip
    finite = (12 + 12**3 / 1000 - 10 - 1) / 2
    np.testing.assert_allclose(dataset["ratio"].squeeze(), 1.3 / finite, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leads": []}, "at least one"),
        ({"leads": [0.01]}, "multiple of the time step"),
        ({"leads": [1, 2], "gradient_leads": [3]}, "some of the leads"),
        ({"leads": [1], "direction": {"forcing.snow": np.ones(3)}}, "direction has no change"),
        ({"leads": [1], "direction": {SST: np.ones(3)}}, "has shape"),
        ({"leads": [1, 2], "every": 0.75}, "no multiples"),
    ],
)
def test_what_has_no_meaning_is_refused(setup, options, message):
    with pytest.raises(ValueError, match=message):
        horizon(setup.run.model, [setup.inputs], setup.target, wrt=[SST], **options)


def test_command_writes_file_picture_and_table(invoke, tmp_path):
    result = invoke(
        "--output", tmp_path / "new", "--states", 3, "--leads", "1,2,5", "--amplitudes", "1,20")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["horizon.nc", "horizon.png"]
    with xr.open_dataset(tmp_path / "new" / "horizon.nc") as dataset:
        assert dict(dataset["ratio"].sizes) == {
            "input": 1, "state": 3, "target": 1, "amplitude": 2, "lead": 3}  # fmt: skip
        last_lead = dataset["ratio"].isel(lead=-1, target=0, input=0).median("state").values
    row = re.search(r"│\s+5 │\s+(\S+) │\s+(\S+)", result.output)
    assert row is not None, result.output
    np.testing.assert_allclose([float(x) for x in row.groups()], last_lead, atol=6e-4)
    assert last_lead[1] < 0.7 < 0.99 < last_lead[0]
    assert ">= 5" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--leads", "one"], "--leads is a list of positive numbers"),
        (["--amplitudes", "0,1"], "--amplitudes is a list of positive numbers"),
        (["--tolerance", "0"], "tolerance is positive"),
        (["none.toml"], "none.toml"),
    ],
)
def test_mistakes_are_one_line(invoke, tmp_path, arguments, message):
    result = invoke("--output", tmp_path, *arguments)
    assert result.exit_code == 1
    assert message in result.output and "Traceback" not in result.output


def test_every_output_variable_that_flows_has_a_type():
    kinds = {"precipitation", "temperature", "humidity", "wind", "pressure", "radiation",
             "heat_flux"}  # fmt: skip
    types = {name: variable_type(name) for name in VARIABLES}
    assert set(types.values()) - {None} == kinds
    assert types["convective_precipitation_flux"] == "precipitation"
    assert types["toa_outgoing_longwave_flux"] == "radiation"
    assert types["surface_upward_latent_heat_flux"] == "heat_flux"
    assert types["near_surface_eastward_wind"] == "wind"
    assert variable_type("my_own") is None


def test_shortest_window_of_several_variables_counts(tmp_path, monkeypatch):
    row = {"low": 1.0, "high": 9.0, "at_least": False}
    table = {"exact": {"precipitation": row | {"days": 1.0}, "temperature": row | {"days": 5.0},
                       "pressure": row | {"days": 10.0, "at_least": True}}}  # fmt: skip
    path = write_default_table(table, tmp_path / "horizons.json")
    monkeypatch.setattr(default_horizons, "files", lambda _: path.parent)
    default_horizons.default_table.cache_clear()
    try:
        both = ["precipitation_flux", "air_temperature"]
        assert default_horizon(both, smooth=False) == 1.0
        assert default_horizon(["air_temperature"], smooth=False) == 5.0
        # Longer than it was measured: nothing is known of its end.
        assert default_horizon(["surface_air_pressure"], smooth=False) is None
        assert default_horizon(both, smooth=True) is None
    finally:
        default_horizons.default_table.cache_clear()


def test_measured_windows_come_with_the_package():
    table = default_horizons.default_table()
    assert table["conditions"]["grid"] == "T21L8"
    for kind in ("exact", "smooth"):
        for row in table[kind].values():
            assert 0 <= row["low"] <= row["days"] <= row["high"] <= 10
