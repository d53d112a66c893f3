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
from collections.abc import Callable
from typing import Any

from wfnb.dask import signals
from wfnb.dask.cache import Cache
from wfnb.dask.generators import GENERATORS
from wfnb.dask.growing import planned
from wfnb.dask.output import TASK_LOGGER, captured
from wfnb.dask.program import Absent, Cells, Program, Runner, Values, program
from wfnb.dask.recorder import TICK, VALUED, Recorder, Row, printable, stop_key
from wfnb.dask.telling import format_traceback, text_of
from wfnb.dask.ticker import TICKER
from wfnb.dask.work import Held, Orders, Sealed
from wfnb.engine.bundles import BUDGET, Segment
from wfnb.model.context import Context
from wfnb.model.errors import RunError, TaskTimeout, TypeMismatch, WfnbError
from wfnb.model.events import CACHED, COMPLETED, FAILED, PASSED, TOLERATED, ErrorRecord, Running
from wfnb.model.events import CANCELLED as CANCELLED_TASK
from wfnb.model.lifecycle import COROUTINES
from wfnb.model.policy import kinds_of, matches
from wfnb.store.base import Store
from wfnb.store.codec import MISSING
from wfnb.store.urls import open_store

GRACE = 2.0
"""Seconds a task may go on after its deadline before its worker process is ended."""
CANCEL_EVERY = 0.5
"""Seconds between looks for a cancel."""
STOP_GRACE = 1.0
"""Seconds a task may go on after it was told to stop before its worker process is ended."""
INSIST_EVERY = 0.5
"""Seconds between two attempts to stop a task, so that what it does in ``finally`` is not stopped as well."""
MOST_ERROR = 256 * 1024
"""Bytes of a task's error that are kept, of each of its forms."""
CANCELLED = "cancelled"
"""The key of the entry that tells workers to stop, followed by the epoch."""


class _Deadline(BaseException):
    """Raised in a task's thread when its time is up."""


class _Stop(BaseException):
    """Raised in a bundle's thread when it must not go on."""


def worker_name() -> str:
    """Return what this worker is called in the trace: the Dask worker's name, else the host and process."""
    try:
        from distributed import get_worker

        return str(get_worker().name)
    except (ImportError, ValueError):
        return f"{socket.gethostname()}:{os.getpid()}"


def run_bundle(sealed: Sealed, *held: Held) -> Held:
    """Run a bundle and return the values it leaves for others; the function of every Dask task wfnb sends."""
    orders = sealed.open()
    store = open_store(orders.url)
    prog = program(store, orders.run_id, orders.code, orders.secret)
    return _Execution(orders, store, prog, held, worker_name()).run()


class _Execution:
    """One execution of one bundle."""

    def __init__(self, orders: Orders, store: Store, prog: Program, held: tuple[Held, ...], worker: str) -> None:
        self.orders = orders
        self.store = store
        self.program = prog
        self.recorder = Recorder(store, orders, worker)
        self.thread = threading.get_ident()
        self.began = time.monotonic()
        self.current: tuple[Runner, int, int, float] | None = None
        self.yielded = False
        self.stopping: BaseException | None = None
        self.progress: tuple[float, str] | None = None
        self._marked: object = None
        self._guard = threading.Lock()
        self._deadline: float | None = None
        self._interruptible = self._expired = False
        self._signalled = self._stopped = 0.0
        self._next_look = self.began + CANCEL_EVERY
        self._unkept: set[tuple[int, int]] = set()
        self._left_out = False
        self.values = Values({}, orders.widths, orders.fan_outs, orders.run_id)
        self._runners: dict[int, Runner] = {}
        self.cache = Cache(store, self.recorder.codec, prog, orders.epoch, self.values, self.runner)
        self._held = held

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

    def run(self) -> Held:
        if self._is_unwanted():
            return Held({}, 0)  # it was stopped before it began
        self._gather()
        done, only = self._replayed()
        TICKER.add(self)
        try:
            with captured(self):
                self._segments(done, only)
        except _Stop:
            pass
        finally:
            TICKER.remove(self)
        if isinstance(self.stopping, WfnbError):
            raise self.stopping
        self.recorder.flush(ended=self._left_out or self.yielded)
        keep: Cells = {step: self.values.cells.get(step, {}) for step in self.orders.keep}
        return Held(keep, self.recorder.nbytes)

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
        packs = self.store.load(self.orders.run_id, list(missing))
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
        number = {self.runner(i).step.id: i for segment in self.orders.segments for i in segment.steps}
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

    def _task(self, runner: Runner, index: int, element: int, segment: Segment) -> None:
        self.progress = None
        start = time.time()
        self.current = (runner, element, segment.attempt, start)
        # Said first and looked at second, as the ticker does the other way round: one of the two always notices.
        if self.yielded or self.stopping is not None:
            self._halt()
            return
        for gate, count in self.orders.after.get(index, ()):
            if len(self.values.cells.get(gate, ())) < count:
                self._left_out = True  # what comes before it is not over: it failed, or waits for its retry
                return
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
        except _Stop:
            self._stopped_task(runner, element, segment, start)
            raise
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its outcome
            self._failed(runner, index, element, segment, start, error)
            return
        if time.monotonic() - self.began > BUDGET and not self._unkept:
            self.yielded = True  # except where somebody waits for values that are made again

    def _stopped_task(self, runner: Runner, element: int, segment: Segment, start: float) -> None:
        """Say of a task that it was stopped; who only was told to stop by another driver has no say."""
        if isinstance(self.stopping, _Cancelled):
            row = Row(runner.step.id, element, segment.attempt, CANCELLED_TASK, start, time.time(), kept=False)
            self.recorder.add(row)

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
        self.values.cells.setdefault(index, {})[element] = value
        if self._unkept and (index, element) in self._unkept:
            return  # recorded before; only its value was lost
        size = self.program.size_of_value(value) if runner.sized else value if runner.decides else None
        step = runner.step.id
        origin = self.cache.origin if status == CACHED else None
        row = Row(step, element, segment.attempt, status, start, end, item, runner.kept, size, error, memo, origin)
        self.recorder.add(row)
        if now:
            self._write()

    def _grown(self, runner: Runner, value: Any) -> None:
        """Check and record what a dynamic step has planned."""
        orders = self.orders
        grown, frames = planned(value, runner.step.id.removesuffix(".plan"), orders.bundle, orders.secret)
        try:
            self.recorder.grow(grown, frames)
        except WfnbError as error:
            self.stopping = self.stopping or error
            raise _Stop from error

    def _source(self, runner: Runner, index: int, segment: Segment, done: set[int]) -> None:
        """Take a generator's next items."""
        lo = next((element for element in range(segment.lo, segment.hi) if element not in done), segment.hi)
        key = (self.orders.run_id, self.orders.epoch, runner.step.id)
        for element in range(lo, segment.hi):
            self.progress = None
            start = time.time()
            self.current = (runner, element, segment.attempt, start)
            if self.yielded or self.stopping is not None:
                self._halt()
                return
            try:
                item = self._call_with(runner, functools.partial(GENERATORS.item, key, element, self._open(runner)))
                if item is MISSING:
                    self.recorder.end_of(runner.step.id, element, segment.attempt)
                    self._left_out = True
                    return
                self._valued(runner, index, element, segment, start, time.time(), COMPLETED, item)
            except _Stop:
                GENERATORS.close(key)
                self._stopped_task(runner, element, segment, start)
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
            self.stopping = self.stopping or error
            raise _Stop from error

    def _write(self) -> None:
        try:
            self.recorder.flush()
        except WfnbError as error:
            self.stopping = self.stopping or error
            raise _Stop from error

    def _halt(self) -> None:
        self.current = None
        if self.stopping is not None:
            raise _Stop

    def _failed(
        self, runner: Runner, index: int, element: int, segment: Segment, start: float, error: BaseException
    ) -> None:
        policy = runner.step.node.policy
        tried = segment.attempt - segment.base
        retry_in = None
        # A value that does not fit its annotation will not fit it the next time either.
        again = matches(error, policy.retry_on) and not isinstance(error, TypeMismatch)
        if tried <= policy.retries and again:
            retry_in = policy.backoff.wait(tried)
        record = self._error_record(error, retry_in)
        if retry_in is None and runner.step.continue_on_error:
            self._valued(runner, index, element, segment, start, time.time(), TOLERATED, None, error=record)
            return
        self.recorder.add(
            Row(runner.step.id, element, segment.attempt, FAILED, start, time.time(), kept=False, error=record)
        )
        if retry_in is None and self.orders.stop_on_error:
            self.yielded = True

    def _error_record(self, error: BaseException, retry_in: float | None) -> ErrorRecord:
        told, text = printable(format_traceback(error)), printable(text_of(error))
        try:
            encoded = self.recorder.codec.dumps(error.with_traceback(None))
        except Exception:  # noqa: BLE001  one that cannot be pickled is still told by its type, text and traceback
            encoded = b""
        if len(encoded) > MOST_ERROR:
            encoded = b""  # it carries data; the journal is read whole by everybody who looks at the run
        name = type(error).__qualname__
        return ErrorRecord(name, text[:MOST_ERROR], told[-MOST_ERROR:], encoded, retry_in, kinds_of(error))

    def _context(self, runner: Runner, element: int, attempt: int) -> Context:
        address = address_of(runner, element)
        return Context(self.orders.run_id, address, attempt, logging.getLogger(TASK_LOGGER), self._progress)

    def _progress(self, fraction: float, message: str) -> None:
        self.progress = (fraction, printable(str(message)))

    def write(self, stream: str, text: str) -> None:
        """Take what the running task prints or logs."""
        if self.current is not None:
            runner, element, attempt, _ = self.current
            self.recorder.log(address_of(runner, element), attempt, stream, text)

    # -- deadlines -----------------------------------------------------------------------------------------------

    def _call(self, runner: Runner, args: Any, kwargs: Any, context: Context) -> Any:
        return self._call_with(runner, lambda: runner.call(args, kwargs, context))

    def _call_with(self, runner: Runner, call: Callable[[], Any]) -> Any:
        """Call the node so that the ticker can interrupt it, and only it: never while something is being written."""
        timeout = runner.step.node.policy.timeout
        self._expired = False
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
        try:
            try:
                self._interruptible = True
                return call()
            finally:
                self._leave(timeout)
        except (_Deadline, _Stop):
            self._leave(timeout)  # it came between the task and the way out; this says what it meant
            raise

    def _leave(self, timeout: float | None) -> None:
        taken_back = False
        while True:
            try:
                with self._guard:
                    # The ticker cannot look while C code holds the interpreter.
                    self._expired |= self._deadline is not None and time.monotonic() > self._deadline
                    self._interruptible, self._deadline = False, None
                    if self._signalled:
                        # A signal still on its way must not arrive in what comes after the task.
                        signals.take_back(self.thread)
                        self._signalled, taken_back = 0.0, True
                break
            except (_Deadline, _Stop):
                continue  # it arrived here: the flags below say what it meant
        if taken_back:
            signals.settle(self.thread)
        if self.stopping is not None:
            raise _Stop
        if self._expired and timeout is not None:
            text = f"it ran longer than its timeout of {timeout:g} s"
            raise TaskTimeout(text, run_id=self.orders.run_id) from None

    def _signal(self, signal: type[BaseException]) -> None:
        """Stop the bundle's thread if it is in a task: by an exception there; the guard is held."""
        now = time.monotonic()
        if not self._interruptible or now - self._signalled < INSIST_EVERY:
            return
        again, self._signalled = bool(self._signalled), now
        cancel = COROUTINES.get(self.thread)
        if cancel is not None:
            with contextlib.suppress(RuntimeError):  # its loop has just been closed
                cancel()
        if cancel is None or again:
            signals.send(self.thread, signal)

    def _check_deadline(self) -> None:
        with self._guard:
            if self._deadline is None:
                return
            late = time.monotonic() - self._deadline
            if late < 0:
                return
            self._expired = True
            self._signal(_Deadline)
            if late > GRACE:
                # With the guard held the task cannot end meanwhile and be recorded a second time.
                self._end_process()

    def _end_process(self) -> None:
        """Record the timeout of a task that cannot be stopped, and end the process under it; a nanny starts another."""
        current = self.current
        if current is None or not _may_end_process():
            return
        runner, element, attempt, start = current
        segment = next(s for s in self.orders.segments if s.lo <= element < s.hi and s.attempt == attempt)
        timeout = runner.step.node.policy.timeout or 0.0
        text = f"it ran longer than its timeout of {timeout:g} s and could not be stopped; its worker was ended"
        index = next(n for s in self.orders.segments for n in s.steps if self.runner(n) is runner)
        self._failed(runner, index, element, segment, start, TaskTimeout(text, run_id=self.orders.run_id))
        self.recorder.flush(ended=True)
        os._exit(1)

    # -- the ticker's part ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: flush, mark, hand back, stop."""
        if now - self.began < TICK / 2:
            return
        if self.stopping is not None:
            self._insist(now)
            return
        try:
            self._check_deadline()
            self.recorder.flush()
            self._mark(now)
            if now >= self._next_look:
                self._next_look = now + CANCEL_EVERY
                if self._is_unwanted():
                    self._stop(_Cancelled())
        except WfnbError as error:
            self._stop(error)
        except Exception as error:  # noqa: BLE001  this thread looks after every bundle of the process and must go on
            text = f"bundle '{self.orders.bundle}' could not be recorded: {type(error).__name__}: {error}"
            self._stop(RunError(text, run_id=self.orders.run_id))

    def _is_unwanted(self) -> bool:
        orders = self.orders
        keys = [stop_key(orders.bundle)]
        if not orders.sheltered:
            keys.append(f"{CANCELLED}.{orders.epoch}")
        return any(self.store.lookup(orders.run_id, key) for key in keys)

    def _mark(self, now: float) -> None:
        hand_back = not self.yielded and not self._unkept and now - self.began > BUDGET and self._more_than_one()
        if hand_back:
            self.yielded = True
        current, progress = self.current, self.progress
        if current is None or ((current, progress) == self._marked and not hand_back):
            return
        runner, element, attempt, start = current
        if time.time() - start < TICK and not hand_back:
            return
        self._marked = (current, progress)
        fraction, message = progress or (None, "")
        self.recorder.mark(
            runner.step.id, element, attempt, start, yielded=self.yielded, progress=fraction, message=message
        )

    def _more_than_one(self) -> bool:
        return len(self.orders.segments) > 1 or any(len(s.steps) > 1 or s.hi - s.lo > 1 for s in self.orders.segments)

    def _stop(self, error: BaseException) -> None:
        with self._guard:
            if self.stopping is None:
                self.stopping, self._stopped = error, time.monotonic()
            self._signal(_Stop)

    def _insist(self, now: float) -> None:
        """Stop a task that was told to and goes on; what it would give is refused by now."""
        with self._guard:
            if self._interruptible and now - self._stopped > STOP_GRACE and _may_end_process():
                os._exit(1)
            self._signal(_Stop)


def address_of(runner: Runner, element: int) -> str:
    """Return a task's address."""
    step = runner.step
    if "[]" in step.id:
        return step.id.replace("[]", f"[{element}]", 1)
    return f"{step.id}[{element}]" if step.over or step.kind == "source" else step.id


class _Cancelled(BaseException):
    """The run was cancelled; the bundle ends without complaint."""


_NO_CONTEXT = Context()
_NONE: set[int] = set()


def _may_end_process() -> bool:
    """Whether this process is a Dask worker that a nanny restarts."""
    try:
        from distributed import get_worker  # noqa: F401
    except ImportError:
        return False
    import multiprocessing

    return multiprocessing.parent_process() is not None
