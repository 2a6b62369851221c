"""Where in the horizontal something is observed: cells, latitude rows, regions, stations.

All are linear in the field. Means are weighted with the area of the cells, and with the part of
each cell that a mask gives.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jcm.grid import Grid
from jcm_sensitivity.masks import Masked, Where, find_mask, masked
from jcm_sensitivity.regions import GLOBE, REGIONS, Region, box
from jcm_sensitivity.regions import region as find_region


class Cells(eqx.Module):
    """Single cells of the grid, those that a mask leaves."""

    column: Int[Array, "place"]
    row: Int[Array, "place"]
    labels: tuple[str, ...] = eqx.field(static=True)
    description: str = eqx.field(static=True)
    shape: tuple[int, int] = eqx.field(static=True)

    def __call__(self, field: Float[Array, "*rest lon lat"]) -> Float[Array, "*rest place"]:
        """Return the values there."""
        return field[..., self.column, self.row]


class Means(eqx.Module):
    """Weighted sums over the grid; the weights of a place have the sum 1."""

    weight: Float[Array, "place lon lat"]
    labels: tuple[str, ...] = eqx.field(static=True)
    description: str = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Longitudes and latitudes."""
        return self.weight.shape[1], self.weight.shape[2]

    def __call__(self, field: Float[Array, "*rest lon lat"]) -> Float[Array, "*rest place"]:
        """Return the weighted sums."""
        return jnp.tensordot(field, self.weight.astype(field.dtype), axes=[(-2, -1), (1, 2)])


Places = Cells | Means


def _means(weight: np.ndarray, labels: Sequence[str], description: str) -> Means:
    """Return means from weights that need not have the sum 1."""
    weight = weight / weight.sum(axis=(1, 2), keepdims=True)
    return Means(jnp.asarray(weight, jnp.result_type(float)), tuple(labels), description)


def _fraction(grid: Grid, where: Where | str | np.ndarray | None, inputs: Any) -> np.ndarray:
    """Return the part of each cell that counts; all of it without a mask."""
    if where is None:
        return np.ones(grid.shape)
    return masked(find_mask(where)).fraction(grid, inputs)


def _over(where: Where | str | np.ndarray | None) -> str:
    """Return what a mask leaves, in words."""
    if where is None:
        return ""
    return f", {masked(find_mask(where)).description.removeprefix('globe, ')}"


def cells(grid: Grid, *, mask: Any = None, inputs: Any = None) -> Cells:
    """Return the cells of which at least half is inside a mask; all without a mask."""
    column, row = np.nonzero(_fraction(grid, mask, inputs) >= 0.5)
    if not column.size:
        raise ValueError(
            f"the region is empty on the grid {grid.name}: no cell lies half inside "
            f"{masked(find_mask(mask)).description}; choose a larger box or another mask")
    labels = tuple(
        f"{place_name(grid.latitude[j], grid.longitude[i])}"
        for i, j in zip(column, row, strict=True))
    return Cells(jnp.asarray(column), jnp.asarray(row), labels, f"map{_over(mask)}", grid.shape)


def latitude_rows(
    grid: Grid, *, bands: Sequence[Sequence[float]] | None = None, mask: Any = None,
    inputs: Any = None,
) -> Means:  # fmt: skip
    """Return zonal means: of the rows of the grid, or of bands (south, north) in degrees.

    Rows in which the mask leaves nothing are left out.

    Raises
    ------
    ValueError
        If a band is empty or the mask leaves nothing.
    """
    inside = _fraction(grid, mask, inputs) * grid.cell_area
    if bands is not None:
        boxes = [box(south, north, 0, 360) for south, north in bands]
        weight = np.stack([inside * each.fraction(grid) for each in boxes])
        labels = [f"{_degrees(low)}-{_degrees(high)}" for low, high in bands]
        _refuse_empty(weight, labels, grid)
        return _means(weight, labels, f"zonal mean of {len(boxes)} bands{_over(mask)}")
    weight = inside[None] * np.eye(grid.nlat)[:, None, :]
    there = weight.sum(axis=(1, 2)) > 0
    labels = [_degrees(latitude) for latitude in grid.latitude[there]]
    return _means(weight[there], labels, f"zonal mean of {there.sum()} rows{_over(mask)}")


def regions(grid: Grid, chosen: Any = None, *, mask: Any = None, inputs: Any = None) -> Means:
    """Return means over regions.

    Parameters
    ----------
    grid
        Grid of the model.
    chosen
        Name of a region of `jcm_sensitivity.REGIONS`, four edges (south, north, west, east), a
        box or a mask of `jcm_sensitivity`, or a list of such; default the globe.
    mask
        `land`, `sea` or an array (lon, lat), for all regions.
    inputs
        Inputs that tell where land is.

    Raises
    ------
    ValueError
        If a region is unknown or empty.
    """
    several = isinstance(chosen, list | tuple) and not hasattr(chosen, "fraction")
    numbers = several and all(isinstance(x, int | float) for x in chosen)
    wanted = list(chosen) if several and not numbers else [GLOBE if chosen is None else chosen]
    where = [_where(each) for each in wanted]
    if mask is not None:
        where = [each & find_mask(mask) for each in where]
    labels = [each.description for each in where]
    weight = np.stack([each.fraction(grid, inputs) * grid.cell_area for each in where])
    _refuse_empty(weight, labels, grid)
    if len(where) == 1 and isinstance(wanted[0], Region) and wanted[0] == GLOBE:
        return _means(weight, labels, f"global mean{_over(mask)}")
    return _means(weight, labels, f"mean over {'; '.join(labels)}")


def _where(which: Any) -> Masked:
    edges = isinstance(which, list | tuple) and not hasattr(which, "fraction")
    if edges or (isinstance(which, str) and which not in ("land", "sea")):
        return masked(find_region(which))
    return masked(find_mask(cast(Where, which)))


def _refuse_empty(weight: np.ndarray, labels: Sequence[str], grid: Grid) -> None:
    empty = [label for label, w in zip(labels, weight, strict=True) if not w.sum() > 0]
    if empty:
        raise ValueError(
            f"the region is empty on the grid {grid.name}: {empty[0]}; choose a larger box or "
            f"another mask. Regions: {', '.join(REGIONS)}")


def stations(grid: Grid, points: Mapping[str, Sequence[float]]) -> Means:
    """Return values at points, bilinear between the four nodes around each.

    Beyond the last row of the grid the value is that of the last row.

    Parameters
    ----------
    grid
        Grid of the model.
    points
        Name -> (latitude in degrees north, longitude in degrees east).

    Raises
    ------
    ValueError
        If there are no points or one is not on the globe.
    """
    if not points:
        raise ValueError("no station is given; expected {name: (latitude, longitude)}")
    weight = np.zeros((len(points), *grid.shape))
    for number, (name, point) in enumerate(points.items()):
        latitude, longitude = (float(x) for x in point)
        if not (abs(latitude) <= 90 and -180 <= longitude <= 360):
            raise ValueError(
                f"station {name!r}: expected latitude -90 to 90 and longitude -180 to 360; got "
                f"{latitude:g}, {longitude:g}")
        column = longitude % 360.0 * grid.nlon / 360.0
        row = np.interp(latitude, grid.latitude, np.arange(grid.nlat))
        west, south = int(column), min(int(row), grid.nlat - 2)
        for i, part in ((west, 1 - column + west), (west + 1, column - west)):
            for j, share in ((south, 1 - row + south), (south + 1, row - south)):
                weight[number, i % grid.nlon, j] += part * share
    labels = [f"{name} ({place_name(*(float(x) for x in point))})"
              for name, point in points.items()]  # fmt: skip
    return _means(weight, labels, f"{len(points)} stations")


def _degrees(latitude: float) -> str:
    return f"{abs(latitude):.3g}{'N' if latitude > 0 else 'S' if latitude < 0 else ''}"


def place_name(latitude: float, longitude: float) -> str:
    """Return a point in words, e.g. `52.5N 13.4E`."""
    return f"{_degrees(latitude)} {longitude % 360:.4g}E"
