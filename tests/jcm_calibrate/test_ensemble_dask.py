"""Ensembles over two worker processes of Dask on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distributed import Client, LocalCluster

import jcm
from jcm_calibrate.ensembles.ensemble import evaluate_with, members_of, read_ensemble, run_ensemble
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_sensitivity import model_experiment

STEP = 1 / 36
RATE = "parameters.convection.relaxation_time"
X = np.random.default_rng(0).normal(size=(13, 3))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=folder, memory_limit=0) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


def functions():
    """Functions that travel by value: the workers cannot import this file."""
    def wave(x):
        return {"wave": jnp.sin(x), "root": jnp.sqrt(1 + x[0] * jnp.abs(x[0]))}

    return wave


def test_workers_give_what_this_process_gives_to_the_last_bit(client, tmp_path):
    wave = functions()
    here = run_ensemble(wave, X, tmp_path / "here.zarr", batch=2)
    there = run_ensemble(wave, X, tmp_path / "there.zarr", batch=2, client=client)
    for name in ("wave", "root", "failed", "reason", "z"):
        np.testing.assert_array_equal(here[name], there[name])
    np.testing.assert_allclose(there["wave"].values[~there["failed"].values],
                               np.sin(X)[~there["failed"].values])  # fmt: skip
    assert 0 < there["failed"].sum() < len(X)


def test_both_workers_compute_in_processes_of_their_own(client, tmp_path):
    def process(x):
        def slow(_):
            time.sleep(0.1)
            return np.float64(os.getpid())

        return jax.pure_callback(
            slow, jax.ShapeDtypeStruct((), float), x[0], vmap_method="sequential")

    result = run_ensemble(process, X, tmp_path / "e.zarr", batch=1, client=client)
    assert set(result["value"].values.astype(int)) == set(client.run(os.getpid).values())


def test_a_worker_compiles_once_for_all_its_tasks(client, tmp_path):
    def counted(x):
        # Executed when the function is traced, in the process that traces it.
        os.environ["JCM_TEST_TRACES"] = str(int(os.environ.get("JCM_TEST_TRACES", 0)) + 1)
        return x.sum()

    run_ensemble(counted, X, tmp_path / "e.zarr", batch=1, client=client)
    counts = client.run(lambda: int(os.environ.get("JCM_TEST_TRACES", 0)))
    assert set(counts.values()) <= {0, 1} and sum(counts.values()) >= 1


def test_a_worker_that_is_killed_loses_nothing(client, tmp_path):
    def slow(x):
        def wait(x):
            time.sleep(0.05)
            return x

        return jax.pure_callback(
            wait, jax.ShapeDtypeStruct((3,), float), 2 * x, vmap_method="sequential")

    killed = []

    def progress(done, total):
        if not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    result = run_ensemble(
        slow, X, tmp_path / "e.zarr", batch=1, client=client, progress=progress)
    np.testing.assert_array_equal(result["value"], 2 * X)
    assert not result["failed"].any()
    client.wait_for_workers(2, timeout=60)
    assert killed[0] not in client.run(os.getpid).values()


@pytest.mark.slow
def test_all_workers_may_be_killed(client, tmp_path):
    killed = []

    def progress(done, total):
        if not killed:
            killed.extend(client.run(os.getpid).values())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    result = run_ensemble(
        lambda x: 3 * x, X, tmp_path / "e.zarr", batch=1, client=client, progress=progress)
    np.testing.assert_array_equal(result["value"], 3 * X)
    client.wait_for_workers(2, timeout=60)


SCRIPT = """
import os, signal, sys, time
import jax, jax.numpy as jnp, numpy as np
from distributed import Client, LocalCluster
from jcm_calibrate.ensembles.ensemble import run_ensemble

def main():
    def kill(done, total):
        if done >= 4:
            # The whole process group: caller, scheduler and workers.
            os.killpg(os.getpgid(0), signal.SIGKILL)

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            run_ensemble(lambda x: jnp.sin(x), np.arange(20.0).reshape(10, 2), sys.argv[1],
                         batch=2, client=client, progress=kill)

if __name__ == "__main__":
    main()
"""


def test_a_killed_cluster_is_taken_up_where_it_ended(client, tmp_path):
    script, store = tmp_path / "script.py", tmp_path / "e.zarr"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(store)], start_new_session=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_ENABLE_X64": "1"},
        capture_output=True, text=True)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (read_ensemble(store)["status"] == 1).sum() == 4
    counts = []
    x = np.arange(20.0).reshape(10, 2)
    result = run_ensemble(
        lambda x: jnp.sin(x), x, store, batch=2, client=client,
        progress=lambda done, _: counts.append(done))  # fmt: skip
    assert counts == [6, 8, 10]
    np.testing.assert_array_equal(result["value"], jax.vmap(jnp.sin)(x))


def test_evaluations_of_a_kalman_method_run_on_the_workers(client):
    evaluate = evaluate_with(lambda z: jnp.sqrt(z), client=client, batch=2)
    for scale in (1.0, 4.0):
        z = scale * np.array([[1.0, 4.0], [-1.0, 1.0], [9.0, 16.0]])
        expected = np.sqrt(scale) * np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])
        np.testing.assert_array_equal(evaluate(z), expected)


def test_devices_of_this_process_are_refused_with_a_client(client, tmp_path):
    with pytest.raises(ValueError, match="those of each worker"):
        run_ensemble(jnp.sin, X, tmp_path / "e.zarr", client=client, devices=jax.devices())


def test_the_model_runs_on_the_workers(client, small_model, small_inputs, tmp_path):
    space = ParameterSpace.of(small_inputs, [RATE])
    z = space.draw(jax.random.key(0), 2)
    run = model_experiment(small_model, days=STEP, observe=("precipitation_flux",))
    result = run_ensemble(
        run, members_of(space, small_inputs, z), tmp_path / "e.zarr", batch=2, client=client)
    for row, found in zip(z, result["precipitation_flux"].values, strict=True):
        _, fields = jcm.simulate(
            small_model, space.insert(small_inputs, row), days=STEP,
            observe=("precipitation_flux",))
        expected = np.swapaxes(fields["precipitation_flux"], -1, -2)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * expected.max())
