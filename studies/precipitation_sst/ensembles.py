"""The runs of the study: gradients, finite changes and responses of an ensemble, kept on disk.

What has been computed lies in the store, one file for each member, and is not computed again.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jcm
from jcm.initial import reference_parameters
from jcm.model import Model
from jcm.provenance import package_version
from jcm.results import cached, claim, identify
from jcm.simulate import Inputs, compile_window
from jcm_sensitivity.adjoint import compile_sensitivity, model_experiment
from jcm_sensitivity.consistency import NEEDED, WATER, consistency
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.periods import last
from jcm_sensitivity.regions import REGIONS
from jcm_sensitivity.tangent import response
from jcm_sensitivity.targets import Mean, mean

SST = "forcing.sea_surface_temperature"
RAIN, HUMIDITY = "precipitation_flux", "specific_humidity"
#: Region of each target, and the letters of figures.
TARGETS = {"tropical_pacific": "tropical Pacific", "north_atlantic": "North Atlantic"}
SEASONS = {"winter": "2000-01-01", "summer": "2000-07-01"}
#: Change of the temperature of the sea in forward runs [K], both signs.
STEP = 1.0
#: Where it is changed: everywhere, and in the boxes of both targets at once.
PATTERNS = ("everywhere", "in the boxes")
#: Fields whose response is looked at.
OBSERVED = (
    *NEEDED, *WATER, "convective_precipitation_flux", "large_scale_precipitation_flux",
    "surface_upward_sensible_heat_flux", "near_surface_eastward_wind",
    "near_surface_northward_wind")  # fmt: skip

Files = dict[str, np.ndarray]


class Plan(NamedTuple):
    """How much is computed."""

    #: Folder of what is done.
    store: Path
    seasons: tuple[str, ...] = tuple(SEASONS)
    #: Smooth ones, and exact ones for comparison.
    switches: tuple[str, ...] = ("smooth",)
    #: States for gradients, and those of them for responses, finite changes and exact switches.
    members: int = 8
    fewer: int = 4
    #: What runs with exact switches as well, for comparison.
    exact_seasons: tuple[str, ...] = ("winter",)
    #: Days between initial states, and of the runs.
    spacing: int = 5
    days: int = 10
    #: Leads at which finite changes are run.
    leads: tuple[int, ...] = (1, 3, 10)
    grid: str = "T21L8"

    def seasons_of(self, switches: str) -> tuple[str, ...]:
        """Return the seasons that are computed with smooth or exact switches."""
        return self.seasons if switches == "smooth" else self.exact_seasons

    def count(self, kind: str, switches: str) -> int:
        """Return the number of members of a kind of run."""
        return self.members if (kind, switches) == ("gradient", "smooth") else self.fewer


def targets(plan: Plan) -> list[Mean]:
    """Return precipitation over each region on the last day."""
    return [mean(RAIN, region=name, days=last(1)) for name in TARGETS]


def boxes(model: Model) -> np.ndarray:
    """Return the part of each cell that lies in the box of a target; (target, lon, lat)."""
    return np.stack([REGIONS[name].fraction(model.grid) for name in TARGETS])


def build(plan: Plan, switches: str) -> Model:
    """Return the model with smooth or exact switches."""
    return jcm.build_model(plan.grid, smooth=switches == "smooth")


def weather(plan: Plan, season: str) -> list[Inputs]:
    """Return initial states of the model with exact switches, which both models start from."""
    model = build(plan, "exact")
    inputs = jcm.default_inputs(model, start=SEASONS[season])
    return initial_states(model, inputs, plan.members, plan.spacing)


def of_model(model: Model, member: Inputs) -> Inputs:
    """Return the inputs of a member for a model with other switches."""
    return dataclasses.replace(member, parameters=reference_parameters(model))


def timed(path: Path, make: Callable[[], Files]) -> Files:
    """Return what is in a file, or make it and write the file; say how long it took."""
    begin = time.perf_counter()
    # The folder bears the mark of the experiment.
    arrays = cached(path, make, {})
    print(f"{path.stem}: {time.perf_counter() - begin:.0f} s", flush=True)
    return arrays


class Lazy:
    """A compiled program that is made when it is first needed, and kept."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._made = make, None

    def __call__(self, *arguments: Any) -> Any:
        """Return what the program returns."""
        if self._made is None:
            begin = time.perf_counter()
            self._made = self._make()
            print(f"compiled in {time.perf_counter() - begin:.0f} s", flush=True)
        return self._made(*arguments)


def compute(plan: Plan) -> dict[tuple[str, ...], list[Files]]:
    """Return everything by (kind, switches, season), a list over members."""
    claim(plan.store, identify(
        version=package_version(), grid=plan.grid, spacing=plan.spacing, days=plan.days,
        leads=plan.leads))
    members = {season: _Weather(plan, season) for season in plan.seasons}
    results: dict[tuple[str, ...], list[Files]] = {}
    for switches in plan.switches:
        model = build(plan, switches)
        kinds = {"gradient": _gradients(plan, model, members)}
        if switches == "smooth":
            kinds["response"] = lambda inputs, model=model: _responses(plan, model, inputs)
        kinds["finite"] = _finite(plan, model, members)
        for kind, make in kinds.items():
            for season in plan.seasons_of(switches):
                results[kind, switches, season] = [
                    timed(plan.store / f"{kind}_{switches}_{season}_{i:02d}.npz",
                          lambda s=season, i=i, make=make, model=model: make(
                              of_model(model, members[s][i])))
                    for i in range(plan.count(kind, switches))]
    return results


class _Weather:
    """Initial states of a season, made when the first is needed."""

    def __init__(self, plan: Plan, season: str):
        self._states = Lazy(lambda: weather(plan, season).__getitem__)

    def __getitem__(self, index: int) -> Inputs:
        return self._states(index)


# ---- gradients ----------------------------------------------------------------------------------


def _gradients(
    plan: Plan, model: Model, members: dict[str, _Weather]
) -> Callable[[Inputs], Files]:
    """Return the function from inputs to the gradients by day; one program for both targets."""
    run = model_experiment(model, days=plan.days, every=1.0, observe=(RAIN,))
    program = Lazy(lambda: compile_sensitivity(
        run, targets(plan), of_model(model, members[plan.seasons[0]][0]), wrt=[SST], by_day=True))

    def of_member(inputs: Inputs) -> Files:
        found = program(inputs)
        # The sum over months is the derivative to a change of the sea on that day.
        return {"value": np.stack([x.value for x in found]),
                "gradient": np.stack([np.asarray(x.gradient[SST]).sum(axis=1) for x in found])}

    return of_member


# ---- finite changes -----------------------------------------------------------------------------


def _finite(
    plan: Plan, model: Model, members: dict[str, _Weather]
) -> Callable[[Inputs], Files]:
    """Return the function from inputs to targets with a warmer and a cooler sea."""
    program = Lazy(lambda: compile_window(
        model, of_model(model, members[plan.seasons[0]][0]), observe=[RAIN]))
    bound = [target.bind(model, every=1.0, average=True) for target in targets(plan)]
    patterns = (np.ones(model.grid.shape), boxes(model).sum(axis=0))

    def rain(inputs: Inputs, days: int) -> np.ndarray:
        if days > 1:
            state, _ = program(model, inputs, (days - 1) * model.steps_per_day)
            inputs = inputs.with_state(state)
        _, fields = program(model, inputs, model.steps_per_day)
        return np.array([target({RAIN: fields[RAIN][None]}) for target in bound])

    def of_member(inputs: Inputs) -> Files:
        values = np.zeros((len(patterns), len(plan.leads), 2, len(bound)))
        start, day = inputs, 0
        # The longest lead starts first; the others go on from there without a change.
        for j, lead in reversed(list(enumerate(plan.leads))):
            if plan.days - lead > day:
                state, _ = program(model, start, (plan.days - lead - day) * model.steps_per_day)
                start, day = start.with_state(state), plan.days - lead
            for i, pattern in enumerate(patterns):
                for k, sign in enumerate((1, -1)):
                    sea = inputs.forcing.sea_surface_temperature
                    values[i, j, k] = rain(jcm.insert(start, {
                        SST: sea + jnp.asarray(sign * STEP * pattern, sea.dtype)}), lead)
        return {"values": values}

    return of_member


# ---- responses ----------------------------------------------------------------------------------


def _responses(plan: Plan, model: Model, inputs: Inputs) -> Files:
    """Return responses to 1 K in the box of each target, on each day of the run."""
    run = model_experiment(model, days=plan.days, every=1.0, observe=OBSERVED)
    arrays = {}
    for name, box in zip(TARGETS, boxes(model), strict=True):
        found = response(run, inputs, {SST: box})
        for variable in OBSERVED:
            arrays[f"{name}.change.{variable}"] = np.asarray(found.change[variable], np.float32)
        balance = consistency(model, inputs, found)
        for variable, values in balance.data_vars.items():
            if "lon" not in values.dims:
                arrays[f"{name}.balance.{variable}"] = values.values.astype(np.float32)
        residual = np.abs(balance["hypsometric_residual"].values).max(axis=(1, 2, 3))
        arrays[f"{name}.balance.largest_hypsometric_residual"] = residual
        arrays[f"{name}.water"] = water_budget(model, found, box)
    return arrays


def water_budget(model: Model, found: Any, box: np.ndarray) -> np.ndarray:
    """Return the change of evaporation, rain and content of water in a box by day.

    Rows: evaporation, precipitation [kg m-2 s-1], content [kg m-2], means over the days.
    """
    cells = box * model.grid.cell_area
    inside = lambda x: np.sum(np.asarray(x, float) * cells, axis=(-2, -1)) / cells.sum()  # noqa: E731
    layer = model.levels.thickness[:, None, None] / model.constants.gravity
    fields, change = found.fields, found.change
    p, q = (np.asarray(fields[name], float) for name in ("surface_air_pressure", HUMIDITY))
    dp, dq = (np.asarray(change[name], float) for name in ("surface_air_pressure", HUMIDITY))
    content = inside(np.sum(layer * (dq * p[:, None] + q * dp[:, None]), axis=1))
    return np.stack([inside(change[WATER[2]]), inside(change[RAIN]), content])
