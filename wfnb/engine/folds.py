"""What a run's journal says, for people: state, progress, trace and logs, folded event by event. Pure; imports model.

`RunFold` takes events in and answers with the records of `wfnb.engine.facts`. No clock is read: times come from the
events and from the caller's `now`. A fan-out is one byte an element and the journal's own
columns, never an object an element; a step of a body that is run many times is one template with its instances.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfnb.engine.addresses import addresses_of, elements, places, template_of
from wfnb.engine.cells import FINISHED, FINISHED_OR_FAILED, Kin, Mark, floats
from wfnb.engine.facts import AttemptView, Counts, Kept, LogRow, RunView, StepView, TaskError, TaskView
from wfnb.engine.steps import Steps
from wfnb.engine.summary import Summary, catcher
from wfnb.model.events import (
    CACHED,
    CANCELLED,
    COMPLETED,
    PASSED,
    PENDING,
    SHARED,
    SKIPPED,
    STATUS_NAMES,
    TOLERATED,
    Column,
    Command,
    Event,
    Grown,
    Logs,
    Outcomes,
    RunEnded,
    Running,
    RunStarted,
    Waiting,
)

RECENT = 10.0
"""Seconds that count as the recent past when a rate is measured."""

OVERHEAD = 1e-4
"""Seconds a task costs beside its own work, so that times left make sense for empty tasks too."""


_NAMES = [STATUS_NAMES.get(byte, "pending") for byte in range(256)]


# -- the run -------------------------------------------------------------------------------------------------------


class RunFold:
    """The fold of a run's journal over the shape of its workflow.

    Args:
        shape: as in the run's record: ``{"steps": [{"id", "node", "kind", "group", "uses", "where", "over"}, ...]}``;
            the steps in an order in which they can run. `over` names the steps whose values a fan-out iterates
            over; without it, a width that no `RunStarted` gives is not known before the run ends.
    """

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self._steps = Steps(shape)
        self._logs: list[LogRow] = []
        self._status = "queued"
        self._asked = self._waiting = ""
        self._started: float | None = None
        self._since: float | None = None
        self._ended: RunEnded | None = None
        self._own = False
        self._drivers = 0
        self._busy: dict[str, set[Mark]] = {}
        self._recent: dict[int, tuple[int, float]] = {}
        self._count, self._work = 0, 0.0
        self._history: list[tuple[Kin, Column, str]] = []
        self._attempts = 0
        # The steps' picture and how many calls it knew of; nobody draws them anew while nothing happens.
        self._drawn: tuple[int, tuple[StepView, ...]] | None = None

    # -- events in -----------------------------------------------------------------------------------------------

    def add(self, event: Event | None) -> None:
        """Take in the next event of the journal; None, an entry of a kind not known here, changes nothing."""
        self._drawn = None
        match event:
            case Outcomes():
                self._own = self._own or not event.bundle.startswith(SHARED)
                for column in event.columns:
                    self._column(column, event.worker)
                for step, index in self._busy.pop(event.bundle, ()) if event.ended else ():
                    kin = self._steps.kin(step)
                    if kin is not None:
                        kin.hand_back(step, index, event.bundle)
            case Running():
                self._running(event)
            case Logs():
                self._logs += [LogRow(*row) for row in event.rows]
            case RunStarted():
                self._start(event)
            case Command():
                self._command(event.name)
            case Waiting():
                self._waiting = event.why
            case RunEnded():
                self._end(event)
            case Grown():
                self._steps.include(json.loads(event.shape).get("steps", ()) if event.shape else (), grown=True)
                template = self._steps.template(event.step)
                if template in self._steps.facts.of:
                    self._steps.facts.of[template].grown.add(event.step)
            case _:
                pass

    def _column(self, column: Column, worker: str) -> None:
        kin = self._steps.kin(column.step)
        if kin is None or kin.construct:
            return
        cells = self._steps.instance(kin, column.step)
        taken = kin.take(cells, column, worker)
        if taken is None:
            return
        self._history.append((kin, column, worker))
        self._attempts += len(column.status)
        if not cells.begun or "[]" in column.step:
            self._steps.begin(cells, column.lo + len(column.status))
        if column.size is not None:
            self._steps.facts.decided(kin, column)
            self._steps.tell(kin, column.step)
        completed, work, last = taken
        if completed:
            self._count += completed
            self._work += work
            second = int(last)
            count, sum_ = self._recent.get(second, (0, 0.0))
            self._recent[second] = (count + completed, sum_ + work)
            if len(self._recent) > 10 * RECENT:
                self._recent = {key: self._recent[key] for key in sorted(self._recent)[-int(2 * RECENT) :]}

    def _running(self, event: Running) -> None:
        kin = self._steps.kin(event.step)
        if kin is None or kin.construct:
            return
        cells = self._steps.instance(kin, event.step)
        kin.run(cells, event)
        if not cells.begun or "[]" in event.step:
            self._steps.begin(cells, event.index + 1)
        self._busy.setdefault(event.bundle, set()).add((event.step, event.index))

    def _start(self, event: RunStarted) -> None:
        self._waiting, self._ended = "", None
        if not event.anew:
            self._status, self._asked = "running", ""
        self._started = event.time if self._started is None else self._started
        self._since = event.time
        self._drivers += not event.anew
        self._recent, self._count, self._work = {}, 0, 0.0
        self._busy.clear()
        planned = tuple(f"{name.removesuffix('.plan')}/" for name in event.reset)
        facts = self._steps.facts
        foreign: set[str] = set()
        for kin in self._steps.kins.values():
            kin.known = event.widths.get(kin.id)
            kin.reset = event.reset.get(kin.id, "")
            kin.left = ""
            # Edited, or removed then and back since.
            gone = event.fingerprints and kin.id not in event.fingerprints and not (kin.helper or kin.grown)
            if kin.id in event.reset or gone or (kin.grown and kin.id.startswith(planned)):
                kin.drop()
                if not self._own:
                    kin.past.clear()  # attempts of the run it was forked from that it does not share
                    foreign.add(kin.id)
                continue
            # An error that was caught stays caught.
            failed = kin.failures() if event.retry else ()
            kept = {mark for mark in failed if catcher(kin.address(*mark), facts)}
            kin.restart(FINISHED if event.retry else FINISHED_OR_FAILED, kept)
        if foreign:
            self._history = [row for row in self._history if row[0].id not in foreign]
            self._attempts = sum(len(column.status) for _, column, _ in self._history)
        self._steps.prepare()
        self._steps.learn_anew(event.widths)

    def _command(self, name: str) -> None:
        if self._ended is not None or self._status == "queued":
            return
        if name == "cancel":
            self._asked = name
        elif name in ("pause", "resume"):
            self._status = "paused" if name == "pause" else "running"

    def _end(self, event: RunEnded) -> None:
        self._ended, self._status, self._asked = event, event.status, ""
        behind = self._behind() if event.status == "failed" else set()
        for kin in self._steps.kins.values():
            if event.status == "completed":
                for cells in kin.cells.values():
                    cells.width = len(cells.status)
            # What the end left open: tasks of a cancelled run are cancelled, tasks behind a failed one were skipped.
            left = CANCELLED if event.status == "cancelled" else SKIPPED if kin.id in behind else PENDING
            kin.left = STATUS_NAMES[left]
            kin.close(left)

    def _behind(self) -> set[str]:
        """Return the steps that use, directly or not, what failed."""
        lost = set(Summary(self._steps.kins, self._steps.facts, "failed").bad)
        for kin in self._steps.kins.values():
            if any(not catcher(kin.address(*mark), self._steps.facts) for mark in kin.failures()):
                lost.add(kin.id)
        uses: dict[str, list[str]] = {}
        for kin in self._steps.kins.values():
            # What a construct's decisions use, it uses itself.
            uses.setdefault(kin.id, []).extend(kin.uses)
            if kin.helper and not kin.arm and kin.group:
                uses.setdefault(kin.group, []).extend(kin.uses)
        behind: set[str] = set()
        for kin in self._steps.kins.values():
            if kin.group in behind or not lost.isdisjoint(uses[kin.id]):
                behind.add(kin.id)
                lost.add(kin.id)
        return behind

    # -- answers out ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """The run's status by its journal; that its driver is gone ("interrupted") only its lease can tell."""
        return self._status

    @property
    def started(self) -> float | None:
        """When a driver first took the run up, seconds since the epoch, or None."""
        return self._started

    @property
    def output(self) -> str:
        """The address of the task whose value is the run's, where that ended the run, or ""."""
        return self._ended.output if self._ended is not None else ""

    def view(
        self,
        now: float,
        *,
        run_id: str = "",
        workflow: str = "",
        created: float | None = None,
        status: str | None = None,
    ) -> RunView:
        """Return the picture of the run.

        Args:
            now: seconds since the epoch.
            run_id: the run's id.
            workflow: the workflow's name.
            created: when the run was created, seconds since the epoch.
            status: the run's status where something outside the journal decides it, such as "interrupted".
        """
        steps = self._views()
        tasks = [step for step in steps if not step.construct and not step.helper]
        counts = Counts(*(sum(getattr(step.counts, name) for step in tasks) for name in Counts.__dataclass_fields__))
        broken = sum(step.counts.failed for step in steps if step.helper and not step.construct)
        if broken:
            counts = replace(counts, failed=counts.failed + broken)
        widths = [step.width for step in tasks]
        total = sum(width for width in widths if width is not None) if None not in widths else None
        if self._status == "completed" and total is not None:
            total -= counts.pending  # what never began was not needed
        status = status or self._status
        ended = self._ended.time if self._ended else None
        count, work, span = self._speed(now if ended is None else ended, recent=ended is None)
        eta, floor = (None, False)
        if status == "running" and total is not None and count and span > 0:
            # Work done a second is no less than what is seen running: right after a resume there is little to go by.
            eta, floor = _time_left(tasks, max((work + count * OVERHEAD) / span, float(counts.running)))
        return RunView(
            run_id=run_id,
            workflow=workflow,
            status=status,
            created=created,
            started=self._started,
            ended=ended,
            now=now,
            steps=steps,
            counts=counts,
            total=total,
            rate=count / span if span > 0 and count else None,
            eta=eta,
            eta_is_floor=floor,
            workers=len(set().union(*(kin.workers for kin in self._steps.kins.values()))),
            asked=self._asked,
            waiting=self._waiting if status == "running" else "",
            error=self._error(),
            drivers=self._drivers,
        )

    def _views(self) -> tuple[StepView, ...]:
        calls = self._steps.calls
        if self._drawn is None or self._drawn[0] != len(calls):
            self._drawn = len(calls), Summary(self._steps.kins, self._steps.facts, self._status, calls).views()
        return self._drawn[1]

    def _speed(self, now: float, *, recent: bool) -> tuple[int, float, float]:
        """Return tasks completed, their seconds of work, and the seconds it took, lately or since the last start."""
        span = now - (now if self._since is None else self._since)
        if recent and span > RECENT:
            seconds = [self._recent[key] for key in self._recent if now - RECENT <= key + 1]
            count = sum(count for count, _ in seconds)
            if count >= 5:  # fewer say nothing
                return count, sum(work for _, work in seconds), RECENT
        return self._count, self._work, span

    def _error(self) -> TaskError | None:
        ended = self._ended
        if ended is not None and ended.message and not ended.address:
            return TaskError("", "", ended.message)
        if ended is not None and ended.status != "failed":
            return None
        if ended is not None and ended.address:
            found = self._steps.find(ended.address)
            error = found[0].errors.get(found[1:]) if found else None
            if error is None:
                return TaskError(ended.address, "", ended.message)
            return TaskError(ended.address, error.type, error.message, error.traceback)
        for kin in self._steps.kins.values():
            for mark in kin.failures():
                address = kin.address(*mark)
                # What fails inside a try may be caught yet.
                if mark in kin.errors and not any(place.arm == "try" for place in places(address)):
                    error = kin.errors[mark]
                    return TaskError(address, error.type, error.message, error.traceback)
        return None

    def task(self, address: str) -> TaskView:
        """Return one task.

        Args:
            address: such as ``load``, ``train[3]``, ``each[3]/fit`` or ``refine.2/fit``.

        Raises:
            KeyError: the run has no such task, or not yet.
        """
        found = self._steps.find(address)
        if found is None:
            raise KeyError(self._steps.unknown(address))
        kin, step, index = found
        attempts: list[AttemptView] = []
        pack, offset = "", 0
        for current, (column, worker) in kin.history():
            place = index - column.lo
            if column.step != step or not 0 <= place < len(column.status):
                continue
            byte = column.status[place]
            start, end = floats(column.start)[place], floats(column.end)[place]
            error = column.errors.get(place)
            attempts.append(AttemptView(column.attempt, STATUS_NAMES.get(byte, "pending"), worker, start, end, error))
            if current and not pack and byte in (COMPLETED, CACHED):
                pack, offset = column.pack, column.offset + place
        mark = (step, index)
        live = kin.live.get(mark)
        if live is not None:
            attempts.append(AttemptView(live.attempt, "running", live.worker, live.start))
        cells = kin.cells.get(step)
        now = cells.status[index] if cells is not None else None
        status = kin.left or "pending" if now is None else STATUS_NAMES[now]
        return TaskView(
            address=address,
            step=step,
            template=kin.id,
            index=index,
            node=kin.node,
            status="retrying" if mark in kin.retrying else status,
            attempts=tuple(attempts),
            pack=pack,
            offset=offset,
            without=now in (PASSED, TOLERATED),
            progress=live.progress if live else None,
            message=live.message if live else "",
            where=str(kin.shape.get("where", "")),
        )

    def address(self, step: str, index: int) -> str:
        """Return the address of an element of an instance of a step."""
        kin = self._steps.kin(step)
        return kin.address(step, index) if kin is not None else step

    def source(self, construct: str) -> str:
        """Return the id of the step whose elements or list a construct goes through, "" when that is not known."""
        kin = self._steps.kins.get(construct)
        return kin.over[0] if kin is not None and kin.construct and kin.over else ""

    def kept(self, step: str) -> Kept | None:
        """Return where the values of a step's tasks are, or None when the run has no such step.

        Args:
            step: the id of an instance, such as ``load`` or ``refine.2/fit``, or of an array with a place filled in:
                ``each[3]/fit``.
        """
        kin = self._steps.kin(step)
        if kin is None or kin.construct:
            return None
        for name, index in elements(step):
            cells = kin.cells.get(name)
            if cells is None:
                continue
            places: list[tuple[str, int] | None] = [None] * len(cells.status)
            for column, _ in kin.columns:
                if column.step != name:
                    continue
                for place, byte in enumerate(column.status):
                    at = column.lo + place
                    if places[at] is None and byte in (COMPLETED, CACHED):
                        places[at] = (column.pack, column.offset + place)
                    elif places[at] is None and byte in (PASSED, TOLERATED):
                        places[at] = ("", -1)
            many = kin.fan_out or "[]" in name
            if name != step:
                return Kept(False, True, places[index : index + 1] or [None])
            return Kept(many, False, places if cells.width is not None else [*places, None])
        return Kept(kin.fan_out, False, [None])

    def trace_rows(self) -> dict[str, list[Any]]:
        """Return every attempt as columns of one length, step by step in the order they were recorded.

        Columns: address, node, status, attempt, worker, start, end (seconds since the epoch), duration (seconds),
        stopped (what stopped it: "token", "exception", "process" or ""). An attempt without an outcome has status
        "running" and None for end and duration.
        """
        names = ("address", "node", "status", "attempt", "worker", "start", "end", "duration", "stopped")
        rows: dict[str, list[Any]] = {name: [] for name in names}
        for kin in self._steps.kins.values():
            node = kin.node
            for _, (column, worker) in kin.history():
                n = len(column.status)
                start, end = floats(column.start), floats(column.end)
                rows["address"] += addresses_of(column.step, column.lo, column.lo + n, fan_out=kin.fan_out)
                rows["node"] += [node] * n
                rows["status"] += [_NAMES[byte] for byte in column.status]
                rows["attempt"] += [column.attempt] * n
                rows["worker"] += [worker] * n
                rows["start"] += start
                rows["end"] += end
                rows["duration"] += map(operator.sub, end, start)
                stopped = [""] * n
                for place, error in column.errors.items():
                    stopped[place] = error.stopped
                rows["stopped"] += stopped
            for mark, live in kin.live.items():
                row = (kin.address(*mark), node, "running", live.attempt, live.worker, live.start, None, None, "")
                for name, value in zip(names, row, strict=True):
                    rows[name].append(value)
        return rows

    def ids(self) -> list[str]:
        """Return the ids of the steps, in the order of `RunView.steps`."""
        return list(self._steps.kins)

    def recorded(self, most: int) -> tuple[int, list[tuple[int, Column, str]]]:
        """Return how many attempts have an outcome, and the columns of the newest of them, in the journal's order.

        Args:
            most: how many attempts at most; the first column is cut to fit.

        Returns:
            their number, and for each column the number of its step in `RunView.steps`, the column, and the worker.
        """
        numbers = {kin.id: number for number, kin in enumerate(self._steps.kins.values())}
        found: list[tuple[int, Column, str]] = []
        for kin, column, worker in reversed(self._history):
            if most <= 0:
                break
            cut = max(0, len(column.status) - most)
            if cut:
                column = column._replace(
                    lo=column.lo + cut,
                    status=column.status[cut:],
                    start=column.start[8 * cut :],
                    end=column.end[8 * cut :],
                )
            found.append((numbers[kin.id], column, worker))
            most -= len(column.status)
        return self._attempts, found[::-1]

    def live(self) -> Iterator[tuple[int, Running]]:
        """Yield the tasks that are known to run, each with the number of its step in `RunView.steps`."""
        for number, kin in enumerate(self._steps.kins.values()):
            for running in kin.live.values():
                yield number, running

    def cells(self, number: int) -> tuple[str, bytes, frozenset[int]]:
        """Return the elements of a fan-out: its instance, the newest if there are several, a byte each, and retries.

        Args:
            number: the number of its step in `RunView.steps`.

        Returns:
            the instance's id, its status bytes, and the elements that wait for their next attempt.

        Raises:
            KeyError: there is no such step, or it has no elements yet.
        """
        kins = list(self._steps.kins.values())
        if not 0 <= number < len(kins) or not kins[number].cells:
            raise KeyError(f"step number {number} has no elements yet")
        kin = kins[number]
        cells = list(kin.cells.values())[-1]
        retrying = frozenset(index for step, index in kin.retrying if step == cells.id)
        return cells.id, bytes(cells.status), retrying

    def logs(self, address: str | None = None) -> list[LogRow]:
        """Return what tasks printed and logged.

        Args:
            address: of one task, of a step (all its tasks), of a construct or an iteration of one (all steps inside),
                or a step as written (``refine.*/fit``); None for all.

        Raises:
            KeyError: nothing in the run goes by that name.
        """
        if address is None:
            return list(self._logs)
        inside = tuple(address + sign for sign in "[/.")
        open_ = "[]" in address or ".*" in address
        found = []
        for row in self._logs:
            name = template_of(row.address) if open_ else row.address
            if name == address or name.startswith(inside) or (open_ and row.address.startswith(inside)):
                found.append(row)
        if not found and not self._steps.names(address):
            raise KeyError(self._steps.unknown(address))
        return found


def _time_left(steps: Sequence[StepView], speed: float) -> tuple[float | None, bool]:
    """Return the seconds left at a speed (seconds of work a second), and whether steps never measured come on top."""
    by_node: dict[str, float] = {step.node: step.mean for step in steps if step.mean is not None}
    work, floor, measured = 0.0, False, False
    longest: dict[str, float] = {}
    for step in steps:
        left = (step.width or 0) - step.counts.done
        before = max((longest.get(used, 0.0) for used in step.uses), default=0.0)
        longest[step.id] = before
        mean = step.mean if step.mean is not None else by_node.get(step.node)
        if not left:
            continue
        if mean is None:
            floor = True
            continue
        measured = True
        work += left * (mean + OVERHEAD)
        # However many workers there are, steps that wait for each other take their time one after the other.
        longest[step.id] = before + mean * (1.0 - (step.progress or 0.0))
    if not measured:
        return None, False
    return max(work / speed, *longest.values()), floor
