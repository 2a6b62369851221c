"""Results that are kept on the disk as they are made, so that long work can be taken up again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jcm.files import replacing


def kept(
    path: Path | None, compute: Callable[[], Mapping[str, Any]], *, mark: str = ""
) -> dict[str, Any]:
    """Return the arrays of a file, or compute them and write the file; without a path, compute.

    Parameters
    ----------
    path
        File in NumPy's format *.npz; it appears only when it is whole.
    compute
        Returns arrays or numbers by name.
    mark
        Stands for the settings, and is kept as the array "mark".

    Raises
    ------
    ValueError
        If the file was made with other settings.
    """
    if path is not None and path.is_file():
        with np.load(path) as file:
            result = dict(file)
        if mark and str(result.get("mark")) != mark:
            raise ValueError(
                f"{path} belongs to an experiment with other settings; remove {path.parent}, or "
                "give another folder")
        return result
    result = dict(compute()) | ({"mark": np.array(mark)} if mark else {})
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **result)
    return result
