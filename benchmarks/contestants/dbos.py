"""DBOS with SQLite: the value of each step is committed before the next begins. Steps run in this process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]

same, increment, add, total = (DBOS.step()(function) for function in (f.same, f.increment, f.add, f.total))


@DBOS.workflow()
def wide(n: int) -> list[int]:
    return [same(x) for x in range(n)]


@DBOS.workflow()
def chain(n: int) -> int:
    x = 0
    for _ in range(n):
        x = increment(x)
    return x


@DBOS.workflow()
def layers(n: int) -> list[int]:
    row = [same(1) for _ in range(f.LAYER)]
    for layer in f.layer_parents(n):
        row = [add(*(row[i] for i in parents)) for parents in layer]
    return row


@DBOS.workflow()
def diamond() -> int:
    a = increment(0)
    return add(increment(a), increment(a), increment(a))


@DBOS.workflow()
def loop(n: int) -> int:
    x = 0
    while x < n:
        x = increment(x)
    return x


@DBOS.workflow()
def flow(x: int) -> int:
    return increment(increment(x))


@DBOS.workflow()
def resumed(n: int, gate: str) -> int:
    return total([same(x) for x in range(n)], gate)


class Contestant:
    def __init__(self, _: str, folder: Path) -> None:
        self.folder = folder
        DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.db", "log_level": "ERROR",
                     "run_admin_server": False})  # fmt: skip
        DBOS.launch()

    def wide(self, n: int) -> Timed:
        yield lambda: wide(n)

    def chain(self, n: int) -> Timed:
        yield lambda: chain(n)

    def layers(self, n: int) -> Timed:
        yield lambda: layers(n)

    def diamond(self, _: int) -> Timed:
        yield diamond

    def loop(self, n: int) -> Timed:
        yield lambda: loop(n)

    def flows(self, n: int) -> Timed:
        yield lambda: [handle.get_result() for handle in [DBOS.start_workflow(flow, x) for x in range(n)]]

    def resume(self, n: int) -> Timed:
        """A workflow that failed at its last step is forked from there, as its documentation says."""
        gate, name = self.folder / "gate", uuid.uuid4().hex
        gate.touch()
        try:
            with SetWorkflowID(name):
                resumed(n, str(gate))
        except RuntimeError:
            gate.unlink()
        yield lambda: DBOS.fork_workflow(name, n + 1).get_result()
