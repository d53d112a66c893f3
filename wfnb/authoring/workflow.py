"""`wf.workflow`: a function traced into a `Graph`, and how a run of it is asked for. Imports model, ref and trace.

What starts runs is not known here: the face sets `Workflow.launcher`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from wfnb.authoring.builder import Steps
from wfnb.authoring.built import graph_of_built
from wfnb.authoring.capture import place as place_of
from wfnb.authoring.inputs import InputPorts, spec_of
from wfnb.authoring.launch import Launcher, RunOptionNames
from wfnb.authoring.launch import RunOptions as RunOptions
from wfnb.authoring.options import WorkflowOptions, check_workflow_options
from wfnb.authoring.ref import Ref, lift
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.steady import Composition, Steady
from wfnb.authoring.trace import Trace, Written
from wfnb.model.builtin import MISSING
from wfnb.model.constants import changeable
from wfnb.model.errors import ConfigurationError, DefinitionError, Problem
from wfnb.model.expr import Const, Input
from wfnb.model.graph import Graph, InputSpec, Order
from wfnb.model.node import CURRENT_TRACE
from wfnb.model.ports import Ports
from wfnb.model.types import describe, plain_function

P = ParamSpec("P")
R = TypeVar("R")

LATEST: dict[str, Workflow[..., Any]] = {}
"""The workflow of each name that this process defined last: a resumed run uses its code as it is now."""


_WRITING: ContextVar[tuple[Workflow[..., Any], ...]] = ContextVar("wfnb_writing", default=())
"""The workflows that are being written down in this thread, outermost first."""


class Workflow(Steps, Composition, Generic[P, R]):
    """A named, versioned composition of steps with typed inputs.

    Of a function it is made by `wf.workflow`; without one it is built, step by step; every method that adds something
    returns a new workflow and leaves this one as it is::

        flow = (
            wf.Workflow("orders", version="1.0.0")
            .input("path", str)
            .then(load, path="{{ input.path }}")
            .then(report, rows="{{ load }}")
        )

    Args:
        name: its name.
        function: the function that is traced: its parameters are the inputs, calls of nodes in it the steps, and what
            it returns is the run's value.
        version: its version.
        tags: free labels.
        description: what it is for; by default the first line of the function's docstring.
        order: "data" (a step begins when what it uses is there; the default of functions) or "sequence" (when the one
            before it is over; the default of what is built).
        concurrency: how many of its tasks may run at once; or how many of those whose nodes have a tag, by tag.

    Raises:
        DefinitionError: the function cannot be traced, such as one with ``*args``.
        ConfigurationError: an option will not do.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, R]

    launcher: ClassVar[Launcher | None] = None

    _source: Literal["function", "steps", "graph"]
    _graph: Graph | None = None
    _specs: tuple[tuple[InputSpec, dict[str, Any]], ...] = ()

    @overload
    def __init__(
        self: Workflow[..., Any],
        name: str,
        *,
        version: str = "",
        tags: Sequence[str] = (),
        description: str = "",
        order: Order | None = None,
        concurrency: int | Mapping[str, int] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        function: Callable[P, R],
        *,
        version: str = "",
        tags: Sequence[str] = (),
        description: str = "",
        order: Order | None = None,
        concurrency: int | Mapping[str, int] | None = None,
    ) -> None: ...
    def __init__(
        self,
        name: str,
        function: Any = None,
        *,
        version: str = "",
        tags: Sequence[str] = (),
        description: str = "",
        order: Order | None = None,
        concurrency: int | Mapping[str, int] | None = None,
    ) -> None:
        named = {"name": name, "version": version, "tags": tags, "description": description}
        check_workflow_options({**named, **({} if order is None else {"order": order})}, f"workflow '{name}'")
        if function is not None:
            functools.update_wrapper(cast(Any, self), function, updated=())
            description = description or (inspect.getdoc(function) or "").partition("\n")[0]
        self.function: Callable[P, R] = function
        self._source = "steps" if function is None else "function"
        self._take(
            Graph(
                name,
                version,
                (),
                (),
                Const(None),
                tuple(tags),
                order or ("sequence" if function is None else "data"),
                limits_of(concurrency, f"workflow '{name}'"),
                description,
            )
        )
        problems = () if function is None else _unfit(function, self.ports)
        if problems:
            raise DefinitionError(name, problems)

    @classmethod
    def from_graph(cls, graph: Graph) -> Workflow[..., Any]:
        """Return the workflow that a graph is of, as it was loaded or built.

        Args:
            graph: its steps, inputs and value.
        """
        made: Workflow[..., Any] = object.__new__(Workflow)
        made.function = cast(Any, None)
        made._source = "graph"
        made._graph = graph
        made._take(graph)
        return made

    def _take(self, named: Graph) -> None:
        """Be called what a graph is called."""
        self.name = named.name
        self.version = named.version
        self.tags = named.tags
        self.description = named.description
        self.order: Order = named.order
        self.limits = named.concurrency
        self.run_options = RunOptions()
        self._steady = Steady()
        if self._source != "function":
            self.__name__ = self.__qualname__ = named.name
            self.__doc__ = named.description or None
        self._defined()

    def _defined(self) -> None:
        LATEST[self.name] = self
        REGISTRY.add_workflow(self)

    @functools.cached_property
    def ports(self) -> Ports:
        """What it takes and returns."""
        return Ports(self.function) if self._source == "function" else InputPorts(self.inputs)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Its inputs, in order."""
        if self._graph is not None:
            return self._graph.inputs
        if self._source == "steps":
            return tuple(spec for spec, _ in self._specs)
        ports = self.ports
        return tuple(
            InputSpec(p.name, ports.annotations.get(p.name, Any), None, required=True)
            if p.default is p.empty
            else InputSpec(p.name, ports.annotations.get(p.name, Any), p.default, required=False)
            for p in ports.parameters.values()
        )

    def _input_names(self) -> list[str]:
        return [spec.name for spec in self.inputs]

    # -- building ------------------------------------------------------------------------------------------------

    def input(self, name: str, annotation: Any = Any, default: Any = MISSING) -> Self:
        """Add an input.

        Args:
            name: its name; templates read it as ``{{ input.name }}``.
            annotation: its type: a Python annotation, the name of a type of JSON Schema such as "string", or a schema.
            default: its default; without one a run must be given it.
        """
        if any(spec.name == name for spec, _ in self._built()._specs):
            raise ConfigurationError(f"workflow '{self.name}' has an input '{name}' already: give each its own name")
        return self._changed(_specs=(*self._specs, spec_of(name, annotation, default)))

    def concurrency(self, limit: int | Mapping[str, int] | None) -> Self:
        """Say how many tasks may run at once.

        Args:
            limit: the number; or how many of those whose nodes have a tag, by tag ("" for all).
        """
        return self._built()._changed(limits=limits_of(limit, f"workflow '{self.name}'"))

    def _changed(self, **changes: Any) -> Self:
        changed = super(Workflow, self._built())._changed(**changes)
        changed.__dict__.pop("ports", None)
        changed._defined()
        return changed

    def _built(self) -> Self:
        if self._source == "steps":
            return self
        made = "loaded" if self._source == "graph" else "made of a function"
        cure = "build a new one that uses it: wf.Workflow(name).workflow(...)"
        raise ConfigurationError(f"workflow '{self.name}' is {made}, and nothing can be added to it: {cure}")

    # -- checking ------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """Its steps; a function's are traced anew each time, so that nodes edited since are the ones used.

        Raises:
            DefinitionError: it cannot run as it is written; lists every problem.
        """
        __tracebackhide__ = True
        graph, problems = self._write()
        if problems:
            raise DefinitionError(self.name, tuple(problems))
        return graph

    def validate(self) -> None:
        """Check everything that can be checked without running anything.

        Raises:
            DefinitionError: it cannot run as it is written; lists every problem, each with its place and its cure.
        """
        __tracebackhide__ = True
        _ = self.graph

    def to_dict(self) -> dict[str, Any]:
        """Return it as data, which `wf.loads` makes an equal workflow of where its nodes are known by name.

        Raises:
            DefinitionError: it cannot run as it is written, or holds what data cannot say.
        """
        from wfnb.authoring.dumps import definition_of  # jinja2 and the models of definitions are loaded when used

        return definition_of(self.graph)

    def to_yaml(self) -> str:
        """Return it as a text in YAML; see `to_dict`."""
        from wfnb.authoring.dumps import to_yaml

        return to_yaml(self.graph)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of a run by name, defaults filled in.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            DefinitionError: inputs are missing, unexpected or of the wrong type; lists them all.
        """
        __tracebackhide__ = True
        ports = self.ports
        bound, complaints = ports.bind(args, kwargs)
        problems = [Problem(message.replace("parameter", "input"), "", "", cure) for message, cure in complaints]
        inputs = {p.name: p.default for p in ports.parameters.values() if p.default is not p.empty}
        for argument in bound:
            inputs[argument.name] = argument.value
            check = ports.checkers.get(argument.name)
            text = check(argument.value) if check is not None else None
            if text is not None:
                wanted = describe(ports.annotations[argument.name])
                cure = "Pass a fitting value, or correct the annotation"
                problems.append(
                    Problem(f"input '{argument.name}' = {text}, but its annotation says {wanted}", cure=cure)
                )
        if problems:
            raise DefinitionError(self.name, tuple(problems))
        return {name: inputs[name] for name in ports.parameters}

    def _write(self) -> Written:
        """Return its steps and everything wrong with them."""
        __tracebackhide__ = True
        if self._graph is not None:
            return self._graph, ()
        around = _WRITING.get()
        token = _WRITING.set((*around, self))
        try:
            if self._source == "function":
                return self._traced()
            return self._assembled({one.name for one in around}), ()
        except DefinitionError as error:
            if self._source == "function":
                raise
            return Graph(self.name, self.version, self.inputs, (), Const(None)), error.problems
        finally:
            _WRITING.reset(token)

    def _assembled(self, named: set[str]) -> Graph:
        """Return the graph of its built steps; calls of workflows that are being written down stay names."""
        head: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "tags": list(self.tags),
            "order": self.order,
            "inputs": {spec.name: schema for spec, schema in self._specs},
        }
        if self.limits:
            head["concurrency"] = {tag or "*": most for tag, most in self.limits}
        if self._outputs:
            head["outputs"] = self._outputs[0]
        return graph_of_built(self._steps, head, self.inputs, named)

    def _traced(self) -> Written:
        """Call the function with references and return what it wrote down."""
        __tracebackhide__ = True
        facts = (self.name, self.version, self.tags, self.order, self.limits, self.description)
        outermost = len(_WRITING.get()) == 1
        if outermost and (known := self._steady.recall(facts)) is not None:
            return cast(Written, known)
        trace = Trace(self.name)
        args, kwargs = [], {}
        for parameter in self.ports.parameters.values():
            annotation = self.ports.annotations.get(parameter.name, Any)
            ref = Ref(Input(parameter.name), annotation, trace)
            if parameter.kind is parameter.POSITIONAL_ONLY:
                args.append(ref)
            else:
                kwargs[parameter.name] = ref
        token = CURRENT_TRACE.set(trace)
        try:
            result = cast(Callable[..., Any], self.function)(*args, **kwargs)
            output = lift(result, trace)
            trace.close()
        except Exception as error:
            error.add_note(f"while workflow '{self.name}' was written down, before anything was started")
            if trace.problems:
                found = "\n".join(f"  - {problem}" for problem in trace.problems)
                error.add_note(f"problems found until then:\n{found}")
            raise
        finally:
            CURRENT_TRACE.reset(token)
        graph = Graph(
            self.name,
            self.version,
            self.inputs,
            tuple(trace.steps),
            output,
            self.tags,
            self.order,
            self.limits,
            self.description,
        )
        if outermost and not trace.problems and next(changeable(graph), None) is None:
            self._steady.remember(self.function, facts, (graph, ()))
        return graph, trace.problems

    def functions(self) -> tuple[Any, ...]:
        """Return what is called when it is written down."""
        return (self.function,) if self._source == "function" else (self,)

    def _inline(self, outer: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """Make this workflow a step of the one that is being written down."""
        if self.run_options != RunOptions():
            outer.complain(
                f"workflow '{self.name}' is called with run options inside a workflow, where it is no run of its own",
                "Leave options() out, or give them to the outer workflow",
            )
        write = None if any(one._same(self) for one in _WRITING.get()) else self._write
        return outer.inline(self.name, self.version, self.ports, args, kwargs, write)

    def _same(self, other: Workflow[..., Any]) -> bool:
        """Return whether the other one is this, perhaps with other options."""
        mine, others = (self.function, self._graph, self._steps), (other.function, other._graph, other._steps)
        return other.name == self.name and all(one is another for one, another in zip(mine, others, strict=True))

    # -- running -------------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it, show it and return its value; inside another workflow take its steps in.

        Raises:
            DefinitionError: the workflow or its inputs are wrong; nothing was started.
            StepFailed: a task failed.
        """
        __tracebackhide__ = True
        trace = CURRENT_TRACE.get()
        if isinstance(trace, Trace):
            return cast(R, self._inline(trace, args, kwargs))
        return cast(R, self._launcher().call(self, self.bind(args, kwargs), self.run_options))

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Start a run and return its `Run` at once.

        Raises:
            DefinitionError: the workflow or its inputs are wrong; nothing was started.
        """
        __tracebackhide__ = True
        trace = CURRENT_TRACE.get()
        if isinstance(trace, Trace):
            cure = f"Call {self.name}(...) there, without submit: its steps become steps of '{trace.name}'"
            problem = Problem(f"it is submitted while workflow '{trace.name}' is written down", cure=cure)
            raise DefinitionError(self.name, (problem,))
        return self._launcher().submit(self, self.bind(args, kwargs), self.run_options)

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return what a run with these inputs would do, as a `Plan`: which steps are known, changed or new.

        Raises:
            DefinitionError: the workflow or its inputs are wrong.
        """
        __tracebackhide__ = True
        return self._launcher().plan(self, self.bind(args, kwargs), self.run_options)

    def options(self, **changes: Unpack[RunOptionNames]) -> Workflow[P, R]:
        """Return the workflow with options for its runs; call it or submit it.

        Args:
            changes: any of `run_id`, `priority`, `store`, `cluster`, `tags`, `on_error` and `view`; see `RunOptions`.

        Raises:
            ConfigurationError: an option is unknown or its value will not do.
        """
        changed = copy.copy(self)
        changed.run_options = self.run_options.changed(changes)
        return changed

    def _launcher(self) -> Launcher:
        if self.launcher is None:
            raise ConfigurationError(f"nothing is there to run workflow '{self.name}': import wfnb first")
        return self.launcher

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "ports"}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        if self.launcher is None:
            return {"text/plain": repr(self)}
        bundle: dict[str, Any] = self.launcher.picture(self)
        return bundle

    def __repr__(self) -> str:
        if self._source == "function":
            return f"<workflow '{self.name}{inspect.signature(self.function)}'>"
        texts = [
            f"{spec.name}: {describe(spec.annotation)}" + ("" if spec.required else f" = {spec.default!r}")
            for spec in self.inputs
        ]
        return f"<workflow '{self.name}({', '.join(texts)})'>"


def limits_of(value: Any, owner: str) -> tuple[tuple[str, int], ...]:
    """Return how many tasks may run at once, by tag; "" for all of them.

    Args:
        value: a number, numbers by tag, or None for no limit.
        owner: whose option it is, for the error.

    Raises:
        ConfigurationError: it is something else.
    """
    limits = {} if value is None else dict(value) if isinstance(value, Mapping) else {"": value}
    for tag, most in limits.items():
        if not isinstance(tag, str) or isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigurationError(
                f"option 'concurrency' of {owner} cannot be {value!r}: give a whole number from 1 up, or such numbers "
                "by tag of nodes"
            )
    return tuple(limits.items())


def _unfit(function: Any, ports: Ports) -> tuple[Problem, ...]:
    """Return why a function cannot be traced."""
    plain = plain_function(function)
    code = getattr(plain, "__code__", None)
    place = ""
    if code is not None:
        place = place_of(code.co_filename, code.co_firstlineno)
    problems = []
    if ports.asynchronous or inspect.isasyncgenfunction(plain):
        cure = "Write it with plain def: asynchronous nodes are awaited on the worker"
        problems.append(Problem("it is an async function", "", place, cure))
    elif ports.generator:
        problems.append(Problem("it is a generator function", "", place, "Return its value instead of yielding it"))
    for name, sign in ((ports.rest, "*"), (ports.others, "**")):
        if name:
            cure = "Name each input, so that it can be shown, checked and stored"
            problems.append(Problem(f"it takes '{sign}{name}'", "", place, cure))
    for name in ports.contexts:
        cure = "Ask for it in a node: a workflow is written down before anything runs"
        problems.append(Problem(f"its parameter '{name}' asks for the context", "", place, cure))
    return tuple(problems)


class WorkflowDecorator(Protocol):
    """`wf.workflow` with its options given, waiting for the function."""

    def __call__(self, function: Callable[P, R], /) -> Workflow[P, R]:
        """Make a workflow of the function."""


@overload
def workflow(function: Callable[P, R], /, **options: Unpack[WorkflowOptions]) -> Workflow[P, R]: ...
@overload
def workflow(**options: Unpack[WorkflowOptions]) -> WorkflowDecorator: ...
def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make a workflow of a function, by calling it with references and writing down which nodes it calls.

    Args:
        function: the function: its parameters are the run's inputs, what it returns is the run's value.
        options: any of

            * `name` (else the function's), `version`, `tags`, `description` (else the docstring's first line);
            * `order`: "data" (the default: a step begins when what it uses is there) or "sequence" (each begins when
              the one written before it is over);
            * `concurrency`: how many of its tasks may run at once; or how many of those whose nodes have a tag, by tag.

    Returns:
        The workflow, or a decorator when only options are given.

    Raises:
        ConfigurationError: an option is unknown or its value will not do.
        DefinitionError: the function cannot be traced.
    """
    if function is None:
        return lambda function: workflow(function, **options)
    if isinstance(function, (type, Workflow)) or not callable(function):
        raise ConfigurationError(
            f"wf.workflow makes a workflow of a function, and is given {function!r}: write it above a def"
        )
    default = str(getattr(function, "__name__", None) or getattr(plain_function(function), "__name__", "workflow"))
    name = options.get("name", "lambda" if default == "<lambda>" else default)
    check_workflow_options(options, f"workflow '{default}'")
    return Workflow(**{**options, "name": name, "function": function})
