"""The local cluster's own process: Dask's scheduler, with workers and a host as its children.

Imports shared, and distributed when it is run as a program (``python -m wfnb.dask.serve``). A private cluster ends when
the process that started it does: a pipe between the two closes, however that process dies. A shared one ends when
nobody has used it for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wfnb.dask.door import may_be
from wfnb.dask.host import serve
from wfnb.dask.hosting import METADATA, settings
from wfnb.dask.shared import STEER, Shared, fix_size

FIRST = 30.0
"""Seconds more that a new cluster waits: the kernel it was started for may be slow to come."""
_LOOK = 0.5
"""Seconds between looks at what a cluster is used for."""


def _follow_parent(stop: Callable[[], None]) -> None:
    """Stop when the process that started this one is gone: it holds the other end of our standard input."""
    sys.stdin.buffer.read()
    stop()
    _end_soon()


def _end_soon() -> None:
    time.sleep(5)  # an orderly end takes a moment; one that hangs must still be an end
    os._exit(1)


def _prepare() -> None:
    """Start the process that workers are forked from: it imports what they need while this one does."""
    import multiprocessing.forkserver as server

    server.set_forkserver_preload(["distributed", "wfnb.dask.worker", "wfnb.dask.host", "wfnb.dask.frozen"])
    server.ensure_running()
    import dask
    import distributed.utils

    # Dask would import whatever it knows, pandas among it, here and there: whoever uses that imports it.
    vars(distributed.utils)["_forkserver_preload_set"] = True
    dask.config.set(
        {
            # Whoever drives the run hears of every dead worker, and knows better whose fault that is.
            "distributed.scheduler.allowed-failures": 0,
            # A bundle behind a long task goes to a worker that has nothing to do, and soon.
            "distributed.scheduler.work-stealing-interval": "100ms",
            # A worker that dies twice within this time would not be started again: it is away when Dask looks.
            "distributed.deploy.lost-worker-timeout": "52 weeks",
            "distributed.worker.multiprocessing-method": "forkserver",
        }
    )


class _HostProcess:
    """The host of this cluster: started anew when it has ended, and gone when this process is.

    Args:
        address: the scheduler it serves.
        door: where it answers kernels directly, or None.
    """

    def __init__(self, address: str, door: Path | None) -> None:
        self._settings = settings(address, door=door).encode()
        self._begin()

    def _begin(self) -> None:
        forks = multiprocessing.get_context("forkserver")
        reading, self._pipe = forks.Pipe(duplex=False)
        self._process = forks.Process(target=_be_host, args=(reading,))
        self._process.start()
        reading.close()
        with contextlib.suppress(BrokenPipeError):  # it has died: it is begun anew at the next look
            os.write(self._pipe.fileno(), self._settings)

    def look(self) -> None:
        """Begin another when it has ended."""
        if not self._process.is_alive():
            self._pipe.close()
            self._begin()

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(3)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _be_host(reading: Connection) -> None:
    with os.fdopen(os.dup(reading.fileno())) as said:
        serve(said, follow=True)


class _Serving:
    """A running cluster: what it is used for, and what is asked of it.

    Args:
        cluster: Dask's, in this process.
        over: set when it is to end.
    """

    def __init__(self, cluster: Any, over: asyncio.Event) -> None:
        self.cluster = cluster
        self.over = over
        self._drawn: bool | None = None
        cluster.scheduler.handlers[STEER] = self.steer

    def busy(self) -> bool:
        """Whether anybody uses it: a kernel is connected, a run is driven, or there are tasks."""
        scheduler = self.cluster.scheduler
        host = scheduler.task_metadata.get(METADATA) or {}
        users = [one for one in scheduler.clients if "wfnb-host" not in one and one != "fire-and-forget"]
        return bool(users or scheduler.tasks or host.get("runs") or host.get("kernels"))

    async def steer(self, what: str, n: int = 0, most: int = 0) -> bool:
        """Do what `wfnb.cluster` asks: "scale", "adapt", "close", or "draw": return whether there is a dashboard."""
        if what == "close":
            self.over.set()
        elif what == "draw":
            if self._drawn is None:
                self._drawn = _draw(self.cluster.scheduler)
            return self._drawn
        elif what == "adapt":
            self.cluster.adapt(minimum=n, maximum=most)
        else:
            fix_size(self.cluster, n)
        return True


async def _serve(workers: int, threads: int, shared: Shared | None) -> None:
    _prepare()
    from distributed import LocalCluster as DaskCluster

    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    if shared is None:
        stop = functools.partial(loop.call_soon_threadsafe, over.set)
        threading.Thread(target=_follow_parent, args=(stop,), daemon=True).start()
    making: Any = DaskCluster
    async with making(
        n_workers=workers,
        threads_per_worker=threads,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        worker_dashboard_address=None,
        silence_logs=False,
        asynchronous=True,
    ) as cluster:
        while len(cluster.scheduler.workers) < workers:
            await asyncio.sleep(0.005)
        serving = _Serving(cluster, over)
        # So that whoever connects before the host does waits for this one and starts no other.
        cluster.scheduler.task_metadata[METADATA] = {"name": "", "runs": 0, "kept": True}
        door = shared.door if shared is not None and may_be(shared.door) else None
        host = _HostProcess(cluster.scheduler_address, door)
        if shared is not None:
            shared.publish(cluster.scheduler_address)
        else:
            with contextlib.suppress(BrokenPipeError):  # the parent is gone already: then it is over soon
                print(json.dumps({"address": cluster.scheduler_address}), flush=True)  # noqa: T201  read by the parent
        gc.freeze()  # as `wfnb.dask.frozen` does for workers
        used = time.monotonic() + FIRST
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _LOOK)
            host.look()
            used = time.monotonic() if serving.busy() else used
            if shared is not None and time.monotonic() - used > shared.patience():
                break
        if shared is not None:
            shared.withdraw()
        threading.Thread(target=_end_soon, daemon=True).start()
        host.close()


def _draw(scheduler: Any) -> bool:
    """Serve Dask's dashboard; when it is asked for, as what draws it takes long to import."""
    try:
        from distributed.dashboard.scheduler import connect
    except ImportError:
        return False  # bokeh is not installed
    serve: Any = connect
    serve(scheduler.http_application, scheduler.http_server, scheduler, prefix="")
    return True


def main() -> None:
    """Be a local cluster until the parent goes away, or until nobody has used a shared one for a while."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("workers", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--shared", type=Path, help="where the cluster is made known")
    options = parser.parse_args()
    if options.shared is None:
        asyncio.run(_serve(options.workers, options.threads, None))
        return
    shared = Shared(options.shared)
    if shared.hold():
        asyncio.run(_serve(options.workers, options.threads, shared))
        shared.leave()


if __name__ == "__main__":
    main()
