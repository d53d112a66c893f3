"""Cancels and workers that die on clusters that somebody else has started, with Dask's own settings."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import wfnb as wf
from tests.integration.support import KERNELS, Kernel, acknowledged, eventually
from tests.integration.test_cancel import cancel, dying, holding, noting
from wfnb.dask.hosting import HOST, METADATA
from wfnb.session import SESSION

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def foreign(request: pytest.FixtureRequest, unset: None, sqlite: str) -> Iterator[Any]:
    """A client of a cluster of somebody else, which wfnb is configured for; its workers have nannies unless asked."""
    from distributed import Client

    with (
        Kernel(KERNELS / "foreign.py", *getattr(request, "param", ()), stdin=subprocess.PIPE) as cluster,
        Client(cluster.line(), set_as_default=False) as client,
    ):
        wf.configure(store=sqlite, cluster=client.scheduler.address)
        yield client


def begun(how: str, folder: Path) -> wf.Run:
    """A run whose one task is under way."""
    path = folder / "begun"
    run = holding.submit(how, str(path))
    eventually(path.exists, what="the task runs")
    time.sleep(0.2)  # so that its worker has said so
    return run


def worker_pids(client: Any) -> list[int]:
    return sorted(client.run(os.getpid).values())


@pytest.mark.parametrize("how", ["sleep", "locked"])
def test_a_worker_is_ended_and_replaced_while_host_and_neighbours_go_on(tmp_path: Path, foreign: Any, how: str) -> None:
    run = begun(how, tmp_path)
    host = foreign.get_metadata([METADATA])["name"]
    beside = noting.submit(list(range(60)), str(tmp_path / "log"))
    eventually((tmp_path / "log").exists, what="the other run is under way")
    cancel(run)
    assert [attempt.stopped for attempt in run["hold"].attempts] == ["process"]
    assert beside.result(60) == list(range(60))
    assert set(acknowledged(beside.store, beside.id).values()) == {1}
    assert beside.snapshot().drivers == 1
    assert foreign.get_metadata([METADATA])["name"] == host
    foreign.wait_for_workers(2, timeout=30)


def test_a_step_that_ends_its_worker_fails_with_its_address_and_its_neighbours_do_not(foreign: Any) -> None:
    run = dying.options(on_error="continue").submit(list(range(50)), 33)
    with pytest.raises(wf.StepFailed, match="ended while they ran task") as failed:
        run.result(90)
    assert failed.value.address == "dies[33]"
    assert isinstance(failed.value.__cause__, wf.WorkerDied)
    assert [run[f"dies[{i}]"].status for i in range(50) if i != 33] == ["completed"] * 49


def test_what_ran_on_a_killed_worker_is_run_elsewhere_and_nothing_finished_is_repeated(
    tmp_path: Path, foreign: Any
) -> None:
    log = tmp_path / "log"
    run = noting.submit(list(range(100)), str(log))
    eventually(lambda: acknowledged(run.store, run.id), what="some progress")
    os.kill(worker_pids(foreign)[0], signal.SIGKILL)
    assert run.result(60) == list(range(100))
    assert set(acknowledged(run.store, run.id).values()) == {1}
    assert set(run.trace["status"]) == {"completed"}


def test_a_worker_that_answers_nothing_holds_up_neither_a_start_nor_a_cancel(
    tmp_path: Path, foreign: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfnb.dask.preflight.PATIENCE", 2.0)
    address = min(foreign.scheduler_info(n_workers=-1)["workers"])  # the first to be asked for a host
    silent = psutil.Process(foreign.run(os.getpid, workers=[address])[address])
    silent.suspend()
    try:
        run = noting.submit(list(range(40)), str(tmp_path / "log"))
        assert foreign.get_metadata([METADATA])["name"], "a host was started by the other worker"
        eventually((tmp_path / "log").exists, what="the other worker runs")
        cancel(run)
    finally:
        silent.resume()


@pytest.mark.parametrize("foreign", [["threads"]], indirect=True)
@pytest.mark.parametrize(
    ("how", "stopped", "said"),
    [
        ("token", "token", "by its token"),
        ("loop", "exception", "by an exception in its thread"),
        ("sleep", "", "it could not be stopped, and its worker has no nanny.*goes on until it returns"),
    ],
)
def test_a_cancel_where_no_process_can_be_ended_says_what_became_of_the_task(
    tmp_path: Path, foreign: Any, how: str, stopped: str, said: str
) -> None:
    run = begun(how, tmp_path)
    cancel(run)
    task = run["hold"]
    assert task.status == "cancelled"
    assert [attempt.stopped for attempt in task.attempts] == [stopped]
    with pytest.raises(wf.RunCancelled, match=said):
        raise task.error


def test_a_cluster_inside_the_kernel_is_cancelled_as_well(tmp_path: Path, unset: None, sqlite: str) -> None:
    from distributed import Client

    with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0", set_as_default=False) as client:
        wf.configure(store=sqlite, cluster=client)
        run = begun("loop", tmp_path)
        cancel(run)
        assert [attempt.stopped for attempt in run["hold"].attempts] == ["exception"]
        assert noting.submit([1, 2], str(tmp_path / "log")).result(30) == [1, 2]


def test_a_run_on_a_cluster_without_workers_says_what_it_waits_for(tmp_path: Path, foreign: Any) -> None:
    run = noting.submit([1], str(tmp_path / "log"))
    assert run.result(30) == [1]  # a host is there
    foreign.retire_workers(close_workers=True)
    run = noting.submit([2], str(tmp_path / "log"))
    eventually(lambda: "waiting: the cluster has no workers" in str(run), what="it says so")
    run.cancel()
    with pytest.raises(wf.RunCancelled):
        run.result(30)
    assert "waiting" not in str(run)
    assert SESSION._clusters.client(foreign.scheduler.address).nthreads() == {}


# -- what is said ------------------------------------------------------------------------------------------------------


def hosts(folder: Path) -> list[psutil.Process]:
    """The hosts that were started by whoever uses a data folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if HOST in process.cmdline() and process.environ().get("WFNB_DATA_DIR") == str(folder):
                found.append(process)
    return found


def test_nothing_is_thrown_at_the_terminal_of_a_script_that_ended_before_its_run(
    tmp_path: Path, unset: None, sqlite: str
) -> None:
    env = {**os.environ, "WFNB_DATA_DIR": str(tmp_path)}
    with (tmp_path / "said").open("w") as said, Kernel(KERNELS / "own.py", sqlite, stderr=said, env=env) as script:
        run_id = script.line()
        left = hosts(tmp_path)
        assert len(left) == 1
        assert script.process.wait(60) == 0
        assert psutil.wait_procs(left, timeout=60)[1] == []
    text = (tmp_path / "said").read_text()
    for noise in ("Traceback", "ERROR", "Failed to reconnect", "wfnb"):
        assert noise not in text
    wf.configure(store=sqlite)
    assert wf.get_run(run_id).status == "interrupted"


def test_what_a_client_of_the_user_s_own_says_is_heard_and_wfnb_s_is_silent(tmp_path: Path, sqlite: str) -> None:
    with Kernel(KERNELS / "foreign.py", stdin=subprocess.PIPE) as cluster, (tmp_path / "said").open("w") as said:
        with Kernel(KERNELS / "clients.py", sqlite, cluster.line(), stdin=subprocess.PIPE, stderr=said) as kernel:
            assert kernel.line() == "2"
            cluster.kill(whole=True)
            heard = "Failed to reconnect to scheduler after 1.00 seconds"
            eventually(lambda: heard in (tmp_path / "said").read_text(), what="the user's client gives up")
            time.sleep(6.0)  # wfnb's own gives up after five
            assert kernel.process.stdin is not None
            kernel.process.stdin.write("\n")
            kernel.process.stdin.flush()
            assert kernel.line() == "closed"
        assert (tmp_path / "said").read_text().count("Failed to reconnect") == 1


@wf.node(checkpoint=False)
def unkept(x: int, mark: str = "") -> int:
    """Add one; the first time that there is a mark to be made, end the process."""
    time.sleep(0.02)
    if mark and not Path(mark).exists():
        Path(mark).touch()
        time.sleep(0.2)  # so that what was done before is recorded
        os.kill(os.getpid(), signal.SIGKILL)
    return x + 1


@wf.workflow
def handed_on(x: int, mark: str) -> int:
    x = unkept(unkept(x))
    return unkept(unkept(unkept(x, mark)))


@wf.workflow
def handed_on_by_many(xs: list[int], marks: list[str]) -> list[int]:
    return unkept.map(unkept.map(xs), marks)


def test_values_that_are_kept_nowhere_and_went_with_a_worker_are_made_anew(tmp_path: Path, foreign: Any) -> None:
    run = handed_on.submit(0, str(tmp_path / "one"))
    assert run.result(60) == 5
    assert set(run.trace["status"]) == {"completed"}
    assert run.explain("unkept").reason == "it ran again, because its value was kept nowhere and went with its worker"
    assert "taken up" not in run.explain("unkept_5").reason
    run = handed_on_by_many.submit(list(range(40)), [""] * 17 + [str(tmp_path / "two")] + [""] * 22)
    assert run.result(60) == [x + 2 for x in range(40)]
    assert wf.get_run(run.id).result() == [x + 2 for x in range(40)]
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
