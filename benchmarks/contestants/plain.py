"""Plain Python in one process: what the functions themselves cost. Keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]


class Contestant:
    def __init__(self, *_: object) -> None:
        pass

    def wide(self, n: int) -> Timed:
        yield lambda: [f.same(x) for x in range(n)]

    def chain(self, n: int) -> Timed:
        def call() -> int:
            x = 0
            for _ in range(n):
                x = f.increment(x)
            return x

        yield call

    def layers(self, n: int) -> Timed:
        def call() -> list[int]:
            row = [f.same(1) for _ in range(f.LAYER)]
            for layer in f.layer_parents(n):
                row = [f.add(*(row[i] for i in parents)) for parents in layer]
            return row

        yield call

    def diamond(self, _: int) -> Timed:
        def call() -> int:
            a = f.increment(0)
            return f.add(f.increment(a), f.increment(a), f.increment(a))

        yield call

    def loop(self, n: int) -> Timed:
        def call() -> int:
            x = 0
            while x < n:
                x = f.increment(x)
            return x

        yield call

    def flows(self, n: int) -> Timed:
        yield lambda: [f.increment(f.increment(x)) for x in range(n)]

    def arrays(self, n: int) -> Timed:
        def call() -> float:
            array = f.zeros(f.ARRAY_BYTES)
            for _ in range(n):
                array = f.grow(array)
            return f.first(array)

        yield call
