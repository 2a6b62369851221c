"""How a run is divided: into outputs, by a number of days or by month, and into chunks."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import numpy as np

from jcm.arguments import check_pressure_levels
from jcm.model import Model
from jcm.output import PRESSURE, first_day
from jcm.simulate import Inputs, simulate, whole_steps
from jcm.structure import steps_of_outputs
from jcm.variables import VARIABLES, Variable

Every = float | Literal["month"]
FORMATS = ("netcdf", "zarr")
#: A chunk is about this long [days], and its fields are at most this large [bytes].
USUAL_CHUNK, LARGEST_CHUNK = 10.0, 3e8
#: Always observed: how strong the wind was is told when a run fails.
WINDS = ("eastward_wind", "northward_wind")


class Settings(NamedTuple):
    """What the user has asked for, besides model and inputs; ready for JSON."""

    days: float
    every: Every
    average: bool
    #: Variables to write; None: all.
    observe: tuple[str, ...] | None
    chunk: float | None
    format: str
    #: Pressure levels [hPa] in place of the layers of the model, or None.
    pressure_levels: tuple[float, ...] | None
    attributes: Mapping[str, Any]
    #: Metadata of fields that are not in the table of the package.
    variables: Mapping[str, Variable]
    #: Steps from the start date to the beginning of the run, and the day on which it begins.
    first_step: int
    first_day: float

    @property
    def table(self) -> dict[str, Variable]:
        """Names, units and meaning of all fields."""
        return VARIABLES | dict(self.variables)

    @property
    def observed(self) -> tuple[str, ...] | None:
        """Variables that the program returns; None: all."""
        if self.observe is None:
            return None
        surface = () if self.pressure_levels is None else (PRESSURE,)
        return tuple(dict.fromkeys((*self.observe, *surface, *WINDS)))


class Plan(NamedTuple):
    """The division of a run."""

    #: Steps from the beginning of the run to that of the first output, 0, and the end of each.
    edges: tuple[int, ...]
    #: Outputs in a chunk.
    per_chunk: int

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return len(self.edges) - 1


def make_settings(model: Model, inputs: Inputs, options: Mapping[str, Any]) -> Settings:
    """Return what was asked for; the options are keywords of `jcm.run.run`.

    Raises
    ------
    ValueError
        If a choice or a variable is unknown.
    """
    settings = Settings(**options, first_step=max(int(inputs.state.step), 0),
                        first_day=first_day(model, inputs))  # fmt: skip
    if settings.format not in FORMATS:
        raise ValueError(
            f"unknown format {settings.format!r}; available: {', '.join(FORMATS)}")
    unknown = [name for name in settings.observe or () if name not in settings.table]
    if unknown:
        raise ValueError(
            f"unknown variable {unknown[0]!r}; available: {', '.join(settings.table)}")
    if settings.observe is not None and not settings.observe:
        raise ValueError("no variables to write; name at least one, or leave `observe` out")
    if settings.pressure_levels is not None:
        settings = settings._replace(
            pressure_levels=check_pressure_levels(settings.pressure_levels))
    return settings


def check_observed(model: Model, inputs: Inputs, settings: Settings) -> None:
    """Refuse variables that this model does not have; nothing is computed.

    Raises
    ------
    ValueError
        If there is one; the message lists those there are.
    """
    if settings.observe is not None:
        eqx.filter_eval_shape(
            simulate, model, inputs, days=1 / model.steps_per_day, observe=settings.observe)


def make_plan(model: Model, settings: Settings) -> Plan:
    """Return the division into outputs and chunks.

    Raises
    ------
    ValueError
        If a length is not a positive multiple of the one below it.
    """
    days, every, chunk = settings.days, settings.every, settings.chunk
    if not np.isfinite(days) or days <= 0:
        raise ValueError(f"days must be a positive finite number; got {days}")
    if isinstance(every, str):
        if every != "month":
            raise ValueError(f"every is a number of days or 'month'; got {every!r}")
        if chunk is not None:
            raise ValueError(
                f"with every = 'month' a chunk is a month; leave chunk out (got {chunk:g})")
        return Plan(_month_edges(model, settings, whole_steps(model, "days", days)), 1)
    total, steps = steps_of_outputs(model.time_step, days, every)
    return Plan(tuple(range(0, total + 1, steps)), _per_chunk(model, settings, steps, every))


def _per_chunk(model: Model, settings: Settings, steps: int, every: float) -> int:
    """Return the outputs in a chunk; the same for any length of the run."""
    if settings.chunk is not None:
        length = whole_steps(model, "chunk", settings.chunk)
        if length % steps:
            raise ValueError(
                f"chunk must be a multiple of every; got {settings.chunk} and {every}")
        return length // steps
    names: Sequence[str] = settings.observed or tuple(settings.table)
    layers = sum(model.levels.count if settings.table[x].dims == "3d" else 1 for x in names)
    size = 8 * layers * model.grid.nlon * model.grid.nlat
    return max(1, min(int(USUAL_CHUNK / every), int(LARGEST_CHUNK / size)))


def _month_edges(model: Model, settings: Settings, total: int) -> tuple[int, ...]:
    """Return the steps at which calendar months begin; the ends of the run are edges as well.

    Dates are Gregorian whatever the option `year`, which is about phases within the year.
    """
    per_day = model.steps_per_day
    begin = settings.first_day
    month = np.datetime64(int(begin), "D").astype("datetime64[M]")
    count = int(total / per_day / 28) + 2
    starts = (month + np.arange(1, count + 1)).astype("datetime64[D]").astype(int)
    steps = [round((start - begin) * per_day) for start in starts.tolist()]
    return (0, *(step for step in steps if step < total), total)
