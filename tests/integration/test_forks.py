"""Forks, retention and the cache on a real cluster, with stores that other processes see."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import acknowledged, eventually
from wfnb.model.events import COMPLETED, Outcomes
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path


def called(folder: Path, name: str) -> int:
    """Return how often a node was called."""
    return len(list(folder.glob(f"{name}-*")))


@pytest.fixture
def placed(unset: None, client: Any, store: str) -> str:
    """wfnb configured for the shared cluster and a store of each kind."""
    wf.configure(store=store, cluster=client)
    return store


def workflow() -> Any:
    """Return a workflow of five steps, two of them fan-outs, whose nodes leave a file for each call."""

    def note(folder: str, name: str) -> None:
        Path(folder, f"{name}-{time.time_ns()}-{os.getpid()}").touch()

    @wf.node
    def one(folder: str) -> list[int]:
        note(folder, "one")
        return list(range(20))

    @wf.node
    def two(n: int, folder: str) -> bytes:
        note(folder, "two")
        return bytes(1000 * n)

    @wf.node
    def three(data: bytes, folder: str, by: int) -> int:
        note(folder, "three")
        return len(data) * by

    @wf.node
    def four(sizes: list[int], folder: str) -> int:
        note(folder, "four")
        return sum(sizes)

    @wf.node
    def five(n: int, folder: str) -> int:
        note(folder, "five")
        return n + 1

    @wf.workflow
    def chain(folder: str, by: int = 1) -> int:
        data = two.map(one(folder), folder=folder)
        return five(four(three.map(data, folder=folder, by=by), folder), folder)

    return chain


def test_a_fork_from_step_3_of_5_runs_3_4_and_5_only(placed: str, calls: Path) -> None:
    run = workflow().submit(str(calls))
    assert run.result(60) == 190_001
    store = open_store(placed)
    before = store.read(run.id)
    fork = run.fork(from_="three", inputs={"by": 2})
    assert fork.result(60) == 380_001
    assert [called(calls, name) for name in ("one", "two", "three", "four", "five")] == [1, 20, 40, 2, 2]
    assert store.read(run.id) == before
    assert sorted(fork.trace["address"]) == sorted(run.trace["address"])
    assert set(acknowledged(store, run.id).values()) == {1}
    again = wf.get_run(fork.id)
    assert again.result(60) == 380_001
    assert again["two[7]"].output == bytes(7000)
    assert again.fork(from_="five").result(60) == 380_001
    assert [called(calls, name) for name in ("one", "two", "three", "four", "five")] == [1, 20, 40, 2, 3]


def test_a_fork_of_a_running_run_shares_what_is_acknowledged_and_the_run_goes_on(placed: str, calls: Path) -> None:
    @wf.node
    def quick(n: int) -> int:
        return n

    @wf.node
    def waits(n: int, folder: str) -> int:
        while not Path(folder, "go").exists():
            time.sleep(0.02)
        return n

    @wf.workflow
    def half(folder: str) -> int:
        return waits(quick(7), folder)

    run = half.submit(str(calls))
    eventually(
        lambda: any(
            column.step == "quick" and COMPLETED in column.status
            for event in run.events()
            if isinstance(event, Outcomes)
            for column in event.columns
        )
    )
    fork = run.fork()
    (calls / "go").touch()
    assert fork.result(60) == run.result(60) == 7
    told = [event for event in fork.events() if isinstance(event, Outcomes) and event.columns]
    assert told[0].columns[0].step == "quick"
    assert fork["quick"].output == 7
    assert fork["quick"].attempts == run["quick"].attempts


def test_a_run_is_removed_with_all_it_has_and_what_a_fork_shares_stays(placed: str, calls: Path) -> None:
    run = workflow().submit(str(calls))
    run.result(60)
    fork = run.fork(from_="five")
    fork.result(60)
    alone = workflow().submit(str(calls))
    alone.result(60)
    # Other tests have left runs in the same server.
    assert not {run.id, fork.id, alone.id} & set(wf.prune(completed=2).runs)
    removed = wf.prune(completed=1)
    assert removed.runs == (fork.id, run.id)
    assert 190_000 < removed.bytes < 400_000
    assert [one.id for one in wf.runs(status="completed")] == [alone.id]
    assert alone["two[3]"].output == bytes(3000)
