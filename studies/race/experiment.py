"""The race: one noisy twin problem, measured costs, and runs that are kept."""

import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jcm
from jcm.provenance import package_version
from jcm.results import cached, identify
from jcm_calibrate.optimisers.evaluator import Evaluator
from jcm_calibrate.optimisers.fit import Fit
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.problem import Problem, twin_problem

#: Methods whose ensemble starts from the prior rather than at a point.
ENSEMBLES = ("eki", "etki")
#: Methods that ask for gradients of the objective.
GRADIENTS = ("adam", "lbfgs")
#: Tangents that share one forward run.
BATCH = 8


@dataclass(frozen=True)
class Plan:
    """What is done; the numbers of `study.toml`."""

    grid: str
    smooth: bool
    starts: tuple[str, ...]
    spin_up_days: float
    window_days: float
    truth_seed: int
    noise_seed: int
    seeds: tuple[int, ...]
    budget: float
    checkpoints: tuple[float, ...]
    timings: int
    parameters: tuple[str, ...]
    methods: dict[str, dict[str, Any]]
    observations: dict[str, dict[str, Any]]

    @property
    def experiment(self) -> dict[str, str]:
        """What tells the problem of this plan from another."""
        names = ("grid", "smooth", "starts", "spin_up_days", "window_days", "truth_seed",
                 "noise_seed", "parameters", "observations")
        return identify(version=package_version(), **{x: getattr(self, x) for x in names})


def read_plan(path: Path, **changes: Any) -> Plan:
    """Return the plan of a file, with some entries replaced."""
    table = tomllib.loads(path.read_text()) | changes
    lists = ("starts", "parameters", "seeds", "checkpoints")
    return Plan(**(table | {name: tuple(table[name]) for name in lists}))


class Altered(eqx.Module):
    """The objective of a problem with a gradient that is changed on its way to the optimiser.

    The gradient g becomes factors * g[order], or its signs, scaled to the length of g. With factors
    1 in order nothing is changed; all are one compiled program.
    """

    problem: Problem
    factors: jax.Array
    order: jax.Array
    only_signs: jax.Array

    def __call__(self, z):
        value, gradient = jax.value_and_grad(
            lambda x: 0.5 * jnp.sum(self.problem(x) ** 2))(jax.lax.stop_gradient(z))
        signs = jnp.sign(gradient) * jnp.linalg.norm(gradient) / z.size**0.5
        changed = jnp.where(self.only_signs, signs, self.factors * gradient[self.order])
        return jax.lax.stop_gradient(value) + jax.lax.stop_gradient(changed) @ (
            z - jax.lax.stop_gradient(z))


def altered(problem: Problem, kind: str | None, seed: int) -> Altered:
    """Return a problem with the right gradient, its signs, half of it flipped, or shuffled."""
    size = problem.space.size
    random = np.random.default_rng(seed)
    factors, order = np.ones(size), np.arange(size)
    if kind == "flipped":
        factors[random.permutation(size)[: max(1, size // 2)]] = -1
    elif kind == "shuffled":
        while size > 1 and (order == np.arange(size)).any():
            order = random.permutation(size)
    elif kind not in (None, "sign"):
        raise ValueError(f"gradient is 'sign', 'flipped' or 'shuffled'; got {kind!r}")
    dtype = jnp.result_type(float)
    return Altered(
        problem, jnp.asarray(factors, dtype), jnp.asarray(order), jnp.asarray(kind == "sign"))


def build(plan: Plan) -> Problem:
    """Return the problem: a run with drawn parameters, observed with noise."""
    model = jcm.build_model(plan.grid, smooth=plan.smooth)
    members = []
    for start in plan.starts:
        inputs = jcm.default_inputs(model, start=start)
        if plan.spin_up_days:
            state, _ = jcm.simulate(model, inputs, days=plan.spin_up_days, observe=())
            inputs = inputs.with_state(state)
        members.append(inputs)
    return twin_problem(
        model, members, plan.parameters, plan.observations, days=plan.window_days,
        truth=jax.random.key(plan.truth_seed), noise=jax.random.key(plan.noise_seed))[0]


def measured_costs(plan: Plan, problem: Problem) -> dict[str, float]:
    """Return seconds of each kind of evaluation, and gradient and tangent in forward evaluations.

    The kinds take turns, so that other work on the machine strikes all alike.
    """
    evaluator = Evaluator(problem, jnp.result_type(float), batch=BATCH)
    gradients = Evaluator(altered(problem, None, 0), jnp.result_type(float))
    point = np.zeros(problem.space.size)
    kinds: dict[str, Callable] = {
        "forward": lambda: evaluator.value(point),
        "gradient": lambda: gradients.value_and_gradient(point),
        "jacobian": lambda: evaluator.jacobian(point, reduced=True)}
    first, samples = {}, {name: [] for name in kinds}
    for turn in range(plan.timings + 1):
        for name, compute in kinds.items():
            begin = time.perf_counter()
            compute()
            seconds = time.perf_counter() - begin
            samples[name].append(seconds) if turn else first.update({name: seconds})
    median = {name: float(np.median(x)) for name, x in samples.items()}
    chunks = -(-point.size // BATCH)
    relative = median["jacobian"] / median["forward"]
    return {
        **{f"{name}_seconds": float(f"{x:.3g}") for name, x in median.items()},
        **{f"{name}_seconds_with_compilation": float(f"{x:.3g}") for name, x in first.items()},
        "gradient_cost": round(median["gradient"] / median["forward"], 2),
        "tangent_cost": round(1 + (relative - chunks) / point.size, 2)}


def reference(problem: Problem) -> Fit:
    """Return the most probable parameters, by Gauss-Newton without limit of cost."""
    return minimise(
        problem, jnp.zeros(problem.space.size), method="gauss_newton", steps=60, batch=BATCH)


def raced(
    plan: Plan, problem: Problem, costs: dict[str, float], name: str, seed: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """Run one method from one seed until the budget is used."""
    options = dict(plan.methods[name])
    method, gradient = options["method"], options.pop("gradient", None)
    draw, own = jax.random.split(jax.random.key(seed))
    start = problem.space.draw(draw, 1)[0]
    if method in ENSEMBLES:
        start = jnp.zeros_like(start)
    function = altered(problem, gradient, seed) if method in GRADIENTS else problem
    begin = time.perf_counter()
    fit = minimise(
        function, start, key=own, steps=100_000, budget=plan.budget, batch=BATCH,
        gradient_cost=costs["gradient_cost"], tangent_cost=costs["tangent_cost"],
        gradient_tolerance=1e-3, relative_tolerance=1e-7, **options)
    return {
        "start": np.asarray(start), "best": fit.best, "cost": fit.history["cost"],
        "value": fit.history["value"], "iterate": fit.history["iterate"].astype(np.float32),
        "message": np.array(fit.message), "converged": np.array(fit.converged),
        "seconds": np.array(time.perf_counter() - begin)}


def cached_costs(path: Path, plan: Plan, problem: Problem) -> dict[str, float]:
    """Return the measured costs; cached, so that all runs are judged by the same."""
    found = cached(path, lambda: measured_costs(plan, problem), plan.experiment)
    return {name: float(x) for name, x in found.items()}
