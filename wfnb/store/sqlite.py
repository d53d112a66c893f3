"""Keeps runs in one SQLite file, by the standard library's sqlite3. Imports model and the contract only.

Several threads and processes of one machine may write at once. The file uses a write-ahead log with
``synchronous=NORMAL``: what was acknowledged outlives any process; a power cut may cost the last moments, never the
file. It should be on a local disk: network file systems do not lock well enough.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from wfnb.model.errors import ConfigurationError, RunNotFound, StoreError, StoreUnavailable
from wfnb.store import chunks, rules
from wfnb.store.base import Answer, Entry, Frame, Frames, Lease, Memo, Recorded, Remembered, RunRecord
from wfnb.store.sqlite_file import Pool, begin

_INLINE = 256 * 1024  # packs up to this many bytes are one row
_MUCH = 8 * 1024 * 1024  # bytes of packs in one call that are written back to the file by a thread
_FIRST_POLL, _LAST_POLL = 0.001, 0.025  # seconds

# The id of a row of the journal is the number of its run and its position.
_SHIFT = 32
_LAST = (1 << _SHIFT) - 1

_COLUMNS = "id, workflow, version, status, created, updated, tags, shape, parent"
_ADD_RUN = f"INSERT INTO runs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_GET_RUN = f"SELECT {_COLUMNS} FROM runs WHERE id = ?"  # noqa: S608
_NUM = "SELECT num FROM runs WHERE id = ?"
_LAST_ID = "(SELECT id FROM journal WHERE id BETWEEN num << 32 AND (num << 32) + 4294967295 ORDER BY id DESC LIMIT 1)"
_HEAD = f"SELECT num, (SELECT epoch FROM leases WHERE run = num), {_LAST_ID} FROM runs WHERE id = ?"  # noqa: S608
_POSITION = f"SELECT num, {_LAST_ID} FROM runs WHERE id = ?"  # noqa: S608
_ADD_ENTRY = "INSERT INTO journal (id, run, key, data) VALUES (?, ?, ?, ?)"
_ADD_PACK = "INSERT INTO packs (run, key, sizes, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_ADD_PART = "INSERT INTO parts (pack, data) VALUES (?, ?)"
_READ = "SELECT id, key, data FROM journal WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
_LOOKUP = "SELECT id, data FROM journal WHERE run = ? AND key = ?"
_LOAD = "SELECT id, sizes, data FROM packs WHERE run = ? AND key = ?"
_PARTS = "SELECT data FROM parts WHERE pack = ? ORDER BY id"
_ADD_MEMO = "REPLACE INTO memos (key, run, time, pack, place, node, nbytes) VALUES (?, ?, ?, ?, ?, ?, ?)"
# The join leaves out memos of a run that an older wfnb deleted.
_RECALL = "SELECT key, id, pack, place FROM memos JOIN runs ON num = run WHERE key IN "
_RECALLED = 500  # keys a query
_MEMOS = "SELECT key, id, node, nbytes, time FROM memos JOIN runs ON num = run WHERE key > ? ORDER BY key LIMIT ?"
_PAGE = 5_000  # memos a query
# Of a blob, its length is all that is read.
_SIZE = (
    "SELECT (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM journal"
    " WHERE id BETWEEN num << 32 AND (num << 32) + 4294967295)"
    " + (SELECT COALESCE(SUM(LENGTH(packs.data)), 0) FROM packs WHERE packs.run = num)"
    " + (SELECT COALESCE(SUM(LENGTH(parts.data)), 0) FROM packs JOIN parts ON parts.pack = packs.id"
    " WHERE packs.run = num AND packs.data IS NULL) FROM runs WHERE id = ?"
)
_CLEARED = (
    "DELETE FROM parts WHERE id IN"
    " (SELECT parts.id FROM packs JOIN parts ON parts.pack = packs.id WHERE packs.run = ? LIMIT 16)",
    "DELETE FROM packs WHERE id IN (SELECT id FROM packs WHERE run = ? LIMIT 500)",
)
_FEW = 4 * 1024 * 1024  # free bytes that are not worth the while
_LONG = 256 * 1024 * 1024  # bytes in use that take too long to be written anew
_STATUS = "UPDATE runs SET status = ?, updated = ? WHERE num = ?"
_SET_LEASE = "REPLACE INTO leases (run, owner, epoch, expires) VALUES (?, ?, ?, ?)"
_RELEASE = "UPDATE leases SET expires = 0 WHERE run = ?"
_LEASE = "SELECT num, owner, epoch, expires FROM runs LEFT JOIN leases ON run = num WHERE id = ?"


class SQLiteStore:
    """A store in one SQLite file.

    Args:
        url: ``sqlite:////absolute/path.db``, or ``sqlite:///relative/path.db``, made absolute at once; its folder is
            made on first use.
        busy_timeout: seconds to wait for other writers before `StoreUnavailable`.
        chunk_bytes: values longer than this are kept as several rows.
    """

    def __init__(self, url: str, *, busy_timeout: float = 60.0, chunk_bytes: int = 4 * 1024 * 1024) -> None:
        self.path = _path(url)
        self.url = "sqlite:///" + str(self.path)
        self.place = self.url
        self.busy_timeout = busy_timeout
        self.chunk_bytes = chunk_bytes
        self._pool = Pool(self.path, busy_timeout)

    def __repr__(self) -> str:
        return f"SQLiteStore({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, SQLiteStore) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.url, self.busy_timeout, self.chunk_bytes)

    def identity(self) -> str:
        """Return the id the file was given when it was made."""
        self._alive().renew()
        with self._reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        return str(row[0])

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
        self._alive().renew()
        with self._writing() as db:
            try:
                num = db.execute(_ADD_RUN, _to_row(record)).lastrowid or 0
            except sqlite3.IntegrityError:
                raise rules.run_exists(record.id, self.url) from None
            self._add_entries(db, record.id, num, num << _SHIFT, entries)
            self._add_packs(db, num, packs)
            if owner:
                db.execute(_SET_LEASE, (num, owner, 1, time.time() + ttl))

    def get(self, run_id: str) -> RunRecord:
        """Return the record of a run."""
        with self._reading() as db:
            row = db.execute(_GET_RUN, (run_id,)).fetchone()
        if row is None:
            raise self._not_found(run_id)
        return _to_record(row)

    def find(
        self, *, workflow: str | None = None, statuses: Sequence[str] | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Return runs, newest created first."""
        conditions: list[str] = []
        values: list[Any] = []
        if workflow is not None:
            conditions.append("workflow = ?")
            values.append(workflow)
        if statuses is not None:
            conditions.append(f"status IN ({','.join('?' * len(statuses))})")
            values.extend(statuses)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM runs {where}ORDER BY created DESC, num DESC LIMIT ?",  # noqa: S608
                (*values, max(limit, 0)),
            ).fetchall()
        return [_to_record(row) for row in rows]

    def forks(self, run_id: str) -> list[str]:
        """Return the ids of the runs whose record names this one as their parent."""
        with self._reading() as db:
            rows = db.execute("SELECT id FROM runs WHERE parent = ? AND parent <> ''", (run_id,)).fetchall()
        return [row[0] for row in rows]

    def sizes(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return about how many bytes journal and packs of runs take, by id; unknown runs are left out."""
        found: dict[str, int] = {}
        with self._reading() as db:
            for run_id in run_ids:
                row = db.execute(_SIZE, (run_id,)).fetchone()
                if row is not None:
                    found[run_id] = row[0]
        return found

    def delete(self, run_id: str, *, epoch: int | None = None) -> None:
        """Remove a run with all it has, and give the disk's space back; does nothing when there is none.

        A file made by an older wfnb stays as large as it is: what is free in it is used for new runs.
        """
        with self._writing() as db:
            row = db.execute(_HEAD, (run_id,)).fetchone()
            if row is not None:
                num, latest, _ = row
                if epoch is not None and epoch != (latest or 0):
                    raise rules.stale_epoch(run_id, epoch, latest or 0)
                db.execute("DELETE FROM journal WHERE id BETWEEN ? AND ?", (num << _SHIFT, (num << _SHIFT) + _LAST))
                db.execute("DELETE FROM leases WHERE run = ?", (num,))
                db.execute("DELETE FROM memos WHERE run = ?", (num,))
                db.execute("DELETE FROM runs WHERE num = ?", (num,))
                db.execute("INSERT INTO deleted VALUES (?)", (num,))
        while self._clear_some():
            pass

    def _clear_some(self) -> bool:
        """Clear some more of what runs that are deleted have left; return whether there may be more."""
        with self._writing() as db:
            row = db.execute("SELECT run FROM deleted LIMIT 1").fetchone()
            if row is not None:
                if not any(db.execute(statement, row).rowcount for statement in _CLEARED):
                    db.execute("DELETE FROM deleted WHERE run = ?", row)
                return True
        self._give_back()
        return False

    def _give_back(self) -> None:
        """Give the file system back what is free in the file, where that is much beside what is in use.

        What stays free is used by the next runs. To move pages one by one takes minutes for gigabytes; to write what is
        in use anew takes as long as that is, and nobody can write meanwhile.
        """
        with self._alive().connection() as db:
            pages, free, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
            used = (pages - free) * size
            if free * size > max(_FEW, used) and used < _LONG:
                with contextlib.suppress(sqlite3.OperationalError):  # somebody writes all the time: another time
                    db.execute("VACUUM")
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

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
        big = sum(map(rules.size_of, packs.values())) >= _MUCH if packs else False
        with self._writing(much=big) as db:
            row = db.execute(_HEAD, (run_id,)).fetchone()
            if row is None:
                raise self._not_found(run_id)
            num, latest, last = row
            if epoch is not None and epoch != (latest or 0):
                raise rules.stale_epoch(run_id, epoch, latest or 0)
            last = self._add_entries(db, run_id, num, last or num << _SHIFT, entries)
            self._add_packs(db, num, packs)
            if memos:
                now = time.time()
                db.executemany(_ADD_MEMO, [(key, num, now, *found) for key, found in memos.items()])
            if status is not None:
                db.execute(_STATUS, (status, time.time(), num))
            if release and epoch == latest:
                db.execute(_RELEASE, (num,))
        return last & _LAST

    def read(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Return the entries after a position, in order, at most `limit`."""
        with self._reading() as db:
            base = self._num(db, run_id) << _SHIFT
            rows = db.execute(
                _READ, (base + after + 1, base + _LAST, -1 if limit is None else max(limit, 0))
            ).fetchall()
            if not rows and after and self._pool.replaced:
                self._check_read(db, run_id, base + after)
        return [Recorded(row[0] & _LAST, row[1], row[2]) for row in rows]

    def lookup(self, run_id: str, *keys: str) -> Recorded | None:
        """Return the entry with that key, or None; of several keys, the first that there is an entry with."""
        with self._reading() as db:
            num = self._num(db, run_id)
            for key in keys:
                row = db.execute(_LOOKUP, (num, key)).fetchone()
                if row is not None:
                    return Recorded(row[0] & _LAST, key, row[1])
        return None

    def wait(self, run_id: str, after: int, timeout: float) -> bool:
        """Wait until the journal holds more than `after` entries; return whether it does."""
        began = time.monotonic()
        while True:
            with self._reading() as db:
                row = db.execute(_POSITION, (run_id,)).fetchone()
            if row is None:
                raise self._not_found(run_id)
            if ((row[1] or 0) & _LAST) > after:
                return True
            waited = time.monotonic() - began
            if waited >= timeout:
                return False
            time.sleep(min(max(_FIRST_POLL, waited / 25), _LAST_POLL, timeout - waited))

    def load(self, run_id: str, keys: Sequence[str]) -> dict[str, list[Frame]]:
        """Return the packs that are there, by key; missing keys are left out."""
        found: dict[str, list[Frame]] = {}
        with self._reading() as db:
            db.execute("BEGIN")  # one picture of the file, so that a pack replaced meanwhile is read whole
            run = db.execute(_NUM, (run_id,)).fetchone()
            for key in keys if run is not None else ():
                row = db.execute(_LOAD, (run[0], key)).fetchone()
                if row is not None:
                    found[key] = self._frames(db, key, *row)
            db.execute("COMMIT")
        return found

    def recall(self, keys: Sequence[str]) -> dict[str, Memo]:
        """Return the memos that are known, of whatever run, by key; missing keys are left out."""
        found: dict[str, Memo] = {}
        for start in range(0, len(keys), _RECALLED):
            batch = keys[start : start + _RECALLED]
            with self._reading() as db:
                rows = db.execute(f"{_RECALL}({','.join('?' * len(batch))})", batch).fetchall()
            found.update((key, Memo(*memo)) for key, *memo in rows)
        return found

    def memos(self) -> Iterator[Remembered]:
        """Go through all memos, in no order."""
        last = ""
        while True:
            with self._reading() as db:
                rows = db.execute(_MEMOS, (last, _PAGE)).fetchall()
            yield from (Remembered(*row) for row in rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def forget(self, keys: Sequence[str]) -> int:
        """Forget memos, leaving the values they lead to; return how many of them were known."""
        with self._writing() as db:
            return sum(db.execute("DELETE FROM memos WHERE key = ?", (key,)).rowcount for key in keys)

    def acquire(self, run_id: str, owner: str, ttl: float) -> Lease:
        """Become the driver of a run: take the lease if it is free, lapsed or released, with a new epoch."""
        with self._writing() as db:
            num, holder, epoch, expires = self._lease(db, run_id)
            left = (expires or 0.0) - time.time()
            if left > 0:
                raise rules.has_driver(run_id, holder, left)
            epoch = (epoch or 0) + 1
            db.execute(_SET_LEASE, (num, owner, epoch, time.time() + ttl))
        return Lease(owner, epoch, ttl)

    def renew(self, run_id: str, epoch: int, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds, also when it has lapsed and nobody took it."""
        with self._writing() as db:
            num, _, latest, _ = self._lease(db, run_id)
            if epoch != (latest or 0):
                raise rules.stale_epoch(run_id, epoch, latest or 0)
            db.execute("UPDATE leases SET expires = ? WHERE run = ?", (time.time() + ttl, num))

    def release(self, run_id: str, epoch: int) -> None:
        """Give the lease back; does nothing for an older epoch."""
        with self._writing() as db:
            num, _, latest, _ = self._lease(db, run_id)
            if epoch == latest:
                db.execute(_RELEASE, (num,))

    def lease(self, run_id: str) -> Lease | None:
        """Return the lease as it stands, or None when the run never had a driver."""
        with self._reading() as db:
            _, owner, epoch, expires = self._lease(db, run_id)
        return None if epoch is None else Lease(owner, epoch, rules.expires_in(expires, time.time()))

    def close(self) -> None:
        """Close the file; the store opens it again when it is used."""
        self._pool.close()

    def _num(self, db: sqlite3.Connection, run_id: str) -> int:
        row = db.execute(_NUM, (run_id,)).fetchone()
        if row is None:
            raise self._not_found(run_id)
        return int(row[0])

    def _not_found(self, run_id: str) -> RunNotFound:
        if not self._pool.replaced:
            return rules.not_found(run_id, self.url)
        return RunNotFound(
            f"no run '{run_id}' in the SQLite store '{self.path}', whose file was removed or replaced at "
            f"{self._pool.replaced} while it was in use; put the file back, or start the run anew"
        )

    def _check_read(self, db: sqlite3.Connection, run_id: str, last: int) -> None:
        """Raise when the row that was read last is not in the file that there is instead of the one it was read in."""
        if db.execute("SELECT 1 FROM journal WHERE id = ?", (last,)).fetchone() is None:
            raise StoreError(
                f"the file of the SQLite store '{self.path}' was replaced at {self._pool.replaced} by one that lacks "
                f"entries of run '{run_id}'; put the right one back, or go on from what is left by "
                f"wf.resume('{run_id}')"
            )

    def _lease(self, db: sqlite3.Connection, run_id: str) -> tuple[int, Any, Any, Any]:
        row = db.execute(_LEASE, (run_id,)).fetchone()
        if row is None:
            raise self._not_found(run_id)
        return row[0], row[1], row[2], row[3]

    def _add_entries(self, db: sqlite3.Connection, run_id: str, num: int, last: int, entries: Sequence[Entry]) -> int:
        """Add the entries after the row `last`; return the last row."""
        try:
            if len(entries) == 1:
                db.execute(_ADD_ENTRY, (last + 1, num, entries[0].key, entries[0].data))
            elif entries:
                db.executemany(
                    _ADD_ENTRY, [(last + place, num, entry.key, entry.data) for place, entry in enumerate(entries, 1)]
                )
        except sqlite3.IntegrityError:
            # Rows of this call may be in already, up to the one at fault; they have ids above `last`.
            for entry in entries:
                if db.execute(_LOOKUP + " AND id <= ?", (num, entry.key, last)).fetchone() is not None:
                    raise rules.entry_exists(run_id, entry.key) from None
            raise rules.entry_exists(run_id, rules.repeated_key(entries) or "") from None
        return last + len(entries)

    def _add_packs(self, db: sqlite3.Connection, num: int, packs: Mapping[str, Frames] | None) -> None:
        for key, frames in packs.items() if packs else ():
            size = rules.size_of(frames)
            sizes: str | None
            data: Frame | None
            if len(frames) == 1 and size <= self.chunk_bytes:
                sizes, data = None, frames[0]
            else:
                sizes = ",".join(str(len(frame)) for frame in frames)
                data = b"".join(frames) if size <= _INLINE else None
            row = (num, key, sizes, data)
            cursor = db.execute(_ADD_PACK, row)
            if cursor.rowcount == 0:
                old = db.execute("SELECT id FROM packs WHERE run = ? AND key = ?", (num, key)).fetchone()[0]
                db.execute("DELETE FROM parts WHERE pack = ?", (old,))
                db.execute("DELETE FROM packs WHERE id = ?", (old,))
                cursor = db.execute(_ADD_PACK, row)
            if data is None:
                pack = cursor.lastrowid
                for part in chunks.split(frames, self.chunk_bytes):
                    db.execute(_ADD_PART, (pack, part))

    def _frames(
        self, db: sqlite3.Connection, key: str, pack: int, sizes: str | None, data: bytes | None
    ) -> list[Frame]:
        if sizes is None:
            return [data or b""]  # an empty view may have been bound as NULL
        lengths = [int(size) for size in sizes.split(",")] if sizes else []
        if data is not None:
            frames: list[Frame] = []
            start = 0
            for length in lengths:
                frames.append(data[start : start + length])
                start += length
            return frames
        try:
            return chunks.join(lengths, (row[0] for row in db.execute(_PARTS, (pack,))))
        except EOFError as error:
            raise StoreError(
                f"the value '{key}' in the SQLite store '{self.path}' is damaged: {error}; run its step again"
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        pool = self._alive()
        try:
            with pool.connection() as db:
                yield db
        except sqlite3.Error as error:
            raise self._error(error) from error

    @contextlib.contextmanager
    def _writing(self, *, much: bool = False) -> Iterator[sqlite3.Connection]:
        """Lend a connection in a transaction.

        Args:
            much: what is written takes longer to be written back to the file than to be written.
        """
        pool = self._alive()
        try:
            with pool.writing, pool.connection(writes=True) as db, contextlib.ExitStack() as after:
                if much:
                    pool.catch_up()
                    db.execute("PRAGMA wal_autocheckpoint=0").fetchall()
                    after.callback(lambda: db.execute("PRAGMA wal_autocheckpoint=1000").fetchall())
                    after.callback(pool.write_back)
                begin(db, self.busy_timeout)
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _alive(self) -> Pool:
        pool = self._pool
        if pool.pid != os.getpid():
            # SQLite connections must not cross a fork; the parent's are left alone, not even closed.
            _ABANDONED.append(pool)
            pool = self._pool = Pool(self.path, self.busy_timeout)
        return pool

    def _error(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        where = f"the SQLite store '{self.path}'"
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreUnavailable(
                f"{where} was locked by another process for {self.busy_timeout:g} s; end the process that holds it"
            )
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR")):
            return StoreUnavailable(
                f"{where} cannot be read or written: {error}; check the folder, its disk and rights"
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            return StoreError(f"{where} cannot be written: {error}; check its permissions and its folder's")
        if name.startswith("SQLITE_FULL"):
            return StoreError(f"{where} cannot grow: {error}; free some room on its disk")
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return StoreError(f"{where} is damaged or no SQLite file: {error}; restore it or choose another path")
        return StoreError(f"{where} failed: {error}")


_ABANDONED: list[Pool] = []


def _reopen(url: str, busy_timeout: float, chunk_bytes: int) -> SQLiteStore:
    return SQLiteStore(url, busy_timeout=busy_timeout, chunk_bytes=chunk_bytes)


def _path(url: str) -> Path:
    scheme, separator, rest = url.partition("://")
    path = unquote(rest.removeprefix("/")) if rest.startswith("/") else ""
    if scheme != "sqlite" or not separator or not path:
        raise ConfigurationError(
            f"'{url}' is no URL of an SQLite store; write 'sqlite:////absolute/path.db' or 'sqlite:///relative/path.db'"
        )
    if path == ":memory:":
        raise ConfigurationError(f"'{url}' would be a store of one connection only; use 'memory://' instead")
    return Path(path).expanduser().resolve()


def _to_row(record: RunRecord) -> tuple[Any, ...]:
    return (
        record.id,
        record.workflow,
        record.version,
        record.status,
        record.created,
        record.updated,
        json.dumps(record.tags),
        record.shape,
        record.parent,
    )


def _to_record(row: Any) -> RunRecord:
    return RunRecord(row[0], row[1], row[2], row[3], row[4], row[5], tuple(json.loads(row[6])), row[7], row[8])
