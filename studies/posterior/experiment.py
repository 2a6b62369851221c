"""The problem, its mode, its draws and its predictions; each is kept and not computed again."""

import json
import os
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import jcm
from jcm.files import write_text
from jcm.provenance import package_version
from jcm.results import identify
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.problem import LogPosterior, Problem, twin_problem
from jcm_calibrate.uncertainty.inference_data import to_inference_data, write_inference_data
from jcm_calibrate.uncertainty.laplace import Gaussian, laplace
from jcm_calibrate.uncertainty.nuts import sample_nuts
from jcm_calibrate.uncertainty.posterior import Posterior


@dataclass(frozen=True)
class Plan:
    """What is done; the numbers of `study.toml`."""

    grid: str
    smooth: bool
    starts: tuple[str, ...]
    window_days: float
    truth_seed: int
    noise_seed: int
    sampler_seed: int
    chains: int
    warmup: int
    draws: int
    max_tree_depth: int
    chain_method: str
    predictions: int
    parameters: tuple[str, ...]
    observations: dict[str, dict[str, Any]]

    @property
    def experiment(self) -> dict[str, str]:
        """What tells the problem of this plan from another; the sampler's store has its own."""
        names = ("grid", "smooth", "starts", "window_days", "truth_seed", "noise_seed",
                 "parameters", "observations")
        return identify(version=package_version(), **{x: getattr(self, x) for x in names})


def read_plan(path: Path, **changes: Any) -> Plan:
    """Return the plan of a file, with some entries replaced."""
    table: dict[str, Any] = tomllib.loads(path.read_text()) | changes
    table |= {name: tuple(table[name]) for name in ("starts", "parameters")}
    return Plan(**table)


class Stopwatch:
    """Wall time of each part, in a file, so that what an interrupted run has used is counted."""

    def __init__(self, path: Path) -> None:
        """Go on with what the file holds."""
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextmanager
    def part(self, name: str) -> Iterator[Callable[[], float]]:
        """Time a part, once; gives a function that writes what was used so far and returns it."""
        before, begin = self.seconds.get(name, 0.0), time.perf_counter()

        def lap() -> float:
            self.seconds[name] = round(before + time.perf_counter() - begin, 1)
            write_text(self.path, json.dumps(self.seconds, indent=1) + "\n")
            return self.seconds[name]

        yield lap
        if name not in self.seconds:
            lap()


def build(plan: Plan) -> tuple[Problem, np.ndarray]:
    """Return the problem, noisy observations of a run with true parameters, and the true z."""
    model = jcm.build_model(plan.grid, smooth=plan.smooth)
    members = [jcm.default_inputs(model, start=start) for start in plan.starts]
    problem, truth = twin_problem(
        model, members, plan.parameters, plan.observations, days=plan.window_days,
        truth=jax.random.key(plan.truth_seed), noise=jax.random.key(plan.noise_seed))
    return problem, np.asarray(truth)


def approximate(problem: Problem) -> dict[str, Any]:
    """Return the mode, found from the reference values, and its Laplace approximation."""
    fit = minimise(
        problem.residuals, jnp.zeros(problem.space.size), method="gauss_newton", steps=25,
        prior=True, batch=1, relative_tolerance=1e-6)  # below: rounding in single precision
    print(f"mode: {fit.message}; value {fit.value:.6g}, cost {fit.cost:.0f} runs", flush=True)
    gaussian = laplace(problem, jnp.asarray(fit.best, jnp.result_type(float)))
    return {"mean": np.asarray(gaussian.mean), "covariance": np.asarray(gaussian.covariance),
            "value": np.array(fit.value), "cost": np.array(fit.cost),
            "converged": np.array(fit.converged)}  # fmt: skip


def sampled(plan: Plan, problem: Problem, gaussian: Gaussian, folder: Path,
            watch: Stopwatch) -> Posterior:  # fmt: skip
    """Return the draws of NUTS; a run that was interrupted goes on."""
    with watch.part("sampling") as lap:
        return sample_nuts(
            LogPosterior(problem), gaussian.mean, key=jax.random.key(plan.sampler_seed),
            warmup=plan.warmup, draws=plan.draws, chains=plan.chains,
            covariance=gaussian.covariance, max_tree_depth=plan.max_tree_depth,
            chain_method=plan.chain_method, store=folder / "chains.npz", resume=True,
            progress=lambda done, total: print(
                f"transition {done} of {total}, {lap():.0f} s, load {os.getloadavg()[0]:.1f}",
                flush=True))  # fmt: skip


def inference_data(plan: Plan, posterior: Posterior, problem: Problem, path: Path) -> Any:
    """Return the draws with prior, predictions and data as InferenceData, kept as netCDF."""
    if path.exists():
        with xr.open_datatree(path) as opened:
            data = opened.load()
        if data["posterior"].sizes["draw"] == plan.draws:
            return data
    data = to_inference_data(posterior, problem=problem, key=jax.random.key(plan.sampler_seed),
                             predictions=plan.predictions)  # fmt: skip
    write_inference_data(data, path)
    return data


def measured(problem: Problem, z: np.ndarray, repeats: int = 10) -> dict[str, float]:
    """Return seconds of a value and gradient, and the rounding of the log density.

    Rounding is the standard deviation over points that are nearer to each other than matters.
    """
    gradient = eqx.filter_jit(
        lambda p, z: jax.value_and_grad(lambda x: p.log_posterior(x))(z))
    seconds, values = [], []
    for i in range(repeats + 1):
        point = jnp.asarray(z + 1e-6 * np.random.default_rng(i).standard_normal(z.size), z.dtype)
        begin = time.perf_counter()
        values.append(float(jax.block_until_ready(gradient(problem, point))[0]))
        seconds.append(time.perf_counter() - begin)
    return {"gradient_with_compilation": float(f"{seconds[0]:.3g}"),
            "gradient": float(f"{np.median(seconds[1:]):.3g}"),
            "log_density_rounding": float(f"{np.std(values):.2g}")}  # fmt: skip
