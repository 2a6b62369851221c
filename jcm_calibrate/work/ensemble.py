"""Runs members with parameters drawn from their prior."""

from contextlib import nullcontext
from pathlib import Path

import jax
from rich.console import Console

from jcm_calibrate.ensembles.ensemble import run_ensemble
from jcm_calibrate.ensembles.members import members_of
from jcm_calibrate.names import STORE
from jcm_calibrate.work.shared import counter, prepare


def run_members(
    experiment: Path, output: Path, console: Console, *, workers: int, scheduler: str | None,
    devices: int | None, resume: bool,
) -> None:  # fmt: skip
    """Run the members that are missing in the store, and list those that failed."""
    calibration = prepare(experiment, output, console, gradients=False)
    problem, table = calibration.problem, calibration.table.ensemble
    run = problem.run if table.variables is None else problem.run.observing(table.variables)
    z = problem.space.draw(jax.random.fold_in(calibration.key, 5), table.members)
    with _client(workers, scheduler) as client, counter(console, "members") as show:
        found = run_ensemble(
            run, members_of(problem.space, problem.inputs, z), output / STORE,
            client=client, devices=devices, batch=table.batch, resume=resume, progress=show)
    failed = found["failed"].values
    for number, reason in enumerate(found["reason"].values):
        if failed[number]:
            console.print(f"member {number} failed: {reason}", highlight=False)
    console.print(
        f"{int((~failed).sum())} of {len(failed)} members in {output / STORE}",
        highlight=False)


def _client(workers: int, scheduler: str | None):
    """Return a context that gives a client of Dask, or None."""
    if not workers and scheduler is None:
        return nullcontext()
    # Imported here: it takes a second.
    from distributed import Client

    if scheduler is not None:
        return Client(scheduler)
    # Worker processes: threads would share one compiler and one interpreter.
    return Client(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
