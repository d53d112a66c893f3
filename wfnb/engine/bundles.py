"""Which ready tasks travel together: chunks of fan-outs, fused chains, small tasks side by side. Pure.

A bundle costs a worker and the scheduler some milliseconds whatever it holds, so tiny tasks must share one; long tasks
must not wait for each other. Three rules settle both without tuning:

* **Share.** A bundle never holds more than its share of what is ready, so that no worker is left without work.
* **Target.** Where durations have been measured, a bundle holds about `TARGET` seconds of work.
* **Budget.** A worker hands back what it has not begun when a bundle has run for `BUDGET` seconds, so a wrong guess
  (and the first bundle is always a guess) costs a round trip, never a worker's time.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

from wfnb.engine.elements import runs_of
from wfnb.engine.plan import PlanStep, Template
from wfnb.engine.state import State
from wfnb.model.events import PENDING

TARGET = 0.2
"""Seconds of work a bundle aims at."""
BUDGET = 0.3
"""Seconds after which a worker hands back what it has not begun."""
WORTH = 0.005
"""Seconds of work below which splitting between workers costs more than it gains."""
MOST_WATCHED = 256
"""Steps in a bundle above which values stay until it ends: so many are quick, and make little."""
MOST = 20_000
"""Elements of one fan-out a bundle holds at most."""
MOST_STEPS = 2_000
"""Steps a bundle fuses at most."""

Entry: TypeAlias = tuple[int, int, int]
"""A step with ready elements, in the order of a queue: (priority, -depth, number)."""


class Segment(NamedTuple):
    """Neighbouring elements that run one after the other, each through the same steps.

    Args:
        steps: the numbers of the steps each element goes through; more than one for fused maps of maps.
        lo: the first element; 0 for a task.
        hi: one past the last.
        attempt: the number of this attempt, 1 for the first.
        base: how many attempts do not count as retries.
    """

    steps: tuple[int, ...]
    lo: int
    hi: int
    attempt: int = 1
    base: int = 0


@dataclass(frozen=True, slots=True)
class Bundle:
    """The tasks that travel to a worker as one Dask task.

    Args:
        id: unique in the run.
        segments: what to run, in order.
        needs: what else it uses, as (step, first element, one past the last).
        keep: steps whose values stay on the worker for those who need them next.
        spent: steps of the bundle whose elements nobody needs once the steps here, the keys, have that element's value.
        priority: 1 (first) to 20 (last).
        resources: what a worker must offer.
        limits: the limits on tasks at once it counts for.
        line: whether each task is all that can follow the one before.
    """

    id: str
    segments: tuple[Segment, ...]
    needs: tuple[tuple[int, int, int], ...]
    keep: frozenset[int]
    spent: Mapping[int, Sequence[int]]
    priority: int
    resources: tuple[tuple[str, float], ...]
    limits: tuple[int, ...] = ()
    line: bool = False


def _first(heap: list[Entry]) -> Entry:
    return heap[0]


class Packer:
    """Takes ready elements out of a state and makes bundles of them.

    Args:
        state: the run's state; taken elements are marked as in flight.
        prefix: what bundle ids begin with; unique for each driver of a run.
    """

    def __init__(self, state: State, prefix: str) -> None:
        self.state = state
        self.prefix = prefix
        self.count = 0
        self._queue = state.queue
        self._clear()

    def next(self, shared: int, bound: int) -> Bundle | None:
        """Return the next bundle, or None when nothing that may start is ready.

        Args:
            shared: how many more bundles may start that any worker can run; what is ready is shared among them.
            bound: how many more may start that need resources.
        """
        if shared <= 0 and bound <= 0:
            return None
        state = self.state
        self._sort_in()
        heaps = (self._fans, self._known, self._unknown) if shared > 0 else ()
        heaps = (*heaps, self._bound) if bound > 0 else heaps
        while queues := [heap for heap in heaps if heap]:
            entry = heapq.heappop(min(queues, key=_first))
            step = state.steps[entry[2]].plan
            if self._must_wait(step):
                self._parked.append(entry)
                continue
            segments = self._take(step, max(1, shared))
            found = self._bundle(step, segments) if segments else None
            if state.steps[step.index].ready:
                self._put(entry)
            if found:
                return found
        return None

    def landed(self, bundle: Bundle) -> None:
        """Note that a bundle has ended: what waited for it may start."""
        for limit in bundle.limits:
            self._loads[limit] -= 1
        for entry in self._parked:
            self._put(entry)
        self._parked.clear()

    def _must_wait(self, step: PlanStep) -> bool:
        """Whether a step that is ready must wait for bundles in flight: for its limits, or its generator."""
        if step.template.rule is not None:
            state = self.state.steps[step.index]
            # An item that waits to be tried again goes before those after it.
            first = state.status.find(PENDING, state.over)
            if state.flying or not any(lo <= first < hi for lo, hi in state.ready):
                return True
        return any(self._loads.get(limit, 0) >= self.state.plan.limits[limit] for limit in step.limits)

    # -- queues --------------------------------------------------------------------------------------------------
    #
    # What is queued is sorted in by kind, once, so that nobody steps over what may not start or does not fit.

    def _clear(self) -> None:
        self._bound: list[Entry] = []
        self._fans: list[Entry] = []
        self._known: list[Entry] = []
        self._unknown: list[Entry] = []
        self._unmeasured: dict[str, list[Entry]] = {}
        self._measured = 0
        self._parked: list[Entry] = []
        self._loads: dict[int, int] = {}

    def _sort_in(self) -> None:
        state = self.state
        if state.queue is not self._queue:  # the run was started anew
            self._queue = state.queue
            self._clear()
        # A label once measured stays so, and a dict keeps its order: the newest come last.
        for label in islice(reversed(state.estimates), len(state.estimates) - self._measured):
            for entry in self._unmeasured.pop(label, ()):
                heapq.heappush(self._known, entry)
        self._measured = len(state.estimates)
        for entry in state.queue:
            self._put(entry)
        state.queue.clear()

    def _put(self, entry: Entry) -> None:
        step = self.state.steps[entry[2]].plan
        if step.resources:
            heapq.heappush(self._bound, entry)
        elif step.alone or step.fan_out:
            heapq.heappush(self._fans, entry)
        elif step.label in self.state.estimates:
            heapq.heappush(self._known, entry)
        else:
            heapq.heappush(self._unknown, entry)
            self._unmeasured.setdefault(step.label, []).append(entry)

    # -- taking --------------------------------------------------------------------------------------------------

    def _quota(self, label_estimate: float | None, slots: int, priority: int) -> int:
        # Of one priority: what goes first is to have every worker, not to leave some to what goes later.
        share = max(1, -(-self.state.ready_counts.get(priority, 0) // slots))
        if label_estimate is None:
            return min(share, MOST)
        most = max(1, int(TARGET / label_estimate))
        least = int(WORTH / label_estimate)
        return min(max(share, least), most, MOST)

    def _take(self, step: PlanStep, slots: int) -> list[Segment]:
        state = self.state
        if step.alone:
            rule = step.template.rule
            return self._take_elements(step.index, (step.index,), rule.batch if rule else 1)
        if not step.fan_out:
            return self._take_tasks(step, slots)
        fused = self._fusable(step)
        estimates = [state.estimate(index) for index in fused]
        total = None if None in estimates else sum(e for e in estimates if e is not None)
        return self._take_elements(step.index, fused, self._quota(total, slots, step.priority))

    def _take_elements(self, index: int, fused: tuple[int, ...], quota: int) -> list[Segment]:
        state = self.state
        step = state.steps[index]
        segments: list[Segment] = []
        ready, at = step.ready, 0
        while quota > 0 and at < len(ready):
            lo, hi = ready[at]
            cut = min(hi, lo + quota)
            if cut < hi:
                ready[at] = cut, hi
            else:
                at += 1
            if not step.plan.alone:
                state.ready_counts[step.plan.priority] -= cut - lo
            for a, b in list(runs_of(step.status, PENDING, lo, cut)):
                quota -= b - a
                segments += self._split_attempts(index, fused, a, b)
        del ready[:at]
        return segments

    def _split_attempts(self, index: int, fused: tuple[int, ...], lo: int, hi: int) -> list[Segment]:
        """Take the elements; those tried before get a segment each, with the number of their attempt."""
        state = self.state
        tried = state.steps[index].attempts
        cuts = sorted(element for element in range(lo, hi) if element in tried) if tried else []
        segments: list[Segment] = []
        at = lo
        for element in [*cuts, hi]:
            if at < element:
                segments.append(self._taken(fused, at, element, 1, 0))
            if element < hi:
                attempt, base = tried[element]
                segments.append(self._taken((index,), element, element + 1, attempt, base))
            at = element + 1
        return segments

    def _taken(self, steps: tuple[int, ...], lo: int, hi: int, attempt: int, base: int) -> Segment:
        state = self.state
        through: list[int] = []
        for index in steps:
            other = state.steps[index]
            # An element that has its value already (a retry upstream ran again) is not run twice.
            if index != steps[0] and other.status.count(PENDING, lo, hi) != hi - lo:
                break
            if index != steps[0] and any(element in other.attempts for element in range(lo, hi) if other.attempts):
                break
            state.take(index, lo, hi)
            through.append(index)
        return Segment(tuple(through), lo, hi, attempt, base)

    def _fusable(self, step: PlanStep) -> tuple[int, ...]:
        """The step and the fan-outs that follow it element by element, as long as nothing else is needed."""
        state = self.state
        chain = [step.index]
        while True:
            last = state.steps[chain[-1]]
            following = [
                user
                for user in last.users
                if (other := state.steps[user]).plan.aligned == (chain[-1],)
                and other.opened
                and other.plan.template.rule is None
                and not other.plan.alone
                and other.plan.priority <= step.priority
                and other.plan.limits == step.limits
            ]
            if len(following) != 1 or len(chain) >= MOST_STEPS:
                return tuple(chain)
            chain.append(following[0])

    def _take_tasks(self, first: PlanStep, slots: int) -> list[Segment]:
        """Take ready tasks of one priority side by side, as many as make a good bundle."""
        state = self.state
        segments = self._take_elements(first.index, (first.index,), 1)
        if not segments:
            return []
        spent = state.estimate(first.index)
        quota = self._quota(spent, slots, first.priority) - 1
        heap = self._unknown if spent is None else self._known
        while quota > 0 and heap and heap[0][0] == first.priority:
            entry = heapq.heappop(heap)
            step = state.steps[entry[2]].plan
            if not state.steps[step.index].ready or (spent is None and step.label in state.estimates):
                continue  # taken already, or measured since and in the other queue too
            if step.limits != first.limits:
                self._parked.append(entry)
                continue
            if spent is not None:
                spent += state.estimate(step.index) or 0.0
                if spent > TARGET:
                    heapq.heappush(heap, entry)
                    break
            taken = self._take_elements(step.index, (step.index,), 1)
            quota -= len(taken)
            segments += taken
        return segments

    # -- fusing --------------------------------------------------------------------------------------------------

    def _bundle(self, first: PlanStep, segments: list[Segment]) -> Bundle:
        line = not first.alone and self._extend(segments, first)
        inside: dict[int, list[tuple[int, int]]] = {}
        for segment in segments:
            for index in segment.steps:
                inside.setdefault(index, []).append((segment.lo, segment.hi))
        self.count += 1
        for limit in first.limits:
            self._loads[limit] = self._loads.get(limit, 0) + 1
        return Bundle(
            id=f"{self.prefix}.{self.count}",
            segments=tuple(segments),
            needs=self._needs(segments),
            keep=frozenset(index for index in inside if self._kept(index, inside)),
            spent=self._spent(inside),
            priority=first.priority,
            resources=first.resources,
            limits=first.limits,
            line=line,
        )

    def _extend(self, segments: list[Segment], first: PlanStep) -> bool:
        """Add what becomes ready through this bundle alone, while that is sure to cost no parallelism.

        A following task whose duration is known joins while the bundle stays below the target; one whose duration is
        not known joins only if it is the one thing that can follow.

        Returns:
            Whether the bundle is a line: each task is all that can follow the one before.
        """
        state = self.state
        counts: dict[int, int] = {}
        for segment in segments:
            for index in segment.steps:
                counts[index] = counts.get(index, 0) + segment.hi - segment.lo
        whole = [index for index, count in counts.items() if self._covers(index, count)]
        if not whole:
            return False
        spent: float | None = 0.0
        for index, count in counts.items():
            estimate = state.estimate(index)
            spent = None if estimate is None or spent is None else spent + estimate * count
        # A step is looked at once: when the last thing it needs joins.
        missing: dict[int, int] = {}
        joined: set[int] = set()
        frontier: list[int] = []
        for index in whole:
            self._joined(index, missing, joined, frontier, ahead=spent is not None)
        lone = len(segments) == 1  # and what has joined it since only follows, for as long as nobody knows
        line = lone and segments[0].hi - segments[0].lo == 1
        steps = state.steps
        while frontier and len(segments) < MOST_STEPS:
            index = heapq.heappop(frontier)
            other = steps[index]
            step = other.plan
            if step.alone or step.priority > first.priority or step.limits != first.limits:
                continue
            width = 1
            if not step.single or other.width is not None:  # else nothing was ever tried of it
                coming = self._coming_width(index)
                if coming is None or other.status.count(PENDING) != len(other.status) or other.attempts:
                    continue
                width = coming
            follows = not step.fan_out and steps[segments[-1].steps[-1]].users == [index]
            estimate = state.estimate(index)
            if estimate is not None and spent is not None:
                if spent + estimate * width > TARGET:
                    continue
                spent += estimate * width
                lone = False
            elif not (lone and follows):
                continue
            else:
                spent = None
            line = line and follows
            if not other.opened:
                other.width, other.status = width, bytearray(bytes((PENDING,)) * width)
            state.take(index, 0, width)
            segments.append(Segment((index,), 0, width))
            self._joined(index, missing, joined, frontier, ahead=spent is not None)
        return line and len(segments) > 1

    def _joined(
        self, index: int, missing: dict[int, int], joined: set[int], frontier: list[int], *, ahead: bool
    ) -> None:
        """Count a step whose last elements are in the bundle towards its users; those that miss nothing may follow.

        Args:
            index: the step's number.
            missing: what those users miss that were looked at before.
            joined: the steps that were counted before.
            frontier: those that miss nothing.
            ahead: whether the steps of a loop's next turn may be made for it.
        """
        state = self.state
        steps, scopes = state.steps, state.rules.scopes
        plan = steps[index].plan
        if plan.template.ends:
            return  # nothing comes after it
        scope = scopes[plan.scope]
        if ahead and scope.construct >= 0:
            state.rules.look_ahead(scope, self._quick)
        for user in steps[index].users:
            other = steps[user]
            step = other.plan
            if step.template.rule is not None or not (index in step.gates or index in step.aligned):
                continue
            left = missing.get(user)
            if left is None:
                left = other.gates
                if step.aligned:
                    left += sum(one not in step.gates and not steps[one].complete for one in step.aligned)
                if scopes[step.scope].ahead:  # made just now: some that it waits for joined before
                    left -= sum(gate in joined for gate in step.gates)
            missing[user] = left - 1
            if left == 1:
                heapq.heappush(frontier, user)
        joined.add(index)

    def _quick(self, template: Template) -> bool:
        """Whether several tasks of a template are known to fit into a bundle."""
        estimate = self.state.estimates.get(template.label)
        return estimate is not None and estimate <= TARGET / 4

    def _coming_width(self, index: int) -> int | None:
        """The width a step will have, when nothing that is still to run decides it."""
        state = self.state
        other = state.steps[index]
        step = other.plan
        if not step.fan_out:
            return 1
        if other.opened:
            return other.width
        if step.sized:
            return None
        widths = {state.steps[source].width for source in step.aligned}
        if other.known is not None:
            widths.add(other.known)
        return widths.pop() if len(widths) == 1 and 0 not in widths else None

    def _covers(self, index: int, inside: int) -> bool:
        state = self.state.steps[index]
        return state.width is not None and not state.growing and state.done + inside == state.width

    def _kept(self, index: int, inside: dict[int, list[tuple[int, int]]]) -> bool:
        """Whether anybody outside the bundle needs the step's values (a later resume reads them from the store)."""
        step = self.state.steps[index].plan
        if not step.keeps or index in self.state.rules.shown:
            return True
        for user in self.state.steps[index].users:
            if user not in inside:
                return True
            aligned = self.state.steps[user].plan.aligned
            if aligned and index in aligned and inside[user] != inside[index]:
                return True
        return False

    def _spent(self, inside: dict[int, list[tuple[int, int]]]) -> dict[int, list[int]]:
        """Return by user which values nobody needs any more once all their users, which are in the bundle, are done."""
        found: dict[int, list[int]] = {}
        if not 1 < len(inside) <= MOST_WATCHED:
            return found
        state = self.state
        scopes, shown = state.rules.scopes, state.rules.shown
        # Order and decisions are told by values that are there.
        stays: set[int] = set()
        for plan in (state.steps[index].plan for index in inside):
            stays.update(gate for gate in plan.gates if gate not in plan.whole)
            scope = scopes[plan.scope]
            if scope.ahead and scope.given is not None:
                stays.add(scope.given[0])
        for index, elements in inside.items():
            if index in stays or index in shown:
                continue
            step, users = state.steps[index].plan, set(state.steps[index].users)
            if all(
                inside.get(user) == elements
                and (other := state.steps[user].plan).fan_out == step.fan_out
                and index in (other.aligned if step.fan_out else other.whole)
                for user in users
            ):
                for user in users:
                    found.setdefault(user, []).append(index)
        return found

    def _needs(self, segments: list[Segment]) -> tuple[tuple[int, int, int], ...]:
        state = self.state
        needs: dict[tuple[int, int, int], None] = {}
        seen: set[int] = set()
        for segment in segments:
            for index in segment.steps:
                step = state.steps[index].plan
                for source in step.whole if index not in seen else ():
                    width = state.steps[source].width
                    if state.steps[source].done and width:
                        needs[source, 0, width] = None
                for source, element in step.cells if index not in seen else ():
                    needs[source, element, element + 1] = None
                seen.add(index)
                for source in step.aligned:
                    if state.steps[source].where(segment.lo, segment.hi):
                        needs[source, segment.lo, segment.hi] = None
        return tuple(needs)
