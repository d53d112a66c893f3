"""A failed task mended in a real notebook: its cell is put there, edited and run, and the run goes on with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.jupyter import Jupyter
from tests.integration.support import acknowledged
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(60)

CELLS = """
import wfnb as wf
wf.configure(store={store!r}, cluster={cluster!r})

@wf.node
def depths(n: int) -> list[int]:
    return list(range(n))
===
@wf.node(retries=1)
def train(depth: int, ctx: wf.Context) -> float:
    share = 6 / (2 - depth)
    return share
===
@wf.node
def best(scores: list[float]) -> float:
    return max(scores)

@wf.workflow
def training(n: int) -> float:
    return best(train.map(depths(n)))
===
run = training.options(on_error="continue").submit(4)
"""


@pytest.fixture
def kernel(client: object, sqlite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """A notebook in which one of four tasks has failed."""
    with Jupyter(tmp_path_factory.mktemp("notebook")) as kernel:
        address = client.scheduler.address  # type: ignore[attr-defined]
        for cell in CELLS.format(store=sqlite, cluster=address).split("===\n"):
            kernel.run(cell)
        failed = kernel.wait(kernel.send("run.result()"))
        assert failed.error is not None
        assert failed.error[0] == "StepFailed"
        yield kernel


def test_a_failed_task_is_mended_in_the_cell_that_debug_puts_there(kernel: Jupyter, sqlite: str) -> None:
    asked = kernel.run("run.debug('train[2]')")
    assert asked.shown == []
    assert asked.next.startswith("# step 'train[2]' (cell In[")
    assert "@wf.node(retries=1)\ndef train(depth: int, ctx: wf.Context) -> float:" in asked.next
    again = kernel.wait(kernel.send(asked.next))
    assert again.error == ("ZeroDivisionError", "division by zero")
    assert kernel.run("print(inputs_of_train_2)").out == "{'depth': 2}\n"
    mended = kernel.run(asked.next.replace("6 / (2 - depth)", "6 / ((2 - depth) or 0.5)"))
    assert mended.text == "12.0"
    assert kernel.run("print(run.retry().result(30))").out == "12.0\n"
    run_id = kernel.run("print(run.id)").out.strip()
    done = acknowledged(open_store(sqlite), run_id)
    # What it uses is kept; every task of the edited step is run again, as it may give another value now.
    assert done["depths", 0] == 1
    assert [done["train", i] for i in range(4)] == [2, 2, 1, 2]


def test_reproduce_fails_in_the_kernel_where_debug_can_step_into_it(kernel: Jupyter) -> None:
    again = kernel.wait(kernel.send("run['train[2]'].reproduce()"))
    assert again.error == ("ZeroDivisionError", "division by zero")
    assert "share = 6 / (2 - depth)" in again.traceback
    assert "nothing of it is recorded: node 'train' as it is in this process (cell In[" in again.out
    looked = kernel.run("""
import sys, traceback
frame = list(traceback.walk_tb(sys.last_traceback))[-1][0]
print(frame.f_code.co_name, frame.f_locals["depth"], frame.f_locals["ctx"].address, frame.f_locals["ctx"].attempt)
""")
    assert looked.out == "train 2 train[2] 2\n"


def test_a_task_is_debugged_after_the_kernel_was_restarted(kernel: Jupyter, sqlite: str, client: object) -> None:
    run_id = kernel.run("print(run.id)").out.strip()
    kernel.restart()
    kernel.run(f"import wfnb as wf\nwf.configure(store={sqlite!r}, cluster={client.scheduler.address!r})")  # type: ignore[attr-defined]
    asked = kernel.run(f"wf.get_run({run_id!r}).debug()")
    assert "once the workflow's cell was run too" in asked.next
    again = kernel.wait(kernel.send(asked.next))
    assert again.error == ("ZeroDivisionError", "division by zero")
    kernel.run(CELLS.split("===\n")[0].format(store=sqlite, cluster=client.scheduler.address))  # type: ignore[attr-defined]
    kernel.run(asked.next.replace("6 / (2 - depth)", "6 / ((2 - depth) or 0.5)"))
    kernel.run(CELLS.split("===\n")[2])
    assert kernel.run(f"print(wf.get_run({run_id!r}).retry().result(30))").out == "12.0\n"
