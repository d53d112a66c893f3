"""A task's error as text, without frames of wfnb, and as the journal keeps it. Imports program, for names of cells."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from wfnb.dask.program import CELL_NAMES
from wfnb.model.errors import RunCancelled
from wfnb.model.events import ErrorRecord
from wfnb.model.policy import kinds_of
from wfnb.store.codec import Codec

_HERE = str(Path(__file__).parent.parent)
_STOPPED = {
    "token": "it was stopped by its token",
    "exception": "it was stopped by an exception in its thread",
    "process": "it could not be stopped, and its worker process was ended",
    "nothing": "it could not be stopped, and its worker has no nanny that could end it, or one that does not answer; "
    "it goes on until it returns, and what it returns then does not count",
}


def cancelled_record(codec: Codec, run_id: str, address: str, stopped: str) -> ErrorRecord:
    """Return what the journal says of a task that was cancelled while it ran.

    Args:
        codec: encodes the error.
        run_id: the run.
        address: the task's address.
        stopped: what stopped it, as in `ErrorRecord`; "nothing" when it was given up while it goes on.
    """
    how = _STOPPED.get(stopped, "it ended by itself")
    error = RunCancelled(f"task '{address}' was cancelled: {how}", run_id=run_id)
    stopped = stopped if stopped != "nothing" else ""
    return ErrorRecord("RunCancelled", str(error), "", codec.dumps(error), None, kinds_of(error), stopped)


def text_of(error: BaseException) -> str:
    """Return an error's text."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001  the error's own __str__ may be what is broken
        return f"<its text cannot be had: {type(second).__name__}>"


def format_traceback(error: BaseException) -> str:
    """Return an error's traceback as text, without frames of wfnb."""
    report = traceback.TracebackException.from_exception(error)
    todo: list[Any] = [report]
    while todo:
        part = todo.pop()
        part.stack = traceback.StackSummary.from_list([f for f in part.stack if not f.filename.startswith(_HERE)])
        todo += [other for other in (part.__cause__, part.__context__) if other is not None]
    told = "".join(report.format())
    for filename, name in CELL_NAMES.items():
        told = told.replace(f'File "{filename}"', name[0].upper() + name[1:])
    return told
