"""`jcm-calibrate ensemble`: runs with parameters drawn from their prior."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import jax
import typer

from jcm_calibrate.commands.shared import (
    ExperimentPath,
    Output,
    Resume,
    counter,
    prepare,
    refuse_earlier,
)
from jcm_calibrate.ensembles.ensemble import run_ensemble
from jcm_calibrate.ensembles.members import members_of
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console

#: Store of the members.
STORE = "ensemble.zarr"


def ensemble_command(
    experiment: ExperimentPath,
    output: Output = Path("calibration"),
    resume: Resume = False,
    workers: Annotated[
        int, typer.Option(help="Worker processes of Dask on this machine; 0 runs here.", min=0)
    ] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, e.g. tcp://node1:8786.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(help="Devices to share the members among; default one.", min=1)
    ] = None,
) -> None:
    """Run members with parameters drawn from the prior, each over all windows.

    Finished batches are in the Zarr store ensemble.zarr in the folder; run again, with --resume,
    only the missing ones are computed. Members that fail are listed with the reason.
    """
    with errors_in_one_line():
        console = new_console()
        if workers and scheduler:
            raise ValueError("give --workers, for this machine, or --scheduler, not both")
        refuse_earlier(output / STORE, resume)
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
