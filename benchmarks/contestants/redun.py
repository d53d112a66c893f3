"""redun with two threads and a database file: every call, its value and where it came from are recorded in SQLite."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redun import Scheduler, task
from redun.config import Config

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]
redun_namespace = "bench"


# A call that is known is not made again: `salt` tells measurements and equal calls apart.
@task()
def same(x: int, salt: Any) -> int:  # noqa: ARG001
    return f.same(x)


@task()
def increment(x: int, salt: Any) -> int:  # noqa: ARG001
    return f.increment(x)


@task()
def add(a: int, b: int, c: int, salt: Any) -> int:  # noqa: ARG001
    return f.add(a, b, c)


@task()
def total(xs: list[int], gate: str) -> int:
    return f.total(xs, gate)


@task(cache=False)
def wide(n: int, salt: int) -> Any:
    return [same(x, salt) for x in range(n)]


@task(cache=False)
def chain(n: int, salt: int) -> Any:
    x = 0
    for _ in range(n):
        x = increment(x, salt)
    return x


@task(cache=False)
def layers(n: int, salt: int) -> Any:
    row = [same(1, (salt, i)) for i in range(f.LAYER)]
    for depth, layer in enumerate(f.layer_parents(n)):
        row = [add(*(row[i] for i in parents), (salt, depth, i)) for i, parents in enumerate(layer)]
    return row


@task(cache=False)
def diamond(salt: int) -> Any:
    a = increment(0, (salt, 0))
    return add(*(increment(a, (salt, i)) for i in (1, 2, 3)), salt)


@task(cache=False)
def loop(x: int, n: int, salt: int) -> Any:
    return x if x >= n else loop(increment(x, salt), n, salt)


@task(cache=False)
def flow(x: int, salt: int) -> Any:
    return increment(increment(x, salt), (salt, 1))


@task(cache=False)
def resumed(n: int, gate: str, salt: int) -> Any:
    return total([same(x, salt) for x in range(n)], gate)


class Contestant:
    def __init__(self, _: str, folder: Path) -> None:
        settings = {
            "backend": {"db_uri": f"sqlite:///{folder}/redun.db"},
            "executors.default": {"type": "local", "max_workers": str(f.WORKERS)},
        }
        self.scheduler = Scheduler(config=Config(settings))
        self.scheduler.load()
        logging.disable(logging.WARNING)
        self.scheduler.logger.setLevel(logging.ERROR)
        self.salts = itertools.count()

    def _run(self, task: Any, *args: Any) -> Timed:
        expression = task(*args, next(self.salts))
        yield lambda: self.scheduler.run(expression)

    def wide(self, n: int) -> Timed:
        return self._run(wide, n)

    def chain(self, n: int) -> Timed:
        return self._run(chain, n)

    def layers(self, n: int) -> Timed:
        return self._run(layers, n)

    def diamond(self, _: int) -> Timed:
        return self._run(diamond)

    def loop(self, n: int) -> Timed:
        return self._run(loop, 0, n)

    def flows(self, n: int) -> Timed:
        """One after the other: its scheduler runs one workflow at a time."""
        salt = next(self.salts)
        yield lambda: [self.scheduler.run(flow(x, salt)) for x in range(n)]

    def resume(self, n: int) -> Timed:
        """All elements are known; the workflow is run again and comes to its last step."""
        salt = next(self.salts)
        self.scheduler.run(wide(n, salt))
        yield lambda: self.scheduler.run(resumed(n, "", salt))
