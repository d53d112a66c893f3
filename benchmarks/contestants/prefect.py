"""Prefect on a Dask cluster of our shape: states are kept by its server in SQLite, results and cache keys as files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_HOME", str(Path.cwd() / "prefect"))  # read when it is imported

from distributed import Client, LocalCluster  # noqa: E402
from prefect import flow, task  # noqa: E402
from prefect.cache_policies import INPUTS, TASK_SOURCE  # noqa: E402
from prefect_dask import DaskTaskRunner  # noqa: E402

kept = task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)


# A call that is known is not made again: `salt` tells measurements and equal calls apart.
@kept
def same(x: int, salt: str) -> int:  # noqa: ARG001
    return f.same(x)


@kept
def increment(x: int, salt: str) -> int:  # noqa: ARG001
    return f.increment(x)


@kept
def add(a: int, b: int, c: int, salt: str) -> int:  # noqa: ARG001
    return f.add(a, b, c)


@kept
def total(xs: list[int], gate: str) -> int:
    return f.total(xs, gate)


def wide(n: int, salt: str) -> list[int]:
    return same.map(range(n), salt).result()


def chain(n: int, salt: str) -> int:
    x: Any = 0
    for _ in range(n):
        x = increment.submit(x, salt)
    return x.result()


def layers(n: int, salt: str) -> list[int]:
    row: list[Any] = [same.submit(1, f"{salt} {i}") for i in range(f.LAYER)]
    for depth, layer in enumerate(f.layer_parents(n)):
        row = [add.submit(*(row[i] for i in parents), f"{salt} {depth} {i}") for i, parents in enumerate(layer)]
    return [future.result() for future in row]


def diamond(salt: str) -> int:
    a = increment.submit(0, salt)
    return add.submit(*(increment.submit(a, f"{salt} {i}") for i in range(3)), salt).result()


def loop(n: int, salt: str) -> int:
    x = 0
    while x < n:
        x = increment.submit(x, salt).result()
    return x


def two(x: int, salt: str) -> int:
    return increment.submit(increment.submit(x, salt), f"{salt} 1").result()


def resumed(n: int, gate: str, salt: str) -> int:
    return total.submit(same.map(range(n), salt), gate).result()


class Contestant:
    def __init__(self, _: str, folder: Path) -> None:
        self.cluster = LocalCluster(
            f.WORKERS, threads_per_worker=1, dashboard_address=None, local_directory=folder
        )  # fmt: skip
        self.client = Client(self.cluster)
        self.runner = DaskTaskRunner(address=self.cluster.scheduler_address)
        self.salts = (f"{os.getpid()}.{i}" for i in itertools.count())

    def _flow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return flow(function, task_runner=self.runner)

    def _run(self, function: Callable[..., Any], *args: Any) -> Timed:
        made, salt = self._flow(function), next(self.salts)
        yield lambda: made(*args, salt)

    def wide(self, n: int) -> Timed:
        return self._run(wide, n)

    def chain(self, n: int) -> Timed:
        return self._run(chain, n)

    def layers(self, n: int) -> Timed:
        return self._run(layers, n)

    def diamond(self, _: int) -> Timed:
        return self._run(diamond)

    def loop(self, n: int) -> Timed:
        return self._run(loop, n)

    def flows(self, n: int) -> Timed:
        """One after the other: a call of a flow waits for its value."""
        made, salt = self._flow(two), next(self.salts)
        yield lambda: [made(x, salt) for x in range(n)]

    def resume(self, n: int) -> Timed:
        """All elements are known; the flow is run again and comes to its last step."""
        salt = next(self.salts)
        self._flow(wide)(n, salt)
        made = self._flow(resumed)
        yield lambda: made(n, "", salt)
