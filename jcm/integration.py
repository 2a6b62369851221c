"""The integration of a run on the host: in chunks, each checked and written before the next.

After each chunk its fields and then the whole state are on the disk, so that a run can be taken
up again bit for bit, whenever and however it was ended.
"""

import contextlib
import datetime
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from jcm.calendar import format_date
from jcm.constants import DAY, DAYS_PER_YEAR
from jcm.model import Model
from jcm.output import PRESSURE, to_dataset
from jcm.provenance import package_version
from jcm.restart import Restart, write_restart
from jcm.run_directory import (
    FIELDS,
    LOG,
    explained,
    join_parts,
    kept_outputs,
    read_log,
    write_log,
    write_part,
)
from jcm.schedule import WINDS, Plan, Settings
from jcm.simulate import Inputs, compile_window
from jcm.state import State

#: What messages call the state after the last output.
STATE = "the last state"
#: One output on the host.
Output = dict[str, np.ndarray]


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


class Run(NamedTuple):
    """What stays the same while a process integrates a run."""

    model: Model
    #: Parameters and forcing, and the state from which this process starts.
    inputs: Inputs
    directory: Path
    settings: Settings
    plan: Plan
    identity: dict[str, Any]
    #: Outputs that earlier processes have made, and the strongest wind of the last [m s-1].
    done: int = 0
    wind: float | None = None


class _Seconds:
    """Stopwatch for the phases of a run."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.compiling = self.integrating = self.writing = 0.0


def carry_on(this: Run, progress: bool) -> Path:
    """Integrate from the last restart file to the end, join the parts and write the log."""
    seconds, outputs = _Seconds(), this.plan.outputs
    try:
        if this.done < outputs:
            _integrate(this, seconds, progress)
        path = _finish(this, seconds)
    except UnstableRun as error:
        _finish(this, seconds)
        _log(this, seconds, "unstable", str(error))
        raise
    except BaseException as error:
        # The error that ends the run says more than one about its log.
        with contextlib.suppress(OSError):
            _log(this, seconds, "interrupted", str(error) or type(error).__name__)
        raise
    if this.done < outputs or read_log(this.directory).get("status") != "completed":
        with explained(this.directory, LOG, outputs):
            _log(this, seconds, "completed", "")
    return path


def _finish(this: Run, seconds: _Seconds) -> Path:
    began = time.perf_counter()
    kept = kept_outputs(this.directory, this.settings)
    with explained(this.directory, FIELDS[this.settings.format], kept):
        path = join_parts(this.directory, this.settings, this.plan.per_chunk)
    seconds.writing += time.perf_counter() - began
    return path


def _integrate(this: Run, seconds: _Seconds, progress: bool) -> None:
    """Integrate chunk by chunk; write the fields of each, then the state after it."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[end]}"), TimeRemainingColumn())  # fmt: skip
    plan, edges, settings = this.plan, this.plan.edges, this.settings
    current, wind = this.inputs, this.wind
    with Progress(
        *columns, console=Console(stderr=True), disable=not progress, speed_estimate_period=3600
    ) as bar:
        task = bar.add_task("compiling", total=edges[-1], completed=edges[this.done], end="")
        began = time.perf_counter()
        window = compile_window(
            this.model, current, average=settings.average, observe=settings.observed)
        seconds.compiling += time.perf_counter() - began
        for first in range(this.done, plan.outputs, plan.per_chunk):
            chunk: list[Output] = []
            what = None
            for index in range(first, min(first + plan.per_chunk, plan.outputs)):
                began = time.perf_counter()
                state, fields = jax.block_until_ready(
                    window(this.model, current, edges[index + 1] - edges[index]))
                fields = {name: np.asarray(x) for name, x in fields.items()}
                seconds.integrating += time.perf_counter() - began
                what = _not_finite(fields)
                if what is not None:
                    break
                chunk.append(fields)
                current, wind = current.with_state(state), _strongest_wind(fields)
                share = (edges[index + 1] - edges[this.done]) / (edges[-1] - edges[this.done])
                bar.update(
                    task, completed=edges[index + 1], description="integrating",
                    end=_expected_end(seconds, share))
            began = time.perf_counter()
            _write_chunk(this, chunk, first, current.state, wind, what)
            seconds.writing += time.perf_counter() - began


def _write_chunk(
    this: Run, chunk: list[Output], first: int, state: State, wind: float | None, what: str | None
) -> None:
    """Write the outputs of a chunk and the state after it, unless something is not finite."""
    stop = first + len(chunk)
    if chunk:
        with explained(this.directory, f"outputs {first + 1} to {stop}", first):
            write_part(this.directory, _dataset(this, chunk, first), first, stop)
    if what is None and not _is_finite(state):
        what = STATE
    if what is not None:
        raise _unstable(this, what, stop, wind)
    with explained(this.directory, "the restart file", first):
        write_restart(
            this.directory, this.identity, Restart(stop, this.plan.edges[stop], wind, state))


def _not_finite(fields: Output) -> str | None:
    return next((name for name, x in fields.items() if not np.isfinite(x).all()), None)


def _is_finite(state: State) -> bool:
    return all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state.current))


def _strongest_wind(fields: Output) -> float:
    eastward, northward = (fields[name] for name in WINDS)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.hypot(eastward, northward).max())


def _unstable(this: Run, what: str, good: int, wind: float | None) -> UnstableRun:
    """Return the error; `good` outputs came before, with the strongest wind of the last."""
    # The last state may go wrong in the step after the last output.
    end = this.plan.edges[good + (what != STATE)]
    day = end / this.model.steps_per_day
    date = format_date(int(this.settings.first_day + day))
    before = "it was the first output" if wind is None else (
        f"the strongest wind one output earlier was {wind:.0f} m s-1")  # fmt: skip
    fields = this.directory / FIELDS[this.settings.format]
    kept = f" Outputs before that ({good}) are in {fields}." if good else ""
    return UnstableRun(
        f"{what} became non-finite by day {day:g} of the run ({date}); {before}. Shorten the time "
        f"step (now {this.model.time_step:g} s), start from a spun-up state or from rest, or look "
        f"at changed parameters and forcing.{kept}",
        day=day, wind=wind)  # fmt: skip


def _dataset(this: Run, chunk: list[Output], first: int) -> xr.Dataset:
    """Return the outputs of a chunk as they are written."""
    settings, per_day = this.settings, this.model.steps_per_day
    edges = np.array(this.plan.edges[first : first + len(chunk) + 1])
    wanted = tuple(chunk[0]) if settings.observe is None else settings.observe
    given = {*wanted, PRESSURE} if settings.pressure_levels is not None else set(wanted)
    dataset = to_dataset(
        this.model,
        {name: np.stack([x[name] for x in chunk]) for name in chunk[0] if name in given},
        inputs=this.inputs, start=settings.first_day + edges[0].item() / per_day,
        every=(np.diff(edges) / per_day).tolist(), average=settings.average,
        pressure_levels=settings.pressure_levels, attributes=settings.attributes,
        variables=settings.table)  # fmt: skip
    return dataset if PRESSURE in wanted else dataset.drop_vars(PRESSURE, errors="ignore")


def _expected_end(seconds: _Seconds, share: float) -> str:
    left = (seconds.integrating + seconds.writing) * (1 - share) / share
    end = datetime.datetime.now() + datetime.timedelta(seconds=left)
    return f"ends about {end:%d %b %H:%M}"


def _log(this: Run, seconds: _Seconds, status: str, message: str) -> None:
    """Write `run.json`; seconds and speed are those of this process."""
    model, settings = this.model, this.settings
    outputs = min(kept_outputs(this.directory, settings), this.plan.outputs)
    days, before = (this.plan.edges[n] / model.steps_per_day for n in (outputs, this.done))
    years_per_day = (days - before) / DAYS_PER_YEAR / (max(seconds.integrating, 1e-9) / DAY)
    write_log(this.directory, {
        "status": status,
        "message": message,
        "version": package_version(),
        "model": model.name,
        "physics": type(model.physics).__name__,
        "dynamics": type(model.dynamics).__name__,
        "half_levels": list(model.levels.half),
        "time_step": model.time_step,
        "preset": model.preset,
        "options": model.options._asdict(),
        "parameters_sha256": this.identity["parameters_sha256"],
        "precision": this.identity["precision"],
        "device": jax.devices()[0].device_kind,
        "start": format_date(int(settings.first_day)),
        "days": days,
        "every": settings.every,
        "average": settings.average,
        "outputs_per_chunk": this.plan.per_chunk,
        "resumed_from_day": before,
        "compile_seconds": round(seconds.compiling, 3),
        "integrate_seconds": round(seconds.integrating, 3),
        "write_seconds": round(seconds.writing, 3),
        "wall_seconds": round(time.perf_counter() - seconds.began, 3),
        "simulated_years_per_day": round(years_per_day, 3),
    })  # fmt: skip
