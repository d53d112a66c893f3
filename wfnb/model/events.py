"""What happens in a run, as frozen records, and their form in the journal. Pure; imports msgpack only.

A journal entry is one byte for the kind of event and then its fields in msgpack, in the order of the class below. A
reader that does not know a kind skips the entry; a reader that meets more fields than it knows ignores the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any, NamedTuple, TypeAlias

import msgpack

PENDING, RUNNING, COMPLETED, CACHED, FAILED, SKIPPED, CANCELLED, PASSED, TOLERATED = b"prCcfsxwt"
"""Task statuses as bytes in a fan-out's status array.

Two have a value that is None: PASSED (its condition was false: people read "skipped") and TOLERATED (it failed and its
step goes on after errors: "failed").
"""

SHARED = "f."
"""How the bundles and keys begin that a fork has from the run it was forked from."""

STATUS_NAMES = {
    PENDING: "pending",
    RUNNING: "running",
    COMPLETED: "completed",
    CACHED: "cached",
    FAILED: "failed",
    SKIPPED: "skipped",
    CANCELLED: "cancelled",
    PASSED: "skipped",
    TOLERATED: "failed",
}


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """A task's error as the journal keeps it.

    Args:
        type: the name of its type.
        message: its text.
        traceback: the traceback on the worker, without frames of wfnb.
        exception: the exception itself, encoded and signed, or b"" when it could not be.
        retry_in: seconds until the next attempt, or None when this attempt was the last.
        kinds: the names of its type and of the types that is derived from, each as ``module.name``.
        stopped: what stopped the task: "token", "exception" (in its thread), "process" (its worker process was ended),
            or "" when nothing did.
    """

    type: str
    message: str
    traceback: str = ""
    exception: bytes = b""
    retry_in: float | None = None
    kinds: tuple[str, ...] = ()
    stopped: str = ""


_NO_ERRORS: dict[int, ErrorRecord] = {}


class Column(NamedTuple):
    """The outcomes of neighbouring elements of one step: arrays, one entry an element.

    Args:
        step: the step's id.
        lo: the first element's index; 0 for a task.
        attempt: the attempt all of them are the outcome of, 1 for the first.
        status: one status byte an element.
        start: when each began, float64 seconds since the epoch, little-endian.
        end: when each ended, likewise.
        pack: the key of the pack that holds their values, or "" when none are kept.
        offset: where in the pack the first element's value is; every element has a place, a failed one an empty one.
        size: a number the engine goes by: the length of a list that is mapped over, what a decision chose, how many
            items a stream had; else None.
        errors: by place in this column.
        origins: where answers from the store are from, as (place, run, pack, offset): from that place in this column
            on, values neighbour each other there too, up to the next such entry.
    """

    step: str
    lo: int
    attempt: int
    status: bytes
    start: bytes
    end: bytes
    pack: str = ""
    offset: int = 0
    size: int | None = None
    errors: dict[int, ErrorRecord] = _NO_ERRORS
    origins: tuple[tuple[int, str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A driver took the run up, for the first time or again.

    Args:
        time: seconds since the epoch.
        driver: who drives it.
        code: the key of the value that holds the workflow's code.
        widths: the widths of the fan-outs that are known before anything runs, by step id.
        fingerprints: each step's fingerprint, by step id.
        reset: why the outcomes of a step are dropped, by step id: its code changed, or a step before it is run again.
        retry: whether failed tasks are run again.
        on_error: "stop" (nothing new starts after a failure) or "continue".
        shape: the workflow as a picture needs it from now on (JSON text), or "" when it has not changed.
        token: names the request to drive it, for whoever sent it.
        by: who asked for it: user, machine and process.
        anew: whether it is the same driver once more, as values went with a worker that are kept nowhere: whatever was
            asked of the run still holds.
    """

    time: float
    driver: str
    code: str
    widths: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    reset: dict[str, str] = field(default_factory=dict)
    retry: bool = False
    on_error: str = "stop"
    shape: str = ""
    token: str = ""
    by: str = ""
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a worker finished since its last entry for the same bundle.

    Args:
        bundle: the bundle's id.
        worker: the worker's name.
        columns: the outcomes.
        ended: nothing more comes of this bundle; what has no outcome was handed back.
    """

    bundle: str
    worker: str
    columns: tuple[Column, ...]
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A task a worker has been busy with for a while.

    Args:
        bundle: the bundle's id.
        worker: the worker's name.
        step: the step's id.
        index: the element's index; 0 for a task.
        attempt: 1 for the first call.
        start: when it began, seconds since the epoch.
        yielded: the worker hands back every task of the bundle that it has not begun.
        progress: how far the task says it is, 0 to 1, or None.
        message: what the task says it is doing.
    """

    bundle: str
    worker: str
    step: str
    index: int
    attempt: int
    start: float
    yielded: bool = False
    progress: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Logs:
    """What tasks printed and logged: rows of (address, attempt, time, stream, text)."""

    rows: tuple[tuple[str, int, float, str, str], ...]


@dataclass(frozen=True, slots=True)
class Grown:
    """A dynamic step has planned its steps.

    Args:
        step: the id of the dynamic step in this run.
        code: the key of the value that holds the planned workflow's code.
        plan: what the engine needs to know of it.
        shape: what a picture needs to know of it (JSON text).
    """

    step: str
    code: str
    plan: bytes
    shape: str


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody asks the driver for something: "pause", "resume" or "cancel".

    Args:
        name: what is asked.
        by: who asks.
        time: when, seconds since the epoch.
    """

    name: str
    by: str
    time: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The driver can do nothing but wait, or need not any more.

    Args:
        time: when it saw that, seconds since the epoch.
        why: what it waits for, in words, or "" when it goes on.
    """

    time: float
    why: str = ""


Place: TypeAlias = tuple[int, int, str, int]
"""Where values of neighbouring elements are: the first, one past the last, the pack, the first one's place in it."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over, until somebody resumes or retries it.

    Args:
        time: seconds since the epoch.
        status: "completed", "failed", "cancelled", or "interrupted": its driver has given it up.
        address: the address of the first task that failed, or "".
        message: what went wrong when no task is to blame.
        output: the address of the task whose value is the run's, where a `stop` ended it, or "".
        values: where the values are that the run's is made of, where they are not in too many places: for each step its
            number, how many elements it has, and its `Place`s.
    """

    time: float
    status: str
    address: str = ""
    message: str = ""
    output: str = ""
    values: tuple[tuple[int, int, tuple[Place, ...]], ...] = ()


Event: TypeAlias = RunStarted | Outcomes | Running | Logs | Command | RunEnded | Grown | Waiting

STARTED, ENDED = b"S", b"E"
"""What the entries of these two kinds begin with, for who looks for them alone."""

_KINDS: dict[bytes, type[Any]] = {
    STARTED: RunStarted,
    b"O": Outcomes,
    b"R": Running,
    b"L": Logs,
    b"C": Command,
    ENDED: RunEnded,
    b"G": Grown,
    b"W": Waiting,
}
_CODES = {cls: code for code, cls in _KINDS.items()}
_new = tuple.__new__
_COLUMN_FIELDS = len(Column._fields)
_ERRORS = Column._fields.index("errors") + 1
_FIELD_COUNT = {cls: len(fields(cls)) for cls in _CODES}


def _column_row(column: Column) -> tuple[Any, ...]:
    if not column.errors:
        return column if column.origins else column[:_ERRORS]
    errors = {place: astuple(error) for place, error in column.errors.items()}
    return (*column[: _ERRORS - 1], errors, *((column.origins,) if column.origins else ()))


def _column(row: tuple[Any, ...]) -> Column:
    if errors := row[_ERRORS - 1]:
        known = {place: ErrorRecord(*error) for place, error in errors.items()}
        row = (*row[: _ERRORS - 1], known, *row[_ERRORS:])
    elif len(row) == _ERRORS:
        return _new(Column, (*row[:-1], _NO_ERRORS, ()))
    return Column(*row[:_COLUMN_FIELDS])


_FEW = 4
"""Columns of one value each that are not worth being written as one row."""


def _column_rows(columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    """Return the rows of columns, those of a chain's steps, one value each, together in one."""
    rows: list[tuple[Any, ...]] = []
    run: list[Column] = []
    due: tuple[Any, ...] = ()
    for column in columns:
        _, lo, attempt, status, start, end, pack, offset, size, errors, origins = column
        single = not lo and len(status) == 1 and len(start) == len(end) == 8
        single = single and bool(pack) and size is None and not errors and not origins
        if run and not (single and (attempt, pack, offset) == due):
            rows += _run_rows(run)
            run = []
        if single:
            run.append(column)
            due = attempt, pack, offset + 1
        else:
            rows.append(_column_row(column))
    return rows + _run_rows(run)


def _run_rows(run: list[Column]) -> list[tuple[Any, ...]]:
    if len(run) <= _FEW:
        return [_column_row(column) for column in run]
    steps, _, attempts, status, starts, ends, packs, offsets, *_ = zip(*run, strict=True)
    arrays = b"".join(status), b"".join(starts), b"".join(ends)
    return [(None, steps, attempts[0], *arrays, packs[0], offsets[0])]


def _columns_of(row: tuple[Any, ...]) -> list[Column]:
    """Return the columns that a row is of."""
    if row[0] is not None:
        return [_column(row)]
    _, steps, attempt, status, starts, ends, pack, offset = row
    return [
        _new(Column, (step, 0, attempt, status[n : n + 1], starts[at : at + 8], ends[at : at + 8], pack, offset + n,
                      None, _NO_ERRORS, ()))
        for n, (step, at) in enumerate(zip(steps, range(0, 8 * len(steps), 8), strict=True))
    ]  # fmt: skip


def encode_event(event: Event) -> bytes:
    """Return the event's form in the journal."""
    row: tuple[Any, ...]
    if isinstance(event, Outcomes):
        row = (event.bundle, event.worker, _column_rows(event.columns), event.ended)
    else:
        row = tuple(getattr(event, f.name) for f in fields(event))
    packed: bytes = msgpack.packb(row)
    return _CODES[type(event)] + packed


def decode_event(data: bytes, *, skip: bytes = b"") -> Event | None:
    """Return the event a journal entry holds, or None for a kind that is unknown or in `skip`.

    Args:
        data: the entry's bytes.
        skip: the codes of kinds not wanted, such as b"L" for logs; they are not decoded.
    """
    code = data[:1]
    cls = _KINDS.get(code)
    if cls is None or code in skip:
        return None
    row = msgpack.unpackb(memoryview(data)[1:], strict_map_key=False, use_list=False)
    if cls is Outcomes:
        columns = tuple([column for packed in row[2] for column in _columns_of(packed)])
        return Outcomes(row[0], row[1], columns, *row[3:4])
    event: Event = cls(*row[: _FIELD_COUNT[cls]])
    return event
