"""What was acknowledged is never run again: kernels, workers and servers are killed, and runs go on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import FULL, KERNELS, Kernel, Notebook, Watch, acknowledged, eventually, took
from tests.servers import redis_server as running_redis
from wfnb.dask.leases import LEASE
from wfnb.dask.local import LocalCluster
from wfnb.model.errors import RunNotFound, StaleEpoch
from wfnb.session import SESSION, Session
from wfnb.store.sqlite import SQLiteStore
from wfnb.store.urls import open_store

SQUARES = KERNELS / "squares.py"
KILLS = 20 if FULL else 5
ELEMENTS = 300 if FULL else 100


def sum_of_squares(elements: int) -> int:
    return sum(i * i for i in range(elements))


def stored(store: Any, run_id: str) -> bool:
    with contextlib.suppress(RunNotFound):
        return bool(store.get(run_id))
    return False


# -- kernels that are killed -------------------------------------------------------------------------------------------


def kill_kernels(url: str, folder: Path, kills: int, elements: int, seed: int) -> dict[str, Any]:
    """Run the map in kernels killed at random moments, until one brings it to its end; return what was seen."""
    rng = random.Random(seed)
    store, run_id, log = open_store(url), f"squares-{seed}", folder / "log"
    watch = Watch(store, run_id, "square", log)
    seen: list[int] = []
    began = time.monotonic()
    while True:
        verb = "resume" if stored(store, run_id) else "submit"
        with Kernel(SQUARES, verb, url, run_id, log, elements, "kernel") as kernel:
            if len(seen) == kills:
                assert kernel.line() == "running"
                value = kernel.line()
                break
            if rng.random() < 0.25:  # while it starts, or takes the run up
                time.sleep(rng.uniform(0.2, 2.5))
            else:
                assert kernel.line() == "running"
                # So that the kills are spread over the whole run: two workers, 50 ms a task.
                share = (elements - max(seen, default=0)) * 0.025 / (kills - len(seen) + 1)
                assert kernel.wait_line(rng.uniform(0.0, 1.2 * share)) is None, "it ended before it was killed"
            kernel.kill(whole=rng.random() < 0.5)
        seen.append(watch.look() if stored(store, run_id) else 0)
    recorded = acknowledged(store, run_id)
    return {
        "value": value,
        "acknowledged at each kill": seen,
        "repeated": watch.repeated(),
        "recorded twice": {task: n for task, n in recorded.items() if n > 1},
        "recorded": len(recorded),
        "runs of the body": len(watch.lines()),
        "seconds": round(time.monotonic() - began, 1),
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kernel_killed_again_and_again_repeats_nothing_acknowledged(sqlite: str, tmp_path: Path) -> None:
    seen = kill_kernels(sqlite, tmp_path, KILLS, ELEMENTS, seed=1)
    print(seen)
    assert seen["value"] == f"value {sum_of_squares(ELEMENTS)}"
    assert seen["repeated"] == set()
    assert seen["recorded twice"] == {}
    assert seen["recorded"] == ELEMENTS + 1
    assert seen["acknowledged at each kill"][-1] > 0, "no kill came while there was something to lose"


# -- workers that are killed -------------------------------------------------------------------------------------------


def note(log: str, index: int) -> None:
    """Note that a task ran, in one write."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, b"%d\n" % index)
    os.close(handle)


@wf.node
def square(i: int, log: str) -> int:
    time.sleep(0.05)
    note(log, i)
    return i * i


@wf.node
def total(squares: list[int]) -> int:
    return sum(squares)


@wf.workflow
def squares(numbers: list[int], log: str) -> int:
    return total(square.map(numbers, log=log))


def check_once(watch: Watch, elements: int) -> None:
    """Check that every task was recorded once, and none ran after it was acknowledged."""
    assert watch.repeated() == set()
    recorded = acknowledged(watch.store, watch.run_id)
    assert {task for task, count in recorded.items() if count > 1} == set()
    assert len(recorded) == elements + 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_killed_every_two_seconds_costs_only_what_it_was_doing(
    unset: None, sqlite: str, tmp_path: Path
) -> None:
    cluster = LocalCluster(workers=2, threads=1)
    try:
        from distributed import Client

        with Client(cluster.wait(), set_as_default=False) as client:
            wf.configure(store=sqlite, cluster=client)
            rng = random.Random(2)
            run = squares.submit(list(range(ELEMENTS)), str(tmp_path / "log"))
            watch = Watch(run.store, run.id, "square", tmp_path / "log")
            killed: list[int] = []
            while not run.ended:
                with contextlib.suppress(TimeoutError):
                    run.result(2.0)
                    break
                workers = client.run(os.getpid, on_error="ignore")
                killed.append(rng.choice(sorted(workers.values())))
                os.kill(killed[-1], signal.SIGKILL)
                watch.look()
            assert run.result(60) == sum_of_squares(ELEMENTS)
            print({"killed": len(killed), "runs of the body": len(watch.lines())})
            assert killed
            check_once(watch, ELEMENTS)
    finally:
        cluster.close()


@pytest.mark.timeout(60)
def test_a_cluster_that_goes_away_leaves_a_run_that_goes_on_on_another(
    unset: None, client: Any, sqlite: str, tmp_path: Path
) -> None:
    from distributed import Client

    cluster = LocalCluster(workers=1, threads=1)
    try:
        with Client(cluster.wait(), set_as_default=False) as other:
            wf.configure(store=sqlite, cluster=other)
            run = squares.submit(list(range(40)), str(tmp_path / "log"))
            watch = Watch(run.store, run.id, "square", tmp_path / "log")
            eventually(watch.look, what="some progress")
            os.killpg(cluster.pid, signal.SIGKILL)
            with pytest.raises(wf.RunInterrupted, match=r"lost its driver.*wf\.resume"):
                run.result(30)
            assert run.status == "interrupted"
            watch.look()
    finally:
        cluster.close()
    wf.configure(cluster=client)
    assert run.resume().result(30) == sum_of_squares(40)
    check_once(watch, 40)


# -- a server that is killed -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_redis_killed_and_restarted_in_mid_run_loses_nothing_acknowledged(
    unset: None, client: Any, tmp_path: Path
) -> None:
    with running_redis(aof=True) as server:
        wf.configure(store=server.url, cluster=client)
        run = squares.submit(list(range(ELEMENTS)), str(tmp_path / "log"))
        watch = Watch(run.store, run.id, "square", tmp_path / "log")
        for share in (0.25, 0.6):
            eventually(lambda share=share: len(watch.lines()) > share * ELEMENTS, what="some progress")
            watch.look()
            server.kill()
            time.sleep(0.5)  # it is gone for a while
            server.start()
        assert run.result(60) == sum_of_squares(ELEMENTS)
        print({"runs of the body": len(watch.lines())})
        check_once(watch, ELEMENTS)
        run.store.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_redis_that_is_away_for_longer_than_a_lease_is_waited_for_and_costs_no_driver(
    unset: None, client: Any, tmp_path: Path
) -> None:
    with running_redis(aof=True) as server:
        wf.configure(store=server.url, cluster=client)
        run = squares.submit(list(range(ELEMENTS)), str(tmp_path / "log"))
        watch = Watch(run.store, run.id, "square", tmp_path / "log")
        eventually(lambda: watch.look() and run.status == "running", what="some progress")
        server.kill()
        with took(0.0, 15.0):
            shown = repr(run)
        assert "running" in shown
        assert f"as last seen: the store '{server.url}' cannot be reached" in shown
        with took(0.0, 15.0), pytest.raises(wf.StoreUnavailable, match="cannot be reached"):
            wf.runs()
        time.sleep(LEASE + 2.0)
        server.start()
        assert run.status == "running", "its driver has not had the time to say that it is alive"
        assert wf.resume(run.id).result(60) == run.result(60) == sum_of_squares(ELEMENTS)
        assert [type(event).__name__ for event in run.events()].count("RunStarted") == 1
        check_once(watch, ELEMENTS)
        run.store.close()


@pytest.mark.timeout(60)
def test_a_store_whose_file_is_removed_ends_its_runs_and_the_next_run_is_in_a_file_that_is_there(
    ready: str, tmp_path: Path
) -> None:
    run = squares.submit(list(range(ELEMENTS)), str(tmp_path / "log"))
    watch = Watch(run.store, run.id, "square", tmp_path / "log")
    eventually(lambda: watch.look() and run.status == "running", what="some progress")
    for path in tmp_path.glob("runs.db*"):
        path.unlink()
    with pytest.raises(wf.StoreError, match=r"runs\.db' was removed while it was in use.*put it back"):
        run.result(30)
    assert "was removed" in repr(run)
    following = squares.submit([1, 2], str(tmp_path / "log"))
    assert following.result(30) == 5
    # As a process sees it that has not used the file before.
    assert [one.id for one in SQLiteStore(ready).find()] == [following.id]
    with pytest.raises(wf.RunNotFound, match=r"removed or replaced"):
        run.result(30)
    # What its tasks would still write is nowhere, so no other is begun.
    time.sleep(1.0)
    settled = len(watch.lines())
    time.sleep(0.5)
    assert len(watch.lines()) == settled < ELEMENTS


@pytest.mark.timeout(60)
def test_a_paused_run_outlives_its_kernel_and_goes_on_in_another(sqlite: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    watch = Watch(open_store(sqlite), "paused", "square", log)
    with Kernel(SQUARES, "submit", sqlite, "paused", log, 40, "kernel") as kernel:
        assert kernel.line() == "running"
        eventually(watch.look, what="some progress")
        run = SESSION.get_run("paused", sqlite)
        run.pause()
        eventually(lambda: run.status == "paused", what="it is paused")
    assert run.status == "interrupted"
    assert 0 < watch.look() < 40
    with Kernel(SQUARES, "resume", sqlite, "paused", log, 40, "kernel") as kernel:
        assert [kernel.line(), kernel.line()] == ["running", f"value {sum_of_squares(40)}"]
    check_once(watch, 40)


# -- two drivers -------------------------------------------------------------------------------------------------------


@wf.node
def wait_for(path: str) -> str:
    """Wait until a file is there; the test decides when."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return "opened"


@wf.workflow
def gated(path: str) -> str:
    return wait_for(path)


def test_a_second_driver_is_refused_while_the_first_is_alive(ready: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = gated.submit(str(gate))
    script = tmp_path / "second.py"
    script.write_text(f"import wfnb as wf\nwf.configure(store={ready!r})\nwf.get_run({run.id!r}).retry()\n")
    with pytest.raises(wf.RunHasDriver) as refused:
        run.retry()
    assert f"run '{run.id}' is being driven by" in str(refused.value)
    with Kernel(script) as kernel, pytest.raises(EOFError, match="status 1"):
        kernel.line()
    gate.touch()
    assert run.result(10) == "opened"
    assert [type(event).__name__ for event in run.events()].count("RunStarted") == 1


def test_what_an_older_driver_and_its_workers_write_late_is_refused(ready: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wf.configure(driver="kernel")
    run = gated.submit(str(gate))
    old = run._driver
    eventually(lambda: run["wait_for"].status == "running", what="the task runs")
    # As if the first driver's machine had slept through its lease.
    run.store.release(run.id, old.lease.epoch)
    new = Session()
    new.configure(store=ready, cluster=SESSION._clusters._configured)
    second = new.get_run(run.id).resume()
    noticed = old.done.wait(20)
    gate.touch()
    assert noticed, "the older driver did not notice"
    assert isinstance(old.error, StaleEpoch)
    assert second.result(20) == "opened"
    assert run.result(20) == "opened"
    assert acknowledged(second.store, run.id) == {("wait_for", 0): 1}


# -- going on ----------------------------------------------------------------------------------------------------------

NODES = """
import os, wfnb as wf
def note(what):
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{what}\\n".encode())
    os.close(handle)
"""


def notes(path: Path) -> list[str]:
    """Return what was noted since the last look, sorted."""
    found = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_values_that_are_not_kept_are_computed_again_and_the_others_are_not(
    store: str, unset: None, client: Any, tmp_path: Path, notebook: Notebook
) -> None:
    wf.configure(store=store, cluster=client)
    log, gate = tmp_path / "log", tmp_path / "gate"
    notebook.names.update(log=str(log), gate=str(gate))
    notebook.cell(NODES)
    notebook.cell("""
@wf.node
def kept(): note("kept"); return 2
@wf.node(checkpoint=False)
def unkept(x): note("unkept"); return x * 10
@wf.node(checkpoint=False)
def unused(x): note("unused"); return x
@wf.node
def used(x): note("used"); return x
@wf.node
def last(x, y):
    if not os.path.exists(gate):
        raise OSError("not yet")
    note("last"); return x + y
@wf.workflow
def flow():
    x = kept()
    z = used(unused(x))
    return last(unkept(x), z)
""")
    run = notebook["flow"].submit()
    with pytest.raises(wf.StepFailed):
        run.result(20)
    assert notes(log) == ["kept", "unkept", "unused", "used"]
    gate.touch()
    assert run.retry().result(20) == 22
    # 'unused' was not kept either, but all that needs it is done.
    assert notes(log) == ["last", "unkept"]


def test_after_a_failure_only_what_failed_and_what_waited_runs_again(
    store: str, unset: None, client: Any, tmp_path: Path, notebook: Notebook
) -> None:
    wf.configure(store=store, cluster=client)
    log = tmp_path / "log"
    notebook.names.update(log=str(log))
    notebook.cell(NODES)
    notebook.cell("""
@wf.node
def half(i):
    note(i)
    return 12 // (i - 2)
""")
    notebook.cell("""
@wf.node
def add(xs): note("add"); return sum(xs)
@wf.workflow
def flow(n: list[int]): return add(half.map(n))
""")
    run = notebook["flow"].options(on_error="continue").submit([0, 1, 2, 3, 4])
    with pytest.raises(wf.StepFailed) as failed:
        run.result(20)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert failed.value.address == "half[2]"
    assert notes(log) == ["0", "1", "2", "3", "4"]
    assert [run[f"half[{i}]"].status for i in range(5)] == [
        "completed",
        "completed",
        "failed",
        "completed",
        "completed",
    ]
    with pytest.raises(wf.StepFailed):
        run.retry().result(20)
    assert notes(log) == ["2"]
    assert [attempt.attempt for attempt in run["half[2]"].attempts] == [1, 2]


def test_an_edited_step_runs_again_with_everything_after_it_and_nothing_else(
    store: str, unset: None, client: Any, tmp_path: Path, notebook: Notebook
) -> None:
    wf.configure(store=store, cluster=client)
    log = tmp_path / "log"
    notebook.names.update(log=str(log))
    notebook.cell(NODES)
    notebook.cell("""
@wf.node
def load(): note("load"); return [1, 2, 3]
@wf.node
def clean(x): note("clean"); return x + 1
@wf.node
def aside(): note("aside"); return 5
@wf.node
def fit(xs, y):
    note("fit")
    raise RuntimeError("a bug")
@wf.workflow
def flow(): return fit(clean.map(load()), aside())
""")
    run = notebook["flow"].submit()
    with pytest.raises(wf.StepFailed):
        run.result(20)
    assert notes(log) == ["aside", "clean", "clean", "clean", "fit", "load"]

    notebook.cell("""
@wf.node
def fit(xs, y): note("fit"); return sum(xs) + y
""")
    assert run.retry().result(20) == 14
    assert notes(log) == ["fit"]

    notebook.cell("""
@wf.node
def clean(x): note("clean"); return x * 100
""")
    assert wf.resume(run.id).result(20) == 605
    assert notes(log) == ["clean", "clean", "clean", "fit"]

    assert wf.resume(run.id).result(20) == 605
    assert notes(log) == []
