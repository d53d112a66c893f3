"""A kernel of its own: ``python waits.py STORE ELEMENTS``. It waits for its run, as a cell does."""

from __future__ import annotations

import os
import signal
import sys
import time

import wfnb as wf


@wf.node
def where(i: int) -> int:
    time.sleep(0.05)
    return os.getpid()


@wf.workflow
def places(numbers: list[int]) -> list[int]:
    return where.map(numbers)


def main() -> None:
    # A job in a shell's background inherits the stop button's signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    store, elements = sys.argv[1:]
    wf.configure(store=store)
    workers = set(places([0, 1, 2, 3]))
    run = places.submit(list(range(int(elements))))
    print(run.id, flush=True)
    try:
        run.result()
    except KeyboardInterrupt as stop:
        print(stop, flush=True)
    print("went on", not run.ended, flush=True)
    print("workers kept", set(run.result(60)) | workers == workers, flush=True)


if __name__ == "__main__":
    main()
