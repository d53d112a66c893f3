"""What the integration tests share: kernels as processes, notebooks as namespaces, and a look into journals."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from wfnb.model.events import CACHED, COMPLETED, Outcomes, decode_event
from wfnb.store.base import Store

KERNELS = Path(__file__).parent / "kernels"
FULL = bool(os.environ.get("WFNB_FULL"))
"""Whether the long versions of the tests run."""


class Kernel:
    """A Python process in a session of its own, as a notebook's kernel is, that runs a script.

    Args:
        script: its path.
        args: its arguments.
        how: more for `subprocess.Popen`.
    """

    def __init__(self, script: Path, *args: object, **how: Any) -> None:
        command = [sys.executable, "-W", "error", str(script), *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **how)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, timeout: float = 60.0) -> str:
        """Return the next line it prints."""
        line = self._lines.get(timeout=timeout)
        if line is None:
            raise EOFError(f"the kernel ended with status {self.process.wait(10)}")
        return line

    def wait_line(self, timeout: float) -> str | None:
        """Return the next line it prints, or None when there is none in time or it has ended."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            return None

    def signal(self, number: int) -> None:
        """Send a signal to its whole process group, as a terminal or Jupyter does."""
        os.killpg(self.process.pid, number)

    def kill(self, *, whole: bool = False) -> None:
        """End it at once, as a crash would.

        Args:
            whole: end all it started with it, as when the machine goes down; else its cluster notices by itself.
        """
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True) if whole else []
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Notebook:
    """A namespace cells are run in, as IPython does it."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._count = 0

    def cell(self, source: str) -> None:
        """Run a cell."""
        self._count += 1
        exec(compile(source, f"<cell {self._count}>", "exec"), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


def acknowledged(store: Store, run_id: str) -> Counter[tuple[str, int]]:
    """Return how often each task (step, element) was recorded as having its value."""
    found: Counter[tuple[str, int]] = Counter()
    for entry in store.read(run_id):
        event = decode_event(entry.data)
        if isinstance(event, Outcomes):
            for column in event.columns:
                for place, status in enumerate(column.status):
                    if status in (COMPLETED, CACHED):
                        found[column.step, column.lo + place] += 1
    return found


class Watch:
    """Checks that no task acknowledged at some moment runs again after it.

    Args:
        store: where the run is.
        run_id: the run; there may be none yet.
        step: the step whose tasks note their index in the log.
        log: the log.
    """

    def __init__(self, store: Store, run_id: str, step: str, log: Path) -> None:
        self.store, self.run_id, self.step, self.log = store, run_id, step, log
        self._moments: list[tuple[set[int], int]] = []

    def look(self) -> int:
        """Remember what is acknowledged now; return how many tasks that are."""
        tasks = acknowledged(self.store, self.run_id)
        # In this order: the line of every acknowledged task is before this place.
        self._moments.append(({element for step, element in tasks if step == self.step}, len(self.lines())))
        return len(self._moments[-1][0])

    def lines(self) -> list[int]:
        """Return the indices in the log, in order."""
        return [int(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def repeated(self) -> set[int]:
        """Return the tasks that ran again after they had been acknowledged."""
        lines = self.lines()
        return {index for done, place in self._moments for index in lines[place:] if index in done}


def eventually(true: Callable[[], Any], timeout: float = 20.0, what: str = "") -> Any:
    """Wait for something another process brings about, and return it; fail when it does not come."""
    deadline = time.monotonic() + timeout
    while not (found := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or true}")
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def took(least: float, most: float) -> Iterator[None]:
    """Check how long a block takes."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    assert least <= seconds <= most, f"it took {seconds:.2f} s, not between {least} and {most} s"
