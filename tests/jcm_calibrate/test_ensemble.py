"""Ensembles in one process: results, the store, what fails, what is refused."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
import zarr

import jcm
from jcm_calibrate.ensembles.ensemble import evaluate_with, members_of, read_ensemble, run_ensemble
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_sensitivity import model_experiment
from jcm_sensitivity.ensembles import stack_members

STEP = 1 / 36
RATE = "parameters.convection.relaxation_time"


def wave(x):
    """Amplitude and phase of a wave at 5 places."""
    return {"wave": x[0] * jnp.sin(jnp.arange(5.0) + x[1]), "sum": x.sum()}


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 2))


def expected_waves(x: np.ndarray) -> np.ndarray:
    return x[:, :1] * np.sin(np.arange(5.0) + x[:, 1:])


# ---------------------------------------------------------------------------------- results


def test_members_are_what_the_function_gives(tmp_path):
    x = vectors(7)
    result = run_ensemble(wave, x, tmp_path / "e.zarr", batch=3)
    np.testing.assert_allclose(result["wave"], expected_waves(x), rtol=1e-13)
    np.testing.assert_allclose(result["sum"], x.sum(axis=1), rtol=1e-13)
    np.testing.assert_array_equal(result["z"], x)
    assert not result["failed"].any()


def test_a_function_that_returns_an_array_gives_value(tmp_path):
    x = vectors(3)
    result = run_ensemble(lambda x: x**2, x, tmp_path / "e.zarr")
    np.testing.assert_allclose(result["value"], x**2, rtol=1e-14)


def test_any_pytree_of_inputs_will_do(tmp_path):
    inputs = {"rate": np.arange(3.0), "state": np.ones((3, 4))}
    result = run_ensemble(lambda x: x["rate"] * x["state"], inputs, tmp_path / "e.zarr")
    np.testing.assert_allclose(result["value"], np.arange(3.0)[:, None] * np.ones(4))
    np.testing.assert_array_equal(result["rate"], np.arange(3.0))


def test_random_keys_vary_between_members(tmp_path):
    keys = jax.random.split(jax.random.key(1), 3)
    result = run_ensemble(lambda key: jax.random.normal(key, (2,)), keys, tmp_path / "e.zarr")
    np.testing.assert_array_equal(
        result["value"], jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys))


def test_whole_numbers_become_real_ones_that_can_be_missing(tmp_path):
    result = run_ensemble(lambda x: jnp.int32(x[0]), np.array([[1.0], [2.0]]), tmp_path / "e.zarr")
    assert result["value"].dtype == float and result["value"].values.tolist() == [1.0, 2.0]


def test_one_program_serves_all_batches(tmp_path):
    shapes = []

    def counted(x):
        shapes.append(1)
        return x.sum()

    # Once to learn what comes out, once to compile: however many batches.
    run_ensemble(counted, vectors(11), tmp_path / "e.zarr", batch=2)
    assert len(shapes) == 2


def test_progress_counts_members(tmp_path):
    seen = []
    run_ensemble(wave, vectors(5), tmp_path / "e.zarr", batch=2,
                 progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen == [(2, 5), (4, 5), (5, 5)]


# --------------------------------------------------------------------------------- failures


def test_members_that_are_not_finite_are_missing_and_say_so(tmp_path):
    x = np.array([[4.0], [-1.0], [9.0]])
    result = run_ensemble(
        lambda x: {"root": jnp.sqrt(x), "twice": 2 * x}, x, tmp_path / "e.zarr", batch=3)
    assert result["failed"].values.tolist() == [False, True, False]
    assert result["reason"].values.tolist() == ["", "values that are not finite in root", ""]
    np.testing.assert_array_equal(result["root"], [[2.0], [np.nan], [3.0]])
    assert np.isnan(result["twice"].values[1]), "nothing of a failed member is kept"


def test_a_member_that_raises_does_not_take_its_batch_with_it(tmp_path):
    def picky(x):
        return eqx.error_if(2 * x, x[0] > 5, "the wind is too strong")

    x = np.array([[1.0], [7.0], [3.0], [4.0]])
    result = run_ensemble(picky, x, tmp_path / "e.zarr", batch=3)
    np.testing.assert_array_equal(result["value"], [[2.0], [np.nan], [6.0], [8.0]])
    assert result["failed"].values.tolist() == [False, True, False, False]
    assert "the wind is too strong" in result["reason"].values[1]


def test_a_lack_of_memory_is_no_failure_of_members(tmp_path):
    def greedy(x):
        def fail(_):
            raise MemoryError("out of memory")

        return jax.pure_callback(fail, jax.ShapeDtypeStruct((), float), x[0],
                                 vmap_method="sequential")  # fmt: skip

    with pytest.raises(MemoryError, match=r"batch of 2 members.*smaller"):
        run_ensemble(greedy, vectors(4), tmp_path / "e.zarr", batch=2)


# ---------------------------------------------------------------------------------- resuming


def ended_after(members: int):
    def progress(done: int, total: int) -> None:
        if done >= members:
            raise KeyboardInterrupt

    return progress


def test_finished_members_are_not_computed_again(tmp_path):
    x, store = vectors(6), tmp_path / "e.zarr"
    with pytest.raises(KeyboardInterrupt):
        run_ensemble(wave, x, store, batch=2, progress=ended_after(4))
    zarr.open_group(store, mode="r+")["sum"][:4] = 42.0
    counts = []
    result = run_ensemble(wave, x, store, batch=2, progress=lambda *n: counts.append(n))
    assert counts == [(6, 6)]
    np.testing.assert_allclose(result["sum"], [42.0] * 4 + x[4:].sum(axis=1).tolist())


def test_a_store_is_taken_up_with_another_batch(tmp_path):
    x, store = vectors(8), tmp_path / "e.zarr"
    with pytest.raises(KeyboardInterrupt):
        run_ensemble(wave, x, store, batch=2, progress=ended_after(2))
    result = run_ensemble(wave, x, store, batch=3)
    np.testing.assert_allclose(result["wave"], expected_waves(x), rtol=1e-13)


def test_members_without_status_are_missing_when_an_unfinished_store_is_read(tmp_path):
    x, store = vectors(4), tmp_path / "e.zarr"
    with pytest.raises(KeyboardInterrupt):
        run_ensemble(wave, x, store, batch=2, progress=ended_after(2))
    # What a process leaves that is killed between the outputs and the status.
    zarr.open_group(store, mode="r+")["wave"][2:] = 1.0
    found = read_ensemble(store)
    assert np.isnan(found["wave"].values[2:]).all() and np.isfinite(found["wave"].values[:2]).all()


SCRIPT = """
import os, signal, sys
import jax, jax.numpy as jnp, numpy as np
from jcm_calibrate.ensembles import ensemble
from jcm_calibrate.ensembles import store as ensemble_store
store, members = sys.argv[1], int(sys.argv[2])
original = ensemble_store.EnsembleStore.write

class Killed:
    def __init__(self, array):
        self.array = array
    @property
    def oindex(self):
        os.kill(os.getpid(), signal.SIGKILL)

def write(self, indices, values, reasons):
    if indices[-1] >= members:
        # Killed when all outputs of the batch are written and its status is not.
        found = ensemble_store._array
        ensemble_store._array = lambda group, name: (
            Killed(found(group, name)) if name == "status" else found(group, name))
    original(self, indices, values, reasons)

ensemble_store.EnsembleStore.write = write
x = np.arange(12.0).reshape(6, 2)
ensemble.run_ensemble(lambda x: {"a": jnp.sin(x), "b": x.sum()}, x, store, batch=2)
"""


def test_a_writer_that_is_killed_leaves_no_half_batch_and_the_next_goes_on(tmp_path):
    script, store = tmp_path / "script.py", tmp_path / "e.zarr"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]), "JAX_ENABLE_X64": "1"}
    start = lambda count: subprocess.run(  # noqa: E731
        [sys.executable, str(script), str(store), str(count)], env=environment,
        capture_output=True, text=True)  # fmt: skip
    assert start(2).returncode == -signal.SIGKILL
    assert read_ensemble(store)["status"].values.tolist() == [1, 1, 0, 0, 0, 0]
    done = start(99)
    assert done.returncode == 0, done.stderr
    found = read_ensemble(store)
    x = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(found["a"], np.sin(x), rtol=1e-14)
    np.testing.assert_allclose(found["b"], x.sum(axis=1))


def test_a_full_disk_keeps_what_was_there_and_nothing_half(tmp_path):
    store, x = tmp_path / "e.zarr", np.arange(4.0)[:, None]

    def noise(x):
        # Does not compress: 80 kB for each member, but little for the first.
        return jnp.where(x[0] > 1, jax.random.normal(jax.random.key(1), (10_000,)), 0.0)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match=r"members 2 to 3 could not.*2 of 4 members are safe"):
            run_ensemble(noise, x, store, batch=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_ensemble(store)["status"].values.tolist() == [1, 1, 0, 0]
    assert not run_ensemble(noise, x, store, batch=2)["failed"].any()


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("members", "batch"), [
    (vectors(4) + 1, 2), (vectors(5), 2), (vectors(4).astype(np.float32), 2)])
def test_the_store_of_other_members_is_refused(tmp_path, members, batch):
    run_ensemble(wave, vectors(4), tmp_path / "e.zarr", batch=2)
    with pytest.raises(ValueError, match=r"another experiment.*other members"):
        run_ensemble(wave, members, tmp_path / "e.zarr", batch=batch)


def test_the_store_of_another_run_is_refused(tmp_path):
    run_ensemble(lambda x: 2 * x, vectors(2), tmp_path / "e.zarr")
    with pytest.raises(ValueError, match=r"another experiment.*other program"):
        run_ensemble(lambda x: 3 * x, vectors(2), tmp_path / "e.zarr")


def test_the_store_of_a_run_with_another_constant_array_is_refused(tmp_path):
    one, other = jnp.arange(3.0), jnp.arange(3.0) + 1
    run_ensemble(lambda x: x[0] * one, vectors(2), tmp_path / "e.zarr")
    with pytest.raises(ValueError, match="other program"):
        run_ensemble(lambda x: x[0] * other, vectors(2), tmp_path / "e.zarr")


def test_an_existing_store_is_refused_where_nothing_shall_be_resumed(tmp_path):
    run_ensemble(wave, vectors(2), tmp_path / "e.zarr")
    with pytest.raises(FileExistsError, match="resume=True"):
        run_ensemble(wave, vectors(2), tmp_path / "e.zarr", resume=False)


def test_a_folder_that_is_no_store_is_refused_and_left_alone(tmp_path):
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "e.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no store of an ensemble"):
        run_ensemble(wave, vectors(2), tmp_path / "e.zarr")
    assert [x.name for x in (tmp_path / "e.zarr").iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_the_store_is_refused(tmp_path):
    (tmp_path / "e.zarr").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        run_ensemble(wave, vectors(2), tmp_path / "e.zarr")


def test_a_store_in_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        run_ensemble(wave, vectors(2), tmp_path / "nowhere" / "e.zarr")


def test_a_store_that_is_not_there_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no store"):
        read_ensemble(tmp_path / "e.zarr")


@pytest.mark.parametrize("members", [
    np.zeros((0, 2)), np.float64(1.0), {"a": np.ones(2), "b": np.ones(3)}, {}])
def test_members_without_a_common_axis_are_refused(tmp_path, members):
    with pytest.raises(ValueError, match="leading axis of members"):
        run_ensemble(lambda x: jnp.ones(()), members, tmp_path / "e.zarr")


@pytest.mark.parametrize("result", [{}, {"a": "text"}, {1: np.ones(2)}, None])
def test_functions_that_return_something_else_are_refused(tmp_path, result):
    with pytest.raises(TypeError, match="returns an array, or arrays by name"):
        run_ensemble(lambda x: result, vectors(2), tmp_path / "e.zarr")


def test_functions_that_are_not_of_jax_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be one of JAX"):
        run_ensemble(lambda x: np.linalg.norm(np.array(x)), vectors(2), tmp_path / "e.zarr")


def test_outputs_cannot_have_names_of_the_ensemble(tmp_path):
    with pytest.raises(ValueError, match="status"):
        run_ensemble(lambda x: {"status": x}, vectors(2), tmp_path / "e.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch", [0, -1, 2.5])
def test_a_batch_is_a_positive_number(tmp_path, batch):
    with pytest.raises((ValueError, TypeError), match="batch"):
        run_ensemble(wave, vectors(2), tmp_path / "e.zarr", batch=batch)


def test_more_devices_than_there_are_are_refused_with_advice(tmp_path):
    with pytest.raises(ValueError, match="XLA_FLAGS"):
        run_ensemble(wave, vectors(2), tmp_path / "e.zarr", devices=999)


# --------------------------------------------------------------------------- for other methods


def test_evaluations_are_rows_with_nan_where_a_member_fails():
    evaluate = evaluate_with(lambda z: jnp.sqrt(z), batch=2)
    np.testing.assert_array_equal(
        evaluate(np.array([[4.0, 1.0], [-1.0, 1.0], [9.0, 0.0]])),
        [[2.0, 1.0], [np.nan, np.nan], [3.0, 0.0]])


def test_many_evaluations_are_one_program():
    traces = []

    def counted(z):
        traces.append(1)
        return z.sum()

    evaluate = evaluate_with(counted, batch=2)
    for seed in range(4):
        z = np.random.default_rng(seed).normal(size=(5, 3))
        np.testing.assert_allclose(evaluate(z), z.sum(axis=1))
    assert len(traces) == 2


def test_evaluations_that_all_fail_say_why():
    with pytest.raises(RuntimeError, match=r"all 2 members have failed.*not finite"):
        evaluate_with(lambda z: jnp.log(-(z**2)))(np.ones((2, 2)))


# -------------------------------------------------------------------------------- of the model


@pytest.fixture(scope="module")
def space(small_inputs):
    return ParameterSpace.of(small_inputs, [RATE])


@pytest.fixture(scope="module")
def experiment(small_model):
    return model_experiment(
        small_model, days=STEP, observe=("air_temperature", "precipitation_flux"))


@pytest.fixture(scope="module")
def of_the_model(experiment, space, small_inputs, tmp_path_factory):
    z = space.draw(jax.random.key(0), 3)
    store = tmp_path_factory.mktemp("model") / "e.zarr"
    return z, run_ensemble(experiment, members_of(space, small_inputs, z), store, batch=2), store


def test_a_member_of_the_model_is_a_run_with_its_parameters(
    of_the_model, small_model, space, small_inputs
):
    z, result, _ = of_the_model
    _, fields = jcm.simulate(
        small_model, space.insert(small_inputs, z[2]), days=STEP,
        observe=("air_temperature", "precipitation_flux"))
    for name, field in fields.items():
        expected = np.swapaxes(field, -1, -2)
        np.testing.assert_allclose(
            result[name].values[2], expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    assert result["precipitation_flux"].values[0].sum() != result["precipitation_flux"].values[
        1].sum()


def test_fields_of_the_model_have_coordinates_names_and_units(of_the_model):
    _, result, store = of_the_model
    assert result["air_temperature"].dims == ("member", "time", "level", "lat", "lon")
    assert result["air_temperature"].standard_name == "air_temperature"
    assert result["precipitation_flux"].units == "kg m-2 s-1"
    assert result["lat"].units == "degrees_north" and result["lat"].values[0] < 0
    # Anybody can read it without this package.
    xr.testing.assert_equal(xr.open_zarr(store)["air_temperature"], result["air_temperature"])


def test_parameters_are_coordinates_with_units(of_the_model, space, small_inputs):
    z, result, _ = of_the_model
    known = jcm.descriptions(small_inputs.parameters, "parameters.")[RATE]
    assert result[RATE].units == known.units
    inserted = [float(jcm.extract(space.insert(small_inputs, row), [RATE])[RATE]) for row in z]
    np.testing.assert_allclose(result[RATE], inserted, rtol=1e-12)
    assert result["component"].values.tolist() == [RATE]


def test_the_forcing_exists_once_however_many_members(space, small_inputs):
    members = members_of(space, small_inputs, space.draw(jax.random.key(0), 50))
    shared = sum(x.nbytes for x in jax.tree.leaves(eqx.filter(small_inputs, eqx.is_array)))
    stored = sum(
        x.nbytes for x in jax.tree.leaves((members.varying, members.shared))
        if hasattr(x, "nbytes"))
    assert stored < 1.1 * shared


def test_members_from_different_dates_have_no_common_time(experiment, small_inputs, tmp_path):
    later = eqx.tree_at(
        lambda x: x.forcing.start_day, small_inputs, small_inputs.forcing.start_day + 10)
    result = run_ensemble(
        experiment, stack_members([small_inputs, later]), tmp_path / "e.zarr", batch=2)
    assert "time" not in result.coords and result["air_temperature"].dims[1] == "output"
    difference = result["forcing.start_day"].values[1] - result["forcing.start_day"].values[0]
    assert difference == np.timedelta64(10, "D")


def test_the_fingerprint_of_the_model_is_the_same_in_another_process(of_the_model):
    _, _, store = of_the_model
    stored = json.loads(zarr.open_group(store, mode="r").attrs["ensemble_fingerprint"])
    program = f"""
import jax; jax.config.update("jax_enable_x64", True)
import jcm
from jcm_calibrate.ensembles.ensemble import members_of
from jcm_calibrate.ensembles.programs import Work, trace
from jcm_calibrate.parameters.space import ParameterSpace
from jcm_sensitivity import model_experiment
model = jcm.build_model("T21L8"); inputs = jcm.default_inputs(model)
space = ParameterSpace.of(inputs, ["{RATE}"])
run = model_experiment(model, days={STEP}, observe=("air_temperature", "precipitation_flux"))
members = members_of(space, inputs, space.draw(jax.random.key(0), 3))
print(trace(Work(run, members.shared, members.combine), members).fingerprint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert done.stdout.strip() == str(stored), done.stderr


@pytest.mark.parametrize("z", [np.zeros((2, 2)), np.zeros(1), np.zeros((0, 1))])
def test_vectors_of_another_space_are_refused(space, small_inputs, z):
    with pytest.raises(ValueError, match=r"shape \(member, 1\)"):
        members_of(space, small_inputs, z)


def test_vectors_that_are_not_finite_are_refused(space, small_inputs):
    with pytest.raises(ValueError, match="z of member 1 is not finite"):
        members_of(space, small_inputs, np.array([[0.0], [np.nan]]))
