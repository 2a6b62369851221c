"""Parts of a run joined along time into one netCDF file or one zarr store.

A part at a time is in memory. The bytes depend on the parts only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numcodecs
import numpy as np
import xarray as xr

from jcm.files import replacing, replacing_folder
from jcm.output import COMPRESSION, TIME_ENCODING, fill_value


class Piece(NamedTuple):
    """Some of the outputs in a file: those with numbers from `start` to before `stop`."""

    path: Path
    start: int
    stop: int


def count_outputs(path: Path) -> int:
    """Return the number of outputs in a netCDF file or a zarr store."""
    with _open(path) as dataset:
        return dataset.sizes["time"]


def join_netcdf(pieces: Sequence[Piece], path: Path, length: int) -> None:
    """Join pieces of netCDF files, at most `length` outputs at once."""
    with replacing(path) as temporary, netCDF4.Dataset(temporary, "w") as target:
        for index, piece in enumerate(_divided(pieces, length)):
            with netCDF4.Dataset(piece.path) as source:
                source.set_auto_maskandscale(False)
                if index == 0:
                    _copy_structure(source, target)
                _append(source, target, piece)


def join_zarr(pieces: Sequence[Piece], path: Path, length: int) -> None:
    """Join pieces of netCDF files or zarr stores into a consolidated store of zarr format 2.

    Chunks of the store are `length` outputs long; so should the pieces be, but the last.
    """
    with replacing_folder(path) as temporary:
        for index, piece in enumerate(_divided(pieces, length)):
            with _open(piece.path) as source:
                part = source.isel(time=slice(piece.start, piece.stop)).load()
            for variable in part.variables.values():
                variable.encoding = {}
            new: dict[str, Any] = (
                {"mode": "w", "encoding": _zarr_encoding(part, length)} if index == 0
                else {"append_dim": "time", "safe_chunks": False})  # fmt: skip
            part.to_zarr(temporary, zarr_format=2, consolidated=True, **new)


def _open(path: Path) -> xr.Dataset:
    if path.is_dir():
        return xr.open_zarr(path, chunks=None, consolidated=True)
    return xr.open_dataset(path, engine="netcdf4")


def _divided(pieces: Sequence[Piece], length: int) -> Iterator[Piece]:
    """Return the same outputs in pieces that are not longer than `length`."""
    for path, start, stop in pieces:
        for first in range(start, stop, length):
            yield Piece(path, first, min(first + length, stop))


def _zarr_encoding(dataset: xr.Dataset, length: int) -> dict[str, dict[str, Any]]:
    encoding: dict[str, dict[str, Any]] = {}
    for name, data in dataset.variables.items():
        own = fill_value(data)
        if "time" in data.dims:
            own["chunks"] = tuple(
                length if dim == "time" else data.sizes[dim] for dim in data.dims)
        if np.issubdtype(data.dtype, np.datetime64):
            own |= TIME_ENCODING
        if {"lat", "lon"} <= set(data.dims):
            # Not Blosc: what its threads write depends on which of them is first.
            own["filters"] = (numcodecs.Shuffle(data.dtype.itemsize),)
            own["compressors"] = (numcodecs.Zlib(COMPRESSION),)
        encoding[str(name)] = own
    return encoding


def _copy_structure(source: netCDF4.Dataset, target: netCDF4.Dataset) -> None:
    target.setncatts({name: source.getncattr(name) for name in source.ncattrs()})
    for name, dimension in source.dimensions.items():
        target.createDimension(name, None if dimension.isunlimited() else len(dimension))
    for name, old in source.variables.items():
        filters, chunks = old.filters() or {}, old.chunking()
        attributes = {key: old.getncattr(key) for key in old.ncattrs()}
        new = target.createVariable(
            name, old.dtype, old.dimensions, zlib=filters.get("zlib", False),
            complevel=COMPRESSION, shuffle=filters.get("shuffle", False),
            chunksizes=None if chunks == "contiguous" else chunks,
            fill_value=attributes.pop("_FillValue", None))  # fmt: skip
        new.setncatts(attributes)
    target.set_auto_maskandscale(False)


def _append(source: netCDF4.Dataset, target: netCDF4.Dataset, piece: Piece) -> None:
    chosen = slice(piece.start, piece.stop)
    count = len(target.dimensions["time"])
    for name, old in source.variables.items():
        if "time" in old.dimensions:
            target[name][count : count + piece.stop - piece.start] = old[chosen]
        elif count == 0:
            target[name][...] = old[...]
