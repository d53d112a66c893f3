"""Promises of what tasks print, log and raise: it reaches the journal whole, and never gets in a task's way."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

import wfnb as wf
from wfnb.dask.recorder import Recorder, printable
from wfnb.dask.work import Orders
from wfnb.model.events import Logs, decode_event
from wfnb.store.base import RunRecord
from wfnb.store.memory import MemoryStore


@wf.node
def chatty(count: int) -> int:
    for number in range(count):
        print("line", number)
    return count


@wf.node
def odd(text: str) -> str:
    print(text)
    logging.getLogger("odd").warning(text)
    return "done"


@wf.node
def heavy(size: int) -> None:
    error = ValueError("too much")
    error.data = "x" * size  # type: ignore[attr-defined]
    raise error


def run(flow: wf.Workflow[..., object], folder: Path, *args: object) -> wf.Run:
    options = {"store": f"sqlite:///{folder}/runs.db", "cluster": "inline"}
    return flow.options(**options).submit(*args)  # type: ignore[no-any-return]


def test_every_line_a_task_prints_is_kept_while_another_thread_writes_them() -> None:
    store = MemoryStore("memory://chatty")
    store.create(RunRecord("r", "w", "", "running", 0.0, 0.0))
    none: frozenset[int] = frozenset()
    epoch = store.acquire("r", "me", 60).epoch
    orders = Orders("r", epoch, store.url, b"", "", "b", (), (), {}, none, {}, {}, {}, none, True, False)
    recorder = Recorder(store, orders, "w")
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            recorder.flush()

    ticker = threading.Thread(target=flush)
    ticker.start()
    for number in range(3000):
        recorder.log(f"task[{number % 50}]", 1, "stdout", f"{number}")
        recorder.log(f"task[{number % 50}]", 1, "stdout", "\n")
    stop.set()
    ticker.join()
    recorder.flush()
    text = ""
    for entry in store.read("r"):
        event = decode_event(entry.data)
        if isinstance(event, Logs):
            text += "".join(row[4] for row in event.rows)
    store.delete("r")
    assert text == "".join(f"{number}\n" for number in range(3000))


def test_a_print_is_one_row_with_its_line_end(tmp_path: Path) -> None:
    @wf.workflow
    def flow(count: int) -> int:
        return chatty(count)

    done = run(flow, tmp_path, 3)
    assert done.result() == 3
    assert "".join(row.text for row in done.logs("chatty")) == "line 0\nline 1\nline 2\n"


def test_text_that_is_no_utf8_is_kept_readable_and_fails_nothing(tmp_path: Path) -> None:
    @wf.workflow
    def flow(text: str) -> str:
        return odd(text)

    done = run(flow, tmp_path, "name\udcff")
    assert done.result() == "done"
    assert "name\\udcff\n" in [row.text for row in done.logs("odd")]


def test_an_error_that_carries_much_data_is_told_without_it(tmp_path: Path) -> None:
    @wf.workflow
    def flow(size: int) -> None:
        return heavy(size)

    failed = run(flow, tmp_path, 3_000_000)
    with pytest.raises(wf.StepFailed, match="ValueError: too much"):
        failed.result()
    assert sum(len(entry.data) for entry in failed.store.read(failed.id)) < 1_000_000


@pytest.mark.parametrize(("text", "shown"), [("plain", "plain"), ("größe", "größe"), ("a\udcffb", "a\\udcffb")])
def test_what_has_no_place_in_utf8_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
