"""The one thread a worker process has beside those that run tasks: it looks after the bundles. Imports recorder."""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol

from wfnb.dask.recorder import TICK


class Ticked(Protocol):
    """Something that is to be looked after; a bundle's execution is one."""

    def tick(self, now: float) -> None:
        """Do what is due."""

    def flush(self) -> None:
        """Record what is there."""


class Ticker:
    """The one thread a process that looks after its bundles."""

    def __init__(self) -> None:
        self._active: set[Ticked] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def add(self, execution: Ticked) -> None:
        """Look after something from now on."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive() or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="wfnb-ticker", daemon=True)
                self._thread.start()
            self._active.add(execution)
        self._wake.set()

    def remove(self, execution: Ticked) -> None:
        """Look after it no more."""
        with self._lock:
            self._active.discard(execution)

    def flush(self) -> None:
        """Let all record what is there, as the process is about to end; from this very thread."""
        with self._lock:
            active = list(self._active)
        for execution in active:
            execution.flush()

    def _run(self) -> None:
        idle = 0
        while True:
            with self._lock:
                active = list(self._active)
            if active:
                idle = 0
                now = time.monotonic()
                for execution in active:
                    execution.tick(now)
                # While this thread sleeps they would keep the values of a bundle that has ended.
                del active, execution
            else:
                idle += 1
                if idle > 20:
                    # Asleep until there is work; for a second after it, ticks cost less than being woken.
                    self._wake.clear()
                    with self._lock:
                        waiting = not self._active
                    if waiting:
                        self._wake.wait()
            time.sleep(TICK)


TICKER = Ticker()
