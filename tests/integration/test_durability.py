"""What was acknowledged is never run again: kernels, workers and servers are killed, and runs go on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import FULL, KERNELS, Kernel, Watch, acknowledged, eventually
from tests.servers import redis_server as running_redis
from wfnb.dask.local import LocalCluster
from wfnb.model.errors import RunNotFound
from wfnb.store.urls import open_store

SQUARES = KERNELS / "squares.py"
KILLS = 20 if FULL else 6
ELEMENTS = 300 if FULL else 120


def sum_of_squares(elements: int) -> int:
    return sum(i * i for i in range(elements))


def stored(store: Any, run_id: str) -> bool:
    with contextlib.suppress(RunNotFound):
        return bool(store.get(run_id))
    return False


# -- kernels that are killed -------------------------------------------------------------------------------------------


def kill_kernels(url: str, folder: Path, kills: int, elements: int, seed: int) -> dict[str, Any]:
    """Run the map in kernels killed at random moments, until one brings it to its end; return what was seen."""
    rng = random.Random(seed)
    store, run_id, log = open_store(url), f"squares-{seed}", folder / "log"
    watch = Watch(store, run_id, "square", log)
    seen: list[int] = []
    began = time.monotonic()
    while True:
        verb = "resume" if stored(store, run_id) else "submit"
        with Kernel(SQUARES, verb, url, run_id, log, elements) as kernel:
            if len(seen) == kills:
                assert kernel.line() == "running"
                value = kernel.line()
                break
            if rng.random() < 0.25:  # while it starts, or takes the run up
                time.sleep(rng.uniform(0.2, 2.5))
            else:
                assert kernel.line() == "running"
                assert kernel.wait_line(rng.uniform(0.0, 1.2)) is None, "it ended before it could be killed"
            kernel.kill()
        seen.append(watch.look() if stored(store, run_id) else 0)
    recorded = acknowledged(store, run_id)
    return {
        "value": value,
        "acknowledged at each kill": seen,
        "repeated": watch.repeated(),
        "recorded twice": {task: n for task, n in recorded.items() if n > 1},
        "recorded": len(recorded),
        "runs of the body": len(watch.lines()),
        "seconds": round(time.monotonic() - began, 1),
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kernel_killed_again_and_again_repeats_nothing_acknowledged(sqlite: str, tmp_path: Path) -> None:
    seen = kill_kernels(sqlite, tmp_path, KILLS, ELEMENTS, seed=1)
    print(seen)
    assert seen["value"] == f"value {sum_of_squares(ELEMENTS)}"
    assert seen["repeated"] == set()
    assert seen["recorded twice"] == {}
    assert seen["recorded"] == ELEMENTS + 1
    assert seen["acknowledged at each kill"][-1] > 0, "no kill came while there was something to lose"
