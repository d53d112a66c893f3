"""The widget: what the renderer in a browser is sent of a run, and what it may ask. Imports anywidget and engine.facts.

A picture travels as three traits, each of them whole in itself: shape, state, spans. Everything else is asked for by
message and answered from a thread, so that a look at a big value never holds up a cell.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal, Protocol, TypeAlias

import anywidget
import traitlets

from wfnb.engine.facts import LogRow, RunView
from wfnb.views.snapshot import STATIC, Marks, Names, shape_of, state_bytes
from wfnb.views.words import size

Kind: TypeAlias = Literal["run", "dag", "progress", "timeline", "workflow", "runs"]
"""What a widget shows."""

NEWEST, ALL = 5_000, 200_000
"""Spans sent by themselves, and when they are asked for."""
SPAN_PAUSE = 1.0
"""Seconds between two updates of spans at least."""
ROWS = 1_000
"""Log rows in one answer."""

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """What a widget asks of the run it shows; methods may be called from any thread."""

    def view(self) -> RunView:
        """Return the run as it is now."""

    def spans(self, names: Names, most: int) -> bytes:
        """Return the newest attempts; see `wfnb.views.snapshot.spans_bytes`."""

    def cells(self, number: int) -> tuple[str, bytes]:
        """Return the elements of a fan-out; see `wfnb.views.snapshot.cells_bytes`."""

    def details(self, address: str) -> dict[str, Any]:
        """Return what is known of a task."""

    def logs(self, address: str | None) -> list[LogRow]:
        """Return what tasks printed."""

    def command(self, name: str) -> None:
        """Pause, resume, cancel or retry the run."""


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="wfnb-widget")


class RunWidget(anywidget.AnyWidget):
    """A run in a browser.

    Args:
        source: what it asks; None where there is no run (yet).
        kind: what it shows.
        commanded: called after a command was carried out.
    """

    _esm = STATIC / "widget.js"
    shape = traitlets.Bytes(b"").tag(sync=True)
    state = traitlets.Bytes(b"").tag(sync=True)
    spans = traitlets.Bytes(b"").tag(sync=True)
    view = traitlets.Unicode("run").tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    # The output as it is to be kept, once the run is over: for pages that were not there to get it (JSON).
    last = traitlets.Unicode("").tag(sync=True)
    # What a picture without the widget finds it by in the same page.
    key = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, source: Watched | None, kind: Kind = "run", commanded: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(view=kind, live=source is not None, key=secrets.token_hex(8))
        # A kernel that is busy cannot hear that a view was opened.
        self._open, self._heard = 1, False
        self._commanded = commanded
        self._take(source)
        self.on_msg(self._received)

    def _take(self, source: Watched | None) -> None:
        """Show another run from now on."""
        self._source = source
        self._names = Names()
        self._shaped: object = None
        self._said: object = None
        self._spanned = 0.0

    @property
    def is_open(self) -> bool:
        """Whether anybody looks."""
        return self._open > 0

    def bundle(self) -> dict[str, Any]:
        """Return the part of a MIME bundle that shows the widget."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {"application/vnd.jupyter.widget-view+json": view}

    def show(self, view: RunView, *, marks: Marks | None = None, whole: bool = False) -> None:
        """Send what has changed, as one message.

        Args:
            view: the run.
            marks: what a run would do with each step.
            whole: send spans now, however long ago the last were sent.
        """
        spans = None
        if (
            self._source is not None
            and self.view in ("run", "runs", "timeline")
            and (whole or time.monotonic() - self._spanned >= SPAN_PAUSE)
        ):
            spans = self._source.spans(self._names, NEWEST)
            self._spanned = time.monotonic()
        # The clock goes on by itself in the browser.
        said = (view.status, view.away, view.waiting, view.asked, view.error, view.drivers, _left(view), view.steps)
        shaped = (view.workflow, view.run_id, [(step.id, step.group, step.uses) for step in view.steps])
        with self.hold_sync():
            if shaped != self._shaped:
                self._shaped = shaped
                self.shape = json.dumps(shape_of(view, marks), ensure_ascii=False).encode()
            if spans is not None:
                self.spans = spans
            if said != self._said:
                self._said = said
                self.state = state_bytes(view, self._names)

    # -- messages ------------------------------------------------------------------------------------------------

    def _received(self, _: Any, content: Any, __: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind is None:
            return
        if "id" in content:
            _threads().submit(self._answer, content)
        elif kind == "open":
            self._open = self._open + 1 if self._heard else 1
            self._heard = True
        elif kind == "close":
            self._open = max(0, self._open - 1)

    def _answer(self, content: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"type": "answer", "id": content["id"], "ok": True}
        buffers: list[bytes] = []
        try:
            more, buffers = self._reply(content)
            answer.update(more)
        except Exception as error:  # noqa: BLE001  whatever it is, who asked is told
            _log.debug("a widget's question was not answered", exc_info=True)
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            answer.update(ok=False, error=f"{text}" or type(error).__name__)
        self.send(answer, buffers)

    def _reply(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        source = self._source
        if source is None:
            raise LookupError("there is no run to ask")
        match content:
            case {"type": "command", "name": "pause" | "resume" | "cancel" | "retry" as name}:
                source.command(name)
                self._commanded()
                return {}, []
            case {"type": "cells", "step": int(number)}:
                instance, cells = source.cells(number)
                return {"instance": instance, "width": len(cells)}, [cells]
            case {"type": "spans"}:
                return {}, [source.spans(self._names, ALL)]
            case {"type": "details", "address": str(address)}:
                return {"details": source.details(address)}, []
            case {"type": "logs"}:
                rows = source.logs(content.get("address") or None)
                after = max(0, int(content.get("after") or 0))
                found = rows[after : after + ROWS]
                told = [[row.address, row.attempt, row.time, row.stream, row.text] for row in found]
                return {"rows": told, "next": after + len(found)}, []
        raise ValueError(f"there is no answer to a message of type '{content.get('type')}'")


def _left(view: RunView) -> tuple[int | None, float | None, str | None]:
    """Return what of a run's figures changes with time alone, no finer than it is shown."""
    return (
        None if view.eta is None else round(view.eta),
        None if view.rate is None else round(view.rate, 1 if view.rate < 10 else None),
        None if view.nbytes is None else size(view.nbytes),
    )


class RunsWidget(RunWidget):
    """A table of runs that follows them, and shows one below when it is chosen.

    Args:
        find: finds a run by its id.
        commanded: called after a run was chosen or a command carried out.
    """

    rows = traitlets.Bytes(b"[]").tag(sync=True)

    def __init__(self, find: Callable[[str], Watched], commanded: Callable[[], None]) -> None:
        super().__init__(None, "runs", commanded)
        self._find = find

    @property
    def chosen(self) -> Watched | None:
        """The run that is shown below the table."""
        return self._source

    def _reply(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        match content:
            case {"type": "open", "run": str(run_id)}:
                source = self._find(run_id)
                self._take(source)
                self.live = True
                self.show(source.view(), whole=True)
                self._commanded()
                return {}, []
        return super()._reply(content)
