"""Runs on the host: start one in a directory, or go on with one that was interrupted.

`simulate` is pure and compiled; here are the files, and what a run needs to be taken up again:
the choices of the user are stored before anything is computed, the whole state after each chunk.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jcm.arguments import RECORD, check_directory
from jcm.checks import check_inputs
from jcm.integration import Run, carry_on
from jcm.model import Model
from jcm.restart import check_identity, identity, newest_restart, remove_old_restarts
from jcm.results import locked
from jcm.run_directory import (
    FIELDS,
    Record,
    explained,
    kept_outputs,
    plain,
    read_log,
    read_record,
    tidy,
    write_record,
)
from jcm.schedule import Every, check_observed, make_plan, make_settings
from jcm.simulate import Inputs
from jcm.variables import VARIABLES, Variable

T = TypeVar("T")


def run(
    model: Model,
    inputs: Inputs,
    directory: str | Path,
    *,
    days: float,
    every: Every = 1.0,
    average: bool = True,
    observe: Sequence[str] | None = None,
    format: str = "netcdf",
    pressure_levels: Sequence[float] | None = None,
    chunk: float | None = None,
    allow_out_of_bounds: bool = False,
    attributes: Mapping[str, Any] | None = None,
    variables: Mapping[str, Variable] = VARIABLES,
    experiment: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Integrate and write the fields and a log, `run.json`, into a new or empty directory.

    Parameters
    ----------
    model, inputs, days, average, observe
        As for `simulate`; `observe` names the variables to write.
    directory
        Where to write; it is made if it does not exist.
    every
        Days between outputs, or `month`: calendar months, of which the first and the last may be
        cut by the ends of the run.
    format
        `netcdf` for a file `fields.nc`, `zarr` for a store `fields.zarr`.
    pressure_levels
        Pressures [hPa] on which fields on levels are written, instead of the layers of the model;
        means over time are interpolated with the mean surface pressure.
    chunk
        Days between restart files, a multiple of `every`: memory grows with it. Default about
        ten days; a month where `every` is one.
    allow_out_of_bounds
        Accept parameters outside their bounds.
    attributes, variables
        As for `jcm.output.to_dataset`.
    experiment
        Record of how model and inputs are made, see `jcm.config.build`; with it, `resume` needs
        only the directory.
    progress
        Show a progress bar on the terminal.

    Returns
    -------
    path
        The file or store with the fields.

    Raises
    ------
    ValueError
        If lengths, variables, parameters, forcing or state are not valid.
    FileExistsError
        If the directory is not empty.
    UnstableRun
        If a field becomes infinite or undefined; outputs before that are in the fields.
    OSError
        If something cannot be written. What is there stays, and `resume` goes on.
    """
    directory = check_directory(directory)
    settings = make_settings(model, inputs, {
        "days": days, "every": every, "average": average,
        "observe": None if observe is None else tuple(observe), "chunk": chunk, "format": format,
        "pressure_levels": pressure_levels, "attributes": plain(attributes or {}),
        "variables": {k: v for k, v in variables.items() if VARIABLES.get(k) != v}})  # fmt: skip
    plan = make_plan(model, settings)
    check_inputs(model, inputs, allow_out_of_bounds=allow_out_of_bounds)
    inputs = _plain_arrays(inputs)
    check_observed(model, inputs, settings)
    identified = identity(model, inputs)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        check_directory(directory)
        record = Record(settings, identified, None if experiment is None else plain(experiment))
        with explained(directory, RECORD, 0):
            write_record(directory, record)
        return carry_on(
            Run(model, inputs, directory, settings, plan, identified), progress)


def resume(
    directory: str | Path,
    days: float | None = None,
    *,
    model: Model | None = None,
    inputs: Inputs | None = None,
    progress: bool = True,
) -> Path:
    """Go on with a run that was interrupted, or lengthen one; the result is the same bit for bit.

    Parameters
    ----------
    directory
        Where the run has written.
    days
        Length of the whole run from its beginning; default the length asked for last.
    model, inputs
        Those that the run started from. Needed for runs started in Python from a model and inputs
        without an `experiment`; others are built anew.
    progress
        Show a progress bar on the terminal.

    Returns
    -------
    path
        The file or store with the fields.

    Raises
    ------
    FileNotFoundError
        If there is no run in the directory, or its fields are gone.
    ValueError
        If the run was unstable, its files are damaged or those of another version, model or
        inputs, or it is longer than `days`.
    UnstableRun, OSError
        As for `run`.
    """
    directory = Path(directory)
    record = read_record(directory)
    log = read_log(directory)
    if log.get("status") == "unstable":
        raise ValueError(
            f"the run in {str(directory)!r} cannot go on: {log['message']} It would fail in the "
            "same way again; change the experiment, and start it in another directory")
    if days is not None:
        record = record._replace(settings=record.settings._replace(days=float(days)))
    with locked(directory):
        return carry_on(_resumed(directory, record, model, inputs), progress)


def _resumed(
    directory: Path, record: Record, model: Model | None, inputs: Inputs | None
) -> Run:
    """Return a run as its files have it."""
    rebuilt = model is None or inputs is None
    if model is None or inputs is None:
        model, inputs = _rebuilt(directory, record, with_state=False)
    inputs = Inputs(
        _plain_arrays(inputs.parameters), _plain_arrays(inputs.forcing), inputs.state)
    identified = identity(model, inputs)
    check_identity(record.identity, identified, directory / RECORD)
    settings, plan = record.settings, make_plan(model, record.settings)
    restart = newest_restart(directory, plan.edges, identified, inputs.state)
    done = 0 if restart is None else restart.outputs
    if restart is not None:
        state = restart.state
    else:
        state = _rebuilt(directory, record, with_state=True)[1].state if rebuilt else inputs.state
    tidy(directory, done)
    remove_old_restarts(directory)
    if kept_outputs(directory, settings) < done:
        raise FileNotFoundError(
            f"outputs of the run in {str(directory)!r} are gone: its state is that after {done} "
            f"outputs, but {FIELDS[settings.format]} and parts do not hold them; put them back, "
            "or start the run anew in another directory")
    with explained(directory, RECORD, done):
        write_record(directory, record)
    return Run(
        model, inputs.with_state(_plain_arrays(state)), directory, settings, plan, identified,
        done, None if restart is None else restart.wind)


def _rebuilt(directory: Path, record: Record, *, with_state: bool) -> tuple[Model, Inputs]:
    """Return model and inputs of the experiment that was stored."""
    if record.experiment is None:
        raise ValueError(
            f"the run in {str(directory)!r} was started in Python, and how its model and inputs "
            "were made is not known; give them: jcm.resume(directory, model=..., inputs=...)")
    from jcm.build import build
    from jcm.config import stored_experiment

    return build(stored_experiment(record.experiment), with_state=with_state)[:2]


def _plain_arrays(tree: T) -> T:
    """Return the tree with arrays as they come from a file, so that both compile alike.

    JAX arrays made from Python numbers have weak types, which files do not keep.
    """
    key = lambda x: eqx.is_array(x) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: x if key(x) else jnp.asarray(np.asarray(x)), tree)
