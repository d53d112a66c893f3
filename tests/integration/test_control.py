"""Steering runs on a real cluster: pause, cancel, priorities, waiting, the stop button, other processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import KERNELS, Kernel, acknowledged, eventually, took
from wfnb.store.urls import open_store

pytestmark = [pytest.mark.timeout(60)]


@wf.node
def slow(i: int) -> int:
    time.sleep(0.05)
    return i


@wf.workflow
def slowly(n: list[int]) -> list[int]:
    return slow.map(n)


@pytest.fixture
def used(unset: None, client: Any, store: str) -> str:
    """wfnb configured for the shared cluster and a store of each kind, whose URL this is."""
    wf.configure(store=store, cluster=client)
    return store


def done(run: wf.Run) -> int:
    return len(acknowledged(run.store, run.id))


# -- pause -------------------------------------------------------------------------------------------------------------


def test_a_paused_run_lets_running_tasks_finish_and_starts_none_until_it_is_resumed(used: str) -> None:
    run = slowly.submit(list(range(80)))
    eventually(lambda: done(run) > 5, what="some are done")
    run.pause()
    eventually(lambda: run.status == "paused", what="it is paused")
    time.sleep(1.0)  # for what had begun; the rest is much more work than that
    resting = done(run)
    time.sleep(0.5)
    assert done(run) == resting < 80
    assert open_store(used).get(run.id).status == "paused"
    run.resume()
    assert run.result(20) == list(range(80))
    assert set(acknowledged(run.store, run.id).values()) == {1}


@wf.node
def begin(i: int, folder: str) -> int:
    Path(folder, str(i)).touch()
    time.sleep(0.5)
    return i


@wf.workflow
def begins(n: list[int], folder: str) -> list[int]:
    return begin.map(n, folder=folder)


def test_a_pause_takes_back_what_workers_have_not_begun(used: str, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    run = begins.submit(list(range(12)), str(folder))
    eventually(lambda: done(run) >= 2, what="some are done")  # by now workers have more than they run
    run.pause()
    eventually(lambda: run.status == "paused", what="it is paused")
    time.sleep(0.3)  # for the driver to hear of it, and a worker that was about to begin
    begun = len(list(folder.iterdir()))
    time.sleep(1.2)
    assert len(list(folder.iterdir())) == begun == done(run) < 12
    run.resume()
    assert run.result(20) == list(range(12))
    assert set(acknowledged(run.store, run.id).values()) == {1}


def test_a_paused_run_is_resumed_from_another_process(used: str, tmp_path: Path) -> None:
    run = slowly.submit(list(range(40)))
    run.pause()
    eventually(lambda: run.status == "paused", what="it is paused")
    script = tmp_path / "other.py"
    script.write_text(f"import wfnb as wf\nwf.configure(store={used!r})\nprint(wf.resume({run.id!r}).result(30)[-1])\n")
    with Kernel(script) as kernel:
        assert kernel.line() == "39"
    assert run.result(20) == list(range(40))


# -- cancel ------------------------------------------------------------------------------------------------------------


@wf.node
def hold(how: str, path: str) -> str:
    Path(path + "." + how).touch()
    while not os.path.exists(path):
        if how == "loop":
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
        elif how == "sleep":
            time.sleep(0.05)
        else:
            time.sleep(30)
    return how


@wf.node
async def hold_async(how: str, path: str) -> str:
    Path(path + "." + how).touch()
    while not os.path.exists(path):
        await asyncio.sleep(30)
    return how


@wf.workflow
def held(how: str, path: str, n: list[int]) -> list[Any]:
    return [hold(how, path), slow.map(n)]


@wf.workflow
def held_async(how: str, path: str, n: list[int]) -> list[Any]:
    return [hold_async(how, path), slow.map(n)]


@pytest.mark.parametrize(
    ("store", "how"),
    [("sqlite", "loop"), ("sqlite", "sleep"), ("redis", "sleep"), ("sqlite", "long sleep"), ("sqlite", "async")],
    indirect=["store"],
)
def test_a_cancelled_run_stops_within_two_seconds_and_can_be_resumed(
    used: str, client: Any, tmp_path: Path, how: str
) -> None:
    gate = tmp_path / "gate"
    flow = held_async if how == "async" else held
    run = flow.submit(how, str(gate), list(range(60)))
    eventually((tmp_path / f"gate.{how}").exists, what="the task runs")
    eventually(lambda: done(run) > 2, what="others are done")
    with took(0, 2):
        run.cancel()
        with pytest.raises(wf.RunCancelled, match=r"wf\.resume"):
            run.result(20)
    assert run.status == "cancelled"
    cancelled = done(run)
    time.sleep(0.2)
    assert done(run) == cancelled < 60, "queued tasks ran on"
    # The threads of the workers are free again.
    with took(0, 10 if how == "long sleep" else 3):
        assert slowly.submit(list(range(8))).result(20) == list(range(8))
    gate.touch()
    assert run.resume().result(30) == [how, list(range(60))]
    assert set(acknowledged(run.store, run.id).values()) == {1}


def test_what_is_asked_right_after_submit_counts(used: str) -> None:
    run = slowly.submit(list(range(50)))
    run.cancel()
    with pytest.raises(wf.RunCancelled):
        run.result(10)
    run.resume().pause()
    eventually(lambda: run.status == "paused", what="it is paused")
    run.resume()
    assert run.result(20) == list(range(50))


@wf.node
def tidy(path: str) -> None:
    try:
        Path(path).touch()
        while True:
            time.sleep(0.02)
    finally:
        time.sleep(0.1)
        Path(path + ".tidied").touch()


def test_a_cancelled_task_may_clean_up(used: str, tmp_path: Path) -> None:
    @wf.workflow
    def tidying(path: str) -> None:
        return tidy(path)

    run = tidying.submit(str(tmp_path / "begun"))
    eventually((tmp_path / "begun").exists, what="the task runs")
    run.cancel()
    with pytest.raises(wf.RunCancelled):
        run.result(10)
    eventually((tmp_path / "begun.tidied").exists, 5, what="its finally is run to the end")


def test_a_run_is_cancelled_from_another_process(used: str, tmp_path: Path) -> None:
    run = held.submit("sleep", str(tmp_path / "gate"), [])
    eventually((tmp_path / "gate.sleep").exists, what="the task runs")
    script = tmp_path / "other.py"
    script.write_text(f"import wfnb as wf\nwf.configure(store={used!r})\nwf.get_run({run.id!r}).cancel()\n")
    with Kernel(script), pytest.raises(wf.RunCancelled):
        run.result(10)


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_a_wait_that_takes_too_long_ends_and_the_run_goes_on(used: str) -> None:
    run = slowly.submit(list(range(20)))
    with pytest.raises(TimeoutError, match=f"run '{run.id}' has not ended"):
        run.result(timeout=0.1)
    assert run.status == "running"
    assert run.result(20) == list(range(20))


def test_a_run_is_awaited_without_blocking_the_loop(used: str) -> None:
    async def cell() -> tuple[Any, int]:
        run = slowly.submit(list(range(20)))
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        value = await run
        ticking.cancel()
        return value, ticks

    value, ticks = asyncio.run(cell())
    assert value == list(range(20))
    assert ticks > 10


@pytest.mark.timeout(90)
def test_the_stop_button_ends_the_wait_and_nothing_else(data_folder: Path, sqlite: str) -> None:
    with Kernel(KERNELS / "waits.py", sqlite, 200) as kernel:
        run_id = kernel.line()
        store = open_store(sqlite)
        eventually(lambda: acknowledged(store, run_id), what="the run is under way")
        kernel.signal(signal.SIGINT)
        said = kernel.line(5)
        assert f"run '{run_id}' goes on" in said
        assert f"wf.get_run('{run_id}').cancel()" in said
        assert kernel.line() == "went on True"
        assert kernel.line() == "workers kept True"
        assert set(acknowledged(store, run_id).values()) == {1}


def test_runs_are_seen_from_another_process_as_from_this_one(used: str, tmp_path: Path) -> None:
    run = slowly.options(tags=["seen"]).submit(list(range(5)))
    run.result(20)
    script = tmp_path / "other.py"
    script.write_text(f"""
import json
import wfnb as wf
wf.configure(store={used!r})
runs = wf.runs(workflow="slowly", limit=1)
run = wf.get_run(runs[0].id)
trace = run.trace.astype(str).values.tolist()
print(json.dumps([run.id, run.status, run.result(), run["slow[3]"].output, trace, len(run.events())]))
""")
    with Kernel(script) as kernel:
        seen = json.loads(kernel.line())
    mine = wf.runs(workflow="slowly", limit=1)[0]
    assert mine.id == run.id
    trace = mine.trace.astype(str).values.tolist()
    assert seen == [run.id, "completed", list(range(5)), 3, trace, len(mine.events())]


def test_a_run_is_watched_from_another_process_while_it_runs(used: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = held.submit("sleep", str(gate), [1])
    eventually((tmp_path / "gate.sleep").exists, what="the task runs")
    script = tmp_path / "other.py"
    script.write_text(f"""
import wfnb as wf
wf.configure(store={used!r})
run = wf.get_run({run.id!r})
print(run.status, flush=True)
print(run.result(30), flush=True)
""")
    with Kernel(script) as kernel:
        assert kernel.line() == "running"
        gate.touch()
        assert kernel.line() == "['sleep', [1]]"
    run.result(20)


# -- which goes first, and where ---------------------------------------------------------------------------------------


@wf.node(resources={"WFNB_TEST": 1})
def special() -> str:
    import distributed

    time.sleep(0.1)
    return str(distributed.get_worker().address)


@wf.workflow
def specials() -> list[str]:
    return [special() for _ in range(3)]


async def set_resources(dask_worker: Any, **resources: float) -> None:
    await dask_worker.set_resources(**resources)


@pytest.fixture
def special_worker(client: Any) -> Iterator[str]:
    """The address of the one worker that offers the resource."""
    address = sorted(client.nthreads())[0]
    client.run(set_resources, WFNB_TEST=1, workers=[address])
    yield address
    client.run(set_resources, WFNB_TEST=0, workers=[address])


def test_a_step_runs_where_its_resources_are_and_one_at_a_time(used: str, special_worker: str) -> None:
    run = specials.submit()
    assert run.result(20) == [special_worker] * 3
    spans = sorted((a.start, a.end) for i in ("", "_2", "_3") for a in run[f"special{i}"].attempts)
    assert all(end <= start + 0.01 for (_, end), (start, _) in itertools.pairwise(spans))


@wf.node(resources={"WFNB_TEST": 1})
def stamp(name: str) -> str:
    time.sleep(0.02)
    return name


urgent = stamp.options(priority="critical", name="urgent")
patient = stamp.options(priority="low", name="patient")


@wf.workflow
def queue(n: list[str]) -> list[Any]:
    return [patient.map(n), stamp.map(n), urgent.map(n)]


@pytest.mark.usefixtures("special_worker")
def test_tasks_of_a_higher_priority_start_first(used: str) -> None:
    # One at a time: of several workers, a slow one may come to what is urgent when a quick one has done the rest.
    run = queue.submit(["a"] * 5)
    run.result(20)
    assert list(run.trace.sort_values("start")["node"]) == ["urgent"] * 5 + ["stamp"] * 5 + ["patient"] * 5


def test_a_resource_no_worker_offers_is_reported_before_anything_starts(used: str) -> None:
    before = len(wf.runs())
    with pytest.raises(wf.ConfigurationError, match=r"'special'.*WFNB_TEST.*none of the 2 workers"):
        specials.submit()
    assert len(wf.runs()) == before
