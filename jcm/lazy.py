"""Public names of a package that are imported when somebody uses them.

JAX, xarray and matplotlib take seconds to import, and `--help` or a mistyped option needs none of
them. So the `__init__.py` of a package writes its imports for readers and type checkers only, under
`if TYPE_CHECKING`, and `import_on_use` does each of them at the first use of its name. PEP 562
describes the mechanism.
"""

import ast
import importlib
import importlib.metadata
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any


class _Face(ModuleType):
    """A package whose public names are imported at their first use."""

    __all__: list[str]
    #: Module of each public name.
    _homes: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self._homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(self._homes[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds a module that was imported to its name in the package. Where a public
        # function bears the same name, as `jcm.run` in `jcm/run.py`, the function has it.
        if not (isinstance(value, ModuleType) and name in self._homes):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._homes})

    def __reduce__(self) -> tuple[Any, ...]:
        # By name, as cloudpickle does with ordinary modules: Dask sends functions that use it.
        return importlib.import_module, (self.__name__,)


def import_on_use(package: str) -> None:
    """Let the imports under `if TYPE_CHECKING` of a package take place when they are needed.

    Parameters
    ----------
    package
        Name of the package, while its `__init__.py` runs. Its `__all__` lists the names.

    Raises
    ------
    ImportError
        If files of PyPI's `jcm` lie among those of this package.
    """
    _refuse_the_other_jcm()
    module: Any = sys.modules[package]
    source = module.__spec__.loader.get_source(package)
    imported = {
        alias.name: str(node.module)
        for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
        for alias in node.names}  # fmt: skip
    module._homes = {name: imported[name] for name in module.__all__}
    module.__class__ = _Face


def _refuse_the_other_jcm() -> None:
    """Say that another distribution has the same import name, if it is installed as well."""
    try:
        other = importlib.metadata.distribution("jcm")
    except importlib.metadata.PackageNotFoundError:
        return
    message = (
        f"PyPI's `jcm` {other.version}, another model, is installed beside jcm-toolkit, and both "
        "are imported as `jcm`: keep them in two environments (here: pip uninstall jcm, and "
        "install jcm-toolkit again)")
    folder = Path(__file__).resolve().parent
    if Path(str(other.locate_file("jcm"))).resolve() == folder:
        raise ImportError(message)
    warnings.warn(message, stacklevel=4)
