"""What the commands share: the console, errors in one line, the experiment, lists of numbers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import typer
from rich.console import Console

from jcm_sensitivity.experiment import MapExperiment, default_experiment, read_experiment


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


def read_setup(path: Path | None, smooth: bool, console: Console) -> MapExperiment:
    """Return the experiment of a file, or the default one.

    Raises
    ------
    ValueError
        If smooth switches are asked for beside a file, or the file is not valid.
    """
    if smooth and path is not None:
        raise ValueError(
            "--smooth is for the default experiment; in a file, set smooth = true in [model]")
    with status(console, "Building the model and its initial state"):
        return default_experiment(smooth=smooth) if path is None else read_experiment(path)


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
