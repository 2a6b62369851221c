"""Files that come with the model: boundary climatology, observations, coastlines.

README.md in this folder lists contents, sources, licences and checksums.
"""

from importlib.resources import files
from pathlib import Path

#: Endings of the files that hold data, as opposed to code and text.
DATA_SUFFIXES = (".nc", ".json", ".npz")


def data_path(name: str) -> Path:
    """Return the path of a file that comes with the model, e.g. `boundary_T31.nc`.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message lists the ones that exist.
    """
    folder = Path(str(files(__name__)))
    path = folder / name
    if path.suffix not in DATA_SUFFIXES or path.parent != folder or not path.is_file():
        raise FileNotFoundError(
            f"no packaged data file is called {name!r}; available: {', '.join(data_names())}"
        )
    return path


def packaged_states(model: str) -> list[str]:
    """Return the names of the spun-up states of a model such as `T31L8`.

    Raises
    ------
    ValueError
        If there is none; the message lists the models that have one.
    """
    states = [name for name in data_names() if name.startswith("state_")]
    found = [name for name in states if name.split("_")[1] == model]
    if not found:
        known = sorted({name.split("_")[1] for name in states})
        raise ValueError(
            f"no spun-up state is packaged for {model}, only for {', '.join(known)}; "
            "start from state='rest'"
        )
    return found


def data_names() -> list[str]:
    """Return the names of all packaged data files."""
    folder = Path(str(files(__name__)))
    return sorted(path.name for path in folder.iterdir() if path.suffix in DATA_SUFFIXES)
