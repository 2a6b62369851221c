"""Held-Suarez forcing: the smallest complete physics, for tests of a dynamical core.

Held, I. M. and Suarez, M. J. (1994): A proposal for the intercomparison of the dynamical cores of
atmospheric general circulation models. Bull. Am. Meteorol. Soc., 75, 1825-1830.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcm.constants import DAY, Constants
from jcm.dynamics.diffusion import DiffusionParameters
from jcm.dynamics.leapfrog import FilterParameters
from jcm.options import Options
from jcm.parameters import parameter
from jcm.physics import Fields, Physics, SurfaceHeat, Surroundings
from jcm.physics.longwave import LongwaveParameters
from jcm.physics.smooth import Widths, exact_widths
from jcm.physics.surface import SurfaceFluxParameters
from jcm.state import Columns, Tendency
from jcm.surface.albedo import AlbedoParameters
from jcm.surface.boundary import BoundaryParameters
from jcm.surface.land import LandParameters
from jcm.surface.sea import SeaParameters
from jcm.vertical import Levels, along_levels

HELD_SUAREZ = "value: Held and Suarez (1994); bounds: chosen here"


class RelaxationParameters(eqx.Module):
    """Newtonian relaxation of temperature and Rayleigh friction."""

    free_time: Float[Array, ""] = parameter(
        40 * DAY, "s", (10 * DAY, 90 * DAY), "relaxation time in the free atmosphere", HELD_SUAREZ)
    surface_time: Float[Array, ""] = parameter(
        4 * DAY, "s", (1 * DAY, 9 * DAY), "relaxation time at the surface on the equator",
        HELD_SUAREZ)
    friction_time: Float[Array, ""] = parameter(
        1 * DAY, "s", (0.5 * DAY, 3 * DAY), "friction time at the surface", HELD_SUAREZ)
    boundary_layer_top: Float[Array, ""] = parameter(
        0.7, "1", (0.5, 0.9), "sigma at the top of the boundary layer", HELD_SUAREZ)
    equator_temperature: Float[Array, ""] = parameter(
        315.0, "K", (300.0, 330.0), "equilibrium temperature at the surface on the equator",
        HELD_SUAREZ)
    stratosphere_temperature: Float[Array, ""] = parameter(
        200.0, "K", (180.0, 220.0), "lowest equilibrium temperature", HELD_SUAREZ)
    meridional_contrast: Float[Array, ""] = parameter(
        60.0, "K", (30.0, 90.0), "equilibrium temperature of the equator over that of the poles",
        HELD_SUAREZ)
    static_stability: Float[Array, ""] = parameter(
        10.0, "K", (0.0, 30.0), "increase of equilibrium potential temperature with height",
        HELD_SUAREZ)


class HeldSuarezParameters(eqx.Module):
    """Tunable numbers of a dry run; those of the surface only place the masks."""

    relaxation: RelaxationParameters = eqx.field(default_factory=RelaxationParameters)
    longwave: LongwaveParameters = eqx.field(default_factory=LongwaveParameters)
    surface_fluxes: SurfaceFluxParameters = eqx.field(default_factory=SurfaceFluxParameters)
    albedo: AlbedoParameters = eqx.field(default_factory=AlbedoParameters)
    boundary: BoundaryParameters = eqx.field(default_factory=BoundaryParameters)
    land: LandParameters = eqx.field(default_factory=LandParameters)
    sea: SeaParameters = eqx.field(default_factory=SeaParameters)
    diffusion: DiffusionParameters = eqx.field(default_factory=DiffusionParameters)
    filter: FilterParameters = eqx.field(default_factory=FilterParameters)
    smooth: Widths = eqx.field(default_factory=Widths)


class HeldSuarez(Physics):
    """Relaxation to a zonally symmetric temperature, and friction near the surface."""

    levels: Levels
    constants: Constants = eqx.field(static=True)
    options: Options = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def default_parameters(self) -> HeldSuarezParameters:
        """Return the reference values."""
        return HeldSuarezParameters()

    def schemes(self) -> list[str]:
        """Return one line per scheme."""
        return ["relaxation: temperature towards equilibrium", "friction: wind near the surface"]

    def widths(self, parameters: HeldSuarezParameters) -> Widths:
        """Return the widths of the surface's switches."""
        return parameters.smooth if self.smooth else exact_widths()

    def nothing_held(self, like: Float[Array, "level *grid"]) -> None:
        """Nothing is kept between calls."""
        return None

    def tendencies(
        self,
        columns: Columns,
        around: Surroundings,
        held: None,
        radiation_due: Bool[Array, ""],
        parameters: HeldSuarezParameters,
    ) -> tuple[Tendency, None, SurfaceHeat, Fields]:
        """Return the tendencies; no heat reaches the surface."""
        p, temperature = parameters.relaxation, columns.temperature
        sigma = along_levels(self.levels.centre, temperature)
        low = jnp.maximum(0, (sigma - p.boundary_layer_top) / (1 - p.boundary_layer_top))
        cosine2 = jnp.square(around.cos_latitude)
        rate = 1 / p.free_time + (1 / p.surface_time - 1 / p.free_time) * low * cosine2**2
        target = equilibrium(
            sigma * columns.surface_pressure, around.sin_latitude, p, self.constants)
        friction = -low / p.friction_time
        nothing = jnp.zeros_like(columns.surface_pressure)
        return (
            Tendency(
                friction * columns.eastward_wind,
                friction * columns.northward_wind,
                -rate * (temperature - target),
                jnp.zeros_like(temperature),
            ),
            None,
            SurfaceHeat(nothing, nothing, nothing, nothing, nothing),
            {"equilibrium_temperature": target},
        )


def equilibrium(
    pressure: Float[Array, "level *grid"],
    sin_latitude: Float[Array, "*#grid"],
    parameters: RelaxationParameters,
    constants: Constants,
) -> Float[Array, "level *grid"]:
    """Return the temperature of radiative equilibrium [K].

    Parameters
    ----------
    pressure
        Pressure over the reference pressure [1].
    sin_latitude
        Sine of latitude [1].
    parameters, constants
        Temperatures, and kappa.
    """
    p, sine2 = parameters, jnp.square(sin_latitude)
    log = jnp.log(pressure)
    potential = (
        p.equator_temperature
        - p.meridional_contrast * sine2
        - p.static_stability * log * (1 - sine2)
    )
    return jnp.maximum(p.stratosphere_temperature, potential * jnp.exp(constants.kappa * log))
