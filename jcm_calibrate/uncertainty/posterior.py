"""Draws of a posterior distribution, with what tells whether they can be trusted.

Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021): Rank-normalization,
folding, and localization: an improved R-hat for assessing convergence of MCMC. Bayesian Analysis,
16, 667-718. doi:10.1214/20-BA1221
Betancourt, M. (2018): A conceptual introduction to Hamiltonian Monte Carlo. arXiv:1701.02434
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from jcm_calibrate.uncertainty import diagnostics

#: Largest R-hat, and smallest effective sample size per chain, of draws that can be trusted.
RHAT, ESS_PER_CHAIN = 1.01, 100  # Vehtari et al. (2021), section 4
#: Smallest energy Bayesian fraction of missing information.
BFMI = 0.3  # Betancourt (2018), section 6.1
#: Largest share of divergent transitions.
DIVERGENT = 0.01  # chosen here


class Posterior(eqx.Module):
    """Draws of several chains, after warm-up."""

    #: Draws of z.
    draws: Float[np.ndarray, "chain draw parameter"]
    #: Log posterior density of each draw, as the function gave it.
    log_density: Float[np.ndarray, "chain draw"]
    #: Whether the transition to this draw diverged.
    diverging: Bool[np.ndarray, "chain draw"]
    #: Evaluations of the gradient for this draw.
    steps: Int[np.ndarray, "chain draw"]
    #: Mean acceptance probability over the transition.
    acceptance: Float[np.ndarray, "chain draw"]
    #: Energy: potential plus kinetic, in whitened coordinates.
    energy: Float[np.ndarray, "chain draw"]
    #: Step size after warm-up, in whitened coordinates.
    step_size: Float[np.ndarray, " chain"]
    #: Evaluations of the gradient during warm-up, of all chains.
    warmup_steps: int
    #: Wall time of warm-up and draws, without compilation [s].
    seconds: float

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.draws.shape[0]

    @property
    def size(self) -> int:
        """Number of components of z."""
        return self.draws.shape[2]

    @property
    def flat(self) -> Float[np.ndarray, "draw parameter"]:
        """All draws, chain after chain."""
        return self.draws.reshape(-1, self.size)

    @property
    def mean(self) -> Float[np.ndarray, " parameter"]:
        """Posterior mean of z."""
        return self.flat.mean(axis=0)

    @property
    def standard_deviation(self) -> Float[np.ndarray, " parameter"]:
        """Posterior standard deviation of z."""
        return self.flat.std(axis=0, ddof=1)

    @property
    def covariance(self) -> Float[np.ndarray, "parameter parameter"]:
        """Posterior covariance of z."""
        return np.atleast_2d(np.cov(self.flat, rowvar=False))

    def interval(self, probability: float = 0.9) -> Float[np.ndarray, "2 parameter"]:
        """Return lower and upper end of the central interval of z.

        Raises
        ------
        ValueError
            If the probability is not between 0 and 1.
        """
        if not 0 < probability < 1:
            raise ValueError(f"probability is between 0 and 1; got {probability}")
        tail = (1 - probability) / 2
        return np.quantile(self.flat, [tail, 1 - tail], axis=0)

    @property
    def tree_depth(self) -> Int[np.ndarray, "chain draw"]:
        """Depth of the tree of each transition."""
        return np.floor(np.log2(np.maximum(self.steps, 1))).astype(int) + 1

    @property
    def divergences(self) -> int:
        """Number of divergent transitions after warm-up."""
        return int(self.diverging.sum())

    @property
    def gradients(self) -> int:
        """Evaluations of the gradient, warm-up included, of all chains."""
        return self.warmup_steps + int(self.steps.sum())

    @property
    def rhat(self) -> Float[np.ndarray, " parameter"]:
        """Rank-normalised split R-hat of each component; NaN with a single chain."""
        if self.chains < 2:
            return np.full(self.size, np.nan)
        return diagnostics.rhat(self.draws)

    @property
    def ess_bulk(self) -> Float[np.ndarray, " parameter"]:
        """Effective sample size in the bulk of the distribution."""
        return diagnostics.ess_bulk(self.draws)

    @property
    def ess_tail(self) -> Float[np.ndarray, " parameter"]:
        """Effective sample size in the tails, of the 5 % and 95 % quantiles."""
        return diagnostics.ess_tail(self.draws)

    @property
    def bfmi(self) -> Float[np.ndarray, " chain"]:
        """Energy Bayesian fraction of missing information of each chain."""
        jumps = np.square(np.diff(self.energy, axis=1)).mean(axis=1)
        return jumps / self.energy.var(axis=1)

    def summary(self, labels: Sequence[str] | None = None) -> pd.DataFrame:
        """Return mean, width, 90 % interval, R-hat and effective sample sizes of z.

        Parameters
        ----------
        labels
            Names of the components, e.g. `space.labels`.

        Raises
        ------
        ValueError
            If there is not one label per component.
        """
        lower, upper = self.interval(0.9)
        columns = {
            "mean": self.mean, "sd": self.standard_deviation, "5 %": lower, "95 %": upper,
            "rhat": self.rhat, "ess_bulk": self.ess_bulk, "ess_tail": self.ess_tail}
        return pd.DataFrame(columns, index=list(check_labels(labels, self.size)))

    def problems(self) -> list[str]:
        """Return what speaks against trusting these draws, one sentence each; empty if nothing."""
        found = []
        if self.chains < 2:
            found.append("with one chain convergence cannot be seen; run at least 4 chains")
        elif np.nanmax(self.rhat) > RHAT or np.isnan(self.rhat).any():
            found.append(
                f"R-hat reaches {np.max(self.rhat):.3f}, above {RHAT}: the chains have not mixed; "
                "draw more or warm up longer")
        least = float(min(self.ess_bulk.min(), self.ess_tail.min()))
        if not least >= ESS_PER_CHAIN * self.chains:
            found.append(
                f"the effective sample size falls to {least:.0f}, below "
                f"{ESS_PER_CHAIN * self.chains}: quantiles are uncertain; draw more")
        share = self.diverging.mean()
        if share > DIVERGENT:
            found.append(
                f"{100 * share:.1f} % of the transitions diverged, above {100 * DIVERGENT:.0f} %: "
                "parts of the posterior may be missing; raise target_accept or shorten the window")
        if np.min(self.bfmi) < BFMI:
            found.append(
                f"the fraction of missing information falls to {np.min(self.bfmi):.2f}, below "
                f"{BFMI}: the energy moves slowly; warm up longer or change the parameters")
        return found

    def describe(self, labels: Sequence[str] | None = None) -> str:
        """Return the summary as a table, with cost and warnings."""
        # Chains that have not moved have no width to divide by; R-hat is then infinite.
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = self.summary(labels).round({"ess_bulk": 0, "ess_tail": 0})
            problems = self.problems()
        table = numbers.to_string(float_format="{:.3f}".format)
        count = self.draws.shape[1]
        return "\n".join([
            table,
            f"{self.chains} chains of {count} draws, {self.divergences} divergences, mean "
            f"acceptance {self.acceptance.mean():.2f}, mean tree depth "
            f"{self.tree_depth.mean():.1f}, {self.gradients} gradients in {self.seconds:.0f} s",
            *problems])

    def to_inference_data(self, **options: Any) -> Any:
        """Return the draws as InferenceData; see the module `inference_data`."""
        from jcm_calibrate.uncertainty.inference_data import to_inference_data

        return to_inference_data(self, **options)


def check_labels(labels: Sequence[str] | None, size: int) -> tuple[str, ...]:
    """Return one label per component; by default z_0, z_1, ...

    Raises
    ------
    ValueError
        If there is not one label per component.
    """
    if labels is None:
        return tuple(f"z_{i}" for i in range(size))
    if len(labels) != size:
        raise ValueError(f"{size} components need {size} labels; got {len(labels)}")
    return tuple(labels)


def sample_statistics(posterior: Posterior) -> Mapping[str, Shaped[np.ndarray, "chain draw"]]:
    """Return the statistics of the sampler under the names that ArviZ knows."""
    return {
        "diverging": posterior.diverging, "lp": posterior.log_density,
        "energy": posterior.energy, "acceptance_rate": posterior.acceptance,
        "n_steps": posterior.steps, "tree_depth": posterior.tree_depth,
        "step_size": np.broadcast_to(posterior.step_size[:, None], posterior.steps.shape)}
