"""Arguments of a run that are checked before JAX is imported: a mistake is answered at once."""

from collections.abc import Sequence
from pathlib import Path

#: File in the directory of a run that says what was asked for.
RECORD = "experiment.json"
#: Pressure levels in files lie between these [hPa].
PRESSURE_LIMITS = (0.1, 1100.0)


def check_directory(directory: str | Path) -> Path:
    """Return the path of a directory that is empty or can be made.

    Raises
    ------
    FileExistsError
        If there is a file of that name, or the directory is not empty.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(
            f"{str(directory)!r} is a file; expected a new or empty directory for the output")
    if (directory / RECORD).exists():
        raise FileExistsError(
            f"the output directory {str(directory)!r} is not empty, it has a run; go on with "
            f"`jcm resume {directory}`, or give another directory")
    if directory.is_dir() and (found := sorted(path.name for path in directory.iterdir())):
        raise FileExistsError(
            f"the output directory {str(directory)!r} is not empty (it has {found[0]!r}); give "
            "another one, or remove what is in it")
    return directory


def check_resumable(directory: str | Path) -> None:
    """Refuse a directory without a run.

    Raises
    ------
    FileNotFoundError
        If there is no run in this directory.
    """
    if not (Path(directory) / RECORD).is_file():
        raise FileNotFoundError(
            f"there is no run to resume in {str(directory)!r}: it has no {RECORD}; give the "
            "directory that `jcm run` has written into")


def check_pressure_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return pressure levels in order from the top [hPa].

    Raises
    ------
    ValueError
        If there are none, one is given twice, or one is no pressure in hPa.
    """
    low, high = PRESSURE_LIMITS
    if not levels or len(set(levels)) < len(levels) or not all(low <= x <= high for x in levels):
        raise ValueError(
            f"pressure_levels are different pressures in hPa between {low:g} and {high:g}, for "
            f"example 850, 500, 200; got {list(levels)}")
    return tuple(sorted(float(x) for x in levels))
