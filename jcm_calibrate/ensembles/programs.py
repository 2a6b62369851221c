"""The compiled program of an ensemble: members in batches, on one device or several.

A batch is padded to its full size by repeating its last member, so that one program serves all
batches. Over several devices every device runs the same program on its part of the batch; devices
do not wait for each other, and the results are those of one device.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpyro.distributions import Distribution

from jcm.fingerprint import program_fingerprint
from jcm.provenance import package_version
from jcm.results import identify
from jcm_calibrate.ensembles.members import Members

#: Name of the output of a function that returns one array.
VALUE = "value"
#: How the reason of a failure begins that would come again.
NOT_FINITE = "values that are not finite"
#: Longest reason of a failure that is kept [characters].
REASON_LENGTH = 300
#: Parts of messages by which an accelerator or the system says that there is no memory left.
NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")
#: How an error is written after a traceback.
TRACEBACK, RAISED = "Traceback (most recent call last)", re.compile(r"[\w.]*(Error|Exception): ")
AXIS = "member"
#: None for one, "all", a number, or the devices themselves.
Devices = int | str | Sequence[Any] | None
Values = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Work:
    """What is computed for every member."""

    run: Callable
    shared: Any
    combine: Callable

    def split(self) -> tuple[Any, Callable[[Any, Any], dict[str, jax.Array]]]:
        """Return the arrays that all members share, and the function of them and a member."""
        arrays, static = eqx.partition(
            (self.run, self.shared), eqx.is_array, is_leaf=_is_distribution)

        def one(arrays: Any, row: Any) -> dict[str, jax.Array]:
            run, shared = eqx.combine(arrays, static, is_leaf=_is_distribution)
            return _named(run(self.combine(shared, row)))

        return arrays, one


@dataclass(frozen=True)
class Traced:
    """Outputs of a member, and what distinguishes one ensemble from another."""

    #: Shape and type of each output of one member, by name.
    outputs: dict[str, jax.ShapeDtypeStruct]
    #: Hashes of the program, of what all members share, and of what varies; version.
    fingerprint: dict[str, str]


def trace(work: Work, members: Members) -> Traced:
    """Return what is known of an ensemble before it is computed.

    The program is compared as JAX sees it: another name or comment in the code is no change,
    another operation or length of run is one.

    Raises
    ------
    TypeError
        If the function is no function of JAX, or returns something else than arrays by name.
    """
    arrays, one = work.split()
    row = jax.tree.map(lambda x: x[0], members.varying)
    program, outputs = program_fingerprint(one, arrays, row)
    return Traced(outputs, identify(
        version=package_version(), program=program, shared=jax.tree.leaves(arrays),
        members=jax.tree.leaves(members.varying)))  # fmt: skip


def local_devices(devices: Devices) -> tuple[Any, ...]:
    """Return devices of this process.

    Parameters
    ----------
    devices
        None for one device, `"all"`, a number, or the devices themselves.

    Raises
    ------
    ValueError
        If there are not so many.
    """
    if devices is None:
        return (next(iter(jnp.zeros(()).devices())),)
    found = jax.local_devices()
    if isinstance(devices, str):
        if devices != "all":
            raise ValueError(f"devices is None, 'all', a number or a list; got {devices!r}")
        return tuple(found)
    if isinstance(devices, int):
        if not 1 <= devices <= len(found):
            raise ValueError(
                f"this process has {len(found)} devices ({found[0].platform}); got devices = "
                f"{devices}. On a CPU, set XLA_FLAGS=--xla_force_host_platform_device_count="
                f"{devices} before Python starts")
        return tuple(found[:devices])
    if not devices:
        raise ValueError("devices is an empty list; give at least one, or None for the default")
    return tuple(devices)


def compute(
    work: Work, rows: Any, batch: int, devices: tuple[Any, ...]
) -> tuple[Values, list[str]]:
    """Return the outputs of some members, and why each has failed.

    Parameters
    ----------
    work
        What is computed.
    rows
        Varying part of the members, at most `batch` for each device.
    batch
        Members that one device computes at once.
    devices
        Devices of this process.

    Returns
    -------
    values, reasons
        Outputs by name (member, ...), NaN where a member failed; an empty reason where none did.

    Raises
    ------
    MemoryError
        If a batch does not fit into memory.
    """
    program = _program(work, devices)
    size, count = batch * len(devices), len(jax.tree.leaves(rows)[0])
    try:
        values = _evaluate(program, rows, size)
    # What a run raises is not known here: a member that cannot be computed is a result, too.
    except Exception as error:
        _refuse_lack_of_memory(error, batch)
        if count == 1:
            return _nothing(work, rows), [_reason(error)]
        parts = [
            compute(work, jax.tree.map(lambda x, k=k: x[k:k + 1], rows), batch, devices)
            for k in range(count)]
        joined = {
            name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
        return joined, [reason for _, reasons in parts for reason in reasons]
    reasons = [_not_finite(values, k) for k in range(count)]
    failed = np.array([bool(reason) for reason in reasons])
    for array in values.values():
        array[failed] = np.nan
    return values, reasons


def result_dtype(dtype: Any) -> np.dtype:
    """Return the type of a stored output: one that has a NaN."""
    return np.dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else np.dtype(float)


@functools.lru_cache(maxsize=4)
def _program(work: Work, devices: tuple[Any, ...]) -> Callable[[Any], dict[str, jax.Array]]:
    """Return the function from a full batch to its outputs, with what is shared in place."""
    arrays, one = work.split()
    several = jax.vmap(one, in_axes=(None, 0))
    if len(devices) == 1:
        compiled, arrays = jax.jit(several), jax.device_put(arrays, devices[0])
        return lambda rows: compiled(arrays, jax.device_put(rows, devices[0]))
    mesh = Mesh(np.array(devices), (AXIS,))
    everywhere, divided = PartitionSpec(), PartitionSpec(AXIS)
    # `shard_map`, not automatic partitioning: that would make loops of all devices wait for each
    # other, and gather what it cannot divide. Its check of replication does not know the
    # primitives of the model.
    compiled = jax.jit(jax.shard_map(
        several, mesh=mesh, in_specs=(everywhere, divided), out_specs=divided, check_vma=False))
    arrays = jax.device_put(arrays, NamedSharding(mesh, everywhere))
    return lambda rows: compiled(arrays, jax.device_put(rows, NamedSharding(mesh, divided)))


def _evaluate(program: Callable, rows: Any, size: int) -> Values:
    count = len(jax.tree.leaves(rows)[0])
    index = np.minimum(np.arange(size), count - 1)
    outputs = program(jax.tree.map(lambda x: x[index], rows))
    return {
        name: np.array(x[:count], dtype=result_dtype(x.dtype))
        for name, x in jax.device_get(outputs).items()}


def _nothing(work: Work, rows: Any) -> Values:
    """Return missing values in the shapes of the outputs."""
    arrays, one = work.split()
    shapes = jax.eval_shape(jax.vmap(one, in_axes=(None, 0)), arrays, rows)
    return {
        name: np.full(x.shape, np.nan, result_dtype(x.dtype)) for name, x in shapes.items()}


def _named(result: Any) -> dict[str, jax.Array]:
    if isinstance(result, jax.Array | np.ndarray | float | int):
        return {VALUE: jnp.asarray(result)}
    good = isinstance(result, dict) and result and all(
        isinstance(name, str) and eqx.is_array_like(x) for name, x in result.items())
    if not good:
        names = f" with the keys {list(result)}" if isinstance(result, dict) else ""
        raise TypeError(
            "the function of an ensemble returns an array, or arrays by name; got "
            f"{type(result).__name__}{names}")
    return {name: jnp.asarray(x) for name, x in result.items()}


def _not_finite(values: Values, member: int) -> str:
    wrong = [name for name, x in values.items() if not np.isfinite(x[member]).all()]
    return f"{NOT_FINITE} in {', '.join(wrong)}"[:REASON_LENGTH] if wrong else ""


def _refuse_lack_of_memory(error: Exception, batch: int) -> None:
    if isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY):
        raise MemoryError(
            f"a batch of {batch} members does not fit into memory; choose a smaller one "
            f"(finished members are kept): {_first_line(error)}") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"[:REASON_LENGTH]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -=")]
    # JAX gives the traceback of a call from a program back to Python; the error follows it.
    raised = [line for line in lines if RAISED.match(line)] if TRACEBACK in str(error) else []
    return (raised or lines or ["no message"])[0]


def _is_distribution(node: Any) -> bool:
    """Return whether a node is a prior of NumPyro.

    The order of its arrays differs between processes, so these are constants of the program.
    """
    return isinstance(node, Distribution)
