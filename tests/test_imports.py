"""The direction of dependencies: the model knows nothing of what is built on it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = {"jcm", "jcm_sensitivity", "jcm_calibrate", "studies"}
MAY_IMPORT = {
    "jcm": {"jcm"}, "jcm_sensitivity": {"jcm"}, "jcm_calibrate": {"jcm", "jcm_sensitivity"}}


def imported(text: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(text)))
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 0]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_it_may(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files, f"no package {package}"
    for path in files:
        forbidden = imported(path.read_text()) & PROJECT - MAY_IMPORT[package] - {package}
        assert not forbidden, f"{path} imports {sorted(forbidden)}"


def test_imports_inside_functions_are_seen():
    text = "def f():\n    import jcm_calibrate.space\n    from jcm_sensitivity import mean\n"
    assert imported(text) == {"jcm_calibrate", "jcm_sensitivity"}
