"""`Run`, the face of one run: its state, value, trace, tasks and controls, all folded from the journal.

A `Run` needs a store and an id. Whether its driver is a thread of this process or lives elsewhere makes no difference
to what it can do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from wfnb.dask.keys import cancel_key
from wfnb.dask.leases import LEASE
from wfnb.dask.owners import asker, live_lease, own_name
from wfnb.dask.program import Compiled, Program, load_graph, load_inputs
from wfnb.failures import failure
from wfnb.interrupts import Detaching, DetachingAwait
from wfnb.model.errors import EntryExists, MissingDependency, RunError, StoreError, StoreUnavailable
from wfnb.model.events import Command, Event, RunEnded, RunStarted, decode_event, encode_event
from wfnb.results import Tail, value_of
from wfnb.store.base import ENDED, Entry, RunRecord, Store
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key
from wfnb.store.patience import LOOK, patience

# What shows and explains runs is loaded when it is asked for: a kernel that only runs something starts faster.
if TYPE_CHECKING:
    import pandas as pd

    from wfnb.dask.driver import Driver
    from wfnb.debugging import Case
    from wfnb.engine.facts import Kept, LogRow, RunView, TaskView
    from wfnb.engine.folds import RunFold
    from wfnb.explain import Explanation
    from wfnb.task import Task
    from wfnb.views.live import LiveView
    from wfnb.watching import Picture

UNCLAIMED = 120.0
"""Seconds after which a run that nobody has taken up counts as interrupted."""

Resumer = Callable[..., "Run"]
T = TypeVar("T")

_OVER = (*ENDED, "interrupted")


class Run:
    """One run of a workflow; made by `submit`, `wf.get_run` and `wf.resume`.

    Args:
        store: where it is kept.
        record: what the store's list says of it.
        resumer: takes the run up again: called with its id and whether failed tasks are run again; and, where they are
            asked for, with the step `from_` which on, and with the `fork` to make.
        driver: its driver, when that is a thread of this process.
        program: its workflow and inputs, when this process has them.
    """

    def __init__(
        self,
        store: Store,
        record: RunRecord,
        resumer: Resumer,
        driver: Driver | None = None,
        program: Program | None = None,
    ) -> None:
        self.id = record.id
        self.workflow = record.workflow
        self.parent = record.parent
        self.tags = record.tags
        self.store = store
        self._record = record
        self._resumer = resumer
        self._driver = driver
        self._lock = threading.Lock()
        self._known = record.status
        self._shaped_at = 0
        self._made: RunFold | None = None
        self._tail = Tail(store, record.id)
        self._position = 0
        self._code = ""
        self._program = program

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def _fold(self) -> RunFold:
        """What is folded of the journal; begun when it is first asked for: to wait for a value needs none."""
        if self._made is None:
            from wfnb.engine.folds import RunFold

            self._made = RunFold(json.loads(self._record.shape))
        return self._made

    def _refresh(self) -> None:
        """Take in what the journal holds beyond what was read before."""
        with self._lock:
            while not self._caught_up():
                pass

    def _caught_up(self) -> bool:
        for entry in self.store.read(self.id, self._position):
            self._position = entry.position
            event = decode_event(entry.data)
            if isinstance(event, RunStarted) and event.shape and entry.position > self._shaped_at:
                # It was resumed as a workflow of other steps: what happened before is told anew in its terms.
                self._shaped_at, self._position = entry.position, 0
                self._made = type(self._fold)(json.loads(event.shape))
                return False
            if event is not None:
                self._fold.add(event)
        return True

    @property
    def status(self) -> str:
        """Its status: queued, running, paused, completed, failed, cancelled, or interrupted when its driver is gone.

        While the store cannot be reached, it is the last one known.
        """
        return self._looked()[0]

    def _looked(self) -> tuple[str, str]:
        """Return the status as it is now and "", or the last one known and why the store cannot be reached."""
        with patience(LOOK):
            try:
                return self._current(), ""
            except StoreUnavailable as error:
                return self._known, str(error)

    def _current(self) -> str:
        self._refresh()
        self._known = self._fold.status
        if self._known not in ENDED and (self._driver is None or self._driver.done.is_set()):
            self._known = self._undriven(self._known)
        return self._known

    def _undriven(self, status: str) -> str:
        """Return the status of a run that nobody in this process drives: as recorded, or interrupted."""
        if status == "queued" and self.store.lease(self.id) is None:
            # Nobody has taken it up yet; or whoever was about to do so is gone.
            return status if time.time() - self._record.created < UNCLAIMED else "interrupted"
        lease = live_lease(self.store, self.id)
        if lease is not None and (self._driver is None or lease.epoch != self._driver.lease.epoch):
            return status
        # The driver records the end and lets go of its lease in this order, so look at the journal once more.
        self._refresh()
        return self._fold.status if self._fold.status in ENDED else "interrupted"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody resumes or retries it."""
        return self.status in _OVER

    def snapshot(self) -> RunView:
        """Return the picture of the run as it is now, or, where the store does not say, as it was last seen.

        Every view draws this record.
        """
        try:
            status, away = self._looked()
        except StoreError as error:
            status, away = self._known, str(error)
        with self._lock:
            view = self._fold.view(
                time.time(), run_id=self.id, workflow=self.workflow, created=self._record.created, status=status
            )
        return replace(view, away=away) if away else view

    def look(self, ask: Callable[[RunFold], T]) -> T:
        """Return what a function says of the run's journal, folded as far as it was last read."""
        with self._lock:
            return ask(self._fold)

    # -- value ---------------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run to end and return its value.

        Args:
            timeout: seconds to wait at most, or None.

        Raises:
            StepFailed: a task failed; ``__cause__`` is its own error.
            RunCancelled: the run was cancelled.
            RunInterrupted: its driver is gone; `resume` continues it.
            TimeoutError: it has not ended in time; it goes on.
            StoreUnavailable: the store could not be reached for a while, a minute where it does not say otherwise.
            KeyboardInterrupt: the stop button was pressed: the run goes on. In a Jupyter kernel a second press within
                10 s cancels it.
        """
        __tracebackhide__ = True
        self._forget_driver()
        with Detaching(self):
            status = self._wait(timeout)
        if status == "completed":
            return self._value()
        raise self._failure(status)

    def _wait(self, timeout: float | None, *, patient: bool = False) -> str:
        """Wait until the run is over and return its status.

        Args:
            timeout: seconds to wait at most, or None.
            patient: wait longer where the store cannot be reached.
        """
        began = time.monotonic()
        deadline = math.inf if timeout is None else began + timeout
        while True:
            left = deadline - time.monotonic()
            with patience(math.inf if patient else max(left, LOOK)):
                try:
                    if (status := self._status_if_over()) is not None:
                        return status
                    if left <= 0:
                        goes_on = "is paused, and resume() lets it go on" if self._known == "paused" else "goes on"
                        raise TimeoutError(f"run '{self.id}' has not ended after {timeout:g} s; it {goes_on}")
                    if self._driver is not None:
                        self._driver.done.wait(min(0.5, left))
                    else:
                        self.store.wait(self.id, self._tail.position, min(0.5, left))
                        # What runs for long need not be looked at for every outcome.
                        time.sleep(min(0.02, (time.monotonic() - began) / 50))
                except StoreUnavailable as error:
                    if patient or time.monotonic() + LOOK < deadline:
                        raise
                    raise TimeoutError(
                        f"run '{self.id}' is not known to have ended after {timeout:g} s: {error}"
                    ) from None

    def _status_if_over(self) -> str | None:
        """Return the run's status if it is over, or its driver here is."""
        if self._driver is None:
            ended = self._tail.read()
            if ended is not None and ended.status in ENDED:
                return ended.status
            if ended is None and self._tail.code and live_lease(self.store, self.id) is not None:
                return None
            status = self._current()
            return status if status in _OVER else None
        if not self._driver.done.is_set():
            return None
        ended = self._driver.engine.state.ended
        return ended.status if ended else self._current()

    def _forget_driver(self) -> None:
        """Let go of a driver that is done when another has taken the run up since: what it knows is out of date."""
        driver = self._driver
        if driver is not None and driver.done.is_set():
            lease = self.store.lease(self.id)
            if lease is not None and lease.epoch != driver.lease.epoch:
                self._driver = None

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the value without blocking the event loop."""
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        __tracebackhide__ = True
        self._forget_driver()
        with DetachingAwait(self):
            # In short waits: the thread of a wait that is given up must not be left behind.
            while not await asyncio.to_thread(self._over_within, 0.5):
                pass
        return await asyncio.to_thread(self.result, 0.0)

    def _over_within(self, seconds: float) -> bool:
        try:
            self._wait(seconds, patient=True)
        except TimeoutError:
            return False
        return True

    def _failure(self, status: str) -> RunError:
        driver = self._driver.error if self._driver is not None else None
        # Of a cancelled run there is nothing to tell, and its picture may take a while.
        told = self.snapshot().error if status != "cancelled" else None
        return failure(self.id, status, told, self._task, driver)

    def _value(self) -> Any:
        ended = self._driver.engine.state.ended if self._driver is not None else self._tail.read()
        if ended is None or ended.output:
            self._refresh()
            return self[self._fold.output].output
        return value_of(self.store, self.id, self._load_program(), ended, self.events)

    @property
    def code(self) -> str:
        """The key under which the store has the code that its last driver took it up with; "" where it had none yet."""
        self._tail.read()
        return self._tail.code

    def _load_program(self) -> Program:
        """Return the workflow as the run's last driver took it up."""
        if self._driver is None or self._program is None:
            self._tail.read()
            if self._code not in ("", self._tail.code):
                self._program = None  # somebody resumed it with edited code
            self._code = self._tail.code
        if self._program is None:
            secret = secret_key()
            graph = load_graph(self.store, self.id, self._code, secret)
            self._program = Program(Compiled(graph), load_inputs(self.store, self.id, graph, Codec(secret)))
        return self._program

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def trace(self) -> pd.DataFrame:
        """Every attempt of every task: address, node, status, attempt, worker, start, end and duration (seconds)."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependency("pandas", "data", "run.trace") from error
        with patience(LOOK):
            self._refresh()
        with self._lock:
            frame = pd.DataFrame(self._fold.trace_rows())
        for name in ("start", "end"):
            frame[name] = pd.to_datetime(frame[name].astype(float), unit="s", utc=True).dt.round("us")
        return frame.sort_values(["start", "address"], kind="stable", ignore_index=True)

    def events(self) -> list[Event]:
        """Return the run's journal: what happened, in order."""
        entries = self.store.read(self.id)
        return [event for entry in entries if (event := decode_event(entry.data)) is not None]

    def logs(self, address: str | None = None) -> list[LogRow]:
        """Return what tasks printed and logged.

        Args:
            address: of a task, a step or a sub-workflow; None for all.
        """
        if address is not None:
            _check_address(address)
        with patience(LOOK):
            self._refresh()
        with self._lock:
            return self._fold.logs(address)

    def __getitem__(self, address: str) -> Task:
        """Return one task, such as ``run["train[2]"]``; raises KeyError when there is none."""
        from wfnb.task import Task

        with patience(LOOK):
            return Task(self, address, self._task(address))

    def _task(self, address: str) -> TaskView:
        _check_address(address)
        self._refresh()
        with self._lock:
            return self._fold.task(address)

    def _kept(self, step: str) -> Kept | None:
        with self._lock:
            return self._fold.kept(step)

    def explain(self, address: str) -> Explanation:
        """Say why a task ran, or why it did not: what was edited, which run answered it, what it waits for.

        Args:
            address: of a task, such as ``train[2]``, or of a step as a whole.

        Raises:
            KeyError: the run has no such task, or not yet.
        """
        from wfnb.explain import Explainer, Journal

        _check_address(address)
        with patience(LOOK):
            view, events = self.snapshot(), self.events()
        with self._lock:
            journal = Journal(self.store, view, self._fold, events)
            return Explainer(journal, live=view.status in ("running", "paused")).explain(address)

    def debug(self, address: str = "") -> str | None:
        """Put a cell after this one that holds a task's function and loads its real inputs, ready to edit and run.

        When it works, `retry` goes on with the function as the cell left it.

        Args:
            address: of the task, such as ``train[2]``; by default of the one that failed.

        Returns:
            The cell's source, where there is no notebook to put it into.

        Raises:
            KeyError: the run has no such task, or not yet.
            LookupError: nothing has failed; or a step before it has no value.
            StoreError: the value of a step before it was not kept.
        """
        from wfnb.debugging import debug

        if not address:
            failed = self.snapshot().error
            if failed is None or not failed.address:
                raise LookupError(f"no task of run '{self.id}' has failed; name one, such as run.debug('train[2]')")
            address = failed.address
        return debug(self._case(self._task(address)))

    def _case(self, view: TaskView) -> Case:
        from wfnb.dask.given import Given
        from wfnb.debugging import Case

        program = self._load_program()
        given = Given(self.store, self.id, view, program.inputs, self._kept, self._fold.source)
        return Case(self, view, program, given)

    # -- steering ------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Let running tasks finish and start no others, until `resume`."""
        self._command("pause")

    def cancel(self) -> None:
        """Stop the run: queued tasks at once, running Python code within about a second, other code within about three.

        A running task is stopped by its token (``ctx.cancelled``), an exception in its thread, or the end of its worker
        process, which is replaced (where it has a nanny; else it goes on until it returns): the task's error says it.
        Returns at once; `result` waits for the end. A run whose driver is gone is recorded as cancelled here.
        """
        if self.status == "interrupted":
            lease = self.store.acquire(self.id, own_name(), LEASE)
            asked = Entry(cancel_key(lease.epoch), encode_event(Command("cancel", asker(), time.time())))
            ended = Entry(f"d{lease.epoch}.1", encode_event(RunEnded(time.time(), "cancelled")))
            self.store.append(self.id, [asked, ended], epoch=lease.epoch, status="cancelled")
            self.store.release(self.id, lease.epoch)
            return
        lease_now = self.store.lease(self.id)
        # Workers look for an entry of this name, also while their driver is busy; once for each driver is enough.
        self._command("cancel", "" if lease_now is None else cancel_key(lease_now.epoch))

    def _command(self, name: str, key: str = "") -> None:
        if self._driver is not None:
            self._driver.began.wait()
        entry = Entry(key or f"c.{name}.{secrets.token_hex(8)}", encode_event(Command(name, asker(), time.time())))
        with contextlib.suppress(EntryExists):  # asked for before
            self.store.append(self.id, [entry], epoch=None)
        if self._driver is not None:
            self._driver.wake()

    def resume(self) -> Run:
        """Go on: with a paused run, or with one that was interrupted, cancelled or failed; return this run.

        What was finished is kept, except steps edited since and what depends on them. A run that goes on already, or is
        completed and not edited, is left as it is.

        Raises:
            RunHasDriver: it is running as it was written before an edit.
        """
        if self.status == "paused":
            self._command("resume")
            return self
        return self._taken_up(self._resumer(self.id, False))

    def retry(self, from_: str | None = None) -> Run:
        """Run failed tasks again, with today's code; what was finished is kept. Return this run.

        Args:
            from_: a step that runs again too, with all that depends on it, or comes after it in a sequence. The id of a
                construct stands for all that is in it, the address of a task, such as ``train[2]``, for its whole step.

        Raises:
            ConfigurationError: the workflow has no such step.
            RunHasDriver: it is running, and not because of the same retry.
        """
        if from_ is None:
            return self._taken_up(self._resumer(self.id, True))
        _check_address(from_)
        return self._taken_up(self._resumer(self.id, True, from_=from_))

    def fork(
        self, from_: str | None = None, inputs: Mapping[str, Any] | None = None, *, run_id: str | None = None
    ) -> Run:
        """Start a new run that shares what this one has finished, and return it; this one is left as it is.

        Everything is shared but the step named, what uses an input that has another value now, steps edited since, and
        what depends on those. Values are not copied, so this run is kept as long as the fork is. A fork of a run that
        goes on shares what is acknowledged by now.

        Args:
            from_: the step from which on tasks run again; see `retry`. None: where the other reasons say so.
            inputs: the inputs that are to have another value.
            run_id: the new run's id; None makes one up.

        Raises:
            ConfigurationError: the workflow has no such step or input.
            DefinitionError: an input's value will not do.
            RunExists: the id is taken.
        """
        if from_ is not None:
            _check_address(from_)
        if not isinstance(inputs, Mapping | None):
            raise TypeError(f"the inputs of a fork are given by name, such as inputs={{'path': ...}}, not {inputs!r}")
        from wfnb.forks import Fork

        return self._resumer(self.id, True, from_=from_, fork=Fork(run_id or "", dict(inputs or {})))

    def _taken_up(self, other: Run) -> Run:
        self._driver, self._program, self._code = other._driver, other._program, other._code
        if self._driver is not None:
            # Until the journal says that it goes on, a picture would show how it ended before, and stop there.
            self._driver.began.wait(5.0)
        return self

    # -- showing -------------------------------------------------------------------------------------------------

    def show(self) -> LiveView:
        """Show the run live where this is called: in the cell's output, or in the terminal."""
        from wfnb.watching import live

        return live(self).start()

    def view(self, kind: Literal["run", "dag", "progress", "timeline"] = "run") -> Picture:
        """Return a view of the run, which shows itself live at the end of a cell.

        Args:
            kind: "run" for all there is, "dag", "progress" or "timeline" for one part of it.

        Raises:
            ConfigurationError: there is no such view.
        """
        from wfnb.watching import picture

        return picture(self, kind)

    @property
    def dag(self) -> Picture:
        """Its steps and how they hang together, live."""
        return self.view("dag")

    @property
    def progress(self) -> Picture:
        """How far it is, live."""
        return self.view("progress")

    @property
    def timeline(self) -> Picture:
        """What ran when and where, live."""
        return self.view("timeline")

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the run as one interactive HTML file that needs nothing else, no network either; return its path."""
        from wfnb.watching import write_report

        return write_report(self, Path(path))

    def to_svg(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the DAG as SVG, in the colours of a light or dark page; write it to a file too where one is named."""
        from wfnb.views.svg import svg
        from wfnb.watching import written

        return written(svg(self.snapshot(), standalone=True), path)

    def to_mermaid(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the DAG as a Mermaid flowchart, for Markdown; write it to a file too where one is named."""
        from wfnb.views.export import mermaid
        from wfnb.watching import written

        return written(mermaid(self.snapshot()), path)

    def export_trace(self, path: str | os.PathLike[str]) -> Path:
        """Write the trace in Chrome's format, which Perfetto and speedscope open; return its path."""
        with patience(LOOK):
            self._refresh()
        target = Path(path)
        from wfnb.views.export import chrome_trace

        target.write_text(json.dumps(chrome_trace(self.look(lambda fold: fold.trace_rows()))), encoding="utf-8")
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.view()._repr_mimebundle_(include, exclude)

    def _ipython_display_(self) -> None:
        self.show()

    def __repr__(self) -> str:
        from wfnb.views.text import text

        return text(self.snapshot())


def _check_address(address: object) -> None:
    if not isinstance(address, str):
        raise TypeError(f"an address is a text, such as 'train[2]', not {address!r}")
