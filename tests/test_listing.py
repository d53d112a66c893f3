"""Promises of pictures of more than one run: the list of runs, and a workflow before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.listing import RunList
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
