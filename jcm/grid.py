"""Gaussian grids, spectral truncations and layers by name, on Dinosaur's nodes."""

import functools
import re
from typing import NamedTuple

import numpy as np

from jcm.constants import EARTH

#: Triangular truncation -> (longitudes, latitudes). T30 shares the nodes of T31.
#: The nodes are enough for products of two fields to be free of aliasing: nlon > 3 T.
NODES = {
    21: (64, 32),
    30: (96, 48),
    31: (96, 48),
    42: (128, 64),
    63: (192, 96),
    85: (256, 128),
    106: (320, 160),
    119: (360, 180),
    170: (512, 256),
    213: (640, 320),
    340: (1024, 512),
    425: (1280, 640),
}

#: Half levels of SPEEDY by number of layers. The 7-layer table of the original starts at
#: sigma 0.02; its top is set to 0 here, because Dinosaur's sigma coordinates span the column.
SPEEDY_HALF_LEVELS = {
    5: (0.0, 0.15, 0.35, 0.65, 0.90, 1.0),
    7: (0.0, 0.14, 0.26, 0.42, 0.60, 0.77, 0.90, 1.0),
    8: (0.0, 0.05, 0.14, 0.26, 0.42, 0.60, 0.77, 0.90, 1.0),
}


class Grid(NamedTuple):
    """A Gaussian grid and the triangular truncation of the spectra on it.

    The size of the grid (`longitudes`, `latitudes`) and the truncation are separate numbers:
    T30 and T31 live on the same 96 x 48 nodes.
    """

    name: str
    truncation: int
    nlon: int
    nlat: int

    @property
    def sin_latitude(self) -> np.ndarray:
        """Sine of latitude, the Gaussian nodes, south to north; shape (nlat,)."""
        return _nodes(self.nlat)[0]

    @property
    def quadrature_weight(self) -> np.ndarray:
        """Gaussian weights, sum 2; shape (nlat,)."""
        return _nodes(self.nlat)[1]

    @property
    def cos_latitude(self) -> np.ndarray:
        """Cosine of latitude, never 0 on a Gaussian grid; shape (nlat,)."""
        return np.sqrt(1 - self.sin_latitude**2)

    @property
    def latitude(self) -> np.ndarray:
        """Latitude in degrees, south to north; shape (nlat,)."""
        return np.rad2deg(np.arcsin(self.sin_latitude))

    @property
    def longitude(self) -> np.ndarray:
        """Longitude in degrees east, from 0; shape (nlon,)."""
        return np.arange(self.nlon) * (360 / self.nlon)

    @property
    def cell_area(self) -> np.ndarray:
        """Area of one cell of each latitude row [m2]; shape (nlat,)."""
        return 2 * np.pi * EARTH.radius**2 * self.quadrature_weight / self.nlon

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a field in memory: longitude, latitude."""
        return self.nlon, self.nlat


@functools.lru_cache
def _nodes(nlat: int) -> tuple[np.ndarray, np.ndarray]:
    # Imported here: the library takes 3 s, and a name is checked without it.
    from dinosaur.spherical_harmonic import get_latitude_nodes

    nodes, weights = get_latitude_nodes(nlat, "gauss")
    nodes, weights = np.asarray(nodes, float), np.asarray(weights, float)
    return nodes, weights * (2 / weights.sum())


def make_grid(name: str) -> Grid:
    """Return the grid of a truncation such as `T31`.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the available ones.
    """
    match = re.fullmatch(r"T(\d+)", name)
    if not match or int(match[1]) not in NODES:
        raise ValueError(
            f"unknown grid {name!r}; available: {', '.join(f'T{t}' for t in NODES)}"
        )
    truncation = int(match[1])
    return Grid(name, truncation, *NODES[truncation])


def parse_resolution(name: str) -> tuple[Grid, int]:
    """Return grid and number of layers of a name such as `T31L8`: truncation and SPEEDY's layers.

    Raises
    ------
    ValueError
        If the truncation or the number of layers is unknown.
    """
    match = re.fullmatch(r"(T\d+)(?:L(\d+))?", name)
    if not match:
        raise ValueError(
            f"unknown resolution {name!r}; write truncation and layers, for example T31L8; "
            f"truncations: {', '.join(f'T{t}' for t in NODES)}; layers: 5, 7, 8"
        )
    return make_grid(match[1]), check_layers(int(match[2] or 8))


def check_layers(count: int) -> int:
    """Return a number of layers for which SPEEDY has a table.

    Raises
    ------
    ValueError
        If there is none.
    """
    if count not in SPEEDY_HALF_LEVELS:
        raise ValueError(
            f"SPEEDY has tables of 5, 7 and 8 layers, not {count}; give the half levels of others"
        )
    return count
