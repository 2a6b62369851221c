"""Picture of a horizon: growth of responses, and derivative over finite response, by lead."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jcm.files import checked, replacing

#: Ratios beyond these are drawn at the edge.
RATIOS = (-1.0, 3.0)


def plot_horizon(
    dataset: xr.Dataset, path: str | Path, *, name: str | None = None, target: str | None = None
) -> Path:
    """Draw growth and ratio against lead time, with the usable window shaded, and write a PNG.

    Parameters
    ----------
    dataset
        Result of `horizon`.
    path
        The picture; it appears only when it is whole.
    name, target
        Which input and which target; default the first.

    Raises
    ------
    KeyError
        If there is no such input or target.
    FileNotFoundError
        If the folder does not exist.
    """
    path = checked(path)
    name = str(dataset["input"].values[0]) if name is None else name
    target = str(dataset["target"].values[0]) if target is None else target
    part = dataset.sel(input=name, target=target)
    figure = Figure(figsize=(8.5, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_growth(above, part)
    _draw_ratio(below, part)
    short = name.split(".", 1)[-1].replace("_", " ").replace(".", " ")
    figure.suptitle(f"{target[0].upper()}{target[1:]}\nwith respect to {short}", fontsize=11)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": "jcm_sensitivity"})
    return path


def _draw_growth(axes: Axes, part: xr.Dataset) -> None:
    """Draw root mean squares over the initial states of derivative and finite responses."""
    lead = part["lead"].values
    axes.plot(lead, _size(part["linear_response"]), "k-o", markersize=4, label="derivative")
    for amplitude, colour in _colours(part):
        size = _size(part["finite_response"].sel(amplitude=amplitude))
        axes.plot(lead, size, "--s", markersize=4, color=colour,
                  label=f"finite, amplitude {amplitude:g}")  # fmt: skip
    if "gradient_norm" in part:
        axes.plot(part["gradient_lead"].values, _size(part["gradient_norm"]), ":^", color="0.5",
                  markersize=5, label="norm of the full gradient")  # fmt: skip
    if any(np.max(line.get_ydata()) > 0 for line in axes.get_lines()):
        axes.set_yscale("log")
    axes.set_ylabel(f"response [{part['target_units'].values!s}]")
    axes.set_title("Response per amplitude: root mean square over initial states", fontsize=10)
    axes.legend(fontsize=8)


def _draw_ratio(axes: Axes, part: xr.Dataset) -> None:
    """Draw medians and quartiles over the initial states, and the usable window."""
    lead, tolerance = part["lead"].values, float(part.attrs["tolerance"])
    axes.axhspan(1 - tolerance, 1 + tolerance, color="0.9", label=f"1 $\\pm$ {tolerance:g}")
    axes.axhline(1, color="0.5", linewidth=0.8)
    for amplitude, colour in _colours(part):
        ratio = part["ratio"].sel(amplitude=amplitude)
        low, middle, high = (
            np.clip(np.quantile(ratio, q, axis=0), *RATIOS) for q in (0.25, 0.5, 0.75))
        axes.fill_between(lead, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(lead, middle, "-o", color=colour, markersize=4,
                  label=f"amplitude {amplitude:g}: {_window(part, amplitude)}")  # fmt: skip
    window = float(part["usable_window_days"].isel(amplitude=-1))
    if window > 0:
        axes.axvspan(0, window, color="tab:green", alpha=0.1, linewidth=0)
        axes.axvline(window, color="tab:green", linewidth=1)
    axes.set_xlim(0, lead.max() * 1.03)
    axes.set_ylim(*RATIOS)
    axes.set_xlabel("lead [days]")
    axes.set_ylabel("derivative over finite response")
    axes.set_title(
        "Ratio: median and quartiles; green: usable window of the largest amplitude", fontsize=10)
    axes.legend(fontsize=8, loc="best")


def _window(part: xr.Dataset, amplitude: float) -> str:
    """Return the window of an amplitude in words."""
    at = part.sel(amplitude=amplitude)
    days, low, high = (float(at[f"usable_window_days{x}"]) for x in ("", "_low", "_high"))
    more = "at least " if bool(at["usable_window_days_at_least"]) else ""
    return f"usable {more}{days:g} days ({low:g}-{high:g})"


def _size(field: xr.DataArray) -> np.ndarray:
    return np.sqrt((field**2).mean("state").values)


def _colours(part: xr.Dataset) -> list[tuple[float, Any]]:
    sizes = part["amplitude"].values
    return list(zip(sizes, colormaps["viridis"](np.linspace(0.1, 0.8, len(sizes))), strict=True))
