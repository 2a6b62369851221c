"""Regions have the same area on every grid, also across the date line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jcm.constants import EARTH
from jcm.grid import make_grid
from jcm_sensitivity import GLOBE, LAND, REGIONS, SEA, box, grid_mask, region

GRIDS = ["T21", "T31", "T42", "T63"]
latitudes = st.floats(-90, 90, allow_nan=False)
longitudes = st.floats(-180, 360, allow_nan=False)


def area_on(which, name):
    grid = make_grid(name)
    return (which.fraction(grid) * grid.cell_area).sum()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", REGIONS)
def test_area_does_not_depend_on_the_grid(name, grid):
    np.testing.assert_allclose(area_on(REGIONS[name], grid), REGIONS[name].area, rtol=1e-12)


@given(latitudes, latitudes, longitudes, longitudes)
def test_area_of_any_box_does_not_depend_on_the_grid(a, b, west, east):
    south, north = sorted([a, b])
    if north - south < 1e-6 or abs(west - east) < 1e-6:
        return
    which = box(south, north, west, east)
    atol = 1e-12 * GLOBE.area
    np.testing.assert_allclose(area_on(which, "T21"), which.area, rtol=1e-9, atol=atol)


def test_half_of_the_tropics_within_30_degrees():
    # Archimedes: between 30S and 30N lies half of the area of the sphere.
    tropics = box(-30, 30, 0, 360)
    np.testing.assert_allclose(tropics.area, 2 * np.pi * EARTH.radius**2)


def test_box_across_the_date_line_holds_the_cells_on_both_sides_and_no_others():
    grid = make_grid("T21")
    inside = region("tropical_pacific").fraction(grid).max(axis=1) > 0
    expected = (grid.longitude > 160 - 360 / 128) & (grid.longitude < 210 + 360 / 128)
    np.testing.assert_array_equal(inside, expected)


def test_box_across_greenwich_may_be_written_in_three_ways():
    grid = make_grid("T31")
    fractions = [box(0, 10, *edges).fraction(grid) for edges in ((350, 10), (-10, 10), (-10, 10.0))]
    for other in fractions[1:]:
        np.testing.assert_allclose(other, fractions[0], atol=1e-12)


def test_cell_at_the_edge_counts_with_its_part_inside():
    grid = make_grid("T21")  # 64 longitudes, 5.625 degrees each, the first from -2.8125 to 2.8125
    fraction = box(-90, 90, 0, 5.625).fraction(grid)[:, 0]
    np.testing.assert_allclose(fraction[:3], [0.5, 0.5, 0.0], atol=1e-12)
    assert not fraction[3:].any()


def test_region_smaller_than_a_cell_is_not_empty():
    which = box(1.0, 1.5, 181.0, 181.5)
    np.testing.assert_allclose(area_on(which, "T21"), which.area, rtol=1e-9)


def test_globe_holds_every_cell_whole():
    np.testing.assert_allclose(GLOBE.fraction(make_grid("T31")), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((5, -5, 0, 10), "south must be below north"),
        ((5, 5, 0, 10), "south must be below north"),
        ((-5, 5, 10, 10), "west equals east"),
        ((-95, 5, 0, 10), "-90 to 90"),
        ((-5, 5, 0, 400), "-180 to 360"),
        ((-5, float("nan"), 0, 10), "finite"),
    ],
)
def test_impossible_boxes_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        box(*edges)


def test_unknown_region_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown region 'atlantis'.*sahel"):
        region("atlantis")


def test_region_of_three_numbers_is_refused():
    with pytest.raises(ValueError, match="four numbers"):
        region([1, 2, 3])


def test_region_says_where_it_is():
    assert region("nino34").description == "nino34 (5S-5N, 170W-120W)"
    assert region("tropical_pacific").description == "tropical_pacific (5S-5N, 160E-150W)"


def test_intersection_of_two_boxes_is_the_box_in_both():
    both = box(-10, 20, 170, -150) & box(0, 30, -170, 0)
    assert (both.south, both.north, both.west, both.east) == (0, 20, -170, -150)


@given(st.floats(1, 90), st.lists(longitudes, min_size=4, max_size=4))
def test_intersection_never_depends_on_the_order(north, edges):
    if abs(edges[0] - edges[1]) < 1e-3 or abs(edges[2] - edges[3]) < 1e-3:
        return
    boxes = box(0, 90, *edges[:2]), box(-5, north, *edges[2:])
    areas = []
    for first, second in (boxes, boxes[::-1]):
        try:
            areas.append((first & second).area)
        except ValueError as error:
            areas.append("two" if "two separate" in str(error) else "none")
    if "two" in areas or "none" in areas:
        assert areas[0] == areas[1]
    else:
        np.testing.assert_allclose(areas[0], areas[1], rtol=1e-6)


def test_intersection_with_the_globe_changes_nothing():
    assert GLOBE & region("sahel") == region("sahel") == region("sahel") & GLOBE


def test_boxes_without_common_part_are_refused():
    with pytest.raises(ValueError, match="nothing in common"):
        region("arctic") & region("tropics")
    with pytest.raises(ValueError, match="nothing in common"):
        region("amazon") & region("maritime_continent")


def test_boxes_that_meet_on_both_sides_of_the_earth_are_refused():
    with pytest.raises(ValueError, match="two separate boxes"):
        box(0, 10, 0, 300) & box(0, 10, 200, 100)


def test_mask_and_region_count_what_is_in_both():
    grid = make_grid("T21")
    half = grid_mask(np.full(grid.shape, 0.5), name="half")
    inside = (region("sahel") & half).fraction(grid)
    np.testing.assert_allclose(inside, 0.5 * region("sahel").fraction(grid))
    np.testing.assert_array_equal((half & region("sahel")).fraction(grid), inside)
    assert (region("sahel") & half).description == "sahel (10N-20N, 20W-35E), half"


def test_masks_are_combined_with_masks():
    assert (region("sahel") & LAND & LAND).masks == (LAND,)
    assert (LAND & region("sahel")) == (region("sahel") & LAND)
    assert (LAND & SEA).masks == (LAND, SEA)


def test_land_needs_inputs():
    with pytest.raises(ValueError, match="inputs=inputs"):
        (region("sahel") & LAND).fraction(make_grid("T21"))


def test_unknown_region_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean southern_ocean"):
        region("southern_ocaen")
