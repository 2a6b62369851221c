"""A log of every evaluation of an objective, from which a fit is resumed by replay.

The log is a file of JSON lines: a header that says which experiment it belongs to, then one line
per evaluation: its number, kind, iterate, value, gradient norm, cumulated cost, seconds, and the
bytes of what was computed. A line is written and synced before its result is used. All methods are
deterministic functions of the results they asked for, so a fit that was killed continues to the
same final iterate, bit for bit: it starts again and takes from the log what is there.
"""

import base64
import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcm.results import locked_file, refuse_another

#: What the first line of a log says it is.
FORMAT = "jcm_calibrate evaluations 1"


class EvaluationLog:
    """Lines of evaluations, read once and appended to.

    Parameters
    ----------
    path
        The file; its folder must exist.
    experiment
        What must not change between the run that wrote the log and the one that resumes, e.g.
        method, start and options; compared entry by entry.
    resume
        Whether the evaluations of an existing log are to be taken over. Without a file there is
        nothing to resume and the log begins.

    Raises
    ------
    FileExistsError
        If there is a log and `resume` is False.
    ValueError
        If the file is no such log, a line inside it is damaged, or it belongs to another
        experiment. A last line that was cut off by a kill is dropped.
    FileNotFoundError
        If the folder does not exist.
    RuntimeError
        If another process writes to it.
    """

    def __init__(self, path: str | Path, experiment: Mapping[str, str], *, resume: bool = False):
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self.path.parent} for the log")
        self.records: list[dict[str, Any]] = []
        with contextlib.ExitStack() as held:
            held.enter_context(locked_file(self.path))
            known = self.path.exists() and self.path.stat().st_size > 0
            if known and not resume:
                raise FileExistsError(
                    f"{self.path} holds the evaluations of an earlier fit; give resume=True to "
                    "continue it, or another file")
            if known:
                known = self._read(experiment)
            self._file = held.enter_context(self.path.open("ab"))
            if not known:
                self._append([{"log": FORMAT, "experiment": dict(experiment)}])
            self._held = held.pop_all()

    def __len__(self) -> int:
        """Return the number of evaluations."""
        return len(self.records)

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records and wait until they are on the disk."""
        self.records.extend(dict(record) for record in records)
        self._append(records)

    def close(self) -> None:
        """Close the file, and let other processes have it."""
        self._held.close()

    def _append(self, records: Sequence[Mapping[str, Any]]) -> None:
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        self._file.write(lines.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, experiment: Mapping[str, str]) -> bool:
        """Take over what the file holds; False if even its header was cut off."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = [self._parse(number, line)
                 for number, line in enumerate(content[:whole].splitlines(), start=1)]  # fmt: skip
        if whole < len(content):
            os.truncate(self.path, whole)
        if not lines:
            return False
        if lines[0].get("log") != FORMAT:
            raise ValueError(
                f"{self.path} is not a log of evaluations: its first line does not say {FORMAT!r}; "
                "give another file")
        refuse_another(
            lines[0]["experiment"], experiment, self.path,
            "resume with the settings of the log, or start a new log")
        for number, record in enumerate(lines[1:]):
            if record.get("evaluation") != number or "result" not in record:
                raise ValueError(
                    f"line {number + 2} of {self.path} should hold evaluation {number}, but holds "
                    f"{record.get('evaluation')!r}; the log is damaged: restore it, or cut it off "
                    "before this line to continue from there")
        self.records = lines[1:]
        return True

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"line {number} of {self.path} is damaged ({error}); restore the file, or cut it "
                "off before this line to continue from there") from error
        if not isinstance(record, dict):
            raise ValueError(f"line {number} of {self.path} is not a record; the log is damaged")
        return record


def encode(arrays: Mapping[str, np.ndarray]) -> str:
    """Return arrays as text from which `decode` gives the same bits."""
    buffer = io.BytesIO()
    np.savez_compressed(  # pyright: ignore
        buffer, **{name: np.asarray(array) for name, array in arrays.items()})  # pyright: ignore
    return base64.b64encode(buffer.getvalue()).decode()


def decode(text: str) -> dict[str, np.ndarray]:
    """Return the arrays of `encode`.

    Raises
    ------
    ValueError
        If the text is damaged.
    """
    try:
        with np.load(io.BytesIO(base64.b64decode(text, validate=True))) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise ValueError(f"the result of a logged evaluation is damaged ({error})") from error
