"""What `jcm benchmark` is asked to measure, and the check of it before anything long begins."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from jcm.benchmark.process import check_peer
from jcm.data import packaged_states
from jcm.grid import parse_resolution
from jcm.structure import check_structure, count_steps

T = TypeVar("T", int, float)


class Settings(NamedTuple):
    """What to measure."""

    #: Models and sizes of ensembles; all pairs are timed, the first one in depth.
    grids: tuple[str, ...] = ("T31L8",)
    members: tuple[int, ...] = (1,)
    #: Lengths of the runs that are differentiated [days].
    gradient_days: tuple[float, ...] = ()
    #: Python of the environment that has the peer.
    peer: Path | None = None
    #: Time step of both models [s]; default that of the grid.
    time_step: float | None = None
    #: Length of a timed run; default as long as takes 1.5 s, and at least 5 days.
    days: float | None = None
    repeats: int = 5
    profile: bool = True


def check(settings: Settings, out: Path | None = None) -> None:
    """Refuse what could not work, before anything is measured.

    Raises
    ------
    ValueError
        If a grid, a number or the Python of the peer is not valid.
    OSError
        If the file cannot be written.
    """
    s = settings
    if s.repeats < 1:
        raise ValueError(f"--repeats must be a whole number of at least 1; got {s.repeats}")
    if any(members < 1 for members in s.members):
        raise ValueError(f"--members must be at least 1; got {min(s.members)}")
    if s.peer is not None and s.members[0] != 1:
        raise ValueError(
            f"the peer runs one member; with --peer the first of --members must be 1, got "
            f"{s.members[0]}")
    for grid in s.grids:
        structure = check_structure(grid, time_step=s.time_step)
        for days in (*s.gradient_days, *([] if s.days is None else [s.days])):
            count_steps(structure.time_step, "the length of a run", days)
        # The benchmark starts from it.
        packaged_states(structure.name)
    if out is not None:
        _check_output(out)
    if s.peer is not None:
        check_peer(s.peer)


def model_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of models from texts such as `T21L8,T31`.

    Raises
    ------
    ValueError
        If a grid or a number of layers is unknown.
    """
    resolutions = [parse_resolution(part) for part in _parts(texts)]
    return tuple(dict.fromkeys(f"{grid.name}L{layers}" for grid, layers in resolutions))


def numbers(option: str, texts: Sequence[str], kind: Callable[[str], T]) -> tuple[T, ...]:
    """Return the numbers in texts such as `1,2,4`.

    Raises
    ------
    ValueError
        If there is anything else.
    """
    found = []
    for part in _parts(texts):
        try:
            found.append(kind(part))
        except ValueError:
            what = "whole numbers" if kind is int else "numbers"
            raise ValueError(f"{option} takes {what} such as 1,2; got {part!r}") from None
    return tuple(dict.fromkeys(found))


def _parts(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",")]


def _check_output(out: Path) -> None:
    if out.is_dir():
        raise IsADirectoryError(f"--json is a file to write, and {str(out)!r} is a directory")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {str(out)!r}: there is no directory {str(out.parent)!r}; make it first")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OSError(f"cannot write {str(out)!r}: {error.strerror}") from None
