"""What the commands share: the console, errors in one line, the experiment, lists of numbers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from jcm_sensitivity.experiment import MapExperiment, default_experiment, read_experiment

#: The same option of every command; None: what the experiment file says, else smooth.
Switches = Annotated[
    bool | None,
    typer.Option(
        "--smooth/--exact",
        help="Smooth switches of the physics, so that a derivative sees what a finite change gains "
        "by switching, or exact ones, for the derivative between switches. Default: what the "
        "file says with smooth = true or false in [model], else smooth.", show_default=False),
]


def new_console() -> Console:
    """Return the console of a command; names of tables in brackets are text, not markup."""
    return Console(markup=False)


def status(console: Console, text: str) -> AbstractContextManager:
    """Show what is being done: a spinner on a terminal, else a line."""
    if not console.is_terminal:
        console.print(f"{text} ...")
    return console.status(f"{text} ...")


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print an error that the user can mend as one red line, and end with status 1."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, FloatingPointError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        Console(stderr=True, markup=False).print(
            f"error: {text}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


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


def positive_numbers(option: str, text: str) -> list[float]:
    """Return the numbers of an option, in its order.

    Raises
    ------
    ValueError
        If one is no positive number.
    """
    try:
        numbers = [float(x) for x in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(np.isfinite(x) and x > 0 for x in numbers):
        raise ValueError(
            f"{option} is a list of positive numbers separated by commas, e.g. 1,2,5; got {text!r}")
    return numbers
