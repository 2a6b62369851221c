"""What the commands share once their arguments are checked: the folder, counters of progress."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jcm.files import write_text
from jcm.provenance import git_state, package_version
from jcm.results import claim
from jcm_calibrate.experiment import Calibration, read_calibration
from jcm_calibrate.problem import Problem
from jcm_calibrate.reports import records
from jcm_calibrate.reports.html import write_report
from jcm_sensitivity.commands.shared import status

#: Seconds between two lines of progress where there is no terminal.
LINE_EVERY = 10.0


def prepare(
    experiment: Path, output: Path, console: Console, *, gradients: bool = True
) -> Calibration:
    """Read the experiment and make the folder, with a copy of the file in it.

    Raises
    ------
    ValueError
        If the folder holds the results of another experiment.
    """
    with status(console, "Building the model, its windows and the observations"):
        calibration = read_calibration(experiment, gradients=gradients)
    claim(output, calibration.identity, advice="choose another --output, or remove the folder")
    write_text(output / records.EXPERIMENT, calibration.text)
    return calibration


def finish(output: Path, console: Console) -> None:
    """Write the report and say where it is."""
    console.print(f"Wrote {write_report(output)}")


def provenance(command: str) -> dict[str, str]:
    """Return version, commit, command and date."""
    return {
        "version": package_version(), **git_state(), "command": command,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "device": str(jax.devices()[0].device_kind)}  # fmt: skip


@eqx.filter_jit
def predicted(problem: Problem, z: jax.Array) -> jax.Array:
    """Return the data that parameters lead to."""
    return problem.predict(z)


def evaluations_shown(console: Console) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that prints evaluations as they come, on a terminal all of them."""
    last = [0.0]

    def show(record: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if not console.is_terminal and now - last[0] < LINE_EVERY:
            return
        last[0] = now
        value, cost = (float(np.asarray(record[name])) for name in ("value", "cost"))
        console.print(f"evaluation {record['evaluation']}: {record['kind']}, objective "
                      f"{value:.6g}, cost {cost:.1f} runs", highlight=False)

    return show


@contextmanager
def counter(console: Console, text: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of all are done: a bar on a terminal, else lines."""
    last = [0.0]

    def lines(done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - last[0] > LINE_EVERY:
            last[0] = now
            console.print(f"{text}: {done} of {total}", highlight=False)

    if not console.is_terminal:
        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
