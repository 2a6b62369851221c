"""Which method comes nearest to the most probable parameters, at which cost in model days?

    python studies/race/run.py [--smoke]

Gradient, Kalman and derivative-free methods on one noisy twin problem, each from several seeds and
with the same budget; controls follow the signs of the gradient only, or a wrong gradient. Runs are
kept in `results/` and not computed again. Writes `summary.json`, `summary.md` and `figures/`.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from experiment import Plan, build, cached_costs, raced, read_plan, reference
from figures import draw_all

from jcm.files import write_text
from jcm.results import cached, identify

HERE = Path(__file__).parent
#: How far above the lowest value known a run has arrived: half a unit of log likelihood.
ARRIVED = 0.5
Runs = dict[str, list[dict[str, np.ndarray]]]


def compute(plan: Plan, folder: Path) -> tuple[Any, dict[str, float], dict[str, np.ndarray], Runs]:
    """Return problem, costs, reference and all runs; what is in the folder is not done again."""
    problem = build(plan)
    costs = cached_costs(folder / "costs.npz", plan, problem)
    print(json.dumps(costs), flush=True)

    def solve() -> dict[str, Any]:
        fit = reference(problem)
        return {"best": fit.best, "value": fit.value, "covariance": fit.covariance,
                "message": fit.message}  # fmt: skip

    mode = cached(folder / "reference.npz", solve, plan.experiment)
    runs: Runs = {}
    for name, options in plan.methods.items():
        settings = plan.experiment | identify(
            budget=plan.budget, options=options, gradient_cost=costs["gradient_cost"])
        runs[name] = []
        for seed in plan.seeds:
            run = cached(
                folder / f"{name}_{seed}.npz",
                partial(raced, plan, problem, costs, name, seed), settings)
            print(f"{name}, seed {seed}: {run['value'][np.isfinite(run['value'])].min():.6g} at "
                  f"{run['cost'][-1]:.0f}, {float(run['seconds']):.0f} s: {run['message']}",
                  flush=True)  # fmt: skip
            runs[name].append(run)
    return problem, costs, mode, runs


def excess(run: dict[str, np.ndarray], lowest: float, cost: float) -> float:
    """Return how far the best value of a run at some cost lies above the lowest known."""
    values = run["value"][(run["cost"] <= cost) & np.isfinite(run["value"])]
    return float(values.min() - lowest) if len(values) else np.inf


def arrival(run: dict[str, np.ndarray], lowest: float) -> float:
    """Return the cost at which a run has arrived, infinite if it has not."""
    there = np.flatnonzero(run["value"] <= lowest + ARRIVED)
    return float(run["cost"][there[0]]) if there.size else np.inf


def distance(run: dict[str, np.ndarray], mode: dict[str, np.ndarray]) -> float:
    """Return the distance of the best iterate from the mode, in posterior standard deviations."""
    best = run["iterate"][np.nanargmin(run["value"])] - mode["best"]
    return float(np.sqrt(best @ np.linalg.solve(mode["covariance"], best) / best.size))


def quartiles(numbers: list[float]) -> list[float | None]:
    """Return lower quartile, median and upper quartile; None for infinite ones."""
    # Between a finite and an infinite number there is no interpolation.
    found = np.quantile(numbers, [0.25, 0.5, 0.75], method="nearest")
    return [float(f"{x:.3g}") if np.isfinite(x) else None for x in found]


def summarise(
    plan: Plan, problem: Any, costs: dict[str, float], mode: dict[str, np.ndarray], runs: Runs
) -> dict[str, Any]:
    """Return what the study says."""
    lowest = min([float(mode["value"])] + [
        float(np.nanmin(run["value"])) for each in runs.values() for run in each])
    days = problem.run.model_days
    methods = {
        name: {
            "excess_by_cost": {f"{c:g}": quartiles([excess(run, lowest, c) for run in each])
                               for c in plan.checkpoints},
            "cost_to_arrive": quartiles([arrival(run, lowest) for run in each]),
            "model_days_to_arrive": quartiles([days * arrival(run, lowest) for run in each]),
            "arrived": sum(bool(np.isfinite(arrival(run, lowest))) for run in each),
            "distance_in_posterior_sd": quartiles([distance(run, mode) for run in each]),
            "seconds": quartiles([float(run["seconds"]) for run in each]),
        } for name, each in runs.items()}  # fmt: skip
    order = sorted(
        methods, key=lambda m: (methods[m]["cost_to_arrive"][1] or np.inf,
                                methods[m]["excess_by_cost"][f"{plan.checkpoints[-1]:g}"][1]))
    return {
        "plan": {
            "model": problem.run.model.name, "smooth": plan.smooth, "windows": list(plan.starts),
            "window_days": plan.window_days, "model_days_of_one_evaluation": days,
            "data": problem.observations.size, "parameters": list(problem.space.labels),
            "seeds": len(plan.seeds), "budget_in_evaluations": plan.budget,
            "arrived_within": ARRIVED},
        "costs": costs, "lowest_value": lowest, "order": order, "methods": methods}


def table(summary: dict[str, Any]) -> str:
    """Return the table of the README."""
    plan = summary["plan"]
    costs = list(next(iter(summary["methods"].values()))["excess_by_cost"])
    lines = [
        "| method | arrived | model days to arrive | " + " | ".join(
            f"excess at {float(c) * plan['model_days_of_one_evaluation']:g} days" for c in costs)
        + " | distance from the mode (sd) |",
        "| --- " * (4 + len(costs)) + "|"]
    for name in summary["order"]:
        row = summary["methods"][name]
        cells = [_cell(row["excess_by_cost"][c]) for c in costs]
        lines.append(
            f"| {name} | {row['arrived']} of {plan['seeds']} | {_cell(row['model_days_to_arrive'])}"
            f" | {' | '.join(cells)} | {_cell(row['distance_in_posterior_sd'])} |")
    lines += ["", f"Median (quartiles) of {plan['seeds']} seeds. Excess: best value of the "
              f"objective so far less the lowest of all; arrived: within {plan['arrived_within']}. "
              f"A value and gradient count {summary['costs']['gradient_cost']} evaluations, a "
              f"tangent {summary['costs']['tangent_cost'] - 1:.2f} beside the run; one evaluation "
              f"is {plan['model_days_of_one_evaluation']:g} model days."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cell(numbers: list[float | None]) -> str:
    low, middle, high = ("-" if x is None else f"{x:.3g}" for x in numbers)
    return "-" if middle == "-" else f"{middle} ({low}-{high})"


def study(plan: Plan, folder: Path) -> dict[str, Any]:
    """Compute what is missing, write the summary, draw."""
    problem, costs, mode, runs = compute(plan, folder / "results")
    summary = summarise(plan, problem, costs, mode, runs)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", table(summary))
    draw_all(summary, runs, folder / "figures")
    return summary


def main() -> None:
    """Compute, or take from the store, and write summary and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true",
                        help="two parameters, one short window, two seeds; no files kept")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    if not arguments.smoke:
        study(read_plan(HERE / "study.toml"), HERE)
    else:
        plan = read_plan(
            HERE / "study.toml", starts=("2000-01-01",), spin_up_days=0, window_days=1 / 12,
            seeds=(1, 2), budget=40, checkpoints=(20, 40), timings=2,
            parameters=("parameters.shortwave.cloud_albedo",
                        "parameters.surface_fluxes.sea_exchange_coefficient"))  # fmt: skip
        with tempfile.TemporaryDirectory() as place:
            print(table(study(plan, Path(place))))
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
