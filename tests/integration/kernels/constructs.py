"""A kernel of its own: ``python constructs.py submit|resume STORE RUN_ID LOG``.

Every task notes its address at the very end of its body, in one write, so that the log shows which tasks ran.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import wfnb as wf


@wf.node
def plus(x: int, log: str, ctx: wf.Context) -> int:
    time.sleep(0.05)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{ctx.address}\n".encode())
    os.close(handle)
    return x + 1


@wf.node
def numbers(n: int) -> list[int]:
    return list(range(n))


@wf.node
def rows(n: int) -> Iterator[int]:
    yield from range(n)


@wf.node
def fails(x: int) -> int:
    raise ValueError(f"no {x}")


@wf.workflow
def constructs(log: str) -> list[object]:
    looped = wf.each(
        numbers(6), lambda i: wf.loop(lambda m: plus(m, log), init=i * 100, until=lambda m: m > i * 100 + 3)
    )
    streamed = wf.stream(rows(20), lambda row: plus(row, log), batch=4, buffer=2)
    caught = wf.attempt(lambda: fails(plus(0, log)), catch=lambda err: plus(10, log), finally_=lambda: plus(20, log))
    switched = wf.each(
        numbers(6), lambda i: wf.switch(i % 2, {0: lambda: plus(i, log)}, default=lambda: plus(plus(i, log), log))
    )
    return [looped, streamed, caught, switched]


def main() -> None:
    verb, store, run_id, log = sys.argv[1:]
    wf.configure(store=store, driver="kernel")  # so that the driver dies with it
    run = constructs.options(run_id=run_id).submit(log) if verb == "submit" else wf.resume(run_id)
    print("running", flush=True)
    print("value", run.result(), flush=True)


if __name__ == "__main__":
    main()
