"""Tables for a cell: a list of runs, of workers. Imports engine.facts and views."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from wfnb.engine.facts import RunView
from wfnb.views.words import GLYPHS, not_now, seconds

HEAD = ("run", "workflow", "status", "done", "started", "time")
_LEFT = "style='text-align:left'"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as an HTML table; the first column holds names."""
    top = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><td {_LEFT}><code>{escape(row[0])}</code></td>"
        + "".join(f"<td {_LEFT}>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as text, a line each, under a line of heads."""
    every = [head, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every
    )


def runs_table(views: Sequence[RunView], more: int = 0) -> str:
    """Return runs as an HTML table, in the order given.

    Args:
        views: the runs.
        more: how many there are beside them.
    """
    return table(HEAD, [_facts(view) for view in views]) + "".join(
        f"<div>{escape(line)}</div>" for line in _notes(views, more)
    )


def runs_text(views: Sequence[RunView], more: int = 0) -> str:
    """Return runs as text, a line each, in the order given; see `runs_table`."""
    return "\n".join([lines(HEAD, [_facts(view) for view in views]), *_notes(views, more)])


def _notes(views: Sequence[RunView], more: int) -> list[str]:
    """Return how many runs are not shown, and why some are not as they are now, once each."""
    said = dict.fromkeys(not_now(view) for view in views if view.away)
    return [*([f"and {more:,} more, which are in the list"] if more else ()), *said]


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
