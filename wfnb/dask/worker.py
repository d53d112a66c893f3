"""The worker's part: run a bundle, task by task, and have every outcome acknowledged before it counts.

A bundle runs in one thread of a worker. Beside it one ticker thread a process flushes outcomes, says which task has
been running for long, stops tasks at their deadline, and makes a bundle hand back what it has not begun.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from wfnb.dask.beacon import Beacon, name_of
from wfnb.dask.cache import Cache
from wfnb.dask.ending import leave, may_end, own_worker
from wfnb.dask.generators import GENERATORS
from wfnb.dask.growing import planned
from wfnb.dask.guard import Guard, Stop
from wfnb.dask.keys import cancel_key, hold_key, stop_key
from wfnb.dask.output import TASK_LOGGER, captured
from wfnb.dask.program import Program, Runner, program, size_of_value
from wfnb.dask.recorder import TICK, VALUED, Recorder, Row, printable
from wfnb.dask.telling import cancelled_record, format_traceback, text_of
from wfnb.dask.ticker import TICKER
from wfnb.dask.values import Absent, Cells, Values
from wfnb.dask.work import Held, Orders, Sealed, Verdict
from wfnb.engine.bundles import BUDGET, Segment
from wfnb.model.context import Context
from wfnb.model.errors import RunError, TaskTimeout, TypeMismatch, WfnbError, WorkerDied
from wfnb.model.events import CACHED, CANCELLED, COMPLETED, FAILED, PASSED, TOLERATED, ErrorRecord, Running
from wfnb.model.policy import kinds_of, matches
from wfnb.store.base import Store
from wfnb.store.codec import MISSING
from wfnb.store.shared import load_packs
from wfnb.store.urls import open_store

CANCEL_EVERY = 0.25
"""Seconds between looks for a cancel."""
MOST_ERROR = 256 * 1024
"""Bytes of a task's error that are kept, of each of its forms."""


_BEACONS: list[Beacon] = []
_BEACONS_LOCK = threading.Lock()


def _beacon(host: Any) -> Beacon | None:
    """Return where this process says what it is at, where there is a nanny to read it."""
    if not may_end(host):
        return None
    with _BEACONS_LOCK:
        if not _BEACONS or _BEACONS[0].pid != os.getpid():
            _BEACONS[:] = [Beacon(Path(host.local_directory))]
        return _BEACONS[0]


def run_bundle(sealed: Sealed, *held: Held, first: bool = False) -> Held:
    """Run a bundle and return the values it leaves for others; the function of every Dask task wfnb sends.

    Args:
        sealed: its orders.
        held: the values that bundles before it have left.
        first: whether it is sure that nobody has run it before.
    """
    orders = sealed.open()
    store = open_store(orders.url)
    prog = program(store, orders.run_id, orders.code, orders.secret)
    return _Execution(orders, store, prog, held, own_worker()).run(first=first)


class _Execution:
    """One execution of one bundle."""

    def __init__(self, orders: Orders, store: Store, prog: Program, held: tuple[Held, ...], host: Any) -> None:
        self.orders = orders
        self.store = store
        self.program = prog
        # In the trace: the Dask worker's name, else the host and process.
        worker = f"{socket.gethostname()}:{os.getpid()}" if host is None else str(host.name)
        self.recorder = Recorder(store, orders, worker, prog.classes)
        self.began = time.monotonic()
        self.current: tuple[Runner, int, int, int, float] | None = None
        self.yielded = False
        self.progress: tuple[float, str] | None = None
        self.guard = Guard(orders.run_id)
        self._host = host
        self._beacon = _beacon(host)
        self._place = -1 if self._beacon is None else self._beacon.take()
        self._name = name_of(orders.run_id, orders.bundle)
        self._ordered = bool(orders.after or orders.given)
        self._verdicts = {(one.step, one.element, one.attempt): one for one in orders.verdicts}
        self._marked: object = None
        self._next_look = self.began + CANCEL_EVERY
        self._unkept: set[tuple[int, int]] = set()
        self._left_out = False
        self.values = Values({}, orders.widths, orders.fan_outs, prog.inputs, orders.run_id, orders.spent)
        self._runners: dict[int, Runner] = {}
        self.cache = Cache(store, self.recorder.codec, prog, orders.epoch, self.values, self.runner)
        self._held = held

    @property
    def stopping(self) -> BaseException | None:
        """Why the bundle must not go on, or None."""
        return self.guard.stopping

    def runner(self, index: int) -> Runner:
        """Return a step of the bundle ready to run."""
        binding = self.orders.bindings.get(index)
        if binding is None:
            return self.program.runner(index)
        found = self._runners.get(index)
        if found is None:
            orders, prog = self.orders, self.program
            if binding.code:
                prog = program(self.store, orders.run_id, binding.code, orders.secret)
            found = self._runners[index] = prog.bound(binding)
        return found

    # -- the bundle ----------------------------------------------------------------------------------------------

    def run(self, *, first: bool) -> Held:
        try:
            return self._run(first=first)
        finally:
            # It and this refer to each other: the values of a bundle would stay until the garbage collector came by.
            del self.cache
            if self._beacon is not None:
                self._beacon.free(self._place)

    def _run(self, *, first: bool) -> Held:
        if self._is_unwanted(hold_key(self.orders.bundle)):
            return Held({}, 0)  # it was stopped, or is not to begin now
        self._gather()
        done, only = ({}, None) if first else self._replayed()
        TICKER.add(self)
        try:
            with captured(self):
                self._segments(done, only)
        except Stop:
            pass
        finally:
            TICKER.remove(self)
        if isinstance(self.stopping, WfnbError):
            raise self.stopping
        self.recorder.flush(ended=self._left_out or self.yielded)
        keep: Cells = {step: self.values.cells.get(step, {}) for step in self._kept()}
        return Held(keep, self.recorder.nbytes)

    def _kept(self) -> Iterable[int]:
        """Return the steps whose values others need; if something is handed back, whatever of them is left here."""
        if not self.yielded:
            return self.orders.keep
        made = {index for segment in self.orders.segments for index in segment.steps}
        return self.orders.keep | made

    def _segments(self, done: dict[int, set[int]], only: set[tuple[int, int]] | None) -> None:
        for segment in self.orders.segments:
            if len(segment.steps) == 1 and only is None:
                self._straight(segment, done.get(segment.steps[0], _NONE))
            else:
                for element in range(segment.lo, segment.hi):
                    for index in segment.steps:
                        if element in done.get(index, _NONE) or (only is not None and (index, element) not in only):
                            continue
                        self._task(self.runner(index), index, element, segment)
                        if self.yielded:
                            return
            if self.yielded:
                return

    def _straight(self, segment: Segment, done: set[int]) -> None:
        (index,) = segment.steps
        runner = self.runner(index)
        if runner.step.kind == "source":
            self._source(runner, index, segment, done)
            return
        for element in range(segment.lo, segment.hi):
            if element not in done:
                self._task(runner, index, element, segment)
            if self.yielded:
                return

    def _gather(self) -> None:
        """Put the values the bundle needs at hand: from the workers' memory, else from the store."""
        missing: dict[str, list[tuple[int, int, int, int]]] = {}
        for need in self.orders.needs:
            cells = self.values.cells.setdefault(need.step, {})
            source = self._held[need.held].cells.get(need.source) if need.held >= 0 else None
            shift = need.at - need.lo
            for element in range(need.lo, need.hi):
                if source is not None and element + shift in source:
                    cells[element] = source[element + shift]
                else:
                    place = need.offset + element - need.lo
                    missing.setdefault(need.pack, []).append((need.step, element, place, place + 1))
        self._load(missing)

    def _load(self, missing: dict[str, list[tuple[int, int, int, int]]]) -> None:
        if not missing:
            return
        packs = load_packs(self.store, self.orders.run_id, list(missing))
        for key, wanted in missing.items():
            if key not in packs:
                continue  # not kept: the task that needs it says so
            first = min(place for _, _, place, _ in wanted)
            values = self.recorder.codec.decode_pack(packs[key], first, max(stop for *_, stop in wanted))
            for step, element, place, _ in wanted:
                self.values.cells.setdefault(step, {})[element] = values[place - first]

    def _replayed(self) -> tuple[dict[int, set[int]], set[tuple[int, int]] | None]:
        """Take over what an earlier execution of this bundle recorded (its worker died, or its values were lost).

        Returns:
            The elements that are done, by step, and the tasks that alone may still run (None: all of the bundle): what
            the earlier execution handed back is somebody else's now, but values not kept are made again.
        """
        done: dict[int, set[int]] = {}
        missing: dict[str, list[tuple[int, int, int, int]]] = {}
        only: set[tuple[int, int]] | None = None
        recorded = self.recorder.recorded()
        if not recorded:
            return done, None
        number = {self.runner(i).id: i for segment in self.orders.segments for i in segment.steps}
        for event in recorded:
            if isinstance(event, Running):
                if event.yielded:
                    only = {(number[event.step], event.index)}
                continue
            if event.ended:
                only = set()
            for column in event.columns:
                index = number[column.step]
                for place, status in enumerate(column.status):
                    element = column.lo + place
                    if status in VALUED and not column.pack:
                        self._unkept.add((index, element))
                        continue
                    done.setdefault(index, set()).add(element)
                    if column.pack:
                        at = column.offset + place
                        missing.setdefault(column.pack, []).append((index, element, at, at + 1))
        self._load(missing)
        return done, None if only is None else only | self._unkept

    # -- one task ------------------------------------------------------------------------------------------------

    def _begin(self, runner: Runner, index: int, element: int, segment: Segment) -> bool:
        """Say what runs now; return whether it does."""
        self.progress = None
        start = time.time()
        self.current = (runner, index, element, segment.attempt, start)
        # Said first and looked at second, as the ticker does the other way round: one of the two always notices.
        if self.yielded or self.stopping is not None:
            self._halt()
            return False
        if self._verdicts and (verdict := self._verdicts.get((index, element, segment.attempt))) is not None:
            self.current = None
            self._judged(runner, verdict, segment)
            return False
        if self.orders.cautious:
            self.recorder.mark(runner.id, element, segment.attempt, start)
        return True

    def _is_due(self, index: int) -> bool:
        """Whether what comes before a step is over, and it is wanted."""
        if not self._ordered:
            return True
        cells = self.values.cells
        for gate, count in self.orders.after.get(index, ()):
            if len(cells.get(gate, ())) < count:
                return False  # it failed, or waits for its retry, or is not wanted itself
        if (given := self.orders.given.get(index)) is not None:
            decision, wanted = given
            return 0 in cells.get(decision, ()) and bool(cells[decision][0]) == wanted
        return True

    def _task(self, runner: Runner, index: int, element: int, segment: Segment) -> None:
        if not self._is_due(index):
            self._left_out = True
            return
        if not self._begin(runner, index, element, segment):
            return
        assert self.current is not None  # noqa: S101  it has just begun
        start = self.current[4]
        try:
            if runner.when is not None and not runner.when(self.values, element):
                self._valued(runner, index, element, segment, start, start, PASSED, None)
                return
            args = [get(self.values, element) for get in runner.args]
            kwargs = {name: get(self.values, element) for name, get in runner.kwargs}
        except Absent:
            self._left_out = True
            return
        except Exception as error:  # noqa: BLE001  an operator on a reference failed: the task fails with it
            self._failed(runner, index, element, segment, start, error)
            return
        memo, known = self._known(index, element, segment, args, kwargs) if runner.digest else ("", MISSING)
        try:
            if known is MISSING:
                context = self._context(runner, element, segment.attempt) if runner.context else _NO_CONTEXT
                status, value = COMPLETED, self._call(runner, args, kwargs, context)
                end = time.time()
            else:
                status, value, end = CACHED, known, start
            if runner.step.kind == "plan":
                self._grown(runner, value)
                value = None  # what it planned is recorded beside it
            self._valued(runner, index, element, segment, start, end, status, value, memo)
        except Stop:
            self._stopped_task(runner, element, segment.attempt, start, self.guard.how)
            raise
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its outcome
            self._failed(runner, index, element, segment, start, error)
            return
        if time.monotonic() - self.began > BUDGET and not self._unkept:
            self.yielded = True  # except where somebody waits for values that are made again

    def _stopped_task(self, runner: Runner, element: int, attempt: int, start: float, how: str) -> None:
        """Say of a task that it was stopped; who only was told to stop by another driver has no say."""
        if isinstance(self.stopping, _Cancelled):
            address = address_of(runner, element)
            error = cancelled_record(self.recorder.codec, self.orders.run_id, address, how)
            self.recorder.log(address, attempt, "warning", f"{error.message}\n")
            row = Row(runner.id, element, attempt, CANCELLED, start, time.time(), kept=False, error=error)
            self.recorder.add(row)

    def _judged(self, runner: Runner, verdict: Verdict, segment: Segment) -> None:
        """Record what came of an attempt whose worker process did not live to tell."""
        error: RunError = _could_not_be_stopped(runner, self.orders.run_id)
        if verdict.deaths:
            address = address_of(runner, verdict.element)
            text = f"{verdict.deaths} worker processes ended while they ran task '{address}': it crashes or ends them, "
            error = WorkerDied(f"{text}or needs more memory than there is", run_id=self.orders.run_id)
        self._left_out = runner.step.kind == "source"  # no item comes after one that failed
        self._failed(runner, verdict.step, verdict.element, segment, verdict.start, error, verdict.end, "process")

    def _valued(
        self,
        runner: Runner,
        index: int,
        element: int,
        segment: Segment,
        start: float,
        end: float,
        status: int,
        value: Any,
        memo: str = "",
        error: ErrorRecord | None = None,
    ) -> None:
        """Take a task's value as its outcome."""
        item, now = self.recorder.encode(value) if runner.kept else (MISSING, False)
        self.values.add(index, element, value)
        if self._unkept and (index, element) in self._unkept:
            return  # recorded before; only its value was lost
        size = size_of_value(value) if runner.sized else value if runner.decides else None
        step = runner.id
        origin = self.cache.origin if status == CACHED else None
        node = runner.step.node.title if memo else ""
        row = Row(
            step, element, segment.attempt, status, start, end, item, runner.kept, size, error, memo, origin, node
        )
        self.recorder.add(row)
        if now:
            self._write()

    def _grown(self, runner: Runner, value: Any) -> None:
        """Check and record what a dynamic step has planned."""
        orders = self.orders
        grown, frames = planned(value, runner.id.removesuffix(".plan"), orders.bundle, orders.secret)
        try:
            self.recorder.grow(grown, frames)
        except WfnbError as error:
            self._give_up(error)

    def _source(self, runner: Runner, index: int, segment: Segment, done: set[int]) -> None:
        """Take a generator's next items."""
        lo = next((element for element in range(segment.lo, segment.hi) if element not in done), segment.hi)
        key = (self.orders.run_id, self.orders.epoch, runner.id)
        for element in range(lo, segment.hi):
            if not self._begin(runner, index, element, segment):
                return
            start = time.time()
            try:
                item = self._call_with(runner, functools.partial(GENERATORS.item, key, element, self._open(runner)))
                if item is MISSING:
                    self.recorder.end_of(runner.id, element, segment.attempt)
                    self._left_out = True
                    return
                self._valued(runner, index, element, segment, start, time.time(), COMPLETED, item)
            except Stop:
                GENERATORS.close(key)
                self._stopped_task(runner, element, segment.attempt, start, self.guard.how)
                raise
            except BaseException as error:  # noqa: BLE001  whatever a generator raises is its outcome
                GENERATORS.close(key)
                self._failed(runner, index, element, segment, start, error)
                self._left_out = True
                return
            if time.monotonic() - self.began > BUDGET:
                self.yielded = True

    def _open(self, runner: Runner) -> Callable[[], Any]:
        def begin() -> Any:
            args = [get(self.values, 0) for get in runner.args]
            kwargs = {name: get(self.values, 0) for name, get in runner.kwargs}
            context = self._context(runner, 0, 1) if runner.context else _NO_CONTEXT
            return runner.call(args, kwargs, context)

        return begin

    def _known(self, index: int, element: int, segment: Segment, args: Any, kwargs: Any) -> tuple[str, Any]:
        """Return the key under which others find the task's value, and the value where it is known, else MISSING."""
        try:
            return self.cache.answer(index, element, segment, args, kwargs)
        except WfnbError as error:
            self._give_up(error)

    def _write(self) -> None:
        try:
            self.recorder.flush()
        except WfnbError as error:
            self._give_up(error)

    def _give_up(self, error: WfnbError) -> NoReturn:
        self.guard.stop(error)
        raise Stop from error

    def _halt(self) -> None:
        self.current = None
        if self.stopping is not None:
            raise Stop

    def _failed(
        self,
        runner: Runner,
        index: int,
        element: int,
        segment: Segment,
        start: float,
        error: BaseException,
        end: float | None = None,
        stopped: str = "",
    ) -> None:
        # It ended now unless `end` says when, and was stopped from outside of its thread where `stopped` says how.
        policy = runner.step.node.policy
        tried = segment.attempt - segment.base
        retry_in = None
        # A value that does not fit its annotation will not fit it the next time either.
        again = matches(error, policy.retry_on) and not isinstance(error, TypeMismatch)
        if tried <= policy.retries and again:
            retry_in = policy.backoff.wait(tried)
        if isinstance(error, TaskTimeout) and not stopped:
            stopped = self.guard.how
        record = self._error_record(error, retry_in, stopped)
        end = time.time() if end is None else end
        if retry_in is None and runner.step.continue_on_error:
            self._valued(runner, index, element, segment, start, end, TOLERATED, None, error=record)
            return
        self.recorder.add(Row(runner.id, element, segment.attempt, FAILED, start, end, kept=False, error=record))
        if retry_in is None and self.orders.stop_on_error:
            self.yielded = True

    def _error_record(self, error: BaseException, retry_in: float | None, stopped: str) -> ErrorRecord:
        told, text = printable(format_traceback(error)), printable(text_of(error))
        try:
            encoded = self.recorder.codec.dumps(error.with_traceback(None))
        except Exception:  # noqa: BLE001  one that cannot be pickled is still told by its type, text and traceback
            encoded = b""
        if len(encoded) > MOST_ERROR:
            encoded = b""  # it carries data; the journal is read whole by everybody who looks at the run
        name = type(error).__qualname__
        return ErrorRecord(name, text[:MOST_ERROR], told[-MOST_ERROR:], encoded, retry_in, kinds_of(error), stopped)

    def _context(self, runner: Runner, element: int, attempt: int) -> Context:
        address = address_of(runner, element)
        log = logging.getLogger(TASK_LOGGER)
        return Context(self.orders.run_id, address, attempt, log, self._progress, self.guard.cancelled)

    def _progress(self, fraction: float, message: str) -> None:
        self.progress = (fraction, printable(str(message)))

    def write(self, stream: str, text: str) -> None:
        """Take what the running task prints or logs."""
        if self.current is not None:
            runner, _, element, attempt, _ = self.current
            self.recorder.log(address_of(runner, element), attempt, stream, text)

    # -- deadlines -----------------------------------------------------------------------------------------------

    def _call(self, runner: Runner, args: Any, kwargs: Any, context: Context) -> Any:
        return self._call_with(runner, functools.partial(runner.call, args, kwargs, context))

    def _call_with(self, runner: Runner, call: Callable[[], Any]) -> Any:
        """Call the node so that the ticker can stop it, and so that others see what this process is at."""
        timeout = runner.step.node.policy.timeout
        if self._beacon is not None and self.current is not None:
            _, index, element, attempt, start = self.current
            due = 0.0 if timeout is None else start + timeout
            self._beacon.say(self._place, self._name, index, element, attempt, start, due)
        return self.guard.call(timeout, call)

    def _end_process(self) -> None:
        """Record what came of a task that cannot be stopped, and end the process under it; a nanny starts another."""
        current = self.current
        if current is None or not may_end(self._host):
            return
        runner, index, element, attempt, start = current
        with contextlib.suppress(WfnbError):  # whoever drives the run now goes by what the journal says
            if self.stopping is None:
                at = [s for s in self.orders.segments if index in s.steps and s.attempt == attempt]
                segment = next(s for s in at if s.lo <= element < s.hi)
                error = _could_not_be_stopped(runner, self.orders.run_id)
                self._failed(runner, index, element, segment, start, error, stopped="process")
            else:
                self._stopped_task(runner, element, attempt, start, "process")
            self.recorder.flush(ended=True)
        TICKER.flush()
        leave(self._host)

    # -- the ticker's part ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: flush, mark, hand back, stop."""
        if now - self.began < TICK / 2:
            return
        self.guard.check(self._end_process)
        if self.stopping is not None:
            return
        try:
            self.recorder.flush()
            self._mark(now)
            if now >= self._next_look:
                self._next_look = now + CANCEL_EVERY
                if self._is_unwanted():
                    self.guard.stop(_Cancelled())
        except WfnbError as error:
            self.guard.stop(error)
        except Exception as error:  # noqa: BLE001  this thread looks after every bundle of the process and must go on
            text = f"bundle '{self.orders.bundle}' could not be recorded: {type(error).__name__}: {error}"
            self.guard.stop(RunError(text, run_id=self.orders.run_id))

    def flush(self) -> None:
        """Record what is there, as the process is about to end."""
        with contextlib.suppress(WfnbError):  # it is run again
            self.recorder.flush()

    def _is_unwanted(self, *more: str) -> bool:
        orders = self.orders
        keys = [stop_key(orders.bundle), *more]
        if not orders.sheltered:
            keys.append(cancel_key(orders.epoch))
        return self.store.lookup(orders.run_id, *keys) is not None

    def _mark(self, now: float) -> None:
        hand_back = not self.yielded and not self._unkept and now - self.began > BUDGET and self._more_than_one()
        if hand_back:
            self.yielded = True
        current, progress = self.current, self.progress
        if current is None or ((current, progress) == self._marked and not hand_back):
            return
        runner, _, element, attempt, start = current
        if time.time() - start < TICK and not hand_back:
            return
        self._marked = (current, progress)
        fraction, message = progress or (None, "")
        self.recorder.mark(runner.id, element, attempt, start, yielded=self.yielded, progress=fraction, message=message)

    def _more_than_one(self) -> bool:
        return len(self.orders.segments) > 1 or any(len(s.steps) > 1 or s.hi - s.lo > 1 for s in self.orders.segments)


def address_of(runner: Runner, element: int) -> str:
    """Return a task's address."""
    if "[]" in runner.id:
        return runner.id.replace("[]", f"[{element}]", 1)
    return f"{runner.id}[{element}]" if runner.step.over or runner.step.kind == "source" else runner.id


class _Cancelled(BaseException):
    """The run was cancelled; the bundle ends without complaint."""


_NO_CONTEXT = Context()
_NONE: set[int] = set()


def _could_not_be_stopped(runner: Runner, run_id: str) -> TaskTimeout:
    timeout = runner.step.node.policy.timeout or 0.0
    text = f"it ran longer than its timeout of {timeout:g} s and could not be stopped; its worker was ended"
    return TaskTimeout(text, run_id=run_id)
