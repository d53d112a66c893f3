"""A task's error as text, without frames of wfnb. Imports program, for the names of cells."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from wfnb.dask.program import CELL_NAMES

_HERE = str(Path(__file__).parent.parent)


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
