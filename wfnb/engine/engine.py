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

    When all tasks of a bundle have their outcomes the engine knows that it has ended, before anybody says so.

    Args:
        bundle: the bundle's id.
        error: why the bundle as such failed (a worker died, its code did not load), or "".
        deaths: how many workers died that had it.
        innocent: whether what went wrong is no fault of it, so that it does not count as tried in vain.
    """

    bundle: str
    error: str = ""
    deaths: int = 0
    innocent: bool = False


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
        output: the number of the step whose value is the run's, where one ended it early, or -1.
    """

    status: str
    address: str = ""
    message: str = ""
    output: int = -1


@dataclass(frozen=True, slots=True)
class Anew:
    """Take the run up anew: values that are kept nowhere went with a worker, and steps that are to come need them."""


DoCommand: TypeAlias = Dispatch | Drop | Abort | Anew | End

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
        self._left: dict[str, int] = {}  # how many tasks of a bundle in flight have no outcome
        self._seen_aborting = 0
        self._users: dict[str, Iterator[int]] = {}  # those of a held bundle that were not looked at yet
        self._watched: dict[int, list[str]] = {}  # by open step: the held bundles that wait for it, each for one
        self._spent: list[str] = []
        self._gone = False  # values that are needed are nowhere any more
        self._asked = False  # for the run to be taken up anew

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
            self.state.work()
        return self._decide()

    def _journal(self, event: Event) -> None:
        self.state.apply(event)
        if isinstance(event, RunStarted):
            self.flying.clear()
            self.held.clear()
            self._users.clear()
            self._watched.clear()
            self._spent.clear()
            self._left.clear()
            self._ending = self._gone = self._asked = False
        elif isinstance(event, Running) and event.yielded:
            self._yielded(event)
        elif isinstance(event, Outcomes) and event.columns:
            self._fruitful.add(event.bundle)
            if event.bundle in self._left:
                self._left[event.bundle] -= sum([len(column.status) for column in event.columns])
                if not self._left[event.bundle]:  # its worker has yet to say that, but nothing more comes of it
                    self._bundle_ended(BundleEnded(event.bundle))

    def _yielded(self, event: Running) -> None:
        bundle = self.flying.get(event.bundle)
        if bundle is None:
            return
        busy = self.state.by_id.get(event.step, -1)
        for segment in bundle.segments:
            for index in segment.steps:
                if index != busy or not segment.lo <= event.index < segment.hi:
                    self.state.give_back(index, segment.lo, segment.hi, segment.attempt)
                else:
                    self.state.give_back(index, segment.lo, event.index, segment.attempt)
                    self.state.give_back(index, event.index + 1, segment.hi, segment.attempt)
        # The rest may be in flight again before this bundle ends: it is this bundle's no more.
        self._left.pop(bundle.id, None)
        bundle = self._with_all_held(bundle)
        rest = (Segment((busy,), event.index, event.index + 1, event.attempt),) if busy >= 0 else ()
        self.flying[bundle.id] = replace(bundle, segments=rest)

    def _with_all_held(self, bundle: Bundle) -> Bundle:
        """Return a bundle that hands something back as it is then: it keeps what that may need of its own values."""
        if bundle.id not in self.held:
            return bundle
        made = {index for segment in bundle.segments for index in segment.steps}
        self.held[bundle.id] |= made
        return replace(bundle, keep=bundle.keep | made)

    def _bundle_ended(self, event: BundleEnded) -> None:
        bundle = self.flying.pop(event.bundle, None)
        left = self._left.pop(event.bundle, 0)
        self._aborted.discard(event.bundle)
        if event.error:
            self._gone = self._gone or self._took_along(event.bundle)
        if bundle is None:
            return
        if left and not event.error:
            bundle = self._with_all_held(bundle)
        self._packer.landed(bundle)
        if bundle.id in self.held:
            # Bodies that begun since may need its values: only now all who do are known.
            self._users[bundle.id] = self._needed_by(bundle)
            self._watch(bundle.id)
        for segment in bundle.segments:
            for index in segment.steps:
                self.state.give_back(index, segment.lo, segment.hi, segment.attempt)
        fruitless = event.bundle not in self._fruitful
        self._fruitful.discard(event.bundle)
        if not (fruitless and event.innocent):
            self._lost = self._lost + 1 if fruitless else 0
        if self._lost >= MAX_LOST and not self.state.trouble:
            self.state.trouble = event.error or "workers gave tasks back again and again without running them"

    def _took_along(self, bundle: str) -> bool:
        """Return whether a lost bundle has made values that were with its worker alone, and are needed."""
        steps = self.state.steps
        return any(
            not steps[index].plan.keeps
            and any(piece.bundle == bundle and not piece.pack for piece in steps[index].pieces)
            and any(not steps[user].complete for user in steps[index].users)
            for index in self.held.get(bundle, ())
        )

    # -- deciding ------------------------------------------------------------------------------------------------

    def _decide(self) -> list[DoCommand]:
        state = self.state
        commands: list[DoCommand] = []
        if not state.started or state.ended or self._ending:
            return commands
        rules = state.rules
        anew = self._gone and not state.cancelled and not state.trouble and not rules.finished and not rules.stopped
        if not state.paused and not state.trouble and not anew:
            self._dispatch(commands)
        if rules.aborting != self._seen_aborting:
            self._abort(commands)
        self._drop(commands)
        if anew:
            if not self.flying and not state.paused and not self._asked:
                self._asked = True
                commands.append(Anew())
        elif not self.flying and (
            rules.finished or rules.stopped or state.trouble or (not state.paused and not state.retries)
        ):
            self._ending = True
            commands.append(self._end())
        return commands

    def _abort(self, commands: list[DoCommand]) -> None:
        """Stop the bundles of which nothing is wanted any more."""
        self._seen_aborting = self.state.rules.aborting
        for bundle in self.flying.values():
            steps = {index for segment in bundle.segments for index in segment.steps}
            wanted = [index for index in steps if not self.state.steps[index].complete]
            if bundle.id not in self._aborted and all(self.state.rules.dead(index) for index in wanted or steps):
                self._aborted.add(bundle.id)
                commands.append(Abort(bundle.id))

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
            self._left[bundle.id] = sum([len(steps) * (hi - lo) for steps, lo, hi, *_ in bundle.segments])
            if bundle.keep or len(bundle.segments) > 1:  # it may hand back what needs values that it has made
                self.held[bundle.id] = set(bundle.keep)
            commands.append(Dispatch(bundle))

    def sheltered(self, bundle: Bundle) -> bool:
        """Return whether a cancel of the run leaves a bundle alone: what is run whatever happens is in it."""
        rules = self.state.rules
        steps = self.state.steps
        scopes = {steps[index].plan.scope for s in bundle.segments for index in s.steps}
        return self.state.cancelled or any(map(rules.sheltered, scopes))

    def _needed_by(self, bundle: Bundle) -> Iterator[int]:
        """Yield the steps that need the values a bundle left, also by way of constructs that show them."""
        state = self.state
        for index in bundle.keep:
            todo = [index]
            while todo:
                at = todo.pop()
                yield from state.steps[at].users
                construct = state.rules.shown.get(at, -1)
                # A construct that is not over gathers values; or it is a loop, which shows only the last one.
                if construct >= 0 and state.steps[construct].pieces:
                    todo.append(construct)

    def _watch(self, bundle: str) -> None:
        """Let a held bundle wait for the next of its users that is open; a step that is closed stays so."""
        for user in self._users[bundle]:
            if not self.state.steps[user].settled:
                self._watched.setdefault(user, []).append(bundle)
                return
        del self._users[bundle]
        self._spent.append(bundle)

    def _drop(self, commands: list[DoCommand]) -> None:
        state = self.state
        for step in state.closed:
            for bundle in self._watched.pop(step, ()):
                self._watch(bundle)
        state.closed.clear()
        for bundle in self._spent:
            self.held.pop(bundle, None)
            commands.append(Drop(bundle))
        self._spent.clear()

    def _end(self) -> End:
        state = self.state
        rules = state.rules
        if rules.result >= 0:
            return End("completed", state.address(rules.result, 0), output=rules.result)
        if rules.finished:
            return End("completed")
        if state.trouble:
            return End("failed", state.failed, state.trouble)
        failure = rules.failure
        if state.cancelled and (failure is None or failure.cancelled):
            return End("cancelled")
        if failure is not None:
            return End("failed", "", failure.message) if failure.told else End("failed", failure.address)
        return End("failed", "", "nothing is left that could run, yet steps have no value; please report this")
