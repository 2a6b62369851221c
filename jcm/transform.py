"""Spherical-harmonic transform of many fields at once, and derivatives of spectra.

A field is f(lon, mu) = Re sum_{m=0}^{T} c_m sum_l x_ml P_ml(mu) exp(i m lon), c_0 = 1, c_m = 2,
mu = sin(latitude), with Legendre functions of unit norm on [-1, 1] and positive sign, so the
global mean is x_00 / sqrt(2). The basis is Dinosaur's, without its Condon-Shortley sign.

Spectra have axes (m, re/im, field, n) with l = m + n; grid fields (lon, field, lat). With m first
the Legendre sums are a batched matrix product whose result is, without any transpose, an operand
of the Fourier product. One degree beyond the truncation, l = T + 1, is carried, so that
derivatives of l = T are exact; whoever steps a tendency removes it with `truncated`.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from dinosaur.associated_legendre import evaluate
from jaxtyping import Array, Float

from jcm.grid import Grid

Spectrum = Float[Array, "m 2 field n"]
#: The spectrum of one field.
FlatSpectrum = Float[Array, "m 2 1 n"]
GridField = Float[Array, "lon field lat"]


class Transform(eqx.Module):
    """Tables of the transform of one grid, in float64; they take the dtype of the fields."""

    legendre: Float[np.ndarray | Array, "m n lat"]
    weighted_legendre: Float[np.ndarray | Array, "m n lat"]
    fourier: Float[np.ndarray | Array, "lon m 2"]
    inverse_fourier: Float[np.ndarray | Array, "lon m 2"]
    #: epsilon_l^m of the recurrence in l, at l and at l + 1.
    epsilon: Float[np.ndarray | Array, "m n"]
    epsilon_next: Float[np.ndarray | Array, "m n"]
    radius: float = eqx.field(static=True)
    truncation: int = eqx.field(static=True)

    def __init__(self, grid: Grid, radius: float, *, keep_top_zonal: bool = True):
        """Make the tables.

        Parameters
        ----------
        grid
            Nodes and truncation.
        radius
            Radius of the sphere [m].
        keep_top_zonal
            If False, analysis leaves out the coefficient (m = 0, l = T + 1), as the public code
            of SPEEDY does.
        """
        t = grid.truncation
        m, n = np.arange(t + 1), np.arange(t + 2)
        total = m[:, None] + n
        inside = total <= t + 1
        # Dinosaur returns (m, lat, l) with l from 0; here n = l - m is the index.
        by_degree = evaluate(t + 1, 2 * t + 3, grid.sin_latitude)
        table = np.stack([by_degree[k, :, k : k + t + 2].T for k in m])
        table *= ((-1.0) ** m)[:, None, None] * inside[..., None]
        analysis = table * grid.quadrature_weight
        if not keep_top_zonal:
            analysis[0, t + 1] = 0
        angle = np.deg2rad(grid.longitude)[:, None] * m
        factor = np.where(m == 0, 1.0, 2.0)
        self.legendre = table
        self.weighted_legendre = analysis
        self.fourier = np.stack([factor * np.cos(angle), -factor * np.sin(angle)], -1)
        self.inverse_fourier = np.stack([np.cos(angle), -np.sin(angle)], -1) / grid.nlon
        self.epsilon = _epsilon(m[:, None], total) * inside
        self.epsilon_next = _epsilon(m[:, None], total + 1) * (total <= t)
        self.radius = radius
        self.truncation = t

    @property
    def order(self) -> np.ndarray:
        """Zonal wavenumber m; shape (m, 1, 1, 1)."""
        return np.arange(self.truncation + 1)[:, None, None, None]

    @property
    def degree(self) -> np.ndarray:
        """Total wavenumber l; shape (m, 1, 1, n)."""
        return self.order + np.arange(self.truncation + 2)

    def synthesis(self, spectrum: Spectrum) -> GridField:
        """Return the fields with these spectra."""
        dtype = spectrum.dtype
        zonal = jnp.einsum("mcfn,mnj->mcfj", spectrum, jnp.asarray(self.legendre, dtype))
        return jnp.einsum("imc,mcfj->ifj", jnp.asarray(self.fourier, dtype), zonal)

    def analysis(self, field: GridField) -> Spectrum:
        """Return the spectra of these fields, for l up to T + 1."""
        dtype = field.dtype
        zonal = jnp.einsum("imc,ifj->mcfj", jnp.asarray(self.inverse_fourier, dtype), field)
        return jnp.einsum("mcfj,mnj->mcfn", zonal, jnp.asarray(self.weighted_legendre, dtype))

    def truncated(self, spectrum: Spectrum) -> Spectrum:
        """Remove what lies beyond the truncation, l > T."""
        return jnp.where(self.degree <= self.truncation, spectrum, 0)

    def laplacian_factor(self, like: Spectrum) -> Float[Array, "m 1 1 n"]:
        """Return l (l + 1) / radius^2, by which a spectrum is multiplied for -laplacian [m-2]."""
        return jnp.asarray(self.degree * (self.degree + 1) / self.radius**2, like.dtype)

    def scaled_gradient(self, x: Spectrum) -> tuple[Spectrum, Spectrum]:
        """Return the spectra of cos(lat) times the eastward and the northward derivative."""
        down, up = self._below(x), self._above(x)
        degree = jnp.asarray(self.degree, x.dtype)
        north = ((degree + 2) * up - (degree - 1) * down) / self.radius
        return self._times_im(x) / self.radius, north

    def scaled_wind(self, vorticity: Spectrum, divergence: Spectrum) -> tuple[Spectrum, Spectrum]:
        """Return the spectra of cos(lat) times the eastward and the northward wind."""
        l = self.degree  # noqa: E741
        plus = jnp.asarray(self.radius / (l + 1), vorticity.dtype)
        here = jnp.asarray(self.radius / np.maximum(l, 1), vorticity.dtype)
        both = jnp.asarray(np.where(l > 0, self.radius / np.maximum(l * (l + 1), 1), 0.0),
                           vorticity.dtype)  # fmt: skip
        u = -self._times_im(divergence) * both
        u += self._above(vorticity) * plus - self._below(vorticity) * here
        v = -self._times_im(vorticity) * both
        v += self._below(divergence) * here - self._above(divergence) * plus
        return u, v

    def curl_and_divergence(self, a: Spectrum, b: Spectrum) -> tuple[Spectrum, Spectrum]:
        """Return curl and divergence; a, b are the spectra of the components over cos(lat)."""
        l = jnp.asarray(self.degree, a.dtype)  # noqa: E741
        curl = self._times_im(b) + (l + 1) * self._below(a) - l * self._above(a)
        divergence = self._times_im(a) - (l + 1) * self._below(b) + l * self._above(b)
        return curl / self.radius, divergence / self.radius

    def _times_im(self, x: Spectrum) -> Spectrum:
        """Multiply by i m."""
        return jnp.stack([-x[:, 1], x[:, 0]], axis=1) * jnp.asarray(self.order, x.dtype)

    def _below(self, x: Spectrum) -> Spectrum:
        """Return epsilon_l x_{l-1}."""
        shifted = jnp.pad(x[..., :-1], [(0, 0)] * 3 + [(1, 0)])
        return shifted * jnp.asarray(self.epsilon, x.dtype)[:, None, None]

    def _above(self, x: Spectrum) -> Spectrum:
        """Return epsilon_{l+1} x_{l+1}."""
        shifted = jnp.pad(x[..., 1:], [(0, 0)] * 3 + [(0, 1)])
        return shifted * jnp.asarray(self.epsilon_next, x.dtype)[:, None, None]


def _epsilon(order: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """Return sqrt((l^2 - m^2) / (4 l^2 - 1)), 0 for l = m."""
    return np.sqrt(np.maximum(degree**2 - order**2, 0) / np.abs(4.0 * degree**2 - 1))
