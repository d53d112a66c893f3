"""A JupyterLab for all browser tests; skipped where there is no browser, or the renderer is not built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Lab, browser, browser_path
from wfnb.views.snapshot import built


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A Jupyter server, with notebooks, kernels and a store of its own."""
    if browser_path() is None:
        pytest.skip("no browser: install chromium, or name one by CHROMIUM")
    if not built():
        pytest.skip("the renderer is not built: `make ui`")
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def context(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    """A page of its own, closed in the end."""
    opened = context.new_page()
    yield opened
    opened.close()
