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
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wfnb.dask.host import METADATA, settings
from wfnb.dask.shared import STEER, Shared

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


class _HostProcess:
    """The host of this cluster: started anew when it has ended, and gone when this process is."""

    def __init__(self) -> None:
        self._address = ""
        self._begin()

    def _begin(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wfnb.dask.host", "--follow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def serve(self, address: str) -> None:
        """Tell it which scheduler it serves, for which it waits."""
        self._address = address
        assert self._process.stdin is not None  # noqa: S101  it was asked for
        with contextlib.suppress(BrokenPipeError):  # it has died: it is begun anew at the next look
            self._process.stdin.write(settings(address))
            self._process.stdin.flush()

    def look(self) -> None:
        """Begin another when it has ended."""
        if self._process.poll() is not None:
            self._begin()
            self.serve(self._address)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


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
        return bool(users or scheduler.tasks or host.get("runs"))

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
            self.cluster.scale(n)
        return True


async def _serve(workers: int, threads: int, shared: Shared | None) -> None:
    host = _HostProcess()  # first: it imports what it needs while this process does
    import dask
    from distributed import LocalCluster as DaskCluster

    dask.config.set(
        {
            # Whoever drives the run hears of every dead worker, and knows better whose fault that is.
            "distributed.scheduler.allowed-failures": 0,
            # A worker that dies twice within this time would not be started again: it is away when Dask looks.
            "distributed.deploy.lost-worker-timeout": "52 weeks",
            "distributed.worker.multiprocessing-method": "forkserver",
        }
    )
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
        host.serve(cluster.scheduler_address)
        if shared is not None:
            shared.publish(cluster.scheduler_address)
        else:
            with contextlib.suppress(BrokenPipeError):  # the parent is gone already: then it is over soon
                print(json.dumps({"address": cluster.scheduler_address}), flush=True)  # noqa: T201  read by the parent
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


if __name__ == "__main__":
    main()
