"""Derivatives of runs of the model: which inputs a result depends on, and how much."""

from jcm_sensitivity.adjoint import (
    CompiledSensitivity,
    Experiment,
    Sensitivity,
    compile_sensitivity,
    model_experiment,
    sensitivity,
)
from jcm_sensitivity.maps import integral, to_map
from jcm_sensitivity.plot import plot_map
from jcm_sensitivity.regions import GLOBE, REGIONS, Region, box, region
from jcm_sensitivity.targets import ALL, BoundTarget, Days, Target, between, last, mean

__all__ = [
    "ALL",
    "GLOBE",
    "REGIONS",
    "BoundTarget",
    "CompiledSensitivity",
    "Days",
    "Experiment",
    "Region",
    "Sensitivity",
    "Target",
    "between",
    "box",
    "compile_sensitivity",
    "integral",
    "last",
    "mean",
    "model_experiment",
    "plot_map",
    "region",
    "sensitivity",
    "to_map",
]
