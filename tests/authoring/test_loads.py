"""A definition becomes the graph it means, or everything that is wrong with it is told at once."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.authoring.definitions import Known, Scale, add, careful, definitions, load
from wfnb.authoring.graphs import graph_of
from wfnb.authoring.loads import load as load_file
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.workflow import Workflow
from wfnb.model.document import Document
from wfnb.model.errors import ConfigurationError, DefinitionError
from wfnb.model.expr import Apply, Const, Container, Input, Local, StepValue, Text, Var
from wfnb.model.graph import (
    Body,
    Dynamic,
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
from wfnb.model.policy import Exponential, Fixed, Policy


def graph(*steps: Any, known: Known | None = None, **head: Any) -> Graph:
    return graph_of({"name": "w", **head, "steps": list(steps)}, registry=known or Known())


def problems(*steps: Any, **head: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        graph(*steps, **head)
    return [str(one) for one in caught.value.problems]


def one(step: dict[str, Any], **head: Any) -> Step:
    return graph(step, **head).steps[-1]


# -- what a graph is made of -----------------------------------------------------------------------------------------


def test_a_definition_is_a_graph_in_order() -> None:
    made = graph(
        {"type": "load", "params": {"path": "{{ path }}"}},
        {"type": "add", "params": {"x": "{{ load.a }}", "y": 2}},
        version="1.0",
        description="adds",
        tags=["a"],
        concurrency={"*": 3, "gpu": 1},
        inputs={"path": "string", "n": {"type": "integer", "default": 3}},
        outputs={"sum": "{{ add }}"},
    )
    assert made.steps[0].node is load
    assert made.steps[1].kwargs == (("x", Apply("field", (StepValue("load"), Const("a")))), ("y", Const(2)))
    assert made.inputs == (InputSpec("path", str), InputSpec("n", int, 3, required=False))
    assert made.output == Container("dict", (Const("sum"), StepValue("add")))
    assert (made.version, made.order, made.tags, made.description) == ("1.0", "sequence", ("a",), "adds")
    assert made.concurrency == (("", 3), ("gpu", 1))


def test_without_an_output_the_value_is_that_of_the_last_step() -> None:
    assert graph({"type": "add"}, {"type": "add", "id": "b"}).output == StepValue("b")
    assert graph().output == Const(None)
    assert graph({"type": "add"}, outputs=None).output == Const(None)


def test_steps_without_an_id_are_called_after_their_nodes() -> None:
    made = graph(
        {"type": "add"},
        {"type": "add"},
        {"type": "add", "id": "add_3"},
        {"type": "add"},
        {"stepType": "parallel", "steps": [{"type": "add"}, [{"type": "add"}]]},
        {"stepType": "loop", "over": [1], "steps": [{"type": "add"}, {"type": "load", "params": {"path": "a"}}]},
        {"stepType": "loop", "times": 1, "steps": []},
        {"stepType": "switch", "cases": [{"when": True, "steps": [{"type": "load", "params": {"path": "a"}}]}]},
        {"stepType": "stream", "source": {"type": "rows", "params": {"path": "a"}}},
        {"stepType": "try", "steps": [], "finally": []},
        {"stepType": "sequential", "steps": []},
    )
    ids = [step.id for step in made.steps]
    assert ids == [
        "add",
        "add_2",
        "add_3",
        "add_4",
        "parallel",
        "each",
        "loop",
        "switch",
        "stream",
        "try",
        "sequential",
    ]
    parallel, each, switch = (made.steps[n].construct for n in (4, 5, 7))
    assert isinstance(parallel, Parallel)
    assert isinstance(each, Each)
    assert isinstance(switch, Switch)
    assert [branch.steps[0].id for branch in parallel.branches] == ["add_5", "add_6"]
    assert [step.id for step in each.body.steps] == ["add_7", "load"]
    assert [step.id for step in switch.cases[0].body.steps] == ["load"]


def test_policies_are_those_of_the_step() -> None:
    backoff = {"type": "exponential", "delay": 2000, "factor": 3, "max": 9000, "jitter": 0.5}
    step = one(
        {
            "type": "add",
            "name": "Adds",
            "when": "{{ n > 2 }}",
            "continueOnError": True,
            "retry": {"attempts": 2, "backoff": backoff, "on": ["OSError"]},
            "timeout": 1500,
            "cache": True,
            "checkpoint": False,
            "priority": "high",
            "resources": {"GPU": 1},
            "validate": False,
        },
        inputs={"n": "integer"},
    )
    assert step.node.policy == Policy(
        2, Exponential(2.0, 3.0, 9.0, 0.5), ("OSError",), 1.5, True, False, {"GPU": 1}, 5, False
    )
    assert step.when == Apply(">", (Input("n"), Const(2)))
    assert (step.title, step.continue_on_error) == ("Adds", True)


def test_a_step_keeps_what_it_says_nothing_about_of_its_nodes_policy() -> None:
    assert one({"type": "careful", "params": {"x": 1}}).node is careful
    node = one({"type": "careful", "params": {"x": 1}, "retry": {"backoff": {"delay": 5}}, "timeout": None}).node
    assert node.policy == Policy(2, Fixed(0.005), timeout=None, priority=5)


def test_settings_and_arguments_of_a_class_are_told_apart() -> None:
    step = one({"type": "scale", "params": {"factor": 3, "unit": "m", "x": "{{ n }}"}}, inputs={"n": "number"})
    assert isinstance(step.node, Scale)
    assert (step.node.params.factor, step.node.params.unit) == (3.0, "m")
    assert step.kwargs == (("x", Input("n")),)


def test_a_node_that_is_made_takes_other_settings() -> None:
    known = Known()
    known.nodes["metres"] = Scale(unit="m")
    step = graph({"type": "metres", "params": {"factor": 5.0, "x": 1}}, known=known).steps[0]
    assert (step.node.params.factor, step.node.params.unit) == (5.0, "m")
    assert known.nodes["metres"].params.factor == 2.0


def test_map_and_expand_name_what_they_go_over() -> None:
    made = one({"stepType": "map", "type": "add", "over": {"x": "{{ f }}"}, "params": {"y": 1}}, inputs={"f": "array"})
    assert (made.kind, made.over, made.kwargs) == ("map", ("x",), (("x", Input("f")), ("y", Const(1))))
    wide = one({"stepType": "expand", "type": "add", "over": {"y": [1], "x": [2, 3]}})
    assert (wide.kind, wide.over) == ("expand", ("y", "x"))
    placed = one({"stepType": "map", "type": "total", "over": {"1": [1, 2]}, "args": [5, 6]})
    assert (placed.over, placed.args) == ((1,), (Const(5), Const([1, 2]), Const(6)))


def test_a_loop_over_items_gives_them_a_name() -> None:
    body = [{"type": "keep", "id": "k", "params": {"value": "{{ row }}{{ index }}", "i": "{{ outer.index }}"}}]
    inner = {"stepType": "loop", "id": "inner", "over": "{{ item }}", "as": "row", "parallel": True, "steps": body}
    step = one({"stepType": "loop", "id": "outer", "over": [[1], [2]], "maxIterations": 5, "steps": [inner]})
    assert isinstance(step.construct, Each)
    assert (step.construct.parallel, step.construct.max_iterations, step.construct.name) == (False, 5, "item")
    each = step.construct.body.steps[0].construct
    assert isinstance(each, Each)
    assert (each.over, each.name, each.parallel) == (Local("outer", "item"), "row", True)
    row, index = Local("inner", "item", "row"), Local("inner", "index")
    assert each.body.steps[0].kwargs == (
        ("value", Text("{{ row }}{{ index }}", (("row", row), ("index", index)))),
        ("i", Local("outer", "index")),
    )


def test_an_item_with_a_name_of_its_own_is_no_longer_called_item() -> None:
    found = problems(
        {"stepType": "loop", "over": [1], "as": "row", "steps": [{"type": "keep", "params": {"value": "{{ item }}"}}]}
    )
    assert "name 'item' is unknown" in found[0]


def test_a_loop_carries_a_value() -> None:
    until = {"steps": [{"type": "add", "id": "far", "params": {"x": "{{ item }}"}}], "output": "{{ far > 3 }}"}
    step = one({"stepType": "loop", "init": 1, "until": until, "maxIterations": 9, "steps": [{"type": "add"}]})
    assert isinstance(step.construct, Loop)
    assert step.construct.init == Const(1)
    assert step.construct.max_iterations == 9
    assert step.construct.until is not None
    assert step.construct.until.output == Apply(">", (StepValue("far"), Const(3)))
    assert step.construct.until.steps[0].kwargs == (("x", Local("loop", "item")),)
    again = one({"stepType": "loop", "while": "{{ index < 3 }}", "steps": [{"type": "add"}]}).construct
    assert isinstance(again, Loop)
    assert again.while_ == Body((), Apply("<", (Local("loop", "index"), Const(3))))


def test_a_case_that_is_a_template_is_a_condition_and_a_constant_is_compared() -> None:
    cases = [{"when": "csv"}, {"when": "{{ n > 1 }}"}, {"when": 3}, {"when": None}, {"when": "{% raw %}{{{% endraw %}"}]
    step = one({"stepType": "switch", "value": "{{ n }}", "cases": cases, "default": []}, inputs={"n": "integer"})
    assert isinstance(step.construct, Switch)
    assert [(case.when, case.condition) for case in step.construct.cases] == [
        (Const("csv"), False),
        (Apply(">", (Input("n"), Const(1))), True),
        (Const(3), False),
        (Const(None), False),
        (Const("{{"), False),
    ]
    assert step.construct.default == Body()
    bare = one({"stepType": "switch", "cases": [{"when": True}]}).construct
    assert isinstance(bare, Switch)
    assert bare.cases[0].condition


def test_a_try_has_catches_for_all_errors_or_for_some() -> None:
    message = {"type": "log", "params": {"message": "{{ error.message }}"}}
    step = one(
        {
            "stepType": "try",
            "id": "t",
            "steps": [{"type": "add"}],
            "catch": [message],
            "finally": [message | {"params": {"message": "x"}}],
        }
    )
    assert isinstance(step.construct, Try)
    assert step.construct.catches[0].on == ()
    assert step.construct.catches[0].body.steps[0].kwargs == (
        ("message", Apply("field", (Local("t", "error"), Const("message")))),
    )
    some = one(
        {"stepType": "try", "steps": [], "catch": [{"on": ["OSError"], "steps": [message]}, {"steps": []}]}
    ).construct
    assert isinstance(some, Try)
    assert [catch.on for catch in some.catches] == [("OSError",), ()]


def test_a_stream_without_steps_gives_its_items() -> None:
    step = one({"stepType": "stream", "source": {"type": "rows", "params": {"path": "a"}}, "batchSize": 5})
    assert isinstance(step.construct, Stream)
    assert step.construct.body == Body((), Local("stream", "item"))
    assert (step.construct.batch, step.construct.buffer) == (5, 10)
    assert step.construct.source.node.ports.generator


def test_a_dynamic_step_is_planned_by_its_node() -> None:
    step = one({"stepType": "dynamic", "type": "keep", "params": {"value": 1}})
    assert isinstance(step.construct, Dynamic)
    assert step.kwargs == (("value", Const(1)),)


def test_steps_in_sequential_and_parallel_are_seen_after_them() -> None:
    made = graph(
        {
            "stepType": "parallel",
            "steps": [{"type": "add", "id": "a"}, {"stepType": "sequential", "steps": [{"type": "add", "id": "b"}]}],
        },
        {"type": "add", "params": {"x": "{{ a }}", "y": "{{ b }}"}},
    )
    assert made.steps[1].kwargs == (("x", StepValue("a")), ("y", StepValue("b")))
    assert isinstance(made.steps[0].construct, Parallel)
    assert isinstance(made.steps[0].construct.branches[1].steps[0].construct, Sequential)


def test_steps_in_other_constructs_are_not_seen_after_them() -> None:
    for construct in (
        {"stepType": "parallel", "mode": "first", "steps": [{"type": "add", "id": "a"}]},
        {"stepType": "loop", "times": 1, "steps": [{"type": "add", "id": "a"}]},
        {"stepType": "switch", "cases": [{"when": True, "steps": [{"type": "add", "id": "a"}]}]},
        {"stepType": "try", "steps": [{"type": "add", "id": "a"}], "finally": []},
    ):
        assert "name 'a' is unknown" in problems(construct, {"type": "add", "params": {"x": "{{ a }}"}})[0]


def test_a_bare_name_is_a_variable_once_it_is_set_and_an_input_before() -> None:
    made = graph(
        {"type": "keep", "params": {"value": "{{ v }}"}},
        {"type": "set", "params": {"name": "v", "value": 1}},
        {"type": "keep", "params": {"value": "{{ v }}"}},
        inputs={"v": "integer"},
    )
    assert made.steps[0].kwargs == (("value", Input("v")),)
    assert made.steps[2].kwargs == (("value", Var("v")),)


def test_a_loop_sees_the_variables_of_its_earlier_iterations() -> None:
    body = [{"type": "keep", "params": {"value": "{{ var.v }}"}}, {"type": "set", "params": {"name": "v", "value": 1}}]
    loop = {"stepType": "loop", "while": "{{ var.v < 3 }}", "steps": body}
    assert graph(loop, {"type": "keep", "params": {"value": "{{ v }}"}}).steps[1].kwargs == (("value", Var("v")),)
    side = {"stepType": "loop", "over": [1], "parallel": True, "steps": body}
    assert "variable 'v' is used before anything sets it" in problems(side)[0]


def test_an_id_with_dashes_can_be_used_as_it_is_written() -> None:
    made = graph(
        {"type": "load-data", "params": {"path": "a"}},
        {"type": "keep", "params": {"value": "{{ load-data.x }} {{ $load-data }}"}},
    )
    assert made.steps[0].id == "load-data"
    assert made.steps[1].kwargs == (
        ("value", Text("{{ load-data.x }} {{ load-data }}", (("load-data", StepValue("load-data")),))),
    )


def test_another_workflow_is_taken_by_its_name() -> None:
    inner = Workflow.from_graph(
        graph({"type": "add", "params": {"x": "{{ n }}"}}, name="inner", inputs={"n": "integer"})
    )
    known = Known(inner=inner)
    step = graph(
        {"stepType": "workflow", "workflow": "inner", "inputs": {"n": "{{ m }}"}}, known=known, inputs={"m": "integer"}
    ).steps[0]
    assert step.construct == SubWorkflow("inner", "", (("n", Input("m")),), inner.graph)
    assert step.id == "inner"
    with pytest.raises(DefinitionError) as caught:
        graph(
            {"stepType": "workflow", "workflow": "inner", "inputs": {"m": 1}},
            {"stepType": "workflow", "workflow": "inner", "inputs": {"n": "x"}},
            known=known,
        )
    told = str(caught.value)
    assert "workflow 'inner' has no input 'm'" in told
    assert "workflow 'inner' needs the input 'n'" in told
    assert "input 'n' = 'x' (str), but its annotation says int" in told


def test_a_workflow_may_call_itself() -> None:
    step = graph({"stepType": "workflow", "workflow": "w", "inputs": {"n": 1}}, inputs={"n": "integer"}).steps[0]
    assert step.construct == SubWorkflow("w", "", (("n", Const(1)),), None)


@pytest.mark.parametrize(
    ("schema", "fits", "misfits"),
    [
        ("string", "a", 1),
        ({"type": "integer", "minimum": 1}, 2, 0),
        ({"type": "number"}, 1, "a"),
        ({"type": ["integer", "null"]}, None, "a"),
        ({"enum": ["a", 1]}, "a", "b"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, [1], [1, 2, 3]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "x"}),
        ({"type": "string", "pattern": "^a+$", "description": "all a"}, "aa", "b"),
        ({"anyOf": [{"type": "integer"}, {"type": "array"}]}, [], "x"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, (1, "a"), ("a", 1)),
    ],
)
def test_inputs_are_checked_by_their_json_schema(schema: Any, fits: Any, misfits: Any) -> None:
    made = Workflow.from_graph(graph(inputs={"x": schema}))
    assert made.bind((), {"x": fits}) == {"x": fits}
    with pytest.raises(DefinitionError, match="input 'x'"):
        made.bind((), {"x": misfits})


# -- what is wrong ---------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    ({"type": "lod", "params": {"path": 1}}, "(steps[0].type): no node is called 'lod'. Did you mean 'load'?"),
    ({"type": "load", "params": {"pth": "a"}}, "it has no parameter 'pth'. Did you mean 'path'?"),
    ({"type": "load"}, "'path' is missing"),
    ({"type": "load", "params": {"path": "a", "n": "b"}}, "(steps[0].params.n): 'n' = 'b' (str), but its"),
    ({"type": "load", "params": {"path": "{{ n }}"}}, "(steps[0].params.path): 'path' = a value annotated int"),
    ({"stepType": "map", "type": "load", "over": {"path": ["a", 1]}}, "(steps[0].over.path): 'path' = 1 (int)"),
    ({"stepType": "map", "type": "load", "over": {"path": 3}}, "no list"),
    ({"stepType": "map", "type": "load", "over": {}}, "there is nothing to iterate over"),
    ({"type": "total", "args": [1, "b"]}, "(steps[0].args[1]): 'xs' = 'b' (str)"),
    ({"type": "add", "params": {"x": "{{ zork.x }}"}}, "(steps[0].params.x): name 'zork' is unknown"),
    ({"type": "add", "id": "me", "params": {"x": "{{ me }}"}}, "step 'me' comes later"),
    ({"type": "add", "params": {"x": "{{ m"}}, "cannot be read"),
    ({"type": "add", "params": {"x": "{{ n.__class__ }}"}}, "attribute '__class__' may not be used in a template"),
    ({"type": "add", "id": "a b"}, "(steps[0].id): 'a b' cannot be an id"),
    ({"type": "add", "when": "n > 1"}, "(steps[0].when): the condition 'n > 1' is a text, which would always be true"),
    ({"type": "add", "when": "{{ n }} > 1"}, "is a text, which would always be true"),
    ({"type": "add", "retry": {"on": ["a b"]}}, "(steps[0].retry.on): option 'retry_on' cannot be"),
    ({"type": "add", "retry": {"backoff": {"factor": 3}}}, "'factor' is for type: exponential"),
    ({"type": "add", "resources": {"GPU": -1}}, "(steps[0].resources): option 'resources' cannot be"),
    ({"type": "rows", "params": {"path": "a"}}, "node 'rows' is a generator function"),
    ({"type": "scale", "params": {"unit": "{{ n }}", "x": 1}}, "the setting 'unit' of node 'scale' is a template"),
    ({"type": "scale", "params": {"factor": "a", "x": 1}}, "node 'Scale' cannot be made like this"),
    ({"type": "set", "params": {"name": "{{ n }}", "value": 1}}, "the variable's name is no name that is known"),
    ({"stepType": "loop", "steps": []}, "a loop goes by one thing, and is given neither of them"),
    ({"stepType": "loop", "times": 1, "over": [], "steps": []}, "is given 'over' and 'times'"),
    ({"stepType": "loop", "times": -1, "steps": []}, "'times' cannot be -1"),
    ({"stepType": "loop", "over": 3, "steps": []}, "'over' is 3, no list"),
    ({"stepType": "loop", "over": [], "init": 1, "steps": []}, "a loop with 'over' has no 'init'"),
    ({"stepType": "loop", "times": 1, "parallel": True, "steps": []}, "only a loop with 'over' has 'parallel'"),
    ({"stepType": "loop", "over": [], "maxConcurrency": 2, "steps": []}, "the items are run one after the other"),
    ({"stepType": "loop", "over": [], "as": "input", "steps": []}, "an item cannot be called 'input'"),
    ({"stepType": "switch", "cases": []}, "there is no case"),
    ({"stepType": "switch", "cases": [{"when": "a"}]}, "the case 'a' is a constant, and there is no value"),
    ({"stepType": "switch", "value": 1, "cases": [{"when": "a{{ n }}"}]}, "is neither a condition nor a constant"),
    ({"stepType": "try", "steps": []}, "it is not said what is done about an error"),
    ({"stepType": "stream", "source": {"type": "add"}}, "node 'add' is no generator function"),
    ({"stepType": "parallel", "mode": "first", "steps": []}, "there is no branch to be the first"),
    ({"stepType": "parallel", "mode": "all", "first": True, "steps": []}, "'first' and 'mode' say different things"),
    ({"stepType": "workflow", "workflow": "nope"}, "(steps[0].workflow): no workflow is called 'nope'"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "told"), WRONG, ids=lambda one: str(one)[:60])
def test_what_is_wrong_is_told_with_its_path_and_its_cure(step: Any, told: str) -> None:
    found = problems(step, inputs={"n": "integer"})
    assert any(told in one for one in found), found
    assert len(found) <= 2


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = problems(*[step for step, _ in WRONG], inputs={"n": "integer"})
    assert len(found) >= len(WRONG)


def test_an_id_that_is_taken_is_told_with_its_other_holder() -> None:
    inner = {"stepType": "loop", "times": 1, "steps": [{"type": "add", "id": "a"}]}
    found = problems({"type": "add", "id": "a"}, {"type": "add", "id": "a"}, inner)
    assert (
        found[0]
        == "step 'a' (steps[1].id): the id 'a' is taken by another step (steps[0]). Give one of them another id"
    )
    assert "steps[2].steps[0].id" in found[1]


def test_inputs_that_are_wrong_are_told() -> None:
    found = problems(
        inputs={
            "a": "strin",
            "b": {"type": "integer", "default": "x", "minimun": 3},
            "c": {"pattern": 3, "type": "string"},
        }
    )
    assert any("there is no type 'strin'. Did you mean 'string'?" in one for one in found)
    assert any("'minimun' is no word of JSON Schema" in one and "inputs.b" in one for one in found)
    assert any("the default of input 'b' = 'x' (str), but its type is int" in one for one in found)
    assert any("'pattern' cannot be 3" in one for one in found)


def test_the_search_ends_when_so_much_is_wrong_that_nobody_reads_more() -> None:
    assert len(problems(*[{"type": "add", "params": {"x": "{{ zork }}"}} for _ in range(2_000)])) == 100


# -- files and texts -------------------------------------------------------------------------------------------------

FLOW = """
name: flow
inputs: {n: integer}
steps:
  - type: add
    params: {x: "{{ n }}", y: "{{ m }}"}
"""


def test_a_problem_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW, "utf-8")
    with pytest.raises(DefinitionError, match=r"steps\[0\].params.y, flow.yaml, line 6.*name 'm' is unknown"):
        load_file(tmp_path / "flow.yaml", registry=Known())


def test_a_file_is_loaded_as_a_workflow(tmp_path: Path) -> None:
    path = tmp_path / "flow.yml"
    path.write_text("\ufeff" + FLOW.replace("{{ m }}", "{{ n }}"), "utf-8")
    with REGISTRY.kept_apart():
        found = load_file(str(path), registry=Known())
    assert isinstance(found, Workflow)
    assert found.graph.steps[0].where == "steps[0], flow.yml, line 5"
    assert found.graph.steps[0].node is add


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml' cannot be read: No such file"):
        load_file(tmp_path / "nowhere.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_file(tmp_path / "bytes.yaml")


def test_anything_else_is_no_definition() -> None:
    with pytest.raises(ConfigurationError, match="a definition is a text in YAML or JSON or a dict"):
        graph_of(3)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"a file is read with wf.load\(path\)"):
        graph_of("flow.yaml")


def test_a_definition_without_a_name_can_be_given_one() -> None:
    assert graph_of({"steps": []}, name="planned").name == "planned"


# -- made up ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(definitions())
def test_a_definition_that_is_right_is_loaded(definition: dict[str, Any]) -> None:
    made = graph_of(definition, registry=Known())
    assert len(made.steps) == len(definition["steps"])


BROKEN = st.sampled_from(
    [None, -1, True, "{{ nope }}", "{{ x", "{{ steps['s1'].x }}", [], {}, {"a": 1}, "a", 1e9, [[[]]]]
)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(definitions(), st.data())
def test_a_definition_that_is_broken_somewhere_is_loaded_or_told(
    definition: dict[str, Any], data: st.DataObject
) -> None:
    broken: Any = copy.deepcopy(definition)
    places: list[tuple[Any, Any]] = []
    todo: list[Any] = [broken]
    while todo:
        here = todo.pop()
        pairs = (
            list(here.items()) if isinstance(here, dict) else list(enumerate(here)) if isinstance(here, list) else []
        )
        places += [(here, key) for key, _ in pairs]
        todo += [value for _, value in pairs]
    for holder, key in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        if data.draw(st.booleans()) or isinstance(holder, list):
            if isinstance(holder, dict) or key < len(holder):
                holder[key] = data.draw(BROKEN)
        elif key in holder:
            holder[data.draw(st.sampled_from(["stepTyp", "step", "on", "steps", "output", "when"]))] = holder.pop(key)
    try:
        assert isinstance(graph_of(broken, registry=Known()), Graph)
        return
    except DefinitionError as error:
        told = error.problems
    assert told
    assert all(one.where or "missing" in one.message for one in told), told


def test_thousands_of_steps_are_loaded_in_time() -> None:
    steps: list[Any] = [{"type": "add", "id": "step-0"}]
    steps += [{"type": "add", "id": f"step-{n}", "params": {"x": f"{{{{ step-{n - 1} }}}}"}} for n in range(1, 4_000)]
    begun = time.perf_counter()
    assert len(graph(*steps, *[{"type": "add"}] * 2_000).steps) == 6_000
    assert time.perf_counter() - begun < 30


def test_a_document_of_python_values_may_hold_anything() -> None:
    thing = object()
    document = Document({"name": "w", "steps": [{"type": "keep", "params": {"value": thing}}]}, plain=False)
    assert graph_of(document, registry=Known()).steps[0].kwargs == (("value", Const(thing)),)
