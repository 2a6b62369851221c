"""SPEEDY's discretisation of the primitive equations on Dinosaur's grid and basis.

Vorticity-divergence form in sigma coordinates (Bourke 1974), semi-implicit leapfrog with centred
gravity-wave terms (Robert et al. 1972), energy-conserving vertical differences, diffusion and
filter as in Molteni (2003) and the public code of SPEEDY. Humidity does not act on density.

Non-linear terms are taken at the newest time level, the linear gravity-wave terms, diffusion and
physics at the older, filtered one. The stages of a step are methods, in their order.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.constants import Constants
from jcm.dynamics import Dynamics, vertical_operators
from jcm.dynamics.diffusion import DiffusionParameters, diffused
from jcm.dynamics.leapfrog import leapfrog
from jcm.grid import Grid
from jcm.state import Prognostics, Tendency
from jcm.store import store, store_in_reverse
from jcm.transform import FlatSpectrum, GridField, Spectrum, Transform
from jcm.vertical import Levels

#: Grid fields at the interfaces from top to surface, and fields of one level.
Interfaces = Float[Array, "lon interface lat"]
FlatField = Float[Array, "lon 1 lat"]
#: Factors of the time step in the two start-up steps and in the leapfrog scheme.
STEP_FACTORS = (0.5, 1.0, 2.0)


class DynamicsFields(eqx.Module):
    """The newest time level on the grid; axes (lon, level, lat)."""

    eastward_wind: GridField
    northward_wind: GridField
    absolute_vorticity: GridField
    divergence: GridField
    temperature: GridField
    specific_humidity: GridField
    #: Eastward and northward derivative of ln(surface pressure) [m-1]; (lon, 1, lat).
    pressure_gradient: tuple[FlatField, FlatField]


class SpeedyDynamics(Dynamics):
    """Structure of the dynamics: grid, levels, matrices; no tunable number."""

    transform: Transform
    #: Inverse semi-implicit matrices for the three lengths of step; (3, T + 2, K, K).
    inverse: Float[np.ndarray | Array, "3 degree level level"]
    grid: Grid = eqx.field(static=True)
    levels: Levels
    constants: Constants = eqx.field(static=True)
    time_step: float = eqx.field(static=True)
    #: Layers of the del^2 diffusion: "all" or "top".
    stratospheric_diffusion: str = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        levels: Levels,
        constants: Constants,
        transform: Transform,
        *,
        time_step: float,
        stratospheric_diffusion: str,
    ):
        self.grid, self.levels, self.constants = grid, levels, constants
        self.time_step = time_step
        self.stratospheric_diffusion = stratospheric_diffusion
        self.transform = transform
        # The implicit terms are centred: half of the step each way.
        self.inverse = np.stack([
            vertical_operators.implicit_inverse(
                levels, constants, grid.truncation, 0.5 * factor * time_step)
            for factor in STEP_FACTORS
        ])  # fmt: skip

    # ---- one step -------------------------------------------------------------------------

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
        """Return the two time levels after one step; arguments as in `Dynamics`."""
        stage = jnp.clip(step + 2, 0, 2)
        dt = jnp.asarray(np.multiply(STEP_FACTORS, self.time_step), current.vorticity.dtype)[stage]
        fields = self.grid_fields(current)
        tendency = self.grid_tendency(fields)
        total = add_physics(tendency, physics)
        explicit = self.linear_terms(
            self.spectral_tendency(total, fields), previous, surface_geopotential)
        implicit = self.implicit_correction(explicit, stage, dt)
        final = self.diffused(
            implicit, previous, temperature_correction, humidity_correction, dt,
            parameters.diffusion)
        return leapfrog(previous, current, final, dt, step < 0, parameters.filter)

    # ---- grid-point part, axes (lon, level, lat) -------------------------------------------

    def grid_fields(self, state: Prognostics) -> DynamicsFields:
        """Return the grid fields that the non-linear terms need."""
        transform, levels = self.transform, self.levels.count
        u, v = transform.scaled_wind(state.vorticity, state.divergence)
        px, py = transform.scaled_gradient(state.log_surface_pressure)
        spectra = (u, v, px, py, state.vorticity, state.divergence, state.temperature,
                   state.specific_humidity)  # fmt: skip
        fields = transform.synthesis(jnp.concatenate(spectra, axis=2))
        secant = self._row(1 / self.grid.cos_latitude, fields)
        ends = np.cumsum([levels, levels, 1, 1, levels, levels, levels])
        u, v, px, py, vorticity, divergence, temperature, humidity = store_in_reverse(
            jnp.split(fields, ends, axis=1))
        u, v, px, py = u * secant, v * secant, px * secant, py * secant
        coriolis = self._row(2 * self.constants.rotation_rate * self.grid.sin_latitude, fields)
        return DynamicsFields(
            u, v, vorticity + coriolis, divergence, temperature, humidity, (px, py))

    def interface_velocity(
        self, fields: DynamicsFields
    ) -> tuple[Interfaces, Interfaces, GridField]:
        """Return d(sigma)/dt at the interfaces, its part without divergence, and P.

        P is the advection of ln(surface pressure) by the wind less its vertical mean. Top and
        surface are among the interfaces, with zeros.
        """
        px, py = fields.pressure_gradient
        u, v, d = fields.eastward_wind, fields.northward_wind, fields.divergence
        p = (u - self._mean(u)) * px + (v - self._mean(v)) * py
        flux = _with_ends(vertical_operators.interface_flux_matrix(self.levels))
        without = self._vertical(flux, p)
        return self._vertical(flux, p + (d - self._mean(d))), without, p

    def grid_tendency(self, fields: DynamicsFields) -> dict[str, Array]:
        """Return the explicit tendencies of u, v, T, q and ln(surface pressure) on the grid."""
        c = self.constants
        px, py = fields.pressure_gradient
        u, v, d = fields.eastward_wind, fields.northward_wind, fields.divergence
        t, q, eta = fields.temperature, fields.specific_humidity, fields.absolute_vorticity
        reference = self._reference(t)
        anomaly = t - reference
        velocity, without, p = self.interface_velocity(fields)
        pressure_force = c.gas_constant * anomaly
        kappa_sigma = self._column(c.kappa / (2 * self.levels.centre), t)
        jump = _with_ends(np.diff(vertical_operators.reference_temperature(self.levels, c)))
        # q does not cross the interfaces below the two stratospheric layers.
        below = vertical_operators.stratospheric_layers(self.levels)
        open_ = 1.0 * (np.arange(self.levels.count + 1) > below)
        return {
            "u": v * eta - pressure_force * px + self._advection(velocity, u),
            "v": -u * eta - pressure_force * py + self._advection(velocity, v),
            "t": anomaly * d
            + self._advection(velocity, anomaly)
            - self._layer_mean_flux(without * self._column(jump, t))
            + kappa_sigma * (anomaly * _sum_of_interfaces(velocity)
                             + reference * _sum_of_interfaces(without))
            + c.kappa * (t * p - anomaly * self._mean(d)),
            "q": q * d + self._advection(velocity * self._column(open_, q), q),
            "lnps": -(self._mean(u) * px + self._mean(v) * py),
        }  # fmt: skip

    def _advection(self, velocity: Interfaces, x: GridField) -> GridField:
        """Vertical advection: the mean of both interface fluxes over the layer thickness."""
        difference = _with_ends(np.diff(np.eye(self.levels.count), axis=0))
        return -self._layer_mean_flux(velocity * self._vertical(difference, x))

    def _layer_mean_flux(self, flux: Interfaces) -> GridField:
        return _sum_of_interfaces(flux) * self._column(1 / (2 * self.levels.thickness), flux)

    def _vertical(self, matrix: np.ndarray, x: GridField) -> Array:
        """Multiply the columns by a matrix.

        One small product per longitude: a single large one would transpose the fields.
        """
        each = np.broadcast_to(matrix, (self.grid.nlon, *matrix.shape))
        return jnp.einsum("ikh,ihj->ikj", jnp.asarray(each, x.dtype), x)

    # ---- spectral part, axes (m, re/im, level, n) -------------------------------------------

    def spectral_tendency(
        self, tendency: dict[str, Array], fields: DynamicsFields
    ) -> Prognostics:
        """Return the spectra of the tendencies, transports and kinetic energy included."""
        transform, levels = self.transform, self.levels.count
        u, v = fields.eastward_wind, fields.northward_wind
        anomaly = fields.temperature - self._reference(fields.temperature)
        q = fields.specific_humidity
        secant = self._row(1 / self.grid.cos_latitude, u)
        vectors = [x * secant for x in (
            tendency["u"], u * anomaly, u * q, tendency["v"], v * anomaly, v * q)]
        scalars = [tendency["t"], tendency["q"], 0.5 * (u * u + v * v), tendency["lnps"]]
        spectra = transform.analysis(jnp.concatenate(store([*vectors, *scalars]), axis=1))
        a, b, rest = jnp.split(spectra, [3 * levels, 6 * levels], axis=2)
        curl, divergence = transform.curl_and_divergence(a, b)
        t, q, energy, lnps = jnp.split(rest, [levels, 2 * levels, 3 * levels], axis=2)
        force, heat, moisture = jnp.split(divergence, 3, axis=2)
        return Prognostics(
            vorticity=curl[:, :, :levels],
            divergence=force + transform.laplacian_factor(energy) * energy,
            temperature=t - heat,
            specific_humidity=q - moisture,
            log_surface_pressure=lnps.at[0, :, :, 0].set(0),
        )

    def geopotential(self, temperature: Spectrum, surface_geopotential: FlatSpectrum) -> Spectrum:
        """Return the geopotential [m2 s-2]; only its zonal mean is corrected for the lapse rate."""
        g = vertical_operators.geopotential_matrix(self.levels, self.constants)
        correction = vertical_operators.lapse_rate_correction(self.levels, self.constants)
        phi = surface_geopotential + self._levels_matrix(g, temperature)
        return phi.at[0].add(self._levels_matrix(correction, temperature[:1])[0])

    def linear_terms(
        self, tendency: Prognostics, previous: Prognostics, surface_geopotential: FlatSpectrum
    ) -> Prognostics:
        """Add the gravity-wave terms, evaluated at the older time level."""
        c, levels = self.constants, self.levels
        h = vertical_operators.temperature_matrix(levels, c)
        mean_divergence = self._levels_matrix(levels.thickness[None], previous.divergence)
        t_r = vertical_operators.reference_temperature(levels, c)
        potential = self.geopotential(previous.temperature, surface_geopotential)
        potential += self._level(c.gas_constant * t_r, potential) * previous.log_surface_pressure
        return Prognostics(
            vorticity=tendency.vorticity,
            divergence=tendency.divergence
            + self.transform.laplacian_factor(potential) * potential,
            temperature=tendency.temperature + self._levels_matrix(h, previous.divergence),
            specific_humidity=tendency.specific_humidity,
            log_surface_pressure=(tendency.log_surface_pressure - mean_divergence)
            .at[0, :, :, 0].set(0),
        )  # fmt: skip

    def implicit_correction(
        self, tendency: Prognostics, stage: Array, dt: Float[Array, ""]
    ) -> Prognostics:
        """Replace the explicit by the centred gravity-wave terms."""
        c, levels = self.constants, self.levels
        xi = 0.5 * dt
        t_r = vertical_operators.reference_temperature(levels, c)
        g = vertical_operators.geopotential_matrix(levels, c)
        h = vertical_operators.temperature_matrix(levels, c)
        force = self._levels_matrix(g, tendency.temperature)
        force += self._level(c.gas_constant * t_r, force) * tendency.log_surface_pressure
        right = tendency.divergence + xi * self.transform.laplacian_factor(force) * force
        by_degree = jnp.asarray(self.inverse, right.dtype)[stage]
        degree = np.minimum(self.transform.degree[:, 0, 0], self.grid.truncation + 1)
        divergence = jnp.einsum("mnkh,mchn->mckn", by_degree[degree], right)
        mean = self._levels_matrix(levels.thickness[None], divergence)
        return Prognostics(
            vorticity=tendency.vorticity,
            divergence=divergence,
            temperature=tendency.temperature + xi * self._levels_matrix(h, divergence),
            specific_humidity=tendency.specific_humidity,
            log_surface_pressure=tendency.log_surface_pressure - xi * mean,
        )

    def diffused(
        self,
        tendency: Prognostics,
        previous: Prognostics,
        temperature_correction: FlatSpectrum,
        humidity_correction: FlatSpectrum,
        dt: Float[Array, ""],
        parameters: DiffusionParameters,
    ) -> Prognostics:
        """Add diffusion and drag, and remove what lies beyond the truncation."""
        return diffused(
            tendency, previous, temperature_correction, humidity_correction, dt, parameters,
            transform=self.transform, levels=self.levels, constants=self.constants,
            stratospheric_diffusion=self.stratospheric_diffusion)  # fmt: skip

    # ---- shapes ------------------------------------------------------------------------------

    def _row(self, values: np.ndarray, like: Array) -> Array:
        """One number per latitude."""
        return jnp.asarray(values, like.dtype)

    def _column(self, values: np.ndarray, like: Array) -> Array:
        """One number per level, for axes (lon, level, lat)."""
        return jnp.asarray(values, like.dtype)[:, None]

    _level = _column  # the level axis is the last but one in spectra as well

    def _reference(self, like: Array) -> Array:
        return self._column(
            vertical_operators.reference_temperature(self.levels, self.constants), like)

    def _mean(self, x: GridField) -> FlatField:
        """Vertical mean, kept as one level."""
        return self._vertical(self.levels.thickness[None], x)

    def _levels_matrix(self, matrix: np.ndarray, x: Spectrum) -> Array:
        return jnp.einsum("kh,mchn->mckn", jnp.asarray(matrix, x.dtype), x)


def add_physics(tendency: dict[str, Array], physics: Tendency) -> dict[str, Array]:
    """Add the tendencies by the physics, which come with the level first."""
    names = {"u": "eastward_wind", "v": "northward_wind", "t": "temperature",
             "q": "specific_humidity"}  # fmt: skip
    physics = store(physics)
    added = {key: tendency[key] + jnp.moveaxis(getattr(physics, name), 0, 1)
             for key, name in names.items()}  # fmt: skip
    return tendency | added


def _with_ends(inner: np.ndarray) -> np.ndarray:
    """Add zeros for top and surface to values, or rows, for the inner interfaces."""
    return np.pad(inner, [(1, 1)] + [(0, 0)] * (inner.ndim - 1))


def _sum_of_interfaces(x: Interfaces) -> GridField:
    """Sum the values at both interfaces of each layer."""
    return x[:, 1:] + x[:, :-1]
