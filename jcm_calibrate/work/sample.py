"""Draws from the posterior by NUTS on the model itself, and records the draws."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jcm_calibrate.names import CHAINS
from jcm_calibrate.problem import LogPosterior
from jcm_calibrate.reports import records
from jcm_calibrate.uncertainty.inference_data import to_inference_data
from jcm_calibrate.uncertainty.laplace import laplace
from jcm_calibrate.uncertainty.nuts import sample_nuts
from jcm_calibrate.work.fit import record, run_fit
from jcm_calibrate.work.shared import counter, finish, prepare
from jcm_sensitivity.commands.shared import status


def sample(
    experiment: Path, output: Path, console: Console, *, fitted: bool, resume: bool
) -> None:
    """Fit, or take the fit of the folder, then sample; write posterior.nc and report.html."""
    calibration = prepare(experiment, output, console)
    problem, table = calibration.problem, calibration.table.sample
    begin = time.perf_counter()
    mode = run_fit(calibration, output, console, resume=fitted)
    z = jnp.asarray(mode.best, calibration.reference.dtype)
    with status(console, "Computing the curvature at the mode"):
        covariance = laplace(problem, z).covariance
    before, after = record(
        calibration, mode, covariance, output, time.perf_counter() - begin)
    with counter(console, "transitions") as show:
        posterior = sample_nuts(
            LogPosterior(problem), z, key=jax.random.fold_in(calibration.key, 3),
            covariance=covariance, warmup=table.warmup, draws=table.draws,
            chains=table.chains, max_tree_depth=table.max_tree_depth,
            target_accept=table.target_accept, chain_method=table.chain_method,
            store=output / CHAINS, resume=resume, progress=show)  # fmt: skip
    count = min(table.predictions, table.chains * table.draws)
    with status(console, f"Predicting the data of {count} draws"):
        data = to_inference_data(
            posterior, space=problem.space, problem=problem,
            key=jax.random.fold_in(calibration.key, 4), predictions=count)
    records.write_posterior(output, data)
    draws = np.asarray(data["posterior_predictive"]["model"])[0]
    records.write_predictions(output, problem.observations, before, after, draws)
    console.print(posterior.describe(problem.space.labels), highlight=False)
    finish(output, console)
