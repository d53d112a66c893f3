"""A run tells everything from its journal: state, value, trace, tasks, logs; to whoever has its store and id."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.dask.owners import own_name
from wfnb.model.errors import RunNotFound
from wfnb.model.events import Command, Outcomes, RunEnded, RunStarted, encode_event
from wfnb.run import Run
from wfnb.store.base import Entry, RunRecord
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(30)


@wf.node
def load(n: int) -> list[int]:
    return list(range(n))


@wf.node
def invert(x: int, scale: int, ctx: wf.Context) -> float:
    print(f"inverting {x}")
    return scale / x


@wf.node
def total(xs: list[float]) -> float:
    return sum(xs)


@wf.node(checkpoint=False)
def unkept(x: float) -> float:
    return x


@wf.workflow
def inverses(n: int, first: int = 1) -> float:
    return total(invert.map(load(n), scale=6))


@wf.workflow
def passing(x: int) -> float:
    return total([unkept(invert(x, 6)), 1.0])


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session that computes in this process, with an empty memory store."""
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def failed() -> Run:
    """A run of which one of three tasks failed."""
    run = inverses.options(on_error="continue").submit(3)
    with pytest.raises(wf.StepFailed):
        run.result(10)
    return run


@pytest.fixture
def finished() -> Run:
    """A run that completed, seen by somebody who did not start it."""
    run = passing.submit(2)
    run.result(10)
    return wf.get_run(run.id)


# -- value -------------------------------------------------------------------------------------------------------------


def test_the_value_is_the_same_for_whoever_started_it_and_for_others() -> None:
    run = passing.submit(2)
    assert run.result(10) == 4.0
    assert wf.get_run(run.id).result() == 4.0
    assert asyncio.run(awaited(run)) == 4.0


async def awaited(run: Run) -> Any:
    return await run


def test_a_run_that_has_ended_gives_its_value_without_any_time_to_wait(finished: Run) -> None:
    assert finished.result(timeout=0) == 4.0
    run = passing.submit(2)
    run.result(10)
    assert run.result(timeout=0) == 4.0


def test_a_failure_names_the_step_its_error_and_the_way_on(failed: Run) -> None:
    for run in (failed, wf.get_run(failed.id)):
        with pytest.raises(wf.StepFailed, match=r"step 'invert\[0\]'.*failed: ZeroDivisionError: division") as raised:
            run.result()
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
        assert "run.retry()" in str(raised.value)
        assert f"wf.get_run('{run.id}').retry()" in str(raised.value)
        assert "scale / x" in raised.value.traceback
        assert any("On the worker" in note for note in raised.value.__cause__.__notes__)


def test_a_run_nobody_has_taken_up_is_queued_and_one_whose_driver_is_gone_interrupted(store: str) -> None:
    place = open_store(store)
    place.create(RunRecord("run", "passing", "", "queued", time.time(), time.time()))
    run = wf.get_run("run")
    assert (run.status, run.ended) == ("queued", False)
    lease = place.acquire("run", own_name(), 60)
    assert run.status == "queued"
    place.release("run", lease.epoch)
    assert (run.status, run.ended) == ("interrupted", True)
    with pytest.raises(wf.RunInterrupted, match=r"lost its driver.*wf\.resume\('run'\)"):
        run.result()


def test_a_value_that_was_not_kept_is_said_to_be_missing() -> None:
    @wf.workflow
    def flow(x: int) -> float:
        return unkept(invert(x, 6))

    # What the run returns is kept in any case.
    run = flow.submit(2)
    assert run.result(10) == 3.0
    assert wf.get_run(run.id).result() == 3.0
    assert passing.submit(3).result(10) == 3.0


def test_a_run_taken_up_elsewhere_meanwhile_is_followed_there(failed: Run) -> None:
    elsewhere = wf.get_run(failed.id)
    before = failed.store.lease(failed.id).epoch
    with pytest.raises(wf.StepFailed):
        elsewhere.retry().result(10)
    with pytest.raises(wf.StepFailed):
        failed.result()
    assert failed.store.lease(failed.id).epoch == before + 1
    assert len(failed["invert[0]"].attempts) == 2


# -- looking -----------------------------------------------------------------------------------------------------------


def test_the_trace_has_a_row_for_every_attempt(failed: Run) -> None:
    trace = failed.trace
    assert list(trace.columns) == [
        "address",
        "node",
        "status",
        "attempt",
        "worker",
        "start",
        "end",
        "duration",
        "stopped",
    ]
    assert sorted(trace["address"]) == ["invert[0]", "invert[1]", "invert[2]", "load"]
    assert trace["start"].is_monotonic_increasing
    assert str(trace["start"].dt.tz) == "UTC"
    assert (trace["duration"] >= 0).all()


def test_a_task_tells_what_went_in_what_came_out_and_what_it_said(finished: Run) -> None:
    task = finished["invert"]
    assert (task.status, task.output, task.inputs) == ("completed", 3.0, {"x": 2, "scale": 6})
    assert task.error is None
    assert [row.text for row in task.logs] == ["inverting 2\n"]
    assert "'invert'" in repr(task)


def test_a_failed_task_keeps_its_error_its_inputs_and_no_output(failed: Run) -> None:
    task = failed["invert[0]"]
    assert task.status == "failed"
    assert isinstance(task.error, ZeroDivisionError)
    assert task.inputs == {"x": 0, "scale": 6}
    with pytest.raises(LookupError, match=r"'invert\[0\]'.*no value.*failed"):
        _ = task.output
    assert failed["total"].status == "skipped"


def test_a_value_that_was_not_kept_cannot_be_looked_at(finished: Run) -> None:
    with pytest.raises(LookupError, match=r"'unkept'.*no value"):
        _ = finished["unkept"].output
    with pytest.raises(wf.StoreError, match=r"'unkept'.*checkpoint=False"):
        _ = finished["total"].inputs


def test_what_a_task_would_have_been_given_is_said_to_be_missing_where_it_is(failed: Run) -> None:
    with pytest.raises(LookupError, match=r"'total'.*before it"):
        _ = failed["total"].inputs


@pytest.mark.parametrize("address", ["nothing", "invert[3]", "invert[-1]", "total[0]", ""])
def test_an_address_that_is_not_there_is_a_key_error(failed: Run, address: str) -> None:
    with pytest.raises(KeyError):
        _ = failed[address]


def test_logs_are_told_by_task_by_step_or_all(failed: Run) -> None:
    assert [row.text for row in failed.logs("invert[1]")] == ["inverting 1\n"]
    assert len(failed.logs("invert")) == len(failed.logs()) == 3
    assert failed.logs("load") == []


def test_the_journal_tells_what_happened_in_order(finished: Run) -> None:
    events = finished.events()
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert any(isinstance(event, Outcomes) for event in events)


def test_the_text_says_what_matters(failed: Run) -> None:
    text = repr(failed)
    assert failed.id in text
    assert "failed" in text
    assert "invert" in text


def test_every_output_carries_a_text_and_a_picture(finished: Run) -> None:
    bundle = finished._repr_mimebundle_()
    assert finished.id in bundle["text/plain"]
    assert "<svg" in bundle["text/html"]


def test_a_run_is_written_as_one_page(finished: Run, tmp_path: Path) -> None:
    path = finished.to_html(tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert finished.id in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_view_is_taken_of_a_run_as_it_is(failed: Run) -> None:
    view = failed.snapshot()
    assert (view.status, view.run_id, view.workflow) == ("failed", failed.id, "inverses")
    assert json.loads(failed.store.get(failed.id).shape)


# -- constructs --------------------------------------------------------------------------------------------------------


@wf.node
def double(x: int) -> int:
    print(f"doubling {x}")
    return 2 * x


@wf.node
def keep(*values: Any) -> list[Any]:
    return list(values)


@wf.workflow
def building(n: int) -> list[Any]:
    numbers = load(n)
    each = wf.each(numbers, lambda item: double(double(item)))
    grown = wf.loop(double, init=1, times=3)
    taken = wf.switch(double(n), {6: lambda: double(10)}, default=lambda: double(0))
    safe = wf.attempt(lambda: invert(0, 6), catch=lambda error: keep(error.message))
    return keep(each, grown, taken, safe)


@pytest.fixture
def built() -> Run:
    run = building.submit(3)
    assert run.result(10) == [[0, 4, 8], 8, 20, ["division by zero"]]
    return run


def test_tasks_of_bodies_are_found_by_their_addresses(built: Run) -> None:
    addresses = list(built.trace["address"])
    for run in (built, wf.get_run(built.id)):
        for address in addresses:
            assert run[address].address == address
    loop = next(address for address in addresses if ".2/" in address)
    assert built[loop].output == 8
    each = [address for address in addresses if "[1]/" in address]
    assert [(built[address].inputs, built[address].output) for address in each] == [({"x": 1}, 2), ({"x": 2}, 4)]
    assert [row.text for row in built[each[0]].logs] == ["doubling 1\n"]


def test_a_task_says_of_what_it_was_given_what_can_be_known(built: Run) -> None:
    loop = next(address for address in built.trace["address"] if ".2/" in address)
    assert set(built[loop].inputs) <= {"x"}
    invert_ = next(address for address in built.trace["address"] if "/invert" in address)
    assert built[invert_].inputs == {"x": 0, "scale": 6}
    assert isinstance(built[invert_].error, ZeroDivisionError)


def test_a_caught_failure_is_in_the_picture_and_no_error_of_the_run(built: Run) -> None:
    view = built.snapshot()
    assert (view.status, view.error, view.failed, view.total) == ("completed", None, 1, view.done + 1)
    assert {step.kind for step in view.steps if step.construct} == {"each", "loop", "switch", "try"}
    assert all(step.status == "completed" for step in view.steps if step.construct)


def test_an_address_that_is_nearly_right_is_told_the_right_one(built: Run) -> None:
    loop = next(address for address in built.trace["address"] if ".2/" in address)
    with pytest.raises(KeyError, match="so far is"):
        _ = built[loop.replace(".2/", ".7/")]
    with pytest.raises(KeyError, match="Did you mean"):
        _ = built[loop[:-1]]
    with pytest.raises(KeyError, match="name one task of it"):
        _ = built[loop.partition(".")[0]]


# -- steering ----------------------------------------------------------------------------------------------------------


def test_what_is_asked_of_a_run_is_in_its_journal_with_who_asked(finished: Run) -> None:
    finished.cancel()
    (command,) = [event for event in finished.events() if isinstance(event, Command)]
    assert command.name == "cancel"
    assert command.by.endswith(f":{os.getpid()}")
    assert finished.status == "completed"
    assert finished.result() == 4.0


def test_who_started_a_run_and_who_retried_it_is_in_its_journal(failed: Run) -> None:
    me = f":{os.getpid()}"
    with pytest.raises(wf.StepFailed):
        failed.retry().result(10)
    started = [event for event in failed.events() if isinstance(event, RunStarted)]
    assert [(one.retry, one.by.endswith(me), "@" in one.by) for one in started] == [
        (False, True, True),
        (True, True, True),
    ]


def test_who_cancelled_a_run_that_had_lost_its_driver_is_in_its_journal(store: str) -> None:
    run = inverses.submit(2)
    with pytest.raises(wf.StepFailed):
        run.result(10)
    place = open_store(store)
    lost = place.acquire(run.id, own_name(), 60)
    place.append(
        run.id, [Entry("x", encode_event(RunStarted(0.0, "gone", "code")))], epoch=lost.epoch, status="running"
    )
    place.release(run.id, lost.epoch)
    found = wf.get_run(run.id)
    assert found.status == "interrupted"
    found.cancel()
    found.cancel()
    assert found.status == "cancelled"
    asked = [event for event in found.events() if isinstance(event, Command)]
    assert asked[0].by.endswith(f":{os.getpid()}")


@pytest.mark.parametrize("look", ["debug", "explain", "logs", "retry", "fork"])
def test_an_address_is_a_text(finished: Run, look: str) -> None:
    with pytest.raises(TypeError, match="an address is a text"):
        getattr(finished, look)(5)
    with pytest.raises(TypeError, match="an address is a text"):
        _ = finished[5]  # type: ignore[index]


def test_many_threads_may_look_at_one_run(finished: Run) -> None:
    run, problems = wf.get_run(finished.id), []

    def look() -> None:
        try:
            for _ in range(20):
                assert run.status == "completed"
                assert run.snapshot().status == "completed"
                assert len(run.trace) == 3
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


# -- a store that does not answer --------------------------------------------------------------------------------------


@pytest.fixture
def seen(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Run]:
    """Makes a run that goes on elsewhere and was looked at, and then a store that answers with an error."""
    place = open_store(store)
    place.create(RunRecord("run", "passing", "", "queued", time.time(), time.time()))
    lease = place.acquire("run", own_name(), 60)
    began = encode_event(RunStarted(time.time(), own_name(), "code"))
    place.append("run", [Entry("d1.1", began)], epoch=lease.epoch, status="running")
    run = wf.get_run("run")
    assert run.status == "running"

    def fail(error: Exception) -> Run:
        def refuse(*_: Any, **__: Any) -> Any:
            raise error

        for name in ("read", "lease", "wait", "get", "find"):
            monkeypatch.setattr(place, name, refuse)
        return run

    return fail


AWAY = wf.StoreUnavailable("the store 'over there' cannot be reached")


def test_a_run_whose_store_is_away_is_shown_as_it_was_last_seen_and_that_is_said(
    seen: Callable[[Exception], Run],
) -> None:
    run = seen(AWAY)
    assert (run.status, run.ended) == ("running", False)
    assert run.snapshot().away == str(AWAY)
    bundle = run._repr_mimebundle_()
    for shown in (
        repr(run),
        bundle["text/html"],
        bundle["text/plain"],
        bundle["application/vnd.wfnb.run+json"]["text"],
    ):
        assert "running" in shown
        assert "as last seen: the store" in shown


def test_a_run_that_is_no_more_in_its_store_is_shown_with_that_word_and_has_no_status(
    seen: Callable[[Exception], Run],
) -> None:
    run = seen(RunNotFound("no run 'run' in the store"))
    assert "no run 'run' in the store" in repr(run)
    with pytest.raises(RunNotFound):
        _ = run.status


def test_who_waits_for_a_run_whose_store_stays_away_is_told_when_the_time_is_over(
    seen: Callable[[Exception], Run],
) -> None:
    run = seen(AWAY)
    with pytest.raises(TimeoutError, match=r"not known to have ended after 0 s: the store 'over there' cannot"):
        run.result(0)
    with pytest.raises(wf.StoreUnavailable, match="over there"):
        run.result()


def test_a_list_of_runs_whose_store_is_away_is_of_what_was_last_seen(
    seen: Callable[[Exception], Run], store: str
) -> None:
    runs = wf.runs()
    seen(AWAY)
    assert repr(runs).count("as last seen: the store 'over there' cannot be reached") == 1
    assert "running" in repr(runs)
    assert "as last seen" in runs._repr_html_()
    with pytest.raises(wf.StoreUnavailable):
        wf.runs()


def test_a_run_whose_lease_lapsed_goes_on_when_its_driver_comes_back(seen: Any, store: str) -> None:
    place, run = open_store(store), wf.get_run("run")
    place.renew("run", 1, 0.001)
    time.sleep(0.01)
    assert run.status == "running"  # its process is alive
    with pytest.raises(TimeoutError):
        run.result(0.5)
    place.renew("run", 1, 60)
    assert run.status == "running"
    place.release("run", 1)
    assert run.status == "interrupted"


def test_an_error_of_a_class_that_is_not_to_be_had_here_is_told_by_name_and_text(store: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "wf": wf}
    exec(
        """
class Odd(Exception):
    def __reduce__(self):
        return (__import__("importlib").import_module, ("no_such_module_here",))
@wf.node
def fail(): raise Odd("odd text")
@wf.workflow
def flow(): return fail()
""",
        names,
    )
    run = names["flow"].submit()
    with pytest.raises(wf.StepFailed, match="Odd: odd text") as raised:
        run.result(10)
    assert "Odd: odd text" in str(raised.value.__cause__)
