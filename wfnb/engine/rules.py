"""How constructs are rewritten: which bodies begin, and what comes of them. Pure; `LANGUAGE.md` has the rules.

Imports loops, scopes, lowered and elements.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from wfnb.engine.elements import DONE, Failure, StepState, runs_of
from wfnb.engine.loops import Loops
from wfnb.engine.lowered import DEEPEST, Rule
from wfnb.engine.plan import Slot
from wfnb.engine.scopes import CANCEL, Making, Scope
from wfnb.model.events import FAILED, PENDING, SKIPPED
from wfnb.model.policy import named


class Rules(Loops):
    """Rewrites the constructs of one run."""

    # -- constructs ----------------------------------------------------------------------------------------------

    def begin_construct(self, state: StepState) -> None:
        """A construct's time has come."""
        if self.scopes[state.plan.scope].stopping:
            state.opened = False
            return
        rule = self._rule(state)
        making = self.made[state.plan.index] = Making()
        getattr(self, f"_begin_{rule.kind}")(state, rule, making)

    def _begin_parallel(self, state: StepState, rule: Rule, making: Making) -> None:
        width = len(rule.blocks)
        if rule.first:
            self._single(state)
        else:
            self.state.widen(state, width)
        making.waiting.extend(range(width))
        self._begin_more(state)
        self.state.close(state)

    def _begin_each(self, state: StepState, rule: Rule, making: Making) -> None:
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
            if not self.state.stop_on_error:
                self._skip_lost(state, source)
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
                self.state.end_growth(state, source.width or 0)
            elif state.growing:
                self.state.widen(state, source.width or 0)
            self._wait(making, lo, hi)
            self._begin_more(state)
            self.state.close(state)

    @staticmethod
    def _wait(making: Making, lo: int, hi: int) -> None:
        """Note items whose elements are there, each once."""
        new = [place for place in range(lo, hi) if place not in making.seen]
        making.seen.update(new)
        sort = bool(new and making.waiting and new[0] < making.waiting[-1])
        making.waiting.extend(new)
        if sort:
            making.waiting = deque(sorted(making.waiting))

    def _begin_more(self, state: StepState) -> None:
        """Begin as many branches or items as may be begun."""
        rule, making = self._rule(state), self.made[state.plan.index]
        scope = self.scopes[state.plan.scope]
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

    def _begin_source(self, state: StepState, rule: Rule, _: Making) -> None:
        ended = state.size == 0 or (bool(state.done) and not state.growing)
        if state.width is None or not (state.growing or ended):
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
        if state.plan.index in self.listening:  # what was taken before is there already
            self.state.todo.append((self.elements_came, (state, 0, 0)))

    def _sink(self, state: StepState, sink: int) -> None:
        self.sinks[self._of(state, sink).plan.index] = state.plan.index

    def _take_more(self, state: StepState) -> None:
        """Make room for as many of a generator's items as may be taken."""
        if not state.growing:
            self.state.widen(state, state.width or 0)
            self.state.close(state)
            return
        rule = self._rule(state)
        sinks = [one.over for sink in rule.carried if not (one := self._of(state, sink)).skipped]
        if not sinks:  # nobody uses the items up any more: they are over when they are taken
            self.sinks[state.plan.index] = state.plan.index
        self.state.widen(state, max(state.width or 0, min(sinks, default=state.over) + rule.window))

    def _begin_switch(self, state: StepState, rule: Rule, _: Making) -> None:
        self._single(state)
        choice = self._of(state, rule.source).size or 0
        self._body(state, rule.blocks[choice], choice, {})

    def _begin_dynamic(self, state: StepState, _rule: Rule, making: Making) -> None:
        self._single(state)
        code, plan = self.state.grown[state.plan.id]
        scope = self.scopes[state.plan.scope]
        if scope.depth >= DEEPEST:
            text = f"dynamic step '{state.plan.id}' is more than {DEEPEST} deep inside of others"
            kinds = ("wfnb.model.errors.LimitReached", "wfnb.model.errors.RunError", "Exception")
            self.lost(state, -1, Failure("LimitReached", kinds, text, state.plan.id, 0, told=True))
            return
        making.running += 1
        self._expand(scope, state.plan.index, 0, 0, f"{state.plan.id}/", plan, code, {}, deeper=1)

    def _begin_call(self, state: StepState, rule: Rule, making: Making) -> None:
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

    def _begin_port(self, state: StepState, rule: Rule, _: Making) -> None:
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

    # -- try -----------------------------------------------------------------------------------------------------

    def _begin_try(self, state: StepState, rule: Rule, making: Making) -> None:
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
        # What never began, for want of a value from around the try, is no error of its body.
        if making.phase == "try" and failure.type and not failure.cancelled and not stopping:
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

    def step_over(self, state: StepState) -> None:
        """A step of a scope is over."""
        scope = self.scopes[state.plan.scope]
        scope.remaining -= 1
        if not state.closed and not state.complete and scope.failure is None:
            scope.failure = next(iter(state.errors.values()), None) or Failure("", (), "", state.plan.id, 0)
        if scope.remaining == 0 and not scope.stopping:
            self.state.todo.append((self.body_over, (scope,)))

    def body_over(self, scope: Scope) -> None:
        """All steps of a body are over: go on with its construct."""
        if scope.stopping or scope.over or scope.ahead:
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
            self.body_failed(state, scope)
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
        self._used_up(state)
        self.state.close(state)

    def _used_up(self, state: StepState) -> None:
        """Items that failed or were skipped make room for others, as those that are through do."""
        if state.plan.index in self.sinks:
            self.state.todo.append((self._take_more, (self.state.steps[self.sinks[state.plan.index]],)))

    def _skip(self, state: StepState, lo: int, hi: int) -> None:
        """Skip what cannot run without elements that failed."""
        steps = self.state.steps
        todo: list[tuple[StepState, int, int]] = [(state, lo, hi)]
        while todo:
            origin, a, b = todo.pop()
            for user in origin.users:
                other = steps[user]
                if other.skipped or other.settled:
                    continue
                beside = origin.plan.index in other.plan.aligned or user in self.listening.get(origin.plan.index, ())
                if origin.plan.index in other.plan.gates or (beside and origin.skipped):
                    other.skipped = True
                    other.status = other.status.replace(bytes((PENDING,)), bytes((SKIPPED,)))
                    self.state.forget_ready(other)
                    self.state.settle(other)
                    self._used_up(other)
                    todo.append((other, 0, 0))
                elif beside and other.opened:
                    self._skip_elements(other, a, b, todo)

    def _skip_elements(
        self, state: StepState, lo: int, hi: int, todo: list[tuple[StepState, int, int]] | None = None
    ) -> None:
        for a, b in list(runs_of(state.status, PENDING, lo, min(hi, state.width or 0))):
            state.status[a:b] = bytes((SKIPPED,)) * (b - a)
            state.over += b - a
            self._used_up(state)
            if todo is None:
                self._skip(state, a, b)
            else:
                todo.append((state, a, b))
        self.state.close(state)

    def opened(self, state: StepState) -> None:
        """Skip the elements of a step that has just opened which go with elements that failed before."""
        for source in state.plan.aligned:
            self._skip_lost(state, self.state.steps[source])

    def _skip_lost(self, state: StepState, source: StepState) -> None:
        """Skip the elements of a step that go with elements of another which have no value."""
        for byte in (FAILED, SKIPPED):
            for lo, hi in list(runs_of(source.status, byte, 0, len(source.status))):
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
            if one.construct >= 0:
                self.forget(one.construct)
            found.append(one)
            for number in one.steps:
                state = self.state.steps[number]
                if state.ready:
                    self.state.forget_ready(state)
        self.aborting += abort
        for one in reversed(found):
            self._check(one)

    def body_failed(self, state: StepState, scope: Scope) -> None:
        """A body has failed or was stopped, and nothing of it is in flight: see what that is to its construct."""
        rule, making = self._rule(state), self.made[scope.construct]
        failure = scope.failure or CANCEL
        self.forget(scope.construct)
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


def _valued(state: StepState, lo: int, hi: int) -> Iterable[tuple[int, int]]:
    for byte in DONE:
        yield from runs_of(state.status, byte, lo, hi)
