"""The stop button of Jupyter in a real kernel: the first press ends the wait, the second cancels the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.jupyter import Cell, Jupyter
from wfnb.session import SESSION
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(90)

SETUP = """
import asyncio, os, signal, time
import wfnb as wf
import wfnb.interrupts
wf.configure(store={store!r}, cluster={cluster!r})

@wf.node
def step(i: int) -> int:
    time.sleep(0.05)
    return i

@wf.workflow
def steps(numbers: list[int]) -> list[int]:
    return step.map(numbers)

LONG = list(range(400))
saved = lambda: get_ipython().kernel.saved_sigint_handler
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = f"sqlite:///{tmp_path_factory.mktemp('stops')}/runs.db"
    yield place
    open_store(place).close()


@pytest.fixture(scope="module")
def kernel(client: object, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """A kernel, connected to the cluster all tests share."""
    address = client.scheduler.address  # type: ignore[attr-defined]
    with Jupyter(tmp_path_factory.mktemp("notebook")) as kernel:
        kernel.run(SETUP.format(store=url, cluster=address))
        yield kernel


def status(url: str, run_id: str) -> str:
    store = open_store(url)
    return SESSION._found(store, store.get(run_id)).status


def stop_and_go(kernel: Jupyter, waiting: str = "run.result()") -> tuple[str, Cell]:
    """Start a run, wait for it in a cell and press the button once; return its id, and the cell."""
    run_id = kernel.run("run = steps.submit(LONG); print(run.id)").out.strip()
    cell = kernel.stopped(waiting)
    assert cell.error is not None
    assert f"run '{run_id}' goes on" in cell.error[1]
    assert f"wf.get_run('{run_id}').cancel(), or press stop again within 10 s" in cell.error[1]
    return run_id, cell


def test_a_second_press_between_cells_cancels_the_run_and_the_first_cell_says_so(kernel: Jupyter, url: str) -> None:
    run_id, cell = stop_and_go(kernel)
    assert cell.error is not None
    assert cell.error[0] == "KeyboardInterrupt"
    assert "hidden" in cell.traceback
    assert f"run '{run_id}' goes on. Press stop again within 10 s to cancel it." in cell.text
    assert status(url, run_id) == "running"
    kernel.stop()
    kernel.until(lambda: f"Stopped twice; run '{run_id}' is cancelled." in cell.text, what="the first cell says it")
    assert status(url, run_id) == "cancelled"
    after = kernel.run("print(saved() == signal.SIG_IGN, run.status)")
    assert after.out == "True cancelled\n"
    assert after.shown == []


def test_a_second_press_while_another_cell_waits_for_the_run_cancels_it_too(kernel: Jupyter, url: str) -> None:
    run_id, first = stop_and_go(kernel)
    second = kernel.stopped("run.result()")
    assert second.error is not None
    assert second.error[0] == "KeyboardInterrupt"
    assert f"pressed twice: run '{run_id}' is being cancelled" in second.error[1]
    kernel.until(lambda: f"run '{run_id}' is cancelled." in first.text, what="the first cell says it")
    assert status(url, run_id) == "cancelled"


def test_a_second_press_in_a_cell_that_does_something_else_ends_that_cell_alone(kernel: Jupyter, url: str) -> None:
    run_id, _ = stop_and_go(kernel)
    other = kernel.stopped("time.sleep(30)")
    assert other.error == ("KeyboardInterrupt", "")
    assert status(url, run_id) == "running"
    kernel.run("run.cancel()")


def test_a_second_press_that_comes_late_does_nothing_and_the_kernel_is_as_before(kernel: Jupyter, url: str) -> None:
    kernel.run("wfnb.interrupts.PATIENCE = 0.3")
    try:
        run_id = kernel.run("run = steps.submit(LONG); print(run.id)").out.strip()
        cell = kernel.stopped("run.result()")
        kernel.until(lambda: f"wf.get_run('{run_id}').cancel() cancels it" in cell.text, what="it waits no longer")
        kernel.stop()
        assert kernel.run("print(saved() == signal.SIG_IGN, run.ended)").out == "True False\n"
        assert status(url, run_id) == "running"
    finally:
        kernel.run("wfnb.interrupts.PATIENCE = 10.0; run.cancel()")


def test_the_first_press_ends_an_awaited_run_and_the_second_cancels_it(kernel: Jupyter, url: str) -> None:
    run_id, cell = stop_and_go(kernel, "await run")
    kernel.stop()
    kernel.until(lambda: f"run '{run_id}' is cancelled." in cell.text, what="the first cell says it")
    assert kernel.run("print(saved() == signal.SIG_IGN)").out == "True\n"


def test_a_wait_that_is_cancelled_by_the_program_arms_nothing(kernel: Jupyter, url: str) -> None:
    cell = kernel.run("""
run = steps.submit(LONG)
try:
    await asyncio.wait_for(run, 0.3)
except TimeoutError:
    print("given up", saved() == signal.SIG_IGN, run.ended)
""")
    assert (cell.out, cell.shown) == ("given up True False\n", [])
    kernel.run("run.cancel()")


@pytest.mark.parametrize("call", ["steps(LONG)", "steps.options(view=False)(LONG)"])
def test_a_workflow_that_is_called_is_stopped_and_cancelled_like_a_run_that_is_waited_for(
    kernel: Jupyter, url: str, call: str
) -> None:
    cell = kernel.stopped(call)
    assert cell.error is not None
    run_id = cell.error[1].split("'")[1]
    assert f"run '{run_id}' goes on" in cell.error[1]
    assert status(url, run_id) == "running"
    kernel.stop()
    kernel.until(lambda: f"run '{run_id}' is cancelled." in cell.text, what="the first cell says it")


@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_a_press_while_the_first_cluster_starts_leaves_nothing_half_done(
    tmp_path: Path, url: str, moment: float
) -> None:
    with Jupyter(tmp_path, WFNB_DATA_DIR=str(tmp_path / "data")) as kernel:
        kernel.run(SETUP.format(store=url, cluster="local"))
        starting = kernel.send("print('waiting', flush=True)\nprint(steps([1, 2]))")
        kernel.until(lambda: starting.out, what="the cell is busy")
        time.sleep(moment)
        kernel.stop()
        kernel.wait(starting, 30)
        assert starting.error is not None
        assert starting.error[0] == "KeyboardInterrupt"
        assert kernel.run("print(steps([1, 2]))").out == "[1, 2]\n"
