"""The short way to the host of a local cluster: a socket in the user's data folder. Imports rosters and threads.

Kernels on the same machine ask it directly, for which they need neither Dask nor the scheduler between them: that takes
a hundredth of a second less for each run, and half a second less for the first. Whatever goes wrong with it, there is
the other way.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wfnb.dask.rosters import PATIENCE
from wfnb.dask.threads import CREW

PROMPT = 5.0
"""Seconds a host has to say what it knows by heart."""
AVOIDED = 60.0
"""Seconds for which a host is not asked this way that did not answer."""
_LONGEST = 100
"""Bytes of a path that the system takes for a socket's, with some to spare."""


def may_be(place: Path) -> bool:
    """Return whether there can be a socket at a place."""
    return hasattr(socket, "AF_UNIX") and len(os.fsencode(place)) <= _LONGEST


class Door:
    """Answers kernels, in the host's process.

    Args:
        place: where the socket is to be.
        answer: answers a question: its name and arguments; what it raises goes to who asks.
        changed: called when a kernel has come or gone.
    """

    def __init__(self, place: Path, answer: Callable[..., Any], changed: Callable[[], None]) -> None:
        self._place = place
        self._answer = answer
        self._changed = changed
        self._lock = threading.Lock()
        self.kernels = 0

    def open(self) -> None:
        """Answer from now on."""
        from multiprocessing.connection import Listener

        self._place.unlink(missing_ok=True)  # that of one that was killed
        before = os.umask(0o177)  # nobody else may connect
        try:
            listener = Listener(str(self._place), "AF_UNIX", backlog=64)
        finally:
            os.umask(before)
        threading.Thread(target=self._listen, args=(listener,), name="wfnb-door", daemon=True).start()

    def _listen(self, listener: Any) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError):  # it went away again
                CREW.run(functools.partial(self._serve, listener.accept()), "wfnb-door")

    def _serve(self, kernel: Any) -> None:
        """Answer a kernel until it goes."""
        self._count(1)
        try:
            with contextlib.suppress(OSError, EOFError), kernel:
                while True:
                    name, args = kernel.recv()
                    try:
                        answer = True, self._answer(name, *args)
                    except Exception as error:  # noqa: BLE001  who asks goes the other way, and is told there
                        answer = False, f"{type(error).__name__}: {error}"
                    kernel.send(answer)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self.kernels += more
        self._changed()


class Caller:
    """A kernel's connections to a door.

    Args:
        place: where the door's socket is.
        address: the scheduler's address.
    """

    def __init__(self, place: Path, address: str) -> None:
        self.place = place
        self.address = address
        self._pid = os.getpid()
        self._idle: list[Any] = []
        self._avoided = 0.0

    def connect(self) -> bool:
        """Return whether somebody answers."""
        try:
            self._idle.append(self._connected())
        except OSError:
            return False
        return True

    def ask(self, name: str, *args: Any, within: float) -> Any:
        """Ask something, and return the answer.

        Args:
            name: what.
            args: what is to be known for it.
            within: seconds the answer may take.

        Raises:
            OSError: nobody is there, or no answer came in time, or it failed.
        """
        return self.begin(name, *args)(within)

    def begin(self, name: str, *args: Any) -> Callable[[float], Any]:
        """Ask something, and return what waits for the answer; see `ask`. It is to be called once, or never."""
        if self._pid != os.getpid():
            self._pid, self._idle = os.getpid(), []  # a fork must not use its parent's
        if time.monotonic() < self._avoided:
            raise ConnectionAbortedError(f"the host at '{self.place}' did not answer a while ago")
        try:
            door = self._idle.pop()
        except IndexError:
            door = self._connected()
        with self._closed_if_it_fails(door):
            door.send((name, args))

        def answer(within: float) -> Any:
            with self._closed_if_it_fails(door):
                if not door.poll(within):
                    self._avoided = time.monotonic() + AVOIDED
                    raise ConnectionAbortedError(f"the host at '{self.place}' does not answer within {within:g} s")
                well, answer = door.recv()
            self._idle.append(door)
            if not well:
                raise OSError(f"the host at '{self.place}' could not answer: {answer}")
            return answer

        return answer

    @contextlib.contextmanager
    def _closed_if_it_fails(self, door: Any) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            door.close()
            if isinstance(error, EOFError):
                raise ConnectionResetError(f"the host at '{self.place}' is gone") from error
            raise

    def _connected(self) -> Any:
        from multiprocessing.connection import Client

        return Client(str(self.place), "AF_UNIX")

    def close(self) -> None:
        """Hang up."""
        while self._idle:
            self._idle.pop().close()


class DoorRoster:
    """The workers of a local cluster as its host knows them; see `Roster`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._told: Callable[[float], Any] | None = None

    def begin(self) -> None:
        """Ask for the workers; `workers` takes the answer."""
        self._told = self._caller.begin("workers")

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return self._caller.address

    def workers(self) -> list[str]:
        """Return the workers' addresses."""
        told, self._told = self._told, None
        found: list[str] = (told or self._caller.begin("workers"))(PROMPT)
        return found

    def ask(self, workers: list[str], call: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Call a function on workers; see `Roster.ask`."""
        found: dict[str, Any] = self._caller.ask("ask", workers, call, args, within=2 * PATIENCE) if workers else {}
        return found

    def offers(self) -> dict[str, Mapping[str, float]]:
        """Return the resources that each worker offers."""
        found: dict[str, Mapping[str, float]] = self._caller.ask("offers", within=PATIENCE)
        return found
