"""Regions of the globe: boxes in degrees, and how much of each grid cell lies in them.

The cells of a Gaussian grid are bounded by the parallels between which the area is the quadrature
weight of the row, and by the meridians halfway between the nodes. A cell at the edge of a box
counts with the part of its area inside, so a region has the same area on every grid.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jcm.constants import EARTH
from jcm.grid import Grid
from jcm_sensitivity.hints import hint

#: What two boxes have in common is more than this [degrees]; less is rounding.
SLIVER = 1e-9


class Region(NamedTuple):
    """A box between two parallels and two meridians, from `west` eastwards to `east`.

    Made by `box`, or taken from `REGIONS`. `east` may be smaller than `west`: 160 to -150 crosses
    the date line, 350 to 10 Greenwich.
    """

    name: str
    #: Edges in degrees north, and in degrees east from -180 to 360.
    south: float
    north: float
    west: float
    east: float

    @property
    def width(self) -> float:
        """Extent in longitude [degrees], above 0 and at most 360."""
        return 360.0 - (self.west - self.east) % 360.0

    @property
    def area(self) -> float:
        """Area [m2]."""
        band = np.sin(np.deg2rad(self.north)) - np.sin(np.deg2rad(self.south))
        return float(EARTH.radius**2 * np.deg2rad(self.width) * band)

    @property
    def description(self) -> str:
        """Name and edges, e.g. `nino34 (5S-5N, 170W-120W)`."""
        if (self.south, self.north, self.width) == (-90, 90, 360):
            return self.name
        edges = "-".join(_text(x, "SN") for x in (self.south, self.north))
        if self.width == 360:
            return f"{self.name} ({edges})"
        around = "-".join(_text((x + 180) % 360 - 180, "WE") for x in (self.west, self.east))
        return f"{self.name} ({edges}, {around})"

    def columns(self, grid: Grid) -> np.ndarray:
        """Return the part of each column of cells between the meridians [1]; (lon,)."""
        spacing = 360.0 / grid.nlon
        # Distance from the western edge of the region to the western edge of the cell.
        start = (grid.longitude - spacing / 2 - self.west) % 360.0
        columns = np.minimum(start + spacing, self.width) - np.minimum(start, self.width)
        # A cell that holds the western edge begins before it, and ends inside.
        columns += np.clip(start + spacing - 360.0, 0.0, self.width)
        return np.clip(columns / spacing, 0, 1)

    def fraction(self, grid: Grid) -> np.ndarray:
        """Return the part of the area of each cell that lies inside [1]; (lon, lat)."""
        edge = np.concatenate([[-1.0], np.cumsum(grid.quadrature_weight) - 1.0])
        edge[-1] = 1.0
        low, high = np.sin(np.deg2rad([self.south, self.north]))
        rows = np.minimum(edge[1:], high) - np.maximum(edge[:-1], low)
        return self.columns(grid)[:, None] * np.maximum(rows, 0) / np.diff(edge)

    def __and__(self, other: Any) -> "Region":
        """Return the box that lies in both; masks of `jcm_sensitivity.masks` know `&` as well.

        Raises
        ------
        ValueError
            If the two have nothing in common, or two separate boxes.
        """
        if not isinstance(other, Region):
            return NotImplemented
        south, north = max(self.south, other.south), min(self.north, other.north)
        arcs = _common_arcs(self, other)
        words = f"{self.description} and {other.description}"
        if south >= north or not arcs:
            raise ValueError(f"the region is empty: {words} have nothing in common")
        if len(arcs) > 1:
            raise ValueError(f"{words} have two separate boxes in common; choose one of them")
        if self in (GLOBE, other):
            return other
        return self if other == GLOBE else box(
            south, north, *arcs[0], name=f"{self.name} & {other.name}")


def _common_arcs(first: Region, second: Region) -> list[tuple[float, float]]:
    """Return western and eastern edges of what two boxes have in common in longitude."""
    for one, other in ((first, second), (second, first)):
        if one.width == 360:
            return [(other.west, other.east)]
    start = (second.west - first.west) % 360.0
    pieces = []
    for begin in (start, start - 360.0):
        low, high = max(begin, 0.0), min(begin + second.width, first.width)
        if high > low + SLIVER:
            pieces.append((first.west + low, first.west + high))
    return [tuple((edge + 180) % 360 - 180 for edge in piece) for piece in pieces]


def _text(degrees: float, letters: str) -> str:
    letter = letters[degrees > 0] if degrees and abs(degrees) != 180 else ""
    return f"{abs(degrees):g}{letter}"


def box(
    south: float | int,
    north: float | int,
    west: float | int,
    east: float | int,
    *,
    name: str | None = None,
) -> Region:
    """Return the region between two parallels and two meridians.

    Parameters
    ----------
    south, north
        Edges in degrees north, -90 to 90.
    west, east
        Edges in degrees east, -180 to 360; the box runs from west eastwards to east.

    Raises
    ------
    ValueError
        If the box is empty or an edge is not on the globe.
    """
    edges = [float(x) for x in (south, north, west, east)]
    written = f"south, north, west, east = {', '.join(f'{x:g}' for x in edges)}"
    if not all(np.isfinite(edges)):
        raise ValueError(f"the edges of a region are finite numbers; got {written}")
    if not (-90 <= edges[0] <= 90 and -90 <= edges[1] <= 90):
        raise ValueError(f"latitudes are -90 to 90 degrees north; got {written}")
    if not all(-180 <= x <= 360 for x in edges[2:]):
        raise ValueError(f"longitudes are -180 to 360 degrees east; got {written}")
    if edges[0] >= edges[1]:
        raise ValueError(f"the region is empty: south must be below north; got {written}")
    if edges[2] == edges[3]:
        raise ValueError(
            f"the region is empty: west equals east; got {written}; all longitudes are 0, 360")
    return Region(name or "box", *edges)


#: The whole globe.
GLOBE = box(-90, 90, 0, 360, name="globe")

#: Regions by name. The Nino boxes are those of Trenberth, K. E. (1997): The definition of El Nino.
#: Bull. Am. Meteorol. Soc., 78, 2771-2777, and of NOAA CPC; `tropical_pacific` is Nino 4, the edge
#: of the warm pool, where convection follows the sea surface. `sahara` is that of Seneviratne, S.
#: and others (2012), IPCC SREX, chapter 3; `itcz_band` that of Adam, O., Bischoff, T. and
#: Schneider, T. (2016), J. Clim., 29, 3219-3230; the `jet` bands are those of Ceppi, P. and others
#: (2018), J. Clim., 31, 1091-1105. The other edges are chosen here: authors differ.
REGIONS = {
    region.name: region
    for region in (
        GLOBE,
        # Bands.
        box(0, 90, 0, 360, name="northern_hemisphere"),
        box(-90, 0, 0, 360, name="southern_hemisphere"),
        box(-20, 20, 0, 360, name="tropics"),
        box(-20, 20, 0, 360, name="itcz_band"),
        box(0, 20, 0, 360, name="northern_tropics"),
        box(-20, 0, 0, 360, name="southern_tropics"),
        box(-5, 5, 0, 360, name="equatorial_belt"),
        box(30, 90, 0, 360, name="northern_extratropics"),
        box(-90, -30, 0, 360, name="southern_extratropics"),
        box(30, 60, 0, 360, name="northern_jet"),
        box(-60, -30, 0, 360, name="southern_jet"),
        box(60, 90, 0, 360, name="arctic"),
        box(-90, -60, 0, 360, name="antarctic"),
        # Oceans.
        box(-5, 5, 160, -150, name="tropical_pacific"),
        box(-5, 5, 160, -150, name="nino4"),
        box(-5, 5, -170, -120, name="nino34"),
        box(-5, 5, -150, -90, name="nino3"),
        box(-10, 10, 95, 150, name="maritime_continent"),
        box(20, 60, 120, -120, name="north_pacific"),
        box(30, 60, -60, 0, name="north_atlantic"),
        box(-65, -45, 0, 360, name="southern_ocean"),
        # Land.
        box(10, 20, -20, 35, name="sahel"),
        box(15, 30, -20, 40, name="sahara"),
        box(10, 30, 70, 90, name="indian_monsoon"),
        box(-15, 5, -75, -50, name="amazon"),
        box(35, 60, -10, 30, name="europe"),
    )
}


def region(which: str | Region | Sequence[float | int]) -> Region:
    """Return a region from its name or its four edges (south, north, west, east).

    Raises
    ------
    ValueError
        If the name is unknown or the edges do not make a box.
    """
    if isinstance(which, Region):
        return box(*which[1:], name=which.name)
    if isinstance(which, str):
        if which not in REGIONS:
            raise ValueError(
                f"unknown region {which!r}; {hint(which, REGIONS)}available: {', '.join(REGIONS)}")
        return REGIONS[which]
    edges = list(which)
    if len(edges) != 4:
        raise ValueError(
            f"a region is a name or four numbers south, north, west, east; got {edges}")
    return box(*edges)
