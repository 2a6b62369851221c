"""Vertical discretisation of SPEEDY: hydrostatics, gravity-wave matrices, reference profile.

Bourke, W. (1974): A multi-level spectral model. I. Formulation and hemispheric integrations.
Mon. Wea. Rev., 102, 687-701; in the form of Molteni (2003) and the public code of SPEEDY.
Matrices are formed once, in float64, because they are structure of the model.
"""

import numpy as np

from jcm.constants import Constants
from jcm.grid import SPEEDY_HALF_LEVELS
from jcm.vertical import Levels

#: Lapse rate of the reference profile [K m-1] and its temperature at the surface [K].
REFERENCE_LAPSE_RATE = 6e-3
REFERENCE_SURFACE_TEMPERATURE = 288.0
#: Sigma below which the reference profile is isothermal.
TROPOPAUSE_SIGMA = 0.2
#: Sigma above which layers belong to the uppermost layer and to the stratosphere.
UPPERMOST_SIGMA, STRATOSPHERE_SIGMA = 0.05, 0.14


def uppermost_layers(levels: Levels) -> int:
    """Return how many layers count as SPEEDY's uppermost one: 1 in its own tables."""
    return 1 if is_speedy(levels) else int(np.sum(levels.centre < UPPERMOST_SIGMA))


def stratospheric_layers(levels: Levels) -> int:
    """Return how many layers count as SPEEDY's two stratospheric ones: 2 in its own tables."""
    return 2 if is_speedy(levels) else int(np.sum(levels.centre < STRATOSPHERE_SIGMA))


def is_speedy(levels: Levels) -> bool:
    """Tell whether these are the 5, 7 or 8 layers of SPEEDY, to which its index rules apply."""
    return SPEEDY_HALF_LEVELS.get(levels.count) == levels.half


def lapse_exponent(constants: Constants, lapse_rate: float = REFERENCE_LAPSE_RATE) -> float:
    """Return r in T ~ sigma^r for a constant lapse rate [K m-1]."""
    return constants.gas_constant * lapse_rate / constants.gravity


def reference_temperature(levels: Levels, constants: Constants) -> np.ndarray:
    """Return the temperature about which the semi-implicit scheme is linearised [K]; shape (K,)."""
    profile = np.maximum(TROPOPAUSE_SIGMA, levels.centre) ** lapse_exponent(constants)
    return REFERENCE_SURFACE_TEMPERATURE * profile


def geopotential_matrix(levels: Levels, constants: Constants) -> np.ndarray:
    """Return G with geopotential = surface geopotential + G temperature; shape (K, K).

    Each half layer uses the temperature of its own layer.
    """
    half, centre = np.array(levels.half), levels.centre
    lower_half = constants.gas_constant * np.log(half[1:] / centre)
    upper_half = np.zeros(levels.count)
    upper_half[1:] = constants.gas_constant * np.log(centre[1:] / half[1:-1])
    whole = np.broadcast_to(lower_half + upper_half, (levels.count, levels.count))
    return np.triu(whole, 1) + np.diag(lower_half)


def lapse_rate_correction(levels: Levels, constants: Constants) -> np.ndarray:
    """Return the matrix that corrects the zonal-mean geopotential for the lapse rate; shape (K, K).

    Adds C_k (T[k+1] - T[k-1]) in the inner layers.
    """
    half, centre = np.array(levels.half), levels.centre
    matrix = np.zeros((levels.count, levels.count))
    for k in range(1, levels.count - 1):
        log = np.log(half[k + 1] / centre[k])
        c = 0.5 * constants.gas_constant * log**2 / np.log(centre[k + 1] / centre[k - 1])
        matrix[k, k + 1], matrix[k, k - 1] = c, -c
    return matrix


def interface_flux_matrix(levels: Levels) -> np.ndarray:
    """Return the matrix from a layer field x to -sum_{j<=k} x_j dsigma_j; shape (K - 1, K).

    Applied to the divergence less its vertical mean it gives d(sigma)/dt at the inner interfaces.
    """
    return -np.tril(np.broadcast_to(levels.thickness, (levels.count, levels.count)))[:-1]


def temperature_matrix(levels: Levels, constants: Constants) -> np.ndarray:
    """Return H with the linear temperature tendency = H divergence [K]; shape (K, K)."""
    count, thickness, centre = levels.count, levels.thickness, levels.centre
    t_r, kappa = reference_temperature(levels, constants), constants.kappa
    anomaly = np.eye(count) - thickness
    flux = np.zeros((count + 1, count))
    flux[1:-1] = interface_flux_matrix(levels) @ anomaly
    jump = np.zeros(count + 1)
    jump[1:-1] = np.diff(t_r)
    advection = flux * jump[:, None]
    advection = -(advection[1:] + advection[:-1]) / (2 * thickness[:, None])
    conversion = (flux[1:] + flux[:-1]) * (kappa * t_r / (2 * centre))[:, None]
    return advection + conversion - kappa * t_r[:, None] * thickness


def gravity_wave_matrix(levels: Levels, constants: Constants) -> np.ndarray:
    """Return the matrix whose eigenvalues are the squared gravity-wave speeds [m2 s-2]."""
    t_r = reference_temperature(levels, constants)
    pressure = constants.gas_constant * np.outer(t_r, levels.thickness)
    return pressure - geopotential_matrix(levels, constants) @ temperature_matrix(levels, constants)


def implicit_inverse(
    levels: Levels, constants: Constants, truncation: int, implicit_step: float
) -> np.ndarray:
    """Return the inverse of I + xi^2 l(l+1)/a^2 W for each degree; shape (T + 2, K, K).

    W is the gravity-wave matrix and xi = `implicit_step` [s]. The result for l = 0 is zero:
    the global mean of divergence has no tendency.
    """
    degree = np.arange(truncation + 2)
    factor = implicit_step**2 * degree * (degree + 1) / constants.radius**2
    wave = gravity_wave_matrix(levels, constants)
    inverse = np.linalg.inv(np.eye(levels.count) + factor[:, None, None] * wave)
    inverse[0] = 0
    return inverse
