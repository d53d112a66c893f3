"""Kernels ask a host on their machine directly, and are told when that cannot be."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wfnb.dask.door import Caller, Door, DoorRoster, may_be


class House:
    """A door with somebody behind it."""

    def __init__(self, place: Path) -> None:
        self.changes: list[int] = []
        self.asked: list[tuple[Any, ...]] = []
        self.go = threading.Event()
        self.door = Door(place, self.answer, lambda: self.changes.append(self.door.kernels))
        self.door.open()

    def answer(self, name: str, *args: Any) -> Any:
        self.asked.append((name, *args))
        match name:
            case "workers":
                return ["tcp://w:1"]
            case "offers":
                return {"tcp://w:1": {"GPU": 1.0}}
            case "ask":
                workers, call, more = args
                return {worker: call(*more) for worker in workers}
            case "wait":
                self.go.wait(30)
        raise ValueError(f"no '{name}' here")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "x.door"


@pytest.fixture
def house(place: Path) -> House:
    return House(place)


@pytest.fixture
def caller(house: House, place: Path) -> Caller:
    return Caller(place, "tcp://scheduler:1")


def until(what: Any) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_kernel_learns_of_the_workers_and_asks_them(house: House, caller: Caller) -> None:
    roster = DoorRoster(caller)
    assert roster.address == "tcp://scheduler:1"
    assert roster.workers() == ["tcp://w:1"]
    assert roster.offers() == {"tcp://w:1": {"GPU": 1.0}}
    assert roster.ask(["tcp://w:1"], divmod, 7, 2) == {"tcp://w:1": (3, 1)}
    before = len(house.asked)
    assert roster.ask([], divmod, 7, 2) == {}
    assert len(house.asked) == before, "nobody is asked nothing"


def test_a_question_that_is_begun_is_answered_later(house: House, caller: Caller) -> None:
    first, second = caller.begin("workers"), caller.begin("offers")
    until(lambda: len(house.asked) == 2)
    assert second(30) == {"tcp://w:1": {"GPU": 1.0}}
    assert first(30) == ["tcp://w:1"]
    roster = DoorRoster(caller)
    roster.begin()
    until(lambda: len(house.asked) == 3)
    assert roster.workers() == roster.workers() == ["tcp://w:1"]
    assert len(house.asked) == 4, "an answer is used once"


def test_nobody_else_may_knock(house: House, place: Path) -> None:
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_a_failure_is_told_and_the_next_question_answered(caller: Caller) -> None:
    with pytest.raises(OSError, match="could not answer: ValueError: no 'money' here"):
        caller.ask("money", within=30)
    assert caller.ask("workers", within=30) == ["tcp://w:1"]


def test_who_does_not_answer_in_time_is_not_waited_for_nor_asked_again_for_a_while(
    house: House, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConnectionError, match=r"does not answer within 0.01 s"):
        caller.ask("wait", within=0.01)
    with pytest.raises(ConnectionError, match="did not answer a while ago"):
        caller.ask("workers", within=30)
    monkeypatch.setattr(caller, "_avoided", 0.0)
    assert caller.ask("workers", within=30) == ["tcp://w:1"], "over another connection: the answer is not mistaken"
    house.go.set()


def test_many_threads_ask_at_once(house: House, caller: Caller) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(caller.ask("workers", within=30))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [["tcp://w:1"]] * 20


def test_kernels_are_counted_as_they_come_and_go(house: House, caller: Caller) -> None:
    assert caller.connect()
    until(lambda: house.door.kernels == 1)
    caller.close()
    until(lambda: house.door.kernels == 0)
    assert house.changes == [1, 0]


def test_where_nobody_is_there_is_no_connection(place: Path) -> None:
    caller = Caller(place, "tcp://scheduler:1")
    assert not caller.connect()
    with pytest.raises(OSError, match="No such file"):
        caller.ask("workers", within=30)


def test_a_door_takes_the_place_of_one_that_was_left(place: Path) -> None:
    place.write_text("left by one that was killed")
    House(place)
    assert Caller(place, "tcp://scheduler:1").connect()


def test_a_fork_does_not_use_its_parents_connections(caller: Caller) -> None:
    assert caller.connect()
    (parents,) = caller._idle
    caller._pid = -1  # as seen by a fork
    assert caller.ask("workers", within=30) == ["tcp://w:1"]
    assert parents not in caller._idle


def test_a_place_may_be_too_deep_for_a_socket(tmp_path: Path) -> None:
    assert may_be(Path("/tmp/x.door"))
    assert not may_be(tmp_path / ("x" * 100))
