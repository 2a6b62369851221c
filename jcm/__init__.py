"""A differentiable atmospheric general circulation model of intermediate complexity.

One idea carries the package: a run is a pure function of a model (structure) and its inputs
(parameters, forcing, initial state), and every number of the inputs can be differentiated.
"""

from typing import TYPE_CHECKING

from jcm.lazy import import_on_use

if TYPE_CHECKING:
    from jcm.forcing import (
        Forcing,
        aquaplanet_forcing,
        packaged_forcing,
        read_forcing,
        speedy_forcing,
        uniform_forcing,
    )
    from jcm.initial import default_inputs, reference_parameters
    from jcm.integration import UnstableRun
    from jcm.model import Model, build_model
    from jcm.output import to_dataset
    from jcm.parameters import Described, descriptions, extract, insert, parameter
    from jcm.run import resume, run
    from jcm.simulate import Inputs, simulate
    from jcm.state import State

__all__ = [
    "Described",
    "Forcing",
    "Inputs",
    "Model",
    "State",
    "UnstableRun",
    "aquaplanet_forcing",
    "build_model",
    "default_inputs",
    "descriptions",
    "extract",
    "insert",
    "packaged_forcing",
    "parameter",
    "read_forcing",
    "reference_parameters",
    "resume",
    "run",
    "simulate",
    "speedy_forcing",
    "to_dataset",
    "uniform_forcing",
]

import_on_use(__name__)
