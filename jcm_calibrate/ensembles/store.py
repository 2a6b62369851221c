"""The Zarr store of an ensemble: members appear in it when they are whole.

The outputs of a batch are written first and the status of its members last. A chunk of the status
is replaced in one stroke (written beside the old one, then renamed), so
whoever is killed while writing leaves members that are not computed, never half ones. Only one
process writes: the one that called `run_ensemble`.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dask.array
import jax
import numpy as np
import xarray as xr
import zarr

from jcm.files import PREFIX, SUFFIX, remove, replacing_folder
from jcm.model import Model
from jcm.output import first_day, to_dataset
from jcm.results import refuse_another
from jcm.simulate import Inputs
from jcm.variables import VARIABLES
from jcm_calibrate.ensembles.members import Members
from jcm_calibrate.ensembles.programs import NOT_FINITE, Traced, Values, result_dtype
from jcm_calibrate.windows import Windows
from jcm_sensitivity.runs import Experiment

#: What the status of a member says. One that raised an error is computed again when the store is
#: taken up: the error may have been one of the machine.
NOT_COMPUTED, COMPUTED, FAILED, RAISED = 0, 1, 2, 3
#: Attribute of the store that tells ensembles apart.
FINGERPRINT = "ensemble_fingerprint"
TEXTS = ("reason", "component")
#: Names that outputs cannot have.
OWN = ("status", "reason", "failed", "z", "member", "component")


class EnsembleStore:
    """A store that is open for writing; made by `open_store`."""

    def __init__(self, path: Path):
        self.path = path
        self._group = zarr.open_group(path, mode="r+")
        self._transposed = {
            name for name, array in self._group.arrays()
            if str(array.attrs["_ARRAY_DIMENSIONS"]).endswith("'lat', 'lon']")}

    @property
    def status(self) -> np.ndarray:
        """Status of each member."""
        return np.asarray(_array(self._group, "status")[:])

    def pending(self) -> np.ndarray:
        """Return the numbers of the members that are still to be computed."""
        return np.flatnonzero(np.isin(self.status, (NOT_COMPUTED, RAISED)))

    def write(self, indices: np.ndarray, values: Values, reasons: list[str]) -> None:
        """Write some members; they are there when this returns, and not if it raises.

        Raises
        ------
        OSError
            If they cannot be written, e.g. because the disk is full.
        """
        try:
            for name, array in values.items():
                ordered = np.swapaxes(array, -1, -2) if name in self._transposed else array
                _array(self._group, name).oindex[indices] = ordered
            _array(self._group, "reason").oindex[indices] = np.array(reasons, dtype=object)
            _array(self._group, "status").oindex[indices] = np.array(
                [_status(reason) for reason in reasons], np.int8)
        except OSError as error:
            status = self.status
            raise OSError(
                error.errno,
                f"members {indices[0]} to {indices[-1]} could not be written to "
                f"{str(self.path)!r} ({error.strerror or error}); "
                f"{int((status != NOT_COMPUTED).sum())} of {len(status)} members are safe in it. "
                "Free space or choose another disk, then run again: finished members are skipped"
            ) from error


def open_store(
    path: str | Path, traced: Traced, members: Members, template: Callable[[], xr.Dataset], *,
    chunk: int, resume: bool,
) -> EnsembleStore:  # fmt: skip
    """Return the store of an ensemble, made if it is not there.

    Parameters
    ----------
    path
        Folder of the store; the folder in which it lies must exist.
    traced, members
        The ensemble.
    template
        Makes the outputs of one member with their metadata, see `template_of`.
    chunk
        Members in a chunk.
    resume
        Whether an existing store is taken up.

    Raises
    ------
    FileNotFoundError
        If there is no folder to write into.
    FileExistsError
        If there is something else of this name, or a store and `resume` is False.
    ValueError
        If the store is that of another ensemble.
    """
    path = Path(path).absolute()
    if path.is_dir() and any(path.iterdir()):
        _check_store(path, traced)
        if not resume:
            raise FileExistsError(
                f"there is an ensemble in {str(path)!r} already; use resume=True to go on with "
                "it, give another store, or remove this one")
        return EnsembleStore(path)
    if path.is_file():
        raise FileExistsError(f"{str(path)!r} is a file; expected a folder for the Zarr store")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"no folder {str(path.parent)!r} to write the store {path.name!r} into; make it first")
    for leftover in path.parent.glob(f"{PREFIX}{path.name}.*{SUFFIX}"):
        remove(leftover)
    with _creating(path), replacing_folder(path) as temporary:
        _create(temporary, traced, members, template(), chunk)
    return EnsembleStore(path)


def read_ensemble(path: str | Path) -> xr.Dataset:
    """Return an ensemble from its store; arrays are read when they are used.

    Returns
    -------
    xarray.Dataset
        Outputs with the dimension `member`, NaN where a member has failed or is not computed yet;
        `failed`, `reason` and `status` of each member; what tells the members apart.

    Raises
    ------
    FileNotFoundError
        If there is no such store.
    ValueError
        If it is no store of an ensemble.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no store {str(path)!r}; give the one of run_ensemble")
    _stored_fingerprint(path, ValueError)
    dataset = xr.open_zarr(path, chunks=None, consolidated=True)
    status = dataset["status"].load()
    for name in TEXTS:
        if name in dataset:
            # NumPy's strings of variable length cannot be written to netCDF.
            old = dataset[name]
            texts = old.values.astype(object).astype(str)
            dataset = dataset.assign_coords({name: texts}) if name in dataset.coords else (
                dataset.assign({name: (old.dims, texts, old.attrs)}))
    failed = status.isin((FAILED, RAISED)).assign_attrs(long_name="whether the member has failed")
    dataset = dataset.assign(failed=failed)
    if (status != NOT_COMPUTED).all():
        return dataset
    # What a killed process had written of members without a status is of no use.
    fields = [name for name in dataset.data_vars
              if "member" in dataset[name].dims and name not in OWN]  # fmt: skip
    whole = {name: dataset[name].where(status != NOT_COMPUTED) for name in fields}
    return dataset.assign({
        name: array.assign_attrs(dataset[name].attrs) for name, array in whole.items()})


def _status(reason: str) -> int:
    if not reason:
        return COMPUTED
    return FAILED if reason.startswith(NOT_FINITE) else RAISED


def template_of(run: Any, traced: Traced, members: Members) -> xr.Dataset:
    """Return the outputs of one member, all missing, with names of dimensions and metadata.

    Fields of a model have coordinates, CF names and units; outputs of other functions have
    dimensions of their own.
    """
    modelled = {
        name for name in traced.outputs
        if isinstance(run, Experiment | Windows) and name in VARIABLES}
    dataset = _model_fields(run, traced, members, modelled) if modelled else xr.Dataset()
    for name, like in traced.outputs.items():
        if name not in modelled:
            dims = tuple(f"{name}_{k}" for k in range(len(like.shape)))
            dataset[name] = xr.Variable(dims, _missing(like))
    return dataset


def _model_fields(
    run: Experiment | Windows, traced: Traced, members: Members, names: set[str]
) -> xr.Dataset:
    model: Model = run.model
    fields = {name: _missing(traced.outputs[name]) for name in sorted(names)}
    dataset = to_dataset(
        model, fields, every=run.every, inputs=members.member(0), average=run.average,
        attributes={"title": f"Ensemble of simulations with {model.name}"})  # fmt: skip
    # Hashes are those of one member.
    dataset.attrs.pop("parameters_sha256", None)
    varying = members.varying
    if isinstance(varying, Inputs) and jax.tree.leaves(varying.forcing):
        dataset.attrs.pop("forcing_sha256", None)
    if isinstance(run, Experiment) and _one_start(model, members):
        return dataset
    # Dates differ between members or windows: outputs have numbers.
    dataset.attrs.pop("start_date", None)
    return dataset.drop_vars(["time", "time_bnds"], errors="ignore").rename({"time": "output"})


def _one_start(model: Model, members: Members) -> bool:
    """Return whether all members start on the same date."""
    if not isinstance(members.varying, Inputs):
        return True
    rows = members.take(slice(None))
    return len({
        first_day(model, members.combine(
            members.shared, jax.tree.map(lambda x, k=k: x[k], rows)))
        for k in range(members.count)}) == 1  # fmt: skip


def _create(
    folder: Path, traced: Traced, members: Members, template: xr.Dataset, chunk: int
) -> None:
    clash = [name for name in traced.outputs if name in OWN or name in members.columns]
    if clash:
        raise ValueError(
            f"outputs cannot be called {', '.join(clash)}; these names are those of the "
            "ensemble itself or of its parameters")
    chunk = min(chunk, members.count)
    encoding: dict[str, dict[str, Any]] = {}
    for name, like in traced.outputs.items():
        variable, dtype = template[name].variable, result_dtype(like.dtype)
        shape = (members.count, *variable.shape)
        encoding[name] = {"chunks": (chunk, *variable.shape), "_FillValue": dtype.type(np.nan)}
        lazy = dask.array.full(shape, np.nan, dtype=dtype, chunks=(chunk, *variable.shape))
        template[name] = xr.Variable(("member", *variable.dims), lazy, variable.attrs)
    encoding |= {"status": {"chunks": (chunk,), "_FillValue": None}, "reason": {"chunks": (chunk,)}}
    dataset = template.assign(_own_variables(members)).assign_coords(_coordinates(members))
    dataset.attrs[FINGERPRINT] = json.dumps(traced.fingerprint)
    dataset.to_zarr(
        folder, mode="w", compute=False, consolidated=True, encoding=encoding, zarr_format=2)


def _own_variables(members: Members) -> dict[str, xr.Variable]:
    meaning = {
        "long_name": "status of the member",
        "flag_values": [NOT_COMPUTED, COMPUTED, FAILED, RAISED],
        "flag_meanings": "not_computed computed failed failed_with_an_error"}  # fmt: skip
    own = {
        "status": xr.Variable("member", np.zeros(members.count, np.int8), meaning),
        "reason": xr.Variable(
            "member", np.full(members.count, "", dtype=object),
            {"long_name": "why the member has failed; empty if it has not"}),
    }  # fmt: skip
    if members.components:
        own["z"] = xr.Variable(
            ("member", "component"), np.asarray(members.varying),
            {"long_name": "vector of the member"})
    return own


def _coordinates(members: Members) -> dict[str, xr.Variable]:
    coordinates = {
        name: xr.Variable("member", column.values, {
            key: text for key, text in (
                ("units", column.units), ("long_name", column.long_name)) if text})
        for name, column in members.columns.items()}  # fmt: skip
    coordinates["member"] = xr.Variable("member", np.arange(members.count))
    if members.components:
        coordinates["component"] = xr.Variable(
            "component", np.array(members.components, dtype=object))
    return coordinates


def _check_store(path: Path, traced: Traced) -> None:
    found = _stored_fingerprint(path, FileExistsError)
    refuse_another(
        found, traced.fingerprint, f"the store {str(path)!r}",
        "give another store, or remove this one")


def _stored_fingerprint(path: Path, kind: type[Exception]) -> Mapping[str, str]:
    try:
        return json.loads(str(zarr.open_group(path, mode="r").attrs[FINGERPRINT]))
    except (OSError, KeyError, ValueError):
        raise kind(
            f"the folder {str(path)!r} is no store of an ensemble; give a new folder, or the "
            "store of run_ensemble") from None


@contextlib.contextmanager
def _creating(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno, f"the store {str(path)!r} cannot be made: {error.strerror or error}"
        ) from error


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} of the store is a {type(array).__name__}, expected an array")
    return array


def _missing(like: Any) -> np.ndarray:
    return np.broadcast_to(np.array(np.nan, result_dtype(like.dtype)), like.shape)

