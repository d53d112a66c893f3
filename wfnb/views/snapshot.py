"""The form in which a picture travels: shape, state and spans of a run as bytes. Imports engine and views.words.

The renderer (``extensions/ui/src/format.ts``) reads the same. Each piece alone says all it is about, so that any of
them may be lost or come late. All numbers are little-endian; headers are JSON, padded to a multiple of 8 bytes.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from wfnb.engine.cells import floats
from wfnb.engine.facts import Counts, LogRow, RunView, StepView
from wfnb.engine.folds import RunFold
from wfnb.model.events import STATUS_NAMES
from wfnb.views.text import text
from wfnb.views.words import ORDER, run_again, told_error, way_on

STATIC = Path(__file__).parent / "static"
"""The renderer, as it was built from ``extensions``."""
MIME = "application/vnd.wfnb.run+json"
FORMAT = 1

STATUSES = (
    "pending", "running", "retrying", "completed", "cached", "failed", "skipped", "cancelled",
    "queued", "paused", "interrupted",
)  # fmt: skip
"""The words that a status byte stands for."""
UNUSED = ("", "skipped", "not taken", "not needed", "not begun")

SAVED_SPANS, SAVED_LOGS, SAVED_STEPS = 1_000, 200, 20_000
"""What a saved notebook carries of a run at most."""
PLAIN_STEPS = 500
"""A document of more steps is packed: steps resemble each other."""

_UNKNOWN = 0xFFFFFFFF
_NAN = math.nan
_RECORD = struct.Struct("<BBHI8IIIdddd16x")
_NUMBER = {name: number for number, name in enumerate(STATUSES)}
_UNUSED = {name: number for number, name in enumerate(UNUSED)}
_TO_NUMBER = bytes(_NUMBER[STATUS_NAMES.get(byte, "pending")] for byte in range(256))

Marks: TypeAlias = Mapping[str, tuple[str, str]]
"""What a run would do with each step, and why, by the step's id."""


class Names:
    """Numbers for the names of workers; a name keeps its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """Return a worker's number; the next free one when it is new."""
        return self._numbers.setdefault(name, len(self._numbers))

    def __iter__(self) -> Any:
        return iter(self._numbers)


def built() -> bool:
    """Return whether the renderer's files are there; without them, pictures stand still."""
    return (STATIC / "widget.js").is_file()


# -- shape -------------------------------------------------------------------------------------------------------------


def shape_of(view: RunView, marks: Marks | None = None) -> dict[str, Any]:
    """Return the steps of a run and how they hang together, ready for JSON.

    Args:
        view: the run; with `run_id` "" for a workflow that has not run.
        marks: what a run would do with each step.
    """
    return {
        "workflow": view.workflow,
        "run": view.run_id,
        "steps": [_step(step, marks or {}) for step in view.steps],
    }


def _step(step: StepView, marks: Marks) -> dict[str, Any]:
    found: dict[str, Any] = {"id": step.id, "node": step.node, "kind": step.kind, "name": _name(step)}
    more: dict[str, Any] = {
        "group": step.group,
        "uses": list(step.uses),
        "after": list(step.after),
        "arm": step.arm,
        "helper": step.helper,
        "construct": step.construct,
        "fanOut": step.fan_out,
        "many": step.many,
        "where": step.where,
        "labels": [list(label) for label in step.labels],
    }
    if step.id in marks:
        more["mark"], more["why"] = marks[step.id]
    found.update((name, value) for name, value in more.items() if value)
    return found


def _name(step: StepView) -> str:
    """Return what a step is called inside of its group."""
    rest = step.id[len(step.group) :] if step.group and step.id.startswith(step.group) else step.id
    return rest.rpartition("/")[2].lstrip(".") or step.id


# -- state -------------------------------------------------------------------------------------------------------------


def state_bytes(view: RunView, names: Iterable[str] = ()) -> bytes:
    """Return how a run stands: a header and a record of 96 bytes for each step, in the order of the shape."""
    return _with_header(_head(view, names), b"".join([_record(step) for step in view.steps]))


def _head(view: RunView, names: Iterable[str]) -> dict[str, Any]:
    error = view.error
    return {
        "status": view.status,
        "created": view.created,
        "started": view.started,
        "ended": view.ended,
        "now": view.now,
        "asked": view.asked,
        "waiting": view.waiting,
        "away": view.away,
        "bytes": view.nbytes,
        "drivers": view.drivers,
        "workers": view.workers,
        "rate": view.rate,
        "eta": view.eta,
        "etaIsFloor": view.eta_is_floor,
        "total": view.total,
        "counts": _counts(view.counts),
        "error": error and {"address": error.address, **told_error(error)},
        "again": run_again(view),
        "on": way_on(view),
        "names": list(names),
        "steps": {str(number): more for number, step in enumerate(view.steps) if (more := _more(step))},
    }


def _more(step: StepView) -> dict[str, Any]:
    found = {"message": step.message, "reset": step.reset, "taken": list(step.taken)}
    return {name: value for name, value in found.items() if value}


def _counts(counts: Counts) -> list[int]:
    return [getattr(counts, name) for name in ORDER]


def _record(step: StepView) -> bytes:
    return _RECORD.pack(
        _NUMBER.get(step.status, 0),
        _UNUSED.get(step.unused, 0),
        min(step.workers, 0xFFFF),
        _UNKNOWN if step.width is None else step.width,
        *_counts(step.counts),
        step.attempts,
        _UNKNOWN if step.times is None else step.times,
        _NAN if step.started is None else step.started,
        _NAN if step.ended is None else step.ended,
        _NAN if step.mean is None else step.mean,
        _NAN if step.progress is None else step.progress,
    )


def cells_bytes(fold: RunFold, number: int) -> tuple[str, bytes]:
    """Return the elements of a fan-out: its instance's id, and a status byte an element; see `RunFold.cells`."""
    instance, status, retrying = fold.cells(number)
    found = bytearray(status.translate(_TO_NUMBER))
    for index in retrying:
        found[index] = _NUMBER["retrying"]
    return instance, bytes(found)


# -- spans -------------------------------------------------------------------------------------------------------------


def spans_bytes(fold: RunFold, names: Names, most: int) -> bytes:
    """Return the newest attempts of a run: a header and columns of numbers.

    Args:
        fold: the run's fold.
        names: numbers for the workers.
        most: how many spans at most; those that ended last, or run.
    """
    live = list(fold.live())[:most]
    ids = fold.ids()
    count, columns = fold.recorded(most - len(live))
    total = count + len(live)
    since = min(
        [floats(column.start)[0] for _, column, _ in columns] + [running.start for _, running in live], default=0.0
    )
    if fold.started is not None and (fold.started < since or not since):
        since = fold.started
    instances: dict[str, int] = {}
    start, end = array("d"), array("d")
    step_at, element, instance = array("I"), array("I"), array("I")
    attempt, worker, status = array("H"), array("H"), bytearray()

    def place(number: int, name: str, n: int) -> None:
        step_at.extend([number] * n)
        own = name == ids[number]
        instance.extend([_UNKNOWN if own else instances.setdefault(name, len(instances))] * n)

    for number, column, name in columns:
        n = len(column.status)
        start.extend([at - since for at in floats(column.start)])
        end.extend([at - since for at in floats(column.end)])
        place(number, column.step, n)
        element.extend(range(column.lo, column.lo + n))
        attempt.extend([min(column.attempt, 0xFFFF)] * n)
        worker.extend([names.number(name)] * n)
        status += column.status.translate(_TO_NUMBER)
    for number, running in live:
        start.append(running.start - since)
        end.append(_NAN)
        place(number, running.step, 1)
        element.append(running.index)
        attempt.append(min(running.attempt, 0xFFFF))
        worker.append(names.number(running.worker))
        status.append(_NUMBER["running"])
    head = {
        "n": len(status),
        "since": since,
        "instances": list(instances),
        "from": max(0, total - len(status)),
        "more": max(0, total - len(status)),
    }
    body = b"".join(column.tobytes() for column in (start, end, step_at, element, instance, attempt, worker))
    return _with_header(head, body + bytes(status))


# -- the document ------------------------------------------------------------------------------------------------------


def document(
    view: RunView,
    spans: bytes = b"",
    names: Iterable[str] = (),
    logs: Sequence[LogRow] = (),
    details: Mapping[str, Any] | None = None,
    marks: Marks | None = None,
) -> dict[str, Any]:
    """Return a run as one document, which the renderer draws without a kernel.

    Args:
        view: the run.
        spans: what `spans_bytes` gave.
        names: the workers' names, by number.
        logs: what tasks printed.
        details: what is known of some tasks, by address.
        marks: what a run would do with each step.
    """
    return {
        "format": FORMAT,
        "shape": shape_of(view, marks),
        "state": _text(state_bytes(view, names)),
        "spans": _text(spans) if spans else "",
        "logs": [[row.address, row.attempt, row.time, row.stream, row.text] for row in logs],
        "details": dict(details or {}),
        "text": text(view),
    }


def packed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document in a fraction of its size; what is needed to show it as text stays readable."""
    data = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = data.compress(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")) + data.flush()
    return {"format": document["format"], "text": document["text"], "packed": _text(body)}


def _with_header(head: Mapping[str, Any], body: bytes) -> bytes:
    raw = json.dumps(head, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
    raw += b" " * (-(4 + len(raw)) % 8)
    return struct.pack("<I", len(raw)) + raw + body


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
