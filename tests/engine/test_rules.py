"""The rules of constructs, one by one, where random workflows found them broken."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.engine.constructs import Bench, Journey
from tests.engine.graphs import Items, Listing, Work, body, graph, made_of, named, put, work
from tests.engine.oracle import Nature, mean
from wfnb.engine.elements import joined
from wfnb.engine.engine import End
from wfnb.engine.lower import lower
from wfnb.model.expr import Apply, Const, Expr, Input, Local, StepValue, Var
from wfnb.model.graph import (
    Body,
    Case,
    Catch,
    Each,
    Graph,
    InputSpec,
    Loop,
    Parallel,
    Sequential,
    Step,
    Stream,
    SubWorkflow,
    Switch,
    Try,
)

NO, YES = Apply("==", (Const(0), Const(1))), Apply("==", (Const(1), Const(1)))


class Fails(Nature):
    """Tasks of some addresses fail: so many times, or for good."""

    def __init__(self, **times: int) -> None:
        super().__init__()
        object.__setattr__(self, "times", times)

    def trouble(self, address: str) -> tuple[int, type[Exception]]:
        times: dict[str, int] = self.times  # type: ignore[attr-defined]
        return max((count for end, count in times.items() if address.endswith(end)), default=0), ValueError


def ran(what: Graph, nature: Nature | None = None, *, go_on: bool = False, seed: int = 0, **way: Any) -> Bench:
    """Run a workflow to its end, which is one that it may come to."""
    bench = Bench(what, nature or Nature(), random.Random(seed), go_on)
    assert bench.result(bench.run(Journey(**way))) in mean(what, bench.nature, go_on=go_on).outcomes
    return bench


def mapped(step_id: str, over: Expr) -> Step:
    return Step(step_id, named(Work, step_id), "map", (over,), over=(0,))


def listing(step_id: str, *args: Expr) -> Step:
    return Step(step_id, named(Listing, step_id), args=args)


def stream(step_id: str, inner: Body, *args: Expr, batch: int = 1, buffer: int = 2) -> Step:
    source = Step(f"{step_id}.source", named(Items, f"{step_id}s"), args=args)
    return made_of(step_id, Stream(source, inner, batch, buffer))


def nested(step: Step) -> Body:
    """A body that is not plain steps, so that it cannot be an array."""
    return body(made_of("inner", Parallel((body(step),))))


# -- names and order ---------------------------------------------------------------------------------------------------


def test_two_conditional_sets_of_one_variable_have_an_address_each() -> None:
    branches = tuple(body(put(f"s{n}", "v", Const(1), YES), put(f"z{n}", "v", Const(9), NO)) for n in (1, 2))
    what = graph(put("v0", "v", Const(0)), made_of("p", Parallel(branches)), output=Var("v"), order="sequence")
    lowered = lower(what)
    names = [(place.block, place.name) for place in lowered.places]
    assert len(set(names)) == len(names)
    ran(what)


@pytest.mark.parametrize("order", ["data", "sequence"])
@pytest.mark.parametrize("items", [[], [1, 2]])
def test_an_each_over_a_map_begins_in_either_order(order: str, items: list[int]) -> None:
    each = made_of("e", Each(StepValue("m"), body(work("t", Local("e", "item"))), max_concurrency=1))
    ran(graph(mapped("m", Const(items)), each, order=order))


def test_in_order_no_step_of_an_item_begins_before_the_one_before_it_is_over() -> None:
    one = made_of("e", Each(Const([0, 1]), body(work("a", retries=2), work("b"))))
    for seed in range(20):
        bench = Bench(graph(one, order="sequence"), Fails(**{"e[0]/a": 9}), random.Random(seed))
        assert bench.result(bench.run())[2] == "e[0]/a"
        assert "e[0]/b" not in bench.calls


def test_in_order_what_comes_after_a_failed_step_does_not_begin_by_way_of_a_condition_that_is_false() -> None:
    off = Step("off", named(Work, "off"), args=(StepValue("bad"),), when=NO)
    for seed in range(20):
        bench = Bench(graph(work("bad"), off, work("last"), order="sequence"), Fails(bad=1), random.Random(seed))
        bench.run()
        assert "last" not in bench.calls


@pytest.mark.parametrize("of", ["sequential", "each", "workflow"])
def test_a_construct_is_over_when_all_of_its_steps_are_also_those_whose_value_nobody_uses(of: str) -> None:
    inside = Body((work("a"), work("bad")), StepValue("a"))
    made = {
        "sequential": Sequential(inside),
        "each": Each(Const([0]), inside),
        "workflow": SubWorkflow("w", "1", (), Graph("w", "1", (), inside.steps, inside.output, (), "data")),
    }[of]
    for seed in range(20):
        bench = Bench(graph(made_of("c", made), work("use", "c")), Fails(bad=1), random.Random(seed), go_on=True)
        assert bench.run().status == "failed"
        assert "use" not in bench.calls


def test_a_policy_on_a_construct_holds_in_workflows_that_call_themselves_call_by_call() -> None:
    less = (("n", Apply("-", (Input("n"), Const(1)))),)
    over = Case(Apply("==", (Input("n"), Const(0))), body(work("end")), condition=True)
    choice = made_of("c", Switch((over,), None, body(made_of("again", SubWorkflow("rec", "", less)))))
    flow = Graph("rec", "1", (InputSpec("n"),), (work("t"), choice), StepValue("c"))
    call = SubWorkflow("rec", "1", (("n", Const(1)),), flow)
    once = made_of("once", call)
    twice = made_of("twice", Parallel((body(made_of("u", call)),)), retries=1)
    bench = ran(graph(once, twice, order="sequence"), Fails(**{"twice/u/c.default/again/t": 1}))
    assert bench.calls["twice/u/c.default/again/t"] == 2


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_try_whose_finally_uses_what_never_gets_a_value_does_not_hold_up_the_catch_around_it() -> None:
    for used in (work("clean", "use"), made_of("clean", Each(StepValue("use"), nested(work("c"))))):
        inner = made_of("t", Try(body(work("x")), (), body(used)))
        around = Body((work("bad"), listing("use", StepValue("bad")), inner), StepValue("t"))
        bench = ran(graph(made_of("outer", Try(around, (Catch(Body()),)))), Fails(bad=1))
        assert "outer.try/t.try/x" not in bench.calls


def test_what_never_began_for_want_of_a_value_is_not_caught() -> None:
    tried = made_of("y", Try(body(work("x", "bad")), (Catch(body(work("caught"))),)))
    bench = ran(graph(work("bad"), tried, work("last", "y")), Fails(bad=1), go_on=True)
    assert set(bench.calls) == {"bad"}


def test_a_step_of_a_priority_of_which_nothing_was_ready_yet_can_be_skipped() -> None:
    ran(graph(work("a"), work("b", "a", priority=20)), Fails(a=1), go_on=True)


@pytest.mark.parametrize("order", ["data", "sequence"])
def test_bodies_over_a_fan_out_that_failed_are_skipped_where_others_go_on(order: str) -> None:
    each = made_of("e", Each(StepValue("m"), nested(work("t", Local("e", "item")))))
    bench = ran(graph(work("bad"), mapped("m", Const([1, 2])), each, order=order), Fails(bad=1), go_on=True)
    assert bool([one for one in bench.calls if one.startswith("e[")]) == (order == "data")
    gone = Step("m", named(Work, "m"), "map", (Const([1, 2]), StepValue("bad")), over=(0,))
    ran(graph(work("bad"), gone, each, order=order), Fails(bad=1), go_on=True)
    ran(graph(work("bad"), stream("g", nested(work("t"))), order="sequence"), Fails(bad=1), go_on=True)


def test_bodies_that_begin_after_an_element_they_use_failed_are_skipped() -> None:
    inner = stream("g", nested(work("t", Local("g", "item"), "m")), batch=1, buffer=1)
    for seed in range(20):
        ran(graph(mapped("m", Const([0, 1])), inner), Fails(**{"m[1]": 1}), go_on=True, seed=seed)


def test_a_decision_fused_with_what_it_uses_waits_for_its_retry() -> None:
    choice = made_of("c", Switch((Case(Apply("==", (StepValue("t"), Const(9))), Body(), True),), None, body(work("d"))))
    for seed in range(20):
        ran(graph(work("t", retries=1), choice), Fails(t=1), seed=seed)


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_generator_gives_its_items_in_order_whatever_is_lost_or_tried_again() -> None:
    for seed in range(40):
        what = graph(stream("g", body(work("t", Local("g", "item"), retries=1)), Const(seed), batch=2, buffer=3))
        ran(what, Fails(**{"[1]/t": 1}), seed=seed, lose=0.2, hand_back=0.2)


def test_a_map_over_a_stream_of_bodies_ends_with_the_stream() -> None:
    for seed in range(20):
        ran(graph(stream("g", nested(work("t")), Const(seed)), mapped("m", StepValue("g"))), seed=seed)


def test_a_stream_whose_items_nobody_uses_any_more_ends() -> None:
    inner = Body((work("a", "bad"), work("t", Local("g", "index"))), StepValue("t"))
    for seed in range(20):
        ran(graph(work("bad"), stream("g", inner, Const(seed), batch=1, buffer=1)), Fails(bad=1), go_on=True, seed=seed)


def test_ranges_that_touch_are_joined_in_order() -> None:
    assert joined([(4, 6), (0, 2), (2, 3), (5, 9)]) == [(0, 3), (4, 9)]


# -- resumed runs ------------------------------------------------------------------------------------------------------


def test_a_loop_of_no_iteration_keeps_what_it_would_have_begun_with() -> None:
    what = graph(work("n", checkpoint=False), made_of("l", Loop(body(work("t")), StepValue("n"), times=Const(0))))
    for after in range(1, 6):
        ran(what, kills=(after, 1, 2))


def test_what_a_driver_that_died_early_had_not_come_to_is_not_forgotten() -> None:
    unkept = work("u", checkpoint=False)
    turn = body(unkept, work("t", "u"), work("s", "t"))
    what = graph(made_of("l", Loop(turn, Const(0), times=Const(3))))
    for seed in range(60):
        ran(what, seed=seed, kills=(3 + seed % 11, seed % 3, 1 + seed % 4))


def test_a_stream_that_had_no_items_is_not_asked_again() -> None:
    none = next(n for n in range(99) if not list(named(Items, "gs").execute(n)))
    bench = ran(graph(stream("g", nested(work("t")), Const(none))))
    bench.start()
    assert [type(command) for command in bench.pending] == [End]


def test_what_a_branch_that_lost_cleaned_up_is_not_done_again() -> None:
    slow = made_of("y", Try(body(work("x")), (), body(work("clean"))))
    what = graph(made_of("p", Parallel((body(slow), Body((), Const(3))), None, True)), output=Const(1))
    for seed in range(60):
        ran(what, seed=seed, kills=tuple(1 + (seed + n) % 4 for n in range(4)), threads=2)
