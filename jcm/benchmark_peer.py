"""Measure the package `jcm` of PyPI (JAX-GCM 3.0.0) in its own environment.

`jcm benchmark --peer PYTHON` starts this file with that Python. It imports nothing of this
project: it reads one request per line (JSON) from standard input and answers with one line, so
that the two models can be timed in alternation. The model is set up as its documentation does for
the real Earth: SPEEDY physics with its default parameters on `get_speedy_coords()`, with terrain
and forcing from the climatology that comes with the package.
"""

# Here `jcm` is the other package of that name, which the type checker cannot see.
# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false

import json
import os
import resource
import sys
import time
import warnings
from importlib.metadata import version

#: The climatology in the package, which its readers interpolate to the grid of the model.
CLIMATOLOGY = ("data", "bc", "t30", "clim")
START = "2000-01-01"


class Peer:
    """The peer's model and the programs that have been compiled for it."""

    def __init__(self):
        self.ran = set()
        self.gradients = {}

    def setup(self, truncation, layers, time_step):
        """Build model and forcing; time_step in seconds."""
        begin = time.perf_counter()
        from importlib.resources import files

        import jax

        from jcm.forcing import ForcingData
        from jcm.model import Model
        from jcm.physics.speedy.speedy_coords import get_speedy_coords
        from jcm.terrain import TerrainData

        imported = time.perf_counter()
        folder = files("jcm").joinpath(*CLIMATOLOGY)
        coords = get_speedy_coords(layers=layers, spectral_truncation=truncation)
        self.forcing = ForcingData.from_file(str(folder / "forcing.nc"), coords)
        self.model = Model(
            coords=coords, terrain=TerrainData.from_file(str(folder / "terrain.nc"), coords),
            time_step=time_step / 60, start_time=START)  # fmt: skip
        return {
            "import_seconds": imported - begin,
            "setup_seconds": time.perf_counter() - imported,
            "model": repr(self.model),
            "time_step": time_step,
            "boundary": "terrain and daily climatology of the package (bc/t30/clim)",
            "start": START,
            "versions": {name: version(name) for name in ("jcm", "jax", "jaxlib", "dinosaur")},
            "python": sys.version.split()[0],
            "device": jax.devices()[0].device_kind,
        }

    def forward(self, days):
        """Time `Model.run` with one output at the end."""
        first = None
        if days not in self.ran:
            # Its number of steps is part of the compiled program.
            first, _ = self._run(days)
            self.ran.add(days)
        seconds, predictions = self._run(days)
        return {
            "seconds": seconds,
            "first_seconds": first,
            "finite": self._finite(predictions.dynamics),
            "call": "Model.run(forcing=..., save_interval=days, total_time=days)",
        }

    def first(self, days):
        """Run once, without a second call to compare with."""
        seconds, predictions = self._run(days)
        self.ran.add(days)
        return {"seconds": seconds, "finite": self._finite(predictions.dynamics)}

    def gradient(self, days):
        """Time value and gradient of the squared mean of the final temperature."""
        import jax

        compile_seconds = temporary = None
        sst = self.forcing.sea_surface_temperature.values
        if days not in self.gradients:
            state, _ = self.model.bootstrap_state()
            begin = time.perf_counter()
            program = jax.jit(
                jax.value_and_grad(lambda x, s, f: self._target(x, s, f, days))
            ).lower(sst, state, self.forcing).compile()
            compile_seconds = time.perf_counter() - begin
            analysis = program.memory_analysis()
            temporary = getattr(analysis, "temp_size_in_bytes", 0) / 2**30 or None
            self.gradients[days] = lambda: jax.block_until_ready(
                program(sst, state, self.forcing))
            self.gradients[days]()
        begin = time.perf_counter()
        value, gradient = self.gradients[days]()
        seconds = time.perf_counter() - begin
        return {
            "seconds": seconds,
            "compile_seconds": compile_seconds,
            "temporary_gib": temporary,
            "value": float(value),
            "largest_derivative": float(abs(gradient).max()),
            "finite": self._finite((value, gradient)),
            "of": "square of the mean air temperature at the end",
            "with_respect_to": f"sea surface temperature, shape {tuple(sst.shape)}",
            "call": "jit(value_and_grad(Model.run_from_state)), default speedy_physics() "
            "(checkpoint_terms=True)",
        }

    def _target(self, values, state, forcing, days):
        import jax.numpy as jnp

        sst = forcing.sea_surface_temperature.replace(values=values)
        forcing = forcing.copy(sea_surface_temperature=sst)
        _, predictions = self.model.run_from_state(
            state, forcing, save_interval=days, total_time=days)
        return jnp.mean(predictions.dynamics.temperature[-1]) ** 2

    def _run(self, days):
        import jax

        begin = time.perf_counter()
        predictions = self.model.run(forcing=self.forcing, save_interval=days, total_time=days)
        jax.block_until_ready(predictions)
        return time.perf_counter() - begin, predictions

    def _finite(self, tree):
        import jax
        import jax.numpy as jnp

        return all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(tree))


def main():
    """Answer requests until there are no more."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        if command == "quit":
            return
        try:
            answer = getattr(peer, command)(**request)
        except Exception as error:
            # Whatever goes wrong there, the other model is still measured.
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 2**30 if sys.platform == "darwin" else 2**20
        answers.write(json.dumps({**answer, "peak_memory_gib": usage / unit}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
