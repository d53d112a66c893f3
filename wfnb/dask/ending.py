"""Ending a worker process under what it runs, without blame for what else it had to do. Imports beacon.

Dask counts a task as suspicious when its worker dies, and gives it up after some deaths. A worker that is ended on
purpose is signed off at the scheduler first, so that its other tasks are only sent elsewhere. What the process itself
started, such as a command, is ended with it. A nanny starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from wfnb.dask.beacon import Busy, read
from wfnb.dask.hosting import HOST

SIGN_OFF = 1.0
"""Seconds the scheduler has to take note that a worker leaves."""


def own_worker() -> Any:
    """Return the Dask worker this thread runs a task of, or None."""
    if "distributed" not in sys.modules:
        return None
    try:
        from distributed import get_worker

        return get_worker()
    except (ImportError, ValueError):
        return None


def may_end(worker: Any) -> bool:
    """Return whether this process is a Dask worker that a nanny starts again."""
    return worker is not None and getattr(worker, "nanny", None) is not None


def leave(worker: Any) -> NoReturn:
    """End this worker process and what it started; from any thread but that of its event loop."""
    # The scheduler tells who signs off to close, and a worker that closes has its nanny close too.
    worker.nanny = None
    end_children(os.getpid())
    try:
        asyncio.run_coroutine_threadsafe(sign_off(worker.scheduler, worker.address), worker.loop.asyncio_loop).result(
            SIGN_OFF
        )
    finally:
        os._exit(1)  # also where the scheduler cannot be told: then the other tasks look suspicious, and no more


async def sign_off(scheduler: Any, address: str) -> None:
    """Tell the scheduler that a worker leaves on purpose."""
    telling = scheduler.unregister(address=address, expected=True, stimulus_id=f"wfnb-end-{time.time()}")
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(telling, SIGN_OFF)


def end_children(pid: int) -> None:
    """End all that a process has started, and what that has started, but not the cluster's host."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if HOST not in child.cmdline():
                    child.kill()


def look(names: Sequence[bytes], dask_worker: Any) -> tuple[str, dict[bytes, Busy]]:
    """Return a worker's name and what bundles it runs are at; run by its nanny, which answers when the worker cannot.

    Args:
        names: the bundles' names.
        dask_worker: the nanny, filled in by Dask.
    """
    folder = dask_worker.worker_dir
    busy = read(Path(folder)) if folder else {}
    return str(dask_worker.name), {name: at for name, at in busy.items() if name in names}


async def end_under(names: Sequence[bytes], dask_worker: Any) -> None:
    """End a worker process if it still runs one of some bundles; run by its nanny, which then starts another.

    Args:
        names: the bundles' names.
        dask_worker: the nanny, filled in by Dask.
    """
    pid, address = dask_worker.pid, dask_worker.worker_address
    if pid is None or not look(names, dask_worker)[1]:
        return
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # It must not hear that it is signed off: a worker that closes has its nanny close too.
        process.suspend()
        await sign_off(dask_worker.scheduler, address)
        end_children(pid)
        process.kill()
