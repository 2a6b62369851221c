"""What tells one experiment from another: hashes of values, of code and of traced programs.

A value is taken apart to its leaves: numbers, texts, arrays, fields of classes (those that JAX
calls static, too), functions by their compiled code and all that it refers to; but of functions and
classes of packages, this one included, the name is enough, because versions tell packages apart. A
program is compared as JAX sees it: another name, comment or docstring is no change, another
operation, constant or length of run is one. Nothing that depends on memory addresses or the order
of sets enters, so a hash is the same in another process.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

#: Packages that have the version of this one.
OURS = ("jcm", "jcm_sensitivity", "jcm_calibrate")
#: Hexadecimal digits of a hash.
DIGITS = 32
#: Where packages and this one lie; beginnings of names of files.
_PACKAGES = (*(sysconfig.get_path(x) for x in ("stdlib", "purelib", "platlib")), "<frozen",
             *(str(Path(__file__).parents[1] / x) + os.sep for x in OURS))  # fmt: skip
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
#: Flag of code whose first constant is a docstring; before Python 3.13 a text there always is one.
_HAS_DOCSTRING = 0x4000000 if sys.version_info >= (3, 13) else inspect.CO_NEWLOCALS


def fingerprint(value: Any) -> str:
    """Return a hash of a value, whatever it is made of.

    Raises
    ------
    TypeError
        If it contains something of which two that differ could not be told apart.
    """
    return _Walk().hash(value)


def program_fingerprint(
    function: Callable, *arguments: Any, derivative: bool = False
) -> tuple[str, Any]:
    """Return a hash of a function as JAX traces it, and the shapes of what it returns.

    Parameters
    ----------
    function
        A function of JAX, or a module that is called.
    *arguments
        Any pytrees; of their arrays only shapes and types enter, and so of those of `function`.
    derivative
        Trace reverse mode, too: a function may bring derivatives of its own.

    Raises
    ------
    TypeError
        If the function is none of JAX.
    """
    arrays, static = eqx.partition((function, arguments), eqx.is_array)
    inexact, other = eqx.partition(arrays, eqx.is_inexact_array)

    def call(inexact: Any, other: Any) -> Any:
        function, arguments = eqx.combine(inexact, other, static)
        return eqx.filter(function(*arguments), eqx.is_array)

    def with_derivative(inexact: Any, other: Any) -> Any:
        smooth = lambda x: eqx.filter(call(x, other), eqx.is_inexact_array)  # noqa: E731
        outputs, pull = jax.vjp(smooth, inexact)
        return outputs, pull(outputs)

    try:
        program, outputs = jax.make_jaxpr(call, return_shape=True)(inexact, other)
        programs = [program]
        if derivative:
            programs.append(jax.make_jaxpr(with_derivative)(inexact, other))
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        text = str(error).strip().splitlines()
        raise TypeError(
            "the function must be one of JAX (jax.numpy instead of numpy, no conversion to Python "
            f"numbers): {text[0] if text else error}") from error
    return _Walk().hash(programs), outputs


class _Walk:
    """A walk through a value; what was seen is not taken apart again."""

    def __init__(self) -> None:
        #: Hashes of objects by identity, with the objects, so that no identity is used again.
        self._done: dict[int, tuple[str, Any]] = {}
        self._open: dict[int, int] = {}

    def hash(self, value: Any) -> str:
        if isinstance(value, (type(None), bool, int, float, complex, str, bytes)):
            return _digest(type(value).__name__, repr(value))
        if id(value) in self._done:
            return self._done[id(value)][0]
        if id(value) in self._open:
            return _digest("again", str(self._open[id(value)]))
        self._open[id(value)] = len(self._open)
        try:
            found = self._take_apart(value)
        finally:
            del self._open[id(value)]
        self._done[id(value)] = found, value
        return found

    def _several(self, kind: str, values: Any) -> str:
        return _digest(kind, *(self.hash(value) for value in values))

    def _take_apart(self, value: Any) -> str:
        if isinstance(value, (jax.Array, np.ndarray, np.generic)):
            return self._array(value)
        if isinstance(value, ClosedJaxpr):
            return self._several("program", [self._jaxpr(value.jaxpr), *value.consts])
        if isinstance(value, Jaxpr):
            return self._jaxpr(value)
        if isinstance(value, Mapping):
            items = sorted((self.hash(key), self.hash(x)) for key, x in value.items())
            return _digest("mapping", *(part for item in items for part in item))
        if isinstance(value, (set, frozenset)):
            return _digest("set", *sorted(self.hash(x) for x in value))
        if isinstance(value, (list, tuple)):
            return self._several(_name(type(value)), value)
        if isinstance(value, type):
            return _digest("type", _name(value), self._methods(value))
        if isinstance(value, ModuleType):
            return _digest("module", value.__name__)
        if isinstance(value, enum.Enum):
            return _digest("enum", _name(type(value)), value.name)
        if isinstance(value, functools.partial):
            return self._several("partial", [value.func, value.args, value.keywords])
        if isinstance(value, MethodType):
            return self._several("method", [value.__func__, value.__self__])
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, (BuiltinFunctionType, np.ufunc)):
            return _digest("built in", getattr(value, "__module__", None) or "", value.__name__)
        if callable(value) and hasattr(value, "__wrapped__"):
            # What JAX wraps: with the rules of derivatives that the user gave.
            rules = {name: x for name, x in getattr(value, "__dict__", {}).items()
                     if isinstance(x, FunctionType)}  # fmt: skip
            return self._several("wrapped", [_name(type(value)), value.__wrapped__, rules])
        if isinstance(value, (np.dtype, range, slice, PurePath, jax.ShapeDtypeStruct)):
            return _digest(_name(type(value)), str(value))
        return self._object(value)

    def _array(self, value: Any) -> str:
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return _digest("key", str(value.dtype), self._array(jax.random.key_data(value)))
        array = np.asarray(value)
        if array.dtype == object:
            return self._several(f"objects {array.shape}", array.ravel().tolist())
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return _digest("array", array.dtype.str, str(array.shape), content)

    def _object(self, value: Any) -> str:
        kind = type(value)
        if dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
            return self._several("object", [kind, fields])
        if hasattr(value, "dims") and hasattr(value, "to_dict"):
            return self._several("labelled", [_name(kind), value.to_dict()])
        state = getattr(value, "__dict__", None)
        if state is None and not hasattr(kind, "__slots__"):
            text = repr(value)
            if _ADDRESS.search(text) or text.startswith("<"):
                raise TypeError(
                    f"a {_name(kind)} cannot be told from another of its kind, so results that "
                    "depend on it cannot be kept; give a function, numbers or a dataclass")
            return _digest("object", _name(kind), text)
        slots = {name: getattr(value, name) for base in kind.__mro__
                 for name in _slots(base) if hasattr(value, name)}  # fmt: skip
        # What begins so is kept for speed, such as a hash that depends on the process.
        stored = {name: x for name, x in {**slots, **(state or {})}.items()
                  if not name.startswith("_")}  # fmt: skip
        return self._several("object", [kind, stored])

    def _methods(self, kind: type) -> str:
        """Return the hash of the code of a class of the user; of a package its name is enough."""
        if _is_of_a_package(kind.__module__):
            return ""
        own = {name: x for base in kind.__mro__ if not _is_of_a_package(base.__module__)
               for name, x in vars(base).items()
               if isinstance(x, (FunctionType, staticmethod, classmethod, property))}  # fmt: skip
        return self.hash({
            name: [x.fget, x.fset] if isinstance(x, property) else getattr(x, "__func__", x)
            for name, x in own.items()})

    def _function(self, function: FunctionType) -> str:
        if function.__code__.co_filename.startswith(_PACKAGES):
            # By the file: a wrapper of the user has the module of what it wraps.
            if hasattr(function, "__wrapped__"):
                return self._several("wrapped", [function.__qualname__, function.__wrapped__])
            enclosed = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
            return self._several(
                "function", [function.__module__, function.__qualname__, enclosed])
        names = sorted(_names(function.__code__))
        used = {name: function.__globals__[name] for name in names if name in function.__globals__}
        modules = [x for x in used.items() if isinstance(x[1], ModuleType)]
        for name, module in modules:  # grows: modules have modules
            if not _is_of_a_package(module.__name__):
                found = {f"{name}.{x}": getattr(module, x) for x in names if hasattr(module, x)}
                modules += [x for x in found.items()
                            if isinstance(x[1], ModuleType) and x[0] not in used]  # fmt: skip
                used |= found
        enclosed = [_content(cell) for cell in function.__closure__ or ()]
        return self._several("function", [
            function.__code__, function.__defaults__, function.__kwdefaults__, enclosed, used])

    def _code(self, code: CodeType) -> str:
        constants = list(code.co_consts)
        if constants and isinstance(constants[0], str) and code.co_flags & _HAS_DOCSTRING:
            constants[0] = None
        return self._several("code", [code.co_code, code.co_names, constants])

    def _jaxpr(self, jaxpr: Jaxpr) -> str:
        numbers: dict[Any, int] = {}

        def variable(x: Any) -> str:
            if isinstance(x, Literal):
                return f"{x.aval} {self.hash(x.val)}"
            return f"{numbers.setdefault(x, len(numbers))} {x.aval}"

        lines = [[variable(x) for x in (*jaxpr.constvars, *jaxpr.invars)]]
        for equation in jaxpr.eqns:
            # `name` is that of a function, which means nothing.
            parameters = sorted((name, self._parameter(x)) for name, x in equation.params.items()
                                if name != "name")  # fmt: skip
            lines.append([
                equation.primitive.name, *(variable(x) for x in equation.invars),
                *(variable(x) for x in equation.outvars),
                *(part for item in parameters for part in item)])
        lines.append([variable(x) for x in jaxpr.outvars])
        return _digest(*(part for line in lines for part in (*line, "\n")))

    def _parameter(self, value: Any) -> str:
        """Return the hash of a parameter of an operation; of JAX's own objects what they print."""
        if isinstance(value, (list, tuple)):
            return _digest(*(self._parameter(x) for x in value))
        if isinstance(value, (ClosedJaxpr, Jaxpr, jax.Array, np.ndarray, Mapping, FunctionType,
                              MethodType, functools.partial, eqx.Module)):  # fmt: skip
            return self.hash(value)
        return _ADDRESS.sub("", repr(value))


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} ".encode())
        digest.update(part.encode())
    return digest.hexdigest()[:DIGITS]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _names(code: CodeType) -> set[str]:
    inner = (x for x in code.co_consts if isinstance(x, CodeType))
    return set(code.co_names).union(*(_names(x) for x in inner))


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


@functools.cache
def _is_of_a_package(module: str | None) -> bool:
    """Return whether versions tell the states of a module apart: it is installed, or ours."""
    top = (module or "").split(".")[0]
    if top in OURS or (top in sys.stdlib_module_names and top != "__main__"):
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file
