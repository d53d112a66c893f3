"""A picture that follows a run: in a notebook's cell, or as a line in a terminal. Imports model, engine.facts, views.

IPython is used only when it is loaded already and has a kernel. Updates come from a thread of this module, and only as
updates of a display that stands already: a thread never prints, so that nothing lands in another cell.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import threading
from collections.abc import Callable
from typing import Any, Literal, Protocol, TextIO, TypeAlias

from wfnb.engine.facts import RunView
from wfnb.model.errors import StoreError
from wfnb.views.html import mimebundle
from wfnb.views.text import line, text

Place: TypeAlias = Literal["notebook", "terminal", "nowhere"]

SHORTEST = 0.25
"""Seconds between two updates at least."""

_log = logging.getLogger(__name__)


class _Handle(Protocol):
    """A display in a notebook that can be changed."""

    def update(self, obj: Any, **kwargs: Any) -> None: ...


def place() -> Place:
    """Return where this process can show a run: a Jupyter kernel, a terminal, or nowhere."""
    if getattr(_shell(), "kernel", None) is not None:
        return "notebook"
    return "terminal" if sys.stderr is not None and sys.stderr.isatty() else "nowhere"


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _display(bundle: dict[str, str]) -> _Handle:
    from IPython.display import display

    show: Any = display
    handle: _Handle = show(bundle, raw=True, display_id=True)
    return handle


class LiveView:
    """Shows a run and keeps the picture up to date until the run is over.

    Args:
        poll: gives the run as it stands; called from the view's own thread, and from `start` and `finish`.
        interval: seconds between two looks, at least 0.25.
        where: where to show it; None looks by itself.
        stream: the terminal to write to; stderr when None.
        display: shows a MIME bundle and returns its handle; IPython's own when None.
    """

    def __init__(
        self,
        poll: Callable[[], RunView],
        *,
        interval: float = SHORTEST,
        where: Place | None = None,
        stream: TextIO | None = None,
        display: Callable[[dict[str, str]], _Handle] | None = None,
    ) -> None:
        self._poll = poll
        self._interval = max(SHORTEST, interval)
        self._where: Place = place() if where is None else where
        self._stream = stream
        self._display = display or _display
        self._handle: _Handle | None = None
        self._shown: object = None
        self._over = self._blind = False
        self._stop = threading.Event()
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
            self._thread = threading.Thread(target=self._follow, name="wfnb-live-view", daemon=True)
            self._thread.start()
        return self

    def finish(self, timeout: float = 2.0) -> None:
        """Stop following and show the run as it now stands, from the calling thread.

        Args:
            timeout: seconds to wait for an update that is under way.
        """
        self._stop.set()
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
        elif self._where == "terminal":
            self._terminal(view, last=final or view.over)
        self._over = view.over

    def _follow(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.refresh()
            except Exception:  # noqa: BLE001  a picture that cannot be drawn must not disturb the run
                # What fails here fails again; a traceback would land in whichever cell runs next.
                _log.debug("the live view stopped", exc_info=True)
                return
            if self._over:
                return

    def _hook(self, name: Literal["register", "unregister"]) -> None:
        """Have `_cell_ended` called whenever a cell ends, or no more."""
        shell = _shell() if self._where == "notebook" else None
        if shell is not None:
            with contextlib.suppress(ValueError):  # it was taken out before
                getattr(shell.events, name)("post_run_cell", self._cell_ended)

    def _cell_ended(self, *_: object) -> None:
        # A notebook that runs without a browser is saved as soon as its last cell ends: what is shown then, stays.
        if self._over:
            self._hook("unregister")
        # A cell does not wait for a store that does not answer.
        elif not self._blind and self._lock.acquire(timeout=0.5):
            try:
                self._look(False)
            except Exception:  # noqa: BLE001  as in `_follow`
                _log.debug("the live view failed at a cell's end", exc_info=True)
            finally:
                self._lock.release()

    def _notebook(self, view: RunView) -> None:
        bundle = mimebundle(view)
        if bundle["text/html"] == self._shown:
            return
        self._shown = bundle["text/html"]
        if self._handle is None:
            self._handle = self._display(bundle)
        else:
            self._handle.update(bundle, raw=True)

    def _terminal(self, view: RunView, *, last: bool) -> None:
        stream = self._stream or sys.stderr
        said = text(view) + "\n" if last else line(view, shutil.get_terminal_size().columns - 1)
        if said == self._shown:
            return
        self._shown = said
        stream.write(f"\r\x1b[2K{said}")
        stream.flush()
