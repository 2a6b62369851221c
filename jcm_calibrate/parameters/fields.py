"""Fields as parameters: a reference field plus a few smooth patterns, each with one coefficient.

Patterns by latitude are Legendre polynomials of its sine, which are orthogonal over the area of the
sphere; patterns by region are the part of each cell inside a box. The coefficients have normal
priors around 0, so z = 0 is the reference field.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logit
from jaxtyping import Array, Float
from scipy.special import eval_legendre

from jcm.forcing_fields import FORCING_UNITS
from jcm.parameters import get, insert
from jcm_sensitivity.regions import Region

#: Shares are kept this far from 0 and 1 so that their logit is finite; 0 and 1 themselves stay.
EDGE = 1e-6


class LatitudeField:
    """Request for a field with a correction by latitude; give it to `ParameterSpace.of` as a name.

    field = reference + sum over k = 0 .. order of c_k P_k(sin latitude), with c_k ~ N(0, width).
    For a share between 0 and 1, such as albedo, the logit of the field is corrected instead of the
    field, so that it stays a share; a cell at exactly 0 or 1 does not change. Then a width of 0.2
    is a relative change of 0.2 of a small share.

    Parameters
    ----------
    name
        Dotted name of a field whose last axis is latitude, e.g. `forcing.bare_albedo`.
    order
        Highest degree of the polynomials.
    width
        Standard deviation of the coefficients, one for all or one per degree; of the logit for a
        share [1], otherwise in units of the field.
    share
        Whether the field is a share; default: known for the fields of the forcing.
    """

    def __init__(
        self,
        name: str,
        order: int = 2,
        width: float | Sequence[float] = 0.2,
        share: bool | None = None,
    ):
        if int(order) != order or order < 0:
            raise ValueError(f"the order of {name} must be 0 or a whole number above, got {order}")
        self.name, self.width, self.share = name, width, share
        self.order = int(order)

    def build(self, inputs: Any) -> "PatternField":
        """Return the field as part of a parameter space.

        Raises
        ------
        KeyError
            If there is no such field.
        ValueError
            If it has no axis of latitude, or width is not one number or one per degree.
        """
        field = _field(inputs, self.name)
        sine = _sine_of_latitude(self.name, field.shape[-1])
        patterns = np.stack([eval_legendre(k, sine) for k in range(self.order + 1)])
        labels = [f"P{k}" for k in range(self.order + 1)]
        return _built(self.name, field, patterns, labels, self.width, self.share)


class RegionalField:
    """Request for a field with one correction per region; give it to `ParameterSpace.of`.

    As `LatitudeField`, with the part of each cell inside each region as patterns.

    Parameters
    ----------
    name
        Dotted name of a field whose last axes are longitude and latitude.
    grid
        Grid of the model, `model.grid`.
    regions
        Boxes, e.g. `[jcm_sensitivity.REGIONS["sahel"]]`.
    width, share
        As for `LatitudeField`.
    """

    def __init__(
        self,
        name: str,
        grid: Any,
        regions: Sequence[Region],
        width: float | Sequence[float] = 0.2,
        share: bool | None = None,
    ):
        if not regions:
            raise ValueError(f"expected at least one region for {name}, got none")
        self.name, self.grid, self.regions = name, grid, tuple(regions)
        self.width, self.share = width, share

    def build(self, inputs: Any) -> "PatternField":
        """Return the field as part of a parameter space; errors as for `LatitudeField`."""
        field = _field(inputs, self.name)
        patterns = np.stack([region.fraction(self.grid) for region in self.regions])
        if patterns.shape[1:] != field.shape[-2:]:
            raise ValueError(
                f"{self.name} has shape {field.shape}, but the grid {patterns.shape[1:]}; "
                "give the grid of the model that the inputs belong to")
        labels = [region.name for region in self.regions]
        return _built(self.name, field, patterns, labels, self.width, self.share)


class PatternField(eqx.Module):
    """A reference field and patterns with coefficients; part of a `ParameterSpace`."""

    name: str = eqx.field(static=True)
    labels: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    #: Whether patterns are added to the logit.
    share: bool = eqx.field(static=True)
    #: Field at coefficients of 0, in its units.
    reference: Float[Array, "*shape"]
    #: Patterns, with axes that fit the last axes of the field [1].
    patterns: Float[Array, "pattern *last"]
    #: Standard deviation of each coefficient.
    width: Float[Array, " pattern"]

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Bounds of the coefficients: none."""
        return ((-np.inf, np.inf),) * len(self.labels)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the widths come from."""
        return ("chosen here",) * len(self.labels)

    def from_normal(self, z: Float[Array, "*batch pattern"]) -> Float[Array, "*batch pattern"]:
        """Return the coefficients at standard normal variables."""
        return self.width * z

    def to_normal(self, x: Float[Array, "*batch pattern"]) -> Float[Array, "*batch pattern"]:
        """Return the standard normal variables at coefficients."""
        return x / self.width

    def insert(self, inputs: Any, x: Float[Array, " pattern"]) -> Any:
        """Return inputs with the field at these coefficients."""
        change = jnp.tensordot(x, self.patterns, 1)
        if not self.share:
            return insert(inputs, {self.name: self.reference + change})
        # The odds times exp(change): the logit form without a logit, so 0 and 1 stay themselves.
        odds = jnp.exp(change)
        field = self.reference * odds / (1 + self.reference * (odds - 1))
        return insert(inputs, {self.name: field})

    def extract(self, inputs: Any) -> Float[Array, " pattern"]:
        """Return the coefficients nearest to the field of the inputs, by least squares.

        Exact for a field that `insert` has made; what the patterns cannot say is left out.
        """
        field = get(inputs, self.name)
        if self.share:
            low, high = EDGE, 1 - EDGE
            inside = (self.reference > low) & (self.reference < high)
            change = logit(jnp.clip(field, low, high)) - logit(jnp.clip(self.reference, low, high))
        else:
            inside, change = jnp.ones_like(field, bool), field - self.reference
        shape = (len(self.labels), *field.shape)
        lead = (slice(None),) + (None,) * (field.ndim + 1 - self.patterns.ndim)
        patterns = jnp.broadcast_to(self.patterns[lead], shape) * inside
        matrix = patterns.reshape(len(self.labels), -1)
        return jnp.linalg.solve(matrix @ matrix.T, matrix @ (change * inside).reshape(-1))


def _field(inputs: Any, name: str) -> np.ndarray:
    """Return a field of the inputs, after checking that it is one."""
    value = get(inputs, name)
    if not eqx.is_array(value) or value.ndim < 2 or not jnp.issubdtype(value.dtype, jnp.floating):
        what = f"an array of shape {value.shape}" if eqx.is_array(value) else "a group of inputs"
        raise ValueError(
            f"expected a field with axes (..., lon, lat), such as forcing.bare_albedo; {name} is "
            f"{what}")
    return np.asarray(value)


def _sine_of_latitude(name: str, nlat: int) -> np.ndarray:
    """Return the sines of the Gaussian latitudes from south to north; (lat,)."""
    if nlat % 2:
        raise ValueError(f"expected an even number of latitudes on the last axis of {name}, "
                         f"got {nlat}")  # fmt: skip
    return np.polynomial.legendre.leggauss(nlat)[0]


def _is_share(name: str) -> bool:
    """Return whether a field of the forcing is a part between 0 and 1."""
    known = FORCING_UNITS.get(name.removeprefix("forcing."))
    return known is not None and known.valid_range == (0, 1)


def _built(
    name: str,
    field: np.ndarray,
    patterns: np.ndarray,
    labels: Sequence[str],
    width: float | Sequence[float],
    share: bool | None,
) -> PatternField:
    """Return the field with its patterns, after checking the widths."""
    share = _is_share(name) if share is None else share
    widths = np.asarray(width, float)
    if widths.shape not in [(), (len(labels),)] or not np.all(np.isfinite(widths) & (widths > 0)):
        raise ValueError(
            f"the width of {name} must be one positive number, or one for each of "
            f"{', '.join(labels)}; got {width}")
    if share and (field.min() < 0 or field.max() > 1):
        raise ValueError(
            f"{name} lies between {field.min():g} and {field.max():g}, but a share must lie "
            "between 0 and 1; set share=False")
    group, _, rest = name.partition(".")
    units = FORCING_UNITS[rest].units if group == "forcing" and rest in FORCING_UNITS else "1"
    dtype = field.dtype
    return PatternField(
        name, tuple(f"{name}[{label}]" for label in labels),
        ("1" if share else units,) * len(labels), share, jnp.asarray(field),
        jnp.asarray(patterns, dtype), jnp.asarray(np.broadcast_to(widths, len(labels)), dtype))
