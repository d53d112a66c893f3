"""What is measured: each workload's size, what its value must be, and the unit it is told in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import functions as f

COLD, COLD_WARM = "cold", "cold-warm"


@dataclass(frozen=True)
class Workload:
    """A workload.

    Args:
        name: what `--only` takes.
        title: what the table says; `{n:,}` stands for its size.
        method: the contestants' method that does it.
        n: its size where a contestant has no smaller one.
        unit: what one figure is: "µs/task", "ms/step", "ms", "s" or "x ideal".
        answer: the value that every contestant must return, of n.
        tasks: how many tasks the time is divided by, of n.
        ideal: the seconds that the work itself takes on two workers, of n.
        most: measured runs at most, for what takes long.
        warm: the size of the run before the first that counts, where it is not n.
        full: whether it is only run with `--full`.
    """

    name: str
    title: str
    method: str
    n: int
    unit: str
    answer: Callable[[int], Any]
    tasks: Callable[[int], int] = lambda n: n
    ideal: Callable[[int], float] | None = None
    most: int = 100
    warm: int | None = None
    full: bool = False

    def figure(self, seconds: float, n: int) -> float:
        """Return a time as the workload's figure; less is better."""
        if self.ideal is not None:
            return seconds / self.ideal(n)
        scale = {"µs": 1e6, "ms": 1e3, "s": 1.0}[self.unit.partition("/")[0]]
        return seconds * scale / (self.tasks(n) if "/" in self.unit else 1)


def digest(value: Any) -> str:
    """Return a short text that is equal for equal values, whatever list-like type they are in."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    plain = list(plain) if isinstance(plain, (tuple, range)) else plain
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _layers(n: int) -> list[int]:
    row = [1] * f.LAYER
    for layer in f.layer_parents(n):
        row = [sum(row[i] for i in parents) for parents in layer]
    return row


def _depth(n: int) -> int:
    depths: list[int] = []
    for _, parents in f.montage(n):
        depths.append(1 + max((depths[i] for i in parents), default=0))
    return depths[-1]


def _share(seconds: tuple[float, ...]) -> float:
    return sum(seconds) / f.WORKERS


def _montage_ideal(n: int) -> float:
    return _share(tuple(seconds for seconds, _ in f.montage(n)))


ALL = (
    Workload("wide", "map of {n:,} no-ops", "wide", 10_000, "µs/element", range),
    Workload("wide-100k", "map of {n:,} no-ops", "wide", 100_000, "µs/element", range, most=3),
    Workload("wide-1m", "map of {n:,} no-ops", "wide", 1_000_000, "µs/element", range, most=1, warm=1000, full=True),
    Workload("chain", "chain of {n:,} steps", "chain", 1_000, "µs/step", lambda n: n),
    Workload("layers", "layers of 100, three parents each, {n:,} steps", "layers", 1_000, "µs/step", _layers),
    Workload("diamond", "diamond of 5 steps, warm", "diamond", 5, "ms", lambda _: 6),
    Workload("loop", "loop of {n:,} iterations until a condition", "loop", 1_000, "µs/iteration", lambda n: n),
    Workload("flows", "{n:,} workflows of two steps at once", "flows", 1_000, "ms/workflow",
             lambda n: range(2, n + 2), most=2, warm=50),
    Workload("resume", "resume of {n:,} finished elements", "resume", 100_000, "µs/element",
             lambda n: sum(range(n)), most=3),
    Workload("arrays", "{n:,} steps hand on a 100 MB array, nothing kept", "arrays", 20, "ms/step",
             float, most=3),
    Workload("kept-arrays", "{n:,} steps hand on a 100 MB array, each kept", "kept_arrays", 20, "ms/step",
             float, most=2, warm=2),
    Workload("dag", "DAG shaped as Montage, {n:,} tasks of 5 ms", "dag", 5_000, "x ideal", _depth,
             ideal=_montage_ideal, most=2, warm=50),
    Workload("even", "{n:,} tasks of 100 ms ± 50 %", "even", 200, "x ideal",
             f.even_naps, ideal=lambda n: _share(f.even_naps(n)), most=2, warm=4),
    Workload("mixed", "{n:,} tasks of 1 ms, 20 of 1 s", "mixed", 10_000, "x ideal",
             f.mixed_naps, ideal=lambda n: _share(f.mixed_naps(n)), most=2, warm=100),
    Workload(COLD, "first value of a fresh process, nothing running", COLD, 5, "s", lambda _: 6, most=2),
    Workload(COLD_WARM, "first value of a fresh process, shared cluster there", COLD_WARM, 5, "s", lambda _: 6),
    Workload("import", "import", "import_", 1, "ms", lambda _: None),
)  # fmt: skip
BY_NAME = {workload.name: workload for workload in ALL}
