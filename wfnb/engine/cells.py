"""The outcomes of one step as written, in all its instances: a byte a task, and the journal's own columns. Pure.

Imports model and engine.addresses. `Kin` is a template; `Cells` are the tasks of one of its instances: one, or those of
a fan-out. Counts are kept up as outcomes come in, so that a picture costs the same whatever the number of instances.
"""

from __future__ import annotations

import math
import operator
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from wfnb.engine.addresses import CONSTRUCTS, address_of, arm_of
from wfnb.engine.facts import Counts
from wfnb.model.events import (
    CACHED,
    CANCELLED,
    COMPLETED,
    FAILED,
    PASSED,
    PENDING,
    RUNNING,
    SKIPPED,
    TOLERATED,
    Column,
    ErrorRecord,
    Running,
)

ONE = {
    byte: bytes((byte,))
    for byte in (PENDING, RUNNING, COMPLETED, CACHED, FAILED, SKIPPED, CANCELLED, PASSED, TOLERATED)
}
VALUED = (COMPLETED, CACHED, PASSED, TOLERATED)
"""Statuses of tasks that have a value; the first outcome with one counts."""
_ANSWERED = (COMPLETED, CACHED)
_FLOAT = struct.Struct("<d").unpack

Mark = tuple[str, int]
"""A task: the id of its instance, and its element."""


def _keeping(*kept: int) -> bytes:
    return bytes(byte if byte in kept else PENDING for byte in range(256))


FINISHED = _keeping(*VALUED)
FINISHED_OR_FAILED = _keeping(*VALUED, FAILED)


class Cells:
    """The tasks of one instance: a status byte each."""

    __slots__ = ("begun", "id", "sizes", "status", "width")

    def __init__(self, step: str, *, many: bool) -> None:
        self.id = step
        self.begun = False
        self.width: int | None = None if many else 1
        self.status = bytearray(b"" if many else ONE[PENDING])
        # By element: what a value's length or a decision was, where one was recorded.
        self.sizes: dict[int, int] | None = None

    @property
    def size(self) -> int | None:
        """The number recorded with a task's value."""
        return self.sizes.get(0) if self.sizes else None


class Kin:
    """A step as written, with all its instances."""

    __slots__ = (
        "arm",
        "attempts",
        "cells",
        "columns",
        "construct",
        "count",
        "ended",
        "errors",
        "fan_out",
        "group",
        "grown",
        "guessed",
        "helper",
        "id",
        "inside",
        "kind",
        "known",
        "left",
        "live",
        "node",
        "over",
        "past", "place",
        "reset",
        "retrying",
        "shape",
        "started",
        "tally",
        "uses",
        "work",
        "workers",
    )  # fmt: skip

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self.shape = shape
        self.id: str = shape["id"]
        self.kind: str = shape.get("kind", "task")
        self.node = str(shape.get("node", ""))
        self.group = str(shape.get("group", ""))
        self.construct = self.kind in CONSTRUCTS and not self.node
        self.fan_out = self.kind != "task" and not self.construct
        self.helper = bool(shape.get("helper"))
        self.uses: tuple[str, ...] = tuple(shape.get("uses", ()))
        # The steps whose values a fan-out iterates over, where the shape says so: they tell its width.
        self.over: tuple[str, ...] = tuple(shape.get("over", ()))
        self.arm = arm_of(self.id, self.group)
        # Whether it may have more than one instance.
        self.inside = "[]" in self.id or ".*" in self.id or "()" in self.id
        # Whether a dynamic step planned it, and its place in the order of the shape.
        self.grown, self.place = False, 0
        # Whether `over` is not from the shape.
        self.guessed = False
        self.past: list[tuple[Column, str]] = []
        self.known: int | None = None
        self.reset = ""
        # What the run's end made of tasks that had not begun.
        self.left = ""
        self._empty()

    def belong(self, group: str) -> None:
        """Be of a construct."""
        self.group, self.arm = group, arm_of(self.id, group)

    def _empty(self) -> None:
        self.cells: dict[str, Cells] = {}
        self.columns: list[tuple[Column, str]] = []
        self.attempts = 0  # with an outcome among the columns
        self.tally: dict[int, int] = {}
        self.live: dict[Mark, Running] = {}
        self.retrying: set[Mark] = set()
        self.errors: dict[Mark, ErrorRecord] = {}
        self.count, self.work = 0, 0.0
        self.started: float | None = None
        self.ended: float | None = None
        self.workers: set[str] = set()

    def drop(self) -> None:
        """Forget the outcomes, keeping them for the trace."""
        self.past += self.columns
        self._empty()

    def cell(self, step: str) -> Cells:
        """Return an instance; made when it is first asked for."""
        found = self.cells.get(step)
        if found is None:
            many = self.fan_out or "[]" in step
            found = self.cells[step] = Cells(step, many=many)
            if not many:
                self.tally[PENDING] = self.tally.get(PENDING, 0) + 1
        return found

    def address(self, step: str, index: int) -> str:
        """Return the address of an instance's element."""
        return address_of(step, index, fan_out=self.fan_out)

    # -- what changes --------------------------------------------------------------------------------------------

    def _count(self, old: bytes | bytearray, new: bytes | bytearray) -> None:
        tally = self.tally
        if len(new) == 1 and len(old) <= 1:
            if old:
                tally[old[0]] -= 1
            tally[new[0]] = tally.get(new[0], 0) + 1
            return
        for byte in ONE:
            more = new.count(byte) - old.count(byte)
            if more:
                tally[byte] = tally.get(byte, 0) + more

    def _put(self, cells: Cells, lo: int, new: bytes) -> None:
        hi = lo + len(new)
        self._count(cells.status[lo:hi], new)
        cells.status[lo:hi] = new

    def _reach(self, cells: Cells, hi: int) -> None:
        more = hi - len(cells.status)
        if more > 0:
            cells.status.extend(ONE[PENDING] * more)
            self.tally[PENDING] = self.tally.get(PENDING, 0) + more

    def widen(self, cells: Cells, width: int) -> None:
        """Take note of an instance's width; outcomes of another width are of other inputs and do not count."""
        if cells.width is not None and cells.width != width:
            self._forsake(cells)
        cells.width = width
        self._reach(cells, width)
        if len(cells.status) > width:
            self._count(cells.status[width:], b"")
            del cells.status[width:]

    def _forsake(self, cells: Cells) -> None:
        """Drop the outcomes of one instance."""
        if len(self.cells) == 1:
            self.drop()
            self.cells[cells.id] = cells
            cells.status.clear()
        else:
            self.past += [entry for entry in self.columns if entry[0].step == cells.id]
            self.columns = [entry for entry in self.columns if entry[0].step != cells.id]
            self.attempts = sum(len(column.status) for column, _ in self.columns)
            self._forget(cells.id, 0, len(cells.status))
            self._count(cells.status, b"")
            cells.status.clear()
        cells.sizes = None

    def _admit(self, cells: Cells, hi: int) -> bool:
        """Return whether elements are of this instance, making room for them while its width is not known."""
        if cells.width is None:
            self._reach(cells, hi)
        return hi <= len(cells.status)

    def _forget(self, step: str, lo: int, hi: int) -> None:
        """Let go of what was noted about elements that are over."""
        for notes in (self.live, self.retrying, self.errors):
            if not notes:
                continue
            gone: list[Mark]
            if hi - lo < len(notes):
                gone = [(step, index) for index in range(lo, hi) if (step, index) in notes]
            else:
                gone = [mark for mark in notes if mark[0] == step and lo <= mark[1] < hi]
            for mark in gone:
                if isinstance(notes, set):
                    notes.discard(mark)
                else:
                    del notes[mark]

    def take(self, cells: Cells, column: Column, worker: str) -> tuple[int, float, float] | None:
        """Take in outcomes of an instance.

        Returns:
            how many tasks they completed, their seconds of work, and when the last ended; None when they are no
            outcomes of this step.
        """
        lo, n = column.lo, len(column.status)
        hi = lo + n
        if not n or lo < 0 or not self._admit(cells, hi):
            return None
        self.columns.append((column, worker))
        self.attempts += n
        self.workers.add(worker)
        if column.size is not None:
            sizes = cells.sizes = cells.sizes or {}
            for index in range(lo, hi):
                sizes.setdefault(index, column.size)
        status = cells.status
        if n == 1 and column.status[0] in _ANSWERED and status[lo] not in VALUED:
            return self._take_one(cells, column)
        start, end = floats(column.start), floats(column.end)
        first, last = min(start), max(end)
        self._spans(first, last)
        fresh = not any(status.count(ONE[byte], lo, hi) for byte in VALUED)
        completed = column.status.count(ONE[COMPLETED])
        if fresh and completed + column.status.count(ONE[CACHED]) == n:
            self._put(cells, lo, column.status)
            self._forget(cells.id, lo, hi)
            # A cached task costs nothing, whatever its times say.
            work = math.fsum(map(operator.sub, end, start)) if completed == n else 0.0
            if 0 < completed < n:
                work = math.fsum(e - s for b, s, e in zip(column.status, start, end, strict=True) if b == COMPLETED)
        else:
            completed, work = self._mixed(cells, column, start, end)
        self.count += completed
        self.work += work
        return completed, work, last

    def _take_one(self, cells: Cells, column: Column) -> tuple[int, float, float]:
        """What `take` does of outcomes, for the one of a task that has its value: most are."""
        (byte,), lo = column.status, column.lo
        (start,), (end,) = _FLOAT(column.start), _FLOAT(column.end)
        self._spans(start, end)
        tally = self.tally
        tally[cells.status[lo]] -= 1
        tally[byte] = tally.get(byte, 0) + 1
        cells.status[lo] = byte
        if self.live or self.retrying or self.errors:
            self._forget(cells.id, lo, lo + 1)
        if byte != COMPLETED:
            return 0, 0.0, end  # it cost nothing, whatever its times say
        self.count += 1
        self.work += end - start
        return 1, end - start, end

    def _spans(self, first: float, last: float) -> None:
        """Take note of when tasks began and ended."""
        if self.started is None or first < self.started:
            self.started = first
        if self.ended is None or last > self.ended:
            self.ended = last

    def _mixed(self, cells: Cells, column: Column, start: array[float], end: array[float]) -> tuple[int, float]:
        completed, work = 0, 0.0
        for place, byte in enumerate(column.status):
            index = column.lo + place
            if cells.status[index] in VALUED:
                continue  # recorded once is enough: the first outcome counts
            mark = (cells.id, index)
            self.live.pop(mark, None)
            self.retrying.discard(mark)
            error = column.errors.get(place)
            if error is not None:
                self.errors[mark] = error
            if byte == FAILED and error is not None and error.retry_in is not None:
                self._put(cells, index, ONE[PENDING])
                self.retrying.add(mark)
                continue
            self._put(cells, index, ONE.get(byte, ONE[PENDING]))
            if byte in (COMPLETED, CACHED, PASSED):
                self.errors.pop(mark, None)
            if byte == COMPLETED:
                completed += 1
                work += end[place] - start[place]
        return completed, work

    def run(self, cells: Cells, event: Running) -> None:
        """Take note that a task is running."""
        if event.index < 0 or not self._admit(cells, event.index + 1):
            return
        if cells.status[event.index] in VALUED:
            return
        mark = (cells.id, event.index)
        self._put(cells, event.index, ONE[RUNNING])
        self.retrying.discard(mark)
        self.live[mark] = event
        self.workers.add(event.worker)
        self.started = event.start if self.started is None else min(event.start, self.started)

    def hand_back(self, step: str, index: int, bundle: str) -> None:
        """Put a running task back to pending when its bundle ended without its outcome."""
        live = self.live.get((step, index))
        if live is not None and live.bundle == bundle:
            del self.live[step, index]
            self._put(self.cells[step], index, ONE[PENDING])

    def restart(self, table: bytes, kept: set[Mark]) -> None:
        """Put what a driver left behind back to pending.

        Args:
            table: which statuses stay.
            kept: failed tasks that stay failed whatever the table says.
        """
        for cells in self.cells.values():
            cells.status = cells.status.translate(table)
        self.live.clear()
        self.retrying.clear()
        if table is FINISHED:
            self.errors = {mark: error for mark, error in self.errors.items() if mark in kept}
            for step, index in kept:
                self.cells[step].status[index] = FAILED
        self._recount()

    def close(self, left: int) -> None:
        """Take note that the run is over: what had not begun or was running is left in a status."""
        self.live.clear()
        self.retrying.clear()
        for byte in (RUNNING, PENDING):
            if self.tally.get(byte) and byte != left:
                for cells in self.cells.values():
                    cells.status = cells.status.replace(ONE[byte], ONE[left])
        self._recount()

    def _recount(self) -> None:
        self.tally = {}
        self._count(b"", b"".join([cells.status for cells in self.cells.values()]))

    # -- what is asked -------------------------------------------------------------------------------------------

    @property
    def seen(self) -> int:
        """How many tasks of it are known."""
        return sum(self.tally.values())

    @property
    def began(self) -> bool:
        """Whether any task of it began or has an outcome."""
        return bool(self.columns or self.live)

    def counts(self, missing: int = 0, left: str = "pending") -> Counts:
        """Return its tasks by status.

        Args:
            missing: how many more there are than were seen.
            left: the status of these.
        """
        get, retrying = self.tally.get, len(self.retrying)
        found = Counts(
            get(PENDING, 0) - retrying,
            get(RUNNING, 0),
            retrying,
            get(COMPLETED, 0),
            get(CACHED, 0),
            get(FAILED, 0) + get(TOLERATED, 0),
            get(SKIPPED, 0) + get(PASSED, 0),
            get(CANCELLED, 0),
        )
        return found if missing <= 0 else replace(found, **{left: getattr(found, left) + missing})

    def failures(self) -> Iterator[Mark]:
        """Yield the tasks that failed for good."""
        if not self.tally.get(FAILED):
            return
        for step, cells in self.cells.items():
            index = cells.status.find(FAILED)
            while index >= 0:
                yield step, index
                index = cells.status.find(FAILED, index + 1)

    def history(self) -> Iterator[tuple[bool, tuple[Column, str]]]:
        """Yield every recorded column with its worker, and whether it counts still."""
        for entry in self.past:
            yield False, entry
        for entry in self.columns:
            yield True, entry


def floats(data: bytes) -> array[float]:
    """Return the times a column holds."""
    return array("d", data)
