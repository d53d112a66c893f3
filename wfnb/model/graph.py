"""A traced workflow as data: steps in an order that can run, and how each argument is made. Imports expr and node.

A `Graph` is what every way of writing a workflow ends in, and what the engine plans from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from wfnb.model.expr import Const, Expr, steps_of
from wfnb.model.node import Node
from wfnb.model.node import StepKind as StepKind

NOTHING = Const(None)
Order: TypeAlias = Literal["data", "sequence"]


class Composed(Node):
    """Stands where a step is a construct; never called."""


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
class Body:
    """Steps that a construct runs as one, and their value.

    Args:
        steps: the steps, in the order they are written; each comes after every step it uses.
        output: the body's value; by default the value of its last step.
    """

    steps: tuple[Step, ...] = ()
    output: Expr = NOTHING


@dataclass(frozen=True, slots=True)
class Sequential:
    """Steps in order, whatever the workflow's order."""

    body: Body


@dataclass(frozen=True, slots=True)
class Parallel:
    """Branches at once.

    Args:
        branches: the branches, in the order they are written.
        max_concurrency: how many may be begun and not over, or None.
        first: whether the first that is over gives the value and ends the others.
    """

    branches: tuple[Body, ...]
    max_concurrency: int | None = None
    first: bool = False


@dataclass(frozen=True, slots=True)
class Each:
    """A body for each item.

    Args:
        over: the list.
        body: the body; ``Local(id, "item")`` and ``Local(id, "index")`` stand for the item and its place.
        name: what templates call the item.
        parallel: whether items need not wait for each other.
        max_concurrency: how many bodies may be begun and not over, or None.
        max_iterations: how many items there may be, or None.
    """

    over: Expr
    body: Body
    name: str = "item"
    parallel: bool = True
    max_concurrency: int | None = None
    max_iterations: int | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """A body again and again, handing a value on; exactly one of `while_`, `until` and `times` is there.

    Args:
        body: the body; ``Local(id, "item")`` is the carried value, ``Local(id, "index")`` the iteration, from 0.
        init: the value carried in at first.
        name: what templates call the carried value.
        while_: a body whose output is looked at before each iteration.
        until: a body whose output is looked at after each iteration; its item is the value the iteration gave.
        times: how many iterations.
        max_iterations: how many iterations there may be.
    """

    body: Body
    init: Expr = NOTHING
    name: str = "item"
    while_: Body | None = None
    until: Body | None = None
    times: Expr | None = None
    max_iterations: int = 1000


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a switch.

    Args:
        when: what the switch's value must equal; a condition where `condition`.
        body: what is run.
        condition: whether `when` is a condition, true or false by itself.
    """

    when: Expr
    body: Body
    condition: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """One of several bodies.

    Args:
        cases: the cases, the first that fits wins.
        value: what the cases are compared with, or None when all are conditions.
        default: what is run when none fits, or None: then that is an error.
    """

    cases: tuple[Case, ...]
    value: Expr | None = None
    default: Body | None = None


@dataclass(frozen=True, slots=True)
class Catch:
    """What is done about errors of some types.

    Args:
        body: the body; ``Local(id, "error")`` stands for the error.
        on: names of types, with or without their module; none means every error.
    """

    body: Body
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Try:
    """A body, what is done when it fails, and what is done whatever happened."""

    body: Body
    catches: tuple[Catch, ...] = ()
    finally_: Body | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A body for each item a generator yields.

    Args:
        source: the step whose node is the generator.
        body: the body; ``Local(id, "item")`` and ``Local(id, "index")`` stand for the item and its place.
        batch: how many items are taken at a time.
        buffer: how many batches may be taken and not over.
        name: what templates call the item.
    """

    source: Step
    body: Body
    batch: int = 1
    buffer: int = 10
    name: str = "item"


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Steps that a node decides on: the step's own node and arguments give a workflow, run in place."""


@dataclass(frozen=True, slots=True)
class SubWorkflow:
    """Another workflow's steps.

    Args:
        name: its name.
        version: its version, or "" for any.
        inputs: its inputs that are given, by name.
        graph: its steps, or None where it is one of those that this step is inside of (it calls itself).
    """

    name: str
    version: str = ""
    inputs: tuple[tuple[str, Expr], ...] = ()
    graph: Graph | None = None


Construct: TypeAlias = Sequential | Parallel | Each | Loop | Switch | Try | Stream | Dynamic | SubWorkflow


@dataclass(frozen=True, slots=True)
class Step:
    """One use of a node, or of a construct, inside a workflow.

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
        group: the id of what it belongs to, or ""; filled in when a graph is lowered.
        construct: the construct it is, or None for a plain use of a node. A construct's `node` is `Composed`, and
            carries the policy that its steps inherit (for `Dynamic`: the node that plans).
        when: a condition; when it is false the step is skipped and its value is None.
        continue_on_error: whether a failure gives the value None and hinders nobody.
        title: a name for people, or "".
    """

    id: str
    node: Node
    kind: StepKind = "task"
    args: tuple[Expr, ...] = ()
    kwargs: tuple[tuple[str, Expr], ...] = ()
    over: tuple[int | str, ...] = ()
    where: str = ""
    group: str = ""
    construct: Construct | None = None
    when: Expr | None = None
    continue_on_error: bool = False
    title: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # A workflow holds thousands: a dataclass with slots pickles four times as slowly by itself.
        facts = (self.id, self.node, self.kind, self.args, self.kwargs, self.over, self.where, self.group)
        return Step, (*facts, self.construct, self.when, self.continue_on_error, self.title)

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
        tags: free labels.
        order: "data" (a step begins when what it uses is there) or "sequence" (when the one before it is over).
        concurrency: how many tasks may run at once: all of them under "", those of nodes with a tag under the tag.
        description: what it is for.
    """

    name: str
    version: str
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    output: Expr
    tags: tuple[str, ...] = ()
    order: Order = "data"
    concurrency: tuple[tuple[str, int], ...] = ()
    description: str = ""

    def step(self, step_id: str) -> Step:
        """Return the step with that id; raises KeyError when there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)
