"""Estimation of parameters of the model from data: by gradients, by sampling, and without either.

One idea carries the package: every method sees a vector z of standard normal prior, and a function
of it. So all methods also work on any other function of a vector.
"""

from typing import TYPE_CHECKING

from jcm.lazy import import_on_use

if TYPE_CHECKING:
    from jcm_calibrate.ensembles.ensemble import evaluate_with, read_ensemble, run_ensemble
    from jcm_calibrate.ensembles.members import members_of
    from jcm_calibrate.experiment import Calibration, read_calibration
    from jcm_calibrate.names import METHODS
    from jcm_calibrate.observations.operators import make_operator
    from jcm_calibrate.observations.packaged import (
        attribution,
        packaged_names,
        packaged_observations,
    )
    from jcm_calibrate.observations.readers import load_observations
    from jcm_calibrate.observations.vector import Observation, Observations, observation, synthetic
    from jcm_calibrate.optimisers.fit import Fit
    from jcm_calibrate.optimisers.minimise import minimise, multi_start
    from jcm_calibrate.parameters.fields import LatitudeField, RegionalField
    from jcm_calibrate.parameters.space import ParameterSpace
    from jcm_calibrate.performance_index import performance_index
    from jcm_calibrate.problem import Problem, log_posterior, make_problem
    from jcm_calibrate.reports.html import write_report
    from jcm_calibrate.uncertainty.identify import Identifiability, identify
    from jcm_calibrate.uncertainty.laplace import Gaussian, laplace
    from jcm_calibrate.uncertainty.nuts import sample_nuts
    from jcm_calibrate.uncertainty.posterior import Posterior
    from jcm_calibrate.uncertainty.simulation_based_calibration import simulation_based_calibration
    from jcm_calibrate.windows import Windows, initial_states, make_windows

__all__ = [
    "METHODS",
    "Calibration",
    "Fit",
    "Gaussian",
    "Identifiability",
    "LatitudeField",
    "Observation",
    "Observations",
    "ParameterSpace",
    "Posterior",
    "Problem",
    "RegionalField",
    "Windows",
    "attribution",
    "evaluate_with",
    "identify",
    "initial_states",
    "laplace",
    "load_observations",
    "log_posterior",
    "make_operator",
    "make_problem",
    "make_windows",
    "members_of",
    "minimise",
    "multi_start",
    "observation",
    "packaged_names",
    "packaged_observations",
    "performance_index",
    "read_calibration",
    "read_ensemble",
    "run_ensemble",
    "sample_nuts",
    "simulation_based_calibration",
    "synthetic",
    "write_report",
]

import_on_use(__name__)
