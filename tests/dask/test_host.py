"""A host is found only when it can be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wfnb.dask.host import WORKERS, Host
from wfnb.dask.hosting import METADATA, topic


@pytest.fixture(autouse=True)
def answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client here has no event loop to which questions could go."""
    monkeypatch.setattr("wfnb.dask.host.begin", lambda _, call, **how: call(**how))


class SlowToSubscribe:
    """A client whose scheduler hears late who wants which messages."""

    status = "running"

    def __init__(self, lost: int) -> None:
        self.scheduler = self
        self.lost = lost
        self.handlers: dict[str, Callable[[tuple[float, Any]], None]] = {}
        self.did: list[str] = []

    def subscribe_topic(self, name: str, handler: Callable[[tuple[float, Any]], None]) -> None:
        self.handlers[name] = handler

    def log_event(self, name: str, message: Any) -> None:
        self.lost -= 1
        if self.lost < 0:
            self.did.append("delivered")
            self.handlers[name]((0.0, message))

    def set_metadata(self, keys: list[str], value: dict[str, Any]) -> None:
        assert keys == [METADATA]
        self.did.append(f"made known with {value['runs']} runs and {value['kernels']} kernels")


def test_a_host_is_not_made_known_before_messages_to_it_come_through() -> None:
    client = SlowToSubscribe(lost=3)
    host = Host(client)
    host.open()
    assert topic(host.name) in client.handlers
    assert client.did == ["delivered", "made known with 0 runs and 0 kernels"]


def test_the_scheduler_hears_of_runs_that_go_on_and_of_none_that_are_over_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later: list[Callable[[], None]] = []
    monkeypatch.setattr("wfnb.dask.host.CREW.run", lambda work, _: later.append(work))
    monkeypatch.setattr("wfnb.dask.host.SOON", 0.0)
    client = SlowToSubscribe(lost=0)
    host = Host(client)
    host.open()
    del client.did[:]
    for driven in ({"one"}, {"one", "two"}, {"two"}, set()):  # type: set[str]
        host._drivers = dict.fromkeys(driven)  # type: ignore[arg-type]
        host._tell_soon()
    assert len(later) == 1
    later.pop()()
    assert client.did == []
    host._drivers = {"three": None}  # type: ignore[dict-item]
    host._tell_soon()
    later.pop()()
    assert client.did == ["made known with 1 runs and 0 kernels"]


def test_a_host_whose_scheduler_goes_away_does_not_wait_for_its_messages() -> None:
    client = SlowToSubscribe(lost=1_000_000)
    client.status = "closed"
    Host(client).open()
    assert client.did == []


def test_drivers_hear_of_the_tasks_of_a_worker_that_died_and_of_no_other() -> None:
    class Executor:
        def lost(self, keys: set[str]) -> None:
            heard.append(keys)

    heard: list[set[str]] = []
    client = SlowToSubscribe(lost=0)
    host = Host(client)
    host.open()
    host._drivers = dict.fromkeys(["one", "two"], Executor())  # type: ignore[arg-type]
    died = {"action": "remove-worker", "worker": "tcp://w:1", "processing-tasks": {"a", "b"}, "expected": False}
    for said in ({"action": "add-worker", "worker": "tcp://w:2"}, {**died, "expected": True}, died):
        client.handlers[WORKERS]((0.0, said))
    assert heard == [{"a", "b"}, {"a", "b"}]


def test_workers_are_counted_again_only_when_some_came_or_went(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def threads(client: SlowToSubscribe) -> dict[str, int]:
        asked.append(len(asked))
        if len(asked) == 2:  # one comes while the scheduler answers
            client.handlers[WORKERS]((0.0, {"action": "add-worker", "worker": "tcp://w:3"}))
        return dict.fromkeys([f"tcp://w:{n}" for n in range(len(asked))], 2)

    monkeypatch.setattr("wfnb.dask.host.threads_of", threads)
    client = SlowToSubscribe(lost=0)
    host = Host(client)
    host.open()
    assert [host.threads(), host.threads()] == [2, 2]
    client.handlers[WORKERS]((0.0, {"action": "remove-worker", "worker": "tcp://w:2", "expected": True}))
    client.handlers[WORKERS]((0.0, {"action": "gather", "count": 1}))
    assert [host.threads(), host.threads(), host.threads()] == [4, 6, 6]
    assert host.answer("workers") == ["tcp://w:0", "tcp://w:1", "tcp://w:2"]


def test_nonsense_at_the_door_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody asks for 'money'"):
        Host(SlowToSubscribe(lost=0)).answer("money")
