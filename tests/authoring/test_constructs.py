"""Constructs in a workflow's function: the steps they make, what their bodies see, and what is wrong with them."""

from __future__ import annotations

import functools
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from wfnb.authoring import constructs as wf
from wfnb.authoring.node import node
from wfnb.authoring.workflow import workflow
from wfnb.model.errors import ConfigurationError, DefinitionError, Problem, ReferenceMisuse
from wfnb.model.expr import Apply, Const, Container, Expr, Input, Local, StepValue
from wfnb.model.graph import (
    Body,
    Case,
    Catch,
    Composed,
    Dynamic,
    Each,
    Graph,
    Loop,
    Parallel,
    Sequential,
    Step,
    Stream,
    SubWorkflow,
    Switch,
    Try,
)
from wfnb.model.node import Node
from wfnb.model.policy import Policy


@node
def inc(x: int) -> int:
    return x + 1


@node
def add(x: int, y: int) -> int:
    return x + y


@node
def text_of(x: int) -> str:
    return str(x)


@node
def total(xs: list[int]) -> int:
    return sum(xs)


@node
def numbers(n: int) -> list[int]:
    return list(range(n))


@node
def rows(n: int) -> Iterator[int]:
    yield from range(n)


@node
def plan(n: int, when: str = "now") -> Any:
    return None


@node
def cleanup() -> None: ...


@workflow
def twice(x: int) -> int:
    return inc(inc(x))


class Scale(Node):
    def execute(self, x: float) -> float:
        return x * 2


def graph_of(body: Callable[..., Any]) -> Graph:
    return workflow(body).graph


def construct_of(body: Callable[..., Any], step: str = "") -> Any:
    """Return the construct of a workflow's only step, or of the one with that id."""
    graph = graph_of(body)
    found = graph.step(step) if step else graph.steps[-1]
    assert found.construct is not None
    return found.construct


def problems(body: Callable[..., Any]) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        graph_of(body)
    return caught.value.problems


def problem(body: Callable[..., Any]) -> Problem:
    (found,) = problems(body)
    return found


def ids(body: Body) -> list[str]:
    return [step.id for step in body.steps]


def args(body: Body, step: str) -> tuple[Expr, ...]:
    return next(one for one in body.steps if one.id == step).args


# -- bodies ----------------------------------------------------------------------------------------------------------


def scaled(x: float) -> Any:
    return Scale()(x)


@pytest.mark.parametrize(
    ("body", "made"),
    [
        (lambda item: inc(item), "inc"),
        (inc, "inc"),
        (twice, "twice"),
        (Scale(), "Scale"),
        (functools.partial(add, 1), "add"),
        (scaled, "Scale"),
    ],
)
def test_a_body_is_a_lambda_a_function_a_node_a_partial_or_a_workflow(body: Any, made: str) -> None:
    each = construct_of(lambda: wf.each([1, 2], body))
    assert ids(each.body) == [made]
    assert each.body.output == StepValue(made)


@pytest.mark.parametrize("value", [None, 0, "", [], {}, 5, "text"])
def test_a_body_may_give_any_value_without_a_step(value: Any) -> None:
    switch = construct_of(lambda kind: wf.switch(kind, {"a": lambda: value}))
    assert switch.cases[0].body == Body((), Const(value))


def test_a_body_may_give_a_reference_from_around_it_or_a_container() -> None:
    def flow(x: int) -> Any:
        return wf.switch(x, {1: lambda: x, 2: lambda: {"a": [inc(x), 1]}})

    first, second = construct_of(flow).cases
    assert first.body == Body((), Input("x"))
    made = Container("list", (StepValue("inc"), Const(1)))
    assert second.body.output == Container("dict", (Const("a"), made))


def test_a_body_sees_what_is_around_it() -> None:
    def flow(x: int) -> Any:
        outer = inc(x)
        return wf.each([1, 2], lambda item: wf.each([3], lambda other: add(item, other) + outer + x))

    inner = construct_of(flow).body.steps[0].construct
    assert args(inner.body, "add") == (Local("each", "item"), Local("each_2", "item", "other"))
    added = Apply("+", (StepValue("add"), StepValue("inc")))
    assert inner.body.output == Apply("+", (added, Input("x")))


@pytest.mark.parametrize(
    "combine",
    [
        lambda outer, item: outer + item,
        lambda outer, item: outer[item],
        lambda outer, item: outer == [item],
        lambda outer, item: 1 - (outer - item),
        lambda outer, item: item + outer,
    ],
)
def test_references_from_inside_and_outside_can_be_combined_either_way(combine: Any) -> None:
    def flow(x: int) -> Any:
        return wf.each([1, 2], lambda item: inc(combine(x, item)))

    assert ids(construct_of(flow).body) == ["inc"]


def test_a_reference_of_a_body_used_outside_is_a_problem() -> None:
    def flow(x: int) -> Any:
        kept: list[Any] = []
        wf.each([1, 2], lambda item: kept.append(inc(item)))
        wf.each([1, 2], lambda item: kept[0])
        return inc(kept[0]), kept[0] + x

    found = problems(flow)
    assert [one.message for one in found] == ["the reference 'inc' is known only inside 'each'"] * 2 + [
        "the reference 'inc + input.x' is known only inside 'each'"
    ]
    assert found[0].cure == "Return it from that body, and use the value that wf.each gives"


def test_a_reference_of_another_workflow_is_a_problem_in_a_body_too() -> None:
    def flow(x: int) -> Any:
        return workflow(lambda: wf.each([1], lambda item: inc(x)))()

    assert problem(flow).message == "the reference 'input.x' belongs to workflow 'flow'"


def test_steps_of_sequential_and_parallel_are_seen_after_them() -> None:
    def flow(x: int) -> Any:
        kept: list[Any] = []
        wf.sequential(lambda: kept.append(inc(x)))
        wf.parallel(lambda: kept.append(inc(x)), lambda: wf.sequential(lambda: kept.append(inc(x))))
        return total(kept)

    graph = graph_of(flow)
    assert graph.step("total").uses == ("inc", "inc_2", "inc_3")


def test_branches_do_not_see_each_other() -> None:
    def flow(x: int) -> Any:
        kept: list[Any] = []
        return wf.parallel(lambda: kept.append(inc(x)), lambda: inc(kept[0]))

    assert "is known only inside 'parallel'" in problem(flow).message


def test_steps_of_a_parallel_of_which_the_first_wins_are_not_seen_after_it() -> None:
    def flow(x: int) -> Any:
        kept: list[Any] = []
        wf.parallel(lambda: kept.append(inc(x)), first=True)
        return kept

    assert "is known only inside 'parallel'" in problem(flow).message


def test_if_on_a_reference_in_a_body_names_the_construct_to_use() -> None:
    def flow(x: int) -> Any:
        return wf.each([1], lambda item: 1 if item else 2)

    with pytest.raises(ReferenceMisuse, match=r"step|workflow") as caught:
        graph_of(flow)
    (found,) = caught.value.problems
    assert "wf.switch" in found.cure
    assert found.where.startswith("test_constructs.py, line ")


def test_a_loop_over_a_reference_in_a_body_names_the_construct_to_use() -> None:
    with pytest.raises(ReferenceMisuse, match=r"wf\.each"):
        graph_of(lambda x: wf.attempt(lambda: [inc(one) for one in x], catch=lambda: None))


def test_problems_of_all_bodies_are_told_at_once_with_step_and_place() -> None:
    def flow(x: int) -> Any:
        wf.each([1, 2], lambda item: inc("a"))  # type: ignore[arg-type]
        return wf.switch(x, {1: lambda: inc(y=1)}, default=lambda: total(3))  # type: ignore[call-arg, arg-type]

    found = problems(flow)
    assert [one.step for one in found] == ["inc", "inc", "inc", "total"]
    line = flow.__code__.co_firstlineno
    assert [one.where for one in found] == [f"test_constructs.py, line {line + n}" for n in (1, 2, 2, 2)]


@pytest.mark.parametrize(
    ("body", "message", "cure"),
    [
        (3, "wf.each is given 3 (int) as its body", "such as lambda item: ..."),
        (list, "wf.each is given", "Give a node, a workflow or a lambda"),
        (lambda a, b, c: None, "calls its body with the item and the index, but it needs 'c'", "lambda item: "),
        (lambda *, k: None, "but it needs 'k'", "Pass what it needs yourself"),
    ],
)
def test_a_body_that_cannot_be_called_is_a_problem(body: Any, message: str, cure: str) -> None:
    found = problem(lambda: wf.each([1], body))
    assert message in found.message
    assert cure in found.cure
    assert found.step == "each"


def test_a_step_in_the_place_of_a_body_is_a_problem_that_says_lambda() -> None:
    found = problem(lambda x: wf.switch(x, {"a": inc(1)}))  # type: ignore[dict-item]
    assert "is given the value of a step as the case 'a'" in found.message
    assert "Write 'lambda: ' before the call" in found.cure


def test_async_and_generator_functions_are_no_bodies() -> None:
    async def later(x: int) -> None: ...

    def some(x: int) -> Iterator[int]:
        yield x

    assert "an async function as its body" in problem(lambda: wf.each([1], later)).message
    assert "a generator function as its body" in problem(lambda: wf.each([1], some)).message


def test_a_body_that_needs_nothing_is_given_nothing() -> None:
    loop = construct_of(lambda: wf.loop(cleanup, times=3))
    assert ids(loop.body) == ["cleanup"]
    each = construct_of(lambda: wf.each([1, 2], lambda: 5))  # type: ignore[arg-type, misc]
    assert each.body.output == Const(5)


def test_a_parameter_with_a_default_is_left_to_it() -> None:
    each = construct_of(lambda: [wf.each([1], lambda item, k=k: add(item, k)) for k in (7,)])  # type: ignore[misc]
    assert args(each.body, "add") == (Local("each", "item"), Const(7))


@pytest.mark.parametrize(
    "construct", ["switch", "loop", "each", "attempt", "stream", "dynamic", "parallel", "sequential"]
)
def test_outside_of_a_workflow_the_error_says_where_it_belongs(construct: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"wf\.{construct}\(\.\.\.\) is called outside .*@wf\.workflow"):
        getattr(wf, construct)(*([[1], {1: inc}] if construct in ("switch", "each") else [inc]))


# -- ids -------------------------------------------------------------------------------------------------------------


def test_constructs_are_called_what_they_are_and_counted() -> None:
    def flow(x: int) -> Any:
        return [
            wf.switch(x, {1: lambda: 1}),
            wf.switch(x, {1: lambda: 1}),
            wf.loop(inc, times=1),
            wf.each([1], inc),
            wf.attempt(lambda: 1, catch=lambda: 2),
            wf.stream(rows(3), inc),
            wf.parallel(),
            wf.sequential(lambda: 1),
            wf.dynamic(plan, 1),
            wf.each([1], inc, id="mine"),
        ]

    expected = "switch switch_2 loop each try stream parallel sequential plan mine"
    assert [step.id for step in graph_of(flow).steps] == expected.split()


def test_a_body_has_ids_of_its_own_that_differ_from_those_it_sees() -> None:
    def flow(x: int) -> Any:
        inc(x)
        each = wf.each([1], lambda item: wf.each([2], lambda other: inc(inc(other))))
        switch = wf.switch(x, {1: lambda: add(1, 2), 2: lambda: add(2, 3)})
        return each, switch, add(3, 4)

    graph = graph_of(flow)
    assert [step.id for step in graph.steps] == ["inc", "each", "switch", "add"]
    (inner,) = construct_of(flow, "each").body.steps
    assert inner.id == "each_2"
    assert ids(inner.construct.body) == ["inc_2", "inc_3"]
    assert [ids(case.body) for case in construct_of(flow, "switch").cases] == [["add"], ["add"]]


def test_steps_of_sequential_and_parallel_share_the_ids_around_them() -> None:
    def flow(x: int) -> Any:
        return wf.parallel(lambda: inc(x), lambda: wf.sequential(lambda: inc(x))), inc(x)

    graph = graph_of(flow)
    assert [step.id for step in graph.steps] == ["parallel", "inc_3"]
    first, second = graph.steps[0].construct.branches  # type: ignore[union-attr]
    assert ids(first) == ["inc"]
    assert ids(second.steps[0].construct.body) == ["inc_2"]  # type: ignore[union-attr]


def test_branches_of_which_the_first_wins_differ_in_their_ids_alone() -> None:
    def flow(x: int) -> Any:
        return wf.parallel(lambda: inc(x), lambda: inc(x), first=True), inc(x)

    graph = graph_of(flow)
    assert [step.id for step in graph.steps] == ["parallel", "inc"]
    assert [ids(branch) for branch in construct_of(flow, "parallel").branches] == [["inc"], ["inc_2"]]


def test_a_fixed_id_that_is_seen_from_the_body_is_a_problem() -> None:
    def flow(x: int) -> Any:
        mine = inc.options(id="mine")
        return mine(x), wf.each([1], mine), wf.each([2], inc, id="mine")

    assert ["the id 'mine' is taken by another step" in one.message for one in problems(flow)] == [True, True]


# -- switch ----------------------------------------------------------------------------------------------------------


def test_a_switch_compares_a_value_with_its_cases() -> None:
    def flow(kind: str) -> Any:
        return wf.switch(kind, {"csv": lambda: inc(1), None: lambda: 2}, default=lambda: add(1, 2))

    switch = construct_of(flow)
    assert (switch.value, [case.when for case in switch.cases]) == (Input("kind"), [Const("csv"), Const(None)])
    assert [case.condition for case in switch.cases] == [False, False]
    assert ids(switch.default) == ["add"]


def test_a_switch_takes_conditions_in_order() -> None:
    def flow(score: float) -> Any:
        return wf.switch([(score > 0.8, lambda: 1), (True, lambda: 2)])

    switch = construct_of(flow)
    assert switch == Switch(
        (
            Case(Apply(">", (Input("score"), Const(0.8))), Body((), Const(1)), condition=True),
            Case(Const(True), Body((), Const(2)), condition=True),
        ),
        None,
        None,
    )


def test_a_switch_on_a_condition_has_cases_for_true_and_false() -> None:
    switch = construct_of(lambda x: wf.switch(x > 1, {True: lambda: 1, False: lambda: 0}))
    assert [case.when for case in switch.cases] == [Const(True), Const(False)]
    assert switch.value == Apply(">", (Input("x"), Const(1)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda x: wf.switch(x), "is given no cases"),
        (lambda x: wf.switch(x, {}), "has no case"),
        (lambda x: wf.switch([]), "has no case"),
        (lambda x: wf.switch([inc]), "a list of other things than pairs"),  # type: ignore[list-item]
        (lambda x: wf.switch(x, [(x > 1, inc)]), "a value and a list of cases"),  # type: ignore[call-overload]
        (lambda x: wf.switch(x, 3), "is given 3 (int) as its cases"),  # type: ignore[call-overload]
        (lambda x: wf.switch(x, {1: inc}), "calls the case 1 (int) with nothing, but it needs 'x'"),  # type: ignore[dict-item]
    ],
)
def test_a_switch_that_cannot_be_is_a_problem(given: Any, says: str) -> None:
    found = problem(given)
    assert says in found.message
    assert found.cure


def test_the_type_of_a_switch_is_that_of_its_bodies() -> None:
    def flow(x: int) -> Any:
        wrong = wf.switch(x, {1: lambda: text_of(x), 2: lambda: "a"})
        fine = wf.switch(x, {1: lambda: text_of(x), 2: lambda: inc(x)})
        return inc(wrong), inc(fine)

    assert "'switch', which is annotated str, but its own annotation says int" in problem(flow).message


def test_bodies_that_give_pairs_can_be_unpacked() -> None:
    def flow(x: int) -> Any:
        left, right = wf.switch(x, {1: lambda: (inc(x), 2)}, default=lambda: [0, 0])
        return right, left

    output = graph_of(flow).output
    parts = [Apply("getitem", (StepValue("switch"), Const(n))) for n in (1, 0)]
    assert output == Container("tuple", tuple(parts))


# -- loop ------------------------------------------------------------------------------------------------------------


def test_a_loop_hands_a_value_on_until_a_condition() -> None:
    def flow(x: int) -> Any:
        return wf.loop(inc, init=x, until=lambda value: add(value, 1) > 3, max_iterations=50)

    loop = construct_of(flow)
    assert isinstance(loop, Loop)
    assert (loop.init, loop.max_iterations, loop.times, loop.while_) == (Input("x"), 50, None, None)
    assert args(loop.body, "inc") == (Local("loop", "item"),)
    assert loop.until is not None
    assert args(loop.until, "add") == (Local("loop", "item"), Const(1))
    assert loop.until.output == Apply(">", (StepValue("add"), Const(3)))


def test_a_loop_goes_on_while_a_condition_holds_and_counts() -> None:
    loop = construct_of(lambda: wf.loop(lambda value, n: add(value, n), init=0, while_=lambda value, n: n < 3))
    assert args(loop.body, "add") == (Local("loop", "item"), Local("loop", "index"))
    assert loop.while_.output == Apply("<", (Local("loop", "index"), Const(3)))
    assert loop.until is None


def test_a_loop_may_have_a_number_of_iterations() -> None:
    assert construct_of(lambda: wf.loop(inc, init=1, times=3)).times == Const(3)
    assert construct_of(lambda n: wf.loop(inc, init=1, times=n)).times == Input("n")
    assert construct_of(lambda: wf.loop(inc, times=0)).init == Const(None)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "is not told when to end"),
        ({"times": 3, "until": inc}, "is given until= and times="),
        ({"times": -1}, "cannot have times=-1"),
        ({"times": True}, "cannot have times=True"),
        ({"times": "x"}, "cannot have times='x'"),
        ({"until": inc, "max_iterations": 0}, "cannot have max_iterations=0"),
        ({"until": True}, "is given True (bool) as until="),
    ],
)
def test_a_loop_that_cannot_be_is_a_problem(given: dict[str, Any], says: str) -> None:
    assert says in problem(lambda: wf.loop(inc, **given)).message


# -- each ------------------------------------------------------------------------------------------------------------


def test_an_each_has_a_body_for_each_item() -> None:
    def flow(n: int) -> Any:
        return wf.each(numbers(n), lambda item, place: add(inc(item), place), max_concurrency=4, max_iterations=9)

    each = construct_of(flow)
    assert isinstance(each, Each)
    assert (each.over, each.parallel, each.max_concurrency, each.max_iterations) == (StepValue("numbers"), True, 4, 9)
    assert each.name == "item"
    assert args(each.body, "add") == (StepValue("inc"), Local("each", "index"))


def test_an_each_may_be_in_order() -> None:
    assert construct_of(lambda: wf.each([1], inc, parallel=False)).parallel is False


def test_what_an_each_goes_through_is_kept_as_a_map_keeps_it() -> None:
    assert construct_of(lambda: wf.each({3, 1, 2}, inc)).over == Const([1, 2, 3])
    assert construct_of(lambda: wf.each((n * n for n in range(3)), inc)).over == Const([0, 1, 4])
    assert construct_of(lambda x: wf.each([x, 1], inc)).over == Container("list", (Input("x"), Const(1)))


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ("abc", "wf.each would iterate over the single characters of 'abc'"),
        (3, "wf.each cannot iterate over 3 (int)"),
    ],
)
def test_what_an_each_cannot_go_through_is_a_problem(over: Any, says: str) -> None:
    assert says in problem(lambda: wf.each(over, lambda item: item)).message


def test_the_items_type_is_known_in_the_body() -> None:
    def flow(n: int, names: list[str]) -> Any:
        wf.each(numbers(n), inc)
        wf.each(names, inc)  # type: ignore[arg-type]
        wf.each(["a"], inc)  # type: ignore[arg-type]
        return total(wf.each(numbers(n), text_of))  # type: ignore[arg-type]

    messages = [one.message for one in problems(flow)]
    assert ["annotated str" in one for one in messages[:2]] == [True, True]
    assert "'xs' gets 'each_4', which is annotated list[str]" in messages[2]


def test_items_of_nested_bodies_have_names_of_their_own() -> None:
    def flow(grid: list[list[int]]) -> Any:
        return wf.each(
            grid, lambda row: wf.each(row, lambda cell: wf.loop(lambda cell: add(cell, 1), init=cell, times=2))
        )

    outer = construct_of(flow)
    inner = outer.body.steps[0].construct
    loop = inner.body.steps[0].construct
    assert (outer.name, inner.name, loop.name) == ("item", "cell", "cell_2")
    assert loop.init == Local("each_2", "item", "cell")
    assert args(loop.body, "add")[0] == Local("loop", "item", "cell_2")


# -- attempt ---------------------------------------------------------------------------------------------------------


def test_an_attempt_catches_every_error_and_cleans_up() -> None:
    def flow(x: int) -> Any:
        return wf.attempt(lambda: inc(x), catch=lambda error: add(error.attempts, x), finally_=lambda: cleanup())

    attempt = construct_of(flow)
    assert isinstance(attempt, Try)
    (catch,) = attempt.catches
    assert catch.on == ()
    assert args(catch.body, "add")[0] == Apply("getattr", (Local("try", "error"), Const("attempts")))
    assert attempt.finally_ is not None
    assert ids(attempt.finally_) == ["cleanup"]


class Odd(Exception):
    class Inner(Exception): ...


def test_an_attempt_catches_errors_by_their_types() -> None:
    def flow(x: int) -> Any:
        return wf.attempt(
            lambda: inc(x),
            catch={
                ValueError: lambda: 1,
                (OSError, urllib.error.HTTPError): lambda: 2,
                Odd.Inner: lambda: 3,
                "requests.Timeout": lambda: 4,
            },
        )

    catches = construct_of(flow).catches
    assert [catch.on for catch in catches] == [
        ("ValueError",),
        ("OSError", "urllib.error.HTTPError"),
        (f"{__name__}.Odd.Inner",),
        ("requests.Timeout",),
    ]
    assert catches[3] == Catch(Body((), Const(4)), ("requests.Timeout",))


def test_a_caught_error_has_four_fields_and_no_more() -> None:
    def flow(x: int) -> Any:
        return wf.attempt(lambda: inc(x), catch=lambda error: (error.type, error.msg))  # type: ignore[attr-defined]

    with pytest.raises(ReferenceMisuse, match=r"has no 'msg'.*'\.message'"):
        graph_of(flow)


def test_the_fields_of_a_caught_error_have_types() -> None:
    def flow(x: int) -> Any:
        return wf.attempt(lambda: inc(x), catch=lambda error: inc(error.message))  # type: ignore[arg-type]

    assert "which is annotated str" in problem(flow).message


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "is not told what to do about an error"),
        ({"catch": {}}, "is given an empty catch="),
        ({"catch": {int: lambda: 1}}, "cannot catch <class 'int'>"),
        ({"catch": {3: lambda: 1}}, "cannot catch 3"),
        ({"finally_": inc}, "calls finally_= with nothing, but it needs 'x'"),
    ],
)
def test_an_attempt_that_cannot_be_is_a_problem(given: dict[str, Any], says: str) -> None:
    assert says in problem(lambda: wf.attempt(lambda: 1, **given)).message


# -- parallel and sequential -----------------------------------------------------------------------------------------


def test_a_parallel_gives_the_list_of_its_branches() -> None:
    def flow(x: int) -> Any:
        left, right = wf.parallel(lambda: inc(x), cleanup, max_concurrency=1)
        return right, left

    graph = graph_of(flow)
    parallel = construct_of(flow)
    assert isinstance(parallel, Parallel)
    assert (parallel.max_concurrency, parallel.first, len(parallel.branches)) == (1, False, 2)
    assert graph.output == Container(
        "tuple", tuple(Apply("getitem", (StepValue("parallel"), Const(n))) for n in (1, 0))
    )


def test_a_parallel_may_be_empty_but_not_when_the_first_is_wanted() -> None:
    assert construct_of(lambda: wf.parallel()) == Parallel(())
    assert "has no branch" in problem(lambda: wf.parallel(first=True)).message


def test_a_limit_that_is_none_is_a_problem() -> None:
    found = problems(lambda x: (wf.parallel(cleanup, max_concurrency=0), wf.each([1], inc, max_concurrency=x)))
    assert "wf.parallel cannot have max_concurrency=0" in found[0].message
    assert found[1].cure == "Give a whole number, 1 or more, known when the workflow is written down"


def test_a_sequential_keeps_its_steps_in_order_whatever_they_use() -> None:
    def flow(x: int) -> Any:
        def both() -> Any:
            cleanup()
            return inc(x)

        return wf.sequential(both)

    sequential = construct_of(flow)
    assert isinstance(sequential, Sequential)
    assert ids(sequential.body) == ["cleanup", "inc"]


# -- stream ----------------------------------------------------------------------------------------------------------


def test_a_stream_takes_items_of_a_generator_through_stages() -> None:
    def flow(n: int) -> Any:
        return wf.stream(rows(n), inc, lambda value: add(value, n), batch=100, buffer=5)

    graph = graph_of(flow)
    assert [step.id for step in graph.steps] == ["stream"]
    stream = graph.steps[0].construct
    assert isinstance(stream, Stream)
    assert (stream.source.id, stream.source.node, stream.source.args) == ("rows", rows, (Input("n"),))
    assert (stream.batch, stream.buffer, stream.name) == (100, 5, "item")
    assert args(stream.body, "inc") == (Local("stream", "item"),)
    assert args(stream.body, "add") == (StepValue("inc"), Input("n"))
    assert stream.body.output == StepValue("add")


def test_a_stream_without_stages_gives_the_items() -> None:
    assert construct_of(lambda: wf.stream(rows(3))).body == Body((), Local("stream", "item"))


def test_the_first_stage_may_take_the_items_place() -> None:
    assert args(construct_of(lambda: wf.stream(rows(3), add)).body, "add")[1] == Local("stream", "index")


def test_what_a_generator_yields_is_known_in_the_stages() -> None:
    @node
    def names() -> Iterator[str]:
        yield "a"

    assert "annotated str" in problem(lambda: wf.stream(names(), inc)).message


@pytest.mark.parametrize(
    "use",
    [
        lambda: rows(3),
        lambda: total(rows(3)),  # type: ignore[arg-type]
        lambda: (rows(3), 1)[1],
        lambda: inc(rows(3)[0]),  # type: ignore[index]
        lambda: wf.each(rows(3), inc),
        lambda: wf.each([1], lambda item: rows(item)),
    ],
)
def test_a_generator_used_otherwise_is_a_problem_that_names_the_stream(use: Any) -> None:
    found = problem(use)
    assert found.message == "node 'rows' is a generator function: what it yields cannot be kept or sent"
    assert "wf.stream(rows(...), stage, ...)" in found.cure
    assert found.where.startswith("test_constructs.py")


def test_a_generator_is_streamed_once_and_where_it_is_called() -> None:
    def again() -> Any:
        source = rows(3)
        return wf.stream(source, inc), wf.stream(source, inc)

    def inside() -> Any:
        source = rows(3)
        return wf.each([1], lambda item: wf.stream(source, inc))

    assert [one.step for one in (problem(again), problem(inside))] == ["rows", "rows"]


def test_a_fan_out_of_a_generator_and_an_async_one_are_problems() -> None:
    @node
    async def later() -> AsyncIterator[int]:
        yield 1

    assert "cannot be called once for each element" in problem(lambda: rows.map([1])).message
    assert "is an async generator" in problem(lambda: wf.stream(later(), inc)).message


@pytest.mark.parametrize("source", [[1, 2], rows, inc])
def test_a_stream_of_anything_else_is_a_problem(source: Any) -> None:
    assert "does not begin with a call of a generator" in problem(lambda: wf.stream(source, lambda x: x)).message


# -- dynamic ---------------------------------------------------------------------------------------------------------


def test_a_dynamic_step_is_its_planning_node_with_its_arguments() -> None:
    def flow(x: int) -> Any:
        return wf.dynamic(plan, x, when="later"), wf.dynamic(plan, n=2, id="second", retries=2)

    first, second = graph_of(flow).steps
    assert (first.id, first.node, first.args, first.kwargs) == (
        "plan",
        plan,
        (Input("x"),),
        (("when", Const("later")),),
    )
    assert first.construct == second.construct == Dynamic()
    assert (first.when, second.id, second.kwargs) == (None, "second", (("n", Const(2)),))
    assert second.node.policy.retries == 2


def test_arguments_of_a_planning_node_are_checked() -> None:
    assert "'n' = 'x' (str)" in problem(lambda: wf.dynamic(plan, "x")).message
    assert "it has no parameter 'm'" in problems(lambda: wf.dynamic(plan, m=1))[0].message


def test_a_planner_that_is_no_node_is_a_problem() -> None:
    assert "wf.dynamic is given" in problem(lambda: wf.dynamic(lambda: None)).message  # type: ignore[arg-type]
    assert "wf.dynamic is given" in problem(lambda: wf.dynamic(rows, 1)).message


# -- options ---------------------------------------------------------------------------------------------------------


def test_options_of_a_construct_are_of_its_step_and_of_the_steps_inside() -> None:
    def flow(x: int) -> Any:
        return wf.each([1], inc, id="mine", name="Clean all", when=x > 1, continue_on_error=True, retries=2, timeout=5)

    (step,) = graph_of(flow).steps
    assert (step.id, step.title, step.continue_on_error) == ("mine", "Clean all", True)
    assert step.when == Apply(">", (Input("x"), Const(1)))
    assert isinstance(step.node, Composed)
    assert step.node.policy == Policy(retries=2, timeout=5)


def test_a_construct_without_options_carries_the_default_policy() -> None:
    (step,) = graph_of(lambda: wf.each([1], inc)).steps
    assert isinstance(step.node, Composed)
    assert (step.node.policy, step.when, step.continue_on_error) == (Policy(), None, False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retires": 1}, "wf.each has no option 'retires'. Did you mean 'retries'?"),
        ({"retries": -1}, "option 'retries' of wf.each cannot be -1"),
        ({"id": "a b"}, "option 'id' of wf.each cannot be 'a b'"),
        ({"when": "x"}, "give a reference, or True or False"),
        ({"continue_on_error": 1}, "give True or False"),
    ],
)
def test_an_option_that_will_not_do_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        graph_of(lambda: wf.each([1], inc, **options))
    assert says in str(caught.value)


def test_a_step_may_have_a_condition_and_be_allowed_to_fail() -> None:
    def flow(x: int) -> Any:
        maybe = inc.options(when=x > 1, continue_on_error=True, retries=1)
        wf.each([1], lambda item: inc.options(when=item == x)(item))
        return maybe(x), maybe.options(when=None)(x), inc.options(when=False).map([1])

    graph = graph_of(flow)
    first, second, third = graph.step("inc"), graph.step("inc_2"), graph.step("inc_3")
    assert (first.when, first.continue_on_error) == (Apply(">", (Input("x"), Const(1))), True)
    assert (second.when, second.continue_on_error, third.when) == (None, True, Const(False))
    assert not {"step_when", "step_continue_on_error"} & set(first.node.__dict__)
    assert first.node.policy.retries == 1
    (inner,) = construct_of(flow, "each").body.steps
    assert inner.when == Apply("==", (Local("each", "item"), Input("x")))


def test_a_condition_of_a_step_that_will_not_do_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"option 'when' of node 'inc' cannot be 'x > 1'"):
        inc.options(when="x > 1")


# -- sub-workflows ---------------------------------------------------------------------------------------------------


def test_a_workflow_in_a_body_is_a_step_of_the_body() -> None:
    (step,) = construct_of(lambda: wf.each([1, 2], lambda item: twice(item))).body.steps
    assert (step.id, step.construct.inputs) == ("twice", (("x", Local("each", "item")),))


def test_a_workflow_may_call_itself_in_a_body() -> None:
    @workflow
    def down(n: int) -> int:
        return wf.switch([(n > 0, lambda: down(n - 1))], default=lambda: n)  # type: ignore[no-any-return]

    switch = down.graph.steps[0].construct
    assert isinstance(switch, Switch)
    (step,) = switch.cases[0].body.steps
    assert step.construct == SubWorkflow("down", "", (("n", Apply("-", (Input("n"), Const(1)))),), None)


def test_steps_in_bodies_have_their_places() -> None:
    def flow(x: int) -> Any:
        return wf.each(
            [1],
            lambda item: inc(item),
        )

    step: Step = graph_of(flow).steps[0]
    line = flow.__code__.co_firstlineno
    assert step.where == f"test_constructs.py, line {line + 1}"
    assert isinstance(step.construct, Each)
    assert step.construct.body.steps[0].where == f"test_constructs.py, line {line + 3}"


def test_deep_nesting_keeps_every_item_apart() -> None:
    def nest(depth: int, items: tuple[Any, ...]) -> Any:
        if depth == 0:
            return list(items)
        return wf.each([1, 2], lambda item: nest(depth - 1, (*items, item)))

    body = graph_of(lambda: nest(4, ())).steps[0].construct
    seen = []
    while isinstance(body, Each):
        seen.append(body.name)
        output = body.body.output
        body = body.body.steps[0].construct if body.body.steps else None
    assert seen == ["item", "item_2", "item_3", "item_4"]
    assert isinstance(output, Container)
    assert len(set(output.items)) == 4
