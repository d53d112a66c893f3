"""From a graph to its lowered form: what a worker runs and what the engine goes by, with nothing left to interpret.

Names become references to lowered steps, variables become values, conditions and choices become steps, and each body of
a construct becomes a *block*: steps that are begun together, any number of times. Sub-workflows, sequential steps and
an `each` of plain steps dissolve into the block around them. Imports model only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wfnb.engine import decide
from wfnb.engine.drafts import (
    Draft,
    Env,
    Item,
    Spot,
    branch_name,
    calls_itself,
    finished,
    flat,
    group,
    inherit,
    is_plain,
    locals_in,
    merged,
    place,
    sets,
    strays,
)
from wfnb.engine.lowered import DEEPEST, Lowered, Rule
from wfnb.engine.lowering import Lowering
from wfnb.model.builtin import Set
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
    StepValue,
    steps_of,
)
from wfnb.model.graph import (
    Body,
    Case,
    Catch,
    Dynamic,
    Each,
    Graph,
    Loop,
    Parallel,
    Sequential,
    Step,
    Stream,
    SubWorkflow,
    Switch,
    Try,
)


def lower(graph: Graph, *, closed: bool = False) -> Lowered:
    """Return the lowered form of a graph.

    Args:
        graph: the graph.
        closed: whether its inputs are to be their defaults, and its value is needed as that of one step.

    Raises:
        DefinitionError: a name in it means nothing, or a variable is used that nothing has set.
    """
    return _Lowering(graph).done(closed=closed)


class _Lowering(Lowering):
    """Lowers a graph with its constructs."""

    def done(self, *, closed: bool) -> Lowered:
        graph = self.graph
        root = self.block("", "", None)
        inputs: dict[str, Expr] = {
            spec.name: Const(spec.default) if closed else Input(spec.name) for spec in graph.inputs
        }
        env = Env(None, inputs, {})
        self.steps(graph.steps, Spot(env, root, "", graph.order))
        self._now = None
        output = self.resolve(graph.output, env)
        if closed:
            root.outputs.append(self.cell(output, root, "output", tuple(root.items)))
            output = root.outputs[0].value
        elif not is_plain(output):
            output = self.value(output, root, "output", tuple(root.items) if graph.order == "sequence" else ()).value
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
            tuple([place(item) for item in ordered]),
            tuple([finished(block) for block in self.blocks]),
            output,
            graph.tags,
            graph.concurrency,
        )

    def step(self, step: Step, at: Spot) -> list[Item]:
        """Lower one step; return what the next in order must wait for."""
        self._now = step
        plain = step.construct is None and step.kind == "task" and not isinstance(step.node, Set)
        if step.when is not None and not plain:
            inner = replace(step, when=None)
            case = Case(step.when, Body((inner,), StepValue(step.id)), condition=True)
            return self._switch(step, Switch((case,), None, Body()), at, bare=True)
        if step.continue_on_error and step.construct is not None:
            inner = replace(step, continue_on_error=False)
            whole = Try(Body((inner,), StepValue(step.id)), (Catch(Body()),))
            return self._try(step, whole, at, bare=True)
        if step.construct is None:
            return self.task(step, at)
        if not isinstance(step.construct, Dynamic):
            at = replace(at, policy=merged(step.node.policy, at.policy))
        lowering: Any = {
            Sequential: self.sequential,
            SubWorkflow: self._workflow,
            Parallel: self._parallel,
            Each: self._each,
            Loop: self._loop,
            Switch: self._switch,
            Try: self._try,
            Stream: self._stream,
            Dynamic: self._dynamic,
        }[type(step.construct)]
        made: list[Item] = lowering(step, step.construct, at)
        return made

    # -- parts ---------------------------------------------------------------------------------------------------

    def _workflow(self, step: Step, this: SubWorkflow, at: Spot) -> list[Item]:
        env, name = at.env, at.prefix + step.id
        given = {name: self.resolve(expr, env) for name, expr in this.inputs}
        if this.graph is None or this.name in self.callable or calls_itself(this.graph):
            return self._call(step, this, given, at)
        graph = this.graph
        inputs: dict[str, Expr] = {}
        for spec in graph.inputs:
            inputs[spec.name] = given.get(spec.name, Const(spec.default))
        inner = Env(None, inputs, {})
        inside = replace(at, env=inner, prefix=f"{name}/", order=graph.order)
        if graph.order == "sequence":
            ends = last = self.steps(graph.steps, inside)
        else:
            made = {one.id: self.step(one, inside) for one in graph.steps}
            ends = [item for items in made.values() for item in items]
            last = [item for one in sorted(strays(Body(graph.steps, graph.output))) for item in made[one]]
        env.steps[step.id] = self.when_over(self.resolve(graph.output, inner), f"{name}/output", at, tuple(last))
        return ends

    def _call(self, step: Step, this: SubWorkflow, given: dict[str, Expr], at: Spot) -> list[Item]:
        """A call of a workflow that calls itself: begun when it is reached, call by call."""
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        graph = this.graph or self.graphs.get(this.name)
        if graph is None:
            self.problems.append(Problem(f"workflow '{this.name}' is not known", step.id, step.where, "Load it first"))
            return []
        self.graphs.setdefault(this.name, graph)
        names = tuple(spec.name for spec in graph.inputs)
        cells = [
            self.cell(given.get(spec.name, Const(spec.default)), block, f"{name}.{spec.name}", after)
            for spec in graph.inputs
        ]
        made = self._callable(graph, this.name, step, at)
        text = f"workflow '{this.name}' calls itself more than {DEEPEST} deep"
        limit = self.limit(block, name, text)

        def rule() -> Rule:
            return Rule(
                "call",
                (made.number,),
                limit=limit.number,
                most=DEEPEST,
                carried=tuple(cell.number for cell in cells),
                names=names,
            )

        item = self.construct(block, name, step, after, rule)
        limit.construct = item
        env.steps[step.id] = item.value
        return [item]

    def _callable(self, graph: Graph, name: str, step: Step, at: Spot) -> Draft:
        """Return the body of a workflow that calls itself: one for each policy that it is called under."""
        known = self.callable.setdefault(name, [])
        for policy, body in known:
            if policy == at.policy:
                return body
        path = name + "'" * len(known) + "()"
        body = self.block(path, f"{path}/", None)
        known.append((at.policy, body))
        inner = Env(None, {spec.name: Local(path, spec.name) for spec in graph.inputs}, {})
        self.steps(graph.steps, Spot(inner, body, "", graph.order, (), at.policy))
        self._now = step
        body.outputs.append(self.cell(self.resolve(graph.output, inner), body, "output", tuple(body.items)))
        return body

    def _parallel(self, step: Step, this: Parallel, at: Spot) -> list[Item]:
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        made = [self.body(b, env.inner(), f"{name}/", at, output=f"output_{n}") for n, b in enumerate(this.branches)]
        self._now = step

        def rule() -> Rule:
            return Rule(
                "parallel", tuple(one.number for one, _ in made), concurrency=this.max_concurrency, first=this.first
            )

        item = self.construct(block, name, step, after, rule, gathers=not this.first)
        for one, _ in made:
            one.construct = item
        env.steps[step.id] = item.value
        ends = [item]
        if this.first:
            names = {n for branch in this.branches for n in sets(branch)}
            self.hand_on(item, made, env, names)
            return ends
        for n, (one, inner) in enumerate(made):
            self._export(item, n, one, inner, env)
        before = {one: env.given(one) for one in env.variables}
        for variable in sorted({n for branch in this.branches for n in sets(branch)}):
            setting = [n for n, branch in enumerate(this.branches) if variable in sets(branch)]
            ports: list[Item] = []
            for n in setting:
                one, inner = made[n]
                one.outputs.append(self.cell(inner.given(variable), one, f"var.{variable}"))
                ports.append(self.port(item, n, len(one.outputs) - 1, f"{name}.{variable}_{n}"))
            inners = [made[n][1] for n in setting]
            if len(ports) == 1:
                env.variables[variable] = self.set_or_fail(variable, ports[0], env, inners)
                continue
            called = tuple(branch_name(this.branches[n], n) for n in setting)
            joined = self.helper(
                decide.Join(name=variable, branches=called),
                block,
                f"{name}.{variable}",
                (),
                Container("list", tuple(port.value for port in ports)),
                before.get(variable, Const(UNSET)),
            )
            env.variables[variable] = self.set_or_fail(variable, joined, env, inners)
            ends.append(joined)
        return ends

    def _export(self, construct: Item, at: int, made: Draft, inner: Env, env: Env) -> None:
        """Let the steps of a branch be seen after the parallel as if they stood there."""
        for name in (*inner.steps, *inner.exports):

            def export(name: str = name) -> Expr:
                value = inner.step(name)
                cell = self.cell(value, made, f"{name}.all")
                made.outputs.append(cell)
                return self.port(construct, at, len(made.outputs) - 1, f"{construct.name}.{name}").value

            env.exports.setdefault(name, export)

    # -- each ----------------------------------------------------------------------------------------------------

    def _each(self, step: Step, this: Each, at: Spot) -> list[Item]:
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        over = self.resolve(this.over, env)
        if this.parallel and this.max_iterations is None and this.max_concurrency is None and flat(this.body):
            if (steps_of(over) or locals_in(over)) and not self.iterable_as_it_is(over):
                over = self.value(over, block, f"{name}.over", after).value
            return self.flat_body(step, this.body, Element(over), at)
        source = self.source_of(over, block, f"{name}.over", after)
        inner = env.inner()
        inner.locals[step.id, "item"] = Local(block.path + name, "item")
        inner.locals[step.id, "index"] = Local(block.path + name, "index")
        names = sorted(sets(this.body))
        limit: Draft | None = None
        if this.max_iterations is not None:
            limit = self.limit(block, name, f"'{name}' has more items than its max_iterations ({this.max_iterations})")
        carried: list[Item] = []
        if not this.parallel:
            carried = self._carry(name, names, inner, at)
        made, _ = self.body(this.body, inner, f"{name}[]/", at)
        self._now = step
        for variable in names:
            made.outputs.append(self.cell(inner.given(variable), made, f"var.{variable}"))

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

        item = self.construct(block, name, step, after, rule, gathers=True)
        made.construct = item
        if limit:
            limit.construct = item
        env.steps[step.id] = item.value
        ends = [item]
        before = {one: env.given(one) for one in env.variables}
        for nth, variable in enumerate(names, 1):
            if not this.parallel:
                port = self.port(item, -1, nth, f"{name}.{variable}")
                env.variables[variable] = self.set_or_fail(variable, port, env, [])
                continue
            port = self.port(item, -2, nth, f"{name}.{variable}_each", gathers=True)
            joined = self.helper(
                decide.Join(name=variable),
                block,
                f"{name}.{variable}",
                (),
                port.value,
                before.get(variable, Const(UNSET)),
            )
            env.variables[variable] = self.set_or_fail(variable, joined, env, [])
            ends.append(joined)
        return ends

    # -- loop ----------------------------------------------------------------------------------------------------

    def _carry(self, name: str, names: list[str], inner: Env, at: Spot) -> list[Item]:
        """Let the variables that a repeated body sets come from the iteration before; return their first values."""
        env, block = at.env, at.block
        carried = []
        for variable in names:
            carried.append(self.cell(env.given(variable), block, f"{name}.{variable}_before", at.after))
            value: Expr = Local(block.path + name, f"var {variable}")
            inner.variables[variable] = value if env.surely(variable) else Apply("is_set", (value, Const(variable)))
        return carried

    def _loop(self, step: Step, this: Loop, at: Spot) -> list[Item]:
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        path = block.path + name
        init = self.cell(self.resolve(this.init, env), block, f"{name}.init", after)
        inner = env.inner()
        inner.locals[step.id, "item"] = Local(path, "item")
        inner.locals[step.id, "index"] = Local(path, "index")
        names = sorted(sets(this.body))
        carried = [init, *self._carry(name, names, inner, at)]
        times = None
        if this.times is not None:
            value = self.resolve(this.times, env)
            times = self.helper(decide.Times(), block, f"{name}.times", after, value, decides=True)
        entered = dict(inner.variables)
        made, _ = self.body(this.body, inner, f"{name}.*/", at)
        for variable in names:
            made.outputs.append(self.cell(inner.given(variable), made, f"var.{variable}"))
        parts: list[Draft | None] = []
        for word, condition in (("while", this.while_), ("until", this.until)):
            if condition is None:
                parts.append(None)
                continue
            scope = env.inner()
            scope.locals.update(inner.locals)
            scope.variables.update({one: value for one, value in entered.items() if one in names})
            part = self.block(f"{name}.*.", f"{path}.*.", block)
            self.steps(condition.steps, Spot(scope, part, f"{word}/", at.order, (), at.policy))
            self._now = step
            value = self.resolve(condition.output, scope)
            part.outputs.append(self.helper(decide.Condition(), part, word, tuple(part.items), value, decides=True))
            parts.append(part)
        self._now = step
        limit = self.limit(
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

        item = self.construct(block, name, step, after, rule)
        for one in (made, limit, *parts):
            if one is not None:
                one.construct = item
        env.steps[step.id] = item.value
        for nth, variable in enumerate(names, 1):
            port = self.port(item, -1, nth, f"{name}.{variable}")
            env.variables[variable] = self.set_or_fail(variable, port, env, [])
        return [item]

    # -- switch and try ------------------------------------------------------------------------------------------

    def _switch(self, step: Step, this: Switch, at: Spot, *, bare: bool = False) -> list[Item]:
        """Lower a switch; a bare one is a condition on a step, and adds nothing to its address."""
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        cases = [Lazy(self.resolve(case.when, env)) for case in this.cases]
        value = Const(None) if this.value is None else Lazy(self.resolve(this.value, env))
        node = decide.Choice(
            switch=name, conditions=tuple(case.condition for case in this.cases), default=this.default is not None
        )
        choice = self.helper(
            node, block, f"{name}.when" if bare else f"{name}.choice", after, value, *cases, decides=True
        )
        bodies = [*(case.body for case in this.cases), *([this.default] if this.default is not None else [])]
        made: list[tuple[Draft, Env]] = []
        for n, body in enumerate(bodies):
            word = "default" if n == len(this.cases) else "case" if n == 0 else f"case_{n}"
            stem = at.prefix if bare else f"{name}.{word}/"
            made.append(self.body(body, env.inner(), stem, at, output=f"{step.id}.none" if bare else "output"))
            self._now = step

        def rule() -> Rule:
            return Rule("switch", tuple(one.number for one, _ in made), source=choice.number)

        item = self.construct(block, f"{name}.if" if bare else name, step, after, rule)
        for one, _ in made:
            one.construct = item
        env.steps[step.id] = item.value
        self.hand_on(item, made, env, {name for body in bodies for name in sets(body)})
        return [item]

    def _try(self, step: Step, this: Try, at: Spot, *, bare: bool = False) -> list[Item]:
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        stem = at.prefix if bare else f"{name}.try/"
        output = f"{step.id}.value" if bare else "output"
        made = [self.body(this.body, env.inner(), stem, at, output=output)]
        for n, catch in enumerate(this.catches):
            inner = env.inner()
            inner.locals[step.id, "error"] = Local(f"{block.path}{name}", "error")
            word = "catch" if n == 0 else f"catch_{n}"
            stem = f"{name}.{'none' if bare else word}/"
            made.append(self.body(catch.body, inner, stem, at))
        last: tuple[Draft, Env] | None = None
        if this.finally_ is not None:
            last = self.body(this.finally_, env.inner(), f"{name}.finally/", at)
        self._now = step

        def rule() -> Rule:
            return Rule(
                "try",
                tuple(one.number for one, _ in made),
                on=tuple(catch.on for catch in this.catches),
                finally_=last[0].number if last else -1,
            )

        item = self.construct(block, f"{name}.safe" if bare else name, step, after, rule)
        for one, _ in (*made, *([last] if last else [])):
            one.construct = item
        env.steps[step.id] = item.value
        bodies = [this.body, *(catch.body for catch in this.catches)]
        self.hand_on(item, made, env, {name for body in bodies for name in sets(body)})
        if last and this.finally_:
            for variable in sorted(sets(this.finally_)):
                last[0].outputs.append(self.cell(last[1].given(variable), last[0], f"var.{variable}"))
                port = self.port(item, -3, len(last[0].outputs) - 1, f"{name}.{variable}_finally")
                env.variables[variable] = port.value
        return [item]

    # -- stream and dynamic --------------------------------------------------------------------------------------

    def _stream(self, step: Step, this: Stream, at: Spot) -> list[Item]:
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        source = this.source
        lowered = replace(
            source,
            node=inherit(source.node, at.policy),
            kind="source",
            args=tuple(self.resolve(expr, env) for expr in source.args),
            kwargs=tuple((key, self.resolve(expr, env)) for key, expr in source.kwargs),
            group=group(f"{block.path}{name}/source"),
        )
        window = this.batch * this.buffer
        sinks: list[Item] = []

        def taking() -> Rule:
            return Rule("source", carried=tuple(one.number for one in sinks), window=window, batch=this.batch)

        items = self.add(block, f"{name}.source", lowered, after, rule=taking)
        if flat(this.body):
            made = self.flat_body(step, this.body, Element(items.value), replace(at, after=()))
            sinks += made
            return made or [items]
        inner = env.inner()
        inner.locals[step.id, "item"] = Local(block.path + name, "item")
        inner.locals[step.id, "index"] = Local(block.path + name, "index")
        body, _ = self.body(this.body, inner, f"{name}[]/", at)
        self._now = step

        def rule() -> Rule:
            return Rule("each", (body.number,), source=items.number)

        item = self.construct(block, name, step, (), rule, gathers=True)
        body.construct = item
        sinks.append(item)
        env.steps[step.id] = item.value
        return [item]

    def _dynamic(self, step: Step, _: Dynamic, at: Spot) -> list[Item]:
        env, block, after, name = at.env, at.block, at.after, at.prefix + step.id
        lowered = replace(
            step,
            node=inherit(step.node, at.policy),
            construct=None,
            kind="plan",
            args=tuple(self.resolve(expr, env) for expr in step.args),
            kwargs=tuple((key, self.resolve(expr, env)) for key, expr in step.kwargs),
            group=group(f"{block.path}{name}/plan"),
        )
        planned = self.add(block, f"{name}.plan", lowered, after)

        def rule() -> Rule:
            return Rule("dynamic", source=planned.number)

        item = self.construct(block, name, step, after, rule)
        env.steps[step.id] = item.value
        return [item]
