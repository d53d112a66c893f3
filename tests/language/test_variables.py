"""Variables, the end by `stop`, and order, in definitions."""

from __future__ import annotations

from typing import Any

import pytest

import wfnb as wf
from tests.language.nodes import note
from tests.language.support import Moments, calls, cut_at
from wfnb.session import SESSION
from wfnb.store.memory import MemoryStore

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("inline")]

Step = dict[str, Any]


@wf.node(name="language-say")
def say(value: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return value


@wf.node(name="language-fail")
def fail(message: str, ctx: wf.Context) -> Any:
    note(ctx)
    raise ValueError(message)


@wf.node(name="language-plan")
def plan() -> Any:
    return {"name": "planned", "steps": [put("x", "planned")], "outputs": {"x": "{{ var.x }}"}}


def put(name: str, value: Any, **more: Any) -> Step:
    return {"type": "set", "params": {"name": name, "value": value}, **more}


def tell(step_id: str, value: Any, **more: Any) -> Step:
    return {"id": step_id, "type": "language-say", "params": {"value": value}, **more}


def wrong(**more: Any) -> Step:
    return {"type": "language-fail", "params": {"message": "wrong"}, **more}


def go(*steps: Step, out: Any = None, wait: bool = True, **options: Any) -> wf.Run:
    """Run a definition, and wait for its end."""
    definition: dict[str, Any] = {"name": "definition", "steps": list(steps)}
    if out is not None:
        definition["outputs"] = {"out": out}
    run: wf.Run = wf.loads(definition).options(view=False, **options).submit()
    run._wait(20)
    return run


def value_of(run: wf.Run) -> Any:
    """Return the value `out` of a run."""
    return run.result(20)["out"]


def failed(run: wf.Run) -> wf.StepFailed:
    with pytest.raises(wf.StepFailed) as error:
        run.result(20)
    return error.value


# -- what is handed on -------------------------------------------------------------------------------------------------

UP = put("x", "{{ var.x + 1 }}")
BRANCHES = {"stepType": "parallel", "steps": [put("a", "{{ var.x + 1 }}"), put("b", "{{ var.x + 2 }}")]}
HANDED_ON: dict[str, tuple[list[Step], Any, Any]] = {
    "the last set counts": ([put("x", 1), put("x", 5), UP], "{{ var.x }}", 6),
    "a template keeps the value's type": ([put("x", [1, 2])], "{{ var.x }}", [1, 2]),
    "sequential": ([put("x", 1), {"stepType": "sequential", "steps": [UP, UP]}], "{{ var.x }}", 3),
    "the taken case": (
        [
            put("x", 1),
            {
                "stepType": "switch",
                "value": "b",
                "cases": [{"when": "a", "steps": [put("x", 10)]}, {"when": "b", "steps": [put("x", 20)]}],
                "default": [put("x", 30)],
            },
        ],
        "{{ var.x }}",
        20,
    ),
    "the default": (
        [
            put("x", 1),
            {"stepType": "switch", "value": 3, "cases": [{"when": 1, "steps": [put("x", 10)]}], "default": [UP]},
        ],
        "{{ var.x }}",
        2,
    ),
    "a case that does not set it": (
        [
            put("x", 1),
            {
                "stepType": "switch",
                "value": 1,
                "cases": [{"when": 1, "steps": [put("y", 10)]}, {"when": 2, "steps": [put("x", 10)]}],
            },
        ],
        ["{{ var.x }}", "{{ var.y }}"],
        [1, 10],
    ),
    "each iteration": ([put("x", 0), {"stepType": "loop", "times": 4, "steps": [UP]}], "{{ var.x }}", 4),
    "until it is so": (
        [put("x", 0), {"stepType": "loop", "until": "{{ var.x >= 3 }}", "steps": [UP]}],
        "{{ var.x }}",
        3,
    ),
    "while it is so": (
        [put("x", 0), {"stepType": "loop", "while": "{{ var.x < 3 }}", "steps": [UP]}],
        "{{ var.x }}",
        3,
    ),
    "no iteration": (
        [put("x", 7), {"stepType": "loop", "while": "{{ var.x < 3 }}", "steps": [UP]}],
        "{{ var.x }}",
        7,
    ),
    "each item in order": (
        [put("x", 0), {"stepType": "loop", "over": [1, 2, 3], "steps": [put("x", "{{ var.x * 10 + item }}")]}],
        "{{ var.x }}",
        123,
    ),
    "no item": (
        [put("x", 8), {"stepType": "loop", "over": [], "steps": [put("x", "{{ item }}")]}],
        "{{ var.x }}",
        8,
    ),
    "items in parallel that agree": (
        [put("x", 0), {"stepType": "loop", "over": [1, 2], "parallel": True, "steps": [put("x", 5)]}],
        "{{ var.x }}",
        5,
    ),
    "branches of other names": ([put("x", 1), BRANCHES], ["{{ var.a }}", "{{ var.b }}"], [2, 3]),
    "branches that agree": (
        [put("x", 1), {"stepType": "parallel", "steps": [UP, put("x", 2)]}],
        "{{ var.x }}",
        2,
    ),
    "one branch of two": (
        [put("x", 1), {"stepType": "parallel", "steps": [tell("t", 0), UP]}],
        "{{ var.x }}",
        2,
    ),
    "a branch has a copy": (
        [
            put("x", 1),
            {
                "stepType": "parallel",
                "maxConcurrency": 1,
                "steps": [{"stepType": "sequential", "steps": [put("x", 9)]}, tell("seen", "{{ var.x }}")],
            },
        ],
        ["{{ seen }}", "{{ var.x }}"],
        [1, 9],
    ),
    "the body of a try": (
        [put("x", 1), {"stepType": "try", "steps": [UP], "finally": [put("y", "{{ var.x }}")]}],
        ["{{ var.x }}", "{{ var.y }}"],
        [2, 1],
    ),
    "finally, which sees what was set before the try": (
        [put("x", 1), {"stepType": "try", "steps": [UP], "finally": [put("x", "{{ var.x * 100 }}")]}],
        "{{ var.x }}",
        100,
    ),
    "the catch that ran, then finally": (
        [
            put("x", 1),
            {
                "stepType": "try",
                "steps": [wrong()],
                "catch": [put("x", "{{ var.x + 5 }}"), put("why", "{{ error.message }}")],
                "finally": [put("x", "{{ var.x * 100 }}")],
            },
        ],
        ["{{ var.x }}", "{{ var.why }}"],
        [100, "wrong"],
    ),
    "a body that failed hands nothing on": (
        [put("x", 1), {"stepType": "try", "steps": [put("x", 50), wrong()], "catch": [tell("c", 0)]}],
        "{{ var.x }}",
        1,
    ),
    "a step whose condition is false sets nothing": (
        [put("x", 1), put("x", 2, when="{{ 1 > 2 }}"), put("x", "{{ var.x + 10 }}", when="{{ 2 > 1 }}")],
        "{{ var.x }}",
        11,
    ),
    "a construct whose condition is false sets nothing": (
        [put("x", 1), {"stepType": "sequential", "when": "{{ 1 > 2 }}", "steps": [UP]}],
        "{{ var.x }}",
        1,
    ),
    "a dynamic step keeps its own": (
        [put("x", 1), {"id": "d", "stepType": "dynamic", "type": "language-plan"}],
        ["{{ var.x }}", "{{ d.x }}"],
        [1, "planned"],
    ),
    "a switch in items in order in a loop": (
        [
            put("x", 0),
            {
                "stepType": "loop",
                "times": 2,
                "steps": [
                    {
                        "stepType": "loop",
                        "over": [1, 2],
                        "as": "row",
                        "steps": [
                            {
                                "stepType": "switch",
                                "value": "{{ row }}",
                                "cases": [{"when": 1, "steps": [UP]}],
                                "default": [put("x", "{{ var.x * 10 }}")],
                            }
                        ],
                    }
                ],
            },
        ],
        "{{ var.x }}",
        110,
    ),
    "a default where it was not set": (
        [{"id": "g", "type": "get", "params": {"name": "z", "default": 4}}],
        "{{ g }}",
        4,
    ),
    "falsy values are values": ([put("x", 1), put("x", None), put("y", 0)], ["{{ var.x }}", "{{ var.y }}"], [None, 0]),
}


@pytest.mark.parametrize("name", HANDED_ON)
def test_variables_are_handed_on_as_the_rules_say(name: str) -> None:
    steps, out, expected = HANDED_ON[name]
    assert value_of(go(*steps, out=out)) == expected


@pytest.mark.parametrize("name", HANDED_ON)
def test_variables_are_the_same_in_a_run_resumed_from_any_state(name: str, inline: Moments) -> None:
    steps, out, expected = HANDED_ON[name]
    run = go(*steps, out=out)
    assert isinstance(run.store, MemoryStore)
    for moment in inline.by_run[run.id]:
        part = cut_at(run.store, run.id, moment)
        assert value_of(SESSION.resume(run.id, False, store=part)) == expected


def test_a_sub_workflow_keeps_its_variables() -> None:
    inner = {"name": "language-inner", "steps": [put("x", "inner")], "outputs": {"x": "{{ var.x }}"}}
    known = wf.loads(inner)
    assert known.name == "language-inner"
    run = go(
        put("x", 1),
        {"id": "w", "stepType": "workflow", "workflow": "language-inner"},
        out=["{{ var.x }}", "{{ w.x }}"],
    )
    assert value_of(run) == [1, "inner"]


# -- conflicts, and variables that were not set ------------------------------------------------------------------------


def test_branches_that_set_one_name_to_different_values_are_an_error_that_names_it_and_both() -> None:
    run = go(
        {"stepType": "parallel", "steps": [put("x", 1, id="left"), put("x", 2, id="right")]},
        out="{{ var.x }}",
    )
    error = failed(run)
    assert error.error_type == "VariableConflict"
    assert all(word in str(error) for word in ("'x'", "left", "right"))


def test_items_in_parallel_that_set_one_name_to_different_values_are_an_error() -> None:
    run = go({"stepType": "loop", "over": [1, 2], "parallel": True, "steps": [put("x", "{{ item }}")]})
    error = failed(run)
    assert error.error_type == "VariableConflict"
    assert "'x'" in str(error)


def test_a_conflict_can_be_caught() -> None:
    run = go(
        put("x", 0),
        {
            "stepType": "try",
            "steps": [{"stepType": "parallel", "steps": [put("x", 1), put("x", 2)]}],
            "catch": [put("x", "{{ error.type }}")],
        },
        out="{{ var.x }}",
    )
    assert value_of(run) == "VariableConflict"


def test_a_variable_that_was_not_set_on_the_way_taken_is_an_error_when_it_is_used() -> None:
    def steps(value: int) -> list[Step]:
        return [
            {
                "stepType": "switch",
                "value": value,
                "cases": [{"when": 1, "steps": [put("x", 10)]}],
                "default": [tell("d", 0)],
            },
            tell("before", 1),
            tell("used", "{{ var.x }}"),
        ]

    assert value_of(go(*steps(1), out="{{ used }}")) == 10
    run = go(*steps(2), out="{{ used }}")
    error = failed(run)
    assert (error.error_type, error.address) == ("VariableNotSet", "used")
    assert calls(run.id)["before"] == 1


def test_a_variable_that_was_not_set_and_is_not_used_is_no_error() -> None:
    switch: Step = {
        "stepType": "switch",
        "value": 2,
        "cases": [{"when": 1, "steps": [put("x", 10)]}],
        "default": [tell("d", 0)],
    }
    run = go(switch, {"stepType": "loop", "times": 2, "steps": [tell("t", 1)]}, tell("end", "fine"), out="{{ end }}")
    assert value_of(run) == "fine"


# -- stop --------------------------------------------------------------------------------------------------------------


def stop(value: Any, **more: Any) -> Step:
    return {"type": "stop", "params": {"value": value}, **more}


STOPS: dict[str, list[Step]] = {
    "at the top": [stop(7)],
    "in sequential": [{"stepType": "sequential", "steps": [stop(7), tell("late", 1)]}],
    "in a branch": [{"stepType": "parallel", "maxConcurrency": 1, "steps": [stop(7), tell("late", 1)]}],
    "in an item": [{"stepType": "loop", "over": [1, 2], "steps": [stop(7), tell("late", 1)]}],
    "in an item in parallel": [
        {"stepType": "loop", "over": [1, 2], "parallel": True, "maxConcurrency": 1, "steps": [stop(7)]}
    ],
    "in an iteration": [{"stepType": "loop", "times": 3, "steps": [stop(7), tell("late", 1)]}],
    "in a case": [{"stepType": "switch", "value": 1, "cases": [{"when": 1, "steps": [stop(7), tell("late", 1)]}]}],
    "in a try": [{"stepType": "try", "steps": [stop(7), tell("late", 1)], "catch": [tell("caught", 1)]}],
    "in a catch": [{"stepType": "try", "steps": [wrong()], "catch": [stop(7), tell("late", 1)]}],
    "in a finally": [{"stepType": "try", "steps": [tell("t", 1)], "finally": [stop(7)]}],
}


@pytest.mark.parametrize("where", STOPS)
def test_stop_ends_the_run_as_completed_with_its_value(where: str) -> None:
    run = go(tell("early", 1), *STOPS[where], tell("after", 1), out="{{ after }}")
    assert run.result(20) == 7
    assert run.status == "completed"
    assert not [address for address in calls(run.id) if address.endswith(("late", "after", "caught"))]
    assert SESSION.get_run(run.id).result(20) == 7


@pytest.mark.parametrize("value", [None, 0, "", [], False])
def test_stop_may_end_the_run_with_a_falsy_value(value: Any) -> None:
    run = go(stop(value), tell("after", 1))
    assert run.result(20) == value
    assert type(run.result()) is type(value)
    assert calls(run.id) == {}


def test_after_a_stop_the_finally_bodies_around_it_are_run() -> None:
    run = go(
        {
            "stepType": "try",
            "steps": [{"stepType": "try", "steps": [stop(7)], "finally": [tell("inner", 1)]}],
            "finally": [tell("outer", 1)],
        },
        tell("after", 1),
    )
    assert run.result(20) == 7
    assert [address.rpartition("/")[2] for address in calls(run.id)] == ["inner", "outer"]


def test_a_stop_whose_condition_is_false_does_nothing() -> None:
    assert value_of(go(stop(7, when="{{ 1 > 2 }}"), tell("after", 1), out="{{ after }}")) == 1


# -- order -------------------------------------------------------------------------------------------------------------


def test_steps_of_a_definition_begin_each_when_the_one_before_is_over() -> None:
    loop: Step = {"stepType": "loop", "over": [1, 2], "parallel": True, "steps": [tell("b", 1), tell("c", 1)]}
    run = go(tell("a", 1), loop, tell("d", 1))
    run.result(20)
    trace = run.trace
    trace = trace[trace.node == "language-say"].set_index("address")
    first, last = trace.loc["a"], trace.loc["d"]
    inside = trace.drop(index=["a", "d"])
    assert first.end <= inside.start.min()
    assert inside.end.max() <= last.start
    for n in (0, 1):
        own = inside[inside.index.str.contains(rf"\[{n}\]")]
        b, c = own[own.index.str.endswith("b")].iloc[0], own[own.index.str.endswith("c")].iloc[0]
        assert b.end <= c.start


def test_the_value_of_a_definition_without_outputs_is_that_of_its_last_step() -> None:
    assert go(tell("a", 1), tell("b", [2])).result(20) == [2]
