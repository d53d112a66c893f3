"""The SQLite file of a store: its tables, and the connections of one process to it. Imports model only.

A connection reads and writes on in a file that was removed, which nobody else can see. So each is lent only as long as
the names still lead to the files that it has open.

A file made by an older wfnb gets what was added since when it is opened; an older wfnb does not mind it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from wfnb.model.errors import StoreError, StoreUnavailable

_VERSION = 1
_MOST_BEHIND = 512 * 1024 * 1024  # bytes of the write-ahead log

# Device and inode of the file, and of the write-ahead log beside it; None for one that is not there.
_Files: TypeAlias = tuple[tuple[int, int] | None, ...]

# A journal row's id is the run's number and the position in one integer, so that reading on from a position is one
# range of the table itself. Numbers of deleted runs are not used again (AUTOINCREMENT).
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
# Added later, in this order.
_ADDED = (
    "CREATE TABLE IF NOT EXISTS memos (key TEXT PRIMARY KEY, run INTEGER NOT NULL, pack TEXT NOT NULL,"
    " place INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS memos_run ON memos (run)",
)
_COLUMNS_ADDED = (
    ("memos", "node", "TEXT NOT NULL DEFAULT ''"),
    ("memos", "nbytes", "INTEGER NOT NULL DEFAULT 0"),
    ("memos", "time", "REAL NOT NULL DEFAULT 0"),
    ("runs", "parent", "TEXT NOT NULL DEFAULT ''"),
)
# What is made last says that all the rest is there. Runs that are deleted and of which values are still left.
_LATEST = (
    "CREATE INDEX IF NOT EXISTS runs_parent ON runs (parent) WHERE parent <> ''",
    "CREATE TABLE IF NOT EXISTS deleted (run INTEGER PRIMARY KEY)",
)
_HAS_LATEST = "SELECT 1 FROM sqlite_master WHERE name = 'deleted'"


class Pool:
    """The idle connections of one process; at most as many as threads were in the store at once.

    Attributes:
        replaced: when it was seen that the file in use was removed or replaced, for people, or "".
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self.busy_timeout = busy_timeout
        self.pid = os.getpid()
        # Threads of this process queue here, which is fairer and faster than SQLite's polling for its lock.
        self.writing = threading.Lock()
        self.replaced = ""
        # Each with the files it has open, whose inodes are nobody else's as long as it has.
        self._idle: list[tuple[sqlite3.Connection, _Files]] = []
        self._names = (os.fspath(path), f"{path}-wal")
        self._used = False
        self._generation = 0
        self._writing_back: threading.Thread | None = None

    @contextlib.contextmanager
    def connection(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """Lend a connection; a transaction it comes back with, whatever broke it off, is rolled back.

        Args:
            writes: make sure in the end that what was written is in the file that others see.

        Raises:
            StoreError: the file was removed since it was opened, or while it was written to.
        """
        db, files, generation = self._lend()
        try:
            yield db
            if writes and files != (now := _files_at(self._names)):
                raise self._lost(now)
        finally:
            if _roll_back(db):
                if generation == self._generation:
                    self._idle.append((db, files))
                else:
                    db.close()

    def write_back(self) -> None:
        """Have what is in the write-ahead log written to the file by a thread, for which nobody waits.

        Whoever commits next does what this one does not come to.
        """
        if self._writing_back is None or not self._writing_back.is_alive():
            self._writing_back = threading.Thread(
                target=_write_back, args=(self.path,), name="wfnb-sqlite", daemon=True
            )
            self._writing_back.start()

    def catch_up(self) -> None:
        """Wait for what is to be written back, where that is very much: then the log begins anew."""
        try:
            behind = os.stat(self._names[1]).st_size > _MOST_BEHIND
        except OSError:
            return
        if behind:
            self.write_back()
            self._wait_for_writing_back()

    def _wait_for_writing_back(self) -> None:
        if self._writing_back is not None:
            self._writing_back.join()

    def _lend(self) -> tuple[sqlite3.Connection, _Files, int]:
        now = _files_at(self._names)
        if self._used and now[0] is None:
            raise self._lost(now)
        generation = self._generation
        with contextlib.suppress(IndexError):
            db, files = self._idle.pop()
            if files == now:
                return db, files, generation
            db.close()
            self._let_go()
        db = connect(self.path, self.busy_timeout)
        self._used = True
        return db, _files_at(self._names), self._generation

    def _let_go(self) -> None:
        """Close what leads to files that are not there under their names any more: nobody else would see a write."""
        self.replaced = time.strftime("%Y-%m-%d %H:%M:%S")
        self._close()

    def _lost(self, now: _Files) -> StoreError:
        self._let_go()
        what = "removed" if now[0] is None else "replaced"
        return StoreError(
            f"the file of the SQLite store '{self.path}' was {what} while it was in use, and its runs with it; put it "
            "back, or start another run, which makes a new one where there is none"
        )

    def renew(self) -> None:
        """Make a new file for what is not about anything in the old one, where that was removed."""
        if self._used and _files_at(self._names)[0] is None:
            self._let_go()
            self._used = False
            # What belongs to the old file may still be open elsewhere, and would be taken for the new one's.
            for name in (self._names[1], f"{self.path}-shm"):
                with contextlib.suppress(OSError):
                    os.unlink(name)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back. What is opened next may be new."""
        self._wait_for_writing_back()
        self._used = False
        self._close()

    def _close(self) -> None:
        self._generation += 1
        while True:
            try:
                db, _ = self._idle.pop()
            except IndexError:  # other threads take some, too
                return
            db.close()

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:  # at the interpreter's end `os` is gone
        if self.pid == getpid():
            self._close()


def _write_back(path: Path) -> None:
    """Write what is in the log to the file; as little as a killed process does it hurt to be broken off."""
    with contextlib.suppress(sqlite3.Error):  # who commits next meets the same
        # A file that was removed is not made anew.
        db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
        with contextlib.closing(db):
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _files_at(names: tuple[str, ...]) -> _Files:
    """Return what tells the files of some names from any others; about a microsecond each."""
    found: list[tuple[int, int] | None] = []
    for name in names:
        try:
            one = os.stat(name)
        except OSError:
            found.append(None)
        else:
            found.append((one.st_dev, one.st_ino))
    return tuple(found)


def begin(db: sqlite3.Connection, busy_timeout: float) -> None:
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


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open the file, made or brought up to date where that is needed."""
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
    if version == 0 or (version == _VERSION and not db.execute(_HAS_LATEST).fetchone()):
        # Several processes may make the file at once: the first does, the others find it made.
        db.execute("PRAGMA journal_mode=WAL")
        begin(db, busy_timeout)
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
            if version == _VERSION:
                _add_what_came_later(db)
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


def _add_what_came_later(db: sqlite3.Connection) -> None:
    for statement in _ADDED:
        db.execute(statement)
    for table, column, kind in _COLUMNS_ADDED:
        if column not in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    for statement in _LATEST:
        db.execute(statement)
