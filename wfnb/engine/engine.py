"""The engine: what happened goes in, what to do comes out. Pure: `handle(event) -> commands`; imports model and engine.

Two kinds of events: those of the journal (`wfnb.model.events`), which are the run, and those of the moment, which are
gone with the driver: a bundle ended, time passed, the cluster grew. A driver that takes a run up replays the journal
with `replay` and then goes on with `handle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from wfnb.engine.bundles import Bundle, Packer, Segment
from wfnb.engine.plan import Plan
from wfnb.engine.state import State
from wfnb.model.events import Event, Outcomes, Running, RunStarted

# -- events of the moment ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BundleEnded:
    """A worker is through with a bundle, or lost; its outcomes, if any, came before this by the journal.

    Args:
        bundle: the bundle's id.
        error: why the bundle as such failed (a worker died, its code did not load), or "".
    """

    bundle: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: it is now `now` seconds since the epoch."""

    now: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """The cluster has so many worker threads."""

    threads: int


Moment: TypeAlias = BundleEnded | Tick | Capacity

# -- commands ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send a bundle to a worker."""

    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Drop:
    """Let go of the values a bundle left on a worker: nobody needs them any more."""

    bundle: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop a bundle in flight."""

    bundle: str


@dataclass(frozen=True, slots=True)
class End:
    """Record that the run is over.

    Args:
        status: "completed", "failed" or "cancelled".
        address: the address of the first task that failed, or "".
        message: what went wrong when no task is to blame.
    """

    status: str
    address: str = ""
    message: str = ""


DoCommand: TypeAlias = Dispatch | Drop | Abort | End

MAX_LOST = 20
"""How often a bundle may end without any outcome in a row before the run gives up."""


class Engine:
    """Decides what a run does next.

    Args:
        plan: the plan.
        epoch: the driver's epoch; makes bundle ids unique in the run.
        estimates: seconds a task takes by label, as measured in earlier runs.

    Attributes:
        state: the run's state.
        flying: the bundles in flight, by id.
        held: steps whose values a bundle keeps on its worker for those who need them next, by bundle.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        epoch: int = 1,
        estimates: dict[str, float] | None = None,
    ) -> None:
        self.state = State(plan)
        self.state.estimates.update(estimates or {})
        self.flying: dict[str, Bundle] = {}
        self._packer = Packer(self.state, f"b{epoch}")
        self._threads = 1
        self._lost = 0
        self.held: dict[str, set[int]] = {}
        self._ending = False
        self._aborted: set[str] = set()
        self._fruitful: set[str] = set()
        self._seen_closings = 0
        self._closed: set[int] = set()
        self._touched: set[int] = set()
        self._users: dict[str, Iterator[int]] = {}  # those of a held bundle that were not looked at yet
        self._watched: dict[int, list[str]] = {}  # by open step: the held bundles that wait for it, each for one
        self._spent: list[str] = []

    @property
    def next_retry(self) -> float | None:
        """When the next retry is due, seconds since the epoch, or None."""
        return self.state.retries[0][0] if self.state.retries else None

    def replay(self, events: Iterable[Event]) -> None:
        """Take in what is in the journal already, deciding nothing."""
        for event in events:
            self.state.apply(event)

    def handle(self, *events: Event | Moment) -> list[DoCommand]:
        """Take in events, in order, and return what to do now."""
        for event in events:
            match event:
                case Capacity(threads):
                    self._threads = max(1, threads)
                case Tick(now):
                    self.state.due(now)
                case BundleEnded():
                    self._bundle_ended(event)
                case _:
                    self._journal(event)
        return self._decide()

    def _journal(self, event: Event) -> None:
        self.state.apply(event)
        if isinstance(event, RunStarted):
            self.flying.clear()
            self.held.clear()
            self._closed.clear()
            self._users.clear()
            self._watched.clear()
            self._spent.clear()
            self._seen_closings = -1  # whatever is closed now is new
            self._ending = False
        elif isinstance(event, Running) and event.yielded:
            self._yielded(event)
        elif isinstance(event, Outcomes) and event.columns:
            self._fruitful.add(event.bundle)
            self._touched.update(
                self.state.by_id[column.step] for column in event.columns if column.step in self.state.by_id
            )

    def _yielded(self, event: Running) -> None:
        bundle = self.flying.get(event.bundle)
        if bundle is None:
            return
        busy = self.state.by_id[event.step]
        for segment in bundle.segments:
            for index in segment.steps:
                if index != busy or not segment.lo <= event.index < segment.hi:
                    self.state.give_back(index, segment.lo, segment.hi, segment.attempt)
                else:
                    self.state.give_back(index, segment.lo, event.index, segment.attempt)
                    self.state.give_back(index, event.index + 1, segment.hi, segment.attempt)
        # The rest may be in flight again before this bundle ends: it is this bundle's no more.
        rest = Segment((busy,), event.index, event.index + 1, event.attempt)
        self.flying[bundle.id] = replace(bundle, segments=(rest,))

    def _bundle_ended(self, event: BundleEnded) -> None:
        bundle = self.flying.pop(event.bundle, None)
        self._aborted.discard(event.bundle)
        if bundle is None:
            return
        if bundle.id in self.held and bundle.id not in self._users:
            self._spent.append(bundle.id)
        for segment in bundle.segments:
            for index in segment.steps:
                self.state.give_back(index, segment.lo, segment.hi, segment.attempt)
        fruitless = event.bundle not in self._fruitful
        self._fruitful.discard(event.bundle)
        self._lost = self._lost + 1 if fruitless else 0
        if self._lost >= MAX_LOST and not self.state.trouble:
            self.state.trouble = event.error or "workers gave tasks back again and again without running them"

    # -- deciding ------------------------------------------------------------------------------------------------

    def _decide(self) -> list[DoCommand]:
        state = self.state
        commands: list[DoCommand] = []
        if not state.started or state.ended or self._ending:
            return commands
        stopping = state.cancelled or bool(state.trouble) or (state.stop_on_error and bool(state.failed))
        if not stopping and not state.paused:
            self._dispatch(commands)
        if state.cancelled:
            commands += [Abort(bundle) for bundle in self.flying if bundle not in self._aborted]
            self._aborted.update(self.flying)
        self._drop(commands)
        if not self.flying and (stopping or (not state.paused and not state.retries)):
            self._ending = True
            commands.append(self._end())
        return commands

    def _dispatch(self, commands: list[DoCommand]) -> None:
        slots = 2 * self._threads  # one bundle running and one waiting behind it, for each thread
        bound = sum(1 for bundle in self.flying.values() if bundle.resources)
        shared = len(self.flying) - bound
        while bundle := self._packer.next(slots - shared, slots - bound):
            if bundle.resources:
                bound += 1
            else:
                shared += 1
            self.flying[bundle.id] = bundle
            if bundle.keep:
                self._hold(bundle)
            commands.append(Dispatch(bundle))

    def _hold(self, bundle: Bundle) -> None:
        steps = self.state.plan.steps
        self.held[bundle.id] = set(bundle.keep)
        self._users[bundle.id] = (user for index in bundle.keep for user in steps[index].users)
        self._watch(bundle.id)

    def _watch(self, bundle: str) -> None:
        """Let a held bundle wait for the next of its users that is open; a step that is closed stays so."""
        for user in self._users[bundle]:
            if not self.state.steps[user].closed:
                self._watched.setdefault(user, []).append(bundle)
                return
        del self._users[bundle]
        if bundle not in self.flying:
            self._spent.append(bundle)

    def _drop(self, commands: list[DoCommand]) -> None:
        for step in self._newly_closed():
            for bundle in self._watched.pop(step, ()):
                self._watch(bundle)
        for bundle in self._spent:
            del self.held[bundle]
            commands.append(Drop(bundle))
        self._spent.clear()

    def _newly_closed(self) -> list[int]:
        state = self.state
        new: list[int] = []
        if state.closings != self._seen_closings:
            todo = list(self._touched)
            while todo:
                self._note_closed(todo.pop(), new, todo)
            if len(new) != state.closings - self._seen_closings:
                # A run taken up, or a step that closed as what it needs opened: rare, so look at all.
                for index in range(len(state.steps)):
                    self._note_closed(index, new, todo)
        self._seen_closings = state.closings
        self._touched.clear()
        return new

    def _note_closed(self, index: int, new: list[int], todo: list[int]) -> None:
        if self.state.steps[index].closed and index not in self._closed:
            self._closed.add(index)
            new.append(index)
            todo += self.state.plan.steps[index].users

    def _end(self) -> End:
        state = self.state
        if state.complete:
            return End("completed")
        if state.cancelled:
            return End("cancelled")
        if state.failed or state.trouble:
            return End("failed", state.failed, state.trouble)
        return End("failed", "", "nothing is left that could run, yet steps have no value; please report this")
