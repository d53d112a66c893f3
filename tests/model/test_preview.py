"""Promises of a value told in a few words: cheap, short, ready for JSON, and never an error."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wfnb.model.preview import preview


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("not today")


class Odd:
    """Like a frame at first sight."""

    columns = head = iloc = dtypes = None


def test_plain_values_are_told_by_type_and_text() -> None:
    assert preview(5) == {"type": "int", "text": "5"}
    assert preview(None) == {"type": "NoneType", "text": "None"}
    assert preview({"a": [1, 2]}) == {"type": "dict", "text": "{'a': [1, 2]}", "shape": [1]}


def test_an_array_has_shape_dtype_size_and_its_first_values() -> None:
    told = preview(np.arange(1_000_000.0).reshape(-1, 100))
    assert (told["shape"], told["dtype"], told["bytes"]) == ([10_000, 100], "float64", 8_000_000)
    assert told["text"].startswith("[[0.0, 1.0, 2.0")
    assert len(told["text"]) <= 400


def test_a_frame_has_its_first_rows_as_a_table() -> None:
    frame = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=100), "sold": np.arange(100), "share": np.nan})
    told = preview(frame)
    assert told["shape"] == [100, 3]
    assert told["table"]["columns"] == ["day", "sold", "share"]
    assert len(told["table"]["rows"]) == 5
    assert told["table"]["rows"][1][1:] == [1, "nan"]


def test_a_series_is_told_like_an_array() -> None:
    told = preview(pd.Series([1.5, 2.5]))
    assert (told["shape"], told["dtype"]) == ([2], "float64")


@pytest.mark.parametrize(
    "value",
    [list(range(1_000_000)), "x" * 1_000_000, {n: n for n in range(100_000)}, set(range(100_000)), b"y" * 1_000_000],
)
def test_what_is_long_is_cut(value: Any) -> None:
    assert len(preview(value)["text"]) <= 400


def test_values_that_misbehave_are_told_all_the_same() -> None:
    assert "Hostile" in preview(Hostile())["text"]
    assert preview(Odd())["text"].startswith("cannot be shown: ")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float32(1.5), 1j, object, pd.DataFrame({"a": [np.inf, None]}), np.array(3)]
)
def test_what_is_told_is_ready_for_json(value: Any) -> None:
    json.dumps(preview(value), allow_nan=False)
