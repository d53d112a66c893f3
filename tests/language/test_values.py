"""Values: falsy ones, lists of nothing, order and width, names, workflows that call themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import wfnb as wf
from tests.language.nodes import note
from tests.language.support import FULL, calls, folder, forget_calls
from wfnb.model.events import Outcomes

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("inline")]


@wf.node
def same(x: Any) -> Any:
    return x


@wf.node
def noted(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return x


@wf.node
def add(a: Any, b: Any) -> Any:
    return a + b


@wf.node
def broken(x: Any) -> Any:
    raise ValueError("broken")


@wf.node
def numbers(n: int) -> list[int]:
    return list(range(n))


@wf.node
def twice_over(x: Any) -> Iterator[Any]:
    yield x
    yield x


@wf.node
def nothing() -> Iterator[Any]:
    yield from ()


@wf.node
def plan_of(x: Any) -> Any:
    return import_module("tests.language.test_values").planned(x)


def planned(x: Any) -> Any:
    @wf.workflow(name="planned")
    def flow() -> Any:
        return same(x)

    return flow


@wf.workflow
def passing(x: Any, y: Any = "default") -> Any:
    return [x, same(y)]


def go(body: Callable[[], Any], name: str = "flow", **options: Any) -> wf.Run:
    """Run a workflow of one body, and wait for its end."""
    run: wf.Run = wf.workflow(body, name=name).options(view=False, **options).submit()
    run._wait(30)
    return run


# -- falsy values ------------------------------------------------------------------------------------------------------

FALSY: list[Any] = [None, 0, 0.0, "", [], {}, False, b""]
THROUGH: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "a step": (lambda v: same(v), lambda v: v),
    "sequential": (lambda v: wf.sequential(lambda: [same.options(id="s0")(1), same(v)][1]), lambda v: v),
    "parallel": (lambda v: wf.parallel(lambda: same(v), lambda: v), lambda v: [v, v]),
    "first": (lambda v: wf.parallel(lambda: same(v), lambda: same("late"), first=True, max_concurrency=1), lambda v: v),
    "map": (lambda v: same.map([v, same.options(id="s0")(v)]), lambda v: [v, v]),
    "each": (lambda v: wf.each([v, 1, v], lambda i: same(same.options(id="s0")(i))), lambda v: [v, 1, v]),
    "each in order": (lambda v: wf.each([v, 1], lambda i: same(i), parallel=False), lambda v: [v, 1]),
    "loop until": (lambda v: wf.loop(lambda c: same(c), init=v, until=lambda c, k: k >= 2), lambda v: v),
    "loop while": (lambda v: wf.loop(lambda c: same(c), init=v, while_=lambda c, k: k < 2), lambda v: v),
    "loop times": (lambda v: wf.loop(lambda c: same(c), init=v, times=2), lambda v: v),
    "loop of no iteration": (lambda v: wf.loop(lambda c: same(1), init=v, times=0), lambda v: v),
    "loop until it is so": (lambda v: wf.loop(lambda c: same(v), init=1, until=lambda c: c == v), lambda v: v),
    "a case": (lambda v: wf.switch("a", {"a": lambda: same(v)}), lambda v: v),
    "a default": (lambda v: wf.switch([(same(1) == 2, lambda: 1)], default=lambda: same(v)), lambda v: v),
    "a switch on it": (lambda v: wf.switch([(same(v) == v, lambda: same.options(id="s0")("is"))]), lambda v: "is"),
    "try": (
        lambda v: wf.attempt(lambda: same(v), catch=lambda: 1, finally_=lambda: same.options(id="f")(1)),
        lambda v: v,
    ),
    "catch": (lambda v: wf.attempt(lambda: broken(1), catch=lambda: same(v)), lambda v: v),
    "finally": (lambda v: wf.attempt(lambda: same(1), finally_=lambda: same.options(id="f")(v)), lambda v: 1),
    "stream": (lambda v: wf.stream(twice_over(v), same), lambda v: [v, v]),
    "dynamic": (lambda v: wf.dynamic(plan_of, v), lambda v: v),
    "a workflow": (lambda v: passing(v, v), lambda v: [v, v]),
}


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_falsy_values_go_through_every_construct_and_back(value: Any) -> None:
    @wf.workflow(name="falsy")
    def flow(v: Any) -> Any:
        return [part(v) for part in PARTS]

    run = flow.options(view=False).submit(value)
    got = run.result(30)
    for name, found, (_, mean) in zip(THROUGH, got, THROUGH.values(), strict=True):
        assert exactly(found) == exactly(mean(value)), name


def _part(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def part(v: Any) -> Any:
        return write(v)

    return part


PARTS = [wf.workflow(_part(write), name=f"part{n}") for n, (write, _) in enumerate(THROUGH.values())]
"""A workflow each, as they have steps of the same ids."""


def exactly(value: Any) -> Any:
    """Return a value with its types, so that 0 is not False."""
    if isinstance(value, list):
        return [exactly(part) for part in value]
    return type(value).__name__, value


@pytest.mark.parametrize("value", ["", 0, [], None, False, {}], ids=repr)
def test_a_condition_is_what_tests_truth(value: Any) -> None:
    @wf.workflow(name="conditions")
    def flow(v: Any) -> Any:
        return [
            noted.options(when=same(v), id="skipped")(1),
            noted.options(when=same.options(id="one")(1), id="run")(1),
            wf.switch([(same.options(id="case")(v), lambda: "no")], default=lambda: "yes"),
            wf.loop(lambda c: noted.options(id="never")(1), init="kept", while_=lambda c: v),
            wf.loop(lambda c, k: same.options(id="body")(k), until=lambda c: c, max_iterations=3),
        ]

    run = flow.options(view=False).submit(value)
    assert run.result(20) == [None, 1, "yes", "kept", 1]
    assert calls(run.id) == {"run": 1}
    assert run["skipped"].status == "skipped"


def test_a_map_whose_condition_is_false_is_none_and_a_step_that_uses_it_runs() -> None:
    run = go(lambda: same(noted.options(when=False).map([1, 2])))
    assert run.result() is None
    assert calls(run.id) == {}


def test_a_construct_whose_condition_is_false_is_none_and_begins_nothing() -> None:
    def body() -> Any:
        no = same(0)
        return [
            wf.each([1, 2], lambda i: noted(i), when=no),
            wf.loop(lambda c: noted.options(id="n2")(1), times=2, when=no),
            wf.attempt(lambda: noted.options(id="n3")(1), finally_=lambda: noted.options(id="n4")(1), when=no),
            wf.parallel(lambda: noted.options(id="n5")(1), when=no),
        ]

    run = go(body)
    assert run.result() == [None, None, None, None]
    assert calls(run.id) == {}


# -- nothing -----------------------------------------------------------------------------------------------------------

OVER_NOTHING: dict[str, Callable[[], Any]] = {
    "map": lambda: noted.map([]),
    "map of a step": lambda: noted.map(numbers(0)),
    "map of a map": lambda: noted.options(id="b").map(noted.map(numbers(0))),
    "expand": lambda: add.expand(a=[1, 2], b=[]),
    "each": lambda: wf.each([], lambda i: noted(i)),
    "each of a step": lambda: wf.each(numbers(0), lambda i: noted(noted.options(id="b")(i))),
    "each of an each": lambda: wf.each(wf.each(numbers(0), lambda i: noted(i)), lambda i: noted(i)),
    "each in order": lambda: wf.each(numbers(0), lambda i: noted(i), parallel=False),
    "each, one at a time": lambda: wf.each(numbers(0), lambda i: noted(i), max_concurrency=1),
    "parallel": lambda: wf.parallel(),
    "stream": lambda: wf.stream(nothing(), noted),
}


@pytest.mark.parametrize("name", OVER_NOTHING)
def test_of_nothing_comes_an_empty_list(name: str) -> None:
    run = go(lambda: [OVER_NOTHING[name](), same.options(id="after")(1)])
    assert run.result() == [[], 1]
    assert calls(run.id) == {}


def test_items_that_are_lists_of_nothing_are_empty_lists() -> None:
    run = go(lambda: wf.each([0, 2, 0, 1], lambda n: wf.each(numbers(n), lambda i: noted(i)), id="top"))
    assert run.result() == [[], [0, 1], [], [0]]
    assert calls(run.id) == {"top[1]/each[0]/noted": 1, "top[1]/each[1]/noted": 1, "top[3]/each[0]/noted": 1}


# -- order and width ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [True, False])
def test_each_in_each_in_each_gives_36_combinations_in_order(parallel: bool) -> None:
    def body() -> Any:
        return wf.each(
            [0, 1, 2],
            lambda a: wf.each(
                [0, 1],
                lambda b: wf.each(numbers(6), lambda c: noted(a * 100 + b * 10 + c), id="low", parallel=parallel),
                id="mid",
                parallel=parallel,
            ),
            id="top",
            parallel=parallel,
        )

    run = go(body)
    assert run.result() == [
        [[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]],
        [[100, 101, 102, 103, 104, 105], [110, 111, 112, 113, 114, 115]],
        [[200, 201, 202, 203, 204, 205], [210, 211, 212, 213, 214, 215]],
    ]
    assert len(calls(run.id)) == 36
    assert set(calls(run.id).values()) == {1}
    if not parallel:
        order = [line.split()[0] for line in (folder() / run.id).read_text().splitlines()]
        assert order == [f"top[{a}]/mid[{b}]/low[{c}]/noted" for a in range(3) for b in range(2) for c in range(6)]


def test_a_product_of_lists_has_the_last_fastest() -> None:
    assert go(lambda: add.expand(a=[10, 20], b=[1, 2, 3])).result() == [11, 12, 13, 21, 22, 23]


def test_1200_items_of_two_steps_each_give_their_values_in_order() -> None:
    run = go(lambda: wf.each(numbers(1200), lambda n: noted(add(n, 5))))
    assert run.result() == list(range(5, 1205))
    assert calls(run.id) == {f"each[{n}]/noted": 1 for n in range(1200)}


def test_a_stream_gives_its_values_in_the_order_of_its_items_and_index_is_the_place() -> None:
    def body() -> Any:
        return wf.stream(twice_over("x"), lambda x, k: add([x], [k]), batch=2)

    assert go(body).result() == [["x", 0], ["x", 1]]


def test_index_and_item_are_those_of_the_innermost_construct() -> None:
    def body() -> Any:
        return wf.each(["a", "b"], lambda i, k: wf.loop(lambda c, m: same([i, k, c, m]), init="c", times=2))

    assert go(body).result() == [["a", 0, ["a", 0, "c", 0], 1], ["b", 1, ["b", 1, "c", 0], 1]]


def test_steps_in_parallel_and_sequential_are_seen_after_them() -> None:
    def body() -> Any:
        kept: list[Any] = []
        wf.parallel(lambda: kept.append(noted.options(id="a")(1)), lambda: kept.append(noted.options(id="b")(2)))
        wf.sequential(lambda: kept.append(noted.options(id="c")(add(kept[0], kept[1]))))
        return kept

    assert go(body).result() == [1, 2, 3]


# -- in turn -----------------------------------------------------------------------------------------------------------


@wf.node
def half(c: list[Any]) -> list[Any]:
    return [c[0] // 2, [*c[1], c[0] // 2]]


@wf.node
def triple(c: list[Any]) -> list[Any]:
    return [3 * c[0] + 1, [*c[1], 3 * c[0] + 1]]


def test_a_switch_in_a_loop_in_each_goes_its_own_way_for_each_item() -> None:
    def body() -> Any:
        return wf.each(
            [6, 1, 3, 8],
            lambda x: wf.loop(
                lambda c: wf.switch([(c[0] % 2 == 0, lambda: half(c))], default=lambda: triple(c)),
                init=[x, []],
                until=lambda c: c[0] == 1,
            )[1],
        )

    assert go(body).result() == [
        [3, 10, 5, 16, 8, 4, 2, 1],
        [4, 2, 1],
        [10, 5, 16, 8, 4, 2, 1],
        [4, 2, 1],
    ]


@wf.node
def total_of(x: Any, rest: list[int]) -> int:
    return int(x) + sum(rest)


@wf.workflow
def tree(t: dict[str, Any]) -> Any:
    return wf.switch(
        [(t["kids"] == [], lambda: same(t["value"]))],
        default=lambda: total_of(t["value"], wf.each(t["kids"], lambda kid: tree(kid))),
    )


def test_a_workflow_that_calls_itself_in_a_switch_in_each_walks_a_tree() -> None:
    def leaf(value: int) -> dict[str, Any]:
        return {"value": value, "kids": []}

    grown = {
        "value": 1,
        "kids": [leaf(10), {"value": 100, "kids": [leaf(1000), leaf(2000), {"value": 5, "kids": [leaf(7)]}]}, leaf(20)],
    }
    run = tree.options(view=False).submit(grown)
    assert run.result(20) == 1 + 10 + 100 + 1000 + 2000 + 5 + 7 + 20


@wf.node
def counted(c: int, k: int, ctx: wf.Context) -> int:
    note(ctx)
    if k == 5 and not os.path.exists(f"{os.environ['WFNB_TEST_CALLS']}/on"):
        raise RuntimeError("not yet")
    return c + k


def test_a_loop_of_ten_resumed_at_the_fifth_repeats_none_of_those_before() -> None:
    run = go(lambda: wf.loop(lambda c, k: counted(c, k), init=0, times=10))
    assert calls(run.id) == {f"loop.{k}/counted": 1 for k in range(6)}
    with pytest.raises(wf.StepFailed):
        run.result()
    forget_calls(run.id)
    (folder() / "on").touch()
    try:
        assert run.retry().result(20) == 45
        assert calls(run.id) == {f"loop.{k}/counted": 1 for k in range(5, 10)}
    finally:
        (folder() / "on").unlink()


# -- how deep ----------------------------------------------------------------------------------------------------------


@wf.workflow
def deep(n: int) -> Any:
    return wf.switch([(n <= 0, lambda: same("ground"))], default=lambda: same.options(id="up")([deep(n - 1)]))


def nested(levels: int) -> Any:
    value: Any = "ground"
    for _ in range(levels):
        value = [value]
    return value


def test_a_workflow_that_calls_itself_20_deep_works() -> None:
    assert deep.options(view=False).submit(20).result(20) == nested(20)


def test_a_workflow_that_calls_itself_more_than_50_deep_reaches_the_limit() -> None:
    run = deep.options(view=False).submit(51)
    with pytest.raises(wf.StepFailed) as failed:
        run.result(20)
    assert failed.value.error_type == "LimitReached"
    assert isinstance(failed.value.__cause__, wf.LimitReached)


def test_50_deep_is_not_too_deep() -> None:
    assert deep.options(view=False).submit(50).result(20) == nested(50)


def test_a_limit_of_calls_can_be_caught() -> None:
    run = go(lambda: wf.attempt(lambda: deep(100), catch=lambda error: same(error.type)))
    assert run.result(20) == "LimitReached"


@pytest.mark.parametrize("levels", [10, *([30] if FULL else [])])
def test_constructs_nested_many_deep_give_their_value(levels: int) -> None:
    def level(n: int, x: Any) -> Any:
        if n == 0:
            return same.options(id="leaf")(x)
        turn = n % 4
        if turn == 0:
            return wf.each([x], lambda i: level(n - 1, i), id=f"e{n}")[0]
        if turn == 1:
            return wf.loop(lambda c: level(n - 1, c), init=x, times=1, id=f"l{n}")
        if turn == 2:
            return wf.attempt(lambda: level(n - 1, x), finally_=lambda: same.options(id=f"f{n}")(1), id=f"t{n}")
        return wf.switch([(x == x, lambda: level(n - 1, x))], id=f"s{n}")

    assert go(lambda: level(levels, "deep")).result() == "deep"


def test_decisions_are_tasks_at_the_addresses_of_the_rules() -> None:
    def body() -> Any:
        a = wf.loop(lambda c: same(c), init=1, until=lambda c, k: k >= 1, id="u")
        b = wf.loop(lambda c: same(c), init=1, while_=lambda c, k: k < 1, id="w")
        c = wf.switch(same.options(id="value")(1), {1: lambda: 1}, id="s")
        return [a, b, c]

    run = go(body)
    found = {column.step for event in run.events() if isinstance(event, Outcomes) for column in event.columns}
    assert {"u.0.until", "u.1.until", "w.0.while", "w.1.while", "s.choice"} <= found
