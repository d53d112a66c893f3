"""From the text of a template to an expression and back: what names mean, and which templates are plain expressions.

A text without ``{{`` is itself. A text that is one template made of names, fields, items, literals and operators that
cost little is the expression that a traced function would have; anything else is a `Text`, which the sandbox evaluates.

Names: ``input.x``, ``var.x``, ``run.id``; ``item``, ``index``, ``error`` (or the name after ``as``); the id of a step;
else a bare name is a variable, then an input. A ``$`` before a name changes nothing. Inside a construct its id names
what it gives: ``outer.index``. An id with dashes is read as one name when it is a step's and nothing else could be
meant; ``steps['load-data']`` names any step. Write a difference with spaces: ``a - b``. Imports jinja2, sandbox, scope.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jinja2 import nodes

from wfnb.model.expr import Apply, Const, Container, Expr, Input, Local, RunFact, StepValue, Text, Var, render, walk
from wfnb.model.filters import TemplateError, text_of
from wfnb.model.sandbox import DASH, LONGEST, edited, expressions, longest_id, read, with_dashes
from wfnb.model.scope import ROOTS, Scope, near

Complain: TypeAlias = Callable[[str, str], None]
"""Is told what is wrong, and what to do about it."""

ERROR_FIELDS = ("type", "message", "address", "attempts")
RUN_FACTS = ("id",)
UNKNOWN = Local("", "unknown")
"""Stands where a name means nothing, which was told."""


# -- parsing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text was read as.

    Args:
        expr: its value.
        alone: whether the text is exactly one template.
        mixed: whether it is templates and text.
    """

    expr: Expr
    alone: bool = False
    mixed: bool = False


def parse(text: str, scope: Scope, complain: Complain) -> Parsed:
    """Return the expression that a text stands for.

    Args:
        text: the text; without ``{{`` it stands for itself.
        scope: what names mean.
        complain: is told everything that is wrong with it.
    """
    if "{{" not in text:
        return Parsed(Const(text))
    if len(text) > LONGEST:
        complain(f"the template is too long: {len(text):,} characters, and {LONGEST:,} are allowed", "Split it")
        return Parsed(UNKNOWN, mixed=True)
    try:
        return _parsed(text, scope, complain)
    except RecursionError:
        complain("the template is nested too deep", "Split it, or make a node for it")
        return Parsed(UNKNOWN, mixed=True)


def _parsed(text: str, scope: Scope, complain: Complain) -> Parsed:
    names = _Names(scope, complain)
    source = _without_dollars(text, scope, names.complain)
    if names.told:
        return Parsed(UNKNOWN, mixed=True)
    try:
        parts = read(with_dashes(source, scope))
    except TemplateError as error:
        message, _, cure = str(error).partition(": ") if "may not" in str(error) else (str(error), "", "")
        complain(message, (cure[:1].upper() + cure[1:]) or "To have '{{' in the text itself, write {{ '{{' }}")
        return Parsed(UNKNOWN, mixed=True)
    if all(isinstance(part, str) for part in parts):
        return Parsed(Const("".join(map(str, parts))))
    if len(parts) == 1 and isinstance(parts[0], nodes.Expr):
        tree = _tree(parts[0], names)
        return Parsed(Text(source, names.of([parts[0]])) if tree is None else tree, alone=True)
    exprs = [part for part in parts if isinstance(part, nodes.Expr)]
    trees = [_tree(part, names) if isinstance(part, nodes.Const) else None for part in exprs]
    if all(isinstance(tree, Const) for tree in trees):
        values = iter(trees)
        pieces = [part if isinstance(part, str) else text_of(next(values).value) for part in parts]  # type: ignore[union-attr]
        return Parsed(Const("".join(pieces)))
    return Parsed(Text(source, names.of(exprs)), mixed=True)


_DASHED = re.compile(r"(?<![\w.$])\$?([^\W\d]\w*(?:-\w+)+)")
_DOLLAR = re.compile(r"\$(?=[^\W\d])")


def _without_dollars(text: str, scope: Scope, complain: Callable[[str, str], Any]) -> str:
    """Return a template in the spelling without ``$``, in which ids with dashes can be told from differences."""

    def dashed(found: re.Match[str]) -> str:
        run, sure = found[1], found[0].startswith("$")
        parts = run.split("-")
        count = longest_id(run, scope) + 1
        if count > 1:
            name, rest = "-".join(parts[:count]), "".join(f"-{part}" for part in parts[count:])
            known = all(part.isdigit() or scope.means(part) for part in parts[:count])
            if known and not sure:
                complain(
                    f"'{name}' can be read as a step and as a difference",
                    f"Write '{' - '.join(parts[:count])}' for the difference, 'steps['{name}']' for the step",
                )
            return (f"steps['{name}']" if known else name) + rest
        if not all(part.isdigit() or scope.means(part) for part in parts):
            hint = f"{near(run, scope.known())}; a field with a dash is written in brackets: input['a-b']"
            complain(f"'{run:.80}' is unknown", hint)
            return "none"
        return run

    return edited(
        text, lambda piece: _DOLLAR.sub("", _DASHED.sub(dashed, piece)) if "-" in piece else _DOLLAR.sub("", piece)
    )


class _Names:
    """The names in one template: what each means, and what is wrong with it."""

    def __init__(self, scope: Scope, complain: Complain) -> None:
        self.scope = scope
        self._complain = complain
        self.told: set[str] = set()

    def complain(self, message: str, cure: str) -> Expr:
        """Note what is wrong, once."""
        if message not in self.told:
            self.told.add(message)
            self._complain(message, cure)
        return UNKNOWN

    def unknown(self, what: str, name: str, known: Iterable[str]) -> Expr:
        """Note an unknown name."""
        return self.complain(f"{what} '{name}' is unknown", near(name, known))

    # -- one reference -------------------------------------------------------------------------------------------

    def bare(self, name: str) -> Expr:
        """Return what a name stands for by itself."""
        scope = self.scope
        if name == "input":
            return Container("dict", tuple(part for one in scope.inputs for part in (Const(one), Input(one))))
        if name in ROOTS:
            cure = {"var": "var.name", "run": "run.id", "steps": "steps['id']"}[name]
            extra = f"; the step '{name}' is steps['{name}']" if scope.sees_step(name) else ""
            return self.complain(f"'{name}' is no value by itself", f"Write {cure}{extra}")
        found = scope.find(name)
        if found is not None:
            return found
        if scope.given(name):
            return self.complain(
                f"'{name}' has no value in its own body", f"Write {name}.{next(iter(scope.given(name)))}"
            )
        if any(name in one.later for one in scope.around()):
            return self.complain(f"step '{name}' comes later", "Move it before this one, or use another step's value")
        return self.unknown("name", name, scope.known())

    def member(self, root: str, name: str) -> Expr | None:
        """Return what ``root.name`` stands for, or None when the root is a plain value."""
        scope = self.scope
        if root == "input":
            return Input(name) if name in scope.inputs else self.unknown("input", name, scope.inputs)
        if root == "run":
            return RunFact(name) if name in RUN_FACTS else self.unknown("fact of the run", name, RUN_FACTS)
        if root == "var":
            if name in scope.variables:
                return Var(name)
            known = near(name, sorted(scope.variables)) if scope.variables else f"Put a 'set' of '{name}' before it"
            return self.complain(f"variable '{name}' is used before anything sets it", known)
        if root == "steps":
            return StepValue(name) if scope.sees_step(name) else self.unknown("step", name, scope.ids())
        if scope.find(root) is None and scope.given(root):
            given = scope.given(root)
            return given[name] if name in given else self.unknown(f"what '{root}' gives its steps,", name, given)
        return None

    def refer(self, node: nodes.Node) -> Expr | None:
        """Return what a name, or a member of a root, stands for; None when the node is neither."""
        if isinstance(node, nodes.Name):
            return self.bare(_id(node.name))
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, nodes.Name):
            name = _member_name(node)
            if name is not None:
                return self.member(_id(node.node.name), name)
        return None

    # -- all of a template ---------------------------------------------------------------------------------------

    def of(self, exprs: Iterable[nodes.Expr]) -> tuple[tuple[str, Expr], ...]:
        """Return each name that expressions use, and what stands for it."""
        found: dict[str, Expr] = {}
        members: dict[str, dict[str, Expr]] = {}
        todo: list[nodes.Node] = [*list(exprs)[::-1]]
        while todo:
            node = todo.pop()
            if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
                todo += [*node.kwargs, *node.args]
                continue
            if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, nodes.Name):
                root, name = _id(node.node.name), _member_name(node)
                expr = self.member(root, name) if name is not None else None
                if expr is not None and name is not None:
                    found.setdefault(root, Const(None))
                    members.setdefault(root, {})[name] = expr
                    continue
            if isinstance(node, nodes.Getattr):
                self.field(node)
            if isinstance(node, nodes.Name):
                name = _id(node.name)
                found[name] = self.bare(name)
            todo += list(node.iter_child_nodes())[::-1]
        for root, exprs_ in members.items():
            if not isinstance(found[root], Container):  # else the whole of it is used anyway
                found[root] = Container(
                    "dict", tuple(part for pair in exprs_.items() for part in (Const(pair[0]), pair[1]))
                )
        return tuple(found.items())

    def field(self, node: nodes.Getattr) -> None:
        """Check the field of something whose fields are known."""
        base = self.refer(node.node)
        if isinstance(base, Local) and base.name == "error" and node.attr not in ERROR_FIELDS:
            self.unknown("field of an error", node.attr, ERROR_FIELDS)


def _id(name: str) -> str:
    return name.replace(DASH, "-")


def _member_name(node: nodes.Getattr | nodes.Getitem) -> str | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None


# -- plain expressions -----------------------------------------------------------------------------------------------

# Operators whose result is no larger than what they are given together; the others are left to the sandbox.
_BINARY: dict[type[nodes.Node], str] = {nodes.Add: "+", nodes.Sub: "-", nodes.Div: "/", nodes.FloorDiv: "//"}
_COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">="}
_FUNCTIONS = {"abs": ("abs", 1), "and_": ("&", 2), "or_": ("|", 2), "xor": ("^", 2), "rshift": (">>", 2)} | {
    "invert": ("invert", 1),
    "matmul": ("@", 2),
}


def _tree(node: nodes.Expr, names: _Names) -> Expr | None:
    """Return a plain expression as a tree, or None when it is none."""
    if not _is_plain(node):
        return None
    return _build(node, names)


def _is_plain(node: nodes.Node) -> bool:
    match node:
        case nodes.Const() | nodes.Name():
            return True
        case nodes.Getattr(node=base):
            return _is_plain(base)
        case nodes.Getitem(node=base, arg=nodes.Slice() as key):
            return _is_plain(base) and _constant(key) is not None
        case nodes.Getitem(node=base, arg=nodes.Tuple() as key):
            return _is_plain(base) and _constant(key) is not None
        case nodes.Getitem(node=base, arg=key):
            return _is_plain(base) and _is_plain(key)
        case nodes.Neg(node=base) | nodes.Pos(node=base):
            return _is_plain(base)
        case nodes.List(items=items) | nodes.Tuple(items=items):
            return all(map(_is_plain, items))
        case nodes.Dict(items=pairs):
            return all(_is_plain(pair.key) and _is_plain(pair.value) for pair in pairs)
        case nodes.Compare(expr=left, ops=[nodes.Operand(op=op, expr=right)]):
            return op in _COMPARED and _is_plain(left) and _is_plain(right)
        case nodes.Call(node=nodes.Name(name=name), args=args, kwargs=[]):
            return name in _FUNCTIONS and len(args) == _FUNCTIONS[name][1] and all(map(_is_plain, args))
        case nodes.BinExpr(left=left, right=right):
            return type(node) in _BINARY and _is_plain(left) and _is_plain(right)
    return False


def _constant(node: nodes.Node) -> Const | None:
    """Return a literal key of an item: a slice, or a tuple of literals and slices."""
    match node:
        case nodes.Const(value=value):
            return Const(value)
        case nodes.Neg(node=nodes.Const(value=int() | float() as value)):
            return Const(-value)
        case nodes.Slice(start=start, stop=stop, step=step):
            parts = [Const(None) if part is None else _constant(part) for part in (start, stop, step)]
            values = [part.value for part in parts if part is not None]
            return Const(slice(*values)) if len(values) == 3 else None
        case nodes.Tuple(items=items):
            found = [_constant(item) for item in items]
            values = [part.value for part in found if part is not None]
            return Const(tuple(values)) if len(values) == len(found) else None
    return None


def _build(node: Any, names: _Names) -> Expr:
    found = names.refer(node)
    if found is not None:
        return found
    match node:
        case nodes.Const(value=value):
            return Const(value)
        case nodes.Getattr(node=base, attr=name):
            names.field(node)
            return Apply("field", (_build(base, names), Const(name)))
        case nodes.Getitem(node=base, arg=key):
            return Apply("getitem", (_build(base, names), _constant(key) or _build(key, names)))
        case nodes.Neg(node=nodes.Const(value=int() | float() as value)):
            return Const(-value)
        case nodes.Neg(node=base):
            return Apply("neg", (_build(base, names),))
        case nodes.Pos(node=base):
            return Apply("pos", (_build(base, names),))
        case nodes.List(items=items):
            return gathered("list", [_build(item, names) for item in items])
        case nodes.Tuple(items=items):
            return gathered("tuple", [_build(item, names) for item in items])
        case nodes.Dict(items=pairs):
            return gathered("dict", [_build(one, names) for pair in pairs for one in (pair.key, pair.value)])
        case nodes.Compare(expr=left, ops=[operand]):
            return Apply(_COMPARED[operand.op], (_build(left, names), _build(operand.expr, names)))
        case nodes.Call(node=nodes.Name(name=name), args=args):
            return Apply(_FUNCTIONS[name][0], tuple(_build(arg, names) for arg in args))
    return Apply(_BINARY[type(node)], (_build(node.left, names), _build(node.right, names)))


def gathered(kind: str, items: list[Expr]) -> Expr:
    """Return a container of expressions; a constant when all of them are.

    Args:
        kind: "list", "tuple" or "dict".
        items: its items; keys and values in turn for a dict.
    """
    if all(isinstance(item, Const) for item in items):
        values = [item.value for item in items if isinstance(item, Const)]
        made = {"list": list, "tuple": tuple}.get(kind)
        try:
            return Const(made(values) if made else dict(zip(values[::2], values[1::2], strict=True)))
        except TypeError:  # a key that cannot be one; said when it is evaluated
            return Container(kind, tuple(items))
    return Container(kind, tuple(items))


def parse_value(value: Any, scope: Scope, complain: Complain) -> Expr:
    """Return a value of a definition as an expression: the texts in its lists and mappings may be templates."""
    if isinstance(value, str):
        return parse(value, scope, complain).expr
    if isinstance(value, list):
        return gathered("list", [parse_value(one, scope, complain) for one in value])
    if isinstance(value, dict):
        return gathered(
            "dict", [part for key, one in value.items() for part in (Const(key), parse_value(one, scope, complain))]
        )
    return Const(value)


# -- writing ---------------------------------------------------------------------------------------------------------

_WORDS = frozenset(["true", "false", "none", "True", "False", "None", "and", "or", "not", "if", "else", "is", "in"])
"""Names that Jinja understands as something else."""


def escaped(text: str) -> str:
    """Return a text as a template that stands for it.

    >>> escaped("plain"), escaped("a {{ b }}")
    ('plain', '{% raw %}a {{ b }}{% endraw %}')
    """
    if "{{" not in text:
        return text
    if "endraw" not in text and "\r" not in text:
        return "{% raw %}" + text + "{% endraw %}"
    return "{{ " + repr(text) + " }}{{ '' }}"  # in two parts it is a text, not a template that is alone


def literal(value: Any) -> str:
    """Return a constant as a template writes it.

    Raises:
        TemplateError: templates have no way to write it.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return repr(value)
    if kind in (list, tuple):
        text = ", ".join([literal(one) for one in value])
        return f"[{text}]" if kind is list else f"({text},)" if len(value) == 1 else f"({text})"
    if kind is dict:
        return "{" + ", ".join([f"{literal(key)}: {literal(one)}" for key, one in value.items()]) + "}"
    raise TemplateError(f"{value!r:.60} ({kind.__name__}) cannot be written in a definition")


class Writer:
    """Writes expressions as templates that mean them at one place of a workflow.

    Args:
        scope: what names mean there.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def template(self, expr: Expr) -> str:
        """Return the template of an expression.

        Raises:
            TemplateError: there is none; says what cannot be written.
        """
        return expr.source if isinstance(expr, Text) else "{{ " + self.inside(expr) + " }}"

    def inside(self, expr: Expr) -> str:
        """Return what stands between the braces; raises TemplateError."""
        if any(isinstance(part, Container) and part.kind == "set" for part in walk(expr)):
            raise TemplateError("a set cannot be written in a definition: use a list")
        return render(expr, self._leaf)

    def _leaf(self, expr: Expr) -> str:
        match expr:
            case Const(value):
                return literal(value)
            case Input(name):
                return _member("input", name)
            case Var(name):
                return _member("var", name)
            case RunFact(name):
                return _member("run", name)
            case StepValue(step):
                return self._step(step)
            case Local():
                return self._local(expr)
            case Text(source):
                return _joined(source)
        raise TemplateError(f"{render(expr)} cannot be written in a definition")

    def _step(self, step: str) -> str:
        if not self.scope.sees_step(step):
            raise TemplateError(f"step '{step}' is not seen from here")
        return step if self._is_bare(step) and self.scope.find(step) == StepValue(step) else f"steps[{step!r}]"

    def _is_bare(self, name: str) -> bool:
        parts = name.split("-")
        if (
            name in ROOTS
            or name in _WORDS
            or not parts[0].isidentifier()
            or not all(re.fullmatch(r"\w+", p) for p in parts)
        ):
            return False
        return len(parts) == 1 or not all(part.isdigit() or self.scope.means(part) for part in parts)

    def _local(self, local: Local) -> str:
        name = local.alias or local.name
        found = self.scope.find(name)
        if isinstance(found, Local) and (found.step, found.name) == (local.step, local.name):
            return name
        given = self.scope.given(local.step)
        for known, one in given.items():
            if (one.step, one.name) == (local.step, local.name) and self.scope.find(local.step) is None:
                if self._is_bare(local.step):
                    return _member(local.step, known)
                raise TemplateError(f"'{name}' of '{local.step}' cannot be named here: give '{local.step}' another id")
        raise TemplateError(f"'{name}' of '{local.step}' means nothing here")


def _member(root: str, name: str) -> str:
    return f"{root}.{name}" if name.isidentifier() else f"{root}[{name!r}]"


def _joined(source: str) -> str:
    """Return a template that is part of another expression."""
    pieces: list[str] = []
    last = 0
    for start, end in expressions(source):
        text = source[last : start - 2].strip("\r\n") if not pieces else source[last : start - 2]
        pieces += [repr(text)] if text else []
        pieces.append(f"({source[start:end].strip()})")
        last = end + 2
    rest = source[last:]
    pieces += [repr(rest)] if rest.strip("\r\n") or (rest and len(pieces) > 1) else []
    if "{%" in source or "{#" in source:
        raise TemplateError(f"the template {source!r:.60} cannot be part of another expression")
    return f"({' ~ '.join(pieces)})" if len(pieces) > 1 else pieces[0]
