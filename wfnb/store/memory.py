"""Keeps runs in the memory of this process, for tests and throw-away runs. Imports model and the contract only."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wfnb.model.errors import ConfigurationError
from wfnb.store import rules
from wfnb.store.base import Answer, Entry, Frame, Frames, Lease, Memo, Recorded, Remembered, RunRecord


@dataclass(slots=True)
class _Run:
    record: RunRecord
    journal: list[Recorded] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    packs: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    memos: set[str] = field(default_factory=set)
    owner: str = ""
    epoch: int = 0
    expires: float = 0.0  # on the monotonic clock


@dataclass(slots=True, eq=False)
class _Place:
    """What all stores of one name in this process share."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    runs: dict[str, _Run] = field(default_factory=dict)
    memos: dict[str, tuple[Memo, Remembered]] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)


_PLACES: dict[str, _Place] = {}


def _kept(packs: Mapping[str, Frames] | None) -> dict[str, tuple[bytes, ...]]:
    # A bytearray or a view may change after the call; bytes() of bytes copies nothing.
    return {key: tuple(map(bytes, frames)) for key, frames in packs.items()} if packs else {}


class MemoryStore:
    """A store in this process: stores of one name are one place, gone when the process ends.

    Args:
        url: ``memory://`` or ``memory://name``.
    """

    def __init__(self, url: str = "memory://") -> None:
        scheme, separator, name = url.partition("://")
        if scheme != "memory" or not separator:
            raise ConfigurationError(f"'{url}' is no URL of a memory store; write 'memory://' or 'memory://name'")
        self.name = name
        self.url = f"memory://{name}"
        self.place = self.url
        self._place = _PLACES.setdefault(name, _Place())

    def __repr__(self) -> str:
        return f"MemoryStore({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return self._place is other._place if isinstance(other, MemoryStore) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[type[MemoryStore], tuple[str]]:
        return MemoryStore, (self.url,)

    def identity(self) -> str:
        """Return the id of this place; another process, a forked one too, has another."""
        return f"{self._place.token}-{os.getpid()}"

    def create(
        self,
        record: RunRecord,
        entries: Sequence[Entry] = (),
        packs: Mapping[str, Frames] | None = None,
        *,
        owner: str = "",
        ttl: float = 0.0,
    ) -> None:
        """Add a run with its first entries and packs, all or none."""
        rules.check_run_id(record.id)
        kept = _kept(packs)
        with self._place.changed:
            if record.id in self._place.runs:
                raise rules.run_exists(record.id, self.url)
            run = _Run(record)
            self._add(run, entries)
            run.packs = kept
            if owner:
                run.owner, run.epoch, run.expires = owner, 1, time.monotonic() + ttl
            self._place.runs[record.id] = run
            self._place.changed.notify_all()

    def get(self, run_id: str) -> RunRecord:
        """Return the record of a run."""
        with self._place.changed:
            return self._run(run_id).record

    def find(
        self, *, workflow: str | None = None, statuses: Sequence[str] | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Return runs, newest created first."""
        with self._place.changed:
            records = [run.record for run in self._place.runs.values()]
        found = [
            record
            for record in reversed(records)
            if (workflow is None or record.workflow == workflow) and (statuses is None or record.status in statuses)
        ]
        found.sort(key=lambda record: record.created, reverse=True)
        return found[:limit]

    def forks(self, run_id: str) -> list[str]:
        """Return the ids of the runs whose record names this one as their parent."""
        with self._place.changed:
            return [run.record.id for run in self._place.runs.values() if run.record.parent == run_id != ""]

    def sizes(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return about how many bytes journal and packs of runs take, by id; unknown runs are left out."""
        found: dict[str, int] = {}
        with self._place.changed:
            for run_id in run_ids:
                run = self._place.runs.get(run_id)
                if run is not None:
                    packs = sum(map(rules.size_of, run.packs.values()))
                    found[run_id] = packs + sum(len(entry.data) for entry in run.journal)
        return found

    def delete(self, run_id: str, *, epoch: int | None = None) -> None:
        """Remove a run with all it has; does nothing when there is none."""
        with self._place.changed:
            run = self._place.runs.get(run_id)
            if run is not None and epoch is not None and epoch != run.epoch:
                raise rules.stale_epoch(run_id, epoch, run.epoch)
            self._place.runs.pop(run_id, None)
            for key in run.memos if run is not None else ():
                memo = self._place.memos.get(key)
                if memo is not None and memo[0].run_id == run_id:  # another run may have replaced it
                    del self._place.memos[key]
            self._place.changed.notify_all()

    def append(
        self,
        run_id: str,
        entries: Sequence[Entry],
        *,
        epoch: int | None,
        packs: Mapping[str, Frames] | None = None,
        status: str | None = None,
        memos: Mapping[str, Answer] | None = None,
        release: bool = False,
    ) -> int:
        """Append entries to the run's journal and keep the packs, all or none; return the last position."""
        kept = _kept(packs)
        with self._place.changed:
            run = self._run(run_id)
            if epoch is not None and epoch != run.epoch:
                raise rules.stale_epoch(run_id, epoch, run.epoch)
            self._add(run, entries)
            run.packs.update(kept)
            if memos:
                now = time.time()
                run.memos.update(memos)
                for key, (pack, offset, node, nbytes) in memos.items():
                    known = Memo(run_id, pack, offset), Remembered(key, run_id, node, nbytes, now)
                    self._place.memos[key] = known
            if status is not None:
                run.record = replace(run.record, status=status, updated=time.time())
            if release and epoch == run.epoch:
                run.expires = 0.0
            self._place.changed.notify_all()
            return len(run.journal)

    def read(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Return the entries after a position, in order, at most `limit`."""
        with self._place.changed:
            return self._run(run_id).journal[after : None if limit is None else after + limit]

    def lookup(self, run_id: str, *keys: str) -> Recorded | None:
        """Return the entry with that key, or None; of several keys, the first that there is an entry with."""
        with self._place.changed:
            run = self._run(run_id)
            position = next((run.keys[key] for key in keys if key in run.keys), None)
            return None if position is None else run.journal[position - 1]

    def wait(self, run_id: str, after: int, timeout: float) -> bool:
        """Wait until the journal holds more than `after` entries; return whether it does."""
        with self._place.changed:
            return self._place.changed.wait_for(lambda: len(self._run(run_id).journal) > after, max(timeout, 0.0))

    def load(self, run_id: str, keys: Sequence[str]) -> dict[str, list[Frame]]:
        """Return the packs that are there, by key; missing keys are left out."""
        with self._place.changed:
            run = self._place.runs.get(run_id)
            return {} if run is None else {key: list(run.packs[key]) for key in keys if key in run.packs}

    def recall(self, keys: Sequence[str]) -> dict[str, Memo]:
        """Return the memos that are known, of whatever run, by key; missing keys are left out."""
        with self._place.changed:
            known = self._place.memos
            return {key: known[key][0] for key in keys if key in known}

    def memos(self) -> Iterator[Remembered]:
        """Go through all memos, in no order."""
        with self._place.changed:
            found = [about for _, about in self._place.memos.values()]
        yield from found

    def forget(self, keys: Sequence[str]) -> int:
        """Forget memos, leaving the values they lead to; return how many of them were known."""
        with self._place.changed:
            return sum(self._place.memos.pop(key, None) is not None for key in dict.fromkeys(keys))

    def acquire(self, run_id: str, owner: str, ttl: float) -> Lease:
        """Become the driver of a run: take the lease if it is free, lapsed or released, with a new epoch."""
        with self._place.changed:
            run = self._run(run_id)
            left = run.expires - time.monotonic()
            if run.epoch and left > 0:
                raise rules.has_driver(run_id, run.owner, left)
            run.owner, run.epoch, run.expires = owner, run.epoch + 1, time.monotonic() + ttl
            return Lease(owner, run.epoch, ttl)

    def renew(self, run_id: str, epoch: int, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds, also when it has lapsed and nobody took it."""
        with self._place.changed:
            run = self._run(run_id)
            if epoch != run.epoch:
                raise rules.stale_epoch(run_id, epoch, run.epoch)
            run.expires = time.monotonic() + ttl

    def release(self, run_id: str, epoch: int) -> None:
        """Give the lease back; does nothing for an older epoch."""
        with self._place.changed:
            run = self._run(run_id)
            if epoch == run.epoch:
                run.expires = 0.0

    def lease(self, run_id: str) -> Lease | None:
        """Return the lease as it stands, or None when the run never had a driver."""
        with self._place.changed:
            run = self._run(run_id)
            return Lease(run.owner, run.epoch, rules.expires_in(run.expires, time.monotonic())) if run.epoch else None

    def close(self) -> None:
        """Do nothing: there is no connection, and what is kept stays."""

    def _run(self, run_id: str) -> _Run:
        run = self._place.runs.get(run_id)
        if run is None:
            raise rules.not_found(run_id, self.url)
        return run

    def _add(self, run: _Run, entries: Sequence[Entry]) -> None:
        taken = next((entry.key for entry in entries if entry.key in run.keys), None) or rules.repeated_key(entries)
        if taken is not None:
            raise rules.entry_exists(run.record.id, taken)
        for entry in entries:
            position = len(run.journal) + 1
            run.journal.append(Recorded(position, entry.key, entry.data))
            run.keys[entry.key] = position
