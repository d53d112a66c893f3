"""The processes of a fault suite.

They are known by a mark in their environment, which they inherit from each other. A Redis server writes over its own:
it is known as a child of the suite.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

from wfnb.dask.host import NAME

MARK = "WFNB_CHAOS"
"""The variable that marks the processes of a suite."""
SERVE, HOST, FORKS = "wfnb.dask.serve", NAME, "multiprocessing.forkserver"
"""What is in the command lines of a local cluster's process and of what it forks; a host's process has a name."""


def marked(mark: str) -> Iterator[psutil.Process]:
    """Yield the living processes that bear a mark or are this one's children, other than this one."""
    children = {process.pid for process in psutil.Process().children()}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.pid in children or process.environ().get(MARK) == mark:
                yield process


def runs(process: psutil.Process, module: str) -> bool:
    """Return whether a process was started to run a module, or has that name."""
    with contextlib.suppress(psutil.Error):
        return process.name() == module or any(module in part for part in process.cmdline())
    return False


def described(process: psutil.Process) -> str:
    """Return a process for people."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {process.name()} (of {process.ppid()}): {' '.join(process.cmdline())[:100]}"
    return str(process.pid)


class Family:
    """The processes of a suite as they are now.

    Args:
        mark: the suite's.
        besides: process ids that do not count.
    """

    def __init__(self, mark: str, besides: Collection[int] = ()) -> None:
        self.all = sorted((one for one in marked(mark) if one.pid not in besides), key=lambda process: process.pid)
        # One that finds the shared cluster's lock taken ends at once.
        served = [process for process in self.all if runs(process, SERVE)]
        self.serve = min(served, key=lambda process: process.create_time(), default=None)
        self.cluster = [] if self.serve is None else [self.serve, *self._below(self.serve)]

    @staticmethod
    def _below(process: psutil.Process) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return list(process.children(recursive=True))
        return []

    def hosts(self) -> list[psutil.Process]:
        """Return the processes that may drive."""
        return [process for process in self.all if runs(process, HOST)]

    def workers(self) -> list[psutil.Process]:
        """Return the cluster's worker processes."""
        found: list[psutil.Process] = []
        for process in self.cluster:
            with contextlib.suppress(psutil.Error):
                parent = process.parent()
                if parent is not None and runs(parent, FORKS) and not runs(process, HOST):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def orphans(self) -> list[psutil.Process]:
        """Return what does not belong to the cluster that there is.

        A host that a worker started is the cluster's for as long as that is there.
        """
        known = {process.pid for process in self.cluster}
        found = []
        for process in self.all:
            with contextlib.suppress(psutil.Error):
                late = self.serve is not None and process.create_time() >= self.serve.create_time()
                if process.pid in known or (late and runs(process, HOST)):
                    continue
                found.append(process)
        return found


class KernelProcess:
    """A kernel: a Python process in a session of its own.

    Args:
        folder: its output goes there.
        number: which kernel of the schedule it is.
        args: of `tests.chaos.kernel`.
    """

    def __init__(self, folder: Path, number: int, *args: str) -> None:
        self.said, self.errors = folder / f"kernel-{number}.out", folder / f"kernel-{number}.err"
        command = [sys.executable, "-W", "error", "-m", "tests.chaos.kernel", *args]
        with self.said.open("w") as out, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
            )
        self.killed = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def lines(self, word: str) -> list[str]:
        """Return what it said after a word, line by line."""
        lines = self.said.read_text().splitlines()
        return [line.removeprefix(word).strip() for line in lines if line.partition(" ")[0] == word]

    def kill(self) -> bool:
        """Kill it as a crash would; return whether it was alive."""
        if not self.alive:
            return False
        self.killed = True
        self.process.kill()
        self.process.wait(10)
        return True
