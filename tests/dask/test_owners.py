"""A driver that is known to be gone makes nobody wait, and one that may be alive is left alone."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from wfnb.dask import owners
from wfnb.dask.owners import await_free, is_gone, is_here, live_lease, own_name
from wfnb.model.errors import RunHasDriver
from wfnb.store.base import Lease, RunRecord
from wfnb.store.memory import MemoryStore

linux = pytest.mark.skipif(sys.platform != "linux", reason="only there a process can be told from its successor")
ELSEWHERE = "other-host:1/0123456789ab-100"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(f"memory://{uuid.uuid4().hex}")
    store.create(RunRecord("run", "flow", "", "running", 0.0, 0.0))
    return store


def name_of_the_dead() -> str:
    """The name a driver had in a process that has ended."""
    code = "from wfnb.dask.owners import own_name; print(own_name())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_name_tells_people_the_host_and_the_process() -> None:
    assert own_name().partition("/")[0].endswith(f":{__import__('os').getpid()}")


@linux
def test_this_process_is_here_and_alive() -> None:
    assert is_here(own_name())
    assert not is_gone(own_name())


@linux
def test_a_process_that_has_ended_is_gone() -> None:
    assert is_gone(name_of_the_dead())


@linux
def test_a_process_that_has_the_number_of_an_ended_one_is_another() -> None:
    assert is_gone(own_name() + "0")


@pytest.mark.parametrize("name", [ELSEWHERE, "", "host:1", "host:x/y-z"])
def test_nothing_is_known_of_a_process_elsewhere(name: str) -> None:
    assert not is_gone(name)


@linux
def test_a_dead_driver_s_lease_is_no_lease(store: MemoryStore) -> None:
    store.acquire("run", name_of_the_dead(), 60)
    assert live_lease(store, "run") is None
    await_free(store, "run")
    assert store.acquire("run", "next", 60).epoch == 2


def test_a_run_nobody_drives_is_free(store: MemoryStore) -> None:
    await_free(store, "run")
    store.release("run", store.acquire("run", ELSEWHERE, 60).epoch)
    await_free(store, "run")


@linux
def test_a_driver_alive_on_this_machine_is_told_of_at_once(store: MemoryStore) -> None:
    lease = store.acquire("run", own_name(), 60)
    assert live_lease(store, "run") == lease
    with pytest.raises(RunHasDriver, match="being driven by") as driven:
        await_free(store, "run")
    assert driven.value.owner == own_name()


@pytest.mark.timeout(20)
def test_a_driver_that_has_recorded_the_end_of_its_run_is_waited_for(store: MemoryStore) -> None:
    lease = store.acquire("run", own_name(), 60)
    store.append("run", [], epoch=lease.epoch, status="failed")
    release = threading.Timer(0.3, store.release, ["run", lease.epoch])
    release.start()
    await_free(store, "run")
    release.join()
    assert store.acquire("run", "next", 60).epoch == 2


def test_a_driver_elsewhere_that_has_died_is_waited_out(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "RETURN", 0.5)
    store.acquire("run", ELSEWHERE, 0.5)
    began = time.monotonic()
    await_free(store, "run")
    assert 0.3 < time.monotonic() - began < 10


@pytest.mark.timeout(20)
def test_a_driver_elsewhere_that_renews_its_lease_is_alive(store: MemoryStore) -> None:
    lease = store.acquire("run", ELSEWHERE, 5)
    renew = threading.Timer(0.5, store.renew, ["run", lease.epoch, 5])
    renew.start()
    with pytest.raises(RunHasDriver):
        await_free(store, "run")
    renew.join()


# -- leases that have lapsed -------------------------------------------------------------------------------------------


class Place:
    """A store that says what a test wants of one run's lease, and a clock that goes on when the test says so."""

    def __init__(self, owner: str) -> None:
        self.place = uuid.uuid4().hex
        self.owner = owner
        self.now = self.expires = 1_000.0
        self.renews_at = math.inf
        self.released: list[int] = []

    def lease(self, run_id: str) -> Lease:
        return Lease(self.owner, 1, self.expires - self.now)

    def get(self, run_id: str) -> RunRecord:
        return RunRecord(run_id, "flow", "", "running", 0.0, 0.0)

    def release(self, run_id: str, epoch: int) -> None:
        self.released.append(epoch)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.renews_at:
            self.expires = self.now + 10

    def lives(self) -> bool:
        store: Any = self
        return live_lease(store, "run") is not None

    def lives_on(self, seconds: float, step: float = 1.0) -> list[bool]:
        """Look again and again for so many seconds; return what was seen."""
        seen = []
        for _ in range(int(seconds / step)):
            self.sleep(step)
            seen.append(self.lives())
        return seen


@pytest.fixture(params=["here", pytest.param("elsewhere")])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "here" and sys.platform != "linux":
        pytest.skip("only on Linux a process is known to be here")
    place = Place(own_name() if request.param == "here" else ELSEWHERE)
    monkeypatch.setattr(owners, "time", SimpleNamespace(monotonic=lambda: place.now, sleep=place.sleep))
    return place


def test_a_driver_whose_lease_lapsed_while_the_store_was_away_has_ten_seconds_to_come_back(place: Place) -> None:
    place.expires = place.now + 6
    assert place.lives()
    place.now += 20  # the store was away
    assert place.lives()
    assert place.lives_on(9) == [True] * 9
    assert place.lives_on(2) == [False] * 2


def test_a_driver_that_comes_back_is_as_alive_as_before(place: Place) -> None:
    place.now += 20
    assert place.lives()
    place.expires = place.now + 10
    assert place.lives()
    place.now += 25
    assert place.lives()
    assert place.lives_on(9) == [True] * 9


def test_a_lease_that_was_released_is_nobody_s_at_once(place: Place) -> None:
    place.expires = -math.inf
    assert not place.lives()


def test_a_run_whose_driver_comes_back_is_not_taken_from_it(place: Place) -> None:
    place.now += 20
    place.renews_at = place.now + 4
    store: Any = place
    with pytest.raises(RunHasDriver):
        await_free(store, "run")


def test_a_run_whose_driver_does_not_come_back_is_free_after_ten_seconds(place: Place) -> None:
    place.now += 20
    store: Any = place
    began = place.now
    await_free(store, "run")
    assert 10 <= place.now - began < 11


@pytest.mark.parametrize("place", ["elsewhere"], indirect=True)
def test_who_has_seen_the_store_work_all_the_time_needs_no_longer_than_the_lease(place: Place) -> None:
    place.expires = place.now + 10
    assert place.lives()
    assert place.lives_on(11) == [True] * 9 + [False] * 2


@pytest.mark.parametrize("place", ["elsewhere"], indirect=True)
def test_a_driver_elsewhere_that_died_long_ago_is_lost_at_first_sight(place: Place) -> None:
    place.now += 1_000
    assert not place.lives()
