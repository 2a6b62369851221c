"""Restart files: the whole state of a run, and what it belongs to.

A restart file is a numpy archive: `header`, JSON text with the identity of the run, and the
arrays of the state by their paths. Archives carry a checksum for every array and no date: equal
states give equal files, and a damaged file does not pass for a good one.
"""

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcm.constants import DAY
from jcm.files import replacing
from jcm.fingerprint import fingerprint
from jcm.model import Model
from jcm.provenance import array_hash, package_version, parameter_hash
from jcm.simulate import Inputs
from jcm.state import State

#: Changes whenever older files can no longer be read.
FORMAT = 2
#: The newest restart file, and the one before in case the newest is damaged.
KEPT = 2
#: What the parts of an identity are called in messages.
WORDS = {
    "format": "format of the restart file",
    "version": "version of the package",
    "half_levels": "half levels",
    "time_step": "time step",
    "parameters_sha256": "hash of the parameters",
    "forcing_sha256": "hash of the forcing",
}
#: What to do about a difference, where it is not simply to give the same model.
ADVICE = {
    "version": "install that version, or start a new run",
    "format": "install the version that wrote it, or start a new run",
    "precision": "set JAX_ENABLE_X64=1 for float64, 0 for float32",
}


class Restart(NamedTuple):
    """What a restart file holds."""

    #: Outputs and steps since the beginning of the run.
    outputs: int
    steps: int
    #: Strongest wind of the last output [m s-1], None before the first.
    wind: float | None
    state: State


def identity(model: Model, inputs: Inputs) -> dict[str, Any]:
    """Return what must be the same for a run to go on, ready for JSON."""
    facts = {
        "format": FORMAT,
        "version": package_version(),
        "grid": model.name,
        "half_levels": list(model.levels.half),
        "time_step": model.time_step,
        "options": model.options._asdict(),
        "dynamics": [type(model.dynamics).__name__, fingerprint(model.dynamics)],
        "physics": [type(model.physics).__name__, fingerprint(model.physics)],
        "constants": model.constants._asdict(),
        "precision": str(inputs.forcing.land_fraction.dtype),
        "parameters_sha256": parameter_hash(inputs.parameters),
        "forcing_sha256": array_hash(inputs.forcing),
    }
    return json.loads(json.dumps(facts))


def check_identity(found: dict[str, Any], expected: dict[str, Any], where: Path) -> None:
    """Refuse to go on with another model, other numbers, or another version.

    Raises
    ------
    ValueError
        If something differs; the message says what, and what to do.
    """
    changed, advice = [], {}
    for key, value in expected.items():
        other = found.get(key)
        pairs = {key: (other, value)}
        if isinstance(value, dict) and isinstance(other, dict):
            pairs = {name: (other.get(name), value[name]) for name in value}
        for name, (then, now) in pairs.items():
            if then != now:
                changed.append(f"its {WORDS.get(name, name)} is {then}, here it is {now}")
                advice[ADVICE.get(name, "resume with the model and the inputs of that run")] = None
    if changed:
        raise ValueError(
            f"{where} belongs to another run: {'; '.join(changed)}; {', and '.join(advice)}")


def write_restart(directory: Path, identified: dict[str, Any], restart: Restart) -> None:
    """Write a restart file; the one before is kept, older ones are removed."""
    outputs = restart.outputs
    header = {"identity": identified} | restart._asdict()
    del header["state"]
    arrays: dict[str, Any] = {
        name: np.asarray(_plain(x)) for name, x in _leaves(restart.state).items()}
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)
    with replacing(_path(directory, outputs)) as temporary, temporary.open("wb") as file:
        np.savez(file, header=text, **arrays)
    remove_old_restarts(directory)


def remove_old_restarts(directory: Path) -> None:
    """Remove all restart files but the newest ones."""
    for path in restart_files(directory)[KEPT:]:
        path.unlink()


def restart_files(directory: Path) -> list[Path]:
    """Return the restart files, the newest first."""
    found = [p for p in directory.glob("restart_*.npz") if re.fullmatch(r"restart_\d+", p.stem)]
    return sorted(found, key=lambda path: int(path.stem.split("_")[1]), reverse=True)


def newest_restart(
    directory: Path, edges: tuple[int, ...], expected: dict[str, Any], like: State
) -> Restart | None:
    """Return the newest restart that reads well and lies at the end of an output.

    Parameters
    ----------
    directory
        Where the run is.
    edges
        Steps at the ends of outputs, see `jcm.schedule.Plan`.
    expected
        The identity of model and inputs.
    like
        A state of the same form; only shapes and types matter.

    Returns
    -------
    restart
        None if there is no restart file.

    Raises
    ------
    ValueError
        If a file belongs to another run, all are damaged, or none fits this length of the run.
    """
    damaged: list[str] = []
    files = restart_files(directory)
    for path in files:
        try:
            header, arrays = _read(path)
        except _DAMAGED as error:
            damaged.append(f"{path} is damaged ({error})")
            continue
        check_identity(header["identity"], expected, path)
        outputs, steps = header["outputs"], header["steps"]
        if steps > edges[-1]:
            found, wanted = (n * expected["time_step"] / DAY for n in (steps, edges[-1]))
            raise ValueError(
                f"the run in {directory} has {found:g} days already, more than the {wanted:g} "
                "asked for; ask for more days, or start anew in another directory")
        if outputs >= len(edges) or edges[outputs] != steps:
            continue
        if damaged:
            warnings.warn(f"{damaged[0]}; going on from {path.name}", stacklevel=2)
        return Restart(outputs, steps, header["wind"], _restored(arrays, like, path))
    if not files:
        return None
    if damaged:
        raise ValueError(
            f"{'; '.join(damaged)}. There is no other restart file to go on from: start the run "
            "anew in another directory")
    raise ValueError(
        f"no restart file in {directory} lies at the end of an output of this run; start the run "
        "anew in another directory")


#: What reading a damaged archive raises.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    # A file of its own: numpy leaves that of a damaged archive open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays.pop("header").tobytes())
    if not {"identity", "outputs", "steps", "wind"} <= set(header):
        raise ValueError("its header is incomplete")
    return header, arrays


def _restored(arrays: dict[str, np.ndarray], like: State, path: Path) -> State:
    """Return the state of the form of `like`."""
    leaves = _leaves(like)
    wrong = [
        name for name, leaf in leaves.items()
        if name not in arrays or arrays[name].shape[: leaf.ndim] != leaf.shape
        or not (_is_key(leaf) or arrays[name].dtype == leaf.dtype)]  # fmt: skip
    if wrong or len(arrays) != len(leaves):
        name = (wrong or sorted(set(arrays) - set(leaves)))[0]
        raise ValueError(
            f"{path} holds a state of another form ({name}); resume with the model and the "
            "inputs of that run")
    restored = [
        jax.random.wrap_key_data(jnp.asarray(arrays[name])) if _is_key(leaf)
        else jnp.asarray(arrays[name]) for name, leaf in leaves.items()]  # fmt: skip
    return jax.tree.unflatten(jax.tree.structure(like), restored)


def _leaves(state: State) -> dict[str, Any]:
    """Return the arrays of a state by their paths."""
    return {
        jax.tree_util.keystr(path).strip("."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)}  # fmt: skip


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _path(directory: Path, outputs: int) -> Path:
    return directory / f"restart_{outputs:08d}.npz"
