"""The Redis store keeps the contract on a real server, and its own promises."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.servers import RedisServer, free_port
from wfnb.model.errors import ConfigurationError, EntryExists, StoreError, StoreUnavailable
from wfnb.store.base import Answer, Entry, Memo, Recorded, Remembered, RunRecord
from wfnb.store.patience import LOOK, patience
from wfnb.store.redis import RedisStore
from wfnb.store.redis_link import Link, Script
from wfnb.store.redis_scripts import CLEAR
from wfnb.testing.store import StoreConformance, entries, plain, record


def emptied(store: RedisStore) -> RedisStore:
    client = redis.Redis.from_url(store.url)
    client.flushdb()
    client.close()
    return store


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    store = emptied(RedisStore(redis_server.url))
    yield store
    store.close()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """A plain client of the same database."""
    client = redis.Redis.from_url(redis_server.url)
    yield client
    client.close()


class TestRedisStore(StoreConformance):
    @pytest.fixture
    def store(self, redis_server: RedisServer) -> Iterator[RedisStore]:
        store = emptied(RedisStore(redis_server.url))
        yield store
        store.close()


def received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except OSError:
        return b""


class Faulty:
    """A relay in front of a server that can drop the server's answer to the next command.

    Args:
        target: the server's port.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.drop = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._relay, args=(near, far), daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        cut = threading.Event()

        def answer() -> None:
            with near, far:
                while data := received(far):
                    if cut.is_set():
                        break
                    near.sendall(data)
                for end in (near, far):
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=answer, daemon=True).start()
        while data := received(near):
            if self.drop and self.drop in data:
                self.drop = b""
                cut.set()
            far.sendall(data)

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def faulty(redis_server: RedisServer) -> Iterator[Faulty]:
    relay = Faulty(redis_server.port)
    yield relay
    relay.close()


@pytest.fixture
def relayed(store: RedisStore, faulty: Faulty) -> Iterator[RedisStore]:
    """A store whose answers may get lost, with a run in it and the scripts loaded."""
    relayed = RedisStore(f"redis://127.0.0.1:{faulty.port}/0")
    relayed.create(record())
    relayed.append("run-1", entries("first"), epoch=None)
    yield relayed
    relayed.close()


# -- answers that get lost


def test_an_append_whose_answer_was_lost_counts_once(relayed: RedisStore, faulty: Faulty) -> None:
    faulty.drop = b"EVALSHA"
    assert relayed.append("run-1", entries("a", "b"), epoch=None, packs={"p": [b"x"]}) == 3
    assert faulty.drop == b""
    assert [row.key for row in relayed.read("run-1")] == ["first", "a", "b"]


def test_an_append_of_another_writer_is_not_taken_for_ones_own(relayed: RedisStore, faulty: Faulty) -> None:
    relayed.append("run-1", [Entry("a", b"another's")], epoch=None)
    faulty.drop = b"EVALSHA"
    with pytest.raises(EntryExists):
        relayed.append("run-1", entries("a"), epoch=None)


def test_a_big_pack_survives_a_lost_answer(relayed: RedisStore, faulty: Faulty) -> None:
    faulty.drop = b"EVALSHA"
    relayed.append("run-1", [], epoch=None, packs={"p": [bytes(3_000_000)]})
    assert plain(relayed.load("run-1", ["p"])) == {"p": [bytes(3_000_000)]}


def test_a_big_value_whose_arrival_breaks_off_is_asked_for_again(relayed: RedisStore, faulty: Faulty) -> None:
    value = os.urandom(13_000_000)
    relayed.append("run-1", [], epoch=None, packs={"p": [b"head", value]})
    faulty.drop = b":2\r\n"  # the third of its parts
    assert plain(relayed.load("run-1", ["p"])) == {"p": [b"head", value]}
    assert faulty.drop == b""


def test_a_create_whose_answer_was_lost_counts_once(relayed: RedisStore, faulty: Faulty) -> None:
    relayed.create(record("warm"))
    faulty.drop = b"EVALSHA"
    relayed.create(record("run-2"), entries("a"), {"p": [b"x"]})
    assert faulty.drop == b""
    assert [row.key for row in relayed.read("run-2")] == ["a"]


def test_an_acquire_whose_answer_was_lost_has_the_lease(relayed: RedisStore, faulty: Faulty) -> None:
    relayed.create(record("warm"))
    relayed.acquire("warm", "me", 60)
    faulty.drop = b"EVALSHA"
    assert relayed.acquire("run-1", "me", 60).epoch == 1
    assert faulty.drop == b""


# -- servers that go away


def test_a_killed_and_restarted_server_keeps_all_and_calls_under_way_go_on() -> None:
    with RedisServer(aof=True) as server:
        store = RedisStore(server.url)
        store.create(record(), entries("first"), {"big": [bytes(3_000_000)], "small": [b"x"]})
        store.acquire("run-1", "me", 600)
        acknowledged: list[int] = []
        failures: list[Exception] = []
        stop = threading.Event()

        def write(writer: int) -> None:
            number = 0
            while not stop.is_set():
                try:
                    acknowledged.append(store.append("run-1", entries(f"{writer}:{number}"), epoch=1))
                except Exception as error:
                    failures.append(error)
                    return
                number += 1

        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        woken: list[bool] = []
        waiter = threading.Thread(target=lambda: woken.append(store.wait("run-1", 100, 60)))
        waiter.start()
        for writer in writers:
            writer.start()
        for _ in range(2):
            time.sleep(0.3)
            server.kill()
            time.sleep(0.3)
            server.restart()
        before = len(acknowledged)
        deadline = time.monotonic() + 20
        while len(acknowledged) < before + 50 and not failures and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        for thread in (*writers, waiter):
            thread.join(60)
        assert failures == []
        assert woken == [True]
        rows = store.read("run-1")
        assert sorted(acknowledged) == list(range(2, len(rows) + 1))
        assert plain(store.load("run-1", ["big", "small"])) == {"big": [bytes(3_000_000)], "small": [b"x"]}
        lease = store.lease("run-1")
        assert lease is not None
        assert lease.epoch == 1
        store.close()


def test_a_server_never_reached_fails_fast_with_the_url() -> None:
    url = f"redis://me:secret@127.0.0.1:{free_port()}/3"
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        RedisStore(url).find()
    assert time.monotonic() - started < 6
    assert "127.0.0.1" in str(caught.value)
    assert "check that it runs" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_host_nobody_knows_fails_fast() -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"no-such-host\.invalid"):
        RedisStore("redis://no-such-host.invalid:6379/0").find()
    assert time.monotonic() - started < 30


def test_a_server_that_stays_away_is_unavailable_after_retry_for() -> None:
    with RedisServer() as server:
        store = RedisStore(f"{server.url}?retry_for=0.5")
        store.create(record())
        server.kill()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.get("run-1")
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["it was killed", "it hangs"])
@pytest.mark.timeout(60)
def test_who_only_looks_at_a_server_that_is_away_waits_two_seconds_once(how: signal.Signals) -> None:
    with RedisServer(aof=True) as server:
        store = RedisStore(server.url)
        store.create(record())
        assert server.process is not None
        server.process.send_signal(how)
        if how == signal.SIGKILL:
            server.kill()
        try:
            for most in (15, 1):
                started = time.monotonic()
                with patience(LOOK), pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
                    store.get("run-1")
                assert time.monotonic() - started < most
                assert server.url in str(caught.value)
                assert caught.value.__cause__ is None, "what redis-py was at is of no use to anybody"
                assert caught.value.__suppress_context__ or caught.value.__context__ is None
        finally:
            if how == signal.SIGSTOP:
                server.process.send_signal(signal.SIGCONT)
            else:
                server.start()
        assert store.get("run-1").id == "run-1"
        with patience(LOOK):
            assert store.get("run-1").id == "run-1"
        store.close()


def test_scripts_the_server_has_forgotten_are_sent_again(store: RedisStore, client: Any) -> None:
    store.create(record())
    store.append("run-1", entries("a"), epoch=None)
    client.script_flush()
    assert store.append("run-1", entries("b"), epoch=None) == 2


def test_a_killed_connection_is_opened_again(store: RedisStore, client: Any) -> None:
    store.create(record())
    for row in client.client_list():
        if row["id"] != str(client.client_id()):
            client.client_kill_filter(_id=row["id"])
    assert store.append("run-1", entries("a"), epoch=None) == 1


def lose(client: Any, *keys: str) -> None:
    """Take the last entries from the run, as a restart does that lost the last second."""
    for key in keys:
        position = client.hget("wfnb:{run-1}:keys", key).decode()
        client.hdel("wfnb:{run-1}:keys", key)
        client.xdel("wfnb:{run-1}:journal", f"{position}-0")
    client.execute_command("XSETID", "wfnb:{run-1}:journal", f"{int(position) - len(keys)}-0")


@pytest.mark.parametrize("look", ["read", "wait"])
def test_a_reader_is_told_that_the_server_lost_what_it_had_read(store: RedisStore, client: Any, look: str) -> None:
    store.create(record(), entries("a", "b", "c"))
    assert len(store.read("run-1")) == 3
    lose(client, "b", "c")
    RedisStore(store.url).append("run-1", entries("d", "e", "f"), epoch=None)
    with pytest.raises(StoreError, match=r"has lost entries of run 'run-1'.*wf\.resume"):
        store.read("run-1", 3) if look == "read" else store.wait("run-1", 3, 0)
    assert [row.key for row in store.read("run-1")] == ["a", "d", "e", "f"]


# -- servers that refuse


def test_a_wrong_password_is_reported_without_it() -> None:
    with RedisServer(options=("--requirepass", "right")) as server:
        for login in (":wrong@", ""):
            with pytest.raises(StoreError, match=r"password|Authentication") as caught:
                RedisStore(f"redis://{login}127.0.0.1:{server.port}/0").find()
            assert "wrong" not in str(caught.value).replace("wrong number", "").replace("WRONGPASS", "")
        store = RedisStore(f"redis://:right@127.0.0.1:{server.port}/0")
        store.create(record())
        assert "right" not in repr(store)
        store.close()


def test_a_server_out_of_memory_is_reported_and_takes_nothing(store: RedisStore, client: Any) -> None:
    store.create(record())
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match="out of memory"):
            store.append("run-1", entries("a"), epoch=None, packs={"p": [b"x"]}, status="failed")
        with pytest.raises(StoreError, match="out of memory"):
            store.append("run-1", [], epoch=None, packs={"p": [bytes(3_000_000)]})
        with pytest.raises(StoreError, match="out of memory"):
            store.create(record("run-2"))
    finally:
        client.config_set("maxmemory", 0)
    assert store.read("run-1") == []
    assert store.get("run-1").status == "queued"
    assert [found.id for found in store.find()] == ["run-1"]


def test_a_read_only_replica_is_reported(redis_server: RedisServer) -> None:
    with RedisServer(options=("--replicaof", "127.0.0.1", str(redis_server.port))) as replica:
        store = RedisStore(replica.url)
        deadline = time.monotonic() + 30
        while True:
            try:
                store.create(record("on-the-replica"))
            except StoreError as error:
                if "read-only replica" in str(error):
                    break
                if time.monotonic() > deadline:  # until it has copied its primary it is loading
                    raise
        store.close()


def test_an_unknown_option_in_the_url_is_reported(redis_server: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match="frobnicate"):
        RedisStore(f"{redis_server.url}?frobnicate=1").find()


@pytest.mark.parametrize(
    "url", ["redis://host:port/0", "redis://host:1/zero", "http://host", "redis://host:1/0?retry_for=long"]
)
def test_a_wrong_url_is_reported_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Redis"):
        RedisStore(url)


# -- the place


def test_a_unix_socket_is_another_way_to_a_server(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.unix_url)
    store.delete("by-socket")
    store.create(record("by-socket"), entries("a"))
    assert store.read("by-socket") == [Recorded(1, "a", b"data of a")]
    assert store == RedisStore(redis_server.unix_url)
    store.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost", "redis://localhost:6379/0", True),
        ("redis://me:pw@localhost:6379/0", "redis://LOCALHOST?retry_for=5", True),
        ("redis://localhost/0", "redis://localhost?db=0", True),
        ("redis://localhost/0", "redis://localhost/1", False),
        ("redis://localhost", "redis://localhost:6380", False),
        ("unix:///a.sock?db=1", "unix:///a.sock?db=2", False),
    ],
)
def test_stores_are_equal_when_they_are_the_same_place(one: str, other: str, same: bool) -> None:
    assert (RedisStore(one) == RedisStore(other)) is same
    assert not same or hash(RedisStore(one)) == hash(RedisStore(other))


def test_options_survive_pickling() -> None:
    copy = pickle.loads(pickle.dumps(RedisStore("redis://localhost", retry_for=7, chunk_bytes=123)))
    assert (copy._link.retry_for, copy._link.chunk_bytes) == (7, 123)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(store: RedisStore) -> None:
    store.create(record())
    pid = os.fork()
    if pid == 0:
        try:
            for number in range(20):
                store.append("run-1", entries(f"child {number}"), epoch=None)
            os._exit(0)
        finally:
            os._exit(1)
    for number in range(20):
        store.append("run-1", entries(f"parent {number}"), epoch=None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(store.read("run-1")) == 40


# -- keys and parts


def test_all_keys_have_the_prefix_and_a_runs_keys_its_hash_tag(store: RedisStore, client: Any) -> None:
    store.identity()
    store.create(record("r.1"), entries("a"), {"p": [b"x"], "big": [bytes(3_000_000)]})
    store.acquire("r.1", "me", 60)
    names = {name.decode() for name in client.keys("*")}
    indexes = {
        *("wfnb:identity", "wfnb:runs", "wfnb:runs:w:flow"),
        *("wfnb:runs:s:queued", "wfnb:runs:b:queued:flow"),
    }
    assert all(name.startswith("wfnb:{r.1}:") for name in names - indexes)
    assert {name.split(":")[2] for name in names - indexes} == {
        "run",
        "journal",
        "keys",
        "packs",
        "parts",
        "part",
        "lease",
    }


def test_nothing_is_left_when_every_run_is_deleted(store: RedisStore, client: Any) -> None:
    store.create(record(), entries("a"), {"p": [b"x"], "big": [bytes(9_000_000)]})
    store.append("run-1", [], epoch=None, packs={"big": [bytes(5_000_000)]}, status="running")
    store.acquire("run-1", "me", 60)
    store.delete("run-1")
    assert client.keys("*") == []


def test_a_big_value_is_cut_into_keys_below_the_limit(store: RedisStore, client: Any) -> None:
    small = RedisStore(f"{store.url}?chunk_bytes=100000")
    value = os.urandom(1_234_567)
    small.create(record(), packs={"p": [b"head", value, b"tail"]})
    sizes = [client.strlen(name) for name in client.keys("wfnb:*:part:*")]
    assert len(sizes) >= 13
    assert max(sizes) == 100_000
    assert plain(store.load("run-1", ["p"])) == {"p": [b"head", value, b"tail"]}
    small.close()


def test_parts_in_use_never_expire_and_parts_sent_in_vain_do(store: RedisStore, client: Any) -> None:
    store.create(record(), packs={"p": [bytes(3_000_000)]})
    assert [client.ttl(name) for name in client.keys("wfnb:*:part:*")] == [-1]
    store._send("run-1", [("q", "token", [b"x"])])
    assert 0 < client.ttl("wfnb:{run-1}:part:token:0") <= 3600


def test_a_refused_write_leaves_no_parts(store: RedisStore, client: Any) -> None:
    store.create(record(), entries("a"))
    with pytest.raises(EntryExists):
        store.append("run-1", entries("a"), epoch=None, packs={"p": [bytes(3_000_000)]})
    assert client.keys("wfnb:*:part:*") == []


def test_a_replaced_pack_leaves_no_parts(store: RedisStore, client: Any) -> None:
    store.create(record(), packs={"p": [bytes(9_000_000)]})
    store.append("run-1", [], epoch=None, packs={"p": [b"small"]})
    assert client.keys("wfnb:*:part:*") == []


def test_a_missing_part_is_reported(store: RedisStore, client: Any) -> None:
    store.create(record(), packs={"p": [bytes(13_000_000)]})
    client.delete(*client.keys("wfnb:*:part:*:1"))
    with pytest.raises(StoreError, match=r"'p'.*damaged.*missing"):
        store.load("run-1", ["p"])
    assert store.get("run-1").id == "run-1"  # what was under way when it was noticed disturbs nobody


def test_a_part_that_is_longer_than_it_should_be_is_reported(store: RedisStore, client: Any) -> None:
    store.create(record(), packs={"p": [bytes(3_000_000)]})
    client.append(*client.keys("wfnb:*:part:*"), b"more")
    with pytest.raises(StoreError, match=r"'p'.*damaged.*4 bytes too many"):
        store.load("run-1", ["p"])


def test_what_is_no_value_under_the_key_of_a_part_is_reported(store: RedisStore, client: Any) -> None:
    store.create(record(), packs={"p": [bytes(3_000_000)]})
    (name,) = client.keys("wfnb:*:part:*")
    client.delete(name)
    client.rpush(name, "a list")
    with pytest.raises(StoreError, match="refused a command: WRONGTYPE"):
        store.load("run-1", ["p"])


@pytest.mark.parametrize("size", ["0", "536870913"])
def test_parts_of_a_size_no_server_takes_are_refused_at_once(redis_server: RedisServer, size: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'chunk_bytes'.*is {size}"):
        RedisStore(f"redis://127.0.0.1:{redis_server.port}/0?chunk_bytes={size}")


def test_find_takes_few_commands_among_many_runs(store: RedisStore, client: Any) -> None:
    for number in range(1_000):
        status = "failed" if number % 100 == 0 else "completed"
        store.create(RunRecord(f"r{number}", f"w{number % 2}", "1", status, float(number), float(number)))
    before = client.info("stats")["total_commands_processed"]
    found = store.find(statuses=["failed", "queued"], workflow="w0", limit=5)
    used = client.info("stats")["total_commands_processed"] - before
    assert [record.id for record in found] == ["r900", "r800", "r700", "r600", "r500"]
    assert used < 15


def test_a_long_journal_is_read_in_pages(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfnb.store.redis._PAGE", 7)
    store.create(record(), entries(*map(str, range(50))))
    assert [row.position for row in store.read("run-1")] == list(range(1, 51))
    assert [row.position for row in store.read("run-1", 10, 20)] == list(range(11, 31))


def test_a_socket_timeout_in_the_url_is_no_limit_for_waiting(redis_server: RedisServer, store: RedisStore) -> None:
    store.create(record())
    short = RedisStore(f"{redis_server.url}?socket_timeout=0.4")
    assert not short.wait("run-1", 0, 1.0)
    short.close()


def test_what_a_removal_that_broke_off_left_is_cleared_away_by_the_next(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(record())
    memos = {f"k{number}": Answer("p", number) for number in range(1_500)}
    big = {f"p{number}": [bytes(2_000_000)] for number in range(4)}
    store.append("run-1", entries("a"), epoch=None, packs=big, memos=memos)

    class Gone(Exception):
        pass

    def leave(self: Link, script: Script, *args: Any, **kwargs: Any) -> Any:
        if script.text == CLEAR:
            raise Gone
        return whole(self, script, *args, **kwargs)

    whole = Link.eval
    with monkeypatch.context() as patch:
        patch.setattr(Link, "eval", leave)
        with pytest.raises(Gone):
            store.delete("run-1")
    assert store.find() == []
    assert store.load("run-1", list(big)) == {}
    store.create(record("other"))
    store.delete("other")
    assert list(store.memos()) == []
    assert store._link.command("DBSIZE") == 0


def test_a_record_and_a_memo_of_an_older_wfnb_are_read(store: RedisStore) -> None:
    store.create(record())
    store._link.command("HDEL", "wfnb:{run-1}:run", "parent")
    store._link.command("HSET", "wfnb:memos", "k", "run-1 7 p 1")
    assert store.get("run-1") == record()
    assert store.recall(["k"]) == {"k": Memo("run-1", "p 1", 7)}
    assert list(store.memos()) == [Remembered("k", "run-1", "", 0, 0.0)]
