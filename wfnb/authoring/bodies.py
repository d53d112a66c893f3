"""Bodies of constructs written down: a lambda, node or workflow is called with references in a trace of its own.

Imports model, check, ref and trace.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfnb.authoring.check import tuple_length, where
from wfnb.authoring.options import read_options, shown
from wfnb.authoring.ref import Ref, lift
from wfnb.authoring.trace import Trace
from wfnb.model.errors import ConfigurationError
from wfnb.model.expr import Expr, Local, StepValue
from wfnb.model.graph import Body, Composed, Construct, Parallel, Sequential, Step
from wfnb.model.node import CURRENT_TRACE
from wfnb.model.policy import Policy
from wfnb.model.types import plain_function, show

RESERVED = frozenset(("input", "var", "run", "error", "index", "item", "true", "false", "none", "loop"))
"""Names that templates have a meaning for, which no item may be called."""


@dataclass(frozen=True, slots=True)
class BodyWritten:
    """A body written down.

    Args:
        body: its steps and value.
        annotation: the type of its value, or `typing.Any`.
        length: how many parts its value can be unpacked into, where that is known.
    """

    body: Body
    annotation: Any = Any
    length: int | None = None


class Writing:
    """One construct while it is written down.

    Args:
        construct: what it is called, such as "each".
        options: `id`, `name`, `when`, `continue_on_error` and policy options.
        stem: what its id is made from; by default what it is called.

    Attributes:
        id: the construct's id.

    Raises:
        ConfigurationError: no workflow is being written down, or an option will not do.
    """

    def __init__(self, construct: str, options: Mapping[str, Any], *, stem: str = "") -> None:
        self.called = f"wf.{construct}"
        self.trace = tracing(self.called)
        self.place = where()
        self._policy, self._step = read_options(options, self.called)
        wanted = self._step.get("id")
        self.id = (
            self.trace.fixed_id(wanted, self.place) if wanted else self.trace.take_id(stem or construct, self.place)
        )
        self.trace.at(self.id, self.place)
        self._bodies: list[Trace] = []

    def problem(self, message: str, cure: str) -> None:
        """Note that something is wrong with the construct."""
        self.trace.problem(f"{self.called} {message}", cure, self.id, self.place)

    def lift(self, value: Any) -> Expr:
        """Return a value from around the bodies as an expression."""
        return lift(value, self.trace)

    def count(self, name: str, value: Any) -> Any:
        """Return a number given as an option, or None; anything but a whole number from 1 up is a problem."""
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        known = ", known when the workflow is written down" if type(value) is Ref else ""
        self.problem(f"cannot have {name}={shown(value)}", f"Give a whole number, 1 or more{known}")
        return None

    # -- bodies --------------------------------------------------------------------------------------------------

    def item_name(self, function: Any) -> str:
        """Return what templates call the item in a body: "item", or another name where one around has that already."""
        taken = self.trace.item_names()
        if "item" not in taken:
            return "item"
        plain = plain_function(function)
        names = inspect.getfullargspec(plain).args if inspect.isfunction(plain) else []
        wanted = names[0] if names and names[0].isidentifier() and names[0] not in RESERVED else "item"
        name, count = wanted, 1
        while name in taken or self.trace.place_of(name) is not None:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def body(
        self,
        function: Any,
        what: str,
        given: Mapping[str, Any] | None = None,
        *,
        item: str = "",
        then: Iterable[Any] = (),
        lot: Trace | None = None,
    ) -> BodyWritten:
        """Write a body down.

        Args:
            function: a lambda, function, node or workflow; with `then` it may be None.
            what: what the body is, for messages, such as "catch=".
            given: what it is called with, as many of it as it takes: "item", "index" or "error", with their types.
            item: what templates call the item.
            then: what is called, one after the other, with the value of the one before.
            lot: a trace whose ids it shares, instead of having its own.
        """
        trace = (lot or self.trace).body(self.id, self.called, shares=lot is not None, item=item)
        alias = "" if item == "item" else item
        refs = {
            name: Ref(Local(self.id, name, alias if name == "item" else ""), annotation, trace)
            for name, annotation in (given or {}).items()
        }
        token = CURRENT_TRACE.set(trace)
        try:
            value = self._called(function, what, refs) if function is not None else refs["item"]
            for stage in then:
                value = self._called(stage, what, {"item": value})
            output = lift(value, trace)
        finally:
            CURRENT_TRACE.reset(token)
        trace.close()
        self._bodies.append(trace)
        return BodyWritten(Body(tuple(trace.steps), output), _annotation_of(value), _length_of(value))

    def _called(self, function: Any, what: str, given: Mapping[str, Any]) -> Any:
        """Call a body, or note why it cannot be."""
        if type(function) is Ref:
            self.problem(
                f"is given the value of a step as {what}: that step is no part of it, and runs in any case",
                f"Write '{_lambda(given)}: ' before the call, so that it is made for this body",
            )
            return None
        if isinstance(function, type) or not callable(function):
            cure = f"Give a node, a workflow or a lambda, such as {_lambda(given)}: ..."
            self.problem(f"is given {show(function)} as {what}", cure)
            return None
        count = self._taken(function, what, given)
        return None if count is None else function(*list(given.values())[:count])

    def _taken(self, function: Any, what: str, given: Mapping[str, Any]) -> int | None:
        """Return how many references a body is called with: one, or all when it needs them; None when it cannot be."""
        ports = getattr(function, "ports", None)
        if ports is None and self._no_body(function, what):
            return None
        try:
            found = inspect.signature(function).parameters if ports is None else ports.parameters
        except (TypeError, ValueError):  # a built-in that does not tell
            return min(1, len(given))
        kinds = found.values()
        places = [p for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        needed = [p.name for p in places if p.default is p.empty]
        missing = needed[len(given) :]
        missing += [p.name for p in kinds if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        if missing:
            names = " and ".join(f"'{name}'" for name in missing)
            gets = " and ".join(f"the {name}" for name in given) or "nothing"
            self.problem(
                f"calls {what} with {gets}, but it needs {names}",
                f"Pass what it needs yourself: {_lambda(given)}: {_name_of(function)}(...)",
            )
            return None
        if any(p.kind is p.VAR_POSITIONAL for p in kinds):
            return min(max(1, len(needed)), len(given))
        return min(max(1, len(needed)), len(given), len(places))

    def _no_body(self, function: Any, what: str) -> bool:
        plain = plain_function(function)
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            self.problem(f"is given a generator function as {what}", "Return the body's value instead of yielding it")
        elif inspect.iscoroutinefunction(plain):
            cure = "Write it with plain def: asynchronous nodes are awaited on the worker"
            self.problem(f"is given an async function as {what}", cure)
        else:
            return False
        return True

    # -- the step ------------------------------------------------------------------------------------------------

    def step(self, construct: Construct, annotation: Any = Any, length: int | None = None) -> Any:
        """Add the construct's step and return the reference to its value.

        Args:
            construct: what it is.
            annotation: the type of its value.
            length: how many parts its value can be unpacked into, where that is known.
        """
        node = Composed()
        if self._policy != Policy():
            node.policy = self._policy
        when = self._step.get("when")
        step = Step(
            self.id,
            node,
            where=self.place,
            construct=construct,
            when=None if when is None else self.lift(when),
            continue_on_error=self._step.get("continue_on_error", False),
            title=self._step.get("name", ""),
        )
        self.trace.steps.append(step)
        self.trace.at("", "")
        if isinstance(construct, Sequential) or (isinstance(construct, Parallel) and not construct.first):
            for body in self._bodies:
                self.trace.open(body)
        return Ref(StepValue(self.id), annotation, self.trace, length)


# -- small things ----------------------------------------------------------------------------------------------------


def tracing(called: str) -> Trace:
    """Return the trace that is going on.

    Args:
        called: the construct that is called, such as "wf.each".

    Raises:
        ConfigurationError: no workflow is being written down.
    """
    trace = CURRENT_TRACE.get()
    if isinstance(trace, Trace):
        return trace
    raise ConfigurationError(
        f"{called}(...) is called outside of a workflow: call it in a function decorated with @wf.workflow, or add it "
        f"to a workflow with wf.Workflow(name).{called[3:]}(...)"
    )


def joined(parts: Sequence[BodyWritten]) -> tuple[Any, int | None]:
    """Return the type of a value that one of several bodies gives, and its length where all have the same."""
    lengths = {part.length for part in parts}
    length = lengths.pop() if len(lengths) == 1 else None
    annotations = tuple(part.annotation for part in parts)
    if not parts or Any in annotations:
        return Any, length
    try:
        return typing.Union[annotations], length  # noqa: UP007
    except TypeError:  # an annotation that is none
        return Any, length


def _lambda(given: Mapping[str, Any]) -> str:
    return f"lambda {next(iter(given))}" if given else "lambda"


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", None) or getattr(function, "title", None) or "body")


def _annotation_of(value: Any) -> Any:
    return value._annotation if type(value) is Ref else type(value)


def _length_of(value: Any) -> int | None:
    if type(value) is Ref:
        return tuple_length(value._annotation) if value._length is None else value._length
    return len(value) if type(value) in (list, tuple) else None
