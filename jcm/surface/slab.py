"""One step of a slab that is heated and drawn back to a climatology.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191, and the public code of SPEEDY.
"""

from typing import Literal

from jaxtyping import Array, Float

from jcm.constants import DAY

#: What the dissipation time of a slab counts. "per_day": seconds of the model's clock.
#: "per_step": one call of the slab stands for a day, whatever the time step; so the public code
#: of SPEEDY, whose times are meant for a daily call but which calls its slabs at every step.
Damping = Literal["per_step", "per_day"]


def damping_factor(
    active: Float[Array, "*grid"],
    dissipation_time: Float[Array, ""],
    time_step: float | Float[Array, ""],
    *,
    damping: Damping,
) -> Float[Array, "*grid"]:
    """Return the share of an anomaly that is left after one step, implicit in time [1].

    Parameters
    ----------
    active
        1 where the slab has anomalies at all, else 0.
    dissipation_time, time_step
        Time in which anomalies decay, and between calls [s].
    damping
        Whether the time counts "per_step" or "per_day".
    """
    if damping not in ("per_step", "per_day"):
        raise ValueError(f"damping must be 'per_step' or 'per_day', not {damping!r}")
    interval = DAY if damping == "per_step" else time_step
    return active * dissipation_time / (active * dissipation_time + interval)


def slab_step(
    temperature: Float[Array, "*grid"],
    climatology: Float[Array, "*grid"],
    heat_flux: Float[Array, "*grid"],
    heat_capacity: Float[Array, "*#grid"],
    factor: Float[Array, "*grid"],
    time_step: float | Float[Array, ""],
) -> Float[Array, "*grid"]:
    """Return the temperature after heating and damping [K].

    T_c + a [(T - T_c) + dt H / C], with the climatology T_c of the new time.

    Parameters
    ----------
    temperature, climatology
        Temperature of the slab and its climatology [K].
    heat_flux, heat_capacity
        Flux into the slab H [W m-2] and heat capacity C [J m-2 K-1].
    factor
        Share of the anomaly that is left, a [1].
    time_step
        Time between calls dt [s].
    """
    anomaly = temperature - climatology + time_step / heat_capacity * heat_flux
    return climatology + factor * anomaly
