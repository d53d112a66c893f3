"""From a graph to a plan: what waits for what, and what can be known before anything runs. Pure; imports model only.

A plan numbers the steps and sorts each step's needs into two kinds: *whole* (it needs another step's complete value)
and *aligned* (element i of a fan-out needs element i of another fan-out). Whatever a fan-out iterates over that is
neither known nor a step's plain value becomes a step of its own (`lower`), so that every decision is an outcome.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wfnb.model.errors import DefinitionError, Problem
from wfnb.model.expr import Const, Container, Expr, Input, StepValue, evaluate, render, steps_of
from wfnb.model.graph import Graph, Step
from wfnb.model.node import Node
from wfnb.model.sequences import length_of


class Value(Node):
    """Gives the value of an expression that is used as a whole."""

    def execute(self, value: Any) -> Any:
        """Return the value it is given."""
        return value


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of a plan; steps are named by their number.

    Args:
        index: its number; every step it needs has a smaller one.
        id: its id.
        label: what its duration is remembered by: the node's name and version.
        fan_out: whether it is a fan-out.
        product: whether the fan-out is a cartesian product.
        whole: steps whose complete value it needs.
        aligned: fan-outs whose element i its element i needs.
        sized: steps whose value's length sets its width, beside what is known at the start.
        users: steps that need it, whole or aligned.
        priority: 1 (first) to 20 (last).
        alone: its tasks share no bundle.
        resources: what a worker must offer.
        keeps: whether its values are kept in the store.
        depth: the number of steps on the longest way to it.
    """

    index: int
    id: str
    label: str
    fan_out: bool
    product: bool
    whole: tuple[int, ...]
    aligned: tuple[int, ...]
    sized: tuple[int, ...]
    users: tuple[int, ...]
    priority: int
    alone: bool
    resources: tuple[tuple[str, float], ...]
    keeps: bool
    depth: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a workflow in an order in which they can run.

    Args:
        steps: the steps, each after those it needs.
        outputs: the numbers of the steps the run's value is made from.
    """

    steps: tuple[PlanStep, ...]
    outputs: tuple[int, ...]


def _is_plain(expr: Expr) -> bool:
    """Whether the expression is made of values and containers alone, with no operator that could fail."""
    if isinstance(expr, Container):
        return expr.kind in ("list", "tuple", "dict") and all(_is_plain(item) for item in expr.items)
    return isinstance(expr, Const | Input | StepValue)


def lower(graph: Graph) -> Graph:
    """Return the graph with a step of its own for every expression whose value must be known or kept as a whole.

    These are lists a fan-out iterates over that are computed from steps (``load(x)["files"]``) and an output that
    applies operators. Outputs are always kept in the store.
    """
    steps: list[Step] = []
    for step in graph.steps:
        if not step.over:
            steps.append(step)
            continue
        args, kwargs = list(step.args), dict(step.kwargs)
        for name in step.over:
            expr = step.argument(name)
            if isinstance(expr, StepValue) or not steps_of(expr):
                continue
            lifted = Step(f"{step.id}.{name}", Value(), args=(expr,), where=step.where, group=step.group)
            steps.append(lifted)
            if isinstance(name, int):
                args[name] = StepValue(lifted.id)
            else:
                kwargs[name] = StepValue(lifted.id)
        steps.append(replace(step, args=tuple(args), kwargs=tuple(kwargs.items())))
    output = graph.output
    if not _is_plain(output):
        steps.append(Step("output", Value(), args=(output,)))
        output = StepValue("output")
    return replace(graph, steps=tuple(steps), output=output)


def make_plan(graph: Graph) -> Plan:
    """Return the plan of a lowered graph."""
    number = {step.id: index for index, step in enumerate(graph.steps)}
    fan_outs = {step.id for step in graph.steps if step.over}
    outputs = tuple(number[step] for step in steps_of(graph.output))
    kept = set(outputs)
    needs = [_needs(step, number, fan_outs) for step in graph.steps]
    users: list[list[int]] = [[] for _ in graph.steps]
    depths: list[int] = []
    for index, (whole, aligned, _) in enumerate(needs):
        depth = 0
        for used in dict.fromkeys((*whole, *aligned)):
            users[used].append(index)
            depth = max(depth, depths[used])
        depths.append(depth + 1)
    steps: list[PlanStep] = []
    for index, step in enumerate(graph.steps):
        whole, aligned, sized = needs[index]
        node = step.node
        policy = node.policy
        steps.append(
            PlanStep(
                index=index,
                id=step.id,
                label=f"{node.info.name} {node.info.version}",
                fan_out=bool(step.over),
                product=step.kind == "expand",
                whole=whole,
                aligned=aligned,
                sized=sized,
                users=tuple(users[index]),
                priority=policy.priority,
                alone=bool(policy.resources) or not node.capabilities.batchable,
                resources=tuple(sorted(policy.resources.items())),
                keeps=policy.checkpoint or index in kept,
                depth=depths[index],
            )
        )
    return Plan(tuple(steps), outputs)


def _needs(
    step: Step, number: Mapping[str, int], fan_outs: set[str]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the steps a step needs whole, needs element by element, and takes its width from."""
    if not step.over:
        return tuple(number[used] for used in step.uses), (), ()
    whole: dict[int, None] = {}
    aligned: dict[int, None] = {}
    sized: list[int] = []
    for name, expr in (*enumerate(step.args), *step.kwargs):
        if name in step.over and isinstance(expr, StepValue):
            if step.kind == "map" and expr.step in fan_outs:
                aligned[number[expr.step]] = None
                continue
            sized.append(number[expr.step])
        whole.update(dict.fromkeys(number[used] for used in steps_of(expr)))
    return tuple(whole), tuple(aligned), tuple(sized)


def known_widths(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Return the widths that constants and inputs alone decide, by step id.

    A map whose lists are known has their common length; an expand the product of the lengths that are known, the
    lengths of steps' values coming later.

    Raises:
        DefinitionError: a list has no length, cannot be computed, or two lists of a map differ in length.
    """
    problems: list[Problem] = []
    widths: dict[str, int] = {}
    for step in graph.steps:
        lengths: dict[str, int] = {}
        for expr in step.iterated:
            if steps_of(expr):
                continue
            try:
                lengths[render(expr)] = length_of(evaluate(expr, {}, inputs))
            except Exception as error:  # noqa: BLE001  whatever the value's own code raises is the problem to report
                text = f"'{render(expr)}' cannot be iterated over: {error}"
                problems.append(Problem(text, step.id, step.where, "Pass a list, or make it a node"))
        if not lengths:
            continue
        if step.kind == "expand":
            widths[step.id] = math.prod(lengths.values())
        elif len(set(lengths.values())) > 1:
            counts = ", ".join(f"'{text}' has {length}" for text, length in lengths.items())
            text = f"the lists it maps over differ in length: {counts}"
            problems.append(Problem(text, step.id, step.where, "Give lists of one length, or use .expand(...)"))
        else:
            widths[step.id] = next(iter(lengths.values()))
    if problems:
        raise DefinitionError(graph.name, tuple(problems))
    return widths


def shape_of(graph: Graph) -> str:
    """Return what a picture needs to know of a workflow, as JSON text: its steps, their nodes, kinds and edges."""
    steps = [
        {
            "id": step.id,
            "node": step.node.info.name,
            "kind": step.kind,
            "group": step.group,
            "uses": list(step.uses),
            "over": [used for expr in step.iterated for used in steps_of(expr)],
            "where": step.where,
        }
        for step in graph.steps
    ]
    return json.dumps({"steps": steps, "inputs": [spec.name for spec in graph.inputs]})
