"""Examples of the documentation and the README run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jcm
import jcm_calibrate
import jcm_sensitivity
from jcm.config import load_experiment
from jcm_calibrate.experiment import read_calibration
from jcm_calibrate.tables import CalibrationTable, calibration_table
from jcm_sensitivity.experiment import read_experiment
from jcm_sensitivity.work.response import read_response

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
CALIBRATION, ENSEMBLES = ROOT / "docs" / "calibration.md", ROOT / "docs" / "ensembles.md"
REFERENCE = ROOT / "docs" / "reference.md"
#: First line of a block that needs the one above.
CONTINUES = "# continues the block above"
#: Fence, language, content and fence of a block of code.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def run(script: Path, folder: Path) -> subprocess.CompletedProcess:
    """Run a script in a folder of its own, as a user does, but with the programs of this run."""
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True)


def python_of(text: str) -> str:
    """Return the Python blocks of a document, each on its own lines of it, all else blank.

    One program of all blocks: they share their names, and an error names the line of the document.
    """
    lines = ["\n"] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        if block[1] == "python":
            first = text.count("\n", 0, block.start(2))
            for k, line in enumerate(block[2].splitlines(keepends=True)):
                lines[first + k] = line
    return "".join(lines)


def assert_runs(script: Path, folder: Path) -> subprocess.CompletedProcess:
    done = run(script, folder)
    assert done.returncode == 0, f"{script.name} failed:\n{done.stdout}\n{done.stderr}"
    return done


def test_there_are_examples():
    assert list(EXAMPLES.glob("*.py")) and list(EXAMPLES.glob("*.toml"))


def losses_fall(output: str) -> None:
    """Check that training lowers the loss, also where the network has not been trained."""
    numbers = re.findall(r"loss ([\d.]+)(?: -> ([\d.]+))?", output)
    *steps, unseen = [[float(x) for x in pair if x] for pair in numbers]
    assert len(steps) == 3 and steps[-1][0] < 0.8 * steps[0][0], output
    assert unseen[1] < 0.8 * unseen[0], output


#: What the output of an example must show.
SHOWS = {"user_scheme.py": losses_fall}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_runs_and_shows_what_it_promises(path, tmp_path):
    done = assert_runs(path, tmp_path)
    SHOWS.get(path.name, lambda output: None)(done.stdout)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_experiment_file_is_valid(path):
    experiment = load_experiment(path)
    assert experiment.run.days > 0
    known = experiment.target or experiment.response or experiment.calibration
    assert known, "no command reads this file"
    if experiment.target:
        found = read_experiment(path)
        assert set(jcm.extract(found.inputs, found.wrt)) == set(found.wrt)
    if experiment.response:
        answer = read_response(path)
        assert set(answer.arrays()) == set(answer.change)
    if experiment.calibration:
        table = calibration_table(experiment.calibration)
        assert table.parameters and table.observations


def output_of(document: Path, folder: Path) -> str:
    """Run the Python of a document as one program, and return what it prints."""
    program = python_of(document.read_text())
    assert program.strip(), f"{document.name} has no block of Python"
    script = folder / f"{document.stem}.py"
    script.write_text(program)
    return assert_runs(script, folder).stdout


def programs_of(text: str) -> list[str]:
    """Return the Python of a document as users copy it: a block, with those that continue it."""
    programs: list[str] = []
    for block in BLOCK.finditer(text):
        if block[1] != "python":
            continue
        if block[2].startswith(CONTINUES):
            programs[-1] += block[2]
        else:
            programs.append(block[2])
    return programs


README_PROGRAMS = programs_of(README.read_text())


@pytest.mark.parametrize("number", range(len(README_PROGRAMS)))
def test_python_of_the_readme_runs_as_a_user_copies_it(number, tmp_path):
    script = tmp_path / f"block_{number}.py"
    script.write_text(README_PROGRAMS[number])
    printed = assert_runs(script, tmp_path).stdout
    if found := re.search(r"absorptivity (\S+) \+- (\S+), truth (\S+)", printed):
        value, error, truth = map(float, found.groups())
        assert abs(value - truth) < 3 * error
        assert 0 < error < 0.15 * truth
    assert ("absorptivity" in printed) == ("minimise" in README_PROGRAMS[number])


def test_a_block_that_continues_another_is_joined_to_it():
    text = f"```python\na\n```\n```python\nb\n```\n```python\n{CONTINUES}\nc\n```\n"
    assert programs_of(text) == ["a\n", f"b\n{CONTINUES}\nc\n"]


def assert_prints_what_it_says(document: Path, printed: str, least: int) -> None:
    """Check for every line that a document shows as printed; it shows so many at least."""
    # Numbers differ between machines in their last digits.
    same = lambda text: re.sub(r"[-+]?\d+\.?\d*(e[-+]\d+)?", "#", text)  # noqa: E731
    shown = [block[2] for block in BLOCK.finditer(document.read_text()) if block[1] == "text"]
    lines = [line for block in shown for line in block.splitlines()]
    assert len(lines) >= least
    missing = [line for line in lines if same(line) not in same(printed)]
    assert not missing, f"{document.name} does not print {missing}, but:\n{printed}"


def test_tutorial_runs_and_prints_what_it_says(tmp_path):
    assert_prints_what_it_says(TUTORIAL, output_of(TUTORIAL, tmp_path), 11)
    assert (tmp_path / "rain.png").is_file()


def test_ensembles_run_and_print_what_they_say(tmp_path):
    assert_prints_what_it_says(ENSEMBLES, output_of(ENSEMBLES, tmp_path), 3)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """The folder in which the tutorial of calibration has run, and what it printed."""
    folder = tmp_path_factory.mktemp("calibration")
    return folder, output_of(CALIBRATION, folder)


@pytest.mark.slow
def test_calibration_runs_and_prints_what_it_says(calibrated):
    folder, printed = calibrated
    assert_prints_what_it_says(CALIBRATION, printed, 8)
    page = (folder / "report" / "report.html").read_text()
    assert "Two parameters from a file" in page and "posterior" in page


@pytest.mark.slow
def test_calibration_finds_the_truth_of_its_file(calibrated):
    found = re.findall(r": ([\d.e+]+), truth ([\d.e+]+)", calibrated[1])
    assert len(found) == 2
    for value, truth in found:
        assert abs(float(value) / float(truth) - 1) < 0.2


@pytest.mark.slow
def test_calibration_shows_an_experiment_that_says_the_same_as_its_python(calibrated):
    folder, printed = calibrated
    [toml] = [block[2] for block in BLOCK.finditer(CALIBRATION.read_text()) if block[1] == "toml"]
    path = folder / "calibration.toml"
    path.write_text(toml)
    problem = read_calibration(path).problem
    assert problem.observations.describe().strip() in printed
    assert problem.space.describe() in printed
    assert f"{problem.run.model_days:.3f} model days" in printed


def test_calibration_documents_every_key_of_an_experiment():
    written = CALIBRATION.read_text()
    for name, field in CalibrationTable.model_fields.items():
        keys = getattr(field.annotation, "model_fields", {name: field})
        missing = [key for key in keys if f"`{key}`" not in written]
        assert not missing, f"[calibration] {name}: {missing}"


@pytest.mark.parametrize("document", [README, TUTORIAL], ids=lambda path: path.name)
def test_files_that_a_document_names_exist(document):
    names = set(re.findall(r"docs/[\w/]+\.\w+", document.read_text()))
    assert names and not [name for name in names if not (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "package", [jcm_sensitivity, jcm_calibrate], ids=lambda package: package.__name__)
def test_reference_holds_every_public_function_and_class(package):
    entry = rf"^::: {package.__name__}\.(\w+)$"
    listed = set(re.findall(entry, REFERENCE.read_text(), re.MULTILINE))
    assert listed == {name for name in package.__all__ if callable(getattr(package, name))}


def test_blocks_keep_their_lines_and_share_their_names(tmp_path):
    text = "a\n```python\nx = 1\n```\n\n```\nnot python\n```\n```python\ny = x + 1\nprint(y)\n```\n"
    lines = python_of(text).splitlines()
    assert lines[2] == "x = 1" and lines[9:11] == ["y = x + 1", "print(y)"]
    script = tmp_path / "text.py"
    script.write_text(python_of(text))
    assert run(script, tmp_path).stdout == "2\n"


def test_a_block_that_fails_is_seen(tmp_path):
    script = tmp_path / "text.py"
    script.write_text(python_of("```python\nimport jcm_unknown\n```\n"))
    with pytest.raises(AssertionError, match="line 2"):
        assert_runs(script, tmp_path)
