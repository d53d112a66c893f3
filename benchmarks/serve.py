"""A contestant's process: `python -m benchmarks.serve MODULE VARIANT FOLDER [once]`.

It reads one JSON line a measurement, ``{"method": ..., "n": ...}``, and answers with one: seconds and a digest of the
value, or an error. A contestant's method is a generator: it prepares, yields the call to be timed, and clears up.
With `once` it does the diamond and ends: seconds then count from its first line, imports and all.

It runs with the interpreter of a contestant's own environment, so it imports the standard library only.
"""

import time

BEGAN = time.perf_counter()

import contextlib  # noqa: E402  the clock comes first
import gc  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks.workloads import digest  # noqa: E402

SETTLE = 0.3
"""Seconds before each measurement: what the one before left to be done must not be charged to it."""


QUICK, ENOUGH, MOST = 1.0, 1.5, 200
"""Seconds below which a call is made again, for so many seconds or so often: the median of all but the first counts."""


def measure(contestant: Any, method: str, n: int) -> dict[str, Any]:
    """Prepare a workload, time it, and return seconds and the value's digest."""
    found: list[float] = []
    while not found or (found[0] < QUICK and sum(found) < ENOUGH and len(found) < MOST):
        with contextlib.contextmanager(getattr(contestant, method))(n) as call:
            if not found:
                gc.collect()
                time.sleep(SETTLE)
            began = time.perf_counter()
            value = call()
            found.append(time.perf_counter() - began)
            check = digest(value)
    return {"seconds": statistics.median(found[1:] or found), "check": check}


def once(contestant: Any) -> dict[str, Any]:
    """Do the diamond and return the seconds since this process began."""
    with contextlib.contextmanager(contestant.diamond)(5) as call:
        value = call()
    return {"seconds": time.perf_counter() - BEGAN, "check": digest(value)}


def main(module: str, variant: str, folder: str, how: str = "") -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(found: dict[str, Any]) -> None:
        print(json.dumps(found), file=answers, flush=True)

    try:
        contestant = importlib.import_module(f"benchmarks.contestants.{module}").Contestant(variant, Path(folder))
        answer(once(contestant) if how else {"ready": True})
        for line in () if how else sys.stdin:
            request = json.loads(line)
            try:
                answer(measure(contestant, request["method"], request["n"]))
            except Exception as error:  # noqa: BLE001  it is told, and the contest goes on
                answer({"error": f"{type(error).__name__}: {error}"})
    except Exception as error:  # noqa: BLE001  it is told
        answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
