"""The shared local cluster and the drivers beside it: found by the next kernel, outliving the last, never left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import wfnb as wf
from tests.integration.support import KERNELS, Kernel, acknowledged, eventually
from wfnb.dask.local import SharedCluster
from wfnb.dask.shared import Shared
from wfnb.session import SESSION
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(120)

SCRIPT = KERNELS / "shared.py"


class Talking(Kernel):
    """A kernel that does what it is told."""

    def __init__(self, store: str, folder: Path, **how: Any) -> None:
        super().__init__(SCRIPT, store, stdin=subprocess.PIPE, cwd=folder, **how)

    def ask(self, *words: object) -> str:
        """Tell it something, and return what it says."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.line()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose kernels share a cluster that nobody else has."""
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    yield folder
    for process in daemons(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself meanwhile
            process.kill()


def places(tmp_path: Path) -> list[dict[str, Any]]:
    """What makes the shared clusters known."""
    return [json.loads(path.read_text()) for path in (tmp_path / "data" / "clusters").glob("*.json")]


def daemons(tmp_path: Path) -> list[psutil.Process]:
    """The processes of the shared clusters there are."""
    found: list[psutil.Process] = []
    for said in places(tmp_path):
        try:
            daemon = psutil.Process(said["pid"])
            found += [daemon, *daemon.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def hosts(tmp_path: Path) -> list[psutil.Process]:
    """The processes drivers live in."""
    return [process for process in daemons(tmp_path) if process.name() == "wfnb-host"]


def test_the_next_kernel_finds_the_cluster_of_the_first_and_it_ends_when_idle(
    sqlite: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFNB_CLUSTER_IDLE", "1")
    with Talking(sqlite, folder) as first:
        address = first.ask("cluster")
        with Talking(sqlite, folder) as second:
            assert second.ask("cluster") == address
        family = daemons(tmp_path)
    assert len(family) >= 4, "the cluster, two workers, the host"
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert list((tmp_path / "data" / "clusters").iterdir()) == []


def test_kernels_of_two_folders_have_two_clusters(sqlite: str, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Talking(sqlite, folder) as first, Talking(sqlite, other) as second:
        assert first.ask("cluster") != second.ask("cluster")
        assert {Path(said["folder"]) for said in places(tmp_path)} == {folder, other}


def test_two_kernels_that_start_at_once_share_one_cluster(sqlite: str, folder: Path, tmp_path: Path) -> None:
    with Talking(sqlite, folder) as first, Talking(sqlite, folder) as second:
        for kernel in (first, second):
            assert kernel.process.stdin is not None
            kernel.process.stdin.write("cluster\n")
            kernel.process.stdin.flush()
        assert first.line() == second.line()
        assert len(places(tmp_path)) == 1


def test_a_run_is_finished_without_the_kernel_that_started_it(sqlite: str, folder: Path) -> None:
    with Talking(sqlite, folder) as kernel:
        assert kernel.ask("submit", "alone", 40, 0.05) == "running"
    store = open_store(sqlite)
    before = len(acknowledged(store, "alone"))
    run = SESSION.get_run("alone", sqlite)
    assert before < 40
    assert run.result(60) == list(range(40))
    assert run.snapshot().drivers == 1
    assert set(acknowledged(store, "alone").values()) == {1}


def test_a_driver_that_dies_leaves_an_interrupted_run_which_another_finishes(
    sqlite: str, folder: Path, tmp_path: Path, unset: None, client: Any
) -> None:
    with Talking(sqlite, folder) as kernel:
        assert kernel.ask("submit", "orphan", 60, 0.05) == "running"
        run = SESSION.get_run("orphan", sqlite)
        eventually(lambda: len(acknowledged(run.store, "orphan")) > 5, what="some progress")
        (host,) = hosts(tmp_path)
        host.kill()
        eventually(lambda: run.status == "interrupted", 10, what="it is noticed")
        wf.configure(store=sqlite, cluster=client)
        assert wf.resume("orphan").result(60) == list(range(60))
        assert set(acknowledged(run.store, "orphan").values()) == {1}
        # The cluster has begun another host by now, which drives the next run.
        assert kernel.ask("submit", "next", 2, 0.0) in ("running", "completed")
        assert SESSION.get_run("next", sqlite).result(30) == [0, 1]


def test_the_cluster_is_scaled_and_closed_from_a_kernel(sqlite: str, folder: Path, tmp_path: Path) -> None:
    with Talking(sqlite, folder) as kernel:
        first = kernel.ask("cluster")
        assert kernel.ask("adapt", 1, 2) == "adapted"
        assert kernel.ask("scale", 3) == "scaled"
        assert kernel.ask("sleep", 3) == "slept"  # what adapts looks every second
        assert kernel.ask("workers") == "3"
        family = daemons(tmp_path)
        assert kernel.ask("close") == "closed"
        assert psutil.wait_procs(family, timeout=30)[1] == []
        assert kernel.ask("cluster") != first


def test_a_cluster_that_dies_at_once_is_replaced_and_leaves_nothing_behind(
    sqlite: str, folder: Path, tmp_path: Path
) -> None:
    with Talking(sqlite, folder) as kernel:
        first = kernel.ask("cluster")
        family = daemons(tmp_path)
        os.kill(places(tmp_path)[0]["pid"], signal.SIGKILL)
        assert psutil.wait_procs(family, timeout=30)[1] == []
        assert kernel.ask("cluster") != first


def test_a_place_is_held_by_one_process_until_that_ends(tmp_path: Path) -> None:
    place = Shared(tmp_path / "cluster.json")
    script = (
        "import sys; from pathlib import Path; from wfnb.dask.shared import Shared; "
        f"shared = Shared(Path({str(place.place)!r})); print(shared.hold(), flush=True); "
        "shared.publish('tcp://there'); print('known', flush=True); sys.stdin.read()"
    )
    assert not place.held()
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["True\n", "known\n"]
        assert place.held()
        assert place.read() == "tcp://there"
        assert not Shared(place.place).hold()
        process.kill()
    assert not place.held()


def test_one_who_waited_for_a_place_that_was_given_up_holds_the_next(tmp_path: Path) -> None:
    first, second = (Shared(tmp_path / "cluster.json") for _ in range(2))
    assert first.hold()
    waiting: list[bool] = []
    thread = threading.Thread(target=lambda: waiting.append(second.hold()))
    thread.start()
    time.sleep(0.2)
    first.leave()
    thread.join(10)
    assert waiting == [True]
    assert first.held()
    second.leave()
    assert not first.held()


def test_what_killed_clusters_have_left_is_removed_a_day_later(tmp_path: Path) -> None:
    for name in ("old", "new"):
        for kind in ("json", "lock", "log"):
            (tmp_path / f"{name}.{kind}").touch()
    os.utime(tmp_path / "old.lock", (0, 0))
    mine = Shared(tmp_path / "mine.json")
    assert mine.hold()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.lock", "new.json", "new.lock", "new.log"]
    mine.leave()


def test_nonsense_about_the_time_a_cluster_waits_is_told_before_one_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for nonsense in ("abc", "-1", "nan"):
        monkeypatch.setenv("WFNB_CLUSTER_IDLE", nonsense)
        with pytest.raises(wf.ConfigurationError, match=f"WFNB_CLUSTER_IDLE is '{nonsense}'"):
            SharedCluster().begin()


def test_dask_says_nothing_when_the_local_cluster_is_gone_and_the_run_says_it_all(
    sqlite: str, folder: Path, tmp_path: Path
) -> None:
    with (tmp_path / "said").open("w") as said:
        kernel = Talking(sqlite, folder, stderr=said)
        with kernel:
            assert kernel.ask("submit", "lost", 60, 0.05) == "running"
            os.kill(places(tmp_path)[0]["pid"], signal.SIGKILL)
            told = kernel.ask("result", "lost")
            assert told.startswith("RunInterrupted: run 'lost' lost its driver")
            assert told.count("wf.resume(") == 1
            assert kernel.ask("sleep", 6) == "slept"  # Dask gives up after five seconds
    assert (tmp_path / "said").read_text() == ""
