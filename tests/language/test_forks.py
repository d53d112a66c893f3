"""Forks of every construct in every construct, from any of their steps, and of runs that were cut short."""

from __future__ import annotations

from typing import Any

import pytest

import wfnb as wf
from tests.language.support import FULL, Moments, acknowledged, calls, cut_at, drop, forget_calls
from tests.language.table import GIVEN, INNERMOST, TABLE, mean_nest, write_nest
from wfnb.engine.addresses import places, template_of
from wfnb.engine.lower import lower
from wfnb.model.events import RunStarted
from wfnb.session import SESSION
from wfnb.store.memory import MemoryStore

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("inline")]

PAIRS = [(outer, inner) for outer in TABLE for inner in INNERMOST]
pairs = pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{inner} in {outer}" for outer, inner in PAIRS])
EVERY = 1 if FULL else 7


def ended(*names: str) -> wf.Run:
    run_id = f"works-forked-{'_of_'.join(names)}".replace(" ", "_")
    try:
        return wf.get_run(run_id)
    except wf.RunNotFound:
        run: wf.Run = write_nest(*names).options(run_id=run_id, view=False).submit(GIVEN)
        run.result(20)
        return run


def steps_of(*names: str) -> list[str]:
    """Return the steps that one can fork from, as one may write them."""
    lowered = lower(write_nest(*names).graph)
    return [step.id for step, place in zip(lowered.steps, lowered.places, strict=True) if not place.helper]


def reset_of(run: wf.Run) -> dict[str, str]:
    return [event for event in run.events() if isinstance(event, RunStarted)][-1].reset


def is_of(address: str, steps: dict[str, str]) -> bool:
    """Whether a task is of one of some steps."""
    template = template_of(address)
    return template in steps or template.removesuffix("[]") in steps


def may_run(address: str, steps: dict[str, str]) -> bool:
    """Whether a task may run again with some steps: it is of one, or only there because of one.

    What a dynamic step planned is planned anew with it; what is in the other bodies of a try depends on how it went.
    """
    template = template_of(address)
    planned = any(template.startswith(f"{step.removesuffix('.plan')}/") for step in steps if step.endswith(".plan"))
    tried = any(
        place.arm.startswith(("try", "catch", "finally")) and place.construct in steps for place in places(template)
    )
    return planned or tried or is_of(address, steps)


@pairs
def test_a_fork_from_any_step_has_the_same_value_and_runs_only_what_is_not_shared(outer: str, inner: str) -> None:
    expected, world = mean_nest(outer, inner)
    run = ended(outer, inner)
    done = acknowledged(run)
    before = run.store.read(run.id)
    number = PAIRS.index((outer, inner))
    for k, step in enumerate(steps_of(outer, inner)):
        if (k + number) % EVERY and step != "nest":
            continue
        fork = run.fork(from_=step, run_id=f"{run.id}-{k}")
        assert fork.result(20) == expected
        reset = reset_of(fork)
        again = set(calls(fork.id))
        assert again <= set(world.called)
        assert not {address for address in done & again if not may_run(address, reset)}, f"from '{step}'"
        assert {address for address in done & set(world.called) if is_of(address, reset)} <= again, f"from '{step}'"
        forget_calls(fork.id)
    assert run.store.read(run.id) == before


@pairs
def test_a_fork_of_a_run_as_it_was_at_any_moment_ends_alike(outer: str, inner: str, inline: Moments) -> None:
    expected, world = mean_nest(outer, inner)
    run = ended(outer, inner)
    store: Any = run.store
    number = PAIRS.index((outer, inner))
    for k, moment in enumerate(inline.by_run[run.id]):
        if (k + number) % (2 * EVERY):
            continue
        part: MemoryStore = cut_at(store, run.id, moment)
        half = SESSION._found(part, part.get(run.id))
        done = acknowledged(half)
        fork = half.fork(run_id=f"{run.id}-at-{k}")
        assert fork.result(20) == expected
        assert not done & set(calls(fork.id))
        assert set(calls(fork.id)) <= set(world.called)
        forget_calls(fork.id)
        drop(part)
