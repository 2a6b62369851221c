"""The structure of a model: grid, levels, dynamics, physics, time step. No tunable number.

`simulate(model, inputs)` is a pure function; everything that a person may want to change without
compiling again, or to differentiate, is in the inputs.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from jcm.cache import keep_compiled_programs
from jcm.constants import DAY, EARTH, Constants
from jcm.dynamics import Dynamics, vertical_operators
from jcm.dynamics.speedy import SpeedyDynamics
from jcm.grid import Grid
from jcm.options import Options
from jcm.physics import Physics
from jcm.physics.reference_layers import ReferenceLayers
from jcm.physics.speedy import SpeedyPhysics
from jcm.state import Columns, Prognostics
from jcm.store import store_in_reverse
from jcm.structure import INTEGRATORS, SHORTWAVE_INTERVAL, check_structure
from jcm.surface.coupler import Coupler, Ground
from jcm.transform import Transform
from jcm.vertical import Levels, speedy_levels


class Model(eqx.Module):
    """Structure of a model; made by `build_model`."""

    dynamics: Dynamics
    physics: Physics
    coupler: Coupler
    levels: Levels
    #: Name of the preset from which the options were taken.
    preset: str = eqx.field(static=True)
    options: Options = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    constants: Constants = eqx.field(static=True)
    #: Time step [s], and how many make a day and the interval of shortwave radiation.
    time_step: float = eqx.field(static=True)
    steps_per_day: int = eqx.field(static=True)
    steps_per_shortwave: int = eqx.field(static=True)

    @property
    def transform(self) -> Transform:
        """The spherical-harmonic transform."""
        return self.dynamics.transform

    @property
    def name(self) -> str:
        """Truncation and number of layers, e.g. T31L8."""
        return f"{self.grid.name}L{self.levels.count}"

    def columns(self, state: Prognostics, ground: Ground) -> Columns:
        """Return the atmosphere on the grid, level first."""
        transform, count = self.transform, self.levels.count
        u, v = transform.scaled_wind(state.vorticity, state.divergence)
        fields = transform.synthesis(jnp.concatenate(
            [u, v, state.temperature, state.specific_humidity, state.log_surface_pressure,
             ground.geopotential_spectrum], axis=2))  # fmt: skip
        fields = jnp.moveaxis(fields, 1, 0)
        u, v, t, q, rest = store_in_reverse(
            jnp.split(fields, [count, 2 * count, 3 * count, 4 * count]))
        secant = jnp.asarray(1 / self.grid.cos_latitude, t.dtype)
        return Columns(
            u * secant, v * secant, t, q, self.geopotential(t, rest[1]), jnp.exp(rest[0]))

    def geopotential(self, temperature: jax.Array, surface: jax.Array) -> jax.Array:
        """Return the geopotential on the grid [m2 s-2]; only zonal means are corrected."""
        g = vertical_operators.geopotential_matrix(self.levels, self.constants)
        c = vertical_operators.lapse_rate_correction(self.levels, self.constants)
        matrix = lambda m, x: jnp.einsum("kh,hij->kij", jnp.asarray(m, x.dtype), x)  # noqa: E731
        zonal = jnp.mean(temperature, axis=1, keepdims=True)
        return surface + matrix(g, temperature) + matrix(c, zonal)


def build_model(
    grid: str = "T31L8",
    *,
    preset: str = "speedy",
    physics: str | Callable[..., Physics] = "speedy",
    dynamics: str = "speedy",
    time_step: float | None = None,
    half_levels: tuple[float, ...] | None = None,
    smooth: bool = False,
    constants: Constants = EARTH,
    **options: str,
) -> Model:
    """Assemble a model; programs that are compiled for it are kept, see `jcm.cache`.

    Parameters
    ----------
    grid
        Truncation and SPEEDY layers, e.g. `T31L8`; with `half_levels` only the truncation.
    preset
        `speedy`, the corrected model, or `speedy_f90`, the public code to rounding.
    physics
        `speedy`, `held_suarez`, or a function of the keywords `levels`, `constants`, `options`
        and `smooth` that returns a `Physics`; `jcm.physics.speedy.SpeedyPhysics` is one, and
        `functools.partial` replaces its schemes.
    dynamics
        `speedy`; `dinosaur` for the library's equations with its leapfrog scheme, or
        `dinosaur_rk` with `imex_rk_sil3`.
    time_step
        Seconds; must divide a day. Default: see `jcm.structure.default_time_step`.
    half_levels
        Sigma at the interfaces, from 0 to 1. The physics then sees each column averaged to
        SPEEDY's eight layers.
    smooth
        Compile smooth forms of switches, with widths in `parameters.smooth`; `default_inputs`
        then sets the suggested widths.
    options
        Single options other than the preset has, e.g. `sea="slab"`; see `jcm.options.Options`.

    Raises
    ------
    ValueError
        If a name is unknown or the time step does not divide a day.
    """
    keep_compiled_programs()
    structure = check_structure(
        grid, preset=preset, physics=physics, dynamics=dynamics, time_step=time_step,
        half_levels=half_levels, **options)  # fmt: skip
    horizontal, step, chosen = structure.grid, structure.time_step, structure.options
    levels = Levels(structure.half_levels)
    coupler = Coupler(horizontal, constants, chosen, step, round(DAY / step))
    arguments = {"constants": constants, "options": chosen, "smooth": smooth}
    make_physics = _physics(physics)
    if vertical_operators.is_speedy(levels) or physics == "held_suarez":
        package = make_physics(levels=levels, **arguments)
    else:
        package = ReferenceLayers(make_physics(levels=speedy_levels(), **arguments), levels)
    return Model(
        dynamics=_dynamics(dynamics, horizontal, levels, constants, chosen, step),
        physics=package,
        coupler=coupler,
        levels=levels,
        preset=preset,
        options=chosen,
        grid=horizontal,
        constants=constants,
        time_step=step,
        steps_per_day=round(DAY / step),
        steps_per_shortwave=max(1, round(SHORTWAVE_INTERVAL / step)),
    )


def _physics(physics: str | Callable[..., Physics]) -> Callable[..., Physics]:
    if callable(physics):
        return physics
    if physics == "speedy":
        return SpeedyPhysics
    from jcm.physics.held_suarez import HeldSuarez

    return HeldSuarez


def _dynamics(
    name: str, grid: Grid, levels: Levels, constants: Constants, options: Options, step: float
) -> Dynamics:
    transform = Transform(
        grid, constants.radius, keep_top_zonal=options.top_zonal_coefficient == "kept")
    common = {"time_step": step, "stratospheric_diffusion": options.stratospheric_diffusion}
    if name == "speedy":
        return SpeedyDynamics(grid, levels, constants, transform, **common)
    from jcm.dynamics.dinosaur import DinosaurDynamics

    return DinosaurDynamics(
        grid, levels, constants, transform, integrator=INTEGRATORS[name], **common)
