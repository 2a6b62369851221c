"""The files that come with the package are complete, unchanged and small."""

import hashlib
import re

import numpy as np
import pytest
import xarray as xr

from jcm.data import data_names, data_path
from jcm.grid import make_grid

#: Observations and boundary data; states of the model are made anew with the model.
OBSERVED = [name for name in data_names() if not name.startswith("state_")]
BOUNDARY = ["boundary_T21.nc", "boundary_T31.nc", "boundary_T42.nc", "boundary_T63.nc"]


def table() -> dict[str, str]:
    text = (data_path("regional_means.json").parent / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", text, flags=re.MULTILINE)
    return dict(rows)


def test_readme_lists_every_file():
    assert sorted(table()) == OBSERVED


@pytest.mark.parametrize("name", OBSERVED)
def test_file_has_the_checksum_of_the_readme(name):
    assert hashlib.sha256(data_path(name).read_bytes()).hexdigest() == table()[name]


def test_observed_data_stay_below_8_mb():
    assert sum(data_path(name).stat().st_size for name in OBSERVED) < 8e6


@pytest.mark.parametrize("name", BOUNDARY)
def test_maps_are_compressed(name):
    with xr.open_dataset(data_path(name)) as file:
        maps = [v for v in file.data_vars if file[v].ndim >= 2 and "bnds" not in file[v].dims]
        assert len(maps) == 12
        assert all(file[v].encoding["zlib"] for v in maps)


@pytest.mark.parametrize("name", BOUNDARY)
def test_boundary_file_is_on_the_nodes_of_its_grid(name):
    grid = make_grid(name[9:12])
    with xr.open_dataset(data_path(name)) as file:
        np.testing.assert_allclose(file["lat"], grid.latitude, atol=1e-4)
        np.testing.assert_allclose(file["lon"], grid.longitude, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in OBSERVED if name.endswith(".nc")])
def test_every_map_states_units_source_and_licence(name):
    with xr.open_dataset(data_path(name)) as file:
        for variable in file.data_vars:
            if variable not in ("lat_bnds", "lon_bnds", "gw"):
                assert {"units", "source", "license"} <= set(file[variable].attrs), variable


def test_coastline_has_longitudes_and_latitudes_of_one_length():
    with np.load(data_path("coastline_110m.npz")) as coast:
        assert coast["lon"].shape == coast["lat"].shape
        assert np.nanmax(np.abs(coast["lat"])) <= 90


def test_unknown_file_is_an_error_that_lists_the_files():
    with pytest.raises(FileNotFoundError, match=r"'boundary_T99.nc'; available: boundary_T21.nc"):
        data_path("boundary_T99.nc")


def test_code_beside_the_data_is_not_data():
    with pytest.raises(FileNotFoundError):
        data_path("__init__.py")
