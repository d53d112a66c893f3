"""What is wrong with a call while a workflow is written down: types of ports, lengths, places. Imports model only.

A check speaks up only when it is sure: what is not annotated, or cannot be understood, passes.
"""

from __future__ import annotations

import inspect
import numbers
import os
import sys
import sysconfig
import types
import typing
from collections import abc
from collections.abc import Mapping
from types import FrameType
from typing import Any

from wfnb.authoring.capture import place
from wfnb.model.expr import Const, Container, Expr
from wfnb.model.types import is_listlike, unwrap

# -- places ----------------------------------------------------------------------------------------------------------

_WFNB = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = tuple({sysconfig.get_path(key) + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")})
_whose: dict[str, str] = {}


def _owner_of(filename: str) -> str:
    """Return whose a source file is: "ours", "library" or "user"."""
    owner = _whose.get(filename)
    if owner is None:
        owner = "ours" if filename.startswith(_WFNB) else "library" if filename.startswith(_LIBRARIES) else "user"
        _whose[filename] = owner
    return owner


def where(known: dict[tuple[str, int], str] | None = None) -> str:
    """Return the place in the user's source that called wfnb: "cell In[3], line 4" or "flow.py, line 4".

    A library in between, such as numpy in ``np.mean(ref)``, is passed over, unless the workflow itself is in one.

    Args:
        known: what places are called by file name and line, as far as that was asked for while no cell was run.
    """
    frame: FrameType | None = sys._getframe(1)
    outside = None
    while frame is not None:
        owner = _owner_of(frame.f_code.co_filename)
        if owner == "user":
            at = frame.f_code.co_filename, frame.f_lineno
            if known is None:
                return place(*at)
            if at not in known:
                known[at] = place(*at)
            return known[at]
        if owner == "library":
            outside = outside or frame
        elif outside is not None:  # back in wfnb, which called the workflow's function
            break
        frame = frame.f_back
    return place(outside.f_code.co_filename, outside.f_lineno) if outside is not None else ""


# -- annotations -----------------------------------------------------------------------------------------------------

# A value annotated with the one may well be the other: the numeric tower, and what Python promotes.
_TOWER: tuple[tuple[type, type], ...] = (
    (int, numbers.Integral),
    (float, numbers.Real),
    (complex, numbers.Complex),
    (bytes, bytearray),
    (bytes, memoryview),
)
_SINGLE = (list, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Set, abc.Iterable, abc.Collection)


def compatible(given: Any, wanted: Any) -> bool:
    """Return whether a value with one annotation may go where another is wanted; True whenever it is not sure.

    >>> compatible(int, float), compatible(list[int], list[str]), compatible(int | None, int), compatible(dict, Any)
    (True, False, True, True)
    """
    try:
        return _compatible(given, wanted, 0)
    except Exception:  # noqa: BLE001 - what an annotation does when it is looked at is its author's
        return True


def _plain(annotation: Any) -> Any:
    while True:
        annotation = types.NoneType if annotation is None else unwrap(annotation)
        if typing.get_origin(annotation) is not typing.Annotated:
            return annotation
        annotation = typing.get_args(annotation)[0]


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives an annotation stands for."""
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return typing.get_args(annotation)
    if origin is typing.Literal:
        return tuple(type(value) for value in typing.get_args(annotation))
    return (annotation,)


def _compatible(given: Any, wanted: Any, depth: int) -> bool:
    if given is wanted or given is Any or wanted is Any or depth > 8:
        return True
    given, wanted = _plain(given), _plain(wanted)
    givens, wanteds = _members(given), _members(wanted)
    if len(givens) > 1 or len(wanteds) > 1 or givens[0] is not given or wanteds[0] is not wanted:
        return any(_compatible(one, other, depth + 1) for one in givens for other in wanteds)
    left, right = _class_of(given), _class_of(wanted)
    if left is None or right is None:
        return True
    if not _related(left, right):
        return False
    return _same_elements(given, wanted, depth)


def _class_of(annotation: Any) -> type | None:
    """Return the class whose instances an annotation means, or None when there is none to be sure of."""
    cls = typing.get_origin(annotation) or annotation
    if not isinstance(cls, type) or cls is object or getattr(cls, "_is_protocol", False):
        return None
    return dict if typing.is_typeddict(cls) else cls


def _related(left: type, right: type) -> bool:
    if issubclass(left, right) or issubclass(right, left):
        return True
    for one, other in _TOWER:
        for a, b in ((left, right), (right, left)):
            if issubclass(a, one) and (issubclass(b, other) or issubclass(other, b)):
                return True
    if inspect.isabstract(left) and inspect.isabstract(right):
        return True  # one value may well be both
    numeric = (int, float, complex)
    if issubclass(left, numeric) and issubclass(right, numeric):
        return True
    # numpy's bool is no subclass of Python's, and stands for it
    return {left.__name__, right.__name__} <= {"bool", "bool_"}


def _same_elements(given: Any, wanted: Any, depth: int) -> bool:
    left, right = typing.get_origin(given), typing.get_origin(wanted)
    ours, theirs = typing.get_args(given), typing.get_args(wanted)
    if not ours or not theirs:
        return True
    if left is tuple and right is tuple and ... not in ours and ... not in theirs:
        if any(
            isinstance(arg, typing.TypeVarTuple) or typing.get_origin(arg) is typing.Unpack for arg in ours + theirs
        ):
            return True
        return len(ours) == len(theirs) and all(_compatible(a, b, depth + 1) for a, b in zip(ours, theirs, strict=True))
    pairs = (dict, abc.Mapping, abc.MutableMapping)
    if left in pairs and right in pairs and len(ours) == len(theirs) == 2:
        return all(_compatible(a, b, depth + 1) for a, b in zip(ours, theirs, strict=True))
    one, other = element_of(given), element_of(wanted)
    return _compatible(one, other, depth + 1)


def element_of(annotation: Any) -> Any:
    """Return the annotation of what a list, set, sequence or ``tuple[X, ...]`` holds, or `typing.Any`."""
    annotation = _plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _SINGLE and len(args) == 1:
        return args[0]
    if origin is tuple and len(args) == 2 and args[1] is ...:
        return args[0]
    return Any


def yielded(annotation: Any) -> Any:
    """Return the annotation of what a generator yields, or `typing.Any`."""
    annotation = _plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    return args[0] if origin in (abc.Iterator, abc.Iterable, abc.Generator) and args else Any


def never_iterable(annotation: Any) -> bool:
    """Return whether a value with this annotation surely cannot be iterated over."""
    return _plain(annotation) in (int, float, complex, bool, types.NoneType)


def tuple_length(annotation: Any) -> int | None:
    """Return how many elements a tuple annotation fixes, or None."""
    annotation = _plain(annotation)
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is not tuple or ... in args:
        return None
    if any(isinstance(arg, typing.TypeVarTuple) or typing.get_origin(arg) is typing.Unpack for arg in args):
        return None
    return len(args)


def is_list(annotation: Any) -> bool:
    """Return whether a value with this annotation is surely a list."""
    annotation = _plain(annotation)
    return (typing.get_origin(annotation) or annotation) in (list, abc.Sequence, abc.MutableSequence)


def item_annotation(annotation: Any, key: Any) -> Any:
    """Return the annotation of ``value[key]`` for a value with this annotation, or `typing.Any`."""
    annotation = _plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    length = tuple_length(annotation)
    if length is not None and isinstance(key, int) and -length <= key < length:
        return args[key]
    if is_listlike(annotation):
        if isinstance(key, int):
            return element_of(annotation)
        return annotation if isinstance(key, slice) and origin is list else Any
    if origin in (dict, abc.Mapping, abc.MutableMapping) and len(args) == 2:
        return args[1]
    if typing.is_typeddict(annotation) and isinstance(key, str):
        return _field(annotation, key)
    return Any


def attribute_annotation(annotation: Any, name: str) -> Any:
    """Return the annotation of ``value.name`` for a pydantic model, dataclass or named tuple, or `typing.Any`."""
    annotation = _plain(annotation)
    fields = getattr(annotation, "model_fields", None) if isinstance(annotation, type) else None
    if isinstance(fields, Mapping) and name in fields:
        return fields[name].annotation
    if hasattr(annotation, "__dataclass_fields__") or hasattr(annotation, "_fields"):
        return _field(annotation, name)
    return Any


def _field(cls: Any, name: str) -> Any:
    try:
        return typing.get_type_hints(cls).get(name, Any)
    except Exception:  # noqa: BLE001 - an annotation in quotes may hold any expression
        return Any


# -- what fans out ---------------------------------------------------------------------------------------------------


def length_of(expr: Expr) -> int | None:
    """Return how many elements an expression has when that is known already, or None."""
    if isinstance(expr, Container):
        return len(expr.items) // 2 if expr.kind == "dict" else len(expr.items)
    if isinstance(expr, Const):
        try:
            return len(expr.value)
        except Exception:  # noqa: BLE001 - a user's __len__ may raise anything
            return None
    return None
