"""Exceptions raised in another thread, which is how plain Python code is stopped. Imports nothing of wfnb."""

from __future__ import annotations

import contextlib
import ctypes
import time


class _Nothing(BaseException):
    """A signal that means nothing."""


def send(thread: int, signal: type[BaseException]) -> None:
    """Raise an exception in a thread, at the next Python instruction it comes to.

    Args:
        thread: its identifier.
        signal: the exception's type.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(signal))


def take_back(thread: int) -> None:
    """Take back what was sent to a thread and has not arrived; then `settle` there."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


def settle(thread: int) -> None:
    """Let this thread get a signal and do nothing about it.

    Python looks for a signal that was taken back at every call from then on, and under a profiler for ever (CPython
    3.11); one that arrives ends that.
    """
    with contextlib.suppress(_Nothing):
        send(thread, _Nothing)
        while True:
            time.sleep(0)
