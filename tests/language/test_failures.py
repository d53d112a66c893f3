"""Failures: retries, what a try does about them, what they end, and what goes on after them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import wfnb as wf
from tests.language.nodes import note
from tests.language.support import Moments, calls, cut_at, folder, forget_calls
from wfnb.model.events import Outcomes
from wfnb.session import SESSION
from wfnb.store.memory import MemoryStore

pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("inline")]


class Sour(ValueError):
    """An error of these tests' own."""


@wf.node
def one(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return x


@wf.node
def last(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return x


@wf.node
def slow(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    time.sleep(0.02)
    return x


def chain() -> Any:
    """A chain of steps that takes longer than a worker goes on without handing back what it has not begun."""
    a = slow(0)
    for n in range(30):
        a = slow.options(id=f"slow{n}")(a)
    return last.options(id="end")(a)


@wf.node
def fail(how: str, ctx: wf.Context) -> Any:
    note(ctx)
    kinds: dict[str, type[Exception]] = {
        "value": ValueError,
        "key": KeyError,
        "file": FileNotFoundError,
        "os": OSError,
        "zero": ZeroDivisionError,
        "runtime": RuntimeError,
    }
    raise kinds[how](f"{how} {ctx.attempt}")


@wf.node
def sour(ctx: wf.Context) -> Any:
    note(ctx)
    raise Sour("sour")


@wf.node
def at_first(times: int, ctx: wf.Context) -> int:
    note(ctx)
    if ctx.attempt <= times:
        raise OSError(f"attempt {ctx.attempt}")
    return ctx.attempt


@wf.node
def maybe(_: Any, ctx: wf.Context) -> str:
    note(ctx)
    if not os.path.exists(f"{os.environ['WFNB_TEST_CALLS']}/mended"):
        raise RuntimeError("not yet")
    return "mended"


def go(body: Callable[[], Any], name: str = "flow", **options: Any) -> wf.Run:
    """Run a workflow of one body, and wait for its end."""
    flow = wf.workflow(body, name=name)
    run: wf.Run = flow.options(view=False, **options).submit()
    run._wait(20)
    return run


def failed(run: wf.Run) -> tuple[str, str]:
    """Return the type and the address of what a run failed with."""
    with pytest.raises(wf.StepFailed) as error:
        run.result(20)
    return error.value.error_type, error.value.address


def kinds(run: wf.Run) -> list[tuple[str, str]]:
    """Return (address, status) of each attempt, in the order they began."""
    trace = run.trace
    return list(zip(trace.address, trace.status, strict=True))


# -- retries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attempts", "called"), [(0, 1), (1, 2), (2, 3)])
def test_a_task_is_called_once_more_than_its_retries(attempts: int, called: int) -> None:
    run = go(lambda: fail.options(retries=attempts)("value"))
    assert failed(run) == ("ValueError", "fail")
    assert calls(run.id) == {"fail": called}
    assert list(run.trace.attempt) == list(range(1, called + 1))
    assert kinds(run) == [("fail", "failed")] * called


def test_a_task_is_not_called_again_after_it_has_succeeded() -> None:
    run = go(lambda: at_first.options(retries=5)(2))
    assert run.result() == 3
    assert kinds(run) == [("at_first", "failed"), ("at_first", "failed"), ("at_first", "completed")]


def test_exponential_back_off_waits_2_4_and_8_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = SimpleNamespace(time=lambda: time.time() + 1000, monotonic=time.monotonic)
    monkeypatch.setattr("wfnb.dask.driver.time", ahead)  # every retry is due at once
    run = go(lambda: fail.options(retries=3, backoff=wf.Exponential(2.0))("value"))
    assert failed(run) == ("ValueError", "fail")
    waits = [
        error.retry_in
        for event in run.events()
        if isinstance(event, Outcomes)
        for column in event.columns
        for error in column.errors.values()
    ]
    assert waits == [2.0, 4.0, 8.0, None]


@pytest.mark.parametrize(
    ("how", "on", "called"),
    [
        ("value", OSError, 1),
        ("os", OSError, 3),
        ("file", OSError, 3),
        ("os", FileNotFoundError, 1),
        ("value", (OSError, "ValueError"), 3),
        ("key", "KeyError", 3),
    ],
)
def test_only_errors_of_the_types_named_are_retried(how: str, on: Any, called: int) -> None:
    run = go(lambda: fail.options(retries=2, retry_on=on)(how))
    assert failed(run)[1] == "fail"
    assert calls(run.id) == {"fail": called}


def test_in_sequential_the_next_step_waits_for_the_retries_of_the_one_before() -> None:
    run = go(lambda: wf.sequential(lambda: [at_first.options(retries=2)(2), last(1)]))
    assert run.result() == [3, 1]
    assert calls(run.id) == {"sequential/at_first": 3, "sequential/last": 1}
    assert [address for address, _ in kinds(run)][-1] == "sequential/last"


def test_retries_of_a_construct_hold_for_the_steps_inside_that_say_nothing_else() -> None:
    def body() -> Any:
        return wf.sequential(
            lambda: [
                wf.each([0, 1], lambda i: at_first.options(id="inner")(2)),
                at_first.options(id="own", retries=3)(3),
            ],
            retries=2,
            id="all",
        )

    run = go(body)
    assert run.result() == [[3, 3], 4]
    assert calls(run.id) == {"all/each[0]/inner": 3, "all/each[1]/inner": 3, "all/own": 4}


def test_the_catch_sees_the_last_error_and_how_often_it_was_tried() -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: fail.options(retries=2)("value"),
            catch=lambda error: one([error.type, error.message, error.address, error.attempts]),
        )

    run = go(body)
    assert run.result() == ["ValueError", "value 3", "try.try/fail", 3]
    assert kinds(run) == [("try.try/fail", "failed")] * 3 + [("try.catch/one", "completed")]


def test_elements_of_a_map_are_retried_each_by_itself() -> None:
    run = go(lambda: at_first.options(retries=2).map([0, 2, 1, 0]))
    assert run.result() == [1, 3, 2, 1]
    assert calls(run.id) == {"at_first[0]": 1, "at_first[1]": 3, "at_first[2]": 2, "at_first[3]": 1}


# -- catch -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "value"),
    [("zero", "arithmetic"), ("key", "key"), ("file", "os"), ("os", "os"), ("value", "rest"), ("runtime", "rest")],
)
def test_the_first_catch_that_names_the_type_or_a_base_is_run_and_no_other(how: str, value: str) -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: fail(how),
            catch={
                (ArithmeticError, ZeroDivisionError): lambda: one("arithmetic"),
                "KeyError": lambda: one.options(id="key")("key"),
                OSError: lambda: one.options(id="os")("os"),
                FileNotFoundError: lambda: one.options(id="file")("file"),
                (): lambda: one.options(id="rest")("rest"),
            },
        )

    run = go(body)
    assert run.result() == value
    assert len(calls(run.id)) == 2


@pytest.mark.parametrize("on", [Sour, "Sour", ValueError, Exception])
def test_errors_of_a_person_s_own_are_caught_by_type_by_name_and_by_base(on: Any) -> None:
    assert go(lambda: wf.attempt(sour, catch={on: lambda error: one(error.type)})).result() == "Sour"


def test_an_error_that_no_catch_names_goes_on() -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: fail("value"), catch={KeyError: lambda: one("no"), (OSError, "Sour"): lambda: one("no")}
        )

    run = go(body)
    assert failed(run) == ("ValueError", "try.try/fail")
    assert calls(run.id) == {"try.try/fail": 1}


def test_an_error_in_the_catch_takes_the_place_of_the_one_it_caught_and_is_caught_by_none_beside_it() -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: fail("value"),
            catch={ValueError: lambda: fail.options(id="worse")("key"), KeyError: lambda: one("no")},
        )

    assert failed(go(body)) == ("KeyError", "try.catch/worse")


def test_the_next_try_around_catches_what_a_catch_lets_pass_or_raises() -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: wf.attempt(lambda: fail("value"), catch={KeyError: lambda: one("no")}, id="low"),
            catch={ValueError: lambda error: fail.options(id="worse")("key")},
            id="mid",
        )

    def outer() -> Any:
        return wf.attempt(body, catch=lambda error: one([error.type, error.address]), id="top")

    assert go(outer).result() == ["KeyError", "top.try/mid.catch/worse"]


def test_a_failure_in_a_try_cancels_what_else_is_in_its_body() -> None:
    def body() -> Any:
        return wf.attempt(lambda: [fail("value"), chain()], catch=lambda error: one("caught"))

    run = go(body)
    assert run.result() == "caught"
    assert "try.try/end" not in calls(run.id)


# -- finally -----------------------------------------------------------------------------------------------------------


def marked(run: wf.Run) -> int:
    return sum(count for address, count in calls(run.id).items() if address.endswith(".finally/last"))


def test_finally_runs_after_success_and_its_value_is_dropped() -> None:
    run = go(lambda: wf.attempt(lambda: one("good"), finally_=lambda: last("bad")))
    assert run.result() == "good"
    assert kinds(run) == [("try.try/one", "completed"), ("try.finally/last", "completed")]


def test_finally_runs_after_a_failure_and_the_failure_goes_on() -> None:
    run = go(lambda: wf.attempt(lambda: fail("value"), finally_=lambda: last(1)))
    assert failed(run) == ("ValueError", "try.try/fail")
    assert kinds(run) == [("try.try/fail", "failed"), ("try.finally/last", "completed")]


def test_finally_runs_after_a_catch_and_the_value_is_the_catch_s() -> None:
    run = go(lambda: wf.attempt(lambda: fail("value"), catch=lambda: one("caught"), finally_=lambda: last(1)))
    assert run.result() == "caught"
    assert [address for address, _ in kinds(run)] == ["try.try/fail", "try.catch/one", "try.finally/last"]


def test_finally_runs_after_a_failure_in_the_catch() -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: fail("value"), catch=lambda: fail.options(id="worse")("key"), finally_=lambda: last(1)
        )

    run = go(body)
    assert failed(run) == ("KeyError", "try.catch/worse")
    assert marked(run) == 1


def test_finally_runs_when_the_run_fails_elsewhere_after_the_try_has_begun() -> None:
    def body() -> Any:
        return wf.parallel(
            lambda: wf.attempt(lambda: last.options(id="slow")(one(1)), finally_=lambda: last(1)),
            lambda: fail("value"),
        )

    run = go(body)
    assert failed(run) == ("ValueError", "parallel/fail")
    assert calls(run.id)["parallel/try.finally/last"] == 1


def test_finally_runs_when_a_step_beside_it_in_the_outermost_body_fails() -> None:
    def body() -> Any:
        return [wf.attempt(chain, finally_=lambda: last(1)), fail("value")]

    run = go(body)
    assert failed(run) == ("ValueError", "fail")
    assert marked(run) == 1
    assert "try.try/end" not in calls(run.id)


def test_finally_does_not_run_where_the_try_never_began() -> None:
    def body() -> Any:
        return wf.sequential(lambda: [fail("value"), wf.attempt(lambda: one(1), finally_=lambda: last(1))])

    run = go(body)
    assert failed(run) == ("ValueError", "sequential/fail")
    assert calls(run.id) == {"sequential/fail": 1}


@pytest.mark.parametrize("before", ["success", "failure", "catch", "failing catch"])
def test_a_failure_of_finally_takes_the_place_of_any_other_outcome(before: str) -> None:
    tried = (lambda: one(1)) if before == "success" else (lambda: fail("value"))
    catch: dict[str, Any] = {
        "catch": {"catch": lambda: one.options(id="caught")(2)},
        "failing catch": {"catch": lambda: fail.options(id="worse")("os")},
    }.get(before, {})
    run = go(lambda: wf.attempt(tried, **catch, finally_=lambda: fail.options(id="end")("key")))
    assert failed(run) == ("KeyError", "try.finally/end")


def test_a_failure_of_finally_can_be_caught_around_it() -> None:
    def body() -> Any:
        return wf.attempt(
            lambda: wf.attempt(lambda: one(1), finally_=lambda: fail("key"), id="inner"),
            catch=lambda error: last([error.type, error.address]),
            id="outer",
        )

    assert go(body).result() == ["KeyError", "outer.try/inner.finally/fail"]


def test_every_finally_around_a_failure_runs_the_innermost_first() -> None:
    def level(n: int, body: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: wf.attempt(body, finally_=lambda: last.options(id=f"end{n}")(n), id=f"t{n}")

    run = go(level(0, level(1, level(2, lambda: fail("value")))))
    assert failed(run) == ("ValueError", "t0.try/t1.try/t2.try/fail")
    assert [address for address, _ in kinds(run)] == [
        "t0.try/t1.try/t2.try/fail",
        "t0.try/t1.try/t2.finally/end2",
        "t0.try/t1.finally/end1",
        "t0.finally/end0",
    ]


# -- first -------------------------------------------------------------------------------------------------------------


def test_of_branches_that_race_one_that_fails_only_drops_out() -> None:
    run = go(lambda: wf.parallel(lambda: fail("value"), lambda: one(2), first=True))
    assert run.result() == 2
    assert run.status == "completed"


def test_when_all_branches_that_race_have_failed_the_first_failure_counts() -> None:
    def body() -> Any:
        return wf.parallel(
            lambda: fail("value"),
            lambda: fail.options(id="second")("key"),
            lambda: fail.options(id="third")("os"),
            first=True,
            max_concurrency=1,
        )

    run = go(body)
    assert failed(run) == ("ValueError", "parallel/fail")
    assert calls(run.id) == {"parallel/fail": 1, "parallel/second": 1, "parallel/third": 1}


def test_the_value_of_a_race_is_that_of_the_branch_recorded_first() -> None:
    def body() -> Any:
        return wf.parallel(chain, lambda: last("short"), first=True)

    run = go(body)
    assert run.result() == "short"
    assert "parallel/end" not in calls(run.id)


def test_a_try_in_a_branch_that_lost_still_has_its_finally() -> None:
    def body() -> Any:
        return wf.parallel(
            lambda: wf.attempt(chain, finally_=lambda: last(1)), lambda: last.options(id="fast")("fast"), first=True
        )

    run = go(body)
    assert run.result() == "fast"
    assert calls(run.id)["parallel/try.finally/last"] == 1


# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_step_that_goes_on_after_errors_is_none_and_shown_as_failed() -> None:
    def body() -> Any:
        a = fail.options(continue_on_error=True)("value")
        return [a, one(a)]

    run = go(body)
    assert run.result() == [None, None]
    assert run.status == "completed"
    assert kinds(run) == [("fail", "failed"), ("one", "completed")]


def test_a_construct_that_goes_on_after_errors_is_none() -> None:
    def body() -> Any:
        a = wf.parallel(lambda: fail("value"), lambda: one(1), continue_on_error=True)
        b = wf.attempt(lambda: fail.options(id="again")("key"), finally_=lambda: last(1), continue_on_error=True)
        c = wf.each([1, 2], lambda i: fail.options(id="each_fail")("os"), continue_on_error=True)
        return [a, b, c]

    run = go(body)
    assert run.result() == [None, None, None]
    assert run.status == "completed"


def test_elements_of_a_map_that_goes_on_after_errors_are_none_each_by_itself() -> None:
    run = go(lambda: at_first.options(continue_on_error=True).map([0, 9, 0]))
    assert run.result() == [1, None, 1]


def test_with_stop_nothing_new_begins_after_a_failure() -> None:
    def body() -> Any:
        return [fail("value"), chain()]

    run = go(body)
    assert failed(run) == ("ValueError", "fail")
    assert "end" not in calls(run.id)


def test_with_continue_whatever_does_not_use_the_failed_step_goes_on_and_then_the_run_fails() -> None:
    def body() -> Any:
        a = fail("value")
        skipped = one.options(id="skipped")(a)
        other = last.options(id="other")(one.options(id="free")(1))
        return [skipped, other]

    run = go(body, on_error="continue")
    assert failed(run) == ("ValueError", "fail")
    assert calls(run.id) == {"fail": 1, "free": 1, "other": 1}
    assert run["other"].output == 1


def test_with_continue_branches_and_items_go_on_and_what_uses_them_is_skipped() -> None:
    def body() -> Any:
        b = wf.parallel(lambda: last.options(id="after")(fail("value")), lambda: last.options(id="good")(one(1)))
        e = wf.each([0, 9, 0], lambda n: last.options(id="end")(at_first(n)))
        return [one.options(id="uses_b")(b), one.options(id="uses_e")(e)]

    run = go(body, on_error="continue")
    kind, address = failed(run)
    assert (kind, address) in [("ValueError", "parallel/fail"), ("OSError", "each[1]/at_first")]
    assert calls(run.id) == {
        "parallel/fail": 1,
        "parallel/one": 1,
        "parallel/good": 1,
        **{f"each[{n}]/at_first": 1 for n in range(3)},
        "each[0]/end": 1,
        "each[2]/end": 1,
    }


def test_with_continue_items_in_parallel_of_several_levels_go_on() -> None:
    def body() -> Any:
        return wf.each([0, 1], lambda i: wf.each([0, 9, 0], lambda n: last(at_first(n)), id="low"), id="top")

    run = go(body, on_error="continue")
    assert failed(run)[0] == "OSError"
    ends = {f"top[{i}]/low[{n}]/last" for i in (0, 1) for n in (0, 2)}
    assert {address for address in calls(run.id) if address.endswith("last")} == ends


def test_with_continue_a_try_still_stops_its_body_and_catches() -> None:
    def body() -> Any:
        return wf.attempt(lambda: [fail("value"), chain()], catch=lambda error: one(error.type))

    run = go(body, on_error="continue")
    assert run.result() == "ValueError"
    assert "try.try/end" not in calls(run.id)


# -- resume and retry --------------------------------------------------------------------------------------------------


def test_an_error_that_was_caught_stays_caught_when_the_run_is_retried() -> None:
    def body() -> Any:
        a = wf.attempt(lambda: fail("value"), catch=lambda error: one(error.message))
        return [a, maybe(a)]

    run = go(body)
    assert failed(run) == ("RuntimeError", "maybe")
    forget_calls(run.id)
    mended = folder() / "mended"
    mended.touch()
    try:
        again = run.retry()
        assert again.result(10) == ["value 1", "mended"]
        assert calls(run.id) == {"maybe": 1}
    finally:
        mended.unlink()


def test_of_a_race_a_resumed_run_keeps_the_branch_that_was_recorded_first(inline: Moments) -> None:
    run = go(lambda: one.options(id="after")(wf.parallel(lambda: last(1), lambda: last.options(id="b")(2), first=True)))
    value = run.result()
    assert isinstance(run.store, MemoryStore)
    for moment in inline.by_run[run.id]:
        part = cut_at(run.store, run.id, moment)
        recorded = [event for event in SESSION._found(part, part.get(run.id)).events() if isinstance(event, Outcomes)]
        again = SESSION.resume(run.id, False, store=part)
        assert again.result(10) in ((value,) if recorded else (1, 2))
