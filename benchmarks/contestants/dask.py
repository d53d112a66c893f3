"""Dask by hand: `client.map`, `client.submit` and `dask.delayed`. Keeps nothing but results in workers' memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster

from benchmarks import functions as f
from wfnb.dask.local import default_shape

Timed = Iterator[Callable[[], Any]]


class Contestant:
    """Args: variant: the value of `distributed.scheduler.worker-saturation`, or "" for Dask's own."""

    def __init__(self, variant: str, folder: Path) -> None:
        if variant:
            dask.config.set({"distributed.scheduler.worker-saturation": variant})
        processes, threads = default_shape()
        cluster = LocalCluster(processes, threads_per_worker=threads, dashboard_address=None, local_directory=folder)
        self.client = Client(cluster)

    def wide(self, n: int) -> Timed:
        yield lambda: self._map(f.same, range(n))

    def _map(self, function: Callable[..., Any], over: Any) -> list[Any]:
        return self.client.gather(self.client.map(function, over, pure=False))

    def _submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False)

    def chain(self, n: int) -> Timed:
        def call() -> int:
            x = 0
            for _ in range(n):
                x = self._submit(f.increment, x)
            return x.result()

        yield call

    def layers(self, n: int) -> Timed:
        def call() -> list[int]:
            same, add = dask.delayed(f.same, pure=False), dask.delayed(f.add, pure=False)
            row = [same(1) for _ in range(f.LAYER)]
            for layer in f.layer_parents(n):
                row = [add(*(row[i] for i in parents)) for parents in layer]
            return list(dask.compute(*row))

        yield call

    def diamond(self, _: int) -> Timed:
        def call() -> int:
            a = self._submit(f.increment, 0)
            return self._submit(f.add, *(self._submit(f.increment, a) for _ in range(3))).result()

        yield call

    def loop(self, n: int) -> Timed:
        def call() -> int:
            x = 0
            while x < n:
                x = self._submit(f.increment, x).result()
            return x

        yield call

    def flows(self, n: int) -> Timed:
        yield lambda: self.client.gather([self._submit(f.increment, self._submit(f.increment, x)) for x in range(n)])

    def arrays(self, n: int) -> Timed:
        def call() -> float:
            array = self._submit(f.zeros, f.ARRAY_BYTES)
            for _ in range(n):
                array = self._submit(f.grow, array)
            return self._submit(f.first, array).result()

        yield call

    def dag(self, n: int) -> Timed:
        def call() -> int:
            work, tasks = dask.delayed(f.work, pure=False), []
            for seconds, parents in f.montage(n):
                tasks.append(work(seconds, [tasks[i] for i in parents]))
            return tasks[-1].compute()

        yield call

    def even(self, n: int) -> Timed:
        yield lambda: self._map(f.nap, f.even_naps(n))

    def mixed(self, n: int) -> Timed:
        yield lambda: self._map(f.nap, f.mixed_naps(n))
