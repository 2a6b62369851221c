"""The cache folder and the compiled programs in it, seen from processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jcm.cache import cache_directory

ROOT = Path(__file__).parents[2]
FOLDER = """
import jax, jcm
jcm.build_model("T21L5", physics="held_suarez")
print(jax.config.jax_compilation_cache_dir)
"""
#: One step of a model that compiles fast, and how often JAX found a program and did not.
STEP = """
import collections, json
import jax
count = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: count.update([name.split("/")[-1]]))
# Something is compiled before the first model is built and with it the cache switched on.
jax.jit(lambda x: x + 1)(1.0)
import jcm
model = jcm.build_model("T21L5", physics="held_suarez")
forcing = jcm.aquaplanet_forcing(model.grid, gravity=model.constants.gravity)
inputs = jcm.default_inputs(model, state="rest", forcing=forcing)
jcm.simulate(model, inputs, days=1 / model.steps_per_day, observe=())
print(json.dumps(count))
"""


def python(program: str, **environment: str) -> str:
    """Run a program with no setting of the cache but these; warnings are errors."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "JCM_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error:Error:UserWarning", "-c", program],
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def programs(folder: Path) -> set[str]:
    """Compiled programs in a folder; JAX may keep a file with the time of use beside each."""
    return {path.name for path in folder.glob("jit_*-cache")}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Counts of the events in two processes that do the same, and the programs after each."""
    folder = tmp_path_factory.mktemp("cache")
    found = []
    for _ in range(2):
        counts = json.loads(python(STEP, JCM_CACHE=str(folder)))
        found.append((counts, programs(folder / "compiled")))
    return found


def test_the_first_process_keeps_the_program_of_a_run(two_processes):
    (counts, kept), _ = two_processes
    assert counts.get("cache_hits", 0) == 0
    assert any(name.startswith("jit__window-") for name in kept)


def test_a_second_process_finds_every_program_and_adds_none(two_processes):
    (_, before), (counts, after) = two_processes
    assert counts["cache_hits"] == len(before)
    assert after == before


def test_the_folder_of_the_user_is_respected(tmp_path):
    own = str(tmp_path / "own")
    assert python(FOLDER, JAX_COMPILATION_CACHE_DIR=own, JCM_CACHE=str(tmp_path)) == own
    assert not (tmp_path / "compiled").exists()


def test_programs_are_not_kept_where_the_user_switched_that_off(tmp_path):
    python(STEP, JCM_CACHE=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="0")
    assert programs(tmp_path / "compiled") == set()


def test_a_folder_that_cannot_be_made_leaves_the_cache_off_without_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    assert python(FOLDER, JCM_CACHE=str(tmp_path / "file" / "cache")) == "None"


def test_the_environment_moves_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JCM_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.setenv("JCM_CACHE", "")
    assert cache_directory() != Path()
