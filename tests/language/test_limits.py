"""Limits, turns, streams and plans: how many at once, how many at all, when a generator waits and when it is closed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.language.nodes import note
from tests.language.support import FULL, Moments, calls, cut_at, folder, forget_calls
from wfnb.model.events import Outcomes
from wfnb.session import SESSION
from wfnb.store.memory import MemoryStore

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("inline")]


@wf.node
def begin(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return x


@wf.node
def end(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return x


@wf.node
def plus(x: int, ctx: wf.Context) -> int:
    note(ctx)
    return x + 1


@wf.node
def numbers(n: int) -> list[int]:
    return list(range(n))


@wf.node
def bad_at(x: int, wrong: int, ctx: wf.Context) -> int:
    note(ctx)
    if x == wrong:
        raise ValueError(f"wrong {x}")
    return x


def go(body: Callable[[], Any], name: str = "flow", **options: Any) -> wf.Run:
    """Run a workflow of one body, and wait for its end."""
    run: wf.Run = wf.workflow(body, name=name).options(view=False, **options).submit()
    run._wait(30)
    return run


def failed(run: wf.Run) -> str:
    """Return the type of what a run failed with."""
    with pytest.raises(wf.StepFailed) as error:
        run.result(20)
    return error.value.error_type


# -- how many at once --------------------------------------------------------------------------------------------------


def most_at_once(run: wf.Run, first: str, last: str) -> int:
    """Return how many bodies were begun and not over at a time, by the trace."""
    trace = run.trace
    marks: list[tuple[Any, int]] = []
    for address, start, stop in zip(trace.address, trace.start, trace.end, strict=True):
        if address.endswith(first):
            marks.append((start, 1))
        if address.endswith(last):
            marks.append((stop, -1))
    now = most = 0
    for _, step in sorted(marks):
        now += step
        most = max(most, now)
    return most


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_more_items_are_begun_and_not_over_than_max_concurrency(limit: int) -> None:
    # The map makes each item wait for a step of its own; without a limit nearly all of them are begun at once.
    run = go(lambda: wf.each(numbers(12), lambda i: end.map([begin(i)]), max_concurrency=limit))
    assert run.result() == [[n] for n in range(12)]
    assert most_at_once(run, "/begin", "/end[0]") <= limit


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_branches_are_begun_and_not_over_than_max_concurrency(limit: int) -> None:
    def branch(n: int) -> Callable[[], Any]:
        return lambda: end.options(id=f"{n}end")(begin.options(id=f"{n}begin")(n))

    run = go(lambda: wf.parallel(*[branch(n) for n in range(6)], max_concurrency=limit))
    assert run.result() == list(range(6))
    assert most_at_once(run, "begin", "end") <= limit
    order = [address for address in run.trace.address if address.endswith("begin")]
    assert order == [f"parallel/{n}begin" for n in range(6)]


def test_items_in_order_begin_each_when_the_one_before_is_over() -> None:
    run = go(lambda: wf.each(numbers(8), lambda i: end(begin(i)), parallel=False))
    assert run.result() == list(range(8))
    order = [line.split()[0] for line in (folder() / run.id).read_text().splitlines()]
    assert order == [f"each[{n}]/{step}" for n in range(8) for step in ("begin", "end")]
    assert most_at_once(run, "/begin", "/end") == 1


def test_items_in_order_wait_for_steps_whose_value_nobody_uses() -> None:
    def body() -> Any:
        def item(i: Any) -> Any:
            end(begin(i))
            return i

        return wf.each([0, 1, 2], item, parallel=False)

    run = go(body)
    assert run.result() == [0, 1, 2]
    order = [line.split()[0] for line in (folder() / run.id).read_text().splitlines()]
    assert order == [f"each[{n}]/{step}" for n in range(3) for step in ("begin", "end")]


def test_after_an_item_in_order_has_failed_none_is_begun() -> None:
    run = go(lambda: wf.each(numbers(6), lambda i: bad_at(i, 2), parallel=False))
    assert failed(run) == "ValueError"
    assert calls(run.id) == {f"each[{n}]/bad_at": 1 for n in range(3)}


def test_an_item_in_a_branch_that_waits_its_turn_never_begins_after_a_failure() -> None:
    run = go(lambda: wf.each(numbers(6), lambda i: bad_at(i, 2), max_concurrency=1))
    assert failed(run) == "ValueError"
    assert calls(run.id) == {f"each[{n}]/bad_at": 1 for n in range(3)}


# -- how many at all ---------------------------------------------------------------------------------------------------


def test_a_loop_that_is_not_through_after_max_iterations_reaches_the_limit() -> None:
    run = go(lambda: wf.loop(plus, init=0, until=lambda c: c >= 100, max_iterations=5))
    assert failed(run) == "LimitReached"
    assert calls(run.id) == {f"loop.{k}/plus": 1 for k in range(5)}


def test_a_loop_may_need_all_of_its_max_iterations() -> None:
    def body() -> Any:
        return [
            wf.loop(plus, init=0, until=lambda c: c >= 5, max_iterations=5),
            wf.loop(plus, init=0, while_=lambda c: c < 5, max_iterations=5),
        ]

    assert go(body).result() == [5, 5]


def test_a_loop_with_while_reaches_the_limit_too() -> None:
    run = go(lambda: wf.loop(plus, init=0, while_=lambda c: c < 100, max_iterations=5))
    assert failed(run) == "LimitReached"
    assert len(calls(run.id)) == 5


def test_times_knows_no_max_iterations() -> None:
    assert go(lambda: wf.loop(plus, init=0, times=7, max_iterations=3)).result() == 7


@pytest.mark.skipif(not FULL, reason="takes some seconds")
def test_without_max_iterations_a_loop_ends_after_1000() -> None:
    run = go(lambda: wf.loop(plus, init=0, until=lambda c: c < 0))
    assert failed(run) == "LimitReached"
    assert len(calls(run.id)) == 1000


def test_with_more_items_than_max_iterations_no_body_is_begun() -> None:
    run = go(lambda: wf.each(numbers(6), lambda i: begin(i), max_iterations=5))
    assert failed(run) == "LimitReached"
    assert calls(run.id) == {}
    assert go(lambda: wf.each(numbers(5), lambda i: begin(i), max_iterations=5)).result() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("parallel", [True, False])
def test_a_limit_reached_can_be_caught(parallel: bool) -> None:
    def body() -> Any:
        return [
            wf.attempt(
                lambda: wf.each([1, 2, 3], lambda i: begin(i), max_iterations=2, parallel=parallel),
                catch={wf.LimitReached: lambda error: end(error.type)},
            ),
            wf.attempt(
                lambda: wf.loop(plus, init=0, until=lambda c: c < 0, max_iterations=2),
                catch={wf.LimitReached: lambda error: end.options(id="end2")(error.type)},
            ),
        ]

    assert go(body).result() == ["LimitReached", "LimitReached"]


def test_a_switch_in_which_no_case_fits_fails_and_can_be_caught() -> None:
    run = go(lambda: wf.switch(begin(3), {1: lambda: 1, 2: lambda: 2}))
    assert failed(run) == "NoCase"
    caught = go(
        lambda: wf.attempt(lambda: wf.switch(begin(3), {1: lambda: 1}), catch={wf.NoCase: lambda e: end(e.type)})
    )
    assert caught.result() == "NoCase"


# -- streams -----------------------------------------------------------------------------------------------------------


def told(word: str) -> None:
    with open(f"{os.environ['WFNB_TEST_CALLS']}/generator", "a") as file:
        file.write(f"{word}\n")


def heard() -> list[str]:
    """Return what generators told, and forget it."""
    file = folder() / "generator"
    found = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


@pytest.fixture(autouse=True)
def _nothing_heard(inline: Moments) -> None:
    heard()


@wf.node
def source(n: int) -> Iterator[int]:
    told("called")
    try:
        k = 0
        while n < 0 or k < n:
            yield k
            k += 1
    except GeneratorExit:
        told("exit")
        raise
    finally:
        told("finally")


@wf.node
def steady(x: int, ctx: wf.Context) -> int:
    note(ctx)
    time.sleep(0.01)
    return x


def taken_and_not_over(run: wf.Run, stage: str) -> int:
    """Return the most items that a stream had taken and not over at a time, by the journal."""
    taken = over = most = 0
    for event in run.events():
        if not isinstance(event, Outcomes):
            continue
        for column in event.columns:
            if column.step.endswith(".source"):
                taken += len(column.status)
            elif column.step.endswith(stage):
                over += len(column.status)
        most = max(most, taken - over)
    return most


@pytest.mark.parametrize(("batch", "buffer"), [(1, 1), (1, 3), (4, 1), (3, 2)])
def test_a_generator_waits_while_batch_times_buffer_items_are_taken_and_not_over(batch: int, buffer: int) -> None:
    run = go(lambda: wf.stream(source(25), begin, end, batch=batch, buffer=buffer))
    assert run.result() == list(range(25))
    assert taken_and_not_over(run, "/end") <= batch * buffer
    assert calls(run.id) == {f"stream[{n}]/{step}": 1 for n in range(25) for step in ("begin", "end")}
    assert heard() == ["called", "finally"]


def test_items_of_a_stream_are_recorded_at_their_addresses() -> None:
    run = go(lambda: wf.stream(source(5), end, batch=2))
    assert run.result() == [0, 1, 2, 3, 4]
    found = [address for address in run.trace.address if ".source" in address]
    assert found == [f"stream.source[{n}]" for n in range(5)]


def test_a_resumed_stream_takes_every_item_once_from_any_state(inline: Moments) -> None:
    run = go(lambda: wf.stream(source(12), begin, end, batch=2, buffer=2))
    assert run.result() == list(range(12))
    assert isinstance(run.store, MemoryStore)
    for moment in inline.by_run[run.id]:
        part = cut_at(run.store, run.id, moment)
        before = SESSION._found(part, part.get(run.id)).events()
        done = {
            column.step.replace("[]", f"[{column.lo + place}]")
            for event in before
            if isinstance(event, Outcomes)
            for column in event.columns
            for place in range(len(column.status))
        }
        forget_calls(run.id)
        again = SESSION.resume(run.id, False, store=part)
        assert again.result(10) == list(range(12))
        assert not done & set(calls(run.id))
        taken = [address for address in again.trace.address if ".source" in address]
        assert sorted(taken) == sorted(f"stream.source[{n}]" for n in range(12))


def test_a_stream_whose_source_waits_for_a_step_goes_on_from_any_state(inline: Moments) -> None:
    run = go(lambda: wf.stream(source(begin.options(id="how_many")(5)), lambda x: end.map([x, x]), batch=2, buffer=1))
    assert run.result() == [[n, n] for n in range(5)]
    assert isinstance(run.store, MemoryStore)
    for moment in inline.by_run[run.id]:
        again = SESSION.resume(run.id, False, store=cut_at(run.store, run.id, moment))
        assert again.result(10) == [[n, n] for n in range(5)]


def test_an_item_that_fails_ends_the_stream_and_closes_the_generator() -> None:
    run = go(lambda: wf.stream(source(-1), lambda x: end(bad_at(x, 5)), batch=2, buffer=2))
    assert failed(run) == "ValueError"
    assert run.snapshot().error.address == "stream[5]/bad_at"
    assert set(calls(run.id)) <= {f"stream[{n}]/{step}" for n in range(9) for step in ("bad_at", "end")}
    assert heard() == ["called", "exit", "finally"]


def test_an_item_that_fails_in_a_try_is_caught_around_the_stream_and_inside_it() -> None:
    def body() -> Any:
        around = wf.attempt(
            lambda: wf.stream(source(6), lambda x: bad_at(x, 2)), catch=lambda error: end([error.type, error.address])
        )
        inside = wf.stream(
            source.options(id="s2")(4),
            lambda x: wf.attempt(lambda: bad_at(x, 2), catch=lambda error: "caught"),
        )
        return [around, inside]

    run = go(body)
    assert run.result() == [["ValueError", "try.try/stream[2]/bad_at"], [0, 1, "caught", 3]]


def test_with_continue_the_other_items_of_a_stream_go_on() -> None:
    run = go(lambda: wf.stream(source(6), lambda x: end(bad_at(x, 1)), batch=1, buffer=1), on_error="continue")
    assert failed(run) == "ValueError"
    ends = {f"stream[{n}]/end" for n in (0, 2, 3, 4, 5)}
    assert {address for address in calls(run.id) if address.endswith("end")} == ends


def test_a_generator_that_fails_fails_the_stream_after_what_it_gave() -> None:
    @wf.node
    def gives_up(n: int) -> Iterator[int]:
        yield from range(n)
        raise OSError("gone")

    run = go(lambda: wf.stream(gives_up(3), end))
    assert failed(run) == "OSError"
    assert run.snapshot().error.address == "stream.source[3]"


def test_a_cancel_closes_an_endless_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfnb.dask.worker.CANCEL_EVERY", 0.05)

    @wf.workflow(name="endless")
    def endless() -> Any:
        return wf.stream(source(-1), steady, batch=2, buffer=2)

    run = endless.options(view=False).submit()
    deadline = time.monotonic() + 10
    while len(calls(run.id)) < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.status == "running"
    run.cancel()
    with pytest.raises(wf.RunCancelled):
        run.result(10)
    assert run.status == "cancelled"
    assert taken_and_not_over(run, "/steady") <= 4
    time.sleep(0.1)
    assert heard() == ["called", "exit", "finally"]


# -- plans -------------------------------------------------------------------------------------------------------------


@wf.node
def dice(ctx: wf.Context) -> Any:
    note(ctx)
    return import_module("tests.language.test_limits").thrown(time.time_ns())


def thrown(number: int) -> Any:
    @wf.workflow(name="thrown")
    def flow() -> Any:
        return [number, [plus.options(id=f"plus{n}")(n) for n in range(number % 3 + 1)]]

    return flow


def test_what_was_planned_is_repeated_exactly_when_the_run_is_resumed(inline: Moments) -> None:
    run = go(lambda: end(wf.dynamic(dice)))
    number, rest = run.result()
    assert rest == list(range(1, number % 3 + 2))
    assert isinstance(run.store, MemoryStore)
    same = 0
    for moment in inline.by_run[run.id]:
        part = cut_at(run.store, run.id, moment)
        events = SESSION._found(part, part.get(run.id)).events()
        planned = any(
            column.step == "dice.plan" for event in events if isinstance(event, Outcomes) for column in event.columns
        )
        forget_calls(run.id)
        again = SESSION.resume(run.id, False, store=part)
        if planned:
            same += 1
            assert again.result(10) == [number, rest]
            assert "dice.plan" not in calls(run.id)
        else:
            assert again.result(10)[0] != number
            assert calls(run.id)["dice.plan"] == 1
    assert same


@wf.node
def plans(what: str) -> Any:
    return import_module("tests.language.test_limits").PLANS[what]


@wf.workflow(name="needs")
def needs(x: int) -> Any:
    return plus(x)


@wf.workflow(name="defaults")
def defaults(x: int = 3) -> Any:
    return plus(x)


PLANS: dict[str, Any] = {
    "a number": 42,
    "none": None,
    "an input without default": needs,
    "an unknown node": {"name": "d", "steps": [{"type": "no-such-node"}]},
    "no steps at all": {"name": "d", "stepz": []},
    "a default": defaults,
    "a definition": {"name": "d", "steps": [{"type": "log", "params": {"message": "hello"}}]},
}


@pytest.mark.parametrize("what", list(PLANS)[:5])
def test_a_plan_that_will_not_do_fails_the_task_that_planned_it(what: str) -> None:
    run = go(lambda: wf.dynamic(plans, what))
    failed(run)
    assert run.snapshot().error.address == "plans.plan"
    caught = go(lambda: wf.attempt(lambda: wf.dynamic(plans, what), catch=lambda error: end(error.address)))
    assert caught.result() == "try.try/plans.plan"


def test_a_plan_may_be_a_workflow_with_defaults_or_a_definition() -> None:
    def body() -> Any:
        return [wf.dynamic(plans, "a default"), wf.dynamic(plans, "a definition", id="second")]

    assert go(body).result() == [4, "hello"]


@wf.node
def plans_again(n: int) -> Any:
    return import_module("tests.language.test_limits").again(n)


def again(n: int) -> Any:
    @wf.workflow(name=f"again{n}")
    def flow() -> Any:
        return plus(wf.dynamic(plans_again, n - 1)) if n else begin(0)

    return flow


def test_plans_may_plan() -> None:
    run = go(lambda: wf.dynamic(plans_again, 4))
    assert run.result() == 4
    depth = "plans_again/" * 5
    assert f"{depth}begin" in calls(run.id)
    assert Path(folder()).is_dir()
