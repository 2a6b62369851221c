"""Every study runs in its short form, and leaves the files of the long one alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.parent for path in (ROOT / "studies").glob("*/run.py"))
#: Studies whose short form takes less than half a minute; the others are among the slow tests.
QUICK = {"first_climate", "held_suarez"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_are_studies():
    assert STUDIES


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_study_says_what_it_asks(study):
    assert (study / "README.md").read_text().startswith("# ")


@pytest.mark.parametrize("study", [
    pytest.param(s, id=s.name, marks=[pytest.mark.slow] * (s.name not in QUICK))
    for s in STUDIES])
def test_short_form_of_the_study_runs_and_keeps_no_files(study):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    # Long enough that it pays to compile as users do.
    environment.pop("XLA_FLAGS")
    before = contents(study)
    done = subprocess.run(
        [sys.executable, str(study / "run.py"), "--smoke"],
        cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{study.name} failed:\n{done.stdout}\n{done.stderr}"
    assert contents(study) == before
