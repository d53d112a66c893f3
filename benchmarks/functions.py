"""The functions that every contestant runs, and the shapes it runs them in. Imports no contestant."""

from __future__ import annotations

import os
import random
import time
from functools import cache
from typing import Any

LAYER, PARENTS = 100, 3
ARRAY_BYTES = 100_000_000
WORKERS = 2
"""Workers that makespans are compared with; every contestant with workers has so many, a thread each."""


def same(x: int) -> int:
    return x


def increment(x: int) -> int:
    return x + 1


def add(a: int, b: int, c: int) -> int:
    return a + b + c


def total(xs: list[int], gate: str) -> int:
    """Return the sum, or fail as long as the file `gate` is there: the step that a resumed run has left to do."""
    if os.path.exists(gate):
        raise RuntimeError("the last step fails, as it is meant to")
    return sum(xs)


def work(seconds: float, parents: list[int]) -> int:
    """Take some time; the value is how deep in the DAG the task is. It sleeps, so that cores are no limit."""
    time.sleep(seconds)
    return 1 + max(parents, default=0)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def zeros(size: int) -> Any:
    import numpy as np

    return np.zeros(size // 8)


def grow(array: Any) -> Any:
    return array + 1.0


def first(array: Any) -> float:
    return float(array[0])


@cache
def layer_parents(n: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Each task's three parents in the layer before, for every layer of `n` tasks but the first."""
    rng = random.Random(7)
    return tuple(tuple(tuple(rng.sample(range(LAYER), PARENTS)) for _ in range(LAYER)) for _ in range(n // LAYER - 1))


@cache
def montage(n: int) -> tuple[tuple[float, tuple[int, ...]], ...]:
    """A DAG shaped as Montage's mosaics of the sky are: about `n` tasks, each with its seconds and its parents.

    Pictures are projected, neighbours compared, a model fitted to all differences, every picture corrected by it, and
    the mosaic made of all. Seconds are log-normal, 5 ms in the mean.
    """
    rng = random.Random(11)
    pictures = max(n // 5, 4)

    def seconds() -> float:
        return min(rng.lognormvariate(-5.42, 0.5), 0.05)

    tasks: list[tuple[float, tuple[int, ...]]] = [(seconds(), ()) for _ in range(pictures)]
    for _ in range(3 * pictures):
        one = rng.randrange(pictures)
        tasks.append((seconds(), (one, (one + rng.randint(1, 3)) % pictures)))
    tasks.append((seconds(), tuple(range(pictures, 4 * pictures))))
    model = len(tasks)
    tasks.append((seconds(), (model - 1,)))
    tasks += [(seconds(), (picture, model)) for picture in range(pictures)]
    tasks.append((seconds(), tuple(range(model + 1, model + 1 + pictures))))
    return tuple(tasks)


@cache
def even_naps(n: int) -> tuple[float, ...]:
    """Seconds of `n` tasks of 100 ms, each up to half as much more or less."""
    rng = random.Random(13)
    return tuple(rng.uniform(0.05, 0.15) for _ in range(n))


@cache
def mixed_naps(n: int) -> tuple[float, ...]:
    """Seconds of `n` tasks of 1 ms with one of 1 s among every 500, in random order."""
    naps = [0.001] * n + [1.0] * (n // 500)
    random.Random(17).shuffle(naps)
    return tuple(naps)
