"""From what a fold has gathered to the picture of each step: how many tasks there are to be, and what state it is in.

Pure; imports engine.addresses, engine.cells, engine.bodies and engine.facts. Everything here is by template: the cost
is that of the workflow as it is written, not of what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wfnb.engine.addresses import places
from wfnb.engine.bodies import Bodies, Facts
from wfnb.engine.cells import Kin
from wfnb.engine.facts import Counts, StepView
from wfnb.model.events import FAILED, SKIPPED

_CASES = ("case", "default")
_REPEATED = ("each", "stream", "loop")


class Number(NamedTuple):
    """How often something is to run, as far as is known, and whether that is all."""

    tasks: int
    exact: bool


class Summary:
    """The steps of a run at one moment.

    Args:
        kins: the steps by template; every construct comes before the steps inside of it.
        facts: what is known of constructs.
        status: the run's status by its journal.
        calls: for a step that calls a workflow which calls itself, that workflow's group.

    Attributes:
        bad: the constructs that failed.
    """

    def __init__(
        self, kins: Mapping[str, Kin], facts: Facts, status: str, calls: Mapping[str, str] | None = None
    ) -> None:
        self.kins = kins
        self.facts = facts
        self.over = status in ("completed", "failed", "cancelled")
        self.completed = status == "completed"
        self._numbers: dict[tuple[str, str], Number] = {}
        self._unused: dict[str, str] = {}
        self.bad = _bad(kins, facts, self.completed)
        self._inside: dict[str, list[Kin]] = {}
        for kin in kins.values():
            self._inside.setdefault(kin.group, []).append(kin)
        for name, group in (calls or {}).items():
            if name in kins and not self._inside.get(name) and not name.startswith(group):
                self._inside[name] = [kins[group]]

    def views(self) -> tuple[StepView, ...]:
        """Return the picture of every step, each construct before its own steps."""
        made: dict[str, StepView] = {}
        for kin in reversed(list(self.kins.values())):
            made[kin.id] = self._construct(kin, made) if kin.construct else self._leaf(kin)
        return tuple([made[name] for name in self.kins])

    # -- how many ------------------------------------------------------------------------------------------------

    def _runs(self, kin: Kin) -> Number:
        """Return how often a step is to run."""
        group = self.kins.get(kin.group)
        if group is not None and kin.id.startswith(f"{group.id}.") and not kin.arm:
            number = self._runs(group)  # beside its bodies: a stream's source, a dynamic step's plan
        else:
            number = self._of_body(kin.group, kin.arm)
        off = len(self.facts.off.get(kin.id, ()))
        return Number(max(0, number.tasks - off), number.exact) if off else number

    def _of_body(self, group: str, arm: str) -> Number:
        kin = self.kins.get(group)
        if kin is None:
            return Number(1, True)
        found = self._numbers.get((group, arm))
        if found is None:
            found = self._numbers[group, arm] = self._counted(kin, self.facts.of[group], arm)
        return found

    def _counted(self, kin: Kin, bodies: Bodies, arm: str) -> Number:
        own = self._runs(kin)
        if kin.id.endswith("()"):
            return Number(0, self.completed)
        if kin.kind in _REPEATED:
            known = own.exact and len(bodies.items) >= own.tasks
            ended = kin.kind == "loop" and own.exact and len(bodies.ends) >= own.tasks
            count = bodies.times
            if ended:
                # The loop may have ended before the number of iterations it was allowed.
                count = sum(bodies.begun.values())
            return Number(count, known or ended or self.completed)
        if kin.kind == "switch" and arm:
            decided = sum(bodies.took(name) for name in bodies.ran)
            return Number(bodies.took(arm), (own.exact and decided >= own.tasks) or self.completed)
        if arm.startswith("catch"):
            # That nothing fails is what one hopes for.
            return Number(bodies.took(arm), True)
        if kin.kind == "dynamic" and not self.completed:
            return Number(own.tasks, own.exact and len(bodies.grown) >= own.tasks)
        return own

    def _width(self, kin: Kin, runs: Number) -> int | None:
        """Return how many tasks a step has, or None while that is not known."""
        if self.over and (self.completed or kin.inside):
            return kin.seen
        if not runs.exact:
            return None
        if not kin.fan_out:
            # A loop's `while` is asked once more than it says yes.
            return max(runs.tasks, kin.seen) if kin.inside else runs.tasks
        widths = [cells.width for cells in kin.cells.values()]
        total = sum(width for width in widths if width is not None)
        arrays = kin.arm == "[]" and (not widths or any("[]" in step for step in kin.cells))
        if arrays and None not in widths:
            return max(total, runs.tasks)
        if len(widths) < runs.tasks:
            return None if kin.known is None or None in widths else total + kin.known * (runs.tasks - len(widths))
        return None if None in widths else total

    # -- one step ------------------------------------------------------------------------------------------------

    def _leaf(self, kin: Kin) -> StepView:
        runs, group = self._runs(kin), self.kins.get(kin.group)
        width = self._width(kin, runs)
        missing = width - kin.seen if width is not None else 0
        counts = kin.counts(missing, kin.left or "pending")
        busy = next(iter(kin.live.values())) if len(kin.live) == 1 else None
        finished = width is not None and not (counts.pending or counts.running or counts.retrying)
        lost = bool(kin.tally.get(SKIPPED))
        status = _status(counts, width, over=self.over, lost=lost) if counts.total or kin.fan_out else ""
        if not status or (kin.fan_out and not counts.total and (width is None or not kin.cells)):
            status = kin.left or "pending"
        unused = "" if kin.began else self._why_unused(kin)
        if unused:
            status = "skipped" if unused == "skipped" else "cancelled" if kin.left == "cancelled" else "pending"
        elif width == 0 and not counts.total and (kin.fan_out or (group is not None and self._empty(group))):
            status = "completed"
        return StepView(
            id=kin.id,
            node=kin.node,
            kind=kin.kind,
            group=kin.group,
            uses=kin.uses,
            where=str(kin.shape.get("where", "")),
            width=width,
            counts=counts,
            status=status,
            started=kin.started,
            ended=kin.ended if finished else None,
            mean=kin.work / kin.count if kin.count else None,
            workers=len(kin.workers),
            attempts=kin.attempts,
            progress=busy.progress if busy else None,
            message=busy.message if busy else "",
            reset=kin.reset,
            arm=kin.arm,
            helper=kin.helper,
            after=tuple(kin.shape.get("after", ())),
            unused=unused,
        )

    def _construct(self, kin: Kin, made: Mapping[str, StepView]) -> StepView:
        bodies = self.facts.of[kin.id]
        inside = [made[child.id] for child in self._inside.get(kin.id, ())]
        shown = [view for view in inside if not view.helper]
        counts = Counts(*(sum(getattr(view.counts, name) for view in shown) for name in Counts.__dataclass_fields__))
        widths = [view.width for view in shown]
        runs = self._runs(kin)
        settled = runs.exact and all(
            view.width is not None and not (view.counts.pending or view.counts.running or view.counts.retrying)
            for view in shown
        )
        if kin.kind in (*_REPEATED, "dynamic"):
            settled = settled and self._of_body(kin.id, "[]").exact
        elif kin.kind == "switch":
            settled = settled and (sum(map(bodies.took, bodies.ran)) >= runs.tasks or self.over)
        started = [view.started for view in inside if view.started is not None]
        ended = [view.ended for view in inside if view.ended is not None]
        began = self._entered(bodies) or any(view.started is not None for view in shown)
        unused = "" if began else self._why_unused(kin)
        taken = tuple(arm for arm in (bodies.arms or bodies.ran) if bodies.took(arm))
        status = self._state(kin, counts, [view.status for view in shown], settled=settled, began=began)
        if unused:
            status = "skipped" if unused == "skipped" else "cancelled" if kin.left == "cancelled" else "pending"
        return StepView(
            id=kin.id,
            node="",
            kind=kin.kind,
            group=kin.group,
            uses=kin.uses,
            where=str(kin.shape.get("where", "")),
            width=None if None in widths else sum(width or 0 for width in widths),
            counts=counts,
            status=status,
            started=min(started, default=None),
            ended=max(ended, default=None) if settled else None,
            workers=max((view.workers for view in inside), default=0),
            reset=kin.reset,
            arm=kin.arm,
            helper=kin.helper,
            after=tuple(kin.shape.get("after", ())),
            unused=unused,
            times=bodies.times if kin.kind in _REPEATED and not unused and (began or bodies.items) else None,
            taken=taken if kin.kind in ("switch", "try") else (),
            labels=tuple((str(arm), str(text)) for arm, text in dict(kin.shape.get("arms", ())).items()),
            construct=True,
        )

    def _state(self, kin: Kin, counts: Counts, inside: list[str], *, settled: bool, began: bool) -> str:
        if kin.id in self.bad and not (counts.running or counts.retrying):
            return "failed"
        if counts.running or counts.retrying:
            return "running" if counts.running else "retrying"
        if settled and (began or inside):
            if inside and all(status == "skipped" for status in inside):
                return "skipped"
            if counts.cancelled and not (counts.done or self.completed):
                return "cancelled"
            return "cached" if counts.cached and counts.cached == counts.total else "completed"
        if self.over and not self.completed:
            return kin.left or ("cancelled" if counts.cancelled else "pending")
        if self.completed and began:
            return "completed"
        return "running" if began else "pending"

    def _entered(self, bodies: Bodies) -> bool:
        """Whether any body of a construct is known to have begun."""
        return bool(bodies.begun or bodies.ran)

    def _empty(self, kin: Kin) -> bool:
        """Whether a construct had no items, or no iterations."""
        bodies = self.facts.of.get(kin.id)
        return bodies is not None and bool(bodies.items or bodies.ends) and not bodies.times

    def _why_unused(self, kin: Kin) -> str:
        """Return why a step that never began has not run, or "" while it may."""
        found = self._unused.get(kin.id)
        if found is None:
            found = self._unused[kin.id] = self._reason(kin)
        return found

    def _reason(self, kin: Kin) -> str:
        if self.facts.off.get(kin.id) and not self._runs(kin).tasks:
            return "skipped"
        group = self.kins.get(kin.group)
        if group is not None:
            bodies = self.facts.of[group.id]
            outer = "" if self._entered(bodies) else self._why_unused(group)
            if outer and not any(child.began for child in self._inside[group.id] if not child.helper):
                return outer
            if kin.arm.startswith(_CASES) and bodies.ran and not bodies.took(kin.arm):
                number = self._of_body(group.id, kin.arm)
                if number.exact or self.over:
                    return "not taken"
            if kin.arm.startswith("catch") and not bodies.took(kin.arm):
                body = [child for child in self._inside[group.id] if child.arm == "try" and not child.construct]
                if self.over and any(child.began for child in body):
                    return "not needed"
        if self._empty(kin) or (group is not None and self._empty(group)):
            return ""
        return "not begun" if self.over and kin.left in ("", "pending", "cancelled") else ""


def _status(counts: Counts, width: int | None, *, over: bool, lost: bool) -> str:
    """Return one word for tasks together.

    Args:
        counts: the tasks by status.
        width: how many there are to be, or None.
        over: whether the run has ended.
        lost: whether some were skipped because of a failure before them.
    """
    if counts.failed:
        return "failed"
    if counts.retrying and not counts.running:
        return "retrying"
    if width is not None and counts.done == width:
        return "cached" if width and counts.cached == width else "completed"
    if counts.running or (counts.pending and counts.done and not over):
        return "running"
    if counts.pending and not over:
        return "pending"
    if counts.cancelled:
        return "cancelled"
    if counts.skipped:
        return "completed" if counts.done and not counts.pending and not lost else "skipped"
    if over or not counts.done:
        return "pending"
    return "running"


def _bad(kins: Mapping[str, Kin], facts: Facts, completed: bool) -> set[str]:
    """Return the constructs that failed: those a failure went through on its way out, up to where it was caught."""
    found: set[str] = set()
    for kin in kins.values():
        if not kin.tally.get(FAILED):
            continue
        chain = list(_around(kin, kins))
        if not any(arm == "try" for _, arm in chain):
            if not completed:
                found.update(group.id for group, _ in chain)
            continue
        for step, index in kin.failures():
            caught = catcher(kin.address(step, index), facts)
            passed: set[str] = set()
            for group, _ in chain:
                if group.id == caught:
                    break
                passed.add(group.id)
            if caught or not completed:
                found |= passed
    return found


def _around(kin: Kin, kins: Mapping[str, Kin]) -> list[tuple[Kin, str]]:
    """Return the constructs around a step, innermost first, and which of their bodies it is in."""
    found = []
    while (group := kins.get(kin.group)) is not None:
        found.append((group, kin.arm))
        kin = group
    return found


def catcher(address: str, facts: Facts) -> str:
    """Return the try that caught the failure of a task, innermost first, or ""."""
    for construct, arm, _ in reversed(list(places(address))):
        if arm == "try":
            bodies = facts.of.get(template := facts.template(construct))
            if bodies is not None and any(
                construct in ran for name, ran in bodies.ran.items() if name.startswith("catch")
            ):
                return template
    return ""
