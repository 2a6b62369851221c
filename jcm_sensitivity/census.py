"""Which decisions two runs of a function made differently."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from jcm_sensitivity.decisions import Decision, codes


@dataclasses.dataclass(frozen=True)
class Flip:
    """A decision that two runs made differently."""

    name: str
    #: File and line.
    where: str
    kind: str
    #: Index along the first axis of three, 0 at the top in the model; None without such an axis.
    layer: int | None
    #: Indices along the loops where it flips first, the outermost first; () outside of loops.
    step: tuple[int, ...]
    #: How many entries (columns) flip, all passes of the loops together.
    count: int

    def __str__(self) -> str:
        """One line."""
        layer = "" if self.layer is None else f", layer {self.layer}"
        step = f", first in step {', '.join(map(str, self.step))}" if self.step else ""
        return f"{self.count} x {self.name} ({self.kind}{layer}{step}; {self.where})"


def census(
    first: Sequence[Any], second: Sequence[Any], table: Sequence[Decision]
) -> list[Flip]:
    """Return which decisions differ, most frequent first.

    Decisions on the same line of the source count together, by layer.

    Parameters
    ----------
    first, second
        What `record` returned in two runs.
    table
        What `decision_table` returned for the same function.

    Raises
    ------
    ValueError
        If the three do not have the same length.
    """
    if not len(first) == len(second) == len(table):
        raise ValueError(
            f"expected decisions of one function and its table; got {len(first)}, {len(second)} "
            f"and {len(table)} entries")
    counts: dict[tuple[str, str, str, int | None], int] = defaultdict(int)
    steps: dict[tuple, tuple[int, ...]] = {}
    for a, b, decision in zip(first, second, table, strict=True):
        if np.array_equal(a, b):
            continue
        differ = codes(a, decision) != codes(b, decision)
        layered = len(decision.shape) >= 3
        rows = differ.reshape(*decision.loops, decision.shape[0] if layered else 1, -1).sum(-1)
        for layer in np.flatnonzero(rows.sum(tuple(range(len(decision.loops))))):
            key = (decision.name, decision.where, decision.kind, int(layer) if layered else None)
            step = tuple(int(i) for i in np.argwhere(rows[..., layer])[0])
            steps[key] = min(steps.get(key, step), step)
            counts[key] += int(rows[..., layer].sum())
    flips = [
        Flip(name, where, kind, layer, steps[name, where, kind, layer], count)
        for (name, where, kind, layer), count in counts.items()]
    return sorted(flips, key=lambda flip: (-flip.count, flip.step, flip.name, flip.layer or 0))
