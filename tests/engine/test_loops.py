"""Bodies of loops that are made ahead of time: which travel together, and that those not wanted leave no trace."""

from __future__ import annotations

import random
from typing import Any

import pytest

import wfnb as wf
from tests.engine.constructs import Bench, Journey
from wfnb.engine.bundles import Bundle
from wfnb.engine.engine import Dispatch
from wfnb.engine.loops import AHEAD


@wf.node
def add(x: int, y: int = 1) -> int:
    return x + y


@wf.node(resources={"GPU": 1})
def alone(x: int) -> int:
    return x + 1


def until(most: int, turns: int = 1000) -> wf.Workflow[..., Any]:
    @wf.workflow
    def flow() -> int:
        return wf.loop(lambda x: add(add(x), 0), init=0, until=lambda x: x >= most, max_iterations=turns)

    return flow


def while_(most: int, turns: int = 1000) -> wf.Workflow[..., Any]:
    @wf.workflow
    def flow() -> int:
        return wf.loop(add, init=0, while_=lambda x: x < most, max_iterations=turns)

    return flow


def times(count: int, node: Any = add) -> wf.Workflow[..., Any]:
    @wf.workflow
    def flow() -> int:
        return wf.loop(node, init=0, times=count)

    return flow


class Seen(Bench):
    """A bench that keeps the bundles it was given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bundles: list[Bundle] = []

    def start(self, **more: Any) -> None:
        super().start(**more)
        self.bundles += [one.bundle for one in self.pending if isinstance(one, Dispatch)]

    def handle(self, *events: Any) -> Any:
        commands = super().handle(*events)
        self.bundles += [one.bundle for one in commands if isinstance(one, Dispatch)]
        return commands

    def steps_of(self, bundle: Bundle) -> list[str]:
        return [self.engine.state.steps[index].plan.id for segment in bundle.segments for index in segment.steps]


def ran(flow: wf.Workflow[..., Any], *, quick: bool = True, journey: Journey | None = None) -> tuple[Seen, Any]:
    bench = Seen(flow.graph, quick=quick)
    return bench, bench.result(bench.run(journey or Journey(threads=1)))


@pytest.mark.parametrize("count", [1, 2, AHEAD, AHEAD + 1, 100])
def test_turns_whose_number_is_known_travel_in_one_bundle(count: int) -> None:
    bench, found = ran(times(count))
    assert found == ("value", repr(count))
    assert len([one for one in bench.bundles if any("loop." in step for step in bench.steps_of(one))]) <= 2


@pytest.mark.parametrize("flow", [until(200), while_(200)])
def test_turns_whose_number_nobody_knows_travel_in_bundles_that_grow(flow: wf.Workflow[..., Any]) -> None:
    bench, found = ran(flow)
    assert found == ("value", "200")
    sizes = [len(bench.steps_of(one)) for one in bench.bundles]
    assert len(sizes) < 10
    assert max(sizes) > 4 * AHEAD


@pytest.mark.parametrize("flow", [until(7), while_(7), until(AHEAD + 3), while_(AHEAD + 3)])
def test_what_comes_after_the_last_turn_is_not_called_and_not_known(flow: wf.Workflow[..., Any]) -> None:
    bench, found = ran(flow)
    last = 7 if found[1] == "7" else AHEAD + 3
    turns = {int(address[5:].partition("/")[0]) for address, _ in bench.outcomes if "/add" in address}
    assert turns == set(range(last))
    assert f"loop.{last + 1}/add" not in bench.engine.state.by_id


@pytest.mark.parametrize(("flow", "most"), [(until(10, 5), 5), (while_(10, 5), 5)])
def test_no_turn_beyond_the_limit_is_made_ahead(flow: wf.Workflow[..., Any], most: int) -> None:
    bench, found = ran(flow)
    assert found[0] == "failed"
    assert not any(f"loop.{most}/add" in bench.steps_of(one) for one in bench.bundles)


def test_turns_that_take_long_are_not_made_ahead() -> None:
    bench, _ = ran(times(30), quick=False)
    bench.engine.state.estimates = dict.fromkeys(bench.engine.state.estimates, 1.0)
    scope = bench.engine.state.rules.scopes[-1]
    before = len(bench.engine.state.steps)
    bench.engine.state.rules.look_ahead(scope, bench.engine._packer._quick)
    assert len(bench.engine.state.steps) == before


def test_tasks_that_travel_alone_are_not_made_ahead() -> None:
    bench, found = ran(times(5, alone))
    assert found == ("value", "5")
    assert all(sum("/alone" in step for step in bench.steps_of(one)) <= 1 for one in bench.bundles)


@pytest.mark.parametrize("seed", range(10))
def test_dying_workers_and_drivers_do_not_make_a_loop_go_round_twice(seed: int) -> None:
    bench = Bench(until(60).graph, rng=random.Random(seed), quick=True)
    found = bench.result(bench.run(Journey(0.2, 0.2, (3, 9, 20), None, 0.1, 2)))
    assert found == ("value", "60")


def test_a_run_taken_up_in_the_middle_of_a_loop_goes_on_from_there() -> None:
    bench = Bench(until(100).graph, quick=True)
    assert bench.result(bench.run(Journey(kills=(8,), threads=1))) == ("value", "100")
    assert max(bench.outcomes.values()) == 1
