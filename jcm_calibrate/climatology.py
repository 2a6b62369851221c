"""Seasonal means of a run: outputs weighted by their length, and by the season of their middle."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jcm.pressure_levels import to_pressure_levels
from jcm.vertical import Levels

#: Seasons of a year; ANN is the mean of the four.
SEASONS = ("DJF", "MAM", "JJA", "SON", "ANN")
PRESSURE = "surface_air_pressure"
#: Levels of a file and those wanted are the same within this [Pa].
SAME_LEVEL = 1.0


def seasonal_means(run: xr.Dataset) -> xr.Dataset:
    """Return the means of the seasons that a run has, and of the year if it has all four.

    Parameters
    ----------
    run
        Fields with the dimension time, and `time_bnds` if the outputs are means of different
        lengths. An output belongs to the season of its middle.

    Returns
    -------
    means
        The same variables with the dimension season instead of time.
    """
    length, season = _lengths(run), run["time"].dt.season.values
    fields = run[[name for name, x in run.data_vars.items()
                  if "time" in x.dims and "bounds" not in x.dims]]  # fmt: skip
    weights = xr.DataArray(length, dims="time")
    with xr.set_options(keep_attrs=True):
        found = {
            name: fields.isel(time=season == name).weighted(weights[season == name]).mean("time")
            for name in SEASONS[:4] if (season == name).any()}
        if len(found) == 4:
            found["ANN"] = xr.concat(list(found.values()), "season").mean("season")
    names = xr.DataArray(list(found), dims="season", name="season")
    return xr.concat(list(found.values()), names)


def season_days(run: xr.Dataset) -> np.ndarray:
    """Return the days that a run has in each season, in the order of `SEASONS`."""
    length, season = _lengths(run), run["time"].dt.season.values
    return np.array([length[(season == name) | (name == "ANN")].sum() for name in SEASONS])


def on_pressure_levels(run: xr.Dataset, pressure: Sequence[float] | np.ndarray) -> xr.Dataset:
    """Return a run with fields on layers interpolated to levels of constant pressure.

    Fields that are on pressure levels already keep those levels among them that are wanted. Above
    the centre of the top layer there is no value: such levels are left out.

    Parameters
    ----------
    run
        Fields of the model, with the surface air pressure.
    pressure
        Levels wanted [Pa].

    Raises
    ------
    ValueError
        If the surface air pressure is missing, or none of the levels of the file is wanted.
    """
    if "plev" in run.dims:
        return _wanted_levels(run, np.asarray(pressure, float))
    layered = [name for name, x in run.data_vars.items() if {"level", "time"} <= set(x.dims)]
    if not layered:
        return run
    if PRESSURE not in run:
        raise ValueError(
            f"{', '.join(map(str, layered))} need {PRESSURE!r} to go to pressure levels; add it to "
            "the variables of the run, or write pressure levels")
    half = np.append(run["level_bnds"].values[:, 0], run["level_bnds"].values[-1, 1])
    levels = Levels(half.tolist())
    surface = run[PRESSURE].transpose("time", "lat", "lon").values
    # Where no column reaches, there would be nothing but missing values.
    reached = np.array([p for p in pressure if p >= levels.centre[0] * surface.min()], float)
    moved = {
        name: xr.Variable(
            ("time", "plev", "lat", "lon"),
            _interpolated(run[name].transpose("time", "level", "lat", "lon").values, surface,
                          levels, reached), run[name].attrs)
        for name in layered}  # fmt: skip
    rest = run.drop_vars([*layered, "level_bnds"]).drop_dims("level", errors="ignore")
    return rest.assign(moved).assign_coords(plev=reached)


def _interpolated(
    values: np.ndarray, surface: np.ndarray, levels: Levels, pressure: np.ndarray
) -> np.ndarray:
    step = lambda x: to_pressure_levels(x[0], x[1], levels, pressure)  # noqa: E731
    # One output at a time: all at once would hold every level of every output twice.
    return np.asarray(jax.jit(lambda *x: jax.lax.map(step, x))(
        jnp.asarray(values), jnp.asarray(surface)))  # fmt: skip


def _wanted_levels(run: xr.Dataset, pressure: np.ndarray) -> xr.Dataset:
    levels = run["plev"].values * (100.0 if run["plev"].attrs.get("units") == "hPa" else 1.0)
    nearest = pressure[np.abs(levels[:, None] - pressure).argmin(axis=1)]
    same = np.abs(levels - nearest) < SAME_LEVEL
    if not same.any():
        raise ValueError(
            f"none of the levels {', '.join(f'{x:g}' for x in levels / 100)} hPa of the run is "
            f"among {', '.join(f'{x:g}' for x in pressure / 100)} hPa; run with some of these in "
            "pressure_levels")
    return run.assign_coords(plev=nearest).isel(plev=same)


def _lengths(run: xr.Dataset) -> np.ndarray:
    """Return the length of each output [day]; 1 for values at a time."""
    if "time" not in run.dims or not run.sizes["time"]:
        raise ValueError("the run has no outputs; expected a dataset with the dimension time")
    if "time_bnds" not in run:
        return np.ones(run.sizes["time"])
    bounds = run["time_bnds"].values
    return (bounds[:, 1] - bounds[:, 0]) / np.timedelta64(1, "D")
