"""`wf.node`, which makes a node of a function and keeps it a function. Imports model only."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from wfnb.authoring.options import check_step_option
from wfnb.authoring.registry import REGISTRY
from wfnb.model.context import Context
from wfnb.model.errors import ConfigurationError
from wfnb.model.node import CURRENT_TRACE, Node, NodeInfo, NodeOptions, StepOptions
from wfnb.model.types import plain_function

P = ParamSpec("P")
R = TypeVar("R")


class CallOptions(StepOptions, total=False):
    """A node's options, and what concerns one call of it in a workflow."""

    when: Any
    continue_on_error: bool


class FunctionNode(Node, Generic[P, R]):
    """A function as a node: inside a workflow a call is a step, anywhere else it is a call.

    Args:
        function: the function.

    Attributes:
        function: the function itself, to call without wfnb.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R]) -> None:
        super().__init__()
        plain = plain_function(function)
        name = str(getattr(function, "__name__", None) or getattr(plain, "__name__", None) or type(function).__name__)
        functools.update_wrapper(cast(Any, self), function, updated=())
        self.function = function
        doc = inspect.getdoc(plain) if getattr(plain, "__doc__", None) else ""
        self.info = NodeInfo(name="lambda" if name == "<lambda>" else name, description=(doc or "").partition("\n")[0])

    @property
    def body(self) -> Any:
        """The function."""
        return self.function

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return cast(Callable[..., Any], self.function)(*args, **kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a step inside a workflow; anywhere else call the function."""
        trace = CURRENT_TRACE.get()
        if trace is not None:
            return cast(R, trace.add(self, "task", args, kwargs))
        return cast(R, self._directly(args, kwargs))

    def map(self, *iterables: Any, **constants: Any) -> list[R]:
        """Call the node once for each element: positional arguments are iterated together, keyword ones are constant.

        Args:
            iterables: as many as the function takes by position; all of one length.
            constants: given to every call.

        Returns:
            The list of values, in order.

        Raises:
            ValueError: there is nothing to iterate over, or the lengths differ.
        """
        return cast(list[R], super().map(*iterables, **constants))

    def expand(self, **arguments: Any) -> list[R]:
        """Call the node for every combination: lists are expanded, the last one fastest; the rest is constant.

        A list for a parameter that is itself annotated as one is a constant.

        Args:
            arguments: lists and constants, by parameter.

        Returns:
            The list of values, in order.

        Raises:
            ValueError: no argument is a list.
        """
        return cast(list[R], super().expand(**arguments))

    def options(self, **changes: Unpack[CallOptions]) -> Self:
        """Return the node with other options; the node itself stays as it is.

        Args:
            changes: any option of `wf.node`; and for the step it makes `id`, `when` (a condition: when it is false the
                step is skipped and its value is None) and `continue_on_error` (whether a failure gives the value None).

        Raises:
            ConfigurationError: an option is unknown or its value will not do.
        """
        return self._with_options(changes)

    def _with_options(self, changes: Mapping[str, Any]) -> Self:
        for name in ("when", "continue_on_error"):
            if changes.get(name) is not None:
                check_step_option(name, changes[name], f"node '{self.title}'")
        return super()._with_options(changes)

    def _directly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = cast(Callable[..., Any], self.function)
        ports = self.ports
        if ports.context:
            given, named = ports.with_context(args, kwargs, Context())
            return function(*given, **named)
        return function(*args, **kwargs)

    def __repr__(self) -> str:
        try:
            return f"<node '{self.title}{inspect.signature(self.function)}'>"
        except (TypeError, ValueError):  # a built-in that does not tell
            return f"<node '{self.title}'>"


class NodeDecorator(Protocol):
    """`wf.node` with its options given, waiting for the function."""

    def __call__(self, function: Callable[P, R], /) -> FunctionNode[P, R]:
        """Make a node of the function."""


@overload
def node(function: Callable[P, R], /, **options: Unpack[NodeOptions]) -> FunctionNode[P, R]: ...
@overload
def node(**options: Unpack[NodeOptions]) -> NodeDecorator: ...
def node(function: Any = None, /, **options: Any) -> Any:
    """Make a node of a function, which stays a function: called outside a workflow it just runs.

    Use it bare (``@wf.node``) or with options (``@wf.node(retries=3)``). A parameter annotated `wf.Context` is filled
    in when the call does not bring one.

    Args:
        function: the function; plain or ``async``.
        options: any of

            * `retries`, `backoff`, `retry_on`: how often, after which wait and for which errors a failed task is
              tried again;
            * `timeout`: seconds (or a timedelta) one attempt may take;
            * `cache`: answer from the store when code and inputs are known;
            * `checkpoint`: whether the value is kept in the store;
            * `resources`: what a worker must offer, such as ``{"GPU": 1}``;
            * `priority`: "critical", "high", "normal", "low" or 1 to 20;
            * `validate`: whether values are checked against annotations at run time;
            * `name`, `version`, `tags`: what it is called; the version is part of its fingerprint.

    Returns:
        The node, or a decorator when only options are given.

    Raises:
        ConfigurationError: an option is unknown or its value will not do.
    """
    if function is None:
        return lambda function: node(function, **options)
    if isinstance(function, Node):
        raise ConfigurationError(
            f"'{function.title}' is a node already: use '{function.title}.options(...)' to change it"
        )
    if isinstance(function, type) or not callable(function):
        raise ConfigurationError(f"wf.node makes a node of a function, and is given {function!r}: write it above a def")
    made = FunctionNode(function)
    made = made._with_options(options) if options else made
    REGISTRY.add_node(made)
    return made
