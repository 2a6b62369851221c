"""What each width does to the first day after it is switched on, from the same weather.

Two runs from one state stay close for so long: their difference tells the effect of a width with
hardly any noise, and of every single width at the cost of half a year of simulation.
"""

import json
import time
from pathlib import Path

import numpy as np
from climate import SHOWN
from plan import EXACT, Plan, build, widths_of
from ratios import states

import jcm
from jcm.files import write_text
from jcm.variables import VARIABLES

#: Global means that are looked at.
SCREENED = (
    "toa_outgoing_longwave_flux", "toa_net_downward_radiative_flux", "precipitation_flux",
    "deep_convection_frequency", "cloud_area_fraction", "air_temperature", "specific_humidity",
    "water_evapotranspiration_flux", "surface_net_downward_heat_flux",
)  # fmt: skip


def screen(plan: Plan, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return mean change and standard error over states, by width and variable."""
    path = folder / "screening.json"
    if path.is_file():
        return json.loads(path.read_text())
    model = build(plan.grid, True)
    members = [x for several in states(plan).values() for x in several[::2]]
    area = np.asarray(model.grid.quadrature_weight) / 2 / model.grid.nlon
    thickness = np.asarray(model.levels.thickness)

    def means(changes: dict[str, float]) -> np.ndarray:
        rows = []
        for member in members:
            inputs = jcm.insert(member, widths_of(plan, EXACT) | changes)
            _, fields = jcm.simulate(model, inputs, days=plan.screening_days)
            row = []
            for name in SCREENED:
                x = np.asarray(fields[name], float)[0]
                x = np.einsum("k,kij->ij", thickness, x) if x.ndim == 3 else x
                factor = SHOWN.get(VARIABLES[name].units, (1.0, ""))[0]
                row.append(factor * np.einsum("ij,j->", x, area))
            rows.append(row)
        return np.array(rows)

    begin, exact, found = time.perf_counter(), means({}), {}
    wide = widths_of(plan, "scale_1")
    for name, x in [*wide.items(), ("all", None)]:
        change = means(wide if x is None else {name: x}) - exact
        error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
        found[name] = {
            key: [float(m), float(e)]
            for key, m, e in zip(SCREENED, change.mean(axis=0), error, strict=True)}
    print(f"screening: {time.perf_counter() - begin:.0f} s", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found
