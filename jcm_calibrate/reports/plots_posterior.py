"""Figures of draws of a posterior: pairs of parameters, and ranks of the chains."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm, rankdata

from jcm_calibrate.reports.plots_style import (
    BLUE,
    COLOURS,
    DARK,
    RED,
    SKY,
    STYLE,
    WIDTH,
    check_labels,
    plain,
    short,
)
from jcm_calibrate.uncertainty.inference_data import InferenceData

#: Most parameters of a plot of pairs, and most draws shown as points.
MOST_PAIRS, MOST_POINTS = 12, 1500
#: Bins of a histogram of ranks.
RANK_BINS = 20  # chosen here


def plot_pairs(
    draws: Float[np.ndarray, "draw parameter"],
    labels: Sequence[str],
    *,
    truth: Any = None,
    gaussian: tuple[Any, Any] | None = None,
) -> Figure:
    """Return marginal distributions and all pairs of parameters.

    Parameters
    ----------
    draws
        Draws of the posterior.
    labels
        Names of the parameters.
    truth
        True values, in a twin experiment.
    gaussian
        Mean and covariance of an approximation, drawn as curves and ellipses of 50 % and 90 %.

    Raises
    ------
    ValueError
        If there are more than 12 parameters: choose some.
    """
    draws = np.asarray(draws, float)
    check_labels(draws, labels)
    n = len(labels)
    if n > MOST_PAIRS:
        raise ValueError(f"pairs of {n} parameters do not fit; choose at most {MOST_PAIRS}")
    shown = draws[:: max(1, len(draws) // MOST_POINTS)]
    with matplotlib.rc_context(STYLE):
        side = max(3.0, min(1.9 * n, 13.0))
        figure = Figure(figsize=(side, side), layout="constrained")
        panels: Any = figure.subplots(n, n, squeeze=False, sharex="col")
        for i, j in np.ndindex(n, n):
            axes = panels[i, j]
            if j > i:
                axes.set_visible(False)
            elif i == j:
                _marginal(axes, draws[:, i], gaussian, i, None if truth is None else truth[i])
            else:
                axes.plot(shown[:, j], shown[:, i], ".", ms=2, alpha=0.35, color=BLUE,
                          rasterized=True)  # fmt: skip
                _ellipses(axes, gaussian, j, i)
                if truth is not None:
                    axes.plot(truth[j], truth[i], "+", color=RED, ms=9, mew=1.8)
            axes.tick_params(labelsize=7)
            if i == n - 1:
                axes.set_xlabel(plain(short(str(labels[j]))), fontsize=8)
            if j == 0 and i > 0:
                axes.set_ylabel(plain(short(str(labels[i]))), fontsize=8)
            elif i != j:
                axes.set_yticklabels([])
    return figure


def plot_ranks(posterior: InferenceData, names: Sequence[str] = ()) -> Figure:
    """Return rank histograms by chain: flat where the chains have mixed.

    Vehtari, A. and others (2021): Rank-normalization, folding, and localization: an improved R-hat.
    Bayesian Anal., 16, 667-718.

    Parameters
    ----------
    posterior
        With the group `posterior`.
    names
        Variables to show; default all.
    """
    group = posterior["posterior"].to_dataset()
    group = group[list(names)] if names else group
    draws = numbers(group)
    count = draws.shape[2]
    columns = min(3, count)
    rows = -(-count // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for k, (axes, title) in enumerate(zip(panels, titles(group), strict=False)):
            _ranks(axes, draws[:, :, k])
            axes.set_title(plain(short(title)), fontsize=9)
            axes.set_xlabel("rank of all draws" if axes in panels[count - columns:count] else "",
                            fontsize=8)  # fmt: skip
            axes.set_ylabel("share of a chain" if axes in panels[::columns] else "", fontsize=8)
            axes.tick_params(labelsize=7)
        for axes in panels[count:]:
            axes.set_visible(False)
    return figure


def numbers(group: xr.Dataset) -> Float[np.ndarray, "chain draw number"]:
    """Return all numbers of all variables of a posterior."""
    return np.concatenate([
        data.transpose("chain", "draw", ...).values.reshape(
            group.sizes["chain"], group.sizes["draw"], -1)
        for data in group.data_vars.values()], axis=2)


def titles(group: xr.Dataset) -> list[str]:
    """Return a name for each number of each variable of a posterior, in the order of `numbers`."""
    found = []
    for name, data in group.data_vars.items():
        dims = [dim for dim in data.dims if dim not in ("chain", "draw")]
        if not dims:
            found.append(str(name))
        for index in np.ndindex(*[data.sizes[dim] for dim in dims]) if dims else ():
            parts = [str(data[dim].values[k]) for dim, k in zip(dims, index, strict=True)]
            found.append(f"{name}: {', '.join(parts)}" if len(group.data_vars) > 1
                         else ", ".join(parts))  # fmt: skip
    return found


def _ranks(axes: Axes, draws: Float[np.ndarray, "chain draw"]) -> None:
    """Draw how many draws of each chain are in each bin of the ranks of all draws."""
    edges = np.linspace(0, draws.size, RANK_BINS + 1)
    level = draws.shape[1] / RANK_BINS
    for k, ranks in enumerate(rankdata(draws, axis=None).reshape(draws.shape)):
        counts, colour = np.histogram(ranks, edges)[0], COLOURS[k % len(COLOURS)]
        axes.plot((edges[1:] + edges[:-1]) / 2, counts, "o", ms=3, color=colour)
        axes.vlines((edges[1:] + edges[:-1]) / 2, level, counts, colors=colour, lw=2)
    axes.axhline(level, ls="--", color="k")
    axes.set_ylim(0, 2 * level)
    axes.set_yticks([])


def _marginal(axes: Axes, draws: np.ndarray, gaussian: Any, i: int, truth: float | None) -> None:
    axes.hist(draws, bins=30, density=True, color=SKY, histtype="stepfilled", alpha=0.7)
    if gaussian is not None:
        mean, covariance = (np.asarray(x, float) for x in gaussian)
        spread = np.sqrt(covariance[i, i])
        x = np.linspace(mean[i] - 3.5 * spread, mean[i] + 3.5 * spread, 200)
        axes.plot(x, norm.pdf(x, mean[i], spread), color=DARK, lw=1.2)
    if truth is not None:
        axes.axvline(truth, color=RED, lw=1.2, ls="--")
    axes.set_yticks([])


def _ellipses(axes: Axes, gaussian: Any, i: int, j: int) -> None:
    """Draw the ellipses that hold 50 % and 90 % of two components."""
    if gaussian is None:
        return
    mean, covariance = (np.asarray(x, float) for x in gaussian)
    factor = np.linalg.cholesky(covariance[np.ix_([i, j], [i, j])] + 1e-300 * np.eye(2))
    angle = np.linspace(0, 2 * np.pi, 121)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for part in (0.5, 0.9):
        x, y = mean[[i, j], None] + np.sqrt(-2 * np.log(1 - part)) * factor @ circle
        axes.plot(x, y, color=DARK, lw=1)
