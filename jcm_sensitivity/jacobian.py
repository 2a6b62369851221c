"""Derivatives of several targets with respect to several parameters, by the cheaper mode.

Forward mode gives one column of the Jacobian, the derivatives of all targets with respect to one
parameter; reverse mode one row, those of one target with respect to all parameters. Directions are
followed in batches, vectorised, which bounds the memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from jcm.parameters import descriptions
from jcm.simulate import Inputs
from jcm_sensitivity.changes import bound_targets, units_of
from jcm_sensitivity.tangent import Function, as_function, checked_values, refuse_nonfinite
from jcm_sensitivity.units import per

#: Cost of one backward sweep in sweeps of forward mode, where the run itself is shared: value and
#: gradient cost about 3.6 runs of the model, value and tangent 1.9 (`studies/derivative_cost`).
BACKWARD_COST = 2.5
#: Directions that are followed at once, unless told.
BATCH = 8

Mode = Literal["forward", "reverse"]


def jacobian(
    experiment: Function,
    targets: Sequence[Any] | Mapping[str, Any],
    inputs: Inputs,
    *,
    wrt: Sequence[str],
    scaled: Literal["bounds"] | Mapping[str, float] | None = None,
    mode: Mode | None = None,
    batch: int = BATCH,
) -> xr.DataArray:
    """Return the derivatives of several targets with respect to several parameters.

    Forward mode costs about one run per parameter, reverse mode 2.5 per target; without `mode` the
    cheaper is taken: forward if there are at most 2.5 times as many parameters as targets.

    Parameters
    ----------
    experiment, inputs
        As in `response`.
    targets
        Targets, or functions from fields to one number; a mapping gives them names.
    wrt
        Dotted names of inputs that are single numbers, e.g. parameters.
    scaled
        `"bounds"`: derivatives for a change by the distance of the bounds of a parameter, so that
        parameters of different units can be compared. A mapping from all names to widths, e.g. of
        a prior, does so for these. The units are then those of the target.
    mode
        `"forward"` or `"reverse"`, to choose.
    batch
        Directions followed at once; fewer need less memory.

    Returns
    -------
    xr.DataArray
        Axes (target, parameter), with coordinates `units` of each derivative, `value` and
        `target_units` of the targets, `parameter_value` and `parameter_units`.

    Raises
    ------
    KeyError, ValueError, TypeError, FloatingPointError
        As `response`; also if an input is not a single number, or has no bounds where they are
        asked for.
    """
    named = _named(targets)
    if mode not in (None, "forward", "reverse") or batch < 1:
        raise ValueError(
            f"mode is 'forward' or 'reverse' and batch at least 1; got {mode!r} and {batch}")
    values = checked_values(experiment, inputs, wrt)
    for name, value in values.items():
        if value.ndim:
            raise ValueError(
                f"a Jacobian is for single numbers, but {name} has shape {value.shape}; use "
                "sensitivity(...) for fields")
    widths = _widths(inputs, list(values), scaled)
    experiment, functions = bound_targets(experiment, list(named.values()), inputs)
    bound = dict(zip(named, functions, strict=True))
    mode = mode or cheaper_mode(outputs=len(bound), inputs=len(values))
    numbers, derivative = _jacobian(values, experiment, functions, inputs, mode, batch)
    refuse_nonfinite(numbers, "the values of the targets", "the run is unstable")
    refuse_nonfinite(
        derivative, "the Jacobian", "shorten the run, or make the model with smooth switches: "
        "build_model(..., smooth=True)")
    table = np.asarray(derivative) * (1.0 if widths is None else np.array(widths))
    return _labelled(table, bound, np.asarray(numbers), values, inputs, mode, widths)


def cheaper_mode(*, outputs: int, inputs: int) -> Mode:
    """Return the mode that costs less for so many numbers out and in."""
    return "forward" if inputs <= BACKWARD_COST * outputs else "reverse"


@eqx.filter_jit
def _jacobian(
    values: dict[str, Array],
    experiment: Function,
    targets: tuple[Callable, ...],
    inputs: Inputs,
    mode: Mode,
    batch: int,
) -> tuple[Float[Array, "target"], Float[Array, "target parameter"]]:
    names = list(values)

    def numbers(vector):
        fields = as_function(experiment, inputs)(dict(zip(names, vector, strict=True)))
        return jnp.stack([target(fields) for target in targets])

    point = jnp.stack(list(values.values()))
    if mode == "forward":
        columns = jax.lax.map(
            lambda e: jax.jvp(numbers, (point,), (e,))[1], jnp.eye(len(names), dtype=point.dtype),
            batch_size=batch)
        return numbers(point), columns.T
    result, pull = jax.vjp(numbers, point)
    rows = jax.lax.map(
        lambda e: pull(e)[0], jnp.eye(len(targets), dtype=result.dtype), batch_size=batch)
    return result, rows


def _named(targets: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return targets by name: the given one, or the description."""
    if isinstance(targets, Mapping):
        named = dict(targets)
    elif callable(targets) or hasattr(targets, "bind") or isinstance(targets, str):
        raise ValueError(f"targets is a list or a mapping of targets; got {targets!r}")
    else:
        names = [str(getattr(target, "description", f"target {number}"))
                 for number, target in enumerate(targets)]  # fmt: skip
        twice = {name for name in names if names.count(name) > 1}
        named = {
            f"{name} ({number})" if name in twice else name: target
            for number, (name, target) in enumerate(zip(names, targets, strict=True))}
    if not named:
        raise ValueError("there are no targets; expected a list such as [mean('air_temperature')]")
    return named


def _widths(
    inputs: Inputs, names: Sequence[str], scaled: Literal["bounds"] | Mapping[str, float] | None
) -> list[float] | None:
    """Return by how much each parameter counts as changed, None for a unit change."""
    if scaled is None:
        return None
    if isinstance(scaled, Mapping):
        missing = [name for name in names if name not in scaled]
        if missing:
            raise ValueError(f"scaled gives no width of {', '.join(missing)}")
        return [float(scaled[name]) for name in names]
    if scaled != "bounds":
        raise ValueError(f"scaled is 'bounds', a mapping from names to widths, or None: {scaled!r}")
    known = descriptions(getattr(inputs, "parameters", None), "parameters.")
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} has no bounds to scale with; give scaled={{name: width}}")
    return [known[name].bounds[1] - known[name].bounds[0] for name in names]


def _labelled(
    table: np.ndarray,
    targets: Mapping[str, Any],
    numbers: np.ndarray,
    values: Mapping[str, Array],
    inputs: Inputs,
    mode: Mode,
    widths: Sequence[float] | None,
) -> xr.DataArray:
    names = list(values)
    of_targets = [getattr(target, "units", "1") for target in targets.values()]
    of_inputs = [units_of(inputs, name) for name in names]
    units = [[per(top, bottom) if widths is None else top for bottom in of_inputs]
             for top in of_targets]  # fmt: skip
    array = xr.DataArray(
        table, dims=("target", "parameter"), name="jacobian",
        coords={
            "target": list(targets),
            "parameter": names,
            "units": (("target", "parameter"), units),
            "value": ("target", numbers),
            "target_units": ("target", of_targets),
            "parameter_value": ("parameter", [float(x) for x in values.values()]),
            "parameter_units": ("parameter", of_inputs),
        },
        attrs={"long_name": "derivative of targets with respect to parameters", "mode": mode},
    )
    if widths is not None:
        array = array.assign_coords(width=("parameter", list(widths)))
        array.attrs["long_name"] = "derivative of targets times width of parameters"
    return array
