"""README.md: its examples run as they are shown, and give what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", README, re.MULTILINE | re.DOTALL)


def steady(text: str) -> str:
    """Put what differs from run to run and place to place in one form: ids, and where the code is written."""
    text = re.sub(r"-\d{8}-\d{6}-[0-9a-f]{6}", "-ID", text)
    return re.sub(r"(?:cell In\[\d+\]|example\.py), line", "HERE, line", text)


@pytest.mark.parametrize(("code", "shown"), BLOCKS)
def test_an_example_gives_what_is_shown(code: str, shown: str, tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(code, "utf-8")
    environment = {**os.environ, "WFNB_CLUSTER": "inline", "WFNB_DATA_DIR": str(tmp_path / "data")}
    environment.pop("WFNB_STORE", None)
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert steady(done.stdout) == steady(shown)


def test_the_readme_has_an_example() -> None:
    assert BLOCKS


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text("utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == [], page


def test_every_variable_of_the_environment_is_explained() -> None:
    used = {name for path in (ROOT / "wfnb").rglob("*.py") for name in re.findall(r"WFNB_[A-Z_]+", path.read_text())}
    assert {name for name in used if f"`{name}`" not in README} == set()
