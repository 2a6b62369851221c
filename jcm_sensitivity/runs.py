"""Runs of a model as functions of their inputs: what is differentiated."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jax import Array

from jcm.checkpoints import Schedule, schedule
from jcm.model import Model
from jcm.physics import Fields
from jcm.simulate import Checkpoint, Inputs, output_windows, simulate, swept


class Experiment(eqx.Module):
    """A run of a model as a function of its inputs; made by `model_experiment`."""

    model: Model
    days: float = eqx.field(static=True)
    every: float = eqx.field(static=True)
    average: bool = eqx.field(static=True)
    observe: tuple[str, ...] | None = eqx.field(static=True)
    checkpoint: Checkpoint = eqx.field(static=True)

    def __call__(self, inputs: Inputs) -> Fields:
        """Return the fields of the run."""
        return simulate(
            self.model, inputs, days=self.days, every=self.every, average=self.average,
            observe=self.observe, checkpoint=self.checkpoint)[1]  # fmt: skip


def model_experiment(
    model: Model,
    *,
    days: float | int,
    every: float | int | None = None,
    average: bool = True,
    observe: Sequence[str] | None = None,
    checkpoint: Checkpoint = "step",
) -> Experiment:
    """Return runs of a model as a function from inputs to fields; arguments of `jcm.simulate`."""
    names = None if observe is None else tuple(observe)
    return Experiment(
        model, float(days), float(days if every is None else every), average, names, checkpoint)


class ReverseRun(eqx.Module):
    """The same run for reverse mode alone; its length is an argument, not part of the program."""

    model: Model
    schedule: Schedule
    #: Steps of a window, that is, between two outputs.
    steps: Array | np.int32
    windows: int = eqx.field(static=True)
    average: bool = eqx.field(static=True)
    observe: tuple[str, ...] | None = eqx.field(static=True)

    def __call__(self, inputs: Inputs, daily: tuple[Any, Any] | None = None) -> Fields:
        """Return the fields of the run; `daily` are parameters and forcing for each day."""
        return swept(
            self.model, inputs, self.schedule, self.steps, self.windows, self.average,
            self.observe, daily)[1]  # fmt: skip


def in_reverse(run: Any, states: int | None = None) -> Any:
    """Return a run of the model for reverse mode that keeps so many states at most, default all.

    Other functions are returned as they are.
    """
    # A subclass may compute something else.
    if type(run) is not Experiment:
        return run
    steps, windows = output_windows(run.model, run.days, run.every)
    total = steps * windows
    if states is None:
        states = run.checkpoint if isinstance(run.checkpoint, int) else total
    return ReverseRun(
        run.model, schedule(total, min(states, total)), np.int32(steps), windows,
        run.average, run.observe)  # fmt: skip
