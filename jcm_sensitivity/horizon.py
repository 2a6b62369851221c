"""How long a gradient means anything: gradient times change against the response of finite runs.

In a chaotic flow a derivative grows without limit with lead time, the response to a finite change
does not. Up to some lead the two agree; the usable window ends where they part. It depends on the
size of the change: the smaller, the longer (Lea, D. J., Allen, M. R. and Haine, T. W. N., 2000:
Sensitivity analysis of the climate of a chaotic system. Tellus A, 52, 523-532).

Everything here is for any function of JAX from a point to numbers by lead; `model_horizon` applies
it to runs of the model.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from jcm_sensitivity.growth import DRAWS
from jcm_sensitivity.names import TOLERANCE

#: Part of the draws of the bootstrap inside the confidence interval.
CONFIDENCE = 0.95


class HorizonWarning(UserWarning):
    """A derivative over a lead at which it no longer tells the response to a finite change."""


class ResponseRatio(eqx.Module):
    """Linear and finite responses from several initial states."""

    #: Leads, in any unit of time; sizes of the change, as multiples of the direction.
    lead: Float[np.ndarray, " lead"]
    amplitude: Float[np.ndarray, " amplitude"]
    #: Derivative along the direction; (state, lead).
    linear: Float[np.ndarray, "state lead"]
    #: Response to a finite change over its amplitude; (state, amplitude, lead).
    finite: Float[np.ndarray, "state amplitude lead"]

    @property
    def ratio(self) -> Float[np.ndarray, "state amplitude lead"]:
        """Linear over finite response: 1 where they agree; 1 where both are exactly 0."""
        linear = np.broadcast_to(self.linear[:, None], self.finite.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = linear / self.finite
        return np.where((linear == 0) & (self.finite == 0), 1.0, ratio)


class UsableWindow(eqx.Module):
    """Longest lead at which a gradient tells the finite response; with confidence interval."""

    #: Longest lead, and the ends of its confidence interval; 0 if no lead is usable.
    lead: float = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    #: True if the longest lead that was tried is still usable: the window may be longer.
    at_least: bool = eqx.field(static=True)
    amplitude: float = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def __str__(self) -> str:
        """Return the window in words."""
        more = "at least " if self.at_least else ""
        return (f"usable up to lead {more}{self.lead:g} ({CONFIDENCE:.0%} interval {self.low:g} to "
                f"{self.high:g}) for amplitude {self.amplitude:g} within {self.tolerance:.0%}")


def response_ratio(
    function: Callable[[Any], Array], points: Sequence[Any], direction: Any,
    *, lead: Sequence[float] | np.ndarray, amplitudes: Sequence[float], two_sided: bool = True,
) -> ResponseRatio:  # fmt: skip
    """Return the derivative along a direction and the responses to finite changes.

    Parameters
    ----------
    function
        From a point (a tree of real arrays, e.g. an initial state) to one number for each lead.
    points
        Where to take the derivative: e.g. several initial states.
    direction
        Tree like one point: the change of amplitude 1.
    lead
        Lead of each number that the function returns.
    amplitudes
        Sizes of the finite changes.
    two_sided
        Half the difference of two runs, up and down, which leaves out the curvature of the
        response; False: one changed run less the unchanged one.

    Raises
    ------
    ValueError
        If an amplitude is 0 or leads and numbers differ in count.
    FloatingPointError
        If a result is not finite.
    """
    sizes = check_amplitudes(amplitudes)
    push = jax.jit(lambda point: jax.jvp(function, (point,), (direction,)))
    plain = jax.jit(lambda point, a: function(
        jax.tree.map(lambda x, dx: x + a * dx, point, direction)))
    linear, finite = [], []
    for point in points:
        value, slope = push(point)
        if np.shape(value) != (len(lead),):
            raise ValueError(
                f"the function returns {np.shape(value)} numbers for {len(lead)} leads")
        linear.append(slope)
        finite.append([
            _slope(lambda a, point=point: plain(point, a), value, a, two_sided) for a in sizes])
    return checked_ratio(lead, sizes, np.array(linear), np.array(finite))


def _slope(
    run: Callable[[Any], Any], value: Any, amplitude: float, two_sided: bool
) -> np.ndarray:
    """Return the response to a finite change over its amplitude."""
    other = run(-amplitude) if two_sided else value
    return (np.asarray(run(amplitude), float) - np.asarray(other, float)) / (
        2 * amplitude if two_sided else amplitude)


def check_amplitudes(amplitudes: Sequence[float]) -> np.ndarray:
    """Return amplitudes as an array in rising order.

    Raises
    ------
    ValueError
        If there are none or one is not positive.
    """
    sizes = np.sort(np.atleast_1d(np.asarray(amplitudes, float)))
    if not sizes.size or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"amplitudes are positive sizes of the change; got {list(amplitudes)}")
    return sizes


def check_tolerance(tolerance: float) -> None:
    """Raise ValueError if the difference that counts as agreement is not positive."""
    if not tolerance > 0:
        raise ValueError(f"the tolerance is positive; got {tolerance}")


def checked_ratio(
    lead: Sequence[float] | np.ndarray, amplitudes: np.ndarray, linear: np.ndarray,
    finite: np.ndarray,
) -> ResponseRatio:  # fmt: skip
    """Return the responses, all finite.

    Raises
    ------
    FloatingPointError
        If one is not finite.
    """
    for words, values in (("derivative", linear), ("finite response", finite)):
        if not np.isfinite(values).all():
            raise FloatingPointError(
                f"a {words} is not finite: a run is unstable. Take shorter leads or smaller "
                "amplitudes")
    return ResponseRatio(
        np.asarray(lead, float), amplitudes, np.asarray(linear, float), np.asarray(finite, float))


def usable_window(
    ratios: ResponseRatio, *, amplitude: float | None = None, tolerance: float = TOLERANCE,
    seed: int = 0,
) -> UsableWindow:  # fmt: skip
    """Return the longest lead up to which gradient and finite response agree.

    They agree at a lead if the median over initial states of |ratio - 1| is at most the
    tolerance: from at least half of the states the gradient is that close. (The median of the
    ratio itself may be 1 by chance where single ratios are far off, some above and some below.)
    All shorter leads must agree too. The confidence interval is the percentile bootstrap over
    initial states: Efron, B. and Tibshirani, R. J. (1993): An introduction to the bootstrap.

    Parameters
    ----------
    ratios
        Result of `response_ratio`.
    amplitude
        Which one; default the largest.
    tolerance
        See above.
    seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        If there is no such amplitude or the tolerance is not positive.
    """
    check_tolerance(tolerance)
    amplitude = float(ratios.amplitude[-1] if amplitude is None else amplitude)
    index = np.flatnonzero(np.isclose(ratios.amplitude, amplitude))
    if not index.size:
        known = ", ".join(f"{x:g}" for x in ratios.amplitude)
        raise ValueError(f"no runs with amplitude {amplitude:g}; there are {known}")
    error = np.abs(ratios.ratio[:, index[0]] - 1)
    leads = np.concatenate([[0.0], ratios.lead])
    # How many leads in a row agree.
    window = lambda x: leads[  # noqa: E731
        np.cumprod(np.median(x, axis=-2) <= tolerance, axis=-1).sum(axis=-1)]
    draws = np.random.default_rng(seed).integers(len(error), size=(DRAWS, len(error)))
    outside = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(window(error[draws]), [outside, 100 - outside], method="nearest")
    lead = float(window(error))
    return UsableWindow(
        lead, float(low), float(high), bool(lead == leads[-1]), amplitude, float(tolerance))


def warn_beyond(
    horizon_days: float | None, run_days: float, *, what: str = "the target", stacklevel: int = 3
) -> dict[str, str]:
    """Warn of a sensitivity over a lead beyond the usable window, and return what to note.

    Parameters
    ----------
    horizon_days
        Usable window, e.g. of `default_horizon`; None if it is not known.
    run_days
        Lead of the sensitivity.
    what
        What the window was measured for, in words.
    stacklevel
        Of the warning: whose line it names.

    Returns
    -------
    attributes
        For the dataset of the sensitivity: `usable_window_days` where the window is known, and
        `horizon_warning` where the run is longer.

    Warns
    -----
    HorizonWarning
        If the run is longer than the window.
    """
    if horizon_days is None:
        return {}
    attributes = {"usable_window_days": f"{horizon_days:g}"}
    if run_days > horizon_days * (1 + 1e-6):
        text = (
            f"the sensitivity of {what} is taken over {run_days:g} days, beyond the usable window "
            f"of {horizon_days:g} days in which a gradient tells the response to a finite change. "
            "Shorten the run, average over an ensemble of initial states "
            "(ensemble_sensitivity), or measure the window of this target with "
            "`jcm-sensitivity horizon`") if horizon_days > 0 else (
            f"the sensitivity of {what} does not tell the response to a finite change at any lead "
            "that was measured, from one day on: with exact switches it leaves out what flips. "
            "Make the model with build_model(..., smooth=True), or measure the window of this "
            "target and of smaller changes with `jcm-sensitivity horizon`")
        warnings.warn(text, HorizonWarning, stacklevel=stacklevel)
        attributes["horizon_warning"] = text
    return attributes
