"""Leapfrog step with the Robert-Asselin-Williams filter.

Williams, P. D. (2009): A proposed modification to the Robert-Asselin time filter. Mon. Wea. Rev.,
137, 2538-2546. As in SPEEDY, the correction of the newest level uses the older level that has
just been filtered, which makes slow oscillations run 1.1 % slow but is stable for longer steps.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcm.parameters import parameter
from jcm.state import Prognostics

SPEEDY = "value: public code of SPEEDY; bounds: chosen here"


class FilterParameters(eqx.Module):
    """Coefficients of the time filter."""

    robert: Float[Array, ""] = parameter(
        0.05, "1", (0.0, 0.2), "Robert coefficient of the time filter", SPEEDY)
    williams: Float[Array, ""] = parameter(
        0.53, "1", (0.5, 1.0), "Williams parameter of the time filter", SPEEDY)


def leapfrog(
    previous: Prognostics,
    current: Prognostics,
    tendency: Prognostics,
    dt: Float[Array, ""],
    starting: Bool[Array, ""],
    parameters: FilterParameters,
) -> tuple[Prognostics, Prognostics]:
    """Return the two time levels after a step of `dt` from `previous`.

    While `starting`, the older level stays and nothing is filtered: two such steps of a half and
    a whole time step lead from a state of rest into the leapfrog scheme.
    """
    eps = jnp.where(starting, 0, parameters.robert)
    nu = parameters.williams

    def older(x1, x2, x_t):
        middle = jnp.where(starting, x1, x2)
        return middle + nu * eps * (x1 - 2 * middle + (x1 + dt * x_t))

    def newer(x1, x2, x_t, filtered):
        middle = jnp.where(starting, x1, x2)
        new = x1 + dt * x_t
        return new - (1 - nu) * eps * (filtered - 2 * middle + new)

    filtered = jax.tree.map(older, previous, current, tendency)
    return filtered, jax.tree.map(newer, previous, current, tendency, filtered)
