"""The directory of a run: what lies in it, and how it stays in order when a run is killed.

    experiment.json        what was asked for; written first, makes the run resumable
    parts/                 finished outputs, a file per chunk, until the run ends
    restart_00000010.npz   state after so many outputs, and the one before
    fields.nc, fields.zarr the outputs joined, when the run has ended
    run.json               how it went, and how fast

A chunk counts once its restart file is there. Parts are joined before they are removed, all at
once; until then they go before what the joined file holds.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jcm.arguments import RECORD, check_resumable
from jcm.files import remove, remove_leftovers, write_text
from jcm.join import Piece, count_outputs, join_netcdf, join_zarr
from jcm.output import write_dataset
from jcm.restart import FORMAT
from jcm.schedule import Settings
from jcm.variables import Variable

LOG, PARTS = "run.json", "parts"
FIELDS = {"netcdf": "fields.nc", "zarr": "fields.zarr"}
#: Parts that are about to be removed.
DONE_PARTS = ".parts.done.part"


class Record(NamedTuple):
    """What `experiment.json` holds."""

    settings: Settings
    #: Identity of model and inputs, see `jcm.restart.identity`.
    identity: dict[str, Any]
    #: Tables of the experiment and the folder of its paths; None for a run started in Python.
    experiment: dict[str, Any] | None


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON gives them back, so that a resumed run writes the same."""
    return json.loads(json.dumps(dict(attributes), default=lambda x: np.asarray(x).tolist()))


def write_record(directory: Path, record: Record) -> None:
    """Write `experiment.json`."""
    settings = record.settings._asdict()
    settings["variables"] = {k: list(v) for k, v in record.settings.variables.items()}
    content = {
        "format": FORMAT,
        "settings": settings,
        "identity": record.identity,
        "experiment": record.experiment,
    }
    write_text(directory / RECORD, json.dumps(content, indent=1) + "\n")


def read_record(directory: Path) -> Record:
    """Read `experiment.json`.

    Raises
    ------
    FileNotFoundError
        If there is no run in this directory.
    ValueError
        If the file is damaged or of another version.
    """
    path = directory / RECORD
    check_resumable(directory)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(
                f"{path} is of format {content['format']}, this version reads {FORMAT}; "
                "use the version of the package that started the run")
        settings = Settings(**content["settings"])
        tuples = {
            name: tuple(value) for name in ("observe", "pressure_levels")
            if (value := getattr(settings, name)) is not None}  # fmt: skip
        variables = {k: Variable(*v) for k, v in settings.variables.items()}
        return Record(settings._replace(**tuples, variables=variables), content["identity"],
                      content["experiment"])  # fmt: skip
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); start the run anew in another directory") from None


def write_part(directory: Path, dataset: xr.Dataset, start: int, stop: int) -> None:
    """Write the outputs with numbers from `start` to before `stop`."""
    folder = directory / PARTS
    folder.mkdir(exist_ok=True)
    write_dataset(dataset, folder / f"{start:08d}_{stop:08d}.nc")


def parts(directory: Path) -> list[tuple[Path, int, int]]:
    """Return path, first output and end of all parts, in order."""
    found = []
    for path in sorted((directory / PARTS).glob("*.nc")):
        if numbers := re.fullmatch(r"(\d+)_(\d+)", path.stem):
            found.append((path, int(numbers[1]), int(numbers[2])))
    return found


def tidy(directory: Path, outputs: int) -> None:
    """Remove what a killed process has left: half-written files, and parts past `outputs`."""
    remove_leftovers(directory)
    if (directory / PARTS).is_dir():
        remove_leftovers(directory / PARTS)
    for path, start, _ in parts(directory):
        if start >= outputs:
            path.unlink()


def kept_outputs(directory: Path, settings: Settings) -> int:
    """Return how many outputs from the first one on are in files without a gap."""
    joined = directory / FIELDS[settings.format]
    kept = count_outputs(joined) if joined.exists() else 0
    for _, start, stop in parts(directory):
        kept = stop if start <= kept else kept
    return kept


def join_parts(directory: Path, settings: Settings, per_chunk: int) -> Path:
    """Join all parts to what an earlier run has joined, and return the path of the fields.

    This is done `per_chunk` outputs at once.
    """
    path = directory / FIELDS[settings.format]
    new = parts(directory)
    if not new:
        return path
    pieces = [Piece(part, 0, stop - start) for part, start, stop in new]
    if new[0][1] > 0:
        pieces.insert(0, Piece(path, 0, new[0][1]))
    (join_zarr if settings.format == "zarr" else join_netcdf)(
        pieces, path, min(per_chunk, new[-1][2]))
    os.replace(directory / PARTS, directory / DONE_PARTS)
    remove(directory / DONE_PARTS)
    return path


def write_log(directory: Path, content: Mapping[str, Any]) -> None:
    """Write `run.json`."""
    write_text(directory / LOG, json.dumps(content, indent=2) + "\n")


def read_log(directory: Path) -> dict[str, Any]:
    """Return what `run.json` says; nothing if it is not there."""
    path = directory / LOG
    return json.loads(path.read_text()) if path.is_file() else {}


@contextlib.contextmanager
def explained(directory: Path, what: str, outputs: int) -> Iterator[None]:
    """Turn a failure to write into advice.

    Raises
    ------
    OSError
        With what could not be written, what is kept, and how to go on.
    """
    try:
        yield
    # The netCDF library says RuntimeError when the disk is full.
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(directory).free / 1e6
        known = (directory / RECORD).exists()
        kept = f"The first {outputs} outputs are kept." if outputs else "No output is lost."
        raise OSError(
            f"could not write {what} in {str(directory)!r}: {error} ({free:.0f} MB of the disk are "
            f"free). {kept} Make room on the disk, then "
            + (f"go on with `jcm resume {directory}`" if known else "start the run again")
        ) from error
