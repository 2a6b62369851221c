"""A verdict on the derivative of six results to every input at four lengths of run.

    python studies/gradient_certificate/run.py [--part t21_float64] [--store DIR] [--smoke]

Writes for each part `PART.csv` (one row per derivative), `PART.html` (a page with everything, not
kept in the repository) and figures, and `summary.json`. Inputs that are done are kept in the store,
so that a run that was interrupted goes on. The part `identity_float32` compares forward with
reverse mode in float32 and goes to `summary.json` alone.
"""

import argparse
import collections
import csv
import json
import sys
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import jcm
import jcm_sensitivity as js
from jcm_sensitivity.certificate import ModelPrograms, direction, horizon
from jcm_sensitivity.certify import IDENTITY_HORIZONS, adjoint_mismatch
from jcm_sensitivity.report_html import write_html

HERE = Path(__file__).parent
HORIZONS = ("1step", "6h", "1d", "5d")
#: What is checked at T31: each kind of input, all targets.
SOME_INPUTS = (
    "parameters.convection.relaxation_time", "parameters.convection.total_entrainment",
    "parameters.condensation.relaxation_time", "parameters.clouds.clear_humidity",
    "parameters.shortwave.cloud_albedo", "parameters.longwave.window_absorptivity",
    "parameters.surface_fluxes.sea_exchange_coefficient",
    "parameters.vertical_diffusion.shallow_convection_time",
    "forcing.sea_surface_temperature", "forcing.surface_geopotential",
    "state.air_temperature", "state.specific_humidity",
)  # fmt: skip
#: Part -> grid, precision, inputs (None: all), horizons, random directions.
PARTS = {
    "t21_float64": ("T21L8", np.float64, None, HORIZONS, 8),
    "t31_float64": ("T31L8", np.float64, SOME_INPUTS, HORIZONS[:3], 0),
}
#: The part that is no certificate, and the largest mismatch of the modes that is asked for.
IDENTITY, IDENTITY_LIMIT = "identity_float32", 1e-5
#: Remainders are drawn if that at the largest step is so many times the rounding.
BENT = 1e4
COLUMNS = ("input", "target", "horizon", "verdict", "ad", "fd", "fd_frozen", "error",
           "error_free", "noise", "mismatch", "order1", "order2", "flips")  # fmt: skip
COLOURS = {"pass": "#1b7837", "kink": "#a6dba0", "jump": "#dfc27d", "dead": "#d9d9d9",
           "noise floor": "#92c5de", "chaotic": "#b2182b", "wrong": "#000000",
           "not finite": "#762a83"}  # fmt: skip


def certificate(part: str, store: Path, progress) -> dict:
    """Return the certificate of one part."""
    grid, dtype, names, horizons, directions = PARTS[part]
    with jax.enable_x64(dtype is np.float64):
        model = jcm.build_model(grid)
        inputs = jcm.default_inputs(model, dtype=dtype)
        return js.certify(
            model, inputs, names=names or js.inputs_of_interest(inputs),
            targets=js.default_targets(), horizons=horizons, random_directions=directions,
            store=store, progress=progress)


def in_float32(result: dict, progress) -> dict:
    """Compare the derivatives of a certificate with those in float32: the noise of working runs."""
    with jax.enable_x64(False):
        model = jcm.build_model(result["model"])
        inputs = jcm.default_inputs(model)
        names = [x["name"] for x in result["inputs"] if not x["name"].startswith("random ")]
        horizons = [horizon(model, h["name"]) for h in result["horizons"]]
        programs = ModelPrograms(model, inputs, names, js.default_targets(), horizons)
        along = {name: direction(model, inputs, name).astype(float) for name in names}
        found = {}
        for t, target in enumerate(programs.targets):
            for h, which in enumerate(horizons):
                progress(f"{target}, {which.name}, float32", t, len(programs.targets))
                gradient = programs.gradient(t, h)
                found |= {(name, target, which.name): float(np.sum(gradient[name] * along[name]))
                          for name in names}  # fmt: skip
    difference = collections.defaultdict(list)
    for cell in result["cells"]:
        key = cell["input"], cell["target"], cell["horizon"]
        if key in found and cell["ad"]:
            difference[cell["horizon"]].append(abs(found[key] / cell["ad"] - 1))
    return {
        "derivatives not finite": sum(not np.isfinite(x) for x in found.values()),
        "relative difference to float64, median and 90th percentile": {
            h: [float(f"{x:.2g}") for x in np.percentile(values, (50, 90))]
            for h, values in difference.items()},
    }


def identity_in_float32(progress) -> dict:
    """Compare forward with reverse mode in float32, all inputs of the certificate at once."""
    with jax.enable_x64(False):
        model = jcm.build_model("T21L8")
        inputs = jcm.default_inputs(model)
        along = {name: direction(model, inputs, name) for name in js.inputs_of_interest(inputs)}
        found = []
        for k, name in enumerate(IDENTITY_HORIZONS):
            progress(f"forward against reverse, {name}, float32", k, len(IDENTITY_HORIZONS))
            one, own = (
                adjoint_mismatch(model, inputs, along, horizon(model, name), one_run=one_run)
                for one_run in (True, False))
            found.append({"horizon": name, "mismatch": one, "mismatch of own runs": own})
    return {
        "model": model.name, "dtype": "float32", "inputs": len(along), "identity": found,
        "limit": IDENTITY_LIMIT, "passed": all(x["mismatch"] <= IDENTITY_LIMIT for x in found)}


def short_certificate(store: Path, progress) -> dict:
    """Return a certificate that takes a minute: the dry model, three inputs, two lengths."""
    with jax.enable_x64(True):
        model = jcm.build_model("T21L8", physics="held_suarez")
        inputs = jcm.default_inputs(model, state="rest")
        targets = {"wind": js.mean("eastward_wind", region="northern_extratropics", level=3)}
        return js.certify(
            model, inputs, targets=targets, horizons=("3step", "6step"), random_directions=1,
            names=["parameters.relaxation.surface_time", "forcing.surface_geopotential",
                   "state.air_temperature"],
            store=store, progress=progress)


def summarise(result: dict) -> dict:
    """Return counts and worst numbers of a certificate."""
    single = [c for c in result["cells"] if not c["input"].startswith("random ")]
    passed = [c for c in single if c["verdict"] == "pass"]
    frozen = [c["error"] for c in single if c["error"] is not None and c["ad"]
              and c["verdict"] in ("pass", "kink", "jump")]  # fmt: skip
    orders = {
        name: [c["orders_frozen"][k] for c in single if c["orders_frozen"][k] is not None]
        for name, k in (("first remainder", 1), ("second remainder", 2))}
    return {
        key: result[key] for key in (
            "model", "dtype", "version", "parameters_sha256", "tolerance", "passed", "identity",
            "random_directions", "created")
    } | {
        "inputs": len({c["input"] for c in single}), "cells": len(single),
        "cells without verdict or with NaN": sum(
            c["verdict"] == "not finite" or not c["verdict"] for c in single),
        "verdicts": result["summary"],
        "verdicts by horizon": {
            h["name"]: dict(collections.Counter(
                c["verdict"] for c in single if c["horizon"] == h["name"]).most_common())
            for h in result["horizons"]},
        "largest error of a pass": max((c["error_free"] for c in passed), default=None),
        "branches frozen: within 1e-6": sum(e <= 1e-6 for e in frozen),
        "branches frozen: compared": len(frozen),
        "orders of remainders, 5th 50th 95th percentile": {
            name: [round(float(x), 3) for x in np.percentile(values, (5, 50, 95))]
            for name, values in orders.items() if values},
        "switches named most often": dict(collections.Counter(
            flip.split(" x ", 1)[1].split(": ")[0]
            for c in single if c["verdict"] in ("kink", "jump") for flip in c["flips"][:1]
        ).most_common(8)),
        "dead, by reason": dict(collections.Counter(
            reason(c) for c in single if c["verdict"] == "dead").most_common()),
    }  # fmt: skip


def reason(cell: dict) -> str:
    """Return why a derivative is zero, shortened."""
    text = cell["explanation"]
    for part, words in (("does not read", "not read in this configuration"),
                        ("only through", "acts only through a switch"),
                        ("limiter", "a limiter is active")):  # fmt: skip
        if part in text:
            return words
    return "no effect on this target yet, or saturated"


def write_table(result: dict, path: Path) -> None:
    """Write one row for each derivative."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cell in result["cells"]:
            row = cell | {"order1": cell["orders_frozen"][1], "order2": cell["orders_frozen"][2],
                          "flips": "; ".join(cell["flips"][:1])}  # fmt: skip
            writer.writerow([
                f"{row[name]:.6g}" if isinstance(row[name], float) else row[name] or ""
                for name in COLUMNS])


def draw(result: dict, path: Path) -> None:
    """Draw the verdicts by horizon, and the Taylor remainders with frozen branches."""
    single = [c for c in result["cells"] if not c["input"].startswith("random ")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    horizons = [h["name"] for h in result["horizons"]]
    bottom = np.zeros(len(horizons))
    for verdict, colour in COLOURS.items():
        count = np.array([sum(c["verdict"] == verdict and c["horizon"] == h for c in single)
                          for h in horizons])  # fmt: skip
        if count.any():
            left.bar(horizons, count, bottom=bottom, color=colour, label=verdict,
                     edgecolor="white", linewidth=0.5)  # fmt: skip
            bottom += count
    left.set(xlabel="length of run", ylabel="number of derivatives",
             title=f"Verdicts, {result['model']}, {result['dtype']}")  # fmt: skip
    left.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    for order, key, colour in ((2, "r1", "#2166ac"), (3, "r2", "#b2182b")):
        # Where a result is linear in the input, remainders are rounding at all steps.
        curves = [np.array(c[key], float) / c[key][0] for c in single
                  if c.get(key) and c[key][0] > BENT * c["noise"] and c["ad"]
                  and c["verdict"] == "pass" and c["horizon"] == "1step"
                  and not c["flips"]]  # fmt: skip
        if not curves:
            continue
        steps = np.array(next(c["steps"] for c in single))
        low, middle, high = np.nanpercentile(np.maximum(curves, 1e-14), (10, 50, 90), axis=0)
        right.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        right.plot(steps, middle, color=colour, marker="o", markersize=3,
                   label=f"remainder of order {order}")  # fmt: skip
        right.plot(steps, (steps / steps[0]) ** order, color=colour, linestyle=":", linewidth=1)
    right.set(xscale="log", yscale="log", xlabel="step, in ranges of the input",
              ylabel="remainder over that at the largest step", ylim=(1e-14, 3),
              title="Taylor remainders over 1 step, no flips")  # fmt: skip
    right.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_part(part: str, store: Path, progress) -> dict:
    """Compute one part, write its table, page and figure, and return its entries of the summary."""
    if part == IDENTITY:
        return {part: identity_in_float32(progress)}
    result = certificate(part, store, progress)
    result["command"] = f"python studies/gradient_certificate/run.py --part {part}"
    write_table(result, HERE / f"{part}.csv")
    write_html(result, HERE / f"{part}.html")
    (HERE / "figures").mkdir(exist_ok=True)
    draw(result, HERE / "figures" / f"{part}.png")
    found = {part: summarise(result)}
    return found | {"t21_float32": in_float32(result, progress)} if part == "t21_float64" else found


def main() -> int:
    """Make the certificates and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=(*PARTS, IDENTITY), action="append", help="default: all")
    parser.add_argument("--store", type=Path, default=HERE / "store")
    parser.add_argument("--smoke", action="store_true", help="a minute, no files")
    arguments = parser.parse_args()
    columns = TextColumn("{task.description:50.50}"), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("preparing", total=None)

        def progress(text: str, done: int, of: int) -> None:
            bar.update(task, description=text, completed=done, total=of)

        if arguments.smoke:
            result = short_certificate(Path(folder), progress)
            write_table(result, Path(folder) / "smoke.csv")
            write_html(result, Path(folder) / "smoke.html")
            print(json.dumps(summarise(result), indent=1))
            return 0 if result["passed"] else 1
        path = HERE / "summary.json"
        summary = json.loads(path.read_text()) if path.is_file() else {}
        for part in arguments.part or (*PARTS, IDENTITY):
            found = write_part(part, arguments.store, progress)
            summary |= found
            path.write_text(json.dumps(summary, indent=1) + "\n")
            print(json.dumps(found, indent=1))
    return 0 if all(x.get("passed", True) for x in summary.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
