"""Masks: which part of each grid cell counts, for shapes that are no box.

`REGIONS["sahel"] & LAND` is the land of a box. The part of a cell that counts is the product of the
part inside the box and the part that the mask gives: land is spread evenly within its cell.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jcm.grid import Grid
from jcm.simulate import Inputs
from jcm_sensitivity.regions import GLOBE, Region


@dataclass(frozen=True)
class Surface:
    """Land or sea as the model has it, `forcing.land_fraction`; `LAND` or `SEA`."""

    name: str

    @property
    def description(self) -> str:
        """What counts, in words."""
        return f"{self.name} only"

    def fraction(self, grid: Grid, inputs: Inputs | None = None) -> Float[np.ndarray, "lon lat"]:
        """Return the part of each cell that counts [1].

        Raises
        ------
        ValueError
            If there are no inputs to tell where land is.
        """
        if inputs is None:
            raise ValueError(
                f"a mean over {self.name} needs to know where land is: bind the target with "
                "target.bind(model, every=..., inputs=inputs)")
        land = np.asarray(inputs.forcing.land_fraction, float)
        _check_shape(land, grid, "the land fraction of the inputs")
        return land if self.name == "land" else 1 - land

    def __and__(self, other: Any) -> "Masked":
        """Return what lies in both."""
        return _both(self, other)

    __rand__ = __and__


class GridMask:
    """A mask given cell by cell; made by `grid_mask`. Two with the same numbers are equal."""

    def __init__(self, values: np.ndarray, name: str):
        self.values, self.name = values, name

    @property
    def description(self) -> str:
        """What counts, in words."""
        return self.name

    def fraction(self, grid: Grid, inputs: Inputs | None = None) -> Float[np.ndarray, "lon lat"]:
        """Return the part of each cell that counts [1].

        Raises
        ------
        ValueError
            If the mask belongs to another grid.
        """
        _check_shape(self.values, grid, f"the mask {self.name!r}")
        return self.values

    def _key(self) -> tuple:
        return self.name, self.values.shape, self.values.tobytes()

    def __eq__(self, other: object) -> bool:
        """Compare name and numbers."""
        return isinstance(other, GridMask) and self._key() == other._key()

    def __hash__(self) -> int:
        """Return a number that equal masks share."""
        return hash(self._key())

    def __and__(self, other: Any) -> "Masked":
        """Return what lies in both."""
        return _both(self, other)

    __rand__ = __and__


Mask = Surface | GridMask


class Masked(NamedTuple):
    """What lies in a box and in all of some masks; made by `region & mask`."""

    region: Region
    masks: tuple[Mask, ...] = ()

    @property
    def description(self) -> str:
        """Box and masks in words."""
        return ", ".join([self.region.description, *(mask.description for mask in self.masks)])

    def fraction(self, grid: Grid, inputs: Inputs | None = None) -> np.ndarray:
        """Return the part of the area of each cell that counts [1]; (lon, lat).

        Raises
        ------
        ValueError
            If nothing counts, a mask has another grid, or land or sea need inputs.
        """
        inside = self.region.fraction(grid)
        for mask in self.masks:
            inside = inside * mask.fraction(grid, inputs)
        if not inside.any():
            raise ValueError(
                f"the region is empty on the grid {grid.name}: {self.description}; choose a "
                "larger box or another mask")
        return inside

    def __and__(self, other: Any) -> "Masked":
        """Return what lies in both."""
        return _both(self, other)

    __rand__ = __and__


#: Whatever says where a mean is taken.
Where = Region | Surface | GridMask | Masked

#: The land of the model, and its sea, lakes included.
LAND, SEA = Surface("land"), Surface("sea")
#: Masks by name.
MASKS = {mask.name: mask for mask in (LAND, SEA)}


def grid_mask(
    values: Float[np.ndarray, "lon lat"] | np.ndarray, *, name: str = "a mask of one's own"
) -> GridMask:
    """Return a mask from the part of each cell that counts.

    Parameters
    ----------
    values
        Numbers from 0 to 1, or True and False, on the grid of the model: (lon, lat).
    name
        What messages and figures call it.

    Raises
    ------
    ValueError
        If the array is no such map, or nothing counts.
    """
    array = np.array(values, float)
    if array.ndim != 2:
        raise ValueError(f"a mask has the shape (longitude, latitude); got {array.shape}")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"a mask holds numbers from 0 to 1; got {np.min(array):g} to {np.max(array):g}")
    if not array.any():
        raise ValueError(f"the mask {name!r} is empty: it is 0 everywhere")
    array.setflags(write=False)
    return GridMask(array, name)


def find_mask(which: str | Where | np.ndarray) -> Where:
    """Return a mask from its name, `land` or `sea`, or from an array on the grid.

    Raises
    ------
    ValueError
        If the name is unknown or the array is no mask.
    """
    if isinstance(which, str):
        if which not in MASKS:
            raise ValueError(
                f"unknown mask {which!r}; available: {', '.join(MASKS)}, or an array (lon, lat)")
        return MASKS[which]
    return grid_mask(which) if isinstance(which, np.ndarray) else which


def masked(where: Where) -> Masked:
    """Return a box, a mask or both as box and masks."""
    if isinstance(where, Masked):
        return where
    return Masked(where) if isinstance(where, Region) else Masked(GLOBE, (where,))


def _both(first: Where, second: Where) -> Masked:
    a, b = masked(first), masked(second)
    return Masked(a.region & b.region, tuple(dict.fromkeys(a.masks + b.masks)))


def _check_shape(values: np.ndarray, grid: Grid, name: str) -> None:
    if values.shape != grid.shape:
        raise ValueError(
            f"{name} has shape {values.shape}, but the grid {grid.name} has {grid.shape} cells "
            "(longitude, latitude)")
