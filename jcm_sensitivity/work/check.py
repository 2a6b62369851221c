"""Computes the certificate of the derivatives of a model, and reports on it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jcm.initial import default_inputs
from jcm.model import Model, build_model
from jcm.simulate import Inputs
from jcm_sensitivity.arguments import check_target_names, parts
from jcm_sensitivity.certificate import default_targets, inputs_of_interest
from jcm_sensitivity.certify import certify
from jcm_sensitivity.changes import members_of_groups, named_values
from jcm_sensitivity.combinations import Target
from jcm_sensitivity.experiment import read_experiment
from jcm_sensitivity.indices import index
from jcm_sensitivity.verdict import SEVERITY


def certificate(
    experiment: Path | None, *, grid: str, smooth: bool | None, dtype: str, parameters: str,
    targets: str, horizons: list[str], tolerance: float, directions: int, store: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the certificate, in the precision."""
    with jax.enable_x64(dtype == "float64"):
        model, inputs, known = _setup(experiment, grid, smooth, np.dtype(dtype))
        names = _names(inputs, model, parameters)
        return _certified(
            model, inputs, names, _targets(targets, known), horizons, tolerance, directions, store)


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
    names = list(members_of_groups(inputs, parts(text)))
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
    names = parts(text)
    check_target_names(names, [*ready])
    return {name: ready[name] if name in ready else index(name) for name in names}


def _certified(
    model: Model, inputs: Inputs, names: list[str], targets: dict[str, Target],
    horizons: list[str], tolerance: float, directions: int, store: Path | None,
) -> dict[str, Any]:  # fmt: skip
    columns = (TextColumn("{task.description:60.60}", markup=False), BarColumn(),
               MofNCompleteColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("preparing", total=len(names) + directions)
        return certify(
            model, inputs, names=names, targets=targets, horizons=horizons, tolerance=tolerance,
            random_directions=directions, store=store,
            progress=lambda text, done, of: progress.update(
                task, description=text, completed=done, total=of))


def report(console: Console, result: dict[str, Any]) -> None:
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
