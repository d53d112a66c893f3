"""The classes of notebooks and local modules: which one a name means, however often its cell was run. Imports nothing.

Such a class travels by value, so each running of its cell, each kernel and each worker makes another one of the same
name. People mean one class. So what goes out is of the class as it is now, and what comes in is of the class that the
code here has under that name, with the attributes it was stored with.
"""

from __future__ import annotations

import enum
import functools
import io
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Classes: TypeAlias = Mapping[tuple[str, str], type]
"""Classes by module and name."""

_BY_NAME = __name__.encode()
_BY_VALUE = ("_make_skeleton_class", "_make_skeleton_enum")


def today(cls: type) -> type:
    """Return the class that the name of a class means now in its module; the class itself where it means nothing."""
    if cls.__qualname__ != cls.__name__:
        return cls  # one made inside a function has no name to be found by
    found = _named(cls.__module__, cls.__name__)
    # A class that was extended under its own name is still the base of the new one.
    return found if found is not None and cls not in found.__mro__ else cls


def _named(module: str, name: str) -> type | None:
    # Not by getattr: a module may do anything when it is asked for a name it does not have yet.
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if isinstance(found, type) and (found.__module__, found.__qualname__) == (module, name):
        return found
    return None


# -- in pickles --------------------------------------------------------------------------------------------------------


def same(cls: type) -> type:
    """Return the class; in a pickle: what was a class that is not to be told from this one."""
    return cls


def made(make: Callable[..., type], *args: Any) -> type:
    """Return a class as cloudpickle makes it; in a pickle: one that its module has under its name."""
    return make(*args)


def reduced(cls: type, reduction: Any, classes: Classes | None = None) -> Any:
    """Return how a class is pickled, with what says that its name is enough to know it.

    Args:
        cls: the class.
        reduction: how cloudpickle does it.
        classes: the classes that came with the code; on a worker no module has them.
    """
    key = (cls.__module__, cls.__name__)
    if not isinstance(reduction, tuple) or getattr(reduction[0], "__name__", "") not in _BY_VALUE:
        return reduction  # by its name; or a class such as that of None, which is told in another way
    if cls not in (_named(*key), (classes or {}).get(key)):
        return reduction
    make, args, *rest = reduction
    return made, (make, *args), *rest


def loads(data: Any, buffers: Iterable[Any] = (), classes: Classes | None = None) -> Any:
    """Load a pickle that is known to be ours.

    Args:
        data: the pickle.
        buffers: its buffers.
        classes: what classes that come by value are taken to be; those of this process's modules when None.
    """
    if re.search(_BY_NAME, data) is None:
        return pickle.loads(data, buffers=buffers)  # noqa: S301  whoever calls has checked its signature
    return _Unpickler(io.BytesIO(data), buffers, classes).load()


def loads_code(data: bytes) -> tuple[Any, dict[tuple[str, str], type]]:
    """Load packed code that is known to be ours; return it with the classes that came with it, by module and name."""
    unpickler = _Unpickler(io.BytesIO(data), (), {})
    return unpickler.load(), unpickler.made


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Iterable[Any], classes: Classes | None) -> None:
        super().__init__(file, buffers=buffers)
        self._classes = classes
        self._known: set[type] = set()
        self.made: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if found is made:
            return self._class
        if name == "_class_setstate" and module.startswith("cloudpickle"):
            return functools.partial(self._fill, found)
        return found

    def _class(self, make: Callable[..., type], *args: Any) -> type:
        # An enumeration's are others: its bases, name, qualified name, members, module.
        listed = not isinstance(args[0], type)
        name, module = str(args[1]), str(args[4] if listed else args[3].get("__module__", ""))
        known = _named(module, name) if self._classes is None else self._classes.get((module, name))
        if known is not None and isinstance(known, enum.EnumMeta) == listed:
            self._known.add(known)
            return known
        self.made[module, name] = make(*args)
        return self.made[module, name]

    def _fill(self, fill: Callable[[type, Any], Any], cls: type, state: Any) -> None:
        if cls not in self._known:
            fill(cls, state)
