"""Parts joined into one file or store."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jcm
from jcm.files import remove_leftovers, replacing_folder
from jcm.join import Piece, count_outputs, join_netcdf, join_zarr
from jcm.output import to_dataset, write_dataset

MODEL = jcm.build_model("T21L5", physics="held_suarez")
OUTPUTS = 5


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    draw = np.random.default_rng(0)
    fields = {
        "surface_air_pressure": draw.normal(1e5, 1e3, (OUTPUTS, *MODEL.grid.shape)),
        "air_temperature": draw.normal(250, 10, (OUTPUTS, 5, *MODEL.grid.shape)),
    }
    return to_dataset(
        MODEL, fields, start="2000-01-30", every=[2.0, 29.0, 31.0, 30.0, 2.0],
        attributes={"purpose": "test"})  # fmt: skip


@pytest.fixture
def pieces(whole, tmp_path) -> list[Piece]:
    found = []
    for start, stop in ((0, 2), (2, 4), (4, 5)):
        path = write_dataset(whole.isel(time=slice(start, stop)), tmp_path / f"{start}.nc")
        found.append(Piece(path, 0, stop - start))
    return found


JOIN = {"fields.nc": join_netcdf, "fields.zarr": join_zarr}


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else path.rglob("*")
    return {str(x.relative_to(path)): x.read_bytes() for x in files if x.is_file()}


def read(path: Path) -> xr.Dataset:
    opened = xr.open_zarr(path, chunks=None) if path.is_dir() else xr.open_dataset(path)
    with opened as dataset:
        return dataset.load()


@pytest.mark.parametrize("name", JOIN)
def test_joined_parts_equal_the_whole(name, whole, pieces, tmp_path):
    JOIN[name](pieces, tmp_path / name, 2)
    joined = read(tmp_path / name)
    assert joined.equals(whole)
    assert joined.attrs["title"] == whole.attrs["title"]
    assert joined["air_temperature"].attrs == whole["air_temperature"].attrs
    assert count_outputs(tmp_path / name) == OUTPUTS
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", JOIN)
def test_the_same_parts_give_the_same_bytes(name, pieces, tmp_path):
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        JOIN[name](pieces, folder / name, 2)
    assert contents(tmp_path / name) == contents(tmp_path / "other" / name)


@pytest.mark.parametrize("name", JOIN)
def test_a_part_may_take_the_place_of_the_end_of_the_joined_file(name, whole, pieces, tmp_path):
    path = tmp_path / name
    JOIN[name](pieces[:2], path, 2)
    JOIN[name]([Piece(path, 0, 2), *pieces[1:]], path, 2)
    assert read(path).equals(whole)


def test_a_store_is_consolidated_zarr_of_format_2_with_one_chunk_a_part(pieces, tmp_path):
    join_zarr(pieces, tmp_path / "fields.zarr", 2)
    assert (tmp_path / "fields.zarr" / ".zmetadata").is_file()
    with xr.open_zarr(tmp_path / "fields.zarr", consolidated=True) as store:
        assert store["air_temperature"].encoding["chunks"] == (2, 5, 32, 64)
        assert store["time"].encoding["units"] == "days since 1970-01-01"


def test_a_store_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="disk full"), replacing_folder(tmp_path / "a") as temporary:
        (temporary / "half").write_text("")
        raise OSError("disk full")
    assert [(x.name, list(x.iterdir())) for x in tmp_path.iterdir()] == [("a", [])]


def test_a_folder_that_was_moved_aside_comes_back(tmp_path):
    (tmp_path / ".fields.zarr.old").mkdir()
    (tmp_path / ".fields.zarr.xyz.part").mkdir()
    remove_leftovers(tmp_path)
    assert [x.name for x in tmp_path.iterdir()] == ["fields.zarr"]
