"""What tells experiments apart: values, code, traced programs."""

import dataclasses
import functools
import subprocess
import sys
import textwrap
from types import FunctionType, ModuleType, SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.fingerprint import fingerprint, program_fingerprint


class Scheme(eqx.Module):
    rate: jax.Array
    label: str = eqx.field(static=True)
    function: object = eqx.field(static=True)

    def __call__(self, x):
        return self.function(self.rate * x)


@dataclasses.dataclass(frozen=True)
class Options:
    days: float = 1.0
    names: tuple = ("a",)


def double(x):
    """Twice."""
    return 2 * x


def made(text, **names):
    """A function from source, as a user would write it."""
    space = {"jnp": jnp, "jax": jax, "__name__": "users", **names}
    exec(textwrap.dedent(text), space)
    return space["f"]


def helpers(number):
    """A module of the user with a function."""
    module = ModuleType("users_helpers")
    exec(f"def shifted(x): return x + {number}", module.__dict__)
    return module


#: Values that differ from each other, each from all others.
DIFFERENT = {
    "none": None, "false": False, "zero": 0, "zero real": 0.0, "minus zero": -0.0, "text 0": "0",
    "empty": (), "list": [], "mapping": {}, "one": {"a": 1}, "other key": {"b": 1},
    "array": np.zeros(3), "single": np.zeros(3, np.float32), "longer": np.zeros(4),
    "column": np.zeros((3, 1)), "nearly": np.nextafter(np.zeros(3), 1), "nan": np.full(3, np.nan),
    "key": jax.random.key(0), "other random key": jax.random.key(1),
    "set": {"a", "b"}, "smaller set": {"a"}, "type": float, "module": np, "range": range(3),
    "options": Options(), "two days": Options(days=2.0), "two names": Options(names=("a", "b")),
    "scheme": Scheme(jnp.ones(2), "x", double), "rate": Scheme(2 * jnp.ones(2), "x", double),
    "label": Scheme(jnp.ones(2), "y", double),
    "function of a scheme": Scheme(jnp.ones(2), "x", jnp.sin),
    "partial": functools.partial(double, x=1), "other partial": functools.partial(double, x=2),
    "namespace": SimpleNamespace(a=1), "other namespace": SimpleNamespace(a=2),
    "lambda": lambda x: x + 1, "other lambda": lambda x: x + 2,
    "constant": made("def f(x): return c * x", c=2.0),
    "other constant": made("def f(x): return c * x", c=3.0),
    "helper": made("def g(x): return x + 1\ndef f(x): return g(x)"),
    "other helper": made("def g(x): return x + 2\ndef f(x): return g(x)"),
    "module of the user": made("def f(x): return m.shifted(x)", m=helpers(1)),
    "changed module": made("def f(x): return m.shifted(x)", m=helpers(2)),
    "wrapped": functools.wraps(jnp.sin)(made("def f(x): return jnp.sin(x)")),
    "wrapped otherwise": functools.wraps(jnp.sin)(made("def f(x): return 2 * jnp.sin(x)")),
    "default": made("def f(x, a=1): return a * x"),
    "other default": made("def f(x, a=2): return a * x"),
    "keyword": made("def f(x, *, a=1): return a * x"),
    "method": Options(days=3.0).__repr__, "jitted": jax.jit(lambda x: x * 5),
    "other jitted": jax.jit(lambda x: x * 6),
}  # fmt: skip


def test_values_that_differ_in_anything_have_different_fingerprints():
    found = {name: fingerprint(value) for name, value in DIFFERENT.items()}
    assert len(set(found.values())) == len(found), [
        (a, b) for a in found for b in found if a < b and found[a] == found[b]]


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_fingerprint_is_repeated(name):
    assert fingerprint(DIFFERENT[name]) == fingerprint(DIFFERENT[name])


def test_equal_values_made_twice_have_one_fingerprint():
    assert fingerprint({"b": np.ones(2), "a": Options()}) == fingerprint(
        {"a": Options(), "b": np.ones(2)})
    assert fingerprint(jnp.ones(2)) == fingerprint(np.ones(2, jnp.ones(2).dtype))


def test_docstrings_comments_and_names_of_files_are_no_change():
    one, two = made("""
        def f(x):
            "Some words."
            return x + 1
    """), made("""
        def f(x):
            "Other words."
            # A comment.
            return x + 1
    """)
    assert fingerprint(one) == fingerprint(two)


def test_functions_that_call_each_other_end():
    assert fingerprint(made("""
        def g(x): return f(x - 1) if x else 0
        def f(x): return g(x)
    """))


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(TypeError, match="cannot be told from another"):
        fingerprint(iter([1]))


PROGRAMS = {
    "sum": lambda x: jnp.sum(x), "sum of twice": lambda x: jnp.sum(2 * x),
    "mean": lambda x: jnp.mean(x), "sine": lambda x: jnp.sin(x),
    "two steps": lambda x: jax.lax.scan(lambda c, _: (c + 1, None), x, None, length=2)[0],
    "three steps": lambda x: jax.lax.scan(lambda c, _: (c + 1, None), x, None, length=3)[0],
    "constant": lambda x: x + np.arange(3.0), "other constant": lambda x: x + np.arange(1.0, 4.0),
    "branch": lambda x: jax.lax.cond(x[0] > 0, lambda: x, lambda: 2 * x),
    "other branch": lambda x: jax.lax.cond(x[0] > 0, lambda: x, lambda: 3 * x),
    "jitted": jax.jit(lambda x: x * 7), "partial": functools.partial(jnp.add, np.ones(3)),
    "other partial": functools.partial(jnp.multiply, 2.0),
}  # fmt: skip


def with_rule(factor, forward=False):
    """The identity with a derivative that the user has written."""
    if forward:
        f = jax.custom_jvp(lambda x: x * 1.0)
        f.defjvp(lambda primals, tangents: (primals[0] * 1.0, factor * tangents[0]))
        return f
    f = jax.custom_vjp(lambda x: x * 1.0)
    f.defvjp(lambda x: (x * 1.0, None), lambda _, g: (factor * g,))
    return f


@pytest.mark.parametrize("forward", [False, True])
def test_a_derivative_that_the_user_has_written_is_part_of_a_program(forward):
    one, other = (
        program_fingerprint(with_rule(k, forward), jnp.ones(3), derivative=True)[0]
        for k in (1.0, 2.0))
    assert one != other
    assert fingerprint(with_rule(1.0, forward)) != fingerprint(with_rule(2.0, forward))


def test_programs_that_differ_in_anything_have_different_fingerprints():
    found = {name: program_fingerprint(f, jnp.ones(3))[0] for name, f in PROGRAMS.items()}
    assert len(set(found.values())) == len(found), [
        (a, b) for a in found for b in found if a < b and found[a] == found[b]]


def test_the_same_program_by_another_function_is_the_same():
    def one(x):
        """Return something."""
        return jnp.sum(x * 2.0)

    def other(y):
        total = jnp.sum(y * 2.0)
        return total

    assert isinstance(one, FunctionType)
    assert program_fingerprint(one, jnp.ones(3)) == program_fingerprint(other, jnp.ones(3))


def test_shapes_and_types_are_part_of_a_program_values_are_not():
    f = PROGRAMS["sum"]
    found = [program_fingerprint(f, x)[0] for x in (
        jnp.ones(3), jnp.zeros(3), jnp.ones(4), jnp.ones(3, jnp.float32))]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_function_of_numpy_is_refused():
    with pytest.raises(TypeError, match=r"must be one of JAX \(jax.numpy instead of numpy"):
        program_fingerprint(lambda x: np.sin(np.asarray(x)), jnp.ones(3))


SCRIPT = """
import sys; sys.path[:0] = {path!r}
import jax; jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
from test_fingerprint import DIFFERENT, PROGRAMS
from jcm.fingerprint import fingerprint, program_fingerprint
print(*(fingerprint(x) for x in DIFFERENT.values()))
print(*(program_fingerprint(f, jnp.ones(3))[0] for f in PROGRAMS.values()))
"""


def test_fingerprints_are_the_same_in_another_process():
    from pathlib import Path

    code = SCRIPT.format(path=[str(Path(__file__).parent)])
    found = [subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": ""},
                            capture_output=True, text=True, check=True).stdout
             for seed in ("1", "2")]  # fmt: skip
    assert found[0] == found[1]
    here = [fingerprint(x) for x in DIFFERENT.values()]
    assert found[0].split()[:len(here)] == here
