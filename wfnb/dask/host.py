"""Where drivers live: a process beside the cluster that outlives the kernels it drives runs for.

A kernel stores what a driver needs to know, and sends a message by way of the scheduler, which both can reach; the host
takes the run's lease, and says in the run's journal that it drives. It needs no code of the user and opens no port.

Run as a program (``python -m wfnb.dask.host``) this module is a host. It ends when the scheduler does, when nothing was
asked of it for a while, or, told to follow whoever started it, with that one.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import gc
import json
import logging
import os
import pickle
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from wfnb.dask.asking import begin, threads_of
from wfnb.dask.door import Door
from wfnb.dask.driver import Driver
from wfnb.dask.executor import DaskExecutor
from wfnb.dask.hosting import METADATA, TASK, topic
from wfnb.dask.owners import own_name
from wfnb.dask.rosters import DaskRoster
from wfnb.dask.threads import CREW
from wfnb.model.errors import RunExists, RunHasDriver, StoreError, WfnbError
from wfnb.store.codec import Codec
from wfnb.store.urls import open_store

NAME = "wfnb-host"
"""What a host's process is called, where a process can have a name."""
WORKERS = "all"
"""The scheduler's own topic of what happens to its workers."""
IDLE = 600.0
"""Seconds without a run after which a host that follows nobody ends."""
LAST = 3.0
"""Seconds drivers have to say that their cluster is gone."""
CONNECT_TIMEOUT = 10.0
"""Seconds a host tries to reach its scheduler, which was there when the host was started."""
ECHO = 0.1
"""Seconds until a host asks again whether messages come through."""
ROUND = 20_000
"""New objects after which the garbage collector comes by: a driver makes many that stay, and few that are garbage."""
SOON = 0.2
"""Seconds in which the scheduler hears how many runs it drives: most are over by then, and need not be told of."""
END = 3.0
"""Seconds a host that follows has for an orderly end."""

log = logging.getLogger("wfnb")


class Host:
    """Drives the runs it is asked to.

    Args:
        client: connected to the cluster.
        kept: whether another is started when it has ended.
        door: where kernels of this machine can ask it directly, or None.
    """

    def __init__(self, client: Any, *, kept: bool = False, door: Path | None = None) -> None:
        self.name = own_name()
        self.kept = kept
        self.client = client
        self._workers: Mapping[str, int] | None = None
        self._changes = 0
        self._estimates: dict[str, float] = {}
        self._drivers: dict[Driver, DaskExecutor] = {}
        self._lock = threading.Lock()
        self._heard = threading.Event()
        self.door = None if door is None else Door(door, self.answer, self._tell_soon)
        self._telling = False
        self._told: dict[str, Any] = {}
        self._idle_since = time.monotonic()

    def open(self) -> None:
        """Take messages from now on, and be found."""
        own = topic(self.name)
        self.client.subscribe_topic(WORKERS, self._see)
        self.client.subscribe_topic(own, self._receive)
        # What asks for messages goes another way than what makes it known, and may come later: what is sent before
        # is lost, and whoever sent it waits in vain.
        while self.client.status == "running":
            self.client.log_event(own, {})
            if self._heard.wait(ECHO):
                break
        self._tell()
        if self.door is not None:
            self.door.open()

    def idle(self) -> float:
        """Return for how many seconds it has had nothing to drive."""
        with self._lock:
            return 0.0 if self._drivers else time.monotonic() - self._idle_since

    def close(self) -> None:
        """Give its drivers a moment to say that their cluster is gone."""
        with self._lock:
            drivers = list(self._drivers)
        until = time.monotonic() + LAST
        for driver in drivers:
            driver.done.wait(max(0.0, until - time.monotonic()))

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        self._heard.set()
        if event[1]:  # in a thread: this is the client's event loop
            CREW.run(functools.partial(self._take_up, event[1]), "wfnb-take-up")

    def _see(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take in what happened to a worker: tasks of one that died are looked after at once."""
        said = event[1]
        if said.get("action") in ("add-worker", "remove-worker"):
            self._changes, self._workers = self._changes + 1, None
        if said.get("action") == "remove-worker" and not said.get("expected", True):
            with self._lock:
                executors = list(self._drivers.values())
            for executor in executors:
                executor.lost(said.get("processing-tasks", ()))

    def workers(self) -> Mapping[str, int]:
        """Return how many threads each worker has; asked for only when some came or went. Raises OSError."""
        before, known = self._changes, self._workers
        if known is None:
            known = self._workers = threads_of(self.client)
            if before != self._changes:
                self._workers = None
        return known

    def threads(self) -> int:
        """Return how many threads the workers have together; raises OSError."""
        return sum(self.workers().values())

    def answer(self, name: str, *args: Any) -> Any:
        """Answer what a kernel asks at the door."""
        match name:
            case "workers":
                return list(self.workers())
            case "ask":
                workers, call, more = args
                return DaskRoster(self.client).ask(workers, call, *more)
            case "offers":
                return DaskRoster(self.client).offers()
            case "drive":
                driver = self._take_up(*args)
                if driver is None:
                    return False
                driver.began.wait()
                return driver.drives
        raise ValueError(f"nobody asks for '{name}'")

    def _take_up(self, message: dict[str, Any]) -> Driver | None:
        """Drive a run, unless that cannot be."""
        run_id = str(message["run"])
        try:
            secret = bytes(message["secret"])
            store = open_store(message["store"])
            task = message.get("task")
            if task is None:
                (task,) = Codec(secret).decode_pack(store.load(run_id, [TASK])[TASK])
            started = replace(task.started, driver=self.name, token=str(message["token"]))
            with self._lock:
                estimates = {**task.estimates, **self._estimates}
            task = replace(task, started=started, secret=secret, estimates=estimates)
            executor = DaskExecutor(self.client, int(message["rank"]), self.threads)
            driver = Driver(task, store, executor, self._ended, message.get("birth"))
        except (RunHasDriver, RunExists):
            return None  # whoever asks sees that another was quicker
        except (WfnbError, KeyError) as error:
            log.error("run '%s' cannot be driven here: %s", run_id, error)
            self._tell(refused=(run_id, str(error)))
            return None
        with self._lock:
            self._drivers[driver] = executor
        driver.start()
        self._tell_soon()
        return driver

    def _ended(self, driver: Driver) -> None:
        with self._lock:
            self._estimates.update(driver.engine.state.estimates)
            self._drivers.pop(driver, None)
            self._idle_since = time.monotonic()
        if driver.error is not None and not isinstance(driver.error, StoreError):
            log.error("%s", driver.error)
        self._tell_soon()

    def _tell_soon(self) -> None:
        """Have the scheduler know how it is in a moment, unless that changes nothing for it; returns at once."""
        with self._lock:
            if self._telling:
                return
            self._telling = True
        CREW.run(self._tell_later, "wfnb-tell")

    def _tell_later(self) -> None:
        time.sleep(SOON)
        with self._lock:
            self._telling = False
        self._tell()

    def _tell(self, refused: tuple[str, str] | None = None) -> None:
        """Have the scheduler know how it is; returns at once."""
        kernels = 0 if self.door is None else self.door.kernels
        with self._lock:
            state = {"name": self.name, "runs": len(self._drivers), "kept": self.kept}
            state |= {"refused": refused, "kernels": kernels}
            if self.client.status == "running" and state != self._told:
                self._told = state
                with contextlib.suppress(OSError):  # the scheduler is gone just now, and nobody asks any more
                    begin(self.client, self.client.scheduler.set_metadata, keys=[METADATA], value=state)


def main() -> None:
    """Be a host for the scheduler named in the first line of standard input."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--follow", action="store_true", help="end when standard input does")
    options = parser.parse_args()
    serve(sys.stdin, follow=options.follow)


def serve(said: IO[str], *, follow: bool) -> None:
    """Be a host in this process.

    Args:
        said: its first line says which scheduler is served.
        follow: end when that ends.
    """
    from distributed import Client

    # Its end comes with the scheduler's: what Dask says of that is no news.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)  # for people who look at processes
    line = said.readline()
    if not line:
        return  # whoever started it is gone already
    named = json.loads(line)
    # It came from the process that started this one.
    security = pickle.loads(base64.b64decode(named["security"])) if named["security"] else None  # noqa: S301
    over = threading.Event()
    if follow:
        threading.Thread(target=_follow, args=(said, over), daemon=True).start()
    connect: Any = Client
    try:
        client = connect(
            named["address"], security=security, set_as_default=False, timeout=CONNECT_TIMEOUT, name="wfnb-host"
        )
        host = Host(client, kept=follow, door=Path(named["door"]) if named["door"] else None)
        host.open()
    except OSError as error:
        log.error("the scheduler that this host was to serve is gone: %s", error)
        return
    # All that is loaded stays: a full round of the garbage collector over it takes 80 ms, in the middle of a run.
    gc.collect()
    gc.freeze()
    gc.set_threshold(ROUND)
    # Drivers give up as soon as the scheduler is not there; so nothing is left to wait for.
    while not over.wait(1.0) and client.status == "running":
        if not follow and host.idle() > IDLE:
            break
    client.close(timeout=2)
    host.close()


def _follow(said: IO[str], over: threading.Event) -> None:
    """Say that it is over when the process that started this one is gone: it holds the other end."""
    said.read()
    over.set()
    time.sleep(END)
    os._exit(0)  # it may be waiting for a scheduler that is gone, too


if __name__ == "__main__":
    main()
