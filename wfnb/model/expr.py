"""Expressions: how a step's argument is made from inputs and other steps' values. Pure; imports errors only.

An expression is a frozen tree. It says where a value comes from, never what it is, so a workflow can be checked,
drawn and shipped before anything has run. `evaluate` turns it into a value on the worker.

>>> total = Apply("+", (StepValue("load"), Const(1)))
>>> evaluate(total, {"load": 41}, {})
42
>>> render(total)
'load + 1'
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from wfnb.model.errors import VariableNotSet


@dataclass(frozen=True, slots=True)
class Const:
    """A value known when the workflow is written."""

    value: Any

    def __reduce__(self) -> tuple[Any, ...]:
        # A workflow holds thousands: a dataclass with slots pickles four times as slowly by itself.
        return type(self), (self.value,)


@dataclass(frozen=True, slots=True)
class Input:
    """An input of the workflow, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class StepValue:
    """The value of a step, by the step's id (for a fan-out: the list of its elements' values)."""

    step: str

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step,)


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator applied to expressions; `op` is a key of `OPERATORS`."""

    op: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Container:
    """A list, tuple, set or dict that holds at least one reference; a dict's items alternate key, value."""

    kind: str
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Local:
    """What a construct gives its bodies.

    Args:
        step: the construct's id.
        name: "item", "index" or "error".
        alias: what a template calls it, where the author chose a name.
    """

    step: str
    name: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Var:
    """The variable of that name, as the last `set` before it left it."""

    name: str


@dataclass(frozen=True, slots=True)
class RunFact:
    """Something of the run itself: "id"."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """A template that is more than one reference: its source, and what the names in it stand for.

    Args:
        source: the text, with ``{{ ... }}`` in it; templates of both spellings are kept in the one without ``$``.
        names: each name it uses, and what stands for it.
    """

    source: str
    names: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Element:
    """Of a lowered graph only: element i of a list, in element i of a fan-out."""

    source: Expr


@dataclass(frozen=True, slots=True)
class Position:
    """Of a lowered graph only: the i of an element."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """Of a lowered graph only: a function without arguments that gives the expression's value."""

    source: Expr


Expr: TypeAlias = (
    Const | Input | StepValue | Local | Var | RunFact | Text | Apply | Container | Element | Position | Lazy
)


class Unset:
    """What a variable is that was not set; there is one, `UNSET`."""

    def __reduce__(self) -> str:
        return "UNSET"


UNSET = Unset()


def is_set(value: Any, name: str) -> Any:
    """Return a variable's value; raises VariableNotSet."""
    if value is UNSET:
        raise VariableNotSet(f"variable '{name}' was not set on the way that was taken. Set it before, or on every way")
    return value


def set_or(value: Any, default: Any) -> Any:
    """Return a variable's value, or the default where it was not set."""
    return default if value is UNSET else value


def field(value: Any, name: str) -> Any:
    """Return what ``value.name`` means in a template: a mapping's item, else an attribute."""
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        raise KeyError(name)
    return getattr(value, name)


OPERATORS: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "getattr": getattr,
    "field": field,
    "is_set": is_set,
    "set_or": set_or,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "@": operator.matmul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": abs,
    "invert": operator.invert,
}

_PREFIX = {"neg": "-", "pos": "+", "invert": "~"}
CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "dict": lambda items: dict(zip(items[::2], items[1::2], strict=True)),
}


def evaluate(expr: Expr, steps: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    """Return the value of an expression.

    Args:
        expr: the expression.
        steps: values by step id.
        inputs: values by input name.

    Raises:
        KeyError: a step or input it names is missing; and whatever an operator raises.
    """
    match expr:
        case StepValue(step):
            return steps[step]
        case Const(value):
            return value
        case Input(name):
            return inputs[name]
        case Apply(op, args):
            return OPERATORS[op](*[evaluate(arg, steps, inputs) for arg in args])
        case Container(kind, items):
            return CONTAINERS[kind]([evaluate(item, steps, inputs) for item in items])
        case Text(source, names):
            from wfnb.model.sandbox import evaluate_text  # jinja2 is loaded where templates are used, not before

            return evaluate_text(source, {name: evaluate(part, steps, inputs) for name, part in names})
        case _:
            raise KeyError(render(expr))


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield the expression and everything below it, parents first."""
    yield expr
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from walk(arg)
    elif isinstance(expr, Container):
        for item in expr.items:
            yield from walk(item)
    elif isinstance(expr, Text):
        for _, part in expr.names:
            yield from walk(part)
    elif isinstance(expr, Element | Lazy):
        yield from walk(expr.source)


def steps_of(expr: Expr) -> tuple[str, ...]:
    """Return the ids of the steps an expression uses, each once, in order of appearance."""
    if type(expr) is StepValue:  # most expressions are one reference or none, and workflows have thousands
        return (expr.step,)
    if type(expr) is Const or type(expr) is Input:
        return ()
    return tuple(dict.fromkeys(part.step for part in walk(expr) if isinstance(part, StepValue)))


def replaced(expr: Expr, leaf: Callable[[Expr], Expr]) -> Expr:
    """Return the expression with each part that has no parts of its own replaced by what `leaf` gives for it."""
    match expr:
        case Apply(op, args):
            return Apply(op, tuple([replaced(arg, leaf) for arg in args]))
        case Container(kind, items):
            return Container(kind, tuple([replaced(item, leaf) for item in items]))
        case Text(source, names):
            return Text(source, tuple([(name, replaced(part, leaf)) for name, part in names]))
        case Element(source):
            return Element(replaced(source, leaf))
        case Lazy(source):
            return Lazy(replaced(source, leaf))
        case _:
            return leaf(expr)


def render(expr: Expr, leaf: Callable[[Expr], str] | None = None) -> str:
    """Return the expression as the text a template would hold.

    Args:
        expr: the expression.
        leaf: writes what has no parts of its own, and templates, and makes the text one that a template can hold.
            Without it the text is for messages and pictures: operators as in Python, long constants cut short.
    """
    match expr:
        case Apply("getitem", (base, key)):
            return f"{_operand(base, leaf, whole=True)}[{_key(key, leaf)}]"
        case Apply("getattr" | "field", (base, Const(name))):
            return f"{_operand(base, leaf, whole=True)}.{name}"
        case Apply("abs", (base,)):
            return f"abs({render(base, leaf)})"
        case Apply(op, (base,)) if op in _PREFIX and (leaf is None or op not in _CALLED):
            return f"{_PREFIX[op]}{_operand(base, leaf)}"
        case Apply(op, (left, right)) if op in OPERATORS and op not in _NAMED and (leaf is None or op not in _CALLED):
            # A chain is written without parentheses: readers of templates take these only so deep.
            bare = isinstance(left, Apply) and _rank(left.op) == _rank(op) > 0 and len(left.args) == 2
            return f"{render(left, leaf) if bare else _operand(left, leaf)} {op} {_operand(right, leaf)}"
        case Apply(op, args):
            return f"{op if leaf is None else _CALLED.get(op, op)}({', '.join([render(arg, leaf) for arg in args])})"
        case Container(kind, items):
            return _braced(kind, [render(item, leaf) for item in items])
        case Lazy(source):
            return render(source, leaf)
        case Element(source):
            return f"{_operand(source, leaf)}[index]"
        case Position():
            return "index"
    return _leaf(expr) if leaf is None else leaf(expr)


def _leaf(expr: Expr) -> str:
    match expr:
        case Const(value):
            text = repr(value)
            return text if len(text) <= 40 else f"{text[:37]}..."
        case Input(name):
            return f"input.{name}"
        case StepValue(step):
            return step
        case Local(_, name, alias):
            return alias or name
        case Var(name):
            return f"var.{name}"
        case RunFact(name):
            return f"run.{name}"
        case Text(source, _):
            return source
    raise TypeError(f"{expr!r} is no expression")


_NAMED = ("getitem", "getattr", "field", "neg", "pos", "abs", "invert", "is_set")
_CALLED = {"&": "and_", "|": "or_", "^": "xor", "<<": "lshift", ">>": "rshift", "@": "matmul", "invert": "invert"}
"""Operators that templates have as functions, because Jinja means something else by them, or nothing."""


def _rank(op: str) -> int:
    return 1 if op in ("+", "-") else 2 if op in ("*", "/", "//", "%") else 0


def _braced(kind: str, parts: list[str]) -> str:
    if kind == "dict":
        return "{" + ", ".join([f"{k}: {v}" for k, v in zip(parts[::2], parts[1::2], strict=True)]) + "}"
    text = ", ".join(parts)
    if kind == "tuple":
        return f"({text},)" if len(parts) == 1 else f"({text})"
    return f"[{text}]" if kind == "list" else f"{{{text}}}"


def _key(expr: Expr, leaf: Callable[[Expr], str] | None) -> str:
    """Return what stands between the brackets of an item."""
    if isinstance(expr, Const):
        if isinstance(expr.value, slice):
            parts = (expr.value.start, expr.value.stop, expr.value.step)
            texts = ["" if part is None else render(Const(part), leaf) for part in parts]
            return ":".join(texts if texts[2] else texts[:2])
        if isinstance(expr.value, tuple) and any(isinstance(part, slice) for part in expr.value):
            return ", ".join([_key(Const(part), leaf) for part in expr.value])
    return render(expr, leaf)


def _operand(expr: Expr, leaf: Callable[[Expr], str] | None, *, whole: bool = False) -> str:
    """Return an operand's text, in parentheses where it is an operation itself, or a number that could be misread."""
    if isinstance(expr, Apply):
        called = expr.op in ("getitem", "getattr", "field", "abs") or (leaf is not None and expr.op in _CALLED)
        bare = called or not (expr.op in OPERATORS or expr.op in _PREFIX)
    else:
        number = isinstance(expr, Const) and type(expr.value) in (int, float) and (whole or expr.value < 0)
        bare = leaf is None or not number
    return render(expr, leaf) if bare else f"({render(expr, leaf)})"
