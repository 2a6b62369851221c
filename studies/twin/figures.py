"""Figures of the twin experiment; computes nothing new."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from experiment import Twin

from jcm.files import replacing


def draw_all(twin: Twin, fits: dict[str, list[dict[str, np.ndarray]]], folder: Path) -> None:
    """Write all figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {"recovery": recovery(twin, fits), "descent": descent(fits)}.items():
        with replacing(folder / f"{name}.png") as unfinished:
            figure.savefig(unfinished, format="png", dpi=130)
        plt.close(figure)


def recovery(twin: Twin, fits: dict[str, list[dict[str, np.ndarray]]]) -> plt.Figure:
    """Return a figure of starts, truth and estimates in units of the prior width."""
    labels = [label.removeprefix("parameters.") for label in twin.space.labels]
    rows = np.arange(len(labels))
    figure, axes = plt.subplots(figsize=(8.5, 0.42 * len(labels) + 1.6), layout="constrained")
    axes.axvspan(-1, 1, color="0.94", zorder=0)
    for i, fit in enumerate(fits["exact"]):
        axes.plot(fit["start"], rows, "x", color="0.6", ms=5, label="" if i else "random starts")
    axes.plot(twin.truth, rows, "|", color="black", ms=18, mew=1.6, label="truth")
    for i, fit in enumerate(fits["exact"]):
        axes.plot(fit["best"], rows - 0.14, "o", mfc="none", color="tab:blue", ms=6,
                  label="" if i else "recovered without noise")  # fmt: skip
    mode = fits["repeated"][0]
    axes.errorbar(mode["best"], rows + 0.14, xerr=2 * np.sqrt(np.diagonal(mode["covariance"])),
                  fmt="s", color="tab:red", ms=4, capsize=3,
                  label="with noise, ± 2 posterior sd")  # fmt: skip
    axes.set(yticks=rows, yticklabels=labels, ylim=(len(labels) - 0.4, -0.6),
             xlabel="parameter in standard deviations of the prior (0: reference)")  # fmt: skip
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, frameon=False, fontsize=8)
    return figure


def descent(fits: dict[str, list[dict[str, np.ndarray]]]) -> plt.Figure:
    """Return a figure of the objective against the cost of each fit."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharex=True)
    for axes, kind, title in zip(panels, ("exact", "noisy"), ("no noise", "noise"), strict=True):
        for i, fit in enumerate(fits[kind]):
            best = np.minimum.accumulate(fit["values"])
            axes.plot(fit["costs"], best, ".-", ms=4, lw=1, label=f"start {i + 1}")
        axes.set(title=title, yscale="log", xlabel="cost (forward evaluations)")
        axes.grid(color="0.9")
    panels[0].set_ylabel("objective")
    panels[1].legend(frameon=False, fontsize=8)
    return figure
