"""Fixtures of the integration tests: one real cluster for all of them, and fresh stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import Notebook
from tests.servers import RedisServer
from wfnb.dask.local import LocalCluster
from wfnb.session import SESSION
from wfnb.store.urls import open_store


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's data folder, away from the real one; kernels and clusters started meanwhile inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("WFNB_DATA_DIR", str(folder))
        patch.delenv("WFNB_SECRET_KEY", raising=False)
        patch.delenv("WFNB_STORE", raising=False)
        patch.delenv("WFNB_CLUSTER", raising=False)
        # Kernels run scripts elsewhere; workers import the tests' modules as a project's own.
        # The shared cluster ends soon after the last kernel.
        patch.setenv("WFNB_CLUSTER_IDLE", "5")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
        yield folder


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A redis-server for the whole session; tests leave it running."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def client(data_folder: Path) -> Iterator[Any]:
    """A client of the cluster all tests share: two worker processes with a thread each."""
    from distributed import Client

    cluster = LocalCluster(workers=2, threads=1)
    try:
        with Client(cluster.wait(), set_as_default=False) as client:
            yield client
    finally:
        cluster.close()


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A session nobody has configured, after the test too; a run that a failed test leaves behind is cancelled."""
    monkeypatch.setattr(SESSION, "_store", None)
    monkeypatch.setattr(SESSION, "_driver", "cluster")
    monkeypatch.setattr(SESSION._clusters, "_configured", None)
    yield
    for run in list(SESSION._runs.values()):
        run.cancel()
        run._driver.done.wait(10)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[str]:
    """The URL of a new SQLite store."""
    url = f"sqlite:///{tmp_path}/runs.db"
    yield url
    open_store(url).close()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, sqlite: str, redis_server: RedisServer) -> str:
    """The URL of a store, of each kind that workers can reach."""
    return sqlite if request.param == "sqlite" else redis_server.url


@pytest.fixture
def ready(unset: None, client: Any, sqlite: str) -> str:
    """wfnb configured for the shared cluster and a new SQLite store, whose URL this is."""
    wf.configure(store=sqlite, cluster=client)
    return sqlite


@pytest.fixture
def notebook() -> Notebook:
    """An empty notebook."""
    return Notebook()
