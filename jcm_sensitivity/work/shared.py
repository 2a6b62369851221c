"""What the commands share once their arguments are checked: the experiment."""

from pathlib import Path

from rich.console import Console

from jcm_sensitivity.commands.shared import status
from jcm_sensitivity.experiment import MapExperiment, default_experiment, read_experiment


def begin(
    path: Path | None, smooth: bool | None, output: Path, console: Console
) -> MapExperiment:
    """Read the experiment, say what it is, and make the folder of the results."""
    setup = read_setup(path, smooth, console)
    console.print(f"Target: {setup.target.description}\nRun:    {setup.description}")
    output.mkdir(parents=True, exist_ok=True)
    return setup


def read_setup(path: Path | None, smooth: bool | None, console: Console) -> MapExperiment:
    """Return the experiment of a file, or the default one, with the switches asked for.

    Raises
    ------
    ValueError
        If the file is not valid.
    """
    with status(console, "Building the model and its initial state"):
        if path is None:
            return default_experiment(smooth=smooth is not False)
        return read_experiment(path, smooth=smooth)
