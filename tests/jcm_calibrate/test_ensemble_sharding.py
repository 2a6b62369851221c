"""Ensembles over 8 devices of one process; it must be told of them before it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jcm_calibrate.ensembles.ensemble import evaluate_with, run_ensemble
from jcm_calibrate.ensembles.programs import Work, _program

folder, (dx, dt) = sys.argv[1], (8.0, 0.01)
assert len(jax.devices()) == 8

def lorenz_96(x):
    step = lambda _, x: x + dt * (
        (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + dx)
    final = jax.lax.fori_loop(0, 200, step, x)
    # A loop whose length depends on the member: devices end it at different times.
    length = jax.lax.while_loop(lambda n: jnp.sin(n * x[0]) < 0.9, lambda n: n + 1, 1.0)
    return {"state": final, "transform": jnp.fft.rfft(final).real, "length": length}

x = np.random.default_rng(0).normal(size=(21, 40))
x[5] = np.nan
one = run_ensemble(lorenz_96, x[:5], f"{folder}/few", batch=2)
one = run_ensemble(lorenz_96, x, f"{folder}/one", batch=2)
seen = []
eight = run_ensemble(lorenz_96, x, f"{folder}/eight", batch=2, devices="all",
                     progress=lambda done, _: seen.append(done))
assert seen == [16, 21], seen
for name in ("state", "transform", "length"):
    np.testing.assert_array_equal(one[name], eight[name])
assert np.isfinite(eight["state"].values[6:]).all()
assert eight["failed"].values.tolist() == [k == 5 for k in range(21)]
assert "not finite" in str(eight["reason"].values[5])
three = run_ensemble(lorenz_96, x, f"{folder}/three", batch=2, devices=jax.devices()[3:6])
np.testing.assert_array_equal(one["state"], three["state"])
np.testing.assert_array_equal(
    evaluate_with(jnp.sin, devices=8, batch=1)(x[6:]), evaluate_with(jnp.sin, batch=1)(x[6:]))

work = Work(lorenz_96, None, lambda shared, row: row)
outputs = _program(work, tuple(jax.devices()))(np.ones((16, 40)))
assert len(outputs["state"].sharding.device_set) == 8
assert {shard.data.shape for shard in outputs["state"].addressable_shards} == {(2, 40)}
print("all identical")
"""


@pytest.fixture(scope="module")
def on_8_devices(tmp_path_factory) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path_factory.mktemp("stores"))],
        env=environment, capture_output=True, text=True)  # fmt: skip


def test_8_devices_give_what_one_gives_to_the_last_bit(on_8_devices):
    assert on_8_devices.stdout.strip() == "all identical", on_8_devices.stderr
