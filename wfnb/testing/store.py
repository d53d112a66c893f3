"""The store contract as tests, for every adapter, also those of other packages. Imports pytest, the contract and model.

Subclass `StoreConformance` in a test module and give it a fixture::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self):
            store = MyStore("my://place")
            yield store
            store.close()
"""

# Tests assert, and their names are their promises.
# ruff: noqa: D102, S101

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from wfnb.model.errors import (
    ConfigurationError,
    EntryExists,
    RunExists,
    RunHasDriver,
    RunNotFound,
    StaleEpoch,
)
from wfnb.store.base import Entry, Frames, Lease, Recorded, Store
from wfnb.testing.upkeep import BIG, UpkeepConformance, entries, plain, record

__all__ = ["BIG", "StoreConformance", "entries", "plain", "record"]


def _append_many(store: Store, writer: str, count: int) -> None:
    for number in range(count):
        store.append("run-1", entries(f"{writer}:{number}"), epoch=None, packs={f"{writer}:{number}": [b"v"]})
    store.close()


def _append_soon(store: Store, delay: float) -> None:
    time.sleep(delay)
    store.append("run-1", entries("late"), epoch=None)
    store.close()


class StoreConformance(UpkeepConformance):
    """The promises of the store contract, one test each.

    Give the subclass a fixture `store`: an empty store. Set `shared` to False when other processes do not see it.
    """

    shared = True

    # -- the place

    def test_it_keeps_the_contract(self, store: Store) -> None:
        assert isinstance(store, Store)

    def test_a_store_equals_the_same_place_opened_again(self, store: Store) -> None:
        again = self.reopen(store)
        assert again == store
        assert hash(again) == hash(store)
        assert store != object()
        again.close()

    def test_identity_is_the_same_when_the_place_is_opened_again(self, store: Store) -> None:
        again = self.reopen(store)
        assert store.identity()
        assert again.identity() == store.identity() == store.identity()
        again.close()

    def test_what_is_written_is_there_when_the_place_is_opened_again(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None, packs={"p": [b"x"]})
        again = self.reopen(run)
        assert again.read("run-1") == run.read("run-1")
        assert plain(again.load("run-1", ["p"])) == {"p": [b"x"]}
        again.close()

    def test_a_closed_store_opens_again_when_it_is_used(self, run: Store) -> None:
        run.close()
        run.close()
        assert run.get("run-1").id == "run-1"

    # -- runs

    def test_get_returns_the_record_that_was_created(self, store: Store) -> None:
        made = record("a.B_c-9", tags=("x", "ü"), shape='{"steps": "✓"}', version="2.0", created=1234567890.123456)
        store.create(made)
        assert store.get("a.B_c-9") == made

    def test_create_keeps_the_first_entries_and_packs(self, store: Store) -> None:
        store.create(record(), entries("a", "b"), {"p": [b"x", b""]})
        assert store.read("run-1") == [Recorded(1, "a", b"data of a"), Recorded(2, "b", b"data of b")]
        assert plain(store.load("run-1", ["p"])) == {"p": [b"x", b""]}

    def test_create_refuses_an_id_that_is_taken_and_changes_nothing(self, store: Store) -> None:
        store.create(record(), entries("a"), {"p": [b"1"]})
        with pytest.raises(RunExists, match="run-1"):
            store.create(record(workflow="other"), entries("b"), {"p": [b"2"]})
        assert store.get("run-1").workflow == "flow"
        assert [row.key for row in store.read("run-1")] == ["a"]
        assert plain(store.load("run-1", ["p"])) == {"p": [b"1"]}

    def test_create_with_one_key_twice_makes_no_run(self, store: Store) -> None:
        with pytest.raises(EntryExists):
            store.create(record(), entries("a", "a"))
        with pytest.raises(RunNotFound):
            store.get("run-1")
        assert store.find() == []

    @pytest.mark.parametrize("run_id", ["", "a b", "a/b", "a{b}", "é", "x" * 129, "a\n"])
    def test_create_refuses_an_id_with_other_characters(self, store: Store, run_id: str) -> None:
        with pytest.raises(ConfigurationError, match="id of a run"):
            store.create(record(run_id))

    def test_find_returns_the_newest_first(self, store: Store) -> None:
        for number, created in enumerate([3.0, 1.0, 2.0]):
            store.create(record(f"r{number}", created=created))
        assert [found.id for found in store.find()] == ["r0", "r2", "r1"]

    def test_find_returns_at_most_limit_runs(self, store: Store) -> None:
        for number in range(5):
            store.create(record(f"r{number}", created=float(number)))
        assert [found.id for found in store.find(limit=2)] == ["r4", "r3"]
        assert store.find(limit=0) == []

    def test_find_keeps_to_the_workflow(self, store: Store) -> None:
        store.create(record("a", workflow="one"))
        store.create(record("b", workflow="two: ü"))
        assert [found.id for found in store.find(workflow="two: ü")] == ["b"]
        assert store.find(workflow="three") == []

    def test_find_keeps_to_the_statuses_that_were_written_last(self, store: Store) -> None:
        for number, status in enumerate(["queued", "running", "failed"]):
            store.create(record(f"r{number}", status=status, created=float(number), workflow=f"w{number % 2}"))
        store.append("r0", [], epoch=None, status="completed")
        assert [found.id for found in store.find(statuses=["completed", "failed"])] == ["r2", "r0"]
        assert [found.id for found in store.find(statuses=["completed", "running"], workflow="w0")] == ["r0"]
        assert store.find(statuses=["queued"]) == []
        assert store.find(statuses=[]) == []

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda store: store.get("none"), id="get"),
            pytest.param(lambda store: store.append("none", entries("a"), epoch=None), id="append"),
            pytest.param(lambda store: store.append("none", [], epoch=1, packs={"p": [bytes(BIG // 8)]}), id="big"),
            pytest.param(lambda store: store.read("none"), id="read"),
            pytest.param(lambda store: store.lookup("none", "a"), id="lookup"),
            pytest.param(lambda store: store.wait("none", 0, 0), id="wait"),
            pytest.param(lambda store: store.acquire("none", "me", 1), id="acquire"),
            pytest.param(lambda store: store.renew("none", 1, 1), id="renew"),
            pytest.param(lambda store: store.release("none", 1), id="release"),
            pytest.param(lambda store: store.lease("none"), id="lease"),
        ],
    )
    def test_methods_about_an_unknown_run_raise_run_not_found(
        self, store: Store, call: Callable[[Store], object]
    ) -> None:
        with pytest.raises(RunNotFound, match="none"):
            call(store)

    def test_load_of_an_unknown_run_finds_nothing(self, store: Store) -> None:
        assert store.load("none", ["p"]) == {}

    # -- the journal

    def test_append_returns_the_last_position(self, run: Store) -> None:
        assert run.append("run-1", [], epoch=None) == 0
        assert run.append("run-1", entries("a", "b"), epoch=None) == 2
        assert run.append("run-1", entries("c"), epoch=None) == 3
        assert run.append("run-1", [], epoch=None) == 3

    def test_read_returns_the_entries_in_order_from_position_1(self, run: Store) -> None:
        run.append("run-1", entries("b", "a"), epoch=None)
        run.append("run-1", entries("ü✓"), epoch=None)
        assert run.read("run-1") == [
            Recorded(1, "b", b"data of b"),
            Recorded(2, "a", b"data of a"),
            Recorded(3, "ü✓", "data of ü✓".encode()),
        ]

    def test_read_starts_after_a_position_and_stops_at_the_limit(self, run: Store) -> None:
        run.append("run-1", entries(*map(str, range(10))), epoch=None)
        assert [row.position for row in run.read("run-1", 7)] == [8, 9, 10]
        assert [row.position for row in run.read("run-1", 2, 3)] == [3, 4, 5]
        assert [row.position for row in run.read("run-1", 9, 5)] == [10]
        assert run.read("run-1", 10) == run.read("run-1", 99) == run.read("run-1", 0, 0) == []

    def test_an_entry_may_be_empty_or_big(self, run: Store) -> None:
        big = bytes(range(256)) * 20_000
        run.append("run-1", [Entry("empty", b""), Entry("big", big)], epoch=None)
        assert [row.data for row in run.read("run-1")] == [b"", big]

    def test_lookup_finds_an_entry_by_its_key(self, run: Store) -> None:
        run.append("run-1", entries("a", "ü"), epoch=None)
        assert run.lookup("run-1", "ü") == Recorded(2, "ü", "data of ü".encode())
        assert run.lookup("run-1", "c") is None

    def test_lookup_of_several_keys_finds_the_first_that_is_there(self, run: Store) -> None:
        run.append("run-1", entries("a", "b", "ü"), epoch=None)
        assert run.lookup("run-1", "x", "ü", "a") == Recorded(3, "ü", "data of ü".encode())
        assert run.lookup("run-1", "x", "y") is None

    def test_runs_do_not_share_keys_or_positions(self, run: Store) -> None:
        run.create(record("run-2"))
        assert run.append("run-1", entries("a"), epoch=None) == 1
        assert run.append("run-2", entries("a"), epoch=None) == 1
        assert len(run.read("run-1")) == len(run.read("run-2")) == 1

    def test_a_key_is_recorded_once(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None)
        with pytest.raises(EntryExists) as caught:
            run.append("run-1", [Entry("a", b"other")], epoch=None)
        assert caught.value.key == "a"
        assert run.read("run-1") == [Recorded(1, "a", b"data of a")]

    def test_a_refused_append_writes_nothing(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None, packs={"p": [b"1"]})
        before = run.get("run-1")
        with pytest.raises(EntryExists):
            run.append(
                "run-1",
                entries("b", "a", "c"),
                epoch=None,
                packs={"p": [b"2"], "q": [b"3"], "r": [bytes(BIG // 8)]},
                status="failed",
            )
        assert [row.key for row in run.read("run-1")] == ["a"]
        assert run.lookup("run-1", "b") is None
        assert plain(run.load("run-1", ["p", "q", "r"])) == {"p": [b"1"]}
        assert run.get("run-1") == before
        assert run.append("run-1", entries("b"), epoch=None) == 2

    def test_one_append_with_a_key_twice_is_refused(self, run: Store) -> None:
        with pytest.raises(EntryExists) as caught:
            run.append("run-1", entries("a", "b", "a"), epoch=None)
        assert caught.value.key == "a"
        assert run.read("run-1") == []

    def test_append_writes_the_status_and_its_time(self, run: Store) -> None:
        before = time.time()
        run.append("run-1", [], epoch=None, status="running")
        found = run.get("run-1")
        assert found.status == "running"
        assert before - 1 <= found.updated <= time.time() + 1
        run.append("run-1", entries("a"), epoch=None)
        assert run.get("run-1") == found

    def test_positions_have_no_gaps_with_many_threads_writing(self, run: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda writer: _append_many(run, writer, 25), "abcdefgh"))
        self._check_journal(run, "abcdefgh", 25)

    def test_positions_have_no_gaps_with_several_processes_writing(self, run: Store) -> None:
        self._need_processes()
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_append_many, args=(run, writer, 100)) for writer in "abc"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        self._check_journal(run, "abc", 100)

    def test_of_two_writers_of_one_key_exactly_one_wins(self, run: Store) -> None:
        def write(writer: int) -> int:
            wins = 0
            for number in range(50):
                try:
                    run.append("run-1", [Entry(f"k{number}", b"%d" % writer)], epoch=None)
                    wins += 1
                except EntryExists:
                    pass
            return wins

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(write, range(4))) == 50
        assert [row.position for row in run.read("run-1")] == list(range(1, 51))

    # -- waiting

    def test_wait_returns_at_once_when_there_is_more(self, run: Store) -> None:
        run.append("run-1", entries("a", "b"), epoch=None)
        started = time.monotonic()
        assert run.wait("run-1", 1, 30)
        assert run.wait("run-1", 0, 0)
        assert time.monotonic() - started < 5

    def test_wait_gives_up_after_the_timeout(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None)
        started = time.monotonic()
        assert not run.wait("run-1", 1, 0.2)
        assert 0.15 <= time.monotonic() - started < 5
        assert not run.wait("run-1", 1, 0)

    def test_wait_wakes_up_when_another_thread_writes(self, run: Store) -> None:
        writer = threading.Thread(target=_append_soon, args=(run, 0.2))
        writer.start()
        started = time.monotonic()
        assert run.wait("run-1", 0, 30)
        assert time.monotonic() - started < 10
        writer.join()

    def test_wait_wakes_up_when_another_process_writes(self, run: Store) -> None:
        self._need_processes()
        writer = multiprocessing.get_context("spawn").Process(target=_append_soon, args=(run, 0.2))
        writer.start()
        assert run.wait("run-1", 0, 60)
        assert run.read("run-1") == [Recorded(1, "late", b"data of late")]
        writer.join(60)

    # -- packs

    @pytest.mark.parametrize(
        "frames",
        [
            pytest.param([], id="no frames"),
            pytest.param([b""], id="one empty frame"),
            pytest.param([b"", b"x", b"", b""], id="empty frames"),
            pytest.param([b"%d" % number for number in range(2_000)], id="many frames"),
            pytest.param([bytearray(b"ab"), memoryview(b"cd"), memoryview(bytearray(b"abcdef"))[1:3]], id="kinds"),
            pytest.param([bytes(range(256)) * 2_000] * 5, id="middling frames"),
            pytest.param([memoryview(b"")], id="an empty view"),
        ],
    )
    def test_a_pack_comes_back_frame_by_frame(self, run: Store, frames: Frames) -> None:
        run.append("run-1", [], epoch=None, packs={"p": frames})
        assert plain(run.load("run-1", ["p"])) == {"p": [bytes(frame) for frame in frames]}

    def test_big_frames_come_back_whole(self, run: Store) -> None:
        big = bytearray(bytes(range(256)) * (BIG // 256) + b"end")
        run.append("run-1", [], epoch=None, packs={"p": [b"head", memoryview(big), b"", b"tail", big]})
        assert plain(run.load("run-1", ["p"])) == {"p": [b"head", bytes(big), b"", b"tail", bytes(big)]}

    def test_load_leaves_out_keys_that_are_missing(self, run: Store) -> None:
        run.append("run-1", [], epoch=None, packs={"ü": [b"1"], "q": [b"2"]})
        assert plain(run.load("run-1", ["q", "none", "ü"])) == {"q": [b"2"], "ü": [b"1"]}
        assert run.load("run-1", []) == {}

    def test_load_takes_many_keys_at_once(self, run: Store) -> None:
        packs: dict[str, Sequence[bytes]] = {f"p{number}": [b"%d" % number] for number in range(1_000)}
        run.append("run-1", [], epoch=None, packs=packs)
        assert plain(run.load("run-1", list(packs))) == packs

    def test_a_pack_with_the_same_key_replaces_the_old_one(self, run: Store) -> None:
        for frames in ([b"old"], [bytes(BIG // 8), b"x"], [b"1", bytes(BIG // 4)], [b"new"]):
            run.append("run-1", [], epoch=None, packs={"p": frames, "other": [b"o"]})
            assert plain(run.load("run-1", ["p"])) == {"p": frames}

    def test_a_value_may_change_once_append_has_returned(self, run: Store) -> None:
        frame = bytearray(b"before")
        run.append("run-1", [], epoch=None, packs={"p": [frame]})
        frame[:] = b"after!"
        assert plain(run.load("run-1", ["p"])) == {"p": [b"before"]}

    # -- fencing

    def test_the_first_driver_has_epoch_1(self, run: Store) -> None:
        assert run.lease("run-1") is None
        lease = run.acquire("run-1", "me ü", 60)
        assert (lease.owner, lease.epoch) == ("me ü", 1)
        assert 0 < lease.expires_in <= 60

    def test_lease_tells_who_drives_the_run(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        lease = self.reopen(run).lease("run-1")
        assert lease is not None
        assert (lease.owner, lease.epoch) == ("me", 1)
        assert 50 < lease.expires_in <= 60

    def test_a_held_lease_is_refused_to_everybody(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        for owner in ("you", "me"):
            with pytest.raises(RunHasDriver, match="me") as caught:
                run.acquire("run-1", owner, 60)
            assert caught.value.owner == "me"
        lease = run.lease("run-1")
        assert lease is not None
        assert lease.epoch == 1

    def test_a_lapsed_lease_is_free_with_a_higher_epoch(self, run: Store) -> None:
        run.acquire("run-1", "me", 0.05)
        time.sleep(0.15)
        lapsed = run.lease("run-1")
        assert lapsed is not None
        assert -math.inf < lapsed.expires_in <= 0
        assert run.acquire("run-1", "you", 60).epoch == 2

    def test_a_released_lease_is_free_with_a_higher_epoch(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        run.release("run-1", 1)
        released = run.lease("run-1")
        assert released is not None
        assert released.expires_in == -math.inf, "released, not lapsed: its driver does not come back"
        assert run.acquire("run-1", "you", 60).epoch == 2

    def test_release_of_an_older_epoch_does_nothing(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        run.release("run-1", 1)
        run.acquire("run-1", "you", 60)
        run.release("run-1", 1)
        with pytest.raises(RunHasDriver):
            run.acquire("run-1", "me", 60)

    def test_a_run_may_be_made_with_its_first_driver(self, store: Store) -> None:
        store.create(record(), entries("a"), {"p": [b"1"]}, owner="me", ttl=60)
        lease = store.lease("run-1")
        assert lease == Lease("me", 1, 60)
        assert lease is not None
        assert 30 < lease.expires_in <= 61
        with pytest.raises(RunHasDriver) as caught:
            store.acquire("run-1", "you", 60)
        assert caught.value.owner == "me"
        store.renew("run-1", 1, 60)
        assert store.append("run-1", entries("b"), epoch=1) == 2

    def test_the_lease_that_a_run_was_made_with_lapses(self, store: Store) -> None:
        store.create(record(), owner="me", ttl=0.05)
        time.sleep(0.15)
        assert store.acquire("run-1", "you", 60).epoch == 2

    def test_a_run_that_is_there_keeps_its_driver_when_it_is_made_again(self, run: Store) -> None:
        with pytest.raises(RunExists):
            run.create(record(), owner="me", ttl=60)
        assert run.lease("run-1") is None

    def test_the_last_write_of_a_driver_can_give_its_lease_back(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        assert run.append("run-1", entries("a"), epoch=1, status="completed", release=True) == 1
        released = run.lease("run-1")
        assert released is not None
        assert released.expires_in == -math.inf
        assert run.get("run-1").status == "completed"
        assert run.acquire("run-1", "you", 60).epoch == 2

    def test_a_write_that_is_refused_gives_no_lease_back(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        run.append("run-1", entries("a"), epoch=1)
        with pytest.raises(EntryExists):
            run.append("run-1", entries("a"), epoch=1, release=True)
        with pytest.raises(StaleEpoch):
            run.append("run-1", entries("b"), epoch=7, release=True)
        run.append("run-1", entries("c"), epoch=None, release=True)
        with pytest.raises(RunHasDriver):
            run.acquire("run-1", "you", 60)

    def test_renew_keeps_the_lease(self, run: Store) -> None:
        run.acquire("run-1", "me", 0.3)
        run.renew("run-1", 1, 60)
        time.sleep(0.4)
        with pytest.raises(RunHasDriver):
            run.acquire("run-1", "you", 60)

    def test_renew_takes_a_lapsed_lease_back_when_nobody_took_it(self, run: Store) -> None:
        run.acquire("run-1", "me", 0.05)
        time.sleep(0.15)
        run.renew("run-1", 1, 60)
        with pytest.raises(RunHasDriver):
            run.acquire("run-1", "you", 60)

    def test_renew_is_refused_when_another_driver_has_the_run(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        run.release("run-1", 1)
        run.acquire("run-1", "you", 60)
        with pytest.raises(StaleEpoch):
            run.renew("run-1", 1, 60)

    def test_renew_is_refused_when_the_run_never_had_a_driver(self, run: Store) -> None:
        with pytest.raises(StaleEpoch):
            run.renew("run-1", 1, 60)

    def test_the_driver_writes_with_its_epoch_even_when_its_lease_has_lapsed(self, run: Store) -> None:
        run.acquire("run-1", "me", 0.05)
        time.sleep(0.15)
        assert run.append("run-1", entries("a"), epoch=1) == 1

    def test_a_write_of_an_older_epoch_is_refused_and_writes_nothing(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        run.release("run-1", 1)
        run.acquire("run-1", "you", 60)
        with pytest.raises(StaleEpoch, match="run-1"):
            run.append("run-1", entries("a"), epoch=1, packs={"p": [b"x"]}, status="failed")
        assert run.read("run-1") == []
        assert run.load("run-1", ["p"]) == {}
        assert run.get("run-1").status == "queued"

    @pytest.mark.parametrize("epoch", [0, 1, 2])
    def test_a_write_of_an_epoch_nobody_has_is_refused(self, run: Store, epoch: int) -> None:
        if epoch != 1:
            run.acquire("run-1", "me", 60)
        with pytest.raises(StaleEpoch):
            run.append("run-1", entries("a"), epoch=epoch)

    def test_a_writer_that_is_no_driver_needs_no_epoch(self, run: Store) -> None:
        run.acquire("run-1", "me", 60)
        assert run.append("run-1", entries("command"), epoch=None) == 1

    def test_of_many_that_acquire_at_once_one_gets_the_run(self, run: Store) -> None:
        def acquire(number: int) -> int:
            try:
                run.acquire("run-1", f"driver {number}", 60)
            except RunHasDriver:
                return 0
            return 1

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(acquire, range(8))) == 1

    # -- helpers

    def _need_processes(self) -> None:
        if not self.shared:
            pytest.skip("other processes do not see this store")

    def _check_journal(self, store: Store, writers: str, count: int) -> None:
        rows = store.read("run-1")
        assert [row.position for row in rows] == list(range(1, len(writers) * count + 1))
        for writer in writers:
            mine = [row.key for row in rows if row.key.startswith(writer)]
            assert mine == [f"{writer}:{number}" for number in range(count)]
        assert len(store.load("run-1", [row.key for row in rows])) == len(rows)
