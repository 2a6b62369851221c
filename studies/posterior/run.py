"""Does NUTS on the model itself find the posterior of its parameters, and is Laplace enough?

    python studies/posterior/run.py [--parameters NAME,...] [--draws N] [--output DIR] [--smoke]

From noisy zonal means of a run with drawn parameters: mode, Laplace approximation, and draws of
the posterior by NUTS, whitened by it. What is done is kept in `results/` and not computed again; a
run that was interrupted goes on, and more draws can be asked for. Writes `summary.json`,
`summary.md` and `figures/`. With other parameters everything goes to the folder `--output`;
without one, nothing is kept.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from experiment import (
    Plan,
    Stopwatch,
    approximate,
    build,
    inference_data,
    measured,
    read_plan,
    sampled,
)
from scipy.stats import skew

from jcm.files import write_text
from jcm.results import cached
from jcm_calibrate.problem import Problem
from jcm_calibrate.reports.plots_posterior import plot_pairs, plot_ranks
from jcm_calibrate.reports.plots_style import write_figure
from jcm_calibrate.uncertainty.laplace import Gaussian
from jcm_calibrate.uncertainty.posterior import Posterior

HERE = Path(__file__).parent


def number(x: Any, digits: int = 4) -> float:
    """Return a number with some digits."""
    return float(f"{float(x):.{digits}g}")


def parameter_rows(
    problem: Problem, truth: np.ndarray, gaussian: Gaussian, posterior: Posterior
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Return what is said of each parameter; differences from Laplace in its standard deviations.

    Quantiles of z become those of the parameter, which increases or decreases with z.
    """
    space = problem.space
    physical = lambda z: np.asarray(space.to_parameters(jnp.asarray(z, jnp.result_type(float))))  # noqa: E731
    lower, upper = posterior.interval(0.9)
    width = np.asarray(gaussian.standard_deviation)
    ends = np.sort(np.stack([physical(lower), physical(upper)]), axis=0)
    values = physical(posterior.flat)
    true, reference = physical(truth), physical(0 * truth)
    bulk, tail, rhat = posterior.ess_bulk, posterior.ess_tail, posterior.rhat
    return {
        label: {
            "units": space.units[i], "truth": number(true[i]), "reference": number(reference[i]),
            "mean": number(values[:, i].mean()), "standard_deviation": number(values[:, i].std()),
            "interval_90": [number(ends[0, i]), number(ends[1, i])],
            "truth_within_90": bool(lower[i] <= truth[i] <= upper[i]),
            "error_in_standard_deviations": number(
                (posterior.mean[i] - truth[i]) / posterior.standard_deviation[i], 3),
            "posterior_over_prior_width": number(posterior.standard_deviation[i], 3),
            "rhat": round(float(rhat[i]), 4), "ess_bulk": round(float(bulk[i])),
            "ess_tail": round(float(tail[i])),
            "mean_less_laplace_in_sd": number(
                (posterior.mean[i] - float(gaussian.mean[i])) / width[i], 2),
            "sd_over_laplace": number(posterior.standard_deviation[i] / width[i], 3),
            "skewness": number(skew(posterior.flat[:, i]), 2),
        } for i, label in enumerate(space.labels)}  # fmt: skip


def shown(labels: Sequence[str]) -> list[str]:
    """Return short names for figures; those of two processes with theirs."""
    last = [label.rsplit(".", 1)[-1] for label in labels]
    return [" ".join(label.split(".")[-2:]) if last.count(name) > 1 else name
            for label, name in zip(labels, last, strict=True)]  # fmt: skip


def covered_by_predictions(data: Any, problem: Problem) -> float:
    """Return the share of the data within 90 % intervals of the posterior predictive [%]."""
    drawn = data["posterior_predictive"]["observations"].to_numpy().reshape(
        -1, problem.observations.size)
    lower, upper = np.quantile(drawn, [0.05, 0.95], axis=0)
    values = np.asarray(problem.observations.values)
    return number(100 * np.mean((lower <= values) & (values <= upper)), 3)


def summarise(
    plan: Plan, problem: Problem, truth: np.ndarray, gaussian: Gaussian, posterior: Posterior
) -> dict[str, Any]:  # fmt: skip
    """Return what the study says."""
    rows = parameter_rows(problem, truth, gaussian, posterior)
    correlation = np.corrcoef(posterior.flat, rowvar=False)
    half = dataclasses.replace(posterior, draws=posterior.draws[:, : plan.draws // 2])
    return {
        "plan": {"model": problem.run.model.name, "smooth": plan.smooth,
                 "windows": list(plan.starts), "window_days": plan.window_days,
                 "data": problem.observations.size, "chains": plan.chains, "warmup": plan.warmup,
                 "draws": plan.draws, "max_tree_depth": plan.max_tree_depth,
                 "noise_realisations": 1},
        "parameters": rows,
        "truth_within_90": sum(row["truth_within_90"] for row in rows.values()),
        "sampler": {
            "largest_rhat": max(row["rhat"] for row in rows.values()),
            "largest_rhat_of_half_the_draws": round(float(half.rhat.max()), 4),
            "smallest_ess_bulk": min(row["ess_bulk"] for row in rows.values()),
            "smallest_ess_tail": min(row["ess_tail"] for row in rows.values()),
            "divergences": posterior.divergences,
            "divergent_percent": number(100 * posterior.diverging.mean(), 3),
            "acceptance": number(posterior.acceptance.mean(), 3),
            "step_size": [number(x, 3) for x in posterior.step_size],
            "gradients": posterior.gradients,
            "gradients_per_draw": number(posterior.steps.mean(), 3),
            "smallest_bfmi": number(posterior.bfmi.min(), 3),
            "problems": posterior.problems()},
        "laplace": {
            "largest_mean_difference_in_sd": max(
                abs(row["mean_less_laplace_in_sd"]) for row in rows.values()),
            "sd_ratio": [min(row["sd_over_laplace"] for row in rows.values()),
                         max(row["sd_over_laplace"] for row in rows.values())],
            "largest_difference_of_correlations": number(
                np.abs(correlation - np.asarray(gaussian.correlation)).max(), 2)},
    }  # fmt: skip


def table(summary: dict[str, Any]) -> str:
    """Return the table of the README."""
    lines = [
        "| parameter | truth | reference | posterior, 90 % interval | covers | width / prior | "
        "R-hat | ESS bulk, tail | mean - mode (sd) | sd / Laplace | skewness |",
        "| --- " * 11 + "|"]
    for name, row in summary["parameters"].items():
        units = "" if row["units"] == "1" else f" {row['units']}"
        lower, upper = row["interval_90"]
        lines.append(
            f"| {name.removeprefix('parameters.')} | {row['truth']:g}{units} | "
            f"{row['reference']:g} | {row['mean']:g}, {lower:g} to {upper:g} | "
            f"{'yes' if row['truth_within_90'] else 'no'} | "
            f"{row['posterior_over_prior_width']:.2g} | {row['rhat']:.3f} | {row['ess_bulk']}, "
            f"{row['ess_tail']} | {row['mean_less_laplace_in_sd']:+.2f} | "
            f"{row['sd_over_laplace']:.2f} | {row['skewness']:+.2f} |")
    sampler, plan, laplace = summary["sampler"], summary["plan"], summary["laplace"]
    lines += [
        "", f"{plan['chains']} chains of {plan['draws']} draws after {plan['warmup']} of warm-up: "
        f"R-hat at most {sampler['largest_rhat']:.3f} (with half the draws "
        f"{sampler['largest_rhat_of_half_the_draws']:.3f}), bulk ESS at least "
        f"{sampler['smallest_ess_bulk']}, {sampler['divergences']} divergences "
        f"({sampler['divergent_percent']:g} %), acceptance {sampler['acceptance']:g}, "
        f"{sampler['gradients_per_draw']:g} gradients a draw, {sampler['gradients']} in all.",
        f"90 % intervals cover the truth of {summary['truth_within_90']} of "
        f"{len(summary['parameters'])} parameters (one realisation of the noise).",
        f"Laplace: means differ by at most {laplace['largest_mean_difference_in_sd']:g} sd, widths "
        f"by factors of {laplace['sd_ratio'][0]:g} to {laplace['sd_ratio'][1]:g}, correlations by "
        f"at most {laplace['largest_difference_of_correlations']:g}."]  # fmt: skip
    if checks := summary.get("checks"):
        lines += [
            f"Data within the 90 % intervals of the posterior predictive: "
            f"{checks['data_within_90_percent']:g} %. Rounding of the log density: "
            f"{checks['log_density_rounding']:g}.",
            f"Wall time: {summary['seconds_in_all']:.0f} s, of which sampling "
            f"{summary['seconds']['sampling']:.0f} s; one value and gradient takes "
            f"{checks['gradient']:g} s."]  # fmt: skip
    return "\n".join(lines) + "\n"


def study(plan: Plan, folder: Path, *, fast: bool = False) -> dict[str, Any]:
    """Compute what is missing, write the summary, draw."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch(results / "seconds.json")
    with watch.part("problem"):
        problem, truth = build(plan)
    print(problem.space.describe(), flush=True)
    with watch.part("mode"):
        found = cached(
            results / "mode.npz", lambda: approximate(problem), plan.experiment)
    gaussian = Gaussian(jnp.asarray(found["mean"]), jnp.asarray(found["covariance"]))
    posterior = sampled(plan, problem, gaussian, results, watch)
    print(posterior.describe(problem.space.labels), flush=True)
    summary = summarise(plan, problem, truth, gaussian, posterior)
    with watch.part("predictions"):
        data = inference_data(plan, posterior, problem, results / "posterior.nc")
    if not fast:
        checks = cached(
            results / "checks.npz", lambda: measured(problem, np.asarray(gaussian.mean)),
            plan.experiment)
        summary["checks"] = {
            "data_within_90_percent": covered_by_predictions(data, problem),
            **{name: number(x) for name, x in checks.items()}}
        summary["seconds"] = watch.seconds
        summary["seconds_in_all"] = round(sum(watch.seconds.values()))
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", table(summary))
    (folder / "figures").mkdir(exist_ok=True)
    labels = shown(problem.space.labels)
    pairs = plot_pairs(posterior.flat, labels, truth=truth,
                       gaussian=(gaussian.mean, gaussian.covariance))  # fmt: skip
    write_figure(pairs, folder / "figures" / "pairs.png")
    renamed = data["posterior"].to_dataset().rename(
        dict(zip(problem.space.labels, labels, strict=True)))
    ranks = plot_ranks(xr.DataTree.from_dict({"posterior": renamed}), labels)
    write_figure(ranks, folder / "figures" / "ranks.png")
    return summary


def main() -> None:
    """Compute, or take from the store, and write summary and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parameters", help="names or groups with commas between them")
    parser.add_argument("--draws", type=int, help="draws of each chain; more than before go on")
    parser.add_argument("--output", type=Path, help="folder for results, summary and figures")
    parser.add_argument("--smoke", action="store_true",
                        help="two parameters, one short window, few draws; no files kept")
    arguments = parser.parse_args()
    begin, changes = time.perf_counter(), {}
    if arguments.smoke:
        changes = {
            "parameters": ("parameters.shortwave.cloud_albedo",
                           "parameters.surface_fluxes.sea_exchange_coefficient"),
            "starts": ("2000-01-01",), "window_days": 1 / 36, "chains": 2, "warmup": 10,
            "draws": 20, "max_tree_depth": 2, "predictions": 0}  # fmt: skip
    if arguments.parameters:
        changes["parameters"] = tuple(arguments.parameters.split(","))
    folder = arguments.output or (None if changes else HERE)
    if arguments.draws:
        changes["draws"] = arguments.draws
    plan = read_plan(HERE / "study.toml", **changes)
    if folder is not None:
        study(plan, folder, fast=arguments.smoke)
    else:
        with tempfile.TemporaryDirectory() as place:
            print(table(study(plan, Path(place), fast=arguments.smoke)))
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
