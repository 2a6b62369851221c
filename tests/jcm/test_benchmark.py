"""`jcm benchmark`: its keys, its pairing with a peer, and what it refuses at once."""

import importlib
import json
import stat
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import jcm
from jcm.benchmark import Settings, check, markdown, measure, model_names, numbers, show
from jcm.benchmark.process import MeasuredProcess
from jcm.benchmark.profile import Call, milliseconds, recorded_calls
from jcm.benchmark.worker import _ensemble, _members
from jcm.cli import app

# The package gives the name of this module to its function.
MEASURE = importlib.import_module("jcm.benchmark.measure")

#: A process that answers as the peer does; it notes the order of the requests in a file.
FAKE = """
import json, sys
note = open({note!r}, "a")
for line in sys.stdin:
    request = json.loads(line)
    note.write("peer " + request["command"] + "\\n"); note.flush()
    if request["command"] == "quit":
        break
    if request["command"] == {failing!r}:
        print(json.dumps(dict(error="ValueError: no"))); sys.stdout.flush()
        continue
    print(json.dumps(dict(seconds=2.0, finite={finite!r}, peak_memory_gib=1.0,
                          compile_seconds=3.0))); sys.stdout.flush()
"""


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["benchmark", *arguments])


class Own(MeasuredProcess):
    """A process of this package that takes 1 s for anything."""

    def __init__(self, note: Path):
        self.note = note

    def ask(self, command: str, **arguments):
        with self.note.open("a") as file:
            file.write(f"own {command}\n")
        if command == "profile":
            return {"step_ms": 1.0, "remainder_ms": 0.0, "parts": [], "peak_memory_gib": 1.0}
        return {
            "seconds": 1.0, "setup_seconds": 0.1, "finite": True, "compile_seconds": 2.0,
            "peak_memory_gib": 1.0, "temporary_gib": 0.1, "value": 1.0, "largest_derivative": 1.0,
            "of": "", "with_respect_to": "", "model": "T21L8", "preset": "speedy",
            "precision": "float32", "time_step": 2400.0, "steps_per_day": 36,
            "shortwave_interval": 7200.0, "device": "cpu", "platform": "cpu",
        }  # fmt: skip

    def seconds_since_start(self) -> float:
        return 5.0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def faked(monkeypatch, tmp_path):
    """Measure with pretended processes; return content and the order of requests."""

    def run(failing: str = "", finite: bool = True, **settings):
        note = tmp_path / "order"
        monkeypatch.setattr(MEASURE, "own_process", lambda cache: Own(note))
        code = FAKE.format(note=str(note), failing=failing, finite=finite)
        monkeypatch.setattr(
            MEASURE, "peer_process",
            lambda python: MeasuredProcess([sys.executable, "-c", code], {}, "the peer"))
        content = measure(Settings(
            grids=("T21L8",), days=1, repeats=2, **settings))  # fmt: skip
        return content, note.read_text().split("\n")

    return run


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The command on the smallest model, one day, one repeat; content of the file, and output."""
    path = tmp_path_factory.mktemp("benchmark") / "out.json"
    result = command(
        "--grid", "T21", "--days", "1", "--repeats", "1", "--no-profile", "--markdown",
        "--json", str(path))  # fmt: skip
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text()), result.stdout


@pytest.mark.slow
def test_all_keys_are_in_the_file_and_null_where_they_do_not_apply(measured):
    content, _ = measured
    assert set(MEASURE.KEYS) <= set(content)
    missing = {key for key in MEASURE.KEYS if content[key] is None}
    assert missing == {
        "peer_sypd", "peer_ratio", "gradient_ratio", "peer_gradient_ratio", "profile"}  # fmt: skip


@pytest.mark.slow
def test_speed_is_simulated_years_per_day_of_the_samples(measured):
    content, _ = measured
    (seconds,) = content["forward"]["samples"]
    assert content["sypd"] == pytest.approx(86400 / 365.2425 / seconds)
    assert content["ms_per_step"] == pytest.approx(1e3 * seconds / 36)


@pytest.mark.slow
def test_the_starts_of_two_processes_are_recorded_apart(measured):
    content, _ = measured
    assert len(content["starts"]) == 2
    recorded = [start["first_result_seconds"] for start in content["starts"]]
    assert recorded == [content["first_result_seconds"], content["second_process_seconds"]]


@pytest.mark.slow
def test_the_model_measured_has_float32_and_the_default_step(measured):
    model = measured[0]["model"]
    assert (model["model"], model["precision"], model["time_step"]) == ("T21L8", "float32", 2400)


@pytest.mark.slow
def test_hardware_is_named_in_the_table(measured):
    content, text = measured
    assert f"{content['hardware']['cores']} cores" in text
    assert "| simulated years per day |" in text


def test_runs_alternate_with_those_of_the_peer(faked):
    content, order = faked(peer=Path("python"))
    forward = [line for line in order if line.endswith("forward")]
    assert forward == ["own forward", "peer forward"] * 2
    assert content["peer_ratio"] == pytest.approx(2)
    assert content["peer_sypd"] == pytest.approx(content["sypd"] / 2)


def test_gradients_alternate_with_runs_and_gradients_of_the_peer(faked):
    content, order = faked(peer=Path("python"), gradient_days=(1.0,), profile=False)
    end = ["own forward", "own gradient", "peer gradient"] * 2
    assert [line for line in order if line and "quit" not in line][-6:] == end
    assert (content["gradient_ratio"], content["peer_gradient_ratio"]) == (1, 2)
    assert content["peer"]["gradients"][0]["compile_seconds"] == 3


@pytest.mark.parametrize("failing", ["setup", "first", "forward", "gradient"])
def test_a_peer_that_fails_leaves_our_numbers_and_its_error(faked, failing):
    content, _ = faked(failing=failing, peer=Path("python"), gradient_days=(1.0,))
    assert content["sypd"] > 0 and content["gradient_ratio"] == 1
    assert content["peer_gradient_ratio"] is None
    assert "ValueError: no" in content["peer"]["error"]


def test_a_peer_that_blows_up_is_not_compared(faked):
    content, _ = faked(finite=False, peer=Path("python"))
    assert content["peer_ratio"] is None
    assert "not finite" in content["peer"]["error"]


def test_tables_show_what_was_measured(faked, capsys):
    content, _ = faked(peer=Path("python"), gradient_days=(1.0,), members=(1, 2))
    show(content)
    text = capsys.readouterr().out + markdown(content)
    assert "value and gradient over 1 days [s]" in text and "2 members" in text


def test_a_process_that_dies_is_reported_with_its_last_words():
    code = "import sys; sys.exit('out of paper')"
    with MeasuredProcess([sys.executable, "-c", code], {}, "the printer") as process:
        with pytest.raises(RuntimeError, match=r"the printer ended .*'setup': out of paper"):
            process.ask("setup")


def test_ratios_are_medians_of_pairs():
    seconds = lambda *x: [{"seconds": value} for value in x]  # noqa: E731
    # The second pair was disturbed as a whole; the ratio of medians would be 2.5.
    assert MEASURE._ratio(seconds(2, 20, 3), seconds(1, 10, 1)) == 2


def python(folder: Path, prints: str, status: int = 0) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho {prints}\nexit {status}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_another_version_of_the_peer_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has jcm 2\.1\.0, expected 3\.0\.0"):
        check(Settings(peer=python(tmp_path, "2.1.0")))


def test_a_python_without_the_peer_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no package 'jcm'"):
        check(Settings(peer=python(tmp_path, "", 1)))


def test_the_right_version_of_the_peer_is_accepted(tmp_path):
    check(Settings(peer=python(tmp_path, "3.0.0")))


def test_names_and_numbers_are_given_with_commas_or_repeated():
    assert model_names(["T21,T31L8", "T31"]) == ("T21L8", "T31L8")
    assert numbers("--members", ["1,2", "4"], int) == (1, 2, 4)


@pytest.fixture(scope="module")
def dry():
    """A model that compiles fast, at rest."""
    model = jcm.build_model("T21L5", physics="held_suarez")
    forcing = jcm.aquaplanet_forcing(model.grid, gravity=model.constants.gravity)
    return model, jcm.default_inputs(model, state="rest", forcing=forcing)


def test_a_step_is_recorded_as_pieces_and_pieces_of_pieces(dry):
    model, inputs = dry
    calls = recorded_calls(model, inputs, inputs.state)
    paths = [call.path for call in calls]
    assert {("columns",), ("physics",), ("dynamics",), ("coupler",)} <= set(paths)
    assert {("columns", "synthesis"), ("dynamics", "spectral_tendency", "analysis")} <= set(paths)
    assert paths.index(("columns",)) < paths.index(("physics",)) < paths.index(("dynamics",))


def test_recording_leaves_the_model_as_it_was(dry):
    model, inputs = dry
    before = type(model).columns, type(model.dynamics).advance
    recorded_calls(model, inputs, inputs.state)
    assert (type(model).columns, type(model.dynamics).advance) == before


def test_a_loop_repeats_the_work_in_every_pass():
    def work(x, times):
        return jax.lax.fori_loop(0, times, lambda _, y: jnp.sin(y), x)

    field = jnp.ones((50, 50))
    once, often = (
        milliseconds(Call(("work",), work, None, ((field, times), {}))) for times in (1, 200))
    assert often > 20 * once


def test_the_first_member_of_an_ensemble_is_the_single_run(dry):
    model, inputs = dry
    days = 2 / model.steps_per_day
    together = _ensemble(2, days)(model, inputs, _members(inputs.state, 2))
    alone, _ = jcm.simulate(model, inputs, days=days, observe=())
    both = np.asarray(together.current.temperature)
    expected = np.asarray(alone.current.temperature)
    np.testing.assert_allclose(both[0], expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    assert np.abs(both[1] - both[0]).max() > 1e-4


ERRORS = {
    "unknown grid": (("--grid", "T32"), "unknown grid 'T32'"),
    "no state": (("--grid", "T85L8"), "no spun-up state is packaged for T85L8, only for T21L8"),
    "repeats": (("--repeats", "0"), "--repeats must be a whole number of at least 1; got 0"),
    "members": (("--members", "0"), "--members must be at least 1; got 0"),
    "words": (("--members", "two"), "--members takes whole numbers such as 1,2; got 'two'"),
    "gradient": (("--gradient", "-1"), "must be a positive multiple of the time step"),
    "time step": (("--time-step", "2500"), "the time step must divide a day"),
    "no folder": (("--json", "nowhere/out.json"), "there is no directory 'nowhere'"),
    "a folder": (("--json", "."), "'.' is a directory"),
    "no peer": (("--peer", "nowhere/python"), "'nowhere/python' is no executable file"),
    "ensemble": (("--members", "2", "--peer", "python"), "the first of --members must be 1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_come_as_one_line_before_anything_is_measured(case, monkeypatch):
    monkeypatch.setattr("jcm.benchmark.measure", None)
    arguments, message = ERRORS[case]
    result = command(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
