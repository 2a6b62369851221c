"""Figure of the race; computes nothing new."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from jcm.files import replacing

#: Values closer to the lowest than this are rounding of the sum over the data.
FLOOR = 1e-2
GROUPS = {
    "gradients": ("adam", "lbfgs", "gauss_newton"),
    "Kalman inversion": ("eki", "etki", "uki"),
    "no gradient": ("cma_es", "nelder_mead"),
    "controls": ("adam_sign_only", "adam_half_flipped", "adam_shuffled", "lbfgs_half_flipped"),
}


def draw_all(
    summary: dict[str, Any], runs: dict[str, list[dict[str, np.ndarray]]], folder: Path
) -> None:
    """Write all figures."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = race(summary, runs)
    with replacing(folder / "race.png") as unfinished:
        figure.savefig(unfinished, format="png", dpi=130)
    plt.close(figure)


def race(summary: dict[str, Any], runs: dict[str, list[dict[str, np.ndarray]]]) -> plt.Figure:
    """Return a figure of the best value so far against the cost, median and quartiles."""
    days, lowest = summary["plan"]["model_days_of_one_evaluation"], summary["lowest_value"]
    costs = np.geomspace(1, summary["plan"]["budget_in_evaluations"], 200)
    figure, panels = plt.subplots(
        1, len(GROUPS), figsize=(12, 3.8), layout="constrained", sharex=True, sharey=True)
    for axes, (title, names) in zip(panels, GROUPS.items(), strict=True):
        for i, name in enumerate(n for n in names if n in runs):
            low, middle, high = np.quantile(
                [best_so_far(run, lowest, costs) for run in runs[name]], [0.25, 0.5, 0.75], axis=0,
                method="nearest")
            axes.plot(days * costs, middle, color=f"C{i}", label=name.replace("_", " "))
            axes.fill_between(days * costs, low, high, color=f"C{i}", alpha=0.2, lw=0)
        axes.axhline(summary["plan"]["arrived_within"], color="0.5", lw=0.8, ls="--")
        axes.set(xscale="log", yscale="log", title=title, xlabel="cost (model days)")
        axes.grid(color="0.92")
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    panels[0].set_ylabel("objective above its lowest value")
    return figure


def best_so_far(run: dict[str, np.ndarray], lowest: float, costs: np.ndarray) -> np.ndarray:
    """Return the excess of the best value at each cost, NaN before the first."""
    values = np.minimum.accumulate(np.where(np.isfinite(run["value"]), run["value"], np.inf))
    place = np.searchsorted(run["cost"], costs, side="right") - 1
    excess = np.maximum(values[np.maximum(place, 0)] - lowest, FLOOR)
    return np.where((place >= 0) & np.isfinite(excess), excess, np.nan)
