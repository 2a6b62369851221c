"""Seasonal means of every output variable over some years, and what differs between two runs."""

import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from plan import EXACT, Plan, build, means, widths_of

import jcm
from jcm.constants import DAY
from jcm.model import Model
from jcm.output import write_dataset
from jcm.provenance import package_version
from jcm.results import identify, refuse_another
from jcm.variables import VARIABLES

#: Factors to the units in which results are shown, and these units.
SHOWN = {"kg m-2 s-1": (DAY, "mm day-1"), "kg kg-1": (1e3, "g kg-1"), "Pa": (0.01, "hPa")}

#: Years that differ by less, relative to the mean, are prescribed: they have no noise.
ROUNDING = 1e-6


def climate(plan: Plan, setting: str, years: int, folder: Path) -> xr.Dataset:
    """Return means (year, season, level, lat, lon); the years are those of independent runs."""
    return xr.concat([one_year(plan, setting, k, folder) for k in range(years)], "year",
                     coords="minimal", compat="override", join="override")  # fmt: skip


def one_year(plan: Plan, setting: str, member: int, folder: Path) -> xr.Dataset:
    """Return means (season, level, lat, lon) of a year; those of a file if it is there.

    A member is a year of its own, from a state as many times five days along a run of the exact
    model, but on the same date.
    """
    path = folder / "climate" / f"{setting}_{member}.nc"
    experiment = identify(
        version=package_version(), grid=plan.grid, start=plan.start, spacing=plan.spacing_days,
        spin_up=plan.spin_up_days, seasons=plan.season_days, widths=widths_of(plan, setting))
    if path.is_file():
        known = xr.load_dataset(path)
        refuse_another(json.loads(known.attrs["experiment"]), experiment, path)
        return known
    smooth = setting != EXACT
    model = build(plan.grid, smooth)
    inputs = jcm.default_inputs(model, start=plan.start)
    if member:
        state, _ = means(plan, False, jcm.insert(inputs, widths_of(plan, EXACT)),
                         member * plan.spacing_days)  # fmt: skip
        inputs = inputs.with_state(eqx.tree_at(lambda s: s.step, state, inputs.state.step))
    inputs = jcm.insert(inputs, widths_of(plan, setting))
    begin = time.perf_counter()
    state, _ = means(plan, smooth, inputs, plan.spin_up_days)
    seasons = []
    for days in plan.season_days:
        state, fields = means(plan, smooth, inputs.with_state(state), days)
        seasons.append(fields)
    result = _dataset(plan, model, seasons)
    result.attrs["seconds"] = time.perf_counter() - begin
    result.attrs["experiment"] = json.dumps(experiment)
    print(f"{setting}: member {member}, {result.attrs['seconds']:.0f} s", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dataset(result, path)
    return result


def _dataset(plan: Plan, model: Model, seasons: list[dict[str, Any]]) -> xr.Dataset:
    def variable(name: str) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        known = VARIABLES[name]
        factor, units = SHOWN.get(known.units, (1.0, known.units))
        x = factor * np.stack([season[name] for season in seasons]).swapaxes(-1, -2)
        dims = ("level", "lat", "lon") if known.dims == "3d" else ("lat", "lon")
        return ("season", *dims), x, {"long_name": known.long_name, "units": units}

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
    mean = float(globe(other).mean("year"))
    return {
        "exact": mean, "difference": float(d), "noise": error,
        "t": float(d) / error if error > ROUNDING * abs(mean) else 0.0,
        "zonal_rms": rms, "zonal_noise": noise,
        "zonal_ratio": rms / noise if noise > ROUNDING * abs(mean) else 0.0,
        "zonal_largest": float(zonal[where]), "zonal_largest_at": float(zonal["lat"][where]),
    }  # fmt: skip


def table(smooth: xr.Dataset, exact: xr.Dataset) -> dict[str, dict[str, float]]:
    """Return `compare` of annual means for every variable and level."""
    one, other = by_level(annual(smooth)), by_level(annual(exact))
    return {name: compare(one[name], other[name]) for name in other}
