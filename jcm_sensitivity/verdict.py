"""What the numbers say about a gradient: one verdict out of eight, and a sentence.

pass         automatic differentiation (AD) and finite differences (FD) agree
kink         AD agrees on the branch taken, but f has a corner: slopes differ on the two sides
jump         AD agrees on the branch taken, but flips of branches change f by finite amounts
dead         AD is exactly 0, and why
noise floor  the gradient is too small against rounding to be verified; the bound is given
chaotic      no step lies between rounding and nonlinearity, the gradient predicts nothing
wrong        AD disagrees with FD on the same branch, or forward with reverse mode
not finite   f or its gradient is not finite

`weigh` turns the values along a line into `Evidence`; `classify` judges evidence, nothing else.
"""

import dataclasses
from typing import Literal

import numpy as np

from jcm_sensitivity.taylor import CLEAR, Line, best_difference, calm, central, flip_effect

Verdict = Literal[
    "pass", "kink", "jump", "dead", "noise floor", "chaotic", "wrong", "not finite"]
#: From the worst to the best: the verdict of several directions is the first that occurs.
SEVERITY: tuple[Verdict, ...] = (
    "not finite", "wrong", "jump", "kink", "chaotic", "noise floor", "dead", "pass")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The numbers from which a verdict follows. Slopes are derivatives of f along one direction."""

    value: float
    #: By automatic differentiation: forward mode, or reverse mode where forward is not defined.
    slope: float
    slope_error: float
    #: |forward - reverse| over the sum of |gradient x direction|; None if one is not defined.
    adjoint_mismatch: float | None
    #: Central difference of f, its error, its step.
    difference: float
    difference_error: float
    step: float
    #: The same with the branches frozen.
    frozen: float
    frozen_error: float
    #: Slopes to the right and to the left at the smallest step that resolves them.
    one_sided: tuple[float, float]
    #: |f(x + h v) - f(x)| / h at the largest step: frozen, and not frozen.
    frozen_secant: float
    secant: float
    noise: float
    epsilon: float
    #: f does not change at all with branches frozen; f changes at some step.
    flat: bool
    moves: bool
    #: Effect of flips on the slope, its order in the step for one flip, and the first step.
    flip_slope: float
    flip_order: float | None
    flip_step: float | None
    largest_step: float
    #: Structure: some output depends on an input that the direction changes.
    reads: bool = True
    #: The switch that does it, and the limiter that is active, in words; empty if unknown.
    switch: str = ""
    limiter: str = ""
    #: Effect of that switch at the point over that at the step where it flips: 1 for a jump, 0
    #: or negative for a corner; None if unknown.
    flip_persistence: float | None = None
    tolerance: float = 1e-5
    adjoint_tolerance: float = 1e-10

    @property
    def scale(self) -> float:
        """The slope against which differences of slopes are measured."""
        largest = max(abs(self.slope), abs(self.frozen))
        return largest if self.slope != 0 else max(largest, self.secant)


def weigh(
    line: Line, *, tolerance: float, adjoint_mismatch: float | None = None,
    adjoint_tolerance: float = 1e-10, reads: bool = True,
) -> Evidence:  # fmt: skip
    """Return what the values along a line say."""
    frozen = best_difference(line.steps, central(line, frozen=True), line.noise)
    some = calm(line)
    ordinary = best_difference(line.steps[some], central(line)[some], line.noise)
    secant = _secant(line, line.plus, line.minus)
    scale = max(abs(line.slope), abs(frozen.value) if np.isfinite(frozen.value) else 0.0)
    scale = scale if line.slope != 0 else max(scale, secant)
    effect = flip_effect(line, tolerance * scale)
    changes = np.concatenate([line.frozen_plus, line.frozen_minus]) - line.value
    flat = bool(np.all(np.abs(changes[np.isfinite(changes)]) <= 3 * line.noise))
    largest = max(_size(line.plus - line.value), _size(line.minus - line.value))
    moves = largest > CLEAR * line.noise
    return Evidence(
        value=line.value, slope=line.slope + 0.0, slope_error=line.slope_error,
        adjoint_mismatch=adjoint_mismatch,
        difference=ordinary.value, difference_error=ordinary.error, step=ordinary.step,
        frozen=frozen.value, frozen_error=frozen.error,
        one_sided=_one_sided(line, tolerance * scale),
        frozen_secant=_secant(line, line.frozen_plus, line.frozen_minus), secant=secant,
        noise=line.noise, epsilon=line.epsilon, flat=flat, moves=moves,
        flip_slope=effect.slope, flip_order=effect.order, flip_step=effect.step,
        largest_step=float(line.steps[0]), reads=reads, tolerance=tolerance,
        adjoint_tolerance=adjoint_tolerance)  # fmt: skip


def _size(changes: np.ndarray) -> float:
    finite = np.abs(changes[np.isfinite(changes)])
    return float(finite.max()) if len(finite) else 0.0


def _secant(line: Line, plus: np.ndarray, minus: np.ndarray) -> float:
    change = np.fmax(np.abs(plus - line.value), np.abs(minus - line.value)) / line.steps
    finite = change[np.isfinite(change)]
    return float(finite[0]) if len(finite) else np.nan


def _one_sided(line: Line, resolution: float) -> tuple[float, float]:
    """Return the slopes on both sides at the smallest step at which noise does not hide them."""
    usable = np.isfinite(line.plus + line.minus) & (line.noise / line.steps <= resolution)
    i = int(np.flatnonzero(usable)[-1]) if usable.any() else 0
    h = line.steps[i]
    return (
        float((line.plus[i] - line.value) / h), float((line.value - line.minus[i]) / h))


def classify(e: Evidence) -> tuple[Verdict, str]:
    """Return the verdict and a sentence that explains it with numbers.

    The rules, in this order; `scale` is the larger of |AD| and |frozen FD|, and where AD = 0 also
    of the change of f over the largest step:

    1. f, AD, or all differences are not finite: not finite.
    2. Forward and reverse mode differ by more than their rounding: wrong.
    3. AD = 0, and no output depends on the input, or f with branches frozen does not change at
       all: jump or kink if flips change the slope at every step, however small; else dead.
       Where no frozen FD is finite: pass if AD agrees with the ordinary FD, else noise floor.
    4. AD agrees with the frozen FD within the tolerance: jump or kink if flips change the slope
       at every step; pass if AD also agrees with the ordinary FD; else noise floor.
    5. AD disagrees with the frozen FD: kink if it lies between the two one-sided slopes of a
       corner at the point; if the difference is more than three times the error of FD and AD
       together: chaotic if roundings are amplified so far that FD does not converge, else wrong;
       if it is not: chaotic if f is amplified or far from linear, else jump or kink if flips
       change the slope at every step, else noise floor.
    """
    if not np.all(np.isfinite([e.value, e.slope])):
        return "not finite", f"f = {e.value:g} and its gradient along the direction {e.slope:g}."
    if not np.isfinite(e.frozen) and not np.isfinite(e.difference):
        return "not finite", "f is not finite at any step of the ladder beside the point."
    if e.adjoint_mismatch is not None and np.isnan(e.adjoint_mismatch):
        return "not finite", "forward or reverse mode gives a derivative that is not finite."
    if e.adjoint_mismatch is not None and not e.adjoint_mismatch <= e.adjoint_tolerance:
        return "wrong", (
            f"forward and reverse mode differ by {e.adjoint_mismatch:.1e} of the terms of their "
            f"sum, more than {e.adjoint_tolerance:.0e} for rounding: a derivative rule is wrong.")
    if e.slope == 0 and (not e.reads or e.flat):
        return _without_slope(e)
    if not np.isfinite(e.frozen):
        return _without_branch(e)
    if abs(e.frozen - e.slope) <= e.tolerance * e.scale:
        return _on_the_branch(e)
    return _off_the_branch(e)


def _without_branch(e: Evidence) -> tuple[Verdict, str]:
    gap = abs(e.difference - e.slope)
    size = max(abs(e.slope), abs(e.difference))
    numbers = f"AD {e.slope:.8g}, FD {e.difference:.8g} at step {e.step:.0e}"
    if gap <= e.tolerance * size:
        return "pass", f"{numbers}: they agree to {gap / size if size else 0.0:.1e}."
    return "noise floor", (
        f"{numbers}; with branches frozen f is not finite at any step of the ladder (a root of a "
        "negative number, for example), so that flips and rounding cannot be told apart.")


def _corner(e: Evidence) -> tuple[Verdict, str] | None:
    """Return jump or kink if flips change the slope at every step that resolves it."""
    if not e.flip_slope > e.tolerance * e.scale:
        return None
    switch = e.switch or "a switch that was not identified"
    jump = e.flip_order is not None and e.flip_order < 0.5
    if e.flip_persistence is not None:
        jump = e.flip_persistence > 0.5
    if jump:
        return "jump", (
            f"a flip changes f by a finite amount: FD {e.difference:.6g} at step {e.step:.0e} "
            f"against AD {e.slope:.6g}, which is the derivative of the branch taken (frozen FD "
            f"{e.frozen:.6g}); the switch is {switch}.")
    right, left = e.one_sided
    return "kink", (
        f"f has a corner within the smallest step: slopes {right:.6g} and {left:.6g} on the two "
        f"sides, AD {e.slope:.6g}; the switch is {switch}.")


def _without_slope(e: Evidence) -> tuple[Verdict, str]:
    if not e.reads:
        return "dead", "AD is 0 because no output depends on the input: f does not read it."
    corner = _corner(e)
    if corner is not None:
        return corner
    if e.moves:
        at = f" from step {e.flip_step:.0e} on" if e.flip_step is not None else ""
        switch = f"the switch {e.switch}" if e.switch else "switches"
        return "dead", (
            f"AD is 0 because the input acts only through {switch}, which flips{at}; f is "
            "constant on the branch taken.")
    if e.limiter:
        return "dead", (
            f"AD is 0 and f does not change on the whole ladder: a limiter is active, {e.limiter}; "
            "on its other branch f depends on the input.")
    return "dead", (
        "AD is 0 and f does not change on the whole ladder: it is flat or saturated here.")


def _on_the_branch(e: Evidence) -> tuple[Verdict, str]:
    corner = _corner(e)
    if corner is not None:
        return corner
    gap = abs(e.difference - e.slope)
    if gap <= e.tolerance * max(e.scale, abs(e.difference)):
        later = f" Flips change f from step {e.flip_step:.0e} on." if e.flip_step else ""
        return "pass", (
            f"AD {e.slope:.8g} agrees with FD {e.difference:.8g} at step {e.step:.0e} to "
            f"{_relative(gap, e):.1e}, and with branches frozen to "
            f"{_relative(abs(e.frozen - e.slope), e):.1e}.{later}")
    return "noise floor", (
        f"AD {e.slope:.6g} agrees with FD on the branch taken to "
        f"{_relative(abs(e.frozen - e.slope), e):.1e}, but the ordinary FD {e.difference:.6g} is "
        f"known only within {e.difference_error:.1e}.")


def _off_the_branch(e: Evidence) -> tuple[Verdict, str]:
    gap, error = abs(e.frozen - e.slope), e.frozen_error + e.slope_error
    low, high = sorted(e.one_sided)
    margin = e.tolerance * max(e.scale, abs(low), abs(high))
    corner = _corner(e)
    if corner is not None and corner[0] == "kink" and low - margin <= e.slope <= high + margin:
        return corner
    size = max(abs(e.value), e.secant * 0.1)
    amplified = e.noise > 1e4 * e.epsilon * size
    converged = e.frozen_error <= 0.1 * abs(e.frozen)
    far = abs(e.slope) > 3 * max(e.frozen_secant, 0 if np.isnan(e.secant) else e.secant)
    if gap > 3 * error and not (amplified and not converged):
        return "wrong", (
            f"AD {e.slope:.6g} against FD {e.frozen:.6g} +- {e.frozen_error:.1e} on the same "
            f"branch: they differ by {_relative(gap, e):.1e}, which no rounding explains. Look for "
            "a stop_gradient, a wrong sign, a dropped term or a wrong derivative rule.")
    if amplified or far:
        return "chaotic", (
            f"no step of the ladder lies between rounding (noise {e.noise:.1e}) and nonlinearity: "
            f"AD {e.slope:.3g}, but f changes by {e.secant:.3g} per unit of the largest step. "
            "Shorten the run: beyond its horizon the gradient predicts nothing.")
    if corner is not None:
        return corner
    return "noise floor", (
        f"AD {e.slope:.6g} and FD {e.frozen:.6g} agree within {gap + error:.1e} "
        f"({_relative(gap + error, e):.1e} relative); the rounding of f ({e.noise:.1e}) allows no "
        "better verification.")


def _relative(gap: float, e: Evidence) -> float:
    return gap / e.scale if e.scale > 0 else 0.0
