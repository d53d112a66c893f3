"""Threads are used again, and work never waits for a thread that is busy."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

import pytest

from wfnb.dask import threads
from wfnb.dask.threads import Crew


def ran(crew: Crew, work: Callable[[], object] = lambda: None) -> threading.Thread:
    """Run something, and return the thread when it is through with it."""
    done = threading.Event()
    at: list[threading.Thread] = []

    def all_of_it() -> None:
        work()
        at.append(threading.current_thread())
        done.set()

    crew.run(all_of_it, "some work")
    assert done.wait(30)
    return at[0]


def until_free(crew: Crew, n: int) -> None:
    while crew._free < n:
        threading.Event().wait(0.001)


def test_a_thread_that_is_through_is_used_again() -> None:
    crew = Crew()
    first = ran(crew)
    until_free(crew, 1)
    assert first.daemon
    assert ran(crew) is first


def test_work_never_waits_for_a_thread_that_is_busy() -> None:
    crew, go = Crew(), threading.Event()
    crew.run(lambda: go.wait(60), "busy")
    ran(crew)  # within half a minute
    assert not go.is_set()
    go.set()


def test_a_thread_has_the_name_of_its_work() -> None:
    crew = Crew()
    names: list[str] = []
    for name in ("one", "two"):
        crew.run(lambda: names.append(threading.current_thread().name), name)
        until_free(crew, 1)
    assert names == ["one", "two"]


def test_context_variables_are_those_of_a_new_thread() -> None:
    crew, variable = Crew(), contextvars.ContextVar("variable", default="nothing")
    found: list[str] = []
    for value in ("one", "two"):
        ran(crew, lambda: found.append(variable.get()) or variable.set(value))  # noqa: B023
        until_free(crew, 1)
    assert found == ["nothing", "nothing"]


def test_threads_without_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "REST", 0.01)
    crew = Crew()
    first = ran(crew)
    first.join(30)
    assert not first.is_alive()
    assert ran(crew) is not first


def test_much_work_at_once_is_all_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "REST", 0.0)  # threads end and are asked for at the same moments
    crew, lock = Crew(), threading.Lock()
    left, done = 300, threading.Event()

    def work() -> None:
        nonlocal left
        with lock:
            left -= 1
            if not left:
                done.set()

    for _ in range(300):
        crew.run(work, "much work")
    assert done.wait(30)


def test_a_fork_begins_with_no_threads() -> None:
    crew = Crew()
    until_free(crew, 0)
    first = ran(crew)
    until_free(crew, 1)
    crew._pid = -1  # as seen by a fork
    assert ran(crew) is not first
