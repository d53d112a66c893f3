"""A cancel and a timeout truly end what runs, whatever it is; what runs beside it is only sent elsewhere."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import wfnb as wf
from tests.integration.support import acknowledged, eventually, took

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("ready")]

SOON = 10.0
"""Seconds a cancel may take on a machine busy with other things; `benchmarks.cancel` measures what it takes."""


def dwell(how: str, ctx: wf.Context) -> str:
    """Take a minute, each in another way."""
    if how == "token":
        while not ctx.cancelled:
            time.sleep(0.01)
    elif how == "loop":
        while True:
            pass
    elif how == "sleep":
        time.sleep(60)
    elif how == "command":
        subprocess.run(["sleep", "61.25"], check=True)
    elif how == "numpy":
        import numpy as np

        square = np.ones((400, 400))
        for _ in range(4000):
            square @ square @ square @ square
    elif how == "regex":
        re.match(r"(a+)+$", "a" * 45 + "b")
    else:
        ctypes.PyDLL(None).sleep(60)  # it keeps the interpreter while it sleeps
    return how


@wf.node
def hold(how: str, path: str, ctx: wf.Context) -> str:
    Path(path).touch()
    return dwell(how, ctx)


@wf.node
async def hold_async(path: str) -> None:
    Path(path).touch()
    await asyncio.sleep(60)


@wf.node
def noted(i: int, path: str) -> int:
    time.sleep(0.05)
    with Path(path).open("a") as file:
        file.write(f"{i}\n")
    return i


@wf.workflow
def holding(how: str, path: str) -> str:
    return hold(how, path)


@wf.workflow
def waiting(path: str) -> None:
    return hold_async(path)


@wf.workflow
def noting(n: list[int], path: str) -> list[int]:
    return noted.map(n, path=path)


def cancel(run: Any) -> None:
    with took(0, SOON):
        run.cancel()
        with pytest.raises(wf.RunCancelled):
            run.result(SOON)


HOW = [
    ("token", "token", "by its token"),
    ("loop", "exception", "by an exception in its thread"),
    ("numpy", "exception", "by an exception in its thread"),
    ("sleep", "process", "its worker process was ended"),
    ("command", "process", "its worker process was ended"),
    ("regex", "process", "its worker process was ended"),
    ("locked", "process", "its worker process was ended"),
]


@pytest.mark.parametrize(("how", "stopped", "said"), HOW)
def test_a_cancel_ends_what_runs_and_says_how(tmp_path: Path, client: Any, how: str, stopped: str, said: str) -> None:
    run = holding.submit(how, str(tmp_path / "begun"))
    eventually((tmp_path / "begun").exists, what="the task runs")
    time.sleep(0.2)
    cancel(run)
    task = run["hold"]
    assert task.status == "cancelled"
    assert [attempt.stopped for attempt in task.attempts] == [stopped]
    assert isinstance(task.error, wf.RunCancelled)
    assert "task 'hold' was cancelled" in str(task.error)
    assert said in str(task.error)
    assert list(run.trace["stopped"]) == [stopped]
    client.wait_for_workers(2, timeout=30)


def test_a_cancel_ends_an_asynchronous_task(tmp_path: Path) -> None:
    run = waiting.submit(str(tmp_path / "begun"))
    eventually((tmp_path / "begun").exists, what="the task runs")
    cancel(run)
    assert [attempt.stopped for attempt in run["hold_async"].attempts] == ["exception"]


def test_a_command_does_not_outlive_the_worker_that_started_it(tmp_path: Path, client: Any) -> None:
    def commands() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "61.25"]]

    run = holding.submit("command", str(tmp_path / "begun"))
    eventually(commands, what="the command runs")
    cancel(run)
    eventually(lambda: not commands(), what="the command is ended")
    client.wait_for_workers(2, timeout=30)


def test_what_is_queued_is_cancelled_without_being_called(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = noting.submit(list(range(200)), str(log))
    eventually(log.exists, what="some ran")
    cancel(run)
    count = len(log.read_text().splitlines())
    time.sleep(0.3)
    assert len(log.read_text().splitlines()) == count < 200


@pytest.mark.parametrize("how", ["sleep", "locked"])
def test_the_neighbours_of_an_ended_worker_are_run_elsewhere_and_nothing_finished_is_repeated(
    tmp_path: Path, client: Any, how: str
) -> None:
    log = tmp_path / "log"
    run = holding.submit(how, str(tmp_path / "begun"))
    eventually((tmp_path / "begun").exists, what="the task runs")
    beside = noting.submit(list(range(100)), str(log))
    eventually(log.exists, what="the other run is under way")
    cancel(run)
    assert beside.result(60) == list(range(100))
    assert set(acknowledged(beside.store, beside.id).values()) == {1}
    assert set(beside.trace["status"]) == {"completed"}
    # At most what was under way on the ended worker ran twice.
    assert len(log.read_text().splitlines()) <= 102
    client.wait_for_workers(2, timeout=30)


def test_cancels_one_after_the_other_do_not_break_a_run_beside_them(tmp_path: Path, client: Any) -> None:
    beside = noting.submit(list(range(250)), str(tmp_path / "log"))
    for number in range(4):
        begun = tmp_path / f"begun{number}"
        run = holding.options(priority="high").submit("sleep", str(begun))
        eventually(begun.exists, what="the task runs")
        cancel(run)
    assert beside.result(60) == list(range(250))
    client.wait_for_workers(2, timeout=30)


# -- timeouts ----------------------------------------------------------------------------------------------------------


@wf.node(timeout=0.4)
def limited(how: str, ctx: wf.Context) -> str:
    return dwell(how, ctx)


@wf.node(timeout=0.4, retries=1)
def limited_once(ctx: wf.Context) -> int:
    if ctx.attempt == 1:
        dwell("locked", ctx)
    return ctx.attempt


@wf.workflow
def limits(how: str, n: list[int], path: str) -> list[Any]:
    return [limited(how), noted.map(n, path=path)]


@wf.workflow
def limits_once() -> int:
    return limited_once()


@pytest.mark.parametrize(("how", "stopped"), [("token", "token"), ("loop", "exception"), ("locked", "process")])
def test_a_timeout_ends_what_runs_and_says_how(tmp_path: Path, client: Any, how: str, stopped: str) -> None:
    run = limits.options(on_error="continue").submit(how, list(range(20)), str(tmp_path / "log"))
    with took(0.4, 30), pytest.raises(wf.StepFailed, match=r"timeout of 0\.4 s") as failed:
        run.result(30)
    assert isinstance(failed.value.__cause__, wf.TaskTimeout)
    assert [attempt.stopped for attempt in run["limited"].attempts] == [stopped]
    assert [run[f"noted[{i}]"].output for i in range(20)] == list(range(20))
    client.wait_for_workers(2, timeout=30)


def test_a_call_that_holds_on_beyond_its_time_is_tried_again_as_any_error(client: Any) -> None:
    run = limits_once.submit()
    assert run.result(30) == 2
    assert [attempt.status for attempt in run["limited_once"].attempts] == ["failed", "completed"]
    client.wait_for_workers(2, timeout=30)


# -- cleaning up -------------------------------------------------------------------------------------------------------


class Opens(wf.Node):
    """A node that opens something and closes it again."""

    class Params(wf.Params):
        path: str = ""

    def prepare(self, context: wf.Context) -> None:
        Path(self.params.path + ".open").touch()

    def execute(self) -> None:
        while True:
            time.sleep(0.02)

    def cleanup(self) -> None:
        Path(self.params.path + ".closed").touch()


@wf.node
def tidy(path: str) -> None:
    Path(path).touch()


def test_cleanup_of_a_node_is_called_when_its_task_is_cancelled(tmp_path: Path) -> None:
    flow = wf.Workflow("opens").then(Opens(path=str(tmp_path / "file")))
    run = flow.submit()
    eventually((tmp_path / "file.open").exists, what="the task runs")
    cancel(run)
    eventually((tmp_path / "file.closed").exists, what="it is cleaned up")


@pytest.mark.parametrize("how", ["loop", "locked"])
def test_finally_is_run_when_its_body_is_cancelled_also_where_the_process_had_to_be_ended(
    tmp_path: Path, client: Any, how: str
) -> None:
    begun, tidied = str(tmp_path / "begun"), str(tmp_path / "tidied")

    @wf.workflow
    def tidying(how: str, begun: str, tidied: str) -> str:
        return wf.attempt(lambda: hold(how, begun), finally_=lambda: tidy(tidied))

    run = tidying.submit(how, begun, tidied)
    eventually(Path(begun).exists, what="the task runs")
    cancel(run)
    assert Path(tidied).exists()
    client.wait_for_workers(2, timeout=30)


# -- workers that die --------------------------------------------------------------------------------------------------


@wf.node
def dies(i: int, at: int) -> int:
    if i == at:
        os._exit(3)
    return i


@wf.node(retries=1)
def dies_at_first(ctx: wf.Context) -> int:
    if ctx.attempt == 1:
        os._exit(3)
    return ctx.attempt


@wf.workflow
def dying(n: list[int], at: int) -> list[int]:
    return dies.map(n, at=at)


@wf.workflow
def dying_at_first() -> int:
    return dies_at_first()


def test_a_step_that_ends_its_worker_fails_with_its_address_and_its_neighbours_do_not(client: Any) -> None:
    run = dying.options(on_error="continue").submit(list(range(50)), 33)
    with pytest.raises(wf.StepFailed, match="ended while they ran task") as failed:
        run.result(60)
    assert failed.value.address == "dies[33]"
    assert isinstance(failed.value.__cause__, wf.WorkerDied)
    assert [run[f"dies[{i}]"].status for i in range(50) if i != 33] == ["completed"] * 49
    client.wait_for_workers(2, timeout=30)


def test_a_step_that_ends_its_worker_is_tried_again_as_after_any_error(client: Any) -> None:
    run = dying_at_first.submit()
    assert run.result(60) == 2
    assert [attempt.status for attempt in run["dies_at_first"].attempts] == ["failed", "completed"]
    client.wait_for_workers(2, timeout=30)
