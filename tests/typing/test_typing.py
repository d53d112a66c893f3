"""Type checkers see through decorators, constructs and the builder: what is promised is accepted, or refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [str(Path(__file__).with_name(name)) for name in ("api.py", "flows.py")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mypy_strict_accepts_the_public_api_as_written() -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--strict", *FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pyright_accepts_the_public_api_as_written() -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if "0 errors" not in done.stdout and done.returncode not in (0, 1):  # it fetches itself at the first start
        pytest.skip(f"pyright cannot start here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stdout + done.stderr
