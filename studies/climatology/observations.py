"""A climatology beside observations: ERA5, CERES, as packaged.

ERA5 is a reanalysis and its precipitation a short forecast. Air temperature near the surface is at
sigma = 0.99 in the model, about 80 m up, and 2 m in ERA5. The sections on pressure levels have no
values below the ground: where less than half of a latitude circle is above it, nothing is compared.
"""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from compare import check_grid, rms
from tables import markdown

from jcm.constants import DAY, EARTH
from jcm.data import data_path
from jcm.pressure_levels import to_pressure_levels
from jcm.vertical import Levels

SEASONAL = "observations_seasonal_T31.nc"
#: Lapse rate of the standard atmosphere [K m-1].
LAPSE_RATE = 6.5e-3
#: Pressure between which sections are compared [Pa]; the top layer of the model is at 25 hPa.
SECTION_RANGE = (10000.0, 92500.0)
#: Least share of a latitude circle above the ground.
ABOVE_GROUND = 0.5
#: Section in the file -> field of the climatology, factor of the file to its units, units.
SECTIONS = {
    "ua": ("u", 1.0, "m s-1"), "va": ("v", 1.0, "m s-1"), "ta": ("t", 1.0, "K"),
    "hus": ("q", 1e3, "g kg-1"),
}  # fmt: skip
#: Regional mean -> terms of the climatology, factor, units.
REGIONAL = {
    "rsnt": ({"tsr": 1.0}, "W m-2"),
    "rlnt": ({"olr": -1.0}, "W m-2"),
    "net_toa": ({"tsr": 1.0, "olr": -1.0}, "W m-2"),
    "clt": ({"cloudc": 1.0}, "1"),
    "evspsbl": ({"evap": -1.0}, "mm day-1"),
    "psl": ({"psl": 0.01}, "hPa"),
}


def sea_level_pressure(
    pressure: np.ndarray, temperature: np.ndarray, height: np.ndarray
) -> np.ndarray:
    """Return pressure [Pa] at sea level, through air of the standard lapse rate below the ground.

    Parameters
    ----------
    pressure, temperature
        At the surface [Pa, K].
    height
        Of the surface [m].
    """
    exponent = EARTH.gravity / (EARTH.gas_constant * LAPSE_RATE)
    return pressure * (1 + LAPSE_RATE * height / temperature) ** exponent


def at_pressure(climate: xr.Dataset, name: str, levels: np.ndarray) -> np.ndarray:
    """Return a field of the climatology (month, pressure, lat, lon), NaN below the ground."""
    layers = Levels((0.0, *np.cumsum(climate["dsigma"].values)[:-1], 1.0))
    field, pressure = (np.swapaxes(climate[x].values, -1, -2) for x in (name, "ps"))
    values = to_pressure_levels(jnp.asarray(field), jnp.asarray(100 * pressure), layers, levels)
    return np.swapaxes(np.asarray(values), -1, -2)


def zonal_mean(
    climate: xr.Dataset, name: str, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return annual zonal means (pressure, lat), and where enough of the circle has values."""
    values = at_pressure(climate, name, levels)
    known = np.isfinite(values)
    count = known.sum(axis=(0, -1))
    total = np.where(known, values, 0).sum(axis=(0, -1))
    return total / np.maximum(count, 1), count >= ABOVE_GROUND * len(values) * values.shape[-1]


def sections(climate: xr.Dataset, seasonal: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return differences of annual zonal-mean sections, mass weighted between the two pressures."""
    plev = seasonal["plev"].values
    inside = (plev >= SECTION_RANGE[0]) & (plev <= SECTION_RANGE[1])
    thickness = np.abs(np.gradient(plev[inside]))
    rows = {}
    for name, (field, factor, units) in SECTIONS.items():
        zonal, enough = zonal_mean(climate, field, plev[inside])
        observed, spread = (
            factor * seasonal[x].sel(season="ANN").values[inside] for x in (name, f"{name}_std"))
        weight = thickness[:, None] * climate["area_weight"].values * enough
        weight = weight * np.isfinite(observed)
        difference = np.where(weight > 0, zonal - np.nan_to_num(observed), 0)
        rows[name] = {
            "units": units,
            "bias": float(np.sum(weight * difference) / np.sum(weight)),
            "rmse": rms(difference, weight),
            "interannual": rms(np.where(weight > 0, spread, 0), weight),
        }
    return rows


def maps(climate: xr.Dataset, monthly: xr.Dataset, seasonal: xr.Dataset) -> dict[str, Any]:
    """Return biases and root-mean-square differences of maps."""
    area = climate["area_weight"].values
    pairs = {
        "precipitation": (climate["prec"].values, monthly["pr"].values * DAY, "mm day-1"),
        "near-surface air temperature": (climate["t0"].values, monthly["tas"].values, "K"),
        "sea-level pressure": (
            climate["psl"].values.mean(axis=0)[None] / 100,
            seasonal["psl"].sel(season="ANN").values[None] / 100, "hPa"),
    }  # fmt: skip
    rows = {}
    for name, (model, observed, units) in pairs.items():
        difference = (model - observed).mean(axis=0)
        several = len(model) > 1
        rows[name] = {
            "units": units,
            "model": float(np.sum(model.mean(axis=(0, -1)) * area)),
            "observed": float(np.sum(observed.mean(axis=(0, -1)) * area)),
            "bias": float(np.sum(difference.mean(axis=-1) * area)),
            "annual zonal": rms(difference.mean(axis=-1), area),
            "annual grid": rms(difference, area[:, None]),
            "monthly zonal": rms((model - observed).mean(axis=-1), area) if several else None,
        }
    return rows


def regions(climate: xr.Dataset) -> dict[str, Any]:
    """Return annual means of regions beside CERES and ERA5."""
    content = json.loads(data_path("regional_means.json").read_text())
    latitude, area = climate["lat"].values, climate["area_weight"].values
    rows = {}
    for name, (terms, units) in REGIONAL.items():
        known = content["variables"][name]
        zonal = sum(k * climate[field].values.mean(axis=(0, -1)) for field, k in terms.items())
        for region, (south, north) in content["regions_latitude"].items():
            weight = area * ((latitude >= south) & (latitude <= north))
            model = float(np.sum(zonal * weight) / np.sum(weight))
            observed = known["values"]["ALL"][region]
            rows[f"{known['longname']}, {region}"] = {
                "units": units, "source": known["dataset"], "model": model,
                "observed": observed["mean"], "bias": model - observed["mean"],
                "interannual": observed["std"]}  # fmt: skip
    return rows


def with_sea_level_pressure(climate: xr.Dataset) -> xr.Dataset:
    """Return the climatology with `psl` [Pa], from monthly means."""
    pressure = sea_level_pressure(
        100 * climate["ps"].values, climate["t0"].values, climate["surface_height"].values)
    return climate.assign(psl=(("month", "lat", "lon"), pressure))


def compare(climate: xr.Dataset, reference: xr.Dataset, path: Path) -> dict[str, Any]:
    """Return biases and differences from the observations of a file, and of those beside it.

    Raises
    ------
    ValueError
        If they are on other points.
    """
    beside = path.parent / SEASONAL
    with xr.open_dataset(beside if beside.exists() else data_path(SEASONAL)) as file:
        seasonal = file.load()
    for data in (reference, seasonal):
        check_grid(climate, data)
    climate = with_sea_level_pressure(climate)
    return {
        "maps": maps(climate, reference, seasonal),
        "sections": sections(climate, seasonal),
        "regions": regions(climate),
    }


def report(summary: dict[str, Any]) -> str:
    """Return all tables as markdown."""
    table = lambda head, rows: markdown(  # noqa: E731
        [head, *next(iter(rows.values()))], ([key, *line.values()] for key, line in rows.items()))
    low, high = (x / 100 for x in SECTION_RANGE)
    return "\n".join([
        f"# {summary['name']}: {summary['years']} years beside observations\n",
        "## Maps\n",
        table("ERA5", summary["maps"]),
        f"## Annual zonal means from {low:g} to {high:g} hPa\n",
        "Interannual: standard deviation of single observed years.\n",
        table("ERA5", summary["sections"]),
        "## Regions\n",
        "Fluxes are positive downward.\n",
        table("", summary["regions"]),
    ])  # fmt: skip
