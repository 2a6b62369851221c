"""Initial states: an atmosphere at rest, or one that a run has left."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jcm import states
from jcm.dynamics import vertical_operators as vertical
from jcm.forcing import Forcing, packaged_forcing
from jcm.model import Model
from jcm.options import PRESET_PARAMETERS
from jcm.parameters import insert
from jcm.physics.smooth import suggested_widths
from jcm.physics.stochastic import first_pattern
from jcm.simulate import Inputs, advance
from jcm.state import Prognostics, State
from jcm.surface.coupler import Ground

#: Temperature of the stratosphere at rest [K], pressure at sea level over the reference pressure.
STRATOSPHERE_TEMPERATURE = 216.0
SEA_LEVEL_PRESSURE = 1.013
#: Relative humidity at the surface, and saturation vapour pressure there over pressure.
RELATIVE_HUMIDITY, VAPOUR_PRESSURE = 0.7, 0.017


def default_inputs(
    model: Model,
    *,
    start: str = "2000-01-01",
    state: str | Path = "spun-up",
    forcing: Forcing | None = None,
    parameters: Any = None,
    dtype: DTypeLike | None = None,
    seed: int = 0,
) -> Inputs:
    """Return reference parameters, packaged boundary conditions and an initial state.

    Parameters
    ----------
    start
        First day of the run, YYYY-MM-DD.
    state
        `spun-up`: the packaged state of the nearest season, for the grids that have one;
        `rest`: an atmosphere at rest, after its two start-up steps; or a file of spectra.
    forcing, parameters
        Others than the packaged and the reference ones.
    dtype
        Working precision; default that of JAX, float32 unless `jax_enable_x64` is set.
    seed
        Seed of the stochastic perturbation, where it is on.

    Raises
    ------
    ValueError
        If the date or the state is unknown, or there is no packaged state or boundary data.
    """
    dtype = jnp.asarray(0.0, dtype).dtype
    if forcing is None:
        forcing = packaged_forcing(
            model.grid, start=start, gravity=model.constants.gravity, dtype=dtype)
    if parameters is None:
        parameters = reference_parameters(model)
    parameters, given = _as_dtype(parameters, dtype), _as_dtype(forcing, dtype)
    if state == "rest":
        return Inputs(parameters, given, state_at_rest(model, parameters, given, seed=seed))
    levels = (_as_dtype(x, dtype) for x in states.load(model, state, given))
    first = start_state(model, parameters, given, *levels, step=0, seed=seed)
    return Inputs(parameters, given, first)


def reference_parameters(model: Model) -> Any:
    """Return the reference values of the preset of a model.

    Where smooth switches are compiled, their widths have the suggested values; 0 makes them exact.
    """
    parameters = model.physics.default_parameters()
    changes = {
        name.removeprefix("parameters."): value
        for name, value in PRESET_PARAMETERS[model.preset].items()
    }
    if hasattr(parameters, "surface_fluxes"):
        parameters = insert(parameters, changes)
    if getattr(model.physics, "smooth", False):
        parameters = eqx.tree_at(
            lambda p: p.smooth, parameters, suggested_widths(parameters.smooth))
    return parameters


def _as_dtype(tree: Any, dtype: DTypeLike) -> Any:
    """Return the tree with its real numbers in another precision."""
    inexact = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.inexact)  # noqa: E731
    return jax.tree.map(lambda x: jnp.asarray(x, dtype if inexact(x) else None), tree)


@eqx.filter_jit
def start_state(
    model: Model,
    parameters: Any,
    forcing: Forcing,
    previous: Prognostics,
    current: Prognostics,
    *,
    step: int,
    seed: int = 0,
) -> State:
    """Return a state with slabs at their climatology and nothing held yet.

    With `step` 0 the two time levels are one time step apart; with -2 they are equal, and two
    start-up steps follow, which do not advance the calendar.
    """
    widths = model.physics.widths(parameters)
    transform, coupler = model.transform, model.coupler
    ground = coupler.ground(forcing, transform, parameters, widths)
    surface = coupler.surface_at_start(ground, parameters, widths)
    zero = jnp.zeros((), jnp.int32)
    shape = (model.levels.count, *model.grid.shape)
    pattern = key = None
    if model.options.stochastic_perturbation == "on":
        key, draw = jax.random.split(jax.random.key(seed))
        pattern = first_pattern(
            draw, model.levels.count, transform, parameters.stochastic, model.time_step)
        pattern = pattern.astype(forcing.land_fraction.dtype)
    return State(
        previous=previous,
        current=current,
        surface=surface,
        daily=coupler.daily(surface, ground, zero, transform, parameters, widths),
        held=model.physics.nothing_held(jnp.zeros(shape, forcing.land_fraction.dtype)),
        pattern=pattern,
        key=key,
        step=zero + step,
    )


@eqx.filter_jit
def state_at_rest(model: Model, parameters: Any, forcing: Forcing, *, seed: int = 0) -> State:
    """Return an atmosphere at rest after its two start-up steps; differentiable."""
    widths = model.physics.widths(parameters)
    ground = model.coupler.ground(forcing, model.transform, parameters, widths)
    rest = rest_prognostics(model, ground)
    state = start_state(model, parameters, forcing, rest, rest, step=-2, seed=seed)
    return start_up(model, parameters, forcing, state)


def start_up(model: Model, parameters: Any, forcing: Forcing, state: State) -> State:
    """Take the two start-up steps, which lead into the leapfrog scheme."""
    widths = model.physics.widths(parameters)
    ground = model.coupler.ground(forcing, model.transform, parameters, widths)
    step = jax.checkpoint(lambda state, _: (advance(model, ground, parameters, state)[0], None))
    return jax.lax.scan(step, state, length=2)[0]


def rest_prognostics(model: Model, ground: Ground) -> Prognostics:
    """Return an atmosphere at rest in hydrostatic balance with a constant lapse rate."""
    transform, levels, c = model.transform, model.levels, model.constants
    phi = ground.geopotential_spectrum
    dtype = phi.dtype
    exponent = vertical.lapse_exponent(c)
    gamma = vertical.REFERENCE_LAPSE_RATE / c.gravity
    t_0 = vertical.REFERENCE_SURFACE_TEMPERATURE
    stratosphere = vertical.stratospheric_layers(levels)
    sigma = levels.centre
    column = lambda values: jnp.asarray(values, dtype)[:, None]  # noqa: E731

    at_surface = -gamma * phi
    at_surface = at_surface.at[0, 0, :, 0].add(t_0 * np.sqrt(2.0))
    above = jnp.zeros_like(phi).at[0, 0, :, 0].set(STRATOSPHERE_TEMPERATURE * np.sqrt(2.0))
    below = np.arange(levels.count) >= stratosphere
    temperature = jnp.where(
        below[:, None], at_surface * column(sigma**exponent), above * column(np.ones(len(sigma))))
    log_pressure = jnp.log(SEA_LEVEL_PRESSURE) + (
        jnp.log1p(-gamma / t_0 * ground.surface_geopotential) / exponent)
    humidity = RELATIVE_HUMIDITY * 0.622 * VAPOUR_PRESSURE * jnp.exp(3 * log_pressure)
    spectra = transform.truncated(
        transform.analysis(jnp.stack([log_pressure, humidity], axis=1).astype(dtype)))
    still = jnp.zeros_like(temperature)
    return Prognostics(
        vorticity=still,
        divergence=still,
        temperature=temperature,
        specific_humidity=spectra[:, :, 1:] * column(np.where(below, sigma**3, 0.0)),
        log_surface_pressure=spectra[:, :, :1],
    )
