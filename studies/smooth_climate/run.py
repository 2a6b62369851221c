"""Has the model with smooth switches the climate of the exact one, and are its gradients right?

    python studies/smooth_climate/run.py [--smoke]

Keeps every run in `results/` and goes on where it was stopped. Writes `summary.json`, `summary.md`,
`ratios.csv` and `figures/`.
"""

import argparse
import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from climate import annual, by_level, climate, compare, table
from figures import draw
from plan import EXACT, FIRST, SUGGESTED, Plan, build, read_plan, widths_of
from ratios import ratios, spread
from screening import SCREENED, screen

from jcm.files import write_text

HERE = Path(__file__).parent
#: What the tables show first.
SHOWN_FIRST = (
    "precipitation_flux", "toa_outgoing_longwave_flux", "toa_net_downward_radiative_flux",
    "surface_net_downward_heat_flux", "cloud_area_fraction", "deep_convection_frequency",
    "air_temperature, column", "specific_humidity, column", "eastward_wind, column",
)  # fmt: skip
Rows = list[dict[str, Any]]


def seasonal(smooth: xr.Dataset, exact: xr.Dataset) -> dict[str, Any]:
    """Return the comparison of the first variables in each season."""
    found: dict[str, Any] = {}
    for season in exact["season"].values:
        one, other = (by_level(x.sel(season=season)) for x in (smooth, exact))
        found[str(season)] = {name: compare(one[name], other[name]) for name in SHOWN_FIRST}
    return found


def ratio_tables(rows: Rows, plan: Plan) -> dict[str, Any]:
    """Return the spread of all ratios, by target and lead, and the cases that fail."""
    groups = {}
    for target in plan.targets:
        for lead in plan.leads:
            some = [r for r in rows if r["target"] == target.name and r["lead"] == lead]
            groups[f"{target.name}, day {lead}"] = spread(some, plan.accepted) | {
                "ratios": [r["ratio"] for r in some],
                "difference": float(np.mean([r["difference"] for r in some]))}
    low, high = plan.accepted
    both = [r for r in rows if "adjoint" in r]
    unlike = max((abs(r["adjoint"] / r["tangent"] - 1) for r in both), default=None)
    return {"all": spread(rows, plan.accepted), "groups": groups,
            "adjoint": {"cases": len(both), "largest_relative_difference": unlike},
            "failed": [r for r in rows if not low <= (r["ratio"] or 0) <= high]}  # fmt: skip


def rounded(value: Any) -> Any:
    """Return the same with four digits."""
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    if isinstance(value, list):
        return [rounded(x) for x in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def summarise(
    plan: Plan, runs: dict[str, xr.Dataset], cases: dict[str, Rows], screened: dict[str, Any]
) -> dict[str, Any]:
    """Return everything that the study says."""
    exact, suggested = runs[EXACT], runs[SUGGESTED]
    compared = {
        name: {"years": run.sizes["year"], "annual": table(run, exact)}
        for name, run in runs.items() if name != EXACT}  # fmt: skip
    for name in compared:
        if name != SUGGESTED:
            # Level by level only for the widths in use.
            compared[name]["annual"] = {key: compared[name]["annual"][key] for key in SHOWN_FIRST}
    return rounded({
        "exact_years": exact.sizes["year"], "climate": compared,
        "seasons": seasonal(suggested, exact), "first_day": screened,
        "widths": {name: widths_of(plan, name) for name in (FIRST, SUGGESTED)},
        "ratios": {name: ratio_tables(rows, plan) for name, rows in cases.items()},
    })  # fmt: skip


def markdown(plan: Plan, summary: dict[str, Any]) -> str:
    """Return the tables."""
    lines = [
        "<!-- written by run.py -->", "", "Annual means, suggested widths less exact switches:", "",
        "| variable | exact | difference | noise | difference / noise | rms of zonal means / noise "
        "| largest zonal difference |", f"|{' --- |' * 7}"]
    rows = summary["climate"][SUGGESTED]["annual"]
    for name in (*SHOWN_FIRST, *(x for x in rows if x not in SHOWN_FIRST)):
        r = rows[name]
        lines.append(
            f"| {name.replace('_', ' ')} | {r['exact']:.4g} | {r['difference']:+.2g} | "
            f"{r['noise']:.2g} | {r['t']:+.1f} | {r['zonal_ratio']:.1f} | "
            f"{r['zonal_largest']:+.2g} at {r['zonal_largest_at']:.0f} N |")
    lines += ["", "Annual global means by setting: difference from exact (rms of zonal means over "
              "noise):", "", f"| widths | {' | '.join(x.replace('_', ' ') for x in SHOWN_FIRST)} |",
              f"|{' --- |' * (len(SHOWN_FIRST) + 1)}"]  # fmt: skip
    for name, found in summary["climate"].items():
        cells = [f"{r['difference']:+.2g} ({r['zonal_ratio']:.1f})"
                 for r in (found["annual"][key] for key in SHOWN_FIRST)]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    heads = ("widths", *(name.replace("_", " ") for name in SCREENED), "median ratio", "quartiles",
             "failed")  # fmt: skip
    lines += ["", "Change of global means on the first day, from the same weather, by width alone "
              "and by setting, and ratios:", "", f"| {' | '.join(heads)} |",
              f"|{' --- |' * len(heads)}"]  # fmt: skip
    for name in dict.fromkeys((*summary["first_day"], *summary["ratios"])):
        cells = [""] * len(SCREENED)
        if name in summary["first_day"]:
            cells = [f"{summary['first_day'][name][key][0]:+.2g}" for key in SCREENED]
        s = summary["ratios"].get(name, {}).get("all")
        end = (["", "", ""] if s is None else [
            f"{s['median']:.3f}", f"{s['lower_quartile']:.2f} to {s['upper_quartile']:.2f}",
            f"{s['failed']} of {s['cases']}"])
        words = name.removeprefix("parameters.smooth.")
        lines.append(f"| {words} | {' | '.join((*cells, *end))} |")
    names = list(summary["ratios"])
    lines += ["", f"Derivative over central difference of +-{plan.step:g} K, by initial state:",
              "", f"| target, lead | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    for group in next(iter(summary["ratios"].values()))["groups"]:
        cells = [", ".join(f"{x:.2f}" for x in summary["ratios"][n]["groups"][group]["ratios"])
                 for n in names]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def study(plan: Plan, folder: Path, results: Path) -> None:
    """Run what is missing, write tables and figures."""
    runs = {name: climate(plan, name, plan.years, results) for name in plan.climates}
    screened = screen(plan, results)
    # The adjoint itself where it is shown; forward mode and fewer states to choose widths.
    cases = {name: ratios(plan, name, results, plan.states, plan.adjoint_states)
             for name in plan.gradients}  # fmt: skip
    cases |= {name: ratios(plan, name, results, plan.scan_states)
              for name in plan.widths if name not in cases}  # fmt: skip
    summary = summarise(plan, runs, cases, screened)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", markdown(plan, summary))
    text = io.StringIO()
    columns = ("setting", "target", "lead", "state", "difference", "tangent", "adjoint", "ratio")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {"setting": name} | rounded(row) for name, rows in cases.items() for row in rows)
    write_text(folder / "ratios.csv", text.getvalue())
    yearly = {name: annual(x) for name, x in runs.items()}
    for path in draw(plan, yearly, summary, folder / "figures"):
        print(path)


def smoke_plan() -> Plan:
    """Return two years of four steps, one target, one state, one day."""
    step = 1 / build("T21L8", False).steps_per_day
    plan = read_plan(
        grid="T21L8", spin_up_days=step, spacing_days=step, season_days=(step,) * 4, years=2,
        screening_days=step, states=1, days=1, leads=(1,),
        climates=(EXACT, SUGGESTED), gradients=(SUGGESTED, EXACT))  # fmt: skip
    return plan._replace(targets=plan.targets[:1], widths={FIRST: plan.widths[FIRST]})


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps, no files")
    if parser.parse_args().smoke:
        with tempfile.TemporaryDirectory() as place:
            study(smoke_plan(), Path(place), Path(place))
        return
    study(read_plan(), HERE, HERE / "results")


if __name__ == "__main__":
    main()
