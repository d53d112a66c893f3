"""The SQLite store keeps the contract, and its own promises."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wfnb.model.errors import ConfigurationError, EntryExists, RunNotFound, StoreError, StoreUnavailable
from wfnb.store import sqlite_file
from wfnb.store.base import Answer, Entry, Memo, Recorded, Remembered
from wfnb.store.sqlite import SQLiteStore
from wfnb.testing.store import StoreConformance, entries, plain, record


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(f"sqlite:///{tmp_path}/deep/er/store.db")
    yield store
    store.close()


class TestSQLiteStore(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SQLiteStore]:
        store = SQLiteStore(f"sqlite:///{tmp_path}/deep/er/store.db")
        yield store
        store.close()


def _append(store: SQLiteStore, writer: int, count: int) -> None:
    for number in range(count):
        store.append("run-1", [Entry(f"{writer}:{number}", b"x" * 2_000)], epoch=None, packs={f"{writer}": [b"v"]})


def _append_for_ever(store: SQLiteStore, acknowledged: int) -> None:
    number = 0
    while True:
        last = store.append("run-1", entries(f"k{number}"), epoch=None, packs={f"k{number}": [b"v" * 100]})
        os.write(acknowledged, b"%d\n" % last)
        number += 1


def _open(url: str, results: multiprocessing.Queue[str]) -> None:
    results.put(SQLiteStore(url).identity())


def test_a_relative_path_is_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("sqlite:///here.db")
    monkeypatch.chdir("/")
    assert store.url == f"sqlite:///{tmp_path}/here.db"
    store.create(record())
    assert (tmp_path / "here.db").exists()
    assert SQLiteStore(store.url) == store
    store.close()


def test_the_url_of_an_absolute_path_has_four_slashes(tmp_path: Path) -> None:
    assert SQLiteStore(f"sqlite:///{tmp_path}/a.db").url.startswith("sqlite:////")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://file.db", "/x.db", "redis:///x.db"])
def test_a_wrong_url_says_how_to_write_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:////absolute"):
        SQLiteStore(url)


def test_a_store_in_one_connections_memory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        SQLiteStore("sqlite:///:memory:")


def test_four_processes_append_at_once_and_none_is_locked_out(store: SQLiteStore) -> None:
    store.create(record())
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(store, number, 150)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert [row.position for row in store.read("run-1")] == list(range(1, 601))


def test_processes_that_open_a_new_file_at_once_see_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    url = f"sqlite:///{tmp_path}/new/store.db"
    workers = [context.Process(target=_open, args=(url, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert len({results.get(timeout=60) for _ in workers}) == 1
    for worker in workers:
        worker.join(60)


def test_threads_that_open_a_new_file_at_once_see_one_store(tmp_path: Path) -> None:
    url, found = f"sqlite:///{tmp_path}/store.db", []
    barrier = threading.Barrier(8)

    def look() -> None:
        barrier.wait(10)
        store = SQLiteStore(url)
        found.append(store.identity())
        store.close()

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_was_acknowledged_outlives_a_killed_writer(store: SQLiteStore, tmp_path: Path) -> None:
    store.create(record())
    out = tmp_path / "acknowledged"
    pid = os.fork()
    if pid == 0:
        try:
            _append_for_ever(store, os.open(out, os.O_WRONLY | os.O_CREAT))
        finally:
            os._exit(1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < 20):
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    acknowledged = int(out.read_text().rpartition("\n")[0].splitlines()[-1])
    rows = store.read("run-1")
    assert len(rows) >= acknowledged >= 20
    assert len(store.load("run-1", [row.key for row in rows])) == len(rows)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_opens_the_file_for_itself(store: SQLiteStore) -> None:
    store.create(record())
    pid = os.fork()
    if pid == 0:
        try:
            store.append("run-1", entries("child"), epoch=None)
            store.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.append("run-1", entries("parent"), epoch=None) == 2


def test_a_file_that_stays_locked_is_unavailable_in_the_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = SQLiteStore(url, busy_timeout=0.2)
    store.create(record())
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert store.get("run-1").id == "run-1"  # reading goes on
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        store.append("run-1", entries("a"), epoch=None)
    holder.execute("ROLLBACK")
    holder.close()
    assert store.append("run-1", entries("a"), epoch=None) == 1
    store.close()


def test_a_file_that_was_removed_is_missed_until_a_new_run_makes_another(store: SQLiteStore, tmp_path: Path) -> None:
    store.create(record("lost"))
    for path in tmp_path.glob("deep/er/store.db*"):
        path.unlink()
    for use in (
        lambda: store.append("lost", entries("a"), epoch=None),
        lambda: store.read("lost"),
        lambda: store.get("lost"),
        lambda: store.find(),
    ):
        with pytest.raises(StoreError, match=r"store\.db' was removed while it was in use"):
            use()
    store.create(record("new"))
    assert [run.id for run in store.find()] == ["new"]
    assert [run.id for run in SQLiteStore(store.url).find()] == ["new"]


def test_a_file_that_was_replaced_is_the_one_that_is_used(store: SQLiteStore, tmp_path: Path) -> None:
    store.create(record("lost"))
    other = SQLiteStore(f"sqlite:///{tmp_path}/other.db")
    other.create(record("there"))
    identity = other.identity()
    other.close()
    for path in tmp_path.glob("deep/er/store.db*"):
        path.unlink()  # its log, too, which belongs to it alone
    (tmp_path / "other.db").replace(store.path)
    assert (store.identity(), [run.id for run in store.find()]) == (identity, ["there"])


def test_a_run_in_a_file_that_was_removed_is_said_to_have_gone_with_it(store: SQLiteStore, tmp_path: Path) -> None:
    store.create(record("lost"))
    (tmp_path / "deep/er/store.db").unlink()  # what is beside it stays
    SQLiteStore(store.url).create(record("new"))
    with pytest.raises(
        RunNotFound, match=r"'lost'.*store\.db', whose file was removed or replaced at .*put the file back"
    ):
        store.append("lost", entries("a"), epoch=None)
    assert store.append("new", entries("a"), epoch=None) == 1
    assert len(SQLiteStore(store.url).read("new")) == 1


def test_a_new_file_has_nothing_of_the_old_one_that_others_still_have_open(store: SQLiteStore, tmp_path: Path) -> None:
    store.create(record("lost"))
    pid = os.fork()
    if pid == 0:
        try:
            other = SQLiteStore(store.url)
            other.find()
            time.sleep(60)
        finally:
            os._exit(1)
    try:
        (tmp_path / "deep/er/store.db").unlink()
        store.create(record("new"))
        assert [run.id for run in store.find()] == ["new"]
        assert [run.id for run in SQLiteStore(store.url).find()] == ["new"]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("name", ["store.db", "store.db-wal"])
def test_a_write_to_a_file_that_is_removed_meanwhile_is_not_acknowledged(
    store: SQLiteStore, tmp_path: Path, name: str
) -> None:
    store.create(record())
    with (
        pytest.raises(StoreError, match=r"store\.db' was (removed|replaced) while it was in use"),
        store._writing(),
    ):
        (tmp_path / "deep/er" / name).unlink()


def test_a_reader_is_told_that_the_file_there_is_now_lacks_what_it_had_read(store: SQLiteStore, tmp_path: Path) -> None:
    store.create(record(), entries("a"))
    older = tmp_path / "older.db"
    with sqlite3.connect(older) as copy, sqlite3.connect(store.path) as db:
        db.backup(copy)
    copy.close()
    db.close()
    assert store.append("run-1", entries("b", "c"), epoch=None) == 3
    for beside in ("-wal", "-shm"):
        Path(f"{store.path}{beside}").unlink()
    older.replace(store.path)
    with pytest.raises(StoreError, match=r"store\.db' was replaced at .*lacks entries of run 'run-1'.*wf\.resume"):
        store.read("run-1", 3)
    assert [row.key for row in store.read("run-1")] == ["a"]


def test_a_file_that_is_removed_before_anybody_uses_it_is_made(store: SQLiteStore) -> None:
    store.create(record())
    store.close()
    store.path.unlink()
    assert store.find() == []


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE runs (x)")
    other.close()
    with pytest.raises(StoreError, match="another program"):
        SQLiteStore(f"sqlite:///{tmp_path}/other.db").find()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello " * 1_000)
    with pytest.raises(StoreError, match=r"text\.db.*no SQLite file"):
        SQLiteStore(f"sqlite:///{tmp_path}/text.db").find()


def test_a_file_of_a_newer_wfnb_is_refused(store: SQLiteStore) -> None:
    store.create(record())
    store.close()
    with sqlite3.connect(store.path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="upgrade wfnb"):
        store.find()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        SQLiteStore(f"sqlite:///{tmp_path}/file/store.db").find()


def test_big_values_are_kept_in_rows_of_a_few_megabytes(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/store.db", chunk_bytes=1_000)
    store.create(record(), packs={"p": [bytes(2_500), b"x" * 300_000]})
    with sqlite3.connect(store.path) as db:
        sizes = [row[0] for row in db.execute("SELECT length(data) FROM parts")]
    db.close()
    assert max(sizes) == 1_000
    assert sum(sizes) == 302_500
    assert plain(store.load("run-1", ["p"])) == {"p": [bytes(2_500), b"x" * 300_000]}
    store.delete("run-1")
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT count(*) FROM parts").fetchone() == (0,)
    db.close()
    store.close()


def test_what_is_much_is_written_back_to_the_file_by_a_thread(store: SQLiteStore) -> None:
    store.create(record())
    store.append("run-1", [], epoch=None, packs={"p": [os.urandom(20_000_000)]})
    deadline = time.monotonic() + 30
    while store.path.stat().st_size < 20_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_much_after_much_leaves_no_long_log(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_MOST_BEHIND", 30_000_000)
    store.create(record())
    for number in range(10):
        store.append("run-1", [], epoch=None, packs={f"p{number}": [bytes(10_000_000)]})
    assert Path(f"{store.path}-wal").stat().st_size < 70_000_000
    assert len(store.load("run-1", [f"p{number}" for number in range(10)])) == 10


def test_a_writer_that_fails_leaves_a_log_that_small_writes_write_back(store: SQLiteStore) -> None:
    store.create(record(), entries("a"))
    with pytest.raises(EntryExists):
        store.append("run-1", entries("a"), epoch=None, packs={"p": [bytes(20_000_000)]})
    with store._pool.connection() as db:
        assert db.execute("PRAGMA wal_autocheckpoint").fetchone() == (1000,)


def test_big_frames_come_back_writable(store: SQLiteStore) -> None:
    store.create(record(), packs={"p": [b"head", bytes(5_000_000)]})
    assert not memoryview(store.load("run-1", ["p"])["p"][1]).readonly


def test_a_missing_part_is_reported(store: SQLiteStore) -> None:
    store.create(record(), packs={"p": [bytes(5_000_000)]})
    with sqlite3.connect(store.path) as db:
        db.execute("DELETE FROM parts WHERE id = 1")
    db.close()
    with pytest.raises(StoreError, match=r"'p'.*damaged"):
        store.load("run-1", ["p"])


def test_a_failed_call_leaves_the_connection_usable(store: SQLiteStore) -> None:
    store.create(record())
    with pytest.raises(StoreError):
        store.append("run-1", [Entry("a", object())], epoch=None)  # type: ignore[arg-type]
    assert store.append("run-1", entries("a"), epoch=None) == 1
    assert store.read("run-1") == [Recorded(1, "a", b"data of a")]


class Interrupted(sqlite3.Connection):
    """Is interrupted, as by Ctrl-C, right after a statement; may then fail to roll back."""

    after = ""
    refuses = False

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement == "ROLLBACK" and Interrupted.refuses:
            raise sqlite3.OperationalError("no")
        cursor = super().execute(statement, *values)
        if statement == Interrupted.after:
            Interrupted.after = ""
            raise KeyboardInterrupt
        return cursor


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("after", ["BEGIN IMMEDIATE", "BEGIN", "ROLLBACK"])
def test_an_interruption_leaves_no_transaction_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, refuses: bool
) -> None:
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Interrupted))
    store = SQLiteStore(f"sqlite:///{tmp_path}/store.db", busy_timeout=0.5)
    store.create(record(), entries("a"), packs={"p": [b"old"]})
    monkeypatch.setattr(Interrupted, "after", after)
    monkeypatch.setattr(Interrupted, "refuses", refuses)
    taken = functools.partial(store.append, "run-1", entries("a"), epoch=None)
    call: Callable[[], object] = functools.partial(store.load, "run-1", ["p"]) if after == "BEGIN" else taken
    with pytest.raises((KeyboardInterrupt, EntryExists)):
        call()
    other = SQLiteStore(store.url, busy_timeout=0.5)
    assert other.append("run-1", entries("b"), epoch=None, packs={"p": [b"new"]}) == 2
    assert store.append("run-1", entries("c"), epoch=None) == 3
    assert plain(store.load("run-1", ["p"])) == {"p": [b"new"]}
    other.close()
    store.close()


def test_space_that_a_deleted_run_took_is_given_back(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    store.create(record())
    store.create(record("large"))
    for number in range(8):
        packs = {f"big{number}": [bytes(6_000_000), b"x"], **{f"{number}.{n}": [bytes(10_000)] for n in range(300)}}
        store.append("large", [], epoch=None, packs=packs)
    store.close()
    full = (tmp_path / "runs.db").stat().st_size
    store.delete("large")
    store.close()  # the log of what was written is folded into the file
    assert full > 70_000_000
    assert (tmp_path / "runs.db").stat().st_size < 1_000_000
    assert [run.id for run in store.find()] == ["run-1"]
    store.close()


def test_a_deleted_run_is_gone_at_once_and_others_write_while_it_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    other = SQLiteStore(store.url, busy_timeout=0.5)
    store.create(record())
    other.create(record("other"))
    store.append("run-1", [], epoch=None, packs={f"p{number}": [bytes(5_000_000), b"x"] for number in range(20)})
    clear, steps = SQLiteStore._clear_some, itertools.count(1)

    def between(self: SQLiteStore) -> bool:
        assert [run.id for run in other.find()] == ["other"]
        assert other.append("other", entries(f"a{next(steps)}"), epoch=None)
        return clear(self)

    monkeypatch.setattr(SQLiteStore, "_clear_some", between)
    store.delete("run-1")
    assert next(steps) > 5
    other.close()
    store.close()


def test_what_a_removal_that_broke_off_left_is_cleared_away_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    store.create(record())
    store.append("run-1", [], epoch=None, packs={"p": [bytes(5_000_000), b"x"], "q": [b"y"]})
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "_clear_some", lambda self: False)
        store.delete("run-1")
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        assert db.execute("SELECT count(*) FROM packs").fetchone() == (2,)
    store.delete("none")
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        for table in ("packs", "parts", "deleted"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    store.close()


def test_a_file_of_an_older_wfnb_gets_parents_and_what_is_told_of_memos(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    store.create(record(), entries("a"), {"p": [b"x"]})
    store.append("run-1", [], epoch=None, memos={"k": Answer("p", 0, "node", 1)})
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        for statement in (
            "DROP TABLE deleted",
            "DROP INDEX runs_parent",
            "ALTER TABLE runs DROP COLUMN parent",
            *(f"ALTER TABLE memos DROP COLUMN {name}" for name in ("node", "nbytes", "time")),
        ):
            db.execute(statement)
        db.commit()
    again = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    again.create(record("fork", parent="run-1"))
    assert again.forks("run-1") == ["fork"]
    assert again.get("run-1").parent == ""
    assert list(again.memos()) == [Remembered("k", "run-1", "", 0, 0.0)]
    again.delete("run-1")
    assert again.load("run-1", ["p"]) == {}
    again.close()


def test_a_file_of_an_older_wfnb_gets_what_memos_need(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    store.create(record(), entries("a"))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        db.execute("DROP TABLE memos")
        db.execute("DROP TABLE deleted")
        db.commit()
    again = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    again.append("run-1", [], epoch=None, memos={"k": Answer("p", 1)})
    assert again.recall(["k"]) == {"k": Memo("run-1", "p", 1)}
    assert [row.key for row in again.read("run-1")] == ["a"]
    again.close()
