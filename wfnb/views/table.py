"""A list of runs as a table for a cell. Imports engine.facts and views."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from wfnb.engine.facts import RunView
from wfnb.views.words import GLYPHS, seconds

HEAD = ("run", "workflow", "status", "done", "started", "time")


def runs_table(views: Sequence[RunView]) -> str:
    """Return runs as an HTML table, in the order given."""
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in HEAD)
    rows = "".join(f"<tr>{''.join(f'<td style={_LEFT!r}>{cell}</td>' for cell in _cells(view))}</tr>" for view in views)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


_LEFT = "text-align:left"


def _cells(view: RunView) -> list[str]:
    total = "?" if view.total is None else f"{view.total:,}"
    begun = "" if view.started is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.started))
    return [
        f"<code>{escape(view.run_id)}</code>",
        escape(view.workflow),
        f"{GLYPHS.get(view.status, '')} {view.status}",
        f"{view.done:,}/{total}",
        begun,
        "" if view.elapsed is None else seconds(view.elapsed),
    ]
