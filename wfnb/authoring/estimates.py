"""What class nodes say their tasks need of a worker, asked once before a run starts. Imports model only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

from wfnb.model.errors import DefinitionError, Problem
from wfnb.model.expr import Const, Input
from wfnb.model.graph import Step
from wfnb.model.node import Node


class HasSteps(Protocol):
    """A lowered workflow, of which only this is asked."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps."""


G = TypeVar("G", bound=HasSteps)


def estimates_anything(graph: HasSteps) -> bool:
    """Return whether what any step asks for depends on a run's inputs."""
    return any(type(step.node).estimate_resources is not Node.estimate_resources for step in graph.steps)


def with_estimates(graph: G, inputs: Mapping[str, Any]) -> G:
    """Return the graph in which every step's policy holds what its node's `estimate_resources` asks for.

    Args:
        graph: the graph.
        inputs: the run's inputs. An estimate is given the arguments that are known before the run: constants and
            inputs, but no step's value and nothing a fan-out iterates over.

    Raises:
        DefinitionError: an estimate failed.
    """
    problems: list[Problem] = []
    steps = tuple(
        _estimated(step, inputs, problems)
        if type(step.node).estimate_resources is not Node.estimate_resources
        else step
        for step in graph.steps
    )
    if problems:
        raise DefinitionError(graph.name, tuple(problems))
    return cast(G, replace(cast(Any, graph), steps=steps))


def _estimated(step: Step, inputs: Mapping[str, Any], problems: list[Problem]) -> Step:
    bound, _ = step.node.ports.bind(step.args, dict(step.kwargs))
    known: dict[str, Any] = {}
    for argument in bound:
        if argument.at in step.over:
            continue
        if isinstance(argument.value, Const):
            known[argument.name] = argument.value.value
        elif isinstance(argument.value, Input):
            known[argument.name] = inputs[argument.value.name]
    try:
        asked = step.node.estimate_resources(known)
    except Exception as error:  # noqa: BLE001  the node's own code: whatever it raises is the problem to report
        text = f"estimate_resources of node '{step.node.info.name}' failed: {type(error).__name__}: {error}"
        problems.append(Problem(text, step.id, step.where, "It is given only arguments known before the run"))
        return step
    resources = dict(step.node.policy.resources)
    for name, amount in asked.items():
        resources[name] = max(amount, resources.get(name, 0))
    return replace(step, node=step.node.options(resources=resources))
