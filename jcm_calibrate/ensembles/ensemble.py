"""Ensembles of runs: on one device, on all devices of a machine, or over machines with Dask.

One call for all three. Batches of members are written to a Zarr store as they are done; the same
call again goes on where the last one ended, however that came about. A member that cannot be
computed is missing in the store and does not stop the others.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from jcm.results import locked
from jcm_calibrate.ensembles.members import Members, as_members, members_of
from jcm_calibrate.ensembles.programs import (
    VALUE,
    Devices,
    Values,
    Work,
    compute,
    local_devices,
    trace,
)
from jcm_calibrate.ensembles.store import open_store, read_ensemble, template_of

__all__ = ["Members", "evaluate_with", "members_of", "read_ensemble", "run_ensemble"]

#: Called with the number of members that are done, and of all.
Progress = Callable[[int, int], None]
Results = Iterator[tuple[np.ndarray, Values, list[str]]]


def run_ensemble(
    run: Callable[[Any], Any],
    members: Any,
    store: str | Path,
    *,
    client: Any = None,
    devices: Devices = None,
    batch: int = 4,
    resume: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Compute the members of an ensemble, write them to a Zarr store and return them.

    Parameters
    ----------
    run
        Function of JAX from an input to arrays by name, or to one array, which is then called
        `value`: an experiment of `model_experiment`, `make_windows`, or any other.
    members
        Inputs: `members_of(space, inputs, z)` where parameters vary, `stack_members(...)` of
        several inputs, an array (member, component) for a function of a vector, or any pytree of
        arrays with a leading axis of members.
    store
        Folder of the store. If it holds finished members of this ensemble, they are not computed
        again; neither are those whose values are not finite. Members that raised an error are.
    client
        `dask.distributed.Client` whose workers compute the batches. Use worker processes with one
        thread each. Default: this process computes.
    devices
        On which devices a process computes: None for one, `"all"`, a number, or (without client) a
        list.
    batch
        Members that a device computes at once.
    resume
        Whether an existing store of this ensemble is taken up; otherwise it is refused.
    progress
        Called after every batch with the number of members in the store, and of all.

    Returns
    -------
    xarray.Dataset
        Outputs with the dimension `member`, with units and CF names where `run` is one of a model;
        parameter values as coordinates and, for vectors, `z`; `failed` and `reason` of each
        member, whose outputs are NaN if it has failed. Arrays are read from the store when used.

    Raises
    ------
    TypeError
        If `run` is no function of JAX, or returns something else.
    ValueError
        If members have no common leading axis, the batch is not positive, there are fewer devices,
        or the store is that of another ensemble.
    FileNotFoundError, FileExistsError
        If the store has no folder to lie in, or there is something else of this name.
    MemoryError
        If a batch does not fit into memory.
    OSError
        If members cannot be written; those before them are safe.
    RuntimeError
        If members have killed workers of the cluster repeatedly, or another process writes to the
        store.
    """
    _check_batch(batch)
    members = as_members(members)
    work = Work(run, members.shared, members.combine)
    traced = trace(work, members)
    size = batch * _devices_of_one_task(client, devices)
    opened = open_store(
        store, traced, members, lambda: template_of(run, traced, members), chunk=size,
        resume=resume)  # fmt: skip
    with locked(opened.path):
        pending = opened.pending()
        done = members.count - len(pending)
        if len(pending):
            batches = np.split(pending, range(size, len(pending), size))
            results = _results(work, client, devices, batch)(members, batches)
            for indices, values, reasons in results:
                opened.write(indices, values, reasons)
                done += len(indices)
                if progress is not None:
                    progress(done, members.count)
    return read_ensemble(store)


def evaluate_with(
    function: Callable[[Any], Any],
    *,
    client: Any = None,
    devices: Devices = None,
    batch: int = 4,
) -> Callable[[Any], np.ndarray]:
    """Return a function from vectors (member, n) to values (member, ...), NaN where one failed.

    It is what Kalman methods and other methods without gradients take as `evaluate`; nothing is
    stored. The function is compiled once, by each worker, for all calls.

    Parameters
    ----------
    function
        Function of JAX of a vector (n,): to residuals (datum,), or to a number.
    client, devices, batch
        As for `run_ensemble`.

    Raises
    ------
    ValueError
        If the batch is not positive; when called, if vectors have no leading axis of members.
    TypeError
        When called, if it is no function of JAX or returns several arrays.
    RuntimeError
        When called, if all members fail, or members kill workers repeatedly.
    """
    _check_batch(batch)
    size = batch * _devices_of_one_task(client, devices)
    like = as_members(np.zeros((1, 1)))
    work = Work(function, like.shared, like.combine)
    results = _results(work, client, devices, batch)
    outputs: dict[tuple[int, ...], dict[str, Any]] = {}

    def evaluate(vectors: Any) -> np.ndarray:
        members = as_members(jnp.asarray(vectors))
        key = np.shape(vectors)[1:]
        if key not in outputs:
            outputs[key] = trace(work, members).outputs
        if list(outputs[key]) != [VALUE]:
            raise TypeError(
                "an evaluated function returns one array; got arrays called "
                f"{', '.join(outputs[key])}")
        values, reasons = np.full((members.count, *outputs[key][VALUE].shape), np.nan), []
        batches = np.split(np.arange(members.count), range(size, members.count, size))
        for indices, found, why in results(members, batches):
            values[indices] = found[VALUE]
            reasons += filter(None, why)
        if len(reasons) == members.count:
            raise RuntimeError(
                f"all {members.count} members have failed, the first with: {reasons[0]}")
        return values

    return evaluate


def _results(
    work: Work, client: Any, devices: Devices, batch: int
) -> Callable[[Members, list[np.ndarray]], Results]:
    """Return the function from members and batches to results, here or on a cluster."""
    if client is not None:
        # Imported here: it takes a second, and most ensembles do without.
        from jcm_calibrate.ensembles.over_dask import RemoteWork

        return RemoteWork(client, work, batch, devices).results
    here = local_devices(devices)

    def results(members: Members, batches: list[np.ndarray]) -> Results:
        for indices in batches:
            yield indices, *compute(work, members.take(indices), batch, here)

    return results


def _devices_of_one_task(client: Any, devices: Devices) -> int:
    """Return on how many devices a batch is computed at once."""
    if client is None:
        return len(local_devices(devices))
    if devices != "all":
        return devices if isinstance(devices, int) else 1
    return min(client.run(_count_devices).values(), default=1)


def _count_devices() -> int:
    return len(local_devices("all"))


def _check_batch(batch: int) -> None:
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch is a positive number of members; got {batch!r}")
