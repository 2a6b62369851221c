"""What the commands share: the console, errors in one line, checks of files and folders."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from jcm.tables import Experiment


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
    except RuntimeError as error:
        # Such as a folder in use; subclasses are errors of JAX and others, whose traceback helps.
        if type(error) is not RuntimeError:
            raise
        Console(stderr=True, markup=False).print(
            f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def checked_experiment(path: Path | None) -> "Experiment | None":
    """Return the experiment of a file, read and checked but not built; None without a file.

    Raises
    ------
    ValueError
        If the file is not valid.
    """
    if path is None:
        return None
    from jcm.config import load_experiment

    return load_experiment(path)


def check_map_experiment(path: Path | None, *, needs_sea_surface: bool = False) -> None:
    """Refuse a file whose tables do not describe a sensitivity, or none to the sea surface.

    Raises
    ------
    ValueError
        As `checked_experiment`, or if a table is not valid.
    """
    experiment = checked_experiment(path)
    if experiment is not None:
        from jcm_sensitivity.arguments import SEA_SURFACE_TEMPERATURE, check_every, wrt_of

        wrt = wrt_of(experiment)
        if needs_sea_surface and SEA_SURFACE_TEMPERATURE not in wrt:
            raise ValueError(
                f"patches are of the sea surface: put {SEA_SURFACE_TEMPERATURE!r} into wrt of "
                f"[sensitivity], which has {', '.join(wrt)}")
        check_every(experiment, "a sensitivity")


def check_folders(**folders: Path | None) -> None:
    """Refuse files in the place of folders, and folders that may not be written.

    Raises
    ------
    NotADirectoryError, PermissionError
        If there is one; the message names the option.
    """
    for option, path in folders.items():
        if path is None:
            continue
        there = next(x for x in (path.absolute(), *path.absolute().parents) if x.exists())
        if not there.is_dir():
            raise NotADirectoryError(
                f"--{option} is a folder, but {str(there)!r} is a file; name another place")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(
                f"--{option} lies in {str(there)!r}, where nothing can be written; name another "
                "place, or change its permissions")
