"""Results on the disk that are made once, and belong to one experiment.

A file appears when it is whole, and says which experiment it belongs to. Results of another one are
refused, with what has changed; those that are there are not made again.
"""

import contextlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jcm.files import PREFIX, replacing, write_text
from jcm.fingerprint import DIGITS, fingerprint

#: Name of the array of a file that tells its experiment.
EXPERIMENT = "experiment"
#: Longest text by which a setting stands for itself in messages; longer ones become hashes.
SHORT = 60
HASH = re.compile(f"[0-9a-f]{{{DIGITS}}}")
#: What an entry means that is only known by its hash.
WORDS = {"program": "program: its code, options or precision, or the version of JAX"}


def identify(**settings: Any) -> dict[str, str]:
    """Return what tells an experiment from others: each setting by name, long ones as a hash."""
    found = {}
    for name, value in settings.items():
        text = value if isinstance(value, str) else repr(value)
        plain = _is_plain(value) and len(text) <= SHORT
        found[name] = text if plain else fingerprint(value)
    return found


def refuse_another(
    found: Mapping[str, str], expected: Mapping[str, str], where: Any,
    advice: str = "give another folder, or remove this one",
) -> None:  # fmt: skip
    """Refuse results of another experiment.

    Raises
    ------
    ValueError
        If an entry differs; the message names all that do.
    """
    changed = [name for name in dict.fromkeys((*expected, *found))
               if found.get(name) != expected.get(name)]  # fmt: skip
    if changed:
        details = "; ".join(_difference(x, found.get(x), expected.get(x)) for x in changed)
        raise ValueError(f"{where} belongs to another experiment ({details}); {advice}")


def claim(
    folder: str | Path, experiment: Mapping[str, str], *,
    advice: str = "give another folder, or remove this one",
) -> Path:  # fmt: skip
    """Return a folder of results after making sure that it belongs to an experiment.

    The folder is made if it is not there. One with nothing in it but the mark of an experiment
    that came to nothing is taken over.

    Raises
    ------
    ValueError
        If the folder holds results of another experiment.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f"{EXPERIMENT}.json"
    if mark.is_file() and any(path != mark for path in folder.iterdir()):
        refuse_another(json.loads(mark.read_text()), experiment, folder, advice)
    else:
        write_text(mark, json.dumps(dict(experiment), indent=1) + "\n")
    return folder


def cached(
    path: Path | None, compute: Callable[[], Mapping[str, Any]],
    experiment: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Return the arrays of a file, or compute them and write the file; without a path, compute.

    Parameters
    ----------
    path
        File in NumPy's format *.npz; its folder is made.
    compute
        Returns arrays, numbers or texts by name.
    experiment
        What the result depends on, see `identify`.

    Raises
    ------
    ValueError
        If the file belongs to another experiment or is damaged.
    """
    if path is not None and path.is_file():
        result = _read(path)
        known = json.loads(str(result.pop(EXPERIMENT, "{}")))
        refuse_another(known, experiment, path)
        return result
    result = {name: np.asarray(x) for name, x in compute().items()}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = np.array(json.dumps(dict(experiment)))
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{EXPERIMENT: text}, **result)
    return result


def _difference(name: str, then: str | None, now: str | None) -> str:
    if then is None or now is None:
        return f"{name} is {'new' if then is None else 'not there any more'}"
    if HASH.fullmatch(then) and HASH.fullmatch(now):
        return f"other {WORDS.get(name, name)}"
    return f"{name} was {then}, is now {now}"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove it, and it is made again") from None


@contextlib.contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if it is not there.

    The system lets go when this process ends, however it ends. Without a folder nothing is done.

    Raises
    ------
    RuntimeError
        If another process is at work in the folder.
    """
    if folder is None:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with _held(Path(folder), os.O_RDONLY, folder):
        yield


@contextlib.contextmanager
def locked_file(path: str | Path | None) -> Iterator[None]:
    """Keep other processes from a file that this one writes, as `locked` does for a folder."""
    if path is None:
        yield
        return
    # A file beside it: the file itself may be replaced.
    beside = Path(path).parent / f"{PREFIX}{Path(path).name}.lock"
    with _held(beside, os.O_CREAT | os.O_RDWR, path):
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(path: Path, flags: int, what: Any) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(path, flags)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"another process is running in {str(what)!r}; wait until it ends, or give "
                "another place") from None
        yield
    finally:
        os.close(descriptor)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(x) for x in value)
    return isinstance(value, (type(None), bool, int, float, str))
