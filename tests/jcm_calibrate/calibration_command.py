"""A small calibration as a file, the command line, and what an error must look like."""

import json
from pathlib import Path

import jax.numpy as jnp
import pytest
from typer.testing import CliRunner

from jcm.build import build as build_anew
from jcm_calibrate import cli
from jcm_calibrate.windows import Windows, make_windows

STEP = 1 / 36
CONVECTION = "parameters.convection.relaxation_time"
WINDOW = "parameters.longwave.window_absorptivity"
RAIN, LONGWAVE = "precipitation_flux", "toa_outgoing_longwave_flux"
#: A small experiment, table by table.
SMALL = {
    "model": 'grid = "T21L8"\nsmooth = true',
    "calibration": f'title = "Small twin"\nparameters = ["{CONVECTION}", "{WINDOW}"]',
    "calibration.windows": f"states = 1\ndays = {2 * STEP}",
    "calibration.truth": f'"{CONVECTION}" = 14400.0\n"{WINDOW}" = 0.4',
    "calibration.observations.rain":
        f'from = "twin"\nvariable = "{RAIN}"\noperator = "zonal_mean"\nerror = 1e-5',
    "calibration.observations.longwave":
        f'from = "twin"\nvariable = "{LONGWAVE}"\noperator = "grid"\nerror = 5.0',
    "calibration.fit": "steps = 6",
    "calibration.sample": "warmup = 2\ndraws = 4\nchains = 2\nmax_tree_depth = 1\npredictions = 2",
    "calibration.ensemble": "members = 2\nbatch = 1",
}  # fmt: skip
#: The same without a run for the observations.
PACKAGED = {name: lines for name, lines in SMALL.items()
            if "observations" not in name and "truth" not in name}  # fmt: skip
PACKAGED["calibration.observations.temperature"] = 'from = "packaged"\nchosen = ["Jan"]'


def written(folder: Path, base=SMALL, /, **tables) -> Path:
    """Write an experiment; `__` stands for a dot in the name of a table, None removes it."""
    content = base | {name.replace("__", "."): lines for name, lines in tables.items()}
    path = folder / "experiment.toml"
    path.write_text("".join(
        f"[{name}]\n{lines}\n" for name, lines in content.items() if lines is not None))
    return path


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(x) for x in arguments])


def refused(result, *messages):
    """Check for one line that says what to do, and status 1."""
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(errors) == 1 and errors[0].startswith("error: "), result.output
    for message in messages:
        assert message in errors[0], errors[0]
    assert "Traceback" not in result.output


class CheapWindows(Windows):
    """Windows of a run that costs nothing and depends on both parameters."""

    def _one(self, inputs, state, start_day):
        parameters = inputs.parameters
        hours = parameters.convection.relaxation_time / 3600
        latitude, ones = jnp.linspace(-1.0, 1.0, 32), jnp.ones((1, 64, 1))
        fields = {
            RAIN: ones * 3e-4 / hours * jnp.exp(-4 * latitude**2),
            LONGWAVE: ones * (280 - 60 * latitude**2 - 100 * parameters.longwave.window_absorptivity
                              + 12 / hours)}  # fmt: skip
        return {name: fields[name] for name in self.observe or fields}


def cheap_windows(*arguments, **options) -> CheapWindows:
    """Make windows as an experiment asks for them, of a run that costs nothing."""
    return CheapWindows(**vars(make_windows(*arguments, **options)))


@pytest.fixture(scope="module")
def built():
    """The model and its inputs, built once for all experiments of this file."""
    known: dict = {}

    def build(experiment, **options):
        key = json.dumps(experiment.model_dump(mode="json", include={"model", "forcing", "state"}))
        if key not in known:
            known[key] = build_anew(experiment, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jcm_calibrate.experiment.build", build)
        yield known
