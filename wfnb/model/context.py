"""`Context`, what a running task may know and say about itself. Imports nothing of wfnb."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol


class ProgressSink(Protocol):
    """Where a task reports how far it is."""

    def __call__(self, fraction: float, message: str, /) -> None:
        """Take in how far the task is, 0 to 1, and what it is doing."""


class Token(Protocol):
    """Says whether a task is to stop."""

    def __call__(self) -> bool:
        """Return whether it is."""


def _nowhere(_fraction: float, _message: str) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Context:
    """What a running task may know and say about itself; given to the parameter annotated `wf.Context`.

    Args:
        run_id: the run's id, or "" when the function is called directly.
        address: the task's address, such as ``train[3]``.
        attempt: 1 for the first call, 2 for the first retry, ...
        log: a logger whose records belong to this task.
    """

    run_id: str = ""
    address: str = ""
    attempt: int = 1
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("wfnb.task"))
    sink: ProgressSink = field(default=_nowhere, repr=False)
    token: Token = field(default=_never, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the task is to stop: its run was cancelled, its value is not wanted any more, or its time is up.

        A task that looks at this every now and then is given half a second to return by itself before it is stopped by
        an exception; what it returns then does not count. False when the function is called directly.
        """
        return self.token()

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far the task is.

        Args:
            fraction: 0 to 1.
            message: a few words on what is being done.
        """
        self.sink(min(max(float(fraction), 0.0), 1.0), message)
