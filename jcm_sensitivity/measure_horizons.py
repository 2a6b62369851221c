"""Measures the usable windows by type of variable that `default_horizons` holds."""

from collections.abc import Callable
from typing import Any

import xarray as xr

from jcm.initial import default_inputs
from jcm.model import build_model
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.model_horizon import horizon
from jcm_sensitivity.names import TOLERANCE
from jcm_sensitivity.periods import last
from jcm_sensitivity.regions import REGIONS
from jcm_sensitivity.targets import mean

#: What was measured: type of variable -> variable and level.
MEASURED: dict[str, tuple[str, int | None]] = {
    "precipitation": ("precipitation_flux", None),
    "temperature": ("air_temperature", -1),
    "humidity": ("specific_humidity", -1),
    "wind": ("eastward_wind", -2),
    "pressure": ("surface_air_pressure", None),
    "radiation": ("toa_outgoing_longwave_flux", None),
    "heat_flux": ("surface_upward_latent_heat_flux", None),
}
#: How: grid, region, input, amplitude [K], initial states and days between them, leads [days].
GRID, REGION, INPUT = "T21L8", "tropical_pacific", "forcing.sea_surface_temperature"
AMPLITUDE, STATES, SPACING = 0.5, 8, 5
LEADS = (1, 2, 3, 4, 5, 6, 8, 10)

Progress = Callable[[str, int, int], None]


def measure_default_horizons(*, progress: Progress | None = None) -> dict[str, Any]:
    """Measure the table, in a few minutes.

    Parameters
    ----------
    progress
        Called with `exact` or `smooth`, the number of initial states done, and of all.
    """
    table: dict[str, Any] = {"conditions": {
        "grid": GRID, "start": "2000-01-01", "states": STATES, "days_between_states": SPACING,
        "input": INPUT, "region": REGION, "amplitude": AMPLITUDE, "two_sided": True,
        "target": "mean over the region on the last day", "leads": list(LEADS),
        "tolerance": TOLERANCE}}  # fmt: skip
    for kind in ("exact", "smooth"):
        table[kind] = _rows(_measure(kind, progress or (lambda kind, done, count: None)))
    return table


def _measure(kind: str, progress: Progress) -> xr.Dataset:
    model = build_model(GRID, smooth=kind == "smooth")
    states = initial_states(model, default_inputs(model), STATES, SPACING)
    targets = [mean(name, region=REGION, level=level, days=last(1))
               for name, level in MEASURED.values()]  # fmt: skip
    return horizon(
        model, states, targets, wrt=[INPUT], leads=LEADS, amplitudes=[AMPLITUDE],
        direction=REGIONS[REGION], progress=lambda done, count: progress(kind, done, count))


def _rows(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    rows = {}
    for i, kind in enumerate(MEASURED):
        at = dataset.isel(input=0, target=i, amplitude=0)
        rows[kind] = {
            "days": float(at["usable_window_days"]),
            "low": float(at["usable_window_days_low"]),
            "high": float(at["usable_window_days_high"]),
            "at_least": bool(at["usable_window_days_at_least"]),
            "median_ratio": [round(float(x), 3) for x in at["ratio"].median("state")],
        }
    return rows
