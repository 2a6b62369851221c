"""Figures of the calibration; computes nothing new."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from experiment import Plan
from matplotlib.figure import Figure
from verification import Fields, Scores

from jcm.data import data_path
from jcm_calibrate.problem import Problem
from jcm_calibrate.reports.plots import plot_bias
from jcm_calibrate.reports.plots_style import BLUE, DARK, RED, write_figure

#: Variable of the model, name in the file of observations, factor, units, heading.
MAPS = {
    "precipitation": ("precipitation_flux", "pr", 86400.0, "mm day-1", "precipitation, year"),
    "temperature": ("near_surface_air_temperature", "tas", 1.0, "K",
                    "air temperature near the surface, year"),
}  # fmt: skip
#: Blocks shown along latitude: name, part of the label, factor, units, heading.
PROFILES = (
    ("absorbed_sunlight", "", 1.0, "W m$^{-2}$", "absorbed sunlight"),
    ("cloud_cover", "", 1.0, "1", "cloud cover"),
    ("precipitation", "", 86400.0, "mm day$^{-1}$", "precipitation"),
    ("air_temperature", "250 hPa", 1.0, "K", "temperature, 250 hPa"),
    ("specific_humidity", "700 hPa", 1e3, "g kg$^{-1}$", "humidity, 700 hPa"),
    ("eastward_wind", "200 hPa", 1.0, "m s$^{-1}$", "eastward wind, 200 hPa (held out)"),
    ("eastward_stress", "", 1e3, "mN m$^{-2}$", "eastward stress (held out)"),
    ("sea_level_pressure", "", 0.01, "hPa", "sea-level pressure (held out)"),
    ("temperature", "", 1.0, "K", "temperature near surface (held out)"),
)  # fmt: skip


def draw_all(
    problem: Problem, found: Scores, runs: dict[str, list[Fields]], summary: dict[str, Any],
    plan: Plan, folder: Path,
) -> None:  # fmt: skip
    """Write all figures."""
    folder.mkdir(parents=True, exist_ok=True)
    write_figure(changes(summary), folder / "changes.png")
    write_figure(parameters(summary), folder / "parameters.png")
    seasons = list(next(iter(summary["variables"].values()))["seasons"])
    for season in seasons:
        write_figure(profiles(found, plan, season), folder / f"profiles_{season}.png")
    for name in MAPS if len(seasons) == 4 else ():
        write_figure(bias(problem, runs, name), folder / f"bias_{name}.png")


def changes(summary: dict[str, Any]) -> Figure:
    """Return a figure of the change of every variable in every season beside its noise floor."""
    rows = [(name, season, row["held_out"], found)
            for name, row in summary["variables"].items()
            for season, found in row["seasons"].items()]  # fmt: skip
    figure = Figure(figsize=(8, 0.17 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    trained = summary["plan"]["train_seasons"]
    for i, (_, season, held_out, found) in enumerate(rows):
        percent = 100 / found["before"]
        colour = {"better": BLUE, "worse": RED}.get(found["verdict"], "0.6")
        axes.plot([-found["noise_floor"] * percent, found["noise_floor"] * percent], [i, i],
                  color="0.85", lw=6, solid_capstyle="butt", zorder=1)  # fmt: skip
        used = not held_out and season in trained
        axes.plot(found["change"] * percent, i, "o" if used else "D", color=colour, ms=4.5,
                  mfc="white" if used else colour, zorder=2)  # fmt: skip
    axes.axvline(0, color=DARK, lw=0.8)
    axes.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6),
             yticklabels=[f"{name.replace('_', ' ')}{' (held out)' if held else ''}, {season}"
                          for name, season, held, _ in rows],
             xlabel="change of the root-mean-square difference [%]; open: fitted, full: test, "
                    "bar: noise floor")  # fmt: skip
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure


def parameters(summary: dict[str, Any]) -> Figure:
    """Return a figure of the parameters in standard deviations of the prior."""
    table = summary["parameters"]
    figure = Figure(figsize=(7.5, 0.36 * len(table) + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-1.645, 1.645, color="0.94", zorder=0, label="prior, 90 %")
    for i, row in enumerate(table.values()):
        width = 1.645 * row["posterior_over_prior_width"]
        axes.errorbar(row["move_in_prior_standard_deviations"], i, xerr=width, fmt="o", capsize=3,
                      color=BLUE if row["identified"] else "0.6",
                      label=None if i else "posterior, 90 %")  # fmt: skip
    axes.axvline(0, color=DARK, lw=0.8)
    axes.set(yticks=range(len(table)), ylim=(len(table) - 0.4, -0.6),
             yticklabels=[f"{name.removeprefix('parameters.')}\n{row['before']:.3g} → "
                          f"{row['after']:.3g}{'' if row['units'] == '1' else ' ' + row['units']}"
                          for name, row in table.items()],
             xlabel="standard deviations of the prior (0: reference)")  # fmt: skip
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    return figure


def profiles(found: Scores, plan: Plan, season: str) -> Figure:
    """Return a figure of means over latitude bands, with the range of single years."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    panels = figure.subplots(3, 3).ravel()
    for axes, (name, part, factor, units, title) in zip(panels, PROFILES, strict=True):
        rows = np.array([i for i in found.rows(name, season)
                         if part in found.observations.labels[i]])  # fmt: skip
        bands = plan.bands if name in plan.train else plan.fine_bands
        places = [np.mean(band) for band in bands]
        if len(rows) == 3:  # the bands of CERES: 30N-90N, 30S-30N, 90S-30S
            places, rows = [-60.0, 0.0, 60.0], rows[::-1]
        spread = factor * np.asarray(found.observations.standard_deviation)[rows]
        axes.errorbar(places, factor * np.asarray(found.observations.values)[rows], yerr=spread,
                      color=DARK, fmt="o", ms=3, capsize=2, lw=1, label="observed ± error")
        for run, colour in (("before", RED), ("after", BLUE)):
            years = factor * found.predictions[run][:, rows]
            axes.plot(places, years.mean(axis=0), color=colour, lw=1.3, label=run)
            axes.fill_between(places, years.min(axis=0), years.max(axis=0), color=colour, alpha=0.2,
                              lw=0)  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(units, fontsize=8)
        axes.set_xticks([-60, -30, 0, 30, 60], ["60S", "30S", "0", "30N", "60N"])
        axes.tick_params(labelsize=7)
    panels[0].legend(frameon=False, fontsize=8)
    used = "fitted season" if season in plan.train_seasons else "test season"
    figure.suptitle(f"{season} ({used})", fontsize=10)
    return figure


def bias(problem: Problem, runs: dict[str, list[Fields]], name: str) -> Figure:
    """Return maps of the bias before and after, means of all years."""
    variable, known, factor, units, title = MAPS[name]
    model = problem.run.model
    with xr.open_dataset(data_path(f"observations_T{model.grid.truncation}.nc")) as file:
        observed = file[known].mean("month").load().transpose("lat", "lon")
    maps = []
    for years in runs.values():
        mean = np.mean([fields[variable].mean(axis=0).T for fields in years], axis=0)
        difference = xr.DataArray(
            factor * (mean - observed.values), dims=("lat", "lon"),
            coords={"lat": model.grid.latitude, "lon": model.grid.longitude},
            attrs={"units": units})  # fmt: skip
        maps.append(difference)
    return plot_bias(*maps, title=title)
