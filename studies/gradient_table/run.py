"""Check the gradient with respect to every parameter and every boundary field.

    python studies/gradient_table/run.py [--grid T21L8] [--smoke]

Writes `table.csv` (one row per input), `summary.json` and prints what fails. Float64.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jcm

HERE = Path(__file__).parent
STARTS = {"winter": "2000-01-01", "summer": "2000-07-01"}
HORIZONS = {"1 step": None, "1 day": 1.0, "5 days": 5.0}

#: Width of every switch in the smooth model: the suggestion in its description.
def suggested_widths(model: jcm.Model) -> dict[str, float]:
    """Return the suggested width of every switch, by dotted name."""
    described = jcm.descriptions(jcm.reference_parameters(model).smooth, "parameters.smooth.")
    return {name: float(d.description.rsplit("suggested ", 1)[1])
            for name, d in described.items()}  # fmt: skip


def inputs_of_interest(inputs: jcm.Inputs) -> list[str]:
    """Return the dotted names of all parameters and all boundary fields that are real numbers."""
    described = jcm.descriptions(inputs.parameters, "parameters.")
    parameters = [n for n in described if not n.startswith("parameters.smooth.")]
    fields = [
        "forcing." + name for name in (
            "surface_geopotential", "land_fraction", "bare_albedo", "sea_surface_temperature",
            "sea_ice_fraction", "soil_temperature", "snow_depth", "soil_water_availability",
            "soil_layers.upper", "soil_layers.lower", "soil_layers.high_vegetation",
            "soil_layers.low_vegetation", "sea_surface_temperature_anomaly")
        if present(inputs.forcing, name)]  # fmt: skip
    return parameters + fields


def present(tree: object, name: str) -> bool:
    """Tell whether a dotted name stands for an array."""
    for part in name.split("."):
        tree = getattr(tree, part, None)
    return tree is not None


def random_target(model: jcm.Model, days: float, seed: int = 0) -> Callable:
    """Return a scalar function of the inputs in which every output has a random weight.

    Weights differ from cell to cell, so a derivative vanishes only where nothing depends on the
    input. Each variable is divided by its own size, and all are time means.
    """
    def target(inputs: jcm.Inputs, scales: dict | None) -> tuple[jax.Array, dict]:
        state, fields = jcm.simulate(model, inputs, days=days)
        spectra = {f"{level}.{name}": getattr(getattr(state, level), name)
                   for level in ("previous", "current")
                   for name in state.current.__dataclass_fields__}  # fmt: skip
        slabs = {f"surface.{name}": x for name, x in vars(state.surface).items() if x is not None}
        outputs = fields | spectra | slabs
        key, total = jax.random.key(seed), 0.0
        sizes = {}
        for index, (name, x) in enumerate(sorted(outputs.items())):
            weight = jax.random.normal(jax.random.fold_in(key, index), x.shape, x.dtype)
            sizes[name] = jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(x))), 1e-300)
            size = sizes[name] if scales is None else scales[name]
            total += jnp.mean(weight * x / jax.lax.stop_gradient(size))
        return total, sizes
    return target


def unit(name: str, inputs: jcm.Inputs) -> np.ndarray:
    """Return a perturbation of this input of the size of its plausible range or variability."""
    value = np.asarray(jcm.extract(inputs, [name])[name], float)
    if value.ndim == 0:
        low, high = jcm.descriptions(inputs.parameters, "parameters.")[name].bounds
        return np.asarray((high - low) / 10)
    sizes = {"surface_geopotential": 100.0, "temperature": 1.0, "snow_depth": 1.0}
    size = next((s for key, s in sizes.items() if key in name), 0.01)
    return size * np.random.default_rng(1).standard_normal(value.shape)


class Experiment:
    """Target and gradient of one model, compiled once for all inputs of the same shapes."""

    def __init__(self, model: jcm.Model, days: float, names: list[str], inputs: jcm.Inputs):
        self.names, target = names, random_target(model, days)

        def value(values, inputs, scales):
            return target(jcm.insert(inputs, values), scales)

        self._value = eqx.filter_jit(value)
        self._gradient = eqx.filter_jit(jax.grad(value, has_aux=True))
        _, self.scales = self._value(jcm.extract(inputs, names), inputs, None)

    def value(self, inputs: jcm.Inputs) -> float:
        """Return the target."""
        return float(self._value(jcm.extract(inputs, self.names), inputs, self.scales)[0])

    def gradient(self, inputs: jcm.Inputs) -> dict[str, np.ndarray]:
        """Return the gradient by reverse mode."""
        gradient, _ = self._gradient(jcm.extract(inputs, self.names), inputs, self.scales)
        return {name: np.asarray(g) for name, g in gradient.items()}

    def difference(self, inputs: jcm.Inputs, name: str, step: np.ndarray) -> float:
        """Return half the change of the target from -step to +step."""
        value = np.asarray(jcm.extract(inputs, [name])[name])
        ends = [self.value(jcm.insert(inputs, {name: value + sign * step})) for sign in (1, -1)]
        return (ends[0] - ends[1]) / 2


def check_finite(model: jcm.Model, season: str, days: float, names: list[str]) -> dict:
    """Return, for each input, whether its gradient is finite, zero, and confirmed as zero."""
    inputs = jcm.default_inputs(model, start=STARTS[season])
    experiment = Experiment(model, days, names, inputs)
    gradient = experiment.gradient(inputs)
    result = {}
    for name in names:
        g = gradient[name]
        row = {"finite": bool(np.all(np.isfinite(g))), "zero": not np.any(g)}
        if row["zero"]:
            row["difference"] = experiment.difference(inputs, name, 0.01 * unit(name, inputs))
        result[name] = row
    return result


def check_right(model: jcm.Model, season: str, names: list[str]) -> dict:
    """Return, for each input, gradient and central difference over one smooth step."""
    inputs = jcm.default_inputs(model, start=STARTS[season])
    inputs = jcm.insert(inputs, suggested_widths(model))
    experiment = Experiment(model, 1 / model.steps_per_day, names, inputs)
    gradient = experiment.gradient(inputs)
    result = {}
    for name in names:
        direction = unit(name, inputs)
        slope = float(np.sum(gradient[name] * direction))
        # The best of a ladder of steps: too long ones are curved, too short ones are rounded.
        differences = {h: experiment.difference(inputs, name, h * direction) / h
                       for h in (1e-1, 1e-2, 1e-3, 1e-4)}  # fmt: skip
        best = min(differences.values(), key=lambda d: abs(d - slope))
        error = abs(best - slope) / abs(slope) if slope else abs(best)
        result[name] = {"slope": slope, "central difference": best, "relative error": error}
    return result


def forward_against_reverse(model: jcm.Model, days: float) -> float:
    """Return |<Jv, Jv> - <v, J' Jv>| / <Jv, Jv> for a random direction in all inputs."""
    inputs = jcm.default_inputs(model)
    names = inputs_of_interest(inputs)
    point = jcm.extract(inputs, names)
    direction = {name: jnp.asarray(unit(name, inputs)) for name in names}

    @eqx.filter_jit
    def both(point, direction):
        def outputs(values):
            state, fields = jcm.simulate(model, jcm.insert(inputs, values), days=days)
            return state.current, fields
        image, push = jax.linearize(outputs, point)
        w = push(direction)
        _, pull = jax.vjp(outputs, point)
        back = pull(w)[0]
        dot = lambda a, b: sum(  # noqa: E731
            jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
        return dot(w, w), dot(direction, back)

    left, right = both(point, direction)
    return float(abs(left - right) / left)


def main() -> int:
    """Run all checks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", default="T21L8")
    parser.add_argument("--smoke", action="store_true", help="one season, one step, no files")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    exact, smooth = (jcm.build_model(arguments.grid, smooth=s) for s in (False, True))
    names = inputs_of_interest(jcm.default_inputs(exact))
    seasons = ["winter"] if arguments.smoke else list(STARTS)
    horizons = ["1 step"] if arguments.smoke else list(HORIZONS)
    rows = {name: {"input": name} for name in names}
    for season in seasons:
        for horizon in horizons:
            days = HORIZONS[horizon] or 1 / exact.steps_per_day
            for name, row in check_finite(exact, season, days, names).items():
                verdict = "zero" if row["zero"] else "nonzero"
                if row.get("difference"):
                    verdict = f"zero, but difference {row['difference']:.1e}"
                rows[name][f"{season}, {horizon}"] = verdict if row["finite"] else "NOT FINITE"
            print(f"{season}, {horizon}: done", flush=True)
        for name, row in check_right(smooth, season, names).items():
            rows[name][f"{season}, slope, smooth step"] = row["slope"]
            rows[name][f"{season}, relative error"] = row["relative error"]
        print(f"{season}, smooth step: done", flush=True)
    identity = None if arguments.smoke else forward_against_reverse(exact, 1.0)
    summary = summarise(rows, identity, arguments.grid)
    print(json.dumps(summary, indent=1))
    if not arguments.smoke:
        with open(HERE / "table.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(next(iter(rows.values()))))
            writer.writeheader()
            writer.writerows(rows.values())
        (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return 0 if summary["passed"] else 1


def summarise(rows: dict, identity: float | None, grid: str) -> dict:
    """Count the verdicts and find the worst numbers."""
    verdicts = [(name, key, v) for name, row in rows.items() for key, v in row.items()
                if isinstance(v, str) and key != "input"]  # fmt: skip
    bad = [f"{name} ({key}): {v}" for name, key, v in verdicts if v not in ("zero", "nonzero")]
    errors = {f"{name} ({key})": v for name, row in rows.items() for key, v in row.items()
              if key.endswith("relative error")}  # fmt: skip
    worst = max(errors, key=errors.get)
    always = [name for name, row in rows.items()
              if all(v == "zero" for k, v in row.items() if isinstance(v, str) and k != "input")]
    return {
        "grid": grid,
        "inputs": len(rows),
        "not finite or wrongly zero": bad,
        "zero everywhere": always,
        "largest relative error of a central difference": {worst: errors[worst]},
        "relative errors above 1e-6": {k: v for k, v in errors.items() if v > 1e-6},
        "forward against reverse, 1 day": identity,
        "passed": not bad and errors[worst] <= 1e-6 and (identity or 0) <= 1e-12,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
