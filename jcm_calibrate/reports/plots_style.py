"""What the figures of a calibration have in common: colours, sizes, and how they are written.

Colours are those of Okabe and Ito, which the colour-blind tell apart.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jcm.files import replacing

BLUE, ORANGE, GREEN, RED, SKY, PINK = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
DARK = "#1b1f24"
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, DARK)
#: Width of a figure [inches], dots per inch of pictures.
WIDTH, DPI = 9.5, 130
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def write_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    with replacing(path) as part:
        part.write_bytes(png(figure))
    return path


def inline(figure: Figure, alternative: str) -> str:
    """Return an HTML element that contains the figure; the alternative text is HTML already."""
    data = base64.b64encode(png(figure)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{alternative}">'


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size [inches] and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """Return the figure as PNG."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(
        stream, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08,
        metadata={"Software": "jcm_calibrate"})  # fmt: skip
    return stream.getvalue()


def short(label: Any, longest: int = 28) -> str:
    """Return the last part of a dotted name; what is too long loses its middle."""
    text = str(label)
    text = text if " " in text else text.rsplit(".", 1)[-1]
    tail = longest // 3
    return text if len(text) <= longest else f"{text[: longest - tail - 1]}\u2026{text[-tail:]}"


def plain(text: Any) -> str:
    """Return a text for a figure: a dollar sign would begin a formula."""
    return str(text).replace("$", r"\$")


def check_labels(columns: np.ndarray, labels: Sequence[str]) -> None:
    """Raise a ValueError if there is not one column per label."""
    if columns.ndim != 2 or columns.shape[1] != len(labels):
        raise ValueError(
            f"expected one column per parameter, {len(labels)}; got an array {columns.shape}")
