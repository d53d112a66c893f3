"""Drivers beside a cluster that somebody else has started: a host is found or started there, and leaves with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import wfnb as wf
from tests.integration.support import KERNELS, Kernel, acknowledged, eventually
from tests.servers import free_port
from wfnb.dask.hosting import METADATA, Task, settings
from wfnb.dask.hosts import Hosts
from wfnb.dask.owners import own_name
from wfnb.session import SESSION

pytestmark = pytest.mark.timeout(120)


@wf.node
def nap(i: int) -> int:
    time.sleep(0.1)
    return i


@wf.workflow
def naps(numbers: list[int]) -> list[int]:
    return nap.map(numbers)


@pytest.fixture
def foreign(unset: None, sqlite: str) -> Iterator[str]:
    """The address of a cluster of somebody else, which wfnb is configured for."""
    with Kernel(KERNELS / "foreign.py", stdin=subprocess.PIPE) as cluster:
        address = cluster.line()
        wf.configure(store=sqlite, cluster=address)
        yield address


def host(address: str) -> psutil.Process:
    """The host of a cluster."""
    said = SESSION._clusters.client(address).get_metadata([METADATA])
    return psutil.Process(int(said["name"].rpartition("/")[0].rpartition(":")[2]))


def test_a_host_is_started_by_the_first_run_and_serves_the_next(foreign: str) -> None:
    first = naps.submit([1, 2, 3])
    process = host(foreign)
    assert process.pid != os.getpid()
    assert os.getsid(process.pid) == process.pid, "it is in a session of its own: no signal to a group reaches it"
    second = naps.submit([4])
    assert (first.result(30), second.result(30)) == ([1, 2, 3], [4])
    assert host(foreign) == process
    assert first.snapshot().drivers == 1


def test_another_host_is_started_when_the_first_has_died(foreign: str) -> None:
    run = naps.submit(list(range(60)))
    process = host(foreign)
    eventually(lambda: acknowledged(run.store, run.id), what="some progress")
    process.kill()
    eventually(lambda: run.status == "interrupted", 10, what="it is noticed")
    assert run.resume().result(30) == list(range(60))
    assert host(foreign) != process
    assert run.snapshot().drivers == 2
    assert set(acknowledged(run.store, run.id).values()) == {1}


def test_a_host_ends_with_its_cluster_and_says_why_its_runs_did_not_end(foreign: str) -> None:
    run = naps.submit(list(range(200)))
    process = host(foreign)
    eventually(lambda: acknowledged(run.store, run.id), what="some progress")
    scheduler = next(
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.status == "LISTEN" and connection.laddr.port == int(foreign.rpartition(":")[2])
    )
    for child in scheduler.children(recursive=True):
        if child != process:
            child.kill()
    scheduler.kill()
    assert psutil.wait_procs([process], timeout=60)[1] == []
    with pytest.raises(wf.RunInterrupted, match=r"the cluster of run '.*' is gone.*wf\.resume"):
        run.result(10)


def test_a_run_that_another_driver_has_just_taken_is_refused(ready: str, client: Any, monkeypatch: Any) -> None:
    run = naps.submit(list(range(50)))
    # As if the run had been free when this was asked.
    monkeypatch.setattr("wfnb.session.await_free", lambda *_: None)
    with pytest.raises(wf.RunHasDriver):
        run.resume()
    assert run.result(30) == list(range(50))


def test_a_message_that_no_host_answers_is_no_driver(ready: str, client: Any, monkeypatch: Any) -> None:
    run = naps.submit([1])
    run.result(20)
    hosts = Hosts()
    hosts._known[client.scheduler.address] = own_name()  # a living process that is no host
    monkeypatch.setattr("wfnb.dask.hosts.PATIENCE", 0.2)
    monkeypatch.setattr(Hosts, "_start", lambda *_: "")
    assert not hosts.hand_over(lambda: client, run.store, Task(run.id, None, None, b"", {}), 10)  # type: ignore[arg-type]


def test_without_a_host_the_kernel_drives_and_says_so(
    ready: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Hosts, "hand_over", lambda *_: False)
    assert naps.submit([1]).result(20) == [1]
    assert "ends with this process" in caplog.text


def test_a_host_that_died_is_waited_for_where_the_cluster_starts_another(
    ready: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hosts, "_start", lambda *_: pytest.fail("a second host was started"))
    run = naps.submit(list(range(60)))
    said = client.get_metadata([METADATA])
    assert said["kept"]
    psutil.Process(int(said["name"].rpartition("/")[0].rpartition(":")[2])).kill()
    eventually(lambda: run.status == "interrupted", 10, what="it is noticed")
    assert run.resume().result(60) == list(range(60))
    assert client.get_metadata([METADATA])["name"] != said["name"]


def test_a_host_that_dies_when_it_has_just_taken_a_run_leaves_it_to_the_next(
    ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, dead = Hosts._answered, f"{own_name()}0"  # a process with this one's number that began at another time

    def dies(self: Hosts, store: Any, host: str, run_id: str, before: int, token: str, told: Any) -> bool:
        if store.lease(run_id) is not None:
            return answered(self, store, host, run_id, before, token, told)
        store.acquire(run_id, dead, 60.0)
        return False

    monkeypatch.setattr(Hosts, "_answered", dies)
    monkeypatch.setattr(Hosts, "_host", lambda *_, anew: own_name())
    # Nobody answers in the end, so the kernel drives: not even a minute's lease keeps it from that.
    monkeypatch.setattr("wfnb.dask.hosts.PATIENCE", 0.1)
    assert naps.submit([1]).result(30) == [1]


@pytest.mark.parametrize("follow", [False, True])
def test_a_host_ends_soon_when_its_scheduler_is_not_there(follow: bool) -> None:
    command = [sys.executable, "-m", "wfnb.dask.host", *(["--follow"] if follow else [])]
    # It ends by itself, or with whoever it follows.
    subprocess.run(
        command,
        input=settings(f"tcp://127.0.0.1:{free_port()}"),
        text=True,
        check=True,
        timeout=60,
        capture_output=True,
    )


def test_a_driver_in_the_kernel_is_asked_for(ready: str) -> None:
    wf.configure(driver="kernel")
    run = naps.submit([1])
    assert run.store.lease(run.id).owner == own_name()  # type: ignore[union-attr]
    assert run.result(20) == [1]
    with pytest.raises(wf.ConfigurationError, match="'cluster' or in the 'kernel'"):
        wf.configure(driver="moon")  # type: ignore[arg-type]
