"""A pretend cluster for workflows with constructs: tasks are called, their values kept as a store and workers would.

Bundles are run by the worker's own getters (`Program`), entry by entry and interleaved in any order; they are lost,
handed back, aborted; the driver is killed after any entry. What the engine decides is checked on the way.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from tests.engine.oracle import Nature
from wfnb.dask.driver import Driver
from wfnb.dask.program import Compiled, Program, Runner, size_of_value
from wfnb.dask.values import Absent, Values
from wfnb.engine.bundles import Bundle, Segment
from wfnb.engine.elements import Piece
from wfnb.engine.engine import Abort, Anew, BundleEnded, Capacity, Dispatch, DoCommand, Drop, End, Engine, Tick
from wfnb.engine.lower import lower
from wfnb.engine.plan import Plan, known_widths, make_plan, pack_plan
from wfnb.engine.state import State
from wfnb.model.context import Context
from wfnb.model.events import (
    CACHED,
    CANCELLED,
    COMPLETED,
    FAILED,
    PASSED,
    TOLERATED,
    Column,
    Command,
    ErrorRecord,
    Event,
    Grown,
    Outcomes,
    RunEnded,
    Running,
    RunStarted,
    decode_event,
    encode_event,
)
from wfnb.model.graph import Graph
from wfnb.model.lifecycle import call_node
from wfnb.model.policy import kinds_of

VALUED = (COMPLETED, CACHED, PASSED, TOLERATED)
_FLOAT = struct.Struct("<d").pack


@dataclass
class Journey:
    """How a run is driven.

    Args:
        lose: how likely a worker dies, at each entry.
        hand_back: how likely a task takes long, so that the rest of its bundle is handed back.
        kills: after how many more entries each driver dies.
        cancel_at: after how many entries the run is cancelled, or None.
        pauses: how likely the run is paused for a while, at each turn.
        threads: how many threads the cluster has.
    """

    lose: float = 0.0
    hand_back: float = 0.0
    kills: tuple[int, ...] = ()
    cancel_at: int | None = None
    pauses: float = 0.0
    threads: int = 2


class Killed(Exception):
    """The driver is killed."""


@dataclass
class Bench:
    """A run's world.

    Args:
        graph: what is run.
        nature: which tasks fail.
        rng: decides whatever is left to chance.
        go_on: whether what does not use a failed step goes on.
        quick: whether tasks take no time, and are known to: much travels together, loops ahead of time.
    """

    graph: Graph
    nature: Nature = field(default_factory=Nature)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    go_on: bool = False
    quick: bool = False

    def __post_init__(self) -> None:
        self.journey = Journey()
        self.lowered = lower(self.graph)
        self.plan: Plan = make_plan(self.lowered)
        self.widths = known_widths(self.lowered, {})
        self.programs: dict[str, Program] = {"": Program(Compiled(self.lowered), {})}
        self.journal: list[bytes] = []
        self.packs: dict[str, list[Any]] = {}
        self.held: set[str] = set()
        self.memory: dict[str, dict[int, dict[int, Any]]] = {}
        self.calls: Counter[str] = Counter()
        self.acknowledged: dict[str, bool] = {}
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.redone: tuple[str, ...] = ()
        self.clock = 1000.0
        self.epoch = 0
        self.kill_at: int | None = None
        self.most_at_once: Counter[int] = Counter()

    # -- the journal ---------------------------------------------------------------------------------------------

    def write(self, event: Event) -> Event:
        """Write an entry, unless the driver dies first."""
        if self.kill_at is not None and len(self.journal) >= self.kill_at:
            raise Killed
        self.journal.append(encode_event(event))
        return event

    def events(self) -> list[Event]:
        """Return what the journal holds."""
        return [event for data in self.journal if (event := decode_event(data)) is not None]

    def start(self, *, retry: bool = False, reset: dict[str, str] | None = None) -> None:
        """Take the run up as a new driver would: what is on workers is gone."""
        self.epoch += 1
        self.held.clear()
        self.memory.clear()
        estimates = {one.label: 1e-6 for one in self.plan.templates} if self.quick else {}
        self.engine = Engine(self.plan, epoch=self.epoch, estimates=estimates)
        self.engine.replay(self.events())
        self.acknowledged = {one: kept for one, kept in self.acknowledged.items() if kept}
        if reset or retry:
            self.acknowledged.clear()
            self.outcomes.clear()
        prints = {one.id: "same" for one in self.plan.templates}
        on_error = "continue" if self.go_on else "stop"
        self.started = RunStarted(self.clock, "d", "", self.widths, prints, reset or {}, retry, on_error)
        self.pending = self.engine.handle(Capacity(self.journey.threads), self.write(self.started))
        self.engine.state.validate()

    # -- driving -------------------------------------------------------------------------------------------------

    def run(self, journey: Journey | None = None, **more: Any) -> End:
        """Run to the end, through kills; return how it ended."""
        self.journey = journey or Journey()
        kills = list(self.journey.kills)
        while True:
            self.kill_at = len(self.journal) + 1 + kills.pop(0) if kills else None
            try:
                self.start(**more)
                return self.drive()
            except Killed:
                more = {}

    def drive(self) -> End:
        """Run to the end, or until the driver is killed."""
        works: dict[str, Work] = {}
        commands = self.pending
        paused = 0
        cancelled = False
        for _ in range(20_000):
            end = self._obey(commands, works)
            if end is not None:
                self._ended(end)
                return end
            if self.journey.cancel_at is not None and not cancelled and len(self.journal) >= self.journey.cancel_at:
                cancelled = True
                for work in works.values():
                    work.stop = work.stop or not work.sheltered
                self.redone = (".finally/",)
                commands = self.handle(self.write(Command("cancel", "me", self.clock)))
            elif self.journey.pauses and not paused and self.rng.random() < self.journey.pauses:
                paused = self.rng.randint(1, 6)
                commands = self.handle(self.write(Command("pause", "me", self.clock)))
            elif paused == 1 or (paused and not works):
                paused = 0
                commands = self.handle(self.write(Command("resume", "me", self.clock)))
            elif not works:
                assert self.engine.next_retry is not None, "nothing in flight, no retry due, no end"
                self.clock = max(self.clock, self.engine.next_retry)
                commands = self.handle(Tick(self.clock))
            else:
                paused = max(paused - 1, 0)
                commands = self._advance(works)
        raise AssertionError("the run does not end")

    def handle(self, *events: Any) -> list[DoCommand]:
        """Let the engine take in events; its invariants hold after each."""
        commands = self.engine.handle(*events)
        self.engine.state.validate()
        return commands

    def _advance(self, works: dict[str, Work]) -> list[DoCommand]:
        # What holds values on a worker is waited for.
        bundle = self.rng.choice([one for one, work in works.items() if not work.waits & set(works)])
        work = works[bundle]
        lost = self.rng.random() < self.journey.lose
        event = None if lost else next(work.entries, None)
        if event is not None:
            self.write(event)
            if isinstance(event, Outcomes):
                self._note(event, work)
            return self.handle(event)
        del works[bundle]
        self.memory[bundle] = work.keep()
        if bundle in self.engine.held and not lost:  # of a lost one, Dask makes them again for bundles that are out
            self.held.add(bundle)
        return self.handle(BundleEnded(bundle, "worker died" if lost else ""), Tick(self.clock))

    def _obey(self, commands: list[DoCommand], works: dict[str, Work]) -> End | None:
        for command in commands:
            match command:
                case Anew():
                    assert not any(one in self.engine.flying for one in works)
                    return self._obey(self._begin_anew(), works)
                case Dispatch(bundle):
                    works[bundle.id] = Work(self, bundle, set(works) | self.held)
                    self._count(works)
                case Drop(bundle):
                    self.held.discard(bundle)
                case Abort(bundle):
                    if bundle in works:
                        works[bundle].stop = True
                case End():
                    return command
        return None

    def _begin_anew(self) -> list[DoCommand]:
        """Take the run up once more, with what is in the store alone."""
        self.held.clear()
        self.acknowledged = {one: kept for one, kept in self.acknowledged.items() if kept}
        return self.handle(self.write(replace(self.started, time=self.clock, reset={}, retry=False, anew=True)))

    def _count(self, works: dict[str, Work]) -> None:
        # One whose tasks all have their outcomes is over, whether its worker has said so or not.
        busy = [one for bundle, one in works.items() if bundle in self.engine.flying]
        at_once = Counter(limit for one in busy for limit in one.bundle.limits)
        for limit, count in at_once.items():
            assert count <= self.plan.limits[limit], "more at once than the workflow allows"
        self.most_at_once |= at_once

    def _ended(self, end: End) -> None:
        assert not end.message.startswith("nothing is left"), end.message
        self.kill_at = None
        output = end.address if end.output >= 0 else ""
        self.engine.state.apply(self.write(RunEnded(self.clock, end.status, end.address, end.message, output)))

    def replayed(self) -> State:
        """Return what the journal alone says of the run."""
        state = State(self.plan)
        for event in self.events():
            state.apply(event)
        state.validate()
        return state

    # -- what may not be -----------------------------------------------------------------------------------------

    def _note(self, event: Outcomes, work: Work) -> None:
        for column in event.columns:
            index = next(index for index, runner in work.runners.items() if runner.id == column.step)
            for place, status in enumerate(column.status):
                address = work.address(index, column.lo + place)
                if status == CANCELLED or any(word in address for word in self.redone):
                    continue
                if status in VALUED:
                    self.acknowledged[address] = work.kept(index)
                if work.kept(index):
                    self.outcomes[address, column.attempt] += 1
                    assert self.outcomes[address, column.attempt] == 1, f"two outcomes of one attempt of {address}"

    def called(self, address: str, *, counted: bool) -> None:
        """Note a call: nothing that is acknowledged is called again."""
        if not any(word in address for word in self.redone):
            assert not self.acknowledged.get(address), f"{address} is called again"
        if counted:
            self.calls[address] += 1

    # -- what came of it -----------------------------------------------------------------------------------------

    def result(self, end: End) -> tuple[str, ...]:
        """Return how the run ended, as the oracle says it."""
        if end.status != "completed":
            return end.status, self._kind(end.address), end.address
        if end.output >= 0:
            return "value", repr(self._whole(end.output))
        numbers = self.engine.state.rules.scopes[0].numbers
        cells = {numbers[one]: {0: self._whole(numbers[one])} for one in self.plan.outputs}
        program = self.programs[""].compiled
        names: Any = SimpleNamespace(steps=program.number, slots={})
        getter = program._getter(self.lowered.output, names)
        return "value", repr(getter(Values(cells, {}, frozenset()), 0))

    def _kind(self, address: str) -> str:
        found = ""
        for event in self.events():
            for column in event.columns if isinstance(event, Outcomes) else ():
                index = self.engine.state.by_id.get(column.step)
                for place, error in column.errors.items():
                    if index is not None and self.engine.state.address(index, column.lo + place) == address:
                        found = error.type
        return found

    def _whole(self, number: int) -> Any:
        step = self.engine.state.steps[number]
        found = []
        for piece in step.where(0, step.width or 0):
            found += [self.fetch(piece, element, self.held) for element in range(piece.lo, piece.hi)]
        return found if step.plan.fan_out else found[0]

    def fetch(self, piece: Piece, element: int, holding: set[str]) -> Any:
        """Return a value from a worker that holds it, or from the store."""
        held = self.memory.get(piece.bundle, {}).get(piece.step, {})
        at = piece.at + element - piece.lo
        if at in held and piece.bundle in holding:
            return held[at]
        assert piece.pack, f"a value of step {piece.step} is neither on a worker nor in the store"
        return self.packs[piece.pack][piece.offset + element - piece.lo]


class Work:
    """One bundle on a worker.

    Args:
        bench: the run's world.
        bundle: the bundle.
        holding: the bundles whose values are on workers when it is sent.
    """

    def __init__(self, bench: Bench, bundle: Bundle, holding: set[str]) -> None:
        self.bench, self.bundle, self.holding = bench, bundle, holding
        self.stop = False
        self.sheltered = bench.engine.sheltered(bundle)
        self.stop_on_error = bench.engine.state.stop_on_error
        self.address = bench.engine.state.address
        driver: Any = SimpleNamespace(engine=bench.engine)
        self.after, self.given = Driver._after(driver, bundle), Driver._on_decisions(driver, bundle)
        steps = bench.engine.state.steps
        self.needs = [(step, piece) for step, lo, hi in bundle.needs for piece in steps[step].where(lo, hi)]
        self.waits = {piece.bundle for _, piece in self.needs}
        plans = [steps[index].plan for segment in bundle.segments for index in segment.steps]
        used = [steps[source].plan for plan in plans for source in plan.whole]
        used += [steps[step].plan for step, _, _ in bundle.needs]
        widths = {plan.index: steps[plan.index].width or 0 for plan in used}
        fan_outs = frozenset(plan.index for plan in (*plans, *used) if plan.fan_out)
        self.values = Values({}, widths, fan_outs, run_id="run", spent=bundle.spent)
        programs = bench.programs
        self.runners: dict[int, Runner] = {
            plan.index: programs[""].runner(plan.index)
            if plan.binding is None
            else programs[plan.binding.code].bound(plan.binding)
            for plan in plans
        }
        self.count = 0
        self.rows: list[tuple[Column, Any]] = []
        self.entries = self._entries()

    def kept(self, index: int) -> bool:
        """Return whether a step's values go to the store."""
        return self.runners[index].kept

    def keep(self) -> dict[int, dict[int, Any]]:
        """Return what is left on the worker."""
        return {step: dict(self.values.cells.get(step, {})) for step in self.bundle.keep}

    def _entries(self) -> Iterator[Event]:
        rng, bundle = self.bench.rng, self.bundle
        for step, piece in self.needs:
            cells = self.values.cells.setdefault(step, {})
            cells.update({n: self.bench.fetch(piece, n, self.holding) for n in range(piece.lo, piece.hi)})
        for segment, element, index in self._tasks():
            step = self.runners[index].step
            if self.stop:
                break
            if not self._is_due(index):
                continue
            running = Running(bundle.id, "w", self.runners[index].id, element, segment.attempt, self.bench.clock)
            long = len(list(self._tasks())) > 1 and rng.random() < self.bench.journey.hand_back
            if long:
                yield from self._flushed()
                yield replace(running, yielded=True)
            elif rng.random() < 0.3:
                yield running
            if self.stop:
                if rng.random() < 0.5:
                    self.rows.append((self._column(segment, index, element, CANCELLED), None))
                break
            goes_on = True
            for one in self._task(segment, element, index):
                if isinstance(one, tuple):
                    self.rows.append(one)
                    failed = one[0].status[0] == FAILED
                    last = failed and one[0].errors[0].retry_in is None and self.stop_on_error
                    goes_on = not last and not (failed and step.kind == "source")
                else:
                    yield from self._flushed()
                    yield one
                    goes_on = not isinstance(one, Outcomes)  # the end of a generator
            if long or not goes_on:
                break
            if rng.random() < 0.5:
                yield from self._flushed()
        yield from self._flushed()

    def _tasks(self) -> Iterator[tuple[Segment, int, int]]:
        for segment in self.bundle.segments:
            for element in range(segment.lo, segment.hi):
                for index in segment.steps:
                    yield segment, element, index

    def _flushed(self) -> Iterator[Outcomes]:
        """Yield what was not written yet, as one entry with its pack."""
        if not self.rows:
            return
        self.count += 1
        pack = f"{self.bundle.id}.{self.count}"
        number = {runner.id: index for index, runner in self.runners.items()}
        values: list[Any] = []
        columns = []
        for column, value in self.rows:
            if column.status[0] in VALUED and self.kept(number[column.step]):
                columns.append(column._replace(pack=pack, offset=len(values)))
                values.append(value)
            else:
                columns.append(column)
        self.rows = []
        self.bench.packs[pack] = values
        yield Outcomes(self.bundle.id, "w", tuple(columns))

    def _column(self, segment: Segment, index: int, element: int, status: int, **more: Any) -> Column:
        bench = self.bench
        start = bench.clock
        bench.clock += 1e-6 if bench.quick else bench.rng.choice([1e-6, 1e-3, 0.2])
        times = _FLOAT(start), _FLOAT(bench.clock)
        return Column(self.runners[index].id, element, segment.attempt, bytes((status,)), *times, **more)

    def _is_due(self, index: int) -> bool:
        cells = self.values.cells
        if any(len(cells.get(gate, ())) < count for gate, count in self.after.get(index, ())):
            return False
        decision, wanted = self.given.get(index, (index, True))
        return decision == index or bool(cells.get(decision, {}).get(0, not wanted)) == wanted

    def _task(self, segment: Segment, element: int, index: int) -> Iterator[tuple[Column, Any] | Event]:
        """Run one task: its outcome and value, or nothing where it is left out, or what a worker writes at once."""
        runner, values = self.runners[index], self.values
        try:
            if runner.when is not None and not runner.when(values, element):
                values.add(index, element, None)
                yield self._column(segment, index, element, PASSED), None
                return
            args = [get(values, element) for get in runner.args]
            kwargs = {name: get(values, element) for name, get in runner.kwargs}
        except Absent:
            return
        try:
            value = self._call(segment, element, index, args, kwargs)
        except StopIteration:
            end = Column(runner.id, element, segment.attempt, b"", b"", b"", size=element)
            yield Outcomes(self.bundle.id, "w", (end,))
            return
        except Exception as error:
            yield self._failed(segment, element, index, error)
            return
        if runner.step.kind == "plan":
            yield self._grown(runner, value)
            value = None
        values.add(index, element, value)
        size = size_of_value(value) if runner.sized else value if runner.decides else None
        yield self._column(segment, index, element, COMPLETED, size=size), value

    def _call(self, segment: Segment, element: int, index: int, args: list[Any], kwargs: dict[str, Any]) -> Any:
        bench, step = self.bench, self.runners[index].step
        address, fragile = self.address(index, element), hasattr(step.node, "fragile")
        bench.called(address, counted=fragile)
        count, kind = bench.nature.trouble(address)
        if fragile and segment.attempt - segment.base <= count:
            raise kind("told to fail")
        value = call_node(step.node, args, kwargs, Context())
        if step.kind != "source":
            return value
        items = list(value)
        if element >= len(items):
            raise StopIteration
        return items[element]

    def _failed(self, segment: Segment, element: int, index: int, error: Exception) -> tuple[Column, Any]:
        step = self.runners[index].step
        retry_in = step.node.policy.next_wait(error, segment.attempt - segment.base)
        record = ErrorRecord(type(error).__qualname__, str(error), "", b"", retry_in, kinds_of(error))
        if retry_in is None and step.continue_on_error:
            self.values.add(index, element, None)
            return self._column(segment, index, element, TOLERATED, errors={0: record}), None
        return self._column(segment, index, element, FAILED, errors={0: record}), None

    def _grown(self, runner: Runner, graph: Graph) -> Grown:
        step = runner.id.removesuffix(".plan")
        lowered = lower(graph, closed=True)
        code = f"code-{self.bundle.id}-{step}"
        self.bench.programs[code] = Program(Compiled(lowered), {})
        return Grown(step, code, pack_plan(make_plan(lowered), known_widths(lowered, {})), "{}")
