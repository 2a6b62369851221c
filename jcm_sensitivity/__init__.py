"""Derivatives of runs of the model: which inputs a result depends on, and how much."""

from typing import TYPE_CHECKING

from jcm.lazy import import_on_use

if TYPE_CHECKING:
    from jcm_sensitivity.adjoint import (
        CompiledSensitivity,
        Sensitivity,
        compile_sensitivity,
        scaled,
        sensitivity,
    )
    from jcm_sensitivity.animation import animate
    from jcm_sensitivity.certificate import default_targets, inputs_of_interest
    from jcm_sensitivity.certify import certify
    from jcm_sensitivity.check import GradientCheck, check_gradient
    from jcm_sensitivity.consistency import consistency
    from jcm_sensitivity.ensembles import (
        EnsembleSensitivity,
        ensemble_map,
        ensemble_sensitivity,
        initial_states,
    )
    from jcm_sensitivity.growth import adjoint_growth, tangent_growth
    from jcm_sensitivity.horizon import HorizonWarning
    from jcm_sensitivity.indices import INDICES, index
    from jcm_sensitivity.initial_state import STATE_UNITS, add_increments
    from jcm_sensitivity.jacobian import jacobian
    from jcm_sensitivity.long_range import long_range
    from jcm_sensitivity.maps import integral, to_map
    from jcm_sensitivity.masks import LAND, SEA, grid_mask
    from jcm_sensitivity.model_horizon import horizon
    from jcm_sensitivity.optimal import optimal_perturbations
    from jcm_sensitivity.periods import ALL, Days, between, last
    from jcm_sensitivity.plot import plot_map
    from jcm_sensitivity.regions import GLOBE, REGIONS, Region, box, region
    from jcm_sensitivity.runs import Experiment, model_experiment
    from jcm_sensitivity.tangent import Response, hessian_vector_product, response
    from jcm_sensitivity.targets import BoundTarget, Target, custom, mean

__all__ = [
    "ALL",
    "GLOBE",
    "INDICES",
    "LAND",
    "REGIONS",
    "SEA",
    "STATE_UNITS",
    "BoundTarget",
    "CompiledSensitivity",
    "Days",
    "EnsembleSensitivity",
    "Experiment",
    "GradientCheck",
    "HorizonWarning",
    "Region",
    "Response",
    "Sensitivity",
    "Target",
    "add_increments",
    "adjoint_growth",
    "animate",
    "between",
    "box",
    "certify",
    "check_gradient",
    "compile_sensitivity",
    "consistency",
    "custom",
    "default_targets",
    "ensemble_map",
    "ensemble_sensitivity",
    "grid_mask",
    "hessian_vector_product",
    "horizon",
    "index",
    "initial_states",
    "inputs_of_interest",
    "integral",
    "jacobian",
    "last",
    "long_range",
    "mean",
    "model_experiment",
    "optimal_perturbations",
    "plot_map",
    "region",
    "response",
    "scaled",
    "sensitivity",
    "tangent_growth",
    "to_map",
]

import_on_use(__name__)
