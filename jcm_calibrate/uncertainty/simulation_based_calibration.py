"""Whether a sampler draws from the posterior: ranks of the truth among its draws.

A truth is drawn from the prior, data are simulated from it, and the sampler is asked for its
posterior. If it is right, the rank of the truth among the draws is uniform, whatever prior, model
and data are:

Talts, S., Betancourt, M., Simpson, D., Vehtari, A. and Gelman, A. (2018): Validating Bayesian
inference algorithms with simulation-based calibration. arXiv:1804.06788
Cook, S. R., Gelman, A. and Rubin, D. B. (2006): Validation of software for Bayesian models using
posterior quantiles. J. Comput. Graph. Stat., 15, 675-692.
Saeilynoja, T., Buerkner, P.-C. and Vehtari, A. (2022): Graphical test for discrete uniformity and
its applications in goodness-of-fit evaluation and multiple sample comparison. Stat. Comput., 32,
32. doi:10.1007/s11222-022-10090-6
Modrak, M. et al. (2023): Simulation-based calibration checking for Bayesian computation: the
choice of test quantities shapes sensitivity. Bayesian Analysis. doi:10.1214/23-BA1404
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, Key
from scipy.stats import binom, chi2, chisquare, kstest, norm

#: Draws of uniform ranks from which the width of the band is found.
SIMULATIONS = 2000

PriorDraw = Callable[[Key[Array, ""]], Float[Array, " parameter"]]
Simulate = Callable[[Key[Array, ""], Float[Array, " parameter"]], Any]
Sampler = Callable[[Key[Array, ""], Any], Float[Any, "draw parameter"]]
Quantities = Callable[[Float[Array, " parameter"], Any], Float[Array, " quantity"]]


class Ranks(eqx.Module):
    """Ranks of the truth among draws of the posterior, and tests of their uniformity."""

    #: How many draws lie below the truth, 0 to `draws`.
    ranks: Int[np.ndarray, "replication quantity"]
    #: Number of draws of each replication.
    draws: int = eqx.field(static=True)
    #: Names of the parameters and other quantities.
    labels: tuple[str, ...] = eqx.field(static=True)

    @property
    def replications(self) -> int:
        """Number of replications."""
        return self.ranks.shape[0]

    @property
    def fractions(self) -> Float[np.ndarray, "replication quantity"]:
        """Ranks as fractions between 0 and 1, each in the middle of its interval."""
        return (self.ranks + 0.5) / (self.draws + 1)

    @property
    def scores(self) -> Float[np.ndarray, "replication quantity"]:
        """Normal scores of the ranks: standard normal if the sampler is right."""
        return norm.ppf(self.fractions)

    @property
    def bias(self) -> Float[np.ndarray, " quantity"]:
        """p-value of the mean normal score: small if draws lie too low or too high."""
        z = self.scores.sum(axis=0) / np.sqrt(self.replications * self._score_variance)
        return 2 * norm.sf(np.abs(z))

    @property
    def dispersion(self) -> Float[np.ndarray, " quantity"]:
        """p-value of the spread of the normal scores: small if draws are too wide or narrow.

        Cook, Gelman and Rubin (2006): the sum of squares has the chi-square distribution with
        one degree of freedom per replication.
        """
        squares = (self.scores**2).sum(axis=0) / self._score_variance
        below = chi2.cdf(squares, self.replications)
        return 2 * np.minimum(below, chi2.sf(squares, self.replications))

    @property
    def spread(self) -> Float[np.ndarray, " quantity"]:
        """Variance of the normal scores: above 1 if draws are too narrow, below if too wide."""
        return (self.scores**2).mean(axis=0) / self._score_variance

    @property
    def chi_square(self) -> Float[np.ndarray, " quantity"]:
        """p-value of the histogram of ranks, with at least 10 replications expected in a bin."""
        bins = int(np.clip(self.replications // 10, 2, min(20, self.draws + 1)))
        which = self.ranks * bins // (self.draws + 1)
        # Bins need not hold the same number of ranks.
        expected = np.bincount(np.arange(self.draws + 1) * bins // (self.draws + 1))
        expected = expected * self.replications / (self.draws + 1)
        return np.array([
            chisquare(np.bincount(column, minlength=bins), expected).pvalue
            for column in which.T])

    @property
    def kolmogorov_smirnov(self) -> Float[np.ndarray, " quantity"]:
        """p-value of the largest distance of the distribution of ranks from a uniform one."""
        return np.array([kstest(column, "uniform").pvalue for column in self.fractions.T])

    @property
    def _score_variance(self) -> float:
        # That of the normal scores of uniform ranks: a little below 1, for ranks are discrete.
        return float(np.mean(norm.ppf((np.arange(self.draws + 1) + 0.5) / (self.draws + 1)) ** 2))

    def band(
        self, probability: float = 0.95
    ) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "2 point"]]:
        """Return points and the band in which the whole distribution of uniform ranks lies.

        Saeilynoja et al. (2022), algorithm 1: pointwise binomial intervals, made so wide that a
        curve lies within all of them at once with the given probability.
        """
        points = np.linspace(0, 1, min(self.replications, self.draws + 1) + 1)[1:-1]
        uniform = np.random.default_rng(0).integers(
            0, self.draws + 1, (SIMULATIONS, self.replications))
        counts = np.stack([
            (uniform < point * (self.draws + 1)).sum(axis=1) for point in points], axis=1)
        share = np.ceil(points * (self.draws + 1)) / (self.draws + 1)
        tails = 2 * np.minimum(binom.cdf(counts, self.replications, share),
                               binom.sf(counts - 1, self.replications, share))  # fmt: skip
        level = np.quantile(tails.min(axis=1), 1 - probability)
        limits = binom.ppf([[level / 2], [1 - level / 2]], self.replications, share)
        return points, limits / self.replications

    def distribution(self, points: Float[np.ndarray, " point"]) -> Float[np.ndarray, "q point"]:
        """Return the share of ranks below each point, for comparison with the band."""
        below = self.ranks[:, :, None] < points * (self.draws + 1)
        return below.mean(axis=0)

    def outside(self, probability: float = 0.95) -> Float[np.ndarray, " quantity"]:
        """Return the share of points where the distribution of ranks leaves the band."""
        points, (lower, upper) = self.band(probability)
        curves = self.distribution(points)
        return ((curves < lower) | (curves > upper)).mean(axis=1)

    @property
    def p_value(self) -> float:
        """Least p-value of bias, dispersion and histogram, times the number of tests made."""
        tests = np.stack([self.bias, self.dispersion, self.chi_square])
        return float(min(1.0, tests.min() * tests.size))

    def summary(self) -> pd.DataFrame:
        """Return all tests, by quantity."""
        return pd.DataFrame({
            "spread": self.spread, "p bias": self.bias, "p dispersion": self.dispersion,
            "p chi-square": self.chi_square, "p KS": self.kolmogorov_smirnov,
            "outside band": self.outside()}, index=list(self.labels))

    def describe(self) -> str:
        """Return the tests as a table, with a verdict."""
        verdict = ("not uniform: the sampler is wrong, or too few draws are independent"
                   if self.p_value < 0.01 else "uniform, as far as these replications can tell")
        return (f"{self.summary().to_string(float_format='{:.3g}'.format)}\n"
                f"{self.replications} replications of {self.draws} draws; ranks are {verdict} "
                f"(p = {self.p_value:.2g}, corrected for the number of tests)")


def simulation_based_calibration(
    prior_draw: PriorDraw, simulate: Simulate, sampler: Sampler, *, key: Key[Array, ""],
    replications: int, quantities: Quantities | None = None,
    labels: Sequence[str] | None = None, vectorized: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Ranks:  # fmt: skip
    """Return ranks of true parameters among the draws of a sampler.

    Parameters
    ----------
    prior_draw
        From a key to parameters, drawn from the prior.
    simulate
        From a key and parameters to data, errors included.
    sampler
        From a key and data to draws of the posterior, always the same number. The draws should
        be nearly independent: thin those of a Markov chain (Talts et al., 2018, section 5.1).
    key
        Random key.
    replications
        Number of truths. An error of the posterior variance by 20 % shows with about 1000 for a
        single parameter, with about 100 in the log density of 10.
    quantities
        Further quantities to rank, a JAX function from parameters and data to a vector; the log
        posterior density is a good one (Modrak et al., 2023): it sees all parameters together.
    labels
        Names of the parameters, then of the quantities.
    vectorized
        Compute all replications at once by `vmap`; only if the sampler is a JAX function.
    progress
        Called with the number of replications done, and of all.

    Raises
    ------
    ValueError
        If there are too few replications, the labels do not fit, or the draws have another
        number of parameters than the truth.
    FloatingPointError
        If draws are not finite.
    """
    if replications < 20:
        raise ValueError(f"ranks are judged from at least 20 replications; got {replications}")
    one = partial(_replicate, prior_draw, simulate, quantities, sampler)
    keys = jax.random.split(key, replications)
    if vectorized:
        truth, draws = eqx.filter_jit(jax.vmap(one))(keys)
        truth, draws = np.asarray(truth), np.asarray(draws)
    else:
        pairs = []
        for i in range(replications):
            pairs.append(one(keys[i]))
            if progress is not None:
                progress(i + 1, replications)
        truth, draws = (np.stack([np.asarray(x) for x in each])
                        for each in zip(*pairs, strict=True))  # fmt: skip
    if not (np.isfinite(draws).all() and np.isfinite(truth).all()):
        bad = ~np.isfinite(draws).all(axis=(1, 2)) | ~np.isfinite(truth).all(axis=1)
        raise FloatingPointError(
            f"truth or draws of {bad.sum()} of {replications} replications are not finite, the "
            f"first is number {np.flatnonzero(bad)[0]}")
    names = tuple(labels or (f"quantity_{i}" for i in range(truth.shape[1])))
    if len(names) != truth.shape[1]:
        raise ValueError(f"{truth.shape[1]} quantities are ranked; got {len(names)} labels")
    ranks = (draws < truth[:, None]).sum(axis=1)
    return Ranks(ranks, draws.shape[1], names)


def _replicate(
    prior_draw: PriorDraw, simulate: Simulate, quantities: Quantities | None, sampler: Sampler,
    key: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Return what is ranked, of the truth and of the draws."""
    keys = jax.random.split(key, 3)
    truth = prior_draw(keys[0])
    data = simulate(keys[1], truth)
    draws = jnp.asarray(sampler(keys[2], data))
    if draws.ndim != 2 or draws.shape[1] != truth.shape[0]:
        raise ValueError(
            f"the sampler must return (draw, {truth.shape[0]}); it returned {draws.shape}")
    if quantities is None:
        return truth, draws
    every = jnp.concatenate([truth[None], draws])
    every = jnp.concatenate([every, _evaluated(quantities, every, data)], axis=1)
    return every[0], every[1:]


@eqx.filter_jit
def _evaluated(quantities: Quantities, draws: Array, data: Any) -> Array:
    return jax.vmap(lambda z: jnp.atleast_1d(quantities(z, data)))(draws)
