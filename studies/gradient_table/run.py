"""Check the gradient with respect to every parameter and every boundary field.

    python studies/gradient_table/run.py [--grid T21L8] [--smoke]

Writes `table.csv` (one row per input), `summary.json` and prints what fails. Float64.
"""

import argparse
import csv
import dataclasses
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jcm
import jcm_sensitivity as js
from jcm.forcing import SoilLayers

HERE = Path(__file__).parent
STARTS = {"winter": "2000-01-01", "summer": "2000-07-01"}
TOLERANCE = 1e-6
#: Steps of central differences, in units of a tenth of the plausible range.
LADDER = [0.1 / 4**k for k in range(9)]
HORIZONS = {"1 step": None, "1 day": 1.0, "5 days": 5.0}

#: Why inputs have no derivative: they are unused in this configuration, or only move a threshold.
UNUSED = "unused: soil water comes as availability, not as layers"
THRESHOLD = "moves a threshold only; no derivative between its jumps"
MIXED_LAYER = "unused: the sea is prescribed"
STOCHASTIC = "unused: stochastic perturbation is off"
WHY_ZERO = {
    "parameters.convection.maximum_closure_ratio": "the cap is not reached in these states",
    "parameters.condensation.maximum_humidity_excess": "the cap is not reached in these states",
    "parameters.clouds.minimum_humidity": THRESHOLD,
    "parameters.solar.seasonal_ozone_amplitude": "acts in the boreal winter half year only",
    "parameters.longwave.co2_absorptivity_growth": "unused: the trend is off",
    "parameters.vertical_diffusion.critical_humidity_gradient": THRESHOLD,
    "parameters.vertical_diffusion.moisture_diffusion_top": THRESHOLD,
    "parameters.stochastic.decorrelation_time": STOCHASTIC,
    "parameters.stochastic.correlation_length": STOCHASTIC,
    "parameters.stochastic.standard_deviation": STOCHASTIC,
    "parameters.stochastic.amplitude": STOCHASTIC,
    "parameters.boundary.mask_threshold": THRESHOLD,
    "parameters.boundary.field_capacity": UNUSED,
    "parameters.boundary.wilting_point": UNUSED,
    "parameters.boundary.low_vegetation_weight": UNUSED,
    "parameters.land.ice_sheet_albedo": THRESHOLD,
    "parameters.land.minimum_land_fraction": THRESHOLD,
    "parameters.sea.melting_temperature": "the cap is not reached in this time",
    "parameters.sea.polar_mixed_layer_depth": MIXED_LAYER,
    "parameters.sea.tropical_mixed_layer_depth": MIXED_LAYER,
    "parameters.sea.sea_dissipation_time": MIXED_LAYER,
    "parameters.sea.minimum_sea_fraction": THRESHOLD,
}


def inputs_of_interest(inputs: jcm.Inputs) -> list[str]:
    """Return the dotted names of all parameters and all boundary fields that are real numbers."""
    return [name for name in js.inputs_of_interest(inputs) if not name.startswith("state.")]


def all_outputs(model: jcm.Model, inputs: jcm.Inputs, days: float) -> dict[str, jax.Array]:
    """Return everything that a run leaves: time means, both time levels, slabs."""
    state, fields = jcm.simulate(model, inputs, days=days)
    spectra = {f"{level}.{name}": getattr(getattr(state, level), name)
               for level in ("previous", "current")
               for name in state.current.__dataclass_fields__}  # fmt: skip
    slabs = {f"surface.{name}": x for name, x in vars(state.surface).items() if x is not None}
    pattern = {} if state.pattern is None else {"pattern": state.pattern}
    return fields | spectra | slabs | pattern


def random_weights(outputs: dict[str, jax.Array], seed: int = 0) -> dict[str, jax.Array]:
    """Return a random weight for every number of every output, over the size of the output.

    Weights differ from cell to cell, so the derivative of the weighted sum vanishes only where
    nothing depends on the input.
    """
    key = jax.random.key(seed)

    def weight(index, x):
        size = jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(x))), 1e-300)
        return jax.random.normal(jax.random.fold_in(key, index), x.shape, x.dtype) / size / x.size

    return {name: weight(k, x) for k, (name, x) in enumerate(sorted(outputs.items()))}


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
    """Outputs, weighted sum and gradient of one model, compiled once for all inputs."""

    def __init__(self, model: jcm.Model, days: float, names: list[str], inputs: jcm.Inputs):
        self.names = names

        def outputs(values, inputs):
            return all_outputs(model, jcm.insert(inputs, values), days)

        def weighted_sum(values, inputs, weights):
            out = outputs(values, inputs)
            return sum(jnp.sum(weights[name] * x) for name, x in out.items())

        self._outputs = eqx.filter_jit(outputs)
        self._gradient = eqx.filter_jit(jax.grad(weighted_sum))
        self.weights = random_weights(self.outputs(inputs))

    def outputs(self, inputs: jcm.Inputs) -> dict[str, jax.Array]:
        """Return all outputs."""
        return self._outputs(jcm.extract(inputs, self.names), inputs)

    def gradient(self, inputs: jcm.Inputs) -> dict[str, np.ndarray]:
        """Return the gradient of the weighted sum by reverse mode."""
        gradient = self._gradient(jcm.extract(inputs, self.names), inputs, self.weights)
        return {name: np.asarray(g) for name, g in gradient.items()}

    def difference(self, inputs: jcm.Inputs, name: str, step: np.ndarray) -> float:
        """Return half the change of the weighted sum from -step to +step.

        Outputs are subtracted before they are summed: the sum itself would round away the effect
        of a weak input.
        """
        value = np.asarray(jcm.extract(inputs, [name])[name])
        high, low = (self.outputs(jcm.insert(inputs, {name: value + sign * step}))
                     for sign in (1, -1))  # fmt: skip
        return float(sum(jnp.sum(w * (high[n] - low[n])) for n, w in self.weights.items())) / 2


def settings(grid: str) -> dict[str, tuple[jcm.Model, jcm.Inputs, list[str]]]:
    """Return models in which inputs act that the default does not use, and these inputs."""
    model = jcm.build_model(
        grid, smooth=True, sea="slab", co2_trend="on", stochastic_perturbation="on")
    forcing = jcm.default_inputs(model).forcing
    water, land = forcing.soil_water_availability, forcing.land_fraction
    layers = SoilLayers(0.3 * water, 0.17 + 0.2 * water, 0.5 * land, 0.3 * land)
    soil = dataclasses.replace(forcing, soil_water_availability=None, soil_layers=layers)
    unused = [n for n, why in WHY_ZERO.items() if why.startswith("unused")]
    unused += [f"forcing.soil_layers.{n}" for n in vars(layers)]
    prescribed = jcm.build_model(grid, smooth=True)
    shape = (24, *land.shape)
    anomaly = 0.5 * np.random.default_rng(2).standard_normal(shape)
    warm = dataclasses.replace(
        forcing, sea_surface_temperature_anomaly=jnp.asarray(anomaly),
        anomaly_first_month=jnp.asarray(12 * 1999))
    return {
        "all options on": (model, jcm.default_inputs(model, forcing=soil), unused),
        "with anomalies": (prescribed, jcm.default_inputs(prescribed, forcing=warm),
                           ["forcing.sea_surface_temperature_anomaly"]),
    }  # fmt: skip


def check_finite(experiment: Experiment, inputs: jcm.Inputs, names: list[str]) -> dict:
    """Return, for each input, whether its gradient is finite and zero, and differences if it is."""
    gradient = experiment.gradient(inputs)
    result = {}
    for name in names:
        g = gradient[name]
        row = {"finite": bool(np.all(np.isfinite(g))), "zero": not np.any(g)}
        if row["zero"]:
            # A short step crosses no switch, a long one tells what only moves a switch.
            for label, factor in (("short", 1e-7), ("long", 1.0)):
                row[label] = experiment.difference(inputs, name, factor * unit(name, inputs))
        result[name] = row
    return result


def check_right(experiment: Experiment, inputs: jcm.Inputs, names: list[str]) -> dict:
    """Return, for each input, gradient and central difference over one smooth step.

    The step of the difference is the one of a ladder at which halving it changes the quotient
    least; the gradient has no say in it. Quotients are rounded by `rounding` over the step.
    """
    gradient = experiment.gradient(inputs)
    terms = jax.tree.map(lambda w, x: jnp.sum(jnp.square(w * x)), experiment.weights,
                         experiment.outputs(inputs))  # fmt: skip
    rounding = 30 * np.finfo(float).eps * float(jnp.sqrt(sum(jax.tree.leaves(terms))))
    result = {}
    for name in names:
        direction = unit(name, inputs)
        slope = float(np.sum(gradient[name] * direction))
        # An input that only moves a threshold has no slope: a short step crosses nothing.
        ladder = LADDER if slope else [1e-6, 1e-7]
        quotients = [experiment.difference(inputs, name, h * direction) / h for h in ladder]
        calmest = int(np.argmin(np.abs(np.diff(quotients)))) + 1
        error = abs(quotients[calmest] - slope)
        limit = TOLERANCE * abs(slope) + rounding / ladder[calmest]
        result[name] = {
            "slope": slope,
            "central difference": quotients[calmest],
            "relative error": error / abs(slope) if slope else error,
            "verdict": "pass" if error <= TOLERANCE * abs(slope)
            else "pass to rounding" if error <= limit else "FAIL",
        }  # fmt: skip
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
        _, push = jax.linearize(outputs, point)
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
    inputs = {season: jcm.default_inputs(exact, start=day) for season, day in STARTS.items()}
    names = inputs_of_interest(inputs["winter"])
    seasons = ["winter"] if arguments.smoke else list(STARTS)
    rows = {name: {"input": name} for name in names}
    for horizon in ["1 step"] if arguments.smoke else list(HORIZONS):
        days = HORIZONS[horizon] or 1 / exact.steps_per_day
        experiment = Experiment(exact, days, names, inputs["winter"])
        for season in seasons:
            for name, row in check_finite(experiment, inputs[season], names).items():
                rows[name][f"{season}, {horizon}"] = verdict(row)
            print(f"{season}, {horizon}: done", flush=True)
    smoothed = {season: jcm.default_inputs(smooth, start=day) for season, day in STARTS.items()}
    experiment = Experiment(smooth, 1 / smooth.steps_per_day, names, smoothed["winter"])
    for season in seasons:
        for name, row in check_right(experiment, smoothed[season], names).items():
            for key, value in row.items():
                rows[name][f"{season}, smooth step, {key}"] = value
        print(f"{season}, smooth step: done", flush=True)
    for setting, (model, given, unused) in settings(arguments.grid).items():
        experiment = Experiment(model, 1 / model.steps_per_day, unused, given)
        for name, row in check_right(experiment, given, unused).items():
            rows[f"{name} ({setting})"] = {"input": f"{name} ({setting})"} | {
                f"winter, smooth step, {key}": value for key, value in row.items()}
        print(f"{setting}: done", flush=True)
    for name, row in rows.items():
        row["why zero"] = WHY_ZERO.get(name, "")
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


def verdict(row: dict) -> str:
    """Name what was found of one gradient."""
    if not row["finite"]:
        return "NOT FINITE"
    if not row["zero"]:
        return "nonzero"
    if row["short"]:
        return f"WRONGLY ZERO, difference {row['short']:.1e}"
    return "zero: moves a switch only" if row["long"] else "zero: no effect here"


def summarise(rows: dict, identity: float | None, grid: str) -> dict:
    """Count the verdicts and find the worst numbers."""
    def find(ending: str) -> dict:
        return {(name, key): v for name, row in rows.items() for key, v in row.items()
                if key.endswith(ending)}  # fmt: skip

    words = {(name, key): v for name, row in rows.items() for key, v in row.items()
             if isinstance(v, str) and key not in ("input", "why zero")}  # fmt: skip
    bad = [f"{name} ({key}): {v}" for (name, key), v in words.items()
           if v.startswith(("NOT", "WRONG", "FAIL"))]  # fmt: skip
    bad += [f"{name}: zero without a reason" for name, row in rows.items()
            if not row["why zero"] and any(str(v).startswith("zero: ") for v in row.values())]
    always = [name for name in rows
              if name in WHY_ZERO and all(
                  v.startswith("zero") for (n, key), v in words.items()
                  if n == name and "smooth" not in key)]  # fmt: skip
    passed = [k for k, v in find("verdict").items() if v == "pass"]
    errors = {(n, key): v for (n, key), v in find("relative error").items()
              if (n, key.replace("relative error", "verdict")) in passed}  # fmt: skip
    return {
        "grid": grid,
        "inputs": len(rows),
        "failures": bad,
        "zero at every horizon": always,
        "differences that agree to 1e-6": len(passed),
        "largest of their relative errors": max(errors.values()),
        "differences that agree to rounding": [
            n for (n, _), v in find("verdict").items() if v == "pass to rounding"],
        "forward against reverse, 1 day": identity,
        "passed": not bad and (identity or 0) <= 1e-12,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
