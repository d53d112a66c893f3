"""The store contract: what a store keeps and the few things it can do. Imports model only.

A store keeps, for each run: one `RunRecord`, an append-only journal of entries, packs of encoded values, and a lease
that says who drives the run. Across runs it keeps memos: under which key which value of which run is known, the answers
of `cache=True`. Three promises carry everything else:

* **Fencing.** `acquire` gives each new driver of a run a higher epoch; `append` with an older one is refused.
* **Exactly-once recording.** Every entry has a key; a second `append` with the same key is refused, so that a writer
  unsure whether its write arrived can simply write again.
* **Acknowledged means kept.** When `append` returns, the entries and the packs given with them are both readable by
  every process and outlive the writer; either all of them are there or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

Frame: TypeAlias = bytes | bytearray | memoryview
"""One contiguous piece of an encoded value; a memoryview is of bytes, one dimension, contiguous."""

Frames: TypeAlias = Sequence[Frame]
"""An encoded value or pack: its frames in order; empty frames are allowed and kept."""


ENDED = ("completed", "failed", "cancelled")
"""The statuses of runs that are over, until somebody resumes or retries them."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the store's list of runs says of a run.

    Args:
        id: the run's id; letters, digits, "-", "_" and ".", at most 128.
        workflow: the workflow's name.
        version: the workflow's version.
        status: the last status a driver wrote: queued, running, paused, completed, failed or cancelled.
        created: when it was created, seconds since the epoch.
        updated: when its status was last written, seconds since the epoch.
        tags: free labels.
        shape: the workflow as a picture needs it (JSON text): steps, their nodes, kinds and edges.
        parent: the run it was forked from, whose values it uses, or "".
    """

    id: str
    workflow: str
    version: str
    status: str
    created: float
    updated: float
    tags: tuple[str, ...] = ()
    shape: str = "{}"
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry to append: its key, unique in the run, and its bytes."""

    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """One entry of a journal as read: its position (1 for the first, no gaps), its key and its bytes."""

    position: int
    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Memo:
    """Where a value that some run computed is kept: the run, the pack's key, and the value's place in the pack."""

    run_id: str
    pack: str
    offset: int


class Answer(NamedTuple):
    """A value to be known under a key from now on.

    Args:
        pack: the key of the pack of this run that it is in.
        offset: its place there.
        node: whose value it is, for people.
        nbytes: its size in bytes, about.
    """

    pack: str
    offset: int
    node: str = ""
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Remembered:
    """A memo as people are told of it.

    Args:
        key: its key.
        run_id: the run that made it or used it last, with which it is forgotten.
        node: whose value it is, "" when that is not known.
        nbytes: the value's size in bytes, about.
        time: when it was written last, seconds since the epoch.
    """

    key: str
    run_id: str
    node: str
    nbytes: int
    time: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Who drives a run.

    Args:
        owner: the driver's name.
        epoch: 1 for the first driver, higher for each next.
        expires_in: seconds until it lapses unless renewed; 0 or less when it has lapsed, since so long where the store
            can tell; minus infinity when it was released.
    """

    owner: str
    epoch: int
    expires_in: float = field(compare=False)


@runtime_checkable
class Store(Protocol):
    """What every store does. Safe to use from several threads; equal when they are the same place; survives pickling.

    Every method raises `StoreUnavailable` when the store cannot be reached, after the adapter's own retries; how long
    those may take, `wfnb.store.patience.shortest` says. Methods about a run raise `RunNotFound` when there is none with
    that id, unless they say otherwise.
    """

    url: str
    """Opens the store again; it may hold a password."""

    place: str
    """The URL without secrets, for messages."""

    def identity(self) -> str:
        """Return the id the store was given when it was made: equal from every process that sees the same store."""
        ...

    def create(
        self,
        record: RunRecord,
        entries: Sequence[Entry] = (),
        packs: Mapping[str, Frames] | None = None,
        *,
        owner: str = "",
        ttl: float = 0.0,
    ) -> None:
        """Add a run with its first entries and packs, all or none; raises `RunExists` when the id is taken.

        Args:
            record: the run.
            entries: its first entries, in order.
            packs: values to keep, by key.
            owner: the name of who drives it from the start, with the epoch 1 (see `acquire`), or "" for nobody.
            ttl: seconds until the owner's lease lapses unless renewed.
        """
        ...

    def get(self, run_id: str) -> RunRecord:
        """Return the record of a run."""
        ...

    def find(
        self, *, workflow: str | None = None, statuses: Sequence[str] | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Return runs, newest created first.

        Args:
            workflow: only runs of the workflow with this name.
            statuses: only runs whose recorded status is one of these.
            limit: at most so many.
        """
        ...

    def forks(self, run_id: str) -> list[str]:
        """Return the ids of the runs whose record names this one as their parent, whether it is there or not."""
        ...

    def sizes(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return about how many bytes journal and packs of runs take, by id; unknown runs are left out."""
        ...

    def delete(self, run_id: str, *, epoch: int | None = None) -> None:
        """Remove a run with all it has; does nothing when there is none.

        The run is gone at once and for everybody; large ones are then cleared away piece by piece, so that others can
        write meanwhile. What a process that ended in the middle left is cleared away by the next call.

        Args:
            run_id: the run.
            epoch: the epoch of whoever deletes it, or None to delete it whoever drives it.

        Raises:
            StaleEpoch: `epoch` is not the run's latest; nothing was removed.
        """
        ...

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
        """Append entries to the run's journal and keep the packs, all or none; return the last position.

        Args:
            run_id: the run.
            entries: in order; may be empty.
            epoch: the writer's epoch, or None for a writer that is no driver (a command).
            packs: values to keep, by key; a key that is there already is replaced.
            status: the run's new status for its record (`updated` becomes now), or None to leave it.
            memos: what `recall` answers from now on, by key: the pack of this run and the place in it. A key that is
                known already, of this run or another, is replaced.
            release: whether the lease of `epoch` is given back with it, as `release` does.

        Raises:
            StaleEpoch: `epoch` is not the run's latest.
            EntryExists: an entry with one of the keys is there; nothing was written.
        """
        ...

    def read(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Return the entries after a position, in order, at most `limit`."""
        ...

    def lookup(self, run_id: str, *keys: str) -> Recorded | None:
        """Return the entry with that key, or None; of several keys, the first that there is an entry with."""
        ...

    def wait(self, run_id: str, after: int, timeout: float) -> bool:
        """Wait until the journal holds more than `after` entries; return whether it does.

        Args:
            run_id: the run.
            after: a position.
            timeout: seconds to wait at most; 0 looks once.
        """
        ...

    def load(self, run_id: str, keys: Sequence[str]) -> dict[str, list[Frame]]:
        """Return the packs that are there, by key; missing keys are left out. Raises nothing for an unknown run."""
        ...

    def recall(self, keys: Sequence[str]) -> dict[str, Memo]:
        """Return the memos that are known, of whatever run, by key; missing keys are left out.

        A memo is forgotten with its run. That its pack is still there and can be decoded is not promised.
        """
        ...

    def memos(self) -> Iterator[Remembered]:
        """Go through all memos, in no order; what is written meanwhile may be left out, or come twice."""
        ...

    def forget(self, keys: Sequence[str]) -> int:
        """Forget memos, leaving the values they lead to; return how many of them were known."""
        ...

    def acquire(self, run_id: str, owner: str, ttl: float) -> Lease:
        """Become the driver of a run: take the lease if it is free, lapsed or released, with a new epoch.

        Args:
            run_id: the run.
            owner: the name of the driver.
            ttl: seconds until the lease lapses unless renewed.

        Raises:
            RunHasDriver: a lease is held and has not lapsed (also by the same owner: use `renew`).
        """
        ...

    def renew(self, run_id: str, epoch: int, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds, also when it has lapsed and nobody took it.

        Raises:
            StaleEpoch: another driver has taken the run.
        """
        ...

    def release(self, run_id: str, epoch: int) -> None:
        """Give the lease back so that another driver need not wait; does nothing for an older epoch."""
        ...

    def lease(self, run_id: str) -> Lease | None:
        """Return the lease as it stands, or None when the run never had a driver."""
        ...

    def close(self) -> None:
        """Let go of connections; the store opens them again when it is used."""
        ...
