"""Whether calling a function again comes to the same: what it reaches is looked at instead. Imports model only.

A workflow's function is called for every run, to write its steps down. Where it reaches nothing but nodes, workflows,
plain constants, wfnb's constructs and builtins that always do the same, and all of these are the very same objects as
before, so are its steps. Anything else that it reaches (a module, a list, an object of the user's) may differ each
time: nothing is said of such a function.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wfnb.model.node import Node

_SCALARS = (str, int, float, bool, bytes, type(None))
_BUILTINS = frozenset(
    "abs all any bool bytes dict divmod enumerate filter float frozenset int isinstance len list map max min range "  # noqa: SIM905
    "reversed round set slice sorted str sum tuple zip".split()
)
_CONSTRUCTS = frozenset(["attempt", "dynamic", "each", "loop", "parallel", "sequential", "stream", "switch"])
_ATTRIBUTES = _CONSTRUCTS | frozenset(
    # What is asked of nodes, lists, dicts and texts, and changes none that outlives the call.
    "map expand options append extend insert items keys values get pop join format split strip lower upper "  # noqa: SIM905
    "replace startswith endswith copy index count add update".split()
)
LASTING = frozenset({"IMPORT_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR", "LOAD_BUILD_CLASS"})
"""Instructions that do something that outlives a call."""
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Reached:
    """A name that a function uses, and what it stood for."""

    look: Callable[[], Any]
    thing: Any

    def is_there(self) -> bool:
        return self.look() is self.thing


class _Open(Exception):
    """What a function does may differ each time."""


class Composition:
    """What never changes, and calls functions when it is used: a workflow."""

    def functions(self) -> tuple[Any, ...]:
        """Return what is called when it is written down."""
        raise NotImplementedError


class Steady:
    """Remembers what the last call of a function came to, for as long as it is sure to be the same."""

    def __init__(self) -> None:
        self._known: tuple[Any, list[_Reached], Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Steady, ()  # what it remembers is of this process

    def recall(self, key: Any) -> Any:
        """Return what was remembered with an equal key, or None."""
        known = self._known
        if known is None or known[0] != key or not all(one.is_there() for one in known[1]):
            return None
        return known[2]

    def remember(self, function: Any, key: Any, value: Any) -> None:
        """Remember what a call came to, unless the next may come to something else."""
        found: list[_Reached] = []
        with contextlib.suppress(_Open):
            self._reach(function, found, set(), outermost=True)
            self._known = key, found, value

    def _reach(self, function: Any, found: list[_Reached], seen: set[int], *, outermost: bool = False) -> None:
        """List what a function reaches when it is called; the outermost one is given all of its arguments."""
        if isinstance(function, Composition):
            raise _Open  # one that is built of steps: what it is made of is its own
        if id(function) in seen:
            return
        seen.add(id(function))
        if type(function) is not types.FunctionType:
            raise _Open
        code = function.__code__
        found.append(_Reached(lambda: function.__code__, code))
        found.append(_Reached(lambda: function.__defaults__, function.__defaults__))
        found.append(_Reached(lambda: function.__kwdefaults__, function.__kwdefaults__))
        if function.__kwdefaults__ and not outermost:
            raise _Open  # they can be changed in place
        for value in () if outermost else function.__defaults__ or ():
            self._take(value, found, seen)
        for cell in function.__closure__ or ():
            try:
                thing = cell.cell_contents
            except ValueError:
                raise _Open from None
            found.append(_Reached(_reader(cell), thing))
            self._take(thing, found, seen)
        space = function.__globals__
        for name, attribute in _names(code, frozenset(code.co_freevars)):
            thing = space.get(name, getattr(builtins, name, _NOTHING))
            found.append(_Reached(_lookup(space, name), thing))
            if name in _BUILTINS and thing is getattr(builtins, name):
                continue
            if thing is sys.modules.get("wfnb") and attribute in _CONSTRUCTS:
                continue
            self._take(thing, found, seen)

    def _take(self, thing: Any, found: list[_Reached], seen: set[int]) -> None:
        if type(thing) in _SCALARS or isinstance(thing, Node):
            return
        if type(thing) is tuple:
            for one in thing:
                self._take(one, found, seen)
            return
        for function in thing.functions() if isinstance(thing, Composition) else (thing,):
            self._reach(function, found, seen)
            if function is not thing:
                found.append(_Reached(_first_of(thing), function))


def _names(code: types.CodeType, around: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the globals that code uses, with the attribute that is asked of each at once, or "".

    Args:
        code: the code.
        around: the names of what is not its own: code that sets one does something that lasts.
    """
    before = ""
    for one in dis.get_instructions(code):
        if one.opname in LASTING or (one.opname == "STORE_DEREF" and one.argval in around):
            raise _Open
        if one.opname in ("LOAD_ATTR", "LOAD_METHOD") and one.argval not in _ATTRIBUTES:
            raise _Open  # of whatever it is, it may be another one the next time
        if before:
            yield before, one.argval if one.opname in ("LOAD_ATTR", "LOAD_METHOD") else ""
            before = ""
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            before = one.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant, around)


def _first_of(thing: Composition) -> Callable[[], Any]:
    return lambda: next(iter(thing.functions()), _NOTHING)


def _lookup(space: dict[str, Any], name: str) -> Callable[[], Any]:
    return lambda: space.get(name, getattr(builtins, name, _NOTHING))


def _reader(cell: types.CellType) -> Callable[[], Any]:
    return lambda: getattr(cell, "cell_contents", _NOTHING)
