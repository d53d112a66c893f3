"""A function becomes a graph when it is called with references; its runs are asked of the launcher."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from wfnb.authoring import constructs
from wfnb.authoring.node import node
from wfnb.authoring.workflow import RunOptions, Workflow, workflow
from wfnb.model.errors import ConfigurationError, DefinitionError, Problem
from wfnb.model.expr import Apply, Const, Container, Input, StepValue, evaluate
from wfnb.model.graph import Graph, InputSpec, SubWorkflow
from wfnb.model.node import CURRENT_TRACE, Context, Node


@node
def load(path: str) -> list[int]:
    return [len(path)]


@node
def inc(x: int, by: int = 1) -> int:
    return x + by


@node
def total(xs: list[int]) -> int:
    return sum(xs)


@node
def both(x: int) -> tuple[int, str]:
    return x, str(x)


class Scale(Node):
    def execute(self, x: float, ctx: Context | None = None) -> float:
        return x * 2


def run(graph: Graph, **inputs: Any) -> Any:
    """Run a graph here and now, the plainest way."""
    values: dict[str, Any] = {}
    for step in graph.steps:
        if isinstance(step.construct, SubWorkflow):
            values[step.id] = called(step.construct, values, inputs)
            continue
        args = [evaluate(arg, values, inputs) for arg in step.args]
        kwargs = {name: evaluate(arg, values, inputs) for name, arg in step.kwargs}
        if step.kind == "task":
            values[step.id] = step.node(*args, **kwargs)
        elif step.kind == "map":
            values[step.id] = step.node.map(*args, **kwargs)
        else:
            values[step.id] = step.node.expand(**kwargs)
    return evaluate(graph.output, values, inputs)


def called(sub: SubWorkflow, values: dict[str, Any], inputs: dict[str, Any]) -> Any:
    assert sub.graph is not None
    given = {spec.name: spec.default for spec in sub.graph.inputs}
    given |= {name: evaluate(expr, values, inputs) for name, expr in sub.inputs}
    return run(sub.graph, **given)


def problems_of(flow: Workflow[..., Any]) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        flow.validate()
    return caught.value.problems


# -- tracing ---------------------------------------------------------------------------------------------------------


@workflow
def pipeline(path: str, more: list[int] = [2, 4]) -> int:  # noqa: B006
    """Load and add.

    In steps.
    """
    rows = load(path)
    bigger = inc.map(rows, by=3)
    grid = inc.expand(x=more, by=[1, 2])
    return total(bigger) + total(grid)


def test_calls_of_nodes_become_steps_in_an_order_that_can_run() -> None:
    steps = pipeline.graph.steps
    assert [(s.id, s.kind, s.over, s.uses) for s in steps] == [
        ("load", "task", (), ()),
        ("inc", "map", (0,), ("load",)),
        ("inc_2", "expand", ("x", "by"), ()),
        ("total", "task", (), ("inc",)),
        ("total_2", "task", (), ("inc_2",)),
    ]


def test_a_step_keeps_how_each_argument_is_made() -> None:
    step = pipeline.graph.step("inc_2")
    assert step.kwargs == (("x", Input("more")), ("by", Const([1, 2])))
    assert pipeline.graph.step("load").args == (Input("path"),)
    assert pipeline.graph.output == Apply("+", (StepValue("total"), StepValue("total_2")))


def test_a_graph_gives_what_the_function_gives() -> None:
    assert run(pipeline.graph, path="abc", more=[1, 2]) == (3 + 3) + (2 + 3 + 3 + 4)


def test_a_workflow_knows_its_inputs_with_annotations_and_defaults() -> None:
    assert pipeline.inputs == (
        InputSpec("path", str),
        InputSpec("more", list[int], [2, 4], required=False),
    )
    assert pipeline.graph.inputs == pipeline.inputs


def test_a_workflow_has_name_version_tags_and_description() -> None:
    @workflow(name="orders", version="1.2", tags=["daily"])
    def flow() -> None:
        """Say nothing."""

    assert (flow.name, flow.version, flow.tags, flow.description) == ("orders", "1.2", ("daily",), "Say nothing.")
    assert (flow.graph.name, flow.graph.version, flow.graph.tags) == ("orders", "1.2", ("daily",))
    assert (pipeline.name, pipeline.version, pipeline.__name__) == ("pipeline", "", "pipeline")


def test_steps_know_the_place_they_were_written() -> None:
    first = pipeline.function.__code__.co_firstlineno
    assert [step.where for step in pipeline.graph.steps][:2] == [
        f"test_workflow.py, line {first + 6}",
        f"test_workflow.py, line {first + 7}",
    ]


def test_a_graph_is_traced_anew_with_the_nodes_of_today() -> None:
    names: dict[str, Any] = {"node": node, "workflow": workflow}
    exec("@node\ndef f(): return 1\n@workflow\ndef flow(): return f()", names)
    assert run(names["flow"].graph) == 1
    exec("@node\ndef f(): return 2", names)
    assert run(names["flow"].graph) == 2


@pytest.mark.parametrize(
    ("build", "output"),
    [
        (lambda r: r, StepValue("load")),
        (lambda r: None, Const(None)),
        (lambda r: 5, Const(5)),
        (lambda r: (r, 1), Container("tuple", (StepValue("load"), Const(1)))),
        (lambda r: {"a": [r]}, Container("dict", (Const("a"), Container("list", (StepValue("load"),))))),
    ],
)
def test_whatever_is_returned_is_the_runs_value(build: Any, output: Any) -> None:
    @workflow
    def flow() -> Any:
        return build(load("a"))

    assert flow.graph.output == output


def test_a_class_node_makes_a_step() -> None:
    scale = Scale()

    @workflow
    def flow(x: float) -> Any:
        return scale(scale(x))

    assert [step.id for step in flow.graph.steps] == ["Scale", "Scale_2"]
    assert run(flow.graph, x=1.5) == 6.0


def test_unpacking_an_annotated_tuple_gives_its_parts() -> None:
    @workflow
    def flow(x: int) -> Any:
        number, text = both(x)
        return text, number

    assert run(flow.graph, x=3) == ("3", 3)


def test_a_node_made_inside_the_workflow_is_used() -> None:
    @workflow
    def flow() -> Any:
        return node(lambda x: x * 2)(4)

    assert [step.id for step in flow.graph.steps] == ["lambda"]
    assert run(flow.graph) == 8


def test_a_plain_function_called_in_a_workflow_is_traced_through() -> None:
    def twice(x: int) -> int:
        return inc(inc(x))

    @workflow
    def flow(x: int) -> int:
        return twice(x)

    assert [step.id for step in flow.graph.steps] == ["inc", "inc_2"]


def test_tracing_ends_also_after_an_error() -> None:
    @workflow
    def flow() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        flow.validate()
    assert CURRENT_TRACE.get() is None


def test_a_sets_elements_are_kept_in_one_order_for_every_process() -> None:
    @workflow
    def flow() -> Any:
        return inc.map({3, 1, 2})

    assert flow.graph.step("inc").args == (Const([1, 2, 3]),)


def test_an_iterator_is_walked_once_and_kept() -> None:
    @workflow
    def flow() -> Any:
        return inc.map(x * x for x in range(3))

    assert flow.graph.step("inc").args == (Const([0, 1, 4]),)


def test_a_range_and_an_array_are_kept_as_they_are() -> None:
    array = pytest.importorskip("numpy").arange(3)

    @workflow
    def flow() -> Any:
        return inc.map(range(10**9)), node(lambda x: x).map(array)

    graph = flow.graph
    assert graph.step("inc").args == (Const(range(10**9)),)
    (kept,) = graph.step("lambda").args
    assert isinstance(kept, Const)
    assert kept.value is array


def test_a_thousand_steps_are_traced_in_well_under_a_second() -> None:
    @workflow
    def chain(x: int) -> int:
        for _ in range(1000):
            x = inc(x)
        return x

    started = time.perf_counter()
    graph = chain.graph
    assert time.perf_counter() - started < 0.5
    assert len(graph.steps) == 1000
    assert graph.steps[-1].id == "inc_1000"


# -- ids -------------------------------------------------------------------------------------------------------------


def test_ids_are_counted_and_fixed_ones_are_kept() -> None:
    @workflow
    def flow() -> Any:
        return [inc(1), inc.options(id="mine")(1), inc(1), inc.options(id="inc_4")(1), inc(1), inc(1)]

    assert [step.id for step in flow.graph.steps] == ["inc", "mine", "inc_2", "inc_4", "inc_3", "inc_5"]


def test_a_fixed_id_used_twice_is_a_problem() -> None:
    @workflow
    def flow() -> Any:
        mine = inc.options(id="mine")
        return mine(1), mine(2)

    (problem,) = problems_of(flow)
    assert problem.step == "mine"
    assert "the id 'mine' is taken by another step in test_workflow.py, line" in problem.message


def test_a_name_with_spaces_makes_an_id_without() -> None:
    @workflow
    def flow() -> Any:
        return inc.options(name="add one/fast")(1)

    (step,) = flow.graph.steps
    assert (step.id, step.node.info.name) == ("add_one_fast", "add one/fast")


# -- sub-workflows ---------------------------------------------------------------------------------------------------


@workflow
def clean(x: int, by: int = 5) -> int:
    return inc(inc(x), by=by)


def sub_of(graph: Graph, step: str) -> SubWorkflow:
    found = graph.step(step).construct
    assert isinstance(found, SubWorkflow)
    return found


def test_a_workflow_called_in_a_workflow_is_one_step_that_holds_its_graph() -> None:
    @workflow
    def outer(start: int) -> int:
        return inc(clean(clean(start, by=7)))

    graph = outer.graph
    assert [step.id for step in graph.steps] == ["clean", "clean_2", "inc"]
    first, second = sub_of(graph, "clean"), sub_of(graph, "clean_2")
    assert (first.name, first.version, first.inputs) == ("clean", "", (("x", Input("start")), ("by", Const(7))))
    assert second.inputs == (("x", StepValue("clean")),)
    assert first.graph is not None
    assert [(step.id, step.uses) for step in first.graph.steps] == [("inc", ()), ("inc_2", ("inc",))]
    assert first.graph.inputs == clean.inputs
    assert run(graph, start=1) == 1 + 1 + 7 + 1 + 5 + 1


def test_a_sub_workflow_may_have_one_of_its_own() -> None:
    @workflow
    def middle(x: int) -> int:
        return clean(x)

    @workflow
    def outer() -> int:
        return middle(1)

    inner = sub_of(outer.graph, "middle").graph
    assert inner is not None
    assert sub_of(inner, "clean").inputs == (("x", Input("x")),)
    assert run(outer.graph) == 7


def test_a_sub_workflows_parts_can_be_used_one_by_one() -> None:
    @workflow
    def parts(x: int) -> Any:
        return {"a": inc(x), "b": x}

    @workflow
    def outer() -> Any:
        found = parts(1)
        return inc(found["a"]), found["b"]

    assert run(outer.graph) == (3, 1)


def test_a_sub_workflow_that_returns_several_values_can_be_unpacked() -> None:
    @workflow
    def parts(x):  # type: ignore[no-untyped-def]
        return inc(x), x

    @workflow
    def outer() -> Any:
        one, two = parts(1)
        return two, one

    assert run(outer.graph) == (1, 2)


def test_a_sub_workflow_with_wrong_arguments_is_a_problem_of_the_outer_one() -> None:
    @workflow
    def outer() -> Any:
        return clean(bye=3), clean("x")  # type: ignore[call-arg, arg-type]

    messages = [str(problem) for problem in problems_of(outer)]
    assert "workflow 'clean' cannot be called like this: it has no parameter 'bye'. Did you mean 'by'?" in messages[0]
    assert "'x' is missing" in messages[1]
    assert "'x' = 'x' (str), but its annotation says int" in messages[2]


def test_a_problem_inside_a_sub_workflow_carries_its_steps_id() -> None:
    @workflow
    def wrong() -> Any:
        return inc("x")  # type: ignore[arg-type]

    @workflow
    def outer() -> Any:
        return wrong()

    assert [problem.step for problem in problems_of(outer)] == ["wrong/inc"]


def test_a_workflow_that_calls_itself_is_named_where_it_does() -> None:
    names: dict[str, Any] = {"workflow": workflow}
    exec("@workflow\ndef ping(x): return pong(x)\n@workflow\ndef pong(x): return ping(x)", names)
    pong = sub_of(names["ping"].graph, "pong")
    assert pong.graph is not None
    again = sub_of(pong.graph, "ping")
    assert (again.name, again.graph, again.inputs) == ("ping", None, (("x", Input("x")),))


def test_a_workflow_that_calls_itself_has_its_arguments_checked() -> None:
    @workflow
    def down(x: int) -> int:
        return constructs.switch([(x > 0, lambda: down("x"))], default=lambda: x)  # type: ignore[arg-type, no-any-return]

    (problem,) = problems_of(down)
    assert "'x' = 'x' (str), but its annotation says int" in problem.message


def test_a_reference_of_another_workflow_is_a_problem() -> None:
    @workflow
    def outer(x: int) -> Any:
        loaded = load("a")

        @workflow
        def inner() -> Any:
            return inc(x), [loaded]

        return inner()

    messages = [problem.message for problem in problems_of(outer)]
    assert messages == [
        "the reference 'input.x' belongs to workflow 'outer'",
        "the reference 'load' belongs to workflow 'outer'",
    ]


def test_submitting_inside_a_workflow_is_an_error() -> None:
    @workflow
    def outer() -> Any:
        return clean.submit(1)

    with pytest.raises(DefinitionError, match="without submit"):
        outer.validate()


def test_run_options_on_a_sub_workflow_are_a_problem() -> None:
    @workflow
    def outer() -> Any:
        return clean.options(priority="low")(1)

    assert "run options" in problems_of(outer)[0].message


# -- functions that will not do --------------------------------------------------------------------------------------


def test_a_function_that_cannot_be_traced_is_refused_with_every_reason() -> None:
    def flow(*args: Any, ctx: Context, **kwargs: Any) -> None: ...

    with pytest.raises(DefinitionError) as caught:
        workflow(flow)
    assert [p.message for p in caught.value.problems] == [
        "it takes '*args'",
        "it takes '**kwargs'",
        "its parameter 'ctx' asks for the context",
    ]
    assert all(p.where.startswith("test_workflow.py, line ") and p.cure for p in caught.value.problems)


def test_async_and_generator_functions_are_refused() -> None:
    async def later() -> None: ...

    def rows() -> Iterator[int]:
        yield 1

    with pytest.raises(DefinitionError, match="async function"):
        workflow(later)
    with pytest.raises(DefinitionError, match="generator function"):
        workflow(rows)


def f() -> None: ...


def test_an_unknown_option_of_the_decorator_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"workflow 'f' has no option 'versoin'. Did you mean 'version'"):
        workflow(versoin="1")(f)  # type: ignore[call-overload]


def test_a_workflow_is_made_of_a_function_only() -> None:
    with pytest.raises(ConfigurationError, match="write it above a def"):
        workflow(3)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="write it above a def"):
        workflow(clean)


def test_an_error_of_the_users_code_passes_through_with_a_note() -> None:
    @workflow
    def flow() -> Any:
        inc("x")  # type: ignore[arg-type]
        return math.sqrt(-1)

    with pytest.raises(ValueError, match=r"math domain error|nonnegative") as caught:
        flow.validate()
    notes = "\n".join(caught.value.__notes__)
    assert "while workflow 'flow' was written down" in notes
    assert "'x' = 'x' (str)" in notes


def test_a_misuse_in_a_workflow_names_it() -> None:
    @workflow
    def flow(x: int) -> Any:
        if x:
            return 1
        return 2

    (problem,) = problems_of(flow)
    assert "wf.switch" in problem.cure


# -- inputs of a run -------------------------------------------------------------------------------------------------


def test_bind_gives_the_inputs_in_order_with_defaults() -> None:
    assert pipeline.bind((), {"path": "a"}) == {"path": "a", "more": [2, 4]}
    assert list(pipeline.bind((), {"more": [1], "path": "a"})) == ["path", "more"]


def test_bind_lists_everything_wrong_with_the_inputs() -> None:
    with pytest.raises(DefinitionError) as caught:
        pipeline.bind((), {"more": [1, "x"], "pth": "a"})
    assert [str(problem) for problem in caught.value.problems] == [
        "workflow: it has no input 'pth'. Did you mean 'path'?",
        "workflow: 'path' is missing. Pass path=...",
        "workflow: input 'more' = [1, 'x'] (list) with [1] = 'x' (str), but its annotation says list[int]. "
        "Pass a fitting value, or correct the annotation",
    ]


# -- of a graph ------------------------------------------------------------------------------------------------------


def test_a_workflow_made_of_a_graph_is_like_the_function_it_came_from() -> None:
    again = Workflow.from_graph(pipeline.graph)
    assert (again.name, again.version, again.tags, again.description) == ("pipeline", "", (), "Load and add.")
    assert again.inputs == pipeline.inputs
    assert again.graph is again.graph
    assert again.bind(("a",), {}) == {"path": "a", "more": [2, 4]}
    assert repr(again) == "<workflow 'pipeline(path: str, more: list[int] = [2, 4])'>"


def test_inputs_of_a_workflow_made_of_a_graph_are_checked() -> None:
    again = Workflow.from_graph(pipeline.graph)
    with pytest.raises(DefinitionError) as caught:
        again.bind((), {"more": [1, "x"], "pth": "a"})
    with pytest.raises(DefinitionError) as expected:
        pipeline.bind((), {"more": [1, "x"], "pth": "a"})
    assert caught.value.problems == expected.value.problems


def test_an_input_of_a_workflow_made_of_a_graph_may_have_any_name() -> None:
    specs = (InputSpec("user id", int), InputSpec("class", str, "a", required=False))
    flow = Workflow.from_graph(Graph("named", "", specs, (), Input("user id")))
    assert flow.bind((3,), {"class": "b"}) == {"user id": 3, "class": "b"}


def test_a_workflow_made_of_a_graph_is_a_step_of_another() -> None:
    again = Workflow.from_graph(clean.graph)

    @workflow
    def outer(start: int) -> Any:
        return again(start), again("x")

    (problem,) = problems_of(outer)
    assert "'x' = 'x' (str), but its annotation says int" in problem.message


def test_a_workflow_made_of_a_graph_survives_pickling() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(Workflow.from_graph(clean.graph).options(priority="high")))
    assert (again.name, again.run_options.priority) == ("clean", 5)
    assert run(again.graph, **again.bind((1,), {})) == 7


# -- order and limits ------------------------------------------------------------------------------------------------


def test_order_and_limits_reach_the_graph() -> None:
    @workflow(order="sequence", concurrency={"": 4, "gpu": 1})
    def flow() -> Any:
        return inc(1)

    assert (flow.graph.order, flow.graph.concurrency) == ("sequence", (("", 4), ("gpu", 1)))
    assert workflow(concurrency=2)(f).graph.concurrency == (("", 2),)
    assert (pipeline.graph.order, pipeline.graph.concurrency) == ("data", ())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": "any"}, "give 'data' or 'sequence'"),
        ({"concurrency": 0}, "give a whole number from 1 up"),
        ({"concurrency": {"gpu": "1"}}, "give a whole number from 1 up"),
    ],
)
def test_an_option_of_the_decorator_that_will_not_do_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        workflow(**options)(f)


# -- runs ------------------------------------------------------------------------------------------------------------


class Recorder:
    """A launcher that only notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any], RunOptions]] = []

    def submit(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        self.asked.append(("submit", workflow.name, inputs, options))
        return "run"

    def call(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        self.asked.append(("call", workflow.name, inputs, options))
        return "value"


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(Workflow, "launcher", recorder)
    return recorder


def test_a_call_asks_the_launcher_for_the_value(launcher: Recorder) -> None:
    assert clean(1) == "value"  # type: ignore[comparison-overlap]
    assert launcher.asked == [("call", "clean", {"x": 1, "by": 5}, RunOptions())]


def test_submit_asks_the_launcher_for_a_run(launcher: Recorder) -> None:
    assert clean.submit(1, by=2) == "run"
    assert launcher.asked == [("submit", "clean", {"x": 1, "by": 2}, RunOptions())]


def test_wrong_inputs_never_reach_the_launcher(launcher: Recorder) -> None:
    with pytest.raises(DefinitionError):
        clean.submit("x")  # type: ignore[arg-type]
    assert launcher.asked == []


def test_options_of_a_run_reach_the_launcher(launcher: Recorder) -> None:
    bound = clean.options(run_id="r1", priority="low", tags=["a"]).options(on_error="continue", view=False)
    bound.submit(1)
    expected = RunOptions(run_id="r1", priority=20, tags=("a",), on_error="continue", view=False)
    assert launcher.asked == [("submit", "clean", {"x": 1, "by": 5}, expected)]
    assert clean.run_options == RunOptions()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"priorty": "low"}, "a run has no option 'priorty'. Did you mean 'priority'?"),
        ({"priority": "lo"}, "Did you mean 'low'?"),
        ({"on_error": "ignore"}, "give 'stop' or 'continue'"),
        ({"run_id": "a b"}, "option 'run_id' of a run cannot be 'a b'"),
        ({"tags": "a"}, "give a list of texts"),
        ({"view": 1}, "give True or False"),
    ],
)
def test_an_option_of_a_run_that_will_not_do_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        clean.options(**options)


def test_without_a_launcher_the_error_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workflow, "launcher", None)
    with pytest.raises(ConfigurationError, match="import wfnb first"):
        clean(1)


def test_a_workflow_survives_pickling() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(clean.options(priority="high")))
    assert (again.name, again.run_options.priority) == ("clean", 5)
    assert run(again.graph, x=1, by=1) == 3


def test_a_workflows_repr_shows_its_signature() -> None:
    assert repr(clean) == "<workflow 'clean(x: 'int', by: 'int' = 5) -> 'int''>"


# -- cells -----------------------------------------------------------------------------------------------------------


def test_a_step_written_in_a_cell_names_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell_module = pytest.importorskip("IPython.core.interactiveshell")
    config = pytest.importorskip("traitlets.config").Config({"HistoryManager": {"enabled": False}})
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = shell_module.InteractiveShell.instance(config=config)
    try:
        shell.user_ns.update(workflow=workflow, inc=inc)
        cell = "@workflow\ndef flow(x: int):\n    y = inc(x)\n    return inc('x')\n"
        shell.run_cell("1", store_history=True)
        shell.run_cell(cell, store_history=True).raise_error()
        shell.run_cell("2", store_history=True)
        (problem,) = problems_of(shell.user_ns["flow"])
        assert problem.where == "cell In[2], line 4"
    finally:
        shell.restore_sys_module_state()
        shell_module.InteractiveShell.clear_instance()
