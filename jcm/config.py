"""Experiments as TOML files: read, check, build.

One file describes an experiment. Each package reads its own tables; the tables of the other
packages are kept as they are.
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from pydantic import ValidationError

from jcm.checks import check_parameters
from jcm.forcing import (
    Forcing,
    aquaplanet_forcing,
    packaged_forcing,
    read_forcing,
    speedy_forcing,
    uniform_forcing,
)
from jcm.forcing_files import read_anomaly
from jcm.initial import default_inputs, reference_parameters
from jcm.model import Model, build_model
from jcm.parameters import insert, leaf_names
from jcm.simulate import Inputs, check_widths
from jcm.tables import Experiment, RunTable
from jcm.variables import VARIABLES

#: First day of a run by kind of forcing, where it is not the default.
START = {"speedy": "1982-01-01"}
DEFAULT_START = "2000-01-01"
#: What was expected, by pydantic's type of error; for others its own words.
EXPECTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number greater than 0",
    "int_type": "a whole number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def load_experiment(
    source: str | Path | Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Experiment:
    """Read and check an experiment.

    Parameters
    ----------
    source
        TOML file, or the same content as a mapping. Paths in a file are relative to its folder.
    changes
        Values that take the place of those of the source, by table.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no TOML, or a key or value is not valid; the message names key and table.
    """
    if isinstance(source, Mapping):
        content, folder, label = dict(source), Path(), "the experiment"
    else:
        path = Path(source)
        content, folder, label = _read(path), path.parent, path.name
    if "folder" in content:
        raise ValueError(f"{label}: {_unknown('folder', None)}")
    for table, values in (changes or {}).items():
        own = content.get(table, {})
        content[table] = {**own, **values} if isinstance(own, Mapping) else own
    try:
        experiment = Experiment(**content, folder=folder)
    except ValidationError as error:
        raise ValueError(f"{label}: {_explain(error)}") from None
    _check_together(experiment, label)
    return experiment


def build(
    experiment: Experiment, *, with_state: bool = True
) -> tuple[Model, Inputs, dict[str, Any]]:
    """Return the model, the inputs, and the keywords of `jcm.run.run`.

    Without state, the state of the inputs has shapes and types only, and costs nothing.

    Raises
    ------
    ValueError, FileNotFoundError
        If something does not exist or is out of range.
    """
    model, parameters = build_structure(experiment)
    notes: list[str] = []
    forcing = _forcing(experiment, model, notes)
    state = experiment.state.kind
    given: dict[str, Any] = {
        "forcing": forcing, "parameters": parameters, "seed": experiment.state.seed}
    if with_state:
        kind = state if state in ("spun-up", "rest") else experiment.folder / state
        inputs = default_inputs(model, state=kind, **given)
    else:
        shapes = eqx.filter_eval_shape(lambda: default_inputs(model, state="rest", **given).state)
        inputs = Inputs(parameters, forcing, shapes)
    table, record = experiment.run, experiment_record(experiment)
    attributes = {
        "forcing": experiment.forcing.kind,
        "initial_state": state,
        "experiment": json.dumps(record["changes"], sort_keys=True),
    }
    if notes:
        attributes["forcing_notes"] = "\n".join(notes)
    options = {
        "days": table.days,
        "every": table.every,
        "average": table.average,
        "observe": table.variables,
        "pressure_levels": table.pressure_levels,
        "format": table.format,
        "chunk": table.chunk,
        "allow_out_of_bounds": table.allow_out_of_bounds,
        "attributes": attributes,
        "experiment": record,
    }
    return model, inputs, options


def experiment_record(experiment: Experiment) -> dict[str, Any]:
    """Return how model and inputs are made, ready for JSON; `stored_experiment` reads it."""
    tables = {"model", "parameters", "forcing", "state"}
    return {
        "folder": str(experiment.folder.resolve()),
        "allow_out_of_bounds": experiment.run.allow_out_of_bounds,
        "tables": experiment.model_dump(mode="json", include=tables),
        # What the user has said, for people.
        "changes": experiment.model_dump(mode="json", include=tables, exclude_defaults=True),
    }


def stored_experiment(record: Mapping[str, Any]) -> Experiment:
    """Return the experiment of a record.

    Raises
    ------
    ValueError
        If the record is not valid.
    """
    run = RunTable(allow_out_of_bounds=record["allow_out_of_bounds"])
    try:
        return Experiment(**record["tables"], run=run, folder=Path(record["folder"]))
    except ValidationError as error:
        raise ValueError(f"the stored experiment: {_explain(error)}") from None


def build_structure(experiment: Experiment) -> tuple[Model, Any]:
    """Return the model and its parameters, without forcing and state.

    Raises
    ------
    ValueError
        If a name is unknown, or a parameter is not finite or outside its bounds.
    """
    table = {k: v for k, v in experiment.model.model_dump().items() if v is not None}
    if "half_levels" in table:
        table["half_levels"] = tuple(table["half_levels"])
    model = build_model(table.pop("grid"), **table)
    parameters = reference_parameters(model)
    changes = dict(dotted_numbers(experiment.parameters, of="parameters"))
    for name in changes:
        _check_parameter_name(parameters, name)
    parameters = insert(parameters, changes)
    check_parameters(parameters, allow_out_of_bounds=experiment.run.allow_out_of_bounds)
    check_widths(model, parameters)
    return model, parameters


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no experiment file {str(path)!r}; give the path of a TOML file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not valid TOML: {error}") from None


def dotted_numbers(
    table: Mapping[str, Any], *, of: str, prefix: str = ""
) -> Iterator[tuple[str, float]]:
    """Return dotted names and numbers of nested tables; `of` names the table in errors.

    Raises
    ------
    ValueError
        If a value is no number.
    """
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_numbers(value, of=of, prefix=f"{name}.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"[{of}] {name}: expected a number, got {value!r}")
        else:
            yield name, float(value)


def _check_parameter_name(parameters: Any, name: str) -> None:
    known = leaf_names(parameters)
    if name in known:
        return
    scheme, _, last = name.rpartition(".")
    schemes = sorted({x.rpartition(".")[0] for x in known})
    if not scheme:
        raise ValueError(
            f"[parameters] {name}: expected a table per scheme, [parameters.SCHEME], with SCHEME "
            f"one of {', '.join(schemes)}")
    if scheme not in schemes:
        raise ValueError(
            f"unknown scheme [parameters.{scheme}]{_nearest(scheme, schemes)}; "
            f"available: {', '.join(schemes)}")
    own = [x.rpartition(".")[2] for x in known if x.rpartition(".")[0] == scheme]
    raise ValueError(
        f"unknown key {last!r} in [parameters.{scheme}]{_nearest(last, own)}; "
        f"available: {', '.join(own)}")


def _forcing(experiment: Experiment, model: Model, notes: list[str]) -> Forcing:
    table, grid = experiment.forcing, model.grid
    common: dict[str, Any] = {
        "start": table.start or START.get(table.kind, DEFAULT_START),
        "gravity": model.constants.gravity,
    }
    folder = experiment.folder
    anomaly = None if table.anomaly is None else folder / table.anomaly
    if table.kind == "uniform":
        given = table.sea_surface_temperature
        return uniform_forcing(grid, 300.0 if given is None else given, **common)
    if table.kind == "files":
        paths = {name: folder / path for name, path in (table.paths or {}).items()}
        return read_forcing(
            paths if table.path is None else folder / table.path, grid, names=table.names,
            units=table.units, anomaly=anomaly, anomaly_start=table.anomaly_start, notes=notes,
            **common)  # fmt: skip
    make = {
        "packaged": packaged_forcing,
        "speedy": speedy_forcing,
        "aquaplanet": aquaplanet_forcing,
    }
    forcing = make[table.kind](grid, **common)
    if anomaly is None:
        return forcing
    records, first = read_anomaly(
        anomaly, grid, np.asarray(forcing.land_fraction).T, table.names, table.units,
        table.anomaly_start, notes)  # fmt: skip
    return dataclasses.replace(
        forcing,
        sea_surface_temperature_anomaly=jnp.asarray(
            np.swapaxes(records, -1, -2), forcing.land_fraction.dtype),
        anomaly_first_month=jnp.asarray(first, jnp.int32),
    )


def _check_together(experiment: Experiment, label: str) -> None:
    """Refuse keys that contradict each other, or that would have no effect."""
    forcing, run = experiment.forcing, experiment.run
    needs = {
        "path": ("files",), "paths": ("files",), "sea_surface_temperature": ("uniform",),
        "anomaly": ("packaged", "files"), "anomaly_start": ("packaged", "files"),
        "names": ("packaged", "files"), "units": ("packaged", "files"),
    }  # fmt: skip
    for key, kinds in needs.items():
        if getattr(forcing, key) is not None and forcing.kind not in kinds:
            raise ValueError(
                f"{label}: [forcing] {key} has a meaning only with kind = "
                f"{' or '.join(repr(kind) for kind in kinds)}; got kind = {forcing.kind!r}")
    if forcing.kind == "files" and (forcing.path is None) == (forcing.paths is None):
        got = "neither" if forcing.path is None else "both"
        raise ValueError(
            f"{label}: [forcing] kind = 'files' needs either path = \"FILE\" or a table paths of "
            f"field = \"FILE\"; got {got}")
    for name in run.variables or ():
        if name not in VARIABLES:
            raise ValueError(
                f"{label}: unknown variable {name!r} in [run] variables"
                f"{_nearest(name, VARIABLES)}; available: {', '.join(VARIABLES)}")


def _explain(error: ValidationError) -> str:
    """Say in one line each what is wrong."""
    seen: dict[str, None] = {}
    for problem in error.errors():
        where = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            seen[_unknown(where[-1], where[0] if len(where) > 1 else None)] = None
            continue
        key = f"[{where[0]}] {where[1]}" if len(where) > 1 else f"[{where[0]}]"
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if problem["type"] != "value_error":
            expected = EXPECTED.get(problem["type"], message)
            message = f"expected {expected}, got {problem['input']!r}"
        seen[f"{key}: {message}"] = None
    return "; ".join(seen)


def _unknown(key: str, table: str | None) -> str:
    if table is None:
        known = [name for name in Experiment.model_fields if name != "folder"]
        return f"unknown table [{key}]{_nearest(key, known)}; available: {', '.join(known)}"
    hint = Experiment.model_fields[table].annotation
    known = list(getattr(hint, "model_fields", {}))
    return f"unknown key {key!r} in [{table}]{_nearest(key, known)}; available: {', '.join(known)}"


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
