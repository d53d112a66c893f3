"""What fails with the tools people use today, each as a cell in a real kernel with a local cluster and SQLite."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tests.integration.jupyter import Cell, Jupyter
from tests.integration.support import Watch, acknowledged, eventually
from wfnb.session import SESSION
from wfnb.store.base import Store
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(150)

BEGIN = "import wfnb as wf, os, time; wf.configure(store={url!r})"
CACHED = 'list(run.trace["status"].unique())'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The store all kernels here share."""
    place = f"sqlite:///{tmp_path_factory.mktemp('users')}/runs.db"
    yield place
    open_store(place).close()


@pytest.fixture(scope="module")
def store(url: str) -> Store:
    return open_store(url)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the notebooks, which share a local cluster."""
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def opened(data_folder: Path, url: str, folder: Path) -> Iterator[Jupyter]:
    """A kernel with its local cluster, started once."""
    with Jupyter(folder) as kernel:
        kernel.run(BEGIN.format(url=url))
        yield kernel


@pytest.fixture
def kernel(opened: Jupyter, url: str) -> Iterator[Jupyter]:
    """The kernel, alive and at rest."""
    yield opened
    if not psutil.pid_exists(opened.pid) or psutil.Process(opened.pid).status() == psutil.STATUS_ZOMBIE:
        opened.restart()
        opened.run(BEGIN.format(url=url))


def restart(kernel: Jupyter, url: str) -> None:
    kernel.restart()
    kernel.run(BEGIN.format(url=url))


def value(kernel: Jupyter, expression: str) -> Any:
    """Return what an expression gives in the kernel."""
    return eval(kernel.run(f"print(repr(({expression})))").out)


def statuses(kernel: Jupyter, call: str) -> list[str]:
    """Run a workflow in the kernel and return what became of its tasks."""
    kernel.run(f"run = {call}; run.result(60)")
    return list(value(kernel, "[str(one) for one in run.trace['status'].unique()]"))


# -- the stop button ---------------------------------------------------------------------------------------------------

PLACES = """
@wf.node
def place(i: int) -> int:
    time.sleep(0.05)
    return os.getpid()

@wf.workflow
def places(numbers: list[int]) -> list[int]:
    return place.map(numbers)
"""


def test_the_stop_button_keeps_every_worker_and_the_run_goes_on(kernel: Jupyter, store: Store) -> None:
    kernel.run("import os, time\nimport wfnb as wf\n" + PLACES)
    workers = value(kernel, "sorted(set(places([*range(12)])))")
    born = {pid: psutil.Process(pid).create_time() for pid in workers}
    run_id = value(kernel, "(run := places.submit([*range(80)])).id")
    waiting = kernel.stopped("run.result()")
    assert waiting.error[0] == "KeyboardInterrupt"
    assert f"run '{run_id}' goes on" in waiting.error[1]
    assert "cancel()" in waiting.error[1]
    # The kernel and the workers are usable at once.
    assert set(value(kernel, "places([*range(4)])")) <= set(workers)
    assert set(value(kernel, "run.result(60)")) <= set(workers)
    assert {pid: psutil.Process(pid).create_time() for pid in workers} == born
    assert set(acknowledged(store, run_id).values()) == {1}


# -- the kernel dies ---------------------------------------------------------------------------------------------------

NOTED = """
@wf.node
def noted(i: int, path: str) -> int:
    with open(path, "a") as log:
        log.write(f"{i}\\n")
    time.sleep(0.1)
    return i

@wf.workflow
def noting(numbers: list[int], path: str) -> int:
    return total(noted.map(numbers, path=path))

@wf.node
def total(numbers: list[int]) -> int:
    return sum(numbers)
"""


def test_a_run_whose_kernel_dies_during_a_task_goes_on_and_repeats_nothing_finished(
    kernel: Jupyter, url: str, store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    kernel.run(NOTED)
    run_id = value(kernel, f"(run := noting.submit([*range(60)], {str(log)!r})).id")
    watch = Watch(store, run_id, "noted", log)
    eventually(lambda: watch.look() > 5, what="some are finished")
    kernel.kill()
    restart(kernel, url)
    watch.look()
    found = kernel.run(f"""
run = wf.get_run({run_id!r})
deadline = time.monotonic() + 60
while not run.ended and time.monotonic() < deadline:
    time.sleep(0.05)
print(run.status, run.result(60))
""")
    assert found.out.split() == ["completed", str(sum(range(60)))]
    watch.look()
    assert watch.repeated() == set()
    assert set(acknowledged(store, run_id).values()) == {1}


# -- cancel ------------------------------------------------------------------------------------------------------------

TICKING = """
@wf.node
def tick(how: str, path: str) -> None:
    while True:
        with open(path, "a") as log:
            log.write(".")
        if how == "sleep":
            time.sleep(0.05)
        else:
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                pass

@wf.workflow
def ticking(how: str, path: str) -> None:
    return tick(how, path)
"""


@pytest.mark.parametrize("how", ["loop", "sleep"])
def test_cancel_stops_the_body_that_runs(kernel: Jupyter, tmp_path: Path, how: str) -> None:
    log = tmp_path / "ticks"
    kernel.run(TICKING)
    kernel.run(f"run = ticking.submit({how!r}, {str(log)!r})")
    eventually(log.exists, what="the body runs")
    kernel.run("run.cancel()")
    ended = kernel.wait(kernel.send("run.result(20)"))
    assert ended.error is not None
    assert ended.error[0] == "RunCancelled"
    size = log.stat().st_size
    time.sleep(0.5)
    assert log.stat().st_size == size, "the body ran on after the run was said to be cancelled"


# -- what changed, and what did not ------------------------------------------------------------------------------------

HELPED = """
def helper(x):
    return x + {0}

@wf.node(cache=True)
def helped(x: int) -> int:
    return helper(x)

@wf.workflow
def helping(x: int) -> int:
    return helped(x)
"""


def test_an_edited_helper_is_noticed(kernel: Jupyter) -> None:
    kernel.run(HELPED.format(1))
    assert statuses(kernel, "helping.submit(1)") == ["completed"]
    assert statuses(kernel, "helping.submit(1)") == ["cached"]
    kernel.run("def helper(x):\n    return x + 2")
    assert statuses(kernel, "helping.submit(1)") == ["completed"]
    assert value(kernel, "run.result()") == 3


def test_an_edited_global_is_noticed(kernel: Jupyter) -> None:
    kernel.run("""
RATE = 2

@wf.node(cache=True)
def rated(x: int) -> int:
    return x * RATE

@wf.workflow
def rating(x: int) -> int:
    return rated(x)
""")
    assert statuses(kernel, "rating.submit(3)") == ["completed"]
    assert statuses(kernel, "rating.submit(3)") == ["cached"]
    kernel.run("RATE = 5")
    assert statuses(kernel, "rating.submit(3)") == ["completed"]
    assert value(kernel, "run.result()") == 15


def test_two_lambdas_on_one_line_are_told_apart(kernel: Jupyter) -> None:
    kernel.run("""
plus, times = wf.node(cache=True)(lambda x: x + 3), wf.node(cache=True)(lambda x: x * 3)

@wf.workflow
def lambdas(x: int) -> list[int]:
    return [plus(x), times(x)]
""")
    assert statuses(kernel, "lambdas.submit(5)") == ["completed"]
    assert value(kernel, "run.result()") == [8, 15]
    assert statuses(kernel, "lambdas.submit(5)") == ["cached"]
    assert value(kernel, "run.result()") == [8, 15]


def test_closures_with_other_values_are_told_apart(kernel: Jupyter) -> None:
    kernel.run("""
def adder(n):
    @wf.node(cache=True, name=f"adder{n}")
    def added(x: int) -> int:
        return x + n
    return added.options(name="added")

one, two = adder(1), adder(2)

@wf.workflow
def closures(x: int) -> list[int]:
    return [one(x), two(x)]
""")
    assert statuses(kernel, "closures.submit(10)") == ["completed"]
    assert value(kernel, "run.result()") == [11, 12]
    assert statuses(kernel, "closures.submit(10)") == ["cached"]
    assert value(kernel, "run.result()") == [11, 12]


def test_the_same_source_is_known_in_another_cell_and_after_a_restart(kernel: Jupyter, url: str) -> None:
    source = HELPED.format(7).replace("help", "aid")
    kernel.run(source)
    assert statuses(kernel, "aiding.submit(1)") == ["completed"]
    kernel.run("# another cell, with other line numbers\n\n\n" + source)
    assert statuses(kernel, "aiding.submit(1)") == ["cached"]
    restart(kernel, url)
    kernel.run("\n\n" + source)
    assert statuses(kernel, "aiding.submit(1)") == ["cached"]


# -- classes of the notebook -------------------------------------------------------------------------------------------


POINT = """
from dataclasses import dataclass

@dataclass
class Point:
    x: int
    y: int = 0
"""
POINTS = """
@wf.node(cache=True)
def make(x: int) -> Point:
    return Point(x)

@wf.node
def shift(point: Point) -> Point:
    assert isinstance(point, Point)
    if not os.path.exists(FLAG):
        raise FileNotFoundError(FLAG)
    return Point(point.x + 1, point.y)

@wf.workflow
def points(x: int) -> Point:
    return shift(make(x))

@wf.workflow
def shifted(point: Point) -> Point:
    return shift(point)
"""


def test_a_class_redefined_by_running_its_cell_again_works(kernel: Jupyter, tmp_path: Path) -> None:
    kernel.run(f"FLAG = {str(tmp_path)!r}")
    kernel.run(POINT)
    kernel.run(POINTS)
    kernel.run("run = points.submit(1); old = run.result(60); kept = Point(5)")
    assert value(kernel, "isinstance(old, Point), old.x") == (True, 2)
    kernel.run(POINT)
    # What comes back is of the class as it is now: from a new run, and from the old one's journal.
    kernel.run("new = points(1)")
    assert value(kernel, "isinstance(new, Point), new.x") == (True, 2)
    assert value(kernel, "[isinstance(wf.get_run(run.id)[at].output, Point) for at in ('make', 'shift')]") == [True] * 2
    # So is an object that was made before, where it is used.
    assert value(kernel, "shifted(kept).x") == 6


def test_values_of_a_class_are_of_that_class_after_the_kernel_was_restarted(
    kernel: Jupyter, url: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    kernel.run(f"FLAG = {str(flag)!r}")
    kernel.run(POINT)
    kernel.run(POINTS)
    run_id = value(kernel, "(run := points.submit(10)).id")
    failed = kernel.wait(kernel.send("run.result()"))
    assert failed.error is not None
    assert failed.error[0] == "StepFailed"
    restart(kernel, url)
    kernel.run(f"FLAG = {str(flag)!r}")
    kernel.run(POINT)
    kernel.run(POINTS)
    flag.touch()
    kernel.run(f"run = wf.get_run({run_id!r})")
    assert value(kernel, "isinstance(run['make'].output, Point)")
    # The value made by a kernel that is gone fits the code of this one, kept or cached.
    assert value(kernel, "isinstance(run.retry().result(60), Point)")
    assert value(kernel, "len(run['make'].attempts)") == 1
    assert statuses(kernel, "points.submit(10)") == ["cached", "completed"]


# -- while a cell is busy ----------------------------------------------------------------------------------------------


def test_a_command_reaches_the_run_of_a_kernel_whose_cell_is_busy(kernel: Jupyter, url: str) -> None:
    kernel.run(PLACES)
    run_id = value(kernel, "(run := places.submit([*range(4000)])).id")
    busy = kernel.send("while not run.ended:\n    pass\nprint(run.status)")
    run = SESSION._found(open_store(url), open_store(url).get(run_id))
    eventually(lambda: run.snapshot().done, what="the run is under way")
    run.pause()
    eventually(lambda: run.status == "paused", 10, "it pauses")
    run.resume()
    eventually(lambda: run.status == "running", 10, "it goes on")
    run.cancel()
    assert kernel.wait(busy, 20).out == "cancelled\n"


# -- what is shown, and where ------------------------------------------------------------------------------------------

LOUD = """
import logging

@wf.node
def loud(i: int) -> int:
    print("printed by", i)
    logging.getLogger().warning("logged by %s", i)
    time.sleep(0.05)
    return i

@wf.workflow
def louder(numbers: list[int]) -> list[int]:
    return loud.map(numbers)
"""


def test_nothing_that_runs_in_the_background_prints_into_another_cell(kernel: Jupyter) -> None:
    kernel.run(LOUD)
    shown = kernel.send("run = louder.submit([*range(60)])\nrun")
    cells: list[Cell] = []
    for n in range(6):
        cells.append(kernel.run(f"time.sleep(0.2); print('cell', {n})"))
    kernel.run("run.result(60)")
    cells.append(kernel.run("print('cell', 6)"))
    kernel.until(lambda: "completed" in shown.text, what="the picture is of the end")
    assert [(cell.out, cell.err, cell.shown) for cell in cells] == [(f"cell {n}\n", "", []) for n in range(7)]
    assert (shown.out, shown.err) == ("", "")
    assert "printed by 3" in value(kernel, "[row.text.strip() for row in run.logs('loud[3]')]")


def test_a_notebook_run_without_a_browser_is_left_with_a_picture_and_a_text(url: str, folder: Path) -> None:
    cells = [BEGIN.format(url=url), PLACES, "run = places.submit([*range(6)])\nrun", "len(run.result())"]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    read = nbformat.reads(nbformat.writes(notebook), 4)
    (output,) = read.cells[2].outputs
    picture, text = output.data["text/html"], output.data["text/plain"]
    assert "<svg" in picture
    assert "<script" not in picture
    for said in ("places", "completed", "place"):
        assert said in picture
        assert said in text
    assert "6" in text
    assert read.cells[3].outputs[0].data["text/plain"] == "6"


# -- speed -------------------------------------------------------------------------------------------------------------


def test_the_first_flow_of_a_notebook_is_there_soon_and_the_next_one_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    with Jupyter(tmp_path, WFNB_DATA_DIR=str(data)) as kernel:
        begin = time.monotonic()
        kernel.run("import wfnb as wf\n\n@wf.node\ndef one() -> int:\n    return 1\n")
        kernel.run("@wf.workflow\ndef flow() -> int:\n    return one()\n")
        first = kernel.run("flow()")
        cold = time.monotonic() - begin
        kernel.run("import time")
        took = []
        for _ in range(5):
            cell = kernel.run(
                "begin = time.perf_counter(); flow.options(view=False)(); print(time.perf_counter() - begin)"
            )
            took.append(float(cell.out))
    warm = sorted(took)[len(took) // 2]
    with capsys.disabled():
        print(f" [first flow: {cold:.2f} s cold, {warm * 1000:.0f} ms warm]", end="")
    assert "completed" in first.text
    # Ten times what is promised, and more where others keep the machine busy.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert cold < 20 * busy
    assert warm < 0.5 * busy
