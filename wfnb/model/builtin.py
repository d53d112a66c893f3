"""The nodes that every workflow may use by name: log, delay, set, get, fail, stop, transform, batch, call.

Their names in definitions are their classes' in lower case; see `BUILTINS`. Imports node, lifecycle and caught;
jinja2 is loaded where an expression is evaluated.
"""

from __future__ import annotations

import logging
import math
import reprlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import reduce as folded
from types import SimpleNamespace
from typing import Any, ClassVar

from wfnb.model.caught import CaughtError, error_type
from wfnb.model.context import Context
from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.model.lifecycle import call_node
from wfnb.model.node import Capabilities, Node


class _Missing:
    """Stands for an argument that was not given, where None is a value like any other."""

    def __repr__(self) -> str:
        return "not given"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()

PIECE = 0.05
"""Seconds a delay sleeps at a time: as long it may take to notice that it is to stop."""

LEVELS = ("debug", "info", "warning", "error", "critical")


class BuiltIn(Node):
    """A node that is there without being made; it has no settings, and its name is its class's in lower case."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, name=type(self).__name__.lower())


# -- saying and waiting ----------------------------------------------------------------------------------------------


class Log(BuiltIn):
    """Write a message to the task's log.

    Args:
        message: what to write; anything.
        level: "debug", "info", "warning", "error" or "critical".

    Returns:
        The message, as it was given.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(cacheable=False)

    def execute(self, message: Any, level: str = "info", *, ctx: Context) -> Any:
        """Log the message; raises ValueError for an unknown level."""
        name = level.lower()
        if name not in LEVELS:
            raise ValueError(f"node 'log' has no level '{level}'. {did_you_mean(name, LEVELS)}")
        ctx.log.log(logging.getLevelNamesMapping()[name.upper()], "%s", message)
        return message


class Delay(BuiltIn):
    """Wait for some time.

    Args:
        milliseconds: how long.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(cacheable=False)

    def execute(self, milliseconds: float) -> None:
        """Sleep, in pieces, so that a cancel or a timeout is noticed; raises ValueError for less than nothing."""
        if not (math.isfinite(milliseconds) and milliseconds >= 0):
            raise ValueError(f"node 'delay' cannot wait for {milliseconds!r} ms: give a number, 0 or more")
        end = time.monotonic() + milliseconds / 1000
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, PIECE))


# -- variables -------------------------------------------------------------------------------------------------------


def variable_name(name: object) -> str:
    """Return the name of a variable; raises ConfigurationError when it cannot be one."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigurationError(
            f"a variable cannot be called {name!r}: give a name of letters, digits and _ that does not begin with a "
            "digit, so that templates can say 'var.name'"
        )
    return name


class Set(BuiltIn):
    """Set a variable, which templates after it read as ``var.name``.

    Args:
        name: the variable's name: a text that is known when the workflow is written.
        value: its value.

    Returns:
        The value.
    """

    def execute(self, name: str, value: Any) -> Any:
        """Return the value; raises ConfigurationError when the name cannot be a variable's."""
        variable_name(name)
        return value


class Get(BuiltIn):
    """Read a variable.

    Args:
        name: the variable's name.
        default: the value when it was not set on the way that was taken.

    Returns:
        The variable's value.
    """

    # A run never calls it: the step is made one that is given the variable's value.
    def execute(self, name: str, default: Any = None, value: Any = MISSING) -> Any:
        """Return the value it is given, or the default."""
        variable_name(name)
        return default if value is MISSING else value


# -- ending ----------------------------------------------------------------------------------------------------------


class Fail(BuiltIn):
    """Fail with an error, or with the one that was caught.

    Args:
        message: what went wrong.
        type: the error's type: one of Python's, such as "ValueError", or any name.
        error: the `error` of a catch, to fail with its type, and its message unless another is given.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(cacheable=False)

    def execute(
        self,
        message: str = "",
        type: str = "RuntimeError",  # noqa: A002  as definitions call it
        error: CaughtError | None = None,
    ) -> None:
        """Raise the error."""
        if error is not None:
            raise error_type(error.type)(message or error.message)
        raise error_type(type)(message)


class Stop(BuiltIn):
    """End the run as completed, with a value; what runs is cancelled.

    Args:
        value: the run's value.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(cacheable=False)

    def execute(self, value: Any = None) -> Any:
        """Return the value; the engine ends the run."""
        return value


# -- lists -----------------------------------------------------------------------------------------------------------


class Transform(BuiltIn):
    """Filter, change, sort and fold a list by expressions such as "item.price * 2".

    Expressions are written without braces, because what is in braces is filled in before the node is called. They may
    use `item`, `index` (its place in the list as it then is, from 0), `acc` in `reduce`, and the `names` given. Of
    several, `filter` comes first, then `map`, `sort` and `reduce`.

    Args:
        items: the list.
        map: gives each item's new value.
        filter: keeps the items for which it is true.
        sort: gives what the items are sorted by; equal ones stay in order.
        reverse: sorts from the greatest to the least.
        reduce: gives the new `acc` for each item, from the `acc` before it.
        initial: the first `acc`; without it the first item is.
        names: values that the expressions may use, by name.

    Returns:
        The list, or with `reduce` the last `acc`.
    """

    def execute(
        self,
        items: Any,
        map: str | None = None,  # noqa: A002  as definitions call it
        filter: str | None = None,  # noqa: A002
        sort: str | None = None,
        reverse: bool = False,
        reduce: str | None = None,
        initial: Any = MISSING,
        names: dict[str, Any] | None = None,
    ) -> Any:
        """Apply the expressions; raises ValueError when none is given, or one that needs another without it."""
        if map is None and filter is None and sort is None and reduce is None:
            raise ValueError("node 'transform' is given nothing to do: give 'filter', 'map', 'sort' or 'reduce'")
        if reverse and sort is None:
            raise ValueError("node 'transform' is given 'reverse' without 'sort': give sort=\"item\" too")
        if initial is not MISSING and reduce is None:
            raise ValueError("node 'transform' is given 'initial' without 'reduce': give 'reduce' too")
        found, known = _listed("transform", items), names or {}
        if filter is not None:
            keep = _expression(filter, known)
            found = [item for index, item in enumerate(found) if keep(item=item, index=index)]
        if map is not None:
            change = _expression(map, known)
            found = [change(item=item, index=index) for index, item in enumerate(found)]
        if sort is not None:
            rank = _expression(sort, known)
            ranks = [rank(item=item, index=index) for index, item in enumerate(found)]
            found = [found[place] for place in sorted(range(len(found)), key=ranks.__getitem__, reverse=reverse)]
        if reduce is None:
            return found
        fold, numbered = _expression(reduce, known), list(enumerate(found))
        if initial is MISSING:
            if not found:
                raise ValueError("node 'transform' cannot reduce an empty list: give 'initial'")
            initial, numbered = found[0], numbered[1:]
        return folded(lambda acc, pair: fold(acc=acc, index=pair[0], item=pair[1]), numbered, initial)


def _expression(text: str, known: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what evaluates an expression with names."""
    from wfnb.model.sandbox import evaluate_text  # jinja2 is loaded where templates are used, not before

    bare = text.strip()
    source = bare if bare.startswith("{{") and bare.endswith("}}") else "{{ " + bare + " }}"
    return lambda **local: evaluate_text(source, {**known, **local})


def _listed(node: str, items: Any) -> list[Any]:
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise TypeError(f"node '{node}' needs a list as 'items', and is given {reprlib.repr(items)}")
    return list(items)


# -- other nodes -----------------------------------------------------------------------------------------------------


class Batch(BuiltIn):
    """Run a list through a node, so many items at a time.

    Args:
        items: the list.
        size: how many items the node is called with.
        node: the node, or the name of a registered one; its first parameter gets the items of the batch.
        params: its other arguments, by name.

    Returns:
        Its values in one list: lists joined, anything else as one item a batch.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(cacheable=False)

    def execute(
        self, items: Any, size: int, node: Any, params: dict[str, Any] | None = None, *, ctx: Context
    ) -> list[Any]:
        """Call the node batch by batch; raises ValueError when the size is not 1 or more."""
        if isinstance(size, bool) or size < 1:
            raise ValueError(f"node 'batch' cannot take {size!r} items at a time: give a whole number, 1 or more")
        found, (called, arguments) = _listed("batch", items), prepared(node, params)
        values: list[Any] = []
        for start in range(0, len(found), size):
            value = call_node(called, (found[start : start + size],), arguments, ctx)
            values += value if isinstance(value, (list, tuple)) else [value]
            done = min(start + size, len(found))
            ctx.progress(done / len(found), f"{done} of {len(found)}")
        return values


class Call(BuiltIn):
    """Call a node by its name.

    Args:
        node: the name of a registered node, which may itself be a value; or a node.
        params: its arguments, by name.

    Returns:
        Its value.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(cacheable=False)

    def execute(self, node: Any, params: dict[str, Any] | None = None, *, ctx: Context) -> Any:
        """Call the node."""
        called, arguments = prepared(node, params)
        return call_node(called, (), arguments, ctx)


# -- by name ---------------------------------------------------------------------------------------------------------

BUILTINS: dict[str, Node] = {
    one.info.name: one for one in (Log(), Delay(), Set(), Get(), Fail(), Stop(), Transform(), Batch(), Call())
}
"""The built-in nodes, by name."""

nodes: Any = SimpleNamespace(**BUILTINS)
"""The built-in nodes as attributes, for functions that are traced: ``wf.nodes.log("begun")``."""


def _builtin(name: str) -> Node:
    if name not in BUILTINS:
        raise ConfigurationError(f"no node is called '{name}'. {did_you_mean(name, BUILTINS)}")
    return BUILTINS[name]


_find: Callable[[str], Node | type[Node]] = _builtin


def find_nodes_with(finder: Callable[[str], Node | type[Node]]) -> None:
    """Have `call` and `batch` find nodes by a function; authoring does, so that model need not know authoring.

    Args:
        finder: returns the node, or class of nodes, of a name; raises ConfigurationError when there is none.
    """
    global _find
    _find = finder


def prepared(node: Any, params: Mapping[str, Any] | None = None) -> tuple[Node, dict[str, Any]]:
    """Return a node ready to be called, and its arguments.

    Args:
        node: a node, a class of nodes, or the name of either.
        params: arguments by name; for a class, those that are its settings are taken for making the node.

    Raises:
        ConfigurationError: no node has the name, or the settings will not do.
    """
    found = _find(node) if isinstance(node, str) else node
    arguments = dict(params or {})
    if isinstance(found, type) and issubclass(found, Node):
        fields = found.Params.model_fields
        found = found(**{name: arguments.pop(name) for name in list(arguments) if name in fields})
    if not isinstance(found, Node):
        raise ConfigurationError(f"{node!r} is no node: give a node, or the name of a registered one")
    return found, arguments
