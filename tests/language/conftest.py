"""Fixtures of the language's tests: a session that computes in this process and keeps its runs in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wfnb as wf
from tests.language.nodes import FOLDER
from tests.language.support import Moments, remembering
from wfnb.session import SESSION
from wfnb.store import memory


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moments]:
    """A session of its own, computing in this process, its store in memory; what the store held after each write."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "calls").mkdir()
    with pytest.MonkeyPatch.context() as patch, remembering() as moments:
        patch.setenv("WFNB_DATA_DIR", str(folder / "data"))
        patch.setenv(FOLDER, str(folder / "calls"))
        for name in ("WFNB_STORE", "WFNB_CLUSTER", "WFNB_SECRET_KEY"):
            patch.delenv(name, raising=False)
        patch.setattr(SESSION, "_store", None)
        patch.setattr(SESSION._clusters, "_configured", None)
        patch.setattr(SESSION._keeper, "keep", None)  # tests look at runs that others made
        wf.configure(store="memory://language", cluster="inline")
        yield moments
        memory._PLACES.pop("language", None)


@pytest.fixture
def calls_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where calls are noted."""
    folder = tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv(FOLDER, str(folder))
    return folder
