"""How constructs are rewritten: bodies begun, stopped, and what comes of them. Pure; imports plan, lower and elements.

A *scope* is one begun body. It is *over* when all its steps are, it *stops* when one fails or somebody outside does not
want it any more, and it is *settled* when it stops and nothing of it is in flight. `LANGUAGE.md` has the rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from wfnb.engine.elements import DONE, Failure, Piece, StepState, runs_of
from wfnb.engine.lowered import Rule
from wfnb.engine.plan import Binding, Plan, PlanStep, Slot, Template
from wfnb.model.events import COMPLETED, FAILED, PENDING, SKIPPED, RunStarted
from wfnb.model.policy import named

CANCEL = Failure("Cancelled", (), "", "", 0, cancelled=True)


class Owner(Protocol):
    """The state whose constructs are rewritten; `State` is one."""

    plan: Plan
    steps: list[StepState]
    by_id: dict[str, int]
    grown: dict[str, tuple[str, Plan]]
    widths: dict[str, int]
    todo: deque[tuple[Callable[..., None], tuple[Any, ...]]]
    stop_on_error: bool

    def open(self, state: StepState) -> None: ...  # noqa: D102
    def widen(self, state: StepState, width: int) -> None: ...  # noqa: D102
    def close(self, state: StepState) -> None: ...  # noqa: D102
    def settle(self, state: StepState) -> None: ...  # noqa: D102
    def forget_ready(self, state: StepState) -> None: ...  # noqa: D102
    def make_ready(self, state: StepState, lo: int, hi: int) -> None: ...  # noqa: D102
    def give_value(self, state: StepState, lo: int, hi: int, status: bytes, piece: Piece) -> None: ...  # noqa: D102


@dataclass(slots=True, eq=False)
class Scope:
    """One begun body.

    Args:
        number: its number.
        parent: the scope around it, or None for the outermost.
        construct: the number of the step it is a body of, or -1.
        block: the number of its block in its plan.
        key: which of the construct's bodies it is: a branch, an item, an iteration; or a word.
        prefix: what the ids of its steps begin with.
        plan: the plan its templates are of; another one inside a dynamic step.
        code: the key of that plan's code, or "" for the run's.
        shielded: whether a stop of what is around it leaves it alone.
        guarded: whether a failure in it ends no more than a construct around it.
        depth: how many calls of workflows that call themselves it is inside of.
        numbers: the numbers of its steps, by template.
        slots: what its construct gives it, by (path, name).
        steps: the numbers of its steps.
        children: the scopes inside that are not over or settled.
        remaining: how many of its steps are not over.
        flying: how many tasks of it, and of what is inside, are in flight; a shielded scope inside counts one.
        failure: why it stops or, where others go on after errors, what went wrong in it.
    """

    number: int
    parent: Scope | None
    construct: int
    block: int
    key: Any
    prefix: str
    plan: Plan
    code: str
    shielded: bool = False
    guarded: bool = False
    depth: int = 0
    numbers: dict[int, int] = field(default_factory=dict)
    slots: dict[tuple[str, str], Slot] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    children: dict[int, Scope] = field(default_factory=dict)
    remaining: int = 0
    flying: int = 0
    failure: Failure | None = None
    stopping: bool = False
    aborting: bool = False
    settled: bool = False
    over: bool = False


@dataclass(slots=True, eq=False)
class _Making:
    """What has become of a construct that has begun.

    Args:
        next: the next branch, item or iteration to begin.
        waiting: items whose elements are there and whose bodies may begin when others are over.
        phase: which body of a try or part of a loop is under way.
        carried: the numbers of the steps that give what the next iteration is given.
        outputs: the numbers of the outputs of bodies that are over, by key; "last" for the latest.
        failure: why it fails, once its bodies have settled.
        running: how many bodies are begun and not over.
        dropped: how many branches have failed, where the first wins.
        result: the number of the step whose value it will have, once what is left to do is done, or -1.
        seen: the items whose elements are there.
    """

    next: int = 0
    waiting: deque[int] = field(default_factory=deque)
    phase: str = ""
    carried: tuple[int, ...] = ()
    outputs: dict[Any, tuple[int, ...]] = field(default_factory=dict)
    failure: Failure | None = None
    running: int = 0
    dropped: int = 0
    result: int = -1
    seen: set[int] = field(default_factory=set)


class Rules:
    """Rewrites the constructs of one run.

    Args:
        state: the run's state.

    Attributes:
        scopes: every body begun, by number; the outermost first.
        listening: the constructs that wait for a step's elements, by number.
        sinks: the generators that wait for a step's elements to be over, by number.
        shown: the construct that has the value of a step of its body, by the step's number.
        finished: whether the run has its value.
        stopped: whether the run was stopped and everything has settled.
        failure: why the outermost body stops, or None.
        result: the number of the step that ended the run early, or -1.
        aborting: grows when bodies begin to stop that have tasks in flight.
    """

    def __init__(self, state: Owner) -> None:
        self.state = state
        self.scopes: list[Scope] = []
        self.made: dict[int, _Making] = {}
        self.listening: dict[int, list[int]] = {}
        self.sinks: dict[int, int] = {}
        self.shown: dict[int, int] = {}
        self.finished = False
        self.stopped = False
        self.result = -1
        self.aborting = 0
        self.caught: dict[str, Failure] = {}
        self._old: dict[str, StepState] = {}
        self._old_caught: dict[str, Failure] = {}
        self._dropped: set[str] = set()
        self._fresh: set[str] = set()
        self._retry = False

    @property
    def failure(self) -> Failure | None:
        """Why the outermost body stops, or what went wrong in it, or None."""
        return self.scopes[0].failure if self.scopes else None

    # -- beginning -----------------------------------------------------------------------------------------------

    def remember(self, steps: list[StepState], past: Rules, event: RunStarted) -> None:
        """Take over what an earlier driver got done; what it left in flight or skipped starts anew."""
        state = self.state
        self._retry = event.retry
        gone = set(event.reset)
        if event.fingerprints:  # it names every step there was then: what is missing was removed, and came back later
            gone |= {one.id for one in state.plan.templates if one.id not in event.fingerprints}
        self._dropped = {one.plan.id for one in steps if self._path(one, past) in gone}
        for dynamic in list(state.grown):
            planned = f"{dynamic}.plan"
            if planned in self._dropped:
                del state.grown[dynamic]
                self._dropped |= {one.plan.id for one in steps if one.plan.id.startswith(f"{dynamic}/")}
        for one in reversed(steps):
            if not one.plan.keeps and any(
                steps[user].plan.id in self._dropped or not steps[user].complete for user in one.plan.users
            ):
                self._dropped.add(one.plan.id)
        self._old = {one.plan.id: one for one in steps if one.plan.id not in self._dropped}
        # A failure that was caught stays caught, unless something in the body it came from is made anew.
        redone = {path for one in state.plan.templates if one.id in gone for path in self._around(one)}
        paths = past.paths
        self._old_caught = {
            one: failure
            for one, failure in past.caught.items()
            if one in paths and paths[one] not in redone and one not in self._dropped
        }
        for caught in self._old_caught:
            self._old.pop(caught, None)

    def _path(self, one: StepState, past: Rules) -> str:
        scope = past.scopes[one.plan.scope]
        return one.plan.template.id if not scope.code else one.plan.id

    def _around(self, template: Template) -> list[str]:
        """The paths of the constructs a template is inside of."""
        plan = self.state.plan
        found = []
        home = next((n for n, block in enumerate(plan.blocks) if template.index in block.steps), 0)
        while home >= 0 and plan.blocks[home].construct >= 0:
            block = plan.blocks[home]
            found.append(plan.templates[block.construct].id)
            home = block.parent
        return found

    @property
    def paths(self) -> dict[str, str]:
        """The path of each construct that has begun, by its id in this run."""
        steps = self.state.steps
        return {steps[number].plan.id: steps[number].plan.template.id for number in self.made}

    def begin(self) -> None:
        """Begin the outermost body."""
        self._expand(None, -1, 0, "", "", self.state.plan, "", {})

    def _expand(
        self,
        parent: Scope | None,
        construct: int,
        block: int,
        key: Any,
        prefix: str,
        plan: Plan,
        code: str,
        slots: dict[tuple[str, str], Slot],
        *,
        shielded: bool = False,
        guarded: bool = False,
        deeper: int = 0,
    ) -> Scope:
        scope = Scope(
            len(self.scopes),
            parent,
            construct,
            block,
            key,
            prefix,
            plan,
            code,
            shielded,
            guarded or (parent is not None and parent.guarded),
            (parent.depth if parent else 0) + deeper,
            slots=slots,
        )
        self.scopes.append(scope)
        if parent is not None:
            parent.children[scope.number] = scope
            if shielded:
                self._count(parent, 1)
        made = [self._grow(scope, plan.templates[number]) for number in plan.blocks[block].steps]
        scope.remaining = len(made)
        if parent is not None:
            self.shown.update((scope.numbers[one], construct) for one in plan.blocks[block].outputs)
        for state in made:
            if state.skipped:
                self.state.settle(state)
            elif not state.gates:
                self.state.todo.append((self.state.open, (state,)))
        if not made:
            self.state.todo.append((self._body_over, (scope,)))
        return scope

    def _body(
        self, state: StepState, which: int, key: Any, slots: dict[tuple[str, str], Slot], number: str = "", **more: Any
    ) -> Scope:
        """Begin a body of a construct."""
        scope = self.scopes[state.plan.scope]
        stem = scope.plan.blocks[which].stem
        if number:
            stem = stem.replace("*", number, 1) if "*" in stem else stem.replace("[]", f"[{number}]", 1)
        self.made[state.plan.index].running += 1
        return self._expand(
            scope, state.plan.index, which, key, scope.prefix + stem, scope.plan, scope.code, slots, **more
        )

    def _grow(self, scope: Scope, template: Template) -> StepState:
        """Make a plan step of a template."""
        owner = self.state
        steps = owner.steps
        number = len(steps)
        scope.numbers[template.index] = number
        root = scope.parent is None
        whole = [self._number(scope, one) for one in template.whole]
        aligned = tuple(self._number(scope, one) for one in template.aligned)
        cells: list[tuple[int, int]] = []
        binding: Binding | None = None
        if not root:
            slots = tuple((name, self._slot(scope, name)) for name in template.names)
            for _, (source, element) in slots:
                if source < 0:
                    continue
                if steps[source].plan.fan_out and element >= 0:
                    cells.append((source, element))
                else:
                    whole.append(source)
            used = tuple((scope.plan.templates[one].id, self._number(scope, one)) for one in template.uses)
            binding = Binding(scope.code, template.index, scope.prefix + template.name, used, slots)
        gates = tuple(dict.fromkeys((*whole, *(self._number(scope, one) for one in template.after))))
        held = [self._number(scope, one) for one in template.holds]
        plan = PlanStep(
            index=number,
            id=scope.prefix + template.name,
            template=template,
            scope=scope.number,
            fan_out=template.many,
            whole=tuple(dict.fromkeys(whole)),
            aligned=aligned,
            sized=tuple(self._number(scope, one) for one in template.sized),
            gates=gates,
            cells=tuple(cells),
            users=[],
            depth=1 + max((steps[one].plan.depth for one in (*gates, *aligned)), default=0),
            binding=binding,
            label=template.label,
            priority=template.priority,
            alone=template.alone,
            resources=template.resources,
            keeps=template.keeps,
            limits=template.limits if not scope.code else (),
        )
        state = StepState(plan)
        state.known = owner.widths.get(f"{scope.code}:{template.id}" if scope.code else template.id)
        steps.append(state)
        owner.by_id[plan.id] = number
        for one in dict.fromkeys((*gates, *aligned, *held, *(n for n, _ in cells))):
            steps[one].plan.users.append(number)
        state.gates = sum(not steps[one].closed for one in gates)
        state.skipped = any(self._is_lost(steps[one]) for one in gates) or any(steps[one].skipped for one in aligned)
        scope.steps.append(number)
        rule = template.rule
        if rule is None or rule.kind == "source":
            self._inherit(state)
        elif rule.kind == "each" and (source := self._number(scope, rule.source)) >= 0 and steps[source].plan.fan_out:
            self.listening.setdefault(source, []).append(number)
            steps[source].plan.users.append(number)
        return state

    @staticmethod
    def _is_lost(state: StepState) -> bool:
        return state.skipped or (state.settled and not state.closed)

    def _number(self, scope: Scope, template: int) -> int:
        at: Scope | None = scope
        while at is not None:
            found = at.numbers.get(template)
            if found is not None:
                return found
            at = at.parent
        raise KeyError(template)

    def _slot(self, scope: Scope, name: tuple[str, str]) -> Slot:
        at: Scope | None = scope
        while at is not None:
            found = at.slots.get(name)
            if found is not None:
                return found
            at = at.parent
        raise KeyError(name)

    def _inherit(self, state: StepState) -> None:
        """Keep what an earlier driver got done of a step."""
        old = self._old.get(state.plan.id)
        if old is None or old.width is None:
            return
        state.size, state.pieces, state.attempts, state.width = old.size, old.pieces, old.attempts, old.width
        state.pieces = [Piece(p.lo, p.hi, p.pack, p.offset, p.bundle, state.plan.index, p.lo) for p in old.pieces]
        keep = DONE if self._retry else (*DONE, FAILED)
        state.status = old.status.translate(bytes(byte if byte in keep else PENDING for byte in range(256)))
        state.done, state.cached = old.done, old.cached
        state.over = old.done + state.status.count(FAILED)
        state.growing = old.growing
        state.errors = {} if self._retry else old.errors
        if self._retry:
            state.attempts = {element: (attempt, attempt - 1) for element, (attempt, _) in old.attempts.items()}

    # -- constructs ----------------------------------------------------------------------------------------------

    def begin_construct(self, state: StepState) -> None:
        """A construct's time has come."""
        if self.scopes[state.plan.scope].stopping:
            state.opened = False
            return
        rule = self._rule(state)
        making = self.made[state.plan.index] = _Making()
        getattr(self, f"_begin_{rule.kind}")(state, rule, making)

    def _rule(self, state: StepState) -> Rule:
        rule = state.plan.template.rule
        assert rule is not None  # noqa: S101  only constructs come here
        return rule

    def _of(self, state: StepState, template: int) -> StepState:
        """The step that a template, named by a construct's rule, is in the construct's scope."""
        return self.state.steps[self._number(self.scopes[state.plan.scope], template)]

    def _room(self, state: StepState, width: int) -> None:
        """Give a construct its elements."""
        state.width = width
        state.status = bytearray(bytes((PENDING,)) * width)

    def _single(self, state: StepState) -> None:
        self._room(state, 1)

    def _begin_parallel(self, state: StepState, rule: Rule, making: _Making) -> None:
        width = len(rule.blocks)
        if rule.first:
            self._single(state)
        else:
            self.state.widen(state, width)
        making.waiting.extend(range(width))
        self._begin_more(state)
        self.state.close(state)

    def _begin_each(self, state: StepState, rule: Rule, making: _Making) -> None:
        source = self._of(state, rule.source)
        if source.plan.fan_out:
            if not source.opened:
                state.opened = False  # it opens when its source does
                return
            state.growing = source.growing
            if self._too_many(state, rule, source.width or 0):
                return
            self.state.widen(state, source.width or 0)
            for lo, hi in _valued(source, 0, source.width or 0):
                self._wait(making, lo, hi)
        else:
            if source.size is None:
                text = f"'{state.plan.id}' cannot go through the value of '{source.plan.id}': it has no length"
                kinds = ("TypeError", "Exception")
                self.lost(state, -1, Failure("TypeError", kinds, text, state.plan.id, 0, told=True))
                return
            if self._too_many(state, rule, source.size):
                return
            self.state.widen(state, source.size)
            making.waiting.extend(range(source.size))
        making.carried = tuple(self._of(state, one).plan.index for one in rule.carried)
        self._begin_more(state)
        self.state.close(state)

    def _too_many(self, state: StepState, rule: Rule, width: int) -> bool:
        if rule.most is None or width <= rule.most:
            return False
        self._single(state)
        self._body(state, rule.limit, "limit", {})
        return True

    def elements_came(self, source: StepState, lo: int, hi: int) -> None:
        """Elements that constructs go through have their values, or there are more of them, or no more."""
        if source.plan.index in self.sinks:
            self._take_more(self.state.steps[self.sinks[source.plan.index]])
        for number in self.listening.get(source.plan.index, ()):
            state = self.state.steps[number]
            making = self.made.get(number)
            if making is None or not state.opened:
                if not state.gates and not state.skipped:
                    self.state.open(state)
                continue
            if state.growing and not source.growing:
                state.growing = False
                del state.status[source.width or 0 :]
                state.width = source.width
            elif state.growing:
                self.state.widen(state, source.width or 0)
            self._wait(making, lo, hi)
            self._begin_more(state)
            self.state.close(state)

    @staticmethod
    def _wait(making: _Making, lo: int, hi: int) -> None:
        """Note items whose elements are there, each once."""
        new = [place for place in range(lo, hi) if place not in making.seen]
        making.seen.update(new)
        making.waiting.extend(new)

    def _begin_more(self, state: StepState) -> None:
        """Begin as many branches or items as may be begun."""
        rule, making = self._rule(state), self.made[state.plan.index]
        scope = self.scopes[state.plan.scope]
        if rule.in_order and len(making.waiting) > 1:
            making.waiting = deque(sorted(making.waiting))
        while making.waiting and not scope.stopping and making.failure is None and making.result < 0:
            if rule.concurrency is not None and making.running >= rule.concurrency:
                return
            if rule.in_order and making.waiting[0] != making.next:
                return
            place = making.waiting.popleft()
            making.next += 1
            if rule.kind == "parallel":
                self._body(state, rule.blocks[place], place, {}, guarded=rule.first)
                continue
            path = state.plan.template.id
            slots: dict[tuple[str, str], Slot] = {
                (path, "item"): (self._of(state, rule.source).plan.index, place),
                (path, "index"): (-1, place),
            }
            for name, number in zip(rule.names, making.carried, strict=True):
                slots[path, name] = (number, -1)
            self._body(state, rule.blocks[0], place, slots, str(place))

    def _begin_source(self, state: StepState, rule: Rule, _: _Making) -> None:
        if state.width is None or not (state.growing or state.done):
            state.status = bytearray()
            state.done = state.over = 0
            state.growing, state.width = True, 0
        if state.growing:
            for sink in rule.carried:
                # What uses up the items may be made after what takes them.
                self.state.todo.append((self._sink, (state, sink)))
        for lo, hi in runs_of(state.status, FAILED, 0, len(state.status)):
            for element in range(lo, hi):
                self.state.todo.append((self.lost, (state, element, state.errors[element])))
        self._take_more(state)

    def _sink(self, state: StepState, sink: int) -> None:
        self.sinks[self._of(state, sink).plan.index] = state.plan.index

    def _take_more(self, state: StepState) -> None:
        """Make room for as many of a generator's items as may be taken."""
        if not state.growing:
            self.state.widen(state, state.width or 0)
            self.state.close(state)
            return
        rule = self._rule(state)
        sinks = [self._of(state, sink).done for sink in rule.carried]
        self.state.widen(state, max(state.width or 0, min(sinks, default=state.done) + rule.window))

    def _begin_switch(self, state: StepState, rule: Rule, _: _Making) -> None:
        self._single(state)
        choice = self._of(state, rule.source).size or 0
        self._body(state, rule.blocks[choice], choice, {})

    def _begin_dynamic(self, state: StepState, _rule: Rule, making: _Making) -> None:
        self._single(state)
        code, plan = self.state.grown[state.plan.id]
        scope = self.scopes[state.plan.scope]
        making.running += 1
        self._expand(scope, state.plan.index, 0, 0, f"{state.plan.id}/", plan, code, {}, deeper=1)

    def _begin_call(self, state: StepState, rule: Rule, making: _Making) -> None:
        self._single(state)
        scope = self.scopes[state.plan.scope]
        if rule.most is not None and scope.depth >= rule.most:
            self._body(state, rule.limit, "limit", {})
            return
        path = scope.plan.blocks[rule.blocks[0]].stem
        carried = [self._of(state, one).plan.index for one in rule.carried]
        slots: dict[tuple[str, str], Slot] = {
            (path, name): (number, -1) for name, number in zip(rule.names, carried, strict=True)
        }
        making.running += 1
        prefix = f"{state.plan.id}/"
        # A workflow sees nothing of what is around its call, but its calls are inside of one another.
        self._expand(scope, state.plan.index, rule.blocks[0], 0, prefix, scope.plan, scope.code, slots, deeper=1)

    def _begin_port(self, state: StepState, rule: Rule, _: _Making) -> None:
        template, at, place = rule.port
        construct = self._of(state, template)
        making = self.made[construct.plan.index]
        if at == -2:
            width = construct.width or 0
            self.state.widen(state, width)
            for element in range(width):
                self._show(state, element, making.outputs[element][place])
            self.state.close(state)
            return
        self._single(state)
        key: Any = {-1: "last", -3: "finally"}.get(at, at)
        outputs = making.outputs.get(key)
        if outputs is None:  # nothing went round: what it would have begun with
            names = self._rule(construct).names
            self._show(state, 0, making.carried[place if names[:1] == ("item",) else place - 1])
        else:
            self._show(state, 0, outputs[place])
        self.state.close(state)

    def _show(self, state: StepState, element: int, number: int) -> None:
        """Let an element of a construct have the value of a step of its body."""
        if state.status[element] in DONE:
            return
        (piece,) = self.state.steps[number].where(0, 1)
        piece = Piece(element, element + 1, piece.pack, piece.offset, piece.bundle, piece.step, piece.at)
        self.state.give_value(state, element, element + 1, bytes((COMPLETED,)), piece)

    # -- loops ---------------------------------------------------------------------------------------------------

    def _begin_loop(self, state: StepState, rule: Rule, making: _Making) -> None:
        self._single(state)
        making.carried = tuple(self._of(state, one).plan.index for one in rule.carried)
        self._go_round(state)

    def _go_round(self, state: StepState) -> None:
        rule, making = self._rule(state), self.made[state.plan.index]
        if rule.source >= 0 and making.next >= (self._of(state, rule.source).size or 0):
            self._finish(state, making.carried[0])
            return
        if rule.parts[0] >= 0:
            making.phase = "while"
            self._body(state, rule.parts[0], making.next, self._loop_slots(state), str(making.next))
        else:
            self._iterate(state)

    def _iterate(self, state: StepState) -> None:
        rule, making = self._rule(state), self.made[state.plan.index]
        if rule.most is not None and making.next >= rule.most:
            self._body(state, rule.limit, "limit", {})
            return
        making.phase = "body"
        self._body(state, rule.blocks[0], making.next, self._loop_slots(state), str(making.next))

    def _loop_slots(self, state: StepState) -> dict[tuple[str, str], Slot]:
        rule, making = self._rule(state), self.made[state.plan.index]
        path = state.plan.template.id
        slots: dict[tuple[str, str], Slot] = {(path, "index"): (-1, making.next)}
        for name, number in zip(rule.names, making.carried, strict=True):
            slots[path, name] = (number, -1)
        return slots

    def _loop_over(self, state: StepState, outputs: tuple[int, ...]) -> None:
        rule, making = self._rule(state), self.made[state.plan.index]
        if making.phase == "body":
            making.carried = outputs
            making.outputs["last"] = outputs
            if rule.parts[1] >= 0:
                making.phase = "until"
                self._body(state, rule.parts[1], making.next, self._loop_slots(state), str(making.next))
                return
            making.next += 1
            self._go_round(state)
            return
        decided = bool(self.state.steps[outputs[0]].size)
        if making.phase == "while":
            if decided:
                self._iterate(state)
            else:
                self._finish(state, making.carried[0])
        elif decided:
            self._finish(state, making.carried[0])
        else:
            making.next += 1
            self._go_round(state)

    # -- try -----------------------------------------------------------------------------------------------------

    def _begin_try(self, state: StepState, rule: Rule, making: _Making) -> None:
        self._single(state)
        failure = self._old_caught.pop(state.plan.id, None)
        if failure is not None:  # decided before, and not decided again
            making.phase = "try"
            self._after_failure(state, failure)
            return
        making.phase = "try"
        self._body(state, rule.blocks[0], "try", {}, guarded=True)

    def _after_failure(self, state: StepState, failure: Failure) -> None:
        """What is in a try's body failed: catch it, or let it pass."""
        rule, making = self._rule(state), self.made[state.plan.index]
        stopping = self.scopes[state.plan.scope].stopping
        if making.phase == "try" and not failure.cancelled and not stopping:
            for place, on in enumerate(rule.on):
                if not on or named(failure.kinds, on):
                    self.caught[state.plan.id] = failure
                    making.phase = "catch"
                    error = {
                        "type": failure.type,
                        "message": failure.message,
                        "address": failure.address,
                        "attempts": failure.attempts,
                    }
                    path = state.plan.template.id.removesuffix(".safe")
                    self._body(state, rule.blocks[1 + place], "catch", {(path, "error"): (-1, error)}, guarded=True)
                    return
        self._at_last(state, failure, -1)

    def _at_last(self, state: StepState, failure: Failure | None, number: int) -> None:
        """Run what is run whatever happened, then let the try end as it would have."""
        rule, making = self._rule(state), self.made[state.plan.index]
        making.failure, making.result = failure, number
        if rule.finally_ < 0:
            self._end_try(state)
            return
        making.phase = "finally"
        self._body(state, rule.finally_, "finally", {}, guarded=True, shielded=True)

    def _end_try(self, state: StepState) -> None:
        making = self.made[state.plan.index]
        if making.failure is None:
            self._finish(state, making.result)
        else:
            self._fails(state, making.failure)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _finish(self, state: StepState, number: int) -> None:
        """A construct of one value has it."""
        self._show(state, 0, number)
        self.state.close(state)

    def step_over(self, state: StepState) -> None:
        """A step of a scope is over."""
        scope = self.scopes[state.plan.scope]
        scope.remaining -= 1
        if not state.closed and not state.complete and scope.failure is None:
            scope.failure = next(iter(state.errors.values()), None) or Failure("", (), "", state.plan.id, 0)
        if scope.remaining == 0 and not scope.stopping:
            self.state.todo.append((self._body_over, (scope,)))

    def _body_over(self, scope: Scope) -> None:
        if scope.stopping or scope.over:
            return
        scope.over = True
        if scope.parent is None:
            if scope.failure is None:
                self.finished = True
            else:
                self.stopped = True
            return
        self._leave(scope)
        state = self.state.steps[scope.construct]
        making = self.made[scope.construct]
        making.running -= 1
        if scope.failure is not None:
            self._body_failed(state, scope)
            return
        outputs = tuple(self._number(scope, one) for one in scope.plan.blocks[scope.block].outputs)
        rule = self._rule(state)
        if rule.kind == "parallel" and rule.first:
            if making.result < 0:
                making.result = outputs[0]
                making.outputs["last"] = outputs
                self._stop_others(state, scope)
                if not making.running:
                    self._finish(state, outputs[0])
        elif rule.kind in ("parallel", "each"):
            making.outputs[scope.key] = making.outputs["last"] = outputs
            if rule.in_order and rule.carried:
                making.carried = outputs[1:]
            self._show(state, scope.key, outputs[0])
            self._begin_more(state)
            self.state.close(state)
        elif rule.kind == "loop":
            self._loop_over(state, outputs)
        elif rule.kind == "try":
            if scope.key == "finally":
                making.outputs["finally"] = outputs
                self._end_try(state)
            else:
                making.outputs["last"] = outputs
                self._at_last(state, None, outputs[0])
        else:
            making.outputs["last"] = outputs
            self._finish(state, outputs[0])

    def _leave(self, scope: Scope) -> None:
        """A scope is no more."""
        parent = scope.parent
        assert parent is not None  # noqa: S101  the outermost never leaves
        parent.children.pop(scope.number, None)
        if scope.shielded:
            self._count(parent, -1)

    # -- failures ------------------------------------------------------------------------------------------------

    def lost(self, state: StepState, element: int, failure: Failure) -> None:
        """A task, or a construct, failed for good; element -1 stands for all of them."""
        scope = self.scopes[state.plan.scope]
        if scope.guarded or self.state.stop_on_error:
            self._stop(scope, failure, abort=scope.parent is not None)
            return
        if scope.failure is None:
            scope.failure = failure
        width = state.width or 0
        if element < 0:
            if not state.opened or state.width is None:
                self._room(state, 1)
                state.opened, width = True, 1
            state.status[:] = bytes((FAILED,)) * width
            state.over, state.growing, element = width, False, 0
            self._skip(state, 0, width)
            self.state.settle(state)
            return
        self._skip(state, element, element + 1)
        self.state.close(state)

    def _skip(self, state: StepState, lo: int, hi: int) -> None:
        """Skip what cannot run without elements that failed."""
        steps = self.state.steps
        todo: list[tuple[StepState, int, int]] = [(state, lo, hi)]
        while todo:
            origin, a, b = todo.pop()
            for user in origin.plan.users:
                other = steps[user]
                if other.skipped or other.settled:
                    continue
                beside = origin.plan.index in other.plan.aligned
                if origin.plan.index in other.plan.gates or (beside and origin.skipped):
                    other.skipped = True
                    other.status = other.status.replace(bytes((PENDING,)), bytes((SKIPPED,)))
                    self.state.forget_ready(other)
                    self.state.settle(other)
                    todo.append((other, 0, 0))
                elif beside and other.opened:
                    self._skip_elements(other, a, b, todo)

    def _skip_elements(
        self, state: StepState, lo: int, hi: int, todo: list[tuple[StepState, int, int]] | None = None
    ) -> None:
        for a, b in list(runs_of(state.status, PENDING, lo, min(hi, state.width or 0))):
            state.status[a:b] = bytes((SKIPPED,)) * (b - a)
            state.over += b - a
            if todo is None:
                self._skip(state, a, b)
            else:
                todo.append((state, a, b))
        self.state.close(state)

    def opened(self, state: StepState) -> None:
        """Skip the elements of a step that has just opened which go with elements that failed before."""
        for source in state.plan.aligned:
            other = self.state.steps[source]
            for byte in (FAILED, SKIPPED):
                for lo, hi in list(runs_of(other.status, byte, 0, len(other.status))):
                    self._skip_elements(state, lo, hi)

    def _fails(self, state: StepState, failure: Failure) -> None:
        """A construct whose bodies have settled fails."""
        scope = self.scopes[state.plan.scope]
        if scope.stopping:
            self._check(scope)
        elif not failure.cancelled:
            self.state.todo.append((self.lost, (state, -1, failure)))

    def _stop(self, scope: Scope, failure: Failure, *, abort: bool) -> None:
        """Stop a body, and what is inside of it; what is shielded goes on."""
        if scope.stopping or scope.over:
            return
        scope.failure = failure
        found: list[Scope] = []
        todo = [scope]
        while todo:
            one = todo.pop()
            if one is not scope and one.shielded:
                continue
            todo += one.children.values()
            if one.stopping:
                one.aborting = one.aborting or abort
                continue
            one.stopping, one.aborting = True, abort
            one.failure = one.failure or CANCEL
            if one is not scope:
                one.failure = CANCEL
            found.append(one)
            for number in one.steps:
                state = self.state.steps[number]
                if state.ready:
                    self.state.forget_ready(state)
        self.aborting += abort
        for one in reversed(found):
            self._check(one)

    def _check(self, scope: Scope) -> None:
        """Settle a scope that stops when nothing of it is in flight."""
        if not scope.stopping or scope.settled or scope.flying:
            return
        scope.settled = True
        if scope.parent is None:
            self.stopped = True
            return
        self._leave(scope)
        state = self.state.steps[scope.construct]
        self.made[scope.construct].running -= 1
        self._body_failed(state, scope)

    def _body_failed(self, state: StepState, scope: Scope) -> None:
        rule, making = self._rule(state), self.made[scope.construct]
        failure = scope.failure or CANCEL
        if rule.kind == "try":
            if scope.key == "finally":
                making.failure = failure
                self._end_try(state)
            else:
                self._after_failure(state, failure)
            return
        if rule.first:
            if making.result >= 0:
                if not making.running:
                    self._finish(state, making.result)
                return
            making.dropped += 1
            if making.failure is None and not failure.cancelled:
                # Kept until all have failed; until then the others go on.
                making.carried = making.carried or (scope.number,)
            if making.dropped < len(rule.blocks) and not self.scopes[state.plan.scope].stopping:
                self._begin_more(state)
                return
            first = self.scopes[making.carried[0]].failure if making.carried else None
            self._fails(state, first or failure)
            return
        if scope.over and rule.kind in ("parallel", "each"):
            # Others go on after errors: the element failed, the rest of them do not.
            state.status[scope.key] = FAILED
            state.errors[scope.key] = failure
            state.over += 1
            self.lost(state, scope.key, failure)
            self._begin_more(state)
            return
        if making.failure is None or (making.failure.cancelled and not failure.cancelled):
            making.failure = failure
        self._stop_others(state, scope)
        if not making.running:
            self._fails(state, making.failure)

    def _stop_others(self, state: StepState, scope: Scope) -> None:
        around = self.scopes[state.plan.scope]
        for other in [
            one for one in around.children.values() if one.construct == state.plan.index and one is not scope
        ]:
            self._stop(other, CANCEL, abort=True)

    def cancel(self) -> None:
        """Stop the run."""
        if self.scopes:
            self._stop(self.scopes[0], CANCEL, abort=True)

    def end_with(self, state: StepState) -> None:
        """End the run with the value of a step."""
        if self.result < 0 and not self.scopes[0].stopping:
            self.result = state.plan.index
            self._stop(self.scopes[0], CANCEL, abort=True)

    # -- flight --------------------------------------------------------------------------------------------------

    def busy(self, state: StepState, more: int) -> None:
        """Count tasks that leave, or land."""
        self._count(self.scopes[state.plan.scope], more)

    def _count(self, scope: Scope | None, more: int) -> None:
        while scope is not None:
            scope.flying += more
            if more < 0 and scope.stopping and not scope.flying:
                self.state.todo.append((self._check, (scope,)))
            scope = scope.parent

    def dead(self, step: int) -> bool:
        """Whether a step's scope stops so that its tasks in flight are to be stopped too."""
        return self.scopes[self.state.steps[step].plan.scope].aborting

    def sheltered(self, step: int) -> bool:
        """Whether a step is inside of what is run whatever happens."""
        scope: Scope | None = self.scopes[self.state.steps[step].plan.scope]
        while scope is not None and not scope.shielded:
            scope = scope.parent
        return scope is not None

    def validate(self) -> None:
        """Raise AssertionError when an invariant does not hold."""
        for scope in self.scopes:
            own = sum(self.state.steps[number].flying for number in scope.steps)
            inside = sum(one.flying + one.shielded for one in scope.children.values())
            if not scope.settled:
                assert scope.flying >= own + inside, scope.prefix  # noqa: S101
        if self.scopes:
            total = sum(state.flying for state in self.state.steps)
            assert self.scopes[0].flying >= total, (self.scopes[0].flying, total)  # noqa: S101


def _valued(state: StepState, lo: int, hi: int) -> Iterable[tuple[int, int]]:
    for byte in DONE:
        yield from runs_of(state.status, byte, lo, hi)
