"""The performance index of a run, beside the mean of the CMIP6 models.

Reichler, T. and Kim, J. (2008): How well do coupled models simulate today's climate? Bull. Am.
Meteorol. Soc., 89, 303-311: the mean over a region of the squared difference between the means of
a season in the model and observed, over the variance of that season from year to year. 1 is as
good as a single observed year; smaller is better.

The definition follows ecmean 0.2.2 (Davini and von Hardenberg), from which the numbers of CMIP6
are: zonal means of fields on pressure levels first, then a mean over the levels by their thickness,
then over the region by area. `DIFFERENCES` says what is not the same.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from jcm.constants import EARTH
from jcm.data import data_path
from jcm.grid import Grid, make_grid
from jcm.gridded import read_field, regrid
from jcm.model import Model
from jcm_calibrate.climatology import SEASONS, on_pressure_levels, season_days, seasonal_means
from jcm_calibrate.losses import performance_index as index_of
from jcm_sensitivity.regions import Region, box

#: Observations are on this grid, and so is the comparison.
GRID = "T31"
#: Regions of the CMIP6 numbers, by ecmean's names.
REGIONS: dict[str, Region] = {
    name: box(south, north, 0, 360, name=name)
    for name, south, north in (
        ("Global", -90, 90), ("NH", 20, 90), ("Equatorial", -20, 20), ("SH", -90, -20),
        ("North Midlat", 30, 90), ("Tropical", -30, 30), ("South Midlat", -90, -30),
        ("North Pole", 60, 90), ("South Pole", -90, -60))}  # fmt: skip
#: What is not the same as in the CMIP6 numbers.
DIFFERENCES = (
    "CMIP6: 1 degree grid, variance without its outliers, 30 years 1985-2014 of coupled models; "
    "here: T31 grid, variance averaged to it, cells at the edge of a region by the part inside, "
    "levels above the model's top left out, the years and the sea surface of the run")
INTERANNUAL = "variance of single years, as for CMIP6"
SUGGESTED = "suggested error of the observations squared, not their variance: not comparable"
#: Lapse rate of the reduction to sea level [K m-1], that of the standard atmosphere, and the
#: exponent g / (R lapse rate).
LAPSE_RATE = 0.0065
#: Largest part of land (sea) in a cell that counts as sea (land) in ecmean.
HALF = 0.5
#: Precipitation: error of the observations is this [kg m-2 s-1] and this part of the amount.
PRECIPITATION_ERROR = (0.3 / 86400, 0.12)
#: 2 m temperature: error of the observations over sea and over land [K].
TEMPERATURE_ERROR = (0.5, 1.0)


class Compared(NamedTuple):
    """A variable of the index."""

    #: Name of the variable of the model.
    model: str
    #: Where it counts: everywhere, `ocean`, or `land-no-antarctica`.
    mask: str
    #: What the squared differences are divided by.
    scale: str


#: Variables by the names of CMIP6. Left out: tos and siconc, which the model is given; net_sfc and
#: sos, for which no observations are packaged.
VARIABLES: dict[str, Compared] = {
    "tas": Compared("near_surface_air_temperature", "land-no-antarctica", SUGGESTED),
    "pr": Compared("precipitation_flux", "global", SUGGESTED),
    "psl": Compared("air_pressure_at_mean_sea_level", "global", INTERANNUAL),
    "tauu": Compared("surface_downward_eastward_stress", "ocean", INTERANNUAL),
    "tauv": Compared("surface_downward_northward_stress", "ocean", INTERANNUAL),
    "ua": Compared("eastward_wind", "global", INTERANNUAL),
    "va": Compared("northward_wind", "global", INTERANNUAL),
    "ta": Compared("air_temperature", "global", INTERANNUAL),
    "hus": Compared("specific_humidity", "global", INTERANNUAL),
}  # fmt: skip


def performance_index(run: xr.Dataset) -> xr.Dataset:
    """Return the performance index of a run by variable, season and region.

    Parameters
    ----------
    run
        What `jcm run` writes or `jcm.to_dataset` returns: any of the variables in `VARIABLES`, on
        any grid, with `time_bnds`. Winds, temperature and humidity need the surface air pressure,
        or levels of constant pressure. For sea-level pressure add it with `sea_level_pressure`.

    Returns
    -------
    table
        `index` and `cmip6` [1], (variable, season, region), NaN where unknown; `ratio`, index over
        cmip6, where the two have the same scale; `days` of the run in each season; the `scale` of
        each variable; and in the attributes what differs from CMIP6. The season ANN is the mean of
        the four.

    Raises
    ------
    ValueError
        If the run has none of the variables, units that are not those of the model, or no days.
    """
    names = [name for name, x in VARIABLES.items() if x.model in run]
    if not names:
        raise ValueError(
            "the run has none of the variables of the performance index: "
            f"{', '.join(x.model for x in VARIABLES.values())}; run with some of them in "
            "`[run] variables`")
    means = seasonal_means(on_pressure_levels(run, observations()["plev"].values))
    values = np.stack([_by_season(name, means) for name in names])
    yardstick = cmip6()
    table = xr.Dataset(
        {
            "index": (("variable", "season", "region"), values, {"units": "1"}),
            "cmip6": (("variable", "season", "region"), np.array([
                [[yardstick[name].get(season, {}).get(region, np.nan) for region in REGIONS]
                 for season in SEASONS] for name in names]), {"units": "1"}),
            "days": (("season",), season_days(run), {"units": "day"}),
        },
        {"variable": names, "season": list(SEASONS), "region": list(REGIONS),
         "scale": ("variable", [VARIABLES[name].scale for name in names])},
        {"title": "performance index (Reichler and Kim, 2008)", "differences": DIFFERENCES,
         "cmip6_source": yardstick_source()})  # fmt: skip
    return table.assign(ratio=(table["index"] / table["cmip6"]).where(table.scale == INTERANNUAL))


def sea_level_pressure(
    surface_pressure: xr.DataArray, temperature: xr.DataArray, height: xr.DataArray
) -> xr.DataArray:
    """Return the pressure reduced to sea level [Pa].

    p = p_s (1 + G z / T)^(g / (R G)) with G = 6.5 K km-1, the lapse rate of the standard
    atmosphere: hydrostatic balance with T + G (z - z') below the ground. It is exact where the
    lapse rate is; under high mountains in winter it gives too much.

    Parameters
    ----------
    surface_pressure
        [Pa]
    temperature
        Of the air near the surface [K].
    height
        Of the surface above the sea as the dynamics has it, `surface_height`; that of the boundary
        data lacks its spectral ripples, which are worth 10 hPa over the sea at T21 [m].
    """
    exponent = EARTH.gravity / (EARTH.gas_constant * LAPSE_RATE)
    pressure = surface_pressure * (1 + LAPSE_RATE * height / temperature) ** exponent
    return pressure.rename("air_pressure_at_mean_sea_level").assign_attrs(
        units="Pa", standard_name="air_pressure_at_mean_sea_level",
        comment=f"reduced with a lapse rate of {1000 * LAPSE_RATE:g} K km-1")


def surface_height(model: Model, surface_geopotential: Any) -> xr.DataArray:
    """Return the height of the surface [m], (lat, lon), truncated as the dynamics has it.

    Parameters
    ----------
    model
        Gives truncation and grid.
    surface_geopotential
        `inputs.forcing.surface_geopotential` [m2 s-2], (lon, lat).
    """
    transform = model.transform
    field = jnp.asarray(surface_geopotential)[:, None, :]
    smooth = transform.synthesis(transform.truncated(transform.analysis(field)))[:, 0, :]
    return xr.DataArray(
        np.asarray(smooth).T / EARTH.gravity, dims=("lat", "lon"), name="surface_altitude",
        coords={"lat": model.grid.latitude, "lon": model.grid.longitude}, attrs={"units": "m"})


@functools.cache
def observations() -> xr.Dataset:
    """Return the seasonal means with interannual standard deviation, the land fraction included."""
    with xr.open_dataset(data_path(f"observations_seasonal_{GRID}.nc")) as file:
        seasonal = file.load()
    with xr.open_dataset(data_path(f"boundary_{GRID}.nc")) as file:
        land = file["sftlf"].load()
    return seasonal.assign(sftlf=land).assign(_surface_climate(land, seasonal.season))


def cmip6() -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean index of the CMIP6 models [1]: variable -> season -> region."""
    found = {}
    for name, entry in _yardstick()["variables"].items():
        found[name] = {
            "ANN" if season == "ALL" else season: {
                region: np.nan if x is None else x for region, x in regions.items()}
            for season, regions in entry["values"].items()}
    return found


def yardstick_source() -> str:
    """Return where the CMIP6 numbers come from."""
    return str(_yardstick()["source"])


def as_text(table: xr.Dataset, season: str = "ANN") -> str:
    """Return a season of the table as plain text, index and CMIP6 mean side by side."""
    regions = [str(x) for x in table.region.values]
    head = f"{season:10s}" + "".join(f"{x:>16s}" for x in regions)
    rows = [head]
    for name in table.variable.values:
        here = table.sel(variable=name, season=season)
        mark = "" if str(here.scale.item()) == INTERANNUAL else " *"
        pairs = [
            f"{float(a):.3g} ({float(b):.3g})" if np.isfinite(b) else f"{float(a):.3g} (-)"
            for a, b in zip(here["index"].values, here["cmip6"].values, strict=True)]
        rows.append(f"{name + mark:10s}" + "".join(f"{x:>16s}" for x in pairs))
    notes = [f"In parentheses: CMIP6 mean. {table.attrs['differences']}."]
    if (table.scale != INTERANNUAL).any():
        notes.append(f"* scale: {SUGGESTED}.")
    return "\n".join([*rows, *notes])


def _by_season(name: str, means: xr.Dataset) -> np.ndarray:
    """Return the index by season and region."""
    variable, found = VARIABLES[name], np.full((len(SEASONS), len(REGIONS)), np.nan)
    seen = observations()
    _check_units(means[variable.model], seen[name])
    for i, season in enumerate(SEASONS):
        if season not in means.season:
            continue
        model = means[variable.model].sel(season=season)
        observed = seen[[name, name + "_std"]].sel(season=season)
        part = _zonal if "plev" in observed[name].dims else _map
        found[i] = part(model, observed[name], observed[name + "_std"], _mask(variable.mask, seen))
    return found


def _map(
    model: xr.DataArray, observed: xr.DataArray, spread: xr.DataArray, mask: np.ndarray
) -> list[float]:
    moved = _on_grid(model)
    known = mask & np.isfinite(observed.values) & np.isfinite(moved)
    return [
        _mean_index(moved, observed.values, spread.values, known * weight.T)
        for weight in _region_weights()]


def _zonal(
    model: xr.DataArray, observed: xr.DataArray, spread: xr.DataArray, mask: np.ndarray
) -> list[float]:
    """Return the index of zonal means: levels by thickness in a column, columns by area."""
    model = model.mean("lon", skipna=True).interp(
        lat=make_grid(GRID).latitude, kwargs={"fill_value": "extrapolate"})
    model, observed, spread = (
        x.sel(plev=model.plev).transpose("plev", "lat") for x in (model, observed, spread))
    known = np.isfinite(model.values) & (spread.values > 0)
    thickness = _level_thickness(observations()["plev"].values)
    at = [int(np.flatnonzero(observations()["plev"].values == p)[0]) for p in model.plev.values]
    levels = np.where(known, thickness[at][:, None], 0.0)
    columns = levels / np.where(levels.sum(axis=0) > 0, levels.sum(axis=0), 1.0)
    return [
        _mean_index(model.values, observed.values, spread.values, columns * weight.sum(axis=0))
        for weight in _region_weights()]


def _mean_index(
    model: np.ndarray, observed: np.ndarray, spread: np.ndarray, weights: np.ndarray
) -> float:
    if not (weights * (spread > 0)).sum() > 0:
        return np.nan
    return float(index_of(model, observed, spread**2, weights))


def _region_weights() -> list[np.ndarray]:
    """Return area times part inside for each region; (lon, lat)."""
    grid = make_grid(GRID)
    return [region.fraction(grid) * grid.quadrature_weight for region in REGIONS.values()]


def _mask(kind: str, seen: xr.Dataset) -> np.ndarray:
    """Return where a variable counts; (lat, lon)."""
    land = seen["sftlf"].transpose("lat", "lon").values
    if kind == "ocean":
        return land < HALF
    if kind == "land-no-antarctica":
        return (land >= HALF) & (seen.lat.values[:, None] > -60)
    return np.ones(land.shape, bool)


def _on_grid(field: xr.DataArray) -> np.ndarray:
    """Return a map on the grid of the observations; (lat, lon)."""
    grid: Grid = make_grid(GRID)
    source = field.transpose("lat", "lon").to_dataset(name="field")
    return regrid(read_field(source, "field", "the run"), grid)


def _level_thickness(pressure: np.ndarray) -> np.ndarray:
    """Return the thickness of levels [Pa], between the middles, the outermost at 0 and 1000 hPa."""
    order = np.argsort(pressure)
    middle = (pressure[order][1:] + pressure[order][:-1]) / 2
    thickness = np.empty_like(pressure)
    thickness[order] = np.diff(np.concatenate([[0.0], middle, [1e5]]))
    return thickness


def _surface_climate(land: xr.DataArray, seasons: xr.DataArray) -> Mapping[str, xr.DataArray]:
    """Return 2 m temperature and precipitation by season, with the suggested error as spread."""
    with xr.open_dataset(data_path(f"observations_{GRID}.nc")) as file:
        monthly = file[["tas", "pr"]].load()
    months = {"DJF": [12, 1, 2], "MAM": [3, 4, 5], "JJA": [6, 7, 8], "SON": [9, 10, 11],
              "ANN": list(range(1, 13))}  # fmt: skip
    means = xr.concat(
        [monthly.sel(month=months[str(s)]).mean("month", keep_attrs=True) for s in seasons.values],
        seasons)
    sea, ground = TEMPERATURE_ERROR
    least, part = PRECIPITATION_ERROR
    return {
        "tas": means["tas"], "pr": means["pr"],
        "tas_std": (sea + (ground - sea) * land) * xr.ones_like(means["tas"]),
        "pr_std": least + part * means["pr"]}  # fmt: skip


def _check_units(model: xr.DataArray, observed: xr.DataArray) -> None:
    same = {"kg kg-1": "1", "Pa": "N m-2"}
    one, other = (x.attrs.get("units", "none") for x in (model, observed))
    if same.get(one, one) != same.get(other, other):
        raise ValueError(
            f"{model.name} of the run is in {one!r}, the observations are in {other!r}; give the "
            "run in the units that `jcm run` writes")


@functools.cache
def _yardstick() -> dict:
    return json.loads(data_path("cmip6_performance_index.json").read_text())
