"""`Node`, the reusable unit of work, and what it is given while it runs. Imports most of model.

A node's life on a worker, for one attempt of one task:
`validate_input` → `prepare` → `execute` → `validate_output` → `cleanup` (always, also after an error).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, ValidationError

from wfnb.model.context import Context as Context
from wfnb.model.context import ProgressSink as ProgressSink
from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.model.lifecycle import NodeCall
from wfnb.model.policy import POLICY_OPTIONS, Backoff, ErrorKind, Policy, PriorityName, policy_with
from wfnb.model.ports import Ports
from wfnb.model.types import is_listlike

StepKind: TypeAlias = Literal["task", "map", "expand", "each", "source", "plan"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a node can do.

    Args:
        asynchronous: `execute` is a coroutine function.
        streaming: it yields values one by one.
        batchable: many of its tasks may share a bundle.
        cacheable: its value depends on its inputs and code alone.
    """

    asynchronous: bool = False
    streaming: bool = False
    batchable: bool = True
    cacheable: bool = True


@dataclass(frozen=True, slots=True)
class Port:
    """A named input or output of a node.

    Args:
        name: the port's name; the parameter's name for an input.
        annotation: its type, or `typing.Any`.
        required: whether an input must be given.
    """

    name: str
    annotation: Any = Any
    required: bool = True


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node is called and how it is described.

    Args:
        name: its name, unique among the nodes of a workflow's author.
        version: its version; part of its fingerprint.
        description: the first line of its docstring.
        tags: free labels.
    """

    name: str
    version: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()


class Tracer(Protocol):
    """What turns calls of nodes into steps while a workflow is written down."""

    def add(self, node: Node, kind: StepKind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a step of a call and return the reference to its value."""


CURRENT_TRACE: ContextVar[Tracer | None] = ContextVar("wfnb_trace", default=None)
"""The tracing that is going on in this thread; authoring sets it, so that model need not know authoring."""


class PolicyOptions(TypedDict, total=False):
    """How the tasks of a node are run, as a person writes it; see `Policy`."""

    retries: int
    backoff: Backoff
    retry_on: ErrorKind | Sequence[ErrorKind]
    timeout: float | timedelta | None
    cache: bool
    checkpoint: bool
    resources: Mapping[str, float]
    priority: PriorityName | int
    validate: bool


class NodeOptions(PolicyOptions, total=False):
    """What a node is called and how its tasks are run."""

    name: str
    version: str
    tags: Sequence[str]


class StepOptions(NodeOptions, total=False):
    """A node's options and what concerns one step."""

    id: str
    when: Any
    continue_on_error: bool


_NOT_IN_IDS = re.compile(r"[\s/\[\]{}.\"'`]+")
_HOOKS = ("validate_input", "prepare", "validate_output", "cleanup")


def is_step_id(text: object) -> bool:
    """Return whether a text may be a step's id: not empty, and without what addresses are made with."""
    return isinstance(text, str) and text != "" and _NOT_IN_IDS.search(text) is None


@lru_cache(maxsize=1024)
def id_from(name: str) -> str:
    """Return a node's name as a step's id."""
    return _NOT_IN_IDS.sub("_", name.replace("<lambda>", "lambda")).strip("_") or "step"


class Node:
    """The base of every node: subclass it, or let `wf.node` make one from a function.

    A subclass says what it does in `execute` (plain or ``async``), whose parameters are its input ports and whose
    return annotation is its output port. Settings fixed when the workflow is written go into an inner pydantic
    class `Params`; give them as keyword arguments when the node is made::

        class Scale(wf.Node):
            class Params(wf.Params):
                factor: float = 2.0

            def execute(self, x: float) -> float:
                return x * self.params.factor

        double = Scale(factor=2.0)

    Attributes:
        params: the validated settings.
        info: name, version, description and tags.
        policy: how its tasks are run.
        step_id: the id its step is to have, or "" to have one made from its name.
        hooks: which steps of the life cycle the class defines itself.
    """

    class Params(BaseModel):
        """The settings of a node; unknown ones are refused."""

        model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    capabilities: ClassVar[Capabilities] = Capabilities()
    policy: Policy = Policy()
    version: ClassVar[str] = ""
    tags: ClassVar[tuple[str, ...]] = ()
    hooks: frozenset[str] = frozenset()
    step_id: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.hooks = frozenset(name for name in _HOOKS if getattr(cls, name) is not getattr(Node, name))

    def __init__(self, **params: Any) -> None:
        self.params: Any = _settings(type(self), params)
        doc = inspect.getdoc(type(self)) if type(self).__doc__ else ""
        self.info = NodeInfo(
            name=type(self).__name__,
            version=type(self).version,
            description=(doc or "").partition("\n")[0],
            tags=tuple(type(self).tags),
        )

    # -- ports ---------------------------------------------------------------------------------------------------

    @property
    def body(self) -> Any:
        """The callable whose signature gives the ports: `execute`, or the wrapped function."""
        return self.execute

    @cached_property
    def ports(self) -> Ports:
        """What the node takes and returns."""
        return Ports(self.body, self.__dict__.get("_resolved"))

    @property
    def title(self) -> str:
        """The node's name, for messages."""
        return self.info.name

    @property
    def checks(self) -> bool:
        """Whether values are checked against annotations at run time."""
        return self.policy.validate

    @cached_property
    def node_call(self) -> NodeCall:
        """The node made ready to be called with arguments and a context."""
        return NodeCall(self)

    # -- use -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make a step inside a workflow; anywhere else run the whole life cycle here and return the value."""
        trace = CURRENT_TRACE.get()
        if trace is not None:
            return trace.add(self, "task", args, kwargs)
        return self._directly(args, kwargs)

    def map(self, *iterables: Any, **constants: Any) -> Any:
        """Call the node once for each element: positional arguments are iterated together, keyword ones are constant.

        Args:
            iterables: as many as the node takes by position; all of one length.
            constants: given to every call.

        Returns:
            The list of values, in order.

        Raises:
            ValueError: there is nothing to iterate over, or the lengths differ.
        """
        trace = CURRENT_TRACE.get()
        if trace is not None:
            return trace.add(self, "map", iterables, constants)
        columns = [_elements(one, self.title) for one in iterables]
        lengths = [len(column) for column in columns]
        if not columns:
            raise ValueError(f"'{self.title}.map' has nothing to iterate over: pass lists by position")
        if len(set(lengths)) > 1:
            names = [*self.ports.positional, *(f"argument {n + 1}" for n in range(len(columns)))]
            text = ", ".join(f"'{name}' has {n}" for name, n in zip(names, lengths, strict=False))
            raise ValueError(f"'{self.title}.map' needs lists of one length: {text}")
        return [self._directly(row, constants) for row in zip(*columns, strict=True)]

    def expand(self, **arguments: Any) -> Any:
        """Call the node for every combination: lists are expanded, the last one fastest; the rest is constant.

        A list for a parameter that is itself annotated as one is a constant.

        Args:
            arguments: lists and constants, by parameter.

        Returns:
            The list of values, in order.

        Raises:
            ValueError: no argument is a list.
        """
        trace = CURRENT_TRACE.get()
        if trace is not None:
            return trace.add(self, "expand", (), arguments)
        lists = {
            name: value
            for name, value in arguments.items()
            if isinstance(value, (list, tuple, range)) and not is_listlike(self.ports.annotations.get(name))
        }
        if not lists:
            raise ValueError(f"'{self.title}.expand' has nothing to expand: pass a list for at least one parameter")
        return [
            self._directly((), {**arguments, **dict(zip(lists, row, strict=True))}) for row in product(*lists.values())
        ]

    def _directly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.node_call(args, kwargs, Context())

    def options(self, **changes: Unpack[StepOptions]) -> Self:
        """Return the node with other options; the node itself stays as it is.

        Args:
            changes: any option of `wf.node`, and `id` for the id of the step it makes.

        Raises:
            ConfigurationError: an option is unknown or its value will not do.
        """
        return self._with_options(changes)

    def _with_options(self, changes: Mapping[str, Any]) -> Self:
        owner = f"node '{self.title}'"
        info, policy, step_id = self.info, {}, self.step_id
        of_step: dict[str, Any] = {}
        for name, value in changes.items():
            if name in POLICY_OPTIONS:
                policy[name] = value
            elif name == "id":
                if not is_step_id(value):
                    raise ConfigurationError(
                        f"option 'id' of {owner} cannot be {value!r}: give a text without spaces, quotes or /.[]{{}}"
                    )
                step_id = value
            elif name in ("name", "version"):
                if not isinstance(value, str) or (name == "name" and not value):
                    raise ConfigurationError(f"option '{name}' of {owner} cannot be {value!r}: give a text")
                info = replace(info, name=value) if name == "name" else replace(info, version=value)
            elif name == "tags":
                if isinstance(value, str) or not all(isinstance(tag, str) for tag in value):
                    raise ConfigurationError(f"option 'tags' of {owner} cannot be {value!r}: give a list of texts")
                info = replace(info, tags=tuple(value))
            elif name in ("when", "continue_on_error"):
                of_step[name] = value
            else:
                cure = did_you_mean(name, sorted({*POLICY_OPTIONS, *StepOptions.__annotations__}))
                raise ConfigurationError(f"{owner} has no option '{name}'. {cure}")
        changed = self.fresh()
        changed.__dict__.pop("node_call", None)
        changed.info, changed.step_id = info, step_id
        changed.policy = policy_with(self.policy, policy, owner=owner)
        for name, value in of_step.items():
            if value is None:
                changed.__dict__.pop("step_" + name, None)
            elif name == "continue_on_error" and not isinstance(value, bool):
                raise ConfigurationError(f"option '{name}' of {owner} cannot be {value!r}: give True or False")
            else:
                changed.__dict__["step_" + name] = value  # as references they never leave: the trace takes them off
        return changed

    def fresh(self) -> Self:
        """Return a shallow copy, as each attempt gets one."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("node_call", "ports")}
        if self.ports.in_strings:  # a worker lacks the names that an annotation in quotes speaks of
            state["_resolved"] = self.ports.resolved
        return state

    def __repr__(self) -> str:
        return f"<node '{self.title}'>"

    # -- life cycle, in order ------------------------------------------------------------------------------------

    def validate_input(self, inputs: Mapping[str, Any]) -> None:
        """Raise when the inputs (by parameter name) will not do; the default accepts all."""

    def prepare(self, context: Context) -> None:
        """Get ready for one attempt: open what `execute` needs."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Do the work and return the value; may be ``async``."""
        raise TypeError(f"node '{type(self).__name__}' has no execute(): define it in the class")

    def validate_output(self, value: Any) -> None:
        """Raise when the value will not do; the default accepts all."""

    def cleanup(self) -> None:
        """Close what `prepare` opened; runs after success and failure alike, and when the task is cancelled.

        It is not called where the worker process had to be ended, because the task held on to the interpreter or did
        not stop. What must happen then too belongs in the `finally` of a `wf.attempt`, which is run elsewhere.
        """

    def estimate_resources(self, inputs: Mapping[str, Any]) -> Mapping[str, float]:  # noqa: ARG002
        """Return what one task needs of a worker beyond its policy's resources, such as ``{"GPU": 1}``."""
        return {}


def _settings(cls: type[Node], given: dict[str, Any]) -> BaseModel:
    """Return a node's settings; raises ConfigurationError naming each that will not do."""
    try:
        return cls.Params(**given)
    except ValidationError as error:
        known = list(cls.Params.model_fields)
        found = []
        for one in error.errors(include_url=False):
            name = ".".join(str(part) for part in one["loc"])
            unknown = one["type"] == "extra_forbidden"
            found.append(f"'{name}' is unknown. {did_you_mean(name, known)}" if unknown else f"'{name}': {one['msg']}")
        raise ConfigurationError(f"node '{cls.__name__}' cannot be made like this: {'; '.join(found)}") from error


def _elements(iterable: Any, node: str) -> Sequence[Any]:
    if isinstance(iterable, (str, bytes)):
        raise TypeError(f"'{node}.map' is given the text {iterable!r} to iterate over: pass a list, or it by keyword")
    if not isinstance(iterable, Iterable):
        raise TypeError(f"'{node}.map' cannot iterate over {iterable!r}: pass a list, or it by keyword")
    return list(iterable)


Params = Node.Params
"""The base of a node's own `Params`: unknown settings are refused."""
