"""The certificate of a model: a verdict on every derivative of a matrix of them.

For each input, each target and each horizon the derivative of the target along one change of the
input is compared with finite differences of runs, ordinary ones and ones that follow the branches
of the unchanged run, and forward with reverse mode; `jcm_sensitivity.verdict` says what follows.
One run with output at every step serves all targets and horizons, and one program all inputs.

A change of a parameter is a part of its plausible range; a change of a field is a random pattern,
different in every cell and month, of a typical size.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jcm.model import Model
from jcm.parameters import descriptions, leaf_names
from jcm.simulate import Inputs, whole_steps
from jcm_sensitivity.arguments import HOURS, parse_horizon
from jcm_sensitivity.branches import Flip, census, decision_table, record, replay
from jcm_sensitivity.changes import bound_targets, changed, named_values
from jcm_sensitivity.combinations import Target
from jcm_sensitivity.indices import index
from jcm_sensitivity.initial_state import STATE_UNITS
from jcm_sensitivity.programs import arrays_read, moved
from jcm_sensitivity.runs import model_experiment
from jcm_sensitivity.targets import mean
from jcm_sensitivity.taylor import Line, forward_against_reverse, remainders, rounding
from jcm_sensitivity.verdict import classify, weigh

#: Steps of the differences, in parts of the plausible range or the typical size of a field.
LADDER = {np.dtype(np.float64): (1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
          np.dtype(np.float32): (1e-1, 1e-2, 1e-3, 1e-4)}  # fmt: skip
#: The same with more steps, for directions in all inputs at once, which are less linear.
STEPS_A_DECADE = 4
FINE_LADDER = {
    dtype: tuple(float(x) for x in np.geomspace(
        steps[0], steps[-1], STEPS_A_DECADE * (len(steps) - 1) + 1))
    for dtype, steps in LADDER.items()}  # fmt: skip
#: Typical sizes of changes of fields: first that is part of the name.
FIELD_SIZES = {"geopotential": 100.0, "temperature": 1.0, "snow_depth": 1.0, "wind": 1.0,
               "specific_humidity": 1e-4, "pressure": 100.0}  # fmt: skip
OTHER_FIELDS = 0.01
#: Rounding is taken as so many times the scatter of a few runs with tiny changes.
NOISE = 3.0
#: Forward and reverse mode have to agree within this part of the tolerance of differences. Over
#: hundreds of steps contributions that cancel leave a rounding of up to 6e-10 in single targets.
ADJOINT = 1e-3
#: Flips that are named for each cell.
NAMED_FLIPS = 3
#: Second derivatives, which cost several runs, are computed up to this horizon [days].
CURVATURE_DAYS = 1.0


class Horizon(NamedTuple):
    """A length of run."""

    name: str
    steps: int


def horizon(model: Model, name: str) -> Horizon:
    """Return a horizon from its name: `1step`, `3step`, `6h`, `1d`, `5d`.

    Raises
    ------
    ValueError
        If the name has no meaning, or is no positive multiple of the time step.
    """
    length, unit = parse_horizon(name)
    days = length / model.steps_per_day if unit == "step" else length * HOURS[unit] / 24
    return Horizon(name, whole_steps(model, f"the horizon {name}", days))


def default_targets() -> dict[str, Target]:
    """Return six targets: rain, energy, temperature, jet, rain belt and monsoon."""
    return {
        "tropical_pacific_rain": mean("precipitation_flux", region="tropical_pacific"),
        "toa_net_flux": index("toa_net_flux"),
        "global_mean_temperature": index("global_mean_temperature"),
        "jet_latitude": index("jet_latitude"),
        "itcz_latitude": index("itcz_latitude"),
        "lower_tropical_humidity": mean("specific_humidity", region="tropics", level=6),
    }


def inputs_of_interest(inputs: Inputs) -> list[str]:
    """Return the names of all parameters, all boundary fields, and the initial atmosphere."""
    parameters = [name for name in descriptions(inputs.parameters, "parameters.")
                  if not name.startswith("parameters.smooth.")]  # fmt: skip
    fields = [f"forcing.{name}" for name, x in zip(
        leaf_names(inputs.forcing), jax.tree.leaves(inputs.forcing), strict=True)
        if jnp.issubdtype(x.dtype, jnp.floating)]  # fmt: skip
    return [*parameters, *fields, *STATE_UNITS]


def direction(model: Model, inputs: Inputs, name: str, *, seed: int = 1) -> np.ndarray:
    """Return a change of an input: the range of a parameter, a random pattern of a field."""
    value = np.asarray(named_values(model, inputs, [name])[name])
    known = descriptions(inputs.parameters, "parameters.")
    if name in known:
        low, high = known[name].bounds
        return np.asarray(high - low, value.dtype)
    size = next((s for key, s in FIELD_SIZES.items() if key in name), OTHER_FIELDS)
    pattern = np.random.default_rng(seed).standard_normal(value.shape)
    return (size * pattern).astype(value.dtype)


class ModelPrograms:
    """A model with its targets, compiled for all inputs, in every way that is needed.

    Functions take the values of all named inputs and return targets x horizons.
    """

    def __init__(
        self, model: Model, inputs: Inputs, names: Sequence[str], targets: Mapping[str, Target],
        horizons: Sequence[Horizon],
    ):  # fmt: skip
        self.model, self.names = model, tuple(names)
        self.targets, self.horizons = dict(targets), tuple(horizons)
        self.values = named_values(model, inputs, names)
        floats, others = eqx.partition(inputs, eqx.is_inexact_array)
        # All numbers are arguments, so that nothing about them is known to the compiler.
        self._floats = jax.tree.map(jnp.asarray, floats)

        def function(horizons: Sequence[Horizon]) -> Callable:
            step = 1 / model.steps_per_day
            run = model_experiment(
                model, days=max(h.steps for h in horizons) * step, every=step)
            run, bound = bound_targets(run, list(targets.values()), inputs)
            return functools.partial(_targets, run, bound, horizons, others)

        whole = function(self.horizons)
        self.table = decision_table(whole)(self.values, floats)
        self._recorded = jax.jit(record(whole))
        self._replayed = jax.jit(replay(whole))
        self._forward = jax.jit(functools.partial(_slope, whole))
        self._reverse = jax.jit(
            lambda x, w, f: jax.vjp(lambda x: whole(x, f), x)[1](w)[0])
        self.curved = tuple(
            h for h in self.horizons if h.steps <= CURVATURE_DAYS * model.steps_per_day)
        short = function(self.curved) if self.curved else None
        self._second = short and jax.jit(lambda x, v, f: jax.jvp(
            lambda x: _slope(short, x, v, f), (x,), (v,))[1])
        read = arrays_read(jax.make_jaxpr(whole)(self.values, floats))
        self.reads = dict(zip(sorted(self.values), read[: len(self.values)], strict=True))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of targets and of horizons."""
        return len(self.targets), len(self.horizons)

    def recorded(self, values: Mapping[str, Array]) -> tuple[np.ndarray, tuple]:
        """Return the targets and the decisions of a run."""
        result, decisions = self._recorded(dict(values), self._floats)
        return np.asarray(result, float), decisions

    def replayed(self, decisions: tuple, values: Mapping[str, Array]) -> np.ndarray:
        """Return the targets of a run that follows decisions."""
        return np.asarray(self._replayed(decisions, dict(values), self._floats), float)

    def slope(self, along: Mapping[str, Any]) -> np.ndarray:
        """Return the derivative along a direction, by forward mode."""
        return np.asarray(self._forward(self.values, dict(along), self._floats), float)

    def curvature(self, along: Mapping[str, Any]) -> np.ndarray:
        """Return the second derivative along a direction; NaN beyond `CURVATURE_DAYS`."""
        result = np.full(self.shape, np.nan)
        if self._second is not None:
            near = [h in self.curved for h in self.horizons]
            result[:, near] = self._second(self.values, dict(along), self._floats)
        return result

    def gradient(self, target: int, horizon: int) -> dict[str, np.ndarray]:
        """Return the gradient of one target at one horizon, by reverse mode."""
        one = np.zeros(self.shape)
        one[target, horizon] = 1
        dtype = jax.tree.leaves(self.values)[0].dtype
        gradient = self._reverse(self.values, jnp.asarray(one, dtype), self._floats)
        return {name: np.asarray(x) for name, x in gradient.items()}


def _slope(function: Callable, x: Any, v: Any, floats: Any) -> Array:
    return jax.jvp(lambda x: function(x, floats), (x,), (v,))[1]


def _targets(
    run: Any, bound: Sequence[Callable], horizons: Sequence[Horizon], others: Any,
    values: dict[str, Array], floats: Any,
) -> Array:  # fmt: skip
    """Return targets x horizons: each target of the means from the start to the horizon."""
    fields = run(changed(run.model, eqx.combine(floats, others), values))
    means = [{name: jnp.mean(x[: h.steps], axis=0, keepdims=True) for name, x in fields.items()}
             for h in horizons]  # fmt: skip
    return jnp.stack([jnp.stack([target(x) for x in means]) for target in bound])


class _Base(NamedTuple):
    """What all inputs share: the unchanged run."""

    value: np.ndarray
    #: Decisions on the device, and on the host.
    decisions: tuple
    on_host: tuple
    #: Rounding of each target at each horizon.
    noise: np.ndarray
    epsilon: float
    #: Gradients by target and horizon.
    gradients: dict[tuple[int, int], dict[str, np.ndarray]]


def prepare(
    programs: ModelPrograms, directions: Mapping[str, np.ndarray],
    progress: Callable[[str], None] = lambda text: None,
) -> _Base:  # fmt: skip
    """Run the model unchanged, measure its rounding, and compute all gradients.

    Raises
    ------
    FloatingPointError
        If a target is not finite.
    """
    progress("compiling and running the model, recording its switches")
    value, decisions = programs.recorded(programs.values)
    if not np.isfinite(value).all():
        raise FloatingPointError(
            "a target of the unchanged run is not finite: the run is unstable. Shorten the time "
            "step or start from another state")
    epsilon = float(jnp.finfo(jax.tree.leaves(programs.values)[0].dtype).eps)
    progress("measuring rounding")
    scatter = rounding(
        value, lambda h: programs.replayed(decisions, moved(programs.values, dict(directions), h)),
        epsilon)
    noise = np.maximum(NOISE * scatter, epsilon * np.abs(value))
    gradients = {}
    for t, target in enumerate(programs.targets):
        for h, which in enumerate(programs.horizons):
            progress(f"gradient of {target}, {which.name}")
            gradients[t, h] = programs.gradient(t, h)
    return _Base(value, decisions, jax.device_get(decisions), noise, epsilon, gradients)


def certify_input(
    programs: ModelPrograms, base: _Base, name: str, along: Mapping[str, np.ndarray], *,
    tolerance: float, steps: Sequence[float],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the cells of one input, or of one direction in several inputs.

    Parameters
    ----------
    programs, base
        The compiled model, and what `prepare` returned.
    name
        What the cells are called.
    along
        The direction by name of input; names that are missing do not change.
    tolerance
        Largest relative difference that passes.
    steps
        Ladder of multiples of the direction.
    """
    full = {key: np.asarray(along.get(key, np.zeros(x.shape)), x.dtype)
            for key, x in programs.values.items()}  # fmt: skip
    reads = any(programs.reads[key] for key in along)
    slope, curvature = np.zeros(programs.shape), np.full(programs.shape, np.nan)
    if reads:
        slope, curvature = programs.slope(full), programs.curvature(full)
    free, frozen, flips = [], [], []
    for step in steps:
        for sign in (1, -1):
            side = moved(programs.values, full, sign * step)
            value, flipped = base.value, [[] for _ in programs.horizons]
            if reads:
                value, decisions = programs.recorded(side)
                flipped = _flips(base.on_host, jax.device_get(decisions), programs)
            free.append(value)
            frozen.append(programs.replayed(base.decisions, side) if any(flipped) else value)
            flips.append(flipped)
    shape = (len(steps), 2, *programs.shape)
    free, frozen = np.reshape(free, shape), np.reshape(frozen, shape)
    flips = [flips[2 * k : 2 * k + 2] for k in range(len(steps))]
    # step, side, target, horizon
    free, frozen = np.array(free), np.array(frozen)
    cells = []
    for t, target in enumerate(programs.targets):
        for h, which in enumerate(programs.horizons):
            counts = np.array([[sum(x.count for x in side[h]) for side in both] for both in flips])
            terms = np.concatenate([np.ravel(base.gradients[t, h][key] * full[key].astype(float))
                                    for key in along])  # fmt: skip
            forward, bent = float(slope[t, h]), float(curvature[t, h])
            error, mismatch = forward_against_reverse(forward, terms, base.epsilon)
            line = Line(
                np.asarray(steps), float(base.value[t, h]), free[:, 0, t, h], free[:, 1, t, h],
                frozen[:, 0, t, h], frozen[:, 1, t, h], counts[:, 0], counts[:, 1],
                float(base.noise[t, h]), base.epsilon, forward, error,
                None if np.isnan(bent) else bent)
            cell = _cell(line, mismatch, reads, tolerance,
                         [both[0][h] + both[1][h] for both in flips])  # fmt: skip
            cells.append({"input": name, "target": target, "horizon": which.name} | cell)
    return cells


def _flips(here: tuple, there: tuple, programs: ModelPrograms) -> list[list]:
    """Return what flips up to each horizon."""
    longest = max(h.steps for h in programs.horizons)
    result = []
    for which in programs.horizons:
        chosen = [(a, b, d) if d.loops[:1] != (longest,) else (
            a[: which.steps], b[: which.steps],
            dataclasses.replace(d, loops=(which.steps, *d.loops[1:])))
            for a, b, d in zip(here, there, programs.table, strict=True)]  # fmt: skip
        chosen = [x for x in chosen if not np.array_equal(x[0], x[1])]
        first, second, table = zip(*chosen, strict=True) if chosen else ((), (), ())
        result.append(census(first, second, table))
    return result


def _cell(
    line: Line, mismatch: float, reads: bool, tolerance: float, flips: Sequence[list]
) -> dict[str, Any]:
    """Return verdict and numbers of one cell."""
    evidence = weigh(
        line, tolerance=tolerance, adjoint_mismatch=mismatch,
        adjoint_tolerance=max(ADJOINT * tolerance, 1e3 * line.epsilon), reads=reads)
    named: list[str] = []
    if evidence.flip_step is not None:
        at = int(np.argmin(np.abs(line.steps - evidence.flip_step)))
        named = [str(flip) for flip in _without_idle(flips[at], flips[at + 1 :])[:NAMED_FLIPS]]
        evidence = dataclasses.replace(evidence, switch=named[0] if named else "")
    verdict, explanation = classify(evidence)
    left = remainders(line)
    scale = max(abs(evidence.slope), abs(evidence.frozen))
    number = lambda x: float(x) if x is not None and np.isfinite(x) else None  # noqa: E731
    return {
        "verdict": verdict, "explanation": explanation, "ad": number(evidence.slope),
        "fd": number(evidence.difference), "fd_frozen": number(evidence.frozen),
        "error": number(abs(evidence.frozen - evidence.slope) / scale) if scale else 0.0,
        "error_free": number(abs(evidence.difference - evidence.slope) / scale) if scale else 0.0,
        "noise": number(line.noise), "mismatch": number(mismatch),
        "orders": [number(x) for x in left.orders],
        "orders_frozen": [number(x) for x in left.frozen_orders],
        "flips": named, "steps": [float(x) for x in line.steps],
        "r1": [number(x) for x in left.first],
        "r2": None if left.second is None else [number(x) for x in left.second],
    }  # fmt: skip


def _without_idle(found: list[Flip], at_smaller_steps: Sequence[list[Flip]]) -> list[Flip]:
    """Return the flips of a step in the order of time, without ties that flip at every step."""
    idle = {(x.name, x.layer): x.count for smaller in at_smaller_steps for x in smaller}
    active = [x for x in found if x.count > idle.get((x.name, x.layer), 0)]
    return sorted(active or found, key=lambda x: (x.step, -x.count))
