"""What the commands share once their arguments are checked: the experiment."""

from pathlib import Path

from rich.console import Console

from jcm_sensitivity.commands.shared import status
from jcm_sensitivity.experiment import MapExperiment, default_experiment, read_experiment


def read_setup(path: Path | None, smooth: bool, console: Console) -> MapExperiment:
    """Return the experiment of a file, or the default one.

    Raises
    ------
    ValueError
        If the file is not valid.
    """
    with status(console, "Building the model and its initial state"):
        return default_experiment(smooth=smooth) if path is None else read_experiment(path)
