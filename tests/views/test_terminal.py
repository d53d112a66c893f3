"""Promises of a run as text on a stream: redrawn in a terminal, a line for each change in a log."""

from __future__ import annotations

import io

import pytest

from tests.views.samples import fan_out, half_way, run, step
from wfnb.engine.facts import RunView, TaskError
from wfnb.views.live import LiveView
from wfnb.views.terminal import Lines, OneLine, Rich, screen

DONE = run(step("a", status="completed"), status="completed")


def test_a_terminal_without_rich_has_one_rewritten_line_and_a_summary_at_the_end() -> None:
    stream = io.StringIO()
    shown = OneLine(stream)
    shown.show(half_way(), last=False)
    shown.show(half_way(), last=False)
    shown.show(DONE, last=True)
    first, last = stream.getvalue().split("\r\x1b[2K")[1:]
    assert "38 of 102 tasks" in first
    assert "\n" not in first
    assert last.splitlines()[-1] == "  ✓ a  completed"
    assert last.endswith("\n")


def test_a_terminal_with_rich_shows_the_run_its_figures_and_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    stream = io.StringIO()
    shown = Rich(stream)
    shown.show(half_way(), last=False)
    during = stream.getvalue()
    shown.show(DONE, last=True)
    for said in ("flow", "38 of 102 tasks", "train", "37/100 · 2 failed"):
        assert said in during
    assert stream.getvalue().rstrip().endswith("✓ a  completed")


def test_of_many_steps_a_terminal_shows_those_around_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    steps = [step(f"s{n:02}", status="completed" if n < 30 else "running" if n == 30 else "pending") for n in range(60)]
    shown = Rich(stream)
    shown.show(run(*steps), last=False)
    shown.show(DONE, last=True)
    said = stream.getvalue()
    assert "s30" in said
    assert "s05" not in said
    assert "and 48 more steps" in said


def test_a_log_has_a_line_for_each_change_and_none_without_one() -> None:
    stream = io.StringIO()
    log = Lines(stream)
    log.show(run(step("a", status="running"), step("b", "a")), last=False)
    log.show(run(step("a", status="running"), step("b", "a")), last=False)
    log.show(run(step("a", status="completed", mean=0.5), step("b", "a", status="running")), last=False)
    lines = stream.getvalue().splitlines()
    assert lines == ["▶ flow run-1: running", "  ✓ a: completed 0.50 s"]


def test_a_log_ends_with_what_came_of_the_run_and_the_way_on() -> None:
    stream = io.StringIO()
    error = TaskError("b", "ValueError", "no")
    over = run(step("a", status="completed"), step("b", "a", status="failed"), status="failed", error=error)
    Lines(stream).show(over, last=True)
    said = stream.getvalue()
    assert "✗ flow run-1: failed · 1 of 2 tasks · 1 failed" in said
    assert "  b: ValueError: no" in said
    assert "run.retry()" in said


def test_many_steps_that_end_at_once_are_told_in_few_lines() -> None:
    stream = io.StringIO()
    Lines(stream).show(run(*(step(f"s{n}", status="completed") for n in range(500))), last=False)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  … and 480 more steps"


def test_the_stream_decides_how_a_run_is_told() -> None:
    assert isinstance(screen(io.StringIO(), terminal=False), Lines)
    assert isinstance(screen(io.StringIO(), terminal=True), Rich)


def test_a_live_view_of_a_log_tells_the_end_once() -> None:
    stream = io.StringIO()
    views: list[RunView] = [run(fan_out("a", width=3, running=3)), DONE]
    live = LiveView(lambda: views.pop(0) if len(views) > 1 else views[0], where="lines", stream=stream).start()
    live.finish()
    live.finish()
    assert stream.getvalue().count("completed · 1 of 1 task") == 1
