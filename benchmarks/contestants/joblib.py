"""joblib: `Memory` keeps a value and its arguments in files; `Parallel` maps over processes and keeps nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from joblib import Memory, Parallel, delayed

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]


class Contestant:
    """Args: variant: "memory" or "parallel"."""

    def __init__(self, variant: str, folder: Path) -> None:
        self.cache = folder / "cache"
        self.processes = Parallel(n_jobs=f.WORKERS).__enter__() if variant == "parallel" else None

    def _cached(self, *functions: Callable[..., Any]) -> list[Callable[..., Any]]:
        """Return functions that remember, and have nothing to remember yet."""
        shutil.rmtree(self.cache, ignore_errors=True)
        memory = Memory(self.cache, verbose=0)
        return [memory.cache(function) for function in functions]

    def wide(self, n: int) -> Timed:
        if self.processes is not None:
            yield lambda: self._map(f.same, range(n))
            return
        (same,) = self._cached(f.same)
        yield lambda: [same(x) for x in range(n)]

    def _map(self, function: Callable[..., Any], over: Any) -> list[Any]:
        assert self.processes is not None
        return self.processes(delayed(function)(x) for x in over)

    def chain(self, n: int) -> Timed:
        (increment,) = self._cached(f.increment)

        def call() -> int:
            x = 0
            for _ in range(n):
                x = increment(x)
            return x

        yield call

    def layers(self, n: int) -> Timed:
        # Equal calls would be answered from what was kept: tasks are told apart by their place.
        def same(x: int, place: int) -> int:  # noqa: ARG001
            return f.same(x)

        def add(a: int, b: int, c: int, place: tuple[int, int]) -> int:  # noqa: ARG001
            return f.add(a, b, c)

        same, add = self._cached(same, add)

        def call() -> list[int]:
            row = [same(1, i) for i in range(f.LAYER)]
            for depth, layer in enumerate(f.layer_parents(n)):
                row = [add(*(row[i] for i in parents), (depth, i)) for i, parents in enumerate(layer)]
            return row

        yield call

    def diamond(self, _: int) -> Timed:
        def increment(x: int, place: int) -> int:  # noqa: ARG001
            return f.increment(x)

        increment, add = self._cached(increment, f.add)

        def call() -> int:
            a = increment(0, 0)
            return add(increment(a, 1), increment(a, 2), increment(a, 3))

        yield call

    def loop(self, n: int) -> Timed:
        (increment,) = self._cached(f.increment)

        def call() -> int:
            x = 0
            while x < n:
                x = increment(x)
            return x

        yield call

    def resume(self, n: int) -> Timed:
        """All elements are known; the program is run again and comes to its last step."""
        same, total = self._cached(f.same, f.total)
        for x in range(n):
            same(x)
        yield lambda: total([same(x) for x in range(n)], "")

    def kept_arrays(self, n: int) -> Timed:
        zeros, grow = self._cached(f.zeros, f.grow)

        def call() -> float:
            array = zeros(f.ARRAY_BYTES)
            for _ in range(n):
                array = grow(array)
            return f.first(array)

        yield call
        shutil.rmtree(self.cache)

    def even(self, n: int) -> Timed:
        yield lambda: self._map(f.nap, f.even_naps(n))

    def mixed(self, n: int) -> Timed:
        yield lambda: self._map(f.nap, f.mixed_naps(n))
