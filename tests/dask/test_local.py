"""The local cluster: the stop button cannot reach it, and it never outlives whoever started it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.support import Kernel
from wfnb.dask.local import LocalCluster, SharedCluster, default_shape
from wfnb.model.errors import ConfigurationError

pytestmark = pytest.mark.timeout(60)

KERNEL = """
import os, signal
from distributed import Client
from wfnb.dask.local import LocalCluster

signal.signal(signal.SIGINT, signal.default_int_handler)
cluster = LocalCluster(workers=2, threads=1)
with Client(cluster.wait(), set_as_default=False) as client:
    try:
        print(cluster.pid, *client.run(os.getpid).values(), flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    print(client.submit(sum, [1, 2]).result(20), flush=True)
    print(*client.run(os.getpid).values(), flush=True)
"""


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The processes that are still there after some time."""
    return psutil.wait_procs(processes, timeout=15)[1]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL)
    return path


def test_an_interrupt_of_the_kernel_s_process_group_leaves_the_workers_alone(script: Path) -> None:
    with Kernel(script) as kernel:
        _, *workers = map(int, kernel.line().split())
        kernel.signal(signal.SIGINT)
        assert kernel.line() == "stopped"
        assert kernel.line() == "3"
        assert sorted(map(int, kernel.line().split())) == sorted(workers)


def test_a_killed_kernel_leaves_no_process_behind(script: Path) -> None:
    with Kernel(script) as kernel:
        cluster, *workers = map(int, kernel.line().split())
        processes = family(cluster)
        assert set(workers) <= {process.pid for process in processes}
        kernel.kill()
    assert gone(processes) == []


def test_a_kernel_that_ends_leaves_no_process_behind(script: Path) -> None:
    with Kernel(script) as kernel:
        processes = family(int(kernel.line().split()[0]))
        kernel.signal(signal.SIGINT)
        kernel.process.wait(20)
        assert kernel.process.returncode == 0
    assert gone(processes) == []


def test_a_closed_cluster_has_ended(script: Path) -> None:
    cluster = LocalCluster(workers=1, threads=2)
    try:
        address = cluster.wait()
        assert cluster.wait() == address
        assert address.startswith("tcp://127.0.0.1:")
        assert cluster.alive
        processes = family(cluster.pid)
        assert os.getsid(cluster.pid) != os.getsid(0)
    finally:
        cluster.close()
    assert not cluster.alive
    assert gone(processes) == []
    cluster.close()


def test_a_cluster_that_does_not_start_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    cluster = LocalCluster()
    try:
        with pytest.raises(ConfigurationError, match=r"status 3.*wf\.configure\(cluster="):
            cluster.wait()
    finally:
        cluster.close()


def test_a_local_cluster_uses_every_core_once() -> None:
    processes, threads = default_shape()
    assert 1 <= processes * threads <= len(os.sched_getaffinity(0))


def test_a_shared_cluster_that_is_killed_while_it_starts_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\necho start >> {tmp_path}/starts\necho no luck\nkill -9 $$\n")
    broken.chmod(0o755)
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(broken))
    cluster = SharedCluster()
    cluster.begin()
    with pytest.raises(ConfigurationError, match="no luck"):
        cluster.wait()
    assert (tmp_path / "starts").read_text().split() == ["start", "start"]


def test_a_shared_cluster_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no room left\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(broken))
    cluster = SharedCluster()
    cluster.begin()
    with pytest.raises(ConfigurationError, match=r"no room left\n.*wf\.configure\(cluster="):
        cluster.wait()
