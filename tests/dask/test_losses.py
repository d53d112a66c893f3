"""Bundles that do not end as they should: who is to blame, what is recorded, and when somebody looks after them."""

from __future__ import annotations

import time
from typing import Any

import pytest

import wfnb as wf
from wfnb.dask import losses as module
from wfnb.dask.beacon import Busy
from wfnb.dask.losses import ALONE, DEATHS, Losses
from wfnb.dask.work import Verdict
from wfnb.engine.bundles import Bundle
from wfnb.engine.engine import BundleEnded, Capacity, Dispatch, Engine
from wfnb.engine.lower import lower
from wfnb.engine.plan import known_widths, make_plan
from wfnb.model.errors import RunCancelled
from wfnb.model.events import CANCELLED, COMPLETED, Column, Event, Outcomes, Running, RunStarted
from wfnb.store.codec import Codec

CODEC = Codec(b"secret")
DIED = "its worker died"


@wf.node
def step(i: int) -> int:
    return i


@wf.node(timeout=30)
def limited(i: int) -> int:
    return i


@wf.workflow
def flow(n: list[int]) -> list[int]:
    return step.map(n)


@wf.workflow
def limiting(n: list[int]) -> list[int]:
    return limited.map(n)


class Bench:
    """The losses of a run whose bundles have a task each."""

    def __init__(self, flow: Any = flow, tasks: int = 2) -> None:
        graph = lower(flow.graph)
        self.engine = Engine(make_plan(graph), epoch=1, estimates={"step": 9.0, "limited": 9.0})
        self.losses = Losses("run", self.engine, CODEC)
        started = RunStarted(0.0, "driver", "code", known_widths(graph, {"n": list(range(tasks))}))
        self.bundles: dict[int, Bundle] = {}
        self.take(started, Capacity(tasks))

    def take(self, *moments: Any) -> None:
        """Feed the engine; note the bundle that each element is in now."""
        for command in self.engine.handle(*moments):
            if isinstance(command, Dispatch):
                (segment,) = command.bundle.segments
                assert segment.hi - segment.lo == 1
                self.bundles[segment.lo] = command.bundle

    def send(self, element: int) -> tuple[tuple[Verdict, ...], bool]:
        return self.losses.sent(self.bundles[element])

    def begin(self, element: int, start: float = 1.0) -> None:
        """The worker says that it has begun the task."""
        self.see(Running(self.bundles[element].id, "worker", self.engine.state.steps[0].plan.id, element, 1, start))

    def see(self, event: Event) -> None:
        self.losses.see(event)
        self.take(event)

    def end(self, element: int, error: str = "", deaths: int = 0) -> tuple[BundleEnded, str, tuple[Column, ...]]:
        """The bundle of an element has ended; the element travels in another."""
        told = self.losses.ended(BundleEnded(self.bundles[element].id, error, deaths))
        self.take(told[0])
        return told

    def die(self, element: int, start: float = 1.0) -> BundleEnded:
        """The worker dies while it runs the task, having said so."""
        self.send(element)
        self.begin(element, start)
        return self.end(element, DIED, 1)[0]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def cancelled(columns: tuple[Column, ...]) -> tuple[int, str, str]:
    """What is recorded of a cancelled task: its element, what stopped it, and what is said."""
    (column,) = columns
    assert column.status == bytes((CANCELLED,))
    error = CODEC.loads(column.errors[0].exception)
    assert isinstance(error, RunCancelled)
    return column.lo, column.errors[0].stopped, str(error)


# -- looking after -----------------------------------------------------------------------------------------------------


def test_a_bundle_that_was_told_to_stop_is_looked_after_once_when_its_time_is_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.losses.stop("b1.1")
    assert bench.losses.late() == {}
    monkeypatch.setattr(module, "STOP", -1.0)
    bench.losses.stop("b1.2")
    assert bench.losses.late() == {"b1.2": True}
    assert bench.losses.late() == {}


def test_a_bundle_that_has_said_its_last_is_not_waited_for(bench: Bench) -> None:
    bench.losses.stop("b1.1")
    bench.see(Outcomes("b1.1", "worker", (), ended=True))
    assert bench.losses.late() == {"b1.1": True}


def test_a_bundle_with_a_time_limit_is_looked_after_when_that_is_over_and_again_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(limiting)
    bench.send(0)
    assert bench.losses.late() == {}
    monkeypatch.setattr(module, "GRACE", -40.0)
    monkeypatch.setattr(module, "SLACK", -1.0)
    bench.send(1)
    late = bench.bundles[1].id
    assert bench.losses.late() == {late: False}
    bench.losses.answer(late, "worker", None, ends=False)
    assert bench.losses.late() == {late: False}
    bench.end(1)
    assert bench.losses.late() == {}


def test_a_task_that_has_time_left_is_left_alone_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limiting)
    monkeypatch.setattr(module, "SLACK", -1.0)
    late = bench.bundles[0].id
    bench.losses.answer(late, "worker", Busy(0, 0, 1, time.time(), time.time() + 60), ends=False)
    assert bench.losses.late() == {}


def test_what_has_no_time_limit_is_never_looked_after(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLACK", -1e9)
    bench.send(0)
    assert bench.losses.late() == {}


# -- workers that die --------------------------------------------------------------------------------------------------


def test_a_task_under_which_workers_die_fails_and_its_neighbours_do_not(bench: Bench) -> None:
    for number in range(DEATHS):
        assert bench.send(0) == ((), False)
        assert bench.die(0, float(number)).innocent
    ((verdict,), _) = bench.send(0)
    assert (verdict.step, verdict.element, verdict.attempt, verdict.deaths) == (0, 0, 1, DEATHS)
    assert bench.send(1) == ((), False)


def test_deaths_are_counted_by_task_wherever_its_bundles_were(bench: Bench) -> None:
    for number in range(DEATHS - 1):
        bench.die(0, float(number))
        bench.die(1, float(number))
    assert bench.send(0)[0] == bench.send(1)[0] == ()
    bench.die(1)
    assert bench.send(0)[0] == ()
    assert [one.element for one in bench.send(1)[0]] == [1]


def test_as_many_deaths_count_as_often_as_the_task_was_begun(bench: Bench) -> None:
    bench.send(0)
    for start in range(DEATHS):
        bench.begin(0, float(start))
    bench.end(0, DIED, DEATHS)
    assert bench.send(0)[0][0].deaths == DEATHS


def test_where_nobody_knows_what_ran_each_task_is_said_to_run_before_it_is_called_from_then_on(bench: Bench) -> None:
    assert bench.send(0) == ((), False)
    event, worker, columns = bench.end(0, DIED, 1)
    assert (event.innocent, worker, columns) == (True, "", ())
    assert bench.send(0) == ((), True)
    assert bench.send(1) == ((), False)
    assert not bench.end(0, DIED, 1)[0].innocent, "it died before it came to a task, so the bundle itself may be bad"


def test_what_was_over_when_the_worker_died_is_not_to_blame(bench: Bench) -> None:
    bundle = bench.bundles[0]
    done = Column(bench.engine.state.steps[0].plan.id, 0, 1, bytes((COMPLETED,)), bytes(8), bytes(8))
    bench.see(Outcomes(bundle.id, "worker", (done,)))
    for number in range(DEATHS):
        bench.begin(0, float(number))
        bench.losses.ended(BundleEnded(bundle.id, DIED, 1))
    assert bench.losses.sent(bundle)[0] == ()


def test_tasks_under_which_workers_die_are_run_one_at_a_time_in_the_end(bench: Bench) -> None:
    for number in range(ALONE):
        for element in (0, 1):
            bench.die(element, float(number))
    first, second = bench.bundles[0], bench.bundles[1]
    assert not bench.losses.must_wait(first)
    assert bench.losses.must_wait(second)
    assert bench.losses.next_alone("another") == ""
    assert bench.losses.next_alone(first.id) == second.id
    assert not bench.losses.must_wait(second)
    assert bench.losses.next_alone(second.id) == ""


# -- tasks that do not stop --------------------------------------------------------------------------------------------


def test_a_task_whose_process_was_ended_for_a_cancel_is_recorded_so(bench: Bench) -> None:
    bundle = bench.bundles[0].id
    bench.losses.stop(bundle)
    bench.losses.answer(bundle, "w1", Busy(0, 0, 1, 5.0, 0.0), ends=True)
    event, worker, columns = bench.end(0, "its Dask task was cancelled")
    assert (event.innocent, worker) == (True, "w1")
    element, stopped, said = cancelled(columns)
    assert (element, stopped) == (0, "process")
    assert "step[0]" in said
    assert "its worker process was ended" in said


def test_a_task_whose_process_was_ended_for_its_timeout_fails_when_it_is_sent_next(bench: Bench) -> None:
    bundle = bench.bundles[1].id
    bench.losses.answer(bundle, "w1", Busy(0, 1, 1, 5.0, 35.0), ends=True)
    assert bench.end(1, "its Dask task was cancelled")[2] == ()
    ((verdict,), _) = bench.send(1)
    assert (verdict.element, verdict.start, verdict.deaths) == (1, 5.0, 0)


def test_a_task_that_nobody_could_end_is_said_to_go_on(bench: Bench) -> None:
    bundle = bench.bundles[0].id
    bench.begin(0)
    bench.losses.stop(bundle)
    event, worker, columns = bench.end(0, "its Dask task was cancelled")
    assert (event.innocent, worker) == (True, "worker")
    element, stopped, said = cancelled(columns)
    assert (element, stopped) == (0, "")
    assert "it goes on until it returns" in said


def test_nothing_is_said_for_a_task_that_has_stopped_or_never_began(bench: Bench) -> None:
    bench.losses.stop(bench.bundles[1].id)
    event, worker, columns = bench.end(1, "its Dask task was cancelled")
    assert (event.innocent, worker, columns) == (True, "", ())
    bench.begin(0)
    bench.losses.stop(bench.bundles[0].id)
    assert bench.end(0)[2] == (), "it ended well: its worker has said what came of it"


def test_an_error_of_a_bundle_that_was_let_be_is_its_own(bench: Bench) -> None:
    assert not bench.end(0, "ModuleNotFoundError: no")[0].innocent
