"""The horizon of the model: how long the gradient of a target tells the response of finite runs.

One run whose outputs come at every lead gives the target at all leads at once, and one tangent run
its derivative along a change at all leads; see `jcm_sensitivity.horizon` for what is made of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from jcm.model import Model
from jcm.parameters import descriptions
from jcm.physics import Fields
from jcm.provenance import provenance
from jcm.simulate import Inputs, check_widths, whole_steps
from jcm_sensitivity.changes import (
    bound_targets,
    change_within,
    changed,
    named_values,
    units_of,
)
from jcm_sensitivity.horizon import (
    CONFIDENCE,
    TOLERANCE,
    ResponseRatio,
    check_amplitudes,
    check_tolerance,
    checked_ratio,
    usable_window,
)
from jcm_sensitivity.masks import Where
from jcm_sensitivity.regions import GLOBE
from jcm_sensitivity.runs import Experiment, model_experiment
from jcm_sensitivity.units import displayed

#: Change of amplitude 1 of a field, by its units; of a parameter it is a tenth of the width of its
#: bounds. Chosen here: of the size of an analysis error or a seasonal anomaly.
UNIT_CHANGE = {"K": 1.0, "m s-1": 1.0, "kg kg-1": 1e-3, "Pa": 100.0, "m2 s-2": 100.0,
               "kg m-2": 10.0, "1": 0.1}  # fmt: skip
PARAMETER_CHANGE = 0.1

Progress = Callable[[int, int], None]
Direction = Mapping[str, Array | np.ndarray] | Where | None


def horizon(
    model: Model, inputs: Sequence[Inputs], target: Any, *, wrt: Sequence[str],
    leads: Sequence[float], amplitudes: Sequence[float] = (1.0,), direction: Direction = None,
    gradient_leads: Sequence[float] = (), two_sided: bool = True, tolerance: float = TOLERANCE,
    every: float | None = None, progress: Progress | None = None,
) -> xr.Dataset:  # fmt: skip
    """Compare derivatives with the responses of finite runs, by lead and amplitude.

    Parameters
    ----------
    model
        Structure.
    inputs
        Inputs of several runs, e.g. of `initial_states`.
    target
        Target, or several, of a run that ends at the lead: `mean(..., days=last(1))` is the mean
        over the last day before each lead.
    wrt
        Names of inputs, of `initial_state.STATE_UNITS` too.
    leads
        Days after the start; multiples of the time step.
    amplitudes
        Sizes of the finite changes, as multiples of `direction`.
    direction
        The change of amplitude 1: by name, or a region in which fields change by the amount of
        `UNIT_CHANGE` (1 K for temperatures). Default: on the whole globe.
    gradient_leads
        Leads at which the norm of the full gradient is computed too; each takes one adjoint run
        for each target, input and state.
    two_sided
        Half the difference of runs up and down, without the curvature of the response; False: one
        changed run less the unchanged one.
    tolerance
        See `usable_window`.
    every
        Days between the outputs of the run; default the largest step, at most a day, that meets
        all leads. Targets of shorter periods need smaller ones.
    progress
        Called with the number of states done, and of all.

    Returns
    -------
    xr.Dataset
        `target_value`, `linear_response` (per amplitude), `finite_response` (over its amplitude),
        `ratio`, `usable_window_days` with `_low` and `_high` ends of its confidence interval and
        `_at_least` where all leads are usable, and `gradient_norm`: the largest response to a
        change whose root mean square over the globe, summed over levels and months, is 1.

    Raises
    ------
    ValueError
        If leads, amplitudes, names or the period of the target have no meaning.
    FloatingPointError
        If a run or a derivative is not finite.
    """
    if not inputs:
        raise ValueError("expected the inputs of at least one run, e.g. of initial_states(...)")
    check_tolerance(tolerance)
    sizes = check_amplitudes(amplitudes)
    setup = _setup(model, inputs[0], target, leads, every)
    check_widths(model, inputs[0].parameters)
    picked = setup.indices(gradient_leads)
    names = list(named_values(model, inputs[0], wrt))
    changes = {name: unit_change(model, inputs[0], name, direction) for name in names}
    rows: dict[str, list] = {"value": [], "linear": [], "finite": [], "norm": []}
    for done, each in enumerate(inputs, 1):
        row = [_responses(setup, each, name, changes[name], sizes, two_sided) for name in names]
        rows["value"].append(row[0].value)
        rows["linear"].append([part.linear for part in row])
        rows["finite"].append([part.finite for part in row])
        if picked:
            rows["norm"].append([_norms(setup, each, name, picked) for name in names])
        if progress is not None:
            progress(done, len(inputs))
    return _dataset(
        setup, inputs[0], names, sizes, {key: np.array(x, float) for key, x in rows.items()},
        [setup.leads[i] for i in picked], tolerance)


class _Setup(eqx.Module):
    """A run with outputs at each lead, and the targets made of them."""

    experiment: Experiment
    targets: tuple[Any, ...]
    #: Outputs until each lead.
    outputs: tuple[int, ...] = eqx.field(static=True)
    leads: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, fields: Fields) -> Array:
        """Return the targets of runs that end at each lead; (target, lead)."""
        return jnp.stack([
            jnp.stack([target({name: x[:count] for name, x in fields.items()})
                       for count in self.outputs])
            for target in self.targets])  # fmt: skip

    def run(self, inputs: Inputs) -> Array:
        """Run the model and return the targets at each lead."""
        return self(self.experiment(inputs))

    def indices(self, leads: Sequence[float]) -> list[int]:
        """Return which leads these are."""
        unknown = [x for x in leads if not np.isclose(self.leads, x).any()]
        if unknown:
            raise ValueError(
                f"gradient_leads are some of the leads {', '.join(f'{x:g}' for x in self.leads)}; "
                f"got {unknown[0]:g}")
        return [int(np.argmin(np.abs(np.array(self.leads) - x))) for x in leads]


def _setup(
    model: Model, inputs: Inputs, target: Any, leads: Sequence[float], every: float | None
) -> _Setup:
    several = isinstance(target, list | tuple) and not hasattr(target, "bind")
    targets: tuple[Any, ...] = tuple(target) if several else (target,)
    if not leads or not targets:
        raise ValueError("expected at least one target and one lead in days, e.g. [1, 2, 5]")
    steps = sorted({whole_steps(model, "leads", lead) for lead in leads})
    day = model.steps_per_day
    interval = math.gcd(*steps) if every is None else whole_steps(model, "every", every)
    if every is None and interval % day == 0:
        # Daily, so that targets over the last days before a lead can be made of them.
        interval = day
    if any(count % interval for count in steps):
        raise ValueError(f"the leads {list(leads)} are no multiples of every = {every} days")
    experiment, bound = bound_targets(
        model_experiment(model, days=steps[-1] / day, every=interval / day), targets, inputs)
    return _Setup(
        experiment, bound, tuple(count // interval for count in steps),
        tuple(count / day for count in steps))


def unit_change(model: Model, inputs: Inputs, name: str, direction: Direction) -> Array:
    """Return the change of amplitude 1 of one input, see `horizon`.

    Raises
    ------
    ValueError
        If the direction lacks the input or its change has another shape.
    """
    value = named_values(model, inputs, [name])[name]
    if isinstance(direction, Mapping):
        if name not in direction:
            raise ValueError(f"direction has no change of {name}; it has {', '.join(direction)}")
        change = jnp.asarray(direction[name], value.dtype)
        if change.shape != value.shape:
            raise ValueError(
                f"the change of {name} has shape {change.shape}; expected {value.shape}")
        return change
    if value.ndim == 0:
        known = descriptions(inputs.parameters, "parameters.")
        bounds = known[name].bounds if name in known else (0.0, 1 / PARAMETER_CHANGE)
        return jnp.asarray(PARAMETER_CHANGE * (bounds[1] - bounds[0]), value.dtype)
    region = GLOBE if direction is None else direction
    return UNIT_CHANGE.get(units_of(inputs, name), 1.0) * change_within(
        model, inputs, name, region)


@eqx.filter_jit
def _push(setup: _Setup, inputs: Inputs, name: str, change: Array) -> tuple[Array, Array]:
    """Return targets and their derivatives along a change."""
    model = setup.experiment.model
    return jax.jvp(
        lambda value: setup.run(changed(model, inputs, {name: value})),
        (named_values(model, inputs, [name])[name],), (change,))


@eqx.filter_jit
def _pull(setup: _Setup, inputs: Inputs, name: str, weight: Array) -> Array:
    """Return the gradient of a weighted sum of the targets."""
    model = setup.experiment.model
    return jax.grad(
        lambda value: jnp.sum(weight * setup.run(changed(model, inputs, {name: value})))
    )(named_values(model, inputs, [name])[name])


class _Responses(NamedTuple):
    value: np.ndarray
    linear: np.ndarray
    finite: np.ndarray


def _responses(
    setup: _Setup, inputs: Inputs, name: str, change: Array, sizes: np.ndarray, two_sided: bool
) -> _Responses:
    """Return targets and derivatives (target, lead), finite responses (amplitude first)."""
    model = setup.experiment.model
    here = named_values(model, inputs, [name])[name]

    def run(amplitude: float) -> np.ndarray:
        return np.asarray(setup.run(changed(model, inputs, {name: here + amplitude * change})))

    value, slope = _push(setup, inputs, name, change)
    # Differences only of runs of one and the same program.
    unchanged = None if two_sided else run(0.0)
    finite = [
        (run(a) - run(-a)) / (2 * a) if unchanged is None else (run(a) - unchanged) / a
        for a in sizes]
    return _Responses(np.asarray(value), np.asarray(slope), np.array(finite))


def _norms(setup: _Setup, inputs: Inputs, name: str, picked: list[int]) -> np.ndarray:
    """Return the norms of the gradients of each target at some leads; (target, lead)."""
    grid = setup.experiment.model.grid
    norms = np.zeros((len(setup.targets), len(picked)))
    for i in range(len(setup.targets)):
        for j, lead in enumerate(picked):
            weight = jnp.zeros((len(setup.targets), len(setup.leads))).at[i, lead].set(1.0)
            gradient = np.asarray(_pull(setup, inputs, name, weight), float)
            if gradient.shape[-2:] == grid.shape:
                gradient = gradient / np.sqrt(grid.cell_area / grid.cell_area.sum() / grid.nlon)
            norms[i, j] = np.linalg.norm(gradient)
    return norms


def _dataset(
    setup: _Setup, inputs: Inputs, names: list[str], sizes: np.ndarray,
    rows: dict[str, np.ndarray], gradient_leads: list[float], tolerance: float,
) -> xr.Dataset:  # fmt: skip
    model = setup.experiment.model
    units = [displayed(getattr(target, "units", "1")) for target in setup.targets]
    factor = np.array([x for x, _ in units])
    words = [getattr(target, "description", f"target {i}")
             for i, target in enumerate(setup.targets)]  # fmt: skip
    value = rows["value"] * factor[:, None]
    linear = np.moveaxis(rows["linear"], 0, 1) * factor[:, None]
    # (state, input, amplitude, target, lead) -> (input, state, target, amplitude, lead)
    finite = np.moveaxis(rows["finite"], (1, 3), (0, 2)) * factor[:, None, None]
    ratios, windows = _windows(setup.leads, sizes, linear, finite, tolerance)
    variables: dict[str, Any] = {
        "target_value": (("state", "target", "lead"), value, {"long_name": "target"}),
        "linear_response": (("input", "state", "target", "lead"), linear, {
            "long_name": "derivative of the target along the change of amplitude 1"}),
        "finite_response": (("input", "state", "target", "amplitude", "lead"), finite, {
            "long_name": "response of the target to a finite change over its amplitude"}),
        "ratio": (("input", "state", "target", "amplitude", "lead"), ratios, {
            "long_name": "derivative over finite response", "units": "1"}),
    }  # fmt: skip
    dims = ("input", "target", "amplitude")
    explained = (f"longest lead up to which the median over initial states of |ratio - 1| is at "
                 f"most {tolerance:g}")  # fmt: skip
    for ending, meaning in (("", ""), ("_low", f", low end of the {CONFIDENCE:.0%} interval"),
                            ("_high", f", high end of the {CONFIDENCE:.0%} interval")):
        variables[f"usable_window_days{ending}"] = (dims, windows[ending], {
            "long_name": f"usable window{meaning}", "units": "days", "comment": explained})
    variables["usable_window_days_at_least"] = (dims, windows["_at_least"], {
        "long_name": "whether the longest lead is still usable", "units": "1"})
    if gradient_leads:
        variables["gradient_norm"] = (
            ("input", "state", "target", "gradient_lead"),
            np.moveaxis(rows["norm"], 0, 1) * factor[:, None],
            {"long_name": "largest response to a change of root mean square 1"})
    coordinates: dict[str, Any] = {
        "input": names, "target": words,
        "target_units": ("target", [unit for _, unit in units]),
        "lead": ("lead", np.array(setup.leads), {"long_name": "lead time", "units": "days"}),
        "amplitude": ("amplitude", sizes, {
            "long_name": "size of the change as a multiple of the direction", "units": "1"}),
        "input_units": ("input", [units_of(inputs, name) for name in names]),
    }  # fmt: skip
    if gradient_leads:
        coordinates["gradient_lead"] = ("gradient_lead", gradient_leads, {"units": "days"})
    return xr.Dataset(variables, coords=coordinates, attrs=provenance(model, inputs) | {
        "title": "Usable window of gradients", "tolerance": tolerance})


def _windows(
    leads: tuple[float, ...], sizes: np.ndarray, linear: np.ndarray, finite: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    """Return ratios, and windows (input, target, amplitude) with the ends of their intervals."""
    ratios = np.empty_like(finite)
    shape = (finite.shape[0], finite.shape[2], finite.shape[3])
    windows = {key: np.zeros(shape, bool if key == "_at_least" else float)
               for key in ("", "_low", "_high", "_at_least")}  # fmt: skip
    for i, j in np.ndindex(shape[:2]):
        part: ResponseRatio = checked_ratio(leads, sizes, linear[i, :, j], finite[i, :, j])
        ratios[i, :, j] = part.ratio
        for k, size in enumerate(sizes):
            window = usable_window(part, amplitude=size, tolerance=tolerance)
            windows[""][i, j, k], windows["_at_least"][i, j, k] = window.lead, window.at_least
            windows["_low"][i, j, k], windows["_high"][i, j, k] = window.low, window.high
    return ratios, windows
