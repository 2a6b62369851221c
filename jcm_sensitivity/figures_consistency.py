"""Picture of the dynamical consistency of a response: balance, energy, water."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jcm.files import checked, replacing
from jcm_sensitivity.plot import colour_bar

#: Colours of the terms of energy and of water; Okabe and Ito (2008), readable by the colour blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def plot_consistency(dataset: xr.Dataset, path: str | Path, *, title: str | None = None) -> Path:
    """Draw the result of `consistency` and write it as PNG.

    Above: how much of the geostrophic wind change the wind makes, and how much of the wind change
    is geostrophic, at the last output by latitude and sigma. Below: energy of the change by term,
    and the budget of water, in time.

    Parameters
    ----------
    dataset
        Result of `consistency`.
    path
        The picture; it appears only when it is whole.
    title
        Heading.
    """
    path = checked(path)
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    last = dataset.isel(day=-1)
    for panel, name, words in (
        (axes[0, 0], "adjustment", "Geostrophic wind change that the wind makes"),
        (axes[0, 1], "fraction", "Wind change that is geostrophic"),
    ):
        _section(figure, panel, last[f"geostrophic_{name}"])
        total = float(last[f"extratropical_geostrophic_{name}"])
        panel.set_title(f"{words}\nday {float(last.day):g}, extratropics together: {total:.2f}",
                        fontsize=10)  # fmt: skip
    _energy(axes[1, 0], dataset)
    _water(axes[1, 1], dataset)
    if title:
        figure.suptitle(title, fontsize=11)
    with replacing(path) as part:
        canvas.print_png(part, metadata={"Software": "jcm_sensitivity"})
    return path


def _section(figure: Figure, axes: Axes, field: xr.DataArray) -> None:
    """Draw a ratio by latitude and sigma; 0 is white, missing values are grey."""
    axes.set_facecolor("0.85")
    mesh = axes.pcolormesh(
        _edges(field.lat.values, (-90, 90)), _edges(field.level.values, (0, 1)),
        np.ma.masked_invalid(field.values), cmap="RdBu_r", vmin=-1.5, vmax=1.5)
    axes.set(ylim=(1, 0), xlim=(-90, 90), xlabel="latitude [degrees north]", ylabel="sigma [1]")
    axes.set_xticks(np.arange(-90, 91, 30))
    colour_bar(figure, mesh, field.values, "1: all of it; 0: nothing", ax=axes)


def _edges(centres: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return np.concatenate([ends[:1], (centres[1:] + centres[:-1]) / 2, ends[1:]])


def _energy(axes: Axes, dataset: xr.Dataset) -> None:
    for colour, (term, words) in zip(
            COLOURS, {"kinetic": "wind", "thermal": "temperature",
                      "surface": "surface pressure"}.items(), strict=True):  # fmt: skip
        energy = dataset[f"{term}_energy"]
        if "level" in energy.dims:
            energy = energy.sum("level")
        axes.plot(dataset.day, energy, color=colour, marker="o", label=words)
    axes.set(xlabel="days since the start", ylabel="energy of the change [J kg-1]")
    axes.set_title("Total energy of the change, mean over the globe", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _water(axes: Axes, dataset: xr.Dataset) -> None:
    axes.set_title("Budget of water of the change, mean over the globe", fontsize=10)
    if "water_gain" not in dataset:
        axes.text(0.5, 0.5, "needs two outputs or more, with humidity,\nprecipitation and "
                  "evaporation", ha="center", transform=axes.transAxes)  # fmt: skip
        axes.set_axis_off()
        return
    for colour, (name, words) in zip(
            COLOURS, {"water_gain": "evaporation less precipitation", "water_storage": "storage",
                      "water_residual": "residual"}.items(), strict=True):  # fmt: skip
        axes.plot(dataset.between, dataset[name], color=colour, marker="o", label=words)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set(xlabel="days since the start", ylabel="change [mm day-1]")
    axes.legend(frameon=False)
