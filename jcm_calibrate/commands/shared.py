"""What the commands share: options, and the check of the experiment and the folder."""

from pathlib import Path
from typing import Annotated

import typer

from jcm_sensitivity.commands.shared import check_folders

ExperimentPath = Annotated[
    Path, typer.Argument(help="Experiment in TOML; see docs/calibration.md.",
                         metavar="EXPERIMENT.toml", show_default=False)]  # fmt: skip
Output = Annotated[
    Path, typer.Option(help="Folder of the results; made if it does not exist.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with what is in the folder of an interrupted run.")]


def check_calibration(experiment: Path, output: Path) -> None:
    """Refuse a file that describes no calibration, and a folder that is none.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such file, or a file in the place of the folder.
    ValueError
        If a key or a value is not valid.
    """
    from jcm.config import load_experiment
    from jcm_calibrate.tables import calibration_table, check_tables

    read = load_experiment(experiment)
    check_tables(read)
    calibration_table(read.calibration)
    check_folders(output=output)


def refuse_earlier(path: Path, resume: bool) -> None:
    """Refuse to start where an earlier run has left its work, before anything is computed.

    Raises
    ------
    FileExistsError
        If there is such a file and nobody has asked to go on with it.
    """
    if path.exists() and not resume:
        raise FileExistsError(
            f"{path} is of an earlier run; add --resume to go on with it, or choose another "
            "--output")
