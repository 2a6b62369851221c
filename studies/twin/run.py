"""Are parameters of convection, clouds, radiation and surface fluxes found from a day's weather?

    python studies/twin/run.py [--parameters NAME,NAME,...] [--output DIR] [--smoke]

The model runs with parameters drawn from the prior; from daily means of that run, without and with
noise, Gauss-Newton recovers the parameters from random starts. What is done is kept in `results/`
and not computed again. Writes `summary.json`, `summary.md` and `figures/`. With other parameters
everything goes to the folder `--output`; without one, nothing is kept.
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
from experiment import Plan, Twin, build, cost_of_derivatives, fitted, kept_json, read_plan
from figures import draw_all

from jcm.files import write_text
from jcm_calibrate.uncertainty.identify import Identifiability

HERE = Path(__file__).parent
Fits = dict[str, list[dict[str, np.ndarray]]]


def compute(twin: Twin, folder: Path) -> Fits:
    """Return all fits; those in the folder are not computed again."""
    plan = twin.plan
    starts = [twin.start(i) for i in range(plan.random_starts)]
    exact = [fitted(twin, folder, f"exact_{i}", twin.exact(), start)
             for i, start in enumerate(starts)]  # fmt: skip
    first = twin.noisy(0)
    noisy = [fitted(twin, folder, f"noisy_{i}", first, start)
             for i, start in enumerate(starts)]  # fmt: skip
    mode = min(noisy, key=lambda fit: float(fit["value"]))
    repeated = [mode] + [
        fitted(twin, folder, f"noise_{i}", twin.noisy(i), mode["best"])
        for i in range(1, plan.noise_realisations)]
    return {"exact": exact, "noisy": noisy, "repeated": repeated}


def identifiability(twin: Twin, fit: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what the data of a fit say about the parameters."""
    information = np.linalg.inv(fit["covariance"]) - np.eye(len(fit["best"]))
    eigenvalues, vectors = np.linalg.eigh(information)
    # A square matrix with the same information as the Jacobian.
    root = np.sqrt(np.maximum(eigenvalues, 0))[:, None] * vectors.T
    return Identifiability(root, twin.space.labels).to_dict()


def summarise(twin: Twin, fits: Fits, cost: dict[str, float]) -> dict[str, Any]:
    """Return what the study says."""
    space, identified = twin.space, identifiability(twin, fits["repeated"][0])
    physical = lambda z: np.asarray(space.to_parameters(np.asarray(z, np.float32)))  # noqa: E731
    truth, reference = physical(twin.truth), physical(0 * twin.truth)
    exact = np.stack([physical(fit["best"]) for fit in fits["exact"]])
    error = 100 * np.abs(exact / truth - 1)
    mode = fits["repeated"][0]
    spread = np.sqrt(np.diagonal(mode["covariance"]))
    departures = np.stack([
        (fit["best"] - twin.truth) / np.sqrt(np.diagonal(fit["covariance"]))
        for fit in fits["repeated"]])
    apart = np.stack([fit["best"] - mode["best"] for fit in fits["noisy"]]) / spread
    number = lambda x: float(f"{x:.4g}")  # noqa: E731
    rows = {
        label: {
            "units": space.units[i], "truth": number(truth[i]), "reference": number(reference[i]),
            "posterior_over_prior_width": number(identified["posterior_over_prior_width"][i]),
            "identified": identified["identified"][i],
            "noise_free_error_percent": {"median": number(np.median(error[:, i])),
                                         "largest": number(error[:, i].max())},
            "noisy_estimate": number(physical(mode["best"])[i]),
            "posterior_standard_deviation": number(
                float(space.slope(np.asarray(mode["best"], np.float32))[i]) * spread[i]),
            "noisy_error_in_standard_deviations": number(departures[0, i]),
            "within_2_standard_deviations": int(np.sum(np.abs(departures[:, i]) <= 2)),
            "starts_apart_in_standard_deviations": number(np.abs(apart[:, i]).max()),
        } for i, label in enumerate(space.labels)}  # fmt: skip
    return {
        "plan": {"model": twin.problem.run.model.name, "smooth": twin.plan.smooth,
                 "windows": list(twin.plan.starts), "window_days": twin.plan.window_days,
                 "data": twin.problem.observations.size, "random_starts": twin.plan.random_starts,
                 "noise_realisations": twin.plan.noise_realisations},
        "parameters": rows,
        "within_2_standard_deviations_percent": number(100 * np.mean(np.abs(departures) <= 2)),
        "fits": {kind: [{
            "value": number(float(fit["value"])), "converged": bool(fit["converged"]),
            "message": str(fit["message"]), "cost_in_runs": number(float(fit["cost"])),
            "seconds": round(float(fit["seconds"]), 1), "compilations": int(fit["compilations"]),
        } for fit in fits[kind]] for kind in ("exact", "noisy")},
        "identifiability": {
            "degrees_of_freedom_for_signal": number(identified["degrees_of_freedom_for_signal"]),
            "unidentified_directions": identified["unidentified_directions"]},
        "cost_seconds": cost,
    }  # fmt: skip


def table(summary: dict[str, Any]) -> str:
    """Return the table of the README."""
    realisations = summary["plan"]["noise_realisations"]
    lines = [
        "| parameter | truth | reference | posterior / prior width | noise-free error, largest of "
        f"the starts (%) | estimate with noise | error / sd | within 2 sd, of {realisations} |",
        "| --- " * 8 + "|"]
    for name, row in summary["parameters"].items():
        units = "" if row["units"] == "1" else f" {row['units']}"
        lines.append(
            f"| {name.removeprefix('parameters.')} | {row['truth']:g}{units} | "
            f"{row['reference']:g} | {row['posterior_over_prior_width']:.2g} | "
            f"{row['noise_free_error_percent']['largest']:.2g} | {row['noisy_estimate']:.4g} ± "
            f"{row['posterior_standard_deviation']:.2g} | "
            f"{row['noisy_error_in_standard_deviations']:+.1f} | "
            f"{row['within_2_standard_deviations']} |")
    share = summary["within_2_standard_deviations_percent"]
    lines += ["", "Within 2 posterior standard deviations, all parameters and realisations: "
              f"{share:g} % (normal distribution: 95 %)."]  # fmt: skip
    if cost := summary["cost_seconds"]:
        lines.append(f"One evaluation: {cost['forward']:g} s; value and gradient "
                     f"{cost['gradient_over_forward']:g} times as long.")  # fmt: skip
    return "\n".join(lines) + "\n"


def study(plan: Plan, folder: Path, *, fast: bool = False) -> dict[str, Any]:
    """Compute what is missing, write the summary, draw."""
    results = folder / "results"
    twin = build(plan)
    print(twin.space.describe(), flush=True)
    fits = compute(twin, results)

    cost = {} if fast else kept_json(
        results / "cost.json", lambda: cost_of_derivatives(twin.problem, twin.truth))
    summary = summarise(twin, fits, cost)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", table(summary))
    draw_all(twin, fits, folder / "figures")
    return summary


def main() -> None:
    """Compute, or take from the store, and write summary and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parameters", help="names or groups with commas between them")
    parser.add_argument("--output", type=Path, help="folder for results, summary and figures")
    parser.add_argument("--smoke", action="store_true",
                        help="two parameters, one short window, two starts; no files kept")
    arguments = parser.parse_args()
    begin, changes = time.perf_counter(), {}
    if arguments.parameters:
        changes["parameters"] = tuple(arguments.parameters.split(","))
    if arguments.smoke:
        changes = {
            "parameters": ("parameters.shortwave.cloud_albedo",
                           "parameters.surface_fluxes.sea_exchange_coefficient"),
            "starts": ("2000-01-01",), "spin_up_days": 0, "window_days": 1 / 12,
            "random_starts": 2, "noise_realisations": 2} | changes  # fmt: skip
    plan = read_plan(HERE / "study.toml", **changes)
    folder = arguments.output or (None if changes else HERE)
    if folder is not None:
        study(plan, folder, fast=arguments.smoke)
    else:
        with tempfile.TemporaryDirectory() as place:
            print(table(study(plan, Path(place), fast=arguments.smoke)))
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
