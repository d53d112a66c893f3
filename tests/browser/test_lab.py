"""Promises of the live picture in a real JupyterLab: it follows the run, its buttons act, what is saved is whole."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.browser.lab import Front, Lab, Notebook

SETUP = """
import time, wfnb as wf

@wf.node
def load(n: int) -> list[int]:
    return list(range(n))

@wf.node
def work(x: int, pause: float = 0.2, bad: int = -1) -> int:
    time.sleep(pause)
    print("working on", x)
    if x == bad and not OPEN.exists():
        raise ValueError(f"{x} is not welcome")
    return x * x

@wf.node
def total(xs: list[int]) -> int:
    return sum(xs)

@wf.workflow
def flow(n: int = 30, pause: float = 0.2, bad: int = -1) -> int:
    return total(work.map(load(n), pause=pause, bad=bad))
"""


@pytest.fixture
def notebook(lab: Lab, page: Any, request: pytest.FixtureRequest) -> Any:
    """Opens a notebook of some cells; the first one defines the workflow `flow`."""
    opened: list[Notebook] = []

    def make(*cells: str, front: Front = "lab") -> Notebook:
        name = re.sub(r"\W+", "-", request.node.name)[:60] + ".ipynb"
        place = lab.notebooks / (name + ".open")
        setup = f"from pathlib import Path\nOPEN = Path({str(place)!r})\n" + SETUP
        lab.write(name, [setup, *cells])
        made = Notebook(lab, page, name, front).open()
        opened.append(made)
        made.run(0)
        return made

    yield make
    for one in opened:
        assert one.errors == []
        one.kill_kernel()


def done(ui: Any) -> int:
    """Return how many tasks a picture says are done."""
    text = ui.locator(".facts").inner_text()
    found = re.match(r"[\d,]+", text)
    return int(found[0].replace(",", "")) if found else -1


def wait_for(ui: Any, text: str, seconds: float = 30) -> None:
    """Wait until the picture's head says something."""
    ui.locator(".row").first.filter(has_text=text).wait_for(timeout=1000 * seconds)


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_states_change_while_the_run_goes_on_and_the_end_is_shown(notebook: Any, front: Front) -> None:
    book = notebook("run = flow.submit(40)\nrun", front=front)
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "running")
    seen = {done(ui)}
    for _ in range(40):
        book.page.wait_for_timeout(250)
        if ui.count():  # the last update takes the place of the widget
            seen.add(done(ui))
        if book.page.locator(".wfnb-ui", has_text="42 of 42 tasks").count():
            break
    assert len(seen) > 3, seen
    wait_for(ui, "completed")
    assert "42 of 42 tasks" in ui.inner_text()


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_pause_resume_and_cancel_act_while_the_kernel_is_idle(notebook: Any, front: Front) -> None:
    book = notebook("run = flow.submit(200)\nrun", front=front)
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "running")
    ui.get_by_role("button", name="Pause").click()
    wait_for(ui, "paused")
    assert ui.get_by_role("button", name="Pause").is_disabled()
    ui.get_by_role("button", name="Resume").click()
    wait_for(ui, "running")
    ui.get_by_role("button", name="Cancel").click()
    wait_for(ui, "cancelled")


def test_retry_acts_on_the_picture_of_a_run_that_has_failed(notebook: Any) -> None:
    book = notebook("run = flow.submit(12, pause=0.05, bad=7)\nrun", "OPEN.touch()")
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "failed")
    assert "work[7]" in ui.inner_text()
    assert "7 is not welcome" in ui.inner_text()
    book.run(2)
    ui.get_by_role("button", name="Retry").click()
    wait_for(ui, "completed")
    assert "14 of 14 tasks" in ui.inner_text()


def test_buttons_act_while_a_cell_awaits_the_run(notebook: Any) -> None:
    book = notebook(
        "run = flow.submit(200)\nrun", "try:\n    await run\nexcept wf.RunCancelled: print('cancelled it is')"
    )
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "running")
    book.run(2, wait=False)
    book.page.wait_for_timeout(500)
    ui.get_by_role("button", name="Cancel").click()
    wait_for(ui, "cancelled")
    book.wait_idle()
    assert "cancelled it is" in book.text(2)


def test_the_details_of_a_task_open_with_its_values_its_code_and_its_error(notebook: Any) -> None:
    book = notebook("run = flow.submit(12, pause=0.05, bad=7)\nrun")
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "failed")
    ui.get_by_role("tab", name="Timeline").click()
    ui.get_by_role("searchbox").fill("work[7]")
    canvas = ui.get_by_role("group", name=re.compile("^timeline"))
    canvas.focus()
    canvas.press("p")  # the last attempt
    for _ in range(20):
        if "work[7]" in (canvas.get_attribute("aria-label") or ""):
            break
        canvas.press("p")
    canvas.press("Enter")
    drawer = ui.get_by_role("region", name="details")
    drawer.get_by_text("ValueError: 7 is not welcome").first.wait_for()
    text = drawer.inner_text()
    assert "work[7]" in text
    assert "def work(" in drawer.text_content()
    book.page.keyboard.press("Escape")
    drawer.wait_for(state="hidden")


def test_logs_are_there_live_and_by_step(notebook: Any) -> None:
    book = notebook("run = flow.submit(30)\nrun")
    book.run(1)
    ui = book.ui(1)
    ui.get_by_role("tab", name="Logs").click()
    ui.get_by_text("working on").first.wait_for(timeout=30_000)
    ui.get_by_text("working on 29", exact=True).wait_for(timeout=30_000)
    ui.get_by_role("searchbox").fill("working on 7")
    ui.get_by_text("working on 7", exact=True).wait_for(timeout=10_000)


def test_a_page_that_is_loaded_again_in_mid_run_shows_the_run_within_six_seconds(notebook: Any) -> None:
    book = notebook("run = flow.submit(300, pause=0.1)\nrun", "run.cancel()")
    book.run(1)
    wait_for(book.ui(1), "running")
    book.save()
    book.open(idle=False)
    book.ui(1).wait_for(timeout=6_000)
    before = done(book.ui(1))
    book.page.wait_for_timeout(1_500)
    assert done(book.ui(1)) > before
    book.run(2)


def test_a_page_that_was_loaded_again_keeps_the_end_of_the_run(notebook: Any) -> None:
    book = notebook("run = flow.submit(60, pause=0.1)\nrun")
    book.run(1)
    wait_for(book.ui(1), "running")
    book.save()
    book.open(idle=False)
    wait_for(book.ui(1), "completed")
    book.page.wait_for_timeout(500)
    (output,) = book.save().cells[1].outputs
    assert "application/vnd.jupyter.widget-view+json" not in output.data
    assert "62 of 62 tasks" in output.data["text/plain"]
    assert "62 of 62 tasks" in output.data["text/html"]


def test_what_a_person_is_at_stays_when_the_run_ends(notebook: Any) -> None:
    book = notebook("run = flow.submit(25, pause=0.1)\nrun")
    book.run(1)
    ui = book.ui(1)
    ui.get_by_role("searchbox").fill("work")
    ui.get_by_role("tree").focus()
    ui.get_by_role("tree").press("i")
    drawer = ui.get_by_role("region", name="details")
    drawer.wait_for()
    wait_for(ui, "completed")
    book.page.wait_for_timeout(500)
    assert drawer.is_visible()
    assert ui.get_by_role("searchbox").input_value() == "work"


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_what_is_saved_shows_the_last_state_when_the_kernel_is_dead(notebook: Any, front: Front) -> None:
    book = notebook("flow(12, pause=0.01)", front=front)
    book.run(1)
    wait_for(book.ui(1), "completed")
    saved = book.save()
    kinds = [set(output.data) for output in saved.cells[1].outputs if "data" in output]
    assert {"application/vnd.wfnb.run+json", "text/html", "text/plain"} in kinds
    # As GitHub and other pages read it.
    nbformat.validate(saved)
    assert "state" in saved.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {"state": {}})
    exported, _ = HTMLExporter().from_notebook_node(saved)
    assert "<svg" in exported
    assert "14 of 14 tasks" in exported
    book.kill_kernel()
    book.open(idle=False)
    ui = book.ui(1)
    ui.wait_for(timeout=20_000)
    assert "14 of 14 tasks" in ui.inner_text()
    assert "model not found" not in book.cell(1).inner_text()
    ui.get_by_role("tab", name="Timeline").click()
    assert "14 attempts" in ui.inner_text()
    assert ui.get_by_role("button", name="Pause").count() == 0


def test_two_runs_in_two_cells_and_run_all_twice(notebook: Any) -> None:
    book = notebook("one = flow.submit(20, pause=0.05)\none", "flow(10, pause=0.05)")
    for _ in range(2):
        book.run_all()
        book.page.evaluate("() => window.ran")
        wait_for(book.ui(1), "completed")
        wait_for(book.ui(2), "completed")
        assert "22 of 22 tasks" in book.ui(1).inner_text()
        assert "12 of 12 tasks" in book.ui(2).inner_text()
        assert book.ui(1).count() == book.ui(2).count() == 1


def test_the_picture_follows_the_theme(notebook: Any) -> None:
    book = notebook("flow(5, pause=0.01)")
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "completed")
    ground = "(element) => getComputedStyle(element).backgroundColor"
    light = ui.evaluate(ground)
    set_theme = "(name) => jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
    book.page.evaluate(set_theme, "JupyterLab Dark")
    try:
        book.page.wait_for_function("() => document.querySelector('.wfnb-ui').style.colorScheme === 'dark'")
        assert ui.evaluate(ground) != light
    finally:
        book.page.evaluate(set_theme, "JupyterLab Light")


def test_a_workflow_shows_what_a_run_would_do(notebook: Any) -> None:
    book = notebook("flow(3, pause=0.0)", "flow")
    book.run(1)
    book.run(2)
    ui = book.ui(2)
    ui.wait_for()
    assert "3 steps" in ui.inner_text()
    assert "unchanged" in ui.inner_text()


def test_the_table_of_runs_follows_them_and_opens_one(notebook: Any) -> None:
    book = notebook("wf.runs('flow', limit=3)", "run = flow.options(tags=['wanted']).submit(30, pause=0.1)")
    book.run(1)
    table = book.cell(1)
    book.run(2)
    table.get_by_text("running").first.wait_for(timeout=10_000)
    table.get_by_role("searchbox").first.fill("wanted")
    table.get_by_role("row").nth(1).click()
    below = table.locator(".wfnb-ui", has=book.page.get_by_role("tab", name="Timeline"))
    below.wait_for(timeout=10_000)
    wait_for(below, "completed")
    assert "32 of 32 tasks" in below.inner_text()


def test_keys_move_the_picture_and_do_not_reach_the_notebook(notebook: Any) -> None:
    book = notebook("flow(5, pause=0.01)", "")
    book.run(1)
    ui = book.ui(1)
    wait_for(ui, "completed")
    tree = ui.get_by_role("tree")
    tree.focus()
    for key in ("Tab", "ArrowLeft", "a", "b", "d", "d", "+", "0", "Enter", "Escape"):
        tree.press(key)
    count = book.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length")
    assert count == 3  # `b` adds a cell and `dd` removes one in the notebook's command mode
    names = [item.inner_text() for item in ui.get_by_role("treeitem").all()]
    assert [name.partition(",")[0] for name in names] == ["load", "work", "total"]


def test_a_burst_of_tasks_sends_few_messages(notebook: Any) -> None:
    book = notebook("run = flow.submit(5_000, pause=0.0)\nrun")
    book.page.evaluate("""() => {
        window.sent = [];
        const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        kernel.anyMessage.connect((_, {msg, direction}) => {
            if (direction === "recv" && msg.channel === "iopub" && /^comm_/.test(msg.header.msg_type)) {
                window.sent.push(performance.now());
            }
        });
    }""")
    book.run(1)
    wait_for(book.ui(1), "completed", 60)
    sent = book.page.evaluate("() => window.sent")
    most = max(sum(1 for other in sent if at <= other < at + 1000) for at in sent)
    assert 1 <= most <= 15  # ten updates, and what opens the widget
