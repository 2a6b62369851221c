"""The calibration: parameters, observations with their errors, and a fit without gradients.

Every run of the training windows is kept by its parameters, so a study that was stopped goes on
where it was.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jcm
from jcm.fingerprint import fingerprint
from jcm.provenance import package_version
from jcm.results import cached, identify
from jcm_calibrate.observations.errors import from_control
from jcm_calibrate.observations.operators import make_operator
from jcm_calibrate.observations.packaged import GROUPS, PACKAGED, packaged_observations
from jcm_calibrate.observations.vector import Observation, Observations, observation
from jcm_calibrate.optimisers.fit import Fit
from jcm_calibrate.optimisers.minimise import minimise
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.problem import Problem, make_problem
from jcm_calibrate.windows import make_windows
from jcm_sensitivity.regions import box

#: White noise in the temperature of the first states of controls [K].
NOISE = 0.1


@dataclass(frozen=True)
class Plan:
    """What is done; the numbers of `study.toml`."""

    grid: str
    starts: list[str]
    spin_up_days: float
    window_days: float
    train_seasons: list[str]
    controls: int
    members: int
    steps: int
    seed: int
    threads: int
    verification_start: str
    adjustment_days: float
    years: int
    bands: list[list[float]]
    fine_bands: list[list[float]]
    parameters: list[str]
    train: dict[str, dict[str, Any]]
    held_out: dict[str, dict[str, Any]]

    @property
    def experiment(self) -> dict[str, str]:
        """What tells the runs of this experiment from those of another."""
        names = ("grid", "starts", "spin_up_days", "window_days", "train_seasons", "bands",
                 "parameters")
        return identify(
            version=package_version(), **{x: getattr(self, x) for x in names},
            pressure={k: v.get("pressure") for k, v in self.train.items()})


def read_plan(path: Path, **changes: Any) -> Plan:
    """Return the plan of a file, with some entries replaced."""
    return Plan(**(tomllib.loads(path.read_text()) | changes))


def observed(
    model: jcm.Model, entries: Mapping[str, Mapping[str, Any]], bands: Sequence[Sequence[float]],
    **periods: Any,
) -> Observations:  # fmt: skip
    """Return packaged observations in latitude bands, with inflated errors.

    Parameters
    ----------
    entries
        Name of a block -> `inflation`, and `pressure` of sections.
    bands
        Bands of fields and sections; the fluxes of CERES have their own.
    periods
        `chosen`, `start`, `every` and `count`, as for `packaged_observations`.
    """
    blocks = []
    for name, entry in entries.items():
        if name in GROUPS["upper_air"]:
            block = _section(model, name, entry["pressure"], bands, periods)
        else:
            block = packaged_observations(
                model, name, periods="seasons",
                operator={"operator": "zonal_mean", "bands": bands}, **periods).blocks[0]
        factor = entry["inflation"]
        facts = block.facts._replace(error=f"{block.facts.error}; times {factor:g}")
        blocks.append(dataclasses.replace(
            block, standard_deviation=block.standard_deviation * factor, facts=facts))
    return Observations(blocks)


def _section(
    model: jcm.Model, name: str, pressure: Sequence[float], bands: Sequence[Sequence[float]],
    periods: Mapping[str, Any],
) -> Observation:  # fmt: skip
    """Return a section as means over bands, from the packaged one in rows."""
    rows = packaged_observations(
        model, name, periods="seasons", pressure=pressure, **periods).blocks[0]
    count, nlat = len(rows.periods.labels), model.grid.nlat
    area = np.stack([
        (box(low, high, 0, 360).fraction(model.grid) * model.grid.cell_area).sum(axis=0)
        for low, high in bands])

    def in_bands(vector: Any) -> np.ndarray:
        table = np.full((count, len(pressure) * nlat), np.nan)
        if rows.uniform:
            table[:, np.asarray(rows.kept)] = np.asarray(vector).reshape(count, -1)
        else:
            table.ravel()[np.asarray(rows.kept)] = np.asarray(vector)
        table = table.reshape(count, len(pressure), 1, nlat)
        known = np.where(np.isnan(table), 0, area)
        return ((np.nan_to_num(table) * known).sum(axis=-1) / known.sum(axis=-1)).reshape(count, -1)

    operator = make_operator(
        model, PACKAGED[name].variable, "zonal_mean", pressure=pressure, bands=bands)
    return observation(
        name, operator, in_bands(rows.values), in_bands(rows.standard_deviation),
        periods=rows.periods, facts=rows.facts)


def build(plan: Plan) -> Problem:
    """Return the problem of the training windows, with the errors of the observations alone."""
    model = jcm.build_model(plan.grid)
    members = [jcm.default_inputs(model, start=start) for start in plan.starts]
    windows = make_windows(
        model, members, days=plan.window_days, spin_up_days=plan.spin_up_days)
    first = np.array(plan.starts, "datetime64[D]") + int(plan.spin_up_days)
    observations = observed(
        model, plan.train, plan.bands, chosen=plan.train_seasons, start=first.astype(str).tolist(),
        every=plan.window_days, count=1)
    space = ParameterSpace.of(members[0], plan.parameters)
    # The windows are far beyond the horizon of gradients, so none are used.
    return make_problem(space, observations, windows, members[0], gradients=False)


_predict = eqx.filter_jit(lambda problem, z: problem.predict(z))


def predictions(
    problem: Problem, ensemble: np.ndarray, folder: Path, plan: Plan, label: str = "z"
) -> np.ndarray:
    """Return what runs of the windows say the observations are; (member, datum)."""

    def one(z: np.ndarray) -> np.ndarray:
        point = np.asarray(z, np.float32)
        return cached(
            folder / "runs" / f"{label}_{fingerprint(point)[:16]}.npz",
            lambda: {"z": point, "prediction": np.asarray(_predict(problem, jnp.asarray(point)))},
            plan.experiment)["prediction"]

    first = one(ensemble[0])  # compiled once, then in threads
    with ThreadPoolExecutor(plan.threads) as pool:
        return np.stack([first, *pool.map(one, ensemble[1:])])


def with_internal_variability(
    problem: Problem, folder: Path, plan: Plan
) -> tuple[Problem, np.ndarray]:
    """Return the problem with the model's own variability in the errors, and the control runs.

    Without controls the problem stays as it is; the run of the reference parameters then stands
    for them.
    """
    reference = np.asarray(problem.space.extract(problem.inputs))[None]
    if not plan.controls:
        return problem, predictions(problem, reference, folder, plan)
    controls = []
    for seed in range(plan.controls):
        states = perturbed(problem.run.model, problem.run.states, seed)
        control = eqx.tree_at(lambda p: p.run.states, problem, states)
        controls.append(predictions(control, reference, folder, plan, f"control{seed}")[0])
    found = np.stack(controls)
    errors = problem.observations.errors + from_control(problem.observations, found)
    return dataclasses.replace(
        problem, observations=problem.observations.with_errors(errors)), found


def perturbed(model: jcm.Model, states: Any, seed: int) -> Any:
    """Return states of windows with white noise in their temperature."""
    shape = (model.grid.nlon, model.levels.count, model.grid.nlat)
    noise = NOISE * np.random.default_rng(seed).standard_normal(shape)
    noise = jnp.asarray(noise, states.current.temperature.dtype)
    noise = model.transform.truncated(model.transform.analysis(noise))
    temperatures = lambda x: (x.previous.temperature, x.current.temperature)  # noqa: E731
    return eqx.tree_at(temperatures, states, tuple(x + noise for x in temperatures(states)))


def fitted(problem: Problem, folder: Path, plan: Plan) -> Fit:
    """Return the fit by ensemble transform Kalman inversion."""
    whiten = jax.jit(jax.vmap(
        lambda x: problem.observations.whiten(x - problem.observations.values)))

    def residuals(ensemble: np.ndarray) -> np.ndarray:
        found = np.asarray(whiten(jnp.asarray(predictions(problem, ensemble, folder, plan))))
        misfit = np.mean(found**2, axis=1)
        print(f"{len(ensemble)} runs of {problem.run.model_days:g} days; squared residuals, mean "
              f"{np.nanmean(misfit):.2f}, least {np.nanmin(misfit):.2f}", flush=True)  # fmt: skip
        return found

    start = problem.space.extract(problem.inputs)
    return minimise(
        problem.residuals, start, method="etki", members=plan.members, steps=plan.steps, prior=True,
        key=jax.random.key(plan.seed), evaluate=residuals)
