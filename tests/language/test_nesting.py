"""Every construct in every construct: success, failure, retries, cancel, and resume from every state of the journal.

The expected values, addresses and failures are those of `table`, written by hand from `LANGUAGE.md`.
"""

from __future__ import annotations

from typing import Any

import pytest

import wfnb as wf
from tests.language.support import FULL, Moments, acknowledged, calls, cut_at, drop, forget_calls, outcomes
from tests.language.table import GIVEN, INNERMOST, TABLE, Failed, mean_pair, write_pair
from wfnb.session import SESSION
from wfnb.store.memory import MemoryStore

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("inline")]

PAIRS = [(outer, inner) for outer in TABLE for inner in INNERMOST]
pairs = pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{inner} in {outer}" for outer, inner in PAIRS])


def run_id_of(word: str, outer: str, inner: str) -> str:
    return f"{word}-{outer} of {inner}".replace(" ", "_")


def start(word: str, outer: str, inner: str) -> wf.Run:
    run_id = run_id_of(word, outer, inner)
    SESSION.store().delete(run_id)
    forget_calls(run_id)
    return write_pair(outer, inner).options(run_id=run_id, view=False).submit(GIVEN)


def check(run: wf.Run, expected: Any) -> None:
    """Check what came of a run: its value, or its failure's type and address."""
    if not isinstance(expected, Failed):
        assert run.result(20) == expected
        assert run.status == "completed"
        return
    with pytest.raises(wf.StepFailed) as failed:
        run.result(20)
    assert failed.value.error_type == expected.kind
    assert failed.value.address in expected.at
    assert run.status == "failed"


@pairs
def test_the_value_and_the_calls_are_those_of_the_rules(outer: str, inner: str) -> None:
    expected, world = mean_pair(outer, inner)
    run = start("works", outer, inner)
    check(run, expected)
    assert calls(run.id) == dict.fromkeys(world.called, 1)


@pairs
def test_a_failure_goes_outwards_as_far_as_the_rules_say(outer: str, inner: str) -> None:
    expected, world = mean_pair(outer, inner, fails=True)
    run = start("fails", outer, inner)
    check(run, expected)
    assert set(calls(run.id)) <= set(world.called)
    assert set(calls(run.id).values()) == {1}


@pairs
def test_tasks_that_fail_at_first_are_tried_again_wherever_they_are(outer: str, inner: str) -> None:
    expected, world = mean_pair(outer, inner)
    run = start("retries", outer, inner)
    check(run, expected)
    leaves = {address for address in world.called if address in world.leaves}
    assert calls(run.id) == {address: 3 if address in leaves else 1 for address in world.called}
    tried = [(attempt, status) for address, attempt, status in outcomes(run.store, run.id) if address in leaves]
    assert sorted(tried) == sorted([(1, "failed"), (2, "failed"), (3, "completed")] * len(leaves))


@pytest.mark.parametrize("word", ["works", "fails"])
@pairs
def test_a_run_resumed_from_any_state_of_its_journal_ends_alike(
    outer: str, inner: str, word: str, inline: Moments
) -> None:
    expected, world = mean_pair(outer, inner, fails=word == "fails")
    inline.by_run.pop(run_id_of(word, outer, inner), None)
    run = start(word, outer, inner)
    check(run, expected)
    store = run.store
    assert isinstance(store, MemoryStore)
    moments = inline.by_run[run.id]
    number = PAIRS.index((outer, inner))
    for k, moment in enumerate(moments):
        if not FULL and (k + number) % 3:
            continue
        part = cut_at(store, run.id, moment)
        done = acknowledged(part, run.id)
        forget_calls(run.id)
        again = SESSION.resume(run.id, False, store=part)
        check(again, expected)
        assert not done & set(calls(run.id)), f"called again after {moment[0]} entries"
        assert set(calls(run.id)) <= set(world.called)
        drop(part)
