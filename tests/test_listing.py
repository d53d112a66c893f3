"""Promises of pictures of more than one run: the list of runs, and a workflow before it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.engine.facts import RunView
from wfnb.listing import LiveTable, RunList
from wfnb.views.snapshot import MIME


@wf.node(cache=True)
def load(n: int) -> list[int]:
    return list(range(n))


@wf.node
def work(x: int) -> int:
    return x * x


@wf.workflow
def flow(n: int) -> list[int]:
    return work.map(load(n))


@wf.workflow
def empty(n: int = 2) -> int:
    return work(n)


BROKEN = [True]


@wf.node
def mend() -> int:
    if BROKEN:
        raise ValueError("broken")
    return 1


@wf.workflow
def fragile() -> int:
    return mend()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return alone(monkeypatch, tmp_path)


def marks(workflow: wf.Workflow) -> dict[str, str]:
    return {step["id"]: step.get("mark", "") for step in workflow._repr_mimebundle_()[MIME]["shape"]["steps"]}


def test_a_list_of_runs_is_a_list_and_a_table() -> None:
    ids = [flow.submit(3).id, flow.submit(3).id]
    for run_id in ids:
        wf.get_run(run_id).result(20)
    found = wf.runs()
    assert isinstance(found, RunList)
    assert [run.id for run in found] == ids[::-1]
    assert ids[0] in repr(found)
    assert ids[0] in found._repr_html_()


def test_a_long_list_shows_its_newest_runs_and_how_many_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfnb.listing.MOST", 2)
    ids = [empty.submit(n).id for n in range(5)]
    for run_id in ids:
        wf.get_run(run_id).result(20)
    found = wf.runs()
    assert len(found) == 5
    for picture in (repr(found), found._repr_html_()):
        assert [run_id in picture for run_id in ids] == [False, False, False, True, True]
        assert "and 3 more, which are in the list" in picture


class Shown:
    """Stands for a widget that shows a list of runs."""

    chosen = None
    rows = b""

    def told(self) -> dict[str, str]:
        return {row["id"]: row["status"] for row in json.loads(self.rows)}


def test_a_live_table_looks_no_more_at_runs_that_are_over_until_they_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done = empty.submit(3)
    done.result(20)
    broken = fragile.submit()
    with pytest.raises(wf.StepFailed):
        broken.result(20)
    table, widget = LiveTable(wf.runs, wf.runs()), Shown()
    table._look(widget)
    assert widget.told() == {done.id: "completed", broken.id: "failed"}
    looked: list[str] = []
    snapshot = wf.Run.snapshot

    def counted(run: wf.Run) -> RunView:
        looked.append(run.id)
        return snapshot(run)

    monkeypatch.setattr(wf.Run, "snapshot", counted)
    table._look(widget)
    assert looked == []
    BROKEN.clear()
    broken.retry().result(20)
    table._look(widget)
    assert looked == [broken.id]
    assert widget.told() == {done.id: "completed", broken.id: "completed"}


def test_a_workflow_shows_its_dag_without_having_run() -> None:
    bundle = flow._repr_mimebundle_()
    assert bundle[MIME]["view"] == "workflow"
    assert [step["id"] for step in bundle[MIME]["shape"]["steps"]] == ["load", "work"]
    assert "<svg" in bundle["text/html"]
    assert "flow" in bundle["text/plain"]


def test_steps_are_marked_by_what_a_run_would_do() -> None:
    assert marks(flow) == {"load": "new", "work": "new"}
    assert marks(empty) == {"work": "new"}
    flow.submit(3).result(20)
    assert marks(flow) == {"load": "cached", "work": "unchanged"}
    text = flow._repr_mimebundle_()["text/plain"]
    assert "≡ load  cached: run" in text
    assert "it runs again, because its node has no cache=True" in text


def test_a_workflow_that_cannot_run_says_why() -> None:
    @wf.workflow
    def wrong(n: int) -> int:
        return work(n, 5)

    bundle = wrong._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    assert "work" in bundle["text/plain"]


def test_a_store_that_cannot_be_read_costs_the_marks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    flow.submit(3).result(20)

    def refuse(*_: object, **__: object) -> None:
        raise wf.StoreUnavailable("the store is away")

    monkeypatch.setattr("wfnb.store.memory.MemoryStore.find", refuse)
    assert marks(flow) == {"load": "", "work": ""}
