"""What was acknowledged when, and what ran when: from a run's journal and from the log its tasks write."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from wfnb.model.events import CACHED, COMPLETED, FAILED, Outcomes, decode_event
from wfnb.store.base import Store

Attempt = tuple[str, int, int]
"""A step's id, an element, an attempt."""


def outcomes(store: Store, run_id: str) -> Counter[Attempt]:
    """Return how many outcomes the journal holds of each attempt."""
    found: Counter[Attempt] = Counter()
    for entry in store.read(run_id):
        event = decode_event(entry.data, skip=b"LR")
        if isinstance(event, Outcomes):
            for column in event.columns:
                for place, status in enumerate(column.status):
                    if status in (COMPLETED, CACHED, FAILED):
                        found[column.step, column.lo + place, column.attempt] += 1
    return found


def _lines(attempt: Attempt) -> tuple[str, str]:
    """Return the lines an attempt may have in the log: its address is written in one of two ways."""
    step, element, number = attempt
    address = step.replace("[]", f"[{element}]", 1) if "[]" in step else f"{step}[{element}]"
    return f"{address} {number}", f"{step} {number}"


class Ledger:
    """Remembers, at moments, what is acknowledged, to compare it with what runs afterwards.

    Args:
        store: where the run is.
        run_id: the run; there may be none yet.
        log: where its tasks note that they begin.
    """

    def __init__(self, store: Store, run_id: str, log: Path) -> None:
        self.store, self.run_id, self.log = store, run_id, log
        self._moments: list[tuple[frozenset[Attempt], int]] = []
        self._lock = threading.Lock()

    def look(self) -> None:
        """Remember what is acknowledged now."""
        with self._lock:
            done = frozenset(outcomes(self.store, self.run_id))
            # In this order: whatever is acknowledged began before this place in the log.
            self._moments.append((done, len(self.begun())))

    def begun(self) -> list[str]:
        """Return which bodies began, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def repeated(self) -> set[str]:
        """Return the attempts that ran again after they had been acknowledged."""
        lines = self.begun()
        found: set[str] = set()
        for done, place in self._moments:
            found |= {line for attempt in done for line in _lines(attempt)} & set(lines[place:])
        return found

    def lost(self) -> set[Attempt]:
        """Return the attempts whose outcome was acknowledged once and is not in the journal any more."""
        now = outcomes(self.store, self.run_id)
        return {attempt for done, _ in self._moments for attempt in done if attempt not in now}

    def recorded(self) -> int:
        """Return how many attempts have an outcome."""
        return len(outcomes(self.store, self.run_id))

    def doubled(self) -> set[Attempt]:
        """Return the attempts the journal holds several outcomes of."""
        return {attempt for attempt, count in outcomes(self.store, self.run_id).items() if count > 1}
