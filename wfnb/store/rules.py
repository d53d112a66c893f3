"""What every adapter checks and says alike: run ids, the errors' texts, hidden passwords. Imports model only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from wfnb.model.errors import (
    ConfigurationError,
    EntryExists,
    RunExists,
    RunHasDriver,
    RunNotFound,
    StaleEpoch,
)
from wfnb.store.base import Entry, Frame

_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def check_run_id(run_id: str) -> None:
    """Raise `ConfigurationError` unless the text may be the id of a run."""
    if not _RUN_ID.fullmatch(run_id):
        raise ConfigurationError(
            f"'{run_id[:200]}' cannot be the id of a run: use 1 to 128 letters, digits, '-', '_' or '.'"
        )


def not_found(run_id: str, place: str) -> RunNotFound:
    """Return the error for a run that is not in the store at `place`."""
    return RunNotFound(f"no run '{run_id}' in the store {place}; wf.runs() lists the runs that are there")


def run_exists(run_id: str, place: str) -> RunExists:
    """Return the error for an id that is taken."""
    return RunExists(
        f"a run '{run_id}' is already in the store {place}; choose another run_id, or go on with it by "
        f"wf.resume('{run_id}')"
    )


def stale_epoch(run_id: str, epoch: int, latest: int) -> StaleEpoch:
    """Return the error for a writer whose epoch is not the latest."""
    why = "another driver has taken the run" if latest > epoch else "no driver has acquired that epoch"
    return StaleEpoch(f"the write to run '{run_id}' was refused: its epoch is {epoch}, the run's is {latest}; {why}")


def entry_exists(run_id: str, key: str) -> EntryExists:
    """Return the error for an entry that is already recorded."""
    return EntryExists(f"run '{run_id}' already holds an entry with the key '{key}'; nothing was written", key=key)


def has_driver(run_id: str, owner: str, expires_in: float) -> RunHasDriver:
    """Return the error for a run that somebody drives."""
    return RunHasDriver(
        f"run '{run_id}' is driven by '{owner}', whose lease lasts another {max(expires_in, 0.0):.1f} s; "
        "cancel it there, or wait for the lease to lapse",
        owner=owner,
    )


def expires_in(expires: float, now: float) -> float:
    """Return how long a lease lasts: to a moment by the store's clock, 0 for one that was released."""
    return expires - now if expires else -math.inf


def repeated_key(entries: Sequence[Entry]) -> str | None:
    """Return the first key that two of the entries share, or None."""
    if len(entries) < 2:
        return None
    seen: set[str] = set()
    for entry in entries:
        if entry.key in seen:
            return entry.key
        seen.add(entry.key)
    return None


def size_of(frames: Iterable[Frame]) -> int:
    """Return the length of the frames together, in bytes."""
    return sum(map(len, frames))


def redact(url: str) -> str:
    """Return the URL with its password hidden, fit for messages and logs."""
    hidden = re.sub(r"^((?:[A-Za-z][\w+.-]*://)?[^/@:?#]*):(?!//).*@", r"\1:***@", url)
    return re.sub(r"([?&](?:[\w-]*password|token|secret)=)[^&#]*", r"\1***", hidden, flags=re.IGNORECASE)
