"""The session: which store is used, how runs are started, found, and taken up again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.authoring import prints
from wfnb.authoring.workflow import LATEST
from wfnb.dask.hosting import Task
from wfnb.engine.lower import lower
from wfnb.listing import RunList
from wfnb.session import SESSION, Session, _new_id
from wfnb.store.base import RunRecord, Store
from wfnb.store.memory import MemoryStore
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(30)


@wf.node
def double(x: int) -> int:
    return 2 * x


@wf.workflow
def doubled(x: int) -> int:
    return double(x)


@wf.workflow
def other(x: int) -> int:
    return double(x)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session of its own, computing in this process, with an empty memory store."""
    return alone(monkeypatch, tmp_path)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_without_settings_runs_are_kept_in_the_data_folder(tmp_path: Path) -> None:
    assert Session().store().url == f"sqlite:///{tmp_path}/data/wfnb.db"


def test_options_come_before_what_is_configured_and_that_before_the_environment(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFNB_STORE", "memory://environment")
    assert Session().store().url == "memory://environment"
    assert SESSION.store().url == store
    assert SESSION.store("memory://chosen").url == "memory://chosen"


def test_a_store_object_may_be_configured() -> None:
    mine = MemoryStore("memory://mine")
    wf.configure(store=mine)
    assert SESSION.store() is mine
    assert doubled.options(view=False)(2) == 4


def test_a_setting_that_will_not_do_changes_nothing(store: str) -> None:
    with pytest.raises(wf.ConfigurationError):
        wf.configure(store="nothing://")
    assert SESSION.store().url == store


def test_one_setting_leaves_the_other(store: str) -> None:
    wf.configure(cluster="inline")
    assert SESSION.store().url == store


# -- starting ----------------------------------------------------------------------------------------------------------


def test_a_run_is_named_for_its_workflow_and_never_twice_the_same() -> None:
    ids = {_new_id("clean orders/ü", 0.0) for _ in range(100)}
    assert len(ids) == 100
    assert all(one.startswith("clean-orders-19") and len(one) < 128 for one in ids)
    assert _new_id("—", 0.0).startswith("run-")


def test_a_run_has_the_tags_of_its_workflow_and_its_own() -> None:
    @wf.workflow(tags=["nightly", "both"])
    def tagged() -> int:
        return double(1)

    run = tagged.options(tags=["both", "mine"]).submit()
    run.result(10)
    assert run.store.get(run.id).tags == ("nightly", "both", "mine")


def test_nothing_is_stored_when_the_inputs_will_not_do() -> None:
    with pytest.raises(wf.DefinitionError):
        doubled.submit("two")
    assert wf.runs() == []


def test_durations_measured_in_one_run_are_known_in_the_next() -> None:
    doubled.submit(1).result(10)
    run = doubled.submit(2)
    run.result(10)
    assert run._driver.task.estimates


def test_a_call_without_a_view_gives_the_value_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert doubled.options(view=False)(21) == 42
    assert capsys.readouterr() == ("", "")


# -- finding -----------------------------------------------------------------------------------------------------------


def test_runs_are_found_by_workflow_and_status_newest_first() -> None:
    first, second = doubled.submit(1), doubled.submit(2)
    third = other.submit(3)
    for run in (first, second, third):
        run.result(10)
    assert [run.id for run in wf.runs()] == [third.id, second.id, first.id]
    assert [run.id for run in wf.runs("doubled")] == [second.id, first.id]
    assert [run.id for run in wf.runs(limit=1)] == [third.id]
    assert [run.id for run in wf.runs(status="completed", limit=2)] == [third.id, second.id]
    assert wf.runs(status=["failed", "cancelled"]) == []
    assert wf.runs("nothing") == []


def test_runs_are_found_by_the_workflow_itself_and_a_status_that_is_none_is_refused() -> None:
    run = doubled.submit(1)
    run.result(10)
    assert [one.id for one in wf.runs(doubled)] == [run.id]
    with pytest.raises(wf.ConfigurationError, match=r"'complete'.*Did you mean 'completed'"):
        wf.runs(status="complete")


def test_found_runs_show_as_a_table() -> None:
    run = doubled.submit(1)
    run.result(10)
    found = wf.runs()
    assert isinstance(found, RunList)
    html = found._repr_html_()
    assert run.id in html
    assert "completed" in html


def test_a_run_that_lost_its_driver_is_found_as_interrupted(store: str) -> None:
    place = open_store(store)
    place.create(RunRecord("lost", "doubled", "", "running", time.time(), time.time()))
    place.release("lost", place.acquire("lost", "elsewhere:1", 60).epoch)
    assert [run.id for run in wf.runs(status="interrupted")] == ["lost"]
    assert wf.runs(status="running") == []


def test_a_run_that_is_driven_here_is_one_object() -> None:
    import threading

    gate = threading.Event()
    threading.__dict__["_wfnb_gate"] = gate

    @wf.node
    def wait() -> bool:
        return bool(threading.__dict__["_wfnb_gate"].wait(10))

    @wf.workflow
    def waiting() -> bool:
        return wait()

    run = waiting.submit()
    assert wf.get_run(run.id) is run
    gate.set()
    assert run.result(10) is True
    del threading.__dict__["_wfnb_gate"]


def test_a_run_that_has_ended_is_read_from_the_store() -> None:
    run = doubled.submit(3)
    run.result(10)
    again = wf.get_run(run.id)
    assert again is not run
    assert (again.status, again.result()) == ("completed", 6)


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_a_run_nobody_ever_drove_is_started_by_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_task: Task, store: Store, *more: Any) -> None:
        more[-1].create(store)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The kernel dies between storing the run, which it does itself where no host did, and driving it.
        patch.setattr("wfnb.dask.driver.Driver", die)
        with pytest.raises(KeyboardInterrupt):
            doubled.options(run_id="orphan").submit(4)
    assert wf.get_run("orphan").status == "queued"
    assert wf.resume("orphan").result(10) == 8


def test_a_completed_run_may_be_resumed_and_keeps_its_value() -> None:
    run = doubled.submit(1)
    run.result(10)
    events = len(run.events())
    assert wf.resume(run.id).result(10) == 2
    assert len(run.events()) == events  # there was nothing to do


def test_resuming_a_run_that_goes_on_changes_nothing_and_retrying_it_is_refused(tmp_path: Path) -> None:
    @wf.node
    def wait(gate: str) -> str:
        while not os.path.exists(gate):
            time.sleep(0.01)
        return "opened"

    @wf.workflow(name="gated")
    def gated(gate: str) -> str:
        return wait(gate)

    gate = tmp_path / "gate"
    run = gated.submit(str(gate))
    assert run.resume() is run
    assert wf.resume(run.id).id == run.id
    with pytest.raises(wf.RunHasDriver):
        run.retry()

    @wf.workflow(name="gated")
    def edited(gate: str) -> str:
        return wait(wait(gate))

    with pytest.raises(wf.RunHasDriver):
        run.resume()
    gate.touch()
    assert run.result(10) == "opened"
    assert [type(event).__name__ for event in run.events()].count("RunStarted") == 1


def test_a_retry_that_is_asked_for_twice_is_carried_out_once(tmp_path: Path) -> None:
    @wf.node
    def wait(gate: str) -> int:
        while not os.path.exists(gate):
            time.sleep(0.01)
        raise ValueError(gate)

    @wf.workflow
    def failing(gate: str) -> int:
        return double(wait(gate))

    gate = tmp_path / "gate"
    gate.touch()
    run = failing.submit(str(gate))
    with pytest.raises(wf.StepFailed):
        run.result(10)
    gate.unlink()
    assert run.retry(from_="wait") is run
    assert run.retry(from_="wait") is run
    assert run.retry() is run
    gate.touch()
    with pytest.raises(wf.StepFailed):
        run.result(10)
    assert [type(event).__name__ for event in run.events()].count("RunStarted") == 2


def test_a_process_that_never_saw_the_workflow_goes_on_with_its_stored_code(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"

    @wf.node
    def fails_once(x: int) -> int:
        if not os.environ.get("WFNB_TEST_MENDED"):
            raise OSError("not mended")
        return x + 1

    @wf.workflow
    def flow(x: int) -> int:
        return fails_once(double(x))

    run = flow.options(store=url).submit(20)
    with pytest.raises(wf.StepFailed):
        run.result(10)
    code = f"""
import wfnb as wf
wf.configure(store={url!r}, cluster='inline')
print(wf.get_run({run.id!r}).retry().result(10))
"""
    env = os.environ | {"WFNB_TEST_MENDED": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "41\n"
    assert run.result(10) == 41
    run.store.close()


# -- what runs again ---------------------------------------------------------------------------------------------------


def edited(source: str, other_source: str) -> dict[str, str]:
    """Why steps of the second version of a notebook run again after the first."""
    graphs = []
    for text in (source, other_source):
        names: dict[str, Any] = {"__name__": "__main__", "wf": wf}
        exec(text, names)
        graphs.append(names["flow"].graph)
    LATEST.pop("flow", None)
    lowered = [lower(graph) for graph in graphs]
    old, new = [prints.fingerprints(one, prints.node_prints(one)) for one in lowered]
    return prints.edited(lowered[1], new, old)


CELL = """
SCALE = 2
def helper(x): return x * SCALE
@wf.node
def load(): return [1, 2]
@wf.node
def clean(x): return helper(x)
@wf.node
def aside(): return 0
@wf.node
def fit(xs, y): return sum(xs) + y
@wf.workflow
def flow(): return fit(clean.map(load()), aside())
"""


def test_nothing_runs_again_when_nothing_changed() -> None:
    assert edited(CELL, "# a comment\n\n" + CELL) == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return helper(x)", "return helper(x) + 1"),
        ("return x * SCALE", "return x * SCALE + 1"),
        ("SCALE = 2", "SCALE = 3"),
    ],
)
def test_a_step_runs_again_when_its_code_its_helper_or_its_global_changed(old: str, new: str) -> None:
    assert edited(CELL, CELL.replace(old, new)) == {
        "clean": "its code or arguments were edited",
        "fit": "'clean' runs again",
    }


def test_a_step_runs_again_when_what_it_is_given_changed() -> None:
    assert set(edited(CELL, CELL.replace("aside())", "1)"))) == {"fit"}


def test_everything_after_an_edited_step_runs_again() -> None:
    reasons = edited(CELL, CELL.replace("return [1, 2]", "return [1, 2, 3]"))
    assert list(reasons) == ["load", "clean", "fit"]
