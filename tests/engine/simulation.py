"""A pretend cluster for the engine: runs bundles in memory, in any order, with failures, hand-backs and losses.

A fake has its place here: the engine is pure, and thousands of schedules must be tried without a server or a sleep.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, replace

from wfnb.engine.bundles import Bundle, Segment
from wfnb.engine.engine import Anew, BundleEnded, Capacity, Dispatch, DoCommand, End, Engine, Tick
from wfnb.engine.plan import Plan
from wfnb.model.events import (
    COMPLETED,
    FAILED,
    Column,
    ErrorRecord,
    Event,
    Outcomes,
    RunEnded,
    Running,
    RunStarted,
    decode_event,
    encode_event,
)


@dataclass
class World:
    """What a run would find in the store and on the workers, and how its nodes behave.

    Args:
        plan: the plan to run.
        widths: known widths by step id.
        lists: the length of the list a task gives, by step id.
        fails: how many attempts of an element fail before one succeeds, by (step id, element).
        seconds: how long a task takes, by step id.
    """

    plan: Plan
    widths: dict[str, int] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    fails: dict[tuple[str, int], int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    retries: int = 3
    journal: list[bytes] = field(default_factory=list)
    values: dict[tuple[int, int], object] = field(default_factory=dict)
    homes: dict[tuple[int, int], str] = field(default_factory=dict)
    """The bundle that has a value which is kept nowhere else."""
    calls: list[tuple[int, int, int]] = field(default_factory=list)
    clock: float = 1000.0
    epoch: int = 0

    def write(self, event: Event) -> Event:
        self.journal.append(encode_event(event))
        found = decode_event(self.journal[-1])
        assert found == event
        return event

    def start(self, *, stop_on_error: bool = True, retry: bool = False, reset: dict[str, str] | None = None) -> Engine:
        """Take the run up as a new driver would: replay, then say so in the journal."""
        self.epoch += 1
        self.forget()  # with the workers of the driver before
        engine = Engine(self.plan, epoch=self.epoch)
        engine.replay(event for data in self.journal if (event := decode_event(data)) is not None)
        self.started = RunStarted(
            self.clock, "driver", "code", self.widths, {}, reset or {}, retry, "stop" if stop_on_error else "continue"
        )
        self.pending = engine.handle(Capacity(2), self.write(self.started))
        return engine

    def forget(self, bundle: str | None = None) -> None:
        """Forget what was not kept, of one bundle or of all."""
        for place in list(self.values):
            if not self.plan.templates[place[0]].keeps and bundle in (None, self.homes.get(place)):
                del self.values[place]

    def value(self, index: int, element: int) -> object:
        """The value an element should have: a tree of what went in, so that a wrong input shows."""
        step = self.plan.templates[index]
        whole = tuple(self.whole_value(source) for source in step.whole)
        aligned = tuple(self.values[source, element] for source in step.aligned)
        return hash((step.id, element, whole, aligned))

    def whole_value(self, index: int) -> object:
        width = self.width(index)
        return hash(tuple(self.values[index, element] for element in range(width)))

    def width(self, index: int) -> int:
        step = self.plan.templates[index]
        if not step.many:
            return 1
        if step.id in self.widths:
            return self.widths[step.id]
        if step.aligned:
            return self.width(step.aligned[0])
        source = self.plan.templates[step.sized[0]]
        return self.width(source.index) if source.many else self.lists[source.id]

    def inputs(self, index: int, element: int) -> list[tuple[int, int]]:
        """Return the places of the values that an element needs."""
        step = self.plan.templates[index]
        whole = [(source, one) for source in step.whole for one in range(self.width(source))]
        return whole + [(source, element) for source in step.aligned]

    def run_bundle(self, bundle: Bundle, rng: random.Random, *, stop: bool) -> list[Outcomes]:
        """Run some of a bundle and return its entries; what is not run is handed back."""
        budget = rng.choice([1, 2, 5, 10_000])
        columns: list[Column] = []
        failed: set[tuple[int, int]] = set()
        for segment in bundle.segments:
            for element in range(segment.lo, segment.hi):
                if budget <= 0:
                    break
                budget -= 1
                for index in segment.steps:
                    step = self.plan.templates[index]
                    if any((source, element) in failed for source in step.aligned) or any(
                        source == index_ for source in step.whole for index_, _ in failed
                    ):
                        failed.add((index, element))
                        continue
                    try:
                        value = self.value(index, element)
                    except KeyError:
                        assert set(self.inputs(index, element)) - set(self.values)
                        failed.add((index, element))  # it was not kept, and is gone: it cannot begin
                        continue
                    self.calls.append((index, element, segment.attempt))
                    at = self.clock
                    self.clock += self.seconds.get(step.id, 1e-6)
                    need = self.fails.get((step.id, element), 0)
                    span = (struct.pack("<d", at), struct.pack("<d", self.clock))
                    if segment.attempt <= need:
                        last = segment.attempt - segment.base > self.retries
                        error = ErrorRecord("ValueError", "no", retry_in=None if last else 0.5)
                        columns.append(
                            Column(step.id, element, segment.attempt, bytes((FAILED,)), *span, errors={0: error})
                        )
                        failed.add((index, element))
                        if last and stop:
                            return self._flush(bundle, columns, rng)
                        continue
                    self.values[index, element] = value
                    if not step.keeps:
                        self.homes[index, element] = bundle.id
                    size = None if step.many else self.lists.get(step.id)
                    columns.append(
                        Column(
                            step.id,
                            element,
                            segment.attempt,
                            bytes((COMPLETED,)),
                            *span,
                            "pack" if step.keeps else "",
                            0,
                            size,
                        )
                    )
        return self._flush(bundle, columns, rng)

    def middle(self, bundle: Bundle) -> tuple[int, int, int] | None:
        """Return a task in the middle of a bundle that can run by itself: (step, element, attempt)."""
        segment = bundle.segments[0]
        if len(bundle.segments) == 1 and segment.hi - segment.lo == 1:
            return None
        return segment.steps[0], (segment.lo + segment.hi) // 2, segment.attempt

    def _flush(self, bundle: Bundle, columns: list[Column], rng: random.Random) -> list[Outcomes]:
        entries = []
        while columns:
            cut = rng.randint(1, len(columns))
            entries.append(Outcomes(bundle.id, "w", tuple(columns[:cut])))
            columns = columns[cut:]
        return entries

    def drive(
        self,
        engine: Engine,
        rng: random.Random,
        *,
        stop_after: int | None = None,
        stop: bool = True,
        lose: float = 0.0,
        hand_back: float = 0.0,
    ) -> End | None:
        """Run until the end, or until the journal has `stop_after` entries (a kill); bundles end in any order."""
        flying: list[Bundle] = []
        commands = self.pending
        for _ in range(100_000):
            more: list[DoCommand] = []
            for command in commands:
                if isinstance(command, Dispatch):
                    flying.append(command.bundle)
                elif isinstance(command, Anew):
                    assert not flying
                    self.forget()
                    again = replace(self.started, time=self.clock, reset={}, retry=False, anew=True)
                    more += engine.handle(self.write(again))
                elif isinstance(command, End):
                    self.write(RunEnded(self.clock, command.status, command.address, command.message))
                    engine.replay([RunEnded(self.clock, command.status)])
                    return command
            engine.state.validate()
            if more:
                commands = more
                continue
            if not flying:
                assert engine.next_retry is not None, "stuck: nothing in flight, no retry due, no end"
                self.clock = max(self.clock, engine.next_retry)
                commands = engine.handle(Tick(self.clock))
                continue
            bundle = flying.pop(rng.randrange(len(flying)))
            commands = []
            if rng.random() < hand_back and (busy := self.middle(bundle)) is not None:
                # The worker is at this task for long: it keeps that one alone, and another bundle may end first.
                step, element, attempt = busy
                commands += engine.handle(
                    self.write(
                        Running(
                            bundle.id, "w", self.plan.templates[step].id, element, attempt, self.clock, yielded=True
                        )
                    )
                )
                bundle = replace(bundle, segments=(Segment((step,), element, element + 1, attempt),))
                flying.append(bundle)
                continue
            entries = self.run_bundle(bundle, rng, stop=stop)
            lost = rng.random() < lose
            for entry in entries[: rng.randint(0, len(entries))] if lost else entries:
                commands += engine.handle(self.write(entry))
                if stop_after is not None and len(self.journal) >= stop_after:
                    return None
            if lost:
                self.forget(bundle.id)
            commands += engine.handle(BundleEnded(bundle.id, "worker died" if lost else ""), Tick(self.clock))
        raise AssertionError("the run does not end")
