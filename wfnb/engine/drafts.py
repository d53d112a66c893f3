"""Steps and blocks in the making, what names mean, and what is asked of graphs on the way. Imports model only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from wfnb.engine.lowered import Block, Place, Rule
from wfnb.model.builtin import Get, Set, Stop
from wfnb.model.expr import (
    UNSET,
    Apply,
    Const,
    Container,
    Expr,
    Input,
    Local,
    StepValue,
    Var,
    walk,
)
from wfnb.model.graph import (
    Body,
    Each,
    Graph,
    Loop,
    Order,
    Parallel,
    Sequential,
    Step,
    Stream,
    SubWorkflow,
    Switch,
    Try,
)
from wfnb.model.node import Node
from wfnb.model.policy import Policy

_INHERITED = ("retries", "backoff", "retry_on", "timeout", "cache", "checkpoint", "priority", "resources", "validate")


@dataclass(slots=True, eq=False)
class Item:
    """A step in the making."""

    step: Step
    name: str
    block: Draft
    after: tuple[Item, ...] = ()
    rule: Callable[[], Rule] | None = None
    helper: bool = False
    decides: bool = False
    ends: bool = False
    gathers: bool = False
    number: int = -1

    @property
    def many(self) -> bool:
        """Whether it has elements."""
        return self.gathers or bool(self.step.over) or self.step.kind in ("each", "source")

    @property
    def value(self) -> Expr:
        """What stands for its value in an expression."""
        return StepValue(self.step.id)


@dataclass(slots=True, eq=False)
class Draft:
    """A block in the making."""

    stem: str
    path: str
    parent: Draft | None
    construct: Item | None = None
    items: list[Item] = field(default_factory=list)
    outputs: list[Item] = field(default_factory=list)
    number: int = -1


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a step is lowered.

    Args:
        env: what names mean there.
        block: the block it goes into.
        prefix: what its name there begins with.
        order: whether steps wait for the one before.
        after: what it must wait for, for the order's sake.
        policy: what constructs around it say of how tasks are run.
    """

    env: Env
    block: Draft
    prefix: str
    order: Order
    after: tuple[Item, ...] = ()
    policy: Policy | None = None


class Env:
    """What names mean in a body."""

    def __init__(self, parent: Env | None, inputs: Mapping[str, Expr], variables: dict[str, Expr]) -> None:
        self.parent = parent
        self.inputs = inputs
        self.steps: dict[str, Expr] = {}
        self.locals: dict[tuple[str, str], Expr] = {}
        self.exports: dict[str, Callable[[], Expr]] = {}
        self.variables = variables

    def given(self, name: str) -> Expr:
        """Return a variable as it is handed on: only who uses it minds that it may not be set."""
        value = self.variables.get(name, Const(UNSET))
        return value.args[0] if isinstance(value, Apply) and value.op == "is_set" else value

    def surely(self, name: str) -> bool:
        """Return whether a variable is set on every way that leads here."""
        return name in self.variables and self.variables[name] == self.given(name)

    def inner(self) -> Env:
        """Return what names mean in a body inside of this one."""
        return Env(self, self.inputs, dict(self.variables))

    def step(self, name: str) -> Expr:
        """Return what a step's id stands for; raises KeyError."""
        env: Env | None = self
        while env is not None:
            if name in env.steps:
                return env.steps[name]
            if name in env.exports:
                env.steps[name] = env.exports[name]()
                return env.steps[name]
            env = env.parent
        raise KeyError(name)

    def local(self, step: str, name: str) -> Expr:
        """Return what a construct gives under a name; raises KeyError."""
        env: Env | None = self
        while env is not None:
            if (step, name) in env.locals:
                return env.locals[step, name]
            env = env.parent
        raise KeyError(name)


def place(item: Item) -> Place:
    """Return where a step is, now that all are numbered."""
    return Place(
        item.name,
        item.block.number,
        tuple(one.number for one in item.after),
        item.rule() if item.rule else None,
        item.helper,
        item.decides,
        item.ends,
        item.gathers,
    )


def finished(block: Draft) -> Block:
    """Return a block, now that all are numbered."""
    return Block(
        block.stem,
        tuple(item.number for item in block.items),
        tuple(item.number for item in block.outputs),
        block.parent.number if block.parent else -1,
        block.construct.number if block.construct else -1,
    )


def group(path: str) -> str:
    """Return the path of the construct a step is inside of, or ""."""
    around = path.rpartition("/")[0]
    if around.endswith("[]"):
        return around[:-2]
    stem, dot, word = around.rpartition(".")
    return stem if dot and "/" not in word else around


def merged(policy: Policy, outer: Policy | None) -> Policy | None:
    """Return what the steps inside a construct inherit: its own policy, over that of the one around it."""
    default = Policy()
    own = {one: getattr(policy, one) for one in _INHERITED if getattr(policy, one) != getattr(default, one)}
    if not own:
        return outer
    return replace(outer or default, **own)


def inherit(node: Node, outer: Policy | None) -> Node:
    """Return the node with what its own policy leaves open filled in from the constructs around it."""
    if outer is None:
        return node
    default = Policy()
    changed = {
        one: getattr(outer, one)
        for one in _INHERITED
        if getattr(node.policy, one) == getattr(default, one) != getattr(outer, one)
    }
    if not changed:
        return node
    copied = node.fresh()
    copied.__dict__.pop("node_call", None)
    copied.policy = replace(node.policy, **changed)
    return copied


def is_plain(expr: Expr) -> bool:
    """Whether the expression is made of values and containers alone, with no operator that could fail."""
    if isinstance(expr, Container):
        return expr.kind in ("list", "tuple", "dict") and all(is_plain(item) for item in expr.items)
    return isinstance(expr, Const | Input | StepValue)


def locals_in(expr: Expr) -> bool:
    """Return whether an expression uses what a construct gives."""
    return any(isinstance(part, Local) for part in walk(expr))


def constant(expr: Expr) -> str:
    """Return a constant's text, or ""."""
    return str(expr.value) if isinstance(expr, Const) else ""


def flat(body: Body) -> bool:
    """Whether a body is made of plain tasks alone, so that its copies can be arrays."""
    return bool(body.steps) and all(
        step.construct is None and step.kind == "task" and not isinstance(step.node, Set | Get | Stop)
        for step in body.steps
    )


def branch_name(body: Body, place: int) -> str:
    """Return what messages call a branch."""
    return body.steps[-1].id if body.steps else str(place)


def bodies_of(step: Step) -> list[Body]:
    """Return the bodies of a construct, in the order they are written."""
    match step.construct:
        case Sequential(body) | Each(body=body) | Stream(body=body):
            return [body]
        case Parallel(branches):
            return list(branches)
        case Loop(body, while_=while_, until=until):
            return [one for one in (while_, body, until) if one is not None]
        case Switch(cases, default=default):
            return [*(case.body for case in cases), *([default] if default is not None else [])]
        case Try(body, catches, finally_):
            return [body, *(catch.body for catch in catches), *([finally_] if finally_ is not None else [])]
    return []


def sets(body: Body) -> set[str]:
    """Return the variables a body may set."""
    found: set[str] = set()
    for step in body.steps:
        if step.construct is None and isinstance(step.node, Set):
            found.add(constant(dict(step.kwargs).get("name", step.args[0] if step.args else Const(""))))
        for inner in bodies_of(step):
            found |= sets(inner)
    return found


def exprs_in(step: Step) -> Iterator[Expr]:
    """Yield every expression in a step, and in the steps inside of it."""
    yield from step.args
    yield from (expr for _, expr in step.kwargs)
    if isinstance(step.node, Get):
        yield Var(constant(dict(step.kwargs).get("name", step.args[0] if step.args else Const(""))))
    match step.construct:
        case Each(over=over):
            yield over
        case Loop(init=init, times=times):
            yield from (expr for expr in (init, times) if expr is not None)
        case Switch(cases, value):
            yield from (case.when for case in cases)
            yield from () if value is None else (value,)
        case Stream(source=source):
            yield from exprs_in(source)
        case SubWorkflow(inputs=inputs):
            yield from (expr for _, expr in inputs)
    if step.when is not None:
        yield step.when
    for body in bodies_of(step):
        yield body.output
        for inner in body.steps:
            yield from exprs_in(inner)


def strays(body: Body) -> set[str]:
    """Return the steps of a body that its value does not need, yet is not over without."""
    givers: dict[str, list[Step]] = {}
    for step in body.steps:
        for name in (*_ids_in(step), *(f"var {one}" for one in sets(Body((step,))))):
            givers.setdefault(name, []).append(step)
    found = {step.id for step in body.steps}
    todo = [body.output]
    while todo:
        for part in walk(todo.pop()):
            name = part.step if isinstance(part, StepValue) else f"var {part.name}" if isinstance(part, Var) else ""
            for step in givers.get(name, ()):
                if step.id in found:
                    found.remove(step.id)
                    todo += exprs_in(step)
    return found


def _ids_in(step: Step) -> Iterator[str]:
    yield step.id
    for body in bodies_of(step):
        for inner in body.steps:
            yield from _ids_in(inner)


def calls_itself(graph: Graph) -> bool:
    """Return whether a workflow, or one inside of it, calls one that it is inside of."""
    todo = [Body(graph.steps)]
    while todo:
        for step in todo.pop().steps:
            if isinstance(step.construct, SubWorkflow):
                if step.construct.graph is None:
                    return True
                todo.append(Body(step.construct.graph.steps))
            todo += bodies_of(step)
    return False
