"""Figures of the study."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from analysis import SETTLED, balance, by_lead, gradients, map_of, mean_change, water
from ensembles import RAIN, STEP, TARGETS, Files, Plan, boxes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jcm.constants import DAY
from jcm.model import Model
from jcm_sensitivity.animation import animate
from jcm_sensitivity.figures_consistency import COLOURS, plot_consistency
from jcm_sensitivity.plot import coastlines, colour_bar, colour_limit
from jcm_sensitivity.regions import REGIONS

Results = dict[tuple[str, ...], list[Files]]

WIND = ("near_surface_eastward_wind", "near_surface_northward_wind")
PRESSURE = "surface_air_pressure"
MAP = "sensitivity_to_sea_surface_temperature"
#: Cells fainter than this part of the strongest colour get no point, significant or not.
FAINT = 0.02
#: What a map shows: longitudes from, width, and latitudes [degrees].
VIEWS = {
    "tropical_pacific": (40.0, 280.0, -45.0, 45.0),
    "north_atlantic": (170.0, 220.0, 0.0, 85.0),
}
SEASON_COLOURS = {"winter": "#0072B2", "summer": "#D55E00"}
MONTHS = {"winter": "January", "summer": "July"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def longitudes(view: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    """Return longitudes counted from the western edge of a view."""
    return view[0] + (values - view[0]) % 360


def paint(axes: Axes, view: tuple[float, ...], field: np.ndarray, model: Model, limit: float):
    """Draw a field (lat, lon) as cells, with coasts, in longitude and latitude."""
    longitude = longitudes(view, model.grid.longitude)
    order = np.argsort(longitude)
    mesh = axes.pcolormesh(
        longitude[order], model.grid.latitude, field[:, order], shading="nearest", cmap="RdBu_r",
        vmin=-limit, vmax=limit)
    x, y = coastlines()
    x = longitudes(view, x)
    jumps = np.flatnonzero(np.abs(np.diff(x)) > 180) + 1
    axes.plot(np.insert(x, jumps, np.nan), np.insert(y, jumps, np.nan), color="0.25", lw=0.7)
    frame(axes, view)
    return mesh


def frame(axes: Axes, view: tuple[float, ...]) -> None:
    """Set limits and labels of a map."""
    west, width, south, north = view
    ticks = np.arange(np.ceil(west / 40) * 40, west + width + 1, 40)
    axes.set_xticks(ticks, [degrees(float((t + 180) % 360 - 180), "WE") for t in ticks])
    ticks = np.arange(-80, 81, 20)
    axes.set_yticks(ticks, [degrees(float(t), "SN") for t in ticks])
    axes.set(xlim=(west, west + width), ylim=(south, north))


def degrees(value: float, letters: str) -> str:
    """Return an angle as people write it, e.g. `40W`."""
    return f"{abs(value):g}{'' if value in (0, -180) else letters[int(value > 0)]}"


def outline(axes: Axes, view: tuple[float, ...], name: str) -> None:
    """Draw the box of a target."""
    box = REGIONS[name]
    west = float(longitudes(view, np.array(box.west)))
    axes.add_patch(Rectangle(
        (west, box.south), box.width, box.north - box.south, fill=False, ls="--", lw=1.6))


def stipple(axes: Axes, view: tuple[float, ...], marked: np.ndarray, model: Model) -> None:
    """Mark significant cells (lat, lon)."""
    rows, columns = np.nonzero(marked)
    axes.plot(longitudes(view, model.grid.longitude[columns]), model.grid.latitude[rows],
              "k.", ms=2.6, mew=0)  # fmt: skip


def band(axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, **style) -> None:
    """Draw the mean of values (member, x), and their standard deviation as a band."""
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    axes.plot(x, mean, color=colour, **style)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.13, lw=0)


# ---- figures ------------------------------------------------------------------------------------


def draw_maps(plan: Plan, model: Model, results: Results, target: int, path: Path) -> None:
    """Draw the lasting sensitivity of one target: seasons, the first lead and the last."""
    name, words = list(TARGETS.items())[target]
    view, leads = VIEWS[name], (1, plan.days)
    figure, panels = plt.subplots(
        len(plan.seasons), 2, figsize=(13, 3.1 * len(plan.seasons) + 0.6), layout="constrained",
        squeeze=False)
    for column, lead in enumerate(leads):
        maps = []
        for season in plan.seasons:
            files = results["gradient", "smooth", season]
            lasting = np.cumsum(gradients(files, target), axis=1)[:, lead - 1]
            values = np.stack([each["value"][target] for each in files])
            maps.append(map_of(model, lasting, values, name))
        shown = np.stack([each[f"{MAP}_mean"].values for each in maps])
        limit = colour_limit(shown)
        for row, (season, each) in enumerate(zip(plan.seasons, maps, strict=True)):
            axes = panels[row, column]
            mesh = paint(axes, view, each[f"{MAP}_mean"].values, model, limit)
            visible = np.abs(each[f"{MAP}_mean"].values) > FAINT * limit
            stipple(axes, view, visible & (each[f"{MAP}_significant"].values != 0), model)
            outline(axes, view, name)
            since = "on the last day" if lead == 1 else f"for the last {lead} days"
            axes.set_title(f"{MONTHS[season]}, sea warmer {since}", fontsize=10)
        colour_bar(
            figure, mesh, shown, str(maps[0][f"{MAP}_mean"].attrs["units"]), ax=panels[:, column],
            orientation="horizontal", shrink=0.8, aspect=40)
    figure.suptitle(
        f"Sensitivity of rain over the {words} (dashed) to sea surface temperature, mean of "
        f"{plan.members} states; points: significant")
    save(figure, path)


def draw_leads(plan: Plan, model: Model, results: Results, path: Path) -> None:
    """Draw the sensitivity against lead, inside and outside the box, beside finite changes."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    lead = np.arange(1, plan.days + 1)
    for i, (axes, words) in enumerate(zip(panels, TARGETS.values(), strict=True)):
        for season in plan.seasons:
            parts = by_lead(results["gradient", "smooth", season], i, boxes(model)[i])
            colour = SEASON_COLOURS[season]
            for part, style in (("inside", "-"), ("outside", "--")):
                band(axes, lead, parts[part], colour, linestyle=style,
                     label=f"{MONTHS[season]}, {part}")
            mean = parts["total"].mean(axis=0)
            axes.plot(lead, mean, ":", color=colour, lw=2, label=f"{MONTHS[season]}, all seas")
            _add_runs(axes, plan, model, results, season, i)
        axes.axhline(0, color="0.5", lw=0.8)
        axes.set(title=f"Rain over the {words}", xlabel="days for which the sea is warmer",
                 ylabel="mm day-1 K-1")  # fmt: skip
    handles, labels = panels[0].get_legend_handles_labels()
    # One column for each season.
    order = sorted(range(len(labels)), key=lambda i: labels[i].split(",")[0])
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center",
        ncols=len(plan.seasons), frameon=False, fontsize=9)
    figure.suptitle(
        f"Lines: gradients of {plan.members} states, shading: standard deviation. Filled: runs at "
        f"+1 K and -1 K of {plan.fewer} of the states, bars: standard error; open: gradients of "
        "the same", fontsize=10)
    save(figure, path)


def _add_runs(
    axes: Axes, plan: Plan, model: Model, results: Results, season: str, target: int
) -> None:
    """Draw finite changes, filled, and integrals of the gradients of the same states, open."""
    colour, month = SEASON_COLOURS[season], MONTHS[season]
    x = np.array(plan.leads) + (0.1 if season == "summer" else -0.1)
    values = DAY * np.stack([each["values"] for each in results["finite", "smooth", season]])
    found = (values[:, :, :, 0, target] - values[:, :, :, 1, target]) / (2 * STEP)
    daily = gradients(results["gradient", "smooth", season][: plan.fewer], target)
    lasting = np.cumsum(daily, axis=1)[:, np.array(plan.leads) - 1]
    patterns = (np.ones(model.grid.shape), boxes(model).sum(axis=0))
    for k, marker, where in ((1, "s", "boxes warmer"), (0, "o", "all seas warmer")):
        error = found[:, k].std(axis=0, ddof=1) / np.sqrt(plan.fewer)
        axes.errorbar(x, found[:, k].mean(axis=0), error, fmt=marker, ms=4, color=colour,
                      capsize=3, label=f"{month}, runs, {where}")  # fmt: skip
        axes.plot(x, (lasting * patterns[k]).sum(axis=(2, 3)).mean(axis=0), marker, ms=9,
                  mfc="none", mec=colour)  # fmt: skip


def draw_water(plan: Plan, model: Model, results: Results, path: Path) -> None:
    """Draw the budget of water in the box after 1 K in the box, with spread."""
    figure, panels = plt.subplots(
        len(TARGETS), len(plan.seasons), figsize=(11, 7.5), layout="constrained", squeeze=False,
        sharex=True)
    colours = ("black", *COLOURS)
    for row, (name, words) in zip(panels, TARGETS.items(), strict=True):
        for axes, season in zip(row, plan.seasons, strict=True):
            budget = water(results["response", "smooth", season], name)
            day = np.arange(1, plan.days)
            for colour, part in zip(colours, ("rain", "evaporation", "import", "storage"),
                                    strict=True):  # fmt: skip
                band(axes, day, budget[part], colour, marker="o", ms=3.5, label=part)
            axes.axhline(0, color="0.5", lw=0.8)
            axes.set_title(f"{words}, {MONTHS[season]}", fontsize=10)
            axes.set(ylabel="mm day-1")
    for axes in panels[-1]:
        axes.set_xlabel("day of the run, 1 K warmer in the box from its start")
    panels[0, 0].legend(frameon=False)
    figure.suptitle("Water in the box: rain = evaporation + import - storage; mean of states, "
                    "shading: standard deviation", fontsize=11)  # fmt: skip
    save(figure, path)


def draw_air(plan: Plan, model: Model, results: Results, path: Path) -> None:
    """Draw the response of rain, wind near the surface and surface pressure to 1 K in the box."""
    figure, panels = plt.subplots(
        len(TARGETS), len(plan.seasons), figsize=(13, 7.6), layout="constrained", squeeze=False)
    for row, (name, words) in zip(panels, TARGETS.items(), strict=True):
        changes = {season: {
            v: mean_change(results["response", "smooth", season], name, v)[-SETTLED:].mean(axis=0).T
            for v in (RAIN, *WIND, PRESSURE)} for season in plan.seasons}
        shown = np.stack([DAY * x[RAIN] for x in changes.values()])
        limit = colour_limit(shown)
        view = VIEWS[name]
        longitude = longitudes(view, model.grid.longitude)
        order = np.argsort(longitude)
        for axes, season in zip(row, plan.seasons, strict=True):
            change = changes[season]
            mesh = paint(axes, view, DAY * change[RAIN], model, limit)
            size = np.abs(change[PRESSURE]).max()
            levels = np.array([-0.8, -0.4, -0.2, -0.1, 0.1, 0.2, 0.4, 0.8]) * 10 ** np.floor(
                np.log10(size) + 0.5)
            lines = axes.contour(
                longitude[order], model.grid.latitude, change[PRESSURE][:, order],
                levels, colors="0.35", linewidths=0.8)
            axes.clabel(lines, fontsize=7, fmt="%g")
            arrows = axes.quiver(
                longitude[order], model.grid.latitude,
                change[WIND[0]][:, order], change[WIND[1]][:, order], width=0.0018, color="black",
                scale=15, pivot="mid")
            axes.quiverkey(arrows, 0.9, 1.04, 0.5, "0.5 m s-1", labelpos="W")
            outline(axes, view, name)
            frame(axes, view)
            axes.set_title(f"{MONTHS[season]}: sea 1 K warmer over the {words}", fontsize=10,
                           loc="left")  # fmt: skip
        colour_bar(figure, mesh, shown, "rain [mm day-1]", ax=list(row))
    figure.suptitle("First-order response on days 6-10: rain (colours), wind near the surface "
                    "(arrows), surface pressure (lines, Pa)")  # fmt: skip
    save(figure, path)


def draw_balance(plan: Plan, model: Model, results: Results, folder: Path) -> None:
    """Draw the consistency of the response over the North Atlantic in the first season."""
    season, name = plan.seasons[0], "north_atlantic"
    found = balance(model, results["response", "smooth", season], name)
    plot_consistency(
        found, folder / "consistency_north_atlantic_winter.png",
        title=f"Response to 1 K over the {TARGETS[name]}, {MONTHS[season]}, mean of "
        f"{plan.fewer} states")


def draw_animation(plan: Plan, model: Model, results: Results, path: Path) -> None:
    """Write the sensitivity by day before the target as an animation."""
    season, target, name = plan.seasons[0], 1, "north_atlantic"
    files = results["gradient", "smooth", season]
    daily = gradients(files, target)
    values = np.stack([each["value"][target] for each in files])
    maps = [map_of(model, daily[:, k], values, name)[f"{MAP}_mean"] for k in range(plan.days)]
    units = f"{maps[0].attrs['units']} day-1"
    leads = xr.DataArray(np.arange(1, plan.days + 1), dims="lead", attrs={"units": "days"})
    field = xr.concat(maps, dim="lead").assign_coords(lead=leads)
    field = field.assign_attrs(
        units=units, long_name="sensitivity to a sea that is warmer on one day")
    limit = colour_limit(np.stack([x.values for x in maps[1:4]]))
    animate(field, path, region=REGIONS[name], limit=limit,
            title=f"Rain over the {TARGETS[name]}, {MONTHS[season]}")  # fmt: skip


def draw_all(plan: Plan, model: Model, results: Results, folder: Path) -> None:
    """Draw every figure into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(TARGETS):
        draw_maps(plan, model, results, i, folder / f"maps_{name}.png")
    draw_leads(plan, model, results, folder / "sensitivity_by_lead.png")
    draw_water(plan, model, results, folder / "water_budget.png")
    draw_air(plan, model, results, folder / "response.png")
    draw_balance(plan, model, results, folder)
    draw_animation(plan, model, results, folder / "north_atlantic_by_day.gif")
