"""The total-energy norm of a small change of the atmosphere.

E = 1/2 [u^2 + v^2 + cp / T_r T^2 + w L^2 / (cp T_r) q^2] + 1/2 R T_r (ln p_s)^2, the mean over the
globe, for all but the last term also over the mass of the column, in J kg-1. Talagrand, O.
(1981): A study of the dynamics of four-dimensional data assimilation. Tellus, 33, 43-60; Buizza,
R. and Palmer, T. N. (1995): The singular-vector structure of the atmospheric global circulation.
J. Atmos. Sci., 52, 1434-1456; the moist term: Ehrendorfer, M., Errico, R. M. and Raeder, K. D.
(1999): Singular-vector growth in a primitive equation model with moist physics. J. Atmos. Sci.,
56, 1627-1648. Mass is that of a column of the reference pressure: d(sigma) in each layer.

A change inside the truncation is a vector of independent real numbers, its spectral coefficients,
and in them the norm is a diagonal matrix: by degree for the wind, one number per variable and
layer for the rest. On the grid it would not be positive definite, because the transform removes
most directions there.
"""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.state import Prognostics
from jcm.transform import Transform

#: Names of the terms of the energy.
TERMS = ("kinetic", "thermal", "surface", "moist")


class EnergyNorm(NamedTuple):
    """Constants of the norm."""

    #: Reference temperature T_r [K], chosen here; Buizza and Palmer (1995) take 300 K.
    reference_temperature: float = 300.0
    #: Weight w of humidity [1]; 0 is the dry norm, which does not see humidity.
    moisture: float = 0.0

    def check(self) -> None:
        """Raise ValueError if this is no norm."""
        if not (0 < self.reference_temperature < np.inf and 0 <= self.moisture < np.inf):
            raise ValueError(
                "the norm needs a reference temperature above 0 K and a weight of humidity of at "
                f"least 0; got {self.reference_temperature} K and {self.moisture}")

    def factors(self, model: Model) -> dict[str, float]:
        """Return the factors of the squares of wind, temperature, ln p_s and humidity."""
        c, t_r = model.constants, self.reference_temperature
        return {
            "kinetic": 1.0,
            "thermal": c.heat_capacity / t_r,
            "surface": c.gas_constant * t_r,
            "moist": self.moisture * c.latent_heat**2 / (c.heat_capacity * t_r),
        }


class Coordinates(eqx.Module):
    """Real numbers x for changes inside the truncation, with energy 1/2 |x|^2.

    Left out are numbers that are no change of the atmosphere: the imaginary parts of zonal means,
    the global means of vorticity and divergence, and the global mean of ln p_s, a change of the
    mass of the atmosphere. Humidity is left out where its weight is 0.
    """

    #: Index of each number in the spectra laid end to end, and the root of its weight.
    index: np.ndarray
    root: np.ndarray
    #: Shapes of the spectra by name.
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)

    def __init__(self, model: Model, norm: EnergyNorm):
        """Count the coefficients and weigh them."""
        norm.check()
        transform, factor = model.transform, norm.factors(model)
        degree = transform.degree
        squared = _mean_square(transform)
        layer = model.levels.thickness[:, None]
        positive = np.maximum(degree * (degree + 1), 1) / transform.radius**2
        wind = np.where(degree > 0, squared / positive, 0)
        weights = {
            "vorticity": wind * layer * factor["kinetic"],
            "divergence": wind * layer * factor["kinetic"],
            "temperature": squared * layer * factor["thermal"],
            "specific_humidity": squared * layer * factor["moist"],
            "log_surface_pressure": np.where(degree > 0, squared, 0) * factor["surface"],
        }
        flat = np.concatenate([x.ravel() for x in weights.values()])
        self.index = np.flatnonzero(flat)
        self.root = np.sqrt(flat[self.index])
        self.shapes = tuple((name, x.shape) for name, x in weights.items())

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.index)

    def change(self, x: Float[Array, "size"]) -> Prognostics:
        """Return the spectra of a change."""
        sizes = [int(np.prod(shape)) for _, shape in self.shapes]
        scaled = x / jnp.asarray(self.root, x.dtype)
        flat = jnp.zeros(sum(sizes), x.dtype).at[self.index].set(scaled)
        parts = jnp.split(flat, np.cumsum(sizes)[:-1])
        return Prognostics(**{
            name: part.reshape(shape) for (name, shape), part in zip(
                self.shapes, parts, strict=True)})  # fmt: skip

    def coordinates(self, change: Prognostics) -> Float[Array, "size"]:
        """Return the coordinates of a change; what they leave out is lost."""
        flat = jnp.concatenate([getattr(change, name).ravel() for name, _ in self.shapes])
        return flat[self.index] * jnp.asarray(self.root, flat.dtype)


def _mean_square(transform: Transform) -> np.ndarray:
    """Return how much the square of each coefficient adds to the mean square on the sphere.

    With Legendre functions of unit norm, c_0 = 1 and c_m = 2 (`jcm.transform`), a zonal
    coefficient counts 1/2 and both parts of all others count 1.
    """
    weight = np.ones((transform.truncation + 1, 2, 1, transform.truncation + 2))
    weight[0, 0], weight[0, 1] = 0.5, 0.0
    return np.where(transform.degree <= transform.truncation, weight, 0.0)


def grid_root(
    model: Model, norm: EnergyNorm, mask: Float[np.ndarray, "lon lat"] | None = None
) -> dict[str, np.ndarray]:
    """Return the roots of the weights of the squares of grid fields, whose sum is 2 E.

    Parameters
    ----------
    mask
        Part of each cell that counts; default all. The energy stays a mean over the globe.

    Returns
    -------
    roots
        For the terms kinetic, thermal and moist (level, lon, lat), for surface (lon, lat).
    """
    grid = model.grid
    area = np.broadcast_to(grid.quadrature_weight / (2 * grid.nlon), grid.shape)
    area = area if mask is None else area * mask
    mass = model.levels.thickness[:, None, None] * area
    return {
        name: np.sqrt(factor * (area if name == "surface" else mass))
        for name, factor in norm.factors(model).items()}


def field_weights(
    model: Model, norm: EnergyNorm, mask: Float[np.ndarray, "lon lat"] | None = None
) -> Float[np.ndarray, "field lon lat"]:
    """Return the roots of the weights of all grid fields in the order of `weighted_fields`."""
    root = grid_root(model, norm, mask)
    parts = [root["kinetic"], root["kinetic"], root["thermal"], root["surface"][None]]
    return np.concatenate([*parts, root["moist"]] if norm.moisture else parts)


def weighted_fields(
    model: Model,
    change: Prognostics,
    weights: Float[Array, "field lon lat"] | Float[np.ndarray, "field lon lat"],
) -> Float[Array, "number"]:
    """Return a vector y, linear in the change of the spectra, with energy 1/2 |y|^2.

    The weights are those of `field_weights`. The quadrature of the Gaussian grid is exact for
    squares of fields inside the truncation.
    """
    transform, count = model.transform, model.levels.count
    u, v = transform.scaled_wind(change.vorticity, change.divergence)
    fields = [u, v, change.temperature, change.log_surface_pressure]
    if len(weights) > 3 * count + 1:
        fields.append(change.specific_humidity)
    grid = jnp.moveaxis(transform.synthesis(jnp.concatenate(fields, axis=2)), 1, 0)
    secant = jnp.asarray(1 / model.grid.cos_latitude, grid.dtype)
    grid = jnp.concatenate([grid[: 2 * count] * secant, grid[2 * count :]])
    return (grid * jnp.asarray(weights, grid.dtype)).ravel()


def grid_energy(
    model: Model,
    norm: EnergyNorm,
    change: Mapping[str, np.ndarray],
    surface_pressure: np.ndarray,
    mask: Float[np.ndarray, "lon lat"] | None = None,
) -> dict[str, np.ndarray]:
    """Return the energy of changes on the grid by term and layer [J kg-1].

    Parameters
    ----------
    change
        `eastward_wind`, `northward_wind`, `air_temperature`, `surface_air_pressure` and, where it
        has a weight, `specific_humidity`; (..., level, lon, lat) and (..., lon, lat).
    surface_pressure
        Pressure to which the change of pressure refers [Pa]; (..., lon, lat).

    Returns
    -------
    energy
        Kinetic, thermal and moist energy (..., level), whose sum over layers is that of the
        column, and the surface term (...); moist only where humidity has a weight.
    """
    root = grid_root(model, norm, mask)
    half = lambda term, x: 0.5 * np.sum((root[term] * x) ** 2, axis=(-2, -1))  # noqa: E731
    energy = {
        "kinetic": half("kinetic", change["eastward_wind"])
        + half("kinetic", change["northward_wind"]),
        "thermal": half("thermal", change["air_temperature"]),
        "surface": half("surface", change["surface_air_pressure"] / surface_pressure),
    }
    if norm.moisture:
        energy["moist"] = half("moist", change["specific_humidity"])
    return energy
