"""What a function reaches decides whether its result is remembered; a doubt is a no."""

from __future__ import annotations

import gc
import pickle
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import wfnb as wf
from wfnb.authoring.steady import Steady

COUNT = 3
LIST = [1, 2]
TUPLE = (1, ("a", None))


@wf.node
def one(x: int) -> int:
    return x + 1


@wf.workflow
def inner(x: int) -> int:
    return one(x)


@wf.workflow
def doubtful(x: int) -> int:
    return one(x + len(LIST))


class Box:
    content = 1

    def functions(self) -> tuple[Any, ...]:
        return ()


BOX = Box()


def nodes_and_constants(x: Any) -> Any:
    for _ in range(COUNT):
        x = one(x)
    return x, TUPLE[0]


def constructs(x: Any) -> Any:
    y = one(x)
    return wf.switch(y > COUNT, {True: lambda: one(y)}, default=lambda: inner(y))


def helper(x: Any, more: int = 1) -> Any:
    return one(x + more)


def helpers(x: Any) -> Any:
    return helper(x)


def itself(x: Any, left: int = 2) -> Any:
    return itself(one(x), left - 1) if left else x


def chance(x: Any) -> Any:
    return one(x + random.random())


def a_list(x: Any) -> Any:
    return one(x + LIST[0])


def an_object(x: Any) -> Any:
    return one(x + BOX.content)


def other_parts_of_wfnb(_: Any) -> Any:
    return wf.runs()


def wfnb_itself(_: Any) -> Any:
    return wf


def an_import(x: Any) -> Any:
    import time

    return one(x + time.time())


def a_global(x: Any) -> Any:
    global COUNT
    COUNT = 4
    return one(x)


def a_clock_inside(x: Any) -> Any:
    return [random.random() for _ in range(2)], x


def by_way_of_a_workflow(x: Any) -> Any:
    return doubtful(x)


def opened(x: Any) -> Any:
    with open("somewhere") as file:
        return one(x + len(file.read()))


def no_name(x: Any) -> Any:
    return one(x + nowhere)  # type: ignore[name-defined]  # noqa: F821


def an_attribute_of_a_node(x: Any) -> Any:
    return one(x) if one.info else x


def an_attribute_of_a_reference(x: Any) -> Any:
    return one(x.score)


def an_attribute_of_a_function(x: Any) -> Any:
    return one(x + helper.mode)  # type: ignore[attr-defined]


def with_a_keyword_of_its_own(x: Any) -> Any:
    def inside(x: Any, *, more: int = 1) -> Any:
        return one(x + more)

    return inside(x)


def given_by_keyword(x: Any, *, more: int = 1) -> Any:
    return one(x + more)


def by_way_of_a_keyword(x: Any) -> Any:
    return given_by_keyword(x)


@wf.workflow
def with_a_list(x: int, xs: list[int] = [1]) -> int:  # noqa: B006
    return one(x + xs[0])


def by_way_of_a_list(x: Any) -> Any:
    return with_a_list(x)


built = wf.Workflow("built").then(one)


def by_way_of_one_that_is_built(x: Any) -> Any:
    return built(x)


def remembered(function: Callable[..., Any]) -> bool:
    steady = Steady()
    steady.remember(function, "key", "value")
    return steady.recall("key") == "value"


@pytest.mark.parametrize("function", [nodes_and_constants, constructs, helpers, itself, with_a_keyword_of_its_own])
def test_a_function_of_nodes_constants_constructs_and_safe_builtins_is_steady(function: Callable[..., Any]) -> None:
    assert remembered(function)


@pytest.mark.parametrize(
    "function",
    [
        chance,
        a_list,
        an_object,
        other_parts_of_wfnb,
        wfnb_itself,
        an_import,
        a_global,
        a_clock_inside,
        by_way_of_a_workflow,
        by_way_of_one_that_is_built,
        by_way_of_a_keyword,
        by_way_of_a_list,
        an_attribute_of_a_node,
        an_attribute_of_a_reference,
        an_attribute_of_a_function,
        opened,
        no_name,
        print,
    ],
)
def test_what_may_come_to_something_else_is_not_steady(function: Callable[..., Any]) -> None:
    assert not remembered(function)


def test_a_changed_global_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = Steady()
    steady.remember(nodes_and_constants, "key", "value")
    monkeypatch.setitem(globals(), "COUNT", 4)
    assert steady.recall("key") is None


def test_a_node_made_anew_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = Steady()
    steady.remember(helpers, "key", "value")
    monkeypatch.setitem(globals(), "one", wf.node(lambda x: x + 2))
    assert steady.recall("key") is None


def test_other_defaults_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = Steady()
    steady.remember(helpers, "key", "value")
    monkeypatch.setattr(helper, "__defaults__", (2,))
    assert steady.recall("key") is None


def test_another_function_of_a_workflow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = Steady()
    steady.remember(constructs, "key", "value")
    monkeypatch.setattr(inner, "function", lambda x: one(one(x)))
    assert steady.recall("key") is None


def test_a_builtin_that_was_covered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = Steady()
    steady.remember(nodes_and_constants, "key", "value")
    monkeypatch.setitem(globals(), "range", lambda n: [n])
    assert steady.recall("key") is None


def test_what_a_closure_holds_is_looked_at() -> None:
    def around() -> tuple[Callable[[Any], Any], Callable[[int], None]]:
        count = 1

        def function(x: Any) -> Any:
            return one(x + count)

        def change(to: int) -> None:
            nonlocal count
            count = to

        return function, change

    function, change = around()
    steady = Steady()
    steady.remember(function, "key", "value")
    assert steady.recall("key") == "value"
    change(2)
    assert steady.recall("key") is None


def test_a_function_that_changes_what_is_around_it_is_not_steady() -> None:
    calls = 0

    def counting(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return one(x)

    assert not remembered(counting)


def test_code_put_into_a_function_is_noticed() -> None:
    def function(x: Any) -> Any:
        return one(x)

    def other(x: Any) -> Any:
        return one(one(x))

    steady = Steady()
    steady.remember(function, "key", "value")
    function.__code__ = other.__code__
    assert steady.recall("key") is None


def test_another_key_is_another_question() -> None:
    steady = Steady()
    steady.remember(nodes_and_constants, "key", "value")
    assert steady.recall("other key") is None


def test_a_workflow_that_reaches_chance_is_written_down_each_time() -> None:
    rolls = iter([1, 2])

    @wf.workflow
    def rolled() -> list[int]:
        return [one(0) for _ in range(next(rolls))]

    assert [len(rolled.graph.steps), len(rolled.graph.steps)] == [1, 2]


def test_a_steady_workflow_is_written_down_once_and_anew_when_its_constant_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @wf.workflow
    def counted(x: int) -> int:
        for _ in range(COUNT):
            x = one(x)
        return x

    first = counted.graph
    assert counted.graph is first
    monkeypatch.setitem(globals(), "COUNT", 2)
    assert len(counted.graph.steps) == 2


def test_what_is_remembered_does_not_keep_a_function_alive() -> None:
    def cell() -> weakref.ref[Any]:
        def function(x: Any) -> Any:
            return function(one(x)) if x else x

        steady = Steady()
        steady.remember(function, "key", function)
        assert steady.recall("key") is function
        return weakref.ref(function)

    gone = cell()
    gc.collect()
    assert gone() is None


def test_what_is_remembered_does_not_travel() -> None:
    steady = Steady()
    steady.remember(nodes_and_constants, "key", "value")
    assert pickle.loads(pickle.dumps(steady)).recall("key") is None
