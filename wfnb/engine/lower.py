"""From a graph to its lowered form: what a worker runs and what the engine goes by, with nothing left to interpret.

Names become references to lowered steps, variables become values, conditions and choices become steps, and each body of
a construct becomes a *block*: steps that are begun together, any number of times. Sub-workflows, sequential steps and
an `each` of plain steps dissolve into the block around them. Imports model only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wfnb.engine import decide
from wfnb.model.builtin import Get, Set, Stop
from wfnb.model.errors import DefinitionError, Problem
from wfnb.model.expr import (
    UNSET,
    Apply,
    Const,
    Container,
    Element,
    Expr,
    Input,
    Lazy,
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
    Case,
    Catch,
    Composed,
    Dynamic,
    Each,
    Graph,
    InputSpec,
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

DEEPEST = 50
"""How deep a workflow may call itself."""

_INHERITED = ("retries", "backoff", "retry_on", "timeout", "cache", "checkpoint", "priority", "resources", "validate")


# -- the lowered form ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """How a step that is a construct is rewritten; the numbers are those of steps and blocks.

    Args:
        kind: "parallel", "each", "loop", "switch", "try", "stream", "dynamic", "call" or "port".
        blocks: its bodies; what each is for depends on the kind.
        source: the step whose value, elements or decision it goes by, or -1.
        limit: the block that fails because there are too many, or -1.
        most: how many there may be, or None.
        concurrency: how many may be begun and not over, or None.
        first: whether the first that is over ends it.
        in_order: whether each waits for the one before.
        carried: for a loop, the steps that give what the first iteration is given: the value, then variables.
        names: what the carried and called-with values are called: "item", then variables; a call's inputs.
        on: for a try, the names of the error types each catch is for.
        finally_: for a try, the block that is always run, or -1.
        parts: the block for `while` and the block for `until`, or -1 each.
        window: for a stream, how many items may be taken and not over.
        port: for a port, which construct's output it shows, which of its blocks', and which of the block's outputs.
    """

    kind: str
    blocks: tuple[int, ...] = ()
    source: int = -1
    limit: int = -1
    most: int | None = None
    concurrency: int | None = None
    first: bool = False
    in_order: bool = False
    carried: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    on: tuple[tuple[str, ...], ...] = ()
    finally_: int = -1
    parts: tuple[int, int] = (-1, -1)
    window: int = 0
    batch: int = 1
    port: tuple[int, int, int] = (-1, -1, -1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lowered step is, beside what it is.

    Args:
        name: what it adds to the address of its block.
        block: the number of its block.
        after: the numbers of steps that must be over before it begins.
        rule: how it is rewritten, when it is a construct.
        helper: whether it is there for the engine, not written by the author.
        decides: whether what its value decides is recorded as a number.
        ends: whether the run ends when it is over.
        gathers: whether it has elements, as a fan-out has, without being one.
    """

    name: str
    block: int = 0
    after: tuple[int, ...] = ()
    rule: Rule | None = None
    helper: bool = False
    decides: bool = False
    ends: bool = False
    gathers: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Steps that are begun together.

    Args:
        stem: what it adds to the address of the block around it; ``*`` and ``[]`` stand for a number.
        steps: the numbers of its steps, each after every step it uses.
        outputs: the steps that give its value, then its variables.
        parent: the number of the block around it, or -1.
        construct: the number of the construct it is a body of, or -1.
    """

    stem: str
    steps: tuple[int, ...]
    outputs: tuple[int, ...]
    parent: int = -1
    construct: int = -1


@dataclass(frozen=True, slots=True)
class Lowered:
    """A workflow ready to be planned and run.

    Args:
        name: the workflow's name.
        version: its version.
        inputs: its inputs, in order.
        steps: its steps; those of the outermost block first. Ids are paths: ``refine.*/fit``.
        places: where each step is.
        blocks: the blocks, the outermost first.
        output: the run's value.
        tags: free labels.
        concurrency: how many tasks may run at once, by tag; "" for all.
    """

    name: str
    version: str
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    places: tuple[Place, ...]
    blocks: tuple[Block, ...]
    output: Expr
    tags: tuple[str, ...] = ()
    concurrency: tuple[tuple[str, int], ...] = ()

    def hidden_uses(self) -> dict[str, list[str]]:
        """Return, by step, the steps it needs other than by name; and by ``path:name`` what a construct's names need."""
        found: dict[str, list[str]] = {}
        for step, place in zip(self.steps, self.places, strict=True):
            rule = place.rule
            if rule is None:
                continue
            numbers = [*rule.carried] if rule.kind != "source" else []
            numbers += [one for one in (rule.source, rule.port[0]) if one >= 0]
            bodies = [self.blocks[one] for one in (*rule.blocks, *rule.parts, rule.finally_) if one >= 0]
            outputs = [one for block in bodies for one in block.outputs]
            found[step.id] = [self.steps[one].id for one in (*numbers, *outputs)]
            path = step.id.removesuffix(".safe").removesuffix(".if")
            inside = [one for block in bodies for one in block.steps] if rule.kind == "try" else []
            needs = {
                "each": numbers,
                "loop": [*numbers, *outputs],
                "try": inside,
            }.get(rule.kind, [])
            for name in ("item", "index", "error", *rule.names):
                found[f"{path}:{name}"] = [self.steps[one].id for one in needs]
        return found


# -- while it is made ----------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Item:
    """A step in the making."""

    step: Step
    name: str
    block: _Block
    after: tuple[_Item, ...] = ()
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
        return StepValue(self.step.id)


@dataclass(slots=True, eq=False)
class _Block:
    """A block in the making."""

    stem: str
    path: str
    parent: _Block | None
    construct: _Item | None = None
    items: list[_Item] = field(default_factory=list)
    outputs: list[_Item] = field(default_factory=list)
    number: int = -1


class _Env:
    """What names mean in a body."""

    def __init__(self, parent: _Env | None, inputs: Mapping[str, Expr], variables: dict[str, Expr]) -> None:
        self.parent = parent
        self.inputs = inputs
        self.steps: dict[str, Expr] = {}
        self.locals: dict[tuple[str, str], Expr] = {}
        self.exports: dict[str, Callable[[], Expr]] = {}
        self.variables = variables

    def inner(self) -> _Env:
        """Return what names mean in a body inside of this one."""
        return _Env(self, self.inputs, dict(self.variables))

    def step(self, name: str) -> Expr:
        env: _Env | None = self
        while env is not None:
            if name in env.steps:
                return env.steps[name]
            if name in env.exports:
                env.steps[name] = env.exports[name]()
                return env.steps[name]
            env = env.parent
        raise KeyError(name)

    def local(self, step: str, name: str) -> Expr:
        env: _Env | None = self
        while env is not None:
            if (step, name) in env.locals:
                return env.locals[step, name]
            env = env.parent
        raise KeyError(name)


def lower(graph: Graph, *, closed: bool = False) -> Lowered:
    """Return the lowered form of a graph.

    Args:
        graph: the graph.
        closed: whether its inputs are to be their defaults, and its value is needed as that of one step.

    Raises:
        DefinitionError: a name in it means nothing, or a variable is used that nothing has set.
    """
    return _Lowering(graph).done(closed=closed)


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.items: dict[str, _Item] = {}
        self.blocks: list[_Block] = []
        self.problems: list[Problem] = []
        self.graphs: dict[str, Graph] = {graph.name: graph}
        self.callable: dict[str, _Block] = {}
        self._now: Step | None = None

    def done(self, *, closed: bool) -> Lowered:
        graph = self.graph
        root = self._block("", "", None)
        inputs: dict[str, Expr] = {
            spec.name: Const(spec.default) if closed else Input(spec.name) for spec in graph.inputs
        }
        env = _Env(None, inputs, {})
        self._steps(graph.steps, env, root, "", graph.order, (), None)
        output = self._resolve(graph.output, env)
        if closed:
            root.outputs.append(self._cell(output, root, "output", tuple(root.items)))
            output = root.outputs[0].value
        elif not _is_plain(output):
            output = self._value(output, root, "output", tuple(root.items) if graph.order == "sequence" else ()).value
        if self.problems:
            raise DefinitionError(graph.name, tuple(self.problems))
        ordered = [item for block in self.blocks for item in block.items]
        for number, item in enumerate(ordered):
            item.number = number
        for number, block in enumerate(self.blocks):
            block.number = number
        return Lowered(
            graph.name,
            graph.version,
            () if closed else graph.inputs,
            tuple([item.step for item in ordered]),
            tuple([_place(item) for item in ordered]),
            tuple([_finished(block) for block in self.blocks]),
            output,
            graph.tags,
            graph.concurrency,
        )

    # -- parts ---------------------------------------------------------------------------------------------------

    def _block(self, stem: str, path: str, parent: _Block | None) -> _Block:
        block = _Block(stem, path, parent)
        self.blocks.append(block)
        return block

    def _add(self, block: _Block, name: str, step: Step, after: tuple[_Item, ...], **more: Any) -> _Item:
        path = block.path + name
        while path in self.items:  # two wrappers of one step
            path += "'"
        item = _Item(replace(step, id=path), name, block, after, **more)
        self.items[path] = item
        block.items.append(item)
        return item

    def _helper(
        self, node: Node, block: _Block, name: str, after: tuple[_Item, ...], *args: Expr, **more: Any
    ) -> _Item:
        now = self._now
        step = Step("", node, args=args, where=now.where if now else "", group=_group(block.path + name))
        return self._add(block, name, step, after, helper=True, **more)

    def _value(self, expr: Expr, block: _Block, name: str, after: tuple[_Item, ...] = ()) -> _Item:
        return self._helper(decide.Value(), block, name, after, expr)

    def _cell(self, expr: Expr, block: _Block, name: str, after: tuple[_Item, ...] = ()) -> _Item:
        """Return the step of the block whose one value the expression is; made when there is none."""
        if isinstance(expr, StepValue):
            item = self.items[expr.step]
            if item.block is block and not item.many:
                return item
        return self._value(expr, block, name, after)

    def _construct(
        self, block: _Block, name: str, step: Step, after: tuple[_Item, ...], rule: Callable[[], Rule], **more: Any
    ) -> _Item:
        bare = Step("", Composed(), where=step.where, group=_group(block.path + name), kind="task", title=step.title)
        return self._add(block, name, bare, after, rule=rule, **more)

    def _resolve(self, expr: Expr, env: _Env) -> Expr:
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

    def _steps(
        self,
        steps: Iterable[Step],
        env: _Env,
        block: _Block,
        prefix: str,
        order: Order,
        after: tuple[_Item, ...],
        policy: Policy | None,
    ) -> list[_Item]:
        """Lower steps into a block; return those that the next step in order must wait for."""
        ends: list[_Item] = []
        previous = after
        for step in steps:
            made = self._step(step, env, block, prefix, order, previous, policy)
            if order == "sequence":
                if made:
                    previous, ends = tuple(made), made
            else:
                ends += made
        return ends

    def _step(
        self,
        step: Step,
        env: _Env,
        block: _Block,
        prefix: str,
        order: Order,
        after: tuple[_Item, ...],
        policy: Policy | None,
    ) -> list[_Item]:
        self._now = step
        plain = step.construct is None and step.kind == "task" and not isinstance(step.node, Set)
        if step.when is not None and not plain:
            inner = replace(step, when=None)
            case = Case(step.when, Body((inner,), StepValue(step.id)), condition=True)
            return self._switch(
                step, Switch((case,), None, Body()), env, block, prefix, order, after, policy, bare=True
            )
        if step.continue_on_error and step.construct is not None:
            inner = replace(step, continue_on_error=False)
            whole = Try(Body((inner,), StepValue(step.id)), (Catch(Body()),))
            return self._try(step, whole, env, block, prefix, order, after, policy, bare=True)
        name = prefix + step.id
        if step.construct is None:
            return self._task(step, env, block, name, after, policy)
        policy = _merged(step.node.policy, policy) if not isinstance(step.construct, Dynamic) else policy
        lowering: Any = {
            Sequential: self._sequential,
            SubWorkflow: self._workflow,
            Parallel: self._parallel,
            Each: self._each,
            Loop: self._loop,
            Switch: self._switch,
            Try: self._try,
            Stream: self._stream,
            Dynamic: self._dynamic,
        }[type(step.construct)]
        made: list[_Item] = lowering(step, step.construct, env, block, prefix, order, after, policy)
        return made

    def _task(
        self, step: Step, env: _Env, block: _Block, name: str, after: tuple[_Item, ...], policy: Policy | None
    ) -> list[_Item]:
        node = step.node
        if isinstance(node, Get):
            item = self._get(step, env, block, name, after)
            env.steps[step.id] = item.value
            return [item]
        args = [self._resolve(expr, env) for expr in step.args]
        kwargs = {key: self._resolve(expr, env) for key, expr in step.kwargs}
        nth = 0
        for at in step.over:
            expr = args[at] if isinstance(at, int) else kwargs[at]
            if steps_of(expr) or any(isinstance(part, Local) for part in walk(expr)):
                if not self._iterable_as_it_is(expr):
                    expr = self._value(expr, block, f"{name}.over" if not nth else f"{name}.over_{nth}", after).value
                    nth += 1
                if isinstance(at, int):
                    args[at] = expr
                else:
                    kwargs[at] = expr
        lowered = replace(
            step,
            node=_inherit(node, policy),
            args=tuple(args),
            kwargs=tuple(kwargs.items()),
            when=None if step.when is None else self._resolve(step.when, env),
            group=_group(block.path + name),
        )
        item = self._add(block, name, lowered, after, ends=isinstance(node, Stop))
        env.steps[step.id] = item.value
        if isinstance(node, Set):
            env.variables[_constant(kwargs.get("name", args[0] if args else Const("")))] = item.value
        return [item]

    def _get(self, step: Step, env: _Env, block: _Block, name: str, after: tuple[_Item, ...]) -> _Item:
        given = dict(step.kwargs)
        wanted = _constant(given.get("name", step.args[0] if step.args else Const("")))
        default = given.get("default")
        if wanted not in env.variables and default is not None:
            value = self._resolve(default, env)
        else:
            value = self._resolve(Var(wanted), env)
        now = replace(step, node=decide.Value(), args=(value,), kwargs=(), when=None, group=_group(block.path + name))
        return self._add(block, name, now, after)

    def _iterable_as_it_is(self, expr: Expr) -> bool:
        """Whether a fan-out may iterate over the expression's step without its value being a step of its own."""
        if not isinstance(expr, StepValue):
            return False
        item = self.items[expr.step]
        return item.many or item.rule is None

    # -- what dissolves ------------------------------------------------------------------------------------------

    def _sequential(
        self, step: Step, this: Sequential, env: _Env, block: _Block, prefix: str, _o: Order, after: Any, policy: Any
    ) -> list[_Item]:
        inner = _Env(env, env.inputs, env.variables)  # the same variables: it is the same way
        ends = self._steps(this.body.steps, inner, block, f"{prefix}{step.id}/", "sequence", after, policy)
        env.steps[step.id] = self._resolve(this.body.output, inner)
        for name, value in inner.steps.items():
            env.steps.setdefault(name, value)
        for name, export in inner.exports.items():
            env.exports.setdefault(name, export)
        return ends

    def _workflow(
        self, step: Step, this: SubWorkflow, env: _Env, block: _Block, prefix: str, _o: Order, after: Any, policy: Any
    ) -> list[_Item]:
        given = {name: self._resolve(expr, env) for name, expr in this.inputs}
        if this.graph is None or this.name in self.callable or _calls_itself(this.graph):
            return self._call(step, this, given, env, block, prefix, after)
        graph = this.graph
        name = prefix + step.id
        inputs: dict[str, Expr] = {}
        for spec in graph.inputs:
            inputs[spec.name] = given.get(spec.name, Const(spec.default))
        inner = _Env(None, inputs, {})
        ends = self._steps(graph.steps, inner, block, f"{name}/", graph.order, after, policy)
        env.steps[step.id] = self._resolve(graph.output, inner)
        return ends

    def _call(
        self, step: Step, this: SubWorkflow, given: dict[str, Expr], env: _Env, block: _Block, prefix: str, after: Any
    ) -> list[_Item]:
        """A call of a workflow that calls itself: begun when it is reached, call by call."""
        name = prefix + step.id
        graph = this.graph or self.graphs.get(this.name)
        if graph is None:
            self.problems.append(Problem(f"workflow '{this.name}' is not known", step.id, step.where, "Load it first"))
            return []
        self.graphs.setdefault(this.name, graph)
        names = tuple(spec.name for spec in graph.inputs)
        cells = [
            self._cell(given.get(spec.name, Const(spec.default)), block, f"{name}.{spec.name}", after)
            for spec in graph.inputs
        ]
        body = self.callable.get(this.name)
        if body is None:
            body = self.callable[this.name] = self._block(f"{this.name}()", f"{this.name}()/", None)
            inner = _Env(None, {one: Local(f"{this.name}()", one) for one in names}, {})
            self._steps(graph.steps, inner, body, "", graph.order, (), None)
            self._now = step
            body.outputs.append(self._cell(self._resolve(graph.output, inner), body, "output", tuple(body.items)))
        text = f"workflow '{this.name}' calls itself more than {DEEPEST} deep"
        limit = self._limit(block, name, text)
        made = body

        def rule() -> Rule:
            return Rule(
                "call",
                (made.number,),
                limit=limit.number,
                most=DEEPEST,
                carried=tuple(cell.number for cell in cells),
                names=names,
            )

        item = self._construct(block, name, step, after, rule)
        limit.construct = item
        env.steps[step.id] = item.value
        return [item]

    def _limit(self, block: _Block, name: str, message: str) -> _Block:
        """A block of one step, which fails because there is too much of something."""
        limit = self._block(f"{name}.", f"{block.path}{name}.", block)
        limit.outputs.append(self._helper(decide.Limit(message=message), limit, "limit", ()))
        return limit

    # -- bodies --------------------------------------------------------------------------------------------------

    def _body(
        self,
        body: Body,
        env: _Env,
        block: _Block,
        stem: str,
        order: Order,
        policy: Policy | None,
        *,
        inside: str = "",
        output: str = "output",
    ) -> tuple[_Block, _Env]:
        """Lower a body into a block of its own, whose first output is the body's value."""
        made = self._block(stem, block.path + stem, block)
        ends = self._steps(body.steps, env, made, inside, order, (), policy)
        value = self._resolve(body.output, env)
        made.outputs.append(self._cell(value, made, inside + output, tuple(ends) if order == "sequence" else ()))
        return made, env

    def _hand_on(
        self, construct: _Item, blocks: list[tuple[_Block, _Env]], env: _Env, names: Iterable[str], at: int = -1
    ) -> None:
        """Let the variables that bodies set be seen after the construct: those of the block that ran."""
        for name in sorted(names):
            before = env.variables.get(name, Const(UNSET))
            place = 0
            for made, inner in blocks:
                place = len(made.outputs)
                made.outputs.append(self._cell(inner.variables.get(name, before), made, f"var.{name}"))
            port = self._port(construct, at, place, f"{construct.name}.{name}")
            env.variables[name] = self._set_or_fail(name, port, env, [inner for _, inner in blocks])

    def _set_or_fail(self, name: str, port: _Item, env: _Env, inners: list[_Env]) -> Expr:
        sure = name in env.variables or all(name in inner.variables for inner in inners)
        if sure:
            return port.value
        return Apply("is_set", (port.value, Const(name)))

    def _port(self, construct: _Item, at: int, place: int, name: str, *, gathers: bool = False) -> _Item:
        block = construct.block

        def rule() -> Rule:
            return Rule("port", port=(construct.number, at, place))

        step = Step("", Composed(), group=_group(block.path + name))
        return self._add(block, name, step, (construct,), rule=rule, helper=True, gathers=gathers)

    # -- parallel ------------------------------------------------------------------------------------------------

    def _parallel(
        self, step: Step, this: Parallel, env: _Env, block: _Block, prefix: str, order: Order, after: Any, policy: Any
    ) -> list[_Item]:
        name = prefix + step.id
        made = [
            self._body(b, env.inner(), block, f"{name}/", order, policy, output=f"output_{n}")
            for n, b in enumerate(this.branches)
        ]
        self._now = step

        def rule() -> Rule:
            return Rule(
                "parallel", tuple(one.number for one, _ in made), concurrency=this.max_concurrency, first=this.first
            )

        item = self._construct(block, name, step, after, rule, gathers=not this.first)
        for one, _ in made:
            one.construct = item
        env.steps[step.id] = item.value
        ends = [item]
        if this.first:
            names = {n for branch in this.branches for n in _sets(branch)}
            self._hand_on(item, made, env, names)
            return ends
        for n, (one, inner) in enumerate(made):
            self._export(item, n, one, inner, env)
        before = dict(env.variables)
        for variable in sorted({n for branch in this.branches for n in _sets(branch)}):
            setting = [n for n, branch in enumerate(this.branches) if variable in _sets(branch)]
            ports: list[Expr] = []
            for n in setting:
                one, inner = made[n]
                one.outputs.append(self._cell(inner.variables[variable], one, f"var.{variable}"))
                ports.append(self._port(item, n, len(one.outputs) - 1, f"{name}.{variable}_{n}").value)
            if len(ports) == 1:
                env.variables[variable] = ports[0]
                continue
            called = tuple(_called(this.branches[n], n) for n in setting)
            joined = self._helper(
                decide.Join(name=variable, branches=called),
                block,
                f"{name}.{variable}",
                (),
                Container("list", tuple(ports)),
                before.get(variable, Const(UNSET)),
            )
            env.variables[variable] = joined.value
            ends.append(joined)
        return ends

    def _export(self, construct: _Item, at: int, made: _Block, inner: _Env, env: _Env) -> None:
        """Let the steps of a branch be seen after the parallel as if they stood there."""
        for name in (*inner.steps, *inner.exports):

            def export(name: str = name) -> Expr:
                value = inner.step(name)
                cell = self._cell(value, made, f"{name}.all")
                made.outputs.append(cell)
                return self._port(construct, at, len(made.outputs) - 1, f"{construct.name}.{name}").value

            env.exports.setdefault(name, export)

    # -- each ----------------------------------------------------------------------------------------------------

    def _each(
        self, step: Step, this: Each, env: _Env, block: _Block, prefix: str, order: Order, after: Any, policy: Any
    ) -> list[_Item]:
        name = prefix + step.id
        over = self._resolve(this.over, env)
        single = len(this.body.steps) == 1
        if (
            this.parallel
            and this.max_iterations is None
            and (this.max_concurrency is None or (single and this.max_concurrency < 1))
            and _flat(this.body)
        ):
            if (steps_of(over) or _locals_in(over)) and not self._iterable_as_it_is(over):
                over = self._value(over, block, f"{name}.over", after).value
            return self._flat_body(step, this.body, Element(over), env, block, name, order, after, policy)
        source = self._list(over, block, f"{name}.over", after)
        inner = env.inner()
        inner.locals[step.id, "item"] = Local(block.path + name, "item")
        inner.locals[step.id, "index"] = Local(block.path + name, "index")
        names = sorted(_sets(this.body))
        limit: _Block | None = None
        if this.max_iterations is not None:
            limit = self._limit(block, name, f"'{name}' has more items than its max_iterations ({this.max_iterations})")
        carried: list[_Item] = []
        if not this.parallel:
            carried = self._carry(block, name, names, env, inner, after)
        made, _ = self._body(this.body, inner, block, f"{name}[]/", order, policy)
        self._now = step
        for variable in names:
            made.outputs.append(self._cell(inner.variables[variable], made, f"var.{variable}"))

        def rule() -> Rule:
            return Rule(
                "each",
                (made.number,),
                source=source.number,
                limit=limit.number if limit else -1,
                most=this.max_iterations,
                concurrency=this.max_concurrency if this.parallel else 1,
                in_order=not this.parallel,
                carried=tuple(one.number for one in carried),
                names=tuple(f"var {one}" for one in names) if carried else (),
            )

        item = self._construct(block, name, step, after, rule, gathers=True)
        made.construct = item
        if limit:
            limit.construct = item
        env.steps[step.id] = item.value
        ends = [item]
        before = dict(env.variables)
        for place, variable in enumerate(names, 1):
            if not this.parallel:
                port = self._port(item, -1, place, f"{name}.{variable}")
                env.variables[variable] = self._set_or_fail(variable, port, env, [])
                continue
            port = self._port(item, -2, place, f"{name}.{variable}_each", gathers=True)
            joined = self._helper(
                decide.Join(name=variable),
                block,
                f"{name}.{variable}",
                (),
                port.value,
                before.get(variable, Const(UNSET)),
            )
            env.variables[variable] = joined.value
            ends.append(joined)
        return ends

    def _list(self, over: Expr, block: _Block, name: str, after: tuple[_Item, ...]) -> _Item:
        """Return the step whose elements or list an `each` goes through."""
        if isinstance(over, StepValue) and self._iterable_as_it_is(over):
            return self.items[over.step]
        return self._value(over, block, name, after)

    def _flat_body(
        self,
        step: Step,
        body: Body,
        item: Expr,
        env: _Env,
        block: _Block,
        name: str,
        order: Order,
        after: tuple[_Item, ...],
        policy: Policy | None,
    ) -> list[_Item]:
        """Lower a body of plain steps as fan-outs side by side: arrays instead of a block an item."""
        inner = env.inner()
        inner.locals[step.id, "item"] = item
        inner.locals[step.id, "index"] = Position()
        made: list[_Item] = []
        for one in body.steps:
            self._now = one
            # In order, or for want of any other use of the list, the item itself says how many there are.
            before: list[_Item] = made[-1:] if order == "sequence" and made else []
            made.append(self._flat_step(one, inner, block, f"{name}[]/{one.id}", item, before, after, policy))
            inner.steps[one.id] = Element(made[-1].value)
        output = self._resolve(body.output, inner)
        if isinstance(output, Element) and isinstance(output.source, StepValue):
            env.steps[step.id] = output.source
            return made
        self._now = step
        last = Step("", decide.Value(), "each", (output,), (("", item),), group=_group(block.path + f"{name}[]/output"))
        made.append(self._add(block, f"{name}[]/output", last, after, helper=True))
        env.steps[step.id] = made[-1].value
        return made

    def _flat_step(
        self,
        one: Step,
        inner: _Env,
        block: _Block,
        name: str,
        item: Expr,
        before: list[_Item],
        after: tuple[_Item, ...],
        policy: Policy | None,
    ) -> _Item:
        hidden = [item, *(Element(other.value) for other in before)]
        lowered = replace(
            one,
            node=_inherit(one.node, policy),
            kind="each",
            args=tuple(self._resolve(expr, inner) for expr in one.args),
            # Arguments without a name are not passed: they say what must be there first, and how many there are.
            kwargs=(*((key, self._resolve(expr, inner)) for key, expr in one.kwargs), *(("", expr) for expr in hidden)),
            when=None if one.when is None else self._resolve(one.when, inner),
            group=_group(block.path + name),
        )
        return self._add(block, name, lowered, after)

    # -- loop ----------------------------------------------------------------------------------------------------

    def _carry(
        self, block: _Block, name: str, names: list[str], env: _Env, inner: _Env, after: tuple[_Item, ...]
    ) -> list[_Item]:
        """Let the variables that a repeated body sets come from the iteration before; return their first values."""
        carried = []
        for variable in names:
            before = env.variables.get(variable, Const(UNSET))
            carried.append(self._cell(before, block, f"{name}.{variable}_before", after))
            value: Expr = Local(block.path + name, f"var {variable}")
            known = variable in env.variables
            inner.variables[variable] = value if known else Apply("is_set", (value, Const(variable)))
        return carried

    def _loop(
        self, step: Step, this: Loop, env: _Env, block: _Block, prefix: str, order: Order, after: Any, policy: Any
    ) -> list[_Item]:
        name = prefix + step.id
        path = block.path + name
        init = self._cell(self._resolve(this.init, env), block, f"{name}.init", after)
        inner = env.inner()
        inner.locals[step.id, "item"] = Local(path, "item")
        inner.locals[step.id, "index"] = Local(path, "index")
        names = sorted(_sets(this.body))
        carried = [init, *self._carry(block, name, names, env, inner, after)]
        times = None
        if this.times is not None:
            value = self._resolve(this.times, env)
            times = self._helper(decide.Times(), block, f"{name}.times", after, value, decides=True)
        entered = dict(inner.variables)
        made, _ = self._body(this.body, inner, block, f"{name}.*/", order, policy)
        for variable in names:
            made.outputs.append(self._cell(inner.variables[variable], made, f"var.{variable}"))
        parts: list[_Block | None] = []
        for word, condition in (("while", this.while_), ("until", this.until)):
            if condition is None:
                parts.append(None)
                continue
            scope = env.inner()
            scope.locals.update(inner.locals)
            scope.variables.update({one: value for one, value in entered.items() if one in names})
            part = self._block(f"{name}.*.", f"{path}.*.", block)
            self._steps(condition.steps, scope, part, f"{word}/", order, (), policy)
            self._now = step
            value = self._resolve(condition.output, scope)
            part.outputs.append(self._helper(decide.Condition(), part, word, tuple(part.items), value, decides=True))
            parts.append(part)
        self._now = step
        limit = self._limit(
            block, name, f"loop '{name}' has made its max_iterations ({this.max_iterations}) and is not through"
        )

        def rule() -> Rule:
            return Rule(
                "loop",
                (made.number,),
                source=times.number if times else -1,
                limit=limit.number,
                most=None if times else this.max_iterations,
                carried=tuple(one.number for one in carried),
                names=("item", *(f"var {one}" for one in names)),
                parts=(parts[0].number if parts[0] else -1, parts[1].number if parts[1] else -1),
            )

        item = self._construct(block, name, step, after, rule)
        for one in (made, limit, *parts):
            if one is not None:
                one.construct = item
        env.steps[step.id] = item.value
        for place, variable in enumerate(names, 1):
            port = self._port(item, -1, place, f"{name}.{variable}")
            env.variables[variable] = self._set_or_fail(variable, port, env, [])
        return [item]

    # -- switch and try ------------------------------------------------------------------------------------------

    def _switch(
        self,
        step: Step,
        this: Switch,
        env: _Env,
        block: _Block,
        prefix: str,
        order: Order,
        after: tuple[_Item, ...],
        policy: Policy | None,
        *,
        bare: bool = False,
    ) -> list[_Item]:
        """Lower a switch; a bare one is a condition on a step, and adds nothing to its address."""
        name = prefix + step.id
        cases = [Lazy(self._resolve(case.when, env)) for case in this.cases]
        value = Const(None) if this.value is None else Lazy(self._resolve(this.value, env))
        node = decide.Choice(
            switch=name, conditions=tuple(case.condition for case in this.cases), default=this.default is not None
        )
        choice = self._helper(
            node, block, f"{name}.when" if bare else f"{name}.choice", after, value, *cases, decides=True
        )
        bodies = [*(case.body for case in this.cases), *([this.default] if this.default is not None else [])]
        made: list[tuple[_Block, _Env]] = []
        for n, body in enumerate(bodies):
            word = "default" if n == len(this.cases) else "case" if n == 0 else f"case_{n}"
            stem = prefix if bare else f"{name}.{word}/"
            made.append(
                self._body(
                    body, env.inner(), block, stem, order, policy, output=f"{step.id}.none" if bare else "output"
                )
            )
            self._now = step

        def rule() -> Rule:
            return Rule("switch", tuple(one.number for one, _ in made), source=choice.number)

        item = self._construct(block, f"{name}.if" if bare else name, step, after, rule)
        for one, _ in made:
            one.construct = item
        env.steps[step.id] = item.value
        self._hand_on(item, made, env, {name for body in bodies for name in _sets(body)})
        return [item]

    def _try(
        self,
        step: Step,
        this: Try,
        env: _Env,
        block: _Block,
        prefix: str,
        order: Order,
        after: tuple[_Item, ...],
        policy: Policy | None,
        *,
        bare: bool = False,
    ) -> list[_Item]:
        name = prefix + step.id
        stem = prefix if bare else f"{name}.try/"
        output = f"{step.id}.value" if bare else "output"
        made = [self._body(this.body, env.inner(), block, stem, order, policy, output=output)]
        for n, catch in enumerate(this.catches):
            inner = env.inner()
            inner.locals[step.id, "error"] = Local(f"{block.path}{name}", "error")
            word = "catch" if n == 0 else f"catch_{n}"
            stem = f"{name}.{'none' if bare else word}/"
            made.append(self._body(catch.body, inner, block, stem, order, policy))
        last: tuple[_Block, _Env] | None = None
        if this.finally_ is not None:
            last = self._body(this.finally_, env.inner(), block, f"{name}.finally/", order, policy)
        self._now = step

        def rule() -> Rule:
            return Rule(
                "try",
                tuple(one.number for one, _ in made),
                on=tuple(catch.on for catch in this.catches),
                finally_=last[0].number if last else -1,
            )

        item = self._construct(block, f"{name}.safe" if bare else name, step, after, rule)
        for one, _ in (*made, *([last] if last else [])):
            one.construct = item
        env.steps[step.id] = item.value
        bodies = [this.body, *(catch.body for catch in this.catches)]
        self._hand_on(item, made, env, {name for body in bodies for name in _sets(body)})
        if last and this.finally_:
            for variable in sorted(_sets(this.finally_)):
                last[0].outputs.append(self._cell(last[1].variables[variable], last[0], f"var.{variable}"))
                port = self._port(item, -3, len(last[0].outputs) - 1, f"{name}.{variable}_finally")
                env.variables[variable] = port.value
        return [item]

    # -- stream and dynamic --------------------------------------------------------------------------------------

    def _stream(
        self, step: Step, this: Stream, env: _Env, block: _Block, prefix: str, order: Order, after: Any, policy: Any
    ) -> list[_Item]:
        name = prefix + step.id
        source = this.source
        lowered = replace(
            source,
            node=_inherit(source.node, policy),
            kind="source",
            args=tuple(self._resolve(expr, env) for expr in source.args),
            kwargs=tuple((key, self._resolve(expr, env)) for key, expr in source.kwargs),
            group=_group(f"{block.path}{name}/source"),
        )
        window = this.batch * this.buffer
        sinks: list[_Item] = []

        def taking() -> Rule:
            return Rule("source", carried=tuple(one.number for one in sinks), window=window, batch=this.batch)

        items = self._add(block, f"{name}.source", lowered, after, rule=taking)
        if _flat(this.body):
            made = self._flat_body(step, this.body, Element(items.value), env, block, name, order, (), policy)
            sinks += made
            return made or [items]
        inner = env.inner()
        inner.locals[step.id, "item"] = Local(block.path + name, "item")
        inner.locals[step.id, "index"] = Local(block.path + name, "index")
        body, _ = self._body(this.body, inner, block, f"{name}[]/", order, policy)
        self._now = step

        def rule() -> Rule:
            return Rule("each", (body.number,), source=items.number)

        item = self._construct(block, name, step, (), rule, gathers=True)
        body.construct = item
        sinks.append(item)
        env.steps[step.id] = item.value
        return [item]

    def _dynamic(
        self, step: Step, _: Dynamic, env: _Env, block: _Block, prefix: str, _order: Order, after: Any, policy: Any
    ) -> list[_Item]:
        name = prefix + step.id
        lowered = replace(
            step,
            node=_inherit(step.node, policy),
            construct=None,
            kind="plan",
            args=tuple(self._resolve(expr, env) for expr in step.args),
            kwargs=tuple((key, self._resolve(expr, env)) for key, expr in step.kwargs),
            group=_group(f"{block.path}{name}/plan"),
        )
        planned = self._add(block, f"{name}.plan", lowered, after)

        def rule() -> Rule:
            return Rule("dynamic", source=planned.number)

        item = self._construct(block, name, step, after, rule)
        env.steps[step.id] = item.value
        return [item]


# -- small things --------------------------------------------------------------------------------------------------


def _place(item: _Item) -> Place:
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


def _finished(block: _Block) -> Block:
    return Block(
        block.stem,
        tuple(item.number for item in block.items),
        tuple(item.number for item in block.outputs),
        block.parent.number if block.parent else -1,
        block.construct.number if block.construct else -1,
    )


def _group(path: str) -> str:
    """Return the path of the construct a step is inside of, or ""."""
    around = path.rpartition("/")[0]
    if around.endswith("[]"):
        return around[:-2]
    stem, dot, word = around.rpartition(".")
    return stem if dot and "/" not in word else around


def _merged(policy: Policy, outer: Policy | None) -> Policy | None:
    """Return what the steps inside a construct inherit: its own policy, over that of the one around it."""
    default = Policy()
    own = {one: getattr(policy, one) for one in _INHERITED if getattr(policy, one) != getattr(default, one)}
    if not own:
        return outer
    return replace(outer or default, **own)


def _inherit(node: Node, outer: Policy | None) -> Node:
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


def _is_plain(expr: Expr) -> bool:
    """Whether the expression is made of values and containers alone, with no operator that could fail."""
    if isinstance(expr, Container):
        return expr.kind in ("list", "tuple", "dict") and all(_is_plain(item) for item in expr.items)
    return isinstance(expr, Const | Input | StepValue)


def _locals_in(expr: Expr) -> bool:
    return any(isinstance(part, Local) for part in walk(expr))


def _constant(expr: Expr) -> str:
    return str(expr.value) if isinstance(expr, Const) else ""


def _flat(body: Body) -> bool:
    """Whether a body is made of plain tasks alone, so that its copies can be arrays."""
    return bool(body.steps) and all(
        step.construct is None and step.kind == "task" and not isinstance(step.node, Set | Get | Stop)
        for step in body.steps
    )


def _called(body: Body, place: int) -> str:
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


def _sets(body: Body) -> set[str]:
    """Return the variables a body may set."""
    found: set[str] = set()
    for step in body.steps:
        if step.construct is None and isinstance(step.node, Set):
            found.add(_constant(dict(step.kwargs).get("name", step.args[0] if step.args else Const(""))))
        for inner in bodies_of(step):
            found |= _sets(inner)
    return found


def _calls_itself(graph: Graph) -> bool:
    todo = [Body(graph.steps)]
    while todo:
        for step in todo.pop().steps:
            if isinstance(step.construct, SubWorkflow):
                if step.construct.graph is None:
                    return True
                todo.append(Body(step.construct.graph.steps))
            todo += bodies_of(step)
    return False
