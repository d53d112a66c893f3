"""Promises of handing over: whatever goes wrong on the way, a run has one driver, and who asked for it is told so."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Any

import pytest

from wfnb.dask import hosts as module
from wfnb.dask.hosting import MOST_SENT, Birth, Task
from wfnb.dask.hosts import Hosts
from wfnb.dask.owners import own_name
from wfnb.model.errors import RunExists, RunHasDriver
from wfnb.model.events import RunStarted, encode_event
from wfnb.store.base import Entry, RunRecord
from wfnb.store.memory import MemoryStore

pytestmark = pytest.mark.timeout(30)
TASK: Any = Task("run", None, RunStarted(0.0, "kernel", "code"), b"", {})  # type: ignore[arg-type]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def birth() -> Birth:
    now = time.time()
    return Birth(RunRecord("run", "flow", "1", "queued", now, now), {"code": [memoryview(b"x")]})


def take_up(store: MemoryStore, message: dict[str, Any], token: str = "") -> None:
    """Do what a host does that is asked to drive."""
    started = replace(TASK.started, token=token or message["token"])
    store.create(message["birth"].record, [Entry("d1.1", encode_event(started))], owner=own_name(), ttl=60)


class Door:
    """A short way to a host that does something when it is asked, and then answers or does not."""

    def __init__(self, do: Any, answers: bool | None) -> None:
        self.do, self.answers = do, answers

    def ask(self, name: str, message: dict[str, Any], *, within: float) -> bool:
        self.do(message)
        if self.answers is None:
            raise TimeoutError("too late")
        return self.answers

    def close(self) -> None:
        pass


def gone() -> Any:
    raise ConnectionError("the cluster is gone")


def test_a_new_run_is_made_by_the_host_that_drives_it(store: MemoryStore, birth: Birth) -> None:
    door: Any = Door(lambda message: take_up(store, message), answers=True)
    assert Hosts().hand_over(gone, store, TASK, 10, birth, door)
    assert not birth.made


def test_a_host_that_answers_too_late_drives_all_the_same(store: MemoryStore, birth: Birth) -> None:
    door: Any = Door(lambda message: take_up(store, message), answers=None)
    assert Hosts().hand_over(gone, store, TASK, 10, birth, door)


def test_a_new_run_that_no_host_has_made_is_made_by_the_kernel(store: MemoryStore, birth: Birth) -> None:
    door: Any = Door(lambda _: None, answers=None)
    with pytest.raises(ConnectionError):  # there is no other way either
        Hosts().hand_over(gone, store, TASK, 10, birth, door)
    assert birth.made
    assert store.get("run").status == "queued"
    assert store.lease("run") is None


def test_a_new_run_with_large_inputs_does_not_go_through_the_door(store: MemoryStore, birth: Birth) -> None:
    big = replace(birth, packs={"inputs": [bytes(MOST_SENT), b"x"]})
    sent: list[Birth | None] = []
    door: Any = Door(lambda message: sent.append(message["birth"]), answers=True)
    assert Hosts().hand_over(gone, store, TASK, 10, big, door)
    assert sent == [None]
    assert len(store.load("run", ["inputs"])["inputs"][0]) == MOST_SENT


def test_a_run_of_somebody_else_with_that_id_is_not_taken_for_it(store: MemoryStore, birth: Birth) -> None:
    store.create(birth.record)
    door: Any = Door(lambda _: None, answers=False)
    with pytest.raises(RunExists):
        Hosts().hand_over(gone, store, TASK, 10, birth, door)


def test_a_run_of_somebody_else_that_is_quicker_is_not_taken_for_it(store: MemoryStore, birth: Birth) -> None:
    door: Any = Door(lambda message: take_up(store, message, "other"), answers=False)
    with pytest.raises(RunExists):
        Hosts().hand_over(gone, store, TASK, 10, birth, door)


def test_a_host_that_makes_the_run_at_the_last_moment_is_no_other_run(
    store: MemoryStore, birth: Birth, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    create = store.create

    def late(*args: Any, **more: Any) -> None:
        if not more.get("owner"):
            take_up(store, asked[0])
        create(*args, **more)

    monkeypatch.setattr(store, "create", late)
    with pytest.raises(ConnectionError):  # it is asked once more, by the other way
        Hosts().hand_over(gone, store, TASK, 10, birth, Door(asked.append, answers=None))  # type: ignore[arg-type]
    assert birth.made


@pytest.mark.parametrize("mine", [True, False])
def test_a_second_try_finds_what_has_come_of_the_first(store: MemoryStore, birth: Birth, mine: bool) -> None:
    take_up(store, {"birth": birth}, "first" if mine else "other")
    birth.made = True
    if mine:
        assert Hosts().hand_over(gone, store, TASK, 10, birth, None, "first")
        return
    with pytest.raises(RunHasDriver):
        Hosts().hand_over(gone, store, TASK, 10, birth, None, "first")


@pytest.mark.parametrize("mine", [True, False])
def test_a_host_that_takes_a_run_up_while_it_is_given_up_on_is_found(
    store: MemoryStore, birth: Birth, mine: bool
) -> None:
    take_up(store, {"birth": birth}, "this" if mine else "other")
    if mine:
        assert not module._freed(store, "run", "this")
        return
    with pytest.raises(RunHasDriver):
        module._freed(store, "run", "this")
