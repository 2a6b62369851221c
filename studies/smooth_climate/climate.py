"""Seasonal means of every output variable over some years, and what differs between two runs."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from plan import EXACT, Plan, build, widths_of

import jcm
from jcm.constants import DAY
from jcm.output import write_dataset
from jcm.simulate import compile_window
from jcm.variables import VARIABLES

#: Factors to the units in which results are shown, and these units.
SHOWN = {"kg m-2 s-1": (DAY, "mm day-1"), "kg kg-1": (1e3, "g kg-1"), "Pa": (0.01, "hPa")}


def climate(plan: Plan, setting: str, years: int, folder: Path) -> xr.Dataset:
    """Return means (year, season, level, lat, lon), those of a file if it has enough years."""
    path = folder / "climate" / f"{setting}.nc"
    if path.is_file():
        found = xr.load_dataset(path)
        if found.sizes["year"] >= years:
            return found.isel(year=slice(years))
    model = build(plan.grid, setting != EXACT)
    inputs = jcm.default_inputs(model, start=plan.start)
    if setting != EXACT:
        inputs = jcm.insert(inputs, widths_of(plan, setting))
    program = compile_window(model, inputs)
    begin = time.perf_counter()
    steps = lambda days: round(days * model.steps_per_day)  # noqa: E731
    state, _ = program(model, inputs, steps(plan.spin_up_days))
    seasons = []
    for year in range(years):
        for days in plan.season_days:
            state, fields = program(model, inputs.with_state(state), steps(days))
            seasons.append(jax.tree.map(np.asarray, fields))
        print(f"{setting}: year {year + 1} of {years}, {time.perf_counter() - begin:.0f} s",
              flush=True)  # fmt: skip
    result = _dataset(plan, model, seasons, years)
    result.attrs["seconds"] = time.perf_counter() - begin
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dataset(result, path)
    return result


def _dataset(plan: Plan, model: Any, seasons: list[dict[str, Any]], years: int) -> xr.Dataset:
    def variable(name: str) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        known = VARIABLES[name]
        factor, units = SHOWN.get(known.units, (1.0, known.units))
        x = factor * np.stack([season[name] for season in seasons])
        x = x.reshape(years, len(plan.seasons), *x.shape[1:]).swapaxes(-1, -2)
        dims = ("level", "lat", "lon") if known.dims == "3d" else ("lat", "lon")
        return ("year", "season", *dims), x, {"long_name": known.long_name, "units": units}

    grid = model.grid
    return xr.Dataset(
        {name: variable(name) for name in VARIABLES if name in seasons[0]},
        coords={
            "season": list(plan.seasons), "level": model.levels.centre,
            "lat": grid.latitude, "lon": grid.longitude,
            "days": ("season", np.array(plan.season_days)),
            "area": ("lat", np.asarray(grid.quadrature_weight) / 2),
            "thickness": ("level", np.asarray(model.levels.thickness))})  # fmt: skip


def annual(data: xr.Dataset) -> xr.Dataset:
    """Return means over the days of the year."""
    return data.weighted(data["days"]).mean("season")


def by_level(data: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the variables, those on levels level by level and as means over mass."""
    found = {}
    for name, x in data.data_vars.items():
        if "level" not in x.dims:
            found[str(name)] = x
            continue
        found[f"{name}, column"] = x.weighted(data["thickness"]).mean("level")
        found |= {f"{name}, sigma {level:.3f}": x.sel(level=level)
                  for level in data["level"].values}  # fmt: skip
    return found


def globe(x: xr.DataArray) -> xr.DataArray:
    """Return means over the globe, of fields or of zonal means."""
    zonal = x.mean("lon") if "lon" in x.dims else x
    return zonal.weighted(x["area"]).mean("lat")


def _variance_of_mean(x: xr.DataArray) -> xr.DataArray:
    return x.var("year", ddof=1) / x.sizes["year"]


def compare(one: xr.DataArray, other: xr.DataArray) -> dict[str, float]:
    """Return how the means of yearly fields (year, lat, lon) differ, and the noise of that.

    The noise is the standard error of the difference of two means, from the spread of the yearly
    means; of zonal means, the root of its mean square over the globe. A sample of one year has the
    spread of the other.
    """
    def difference_and_noise(a: xr.DataArray, b: xr.DataArray) -> tuple[Any, Any]:
        noise = _variance_of_mean(b)
        noise = noise + (
            _variance_of_mean(a) if a.sizes["year"] > 1 else b.var("year", ddof=1))
        return a.mean("year") - b.mean("year"), noise

    d, variance = difference_and_noise(globe(one), globe(other))
    zonal, zonal_variance = difference_and_noise(one.mean("lon"), other.mean("lon"))
    rms, noise = (float(np.sqrt(globe(x))) for x in (zonal**2, zonal_variance))
    error = float(np.sqrt(variance))
    where = np.abs(zonal).argmax("lat")
    return {
        "exact": float(globe(other).mean("year")), "difference": float(d), "noise": error,
        "t": float(d) / error if error else 0.0,
        "zonal_rms": rms, "zonal_noise": noise, "zonal_ratio": rms / noise if noise else 0.0,
        "zonal_largest": float(zonal[where]), "zonal_largest_at": float(zonal["lat"][where]),
    }  # fmt: skip


def table(smooth: xr.Dataset, exact: xr.Dataset) -> dict[str, dict[str, float]]:
    """Return `compare` of annual means for every variable and level."""
    one, other = by_level(annual(smooth)), by_level(annual(exact))
    return {name: compare(one[name], other[name]) for name in other}
