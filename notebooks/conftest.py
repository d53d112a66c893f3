"""Keeps the runs of notebooks under test out of the user's data folder, and out of any store that is configured."""

from __future__ import annotations

import tempfile

import pytest

KEY = pytest.StashKey[tuple[pytest.MonkeyPatch, "tempfile.TemporaryDirectory[str]"]]()


def pytest_configure(config: pytest.Config) -> None:
    """Point the environment, which kernels inherit, at a folder of this session."""
    folder = tempfile.TemporaryDirectory(prefix="wfnb-notebooks-", ignore_cleanup_errors=True)
    environment = pytest.MonkeyPatch()
    environment.setenv("WFNB_DATA_DIR", folder.name)
    environment.setenv("WFNB_CLUSTER_IDLE", "1")  # the shared cluster ends with the last kernel
    environment.delenv("WFNB_STORE", raising=False)
    environment.delenv("WFNB_CLUSTER", raising=False)
    config.stash[KEY] = (environment, folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the environment back and remove the folder."""
    environment, folder = config.stash[KEY]
    environment.undo()
    folder.cleanup()
