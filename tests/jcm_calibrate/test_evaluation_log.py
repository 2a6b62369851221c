"""The log of evaluations: complete, replayed after a kill, and never trusted blindly."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.fingerprint import fingerprint
from jcm_calibrate.optimisers.evaluation_log import decode, encode
from jcm_calibrate.optimisers.minimise import METHODS, minimise, multi_start

KEY = jax.random.key(2)
START = jnp.array([-1.2, 1.0])


class Valley(eqx.Module):
    """Rosenbrock's residuals with a parameter."""

    slope: jax.Array

    def __call__(self, z):
        return jnp.stack([self.slope * (z[1] - z[0] ** 2), 1 - z[0]])


VALLEY = Valley(jnp.asarray(10.0))


class Interrupted(Exception):
    pass


def interrupt_at(number):
    def progress(row):
        if row["evaluation"] == number:
            raise Interrupted
    return progress


def run(path, method="lbfgs", **arguments):
    return minimise(VALLEY, START, method=method, key=KEY, steps=12, log=path, **arguments)


# The searches of jaxopt log their first and last evaluation only, and begin anew.
@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith("jaxopt")])
def test_an_interrupted_fit_ends_where_it_would_have_ended(method, tmp_path):
    path = tmp_path / "log.jsonl"
    whole = minimise(VALLEY, START, method=method, key=KEY, steps=12, learning_rate=0.01)
    with pytest.raises(Interrupted):
        run(path, method, learning_rate=0.01, progress=interrupt_at(9))
    resumed = run(path, method, learning_rate=0.01, resume=True)
    np.testing.assert_array_equal(resumed.best, whole.best)
    np.testing.assert_array_equal(resumed.history["iterate"], whole.history["iterate"])
    np.testing.assert_array_equal(resumed.history["value"], whole.history["value"])
    assert resumed.message == whole.message


SCRIPT = """
import os, signal, sys
import jax
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[2])
from test_evaluation_log import run

def progress(row):
    if row["evaluation"] == 12:
        os.kill(os.getpid(), signal.SIGKILL)

run(sys.argv[1], "cma_es", progress=progress)
"""


def test_a_killed_process_is_resumed_to_the_same_bits(tmp_path):
    path = tmp_path / "log.jsonl"
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(Path(__file__).parent)],
        env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    whole = minimise(VALLEY, START, method="cma_es", key=KEY, steps=12)
    resumed = run(path, "cma_es", resume=True)
    np.testing.assert_array_equal(resumed.history["iterate"], whole.history["iterate"])
    assert resumed.value == whole.value


def test_a_finished_log_is_replayed_without_computing(tmp_path):
    first = run(tmp_path / "log.jsonl")
    traces = []
    again = run(tmp_path / "log.jsonl", resume=True, progress=traces.append)
    assert again.compilations == 0
    np.testing.assert_array_equal(again.history, first.history)
    assert len(traces) == len(first.history)


def test_more_steps_continue_a_finished_log(tmp_path):
    path = tmp_path / "log.jsonl"
    minimise(VALLEY, START, method="adam", steps=5, log=path)
    longer = minimise(VALLEY, START, method="adam", steps=9, log=path, resume=True)
    whole = minimise(VALLEY, START, method="adam", steps=9)
    np.testing.assert_array_equal(longer.history["iterate"], whole.history["iterate"])


def test_the_log_holds_every_evaluation_as_a_line_of_json(tmp_path):
    path = tmp_path / "log.jsonl"
    fit = run(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 1 + len(fit.history)
    for line, row in zip(lines[1:], fit.history, strict=True):
        assert line["iterate"] == row["iterate"].tolist()
        assert line["value"] == row["value"]
        assert line["cost"] == row["cost"]
        assert line["gradient_norm"] == row["gradient_norm"]
        assert line["seconds"] > 0


def test_a_last_line_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    whole = run(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    resumed = run(path, resume=True)
    np.testing.assert_array_equal(resumed.history["iterate"], whole.history["iterate"])
    lines = path.read_bytes().splitlines()
    assert len(lines) == 1 + len(whole.history)
    assert all(json.loads(line) for line in lines)


@pytest.mark.parametrize("method", ["eki", "cma_es"])
def test_a_generation_that_was_cut_off_is_completed(method, tmp_path):
    path = tmp_path / "log.jsonl"
    whole = run(path, method)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:9]))
    resumed = run(path, method, resume=True)
    np.testing.assert_array_equal(resumed.history["iterate"], whole.history["iterate"])
    numbers = [json.loads(line)["evaluation"] for line in path.read_bytes().splitlines()[1:]]
    assert numbers == list(range(len(whole.history)))


def test_values_that_are_not_finite_survive_the_log(tmp_path):
    path = tmp_path / "log.jsonl"
    walled = lambda z: jnp.where(z[0] > 0.5, jnp.nan, jnp.sum(10 * (z - 0.4) ** 2))  # noqa: E731
    arguments = {"method": "adam", "learning_rate": 1.0, "steps": 15}
    first = minimise(walled, jnp.array([-1.0]), log=path, **arguments)
    again = minimise(walled, jnp.array([-1.0]), log=path, resume=True, **arguments)
    assert np.isnan(first.history["value"]).any()
    np.testing.assert_array_equal(again.history["value"], first.history["value"])


def test_an_existing_log_is_not_overwritten(tmp_path):
    run(tmp_path / "log.jsonl")
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(FileExistsError, match="resume=True"):
        run(tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_without_a_log_resume_begins(tmp_path):
    run(tmp_path / "log.jsonl", resume=True)
    assert (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(("change", "named"), [
    ({"method": "adam"}, "method"), ({"key": jax.random.key(7)}, "key"),
    ({"memory_size": 3}, "options"), ({"experiment": "b"}, "experiment"),
    ({"prior": True}, "prior")])  # fmt: skip
def test_a_changed_experiment_is_refused(change, named, tmp_path):
    path = tmp_path / "log.jsonl"
    usual = {"method": "lbfgs", "key": KEY, "steps": 5, "log": path}
    minimise(VALLEY, START, **usual)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"another experiment.*(other )?{named}( was |\\))"):
        minimise(VALLEY, START, **usual | change, resume=True)
    assert path.read_bytes() == before


def test_a_changed_start_or_problem_is_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    minimise(VALLEY, START, log=path)
    with pytest.raises(ValueError, match="other start"):
        minimise(VALLEY, START + 1e-9, log=path, resume=True)
    with pytest.raises(ValueError, match="other function"):
        minimise(Valley(jnp.asarray(9.0)), START, log=path, resume=True)


def test_a_function_that_gives_other_values_is_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    scale = 1.0

    def hidden(z):
        return outside() * jnp.sum(z**4)

    def outside():
        return table["scale"]

    table = {"scale": scale}
    minimise(hidden, START, method="adam", steps=3, log=path)
    table["scale"] = 2.0
    jax.clear_caches()
    with pytest.raises(ValueError, match=r"first value was|another experiment"):
        minimise(hidden, START, method="adam", steps=6, log=path, resume=True)


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"{rubbish\n", *lines[4:]]))
    with pytest.raises(ValueError, match=r"line 4 of .* is damaged"):
        run(path, resume=True)


def test_a_missing_line_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with pytest.raises(ValueError, match=r"line 4 of .* should hold evaluation 2, but holds 3"):
        run(path, resume=True)


def test_a_damaged_result_is_told(tmp_path):
    path = tmp_path / "log.jsonl"
    run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[2])
    lines[2] = (json.dumps(record | {"result": record["result"][:40]}) + "\n").encode()
    path.write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match="evaluation is damaged"):
        run(path, resume=True)


def test_a_changed_iterate_is_told(tmp_path):
    path = tmp_path / "log.jsonl"
    run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[3])
    lines[3] = (json.dumps(record | {"iterate": [0.0, 0.0]}) + "\n").encode()
    path.write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match=r"evaluation 2 of .* this fit asks for"):
        run(path, resume=True)


def test_another_file_is_not_taken_for_a_log(tmp_path):
    path = tmp_path / "notes.json"
    path.write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match="not a log of evaluations"):
        run(path, resume=True)
    with pytest.raises(FileNotFoundError, match="no folder"):
        run(tmp_path / "nowhere" / "log.jsonl")


def test_each_start_has_its_own_log(tmp_path):
    first = multi_start(VALLEY, [[-1.2, 1.0], [0.5, 0.5]], log=tmp_path / "log.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.0.jsonl", "log.1.jsonl"]
    again = multi_start(
        VALLEY, [[-1.2, 1.0], [0.5, 0.5]], log=tmp_path / "log.jsonl", resume=True)
    assert [fit.value for fit in first] == [fit.value for fit in again]


def test_arrays_survive_encoding_to_the_bit():
    arrays = {"a": np.array([np.nan, -0.0, 1e-320, np.pi]), "b": np.float32([[1 / 3]])}
    decoded = decode(encode(arrays))
    assert decoded["b"].dtype == np.float32
    assert decoded["a"].tobytes() == arrays["a"].tobytes()


def test_the_fingerprint_sees_arrays_code_and_enclosed_values():
    def make(value):
        return lambda z: value * z

    assert fingerprint(make(1.0)) == fingerprint(make(1.0))
    assert fingerprint(make(1.0)) != fingerprint(make(2.0))
    assert fingerprint(lambda z: z + 1) != fingerprint(lambda z: z + 2)
    assert fingerprint(VALLEY) != fingerprint(Valley(jnp.asarray(10.1)))
