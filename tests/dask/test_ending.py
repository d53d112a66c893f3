"""A worker process is ended with all that it started, signed off first, and with nobody else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.integration.support import eventually
from wfnb.dask import ending
from wfnb.dask.beacon import Beacon, Busy, name_of
from wfnb.dask.ending import end_children, end_under, leave, look, may_end, own_worker, sign_off
from wfnb.dask.hosting import HOST

pytestmark = pytest.mark.timeout(60)

ONE, TWO = name_of("run", "b1.1"), name_of("run", "b1.2")


class Scheduler:
    """Takes note of who signs off; or is gone."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.left: list[tuple[str, bool]] = []

    async def unregister(self, address: str, expected: bool, stimulus_id: str) -> None:
        assert stimulus_id
        if self.error is not None:
            raise self.error
        self.left.append((address, expected))


def child(*more: str) -> subprocess.Popen[str]:
    """A process that waits, having started another that waits: it prints the other's number."""
    script = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "time.sleep(60)"
    )
    return subprocess.Popen([sys.executable, "-c", script, *more], stdout=subprocess.PIPE, text=True)


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is over, also where nobody has asked yet how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def family() -> Iterator[list[psutil.Process]]:
    """A process and the one it started."""
    with child() as process:
        assert process.stdout is not None
        found = [psutil.Process(process.pid), psutil.Process(int(process.stdout.readline()))]
        yield found
        for one in found:
            if not has_ended(one):
                one.kill()


def nanny(folder: Path, pid: int | None, scheduler: Scheduler) -> Any:
    return SimpleNamespace(
        name="w", worker_dir=str(folder), pid=pid, worker_address="tcp://worker:1", scheduler=scheduler
    )


def busy(folder: Path, name: bytes) -> None:
    beacon = Beacon(folder)
    beacon.say(beacon.take(), name, 3, 7, 1, 1000.0, 0.0)


def test_only_a_worker_that_a_nanny_starts_again_may_be_ended() -> None:
    assert own_worker() is None
    assert not may_end(own_worker())
    assert not may_end(SimpleNamespace(nanny=None))
    assert not may_end(SimpleNamespace())
    assert may_end(SimpleNamespace(nanny="tcp://nanny:1"))


def test_what_a_process_started_is_ended_with_what_that_started(family: list[psutil.Process]) -> None:
    end_children(family[0].pid)
    eventually(lambda: has_ended(family[1]), 10)
    assert not has_ended(family[0])
    end_children(2**22 + 1)  # nobody has this number


def test_the_cluster_s_host_outlives_the_worker_that_started_it() -> None:
    with child(HOST) as process:
        assert process.stdout is not None
        other = psutil.Process(int(process.stdout.readline()))
        try:
            end_children(os.getpid())
            eventually(lambda: has_ended(other), 10)
            assert process.poll() is None
        finally:
            process.kill()


def test_a_nanny_tells_what_the_bundles_it_is_asked_for_are_at(tmp_path: Path) -> None:
    busy(tmp_path, ONE)
    here = nanny(tmp_path, 1, Scheduler())
    assert look([ONE, TWO], here) == ("w", {ONE: Busy(3, 7, 1, 1000.0, 0.0)})
    assert look([TWO], here) == ("w", {})
    assert look([ONE], SimpleNamespace(name="w", worker_dir=None)) == ("w", {})


def test_a_worker_is_signed_off_and_ended_under_a_bundle(tmp_path: Path, family: list[psutil.Process]) -> None:
    busy(tmp_path, ONE)
    scheduler = Scheduler()
    asyncio.run(end_under([ONE], nanny(tmp_path, family[0].pid, scheduler)))
    assert scheduler.left == [("tcp://worker:1", True)]
    eventually(lambda: all(map(has_ended, family)), 10)


def test_a_worker_that_is_at_something_else_by_now_is_let_be(tmp_path: Path, family: list[psutil.Process]) -> None:
    busy(tmp_path, TWO)
    scheduler = Scheduler()
    asyncio.run(end_under([ONE], nanny(tmp_path, family[0].pid, scheduler)))
    asyncio.run(end_under([TWO], nanny(tmp_path, None, scheduler)))  # it is being started again
    assert scheduler.left == []
    assert not any(map(has_ended, family))


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError()])
def test_a_scheduler_that_is_gone_keeps_nobody_from_leaving(error: BaseException) -> None:
    asyncio.run(sign_off(Scheduler(error), "tcp://worker:1"))


@pytest.mark.parametrize("error", [None, OSError("gone"), RuntimeError("closed")])
def test_a_worker_that_leaves_is_signed_off_where_that_can_be_and_ends(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    class Ended(BaseException):
        """Stands in for the end of this process."""

    def end(status: int) -> None:
        raise Ended(status)

    killed: list[int] = []
    monkeypatch.setattr(ending.os, "_exit", end)
    monkeypatch.setattr(ending, "end_children", killed.append)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    scheduler = Scheduler(error)
    worker = SimpleNamespace(
        nanny="tcp://nanny:1", scheduler=scheduler, address="tcp://worker:1", loop=SimpleNamespace(asyncio_loop=loop)
    )
    try:
        with pytest.raises(Ended) as ended:
            leave(worker)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
    assert ended.value.args == (1,)
    assert killed == [os.getpid()]
    assert scheduler.left == ([] if error else [("tcp://worker:1", True)])
    assert worker.nanny is None, "or its nanny would close with it"
