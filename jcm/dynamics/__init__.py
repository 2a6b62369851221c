"""The dynamics: how a state and the tendencies of the physics make the next state."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array

from jcm.state import Prognostics, Tendency
from jcm.transform import FlatSpectrum, Transform


class Dynamics(eqx.Module):
    """Interface of a discretisation."""

    #: The spherical-harmonic transform of its spectra.
    transform: eqx.AbstractVar[Transform]

    @abc.abstractmethod
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
        """Return the two time levels after one step.

        Parameters
        ----------
        previous, current
            The older and the newest time level.
        physics
            Tendency by the physics, axes (level, lon, lat), evaluated at `previous`.
        surface_geopotential
            Spectrum [m2 s-2].
        temperature_correction, humidity_correction
            Spectra of what is added to temperature [K] and humidity [kg kg-1], times a vertical
            profile, before they are diffused.
        step
            Number of the step; -2 and -1 are the start-up steps of a half and a whole time step.
        parameters
            Tunable numbers of the run; the dynamics uses `diffusion` and `filter`.
        """
