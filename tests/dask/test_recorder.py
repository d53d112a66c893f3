"""A recorder writes what happened once, together with the values, and stops when somebody else has the bundle."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import wfnb as wf
from tests.dask.bench import Bench
from wfnb.dask.recorder import BIG, MOST_OUTPUT, MOST_ROWS, Row
from wfnb.engine.bundles import Segment
from wfnb.model.errors import EntryExists, StaleEpoch
from wfnb.model.events import COMPLETED, FAILED, ErrorRecord, Logs, Outcomes
from wfnb.store.base import Memo


@wf.node
def same(x: Any) -> Any:
    return x


@wf.workflow
def flow(xs: list[Any]) -> list[Any]:
    return same.map(xs)


@pytest.fixture
def bench() -> Bench:
    return Bench(flow, xs=[1, 2, 3])


def row(element: int, item: Any = None, **more: Any) -> Row:
    return Row("same", element, 1, COMPLETED, float(element), element + 0.5, item, **more)


def test_neighbours_with_their_values_are_one_column_in_one_pack(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    for element in (0, 1, 2, 4):
        recorder.add(row(element, element * 10))
    recorder.flush()
    assert [(column.lo, len(column.status), column.offset) for column in bench.columns] == [(0, 3, 0), (4, 1, 3)]
    assert {column.pack for column in bench.columns} == {"b1.1.1"}
    assert bench.values() == {("same", element): element * 10 for element in (0, 1, 2, 4)}


def test_values_not_kept_are_in_no_pack(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    recorder.add(row(0, kept=False))
    recorder.flush()
    assert [column.pack for column in bench.columns] == [""]
    assert bench.store.load("run", ["b1.1.1"]) == {}


def test_a_failure_keeps_its_error_and_its_place_among_the_others(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 3)))
    recorder.add(row(0, "a"))
    recorder.add(Row("same", 1, 1, FAILED, 0.0, 1.0, kept=False, error=ErrorRecord("ValueError", "no")))
    recorder.add(row(2, "c"))
    recorder.flush()
    assert (bench.completed, bench.failed) == ([("same", 0), ("same", 2)], [("same", 1)])
    assert [column.errors[0].message for column in bench.columns if column.errors] == ["no"]


def test_where_answers_are_from_is_kept_and_neighbours_there_are_one_entry(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 6)))
    memos = [Memo("r1", "p", 4), Memo("r1", "p", 5), None, Memo("r1", "p", 7), Memo("r1", "q", 8), None]
    for element, memo in enumerate(memos):
        recorder.add(row(element, element, origin=memo))
    recorder.flush()
    (column,) = bench.columns
    assert column.origins == ((0, "r1", "p", 4), (3, "r1", "p", 7), (4, "r1", "q", 8))


def test_where_a_single_answer_is_from_is_kept(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 1)))
    recorder.add(row(0, "a", origin=Memo("r1", "p", 4)))
    recorder.flush()
    assert bench.columns[0].origins == ((0, "r1", "p", 4),)


def test_nothing_is_written_when_there_is_nothing(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    recorder.flush()
    assert bench.events == []


def test_the_end_of_a_bundle_is_written_even_when_there_is_nothing_else(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    recorder.flush(ended=True)
    assert bench.events == [Outcomes("b1.1", "worker", (), ended=True)]


def test_outcomes_and_output_of_one_flush_are_written_together(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    recorder.add(row(0, 1))
    recorder.log("same[0]", 1, "stdout", "hello\n")
    recorder.flush()
    first, second = bench.events
    assert isinstance(first, Outcomes)
    assert isinstance(second, Logs)


def test_a_flush_never_waits_for_more_than_so_many_outcomes(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 10_000)))
    for element in range(MOST_ROWS):
        recorder.add(row(element, element))
    assert len(bench.completed) == MOST_ROWS


def test_a_second_execution_goes_on_after_what_the_first_has_recorded(bench: Bench) -> None:
    orders = bench.orders(Segment((0,), 0, 5))
    first = bench.recorder(orders)
    first.add(row(0, "first"))
    first.flush()
    second = bench.recorder(orders)
    (found,) = second.recorded()
    assert isinstance(found, Outcomes)
    assert [column.lo for column in found.columns] == [0]
    second.add(row(1, "second"))
    second.flush()
    assert bench.values() == {("same", 0): "first", ("same", 1): "second"}


def test_of_two_executions_of_a_bundle_only_one_records_on(bench: Bench) -> None:
    orders = bench.orders(Segment((0,), 0, 5))
    first, second = bench.recorder(orders), bench.recorder(orders)
    first.add(row(0, "first"))
    second.add(row(0, "second"))
    first.flush()
    with pytest.raises(EntryExists):
        second.flush()
    assert bench.values() == {("same", 0): "first"}


def test_an_execution_under_an_older_driver_records_nothing(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    bench.store.release("run", bench.epoch)
    bench.store.acquire("run", "another", 60)
    recorder.add(row(0, "late"))
    with pytest.raises(StaleEpoch):
        recorder.flush()
    assert bench.events == []


def test_a_large_array_is_written_at_once_and_a_small_one_copied(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    large, small = np.zeros(BIG // 8), np.zeros(10)
    large_item, at_once = recorder.encode(large)
    small_item, later = recorder.encode(small)
    assert (at_once, later) == (True, False)
    small[:] = 1
    recorder.add(row(0, large_item))
    recorder.add(row(1, small_item))
    recorder.flush()
    assert {task: array.sum() for task, array in bench.values().items()} == {("same", 0): 0, ("same", 1): 0}


def test_output_without_line_ends_is_joined_by_task_and_stream(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    for address, stream, text in [
        ("a", "stdout", "one "),
        ("a", "stdout", "two\n"),
        ("a", "stderr", "three"),
        ("b", "stderr", "four"),
    ]:
        recorder.log(address, 1, stream, text)
    recorder.flush()
    assert [(log[0], log[3], log[4]) for log in bench.logs] == [
        ("a", "stdout", "one two\n"),
        ("a", "stderr", "three"),
        ("b", "stderr", "four"),
    ]


def test_output_beyond_a_limit_is_cut_and_says_so(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 5)))
    for _ in range(5):
        recorder.log("a", 1, "stdout", "x" * (MOST_OUTPUT // 2) + "\n")
    recorder.log("b", 1, "stdout", "short\n")
    recorder.flush()
    text = "".join(log[4] for log in bench.logs if log[0] == "a")
    assert MOST_OUTPUT < len(text) < MOST_OUTPUT + 100
    assert text.endswith("characters is not kept\n")
    assert [log[4] for log in bench.logs if log[0] == "b"] == ["short\n"]


@pytest.mark.timeout(30)
def test_two_threads_write_every_outcome_once(bench: Bench) -> None:
    recorder = bench.recorder(bench.orders(Segment((0,), 0, 10_000)))
    over = threading.Event()

    def tick() -> None:
        while not over.is_set():
            recorder.flush()

    ticker = threading.Thread(target=tick)
    ticker.start()
    for element in range(10_000):
        recorder.add(row(element, element))
    over.set()
    ticker.join()
    recorder.flush()
    assert bench.completed == [("same", element) for element in range(10_000)]
    assert bench.values() == {("same", element): element for element in range(10_000)}
