"""Whether chains have mixed, and how many independent draws they are worth.

Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021): Rank-normalization,
folding, and localization: an improved R-hat for assessing convergence of MCMC. Bayesian Analysis,
16, 667-718. doi:10.1214/20-BA1221

The only place where ArviZ is used: its statistics of plain arrays need neither the rest of ArviZ
nor one of its two forms of InferenceData.
"""

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float

#: Axes of chains and of draws, as ArviZ calls them.
AXES = {"chain_axis": 0, "draw_axis": 1}
#: The tails begin at these probabilities.
TAILS = (0.05, 0.95)  # Vehtari et al. (2021), section 4.3


def rhat(draws: Float[np.ndarray, "chain draw *any"]) -> Float[np.ndarray, "*any"]:
    """Return the rank-normalised split R-hat [1]; NaN where the draws are too few."""
    return np.asarray(array_stats.rhat(draws, method="rank", **AXES))


def ess_bulk(draws: Float[np.ndarray, "chain draw *any"]) -> Float[np.ndarray, "*any"]:
    """Return the effective sample size in the bulk of the distribution [1]."""
    return np.asarray(array_stats.ess(draws, method="bulk", **AXES))


def ess_tail(draws: Float[np.ndarray, "chain draw *any"]) -> Float[np.ndarray, "*any"]:
    """Return the effective sample size in the tails, of the 5 % and 95 % quantiles [1]."""
    return np.asarray(array_stats.ess(draws, method="tail", prob=TAILS, **AXES))


def shortest_interval(
    draws: Float[np.ndarray, "chain draw *any"], probability: float = 0.9
) -> Float[np.ndarray, "*any 2"]:
    """Return the ends of the shortest interval that holds this share of all draws."""
    return np.asarray(array_stats.hdi(draws, probability, axis=(0, 1)))
