"""A kernel of its own: ``python squares.py submit|resume STORE RUN_ID LOG ELEMENTS DRIVER``.

Every task notes its index at the very end of its body, in one write, so that the log shows which tasks ran.
"""

from __future__ import annotations

import os
import sys
import time

import wfnb as wf


@wf.node
def square(i: int, log: str) -> int:
    time.sleep(0.05)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, b"%d\n" % i)
    os.close(handle)
    return i * i


@wf.node
def total(squares: list[int]) -> int:
    return sum(squares)


@wf.workflow
def squares(numbers: list[int], log: str) -> int:
    return total(square.map(numbers, log=log))


def main() -> None:
    verb, store, run_id, log, elements, driver = sys.argv[1:]
    wf.configure(store=store, driver=driver)  # type: ignore[arg-type]
    if verb == "submit":
        run = squares.options(run_id=run_id).submit(list(range(int(elements))), log)
    else:
        run = wf.resume(run_id)
    print("running", flush=True)
    print("value", run.result(), flush=True)


if __name__ == "__main__":
    main()
