"""What is loaded before local workers are forked stays out of the sight of their garbage collectors."""

from __future__ import annotations

import subprocess
import sys


def test_what_was_loaded_before_is_frozen() -> None:
    code = "import gc, json; import wfnb.dask.frozen; print(gc.get_freeze_count())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(said.stdout) > 1_000
