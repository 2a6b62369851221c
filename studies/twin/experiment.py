"""The twin experiment: true parameters, synthetic observations, and fits that are kept."""

import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jcm
from jcm.files import replacing
from jcm.provenance import package_version
from jcm.results import cached, identify
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.problem import Problem, twin_problem


@dataclass(frozen=True)
class Plan:
    """What is done; the numbers of `study.toml`."""

    grid: str
    smooth: bool
    starts: tuple[str, ...]
    spin_up_days: float
    window_days: float
    truth_seed: int
    start_seed: int
    noise_seed: int
    random_starts: int
    noise_realisations: int
    steps: int
    noise_free_error_factor: float
    parameters: tuple[str, ...]
    observations: dict[str, dict[str, Any]]

    @property
    def experiment(self) -> dict[str, str]:
        """What tells this experiment from another; more starts or noise leave fits as they are."""
        more = ("random_starts", "noise_realisations")
        return identify(version=package_version(), **{
            name: x for name, x in vars(self).items() if name not in more})


def read_plan(path: Path, **changes: Any) -> Plan:
    """Return the plan of a file, with some entries replaced."""
    table = tomllib.loads(path.read_text()) | changes
    lists = {name: tuple(table[name]) for name in ("starts", "parameters")}
    return Plan(**(table | lists))


@dataclass(frozen=True)
class Twin:
    """The truth and what is observed of it."""

    plan: Plan
    #: The problem with noise-free observations and the errors of the noisy ones.
    problem: Problem
    #: Standard normal variables of the true parameters.
    truth: np.ndarray

    @property
    def space(self) -> ParameterSpace:
        """Parameters and prior."""
        return self.problem.space

    def exact(self) -> Problem:
        """Return the problem with noise-free observations, whose errors are taken as tiny.

        The prior then counts for nothing, and the compiled program is that of the noisy problem.
        """
        factor = self.plan.noise_free_error_factor
        scaled = jax.tree.map(lambda x: x * factor, self.problem.observations.errors)
        return eqx.tree_at(lambda p: p.observations.errors, self.problem, scaled)

    def noisy(self, realisation: int) -> Problem:
        """Return the problem with one realisation of the noise."""
        observations = self.problem.observations
        key = jax.random.fold_in(jax.random.key(self.plan.noise_seed), realisation)
        values = observations.values + observations.errors.draw(key)
        return eqx.tree_at(
            lambda p: p.observations, self.problem, observations.with_values(values))

    def start(self, number: int) -> np.ndarray:
        """Return a random start: a draw of the prior."""
        key = jax.random.key(self.plan.start_seed + number)
        return np.asarray(self.space.draw(key, 1)[0])


def build(plan: Plan) -> Twin:
    """Return the twin experiment of a plan."""
    model = jcm.build_model(plan.grid, smooth=plan.smooth)
    members = []
    for start in plan.starts:
        inputs = jcm.default_inputs(model, start=start)
        if plan.spin_up_days:
            state, _ = jcm.simulate(model, inputs, days=plan.spin_up_days, observe=())
            inputs = inputs.with_state(state)
        members.append(inputs)
    problem, truth = twin_problem(
        model, members, plan.parameters, plan.observations, days=plan.window_days,
        truth=jax.random.key(plan.truth_seed))
    return Twin(plan, problem, np.asarray(truth))


def fitted(
    twin: Twin, folder: Path, name: str, problem: Problem, start: Sequence[float] | np.ndarray
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return a Gauss-Newton fit, from the folder if it is there."""
    return cached(folder / f"{name}.npz", lambda: _fit(twin, name, problem, start),
                  twin.plan.experiment | identify(start=start))  # fmt: skip


def _fit(
    twin: Twin, name: str, problem: Problem, start: Sequence[float] | np.ndarray
) -> dict[str, np.ndarray]:  # fmt: skip
    begin = time.perf_counter()
    fit = minimise(
        problem.residuals, jnp.asarray(start), method="gauss_newton", steps=twin.plan.steps,
        prior=True, batch=4, relative_tolerance=1e-6)  # below: rounding in single precision
    seconds = time.perf_counter() - begin
    print(f"{name}: {fit.message}; value {fit.value:.6g}, cost {fit.cost:.0f} runs, "
          f"{seconds:.0f} s", flush=True)  # fmt: skip
    size = len(fit.best)
    covariance = np.full((size, size), np.nan) if fit.covariance is None else fit.covariance
    return {
        "start": np.asarray(start), "best": fit.best, "value": np.array(fit.value),
        "covariance": covariance, "converged": np.array(fit.converged),
        "message": np.array(fit.message), "cost": np.array(fit.cost),
        "compilations": np.array(fit.compilations), "seconds": np.array(seconds),
        "values": fit.history["value"], "costs": fit.history["cost"]}


def cost_of_derivatives(problem: Problem, z: np.ndarray, repeats: int = 5) -> dict[str, float]:
    """Return seconds of the objective, of its value and gradient, and of compiling both."""
    objective = eqx.filter_jit(lambda p, z: p.log_posterior(z))
    gradient = eqx.filter_jit(
        lambda p, z: jax.value_and_grad(lambda x: p.log_posterior(x))(z))
    point, seconds = jnp.asarray(z), {}
    for name, function in {"forward": objective, "value_and_gradient": gradient}.items():
        begin = time.perf_counter()
        jax.block_until_ready(function(problem, point))
        seconds[f"{name}_with_compilation"] = time.perf_counter() - begin
    samples = {"forward": [], "value_and_gradient": []}
    for _ in range(repeats):
        for name, function in {"forward": objective, "value_and_gradient": gradient}.items():
            begin = time.perf_counter()
            jax.block_until_ready(function(problem, point))
            samples[name].append(time.perf_counter() - begin)
    seconds |= {name: float(np.median(x)) for name, x in samples.items()}
    ratio = seconds["value_and_gradient"] / seconds["forward"]
    return {name: float(f"{x:.3g}") for name, x in seconds.items()} | {
        "gradient_over_forward": round(ratio, 2)}


def kept_json(path: Path, compute: Any) -> Any:
    """Return what a file holds, or compute it and write it there."""
    if path.exists():
        return json.loads(path.read_text())
    value = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1) + "\n")
    return value
