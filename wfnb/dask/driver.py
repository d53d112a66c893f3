"""The driver: carries out the engine's commands and feeds it what happens. Imports engine, store and executor.

It needs a run's id, a store and an executor, nothing else, so it can run wherever those are. All it knows of outcomes
it reads from the journal, in the journal's order; an executor only wakes it. So what it decides is what any other
driver would decide from the same journal.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from wfnb.dask.executor import Executor
from wfnb.dask.hosting import Birth, Task
from wfnb.dask.keys import bundle_key, hold_key, stop_key
from wfnb.dask.leases import EVERY, LEASE, LEASES
from wfnb.dask.losses import Losses
from wfnb.dask.threads import CREW
from wfnb.dask.work import Need, Orders
from wfnb.engine.bundles import Bundle
from wfnb.engine.engine import Abort, Anew, BundleEnded, Capacity, Dispatch, DoCommand, Drop, End, Engine, Moment, Tick
from wfnb.engine.plan import Binding
from wfnb.engine.state import outputs_of
from wfnb.model.errors import EntryExists, RunInterrupted, StaleEpoch, StoreError, WfnbError
from wfnb.model.events import (
    Column,
    Command,
    Event,
    Outcomes,
    RunEnded,
    Waiting,
    decode_event,
    encode_event,
)
from wfnb.store.base import Entry, Lease, Store
from wfnb.store.codec import Codec

STOP = b"-"
"""What an entry that stops or recalls a bundle holds: its key says it all, and readers of the journal pass it over."""
LOOK = 2.0
"""Seconds between looks at how many workers there are when no bundle ends."""
NO_WORKERS = "the cluster has no workers"
POLL = 0.1
"""Seconds between looks into the journal when nothing has happened for long."""
LOOK_FIRST = 0.001
"""Seconds between looks when something just has, for each driver of the process."""
_DRIVING: set[Driver] = set()


class Driver:
    """Drives one run from where its journal ends to its end.

    Args:
        task: the run.
        store: where it is kept.
        executor: where its bundles run.
        ended: called once, from the driver's thread, when it stops driving for whatever reason.
        birth: the run, where it is not in the store yet.

    Attributes:
        began: set when the journal says that it drives (or never will): what is asked for from then on counts.
        drives: whether the journal says so.
        done: set when it has stopped driving.
        error: why it stopped before the run's end, or None.
        engine: the engine it feeds; its estimates outlive the run.
    """

    def __init__(
        self,
        task: Task,
        store: Store,
        executor: Executor,
        ended: Callable[[Driver], None],
        birth: Birth | None = None,
    ) -> None:
        self.task = task
        self.store = store
        self.executor = executor
        self.began = threading.Event()
        self.drives = False
        self.done = threading.Event()
        self.error: WfnbError | None = None
        self._position = 0
        self._entries = 0
        if birth is None or birth.made:
            self.lease: Lease = store.acquire(task.run_id, task.started.driver, LEASE)
        else:
            self._give_birth(birth)
        self.engine = Engine(task.plan, epoch=self.lease.epoch, estimates=task.estimates)
        self._ended = ended
        self._inbox: queue.SimpleQueue[BundleEnded] = queue.SimpleQueue()
        self._given: dict[str, tuple[str, ...]] = {}
        self._losses = Losses(task.run_id, self.engine, Codec(task.secret))
        self._waiting: dict[str, Bundle] = {}
        self._homes: dict[str, str] = {}
        self._recalled: set[str] = set()
        self._sent: set[str] = set()
        self._quiet = time.monotonic()
        self._streams = any(one.rule is not None and one.rule.kind == "source" for one in task.plan.templates)
        self._released = False
        self._counted = 0.0
        self._short = False
        self._refused: StaleEpoch | None = None

    def _give_birth(self, birth: Birth) -> None:
        """Make the run, with its lease and its beginning."""
        owner, started = self.task.started.driver, replace(self.task.started, time=time.time())
        self.task = replace(self.task, started=started)
        first = Entry("d1.1", encode_event(started))
        self.store.create(replace(birth.record, status="running"), [first], birth.packs, owner=owner, ttl=LEASE)
        birth.made = True
        self.lease = Lease(owner, 1, LEASE)
        self._position = self._entries = 1
        self.drives = True
        self.began.set()

    def start(self) -> None:
        """Begin to drive, in a thread of its own."""
        CREW.run(self._run, f"wfnb-driver-{self.task.run_id}")
        LEASES.add(self)

    def wake(self) -> None:
        """Make the driver look into the journal now."""
        self._inbox.put(BundleEnded(""))

    # -- the loop ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        _DRIVING.add(self)
        try:
            self._drive()
        except WfnbError as error:
            self.error = error
        except OSError as error:
            self.error = self._cluster_gone()
            self.error.__cause__ = error
        except Exception as error:  # noqa: BLE001  whatever it is, whoever waits for the run must be told
            text = f"the driver of run '{self.task.run_id}' failed: {type(error).__name__}: {error}"
            self.error = RunInterrupted(text, run_id=self.task.run_id)
            self.error.__cause__ = error
        finally:
            _DRIVING.discard(self)
            self._let_go()

    def _let_go(self) -> None:
        """Leave the run to others, and tell whoever waits."""
        if not isinstance(self.error, StoreError):
            with contextlib.suppress(StoreError):  # the lease lapses by itself
                if self.error is not None and not self.engine.state.ended:
                    self._record(RunEnded(time.time(), "interrupted", message=str(self.error)), status="interrupted")
                if not self._released:
                    self.store.release(self.task.run_id, self.lease.epoch)
        if self.executor.alive():  # else there is nothing to be had back, and asking takes long
            for bundle in list(self.engine.flying):
                self.executor.abort(bundle)
            for bundle in self._sent.union(self.engine.held):
                self.executor.drop(bundle)
        self.began.set()
        self.done.set()
        self._ended(self)

    def _drive(self) -> None:
        engine = self.engine
        if not self.drives:
            self._take_up()
        commands = engine.handle(self._capacity(), self.task.started)
        while not self._carry_out(commands):
            ended = self._sleep()
            if self._refused is not None:
                raise self._refused
            if not self.executor.alive():
                raise self._cluster_gone()
            moments: list[Event | Moment] = [*self._news(), *ended, Tick(time.time())]
            if ended or time.monotonic() - self._counted > LOOK:
                moments.append(self._capacity())
            commands = engine.handle(*moments)

    def _take_up(self) -> None:
        """Say in the journal that it drives a run that was there before; take in what is in it."""
        started = replace(self.task.started, time=time.time())
        self.task = replace(self.task, started=started)
        if self.lease.epoch > 1:
            self.engine.replay(self._news(obeying=False))
        position = self._record(started, status="running")
        self.drives = True
        self.began.set()
        if self.lease.epoch == 1 and position > 1:  # a fork, or one that was asked for something before it began
            self.engine.replay(self._news(position - 1, obeying=False))
        self._position = position

    def _capacity(self) -> Capacity:
        """Count the workers' threads, and say so when there are none."""
        threads = self.executor.threads()
        self._counted = time.monotonic()
        if self._short != (threads == 0):
            self._short = threads == 0
            self._record(Waiting(time.time(), NO_WORKERS if self._short else ""))
        return Capacity(threads)

    def _cluster_gone(self) -> RunInterrupted:
        return RunInterrupted(
            f"the cluster of run '{self.task.run_id}' is gone; what was finished is kept: connect to another cluster "
            f"and call wf.resume('{self.task.run_id}')",
            run_id=self.task.run_id,
        )

    def _sleep(self) -> list[BundleEnded]:
        """Wait until something happens or is due; return the bundles that ended."""
        due = self.engine.next_retry
        wait = POLL if due is None else min(POLL, max(0.0, due - time.time()))
        until = time.monotonic() + wait
        found: list[BundleEnded] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._next(until))
            while True:
                found.append(self._inbox.get_nowait())
        ended = [self._landed(event) for event in found if event.bundle]
        if late := self._losses.late():
            self.executor.end(self.task.run_id, late, self._losses.answer)
        return ended

    def _next(self, until: float) -> BundleEnded:
        """Wait for the next bundle's end; raises `queue.Empty` when its time is up, or the journal has more.

        Outcomes are in the journal some milliseconds before word of a bundle's end comes by way of the scheduler. The
        longer nothing has happened, the less often it is looked at.
        """
        while True:
            now = time.monotonic()
            pause = max(LOOK_FIRST * len(_DRIVING), (now - self._quiet) / 25)
            try:
                found = self._inbox.get(timeout=max(0.0, min(pause, until - now)))
            except queue.Empty:
                if time.monotonic() < until and not self.store.wait(self.task.run_id, self._position, 0.0):
                    continue
                raise
            self._quiet = time.monotonic()
            return found

    def _landed(self, event: BundleEnded) -> BundleEnded:
        """Clear up after a bundle; return its end with its blame."""
        self._sent.discard(event.bundle)
        if event.deaths:
            for said in self._recorded(event.bundle):
                self._losses.see(said)  # what ran when its worker died may have been said just then
        event, worker, columns = self._losses.ended(event)
        if event.bundle in self._recalled:
            self._recalled.discard(event.bundle)
            event = replace(event, innocent=True)
        if event.error:
            if event.bundle in self.engine.flying:  # else all that could come of it is recorded
                self._shut_out(event.bundle, worker, columns)
            self.executor.drop(event.bundle)
            # What it was given may be what is broken: whoever needs it next reads it from the store. Values that are
            # not in the store are asked for again.
            for other in self._given.get(event.bundle, ()):
                if all(self.engine.state.steps[step].plan.keeps for step in self.engine.held.get(other, ())):
                    self.executor.drop(other)
        elif event.bundle not in self.engine.held:
            self.executor.drop(event.bundle)
        self._given.pop(event.bundle, None)
        if (follower := self._waiting.pop(self._losses.next_alone(event.bundle), None)) is not None:
            self._dispatch(follower)
        return event

    def _news(self, upto: int | None = None, *, obeying: bool = True) -> list[Event]:
        """Return what the journal holds beyond what was read before, to its end or up to a position."""
        events: list[Event] = []
        limit = None if upto is None else upto - self._position
        for entry in self.store.read(self.task.run_id, self._position, limit):
            self._position = entry.position
            event = decode_event(entry.data, skip=b"L")
            if obeying and isinstance(event, Command):
                self._obey(event)
            if event is not None:
                self._quiet = time.monotonic()
                events.append(event)
                self._losses.see(event)
            if self._streams and isinstance(event, Outcomes) and event.columns:
                self._homes[event.columns[0].step] = event.worker  # a generator stays where it was called
        return events

    def _obey(self, command: Command) -> None:
        """Keep the run's record in step with what is asked."""
        status = {"pause": "paused", "resume": "running"}.get(command.name)
        if status:
            self.store.append(self.task.run_id, [], epoch=self.lease.epoch, status=status)
        if command.name == "pause":
            for bundle in self.engine.flying:
                if bundle not in self._recalled:
                    self._recalled.add(bundle)
                    self._tell(hold_key(bundle))

    def keep_lease(self) -> None:
        """Renew the lease until the driver stops; in a thread, as an inline bundle keeps the driver's own busy."""
        while not self.done.is_set():
            try:
                self.store.renew(self.task.run_id, self.lease.epoch, LEASE)
            except StaleEpoch as error:
                self._refused = error
                return
            except StoreError:
                pass  # the driver meets the same and decides; a store that comes back finds the lease renewed
            self.done.wait(EVERY)

    def _record(self, event: Event, *, status: str | None = None, release: bool = False) -> int:
        """Write an event to the journal; return its position."""
        self._entries += 1
        epoch = self.lease.epoch
        entry = Entry(f"d{epoch}.{self._entries}", encode_event(event))
        return self.store.append(self.task.run_id, [entry], epoch=epoch, status=status, release=release)

    def _tell(self, key: str) -> None:
        with contextlib.suppress(EntryExists):
            self.store.append(self.task.run_id, [Entry(key, STOP)], epoch=self.lease.epoch)

    # -- commands ------------------------------------------------------------------------------------------------

    def _carry_out(self, commands: list[DoCommand]) -> bool:
        """Carry out commands; return whether the run has ended."""
        for command in commands:
            match command:
                case Dispatch(bundle):
                    self._dispatch(bundle)
                case Drop(bundle):
                    if bundle not in self._sent:  # else it is dropped when word of its end comes
                        self.executor.drop(bundle)
                case Abort(bundle):
                    self._tell(stop_key(bundle))
                    self._losses.stop(bundle)
                    if self._waiting.pop(bundle, None) is not None:
                        self._inbox.put(BundleEnded(bundle, "it was not sent"))
                case Anew():
                    self._begin_anew()
                case End(status, address, message, output):
                    if self._streams:
                        self.executor.close(self.task.run_id)
                    values = outputs_of(self.engine.state) if status == "completed" and output < 0 else ()
                    ended = RunEnded(time.time(), status, address, message, address if output >= 0 else "", values)
                    self._record(ended, status=status, release=True)
                    self._released = True
                    self.engine.state.apply(ended)
                    return True
        return False

    def _begin_anew(self) -> None:
        """Take the run up once more; what that means is read in the journal, like everything."""
        for bundle in self.engine.held:
            self.executor.drop(bundle)
        self._record(replace(self.task.started, time=time.time(), reset={}, retry=False, shape="", anew=True))
        self.wake()

    def _dispatch(self, bundle: Bundle) -> None:
        if self._losses.must_wait(bundle):
            self._waiting[bundle.id] = bundle
            return
        verdicts, cautious = self._losses.sent(bundle)
        steps = self.engine.state.steps
        held: dict[str, int] = {}
        needs: list[Need] = []
        widths: dict[int, int] = {}
        fan_outs: set[int] = set()
        for step, lo, hi in bundle.needs:
            if steps[step].plan.fan_out:
                fan_outs.add(step)  # a single element of one
            for piece in steps[step].where(lo, hi):
                place = -1
                if self.executor.holds(piece.bundle):
                    place = held.setdefault(piece.bundle, len(held))
                needs.append(Need(step, piece.lo, piece.hi, piece.pack, piece.offset, place, piece.step, piece.at))
        bindings: dict[int, Binding] = {}
        for segment in bundle.segments:
            for index in segment.steps:
                plan = steps[index].plan
                if plan.fan_out:
                    fan_outs.add(index)
                if plan.binding is not None:
                    bindings[index] = plan.binding
                for source in plan.whole:
                    if steps[source].plan.fan_out:
                        widths[source] = steps[source].width or 0
                        fan_outs.add(source)
        orders = Orders(
            run_id=self.task.run_id,
            epoch=self.lease.epoch,
            url=self.store.url,
            secret=self.task.secret,
            code=self.task.started.code,
            bundle=bundle.id,
            segments=bundle.segments,
            needs=tuple(needs),
            widths=widths,
            fan_outs=frozenset(fan_outs),
            bindings=bindings,
            after=self._after(bundle),
            given=self._on_decisions(bundle),
            keep=bundle.keep,
            spent=bundle.spent,
            line=bundle.line,
            stop_on_error=self.engine.state.stop_on_error,
            sheltered=self.engine.sheltered(bundle),
            verdicts=verdicts,
            cautious=cautious,
        )
        self._given[bundle.id] = tuple(held)
        self._sent.add(bundle.id)
        self.executor.submit(
            bundle.id,
            steps[bundle.segments[0].steps[0]].plan.label.split(" ")[0],
            orders.pack(),
            list(held),
            priority=bundle.priority,
            resources=dict(bundle.resources),
            done=lambda ended, why, deaths: self._inbox.put(BundleEnded(ended, why, deaths)),
            worker=self._homes.get(steps[bundle.segments[0].steps[0]].plan.id, ""),
        )

    def _after(self, bundle: Bundle) -> dict[int, tuple[tuple[int, int], ...]]:
        """What in a bundle must be over before a step of it begins, for the order's sake alone."""
        inside: dict[int, int] = {}
        for segment in bundle.segments:
            for index in segment.steps:
                inside[index] = inside.get(index, 0) + segment.hi - segment.lo
        if len(inside) == 1:
            return {}
        found: dict[int, tuple[tuple[int, int], ...]] = {}
        for index in inside:
            plan = self.engine.state.steps[index].plan
            if plan.template.after or self.engine.state.rules.scopes[plan.scope].waits:
                gates = [(gate, inside[gate]) for gate in plan.gates if gate in inside and gate not in plan.whole]
                if gates:
                    found[index] = tuple(gates)
        return found

    def _on_decisions(self, bundle: Bundle) -> dict[int, tuple[int, bool]]:
        """The decisions that are made in a bundle, and on which steps of it begin that were made ahead of time."""
        scopes, steps = self.engine.state.rules.scopes, self.engine.state.steps
        found: dict[int, tuple[int, bool]] = {}
        for segment in bundle.segments:
            for index in segment.steps:
                scope = scopes[steps[index].plan.scope]
                if scope.ahead and scope.given is not None:
                    found[index] = scope.given
        return found

    def _shut_out(self, bundle: str, worker: str, columns: tuple[Column, ...]) -> None:
        """Make sure that a bundle given up for lost records nothing more: its worker may only be slow.

        Args:
            bundle: its id.
            worker: whose outcomes the columns are.
            columns: what came of the task it was at, unless its worker has said that.
        """
        while True:
            known = self._recorded(bundle)
            told = [one for one in known if isinstance(one, Outcomes)]
            if any(one.ended for one in told):
                return  # nothing more comes of it
            done = {
                (c.step, c.attempt, c.lo + place) for one in told for c in one.columns for place in range(len(c.status))
            }
            columns = tuple(one for one in columns if (one.step, one.attempt, one.lo) not in done)
            event = encode_event(Outcomes(bundle, worker or self.task.started.driver, columns, ended=True))
            with contextlib.suppress(EntryExists):
                entry = Entry(bundle_key(bundle, len(known) + 1), event)
                self.store.append(self.task.run_id, [entry], epoch=self.lease.epoch)
                return

    def _recorded(self, bundle: str) -> list[Event | None]:
        """Return what the journal holds of a bundle."""
        found: list[Event | None] = []
        while (entry := self.store.lookup(self.task.run_id, bundle_key(bundle, len(found) + 1))) is not None:
            found.append(decode_event(entry.data))
        return found
