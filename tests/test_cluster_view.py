"""A cluster as a person sees it: its workers, its size, and what is said once it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import wfnb as wf
from wfnb.cluster_view import ClusterView

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:.*dashboard.*")]


@pytest.fixture
def client() -> Iterator[Any]:
    """A client of a small cluster in this process, which somebody else has started."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_it_tells_its_workers_as_a_table(client: Any) -> None:
    view = ClusterView(client, local=False)
    (worker,) = view.workers
    assert worker.threads == 2
    assert f"cluster at {client.scheduler.address}" in repr(view)
    assert worker.address in repr(view)
    assert "<table" in view._repr_html_()


def test_a_cluster_of_others_is_scaled_by_their_object_also_after_it_adapted(client: Any) -> None:
    view = ClusterView(client, local=False)
    view.adapt(1, 2)
    adaptive = client.cluster._adaptive
    view.scale(2)
    assert adaptive.periodic_callback is None
    client.wait_for_workers(2, 20)
    assert len(view.workers) == 2


def test_a_cluster_of_others_is_not_closed(client: Any) -> None:
    with pytest.raises(wf.ConfigurationError, match="close it where it was started"):
        ClusterView(client, local=False).close()
    assert client.status == "running"


@pytest.mark.parametrize("n", [-1, 1.5, "two", None, True])
def test_a_size_that_is_no_number_of_workers_is_refused(client: Any, n: Any) -> None:
    with pytest.raises(wf.ConfigurationError, match="whole number"):
        ClusterView(client, local=False).scale(n)


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, 2), (3, 2), (0, 0), (1, "x"), (0.5, 2)])
def test_bounds_that_are_none_are_refused(client: Any, minimum: Any, maximum: Any) -> None:
    with pytest.raises(wf.ConfigurationError, match="whole numbers"):
        ClusterView(client, local=False).adapt(minimum, maximum)


def test_a_cluster_that_has_ended_says_so_and_is_closed_already(client: Any) -> None:
    view = ClusterView(client, local=True)
    client.close()
    view.close()
    assert repr(view) == f"local cluster at {view.address}, ended"
    assert ", ended" in view._repr_html_()
    assert (view.workers, view.dashboard) == ([], "")
    with pytest.raises(wf.ConfigurationError, match="has ended"):
        view.scale(1)


def test_a_scheduler_that_does_not_answer_is_told_of_and_never_waited_for_in_a_picture(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ClusterView(client, local=False)

    def silent(*_: object, **__: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(client, "sync", silent)
    with pytest.raises(wf.ConfigurationError, match="does not answer within 30 s"):
        _ = view.workers
    assert repr(view) == f"cluster at {view.address}, does not answer"
    assert ", does not answer" in view._repr_html_()
    monkeypatch.undo()
    assert len(view.workers) == 1
    assert "does not answer" not in repr(view)
