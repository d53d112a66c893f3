"""`wf.workflow`: a function traced into a `Graph`, and how a run of it is asked for. Imports model, ref and trace.

What starts runs is not known here: the face sets `Workflow.launcher`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from wfnb.authoring.capture import place as place_of
from wfnb.authoring.launch import Launcher, RunOptionNames
from wfnb.authoring.launch import RunOptions as RunOptions
from wfnb.authoring.ref import Ref, lift
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.trace import Trace, Written
from wfnb.model.errors import ConfigurationError, DefinitionError, Problem, did_you_mean
from wfnb.model.expr import Input
from wfnb.model.graph import Graph, InputSpec, Order
from wfnb.model.node import CURRENT_TRACE, id_from
from wfnb.model.ports import Ports
from wfnb.model.types import describe, plain_function

P = ParamSpec("P")
R = TypeVar("R")

LATEST: dict[str, Workflow[..., Any]] = {}
"""The workflow of each name that this process defined last: a resumed run uses its code as it is now."""


class Workflow(Generic[P, R]):
    """A named, versioned composition of steps with typed inputs.

    Args:
        name: its name.
        function: the function that is traced: its parameters are the inputs, calls of nodes in it the steps, and what
            it returns is the run's value.
        version: its version.
        tags: free labels.
        order: "data" (a step begins when what it uses is there) or "sequence" (when the one before it is over).
        concurrency: how many of its tasks may run at once; or how many of those whose nodes have a tag, by tag.

    Raises:
        DefinitionError: the function cannot be traced, such as one with ``*args``.
        ConfigurationError: an option will not do.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, R]

    launcher: ClassVar[Launcher | None] = None

    def __init__(
        self,
        name: str,
        function: Callable[P, R],
        *,
        version: str = "",
        tags: Sequence[str] = (),
        order: Order = "data",
        concurrency: int | Mapping[str, int] | None = None,
    ) -> None:
        functools.update_wrapper(cast(Any, self), function, updated=())
        self.name = name
        self.version = version
        self.tags = tuple(tags)
        self.order: Order = order
        self.concurrency = limits_of(concurrency, f"workflow '{name}'")
        self.function: Callable[P, R] = function
        self._graph: Graph | None = None
        self.run_options = RunOptions()
        self._defined()
        problems = _unfit(function, self.ports)
        if problems:
            raise DefinitionError(name, problems)

    @classmethod
    def from_graph(cls, graph: Graph) -> Workflow[..., Any]:
        """Return the workflow that a graph is of, as it was loaded or built.

        Args:
            graph: its steps, inputs and value.
        """
        made: Workflow[..., Any] = object.__new__(Workflow)
        made._take(graph)
        made.run_options = RunOptions()
        made._defined()
        return made

    def _take(self, graph: Graph) -> None:
        self.name = self.__name__ = self.__qualname__ = graph.name
        self.__doc__ = graph.description or None
        self.version = graph.version
        self.tags = graph.tags
        self.order = graph.order
        self.concurrency = graph.concurrency
        self.function = cast(Any, None)
        self._graph = graph

    def _defined(self) -> None:
        LATEST[self.name] = self
        REGISTRY.add_workflow(self)

    @functools.cached_property
    def ports(self) -> Ports:
        """What it takes and returns."""
        return Ports(self.function) if self._graph is None else InputPorts(self._graph.inputs)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Its inputs, in order."""
        if self._graph is not None:
            return self._graph.inputs
        ports = self.ports
        return tuple(
            InputSpec(p.name, ports.annotations.get(p.name, Any), None, required=True)
            if p.default is p.empty
            else InputSpec(p.name, ports.annotations.get(p.name, Any), p.default, required=False)
            for p in ports.parameters.values()
        )

    @property
    def description(self) -> str:
        """The first line of its function's docstring, or what was given as its description."""
        return (
            (inspect.getdoc(self.function) or "").partition("\n")[0] if self._graph is None else self._graph.description
        )

    # -- checking ------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """Its steps; a function's are traced anew each time, so that nodes edited since are the ones used.

        Raises:
            DefinitionError: it cannot run as it is written; lists every problem.
        """
        __tracebackhide__ = True
        graph, problems = self._write(())
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

    def _write(self, callers: tuple[Any, ...]) -> Written:
        """Return its steps and everything wrong with them; a function is called with references for that."""
        __tracebackhide__ = True
        if self._graph is not None:
            return self._graph, ()
        trace = Trace(self.name, (*callers, self))
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
            self.concurrency,
            self.description,
        )
        return graph, trace.problems

    def _inline(self, outer: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """Make this workflow a step of the one that is being written down."""
        if self.run_options != RunOptions():
            outer.complain(
                f"workflow '{self.name}' is called with run options inside a workflow, where it is no run of its own",
                "Leave options() out, or give them to the outer workflow",
            )
        inside = any(caller._same(self) for caller in outer.callers)
        write = None if inside else lambda: self._write(outer.callers)
        return outer.inline(self.name, self.version, self.ports, args, kwargs, write)

    def _same(self, other: Workflow[..., Any]) -> bool:
        """Return whether the other one is this, perhaps with other options."""
        return other.name == self.name and other.function is self.function and other._graph is self._graph

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

    def __repr__(self) -> str:
        if self._graph is None:
            return f"<workflow '{self.name}{inspect.signature(self.function)}'>"
        texts = [
            f"{spec.name}: {describe(spec.annotation)}" + ("" if spec.required else f" = {spec.default!r}")
            for spec in self._graph.inputs
        ]
        return f"<workflow '{self.name}({', '.join(texts)})'>"


class InputPorts(Ports):
    """What a workflow without a function takes.

    Args:
        inputs: its inputs.
    """

    def __init__(self, inputs: Sequence[InputSpec]) -> None:
        super().__init__(_nothing)
        self.annotations = {spec.name: spec.annotation for spec in inputs if spec.annotation is not Any}
        self.resolved = dict(self.annotations)
        parameters: dict[str, Any] = {spec.name: _Given(spec.name, _default(spec)) for spec in inputs}
        self.parameters = parameters
        self.positional = tuple(self.parameters)
        self.keywords = frozenset(self.parameters)
        self.required = tuple(spec.name for spec in inputs if spec.required)


@dataclass(frozen=True, slots=True)
class _Given:
    """An input in place of a function's parameter, whose name need not be an identifier."""

    name: str
    default: Any
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty: ClassVar[Any] = inspect.Parameter.empty
    POSITIONAL_ONLY: ClassVar[Any] = inspect.Parameter.POSITIONAL_ONLY


def _nothing() -> None: ...


def _default(spec: InputSpec) -> Any:
    return inspect.Parameter.empty if spec.required else spec.default


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


class WorkflowOptions(TypedDict, total=False):
    """What a workflow is called, and how its steps are ordered."""

    name: str
    version: str
    tags: Sequence[str]
    order: Order
    concurrency: int | Mapping[str, int] | None


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

            * `name` (else the function's), `version`, `tags`;
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


def check_workflow_options(options: Mapping[str, Any], owner: str) -> None:
    """Raise ConfigurationError when an option of a workflow is unknown or will not do."""
    known = WorkflowOptions.__annotations__
    for option, value in options.items():
        if option not in known:
            raise ConfigurationError(f"{owner} has no option '{option}'. {did_you_mean(option, known)}")
        cure = _OPTIONS.get(option, lambda _: "")(value)
        if cure:
            raise ConfigurationError(f"option '{option}' of {owner} cannot be {value!r}: {cure}")


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "give a text"


_OPTIONS: dict[str, Callable[[Any], str]] = {
    "name": lambda value: _text(value) or ("give a text" if id_from(value) == "step" != value else ""),
    "version": _text,
    "description": _text,
    "tags": lambda value: (
        "give a list of texts" if isinstance(value, str) or not all(isinstance(tag, str) for tag in value) else ""
    ),
    "order": lambda value: "" if value in ("data", "sequence") else "give 'data' or 'sequence'",
}
