"""Cuts the frames of a big pack into parts a database takes, and puts them together again. Imports the contract only.

The parts one after the other are the frames one after the other; where one frame ends need not be where a part ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wfnb.store.base import Frame, Frames

_SMALL = 1024 * 1024  # frames below this many bytes share a part, at the price of a copy


def split(frames: Frames, chunk_bytes: int) -> Iterator[Frame]:
    """Yield the parts of a pack, none longer than `chunk_bytes`; big frames are cut without a copy."""
    small = min(_SMALL, chunk_bytes)
    pending: list[Frame] = []
    room = small
    for frame in frames:
        view = memoryview(frame)
        if len(view) > room and pending:
            yield pending[0] if len(pending) == 1 else b"".join(pending)
            pending, room = [], small
        if len(view) >= small:
            for start in range(0, len(view), chunk_bytes):
                yield view[start : start + chunk_bytes]
        elif len(view):
            pending.append(frame)
            room -= len(view)
    if pending:
        yield pending[0] if len(pending) == 1 else b"".join(pending)


def _memory(size: int) -> Frame:
    """Return memory to be filled; numpy's is not filled with zeros first, which for much takes as long as receiving."""
    if size < _SMALL or "numpy" not in sys.modules:
        return bytearray(size)
    import numpy as np

    empty: Any = np.empty(size, np.uint8)
    return memoryview(empty)


class Room:
    """Frames of given lengths, to be filled from the first byte to the last.

    Attributes:
        frames: the frames, which can be written to.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.frames: list[Frame] = [_memory(size) for size in sizes]
        self._left = [memoryview(frame) for frame in reversed(self.frames) if len(frame)]

    def views(self, count: int) -> Iterator[memoryview]:
        """Yield the memory of the next bytes, which is to be filled at once.

        Raises:
            EOFError: there is no room for so many.
        """
        while count:
            if not self._left:
                raise EOFError(f"there are {count} bytes too many")
            view = self._left.pop()
            if len(view) > count:
                self._left.append(view[count:])
                view = view[:count]
            count -= len(view)
            yield view

    def check(self) -> None:
        """Raise EOFError when not all is filled."""
        if missing := sum(map(len, self._left)):
            raise EOFError(f"{missing} bytes of {sum(map(len, self.frames))} are missing")


def join(sizes: Sequence[int], parts: Iterable[bytes]) -> list[Frame]:
    """Return frames of the given lengths, which can be written to, from the parts in order.

    Raises:
        EOFError: the parts are not as long as the frames.
    """
    room = Room(sizes)
    for part in parts:
        rest = memoryview(part)
        for view in room.views(len(part)):
            view[:] = rest[: len(view)]
            rest = rest[len(view) :]
    room.check()
    return room.frames
