"""Promises of the live view: shown once, updated from its own thread when something changed, complete at the end."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.views.samples import half_way, run, step
from tests.views.wire import records
from wfnb.engine.facts import LogRow, RunView
from wfnb.model.errors import StoreUnavailable
from wfnb.views.live import LiveView, headless
from wfnb.views.snapshot import MIME, Names, built

DONE = run(step("a", status="completed"), status="completed")
PENDING = run(step("a"))


class Screen:
    """A notebook's display: what was shown, by which thread."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.threads: list[threading.Thread] = []
        self.changed = threading.Event()

    def display(self, bundle: dict[str, str]) -> Screen:
        self.update(bundle)
        return self

    def update(self, obj: Any, **_: Any) -> None:
        self.shown.append(obj)
        self.threads.append(threading.current_thread())
        if len(self.shown) > 1:
            self.changed.set()


def live(poll: Callable[[], RunView], screen: Screen) -> LiveView:
    return LiveView(poll, where="notebook", display=screen.display)


def test_the_picture_follows_the_run_from_a_thread_of_its_own_and_stops_with_it() -> None:
    screen, views = Screen(), iter([PENDING, half_way(), DONE])
    view = live(lambda: next(views), screen).start()
    thread = view._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert ["completed" in bundle["text/plain"] for bundle in screen.shown] == [False, True, True]
    assert screen.threads == [threading.current_thread(), thread, thread]


def test_nothing_is_sent_when_nothing_changed() -> None:
    screen, looked, looks = Screen(), threading.Event(), iter(range(3))

    def poll() -> RunView:
        if next(looks, None) is None:
            looked.set()
        return PENDING

    view = live(poll, screen).start()
    assert looked.wait(10)
    view.finish()
    assert len(screen.shown) == 1


def test_the_last_update_is_made_by_who_waits_for_the_run() -> None:
    screen, state = Screen(), [PENDING]
    view = live(lambda: state[0], screen).start()
    state[0] = DONE
    view.finish()
    assert "completed" in screen.shown[-1]["text/plain"]
    assert not any(thread.name == "wfnb-live-view" and thread.is_alive() for thread in threading.enumerate())


def test_a_run_that_is_over_is_shown_once_and_not_followed() -> None:
    screen = Screen()
    view = live(lambda: DONE, screen).start()
    view.finish()
    assert len(screen.shown) == 1
    assert view._thread is None


def test_a_store_out_of_reach_leaves_the_picture_as_it_is() -> None:
    screen = Screen()
    replies: list[RunView | Exception] = [PENDING, StoreUnavailable("gone"), DONE]

    def poll() -> RunView:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    view = live(poll, screen).start()
    assert screen.changed.wait(10)
    view.finish()
    assert len(screen.shown) == 2


def test_a_picture_of_a_run_whose_store_is_away_says_so_and_goes_on_when_it_is_back() -> None:
    screen = Screen()
    views = iter([PENDING, replace(PENDING, away="the store cannot be reached"), DONE])
    view = live(lambda: next(views), screen).start()
    thread = view._thread
    assert thread is not None
    thread.join(10)
    said = ["as last seen: the store cannot be reached" in bundle["text/plain"] for bundle in screen.shown]
    assert said == [False, True, False]


def test_a_picture_that_cannot_be_drawn_ends_its_thread_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    screen, replies = Screen(), [PENDING]
    view = live(replies.pop, screen).start()  # the second look fails
    thread = view._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert capsys.readouterr() == ("", "")


def test_without_a_widget_it_looks_four_times_a_second_at_most_and_less_where_a_look_takes_long() -> None:
    view = LiveView(lambda: DONE, interval=0.001, where="nowhere")
    assert view._pause(0.0) == 0.25
    assert view._pause(0.1) == pytest.approx(0.9)
    assert view._pause(100.0) == 2.0


def test_elsewhere_nothing_is_shown_and_nothing_asked() -> None:
    def poll() -> RunView:
        raise AssertionError("asked")

    with LiveView(poll, where="nowhere") as view:
        assert view._thread is None


def test_without_a_kernel_and_a_terminal_it_writes_lines_and_loads_no_ipython() -> None:
    code = "import sys; from wfnb.views.live import place; print(place(), 'IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["lines", "False"]


# -- with a widget -----------------------------------------------------------------------------------------------------

WIDGET = "application/vnd.jupyter.widget-view+json"
needs_renderer = pytest.mark.skipif(not built(), reason="the renderer is not built: `make ui`")


class Source:
    """What a widget asks."""

    def view(self) -> RunView:
        return PENDING

    def spans(self, names: Names, most: int) -> bytes:
        return b""

    def cells(self, number: int) -> tuple[str, bytes]:
        return "", b""

    def details(self, address: str) -> dict[str, Any]:
        return {"address": address}

    def logs(self, address: str | None) -> list[LogRow]:
        return []

    def command(self, name: str) -> None:
        pass


def with_widget(poll: Callable[[], RunView], screen: Screen) -> LiveView:
    return LiveView(poll, where="notebook", display=screen.display, source=Source())


@needs_renderer
def test_a_run_that_goes_on_is_a_widget_and_its_end_is_not() -> None:
    screen, views = Screen(), iter([PENDING, half_way(), DONE])
    view = with_widget(lambda: next(views), screen).start()
    thread = view._thread
    assert thread is not None
    thread.join(10)
    first, last = screen.shown
    assert set(first) == {WIDGET, MIME, "text/html", "text/plain"}
    assert set(last) == {MIME, "text/html", "text/plain"}
    assert "completed" in last["text/plain"]
    # The renderer finds the widget by its key, and a page that was loaded again is told the end too.
    assert view._widget is not None
    assert first[MIME]["key"] == last[MIME]["key"] == view._widget.key
    assert records(view._widget.state)[0]["status"] == "completed"


@needs_renderer
def test_what_changes_goes_to_the_widget_and_not_into_the_output() -> None:
    screen, state = Screen(), [PENDING]
    view = with_widget(lambda: state[0], screen)
    view.refresh()
    state[0] = half_way()
    view.refresh()
    assert len(screen.shown) == 1
    assert view._widget is not None
    assert [one["status"] for one in records(view._widget.state)] == ["completed", "running", "pending"]


@needs_renderer
def test_a_run_that_is_taken_up_again_by_a_button_is_a_widget_again() -> None:
    screen, state = Screen(), [run(step("a", status="failed"), status="failed")]
    view = with_widget(lambda: state[0], screen).start()
    assert WIDGET not in screen.shown[-1]
    state[0] = PENDING
    view._commanded()
    assert screen.changed.wait(10)
    assert WIDGET in screen.shown[-1]
    state[0] = DONE
    view.finish()
    assert WIDGET not in screen.shown[-1]


@needs_renderer
def test_a_program_that_runs_cells_gets_still_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        kernel = object()
        parent_header: ClassVar = {"header": {"msg_id": "0b8e-77_4711_3"}}

    monkeypatch.setattr("wfnb.views.live.shell", Shell)
    assert headless()
    screen = Screen()
    with_widget(lambda: PENDING, screen).refresh()
    assert set(screen.shown[0]) == {MIME, "text/html", "text/plain"}
    Shell.parent_header = {"header": {"msg_id": "0b8e77aa-6a4e-4a49-a0b9-0f9d3b1a7f55"}}
    assert not headless()


@needs_renderer
def test_nothing_is_looked_at_often_while_nobody_looks() -> None:
    view = with_widget(lambda: PENDING, Screen())
    view.refresh()
    assert view._widget is not None
    assert view._pause(0.0) == 0.1
    view._widget._received(view._widget, {"type": "close"}, [])
    assert view._pause(0.0) == 1.0
