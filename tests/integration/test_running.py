"""What steps may count on, on a real cluster: retries, timeouts, errors, output, life cycles, shapes."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import eventually, took

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("ready")]


def mark(path: str) -> int:
    """Note a call in a file; return how many there were."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, b"x")
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def flow_of(node: Any, *names: str) -> Any:
    """A workflow of one step that hands its inputs on."""
    namespace: dict[str, Any] = {"node": node, "wf": wf, "Any": Any}
    given = ", ".join(names)
    exec(f"@wf.workflow(name='flow')\ndef flow({given}): return node({given})", namespace)
    return namespace["flow"]


# -- retries -----------------------------------------------------------------------------------------------------------


@wf.node(retries=3, backoff=wf.Exponential(0.1))
def flaky(path: str, ctx: wf.Context) -> int:
    if mark(path) < 3:
        raise OSError("not yet")
    return ctx.attempt


def test_a_failed_task_is_tried_again_after_its_backoff_and_every_attempt_is_in_the_trace(tmp_path: Path) -> None:
    run = flow_of(flaky, "path").submit(str(tmp_path / "calls"))
    assert run.result(20) == 3
    rows = run.trace[["address", "attempt", "status"]].values.tolist()
    assert rows == [["flaky", 1, "failed"], ["flaky", 2, "failed"], ["flaky", 3, "completed"]]
    first, second, third = run["flaky"].attempts
    assert second.start - first.end >= 0.1
    assert third.start - second.end >= 0.2
    assert first.error.message == "not yet"


@wf.node(retries=2, retry_on=OSError)
def broken(path: str) -> int:
    mark(path)
    raise ValueError("for good")


def test_an_error_of_a_type_that_is_not_retried_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(wf.StepFailed) as failed:
        flow_of(broken, "path").submit(str(tmp_path / "calls")).result(20)
    assert isinstance(failed.value.__cause__, ValueError)
    assert (tmp_path / "calls").stat().st_size == 1


@wf.node(retries=1, backoff=wf.Fixed(0.0))
def hopeless(x: int) -> int:
    raise ValueError("no")


def test_a_task_whose_retries_are_used_up_says_how_often_it_was_tried() -> None:
    with pytest.raises(wf.StepFailed, match=r"step 'hopeless'.* failed after 2 attempts: ValueError: no"):
        flow_of(hopeless, "x").submit(1).result(20)


@wf.node(retries=1, backoff=wf.Fixed(1.0))
def waits(path: str) -> str:
    if mark(path) == 1:
        raise OSError("again")
    return "done"


@wf.node
def nap(i: int) -> int:
    time.sleep(0.1)
    return i


@wf.workflow
def busy(path: str, n: list[int]) -> tuple[str, list[int]]:
    return waits(path), nap.map(n)


def test_a_task_that_waits_for_its_retry_holds_no_worker_thread(tmp_path: Path) -> None:
    run = busy.submit(str(tmp_path / "calls"), list(range(16)))
    with took(0.9, 2.4):
        assert run.result(20) == ("done", list(range(16)))
    first, second = run["waits"].attempts
    naps = [run[f"nap[{i}]"].attempts[0] for i in range(16)]
    meanwhile = [a for a in naps if first.end < a.start and a.end < second.start]
    # Two workers nap while the task waits: more than one alone could do.
    assert len({a.worker for a in meanwhile}) == 2


# -- timeouts ----------------------------------------------------------------------------------------------------------


@wf.node(timeout=0.3)
def spin(how: str) -> None:
    if how == "loop":
        while True:
            pass
    elif how == "sleep":
        while True:
            time.sleep(0.01)
    elif how == "long sleep":
        time.sleep(30)
    else:
        ctypes.CDLL(None).sleep(30)


@wf.node
def slow(i: int) -> int:
    time.sleep(0.05)
    return i


@wf.workflow
def beside(how: str, n: list[int]) -> tuple[None, list[int]]:
    return spin(how), slow.map(n)


@pytest.mark.parametrize("how", ["loop", "sleep"])
def test_python_code_that_runs_too_long_is_stopped_and_its_neighbours_survive(how: str, client: Any) -> None:
    workers = set(client.run(os.getpid).values())
    run = beside.options(on_error="continue").submit(how, list(range(20)))
    with took(0.3, 5.0), pytest.raises(wf.StepFailed, match=r"timeout of 0\.3 s") as failed:
        run.result(30)
    assert isinstance(failed.value.__cause__, wf.TaskTimeout)
    assert isinstance(failed.value.__cause__, TimeoutError)
    assert [run[f"slow[{i}]"].output for i in range(20)] == list(range(20))
    assert run.trace.query("status == 'completed'").shape[0] == 20
    assert set(client.run(os.getpid).values()) == workers


@pytest.mark.parametrize("how", ["long sleep", "c"])
def test_a_call_that_cannot_be_stopped_costs_its_worker_and_its_neighbours_run_again(how: str, client: Any) -> None:
    workers = set(client.run(os.getpid).values())
    run = beside.options(on_error="continue").submit(how, list(range(20)))
    with took(0.3, 15.0), pytest.raises(wf.StepFailed, match="could not be stopped") as failed:
        run.result(30)
    assert isinstance(failed.value.__cause__, wf.TaskTimeout)
    assert [run[f"slow[{i}]"].output for i in range(20)] == list(range(20))
    client.wait_for_workers(2, timeout=20)
    assert len(set(client.run(os.getpid).values()) - workers) == 1


@wf.node(timeout=0.2, retries=1)
def slow_once(path: str) -> str:
    if mark(path) == 1:
        time.sleep(30)
    return "done"


def test_a_timeout_is_retried_as_any_error(tmp_path: Path) -> None:
    run = flow_of(slow_once, "path").submit(str(tmp_path / "calls"))
    assert run.result(30) == "done"
    assert [attempt.status for attempt in run["slow_once"].attempts] == ["failed", "completed"]


# -- errors ------------------------------------------------------------------------------------------------------------


class NotebookError(Exception):
    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"code {code}")

    def __reduce__(self) -> Any:
        return NotebookError, (self.code,)


def inner(x: int) -> int:
    try:
        return 1 // x
    except ZeroDivisionError as error:
        raise NotebookError(7) from error


@wf.node
def fails(x: int) -> int:
    return inner(x)


def test_an_error_keeps_its_type_its_text_its_cause_and_its_traceback_without_frames_of_wfnb() -> None:
    with pytest.raises(wf.StepFailed) as failed:
        flow_of(fails, "x").submit(0).result(20)
    error = failed.value
    assert (error.address, error.error_type) == ("fails", "NotebookError")
    assert isinstance(error.__cause__, NotebookError)
    assert error.__cause__.code == 7
    assert "return inner(x)" in error.traceback
    assert "ZeroDivisionError" in error.traceback
    assert os.path.join("wfnb", "dask") not in error.traceback
    assert "run.retry()" in str(error)


class Unpicklable(Exception):
    def __init__(self) -> None:
        self.lock = __import__("threading").Lock()
        super().__init__("locked")


@wf.node
def fails_oddly() -> int:
    raise Unpicklable


def test_an_error_that_cannot_be_pickled_is_still_told() -> None:
    with pytest.raises(wf.StepFailed, match="Unpicklable: locked") as failed:
        flow_of(fails_oddly).submit().result(20)
    assert "raise Unpicklable" in failed.value.traceback
    assert "Unpicklable: locked" in str(failed.value.__cause__)


@wf.node
def leaves() -> int:
    sys.exit(3)


def test_a_step_that_exits_fails_and_does_not_end_its_worker(client: Any) -> None:
    workers = set(client.run(os.getpid).values())
    with pytest.raises(wf.StepFailed, match="SystemExit"):
        flow_of(leaves).submit().result(20)
    assert set(client.run(os.getpid).values()) == workers


@wf.node
def lock_up() -> Any:
    return __import__("threading").Lock()


def test_a_value_that_cannot_be_stored_fails_its_step_with_the_cure() -> None:
    with pytest.raises(wf.StepFailed, match="checkpoint=False"):
        flow_of(lock_up).submit().result(20)


@wf.node
def wrong(x: int) -> int:
    return str(x)  # type: ignore[return-value]


def test_a_value_that_does_not_fit_the_annotation_fails_its_step_once() -> None:
    run = flow_of(wrong.options(retries=3), "x").submit(1)
    with pytest.raises(wf.StepFailed, match="annotation says int"):
        run.result(20)
    assert len(run["wrong"].attempts) == 1


@wf.node
def odd(i: int) -> int:
    if i == 3:
        raise ValueError("three")
    return i


@wf.node
def plus(i: int) -> int:
    return i + 1


@wf.node
def gather(xs: list[int]) -> int:
    return sum(xs)


@wf.workflow
def partly(n: list[int]) -> tuple[int, int]:
    return gather(plus.map(odd.map(n))), gather(plus.map(n))


def test_continue_finishes_all_that_does_not_depend_on_what_failed() -> None:
    run = partly.options(on_error="continue").submit(list(range(6)))
    with pytest.raises(wf.StepFailed, match=r"odd\[3\]"):
        run.result(20)
    assert [run[f"plus[{i}]"].status for i in range(6)] == ["completed"] * 3 + ["skipped"] + ["completed"] * 2
    assert run["gather"].status == "skipped"
    assert run["gather_2"].output == 21


# -- what tasks say ----------------------------------------------------------------------------------------------------


@wf.node
def talks(i: int, ctx: wf.Context) -> int:
    print("out", i)
    print("err", i, file=sys.stderr)
    logging.getLogger("mine").warning("warned %d", i)
    logging.info("informed %d", i)
    ctx.log.debug("detail %d", i)
    return i


@wf.workflow
def talk(n: list[int]) -> list[int]:
    return talks.map(n)


def test_what_a_task_prints_and_logs_is_kept_with_its_address() -> None:
    run = talk.submit([0, 1, 2])
    run.result(20)
    assert [(row.stream, row.text) for row in run.logs("talks[1]")] == [
        ("stdout", "out 1\n"),
        ("stderr", "err 1\n"),
        ("warning", "mine: warned 1\n"),
        ("info", "root: informed 1\n"),
        ("debug", "wfnb.task: detail 1\n"),
    ]
    assert {row.address for row in run.logs()} == {"talks[0]", "talks[1]", "talks[2]"}
    assert run["talks[2]"].logs == run.logs("talks[2]")


@wf.node
def talks_and_fails() -> None:
    print("last words")
    raise ValueError("no")


def test_what_a_failed_task_printed_is_kept() -> None:
    run = flow_of(talks_and_fails).submit()
    with pytest.raises(wf.StepFailed):
        run.result(20)
    assert [row.text for row in run.logs("talks_and_fails")] == ["last words\n"]


@wf.node
def reports(path: str, ctx: wf.Context) -> str:
    ctx.progress(0.4, "almost half")
    while not os.path.exists(path):
        time.sleep(0.01)
    return f"{ctx.run_id} {ctx.address}"


def test_a_task_says_how_far_it_is_while_it_runs(tmp_path: Path) -> None:
    run = flow_of(reports, "path").submit(str(tmp_path / "gate"))
    view = eventually(lambda: (view := run._task("reports")).progress and view, what="the progress is seen")
    assert (view.progress, view.message) == (0.4, "almost half")
    (tmp_path / "gate").touch()
    assert run.result(20) == f"{run.id} reports"


def test_logs_are_seen_while_the_task_runs(tmp_path: Path) -> None:
    @wf.node
    def prints(path: str) -> None:
        print("begun")
        while not os.path.exists(path):
            time.sleep(0.01)

    run = flow_of(prints, "path").submit(str(tmp_path / "gate"))
    eventually(lambda: run.logs("prints"), what="the line is seen")
    eventually(lambda: run["prints"].status == "running", what="the task is seen running")
    (tmp_path / "gate").touch()
    run.result(20)


# -- kinds of nodes ----------------------------------------------------------------------------------------------------


@wf.node
async def later(x: int) -> int:
    await asyncio.sleep(0.01)
    return x + 1


def test_an_async_node_is_awaited_on_the_worker() -> None:
    assert flow_of(later, "x").submit(1).result(20) == 2


@wf.node(timeout=0.3)
async def never() -> None:
    await asyncio.sleep(30)


def test_an_async_node_that_runs_too_long_is_stopped(client: Any) -> None:
    workers = set(client.run(os.getpid).values())
    with took(0.3, 2.0), pytest.raises(wf.StepFailed, match=r"timeout of 0\.3 s"):
        flow_of(never).submit().result(20)
    assert set(client.run(os.getpid).values()) == workers


class Parse(wf.Node):
    class Params(wf.Params):
        sep: str = ","
        path: str = ""

    def validate_input(self, inputs: Any) -> None:
        if not inputs["text"]:
            raise ValueError("the text is empty")

    def prepare(self, context: wf.Context) -> None:
        print(f"prepare {context.address}")

    def execute(self, text: str) -> list[str]:
        print("execute")
        if text == "boom":
            raise RuntimeError(text)
        return text.split(self.params.sep)

    def validate_output(self, value: Any) -> None:
        print("validate_output")

    def cleanup(self) -> None:
        print("cleanup")


def test_a_class_node_lives_its_whole_life_on_the_worker() -> None:
    run = flow_of(Parse(sep=";"), "text").submit("a;b")
    assert run.result(20) == ["a", "b"]
    address = run.trace["address"][0]
    texts = [row.text for row in run.logs(address)]
    assert texts == [f"prepare {address}\n", "execute\n", "validate_output\n", "cleanup\n"]


@pytest.mark.parametrize(("text", "said"), [("boom", ["execute\n", "cleanup\n"]), ("", ["cleanup\n"])])
def test_a_class_node_cleans_up_after_a_failure(text: str, said: list[str]) -> None:
    run = flow_of(Parse(), "text").submit(text)
    with pytest.raises(wf.StepFailed):
        run.result(20)
    assert [row.text for row in run.logs() if not row.text.startswith("prepare")] == said


# -- shapes ------------------------------------------------------------------------------------------------------------


@wf.node
def split(x: int) -> tuple[int, int]:
    return x, -x


@wf.node
def stats(xs: list[int]) -> dict[str, Any]:
    return {"low": min(xs), "all": xs}


@wf.node
def times(x: int, y: int) -> int:
    return x * y


@wf.workflow
def nested(n: list[int], by: int) -> list[int]:
    return times.map(times.map(n, y=by), y=by)


@wf.workflow
def shapes(n: list[int]) -> dict[str, Any]:
    plus_one, minus = split(3)
    inside = nested(n, 10)
    grid = times.expand(x=[1, 2], y=[10, 20, 30])
    summary = stats(inside)
    return {
        "parts": [plus_one, minus],
        "nested": inside,
        "grid": grid,
        "low": summary["low"] + 1,
        "again": plus.map(summary["all"]),
        "sum": gather(grid),
        "constant": None,
    }


def test_steps_of_every_shape_give_what_plain_calls_give(store: str) -> None:
    assert shapes.options(store=store).submit([1, 2]).result(20) == {
        "parts": [3, -3],
        "nested": [100, 200],
        "grid": [10, 20, 30, 20, 40, 60],
        "low": 101,
        "again": [101, 201],
        "sum": 180,
        "constant": None,
    }


@wf.node
def same(x: Any) -> Any:
    return x


@wf.workflow
def sames(xs: list[Any]) -> list[Any]:
    return same.map(same.map(xs))


def test_falsy_values_are_values(store: str) -> None:
    falsy = [None, 0, "", [], {}, False, 0.0, (), b""]
    found = sames.options(store=store).submit(falsy).result(20)
    assert found == falsy
    assert list(map(type, found)) == list(map(type, falsy))


@wf.workflow
def total_of(xs: list[int]) -> int:
    return gather(plus.map(xs))


def test_a_map_over_nothing_is_an_empty_list() -> None:
    assert total_of.submit([]).result(20) == 0


def test_a_workflow_without_steps_gives_its_inputs() -> None:
    @wf.workflow
    def through(x: int, y: int = 2) -> list[int]:
        return [y, x]

    assert through.submit(1).result(20) == [2, 1]


def test_the_value_is_the_same_in_the_kernel_and_on_the_cluster(ready: str) -> None:
    assert total_of.options(cluster="inline").submit([1, 2, 3]).result(20) == total_of.submit([1, 2, 3]).result(20) == 9


@wf.node
def lengths(n: int) -> Any:
    return n


@wf.workflow
def maps_a_number(n: int) -> list[int]:
    return plus.map(lengths(n))


@wf.workflow
def maps_differing(n: int) -> list[int]:
    return times.map(numbers(n), [1, 2])


@wf.node
def numbers(n: int) -> list[int]:
    return list(range(n))


@pytest.mark.parametrize(
    ("flow", "words"), [(maps_a_number, "step 'plus' cannot map over"), (maps_differing, "differ in length")]
)
def test_a_list_that_turns_out_wrong_while_it_runs_fails_the_run_and_says_why(flow: Any, words: str) -> None:
    run = flow.submit(3)
    with pytest.raises(wf.RunError, match=words):
        run.result(20)
    assert run.status == "failed"


def test_a_notebook_s_functions_classes_and_modules_reach_the_workers(notebook: Any) -> None:
    notebook.cell("import math, wfnb as wf\nfrom dataclasses import dataclass\nSCALE = 3")
    notebook.cell("""
@dataclass
class Point:
    x: float
    y: float
    def far(self):
        return math.hypot(self.x, self.y) * SCALE
def helper(point):
    return Point(point.x * 2, point.y)
""")
    notebook.cell("""
@wf.node
def make(x: float) -> Point: return Point(x, 4.0)
@wf.node
def moved(point: Point) -> Point: return helper(point)
@wf.node
def far(point: Point) -> float: return point.far()
@wf.workflow
def flow(x: float) -> list:
    point = moved(make(x))
    return [point, far(point), point.x]
""")
    run = notebook["flow"].submit(1.5)
    point, far, x = run.result(20)
    assert (far, x) == (15.0, 3.0)
    assert (point.x, point.y) == (3.0, 4.0)
    assert isinstance(point, notebook["Point"])


def test_an_edited_module_reaches_running_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module_file = tmp_path / "wfnb_edited_module.py"
    module_file.write_text("def answer(x):\n    return x + 1\n")
    module = importlib.import_module("wfnb_edited_module")
    try:

        @wf.node
        def ask(x: int) -> int:
            return module.answer(x)

        @wf.node
        def import_and_ask(x: int) -> int:
            from wfnb_edited_module import answer

            return answer(x)

        @wf.workflow
        def flow(x: int) -> list[int]:
            return [ask(x), import_and_ask(x)]

        assert flow.submit(1).result(20) == [2, 2]
        module_file.write_text("def answer(x):\n    return x + 100\n")
        importlib.invalidate_caches()
        importlib.reload(module)
        assert flow.submit(1).result(20) == [101, 101]
    finally:
        sys.modules.pop("wfnb_edited_module", None)
