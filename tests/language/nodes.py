"""The nodes of the table: each notes its address in a file named for its run, and does what the run's id asks for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import wfnb as wf

FOLDER = "WFNB_TEST_CALLS"
"""The environment's name of the folder where calls are noted."""


def note(ctx: wf.Context) -> None:
    """Note a call: one line, written at once."""
    line = f"{ctx.address} {ctx.attempt}\n".encode()
    file = os.open(f"{os.environ['WFNB_TEST_CALLS']}/{ctx.run_id}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def behave(x: int, ctx: wf.Context) -> None:
    """Fail, or block, where the first word of the run's id says so."""
    word = ctx.run_id.partition("-")[0]
    if word == "fails" or (word == "odd" and x % 2 == 1):
        raise ValueError("told to fail")
    if word == "mends" and not os.path.exists(f"{os.environ['WFNB_TEST_CALLS']}/{ctx.run_id}.go"):
        raise ValueError("told to fail for now")
    if word == "retries" and ctx.attempt < 3:
        raise OSError("told to fail twice")
    if word == "blocks":
        folder = os.environ["WFNB_TEST_CALLS"]
        while not os.path.exists(f"{folder}/{ctx.run_id}.go"):
            time.sleep(0.005)


@wf.node(retries=2, retry_on=OSError)
def leaf(x: int, ctx: wf.Context) -> int:
    note(ctx)
    behave(x, ctx)
    return 100 + x


@wf.node
def up(x: int, ctx: wf.Context) -> int:
    note(ctx)
    return x + 1


@wf.node
def pair(x: int, ctx: wf.Context) -> list[int]:
    note(ctx)
    return [x, x + 1]


@wf.node
def both(a: Any, b: Any, ctx: wf.Context) -> list[Any]:
    note(ctx)
    return [a, b]


@wf.node
def wrap(a: Any, ctx: wf.Context) -> list[Any]:
    note(ctx)
    return ["wrap", a]


@wf.node
def late(x: int, ctx: wf.Context) -> list[Any]:
    note(ctx)
    return ["late", x]


@wf.node
def caught(kind: str, address: str, attempts: int, ctx: wf.Context) -> list[Any]:
    note(ctx)
    return ["caught", kind, address, attempts]


@wf.node
def never(ctx: wf.Context) -> str:
    note(ctx)
    return "never"


@wf.node
def boom(x: int, ctx: wf.Context) -> int:
    note(ctx)
    raise KeyError(x)


@wf.node
def mark(x: int, ctx: wf.Context) -> str:
    note(ctx)
    return "marked"


@wf.node
def some(x: int) -> Iterator[int]:
    yield x
    yield x + 1
    yield x + 2


@wf.node
def plan(key: str, x: int, ctx: wf.Context) -> Any:
    note(ctx)
    # By its name, so that the table does not travel with the node.
    return import_module("tests.language.table").planned(key, x)
