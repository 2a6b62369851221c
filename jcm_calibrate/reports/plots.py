"""Figures of a calibration: how it went, what it changed, how far the data decide.

Every function returns a figure; `write_figure` writes it, `inline` gives it as a page holds it.
`plots_posterior` has those of draws.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from jcm_calibrate.reports.plots_style import (
    BLUE,
    COLOURS,
    RED,
    SKY,
    STYLE,
    WIDTH,
    check_labels,
    one_panel,
    plain,
    short,
)
from jcm_sensitivity.plot import checked_map, colour_bar, colour_limit, draw_map, map_axes

#: Most data of a predictive plot with their names beneath.
MOST_NAMES = 40
#: An objective that falls by less than this factor is drawn on a linear axis.
NARROW = 3
#: Components of a direction are written from this size on.
WRITTEN = 0.1


def plot_loss(histories: Mapping[str, Any]) -> Figure:
    """Return the objective against what it took: points each evaluation, lines the best so far.

    Parameters
    ----------
    histories
        Name of the fit -> `Fit.history`, or anything indexed by "value" and "cost".
    """
    if not histories:
        raise ValueError("there are no fits to plot; give name -> history")
    with matplotlib.rc_context(STYLE):
        figure, axes = one_panel(WIDTH, 4)
        smallest, largest = np.inf, 0.0
        for k, (name, history) in enumerate(histories.items()):
            cost, value = (np.asarray(history[key], float) for key in ("cost", "value"))
            known = np.isfinite(value)
            if not known.any():
                continue
            best = np.fmin.accumulate(value)
            smallest = min(smallest, float(np.nanmin(value)))
            largest = max(largest, float(np.max(value[known])))
            colour = COLOURS[k % len(COLOURS)]
            axes.plot(cost[known], value[known], ".", color=colour, ms=3, alpha=0.4)
            axes.step(cost, best, where="post", color=colour, lw=1.8, label=plain(name))
            if not known.all():
                axes.plot(cost[~known], np.full((~known).sum(), 0.02), "x", color=colour, ms=4,
                          transform=axes.get_xaxis_transform())  # fmt: skip
        if 0 < smallest < np.inf and largest > NARROW * smallest:
            axes.set_yscale("log")
        axes.set(xlabel="cost [forward evaluations]", ylabel="objective")
        axes.grid(alpha=0.25)
        if len(histories) > 1:
            axes.legend(frameon=False, ncols=1 + len(histories) // 6)
        axes.set_title("best so far (lines), evaluations (points), not finite (crosses)",
                       loc="left", fontsize=9)  # fmt: skip
    return figure


def plot_traces(
    history: Any, labels: Sequence[str], truth: Any = None
) -> Figure:
    """Return each parameter against the evaluations, in prior standard deviations.

    Parameters
    ----------
    history
        `Fit.history`, or anything indexed by "iterate" (evaluation, n).
    labels
        Names of the parameters.
    truth
        Values of z that are to be found, in a twin experiment.
    """
    z = np.asarray(history["iterate"], float)
    check_labels(z, labels)
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.6 + 1.5 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for k, axes in enumerate(panels):
            if k >= len(labels):
                axes.set_visible(False)
                continue
            axes.axhspan(-1, 1, color="0.93", lw=0)
            axes.plot(z[:, k], color=BLUE, lw=1.3)
            if truth is not None:
                axes.axhline(truth[k], color=RED, lw=1, ls="--")
            axes.set_title(plain(short(labels[k])), fontsize=9)
            # Panels above an empty place have the lowest axis of their column.
            axes.tick_params(labelbottom=k + columns >= len(labels))
        figure.supxlabel("evaluation", fontsize=9)
        figure.supylabel("z [prior standard deviations]", fontsize=9)
    return figure


def plot_bias(before: xr.DataArray, after: xr.DataArray, *, title: str | None = None) -> Figure:
    """Return two maps of the bias with the same colours, their root mean squares in the titles.

    Parameters
    ----------
    before, after
        Model minus observations (lat, lon) on a Gaussian grid, with `units` and `long_name`; NaN
        where nothing is observed.
    title
        Heading; default the long name.
    """
    fields = [checked_map(x.fillna(0.0)) for x in (before, after)]
    if fields[0].shape != fields[1].shape:
        raise ValueError(
            f"the maps before and after have different grids, {fields[0].shape} and "
            f"{fields[1].shape}; regrid one of them")
    known = (before + after).notnull().transpose("lat", "lon")
    values = np.stack([x.values for x in fields])[:, known.values]
    limit, units = colour_limit(values), before.attrs.get("units", "1")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH + 1.5, 4.0), layout="constrained")
        panels = [map_axes(figure, 1, 2, k) for k in (1, 2)]
        meshes = [draw_map(axes, x.where(known), limit)
                  for axes, x in zip(panels, fields, strict=True)]  # fmt: skip
        for axes, x, when in zip(panels, fields, ("before", "after"), strict=True):
            weight = np.cos(np.deg2rad(x.lat.values))[:, None] * known.values
            error = np.sqrt(np.average(x.values**2, weights=weight))
            mean = np.average(x.values, weights=weight)
            axes.set_title(
                f"{when}: root mean square {error:.3g}, mean {mean:.3g} {units}", fontsize=9)
        colour_bar(
            figure, meshes[0], values, f"model minus observations [{units}]", ax=panels,
            orientation="horizontal", shrink=0.5, aspect=40, pad=0.03)
        figure.suptitle(plain(title or before.attrs.get("long_name", before.name or "")),
                        fontsize=10, y=1.0)  # fmt: skip
    return figure


def plot_predictive(predictions: xr.Dataset) -> Figure:
    """Return the data with their errors and what the model says, in units of the errors.

    Parameters
    ----------
    predictions
        `predictions.nc`: observed, error, before, after (datum), optionally draws (draw, datum)
        whose 5 % to 95 % range is shown as a bar.
    """
    error = predictions["error"].values
    scaled = {
        name: (predictions[name].values - predictions["observed"].values) / error
        for name in ("before", "after", "draws") if name in predictions}  # fmt: skip
    count = error.size
    x = np.arange(count)
    with matplotlib.rc_context(STYLE):
        named = count <= MOST_NAMES
        figure, axes = one_panel(WIDTH, 5.0 if named else 3.6)
        axes.axhspan(-2, 2, color="0.94", lw=0)
        axes.axhspan(-1, 1, color="0.86", lw=0)
        axes.axhline(0, color="0.4", lw=0.8)
        size = 6 if named else 3
        if "draws" in scaled:
            low, high = np.quantile(scaled["draws"], [0.05, 0.95], axis=0)
            axes.vlines(x, low, high, color=SKY, lw=5 if named else 1.5, alpha=0.8,
                        label="posterior predictive, 90 %")  # fmt: skip
        axes.plot(x, scaled["before"], "o", mfc="none", color=RED, ms=size, label="before")
        axes.plot(x, scaled["after"], "o", color=BLUE, ms=size * 0.8, label="after")
        limit = 1.08 * np.nanmax(np.abs(np.concatenate([scaled["before"], scaled["after"], [3]])))
        if limit > 20:
            axes.set_yscale("symlog", linthresh=3)
        axes.set(ylim=(-limit, limit), xlim=(-0.7, count - 0.3),
                 ylabel="(model - observed) / error")  # fmt: skip
        if named and "label" in predictions.coords:
            axes.set_xticks(x, [plain(short(s, 34)) for s in predictions["label"].values],
                            rotation=90, fontsize=7)  # fmt: skip
        else:
            axes.set_xlabel("datum")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def plot_spectrum(
    eigenvalues: Any, directions: Any, labels: Sequence[str]
) -> Figure:
    """Return how well the data decide each direction of the parameters, and what it consists of.

    Parameters
    ----------
    eigenvalues
        Variance of the prior over that of the data along each direction, the largest first.
    directions
        Their unit vectors (direction, parameter).
    labels
        Names of the parameters.
    """
    values, vectors = np.asarray(eigenvalues, float), np.asarray(directions, float)
    check_labels(vectors, labels)
    n, known = len(values), np.asarray(eigenvalues) > 1
    least = max(values.max() * 1e-12, 1e-6)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.8 + 0.32 * n), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.7], sharey=True)
        left.barh(np.arange(n), np.maximum(values, least), left=least * 0.5,
                  color=[BLUE if k else "0.72" for k in known])  # fmt: skip
        left.axvline(1, color=RED, lw=1.2)
        left.set(xscale="log", xlabel="variance of the prior / of the data", ylabel="direction",
                 yticks=np.arange(n), yticklabels=np.arange(1, n + 1))  # fmt: skip
        left.set_title(f"{known.sum()} of {n} decided by the data (blue)", fontsize=9)
        left.invert_yaxis()
        picture = right.imshow(vectors, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        right.set_xticks(np.arange(n), [plain(short(x)) for x in labels], rotation=60,
                         ha="right", rotation_mode="anchor", fontsize=8)  # fmt: skip
        right.tick_params(labelleft=False, left=False)
        for i, j in zip(*np.nonzero(np.abs(vectors) >= WRITTEN), strict=True) if n <= 12 else ():
            right.text(j, i, f"{vectors[i, j]:.1f}", ha="center", va="center", fontsize=7,
                       color="white" if abs(vectors[i, j]) > 0.6 else "black")  # fmt: skip
        right.set_title("what each direction consists of", fontsize=9)
        figure.colorbar(picture, ax=right, shrink=0.9, label="component")
    return figure
