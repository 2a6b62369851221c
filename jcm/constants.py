"""Units of time, and physical constants of the model.

Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical
parametrizations. I: Model climatology and variability in multi-decadal experiments.
Clim. Dyn., 20, 175-191; values as in the public code of SPEEDY.
"""

from typing import NamedTuple

HOUR = 3600.0
DAY = 86400.0
#: Mean length of the year of the calendar [days].
DAYS_PER_YEAR = 365.2425


class Constants(NamedTuple):
    """Constants of the planet and its air: part of the structure of a model, not tunable."""

    #: Radius of the Earth [m].
    radius: float = 6.371e6
    #: Angular velocity of the Earth [s-1].
    rotation_rate: float = 7.292e-5
    #: Acceleration of gravity [m s-2].
    gravity: float = 9.81
    #: Pressure by which pressures are divided [Pa].
    reference_pressure: float = 1e5
    #: Specific heat of dry air at constant pressure [J kg-1 K-1].
    heat_capacity: float = 1004.0
    #: Gas constant over specific heat of dry air [1].
    kappa: float = 2 / 7
    #: Latent heat of condensation [J kg-1]; SPEEDY uses it over ice as well.
    latent_heat: float = 2.501e6
    #: Stefan-Boltzmann constant [W m-2 K-4].
    stefan_boltzmann: float = 5.67e-8

    @property
    def gas_constant(self) -> float:
        """Gas constant of dry air [J kg-1 K-1]."""
        return self.kappa * self.heat_capacity


EARTH = Constants()
