"""Promises of what pictures travel as: each piece is whole, small, and read as it was written."""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from array import array
from typing import Any

import pytest

from tests.views.samples import T, failed, fan_out, half_way, routed, run, step
from tests.views.wire import header, records, spans
from wfnb.engine.folds import RunFold
from wfnb.model.events import COMPLETED, FAILED, Column, ErrorRecord, Event, Outcomes, Running, RunStarted
from wfnb.views.snapshot import Names, cells_bytes, document, packed, shape_of, spans_bytes, state_bytes
from wfnb.views.words import ORDER

SHAPE = {"steps": [{"id": "load", "node": "load"}, {"id": "train", "node": "train", "kind": "map", "uses": ["load"]}]}


def column(name: str, lo: int, *times: tuple[float, float], status: int = COMPLETED, **more: Any) -> Column:
    start, end = (array("d", [pair[at] for pair in times]).tobytes() for at in (0, 1))
    return Column(name, lo, more.pop("attempt", 1), bytes([status] * len(times)), start, end, **more)


def folded(*events: Event) -> RunFold:
    fold = RunFold(SHAPE)
    for event in (RunStarted(T, "d", "code", {"train": 5}), *events):
        fold.add(event)
    return fold


def test_a_shape_says_how_steps_hang_together_and_leaves_out_what_is_empty() -> None:
    shape = json.loads(json.dumps(shape_of(half_way())))
    assert (shape["workflow"], shape["run"]) == ("flow", "run-1")
    load, train, _ = shape["steps"]
    assert load == {"id": "load", "node": "load", "kind": "task", "name": "load"}
    assert train["uses"] == ["load"]
    assert train["fanOut"] is True
    assert "uses" not in load


def test_a_shape_names_steps_of_constructs_by_their_last_word() -> None:
    names = {one["id"]: one["name"] for one in shape_of(routed())["steps"]}
    assert all("/" not in name for name in names.values())


def test_marks_go_with_their_steps() -> None:
    load, train, _ = shape_of(half_way(), {"train": ("stale", "code of train changed")})["steps"]
    assert (train["mark"], train["why"]) == ("stale", "code of train changed")
    assert "mark" not in load


def test_a_state_has_a_record_for_each_step_in_the_order_of_the_shape() -> None:
    view = half_way()
    load, train, best = records(state_bytes(view))
    assert load["status"] == "completed"
    assert load["mean"] == pytest.approx(0.42)
    assert train["width"] == 100
    assert dict(zip(ORDER, train["counts"], strict=True))["completed"] == 37
    assert sum(train["counts"]) == 100
    assert math.isnan(best["mean"])
    assert best["times"] is None


def test_a_width_that_is_not_known_is_told_as_such() -> None:
    (only,) = records(state_bytes(run(fan_out("a", width=None, completed=3))))
    assert only["width"] is None


def test_a_states_header_has_the_runs_figures_its_error_and_the_way_on() -> None:
    head, _ = header(state_bytes(failed(), ["w1", "w2"]))
    assert head["status"] == "failed"
    assert head["error"]["type"] == "KeyError"
    assert head["on"].startswith("run.retry()")
    assert head["names"] == ["w1", "w2"]


def test_text_of_any_kind_travels() -> None:
    odd = run(step("a", message="half a sign \ud800, a line\nand ünïcödé", status="running"))
    head, _ = header(state_bytes(odd))
    assert "ünïcödé" in head["steps"]["0"]["message"]


def test_spans_are_the_attempts_with_their_times_since_the_start() -> None:
    error = ErrorRecord("ValueError", "no")
    fold = folded(
        Outcomes("b1.1", "w1", (column("load", 0, (T + 1, T + 2)),)),
        Outcomes("b1.2", "w2", (column("train", 0, (T + 2, T + 3), (T + 3, T + 5)),)),
        Outcomes("b1.3", "w1", (column("train", 2, (T + 2, T + 4), status=FAILED, errors={0: error}),)),
        Running("b1.4", "w1", "train", 3, 2, T + 5),
    )
    names = Names()
    head, rows = spans(spans_bytes(fold, names, 100))
    assert head["since"] == T
    assert (head["n"], head["from"], head["more"]) == (5, 0, 0)
    assert [(row["step"], row["element"], row["status"]) for row in rows] == [
        (0, 0, "completed"), (1, 0, "completed"), (1, 1, "completed"), (1, 2, "failed"), (1, 3, "running"),
    ]  # fmt: skip
    assert [row["start"] for row in rows] == pytest.approx([1, 2, 3, 2, 5])
    assert math.isnan(rows[-1]["end"])
    assert list(names) == ["w1", "w2"]
    assert [row["worker"] for row in rows] == [0, 1, 1, 0, 0]


def test_of_many_spans_the_newest_are_told_and_how_many_there_are() -> None:
    fold = folded(*(Outcomes(f"b1.{n}", "w", (column("train", n, (T + n, T + n + 1)),)) for n in range(5)))
    head, rows = spans(spans_bytes(fold, Names(), 2))
    assert [row["element"] for row in rows] == [3, 4]
    assert (head["from"], head["more"]) == (3, 3)


def test_a_column_is_cut_where_it_is_too_long() -> None:
    times = [(T + n, T + n + 0.5) for n in range(5)]
    fold = folded(Outcomes("b1.1", "w", (column("train", 0, *times),)))
    _, rows = spans(spans_bytes(fold, Names(), 3))
    assert [row["element"] for row in rows] == [2, 3, 4]
    assert [row["start"] for row in rows] == pytest.approx([2, 3, 4])


def test_a_run_without_attempts_has_no_spans() -> None:
    head, rows = spans(spans_bytes(RunFold(SHAPE), Names(), 10))
    assert (head["n"], rows) == (0, [])


def test_cells_are_a_status_byte_an_element() -> None:
    fold = folded(Outcomes("b1.1", "w", (column("train", 1, (T, T + 1), (T, T + 1)),)))
    instance, cells = cells_bytes(fold, 1)
    assert instance == "train"
    assert list(cells) == [0, 3, 3, 0, 0]
    with pytest.raises(KeyError, match="step number 7"):
        cells_bytes(fold, 7)


def test_a_document_holds_everything_as_text() -> None:
    made = json.loads(json.dumps(document(half_way(), b"spans", ["w1"])))
    assert made["format"] == 1
    assert len(records(base64.b64decode(made["state"]))) == 3
    assert base64.b64decode(made["spans"]) == b"spans"
    assert "train" in made["text"]


def test_ten_thousand_steps_take_a_megabyte() -> None:
    view = run(*(step(f"s{n}", status="completed") for n in range(10_000)))
    assert len(state_bytes(view)) < 1_000_000
    assert struct.unpack_from("<I", state_bytes(view))[0] < 2_000


def test_a_large_document_is_packed_and_stays_readable_as_text() -> None:
    view = run(*(step(f"step_{n}", status="completed") for n in range(2_000)))
    whole = json.loads(json.dumps(document(view)))
    small = packed(whole)
    assert small["text"] == whole["text"]
    assert len(json.dumps(small)) < len(json.dumps(whole)) / 10
    assert json.loads(zlib.decompress(base64.b64decode(small["packed"]), -zlib.MAX_WBITS)) == whole
