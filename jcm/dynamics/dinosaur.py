"""The dynamics of Dinosaur behind the interface of SPEEDY's, to compare with or to replace it.

The primitive equations in sigma coordinates of the library (Durran 2010: Numerical Methods for
Fluid Dynamics, Springer, section 8.6), with one of two of its semi-implicit schemes:

- leapfrog with centred gravity-wave terms, and the time filter of `jcm.dynamics.leapfrog`;
- the Runge-Kutta scheme SIL3 of Whitaker, J. S. and Kar, S. K. (2013): Implicit-explicit
  Runge-Kutta methods for fast-slow wave problems. Mon. Wea. Rev., 141, 3426-3434.

Equations and horizontal basis are SPEEDY's; hydrostatics, vertical advection and adiabatic
heating have other vertical differences, and humidity is advected across every interface.
The tendency by the physics, evaluated at the older time level, is held over the step, all stages
of Runge-Kutta included. Diffusion and drag act after the step, implicitly over its length.

The library runs on the SI scale with the constants of the model. Its log surface pressure is
ln(surface pressure / 1e5 Pa) here: only the gradient acts, and the offset would cost digits.
"""

import dataclasses
import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from dinosaur import scales, time_integration
from dinosaur.coordinate_systems import CoordinateSystem
from dinosaur.primitive_equations import PrimitiveEquationsSigma
from dinosaur.primitive_equations import State as LibraryState
from dinosaur.spherical_harmonic import Grid as LibraryGrid
from dinosaur.units import SimUnits
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jcm.constants import Constants
from jcm.dynamics import Dynamics
from jcm.dynamics.diffusion import diffused
from jcm.dynamics.leapfrog import leapfrog
from jcm.dynamics.speedy import STEP_FACTORS
from jcm.dynamics.vertical_operators import reference_temperature
from jcm.grid import Grid
from jcm.state import Prognostics, Tendency
from jcm.transform import FlatSpectrum, Spectrum, Transform
from jcm.vertical import Levels

#: Spectra of the library: zonal wavenumbers 0, +1, -1, +2, ... (cosine, sine), then l from 0.
Modal = Float[Array, "level order degree"]


class DinosaurDynamics(Dynamics):
    """Structure of the dynamics: grid, levels, integrator; no tunable number."""

    transform: Transform
    grid: Grid = eqx.field(static=True)
    levels: Levels
    constants: Constants = eqx.field(static=True)
    time_step: float = eqx.field(static=True)
    #: Layers of the del^2 diffusion: "all" or "top".
    stratospheric_diffusion: str = eqx.field(static=True)
    #: "leapfrog" or "runge_kutta".
    integrator: str = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        levels: Levels,
        constants: Constants,
        transform: Transform,
        *,
        integrator: str,
        time_step: float,
        stratospheric_diffusion: str,
    ):
        self.grid, self.levels, self.constants = grid, levels, constants
        self.transform = transform
        self.integrator = integrator
        self.time_step = time_step
        self.stratospheric_diffusion = stratospheric_diffusion

    def advance(
        self,
        previous: Prognostics,
        current: Prognostics,
        physics: Tendency,
        surface_geopotential: FlatSpectrum,
        temperature_correction: FlatSpectrum,
        humidity_correction: FlatSpectrum,
        step: Array,
        parameters: Any,
    ) -> tuple[Prognostics, Prognostics]:
        """Return the two time levels after one step; arguments as in `Dynamics`.

        Runge-Kutta knows one time level: it starts from `previous`, at which the physics was
        evaluated, and returns the new state twice. It needs no start-up, so the two start-up
        steps leave `previous` as it is.
        """
        held = to_state(self.physics_spectra(physics))
        equations = self.equations(surface_geopotential)
        damped = functools.partial(
            diffused, previous=previous, temperature_correction=temperature_correction,
            humidity_correction=humidity_correction, parameters=parameters.diffusion,
            transform=self.transform, levels=self.levels, constants=self.constants,
            stratospheric_diffusion=self.stratospheric_diffusion)  # fmt: skip
        dtype = previous.vorticity.dtype
        if self.integrator == "runge_kutta":
            dt = jnp.asarray(self.time_step, dtype)
            tendency = damped(self._runge_kutta(equations, held, previous), dt=dt)
            new = jax.tree.map(
                lambda old, rate: jnp.where(step < 0, old, old + dt * rate), previous, tendency)
            return new, new
        stage = jnp.clip(step + 2, 0, len(STEP_FACTORS) - 1)
        dt = jnp.asarray(np.multiply(STEP_FACTORS, self.time_step), dtype)[stage]
        tendency = damped(self._leapfrog(equations, held, previous, current, stage, dt), dt=dt)
        return leapfrog(previous, current, tendency, dt, step < 0, parameters.filter)

    def _runge_kutta(
        self, equations: PrimitiveEquationsSigma, held: LibraryState, previous: Prognostics
    ) -> Prognostics:
        """Return the mean tendency over one step of SIL3."""
        forced = HeldForcing(equations, held)
        old = to_state(self._anomaly(previous))
        new = time_integration.imex_rk_sil3(forced, self.time_step)(old)
        return self._rate(old, new, self.time_step, previous)

    def _leapfrog(
        self,
        equations: PrimitiveEquationsSigma,
        held: LibraryState,
        previous: Prognostics,
        current: Prognostics,
        stage: Array,
        dt: Float[Array, ""],
    ) -> Prognostics:
        """Return the mean tendency over a leapfrog or a start-up step of length dt."""
        # Gravity waves are centred: half of the step each way.
        implicit_steps = tuple(0.5 * factor * self.time_step for factor in STEP_FACTORS)
        forced = HeldForcing(equations, held, implicit_steps, stage)
        old, middle = (to_state(self._anomaly(x)) for x in (previous, current))
        # The library asks for a float, but its arithmetic takes a traced number as well.
        half: Any = 0.5 * dt
        _, new = time_integration.semi_implicit_leapfrog(forced, half)((old, middle))
        return self._rate(old, new, dt, previous)

    def equations(self, surface_geopotential: Spectrum) -> PrimitiveEquationsSigma:
        """Return the equations of the library over this orography."""
        c = self.constants
        specs: Any = SimUnits(
            radius=c.radius,
            angular_velocity=c.rotation_rate,
            gravity_acceleration=c.gravity,
            ideal_gas_constant=c.gas_constant,
            # Humidity does not act on density: never used.
            water_vapor_gas_constant=math.nan,
            water_vapor_isobaric_heat_capacity=math.nan,
            kappa=c.kappa,
            scale=scales.SI_SCALE,
        )
        return PrimitiveEquationsSigma(
            reference_temperature(self.levels, c),
            to_modal(surface_geopotential / c.gravity)[0],
            library_coordinates(self.grid, self.levels.half, c.radius, jnp.result_type(float)),
            specs,
        )

    def physics_spectra(self, physics: Tendency) -> Prognostics:
        """Return the spectra of the tendency by the physics."""
        secant = jnp.asarray(1 / self.grid.cos_latitude, physics.temperature.dtype)
        fields = jnp.concatenate(
            [physics.eastward_wind * secant, physics.northward_wind * secant,
             physics.temperature, physics.specific_humidity])  # fmt: skip
        spectra = self.transform.analysis(jnp.moveaxis(fields, 0, 1))
        u, v, temperature, humidity = jnp.split(spectra, 4, axis=2)
        vorticity, divergence = self.transform.curl_and_divergence(u, v)
        tendency = Prognostics(
            vorticity, divergence, temperature, humidity, jnp.zeros_like(temperature[:, :, :1]))
        return jax.tree.map(self.transform.truncated, tendency)

    def _anomaly(self, x: Prognostics) -> Prognostics:
        """Subtract the reference temperature, a constant per level."""
        reference = reference_temperature(self.levels, self.constants)
        mean = jnp.asarray(math.sqrt(2) * reference, x.temperature.dtype)
        return eqx.tree_at(
            lambda x: x.temperature, x, x.temperature.at[0, 0, :, 0].add(-mean))

    def _rate(
        self, old: LibraryState, new: LibraryState, dt: Array | float, like: Prognostics
    ) -> Prognostics:
        """Return the rate of change between two states of the library.

        The global means of vorticity and divergence have none, that of ln(p_s) is held.
        """
        rate = from_state(jax.tree.map(lambda a, b: (b - a) / dt, old, new))
        rate = eqx.tree_at(
            lambda x: (x.vorticity, x.divergence, x.log_surface_pressure), rate,
            replace_fn=lambda x: x.at[0, :, :, 0].set(0))  # fmt: skip
        # Where 64-bit numbers are enabled, the tables of the library promote 32-bit ones.
        return jax.tree.map(lambda x, y: x.astype(y.dtype), rate, like)


# ---- the equations of the library, with forcing ------------------------------------------------


@functools.lru_cache(maxsize=8)
def library_coordinates(
    grid: Grid, half_levels: tuple[float, ...], radius: float, precision: DTypeLike
) -> CoordinateSystem:
    """Return grid and levels as the library has them; its tables are made in this precision."""
    del precision  # a key: tables made in 32 bits must not serve 64
    horizontal = LibraryGrid(
        longitude_wavenumbers=grid.truncation + 1,
        total_wavenumbers=grid.truncation + 2,
        longitude_nodes=grid.nlon,
        latitude_nodes=grid.nlat,
        radius=radius,
        basis_as_jax_arrays=True,
    )
    return CoordinateSystem(horizontal, Levels(half_levels).coordinates)


@dataclasses.dataclass(frozen=True)
class HeldForcing(time_integration.ImplicitExplicitODE):
    """The equations of the library with a forcing that is held over the step."""

    equations: PrimitiveEquationsSigma
    forcing: LibraryState
    #: Implicit steps [s] of which `stage` chooses one; without, the integrator's own is taken.
    implicit_steps: tuple[float, ...] = ()
    stage: Array | None = None

    def explicit_terms(self, state: LibraryState) -> LibraryState:
        """Return the tendencies that are stepped explicitly."""
        return jax.tree.map(jnp.add, self.equations.explicit_terms(state), self.forcing)

    def implicit_terms(self, state: LibraryState) -> LibraryState:
        """Return the linear gravity-wave terms."""
        return self.equations.implicit_terms(state)

    def implicit_inverse(self, state: LibraryState, step_size: Any) -> LibraryState:
        """Solve (1 - step_size * implicit_terms) x = state.

        The library inverts matrices for steps it knows as numbers, hence the choice of one.
        """
        if self.stage is None:
            return self.equations.implicit_inverse(state, step_size)
        solvers = [functools.partial(self.equations.implicit_inverse, step_size=step)
                   for step in self.implicit_steps]  # fmt: skip
        return jax.lax.switch(self.stage, solvers, state)


# ---- spectra of the library ----------------------------------------------------------------------


def to_state(x: Prognostics) -> LibraryState:
    """Return the same spectra as the library has them; its temperature is that given."""
    return LibraryState(
        vorticity=to_modal(x.vorticity),
        divergence=to_modal(x.divergence),
        temperature_variation=to_modal(x.temperature),
        log_surface_pressure=to_modal(x.log_surface_pressure),
        tracers={"specific_humidity": to_modal(x.specific_humidity)},
    )


def from_state(state: LibraryState) -> Prognostics:
    """Return the spectra of the library as the model has them; inverse of `to_state`."""
    return Prognostics(
        vorticity=from_modal(state.vorticity),
        divergence=from_modal(state.divergence),
        temperature=from_modal(state.temperature_variation),
        specific_humidity=from_modal(state.tracers["specific_humidity"]),
        log_surface_pressure=from_modal(state.log_surface_pressure),
    )


def to_modal(spectrum: Spectrum) -> Modal:
    """Return coefficients of real orthonormal harmonics with the Condon-Shortley sign.

    With x = a + i b, the coefficient of zonal wavenumber 0 is sqrt(2 pi) a; those of the cosine
    and the sine of m are (-1)^m 2 sqrt(pi) times a and -b.
    """
    orders, _, count, degrees = spectrum.shape
    scaled = jnp.moveaxis(spectrum * jnp.asarray(_scale(orders, degrees), spectrum.dtype), 0, 2)
    # Row m moves m places to the right, n -> l = m + n: rows one longer, read at the old length.
    flat = jnp.pad(scaled, [(0, 0)] * 3 + [(0, 1)]).reshape(2, count, -1)
    by_degree = flat[..., : orders * degrees].reshape(2, count, orders, degrees)
    rows = jnp.moveaxis(by_degree, 0, 2).reshape(count, 2 * orders, degrees)
    return jnp.concatenate([rows[:, :1], rows[:, 2:]], axis=1)  # no sine of m = 0


def from_modal(modal: Modal) -> Spectrum:
    """Return complex coefficients by n = l - m; inverse of `to_modal`."""
    count, rows, degrees = modal.shape
    orders = (rows + 1) // 2
    both = jnp.concatenate([modal[:, :1], jnp.zeros_like(modal[:, :1]), modal[:, 1:]], axis=1)
    by_degree = jnp.moveaxis(both.reshape(count, orders, 2, degrees), 2, 0)
    flat = jnp.pad(by_degree.reshape(2, count, -1), [(0, 0), (0, 0), (0, orders)])
    scaled = flat.reshape(2, count, orders, degrees + 1)[..., :degrees]
    scale = _scale(orders, degrees)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    return jnp.moveaxis(scaled, 2, 0) * jnp.asarray(inverse, modal.dtype)


def _scale(orders: int, degrees: int) -> np.ndarray:
    """Return coefficient of the library over that of the model, 0 where l > T + 1; (m, 2, 1, n)."""
    m, n = np.arange(orders)[:, None], np.arange(degrees)
    size = np.where(m == 0, math.sqrt(2 * math.pi), (-1.0) ** m * 2 * math.sqrt(math.pi))
    size = size * (m + n < degrees)
    return np.stack([size, -size], axis=1)[:, :, None]
