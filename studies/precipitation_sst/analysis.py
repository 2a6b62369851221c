"""Numbers made from the ensembles: how much, from where, how sure, and by which water.

Lead 1 is the last day of the run, on which the target is taken: `by day` is the derivative to a sea
that is warmer on one day, that many days back; `lasting` that to a sea that is warmer since then,
the sum over the days up to the lead.
"""

import itertools
import warnings
from typing import Any

import numpy as np
import xarray as xr
from ensembles import PATTERNS, SST, STEP, Files, Plan, boxes

from jcm.constants import DAY
from jcm.model import Model
from jcm_sensitivity.ensembles import EnsembleSensitivity, ensemble_map
from jcm_sensitivity.regions import REGIONS

#: Largest distance of the rings around a box [km]; the last one has no end.
RINGS = (1000.0, 2000.0, 4000.0)
#: Days over which the response has settled, from the last but so many.
SETTLED = 5
KM = 1e-3


def gradients(files: list[Files], target: int) -> np.ndarray:
    """Return derivatives to the sea in each cell [mm day-1 K-1]; (member, lead, lon, lat)."""
    return DAY * np.stack([each["gradient"][target, ::-1] for each in files]).astype(float)


def map_of(
    model: Model, by_cell: np.ndarray, value: np.ndarray, words: str
) -> xr.Dataset:
    """Return mean, spread and significance per area, of (member, lon, lat) in mm day-1 K-1."""
    flux = "kg m-2 s-1"
    return ensemble_map(model, EnsembleSensitivity(
        value, {SST: by_cell / DAY}, {SST: f"{flux} K-1"}, {SST: "K"}, flux, words))  # fmt: skip


# ---- how much, against finite changes -----------------------------------------------------------


def by_lead(files: list[Files], target: int, box: np.ndarray) -> dict[str, np.ndarray]:
    """Return the lasting sensitivity, all, inside and outside the box; (member, lead)."""
    lasting = np.cumsum(gradients(files, target), axis=1)
    total, inside = lasting.sum(axis=(2, 3)), (lasting * box).sum(axis=(2, 3))
    return {"total": total, "inside": inside, "outside": total - inside}


def agreement(
    plan: Plan, model: Model, gradient: list[Files], finite: list[Files], target: int
) -> list[dict[str, Any]]:
    """Return integrals of gradients beside central differences, by pattern and lead."""
    # Finite changes are run for the first members only.
    lasting = np.cumsum(gradients(gradient[: len(finite)], target), axis=1)
    values = DAY * np.stack([each["values"] for each in finite])[..., target].astype(float)
    rows = []
    for i, pattern in enumerate((np.ones(model.grid.shape), boxes(model).sum(axis=0))):
        for j, lead in enumerate(plan.leads):
            predicted = (lasting[:, lead - 1] * pattern).sum(axis=(1, 2))
            warm, cool = values[:, i, j, 0], values[:, i, j, 1]
            found = (warm - cool) / (2 * STEP)
            rows.append({
                "sea": PATTERNS[i], "lead": lead,
                "gradient": _estimate(predicted), "difference": _estimate(found),
                "ratio_of_means": _round(predicted.mean() / found.mean()),
                "correlation_over_members": _round(np.corrcoef(predicted, found)[0, 1])})
    return rows


def _estimate(values: np.ndarray) -> dict[str, float]:
    """Return mean, standard deviation between members, and standard error of the mean."""
    spread = float(values.std(ddof=1))
    return {"mean": _round(values.mean()), "spread": _round(spread),
            "standard_error": _round(spread / np.sqrt(len(values)))}  # fmt: skip


def _round(value: Any) -> float:
    return float(f"{float(value):.3g}")


# ---- from where ---------------------------------------------------------------------------------


def distance(model: Model, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distance to a box, and position east and north of it [km]; (lon, lat).

    Along parallel and meridian to the nearest edge, 0 inside; the distance is that on the
    plane, which is good enough for rings.
    """
    region, grid = REGIONS[name], model.grid
    a = 6371.0 * np.deg2rad(1.0)
    middle = region.west + region.width / 2
    along = (grid.longitude - middle + 180) % 360 - 180
    beyond = np.sign(along) * np.maximum(np.abs(along) - region.width / 2, 0)
    north = np.maximum(grid.latitude - region.north, 0) - np.maximum(
        region.south - grid.latitude, 0)
    # The parallel on which the box is nearest.
    nearest = np.clip(grid.latitude, region.south, region.north)
    east = a * beyond[:, None] * np.cos(np.deg2rad((nearest + grid.latitude) / 2))
    north = np.broadcast_to(a * north, east.shape)
    return np.hypot(east, north), east, north


def whereabouts(model: Model, by_cell: np.ndarray, name: str) -> dict[str, Any]:
    """Return where a mean sensitivity lies, with signs and without.

    Parameters
    ----------
    by_cell
        Mean over members of the derivative to each cell; (lon, lat).
    """
    away, east, north = distance(model, name)
    box = REGIONS[name].fraction(model.grid)
    edges = (0.0, *RINGS, np.inf)
    rings = [((away > low) & (away <= high)) * (1 - box)
             for low, high in itertools.pairwise(edges)]
    # What is left of cells that the edge of the box cuts belongs to the first ring.
    rings[0] = rings[0] + (away <= 0) * (1 - box)
    size = np.abs(by_cell)
    names = ["inside", *(f"within_{x:g}_km" for x in RINGS), "farther"]
    centre = lambda x: (size * x).sum() / size.sum()  # noqa: E731
    return {
        "integral_mm_day-1_K-1": {
            n: _round((by_cell * part).sum())
            for n, part in zip(names, (box, *rings), strict=True)},
        "part_of_size": {
            n: _round((size * part).sum() / size.sum())
            for n, part in zip(names, (box, *rings), strict=True)},
        "west_part_of_size_outside": _round(
            (size * (east < 0)).sum() / (size * (east != 0)).sum()),
        "mean_position_east_km": _round(centre(east)),
        "mean_position_north_km": _round(centre(north)),
        "mean_distance_km": _round(centre(away)),
    }


def certainty(maps: xr.Dataset, box: np.ndarray) -> dict[str, float]:
    """Return how much of a map is significant, and its signal-to-noise ratio in the box."""
    field = "sensitivity_to_sea_surface_temperature"
    area = maps["cell_area"].values
    mean, marked = np.abs(maps[f"{field}_mean"].values) * area, maps[f"{field}_significant"].values
    ratio = maps[f"{field}_signal_to_noise"].values
    # A cell belongs to the box with its largest part.
    inside = (box.T > 0.5) & (mean > 0)
    return {
        "cells_significant": int(marked.sum()),
        "part_of_size_that_is_significant": _round((mean * marked).sum() / mean.sum()),
        "median_signal_to_noise_inside": _round(np.median(ratio[inside])),
        "median_signal_to_noise_outside": _round(np.median(ratio[~inside & (mean > 0)])),
    }


# ---- by which water -----------------------------------------------------------------------------


def mean_change(files: list[Files], target: str, variable: str) -> np.ndarray:
    """Return the mean response to 1 K in a box; (day, ...)."""
    return np.mean([each[f"{target}.change.{variable}"] for each in files], axis=0)


def water(files: list[Files], target: str) -> dict[str, np.ndarray]:
    """Return the budget of water in the box for a sea that is 1 K warmer there [mm day-1].

    By member and day, without the last one: rain = evaporation + import - storage. The content at
    the end of a day is the mean of those of this day and the next; it starts unchanged.
    """
    rows = np.stack([each[f"{target}.water"] for each in files])
    evaporation, rain = DAY * rows[:, 0], DAY * rows[:, 1]
    content = rows[:, 2]
    at_ends = np.concatenate(
        [np.zeros_like(content[:, :1]), (content[:, 1:] + content[:, :-1]) / 2], axis=1)
    storage = np.diff(at_ends, axis=1)
    rain, evaporation = rain[:, :-1], evaporation[:, :-1]
    return {"rain": rain, "evaporation": evaporation, "storage": storage,
            "import": rain + storage - evaporation}  # fmt: skip


def box_mean(model: Model, field: np.ndarray, name: str) -> np.ndarray:
    """Return the mean over the box of fields (..., lon, lat)."""
    cells = REGIONS[name].fraction(model.grid) * model.grid.cell_area
    return (field * cells).sum(axis=(-2, -1)) / cells.sum()


def balance(model: Model, files: list[Files], target: str) -> xr.Dataset:
    """Return the mean over members of what `consistency` says of the responses."""
    start = f"{target}.balance."
    result = xr.Dataset(coords={
        "level": model.levels.centre, "lat": model.grid.latitude})
    for key in files[0]:
        if not key.startswith(start):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the tropics are left out: all NaN
            values = np.nanmean([each[key] for each in files], axis=0)
        name = key.removeprefix(start)
        dims = ("between",) if name.startswith("water") else ("day", "level", "lat")[: values.ndim]
        result[name] = dims, values
    days = np.arange(result.sizes["day"])
    return result.assign_coords(day=days + 0.5, between=days[1:].astype(float))


def explanation(model: Model, files: list[Files], target: str) -> dict[str, Any]:
    """Return the settled response to 1 K in the box: water, and what the air does."""
    budget = water(files, target)
    settled = {name: x[:, -SETTLED:].mean(axis=1) for name, x in budget.items()}
    change = lambda name: box_mean(model, mean_change(files, target, name), target)  # noqa: E731
    kinds = {kind: DAY * change(f"{kind}_precipitation_flux")[-SETTLED:].mean()
             for kind in ("convective", "large_scale")}  # fmt: skip
    air = change("air_temperature")[-SETTLED:].mean(axis=0)
    height = change("geopotential_height")[-SETTLED:].mean(axis=0)
    found = balance(model, files, target)
    shown = [0, 1, 4, -1] if len(found.day) > SETTLED else [0, 1, -1]
    geostrophic = {
        name: [_round(x) for x in found[f"extratropical_geostrophic_{name}"].values[shown]]
        for name in ("adjustment", "fraction")}
    return {
        "water_mm_day-1_settled": {name: _estimate(x) for name, x in settled.items()},
        "part_of_rain_from_import": _round(settled["import"].mean() / settled["rain"].mean()),
        "water_mm_day-1_first_day": {name: _round(x[:, 0].mean()) for name, x in budget.items()},
        "rain_by_kind_mm_day-1": {kind: _round(x) for kind, x in kinds.items()},
        "sensible_heat_W_m-2": _round(
            change("surface_upward_sensible_heat_flux")[-SETTLED:].mean()),
        "surface_pressure_Pa": _round(change("surface_air_pressure")[-SETTLED:].mean()),
        "air_temperature_K_top_to_bottom": [_round(x) for x in air],
        "geopotential_height_m_top_to_bottom": [_round(x) for x in height],
        "largest_hypsometric_residual_m": _round(found["largest_hypsometric_residual"].max()),
        "geostrophic_on_days_1_2_5_last": geostrophic,
        "water_residual_mm_day-1_largest": _round(np.abs(found["water_residual"]).max())
        if "water_residual" in found else None,
    }
