"""Promises of programs: what a worker keeps of the runs it works for."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import wfnb as wf
from wfnb.dask import program as programs
from wfnb.dask.program import Program, program
from wfnb.model.events import RunStarted
from wfnb.store.keys import secret_key


@wf.node
def length(data: bytes) -> int:
    return len(data)


@wf.workflow
def measured(data: bytes) -> int:
    return length(data)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> OrderedDict[tuple[str, str, str], Program]:
    found: OrderedDict[tuple[str, str, str], Program] = OrderedDict()
    monkeypatch.setattr(programs, "_programs", found)
    return found


def ran(size: int) -> wf.Run:
    run = measured.options(store="memory://programs", cluster="inline", view=False).submit(b"x" * size)
    assert run.result(20) == size
    return run


def loaded(run: wf.Run) -> Program:
    (code,) = [event.code for event in run.events() if isinstance(event, RunStarted)]
    return program(run.store, run.id, code, secret_key())


def test_a_program_is_loaded_once(known: OrderedDict[tuple[str, str, str], Program]) -> None:
    run = ran(10)
    assert loaded(run) is loaded(run)
    assert [key[1] for key in known] == [run.id]


def test_big_inputs_of_runs_that_are_idle_make_room(
    known: OrderedDict[tuple[str, str, str], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_MOST_BYTES", 1000)
    runs = [ran(900) for _ in range(3)]
    assert [key[1] for key in known] == [run.id for run in runs]  # each was used a moment ago
    monkeypatch.setattr(programs, "_IDLE", 0.0)
    last = ran(10)
    assert [key[1] for key in known] == [runs[-1].id, last.id]


def test_a_run_whose_inputs_are_bigger_than_all_that_is_kept_has_them_while_it_runs(
    known: OrderedDict[tuple[str, str, str], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_MOST_BYTES", 10)
    monkeypatch.setattr(programs, "_IDLE", 0.0)
    run = ran(900)
    assert [key[1] for key in known] == [run.id]
