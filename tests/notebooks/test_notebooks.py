"""Notebooks as they are committed, exported and opened by people who do not trust them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.run_demo import MOST_FILE, MOST_PICTURE, execute, save, without_paths
from wfnb.engine.facts import RunView
from wfnb.views.live import LiveView

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXAMPLE = """
import wfnb as wf

@wf.node
def double(x: int) -> int:
    return 2 * x

@wf.workflow
def flow(xs: list[int]) -> list[int]:
    return double.map(xs)

run = flow.options(cluster="inline").submit([1, 2, 3])
run
"""


def texts(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


@pytest.fixture(scope="module")
def ran() -> nbformat.NotebookNode:
    notebook = new_notebook(cells=[new_code_cell(EXAMPLE), new_code_cell("run.result()")])
    assert execute(notebook) == ""
    return notebook


class Plain(HTMLParser):
    """Reads a page as one does that takes out styles and drawings and keeps what is written on elements."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.hidden or tag == "style" or dict(attrs).get("style") == "display:none":
            self.hidden.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.hidden:
            while self.hidden.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.seen.append(data)


# -- what is committed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_is_small_and_names_no_path_of_a_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text) <= MOST_FILE
    assert all(len(picture) <= MOST_PICTURE for picture in texts(nbformat.reads(text, 4), "image/png"))
    assert not re.findall(r"/(?:home|root|Users|tmp|work|site-packages)/", text)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_was_run_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_run_in_a_committed_notebook_is_shown_at_its_end(path: Path) -> None:
    pages = [page for page in texts(nbformat.read(path, 4), "text/html") if 'class="wfnb run"' in page]
    assert pages
    for page in pages:
        assert re.search(r"<span>(completed|failed|cancelled)</span>", page)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_exports_with_its_pictures(path: Path) -> None:
    page, _ = HTMLExporter().from_notebook_node(nbformat.read(path, 4))
    # A run, and a workflow that has not run, each with its DAG.
    assert len(re.findall(r'class="wfnb (?:plan )?run"', page)) == page.count('class="dag"><svg')
    assert 'class="dag"><svg' in page


# -- what a run leaves ---------------------------------------------------------------------------------------------


def test_a_notebook_run_without_a_browser_keeps_the_last_state_of_its_runs(ran: nbformat.NotebookNode) -> None:
    (page,), (text, value) = texts(ran, "text/html"), texts(ran, "text/plain")
    assert "<span>completed</span>" in page
    assert "3 of 3 tasks" in page
    assert "completed" in text
    assert value == "[2, 4, 6]"


def test_the_picture_of_a_run_that_ended_stays_when_the_run_goes_on() -> None:
    shown: list[str] = []
    views = iter([RunView("r", "flow", "failed"), RunView("r", "flow", "running")])
    view = LiveView(lambda: next(views), where="notebook", display=lambda bundle: shown.append(bundle["text/plain"]))
    view.start()
    view.refresh()
    view.finish()
    assert [text.splitlines()[0] for text in shown] == ["✗ flow r · failed"]


def test_an_exported_run_shows_its_picture_and_its_summary(ran: nbformat.NotebookNode) -> None:
    page, _ = HTMLExporter().from_notebook_node(ran)
    assert re.search(r'<svg[^>]*aria-label="flow: 1 step, completed, 3 tasks done"', page)
    assert "3 of 3 tasks" in page


def test_a_page_that_takes_out_styles_and_drawings_shows_the_run_as_text(ran: nbformat.NotebookNode) -> None:
    (page,), (text, _) = texts(ran, "text/html"), texts(ran, "text/plain")
    plain = Plain()
    plain.feed(page)
    assert "".join(plain.seen) == text


# -- saving --------------------------------------------------------------------------------------------------------


def test_saving_takes_out_paths_of_this_machine(tmp_path: Path, ran: nbformat.NotebookNode) -> None:
    found = {"traceback": [f"File {ROOT}/wfnb/run.py:1", 'File "/tmp/ipykernel_17/4.py", line 1']}
    assert without_paths(found) == {"traceback": ["File wfnb/run.py:1", 'File "<cell>", line 1']}
    path = tmp_path / "saved.ipynb"
    save(ran, path)
    assert nbformat.read(path, 4).metadata.language_info == {"name": "python"}


def test_a_notebook_too_big_to_be_committed_is_not_saved(tmp_path: Path) -> None:
    big = new_notebook(cells=[new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text="x" * MOST_FILE)])])
    with pytest.raises(ValueError, match="are allowed"):
        save(big, tmp_path / "big.ipynb")
    assert not (tmp_path / "big.ipynb").exists()
