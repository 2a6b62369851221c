"""A folder with all files of a calibration of four parameters, made up."""

import numpy as np
import xarray as xr

from jcm.grid import make_grid
from jcm_calibrate.reports import records

LABELS = (
    "parameters.convection.relaxation_time", "parameters.convection.entrainment",
    "parameters.clouds.threshold_of_relative_humidity", "parameters.<b>&sigma")
TRUTH = np.array([0.5, -1.0, 0.2, 1.2])
COVARIANCE = np.array([
    [0.10, 0.08, 0, 0], [0.08, 0.10, 0, 0], [0, 0, 0.90, 0.1], [0, 0, 0.1, 0.05]])
KIND = np.dtype([
    ("evaluation", int), ("kind", "U24"), ("iterate", float, (4,)), ("value", float),
    ("gradient_norm", float), ("cost", float), ("seconds", float)])  # fmt: skip


def history(count: int = 40) -> np.ndarray:
    rng, k = np.random.default_rng(0), np.arange(count)
    rows = np.zeros(count, KIND)
    rows["evaluation"], rows["kind"], rows["cost"] = k, "value and gradient", 3.6 * (k + 1)
    rows["value"] = 200 * np.exp(-k / 8) + 20 + rng.normal(size=count) ** 2
    rows["value"][7] = np.nan
    rows["iterate"] = TRUTH * (1 - np.exp(-k / 8))[:, None]
    return rows


def fit_record(**changes) -> records.FitRecord:
    parameters = tuple(
        records.ParameterRecord(
            name=name, units="s", reference=3600.0, prior=(1800.0, 3600.0, 7200.0),
            bounds=(600.0, None), estimate=4321.0 + k, interval=(4000.0 + k, 4700.0 + k),
            identified=k != 2, width=0.95 if k == 2 else 0.3, source="chosen here")
        for k, name in enumerate(LABELS))
    rows = ({"name": "olr & <clouds>", "observed": "outgoing longwave, tropics", "data": "24",
             "units": "W m-2", "error": "3", "source": "CERES"},)  # fmt: skip
    return records.FitRecord(**{
        "title": "Twin <experiment>", "method": "lbfgs", "start_value": 220.0, "value": 20.5,
        "converged": True, "message": "The gradient is below its tolerance.",
        "parameters": parameters, "observations": rows,
        "cost": {"model days": 144.0, "wall time [s]": 61.5, "compilations": 1.0},
        "provenance": {"version": "0.1.0", "parameters_sha256": "ab" * 32}} | changes)


def identifiability() -> dict:
    values, vectors = np.linalg.eigh(COVARIANCE)
    values = 1 / values - 1
    return {"labels": list(LABELS), "eigenvalues": values, "directions": vectors.T,
            "identified": [True, True, False, True],
            "correlated": [[LABELS[0], LABELS[1], 0.96]]}  # fmt: skip


def posterior(chains: int = 4, draws: int = 250) :
    z = np.random.default_rng(1).multivariate_normal(TRUTH, COVARIANCE, size=(chains, draws))
    return xr.DataTree.from_dict({
        "posterior": xr.Dataset(
            {"z": (("chain", "draw", "parameter"), z)}, {"parameter": list(LABELS)}),
        "sample_stats": xr.Dataset(
            {"diverging": (("chain", "draw"), np.zeros((chains, draws), bool))})})


def predictions(count: int = 24) -> xr.Dataset:
    rng = np.random.default_rng(2)
    return xr.Dataset(
        {"observed": ("datum", np.full(count, 240.0)), "error": ("datum", np.full(count, 3.0)),
         "before": ("datum", 240 + 9 * rng.normal(size=count)),
         "after": ("datum", 240 + 3 * rng.normal(size=count)),
         "draws": (("draw", "datum"), 240 + 3 * rng.normal(size=(50, count)))},
        {"label": ("datum", [f"outgoing longwave, tropics, month {k}" for k in range(count)])})


def bias(scale: float = 1.0) -> xr.DataArray:
    grid = make_grid("T21")
    lon, lat = np.meshgrid(np.deg2rad(grid.longitude), np.deg2rad(grid.latitude))
    return xr.DataArray(
        scale * (5 * np.cos(3 * lon) * np.cos(lat) ** 3 + np.sin(lat)), dims=("lat", "lon"),
        coords={"lat": grid.latitude, "lon": grid.longitude},
        attrs={"units": "W m-2", "long_name": "outgoing longwave radiation"})


def index(factor: float = 1.0) -> xr.Dataset:
    regions = ["Global", "Tropical", "North Midlat", "South Midlat"]
    values = factor * np.arange(1.0, 9.0).reshape(1, 2, 4)
    return xr.Dataset(
        {"index": (("variable", "season", "region"), values),
         "cmip6": (("variable", "season", "region"), np.full((1, 2, 4), 14.135))},
        {"variable": ["ua"], "season": ["DJF", "ANN"], "region": regions,
         "scale": ("variable", ["variance of single years, as for CMIP6"])},
        {"differences": "other grid"})


def write_all(folder) -> None:
    records.write_fit(folder, fit_record())
    records.write_history(folder, history(), LABELS)
    records.write_identifiability(folder, identifiability())
    records.write_posterior(folder, posterior())
    records.write_table(folder, records.PREDICTIONS, predictions())
    records.write_table(folder, records.BIAS_MAPS, xr.Dataset(
        {"olr_before": bias(), "olr_after": bias(0.5)}))
    records.write_table(folder, records.INDEX_BEFORE, index(2.0))
    records.write_table(folder, records.INDEX_AFTER, index())
    (folder / records.EXPERIMENT).write_text('title = "<twin>"\n')
