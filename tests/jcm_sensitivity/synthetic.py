"""Runs that cost nothing: the output is a known function of the inputs."""

import jax.numpy as jnp
from matplotlib.figure import Figure

import jcm
from jcm.model import Model
from jcm.simulate import Inputs
from jcm_sensitivity import Experiment

SST = "forcing.sea_surface_temperature"


class Mirror(Experiment):
    """Precipitation on each of `days` days is 1e-6 times the sea surface temperature of January."""

    def __call__(self, inputs: Inputs) -> dict:
        january = inputs.forcing.sea_surface_temperature[0]
        return {
            "precipitation_flux": jnp.stack([1e-6 * january] * round(self.days / self.every)),
            "surface_temperature": january[None],
        }


def mirror(model: Model, days: float = 5.0, every: float = 1.0) -> Mirror:
    return Mirror(model, days, every, True, None, "step")


def cheap_inputs(model: Model, dtype: type = float) -> Inputs:
    """Inputs of a run that is never made."""
    return jcm.default_inputs(model, dtype=dtype)


def stippled(figure: Figure) -> int:
    """Return the number of points of stippling in a figure."""
    return sum(len(line.get_xdata()) for axes in figure.axes for line in axes.lines
               if line.get_marker() == "o")  # fmt: skip
