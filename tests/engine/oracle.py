"""What a graph means, by the rules of LANGUAGE.md alone: a recursive evaluator that knows nothing of the engine.

Where the rules leave open what comes first (which of two failures, which branch), every choice is tried.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from wfnb.engine.drafts import bodies_of, sets
from wfnb.model.builtin import Set
from wfnb.model.caught import CaughtError
from wfnb.model.expr import CONTAINERS, OPERATORS, Apply, Const, Container, Expr, Input, Local, StepValue, Var
from wfnb.model.graph import (
    Body,
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
from wfnb.model.policy import kinds_of, named

KINDS: tuple[type[Exception], ...] = (ValueError, FileNotFoundError)
"""What tasks fail with."""


MISSING: Any = object()


class Trouble(Exception):
    """A body fails; `left` is what there is of the value of the step that failed, to be gone through."""

    def __init__(self, kind: str, kinds: tuple[str, ...], address: str, attempts: int, left: Any = MISSING) -> None:
        super().__init__(kind, address)
        self.kind, self.kinds, self.address, self.attempts, self.left = kind, kinds, address, attempts, left


class Missing(Exception):
    """What never begins, because something it uses has no value; `left` is what there is of its own."""

    def __init__(self, left: Any = MISSING) -> None:
        super().__init__()
        self.left = left


class Holes(list[Any]):
    """What there is of a fan-out's value, `MISSING` in the place of the rest: a map takes what there is."""


@dataclass(frozen=True)
class Nature:
    """Which tasks fail, how often, and with what: the same for an address wherever it is asked.

    Args:
        seed: makes natures differ.
        rate: how many of a hundred tasks fail at first.
        most: how often at most.
    """

    seed: int = 0
    rate: int = 0
    most: int = 3

    def trouble(self, address: str) -> tuple[int, type[Exception]]:
        """Return how many attempts of a task fail, and with what."""
        drawn = zlib.crc32(f"{self.seed} {address}".encode())
        if drawn % 100 >= self.rate:
            return 0, ValueError
        return 1 + drawn // 100 % self.most, KINDS[drawn // 1000 % len(KINDS)]


@dataclass
class Env:
    """What names mean in a body."""

    inputs: dict[str, Any]
    names: dict[str, Any] = field(default_factory=dict)
    locals: dict[tuple[str, str], Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)

    def inner(self) -> Env:
        return Env(self.inputs, dict(self.names), dict(self.locals), dict(self.variables))

    def bind(self, name: str, value: Any) -> None:
        self.names[name] = self.own[name] = value


@dataclass(frozen=True)
class Spot:
    """Where a body is: what its addresses begin with, its order, whether a failure ends no more than what is around."""

    prefix: str
    order: str
    guarded: bool = False
    retries: int = 0
    last: bool = False

    def at(self, prefix: str, **more: Any) -> Spot:
        return replace(self, prefix=prefix, **more)


@dataclass
class Meaning:
    """What a run may come to.

    Args:
        outcomes: every value, as its text, or failure, as its type and address.
        called: the tasks that may be called.
        surely: the tasks that are called whatever comes first.
        cleans: by the stem of a try, the tasks of its `finally`.
        whole: whether every choice was tried.
    """

    outcomes: set[Any] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    surely: set[str] = field(default_factory=set)
    cleans: dict[str, set[str]] = field(default_factory=dict)
    whole: bool = True


def mean(graph: Graph, nature: Nature, *, go_on: bool = False, most: int = 200) -> Meaning:
    """Return what a graph means."""
    found = Meaning()
    todo: list[list[int]] = [[]]
    runs = 0
    while todo:
        if runs >= most:
            found.whole = False
            break
        runs += 1
        one = _Run(nature, todo.pop(), go_on)
        outcome: Any
        try:
            outcome = ("value", repr(one.graph(graph, {}, Spot("", graph.order))))
        except Trouble as trouble:
            outcome = ("failed", trouble.kind, trouble.address)
        found.outcomes.add(outcome)
        found.called |= one.called
        found.surely = one.surely if runs == 1 else found.surely & one.surely
        for stem, tasks in one.cleans.items():
            found.cleans[stem] = found.cleans.get(stem, tasks) & tasks
        for place in range(len(one.given), len(one.taken)):
            choice, count = one.taken[place]
            before = [taken for taken, _ in one.taken[:place]]
            todo += [[*before, other] for other in range(count) if other != choice]
    return found


class _Run:
    def __init__(self, nature: Nature, given: list[int], go_on: bool) -> None:
        self.nature, self.given, self.go_on = nature, given, go_on
        self.taken: list[tuple[int, int]] = []
        self.called: set[str] = set()
        self.surely: set[str] = set()
        self.cleans: dict[str, set[str]] = {}
        self.unsure = 0
        self.depth = 0

    def pick(self, found: list[Any]) -> Any:
        if len(found) == 1:
            return found[0]
        place = len(self.taken)
        choice = self.given[place] if place < len(self.given) else 0
        self.taken.append((choice, len(found)))
        return found[choice]

    # -- bodies --------------------------------------------------------------------------------------------------

    def graph(self, graph: Graph, inputs: dict[str, Any], at: Spot) -> Any:
        given = {spec.name: inputs.get(spec.name, spec.default) for spec in graph.inputs}
        return self.body(Body(graph.steps, graph.output), Env(given), at)

    def body(self, body: Body, env: Env, at: Spot) -> Any:
        surely = set(self.surely)
        try:
            self.steps(body.steps, env, at)
        except Trouble:
            if at.guarded or not self.go_on:  # what else is in it may not have begun
                self.surely = surely
            raise
        return self.value(body.output, env)

    def steps(self, steps: tuple[Step, ...], env: Env, at: Spot) -> None:
        """Run steps; raises Trouble with one of the failures, or Missing when one never begins."""
        failures: list[Trouble] = []
        missing = blocked = False
        for step in steps:
            if blocked:
                self.lose(step, env)
                continue
            try:
                self.step(step, env, at)
                continue
            except Trouble as trouble:
                failures.append(trouble)
                left = trouble.left
            except Missing as nothing:
                missing, left = True, nothing.left
            self.lose(step, env, left)
            blocked = at.order == "sequence"
        if failures:
            trouble: Trouble = self.pick(failures)
            trouble.left = MISSING  # what there is, there is inside
            raise trouble
        if missing:
            raise Missing

    def lose(self, step: Step, env: Env, left: Any = MISSING) -> None:
        for one in seen_after(step):
            env.bind(one, MISSING)
        env.bind(step.id, left)
        for variable in sets(Body((step,))):
            env.variables[variable] = MISSING

    def step(self, step: Step, env: Env, at: Spot) -> None:
        if step.when is not None:
            if step.construct is None and step.kind == "task" and not isinstance(step.node, Set):
                self.needs(step.args, env)
            if not self.value(step.when, env):
                env.bind(step.id, None)
                return
            step = replace(step, when=None)
        if step.continue_on_error and step.construct is not None:
            inner = env.inner()
            self.unsure += 1
            try:
                self.step(replace(step, continue_on_error=False), inner, replace(at, guarded=True))
            except Trouble:
                env.bind(step.id, None)
                return
            finally:
                self.unsure -= 1
            env.bind(step.id, inner.names[step.id])
            env.variables.update(inner.variables)
            return
        if step.construct is None:
            env.bind(step.id, self.use(step, env, at))
            return
        at = replace(at, retries=step.node.policy.retries or at.retries)
        method: Callable[[Step, Any, Env, Spot], Any] = getattr(self, type(step.construct).__name__.lower())
        env.bind(step.id, method(step, step.construct, env, at))

    # -- tasks ---------------------------------------------------------------------------------------------------

    def use(self, step: Step, env: Env, at: Spot) -> Any:
        args = [(self.elements if n in step.over else self.value)(expr, env) for n, expr in enumerate(step.args)]
        address = at.prefix + step.id
        if isinstance(step.node, Set):
            env.variables[args[0]] = args[1]
            return args[1]
        if not step.over:
            return self.task(step, address, args, at)
        rows = [list(args[place]) for place in step.over if isinstance(place, int)]

        def work(n: int, row: tuple[Any, ...]) -> Any:
            if MISSING in row:
                raise Missing
            given = list(args)
            for place, item in zip(step.over, row, strict=True):
                given[int(place)] = item
            return self.task(step, f"{address}[{n}]", given, at)

        works = [lambda n=n, row=row: work(n, row) for n, row in enumerate(zip(*rows, strict=True))]
        return self.branches(works, in_order=False, at=at)

    def task(self, step: Step, address: str, args: list[Any], at: Spot) -> Any:
        self.called.add(address)
        if not self.unsure:
            self.surely.add(address)
        count, kind = self.nature.trouble(address)
        retries = step.node.policy.retries or at.retries
        if count > retries:
            if step.continue_on_error:
                return None
            if at.guarded or not self.go_on:
                self.surely.discard(address)
            raise Trouble(kind.__name__, kinds_of(kind()), address, retries + 1)
        return step.node.execute(*args)

    def value(self, expr: Expr, env: Env) -> Any:
        match expr:
            case Const(value):
                return value
            case Input(name):
                found = env.inputs[name]
            case StepValue(name):
                found = env.names[name]
            case Local(step, name):
                found = env.locals[step, name]
            case Var(name):
                found = env.variables[name]
            case Apply(op, args):
                return OPERATORS[op](*[self.value(arg, env) for arg in args])
            case Container(kind, items):
                return CONTAINERS[kind]([self.value(item, env) for item in items])
            case _:
                raise TypeError(expr)
        if found is MISSING or isinstance(found, Holes):
            raise Missing
        return found

    def elements(self, expr: Expr, env: Env) -> Any:
        """Return a value that is gone through element by element: as much as there is of another fan-out's."""
        found = env.names[expr.step] if isinstance(expr, StepValue) else None
        return found if isinstance(found, Holes) else self.value(expr, env)

    def needs(self, exprs: Iterable[Expr], env: Env) -> None:
        """Wait for what a step uses, whether or not it will look at it."""
        for expr in exprs:
            self.value(expr, env)

    def maybe(self, expr: Expr, env: Env) -> Any:
        """Return a value that is only missed where it is used."""
        try:
            return self.value(expr, env)
        except Missing:
            return MISSING

    # -- constructs ----------------------------------------------------------------------------------------------

    def sequential(self, step: Step, this: Sequential, env: Env, at: Spot) -> Any:
        inner = env.inner()
        inner.variables = env.variables
        value = self.body(this.body, inner, at.at(f"{at.prefix}{step.id}/", order="sequence"))
        for name, one in inner.own.items():
            env.bind(name, one)
        return value

    def workflow(self, graph: Graph, name: str, env: Env, this: SubWorkflow, at: Spot) -> Any:
        inputs = {one: self.maybe(expr, env) for one, expr in this.inputs}
        if MISSING in inputs.values():
            self.unsure += 1  # steps that do not use it may begin or not; nothing that uses the workflow's value does
        return self.graph(graph, inputs, at.at(f"{at.prefix}{name}/", order=graph.order))

    def subworkflow(self, step: Step, this: SubWorkflow, env: Env, at: Spot) -> Any:
        graph = this.graph or self.around[this.name]
        self.around = {**getattr(self, "around", {}), this.name: graph}
        return self.workflow(graph, step.id, env, this, at)

    def dynamic(self, step: Step, _: Dynamic, env: Env, at: Spot) -> Any:
        args = [self.value(expr, env) for expr in step.args]
        graph = self.task(step, f"{at.prefix}{step.id}.plan", args, at)
        inner = Spot(f"{at.prefix}{step.id}/", graph.order, at.guarded)  # a policy does not go in
        return self.graph(graph, {}, inner)

    def branches(self, works: list[Callable[[], Any]], *, in_order: bool, at: Spot) -> list[Any]:
        """Run bodies side by side, or one after the other; one that fails ends the others."""
        found = Holes([MISSING] * len(works))
        failures: list[Trouble] = []
        missing = False
        for place, work in enumerate(works):
            try:
                found[place] = work()
            except Trouble as trouble:
                failures.append(trouble)
                if in_order and (at.guarded or not self.go_on):
                    break
            except Missing:
                missing = True
        if failures:
            trouble = self.pick(failures)
            raise Trouble(trouble.kind, trouble.kinds, trouble.address, trouble.attempts, found)
        if missing:
            raise Missing(found)
        return list(found)

    def parallel(self, step: Step, this: Parallel, env: Env, at: Spot) -> Any:
        inners = [env.inner() for _ in this.branches]
        inside = at.at(f"{at.prefix}{step.id}/")
        if this.first:
            return self.first(step, this, env, inners, inside)
        works = [
            lambda branch=branch, inner=inner: self.body(branch, inner, inside)
            for branch, inner in zip(this.branches, inners, strict=True)
        ]
        values = self.branches(works, in_order=False, at=at)
        for inner in inners:
            for name, one in inner.own.items():
                env.bind(name, one)
        self.join(f"{at.prefix}{step.id}", this.branches, inners, env, values)
        return values

    def first(self, step: Step, this: Parallel, env: Env, inners: list[Env], at: Spot) -> Any:
        won: list[tuple[Any, Env]] = []
        failures: list[Trouble] = []
        self.unsure += 1
        missing = False
        for branch, inner in zip(this.branches, inners, strict=True):
            try:
                won.append((self.body(branch, inner, replace(at, guarded=True)), inner))
            except Trouble as trouble:
                failures.append(trouble)
            except Missing:
                missing = True
        self.unsure -= 1
        if won:
            value, inner = self.pick(won)
            env.variables.update(inner.variables)
            return value
        if missing:
            raise Missing
        raise self.pick(failures)

    def join(self, address: str, bodies: Any, inners: list[Env], env: Env, values: list[Any]) -> None:
        names = {name for body in bodies for name in sets(body)}
        before = dict(env.variables)
        conflicts = []
        for name in sorted(names):
            changed = [
                inner.variables[name]
                for body, inner in zip(bodies, inners, strict=True)
                if name in sets(body) and inner.variables[name] != before.get(name, MISSING)
            ]
            if any(one != changed[0] for one in changed):
                kinds = ("VariableConflict", "RunError", "WfnbError", "Exception")
                conflicts.append(Trouble("VariableConflict", kinds, f"{address}.{name}", 1, values))
                env.variables[name] = MISSING
            elif changed:
                env.variables[name] = changed[0]
        if conflicts:
            raise self.pick(conflicts)

    def each(self, step: Step, this: Each, env: Env, at: Spot) -> Any:
        return self.items(step, list(self.elements(this.over, env)), this.body, env, at, in_order=not this.parallel)

    def items(self, step: Step, items: list[Any], body: Body, env: Env, at: Spot, *, in_order: bool) -> Any:
        inners: list[Env] = []

        def work(place: int) -> Any:
            if MISSING in (items[: place + 1] if in_order else [items[place]]):
                raise Missing
            inner = env.inner()
            inner.locals[step.id, "item"], inner.locals[step.id, "index"] = items[place], place
            if in_order and inners:
                inner.variables = dict(inners[-1].variables)
            value = self.body(body, inner, at.at(f"{at.prefix}{step.id}[{place}]/"))
            inners.append(inner)
            return value

        works = [lambda place=place: work(place) for place in range(len(items))]
        values = self.branches(works, in_order=in_order, at=at)
        if in_order:
            if inners:
                env.variables.update({name: inners[-1].variables[name] for name in sets(body)})
        else:
            self.join(f"{at.prefix}{step.id}", [body] * len(inners), inners, env, values)
        return values

    def stream(self, step: Step, this: Stream, env: Env, at: Spot) -> Any:
        args = [self.value(expr, env) for expr in this.source.args]
        items = list(this.source.node.execute(*args))
        return self.items(step, items, this.body, env, at, in_order=False)

    def loop(self, step: Step, this: Loop, env: Env, at: Spot) -> Any:
        carried = self.value(this.init, env)
        turns = None if this.times is None else self.value(this.times, env)
        now = env.inner()
        address = f"{at.prefix}{step.id}"
        k = 0
        while True:
            now = replace(now.inner(), names=dict(env.names))
            now.locals[step.id, "item"], now.locals[step.id, "index"] = carried, k
            if turns is not None and k >= turns:
                break
            if this.while_ is not None and not self.body(this.while_, now.inner(), at.at(f"{address}.{k}.while/")):
                break
            if turns is None and k >= this.max_iterations:
                kinds = ("wfnb.model.errors.LimitReached", "wfnb.model.errors.RunError", "Exception")
                raise Trouble("LimitReached", kinds, f"{address}.limit", 1)
            carried = self.body(this.body, now, at.at(f"{address}.{k}/"))
            now.locals[step.id, "item"] = carried
            if this.until is not None and self.body(this.until, now.inner(), at.at(f"{address}.{k}.until/")):
                break
            k += 1
        env.variables.update({name: now.variables[name] for name in sets(this.body) if name in now.variables})
        return carried

    def switch(self, step: Step, this: Switch, env: Env, at: Spot) -> Any:
        address = f"{at.prefix}{step.id}"
        self.needs([case.when for case in this.cases] + [this.value] * (this.value is not None), env)
        for n, case in enumerate(this.cases):
            fits = self.value(case.when, env)
            if not case.condition and this.value is not None:
                fits = fits == self.value(this.value, env)
            if fits:
                return self.inside(case.body, env, at.at(f"{address}.{'case' if n == 0 else f'case_{n}'}/"))
        if this.default is None:
            kinds = ("wfnb.model.errors.NoCase", "wfnb.model.errors.RunError", "Exception")
            raise Trouble("NoCase", kinds, f"{address}.choice", 1)
        return self.inside(this.default, env, at.at(f"{address}.default/"))

    def inside(self, body: Body, env: Env, at: Spot) -> Any:
        inner = env.inner()
        value = self.body(body, inner, at)
        env.variables.update(inner.variables)
        return value

    def try_(self, step: Step, this: Try, env: Env, at: Spot) -> Any:
        address = f"{at.prefix}{step.id}"
        before = env.inner()
        known = (*env.names.values(), *env.variables.values())
        if this.finally_ is not None and any(one is MISSING or isinstance(one, Holes) for one in known):
            self.unsure += 1  # if that is what is used at last, nothing of it begins; nor does what uses its value
        outcome: Any
        try:
            try:
                outcome = self.inside(this.body, env, at.at(f"{address}.try/", guarded=True))
            except Trouble as trouble:
                outcome = self.catch(step, this, env, at, trouble)
        except Trouble as trouble:
            outcome = trouble
        except Missing:
            outcome = MISSING
        if this.finally_ is not None:
            self.inside(this.finally_, before, at.at(f"{address}.finally/", guarded=True))
            self.cleans[f"{address}."] = {one for one in self.surely if one.startswith(f"{address}.finally/")}
            env.variables.update({name: before.variables[name] for name in sets(this.finally_)})
        if isinstance(outcome, Trouble):
            raise outcome
        if outcome is MISSING:
            raise Missing
        return outcome

    def catch(self, step: Step, this: Try, env: Env, at: Spot, trouble: Trouble) -> Any:
        for n, catch in enumerate(this.catches):
            if named(trouble.kinds, catch.on):
                inner = env.inner()
                inner.locals[step.id, "error"] = CaughtError(
                    trouble.kind, "told to fail", trouble.address, trouble.attempts
                )
                word = "catch" if n == 0 else f"catch_{n}"
                value = self.body(catch.body, inner, at.at(f"{at.prefix}{step.id}.{word}/", guarded=True))
                env.variables.update(inner.variables)
                return value
        raise trouble


setattr(_Run, "try", _Run.try_)


def seen_after(step: Step) -> Iterator[str]:
    """Yield the names that are seen after a step."""
    yield step.id
    if isinstance(step.construct, Sequential) or (isinstance(step.construct, Parallel) and not step.construct.first):
        for body in bodies_of(step):
            for inner in body.steps:
                yield from seen_after(inner)
