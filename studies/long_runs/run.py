"""Long runs: does the model keep its mass and its climate, and do all its forms survive?

    python studies/long_runs/run.py [CASE ...] [--smoke]

Cases are listed by `--help`; default all. A killed case goes on where it stopped:
`results/CASE/` keeps the means of every window and the last state. Writes `summary.json` and
`summary.md` (all cases that have been run) and `figures/thirty_years.png`.
"""

import argparse
import calendar
import csv
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import matplotlib
import numpy as np

matplotlib.use("Agg")
import layer_columns
import matplotlib.pyplot as plt
from reports import TRENDS, annual_means, case_table, trends

import jcm
from jcm.constants import DAY, DAYS_PER_YEAR
from jcm.files import replacing, write_text
from jcm.model import Model
from jcm.restart import Restart, identity, newest_restart, write_restart
from jcm.simulate import compile_window
from jcm.state import Columns

HERE = Path(__file__).parent
START_YEAR = 2000
#: Days between two looks at the state, and in a window where these are not months.
LOOK = 5
#: Means over time of these variables, by what the summary calls them, with a factor.
MEANS = {
    "absorbed_sunlight_W_m-2": ("toa_net_downward_shortwave_flux", 1.0),
    "outgoing_longwave_W_m-2": ("toa_outgoing_longwave_flux", 1.0),
    "precipitation_mm_day-1": ("precipitation_flux", DAY),
    "evaporation_mm_day-1": ("water_evapotranspiration_flux", DAY),
    "cloud_cover": ("cloud_area_fraction", 1.0),
    "near_surface_temperature_K": ("near_surface_air_temperature", 1.0),
    "sea_surface_temperature_K": ("sea_surface_temperature", 1.0),
}
#: Wind above which a run counts as blowing up although it is finite [m s-1]; chosen here.
STRONGEST_WIND = 200.0


class Case(NamedTuple):
    """What is run, and for how long."""

    grid: str
    #: Days in the windows; each gives one row of means.
    windows: tuple[int, ...]
    options: Mapping[str, Any] = MappingProxyType({})
    state: str = "spun-up"
    forcing: str = "packaged"


class Prepared(NamedTuple):
    """A model with its inputs and the compiled program."""

    model: Model
    inputs: jcm.Inputs
    program: Any
    compile_seconds: float


def months(years: int) -> tuple[int, ...]:
    """Return the days in the months of so many years."""
    return tuple(
        calendar.monthrange(START_YEAR + month // 12, month % 12 + 1)[1]
        for month in range(12 * years))


SIXTY = (LOOK,) * 12
CASES = {
    "thirty_years": Case("T31L8", months(30)),
    "year_T21": Case("T21L8", months(1)),
    "year_T42": Case("T42L8", months(1)),
    "T63": Case("T63L8", SIXTY),
    "dinosaur": Case("T31L8", SIXTY, {"dynamics": "dinosaur"}),
    "aquaplanet": Case("T31L8", SIXTY, state="rest", forcing="aquaplanet"),
    "slab_ocean": Case("T31L8", SIXTY, {"sea": "slab"}),
    "sppt": Case("T31L8", SIXTY, {"stochastic_perturbation": "on"}),
    "layers16": Case(
        "T31", SIXTY, {"half_levels": layer_columns.split_levels().half}, state="rest"),
}  # fmt: skip
#: The case that integrates nothing.
COLUMNS = "layers16_columns"
#: What the short form runs; the other cases differ in a grid or an option.
SMOKE = ("sppt", "layers16", COLUMNS)


def prepare(case: Case) -> Prepared:
    """Build the model, make its inputs and compile."""
    model = jcm.build_model(case.grid, **case.options)
    start = f"{START_YEAR}-01-01"
    forcing = None
    if case.forcing == "aquaplanet":
        forcing = jcm.aquaplanet_forcing(
            model.grid, start=start, gravity=model.constants.gravity)
    inputs = jcm.default_inputs(model, start=start, state=case.state, forcing=forcing)
    began = time.perf_counter()
    names = [name for name, _ in MEANS.values()]
    program = compile_window(model, inputs, observe=names)
    return Prepared(model, inputs, program, time.perf_counter() - began)


@eqx.filter_jit
def atmosphere(model: Model, inputs: jcm.Inputs) -> Columns:
    """Return the atmosphere on the grid at the time of the state."""
    widths = model.physics.widths(inputs.parameters)
    ground = model.coupler.ground(inputs.forcing, model.transform, inputs.parameters, widths)
    return model.columns(inputs.state.previous, ground)


def global_state(model: Model, columns: Columns) -> dict[str, float]:
    """Return integrals over the globe in float64: mass, water, heat, motion."""
    area = model.grid.quadrature_weight / 2 / model.grid.nlon
    c = model.constants
    u, v, t, q, pressure = (np.asarray(x, float) for x in (
        columns.eastward_wind, columns.northward_wind, columns.temperature,
        columns.specific_humidity, columns.surface_pressure))
    pressure = pressure * c.reference_pressure
    mass = lambda x: np.einsum(  # noqa: E731
        "k,kij,ij,j->", model.levels.thickness, x, pressure, area) / c.gravity
    mean = float(np.einsum("ij,j->", pressure, area))
    return {
        "surface_pressure_Pa": mean,
        "water_kg_m-2": float(mass(q)),
        "air_temperature_K": float(mass(t)) * c.gravity / mean,
        "kinetic_energy_MJ_m-2": float(mass(u**2 + v**2)) / 2e6,
        "strongest_wind_m_s-1": float(np.sqrt(np.max(u**2 + v**2))),
    }


def run_window(
    prepared: Prepared, state: jcm.State, days: int, look: float
) -> tuple[jcm.State, dict[str, float]]:
    """Integrate a window in pieces of at most `look` days; return the state and a row of means."""
    model, inputs, program, _ = prepared
    area = model.grid.quadrature_weight / 2 / model.grid.nlon
    sums, winds, left = {}, [], round(days * model.steps_per_day)
    whole, began = left, time.perf_counter()
    while left:
        steps = min(left, round(look * model.steps_per_day))
        state, fields = program(model, inputs.with_state(state), steps)
        row = global_state(
            model, jax.block_until_ready(atmosphere(model, inputs.with_state(state))))
        winds.append(row.pop("strongest_wind_m_s-1"))
        for name, (variable, factor) in MEANS.items():
            field = np.asarray(fields[variable], float)
            row[name] = factor * float(np.einsum("ij,j->", field, area))
        sums = {name: sums.get(name, 0.0) + x * steps / whole for name, x in row.items()}
        left -= steps
    return state, sums | {
        "strongest_wind_m_s-1": float(np.max(winds)), "seconds": time.perf_counter() - began}


def integrate(
    prepared: Prepared, windows: Sequence[int], folder: Path, look: float = LOOK
) -> list[dict[str, float]]:
    """Integrate the windows that are missing, and return the rows of all."""
    model, inputs = prepared.model, prepared.inputs
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum(windows)
    edges = tuple(int(day * model.steps_per_day) for day in (0, *ends))
    identified = identity(model, inputs)
    found = newest_restart(folder, edges, identified, inputs.state)
    done, state = (0, inputs.state) if found is None else (found.outputs, found.state)
    # The state is written after the row: after a kill in between the window is made again.
    rows = read_rows(folder / "means.csv")[:done]
    shown = time.monotonic()
    for number in range(done, len(windows)):
        state, row = run_window(prepared, state, windows[number], look)
        rows.append({"day": float(ends[number])} | row)
        write_rows(folder / "means.csv", rows)
        if not survived(row):
            break
        write_restart(folder, identified, Restart(
            number + 1, edges[number + 1], row["strongest_wind_m_s-1"], state))
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            left = np.mean([r["seconds"] / w for r, w in zip(rows, windows, strict=False)])
            print(f"day {ends[number]} of {ends[-1]}, about "
                  f"{left * (ends[-1] - ends[number]) / 60:.1f} minutes left", flush=True)
    return rows


def survived(row: dict[str, float]) -> bool:
    """Tell whether everything is finite and no wind is absurd."""
    finite = all(np.isfinite(x) for x in row.values())
    return finite and row["strongest_wind_m_s-1"] < STRONGEST_WIND


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of means, none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: float(x) for name, x in row.items()} for row in csv.DictReader(file)]


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Write all rows of means."""
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summarise(case: Case, prepared: Prepared, rows: list[dict[str, float]]) -> dict:
    """Return what the case says: survival, speed, global means, and trends of long runs."""
    model = prepared.model
    wanted, reached = float(np.sum(case.windows)), rows[-1]["day"]
    fine = all(survived(row) for row in rows) and reached == wanted
    half = rows[len(rows) // 2 :]
    names = [n for n in rows[0] if n not in ("day", "seconds", "strongest_wind_m_s-1")]
    result = {
        "model": model.name, "dynamics": type(model.dynamics).__name__,
        "time_step": model.time_step, "start": case.state, "days": reached,
        "finite": all(survived(row) for row in rows),
        "strongest_wind_m_s-1": round(max(row["strongest_wind_m_s-1"] for row in rows), 2),
        "compile_seconds": round(prepared.compile_seconds, 1),
        "simulated_years_per_day": round(
            reached / DAYS_PER_YEAR / (sum(row["seconds"] for row in rows) / DAY), 1),
        # Water has no weight in this model: surface pressure is the mass of the air.
        "surface_pressure_change_Pa": round(
            rows[-1]["surface_pressure_Pa"] - rows[0]["surface_pressure_Pa"], 3),
        "means_of_the_second_half": {
            name: round(float(np.mean([row[name] for row in half])), 5) for name in names},
    }  # fmt: skip
    if len(rows) >= 20 * 12:
        result["trends_of_the_last_20_years"] = found = trends(annual_means(rows))
        fine = fine and all(row["verdict"] == "PASS" for row in found.values())
    return {"passed": bool(fine)} | result


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw annual means and the trend of the last twenty years."""
    annual = annual_means(rows)
    found = trends(annual)
    years = START_YEAR + 0.5 + np.arange(len(annual["day"]))
    last = np.arange(len(years))[-20:]
    figure, axes = plt.subplots(4, 2, figsize=(11, 10), sharex=True, layout="constrained")
    for ax, name in zip(axes.flat, TRENDS, strict=False):
        slope, error = found[name]["per_decade"], found[name]["standard_error"]
        line = annual[name][last].mean() + slope / 10 * (years[last] - years[last].mean())
        ax.plot(years, annual[name], "o-", ms=3, lw=1)
        ax.plot(years[last], line, "C3", lw=1)
        ax.set_title(f"{name}: {slope:.2g} +- {error:.1g} per decade", fontsize=9)
        ax.ticklabel_format(useOffset=False)
    for ax in list(axes.flat)[len(TRENDS) :]:
        ax.remove()
    axes[-2, -1].tick_params(labelbottom=True)
    figure.suptitle("Annual global means; red: trend of the last 20 years")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def run_case(name: str) -> dict:
    """Run a case, or what is missing of it, and return its summary."""
    if name == COLUMNS:
        return layer_columns.compare()
    case, folder = CASES[name], HERE / "results" / name
    prepared = prepare(case)
    rows = integrate(prepared, case.windows, folder)
    result = summarise(case, prepared, rows)
    if "trends_of_the_last_20_years" in result:
        draw(rows, HERE / "figures" / f"{name}.png")
    return result


def smoke_case(name: str) -> dict:
    """Run two days of a case at T21, with a break between them; keep no file."""
    if name == COLUMNS:
        return layer_columns.compare()
    grid = "T21L8" if CASES[name].grid.endswith("L8") else "T21"
    case = CASES[name]._replace(grid=grid, windows=(1, 1))
    prepared = prepare(case)
    with tempfile.TemporaryDirectory() as place:
        first = integrate(prepared, case.windows[:1], Path(place), look=0.5)
        rows = integrate(prepared, case.windows, Path(place), look=0.5)
    assert rows[0] == first[0], "a run that goes on changed what it had written"
    return summarise(case, prepared, rows)


def report(summary: dict) -> str:
    """Return all results as Markdown."""
    cases = {name: found for name, found in summary.items() if name != COLUMNS}
    text = case_table(cases) if cases else ""
    if COLUMNS in summary:
        text += "\n### Sixteen layers on the reference columns\n\n"
        text += layer_columns.table(summary[COLUMNS])
    return text


def main() -> None:
    """Run cases, write what they say."""
    known = (*CASES, COLUMNS)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(known))
    parser.add_argument("--smoke", action="store_true",
                        help=f"two days at T21, no files kept; default {', '.join(SMOKE)}")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in known]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; available: {', '.join(known)}")
    if arguments.smoke:
        names = arguments.cases or SMOKE
        print(report({name: smoke_case(name) for name in names}))
        return
    path = HERE / "summary.json"
    for name in arguments.cases or known:
        print(name, flush=True)
        result = run_case(name)
        summary = json.loads(path.read_text()) if path.exists() else {}
        summary = {k: (summary | {name: result})[k] for k in known if k in summary or k == name}
        write_text(path, json.dumps(summary, indent=1) + "\n")
        write_text(HERE / "summary.md", "<!-- written by run.py -->\n\n" + report(summary))
        print(report({name: result}), flush=True)


if __name__ == "__main__":
    main()
