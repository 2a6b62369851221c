"""Folders to write into are checked, and files have the permissions that the user wants."""

import functools
import os

import equinox as eqx
import jax
import pytest
from typer.testing import CliRunner

import jcm
from jcm.files import replacing_folder, write_text
from jcm.physics.speedy import SpeedyPhysics
from jcm.physics.vertical_diffusion import vertical_diffusion
from jcm.restart import identity
from jcm_calibrate import cli as calibrate
from jcm_sensitivity import cli as sensitivity

COMMANDS = pytest.mark.parametrize(("app", "command"), [
    (sensitivity.app, ["map"]), (sensitivity.app, ["response"]), (sensitivity.app, ["patches"]),
    (sensitivity.app, ["horizon"]), (calibrate.app, ["fit"]), (calibrate.app, ["sample"]),
    (calibrate.app, ["identify"]), (calibrate.app, ["ensemble"])])  # fmt: skip


TWIN = """
[model]
grid = "T21L8"
[calibration]
parameters = ["parameters.convection.relaxation_time"]
truth = {"parameters.convection.relaxation_time" = 7200.0}
[calibration.windows]
starts = ["2000-01-01"]
days = 0.25
[calibration.observations.rain]
from = "twin"
variable = "precipitation_flux"
operator = "zonal_mean"
error = "10%"
"""


def refusal(app, command, tmp_path, monkeypatch, output):
    """What a command says before it builds a model."""
    def built(*arguments, **options):
        raise AssertionError("the model was built")

    for module in ("jcm.model", "jcm.build", "jcm_sensitivity.work.check"):
        monkeypatch.setattr(f"{module}.build_model", built, raising=False)
    (tmp_path / "twin.toml").write_text(TWIN)
    given = [str(tmp_path / "twin.toml")] if app is calibrate.app else []
    done = CliRunner().invoke(app, [*command, *given, "--output", str(output)])
    assert done.exit_code == 1
    return done.output


@pytest.mark.parametrize("inside", ["", "inside"])
@COMMANDS
def test_a_file_as_output_is_refused_before_the_model_is_built(
    app, command, inside, tmp_path, monkeypatch
):
    (tmp_path / "out").write_text("notes")
    said = refusal(app, command, tmp_path, monkeypatch, tmp_path / "out" / inside)
    assert "out' is a file; name another place" in said
    assert (tmp_path / "out").read_text() == "notes"


@COMMANDS
def test_an_output_that_cannot_be_written_is_refused_before_the_model_is_built(
    app, command, tmp_path, monkeypatch
):
    # The superuser may write everywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    said = refusal(app, command, tmp_path, monkeypatch, tmp_path / "new" / "out")
    assert "where nothing can be written; name another place" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("mask", "file", "folder"), [
    (0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_files_and_folders_have_the_permissions_of_the_user(mask, file, folder, tmp_path):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "a")
        with replacing_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == file
    assert (tmp_path / "b").stat().st_mode & 0o777 == folder


class Damped(eqx.Module):
    """Vertical diffusion of a part of the strength."""

    strength: float = eqx.field(static=True)

    def __call__(self, *arguments, **options):
        return jax.tree.map(lambda x: self.strength * x, vertical_diffusion(*arguments, **options))


@pytest.mark.parametrize(("scheme", "line"), [
    (functools.partial(vertical_diffusion), "vertical_diffusion: "),
    (Damped(0.5), "Damped: Vertical diffusion of a part of the strength."),
    (lambda *a, **k: vertical_diffusion(*a, **k), "<lambda>: no description")])
def test_a_scheme_may_be_a_partial_function_a_module_or_without_words(scheme, line, small_inputs):
    model = jcm.build_model(
        "T21L8", physics=functools.partial(SpeedyPhysics, vertical_diffusion=scheme))
    assert model.physics.schemes()[-1].startswith(line)
    assert identity(model, small_inputs)["physics"]
