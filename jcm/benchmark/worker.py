"""The process that is measured: one model, asked over standard input to run or differentiate.

Every measurement of time to compile, of time to the first result and of memory has a process of
its own; timings of running programs share one. A request is a line of JSON, and so is an answer.
The file `jcm/benchmark_peer.py` answers the same requests for another model.
"""

import json
import os
import resource
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import jcm
from jcm.benchmark.profile import profile

#: The input with respect to which the benchmark differentiates.
INPUT = "forcing.sea_surface_temperature"


class Worker:
    """A model, its inputs, and the programs compiled so far."""

    def __init__(self) -> None:
        self.programs: dict[tuple, Any] = {}

    def setup(self, grid: str, time_step: float | None = None) -> dict[str, Any]:
        """Build model and inputs: packaged boundary data and spun-up state, float32."""
        begin = time.perf_counter()
        self.model = jcm.build_model(grid, time_step=time_step)
        self.inputs = jcm.default_inputs(self.model)
        jax.block_until_ready(self.inputs)
        model, device = self.model, jax.devices()[0]
        return {
            "setup_seconds": time.perf_counter() - begin,
            "model": model.name,
            "preset": model.preset,
            "precision": str(self.inputs.state.current.vorticity.dtype),
            "time_step": model.time_step,
            "steps_per_day": model.steps_per_day,
            "shortwave_interval": model.steps_per_shortwave * model.time_step,
            "device": device.device_kind,
            "platform": device.platform,
        }

    def first(self, days: float) -> dict[str, Any]:
        """Run once, for the time to the first result."""
        return {"seconds": self._timed(self._forward(days, 1))}

    def forward(self, days: float, members: int = 1) -> dict[str, Any]:
        """Time a run without output, after one that compiles if it is the first of its kind."""
        run, first = self._forward(days, members), None
        # One program serves every length of a single run.
        key = ("forward", members, days if members > 1 else None)
        if key not in self.programs:
            first = self._timed(run)
            self.programs[key] = True
        seconds = self._timed(run)
        return {"seconds": seconds, "first_seconds": first, "finite": _finite(self.last)}

    def gradient(self, days: float) -> dict[str, Any]:
        """Time value and gradient of the squared mean of the final temperature."""
        key, compile_seconds, temporary = ("gradient", days), None, None
        if key not in self.programs:
            begin = time.perf_counter()
            program = self._gradient(days)
            compile_seconds = time.perf_counter() - begin
            temporary = _temporary(program)
            self.programs[key] = program
            jax.block_until_ready(program(*self._values()))
        values = self._values()
        begin = time.perf_counter()
        value, gradient = jax.block_until_ready(self.programs[key](*values))
        return {
            "seconds": time.perf_counter() - begin,
            "compile_seconds": compile_seconds,
            "temporary_gib": temporary,
            "value": float(value),
            "largest_derivative": float(abs(gradient).max()),
            "finite": _finite((value, gradient)),
            "of": "square of the mean air temperature at the end",
            "with_respect_to": f"{INPUT}, shape {gradient.shape}",
        }

    def profile(self) -> dict[str, Any]:
        """Time the pieces of a step."""
        return profile(self.model, self.inputs)

    def _values(self) -> tuple[Any, ...]:
        return self.model, self.inputs, jcm.extract(self.inputs, [INPUT])[INPUT]

    def _timed(self, run: Any) -> float:
        begin = time.perf_counter()
        self.last = jax.block_until_ready(run())
        return time.perf_counter() - begin

    def _forward(self, days: float, members: int) -> Any:
        """Return a run without output."""
        if members == 1:
            return lambda: jcm.simulate(self.model, self.inputs, days=days, observe=())[0]
        key = ("ensemble", members, days)
        if key not in self.programs:
            self.programs[key] = _ensemble(members, days)
        program = self.programs[key]
        states = jax.block_until_ready(_members(self.inputs.state, members))
        return lambda: program(self.model, self.inputs, states)

    def _gradient(self, days: float) -> Any:
        """Compile value and gradient."""

        @eqx.filter_jit
        def value_and_gradient(model, inputs, values):
            def target(values):
                _, fields = jcm.simulate(
                    model, jcm.insert(inputs, {INPUT: values}), days=days, average=False,
                    observe=("air_temperature",))  # fmt: skip
                return jnp.mean(fields["air_temperature"][-1]) ** 2

            return jax.value_and_grad(target)(values)

        return value_and_gradient.lower(*self._values()).compile()


def _ensemble(members: int, days: float) -> Any:
    """Return a compiled function that runs all members at once; they share the step number."""

    @eqx.filter_jit
    def run(model, inputs, states):
        axes = eqx.tree_at(lambda state: state.step, jax.tree.map(lambda _: 0, states), None)
        one = lambda state: jcm.simulate(  # noqa: E731
            model, inputs.with_state(state), days=days, observe=(), checkpoint="none")[0]
        return jax.vmap(one, in_axes=(axes,), out_axes=axes)(states)

    return run


def _members(state: Any, members: int) -> Any:
    """Return states that differ a little in temperature, with one common step number."""
    states = jax.tree.map(lambda x: jnp.stack([x] * members), state)
    factor = 1 + 1e-5 * jnp.arange(members, dtype=jnp.float32)[:, None, None, None, None]
    return eqx.tree_at(
        lambda s: (s.step, s.current.temperature), states,
        (state.step, states.current.temperature * factor))  # fmt: skip


def _temporary(program: Any) -> float | None:
    """Return the memory that a compiled program takes for what it computes on the way [GiB]."""
    compiled = getattr(program, "compiled", program)
    analysis = getattr(compiled, "memory_analysis", lambda: None)()
    size = getattr(analysis, "temp_size_in_bytes", None)
    return None if size is None else size / 2**30


def _finite(tree: Any) -> bool:
    numbers = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return all(bool(jnp.all(jnp.isfinite(x))) for x in numbers)


def main() -> None:
    """Answer requests until there are no more."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        if command == "quit":
            return
        try:
            answer = getattr(worker, command)(**request)
        except (ValueError, KeyError, OSError, RuntimeError, MemoryError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 2**30 if sys.platform == "darwin" else 2**20
        answers.write(json.dumps({**answer, "peak_memory_gib": usage / unit}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
