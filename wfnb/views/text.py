"""A run as text: some lines for ``print(run)``, one line for a terminal. Imports engine.facts and views.words."""

from __future__ import annotations

from collections.abc import Mapping

from wfnb.engine.facts import RunView
from wfnb.views.words import (
    GLYPHS,
    MARKS,
    clock,
    error_line,
    facts_of,
    listed,
    not_now,
    run_again,
    state_of,
    way_on,
    whole_of,
    word_of,
)

ROWS = 40
"""The list of steps has at most so many lines."""
BAR = 24


def text(view: RunView) -> str:
    """Return a run in some lines: what, how far, each step, why it failed and how to go on."""
    head = f"{view.workflow or 'workflow'} {view.run_id}".rstrip()
    time = clock(view)
    lines = [
        f"{GLYPHS.get(view.status, '?')} {head} · {view.status}{f' · {time}' if time else ''}",
        f"  {_bar(view)} {' · '.join(facts_of(view))}",
    ]
    if view.away:
        lines.append(f"  {not_now(view)}")
    rows = listed(view.steps)
    wide = max((2 * depth + len(name) for depth, name, _ in rows[:ROWS]), default=0)
    for depth, name, step in rows[:ROWS]:
        sign = " " if step.unused == "not taken" else GLYPHS.get(step.status, "?")
        indent = "  " * depth
        lines.append(f"  {indent}{sign} {name:<{wide - 2 * depth}}  {state_of(step)}".rstrip())
    if len(rows) > ROWS:
        lines.append(f"  … and {len(rows) - ROWS:,} more steps")
    again = run_again(view)
    if again:
        lines.append(f"  {again}")
    if view.error is not None:
        lines.append(f"  {error_line(view.error)}")
    on = way_on(view)
    if on:
        lines.append(f"  {on}")
    return "\n".join(lines)


def line(view: RunView, width: int = 80) -> str:
    """Return a run in one line.

    Args:
        view: the run.
        width: the columns it may take.
    """
    head = f"{GLYPHS.get(view.status, '?')} {view.workflow or 'workflow'}"
    said = f"{head} {_bar(view)} {' · '.join(facts_of(view))}"
    return said if len(said) <= width else said[: max(0, width - 1)] + "…"


def _bar(view: RunView) -> str:
    counts, whole = view.counts, whole_of(view)
    full = BAR * counts.done // whole
    bad = -(-BAR * counts.failed // whole) if counts.failed else 0
    bad = min(bad, BAR - full)
    return "[" + "█" * full + "✗" * bad + "·" * (BAR - full - bad) + "]"


def workflow_text(view: RunView, marks: Mapping[str, tuple[str, str]], title: str) -> str:
    """Return a workflow that has not run as text: each step, and what a run would do with it.

    Args:
        view: the workflow as a run that has not begun.
        marks: what a run would do with each step, and why.
        title: the first line, or "" for the workflow's name.
    """
    lines = [title or view.workflow]
    rows = listed(view.steps)
    wide = max((2 * depth + len(name) for depth, name, _ in rows[:ROWS]), default=0)
    for depth, name, step in rows[:ROWS]:
        mark, why = marks.get(step.id, ("", ""))
        said = f"{mark}: {why}" if mark else word_of(step) if step.construct else ""
        lines.append(f"  {'  ' * depth}{MARKS.get(mark, '○')} {name:<{wide - 2 * depth}}  {said}".rstrip())
    if len(rows) > ROWS:
        lines.append(f"  … and {len(rows) - ROWS:,} more steps")
    return "\n".join(lines)
