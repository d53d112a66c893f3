"""Promises of what is shown of a task when it is opened: everything that is known, and nothing big is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wfnb as wf
from tests.cells import Cells, alone
from wfnb.details import details
from wfnb.run import Run
from wfnb.store.memory import MemoryStore


@wf.node
def table(n: int) -> np.ndarray:
    return np.arange(float(n)).reshape(-1, 100)


@wf.node(retries=1, resources={})
def row_sum(row: int, table: np.ndarray, limit: float = 1e9) -> float:
    print(f"row {row}")
    if row == 2:
        raise ValueError("no second row")
    return float(table[row].sum())


@wf.node
def most(sums: list[float]) -> float:
    return max(sums)


@wf.workflow
def sums(n: int, rows: list[int]) -> float:
    return most(row_sum.map(rows, table=table(n)))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return alone(monkeypatch, tmp_path)


def run_of(n: int, *rows: int) -> Run:
    run = sums.options(on_error="continue").submit(n, list(rows))
    if 2 in rows:
        with pytest.raises(wf.StepFailed):
            run.result(20)
    else:
        run.result(20)
    return wf.get_run(run.id)


def test_a_task_is_told_with_its_inputs_output_attempts_code_and_logs() -> None:
    told = details(run_of(1000, 0, 1), "row_sum[1]")
    json.dumps(told, allow_nan=False)
    assert (told["address"], told["node"], told["status"]) == ("row_sum[1]", "row_sum", "completed")
    given = dict(told["inputs"])
    assert given["row"]["text"] == "1"
    assert given["table"]["shape"] == [10, 100]
    assert told["output"] == {"type": "float", "text": "14950.0", "tier": "store"}
    assert [one["status"] for one in told["attempts"]] == ["completed"]
    assert "def row_sum(" in told["code"]
    assert [row[4] for row in told["logs"]] == ["row 1\n"]
    assert told["why"].startswith("it ran")


def test_a_failure_is_told_with_every_attempt_and_its_traceback() -> None:
    told = details(run_of(1000, 1, 2), "row_sum[1]")
    assert told["status"] == "failed"
    assert [one["error"]["message"] for one in told["attempts"]] == ["no second row"] * 2
    assert 'raise ValueError("no second row")' in told["attempts"][0]["error"]["traceback"]
    assert told["output"] is None


def test_a_big_value_is_told_by_the_preview_that_was_stored_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(100_000, 0, 1)
    loaded: list[str] = []
    load = MemoryStore.load

    def noted(self: MemoryStore, run_id: str, keys: Any) -> Any:
        found = load(self, run_id, keys)
        loaded.extend(key for key, frames in found.items() if sum(map(len, frames)) > 100_000)
        return found

    monkeypatch.setattr(MemoryStore, "load", noted)
    assert details(run, "table")["output"]["shape"] == [1000, 100]
    given = dict(details(run, "row_sum[1]")["inputs"])
    assert given["table"]["shape"] == [1000, 100]
    assert given["table"]["bytes"] >= 800_000
    assert loaded == []


def test_a_value_made_from_many_others_is_not_put_together() -> None:
    rows = [row for row in range(100) if row != 2]
    told = details(run_of(10_000, *rows), "most")
    assert dict(told["inputs"])["sums"]["text"] == "made from 99 values of 'row_sum'"


def test_what_was_edited_since_is_shown_beside_the_code() -> None:
    cells = Cells()
    cells("""
        @wf.node
        def double(x: int) -> int:
            return 2 * x

        @wf.workflow
        def flow(x: int) -> int:
            return double(x)
    """)
    run = cells.run(3)
    assert details(run, "double")["diff"] == ""
    cells("""
        @wf.node
        def double(x: int) -> int:
            return x + x

        @wf.workflow
        def flow(x: int) -> int:
            return double(x)
    """)
    told = details(run, "double")
    assert "return 2 * x" in told["code"]
    assert "+    return x + x" in told["diff"]


def test_there_are_no_details_of_what_is_not_there() -> None:
    with pytest.raises(KeyError, match="nothing"):
        details(run_of(1000, 0), "nothing")
