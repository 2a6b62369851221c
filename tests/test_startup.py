"""The start: what is imported for help, a refusal and an import, and what reaches the screen.

Most claims are about a fresh process, so one process serves all cases of a kind.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from jcm.command_line import compile_quickly

ROOT = Path(__file__).parents[1]
PACKAGES = ("jcm", "jcm_sensitivity", "jcm_calibrate")
#: Libraries that take a second or more, or stand for some that do.
HEAVY = ("jax", "xarray", "pandas", "scipy", "matplotlib", "cartopy", "sklearn", "dask",
         "distributed", "arviz", "numpyro", "optax", "dinosaur", "xarray_regrid")  # fmt: skip
#: Runs command lines one after the other; prints exit status, output and large modules of each.
RUN_ALL = f"""
import importlib, json, sys
from typer.testing import CliRunner
package, lines = json.loads(sys.argv[1])
app = importlib.import_module(package + ".cli").app
found = []
for line in lines:
    result = CliRunner().invoke(app, line)
    found.append([result.exit_code, result.output, [m for m in {HEAVY} if m in sys.modules]])
print(json.dumps(found))
"""


def python(program: str, *arguments: str, folder: Path, path: Path = ROOT) -> tuple[str, str]:
    """Run a program in an empty home; return what it prints, and its warnings and errors."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CACHE_HOME": str(folder),
        "TMPDIR": str(folder), "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, cwd=folder,
        capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def run_all(package: str, lines: list[list[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    out, err = python(RUN_ALL, json.dumps([package, lines]), folder=folder)
    assert err == ""
    return json.loads(out)


def application(package: str) -> click.Command:
    return get_command(__import__(f"{package}.cli", fromlist=["app"]).app)


def commands(command: click.Command, *path: str) -> dict[tuple[str, ...], click.Command]:
    """All commands of an application by the words that lead to them."""
    found = {path: command}
    for name, one in getattr(command, "commands", {}).items():
        found |= commands(one, *path, name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_help_of_every_command_needs_no_large_library_and_warns_of_nothing(package, tmp_path):
    lines = [[*path, "--help"] for path in commands(application(package))]
    for line, (status, output, heavy) in zip(
            lines, run_all(package, lines, tmp_path), strict=True):  # fmt: skip
        assert (status, heavy) == (0, []), (line, output)


@pytest.mark.parametrize("package", PACKAGES)
def test_brackets_of_help_texts_reach_the_screen(package):
    """In 80 columns and without colour, and whatever a text has in brackets."""
    shown = 0
    for path, command in commands(application(package)).items():
        result = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(
            __import__(f"{package}.cli", fromlist=["app"]).app, [*path, "--help"])
        assert max(map(len, result.output.splitlines())) <= 80
        output = " ".join(result.output.split())
        texts = [command.help or "", *(getattr(p, "help", None) or "" for p in command.params)]
        for text in texts:
            for words in re.findall(r"\[[^]]+\]", text):
                assert words in output, f"{path}: {words} is lost"
                shown += 1
    assert shown or package != "jcm_sensitivity"


GRID, MISSING = "unknown grid 'T5'", "no experiment file 'none.toml'"
BAD = "'griid'"
#: Words of the command line, exit status, and what the answer says.
REFUSED: dict[str, list[tuple[str, int, str]]] = {
    "jcm": [
        ("run --dayz 3", 2, "--dayz"),
        ("run --days many", 2, "--days"),
        ("run none.toml", 1, MISSING),
        ("run bad.toml", 1, BAD),
        ("run --days -3", 1, "greater than 0"),
        ("run --every 0.33", 1, "multiple of the time step"),
        ("run --days 3 --every 2", 1, "multiple of every"),
        ("run --start 2001-02-30", 1, "not a date"),
        ("run --variables rain", 1, "unknown variable 'rain'"),
        ("run --pressure-levels 5000", 1, "pressures in hPa"),
        ("run --format csv", 1, "'csv'"),
        ("run --grid T21L5", 1, "no spun-up state is packaged"),
        ("run --output full", 1, "is not empty"),
        ("resume", 2, "DIR"),
        ("resume full", 1, "no run to resume"),
        ("resume started --days 0", 1, "positive finite number"),
        ("describe none.toml", 1, MISSING),
        ("describe --grid T5", 1, GRID),
        ("describe --preset fast", 1, "unknown preset 'fast'"),
        ("describe physics.toml", 1, "unknown physics 'mine'"),
        ("describe step.toml", 1, "must divide a day"),
        ("describe text.toml", 1, "expected a number"),
        ("benchmark --grid T5", 1, GRID),
        ("benchmark --repeats 0", 1, "--repeats"),
        ("benchmark --time-step 2500", 1, "must divide a day"),
        ("benchmark --json nowhere/x.json", 1, "there is no directory"),
        ("data speedi", 2, "speedi"),
    ],
    "jcm_sensitivity": [
        ("map --smoth", 2, "--smoth"),
        ("map none.toml", 1, MISSING),
        ("map bad.toml", 1, BAD),
        ("map month.toml", 1, "no meaning for a sensitivity"),
        ("map wrt.toml", 1, "list of names"),
        ("map --members 0", 1, "--members is a positive number"),
        ("map --memory much", 1, "2GiB"),
        ("map --members 0 good.toml", 1, "--members is a positive number"),
        ("map --output file", 1, "is a file"),
        ("response none.toml", 1, MISSING),
        ("response good.toml", 1, "needs a change"),
        ("response --output file", 1, "is a file"),
        ("check none.toml", 1, MISSING),
        ("check --dtype float16", 1, "float64 or float32"),
        ("check --targets rain", 1, "unknown target 'rain'"),
        ("check --targets target", 1, "unknown target 'target'"),
        ("check --horizons 1week", 1, "got '1week'"),
        ("check --grid T5", 1, GRID),
        ("check --tolerance 0", 1, "--tolerance is positive"),
        ("check --directions -1", 1, "--directions"),
        ("check --json nowhere/x.json", 1, "no folder"),
        ("check --store file", 1, "is a file"),
        ("horizon none.toml", 1, MISSING),
        ("horizon --leads 1,two", 1, "--leads is a list"),
        ("horizon --states 0", 1, "positive number of initial states"),
        ("horizon --spacing 0", 1, "--spacing is positive"),
        ("horizon --tolerance 0", 1, "--tolerance is positive"),
        ("horizon --tolerance 0 good.toml", 1, "--tolerance is positive"),
        ("patches none.toml", 1, MISSING),
        ("patches --centres atlantis", 1, "unknown region 'atlantis'"),
        ("patches --half-widths 10", 1, "two numbers"),
        ("patches --amplitudes 0", 1, "positive numbers"),
        ("patches --states 0", 1, "positive number of initial states"),
        ("patches parameter.toml", 1, "patches are of the sea surface"),
        ("patches --store file", 1, "is a file"),
    ],
    "jcm_calibrate": [
        *((f"{verb} {words}", status, says)
          for verb in ("identify", "fit", "sample", "ensemble") for words, status, says in [
              ("", 2, "EXPERIMENT.toml"),
              ("--stepz 3", 2, "--stepz"),
              ("none.toml", 1, MISSING),
              ("bad.toml", 1, BAD),
              ("good.toml", 1, "[calibration] needs parameters"),
              ("method.toml", 1, "unknown method 'newton'"),
              ("block.toml", 1, "has no key 'colour'"),
              ("calibration.toml --output file", 1, "is a file")]),
        ("fit calibration.toml --output earlier", 1, "of an earlier run"),
        ("sample calibration.toml --output earlier", 1, "of an earlier run"),
        ("ensemble calibration.toml --output earlier", 1, "of an earlier run"),
        ("ensemble calibration.toml --workers 2 --scheduler x", 1, "not both"),
        ("ensemble calibration.toml --workers -1", 2, "--workers"),
        ("report none.toml", 1, "none.toml"),
        ("report good.toml --output nowhere", 1, "no folder"),
    ],
}  # fmt: skip
CALIBRATION = (
    '[calibration]\nparameters = ["parameters.convection.relaxation_time"]\n'
    '[calibration.observations.t]\nfrom = "packaged"\n')  # fmt: skip
FILES = {
    "good.toml": '[model]\ngrid = "T21L8"\n',
    "bad.toml": '[model]\ngriid = "T21L8"\n',
    "physics.toml": '[model]\nphysics = "mine"\n',
    "step.toml": "[model]\ntime_step = 2500.0\n",
    "text.toml": '[parameters.convection]\nrelaxation_time = "long"\n',
    "month.toml": '[run]\nevery = "month"\n',
    "wrt.toml": "[sensitivity]\nwrt = 3\n",
    "parameter.toml": '[sensitivity]\nwrt = ["parameters.convection.relaxation_time"]\n',
    "calibration.toml": CALIBRATION,
    "method.toml": CALIBRATION + '[calibration.fit]\nmethod = "newton"\n',
    "block.toml": CALIBRATION + "colour = 1\n",
    "file": "",
    "full/something": "",
    "started/experiment.json": "{}",
    "earlier/evaluations.jsonl": "",
    "earlier/ensemble.zarr": "",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_mistakes_are_answered_before_anything_large_is_imported(package, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    cases = REFUSED[package]
    found = run_all(package, [words.split() for words, *_ in cases], tmp_path)
    for (words, expected, says), (status, output, heavy) in zip(cases, found, strict=True):
        assert status == expected, (words, output)
        assert says in output, (words, output)
        assert heavy == [], words
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(FILES)


def test_every_command_has_a_refusal_that_is_tested():
    for package in PACKAGES:
        tested = {words.split()[0] for words, *_ in REFUSED[package]}
        assert {path[0] for path in commands(application(package)) if path} == tested


def test_an_import_leaves_files_and_settings_alone(tmp_path):
    out, err = python(
        f"import sys, {', '.join(PACKAGES)}\nprint([m for m in {HEAVY} if m in sys.modules])",
        folder=tmp_path)
    assert (out.strip(), err) == ("[]", "")
    assert not list(tmp_path.iterdir())


def test_no_public_name_of_the_model_changes_a_setting_of_jax(tmp_path):
    out, _ = python(
        "import jax\nbefore = dict(jax.config.values)\nfrom jcm import *\n"
        "print([k for k, v in jax.config.values.items() if before.get(k) != v])", folder=tmp_path)
    assert out.strip() == "[]"
    assert not list(tmp_path.iterdir())


ORDERS = {
    "names first": "",
    "modules of the same name first": """
import jcm.run, jcm.simulate
import jcm_sensitivity.certify, jcm_sensitivity.consistency, jcm_sensitivity.horizon
import jcm_sensitivity.jacobian, jcm_sensitivity.long_range
import jcm_calibrate.performance_index
import jcm_calibrate.optimisers.minimise, jcm_calibrate.uncertainty.identify
""",
    "all modules first": """
import pkgutil
for package in packages:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not re.search("build_|__main__|peer|benchmark.worker", module.name):
            importlib.import_module(module.name)
""",
}


@pytest.mark.parametrize("order", [
    pytest.param(x, marks=[pytest.mark.slow] if x == "modules of the same name first" else [])
    for x in ORDERS])
def test_public_names_are_what_they_are_in_their_modules_in_any_order(order, tmp_path):
    """A function such as `jcm.run` has the name of its module, which an import must not bind."""
    out, _ = python(f"""
import importlib, re, types
packages = [importlib.import_module(name) for name in {PACKAGES}]
{ORDERS[order]}
for package in packages:
    assert set(package.__all__) <= set(dir(package)) and sorted(package._homes) == sorted(
        package.__all__)
    for name, home in package._homes.items():
        value = getattr(package, name)
        assert not isinstance(value, types.ModuleType), name
        assert value is vars(importlib.import_module(home))[name], name
        again = dict()
        exec(f"from {{package.__name__}} import {{name}}", again)
        assert again[name] is value, name
print("all")
""", folder=tmp_path)
    assert out.strip() == "all"


def test_an_unknown_name_is_an_ordinary_error():
    import jcm

    with pytest.raises(AttributeError, match="module 'jcm' has no attribute 'runn'"):
        jcm.runn  # noqa: B018
    with pytest.raises(ImportError):
        exec("from jcm import runn")


def test_a_function_that_uses_the_package_can_be_sent_to_a_worker():
    import cloudpickle

    import jcm

    def uses() -> object:
        return jcm

    assert cloudpickle.loads(cloudpickle.dumps(uses))() is jcm


@pytest.fixture
def other(tmp_path):
    """A folder in which another distribution called `jcm` says that it is installed."""
    folder = tmp_path / "site"
    information = folder / "jcm-3.0.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: jcm\nVersion: 3.0.0\n")
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_the_other_jcm_in_the_environment_is_warned_of_in_a_sentence(package, other, tmp_path):
    _, err = python(f"import sys\nsys.path.append({str(other)!r})\nimport {package}",
                    folder=tmp_path)  # fmt: skip
    assert "PyPI's `jcm` 3.0.0" in err and "two environments" in err and "Traceback" not in err


def test_the_other_jcm_in_the_same_folder_is_an_error(other, tmp_path):
    (other / "jcm").symlink_to(ROOT / "jcm")
    out, _ = python("try:\n    import jcm\nexcept ImportError as error:\n    print(error)",
                    folder=tmp_path, path=other)  # fmt: skip
    assert "PyPI's `jcm` 3.0.0" in out and "pip uninstall jcm" in out


@pytest.mark.parametrize("package", PACKAGES)
def test_version_names_what_a_report_needs(package):
    app = __import__(f"{package}.cli", fromlist=["app"]).app
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    for words in ("jcm-toolkit ", "jax ", "jaxlib ", "dinosaur ", "Python 3.", "device cpu"):
        assert words in result.output, result.output


def test_tables_of_describe_break_no_word_in_80_columns(monkeypatch):
    from jcm import cli

    monkeypatch.setenv("COLUMNS", "80")
    described = json.loads(CliRunner().invoke(cli.app, ["describe", "--json"]).output)
    shown = CliRunner().invoke(cli.app, ["describe"]).output
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    words = set(re.findall(r"[^\s│]+", shown))
    for row in (*described["options"], *described["parameters"]):
        texts = (row["description"], str(row.get("source", "")), str(row.get("units", "")))
        assert set(" ".join(texts).split()) <= words, row["name"]
        assert row["name"].removeprefix("parameters.") in shown
    assert "[" not in "".join(x["description"] for x in described["parameters"]) or "[" in shown


def test_names_that_are_known_without_jax_are_those_of_the_functions():
    from inspect import signature

    from jcm_calibrate.names import METHODS
    from jcm_calibrate.observations.operators import make_operator
    from jcm_calibrate.optimisers.minimise import OPTAX, OWN
    from jcm_calibrate.tables import OPERATOR_ARGUMENTS
    from jcm_sensitivity.certificate import default_targets
    from jcm_sensitivity.indices import INDICES
    from jcm_sensitivity.names import DEFAULT_TARGETS, INDEX_NAMES

    assert (*OPTAX, *OWN) == METHODS
    assert tuple(default_targets()) == DEFAULT_TARGETS
    assert tuple(INDICES) == INDEX_NAMES
    assert {*OPERATOR_ARGUMENTS, "model", "inputs"} == set(signature(make_operator).parameters)


def test_a_choice_of_the_user_decides_how_programs_are_compiled(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    compile_quickly()
    assert os.environ["XLA_FLAGS"] == "--mine"
    monkeypatch.delenv("XLA_FLAGS")
    compile_quickly()
    assert "--xla_backend_optimization_level=1" in os.environ["XLA_FLAGS"].split()


def test_an_xla_that_does_not_know_a_flag_does_not_get_it(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.12.0.1")
    compile_quickly()
    assert os.environ["XLA_FLAGS"] == "--xla_backend_optimization_level=1"
