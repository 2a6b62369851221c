"""The certificate of a model: verdicts, resuming, the command; with the dry model, for speed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import jcm
import jcm_sensitivity as js
from jcm.physics.held_suarez import HeldSuarez
from jcm_sensitivity import cli
from jcm_sensitivity.certificate import direction, horizon
from jcm_sensitivity.certify import adjoint_mismatch

NAMES = ("parameters.relaxation.surface_time", "parameters.longwave.window_absorptivity",
         "state.air_temperature")  # fmt: skip
TARGETS = {
    "wind": js.mean("eastward_wind", region="northern_extratropics", level=3),
    "warmth": js.mean("air_temperature", region="tropics", level=7),
}


def dry(physics="held_suarez"):
    model = jcm.build_model("T21L8", physics=physics)
    return model, jcm.default_inputs(model, state="rest")


def certificate(model, inputs, **options):
    return js.certify(model, inputs, names=NAMES, targets=TARGETS, horizons=("3step",),
                      **{"identity": False} | options)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def result(store):
    return certificate(*dry(), store=store, random_directions=2, identity=True)


def cells(result, name):
    return [cell for cell in result["cells"] if cell["input"] == name]


def test_every_derivative_has_a_verdict(result):
    single = [cell for cell in result["cells"] if not cell["input"].startswith("random")]
    assert len(single) == len(NAMES) * len(TARGETS)
    assert result["passed"]


def test_a_smooth_derivative_passes_with_the_orders_of_taylor(result):
    for cell in cells(result, NAMES[0]):
        assert cell["verdict"] == "pass", cell["explanation"]
        assert cell["error_free"] <= 1e-5
        assert 1.9 < cell["orders_frozen"][1] < 2.1


def test_an_input_that_is_not_read_is_dead_for_that_reason(result):
    for cell in cells(result, NAMES[1]):
        assert cell["verdict"] == "dead"
        assert "does not read it" in cell["explanation"]


def test_random_directions_agree_with_branches_frozen(result):
    many = result["random_directions"]
    assert many["count"] == 2 * len(TARGETS)
    assert many["within_1e-6"] == many["count"]


def test_forward_and_reverse_mode_agree_over_all_outputs(result):
    assert [x["horizon"] for x in result["identity"]] == ["1step"]
    assert result["identity"][0]["mismatch"] <= 1e-12


@pytest.mark.parametrize("one_run", [pytest.param(True, marks=pytest.mark.slow), False])
def test_forward_and_reverse_mode_agree_in_float32(one_run):
    with jax.enable_x64(False):
        model, inputs = dry()
        along = {name: direction(model, inputs, name) for name in NAMES}
        found = adjoint_mismatch(model, inputs, along, horizon(model, "2step"), one_run=one_run)
    assert 0 < found <= 1e-6


def test_a_certificate_that_is_done_is_not_computed_again(result, store):
    said = []
    again = certificate(
        *dry(), store=store, random_directions=2, progress=lambda text, done, of: said.append(text))
    assert again["cells"] == result["cells"]
    assert said == []


class Broken(HeldSuarez):
    """The dry physics with a derivative of temperature that is missing."""

    def tendencies(self, columns, *others):
        """Return the tendencies, of a temperature that is held."""
        held = dataclasses.replace(columns, temperature=jax.lax.stop_gradient(columns.temperature))
        return super().tendencies(held, *others)


@pytest.mark.slow
def test_a_missing_derivative_is_found_to_be_wrong():
    found = js.certify(
        *dry(Broken), names=NAMES[2:], targets={"warmth": TARGETS["warmth"]},
        horizons=("3step",), identity=False)
    verdicts = {cell["verdict"] for cell in cells(found, "state.air_temperature")}
    assert "wrong" in verdicts
    assert not found["passed"]


def test_a_state_that_is_not_finite_is_refused():
    model, inputs = dry()
    bad = jax.tree.map(
        lambda x: x * np.nan if jnp.issubdtype(x.dtype, jnp.floating) else x, inputs.state)
    with pytest.raises(FloatingPointError, match="the run is unstable"):
        certificate(model, inputs.with_state(bad))


@pytest.mark.parametrize(("name", "steps"), [("1step", 1), ("6h", 9), ("1d", 36), ("0.5d", 18)])
def test_horizons_have_names(name, steps):
    assert horizon(dry()[0], name).steps == steps


@pytest.mark.parametrize("name", ["5 days", "step", "0d", "-1d", "d", "7min"])
def test_a_horizon_without_meaning_is_refused(name):
    with pytest.raises(ValueError, match=r"a horizon is such as|must be a positive multiple"):
        horizon(dry()[0], name)


# ---- the command --------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["check", *(str(x) for x in arguments)])


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "dry.toml"
    path.write_text(
        '[model]\ngrid = "T21L8"\nphysics = "held_suarez"\n[run]\ndays = 1\n'
        '[state]\nkind = "rest"\n[target]\nvariable = "air_temperature"\nlevel = 7\n')
    return path


def test_the_command_writes_json_and_a_page(experiment, tmp_path, result, monkeypatch):
    asked = {}

    def known(model, inputs, **options):
        asked.update(options, physics=type(model.physics))
        return result

    monkeypatch.setattr("jcm_sensitivity.work.check.certify", known)
    done = invoke(
        experiment, "--parameters", NAMES[0], "--targets", "target", "--horizons", "3step",
        "--tolerance", "1e-4", "--json", tmp_path / "c.json", "--html", tmp_path / "c.html")
    assert done.exit_code == 0, done.output
    assert asked["physics"] is HeldSuarez
    assert (asked["names"], list(asked["targets"])) == ([NAMES[0]], ["target"])
    assert (list(asked["horizons"]), asked["tolerance"]) == (["3step"], 1e-4)
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["cells"] == result["cells"]
    assert content["parameters_sha256"] in (tmp_path / "c.html").read_text()


@pytest.mark.slow
def test_the_command_certifies_the_model_of_a_file(experiment, tmp_path):
    done = invoke(
        experiment, "--parameters", NAMES[0], "--targets", "target", "--horizons", "3step",
        "--json", tmp_path / "c.json", "--html", tmp_path / "c.html")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["summary"] == {"pass": 1}
    assert content["parameters_sha256"] in (tmp_path / "c.html").read_text()
    assert "pass" in done.output


@pytest.mark.parametrize(("arguments", "message"), [
    (["--targets", "itcz"], "unknown target 'itcz'; did you mean itcz_latitude"),
    (["--parameters", "parameters.convection.relaxtion_time"], "no input is called"),
    (["--horizons", "soon"], "a horizon is such as"),
    (["--dtype", "float16"], "--dtype is float64 or float32"),
    (["--grid", "T20"], "T20"),
])
def test_the_command_refuses_what_it_does_not_know(arguments, message):
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert message in done.output
