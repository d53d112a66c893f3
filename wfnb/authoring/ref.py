"""`Ref`, what stands for a value while a workflow is written down. Imports model and check.

A reference records what is done to it (``ref["key"]``, ``ref.attr``, ``ref + 1``, ``ref > 2``) as an expression that a
worker evaluates. Whatever needs the value at once is an error that says what to write instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, NoReturn, Protocol

from wfnb.authoring.check import attribute_annotation, item_annotation, tuple_length, where
from wfnb.model.caught import CaughtError
from wfnb.model.errors import DefinitionError, Problem, ReferenceMisuse
from wfnb.model.expr import Apply, Const, Container, Expr, Local, render, steps_of


class Owner(Protocol):
    """The tracing that a reference belongs to."""

    @property
    def name(self) -> str:
        """The workflow's name."""

    def sees(self, other: Owner) -> bool:
        """Return whether references of another tracing may be used in this one."""

    def foreign(self, ref: Ref) -> None:
        """Note that a reference was met that means nothing here."""


class Ref:
    """What stands for a value while a workflow is written down.

    Args:
        expr: where the value will come from.
        annotation: its type, or `typing.Any`.
        owner: the tracing it belongs to.
        length: how many parts it can be unpacked into, where that is known.
    """

    __slots__ = ("_annotation", "_expr", "_length", "_owner")

    _expr: Expr
    _annotation: Any
    _owner: Owner
    _length: int | None

    __pandas_priority__ = 1_000_000  # pandas leaves an operator with a frame on the left to the reference

    def __init__(self, expr: Expr, annotation: Any, owner: Owner, length: int | None = None) -> None:
        _set(self, "_expr", expr)
        _set(self, "_annotation", annotation)
        _set(self, "_owner", owner)
        _set(self, "_length", length)

    # -- recorded ------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Ref:
        expr, owner = self._expr, self._owner
        if isinstance(expr, Container) and type(key) in (int, str):
            found = _item(expr, key)
            if found is not None:
                return Ref(found, item_annotation(self._annotation, key), owner)
        owner = _inner(owner, key)
        return Ref(Apply("getitem", (expr, lift(key, owner))), item_annotation(self._annotation, key), owner)

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):  # asked for by tools that look at any object, never by a workflow
            raise AttributeError(f"{self!r} has no attribute '{name}'")
        if type(self._expr) is Local and self._expr.name == "error" and name not in ERROR_FIELDS:
            misuse(self, f"has no '{name}': an error that was caught is told, not handed on", _FIELDS)
        annotation = attribute_annotation(self._annotation, name)
        return Ref(Apply("getattr", (self._expr, Const(name))), annotation, self._owner)

    def __eq__(self, other: object) -> Any:
        return _applied("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _applied("!=", self, other)

    def __iter__(self) -> Iterator[Ref]:
        expr = self._expr
        length = tuple_length(self._annotation) if self._length is None else self._length
        if isinstance(expr, Container) and expr.kind in ("list", "tuple"):
            length = len(expr.items)
        if length is None:
            misuse(
                self,
                "cannot be looped over or unpacked while the workflow is written down",
                "Use node.map(ref) or wf.each(ref, body) for a step an element; to unpack a fixed number of values, "
                "annotate what the node returns, such as tuple[int, str]",
            )
        return iter([self[index] for index in range(length)])

    def __copy__(self) -> Ref:
        return self

    def __deepcopy__(self, memo: Any) -> Ref:
        return self

    def __repr__(self) -> str:
        return f"<reference '{render(self._expr)}'>"

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Ref:
        """Record an operator with an array on the left, which numpy asks for like this."""
        op = _UFUNCS.get(ufunc.__name__)
        if op is None or method != "__call__" or options:
            self._numpy(ufunc.__name__)
        owner = _inner(self._owner, list(inputs))
        return Ref(Apply(op, tuple(lift(one, owner) for one in inputs)), Any, owner)

    def __array_function__(self, function: Any, _types: Any, _args: Any, _kwargs: Any) -> NoReturn:
        self._numpy(function.__name__)

    def _numpy(self, name: str) -> NoReturn:
        misuse(
            self,
            f"is given to numpy's {name}() while the workflow is written down",
            _make_a_node(f"returns np.{name}(value)"),
        )

    # -- refused -------------------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        __tracebackhide__ = True
        misuse(
            self,
            "has no truth value while the workflow is written down",
            "Use wf.switch(ref, {True: ..., False: ...}) instead of if, wf.loop(body, while_=...) instead of while; "
            "join conditions with & and |, not and, or, not; "
            "write a < b < c as (a < b) & (b < c); make a node (@wf.node) of other code that needs the value",
        )

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """`Ref`; asked for by `Path(ref)`, the refusal that pathlib hides when it comes later, from `__fspath__`.

        Only since Python 3.12, and only in the making of a path: ``Path("a") / ref`` and ``path == ref`` are recorded.
        """
        frame = sys._getframe(1)
        if frame.f_code.co_name == "__init__" and frame.f_globals.get("__name__", "").startswith("pathlib"):
            _to_path(self)
        return Ref

    def __hash__(self) -> int:
        misuse(
            self,
            "cannot be an element of a set or a key of a dict while the workflow is written down",
            "Use a list or the values of a dict, or " + _make_a_node("builds the set or dict", start="make"),
        )

    def __setattr__(self, name: str, value: Any) -> None:
        misuse(self, f"has its attribute '{name}' set while the workflow is written down", _CHANGE)

    def __delattr__(self, name: str) -> None:
        misuse(self, f"has its attribute '{name}' deleted while the workflow is written down", _CHANGE)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        misuse(
            self,
            "is hidden inside another object, and stands for nothing there",
            "Pass the reference itself, or in a plain list, tuple or dict",
            place="",  # it is found when the object travels, far from where it was made
        )


_set = object.__setattr__
ERROR_FIELDS = tuple(one.name for one in fields(CaughtError))
"""What is known of an error in the body that catches it."""
_FIELDS = "Use its " + ", ".join(f"'.{name}'" for name in ERROR_FIELDS[:-1]) + f" or '.{ERROR_FIELDS[-1]}'"
_CHANGE = "Make a node that changes the value and returns it"


def _make_a_node(does: str, *, start: str = "Make") -> str:
    return f"{start} a node (@wf.node) that {does}, and give it the reference"


def _item(container: Container, key: int | str) -> Expr | None:
    """Return an item of a container that is known already, so that a worker need not build the container."""
    items = container.items
    if container.kind == "dict":
        return next((v for k, v in zip(items[::2], items[1::2], strict=True) if k == Const(key)), None)
    if container.kind == "set" or not isinstance(key, int) or not -len(items) <= key < len(items):
        return None
    return items[key]


def misuse(ref: Ref, what: str, cure: str, *, place: str | None = None) -> NoReturn:
    """Raise the error for a reference used where Python needs the value at once.

    Args:
        ref: the reference.
        what: what is wrong, said of the reference.
        cure: what to write instead.
        place: the place in the source, or None for the line that is being run.
    """
    __tracebackhide__ = True
    steps = steps_of(ref._expr)
    text = f"the reference '{render(ref._expr)}' {what}"
    problem = Problem(text, step=steps[0] if steps else "", where=where() if place is None else place, cure=cure)
    raise ReferenceMisuse(ref._owner.name, (problem,))


def _inner(owner: Owner, value: Any) -> Owner:
    """Return the innermost of the tracings of a reference and of what it is combined with."""
    kind = type(value)
    if kind is Ref:
        other: Owner = value._owner
        return other if other is not owner and not owner.sees(other) and other.sees(owner) else owner
    if kind in _CONTAINERS and holds_reference(value):
        for part in value.values() if kind is dict else value:
            owner = _inner(owner, part)
    return owner


def _applied(op: str, left: Ref, right: Any) -> Ref:
    owner = _inner(left._owner, right)
    return Ref(Apply(op, (left._expr, lift(right, owner))), Any, owner)


# -- operators -------------------------------------------------------------------------------------------------------


def _binary(op: str) -> Callable[[Ref, Any], Ref]:
    def method(self: Ref, other: Any) -> Ref:
        return _applied(op, self, other)

    return method


def _reflected(op: str) -> Callable[[Ref, Any], Ref]:
    def method(self: Ref, other: Any) -> Ref:
        owner = _inner(self._owner, other)
        return Ref(Apply(op, (lift(other, owner), lift(self, owner))), Any, owner)

    return method


def _unary(op: str) -> Callable[[Ref], Ref]:
    def method(self: Ref) -> Ref:
        return Ref(Apply(op, (self._expr,)), Any, self._owner)

    return method


def _refused(what: str, cure: str) -> Callable[..., NoReturn]:
    def method(self: Ref, *_args: Any, **_kwargs: Any) -> NoReturn:
        misuse(self, f"{what} while the workflow is written down", cure)

    return method


_BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
    "and": "&",
    "or": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}
_UFUNCS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "true_divide": "/",
    "floor_divide": "//",
    "remainder": "%",
    "power": "**",
    "matmul": "@",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "left_shift": "<<",
    "right_shift": ">>",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNARY = {"neg": "neg", "pos": "pos", "abs": "abs", "invert": "invert"}
_REFUSED = {
    "call": ("is called", _make_a_node("calls it")),
    "len": ("is asked for its length", _make_a_node("returns len(value)")),
    "contains": ("is searched with 'in'", _make_a_node("returns whether the element is in the value")),
    "int": ("cannot become an int", _make_a_node("returns int(value)")),
    "index": ("cannot be an index or a count", _make_a_node("uses it as an index")),
    "float": ("cannot become a float", _make_a_node("returns float(value)")),
    "complex": ("cannot become a complex number", _make_a_node("returns complex(value)")),
    "round": ("cannot be rounded", _make_a_node("returns round(value)")),
    "trunc": ("cannot be rounded", _make_a_node("returns the rounded value")),
    "floor": ("cannot be rounded", _make_a_node("returns the rounded value")),
    "ceil": ("cannot be rounded", _make_a_node("returns the rounded value")),
    "divmod": ("cannot be divided with divmod()", "Use // and %"),
    "rdivmod": ("cannot be divided with divmod()", "Use // and %"),
    "str": ("cannot become text", _make_a_node("makes the text") + "; to look at the reference, print repr(ref)"),
    "format": ("cannot be put into text", _make_a_node("makes the text") + "; to look at the reference, use {ref!r}"),
    "bytes": ("cannot become bytes", _make_a_node("makes the bytes")),
    "fspath": ("cannot become a path", _make_a_node("makes the path")),
    "reversed": ("cannot be reversed", _make_a_node("returns the reversed list")),
    "next": ("cannot be stepped through", "Use node.map(ref) or wf.each(ref, body) for a step an element"),
    "array": ("cannot become an array", _make_a_node("makes the array")),
    "setitem": ("has an item set", _CHANGE),
    "delitem": ("has an item deleted", _CHANGE),
    "enter": ("cannot be used with 'with'", _make_a_node("opens and closes it")),
    "exit": ("cannot be used with 'with'", _make_a_node("opens and closes it")),
    "aenter": ("cannot be used with 'async with'", _make_a_node("opens and closes it")),
    "aexit": ("cannot be used with 'async with'", _make_a_node("opens and closes it")),
    "aiter": ("cannot be looped over", "Use node.map(ref) or wf.each(ref, body) for a step an element"),
    "await": ("is awaited", "Leave 'await' out: an asynchronous node is awaited on the worker"),
}

_to_path = _refused(*_REFUSED["fspath"])

for _name, _op in (_BINARY | _COMPARISONS).items():
    setattr(Ref, f"__{_name}__", _binary(_op))
for _name, _op in _BINARY.items():
    setattr(Ref, f"__r{_name}__", _reflected(_op))
for _name, _op in _UNARY.items():
    setattr(Ref, f"__{_name}__", _unary(_op))
for _name, _texts in _REFUSED.items():
    setattr(Ref, f"__{_name}__", _refused(*_texts))


# -- values into expressions -----------------------------------------------------------------------------------------

_CONTAINERS = frozenset((list, tuple, set, frozenset, dict))


def holds_reference(value: Any) -> bool:
    """Return whether a list, tuple or dict holds a reference, at any depth."""
    kind = type(value)
    if kind is Ref:
        return True
    if kind not in _CONTAINERS or kind in (set, frozenset):  # what is in a set has been hashed, so it is none
        return False
    parts = value.values() if kind is dict else value
    kinds = set(map(type, parts))
    if Ref in kinds:
        return True
    return not kinds.isdisjoint(_CONTAINERS) and any(holds_reference(part) for part in parts)


def lift(value: Any, owner: Owner) -> Expr:
    """Return a value as an expression: references become what they stand for, anything else a constant.

    Args:
        value: what the author passed.
        owner: the tracing that is going on; references that mean nothing in it are reported to it.
    """
    kind = type(value)
    if kind is Ref:
        if value._owner is not owner and not owner.sees(value._owner):
            owner.foreign(value)
            return Const(None)
        expr: Expr = value._expr
        return expr
    if kind not in _CONTAINERS or not holds_reference(value):
        if hasattr(kind, "of_builder"):
            problem = Problem(
                "it is given a step of the builder (wf.step, wf.Workflow(...).then)",
                where=where(),
                cure="Call the node itself there; wf.nodes has the built-in ones: wf.nodes.log(message)",
            )
            raise DefinitionError(owner.name, (problem,))
        return Const(value)
    if kind is dict:
        parts = [part for item in value.items() for part in item]
        return Container("dict", tuple(lift(part, owner) for part in parts))
    return Container(kind.__name__, tuple(lift(part, owner) for part in value))
