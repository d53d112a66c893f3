"""The definition of a graph loads as the same graph, however the graph was written."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import wfnb as wf
from tests.authoring.definitions import Known, Scale, add, careful, definitions, keep, load, names, rows, total
from wfnb.authoring.dumps import definition_of, to_yaml
from wfnb.authoring.graphs import graph_of
from wfnb.authoring.reading import read_text
from wfnb.authoring.registry import REGISTRY
from wfnb.model.errors import DefinitionError
from wfnb.model.expr import Apply, Const, Container, Expr, Input, Local, StepValue
from wfnb.model.graph import Body, Case, Composed, Each, Graph, InputSpec, Step, Switch

KNOWN = Known()


def dump(graph: Graph) -> dict[str, Any]:
    return definition_of(graph, registry=KNOWN)


def again(definition: Any) -> dict[str, Any]:
    return dump(graph_of(definition, registry=KNOWN))


def dumped(*steps: Any, **head: Any) -> Any:
    return again({"name": "w", "steps": list(steps), **head})["steps"]


# -- canonical -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(definitions())
def test_a_canonical_definition_comes_out_as_it_went_in(definition: dict[str, Any]) -> None:
    made = again(definition)
    assert again(made) == made
    assert again(json.loads(json.dumps(made))) == made
    text = to_yaml(made)
    assert read_text(text).data == made
    assert again(text) == made


def test_what_is_as_by_default_is_left_out() -> None:
    made = again(
        {
            "name": "w",
            "version": "",
            "description": "",
            "tags": [],
            "order": "sequence",
            "inputs": {},
            "steps": [
                {"type": "add", "params": {}, "continueOnError": False, "retry": {"attempts": 0}, "priority": "normal"},
                {"type": "careful", "params": {"x": 1}, "retry": {"attempts": 2}, "timeout": 5000},
                {
                    "step_type": "loop",
                    "over": [1],
                    "as": "item",
                    "parallel": False,
                    "steps": [{"type": "add"}],
                    "output": "{{ add_2 }}",
                },
                {"stepType": "loop", "times": 2, "init": None, "max_iterations": 1000, "steps": []},
            ],
            "outputs": "{{ loop }}",
        }
    )
    assert made == {
        "wfnb": 1,
        "name": "w",
        "steps": [
            {"stepType": "node", "id": "add", "type": "add"},
            {"stepType": "node", "id": "careful", "type": "careful", "params": {"x": 1}},
            {
                "stepType": "loop",
                "id": "each",
                "over": [1],
                "steps": [{"stepType": "node", "id": "add_2", "type": "add"}],
            },
            {"stepType": "loop", "id": "loop", "times": 2, "steps": []},
        ],
    }


def test_a_policy_is_written_where_it_is_not_the_registered_nodes_own() -> None:
    backoff = {"type": "exponential", "delay": 2000}
    found = dumped(
        {
            "type": "careful",
            "params": {"x": 1},
            "retry": {"attempts": 0, "backoff": backoff, "on": ["OSError"]},
            "timeout": None,
        },
        {"type": "add", "timeout": 100, "priority": 3, "cache": True, "resources": {"GPU": 1}, "validate": False},
    )
    assert found[0]["retry"] == {"attempts": 0, "backoff": backoff, "on": ["OSError"]}
    assert found[0]["timeout"] is None
    assert {name: found[1][name] for name in found[1] if name not in ("stepType", "id", "type")} == {
        "timeout": 100,
        "priority": 3,
        "cache": True,
        "resources": {"GPU": 1},
        "validate": False,
    }


def test_a_text_with_braces_is_escaped() -> None:
    value = {"a": "{{ not a template }}", "b": ["x {% endraw %} {{", "{{\r\n"]}
    graph = Graph("w", "", (), (Step("k", keep, kwargs=(("value", Const(value)),)),), Const(None))
    made = dump(graph)
    assert made["steps"][0]["params"]["value"]["a"] == "{% raw %}{{ not a template }}{% endraw %}"
    assert graph_of(made, registry=KNOWN).steps[0].kwargs == (("value", Const(value)),)


def test_what_json_lacks_and_templates_have_is_written_as_a_template() -> None:
    value = {"a": (1, 2), "b": {1: "x"}}
    graph = Graph("w", "", (), (Step("k", keep, kwargs=(("value", Const(value)),)),), Const(None))
    made = dump(graph)
    assert made["steps"][0]["params"]["value"] == {"a": "{{ (1, 2) }}", "b": "{{ {1: 'x'} }}"}
    assert graph_of(made, registry=KNOWN).steps[0].kwargs == (("value", Const(value)),)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", float("inf"), PurePosixPath("a"), (1, {2})])
def test_a_constant_that_no_definition_can_hold_is_named(value: Any) -> None:
    step = Step("k", keep, kwargs=(("value", Const({"a": [value]})),), where="cell In[3], line 4")
    with pytest.raises(DefinitionError) as caught:
        dump(Graph("w", "", (), (step,), Const(None)))
    told = str(caught.value)
    assert "step 'k' (steps[0].params.value.a[0], cell In[3], line 4)" in told
    assert "cannot be written in a definition" in told or "is nothing that a definition can hold" in told


def test_every_constant_that_no_definition_can_hold_is_named_at_once() -> None:
    steps = tuple(Step(f"k{n}", keep, kwargs=(("value", Const(object())),)) for n in range(3))
    with pytest.raises(DefinitionError) as caught:
        dump(Graph("w", "", (InputSpec("x", set, {1}, required=False),), steps, Const(1j)))
    assert len(caught.value.problems) == 5


def test_ids_that_templates_cannot_say_are_written_in_brackets() -> None:
    ids = ["input", "not", "a:b", "load", "data", "load-data", "x-y", "5"]
    steps = [Step(one, add) for one in ids]
    used: tuple[Expr, ...] = tuple(StepValue(one) for one in ids)
    graph = Graph("w", "", (), (*steps, Step("k", keep, kwargs=(("value", Container("list", used)),))), Const(None))
    made = dump(graph)
    assert made["steps"][-1]["params"]["value"] == [
        "{{ steps['input'] }}",
        "{{ steps['not'] }}",
        "{{ steps['a:b'] }}",
        "{{ load }}",
        "{{ data }}",
        "{{ steps['load-data'] }}",
        "{{ x-y }}",
        "{{ steps['5'] }}",
    ]
    assert again(made) == made


def test_a_case_that_is_compared_with_an_expression_becomes_a_condition() -> None:
    value = Input("n")
    cases = (Case(StepValue("a"), Body()), Case(Const((1, 2)), Body()), Case(Const(True), Body(), condition=True))
    steps = (Step("a", add), Step("s", Composed(), construct=Switch(cases, value)))
    made = dump(Graph("w", "", (InputSpec("n"),), steps, StepValue("s")))
    assert [case["when"] for case in made["steps"][1]["cases"]] == [
        "{{ input.n == a }}",
        "{{ input.n == (1, 2) }}",
        "{{ True }}",
    ]
    assert again(made) == made


def test_a_name_that_is_hidden_by_an_inner_one_is_said_by_its_construct() -> None:
    outer = Local("outer", "index")
    inner = Each(
        Const([1]), Body((Step("k", add, kwargs=(("x", outer), ("y", Local("inner", "index")))),), StepValue("k"))
    )
    body = Body((Step("inner", Composed(), construct=inner),), StepValue("inner"))
    made = dump(Graph("w", "", (), (Step("outer", Composed(), construct=Each(Const([2]), body)),), StepValue("outer")))
    assert made["steps"][0]["steps"][0]["steps"][0]["params"] == {"x": "{{ outer.index }}", "y": "{{ index }}"}
    assert again(made) == made


def test_a_step_that_is_not_seen_cannot_be_written() -> None:
    step = Step("k", add, kwargs=(("x", StepValue("gone")),))
    with pytest.raises(DefinitionError, match="step 'gone' is not seen from here"):
        dump(Graph("w", "", (), (step,), Const(None)))


# -- traced ----------------------------------------------------------------------------------------------------------


@wf.workflow(version="2", tags=["t"], name="traced")
def traced(path: str, depths: list[int] = [1, 2], t: tuple[int, str] = (1, "{{")) -> Any:  # noqa: B006
    df = load(path)
    many = add.map(depths, y=df["a"])
    wide = add.expand(x=[1, 2], y=[3])
    chosen = wf.switch(
        [(df["x"] > 1, lambda: add(df["x"] * 2)), ((df["x"] < 0) & (df["x"] == 2), lambda: add(1))],
        default=lambda: careful.options(retries=0, backoff=wf.Fixed(0.5))(3),
    )
    compared = wf.switch(df["x"], {1: lambda: add(1), "a": lambda: add(2), (1, 2): lambda: add(3)})
    looped = wf.loop(lambda v: add(v + 1), init=1, until=lambda v: v > 3, max_iterations=5)
    again_ = wf.loop(lambda v, i: add(v, i), init=df["a"], times=3)
    nested = wf.each(depths, lambda a, i: wf.each(depths, lambda b, j: add(a + i, b - j)), max_concurrency=2)
    caught = wf.attempt(
        lambda: add(-1),
        catch={ValueError: lambda err: load(err.message), OSError: lambda: add(1)},
        finally_=lambda: add(2),
    )
    streamed = wf.stream(rows(path), add, batch=3)
    side = wf.parallel(lambda: add(1), lambda: [add(2), add(3)], max_concurrency=2, id="side-by-side")
    first = wf.parallel(lambda: add(1), lambda: add(2), first=True)
    planned = wf.dynamic(keep, {"steps": []})
    summed = total(1, side[0], 3)
    scaled = Scale(factor=3.0, unit="m")(2.0)
    named = names(["{{ a }}", path])
    return {
        "a": [many, wide, chosen, compared, looped, again_, nested, caught, streamed],
        "b": (side[0] ** 2, -first, ~many[0], abs(summed), many[1:], df["x"] + 1 + 2 - 3),
        "c": {"planned": planned, "scaled": scaled, "named": named, "t": t},
    }


def test_the_definition_of_a_traced_workflow_loads_as_an_equal_one() -> None:
    made = dump(traced.graph)
    json.dumps(made)
    assert again(made) == made
    assert again(to_yaml(made)) == made
    loaded = graph_of(made, registry=KNOWN)
    assert loaded.order == "data"
    assert loaded.inputs[2].default == (1, "{{")
    assert [step.id for step in loaded.steps] == [step.id for step in traced.graph.steps]


def test_arguments_by_position_are_written_by_name_where_they_have_one() -> None:
    made = dump(traced.graph)
    by_id = {step["id"]: step for step in made["steps"]}
    assert by_id["load"]["params"] == {"path": "{{ input.path }}"}
    assert by_id["add"]["over"] == {"x": "{{ input.depths }}"}
    assert by_id["total"]["args"] == [1, "{{ steps['side-by-side'][0] }}", 3] or by_id["total"]["args"] == [
        1,
        "{{ side-by-side[0] }}",
        3,
    ]
    assert by_id["Scale"]["type"] == "scale"
    assert by_id["Scale"]["params"] == {"factor": 3.0, "unit": "m", "x": 2.0}


def test_a_sub_workflow_is_written_by_its_name_and_inputs() -> None:
    with REGISTRY.kept_apart():

        @wf.workflow(version="3")
        def inner(n: int) -> Any:
            return add(n)

        @wf.workflow
        def outer(m: int) -> Any:
            return inner(m + 1)

        made = definition_of(outer.graph)
        assert made["steps"] == [
            {
                "stepType": "workflow",
                "id": "inner",
                "workflow": "inner",
                "version": "3",
                "inputs": {"n": "{{ input.m + 1 }}"},
            }
        ]
        assert definition_of(graph_of(made)) == made


def test_a_long_sum_is_written_and_read() -> None:
    total_: Expr = Input("n")
    for n in range(150):
        total_ = Apply("+", (total_, Const(n)))
    made = dump(Graph("w", "", (InputSpec("n"),), (Step("k", add, kwargs=(("x", total_),)),), StepValue("k")))
    assert graph_of(made, registry=KNOWN).steps[0].kwargs == (("x", total_),)


def test_every_schema_of_an_input_comes_out_as_it_went_in() -> None:
    schemas: dict[str, Any] = {
        "a": {"type": "string", "description": "a path", "minLength": 2},
        "b": {"type": ["integer", "null"], "default": None},
        "c": {"enum": ["x", 1], "title": "C"},
        "d": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}, "default": []},
        "e": {},
        "f": {"type": "object", "additionalProperties": {"type": "number"}, "examples": [{}]},
    }
    made = again({"name": "w", "inputs": {**schemas, "g": "boolean"}, "steps": []})
    assert made["inputs"] == {**schemas, "g": {"type": "boolean"}}
