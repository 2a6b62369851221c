"""`jcm-calibrate ensemble`: runs with parameters drawn from their prior."""

from pathlib import Path
from typing import Annotated

import typer

from jcm_calibrate.commands.shared import (
    ExperimentPath,
    Output,
    Resume,
    check_calibration,
    refuse_earlier,
)
from jcm_calibrate.names import STORE
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console


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
        if workers and scheduler:
            raise ValueError("give --workers, for this machine, or --scheduler, not both")
        check_calibration(experiment, output)
        refuse_earlier(output / STORE, resume)
        from jcm_calibrate.work.ensemble import run_members

        run_members(
            experiment, output, new_console(), workers=workers, scheduler=scheduler,
            devices=devices, resume=resume)  # fmt: skip
