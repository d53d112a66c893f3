"""The workflows that are struck, and their values as plain Python gives them.

A task's body notes its address and attempt when it begins, in one write, so that the log shows what was run. One or
two bodies of each workflow take long: they may go on while somebody else takes the run up.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import wfnb as wf

SECONDS = 0.04
"""Seconds a task's body takes."""


def begin(log: str, long: float, ctx: wf.Context) -> None:
    """Note that a task began, and be busy."""
    line = f"{ctx.address} {ctx.attempt}\n".encode()
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line)
    os.close(handle)
    time.sleep(long if zlib.crc32(line.strip()) % 18 == 15 else SECONDS)


@wf.node
def square(i: int, log: str, long: float, ctx: wf.Context) -> int:
    begin(log, long, ctx)
    return i * i


@wf.node
def total(numbers: list[int]) -> int:
    return sum(numbers)


@wf.workflow
def mapped(log: str, long: float) -> int:
    return total(square.map(list(range(48)), log=log, long=long))


@wf.node
def plus(x: int, log: str, long: float, ctx: wf.Context) -> int:
    begin(log, long, ctx)
    return x * 3 % 1009 + 1


@wf.workflow
def chained(log: str, long: float) -> int:
    x: Any = 1
    for _ in range(24):
        x = plus(x, log, long)
    return x  # type: ignore[no-any-return]


@wf.node(retries=1, backoff=wf.Fixed(0.05))
def fragile(x: int, log: str, long: float, ctx: wf.Context) -> int:
    """Fail the first time where x is a multiple of 5, and for good where it is one of 3."""
    begin(log, long, ctx)
    if x % 3 == 0 or (x % 5 == 0 and ctx.attempt == 1):
        raise ValueError(f"no {x}")
    return x + 2


@wf.node
def mended(x: int, log: str, long: float, ctx: wf.Context) -> int:
    begin(log, long, ctx)
    return x + 5


@wf.node
def cleaned(x: int, log: str, long: float, ctx: wf.Context) -> None:
    begin(log, long, ctx)


@wf.workflow
def nested(log: str, long: float) -> list[int]:
    def climb(start: int) -> Any:
        return wf.loop(
            lambda x: wf.attempt(
                lambda: fragile(x, log, long),
                catch=lambda err: mended(x, log, long),
                finally_=lambda: cleaned(x, log, long),
            ),
            init=start,
            until=lambda x: x > start + 8,
        )

    return wf.each([0, 10, 20, 31], climb)  # type: ignore[no-any-return]


def climbed(start: int) -> int:
    """Return what a loop of `nested` gives."""
    x = start
    while True:
        x = x + 5 if x % 3 == 0 else x + 2
        if x > start + 8:
            return x


@wf.node
def rows(n: int) -> Iterator[int]:
    yield from range(n)


@wf.workflow
def streamed(log: str, long: float) -> list[int]:
    return wf.stream(rows(36), lambda row: plus(row, log, long), batch=4, buffer=2)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Flow:
    """A workflow to be struck.

    Args:
        workflow: takes the log's path, and how many seconds its long bodies take.
        tasks: about how many bodies it runs.
        value: what it must give.
    """

    workflow: Any
    tasks: int
    value: Any


def _folded(step: Callable[[int], int], x: int, times: int) -> int:
    for _ in range(times):
        x = step(x)
    return x


def _plus(x: int) -> int:
    return x * 3 % 1009 + 1


FLOWS = {
    "map": Flow(mapped, 48, sum(i * i for i in range(48))),
    "chain": Flow(chained, 24, _folded(_plus, 1, 24)),
    "nested": Flow(nested, 35, [climbed(start) for start in (0, 10, 20, 31)]),
    "stream": Flow(streamed, 36, [_plus(row) for row in range(36)]),
}
