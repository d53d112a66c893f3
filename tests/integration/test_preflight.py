"""What is wrong with a real cluster is told before anything is sent to it."""

from __future__ import annotations

from pathlib import Path

import pytest

import wfnb as wf
from tests.integration.support import Notebook
from wfnb.session import SESSION


def test_a_package_that_only_the_kernel_has_is_named_before_a_run_is_made(
    ready: str, notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "only_in_the_kernel.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(str(packages))
    notebook.cell("""
import wfnb as wf
import only_in_the_kernel

@wf.node
def ask() -> int:
    return only_in_the_kernel.answer()

@wf.workflow
def asking() -> int:
    return ask()
""")
    with pytest.raises(wf.ConfigurationError, match=r"and 1 more: node 'ask'.*uses 'only_in_the_kernel'.*install it"):
        notebook["asking"].submit()
    assert SESSION.store().find() == []


def test_what_a_kernel_and_its_workers_both_have_is_no_trouble(ready: str, notebook: Notebook) -> None:
    notebook.cell("""
import numpy as np, pandas as pd
import wfnb as wf

@wf.node
def total(n: int) -> float:
    import cloudpickle
    return float(pd.Series(np.arange(n)).sum())

@wf.workflow
def totals(n: int) -> float:
    return total(n)
""")
    assert notebook["totals"].options(view=False)(5) == 10.0


def test_a_variable_that_is_too_big_is_refused_before_a_run_is_made(ready: str, notebook: Notebook) -> None:
    notebook.cell("""
import wfnb as wf
TABLE = b"x" * 20_000_000

@wf.node
def size() -> int:
    return len(TABLE)

@wf.workflow
def sized() -> int:
    return size()
""")
    with pytest.raises(wf.CaptureError, match=r"node 'size' captures the global 'TABLE' \(bytes, 20 MB\)"):
        notebook["sized"].submit()
    assert SESSION.store().find() == []
