"""Writing a bundle's outcomes: rows in, columns and packs out, each acknowledged by the store. Imports store and model.

A recorder is used by two threads: the one that runs the tasks adds rows and log lines, the ticker flushes them at
least every `TICK` seconds. Whoever flushes writes everything that is there, as one atomic append.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from wfnb.dask.keys import bundle_key
from wfnb.dask.work import Orders
from wfnb.model.classes import Classes
from wfnb.model.events import (
    CACHED,
    COMPLETED,
    PASSED,
    TOLERATED,
    Column,
    ErrorRecord,
    Grown,
    Logs,
    Outcomes,
    Running,
    decode_event,
    encode_event,
)
from wfnb.model.preview import Preview, preview
from wfnb.store.base import Answer, Entry, Frame, Memo, Store
from wfnb.store.codec import MISSING, SCALARS, Codec, Encoded
from wfnb.store.shared import previews_key

TICK = 0.05
"""Seconds between flushes."""
BIG = 256 * 1024
"""Bytes from which a value is written at once, an array without a copy, with a preview for who only looks at it."""
MOST_ROWS = 2_000
"""Outcomes after which they are written without waiting for the ticker."""
LINE_ROWS = 300
"""The same of a line, whose driver has nothing else to do meanwhile."""
MOST_OUTPUT = 256 * 1024
"""Characters of output kept of one task."""


VALUED = (COMPLETED, CACHED, PASSED, TOLERATED)
"""The statuses of tasks that have a value."""


LogLine: TypeAlias = tuple[str, int, float, str, str]
"""Something a task wrote: address, attempt, seconds since the epoch, stream, text."""


class Row(NamedTuple):
    """The outcome of one task, before it is written.

    Args:
        step: the step's id.
        element: the element.
        attempt: the attempt.
        status: a status byte.
        start: when it began, seconds since the epoch.
        end: when it ended.
        item: its value ready to be packed, or MISSING.
        kept: whether the item goes to the store.
        size: the value's length, where a fan-out iterates over it.
        error: what went wrong.
        memo: the key under which other tasks find the value, or "".
        origin: where the value was found, when it is an answer from the store.
        node: whose value it is, where others may find it.
    """

    step: str
    element: int
    attempt: int
    status: int
    start: float
    end: float
    item: Any = MISSING
    kept: bool = True
    size: int | None = None
    error: ErrorRecord | None = None
    memo: str = ""
    origin: Memo | None = None
    node: str = ""


class Recorder:
    """Writes one bundle's outcomes.

    Args:
        store: where to.
        orders: the bundle.
        worker: the worker's name.
        classes: what classes of a notebook are taken to be that come with values.
    """

    def __init__(self, store: Store, orders: Orders, worker: str, classes: Classes | None = None) -> None:
        self.store = store
        self.codec = Codec(orders.secret, classes)
        self._orders = orders
        self._worker = worker
        self._rows: list[Row] = []
        self._logs: list[LogLine] = []
        self._written: dict[tuple[str, int], int] = {}
        # By the identity of the encoded value, which is kept with it so that nothing else gets that identity.
        self._previews: dict[int, tuple[Encoded, Preview]] = {}
        self._lock = threading.Lock()
        self._most = LINE_ROWS if orders.line else MOST_ROWS
        self._count = 0
        self.nbytes = 0

    def recorded(self) -> list[Outcomes | Running]:
        """Return what an earlier execution of this very bundle has recorded; later flushes go on from there."""
        found: list[Outcomes | Running] = []
        while entry := self.store.lookup(self._orders.run_id, bundle_key(self._orders.bundle, self._count + 1)):
            event = decode_event(entry.data)
            if isinstance(event, Outcomes | Running):
                found.append(event)
            self._count += 1
        return found

    def encode(self, value: Any) -> tuple[Any, bool]:
        """Return a value ready to be packed, and whether it must be written before anybody may change it."""
        if type(value) in SCALARS:
            return value, False
        item = self.codec.encode(value)
        self.nbytes += item.size
        if item.size >= BIG:
            self._previews[id(item)] = item, {**preview(value), "bytes": item.size}
        if any(isinstance(part, memoryview) for part in item.parts):
            if item.size >= BIG:
                return item, True
            return type(item)(item.kind, tuple(bytes(part) for part in item.parts)), False
        return item, item.size >= BIG

    def add(self, row: Row) -> None:
        """Take a task's outcome, to be written at the next flush."""
        self._rows.append(row)
        if len(self._rows) >= self._most:
            self.flush()

    def log(self, address: str, attempt: int, stream: str, text: str) -> None:
        """Take what a task wrote."""
        written = self._written.get((address, attempt), 0)
        self._written[address, attempt] = written + len(text)
        if written > MOST_OUTPUT:
            return
        if written + len(text) > MOST_OUTPUT:
            text = text[: MOST_OUTPUT - written] + f"\n... output over {MOST_OUTPUT} characters is not kept\n"
        # Only ever added to here: the other thread takes slices at any moment, and joins what belongs together.
        self._logs.append((address, attempt, time.time(), stream, printable(text)))

    def mark(self, step: str, element: int, attempt: int, start: float, **more: Any) -> None:
        """Write that a task has been running for a while."""
        event = Running(self._orders.bundle, self._worker, step, element, attempt, start, **more)
        with self._lock:
            self._append([encode_event(event)])

    def grow(self, planned: Grown, frames: list[Frame]) -> None:
        """Write what a dynamic step has planned, and the code of it."""
        self.flush()
        with self._lock:
            self._append([encode_event(planned)], {planned.code: frames})

    def end_of(self, step: str, element: int, attempt: int) -> None:
        """Write that a generator has no item at that place, nor any after it."""
        self.flush()
        column = Column(step, element, attempt, b"", b"", b"", size=element)
        with self._lock:
            self._append([encode_event(Outcomes(self._orders.bundle, self._worker, (column,)))])

    def flush(self, *, ended: bool = False) -> None:
        """Write every outcome and log line there is; return when the store has acknowledged them.

        Args:
            ended: write also that nothing more comes of this bundle.

        Raises:
            EntryExists: another execution of this bundle has recorded more; this one must stop.
            StaleEpoch: another driver has the run; this bundle must stop.
            StoreUnavailable: the store cannot be reached.
        """
        with self._lock:
            # Slices of a list are taken and removed in one step each, so that the other thread may go on adding; and
            # removed only when they are acknowledged, so that a flush that failed has lost nothing.
            n, m = len(self._rows), len(self._logs)
            if not n and not m and not ended:
                return
            rows, logs = self._rows[:n], _joined(self._logs[:m])
            pack = bundle_key(self._orders.bundle, self._count + 1)
            columns, items, memos = _columns(rows, pack)
            events = [encode_event(Outcomes(self._orders.bundle, self._worker, tuple(columns), ended))]
            if logs:
                events.append(encode_event(Logs(tuple(logs))))
            told = {str(at): self._previews[id(item)][1] for at, item in enumerate(items) if id(item) in self._previews}
            packs = {pack: self.codec.pack(items)} if items else {}
            if told:
                packs[previews_key(pack)] = [json.dumps(told).encode()]
            self._append(events, packs, memos)
            for item in items:
                self._previews.pop(id(item), None)
            del self._rows[:n]
            del self._logs[:m]

    def _append(
        self,
        events: list[bytes],
        packs: dict[str, list[Frame]] | None = None,
        memos: dict[str, Answer] | None = None,
    ) -> None:
        count = self._count
        entries = [Entry(bundle_key(self._orders.bundle, count + n), data) for n, data in enumerate(events, 1)]
        self.store.append(self._orders.run_id, entries, epoch=self._orders.epoch, packs=packs, memos=memos)
        self._count = count + len(events)


def printable(text: str) -> str:
    """Return the text with what has no place in UTF-8 written out, such as the odd bytes of a file's name."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def _joined(logs: list[LogLine]) -> list[LogLine]:
    """Join what one task wrote to one stream without ending the line: a print is two writes."""
    joined: list[LogLine] = []
    for line in logs:
        last = joined[-1] if joined else None
        if last and (last[0], last[1], last[3]) == (line[0], line[1], line[3]) and not last[4].endswith("\n"):
            joined[-1] = (*last[:4], last[4] + line[4])
        else:
            joined.append(line)
    return joined


def _columns(rows: Sequence[Row], pack: str) -> tuple[list[Column], list[Any], dict[str, Answer]]:
    """Group outcomes into columns of neighbouring elements; list the values in the columns' order, and their memos."""
    columns: list[Column] = []
    items: list[Any] = []
    memos: dict[str, Answer] = {}
    if len({row.step for row in rows}) == len(rows):  # a chain, or tasks side by side
        for row in rows:
            columns.append(_column_of_one(row, pack if row.kept else "", len(items)))
            if row.kept:
                if row.memo:
                    memos[row.memo] = _answer(row, pack, len(items))
                items.append(row.item)
        return columns, items, memos
    groups: dict[tuple[str, int, bool], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.step, row.attempt, row.kept), []).append(row)
    for (_, _, kept), group in groups.items():
        at = 0
        for place in range(1, len(group) + 1):
            if place < len(group) and group[place].element == group[place - 1].element + 1:
                continue
            run = group[at:place]
            columns.append(_column(run, pack if kept else "", len(items)))
            if kept:
                memos.update({row.memo: _answer(row, pack, len(items) + n) for n, row in enumerate(run) if row.memo})
                items += [row.item for row in run]
            at = place
    return columns, items, memos


def _answer(row: Row, pack: str, offset: int) -> Answer:
    item = row.item
    nbytes = item.size if isinstance(item, Encoded) else len(item) if isinstance(item, str) else 8
    return Answer(pack, offset, row.node, nbytes)


_FLOAT = struct.Struct("<d").pack
_ONE = [bytes((byte,)) for byte in range(256)]


def _column_of_one(row: Row, pack: str, offset: int) -> Column:
    """The same as `_column` of one row; a chain of a thousand steps is a thousand of them."""
    step, element, attempt, status, start, end, _, _, size, error, _, origin, _ = row
    errors = {} if error is None else {0: error}
    origins = _origins((row,)) if origin else ()
    place = pack if status in VALUED else ""
    return Column(
        step, element, attempt, _ONE[status], _FLOAT(start), _FLOAT(end), place, offset, size, errors, origins
    )


def _column(run: Sequence[Row], pack: str, offset: int) -> Column:
    first = run[0]
    return Column(
        step=first.step,
        lo=first.element,
        attempt=first.attempt,
        status=bytes([row.status for row in run]),
        start=array("d", [row.start for row in run]).tobytes(),
        end=array("d", [row.end for row in run]).tobytes(),
        pack=pack if any(row.status in VALUED for row in run) else "",
        offset=offset,
        size=first.size,
        errors={place: row.error for place, row in enumerate(run) if row.error is not None},
        origins=_origins(run),
    )


def _origins(run: Sequence[Row]) -> tuple[tuple[int, str, str, int], ...]:
    """Return where the answers among neighbouring outcomes are from, those that neighbour each other there as one."""
    found: list[tuple[int, str, str, int]] = []
    due: tuple[str, str, int] | None = None
    for place, row in enumerate(run):
        if row.origin is None:
            due = None
            continue
        at = (row.origin.run_id, row.origin.pack, row.origin.offset)
        if at != due:
            found.append((place, *at))
        due = (at[0], at[1], at[2] + 1)
    return tuple(found)
