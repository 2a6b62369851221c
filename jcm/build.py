"""Model and inputs of an experiment that `jcm.config` has read."""

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jcm.checks import check_parameters
from jcm.config import dotted_numbers, experiment_record, model_arguments, nearest
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
from jcm.tables import Experiment

#: First day of a run by kind of forcing, where it is not the default.
START = {"speedy": "1982-01-01"}
DEFAULT_START = "2000-01-01"


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


def build_structure(experiment: Experiment) -> tuple[Model, Any]:
    """Return the model and its parameters, without forcing and state.

    Raises
    ------
    ValueError
        If a name is unknown, or a parameter is not finite or outside its bounds.
    """
    model = build_model(**model_arguments(experiment))
    parameters = reference_parameters(model)
    changes = dict(dotted_numbers(experiment.parameters, of="parameters"))
    for name in changes:
        _check_parameter_name(parameters, name)
    parameters = insert(parameters, changes)
    check_parameters(parameters, allow_out_of_bounds=experiment.run.allow_out_of_bounds)
    check_widths(model, parameters)
    return model, parameters


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
            f"unknown scheme [parameters.{scheme}]{nearest(scheme, schemes)}; "
            f"available: {', '.join(schemes)}")
    own = [x.rpartition(".")[2] for x in known if x.rpartition(".")[0] == scheme]
    raise ValueError(
        f"unknown key {last!r} in [parameters.{scheme}]{nearest(last, own)}; "
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
