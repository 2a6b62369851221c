"""The benchmark of Held and Suarez (1994) for the dynamical core.

    python studies/held_suarez/run.py [--grid T42] [--levels 20] [--dynamics dinosaur] [--smoke]

A killed run goes on where it stopped: `results/NAME/` keeps the sums of every window and the last
state. Writes `summary.json` and `summary.md` (all configurations that have been run) and
`figures/NAME.png`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import jcm
from jcm.constants import DAY, DAYS_PER_YEAR
from jcm.files import replacing, write_text
from jcm.model import Model
from jcm.restart import Restart, identity, newest_restart, write_restart
from jcm.simulate import compile_window

HERE = Path(__file__).parent
#: Days between snapshots, and days in a window, after which the state is written.
EVERY, WINDOW = 0.25, 50
FIELDS = ("eastward_wind", "northward_wind", "air_temperature", "surface_air_pressure")
#: What makes the model's own dissipation that of the paper: no sponge in the top layer.
NO_SPONGE = {
    "parameters.diffusion.drag_time": 1e12, "parameters.diffusion.stratospheric_time": 1e12,
}  # fmt: skip
#: Size of the perturbation of the first temperatures, a spectrum with m > 0 [K].
PERTURBATION = 0.1
TROPICS = 15.0
PAPER = "Held and Suarez (1994)"
QUOTED = "as commonly quoted; bounds chosen here"


class Expected(NamedTuple):
    """A range, and where it comes from."""

    low: float
    high: float
    units: str
    source: str


#: The paper shows figures without a table. The central values are those that are commonly quoted
#: for them, not readings of the figures, and the widths of the ranges are chosen here.
EXPECTED = {
    "jet maximum": Expected(26, 34, "m s-1", f"{PAPER}, zonal wind: about 30; {QUOTED}"),
    "jet latitude": Expected(38, 50, "degree", f"{PAPER}, zonal wind: about 45; {QUOTED}"),
    "jet sigma": Expected(0.15, 0.35, "1", f"{PAPER}, zonal wind: about 0.25; {QUOTED}"),
    "tropical wind, lowest layer": Expected(
        -12, 0, "m s-1", f"{PAPER}, zonal wind: easterlies; {QUOTED}"),
    "strongest surface westerlies": Expected(
        3, 12, "m s-1", f"{PAPER}, zonal wind: one band around 45; {QUOTED}"),
    "polar wind, lowest layer": Expected(
        -12, 0, "m s-1", f"{PAPER}, zonal wind: weak easterlies; {QUOTED}"),
    "temperature at the equator, lowest layer": Expected(
        298, 310, "K", f"{PAPER}, temperature: 300 to 305 near the surface, below the equilibrium "
        f"of 310 to 313; {QUOTED}"),
    "lowest tropical temperature": Expected(
        185, 203, "K", f"{PAPER}, temperature: about 190 to 200; {QUOTED}"),
    "eddy variance of temperature, maximum below sigma 0.5": Expected(
        30, 50, "K2", f"{PAPER}, eddy variance: about 40; {QUOTED}"),
    "eddy variance of temperature, latitude": Expected(
        35, 60, "degree", f"{PAPER}, eddy variance: mid-latitudes; {QUOTED}"),
    "poleward eddy momentum flux, maximum": Expected(
        30, 100, "m2 s-2", "not in the paper; bounds chosen here"),
    "jet maximum, north less south": Expected(
        -2, 2, "m s-1", "0 by symmetry; bounds chosen here"),
    "drift of mean surface pressure": Expected(
        -10, 10, "Pa", "0 by conservation; bounds chosen here"),
}  # fmt: skip


def build(grid: str, levels: int, dynamics: str) -> tuple[Model, jcm.Inputs]:
    """Return the model, and inputs of a dry atmosphere at rest with a small perturbation."""
    half = None if levels == 8 else tuple(np.linspace(0, 1, levels + 1))
    model = jcm.build_model(
        f"{grid}L8", physics="held_suarez", dynamics=dynamics, half_levels=half)
    flat = jcm.uniform_forcing(model.grid, gravity=model.constants.gravity)
    inputs = jcm.default_inputs(model, state="rest", forcing=flat)
    inputs = jcm.insert(inputs, NO_SPONGE)
    state = inputs.state.current
    noise = np.random.default_rng(0).normal(size=state.temperature.shape) * PERTURBATION
    noise[0], noise[10:], noise[..., 10:] = 0, 0, 0
    state = eqx.tree_at(
        lambda s: (s.temperature, s.specific_humidity, s.log_surface_pressure), state,
        (state.temperature + noise.astype(state.temperature.dtype),
         0 * state.specific_humidity, 0 * state.log_surface_pressure))  # fmt: skip
    # Hardly anything moves yet: both time levels may be the same.
    return model, eqx.tree_at(
        lambda i: (i.state.previous, i.state.current), inputs, (state, state))


def run_window(program, model: Model, inputs: jcm.Inputs, days: int) -> tuple[jcm.State, dict]:
    """Integrate, and return the state and the sums of zonal means over the snapshots."""
    steps, state = round(EVERY * model.steps_per_day), inputs.state
    total: dict[str, np.ndarray] = {}
    for _ in range(round(days / EVERY)):
        state, fields = program(model, inputs.with_state(state), steps)
        found = zonal_statistics(*(np.asarray(fields[name], float) for name in FIELDS))
        total = {name: total.get(name, 0) + x for name, x in found.items()}
    return state, total | {"snapshots": np.array(round(days / EVERY))}


def zonal_statistics(
    u: np.ndarray, v: np.ndarray, t: np.ndarray, pressure: np.ndarray
) -> dict[str, np.ndarray]:
    """Return zonal means, and means of products of the deviations from them; (level, lat)."""
    mean = lambda x: x.mean(axis=-2)  # noqa: E731
    eddy = lambda x: x - x.mean(axis=-2, keepdims=True)  # noqa: E731
    return {
        "u": mean(u), "v": mean(v), "t": mean(t), "pressure": mean(pressure),
        "tt": mean(eddy(t) ** 2), "uv": mean(eddy(u) * eddy(v)), "vt": mean(eddy(v) * eddy(t)),
        "ke": mean(eddy(u) ** 2 + eddy(v) ** 2) / 2,
    }  # fmt: skip


def integrate(model: Model, inputs: jcm.Inputs, days: int, window: int, folder: Path) -> float:
    """Integrate what is missing, window by window; return the seconds per day of this call."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = tuple(day * model.steps_per_day for day in range(0, days + 1, window))
    identified = identity(model, inputs)
    found = newest_restart(folder, edges, identified, inputs.state)
    done, state = (0, inputs.state) if found is None else (found.outputs, found.state)
    if done == len(edges) - 1:
        return 0.0
    program = compile_window(model, inputs, average=False, observe=FIELDS)
    began, first = time.perf_counter(), done * window
    for number in range(done, len(edges) - 1):
        end = (number + 1) * window
        state, sums = run_window(
            program, model, inputs.with_state(state), window)
        wrong = [name for name, x in sums.items() if not np.all(np.isfinite(x))]
        if wrong:
            raise jcm.UnstableRun(
                f"{wrong[0]} became non-finite between days {end - window} and {end}; shorten the "
                f"time step (now {model.time_step:g} s)", day=end, wind=None)
        # The state is written last: after a kill in between the window is made again.
        with replacing(folder / f"window_{end - window:05d}.npz") as path, path.open("wb") as file:
            np.savez(file, **sums)
        write_restart(folder, identified, Restart(
            number + 1, edges[number + 1], None, state))
        seconds = (time.perf_counter() - began) / (end - first)
        print(f"day {end} of {days}, {seconds:.2f} s per day, "
              f"{seconds * (days - end) / 60:.1f} minutes left", flush=True)
    return (time.perf_counter() - began) / (days - first)


def windows(folder: Path, spinup: int, days: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the means of the windows after the spin-up."""
    for path in sorted(folder.glob("window_*.npz")):
        start = int(path.stem.split("_")[1])
        if spinup <= start < spinup + days:
            with np.load(path) as file:
                count = file["snapshots"]
                yield {name: file[name] / count for name in file if name != "snapshots"}


def half_planets(section: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the southern and the northern half, from the equator to the pole."""
    half = section.shape[-1] // 2
    return section[..., half - 1 :: -1], section[..., half:]


def peak(section: np.ndarray, sigma: np.ndarray, latitude: np.ndarray) -> dict[str, np.ndarray]:
    """Return value, latitude and sigma of the maximum of either hemisphere."""
    found = []
    for part in half_planets(section):
        level, column = np.unravel_index(np.argmax(part), part.shape)
        found.append((part[level, column], half_planets(latitude)[1][column], sigma[level]))
    return dict(zip(("value", "latitude", "sigma"), np.array(found).T, strict=True))


def measures(m: dict[str, np.ndarray], model: Model) -> dict[str, float]:
    """Return the quantities of the benchmark from zonal means."""
    latitude, sigma = model.grid.latitude, model.levels.centre
    weight = model.grid.quadrature_weight
    over = lambda x, where: float(np.average(x[where], weights=weight[where]))  # noqa: E731
    tropics, polar = np.abs(latitude) < TROPICS, np.abs(latitude) > 75
    jet = peak(m["u"], sigma, latitude)
    low = sigma > 0.5
    variance = peak(m["tt"][low], sigma[low], latitude)
    momentum = peak(m["uv"] * np.sign(latitude), sigma, latitude)
    heat = peak(m["vt"] * np.sign(latitude), sigma, latitude)
    surface = half_planets(m["u"][-1])
    return {
        "jet maximum": float(jet["value"].mean()),
        "jet latitude": float(jet["latitude"].mean()),
        "jet sigma": float(jet["sigma"].mean()),
        "tropical wind, lowest layer": over(m["u"][-1], tropics),
        "strongest surface westerlies": float(np.mean([x.max() for x in surface])),
        "polar wind, lowest layer": over(m["u"][-1], polar),
        "temperature at the equator, lowest layer": over(m["t"][-1], np.abs(latitude) < 5),
        "lowest tropical temperature": float(
            min(over(row, tropics) for row in m["t"])),
        "eddy variance of temperature, maximum below sigma 0.5": float(variance["value"].mean()),
        "eddy variance of temperature, latitude": float(variance["latitude"].mean()),
        "eddy variance of temperature, sigma": float(variance["sigma"].mean()),
        "poleward eddy momentum flux, maximum": float(momentum["value"].mean()),
        "poleward eddy heat flux, maximum": float(heat["value"].mean()),
        "eddy kinetic energy, maximum": float(m["ke"].max()),
        "jet maximum, north less south": float(jet["value"][1] - jet["value"][0]),
    }


def summarise(model: Model, inputs: jcm.Inputs, folder: Path, spinup: int, days: int) -> dict:
    """Return the measures of the mean over all windows, with their sampling error, and verdicts."""
    parts = list(windows(folder, spinup, days))
    mean = {name: np.mean([p[name] for p in parts], axis=0) for name in parts[0]}
    value = measures(mean, model)
    each = [measures(p, model) for p in parts]
    weight = model.grid.quadrature_weight / 2
    pressure = [float(p["pressure"] @ weight) for p in windows(folder, 0, spinup + days)]
    value["drift of mean surface pressure"] = pressure[-1] - pressure[0]
    rows = {}
    for name, number in value.items():
        spread = [e[name] for e in each if name in e]
        error = np.std(spread, ddof=1) / np.sqrt(len(spread)) if len(spread) > 1 else np.nan
        row: dict = {"value": round(number, 4)}
        if np.isfinite(error):
            # Windows of 50 days still share some of the slow wandering of the jet.
            row["standard_error_from_windows"] = round(float(error), 4)
        if name in EXPECTED:
            low, high, units, source = EXPECTED[name]
            row |= {"expected": [low, high], "units": units, "source": source,
                    "verdict": "PASS" if low <= number <= high else "FAIL"}  # fmt: skip
        rows[name] = row
    return {
        "model": model.name, "dynamics": type(model.dynamics).__name__,
        "half_levels": [round(x, 4) for x in model.levels.half], "time_step": model.time_step,
        "spinup_days": spinup, "days": days,
        "snapshots_per_day": 1 / EVERY,
        "passed": all(r.get("verdict", "PASS") == "PASS" for r in rows.values()),
        "quantities": rows,
    }  # fmt: skip


def table(summary: dict) -> str:
    """Return the summary of all configurations as Markdown."""
    lines = ["<!-- written by run.py -->"]
    for name, run in summary.items():
        lines += ["", f"### {name}, {run['days']} days after {run['spinup_days']}", "",
                  "| quantity | value | +- | expected | |", "| --- | --- | --- | --- | --- |"]
        for quantity, row in run["quantities"].items():
            low, high = row.get("expected", ("", ""))
            error = row.get("standard_error_from_windows")
            lines.append(
                f"| {quantity}{', ' + row['units'] if 'units' in row else ''} | "
                f"{row['value']:.4g} | {'' if error is None else f'{error:.2g}'} | "
                f"{f'{low:g} to {high:g}' if 'expected' in row else ''} | "
                f"{row.get('verdict', '')} |")
    return "\n".join(lines) + "\n"


def draw(model: Model, folder: Path, spinup: int, days: int, path: Path) -> None:
    """Draw sections of wind, temperature, its eddy variance and the eddy momentum flux."""
    parts = list(windows(folder, spinup, days))
    mean = {name: np.mean([p[name] for p in parts], axis=0) for name in parts[0]}
    latitude, sigma = model.grid.latitude, model.levels.centre
    panels = (
        ("u", "zonal-mean wind", "m s-1", np.arange(-32, 33, 4), "RdBu_r"),
        ("t", "zonal-mean temperature", "K", np.arange(190, 311, 5), "viridis"),
        ("tt", "eddy variance of temperature", "K2", np.arange(0, 51, 5), "YlOrRd"),
        ("uv", "northward eddy flux of eastward momentum", "m2 s-2", np.arange(-80, 81, 10),
         "RdBu_r"),
    )
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for ax, (name, title, units, levels, colours) in zip(axes.flat, panels, strict=True):
        shown = ax.contourf(latitude, sigma, mean[name], levels, cmap=colours, extend="both")
        lines = ax.contour(latitude, sigma, mean[name], levels[::2], colors="k", linewidths=0.5)
        ax.clabel(lines, fontsize=7)
        ax.set(title=title, xlabel="latitude", ylabel="sigma", ylim=(1, 0), xlim=(-90, 90),
               xticks=range(-90, 91, 30))  # fmt: skip
        figure.colorbar(shown, ax=ax, label=units)
    figure.suptitle(f"Held-Suarez benchmark, {path.stem}, mean of {days} days")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Integrate, compare, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--grid", default="T42", help="truncation, e.g. T42")
    parser.add_argument("--levels", type=int, default=8,
                        help="8: SPEEDY's layers; another number: that many of equal thickness")
    parser.add_argument("--dynamics", default="speedy")
    parser.add_argument("--days", type=int, default=1000, help="days after the spin-up")
    parser.add_argument("--spinup", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="a few days at T21, no files kept")
    arguments = parser.parse_args()
    if arguments.smoke:
        smoke()
        return
    if arguments.days % WINDOW or arguments.spinup % WINDOW or arguments.days <= 0:
        parser.error(f"--days and --spinup must be multiples of {WINDOW} days")
    model, inputs = build(arguments.grid, arguments.levels, arguments.dynamics)
    name = f"{model.name}_{arguments.dynamics}"
    folder, spinup, days = HERE / "results" / name, arguments.spinup, arguments.days
    seconds = integrate(model, inputs, spinup + days, WINDOW, folder)
    if seconds:
        print(f"{DAY / seconds / DAYS_PER_YEAR:.0f} simulated years per day")
    path = HERE / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    summary[name] = summarise(model, inputs, folder, spinup, days)
    summary = dict(sorted(summary.items()))
    write_text(path, json.dumps(summary, indent=1) + "\n")
    write_text(HERE / "summary.md", table(summary))
    draw(model, folder, spinup, days, HERE / "figures" / f"{name}.png")
    print(table({name: summary[name]}))


def smoke() -> None:
    """Run two short windows with a break between them, and all that follows."""
    model, inputs = build("T21", 8, "speedy")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        integrate(model, inputs, 2, 1, folder)
        integrate(model, inputs, 4, 1, folder)
        draw(model, folder, 2, 2, folder / "figures" / "smoke.png")
        print(table({model.name: summarise(model, inputs, folder, 2, 2)}))


if __name__ == "__main__":
    main()
