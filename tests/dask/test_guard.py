"""A task, and only a task, is stopped: by its token, by an exception in its thread, or by the end of its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wfnb.dask import guard as module
from wfnb.dask import signals
from wfnb.dask.guard import Guard, Stop
from wfnb.model.errors import TaskTimeout
from wfnb.model.lifecycle import COROUTINES

pytestmark = pytest.mark.timeout(60)

WHY = RuntimeError("the run was cancelled")


@pytest.fixture
def guard() -> Guard:
    return Guard("run")


@pytest.fixture
def beside() -> Iterator[Callable[..., None]]:
    """Does something in another thread, as the ticker would, again and again until the test ends."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def begin(*doing: Callable[[], object]) -> None:
        def repeat() -> None:
            doing[0]()
            while not over.wait(0.01):
                for one in doing[1:]:
                    one()

        threads.append(threading.Thread(target=repeat))
        threads[-1].start()

    yield begin
    over.set()
    for thread in threads:
        thread.join(10)


def never() -> None:
    raise AssertionError("the process was ended")


def lost_signals(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let exceptions sent to threads not arrive, as while C code runs; return those that are sent."""
    sent: list[Any] = []
    monkeypatch.setattr(signals, "send", lambda _, signal: sent.append(signal))
    monkeypatch.setattr(signals, "settle", lambda _: None)
    return sent


def spin(until: float = 30.0) -> None:
    """Run Python code for long."""
    deadline = time.monotonic() + until
    while time.monotonic() < deadline:
        pass


def test_what_is_called_returns_and_raises_as_ever(guard: Guard) -> None:
    assert guard.call(None, lambda: 1) == 1
    assert guard.call(60.0, lambda: 2) == 2
    with pytest.raises(ZeroDivisionError):
        guard.call(60.0, lambda: 1 // 0)
    assert guard.how == ""


def test_a_stop_ends_python_code_by_an_exception(guard: Guard, beside: Callable[..., None]) -> None:
    def work() -> None:
        beside(lambda: guard.stop(WHY))
        spin()

    with pytest.raises(Stop):
        guard.call(None, work)
    assert (guard.stopping, guard.how) == (WHY, "exception")


def test_the_first_reason_to_stop_is_the_one_that_is_told(guard: Guard) -> None:
    guard.stop(WHY)
    guard.stop(RuntimeError("another"))
    assert guard.stopping is WHY


def test_a_task_that_looks_at_its_token_ends_by_itself(guard: Guard, beside: Callable[..., None]) -> None:
    def work() -> str:
        assert not guard.cancelled()
        beside(lambda: guard.stop(WHY), lambda: guard.check(never))
        while not guard.cancelled():
            time.sleep(0.001)
        return "what it returns does not count"

    with pytest.raises(Stop):
        guard.call(None, work)
    assert guard.how == "token"


def test_a_task_that_looks_at_its_token_and_goes_on_is_stopped_by_an_exception(
    guard: Guard, beside: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKEN_GRACE", 0.05)

    def work() -> None:
        beside(lambda: guard.stop(WHY), lambda: guard.check(never))
        while True:
            guard.cancelled()

    with pytest.raises(Stop):
        guard.call(None, work)
    assert guard.how == "exception"


def test_a_deadline_stops_the_task_and_tells_its_timeout(guard: Guard, beside: Callable[..., None]) -> None:
    beside(lambda: None, lambda: guard.check(never))
    with pytest.raises(TaskTimeout, match=r"longer than its timeout of 0\.05 s"):
        guard.call(0.05, spin)
    assert guard.how == "exception"
    assert guard.call(None, lambda: "the next is not stopped") == "the next is not stopped"
    assert guard.how == ""


def test_a_deadline_is_seen_by_the_token(guard: Guard) -> None:
    def work() -> None:
        while not guard.cancelled():
            time.sleep(0.001)

    with pytest.raises(TaskTimeout):
        guard.call(0.02, work)
    assert guard.how == "token"


def test_a_call_that_nobody_could_look_at_is_late_all_the_same(guard: Guard) -> None:
    with pytest.raises(TaskTimeout):
        guard.call(0.01, lambda: time.sleep(0.05))
    assert guard.how == ""


def test_the_process_is_ended_under_a_task_that_does_not_stop_and_not_before(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost_signals(monkeypatch)
    ended: list[str] = []

    def work() -> None:
        guard.stop(WHY)
        guard.check(lambda: ended.append("too soon"))
        monkeypatch.setattr(module, "STOP_GRACE", -1.0)
        guard.check(lambda: ended.append("in time"))

    with pytest.raises(Stop):
        guard.call(None, work)
    assert ended == ["in time"]


def test_the_process_is_ended_under_a_task_that_goes_on_after_its_deadline(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost_signals(monkeypatch)
    ended: list[str] = []

    def work() -> None:
        time.sleep(0.02)
        guard.check(lambda: ended.append("too soon"))
        monkeypatch.setattr(module, "GRACE", -1.0)
        guard.check(lambda: ended.append("in time"))

    with pytest.raises(TaskTimeout):
        guard.call(0.01, work)
    assert ended == ["in time"]


def test_no_process_is_ended_between_tasks(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_GRACE", -1.0)
    guard.stop(WHY)
    guard.check(never)


def test_what_a_task_does_in_finally_is_not_stopped_at_once(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = lost_signals(monkeypatch)

    def work() -> None:
        guard.stop(WHY)
        for _ in range(10):
            guard.check(never)

    with pytest.raises(Stop):
        guard.call(None, work)
    assert sent == [Stop]


def test_a_coroutine_is_cancelled_in_its_loop(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[bool] = []
    monkeypatch.setitem(COROUTINES, threading.get_ident(), lambda: cancelled.append(True))
    monkeypatch.setattr(signals, "send", lambda *_: pytest.fail("an exception was sent"))
    monkeypatch.setattr(signals, "settle", lambda _: None)
    with pytest.raises(Stop):
        guard.call(None, lambda: guard.stop(WHY))
    assert cancelled == [True]


def test_a_stop_that_comes_as_the_task_ends_never_arrives_in_what_comes_after_it() -> None:
    for number in range(300):
        guard = Guard("run")
        go = threading.Event()

        def stop(guard: Guard = guard, go: threading.Event = go, pause: int = number % 30) -> None:
            go.wait(10)
            for _ in range(pause * 20):
                pass
            guard.stop(WHY)

        thread = threading.Thread(target=stop)
        thread.start()
        try:
            guard.call(None, go.set)
        except Stop:
            assert guard.stopping is WHY
        thread.join(10)
        for _ in range(100):  # Python would raise it here
            pass
