"""Draws of a posterior as InferenceData: the form that tools for Bayesian work share.

It is an `xarray.DataTree` with the groups of that schema, which ArviZ 1 takes as it is; ArviZ 0.23
takes `arviz.InferenceData.from_datatree(data)`, and both read the file with `arviz.from_netcdf`.

Kumar, R., Carroll, C., Hartikainen, A. and Martin, O. (2019): ArviZ a unified library for
exploratory analysis of Bayesian models in Python. J. Open Source Softw., 4(33), 1143.
"""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key

from jcm.files import replacing
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.problem import Problem
from jcm_calibrate.uncertainty.posterior import Posterior, check_labels, sample_statistics

#: A tree of one dataset for each group.
InferenceData = xr.DataTree

def to_inference_data(
    posterior: Posterior, *, space: ParameterSpace | None = None,
    problem: Problem | None = None, key: Key[Array, ""] | None = None, prior_draws: int = 1000,
    predictions: int = 100,
) -> InferenceData:  # fmt: skip
    """Return draws, statistics of the sampler, prior, predictions and observations.

    Groups: `posterior` (parameters by name in their units, and `z`) and `sample_stats`; with a
    space and a key `prior`; with a problem `observed_data`, and with a key also
    `posterior_predictive`: `observations` are what would be observed, errors included,
    `model` is the model's counterpart without them.

    Parameters
    ----------
    posterior
        What `sample_nuts` returned.
    space
        Parameters that z stands for; by default those of the problem.
    problem
        Observations and run.
    key
        Random key for draws of the prior and of errors.
    prior_draws
        Number of draws of the prior.
    predictions
        Number of posterior draws to run the model for; 0 for none.

    Raises
    ------
    ValueError
        If the space has another number of parameters than the draws, or more predictions are
        asked for than there are draws.
    """
    space = problem.space if space is None and problem is not None else space
    if space is not None and space.size != posterior.size:
        raise ValueError(
            f"the space has {space.size} parameters, the draws have {posterior.size}; pass the "
            "space that was sampled")
    if not 0 <= predictions <= posterior.flat.shape[0]:
        raise ValueError(
            f"predictions is a number from 0 to that of the draws, {posterior.flat.shape[0]}; "
            f"got {predictions}")
    groups: dict[str, Any] = {
        "posterior": _parameters(posterior.draws, space),
        "sample_stats": xr.Dataset({
            name: (("chain", "draw"), values)
            for name, values in sample_statistics(posterior).items()})}
    groups["posterior"].attrs |= {
        "inference_library": "numpyro", "gradients": posterior.gradients,
        "sampling_time": posterior.seconds}
    if space is not None and key is not None:
        groups["prior"] = _parameters(np.asarray(space.draw(key, prior_draws))[None], space)
    if problem is not None:
        groups["observed_data"] = _data(problem, {
            "observations": np.asarray(problem.observations.values)}, ())
        if key is not None and predictions:
            groups["posterior_predictive"] = _predictive(posterior, problem, key, predictions)
    return xr.DataTree.from_dict(groups)


def write_inference_data(data: InferenceData, path: str | Path) -> Path:
    """Write InferenceData as netCDF, whole or not at all.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    with replacing(path) as temporary:
        data.to_netcdf(str(temporary), engine="netcdf4")
    return path


def _parameters(
    draws: Float[np.ndarray, "chain draw parameter"], space: ParameterSpace | None
) -> xr.Dataset:
    """Return z and, with a space, the parameters by name."""
    labels = check_labels(None if space is None else space.labels, draws.shape[-1])
    dataset = xr.Dataset(coords={
        "chain": np.arange(draws.shape[0]), "draw": np.arange(draws.shape[1]),
        "parameter": list(labels)})
    if space is not None:
        values = np.asarray(space.to_parameters(jnp.asarray(draws)))
        for i, (label, units) in enumerate(zip(labels, space.units, strict=True)):
            # A name in netCDF holds no slash.
            dataset[label.replace("/", "_")] = xr.DataArray(
                values[..., i], dims=("chain", "draw"), attrs={"units": units})
    dataset["z"] = xr.DataArray(draws, dims=("chain", "draw", "parameter"), attrs={
        "units": "1", "long_name": "parameters with standard normal prior"})
    return dataset


def _predictive(
    posterior: Posterior, problem: Problem, key: Array, predictions: int
) -> xr.Dataset:
    """Return what the model gives, and what would be observed, for draws evenly chosen."""
    chosen = np.linspace(0, posterior.flat.shape[0] - 1, predictions).round().astype(int)
    dtype = problem.observations.values.dtype
    model = _predict(problem, jnp.asarray(posterior.flat[chosen], dtype))
    errors = jax.vmap(problem.observations.errors.draw)(jax.random.split(key, predictions))
    dataset = _data(problem, {
        "observations": np.asarray(model + errors)[None], "model": np.asarray(model)[None]},
        ("chain", "draw"))
    return dataset.assign_coords(chain=[0], draw=np.arange(predictions))


@eqx.filter_jit
def _predict(problem: Problem, draws: Array) -> Array:
    return jax.lax.map(problem.predict, draws)


def _data(problem: Problem, values: dict[str, Any], leading: tuple[str, ...]) -> xr.Dataset:
    return xr.Dataset(
        {name: ((*leading, "datum"), x) for name, x in values.items()},
        coords={"datum": list(problem.observations.labels)})
