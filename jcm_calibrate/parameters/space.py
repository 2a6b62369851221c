"""Space of the parameters to calibrate: standard normal variables, and what they stand for.

Every method of calibration sees a vector z whose prior is exactly standard normal, independent in
each component. A `ParameterSpace` turns z into values of parameters and puts them into the inputs
of a run. So the logarithm of the prior is -|z|^2 / 2 - n log(2 pi) / 2, every component has the
scale 1, and a step of 1 in any direction is as surprising as in any other.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Key

from jcm.parameters import descriptions
from jcm_calibrate.parameters.fields import LatitudeField, PatternField, RegionalField
from jcm_calibrate.parameters.scalars import Scalar, expand, inside, scalar

T = TypeVar("T")
#: Some components that belong together: one parameter, or one field.
Part = Scalar | PatternField
#: What a parameter space can be made of.
Name = str | LatitudeField | RegionalField
#: Rounding allowed outside bounds, as a part of the value.
SLACK = 1e-6
#: Quantiles that `describe` prints.
QUANTILES = (0.05, 0.5, 0.95)


class ParameterSpace(eqx.Module):
    """Chosen parameters with priors; made by `ParameterSpace.of`. A pytree: pass it as argument."""

    #: Parameters and fields, in the order of the components.
    parts: tuple[Part, ...]
    #: Members of groups that have no place in the space because their value is at a bound.
    left_out: tuple[str, ...] = eqx.field(static=True)
    #: Whether values outside the bounds of parameters are accepted.
    allow_outside_bounds: bool = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        inputs: Any,
        names: Name | Sequence[Name],
        priors: Mapping[str, dist.Distribution] | None = None,
        *,
        spread: float = 1.0,
        allow_outside_bounds: bool = False,
    ) -> "ParameterSpace":
        """Return the space of the named parameters around the values of the inputs.

        Parameters
        ----------
        inputs
            Inputs of a run; their values are the medians of default priors.
        names
            Dotted names (`parameters.convection.relaxation_time`), groups
            (`parameters.convection`), patterns (`parameters.*.relaxation_time`), and fields
            (`LatitudeField("forcing.bare_albedo")`).
        priors
            Prior by name: a distribution of numpyro of one number in the units of the parameter.
            Without one: logit-normal between the bounds, with the value of the inputs as median.
        spread
            Standard deviation of the logit in default priors [1].
        allow_outside_bounds
            Whether priors and starts may lie outside the bounds of a parameter.

        Raises
        ------
        KeyError
            If a name is unknown; the message suggests the nearest ones.
        ValueError
            If a name comes twice or is neither parameter nor group, a prior lies outside the
            bounds or cannot be mapped, or a value is at a bound and there is no prior for it.
        """
        priors = dict(priors or {})
        given = [names] if isinstance(names, str | LatitudeField | RegionalField) else list(names)
        known = descriptions(inputs.parameters, "parameters.")
        parts: list[Part] = []
        left_out: list[str] = []
        for name in given:
            if not isinstance(name, str):
                parts.append(name.build(inputs))
                continue
            members = expand(inputs, name, known)
            for member in members:
                at_bound = member not in priors and not inside(inputs, member, known[member])
                if at_bound and members != [name]:
                    left_out.append(member)
                    continue
                parts.append(scalar(inputs, member, known[member], priors.get(member), spread,
                                     allow_outside_bounds))  # fmt: skip
        _check(parts, given, priors, left_out)
        return cls(tuple(parts), tuple(left_out), allow_outside_bounds)

    @property
    def size(self) -> int:
        """Number of components."""
        return len(self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each component: of the parameter, or of the field with its pattern."""
        return tuple(label for part in self.parts for label in part.labels)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of each component."""
        return tuple(units for part in self.parts for units in part.units)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where each reference value comes from."""
        return tuple(source for part in self.parts for source in part.sources)

    @property
    def bounds(self) -> Float[np.ndarray, "{self.size} 2"]:
        """Lower and upper bound of each component, in its units; infinite for coefficients."""
        return np.array([pair for part in self.parts for pair in part.bounds], float)

    def to_parameters(self, z: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Return the values of the parameters, each in its units, at standard normal variables."""
        pieces = zip(self.parts, self._split(z), strict=True)
        return jnp.concatenate([part.from_normal(piece) for part, piece in pieces], axis=-1)

    def from_parameters(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Return the standard normal variables at values of the parameters.

        Raises
        ------
        ValueError
            If a value is outside the bounds of its parameter or outside its prior. Inside compiled
            code nothing is raised, and such a value gives no finite number.
        """
        self._check_bounds(x)
        pieces = zip(self.parts, self._split(x), strict=True)
        z = jnp.concatenate([part.to_normal(piece) for part, piece in pieces], axis=-1)
        self._check_support(x, z)
        return z

    def insert(self, inputs: T, z: Float[Array, " n"]) -> T:
        """Return the inputs with the parameters that z stands for."""
        for part, piece in zip(self.parts, self._split(z), strict=True):
            inputs = part.insert(inputs, part.from_normal(piece))
        return inputs

    def extract(self, inputs: Any) -> Float[Array, " n"]:
        """Return the z at which the parameters are those of the inputs.

        Raises
        ------
        ValueError
            If a value is outside the bounds of its parameter or outside its prior.
        """
        return self.from_parameters(jnp.concatenate([part.extract(inputs) for part in self.parts]))

    def log_prior(self, z: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
        """Return the logarithm of the prior density of z."""
        return -0.5 * jnp.sum(z**2, axis=-1) - 0.5 * self.size * np.log(2 * np.pi)

    def draw(self, key: Key[Array, ""], size: int) -> Float[Array, "{size} n"]:
        """Return draws of z from its prior."""
        return jax.random.normal(key, (size, self.size))

    def slope(self, z: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return d parameter / d z of each component, in units of the parameter.

        Every parameter depends on its own component alone, so a covariance of z times the slopes
        is, to first order, the covariance of the parameters.
        """
        return jax.jvp(self.to_parameters, (z,), (jnp.ones_like(z),))[1]

    def quantiles(self, probabilities: Sequence[float]) -> Float[Array, "probability n"]:
        """Return quantiles of the prior of each parameter, in its units."""
        z = ndtri(jnp.asarray(probabilities, float))[:, None] * jnp.ones(self.size)
        # A decreasing transform turns the order round.
        upwards = self.slope(jnp.zeros(self.size)) >= 0
        return jnp.where(upwards, self.to_parameters(z), self.to_parameters(-z))

    def describe(self) -> str:
        """Return a table of the parameters: quantiles of the prior, bounds, units and source."""
        low, middle, high = np.asarray(self.quantiles(QUANTILES))
        rows: list[tuple[str, ...]] = [
            ("parameter", "median", "5 %", "95 %", "bounds", "units", "source")]
        for i, label in enumerate(self.labels):
            bounds = " to ".join(f"{x:.4g}" for x in self.bounds[i])
            rows.append((label, *(f"{x:.4g}" for x in (middle[i], low[i], high[i])),
                         bounds if np.isfinite(self.bounds[i]).any() else "none",
                         self.units[i], self.sources[i]))  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                 for row in rows]  # fmt: skip
        if self.left_out:
            lines.append(f"left out, at a bound: {', '.join(self.left_out)}")
        return "\n".join(lines)

    def _split(self, vector: Array) -> list[Array]:
        """Return the components of each part."""
        if vector.ndim == 0 or vector.shape[-1] != self.size:
            raise ValueError(
                f"expected {self.size} components ({', '.join(self.labels[:3])}"
                f"{', ...' if self.size > 3 else ''}) on the last axis, got shape {vector.shape}")
        ends = np.cumsum([len(part.labels) for part in self.parts])[:-1]
        return jnp.split(vector, ends, axis=-1)

    def _check_bounds(self, x: Array) -> None:
        if isinstance(x, Tracer) or self.allow_outside_bounds:
            return
        values, (low, high) = np.asarray(x, float), self.bounds.T
        slack = SLACK * np.abs(values)
        self._refuse(values, (values < low - slack) | (values > high + slack) | np.isnan(values),
                     "set allow_outside_bounds=True")  # fmt: skip

    def _check_support(self, x: Array, z: Array) -> None:
        if not isinstance(z, Tracer):
            self._refuse(np.asarray(x, float), ~np.isfinite(np.asarray(z)), "give a wider prior")

    def _refuse(self, values: np.ndarray, wrong: np.ndarray, otherwise: str) -> None:
        """Raise an error that names the components that are wrong."""
        found = np.argwhere(wrong)
        if not len(found):
            return
        texts = [f"{self.labels[i]} = {values[tuple(at)]:g} {self.units[i]} (bounds "
                 f"{self.bounds[i, 0]:g} to {self.bounds[i, 1]:g})"
                 for at in found[:5] for i in [at[-1]]]  # fmt: skip
        raise ValueError(
            f"outside the bounds or the prior: {'; '.join(texts)}. Choose a value inside, or "
            f"{otherwise} in ParameterSpace.of")


def _check(
    parts: Sequence[Part],
    given: Sequence[Name],
    priors: Mapping[str, dist.Distribution],
    left_out: Sequence[str],
) -> None:
    """Refuse an empty space, duplicates, and priors for nothing; warn of what is left out."""
    names = [part.name for part in parts]
    if not names:
        what = f"; all of {given} are at a bound and need a prior" if left_out else ""
        raise ValueError(f"expected at least one parameter to calibrate, got none{what}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"named twice: {', '.join(twice)}; each parameter can be calibrated once")
    if unused := sorted(set(priors) - set(names)):
        raise KeyError(
            f"there is a prior for {', '.join(unused)}, but no such parameter in the space; "
            f"the parameters are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}")
    if left_out:
        warnings.warn(
            f"{len(left_out)} parameters of groups are left out because their value is at a bound, "
            f"where no default prior has its median: {', '.join(left_out)}. Give them a prior to "
            "calibrate them, or name the others one by one", stacklevel=3)
