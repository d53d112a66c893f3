"""One call of a node in a definition: which node, with which settings, arguments and policy. Imports model and check.

Whatever is wrong is told to a `Report`, and something is returned all the same, so that everything is found at once.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

from pydantic import ValidationError

from wfnb.authoring.check import attribute_annotation, compatible, element_of, item_annotation, never_iterable
from wfnb.model.definition import BackoffModel, CallModel, StepModel
from wfnb.model.document import Document, Path
from wfnb.model.errors import Problem, WfnbError
from wfnb.model.expr import Apply, Const, Container, Expr, Input, StepValue
from wfnb.model.graph import Composed
from wfnb.model.node import Node
from wfnb.model.policy import Backoff, Exponential, Fixed
from wfnb.model.scope import Scope, near
from wfnb.model.templates import Complain, parse_value
from wfnb.model.types import LOOKED_AT, describe, show

MOST = 100
"""The most problems that are told of at once."""


class KnownByName(Protocol):
    """What knows nodes and workflows by name; `wfnb.authoring.registry.REGISTRY` is one."""

    def node(self, name: str, version: str = "") -> Node | type[Node]:
        """Return the node, or class of nodes, of a name; raises WfnbError."""

    def workflow(self, name: str, version: str = "") -> Any:
        """Return the workflow of a name; raises WfnbError."""


class Enough(Exception):
    """Ends the search for what is wrong: so much was found that nobody would read more."""


class Report:
    """Everything that is wrong with one definition.

    Args:
        document: where it is written.

    Attributes:
        problems: what was found so far.
        step: the id of the step that is looked at.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.step = ""

    def problem(self, path: Path, message: str, cure: str = "") -> None:
        """Note that something is wrong."""
        problem = Problem(message, self.step, self.document.where(path), cure)
        if problem not in self.problems[-20:]:
            self.problems.append(problem)
        if len(self.problems) >= MOST:
            raise Enough

    def complain(self, path: Path) -> Complain:
        """Return what notes that something is wrong at a place."""
        return lambda message, cure: self.problem(path, message, cure)


# -- types of expressions --------------------------------------------------------------------------------------------


class Types:
    """What is known of the types of values.

    Args:
        inputs: annotations of the workflow's inputs.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs
        self.steps: dict[str, Any] = {}

    def of(self, expr: Expr) -> Any:
        """Return the annotation of an expression, or `typing.Any`."""
        match expr:
            case StepValue(step):
                return self.steps.get(step, Any)
            case Input(name):
                return self.inputs.get(name, Any)
            case Apply("getitem", (base, Const(key))):
                return item_annotation(self.of(base), key)
            case Apply("field", (base, Const(name))):
                annotation = self.of(base)
                found = attribute_annotation(annotation, name)
                return item_annotation(annotation, name) if found is Any else found
            case Container(kind):
                return {"list": list, "tuple": tuple, "set": set, "dict": dict}[kind]
        return Any


# -- calls -----------------------------------------------------------------------------------------------------------


class Calls:
    """Resolves the calls of nodes in one definition.

    Args:
        registry: knows the nodes by name.
        report: is told what is wrong.
        types: what is known of the types of values.
    """

    def __init__(self, registry: KnownByName, report: Report, types_: Types) -> None:
        self.registry = registry
        self.report = report
        self.types = types_
        self._unknown: set[tuple[str, str]] = set()

    def node(self, model: CallModel, path: Path) -> Node:
        """Return the node that a step calls, its settings given, with the step's policy."""
        found: Any
        try:
            found = self.registry.node(model.type, model.version or "")
        except WfnbError as error:
            message, _, cure = str(error).partition(". ")
            self.report.problem((*path, "type"), message, cure)
            return _Unknown(model.type)
        settings = {name: model.params[name] for name in settings_of(found) if name in model.params}
        for name, value in settings.items():
            if _holds_template(value):
                self.report.problem(
                    (*path, "params", name),
                    f"the setting '{name}' of node '{model.type}' is a template, and is needed before anything runs",
                    "Give a constant, or make it a parameter of 'execute'",
                )
                return _Unknown(model.type)
        try:
            node = found(**settings) if isinstance(found, type) else with_settings(found, settings)
        except WfnbError as error:
            self.report.problem((*path, "params"), str(error))
            return _Unknown(model.type)
        return self.with_policy(node, model, path)

    def call(
        self, model: CallModel, path: Path, scope: Scope, over: Mapping[str, Any] | None = None
    ) -> tuple[Node, tuple[Expr, ...], tuple[tuple[str, Expr], ...], tuple[int | str, ...]]:
        """Return the node of a call, its arguments by position and by name, and which of them are iterated over.

        Args:
            model: the call.
            path: where it is.
            scope: what names mean there.
            over: the lists of a fan-out.
        """
        report = self.report
        node = self.node(model, path)
        settings = () if isinstance(node, _Unknown) else settings_of(node)
        args = [
            parse_value(value, scope, report.complain((*path, "args", place))) for place, value in enumerate(model.args)
        ]
        kwargs: dict[str, Expr] = {}
        iterated: list[int | str] = []
        for name, value in (over or {}).items():
            expr = parse_value(value, scope, report.complain((*path, "over", name)))
            if name in model.params:
                report.problem((*path, "over", name), f"'{name}' is in 'over' and in 'params'", "Keep one of them")
            if name.isdigit():
                args.insert(min(int(name), len(args)), expr)
                iterated.append(int(name))
            else:
                kwargs[name] = expr
                iterated.append(name)
        for name, value in model.params.items():
            if name not in settings:
                kwargs[name] = parse_value(value, scope, report.complain((*path, "params", name)))
        if not isinstance(node, _Unknown):
            self._check(node, args, kwargs, iterated, path)
        return node, tuple(args), tuple(kwargs.items()), tuple(iterated)

    def _check(
        self, node: Node, args: list[Expr], kwargs: dict[str, Expr], over: Iterable[int | str], path: Path
    ) -> None:
        ports, report = node.ports, self.report
        bound, complaints = ports.bind(args, kwargs)
        for message, cure in complaints:
            words = near(message.split("'")[1], [*ports.parameters, *settings_of(node)])
            cure = words if "no parameter" in message else cure
            report.problem((*path, "params"), f"node '{node.title}' cannot be called like this: {message}", cure)
        if len(ports.contexts) > 1:
            names = " and ".join(f"'{name}'" for name in ports.contexts)
            message = f"node '{node.title}' asks for its context more than once, as {names}"
            report.problem((*path, "type"), message, "Keep one of them")
        for argument in bound if node.policy.validate else ():
            annotation = ports.annotations.get(argument.name)
            iterated = argument.at in over
            place = "over" if iterated else "args" if isinstance(argument.at, int) else "params"
            check = ports.checkers.get(argument.name)
            text = self.misfit(argument.value, annotation, check, iterated=iterated)
            if text is not None:
                said = f"'{argument.name}' = {text}, but its annotation says {describe(annotation)}"
                report.problem((*path, place, argument.at), said, "Pass a fitting value, or correct the annotation")

    def misfit(
        self, expr: Expr, annotation: Any, check: Callable[[Any], str | None] | None, *, iterated: bool = False
    ) -> str | None:
        """Return what does not fit an annotation about a value, or None.

        Args:
            expr: the value.
            annotation: what it should be.
            check: checks a constant.
            iterated: whether the elements of the value are meant.
        """
        if isinstance(expr, Const):
            if not iterated:
                return check(expr.value) if check is not None else None
            if not isinstance(expr.value, (list, tuple, dict)):
                return f"{show(expr.value)}, no list"
            found = ((n, check(item)) for n, item in enumerate(islice(expr.value, LOOKED_AT))) if check else ()
            return next((f"{text} at [{n}]" for n, text in found if text is not None), None)
        given = self.types.of(expr)
        if iterated and never_iterable(given):
            return f"a value annotated {describe(given)}, no list"
        given = element_of(given) if iterated else given
        if annotation is None or given is Any or compatible(given, annotation):
            return None
        return f"a value annotated {describe(given)}"

    def returned(self, node: Node, kind: str) -> Any:
        """Return the annotation of a call's value."""
        if isinstance(node, _Unknown):
            return Any
        returns = node.ports.returns
        return returns if kind == "task" else types.GenericAlias(list, (returns,))

    # -- policies ------------------------------------------------------------------------------------------------

    def with_policy(self, node: Node, model: StepModel, path: Path) -> Node:
        """Return a node with what a step says about how it is run."""
        made = node
        for place, options in self._options(model, path):
            try:
                made = made.options(**options)
            except WfnbError as error:
                said = str(error)
                self.report.problem((*path, *place), said.partition(" of node ")[0] + said[said.find(" cannot be ") :])
        return made

    def composed(self, model: StepModel, path: Path) -> Node:
        """Return the node of a construct, which carries the policy its steps inherit."""
        return self.with_policy(Composed(), model, path)

    def _options(self, model: StepModel, path: Path) -> list[tuple[Path, dict[str, Any]]]:
        given = model.model_fields_set
        found: list[tuple[Path, dict[str, Any]]] = []
        retry = model.retry
        if retry is not None and retry.attempts is not None:
            found.append((("retry", "attempts"), {"retries": retry.attempts}))
        if retry is not None and retry.backoff is not None:
            backoff = self._backoff(retry.backoff, (*path, "retry", "backoff"))
            found.append((("retry", "backoff"), {"backoff": backoff}))
        if retry is not None and retry.on is not None:
            found.append((("retry", "on"), {"retry_on": tuple(retry.on)}))
        if "timeout" in given:
            found.append((("timeout",), {"timeout": None if model.timeout is None else model.timeout / 1000}))
        for name in ("cache", "checkpoint", "priority", "resources"):
            if getattr(model, name) is not None:
                found.append(((name,), {name: getattr(model, name)}))
        if model.validate_ is not None:
            found.append((("validate",), {"validate": model.validate_}))
        return found

    def _backoff(self, model: BackoffModel, path: Path) -> Backoff:
        seconds = {"delay": model.delay, "maximum": model.max}
        options = {name: value / 1000 for name, value in seconds.items() if value is not None}
        options |= {name: getattr(model, name) for name in ("factor", "jitter") if getattr(model, name) is not None}
        if model.type == "exponential":
            return Exponential(**options)
        for name, field in (("factor", "factor"), ("maximum", "max")):
            if options.pop(name, None) is not None:
                self.report.problem(
                    (*path, field), f"'{field}' is for type: exponential", "Give the type, or leave it out"
                )
        return Fixed(**options)


class _Unknown(Node):
    """Stands where no node could be found."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.called = name


def settings_of(node: Node | type[Node]) -> tuple[str, ...]:
    """Return the names of a node's settings."""
    return tuple(node.Params.model_fields)


def with_settings(node: Node, settings: Mapping[str, Any]) -> Node:
    """Return a node with some of its settings changed; raises WfnbError when they will not do."""
    if not settings:
        return node
    try:
        params = type(node).Params(**{**dict(node.params), **settings})
    except ValidationError as error:
        told = "; ".join(f"'{'.'.join(map(str, one['loc']))}': {one['msg']}" for one in error.errors(include_url=False))
        raise WfnbError(f"node '{node.title}' cannot be made like this: {told}") from None
    copied = node.fresh()
    copied.__dict__.pop("node_call", None)
    copied.params = params
    return copied


def _holds_template(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, dict):
        return any(map(_holds_template, value.values()))
    return isinstance(value, list) and any(map(_holds_template, value))
