"""The initial atmosphere as grid fields: increments of wind, temperature, humidity and pressure.

The state of a run holds spectra, of which nobody can say what a change of one number means. Here
it is changed by fields on the grid, in their own units. The increment is analysed and truncated by
the transform of the model, so only what the truncation resolves reaches the run, and both time
levels of the leapfrog scheme change by the same amount: their difference, the tendency, is kept.
The derivative with respect to `state.air_temperature` is that with respect to such an increment
at 0; the derivative of a part that the truncation removes is 0.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array

from jcm.model import Model
from jcm.simulate import PRECISION, Inputs
from jcm.state import Prognostics
from jcm.transform import FlatSpectrum, Spectrum

EASTWARD, NORTHWARD = "state.eastward_wind", "state.northward_wind"
TEMPERATURE, HUMIDITY = "state.air_temperature", "state.specific_humidity"
PRESSURE = "state.surface_air_pressure"

#: Units of the increments by name.
STATE_UNITS: dict[str, str] = {
    EASTWARD: "m s-1",
    NORTHWARD: "m s-1",
    TEMPERATURE: "K",
    HUMIDITY: "kg kg-1",
    PRESSURE: "Pa",
}


def zero_increments(model: Model, inputs: Inputs, names: Sequence[str]) -> dict[str, Array]:
    """Return increments that change nothing.

    Parameters
    ----------
    model, inputs
        Tell shape and precision.
    names
        Some of `STATE_UNITS`.

    Returns
    -------
    increments
        Zeros by name, (level, lon, lat), surface pressure (lon, lat).

    Raises
    ------
    KeyError
        If a name is unknown.
    """
    dtype = inputs.state.current.temperature.dtype
    return {name: jnp.zeros(_shape(model, name), dtype) for name in names}


@jax.default_matmul_precision(PRECISION)
def add_increments(
    model: Model, inputs: Inputs, increments: Mapping[str, ArrayLike]
) -> Inputs:
    """Return the inputs with the initial atmosphere changed by fields on the grid; differentiable.

    Parameters
    ----------
    model, inputs
        Structure, and the inputs that hold the state.
    increments
        By name, see `STATE_UNITS`: eastward and northward wind [m s-1], air temperature [K],
        specific humidity [kg kg-1], (level, lon, lat), level 0 at the top, and surface air
        pressure [Pa], (lon, lat). Surface pressure changes by the exact change of its logarithm
        at the older time level, which is the level that a run gives out as its state; the mass
        of the atmosphere then changes with it.

    Raises
    ------
    KeyError
        If a name is unknown.
    ValueError
        If an increment has another shape, is not finite, or leaves no positive pressure.
    """
    state = inputs.state
    dtype = state.current.temperature.dtype
    fields = {name: _checked(model, name, value, dtype) for name, value in increments.items()}
    change = _changes(model, inputs, fields)
    previous, current = (
        dataclasses.replace(level, **{key: getattr(level, key) + x for key, x in change.items()})
        for level in (state.previous, state.current))
    return inputs.with_state(dataclasses.replace(state, previous=previous, current=current))


@jax.default_matmul_precision(PRECISION)
def increments_of(model: Model, inputs: Inputs, change: Prognostics) -> dict[str, Array]:
    """Return the increments that make a small change of spectra; linear in the change.

    Parameters
    ----------
    model, inputs
        Structure, and the inputs whose surface pressure the change refers to.
    change
        Spectra of the change.

    Returns
    -------
    increments
        All of `STATE_UNITS`.
    """
    transform = model.transform
    u, v = transform.scaled_wind(change.vorticity, change.divergence)
    fields = jnp.moveaxis(transform.synthesis(jnp.concatenate(
        [u, v, change.temperature, change.specific_humidity, change.log_surface_pressure],
        axis=2)), 1, 0)  # fmt: skip
    u, v, t, q = jnp.split(fields[:-1], 4)
    secant = jnp.asarray(1 / model.grid.cos_latitude, t.dtype)
    return {
        EASTWARD: u * secant, NORTHWARD: v * secant, TEMPERATURE: t, HUMIDITY: q,
        PRESSURE: fields[-1] * surface_pressure(model, inputs)}  # fmt: skip


def _shape(model: Model, name: str) -> tuple[int, ...]:
    if name not in STATE_UNITS:
        raise KeyError(
            f"no gridded initial state is called {name!r}; available: {', '.join(STATE_UNITS)}")
    return model.grid.shape if name == PRESSURE else (model.levels.count, *model.grid.shape)


def _checked(model: Model, name: str, value: Any, dtype: Any) -> Array:
    shape = _shape(model, name)
    if np.shape(value) != shape:
        raise ValueError(
            f"the increment of {name} has shape {np.shape(value)}; expected {shape}, that is "
            f"{'' if name == PRESSURE else 'level, '}lon, lat of {model.name}")
    if not isinstance(value, Tracer) and not np.isfinite(value).all():
        raise ValueError(f"the increment of {name} has values that are not finite")
    return jnp.asarray(value, dtype)


def _changes(
    model: Model, inputs: Inputs, fields: Mapping[str, Array]
) -> dict[str, Spectrum]:
    """Return the change of each spectrum that changes."""
    change = {}
    if EASTWARD in fields or NORTHWARD in fields:
        still = zero_increments(model, inputs, [EASTWARD, NORTHWARD])
        wind = [fields.get(name, still[name]) for name in still]
        change["vorticity"], change["divergence"] = _vorticity_and_divergence(model, *wind)
    if TEMPERATURE in fields:
        change["temperature"] = _analysed(model, fields[TEMPERATURE])
    if HUMIDITY in fields:
        change["specific_humidity"] = _analysed(model, fields[HUMIDITY])
    if PRESSURE in fields:
        change["log_surface_pressure"] = _log_pressure_change(model, inputs, fields[PRESSURE])
    return change


def _analysed(model: Model, field: Array) -> Spectrum:
    """Return the truncated spectra of fields (level, lon, lat)."""
    return model.transform.truncated(model.transform.analysis(jnp.moveaxis(field, 0, 1)))


def _vorticity_and_divergence(
    model: Model, eastward: Array, northward: Array
) -> tuple[Spectrum, Spectrum]:
    transform = model.transform
    secant = jnp.asarray(1 / model.grid.cos_latitude, eastward.dtype)
    wind = jnp.moveaxis(jnp.concatenate([eastward, northward]) * secant, 0, 1)
    a, b = jnp.split(transform.analysis(wind), 2, axis=2)
    curl, divergence = transform.curl_and_divergence(a, b)
    return transform.truncated(curl), transform.truncated(divergence)


def _log_pressure_change(model: Model, inputs: Inputs, increment: Array) -> FlatSpectrum:
    """Return the spectrum of ln((p + increment) / p)."""
    relative = increment / surface_pressure(model, inputs)
    if not isinstance(relative, Tracer) and bool(jnp.any(relative <= -1)):
        raise ValueError(
            f"the increment of {PRESSURE} leaves no positive pressure; the largest decrease is "
            f"{float(-jnp.min(increment)):.0f} Pa. Give a smaller change")
    return _analysed(model, jnp.log1p(relative)[None])


def surface_pressure(model: Model, inputs: Inputs) -> Array:
    """Return the surface pressure of the older time level [Pa]."""
    log = model.transform.synthesis(inputs.state.previous.log_surface_pressure)[:, 0]
    return model.constants.reference_pressure * jnp.exp(log)
