"""Processes that are measured, seen from outside: requests go in, answers come out."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

#: The version of the peer that is compared.
PEER, PEER_VERSION = "jcm", "3.0.0"
#: What must not come from the environment of the user: precision, and where programs are kept.
OVERRIDDEN = (
    "JAX_ENABLE_X64", "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_DISABLE_JIT", "JAX_DEBUG_NANS",
)  # fmt: skip


class MeasuredProcess:
    """A process that answers requests; use it in a `with` statement."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], name: str):
        #: Start of the process, for the time to the first result.
        self.started = time.perf_counter()
        self.name = name
        self._messages = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._messages, text=True)  # fmt: skip

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, wait, and return the answer.

        Raises
        ------
        RuntimeError
            If the answer is an error, or the process has ended.
        """
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        line = ""
        try:
            process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            status = process.wait()
            raise RuntimeError(
                f"{self.name} ended with status {status} at the request {command!r}: "
                f"{self._last_message()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name} failed at the request {command!r}: {answer['error']}")
        return answer

    def seconds_since_start(self) -> float:
        """Return the time since the process was started [s]."""
        return time.perf_counter() - self.started

    def _last_message(self) -> str:
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def __enter__(self) -> "MeasuredProcess":
        """Return the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """End the process, at once if something went wrong here."""
        process = self._process
        if kind is not None:
            process.kill()
        elif process.stdin is not None:
            try:
                process.stdin.write('{"command": "quit"}\n')
                process.stdin.close()
            except BrokenPipeError:
                pass
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._messages.close()


def own_process(cache: Path) -> MeasuredProcess:
    """Start a process of this package that keeps its compiled programs in a folder."""
    environment = _environment() | {"JCM_CACHE": str(cache)}
    # The package measured is this one, installed or not.
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(
        [root, *filter(None, [environment.get("PYTHONPATH")])])
    return MeasuredProcess(
        [sys.executable, "-m", "jcm.benchmark.worker"], environment, "the measured process")


def peer_process(python: Path) -> MeasuredProcess:
    """Start the peer with its own Python; isolated, so that it imports nothing of this package."""
    script = Path(__file__).parents[1] / "benchmark_peer.py"
    return MeasuredProcess([str(python), "-I", str(script)], _environment(), "the peer")


def check_peer(python: Path) -> None:
    """Refuse a Python that does not have the peer.

    Raises
    ------
    ValueError
        If it is not an executable Python, or the package is missing or of another version.
    """
    advice = f"make one with `python -m venv peer && peer/bin/pip install {PEER}=={PEER_VERSION}`"
    if not python.is_file() or not os.access(python, os.X_OK):
        raise ValueError(
            f"--peer is the Python of an environment with {PEER} {PEER_VERSION}, and "
            f"{str(python)!r} is no executable file; {advice}")
    code = f"import importlib.metadata as m; print(m.version({PEER!r}))"
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", code], env=_environment(), capture_output=True, text=True,
            timeout=120, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{str(python)!r} does not work as a Python ({error}); {advice}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(
            f"{str(python)!r} has no package {PEER!r} ({reason}); {advice}")
    if done.stdout.strip() != PEER_VERSION:
        raise ValueError(
            f"{str(python)!r} has {PEER} {done.stdout.strip()}, expected {PEER_VERSION}; {advice}")


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in OVERRIDDEN}
