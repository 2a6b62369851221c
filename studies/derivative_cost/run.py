"""What derivatives cost, measured in one run beside the model itself.

    python studies/derivative_cost/run.py [--peer PYTHON] [--grid T31L8] [--smoke]

Medians of calls in turn; compilation apart. Writes `summary.json` and `summary.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jax
import numpy as np

import jcm
import jcm_sensitivity as js
from jcm.benchmark.hardware import describe, hardware
from jcm.benchmark.process import check_peer, peer_process
from jcm.simulate import compile_window
from jcm_sensitivity.ensembles import stack_members

HERE = Path(__file__).parent
SST = "forcing.sea_surface_temperature"
REPEATS, MEMBERS = 5, 8


def target() -> js.Target:
    return js.mean("near_surface_air_temperature", region="tropics")


def clocked(call: Callable) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin


def calls(model: jcm.Model, inputs: jcm.Inputs, days: float) -> dict[str, Callable]:
    """Return the run and its derivatives, compiled."""
    run = js.model_experiment(model, days=days, observe=target().variables)
    window = compile_window(model, inputs, observe=target().variables)
    steps = round(days * model.steps_per_day)
    plain = js.compile_sensitivity(run, target(), inputs, wrt=[SST])
    by_day = js.compile_sensitivity(run, target(), inputs, wrt=[SST], by_day=True)
    return {
        "run": lambda: window(model, inputs, steps),
        "gradient": lambda: plain(inputs).gradient,
        "gradient by day": lambda: by_day(inputs).gradient,
        "response": lambda: js.response(run, inputs, {SST: 1.0}).change,
    }


def ensemble(model: jcm.Model, inputs: jcm.Inputs, days: float) -> dict[str, Callable]:
    """Return gradients of eight initial states, in one program and one after another."""
    members = stack_members(js.initial_states(model, inputs, MEMBERS, 1.0))
    run = js.model_experiment(model, days=days, observe=target().variables)
    gradients = lambda batch: js.ensemble_sensitivity(  # noqa: E731
        run, target(), members, wrt=[SST], batch=batch).gradient
    return {"one after another": lambda: gradients(1), "at once": lambda: gradients(MEMBERS),
            "in pairs": lambda: gradients(2)}  # fmt: skip


def in_turn(programs: dict[str, Callable], peer: Callable | None = None) -> dict[str, float]:
    """Return the median time of each program [s]."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for call in programs.values():
        jax.block_until_ready(call())
    for _ in range(REPEATS):
        for name, call in programs.items():
            times[name].append(clocked(call))
        if peer is not None:
            for name, seconds in peer().items():
                times.setdefault(name, []).append(seconds)
    return {name: median(values) for name, values in times.items()}


def compilation(grid: str) -> dict[str, float]:
    """Return how long value and gradient take to compile, without and with a cache [s]."""
    code = (
        "import jcm, jcm_sensitivity as js, warnings; warnings.simplefilter('ignore');"
        f"m = jcm.build_model({grid!r}); i = jcm.default_inputs(m);"
        "t = js.mean('near_surface_air_temperature', region='tropics');"
        "r = js.model_experiment(m, days=1, observe=t.variables);"
        f"print(js.compile_sensitivity(r, t, i, wrt=[{SST!r}]).compile_seconds)")
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {
            "JCM_CACHE": cache, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), *filter(
                None, [os.environ.get("PYTHONPATH")])])}  # fmt: skip
        seconds = [float(subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True,
            text=True).stdout) for _ in range(2)]  # fmt: skip
    return {"without a cache": seconds[0], "from the cache": seconds[1]}


def measure(grid: str, python: Path | None) -> dict:
    """Return all measurements."""
    result: dict = {"compilation of value and gradient": compilation(grid)}
    model = jcm.build_model(grid)
    inputs = jcm.default_inputs(model)
    process = None
    if python is not None:
        check_peer(python)
        process = peer_process(python)
        process.ask("setup", truncation=model.grid.truncation, layers=model.levels.count,
                    time_step=model.time_step)  # fmt: skip
    for days in (1, 5):
        def peer(days=days) -> dict[str, float]:
            assert process is not None
            return {"peer, run": process.ask("forward", days=days)["seconds"],
                    "peer, gradient": process.ask("gradient", days=days)["seconds"]}  # fmt: skip

        times = in_turn(calls(model, inputs, days), None if process is None else peer)
        result[f"{days} days"] = {"seconds": times} | {
            "over the run": {name: x / times["run"] for name, x in times.items()},
            "by day over plain": times["gradient by day"] / times["gradient"],
        }  # fmt: skip
        if process is not None:
            result[f"{days} days"]["peer over own gradient"] = (
                times["peer, gradient"] / times["gradient"])
        print(json.dumps(result, indent=1), flush=True)
    times = in_turn(ensemble(model, inputs, 1))
    result["8 states, 1 day"] = {"seconds": times} | {
        f"throughput {name}": times["one after another"] / x for name, x in times.items()}
    if process is not None:
        process.__exit__(None, None, None)
    return {"model": model.name, "dtype": "float32", "machine": describe(hardware())} | result


def as_text(result: dict) -> str:
    """Return the measurements as a table."""
    lines = [f"{result['model']}, {result['dtype']}; {result['machine']}. Medians of {REPEATS}.",
             "", "| | 1 day [s] | over the run | 5 days [s] | over the run |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    one, five = result["1 days"], result["5 days"]
    for name in one["seconds"]:
        lines.append(
            f"| {name} | {one['seconds'][name]:.3f} | {one['over the run'][name]:.2f} | "
            f"{five['seconds'][name]:.3f} | {five['over the run'][name]:.2f} |")
    compile_ = result["compilation of value and gradient"]
    states = result["8 states, 1 day"]
    lines += ["", "Compilation of value and gradient: " + ", ".join(
        f"{name} {seconds:.1f} s" for name, seconds in compile_.items()) + ".",
        "Gradients of 8 initial states over 1 day: " + ", ".join(
        f"{name} {seconds:.2f} s ({states[f'throughput {name}']:.2f} times the throughput)"
        for name, seconds in states["seconds"].items()) + "."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", default="T31L8")
    parser.add_argument("--peer", type=Path, help="Python of an environment with jcm 3.0.0")
    parser.add_argument("--smoke", action="store_true", help="one gradient, no files")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", js.HorizonWarning)
    if arguments.smoke:
        model = jcm.build_model("T21L8")
        inputs = jcm.default_inputs(model)
        run = js.model_experiment(model, days=1 / 36, observe=target().variables)
        program = js.compile_sensitivity(run, target(), inputs, wrt=[SST])
        print(f"compilation {program.compile_seconds:.1f} s, one step "
              f"{clocked(lambda: program(inputs).gradient):.3f} s")  # fmt: skip
        return 0
    result = measure(arguments.grid, arguments.peer)
    (HERE / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "summary.md").write_text(as_text(result))
    print(as_text(result))
    return 0 if all(np.isfinite(x) for x in result["1 days"]["seconds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
