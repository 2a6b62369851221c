"""Batches of an ensemble as tasks of Dask: over the processes of a machine, or over machines.

What all members share is sent once, as bytes, and every worker process makes one compiled program
of it, which serves all its tasks. Results come back to the calling process, which alone writes: the
workers need no access to the store. If a worker dies, Dask gives its tasks to others.
"""

import functools
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import cloudpickle
import jax
import numpy as np
from distributed import Client, KilledWorker, as_completed

from jcm.cache import keep_compiled_programs
from jcm_calibrate.ensembles.members import Members
from jcm_calibrate.ensembles.programs import Devices, Values, Work, compute, local_devices

#: Tasks that are waiting or at work for each thread of the workers: enough that none is idle, and
#: few enough that results do not pile up.
TASKS_PER_THREAD = 2


class RemoteWork:
    """Work that the workers of a cluster have at hand."""

    def __init__(self, client: Client, work: Work, batch: int, devices: Devices):
        if not (devices is None or isinstance(devices, int | str)):
            raise ValueError(
                "with a Dask client, devices is None, 'all' or a number: those of each worker; "
                "devices of this process cannot be used there")
        self.client, self.batch, self.devices = client, batch, devices
        with warnings.catch_warnings():
            # Dask warns of megabytes in a task; this task is sent once.
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            # A task, not scattered data: Dask can make it again after all workers were lost.
            self._bytes = client.submit(bytes, cloudpickle.dumps(work), pure=False)

    def results(
        self, members: Members, batches: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, Values, list[str]]]:
        """Return members with their results, in the order in which they are ready.

        Raises
        ------
        RuntimeError
            If batches have killed their workers again and again; all others come first.
        """
        waiting, lost, indices_of = iter(batches), [], {}
        ready = as_completed()

        def submit() -> None:
            """Keep so many tasks with the cluster as it has use for; it may have grown."""
            for indices in itertools.islice(waiting, max(0, self._tasks() - len(indices_of))):
                future = self._submit(members.take(indices))
                indices_of[future] = indices
                ready.add(future)

        try:
            submit()
            for future in ready:
                indices = indices_of.pop(future)
                try:
                    values, reasons = future.result()
                except KilledWorker:
                    lost.extend(indices.tolist())
                else:
                    yield indices, values, reasons
                submit()
        finally:
            self.client.cancel(list(indices_of))
        if lost:
            raise RuntimeError(
                f"{len(lost)} members have killed their workers repeatedly (members {lost[:5]}"
                f"{', ...' if len(lost) > 5 else ''}), most often for lack of memory. All others "
                "are done; run again with a smaller batch or more memory for each worker")

    def _tasks(self) -> int:
        threads: Any = self.client.nthreads()
        return TASKS_PER_THREAD * max(1, sum(threads.values()))

    def _submit(self, rows: Any) -> Any:
        return self.client.submit(
            _task, self._bytes, cloudpickle.dumps(rows), self.batch, self.devices,
            bool(jax.config.read("jax_enable_x64")), pure=False)  # fmt: skip


def _task(
    work: bytes, rows: bytes, batch: int, devices: int | str | None, double: bool
) -> tuple[Values, list[str]]:
    """Compute a batch in a worker, in the precision of the calling process."""
    with jax.enable_x64(double):
        return compute(
            _unpacked(work), cloudpickle.loads(rows), batch, local_devices(devices))


@functools.lru_cache(maxsize=4)
def _unpacked(work: bytes) -> Work:
    # A worker gets its model from here and builds none.
    keep_compiled_programs()
    return cloudpickle.loads(work)
