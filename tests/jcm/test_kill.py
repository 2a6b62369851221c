"""The command `jcm run`, killed from outside and resumed: the files are the same to the byte."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

EXPERIMENT = """
[model]
grid = "T21L8"
[run]
days = 2
every = 0.027777777777777776
chunk = 0.1111111111111111
"""


class Command:
    """`jcm` in processes of their own, with compiled programs in a folder of their own."""

    def __init__(self, folder: Path):
        self.experiment = folder / "experiment.toml"
        self.experiment.write_text(EXPERIMENT)
        root = str(Path(__file__).parents[2])
        # Without git: a commit during the test would show in the files.
        self.environment = os.environ | {
            "PYTHONPATH": root, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3", "GIT_DIR": os.devnull}

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "jcm.cli", *arguments, "--quiet"], env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def run(self, folder: Path) -> subprocess.Popen:
        return self.start("run", str(self.experiment), "--output", str(folder))


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Command:
    return Command(tmp_path_factory.mktemp("command"))


@pytest.fixture(scope="module")
def uninterrupted(command, tmp_path_factory) -> Path:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    process = command.run(folder)
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but its log, which has times in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.json"}


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_killed_command_goes_on_to_the_same_bytes(command, uninterrupted, tmp_path):
    """Killed twice, in the middle of the run and again in the resumed one."""
    folder, process = tmp_path / "run", command.run(tmp_path / "run")
    for outputs in (8, 40):
        while process.poll() is None and not any(
            int(path.stem.split("_")[1]) >= outputs for path in folder.glob("restart_*.npz")
        ):
            time.sleep(0.001)
        assert process.poll() is None, process.stderr.read()
        kill(process)
        assert not (folder / "fields.nc").exists()
        process = command.start("resume", str(folder))
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    assert contents(folder) == contents(uninterrupted)


@pytest.mark.slow
def test_a_command_killed_at_any_of_20_moments_goes_on_to_the_same_bytes(
    command, uninterrupted, tmp_path
):
    expected, began = contents(uninterrupted), time.perf_counter()
    # Once more, with compiled programs: how long it takes.
    command.run(tmp_path / "again").communicate(timeout=300)
    duration = time.perf_counter() - began
    draw, killed = np.random.default_rng(20), 0
    for number in range(20):
        folder = tmp_path / str(number)
        process = command.run(folder)
        for _ in range(1 + number % 3):
            try:
                process.communicate(timeout=draw.uniform(0.2, 1.0) * duration)
            except subprocess.TimeoutExpired:
                kill(process)
                killed += 1
            process = command.start(
                *(("resume", str(folder)) if (folder / "experiment.json").exists()
                  else ("run", str(command.experiment), "--output", str(folder))))
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages
        assert contents(folder) == expected, number
    assert killed >= 20
