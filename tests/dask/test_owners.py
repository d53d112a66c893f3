"""A driver that is known to be gone makes nobody wait, and one that may be alive is left alone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid

import pytest

from wfnb.dask.owners import await_free, is_gone, is_here, live_lease, own_name
from wfnb.model.errors import RunHasDriver
from wfnb.store.base import RunRecord
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


def test_a_driver_elsewhere_that_has_died_is_waited_out(store: MemoryStore) -> None:
    store.acquire("run", ELSEWHERE, 0.5)
    began = time.monotonic()
    await_free(store, "run")
    assert 0.3 < time.monotonic() - began < 2


@pytest.mark.timeout(20)
def test_a_driver_elsewhere_that_renews_its_lease_is_alive(store: MemoryStore) -> None:
    lease = store.acquire("run", ELSEWHERE, 5)
    renew = threading.Timer(0.5, store.renew, ["run", lease.epoch, 5])
    renew.start()
    with pytest.raises(RunHasDriver):
        await_free(store, "run")
    renew.join()
