"""Names and numbers that make the structure of a model, checked before anything is built.

No JAX here: a mistake in a file or on the command line is answered at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jcm.constants import DAY
from jcm.grid import SPEEDY_HALF_LEVELS, Grid, parse_resolution
from jcm.options import Options, make_options

PHYSICS = ("speedy", "held_suarez")
#: Integrators of Dinosaur's equations by name of the dynamics.
INTEGRATORS = {"dinosaur": "leapfrog", "dinosaur_rk": "runge_kutta"}
DYNAMICS = ("speedy", *INTEGRATORS)
#: Shortwave radiation is computed anew after this time [s].
SHORTWAVE_INTERVAL = 7200.0
#: Longest default time step [s], and the truncation up to which it is used.
LONGEST_STEP, LONGEST_STEP_TRUNCATION = 2400.0, 31


class Structure(NamedTuple):
    """What `build_model` builds from."""

    grid: Grid
    half_levels: tuple[float, ...]
    #: Seconds.
    time_step: float
    options: Options

    @property
    def name(self) -> str:
        """Truncation and number of layers, e.g. T31L8."""
        return f"{self.grid.name}L{len(self.half_levels) - 1}"


def check_structure(
    grid: str,
    *,
    preset: str = "speedy",
    physics: str | Callable[..., Any] = "speedy",
    dynamics: str = "speedy",
    time_step: float | None = None,
    half_levels: tuple[float, ...] | None = None,
    **options: str,
) -> Structure:
    """Return the structure of a model from the arguments of `jcm.model.build_model`.

    Raises
    ------
    ValueError
        If a name is unknown or the time step does not divide a day.
    """
    if half_levels is None:
        horizontal, layers = parse_resolution(grid)
        half = SPEEDY_HALF_LEVELS[layers]
    else:
        horizontal, half = parse_resolution(grid.split("L")[0])[0], half_levels
    step = default_time_step(horizontal.truncation) if time_step is None else float(time_step)
    if step <= 0 or DAY % step:
        raise ValueError(
            f"the time step must divide a day of {DAY:.0f} s; got {step:g} s, try "
            f"{default_time_step(horizontal.truncation):g} s"
        )
    if not callable(physics) and physics not in PHYSICS:
        raise ValueError(f"unknown physics {physics!r}; available: {', '.join(PHYSICS)}")
    if dynamics not in DYNAMICS:
        raise ValueError(f"unknown dynamics {dynamics!r}; available: {', '.join(DYNAMICS)}")
    return Structure(horizontal, half, step, make_options(preset, **options))


def default_time_step(truncation: int) -> float:
    """Return the default time step of a truncation [s].

    2400 s up to T31, from there in inverse proportion to the truncation, rounded down to a
    divisor of the two hours between shortwave calls: 1440 s at T42, 900 s at T63.
    """
    limit = LONGEST_STEP * min(1.0, LONGEST_STEP_TRUNCATION / truncation)
    return next(
        float(step) for step in range(int(limit), 0, -1) if SHORTWAVE_INTERVAL % step == 0)


def count_steps(time_step: float, name: str, days: float) -> int:
    """Return how many steps of so many seconds make this many days.

    Raises
    ------
    ValueError
        If they are not a positive whole number; `name` says of what.
    """
    per_day = round(DAY / time_step)
    steps = days * per_day
    if not steps >= 0.5 or abs(steps - round(steps)) > 1e-6 * steps:
        raise ValueError(
            f"{name} must be a positive multiple of the time step of {time_step:g} s "
            f"({1 / per_day:.6g} days); got {days} days"
        )
    return round(steps)


def steps_of_outputs(time_step: float, days: float, every: float) -> tuple[int, int]:
    """Return the steps of a run and those of an interval of output.

    Raises
    ------
    ValueError
        If the one is no multiple of the other, or either of the time step.
    """
    total, steps = count_steps(time_step, "days", days), count_steps(time_step, "every", every)
    if total % steps:
        raise ValueError(f"days must be a multiple of every; got {days} and {every}")
    return total, steps
