"""Generators that streams take items from, kept by the worker process between bundles. Imports codec only.

A generator cannot travel, so it stays where it was called, and the next bundle goes on with it when it comes to the
same process. On another one it is called again, and the items recorded before are passed over.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from wfnb.store.codec import MISSING

IDLE = 60.0
"""Seconds after which a generator that nobody asks is closed; it can be called again."""

Key: TypeAlias = tuple[str, int, str]
"""A generator: run, epoch, step."""


@dataclass(slots=True, eq=False)
class _Open:
    items: Iterator[Any]
    next: int
    used: float
    busy: bool = False


class Generators:
    """The generators that are open in this process."""

    def __init__(self) -> None:
        self._open: dict[Key, _Open] = {}
        self._lock = threading.Lock()

    def item(self, key: Key, place: int, begin: Callable[[], Any]) -> Any:
        """Return a generator's item, or MISSING when it has none there.

        Args:
            key: which generator.
            place: the item's place, from 0.
            begin: calls the generator function.

        Raises:
            TypeError: what was called gives no items; and whatever the generator raises.
        """
        found = self._take(key, place)
        if found is None:
            made = begin()
            try:
                items = iter(made)
            except TypeError:
                raise TypeError(
                    f"a stream's source gave {made!r:.200}: write it with yield, or return a list"
                ) from None
            found = _Open(items, 0, time.monotonic(), busy=True)
            with self._lock:
                self._open[key] = found
        try:
            while found.next < place:
                next(found.items)
                found.next += 1
            item = next(found.items)
            found.next += 1
        except StopIteration:
            self.close(key)
            return MISSING
        finally:
            found.used, found.busy = time.monotonic(), False
        return item

    def _take(self, key: Key, place: int) -> _Open | None:
        now = time.monotonic()
        with self._lock:
            idle = [one for one, kept in self._open.items() if not kept.busy and now - kept.used > IDLE]
            # Of an earlier driver of the run, or ahead of what is asked: what it gave is to be given again.
            idle += [one for one in self._open if one[0] == key[0] and one[2] == key[2] and one != key]
            found = self._open.get(key)
            if found is not None and found.next > place:
                idle.append(key)
                found = None
            elif found is not None:
                found.busy = True
            closing = [self._open.pop(one) for one in dict.fromkeys(idle) if one in self._open]
        for one in closing:
            _close(one)
        return found

    def close(self, key: Key) -> None:
        """Close a generator: what it does in `finally` is done now."""
        with self._lock:
            found = self._open.pop(key, None)
        if found is not None:
            _close(found)

    def close_run(self, run_id: str) -> None:
        """Close the generators of a run."""
        for key in [one for one in list(self._open) if one[0] == run_id]:
            self.close(key)


def _close(one: _Open) -> None:
    close = getattr(one.items, "close", None)
    if close is not None:
        with contextlib.suppress(Exception):  # nobody is there any more to hear of it
            close()


GENERATORS = Generators()

__all__ = ["GENERATORS", "MISSING", "Generators"]
