"""Results on the disk are taken up again, and only by the experiment that made them."""

import numpy as np
import pytest

from jcm_sensitivity.kept import kept


def unwanted():
    raise AssertionError("computed although the file is there")


def test_a_result_is_computed_once(tmp_path):
    path = tmp_path / "runs" / "a.npz"
    first = kept(path, lambda: {"x": np.arange(3.0), "name": "a"}, mark="1")
    again = kept(path, unwanted, mark="1")
    assert np.array_equal(first["x"], again["x"]) and str(again["name"]) == "a"


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kept(None, lambda: {"x": 1})["x"] == 1
    assert not list(tmp_path.iterdir())


def test_a_result_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    kept(path, lambda: {"x": 1.0}, mark="1")
    with pytest.raises(ValueError, match=r"other settings; remove .* or give another folder"):
        kept(path, unwanted, mark="2")


def test_a_computation_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(AssertionError):
        kept(tmp_path / "a.npz", unwanted)
    assert not list(tmp_path.iterdir())
