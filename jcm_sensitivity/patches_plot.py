"""Pictures of patches against the adjoint: responses found and predicted, and the two maps."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jcm.files import checked, replacing
from jcm_sensitivity.maps import UNIT_AREA_NAME
from jcm_sensitivity.plot import coastlines, colour_bar, colour_limit
from jcm_sensitivity.regions import Region

#: Degrees around the patches that the maps show.
MARGIN = 8.0


def plot_responses(dataset: xr.Dataset, path: str | Path, *, target: int = 0) -> Path:
    """Draw responses to patches against those the adjoint predicts, one panel by amplitude.

    Parameters
    ----------
    dataset
        Result of `compare_with_patches`.
    path
        The picture; it appears only when it is whole.
    target
        Which target, by number.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path, part = checked(path), dataset.isel(target=target)
    count = part.sizes["amplitude"]
    figure = Figure(figsize=(1.2 + 3.4 * max(count, 2), 4.6), layout="constrained")
    for k, axes in enumerate(np.atleast_1d(figure.subplots(1, count))):
        _draw_responses(axes, part.isel(amplitude=k), k == 0)
    figure.supxlabel(f"predicted by the adjoint [{_units(part)} K-1]", fontsize=10)
    figure.supylabel(f"found with patches [{_units(part)} K-1]", fontsize=10)
    figure.suptitle(_title(part), fontsize=11)
    return _write(figure, path)


def _draw_responses(axes: Axes, part: xr.Dataset, first: bool) -> None:
    amplitude = float(part["amplitude"])
    predicted = part["predicted_response"].values
    for name, sign, colour in (("warm", 1, "C3"), ("cool", -1, "C0")):
        found = sign * part[f"{name}_response"].values / amplitude
        axes.plot(predicted.ravel(), found.ravel(), "o", ms=2.5, mew=0, color=colour, alpha=0.45)
    found = part["linear_response"].values
    axes.plot(predicted.mean(axis=0), found.mean(axis=0), "o", ms=5, mfc="none", color="black")
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color="0.6", lw=1, zorder=0)
    axes.plot(ends, float(part["slope"]) * ends, "k--", lw=1, zorder=0)
    axes.set_xlim(*ends)
    axes.set_title(
        f"{amplitude:g} K: correlation {float(part['correlation']):.3f},\n"
        f"slope {float(part['slope']):.3f}", fontsize=9)  # fmt: skip
    axes.axhline(0, color="0.85", lw=0.8, zorder=-1)
    axes.axvline(0, color="0.85", lw=0.8, zorder=-1)
    axes.tick_params(labelsize=8)
    if first:
        handles = [
            axes.plot([], [], "o", ms=4, mew=0, color="C3", label="warm patch, one state")[0],
            axes.plot([], [], "o", ms=4, mew=0, color="C0", label="cool patch, one state")[0],
            axes.plot([], [], "ko", ms=5, mfc="none", label="(warm - cool) / 2, mean of states")[0],
            axes.plot([], [], color="0.6", lw=1, label="found = predicted")[0],
            axes.plot([], [], "k--", lw=1, label="regression of the means")[0]]
        axes.legend(handles=handles, fontsize=6.5, loc="upper left")


def plot_patch_maps(
    dataset: xr.Dataset, path: str | Path, *, target: int = 0, amplitude: float | None = None,
    region: Region | None = None,
) -> Path:  # fmt: skip
    """Draw the adjoint map, the same smoothed with the patches, and the map of the patches.

    Parameters
    ----------
    dataset, path, target
        As for `plot_responses`.
    amplitude
        Height of the patches [K]; default the smallest.
    region
        Region of the target, to outline.

    Raises
    ------
    KeyError
        If there were no patches of that amplitude.
    FileNotFoundError
        If the folder does not exist.
    """
    path, part = checked(path), dataset.isel(target=target)
    size = float(part["amplitude"][0]) if amplitude is None else amplitude
    part = part.sel(amplitude=size)
    maps = [("adjoint map", part["adjoint_map"]),
            ("adjoint map smoothed with the patches", part["adjoint_map_smoothed"]),
            (f"map rebuilt from patches of +-{size:g} K", part["patch_map"])]  # fmt: skip
    figure = Figure(figsize=(8.5, 9), layout="constrained")
    own = part["adjoint_map"].values
    shared = np.nan_to_num(np.stack([x.values for _, x in maps[1:]]))
    all_axes = figure.subplots(3, 1, sharex=True, sharey=True)
    for axes, (title, field), values in zip(all_axes, maps, [own, shared, shared], strict=True):
        top = colour_limit(values)
        mesh = axes.pcolormesh(
            field["lon"], field["lat"], field, cmap="RdBu_r", vmin=-top, vmax=top)
        _frame(axes, part, region)
        axes.set_title(title, fontsize=10)
        bar = colour_bar(
            figure, mesh, values, f"{_units(part)} K-1\n{UNIT_AREA_NAME}-1", ax=axes, pad=0.01,
            aspect=14)
        bar.ax.yaxis.label.set_fontsize(8)
        bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"{_title(part)}\nmean of {part.sizes['state']} initial states", fontsize=11)
    return _write(figure, path)


def _frame(axes: Axes, part: xr.Dataset, region: Region | None) -> None:
    """Show what the patches cover, with coastlines, centres, and the region of the target."""
    covered = part["patch_field"].values.sum(axis=0) > 0
    rows, columns = part["lat"].values[covered.any(1)], part["lon"].values[covered.any(0)]
    longitude, latitude = coastlines()
    around = longitude % 360
    around[np.append(np.abs(np.diff(around)) > 180, False)] = np.nan
    axes.plot(around, latitude, color="0.25", lw=0.7)
    axes.plot(part["patch_longitude"] % 360, part["patch_latitude"], "k+", ms=5, mew=0.8)
    if region is not None and region.width < 360:
        west, east = region.west % 360, region.west % 360 + region.width
        axes.plot([west, east, east, west, west],
                  [region.south, region.south, region.north, region.north, region.south],
                  "k--", lw=1.3)  # fmt: skip
    axes.set_xlim(max(0, columns.min() - MARGIN), min(360, columns.max() + MARGIN))
    axes.set_ylim(max(-90, rows.min() - MARGIN), min(90, rows.max() + MARGIN))
    axes.set_xlabel("degrees east", fontsize=8)
    axes.set_ylabel("degrees north", fontsize=8)
    axes.label_outer()
    axes.tick_params(labelsize=8)


def _units(part: xr.Dataset) -> str:
    return str(part["target_units"].values)


def _title(part: xr.Dataset) -> str:
    words = str(part["target"].values)
    return f"{words[:1].upper()}{words[1:]}"


def _write(figure: Figure, path: Path) -> Path:
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": "jcm_sensitivity"})
    return path
