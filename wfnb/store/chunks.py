"""Cuts the frames of a big pack into parts a database takes, and puts them together again. Imports the contract only.

The parts one after the other are the frames one after the other; where one frame ends need not be where a part ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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


def join(sizes: Sequence[int], parts: Iterable[bytes]) -> list[Frame]:
    """Return frames of the given lengths, as bytearrays, from the parts in order.

    Raises:
        EOFError: the parts end before the frames do.
    """
    source = iter(parts)
    rest = memoryview(b"")
    frames: list[Frame] = []
    for size in sizes:
        frame = bytearray(size)
        view = memoryview(frame)
        while len(view):
            if not len(rest):
                part = next(source, None)
                if part is None:
                    raise EOFError(f"{len(view)} bytes of {sum(sizes)} are missing")
                rest = memoryview(part)
            count = min(len(view), len(rest))
            view[:count] = rest[:count]
            view, rest = view[count:], rest[count:]
        frames.append(frame)
    return frames
