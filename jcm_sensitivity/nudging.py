"""Runs whose perturbations are damped towards the unperturbed run: synchronised derivatives.

After each step a perturbed state x is drawn towards the unperturbed trajectory x_r,
x <- x + dt / tau (x_r - x). On the unperturbed run itself the correction is exactly 0, so the run
does not change; its tangent is damped by 1 - dt / tau in each step. With 1 / tau above the leading
Lyapunov exponent the tangent is stable, and derivatives of long means stay finite.

The price is a bias: what takes longer than tau to build up is damped as well. A mode that decays
at the rate k answers a steady forcing with 1 / (k + 1 / tau) instead of 1 / k.

Abarbanel, H. D. I., Creveling, D. R., Farsian, R. and Kostuk, M. (2009): Dynamical state and
parameter estimation. SIAM J. Appl. Dyn. Syst., 8, 1341-1381, damp the tangent in this way to fit
parameters to observations.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array

from jcm.dynamics import Dynamics
from jcm.model import Model
from jcm.state import Prognostics, Tendency
from jcm.transform import FlatSpectrum, Transform

T = TypeVar("T")


def damped(state: T, factor: float) -> T:
    """Return the same state, whose derivatives are smaller by `factor`; 0 leaves them, 1 ends them.

    The reference is the state itself, held: on the unperturbed run the two are the same numbers.
    """
    def one(x: Any) -> Any:
        return x + factor * (jax.lax.stop_gradient(x) - x) if eqx.is_inexact_array(x) else x

    return jax.tree.map(one, state)


def damped_step(step: Callable, factor: float) -> Callable:
    """Return a step of the same trajectory, whose tangent is damped by 1 - factor."""
    return lambda state, *arguments: damped(step(state, *arguments), factor)


class NudgedDynamics(Dynamics):
    """Another dynamics with perturbations of the atmosphere damped after each step."""

    inner: Dynamics
    #: Time step over relaxation time [1].
    factor: float = eqx.field(static=True)

    def __init__(self, inner: Dynamics, factor: float):
        self.inner, self.factor = inner, factor

    @property
    def transform(self) -> Transform:
        """The spherical-harmonic transform."""
        return self.inner.transform

    def advance(
        self, previous: Prognostics, current: Prognostics, physics: Tendency,
        surface_geopotential: FlatSpectrum, temperature_correction: FlatSpectrum,
        humidity_correction: FlatSpectrum, step: Array, parameters: Any,
    ) -> tuple[Prognostics, Prognostics]:  # fmt: skip
        """Return the two time levels after one step, as the inner dynamics does.

        Both levels are damped: a leapfrog step leads over two time steps.
        """
        levels = self.inner.advance(
            previous, current, physics, surface_geopotential, temperature_correction,
            humidity_correction, step, parameters)  # fmt: skip
        return damped(levels, self.factor)


def nudged_model(model: Model, relaxation_days: float) -> Model:
    """Return the model with perturbations of the atmosphere damped; its runs stay the same.

    Parameters
    ----------
    model
        The model.
    relaxation_days
        Time in which a perturbation of wind, temperature, humidity and pressure falls to 1/e. The
        slabs of soil, ice and mixed layer, which are not chaotic, are not damped.

    Raises
    ------
    ValueError
        If the time is shorter than a time step.
    """
    factor = 1 / (relaxation_days * model.steps_per_day) if relaxation_days > 0 else 2.0
    if not factor < 1:
        raise ValueError(
            f"relaxation_days must be longer than the time step of {1 / model.steps_per_day:.3g} "
            f"days; got {relaxation_days}")
    return eqx.tree_at(
        lambda m: m.dynamics, model, NudgedDynamics(model.dynamics, float(factor)))
