"""A climatology beside that of the reference code, and the noise of finite samples.

The file of the reference holds, beside each mean, half the difference of two independent halves of
its years (`X_hd`). Root-mean-square differences of a model that has the climate of the reference
are as large as those between the halves, but for the number of years.
"""

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from climate import BY_YEAR, FIELDS

from jcm.constants import DAY, EARTH
from jcm.grid import make_grid
from jcm.transform import Transform

#: Differences up to this multiple of the noise count as noise.
ALLOWED = 1.5
#: Fields whose annual zonal mean is judged, with the range of latitude [degrees].
JUDGED = {"u": 90.0, "t": 90.0, "q": 90.0, "prec": 90.0, "olr": 90.0, "ps": 75.0}
#: Total wavenumbers whose power shows ringing, and what the model may have over the reference.
RINGING, RINGING_ALLOWED = (21, 30), 1.2
#: Land fraction from which a cell is land where precipitation over land is left out.
LAND = 0.5
#: Latent heat of the reference [J kg-1].
LATENT_HEAT = 2.501e6
KINDS = ("annual zonal", "annual grid", "monthly zonal")


def kind_of(reference: xr.Dataset, path: str | Path) -> str:
    """Tell whether a file is a `climatology` of the reference code or holds `observations`.

    Raises
    ------
    ValueError
        If it is neither.
    """
    names = set(reference.data_vars)
    if {"u", "t", "q", "prec", "olr", "ps", "u_hd", "area_weight", "dsigma"} <= names:
        return "climatology"
    if {"tas", "pr", "gw"} <= names:
        return "observations"
    raise ValueError(
        f"{path} is no reference: expected a climatology of the public code of SPEEDY (u, t, q, "
        "prec, olr, ps with X_hd, area_weight, dsigma) or observations (tas, pr, gw); "
        f"got {', '.join(sorted(map(str, names))[:12])}")


def sample_size(reference: xr.Dataset) -> int:
    """Return how many years the reference has; two halves of equal size.

    Raises
    ------
    ValueError
        If its attribute `sample` does not say so.
    """
    match = re.search(r"(\d+) model years", reference.attrs.get("sample", ""))
    if not match:
        raise ValueError(
            "the reference does not say how long it is; expected an attribute sample='N model "
            f"years ...', got {reference.attrs.get('sample')!r}")
    return int(match[1])


def check_grid(points: xr.Dataset, reference: xr.Dataset) -> None:
    """Refuse a reference on other points than those of a model.

    Raises
    ------
    ValueError
        If numbers of points or layers differ, or latitudes by more than 0.1 degrees.
    """
    dims = [name for name in ("level", "lat", "lon") if name in reference.sizes]
    sizes = [{name: x.sizes[name] for name in dims} for x in (points, reference)]
    if sizes[0] != sizes[1] or not np.allclose(points["lat"], reference["lat"], atol=0.1):
        raise ValueError(
            f"the model has {sizes[0]} points, the reference {sizes[1]}; run with --grid T30L8 or "
            "T31L8, or give a reference on the points of the model")


def weights(dataset: xr.Dataset, values: np.ndarray, latitude: float = 90.0) -> np.ndarray:
    """Return the weights of a field (month, ..., lat, lon): area, and mass if it has layers."""
    area = dataset["area_weight"].values * (np.abs(dataset["lat"].values) <= latitude)
    return area if values.ndim == 3 else dataset["dsigma"].values[:, None] * area


def rms(values: np.ndarray, weight: np.ndarray) -> float:
    """Return the root of the weighted mean square; weights fit the last axes of `values`."""
    weight = np.broadcast_to(weight, values.shape)
    return float(np.sqrt(np.sum(weight * values**2) / np.sum(weight)))


def statistics(difference: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Return root-mean-square differences by kind.

    Parameters
    ----------
    difference
        (month, ..., lat, lon).
    weight
        (..., lat), see `weights`.
    """
    annual = difference.mean(axis=0)
    return {
        "annual zonal": rms(annual.mean(axis=-1), weight),
        "annual grid": rms(annual, weight[..., None]),
        "monthly zonal": rms(difference.mean(axis=-1), weight),
    }


def noise_factor(years: int, reference_years: int) -> float:
    """Return the expected difference from the reference over that of its halves.

    The mean of n independent years has variance s^2 / n; the halves differ by
    s^2 (2 / (n_ref / 2)), model and reference by s^2 (1 / n + 1 / n_ref).
    """
    return float(np.sqrt((1 / years + 1 / reference_years) / (4 / reference_years)))


def row(
    climate: xr.Dataset, reference: xr.Dataset, name: str, latitude: float = 90.0
) -> dict[str, dict[str, Any]]:
    """Return difference, noise and their ratio of one field, by kind."""
    years, reference_years = climate.sizes["year"], sample_size(reference)
    factor = noise_factor(years, reference_years)
    halves = 2 * reference[f"{name}_hd"].values.astype(float)
    weight = weights(reference, halves, latitude)
    found = statistics(climate[name].values - reference[name].values.astype(float), weight)
    noise = statistics(halves, weight)
    rows: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        expected = factor * noise[kind]
        ratio = found[kind] / expected if expected > 0 else None
        rows[kind] = {
            "rmse": found[kind], "halves": noise[kind], "noise": expected, "ratio": ratio,
            "passes": None if ratio is None else ratio <= ALLOWED}  # fmt: skip
    if years > 1:
        # The same from the years of the model: another estimate, where the noise is noisy.
        zonal = climate[name + BY_YEAR].values.mean(axis=-1)
        spread = rms(zonal.std(axis=0, ddof=1), weight)
        rows["annual zonal"]["noise_from_years"] = spread * float(
            np.sqrt(1 / years + 1 / reference_years))
    return rows


def global_mean(dataset: xr.Dataset, name: str) -> float:
    """Return the mean over globe, layers (by mass) and months."""
    values = dataset[name].values.astype(float)
    weight = weights(dataset, values)
    return float(np.sum(values.mean(axis=(0, -1)) * weight) / np.sum(weight))


def budget(means: dict[str, float]) -> dict[str, float]:
    """Return budgets of energy [W m-2] and water [mm day-1] from global means."""
    toa = means["tsr"] - means["olr"]
    latent = LATENT_HEAT * means["evap"] / DAY
    surface = means["ssr"] - means["slr"] - means["shf"] - latent
    return {
        "net at the top": toa,
        "net at the surface": surface,
        "residual": toa - surface,
        "latent heat flux": latent,
        "precipitation minus evaporation": means["prec"] - means["evap"],
    }


def spectral_power(field: np.ndarray) -> np.ndarray:
    """Return the mean square of a field (lat, lon), 96 x 48 points, by total wavenumber 0 to 30."""
    transform = Transform(make_grid("T30"), EARTH.radius)
    return _by_wavenumber(transform.analysis(jnp.asarray(field.T[:, None, :], float)))


def kinetic_energy(eastward: np.ndarray, northward: np.ndarray) -> np.ndarray:
    """Return the kinetic energy [m2 s-2] of winds (month, lat, lon) by total wavenumber 0 to 30.

    E_l = a^2 (|vorticity_l|^2 + |divergence_l|^2) / (2 l (l + 1)), Lambert, S. J. (1984): A global
    available potential energy - kinetic energy budget in terms of the two-dimensional wavenumber
    for the FGGE year. Atmos.-Ocean, 22, 265-282; the mean over the months.
    """
    grid = make_grid("T30")
    transform = Transform(grid, EARTH.radius)
    over_cosine = (
        transform.analysis(jnp.asarray(np.moveaxis(x, -1, 0) / grid.cos_latitude, float))
        for x in (eastward, northward))
    power = sum(_by_wavenumber(x) for x in transform.curl_and_divergence(*over_cosine))
    wavenumber = np.arange(31)
    return power * EARTH.radius**2 / (2 * np.maximum(wavenumber * (wavenumber + 1), 1))


def _by_wavenumber(spectrum: Any) -> np.ndarray:
    """Return the mean square by total wavenumber 0 to 30, the mean over the fields."""
    spectrum = np.asarray(spectrum, float)
    # The basis has unit norm on [-1, 1], so the mean square over the globe is half the sum.
    power = np.sum(spectrum**2, axis=1).mean(axis=1) * np.where(np.arange(31) == 0, 0.5, 1)[:, None]
    degree = np.arange(31)[:, None] + np.arange(spectrum.shape[-1])
    return np.array([power[degree == n].sum() for n in range(31)])


def sea_precipitation(dataset: xr.Dataset, land_fraction: np.ndarray) -> np.ndarray:
    """Return annual precipitation (lat, lon), 0 over land."""
    return np.where(land_fraction >= LAND, 0.0, dataset["prec"].values.astype(float).mean(axis=0))


def ringing(climate: xr.Dataset, reference: xr.Dataset) -> dict[str, Any]:
    """Return the power of short waves in precipitation over sea, beside that of the reference."""
    first, last = RINGING
    land = reference["fmask_l"].values
    power = [
        float(spectral_power(sea_precipitation(x, land))[first : last + 1].sum())
        for x in (climate, reference)
    ]
    ratio = power[0] / power[1]
    return {
        "wavenumbers": [first, last], "model": power[0], "reference": power[1], "ratio": ratio,
        "limit": RINGING_ALLOWED, "passes": ratio <= RINGING_ALLOWED}  # fmt: skip


def compare(climate: xr.Dataset, reference: xr.Dataset) -> dict[str, Any]:
    """Return the whole comparison: differences beside noise, means, budgets, the verdict."""
    check_grid(climate, reference)
    names = [name for name in FIELDS if f"{name}_hd" in reference]
    means = {
        label: {name: global_mean(data, name) for name in names}
        for label, data in (("model", climate), ("reference", reference))
    }
    judged = {}
    for name, latitude in JUDGED.items():
        line = row(climate, reference, name, latitude)["annual zonal"]
        judged[name] = {"latitude": latitude, "limit": ALLOWED * line["noise"]} | line
    short_waves = ringing(climate, reference)
    return {
        "reference_years": sample_size(reference),
        "judged": judged,
        "ringing": short_waves,
        "passes": all(line["passes"] for line in judged.values()) and short_waves["passes"],
        "rmse": {name: row(climate, reference, name) for name in names},
        "global_means": {
            name: {
                "units": FIELDS[name].units, "model": means["model"][name],
                "reference": means["reference"][name],
                "difference": means["model"][name] - means["reference"][name]}
            for name in names},
        "budget": {label: budget(means[label]) for label in means},
    }  # fmt: skip
