"""A bundle on a worker: runs each task once, whatever happened to earlier executions of it, and knows when to stop."""

from __future__ import annotations

import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import wfnb as wf
from tests.dask.bench import Bench
from wfnb.dask import worker
from wfnb.dask.keys import bundle_key, cancel_key
from wfnb.dask.recorder import Row
from wfnb.dask.work import Held, Need
from wfnb.engine.bundles import BUDGET, Segment
from wfnb.model.errors import EntryExists, StaleEpoch
from wfnb.model.events import COMPLETED, Command, Outcomes, encode_event
from wfnb.store.base import Entry

pytestmark = pytest.mark.timeout(30)

# Nodes travel to the "worker" by value: what the test and they share is found by name in a module that does not.
SHARED: dict[str, Any] = {}
threading.__dict__.setdefault("_wfnb_tests", SHARED)


def shared() -> dict[str, Any]:
    return threading.__dict__["_wfnb_tests"]  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def calls() -> Iterator[list[Any]]:
    """What was called, in order."""
    shared().clear()
    shared()["calls"] = []
    yield shared()["calls"]
    shared().clear()


def act(what: Any) -> Any:
    """Note a call, and do what the test has set for it."""
    shared()["calls"].append(what)
    todo: Callable[[], Any] | None = shared().get(what)
    return todo() if todo is not None else None


@wf.node
def double(x: int) -> int:
    act(x)
    return 2 * x


@wf.node(checkpoint=False)
def unkept(x: int) -> int:
    act(("unkept", x))
    return -x


@wf.node
def total(xs: list[int]) -> int:
    act("total")
    return sum(xs)


@wf.workflow
def mapped(xs: list[int]) -> int:
    return total(double.map(xs))


@wf.workflow
def chained(xs: list[int]) -> list[int]:
    return double.map(unkept.map(xs))


def fails() -> None:
    raise ValueError("no")


def test_a_bundle_runs_its_tasks_in_order_and_leaves_what_others_need(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3])
    held = bench.run(bench.orders(Segment((0,), 0, 3), keep=[0]))
    assert calls == [1, 2, 3]
    assert bench.values() == {("double", 0): 2, ("double", 1): 4, ("double", 2): 6}
    assert held.cells == {0: {0: 2, 1: 4, 2: 6}}


class Kept(list[int]):
    """A list that can be watched."""


def test_values_that_nobody_needs_are_let_go_of_with_the_bundle(calls: list[Any]) -> None:
    values: list[weakref.ref[Kept]] = []

    def make() -> Kept:
        value = Kept([1])
        values.append(weakref.ref(value))
        return value

    shared().update({1: make, 2: make})

    @wf.node
    def made(x: int) -> Any:
        return act(x)

    @wf.workflow
    def flow(xs: list[int]) -> Any:
        return made.map(xs)

    bench = Bench(flow, xs=[1, 2])
    gc.disable()  # not only when the collector comes by
    try:
        held = bench.run(bench.orders(Segment((0,), 0, 2, 1), keep=[0]))
        assert all(value() is not None for value in values)
        del held
        deadline = time.monotonic() + 10  # the ticker's thread may be at them
        while any(value() is not None for value in values):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        gc.enable()


def test_a_value_is_let_go_of_when_the_last_that_needs_it_is_done(calls: list[Any]) -> None:
    bench = Bench(chained, xs=[1, 2, 3])
    kept = bench.run(bench.orders(Segment((0, 1), 0, 2, 1), keep=[0, 1]))
    assert kept.cells == {0: {0: -1, 1: -2}, 1: {0: -2, 1: -4}}
    left = bench.run(bench.orders(Segment((0, 1), 2, 3, 1), bundle="b1.2", keep=[0, 1], spent={1: [0]}))
    assert left.cells == {0: {}, 1: {2: -6}}


def test_a_second_execution_adopts_what_the_first_recorded(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3])
    orders = bench.orders(Segment((0,), 0, 3), keep=[0])
    bench.run(orders)
    held = bench.run(orders)
    assert calls == [1, 2, 3]
    assert held.cells == {0: {0: 2, 1: 4, 2: 6}}
    assert bench.completed == [("double", 0), ("double", 1), ("double", 2)]


def test_a_second_execution_runs_only_what_the_first_did_not_come_to(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3, 4])
    orders = bench.orders(Segment((0,), 0, 4), keep=[0])
    first = bench.recorder(orders)
    first.add(Row("double", 0, 1, COMPLETED, 0.0, 1.0, 200))
    first.add(Row("double", 1, 1, COMPLETED, 0.0, 1.0, 400))
    first.flush()
    held = bench.run(orders)
    assert calls == [3, 4]
    assert held.cells == {0: {0: 200, 1: 400, 2: 6, 3: 8}}


def test_what_an_earlier_execution_handed_back_is_not_run_by_a_later_one(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3, 4])
    orders = bench.orders(Segment((0,), 0, 4))
    first = bench.recorder(orders)
    first.add(Row("double", 0, 1, COMPLETED, 0.0, 1.0, 2))
    first.flush()
    first.mark("double", 1, 1, 0.0, yielded=True)  # it was at the second when its time was up, and died there
    bench.run(orders)
    assert calls == [2]


def test_a_bundle_that_had_ended_is_not_run_again(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2])
    orders = bench.orders(Segment((0,), 0, 2))
    first = bench.recorder(orders)
    first.add(Row("double", 0, 1, COMPLETED, 0.0, 1.0, 2))
    first.flush(ended=True)
    bench.run(orders)
    assert calls == []


def test_a_second_execution_makes_values_that_were_not_kept_again_without_recording_them_again(
    calls: list[Any],
) -> None:
    bench = Bench(chained, xs=[1, 2])
    orders = bench.orders(Segment((0,), 0, 2), keep=[0])
    bench.run(orders)
    held = bench.run(orders)
    assert calls == [("unkept", 1), ("unkept", 2)] * 2
    assert held.cells == {0: {0: -1, 1: -2}}
    assert bench.completed == [("unkept", 0), ("unkept", 1)]


def test_a_bundle_given_up_for_lost_cannot_record(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2])

    def shut_out() -> None:
        event = encode_event(Outcomes("b1.1", "driver", (), ended=True))
        bench.store.append("run", [Entry(bundle_key("b1.1", 1), event)], epoch=bench.epoch)

    shared()[2] = shut_out
    with pytest.raises(EntryExists):
        bench.run(bench.orders(Segment((0,), 0, 2)))
    assert bench.completed == []


def test_a_bundle_of_an_older_driver_stops_in_the_middle_of_a_task(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3])

    def overtake() -> None:
        bench.store.release("run", bench.epoch)
        bench.store.acquire("run", "another", 60)
        print("this makes the ticker write")
        while True:
            time.sleep(0.01)

    shared()[1] = overtake
    with pytest.raises(StaleEpoch):
        bench.run(bench.orders(Segment((0,), 0, 3)))
    assert calls == [1]
    assert bench.completed == []


def test_a_cancelled_bundle_stops_in_the_middle_of_a_task_and_keeps_what_was_done(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3])

    def cancel() -> None:
        entry = Entry(cancel_key(bench.epoch), encode_event(Command("cancel", "test", 0.0)))
        bench.store.append("run", [entry], epoch=bench.epoch)
        while True:
            pass

    shared()[2] = cancel
    began = time.monotonic()
    bench.run(bench.orders(Segment((0,), 0, 3)))
    assert time.monotonic() - began < 2
    assert calls == [1, 2]
    assert bench.completed == [("double", 0)]


def test_a_bundle_hands_back_what_it_has_not_begun_when_its_time_is_up(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=list(range(6)))
    shared()[1] = lambda: time.sleep(2 * BUDGET)
    bench.run(bench.orders(Segment((0,), 0, 6)))
    assert calls == [0, 1]
    # It is said while the task still runs, so that others can begin with the rest.
    (mark,) = [mark for mark in bench.marks if mark.yielded]
    assert (mark.step, mark.index) == ("double", 1)
    assert bench.completed == [("double", 0), ("double", 1)]
    assert bench.events.index(mark) < len(bench.events) - 1


def test_values_that_what_is_handed_back_needs_stay_on_the_worker(calls: list[Any]) -> None:
    @wf.workflow
    def twice(x: int) -> int:
        return double(double(x))

    bench = Bench(twice, x=1)
    shared()[1] = lambda: time.sleep(2 * BUDGET)
    held = bench.run(bench.orders(Segment((0,), 0, 1), Segment((1,), 0, 1), keep=[1], spent={1: [0]}))
    assert calls == [1]
    assert held.cells[0] == {0: 2}


def test_a_long_task_is_said_to_be_running(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1])
    shared()[1] = lambda: time.sleep(0.2)
    bench.run(bench.orders(Segment((0,), 0, 1)))
    (mark,) = bench.marks
    assert (mark.step, mark.index, mark.attempt, mark.yielded) == ("double", 0, 1, False)


def test_a_failure_ends_the_bundle_when_the_run_stops_on_errors(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3])
    shared()[2] = fails
    bench.run(bench.orders(Segment((0,), 0, 3), stop_on_error=True))
    assert calls == [1, 2]
    assert (bench.completed, bench.failed) == ([("double", 0)], [("double", 1)])
    assert bench.events[-1].ended  # what was not run is handed back


def test_a_failure_leaves_the_others_when_the_run_goes_on(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2, 3])
    shared()[2] = fails
    bench.run(bench.orders(Segment((0,), 0, 3)))
    assert calls == [1, 2, 3]
    assert bench.failed == [("double", 1)]


def test_what_depends_on_a_failure_is_left_out(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2])
    shared()[2] = fails
    bench.run(bench.orders(Segment((0,), 0, 2), Segment((1,), 0, 1), widths={0: 2}))
    assert "total" not in calls
    assert bench.events[-1].ended


@pytest.mark.parametrize(
    ("x", "wanted", "runs"), [(1, True, True), (0, True, False), (1, False, False), (0, False, True)]
)
def test_a_step_made_ahead_runs_only_if_the_decision_before_it_says_so(
    calls: list[Any], x: int, wanted: bool, runs: bool
) -> None:
    @wf.workflow
    def flow(x: int) -> list[int]:
        return [double(x), double(5)]

    bench = Bench(flow, x=x)
    orders = replace(bench.orders(Segment((0,), 0, 1), Segment((1,), 0, 1)), given={1: (0, wanted)})
    bench.run(orders)
    assert calls == [x, 5][: 2 if runs else 1]
    ended = [event.ended for event in bench.events if isinstance(event, Outcomes)]
    assert ended == [not runs]  # what was left out is somebody else's now


def test_a_step_made_ahead_does_not_run_where_nothing_was_decided(calls: list[Any]) -> None:
    def fail() -> None:
        raise ValueError

    shared()[3] = fail

    @wf.workflow
    def flow(x: int) -> list[int]:
        return [double(x), double(5)]

    bench = Bench(flow, x=3)
    bench.run(replace(bench.orders(Segment((0,), 0, 1), Segment((1,), 0, 1)), given={1: (0, False)}))
    assert calls == [3]


def test_what_a_bundle_needs_comes_from_the_worker_s_memory_else_from_the_store(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1, 2])
    bench.run(bench.orders(Segment((0,), 0, 2)))
    orders = bench.orders(
        Segment((1,), 0, 1),
        bundle="b1.2",
        needs=[Need(0, 0, 1, "b1.1.1", 0, 0, 0, 0), Need(0, 1, 2, "b1.1.1", 1, -1, 0, 1)],
        widths={0: 2},
    )
    bench.run(orders, Held({0: {0: 1000}}, 0))
    assert bench.values()["total", 0] == 1004


def test_a_segment_of_several_steps_takes_each_element_through_all_of_them(calls: list[Any]) -> None:
    bench = Bench(chained, xs=[1, 2])
    bench.run(bench.orders(Segment((0, 1), 0, 2)))
    assert calls == [("unkept", 1), -1, ("unkept", 2), -2]
    assert bench.values() == {("double", 0): -2, ("double", 1): -4}


def test_a_deadline_stops_the_task_and_not_what_comes_after_it(calls: list[Any]) -> None:
    @wf.node(timeout=0.1)
    def limited(x: int) -> int:
        act(x)
        return x

    @wf.workflow
    def flow(xs: list[int]) -> list[int]:
        return limited.map(xs)

    def spin() -> None:
        while True:
            pass

    bench = Bench(flow, xs=[1, 2, 3])
    shared()[2] = spin
    bench.run(bench.orders(Segment((0,), 0, 3)))
    assert (bench.completed, bench.failed) == ([("limited", 0), ("limited", 2)], [("limited", 1)])
    (error,) = [column.errors[0] for column in bench.columns if column.errors]
    assert (error.type, error.message) == ("TaskTimeout", "it ran longer than its timeout of 0.1 s")


def test_a_task_that_ends_as_its_time_ends_is_either_completed_or_failed(calls: list[Any]) -> None:
    @wf.node(timeout=0.06)
    def close(x: int) -> int:
        time.sleep(0.05 + 0.001 * x)
        return x

    @wf.workflow
    def flow(xs: list[int]) -> list[int]:
        return close.map(xs)

    bench = Bench(flow, xs=list(range(40)))
    for element in range(40):
        bench.run(bench.orders(Segment((0,), element, element + 1), bundle=f"b1.{element}"))
    assert sorted([*bench.completed, *bench.failed]) == [("close", element) for element in range(40)]


def test_an_error_that_cannot_say_its_text_is_told_by_its_type(calls: list[Any]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("never")

    def mute() -> None:
        raise Mute

    bench = Bench(mapped, xs=[1])
    shared()[1] = mute
    bench.run(bench.orders(Segment((0,), 0, 1)))
    (error,) = [column.errors[0] for column in bench.columns if column.errors]
    assert error.type.endswith("Mute")
    assert error.message == "<its text cannot be had: RuntimeError>"


def test_a_traceback_has_no_frames_of_wfnb_also_not_in_its_causes() -> None:
    try:
        try:
            Bench(mapped, xs=[1]).store.get("nowhere")
        except wf.RunNotFound as cause:
            raise ValueError("outer") from cause
    except ValueError as error:
        text = worker.format_traceback(error)
    assert "test_worker.py" in text
    assert "wfnb/store" not in text
    assert "RunNotFound" in text


def test_tasks_see_no_trace_of_a_workflow_being_written_down(calls: list[Any]) -> None:
    bench = Bench(mapped, xs=[1])
    shared()[1] = lambda: shared().update(inside=double(21))
    contextvars.copy_context().run(bench.run, bench.orders(Segment((0,), 0, 1)))
    assert shared()["inside"] == 42
