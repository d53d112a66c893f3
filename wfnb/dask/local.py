"""Local clusters as a kernel sees them: a shared one that it finds or starts, and a private one. Imports shared.

Jupyter's stop button sends SIGINT to the kernel's whole process group; workers in that group die with it. So a local
cluster is a process in a session of its own (`serve`), and its workers are its children.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from wfnb.dask.door import Caller, may_be
from wfnb.dask.shared import Shared, idle_seconds, place
from wfnb.model.errors import ConfigurationError

START_TIMEOUT = 60.0
"""Seconds a local cluster may take to start."""
DOOR = 3.0
"""Seconds more that its host may take."""


def default_shape() -> tuple[int, int]:
    """Return how many worker processes a local cluster has, and how many threads each.

    As Dask's own default: one process a core up to four, beyond that about as many processes as threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = cores if cores <= 4 else max(4, round(cores**0.5))
    return processes, max(1, cores // processes)


def _start(workers: int, threads: int, *more: str, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wfnb.dask.serve", str(workers), str(threads), *more]
    env = {"DASK_LOGGING__DISTRIBUTED": "error", **os.environ}
    return subprocess.Popen(command, start_new_session=True, text=True, env=env, **how)  # noqa: S603  our own module


class SharedCluster:
    """The local cluster that all kernels of an environment and folder share: found, or started.

    It outlives the kernel, so that runs go on without it and the next kernel need not wait.
    """

    def __init__(self) -> None:
        self._shared = Shared(place())
        self._process: subprocess.Popen[str] | None = None
        self._caller: Caller | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there, or being started."""
        return self._shared.held() or (self._process is not None and self._process.poll() is None)

    def begin(self) -> None:
        """Start it unless it is there; raises ConfigurationError when it is told nonsense."""
        if self.alive:
            return
        idle_seconds()  # bad settings are told here, where somebody reads it
        self._shared.place.parent.mkdir(parents=True, exist_ok=True)
        with self._shared.log.open("w") as log:
            self._process = _start(
                *default_shape(), "--shared", str(self._shared.place), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        threading.Thread(target=self._process.wait, daemon=True).start()  # so that no zombie is left

    def wait(self) -> str:
        """Wait until its workers are there and return the scheduler's address.

        Raises:
            ConfigurationError: it did not start.
        """
        until = time.monotonic() + START_TIMEOUT
        again = True
        while True:
            found = self._shared.read() if self._shared.held() else None
            if found is not None:
                return found
            if self._process is not None and (self._process.poll() or 0) < 0 and again:
                again, self._process = False, None  # killed, as when memory is short for a moment: once more
            if self._failed() or time.monotonic() > until:
                raise ConfigurationError(
                    f"the local cluster did not start: {self._shared.last_words() or 'it said nothing'}\n"
                    f"Its messages are in '{self._shared.log}'. Connect to a cluster of your own by "
                    "wf.configure(cluster='tcp://...')"
                )
            self.begin()  # one that was about to end when this began has ended
            time.sleep(0.01)

    def caller(self) -> Caller | None:
        """Return the short way to its host, once its workers are there; None when there is none."""
        address = self.wait()
        if self._caller is not None and self._caller.address == address:
            return self._caller
        caller = Caller(self._shared.door, address)
        until = time.monotonic() + DOOR
        while may_be(caller.place) and time.monotonic() < until and self._shared.held():
            if caller.connect():
                self._caller = caller
                return caller
            time.sleep(0.01)
        return None

    def _failed(self) -> bool:
        """Whether the one that was started here has ended, and not because another was there."""
        return self._process is not None and self._process.poll() not in (None, 0)


class LocalCluster:
    """A private Dask cluster on this machine that the kernel's stop button cannot reach.

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
        self._process = _start(self.workers, self.threads, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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
