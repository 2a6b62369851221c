"""`jcm-sensitivity check`: the certificate of the derivatives of a model."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jcm.files import write_text
from jcm.initial import default_inputs
from jcm.model import Model, build_model
from jcm.simulate import Inputs
from jcm_sensitivity.certificate import default_targets, inputs_of_interest
from jcm_sensitivity.certify import certify
from jcm_sensitivity.changes import members_of_groups, named_values
from jcm_sensitivity.combinations import Target
from jcm_sensitivity.commands.shared import Switches, errors_in_one_line, new_console
from jcm_sensitivity.experiment import read_experiment
from jcm_sensitivity.hints import hint
from jcm_sensitivity.indices import INDICES, index
from jcm_sensitivity.report_html import write_html
from jcm_sensitivity.verdict import SEVERITY

PRECISIONS = {"float64": np.float64, "float32": np.float32}


def check_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML: its model, inputs and target; default: the default model.",
            metavar="[EXPERIMENT.toml]", show_default=False),
    ] = None,
    parameters: Annotated[
        str,
        typer.Option(
            help="Inputs to check, separated by commas: parameters, groups of them such as "
            "parameters.convection, boundary fields such as forcing.sea_surface_temperature, or "
            "the initial atmosphere such as state.air_temperature; default: all (an hour)."),
    ] = "all",
    targets: Annotated[
        str,
        typer.Option(
            help="Results whose derivatives are checked, separated by commas: "
            f"{', '.join(default_targets())} (all six: the default), an index such as "
            "global_mean_precipitation, or `target`, that of the experiment."),
    ] = "all",
    horizons: Annotated[
        str, typer.Option(help="Lengths of the runs, separated by commas.")
    ] = "1step,6h,1d,5d",
    grid: Annotated[str, typer.Option(help="Grid, without an experiment.")] = "T21L8",
    dtype: Annotated[
        str, typer.Option(help="Precision of the numbers: float64, or float32.")
    ] = "float64",
    smooth: Switches = None,
    directions: Annotated[
        int, typer.Option(help="How many random directions in all these inputs to add.")
    ] = 0,
    tolerance: Annotated[
        float, typer.Option(help="Largest relative difference that passes.")
    ] = 1e-5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all numbers.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="File for a page with tables and figures.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps inputs that are done; a check that was interrupted "
                     "goes on there."),
    ] = None,
) -> None:
    """Check the derivatives of the model, and say what each of them is worth.

    For each input, result and length of run the derivative is compared with pairs of runs in which
    the input is changed a little, up and down. Verdicts: pass; kink or jump (the derivative is
    right, but a switch of the physics flips and a finite change sees more, the switch is named);
    dead (the derivative is 0, and why); noise floor (too small to be measured); chaotic (the run
    is too long); wrong and not finite. The status is 1 if any derivative is wrong or not finite.
    """
    with errors_in_one_line():
        if dtype not in PRECISIONS:
            raise ValueError(f"--dtype is float64 or float32; got {dtype!r}")
        _check_places({"--json": json_file, "--html": html}, store)
        with jax.enable_x64(dtype == "float64"):
            model, inputs, known = _setup(experiment, grid, smooth, PRECISIONS[dtype])
            names = _names(inputs, model, parameters)
            result = _certified(
                model, inputs, names, _targets(targets, known),
                [x.strip() for x in horizons.split(",")], tolerance, directions, store)
        result["command"] = shlex.join(["jcm-sensitivity", *sys.argv[1:]])
        _report(new_console(), result)
        if json_file is not None:
            write_text(json_file, json.dumps(result) + "\n")
        if html is not None:
            write_html(result, html)
    raise typer.Exit(0 if result["passed"] else 1)


def _check_places(files: dict[str, Path | None], store: Path | None) -> None:
    """Refuse places that cannot be written before an hour of work, not after it."""
    for option, path in files.items():
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {str(path.parent)!r} for the file of {option}; make it first")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{option} is a file, but {str(path)!r} is a folder")
    if store is not None and store.exists() and not store.is_dir():
        raise NotADirectoryError(
            f"--store is a folder, but {str(store)!r} is a file; name another place")


def _setup(
    path: Path | None, grid: str, smooth: bool | None, dtype: Any
) -> tuple[Model, Inputs, dict[str, Target]]:
    """Return model, inputs in the precision, and the target of the experiment."""
    if path is None:
        model = build_model(grid, smooth=smooth is not False)
        return model, default_inputs(model, dtype=dtype), {}
    setup = read_experiment(path, smooth=smooth)
    inputs = jax.tree.map(
        lambda x: x.astype(dtype) if jax.numpy.issubdtype(x.dtype, np.floating) else x,
        setup.inputs)
    return setup.run.model, inputs, {"target": setup.target}


def _names(inputs: Inputs, model: Model, text: str) -> list[str]:
    if text == "all":
        return inputs_of_interest(inputs)
    names = list(members_of_groups(inputs, [x.strip() for x in text.split(",") if x.strip()]))
    return list(named_values(model, inputs, names))


def _targets(text: str, known: dict[str, Target]) -> dict[str, Target]:
    """Return the targets with these names.

    Raises
    ------
    ValueError
        If one is unknown.
    """
    ready = default_targets() | known
    if text == "all":
        return ready
    chosen: dict[str, Target] = {}
    for name in (x.strip() for x in text.split(",") if x.strip()):
        if name not in ready and name not in INDICES:
            everything = list(dict.fromkeys([*ready, *INDICES]))
            raise ValueError(
                f"unknown target {name!r}; {hint(name, everything)}available: "
                f"{', '.join(everything)}")
        chosen[name] = ready[name] if name in ready else index(name)
    return chosen


def _certified(
    model: Model, inputs: Inputs, names: list[str], targets: dict[str, Target],
    horizons: list[str], tolerance: float, directions: int, store: Path | None,
) -> dict[str, Any]:  # fmt: skip
    columns = (TextColumn("{task.description:60.60}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("preparing", total=len(names) + directions)
        return certify(
            model, inputs, names=names, targets=targets, horizons=horizons, tolerance=tolerance,
            random_directions=directions, store=store,
            progress=lambda text, done, of: progress.update(
                task, description=text, completed=done, total=of))


def _report(console: Console, result: dict[str, Any]) -> None:
    """Print the counts of verdicts by horizon, and what failed."""
    single = [cell for cell in result["cells"] if not cell["input"].startswith("random ")]
    horizons = [h["name"] for h in result["horizons"]]
    table = Table("verdict", *horizons)
    counts = Counter((cell["verdict"], cell["horizon"]) for cell in single)
    for verdict in reversed(SEVERITY):
        if any(counts[verdict, h] for h in horizons):
            table.add_row(verdict, *(str(counts[verdict, h]) for h in horizons))
    console.print(f"{result['title']}, {result['dtype']}, version {result['version']}, "
                  f"parameters {result['parameters_sha256'][:12]}")  # fmt: skip
    console.print(table)
    for line in [*_worst(result["cells"]), *_identity(result)]:
        console.print(line, soft_wrap=True)
    console.print("passed" if result["passed"] else "FAILED")


def _worst(cells: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{cell['verdict'].upper()}: {cell['target']} to {cell['input']}, {cell['horizon']}: "
            f"{cell['explanation']}"
            for cell in cells if cell["verdict"] in ("wrong", "not finite")]  # fmt: skip


def _identity(result: dict[str, Any]) -> list[str]:
    lines = [f"forward against reverse mode, {m['horizon']}: |<Jv, w> - <v, J'w>| / <Jv, Jv> = "
             f"{m['mismatch']:.1e}" for m in result["identity"]]  # fmt: skip
    many = result["random_directions"]
    if many["count"]:
        lines.append(
            f"random directions with branches frozen: {many['within_1e-6']} of {many['count']} "
            f"agree to 1e-6, the largest difference is {many['largest']:.1e}")
    return lines
