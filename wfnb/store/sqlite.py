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
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from wfnb.model.errors import ConfigurationError, StoreError, StoreUnavailable
from wfnb.store import chunks, rules
from wfnb.store.base import Entry, Frame, Frames, Lease, Memo, Recorded, RunRecord

_VERSION = 1
_INLINE = 256 * 1024  # packs up to this many bytes are one row
_FIRST_POLL, _LAST_POLL = 0.002, 0.025  # seconds

# A journal row's id is the run's number and the position in one integer, so that reading on from a position is one
# range of the table itself. Numbers of deleted runs are not used again (AUTOINCREMENT).
_SHIFT = 32
_LAST = (1 << _SHIFT) - 1

_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE runs (num INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workflow TEXT NOT NULL,"
    " version TEXT NOT NULL, status TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, tags TEXT NOT NULL,"
    " shape TEXT NOT NULL)",
    "CREATE INDEX runs_created ON runs (created)",
    "CREATE INDEX runs_workflow ON runs (workflow, created)",
    "CREATE TABLE leases (run INTEGER PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, expires REAL NOT NULL)",
    "CREATE TABLE journal (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL)",
    "CREATE UNIQUE INDEX journal_key ON journal (run, key)",
    "CREATE TABLE packs (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, key TEXT NOT NULL, sizes TEXT,"
    " data BLOB)",
    "CREATE UNIQUE INDEX packs_key ON packs (run, key)",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, pack INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX parts_pack ON parts (pack)",
)
# Added later: a file without them gets them when it is opened, and an older wfnb does not mind them.
_MEMOS = (
    "CREATE TABLE IF NOT EXISTS memos (key TEXT PRIMARY KEY, run INTEGER NOT NULL, pack TEXT NOT NULL,"
    " place INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS memos_run ON memos (run)",
)
_HAS_MEMOS = "SELECT 1 FROM sqlite_master WHERE name = 'memos_run'"

_COLUMNS = "id, workflow, version, status, created, updated, tags, shape"
_ADD_RUN = f"INSERT INTO runs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
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
_ADD_MEMO = "REPLACE INTO memos (key, run, pack, place) VALUES (?, ?, ?, ?)"
# The join leaves out memos of a run that an older wfnb deleted.
_RECALL = "SELECT key, id, pack, place FROM memos JOIN runs ON num = run WHERE key IN "
_RECALLED = 500  # keys a query
_STATUS = "UPDATE runs SET status = ?, updated = ? WHERE num = ?"
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
        self._pool = _Pool(self.path, busy_timeout)

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
        with self._reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        return str(row[0])

    def create(
        self, record: RunRecord, entries: Sequence[Entry] = (), packs: Mapping[str, Frames] | None = None
    ) -> None:
        """Add a run with its first entries and packs, all or none."""
        rules.check_run_id(record.id)
        with self._writing() as db:
            try:
                num = db.execute(_ADD_RUN, _to_row(record)).lastrowid or 0
            except sqlite3.IntegrityError:
                raise rules.run_exists(record.id, self.url) from None
            self._add_entries(db, record.id, num, num << _SHIFT, entries)
            self._add_packs(db, num, packs)

    def get(self, run_id: str) -> RunRecord:
        """Return the record of a run."""
        with self._reading() as db:
            row = db.execute(_GET_RUN, (run_id,)).fetchone()
        if row is None:
            raise rules.not_found(run_id, self.url)
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

    def delete(self, run_id: str) -> None:
        """Remove a run with all it has; does nothing when there is none."""
        with self._writing() as db:
            row = db.execute(_NUM, (run_id,)).fetchone()
            if row is None:
                return
            num = row[0]
            db.execute("DELETE FROM parts WHERE pack IN (SELECT id FROM packs WHERE run = ?)", (num,))
            db.execute("DELETE FROM packs WHERE run = ?", (num,))
            db.execute("DELETE FROM journal WHERE id BETWEEN ? AND ?", (num << _SHIFT, (num << _SHIFT) + _LAST))
            db.execute("DELETE FROM leases WHERE run = ?", (num,))
            db.execute("DELETE FROM memos WHERE run = ?", (num,))
            db.execute("DELETE FROM runs WHERE num = ?", (num,))

    def append(
        self,
        run_id: str,
        entries: Sequence[Entry],
        *,
        epoch: int | None,
        packs: Mapping[str, Frames] | None = None,
        status: str | None = None,
        memos: Mapping[str, tuple[str, int]] | None = None,
    ) -> int:
        """Append entries to the run's journal and keep the packs, all or none; return the last position."""
        with self._writing() as db:
            row = db.execute(_HEAD, (run_id,)).fetchone()
            if row is None:
                raise rules.not_found(run_id, self.url)
            num, latest, last = row
            if epoch is not None and epoch != (latest or 0):
                raise rules.stale_epoch(run_id, epoch, latest or 0)
            last = self._add_entries(db, run_id, num, last or num << _SHIFT, entries)
            self._add_packs(db, num, packs)
            if memos:
                db.executemany(_ADD_MEMO, [(key, num, *found) for key, found in memos.items()])
            if status is not None:
                db.execute(_STATUS, (status, time.time(), num))
        return last & _LAST

    def read(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Return the entries after a position, in order, at most `limit`."""
        with self._reading() as db:
            base = self._num(db, run_id) << _SHIFT
            rows = db.execute(
                _READ, (base + after + 1, base + _LAST, -1 if limit is None else max(limit, 0))
            ).fetchall()
        return [Recorded(row[0] & _LAST, row[1], row[2]) for row in rows]

    def lookup(self, run_id: str, key: str) -> Recorded | None:
        """Return the entry with that key, or None."""
        with self._reading() as db:
            row = db.execute(_LOOKUP, (self._num(db, run_id), key)).fetchone()
        return None if row is None else Recorded(row[0] & _LAST, key, row[1])

    def wait(self, run_id: str, after: int, timeout: float) -> bool:
        """Wait until the journal holds more than `after` entries; return whether it does."""
        deadline = time.monotonic() + timeout
        pause = _FIRST_POLL
        while True:
            with self._reading() as db:
                row = db.execute(_POSITION, (run_id,)).fetchone()
            if row is None:
                raise rules.not_found(run_id, self.url)
            if ((row[1] or 0) & _LAST) > after:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 1.25, _LAST_POLL)

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

    def acquire(self, run_id: str, owner: str, ttl: float) -> Lease:
        """Become the driver of a run: take the lease if it is free, lapsed or released, with a new epoch."""
        with self._writing() as db:
            num, holder, epoch, expires = self._lease(db, run_id)
            left = (expires or 0.0) - time.time()
            if left > 0:
                raise rules.has_driver(run_id, holder, left)
            epoch = (epoch or 0) + 1
            db.execute("REPLACE INTO leases VALUES (?, ?, ?, ?)", (num, owner, epoch, time.time() + ttl))
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
                db.execute("UPDATE leases SET expires = 0 WHERE run = ?", (num,))

    def lease(self, run_id: str) -> Lease | None:
        """Return the lease as it stands, or None when the run never had a driver."""
        with self._reading() as db:
            _, owner, epoch, expires = self._lease(db, run_id)
        return None if epoch is None else Lease(owner, epoch, max(expires - time.time(), 0.0))

    def close(self) -> None:
        """Close the file; the store opens it again when it is used."""
        self._pool.close()

    def _num(self, db: sqlite3.Connection, run_id: str) -> int:
        row = db.execute(_NUM, (run_id,)).fetchone()
        if row is None:
            raise rules.not_found(run_id, self.url)
        return int(row[0])

    def _lease(self, db: sqlite3.Connection, run_id: str) -> tuple[int, Any, Any, Any]:
        row = db.execute(_LEASE, (run_id,)).fetchone()
        if row is None:
            raise rules.not_found(run_id, self.url)
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
    def _writing(self) -> Iterator[sqlite3.Connection]:
        pool = self._alive()
        try:
            with pool.writing, pool.connection() as db:
                _begin(db, self.busy_timeout)
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _alive(self) -> _Pool:
        pool = self._pool
        if pool.pid != os.getpid():
            # SQLite connections must not cross a fork; the parent's are left alone, not even closed.
            _ABANDONED.append(pool)
            pool = self._pool = _Pool(self.path, self.busy_timeout)
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


_ABANDONED: list[_Pool] = []


class _Pool:
    """The idle connections of one process; at most as many as threads were in the store at once."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self.busy_timeout = busy_timeout
        self.pid = os.getpid()
        # Threads of this process queue here, which is fairer and faster than SQLite's polling for its lock.
        self.writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._generation = 0

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; a transaction it comes back with, whatever broke it off, is rolled back."""
        generation = self._generation
        try:
            db = self._idle.pop()
        except IndexError:
            db = _connect(self.path, self.busy_timeout)
        try:
            yield db
        finally:
            if _roll_back(db):
                if generation == self._generation:
                    self._idle.append(db)
                else:
                    db.close()

    def close(self) -> None:
        self._generation += 1
        while self._idle:
            self._idle.pop().close()

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:  # at the interpreter's end `os` is gone
        if self.pid == getpid():
            self.close()


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


def _begin(db: sqlite3.Connection, busy_timeout: float) -> None:
    """Start to write; SQLite waits by itself, except in rare moments when it says busy at once."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() >= deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _roll_back(db: sqlite3.Connection) -> bool:
    """End a transaction left open, which would lock the file for all others; return whether `db` is still open."""
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error):
            return False
        raise
    return True


def _connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    deadline = time.monotonic() + busy_timeout
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the folder of the SQLite store '{path}' cannot be made: {error.strerror}; choose a path you may write to"
        ) from error
    while True:
        db = sqlite3.connect(path, timeout=min(busy_timeout, 10.0), isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path, busy_timeout)
        except sqlite3.OperationalError as error:
            # Going over to a write-ahead log while others open the file does not wait for them.
            db.close()
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        except BaseException:
            db.close()
            raise
        else:
            return db


def _prepare(db: sqlite3.Connection, path: Path, busy_timeout: float) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 or (version == _VERSION and not db.execute(_HAS_MEMOS).fetchone()):
        # Several processes may make the file at once: the first does, the others find it made.
        db.execute("PRAGMA journal_mode=WAL")
        _begin(db, busy_timeout)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                    raise StoreError(
                        f"'{path}' is an SQLite file of another program; choose another path for the store"
                    )
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
                db.execute(f"PRAGMA user_version = {_VERSION}")
                version = _VERSION
            for statement in _MEMOS if version == _VERSION else ():
                db.execute(statement)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
    if version != _VERSION:
        raise StoreError(
            f"the SQLite store '{path}' has the format {version}, this wfnb knows {_VERSION}; upgrade wfnb, or choose "
            "another path"
        )
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA journal_size_limit=67108864")  # give the disk back after a very large write


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
    )


def _to_record(row: Any) -> RunRecord:
    return RunRecord(row[0], row[1], row[2], row[3], row[4], row[5], tuple(json.loads(row[6])), row[7])
