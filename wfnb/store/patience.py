"""How long calls wait for a store that is away: as long as the store says, or less where somebody only looks.

Standard library only. A store that waits asks `shortest`; one that does not has nothing to do here.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

LOOK = 2.0
"""Seconds that who only looks waits for a store that is away."""

_patience: contextvars.ContextVar[float | None] = contextvars.ContextVar("wfnb-patience", default=None)


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """A block in which calls of this thread or coroutine wait no longer for a store that is away.

    Args:
        seconds: how long each call waits at most; a block inside another may only make it shorter.
    """
    token = _patience.set(shortest(seconds))
    try:
        yield
    finally:
        _patience.reset(token)


def shortest(seconds: float) -> float:
    """Return how long to wait: so many seconds, or less where a block around says so."""
    asked = _patience.get()
    return seconds if asked is None else min(seconds, asked)
