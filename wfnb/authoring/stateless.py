"""Whether code that came to a worker leaves nothing behind for its next call. Imports constants, node and steady.

What a function of a notebook reaches travels with it: a global list, a generator of random numbers, a class. Each run
is to begin with these as they were sent, so code that reaches any is loaded anew for each; other code need not be.
"""

from __future__ import annotations

import builtins
import dis
import sys
import types
from typing import Any

from wfnb.authoring.node import FunctionNode
from wfnb.authoring.steady import LASTING
from wfnb.model.constants import lasts
from wfnb.model.node import Node


def leaves_nothing(node: Node) -> bool:
    """Return whether all that a node's code reaches stays as it is, or belongs to the worker's own modules."""
    if not isinstance(node, FunctionNode):
        return type(node).__module__.startswith("wfnb.")
    todo: list[Any] = [node.function]
    seen: set[int] = set()
    while todo:
        thing = todo.pop()
        if id(thing) in seen or lasts(thing) or _is_of_a_module(thing):
            continue
        seen.add(id(thing))
        if isinstance(thing, FunctionNode):
            todo.append(thing.function)
        elif type(thing) is tuple:
            todo += thing
        elif type(thing) is types.FunctionType and not _rebinds(thing.__code__, frozenset(thing.__code__.co_freevars)):
            todo += (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *vars(thing).values())
            todo += [getattr(cell, "cell_contents", None) for cell in thing.__closure__ or ()]
            todo += [thing.__globals__[name] for name in _names(thing.__code__) if name in thing.__globals__]
        else:
            return False
    return True


def _is_of_a_module(thing: Any) -> bool:
    """Whether a thing is found by name in a module of this process, or is one: it came by its name alone."""
    if isinstance(thing, types.ModuleType):
        return sys.modules.get(thing.__name__) is thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", getattr(thing, "__name__", None))
    if module is None and isinstance(thing, types.BuiltinFunctionType):
        return True
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is thing or thing is getattr(builtins, name, builtins)


def _rebinds(code: types.CodeType, around: frozenset[str]) -> bool:
    """Whether code sets what outlives its call: globals, attributes, variables around it."""
    for one in dis.get_instructions(code):
        if one.opname in LASTING - {"IMPORT_NAME"} or (one.opname == "STORE_DEREF" and one.argval in around):
            return True
    return any(_rebinds(part, around) for part in code.co_consts if isinstance(part, types.CodeType))


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= _names(part)
    return names
