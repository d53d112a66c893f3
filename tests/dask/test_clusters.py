"""Which cluster is used, and what is checked before it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import wfnb as wf
from wfnb.dask.clusters import Check, Clusters, _compare, look, python_version
from wfnb.dask.executor import InlineExecutor
from wfnb.engine.lower import lower
from wfnb.model.errors import ConfigurationError, StoreUnavailable
from wfnb.store.memory import MemoryStore

HERE = look("memory://")


@wf.node
def one() -> int:
    return 1


@wf.workflow
def flow() -> int:
    return one()


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    monkeypatch.delenv("WFNB_CLUSTER", raising=False)
    return Clusters()


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfnb.dask.clusters._active_client", lambda: None)


def test_options_come_before_what_is_configured_and_that_before_the_environment(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFNB_CLUSTER", "tcp://environment:1")
    assert clusters.prepare(None) == "tcp://environment:1"
    clusters.configure("tcp://configured:1")
    assert clusters.prepare(None) == "tcp://configured:1"
    assert clusters.prepare("inline") == "inline"


def test_the_environment_comes_before_the_active_client(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    active = object()
    monkeypatch.setattr("wfnb.dask.clusters._active_client", lambda: active)
    assert clusters.prepare(None) is active
    monkeypatch.setenv("WFNB_CLUSTER", "inline")
    assert clusters.prepare(None) == "inline"


def test_the_client_a_notebook_made_is_the_active_one(clusters: Clusters) -> None:
    from distributed import Client

    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as client:
        assert clusters.prepare(None) is client
        assert clusters.client(client) is client


class Started:
    """Stands in for a local cluster: what is looked at is whether one is started, not the cluster."""

    def __init__(self) -> None:
        self.alive = True


def test_without_any_of_them_a_local_cluster_is_started_once_and_again_when_it_is_gone(
    clusters: Clusters, no_client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfnb.dask.clusters.LocalCluster", Started)
    assert clusters.prepare(None) == "local"
    first = clusters._local
    clusters.prepare(None)
    assert clusters._local is first
    first.alive = False
    clusters.prepare("local")
    assert clusters._local is not first


@pytest.mark.parametrize("name", ["locl", "localhost", ""])
def test_a_name_that_is_no_cluster_is_refused(clusters: Clusters, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no cluster '{name}'.*local"):
        clusters.configure(name)


def test_a_wrong_name_in_the_environment_is_refused(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFNB_CLUSTER", "inlin")
    with pytest.raises(ConfigurationError, match="Did you mean 'inline'"):
        clusters.prepare(None)


def test_inline_needs_no_cluster(clusters: Clusters) -> None:
    graph = lower(flow.graph)
    assert isinstance(clusters.executor("inline", MemoryStore(), graph, 10), InlineExecutor)


# -- what workers say --------------------------------------------------------------------------------------------------


def check(answer: Check) -> None:
    _compare("tcp://worker:1", answer, HERE.identity, MemoryStore())


def test_this_process_fits_itself() -> None:
    check(HERE)
    assert HERE.python == python_version()


@pytest.mark.parametrize("change", [{"python": "3.9"}, {"wfnb": "0.0.1"}])
def test_a_worker_of_another_version_is_named_with_both_versions(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"worker 'tcp://worker:1'") as refused:
        check(replace(HERE, **change))
    assert next(iter(change.values())) in str(refused.value)
    assert python_version() in str(refused.value)


def test_a_worker_that_cannot_reach_the_store_is_named_with_the_reason() -> None:
    with pytest.raises(StoreUnavailable, match=r"worker 'tcp://worker:1' cannot reach.*connection refused"):
        check(replace(HERE, identity="", problem="connection refused"))


def test_a_worker_that_sees_another_store_is_told_of() -> None:
    with pytest.raises(StoreUnavailable, match="sees another store"):
        check(replace(HERE, identity="another"))


def test_what_is_wrong_with_a_store_is_said_and_not_raised() -> None:
    answer = look("nothing://")
    assert answer.identity == ""
    assert "nothing" in answer.problem


class Answers:
    """Stands in for a client whose workers cannot all be had here: one dies while it is asked."""

    class scheduler:
        address = "tcp://scheduler:1"

    def __init__(self, **workers: Any) -> None:
        self.workers = workers
        self.asked: list[str] = []

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.workers, 1)

    def run(self, _look: Any, _url: str, *, workers: list[str], on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        self.asked += workers
        return {worker: self.workers[worker] for worker in workers}


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    return MemoryStore()


def test_each_worker_is_asked_once(clusters: Clusters, store: MemoryStore) -> None:
    client = Answers(a=HERE, b=HERE)
    clusters._check(client, store)
    clusters._check(client, store)
    client.workers["c"] = HERE
    clusters._check(client, store)
    assert client.asked == ["a", "b", "c"]


def test_a_worker_that_dies_while_it_is_asked_is_no_reason_to_refuse(clusters: Clusters, store: MemoryStore) -> None:
    client = Answers(a=HERE, b=OSError("connection closed"))
    clusters._check(client, store)
    client.workers = {"a": HERE, "b": HERE}
    clusters._check(client, store)
    assert client.asked == ["a", "b", "b"]


def test_workers_without_wfnb_are_told_how_to_get_it(clusters: Clusters, store: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match=r"lack a package: No module named 'wfnb'.*install"):
        clusters._check(Answers(a=ModuleNotFoundError("No module named 'wfnb'")), store)
