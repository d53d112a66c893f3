"""Any small workflow with constructs, two or three deep, as a `Graph`; and the nodes it is made of."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from wfnb.model.builtin import Set
from wfnb.model.expr import Apply, Const, Container, Expr, Input, Local, StepValue, Var
from wfnb.model.graph import (
    Body,
    Case,
    Catch,
    Composed,
    Dynamic,
    Each,
    Graph,
    InputSpec,
    Loop,
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

T = TypeVar("T")


def drawn(node: Node, args: tuple[Any, ...]) -> int:
    """Return a number that depends on all a node is given."""
    return zlib.crc32(repr((node.info.name, args)).encode())


class Work(Node):
    """Gives a small number."""

    fragile = True

    def execute(self, *args: Any) -> Any:
        return drawn(self, args) % 5


class Listing(Node):
    """Gives a short list."""

    fragile = True

    def execute(self, *args: Any) -> Any:
        number = drawn(self, args)
        return [number // 7 % 5 + n for n in range(number % 4)]


class Items(Node):
    """Yields some numbers."""

    def execute(self, *args: Any) -> Iterator[int]:
        number = drawn(self, args)
        yield from (number // 7 % 5 + n for n in range(number % 5))


class Planning(Node):
    """Gives the workflow that it was made with."""

    fragile = True
    planned: Graph

    def execute(self, *args: Any) -> Any:
        return self.planned


def named(cls: type[Node], name: str, **policy: Any) -> Any:
    """Return a node with a name and a policy."""
    node = cls()
    node.info = replace(node.info, name=name)
    node.policy = Policy(**policy)
    return node


def work(step_id: str, *args: Expr | str, **policy: Any) -> Step:
    """Return a task; names stand for steps."""
    given = tuple(StepValue(one) if isinstance(one, str) else one for one in args)
    return Step(step_id, named(Work, step_id, **policy), args=given)


def put(step_id: str, name: str, value: Expr, when: Expr | None = None) -> Step:
    """Return a step that sets a variable."""
    return Step(step_id, Set(), args=(Const(name), value), when=when)


def made_of(step_id: str, construct: Any, **policy: Any) -> Step:
    """Return a step that is a construct."""
    node = Composed()
    node.policy = Policy(**policy)
    return Step(step_id, node, construct=construct)


def body(*steps: Step) -> Body:
    """Return a body whose value is that of its last step."""
    return Body(steps, StepValue(steps[-1].id) if steps else Const(None))


def graph(*steps: Step, order: Any = "data", output: Expr | None = None, **facts: Any) -> Graph:
    """Return a workflow whose value is that of its last step."""
    return Graph("g", "1", (), steps, output or StepValue(steps[-1].id), (), order, **facts)


class Draw(Protocol):
    """Where choices come from."""

    def number(self, least: int, most: int) -> int:
        """Return a number."""

    def one(self, things: Sequence[T]) -> T:
        """Return one of some things."""


class Chance:
    """Choices by chance."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def number(self, least: int, most: int) -> int:
        return self.rng.randint(least, most)

    def one(self, things: Sequence[T]) -> T:
        return self.rng.choice(things)


@dataclass
class Names:
    """What may be used: any values, lists, and whether variables are set."""

    values: list[Expr] = field(default_factory=list)
    lists: list[Expr] = field(default_factory=list)
    variables: bool = True

    def inner(self) -> Names:
        return Names(list(self.values), list(self.lists), self.variables)


KINDS = (
    *("parallel", "first", "each", "each", "loop", "loop", "switch", "try", "try"),
    *("stream", "dynamic", "workflow", "sequential", "recursive"),
)
"""The constructs a workflow is made of, some more often than others."""
LISTS = ("listing", "map", "each", "stream", "parallel")


@dataclass
class Maker:
    """Makes a workflow.

    Args:
        draw: where choices come from.
        deep: how deep constructs may be in each other.
        left: how many steps there may be.
        kinds: the constructs it may have.
    """

    draw: Draw
    deep: int = 3
    left: int = 14
    kinds: Sequence[str] = KINDS
    sets: bool = True
    count: int = 0

    def graph(self) -> Graph:
        """Return a workflow."""
        order = self.draw.one(["data", "sequence"])
        steps = [put("v0", "v", Const(0)), put("w0", "w", Const(7))]
        body = self.body(Names(), self.deep, least=1, most=4)
        limits = (("", self.draw.number(1, 3)),) if self.draw.number(0, 5) == 0 else ()
        return Graph("g", "1", (), (*steps, *body.steps), body.output, (), order, limits)

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def policy(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.draw.number(0, 3) == 0:
            found["retries"] = self.draw.number(1, 2)
        if self.draw.number(0, 6) == 0:
            found["checkpoint"] = False
        if self.draw.number(0, 8) == 0:
            found["priority"] = self.draw.one([1, 5, 20])
        return found

    def body(self, names: Names, deep: int, *, least: int = 0, most: int = 3) -> Body:
        steps: list[Step] = []
        for _ in range(self.draw.number(least, most)):
            if self.left > 0:
                self.left -= 1
                steps.append(self.step(names, deep))
        own = [StepValue(step.id) for step in steps]
        output: Expr = own[-1] if own else Const(3)
        if self.draw.number(0, 2):
            output = self.draw.one([*own, *own, *names.values, Const(None)])
        if self.draw.number(0, 5) == 0:
            output = Container("list", (output, Const(1), *own[:1]))
        return Body(tuple(steps), output)

    def expr(self, names: Names) -> Expr:
        things: list[Expr] = [*names.values, *names.values[-2:], *names.lists[-1:], Const(self.draw.number(0, 2))]
        if names.variables:
            things += [Var("v"), Var("w")]
        return self.draw.one(things)

    def condition(self, names: Names) -> Expr:
        return Apply(self.draw.one(["==", "!="]), (self.expr(names), Const(self.draw.number(0, 3))))

    def step(self, names: Names, deep: int) -> Step:
        kinds = ["task", "task", "task", "listing", "map"]
        if names.variables and self.sets:
            kinds.append("set")
        if deep:
            kinds += [self.draw.one(self.kinds)] * 6
        kind = self.draw.one(kinds)
        made: Step = getattr(self, f"_{kind}")(names, deep)
        plain = True
        if kind != "listing" and self.draw.number(0, 9) == 0:
            made, plain = replace(made, when=self.condition(names)), False
        if kind not in ("listing", "set") and self.draw.number(0, 11) == 0:
            made, plain = replace(made, continue_on_error=True), False
        if plain and kind in LISTS:
            names.lists.append(StepValue(made.id))
        names.values.append(StepValue(made.id))
        return made

    # -- plain steps ---------------------------------------------------------------------------------------------

    def _task(self, names: Names, _deep: int) -> Step:
        args = tuple(self.expr(names) for _ in range(self.draw.number(0, 2)))
        return work(self.name("t"), *args, **self.policy())

    def _listing(self, names: Names, _deep: int) -> Step:
        step_id = self.name("n")
        return Step(step_id, named(Listing, step_id, **self.policy()), args=(self.expr(names),))

    def _map(self, names: Names, _deep: int) -> Step:
        step_id = self.name("m")
        args = (self.listed(names), self.expr(names))
        return Step(step_id, named(Work, step_id, **self.policy()), "map", args, over=(0,))

    def _set(self, names: Names, _deep: int) -> Step:
        return put(self.name("s"), self.draw.one(["v", "w"]), self.expr(names))

    def listed(self, names: Names) -> Expr:
        choices: list[Expr] = [Const(list(range(self.draw.number(0, 3)))), *names.lists, *names.lists]
        if names.values:
            choices.append(Container("list", (self.draw.one(names.values), Const(2))))
        return self.draw.one(choices)

    # -- constructs ----------------------------------------------------------------------------------------------

    def construct(self, step_id: str, what: Any) -> Step:
        return made_of(step_id, what, **({"retries": 1} if self.draw.number(0, 7) == 0 else {}))

    def item(self, names: Names, step_id: str) -> Names:
        inner = names.inner()
        inner.values += [Local(step_id, "item"), Local(step_id, "index")]
        return inner

    def _sequential(self, names: Names, deep: int) -> Step:
        return self.construct(self.name("q"), Sequential(self.body(names.inner(), deep - 1)))

    def _parallel(self, names: Names, deep: int, *, first: bool = False) -> Step:
        step_id = self.name("p")
        bodies = tuple(self.body(names.inner(), deep - 1) for _ in range(self.draw.number(1 if first else 0, 3)))
        return self.construct(step_id, Parallel(bodies, self.draw.one([None, None, 1, 2]), first))

    def _first(self, names: Names, deep: int) -> Step:
        return self._parallel(names, deep, first=True)

    def _each(self, names: Names, deep: int) -> Step:
        step_id = self.name("e")
        body = self.body(self.item(names, step_id), deep - 1)
        parallel = self.draw.number(0, 2) > 0
        most = self.draw.one([None, None, None, 1, 2]) if parallel else None
        return self.construct(step_id, Each(self.listed(names), body, "item", parallel, most))

    def _loop(self, names: Names, deep: int) -> Step:
        step_id = self.name("l")
        init = self.expr(names)
        inner = self.item(names, step_id)
        kind = self.draw.one(["while_", "until", "times"])
        turns = Const(self.draw.number(0, 3))
        body = self.body(inner.inner(), deep - 1)
        if kind == "times":
            return self.construct(step_id, Loop(body, init, times=turns))
        more = kind == "while_"
        steps: tuple[Step, ...] = ()
        output: Expr = Apply("<" if more else ">=", (Local(step_id, "index"), turns))
        if self.draw.number(0, 2) == 0:  # a condition that is steps, goes by what is carried, and ends for certain
            test = self._task(inner, 0)
            steps = (test,)
            enough = Apply("!=" if more else "==", (StepValue(test.id), Const(self.draw.number(0, 4))))
            output = Apply("&" if more else "|", (output, enough))
        loop = Loop(body, init, max_iterations=self.draw.one([1000, 1000, 2]))
        condition: Any = {kind: Body(steps, output)}
        return self.construct(step_id, replace(loop, **condition))

    def _switch(self, names: Names, deep: int) -> Step:
        step_id = self.name("c")
        cases = []
        valued = self.draw.number(0, 1)
        for _ in range(self.draw.number(1, 2)):
            condition = not valued or self.draw.number(0, 1) == 1
            when = self.condition(names) if condition else Const(self.draw.number(0, 3))
            cases.append(Case(when, self.body(names.inner(), deep - 1), condition))
        default = self.body(names.inner(), deep - 1) if self.draw.number(0, 4) else None
        return self.construct(step_id, Switch(tuple(cases), self.expr(names) if valued else None, default))

    def _try(self, names: Names, deep: int) -> Step:
        step_id = self.name("y")
        body = self.body(names.inner(), deep - 1, least=1)
        catches = []
        for _ in range(self.draw.number(0, 2)):
            inner = names.inner()
            inner.values.append(Apply("getattr", (Local(step_id, "error"), Const("type"))))
            on = self.draw.one([(), (), ("ValueError",), ("OSError",), ("builtins.FileNotFoundError",)])
            catches.append(Catch(self.body(inner, deep - 1), on))
        last = self.body(names.inner(), deep - 1) if self.draw.number(0, 1) else None
        return self.construct(step_id, Try(body, tuple(catches), last))

    def _stream(self, names: Names, deep: int) -> Step:
        step_id = self.name("g")
        source = Step(f"{step_id}.source", named(Items, f"{step_id}s"), args=(self.expr(names),))
        inner = self.item(names, step_id)
        keep, self.sets = self.sets, False
        body = self.body(inner, deep - 1)
        self.sets = keep
        return self.construct(step_id, Stream(source, body, self.draw.number(1, 2), self.draw.number(1, 3)))

    def _dynamic(self, names: Names, deep: int) -> Step:
        step_id = self.name("d")
        node = named(Planning, step_id, **self.policy())
        node.planned = self.other(deep)
        return Step(step_id, node, args=(self.expr(names),), construct=Dynamic())

    def other(self, deep: int, *, inputs: tuple[InputSpec, ...] = ()) -> Graph:
        """Return a workflow for use in the one that is made."""
        names = Names([Input(spec.name) for spec in inputs], variables=False)
        keep, self.sets = self.sets, False
        body = self.body(names, deep - 1)
        self.sets = keep
        order = self.draw.one(["data", "sequence"])
        return Graph(self.name("flow"), "1", inputs, body.steps, body.output, (), order)

    def _workflow(self, names: Names, deep: int) -> Step:
        inputs = (InputSpec("a"), InputSpec("b", default=4, required=False))
        given = [("a", self.expr(names))]
        if self.draw.number(0, 1):
            given.append(("b", self.expr(names)))
        graph = self.other(deep, inputs=inputs)
        return self.construct(self.name("u"), SubWorkflow(graph.name, "1", tuple(given), graph))

    def _recursive(self, _names: Names, _deep: int) -> Step:
        """A workflow that calls itself, up to three deep."""
        flow, again, choice, end = self.name("rec"), self.name("u"), self.name("c"), self.name("t")
        less = (("n", Apply("-", (Input("n"), Const(1)))),)
        over = Case(Apply("==", (Input("n"), Const(0))), body(work(end, Input("n"))), condition=True)
        switch = Switch((over,), None, body(made_of(again, SubWorkflow(flow, "", less))))
        top = work(self.name("t"), Input("n"))
        value = Container("list", (StepValue(top.id), StepValue(choice)))
        graph = Graph(flow, "1", (InputSpec("n"),), (top, made_of(choice, switch)), value)
        turns = (("n", Const(self.draw.number(0, 2))),)
        return made_of(self.name("u"), SubWorkflow(flow, "", turns, graph))
