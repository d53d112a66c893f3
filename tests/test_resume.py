"""Runs that are taken up again with edited code: inputs, steps that come and go, the lease, priorities, the list."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.dask.clusters import Clusters
from wfnb.dask.program import load_graph
from wfnb.session import SESSION
from wfnb.store.keys import secret_key

pytestmark = pytest.mark.timeout(30)


@wf.node
def join(*parts: str) -> str:
    return "+".join(parts)


@wf.node
def fail(*parts: str) -> str:
    raise RuntimeError("not yet")


@wf.node
def first(x: int) -> int:
    return x + 1


@wf.node
def last(x: int) -> int:
    raise RuntimeError("not yet")


@pytest.fixture(autouse=True)
def _session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of its own, computing in this process, with an empty store."""
    alone(monkeypatch, tmp_path, f"sqlite:///{tmp_path}/runs.db")


def failed(flow: Any, *args: Any, **options: Any) -> str:
    """Start a run that fails; return its id."""
    run = flow.options(view=False, **options).submit(*args)
    with pytest.raises(wf.StepFailed):
        run.result(10)
    return str(run.id)


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_inputs_keep_their_values_when_their_order_is_edited() -> None:
    @wf.workflow(name="flow")
    def flow(a: str, b: str) -> str:
        return fail(join(a), b)

    run_id = failed(flow, "A", "B")

    @wf.workflow(name="flow")
    def edited(b: str, a: str) -> str:
        return join(join(a), b)

    run = wf.resume(run_id)
    assert run.result(10) == "A+B"
    assert wf.get_run(run_id).result(10) == "A+B"


def test_an_added_input_has_its_default_and_a_removed_one_is_forgotten() -> None:
    @wf.workflow(name="flow")
    def flow(a: str, b: str) -> str:
        return fail(a, b)

    run_id = failed(flow, "A", "B")

    @wf.workflow(name="flow")
    def edited(c: str = "C", a: str = "x") -> str:
        return join(a, c)

    assert wf.resume(run_id).result(10) == "A+C"


def test_an_added_input_without_default_is_named_before_anything_is_started() -> None:
    @wf.workflow(name="flow")
    def flow(a: str) -> str:
        return fail(a)

    run_id = failed(flow, "A")
    before = len(SESSION.store().read(run_id))

    @wf.workflow(name="flow")
    def edited(a: str, extra: str) -> str:
        return join(a, extra)

    with pytest.raises(wf.DefinitionError, match="input 'extra' was added"):
        wf.resume(run_id)
    assert len(SESSION.store().read(run_id)) == before
    lease = SESSION.store().lease(run_id)
    assert lease is None or lease.expires_in <= 0


def test_a_step_does_not_keep_a_value_made_with_another_default() -> None:
    @wf.workflow(name="flow")
    def flow(a: str) -> str:
        return fail(join(a))

    run_id = failed(flow, "A")

    @wf.workflow(name="flow")
    def added(a: str, c: str = "C") -> str:
        return fail(join(a, c))

    with pytest.raises(wf.StepFailed):
        wf.resume(run_id).result(10)

    @wf.node(name="fail")
    def mended(*parts: str) -> str:
        return "+".join(parts)

    @wf.workflow(name="flow")
    def edited(a: str, c: str = "D") -> str:
        return mended(join(a, c))

    run = wf.resume(run_id)
    assert run.result(10) == "A+D"
    assert {step.id: step.reset for step in run.snapshot().steps}["join"] == "the default of input 'c' was edited"


# -- steps -------------------------------------------------------------------------------------------------------------


def test_a_step_that_was_removed_and_comes_back_runs_again() -> None:
    @wf.workflow(name="flow")
    def flow(x: int) -> int:
        return last(first(x))

    run_id = failed(flow, 1)

    @wf.workflow(name="flow")
    def without(x: int) -> int:
        return last(x)

    with pytest.raises(wf.StepFailed):
        wf.resume(run_id).result(10)

    @wf.node(name="first")
    def other(x: int) -> int:
        return x + 1000

    @wf.node(name="last")
    def same(x: int) -> int:
        return x

    @wf.workflow(name="flow")
    def back(x: int) -> int:
        return same(other(x))

    run = wf.resume(run_id)
    assert run.result(10) == 1001
    assert [step.id for step in run.snapshot().steps] == ["first", "last"]
    assert [step.counts.done for step in run.snapshot().steps] == [1, 1]


# -- what a resume leaves behind, and keeps ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::wfnb.NameWarning")
def test_a_resume_that_fails_holds_nothing() -> None:
    @wf.workflow(name="flow")
    def flow(x: int) -> int:
        return last(x)

    run_id = failed(flow, 1)
    lock = threading.Lock()

    @wf.node(name="last")
    def locked(x: int) -> int:
        with lock:
            return x

    @wf.workflow(name="flow")
    def cannot_travel(x: int) -> int:
        return locked(x)

    with pytest.raises(wf.CaptureError):
        wf.resume(run_id)

    @wf.node(name="last")
    def good(x: int) -> int:
        return x

    @wf.workflow(name="flow")
    def mended(x: int) -> int:
        return good(x)

    assert wf.resume(run_id).result(10) == 1


def test_a_resumed_run_keeps_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    @wf.workflow(name="flow")
    def flow(x: int) -> int:
        return last(x)

    run_id = failed(flow, 1, priority=3)
    ranks: list[int] = []
    make = Clusters.executor

    def spy(self: Clusters, cluster: Any, rank: int) -> Any:
        ranks.append(rank)
        return make(self, cluster, rank)

    monkeypatch.setattr(Clusters, "executor", spy)
    with pytest.raises(wf.StepFailed):
        wf.resume(run_id).result(10)
    assert ranks == [3]


# -- the list, and messages --------------------------------------------------------------------------------------------


def test_the_limit_counts_only_runs_that_fit() -> None:
    @wf.workflow
    def fine() -> int:
        return first(1)

    store = SESSION.store()
    old = fine.options(run_id="old").submit()
    old.result(10)
    done = store.get("old")
    store.create(replace(done, id="gone", status="running", created=done.created - 10))
    lease = store.acquire("gone", "somebody", 60)
    store.release("gone", lease.epoch)
    for number in range(6):
        run_id = f"live{number}"
        store.create(replace(done, id=run_id, status="queued", created=done.created + number))
    assert [run.id for run in wf.runs(status="interrupted", limit=1)] == ["gone"]
    assert len(wf.runs(limit=3)) == 3
    assert wf.runs(limit=0) == []


def test_messages_name_the_store_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    @wf.workflow
    def fine() -> int:
        return first(1)

    fine.options(run_id="mine").submit().result(10)
    store = SESSION.store()
    monkeypatch.setattr(store, "url", "redis://me:hunter2@host/0")
    with pytest.raises(wf.RunExists) as taken:
        fine.options(run_id="mine", store=store).submit()
    with pytest.raises(wf.StoreError) as missing:
        load_graph(store, "mine", "nothing", secret_key())
    assert "hunter2" not in f"{taken.value} {missing.value}"
