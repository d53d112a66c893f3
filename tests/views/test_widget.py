"""Promises of the widget: it is sent what changed and nothing else, and every question has an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.views.samples import half_way, run, step
from tests.views.wire import records
from wfnb.engine.facts import LogRow, RunView
from wfnb.views.snapshot import Names, built

if not built():
    pytest.skip("the renderer is not built: `make ui`", allow_module_level=True)

from wfnb.views.widget import RunsWidget, RunWidget


class Watched:
    """A run to be shown."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.asked = 0

    def view(self) -> RunView:
        return half_way()

    def spans(self, names: Names, most: int) -> bytes:
        self.asked += 1
        return f"spans {self.asked}, {most} at most".encode()

    def cells(self, number: int) -> tuple[str, bytes]:
        return "train", bytes([number] * 3)

    def details(self, address: str) -> dict[str, Any]:
        if address == "none":
            raise KeyError("no task 'none'")
        return {"address": address}

    def logs(self, address: str | None) -> list[LogRow]:
        return [LogRow(address or "load", 1, float(n), "stdout", f"{n}\n") for n in range(1500)]

    def command(self, name: str) -> None:
        self.commands.append(name)


class Sent:
    """What a widget sends, and answers that are waited for."""

    def __init__(self, widget: RunWidget, monkeypatch: pytest.MonkeyPatch) -> None:
        self.widget = widget
        self.answers: list[tuple[dict[str, Any], list[bytes]]] = []
        self.states: list[set[str]] = []
        self._answered = threading.Semaphore(0)
        monkeypatch.setattr(widget, "send", self._answer)
        monkeypatch.setattr(widget, "send_state", lambda key=None: self.states.append(set(key or ())))

    def _answer(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self.answers.append((content, buffers))
        self._answered.release()

    def ask(self, **message: Any) -> tuple[dict[str, Any], list[bytes]]:
        self.widget._received(self.widget, {**message, "id": 7}, [])
        assert self._answered.acquire(timeout=20)
        return self.answers[-1]


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def widget(watched: Watched) -> Iterator[RunWidget]:
    made = RunWidget(watched)
    yield made
    made.close()


@pytest.fixture
def sent(widget: RunWidget, monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(widget, monkeypatch)


def test_a_run_is_sent_as_shape_state_and_spans(widget: RunWidget) -> None:
    widget.show(half_way())
    assert [one["id"] for one in json.loads(widget.shape)["steps"]] == ["load", "train", "best"]
    assert [one["status"] for one in records(widget.state)] == ["completed", "running", "pending"]
    assert widget.spans == b"spans 1, 5000 at most"


def test_what_has_not_changed_is_not_sent_again(widget: RunWidget, sent: Sent) -> None:
    view = half_way()
    widget.show(view)
    sent.states.clear()
    widget.show(view)
    assert sent.states in ([], [set()])


def test_a_new_state_is_one_message_without_the_shape(widget: RunWidget, sent: Sent) -> None:
    widget.show(run(step("a")))
    sent.states.clear()
    widget.show(run(step("a", status="running")))
    assert sent.states == [{"state"}]


def test_spans_are_sent_once_a_second_at_most_and_at_the_end(widget: RunWidget, watched: Watched) -> None:
    for _ in range(5):
        widget.show(half_way())
    assert watched.asked == 1
    widget.show(half_way(), whole=True)
    assert watched.asked == 2


def test_a_view_of_the_dag_alone_asks_for_no_spans(watched: Watched) -> None:
    widget = RunWidget(watched, "dag")
    widget.show(half_way())
    assert watched.asked == 0
    widget.close()


def test_it_is_open_until_the_last_view_is_closed(widget: RunWidget) -> None:
    assert widget.is_open
    for kind, is_open in [("open", True), ("open", True), ("close", True), ("close", False), ("open", True)]:
        widget._received(widget, {"type": kind}, [])
        assert widget.is_open == is_open


@pytest.mark.parametrize("name", ["pause", "resume", "cancel", "retry"])
def test_a_button_is_a_command_and_its_answer_tells_that_it_was_done(watched: Watched, sent: Sent, name: str) -> None:
    answer, _ = sent.ask(type="command", name=name)
    assert answer == {"type": "answer", "id": 7, "ok": True}
    assert watched.commands == [name]


def test_a_command_that_is_none_is_refused(watched: Watched, sent: Sent) -> None:
    answer, _ = sent.ask(type="command", name="explode")
    assert answer["ok"] is False
    assert watched.commands == []


def test_cells_and_spans_are_answered_as_bytes(sent: Sent) -> None:
    answer, buffers = sent.ask(type="cells", step=2)
    assert (answer["instance"], answer["width"], buffers) == ("train", 3, [bytes([2, 2, 2])])
    answer, buffers = sent.ask(type="spans")
    assert buffers == [b"spans 1, 200000 at most"]


def test_details_are_answered_and_what_is_missing_is_said(sent: Sent) -> None:
    assert sent.ask(type="details", address="train[3]")[0]["details"] == {"address": "train[3]"}
    answer, _ = sent.ask(type="details", address="none")
    assert (answer["ok"], answer["error"]) == (False, "no task 'none'")


def test_logs_come_in_portions(sent: Sent) -> None:
    first, _ = sent.ask(type="logs", after=0, address=None)
    assert (len(first["rows"]), first["next"]) == (1000, 1000)
    rest, _ = sent.ask(type="logs", after=first["next"], address="train")
    assert (len(rest["rows"]), rest["next"]) == (500, 1500)
    assert rest["rows"][0][0] == "train"


def test_a_widget_without_a_run_answers_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    widget = RunWidget(None, "workflow")
    answer, _ = Sent(widget, monkeypatch).ask(type="spans")
    assert (answer["ok"], answer["error"]) == (False, "there is no run to ask")
    widget.close()


def test_a_table_shows_the_run_that_is_chosen(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []

    def find(run_id: str) -> Watched:
        chosen.append(run_id)
        return watched

    widget = RunsWidget(find, lambda: chosen.append("told"))
    answer, _ = Sent(widget, monkeypatch).ask(type="open", run="run-1")
    assert answer["ok"] is True
    assert chosen == ["run-1", "told"]
    assert widget.chosen is watched
    assert json.loads(widget.shape)["run"] == "run-1"
    widget.close()
