"""Which cluster is used, and what is checked before it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import wfnb as wf
from wfnb.dask.clusters import Clusters
from wfnb.dask.executor import InlineExecutor
from wfnb.model.errors import ConfigurationError


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
        self.alive = False

    def begin(self) -> None:
        self.alive = True


def test_without_any_of_them_a_local_cluster_is_started_once_and_again_when_it_is_gone(
    clusters: Clusters, no_client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfnb.dask.clusters.SharedCluster", Started)
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
    assert isinstance(clusters.executor("inline", 10), InlineExecutor)
    assert not clusters.may_host("inline")


def test_a_cluster_that_goes_away_while_a_run_is_handed_over_is_asked_for_once_more(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[bool | OSError] = []

    class Asked:
        def hand_over(self, client: object, *_: object) -> bool:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    monkeypatch.setattr(clusters, "_hosts", Asked())
    monkeypatch.setattr(clusters, "client", lambda cluster: cluster)
    answers[:] = [OSError("gone"), True]
    assert clusters.hand_over("tcp://there:1", None, None, 10, None)  # type: ignore[arg-type]
    answers[:] = [OSError("gone"), OSError("gone"), True]
    assert not clusters.hand_over("tcp://there:1", None, None, 10, None)  # type: ignore[arg-type]
    assert answers == [True]


def test_a_cluster_that_goes_away_while_its_workers_are_asked_is_asked_for_twice_more(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[OSError | None] = []

    class Asked:
        def check(self, *_: object) -> None:
            if error := answers.pop(0):
                raise error

    there = SimpleNamespace(scheduler=SimpleNamespace(address="tcp://there:1"))
    monkeypatch.setattr(clusters, "_preflight", Asked())
    monkeypatch.setattr(clusters, "client", lambda cluster: there)
    answers[:] = [OSError("gone"), OSError("gone"), None]
    clusters.check("tcp://there:1", None, None)  # type: ignore[arg-type]
    answers[:] = [OSError("gone"), OSError("gone"), OSError("gone again"), None]
    with pytest.raises(ConfigurationError, match=r"tcp://there:1.*gone again; start it"):
        clusters.check("tcp://there:1", None, None)  # type: ignore[arg-type]
    assert answers == [None]


def test_a_local_cluster_that_died_before_anybody_connected_is_started_once_more(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    class Dying(Started):
        def begin(self) -> None:
            begun.append(f"tcp://127.0.0.1:{len(begun)}")

        def wait(self) -> str:
            return begun[-1]

    class Connected:
        status = "running"

        def __init__(self, address: str, **_: object) -> None:
            if address != "tcp://127.0.0.1:2":
                raise OSError("nobody is there")

    monkeypatch.setattr("wfnb.dask.clusters.SharedCluster", Dying)
    monkeypatch.setattr("wfnb.dask.clusters._client_type", lambda: Connected)
    with pytest.raises(ConfigurationError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        clusters.client(clusters.prepare("local"))
    assert len(begun) == 2, "it is not tried for ever"
    assert isinstance(clusters.client(clusters.prepare("local")), Connected)
