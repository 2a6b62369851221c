"""Files that are whole or not there: written under another name, synced, then renamed."""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_umask_read = threading.Lock()

#: What temporary names start and end with; the name of the file stands between.
PREFIX, SUFFIX = ".", ".part"


def checked(path: str | Path) -> Path:
    """Return the path of a file to write.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name} into")
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside a file; it takes the place of the file if all went well.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    checked(path)
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f"{PREFIX}{path.name}.", suffix=SUFFIX)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Do for a folder what `replacing` does for a file.

    A folder cannot take the place of another in one stroke: the old one is moved aside first, and
    `remove_leftovers` brings it back if nothing came in its place.
    """
    temporary = Path(
        tempfile.mkdtemp(dir=path.parent, prefix=f"{PREFIX}{path.name}.", suffix=SUFFIX))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            os.replace(path, _aside(path))
        os.replace(temporary, path)
        remove(_aside(path))
    finally:
        remove(temporary)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed has left half-written."""
    for path in sorted(folder.glob(f"{PREFIX}*.old")):
        original = folder / path.name.removeprefix(PREFIX).removesuffix(".old")
        if not original.exists():
            os.replace(path, original)
        remove(path)
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    """Return what the user keeps from others; it can only be read by setting it."""
    with _umask_read:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _aside(path: Path) -> Path:
    return path.with_name(f"{PREFIX}{path.name}.old")
