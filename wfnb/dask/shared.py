"""The shared local cluster's place in the user's data folder: what makes it known, and the lock that says it lives.

Imports store. There is one for each environment (interpreter, packages, version of wfnb) and folder, as its workers
import what is installed there, and read the files that a relative path means there.
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

from wfnb.store.keys import data_dir

STEER = "wfnb_steer"
"""The scheduler's operation by which a kernel scales and ends a local cluster."""
IDLE = 600.0
"""Seconds a cluster that nobody uses waits for the next kernel; ``WFNB_CLUSTER_IDLE`` says otherwise."""
OUTDATED = 5.0
"""Seconds it waits when its environment has changed: no kernel will come."""
_LOCK = 2.0
"""Seconds to try for the lock, which others take for a moment to look whether it is held."""


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
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log = place.with_suffix(".log")
        self._environment = ""
        self._file: IO[str] | None = None

    # -- the cluster's part ----------------------------------------------------------------------------------------

    def hold(self) -> bool:
        """Take the lock for as long as this process lives; return whether it was free."""
        import fcntl

        self._environment = environment()
        self._file = self.place.with_suffix(".lock").open("w")
        until = time.monotonic() + _LOCK
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    self._file.close()
                    return False
                time.sleep(0.05)
                continue
            self.withdraw()
            return True

    def publish(self, address: str) -> None:
        """Make the cluster known."""
        temporary = self.place.with_suffix(".new")
        temporary.write_text(json.dumps({"address": address, "pid": os.getpid(), "folder": os.getcwd()}))
        temporary.chmod(0o600)
        temporary.replace(self.place)

    def withdraw(self) -> None:
        """Make it known no more."""
        self.place.unlink(missing_ok=True)

    def patience(self) -> float:
        """Return for how many seconds it waits for somebody to use it."""
        idle = float(os.environ.get("WFNB_CLUSTER_IDLE", IDLE))
        return idle if environment() == self._environment else min(idle, OUTDATED)

    # -- a kernel's part -------------------------------------------------------------------------------------------

    def held(self) -> bool:
        """Whether a process has the lock: it is there, or starting."""
        import fcntl

        try:
            with self.place.with_suffix(".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

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
