"""Whether a value fits an annotation, and what a callable's annotations are. Imports pydantic and classes.

The check asks what a type checker would ask of a value, without converting it: classes by `isinstance` with Python's
numeric tower (an int where a float is wanted), containers with their first elements. What cannot be decided is taken
to fit: a check never raises and never refuses what it does not understand.

>>> check = checker(list[int])
>>> check([1, 2]), check([1, "x"])
(None, "[1, 'x'] (list) with [1] = 'x' (str)")
>>> describe(dict[str, float] | None)
'dict[str, float] | None'
"""

from __future__ import annotations

import collections
import functools
import inspect
import numbers
import reprlib
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeAlias

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from wfnb.model.classes import today

Checker: TypeAlias = Callable[[Any], str | None]
"""Tells what is wrong with a value in a few words, or None when nothing is."""

_Misfit: TypeAlias = tuple[str, Any, str]  # where inside the value, what is there, a note
_Check: TypeAlias = Callable[[Any], _Misfit | None]

LOOKED_AT = 100
"""How many elements of a container are checked."""

_DEEP = 12  # an alias that contains itself stops here

# -- words for messages ----------------------------------------------------------------------------------------------

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlist = _repr.maxtuple = _repr.maxset = _repr.maxdict = 6


def show(value: Any, *, width: int = 60) -> str:
    """Return a value and its type in one short line, such as ``'x' (str)``."""
    try:
        text = " ".join(_repr.repr(value).split())
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = "a value"
    if len(text) > width:
        text = f"{text[: width - 3]}..."
    return f"{text} ({type(value).__name__})"


def describe(annotation: Any) -> str:
    """Return an annotation as its author would write it."""
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is ...:
        return "..."
    if isinstance(annotation, str):
        return annotation
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(describe(arg) for arg in args)
    if origin is typing.Literal:
        return f"Literal[{', '.join(repr(arg) for arg in args)}]"
    if origin is typing.Annotated:
        return describe(args[0])
    if origin is not None and args:
        parts = ", ".join("..." if isinstance(arg, list) else describe(arg) for arg in args)
        return f"{getattr(origin, '__name__', origin)}[{parts}]"
    return str(getattr(annotation, "__name__", None) or annotation)


# -- annotations of a callable ---------------------------------------------------------------------------------------


def plain_function(function: Any) -> Any:
    """Return what carries a callable's annotations and globals: under partials, methods, wrappers and `__call__`."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif not inspect.isroutine(function) and not isinstance(function, type) and callable(function):
            call = type(function).__call__
            if not inspect.isfunction(call):
                return function
            function = call
        else:
            return function


def annotations_of(function: Any) -> dict[str, Any]:
    """Return a callable's annotations with strings resolved; what cannot be resolved stays a string."""
    function = plain_function(function)
    raw = getattr(function, "__annotations__", None)
    if not isinstance(raw, dict) or not raw:
        return {}
    names = dict(getattr(function, "__globals__", {}))
    code = getattr(function, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:
            continue  # assigned later
    found = {}
    for name, annotation in raw.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found[name] = typing.get_type_hints(holder, names, include_extras=True)[name]
        except Exception:  # noqa: BLE001 - an annotation in quotes may hold any expression
            found[name] = annotation
    return found


_LISTLIKE = (list, tuple, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)


def is_listlike(annotation: Any) -> bool:
    """Return whether an annotation asks for a list, a tuple or another sequence, perhaps among other things."""
    annotation = unwrap(annotation)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(is_listlike(arg) for arg in typing.get_args(annotation))
    if origin is typing.Annotated:
        return is_listlike(typing.get_args(annotation)[0])
    return (origin or annotation) in _LISTLIKE


# -- checks ----------------------------------------------------------------------------------------------------------


def checker(annotation: Any) -> Checker | None:
    """Return a function that tells what is wrong with a value, or None when the annotation asks for nothing.

    Args:
        annotation: a type as `typing.get_type_hints` returns it; a string counts as unknown.
    """
    try:
        return _cached(annotation)
    except TypeError:  # an annotation that cannot be hashed, such as Literal[[]]
        return _build(annotation)


def _build(annotation: Any) -> Checker | None:
    try:
        check = _compile(annotation, 0)
    except Exception:  # noqa: BLE001 - what an annotation does when it is looked at is its author's
        return None
    if check is None:
        return None

    def report(value: Any) -> str | None:
        if type(value) is annotation:
            return None
        try:
            misfit = check(value)
        except Exception:  # noqa: BLE001 - so is what a value does
            return None
        if misfit is None:
            return None
        path, part, note = misfit
        inside = f" with {path} = {show(part)}" if path else ""
        return f"{show(value)}{inside}{note}"

    return report


_cached = functools.lru_cache(maxsize=1024)(_build)

_NOTHING = (Any, object, inspect.Parameter.empty, inspect.Signature.empty, typing.Never, typing.NoReturn)
_BUILT_IN = (list, tuple, set, frozenset, dict, collections.deque)
_ELEMENTS = (
    list,
    set,
    frozenset,
    collections.deque,
    abc.Sequence,
    abc.MutableSequence,
    abc.Set,
    abc.MutableSet,
    abc.Collection,
    abc.Iterable,
    abc.Reversible,
)
_PAIRS = (dict, collections.defaultdict, collections.OrderedDict, abc.Mapping, abc.MutableMapping)


def _compile(annotation: Any, depth: int) -> _Check | None:
    if depth > _DEEP or any(annotation is nothing for nothing in _NOTHING):
        return None
    if annotation is None:
        annotation = types.NoneType
    annotation = unwrap(annotation)
    origin = typing.get_origin(annotation)
    if annotation is abc.Callable or annotation is typing.Callable or origin is abc.Callable:
        return _is_callable
    if origin is None:
        return _class_check(annotation)
    args = typing.get_args(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return _union_check([_compile(arg, depth + 1) for arg in args])
    if origin is typing.Literal:
        return lambda v: None if any(isinstance(v, type(a)) and v == a for a in args) else ("", v, "")
    if origin is typing.Annotated:
        return _annotated_check(annotation, args[0], annotation.__metadata__, depth)
    if origin is type:
        return lambda v: None if isinstance(v, type) else ("", v, "")
    outer = _class_check(origin)
    if outer is None:
        return None
    if origin is tuple:
        return _tuple_check(outer, args, depth)
    if origin in _PAIRS and len(args) == 2:
        return _mapping_check(outer, _compile(args[0], depth + 1), _compile(args[1], depth + 1))
    if origin in _ELEMENTS and len(args) == 1:
        return _elements_check(outer, _compile(args[0], depth + 1))
    return outer


def unwrap(annotation: Any) -> Any:
    """Return what a NewType or a type alias stands for, an alias with arguments such as ``NDArray[float64]`` too."""
    for _ in range(_DEEP):
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif _is_alias(annotation):
            annotation = annotation.__value__
        elif _is_alias(alias := typing.get_origin(annotation)):
            annotation = _filled_in(alias, typing.get_args(annotation))
        else:
            break
    return annotation


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"  # typing's since Python 3.12, or that of typing_extensions


def _filled_in(alias: Any, args: tuple[Any, ...]) -> Any:
    """Return what an alias stands for, with arguments for its parameters; without them where they are too few."""
    value, given = alias.__value__, dict(zip(alias.__type_params__, args, strict=False))
    wanted = getattr(value, "__parameters__", ())
    if isinstance(value, typing.TypeVar):
        return given.get(value, value)
    if not wanted or isinstance(value, type) or not all(isinstance(one, typing.TypeVar) for one in wanted):
        return value
    return value[tuple(given.get(one, one) for one in wanted)]


def _class_check(cls: Any) -> _Check | None:
    if not isinstance(cls, type) or cls is object or getattr(cls, "_is_protocol", False):
        return None
    if typing.is_typeddict(cls):
        cls = dict
    if cls in (int, float, complex, bool):
        return _NUMBERS[cls]
    try:
        isinstance(None, cls)
    except Exception:  # noqa: BLE001 - a metaclass may refuse isinstance in its own way
        return None
    # A class of a notebook is another one each time its cell is run; both mean the one of that name.
    return lambda v: None if isinstance(v, cls) or today(cls) in today(type(v)).__mro__ else ("", v, "")


def _is_callable(value: Any) -> _Misfit | None:
    return None if callable(value) else ("", value, "")


def _is_int(v: Any) -> _Misfit | None:
    return None if isinstance(v, (int, numbers.Integral)) else ("", v, "")


def _is_float(v: Any) -> _Misfit | None:
    return None if isinstance(v, (float, int, numbers.Real)) else ("", v, "")


def _is_complex(v: Any) -> _Misfit | None:
    return None if isinstance(v, (complex, float, int, numbers.Complex)) else ("", v, "")


def _is_bool(v: Any) -> _Misfit | None:
    # numpy's own bool is what a comparison of arrays ends in
    fits = isinstance(v, bool) or (type(v).__module__ == "numpy" and type(v).__name__ in ("bool", "bool_"))
    return None if fits else ("", v, "")


_NUMBERS: dict[type, _Check] = {int: _is_int, float: _is_float, complex: _is_complex, bool: _is_bool}


def _union_check(checks: list[_Check | None]) -> _Check | None:
    if any(check is None for check in checks):
        return None
    known = [check for check in checks if check is not None]

    def check(value: Any) -> _Misfit | None:
        inside = None
        for one in known:
            misfit = one(value)
            if misfit is None:
                return None
            if misfit[0] or misfit[2]:
                inside = misfit  # the right container with a wrong element says more than "no member fits"
        return inside or ("", value, "")

    return check


def _elements_check(outer: _Check, element: _Check | None) -> _Check:
    if element is None:
        return outer

    def check(value: Any) -> _Misfit | None:
        misfit = outer(value)
        if misfit is not None:
            return misfit
        if isinstance(value, _BUILT_IN):  # any other container may be costly to walk, or walk only once
            for index, item in enumerate(islice(value, LOOKED_AT)):
                misfit = element(item)
                if misfit is not None:
                    path = f"[{index}]" if isinstance(value, (list, tuple, collections.deque)) else " element"
                    return (path + misfit[0]).lstrip(), misfit[1], misfit[2]
        return None

    return check


def _mapping_check(outer: _Check, key: _Check | None, item: _Check | None) -> _Check:
    if key is None and item is None:
        return outer

    def check(value: Any) -> _Misfit | None:
        misfit = outer(value)
        if misfit is not None or not isinstance(value, dict):
            return misfit
        for name, part in islice(value.items(), LOOKED_AT):
            misfit = key(name) if key is not None else None
            if misfit is not None:
                return "key", name, ""
            misfit = item(part) if item is not None else None
            if misfit is not None:
                return f"[{_repr.repr(name)}]{misfit[0]}", misfit[1], misfit[2]
        return None

    return check


def _tuple_check(outer: _Check, args: tuple[Any, ...], depth: int) -> _Check:
    if len(args) == 2 and args[1] is ...:
        return _elements_check(outer, _compile(args[0], depth + 1))
    if any(typing.get_origin(arg) is typing.Unpack or isinstance(arg, typing.TypeVarTuple) for arg in args):
        return outer
    checks = [_compile(arg, depth + 1) for arg in args]

    def check(value: Any) -> _Misfit | None:
        misfit = outer(value)
        if misfit is not None:
            return misfit
        if len(value) != len(checks):
            return "", value, f" of {len(value)} elements"
        for index, (one, item) in enumerate(zip(checks, value, strict=True)):
            misfit = one(item) if one is not None else None
            if misfit is not None:
                return f"[{index}]{misfit[0]}", misfit[1], misfit[2]
        return None

    return check


def _annotated_check(annotation: Any, base: Any, metadata: Iterable[Any], depth: int) -> _Check | None:
    outer = _compile(base, depth + 1)
    if not any(type(item).__module__.split(".")[0] in ("annotated_types", "pydantic") for item in metadata):
        return outer
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return outer
    except PydanticUserError:  # models and dataclasses bring their own config
        adapter = TypeAdapter(annotation)

    def check(value: Any) -> _Misfit | None:
        misfit = outer(value) if outer is not None else None
        if misfit is not None:
            return misfit
        try:
            # numpy's numbers are numbers, which pydantic does not know
            adapter.validate_python(
                value.item() if isinstance(value, numbers.Number) and hasattr(value, "item") else value
            )
        except ValidationError as error:
            return "", value, f": {error.errors(include_url=False)[0]['msg']}"
        return None

    return check
