"""Scopes, the bodies of constructs that have begun: how they begin, and what is in flight in them. Pure.

A *scope* is one begun body. It is *over* when all its steps are, it *stops* when one fails or somebody outside does not
want it any more, and it is *settled* when it stops and nothing of it is in flight. Imports plan, lowered and elements.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from wfnb.engine.elements import DONE, Failure, Piece, StepState
from wfnb.engine.lowered import Rule
from wfnb.engine.plan import Binding, Plan, PlanStep, Slot, Template
from wfnb.model.events import COMPLETED, FAILED, PENDING, RunStarted

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
    closed: list[int]

    def open(self, state: StepState) -> None: ...  # noqa: D102
    def widen(self, state: StepState, width: int) -> None: ...  # noqa: D102
    def end_growth(self, state: StepState, total: int) -> None: ...  # noqa: D102
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
        waits: the numbers of the steps that are over before it begins, where it was made ahead of time.
        given: the step on whose decision it begins, and what that must be, where it was made ahead of time.
        ahead: whether it was made ahead of time, and has not begun.
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
    waits: tuple[int, ...] = ()
    given: tuple[int, bool] | None = None
    ahead: bool = False


@dataclass(slots=True, eq=False)
class Making:
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
        ahead: for a loop, the bodies that were made ahead of time, in order.
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
    ahead: list[Scope] = field(default_factory=list)


class Scopes:
    """The begun bodies of one run.

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
        self.made: dict[int, Making] = {}
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
        self._retry = False

    @property
    def failure(self) -> Failure | None:
        """Why the outermost body stops, or what went wrong in it, or None."""
        return self.scopes[0].failure if self.scopes else None

    # -- beginning -----------------------------------------------------------------------------------------------

    def remember(self, steps: list[StepState], past: Scopes, event: RunStarted) -> None:
        """Take over what an earlier driver got done; what it left in flight or skipped starts anew."""
        state = self.state
        self._retry = event.retry
        # What that driver took over itself, and did not come to, is not forgotten.
        before = {**past._old, **{one.plan.id: one for one in steps}}
        gone = set(event.reset)
        if event.fingerprints:  # it names every step there was then: what is missing was removed, and came back later
            gone |= {one.id for one in state.plan.templates if one.id not in event.fingerprints}
        dropped = {name for name, one in before.items() if self._path(one) in gone}
        if dropped:  # who used what the earlier driver did not come to is not known any more: it may have to be there
            dropped |= {name for name, one in past._old.items() if before[name] is one and not one.plan.keeps}
        for dynamic in list(state.grown):
            if f"{dynamic}.plan" in dropped:
                del state.grown[dynamic]
                dropped |= {name for name in before if name.startswith(f"{dynamic}/")}
        cancelled = past.failure is not None and past.failure.cancelled and past.result < 0
        for number in past.made if cancelled or event.retry else ():
            if self._cut_short(number, steps, past):  # it goes on, and is to be cleaned up after once more
                prefix = f"{steps[number].plan.id}.finally/"
                dropped |= {name for name in before if name.startswith(prefix)}
        for one in reversed(steps):
            if not one.plan.keeps and any(
                steps[user].plan.id in dropped or not steps[user].complete for user in one.users
            ):
                dropped.add(one.plan.id)
        self._old = {name: one for name, one in before.items() if name not in dropped}
        # A failure that was caught stays caught, unless something in the body it came from is made anew.
        redone = {path for one in state.plan.templates if one.id in gone for path in self._around(one)}
        self._old_caught = {
            one: failure
            for one, failure in (past._old_caught | past.caught).items()
            if one in self._old and self._old[one].plan.template.id not in redone
        }

    @staticmethod
    def _path(one: StepState) -> str:
        """What a step's code is known by: where it was planned in the run, by the step's own id."""
        binding = one.plan.binding
        return one.plan.template.id if binding is None or not binding.code else one.plan.id

    @staticmethod
    def _cut_short(number: int, steps: list[StepState], past: Scopes) -> bool:
        """Whether a construct is a try that was stopped, and not because another branch was first: that is decided."""
        making = past.made[number]
        if making.phase != "finally" or making.failure is None or not making.failure.cancelled:
            return False
        scope: Scope | None = past.scopes[steps[number].plan.scope]
        while scope is not None and scope.construct >= 0:
            rule = steps[scope.construct].plan.template.rule
            if rule is not None and rule.first and past.made[scope.construct].result >= 0:
                return False
            scope = scope.parent
        return True

    def _around(self, template: Template) -> list[str]:
        """The paths of the constructs a template is inside of."""
        plan = self.state.plan
        found = []
        home = template.block
        while home >= 0 and plan.blocks[home].construct >= 0:
            block = plan.blocks[home]
            found.append(plan.templates[block.construct].id)
            home = block.parent
        return found

    def begin(self) -> None:
        """Begin the outermost body."""
        plan = self.state.plan
        self._expand(None, -1, 0, "", "", plan, "", {})
        if not plan.outermost and not self._old:
            plan.outermost[:] = [(one.plan, tuple(one.users)) for one in self.state.steps]

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
        waits: tuple[int, ...] = (),
        given: tuple[int, bool] | None = None,
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
            waits=waits,
            given=given,
            ahead=bool(waits),
        )
        self.scopes.append(scope)
        if parent is not None and not waits:
            parent.children[scope.number] = scope
            if shielded:
                self._count(parent, 1)
        if parent is None and plan.outermost and not self._old:
            made = self._grown_before(scope, plan)
        else:
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
            self.state.todo.append((self.body_over, (scope,)))
        return scope

    def _body(
        self, state: StepState, which: int, key: Any, slots: dict[tuple[str, str], Slot], number: str = "", **more: Any
    ) -> Scope:
        """Begin a body of a construct."""
        scope = self.scopes[state.plan.scope]
        self.made[state.plan.index].running += 1
        prefix = self._prefix(scope, which, number)
        return self._expand(scope, state.plan.index, which, key, prefix, scope.plan, scope.code, slots, **more)

    @staticmethod
    def _prefix(scope: Scope, which: int, number: str) -> str:
        """What the ids of a body's steps begin with."""
        stem = scope.plan.blocks[which].stem
        if number:
            stem = stem.replace("*", number, 1) if "*" in stem else stem.replace("[]", f"[{number}]", 1)
        return scope.prefix + stem

    def _grow(self, scope: Scope, template: Template) -> StepState:
        """Make a plan step of a template."""
        owner = self.state
        steps = owner.steps
        number = len(steps)
        scope.numbers[template.index] = number
        whole = [self._number(scope, one) for one in template.whole]
        aligned = tuple([self._number(scope, one) for one in template.aligned]) if template.aligned else ()
        cells: list[tuple[int, int]] = []
        binding: Binding | None = None
        if scope.parent is not None:
            slots = tuple((name, self._slot(scope, name)) for name in template.names)
            for _, (source, element) in slots:
                if source < 0:
                    continue
                if steps[source].plan.fan_out and element >= 0:
                    cells.append((source, element))
                else:
                    whole.append(source)
            used = tuple([(scope.plan.templates[one].id, self._number(scope, one)) for one in template.uses])
            binding = Binding(scope.code, template.index, scope.prefix + template.name, used, slots)
        needed = tuple(dict.fromkeys(whole)) if len(whole) > 1 else tuple(whole)
        gates = needed
        if template.after or scope.waits:
            gates = tuple(dict.fromkeys((*whole, *[self._number(scope, one) for one in template.after], *scope.waits)))
        held = [self._number(scope, one) for one in template.holds]
        beside = (*aligned, *held, *[source for source, _ in cells])
        around = tuple(dict.fromkeys((*gates, *beside))) if beside else gates
        plan = PlanStep(
            index=number,
            id=scope.prefix + template.name,
            template=template,
            scope=scope.number,
            fan_out=template.many,
            whole=needed,
            aligned=aligned,
            sized=tuple([self._number(scope, one) for one in template.sized]) if template.sized else (),
            gates=gates,
            cells=tuple(cells),
            depth=1 + max([steps[one].plan.depth for one in (*gates, *aligned)], default=0),
            binding=binding,
            label=template.label,
            priority=template.priority,
            alone=template.alone,
            resources=template.resources,
            keeps=template.keeps,
            limits=template.limits if not scope.code else (),
            single=not (template.rule or template.many or aligned or template.alone or template.ends),
        )
        state = StepState(plan)
        state.known = owner.widths.get(f"{scope.code}:{template.id}" if scope.code else template.id)
        steps.append(state)
        owner.by_id[plan.id] = number
        for one in around:
            steps[one].users.append(number)
        for one in gates:
            before = steps[one]
            state.gates += not before.closed
            state.skipped = state.skipped or before.skipped or before.over > before.done
        for one in aligned:
            state.skipped = state.skipped or steps[one].skipped
        scope.steps.append(number)
        if template.rule is None or template.rule.kind == "source":
            self._inherit(state)
        else:
            self._listen(state, template.rule)
        return state

    def _listen(self, state: StepState, rule: Rule) -> None:
        """Let an each over a fan-out hear of its elements."""
        if rule.kind != "each":
            return
        source, number = self._of(state, rule.source), state.plan.index
        if source.plan.fan_out:
            self.listening.setdefault(source.plan.index, []).append(number)
            state.skipped = state.skipped or source.skipped
            if number not in source.users:  # it may wait for all of the source too
                source.users.append(number)

    def _grown_before(self, scope: Scope, plan: Plan) -> list[StepState]:
        """Make the outermost steps as an earlier run of the same plan has made them."""
        owner = self.state
        for step, users in plan.outermost:
            state = StepState(step, gates=len(step.gates), users=[*users])
            if step.fan_out:
                state.known = owner.widths.get(step.id)
            owner.steps.append(state)
            owner.by_id[step.id] = step.index
            scope.numbers[step.template.index] = step.index
            scope.steps.append(step.index)
        for state in owner.steps:
            if state.plan.template.rule is not None:
                self._listen(state, state.plan.template.rule)
        return list(owner.steps)

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

    def body_over(self, scope: Scope) -> None:
        """All steps of a body are over."""
        raise NotImplementedError

    def body_failed(self, state: StepState, scope: Scope) -> None:
        """A body of a construct has failed, or was stopped, and nothing of it is in flight."""
        raise NotImplementedError

    # -- small things --------------------------------------------------------------------------------------------

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

    def _show(self, state: StepState, element: int, number: int) -> None:
        """Let an element of a construct have the value of a step of its body."""
        if state.status[element] in DONE:
            return
        (piece,) = self.state.steps[number].where(0, 1)
        piece = Piece(element, element + 1, piece.pack, piece.offset, piece.bundle, piece.step, piece.at)
        self.state.give_value(state, element, element + 1, bytes((COMPLETED,)), piece)

    def _finish(self, state: StepState, number: int) -> None:
        """A construct of one value has it."""
        self._show(state, 0, number)
        self.state.close(state)

    def _leave(self, scope: Scope) -> None:
        """A scope is no more."""
        parent = scope.parent
        assert parent is not None  # noqa: S101  the outermost never leaves
        parent.children.pop(scope.number, None)
        if scope.shielded:
            self._count(parent, -1)

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
        self.body_failed(state, scope)

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

    def sheltered(self, number: int) -> bool:
        """Whether a scope is inside of what is run whatever happens, or is that."""
        scope: Scope | None = self.scopes[number]
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
