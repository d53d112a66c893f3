"""Steps built one after the other give the graph that the same definition gives."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import cloudpickle
import pandas as pd
import pytest

from wfnb.authoring import constructs
from wfnb.authoring.builder import BuiltStep, Steps, step
from wfnb.authoring.loads import loads
from wfnb.authoring.node import node
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.workflow import Workflow, workflow
from wfnb.model.errors import ConfigurationError, DefinitionError, Problem
from wfnb.model.expr import Apply, Const, Container, Input, Local, StepValue, Text, Var
from wfnb.model.graph import Body, Dynamic, Each, Graph, InputSpec, Loop, Parallel, Stream, SubWorkflow, Switch, Try
from wfnb.model.node import Node
from wfnb.model.policy import Exponential, Fixed, Policy


@pytest.fixture(autouse=True)
def names() -> Iterator[None]:
    with REGISTRY.kept_apart():
        for one in (load, count, mean, a, b, fit, greet, rows, clean, enrich, plan):
            REGISTRY.add_node(one)
        yield


@node
def load(path: str) -> dict[str, Any]:
    return {"kind": path}


@node
def count(df: Any) -> int:
    return 1


@node
def mean(df: Any) -> float:
    return 1.0


@node
def a() -> int:
    return 1


@node
def b() -> int:
    return 2


@node
def fit(depth: int, rate: float = 0.1) -> int:
    return depth


@node
def greet(name: str, timeout: int = 1) -> str:
    return name


@node
def rows(n: int) -> Iterator[int]:
    yield from range(n)


@node
def clean(row: Any) -> Any:
    return row


@node
def enrich(row: Any, extra: int = 0) -> Any:
    return row


@node
def plan(n: int) -> Any:
    return None


class Scale(Node):
    class Params(Node.Params):
        factor: float = 2.0

    def execute(self, x: float) -> float:
        return x * float(self.params.factor)


def same(one: Any, other: Any) -> bool:
    """Return whether two parts of graphs are alike, but for the places they were written and copies of nodes."""
    if isinstance(one, Node) and isinstance(other, Node):
        return (type(one), one.info, one.policy, one.params) == (type(other), other.info, other.policy, other.params)
    if is_dataclass(one) and type(one) is type(other):
        names = [field.name for field in fields(one) if field.name != "where"]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def first(flow: Workflow[..., Any]) -> Any:
    return flow.graph.steps[0].construct


def problems(flow: Workflow[..., Any]) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        flow.validate()
    return caught.value.problems


FLOW = Workflow("flow")

# -- the whole -------------------------------------------------------------------------------------------------------


def orders() -> Workflow[..., Any]:
    return (
        Workflow("orders", version="1.0.0")
        .input("path", str)
        .then(load, path="{{ input.path }}", id="load")
        .parallel(step(count, df="{{ load }}"), step(mean, df="{{ load }}"), max_concurrency=2)
        .switch("{{ load.kind }}", {"csv": step(a)}, default=step(b))
        .loop(step(fit, depth="{{ item }}"), over=[1, 2, 3])
        .attempt(step(a), catch=step(b), finally_=step(a))
        .output("{{ mean }}")
    )


ORDERS = """
name: orders
version: 1.0.0
inputs: {path: string}
outputs: "{{ mean }}"
steps:
  - {stepType: node, id: load, type: load, params: {path: "{{ input.path }}"}}
  - stepType: parallel
    maxConcurrency: 2
    steps:
      - {type: count, params: {df: "{{ load }}"}}
      - {type: mean, params: {df: "{{ load }}"}}
  - stepType: switch
    value: "{{ load.kind }}"
    cases: [{when: csv, steps: [{type: a}]}]
    default: [{type: b}]
  - {stepType: loop, over: [1, 2, 3], steps: [{type: fit, params: {depth: "{{ item }}"}}]}
  - {stepType: try, steps: [{type: a}], catch: [{type: b}], finally: [{type: a}]}
"""


def test_what_is_built_is_what_is_loaded() -> None:
    assert same(orders().graph, loads(ORDERS).graph)


def test_the_graph_is_as_it_was_written() -> None:
    graph = orders().graph
    assert (graph.name, graph.version, graph.order) == ("orders", "1.0.0", "sequence")
    assert graph.inputs == (InputSpec("path", str),)
    assert [one.id for one in graph.steps] == ["load", "parallel", "switch", "each", "try"]
    assert graph.output == StepValue("mean")


def test_a_built_workflow_as_data_loads_as_an_equal_one() -> None:
    flow = orders()
    assert same(loads(flow.to_dict()).graph, flow.graph)
    assert same(loads(flow.to_yaml()).graph, flow.graph)
    assert loads(flow.to_dict()).to_dict() == flow.to_dict()


def test_a_traced_workflow_as_data_loads_as_an_equal_one() -> None:
    @workflow
    def traced(n: int, kind: str = "csv") -> Any:
        found = constructs.each([1, 2], lambda item: fit(item, rate=0.5))
        chosen = constructs.switch(kind, {"csv": lambda: a()}, default=lambda: b())
        return constructs.stream(rows(n), clean, enrich, batch=10), found, chosen

    again = loads(traced.to_dict())
    assert [one.id for one in again.graph.steps] == ["each", "switch", "stream"]
    assert again.to_dict() == traced.to_dict()


def test_every_step_knows_the_place_it_was_written() -> None:
    line = orders.__code__.co_firstlineno
    graph = orders().graph
    assert graph.step("load").where == f"test_builder.py, line {line + 4}"
    parallel = graph.step("parallel").construct
    assert isinstance(parallel, Parallel)
    assert parallel.branches[0].steps[0].where == f"test_builder.py, line {line + 5}"


def test_everything_wrong_is_told_at_once_with_its_place() -> None:
    flow = FLOW.then(fit, deep=3).loop(step(fit, depth="{{ itme }}"), over=[1])
    found = problems(flow)
    line = test_everything_wrong_is_told_at_once_with_its_place.__code__.co_firstlineno + 1
    assert {one.where for one in found} == {f"test_builder.py, line {line}"}
    text = "\n".join(map(str, found))
    assert "'deep'" in text
    assert "'depth' is missing" in text
    assert "itme" in text


def test_a_workflow_is_a_value() -> None:
    start = FLOW.then(a)
    one, other = start.then(b), start.output(5)
    assert [len(flow.graph.steps) for flow in (FLOW, start, one, other)] == [0, 1, 2, 1]
    assert (start.graph.output, other.graph.output) == (StepValue("a"), Const(5))


def test_steps_in_order_data_wait_only_for_what_they_use() -> None:
    assert Workflow("flow", order="data").then(a).graph.order == "data"


# -- names and nodes -------------------------------------------------------------------------------------------------


def test_nodes_need_no_name_that_is_known() -> None:
    made = []
    for _ in range(2):

        @node
        def load(path: str) -> int:
            return len(path)

        made.append(load)
    one, other = FLOW.then(made[0], path="a").then(made[1], path="b").graph.steps
    assert (one.node, one.id) == (made[0], "load")
    assert (other.node, other.id) == (made[1], "load_2")


def test_nodes_are_called_by_name_by_class_and_with_options() -> None:
    flow = FLOW.then("fit", depth=3).then(Scale, factor=3.0, x=1.5).then(fit.options(retries=2), depth=1)
    one, scale, other = flow.graph.steps
    assert (one.node.body, one.kwargs) == (fit.body, (("depth", Const(3)),))
    assert (scale.id, scale.node.params.factor, scale.kwargs) == ("Scale", 3.0, (("x", Const(1.5)),))
    assert other.node.policy.retries == 2


def test_arguments_may_be_given_by_position() -> None:
    assert FLOW.then(fit, 3, rate=0.5).graph.steps[0].args == (Const(3),)


def test_options_of_a_step_are_told_from_arguments_by_the_nodes_parameters() -> None:
    flow = FLOW.then(greet, name="you", timeout=3, retries=2, id="hi", when="{{ 1 > 0 }}")
    (made,) = flow.graph.steps
    assert made.kwargs == (("name", Const("you")), ("timeout", Const(3)))
    assert (made.id, made.node.policy.retries, made.node.policy.timeout) == ("hi", 2, None)
    (other,) = FLOW.then("set", name="x", value=1, id="first").graph.steps
    assert dict(other.kwargs) == {"name": Const("x"), "value": Const(1)}


def test_options_give_the_policy_they_give_in_python() -> None:
    options: dict[str, Any] = {
        "retries": 3,
        "retry_on": (OSError, urllib.error.HTTPError),
        "timeout": 1.5,
        "cache": True,
        "checkpoint": False,
        "priority": "high",
        "resources": {"GPU": 1.0},
        "validate": False,
    }
    for backoff in (Exponential(2.0, factor=3.0, maximum=60.0, jitter=0.5), Fixed(0.5)):
        made = FLOW.then(a, **options, backoff=backoff, continue_on_error=True).graph.steps[0]
        assert made.continue_on_error
        assert made.node.policy == Policy(
            3,
            backoff,
            ("OSError", "urllib.error.HTTPError"),
            1.5,
            cache=True,
            checkpoint=False,
            resources={"GPU": 1.0},
            priority=5,
            validate=False,
        )


def test_values_may_be_anything_python_knows() -> None:
    frame = pd.DataFrame({"x": [1]})
    (made,) = FLOW.then(count, df=frame).graph.steps
    kept = dict(made.kwargs)["df"]
    assert isinstance(kept, Const)
    assert kept.value is frame


def test_texts_are_templates_at_any_depth() -> None:
    (_, made) = FLOW.then(a).then(count, df={"x": ["{{ a }}", "n = {{ a }}"]}).graph.steps
    assert dict(made.kwargs)["df"] == Container(
        "dict",
        (Const("x"), Container("list", (StepValue("a"), Text("n = {{ a }}", (("a", StepValue("a")),))))),
    )


def test_inputs_have_python_types_or_schemas_and_defaults() -> None:
    frame = pd.DataFrame({"x": [1]})
    flow = (
        FLOW.input("df", pd.DataFrame, default=frame)
        .input("n", int)
        .input("kind", "string", "csv")
        .input("xs", {"type": "array", "items": {"type": "integer"}})
        .input("any")
        .then(count, df="{{ input.df }}")
    )
    specs = flow.graph.inputs
    assert [(spec.name, spec.annotation, spec.required) for spec in specs] == [
        ("df", pd.DataFrame, False),
        ("n", int, True),
        ("kind", str, False),
        ("xs", list[int], True),
        ("any", Any, True),
    ]
    assert specs[0].default is frame
    assert flow.inputs == specs
    assert flow.bind((), {"n": 1, "xs": [1], "any": 0})["kind"] == "csv"
    with pytest.raises(DefinitionError, match="input 'n' = 'x'"):
        flow.bind((), {"n": "x", "xs": [1], "any": 0})


def test_an_inputs_type_is_checked_against_the_parameter_it_is_used_for() -> None:
    found = problems(FLOW.input("depth", str).then(fit, depth="{{ input.depth }}"))
    assert "annotated str" in str(found[0])


# -- fan-outs --------------------------------------------------------------------------------------------------------


def test_a_map_and_an_expand_go_over_lists() -> None:
    flow = FLOW.map(fit, {"depth": [1, 2]}, rate=0.5).expand(fit, over={"depth": [1, 2], "rate": [0.1]}, id="grid")
    one, other = flow.graph.steps
    assert (one.kind, dict(one.kwargs)["depth"], one.over) == ("map", Const([1, 2]), ("depth",))
    assert (other.kind, other.id, other.over) == ("expand", "grid", ("depth", "rate"))
    assert dict(other.kwargs)["depth"] == Const([1, 2])


# -- constructs ------------------------------------------------------------------------------------------------------


def test_bodies_are_steps_lists_nodes_names_and_steps_with_a_value() -> None:
    bodies: list[Any] = [step(a), [step(a), b], a, "a", Steps().then(a).then(b).output("{{ a }}")]
    found = [first(FLOW.sequential(body)).body for body in bodies]
    assert [[one.id for one in body.steps] for body in found] == [["a"], ["a", "b"], ["a"], ["a"], ["a", "b"]]
    assert [body.output for body in found] == [StepValue(name) for name in ("a", "b", "a", "a", "a")]


def test_steps_with_a_value_of_their_own_are_one_step_when_they_are_added() -> None:
    graph = FLOW.then([a, b]).then(Steps().then(a).then(b).output("{{ a_2 }}")).graph
    assert [one.id for one in graph.steps] == ["a", "b", "sequential"]
    assert graph.output == StepValue("sequential")


def test_constructs_can_be_nested() -> None:
    inner = Steps().then(fit, depth="{{ item }}").switch("{{ fit }}", {1: step(a)}, default=Steps().parallel(a, b))
    each = first(FLOW.each(inner, over=[1, 2], as_="item"))
    assert isinstance(each, Each)
    switch = each.body.steps[1].construct
    assert isinstance(switch, Switch)
    assert switch.default is not None
    assert isinstance(switch.default.steps[0].construct, Parallel)


def test_a_parallel_has_branches() -> None:
    parallel = first(FLOW.parallel(a, [a, b], Steps().then(a).output(7), first=True, id="race"))
    assert [len(branch.steps) for branch in parallel.branches] == [1, 2, 1]
    assert (parallel.first, parallel.branches[2].output) == (True, Const(7))


def test_an_each_and_a_loop_over_a_list_differ_in_their_order() -> None:
    each = first(FLOW.each(fit, over="{{ [1, 2] }}", as_="depth", max_concurrency=3, max_iterations=9))
    loop = first(FLOW.loop(fit, over=[1, 2]))
    assert (each.parallel, each.max_concurrency, each.max_iterations, each.name) == (True, 3, 9, "depth")
    assert dict(each.body.steps[0].kwargs) == {"depth": Local("each", "item", "depth")}
    assert loop.parallel is False


def test_a_loop_hands_a_value_on() -> None:
    until = first(FLOW.loop(fit, init=3, until="{{ item > 5 }}", max_iterations=7))
    assert isinstance(until, Loop)
    assert (until.init, until.max_iterations) == (Const(3), 7)
    assert until.until == Body((), Apply(">", (Local("loop", "item"), Const(5))))
    asked = first(FLOW.loop(fit, init=3, while_=Steps().then(count, df="{{ item }}").output("{{ count > 1 }}")))
    assert asked.while_.output == Apply(">", (StepValue("count"), Const(1)))
    assert first(FLOW.loop(a, times=2)).times == Const(2)


def test_a_switch_takes_values_or_conditions() -> None:
    flow = FLOW.input("n", int)
    by_value = first(flow.switch("{{ input.n }}", {1: a, "x": b}))
    assert [(case.when, case.condition) for case in by_value.cases] == [(Const(1), False), (Const("x"), False)]
    by_condition = first(flow.switch([("{{ input.n > 1 }}", a), (True, b)], default=a))
    assert by_condition.value is None
    assert [case.condition for case in by_condition.cases] == [True, True]
    assert by_condition.cases[0].when == Apply(">", (Input("n"), Const(1)))


def test_an_attempt_catches_errors_by_type() -> None:
    attempt = first(FLOW.attempt(a, catch={(OSError, "Timeout"): count, Exception: b}, finally_=[a, b]))
    assert isinstance(attempt, Try)
    assert [catch.on for catch in attempt.catches] == [("OSError", "Timeout"), ("Exception",)]
    assert dict(attempt.catches[0].body.steps[0].kwargs) == {"df": Local("try", "error")}
    assert first(FLOW.attempt(a, catch=b)).catches[0].on == ()


def test_a_stream_wires_bare_stages_one_after_the_other() -> None:
    stream = first(
        FLOW.stream(step(rows, n=3), clean, step(enrich, row="{{ clean }}", extra=2), clean, batch=5, buffer=2)
    )
    assert isinstance(stream, Stream)
    assert (stream.source.node, stream.batch, stream.buffer) == (rows, 5, 2)
    first_stage, second, third = stream.body.steps
    assert dict(first_stage.kwargs) == {"row": Local("stream", "item")}
    assert dict(third.kwargs) == {"row": StepValue(second.id)}
    assert stream.body.output == StepValue(third.id)


def test_a_stream_is_the_one_that_a_function_writes() -> None:
    built = FLOW.stream(step(rows, 3), clean, enrich)

    @workflow(name="flow", order="sequence")
    def traced() -> Any:
        return constructs.stream(rows(3), clean, enrich)

    ids = [[one.id for one in flow.graph.steps[0].construct.body.steps] for flow in (built, traced)]  # type: ignore[union-attr]
    assert ids == [["clean", "enrich"]] * 2


def test_a_dynamic_step_and_variables_and_a_sub_workflow() -> None:
    sub = Workflow("sub").input("x", int).then(fit, depth="{{ x }}")
    flow = FLOW.set(n=1, m="{{ var.n }}").dynamic(plan, n="{{ var.n }}").workflow(sub, x=3, id="mine")
    one, other, planned, mine = flow.graph.steps
    assert [one.id, other.id, planned.id, mine.id] == ["set", "set_2", "plan", "mine"]
    assert dict(other.kwargs)["value"] == Var("n")
    assert planned.construct == Dynamic()
    assert isinstance(mine.construct, SubWorkflow)
    assert mine.construct.inputs == (("x", Const(3)),)
    assert mine.construct.graph is not None
    assert [one.id for one in mine.construct.graph.steps] == ["fit"]


def test_a_workflow_of_a_function_can_be_a_step_of_a_built_one_and_the_other_way_round() -> None:
    @workflow
    def inner(x: int) -> Any:
        return fit(x)

    built = FLOW.input("x", int).then(inner, x="{{ input.x }}")

    @workflow
    def outer(x: int) -> Any:
        return built(x)

    construct = outer.graph.steps[0].construct
    assert isinstance(construct, SubWorkflow)
    assert construct.graph is not None
    assert isinstance(construct.graph.steps[0].construct, SubWorkflow)


def test_workflows_may_call_each_other_in_a_circle() -> None:
    @workflow
    def ping(n: int) -> Any:
        return pong(n)

    pong = Workflow("pong").input("n", int).workflow("ping", n="{{ input.n }}")
    made = ping.graph.steps[0].construct
    assert isinstance(made, SubWorkflow)
    assert made.graph is not None
    again = made.graph.steps[0].construct
    assert isinstance(again, SubWorkflow)
    assert (again.name, again.graph) == ("ping", None)


def test_limits_are_given_at_once_or_later() -> None:
    flow = Workflow("flow", concurrency=4)
    assert flow.graph.concurrency == (("", 4),)
    assert flow.concurrency({"": 2, "gpu": 1}).graph.concurrency == (("", 2), ("gpu", 1))
    assert flow.concurrency(None).graph.concurrency == ()


def test_a_built_workflow_survives_pickling() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(orders()))
    assert same(again.graph, orders().graph)


# -- what will not do ------------------------------------------------------------------------------------------------


def plain() -> None: ...


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: FLOW.then(plain), "then() cannot have"),  # type: ignore[arg-type]
        (lambda: FLOW.then(int), "a step cannot be made of"),  # type: ignore[arg-type]
        (lambda: step(plain), "give a node (@wf.node above the function) or its name"),  # type: ignore[arg-type]
        (lambda: FLOW.workflow(fit), "give a workflow or its name"),  # type: ignore[arg-type]
        (lambda: FLOW.then(step(a), id="x"), "give the arguments to wf.step(...)"),
        (lambda: FLOW.sequential(3), "cannot have 3 (int) as a body"),  # type: ignore[arg-type]
        (lambda: FLOW.then(a, retries=-1), "option 'retries' of step 'a' cannot be -1"),
        (lambda: FLOW.then(a, when=3), "give a template, or True or False"),
        (lambda: FLOW.each(a, over=[1], retires=1), "loop() has no option 'retires'"),  # type: ignore[call-arg]
        (lambda: FLOW.attempt(a, retries=-1), "option 'retries' of attempt() cannot be -1"),
        (lambda: FLOW.switch("{{ x }}"), "switch() is given '{{ x }}' (str) and no cases"),
        (lambda: FLOW.attempt(a, catch={3: b}), "cannot catch 3"),
        (lambda: FLOW.input("x").input("x"), "has an input 'x' already"),
        (lambda: workflow(plain).then(a), "workflow 'plain' is made of a function, and nothing can be added to it"),
        (lambda: Workflow.from_graph(FLOW.graph).then(a), "workflow 'flow' is loaded"),
        (lambda: Workflow(""), "option 'name' of workflow '' cannot be ''"),
        (lambda: Workflow("a", order="any"), "give 'data' or 'sequence'"),  # type: ignore[call-overload]
    ],
)
def test_what_cannot_be_built_is_told_at_once(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        build()


def test_an_unknown_name_is_told_when_the_workflow_is_checked() -> None:
    (found,) = problems(FLOW.then("laod", path="a"))
    assert "laod" in found.message
    assert isinstance(step("laod"), BuiltStep)


def test_an_empty_workflow_has_no_value() -> None:
    assert FLOW.graph == Graph("flow", "", (), (), Const(None), order="sequence")
