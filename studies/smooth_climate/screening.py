"""What each width does to the first day after it is switched on, from the same weather.

Two runs from one state stay close for so long: their difference tells the effect of a width with
hardly any noise, and of every single width at the cost of half a year of simulation.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from climate import SHOWN
from plan import EXACT, FIRST, SUGGESTED, Plan, build, means, widths_of
from ratios import states

import jcm
from jcm.files import write_text
from jcm.model import Model
from jcm.provenance import package_version
from jcm.results import claim, identify
from jcm.simulate import Inputs
from jcm.variables import VARIABLES

#: Global means that are looked at.
SCREENED = (
    "toa_outgoing_longwave_flux", "toa_net_downward_radiative_flux", "precipitation_flux",
    "deep_convection_frequency", "cloud_area_fraction", "air_temperature", "specific_humidity",
    "water_evapotranspiration_flux", "surface_net_downward_heat_flux",
)  # fmt: skip


def screen(plan: Plan, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return mean change and standard error over states, by width or setting, and variable."""
    wide = widths_of(plan, FIRST)
    cases = {name: {name: x} for name, x in wide.items()}
    cases |= {name: widths_of(plan, name) for name in (*plan.widths, SUGGESTED)}
    return changes(plan, cases, folder)


def changes(
    plan: Plan, cases: Mapping[str, Mapping[str, float]], folder: Path
) -> dict[str, dict[str, list[float]]]:
    """Return the same for some widths above 0, by name; those of a file if it has them."""
    same = ("grid", "ratio_starts", "states", "spacing_days", "screening_days")
    folder = claim(folder / "screening", identify(
        version=package_version(), **{name: getattr(plan, name) for name in same}))
    path = folder / "screening.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    missing = {name: widths for name, widths in cases.items()
               if found.get(name, {}).get("widths") != widths}  # fmt: skip
    if missing:
        model = build(plan.grid, True)
        members = [x for several in states(plan).values() for x in several[::2]]
        exact = _global_means(plan, model, members, widths_of(plan, EXACT))
    for name, widths in missing.items():
        change = _global_means(plan, model, members, widths_of(plan, EXACT) | widths) - exact
        error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
        found[name] = {"widths": dict(widths), "change": {
            key: [float(m), float(e)]
            for key, m, e in zip(SCREENED, change.mean(axis=0), error, strict=True)}}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(found, indent=1) + "\n")
    return {name: found[name]["change"] for name in cases}


def _global_means(
    plan: Plan, model: Model, members: list[Inputs], widths: Mapping[str, float]
) -> np.ndarray:
    """Return global means (member, variable)."""
    area = np.asarray(model.grid.quadrature_weight) / 2 / model.grid.nlon
    thickness = np.asarray(model.levels.thickness)
    rows = []
    for member in members:
        _, fields = means(plan, True, jcm.insert(member, widths), plan.screening_days)
        row = []
        for name in SCREENED:
            x = fields[name].astype(float)
            x = np.einsum("k,kij->ij", thickness, x) if x.ndim == 3 else x
            factor = SHOWN.get(VARIABLES[name].units, (1.0, ""))[0]
            row.append(factor * np.einsum("ij,j->", x, area))
        rows.append(row)
    return np.array(rows)
