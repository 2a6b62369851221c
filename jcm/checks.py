"""What is checked on the host before a run starts: its numbers."""

from typing import Any

import equinox as eqx
import numpy as np

from jcm.model import Model
from jcm.parameters import descriptions, get, leaf_names
from jcm.simulate import Inputs, check_widths

#: Rounding allowed outside bounds, as a part of the value.
BOUNDS_TOLERANCE = 1e-6
#: What to do about values of the inputs that are not finite.
ADVICE = {
    "forcing": "check the files and the fields that you have set",
    "state": "start from state='rest' or from a spun-up state",
}


def check_parameters(parameters: Any, *, allow_out_of_bounds: bool = False) -> None:
    """Refuse parameters that are not finite or outside their bounds.

    Raises
    ------
    ValueError
        If there are any; the message lists them with their bounds.
    """
    wrong = []
    for name, described in descriptions(parameters, "parameters.").items():
        values = np.asarray(get(parameters, name.removeprefix("parameters.")), dtype=float)
        low, high = described.bounds
        slack = BOUNDS_TOLERANCE * np.abs(values)
        if not np.all(np.isfinite(values)):
            wrong.append(f"{name} = {_text(values)} is not finite")
        elif np.any((values < low - slack) | (values > high + slack)) and not allow_out_of_bounds:
            wrong.append(
                f"{name} = {_text(values)} is outside its bounds {low:g} to {high:g} "
                f"{described.units}")  # fmt: skip
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        advice = "" if allow_out_of_bounds else " (or set allow_out_of_bounds = true)"
        raise ValueError(f"{'; '.join(wrong[:5])}{more}. Choose finite values in bounds{advice}")


def check_inputs(model: Model, inputs: Inputs, *, allow_out_of_bounds: bool = False) -> None:
    """Refuse inputs with which a run cannot succeed.

    Raises
    ------
    ValueError
        If a number is not finite, a parameter is outside its bounds, or the inputs are those of
        another grid.
    """
    layers = inputs.state.current.vorticity.shape[2]
    found = (*inputs.state.surface.sea_temperature.shape, layers)
    forcing = inputs.forcing.land_fraction.shape
    expected = (*model.grid.shape, model.levels.count)
    if found != expected or forcing != model.grid.shape:
        raise ValueError(
            f"{model.name} has (lon, lat, level) = {expected}, but the state {found} and the "
            f"forcing (lon, lat) = {forcing}; make inputs with default_inputs(model)")
    check_parameters(inputs.parameters, allow_out_of_bounds=allow_out_of_bounds)
    check_widths(model, inputs.parameters)
    for part, what in ADVICE.items():
        tree = eqx.filter(getattr(inputs, part), eqx.is_inexact_array_like)
        for name in leaf_names(tree):
            wrong = int(np.sum(~np.isfinite(np.asarray(get(tree, name)))))
            if wrong:
                raise ValueError(f"{part}.{name} has {wrong} values that are not finite; {what}")


def _text(values: np.ndarray) -> str:
    return f"{values:g}" if values.ndim == 0 else np.array2string(values, precision=6, threshold=4)
