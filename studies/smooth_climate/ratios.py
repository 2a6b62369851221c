"""The adjoint beside central differences of two runs with a warmer and a cooler box of sea.

The targets are sums over the fields of a run with weights, and the weights are arguments of the
program: one gradient serves all targets, leads, initial states and widths. Widths 0 are the exact
switches to the bit, so that exact ones need no program of their own.
"""

import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from plan import Plan, Target, build, means, widths_of

import jcm
from jcm.files import write_text
from jcm.provenance import package_version
from jcm.results import identify, refuse_another
from jcm.simulate import Inputs
from jcm_sensitivity import initial_states, model_experiment, response, sensitivity
from jcm_sensitivity.experiment import SEA_SURFACE_TEMPERATURE as SEA


class WeightedSum(eqx.Module):
    """A sum of fields (output, lon, lat) with weights."""

    weights: dict[str, Array]

    def __call__(self, fields: dict[str, Array]) -> Array:
        """Return the sum, row by row: all cells at once are less precise in float32."""
        return sum(
            (jnp.sum(jnp.sum(w * fields[name], axis=(0, 1))) for name, w in self.weights.items()),
            start=jnp.zeros(()))


def variables(plan: Plan) -> tuple[str, ...]:
    """Return the names of the fields that the targets need."""
    return tuple(sorted({target.variable for target in plan.targets}))


def area_weights(plan: Plan, target: Target) -> np.ndarray:
    """Return the weight of each cell (lon, lat) in the mean over the region of a target."""
    grid = build(plan.grid, True).grid
    cells = target.region.fraction(grid) * grid.cell_area
    return cells / cells.sum()


def targets_of(plan: Plan, target: Target) -> list[WeightedSum]:
    """Return the mean over the last day before each lead."""
    cells = area_weights(plan, target)
    found = []
    for lead in plan.leads:
        weights = {name: np.zeros((plan.days, *cells.shape)) for name in variables(plan)}
        weights[target.variable][lead - 1] = cells
        found.append(WeightedSum({name: jnp.asarray(w, float) for name, w in weights.items()}))
    return found


def states(plan: Plan) -> dict[str, list[Inputs]]:
    """Return inputs with states along runs of the exact model, by start."""
    model = build(plan.grid, False)
    return {start: initial_states(
        model, jcm.default_inputs(model, start=start), plan.states, plan.spacing_days)
        for start in plan.ratio_starts}  # fmt: skip


def ratios(
    plan: Plan, setting: str, folder: Path, count: int, adjoint: int = 0
) -> list[dict[str, Any]]:
    """Return one row for each target, lead and state; those of a file if it is there.

    The derivative to a change of the box is that of forward mode, one run for all leads; for the
    first `adjoint` states also that of reverse mode, which is what a map shows, summed over the
    box.
    """
    path = folder / "ratios" / f"{setting}.json"
    experiment = identify(
        version=package_version(), grid=plan.grid, starts=plan.ratio_starts, days=plan.days,
        leads=plan.leads, step=plan.step, spacing=plan.spacing_days, targets=plan.targets,
        states=count, adjoint_states=adjoint, widths=widths_of(plan, setting))
    if path.is_file():
        known = json.loads(path.read_text())
        refuse_another(known["experiment"], experiment, path)
        return known["rows"]
    model = build(plan.grid, True)
    run = model_experiment(model, days=plan.days, every=1, observe=variables(plan))
    chosen, members = widths_of(plan, setting), states(plan)
    begin, rows = time.perf_counter(), []
    for target in plan.targets:
        inside = target.sea.fraction(model.grid)
        cells = area_weights(plan, target)

        for number, state in enumerate(members[target.start][:count]):
            inputs = jcm.insert(state, chosen)
            sea = inputs.forcing.sea_surface_temperature
            low, high = (
                daily(plan, jcm.insert(inputs, {SEA: sea + sign * plan.step * inside}),
                      target.variable)
                for sign in (-1, 1))  # fmt: skip
            slopes = np.sum((high - low) / (2 * plan.step) * cells, axis=(1, 2))
            change = response(run, inputs, {SEA: inside}).change[target.variable]
            tangent = np.sum(np.asarray(change, float) * cells, axis=(1, 2))
            gradients = [None] * len(plan.leads)
            if number < adjoint:
                gradients = sensitivity(run, targets_of(plan, target), inputs, wrt=[SEA])
            for lead, gradient in zip(plan.leads, gradients, strict=True):
                row = {"target": target.name, "lead": lead, "state": number,
                       "difference": float(slopes[lead - 1]), "tangent": float(tangent[lead - 1])}
                if gradient is not None:
                    row["adjoint"] = float(
                        np.sum(np.asarray(gradient.gradient[SEA], float) * inside))
                linear = row.get("adjoint", row["tangent"])
                rows.append(row | {"ratio": linear / row["difference"]})
        latest = [row["ratio"] for row in rows[-len(plan.leads) * count :]]
        print(f"{setting}, {target.name}: {np.round(latest, 2)}, "
              f"{time.perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"experiment": experiment, "rows": rows}, indent=1) + "\n")
    return rows


def daily(plan: Plan, inputs: Inputs, variable: str) -> np.ndarray:
    """Return daily means (day, lon, lat) of a run."""
    found = []
    for _ in range(plan.days):
        state, fields = means(plan, True, inputs, 1)
        inputs = inputs.with_state(state)
        found.append(fields[variable].astype(float))
    return np.stack(found)


def spread(rows: list[dict[str, Any]], accepted: tuple[float, float]) -> dict[str, float]:
    """Return median, quartiles and the number of ratios outside what is accepted."""
    found = np.array([row["ratio"] for row in rows], float)
    quartiles = np.percentile(found, [25, 50, 75])
    low, high = accepted
    return {
        "cases": len(found), "median": float(quartiles[1]), "lower_quartile": float(quartiles[0]),
        "upper_quartile": float(quartiles[2]),
        "failed": int(np.sum(~((found >= low) & (found <= high))))}

