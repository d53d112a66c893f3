"""The local cluster: Dask's scheduler and workers as processes of a session of their own. Imports distributed when run.

Jupyter's stop button sends SIGINT to the kernel's whole process group; workers in that group die with it. So the
cluster is a process in its own session, and its workers are its children. It ends when the process that started it
does: a pipe between the two closes, however that process dies.

Run as a program (``python -m wfnb.dask.local``) this module is the cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from wfnb.model.errors import ConfigurationError

START_TIMEOUT = 60.0
"""Seconds a local cluster may take to start."""


def default_shape() -> tuple[int, int]:
    """Return how many worker processes a local cluster has, and how many threads each.

    As Dask's own default: one process a core up to four, beyond that about as many processes as threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = cores if cores <= 4 else max(4, round(cores**0.5))
    return processes, max(1, cores // processes)


class LocalCluster:
    """A Dask cluster on this machine that the kernel's stop button cannot reach.

    Args:
        workers: how many worker processes.
        threads: how many threads each.

    Attributes:
        address: the scheduler's address, once `wait` has returned.
    """

    def __init__(self, workers: int | None = None, threads: int | None = None) -> None:
        default_workers, default_threads = default_shape()
        self.workers = workers or default_workers
        self.threads = threads or default_threads
        self.address = ""
        command = [sys.executable, "-m", "wfnb.dask.local", str(self.workers), str(self.threads)]
        self._process = subprocess.Popen(  # noqa: S603  our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
            env={"DASK_LOGGING__DISTRIBUTED": "error", **os.environ},
        )
        atexit.register(self.close)

    def wait(self) -> str:
        """Wait until the workers are there and return the scheduler's address.

        Raises:
            ConfigurationError: it did not start.
        """
        if self.address:
            return self.address
        assert self._process.stdout is not None  # noqa: S101  it was asked for
        timer = threading.Timer(START_TIMEOUT, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            code = self._process.wait()
            raise ConfigurationError(
                f"the local cluster ended with status {code} before it was ready; its messages are above. "
                "Connect to a cluster of your own by wf.configure(cluster='tcp://...')"
            )
        self.address = str(json.loads(line)["address"])
        return self.address

    @property
    def alive(self) -> bool:
        """Whether the cluster's process is running."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the cluster; its workers are its children."""
        return self._process.pid

    def close(self) -> None:
        """End the cluster and wait until it has ended."""
        atexit.unregister(self.close)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


# -- the cluster's own process -------------------------------------------------------------------------------------


def _follow_parent(stop: Callable[[], None]) -> None:
    """Stop when the process that started this one is gone: it holds the other end of our standard input."""
    sys.stdin.buffer.read()
    stop()
    time.sleep(5)  # an orderly end takes a moment; one that hangs must still be an end
    os._exit(1)


async def _serve(workers: int, threads: int) -> None:
    import dask
    from distributed import Nanny, Scheduler

    dask.config.set(
        {
            # A dead worker is not the fault of the bundles it had: they are small, and run again elsewhere.
            "distributed.scheduler.allowed-failures": 10,
            "distributed.worker.multiprocessing-method": "forkserver",
        }
    )
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    stop = functools.partial(loop.call_soon_threadsafe, over.set)
    threading.Thread(target=_follow_parent, args=(stop,), daemon=True).start()
    host = "127.0.0.1"
    async with Scheduler(host=host, port=0, dashboard=False, dashboard_address=f"{host}:0") as scheduler:
        nannies = [
            Nanny(scheduler.address, nthreads=threads, name=name, host=host, dashboard=False) for name in range(workers)
        ]
        await asyncio.gather(*nannies)
        with contextlib.suppress(BrokenPipeError):  # the parent is gone already: then it is over soon
            print(json.dumps({"address": scheduler.address}), flush=True)  # noqa: T201  read by the parent
        await over.wait()
        await asyncio.gather(*(nanny.close(timeout=2) for nanny in nannies))


def main() -> None:
    """Be a local cluster until the parent goes away."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("workers", type=int)
    parser.add_argument("threads", type=int)
    options = parser.parse_args()
    asyncio.run(_serve(options.workers, options.threads))


if __name__ == "__main__":
    main()
