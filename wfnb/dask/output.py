"""What tasks print and log, caught with the task it belongs to. Standard library only.

Output is routed by thread: while a bundle runs in a thread, what that thread writes to stdout and stderr, and what it
logs, goes to the bundle's sink; every other thread writes where it always did.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

TASK_LOGGER = "wfnb.task"
"""The logger behind `Context.log`."""


class Sink(Protocol):
    """Takes what the running task writes."""

    def write(self, stream: str, text: str) -> None:
        """Take some text.

        Args:
            stream: "stdout", "stderr" or the name of a log level.
            text: what was written.
        """
        ...


_local = threading.local()
_lock = threading.Lock()
_users = 0
_saved: dict[str, Any] = {}


class _Router:
    """Stands in for a standard stream; hands text to the thread's sink, or to the stream it stands for."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        sink = getattr(_local, "sink", None)
        if sink is None:
            written: int = self._stream.write(text)
            return written
        if text:
            sink.write(self._name, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if getattr(_local, "sink", None) is None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    def handle(self, record: logging.LogRecord) -> Any:
        # Without the handler's lock: sinks are the threads' own, and a task stopped between the lock's taking and its
        # release would leave every other task waiting for it.
        kept = self.filter(record)
        if kept:
            self.emit(record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        sink = getattr(_local, "sink", None)
        if sink is not None:
            sink.write(record.levelname.lower(), self.format(record) + "\n")


_handler = _Handler()
_handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))


def _install() -> None:
    root = logging.getLogger()
    _saved.update(level=root.level, stdout=sys.stdout, stderr=sys.stderr)
    sys.stdout = _Router(sys.stdout, "stdout")
    sys.stderr = _Router(sys.stderr, "stderr")
    root.addHandler(_handler)
    if root.level in (logging.NOTSET, logging.WARNING):
        # The default hides logging.info(), which is what people write in a step and then look for.
        root.setLevel(logging.INFO)
    own = logging.getLogger(TASK_LOGGER)
    if own.level != logging.DEBUG:  # to set a level takes long: every logger's memory is cleared
        own.setLevel(logging.DEBUG)


def _restore() -> None:
    root = logging.getLogger()
    root.removeHandler(_handler)
    root.setLevel(_saved["level"])
    # Somebody may have put another stream in place meanwhile: theirs stays.
    if isinstance(sys.stdout, _Router):
        sys.stdout = _saved["stdout"]
    if isinstance(sys.stderr, _Router):
        sys.stderr = _saved["stderr"]


@contextlib.contextmanager
def captured(sink: Sink) -> Iterator[None]:
    """Send what this thread prints and logs to the sink while the block runs."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _install()
    before = getattr(_local, "sink", None)
    _local.sink = sink
    try:
        yield
    finally:
        _local.sink = before
        with _lock:
            _users -= 1
            if _users == 0:
                _restore()
