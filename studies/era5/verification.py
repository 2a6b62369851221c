"""Independent years before and after, and which changes stand out of the noise of single years.

A block is a year: the root-mean-square difference from the observations is computed in each, and
the change between the means of both sets of years is compared with its sampling noise, the half
width of the 95 % interval of Welch's t-test. A change below this floor is no change.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from experiment import Plan, observed
from scipy import stats

import jcm
from jcm.fingerprint import fingerprint
from jcm.output import to_dataset
from jcm.results import cached, claim, identify
from jcm_calibrate.observations.vector import Observations
from jcm_calibrate.performance_index import (
    VARIABLES,
    performance_index,
    sea_level_pressure,
    surface_height,
)
from jcm_calibrate.problem import Problem

#: Days of a year, and between its outputs.
DAYS, EVERY = 365, 5
SEASONS = ("DJF", "MAM", "JJA", "SON")
Fields = dict[str, np.ndarray]


def long_runs(
    problem: Problem, points: dict[str, np.ndarray], folder: Path, plan: Plan, days: int = DAYS
) -> dict[str, list[Fields]]:  # fmt: skip
    """Return the fields of each year of each run; what the folder has is not computed again."""
    model = problem.run.model
    first = jcm.default_inputs(model, start=plan.verification_start)
    wanted = observations_of(model, plan, 0, days).variables
    observe = tuple(dict.fromkeys([*wanted, *_index_variables()]))

    def one(name: str) -> list[Fields]:
        inputs = problem.space.insert(first, jnp.asarray(points[name]))
        experiment = plan.experiment | identify(
            point=np.asarray(points[name], np.float32), days=days, observe=observe,
            start=plan.verification_start, adjustment_days=plan.adjustment_days)
        place = claim(folder / f"{name}_{fingerprint(experiment)[:8]}", experiment)
        return _years(model, inputs, place, plan, observe, days)

    # The first run alone would leave a core idle; both share the compiled programs.
    with ThreadPoolExecutor(plan.threads) as pool:
        return dict(zip(points, pool.map(one, points), strict=True))


def _index_variables() -> list[str]:
    computed = "air_pressure_at_mean_sea_level"
    names = [x.model for x in VARIABLES.values() if x.model != computed]
    return [*names, "surface_air_pressure"]


def _years(
    model: jcm.Model, inputs: jcm.Inputs, folder: Path, plan: Plan, observe: tuple[str, ...],
    days: int,
) -> list[Fields]:  # fmt: skip
    years = []
    state = _state(folder / "adjusted.eqx", inputs, lambda: jcm.simulate(
        model, inputs, days=plan.adjustment_days, observe=())[0])  # fmt: skip
    for year in range(plan.years):
        path = folder / f"year{year}"

        def compute(path: Path = path, state: Any = state) -> Fields:
            end, fields = jcm.simulate(
                model, inputs.with_state(state), days=days, every=EVERY, observe=observe)
            _state(path.with_suffix(".eqx"), inputs, lambda: end)
            return {name: np.asarray(x, np.float32) for name, x in fields.items()}

        # The folder bears the mark of the experiment: states lie beside.
        fields = cached(path.with_suffix(".npz"), compute, {})
        state = eqx.tree_deserialise_leaves(path.with_suffix(".eqx"), inputs.state)
        if not all(np.isfinite(x).all() for x in fields.values()):
            raise FloatingPointError(f"{path.name} of {folder.name} is not finite")
        print(f"{folder.name}: year {year + 1} of {plan.years}", flush=True)
        years.append(fields)
    return years


def _state(path: Path, inputs: jcm.Inputs, compute: Any) -> Any:
    """Return a state of a file, or compute it and write the file."""
    if path.exists():
        return eqx.tree_deserialise_leaves(path, inputs.state)
    state = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    eqx.tree_serialise_leaves(unfinished, state)
    unfinished.rename(path)
    return state


def year_start(plan: Plan, year: int) -> str:
    """Return the first day of a year of the verification."""
    start = np.datetime64(plan.verification_start, "D") + int(plan.adjustment_days) + DAYS * year
    return str(start)


def observations_of(
    model: jcm.Model, plan: Plan, year: int, days: int = DAYS
) -> Observations:
    """Return observations of all blocks in all seasons that a year has."""
    periods = {"chosen": SEASONS if days == DAYS else ("DJF",), "start": year_start(plan, year),
               "every": EVERY, "count": days // EVERY}  # fmt: skip
    parts = [observed(model, plan.train, plan.bands, **periods),
             observed(model, plan.held_out, plan.fine_bands, **periods)]  # fmt: skip
    return Observations([block for part in parts for block in part.blocks])


@dataclasses.dataclass(frozen=True)
class Scores:
    """Predictions of each year, and what they are compared with."""

    observations: Observations
    #: Name of the run -> (year, datum).
    predictions: dict[str, np.ndarray]

    def rows(self, name: str, season: str) -> np.ndarray:
        """Return the numbers of the data of a block in a season."""
        return np.array([i for i, label in enumerate(self.observations.labels)
                         if label.startswith(f"{name}, ") and label.endswith(f", {season}")])

    def difference(self, run: str, rows: np.ndarray) -> np.ndarray:
        """Return model minus observed, (year, datum)."""
        return self.predictions[run][:, rows] - np.asarray(self.observations.values)[rows]

    def rmse(self, run: str, name: str, season: str) -> np.ndarray:
        """Return the root-mean-square difference of each year [units of the block]."""
        return np.sqrt(np.mean(self.difference(run, self.rows(name, season)) ** 2, axis=1))

    def misfit(self, run: str, names: list[str], seasons: list[str]) -> np.ndarray:
        """Return the squared difference over the error, a mean over blocks, of each year."""
        spread = np.asarray(self.observations.standard_deviation)
        parts = [np.mean((self.difference(run, rows) / spread[rows]) ** 2, axis=1)
                 for name in names for season in seasons for rows in [self.rows(name, season)]]
        return np.mean(parts, axis=0)


def scores(problem: Problem, runs: dict[str, list[Fields]], plan: Plan, days: int = DAYS) -> Scores:
    """Return what the years say the observations are."""
    model = problem.run.model
    found = {name: np.stack([np.asarray(observations_of(model, plan, year, days).predict(fields))
                             for year, fields in enumerate(years)])
             for name, years in runs.items()}  # fmt: skip
    return Scores(observations_of(model, plan, 0, days), found)


def change(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Return means of two sets of years, their difference, and the noise floor of it."""
    test = stats.ttest_ind(after, before, equal_var=False)
    interval = test.confidence_interval(0.95)
    floor = 0.5 * float(interval.high - interval.low)
    difference = float(after.mean() - before.mean())
    verdict = "within noise"
    if abs(difference) > floor:
        verdict = "better" if difference < 0 else "worse"
    return {"before": float(before.mean()), "after": float(after.mean()), "change": difference,
            "noise_floor": floor, "verdict": verdict}  # fmt: skip


def index_by_year(problem: Problem, years: list[Fields], plan: Plan) -> list[xr.Dataset]:
    """Return the performance index of each year, and last that of their mean."""
    model, inputs = problem.run.model, problem.inputs
    height = surface_height(model, inputs.forcing.surface_geopotential)
    datasets = []
    for year, fields in enumerate(years):
        run = to_dataset(
            model, {name: fields[name] for name in _index_variables()}, every=EVERY,
            start=year_start(plan, year))
        datasets.append(run.assign(air_pressure_at_mean_sea_level=sea_level_pressure(
            run["surface_air_pressure"], run["near_surface_air_temperature"], height)))
    tables = [performance_index(run) for run in datasets]
    together = xr.concat(datasets, "time", data_vars="minimal", coords="minimal", compat="override")
    assert isinstance(together, xr.Dataset)
    return [*tables, performance_index(together)]
