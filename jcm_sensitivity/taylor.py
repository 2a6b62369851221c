"""A function along a line, and what its values on a ladder of steps say about its slope.

With phi(h) = f(x + h v): Taylor remainders and their orders, central differences with Richardson
extrapolation and an honest error, and what the branches that flip do to phi. Everything here
is arithmetic on a few numbers, with NumPy; see `jcm_sensitivity.check` for how they are computed.

Fornberg, B. (1981): Numerical differentiation of analytic functions. ACM Trans. Math. Softw., 7,
512-526 (the balance between truncation and rounding of differences).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

#: Orders of the remainders R0, R1, R2.
Orders = tuple[float | None, float | None, float | None]

#: Differences count where they are this many times the noise.
CLEAR = 10.0


@dataclasses.dataclass(frozen=True)
class Line:
    """Values of a function f along x + h v, and its derivatives at x along v.

    Arrays run over the steps h, from the largest to the smallest.
    """

    steps: np.ndarray
    #: f at x.
    value: float
    #: f at x + h v and x - h v.
    plus: np.ndarray
    minus: np.ndarray
    #: The same with the branches taken at x; the same arrays if they cannot be replayed.
    frozen_plus: np.ndarray
    frozen_minus: np.ndarray
    #: Decisions that flip between x and x + h v, and x - h v.
    flips_plus: np.ndarray
    flips_minus: np.ndarray
    #: Typical change of f when its input changes by one rounding.
    noise: float
    #: Relative rounding of the numbers f is computed with.
    epsilon: float
    #: Derivative along v by automatic differentiation, and its rounding error.
    slope: float
    slope_error: float
    #: Second derivative along v, or None.
    curvature: float | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """A finite difference and its estimated error; the step that it was taken from."""

    value: float
    error: float
    step: float


def rounding(
    value: float | np.ndarray, frozen: Callable[[float], float | np.ndarray], epsilon: float
) -> np.ndarray | np.floating:
    """Return how far values of f scatter by rounding, from second differences at tiny steps.

    Parameters
    ----------
    value
        f at x, one or several.
    frozen
        f at x + h v with the branches taken at x, as a function of h.
    epsilon
        Relative rounding.
    """
    # Steps so small that f is linear: what is left of second differences is rounding.
    scatter = [np.abs(frozen(h) - 2 * value + frozen(-h)) / 2
               for h in epsilon**0.7 * np.array([1.0, 2.0, 3.0, 5.0])]  # fmt: skip
    # A run that follows branches out of their domain, e.g. to the root of a negative number, says
    # nothing.
    return np.where(np.isfinite(scatter), scatter, 0.0).max(axis=0)


def forward_against_reverse(
    forward: float, terms: np.ndarray, epsilon: float
) -> tuple[float, float]:
    """Return the rounding error of a slope, and the mismatch of forward and reverse mode.

    Parameters
    ----------
    forward
        The slope by forward mode.
    terms
        Gradient of reverse mode times direction; their sum is the slope.
    epsilon
        Relative rounding.
    """
    gap, size = abs(forward - float(terms.sum())), float(np.abs(terms).sum())
    mismatch = 0.0 if gap == 0 else gap / max(size, abs(forward))
    return gap + 10 * epsilon * size, mismatch


@dataclasses.dataclass(frozen=True)
class Remainders:
    """Taylor remainders on the ladder, and the orders at which they decrease."""

    zeroth: np.ndarray
    first: np.ndarray
    second: np.ndarray | None
    #: Expected 1, 2 and 3, on steps at which no flip changes f; None if no two neighbouring
    #: steps lie above the noise.
    orders: Orders
    #: The same for f with the branches frozen, on all steps.
    frozen_orders: Orders


def default_steps(epsilon: float) -> np.ndarray:
    """Return steps from a tenth downwards, two per decade, for this rounding."""
    smallest = -8 if epsilon < 1e-10 else -4
    return 10.0 ** np.arange(-1, smallest - 0.25, -0.5)


def central(line: Line, *, frozen: bool = False) -> np.ndarray:
    """Return the central differences."""
    plus, minus = (
        (line.frozen_plus, line.frozen_minus) if frozen else (line.plus, line.minus))
    return (plus - minus) / (2 * line.steps)


def best_difference(steps: np.ndarray, differences: np.ndarray, noise: float) -> Difference:
    """Return the central difference with the smallest error, plain or extrapolated.

    The error is the larger change to a neighbouring step, plus rounding, plus whatever smaller
    steps disagree beyond their own rounding.
    """
    ratio = (steps[:-1] / steps[1:]) ** 2
    extrapolated = differences[1:] + np.diff(differences) / (ratio - 1)
    candidates = [
        *_with_errors(steps, differences, noise / steps),
        *_with_errors(steps[1:], extrapolated, noise / steps[1:] * (ratio + 1) / (ratio - 1))]
    finite = [x for x in candidates if np.isfinite(x.value) and np.isfinite(x.error)]
    if not finite:
        return Difference(np.nan, np.inf, float(steps[0]))
    return min(finite, key=lambda x: x.error)


def _with_errors(steps: np.ndarray, values: np.ndarray, rounding: np.ndarray) -> list[Difference]:
    results = []
    for i, value in enumerate(values):
        near = np.abs(np.delete(values, i)[max(i - 1, 0) : i + 1] - value)
        near = near[np.isfinite(near)]
        later = np.abs(values[i + 1 :] - value) - CLEAR * rounding[i + 1 :]
        beyond = max(0.0, *later[np.isfinite(later)], 0.0)
        change = near.max() if len(near) else np.inf
        results.append(Difference(
            float(value), float(change + rounding[i] + beyond), float(steps[i])))
    return results


def remainders(line: Line) -> Remainders:
    """Return the Taylor remainders of f on the side of plus, and their observed orders.

    The orders are medians over neighbouring steps above the noise.
    """
    everywhere = np.ones(len(line.steps), bool)
    same = np.abs(line.plus - line.frozen_plus) <= CLEAR * line.noise
    free, frozen = _remainders(line, line.plus), _remainders(line, line.frozen_plus)
    return Remainders(*free, _orders(line, free, same), _orders(line, frozen, everywhere))


def _remainders(
    line: Line, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    change = values - line.value
    first = change - line.steps * line.slope
    second = None
    if line.curvature is not None:
        second = np.abs(first - line.steps**2 / 2 * line.curvature)
    return np.abs(change), np.abs(first), second


def _orders(line: Line, found: tuple, where: np.ndarray) -> Orders:
    zeroth, first, second = (
        None if r is None else _order(line.steps, r, CLEAR * line.noise, where) for r in found)
    return zeroth, first, second


def _order(h: np.ndarray, r: np.ndarray, floor: float, where: np.ndarray) -> float | None:
    use = where & np.isfinite(r) & (r > floor) & (r > 0)
    pairs = use[:-1] & use[1:]
    if not pairs.any():
        return None
    logarithms = np.log(np.where(use, r, 1))
    return float(np.median((np.diff(logarithms) / np.diff(np.log(h)))[pairs]))


@dataclasses.dataclass(frozen=True)
class FlipEffect:
    """What branches that flip do to f."""

    #: Their smallest effect on a one-sided slope over the steps that resolve the slope.
    slope: float
    #: Order in h of the effect of one flip: 0 for a jump, 1 for a kink; None if unknown.
    order: float | None
    #: Largest effect on f of the flips of one step.
    size: float
    #: The smallest step at which flips change f, or None.
    step: float | None


def flip_effect(line: Line, resolution: float) -> FlipEffect:
    """Return the effect of flips: f minus f with frozen branches.

    Parameters
    ----------
    line
        Values of f.
    resolution
        The slope that has to be resolved; steps at which noise hides it are left out.
    """
    effect = np.fmax(
        np.abs(line.plus - line.frozen_plus), np.abs(line.minus - line.frozen_minus))
    count = line.flips_plus + line.flips_minus
    known = np.isfinite(effect)
    seen = known & (effect > CLEAR * line.noise) & (count > 0)
    effect = np.where(seen, effect, 0.0)
    if not seen.any():
        return FlipEffect(0.0, None, 0.0, None)
    usable = known & (CLEAR * line.noise / line.steps <= resolution)
    usable = usable if usable.any() else seen
    order = None
    if seen.sum() >= 2:
        # Flips at smaller steps that change nothing: ties without consequences.
        idle = count[np.flatnonzero(seen)[-1] + 1 :].max(initial=0)
        each = np.log(effect[seen] / np.maximum(count[seen] - idle, 1))
        order = float(np.polyfit(np.log(line.steps[seen]), each, 1)[0])
    return FlipEffect(
        float((effect / line.steps)[usable].min()), order, float(effect.max()),
        float(line.steps[seen].min()))


def calm(line: Line) -> slice:
    """Return the smaller steps, at which flips do not change f; all steps if these are few."""
    differ = np.fmax(
        np.abs(line.plus - line.frozen_plus), np.abs(line.minus - line.frozen_minus))
    rough = ~(differ <= CLEAR * line.noise) & (line.flips_plus + line.flips_minus > 0)
    begin = int(np.flatnonzero(rough)[-1]) + 1 if rough.any() else 0
    return slice(begin, None) if len(line.steps) - begin >= 3 else slice(None)
