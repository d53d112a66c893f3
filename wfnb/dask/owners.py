"""Drivers' names, and whether the driver of a name can still be alive. Standard library and model only.

A name says the host and process for people, and behind a slash which process that is exactly: the machine's boot, the
process namespace and the process's start. So a process on the same machine that has ended, or whose number another
process has now, is known to be gone without waiting for its lease to lapse.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import time
from pathlib import Path

from wfnb.model.errors import RunHasDriver
from wfnb.store.base import Lease, Store

_LOOK = 0.2
"""Seconds between looks at a lease that may lapse."""


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
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}/{_place()}-{_started(pid)}"


def asker() -> str:
    """Return who asks for something here, for the journal: user, machine and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the system does not know the user, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


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
    """Return the run's lease when it holds and its driver is not known to be gone, else None."""
    lease = store.lease(run_id)
    return None if lease is None or lease.expires_in <= 0 or is_gone(lease.owner) else lease


def await_free(store: Store, run_id: str) -> None:
    """Return once nobody drives a run: at once when its driver is known to be gone, else when its lease lapses.

    Raises:
        RunHasDriver: the driver is alive; known at once for one on this machine, else by its next renewal.
    """
    lease = store.lease(run_id)
    while lease is not None and lease.expires_in > 0:
        if is_gone(lease.owner):
            store.release(run_id, lease.epoch)
            return
        if is_here(lease.owner):
            raise driven(run_id, lease)
        lapses = time.monotonic() + lease.expires_in
        time.sleep(_LOOK)
        lease = store.lease(run_id)
        # A lease that now lapses later than it did was renewed: its driver is alive.
        if lease and lease.expires_in > 0 and time.monotonic() + lease.expires_in > lapses + _LOOK / 2:
            raise driven(run_id, lease)


def driven(run_id: str, lease: Lease) -> RunHasDriver:
    """Return the error that says who drives a run."""
    return RunHasDriver(
        f"run '{run_id}' is being driven by '{lease.owner.rpartition('/')[0]}'; wf.get_run('{run_id}') shows it, and "
        "can pause and cancel it",
        owner=lease.owner,
    )
