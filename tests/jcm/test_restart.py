"""Runs that were ended at any moment go on bit for bit; runs that cannot go on say why."""

import fcntl
import functools
import json
import os
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jcm
from jcm.calendar import parse_date
from jcm.initial import start_state
from jcm.physics.speedy import SpeedyPhysics
from jcm.restart import (
    Restart,
    check_identity,
    identity,
    newest_restart,
    restart_files,
    write_restart,
)
from jcm.simulate import compile_window

MODEL = jcm.build_model("T21L5", physics="held_suarez")
STEP = 1 / MODEL.steps_per_day
#: Four chunks of two outputs, each of one step.
LENGTHS = {"days": 8 * STEP, "every": STEP, "chunk": 2 * STEP}


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but its log, which has times in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.json"}


@pytest.fixture(scope="module")
def inputs() -> jcm.Inputs:
    forcing = jcm.packaged_forcing(MODEL.grid, start="2001-07-01", gravity=MODEL.constants.gravity)
    return jcm.default_inputs(MODEL, state="rest", forcing=forcing)


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Runs of these tests share their programs: what is tested is on the disk."""
    programs = {}

    def compile_or_take(model, inputs, *, average, observe):
        key = (average, observe, len(jax.tree.leaves(inputs)), model.name)
        if key not in programs:
            programs[key] = compile_window(model, inputs, average=average, observe=observe)
        return programs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jcm.integration.compile_window", compile_or_take)
        yield


@pytest.fixture(scope="module")
def run(inputs):
    return functools.partial(jcm.run, MODEL, inputs, progress=False)


@pytest.fixture(scope="module")
def resume(inputs):
    return functools.partial(jcm.resume, model=MODEL, inputs=inputs, progress=False)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("whole") / "run", **LENGTHS).parent


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A finished run to change."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


class Stopped(BaseException):
    """The end of a process, which nothing in the package catches."""


def stop_after(monkeypatch, outputs: int) -> None:
    """End the run when the restart file after so many outputs is written."""
    def write_and_stop(directory, identified, restart):
        write_restart(directory, identified, restart)
        if restart.outputs >= outputs:
            raise Stopped

    monkeypatch.setattr("jcm.integration.write_restart", write_and_stop)


@pytest.fixture
def stopped(run, tmp_path, monkeypatch) -> Path:
    """A run that ended after four of eight outputs."""
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, 4)
        run(tmp_path / "stopped", **LENGTHS)
    return tmp_path / "stopped"


@pytest.mark.parametrize("format", [
    "netcdf", pytest.param("zarr", marks=pytest.mark.slow)])
def test_a_run_ended_at_any_rename_goes_on_to_the_same_files(format, run, resume, tmp_path,
                                                             monkeypatch):
    """A file comes to be by a rename, so these are all states of the disk, temporaries included."""
    folder, moments, rename = tmp_path / "run", [], os.replace

    def rename_and_keep(old, new):
        ours = Path(new).parent in (folder, folder / "parts")
        for when in ("before", "after"):
            if when == "after":
                rename(old, new)
            if ours:
                kept = tmp_path / f"{len(moments):02d} {when} {Path(new).name}"
                moments.append(Path(shutil.copytree(folder, kept)))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", rename_and_keep)
        run(folder, **LENGTHS, format=format, observe=["air_temperature"])
    expected = contents(folder)
    assert len(moments) >= 24
    assert not (moments[0] / "experiment.json").exists()
    for moment in moments[1:]:
        resume(moment)
        assert contents(moment) == expected, moment.name


def test_a_run_may_be_ended_while_its_parts_are_removed(resume, copy):
    expected = contents(copy)
    (copy / ".parts.done.part").mkdir()
    (copy / ".parts.done.part" / "00000002_00000004.nc").write_text("")
    resume(copy)
    assert contents(copy) == expected


def test_resuming_a_finished_run_changes_nothing(resume, copy):
    before = contents(copy), (copy / "run.json").read_text()
    resume(copy)
    assert (contents(copy), (copy / "run.json").read_text()) == before


def test_a_lengthened_run_has_the_values_of_the_long_one(run, resume, copy, tmp_path):
    long = run(tmp_path / "long", **(LENGTHS | {"days": 11 * STEP}))
    path = resume(copy, 11 * STEP)
    with xr.open_dataset(long) as expected, xr.open_dataset(path) as found:
        assert found.identical(expected)
    assert not (copy / "parts").exists()


def test_a_lengthened_store_is_divided_as_the_long_one(run, resume, tmp_path):
    chosen = LENGTHS | {"observe": ["air_temperature"], "format": "zarr"}
    for name, steps in (("long", 6), ("short", 4)):
        run(tmp_path / name, **(chosen | {"days": steps * STEP}))
    resume(tmp_path / "short", 6 * STEP)
    assert contents(tmp_path / "short") == contents(tmp_path / "long")


def test_a_lengthening_that_is_interrupted_goes_on_to_the_new_length(resume, copy, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, 10)
        resume(copy, 12 * STEP)
    with xr.open_dataset(resume(copy)) as found:
        assert found.sizes["time"] == 12


def test_a_lengthened_run_completes_its_last_month(inputs, tmp_path):
    late = jcm.insert(inputs, {"forcing.start_day": parse_date("2001-07-30")})
    start = functools.partial(jcm.run, MODEL, late, every="month", progress=False)
    long = start(tmp_path / "long", days=4)
    start(tmp_path / "short", days=3)
    path = jcm.resume(tmp_path / "short", 4, model=MODEL, inputs=late, progress=False)
    with xr.open_dataset(long) as expected, xr.open_dataset(path) as found:
        assert [str(x)[:10] for x in found["time_bnds"].values[:, 1]] == [
            "2001-08-01", "2001-08-03"]  # fmt: skip
        assert found.identical(expected)


def test_the_log_tells_where_a_run_went_on(resume, stopped):
    assert json.loads((stopped / "run.json").read_text())["status"] == "interrupted"
    resume(stopped)
    log = json.loads((stopped / "run.json").read_text())
    assert (log["status"], log["days"]) == ("completed", pytest.approx(8 * STEP))
    assert log["resumed_from_day"] == pytest.approx(4 * STEP)


def test_a_damaged_restart_file_is_replaced_by_the_one_before(resume, stopped, whole):
    newest = restart_files(stopped)[0]
    newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"restart_00000004.npz is damaged .*going on from restar"):
        resume(stopped)
    assert contents(stopped) == contents(whole)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "text"])
def test_without_a_good_restart_file_nothing_is_touched(damage, resume, stopped):
    for path in restart_files(stopped):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes({"truncated": bytes(data[:-1000]), "one bit": bytes(data), "empty": b"",
                          "text": b"restart"}[damage])  # fmt: skip
    before = contents(stopped)
    with pytest.raises(ValueError, match=r"is damaged .* start the run anew in another directory"):
        resume(stopped)
    assert contents(stopped) == before


def test_a_state_comes_back_whole_with_pattern_and_key(tmp_path):
    model = jcm.build_model("T21L5", stochastic_perturbation="on")
    forcing = jcm.aquaplanet_forcing(model.grid, gravity=model.constants.gravity)
    parameters = jcm.reference_parameters(model)
    rest = jcm.default_inputs(
        MODEL, state="rest",
        forcing=jcm.aquaplanet_forcing(MODEL.grid, gravity=MODEL.constants.gravity)).state
    state = start_state(
        model, parameters, forcing, rest.previous, rest.current, step=0, seed=3)
    write_restart(tmp_path, {}, Restart(1, 1, 12.5, state))
    shapes = eqx.filter_eval_shape(lambda: state)
    found = newest_restart(tmp_path, (0, 1), {}, shapes)
    assert (found.outputs, found.steps, found.wind) == (1, 1, 12.5)
    assert jax.tree.structure(found.state) == jax.tree.structure(state)
    plain = lambda x: jax.random.key_data(x) if jnp.issubdtype(  # noqa: E731
        x.dtype, jax.dtypes.prng_key) else x
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(found.state), strict=True):
        np.testing.assert_array_equal(plain(old), plain(new))
        assert old.dtype == new.dtype


def test_a_run_started_in_python_asks_for_model_and_inputs(whole):
    with pytest.raises(ValueError, match=r"started in Python.* jcm.resume\(directory, model="):
        jcm.resume(whole)


def test_other_parameters_are_refused(resume, inputs, copy):
    before = contents(copy)
    changed = jcm.insert(inputs, {"parameters.relaxation.free_time": 39 * 86400.0})
    with pytest.raises(ValueError, match=r"its hash of the parameters is .*resume with the model"):
        resume(copy, inputs=changed)
    assert contents(copy) == before


def test_another_forcing_is_refused(resume, inputs, copy):
    warmer = jcm.insert(inputs, {
        "forcing.sea_surface_temperature": inputs.forcing.sea_surface_temperature + 1})
    with pytest.raises(ValueError, match=r"its hash of the forcing is"):
        resume(copy, inputs=warmer)


def test_another_precision_is_refused_with_the_switch(resume, inputs, copy):
    single = jax.tree.map(
        lambda x: x.astype(np.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, inputs)
    with pytest.raises(ValueError, match=r"its precision is float64, here it is float32; .*X64=1"):
        resume(copy, inputs=single)


OTHER = {
    "grid": ({"grid": "T21L8"}, r"its grid is T21L5, here it is T21L8"),
    "time step": ({"grid": "T21L5", "time_step": 1800.0}, r"its time step is 2400.0"),
    "option": ({"grid": "T21L5", "sea": "slab"}, r"its sea is prescribed, here it is slab"),
    "dynamics": ({"grid": "T21L5", "dynamics": "dinosaur"}, r"its dynamics is \['SpeedyDyn"),
    "half levels": ({"grid": "T21", "half_levels": (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)}, r"half levels"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER)
def test_other_models_are_refused(case, resume, copy):
    arguments, message = OTHER[case]
    other = jcm.build_model(**arguments, physics="held_suarez")
    with pytest.raises(ValueError, match=message):
        resume(copy, model=other)


def scheme(factor, words):
    """A scheme as a user writes it."""
    source = f"""
def diffusion(*arguments, **options):
    "{words}"
    return jax.tree.map(lambda x: {factor} * x, diffuse(*arguments, **options))
"""
    from jcm.physics.vertical_diffusion import vertical_diffusion

    space = {"jax": jax, "diffuse": vertical_diffusion}
    exec(source, space)
    return space["diffusion"]


def test_a_replaced_scheme_of_the_same_name_and_words_is_another_run(inputs):
    def known(factor, words):
        model = jcm.build_model("T21L8", physics=functools.partial(
            SpeedyPhysics, vertical_diffusion=scheme(factor, words)))
        return identity(model, inputs)

    one = known(1.0, "Diffuse.")
    check_identity(known(1.0, "Mix."), one, Path("here"))
    with pytest.raises(ValueError, match=r"here belongs to another run: its physics is"):
        check_identity(known(2.0, "Diffuse."), one, Path("here"))


def test_all_that_changed_is_named(inputs):
    one, other = (identity(jcm.build_model("T21L8", **given), inputs) for given in (
        {}, {"sea": "slab", "dynamics": "dinosaur"}))
    with pytest.raises(ValueError, match=r"its sea is slab.*; its dynamics is \['Dinosaur"):
        check_identity(other, one, Path("here"))


def test_a_restart_file_of_another_grid_is_refused(resume, stopped):
    path = restart_files(stopped)[0]
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    header["identity"]["grid"] = "T31L5"
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"restart_00000004.npz belongs to another run: its grid"):
        resume(stopped)


def test_another_version_of_the_package_is_refused(resume, copy, monkeypatch):
    monkeypatch.setattr("jcm.restart.package_version", lambda: "9.9")
    with pytest.raises(ValueError, match=r"version of the package is .* install that version"):
        resume(copy)


def test_another_version_of_the_files_is_refused(resume, copy):
    record = json.loads((copy / "experiment.json").read_text())
    (copy / "experiment.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(ValueError, match=r"is of format 99, this version reads 2"):
        resume(copy)


def test_a_damaged_record_is_refused(resume, copy):
    (copy / "experiment.json").write_text('{"format": 1, "settings"')
    with pytest.raises(ValueError, match=r"experiment.json is damaged .*start the run anew"):
        resume(copy)


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_directory_without_a_run_is_refused(folder, resume, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run to resume in .*has no experiment.json"):
        resume(tmp_path / folder)


def test_a_run_cannot_be_shortened(resume, copy):
    before = contents(copy)
    with pytest.raises(ValueError, match=r"has .* days already, more than .*ask for more days"):
        resume(copy, 6 * STEP)
    assert contents(copy) == before


def test_a_run_without_its_fields_is_not_lengthened(resume, copy):
    (copy / "fields.nc").unlink()
    with pytest.raises(FileNotFoundError, match=r"outputs of the run .* are gone.*put them back"):
        resume(copy, 10 * STEP)


def test_two_processes_do_not_work_in_one_directory(resume, stopped):
    descriptor = os.open(stopped, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(RuntimeError, match=r"another process is running in"):
            resume(stopped)
    finally:
        os.close(descriptor)
    resume(stopped)


def test_an_unstable_run_is_not_resumed(resume, inputs, run, tmp_path):
    wild = jcm.insert(inputs, {"parameters.relaxation.friction_time": -10.0})
    arguments = {"days": 60 * STEP, "every": 5 * STEP, "allow_out_of_bounds": True}
    with pytest.raises(jcm.UnstableRun):
        jcm.run(MODEL, wild, tmp_path, **arguments, progress=False)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"cannot go on: .*non-finite by day .*in another direct"):
        resume(tmp_path, inputs=wild)
    assert contents(tmp_path) == before


# A full disk


def fail(*arguments, **keywords):
    raise OSError(28, "No space left on device")


def fail_as_netcdf(*arguments, **keywords):
    """What the library says when the disk is full."""
    raise RuntimeError("NetCDF: HDF error")


FULL = {
    "part": (fail, "jcm.run_directory.write_dataset", r"outputs 1 to 2 .*No output is lost"),
    "part, in the library": (
        fail_as_netcdf, "xarray.Dataset.to_netcdf", r"outputs 1 to 2 .*No output is lost"),
    "restart": (fail, "jcm.restart.np.savez", r"the restart file .*"),
    "join": (fail, "jcm.run_directory.join_netcdf", r"fields.nc .*The first 8 outputs are kept"),
}


@pytest.mark.parametrize("case", FULL)
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    case, run, resume, whole, tmp_path, monkeypatch
):
    failure, place, message = FULL[case]
    with monkeypatch.context() as patch, pytest.raises(
        OSError, match=rf"could not write {message}.*Make room.*`jcm resume "
    ):
        patch.setattr(place, failure)
        run(tmp_path / "run", **LENGTHS)
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "run" / "fields.nc").exists()
    resume(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(whole)


def test_where_nothing_could_be_written_the_run_is_started_again(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(
        OSError, match=r"could not write experiment.json .* then start the run again"
    ):
        patch.setattr("pathlib.Path.write_text", fail)
        run(tmp_path / "run", **LENGTHS)
    assert not list((tmp_path / "run").iterdir())
