"""The notebook on durability, as it tells its reader to use it: its kernel is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.integration.support import acknowledged, eventually
from wfnb.run import Run
from wfnb.session import SESSION
from wfnb.store.urls import open_store

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "03-durable.ipynb"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the store that the notebook's kernels use."""
    url = f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WFNB_STORE", url)
    monkeypatch.setenv("WFNB_CLUSTER_IDLE", "1")
    yield url
    open_store(url).close()


@contextmanager
def kernel(notebook: nbformat.NotebookNode) -> Iterator[NotebookClient]:
    """A kernel that runs cells of the notebook."""
    client = NotebookClient(notebook, timeout=200, kernel_name="python3")
    with client.setup_kernel():
        yield client


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[int]:
    """Return the places of the cells with a tag."""
    return [at for at, cell in enumerate(notebook.cells) if tag in cell.metadata.get("tags", ())]


def run_cells(client: NotebookClient, places: list[int]) -> None:
    """Run cells, as a person who goes through the notebook."""
    for at in places:
        client.execute_cell(client.nb.cells[at], at)


def the_run(store: str) -> Run:
    (record,) = open_store(store).find(workflow="search", limit=1)
    return SESSION.get_run(record.id, store)


def test_the_run_is_finished_without_the_kernel_and_only_the_edited_cell_and_what_follows_run_again(store: str) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (back,) = tagged(notebook, "after-kill")
    (edited,) = tagged(notebook, "edited")
    with kernel(notebook) as client:
        run_cells(client, list(range(back)))
        run = the_run(store)
        eventually(lambda: acknowledged(run.store, run.id), 60, what="some progress")
        pid = client.km.provisioner.pid
        done = len(acknowledged(run.store, run.id))
        os.kill(pid, signal.SIGKILL)
    assert done < 14, "it was over before the kernel was killed"
    again = nbformat.read(NOTEBOOK, as_version=4)
    with kernel(again) as client:
        retried = next(at for at, cell in enumerate(again.cells) if "run.retry()" in cell.source)
        run_cells(client, list(range(back, edited)))
        assert run.status == "completed"
        assert run.snapshot().drivers == 1, "the driver outlived the kernel"
        assert set(acknowledged(run.store, run.id).values()) == {1}
        run_cells(client, tagged(again, "definitions"))
        run_cells(client, list(range(edited, retried + 1)))
    attempts = Counter(run.trace["node"])
    assert attempts == {"digits": 1, "score": 12, "report": 2}
    assert "are read rightly" in again.cells[retried].outputs[-1].data["text/plain"]
