"""A calibration from a TOML file: model, windows, parameters and observations.

`[model]`, `[forcing]` and `[parameters]` are those of `jcm.config`, `[calibration]` is
`jcm_calibrate.tables`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jcm.build import build
from jcm.calendar import format_date
from jcm.config import load_experiment
from jcm.fingerprint import fingerprint
from jcm.model import Model
from jcm.parameters import get
from jcm.provenance import package_version
from jcm.results import identify
from jcm.simulate import Inputs
from jcm.tables import Experiment as ExperimentFile
from jcm_calibrate.observations.packaged import packaged_observations
from jcm_calibrate.observations.readers import load_observations
from jcm_calibrate.observations.vector import Observation, Observations, synthetic
from jcm_calibrate.parameters.fields import LatitudeField
from jcm_calibrate.parameters.priors import prior_from_table
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_calibrate.problem import Problem, make_problem
from jcm_calibrate.tables import (
    FILE_ARGUMENTS,
    PACKAGED,
    PACKAGED_ARGUMENTS,
    TWIN,
    CalibrationTable,
    calibration_table,
    check_tables,
)
from jcm_calibrate.windows import Windows, initial_states, make_windows


class Calibration(NamedTuple):
    """What a file describes, built."""

    problem: Problem
    table: CalibrationTable
    #: The file as it was read.
    text: str
    #: z of the parameters of the experiment.
    reference: jax.Array
    #: z that synthetic observations were made with; None for real ones.
    truth: jax.Array | None
    #: What must not change when a fit or a sample is resumed.
    identity: dict[str, str]

    @property
    def key(self) -> jax.Array:
        """Random key of the experiment."""
        return jax.random.key(self.table.seed)


def read_calibration(path: str | Path, *, gradients: bool = True) -> Calibration:
    """Return the calibration of a TOML file.

    Parameters
    ----------
    path
        The file; paths in it start from its folder.
    gradients
        Whether gradients will be used: then windows longer than their horizon are warned of.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or one that it names.
    ValueError, KeyError
        If a key, a name or a value is not valid, or observations and run do not fit.
    """
    experiment = load_experiment(path)
    check_tables(experiment)
    table = calibration_table(experiment.calibration)
    model, inputs, windows = _windows(experiment, table)
    space = _space(inputs, table)
    truth = _vector(space, inputs, table.truth, "truth") if table.truth else None
    observations = _observations(experiment.folder, table, model, inputs, windows, space, truth)
    problem = make_problem(space, observations, windows, inputs, gradients=gradients)
    return Calibration(
        problem, table, Path(path).read_text(), space.extract(inputs), truth,
        _identity(experiment, table))


def start_vector(calibration: Calibration) -> jax.Array:
    """Return the z that a fit starts from.

    Raises
    ------
    ValueError, KeyError
        If a value is outside the bounds of its parameter, or a name is not estimated.
    """
    problem, start = calibration.problem, calibration.table.fit.start
    return (_vector(problem.space, problem.inputs, start, "fit.start") if start
            else calibration.reference)


def _identity(experiment: ExperimentFile, table: CalibrationTable) -> dict[str, str]:
    """Return all but titles, lengths that may grow on resume, and what stores check."""
    content = table.model_dump(
        mode="json", exclude={"title": True, "ensemble": True, "sample": True,
                              "fit": {"steps", "budget"}})  # fmt: skip
    content |= experiment.model_dump(
        mode="json", include={"model", "parameters", "forcing", "state"})
    return identify(
        version=package_version(), files=_contents(content, experiment.folder), **content)


def _contents(value: Any, folder: Path) -> list[tuple[str, str]]:
    """Return path and hash of every file that a table names: a file may change, too."""
    if isinstance(value, Mapping):
        return [x for each in value.values() for x in _contents(each, folder)]
    if isinstance(value, list):
        return [x for each in value for x in _contents(each, folder)]
    if not isinstance(value, str) or not (folder / value).is_file():
        return []
    return [(value, fingerprint((folder / value).read_bytes()))]


def _windows(experiment: ExperimentFile, table: CalibrationTable) -> tuple[Model, Inputs, Windows]:
    """Return model, inputs of the first run, and the windows."""
    asked, members = table.windows, []
    model = inputs = None
    for first in asked.starts:
        forcing = experiment.forcing.model_copy(update={"start": first})
        model, own, _ = build(experiment.model_copy(update={"forcing": forcing}))
        inputs = own if inputs is None else inputs
        members += initial_states(model, own, asked.states, asked.spacing_days)
    assert model is not None and inputs is not None
    windows = make_windows(
        model, members, days=asked.days, every=asked.every, spin_up_days=asked.spin_up_days,
        relaxation_days=asked.relaxation_days, batch_size=asked.batch_size)  # fmt: skip
    return model, inputs, windows


def _space(inputs: Inputs, table: CalibrationTable) -> ParameterSpace:
    fields = [LatitudeField(x.name, order=x.order, width=x.width) for x in table.fields]
    priors = {}
    for name, given in table.priors.items():
        with _named("priors", name):
            priors[name] = prior_from_table(given)
    return ParameterSpace.of(
        inputs, [*table.parameters, *fields], priors, spread=table.spread,
        allow_outside_bounds=table.allow_outside_bounds)  # fmt: skip


def _vector(
    space: ParameterSpace, inputs: Inputs, values: Mapping[str, float], where: str
) -> jax.Array:
    """Return z of the experiment with some parameters changed."""
    unknown = [name for name in values if name not in space.labels]
    if unknown:
        get(inputs, unknown[0])
        raise ValueError(
            f"[calibration.{where}] {unknown[0]} is not among the parameters to estimate; add it "
            "to parameters, or change it in [parameters]")
    x = np.array(space.to_parameters(space.extract(inputs)))
    for name, value in values.items():
        x[space.labels.index(name)] = value
    try:
        return space.from_parameters(jnp.asarray(x))
    except ValueError as error:
        raise ValueError(f"[calibration.{where}] {error}") from None


def _observations(
    folder: Path, table: CalibrationTable, model: Model, inputs: Inputs, windows: Windows,
    space: ParameterSpace, truth: jax.Array | None,
) -> Observations:  # fmt: skip
    """Return all blocks as one vector, in the order of the file."""
    times: dict[str, Any] = {
        "start": [format_date(int(day)) for day in windows.start_days], "every": windows.every,
        "inputs": inputs}  # fmt: skip
    blocks: list[Observation] = []
    twins: dict[str, dict[str, Any]] = {}
    for name, given in table.observations.items():
        block = dict(given)
        source = block.pop("from")
        if source == TWIN:
            twins[name] = block
            continue
        with _named("observations", name):
            if source == PACKAGED:
                found = _packaged(model, name, block, windows, times)
            else:
                found = _from_file(folder / source, model, name, block, windows, times)
        blocks += found.blocks
    if twins:
        assert truth is not None
        blocks += _twin(table, model, windows, space, inputs, truth, twins, times).blocks
    return Observations(blocks)


@contextmanager
def _named(table: str, name: str) -> Iterator[None]:
    """Say of which table an error is."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        raise ValueError(f"[calibration.{table}.{name}] {text}") from error


def _from_file(
    path: Path, model: Model, name: str, block: dict[str, Any], windows: Windows,
    times: dict[str, Any],
) -> Observations:  # fmt: skip
    apart = {key: block.pop(key) for key in FILE_ARGUMENTS if key in block}
    if "window" in apart:
        apart["window"] = tuple(apart["window"])
    return load_observations(
        path, model, {name: block}, count=windows.outputs, **apart, **times)


def _packaged(
    model: Model, name: str, block: dict[str, Any], windows: Windows, times: dict[str, Any]
) -> Observations:
    apart = {key: block.pop(key) for key in PACKAGED_ARGUMENTS if key in block}
    names = block.pop("names", name)
    if block:
        apart["operator"] = block if "operator" in block else {"operator": "zonal_mean", **block}
    return packaged_observations(model, names, count=windows.outputs, **apart, **times)


def _twin(
    table: CalibrationTable, model: Model, windows: Windows, space: ParameterSpace, inputs: Inputs,
    truth: jax.Array, blocks: dict[str, dict[str, Any]], times: dict[str, Any],
) -> Observations:  # fmt: skip
    """Return what the model gives with the true parameters, errors added."""
    # With zeros first: a mistake in a block is found before the model is compiled and run.
    empty = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), eqx.filter_eval_shape(windows, inputs))
    for name, block in blocks.items():
        with _named("observations", name):
            synthetic(model, empty, {name: block}, **times)
    fields = eqx.filter_jit(windows)(space.insert(inputs, truth))
    key = jax.random.fold_in(jax.random.key(table.seed), 1) if table.noise else None
    return synthetic(model, fields, blocks, key=key, **times)
