"""Promises of the folds: what a journal says of a run, its progress, trace and logs, with no clock."""

from __future__ import annotations

import time
from array import array
from typing import Any

import pytest

from wfnb.engine.folds import RunFold
from wfnb.model.events import (
    Column,
    Command,
    ErrorRecord,
    Logs,
    Outcomes,
    RunEnded,
    Running,
    RunStarted,
    Waiting,
    decode_event,
    encode_event,
)
from wfnb.views.text import text

T = 1_790_000_000.0
BOOM = ErrorRecord("ValueError", "boom", "Traceback: boom")
AGAIN = ErrorRecord("ValueError", "once more", retry_in=2.0)


def step(name: str, *uses: str, kind: str = "task", over: tuple[str, ...] = (), group: str = "") -> dict[str, Any]:
    return {"id": name, "node": name, "kind": kind, "group": group, "uses": uses, "over": over, "where": "In[1]"}


def column(
    name: str,
    status: bytes,
    lo: int = 0,
    *,
    attempt: int = 1,
    start: float = T,
    seconds: float = 1.0,
    errors: dict[int, ErrorRecord] | None = None,
    **more: Any,
) -> Column:
    begin = array("d", [start] * len(status))
    end = array("d", [start + seconds] * len(status))
    return Column(name, lo, attempt, status, begin.tobytes(), end.tobytes(), errors=errors or {}, **more)


def outcomes(*columns: Column, worker: str = "w1", bundle: str = "b1", ended: bool = False) -> Outcomes:
    return Outcomes(bundle, worker, columns, ended)


def fold(*steps: dict[str, Any], widths: dict[str, int] | None = None) -> RunFold:
    run = RunFold({"steps": list(steps)})
    run.add(RunStarted(T, "driver", "code", widths or {}))
    return run


def statuses(run: RunFold) -> dict[str, str]:
    return {view.id: view.status for view in run.view(T + 10).steps}


def test_a_run_nobody_took_up_is_queued_and_its_tasks_are_pending() -> None:
    view = RunFold({"steps": [step("a"), step("b", "a")]}).view(T, run_id="r", workflow="flow", created=T - 5)
    assert (view.status, view.done, view.total, view.started, view.elapsed) == ("queued", 0, 2, None, None)
    assert view.counts.pending == 2
    assert (view.run_id, view.workflow, view.created) == ("r", "flow", T - 5)


def test_outcomes_complete_steps() -> None:
    run = fold(step("a"), step("b", "a"))
    run.add(outcomes(column("a", b"C", seconds=2.0)))
    view = run.view(T + 4)
    assert (view.status, view.done, view.total, view.elapsed) == ("running", 1, 2, 4.0)
    assert (view.steps[0].status, view.steps[0].mean, view.steps[0].ended) == ("completed", 2.0, T + 2)
    assert view.steps[1].status == "pending"


def test_the_end_gives_the_run_its_status() -> None:
    run = fold(step("a"))
    run.add(outcomes(column("a", b"C")))
    run.add(RunEnded(T + 3, "completed"))
    view = run.view(T + 99)
    assert (view.status, view.elapsed, view.over, view.eta) == ("completed", 3.0, True, None)


def test_what_a_run_waits_for_shows_while_it_runs_and_waits() -> None:
    run = fold(step("a"))
    run.add(Waiting(T, "the cluster has no workers"))
    assert run.view(T).waiting == "the cluster has no workers"
    assert "waiting: the cluster has no workers" in text(run.view(T))
    assert run.view(T, status="interrupted").waiting == ""
    run.add(Waiting(T))
    assert run.view(T).waiting == ""
    for event in (RunStarted(T, "driver", "code"), RunEnded(T, "cancelled")):
        run.add(Waiting(T, "the cluster has no workers"))
        run.add(event)
        assert run.view(T).waiting == ""


def test_pause_and_resume_show_in_the_status_and_a_cancel_as_asked_for_until_it_is_done() -> None:
    run = fold(step("a"))
    run.add(Command("pause", "me", T))
    assert run.status == "paused"
    run.add(Command("resume", "me", T))
    assert run.status == "running"
    run.add(Command("cancel", "me", T))
    assert (run.status, run.view(T).asked) == ("running", "cancel")
    run.add(RunEnded(T, "cancelled"))
    assert (run.status, run.view(T).asked, statuses(run)) == ("cancelled", "", {"a": "cancelled"})


def test_a_status_decided_elsewhere_wins() -> None:
    assert fold(step("a")).view(T, status="interrupted").over


def test_the_first_outcome_of_a_task_counts() -> None:
    run = fold(step("m", kind="map"), widths={"m": 3})
    run.add(outcomes(column("m", b"CC", pack="first")))
    run.add(outcomes(column("m", b"CCC", pack="second", start=T + 5)))
    assert run.view(T).steps[0].counts.completed == 3
    assert run.task("m[1]").pack == "first"
    assert (run.task("m[2]").pack, run.task("m[2]").offset) == ("second", 2)


def test_a_failure_that_is_tried_again_is_retrying_and_then_what_comes_of_it() -> None:
    run = fold(step("a"))
    run.add(outcomes(column("a", b"f", errors={0: AGAIN})))
    assert (statuses(run), run.view(T).failed, run.view(T).counts.retrying) == ({"a": "retrying"}, 0, 1)
    run.add(outcomes(column("a", b"C", attempt=2, start=T + 3)))
    assert (statuses(run), run.view(T).error) == ({"a": "completed"}, None)
    assert [(a.attempt, a.status) for a in run.task("a").attempts] == [(1, "failed"), (2, "completed")]


def test_a_failed_run_names_its_error_and_what_was_skipped() -> None:
    run = fold(step("a"), step("m", "a", kind="map"), step("z", "m"), step("other"), widths={"m": 4})
    run.add(outcomes(column("a", b"C"), column("m", b"CCf", errors={2: BOOM})))
    run.add(RunEnded(T + 2, "failed", "m[2]"))
    view = run.view(T + 2)
    assert view.error is not None
    assert (view.error.address, view.error.type, view.error.message) == ("m[2]", "ValueError", "boom")
    assert statuses(run) == {"a": "completed", "m": "failed", "z": "skipped", "other": "pending"}


def test_a_run_that_failed_with_no_task_to_blame_says_why() -> None:
    run = fold(step("a"))
    run.add(RunEnded(T, "failed", "", "the cluster went away"))
    error = run.view(T).error
    assert error is not None
    assert (error.address, error.message) == ("", "the cluster went away")


def test_a_retry_puts_failed_and_skipped_tasks_back_and_keeps_finished_ones() -> None:
    run = fold(step("a"), step("b", "a"), step("c", "b"))
    run.add(outcomes(column("a", b"C"), column("b", b"f", errors={0: BOOM})))
    run.add(RunEnded(T, "failed", "b"))
    run.add(RunStarted(T + 50, "other", "code", retry=True))
    view = run.view(T + 51)
    assert statuses(run) == {"a": "completed", "b": "pending", "c": "pending"}
    assert (view.status, view.error, view.drivers, view.started) == ("running", None, 2, T)


def test_a_resume_keeps_failures_and_puts_running_tasks_back() -> None:
    run = fold(step("a"), step("b"))
    run.add(outcomes(column("a", b"f", errors={0: BOOM})))
    run.add(Running("b2", "w1", "b", 0, 1, T))
    run.add(RunStarted(T + 50, "other", "code"))
    assert statuses(run) == {"a": "failed", "b": "pending"}


def test_an_edited_step_loses_its_outcomes_and_keeps_its_trace() -> None:
    run = fold(step("a"), step("b", "a"))
    run.add(outcomes(column("a", b"C"), column("b", b"C", pack="old")))
    run.add(RunStarted(T + 9, "driver", "code", reset={"b": "its code changed"}))
    assert statuses(run) == {"a": "completed", "b": "pending"}
    assert run.view(T).steps[1].reset == "its code changed"
    assert run.task("b").pack == ""
    assert run.trace_rows()["address"] == ["a", "b"]


def test_a_width_that_a_step_decides_is_known_with_that_step() -> None:
    run = fold(step("a"), step("m", "a", kind="map", over=("a",)), step("n", "m", kind="map", over=("m",)))
    assert (run.view(T).total, run.view(T).eta) == (None, None)
    run.add(outcomes(column("a", b"C", size=7)))
    assert [view.width for view in run.view(T).steps] == [1, 7, 7]
    assert run.view(T).total == 15


def test_a_product_needs_all_its_lengths() -> None:
    run = fold(step("a"), step("b"), step("g", kind="expand", over=("a", "b")), widths={"g": 2})
    run.add(outcomes(column("a", b"C", size=3)))
    assert run.view(T).steps[2].width is None
    run.add(outcomes(column("b", b"C", size=5)))
    assert run.view(T).steps[2].width == 30


def test_a_fan_out_of_unknown_width_counts_what_it_sees_and_is_known_when_the_run_completed() -> None:
    run = fold(step("m", kind="map"))
    run.add(outcomes(column("m", b"CCC", 5)))
    assert (run.view(T).total, run.view(T).done) == (None, 3)
    run.add(outcomes(column("m", b"CCCCC")))
    run.add(RunEnded(T, "completed"))
    assert (run.view(T).total, statuses(run)) == (8, {"m": "completed"})


def test_an_empty_fan_out_is_complete() -> None:
    assert statuses(fold(step("m", kind="map"), widths={"m": 0})) == {"m": "completed"}


def test_outcomes_beyond_the_width_and_of_unknown_steps_are_ignored() -> None:
    run = fold(step("m", kind="map"), widths={"m": 2})
    run.add(outcomes(column("m", b"CCC"), column("gone", b"C")))
    run.add(Running("b", "w", "gone", 0, 1, T))
    run.add(None)
    assert run.view(T).done == 0


def test_a_running_task_says_how_far_it_is() -> None:
    run = fold(step("a"))
    run.add(Running("b1", "w7", "a", 0, 2, T, progress=0.4, message="epoch 4"))
    view = run.view(T).steps[0]
    assert (view.status, view.progress, view.message) == ("running", 0.4, "epoch 4")
    task = run.task("a")
    assert (task.status, task.worker, task.start, task.end, task.progress) == ("running", "w7", T, None, 0.4)
    assert (run.trace_rows()["status"], run.trace_rows()["end"]) == (["running"], [None])


def test_a_bundle_that_ended_gives_back_what_it_left() -> None:
    run = fold(step("a"), step("b"))
    run.add(Running("b1", "w1", "a", 0, 1, T))
    run.add(Running("b2", "w1", "b", 0, 1, T))
    run.add(outcomes(bundle="b1", ended=True))
    assert statuses(run) == {"a": "pending", "b": "running"}


def test_cached_tasks_count_as_done_and_not_as_work() -> None:
    run = fold(step("m", kind="map"), widths={"m": 4})
    run.add(outcomes(column("m", b"cccc")))
    view = run.view(T + 5)
    assert (view.cached, view.done, view.rate, view.steps[0].mean) == (4, 4, None, None)
    assert statuses(run) == {"m": "cached"}


def test_the_rate_is_of_the_recent_past() -> None:
    run = fold(step("m", kind="map"), widths={"m": 1000})
    run.add(outcomes(column("m", b"C" * 500, start=T)))
    run.add(outcomes(column("m", b"C" * 50, 500, start=T + 95)))
    assert run.view(T + 100).rate == 5.0


def test_time_left_follows_from_measured_durations_and_their_overlap() -> None:
    run = fold(step("m", kind="map"), widths={"m": 100})
    for second in range(8):  # two workers, one second a task
        run.add(outcomes(column("m", b"CC", 2 * second, start=T + second)))
    view = run.view(T + 8)
    assert view.eta == pytest.approx(42, rel=0.01)
    assert not view.eta_is_floor


def test_time_left_is_a_floor_while_a_step_was_never_measured() -> None:
    run = fold(step("m", kind="map"), step("z", "m"), widths={"m": 10})
    run.add(outcomes(column("m", b"CCCCC")))
    view = run.view(T + 5)
    assert view.eta == pytest.approx(5, rel=0.01)
    assert view.eta_is_floor


def test_time_left_is_never_less_than_the_longest_way() -> None:
    run = fold(
        step("m", kind="map"), {**step("x", "m"), "node": "m"}, {**step("y", "x"), "node": "m"}, widths={"m": 50}
    )
    run.add(outcomes(column("m", b"C" * 50, seconds=10.0)))
    assert run.view(T + 10).eta == pytest.approx(20)


def test_the_trace_has_a_row_for_every_attempt() -> None:
    run = fold(step("m", kind="map"), widths={"m": 2})
    run.add(outcomes(column("m", b"Cf", seconds=2.0, errors={1: AGAIN})))
    run.add(outcomes(column("m", b"C", 1, attempt=2, start=T + 4), worker="w2"))
    assert run.trace_rows() == {
        "address": ["m[0]", "m[1]", "m[1]"],
        "node": ["m", "m", "m"],
        "status": ["completed", "failed", "completed"],
        "attempt": [1, 1, 2],
        "worker": ["w1", "w1", "w2"],
        "start": [T, T, T + 4],
        "end": [T + 2, T + 2, T + 5],
        "duration": [2.0, 2.0, 1.0],
        "stopped": ["", "", ""],
    }


@pytest.mark.parametrize("statuses", [b"CCCC", b"cccc", b"CcCc", b"CfCs", b"xwtC"])
def test_outcomes_one_by_one_and_as_an_array_give_one_picture(statuses: bytes) -> None:
    errors = {place: BOOM for place, byte in enumerate(statuses) if byte in b"ft"}
    array, alone = (fold(step("m", kind="map"), widths={"m": 4}) for _ in range(2))
    array.add(outcomes(column("m", statuses, errors=errors, pack="p")))
    for place in (2, 0, 3, 1):
        own = {0: errors[place]} if place in errors else {}
        alone.add(Running("b1", "w1", "m", place, 1, T))
        alone.add(outcomes(column("m", statuses[place : place + 1], place, errors=own, pack="p", offset=place)))
    assert alone.view(T + 9) == array.view(T + 9)
    assert [alone.task(f"m[{place}]") for place in range(4)] == [array.task(f"m[{place}]") for place in range(4)]


def test_an_outcome_that_comes_twice_counts_once() -> None:
    run = fold(step("m", kind="map"), widths={"m": 3})
    for worker in ("w1", "w2"):
        run.add(outcomes(column("m", b"C", 1), worker=worker))
    view = run.view(T + 2)
    assert (view.counts.completed, view.counts.pending, view.rate) == (1, 2, 0.5)
    assert view.steps[0].attempts == 2


def test_while_nothing_happens_the_steps_are_not_drawn_anew() -> None:
    run = fold(step("a"), step("b", "a"))
    run.add(outcomes(column("a", b"C")))
    first = run.view(T + 1)
    later = run.view(T + 5)
    assert (later.steps is first.steps, later.now) == (True, T + 5)
    run.add(Running("b2", "w1", "b", 0, 1, T + 5))
    assert statuses(run) == {"a": "completed", "b": "running"}


def test_a_task_is_found_by_its_address() -> None:
    run = fold(step("clean/load", group="clean"), step("m", kind="map"), widths={"m": 3})
    run.add(outcomes(column("clean/load", b"C", pack="p", offset=4)))
    task = run.task("clean/load")
    assert (task.status, task.pack, task.offset, task.worker, task.start, task.end) == (
        "completed",
        "p",
        4,
        "w1",
        T,
        T + 1,
    )
    assert run.task("m[2]").status == "pending"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nothing", r"no task 'nothing'\. Known: 'apply', 'm\[0\]'"),
        ("aply", r"Did you mean 'apply'\?"),
        ("m[3]", r"the last of 'm' so far is 'm\[2\]'"),
        ("m[-1]", r"Did you mean 'm\[0\]'\?"),
        ("apply[0]", "'apply' is one task"),
        ("", "no task ''"),
    ],
)
def test_an_address_that_names_no_task_is_an_error_that_says_which_there_are(address: str, told: str) -> None:
    with pytest.raises(KeyError, match=told):
        fold(step("apply"), step("m", kind="map"), widths={"m": 3}).task(address)


def test_the_address_of_a_whole_fan_out_says_how_to_name_one_task() -> None:
    with pytest.raises(KeyError, match="such as 'm\\[0\\]'"):
        fold(step("m", kind="map"), widths={"m": 3}).task("m")


def test_logs_are_found_by_task_step_and_sub_workflow() -> None:
    run = fold(step("m", kind="map"))
    names = ("m[0]", "m[1]", "clean/load", "mm[0]")
    run.add(Logs(tuple((name, 1, T, "stdout", f"from {name}") for name in names)))
    assert [row.address for row in run.logs()] == list(names)
    assert [row.text for row in run.logs("m[1]")] == ["from m[1]"]
    assert [row.address for row in run.logs("m")] == ["m[0]", "m[1]"]
    assert [row.address for row in run.logs("clean")] == ["clean/load"]


def test_a_journal_read_back_folds_to_the_same_picture() -> None:
    events = [
        RunStarted(T, "driver", "code", {"m": 3}),
        outcomes(column("m", b"Cf", errors={1: AGAIN})),
        Running("b1", "w1", "m", 2, 1, T, progress=0.5),
        Command("pause", "me", T),
    ]
    one, other = RunFold({"steps": [step("m", kind="map")]}), RunFold({"steps": [step("m", kind="map")]})
    for event in events:
        one.add(event)
        other.add(decode_event(encode_event(event)))
    assert one.view(T + 1) == other.view(T + 1)


def test_a_million_outcomes_fold_in_seconds() -> None:
    run = fold(step("m", kind="map"), widths={"m": 1_000_000})
    times = array("d", [T + i / 1000 for i in range(1000)]).tobytes()
    events = [outcomes(Column("m", 1000 * i, 1, b"C" * 1000, times, times, f"p{i}")) for i in range(1000)]
    began = time.perf_counter()
    for event in events:
        run.add(event)
    view = run.view(T + 10)
    assert time.perf_counter() - began < 3
    assert view.done == 1_000_000
    assert run.task("m[999999]").pack == "p999"
