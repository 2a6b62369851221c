"""What is said of the project in several places is the same, and foreign names are public ones."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGES = ("jcm", "jcm_sensitivity", "jcm_calibrate")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Names on conda-forge that are not those on PyPI.
CONDA = {"matplotlib": "matplotlib-base", "dask": "dask-core"}
#: Names of named tuples that are public for all their underscores.
TUPLES = {"_asdict", "_fields", "_make", "_replace"}
#: What to use in place of private names, for who meets one of them again.
PUBLIC = {
    "jax._src.interpreters.partial_eval": "jax.interpreters.partial_eval",
    "jax._src.source_info_util": "equation.source_info.traceback and Python's co_positions()",
    "_inverse": "transform.inv of numpyro",
}


@pytest.fixture(scope="module")
def recipe() -> dict:
    """The recipe as conda-build renders it."""

    def load_file_data(name: str, from_recipe_dir: bool) -> dict:
        assert from_recipe_dir
        return tomllib.loads((ROOT / "recipe" / name).read_text())

    template = jinja2.Template(
        (ROOT / "recipe" / "meta.yaml").read_text(), undefined=jinja2.StrictUndefined)
    return yaml.safe_load(template.render(load_file_data=load_file_data, PYTHON="python"))


def test_recipe_requires_what_the_package_requires(recipe):
    expected = {f"python {PROJECT['requires-python']}"}
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        name = CONDA.get(requirement.name, requirement.name)
        expected.add(f"{name} {text.removeprefix(requirement.name)}")
    assert set(recipe["requirements"]["run"]) == expected


def test_recipe_has_version_and_commands_of_the_package(recipe):
    assert recipe["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    assert recipe["build"]["entry_points"] == [f"{a} = {b}" for a, b in PROJECT["scripts"].items()]


def test_citation_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert [x["name"] for x in citation["authors"]] == [x["name"] for x in PROJECT["authors"]]


def test_image_is_built_from_all_that_the_package_needs():
    kept = {x[1:] for x in (ROOT / ".dockerignore").read_text().split() if x.startswith("!")}
    assert kept == {*PACKAGES, "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}


def test_every_package_says_that_it_is_typed():
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert all((ROOT / name / "py.typed").is_file() for name in PACKAGES)


def test_arviz_is_used_in_one_module():
    users = {str(path.relative_to(ROOT)) for path in SOURCES
             for name in imported(ast.parse(path.read_text())) if name.startswith("arviz")}
    assert users == {"jcm_calibrate/uncertainty/diagnostics.py"}


def test_no_private_name_of_another_package_is_used():
    found = [f"{path.relative_to(ROOT)} uses {name}: {PUBLIC.get(name, 'use a public name')}"
             for path in SOURCES for name in private(ast.parse(path.read_text()))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text, name", [
    ("from jax._src import core", "jax._src.core"),
    ("import jax._src.core", "jax._src.core"),
    ("from numpyro.distributions import _hidden", "numpyro.distributions._hidden"),
    ("import jax\ny = jax._src.core.f(1)", "_src"),
    ("y = transform._inverse(x)", "_inverse"),
])
def test_private_names_are_seen(text, name):
    assert list(private(ast.parse(text))) == [name]


def test_own_private_names_are_allowed():
    text = "from jcm.model import _f\nclass A:\n    _x = 1\n    def f(self): return self._x\n"
    assert not list(private(ast.parse(text)))


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported, with all its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (x.name for x in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{x.name}" for x in node.names)


def private(tree: ast.AST) -> Iterator[str]:
    """Yield private names that are imported from elsewhere, or read but defined nowhere here."""
    for name in imported(tree):
        first, *rest = name.split(".")
        if first not in PACKAGES and any(map(is_private, rest)):
            yield name
    own = TUPLES | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {getattr(node, "id", None) or getattr(node, "attr", None) for node in ast.walk(tree)
            if isinstance(getattr(node, "ctx", None), ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            yield node.attr


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
