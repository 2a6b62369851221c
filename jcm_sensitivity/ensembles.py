"""Gradients of many initial states in one program, and what is significant in them.

The gradient of a short run depends on the weather in which it starts. A mean over initial states
is an answer about the climate of the region and season, if it stands out of the spread between
the states. Where it does is decided by a t-test in each cell, with control of the false discovery
rate over all cells of a map:

Wilks, D. S. (2016): "The stippling shows statistically significant grid points". Bull. Am.
Meteorol. Soc., 97, 2263-2273.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from jcm.model import Model
from jcm.provenance import package_version
from jcm.results import cached, identify, locked
from jcm.simulate import Inputs, simulate, whole_steps
from jcm_sensitivity.adjoint import Sensitivity
from jcm_sensitivity.changes import bound_targets, changed, named_values, units_of
from jcm_sensitivity.maps import to_map
from jcm_sensitivity.units import per

#: Level of the control of the false discovery rate. Wilks (2016): with the spatial correlation of
#: atmospheric fields this is a global level of about half of it, 0.05.
SIGNIFICANCE = 0.1
#: Called with the number of members that are done, and of all.
Progress = Callable[[int, int], None]


def initial_states(
    model: Model, inputs: Inputs, count: int, spacing_days: float
) -> list[Inputs]:
    """Return inputs that start from states along a run, each from its own date.

    The date of each state moves into the start date, so that states a whole number of days apart
    share the number of their step: in one program for many members the switches of the calendar
    then stay switches.

    Parameters
    ----------
    model, inputs
        Structure, and the inputs of the run; its first state is the first that is returned.
    count
        Number of states.
    spacing_days
        Days between them. States less than about 5 days apart are not independent, and the
        standard errors of means over them are too small.

    Raises
    ------
    ValueError
        If the count or the spacing is not positive.
    FloatingPointError
        If the run becomes unstable.
    """
    if count < 1 or count != int(count):
        raise ValueError(f"count is a positive number of initial states; got {count}")
    whole_steps(model, "spacing_days", spacing_days)
    members = [inputs]
    for _ in range(int(count) - 1):
        last = members[-1]
        state, _ = simulate(model, last, days=spacing_days, observe=())
        if not bool(jnp.isfinite(state.current.temperature).all()):
            raise FloatingPointError(
                f"the run became unstable before initial state {len(members) + 1} of {count}; "
                "shorten the time step or start from another state")
        members.append(_with_date(model, last.with_state(state)))
    return members


def _with_date(model: Model, inputs: Inputs) -> Inputs:
    """Return the same inputs with the whole days of the run moved into the start date."""
    if model.options.anomaly_schedule == "start_year" and (
            inputs.forcing.sea_surface_temperature_anomaly is not None):
        # This schedule counts from the year of the start date.
        return inputs
    days = jnp.maximum(inputs.state.step, 0) // model.steps_per_day
    start = inputs.forcing.start_day
    return eqx.tree_at(
        lambda x: (x.forcing.start_day, x.state.step), inputs,
        ((start + days).astype(start.dtype),
         (inputs.state.step - days * model.steps_per_day).astype(inputs.state.step.dtype)))


class Members(eqx.Module):
    """Inputs of several runs: what differs between them has a leading axis, the rest is shared."""

    varying: Any
    shared: Any
    count: int = eqx.field(static=True)

    def member(self, index: int) -> Inputs:
        """Return the inputs of one run."""
        return eqx.combine(jax.tree.map(lambda x: x[index], self.varying), self.shared)


def stack_members(members: Sequence[Inputs]) -> Members:
    """Return the inputs of several runs as arguments of one program.

    Raises
    ------
    ValueError
        If there are none, or they differ in structure or shapes.
    """
    if not members:
        raise ValueError("expected the inputs of at least one run, e.g. of initial_states(...)")
    form = jax.tree.structure(members[0])
    if any(jax.tree.structure(other) != form for other in members[1:]):
        raise ValueError(
            "the members have different structure (one has anomalies, soil layers or a stochastic "
            "pattern that another lacks); make all of them with the same model and forcing")
    leaves = list(zip(*(jax.tree.leaves(member) for member in members), strict=True))
    for several in leaves:
        shapes = {(np.shape(x), jnp.result_type(x)) for x in several}
        if len(shapes) > 1:
            raise ValueError(
                "the members have different shapes or types: "
                f"{', '.join(sorted(map(str, shapes)))}; use one grid and one precision")
    differ = [any(not _same(several[0], x) for x in several[1:]) for several in leaves]
    pairs = list(zip(leaves, differ, strict=True))
    varying = [jnp.stack(several) if differs else None for several, differs in pairs]
    shared = [None if differs else several[0] for several, differs in pairs]
    return Members(
        jax.tree.unflatten(form, varying), jax.tree.unflatten(form, shared), len(members))


def _same(one: Any, other: Any) -> bool:
    return one is other or np.array_equal(_numbers(one), _numbers(other), equal_nan=True)


def _numbers(leaf: Any) -> np.ndarray:
    """Return a leaf as numbers; keys of random numbers as their data."""
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    values = np.asarray(leaf)
    return values.astype(float) if values.dtype == bool else values


class EnsembleSensitivity(eqx.Module):
    """Values of a target and its gradients in several runs; leading axis: members."""

    #: Value of the target, in `target_units`.
    value: Float[Array | np.ndarray, " member"]
    #: Derivatives with respect to each number of the named inputs.
    gradient: dict[str, Array | np.ndarray]
    units: dict[str, str] = eqx.field(static=True)
    input_units: dict[str, str] = eqx.field(static=True)
    target_units: str = eqx.field(static=True)
    target: str = eqx.field(static=True)

    @property
    def count(self) -> int:
        """Number of members."""
        return len(self.value)

    def member(self, index: int) -> Sensitivity:
        """Return value and gradient of one member."""
        return Sensitivity(
            jnp.asarray(self.value[index]),
            {name: jnp.asarray(x[index]) for name, x in self.gradient.items()},
            self.units, self.input_units, self.target_units, self.target)  # fmt: skip

    def mean(self) -> dict[str, np.ndarray]:
        """Return the mean gradient over the members."""
        return {name: np.mean(x, axis=0) for name, x in self.gradient.items()}

    def standard_error(self) -> dict[str, np.ndarray]:
        """Return the standard error of the mean gradient, for independent members."""
        return {name: np.std(x, axis=0, ddof=1) / np.sqrt(self.count)
                for name, x in self.gradient.items()}  # fmt: skip


def ensemble_sensitivity(
    experiment: Callable, target: Any, members: Sequence[Inputs] | Members, *,
    wrt: Sequence[str], batch: int | None = None, store: str | Path | None = None,
    progress: Progress | None = None,
) -> EnsembleSensitivity:  # fmt: skip
    """Return the value and the gradient of a target for each of several runs.

    Parameters
    ----------
    experiment, target, wrt
        As for `sensitivity`.
    members
        Inputs of the runs, e.g. of `initial_states`, or what `stack_members` returns.
    batch
        How many members one program computes at once; default all. Memory grows with it.
    store
        Folder for the batches that are done; a computation that was interrupted goes on there.
    progress
        Called with the number of members done, and of all, after each batch.

    Raises
    ------
    ValueError
        If the members do not fit together, the batch is not positive, or the store belongs to
        another computation.
    RuntimeError
        If another process is at work in the store.
    FloatingPointError
        If a target or a derivative is not finite.
    """
    stacked = members if isinstance(members, Members) else stack_members(members)
    size = stacked.count if batch is None else batch
    if size < 1 or size != int(size):
        raise ValueError(f"batch is a positive number of members; got {batch}")
    size = min(int(size), stacked.count)
    first = stacked.member(0)
    experiment, (bound,) = bound_targets(experiment, [target], first)
    model = getattr(experiment, "model", None)
    names = tuple(named_values(model, first, wrt))
    parts = []
    with locked(None if store is None else Path(store)):
        belongs = {} if store is None else identify(
            version=package_version(), experiment=experiment, target=bound, members=stacked,
            wrt=names, batch=size)
        for start in range(0, stacked.count, size):
            path = None if store is None else Path(store) / f"gradients_{start:05d}.npz"
            # The last batch is filled up with its last member: one program serves all.
            chosen = np.minimum(np.arange(start, start + size), stacked.count - 1)
            parts.append(
                cached(path, partial(_batch, experiment, bound, stacked, names, chosen), belongs))
            if progress is not None:
                progress(min(start + size, stacked.count), stacked.count)
    joined = {key: np.concatenate([part[key] for part in parts])[: stacked.count]
              for key in parts[0]}  # fmt: skip
    value = joined.pop("value")
    _refuse_not_finite(value, joined)
    units = getattr(bound, "units", "1")
    known = {name: units_of(first, name) for name in names}
    return EnsembleSensitivity(
        value, {name: joined[name] for name in names},
        {name: per(units, unit) for name, unit in known.items()}, known, units,
        getattr(bound, "description", "target"))  # fmt: skip


def _batch(
    experiment: Callable, target: Callable, members: Members, names: tuple[str, ...],
    chosen: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return values and gradients of some members."""
    varying = jax.tree.map(lambda x: x[chosen], members.varying)
    value, gradient = _values_and_gradients(
        varying, members.shared, experiment, target, names, len(chosen))
    return {"value": np.asarray(value)} | {key: np.asarray(x) for key, x in gradient.items()}


@eqx.filter_jit
def _values_and_gradients(
    varying: Any, shared: Any, experiment: Callable, target: Callable, names: tuple[str, ...],
    count: int,
) -> tuple[Array, dict[str, Array]]:  # fmt: skip
    model = getattr(experiment, "model", None)

    def one(varying: Any) -> tuple[Array, dict[str, Array]]:
        inputs = eqx.combine(varying, shared)
        return jax.value_and_grad(
            lambda values: target(experiment(changed(model, inputs, values)))
        )(named_values(model, inputs, names))

    if count == 1:
        # A single member keeps its branches; side by side all branches are computed.
        result = one(jax.tree.map(lambda x: x[0], varying))
        return jax.tree.map(lambda x: x[None], result)
    # The size is told because members may have no difference to map over.
    return jax.vmap(one, axis_size=count)(varying)


def _refuse_not_finite(value: np.ndarray, gradient: dict[str, np.ndarray]) -> None:
    bad = np.flatnonzero(~np.isfinite(value))
    if bad.size:
        raise FloatingPointError(
            f"the target is not finite for {bad.size} of {value.size} members, first for member "
            f"{bad[0]}: its run is unstable. Shorten the time step or leave the member out")
    for name, x in gradient.items():
        bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
        if bad.size:
            raise FloatingPointError(
                f"derivatives with respect to {name} are not finite for {bad.size} of "
                f"{value.size} members, first for member {bad[0]}. Shorten the run, or make the "
                "model with smooth switches: build_model(..., smooth=True)")


def significant(
    mean: np.ndarray, standard_error: np.ndarray, count: int, *, level: float = SIGNIFICANCE
) -> np.ndarray:
    """Return where a mean differs from 0, with control of the false discovery rate.

    Two-sided t-test with count - 1 degrees of freedom in each cell, then the procedure of
    Benjamini and Hochberg (1995) over all cells, as Wilks (2016) recommends for maps: of the cells
    marked, at most the part `level` is expected to be marked by chance. Cells where the mean is
    exactly 0 cannot be found significant and are not counted.

    Raises
    ------
    ValueError
        If there are fewer than two members or the level is not between 0 and 1.
    """
    if count < 2:
        raise ValueError(f"significance needs at least two members; got {count}")
    if not 0 < level < 1:
        raise ValueError(f"the level of significance is between 0 and 1; got {level}")
    tested = np.asarray(mean) != 0
    found = np.zeros(np.shape(mean), bool)
    if tested.any():
        with np.errstate(divide="ignore"):
            score = np.abs(mean[tested]) / standard_error[tested]
        chance = 2 * student.sf(score, count - 1)
        found[tested] = false_discovery_control(chance, method="bh") <= level
    return found


def ensemble_map(
    model: Model, ensemble: EnsembleSensitivity, *, inputs: Inputs | None = None,
    level: float = SIGNIFICANCE,
) -> xr.Dataset:  # fmt: skip
    """Return mean, spread and significance of the gradients as maps per unit area.

    Parameters
    ----------
    model, inputs
        As for `to_map`.
    ensemble
        Result of `ensemble_sensitivity`.
    level
        Level of the control of the false discovery rate, see `significant`.

    Returns
    -------
    xr.Dataset
        For each map NAME of `to_map`: `NAME_mean`, `NAME_spread` (standard deviation between
        members), `NAME_standard_error`, `NAME_signal_to_noise` (size of the mean over the
        spread) and `NAME_significant` (1 or 0).

    Raises
    ------
    ValueError
        As `to_map` and `significant`.
    """
    maps = [to_map(model, ensemble.member(i), inputs=inputs) for i in range(ensemble.count)]
    first, result = maps[0], {}
    for name, field in first.data_vars.items():
        values = np.stack([each[name].values for each in maps])
        mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
        error = spread / np.sqrt(ensemble.count)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(mean == 0, 0.0, np.abs(mean) / spread)
        marked = significant(np.atleast_1d(mean), np.atleast_1d(error), ensemble.count, level=level)
        words, units = field.attrs.get("long_name", name), field.attrs.get("units", "1")
        test = (f"two-sided t-test, {ensemble.count} members, false discovery rate {level:g} "
                "(Wilks, 2016)")  # fmt: skip
        for ending, data, meaning, unit in (
            ("mean", mean, "mean of", units),
            ("spread", spread, "standard deviation between members of", units),
            ("standard_error", error, "standard error of the mean of", units),
            ("signal_to_noise", ratio, "mean over standard deviation between members of", "1"),
            ("significant", marked.reshape(mean.shape).astype(np.int8), "significance of", "1"),
        ):
            attributes = field.attrs | {"long_name": f"{meaning} {words}", "units": unit}
            if ending == "significant":
                attributes |= {"flag_values": np.array([0, 1], np.int8),
                               "flag_meanings": "not_significant significant", "comment": test}
            result[f"{name}_{ending}"] = (field.dims, data, attributes)
    return xr.Dataset(
        result, coords=first.coords, attrs=first.attrs | {"members": ensemble.count})
