"""Finds the parameters of highest posterior density, and records them."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jcm.config import load_experiment
from jcm_calibrate.experiment import Calibration, start_vector
from jcm_calibrate.names import EVALUATIONS, GRADIENT_FREE
from jcm_calibrate.optimisers.fit import Fit
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.reports import records
from jcm_calibrate.uncertainty.laplace import laplace
from jcm_calibrate.work.shared import (
    evaluations_shown,
    finish,
    predicted,
    prepare,
    provenance,
)
from jcm_sensitivity.commands.shared import status


def fit(experiment: Path, output: Path, console: Console, *, resume: bool) -> None:
    """Fit, and write fit.json, history.csv, predictions.nc and report.html."""
    gradients = _uses_gradients(experiment)
    calibration = prepare(experiment, output, console, gradients=gradients)
    begin = time.perf_counter()
    found = run_fit(calibration, output, console, resume=resume)
    console.print(str(found), highlight=False)
    covariance = found.covariance
    if covariance is None and gradients:
        with status(console, "Computing the width of the posterior"):
            mode = jnp.asarray(found.best, calibration.reference.dtype)
            covariance = laplace(calibration.problem, mode).covariance
    record(calibration, found, covariance, output, time.perf_counter() - begin)
    console.print(table_of(output), highlight=False)
    finish(output, console)


def run_fit(
    calibration: Calibration, output: Path, console: Console, *, resume: bool
) -> Fit:
    """Minimise from the start of the file and from draws of the prior; return the best fit."""
    table, problem = calibration.table.fit, calibration.problem
    key = jax.random.fold_in(calibration.key, 2)
    draws = problem.space.draw(key, table.starts - 1) if table.starts > 1 else []
    fits = []
    for number, start in enumerate([start_vector(calibration), *draws]):
        if table.starts > 1:
            console.print(f"start {number + 1} of {table.starts}", highlight=False)
        log = output / (EVALUATIONS if number == 0 else f"evaluations_{number}.jsonl")
        fits.append(minimise(
            problem.residuals, start, prior=True, method=table.method, steps=table.steps,
            learning_rate=table.learning_rate, budget=table.budget, batch=1,
            key=jax.random.fold_in(key, number), log=log,
            resume=resume and log.exists(), experiment=calibration.identity,
            progress=evaluations_shown(console), **table.options))  # fmt: skip
    return min(fits, key=lambda fit: fit.value)


def record(
    calibration: Calibration, found: Fit, covariance: object, output: Path, seconds: float
) -> tuple[jax.Array, jax.Array]:
    """Write fit.json, history.csv and predictions.nc; return the data before and after."""
    problem = calibration.problem
    best = jnp.asarray(found.best, calibration.reference.dtype)
    before, after = (predicted(problem, z) for z in (calibration.reference, best))
    records.write_predictions(output, problem.observations, before, after)
    grid = problem.run.model.grid
    records.write_bias_maps(output, problem.observations, grid, before, after)
    records.write_history(output, found.history, problem.space.labels)
    days = getattr(problem.run, "model_days", float("nan"))
    records.write_fit(output, records.FitRecord(
        title=calibration.table.title, method=found.method,
        start_value=records.finite(float(found.history["value"][0])), value=found.value,
        converged=found.converged, message=found.message,
        parameters=records.parameter_records(
            problem.space, calibration.reference, found.best, covariance),
        observations=problem.observations.table(),
        cost={"runs": float(found.cost), "model days": float(found.cost * days),
              "evaluations": float(len(found.history)), "wall time [s]": round(seconds, 1),
              "compilations": float(found.compilations)},
        provenance=provenance("jcm-calibrate fit")))  # fmt: skip
    return before, after


def table_of(output: Path) -> str:
    """Return the parameters of fit.json in words; those not identified with their prior."""
    lines = []
    for x in records.read_fit(output).parameters:
        if x.identified is False:
            lines.append(f"{x.name}: not identified, prior {x.prior[0]:.4g} to {x.prior[2]:.4g} "
                         f"{x.units}")  # fmt: skip
            continue
        width = f" (90 %: {x.interval[0]:.4g} to {x.interval[1]:.4g})" if x.interval else ""
        value = np.nan if x.estimate is None else x.estimate
        lines.append(f"{x.name}: {value:.5g}{width} {x.units}, was {x.reference:.5g}")
    return "\n".join(lines)


def _uses_gradients(experiment: Path) -> bool:
    """Tell from the file whether its method uses gradients; errors are left to the reader."""
    table = load_experiment(experiment).calibration.get("fit", {})
    return not (isinstance(table, dict) and table.get("method") in GRADIENT_FREE)
