"""Daemon threads that are used again: to start one takes longer than much of what they do. Imports nothing of wfnb."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from collections.abc import Callable

REST = 5.0
"""Seconds a thread without work waits for more."""


class Crew:
    """Runs functions, each in a thread of its own as long as it takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._todo: queue.SimpleQueue[tuple[Callable[[], object], str]] = queue.SimpleQueue()
        self._free = 0  # threads that wait for work, less the work that waits for them

    def run(self, work: Callable[[], object], name: str) -> None:
        """Run a function in a thread, which has this name meanwhile."""
        with self._lock:
            if self._pid != os.getpid():
                self._begin()  # a fork has none of its parent's threads
            if self._free:
                self._free -= 1
                self._todo.put((work, name))
                return
        threading.Thread(target=self._work, args=(work, name), name=name, daemon=True).start()

    def _work(self, work: Callable[[], object], name: str) -> None:
        while True:
            threading.current_thread().name = name
            contextvars.Context().run(work)  # what it sets is its own, as in a new thread
            del work  # what it holds is not to stay while this waits
            with self._lock:
                self._free += 1
            try:
                work, name = self._todo.get(timeout=REST)
            except queue.Empty:
                with self._lock:
                    if self._free:
                        self._free -= 1
                        return
                work, name = self._todo.get()  # promised just now


CREW = Crew()
