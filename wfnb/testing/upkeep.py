"""The part of the store contract about what is kept across runs, and its removal. Imports pytest and the contract."""

# Tests assert, and their names are their promises.
# ruff: noqa: D102, S101

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from typing import Any

import pytest

from wfnb.model.errors import EntryExists, StaleEpoch
from wfnb.store.base import Answer, Entry, Memo, Remembered, RunRecord, Store

BIG = 20 * 1024 * 1024  # bytes


def record(run_id: str = "run-1", **changes: Any) -> RunRecord:
    """Return a run's record, with some fields changed."""
    fields: dict[str, Any] = {"workflow": "flow", "version": "1", "status": "queued", "created": 100.25}
    fields = {**fields, "updated": fields["created"], **changes}
    return RunRecord(run_id, **fields)


def entries(*keys: str) -> list[Entry]:
    """Return entries with these keys and data made of them."""
    return [Entry(key, b"data of " + key.encode()) for key in keys]


def plain(packs: dict[str, list[Any]]) -> dict[str, list[bytes]]:
    """Return packs with their frames as bytes, fit to compare."""
    return {key: [bytes(frame) for frame in frames] for key, frames in packs.items()}


class UpkeepConformance:
    """What `wfnb.testing.store.StoreConformance` asks of memos, forks, sizes and removal."""

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store; every subclass has its own."""
        raise NotImplementedError("give the subclass a fixture named 'store'")

    def reopen(self, store: Store) -> Store:
        """Return the same place opened again; by default as another process gets it."""
        copy: Store = pickle.loads(pickle.dumps(store))  # noqa: S301
        return copy

    @pytest.fixture
    def run(self, store: Store) -> Store:
        """Return the store with one run in it, `run-1`."""
        store.create(record())
        return store

    # -- runs

    def test_delete_removes_the_run_with_all_it_has(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None, packs={"p": [b"x"], "q": [bytes(BIG // 8), b"y"]})
        run.acquire("run-1", "me", 60)
        run.delete("run-1")
        run.delete("run-1")
        assert run.find() == run.find(workflow="flow") == run.find(statuses=["queued"]) == []
        assert run.load("run-1", ["p", "q"]) == {}
        run.create(record())
        assert run.read("run-1") == []
        assert run.lease("run-1") is None
        assert run.load("run-1", ["p", "q"]) == {}

    def test_delete_leaves_other_runs(self, run: Store) -> None:
        run.create(record("run-2"), entries("a"), {"p": [b"x"]})
        run.delete("run-1")
        assert [row.key for row in run.read("run-2")] == ["a"]
        assert plain(run.load("run-2", ["p"])) == {"p": [b"x"]}

    def test_delete_by_an_epoch_that_is_not_the_latest_is_refused_and_removes_nothing(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None, packs={"p": [b"x"]}, memos={"k": Answer("p", 0)})
        run.acquire("run-1", "me", 60)
        run.release("run-1", 1)
        run.acquire("run-1", "you", 60)
        with pytest.raises(StaleEpoch, match="run-1"):
            run.delete("run-1", epoch=1)
        assert [row.key for row in run.read("run-1")] == ["a"]
        assert plain(run.load("run-1", ["p"])) == {"p": [b"x"]}
        assert run.recall(["k"])
        run.delete("run-1", epoch=2)
        assert run.find() == []
        run.delete("run-1", epoch=2)

    def test_delete_removes_thousands_of_packs_and_memos(self, run: Store) -> None:
        packs: dict[str, Sequence[bytes]] = {f"p{number}": [b"%d" % number] for number in range(2_000)}
        run.append("run-1", [], epoch=None, packs=packs, memos={f"k{key}": Answer(key, 0) for key in packs})
        run.delete("run-1")
        assert list(run.memos()) == []
        run.create(record())
        assert run.load("run-1", list(packs)) == {}

    def test_forks_finds_the_runs_that_name_a_parent(self, run: Store) -> None:
        run.create(record("b", parent="run-1"))
        run.create(record("a", parent="run-1"))
        run.create(record("c", parent="a"))
        assert run.get("a").parent == "run-1"
        assert run.get("run-1").parent == ""
        assert {found.id: found.parent for found in run.find()} == {"run-1": "", "a": "run-1", "b": "run-1", "c": "a"}
        assert sorted(run.forks("run-1")) == ["a", "b"]
        assert run.forks("c") == run.forks("none") == run.forks("") == []
        run.delete("b")
        run.delete("run-1")
        assert run.forks("run-1") == ["a"]

    def test_sizes_tells_about_how_many_bytes_runs_take(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None, packs={"p": [b"x"]})
        run.create(record("large"))
        run.append("large", [Entry("a", bytes(BIG // 20))], epoch=None, packs={"p": [bytes(BIG), b"tail"]})
        run.append("large", [], epoch=None, packs={"q": [bytes(BIG // 10)], "r": []})
        found = run.sizes(["run-1", "none", "large"])
        assert sorted(found) == ["large", "run-1"]
        assert 0 < found["run-1"] < 10_000
        written = BIG + BIG // 10 + BIG // 20
        assert written <= found["large"] < written * 1.5
        assert run.sizes([]) == {}

    def test_sizes_counts_every_pack_of_a_run_whose_packs_differ(self, run: Store) -> None:
        packs: dict[str, Sequence[bytes]] = {f"p{number}": [b"x"] for number in range(300)}
        run.append("run-1", [], epoch=None, packs=packs | {f"big{number}": [bytes(500_000)] for number in range(3)})
        assert 1_500_000 < run.sizes(["run-1"])["run-1"] < 2_000_000

    # -- memos

    def test_recall_finds_the_memos_of_every_run_and_leaves_out_missing_keys(self, run: Store) -> None:
        run.create(record("run-2"))
        run.append(
            "run-1",
            entries("a"),
            epoch=None,
            packs={"p 1": [b"x"]},
            memos={"k": Answer("p 1", 0), "ü": Answer("p 1", 7)},
        )
        run.append("run-2", [], epoch=None, memos={"m": Answer("q", 3)})
        known = {"k": Memo("run-1", "p 1", 0), "ü": Memo("run-1", "p 1", 7), "m": Memo("run-2", "q", 3)}
        again = self.reopen(run)
        assert again.recall(["m", "none", "k", "ü", "k"]) == known
        assert again.recall([]) == {}
        again.close()

    def test_recall_takes_thousands_of_keys_at_once(self, run: Store) -> None:
        memos = {f"k{number}": Answer("p", number) for number in range(6_000)}
        run.append("run-1", [], epoch=None, memos=memos)
        found = run.recall([*memos, "none"])
        assert found == {key: Memo("run-1", *memo[:2]) for key, memo in memos.items()}

    def test_a_memo_with_the_same_key_replaces_the_old_one(self, run: Store) -> None:
        run.create(record("run-2"))
        run.append("run-1", [], epoch=None, memos={"k": Answer("p", 0)})
        run.append("run-1", [], epoch=None, memos={"k": Answer("p", 1)})
        assert run.recall(["k"]) == {"k": Memo("run-1", "p", 1)}
        run.append("run-2", [], epoch=None, memos={"k": Answer("q", 2)})
        assert run.recall(["k"]) == {"k": Memo("run-2", "q", 2)}

    def test_delete_forgets_the_memos_of_the_run_and_no_others(self, run: Store) -> None:
        run.create(record("run-2"))
        run.append("run-1", [], epoch=None, memos={"mine": Answer("p", 0), "taken over": Answer("p", 1)})
        run.append("run-2", [], epoch=None, memos={"taken over": Answer("q", 2), "other": Answer("q", 3)})
        run.delete("run-1")
        left = {"taken over": Memo("run-2", "q", 2), "other": Memo("run-2", "q", 3)}
        assert run.recall(["mine", "taken over", "other"]) == left
        run.create(record())
        assert run.recall(["mine"]) == {}

    def test_a_refused_append_leaves_no_memos(self, run: Store) -> None:
        run.append("run-1", entries("a"), epoch=None, memos={"k": Answer("p", 0)})
        with pytest.raises(EntryExists):
            run.append("run-1", entries("a"), epoch=None, memos={"k": Answer("p", 1), "m": Answer("p", 2)})
        with pytest.raises(StaleEpoch):
            run.append("run-1", entries("b"), epoch=7, memos={"k": Answer("p", 1), "m": Answer("p", 2)})
        assert run.recall(["k", "m"]) == {"k": Memo("run-1", "p", 0)}

    def test_memos_are_told_with_node_size_and_time(self, run: Store) -> None:
        assert list(run.memos()) == []
        run.create(record("run-2"))
        before = time.time()
        run.append("run-1", [], epoch=None, memos={"k": Answer("p 1", 0, "train ü two", 70), "bare": Answer("p", 1)})
        run.append("run-2", [], epoch=None, memos={"other": Answer("q", 0, "load", 5)})
        found = {memo.key: memo for memo in run.memos()}
        assert sorted(found) == ["bare", "k", "other"]
        assert all(before - 1 <= memo.time <= time.time() + 1 for memo in found.values())
        assert found["k"] == Remembered("k", "run-1", "train ü two", 70, found["k"].time)
        assert (found["bare"].node, found["other"].run_id) == ("", "run-2")

    def test_memos_goes_through_thousands(self, run: Store) -> None:
        made = {f"k{number:05}": Answer("p", number, "n", number) for number in range(6_000)}
        run.append("run-1", [], epoch=None, memos=made)
        assert {memo.key: memo.nbytes for memo in run.memos()} == {key: found.nbytes for key, found in made.items()}

    def test_forget_forgets_memos_and_leaves_the_values(self, run: Store) -> None:
        keys = [f"k{number}" for number in range(1_200)]
        run.append("run-1", [], epoch=None, packs={"p": [b"x"]}, memos={key: Answer("p", 0) for key in keys})
        assert run.forget([*keys[2:], "none"]) == len(keys) - 2
        assert run.forget(keys[2:]) == run.forget([]) == 0
        assert sorted(memo.key for memo in run.memos()) == sorted(run.recall(keys)) == ["k0", "k1"]
        assert plain(run.load("run-1", ["p"])) == {"p": [b"x"]}
