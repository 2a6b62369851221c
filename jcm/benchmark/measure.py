"""The measurements of `jcm benchmark`, in order: cold starts, gradients, pairs, profile, table.

Time to compile, time to the first result and memory have processes of their own. Warm timings
alternate: a run of this model, one of the peer, and so on, and ratios are taken pair by pair, so
that what else the machine does weighs on both.
"""

import math
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jcm.benchmark.hardware import hardware
from jcm.benchmark.process import PEER_VERSION, MeasuredProcess, own_process, peer_process
from jcm.benchmark.settings import Settings
from jcm.constants import DAY, DAYS_PER_YEAR

#: Least length of a timed run: wall-clock time [s], and days.
LEAST_SECONDS, LEAST_DAYS = 1.5, 5
#: The keys that are always there, null where they do not apply.
KEYS = (
    "sypd", "ms_per_step", "peer_sypd", "peer_ratio", "gradient_ratio", "peer_gradient_ratio",
    "compile_seconds", "first_result_seconds", "peak_memory_gib", "profile", "hardware",
)  # fmt: skip

Progress = Callable[[str], None]


def measure(settings: Settings, progress: Progress = lambda message: None) -> dict[str, Any]:
    """Make all measurements and return them, ready for JSON."""
    with tempfile.TemporaryDirectory(prefix="jcm-benchmark-") as folder:
        cache = Path(folder)
        content: dict[str, Any] = dict.fromkeys(KEYS)
        content |= _starts(settings, cache, progress)
        content["gradients"] = [
            _gradient_alone(settings, days, cache, progress) for days in settings.gradient_days]
        content |= _warm(settings, content, cache, progress)
        content["table"] = [content["forward"], *_others(settings, cache, progress)]
    content["peak_memory_gib"] = max(
        [content["memory"]["forward_gib"],
         *(gradient["peak_memory_gib"] for gradient in content["gradients"])])  # fmt: skip
    content["hardware"] = hardware(content["model"]["device"])
    content["settings"] = settings._asdict() | {
        "peer": settings.peer is not None, "differentiated": "forcing.sea_surface_temperature",
        "years_of_days": DAYS_PER_YEAR}  # fmt: skip
    return content


def _starts(settings: Settings, cache: Path, progress: Progress) -> dict[str, Any]:
    """Time the first result of two new processes; the second finds the programs of the first."""
    grid, starts = settings.grids[0], []
    for number in ("first", "second"):
        progress(f"{grid}: start of the {number} process")
        with own_process(cache) as process:
            model = process.ask("setup", grid=grid, time_step=settings.time_step)
            imported = process.seconds_since_start() - model["setup_seconds"]
            first = process.ask("first", days=1)
            seconds = process.seconds_since_start()
            warm = process.ask("first", days=1)
        starts.append({
            "first_result_seconds": seconds,
            "import_seconds": imported,
            "setup_seconds": model["setup_seconds"],
            # The first call traces, compiles and runs; the second only runs.
            "compile_seconds": first["seconds"] - warm["seconds"],
            "peak_memory_gib": warm["peak_memory_gib"],
        })  # fmt: skip
    keep = ("model", "preset", "precision", "time_step", "steps_per_day", "shortwave_interval",
            "device", "platform")  # fmt: skip
    return {
        "compile_seconds": starts[0]["compile_seconds"],
        "first_result_seconds": starts[0]["first_result_seconds"],
        "second_process_seconds": starts[1]["first_result_seconds"],
        "starts": starts,
        "memory": {
            "forward_gib": starts[0]["peak_memory_gib"],
            "forward_second_process_gib": starts[1]["peak_memory_gib"],
        },
        "model": {key: model[key] for key in keep},
    }


def _gradient_alone(
    settings: Settings, days: float, cache: Path, progress: Progress
) -> dict[str, Any]:
    """Take a gradient in a new process, for its memory and time to compile, and in a second."""
    answers, seconds = [], []
    for number in ("first", "second"):
        progress(f"{settings.grids[0]}: gradient over {days:g} days in the {number} process")
        with own_process(cache) as process:
            process.ask("setup", grid=settings.grids[0], time_step=settings.time_step)
            answers.append(process.ask("gradient", days=days))
            # The first answer comes after two evaluations.
            seconds.append(process.seconds_since_start() - answers[-1]["seconds"])
    first, second = answers
    return {
        "days": days,
        "compile_seconds": first["compile_seconds"],
        "first_result_seconds": seconds[0],
        "second_process_seconds": seconds[1],
        "peak_memory_gib": first["peak_memory_gib"],
        "second_process_memory_gib": second["peak_memory_gib"],
        **{key: first[key] for key in (
            "temporary_gib", "value", "largest_derivative", "finite", "of", "with_respect_to")},
    }  # fmt: skip


def _warm(
    settings: Settings, content: dict[str, Any], cache: Path, progress: Progress
) -> dict[str, Any]:
    """Time forward runs and gradients, in pairs with the peer, and the pieces of a step."""
    grid, members = settings.grids[0], settings.members[0]
    with ExitStack() as stack:
        own = stack.enter_context(own_process(cache))
        own.ask("setup", grid=grid, time_step=settings.time_step)
        days = _length(own, settings, members)
        peer = _Peer(settings, content["model"], stack, progress)
        progress(f"{grid}: {settings.repeats} runs of {days:g} days" + peer.too)
        ours, theirs = [], []
        for _ in range(settings.repeats):
            ours.append(own.ask("forward", days=days, members=members))
            theirs.append(peer.ask("forward", days=days))
        forward = _speed(grid, members, days, ours, content["model"]["steps_per_day"])
        found = {"forward": forward, "sypd": forward["sypd"], "ms_per_step": forward["ms_per_step"]}
        if None not in theirs:
            found["peer_sypd"] = _sypd(days, _median(theirs))
            found["peer_ratio"] = _ratio(theirs, ours)
            peer.content["forward"] = {"days": days, "samples": theirs}
        gradients = []
        for known in content["gradients"]:
            progress(f"{grid}: {settings.repeats} gradients over {known['days']:g} days" + peer.too)
            gradients.append(known | _gradient(own, peer, known["days"], settings.repeats))
        if gradients:
            found["gradient_ratio"] = gradients[0]["gradient_ratio"]
            found["peer_gradient_ratio"] = gradients[0]["peer_gradient_ratio"]
        found["gradients"] = gradients
        found["peer"] = peer.content
        if settings.profile:
            progress(f"{grid}: pieces of a step")
            found["profile"] = own.ask("profile")
            found["profile"].pop("peak_memory_gib")
    return found


def _gradient(own: MeasuredProcess, peer: "_Peer", days: float, repeats: int) -> dict[str, Any]:
    """Time runs, gradients, and gradients of the peer in turn."""
    forward, ours, theirs = [], [], []
    for _ in range(repeats):
        forward.append(own.ask("forward", days=days))
        ours.append(own.ask("gradient", days=days))
        theirs.append(peer.ask("gradient", days=days))
    found = {
        "seconds": _median(ours),
        "forward_seconds": _median(forward),
        "gradient_ratio": _ratio(ours, forward),
        "peer_seconds": None,
        "peer_gradient_ratio": None,
        "samples": [answer["seconds"] for answer in ours],
        "forward_samples": [answer["seconds"] for answer in forward],
    }
    if None not in theirs:
        found["peer_seconds"] = _median(theirs)
        found["peer_gradient_ratio"] = _ratio(theirs, ours)
        found["peer_samples"] = [answer["seconds"] for answer in theirs]
        first = theirs[0]
        peer.content.setdefault("gradients", []).append({
            "days": days,
            "peak_memory_so_far_gib": first["peak_memory_gib"],
            **{key: first[key] for key in (
                "compile_seconds", "temporary_gib", "value", "finite", "of", "with_respect_to",
                "call") if key in first},
        })  # fmt: skip
    return found


def _others(settings: Settings, cache: Path, progress: Progress) -> list[dict[str, Any]]:
    """Time the other grids and sizes of ensembles."""
    rows = []
    for grid in settings.grids:
        done = settings.members[0] if grid == settings.grids[0] else None
        todo = [members for members in settings.members if members != done]
        if not todo:
            continue
        with own_process(cache) as process:
            model = process.ask("setup", grid=grid, time_step=settings.time_step)
            for members in todo:
                days = _length(process, settings, members)
                progress(f"{grid}, {members} members: {settings.repeats} runs of {days:g} days")
                samples = [process.ask("forward", days=days, members=members)
                           for _ in range(settings.repeats)]  # fmt: skip
                rows.append(_speed(grid, members, days, samples, model["steps_per_day"]))
    return rows


class _Peer:
    """The peer, or nothing; what it fails at is noted, and it is not asked again."""

    def __init__(
        self, settings: Settings, model: dict[str, Any], stack: ExitStack, progress: Progress
    ):
        #: What the peer says of itself; None without a peer.
        self.content: Any = None
        self._process: MeasuredProcess | None = None
        if settings.peer is None:
            return
        progress(f"the peer, {PEER_VERSION}: set up and first day")
        truncation, layers = model["model"].removeprefix("T").split("L")
        self.content, self._process = {}, stack.enter_context(peer_process(settings.peer))
        setup = self.ask(
            "setup", truncation=int(truncation), layers=int(layers), time_step=model["time_step"])
        first = self.ask("first", days=1)
        seconds = self._process.seconds_since_start() if self._process else None
        warm = self.ask("first", days=1)
        if setup is None or first is None or warm is None:
            return
        self.content |= setup | {
            "first_result_seconds": seconds,
            "compile_seconds": first["seconds"] - warm["seconds"],
            "peak_memory_gib": warm["peak_memory_gib"],
        }

    @property
    def too(self) -> str:
        """What to add to a message about timings."""
        return " of each model" if self._process else ""

    def ask(self, command: str, **arguments: Any) -> dict[str, Any] | None:
        """Return the answer, or None if there is none."""
        if self._process is None:
            return None
        try:
            answer = self._process.ask(command, **arguments)
        except RuntimeError as error:
            self._process, self.content["error"] = None, str(error)
            return None
        if not answer.get("finite", True):
            self._process = None
            self.content["error"] = f"the peer is not finite after {command} {arguments}"
            return None
        return answer


def _length(process: MeasuredProcess, settings: Settings, members: int) -> float:
    """Return how many days to time: enough for a run that takes long enough to be timed."""
    if settings.days is not None:
        return settings.days
    one = process.ask("forward", days=1)["seconds"] * members
    least = LEAST_DAYS if members == 1 else 1
    return max(least, math.ceil(LEAST_SECONDS / one))


def _speed(
    grid: str, members: int, days: float, answers: list[dict[str, Any]], steps_per_day: int
) -> dict[str, Any]:
    """Return one row of the table of speeds."""
    seconds = _median(answers)
    return {
        "grid": grid,
        "members": members,
        "days": days,
        "sypd": members * _sypd(days, seconds),
        "sypd_of_each_member": _sypd(days, seconds),
        "ms_per_step": 1e3 * seconds / (days * steps_per_day),
        "steps_per_day": steps_per_day,
        "finite": all(answer.get("finite", True) for answer in answers),
        "samples": [answer["seconds"] for answer in answers],
    }


def _sypd(days: float, seconds: float) -> float:
    return days / DAYS_PER_YEAR / (seconds / DAY)


def _median(answers: list[Any]) -> float:
    return statistics.median(answer["seconds"] for answer in answers)


def _ratio(above: list[Any], below: list[Any]) -> float:
    """Return the median of the ratios pair by pair."""
    pairs = zip(above, below, strict=True)
    return statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
