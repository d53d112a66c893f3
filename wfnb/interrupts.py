"""Jupyter's stop button, and Ctrl-C, while somebody waits for a run. Imports nothing of wfnb.

The first press ends the wait, never the run. Between cells a kernel ignores the button; for `PATIENCE` seconds after a
first press it does not: a second one then cancels the run. Outside a Jupyter kernel there is the first press only.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Protocol

PATIENCE = 10.0
"""Seconds after a first press in which a second one cancels the run."""
_SETTLE = 30.0
"""Seconds in which a run that is being cancelled is looked at, to say how it ended."""


class Waited(Protocol):
    """What is waited for: a run."""

    id: str

    @property
    def status(self) -> str:
        """The run's status."""

    @property
    def ended(self) -> bool:
        """Whether it is over."""

    def cancel(self) -> None:
        """Stop it."""


class Detaching:
    """A block that waits for a run: a press of the stop button ends it with a KeyboardInterrupt that says what next.

    Args:
        run: the run.
    """

    def __init__(self, run: Waited) -> None:
        self._run = run

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: TracebackType | None) -> None:
        __tracebackhide__ = True
        # One with a text comes from a block like this one further in.
        if isinstance(error, KeyboardInterrupt) and not error.args:
            raise KeyboardInterrupt(_pressed(self._run)) from None


class DetachingAwait:
    """The same for a coroutine, which the stop button cancels: its CancelledError says what next.

    Args:
        run: the run.
    """

    def __init__(self, run: Waited) -> None:
        self._run = run
        self._pressed = False
        self._before: Any = None
        self._ours: Callable[[int, FrameType | None], None] | None = None

    def __enter__(self) -> None:
        if _kernel() is None:
            return
        # Others cancel coroutines too, for other reasons: only the signal tells that it was the button.
        before = signal.getsignal(signal.SIGINT)
        if callable(before):

            def note(number: int, frame: FrameType | None) -> None:
                self._pressed = True
                before(number, frame)

            self._ours = note
            self._before = signal.signal(signal.SIGINT, note)

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: TracebackType | None) -> None:
        __tracebackhide__ = True
        if self._ours is not None and signal.getsignal(signal.SIGINT) is self._ours:
            signal.signal(signal.SIGINT, self._before)
        if self._pressed and isinstance(error, asyncio.CancelledError | KeyboardInterrupt) and not error.args:
            raise type(error)(_pressed(self._run)) from None


def _pressed(run: Waited) -> str:
    """Do what a press means for a run, and return what is to be said."""
    global _armed
    last, _armed = _armed, None
    if last is not None:
        if last.run.id == run.id and not last.late:
            run.cancel()
            last.follow()
            return f"the stop button was pressed twice: run '{run.id}' is being cancelled"
        last.expire()
    if run.ended:
        return f"stopped; run '{run.id}' is {run.status}, and wf.get_run('{run.id}').result() has its value or error"
    _armed = _Armed.begun(run)
    again = f", or press stop again within {PATIENCE:g} s" if _armed is not None else ""
    return (
        f"stopped waiting; run '{run.id}' goes on. To watch it: wf.get_run('{run.id}'). "
        f"To cancel it: wf.get_run('{run.id}').cancel(){again}"
    )


def _kernel() -> Any:
    """Return the Jupyter kernel whose main thread this is, or None."""
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython is not None else None
    return kernel if threading.current_thread() is threading.main_thread() else None


class _Armed:
    """A kernel that waits for a second press.

    ipykernel puts the handler it keeps as ``saved_sigint_handler`` in place when a message was handled, and keeps the
    one it finds there when the next comes. So ours put there is in place between cells, and never while a cell runs.

    Args:
        run: what a second press cancels.
        kernel: the kernel, in a cell.
        show: changes what the cell shows.
    """

    def __init__(self, run: Waited, kernel: Any, show: Callable[[str], None]) -> None:
        self.run = run
        self._kernel = kernel
        self._show = show
        self._until = time.monotonic() + PATIENCE
        self._spent = False
        self._before = kernel.saved_sigint_handler
        self._handler = self._second  # one object: bound methods are made anew each time
        kernel.saved_sigint_handler = self._handler
        with contextlib.suppress(RuntimeError):  # without a loop it stays, and passes on what comes too late
            asyncio.get_running_loop().call_later(PATIENCE, self.expire)

    @classmethod
    def begun(cls, run: Waited) -> _Armed | None:
        """Arm the kernel; None where there is none that can be."""
        kernel = _kernel()
        if getattr(kernel, "saved_sigint_handler", None) is None:
            return None
        from IPython.display import display

        again = f"run '{run.id}' goes on. Press stop again within {PATIENCE:g} s to cancel it."
        shown: Any = display({"text/plain": f"Stopped waiting; {again}"}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        # An update goes to this cell, from whichever thread and whenever it comes.
        return cls(run, kernel, lambda text: shown.update({"text/plain": text}, raw=True))

    @property
    def late(self) -> bool:
        """Whether a press would come too late."""
        return self._spent or time.monotonic() > self._until

    def disarm(self) -> None:
        """Put the handler back that was there before, unless somebody has put another one there meanwhile."""
        if self._kernel.saved_sigint_handler is self._handler:
            self._kernel.saved_sigint_handler = self._before
        if signal.getsignal(signal.SIGINT) is self._handler:
            signal.signal(signal.SIGINT, self._before)

    def _second(self, number: int, frame: FrameType | None) -> None:
        late = self.late
        self.disarm()
        if not late:
            self._spent = True
            # The store may take its time, and the handler came in the middle of something.
            threading.Thread(target=self._cancel, name="wfnb-second-press", daemon=True).start()
        elif callable(self._before):
            self._before(number, frame)

    def expire(self) -> None:
        """Wait no longer, and say so."""
        if not self._spent:
            self._spent = True
            self.disarm()
            # A store that is away is not to keep the kernel from its next cell.
            threading.Thread(target=self._say_where_it_is, name="wfnb-second-press", daemon=True).start()

    def _say_where_it_is(self) -> None:
        name = f"run '{self.run.id}'"
        goes_on = f"Stopped waiting; {name} goes on. wf.get_run('{self.run.id}').cancel() cancels it."
        try:
            self._show(f"Stopped waiting; {name} is {self.run.status}." if self.run.ended else goes_on)
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise it to, and the cell is there to say it
            self._show(f"{goes_on} The store does not say how it is now: {error}")

    def follow(self) -> None:
        """Wait no longer; show how the run ends, which was cancelled in another cell."""
        self._spent = True
        self.disarm()
        threading.Thread(target=self._settle, name="wfnb-second-press", daemon=True).start()

    def _cancel(self) -> None:
        try:
            if not self.run.ended:
                self.run.cancel()
        except Exception as error:  # noqa: BLE001  as above
            self._show(f"Stopped twice, but run '{self.run.id}' could not be cancelled: {error}")
            return
        self._settle()

    def _settle(self) -> None:
        name = f"run '{self.run.id}'"
        self._show(f"Stopped twice; {name} is being cancelled.")
        until = time.monotonic() + _SETTLE
        try:
            while not self.run.ended:
                if time.monotonic() > until:
                    return
                time.sleep(0.1)
            self._show(f"Stopped twice; {name} is {self.run.status}.")
        except Exception as error:  # noqa: BLE001  as above
            self._show(f"Stopped twice; {name} is being cancelled, but the store does not say how it ended: {error}")


_armed: _Armed | None = None
