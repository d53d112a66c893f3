"""The shared local cluster's place in the user's data folder: what makes it known, and the lock that says it lives.

Imports model and store. There is one for each environment (interpreter, packages, version of wfnb) and folder, as its
workers import what is installed there, and read the files that a relative path means there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import sysconfig
import time
from pathlib import Path
from typing import IO, Any

from wfnb.model.errors import ConfigurationError
from wfnb.store.keys import data_dir

STEER = "wfnb_steer"
"""The scheduler's operation by which a kernel scales and ends a local cluster."""
IDLE = 600.0
"""Seconds a cluster that nobody uses waits for the next kernel; ``WFNB_CLUSTER_IDLE`` says otherwise."""
OUTDATED = 5.0
"""Seconds it waits when its environment has changed: no kernel will come."""
_OLD = 24 * 3600.0
"""Seconds after which what a killed cluster has left is removed."""
_LOCK = 2.0
"""Seconds to try for the lock, which others take for a moment to look whether it is held."""


def idle_seconds() -> float:
    """Return for how many seconds a cluster waits that nobody uses.

    Raises:
        ConfigurationError: ``WFNB_CLUSTER_IDLE`` is no such number.
    """
    said = os.environ.get("WFNB_CLUSTER_IDLE", "")
    try:
        seconds = float(said or IDLE)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigurationError(
            f"WFNB_CLUSTER_IDLE is '{said}': give the seconds that a local cluster waits for its next user, such as 600"
        )
    return seconds


def fix_size(cluster: Any, n: int) -> None:
    """Set the number of workers of a Dask cluster, whatever it adapted to before."""
    adaptive = getattr(cluster, "_adaptive", None)
    if adaptive is not None:
        adaptive.stop()
    cluster.scale(n)


def environment() -> str:
    """Return a digest of the installed packages and of wfnb, as far as file times tell."""
    found = hashlib.blake2b(digest_size=8)
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    own = [str(path) for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    for path in (*sorted(folders), *own):
        with contextlib.suppress(OSError):
            found.update(f"{path}{os.stat(path).st_mtime_ns}".encode())
    return found.hexdigest()


def place() -> Path:
    """Return the file that makes the cluster of this environment and folder known."""
    said = (socket.gethostname(), sys.executable, os.getcwd(), os.environ.get("PYTHONPATH", ""), environment())
    digest = hashlib.blake2b("\0".join(said).encode(), digest_size=8).hexdigest()
    return data_dir() / "clusters" / f"{digest}.json"


class Shared:
    """A shared cluster's place.

    Args:
        place: the file that makes it known.

    Attributes:
        log: the file its messages go to.
        door: where its host answers kernels directly.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log = place.with_suffix(".log")
        self.door = place.with_suffix(".door")
        self._lock = place.with_suffix(".lock")
        self._environment = ""
        self._file: IO[str] | None = None

    # -- the cluster's part ----------------------------------------------------------------------------------------

    def hold(self) -> bool:
        """Take the lock for as long as this process lives; return whether it was free."""
        self._environment = environment()
        until = time.monotonic() + _LOCK
        while not self._take():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        self.withdraw()
        self._sweep()
        return True

    def _take(self) -> bool:
        """Try once for the lock."""
        import fcntl

        file = self._lock.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_lock(file):
                self._file = file
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        file.close()
        return False

    def _is_lock(self, file: IO[str]) -> bool:
        """Whether a file is the lock still: who ends removes it, and then others see a lock on another."""
        return os.fstat(file.fileno()).st_ino == os.stat(self._lock).st_ino

    def _sweep(self) -> None:
        """Remove what clusters have left that were killed, and that nobody has begun since."""
        for lock in self.place.parent.glob("*.lock"):
            with contextlib.suppress(FileNotFoundError):
                other = Shared(lock.with_suffix(".json"))
                if time.time() - lock.stat().st_mtime > _OLD and other._take():
                    other.withdraw()
                    other.leave()

    def leave(self) -> None:
        """Remove the last of it: from now on another may begin."""
        self.log.unlink(missing_ok=True)
        self._lock.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()

    def publish(self, address: str) -> None:
        """Make the cluster known."""
        temporary = self.place.with_suffix(".new")
        temporary.write_text(json.dumps({"address": address, "pid": os.getpid(), "folder": os.getcwd()}))
        temporary.chmod(0o600)
        temporary.replace(self.place)

    def withdraw(self) -> None:
        """Make it known no more."""
        self.place.unlink(missing_ok=True)
        self.door.unlink(missing_ok=True)

    def patience(self) -> float:
        """Return for how many seconds it waits for somebody to use it."""
        idle = idle_seconds()
        return idle if environment() == self._environment else min(idle, OUTDATED)

    # -- a kernel's part -------------------------------------------------------------------------------------------

    def held(self) -> bool:
        """Whether a process has the lock: it is there, or starting."""
        import fcntl

        while True:
            try:
                with self._lock.open() as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    if self._is_lock(file):
                        return False
            except FileNotFoundError:
                return False
            except BlockingIOError:
                return True

    def read(self) -> str | None:
        """Return the scheduler's address, or None while it is not known."""
        try:
            said: dict[str, Any] = json.loads(self.place.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return str(said["address"])

    def last_words(self) -> str:
        """Return the last lines of its messages."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
        except FileNotFoundError:
            return ""
