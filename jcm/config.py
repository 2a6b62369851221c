"""Experiments as TOML files: read and checked, without JAX; `jcm.build` makes model and inputs.

One file describes an experiment. Each package reads its own tables; the tables of the other
packages are kept as they are.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jcm.data import packaged_states
from jcm.structure import Structure, check_structure, steps_of_outputs
from jcm.tables import Experiment, RunTable
from jcm.variables import VARIABLES

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


def model_arguments(experiment: Experiment) -> dict[str, Any]:
    """Return the arguments of `jcm.model.build_model`."""
    table = {k: v for k, v in experiment.model.model_dump().items() if v is not None}
    if "half_levels" in table:
        table["half_levels"] = tuple(table["half_levels"])
    return table


def check_run(experiment: Experiment) -> None:
    """Refuse a run whose lengths or initial state cannot be, before its model is built.

    Raises
    ------
    ValueError
        If days, interval of output and time step do not fit, or there is no packaged state.
    """
    structure, run = _structure(experiment), experiment.run
    if not isinstance(run.every, str):
        steps_of_outputs(structure.time_step, run.days, run.every)
    if experiment.state.kind == "spun-up":
        packaged_states(structure.name)


def _structure(experiment: Experiment) -> Structure:
    arguments = model_arguments(experiment)
    del arguments["smooth"]
    return check_structure(**arguments)


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


def _check_together(experiment: Experiment, label: str) -> None:
    """Refuse keys that contradict each other, or that would have no effect."""
    forcing, run = experiment.forcing, experiment.run
    _structure(experiment)
    # Only whether they are numbers: names and bounds are known when the model is built.
    dict(dotted_numbers(experiment.parameters, of="parameters"))
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
                f"{nearest(name, VARIABLES)}; available: {', '.join(VARIABLES)}")


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
        return f"unknown table [{key}]{nearest(key, known)}; available: {', '.join(known)}"
    hint = Experiment.model_fields[table].annotation
    known = list(getattr(hint, "model_fields", {}))
    return f"unknown key {key!r} in [{table}]{nearest(key, known)}; available: {', '.join(known)}"


def nearest(name: str, known: Any) -> str:
    """Return a question after the known name that is most like this one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
