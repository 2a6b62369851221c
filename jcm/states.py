"""Packaged states of the atmosphere: spectra of both time levels, one file per resolution.

A state stands for the first day of January or of July; the nearer season is taken where both are
packaged. Only the coefficients inside the truncation are stored.
"""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from jcm.data import data_path, packaged_states
from jcm.phases import date_of
from jcm.state import Prognostics

UNITS = {
    "vorticity": "s-1",
    "divergence": "s-1",
    "temperature": "K",
    "specific_humidity": "kg kg-1",
    "log_surface_pressure": "1",
}


def _triangle(truncation: int) -> tuple[np.ndarray, ...]:
    """Return the indices m and n of all coefficients with m + n <= T."""
    m, n = np.indices((truncation + 1, truncation + 2))
    return np.nonzero(m + n <= truncation)


def save(
    path: Path, truncation: int, half_levels: tuple[float, ...],
    previous: Prognostics, current: Prognostics, *, attributes: dict[str, Any],
) -> None:  # fmt: skip
    """Write both time levels as a small netCDF file."""
    m, n = _triangle(truncation)
    variables = {}
    for name, units in UNITS.items():
        both = [np.asarray(getattr(level, name)) for level in (previous, current)]
        data = np.stack([x[m, :, :, n] for x in both]).astype(np.float32)
        layer = "one" if name == "log_surface_pressure" else "level"
        variables[name] = (("time_level", "coefficient", "part", layer), data, {"units": units})
    dataset = xr.Dataset(
        variables, attrs={"truncation": truncation, "half_levels": half_levels, **attributes})
    compressed = {name: {"zlib": True, "complevel": 9, "shuffle": True} for name in variables}
    dataset.to_netcdf(path, encoding=compressed)


def load(model: Any, name: str | Path, forcing: Any) -> tuple[Prognostics, Prognostics]:
    """Return both time levels of a packaged state (`spun-up`) or of a file.

    Raises
    ------
    ValueError
        If there is no packaged state of this model, or the file is of another resolution.
    """
    path = _packaged(model, forcing) if name == "spun-up" else Path(name)
    if not path.exists():
        raise ValueError(
            f"there is no initial state {str(name)!r} for {model.name}; "
            "start from state='rest', or give a file written by `jcm.states.save`"
        )
    with xr.open_dataset(path) as dataset:
        found = int(dataset.attrs["truncation"]), tuple(np.atleast_1d(dataset.attrs["half_levels"]))
        wanted = model.grid.truncation, model.levels.half
        if found[0] > wanted[0] or not np.array_equal(found[1], wanted[1]):
            raise ValueError(
                f"{path.name} holds T{found[0]} with half levels {found[1]}; this model has "
                f"T{wanted[0]} with {wanted[1]}"
            )
        m, n = _triangle(found[0])
        both = []
        for index in range(2):
            level = {}
            for variable in UNITS:
                data = dataset[variable].values[index].astype(float)
                full = np.zeros((wanted[0] + 1, 2, data.shape[-1], wanted[0] + 2))
                full[m, :, :, n] = data
                level[variable] = jnp.asarray(full)
            both.append(Prognostics(**level))
    return both[0], both[1]


def _packaged(model: Any, forcing: Any) -> Path:
    """Return the packaged state of the nearer season, or of the only one there is."""
    month = int(date_of(forcing.start_day).month)
    nearer = "july" if 4 <= month <= 9 else "january"
    found = packaged_states(model.name)
    return data_path(next((name for name in found if nearer in name), found[0]))
