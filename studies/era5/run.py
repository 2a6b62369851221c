"""Do parameters fitted to some seasons of ERA5 and CERES improve others, and other variables?

    python studies/era5/run.py [--output DIR] [--smoke]

Eight parameters are estimated from December to February and June to August of radiation, cloud,
water and temperature by an ensemble Kalman method, then judged with independent years: also in the
other seasons, and on winds, stress, pressure and temperature near the surface. All runs are kept in
`results/` and not computed again. Writes `summary.json`, `summary.md` and `figures/`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from experiment import Plan, build, fitted, read_plan, with_internal_variability
from figures import draw_all
from verification import (
    DAYS,
    EVERY,
    SEASONS,
    Scores,
    change,
    index_by_year,
    long_runs,
    scores,
)

from jcm.files import write_text
from jcm_calibrate.observations.packaged import attribution

HERE = Path(__file__).parent
Table = dict[str, Any]


def groups(plan: Plan, seasons: tuple[str, ...]) -> dict[str, tuple[list[str], list[str]]]:
    """Return variables and seasons of training and of the tests."""
    seen = [s for s in seasons if s in plan.train_seasons]
    other = [s for s in seasons if s not in plan.train_seasons]
    fitted_to, held_out = list(plan.train), list(plan.held_out)
    found = {
        "fitted variables, fitted seasons": (fitted_to, seen),
        "fitted variables, other seasons": (fitted_to, other),
        "held-out variables, fitted seasons": (held_out, seen),
        "held-out variables, other seasons": (held_out, other),
    }
    return {name: pair for name, pair in found.items() if pair[1]}


def judged(found: Scores, plan: Plan, seasons: tuple[str, ...]) -> Table:
    """Return changes of misfits of groups and of every variable in every season."""
    misfits = {name: change(found.misfit("before", *pair), found.misfit("after", *pair))
               for name, pair in groups(plan, seasons).items()}  # fmt: skip
    units = {block.name: block.units for block in found.observations.blocks}
    variables = {
        name: {"units": units[name], "held_out": name in plan.held_out, "seasons": {
            season: change(found.rmse("before", name, season), found.rmse("after", name, season))
            for season in seasons}}
        for name in (*plan.train, *plan.held_out)}  # fmt: skip
    return {"misfit": misfits, "variables": variables}


def indices(before: list, after: list, season: str = "ANN", region: str = "Global") -> Table:
    """Return the performance index before and after, beside CMIP6, with its noise floor."""
    rows = {}
    for name in before[-1].variable.values:
        at = {"variable": name, "season": season, "region": region}
        years = [np.array([float(x["index"].sel(at)) for x in tables[:-1]])
                 for tables in (before, after)]  # fmt: skip
        whole = [float(x[-1]["index"].sel(at)) for x in (before, after)]
        test = change(*years)
        rows[str(name)] = {
            "before": whole[0], "after": whole[1], "cmip6": float(before[-1]["cmip6"].sel(at)),
            "single_years": test, "comparable": bool(np.isfinite(before[-1]["ratio"].sel(at)))}
    return rows


def parameters(problem: Any, fit: Any) -> Table:
    """Return parameters before and after, with the width of the posterior."""
    space = problem.space
    best, width = np.asarray(fit.best), np.sqrt(np.diagonal(np.asarray(fit.covariance)))
    physical = lambda z: np.asarray(space.to_parameters(np.asarray(z, np.float32)))  # noqa: E731
    before = physical(space.extract(problem.inputs))
    return {label: {
        "units": space.units[i], "before": float(before[i]), "after": float(physical(best)[i]),
        "low": float(physical(best - 1.645 * width)[i]),
        "high": float(physical(best + 1.645 * width)[i]),
        "move_in_prior_standard_deviations": float(best[i]),
        "posterior_over_prior_width": float(width[i]), "identified": bool(width[i] ** 2 < 0.5),
    } for i, label in enumerate(space.labels)}  # fmt: skip


def rounded(x: Any) -> Any:
    """Return numbers with four digits."""
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return float(f"{x:.4g}") if isinstance(x, float) else x


def text(summary: Table) -> str:
    """Return the tables of the study."""
    lines = ["Mean squared difference over the error, mean over variables, of single years:", "",
             "| variables, seasons | before | after | change | noise floor | |", "| --- " * 6 + "|"]
    for name, row in summary["misfit"].items():
        lines.append(
            f"| {name} | {row['before']:.3g} | {row['after']:.3g} | {row['change']:+.2g} | "
            f"{row['noise_floor']:.2g} | {row['verdict']} |")
    seasons = list(next(iter(summary["variables"].values()))["seasons"])
    lines += ["", "Root-mean-square difference from the observations, before → after (noise floor "
              "of the change); bold: better, *italic*: worse than the floor allows:", "",
              "| variable | " + " | ".join(seasons) + " |", "| --- " * (len(seasons) + 1) + "|"]
    for name, row in summary["variables"].items():
        factor, units = _shown(name, row["units"])
        cells = []
        for found in row["seasons"].values():
            mark = {"better": "**", "worse": "*"}.get(found["verdict"], "")
            pair = f"{factor * found['before']:.3g} → {factor * found['after']:.3g}"
            cells.append(f"{mark}{pair}{mark} ({factor * found['noise_floor']:.2g})")
        held = " (held out)" if row["held_out"] else ""
        lines.append(f"| {name.replace('_', ' ')}{held}, {units} | " + " | ".join(cells) + " |")
    lines += ["", "| parameter | before | after | 90 % interval | posterior / prior width |",
              "| --- " * 5 + "|"]
    for name, row in summary["parameters"].items():
        units = "" if row["units"] == "1" else f" {row['units']}"
        mark = "" if row["identified"] else " (not identified)"
        lines.append(
            f"| {name.removeprefix('parameters.')} | {row['before']:.4g}{units} | "
            f"{row['after']:.4g} | {row['low']:.4g} to {row['high']:.4g} | "
            f"{row['posterior_over_prior_width']:.2f}{mark} |")
    if rows := summary["performance_index"]:
        lines += ["", "Performance index, year and globe, of the mean of all years:", "",
                  "| variable | before | after | CMIP6 | change of single years (noise floor) | |",
                  "| --- " * 6 + "|"]
        for name, row in rows.items():
            single = row["single_years"]
            star = "" if row["comparable"] else "\\*"
            lines.append(
                f"| {name}{star} | {row['before']:.3g} | {row['after']:.3g} | {row['cmip6']:.3g} | "
                f"{single['change']:+.2g} ({single['noise_floor']:.2g}) | {single['verdict']} |")
        lines += ["", "\\* other scale than CMIP6, not to be compared with it"]
    return "\n".join([*lines, "", summary["attribution"].replace("\n", "  \n"), ""])


def _shown(name: str, units: str) -> tuple[float, str]:
    """Return factor and units that are easier to read."""
    if "stress" in name:
        return 1e3, "mN m-2"
    return {"kg m-2 s-1": (86400.0, "mm day-1"), "kg kg-1": (1e3, "g kg-1"),
            "Pa": (0.01, "hPa")}.get(units, (1.0, units))  # fmt: skip


def study(plan: Plan, folder: Path, *, smoke: bool = False) -> Table:
    """Compute what is missing, write the summary, draw."""
    begin = time.perf_counter()
    results, days = folder / "results", 90 if smoke else DAYS
    problem = build(plan)
    print(problem.space.describe(), problem.observations.describe(), sep="\n\n", flush=True)
    problem, controls = with_internal_variability(problem, results / "training", plan)
    white = np.stack([problem.observations.whiten(x - problem.observations.values)
                      for x in controls.astype(np.float32)])  # fmt: skip
    print(f"reference: mean squared residual {np.mean(white**2):.2f}", flush=True)
    fit = fitted(problem, results / "training", plan)
    print(fit, flush=True)
    trained = time.perf_counter() - begin
    points = {"before": problem.space.extract(problem.inputs),
              "after": np.asarray(fit.best, np.float32)}  # fmt: skip
    runs = long_runs(problem, points, results / "years", plan, days)
    seasons = SEASONS if days == DAYS else ("DJF",)
    found = scores(problem, runs, plan, days)
    index = {} if smoke else {
        name: index_by_year(problem, years, plan) for name, years in runs.items()}
    counted = int(fit.cost)
    summary = rounded({
        "plan": {"model": problem.run.model.name, "data": problem.observations.size,
                 "train_seasons": plan.train_seasons, "window_days": plan.window_days,
                 "spin_up_days": plan.spin_up_days, "members": plan.members,
                 "verification_years": plan.years, "output_days": EVERY},
        "fit": {"message": fit.message, "evaluations": counted,
                "model_days": counted * problem.run.model_days,
                "reference_mean_squared_residual": float(np.mean(white**2)),
                "mean_squared_residual": float(
                    (2 * fit.value - np.sum(fit.best**2)) / problem.observations.size)},
        **judged(found, plan, seasons),
        "parameters": parameters(problem, fit),
        "performance_index": indices(index["before"], index["after"]) if index else {},
        "seconds": {"training": trained, "all": time.perf_counter() - begin},
        "attribution": attribution(found.observations),
    })  # fmt: skip
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", text(summary))
    draw_all(problem, found, runs, summary, plan, folder / "figures")
    return summary


def main() -> None:
    """Compute, or take from the store, and write summary and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for results, summary and figures")
    parser.add_argument("--smoke", action="store_true",
                        help="two parameters, one season, three members; no files kept")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    if not arguments.smoke:
        study(read_plan(HERE / "study.toml"), arguments.output or HERE)
    else:
        plan = read_plan(
            HERE / "study.toml", starts=["2000-12-01"], spin_up_days=0, train_seasons=["DJF"],
            controls=0, members=3, steps=1, years=2, verification_start="2000-11-30",
            adjustment_days=1, parameters=["parameters.shortwave.cloud_albedo",
                                           "parameters.longwave.window_absorptivity"])
        with tempfile.TemporaryDirectory() as place:
            print(text(study(plan, arguments.output or Path(place), smoke=True)))
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
