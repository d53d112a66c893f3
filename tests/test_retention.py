"""Which runs are kept, and that nothing is removed that somebody has, changes or uses."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.dask.owners import PRUNER
from wfnb.model.errors import RunHasDriver, RunNotFound, StoreUnavailable
from wfnb.retention import Keeper, Pruned, Retention, prune
from wfnb.session import SESSION
from wfnb.store.base import RunRecord, Store
from wfnb.store.memory import MemoryStore
from wfnb.store.sqlite import SQLiteStore

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def store() -> Store:
    return MemoryStore(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A session of its own, computing in this process, that removes nothing by itself."""
    monkeypatch.setattr(SESSION, "_keeper", Keeper())
    url = alone(monkeypatch, tmp_path)
    wf.configure(retention=None)
    yield url
    wf.configure(retention=wf.Retention())


def made(store: Store, run_id: str, status: str = "completed", ago: float = 0.0, **more: Any) -> str:
    """Add a run that ended some seconds ago."""
    when = time.time() - ago
    store.create(RunRecord(run_id, "flow", "1", status, when, when, **more), packs={"p": [b"x" * 100]})
    return run_id


def ids(store: Store) -> list[str]:
    return sorted(record.id for record in store.find(limit=10_000))


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_last_completed_and_failed_runs_are_kept_each_by_number(store: Store) -> None:
    for number in range(4):
        made(store, f"c{number}", "completed", number)
        made(store, f"f{number}", "failed" if number % 2 else "cancelled", number + 0.5)
    removed = prune(store, Retention(completed=1, failed=2))
    assert removed == Pruned(("c1", "c2", "f2", "c3", "f3"), 500)
    assert ids(store) == ["c0", "f0", "f1"]


def test_by_default_100_completed_and_500_failed_runs_are_kept(store: Store) -> None:
    assert (Retention().completed, Retention().failed, Retention().days, Retention().bytes) == (100, 500, None, None)
    for number in range(102):
        made(store, f"c{number:03}", "completed", number)
    assert prune(store, Retention()).runs == ("c100", "c101")


def test_the_time_a_run_ended_counts_not_when_it_was_created(store: Store) -> None:
    made(store, "early", "running", 100)
    made(store, "late", "completed", 10)
    store.append("early", [], epoch=None, status="completed")
    assert prune(store, Retention(completed=1)).runs == ("late",)


def test_runs_that_ended_long_ago_are_removed_by_age(store: Store) -> None:
    day = 24 * 3600.0
    made(store, "old", "completed", 3 * day)
    made(store, "older", "failed", 30 * day)
    made(store, "new", "failed", 1.0)
    assert prune(store, Retention(None, None, days=2)).runs == ("old", "older")
    assert ids(store) == ["new"]


def test_runs_are_removed_by_size_until_the_rest_fits_beside_those_that_go_on(store: Store) -> None:
    made(store, "busy", "running", 1)
    for number in range(3):
        made(store, f"c{number}", "completed", number)
    assert prune(store, Retention(None, None, bytes=300)).runs == ("c2",)
    assert prune(store, Retention(None, None, bytes=10)).runs == ("c0", "c1")
    assert ids(store) == ["busy"]


def test_runs_that_are_not_over_are_never_removed(store: Store) -> None:
    for status in ("queued", "running", "paused"):
        made(store, status, status, 1e8)  # without a driver, it is interrupted
    assert prune(store, Retention(0, 0, days=0, bytes=0)).runs == ()
    assert len(ids(store)) == 3


def test_a_run_whose_values_a_kept_fork_uses_is_kept_and_so_is_what_that_one_uses(store: Store) -> None:
    made(store, "root", "failed", 40)
    made(store, "middle", "completed", 30, parent="root")
    made(store, "fork", "running", 20, parent="middle")
    made(store, "alone", "completed", 10)
    assert prune(store, Retention(0, 0)).runs == ("alone",)
    store.append("fork", [], epoch=None, status="completed")
    assert prune(store, Retention(1, 0)).runs == ()
    assert prune(store, Retention(0, 0)).runs == ("fork", "middle", "root")
    assert ids(store) == []


def test_a_dry_run_removes_nothing_and_says_the_same(store: Store) -> None:
    for number in range(3):
        made(store, f"c{number}", "completed", number)
    said = prune(store, Retention(1, 0), dry_run=True)
    assert ids(store) == ["c0", "c1", "c2"]
    assert replace(prune(store, Retention(1, 0)), dry_run=True) == said == Pruned(("c1", "c2"), 200, dry_run=True)


def test_what_was_removed_reads_as_a_sentence() -> None:
    assert repr(Pruned((), 0)) == "removed no run, 0 bytes"
    assert repr(Pruned(("a",), 1200)) == "removed 1 run, 1.2 kB: a"
    many = Pruned(tuple(f"r{number}" for number in range(1200)), 34_000_000, dry_run=True)
    assert repr(many).startswith("would remove 1,200 runs, 34 MB: r0, r1, ")
    assert repr(many).endswith("r9, ...")


@pytest.mark.parametrize("name", ["completed", "failed", "days", "bytes"])
@pytest.mark.parametrize("limit", [-1, "ten", True, float("nan")])
def test_a_limit_that_will_not_do_is_refused(name: str, limit: Any) -> None:
    with pytest.raises(wf.ConfigurationError, match=name):
        Retention(**{name: limit})


@pytest.mark.parametrize("name", ["completed", "failed"])
def test_a_part_of_a_run_cannot_be_kept(name: str) -> None:
    with pytest.raises(wf.ConfigurationError, match=f"'{name}', is 1.5: give a whole number"):
        Retention(**{name: 1.5})


# -- beside others -----------------------------------------------------------------------------------------------------


def test_a_run_that_somebody_has_taken_up_is_left(store: Store) -> None:
    made(store, "a")
    lease = store.acquire("a", "driver", 60)
    assert prune(store, Retention(0, 0)).runs == ()
    store.append("a", [], epoch=lease.epoch)
    store.release("a", lease.epoch)
    assert prune(store, Retention(0, 0)).runs == ("a",)


class Meanwhile:
    """A store in which something happens just before a method of it is called."""

    def __init__(self, store: Store, name: str, happens: Callable[[], object]) -> None:
        self._store, self._name, self._happens = store, name, happens

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._happens()
        return getattr(self._store, name)


@pytest.mark.parametrize("moment", ["acquire", "get", "forks", "delete"])
def test_a_run_that_somebody_takes_up_just_then_is_left_or_cannot_be_taken_up(store: Store, moment: str) -> None:
    made(store, "a")
    taken: list[int] = []

    def take() -> None:
        try:
            lease = store.acquire("a", "driver", 60)
        except RunHasDriver:
            return  # it is being removed
        store.append("a", [], epoch=lease.epoch, status="running")
        taken.append(lease.epoch)

    removed = prune(Meanwhile(store, moment, take), Retention(0, 0))
    assert bool(removed.runs) != bool(taken)
    assert ids(store) == (["a"] if taken else [])


def test_a_removal_whose_lease_lapsed_is_given_up_when_somebody_has_the_run(store: Store) -> None:
    made(store, "a")
    holder = store.acquire

    def lapse() -> None:
        (lease,) = [store.lease("a")]
        assert lease is not None
        assert lease.owner.startswith(PRUNER)
        store.release("a", lease.epoch)
        holder("a", "driver", 60)

    assert prune(Meanwhile(store, "delete", lapse), Retention(0, 0)).runs == ()
    assert ids(store) == ["a"]


def test_a_run_that_is_forked_just_then_is_left_and_can_be_taken_up_at_once(store: Store) -> None:
    made(store, "a")
    fork = Meanwhile(store, "forks", lambda: made(store, "b", "queued", parent="a"))
    assert prune(fork, Retention(0, 0)).runs == ()
    assert ids(store) == ["a", "b"]
    assert store.acquire("a", "driver", 60).epoch == 2


def test_a_run_that_is_gone_just_then_is_no_trouble(store: Store) -> None:
    for moment in ("acquire", "get", "forks", "delete"):
        made(store, "a")
        prune(Meanwhile(store, moment, lambda: store.delete("a")), Retention(0, 0))
        assert ids(store) == []


def test_many_at_once_remove_each_run_once(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    for number in range(40):
        made(store, f"r{number:02}", "completed", number)
    found: list[Pruned] = []
    threads = [
        threading.Thread(target=lambda: found.append(prune(SQLiteStore(store.url), Retention(5)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(store) == [f"r{number:02}" for number in range(5)]
    assert sorted(run for one in found for run in one.runs) == [f"r{number:02}" for number in range(5, 40)]
    store.close()


# -- by itself ---------------------------------------------------------------------------------------------------------


def test_it_is_done_in_the_background_and_not_again_for_a_while(store: Store) -> None:
    keeper = Keeper()
    keeper.keep = Retention(0, 0)
    made(store, "a")
    keeper.due(store)
    wait(lambda: ids(store) == [])
    made(store, "b")
    keeper.due(store)
    assert [thread for thread in threading.enumerate() if thread.name == "wfnb-retention"] == []
    assert ids(store) == ["b"]
    keeper.keep = Retention(0, 0)  # what is said anew counts at once
    keeper.due(store)
    wait(lambda: ids(store) == [])


def test_it_may_be_turned_off(store: Store) -> None:
    keeper = Keeper()
    keeper.keep = None
    made(store, "a", "completed", 1e9)
    keeper.due(store)
    assert ids(store) == ["a"]


def test_what_goes_wrong_in_the_background_is_told_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise StoreUnavailable("the disk is gone")

    keeper = Keeper()
    with caplog.at_level(logging.WARNING, "wfnb"):
        keeper.due(Meanwhile(store, "find", fail))
        wait(lambda: bool(caplog.records))
    assert "old runs could not be removed" in caplog.text
    assert "the disk is gone" in caplog.text


def wait(done: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    deadline = time.monotonic() + 30
    while not done() or any(thread.name == "wfnb-retention" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- the face ----------------------------------------------------------------------------------------------------------


@wf.node
def double(x: int) -> int:
    return 2 * x


@wf.node(cache=True)
def known(x: int) -> int:
    return 3 * x


@wf.workflow(name="retained")
def flow(x: int) -> int:
    return known(double(x))


def test_after_a_run_old_ones_go_by_themselves(session: str) -> None:
    old = flow.submit(1)
    old.result(30)
    wf.configure(retention=wf.Retention(completed=1))
    new = flow.submit(2)
    new.result(30)
    wait(lambda: [run.id for run in wf.runs()] == [new.id])


def test_prune_removes_by_number_age_and_size_and_keeps_what_is_asked(session: str) -> None:
    runs = []
    for x in range(4):  # one after the other: those that ended last are kept
        runs.append(flow.submit(x))
        runs[-1].result(30)
    assert wf.prune().runs == ()
    assert len(wf.prune(completed=2, dry_run=True).runs) == 2
    assert len(wf.runs()) == 4
    assert set(wf.prune(completed=2).runs) == {runs[0].id, runs[1].id}
    assert wf.prune(older_than=timedelta(days=1)).runs == wf.prune(max_bytes=10**9).runs == ()
    assert wf.prune(older_than=0).runs == (runs[3].id, runs[2].id)
    with pytest.raises(wf.ConfigurationError, match="timedelta"):
        wf.prune(older_than="a week")  # type: ignore[arg-type]
    with pytest.raises(wf.ConfigurationError, match="completed"):
        wf.prune(completed=-1)
    with pytest.raises(wf.ConfigurationError, match="retention"):
        wf.configure(retention=100)  # type: ignore[arg-type]


def test_values_that_a_fork_shares_stay_readable_as_long_as_it_is_kept(session: str) -> None:
    run = flow.submit(1)
    run.result(30)
    fork = run.fork(from_="known")
    assert fork.result(30) == 6
    assert wf.prune(completed=1).runs == ()
    assert fork["double"].output == 2
    assert set(wf.prune(completed=0).runs) == {run.id, fork.id}


def test_a_value_that_answered_another_run_stays_known_when_the_run_that_made_it_goes(session: str) -> None:
    first = flow.submit(1)
    first.result(30)
    second = flow.submit(1)
    assert second.result(30) == 6
    assert second["known"].status == "cached"
    assert wf.prune(completed=1).runs == (first.id,)
    assert second["known"].output == 6
    third = flow.submit(1)
    assert third.result(30) == 6
    assert third["known"].status == "cached"


def test_a_run_that_is_removed_is_gone_for_who_resumes_it(session: str) -> None:
    run = flow.submit(1)
    run.result(30)
    wf.prune(completed=0)
    with pytest.raises(RunNotFound):
        run.resume()


@pytest.mark.parametrize("key", ["code", "inputs"])
def test_a_run_that_is_removed_while_it_is_read_is_said_to_be_gone(
    session: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = flow.submit(1)
    run.result(30)
    load = MemoryStore.load

    def removed_first(self: MemoryStore, run_id: str, keys: list[str]) -> Any:
        if keys[0].startswith(key):
            self.delete(run_id)
        return load(self, run_id, keys)

    monkeypatch.setattr(MemoryStore, "load", removed_first)
    with pytest.raises(RunNotFound):
        run.fork(from_="known")
