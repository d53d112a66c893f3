"""Why tasks ran or did not, as `run.explain` tells it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import GOOD, START, Cells, alone
from wfnb.session import SESSION

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::wfnb.NameWarning")]


@pytest.fixture(autouse=True)
def _session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch, tmp_path, f"sqlite:///{tmp_path}/runs.db")


@pytest.fixture
def cell() -> Cells:
    cells = Cells()
    cells(START)
    return cells


# -- why it ran --------------------------------------------------------------------------------------------------------


def test_the_first_time_is_told_as_such(cell: Cells) -> None:
    run = cell.run(ok=False)
    assert run.explain("load").reason == "it ran, because it had not run before in this run"
    assert run.explain("train[2]").reason == (
        "it ran for the first time: no earlier run of 'flow' in the store has this step"
    )


def test_an_edited_helper_is_named_with_the_difference_and_so_it_is_for_what_comes_after(cell: Cells) -> None:
    run = cell.run(ok=False)
    cell(GOOD)
    cell("def clean(x):\n    return x * SCALE + 1")
    run.retry().result(30)
    told = run.explain("train[2]")
    assert (told.address, told.status) == ("train[2]", "completed")
    assert told.reason == "it ran again, because helper 'clean' changed"
    assert told.diff.splitlines()[-2:] == ["-    return x * SCALE", "+    return x * SCALE + 1"]
    after = run.explain("best")
    assert after.reason == "it ran again, because 'train' before it ran again: helper 'clean' changed"
    assert after.diff == told.diff
    assert run.explain("train").reason == told.reason


def test_what_is_kept_says_so_and_why_it_ran_before(cell: Cells) -> None:
    run = cell.run(ok=False)
    cell(GOOD)
    run.retry().result(30)
    told = run.explain("load")
    assert told.reason.startswith("it is kept from before: the run was taken up again on ")
    assert told.detail[0] == "Before: it ran, because it had not run before in this run"


def test_a_fork_names_the_run_whose_values_it_shares_and_what_it_runs_itself(cell: Cells) -> None:
    cell(GOOD)
    first = cell.run(3)
    cell("def clean(x):\n    return x * SCALE + 1")
    fork = first.fork()
    fork.result(30)
    assert fork.explain("load").reason == (
        f"it is kept from before: run '{first.id}', of which this is a fork, made its value, and neither it nor what "
        "it uses was edited"
    )
    assert fork.explain("train[1]").reason == "it ran again, because helper 'clean' changed"
    assert "+    return x * SCALE + 1" in fork.explain("train[1]").diff
    chosen = first.fork("best")
    chosen.result(30)
    assert chosen.explain("best").reason == "it ran again, because run.fork(from_='best') asked for it"


def test_a_failed_task_that_was_mended_names_its_error_and_the_edit(cell: Cells) -> None:
    run = cell.run(ok=False)
    before = run.explain("publish")
    assert (before.status, before.reason) == ("failed", "it failed: ValueError: no")
    cell(GOOD)
    run.retry().result(30)
    told = run.explain("publish")
    assert told.reason == "it ran again when the run was taken up again: attempt 1 failed with ValueError: no"
    assert '-    raise ValueError("no")' in told.diff.splitlines()


def test_a_retry_in_the_same_run_names_the_error(cell: Cells, tmp_path: Path) -> None:
    cell.names["path"] = str(tmp_path / "once")
    cell("""
        @wf.node(retries=1)
        def shaky(path):
            import os
            if not os.path.exists(path):
                open(path, "w").close()
                raise OSError("not yet")
            return 1

        @wf.workflow
        def once(path):
            return shaky(path)
    """)
    run = cell.run(str(tmp_path / "once"), flow="once")
    assert run.explain("shaky").detail[0] == "It was tried again: attempt 1 failed with OSError: not yet"


def test_an_answer_names_the_run_and_the_task_that_made_it_however_often_it_was_answered_since(cell: Cells) -> None:
    first = cell.run(flow="known")
    cell.run(flow="known")
    cell.names["again"] = wf.workflow(name="again")(lambda: cell.names["train"].map([1, 3]))
    run = cell.run(flow="again")
    assert run.explain("train[1]").reason == (
        f"it was answered from the store: task 'train[3]' of run '{first.id}' made the value, and its code and its "
        "arguments are the same"
    )


def test_an_answer_from_a_run_that_is_gone_names_the_run_it_was_read_from(cell: Cells) -> None:
    first, second = cell.run(flow="known"), cell.run(flow="known")
    run = cell.run(flow="known")
    SESSION.store().delete(first.id)
    assert f"task 'train[3]' of run '{second.id}' made the value" in run.explain("train[3]").reason
    SESSION.store().delete(second.id)
    assert f"run '{second.id}' made the value" in run.explain("train[3]").reason


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("SCALE = 7", "it ran, because global 'SCALE' changed since run '{}'"),
        ("def clean(x):\n    return x", "it ran, because helper 'clean' changed since run '{}'"),
    ],
)
def test_a_step_that_could_have_been_answered_says_what_changed_since_the_last_run(
    cell: Cells, edit: str, reason: str
) -> None:
    first = cell.run(flow="known")
    cell(edit)
    run = cell.run(flow="known")
    assert run.explain("train[1]").reason == reason.format(first.id)
    assert run.explain("train[1]").diff


def test_a_step_that_was_given_something_else_names_the_input(cell: Cells) -> None:
    cell("@wf.workflow\ndef given(x, y):\n    return train(x)")
    first = cell.run(1, 1, flow="given")
    run = cell.run(2, 1, flow="given")
    assert run.explain("train").reason == f"it ran, because input 'x' has another value than in run '{first.id}'"


def test_a_step_behind_one_that_ran_names_it_and_the_input(cell: Cells) -> None:
    cell(GOOD)
    first = cell.run(3)
    told = cell.run(4).explain("train[3]")
    assert told.reason == "it ran, because 'load' before it ran, and gave what was not known from an earlier run"
    assert told.detail == (f"Input 'n' has another value than in run '{first.id}'",)


@pytest.mark.filterwarnings("ignore::wfnb.CacheWarning")
def test_a_step_that_cannot_be_answered_says_why(cell: Cells) -> None:
    cell("SCALE = [1]\nfor _ in range(200):\n    SCALE = [SCALE]\n\ndef clean(x):\n    return SCALE and 1")
    told = cell.run(flow="known").explain("train[0]")
    assert told.reason.startswith("it ran although it has cache=True: the global 'SCALE' cannot be fingerprinted")


# -- why it did not ----------------------------------------------------------------------------------------------------


def test_a_condition_that_was_false_is_told_with_what_it_uses(cell: Cells) -> None:
    cell("@wf.workflow\ndef perhaps(n: int):\n    xs = load(n)\n    return best.options(when=xs[0] > 5)(xs)")
    told = cell.run(1, flow="perhaps").explain("best")
    assert (told.status, told.reason) == ("skipped", "it was skipped, because its condition was false")
    assert told.detail == ("It uses 'load'",)


def test_what_is_behind_a_failed_step_names_it_and_its_error(cell: Cells) -> None:
    cell("@wf.workflow\ndef behind(n: int):\n    return best(publish.map(load(n)))")
    told = cell.run(2, flow="behind", ok=False, on_error="continue").explain("best")
    assert (told.status, told.reason) == (
        "skipped",
        "it was skipped, because 'publish' before it failed: ValueError: no",
    )


def test_a_case_that_was_not_taken_names_the_switch(cell: Cells) -> None:
    cell("""
        @wf.workflow
        def either(kind: str):
            return wf.switch(kind, {"a": lambda: load(1), "b": lambda: load(2)})
    """)
    run = cell.run("a", flow="either")
    off = next(step.id for step in run.snapshot().steps if step.unused == "not taken")
    assert run.explain(off).reason == "it was not needed: switch 'switch' took another case"


def test_a_catch_that_was_not_needed_names_what_did_not_fail(cell: Cells) -> None:
    cell("@wf.workflow\ndef caught(n: int):\n    return wf.attempt(lambda: load(n), catch=lambda e: load(0))")
    run = cell.run(1, flow="caught")
    off = next(step.id for step in run.snapshot().steps if step.unused == "not needed")
    assert run.explain(off).reason.startswith("it was not needed: nothing in '")


def wait_for(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_it_runs_waiting_steps_name_what_they_wait_for_and_afterwards_who_cancelled(
    cell: Cells, tmp_path: Path
) -> None:
    cell("""
        @wf.node
        def slow(path):
            import os, time
            while not os.path.exists(path):
                time.sleep(0.01)
            return 1

        @wf.workflow
        def waiting(path):
            return best([slow(path)])
    """)
    flag = str(tmp_path / "flag")
    run = cell.names["waiting"].options(view=False).submit(flag)
    try:
        wait_for(lambda: run["slow"].status == "running")
        assert run.explain("slow").reason.startswith("it runs for ")
        assert run.explain("best").reason == "it has not run yet: it waits for 'slow'"
        run.pause()
        wait_for(lambda: run.status == "paused")
        assert run.explain("best").reason.startswith("it has not run yet: the run is paused, asked for by ")
        run.cancel()
        with pytest.raises(wf.RunCancelled):
            run.result(30)
    finally:
        Path(flag).touch()
    assert run.explain("slow").reason.startswith("the run was cancelled while it ran, asked for by ")
    assert "cancelled before" in run.explain("best").reason


def test_an_unknown_address_is_answered_as_everywhere(cell: Cells) -> None:
    run = cell.run(ok=False)
    with pytest.raises(KeyError, match=r"train\[7\]"):
        run.explain("train[7]")
    with pytest.raises(KeyError, match="Did you mean"):
        run.explain("lode")


def test_a_step_as_a_whole_lists_its_tasks(cell: Cells) -> None:
    told = cell.run(ok=False).explain("train")
    assert told.detail == ("Its tasks: 3/3", "run.explain('train[0]') explains one of them")


def test_a_step_as_a_whole_that_failed_names_the_task_it_failed_by(cell: Cells) -> None:
    cell("@wf.workflow\ndef flow(n: int = 3):\n    return publish.map(load(n))")
    assert cell.run(ok=False).explain("publish").reason.startswith("'publish[0]' in it failed: ValueError: no")


# -- as it is shown ----------------------------------------------------------------------------------------------------


def test_an_explanation_is_text_and_a_page_without_markup_from_outside(cell: Cells) -> None:
    run = cell.run(ok=False)
    cell(GOOD)
    cell("def clean(x):\n    return x * len('<script>')")
    run.retry().result(30)
    told = run.explain("train[0]")
    lines = repr(told).splitlines()
    assert lines[0] == "train[0] (completed): it ran again, because helper 'clean' changed"
    assert lines[1] == "  Also, global 'SCALE' is no longer used"
    assert "  +    return x * len('<script>')" in lines
    assert "<script>" not in told._repr_html_()
    assert "&lt;script&gt;" in told._repr_html_()


def test_another_process_tells_the_same_without_loading_code(cell: Cells, tmp_path: Path) -> None:
    run = cell.run(ok=False)
    cell(GOOD)
    cell("def clean(x):\n    return x * SCALE + 1")
    run.retry().result(30)
    code = "import sys, wfnb as wf; print(wf.get_run(sys.argv[1]).explain('train[2]'))"
    env = {**os.environ, "WFNB_STORE": SESSION.store().url}
    command = [sys.executable, "-W", "error", "-c", code, run.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env, cwd=tmp_path)
    assert done.stdout.rstrip("\n") == repr(run.explain("train[2]")), done.stderr


def test_a_run_without_sources_is_explained_without_a_difference(cell: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cell.run(ok=False)
    cell(GOOD)
    run.retry().result(30)
    monkeypatch.setattr("wfnb.prepared.unpack_sources", lambda _: (_ for _ in ()).throw(ValueError("damaged")))
    told = run.explain("train[1]")
    assert told.diff == ""
    assert told.reason.startswith("it is kept from before")


def test_the_picture_names_edited_steps_and_counts_the_tasks_made_again(cell: Cells) -> None:
    run = cell.run(ok=False)
    cell(GOOD)
    cell("def clean(x):\n    return x * SCALE + 1")
    run.retry().result(30)
    again = (
        "run again: train (helper 'clean' changed), publish (function 'publish' changed) and what uses them: 5 tasks"
    )
    assert again in repr(run)
