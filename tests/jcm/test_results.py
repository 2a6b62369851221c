"""Results on the disk are taken up again, and only by the experiment that made them."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from jcm.results import cached, claim, identify, locked, locked_file, refuse_another

ONE, OTHER = identify(days=1.0, model=np.zeros(3)), identify(days=2.0, model=np.ones(3))


def unwanted():
    raise AssertionError("computed although the file is there")


def test_a_result_is_computed_once(tmp_path):
    path = tmp_path / "runs" / "a.npz"
    first = cached(path, lambda: {"x": np.arange(3.0), "name": "a"}, ONE)
    again = cached(path, unwanted, ONE)
    assert np.array_equal(first["x"], again["x"]) and str(again["name"]) == "a"
    assert set(again) == {"x", "name"}


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cached(None, lambda: {"x": 1}, ONE)["x"] == 1
    assert not list(tmp_path.iterdir())


def test_a_result_of_another_experiment_is_refused_with_all_that_changed(tmp_path):
    path = tmp_path / "a.npz"
    cached(path, lambda: {"x": 1.0}, ONE)
    with pytest.raises(ValueError, match=r"\(days was 1.0, is now 2.0; other model\);"):
        cached(path, unwanted, OTHER)


def test_a_result_without_an_experiment_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=1.0)
    with pytest.raises(ValueError, match=r"days is new; model is new"):
        cached(tmp_path / "a.npz", unwanted, ONE)


def test_a_setting_that_is_gone_is_another_experiment():
    with pytest.raises(ValueError, match="days is not there any more"):
        refuse_another(ONE, {"model": ONE["model"]}, "here")


def test_a_computation_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(AssertionError):
        cached(tmp_path / "a.npz", unwanted, ONE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_told(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz is damaged .*; remove it, and it is made again"):
        cached(tmp_path / "a.npz", unwanted, ONE)


def test_a_folder_belongs_to_the_experiment_that_filled_it(tmp_path):
    place = claim(tmp_path / "results", ONE)
    (place / "a.nc").touch()
    claim(place, ONE)
    with pytest.raises(ValueError, match=r"results belongs to another experiment \(days was 1.0"):
        claim(place, OTHER)
    assert json.loads((place / "experiment.json").read_text()) == ONE


def test_a_folder_in_which_nothing_was_done_is_taken_over(tmp_path):
    claim(tmp_path / "results", ONE)
    claim(tmp_path / "results", OTHER)


def hold(place, folder, ready, end):
    with (locked if folder else locked_file)(place):
        ready.set()
        end.wait(30)


@pytest.mark.parametrize("folder", [True, False])
def test_two_processes_do_not_work_in_one_place(folder, tmp_path):
    place = tmp_path / ("results" if folder else "log.jsonl")
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    other = context.Process(target=hold, args=(place, folder, ready, end))
    other.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(RuntimeError, match="another process is running in"),
            (locked if folder else locked_file)(place),
        ):
            pass
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.join()
    # The system lets go of what a killed process held.
    with (locked if folder else locked_file)(place):
        pass


def test_without_a_place_nothing_is_held():
    with locked(None), locked_file(None):
        pass
