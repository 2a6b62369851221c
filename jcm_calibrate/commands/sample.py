"""`jcm-calibrate sample`: draws from the posterior by NUTS on the model itself."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jcm_calibrate.commands.fit import EVALUATIONS, record, run_fit
from jcm_calibrate.commands.shared import (
    ExperimentPath,
    Output,
    Resume,
    counter,
    finish,
    prepare,
    refuse_earlier,
)
from jcm_calibrate.problem import LogPosterior
from jcm_calibrate.reports import records
from jcm_calibrate.uncertainty.inference_data import to_inference_data
from jcm_calibrate.uncertainty.laplace import laplace
from jcm_calibrate.uncertainty.nuts import sample_nuts
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console, status

#: Draws and state of the sampler.
CHAINS = "chains.npz"


def sample_command(
    experiment: ExperimentPath, output: Output = Path("calibration"), resume: Resume = False
) -> None:
    """Sample the posterior of the parameters.

    First the fit of the file finds the mode, or is taken from its log in the folder; its curvature
    scales the sampler. Draws are kept as they come, and --resume goes on to the same draws. The
    folder gets posterior.nc, what `fit` writes, and report.html.
    """
    with errors_in_one_line():
        console = new_console()
        fitted = resume or (output / records.FIT).is_file()
        refuse_earlier(output / EVALUATIONS, fitted)
        refuse_earlier(output / CHAINS, resume)
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
