"""Drivers' names, and whether the driver of a name can still be alive. Standard library and model only.

A name says the host and process for people, and behind a slash which process that is exactly: the machine's boot, the
process namespace and the process's start. So a process on the same machine that has ended, or whose number another
process has now, is known to be gone without waiting for its lease to lapse.
"""

from __future__ import annotations

import getpass
import hashlib
import math
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from wfnb.model.errors import RunHasDriver
from wfnb.store.base import Lease, Store

PRUNER = "prune "
"""How the name of whoever removes a run begins, while it holds the run's lease."""
_LOOK = 0.2
"""Seconds between looks at a lease that may lapse."""
RETURN = 10.0
"""Seconds of a store that works in which a living driver renews a lease that has lapsed; as long as a lease."""
LONGEST = 90.0
"""Seconds after which a driver has given up a store that it could not reach, and with it a lease that has lapsed."""
_REMEMBERED = 1_000
"""So many leases that have lapsed are remembered of a store."""


def _place() -> str:
    """The machine's boot and process namespace in a few characters, or "" where neither can be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return ""
    return hashlib.blake2b(f"{boot}{namespace}".encode(), digest_size=6).hexdigest()


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot, or "" when there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def own_name() -> str:
    """Return the name of a driver in this process."""
    return _own_name(os.getpid())


@cache
def _own_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}/{_place()}-{_started(pid)}"


def asker() -> str:
    """Return who asks for something here, for the journal: user, machine and process."""
    return _asker(os.getpid())


@cache
def _asker(pid: int) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the system does not know the user, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{pid}"


def is_here(name: str) -> bool:
    """Return whether the name is of a process this process can look at."""
    place = _place()
    return bool(place) and name.rpartition("/")[2].partition("-")[0] == place


def is_gone(name: str) -> bool:
    """Return whether the process of that name is known to have ended; False also when that cannot be told."""
    if not is_here(name):
        return False
    process, _, token = name.rpartition("/")
    pid = process.rpartition(":")[2]
    return pid.isdigit() and _started(int(pid)) != token.partition("-")[2]


def live_lease(store: Store, run_id: str) -> Lease | None:
    """Return the run's lease, else None when its driver is lost: known to be gone, or silent although the store works.

    A lease may lapse because nobody could renew it: the store was away, or the machine slept. The driver renews it as
    soon as it can, so one that has lapsed counts for `RETURN` seconds of a store that works. Where the store has been
    seen to work all the time, it counts for half of them if the driver's process is alive here, and no longer if it is
    elsewhere. Of one elsewhere it does not count either when it lapsed `LONGEST` ago.
    """
    lease = store.lease(run_id)
    if lease is None or lease.expires_in == -math.inf or is_gone(lease.owner):
        return None
    now = time.monotonic()
    with _lock:
        seen = _seen.setdefault(store.place, _Seen(now, now))
        if now - seen.last > RETURN / 2:
            seen.since = now  # it may have been away for as long as makes a lease lapse
        seen.last = now
        key = (run_id, lease.epoch)
        if lease.expires_in > 0:
            seen.lapsed.pop(key, None)
            return lease
        here, worked = is_here(lease.owner), now - seen.since >= RETURN
        grace = RETURN if not worked else RETURN / 2 if here else 0.0
        since = seen.lapsed.setdefault(key, now)
        if len(seen.lapsed) > _REMEMBERED:
            del seen.lapsed[next(iter(seen.lapsed))]
    return None if now - since >= grace or (not here and lease.expires_in < -LONGEST) else lease


@dataclass(slots=True)
class _Seen:
    """What this process has seen of a store: since when it has worked, when last, and which leases lapsed when."""

    since: float
    last: float
    lapsed: dict[tuple[str, int], float] = field(default_factory=dict)


_seen: dict[str, _Seen] = {}
_lock = threading.Lock()


def await_free(store: Store, run_id: str) -> None:
    """Return once nobody drives a run: at once when its driver is known to be gone, else when it is lost.

    Raises:
        RunHasDriver: the driver is alive; known at once for one on this machine, else by its next renewal.
    """
    lapses = math.inf
    while (lease := live_lease(store, run_id)) is not None:
        now, pause = time.monotonic(), _LOOK
        if lease.expires_in > 0:
            # A lease that now lapses later than it did was renewed: its driver is alive.
            if is_here(lease.owner) or now + lease.expires_in > lapses + _LOOK / 2:
                if store.get(run_id).status in ("queued", "running", "paused"):
                    raise driven(run_id, lease)
                pause = _LOOK / 20  # it has recorded the run's end, and lets go of the lease next
            lapses = now + lease.expires_in
        else:
            lapses = min(lapses, now)
        time.sleep(pause)
    lease = store.lease(run_id)
    if lease is not None and lease.expires_in > 0 and is_gone(lease.owner):
        store.release(run_id, lease.epoch)


def driven(run_id: str, lease: Lease) -> RunHasDriver:
    """Return the error that says who drives a run."""
    return RunHasDriver(
        f"run '{run_id}' is being driven by '{lease.owner.rpartition('/')[0]}'; wf.get_run('{run_id}') shows it, and "
        "can pause and cancel it",
        owner=lease.owner,
    )
