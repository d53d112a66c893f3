"""A traced workflow as data: steps in an order that can run, and how each argument is made. Imports expr and node.

A `Graph` is what every way of writing a workflow ends in, and what the engine plans from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wfnb.model.expr import Expr, steps_of
from wfnb.model.node import Node
from wfnb.model.node import StepKind as StepKind


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a workflow.

    Args:
        name: the input's name.
        annotation: its type, or `typing.Any`.
        default: its default value; meaningless when `required`.
        required: whether a run must be given it.
    """

    name: str
    annotation: Any = Any
    default: Any = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One use of a node inside a workflow.

    Args:
        id: unique in the workflow; the address of its task, or the stem of its elements' addresses (``train[3]``).
            A step of a sub-workflow carries the group's id before a slash (``clean/load``).
        node: the node it uses; its policy holds for this step.
        kind: "task" (one task), "map" (positional and keyword arguments in `over` are zipped) or "expand"
            (the cartesian product of the arguments in `over`, the last one fastest).
        args: positional arguments.
        kwargs: keyword arguments, in order.
        over: the arguments iterated by a fan-out: a position or a keyword; empty for a task.
        where: the place in the source it was written, such as "cell In[3], line 4".
        group: the id of the sub-workflow it belongs to, or "".
    """

    id: str
    node: Node
    kind: StepKind = "task"
    args: tuple[Expr, ...] = ()
    kwargs: tuple[tuple[str, Expr], ...] = ()
    over: tuple[int | str, ...] = ()
    where: str = ""
    group: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # A workflow holds thousands: a dataclass with slots pickles four times as slowly by itself.
        facts = (self.id, self.node, self.kind, self.args, self.kwargs, self.over, self.where, self.group)
        return Step, facts

    def argument(self, name: int | str) -> Expr:
        """Return the expression of one argument, by position or keyword."""
        return self.args[name] if isinstance(name, int) else dict(self.kwargs)[name]

    @property
    def iterated(self) -> tuple[Expr, ...]:
        """The expressions a fan-out iterates over, in the order of `over`."""
        return tuple(self.argument(name) for name in self.over)

    @property
    def uses(self) -> tuple[str, ...]:
        """The ids of the steps it needs, each once."""
        found: list[str] = []
        for expr in self.args:
            found += steps_of(expr)
        for _, expr in self.kwargs:
            found += steps_of(expr)
        return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow ready to be planned.

    Args:
        name: the workflow's name.
        version: its version.
        inputs: its inputs, in order.
        steps: its steps; each comes after every step it uses.
        output: the run's value.
    """

    name: str
    version: str
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    output: Expr
    tags: tuple[str, ...] = ()

    def step(self, step_id: str) -> Step:
        """Return the step with that id; raises KeyError when there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)
