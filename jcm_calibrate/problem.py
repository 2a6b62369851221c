"""The one objective: residuals of observations, and the posterior density they lead to.

With H(z) the model's counterpart of the observations y at the parameters that z stands for, and
R = L L' the covariance of their errors, the whitened residuals are r(z) = L^-1 (H(z) - y). The
prior of z is the standard normal one, see `jcm_calibrate.parameters.space`, so that

    log p(z | y) = -|r(z)|^2 / 2 - |z|^2 / 2 + constant

(Tarantola, A. (2005): Inverse Problem Theory. SIAM, section 3.2). The residuals with z appended
are all that least squares, Kalman methods and the Laplace approximation need.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.physics import Fields
from jcm.simulate import Inputs
from jcm_calibrate.observations.vector import Observations, synthetic
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.windows import Windows, make_windows


class Problem(eqx.Module):
    """Parameters, observations, and the run between them; itself the function to minimise.

    Calling it returns the residuals with those of the prior, so `minimise(problem, start)` finds
    the most probable parameters.
    """

    space: ParameterSpace
    observations: Observations
    #: From inputs to fields: `Windows`, a `jcm_sensitivity.Experiment`, or any such function.
    run: Callable[[Inputs], Fields]
    #: What is not estimated.
    inputs: Any

    def predict(self, z: Float[Array, " parameter"]) -> Float[Array, " datum"]:
        """Return the model's counterpart of the observations, in their units."""
        return self.observations.predict(self.run(self.space.insert(self.inputs, z)))

    def residuals(self, z: Float[Array, " parameter"]) -> Float[Array, " datum"]:
        """Return model less observation in units of the errors: uncorrelated, of variance 1."""
        return self.observations.whiten(self.predict(z) - self.observations.values)

    def residuals_with_prior(self, z: Float[Array, " parameter"]) -> Float[Array, " row"]:
        """Return the residuals, then z: half their sum of squares is -log posterior + constant."""
        return jnp.concatenate([self.residuals(z), z])

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, " row"]:
        """Return the residuals with those of the prior."""
        return self.residuals_with_prior(z)

    def log_likelihood(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log density of the observations."""
        return -0.5 * jnp.sum(self.residuals(z) ** 2) - self.observations.log_normalisation

    def log_posterior(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log posterior density of z, without the evidence."""
        return self.log_likelihood(z) + self.space.log_prior(z)

    def take(self, windows: Sequence[int] | np.ndarray) -> "Problem":
        """Return the problem of some of the windows, e.g. to train on, to test on, a mini-batch.

        Problems of as many windows share one compiled program.

        Raises
        ------
        TypeError
            If the run is not one of `Windows`.
        ValueError
            If there is no such window, or an observation is a mean over several windows.
        """
        if not isinstance(self.run, Windows):
            raise TypeError(
                f"only runs of Windows can be divided; this run is a {type(self.run).__name__}")
        run = self.run.take(windows)
        outputs = np.arange(self.run.count * self.run.outputs).reshape(self.run.count, -1)
        return dataclasses.replace(
            self, run=run, observations=self.observations.take(outputs[windows].ravel()))

    def mini_batches(self, size: int, seed: int = 0) -> Callable[[int], "Problem"]:
        """Return a function from the number of an iteration to the problem of its mini-batch.

        Every window is used once in each pass; the order of a pass follows from the seed and the
        number of the pass alone, so an interrupted descent goes on with the same batches.

        Raises
        ------
        ValueError
            If the windows cannot be divided into batches of this size.
        """
        count = self.run.count if isinstance(self.run, Windows) else 0
        if not 0 < size <= count or count % size:
            raise ValueError(
                f"size must divide the number of windows, {count}; got {size}")

        def batch(iteration: int) -> Problem:
            in_pass, place = divmod(iteration * size, count)
            order = np.random.default_rng((seed, in_pass)).permutation(count)
            return self.take(np.sort(order[place:place + size]))

        return batch


def make_problem(
    space: ParameterSpace, observations: Observations, run: Callable[[Inputs], Fields],
    inputs: Inputs, *, gradients: bool = True,
) -> Problem:  # fmt: skip
    """Return the problem of estimating the parameters of a space from observations.

    Parameters
    ----------
    space
        Parameters to estimate, and their prior.
    observations
        The observation vector with its errors.
    run
        From inputs to fields. Runs of `Windows` observe only what the observations need.
    inputs
        Everything that is not estimated.
    gradients
        Whether gradients will be used: then windows longer than their horizon are warned of.

    Raises
    ------
    ValueError
        If a window lacks a variable, or the number of outputs does not fit the observations.

    Warns
    -----
    HorizonWarning
        If the windows are longer than gradients are usable.
    """
    if isinstance(run, Windows):
        run = run.observing(observations.variables)
        if gradients:
            run.warn_beyond_horizon(stacklevel=3)
    shape = eqx.filter_eval_shape(lambda: observations.predict(run(inputs))).shape
    if shape != observations.values.shape:
        raise ValueError(
            f"the run gives {shape} data, the observations have {observations.values.shape}; "
            "make both for the same windows and outputs")
    return Problem(space, observations, run, inputs)


def twin_problem(
    model: Model,
    members: Sequence[Inputs],
    parameters: Sequence[str],
    blocks: Mapping[str, Mapping[str, Any]],
    *,
    days: float,
    truth: Array,
    noise: Array | None = None,
) -> tuple[Problem, Float[Array, " parameter"]]:
    """Return the problem of finding parameters again from windows run with them, and their z.

    Parameters
    ----------
    model, members, days
        Structure, inputs that windows start from, and length of each window.
    parameters
        Names of what is to be found; the truth is a draw of their default prior.
    blocks
        Arguments of `make_operator` and `error` by name of a block; without others, zonal means of
        each window.
    truth, noise
        Random keys of the true parameters and of the errors; None: no errors.
    """
    space = ParameterSpace.of(members[0], parameters)
    z = space.draw(truth, 1)[0]
    wanted = dict.fromkeys(x["variable"] for x in blocks.values())
    windows = make_windows(model, members, days=days, observe=tuple(wanted))
    fields = eqx.filter_jit(lambda run, inputs: run(inputs))(
        windows, space.insert(members[0], z))
    given = {name: {"operator": "zonal_mean", "periods": "each", **x} for name, x in blocks.items()}
    observations = synthetic(model, fields, given, inputs=members[0], key=noise)
    return make_problem(space, observations, windows, members[0]), z


def log_posterior(
    run: Callable[[Inputs], Fields], inputs: Inputs, space: ParameterSpace,
    observations: Observations,
) -> Callable[[Float[Array, " parameter"]], Float[Array, ""]]:  # fmt: skip
    """Return the log posterior density as a function of z: Gaussian likelihood plus prior.

    Parameters
    ----------
    run
        From inputs to fields.
    inputs
        Everything that is not estimated.
    space, observations
        Parameters with their prior, data with their errors.

    Raises
    ------
    ValueError
        If run and observations do not fit.
    """
    return LogPosterior(make_problem(space, observations, run, inputs))


class LogPosterior(eqx.Module):
    """A problem as a density; its arrays stay arguments of compiled programs."""

    problem: Problem

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log posterior density of z, without the evidence."""
        return self.problem.log_posterior(z)
