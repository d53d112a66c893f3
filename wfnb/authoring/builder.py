"""`wf.step` and `Steps`: steps written one after the other, which give a definition. Imports model, check and options.

Nothing is looked up or checked here but how the methods are called: what the steps mean is said where definitions are
read, so that a workflow that is built and one that is loaded are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeAlias, Unpack

from wfnb.authoring.check import where
from wfnb.authoring.options import CATCH_CURE, ConstructOptions, definition_options, error_names, shown, split_options
from wfnb.authoring.registry import REGISTRY
from wfnb.model.errors import ConfigurationError
from wfnb.model.node import Node
from wfnb.model.ports import Ports
from wfnb.model.types import show

NodeLike: TypeAlias = "Node | type[Node] | str"
"""A node, a class of nodes, or the name of either."""
Fields: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class BuiltStep:
    """A step in the making; see `step`.

    Args:
        fields: what a definition says of it; bodies in it are tuples of steps, nodes and workflows are themselves.
        where: the place in the source it was written.
    """

    of_builder: ClassVar[bool] = True  # a traced function has no use for it

    fields: Fields
    where: str


@dataclass(frozen=True, slots=True)
class ValueOf:
    """In an argument: the value of a step whose id is not known yet."""

    step: BuiltStep


Body: TypeAlias = "BuiltStep | Steps | Node | type[Node] | str | Sequence[Any]"
"""What a construct runs as one: a step, a node that needs nothing, several of them in a list, or `Steps`."""


def step(what: NodeLike | Steps, /, *args: Any, **params: Any) -> BuiltStep:
    """Return a step for the builder's methods.

    ::

        wf.step(train, rows="{{ load }}", depth=3, id="fit", retries=2)

    Args:
        what: a node, a class of nodes, the name of either, or a workflow.
        args: its arguments by position; texts may be templates.
        params: its arguments by name, and for a class of nodes its settings. What it has no parameter for may be an
            option: `id`, `name`, `when` (a template), `continue_on_error`, `version`, and options of `wf.node`.

    Raises:
        ConfigurationError: it is no node, or an option will not do.
    """
    return _call("node", what, args, params)


class Steps:
    """Steps one after the other: a body for the constructs of the builder, and what a built workflow is made of.

    Every method returns the steps with one more at the end, and leaves these as they are::

        wf.Steps().then(fetch, url="{{ item }}").then(clean, rows="{{ fetch }}").output("{{ clean }}")
    """

    _steps: tuple[BuiltStep, ...] = ()
    _outputs: tuple[Any, ...] = ()  # the value, if one was given

    def _input_names(self) -> list[str]:
        return []

    def _more(self, *steps: BuiltStep) -> Self:
        return self._changed(_steps=(*self._steps, *steps))

    def _changed(self, **changes: Any) -> Self:
        changed = copy.copy(self)
        changed.__dict__.update(changes)
        return changed

    # -- nodes ---------------------------------------------------------------------------------------------------

    def then(self, what: Body, /, *args: Any, **params: Any) -> Self:
        """Add a step that calls a node once.

        Args:
            what: a node, a class of nodes, the name of either, a workflow, or a step made with `wf.step`.
            args: its arguments by position.
            params: its arguments by name, and options; see `wf.step`.
        """
        if isinstance(what, (Node, type, str)) or is_workflow(what):
            return self._more(_call("node", what, args, params))
        if args or params:
            raise ConfigurationError("then() is given a step and arguments: give the arguments to wf.step(...)")
        body = _body(what, "then()")
        return self.sequential(what) if body.outputs else self._more(*body.steps)

    def map(self, node: NodeLike, /, over: Mapping[str, Any], *args: Any, **params: Any) -> Self:
        """Add a step that calls a node once for each element of lists, taken together.

        Args:
            node: a node, a class of nodes, or the name of either.
            over: the lists, by parameter: lists or templates.
            args: its other arguments by position.
            params: its other arguments by name, and options; see `wf.step`.
        """
        return self._more(_call("map", node, args, params, over=over))

    def expand(self, node: NodeLike, /, over: Mapping[str, Any], *args: Any, **params: Any) -> Self:
        """Add a step that calls a node once for each combination of elements of lists, the last list fastest.

        Args:
            node: a node, a class of nodes, or the name of either.
            over: the lists, by parameter: lists or templates.
            args: its other arguments by position.
            params: its other arguments by name, and options; see `wf.step`.
        """
        return self._more(_call("expand", node, args, params, over=over))

    def dynamic(self, node: NodeLike, /, *args: Any, **params: Any) -> Self:
        """Add a step whose node gives a workflow or a definition, which is run in its place.

        Args:
            node: the node that plans.
            args: its arguments by position.
            params: its arguments by name, and options; see `wf.step`.
        """
        return self._more(_call("dynamic", node, args, params))

    def workflow(self, workflow: Steps | str, /, **inputs: Any) -> Self:
        """Add the steps of another workflow.

        Args:
            workflow: the workflow or its name.
            inputs: its inputs; what it has no input for may be an option of the step, as with `wf.step`.
        """
        return self._more(_call("workflow", workflow, (), inputs))

    def set(self, **variables: Any) -> Self:
        """Set variables, which templates after this read as ``{{ var.name }}``.

        Args:
            variables: their values, by name; texts may be templates.
        """
        made = [step("set", params={"name": name, "value": value}) for name, value in variables.items()]
        return self._more(*made)

    def output(self, value: Any) -> Self:
        """Say what the value is; without it, it is that of the last step.

        Args:
            value: any value; texts in it may be templates.
        """
        return self._changed(_outputs=(value,))

    # -- constructs ----------------------------------------------------------------------------------------------

    def sequential(self, *steps: Body, **options: Unpack[ConstructOptions]) -> Self:
        """Add steps that are run in order, whatever the workflow's order.

        Args:
            steps: the steps.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        return self._more(_construct("sequential", options, _fields_of(_joined(steps, "sequential()"))))

    def parallel(
        self,
        *branches: Body,
        max_concurrency: int | None = None,
        first: bool = False,
        **options: Unpack[ConstructOptions],
    ) -> Self:
        """Add branches that are run at once.

        Args:
            branches: the branches: a step, or several in a list or `Steps`.
            max_concurrency: how many may be begun and not over.
            first: whether the first that is over gives the value, and ends the others.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        made = [_body(branch, "parallel()") for branch in branches]
        fields = _given(steps=made, maxConcurrency=max_concurrency, first=first or None)
        return self._more(_construct("parallel", options, fields))

    def each(
        self,
        body: Body,
        *,
        over: Any,
        as_: str | None = None,
        parallel: bool = True,
        max_concurrency: int | None = None,
        max_iterations: int | None = None,
        **options: Unpack[ConstructOptions],
    ) -> Self:
        """Add a body that is run for each item of a list; items do not wait for each other.

        Args:
            body: the body; a bare node is called with the item.
            over: the list, or a template.
            as_: what templates call the item; "item" without it.
            parallel: whether items need not wait for each other.
            max_concurrency: how many items may be begun and not over.
            max_iterations: how many items there may be.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        return self.loop(
            body,
            over=over,
            as_=as_,
            parallel=parallel,
            max_concurrency=max_concurrency,
            max_iterations=max_iterations,
            **options,
        )

    def loop(
        self,
        body: Body,
        *,
        over: Any = None,
        while_: Body | None = None,
        until: Body | None = None,
        times: Any = None,
        init: Any = None,
        as_: str | None = None,
        parallel: bool | None = None,
        max_concurrency: int | None = None,
        max_iterations: int | None = None,
        **options: Unpack[ConstructOptions],
    ) -> Self:
        """Add a body that is run again and again: for each item of a list, or handing a value on.

        Args:
            body: the body; a bare node is called with the item, which is the value handed on.
            over: the list, or a template: then the body is run for each item, in order unless `parallel`.
            while_: looked at before each iteration: a template, or steps whose value is looked at.
            until: looked at after each iteration: a template, or steps whose value is looked at.
            times: how many iterations.
            init: the value handed on at first.
            as_: what templates call the item; "item" without it.
            parallel: whether items need not wait for each other.
            max_concurrency: how many items may be begun and not over.
            max_iterations: how many iterations or items there may be.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        fields = _given(
            over=over,
            init=init,
            times=times,
            parallel=parallel,
            maxConcurrency=max_concurrency,
            maxIterations=max_iterations,
        )
        fields["as"] = as_
        item = f"{{{{ {as_ or 'item'} }}}}"
        for name, part in (("while", while_), ("until", until)):
            if part is not None:
                fields[name] = part if isinstance(part, (str, bool)) else _body(part, f"{name}_=", item)
        fields |= _fields_of(_body(body, "loop()", item))
        return self._more(_construct("loop", options, _given(**fields)))

    def switch(
        self,
        value: Any,
        cases: Mapping[Any, Body] | None = None,
        *,
        default: Body | None = None,
        **options: Unpack[ConstructOptions],
    ) -> Self:
        """Add bodies of which one is run: the case that equals a value, or the first whose condition is true.

        Args:
            value: what the cases are compared with, mostly a template; or a list of (condition, body), without `cases`.
            cases: bodies by the value they are for.
            default: what is run when none fits.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        pairs: list[tuple[Any, Any]]
        if cases is not None:
            pairs = list(cases.items())
        elif isinstance(value, (list, tuple)) and all(isinstance(one, tuple) and len(one) == 2 for one in value):
            pairs = [(_condition(when), body) for when, body in value]
        else:
            raise ConfigurationError(
                f"switch() is given {show(value)} and no cases: write switch(value, {{value: body}}) or "
                "switch([(condition, body), ...])"
            )
        made = [{"when": when, **_fields_of(_body(body, "a case of switch()"))} for when, body in pairs]
        fields: Fields = {"cases": made} if cases is None else {"value": value, "cases": made}
        if default is not None:
            fields["default"] = _body(default, "default=")
        return self._more(_construct("switch", options, fields))

    def attempt(
        self,
        body: Body,
        *,
        catch: Body | Mapping[Any, Body] | None = None,
        finally_: Body | None = None,
        **options: Unpack[ConstructOptions],
    ) -> Self:
        """Add a body, another one that is run when a step of it fails, and a last one run whatever happened.

        Args:
            body: what is tried.
            catch: what is done about an error, ``{{ error.message }}`` in templates; or bodies by the error types, or
                tuples of them, that they are for. A bare node is called with the error when it takes something.
            finally_: what is done last; its value is dropped.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        fields = _fields_of(_body(body, "attempt()"))
        if isinstance(catch, Mapping):
            fields["catch"] = [
                {"on": _caught(kinds), **_fields_of(_body(one, "catch=", _ERROR))} for kinds, one in catch.items()
            ]
        elif catch is not None:
            fields["catch"] = _body(catch, "catch=", _ERROR)
        if finally_ is not None:
            fields["finally"] = _body(finally_, "finally_=")
        return self._more(_construct("try", options, fields, "attempt()"))

    def stream(
        self,
        source: BuiltStep | NodeLike,
        *stages: Body,
        as_: str | None = None,
        batch: int | None = None,
        buffer: int | None = None,
        **options: Unpack[ConstructOptions],
    ) -> Self:
        """Add a generator whose items go through stages one by one, while it goes on.

        Args:
            source: the step, or node, whose function is a generator.
            stages: what is done with each item. A bare node is called with the item, or the value of the stage before.
            as_: what templates call the item; "item" without it.
            batch: how many items are taken at a time.
            buffer: how many batches may be taken and not over.
            options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.
        """
        taken = source if isinstance(source, BuiltStep) else step(source)
        item = f"{{{{ {as_ or 'item'} }}}}"
        fields = _fields_of(_joined(stages, "stream()", item, chained=True))
        fields |= _given(source=taken, batchSize=batch, bufferSize=buffer)
        fields["as"] = as_
        return self._more(_construct("stream", options, _given(**fields)))


_ERROR = "{{ error }}"


# -- steps -----------------------------------------------------------------------------------------------------------


def is_workflow(thing: Any) -> bool:
    """Return whether something is a workflow, and not steps alone."""
    return isinstance(thing, Steps) and isinstance(getattr(thing, "name", None), str)


def parameters_of(what: Any) -> list[str] | None:
    """Return what a node, a class of nodes, a workflow or the name of a node takes by name, or None: not known."""
    if isinstance(what, str):
        try:
            what = REGISTRY.node(what)
        except ConfigurationError:  # said where the definition is read: it may be known by then
            return None
    if isinstance(what, type):
        made: type[Node] = what
        return [*made.Params.model_fields, *Ports(made.execute).parameters]
    return what._input_names() if isinstance(what, Steps) else list(what.ports.parameters)


def _call(kind: str, what: Any, args: tuple[Any, ...], params: Mapping[str, Any], **fields: Any) -> BuiltStep:
    if is_workflow(what) and kind == "node":
        kind = "workflow"
    is_node = isinstance(what, (Node, str)) or (isinstance(what, type) and issubclass(what, Node))
    if not (isinstance(what, str) or is_workflow(what)) if kind == "workflow" else not is_node:
        wanted = "a workflow or its name" if kind == "workflow" else "a node (@wf.node above the function) or its name"
        raise ConfigurationError(f"a step cannot be made of {shown(what)}: give {wanted}")
    known = None if kind == "workflow" and isinstance(what, str) else parameters_of(what)
    options, given = split_options(params, known)
    named = dict(options.pop("params", {}))
    owner = f"step '{what if isinstance(what, str) else title_of(what)}'"
    made = definition_options(options, owner)
    if kind == "workflow":
        if args:
            raise ConfigurationError(f"{owner} is given inputs by position: give them by name")
        return BuiltStep({"stepType": kind, "workflow": what, **made, "inputs": {**named, **given}, **fields}, where())
    if args:
        made["args"] = list(args)
    return BuiltStep({"stepType": kind, "type": what, **made, "params": {**named, **given}, **fields}, where())


def title_of(what: Any) -> str:
    """Return the name of a node, a class of nodes or a workflow."""
    return str(what.__name__ if isinstance(what, type) else what.title if isinstance(what, Node) else what.name)


def _construct(kind: str, options: Mapping[str, Any], fields: Fields, called: str = "") -> BuiltStep:
    return BuiltStep({"stepType": kind, **definition_options(options, called or f"{kind}()"), **fields}, where())


def _caught(kinds: Any) -> list[str]:
    try:
        return list(error_names(kinds))
    except ValueError as error:
        raise ConfigurationError(f"attempt() {error}. {CATCH_CURE}") from None


def _given(**fields: Any) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _condition(when: Any) -> Any:
    return ("{{ true }}" if when else "{{ false }}") if isinstance(when, bool) else when


# -- bodies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BuiltBody:
    """Steps that are run as one.

    Args:
        steps: the steps.
        outputs: their value, if one was given.
    """

    steps: tuple[BuiltStep, ...]
    outputs: tuple[Any, ...] = ()


def _fields_of(body: BuiltBody) -> Fields:
    return {"steps": body.steps, **({"output": body.outputs[0]} if body.outputs else {})}


def _body(thing: Any, what: str, given: Any = None) -> BuiltBody:
    """Return the body that something stands for; a bare node is called with what the body is given."""
    if isinstance(thing, BuiltStep):
        return BuiltBody((thing,))
    if isinstance(thing, Steps) and not is_workflow(thing):
        return BuiltBody(thing._steps, thing._outputs)
    if isinstance(thing, (list, tuple)):
        return _joined(thing, what, given)
    if isinstance(thing, (Node, type, str)) or is_workflow(thing):
        return BuiltBody((_bare(thing, given),))
    raise ConfigurationError(
        f"{what} cannot have {shown(thing)} as a body: give wf.step(node, ...), a node, a list of them, or wf.Steps()"
    )


def _joined(things: Sequence[Any], what: str, given: Any = None, *, chained: bool = False) -> BuiltBody:
    """Return one body of several, one after the other; chained, a bare node is called with the value before it."""
    steps: list[BuiltStep] = []
    outputs: tuple[Any, ...] = ()
    for thing in things:
        body = _body(thing, what, given)
        outputs = body.outputs
        if chained and body.steps:
            last = replace(body.steps[-1])  # one of its own, whose id nothing else has
            body = replace(body, steps=(*body.steps[:-1], last))
            given = outputs[0] if outputs else ValueOf(last)
        steps += body.steps
    return BuiltBody(tuple(steps), outputs)


def _bare(what: Any, given: Any) -> BuiltStep:
    """Return the step of a bare node: called with what is given when it takes something."""
    known = None if given is None else parameters_of(what)
    return step(what, params={known[0]: given}) if known else step(what)
