"""The whole certificate: all inputs, one after the other, each kept on the disk when it is done."""

import collections
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcm.model import Model
from jcm.provenance import array_hash, package_version, parameter_hash
from jcm.results import cached, identify, locked
from jcm.simulate import Inputs, simulate
from jcm_sensitivity.certificate import (
    FINE_LADDER,
    LADDER,
    Horizon,
    ModelPrograms,
    certify_input,
    direction,
    horizon,
    prepare,
)
from jcm_sensitivity.changes import changed, named_values, units_of
from jcm_sensitivity.combinations import Target

#: Called with what is being done, the number of inputs done, and of all.
Progress = Callable[[str, int, int], None]
#: Horizons of the identity of forward and reverse mode.
IDENTITY_HORIZONS = ("1step", "1d", "5d")


def certify(
    model: Model, inputs: Inputs, *, names: Sequence[str], targets: Mapping[str, Target],
    horizons: Sequence[str] = ("1step", "6h", "1d", "5d"), tolerance: float = 1e-5,
    random_directions: int = 0, identity: bool = True, seed: int = 1,
    store: Path | None = None, progress: Progress = lambda text, done, of: None,
) -> dict[str, Any]:  # fmt: skip
    """Return a verdict on the derivative of each target at each horizon to each input.

    Parameters
    ----------
    model, inputs
        The model, and the point at which derivatives are taken; their type decides the precision.
    names
        Inputs: parameters, boundary fields, parts of the initial state on the grid.
    targets
        Targets by short name; means from the start of the run to the horizon.
    horizons
        Such as `1step`, `6h`, `1d`, `5d`.
    tolerance
        Largest relative difference of derivative and difference that passes.
    random_directions
        How many directions in all the inputs at once are checked in addition.
    identity
        Also compare <Jv, w> with <v, J'w> over all outputs of the model.
    seed
        Of random patterns and directions.
    store
        Folder that keeps what is done, so that a certificate can be resumed; of one model, inputs,
        targets, horizons and tolerance.
    progress
        Called now and then.

    Returns
    -------
    dict
        The certificate: numbers and words, ready for JSON.

    Raises
    ------
    KeyError, ValueError, TypeError
        If an input, a target or a horizon is unknown or has no derivative, or the store belongs to
        another certificate.
    RuntimeError
        If another process is at work in the store.
    FloatingPointError
        If the run is not finite.
    """
    chosen = [horizon(model, name) for name in horizons]
    named_values(model, inputs, names)
    directions = {name: direction(model, inputs, name, seed=seed) for name in names}
    dtype = np.dtype(inputs.state.current.vorticity.dtype)
    many = [(name, {name: directions[name]}) for name in names]
    many += [(f"random direction {k + 1}", _random(directions, seed + k))
             for k in range(random_directions)]  # fmt: skip
    head = _head(model, inputs, dtype, targets, chosen, tolerance, seed)
    cells: dict[str, list] = {}
    with locked(store):
        experiment = {} if store is None else identify(
            version=package_version(), model=model, inputs=inputs, targets=dict(targets),
            horizons=[h.steps for h in chosen], tolerance=tolerance, seed=seed)
        programs: Any = None
        base: Any = None
        for done, (name, along) in enumerate(many):
            # A random direction goes in all the inputs that were chosen.
            belongs = experiment if name in directions else experiment | identify(names=list(names))

            def verdicts(name: str = name, along: Any = along, done: int = done) -> dict[str, Any]:
                nonlocal programs, base
                say = lambda text: progress(text, done, len(many))  # noqa: E731
                if programs is None:
                    programs = ModelPrograms(model, inputs, names, targets, chosen)
                    base = prepare(programs, directions, say)
                say(name)
                ladder = LADDER if name in directions else FINE_LADDER
                return {"cells": json.dumps(certify_input(
                    programs, base, name, along, tolerance=tolerance, steps=ladder[dtype]))}

            path = None if store is None else Path(store) / f"{name.replace(' ', '_')}.npz"
            cells[name] = json.loads(str(cached(path, verdicts, belongs)["cells"]))
    mismatches = []
    for name in IDENTITY_HORIZONS if identity else ():
        if horizon(model, name).steps <= max(h.steps for h in chosen):
            progress(f"forward against reverse, {name}", len(many), len(many))
            mismatches.append({"horizon": name, "dtype": dtype.name, "mismatch": adjoint_mismatch(
                model, inputs, directions, horizon(model, name))})  # fmt: skip
    return head | _summary(cells, names, mismatches) | {"inputs": [
        {"name": name, "units": units_of(inputs, name) if name in names else "1",
         "step_unit": _step_unit(name, directions)} for name, _ in many]}  # fmt: skip


def adjoint_mismatch(
    model: Model, inputs: Inputs, directions: Mapping[str, np.ndarray], which: Horizon, *,
    one_run: bool = True,
) -> float:  # fmt: skip
    """Return |<Jv, w> - <v, J'w>| / <Jv, Jv> with w = Jv, J that of all outputs of a run.

    Outputs, the mean fields and the last state, count in units of their own size.

    Parameters
    ----------
    model, inputs
        The model, and the point at which derivatives are taken.
    directions
        Change of each input, v.
    which
        Length of the run.
    one_run
        Both modes go along one run. If False, each goes along the run of its own program: these
        differ by rounding, which in float32 grows to other weather within days.
    """
    values = named_values(model, inputs, list(directions))
    along = {name: jnp.asarray(directions[name], x.dtype) for name, x in values.items()}

    def outputs(values: dict) -> list:
        state, fields = simulate(
            model, changed(model, inputs, values), days=which.steps / model.steps_per_day)
        return jax.tree.leaves((state.current, fields))

    def scaled(found: list, response: list) -> tuple[list, list]:
        sizes = [jnp.maximum(jnp.sqrt(jnp.mean(x**2)), 1e-30) * jnp.sqrt(x.size) for x in found]
        response = [x / size for x, size in zip(response, sizes, strict=True)]
        return response, [x / size for x, size in zip(response, sizes, strict=True)]

    found, push = jax.jit(lambda values: jax.linearize(outputs, values))(values)
    if one_run:
        response, weights = jax.jit(lambda push, v: scaled(found, push(v)))(push, along)
    else:
        own = jax.jit(lambda values, v: jax.jvp(outputs, (values,), (v,)))
        response, weights = scaled(*own(values, along))
    pull = jax.jit(lambda push, w: jax.linear_transpose(push, values)(w)[0])
    # Sums in double precision: the identity is about the derivatives, not about summing them.
    forward = sum(float(np.sum(np.square(x, dtype=float))) for x in response)
    reverse = sum(float(np.sum(np.asarray(along[name], float) * x))
                  for name, x in jax.device_get(pull(push, weights)).items())  # fmt: skip
    return abs(forward - reverse) / forward


def _random(directions: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Return a random combination of all directions; patterns of fields are drawn anew."""
    draw = np.random.default_rng([seed, len(directions)])
    return {
        name: np.asarray(v * draw.standard_normal(np.shape(v)) / np.sqrt(len(directions)))
        for name, v in directions.items()}


def _head(
    model: Model, inputs: Inputs, dtype: np.dtype, targets: Mapping[str, Target],
    horizons: Sequence[Horizon], tolerance: float, seed: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "title": f"Certificate of the derivatives of {model.name}", "model": model.name,
        "preset": model.preset, "options": str(model.options),
        "smooth": bool(getattr(model.physics, "smooth", False)), "dtype": dtype.name,
        "version": package_version(), "parameters_sha256": parameter_hash(inputs.parameters),
        "forcing_sha256": array_hash(inputs.forcing), "state_sha256": array_hash(inputs.state),
        "tolerance": tolerance, "seed": seed,
        "horizons": [{"name": h.name, "steps": h.steps} for h in horizons],
        "targets": [{"name": name, "description": target.description, "units": target.units}
                    for name, target in targets.items()],
    }  # fmt: skip


def _summary(
    cells: Mapping[str, list], names: Sequence[str], mismatches: list
) -> dict[str, Any]:
    """Return counts and whether all is well."""
    single = [cell for name in names for cell in cells[name]]
    random = [cell for name, many in cells.items() if name not in names for cell in many]
    limit = 1e-12 if all(m["dtype"] == "float64" for m in mismatches) else 1e-5
    failed = [cell for cell in single + random if cell["verdict"] in ("wrong", "not finite")]
    errors = [cell["error"] for cell in random if cell["error"] is not None]
    return {
        "command": "jcm_sensitivity.certify(...)",
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "summary": dict(collections.Counter(cell["verdict"] for cell in single).most_common()),
        "passed": not failed and all(m["mismatch"] <= limit for m in mismatches),
        "identity": mismatches,
        "random_directions": {
            "count": len(errors), "within_1e-6": sum(e <= 1e-6 for e in errors),
            "largest": max(errors, default=None)},
        "cells": single + random,
    }  # fmt: skip


def _step_unit(name: str, directions: Mapping[str, np.ndarray]) -> str:
    if name not in directions:
        return "a random combination of all inputs"
    size = directions[name]
    if size.ndim == 0:
        return f"the plausible range, {float(size):g}"
    return f"a random pattern of size {float(np.sqrt(np.mean(size**2))):.3g}"
