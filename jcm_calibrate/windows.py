"""What is compared with observations: runs over short windows from many initial states.

A window is a run from its own state and date. All windows take parameters and forcing from the
inputs that are given, so that one vector of parameters leads to one set of fields, whose first
axis runs over the outputs of the first window, then those of the second, and so on.

Windows of a day or a few from many states keep within the time over which a gradient means
anything. A climatological window has a spin-up, in which the model adapts to its parameters and
which is not differentiated, and a long run after it. In windows with relaxation the run is the
same, and its derivatives are damped, see `jcm_sensitivity.nudging`.
"""

import dataclasses
import warnings
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

from jcm.checkpoints import schedule
from jcm.model import Model
from jcm.physics import Fields
from jcm.simulate import Inputs, output_windows, simulate, swept, whole_steps
from jcm.state import State
from jcm_sensitivity.default_horizons import default_horizon
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.horizon import HorizonWarning
from jcm_sensitivity.nudging import nudged_model

__all__ = ["Windows", "initial_states", "make_windows"]


class Windows(eqx.Module):
    """Runs from several states as one function of the inputs; made by `make_windows`."""

    model: Model
    #: States with a leading axis of windows.
    states: State
    #: First day of each window [days since 1970-01-01].
    start_days: Int[Array, " window"]
    days: float = eqx.field(static=True)
    every: float = eqx.field(static=True)
    average: bool = eqx.field(static=True)
    observe: tuple[str, ...] | None = eqx.field(static=True)
    spin_up_days: float = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    #: Largest number of states kept by reverse mode; None keeps one a step, for both modes.
    kept_states: int | None = eqx.field(static=True)

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.start_days)

    @property
    def outputs(self) -> int:
        """Outputs of each window."""
        return output_windows(self.model, self.days, self.every)[1]

    @property
    def model_days(self) -> float:
        """Days that one evaluation simulates."""
        return self.count * (self.days + self.spin_up_days)

    def __call__(self, inputs: Inputs) -> Fields:
        """Return the fields of all windows; the first axis is (window, output) in one.

        States and dates are those of the windows, everything else is taken from `inputs`.
        """
        fields = jax.lax.map(
            lambda start: self._one(inputs, *start), (self.states, self.start_days),
            batch_size=None if self.batch_size == 1 else self.batch_size)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fields)

    def _one(self, inputs: Inputs, state: State, start_day: Array) -> Fields:
        forcing = dataclasses.replace(inputs.forcing, start_day=start_day)
        inputs = Inputs(inputs.parameters, forcing, state)
        if self.spin_up_days:
            held = jax.lax.stop_gradient(inputs)
            state = simulate(self.model, held, days=self.spin_up_days, observe=())[0]
            inputs = inputs.with_state(jax.lax.stop_gradient(state))
        if self.kept_states is None:
            return simulate(
                self.model, inputs, days=self.days, every=self.every, average=self.average,
                observe=self.observe)[1]  # fmt: skip
        steps, windows = output_windows(self.model, self.days, self.every)
        total = steps * windows
        return swept(
            self.model, inputs, schedule(total, min(total, self.kept_states)), np.int32(steps),
            windows, self.average, self.observe)[1]  # fmt: skip

    def take(self, windows: Sequence[int] | np.ndarray) -> "Windows":
        """Return some of the windows: a mini-batch, or those to train on.

        Raises
        ------
        ValueError
            If there is no such window.
        """
        index = _checked_index(windows, self.count)
        return dataclasses.replace(
            self, states=jax.tree.map(lambda x: x[index], self.states),
            start_days=self.start_days[index])  # fmt: skip

    def observing(self, variables: Sequence[str]) -> "Windows":
        """Return the same windows with only these variables, which is cheaper."""
        return dataclasses.replace(self, observe=tuple(variables))

    def warn_beyond_horizon(self, stacklevel: int = 2) -> None:
        """Warn if gradients over a window no longer tell the response to a finite change.

        The measured windows are those of `jcm_sensitivity.default_horizons`.

        Warns
        -----
        HorizonWarning
            If the window is longer than the gradients of an observed variable are usable.
        """
        smooth = bool(getattr(self.model.physics, "smooth", False))
        horizon = default_horizon(self.observe or (), smooth=smooth)
        if horizon is None or self.days <= horizon:
            return
        warnings.warn(
            f"gradients over windows of {self.days:g} days are beyond their usable window of "
            f"{horizon:g} days for {', '.join(self.observe or ())}; "
            + ("use shorter windows from more states, or a method without gradients" if smooth
               else "with exact switches they leave out what flips: use "
               "build_model(..., smooth=True), or a method without gradients"),
            HorizonWarning, stacklevel=stacklevel)  # fmt: skip


def make_windows(
    model: Model,
    members: Sequence[Inputs],
    *,
    days: float,
    every: float | None = None,
    average: bool = True,
    observe: Sequence[str] | None = None,
    spin_up_days: float = 0.0,
    relaxation_days: float | None = None,
    batch_size: int = 1,
    kept_states: int | None = None,
) -> Windows:
    """Return runs over short windows from the states and dates of several inputs.

    Parameters
    ----------
    model
        Structure.
    members
        Inputs with the states and dates to start from, e.g. of `initial_states`.
    days, every, average, observe
        Length of each window and its output, as in `jcm.simulate`.
    spin_up_days
        Days run before each window with the parameters of the evaluation; not observed, and not
        differentiated: derivatives take the state after the spin-up as given.
    relaxation_days
        If given, derivatives of the atmosphere are damped within so many days, which keeps those
        of long windows finite and makes them too small; the runs stay the same.
    batch_size
        Windows run at once. On two cores one after another is fastest; on an accelerator use all.
    kept_states
        Largest number of states that reverse mode keeps for a window; forward mode then does not
        work. Default: one a step, and both modes.

    Raises
    ------
    ValueError
        If there are no members, their states differ in structure, a length is no positive
        multiple of the time step, or a size is not positive.
    """
    if not members:
        raise ValueError("expected at least one initial state, e.g. of initial_states(...)")
    if batch_size < 1 or (kept_states is not None and kept_states < 1):
        raise ValueError(
            f"batch_size and kept_states are positive; got {batch_size} and {kept_states}")
    output_windows(model, days, days if every is None else every)
    if spin_up_days:
        whole_steps(model, "spin_up_days", spin_up_days)
    form = jax.tree.structure(members[0].state)
    if any(jax.tree.structure(other.state) != form for other in members[1:]):
        raise ValueError("the initial states differ in structure; make all with the same model")
    if relaxation_days is not None:
        model = nudged_model(model, relaxation_days)
    return Windows(
        model=model,
        states=jax.tree.map(lambda *x: jnp.stack(x), *(m.state for m in members)),
        start_days=jnp.stack([m.forcing.start_day for m in members]),
        days=float(days),
        every=float(days if every is None else every),
        average=average,
        observe=None if observe is None else tuple(observe),
        spin_up_days=float(spin_up_days),
        batch_size=batch_size,
        kept_states=kept_states,
    )


def _checked_index(windows: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    index = np.asarray(windows)
    if index.ndim != 1 or not index.size or index.dtype.kind not in "iu" or (
            index.min() < 0 or index.max() >= count):
        raise ValueError(
            f"expected numbers of windows from 0 to {count - 1}, at least one; got {windows!r}")
    return index
