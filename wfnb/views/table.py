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


def runs_text(views: Sequence[RunView]) -> str:
    """Return runs as text, a line each, in the order given."""
    rows = [HEAD, *(_facts(view) for view in views)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


_LEFT = "text-align:left"


def _cells(view: RunView) -> list[str]:
    run, *rest = map(escape, _facts(view))
    return [f"<code>{run}</code>", *rest]


def _facts(view: RunView) -> tuple[str, ...]:
    total = "?" if view.total is None else f"{view.total:,}"
    return (
        view.run_id,
        view.workflow,
        f"{GLYPHS.get(view.status, '')} {view.status}",
        f"{view.done:,}/{total}",
        "" if view.started is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.started)),
        "" if view.elapsed is None else seconds(view.elapsed),
    )
