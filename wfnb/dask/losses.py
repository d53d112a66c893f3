"""What a driver makes of bundles that do not end as they should: told to stop, past their time, or their worker died.

Imports the engine's records. A worker stops what it runs by itself while it can. When C code holds its interpreter it
cannot, so what does not end in time is looked after from here: the executor ends the process. A task under which
workers die is tried some times, alone in the end, and then fails.
"""

from __future__ import annotations

import math
import struct
import threading
import time
from dataclasses import replace

from wfnb.dask.beacon import Busy
from wfnb.dask.guard import GRACE
from wfnb.dask.telling import cancelled_record
from wfnb.dask.work import Verdict
from wfnb.engine.bundles import Bundle
from wfnb.engine.engine import BundleEnded, Engine
from wfnb.model.events import CANCELLED, RUNNING, Column, Event, Outcomes, Running
from wfnb.store.codec import Codec

STOP = 2.0
"""Seconds a worker has to stop a bundle by itself."""
SLACK = 1.0
"""Seconds a worker has, beside its own grace, to end what is past its time by itself."""
DEATHS = 3
"""How many workers may end under one attempt at a task before it fails."""
ALONE = 2
"""How many workers end under a task before it is run with no other such task beside it."""

_FLOAT = struct.Struct("<d").pack
_Attempt = tuple[str, int, int]  # a step's id, element and attempt; its number may change when a run is taken up anew


class Losses:
    """The bundles of a run that did not, or may not, end as they should.

    Args:
        run_id: the run.
        engine: its engine.
        codec: encodes errors.
    """

    def __init__(self, run_id: str, engine: Engine, codec: Codec) -> None:
        self._run_id = run_id
        self._engine = engine
        self._codec = codec
        self._lock = threading.Lock()
        self._marks: dict[str, Running] = {}
        self._begun: dict[str, set[float]] = {}
        self._stopping: dict[str, float] = {}
        self._limited: dict[str, float] = {}
        self._stopped: dict[str, tuple[str, Busy]] = {}
        self._verdicts: dict[_Attempt, Verdict] = {}
        self._deaths: dict[_Attempt, int] = {}
        self._unknown: list[tuple[str, int, int]] = []
        self._cautious: set[str] = set()
        self._alone: list[str] = []

    # -- what happens --------------------------------------------------------------------------------------------

    def see(self, event: Event | None) -> None:
        """Take in an event of the journal."""
        if isinstance(event, Running):
            before = self._marks.get(event.bundle)
            if before is None or (before.step, before.index) != (event.step, event.index):
                self._begun[event.bundle] = set()
            self._marks[event.bundle] = event
            self._begun[event.bundle].add(event.start)
        elif isinstance(event, Outcomes) and event.ended and event.bundle in self._stopping:
            self._stopping[event.bundle] = 0.0  # what Dask has yet to do of it is nothing

    def sent(self, bundle: Bundle) -> tuple[tuple[Verdict, ...], bool]:
        """Take note that a bundle is sent; return what is known of its attempts, and whether it goes with caution."""
        steps = self._engine.state.steps
        times = [steps[i].plan.template.timeout for segment in bundle.segments for i in segment.steps]
        limits = [one for one in times if one is not None]
        if limits:
            self._limited[bundle.id] = time.monotonic() + min(limits) + GRACE + SLACK
        cautious = any(self._within(bundle, step, lo, hi) for step, lo, hi in self._unknown)
        if cautious:
            self._cautious.add(bundle.id)
        known = [
            replace(one, step=self._engine.state.by_id[step])
            for (step, element, _), one in self._verdicts.items()
            if self._within(bundle, step, element, element + 1)
        ]
        return tuple(known), cautious

    def must_wait(self, bundle: Bundle) -> bool:
        """Return whether a bundle waits: workers die under a task of it, and under one of a bundle that is out."""
        if not any(n >= ALONE and self._within(bundle, at[0], at[1], at[1] + 1) for at, n in self._deaths.items()):
            return False
        if bundle.id not in self._alone:
            self._alone.append(bundle.id)
        return self._alone[0] != bundle.id

    def stop(self, bundle: str) -> None:
        """Take note that a bundle was told to stop."""
        self._stopping[bundle] = time.monotonic() + STOP

    def late(self) -> dict[str, bool]:
        """Return the bundles to be looked after now, and whether they are to end whatever they are at."""
        now = time.monotonic()
        found = dict.fromkeys([one for one, until in self._stopping.items() if now > until], True)
        for one in found:
            self._stopping[one] = math.inf
        with self._lock:
            past = [one for one, until in self._limited.items() if now > until and one not in found]
            for one in past:
                del self._limited[one]
        return found | dict.fromkeys(past, False)

    def answer(self, bundle: str, worker: str, busy: Busy | None, *, ends: bool) -> None:
        """Take in what a late bundle is at; from any thread, and before its process is ended.

        Args:
            bundle: its id.
            worker: the worker's name.
            busy: what it is at, or None where it does not run.
            ends: whether its process is ended now for it.
        """
        now = time.time()
        with self._lock:
            if not ends:
                left = 0.0 if busy is None or not busy.deadline else busy.deadline + GRACE - now
                self._limited[bundle] = time.monotonic() + max(left, 0.0) + SLACK
            elif busy is not None and 0 < busy.deadline < now - GRACE:
                at = (self._engine.state.steps[busy.step].plan.id, busy.element, busy.attempt)
                self._verdicts[at] = Verdict(busy.step, busy.element, busy.attempt, busy.start, now)
            elif busy is not None:
                self._stopped[bundle] = (worker, busy)

    # -- what becomes of a bundle --------------------------------------------------------------------------------

    def ended(self, event: BundleEnded) -> tuple[BundleEnded, str, tuple[Column, ...]]:
        """Return the end of a bundle with its blame, and what is to be recorded of it: by which worker, and what."""
        bundle = event.bundle
        with self._lock:
            self._limited.pop(bundle, None)
            stopped = self._stopped.pop(bundle, None)
        mark, begun = self._marks.pop(bundle, None), self._begun.pop(bundle, ())
        cautious = bundle in self._cautious
        asked = self._stopping.pop(bundle, None) is not None
        self._cautious.discard(bundle)
        if event.deaths:
            event = replace(event, innocent=self._blame(bundle, mark, len(begun), event.deaths) or not cautious)
        elif event.error and (asked or stopped is not None):
            event = replace(event, innocent=True)
        if stopped is not None:
            worker, busy = stopped
            return event, worker, self._column(busy, "process")
        index = -1 if mark is None else self._engine.state.by_id.get(mark.step, -1)
        if mark is None or index < 0 or not (asked and event.error) or event.deaths:
            return event, "", ()
        # Nobody could end its process; it has not said since that it stopped, or the bundle would have ended well.
        busy = Busy(index, mark.index, mark.attempt, mark.start, 0.0)
        return event, mark.worker, self._column(busy, "nothing")

    def next_alone(self, bundle: str) -> str:
        """Return the bundle that waited for one that has ended, or ""."""
        if bundle not in self._alone:
            return ""
        first = self._alone[0] == bundle
        self._alone.remove(bundle)
        return self._alone[0] if first and self._alone else ""

    def _blame(self, bundle: str, mark: Running | None, begun: int, deaths: int) -> bool:
        """Count the death against the task that ran, and return True; where none is known, look closer next time."""
        state = self._engine.state
        flying = self._engine.flying.get(bundle)
        index = -1 if mark is None else state.by_id.get(mark.step, -1)
        if mark is not None and index >= 0 and self._runs(index, mark.index):
            at = (mark.step, mark.index, mark.attempt)
            count = self._deaths[at] = self._deaths.get(at, 0) + min(begun, deaths)
            if count >= DEATHS:
                self._verdicts[at] = Verdict(index, mark.index, mark.attempt, mark.start, time.time(), count)
                del self._deaths[at]
            return True
        if flying is not None:
            steps = state.steps
            self._unknown += [(steps[i].plan.id, one.lo, one.hi) for one in flying.segments for i in one.steps]
        return False

    def _runs(self, index: int, element: int) -> bool:
        status = self._engine.state.steps[index].status
        return element < len(status) and status[element] == RUNNING

    def _within(self, bundle: Bundle, step: str, lo: int, hi: int) -> bool:
        """Return whether a bundle has some of these elements of a step."""
        number = self._engine.state.by_id.get(step, -1)
        return any(number in segment.steps and segment.lo < hi and lo < segment.hi for segment in bundle.segments)

    def _column(self, busy: Busy, how: str) -> tuple[Column, ...]:
        """Return what is to be recorded of a task that was cancelled with its process, or goes on unheard."""
        state = self._engine.state
        if not self._runs(busy.step, busy.element):
            return ()
        address = state.address(busy.step, busy.element)
        error = cancelled_record(self._codec, self._run_id, address, how)
        start, end = _FLOAT(busy.start), _FLOAT(time.time())
        step = state.steps[busy.step].plan.id
        return (Column(step, busy.element, busy.attempt, bytes((CANCELLED,)), start, end, errors={0: error}),)
