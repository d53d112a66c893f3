"""What a run's journal says, for people: state, progress, trace and logs, folded event by event. Pure; imports model.

`RunFold` takes events in and answers with the records of `wfnb.engine.facts`. No clock is read: times come from the
events and from the caller's `now`. A fan-out is one byte an element and the journal's own
columns, never an object an element.
"""

from __future__ import annotations

import math
import operator
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wfnb.engine.facts import AttemptView, Counts, LogRow, RunView, StepView, TaskError, TaskView
from wfnb.model.events import (
    CACHED,
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SKIPPED,
    STATUS_NAMES,
    Column,
    Command,
    ErrorRecord,
    Event,
    Logs,
    Outcomes,
    RunEnded,
    Running,
    RunStarted,
)

RECENT = 10.0
"""Seconds that count as the recent past when a rate is measured."""

OVERHEAD = 1e-4
"""Seconds a task costs beside its own work, so that times left make sense for empty tasks too."""

_ONE = {byte: bytes((byte,)) for byte in STATUS_NAMES}
_ELEMENT = re.compile(r"(.+)\[(\d+)\]")


def _keeping(*kept: int) -> bytes:
    return bytes(byte if byte in kept else PENDING for byte in range(256))


_FINISHED = _keeping(COMPLETED, CACHED)
_FINISHED_OR_FAILED = _keeping(COMPLETED, CACHED, FAILED)


# -- one step ------------------------------------------------------------------------------------------------------


class _Step:
    """The fold of one step: a byte an element, and the columns that named it."""

    __slots__ = (
        "columns", "count", "ended", "errors", "fan_out", "id", "kind", "known", "left", "live", "over", "past",
        "reset", "retrying", "shape", "size", "started", "status", "width", "work", "workers",
    )  # fmt: skip

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self.shape = shape
        self.id: str = shape["id"]
        self.kind: str = shape.get("kind", "task")
        self.fan_out = self.kind != "task"
        # The steps whose values a fan-out iterates over, where the shape says so: they tell its width.
        self.over: tuple[str, ...] = tuple(shape.get("over", ()))
        self.past: list[tuple[Column, str]] = []
        self.known: int | None = None
        self.reset = ""
        # What the run's end made of a step that had no tasks yet.
        self.left = ""
        self.drop()

    def drop(self) -> None:
        """Forget the outcomes, keeping them for the trace."""
        self.past += getattr(self, "columns", [])
        self.columns: list[tuple[Column, str]] = []
        self.width: int | None = None if self.fan_out else 1
        self.status = bytearray(b"" if self.fan_out else _ONE[PENDING])
        self.live: dict[int, Running] = {}
        self.retrying: set[int] = set()
        self.errors: dict[int, ErrorRecord] = {}
        self.size: int | None = None
        self.count, self.work = 0, 0.0
        self.started: float | None = None
        self.ended: float | None = None
        self.workers: set[str] = set()

    def widen(self, width: int) -> None:
        """Take note of the width; outcomes of another width are of other inputs and do not count."""
        if self.width is not None and self.width != width:
            self.drop()
        self.width = width
        self._reach(width)
        del self.status[width:]

    def _reach(self, hi: int) -> None:
        if hi > len(self.status):
            self.status.extend(_ONE[PENDING] * (hi - len(self.status)))

    def admit(self, hi: int) -> bool:
        """Return whether elements are of this step, making room for them while the width is not known."""
        if self.width is None:
            self._reach(hi)
        return hi <= len(self.status)

    def take(self, column: Column, worker: str) -> tuple[int, float, float]:
        """Take in outcomes; return how many tasks they completed, their seconds of work, and when the last ended."""
        lo, n = column.lo, len(column.status)
        hi = lo + n
        if not n or not self.admit(hi):
            return 0, 0.0, 0.0
        self.columns.append((column, worker))
        self.workers.add(worker)
        if column.size is not None and self.size is None:
            self.size = column.size
        start, end = _floats(column.start), _floats(column.end)
        first, last = min(start), max(end)
        self.started = first if self.started is None else min(first, self.started)
        self.ended = last if self.ended is None else max(last, self.ended)
        status = self.status
        fresh = not any(status.count(_ONE[byte], lo, hi) for byte in (COMPLETED, CACHED))
        completed = column.status.count(_ONE[COMPLETED])
        if fresh and completed + column.status.count(_ONE[CACHED]) == n:
            status[lo:hi] = column.status
            for notes in (self.live, self.retrying, self.errors):
                if notes:
                    _forget(notes, lo, hi)
            # A cached task costs nothing, whatever its times say.
            work = math.fsum(map(operator.sub, end, start)) if completed == n else 0.0
            if 0 < completed < n:
                work = math.fsum(e - s for b, s, e in zip(column.status, start, end, strict=True) if b == COMPLETED)
        else:
            completed, work = self._mixed(column, start, end)
        self.count += completed
        self.work += work
        return completed, work, last

    def _mixed(self, column: Column, start: array[float], end: array[float]) -> tuple[int, float]:
        completed, work = 0, 0.0
        for place, byte in enumerate(column.status):
            index = column.lo + place
            if self.status[index] in (COMPLETED, CACHED):
                continue  # recorded once is enough: the first outcome counts
            self.live.pop(index, None)
            self.retrying.discard(index)
            error = column.errors.get(place)
            if error is not None:
                self.errors[index] = error
            if byte == FAILED and error is not None and error.retry_in is not None:
                self.status[index] = PENDING
                self.retrying.add(index)
                continue
            self.status[index] = byte
            if byte in (COMPLETED, CACHED):
                self.errors.pop(index, None)
            if byte == COMPLETED:
                completed += 1
                work += end[place] - start[place]
        return completed, work

    def run(self, event: Running) -> None:
        """Take note that a task is running."""
        if event.index < 0 or not self.admit(event.index + 1):
            return
        if self.status[event.index] in (COMPLETED, CACHED):
            return
        self.status[event.index] = RUNNING
        self.retrying.discard(event.index)
        self.live[event.index] = event
        self.workers.add(event.worker)
        self.started = event.start if self.started is None else min(event.start, self.started)

    def hand_back(self, index: int, bundle: str) -> None:
        """Put a running task back to pending when its bundle ended without its outcome."""
        live = self.live.get(index)
        if live is not None and live.bundle == bundle:
            del self.live[index]
            self.status[index] = PENDING

    def restart(self, table: bytes) -> None:
        """Put what a driver left behind back to pending; `table` says which statuses stay."""
        self.status = self.status.translate(table)
        self.live.clear()
        self.retrying.clear()
        if table is _FINISHED:
            self.errors.clear()

    @property
    def complete(self) -> bool:
        """Whether every task has a value."""
        done = sum(self.status.count(_ONE[byte]) for byte in (COMPLETED, CACHED))
        return self.width is not None and done == self.width

    def counts(self) -> Counts:
        """Return its tasks by status."""
        number = {name: self.status.count(_ONE[byte]) for byte, name in STATUS_NAMES.items()}
        retrying = len(self.retrying)
        number["pending"] -= retrying
        return Counts(retrying=retrying, **number)

    def view(self) -> StepView:
        """Return its picture."""
        counts = self.counts()
        busy = next(iter(self.live.values())) if len(self.live) == 1 else None
        over = self.width is not None and not (counts.pending or counts.running or counts.retrying)
        return StepView(
            id=self.id,
            node=str(self.shape.get("node", "")),
            kind=self.kind,
            group=str(self.shape.get("group", "")),
            uses=tuple(self.shape.get("uses", ())),
            where=str(self.shape.get("where", "")),
            width=self.width,
            counts=counts,
            status=_status(counts, self.width) if counts.total or self.width == 0 else self.left or "pending",
            started=self.started,
            ended=self.ended if over else None,
            mean=self.work / self.count if self.count else None,
            workers=len(self.workers),
            attempts=sum(len(column.status) for column, _ in self.columns),
            progress=busy.progress if busy else None,
            message=busy.message if busy else "",
            reset=self.reset,
        )


def _status(counts: Counts, width: int | None) -> str:
    if counts.failed:
        return "failed"
    if counts.retrying and not counts.running:
        return "retrying"
    if width is not None and counts.done == width:
        return "cached" if width and counts.cached == width else "completed"
    if counts.cancelled:
        return "cancelled"
    if counts.skipped:
        return "skipped"
    return "running" if counts.running or counts.done else "pending"


def _floats(data: bytes) -> array[float]:
    return array("d", data)


def _forget(notes: dict[int, Any] | set[int], lo: int, hi: int) -> None:
    for index in [index for index in notes if lo <= index < hi]:
        if isinstance(notes, set):
            notes.discard(index)
        else:
            del notes[index]


# -- the run -------------------------------------------------------------------------------------------------------


class RunFold:
    """The fold of a run's journal over the shape of its workflow.

    Args:
        shape: as in the run's record: ``{"steps": [{"id", "node", "kind", "group", "uses", "where", "over"}, ...]}``;
            the steps in an order in which they can run. `over` names the steps whose values a fan-out iterates
            over; without it, a width that no `RunStarted` gives is not known before the run ends.
    """

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self._steps = {step["id"]: _Step(step) for step in shape.get("steps", ())}
        self._logs: list[LogRow] = []
        self._status = "queued"
        self._asked = ""
        self._started: float | None = None
        self._since: float | None = None
        self._ended: RunEnded | None = None
        self._drivers = 0
        self._busy: dict[str, set[tuple[str, int]]] = {}
        self._recent: dict[int, tuple[int, float]] = {}
        self._count, self._work = 0, 0.0

    # -- events in -----------------------------------------------------------------------------------------------

    def add(self, event: Event | None) -> None:
        """Take in the next event of the journal; None, an entry of a kind not known here, changes nothing."""
        match event:
            case Outcomes():
                for column in event.columns:
                    self._column(column, event.worker)
                for name, index in self._busy.pop(event.bundle, ()) if event.ended else ():
                    self._steps[name].hand_back(index, event.bundle)
            case Running():
                if event.step in self._steps:
                    self._steps[event.step].run(event)
                    self._busy.setdefault(event.bundle, set()).add((event.step, event.index))
            case Logs():
                self._logs += [LogRow(*row) for row in event.rows]
            case RunStarted():
                self._start(event)
            case Command():
                self._command(event.name)
            case RunEnded():
                self._end(event)
            case _:
                pass

    def _column(self, column: Column, worker: str) -> None:
        step = self._steps.get(column.step)
        if step is None:
            return
        size = step.size
        completed, work, last = step.take(column, worker)
        if step.size != size:
            self._find_widths()
        if completed:
            self._count += completed
            self._work += work
            second = int(last)
            count, sum_ = self._recent.get(second, (0, 0.0))
            self._recent[second] = (count + completed, sum_ + work)
            if len(self._recent) > 10 * RECENT:
                self._recent = {key: self._recent[key] for key in sorted(self._recent)[-int(2 * RECENT) :]}

    def _start(self, event: RunStarted) -> None:
        self._status, self._asked, self._ended = "running", "", None
        self._started = event.time if self._started is None else self._started
        self._since = event.time
        self._drivers += 1
        self._recent, self._count, self._work = {}, 0, 0.0
        self._busy.clear()
        for step in self._steps.values():
            step.known = event.widths.get(step.id)
            step.reset = event.reset.get(step.id, "")
            step.left = ""
            if step.id in event.reset or (event.fingerprints and step.id not in event.fingerprints):
                step.drop()  # edited, or removed then and back since
            else:
                step.restart(_FINISHED if event.retry else _FINISHED_OR_FAILED)
        self._find_widths()

    def _command(self, name: str) -> None:
        if self._ended is not None or self._status == "queued":
            return
        if name == "cancel":
            self._asked = name
        elif name in ("pause", "resume"):
            self._status = "paused" if name == "pause" else "running"

    def _end(self, event: RunEnded) -> None:
        self._ended, self._status, self._asked = event, event.status, ""
        if event.status == "completed":
            for step in self._steps.values():
                step.width = len(step.status)
        lost: set[str] = set()
        for step in self._steps.values():
            step.live.clear()
            step.retrying.clear()
            # What the end left open: tasks of a cancelled run are cancelled, tasks behind a failed one were skipped.
            behind = bool(lost.intersection(step.shape.get("uses", ())))
            if behind or step.status.count(_ONE[FAILED]):
                lost.add(step.id)
            left = CANCELLED if event.status == "cancelled" else SKIPPED if behind else PENDING
            step.left = STATUS_NAMES[left]
            step.status = step.status.replace(_ONE[RUNNING], _ONE[left]).replace(_ONE[PENDING], _ONE[left])

    def _find_widths(self) -> None:
        for step in self._steps.values():
            if not step.fan_out:
                continue
            lengths: list[int | None] = [] if step.known is None else [step.known]
            for used in step.over:
                other = self._steps[used]
                lengths.append(other.width if other.fan_out else other.size)
            known = [length for length in lengths if length is not None]
            # A map's lists have one length, so that any of them tells; a product needs all.
            if known and (step.kind == "map" or len(known) == len(lengths)):
                step.widen(math.prod(known) if step.kind == "expand" else known[0])

    # -- answers out ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """The run's status by its journal; that its driver is gone ("interrupted") only its lease can tell."""
        return self._status

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
        steps = tuple(step.view() for step in self._steps.values())
        counts = Counts(*(sum(getattr(step.counts, name) for step in steps) for name in Counts.__dataclass_fields__))
        widths = [step.width for step in steps]
        total = sum(width for width in widths if width is not None) if None not in widths else None
        status = status or self._status
        ended = self._ended.time if self._ended else None
        count, work, span = self._speed(now if ended is None else ended, recent=ended is None)
        eta, floor = (None, False)
        if status == "running" and total is not None and count and span > 0:
            # Work done a second is no less than what is seen running: right after a resume there is little to go by.
            eta, floor = _time_left(steps, max((work + count * OVERHEAD) / span, float(counts.running)))
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
            workers=len(set().union(*(step.workers for step in self._steps.values()))),
            asked=self._asked,
            error=self._error(),
            drivers=self._drivers,
        )

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
        if self._ended is not None and self._ended.status == "failed" and not self._ended.address:
            return TaskError("", "", self._ended.message)
        address = self._ended.address if self._ended is not None else ""
        for step in self._steps.values():
            index = step.status.find(FAILED)
            if address:
                found = self._find(address)
                step, index = found if found else (step, index)
            if index >= 0 and index in step.errors:
                error = step.errors[index]
                return TaskError(_address(step, index), error.type, error.message, error.traceback)
            if address:
                return TaskError(address, "", self._ended.message if self._ended else "")
        return None

    def _find(self, address: str) -> tuple[_Step, int] | None:
        step = self._steps.get(address)
        if step is not None and not step.fan_out:
            return step, 0
        match = _ELEMENT.fullmatch(address)
        step = self._steps.get(match[1]) if match else None
        if match and step is not None and step.fan_out and int(match[2]) < len(step.status):
            return step, int(match[2])
        return None

    def task(self, address: str) -> TaskView:
        """Return one task.

        Args:
            address: such as ``load`` or ``train[3]``.

        Raises:
            KeyError: the run has no such task, or not yet.
        """
        found = self._find(address)
        if found is None:
            step = self._steps.get(address)
            hint = f"'{address}' is a fan-out: name one task of it, such as '{address}[0]'" if step else ""
            raise KeyError(hint or f"the run has no task '{address}'; its steps are {', '.join(self._steps)}")
        step, index = found
        attempts: list[AttemptView] = []
        pack, offset = "", 0
        for current, (column, worker) in _history(step):
            place = index - column.lo
            if not 0 <= place < len(column.status):
                continue
            byte = column.status[place]
            start, end = _floats(column.start)[place], _floats(column.end)[place]
            error = column.errors.get(place)
            attempts.append(AttemptView(column.attempt, STATUS_NAMES[byte], worker, start, end, error))
            if current and not pack and byte in (COMPLETED, CACHED):
                pack, offset = column.pack, column.offset + place
        live = step.live.get(index)
        if live is not None:
            attempts.append(AttemptView(live.attempt, "running", live.worker, live.start))
        return TaskView(
            address=_address(step, index),
            step=step.id,
            index=index,
            node=str(step.shape.get("node", "")),
            status="retrying" if index in step.retrying else STATUS_NAMES[step.status[index]],
            attempts=tuple(attempts),
            pack=pack,
            offset=offset,
            progress=live.progress if live else None,
            message=live.message if live else "",
            where=str(step.shape.get("where", "")),
        )

    def trace_rows(self) -> dict[str, list[Any]]:
        """Return every attempt as columns of one length, step by step in the order they were recorded.

        Columns: address, node, status, attempt, worker, start, end (seconds since the epoch), duration (seconds).
        An attempt without an outcome has status "running" and None for end and duration.
        """
        names = ("address", "node", "status", "attempt", "worker", "start", "end", "duration")
        rows: dict[str, list[Any]] = {name: [] for name in names}
        for step in self._steps.values():
            node = str(step.shape.get("node", ""))
            for _, (column, worker) in _history(step):
                n = len(column.status)
                start, end = _floats(column.start), _floats(column.end)
                rows["address"] += _addresses(step, range(column.lo, column.lo + n))
                rows["node"] += [node] * n
                rows["status"] += [STATUS_NAMES[byte] for byte in column.status]
                rows["attempt"] += [column.attempt] * n
                rows["worker"] += [worker] * n
                rows["start"] += start
                rows["end"] += end
                rows["duration"] += map(operator.sub, end, start)
            for index, live in step.live.items():
                row = (_address(step, index), node, "running", live.attempt, live.worker, live.start, None, None)
                for name, value in zip(names, row, strict=True):
                    rows[name].append(value)
        return rows

    def logs(self, address: str | None = None) -> list[LogRow]:
        """Return what tasks printed and logged.

        Args:
            address: of one task, of a step (all its tasks) or of a sub-workflow (all its steps); None for all.
        """
        if address is None:
            return list(self._logs)
        inside = (f"{address}[", f"{address}/")
        return [row for row in self._logs if row.address == address or row.address.startswith(inside)]


def _address(step: _Step, index: int) -> str:
    return f"{step.id}[{index}]" if step.fan_out else step.id


def _addresses(step: _Step, indices: Iterable[int]) -> list[str]:
    return [_address(step, index) for index in indices]


def _history(step: _Step) -> Iterator[tuple[bool, tuple[Column, str]]]:
    """Yield every recorded column with its worker, and whether it counts still."""
    for entry in step.past:
        yield False, entry
    for entry in step.columns:
        yield True, entry


def _time_left(steps: tuple[StepView, ...], speed: float) -> tuple[float | None, bool]:
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
