"""Owns the sizes of what nodes capture: what is too big to travel with code is named. Imports capture and model.

Code travels to each worker once a run; a table that a function reads as a global would travel with it every time, and
be kept with every run. As an input it is stored once, and loaded where it is used.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wfnb.authoring.capture import all_of, assigned_at, pack_code, place, size_of, targets_of, type_name
from wfnb.authoring.usercode import Kind, Variable, is_user_object, variables
from wfnb.model.errors import CaptureError, ConfigurationError
from wfnb.model.node import Node

LIMIT = "WFNB_CAPTURE_LIMIT"
"""The environment variable that says how many MB a captured variable may have."""
MEGABYTES = 10.0
"""How many it may have by default."""


def pack_within(obj: Any, nodes: Any) -> bytes:
    """Return nodes as bytes that any worker can load; see `pack_code`.

    Args:
        obj: what is packed.
        nodes: the nodes in it.

    Raises:
        CaptureError: something the code captures cannot travel, or is too big; names them all.
    """
    __tracebackhide__ = True
    limit = _limit()
    try:
        packed = pack_code(obj)
    except CaptureError as error:
        large = captured_sizes(nodes, over=limit)
        if not large:
            raise
        raise all_of([error, *(_refusal(one, limit) for one in large)]) from error
    if len(packed) > limit:
        large = captured_sizes(nodes, over=limit)
        if large:
            raise all_of([_refusal(one, limit) for one in large])
    return packed


def _limit() -> int:
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text or MEGABYTES)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise ConfigurationError(f"{LIMIT} is {text!r}: give a number of megabytes, such as {LIMIT}=50")
    return int(min(limit * 1e6, 2**62))


def _refusal(one: CapturedSize, limit: int) -> CaptureError:
    text = f"{one}, or load it inside the node. The limit is {limit / 1e6:g} MB ({LIMIT})"
    return CaptureError(text, node=one.node, variable=one.variable)


@dataclass(frozen=True, slots=True)
class CapturedSize:
    """A big variable that travels with a node's code.

    Args:
        node: the node's name.
        variable: the variable's name.
        kind: "global", "closure", "default" or "attribute".
        type: the name of its type.
        size: its bytes on the way.
        where: the function that captures it and its place, and where the variable was defined.
    """

    node: str
    variable: str
    kind: Kind
    type: str
    size: int
    where: str

    def __str__(self) -> str:
        kind = "closed-over variable" if self.kind == "closure" else self.kind
        return (
            f"node '{self.node}' captures the {kind} '{self.variable}' ({self.type}, {self.size / 1e6:,.0f} MB), which "
            f"travels with the code of {self.where}: pass it as an input, so that it travels once"
        )


def captured_sizes(nodes: Any, *, over: int = int(MEGABYTES * 1e6)) -> tuple[CapturedSize, ...]:
    """Return the variables over a size that nodes capture, biggest first; worth asking when the packed code is big.

    Args:
        nodes: a node, a function, or a container of them.
        over: the size in bytes from which a variable is listed.
    """
    found: dict[int, CapturedSize] = {}
    for name, target in targets_of(nodes):
        for function, variable in _reached(target, set()):
            if id(variable.value) in found:
                continue
            size = size_of(variable.value)
            if size >= over:
                code = function.__code__
                where = f"'{function.__qualname__}' in {place(code.co_filename, code.co_firstlineno)}"
                defined = assigned_at(variable.name, function.__globals__) if variable.kind == "global" else ""
                where += f" (defined in {defined})" if defined else ""
                found[id(variable.value)] = CapturedSize(
                    name, variable.name, variable.kind, type_name(variable.value), size, where
                )
    return tuple(sorted(found.values(), key=lambda item: -item.size))


_SMALL = (int, float, complex, bool, type(None), types.BuiltinFunctionType)


def _reached(value: Any, seen: set[int]) -> Iterator[tuple[types.FunctionType, Variable]]:
    """Yield every data variable that a node's functions capture, through the user's helpers."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        if not is_user_object(value):
            return
        for variable in variables(value):
            inner = variable.value
            if isinstance(inner, (types.FunctionType, type, Node)) or hasattr(inner, "__wrapped__"):
                yield from _reached(inner, seen)
            elif not isinstance(inner, (*_SMALL, types.ModuleType)):
                yield value, variable
    elif isinstance(value, type):
        if is_user_object(value):
            for item in vars(value).values():
                yield from _reached(getattr(item, "__func__", item), seen)
    elif isinstance(value, Node) and not hasattr(value, "__wrapped__"):
        yield from _reached(type(value), seen)
        for name, item in vars(value.params).items():
            function = getattr(type(value).execute, "__func__", type(value).execute)
            if isinstance(function, types.FunctionType):
                yield function, Variable("attribute", name, item)
    elif hasattr(value, "__wrapped__"):
        yield from _reached(value.__wrapped__, seen)
