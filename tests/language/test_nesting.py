"""Every construct in every construct: success, failure, retries, cancel, and resume from every state of the journal.

The expected values, addresses and failures are those of `table`, written by hand from `LANGUAGE.md`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest

import wfnb as wf
from tests.language.support import (
    FULL,
    Moments,
    acknowledged,
    calls,
    cut_at,
    drop,
    failures,
    folder,
    forget_calls,
    outcomes,
)
from tests.language.table import GIVEN, INNERMOST, TABLE, Failed, World, mean_nest, write_nest
from wfnb.session import SESSION
from wfnb.store.memory import MemoryStore

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("inline")]

PAIRS = [(outer, inner) for outer in TABLE for inner in INNERMOST]
pairs = pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{inner} in {outer}" for outer, inner in PAIRS])
EVERY = 1 if FULL else 6
"""A run is resumed from one in so many of its states, others for each pair; from all of them in the long version."""


@dataclass
class Seen:
    """A run of a pair that has ended, and what it called."""

    run: wf.Run
    calls: Counter[str]


RUNS: dict[tuple[str, ...], Seen] = {}


def start(word: str, *names: str, on_error: Literal["stop", "continue"] = "stop") -> wf.Run:
    run_id = f"{word}-{on_error}-{' of '.join(names)}".replace(" ", "_")
    run: wf.Run = write_nest(*names).options(run_id=run_id, view=False, on_error=on_error).submit(GIVEN)
    return run


def ended(word: str, *names: str, on_error: Literal["stop", "continue"] = "stop") -> Seen:
    """Return a run of a nest that has ended; each is run once."""
    found = RUNS.get((word, on_error, *names))
    if found is None:
        run = start(word, *names, on_error=on_error)
        run._wait(20)
        found = RUNS[(word, on_error, *names)] = Seen(run, calls(run.id))
    return found


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
    expected, world = mean_nest(outer, inner)
    seen = ended("works", outer, inner)
    check(seen.run, expected)
    assert seen.calls == dict.fromkeys(world.called, 1)


@pairs
def test_a_failure_goes_outwards_as_far_as_the_rules_say(outer: str, inner: str) -> None:
    expected, world = mean_nest(outer, inner, fails=True)
    seen = ended("fails", outer, inner)
    check(seen.run, expected)
    assert set(seen.calls) <= set(world.called)
    assert set(seen.calls.values()) == {1}


@pytest.mark.parametrize(("outer", "inner"), PAIRS[:: 1 if FULL else 5])
def test_with_continue_the_same_fails_when_all_that_can_go_on_has(outer: str, inner: str) -> None:
    expected, world = mean_nest(outer, inner, fails=True)
    leaves = mean_nest(outer, inner)[1].leaves
    seen = ended("fails", outer, inner, on_error="continue")
    if isinstance(expected, Failed):  # items that would not have been begun go on, too
        expected = Failed(expected.kind, frozenset(world.leaves | leaves))
    check(seen.run, expected)
    assert set(seen.calls.values()) == {1}


@pairs
def test_tasks_that_fail_at_first_are_tried_again_wherever_they_are(outer: str, inner: str) -> None:
    expected, world = mean_nest(outer, inner)
    seen = ended("retries", outer, inner)
    check(seen.run, expected)
    assert seen.calls == {address: 3 if address in world.leaves else 1 for address in world.called}
    tried = [(attempt, status) for address, attempt, status in outcomes(seen.run) if address in world.leaves]
    assert sorted(tried) == sorted([(1, "failed"), (2, "failed"), (3, "completed")] * len(world.leaves))


def resumed(inline: Moments, word: str, *names: str, every: int, number: int) -> None:
    """Check what comes of a run that is resumed from states of its journal: alike, and nothing done is done again."""
    expected, world = mean_nest(*names, fails=word == "fails")
    run = ended(word, *names).run
    check(run, expected)
    store = run.store
    assert isinstance(store, MemoryStore)
    for k, moment in enumerate(inline.by_run[run.id]):
        if (k + number) % every:
            continue
        part = cut_at(store, run.id, moment)
        again = SESSION._found(part, part.get(run.id))
        done = acknowledged(again)
        if word == "fails" and not isinstance(expected, Failed):
            done |= failures(again)  # each was caught, or dropped out, and stays so
        forget_calls(run.id)
        again = SESSION.resume(run.id, False, store=part)
        check(again, expected)
        assert not done & set(calls(run.id)), f"called again after {moment[0]} entries"
        assert set(calls(run.id)) <= set(world.called)
        drop(part)


FAILING = [pair for pair in PAIRS if isinstance(mean_nest(*pair, fails=True)[0], Failed)]


@pytest.mark.parametrize(("outer", "inner"), FAILING[:: 1 if FULL else 5])
def test_a_run_that_failed_is_retried_where_it_failed(outer: str, inner: str) -> None:
    expected, world = mean_nest(outer, inner)
    run = start("mends", outer, inner)
    with pytest.raises(wf.StepFailed):
        run.result(20)
    done = acknowledged(run)
    forget_calls(run.id)
    Path(folder(), f"{run.id}.go").touch()
    check(run.retry(), expected)
    assert not done & set(calls(run.id))
    assert set(calls(run.id)) <= set(world.called)


@pytest.mark.parametrize("word", ["works", "fails"])
@pairs
def test_a_run_resumed_from_any_state_of_its_journal_ends_alike(
    outer: str, inner: str, word: str, inline: Moments
) -> None:
    resumed(inline, word, outer, inner, every=EVERY, number=PAIRS.index((outer, inner)))


THREE = list(product(TABLE, TABLE, INNERMOST))


@pytest.mark.parametrize("names", THREE[:: 53 if FULL else 331], ids=" of ".join)
@pytest.mark.parametrize("word", ["works", "fails", "retries"])
def test_three_constructs_in_one_another_keep_to_the_rules_also_when_resumed(
    names: tuple[str, str, str], word: str, inline: Moments
) -> None:
    resumed(inline, word, *names, every=1 if FULL else 11, number=THREE.index(names))


# -- cancel ------------------------------------------------------------------------------------------------------------


@dataclass
class Cancelled:
    """A run that was cancelled while a leaf was blocked.

    Args:
        run: the run.
        leaf: the address of the leaf that was blocked.
        before: what was called before the cancel.
        after: what was called from then on.
        leaf_status: the status of the leaf's task in the end.
        done: what had a value in the end.
        resumed: the run resumed, with a leaf that does not block.
        again: what that called.
    """

    run: wf.Run
    leaf: str
    before: Counter[str]
    after: Counter[str]
    status: str
    leaf_status: str
    done: set[str]
    value: Any
    again: Counter[str]


CANCELLED: dict[str, dict[str, Cancelled]] = {}


def cancelled(outer: str, inner: str, monkeypatch: pytest.MonkeyPatch) -> Cancelled:
    """Return what came of a run that was cancelled; all of an outer construct are cancelled at once, to save time."""
    if outer not in CANCELLED:
        monkeypatch.setattr("wfnb.dask.worker.CANCEL_EVERY", 0.05)
        CANCELLED[outer] = cancel_all(outer)
    return CANCELLED[outer][inner]


def cancel_all(outer: str) -> dict[str, Cancelled]:
    runs = {inner: start("blocks", outer, inner) for inner in INNERMOST}
    before: dict[str, Counter[str]] = {}
    blocked: dict[str, str] = {}
    for inner, run in runs.items():
        _, world = mean_nest(outer, inner)
        deadline = time.monotonic() + 10
        while not (leaves := world.leaves & set(calls(run.id))):
            assert time.monotonic() < deadline, f"no leaf of {inner} in {outer} began"
            time.sleep(0.005)
        (blocked[inner],) = leaves
        before[inner] = calls(run.id)
    for run in runs.values():
        run.cancel()
    held = [run for inner, run in runs.items() if ".finally/" in blocked[inner]]
    if held:
        time.sleep(0.3)  # so that a cancel that does stop them shows
        for run in held:
            Path(folder(), f"{run.id}.go").touch()
    found: dict[str, Cancelled] = {}
    for inner, run in runs.items():
        run._wait(10)
        after = calls(run.id) - before[inner]
        status, done = run.status, acknowledged(run)
        leaf_status = run[blocked[inner]].status
        forget_calls(run.id)
        Path(folder(), f"{run.id}.go").touch()
        found[inner] = Cancelled(run, blocked[inner], before[inner], after, status, leaf_status, done, None, Counter())
    for one in found.values():
        resumed = SESSION.resume(one.run.id, False, store=one.run.store)
        try:
            one.value = resumed.result(10)
        except wf.WfnbError as error:
            one.value = error
        one.again = calls(one.run.id)
    return found


def last_calls(outer: str, world: World, leaf: str) -> set[str]:
    """Return what is called after a cancel: what is in `finally` of every try that had begun.

    Items in parallel begin at once, of a stream as many as it takes at a time; others one after the other.
    """
    begun = set()
    for place, addresses in world.finallys.items():
        like = re.sub(r"^out\[1\]", "out[0]", place) if outer in ("each", "stream") else place
        if leaf.startswith((f"{like}.", f"{like}/")):
            begun |= set(addresses)
    return begun


@pairs
def test_a_cancel_stops_what_runs_and_leaves_only_finally(
    outer: str, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, world = mean_nest(outer, inner)
    seen = cancelled(outer, inner, monkeypatch)
    assert seen.status == "cancelled"
    wanted = last_calls(outer, world, seen.leaf)
    assert set(seen.after) == wanted - set(seen.before)
    assert set(seen.after.values()) <= {1}
    assert seen.leaf_status == ("completed" if ".finally/" in seen.leaf else "cancelled")


@pairs
def test_a_cancelled_run_can_be_resumed(outer: str, inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, world = mean_nest(outer, inner)
    seen = cancelled(outer, inner, monkeypatch)
    assert seen.value == expected
    # What was cleaned up for the cancel is cleaned up once more at the end.
    assert not {one for one in seen.done & set(seen.again) if ".finally/" not in one}
    assert set(seen.again) <= set(world.called)
