import numpy as np
import pytest

from jcm.constants import EARTH
from jcm.grid import NODES, make_grid, parse_resolution
from jcm.vertical import Levels, speedy_levels


@pytest.mark.parametrize("truncation", NODES)
def test_nodes_avoid_aliasing_of_quadratic_products(truncation):
    grid = make_grid(f"T{truncation}")
    assert grid.nlon > 3 * truncation - (truncation == 119)
    assert 2 * grid.nlat > 3 * truncation


def test_cells_cover_the_globe():
    grid = make_grid("T31")
    np.testing.assert_allclose(
        grid.nlon * grid.cell_area.sum(), 4 * np.pi * EARTH.radius**2, rtol=1e-14)


def test_t30_and_t31_share_their_nodes():
    a, b = make_grid("T30"), make_grid("T31")
    assert a.shape == b.shape and a.truncation != b.truncation
    np.testing.assert_array_equal(a.latitude, b.latitude)


def test_latitudes_run_from_south_to_north():
    assert np.all(np.diff(make_grid("T42").latitude) > 0)


@pytest.mark.parametrize("name", ["T20L8", "31", "T31L9", "T31L", "N48"])
def test_unknown_resolutions_are_refused_with_what_exists(name):
    with pytest.raises(ValueError, match=r"T21, T30|5, 7 (and|or) 8|5, 7, 8"):
        parse_resolution(name)


@pytest.mark.parametrize("half", [(0.0, 1.0), (0.1, 0.5, 1.0), (0.0, 0.6, 0.5, 1.0), (0, 0.5, 0.9)])
def test_half_levels_must_increase_from_0_to_1(half):
    with pytest.raises(ValueError, match="must increase from 0"):
        Levels(half)


def test_interpolation_weights_of_the_eight_layers():
    # Tabulated for the public code of SPEEDY.
    expected = [0.5192109563302, 0.5208818489297, 0.4944408141525, 0.5211523493431,
                0.5508964756812, 0.5907275965756, 0.5809725456831, 0.3196378788663]  # fmt: skip
    np.testing.assert_allclose(speedy_levels().weight, expected, atol=1e-13)
