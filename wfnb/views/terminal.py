"""A run in a terminal, redrawn in place, or as lines in a log. Imports engine.facts, views; rich where it is there."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any, Protocol, TextIO

from wfnb.engine.facts import RunView, StepView
from wfnb.views.text import line, text
from wfnb.views.words import GLYPHS, clock, error_line, facts_of, listed, not_now, state_of, way_on

ROWS = 12
"""Steps shown at once in a terminal: what runs or went wrong, and what is near it."""
LINES = 20
"""Steps told one by one in a log before the rest is counted."""

_STYLES = {"running": "bold blue", "completed": "green", "cached": "cyan", "retrying": "yellow", "failed": "bold red"}
_OVER = ("completed", "cached", "failed", "skipped", "cancelled")


class Screen(Protocol):
    """Where a run is shown as text."""

    def show(self, view: RunView, *, last: bool) -> None:
        """Show the run as it stands; `last` says that nothing more comes."""


def screen(stream: TextIO, *, terminal: bool) -> Screen:
    """Return what shows a run on a stream.

    Args:
        stream: where to write.
        terminal: whether it is a terminal.
    """
    if not terminal:
        return Lines(stream)
    return Rich(stream) if importlib.util.find_spec("rich") is not None else OneLine(stream)


class OneLine:
    """One line that is written over, and some in the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said = ""

    def show(self, view: RunView, *, last: bool) -> None:
        """See `Screen`."""
        said = text(view) + "\n" if last else line(view, shutil.get_terminal_size().columns - 1)
        if said == self._said:
            return
        self._said = said
        self._stream.write(f"\r\x1b[2K{said}")
        self._stream.flush()


class Rich:
    """Header, bar and the steps that matter now, redrawn in place by rich; what is printed meanwhile goes above."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)
        self._live: Any = None

    def show(self, view: RunView, *, last: bool) -> None:
        """See `Screen`."""
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        if not last:
            self._live.update(self._picture(view), refresh=True)
            return
        self._live.stop()
        self._live = None
        self._console.print(text(view), markup=False, soft_wrap=True)

    def _picture(self, view: RunView) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        style = _STYLES.get(view.status, "")
        head = Text.assemble((GLYPHS.get(view.status, "?"), style), " ", (view.workflow or "workflow", "bold"))
        head.append(f" {view.run_id} · {view.status} {clock(view)}".rstrip(), "dim")
        parts: list[Any] = [head]
        total = view.total if view.total is not None else None
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=total or None, completed=view.done, width=30), Text(" · ".join(facts_of(view))))
        parts.append(bar)
        if view.away:
            parts.append(Text(not_now(view), "yellow"))
        rows = listed(view.steps)
        shown = _matter(rows)
        table = Table.grid(padding=(0, 2))
        for depth, name, step in shown:
            sign = Text("  " * depth + GLYPHS.get(step.status, "?") + " ", _STYLES.get(step.status, "dim"))
            table.add_row(Text.assemble(" ", sign, name), Text(state_of(step), "dim"))
        parts.append(table)
        if len(rows) > len(shown):
            parts.append(Text(f"  … and {len(rows) - len(shown):,} more steps", "dim"))
        return Group(*parts)


def _matter(rows: list[tuple[int, str, StepView]]) -> list[tuple[int, str, StepView]]:
    """Return the rows around the first that is under way, failures before all."""
    if len(rows) <= ROWS:
        return rows
    busy = [at for at, row in enumerate(rows) if row[2].status in ("running", "retrying", "failed")]
    first = busy[0] if busy else sum(row[2].status in _OVER for row in rows)
    at = max(0, min(first - 2, len(rows) - ROWS))
    return rows[at : at + ROWS]


class Lines:
    """A line for each change of the run or of a step, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._status = ""
        self._steps: dict[str, str] = {}

    def show(self, view: RunView, *, last: bool) -> None:
        """See `Screen`."""
        said = [f"{_name(view)}: {view.status}"] if view.status != self._status and not last else []
        self._status = view.status
        told = []
        for _, _, step in listed(view.steps):
            # What is in a body that is repeated is told with the construct.
            if step.status in _OVER and self._steps.get(step.id) != step.status and not step.group:
                self._steps[step.id] = step.status
                if not step.unused:
                    told.append(f"  {GLYPHS.get(step.status, '?')} {step.id}: {state_of(step)}")
        said += told[:LINES]
        if len(told) > LINES:
            said.append(f"  … and {len(told) - LINES:,} more steps")
        if last:
            time = clock(view)
            said.append(f"{_name(view)}: {' · '.join([view.status, *facts_of(view), *([time] if time else [])])}")
            if view.error is not None:
                said.append(f"  {error_line(view.error)}")
            if way_on(view):
                said.append(f"  {way_on(view)}")
        if said:
            self._stream.write("\n".join(said) + "\n")
            self._stream.flush()


def _name(view: RunView) -> str:
    return f"{GLYPHS.get(view.status, '?')} {view.workflow or 'workflow'} {view.run_id}".rstrip()
