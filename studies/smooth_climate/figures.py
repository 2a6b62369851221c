"""Figures of the study; computes nothing new."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from climate import by_level
from matplotlib.figure import Figure
from plan import EXACT, FIRST, SUGGESTED, Plan

from jcm_sensitivity.plot import colour_bar, colour_limit, draw_map, map_axes

#: What the figures of zonal means show.
LINES = (
    "precipitation_flux", "toa_outgoing_longwave_flux", "toa_net_downward_radiative_flux",
    "cloud_area_fraction", "air_temperature, column", "specific_humidity, column",
)  # fmt: skip
LONGWAVE = "toa_outgoing_longwave_flux"
MAPS = ("precipitation_flux", LONGWAVE)
SECTIONS = ("air_temperature", "specific_humidity", "eastward_wind")
#: Settings that are drawn, in the order of the figures.
COLOURS = {SUGGESTED: "#0072B2", FIRST: "#0072B2", "held": "#D55E00"}


def draw(
    plan: Plan, runs: dict[str, xr.Dataset], summary: dict[str, Any], folder: Path
) -> list[Path]:
    """Draw all figures of yearly means (year, lat, lon) and of the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = [name for name in COLOURS if name in runs]
    figures = {
        "zonal_means": zonal_means({name: runs[name] for name in shown}, runs[EXACT]),
        "sections": sections(runs[SUGGESTED], runs[EXACT]),
        "maps": maps({name: runs[name] for name in shown}, runs[EXACT]),
        "ratios": ratio_figure(plan, summary["ratios"]),
        "trade_off": trade_off(plan, summary),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=90)
        plt.close(figure)
    return paths


def label(name: str) -> str:
    """Return what a setting is called in a legend."""
    return {SUGGESTED: "suggested widths", FIRST: "suggested widths", EXACT: "exact"}.get(
        name, name.replace("_", " "))


def zonal_means(runs: dict[str, xr.Dataset], exact: xr.Dataset) -> Figure:
    """Draw differences of zonal means beside twice their noise."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6), sharex=True, layout="constrained")
    other = by_level(exact)
    for ax, name in zip(axes.flat, LINES, strict=True):
        b = other[name].mean("lon")
        for setting, run in runs.items():
            a = by_level(run)[name].mean("lon")
            ax.plot(b["lat"], a.mean("year") - b.mean("year"), color=COLOURS[setting],
                    label=label(setting))  # fmt: skip
        noise = np.sqrt(2 * b.var("year", ddof=1) / b.sizes["year"])
        ax.fill_between(b["lat"], -2 * noise, 2 * noise, color="0.85", lw=0,
                        label="twice the noise")  # fmt: skip
        ax.axhline(0, color="0.5", lw=0.8)
        ax.set_title(f"{name.split(',')[0].replace('_', ' ')} [{units(exact, name)}]", fontsize=9)
        ax.set_xlim(-90, 90)
        ax.set_xticks(range(-90, 91, 30))
    axes[0, 0].legend(fontsize=8, frameon=False)
    for ax in axes[1]:
        ax.set_xlabel("latitude [degrees north]")
    figure.suptitle("Smooth less exact switches, annual zonal means")
    return figure


def units(data: xr.Dataset, name: str) -> str:
    """Return the units of a variable, or of its column mean."""
    return str(data[name.split(",")[0]].attrs.get("units", ""))


def sections(run: xr.Dataset, exact: xr.Dataset) -> Figure:
    """Draw differences by latitude and level; dots where they exceed twice the noise."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), sharey=True, layout="constrained")
    for ax, name in zip(axes, SECTIONS, strict=True):
        a, b = run[name].mean("lon"), exact[name].mean("lon")
        change = a.mean("year") - b.mean("year")
        noise = np.sqrt((a.var("year", ddof=1) + b.var("year", ddof=1)) / b.sizes["year"])
        limit = float(np.abs(change).max())
        mesh = ax.pcolormesh(b["lat"], b["level"], change, cmap="RdBu_r", vmin=-limit, vmax=limit,
                             shading="nearest")  # fmt: skip
        row, column = np.nonzero(np.abs(change.values) > 2 * noise.values)
        ax.plot(b["lat"].values[column], b["level"].values[row], "k.", ms=2)
        figure.colorbar(mesh, ax=ax)
        ax.set_title(f"{name.replace('_', ' ')} [{units(exact, name)}]", fontsize=9)
        ax.set_xlabel("latitude [degrees north]")
    axes[0].set_ylabel("sigma")
    axes[0].set_ylim(1, 0)
    figure.suptitle("Suggested widths less exact; dots: more than twice the noise")
    return figure


def maps(runs: dict[str, xr.Dataset], exact: xr.Dataset) -> Figure:
    """Draw maps of annual differences; dots where they exceed twice the noise."""
    figure = plt.figure(figsize=(6.2 * len(runs), 6.4), layout="constrained")
    for row, name in enumerate(MAPS):
        noise = np.sqrt(2 * exact[name].var("year", ddof=1) / exact.sizes["year"])
        changes = [run[name].mean("year") - exact[name].mean("year") for run in runs.values()]
        values, panels = np.stack([change.values for change in changes]), []
        for column, (setting, change) in enumerate(zip(runs, changes, strict=True), 1):
            panels.append(map_axes(figure, len(MAPS), len(runs), row * len(runs) + column))
            mesh = draw_map(panels[-1], change, colour_limit(values),
                            significant=np.abs(change) > 2 * noise)  # fmt: skip
            panels[-1].set_title(f"{name.replace('_', ' ')}, {label(setting)}", fontsize=9)
        colour_bar(figure, mesh, values, units(exact, name), ax=panels)
    figure.suptitle("Smooth less exact, annual means\ndots: more than twice the noise of a cell")
    return figure


def ratio_figure(plan: Plan, ratios: dict[str, Any]) -> Figure:
    """Draw the ratios of single initial states by target and lead."""
    shown = [name for name in (EXACT, *COLOURS) if name in ratios]
    groups = list(ratios[shown[0]]["groups"])
    figure, axes = plt.subplots(
        1, len(shown), figsize=(3 + 3.2 * len(shown), 5.5), sharey=True, squeeze=False,
        layout="constrained")
    low, high = plan.accepted
    for ax, name in zip(axes[0], shown, strict=True):
        ax.axvspan(low, high, color="0.9")
        ax.axvline(1, color="0.5", lw=0.8)
        for k, group in enumerate(groups):
            values = np.array(ratios[name]["groups"][group]["ratios"], float)
            inside = np.clip(values, 0, 2)
            beyond = inside != values
            ax.plot(inside[~beyond], np.full((~beyond).sum(), k), "o", ms=4, color="#0072B2",
                    alpha=0.7)  # fmt: skip
            ax.plot(inside[beyond], np.full(beyond.sum(), k), "x", ms=5, color="#D55E00")
        found = ratios[name]["all"]
        ax.set_title(f"{label(name)}\nmedian {found['median']:.2f}, quartiles "
                     f"{found['lower_quartile']:.2f} to {found['upper_quartile']:.2f},\n"
                     f"outside {found['failed']} of {found['cases']}", fontsize=9)  # fmt: skip
        ax.set(xlim=(-0.05, 2.05), xlabel="derivative / central difference")
    axes[0, 0].set_yticks(range(len(groups)), groups, fontsize=8)
    axes[0, 0].invert_yaxis()
    figure.suptitle(f"Sea warmed and cooled by {plan.step:g} K; crosses: beyond the axis")
    return figure


def trade_off(plan: Plan, summary: dict[str, Any]) -> Figure:
    """Draw the cost in climate against the cost in gradients, by setting."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, ratios in summary["ratios"].items():
        failed = 100 * ratios["all"]["failed"] / ratios["all"]["cases"]
        width = ratios["all"]["upper_quartile"] - ratios["all"]["lower_quartile"]
        change = abs(summary["first_day"].get(name, {}).get(LONGWAVE, [0.0])[0])
        colour = COLOURS.get(name, "0.3")
        for ax, y in zip(axes, (failed, width), strict=True):
            ax.plot(change, y, "o", color=colour)
            ax.annotate(label(name), (change, y), xytext=(4, 4), textcoords="offset points",
                        fontsize=8)  # fmt: skip
    low, high = plan.accepted
    axes[0].set_ylabel(f"cases outside {low:g} to {high:g} [%]")
    axes[1].set_ylabel("distance of the quartiles of the ratios")
    axes[1].set_yscale("log")
    for ax in axes:
        ax.set_xlabel("change of global outgoing longwave on the first day [W m-2]")
        ax.margins(0.2)
    return figure
