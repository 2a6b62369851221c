"""Taylor plots for the page of a certificate."""

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Line of a single cell by its verdict: colours that the colour-blind tell apart (Okabe and Ito).
LINES = {
    "pass": ("#0072b2", "-"), "kink": ("#e69f00", "--"), "jump": ("#d55e00", "-."),
    "noise floor": ("#56b4e9", (0, (5, 1))), "chaotic": ("#cc79a7", ":"),
    "wrong": ("#b3261e", (0, (3, 1, 1, 1)))}  # fmt: skip


def taylor_figure(cells: Sequence[Mapping[str, Any]]) -> str | None:
    """Return an SVG in base64: median and range of the remainders of all cells, and single cells.

    Remainders are over the slope of their cell, so that cells of all units share a plot. Cells
    whose slope is 0 or unknown have none; the result is None if no cell is left.
    """
    usable = [x for x in cells if _curve(x, "r1") is not None]
    if not usable:
        return None
    first = {x["verdict"]: x for x in reversed(usable)}
    single = [first[verdict] for verdict in LINES if verdict in first]
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "taylor"}):
        figure = Figure(figsize=(9.5, 3.8), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True)
        for ax, name, order in zip(axes, ("r1", "r2"), (2, 3), strict=True):
            _panel(ax, usable, single, name, order)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return base64.b64encode(stream.getvalue()).decode()


def _panel(
    ax: Axes, cells: list, single: list[Mapping[str, Any]], name: str, order: int
) -> None:
    by_step: dict[float, list[float]] = defaultdict(list)
    for cell in cells:
        curve = _curve(cell, name)
        for h, r in () if curve is None else zip(*curve, strict=True):
            by_step[float(f"{h:.3g}")].append(r)
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel=f"R{order - 1} / |slope|",
           title=f"R{order - 1}: expected slope {order}")  # fmt: skip
    ax.grid(alpha=0.25)
    if not by_step:
        ax.text(0.5, 0.5, "not computed", transform=ax.transAxes, ha="center")
        return
    steps = np.array(sorted(by_step))
    percent = np.array([np.percentile(by_step[h], [0, 10, 50, 90, 100]) for h in steps]).T
    count = max(map(len, by_step.values()))
    ax.fill_between(steps, percent[0], percent[4], color="0.9", lw=0, label=f"all {count} cells")
    ax.fill_between(steps, percent[1], percent[3], color="0.75", lw=0, label="10 to 90 %")
    ax.plot(steps, percent[2], color="k", lw=2, label="median")
    for cell in single:
        curve, (colour, dashes) = _curve(cell, name), LINES[cell["verdict"]]
        if curve is not None:
            ax.plot(*curve, color=colour, ls=dashes, lw=1.2, label=_label(cell))
    _slopes(ax, steps, percent[2])


def _label(cell: Mapping[str, Any]) -> str:
    parts = [str(cell["input"]).rsplit(".", 1)[-1], str(cell["target"])]
    short = ", ".join(x if len(x) <= 26 else x[:25] + "\u2026" for x in parts)
    # A dollar sign would begin a formula, an underscore in front would hide the line.
    return f"{cell['verdict']}: {short}".replace("$", r"\$")


def _slopes(ax: Axes, steps: np.ndarray, median: np.ndarray) -> None:
    """Draw what falls with the first, second and third power of the step."""
    low, high = ax.get_ylim()
    top = median[-1]
    for power in (1, 2, 3):
        line = top * (steps / steps[-1]) ** power
        ax.plot(steps, line, color="0.35", lw=0.7, ls=(0, (1, 2)))
        inside = np.flatnonzero((line >= low) & (line <= high))
        if len(inside):
            i = inside[0]
            ax.annotate(
                f"$h^{power}$", (steps[i], line[i]), color="0.35", ha="right", va="bottom",
                fontsize=8)
    ax.set_ylim(low, high)


def _curve(cell: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return steps and relative remainders where there are any above 0."""
    slope, steps, values = cell.get("ad"), cell.get("steps"), cell.get(name)
    if not slope or not steps or not values or not np.isfinite(slope):
        return None
    h = np.array(steps, float)
    r = np.array([np.nan if x is None else x for x in values], float) / abs(slope)
    good = np.isfinite(r) & (r > 0)
    return (h[good], r[good]) if good.any() else None
