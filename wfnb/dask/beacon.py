"""What a worker process is doing, for others on its machine to read also while it cannot answer. Standard library only.

C code that holds the interpreter stops every thread of its process, the one that would stop it too. So each bundle says
in memory shared through a file what it is at: that costs a microsecond a task, and is there when the process is not.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

_SLOT = struct.Struct("<16siiidd")
_SLOTS = 64
NAME = "wfnb-beacon"
"""The file's name in a worker's own folder."""


@dataclass(frozen=True, slots=True)
class Busy:
    """What a bundle is at.

    Args:
        step: the step's number.
        element: the element.
        attempt: the attempt.
        start: when it began, seconds since the epoch.
        deadline: when its time is up, likewise, or 0.0.
    """

    step: int
    element: int
    attempt: int
    start: float
    deadline: float


def name_of(run_id: str, bundle: str) -> bytes:
    """Return the name of a bundle, of whatever run, in 16 bytes."""
    return hashlib.blake2b(f"{run_id}\n{bundle}".encode(), digest_size=16).digest()


class Beacon:
    """The shared memory of one process.

    Args:
        folder: the worker's own folder.
    """

    def __init__(self, folder: Path) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._free = list(range(_SLOTS))
        with (folder / NAME).open("wb+") as file:
            file.truncate(_SLOT.size * _SLOTS)
            self._memory = mmap.mmap(file.fileno(), _SLOT.size * _SLOTS)

    def take(self) -> int:
        """Return a place in it, or -1 when all are taken."""
        with self._lock:
            return self._free.pop() if self._free else -1

    def say(self, place: int, bundle: bytes, *at: float) -> None:
        """Say what a bundle is at: the fields of `Busy`, in their order."""
        if place >= 0:
            _SLOT.pack_into(self._memory, place * _SLOT.size, bundle, *at)

    def free(self, place: int) -> None:
        """Give a place back."""
        if place >= 0:
            _SLOT.pack_into(self._memory, place * _SLOT.size, bytes(16), 0, 0, 0, 0.0, 0.0)
            with self._lock:
                self._free.append(place)


def read(folder: Path) -> dict[bytes, Busy]:
    """Return what the bundles of a process are at, by name; nothing where no bundle ever ran."""
    try:
        data = (folder / NAME).read_bytes()
    except OSError:
        return {}
    whole = data[: len(data) // _SLOT.size * _SLOT.size]
    return {row[0]: Busy(*row[1:]) for row in _SLOT.iter_unpack(whole) if any(row[0])}
