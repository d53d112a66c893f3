"""Ctrl-C where there is no kernel: it ends a wait, says what next, and leaves everything else as it is."""

from __future__ import annotations

import asyncio
import signal
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from wfnb.interrupts import Detaching, DetachingAwait, _Armed


@dataclass
class FakeRun:
    id: str = "x"
    status: str = "running"
    asked: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.status == "completed"

    def cancel(self) -> None:
        self.asked.append("cancel")


def test_a_press_says_that_the_run_goes_on_and_how_to_watch_and_to_cancel_it() -> None:
    run = FakeRun()
    for _ in range(2):  # outside a kernel a second press is like the first
        with pytest.raises(KeyboardInterrupt) as stopped, Detaching(run):
            raise KeyboardInterrupt
        assert str(stopped.value) == (
            "stopped waiting; run 'x' goes on. To watch it: wf.get_run('x'). To cancel it: wf.get_run('x').cancel()"
        )
    assert run.asked == []


def test_a_press_that_comes_after_the_end_says_that() -> None:
    with (
        pytest.raises(KeyboardInterrupt, match="stopped; run 'x' is completed"),
        Detaching(FakeRun(status="completed")),
    ):
        raise KeyboardInterrupt


def test_a_block_in_a_block_says_it_once() -> None:
    with pytest.raises(KeyboardInterrupt, match="run 'x' goes on"), Detaching(FakeRun("y")), Detaching(FakeRun("x")):
        raise KeyboardInterrupt


def test_other_errors_and_other_cancels_pass() -> None:
    with pytest.raises(ValueError, match="mine"), Detaching(FakeRun()):
        raise ValueError("mine")
    with pytest.raises(asyncio.CancelledError, match=r"^$"), DetachingAwait(FakeRun()):
        raise asyncio.CancelledError


def test_no_handler_is_touched_where_there_is_no_kernel() -> None:
    before = signal.getsignal(signal.SIGINT)
    with DetachingAwait(FakeRun()):
        assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), Detaching(FakeRun()):
        raise KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is before


def test_when_a_second_press_is_waited_for_no_more_the_cell_says_how_the_run_is_by_then() -> None:
    said: list[str] = []
    for status in ("running", "completed"):
        kernel = SimpleNamespace(saved_sigint_handler=None)
        _Armed(FakeRun(status=status), kernel, said.append).expire()
        for thread in threading.enumerate():
            if thread.name == "wfnb-second-press":
                thread.join(10)
        assert kernel.saved_sigint_handler is None
    assert said == [
        "Stopped waiting; run 'x' goes on. wf.get_run('x').cancel() cancels it.",
        "Stopped waiting; run 'x' is completed.",
    ]
