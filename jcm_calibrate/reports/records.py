"""The files that a calibration leaves in its folder; written and read here only.

| file | what |
| --- | --- |
| `fit.json` | `FitRecord`: parameters, observations, cost, provenance |
| `history.csv` | a row per evaluation of the objective |
| `identify.json` | `Identifiability.to_dict()` |
| `posterior.nc` | InferenceData: draws of the posterior |
| `predictions.nc` | observed, error, before, after; (datum), and draws of the prediction |
| `bias_maps.nc` | `NAME_before`, `NAME_after`; (lat, lon) |
| `performance_index_before.nc`, `_after.nc` | tables of `performance_index` |
| `experiment.toml` | the experiment as it was given |

All are replaced whole or not at all. Numbers that are not finite are null in JSON.
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jcm.files import replacing, write_text
from jcm_calibrate.names import FIT
from jcm_calibrate.observations.places import Cells
from jcm_calibrate.uncertainty.inference_data import InferenceData, write_inference_data

HISTORY, IDENTIFY, POSTERIOR = "history.csv", "identify.json", "posterior.nc"
PREDICTIONS, BIAS_MAPS, EXPERIMENT = "predictions.nc", "bias_maps.nc", "experiment.toml"
INDEX_BEFORE, INDEX_AFTER = "performance_index_before.nc", "performance_index_after.nc"
#: Half the width of a 90 % interval over the standard deviation.
NINETY = 1.6448536269514722
#: Columns of a history before those of the iterate.
HISTORY_COLUMNS = ("evaluation", "kind", "value", "gradient_norm", "cost", "seconds")


class Record(BaseModel):
    """A record without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterRecord(Record):
    """What is known of a parameter before and after, in its units."""

    name: str
    units: str = "1"
    #: Value of the model as it was.
    reference: float
    #: 5 %, 50 % and 95 % quantiles of the prior.
    prior: tuple[float, float, float]
    bounds: tuple[float | None, float | None] = (None, None)
    #: The value found, and the 5 % and 95 % quantiles of the posterior where they are known.
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    #: False: the data say less than the prior, and the estimate is not to be read as one.
    identified: bool | None = None
    #: Posterior over prior width.
    width: float | None = None
    source: str = ""


class FitRecord(Record):
    """A fit: what was varied, found and spent, by which version of what."""

    title: str
    method: str
    #: Objective before and after.
    start_value: float | None = None
    value: float | None = None
    converged: bool
    message: str = ""
    parameters: tuple[ParameterRecord, ...] = Field(min_length=1)
    #: One row per block of observations, with the same keys: name, observed, data, error ...
    observations: tuple[dict[str, str], ...] = ()
    #: What it took, e.g. "model days", "wall time [s]", "compilations".
    cost: dict[str, float | str] = Field(default_factory=dict)
    #: Version, commit, hashes, command and date.
    provenance: dict[str, str] = Field(default_factory=dict)


def parameter_records(
    space: Any, reference: Any, best: Any, covariance: Any = None, widths: Any = None
) -> tuple[ParameterRecord, ...]:
    """Return the records of the parameters of a `ParameterSpace`.

    Parameters
    ----------
    space
        The space; its prior is standard normal in z.
    reference, best
        Values of the model as it was, and found; vectors z.
    covariance
        Of the posterior of z, e.g. from `laplace`. Intervals are those of the Gaussian in z, moved
        to the units of the parameters.
    widths
        Posterior over prior widths, e.g. `Identifiability.width`; default from the covariance.
        A parameter whose posterior variance is at least half that of the prior is not identified.
    """
    best = np.asarray(best, float)
    if covariance is not None and widths is None:
        widths = np.sqrt(np.diagonal(np.asarray(covariance)))
    low, high = _interval(space, best, covariance)
    prior = np.asarray(space.quantiles((0.05, 0.5, 0.95)))
    values, before = (np.asarray(space.to_parameters(jnp.asarray(z))) for z in (best, reference))
    bounds = np.asarray(space.bounds)
    records = []
    for i, name in enumerate(space.labels):
        width = None if widths is None else float(widths[i])
        records.append(ParameterRecord(
            name=name, units=space.units[i], reference=float(before[i]),
            prior=tuple(prior[:, i].tolist()),
            bounds=(finite(float(bounds[i, 0])), finite(float(bounds[i, 1]))),
            estimate=finite(float(values[i])),
            interval=None if low is None else (float(low[i]), float(high[i])),
            identified=None if width is None else width**2 < 0.5, width=width,
            source=space.sources[i]))  # fmt: skip
    return tuple(records)


def _interval(space: Any, best: np.ndarray, covariance: Any) -> tuple[Any, Any]:
    if covariance is None:
        return None, None
    spread = NINETY * np.sqrt(np.diagonal(np.asarray(covariance, float)))
    ends = np.asarray(space.to_parameters(jnp.stack([best - spread, best + spread])))
    return ends.min(axis=0), ends.max(axis=0)


def finite(number: float | None) -> float | None:
    """Return the number, None if it is not finite."""
    return number if number is not None and math.isfinite(number) else None


def write_fit(directory: str | Path, record: FitRecord) -> Path:
    """Write `fit.json`."""
    path = _place(directory, FIT)
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_fit(directory: str | Path) -> FitRecord:
    """Read `fit.json`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    path = _existing(directory, FIT)
    try:
        return FitRecord.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"msg": str(error)}
        where = ".".join(map(str, first.get("loc", ())))
        raise ValueError(
            f"{path} is damaged or from another version; fit again, or remove it: "
            f"{where + ': ' if where else ''}{first['msg']}") from error


def write_history(directory: str | Path, history: np.ndarray, labels: Sequence[str]) -> Path:
    """Write `history.csv` from `Fit.history`; the columns of the iterate have these names."""
    if history["iterate"].shape[1] != len(labels):
        raise ValueError(
            f"the history has {history['iterate'].shape[1]} parameters, got {len(labels)} labels")
    table = pd.DataFrame({name: history[name] for name in HISTORY_COLUMNS})
    table = pd.concat([table, pd.DataFrame(history["iterate"], columns=list(labels))], axis=1)
    path = _place(directory, HISTORY)
    write_text(path, table.to_csv(index=False, na_rep="nan"))
    return path


def read_history(directory: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read `history.csv`; return it like `Fit.history`, and the names of the parameters.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    path = _existing(directory, HISTORY)
    try:
        # As text, because the conversion of pandas may change the last digit.
        table = pd.read_csv(io.StringIO(path.read_text()), dtype=str, keep_default_na=False)
        if tuple(table.columns[: len(HISTORY_COLUMNS)]) != HISTORY_COLUMNS:
            raise ValueError(f"its first columns are not {', '.join(HISTORY_COLUMNS)}")
        labels = tuple(table.columns[len(HISTORY_COLUMNS):])
        fields = [(name, object if name == "kind" else float) for name in HISTORY_COLUMNS]
        history = np.empty(len(table), np.dtype([*fields, ("iterate", float, (len(labels),))]))
        for name in HISTORY_COLUMNS:
            history[name] = table[name].to_numpy() if name == "kind" else table[name].astype(float)
        history["iterate"] = table[list(labels)].astype(float)
    except ValueError as error:
        raise ValueError(f"{path} is damaged; fit again or remove it: {error}") from error
    return history, labels


def write_identifiability(directory: str | Path, facts: Mapping[str, Any]) -> Path:
    """Write `identify.json` from `Identifiability.to_dict()`."""
    path = _place(directory, IDENTIFY)
    write_text(path, json.dumps(_plain(facts), indent=1, allow_nan=False) + "\n")
    return path


def read_identifiability(directory: str | Path) -> dict[str, Any]:
    """Read `identify.json`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    path = _existing(directory, IDENTIFY)
    try:
        facts = json.loads(path.read_text())
        missing = {"labels", "eigenvalues", "directions"} - set(facts)
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged; identify again or remove it: {error}") from error
    return facts


def write_posterior(directory: str | Path, posterior: InferenceData) -> Path:
    """Write `posterior.nc`."""
    return write_inference_data(posterior, _place(directory, POSTERIOR))


def read_posterior(directory: str | Path) -> InferenceData:
    """Read `posterior.nc`; nothing stays open.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, or has no draws of a posterior.
    """
    path = _existing(directory, POSTERIOR)
    try:
        with xr.open_datatree(path, engine="netcdf4") as opened:
            found = opened.load()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged; sample again or remove it: {error}") from error
    if "posterior" not in found.children:
        raise ValueError(
            f"{path} has no group 'posterior', only {', '.join(found.children)}; sample again")
    return found


def write_predictions(
    directory: str | Path, observations: Any, before: Any, after: Any, draws: Any = None
) -> Path:
    """Write `predictions.nc`.

    Parameters
    ----------
    directory
        Folder of the experiment.
    observations
        `Observations`: values, standard deviations, labels, units.
    before, after
        Predictions of the model as it was and with the estimate (datum,).
    draws
        Predictions of draws of the posterior (draw, datum).
    """
    data = {
        "observed": observations.values, "error": observations.standard_deviation,
        "before": before, "after": after}  # fmt: skip
    table = xr.Dataset(
        {name: ("datum", np.asarray(x, float)) for name, x in data.items()},
        {"label": ("datum", list(observations.labels)),
         "units": ("datum", list(observations.units))})  # fmt: skip
    if draws is not None:
        table["draws"] = ("draw", "datum"), np.asarray(draws, float)
    return write_table(directory, PREDICTIONS, table)


def write_bias_maps(
    directory: str | Path, observations: Any, grid: Any, before: Any, after: Any
) -> Path | None:
    """Write `bias_maps.nc` from the blocks that observe the cells of a grid; None without such.

    Parameters
    ----------
    directory, observations, before, after
        As for `write_predictions`.
    grid
        Grid of the model.
    """
    maps, first = {}, 0
    for block in observations.blocks:
        rows, places = slice(first, first + block.size), block.operator.places
        first += block.size
        kept = np.asarray(block.kept)
        if not isinstance(places, Cells) or not block.uniform or kept.max() >= len(places.labels):
            continue
        for when, data in (("before", before), ("after", after)):
            bias = (np.asarray(data)[rows] - np.asarray(block.values)).reshape(-1, len(kept))
            field = np.full(grid.shape, np.nan)
            field[np.asarray(places.column)[kept], np.asarray(places.row)[kept]] = bias.mean(axis=0)
            maps[f"{block.name}_{when}"] = (("lat", "lon"), field.T, {
                "units": block.units, "long_name": block.operator.first.description})
    if not maps:
        return None
    table = xr.Dataset(maps, {"lat": grid.latitude, "lon": grid.longitude})
    return write_table(directory, BIAS_MAPS, table)


def write_table(directory: str | Path, name: str, table: xr.Dataset) -> Path:
    """Write one of the netCDF files of `records`."""
    path = _place(directory, name)
    with replacing(path) as temporary:
        table.to_netcdf(temporary, engine="netcdf4")
    return path


def read_table(directory: str | Path, name: str) -> xr.Dataset:
    """Read one of the netCDF files of `records`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    path = _existing(directory, name)
    try:
        with xr.open_dataset(path, engine="netcdf4") as file:
            return file.load()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged; make it again or remove it: {error}") from error


def _place(directory: str | Path, name: str) -> Path:
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"no folder {str(directory)!r} to write {name} into")
    return directory / name


def _existing(directory: str | Path, name: str) -> Path:
    path = Path(directory) / name
    if not path.is_file():
        raise FileNotFoundError(f"{str(directory)!r} has no {name}")
    return path


def _plain(x: Any) -> Any:
    """Return what JSON can hold; None for what is not finite."""
    if isinstance(x, Mapping):
        return {str(name): _plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    if isinstance(x, np.generic | np.ndarray):
        return _plain(x.tolist())
    return finite(x) if isinstance(x, float) else x
