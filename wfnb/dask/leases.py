"""Keeps the leases of drivers that take long; most runs are over before theirs is to be renewed. Imports threads."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import Protocol

from wfnb.dask.threads import CREW

LEASE = 10.0
"""Seconds after which a driver that does not renew its lease counts as dead."""
EVERY = LEASE / 3
"""Seconds between renewals."""


class Leaseholder(Protocol):
    """Who has a lease; a driver is one."""

    def keep_lease(self) -> None:
        """Renew it until it is not needed any more."""


class Leases:
    """Lets each holder renew its lease in a thread of its own from the first time that this is due."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._due: deque[tuple[float, weakref.ref[Leaseholder]]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, holder: Leaseholder) -> None:
        """Look after somebody's lease, which was just taken, for as long as the holder is there."""
        with self._lock:
            self._due.append((time.monotonic() + self._every, weakref.ref(holder)))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="wfnb-leases", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._due:
                    self._thread = None
                    return
                due, reference = self._due[0]
            time.sleep(max(0.0, due - time.monotonic()))
            self._due.popleft()
            if (holder := reference()) is not None:
                CREW.run(holder.keep_lease, "wfnb-lease")
            del holder


LEASES = Leases()
