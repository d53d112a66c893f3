"""Stopping a task that runs: by its token, then by an exception in its thread, then by the end of its process.

A bundle's thread calls its tasks through a `Guard`, and the ticker stops them through it: a task, and only a task,
never while something is being recorded. Imports signals.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from wfnb.dask import signals
from wfnb.model.errors import TaskTimeout
from wfnb.model.lifecycle import COROUTINES

GRACE = 2.0
"""Seconds a task may go on after its deadline before its worker process is ended."""
STOP_GRACE = 1.0
"""Seconds a task may go on after it was told to stop before its worker process is ended."""
TOKEN_GRACE = 0.5
"""Seconds a task that looks at its token has to end by itself."""
LATELY = 2.0
"""Seconds for which a task that looked at its token counts as one that looks."""
INSIST_EVERY = 0.5
"""Seconds between two attempts to stop a task, so that what it does in ``finally`` is not stopped as well."""


class Deadline(BaseException):
    """Raised in a task's thread when its time is up."""


class Stop(BaseException):
    """Raised in a bundle's thread when it must not go on."""


class Guard:
    """Runs the calls of this thread so that another can stop them.

    Args:
        run_id: the run, for errors.

    Attributes:
        stopping: why the bundle must not go on, or None.
    """

    def __init__(self, run_id: str) -> None:
        self.stopping: BaseException | None = None
        self._run_id = run_id
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._interruptible = self._expired = False
        self._stopped = self._signalled = self._looked = 0.0
        self._sent = self._told = False

    # -- in the task's thread ------------------------------------------------------------------------------------

    def call(self, timeout: float | None, function: Callable[[], Any]) -> Any:
        """Call a function so that it can be stopped.

        Args:
            timeout: seconds it may take, or None.
            function: what to call.

        Raises:
            Stop: the bundle must not go on.
            TaskTimeout: its time is up; and whatever the function raises.
        """
        self._expired = self._sent = self._told = False
        self._looked = 0.0
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
        try:
            try:
                self._interruptible = True
                return function()
            finally:
                self._leave(timeout)
        except (Deadline, Stop):
            self._leave(timeout)  # it came between the task and the way out; this says what it meant
            raise

    def _leave(self, timeout: float | None) -> None:
        taken_back = False
        while True:
            try:
                with self._lock:
                    # The ticker cannot look while C code holds the interpreter.
                    self._expired |= self._deadline is not None and time.monotonic() > self._deadline
                    self._interruptible, self._deadline = False, None
                    if self._signalled:
                        # A signal still on its way must not arrive in what comes after the task.
                        signals.take_back(self._thread)
                        self._signalled, taken_back = 0.0, True
                break
            except (Deadline, Stop):
                continue  # it arrived here: the flags below say what it meant
        if taken_back:
            signals.settle(self._thread)
        if self.stopping is not None:
            raise Stop
        if self._expired and timeout is not None:
            text = f"it ran longer than its timeout of {timeout:g} s"
            raise TaskTimeout(text, run_id=self._run_id) from None

    def cancelled(self) -> bool:
        """Return whether the running task is to stop; this is its token."""
        self._looked = time.monotonic()
        deadline = self._deadline
        asked = self.stopping is not None or (deadline is not None and self._looked > deadline)
        self._told |= asked
        return asked

    @property
    def how(self) -> str:
        """What stopped the last call: "token", "exception", or "" when it was not stopped or ended by itself."""
        if self.stopping is None and not self._expired:
            return ""
        return "exception" if self._sent else "token" if self._told else ""

    # -- in the ticker's -----------------------------------------------------------------------------------------

    def stop(self, error: BaseException) -> None:
        """Say that the bundle must not go on, and why."""
        with self._lock:
            if self.stopping is None:
                self.stopping, self._stopped = error, time.monotonic()
            self._signal(Stop, self._stopped)

    def check(self, end: Callable[[], None]) -> None:
        """Do what is due to stop the task.

        Args:
            end: ends the process, if it can; while it is called, the task does not come out of its call.
        """
        with self._lock:
            now = time.monotonic()
            if self.stopping is not None:
                if self._interruptible and now - self._stopped > STOP_GRACE:
                    end()
                self._signal(Stop, self._stopped)
            elif self._deadline is not None and now > self._deadline:
                self._expired = True
                self._signal(Deadline, self._deadline)
                if now - self._deadline > GRACE:
                    end()

    def _signal(self, signal: type[BaseException], since: float) -> None:
        """Stop the thread if it is in a task: by an exception there; the lock is held."""
        now = time.monotonic()
        if not self._interruptible or now - self._signalled < INSIST_EVERY:
            return
        if now - since < TOKEN_GRACE and now - self._looked < LATELY:
            return  # it looks at its token, and may end by itself
        again, self._signalled = bool(self._signalled), now
        self._sent = True
        cancel = COROUTINES.get(self._thread)
        if cancel is not None:
            with contextlib.suppress(RuntimeError):  # its loop has just been closed
                cancel()
        if cancel is None or again:
            signals.send(self._thread, signal)
