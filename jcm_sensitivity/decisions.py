"""Where a function of JAX decides: kinds of decisions, and where in the source they stand.

A decision is a result of an operation on floating-point numbers that does not change, or jumps,
when the numbers change a little: a comparison, the choice of the larger operand, a rounded value.
Each kind has a rule to compute the result together with a code that remembers the choice, and
one to compute the result from the code whatever the operands. Codes are booleans or integers.
"""

import dataclasses
import functools
import itertools
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import JaxprEqn

#: Helpers that switch on behalf of their caller, who is named instead.
HELPERS = ("jcm/physics/smooth.py", "jcm/physics/layers.py", "jcm_sensitivity/branches.py")
HERE = Path(__file__).resolve().parents[1]
JAX = str(Path(jax.__file__).parent) + os.sep
STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep
LONGEST_TEXT = 90


@dataclasses.dataclass(frozen=True)
class Source:
    """A place in the source code."""

    module: str
    function: str
    file: str
    line: int
    #: The expression that leads to the decision, shortened.
    text: str


class Frame(NamedTuple):
    """A call on the way to an operation."""

    file: str
    function: str
    line: int
    end_line: int
    #: Columns count bytes; the sources are ASCII.
    column: int
    end_column: int


@dataclasses.dataclass(frozen=True)
class Decision:
    """The static description of an array of decisions."""

    source: Source
    #: The operation, e.g. `gt`, `max`, `floor`.
    kind: str
    #: Shape of the codes, without the axes of loops.
    shape: tuple[int, ...]
    #: Lengths of the loops around it, the outermost first.
    loops: tuple[int, ...] = ()
    #: Codes are booleans, stored as eight to a byte.
    packed: bool = True

    @property
    def name(self) -> str:
        """Module, function and expression, e.g. `jcm.physics.convection._top: step(x, w)`."""
        return f"{self.source.module}.{self.source.function}: {self.source.text}"

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.source.file}:{self.source.line}"


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one kind of decision is recorded and replayed."""

    #: From equation and operands to results and code.
    record: Callable[..., tuple[list[Array], Array]]
    #: From equation, code and operands to results.
    replay: Callable[..., list[Array]]
    boolean: bool = True
    #: Only the first operand decides, not all.
    first_only: bool = False


def rule_of(equation: JaxprEqn) -> Rule | None:
    """Return the rule of an equation, or None if it does not decide anything about floats."""
    name, operands = equation.primitive.name, equation.invars
    if name == "convert_element_type":
        to = equation.params["new_dtype"]
        if not _is_float(operands[0]) or jnp.issubdtype(to, jnp.inexact):
            return None
        return AS_COMPUTED if to == np.bool_ else INTEGERS
    rule = RULES.get(name)
    if rule is None or not any(map(_is_float, operands[: 1 if rule.first_only else None])):
        return None
    if name in {"eq", "ne"} and operands[0] is operands[1]:
        return None  # Tests for values that are not a number.
    return rule


def code_shape(equation: JaxprEqn) -> tuple[int, ...]:
    """Return the shape of the code of an equation that decides."""
    return tuple(getattr(equation.outvars[0].aval, "shape", ()))


def pack(code: Array) -> Array:
    """Store booleans as eight to a byte; leave integers."""
    return jnp.packbits(code.ravel()) if code.dtype == np.bool_ else code


def unpack(stored: Array, decision: Decision) -> Array:
    """Return the codes of one pass through the loops, in their shape."""
    if not decision.packed:
        return stored
    size = int(np.prod(decision.shape))
    return jnp.unpackbits(stored, count=size).astype(bool).reshape(decision.shape)


def codes(stored: Any, decision: Decision) -> np.ndarray:
    """Return all codes, of shape (*loops, *shape)."""
    every = np.asarray(stored)
    if decision.packed:
        size = int(np.prod(decision.shape))
        every = np.unpackbits(every, axis=-1, count=size).astype(bool)
    return every.reshape(decision.loops + decision.shape)


def source_of(equation: JaxprEqn, around: Source | None) -> Source:
    """Return the innermost place outside JAX, libraries and `HELPERS`.

    `around` is the place of the enclosing equation: the body of a compiled function of JAX knows
    no place of its own.
    """
    frames = list(itertools.takewhile(
        lambda frame: not frame.file.endswith("jcm_sensitivity/branches.py"), _frames(equation)))
    own = [frame for frame in frames if not _is_helper(frame.file)]
    if own:
        return _source(own[0])
    if around is not None:
        return around
    return _source(frames[0]) if frames else Source("unknown", "unknown", "unknown", 0, "")


def _frames(equation: JaxprEqn) -> list[Frame]:
    """Return the calls that led to an equation, the innermost first, without those of JAX."""
    traceback = equation.source_info.traceback
    codes, offsets = ((), ()) if traceback is None else traceback.raw_frames()
    found = []
    for code, offset in zip(codes, offsets, strict=True):
        if not _is_foreign(code.co_filename):
            # Python knows a position for every instruction, of two bytes.
            place = next(itertools.islice(code.co_positions(), offset // 2, None))
            found.append(Frame(code.co_filename, code.co_qualname, *(x or 0 for x in place)))
    return found


@functools.cache
def _is_foreign(file: str) -> bool:
    """Tell whether a file is JAX's or Python's; packages may lie below the standard library."""
    return file.startswith(JAX) or (
        file.startswith(STANDARD_LIBRARY) and "-packages" not in file)


@functools.cache
def _is_helper(file: str) -> bool:
    if file.endswith(HELPERS):
        return True
    return "site-packages" in file and not Path(file).is_relative_to(HERE / "jcm")


@functools.cache
def _source(frame: Frame) -> Source:
    lines = [linecache.getline(frame.file, n) for n in range(frame.line, frame.end_line + 1)]
    if lines:
        lines[-1] = lines[-1][: frame.end_column or None]
        lines[0] = lines[0][frame.column :]
    text = " ".join(" ".join(lines).split()) or f"line {frame.line}"
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 3] + "..."
    function = frame.function.replace(".<locals>", "").replace("<lambda>", "lambda")
    path = Path(frame.file)
    file = str(path.relative_to(HERE)) if path.is_relative_to(HERE) else path.name
    return Source(_module(frame.file), function, file, frame.line, text)


@functools.cache
def _module(file: str) -> str:
    for name, module in list(sys.modules.items()):
        if not name.startswith("__") and getattr(module, "__file__", None) == file:
            return name
    return Path(file).stem


def _is_float(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.inexact)


def _bind(equation: JaxprEqn, *operands: Array) -> list[Array]:
    result = equation.primitive.bind(*operands, **equation.params)
    return list(result) if equation.primitive.multiple_results else [result]


def _record_result(equation: JaxprEqn, *operands: Array) -> tuple[list[Array], Array]:
    (result,) = _bind(equation, *operands)
    return [result], result


def _bits(x: Array) -> Array:
    """Return the bits of floating-point numbers, without a negative zero."""
    kind = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[x.dtype.itemsize]
    return jax.lax.bitcast_convert_type(jnp.where(x == 0, jnp.zeros_like(x), x), kind)


def _from_bits(code: Array, equation: JaxprEqn) -> Array:
    kind = equation.outvars[0].aval.dtype  # pyright: ignore[reportAttributeAccessIssue]
    return jax.lax.bitcast_convert_type(code, kind)


def _record_value(equation: JaxprEqn, x: Array) -> tuple[list[Array], Array]:
    (result,) = _bind(equation, x)
    return [result], _bits(result)


def _record_extreme(equation: JaxprEqn, a: Array, b: Array) -> tuple[list[Array], Array]:
    result = _bind(equation, a, b)
    chosen = (a >= b) if equation.primitive.name == "max" else (a <= b)
    return result, jnp.broadcast_to(chosen, result[0].shape)


def _replay_extreme(equation: JaxprEqn, code: Array, a: Array, b: Array) -> list[Array]:
    return [jnp.where(code, a, b)]


def _record_clamp(equation: JaxprEqn, low: Array, x: Array, high: Array):
    code = jnp.where(x < low, 0, jnp.where(x > high, 2, 1)).astype(jnp.uint8)
    return _bind(equation, low, x, high), code


def _replay_clamp(equation: JaxprEqn, code: Array, low: Array, x: Array, high: Array):
    return [jnp.where(code == 0, low, jnp.where(code == 2, high, x))]


def _record_abs(equation: JaxprEqn, x: Array) -> tuple[list[Array], Array]:
    return _bind(equation, x), x >= 0


def _record_remainder(equation: JaxprEqn, x: Array, y: Array) -> tuple[list[Array], Array]:
    (result,) = _bind(equation, x, y)
    return [result], _bits(jnp.round((x - result) / y))


def _replay_remainder(equation: JaxprEqn, code: Array, x: Array, y: Array) -> list[Array]:
    return [x - _from_bits(code, equation) * y]


def _reduced_last(equation: JaxprEqn, x: Array) -> Array:
    """Return the array with all axes that are reduced joined as the last."""
    axes = equation.params["axes"]
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    moved = jnp.transpose(x, (*kept, *axes))
    return moved.reshape(*(x.shape[axis] for axis in kept), -1)


def _record_reduction(equation: JaxprEqn, x: Array) -> tuple[list[Array], Array]:
    find = jnp.argmax if equation.primitive.name == "reduce_max" else jnp.argmin
    return _bind(equation, x), find(_reduced_last(equation, x), axis=-1).astype(jnp.int32)


def _replay_reduction(equation: JaxprEqn, code: Array, x: Array) -> list[Array]:
    return [_take(_reduced_last(equation, x), code[..., None], -1)[..., 0]]


def _record_cumulative(equation: JaxprEqn, x: Array) -> tuple[list[Array], Array]:
    axis, reverse = equation.params["axis"], equation.params["reverse"]
    (result,) = _bind(equation, x)
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
    if reverse:
        code = jax.lax.cummin(
            jnp.where(x == result, index, x.shape[axis] - 1), axis=axis, reverse=True)
    else:
        code = jax.lax.cummax(jnp.where(x == result, index, 0), axis=axis)
    return [result], code


def _replay_cumulative(equation: JaxprEqn, code: Array, x: Array) -> list[Array]:
    return [_take(x, code, equation.params["axis"])]


def _record_sort(equation: JaxprEqn, *operands: Array) -> tuple[list[Array], Array]:
    axis = equation.params["dimension"]
    order = jax.lax.broadcasted_iota(jnp.int32, operands[0].shape, axis)
    *results, code = equation.primitive.bind(*operands, order, **equation.params)
    return results, code


def _replay_sort(equation: JaxprEqn, code: Array, *operands: Array) -> list[Array]:
    return [_take(x, code, equation.params["dimension"]) for x in operands]


def _record_largest(equation: JaxprEqn, x: Array) -> tuple[list[Array], Array]:
    values, indices = _bind(equation, x)
    return [values, indices], indices


def _replay_largest(equation: JaxprEqn, code: Array, x: Array) -> list[Array]:
    return [_take(x, code, equation.params.get("axis", -1)), code]


def _take(x: Array, index: Array, axis: int) -> Array:
    return jnp.take_along_axis(x, index, axis=axis, mode="clip")


#: The result is the code.
AS_COMPUTED = Rule(_record_result, lambda equation, code, *_: [code])
INTEGERS = dataclasses.replace(AS_COMPUTED, boolean=False)
#: The result is a floating-point number that is kept.
VALUES = Rule(
    _record_value, lambda equation, code, x: [_from_bits(code, equation)], boolean=False)
EXTREME = Rule(_record_extreme, _replay_extreme)
REDUCTION = Rule(_record_reduction, _replay_reduction, boolean=False)
CUMULATIVE = Rule(_record_cumulative, _replay_cumulative, boolean=False)

RULES = {
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne", "lt_to", "le_to", "eq_to"), AS_COMPUTED),
    "is_finite": AS_COMPUTED,
    **dict.fromkeys(("floor", "ceil", "round", "sign"), VALUES),
    **dict.fromkeys(("argmax", "argmin"), INTEGERS),
    "max": EXTREME,
    "min": EXTREME,
    "clamp": Rule(_record_clamp, _replay_clamp, boolean=False),
    "abs": Rule(_record_abs, lambda equation, code, x: [jnp.where(code, x, -x)]),
    "rem": Rule(_record_remainder, _replay_remainder, boolean=False),
    "reduce_max": REDUCTION,
    "reduce_min": REDUCTION,
    "cummax": CUMULATIVE,
    "cummin": CUMULATIVE,
    # Only the keys decide; they come first.
    "sort": Rule(_record_sort, _replay_sort, boolean=False, first_only=True),
    "top_k": Rule(_record_largest, _replay_largest, boolean=False),
}
