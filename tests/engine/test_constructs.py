"""Random workflows of all constructs, driven in a pretend cluster, against an evaluator that knows only LANGUAGE.md.

A seed makes a workflow, says which of its tasks fail, and how the run is driven. `WFNB_FULL=1` tries many more seeds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.engine.constructs import Bench, Journey
from tests.engine.graphs import Chance, Maker
from tests.engine.oracle import Meaning, Missing, Nature, mean

SEEDS = 4_000 if os.environ.get("WFNB_FULL") else 250
BLOCK = 50
"""How many seeds a test tries."""


@dataclass
class Case:
    """One workflow, what it may come to, and where it is run."""

    meaning: Meaning
    bench: Bench
    chance: Chance

    def journey(self) -> Journey:
        """Return a hard way: workers and drivers die, bundles are handed back, people pause."""
        kills = tuple(self.chance.number(1, 6) for _ in range(self.chance.number(0, 4)))
        return Journey(0.05, 0.2, kills, None, 0.05, self.chance.number(1, 4))

    def ends_as_it_may(self, journey: Journey) -> tuple[str, ...]:
        """Run, and hold what came of it against what it means; return it."""
        bench, meaning = self.bench, self.meaning
        found = bench.result(bench.run(journey))
        if meaning.whole:
            assert found in meaning.outcomes
            wrongly = {one for one in set(bench.calls) - meaning.called if ".source" not in one}
            assert not wrongly, f"called, and should not be: {sorted(wrongly)}"
        assert bench.replayed().complete == bench.engine.state.complete
        return found


def case(seed: int, *, rates: tuple[int, ...] = (0,), go_on: bool = False) -> Case | None:
    """Return what a seed makes, or None where its value is made of what never begins."""
    chance = Chance(seed)
    graph = Maker(chance, left=random.Random(seed).choice([4, 8, 14])).graph()
    nature = Nature(seed, chance.one(rates), 3)
    try:
        meaning = mean(graph, nature, go_on=go_on)
    except Missing:
        return None
    return Case(meaning, Bench(graph, nature, random.Random(seed), go_on, quick=seed % 2 == 1), chance)


def works(seed: int) -> None:
    if one := case(seed):
        found = one.ends_as_it_may(Journey(threads=one.chance.number(1, 4)))
        if one.meaning.whole and found[0] == "value":
            assert one.meaning.surely <= set(one.bench.calls)


def works_on_a_hard_way(seed: int) -> None:
    if one := case(seed):
        one.ends_as_it_may(one.journey())


def fails(seed: int) -> None:
    if one := case(seed, rates=(10, 25)):
        one.ends_as_it_may(Journey(threads=one.chance.number(1, 4)))


def fails_on_a_hard_way(seed: int) -> None:
    if one := case(seed, rates=(10, 25)):
        one.ends_as_it_may(one.journey())


def goes_on_after_errors(seed: int) -> None:
    if one := case(seed, rates=(10, 25), go_on=True):
        one.ends_as_it_may(Journey(threads=one.chance.number(1, 4)))
        if one.meaning.whole:
            assert one.meaning.surely <= set(one.bench.calls)


def is_cancelled_and_resumed(seed: int) -> None:
    if one := case(seed):
        bench = one.bench
        bench.run(Journey(threads=one.chance.number(1, 4), cancel_at=one.chance.number(1, 20)))
        for stem, tasks in one.meaning.cleans.items():
            if any(address.startswith(f"{stem}try/") for address in bench.calls):
                assert tasks <= set(bench.calls), f"not cleaned up after {stem}"
        found = bench.result(bench.run(Journey()))
        assert not one.meaning.whole or found in one.meaning.outcomes


def holds(check: Callable[[int], None], first: int) -> None:
    """Try a block of seeds; the first that fails is named, with the way to try it alone."""
    for seed in range(first, first + BLOCK):
        try:
            check(seed)
        except Exception as error:
            error.add_note(
                f"seed {seed}: python -c 'from tests.engine.test_constructs import *; {check.__name__}({seed})'"
            )
            raise


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_a_workflow_comes_to_what_it_means(first: int) -> None:
    holds(works, first)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_dying_workers_and_drivers_change_nothing(first: int) -> None:
    holds(works_on_a_hard_way, first)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_failures_go_outwards_and_are_caught_as_the_rules_say(first: int) -> None:
    holds(fails, first)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_failures_on_a_hard_way_are_the_same(first: int) -> None:
    holds(fails_on_a_hard_way, first)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_what_does_not_use_a_failed_step_goes_on_where_that_is_wanted(first: int) -> None:
    holds(goes_on_after_errors, first)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_a_cancelled_run_is_cleaned_up_after_and_resumes_to_the_same_end(first: int) -> None:
    holds(is_cancelled_and_resumed, first)
