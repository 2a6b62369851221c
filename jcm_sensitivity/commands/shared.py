"""What the commands share: the console, the status line, errors in one line."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import typer
from rich.console import Console


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
