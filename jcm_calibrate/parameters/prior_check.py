"""Checks of the prior before anything is fitted: does the model run, and what does it give."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jcm_calibrate.parameters.space import ParameterSpace


class PriorCheck(NamedTuple):
    """Draws of the prior and what the model makes of them."""

    labels: tuple[str, ...]
    #: Standard normal variables of the draws.
    z: Float[np.ndarray, "draw n"]
    #: Parameters of the draws, in their units.
    parameters: Float[np.ndarray, "draw n"]
    #: Mean of each output by draw; NaN where any number of it is not finite.
    means: dict[str, Float[np.ndarray, " draw"]]

    @property
    def failed(self) -> Int[np.ndarray, " failed"]:
        """Numbers of the draws with an output that is not finite."""
        return np.flatnonzero(np.any([~np.isfinite(x) for x in self.means.values()], axis=0))

    def describe(self) -> str:
        """Return what failed, and the range of the mean of each output."""
        draws = len(self.z)
        lines = [f"{draws - len(self.failed)} of {draws} draws of the prior gave finite outputs"]
        for number in self.failed:
            far = np.argsort(-np.abs(self.z[number]))[:3]
            values = ", ".join(
                f"{self.labels[i]} = {self.parameters[number, i]:.4g} (z = {self.z[number, i]:.1f})"
                for i in far)
            lines.append(f"draw {number} failed; farthest from the median: {values}")
        for name, x in self.means.items():
            good = x[np.isfinite(x)]
            lines.append(
                f"{name}: mean {good.min():.4g} to {good.max():.4g}, median {np.median(good):.4g}"
                if len(good) else f"{name}: never finite")  # fmt: skip
        return "\n".join(lines)


def check_prior(
    run: Callable[[Any], Any],
    inputs: Any,
    space: ParameterSpace,
    *,
    key: Key[Array, ""],
    size: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> PriorCheck:
    """Return what draws of the prior make of the outputs of a run.

    Parameters
    ----------
    run
        From inputs to an array, or a dictionary (or other tree) of arrays; compiled once.
    inputs, space
        Inputs of the run, and the parameters to draw.
    key, size
        Random key and number of draws.
    progress
        Called with the number of draws done and of all after each.

    Raises
    ------
    ValueError
        If there is no draw or the run has no output.
    """
    if size < 1:
        raise ValueError(f"expected at least one draw of the prior, got {size}")

    @eqx.filter_jit
    def means(space: ParameterSpace, inputs: Any, z: Array) -> dict[str, Array]:
        leaves = jax.tree_util.tree_leaves_with_path(run(space.insert(inputs, z)))
        # A sum with an infinite number is not finite, and a NaN stays one.
        return {_name(path): leaf.mean() for path, leaf in leaves}

    draws = space.draw(key, size)
    rows = []
    for number, z in enumerate(draws, start=1):
        rows.append(jax.tree.map(float, means(space, inputs, z)))
        if progress is not None:
            progress(number, size)
    if not rows[0]:
        raise ValueError("the run has no output; let it return the fields to look at")
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return PriorCheck(
        space.labels, np.asarray(draws), np.asarray(space.to_parameters(draws)), table)


def _name(path: Any) -> str:
    """Return the name of an output; `output` for a single array."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "output"
