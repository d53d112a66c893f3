"""What widgets ask of a run, and the pictures a run gives: views, files, formats. Imports what is below run."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfnb.details import details
from wfnb.engine.facts import LogRow, RunView
from wfnb.model.errors import ConfigurationError, StoreError, did_you_mean
from wfnb.store.patience import LOOK, patience
from wfnb.views.html import report
from wfnb.views.live import LiveView, static_bundle, told
from wfnb.views.snapshot import STATIC, Names, cells_bytes, spans_bytes
from wfnb.views.text import text

if TYPE_CHECKING:
    from wfnb.run import Run
    from wfnb.views.widget import Kind


_log = logging.getLogger(__name__)

ASKING = 3.0
"""Seconds between two questions for a run's size at least; where counting takes long, thirty times as long as that."""


class RunSource:
    """A run as a widget sees it; see `wfnb.views.widget.Watched`.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._nbytes: int | None = None
        self._due = 0.0

    def view(self) -> RunView:
        """Return the run as it is now, with its size in the store."""
        view = self._run.snapshot()
        began = time.monotonic()
        if not view.away and (view.over or began >= self._due):
            try:
                self._nbytes = self._run.store.sizes([self._run.id]).get(self._run.id)
            except StoreError as error:  # the picture can do without
                _log.debug("the size of run '%s' is not known: %s", self._run.id, error)
            self._due = began + max(ASKING, 30 * (time.monotonic() - began))
        return replace(view, nbytes=self._nbytes)

    def spans(self, names: Names, most: int) -> bytes:
        """Return the newest attempts."""
        return self._run.look(lambda fold: spans_bytes(fold, names, most))

    def cells(self, number: int) -> tuple[str, bytes]:
        """Return the elements of a fan-out."""
        return self._run.look(lambda fold: cells_bytes(fold, number))

    def details(self, address: str) -> dict[str, Any]:
        """Return what is known of a task."""
        with patience(LOOK):
            return details(self._run, address)

    def logs(self, address: str | None) -> list[LogRow]:
        """Return what tasks printed."""
        # The last lines of a run may come after its end was recorded.
        with contextlib.suppress(StoreError):
            return self._run.logs(address)
        return self._run.look(lambda fold: fold.logs(address))

    def command(self, name: str) -> None:
        """Pause, resume, cancel or retry the run."""
        commands: dict[str, Callable[[], object]] = {
            "pause": self._run.pause,
            "resume": self._run.resume,
            "cancel": self._run.cancel,
            "retry": self._run.retry,
        }
        commands[name]()


class Picture:
    """One view of a run; at the end of a cell it shows itself live.

    Args:
        run: the run.
        kind: what is shown: "run" (all of it), "dag", "progress" or "timeline".
    """

    def __init__(self, run: Run, kind: Kind) -> None:
        self.run = run
        self.kind = kind

    def show(self) -> LiveView:
        """Show it live where this is called."""
        return live(self.run, self.kind).start()

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        source = RunSource(self.run)
        return static_bundle(source.view(), source, self.kind)

    def __repr__(self) -> str:
        return text(self.run.snapshot())


def live(run: Run, kind: Kind = "run") -> LiveView:
    """Return what shows a run live; it is not started yet."""
    source = RunSource(run)
    return LiveView(source.view, source=source, kind=kind)


KINDS: tuple[Kind, ...] = ("run", "dag", "progress", "timeline")
"""The views of a run."""
REPORT_SPANS, REPORT_LOGS, REPORT_DETAILS = 200_000, 10_000, 50
"""What a report carries of a run at most."""


def picture(run: Run, kind: str) -> Picture:
    """Return a view of a run; raises ConfigurationError when there is no such view."""
    for known in KINDS:
        if kind == known:
            return Picture(run, known)
    raise ConfigurationError(f"a run has no view '{kind}'. {did_you_mean(str(kind), KINDS)}")


def write_report(run: Run, target: Path) -> Path:
    """Write a run as one interactive HTML file; return its path."""
    source = RunSource(run)
    view = source.view()
    script = STATIC / "report.js"
    found = told(view, source, REPORT_SPANS, REPORT_LOGS, REPORT_DETAILS)
    target.write_text(report(view, found, script.read_text("utf-8") if script.is_file() else ""), encoding="utf-8")
    return target


def written(text: str, path: str | os.PathLike[str] | None) -> str:
    """Return a text; write it to a file first where one is named."""
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
