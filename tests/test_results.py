"""A run's end tells its value; where it cannot, the journal does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import wfnb as wf
from wfnb.dask.program import Compiled, Program
from wfnb.engine.lower import lower
from wfnb.model.errors import StoreError
from wfnb.model.events import Event, RunEnded, RunStarted
from wfnb.results import Tail, value_of


@wf.node
def double(x: int) -> int:
    return 2 * x


@wf.workflow
def doubled_here(xs: list, more: int = 5) -> dict:
    return {"all": double.map(xs), "one": double(more), "given": more}


def ran() -> tuple[wf.Run, list[Event], RunEnded, Program]:
    run = doubled_here.options(store="memory://results", cluster="inline", view=False).submit([1, 2, 3])
    run.result()
    events = run.events()
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    return run, events, ended, Program(Compiled(lower(doubled_here.graph)), {"xs": [1, 2, 3], "more": 5})


def refused() -> list[Event]:
    raise AssertionError("the journal is not to be read")


def test_the_end_of_a_run_says_where_its_value_is() -> None:
    run, _, ended, program = ran()
    value = value_of(run.store, run.id, program, ended, refused)
    assert value == {"all": [2, 4, 6], "one": 10, "given": 5}


def test_where_the_end_does_not_say_it_the_journal_does() -> None:
    run, events, ended, program = ran()
    value = value_of(run.store, run.id, program, replace(ended, values=()), lambda: events)
    assert value == {"all": [2, 4, 6], "one": 10, "given": 5}


def test_values_in_more_places_than_an_end_may_name_are_found_by_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfnb.engine.state.outputs_of.__defaults__", (1,))
    run, events, ended, program = ran()
    assert ended.values == ()
    assert value_of(run.store, run.id, program, ended, lambda: events) == {"all": [2, 4, 6], "one": 10, "given": 5}


def test_a_value_that_was_removed_is_told_with_its_step() -> None:
    run, _, ended, program = ran()
    gone = tuple((step, width, tuple((lo, hi, "gone", at) for lo, hi, _, at in places))
                 for step, width, places in ended.values)  # fmt: skip
    with pytest.raises(StoreError, match=r"value of step 'double.*' is not in the store"):
        value_of(run.store, run.id, program, replace(ended, values=gone), refused)


def test_a_run_that_was_begun_again_has_not_ended() -> None:
    run, _, ended, _ = ran()
    tail = Tail(run.store, run.id)
    assert tail.read() == ended
    tail.take(RunStarted(0.0, "me", "other code", {}, {}))
    assert (tail.ended, tail.code) == (None, "other code")


def test_what_was_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run, events, _, _ = ran()
    tail = Tail(run.store, run.id)
    tail.read()
    asked: list[int] = []
    read = run.store.read

    def counted(run_id: str, after: int = 0, limit: int | None = None) -> Any:
        asked.append(after)
        return read(run_id, after, limit)

    monkeypatch.setattr(run.store, "read", counted)
    tail.read()
    assert asked == [len(events)]
