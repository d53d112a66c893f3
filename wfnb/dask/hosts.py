"""How a kernel hands a run over to a host, and how hosts are found and started. Imports host, owners and store."""

from __future__ import annotations

import contextlib
import logging
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from wfnb.dask.asking import ask, begin, threads_of
from wfnb.dask.door import Caller
from wfnb.dask.hosting import HOST, METADATA, TASK, Birth, Task, settings, task_pack, topic
from wfnb.dask.owners import await_free, driven, is_gone
from wfnb.model.errors import RunExists, RunHasDriver, RunNotFound
from wfnb.model.events import RunStarted, decode_event
from wfnb.store.base import Store

log = logging.getLogger("wfnb")

PATIENCE = 5.0
"""Seconds a host may take to answer before another is started."""
TRIES = 3
"""How many workers are asked to start a host before the kernel drives."""
START = 30.0
"""Seconds a new host may take to be there."""
_LOOK = 0.001
"""Seconds before the second look for an answer; later ones come further apart."""


class Hosts:
    """The hosts this process knows, by the scheduler's address."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def hand_over(
        self,
        connect: Callable[[], Any],
        store: Store,
        task: Task,
        rank: int,
        birth: Birth | None = None,
        caller: Caller | None = None,
        token: str = "",
    ) -> bool:
        """Have a run driven beside its cluster; return whether a host does. A new run is in the store afterwards.

        Args:
            connect: returns a client of the run's cluster.
            store: holds the run.
            task: what a driver needs to know.
            rank: the run's priority, 1 (first) to 20 (last).
            birth: the run, where it is not in the store yet.
            caller: the short way to a host, where there is one.
            token: names the request, the same for each try at it; made where it is not given.

        Raises:
            RunHasDriver: another driver has taken the run meanwhile.
            RunExists: there is another run with the id of a new one.
            OSError: the cluster went away meanwhile.
        """
        token = token or secrets.token_hex(8)
        sent = None
        if birth is not None and not birth.made:
            sent = birth.light() if caller is not None else None
            if sent is None:
                birth.create(store)
        lease = store.lease(task.run_id) if sent is None else None
        if lease is not None and lease.expires_in > 0 and not is_gone(lease.owner):
            if _beginning(store, task.run_id, lease.epoch) == token:
                return True  # an earlier try has come to its end meanwhile
            raise driven(task.run_id, lease)
        before = 0 if lease is None else lease.epoch
        message = {"run": task.run_id, "store": store.url, "secret": task.secret, "rank": rank, "token": token}
        if caller is not None and self._called(caller, store, task, {**message, "birth": sent}, before):
            return True
        if birth is not None:
            try:
                birth.create(store)
            except RunExists:
                if _beginning(store, task.run_id, 1) != token:
                    raise
                birth.made = True  # by the host, whatever it says
        client = connect()
        store.append(task.run_id, [], epoch=None, packs={TASK: task_pack(task)})
        for again in (False, True):
            name = self._host(client, anew=again)
            if not name:
                continue
            told = begin(client, client.scheduler.log_event, topic=topic(name), msg=message)
            if self._answered(store, name, task.run_id, before, token, told):
                return True
            if not _freed(store, task.run_id, token):  # a host that died just now leaves its lease
                return True
            refused, why = _said(client).get("refused") or ("", "")
            if refused == task.run_id:
                log.warning("the host on '%s' cannot drive run '%s': %s", name.partition(":")[0], refused, why)
        return False

    def _called(self, caller: Caller, store: Store, task: Task, message: dict[str, Any], before: int) -> bool:
        """Ask a host directly; return whether it drives."""
        try:
            if caller.ask("drive", {**message, "task": task}, within=PATIENCE):
                return True
        except OSError:
            caller.close()
        lease = None
        with contextlib.suppress(RunNotFound):  # it was to make the run first
            lease = store.lease(task.run_id)
        if lease is None or lease.epoch <= before:
            return False
        # It has taken the run up, and takes long to read its journal, or is gone since; or another was quicker.
        token = message["token"]
        if message["birth"] is not None and _beginning(store, task.run_id, 1) != token:
            return False  # another run has its id
        return self._answered(store, lease.owner, task.run_id, before, token) or not _freed(store, task.run_id, token)

    def _answered(
        self, store: Store, host: str, run_id: str, before: int, token: str, told: Future[Any] | None = None
    ) -> bool:
        """Wait until a driver has taken the run; False when none has, or its host is gone; raises as the message."""
        until, pause = time.monotonic() + PATIENCE, _LOOK
        while True:
            lease = store.lease(run_id)
            if lease is not None and lease.epoch > before:
                found = _beginning(store, run_id, lease.epoch)
                if found == token:
                    return True
                if found is not None:
                    raise driven(run_id, lease)
                if lease.expires_in > 0 and not is_gone(lease.owner):
                    until = time.monotonic() + PATIENCE  # it reads the journal
            if told is not None and told.done():
                told.result()
            if time.monotonic() > until or is_gone(host):
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def _host(self, client: Any, *, anew: bool) -> str:
        """Return the name of a host of the cluster, started if need be, or "" when there is none to be had."""
        address = str(client.scheduler.address)
        with self._lock:
            known = self._known.get(address)
            if known is not None and not anew and not is_gone(known):
                return known
            self._known.pop(address, None)
            name, kept = self._registered(client)
            if kept and (not name or is_gone(name)):
                name = self._awaited(client, name) or name
            if not name or is_gone(name) or (anew and name == known):
                name = self._start(client, name)
            if name:
                self._known[address] = name
            return name

    @staticmethod
    def _registered(client: Any) -> tuple[str, bool]:
        """Return the name of the newest host, or "", and whether another comes by itself when it has ended."""
        said = _said(client)
        return str(said.get("name", "")), bool(said.get("kept"))

    def _awaited(self, client: Any, before: str) -> str:
        """Wait until there is a host other than the one before; "" when there is none in time."""
        until = time.monotonic() + START
        while time.monotonic() < until:
            name, _ = self._registered(client)
            if name and name != before:
                return name
            time.sleep(0.05)
        return ""

    def _start(self, client: Any, before: str) -> str:
        """Start a host on the machine of a worker, and wait until it is there."""
        address = client.scheduler.address
        for worker in sorted(threads_of(client))[:TRIES]:
            with contextlib.suppress(TimeoutError):  # it hangs, or is busy with code that lets nothing else run
                if ask(client, client._run, spawn, address, workers=[worker], on_error="ignore"):
                    return self._awaited(client, before)
        return ""


def _beginning(store: Store, run_id: str, epoch: int) -> str | None:
    """Return the token of the request by which a run's driver with that epoch began, or None before it has."""
    with contextlib.suppress(RunNotFound):
        entry = store.lookup(run_id, f"d{epoch}.1")
        event = decode_event(entry.data) if entry is not None else None
        if isinstance(event, RunStarted):
            return event.token
    return None


def _freed(store: Store, run_id: str, token: str) -> bool:
    """Wait until nobody drives a run; False when somebody does by this very request. Raises as `await_free`."""
    try:
        await_free(store, run_id)
    except RunHasDriver:
        lease = store.lease(run_id)
        if lease is not None and _beginning(store, run_id, lease.epoch) == token:
            return False
        raise
    return True


def _said(client: Any) -> dict[str, Any]:
    """Return what the newest host says of itself."""
    said: dict[str, Any] | None = ask(client, client.scheduler.get_metadata, keys=[METADATA], default=None)
    return said or {}


def spawn(address: str, *, dask_worker: Any = None) -> None:
    """Start a host from inside a worker, in a session of its own, as it outlives the worker.

    Args:
        address: the scheduler as the kernel reaches it; the worker's own way is used where there is one.
        dask_worker: the worker.
    """
    security = getattr(dask_worker, "security", None)
    address = dask_worker.scheduler.address if dask_worker is not None else address
    process = subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", HOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # It goes on when the script has ended whose terminal this may be; what it has to say is in journals, and told
        # to whoever asks it to drive.
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101  it was asked for
    with contextlib.suppress(BrokenPipeError), process.stdin as stream:
        stream.write(settings(address, security))
    threading.Thread(target=process.wait, daemon=True).start()  # so that no zombie is left
