"""`wf.workflow`: a function traced into a `Graph`, and how a run of it is asked for. Imports model, ref and trace.

What starts runs is not known here: the face sets `Workflow.launcher`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Generic, Literal, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from wfnb.authoring.capture import place as place_of
from wfnb.authoring.ref import Ref, lift
from wfnb.authoring.trace import Trace, Written
from wfnb.model.errors import ConfigurationError, DefinitionError, Problem, did_you_mean
from wfnb.model.expr import Input
from wfnb.model.graph import Graph, InputSpec
from wfnb.model.node import CURRENT_TRACE, id_from, is_step_id
from wfnb.model.policy import PriorityName, priority_of
from wfnb.model.ports import Ports
from wfnb.model.types import describe, plain_function

P = ParamSpec("P")
R = TypeVar("R")

# -- how a run is asked for ------------------------------------------------------------------------------------------


class RunOptionNames(TypedDict, total=False):
    """The options of one run, as a person writes them; see `RunOptions`."""

    run_id: str
    priority: PriorityName | int
    store: Any
    cluster: Any
    tags: Sequence[str]
    on_error: Literal["stop", "continue"]
    view: bool


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run is to be done, where it differs from what is configured.

    Args:
        run_id: the id it is to have, or None for a new one.
        priority: 1 (first) to 20 (last), or None for the nodes' own.
        store: where it is kept, or None for the configured store.
        cluster: where it is computed, or None for the configured cluster.
        tags: labels of this run, besides the workflow's.
        on_error: "stop" starts nothing new after a failure, "continue" finishes what does not depend on it.
        view: whether it shows itself, or None for what fits the place it is called from.
    """

    run_id: str | None = None
    priority: int | None = None
    store: Any = None
    cluster: Any = None
    tags: tuple[str, ...] = ()
    on_error: Literal["stop", "continue"] = "stop"
    view: bool | None = None

    def changed(self, changes: Mapping[str, Any]) -> RunOptions:
        """Return the options with some changed.

        Raises:
            ConfigurationError: an option is unknown or its value will not do.
        """
        known = [field.name for field in fields(self)]
        values = dict(changes)
        for name, value in changes.items():
            if name not in known:
                raise ConfigurationError(f"a run has no option '{name}'. {did_you_mean(name, known)}")
            reader = _READERS.get(name)
            if reader is not None and value is not None:
                try:
                    values[name] = reader(value)
                except ValueError as error:
                    raise ConfigurationError(f"option '{name}' of a run cannot be {value!r}: {error}") from None
        return replace(self, **values)


def _run_id(value: Any) -> str:
    if not is_step_id(value):
        raise ValueError("give a text without spaces, quotes or /.[]{}")
    return str(value)


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(tag, str) for tag in value):
        raise ValueError("give a list of texts")
    return tuple(value)


def _on_error(value: Any) -> str:
    if value not in ("stop", "continue"):
        raise ValueError("give 'stop' or 'continue'")
    return str(value)


def _view(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "run_id": _run_id,
    "priority": priority_of,
    "tags": _tags,
    "on_error": _on_error,
    "view": _view,
}


class Launcher(Protocol):
    """What starts runs; the session is one."""

    def submit(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        """Start a run and return its `Run` at once."""

    def call(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        """Start a run, show it, wait for it and return its value."""


LATEST: dict[str, Workflow[..., Any]] = {}
"""The workflow of each name that this process defined last: a resumed run uses its code as it is now."""

# -- workflows -------------------------------------------------------------------------------------------------------


class Workflow(Generic[P, R]):
    """A named, versioned composition of steps with typed inputs.

    Args:
        name: its name.
        function: the function that is traced: its parameters are the inputs, calls of nodes in it the steps, and what
            it returns is the run's value.
        version: its version.
        tags: free labels.

    Raises:
        DefinitionError: the function cannot be traced, such as one with ``*args``.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, R]

    launcher: ClassVar[Launcher | None] = None

    def __init__(self, name: str, function: Callable[P, R], *, version: str = "", tags: Sequence[str] = ()) -> None:
        functools.update_wrapper(cast(Any, self), function, updated=())
        self.name = name
        self.version = version
        self.tags = tuple(tags)
        self.function = function
        self.run_options = RunOptions()
        LATEST[name] = self
        problems = _unfit(function, self.ports)
        if problems:
            raise DefinitionError(name, problems)

    @functools.cached_property
    def ports(self) -> Ports:
        """What it takes and returns."""
        return Ports(self.function)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Its inputs, in order."""
        ports = self.ports
        return tuple(
            InputSpec(p.name, ports.annotations.get(p.name, Any), None, required=True)
            if p.default is p.empty
            else InputSpec(p.name, ports.annotations.get(p.name, Any), p.default, required=False)
            for p in ports.parameters.values()
        )

    @property
    def description(self) -> str:
        """The first line of its function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    # -- checking ------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """Its steps, traced anew each time, so that nodes edited since are the ones used.

        Raises:
            DefinitionError: it cannot run as it is written; lists every problem.
        """
        __tracebackhide__ = True
        trace, output = self._write(())
        if trace.problems:
            raise DefinitionError(self.name, tuple(trace.problems))
        return Graph(self.name, self.version, self.inputs, tuple(trace.steps), output, self.tags)

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
        """Call the function with references and return what it wrote down."""
        __tracebackhide__ = True
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
            return trace, lift(result, trace)
        except Exception as error:
            error.add_note(f"while workflow '{self.name}' was written down, before anything was started")
            if trace.problems:
                found = "\n".join(f"  - {problem}" for problem in trace.problems)
                error.add_note(f"problems found until then:\n{found}")
            raise
        finally:
            CURRENT_TRACE.reset(token)

    def _inline(self, outer: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """Take this workflow into the one that is being written down."""
        callers = [caller.function for caller in outer.callers]
        if self.function in callers:
            path = " → ".join(f"'{caller.name}'" for caller in outer.callers[callers.index(self.function) :])
            problem = Problem(
                f"it calls itself ({path} → '{self.name}'), which would never end",
                cure="Use wf.loop to repeat steps, or do the recursion inside a node",
            )
            raise DefinitionError(self.name, (problem,))
        if self.run_options != RunOptions():
            outer.complain(
                f"workflow '{self.name}' is called with run options inside a workflow, where it is no run of its own",
                "Leave options() out, or give them to the outer workflow",
            )
        return outer.inline(self.name, self.ports, args, kwargs, lambda: self._write(outer.callers))

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
        return f"<workflow '{self.name}{inspect.signature(self.function)}'>"


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
    """What a workflow is called."""

    name: str
    version: str
    tags: Sequence[str]


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
        options: `name` (else the function's), `version` and `tags`.

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
    owner = f"workflow '{default}'"
    for option, value in options.items():
        known = WorkflowOptions.__annotations__
        if option not in known:
            raise ConfigurationError(f"{owner} has no option '{option}'. {did_you_mean(option, known)}")
        if option == "tags":
            if isinstance(value, str) or not all(isinstance(tag, str) for tag in value):
                raise ConfigurationError(f"option 'tags' of {owner} cannot be {value!r}: give a list of texts")
        elif not isinstance(value, str) or (option == "name" and id_from(value) == "step" != value):
            raise ConfigurationError(f"option '{option}' of {owner} cannot be {value!r}: give a text")
    return Workflow(name, function, version=options.get("version", ""), tags=options.get("tags", ()))
