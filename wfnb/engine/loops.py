"""How loops go round, and how the bodies of a loop are made ahead of time, so that many travel in one bundle. Pure.

What follows a body of a loop is known but for whether it comes at all: its steps, what they are given, and the decision
on which they begin. So the steps of bodies to come can be made before it is their turn, and be sent with those before
them; a worker leaves out what comes after a decision that ends the loop, and what was made ahead is forgotten.

Imports scopes, lowered and elements.
"""

from __future__ import annotations

from collections.abc import Callable

from wfnb.engine.elements import StepState
from wfnb.engine.lowered import Rule
from wfnb.engine.plan import Plan, Slot, Template
from wfnb.engine.scopes import Making, Scope, Scopes

AHEAD = 16
"""How many turns of a loop are made ahead of time when it begins."""


class Loops(Scopes):
    """Rewrites the loops of one run."""

    def _begin_loop(self, state: StepState, rule: Rule, making: Making) -> None:
        self._single(state)
        making.carried = tuple(self._of(state, one).plan.index for one in rule.carried)
        self._go_round(state)

    def _go_round(self, state: StepState) -> None:
        rule, making = self._rule(state), self.made[state.plan.index]
        if rule.source >= 0 and making.next >= (self._of(state, rule.source).size or 0):
            self._through(state)
        elif rule.parts[0] >= 0:
            self._enter(state, "while", rule.parts[0])
        else:
            self._iterate(state)

    def _iterate(self, state: StepState) -> None:
        rule, making = self._rule(state), self.made[state.plan.index]
        if rule.most is not None and making.next >= rule.most:
            self.forget(state.plan.index)
            self._body(state, rule.limit, "limit", {})
        else:
            self._enter(state, "body", rule.blocks[0])

    def _enter(self, state: StepState, phase: str, block: int) -> None:
        """Begin a body, or the one that was made ahead of time for it."""
        making = self.made[state.plan.index]
        making.phase = phase
        if not making.ahead:
            slots = self._loop_slots(state, making.next, making.carried)
            self._body(state, block, making.next, slots, str(making.next))
            return
        scope = making.ahead.pop(0)
        assert (scope.block, scope.key) == (block, making.next)  # noqa: S101  there is one way only that a loop goes on
        scope.ahead = False
        self.scopes[state.plan.scope].children[scope.number] = scope
        making.running += 1
        for number in scope.steps:
            one = self.state.steps[number]
            if not one.gates:
                self.state.todo.append((self.state.open, (one,)))

    def _loop_slots(self, state: StepState, turn: int, carried: tuple[int, ...]) -> dict[tuple[str, str], Slot]:
        path = state.plan.template.id
        slots: dict[tuple[str, str], Slot] = {(path, "index"): (-1, turn)}
        for name, number in zip(self._rule(state).names, carried, strict=True):
            slots[path, name] = (number, -1)
        return slots

    def _loop_over(self, state: StepState, outputs: tuple[int, ...]) -> None:
        rule, making = self._rule(state), self.made[state.plan.index]
        if making.phase == "body":
            making.carried = outputs
            making.outputs["last"] = outputs
            if rule.parts[1] >= 0:
                self._enter(state, "until", rule.parts[1])
                return
            making.next += 1
            self._go_round(state)
            return
        decided = bool(self.state.steps[outputs[0]].size)
        if decided == (making.phase == "until"):
            self._through(state)
        elif making.phase == "while":
            self._iterate(state)
        else:
            making.next += 1
            self._go_round(state)

    def _through(self, state: StepState) -> None:
        """A loop goes round no more."""
        self.forget(state.plan.index)
        self._finish(state, self.made[state.plan.index].carried[0])

    # -- ahead of time -------------------------------------------------------------------------------------------

    def look_ahead(self, scope: Scope, fit: Callable[[Template], bool]) -> None:
        """Make the steps of what follows a body of a loop, should the loop go on.

        Nothing is made where what follows holds constructs or fan-outs, or is made already.

        Args:
            scope: the body.
            fit: whether steps of a template are worth it.
        """
        if scope.construct < 0 or scope.parent is None or scope.stopping or scope.over:
            return
        state = self.state.steps[scope.construct]
        rule, making = state.plan.template.rule, self.made[scope.construct]
        if rule is None or rule.kind != "loop" or scope.block == rule.limit:
            return
        if scope is not making.ahead[-1] if making.ahead else scope.ahead:
            return
        block, turn, given = self._next_of(scope, state, rule)
        if rule.source < 0 and turn > AHEAD + 4 * making.next:
            return  # nobody knows how often it goes round: what is made in vain stays less than what was not
        if block < 0 or not all(_plain(one) and fit(one) for one in _templates(scope.plan, block)):
            return
        if scope.block == rule.blocks[0]:
            carried = tuple(scope.numbers[one] for one in scope.plan.blocks[scope.block].outputs)
        else:
            carried = tuple(scope.slots[state.plan.template.id, name][0] for name in rule.names)
        waits = tuple(number for number in scope.steps if not self._used_within(scope, number))
        prefix = self._prefix(scope.parent, block, str(turn))
        slots = self._loop_slots(state, turn, carried)
        following = self._expand(
            scope.parent, scope.construct, block, turn, prefix, scope.plan, scope.code, slots, waits=waits, given=given
        )
        making.ahead.append(following)

    def _next_of(self, scope: Scope, state: StepState, rule: Rule) -> tuple[int, int, tuple[int, bool] | None]:
        """Return the block that follows a body, which turn it is of, and the decision on which it begins."""
        turn: int = scope.key
        given: tuple[int, bool] | None = None
        if scope.block in rule.parts:
            given = scope.numbers[scope.plan.blocks[scope.block].outputs[0]], scope.block == rule.parts[0]
        if scope.block != rule.parts[0]:
            if scope.block == rule.blocks[0] and rule.parts[1] >= 0:
                return rule.parts[1], turn, None
            turn += 1
            if rule.source >= 0 and turn >= (self._of(state, rule.source).size or 0):
                return -1, turn, None
            if rule.parts[0] >= 0:
                return rule.parts[0], turn, given
        return -1 if rule.most is not None and turn >= rule.most else rule.blocks[0], turn, given

    def _used_within(self, scope: Scope, number: int) -> bool:
        steps = self.state.steps
        return any(steps[user].plan.scope == scope.number for user in steps[number].users)

    def forget(self, construct: int) -> None:
        """Forget the bodies that were made ahead of time: the loop does not come to them."""
        making = self.made.get(construct)
        if making is None or not making.ahead:
            return
        for scope in making.ahead:
            scope.stopping = scope.settled = scope.aborting = True
            for number in scope.steps:
                one = self.state.steps[number]
                one.skipped = True
                if not one.settled:
                    one.settled = True
                    self.state.closed.append(number)
                if self.state.by_id.get(one.plan.id) == number:
                    del self.state.by_id[one.plan.id]
        making.ahead.clear()


def _templates(plan: Plan, block: int) -> list[Template]:
    return [plan.templates[number] for number in plan.blocks[block].steps]


def _plain(template: Template) -> bool:
    """Whether steps of a template are single tasks that may share a bundle."""
    return template.rule is None and not template.many and not template.alone
