"""A picture that follows a run: in a notebook's cell, in a terminal, or as lines in a log. Imports engine.facts, views.

IPython is used only when it is loaded already and has a kernel. Updates come from a thread of this module, and only as
updates of a display that stands already: a thread never prints, so that nothing lands in another cell.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, TypeAlias

from wfnb.engine.facts import RunView
from wfnb.model.errors import StoreError
from wfnb.views.html import mimebundle
from wfnb.views.snapshot import MIME, PLAIN_STEPS, SAVED_LOGS, SAVED_SPANS, SAVED_STEPS, Names, built, document, packed
from wfnb.views.terminal import Screen, screen

if TYPE_CHECKING:
    from wfnb.views.widget import Kind, RunWidget, Watched

Place: TypeAlias = Literal["notebook", "terminal", "lines", "nowhere"]
Bundle: TypeAlias = dict[str, Any]

SHORTEST, LONGEST = 0.1, 2.0
"""Seconds between two updates: ten a second at most, and fewer where an update takes long."""
SHARE = 9
"""The thread rests so many times as long as it works."""
UNSEEN = 1.0
"""Seconds between two looks while nobody has the picture open."""
STATIC = 0.25
"""Seconds between two updates of a picture without a widget."""
KEPT = 100
"""Widgets of runs that are over which go on answering; older ones are closed."""
TOLD = 5
"""So many failed tasks are told in full in a saved notebook."""

_log = logging.getLogger(__name__)
_ended: deque[RunWidget] = deque()


class _Handle(Protocol):
    """A display in a notebook that can be changed."""

    def update(self, obj: Any, **kwargs: Any) -> None: ...


def place() -> Place:
    """Return where this process can show a run: a Jupyter kernel, a terminal, lines of a log, or nowhere."""
    if getattr(shell(), "kernel", None) is not None:
        return "notebook"
    if sys.stderr is None:
        return "nowhere"
    return "terminal" if sys.stderr.isatty() else "lines"


def shell() -> Any:
    """Return the running IPython shell, or None; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def headless() -> bool:
    """Return whether the cell that runs was sent by a program that shows no widgets: nbclient, nbval, a console.

    Their messages are numbered as jupyter_client does it, ``<session>_<process>_<count>``; a browser sends plain UUIDs.
    """
    running = shell()
    parent = getattr(running, "parent_header", None) or {}
    return str(parent.get("header", parent).get("msg_id", "")).count("_") >= 2


def show_bundle(bundle: Bundle) -> _Handle:
    """Show a MIME bundle in the cell that runs, and return what changes it."""
    from IPython.display import display

    show: Any = display
    handle: _Handle = show(bundle, raw=True, display_id=True)
    return handle


def static_bundle(view: RunView, source: Watched | None, kind: Kind = "run") -> Bundle:
    """Return a run as it is kept in a notebook: a document for the renderer, HTML and text."""
    bundle: Bundle = dict(mimebundle(view, kind))
    if source is not None and len(view.steps) <= SAVED_STEPS:
        found = told(view, source, SAVED_SPANS, SAVED_LOGS, TOLD)
        bundle[MIME] = {**(packed(found) if len(view.steps) > PLAIN_STEPS else found), "view": kind}
    return bundle


def told(view: RunView, source: Watched, spans: int, logs: int, details: int) -> dict[str, Any]:
    """Return a run as a document for the renderer.

    Args:
        view: the run.
        source: what is asked for the rest.
        spans: so many attempts at most, the newest.
        logs: so many log rows at most, likewise.
        details: so many tasks at most are told in full, failed ones first.
    """
    addresses = [view.error.address] if view.error is not None and view.error.address else []
    alone = [step for step in view.steps if not (step.construct or step.many or step.helper or step.unused)]
    addresses += [step.id for step in alone if step.status == "failed"]
    addresses += [step.id for step in alone if step.status in ("completed", "cached")]
    known: dict[str, Any] = {}
    for address in list(dict.fromkeys(addresses))[:details]:
        # A picture lacks what the store cannot say; it is drawn all the same.
        with contextlib.suppress(LookupError, StoreError):
            known[address] = source.details(address)
    names = Names()
    return document(view, source.spans(names, spans), names, source.logs(None)[-logs:], known)


def _retire(widget: RunWidget) -> None:
    """Keep a widget whose run is over, and close the one that has been so for longest when there are too many."""
    if widget not in _ended:
        _ended.append(widget)
    while len(_ended) > KEPT:
        _ended.popleft().close()


class LiveView:
    """Shows a run and keeps the picture up to date until the run is over.

    Args:
        poll: gives the run as it stands; called from the view's own thread, and from `start` and `finish`.
        interval: seconds between two looks; None for what fits the place.
        where: where to show it; None looks by itself.
        stream: the terminal or log to write to; stderr when None.
        display: shows a MIME bundle and returns its handle; IPython's own when None.
        source: what a widget asks; without it, the picture is drawn here and has no buttons.
        kind: what of the run is shown.
    """

    def __init__(
        self,
        poll: Callable[[], RunView],
        *,
        interval: float | None = None,
        where: Place | None = None,
        stream: TextIO | None = None,
        display: Callable[[Bundle], _Handle] | None = None,
        source: Watched | None = None,
        kind: Kind = "run",
    ) -> None:
        self._poll = poll
        self._interval = interval
        self._where: Place = place() if where is None else where
        self._stream = stream
        self._display = display or show_bundle
        self._source = source
        self._kind = kind
        self._handle: _Handle | None = None
        self._widget: RunWidget | None = None
        self._screen: Screen | None = None
        self._shown: object = None
        self._over = self._blind = self._again = False
        self._stop, self._wake = threading.Event(), threading.Event()
        # One update at a time: the thread's last and the caller's final one must not cross.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> LiveView:
        """Show the run as it stands and begin to follow it; return itself."""
        if self._where == "nowhere" or self._thread is not None:
            return self
        self.refresh()
        if not self._over:
            self._hook("register")
            self._go()
        return self

    def _go(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow, name="wfnb-live-view", daemon=True)
        self._thread.start()

    def finish(self, timeout: float = 2.0) -> None:
        """Stop following and show the run as it now stands, from the calling thread.

        Args:
            timeout: seconds to wait for an update that is under way.
        """
        self._stop.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                return  # it hangs in the store; its update comes when it comes
        if self._where != "nowhere" and not self._over:
            self.refresh(final=True)

    def __enter__(self) -> LiveView:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.finish()

    def refresh(self, *, final: bool = False) -> None:
        """Look once and show what changed.

        Args:
            final: whether this is the last look, also when the run goes on.
        """
        with self._lock:
            self._look(final)

    def _look(self, final: bool) -> None:
        if self._over:
            return  # a run that goes on later is shown where that was asked for; this picture is of its end here
        try:
            view = self._poll()
        except StoreError as error:
            # The run does not need its picture: what stands stays, and the next look may get through.
            _log.debug("the store could not be read for the live view: %s", error)
            self._blind = True
            return
        self._blind = bool(view.away)
        if self._where == "notebook":
            self._notebook(view)
        else:
            if self._screen is None:
                self._screen = screen(self._stream or sys.stderr, terminal=self._where == "terminal")
            self._screen.show(view, last=final or view.over)
        self._over = view.over
        if self._over and self._widget is not None:
            _retire(self._widget)

    def _follow(self) -> None:
        pause = self._pause(0.0)
        while not self._stop.is_set():
            if self._wake.wait(pause):
                self._wake.clear()
                if self._stop.is_set():
                    return
            began = time.monotonic()
            try:
                self.refresh()
            except Exception:  # noqa: BLE001  a picture that cannot be drawn must not disturb the run
                # What fails here fails again; a traceback would land in whichever cell runs next.
                _log.debug("the live view stopped", exc_info=True)
                return
            if self._over:
                return
            pause = self._pause(time.monotonic() - began)

    def _pause(self, cost: float) -> float:
        """Return the seconds until the next look."""
        shortest = self._interval if self._interval is not None else SHORTEST
        if self._widget is None:
            shortest = max(shortest, STATIC)
        elif not self._widget.is_open:
            shortest = max(shortest, UNSEEN)
        return max(shortest, min(LONGEST, SHARE * cost))

    def _hook(self, name: Literal["register", "unregister"]) -> None:
        """Have `_cell_ended` called whenever a cell ends, or no more."""
        running = shell() if self._where == "notebook" else None
        if running is not None:
            with contextlib.suppress(ValueError):  # it was taken out before
                getattr(running.events, name)("post_run_cell", self._cell_ended)

    def _cell_ended(self, *_: object) -> None:
        # A notebook that runs without a browser is saved as soon as its last cell ends: what is shown then, stays.
        if self._over:
            self._hook("unregister")
        # A cell does not wait for a store that does not answer; and a widget is up to date.
        elif not self._blind and self._widget is None and self._lock.acquire(timeout=0.5):
            try:
                self._look(False)
            except Exception:  # noqa: BLE001  as in `_follow`
                _log.debug("the live view failed at a cell's end", exc_info=True)
            finally:
                self._lock.release()

    # -- in a notebook -------------------------------------------------------------------------------------------

    def _notebook(self, view: RunView) -> None:
        if self._handle is None:
            # Also for a run that is over: its buttons and details work as long as the widget is there, seen or not.
            self._widget = self._new_widget()
        if self._widget is not None:
            try:
                # The last state too: a page that was loaded again knows of no later output.
                self._widget.show(view, whole=view.over)
            except Exception:  # noqa: BLE001  a picture that stands still is better than an error in the user's cell
                _log.warning("the widget of run '%s' stopped: its picture is drawn here", view.run_id, exc_info=True)
                self._widget = None
        widget = self._widget
        if widget is None:
            self._put(self._bundle(view))
        elif view.over:
            bundle = self._bundle(view)
            widget.last = json.dumps(bundle)
            self._put(bundle)
        elif self._handle is None or self._again:
            self._again, widget.last = False, ""
            self._put({**self._bundle(view), **widget.bundle()})

    def _bundle(self, view: RunView) -> Bundle:
        bundle = static_bundle(view, self._source, self._kind)
        if self._widget is not None and MIME in bundle:
            bundle[MIME]["key"] = self._widget.key
        return bundle

    def _put(self, bundle: Bundle) -> None:
        shown = bundle["text/html"], len(bundle)
        if shown == self._shown:
            return
        self._shown = shown
        if self._handle is None:
            self._handle = self._display(bundle)
        else:
            self._handle.update(bundle, raw=True)

    def _new_widget(self) -> RunWidget | None:
        if self._source is None or not built() or headless():
            return None
        try:
            from wfnb.views.widget import RunWidget
        except ImportError:  # anywidget cannot be loaded: the picture is drawn here
            _log.debug("no widget can be shown", exc_info=True)
            return None
        return RunWidget(self._source, self._kind, self._commanded)

    def _commanded(self) -> None:
        """Follow the run again, or look at once: somebody pressed a button."""
        if self._over:
            if self._widget is not None and self._widget in _ended:
                _ended.remove(self._widget)
            self._over, self._again = False, True
            self._go()
        self._wake.set()
