"""A run on the host: integrate in chunks, write what is done, stop at the first sign of trouble.

`simulate` is pure and compiled; here are the files, the progress bar and the clock. Each chunk is
checked and written before the next one starts, so that a run that fails leaves what it has made.
"""

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from jcm.calendar import format_date
from jcm.checks import check_directory, check_inputs
from jcm.constants import DAY
from jcm.model import Model
from jcm.output import (
    concatenate,
    first_day,
    package_version,
    parameter_hash,
    replacing,
    to_dataset,
    write_dataset,
)
from jcm.physics import Fields
from jcm.simulate import Inputs, simulate, whole_steps
from jcm.state import State
from jcm.variables import VARIABLES, Variable

FIELDS, LOG = "fields.nc", "run.json"
WINDS = ("eastward_wind", "northward_wind")
#: What messages call the state after the last output.
STATE = "the last state"
DAYS_PER_YEAR = 365.2425
#: A chunk is about this long [days], and its fields are at most this large [bytes].
USUAL_CHUNK, LARGEST_CHUNK = 10.0, 3e8


class UnstableRun(RuntimeError):
    """A field became infinite or undefined.

    Attributes
    ----------
    day
        End of the first output with such values, in days since the run began.
    wind
        Strongest wind one output earlier [m s-1]; None if there is none.
    """

    def __init__(self, message: str, *, day: float, wind: float | None):
        super().__init__(message)
        self.day, self.wind = day, wind


class Settings(NamedTuple):
    """How a run is divided into outputs and chunks, and what it writes."""

    every: float
    average: bool
    #: Number of outputs, in all and per chunk.
    outputs: int
    per_chunk: int
    #: Variables to write, None: all.
    observe: tuple[str, ...] | None
    attributes: Mapping[str, Any]
    variables: Mapping[str, Variable]


class _Seconds:
    """Stopwatch for the phases of a run."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.compiling = self.integrating = self.writing = 0.0


def run(
    model: Model,
    inputs: Inputs,
    directory: str | Path,
    *,
    days: float,
    every: float = 1.0,
    average: bool = True,
    observe: Sequence[str] | None = None,
    chunk: float | None = None,
    allow_out_of_bounds: bool = False,
    attributes: Mapping[str, Any] | None = None,
    variables: Mapping[str, Variable] = VARIABLES,
    progress: bool = True,
) -> Path:
    """Integrate and write `fields.nc` and a log, `run.json`, into a new or empty directory.

    Parameters
    ----------
    model, inputs, days, every, average, observe
        As for `simulate`; `observe` names the variables to write.
    directory
        Where to write; it is made if it does not exist.
    chunk
        Days that are integrated at once, a multiple of `every`: memory grows with it. Default
        about ten days.
    allow_out_of_bounds
        Accept parameters outside their bounds.
    attributes, variables
        As for `jcm.output.to_dataset`.
    progress
        Show a progress bar on the terminal.

    Returns
    -------
    path
        The file with the fields.

    Raises
    ------
    ValueError
        If lengths, variables, parameters, forcing or state are not valid.
    FileExistsError
        If the directory is not empty.
    UnstableRun
        If a field becomes infinite or undefined; outputs before that are in `fields.nc`.
    """
    directory = check_directory(directory)
    settings = divide(
        model, days, every, average, observe, chunk, attributes or {}, variables)
    check_inputs(model, inputs, allow_out_of_bounds=allow_out_of_bounds)
    inputs = jax.tree.map(jnp.asarray, inputs)
    directory.mkdir(parents=True, exist_ok=True)
    parts: dict[Path, int] = {}
    seconds, status = _Seconds(), "interrupted"
    try:
        _integrate(model, inputs, directory, settings, parts, seconds, progress)
        status = "completed"
    except UnstableRun as error:
        status = str(error)
        raise
    finally:
        if parts:
            began = time.perf_counter()
            concatenate(list(parts), directory / FIELDS)
            seconds.writing += time.perf_counter() - began
        if seconds.integrating:
            _write_log(
                directory / LOG, model, inputs, settings, seconds, status, sum(parts.values()))
    return directory / FIELDS


def divide(
    model: Model, days: float, every: float, average: bool, observe: Sequence[str] | None,
    chunk: float | None, attributes: Mapping[str, Any], variables: Mapping[str, Variable],
) -> Settings:  # fmt: skip
    """Return the settings of a run; the arguments are those of `run`.

    Raises
    ------
    ValueError
        If a length is not a positive multiple of the one below it, or a variable is unknown.
    """
    if not np.isfinite(days) or days <= 0:
        raise ValueError(f"days must be a positive finite number; got {days}")
    total, steps = whole_steps(model, "days", days), whole_steps(model, "every", every)
    if total % steps:
        raise ValueError(f"days must be a multiple of every; got {days} and {every}")
    unknown = [name for name in observe or () if name not in variables]
    if unknown:
        raise ValueError(f"unknown variable {unknown[0]!r}; available: {', '.join(variables)}")
    if observe is not None and not observe:
        raise ValueError("no variables to write; name at least one, or leave `observe` out")
    outputs = total // steps
    if chunk is not None:
        length = whole_steps(model, "chunk", chunk)
        if length % steps:
            raise ValueError(f"chunk must be a multiple of every; got {chunk} and {every}")
        per_chunk = min(length // steps, outputs)
    else:
        names = observe or variables
        layers = sum(model.levels.count if variables[x].dims == "3d" else 1 for x in names)
        size = 8 * layers * model.grid.nlon * model.grid.nlat
        largest = max(1, int(LARGEST_CHUNK / size))
        usual = max(1, min(int(USUAL_CHUNK / every), largest, outputs))
        # A length that divides the run spares the compilation of a shorter last chunk.
        near = range(max(1, usual // 4), min(4 * usual, largest, outputs) + 1)
        divisors = [n for n in near if outputs % n == 0]
        per_chunk = min(divisors, key=lambda n: abs(np.log(n / usual)), default=usual)
    return Settings(
        every, average, outputs, per_chunk, None if observe is None else tuple(observe),
        attributes, variables)


def _integrate(
    model: Model, inputs: Inputs, directory: Path, settings: Settings, parts: dict[Path, int],
    seconds: _Seconds, progress: bool,
) -> None:  # fmt: skip
    """Integrate chunk by chunk; note path and number of outputs of those written in `parts`."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[end]}"), TimeRemainingColumn())  # fmt: skip
    programs: dict[int, Any] = {}
    current, wind = inputs, None
    with Progress(
        *columns, console=Console(stderr=True), disable=not progress, speed_estimate_period=3600
    ) as bar:
        task = bar.add_task("compiling", total=settings.outputs, end="")
        for done in range(0, settings.outputs, settings.per_chunk):
            count = min(settings.per_chunk, settings.outputs - done)
            if count not in programs:
                began = time.perf_counter()
                programs[count] = _compile(model, current, settings, count)
                seconds.compiling += time.perf_counter() - began
            began = time.perf_counter()
            state, fields = jax.block_until_ready(programs[count](model, current))
            seconds.integrating += time.perf_counter() - began
            fields = {name: np.asarray(x) for name, x in fields.items()}
            good, what = _finite_outputs(fields, state)
            winds = [wind, *_strongest_winds(fields)]
            if good:
                began = time.perf_counter()
                part = _write_part(model, inputs, directory, settings, fields, done, good)
                parts[part] = good
                seconds.writing += time.perf_counter() - began
            if what is not None:
                raise _unstable(model, inputs, directory, settings, what, done + good, winds[good])
            current, wind = Inputs(inputs.parameters, inputs.forcing, state), winds[-1]
            bar.update(
                task, advance=count, description="integrating",
                end=_expected_end(seconds, (done + count) / settings.outputs))


def _compile(model: Model, inputs: Inputs, settings: Settings, count: int) -> Any:
    """Compile a chunk of so many outputs. The wind is always observed, for the message."""
    observe = settings.observe
    if observe is not None:
        observe = tuple(dict.fromkeys((*observe, *WINDS)))

    @eqx.filter_jit
    def chunk(model: Model, inputs: Inputs) -> tuple[State, Fields]:
        return simulate(
            model, inputs, days=count * settings.every, every=settings.every,
            average=settings.average, observe=observe, checkpoint="none")  # fmt: skip

    return chunk.lower(model, inputs).compile()


def _finite_outputs(fields: Mapping[str, np.ndarray], state: State) -> tuple[int, str | None]:
    """Return how many outputs are finite throughout, and the name of what is not."""
    count, what = len(next(iter(fields.values()))), None
    for name, values in fields.items():
        finite = np.all(np.isfinite(values), axis=tuple(range(1, values.ndim)))
        if not np.all(finite[:count]):
            count, what = int(np.argmin(finite)), name
    if what is None and not all(
        np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state.current)
    ):
        what = STATE
    return count, what


def _strongest_winds(fields: Mapping[str, np.ndarray]) -> list[float]:
    eastward, northward = (fields[name] for name in WINDS)
    with np.errstate(over="ignore", invalid="ignore"):
        speed = np.hypot(eastward, northward)
    return [float(x) for x in speed.reshape(len(speed), -1).max(axis=1)]


def _unstable(
    model: Model, inputs: Inputs, directory: Path, settings: Settings, what: str, good: int,
    wind: float | None,
) -> UnstableRun:  # fmt: skip
    """Return the error; `good` outputs came before, with the strongest wind of the last."""
    # The last state may go wrong in the step after the last output.
    day = (good + (what != STATE)) * settings.every
    date = format_date(int(first_day(model, inputs) + day))
    before = "it was the first output" if wind is None else (
        f"the strongest wind one output earlier was {wind:.0f} m s-1")  # fmt: skip
    kept = f" The {good} outputs before are in {directory / FIELDS}." if good else ""
    return UnstableRun(
        f"{what} became non-finite by day {day:g} of the run ({date}); {before}. Shorten the time "
        f"step (now {model.time_step:g} s), start from a spun-up state or from rest, or look at "
        f"changed parameters and forcing.{kept}",
        day=day, wind=wind)  # fmt: skip


def _write_part(
    model: Model, inputs: Inputs, directory: Path, settings: Settings,
    fields: Mapping[str, np.ndarray], done: int, count: int,
) -> Path:  # fmt: skip
    wanted = fields if settings.observe is None else settings.observe
    dataset = to_dataset(
        model, {name: fields[name][:count] for name in wanted}, inputs=inputs,
        start=first_day(model, inputs) + done * settings.every, every=settings.every,
        average=settings.average, attributes=settings.attributes, variables=settings.variables)
    return write_dataset(dataset, directory / f"part_{done:08d}.nc")


def _expected_end(seconds: _Seconds, share: float) -> str:
    left = (seconds.integrating + seconds.writing) * (1 - share) / share
    end = datetime.datetime.now() + datetime.timedelta(seconds=left)
    return f"ends about {end:%d %b %H:%M}"


def _write_log(
    path: Path, model: Model, inputs: Inputs, settings: Settings, seconds: _Seconds, status: str,
    outputs: int,
) -> None:  # fmt: skip
    days = outputs * settings.every
    years_per_day = days / DAYS_PER_YEAR / (max(seconds.integrating, 1e-9) / DAY)
    content = {
        "status": status,
        "version": package_version(),
        "model": model.name,
        "physics": type(model.physics).__name__,
        "dynamics": type(model.dynamics).__name__,
        "half_levels": list(model.levels.half),
        "time_step": model.time_step,
        "preset": model.preset,
        "options": model.options._asdict(),
        "parameters_sha256": parameter_hash(inputs.parameters),
        "precision": str(inputs.forcing.land_fraction.dtype),
        "device": jax.devices()[0].device_kind,
        "start": format_date(int(first_day(model, inputs))),
        "days": days,
        "every": settings.every,
        "average": settings.average,
        "chunk": settings.per_chunk * settings.every,
        "compile_seconds": round(seconds.compiling, 3),
        "integrate_seconds": round(seconds.integrating, 3),
        "write_seconds": round(seconds.writing, 3),
        "wall_seconds": round(time.perf_counter() - seconds.began, 3),
        "simulated_years_per_day": round(years_per_day, 3),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
