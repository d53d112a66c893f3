"""Promises of the folds about constructs: what loops, items, cases and catches look like, and where their tasks are."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from tests.engine.test_folds import AGAIN, BOOM, T, column, outcomes, step
from wfnb.engine.facts import StepView
from wfnb.engine.folds import RunFold
from wfnb.model.events import Column, Grown, Logs, Outcomes, RunEnded, Running, RunStarted


def within(name: str, group: str, *uses: str, **more: Any) -> dict[str, Any]:
    """A step of a construct's body."""
    return {**step(name, *uses, group=group), **more}


def built(name: str, kind: str, group: str = "", *uses: str, **more: Any) -> dict[str, Any]:
    """A construct."""
    return {**step(name, *uses, group=group), "kind": kind, "node": "", **more}


def helper(name: str, group: str, *uses: str) -> dict[str, Any]:
    return {**step(name, *uses, group=group), "helper": True}


LOOP = (
    built("refine", "loop"),
    within("refine.*/fit", "refine"),
    within("refine.*/score", "refine", "refine.*/fit"),
    helper("refine.*.until", "refine", "refine.*/score"),
    step("best", "refine"),
)
SWITCH = (
    step("load"),
    built("route", "switch"),
    helper("route.choice", "route", "load"),
    within("route.case/parse", "route", "load"),
    within("route.case_1/read", "route", "load"),
    within("route.default/reject", "route", "load"),
)
TRY = (
    built("safe", "try"),
    within("safe.try/publish", "safe"),
    within("safe.try/check", "safe", "safe.try/publish"),
    within("safe.catch/alert", "safe"),
    within("safe.finally/tidy", "safe"),
)


def fold(*steps: dict[str, Any], widths: dict[str, int] | None = None) -> RunFold:
    run = RunFold({"steps": list(steps)})
    run.add(RunStarted(T, "driver", "code", widths or {}))
    return run


def seen(run: RunFold) -> dict[str, StepView]:
    return {view.id: view for view in run.view(T + 10).steps}


def done(run: RunFold, *names: str) -> None:
    run.add(outcomes(*(column(name, b"C", pack=f"pack of {name}") for name in names)))


# -- loops -------------------------------------------------------------------------------------------------------------


def test_a_step_of_a_loop_counts_its_iterations_and_the_total_is_open_while_it_turns() -> None:
    run = fold(*LOOP)
    done(run, "refine.0/fit", "refine.0/score")
    run.add(outcomes(column("refine.0.until", b"C", size=0)))
    done(run, "refine.1/fit")
    view, steps = run.view(T + 10), seen(run)
    assert (steps["refine.*/fit"].counts.completed, steps["refine.*/fit"].width) == (2, None)
    assert (steps["refine"].times, steps["refine"].status, steps["refine"].counts.completed) == (2, "running", 3)
    assert (view.done, view.total) == (3, None)


def test_a_loop_that_decided_to_end_is_complete_and_its_total_known() -> None:
    run = fold(*LOOP)
    for turn in range(3):
        done(run, f"refine.{turn}/fit", f"refine.{turn}/score")
        run.add(outcomes(column(f"refine.{turn}.until", b"C", size=turn // 2)))
    view, steps = run.view(T + 10), seen(run)
    assert (steps["refine"].status, steps["refine"].times, steps["refine"].width) == ("completed", 3, 6)
    assert steps["refine.*/fit"].status == "completed"
    assert (view.done, view.total) == (6, 7)


def test_decisions_are_no_tasks_of_their_own_unless_they_fail() -> None:
    run = fold(*LOOP)
    done(run, "refine.0/fit", "refine.0/score")
    run.add(outcomes(column("refine.0.until", b"f", errors={0: BOOM})))
    run.add(RunEnded(T + 2, "failed", "refine.0.until"))
    view = run.view(T + 3)
    assert (view.done, view.failed) == (2, 1)
    assert seen(run)["refine"].status == "failed"
    assert seen(run)["best"].status == "skipped"
    assert view.error is not None
    assert view.error.address == "refine.0.until"


def test_the_number_of_iterations_may_be_known_before() -> None:
    steps = (built("refine", "loop"), helper("refine.times", "refine"), within("refine.*/fit", "refine"))
    run = fold(*steps)
    run.add(outcomes(column("refine.times", b"C", size=5)))
    done(run, "refine.0/fit")
    assert (seen(run)["refine.*/fit"].width, seen(run)["refine"].times, run.view(T).total) == (5, 5, 5)
    assert seen(run)["refine.*/fit"].counts.pending == 4
    assert run.task("refine.4/fit").status == "pending"


def test_a_loop_inside_each_item_sums_up() -> None:
    run = fold(
        built("outer", "each"),
        built("outer[]/refine", "loop", "outer"),
        within("outer[]/refine.*/fit", "outer[]/refine"),
        widths={"outer": 2},
    )
    done(run, "outer[0]/refine.0/fit", "outer[1]/refine.0/fit", "outer[1]/refine.1/fit")
    steps = seen(run)
    assert (steps["outer"].times, steps["outer[]/refine"].times) == (2, 3)
    assert steps["outer[]/refine.*/fit"].counts.completed == 3
    assert run.task("outer[1]/refine.1/fit").pack == "pack of outer[1]/refine.1/fit"


# -- items -------------------------------------------------------------------------------------------------------------


def test_items_that_run_as_an_array_have_addresses_of_their_own() -> None:
    run = fold(within("each[]/fit", "each", kind="map"), widths={"each[]/fit": 4})
    run.add(outcomes(column("each[]/fit", b"CC", 2, pack="p", offset=7)))
    task = run.task("each[3]/fit")
    assert (task.address, task.step, task.index, task.pack, task.offset) == ("each[3]/fit", "each[]/fit", 3, "p", 8)
    assert (task.template, run.task("each[0]/fit").status) == ("each[]/fit", "pending")
    assert run.trace_rows()["address"] == ["each[2]/fit", "each[3]/fit"]
    steps = seen(run)
    assert (steps["each"].construct, steps["each"].kind, steps["each"].times) == (True, "each", 4)
    assert (steps["each[]/fit"].width, steps["each[]/fit"].counts.completed) == (4, 2)


def test_a_fan_out_inside_a_body_has_its_own_elements() -> None:
    run = fold(
        step("load"),
        built("each", "each", "", over=("load",)),
        within("each[]/read", "each"),
        {**within("each[]/train", "each"), "kind": "map", "over": ("each[]/read",)},
    )
    run.add(outcomes(column("load", b"C", size=2)))
    run.add(outcomes(column("each[1]/read", b"C", size=9)))
    run.add(outcomes(column("each[1]/train", b"CCf", 5, errors={2: BOOM})))
    assert (run.task("each[1]/train[7]").status, run.task("each[1]/train[0]").status) == ("failed", "pending")
    steps = seen(run)
    assert (steps["each"].times, steps["each[]/read"].width, steps["each[]/train"].width) == (2, 2, None)
    assert steps["each[]/train"].counts.pending == 6
    with pytest.raises(KeyError, match=r"the last of 'each\[\]/train' so far is 'each\[1\]/train\[8\]'"):
        run.task("each[1]/train[9]")


def test_a_stream_knows_how_many_items_it_had_when_its_source_says_so() -> None:
    run = fold(
        built("rows", "stream"),
        {**within("rows.source", "rows"), "kind": "map"},
        {**within("rows[]/clean", "rows"), "kind": "map"},
    )
    run.add(outcomes(column("rows.source", b"CCC"), column("rows[]/clean", b"CC")))
    assert (run.task("rows.source[2]").status, run.task("rows[1]/clean").status) == ("completed", "completed")
    assert run.view(T).total is None
    assert seen(run)["rows"].times == 2
    run.add(outcomes(column("rows[]/clean", b"C", 2)))
    run.add(RunEnded(T + 9, "completed"))
    assert (run.view(T).total, seen(run)["rows"].status) == (6, "completed")


# -- cases and catches -------------------------------------------------------------------------------------------------


def test_the_case_that_was_taken_is_marked_and_the_others_are_not_taken() -> None:
    run = fold(*SWITCH)
    assert (run.view(T).total, seen(run)["route"].status) == (None, "pending")
    done(run, "load")
    run.add(outcomes(column("route.choice", b"C", size=1)))
    done(run, "route.case_1/read")
    steps, view = seen(run), run.view(T)
    assert (steps["route"].taken, steps["route"].status) == (("case_1",), "completed")
    assert [steps[f"route.{name}"].unused for name in ("case/parse", "case_1/read", "default/reject")] == [
        "not taken",
        "",
        "not taken",
    ]
    assert (view.done, view.total) == (2, 2)
    assert (run.task("route.case_1/read").status, run.task("route.case/parse").status) == ("completed", "pending")


def test_one_past_the_last_case_means_the_default() -> None:
    run = fold(*SWITCH)
    run.add(outcomes(column("route.choice", b"C", size=2)))
    assert seen(run)["route"].taken == ("default",)
    assert seen(run)["route.default/reject"].width == 1


def test_a_caught_failure_leaves_the_try_completed_and_the_run_without_an_error() -> None:
    run = fold(*TRY, step("after", "safe"))
    run.add(outcomes(column("safe.try/publish", b"f", errors={0: BOOM})))
    assert run.view(T).error is None
    done(run, "safe.catch/alert", "safe.finally/tidy", "after")
    run.add(RunEnded(T + 5, "completed"))
    steps, view = seen(run), run.view(T + 6)
    assert (steps["safe"].status, steps["safe"].taken) == ("completed", ("try", "catch", "finally"))
    assert (steps["safe.try/publish"].status, steps["safe.try/check"].unused) == ("failed", "not begun")
    assert (view.error, view.failed) == (None, 1)


def test_a_catch_that_nothing_needed_says_so() -> None:
    run = fold(*TRY)
    done(run, "safe.try/publish", "safe.try/check", "safe.finally/tidy")
    assert (run.view(T).total, seen(run)["safe"].status) == (3, "completed")
    run.add(RunEnded(T + 5, "completed"))
    assert seen(run)["safe.catch/alert"].unused == "not needed"


def test_a_failure_that_no_catch_took_fails_the_try_and_what_is_around_it() -> None:
    run = fold(
        built("each", "each", widths=3),
        built("each[]/safe", "try", "each"),
        within("each[]/safe.try/publish", "each[]/safe"),
        within("each[]/safe.catch/alert", "each[]/safe"),
        step("z", "each"),
    )
    run.add(outcomes(column("each[0]/safe.try/publish", b"f", errors={0: BOOM})))
    done(run, "each[0]/safe.catch/alert")
    run.add(outcomes(column("each[1]/safe.try/publish", b"f", errors={0: BOOM})))
    run.add(RunEnded(T + 5, "failed", "each[1]/safe.try/publish"))
    steps, error = seen(run), run.view(T).error
    assert (steps["each"].status, steps["each[]/safe"].status, steps["z"].status) == ("failed", "failed", "skipped")
    assert error is not None
    assert (error.address, error.message) == ("each[1]/safe.try/publish", "boom")


def test_a_construct_around_a_failure_that_was_caught_further_out_has_failed() -> None:
    run = fold(
        built("safe", "try"),
        built("safe.try/refine", "loop", "safe"),
        within("safe.try/refine.*/fit", "safe.try/refine"),
        within("safe.catch/alert", "safe"),
    )
    run.add(outcomes(column("safe.try/refine.0/fit", b"f", errors={0: BOOM})))
    done(run, "safe.catch/alert")
    run.add(RunEnded(T + 5, "completed"))
    assert (seen(run)["safe.try/refine"].status, seen(run)["safe"].status) == ("failed", "completed")


def test_a_condition_that_was_false_makes_a_task_skipped_with_the_value_none() -> None:
    run = fold(step("a"), step("b", "a"))
    run.add(outcomes(column("a", b"w")))
    assert (seen(run)["a"].status, run.task("a").status, run.task("a").without) == ("skipped", "skipped", True)
    done(run, "b")
    run.add(RunEnded(T, "completed"))
    assert seen(run)["b"].status == "completed"


def test_a_failure_that_is_gone_on_after_is_failed_and_no_error_of_the_run() -> None:
    run = fold(step("a"), step("b", "a"))
    run.add(outcomes(column("a", b"t", errors={0: BOOM})))
    done(run, "b")
    run.add(RunEnded(T, "completed"))
    view = run.view(T)
    assert (seen(run)["a"].status, view.error, view.failed) == ("failed", None, 1)
    assert (run.task("a").without, run.task("a").error) == (True, BOOM)


def test_a_construct_whose_condition_was_false_is_skipped() -> None:
    run = fold(helper("refine.when", ""), *LOOP)
    run.add(outcomes(column("refine.when", b"C", size=1)))
    steps = seen(run)
    assert (steps["refine"].status, steps["refine"].unused, steps["refine.*/fit"].unused) == ("skipped",) * 3
    assert run.view(T).total == 1


def test_the_branch_that_was_too_late_is_cancelled_and_the_parallel_is_not() -> None:
    run = fold(built("race", "parallel"), within("race/a", "race"), within("race/b", "race"))
    run.add(outcomes(column("race/a", b"C"), column("race/b", b"x")))
    run.add(RunEnded(T, "completed"))
    assert (seen(run)["race"].status, seen(run)["race/b"].status) == ("completed", "cancelled")


# -- what grows --------------------------------------------------------------------------------------------------------


def planned(*steps: dict[str, Any], at: str = "plan_steps") -> Grown:
    return Grown(at, "code", b"", json.dumps({"steps": list(steps)}))


def test_a_dynamic_step_shows_the_steps_it_planned() -> None:
    run = fold(built("plan_steps", "dynamic"), helper("plan_steps.plan", "plan_steps"), step("z", "plan_steps"))
    assert run.view(T).total == 1
    done(run, "plan_steps.plan")
    run.add(planned(within("plan_steps/a", "plan_steps"), within("plan_steps/b", "plan_steps", "plan_steps/a")))
    done(run, "plan_steps/a")
    assert [view.id for view in run.view(T).steps] == [
        "plan_steps",
        "plan_steps.plan",
        "plan_steps/a",
        "plan_steps/b",
        "z",
    ]
    assert (run.view(T).total, run.task("plan_steps/b").status) == (3, "pending")
    assert seen(run)["plan_steps"].status == "running"


def test_steps_planned_inside_a_loop_are_one_step_in_the_picture() -> None:
    run = fold(built("refine", "loop"), built("refine.*/plan", "dynamic", "refine"))
    for turn in (0, 1):
        at = f"refine.{turn}/plan"
        run.add(planned(within(f"{at}/a", at), at=at))
        done(run, f"{at}/a")
    assert seen(run)["refine.*/plan/a"].counts.completed == 2
    assert run.task("refine.1/plan/a").status == "completed"


def test_a_workflow_that_calls_itself_keeps_every_call() -> None:
    run = fold(
        built("count", "workflow"), within("down()/less", "down()"), built("down()/again", "workflow", "down()", "less")
    )
    done(run, "count/less", "count/again/less", "count/again/again/less")
    assert run.task("count/again/again/less").status == "completed"
    assert seen(run)["down()/less"].counts.completed == 3
    assert seen(run)["count"].counts.completed == 3


# -- taken up again ----------------------------------------------------------------------------------------------------


def test_a_step_made_anew_loses_all_its_iterations() -> None:
    run = fold(*LOOP)
    done(run, "refine.0/fit", "refine.0/score", "refine.1/fit")
    run.add(RunStarted(T + 9, "driver", "code", reset={"refine.*/fit": "its code changed"}))
    steps = seen(run)
    assert (steps["refine.*/fit"].counts.completed, steps["refine.*/score"].counts.completed) == (0, 1)
    assert steps["refine.*/fit"].reset == "its code changed"
    assert sorted(run.trace_rows()["address"]) == ["refine.0/fit", "refine.0/score", "refine.1/fit"]
    done(run, "refine.0/fit")
    assert len(run.task("refine.0/fit").attempts) == 2


def test_a_retry_keeps_failures_that_were_caught() -> None:
    run = fold(*TRY, step("other"))
    run.add(outcomes(column("safe.try/publish", b"f", errors={0: BOOM}), column("other", b"f", errors={0: BOOM})))
    done(run, "safe.catch/alert")
    run.add(RunEnded(T, "failed", "other"))
    run.add(RunStarted(T + 50, "driver", "code", retry=True))
    assert (run.task("safe.try/publish").status, run.task("other").status) == ("failed", "pending")
    assert seen(run)["safe"].taken == ("try", "catch")


def test_a_planned_step_is_kept_when_the_run_is_taken_up_again() -> None:
    run = fold(built("plan_steps", "dynamic"))
    run.add(planned(within("plan_steps/a", "plan_steps")))
    done(run, "plan_steps/a")
    run.add(RunStarted(T + 9, "driver", "code", fingerprints={"plan_steps.plan": "f"}))
    assert run.task("plan_steps/a").status == "completed"
    run.add(RunStarted(T + 19, "driver", "code", reset={"plan_steps.plan": "its code changed"}))
    assert run.task("plan_steps/a").status == "pending"


# -- looking -----------------------------------------------------------------------------------------------------------


def test_the_run_says_which_task_gave_its_value() -> None:
    run = fold(step("a"))
    assert run.output == ""
    done(run, "a")
    run.add(RunEnded(T, "completed", output="a"))
    assert run.output == "a"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("refine", r"'refine' is a loop: name one task of it, such as 'refine\.0/fit'"),
        ("refine.7/fit", r"the last of 'refine\.\*/fit' so far is 'refine\.1/fit'"),
        ("refine.1/fitt", r"Did you mean 'refine\.1/fit'\?"),
        ("refine.*/fit", r"the last of 'refine\.\*/fit' so far"),
    ],
)
def test_an_address_that_names_no_task_says_which_there_are(address: str, told: str) -> None:
    run = fold(*LOOP)
    done(run, "refine.0/fit", "refine.1/fit")
    with pytest.raises(KeyError, match=told):
        run.task(address)


def test_logs_are_found_by_task_iteration_step_and_construct() -> None:
    run = fold(*LOOP)
    names = ("refine.0/fit", "refine.1/fit", "refine.1/score", "refine.10/fit", "best")
    done(run, *names)
    run.add(Logs(tuple((name, 1, T, "stdout", name) for name in names)))

    def told(address: str) -> list[str]:
        return [row.text for row in run.logs(address)]

    assert told("refine.1/fit") == ["refine.1/fit"]
    assert told("refine.1") == ["refine.1/fit", "refine.1/score"]
    assert told("refine") == list(names[:4])
    assert told("refine.*/fit") == ["refine.0/fit", "refine.1/fit", "refine.10/fit"]
    assert told("refine.2") == []
    with pytest.raises(KeyError, match=r"Did you mean 'refine\.0/score'|Did you mean 'refine\.1/score'"):
        run.logs("refine.1/scor")


def test_a_running_and_a_retried_task_of_a_body_have_their_addresses_in_the_trace() -> None:
    run = fold(*LOOP)
    run.add(outcomes(column("refine.0/fit", b"f", errors={0: AGAIN})))
    run.add(Running("b2", "w2", "refine.0/fit", 0, 2, T + 3, progress=0.5))
    rows = run.trace_rows()
    assert (rows["address"], rows["status"]) == (["refine.0/fit"] * 2, ["failed", "running"])
    assert (seen(run)["refine"].status, seen(run)["refine.*/fit"].progress) == ("running", 0.5)
    run.add(outcomes(bundle="b2", ended=True))
    assert run.task("refine.0/fit").status == "pending"


def test_values_are_found_by_instance() -> None:
    run = fold(*LOOP, within("each[]/fit", "each", kind="map"), widths={"each[]/fit": 2})
    done(run, "refine.3/fit")
    run.add(outcomes(column("each[]/fit", b"Cw", pack="p", offset=5)))
    kept = [run.kept(name) for name in ("refine.3/fit", "each[1]/fit", "each[]/fit", "refine.4/fit")]
    assert [(one.many, one.places) for one in kept if one] == [
        (False, [("pack of refine.3/fit", 0)]),
        (False, [("", -1)]),
        (True, [("p", 5), ("", -1)]),
        (False, [None]),
    ]
    assert run.kept("nothing") is None


def test_what_had_not_begun_when_the_run_ended_is_said_not_to_have_begun() -> None:
    run = fold(step("a"), step("b", "a"))
    done(run, "a")
    run.add(RunEnded(T, "completed", output="a"))
    assert (seen(run)["b"].status, seen(run)["b"].unused) == ("pending", "not begun")


def turns(count: int) -> list[Outcomes]:
    names = [f"refine.{turn}/{name}" for turn in range(count) for name in ("fit", "score")]
    return [outcomes(Column(name, 0, 1, b"C", TIMES, TIMES, "p")) for name in names]


def test_tens_of_thousands_of_instances_fold_in_seconds_and_are_seen_at_once() -> None:
    run, events = fold(*LOOP), turns(20_000)
    began = time.perf_counter()
    for event in events:
        run.add(event)
    folded = time.perf_counter()
    view = run.view(T + 10)
    assert time.perf_counter() - folded < 0.2
    assert folded - began < 5
    assert (view.done, seen(run)["refine"].times) == (40_000, 20_000)


def test_an_instance_costs_some_hundred_bytes() -> None:
    run, events = fold(*LOOP), turns(2000)
    tracemalloc.start()
    for event in events:
        run.add(event)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 4000 * 700


TIMES = column("x", b"C").start


def test_a_while_is_asked_once_more_than_the_loop_turns() -> None:
    run = fold(
        built("turn", "loop"),
        within("turn.*.while/more", "turn"),
        helper("turn.*.while", "turn", "turn.*.while/more"),
        within("turn.*/fit", "turn"),
    )
    for turn in range(3):
        done(run, f"turn.{turn}.while/more")
        run.add(outcomes(column(f"turn.{turn}.while", b"C", size=int(turn < 2))))
        if turn < 2:
            done(run, f"turn.{turn}/fit")
    steps = seen(run)
    assert (steps["turn"].times, steps["turn"].status) == (2, "completed")
    assert (steps["turn.*.while/more"].width, steps["turn.*/fit"].width) == (3, 2)


def test_items_behind_a_failed_one_are_skipped() -> None:
    first = within("each[]/a", "each", kind="map")
    run = fold(first, within("each[]/b", "each", "each[]/a", kind="map"), widths={"each[]/a": 3})
    run.add(outcomes(column("each[]/a", b"CCf", errors={2: BOOM}), column("each[]/b", b"CC")))
    run.add(RunEnded(T, "failed", "each[2]/a"))
    assert (seen(run)["each[]/b"].status, seen(run)["each"].status) == ("skipped", "failed")


def test_an_each_of_nothing_is_complete_and_empty() -> None:
    run = fold(built("each", "each"), within("each[]/fit", "each"), step("z", "each"), widths={"each": 0})
    steps = seen(run)
    assert (steps["each"].status, steps["each"].times, steps["each[]/fit"].status) == ("completed", 0, "completed")
    done(run, "z")
    run.add(RunEnded(T, "completed"))
    assert (seen(run)["each"].unused, seen(run)["each[]/fit"].unused, run.view(T).total) == ("", "", 1)


def test_an_each_whose_condition_was_false_is_skipped_although_its_items_are_known() -> None:
    fit = within("each[]/fit", "each", kind="map")
    run = fold(helper("each.when", ""), built("each.if", "switch"), helper("each.none", ""), fit)
    run.add(RunStarted(T, "driver", "code", widths={"each[]/fit": 2}))
    run.add(outcomes(column("each.when", b"C", size=1), column("each.none", b"C")))
    run.add(RunEnded(T, "completed"))
    assert (seen(run)["each"].unused, seen(run)["each[]/fit"].unused) == ("skipped", "skipped")


def test_a_run_that_a_step_ended_has_no_error() -> None:
    run = fold(step("a"))
    done(run, "a")
    run.add(RunEnded(T, "completed", "a", output="a"))
    assert run.view(T).error is None


def test_a_construct_that_is_listed_behind_its_steps_stands_before_them() -> None:
    fit = within("each[]/fit", "each", "load", kind="map")
    run = fold(step("load"), fit, step("z", "each[]/fit"), built("each", "each"))
    assert [view.id for view in run.view(T).steps] == ["load", "each", "each[]/fit", "z"]
    run.add(outcomes(column("load", b"C", size=3)))
    run.add(outcomes(column("each[]/fit", b"C", 1)))
    assert (seen(run)["each[]/fit"].width, seen(run)["each"].times) == (3, 3)
