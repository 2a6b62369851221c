"""The measurements as tables, for people and for a README."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jcm.benchmark.hardware import describe
from jcm.benchmark.process import PEER, PEER_VERSION

Rows = list[tuple[str, ...]]


def show(content: dict[str, Any]) -> None:
    """Print tables for people."""
    console = Console()
    if not console.is_terminal:
        # A pipe has no width; cut text would be worse than long lines.
        console.width = 120
    model = content["model"]
    title = f"{model['model']}, {model['precision']}, time step {model['time_step']:g} s"
    _print(console, title, ("", "", "peer"), _summary(content))
    if len(content["table"]) > 1:
        _print(console, "Simulated years per day, all members together", *_speeds(content))
    if content["profile"]:
        _print(console, "A step [ms]", ("piece", "ms", "calls"), _profile(content["profile"]))
    peer = content["peer"]
    if peer and "error" in peer:
        console.print(f"The peer could not be measured to the end: {peer['error']}", markup=False)
    console.print(describe(content["hardware"]), markup=False, highlight=False)


def markdown(content: dict[str, Any]) -> str:
    """Return the tables of the README."""
    model = content["model"]
    lines = [
        f"{describe(content['hardware'])}; {model['precision']}, output off, medians of "
        f"{len(content['forward']['samples'])}.", ""]  # fmt: skip
    head, rows = _speeds(content)
    if len(content["table"]) > 1:
        lines += _markdown(("simulated years per day", *head[1:]), rows)
        lines += [""]
    peer = f"{PEER} {PEER_VERSION}" if content["peer"] else None
    summary = _summary(content)
    columns = 3 if peer else 2
    lines += _markdown((model["model"], "this model", peer or "")[:columns],
                       [row[:columns] for row in summary])  # fmt: skip
    return "\n".join(lines)


def _summary(content: dict[str, Any]) -> Rows:
    peer = content["peer"] or {}
    memory = content["memory"]
    rows = [
        ("simulated years per day", _number(content["sypd"]), _number(content["peer_sypd"])),
        ("ms per step", _number(content["ms_per_step"]), ""),
        ("ratio of the speeds", _number(content["peer_ratio"]), ""),
    ]
    for gradient in content["gradients"]:
        days = f"{gradient['days']:g} days"
        rows += [
            (f"value and gradient over {days} [s]", _number(gradient["seconds"]),
             _number(gradient["peer_seconds"])),
            (f"the same over a run of {days}", _number(gradient["gradient_ratio"]), ""),
            ("the peer's gradient over ours", _number(gradient["peer_gradient_ratio"]), ""),
            (f"compilation of the gradient over {days} [s]", _number(gradient["compile_seconds"]),
             _number(_of_peer(peer, gradient["days"], "compile_seconds"))),
            (f"memory of the gradient over {days} [GiB]", _number(gradient["peak_memory_gib"]),
             _number(_of_peer(peer, gradient["days"], "peak_memory_so_far_gib"))),
            ("the same in the second process [GiB]",
             _number(gradient["second_process_memory_gib"]), ""),
        ]  # fmt: skip
    rows += [
        ("compilation [s]", _number(content["compile_seconds"]),
         _number(peer.get("compile_seconds"))),
        ("first day, from the start of the process [s]", _number(content["first_result_seconds"]),
         _number(peer.get("first_result_seconds"))),
        ("the same in the second process [s]", _number(content["second_process_seconds"]), ""),
        ("memory of a run [GiB]", _number(memory["forward_gib"]),
         _number(peer.get("peak_memory_gib"))),
        ("the same in the second process [GiB]", _number(memory["forward_second_process_gib"]), ""),
    ]  # fmt: skip
    return [row for row in rows if any(row[1:])]


def _speeds(content: dict[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """Return head and rows of the table of grids by sizes of ensembles."""
    table = content["table"]
    members = list(dict.fromkeys(row["members"] for row in table))
    grids = list(dict.fromkeys(row["grid"] for row in table))
    found = {(row["grid"], row["members"]): row["sypd"] for row in table}
    head = ("grid", *(f"{count} member{'s' if count > 1 else ''}" for count in members))
    return head, [
        (grid, *(_number(found.get((grid, count))) for count in members)) for grid in grids]


def _profile(profile: dict[str, Any]) -> Rows:
    rows = [("whole step", _number(profile["step_ms"]), "1")]
    for part in profile["parts"]:
        indent = "  " * (part["path"].count("/") + 1)
        rows.append((
            indent + part["name"].replace("_", " "), f"{part['ms_per_step']:.3f}",
            f"{part['calls_per_step']:.3g}"))  # fmt: skip
    return [*rows, ("  remainder", f"{profile['remainder_ms']:.3f}", "")]


def _of_peer(peer: dict[str, Any], days: float, key: str) -> float | None:
    return next((g.get(key) for g in peer.get("gradients", []) if g["days"] == days), None)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _markdown(head: tuple[str, ...], rows: Rows) -> list[str]:
    line = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def _print(console: Console, title: str, head: tuple[str, ...], rows: Rows) -> None:
    table = Table(*head, title=escape(title))
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
