"""What does the rain owe to the temperature of the sea, where, for how long, and by which water?

    python studies/precipitation_sst/run.py [--exact] [--smoke]

Gradients of precipitation over two regions with respect to the sea surface temperature of each of
the last ten days, of an ensemble of initial states in two seasons; finite changes of the sea beside
them; first-order responses to a warmer sea. What is done is kept in `results/` and not computed
again. Writes `summary.json` and `figures/`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from analysis import (
    agreement,
    by_lead,
    certainty,
    explanation,
    gradients,
    map_of,
    whereabouts,
)
from ensembles import SEASONS, STEP, TARGETS, Plan, boxes, build, compute
from figures import Results, draw_all

from jcm.constants import DAY
from jcm.files import write_text
from jcm.model import Model

HERE = Path(__file__).parent


def summarise(plan: Plan, model: Model, results: Results) -> dict[str, Any]:
    """Return what the study says."""
    summary: dict[str, Any] = {
        "plan": {
            "model": model.name, "members": plan.members,
            "members_of_responses_and_finite_changes": plan.fewer,
            "seasons_with_exact_switches": plan.seasons_of("exact") if "exact" in plan.switches
            else [],
            "days_between_states": plan.spacing,
            "run_days": plan.days, "starts": {s: SEASONS[s] for s in plan.seasons},
            "finite_step_K": STEP, "target": "mean precipitation of the last day"}}
    for i, name in enumerate(TARGETS):
        for season in plan.seasons:
            summary[f"{name}, {season}"] = _case(plan, model, results, i, season)
    return summary


def _case(
    plan: Plan, model: Model, results: Results, target: int, season: str
) -> dict[str, Any]:
    """Return the numbers of one target and season."""
    name, box = list(TARGETS)[target], boxes(model)[target]
    files = results["gradient", "smooth", season]
    parts, daily = by_lead(files, target, box), gradients(files, target)
    lasting = np.cumsum(daily, axis=1)
    value = np.stack([each["value"][target] for each in files])
    round3 = lambda x: [float(f"{v:.3g}") for v in x]  # noqa: E731
    case: dict[str, Any] = {
        "precipitation_mm_day-1": round(float(DAY * value.mean()), 3),
        "lasting_sensitivity_mm_day-1_K-1": {
            part: {"mean": round3(x.mean(axis=0)), "spread": round3(x.std(axis=0, ddof=1))}
            for part, x in parts.items()},
        "where_by_day_back": {
            str(lead): whereabouts(model, daily[:, lead - 1].mean(axis=0), name)
            for lead in sorted({1, 2, 3, 5, plan.days}) if lead <= plan.days},
        "where_lasting": whereabouts(model, lasting[:, -1].mean(axis=0), name),
        "certainty": {
            str(lead): certainty(map_of(model, lasting[:, lead - 1], value, name), box)
            for lead in (1, plan.days)},
        "finite": {s: agreement(
            plan, model, results["gradient", s, season], results["finite", s, season], target)
            for s in plan.switches if season in plan.seasons_of(s)},
        "response_to_1_K_in_the_box": explanation(
            model, results["response", "smooth", season], name),
    }  # fmt: skip
    return case


def check(plan: Plan, summary: dict[str, Any]) -> dict[str, Any]:
    """Return the range of gradients over finite changes, with the sea warmer in the boxes."""
    worst = {}
    for switches in plan.switches:
        ratios = [row["ratio_of_means"]
                  for name, case in summary.items() if name != "plan"
                  for row in case["finite"].get(switches, []) if row["sea"] == "in the boxes"]
        worst[switches] = {"lowest": min(ratios), "highest": max(ratios)}
    return {"gradient_over_finite_difference_in_the_boxes": worst}


def forward_against_reverse(plan: Plan, model: Model, results: Results) -> dict[str, float]:
    """Return the largest relative difference of reverse and forward mode, and the sum over days.

    The gradient by day, summed over days and the cells of a box, against the change of the target
    that the response to 1 K in the box gives on the last day.
    """
    worst = 0.0
    for i, name in enumerate(TARGETS):
        box = boxes(model)[i]
        cells = box * model.grid.cell_area
        for season in plan.seasons:
            reverse = gradients(results["gradient", "smooth", season], i)[: plan.fewer]
            whole = (reverse.sum(axis=1) * box).sum(axis=(1, 2))
            forward = np.array([
                DAY * (each[f"{name}.change.precipitation_flux"][-1] * cells).sum() / cells.sum()
                for each in results["response", "smooth", season]])
            worst = max(worst, float(np.abs(whole - forward).max() / np.abs(forward).max()))
    return {"sum_of_days_in_reverse_against_forward": float(f"{worst:.2g}")}


def main() -> None:
    """Compute, or take from the store, and write summary and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true",
                        help="two states, two days, smooth switches; no files kept")
    parser.add_argument("--exact", action="store_true",
                        help="four January states with exact switches as well")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    if not arguments.smoke:
        switches = ("smooth", "exact") if arguments.exact else ("smooth",)
        plan = Plan(HERE / "results", switches=switches)
        study(plan, HERE / "summary.json", HERE / "figures")
    else:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            plan = Plan(
                folder / "results", seasons=("winter",), switches=("smooth",), members=2, fewer=2,
                spacing=1, days=2, leads=(1, 2))  # fmt: skip
            study(plan, folder / "summary.json", folder / "figures")
            print((folder / "summary.json").read_text())
    print(f"{time.perf_counter() - begin:.0f} s")


def study(plan: Plan, summary_path: Path, figures: Path) -> None:
    """Compute what is missing, write the summary, draw."""
    results = compute(plan)
    model = build(plan, "smooth")
    summary = summarise(plan, model, results)
    checks = forward_against_reverse(plan, model, results) | check(plan, summary)
    summary = {"plan": summary.pop("plan"), "checks": checks} | summary
    write_text(summary_path, json.dumps(summary, indent=1) + "\n")
    draw_all(plan, model, results, figures)


if __name__ == "__main__":
    main()
