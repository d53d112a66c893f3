"""The state of a run: the fold of its journal over its plan, and what is in flight. Pure; imports model and plan only.

A fan-out's state is arrays: one status byte an element, and pieces that say where runs of values are kept. `State`
changes only through `apply` (what the journal says), `take` (elements leave in a bundle) and `give_back` (a bundle
ended without their outcome). What becomes of constructs is in `rules`.

A step *opens* when every step it needs whole is complete and its width is known; an element is *ready* when its step
is open and the elements it is aligned with are complete. Invariants are code: `validate`.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from wfnb.engine.elements import DONE, Failure, Piece, StepState, joined, runs_of
from wfnb.engine.plan import Plan, unpack_plan
from wfnb.engine.rules import Rules
from wfnb.model.events import (
    CACHED,
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    Column,
    Command,
    Event,
    Grown,
    Outcomes,
    Place,
    RunEnded,
    RunStarted,
)

_FLOAT = struct.Struct("<d").unpack
OVERHEAD = 10e-6
"""Seconds a task costs a worker beside its own work; keeps estimates of empty tasks above zero."""
HIT = 100e-6
"""Seconds a task costs a worker when its value is known already."""


class State:
    """One run's state.

    Args:
        plan: the plan.

    Attributes:
        steps: the steps' states, by number; they become more as bodies begin.
        started, paused, cancelled: as the journal has it.
        stop_on_error: whether nothing new starts after a failure.
        ended: the last `RunEnded`, or None while the run goes on.
        trouble: what went wrong when no task is to blame, or "".
        retries: waiting retries as (time, step, element).
        ready_counts: how many elements of steps that share bundles are ready, by priority.
        closed: the numbers of steps that were settled since the engine last looked.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stop_on_error = True
        self.started = self.paused = self.cancelled = False
        self.ended: RunEnded | None = None
        self.trouble = ""
        self.estimates: dict[str, float] = {}
        self.widths: dict[str, int] = {}
        self.grown: dict[str, tuple[str, Plan]] = {}
        self._clear()

    def _clear(self) -> None:
        self.steps: list[StepState] = []
        self.by_id: dict[str, int] = {}
        self.retries: list[tuple[float, int, int]] = []
        self.queue: list[tuple[int, int, int]] = []
        self.ready_counts: dict[int, int] = {}
        self.closed: list[int] = []
        self.todo: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.rules = Rules(self)

    def address(self, index: int, element: int) -> str:
        """Return the address of an element."""
        step = self.steps[index].plan
        if not step.fan_out:
            return step.id
        if "[]" in step.id:
            return step.id.replace("[]", f"[{element}]", 1)
        return f"{step.id}[{element}]"

    def estimate(self, index: int) -> float | None:
        """Return the seconds one task of a step takes, or None when none has been measured.

        A fan-out of which some elements were known already goes on as it began: the share of hits counts.
        """
        step = self.steps[index]
        measured = self.estimates.get(step.plan.label)
        if not step.cached:
            return measured
        share = step.cached / step.done
        return HIT * share + (HIT if measured is None else measured) * (1.0 - share)

    @property
    def complete(self) -> bool:
        """Whether the run has its value."""
        return self.rules.finished

    @property
    def failed(self) -> str:
        """The address of the first task that failed for good, or ""."""
        failure = self.rules.failure
        return "" if failure is None or failure.cancelled else failure.address

    # -- what the journal says -----------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take in one event of the journal."""
        match event:
            case Outcomes():
                for column in event.columns:
                    self._column(column, event.bundle)
                    if self.todo:
                        self.work()  # the next column may be of a step that this one opens
            case RunStarted():
                self._start(event)
            case Grown():
                plan, widths = unpack_plan(event.plan)
                self.grown[event.step] = (event.code, plan)
                self.widths.update({f"{event.code}:{path}": width for path, width in widths.items()})
            case Command("cancel"):
                self.cancelled = True
                if self.started:
                    self.rules.cancel()
            case Command("pause"):
                self.paused = True
            case Command("resume"):
                self.paused = False
            case RunEnded():
                self.ended = event
            case _:
                pass
        self.work()

    def work(self) -> None:
        """Do what has become due: by a queue and no recursion, as a chain of a thousand steps opens one by one."""
        while self.todo:
            action, arguments = self.todo.popleft()
            action(*arguments)

    def _start(self, event: RunStarted) -> None:
        self.started, self.ended = True, None
        self.stop_on_error = event.on_error == "stop"
        cancelled = self.cancelled and event.anew
        if not event.anew:
            self.paused = self.cancelled = False
        self.trouble = ""
        self.widths = {**self.widths, **event.widths}
        before, past = self.steps, self.rules
        self._clear()
        self.rules.remember(before, past, event)
        self.rules.begin()
        if cancelled:
            self.rules.cancel()

    # -- outcomes ------------------------------------------------------------------------------------------------

    def _column(self, column: Column, bundle: str) -> None:
        index = self.by_id.get(column.step)
        if index is None:
            return
        state = self.steps[index]
        n, lo = len(column.status), column.lo
        hi = lo + n
        if state.width is None or hi > state.width or not state.opened:
            return  # what it depends on was edited since: it is no outcome of this plan
        if column.size is not None:
            state.size = column.size
        if n == 1 and not state.done and state.plan.single and column.status[0] in DONE:
            self._single_done(state, column, bundle)
            return
        if not n:
            self.end_growth(state, state.size or 0)  # a generator's last word
            return
        if n == 1:
            fresh = column.status[0] in DONE and state.status[lo] not in DONE
        else:
            fresh = sum(column.status.count(s) for s in DONE) == n and self._none_done(state, lo, hi)
        if fresh:
            self._completed(state, lo, hi, column.status, column, bundle)
        else:
            self._mixed(state, column, bundle)
        self._measure(state, column)
        self._close(state)

    def _single_done(self, state: StepState, column: Column, bundle: str) -> None:
        """What the rest of this class does of outcomes, for the one of a task that has its value: most are."""
        (status,), index, rules = column.status, state.plan.index, self.rules
        if state.flying:
            state.flying = 0
            rules.busy(state, -1)
        state.status[0] = status
        state.done = state.over = 1
        state.cached = int(status == CACHED)
        state.pieces = [Piece(0, 1, column.pack, column.offset, bundle, index, 0)]
        if index in rules.sinks:
            self.todo.append((rules.elements_came, (state, 0, 1)))
        if status == COMPLETED:
            self._measured(state.plan.label, _FLOAT(column.end)[0] - _FLOAT(column.start)[0] + OVERHEAD, 0.3)
        if not state.settled:
            state.settled = True
            self.closed.append(index)
            rules.step_over(state)
        state.closed = True
        for user in state.users:
            other = self.steps[user]
            if index not in other.plan.gates:
                continue
            other.gates -= 1
            if other.gates:
                continue
            if other.flying and other.plan.single and not other.skipped:
                other.opened = True  # it has been sent with this one
            else:
                self.todo.append((self.open, (other,)))

    def _none_done(self, state: StepState, lo: int, hi: int) -> bool:
        return state.done == 0 or not any(state.status.count(byte, lo, hi) for byte in DONE)

    def _mixed(self, state: StepState, column: Column, bundle: str) -> None:
        for place, status in enumerate(column.status):
            element = column.lo + place
            if state.status[element] in DONE:
                continue  # recorded once is enough: the first outcome counts
            if status in DONE:
                self._completed(state, element, element + 1, bytes((status,)), column, bundle)
            elif status == FAILED:
                self._failed(state, element, column, place)

    def _completed(self, state: StepState, lo: int, hi: int, status: bytes, column: Column, bundle: str) -> None:
        at = column.offset + lo - column.lo
        self.give_value(state, lo, hi, status, Piece(lo, hi, column.pack, at, bundle, state.plan.index, lo))

    def give_value(self, state: StepState, lo: int, hi: int, status: bytes, piece: Piece) -> None:
        """Let elements have their values, and tell who waits for them."""
        self._ground(state, lo, hi)
        if FAILED in state.status[lo:hi]:
            state.over -= state.status.count(FAILED, lo, hi)
        state.status[lo:hi] = status
        state.done += hi - lo
        state.cached += status.count(CACHED)
        state.over += hi - lo
        state.keep(piece)
        for user in state.users:
            other = self.steps[user]
            if state.plan.index in other.plan.aligned and other.opened:
                self.make_ready(other, lo, hi)
        if state.plan.index in self.rules.listening or state.plan.index in self.rules.sinks:
            self.todo.append((self.rules.elements_came, (state, lo, hi)))

    def _failed(self, state: StepState, element: int, column: Column, place: int) -> None:
        self._ground(state, element, element + 1)
        error = column.errors[place]
        _, base = state.attempts.get(element, (1, 0))
        state.attempts[element] = (column.attempt + 1, base)
        if error.retry_in is not None:
            end = array("d", column.end)[place]
            heapq.heappush(self.retries, (end + error.retry_in, state.plan.index, element))
            return
        if state.status[element] == FAILED:
            return
        state.status[element] = FAILED
        state.over += 1
        address = self.address(state.plan.index, element)
        failure = Failure(error.type, error.kinds, error.message, address, column.attempt - base)
        state.errors[element] = failure
        self.todo.append((self.rules.lost, (state, element, failure)))

    def _measure(self, state: StepState, column: Column) -> None:
        count = column.status.count(COMPLETED) + column.status.count(FAILED)
        if not count:
            return  # says nothing of how long one runs
        if len(column.status) == 1:
            mean = _FLOAT(column.end)[0] - _FLOAT(column.start)[0] + OVERHEAD
        elif count == len(column.status):
            mean = _typical(column) + OVERHEAD
        else:  # what was known already began and ended at once
            mean = (sum(array("d", column.end)) - sum(array("d", column.start))) / count + OVERHEAD
        # Large columns say more than small ones; the newest says most.
        self._measured(state.plan.label, mean, 0.3 if count < 22 else count / (count + 50))

    def _measured(self, label: str, mean: float, share: float) -> None:
        """Take in how long tasks took in the mean: into the estimate, with its share."""
        old = self.estimates.get(label)
        if old is not None:  # one that is far off may be one of a kind
            mean = old + share * (min(max(mean, old / 4), old * 4) - old)
        self.estimates[label] = mean

    # -- opening -------------------------------------------------------------------------------------------------

    def _find_width(self, state: StepState) -> int | None:
        plan = state.plan
        if not plan.fan_out:
            return 1
        lengths = [] if state.known is None else [state.known]
        for source in plan.aligned:
            other = self.steps[source]
            if other.width is None or not other.opened:
                return None
            lengths.append(other.width)
        for source in plan.sized:
            other = self.steps[source]
            length = other.width if other.plan.fan_out else other.size
            if length is None:
                if other.complete:
                    self._unfit(state, f"cannot map over the value of '{other.plan.id}': it has no length")
                return None
            lengths.append(length)
        if plan.template.product:
            width = 1
            for length in lengths:
                width *= length
            return width
        if len(set(lengths)) > 1:
            self._unfit(state, f"maps over lists that differ in length: {lengths}")
            return None
        return lengths[0]

    def _unfit(self, state: StepState, why: str) -> None:
        text = f"step '{state.plan.id}' {why}"
        failure = Failure("ValueError", ("ValueError", "Exception"), text, state.plan.id, 0, told=True)
        self.todo.append((self.rules.lost, (state, -1, failure)))

    def open(self, state: StepState) -> None:
        """Open a step if nothing hinders it any more."""
        if state.opened or state.gates or state.skipped:
            return
        if state.plan.template.rule is not None:
            state.opened = True
            self.rules.begin_construct(state)
            return
        if not state.plan.fan_out and (state.width is None or state.status[0] != FAILED):
            if state.width is None:
                state.width, state.status = 1, bytearray((PENDING,))
            state.opened = True
            if state.status[0] == PENDING and not self.rules.scopes[state.plan.scope].stopping:
                self._queue(state, 0, 1)
            self._close(state)
            return
        width = self._find_width(state)
        if width is None:
            return
        state.growing = any(self.steps[source].growing for source in state.plan.aligned)
        if state.width != width and not (state.growing and (state.width or 0) <= width):
            # A width that changed means that what it maps over changed: nothing of it can be kept.
            state.status = bytearray()
            state.done = state.cached = state.over = 0
            state.pieces, state.attempts, state.errors = [], {}, {}
        state.opened = True
        self.widen(state, width)
        for lo, hi in runs_of(state.status, FAILED, 0, width):
            for element in range(lo, hi):
                failure = state.errors.get(element) or Failure("", (), "", self.address(state.plan.index, element), 1)
                self.todo.append((self.rules.lost, (state, element, failure)))
        if not self.stop_on_error:
            self.rules.opened(state)
        self._close(state)

    def widen(self, state: StepState, width: int) -> None:
        """Let a step have more elements, with all that go element by element with it."""
        state.width = width
        state.status.extend(bytes((PENDING,)) * (width - len(state.status)))
        for user in state.users:
            other = self.steps[user]
            if state.plan.index not in other.plan.aligned:
                continue
            if not other.opened:
                self.todo.append((self.open, (other,)))
            elif other.growing and (other.width or 0) < width:
                self.widen(other, width)
        self.make_ready(state, 0, width)

    def end_growth(self, state: StepState, total: int) -> None:
        """Let a step that was growing have no more elements; what was made room for beyond the last is not there."""
        todo = [state]
        while todo:
            one = todo.pop()
            if not one.growing:
                continue
            one.growing, one.width = False, total
            self._ground(one, total, len(one.status))
            del one.status[total:]
            self.forget_ready(one)
            self.make_ready(one, 0, total)
            for user in one.users:
                if one.plan.index in self.steps[user].plan.aligned:
                    todo.append(self.steps[user])
            if one.plan.index in self.rules.listening:
                self.todo.append((self.rules.elements_came, (one, total, total)))
            self._close(one)

    def _close(self, state: StepState) -> None:
        if not state.settled and state.opened and not state.growing and state.over == state.width:
            self.settle(state)
        if state.closed or not state.complete:
            return
        state.closed = True
        if state.plan.index in self.rules.listening:
            self.todo.append((self.rules.elements_came, (state, 0, 0)))
        for user in state.users:
            other = self.steps[user]
            if state.plan.index in other.plan.gates:
                other.gates -= 1
                if not other.gates:
                    self.todo.append((self.open, (other,)))
        if state.plan.template.ends and state.status[:1] in (bytes((COMPLETED,)), bytes((CACHED,))):
            self.rules.end_with(state)  # one whose condition was false, or that failed, stops nothing

    close = _close

    def settle(self, state: StepState) -> None:
        """Note that nothing more comes of a step."""
        if not state.settled:
            state.settled = True
            self.closed.append(state.plan.index)
            self.rules.step_over(state)

    # -- readiness -----------------------------------------------------------------------------------------------

    def make_ready(self, state: StepState, lo: int, hi: int) -> None:
        """Queue the pending elements in a range whose aligned elements are complete."""
        if state.plan.template.rule is not None and state.plan.template.rule.kind != "source":
            return
        if self.rules.scopes[state.plan.scope].stopping:
            return
        for a, b in list(runs_of(state.status, PENDING, lo, min(hi, state.width or 0))):
            for c, d in self._aligned_runs(state, a, b, 0):
                self._queue(state, c, d)

    def _aligned_runs(self, state: StepState, lo: int, hi: int, depth: int) -> Iterator[tuple[int, int]]:
        if depth == len(state.plan.aligned):
            yield lo, hi
            return
        status = self.steps[state.plan.aligned[depth]].status
        for done in DONE:
            for a, b in runs_of(status, done, lo, min(hi, len(status))):
                yield from self._aligned_runs(state, a, b, depth + 1)

    def _queue(self, state: StepState, lo: int, hi: int) -> None:
        plan = state.plan
        state.ready.append((lo, hi))
        if plan.template.rule is not None:  # a generator gives its items one after the other, lost ones too
            state.ready = joined(state.ready)
        if not plan.alone:
            self.ready_counts[plan.priority] = self.ready_counts.get(plan.priority, 0) + hi - lo
        heapq.heappush(self.queue, (plan.priority, -plan.depth, plan.index))

    def forget_ready(self, state: StepState) -> None:
        """Let nothing of a step be ready."""
        if state.ready and not state.plan.alone:
            self.ready_counts[state.plan.priority] -= sum(hi - lo for lo, hi in state.ready)
        state.ready.clear()

    # -- flight --------------------------------------------------------------------------------------------------

    def take(self, index: int, lo: int, hi: int) -> None:
        """Mark elements as in flight."""
        state = self.steps[index]
        if hi - lo == 1:
            state.status[lo] = RUNNING
        else:
            state.status[lo:hi] = bytes((RUNNING,)) * (hi - lo)
        state.flying += hi - lo
        self.rules.busy(state, hi - lo)

    def _ground(self, state: StepState, lo: int, hi: int) -> None:
        landed = state.status.count(RUNNING, lo, hi)
        if landed:
            state.flying -= landed
            for a, b in list(runs_of(state.status, RUNNING, lo, hi)):
                state.status[a:b] = bytes((PENDING,)) * (b - a)
            self.rules.busy(state, -landed)

    def give_back(self, index: int, lo: int, hi: int, attempt: int) -> None:
        """Take elements back that left in a bundle and have no outcome of that attempt.

        An element whose attempt failed may be in flight again, in another bundle: that one is not touched.
        """
        state = self.steps[index]
        if not state.flying and (self.stop_on_error or not state.opened):
            return  # all of it has landed, as it mostly has
        tried = state.attempts
        for a, b in list(runs_of(state.status, RUNNING, lo, min(hi, len(state.status)))):
            if tried and (b - a > 1 or tried.get(a, (1, 0))[0] != attempt):
                for element in range(a, b) if b - a > 1 else ():
                    self.give_back(index, element, element + 1, attempt)
                continue
            state.status[a:b] = bytes((PENDING,)) * (b - a)
            state.flying -= b - a
            self.rules.busy(state, a - b)
            if state.opened:
                self.make_ready(state, a, b)
        if state.opened and not self.stop_on_error:
            self.rules.opened(state)  # what it goes with may have failed while it was in flight

    def due(self, now: float) -> None:
        """Queue the retries whose time has come."""
        while self.retries and self.retries[0][0] <= now:
            _, index, element = heapq.heappop(self.retries)
            state = self.steps[index]
            if state.status[element] == PENDING:
                self.make_ready(state, element, element + 1)

    def validate(self) -> None:
        """Raise AssertionError when an invariant does not hold."""
        for state in self.steps:
            if state.width is None:
                continue
            done = sum(state.status.count(s) for s in DONE)
            assert state.done == done, state.plan.id  # noqa: S101
            assert state.flying == state.status.count(RUNNING), state.plan.id  # noqa: S101
            covered = sum(piece.hi - piece.lo for piece in state.pieces)
            assert covered == done, (state.plan.id, covered, done)  # noqa: S101
        self.rules.validate()


def _typical(column: Column) -> float:
    """Return the median of some of a column's durations.

    A few tasks that take a thousand times longer must not make bundles of the others small: what waits behind such a
    task in a bundle is handed back.
    """
    every = max(1, len(column.status) // 64)
    starts, ends = array("d", column.start)[::every], array("d", column.end)[::every]
    return sorted([end - start for start, end in zip(starts, ends, strict=True)])[len(starts) // 2]


MOST_PLACES = 10_000
"""In how many places values may be for a run's end to say where they are."""


def outputs_of(state: State, most: int | None = MOST_PLACES) -> tuple[tuple[int, int, tuple[Place, ...]], ...]:
    """Return where the values are that the run's is made of, as `RunEnded` has it.

    Args:
        state: the run's state.
        most: in how many places they may be; nothing is returned where they are in more. None: in any number.
    """
    found: list[tuple[int, int, tuple[Place, ...]]] = []
    for template in state.plan.outputs:
        step = state.steps[state.rules.scopes[0].numbers[template]]
        width = step.width or 0
        found.append((template, width, tuple([(p.lo, p.hi, p.pack, p.offset) for p in step.where(0, width)])))
    return tuple(found) if most is None or sum(len(places) for _, _, places in found) <= most else ()
