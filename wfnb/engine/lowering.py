"""What lowering is made with: steps and blocks in the making, what names mean, and how plain steps are lowered.

`lower` has the constructs. Imports lowered, decide and model only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from wfnb.engine import decide
from wfnb.engine.drafts import (
    Draft,
    Env,
    Item,
    Spot,
    constant,
    group,
    inherit,
    sets,
    strays,
)
from wfnb.engine.lowered import Rule
from wfnb.model.builtin import Get, Set, Stop
from wfnb.model.errors import Problem
from wfnb.model.expr import (
    Apply,
    Const,
    Element,
    Expr,
    Input,
    Local,
    Position,
    StepValue,
    Var,
    replaced,
    steps_of,
    walk,
)
from wfnb.model.graph import (
    Body,
    Composed,
    Graph,
    Sequential,
    Step,
)
from wfnb.model.node import Node
from wfnb.model.policy import Policy


class Lowering:
    """Lowers one graph; a subclass lowers its constructs.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.items: dict[str, Item] = {}
        self.blocks: list[Draft] = []
        self.problems: list[Problem] = []
        self.graphs: dict[str, Graph] = {graph.name: graph}
        self.callable: dict[str, list[tuple[Policy | None, Draft]]] = {}
        self._now: Step | None = None

    def block(self, stem: str, path: str, parent: Draft | None) -> Draft:
        """Begin a block."""
        block = Draft(stem, path, parent)
        self.blocks.append(block)
        return block

    def add(self, block: Draft, name: str, step: Step, after: tuple[Item, ...], **more: Any) -> Item:
        """Add a step to a block."""
        path = block.path + name
        while path in self.items:  # two wrappers of one step; in a run they are told apart by their names
            path += "'"
            name += "'"
        item = Item(step if step.id == path else replace(step, id=path), name, block, after, **more)
        self.items[path] = item
        block.items.append(item)
        return item

    def helper(self, node: Node, block: Draft, name: str, after: tuple[Item, ...], *args: Expr, **more: Any) -> Item:
        """Add a step that the author did not write."""
        now = self._now
        step = Step("", node, args=args, where=now.where if now else "", group=group(block.path + name))
        return self.add(block, name, step, after, helper=True, **more)

    def value(self, expr: Expr, block: Draft, name: str, after: tuple[Item, ...] = ()) -> Item:
        """Add a step that gives an expression's value."""
        return self.helper(decide.Value(), block, name, after, expr)

    def cell(self, expr: Expr, block: Draft, name: str, after: tuple[Item, ...] = ()) -> Item:
        """Return the step of the block whose one value the expression is; made when there is none."""
        if isinstance(expr, StepValue):
            item = self.items[expr.step]
            if item.block is block and not item.many:
                return item
        return self.value(expr, block, name, after)

    def construct(
        self, block: Draft, name: str, step: Step, after: tuple[Item, ...], rule: Callable[[], Rule], **more: Any
    ) -> Item:
        """Add a step that is a construct."""
        bare = Step("", Composed(), where=step.where, group=group(block.path + name), kind="task", title=step.title)
        return self.add(block, name, bare, after, rule=rule, **more)

    def resolve(self, expr: Expr, env: Env) -> Expr:
        """Return an expression with its names replaced by what they stand for; what means nothing is a problem."""

        def leaf(part: Expr) -> Expr:
            try:
                match part:
                    case StepValue(name):
                        return env.step(name)
                    case Input(name):
                        return env.inputs[name]
                    case Local(step, name):
                        return env.local(step, name)
                    case Var(name):
                        if name not in env.variables:
                            raise KeyError
                        return env.variables[name]
            except KeyError:
                self._unknown(part)
                return Const(None)
            return part

        return replaced(expr, leaf)

    def _unknown(self, part: Expr) -> None:
        now = self._now
        match part:
            case Var(name):
                text, cure = f"variable '{name}' is used before anything sets it", f"Put a 'set' of '{name}' before it"
            case StepValue(name):
                text = f"step '{name}' is not seen from here"
                cure = "Use the value of the construct it is inside of, or a variable"
            case _:
                name = getattr(part, "alias", "") or getattr(part, "name", "")
                text, cure = f"'{name}' means nothing here", "It is known only inside the construct that gives it"
        self.problems.append(Problem(text, now.id if now else "", now.where if now else "", cure))

    # -- steps ---------------------------------------------------------------------------------------------------

    def steps(self, steps: Iterable[Step], at: Spot) -> list[Item]:
        """Lower steps into a block; return those that the next step in order must wait for."""
        ends: list[Item] = []
        for step in steps:
            made = self.step(step, at)
            if at.order == "data":
                ends += made
            elif made:
                at, ends = replace(at, after=tuple(made)), made
        return ends

    def step(self, step: Step, at: Spot) -> list[Item]:
        """Lower one step; return what the next in order must wait for."""
        raise NotImplementedError

    def sequential(self, step: Step, this: Sequential, at: Spot) -> list[Item]:
        """Lower steps in order: they stand in the block around them."""
        env = at.env
        inner = Env(env, env.inputs, env.variables)  # the same variables: it is the same way
        inside = replace(at, env=inner, prefix=f"{at.prefix}{step.id}/", order="sequence")
        ends = self.steps(this.body.steps, inside)
        self._now = step
        name, last = f"{at.prefix}{step.id}", tuple(ends)
        env.steps[step.id] = self.when_over(self.resolve(this.body.output, inner), f"{name}/output", at, last)
        for variable in sorted(sets(this.body)):
            value = self.when_over(env.given(variable), f"{name}/var.{variable}", at, last)
            env.variables[variable] = value if env.surely(variable) else Apply("is_set", (value, Const(variable)))
        for name, value in inner.steps.items():
            env.steps.setdefault(name, value)
        for name, export in inner.exports.items():
            env.exports.setdefault(name, export)
        return ends

    def when_over(self, value: Expr, name: str, at: Spot, last: tuple[Item, ...]) -> Expr:
        """Return a value that steps have who stand in the block around them: as one that is there when they are over.

        In order `sequence` who uses it waits for them anyway.
        """
        if at.order == "sequence" or {item.step.id for item in last} <= set(steps_of(value)):
            return value
        return self.value(value, at.block, name, last).value

    def task(self, step: Step, at: Spot) -> list[Item]:
        """Lower a step that is one use of a node."""
        node, env, block, after = step.node, at.env, at.block, at.after
        name = at.prefix + step.id
        if isinstance(node, Get):
            item = self._get(step, name, at)
            env.steps[step.id] = item.value
            return [item]
        args = [self.resolve(expr, env) for expr in step.args]
        kwargs = {word: self.resolve(expr, env) for word, expr in step.kwargs}
        nth = 0
        for key in step.over:
            expr = args[key] if isinstance(key, int) else kwargs[key]
            if steps_of(expr) or any(isinstance(part, Local) for part in walk(expr)):
                if not self.iterable_as_it_is(expr):
                    expr = self.value(expr, block, f"{name}.over" if not nth else f"{name}.over_{nth}", after).value
                    nth += 1
                if isinstance(key, int):
                    args[key] = expr
                else:
                    kwargs[key] = expr
        # Not by `replace`, which takes three times as long: a workflow may have thousands.
        lowered = Step(
            block.path + name,
            inherit(node, at.policy),
            step.kind,
            tuple(args),
            tuple(kwargs.items()),
            step.over,
            step.where,
            group(block.path + name),
            None,
            None if step.when is None else self.resolve(step.when, env),
            step.continue_on_error,
            step.title,
        )
        item = self.add(block, name, lowered, after, ends=isinstance(node, Stop))
        env.steps[step.id] = item.value
        if isinstance(node, Set):
            env.variables[constant(kwargs.get("name", args[0] if args else Const("")))] = item.value
        return [item]

    def _get(self, step: Step, name: str, at: Spot) -> Item:
        env = at.env
        given = dict(step.kwargs)
        wanted = constant(given.get("name", step.args[0] if step.args else Const("")))
        default = given.get("default")
        if default is None:
            value = self.resolve(Var(wanted), env)
        else:
            value = Apply("set_or", (env.given(wanted), self.resolve(default, env)))
        when = None if step.when is None else self.resolve(step.when, env)
        inside = group(at.block.path + name)
        now = replace(step, node=decide.Value(), args=(value,), kwargs=(), when=when, group=inside)
        return self.add(at.block, name, now, at.after)

    def iterable_as_it_is(self, expr: Expr) -> bool:
        """Whether a fan-out may iterate over the expression's step without its value being a step of its own."""
        if not isinstance(expr, StepValue):
            return False
        item = self.items[expr.step]
        return item.many or item.rule is None

    # -- what dissolves ------------------------------------------------------------------------------------------

    def limit(self, block: Draft, name: str, message: str) -> Draft:
        """A block of one step, which fails because there is too much of something."""
        limit = self.block(f"{name}.", f"{block.path}{name}.", block)
        limit.outputs.append(self.helper(decide.Limit(message=message), limit, "limit", ()))
        return limit

    # -- bodies --------------------------------------------------------------------------------------------------

    def body(self, body: Body, env: Env, stem: str, at: Spot, *, output: str = "output") -> tuple[Draft, Env]:
        """Lower a body into a block of its own, whose first output is the body's value."""
        made = self.block(stem, at.block.path + stem, at.block)
        ends = self.steps(body.steps, Spot(env, made, "", at.order, (), at.policy))
        after = tuple(ends) if at.order == "sequence" else ()
        made.outputs.append(self.cell(self.resolve(body.output, env), made, output, after))
        return made, env

    def hand_on(self, construct: Item, blocks: list[tuple[Draft, Env]], env: Env, names: Iterable[str]) -> None:
        """Let the variables that bodies set be seen after the construct: those of the block that ran."""
        for name in sorted(names):
            place = 0
            for made, inner in blocks:
                place = len(made.outputs)
                made.outputs.append(self.cell(inner.given(name), made, f"var.{name}"))
            port = self.port(construct, -1, place, f"{construct.name}.{name}")
            env.variables[name] = self.set_or_fail(name, port, env, [inner for _, inner in blocks])

    def set_or_fail(self, name: str, port: Item, env: Env, inners: list[Env]) -> Expr:
        """Return what a variable is after a construct: an error when it is used, where it may not be set."""
        sure = env.surely(name) or (bool(inners) and all(inner.surely(name) for inner in inners))
        if sure:
            return port.value
        return Apply("is_set", (port.value, Const(name)))

    def port(self, construct: Item, at: int, place: int, name: str, *, gathers: bool = False) -> Item:
        """Add a step that shows another output of a construct than its value."""
        block = construct.block

        def rule() -> Rule:
            return Rule("port", port=(construct.number, at, place))

        step = Step("", Composed(), group=group(block.path + name))
        return self.add(block, name, step, (construct,), rule=rule, helper=True, gathers=gathers)

    # -- bodies that are arrays ----------------------------------------------------------------------------------------

    def source_of(self, over: Expr, block: Draft, name: str, after: tuple[Item, ...]) -> Item:
        """Return the step whose elements or list an `each` goes through."""
        if isinstance(over, StepValue) and self.iterable_as_it_is(over):
            return self.items[over.step]
        return self.value(over, block, name, after)

    def flat_body(self, step: Step, body: Body, item: Expr, at: Spot) -> list[Item]:
        """Lower a body of plain steps as fan-outs side by side: arrays instead of a block an item.

        Args:
            step: the construct.
            body: its body.
            item: what stands for the item.
            at: where the construct is lowered.

        Returns:
            those that are over when all are.
        """
        inner = at.env.inner()
        inner.locals[step.id, "item"] = item
        inner.locals[step.id, "index"] = Position()
        prefix = f"{at.prefix}{step.id}[]/"
        made: list[Item] = []
        for one in body.steps:
            self._now = one
            # In order, or for want of any other use of the list, the item itself says how many there are.
            hidden = [item, *(Element(other.value) for other in made[-1:] if at.order == "sequence")]
            made.append(self._flat_step(one, hidden, replace(at, env=inner, prefix=prefix)))
            inner.steps[one.id] = Element(made[-1].value)
        output = self.resolve(body.output, inner)
        left = strays(body) if at.order == "data" else set()
        if isinstance(output, Element) and isinstance(output.source, StepValue) and not left:
            at.env.steps[step.id] = output.source
            return made[-1:] if at.order == "sequence" else [self.items[output.source.step]]
        self._now = step
        name = f"{prefix}output"
        waits = (("", item), *(("", inner.steps[one]) for one in sorted(left)))
        last = Step("", decide.Value(), "each", (output,), waits, group=group(at.block.path + name))
        made.append(self.add(at.block, name, last, at.after, helper=True))
        at.env.steps[step.id] = made[-1].value
        return made[-2:]

    def _flat_step(self, one: Step, hidden: list[Expr], at: Spot) -> Item:
        name = at.prefix + one.id
        lowered = replace(
            one,
            node=inherit(one.node, at.policy),
            kind="each",
            args=tuple(self.resolve(expr, at.env) for expr in one.args),
            # Arguments without a name are not passed: they say what must be there first, and how many there are.
            kwargs=(*((key, self.resolve(expr, at.env)) for key, expr in one.kwargs), *(("", expr) for expr in hidden)),
            when=None if one.when is None else self.resolve(one.when, at.env),
            group=group(at.block.path + name),
        )
        return self.add(at.block, name, lowered, at.after)
