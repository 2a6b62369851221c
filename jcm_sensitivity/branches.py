"""Record and replay the branches that a function of JAX takes.

A derivative computed by JAX is that of the branches taken at the point. A finite difference of
the function also sees branches that flip within its step. `record` runs a function and remembers
every decision that depends on its floating-point arguments: comparisons, the operand that max,
min, clip, sort or argmax chose, signs, rounded values. `replay` runs it again with the branches
remembered, whatever the arguments: a smooth function near the point, whose finite differences
have to agree with the derivative. `census` names the decisions that two runs made differently.

    outputs, decisions = jax.jit(record(function))(*arguments)
    frozen = jax.jit(replay(function))
    frozen(decisions, *arguments)            # the same outputs
    frozen(decisions, *other_arguments)      # the branch taken at `arguments`
    table = decision_table(function)(*arguments)
    _, others = jax.jit(record(function))(*other_arguments)
    for flip in census(decisions, others, table):
        print(flip)

`function` takes and returns any pytrees of arrays; shapes of the arguments must be the same in
all runs. Decisions are a tuple of boolean (packed) and integer arrays, those inside of loops with
the loops as leading axes; `decision_table` describes them in the same order. All of it works
under `jit` and `vmap`, not `grad`: what is replayed are values, and a function with a derivative
rule of its own (`custom_jvp`) is replayed without the rule.

The function is interpreted as its jaxpr. Loops need a known length (`jax.lax.scan`, `fori_loop`
with static bounds) where they contain decisions. Primitives that are not known are kept as they
are. Decisions that do not depend on a floating-point argument are not recorded: nothing flips them.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jcm_sensitivity.census import Flip, census
from jcm_sensitivity.decisions import (
    Decision,
    Rule,
    Source,
    code_shape,
    pack,
    rule_of,
    source_of,
    unpack,
)

__all__ = ["Decision", "Flip", "UnknownLoopLength", "census", "decision_table", "record", "replay"]

Function = Callable[..., Any]
Decisions = tuple[Array, ...]

#: Calls whose body is replayed in place.
CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr"}  # fmt: skip


class UnknownLoopLength(ValueError):
    """A loop whose number of passes is unknown contains decisions."""


def record(function: Function) -> Callable[..., tuple[Any, Decisions]]:
    """Return a function that returns the outputs of `function` and the decisions it took.

    Raises
    ------
    UnknownLoopLength
        When it is called, if a `while` loop contains decisions.
    """

    def recorded(*arguments: Any) -> tuple[Any, Decisions]:
        plan, leaves, structure = _traced(function, arguments)
        tape = _Recorder([])
        outputs = _run(plan, leaves, tape)
        return jax.tree.unflatten(structure, outputs), tuple(tape.decisions)

    return recorded


def replay(function: Function) -> Callable[..., Any]:
    """Return a function of decisions and arguments that follows the recorded decisions.

    Raises
    ------
    ValueError
        When it is called, if the decisions are not those of this function.
    """

    def replayed(decisions: Decisions, *arguments: Any) -> Any:
        plan, leaves, structure = _traced(function, arguments)
        if len(decisions) != len(plan.decisions):
            raise ValueError(
                f"expected the {len(plan.decisions)} arrays of decisions that record(function) "
                f"returns for such arguments; got {len(decisions)}. Record the same function.")
        outputs = _run(plan, leaves, _Player(iter(decisions)))
        return jax.tree.unflatten(structure, outputs)

    return replayed


def decision_table(function: Function) -> Callable[..., tuple[Decision, ...]]:
    """Return a function that describes the decisions; it traces `function` without running it."""
    return lambda *arguments: _traced(function, arguments)[0].decisions


@dataclasses.dataclass(frozen=True)
class _Node:
    """An equation, with the rule if it decides, or the plans of the bodies that decide."""

    equation: JaxprEqn
    rule: Rule | None = None
    bodies: tuple["_Plan", ...] = ()
    decisions: tuple[Decision, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What to do with the equations of a jaxpr, and which outputs depend on the arguments."""

    jaxpr: Jaxpr
    constants: Sequence[Any]
    nodes: tuple[_Node, ...]
    depends: tuple[bool, ...]

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(itertools.chain.from_iterable(node.decisions for node in self.nodes))


def _traced(function: Function, arguments: tuple) -> tuple[_Plan, list, Any]:
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = jax.tree.leaves(arguments)
    depends = [jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in leaves]
    return _plan(closed, depends, None), leaves, jax.tree.structure(shapes)


def _plan(closed: ClosedJaxpr | Jaxpr, depends: Sequence[bool], around: Source | None) -> _Plan:
    """Find the decisions of a jaxpr; `depends` tells which arguments depend on floats."""
    jaxpr = closed.jaxpr if isinstance(closed, ClosedJaxpr) else closed
    constants = closed.consts if isinstance(closed, ClosedJaxpr) else ()
    known = dict(zip(jaxpr.invars, depends, strict=True))
    nodes = []
    for equation in jaxpr.eqns:
        inputs = [not isinstance(x, Literal) and known.get(x, False) for x in equation.invars]
        if any(inputs):
            node, outputs = _node(equation, inputs, around)
        else:
            node, outputs = _Node(equation), [False] * len(equation.outvars)
        nodes.append(node)
        known.update(zip(equation.outvars, outputs, strict=True))
    return _Plan(jaxpr, constants, tuple(nodes), tuple(
        not isinstance(x, Literal) and known.get(x, False) for x in jaxpr.outvars))


def _node(
    equation: JaxprEqn, inputs: list[bool], around: Source | None
) -> tuple[_Node, Sequence[bool]]:
    """Return what to do with an equation that depends on the arguments, and which outputs do."""
    name, every = equation.primitive.name, [True] * len(equation.outvars)
    rule = rule_of(equation)
    if rule is not None:
        decision = Decision(
            source_of(equation, around), name, code_shape(equation), packed=rule.boolean)
        return _Node(equation, rule, decisions=(decision,)), every
    if name not in CALLS | {"scan", "cond", "while"}:
        return _Node(equation), every
    here = source_of(equation, around)
    if name == "scan":
        bodies, depends = _loop_plan(equation, inputs, here)
    elif name == "cond":
        bodies = tuple(_plan(branch, inputs[1:], here) for branch in equation.params["branches"])
        depends = [inputs[0] or any(x) for x in zip(*(b.depends for b in bodies), strict=True)]
    elif name == "while":
        _refuse_decisions_in_while(equation, here)
        return _Node(equation), every
    else:
        bodies = (_plan(_body(equation), inputs, here),)
        depends = bodies[0].depends
    decisions = tuple(itertools.chain.from_iterable(body.decisions for body in bodies))
    if name == "scan":
        length = equation.params["length"]
        decisions = tuple(dataclasses.replace(d, loops=(length, *d.loops)) for d in decisions)
    return _Node(equation, None, bodies if decisions else (), decisions), depends


def _body(equation: JaxprEqn) -> ClosedJaxpr | Jaxpr:
    return equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"]


def _loop_plan(
    equation: JaxprEqn, inputs: list[bool], here: Source
) -> tuple[tuple[_Plan, ...], Sequence[bool]]:
    """Plan a loop; what its carry depends on after any number of passes it depends on at once."""
    constants, carried = _operands_of_scan(equation)
    end = constants + carried
    while True:
        plan = _plan(equation.params["jaxpr"], inputs, here)
        carry = [a or b for a, b in zip(inputs[constants:end], plan.depends[:carried], strict=True)]
        if carry == inputs[constants:end]:
            return (plan,), plan.depends
        inputs = [*inputs[:constants], *carry, *inputs[end:]]


def _operands_of_scan(equation: JaxprEqn) -> tuple[int, int]:
    """Return how many operands of a loop are constants, and how many are carried."""
    params = equation.params
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    # From JAX 0.12 on the equation holds the trees of constants, carry and what is scanned over.
    constants, carried, _ = params["ft_in"].unpack()
    return len(list(constants)), len(list(carried))


def _refuse_decisions_in_while(equation: JaxprEqn, here: Source) -> None:
    for key in ("cond_jaxpr", "body_jaxpr"):
        body = equation.params[key]
        decisions = _plan(body, [True] * len(body.jaxpr.invars), here).decisions
        if decisions:
            raise UnknownLoopLength(
                f"the while loop at {here.file}:{here.line} contains a decision about "
                f"floating-point numbers ({decisions[0].name}) and the number of its passes is "
                "unknown, so that decisions cannot be stored. Use jax.lax.scan, or fori_loop "
                "with bounds that are Python integers.")


@dataclasses.dataclass(frozen=True)
class _Recorder:
    """Computes decisions and keeps them."""

    decisions: list[Array]

    def decide(self, node: _Node, operands: list) -> list:
        assert node.rule is not None
        results, code = node.rule.record(node.equation, *operands)
        self.decisions.append(pack(code))
        return results

    def scan(self, node: _Node, constants: list, init: list, xs: list) -> list:
        (plan,) = node.bodies

        def body(carry: list, x: list) -> tuple[list, tuple[list, list]]:
            tape = _Recorder([])
            outputs = _run(plan, [*constants, *carry, *x], tape)
            return outputs[: len(carry)], (outputs[len(carry) :], tape.decisions)

        carry, (ys, decisions) = _scan(body, init, xs, node.equation)
        self.decisions.extend(decisions)
        return [*carry, *ys]

    def cond(self, node: _Node, index: Array, operands: list) -> list:
        def recorded(plan: _Plan, operands: list) -> tuple[list, list]:
            tape = _Recorder([])
            return _run(plan, operands, tape), tape.decisions

        shapes = [
            jax.eval_shape(lambda x, plan=plan: recorded(plan, x)[1], operands)
            for plan in node.bodies]

        def branch(number: int, operands: list) -> tuple[list, list]:
            outputs, decisions = recorded(node.bodies[number], operands)
            every = [
                decisions if k == number else [jnp.zeros(x.shape, x.dtype) for x in shape]
                for k, shape in enumerate(shapes)]
            return outputs, list(itertools.chain.from_iterable(every))

        outputs, decisions = jax.lax.switch(
            index, [_with_number(branch, k) for k in range(len(shapes))], operands)
        self.decisions.extend(decisions)
        return outputs


@dataclasses.dataclass(frozen=True)
class _Player:
    """Takes decisions as they were recorded."""

    decisions: Any

    def take(self, count: int) -> list[Array]:
        return list(itertools.islice(self.decisions, count))

    def decide(self, node: _Node, operands: list) -> list:
        assert node.rule is not None
        code = unpack(next(self.decisions), node.decisions[0])
        return node.rule.replay(node.equation, code, *operands)

    def scan(self, node: _Node, constants: list, init: list, xs: list) -> list:
        (plan,) = node.bodies

        def body(carry: list, x: tuple[list, list]) -> tuple[list, list]:
            values, decisions = x
            outputs = _run(plan, [*constants, *carry, *values], _Player(iter(decisions)))
            return outputs[: len(carry)], outputs[len(carry) :]

        carry, ys = _scan(body, init, (xs, self.take(len(node.decisions))), node.equation)
        return [*carry, *ys]

    def cond(self, node: _Node, index: Array, operands: list) -> list:
        decisions = [self.take(len(plan.decisions)) for plan in node.bodies]

        def branch(number: int, operands: list) -> list:
            return _run(node.bodies[number], operands, _Player(iter(decisions[number])))

        return jax.lax.switch(
            index, [_with_number(branch, k) for k in range(len(decisions))], operands)


def _with_number(branch: Callable, number: int) -> Callable:
    return lambda operands: branch(number, operands)


def _scan(body: Callable, init: list, xs: Any, equation: JaxprEqn) -> Any:
    params = equation.params
    return jax.lax.scan(
        body, init, xs, length=params["length"], reverse=params["reverse"],
        unroll=params["unroll"])  # fmt: skip


def _run(plan: _Plan, arguments: Sequence, tape: _Recorder | _Player) -> list:
    """Evaluate the equations of a plan one by one."""
    values = dict(zip(plan.jaxpr.constvars, plan.constants, strict=True))
    values.update(zip(plan.jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for node in plan.nodes:
        equation = node.equation
        operands = [read(x) for x in equation.invars]
        with equation.ctx.manager:
            results = _evaluate(node, operands, tape)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(x) for x in plan.jaxpr.outvars]


def _evaluate(node: _Node, operands: list, tape: _Recorder | _Player) -> list:
    equation = node.equation
    primitive, params = equation.primitive, equation.params
    if node.rule is not None:
        return tape.decide(node, [jnp.asarray(x) for x in operands])
    if not node.bodies:
        result = primitive.bind(*operands, **primitive.get_bind_params(params))
        return list(result) if primitive.multiple_results else [result]
    if primitive.name == "scan":
        constants, carried = _operands_of_scan(equation)
        end = constants + carried
        return tape.scan(node, operands[:constants], operands[constants:end], operands[end:])
    if primitive.name == "cond":
        return tape.cond(node, jnp.asarray(operands[0]), operands[1:])
    return _run(node.bodies[0], operands, tape)
