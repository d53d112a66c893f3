"""A store by hand: the chain's steps one after the other, the bytes of each array put there over one connection."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]


class Contestant:
    """Args: variant: "sqlite" (WAL, synchronous=NORMAL, a commit each) or "redis" (`SET`)."""

    def __init__(self, variant: str, folder: Path) -> None:
        self.variant, self.folder = variant, folder

    def kept_arrays(self, n: int) -> Timed:
        def chain(put: Callable[[int, Any], object]) -> float:
            array = f.zeros(f.ARRAY_BYTES)
            for step in range(n):
                array = f.grow(array)
                put(step, array.data)
            return f.first(array)

        if self.variant == "redis":
            import redis

            client = redis.Redis.from_url(os.environ["BENCH_REDIS"])
            yield lambda: chain(lambda step, data: client.set(f"raw{step}", data.cast("B")))
            client.delete(*(f"raw{i}" for i in range(n)))
            return
        path = self.folder / "raw.db"
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("CREATE TABLE packs (key INTEGER PRIMARY KEY, value BLOB)")
        yield lambda: chain(lambda step, data: db.execute("INSERT INTO packs VALUES (?, ?)", (step, data)))
        db.close()
        path.unlink()
