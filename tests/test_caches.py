"""`wf.cache`: what `cache=True` knows, told and forgotten."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.caches import Cache
from wfnb.session import SESSION
from wfnb.store.base import Answer, RunRecord

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of its own, computing in this process, with an empty store."""
    alone(monkeypatch, tmp_path)


@wf.node(cache=True)
def text(n: int) -> str:
    return "x" * n


@wf.node(cache=True)
def data(n: int) -> bytes:
    return bytes(n)


@wf.node
def unknown(n: int) -> int:
    return n


@wf.workflow
def flow(n: int) -> bytes:
    text.map([1_000, 2_000, n])
    unknown(n)
    return data(n)


def status(run: wf.Run, address: str) -> str:
    run.result(30)
    return str(run[address].status)


def test_it_lists_nodes_with_values_sizes_and_the_run_that_used_them_last() -> None:
    run = flow.submit(5_000)
    run.result(30)
    found = {one.node: one for one in wf.cache}
    assert sorted(found) == ["data", "text"]
    assert (found["text"].values, found["data"].values) == (3, 1)
    assert found["text"].nbytes == 8_000
    assert 5_000 <= found["data"].nbytes < 5_200
    assert wf.cache.nbytes == found["text"].nbytes + found["data"].nbytes
    assert {one.run_id for one in found.values()} == {run.id}
    assert all(time.time() - 60 < one.used <= time.time() + 1 for one in found.values())


def test_a_value_that_is_used_is_of_the_run_that_used_it_last() -> None:
    flow.submit(5).result(30)
    again = flow.submit(5)
    assert status(again, "text[2]") == "cached"
    assert {one.run_id for one in wf.cache} == {again.id}
    assert [one.values for one in wf.cache] == [1, 3] or [one.values for one in wf.cache] == [3, 1]


def test_it_shows_as_a_table_and_says_when_nothing_is_known() -> None:
    assert repr(wf.cache).startswith("nothing is known in the store memory://")
    assert wf.cache._repr_html_().startswith("<p>nothing is known")
    run = flow.submit(5)
    run.result(30)
    head, *rows = repr(wf.cache).splitlines()
    assert head.split() == ["node", "values", "size", "last", "used", "run"]
    assert sorted(row.split()[0] for row in rows) == ["data", "text"]
    assert all(run.id in row and "just now" in row for row in rows)
    html = wf.cache._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<tr>") == 3
    assert "3.0 kB" in html


def test_names_are_escaped_and_those_never_recorded_said_so() -> None:
    store = SESSION.store()
    store.create(RunRecord("r", "w", "", "completed", 0.0, 0.0))
    store.append("r", [], epoch=None, memos={"a": Answer("p", 0), "b": Answer("p", 1, "<b>", 2_500_000)})
    assert "<b>" not in wf.cache._repr_html_()
    assert "(not recorded)" in repr(wf.cache)
    assert "2.5 MB" in repr(wf.cache)


def test_clear_forgets_what_is_known_and_its_tasks_run_again() -> None:
    first = flow.submit(5)
    first.result(30)
    assert wf.cache.clear() == 4
    assert list(wf.cache) == []
    assert wf.cache.nbytes == wf.cache.clear() == 0
    assert first["data"].output == bytes(5)
    assert status(flow.submit(5), "data") == "completed"


def test_clear_forgets_one_node_only() -> None:
    flow.submit(5).result(30)
    assert wf.cache.clear("text") == 3
    assert [one.node for one in wf.cache] == ["data"]
    again = flow.submit(5)
    assert (status(again, "data"), status(again, "text[0]")) == ("cached", "completed")
    with pytest.raises(wf.ConfigurationError, match=r"no value of a node 'datum'\. Did you mean 'data'"):
        wf.cache.clear("datum")


def test_clear_forgets_what_was_not_used_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    flow.submit(5).result(30)
    assert wf.cache.clear(older_than=1) == wf.cache.clear("text", older_than=timedelta(hours=1)) == 0
    now = time.time()
    monkeypatch.setattr("wfnb.caches.time.time", lambda: now + 2 * 24 * 3600)
    assert "2 days ago" in repr(wf.cache)
    assert wf.cache.clear("text", older_than=3) == 0
    assert wf.cache.clear("text", older_than=1) == 3
    assert wf.cache.clear(older_than=timedelta(days=1)) == 1
    with pytest.raises(wf.ConfigurationError, match="timedelta"):
        wf.cache.clear(older_than="a week")  # type: ignore[arg-type]


def test_it_is_one_object_of_the_package() -> None:
    assert isinstance(wf.cache, Cache)
    assert "cache" in dir(wf)
