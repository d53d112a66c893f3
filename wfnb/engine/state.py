"""The state of a run: the fold of its journal over its plan, and what is in flight. Pure; imports model and plan only.

A fan-out's state is arrays: one status byte an element, and pieces that say where runs of values are kept. `State`
changes only through `apply` (what the journal says), `take` (elements leave in a bundle) and `give_back` (a bundle
ended without their outcome).

A step *opens* when every step it needs whole is complete and its width is known; an element is *ready* when its step
is open and the elements it is aligned with are complete. Invariants are code: `validate`.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from wfnb.engine.plan import Plan, PlanStep
from wfnb.model.events import (
    CACHED,
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SKIPPED,
    Column,
    Command,
    Event,
    Outcomes,
    RunEnded,
    RunStarted,
)

_DONE = (COMPLETED, CACHED)
_FLOAT = struct.Struct("<d").unpack
OVERHEAD = 10e-6
"""Seconds a task costs a worker beside its own work; keeps estimates of empty tasks above zero."""
HIT = 100e-6
"""Seconds a task costs a worker when its value is known already."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Where the values of neighbouring elements are.

    Args:
        lo: the first element.
        hi: one past the last.
        pack: the key of the pack in the store, or "".
        offset: the first element's place in the pack.
        bundle: the bundle whose result may still hold them on a worker.
    """

    lo: int
    hi: int
    pack: str
    offset: int
    bundle: str


@dataclass(slots=True)
class StepState:
    """The state of one step: arrays over its elements (a task has one).

    Args:
        plan: the step.
        width: how many elements it has, or None while that is not known.
        status: one status byte an element.
        attempts: for elements tried before: the number of the next attempt, and how many do not count as retries.
        pieces: where values are, sorted by element, without overlap.
        ready: ranges of elements that could be dispatched; some may have been overtaken by events.
        known: the width that constants and inputs decide, or None.
        size: the length of a task's value, or None.
        gates: how many of the steps it needs whole are not complete.
        done: how many elements have a value.
        cached: how many of them were known already.
        over: how many have a value, failed or were skipped.
        flying: how many are in flight.
    """

    plan: PlanStep
    width: int | None = None
    status: bytearray = field(default_factory=bytearray)
    attempts: dict[int, tuple[int, int]] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    ready: deque[tuple[int, int]] = field(default_factory=deque)
    known: int | None = None
    size: int | None = None
    gates: int = 0
    opened: bool = False
    closed: bool = False
    skipped: bool = False
    done: int = 0
    cached: int = 0
    over: int = 0
    flying: int = 0

    @property
    def complete(self) -> bool:
        """Whether every element has a value."""
        return self.width is not None and self.done == self.width and self.opened

    def where(self, lo: int, hi: int) -> list[Piece]:
        """Return pieces that cover the elements from `lo` to `hi` that have a value, in order."""
        pieces = self.pieces
        at = max(bisect_right(pieces, lo, key=_first) - 1, 0)
        found = []
        while at < len(pieces) and (piece := pieces[at]).lo < hi:
            if piece.hi > lo:
                a, b = max(piece.lo, lo), min(piece.hi, hi)
                found.append(Piece(a, b, piece.pack, piece.offset + a - piece.lo, piece.bundle))
            at += 1
        return found

    def keep(self, new: Piece) -> None:
        """Add a piece, in order, joined to the one before it where they are neighbours in one pack."""
        at = bisect_right(self.pieces, new.lo, key=_first)
        last = self.pieces[at - 1] if at else None
        if (
            last
            and (last.hi, last.pack, last.bundle) == (new.lo, new.pack, new.bundle)
            and last.offset + last.hi - last.lo == new.offset
        ):
            self.pieces[at - 1] = Piece(last.lo, new.hi, last.pack, last.offset, last.bundle)
        else:
            self.pieces.insert(at, new)


def _first(piece: Piece) -> int:
    return piece.lo


def runs_of(status: bytearray, byte: int, lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of neighbouring elements that have a status, as (first, one past the last)."""
    if status.count(byte, lo, hi) == hi - lo:
        if hi > lo:
            yield lo, hi
        return
    at = status.find(byte, lo, hi)
    while at >= 0:
        end = at + 1
        while end < hi and status[end] == byte:
            end += 1
        yield at, end
        at = status.find(byte, end, hi)


class State:
    """One run's state.

    Args:
        plan: the plan.

    Attributes:
        steps: the steps' states, by number.
        started, paused, cancelled: as the journal has it.
        stop_on_error: whether nothing new starts after a failure.
        ended: the last `RunEnded`, or None while the run goes on.
        failed: the address of the first task that failed for good, or "".
        trouble: what went wrong when no task is to blame, or "".
        retries: waiting retries as (time, step, element).
        ready_count: how many elements of steps that share bundles are ready.
        closings: how many steps have become complete; grows only.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stop_on_error = True
        self.by_id = {step.id: step.index for step in plan.steps}
        self.steps = [StepState(step) for step in plan.steps]
        self.started = self.paused = self.cancelled = False
        self.ended: RunEnded | None = None
        self.failed = ""
        self.trouble = ""
        self.retries: list[tuple[float, int, int]] = []
        self.estimates: dict[str, float] = {}
        self.queue: list[tuple[int, int, int]] = []
        self.ready_count = 0
        self.closings = 0
        self._opening: deque[StepState] = deque()

    def address(self, index: int, element: int) -> str:
        """Return the address of an element."""
        step = self.plan.steps[index]
        return f"{step.id}[{element}]" if step.fan_out else step.id

    def estimate(self, index: int) -> float | None:
        """Return the seconds one task of a step takes, or None when none has been measured.

        A fan-out of which some elements were known already goes on as it began: the share of hits counts.
        """
        measured = self.estimates.get(self.plan.steps[index].label)
        step = self.steps[index]
        if not step.cached:
            return measured
        share = step.cached / step.done
        return HIT * share + (HIT if measured is None else measured) * (1.0 - share)

    @property
    def complete(self) -> bool:
        """Whether every step has its complete value."""
        return all(step.complete for step in self.steps)

    # -- what the journal says -----------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take in one event of the journal."""
        match event:
            case Outcomes():
                for column in event.columns:
                    self._column(column, event.bundle)
            case RunStarted():
                self._start(event)
            case Command("cancel"):
                self.cancelled = True
            case Command("pause"):
                self.paused = True
            case Command("resume"):
                self.paused = False
            case RunEnded():
                self.ended = event
            case _:
                pass

    def _start(self, event: RunStarted) -> None:
        self.started, self.ended = True, None
        self.stop_on_error = event.on_error == "stop"
        self.paused = self.cancelled = False
        self.trouble = self.failed = ""
        self.queue, self.retries, self.ready_count = [], [], 0
        old = self.steps
        self.steps = [StepState(step) for step in self.plan.steps]
        dropped = self._dropped(event, old)
        for state in self.steps:
            state.known = event.widths.get(state.plan.id)
            state.gates = len(state.plan.whole)
            if state.plan.index not in dropped:
                self._inherit(state, old[state.plan.index], retry=event.retry)
        for state in self.steps:
            if state.gates == 0:
                self._open(state)
                self._drain()
        for state in self.steps:
            for lo, hi in runs_of(state.status, FAILED, 0, len(state.status)):
                for element in range(lo, hi):
                    self._lost(state, element)

    def _dropped(self, event: RunStarted, old: list[StepState]) -> set[int]:
        """Steps whose outcomes do not count any more: edited or removed ones, unkept values somebody still needs."""
        dropped = {self.by_id[step] for step in event.reset if step in self.by_id}
        if event.fingerprints:  # it names every step there was then: what is missing was removed, and came back later
            dropped |= {index for step, index in self.by_id.items() if step not in event.fingerprints}
        for step in reversed(self.plan.steps):
            if not step.keeps and any(user in dropped or not old[user].complete for user in step.users):
                dropped.add(step.index)
        return dropped

    def _inherit(self, state: StepState, old: StepState, *, retry: bool) -> None:
        """Keep what an earlier driver got done; what it left in flight or skipped starts anew."""
        if old.width is None:
            return
        state.size, state.pieces, state.attempts, state.width = old.size, old.pieces, old.attempts, old.width
        keep = _DONE if retry else (*_DONE, FAILED)
        state.status = old.status.translate(bytes(byte if byte in keep else PENDING for byte in range(256)))
        state.done, state.cached = old.done, old.cached
        state.over = old.done + state.status.count(FAILED)
        if retry:
            state.attempts = {element: (attempt, attempt - 1) for element, (attempt, _) in old.attempts.items()}

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
        if sum(column.status.count(s) for s in _DONE) == n and self._none_done(state, lo, hi):
            self._completed(state, lo, hi, column.status, column, bundle)
        else:
            self._mixed(state, column, bundle)
        self._measure(state, column)
        self._close(state)
        self._drain()

    def _none_done(self, state: StepState, lo: int, hi: int) -> bool:
        return state.done == 0 or not any(state.status.count(byte, lo, hi) for byte in _DONE)

    def _mixed(self, state: StepState, column: Column, bundle: str) -> None:
        for place, status in enumerate(column.status):
            element = column.lo + place
            if state.status[element] in _DONE:
                continue  # recorded once is enough: the first outcome counts
            if status in _DONE:
                self._completed(state, element, element + 1, bytes((status,)), column, bundle)
            elif status == FAILED:
                self._failed(state, element, column, place)

    def _completed(self, state: StepState, lo: int, hi: int, status: bytes, column: Column, bundle: str) -> None:
        self._ground(state, lo, hi)
        state.status[lo:hi] = status
        state.done += hi - lo
        state.cached += status.count(CACHED)
        state.over += hi - lo
        state.keep(Piece(lo, hi, column.pack, column.offset + lo - column.lo, bundle))
        for user in state.plan.users:
            if state.plan.index in self.plan.steps[user].aligned:
                self._arrived(self.steps[user], lo, hi)

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
        self._lost(state, element)

    def _lost(self, state: StepState, element: int) -> None:
        """A task failed for good: say so, and skip what cannot run without it."""
        self.failed = self.failed or self.address(state.plan.index, element)
        if self.stop_on_error:
            return
        todo: list[tuple[StepState, int, int]] = [(state, element, element + 1)]
        while todo:
            origin, lo, hi = todo.pop()
            for user in origin.plan.users:
                other = self.steps[user]
                whole = origin.skipped or origin.plan.index in other.plan.whole
                if whole and other.skipped:
                    continue
                other.skipped = other.skipped or whole
                a, b = (0, other.width or 0) if whole else (lo, min(hi, other.width or 0))
                for c, d in list(runs_of(other.status, PENDING, a, b)):
                    other.status[c:d] = bytes((SKIPPED,)) * (d - c)
                    other.over += d - c
                if whole or a < b:
                    todo.append((other, a, b))

    def _measure(self, state: StepState, column: Column) -> None:
        known = column.status.count(CACHED)
        if known == len(column.status):
            return  # says nothing of how long one runs
        count = len(column.status) - known
        # What was known already began and ended at once.
        if len(column.status) == 1:
            mean = _FLOAT(column.end)[0] - _FLOAT(column.start)[0] + OVERHEAD
        else:
            mean = (sum(array("d", column.end)) - sum(array("d", column.start))) / count + OVERHEAD
        label = state.plan.label
        old = self.estimates.get(label)
        # Large columns say more than small ones; the newest says most.
        share = max(0.3, count / (count + 50))
        self.estimates[label] = mean if old is None else old + share * (mean - old)

    # -- opening -------------------------------------------------------------------------------------------------

    def _find_width(self, state: StepState) -> int | None:
        plan = state.plan
        if not plan.fan_out:
            return 1
        lengths = [] if state.known is None else [state.known]
        for source in plan.aligned:
            width = self.steps[source].width
            if width is None:
                return None
            lengths.append(width)
        for source in plan.sized:
            other = self.steps[source]
            length = other.width if other.plan.fan_out else other.size
            if length is None:
                if other.complete:
                    self.trouble = f"step '{plan.id}' cannot map over the value of '{other.plan.id}': it has no length"
                return None
            lengths.append(length)
        if plan.product:
            width = 1
            for length in lengths:
                width *= length
            return width
        if len(set(lengths)) > 1:
            self.trouble = f"step '{plan.id}' maps over lists that differ in length: {lengths}"
            return None
        return lengths[0]

    def _open(self, state: StepState) -> None:
        if state.opened or state.gates:
            return
        width = self._find_width(state)
        if width is None:
            return
        if state.width != width:
            # A width that changed means that what it maps over changed: nothing of it can be kept.
            state.width, state.status = width, bytearray(bytes((PENDING,)) * width)
            state.done = state.cached = state.over = 0
            state.pieces, state.attempts = [], {}
        state.opened = True
        for user in state.plan.users:
            if state.plan.index in self.plan.steps[user].aligned:
                self._opening.append(self.steps[user])
        self._make_ready(state, 0, width)
        self._close(state)

    def _close(self, state: StepState) -> None:
        if state.closed or not state.complete:
            return
        state.closed = True
        self.closings += 1
        for user in state.plan.users:
            other = self.steps[user]
            if state.plan.index in other.plan.whole:
                other.gates -= 1
                self._opening.append(other)

    def _drain(self) -> None:
        # A queue and not a recursion: a chain of a thousand finished steps opens one after the other.
        while self._opening:
            self._open(self._opening.popleft())

    # -- readiness -----------------------------------------------------------------------------------------------

    def _arrived(self, state: StepState, lo: int, hi: int) -> None:
        if state.opened:
            self._make_ready(state, lo, hi)

    def _make_ready(self, state: StepState, lo: int, hi: int) -> None:
        """Queue the pending elements in a range whose aligned elements are complete."""
        for a, b in list(runs_of(state.status, PENDING, lo, hi)):
            for c, d in self._aligned_runs(state, a, b, 0):
                self._queue(state, c, d)

    def _aligned_runs(self, state: StepState, lo: int, hi: int, depth: int) -> Iterator[tuple[int, int]]:
        if depth == len(state.plan.aligned):
            yield lo, hi
            return
        status = self.steps[state.plan.aligned[depth]].status
        for done in _DONE:
            for a, b in runs_of(status, done, lo, hi):
                yield from self._aligned_runs(state, a, b, depth + 1)

    def _queue(self, state: StepState, lo: int, hi: int) -> None:
        plan = state.plan
        state.ready.append((lo, hi))
        if not plan.alone:
            self.ready_count += hi - lo
        heapq.heappush(self.queue, (plan.priority, -plan.depth, plan.index))

    # -- flight --------------------------------------------------------------------------------------------------

    def take(self, index: int, lo: int, hi: int) -> None:
        """Mark elements as in flight."""
        state = self.steps[index]
        state.status[lo:hi] = bytes((RUNNING,)) * (hi - lo)
        state.flying += hi - lo

    def _ground(self, state: StepState, lo: int, hi: int) -> None:
        landed = state.status.count(RUNNING, lo, hi)
        if landed:
            state.flying -= landed
            for a, b in list(runs_of(state.status, RUNNING, lo, hi)):
                state.status[a:b] = bytes((PENDING,)) * (b - a)

    def give_back(self, index: int, lo: int, hi: int, attempt: int) -> None:
        """Take elements back that left in a bundle and have no outcome of that attempt.

        An element whose attempt failed may be in flight again, in another bundle: that one is not touched.
        """
        state = self.steps[index]
        tried = state.attempts
        for a, b in list(runs_of(state.status, RUNNING, lo, hi)):
            if tried and (b - a > 1 or tried.get(a, (1, 0))[0] != attempt):
                for element in range(a, b) if b - a > 1 else ():
                    self.give_back(index, element, element + 1, attempt)
                continue
            state.status[a:b] = bytes((PENDING,)) * (b - a)
            state.flying -= b - a
            if state.opened:
                self._make_ready(state, a, b)

    def due(self, now: float) -> None:
        """Queue the retries whose time has come."""
        while self.retries and self.retries[0][0] <= now:
            _, index, element = heapq.heappop(self.retries)
            state = self.steps[index]
            if state.status[element] == PENDING:
                self._make_ready(state, element, element + 1)

    def validate(self) -> None:
        """Raise AssertionError when an invariant does not hold."""
        for state in self.steps:
            if state.width is None:
                continue
            done = sum(state.status.count(s) for s in _DONE)
            assert state.done == done, state.plan.id  # noqa: S101
            assert state.flying == state.status.count(RUNNING), state.plan.id  # noqa: S101
            covered = sum(piece.hi - piece.lo for piece in state.pieces)
            assert covered == done, (state.plan.id, covered, done)  # noqa: S101
