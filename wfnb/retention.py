"""Which runs a store keeps, and the removal of the others. Imports store, and the names of drivers.

Never removed are runs that are not over, and runs whose values a run that is kept uses. Whoever removes a run takes its
lease first, so that it is not removed under somebody who takes it up or forks it, nor twice.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from wfnb.dask.leases import LEASE
from wfnb.dask.owners import PRUNER, own_name
from wfnb.model.errors import ConfigurationError, RunHasDriver, RunNotFound, StaleEpoch, StoreError
from wfnb.store.base import ENDED, RunRecord, Store

EVERY = 300.0
"""Seconds between two times that a process looks by itself for runs to remove from a store."""
_ALL = 1 << 31
_OPEN = ("queued", "running", "paused")
_GROUPS = (("completed",), ("failed", "cancelled"))
_DAY = 24 * 3600.0

log = logging.getLogger("wfnb")


@dataclass(frozen=True, slots=True)
class Retention:
    """Which runs are kept.

    Args:
        completed: so many completed runs, those that ended last; None for all.
        failed: so many failed and cancelled runs; None for all.
        days: only runs that ended in the last so many days; None for no limit.
        bytes: as many runs as fit into so many bytes, those that ended last; None for no limit.

    Raises:
        ConfigurationError: a limit is negative or no number.
    """

    completed: int | None = 100
    failed: int | None = 500
    days: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("completed", "failed", "days", "bytes"):
            limit = getattr(self, name)
            if limit is None:
                continue
            counted = name in ("completed", "failed")
            if isinstance(limit, bool) or not isinstance(limit, int if counted else int | float) or not limit >= 0:
                what = "a whole number" if counted else "a number"
                raise ConfigurationError(f"a limit of what is kept, '{name}', is {limit!r}: give {what} or None")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed from a store, or would have been.

    Args:
        runs: the ids of the runs, those that ended last first.
        bytes: what they took in the store, about.
        dry_run: whether they are still there.
    """

    runs: tuple[str, ...]
    bytes: int
    dry_run: bool = False

    def __repr__(self) -> str:
        from wfnb.views.words import size

        count = len(self.runs)
        many = "no run" if not count else "1 run" if count == 1 else f"{count:,} runs"
        names = ", ".join(self.runs[:10]) + (", ..." if count > 10 else "")
        done = "would remove" if self.dry_run else "removed"
        return f"{done} {many}, {size(self.bytes)}" + (f": {names}" if count else "")


def older_than_days(age: float | timedelta | None) -> float | None:
    """Return an age in days; raises ConfigurationError for what is none."""
    if isinstance(age, timedelta):
        return age.total_seconds() / _DAY
    if age is None or (isinstance(age, int | float) and not isinstance(age, bool)):
        return age
    raise ConfigurationError(f"an age is a number of days or a datetime.timedelta, not {age!r}")


def prune(store: Store, keep: Retention, *, dry_run: bool = False) -> Pruned:
    """Remove the runs that are not to be kept from a store; return what was removed.

    Args:
        store: the store.
        keep: which runs are kept.
        dry_run: whether to say only what would be removed.

    Raises:
        StoreError: the store failed; what was removed by then is gone.
    """
    chosen = _chosen(store, keep)
    sizes = store.sizes([record.id for record in chosen])
    # Forks first: a run that a fork uses cannot go before it.
    gone = {
        record.id
        for record in sorted(chosen, key=lambda record: record.created, reverse=True)
        if dry_run or _remove(store, record)
    }
    removed = [record.id for record in chosen if record.id in gone]
    return Pruned(tuple(removed), sum(sizes.get(run_id, 0) for run_id in removed), dry_run)


def _chosen(store: Store, keep: Retention) -> list[RunRecord]:
    """Return the runs that are over and not to be kept, those that ended last first."""
    # In this order: a run that ends meanwhile is seen twice, never left out.
    active = store.find(statuses=_OPEN, limit=_ALL)
    ended = store.find(statuses=ENDED, limit=_ALL)
    ended.sort(key=lambda record: (record.updated, record.created), reverse=True)
    left: dict[str, RunRecord] = {}
    for statuses, most in zip(_GROUPS, (keep.completed, keep.failed), strict=True):
        group = [record for record in ended if record.status in statuses]
        left.update((record.id, record) for record in group[:most])
    if keep.days is not None:
        since = time.time() - keep.days * _DAY
        left = {record.id: record for record in left.values() if record.updated >= since}
    if keep.bytes is not None:
        left = _fitting(store, keep.bytes, active, [record for record in ended if record.id in left])
    kept = {record.id for record in active} | set(left)
    parents = {record.id: record.parent for record in (*active, *ended)}
    for run_id in list(kept):
        while (run_id := parents.get(run_id, "")) and run_id not in kept:
            kept.add(run_id)
    return [record for record in ended if record.id not in kept]


def _fitting(store: Store, most: int, active: Sequence[RunRecord], ended: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Return the runs that ended last, as many as there is room for beside those that go on."""
    sizes = store.sizes([record.id for record in (*active, *ended)])
    room = most - sum(sizes.get(record.id, 0) for record in active)
    found: dict[str, RunRecord] = {}
    for record in ended:
        room -= sizes.get(record.id, 0)
        if room < 0:
            break
        found[record.id] = record
    return found


def _remove(store: Store, record: RunRecord) -> bool:
    """Remove a run unless somebody has it, has changed it or uses it; return whether it was removed."""
    try:
        lease = store.acquire(record.id, PRUNER + own_name(), LEASE)
    except (RunHasDriver, RunNotFound):
        return False
    try:
        now = store.get(record.id)
        if (now.status, now.updated) == (record.status, record.updated) and not store.forks(record.id):
            store.delete(record.id, epoch=lease.epoch)
            return True
    except (RunNotFound, StaleEpoch):
        return False  # it took so long that the lease lapsed, and somebody else has the run
    except BaseException:
        with contextlib.suppress(StoreError):  # it lapses by itself
            store.release(record.id, lease.epoch)
        raise
    with contextlib.suppress(RunNotFound):
        store.release(record.id, lease.epoch)
    return False


class Keeper:
    """Removes runs now and then, in the background."""

    def __init__(self) -> None:
        self._keep: Retention | None = Retention()
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}

    @property
    def keep(self) -> Retention | None:
        """Which runs are kept, or None to remove none."""
        return self._keep

    @keep.setter
    def keep(self, keep: Retention | None) -> None:
        with self._lock:
            self._keep = keep
            self._looked.clear()  # it counts from the next run on

    def due(self, store: Store) -> None:
        """Look for runs to remove from a store, unless that was done a while ago; returns at once."""
        keep, now = self.keep, time.monotonic()
        if keep is None:
            return
        with self._lock:
            if now < self._looked.get(store.url, now - EVERY) + EVERY:
                return
            self._looked[store.url] = now
        threading.Thread(target=self._prune, args=(store, keep), name="wfnb-retention", daemon=True).start()

    def _prune(self, store: Store, keep: Retention) -> None:
        try:
            removed = prune(store, keep)
        except Exception as error:  # noqa: BLE001  nobody waits for this thread: what it meets is told in the log
            log.warning("old runs could not be removed from the store %s: %s", store.place, error)
            return
        if removed.runs:
            log.info("the store %s: %r", store.place, removed)
